package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a file's YAML, which keep its parser within bounds.
const (
	maxTokens  = 1 << 16
	maxNesting = 16
	maxFaults  = 100 // that are told
)

// Node is a part of a file.
type Node = ast.Node

// Head is what every document begins with.
type Head struct{ Kind, Name string }

// Form knows documents of type D.
type Form[D any] struct {
	Kinds []string                             // that there are
	Read  func(r *Reader, h Head, spec Node) D // Kind is one of Kinds. What is wrong it tells r
	Check func(*D) []Fault                     // makes a document that was read canonical, and tells what it cannot be
	Is    func(*D) string                      // what a document is of which a file has one at most, in words
}

// Parse reads a file of documents: YAML, of which JSON is a part. The error is a *Faults with all that is wrong: syntax, then unknown and repeated fields, wrong types, and what no document can be, each with line and path.
func Parse[D any](b []byte, form *Form[D]) ([]D, error) {
	trees, err := parseYAML(b)
	if err != nil {
		return nil, &Faults{List: []Fault{*err}}
	}
	var docs []D
	var faults []Fault
	seen := map[string]int{}
	for i, tree := range trees {
		p := &Reader{lines: map[string]int{}}
		d, named := readDocument(p, tree, form)
		if is := form.Is(&d); named {
			if first, twice := seen[is]; twice {
				p.Fault(tree, "", "%s is in document %d already", is, first)
			}
			seen[is] = i + 1
		}
		for _, f := range p.faults {
			if len(trees) > 1 {
				f.Document = i + 1
			}
			faults = append(faults, f)
		}
		docs = append(docs, d)
	}
	if len(faults) > 0 {
		slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Document, b.Document), cmp.Compare(a.Line, b.Line)) })
		return nil, &Faults{List: faults[:min(len(faults), maxFaults)]}
	}
	return docs, nil
}

// readDocument reads one document. named is false if it is not known what it is.
func readDocument[D any](p *Reader, n Node, form *Form[D]) (d D, named bool) {
	f := p.Fields(n, "", []string{"apiVersion", "kind", "metadata", "spec"}, "apiVersion", "kind", "metadata", "spec")
	if v := p.Text(f["apiVersion"], "apiVersion", true); f["apiVersion"] != nil && v != APIVersion {
		p.Fault(f["apiVersion"], "apiVersion", "it is %q; this release knows %s", Clip(v), APIVersion)
	}
	h := Head{Kind: p.Text(f["kind"], "kind", true)}
	if f["metadata"] != nil {
		m := p.Fields(f["metadata"], "metadata", []string{"name"}, "name")
		h.Name = p.Text(m["name"], "metadata.name", true)
	}
	known := slices.Contains(form.Kinds, h.Kind)
	if !known && f["kind"] != nil {
		p.Fault(f["kind"], "kind", "it is %q; it can be %s", Clip(h.Kind), strings.Join(form.Kinds, " or "))
	}
	if !known || f["spec"] == nil {
		return d, false
	}
	if d = form.Read(p, h, f["spec"]); len(p.faults) == 0 {
		for _, f := range form.Check(&d) {
			p.faults = append(p.faults, Fault{Line: p.lineOf(f.Path), Path: f.Path, Message: f.Message})
		}
	}
	return d, h.Name != ""
}

// parseYAML returns the roots of the documents; there is one at least.
func parseYAML(b []byte) (trees []ast.Node, wrong *Fault) {
	refuse := func(line int, format string, args ...any) ([]ast.Node, *Fault) {
		return nil, &Fault{Line: line, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(b) > MaxBytes:
		return refuse(0, "the file has %d bytes, at most %d", len(b), MaxBytes)
	case !utf8.Valid(b):
		return refuse(0, "the file is not UTF-8")
	case bytes.IndexByte(b, 0) >= 0:
		return refuse(0, "the file has a NUL in it")
	}
	tokens := lexer.Tokenize(string(b))
	if f := bounded(tokens); f != nil {
		return nil, f
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, message := 0, err.Error()
		if e := yaml.Error(nil); errors.As(err, &e) {
			message = e.GetMessage()
			if tk := e.GetToken(); tk != nil && tk.Position != nil {
				line = tk.Position.Line
			}
		}
		return refuse(line, "this is not YAML: %s", message)
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue // an empty one, as after the last separator
		}
		trees = append(trees, doc.Body)
	}
	switch {
	case len(trees) == 0:
		return refuse(0, "there is no document")
	case len(trees) > MaxDocuments:
		return refuse(0, "there are %d documents, at most %d", len(trees), MaxDocuments)
	}
	return trees, nil
}

// bounded refuses what a parser that descends would descend into for long, and what a document has no use for.
func bounded(tokens token.Tokens) *Fault {
	if len(tokens) > maxTokens {
		return &Fault{Message: fmt.Sprintf("the file has more than %d words", maxTokens)}
	}
	depth, run, line := 0, 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, run = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth = max(depth-1, 0)
		case token.SequenceEntryType:
			run++
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.MappingKeyType, token.DirectiveType:
			return &Fault{Line: line, Message: fmt.Sprintf("%q: a document has no anchors, aliases, merge keys, tags, complex keys or directives", Clip(tk.Value))}
		}
		if depth > maxNesting || run > maxNesting || tk.Position.IndentNum > 256 {
			return &Fault{Line: line, Message: "it is nested too deep"}
		}
	}
	return nil
}

// Reader makes a document of a tree, and notes what is wrong, and where everything is.
type Reader struct {
	faults []Fault
	lines  map[string]int // by path
}

// lineOf returns the line of a path, or of the nearest above it that is there.
func (p *Reader) lineOf(path string) int {
	for {
		if line, ok := p.lines[path]; ok || path == "" {
			return line
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
}

// Fault notes that something is wrong with what is at a path.
func (p *Reader) Fault(n ast.Node, path, format string, args ...any) {
	p.faults = append(p.faults, Fault{Line: lineOf(n), Path: path, Message: fmt.Sprintf(format, args...)})
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

func Join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Fields returns the values of a mapping by the names of its fields. Those that are not among known, and those that come twice, are faults; so is a node that is no mapping. required ones are looked for. The names of an open mapping
// (known is nil) are free.
func (p *Reader) Fields(n ast.Node, path string, known []string, required ...string) map[string]ast.Node {
	p.lines[path] = lineOf(n)
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		p.Fault(n, path, "it is %s; it must be a mapping", describe(n))
		return nil
	}
	out := map[string]ast.Node{}
	for _, v := range values {
		key, ok := keyOf(v)
		_, twice := out[key]
		switch {
		case !ok:
			p.Fault(v, path, "the name of a field is %s; it must be text", describe(v.Key))
		case twice:
			p.Fault(v, Join(path, Clip(key)), "it is there twice")
		case known != nil && !slices.Contains(known, key):
			p.Fault(v, Join(path, Clip(key)), "this field is not known; there are %s", strings.Join(known, ", "))
		default:
			out[key] = v.Value
			p.lines[Join(path, key)] = lineOf(v.Key)
		}
	}
	for _, name := range required {
		if out[name] == nil {
			p.Fault(n, Join(path, name), "it is missing")
		}
	}
	return out
}

func keyOf(v *ast.MappingValueNode) (string, bool) {
	if s, ok := v.Key.(*ast.StringNode); ok {
		return s.Value, true
	}
	return "", false
}

// describe says what a node is.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode, nil:
		return "nothing"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	}
	return "something else"
}

// Text returns the value of a field that is text; empty, if it is not there. Text of no length is a fault where there must be some.
func (p *Reader) Text(n ast.Node, path string, empty bool) (s string) {
	switch n := n.(type) {
	case nil:
		return ""
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	default:
		p.Fault(n, path, "it is %s; it must be text (in quotes, if it looks like something else)", describe(n))
		return ""
	}
	if s == "" && !empty {
		p.Fault(n, path, "it is empty")
	}
	return s
}

// Number returns the value of a field that is a whole number, within ±2^30; zero, if it is not there.
func (p *Reader) Number(n ast.Node, path string) int {
	if n == nil {
		return 0
	}
	if i, ok := n.(*ast.IntegerNode); ok {
		switch v := i.Value.(type) {
		case int64:
			return int(max(min(v, 1<<30), -1<<30))
		case uint64:
			return int(min(v, 1<<30))
		}
	}
	p.Fault(n, path, "it is %s; it must be a whole number", describe(n))
	return 0
}

// List returns a list of texts; one of no length is a fault.
func (p *Reader) List(n ast.Node, path string) (out []string) {
	if n == nil {
		return nil
	}
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		p.Fault(n, path, "it is %s; it must be a list", describe(n))
		return nil
	}
	if len(s.Values) == 0 {
		p.Fault(n, path, "it is empty")
	}
	for i, v := range s.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if v == nil {
			p.Fault(n, at, "it is nothing; it must be text")
			continue
		}
		out = append(out, p.Text(v, at, false))
	}
	return out
}

// Count returns the value of a field that is a whole number from 1; zero, if it is not there.
func (p *Reader) Count(n Node, path string) int {
	i := p.Number(n, path)
	if _, whole := n.(*ast.IntegerNode); whole && i < 1 {
		p.Fault(n, path, "it is %d; it must be 1 or more", i)
	}
	return i
}

// JSON returns the value of a field as JSON; nil, if it is not there.
func (p *Reader) JSON(n Node, path string) json.RawMessage {
	if n == nil {
		return nil
	}
	b, err := json.Marshal(p.value(n, path))
	if err != nil {
		p.Fault(n, path, "it cannot be written as JSON")
	}
	return b
}

// value returns what json.Marshal takes.
func (p *Reader) value(n Node, path string) any {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil
	case *ast.BoolNode:
		return n.Value
	case *ast.StringNode, *ast.LiteralNode:
		return p.Text(n, path, true)
	case *ast.IntegerNode, *ast.FloatNode:
		if text := n.GetToken().Value; json.Valid([]byte(text)) {
			return json.Number(text)
		}
		p.Fault(n, path, "it is a number that JSON writes otherwise")
	case *ast.SequenceNode:
		list := make([]any, 0, len(n.Values))
		for i, v := range n.Values {
			list = append(list, p.value(v, fmt.Sprintf("%s[%d]", path, i)))
		}
		return list
	case *ast.MappingNode, *ast.MappingValueNode:
		out := map[string]any{}
		for name, v := range p.Fields(n, path, nil) {
			out[name] = p.value(v, Join(path, Clip(name)))
		}
		return out
	default:
		p.Fault(n, path, "it is %s", describe(n))
	}
	return nil
}
