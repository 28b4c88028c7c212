package policy

import (
	"bytes"
	"cmp"
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

	"github.com/concordat-db/concordat/globaltable"
)

// Bounds of a file's YAML, which keep its parser within bounds.
const (
	maxTokens  = 1 << 16
	maxNesting = 16
	maxFaults  = 100 // that are told
)

// Parse reads a file of documents: YAML, of which JSON is a part. The error is a *Faults with all that is wrong: syntax, then unknown and repeated fields, wrong types, and what no policy can be, each with line and path.
func Parse(b []byte) ([]Document, error) {
	trees, err := parseYAML(b)
	if err != nil {
		return nil, &Faults{List: []Fault{*err}}
	}
	var docs []Document
	var faults []Fault
	seen := map[[3]string]int{}
	for i, tree := range trees {
		p := &reader{lines: map[string]int{}}
		d := p.document(tree)
		if len(p.faults) == 0 {
			d.normalize()
			for _, f := range d.faults() {
				p.faults = append(p.faults, Fault{Line: p.lineOf(f.Path), Path: f.Path, Message: f.Message})
			}
		}
		of := [3]string{string(d.Kind), d.Table(), d.Name}
		if first, twice := seen[of]; twice && d.Name != "" {
			p.fault(tree, "", "%s %s of table %s is in document %d already", d.Kind, clip(d.Name), clip(d.Table()), first)
		}
		seen[of] = i + 1
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

// bounded refuses what a parser that descends would descend into for long, and what a policy has no use for.
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
			return &Fault{Line: line, Message: fmt.Sprintf("%q: a policy has no anchors, aliases, merge keys, tags, complex keys or directives", clip(tk.Value))}
		}
		if depth > maxNesting || run > maxNesting || tk.Position.IndentNum > 256 {
			return &Fault{Line: line, Message: "it is nested too deep"}
		}
	}
	return nil
}

// reader makes a document of a tree, and notes what is wrong, and where everything is.
type reader struct {
	faults []Fault
	lines  map[string]int // by path
}

// lineOf returns the line of a path, or of the nearest above it that is there.
func (p *reader) lineOf(path string) int {
	for {
		if line, ok := p.lines[path]; ok || path == "" {
			return line
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
}

func (p *reader) fault(n ast.Node, path, format string, args ...any) {
	p.faults = append(p.faults, Fault{Line: lineOf(n), Path: path, Message: fmt.Sprintf(format, args...)})
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fields returns the values of a mapping by the names of its fields. Those that are not among known, and those that come twice, are faults; so is a node that is no mapping. required ones are looked for. The names of an open mapping
// (known is nil) are free.
func (p *reader) fields(n ast.Node, path string, known []string, required ...string) map[string]ast.Node {
	p.lines[path] = lineOf(n)
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		p.fault(n, path, "it is %s; it must be a mapping", describe(n))
		return nil
	}
	out := map[string]ast.Node{}
	for _, v := range values {
		key, ok := keyOf(v)
		_, twice := out[key]
		switch {
		case !ok:
			p.fault(v, path, "the name of a field is %s; it must be text", describe(v.Key))
		case twice:
			p.fault(v, join(path, clip(key)), "it is there twice")
		case known != nil && !slices.Contains(known, key):
			p.fault(v, join(path, clip(key)), "this field is not known; there are %s", strings.Join(known, ", "))
		default:
			out[key] = v.Value
			p.lines[join(path, key)] = lineOf(v.Key)
		}
	}
	for _, name := range required {
		if out[name] == nil {
			p.fault(n, join(path, name), "it is missing")
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

// text returns the value of a field that is text; empty, if it is not there. Text of no length is a fault where there must be some.
func (p *reader) text(n ast.Node, path string, empty bool) (s string) {
	switch n := n.(type) {
	case nil:
		return ""
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	default:
		p.fault(n, path, "it is %s; it must be text (in quotes, if it looks like something else)", describe(n))
		return ""
	}
	if s == "" && !empty {
		p.fault(n, path, "it is empty")
	}
	return s
}

func (p *reader) number(n ast.Node, path string) int {
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
	p.fault(n, path, "it is %s; it must be a whole number", describe(n))
	return 0
}

// list returns a list of texts; one of no length is a fault.
func (p *reader) list(n ast.Node, path string) (out []string) {
	if n == nil {
		return nil
	}
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		p.fault(n, path, "it is %s; it must be a list", describe(n))
		return nil
	}
	if len(s.Values) == 0 {
		p.fault(n, path, "it is empty")
	}
	for i, v := range s.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if v == nil {
			p.fault(n, at, "it is nothing; it must be text")
			continue
		}
		out = append(out, p.text(v, at, false))
	}
	return out
}

func (p *reader) document(n ast.Node) (d Document) {
	f := p.fields(n, "", []string{"apiVersion", "kind", "metadata", "spec"}, "apiVersion", "kind", "metadata", "spec")
	if v := p.text(f["apiVersion"], "apiVersion", true); f["apiVersion"] != nil && v != APIVersion {
		p.fault(f["apiVersion"], "apiVersion", "it is %q; this release knows %s", clip(v), APIVersion)
	}
	d.Kind = Kind(p.text(f["kind"], "kind", true))
	if f["metadata"] != nil {
		m := p.fields(f["metadata"], "metadata", []string{"name"}, "name")
		d.Name = p.text(m["name"], "metadata.name", true)
	}
	switch spec := f["spec"]; {
	case spec == nil:
	case d.Kind == LocalityPolicy:
		d.Locality = p.locality(spec)
	case d.Kind == ReplicationPolicy:
		d.Replication = p.replication(spec)
	case f["kind"] != nil:
		p.fault(f["kind"], "kind", "it is %q; it can be %s or %s", clip(string(d.Kind)), LocalityPolicy, ReplicationPolicy)
	}
	return d
}

func (p *reader) locality(n ast.Node) *Locality {
	l := new(Locality)
	f := p.fields(n, "spec", []string{"match", "pin", "foreign", "singleCopy"}, "match", "pin")
	if f["match"] != nil {
		const at = "spec.match"
		m := p.fields(f["match"], at, []string{"table", "keyPrefix", "key", "sortKeyPrefix"}, "table")
		l.Match.Table = p.text(m["table"], at+".table", true)
		l.Match.KeyPrefix = p.text(m["keyPrefix"], at+".keyPrefix", false)
		l.Match.SortKeyPrefix = p.text(m["sortKeyPrefix"], at+".sortKeyPrefix", false)
		if m["key"] != nil {
			k := p.fields(m["key"], at+".key", []string{"delimiter", "component", "equals"}, "delimiter", "component", "equals")
			l.Match.Key = &Component{Delimiter: p.text(k["delimiter"], at+".key.delimiter", true), Component: p.number(k["component"], at+".key.component"), Equals: p.text(k["equals"], at+".key.equals", true)}
		}
	}
	if f["pin"] != nil {
		places := p.fields(f["pin"], "spec.pin", []string{"jurisdictions", "regions"})
		l.Pin = Places{Jurisdictions: p.list(places["jurisdictions"], "spec.pin.jurisdictions"), Regions: p.list(places["regions"], "spec.pin.regions")}
	}
	l.Foreign = globaltable.Foreign(p.text(f["foreign"], "spec.foreign", false))
	l.SingleCopy = p.text(f["singleCopy"], "spec.singleCopy", false)
	return l
}

func (p *reader) replication(n ast.Node) *Replication {
	f := p.fields(n, "spec", []string{"table", "regions", "merge", "attributes", "acknowledge", "stream", "streamRecords", "conflicts"}, "table")
	r := &Replication{Table: p.text(f["table"], "spec.table", true), Regions: p.list(f["regions"], "spec.regions"), Merge: p.text(f["merge"], "spec.merge", false),
		Acknowledge: p.text(f["acknowledge"], "spec.acknowledge", false), Stream: p.text(f["stream"], "spec.stream", false)}
	if f["attributes"] != nil {
		r.Attributes = map[string]string{}
		for name, v := range p.fields(f["attributes"], "spec.attributes", nil) {
			r.Attributes[name] = p.text(v, join("spec.attributes", clip(name)), false)
		}
	}
	r.Streams, r.Conflicts = p.kept(f["streamRecords"], "spec.streamRecords"), p.kept(f["conflicts"], "spec.conflicts")
	return r
}

func (p *reader) kept(n ast.Node, at string) *Kept {
	if n == nil {
		return nil
	}
	f := p.fields(n, at, []string{"age", "bytes"})
	return &Kept{Age: p.text(f["age"], at+".age", false), Bytes: p.text(f["bytes"], at+".bytes", false)}
}
