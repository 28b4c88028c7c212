package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/globaltable/item"
)

// The dumb reference: values are trees as encoding/json has them, expressions are trees of their own that are evaluated by the book, and
// are rendered as text for the package. It shares nothing with the package but the text.

// refValue is one attribute value: a type and its content.
type refValue struct {
	typ  string
	text string // S, B; N as a fraction, "10/1"; BOOL
	m    map[string]*refValue
	l    []*refValue
	set  []string // texts, sorted
}

func refDecode(wire any) *refValue {
	for typ, content := range wire.(map[string]any) {
		v := &refValue{typ: typ}
		switch typ {
		case "S":
			v.text = content.(string)
		case "B":
			v.text = refBytes(content)
		case "N":
			v.text = refNumber(content)
		case "BOOL", "NULL":
			v.text = fmt.Sprint(content)
		case "M":
			v.m = refEntries(content)
		case "L":
			for _, e := range content.([]any) {
				v.l = append(v.l, refDecode(e))
			}
		default:
			for _, e := range content.([]any) {
				switch typ {
				case "SS":
					v.set = append(v.set, e.(string))
				case "NS":
					v.set = append(v.set, refNumber(e))
				case "BS":
					v.set = append(v.set, refBytes(e))
				}
			}
			slices.Sort(v.set)
		}
		return v
	}
	panic("no type")
}

func refBytes(content any) string {
	b, err := base64.StdEncoding.DecodeString(content.(string))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func refNumber(content any) string {
	r, ok := new(big.Rat).SetString(content.(string))
	if !ok {
		panic(content)
	}
	return r.String()
}

func refEntries(content any) map[string]*refValue {
	m := map[string]*refValue{}
	for name, e := range content.(map[string]any) {
		m[name] = refDecode(e)
	}
	return m
}

// refItem decodes the JSON of an item or of values.
func refItem(text string) map[string]*refValue {
	d := json.NewDecoder(strings.NewReader(text))
	var content any
	if err := d.Decode(&content); err != nil {
		panic(err)
	}
	return refEntries(content)
}

// render is a text that is the same for equal values only.
func (v *refValue) render() string {
	switch v.typ {
	case "M":
		return "M" + refRender(v.m)
	case "L":
		var parts []string
		for _, e := range v.l {
			parts = append(parts, e.render())
		}
		return "L[" + strings.Join(parts, ",") + "]"
	case "SS", "NS", "BS":
		return fmt.Sprintf("%s%q", v.typ, v.set)
	}
	return fmt.Sprintf("%s%q", v.typ, v.text)
}

func refRender(m map[string]*refValue) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%q:%s", name, m[name].render()))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func refEqual(x, y *refValue) bool { return x != nil && y != nil && x.render() == y.render() }

func refRat(text string) *big.Rat {
	r, _ := new(big.Rat).SetString(text)
	return r
}

// refLess compares; ok is false for values that have no order.
func refCompare(x, y *refValue) (c int, ok bool) {
	if x == nil || y == nil || x.typ != y.typ {
		return 0, false
	}
	switch x.typ {
	case "N":
		return refRat(x.text).Cmp(refRat(y.text)), true
	case "S", "B":
		return strings.Compare(x.text, y.text), true
	}
	return 0, false
}

// refNode is an expression: an operator as its text has it, or "path", "value".
type refNode struct {
	op   string
	args []*refNode
	path []string // a, .b, [0]
	name string   // of a value: ":v"
}

// text renders an expression; parentheses wherever there may be some.
func (n *refNode) text() string {
	var args []string
	for _, a := range n.args {
		text := a.text()
		if n.op == "AND" || n.op == "OR" || n.op == "NOT" {
			text = "(" + text + ")"
		}
		args = append(args, text)
	}
	switch n.op {
	case "path":
		return strings.Join(n.path, "")
	case "value":
		return n.name
	case "NOT":
		return "NOT " + args[0]
	case "BETWEEN":
		return args[0] + " BETWEEN " + args[1] + " AND " + args[2]
	case "IN":
		return args[0] + " IN (" + strings.Join(args[1:], ", ") + ")"
	case "AND", "OR", "=", "<>", "<", "<=", ">", ">=", "+", "-":
		return strings.Join(args, " "+n.op+" ")
	}
	return n.op + "(" + strings.Join(args, ", ") + ")"
}

// refRequest is what an expression is evaluated with.
type refRequest struct {
	values map[string]*refValue
	item   map[string]*refValue
}

func (r refRequest) at(path []string) *refValue {
	v := r.item[path[0]]
	for _, s := range path[1:] {
		v = v.child(s)
	}
	return v
}

// child returns what a step leads to; nil if it leads nowhere.
func (v *refValue) child(step string) *refValue {
	if v == nil {
		return nil
	}
	if step[0] == '.' {
		return v.m[step[1:]]
	}
	var i int
	fmt.Sscanf(step, "[%d]", &i)
	if i < len(v.l) {
		return v.l[i]
	}
	return nil
}

func (r refRequest) operand(n *refNode) *refValue {
	switch n.op {
	case "path":
		return r.at(n.path)
	case "value":
		return r.values[n.name]
	case "size":
		v := r.operand(n.args[0])
		if v == nil || v.typ == "N" || v.typ == "BOOL" || v.typ == "NULL" {
			return nil
		}
		return &refValue{typ: "N", text: refNumber(fmt.Sprint(len(v.text) + len(v.m) + len(v.l) + len(v.set)))}
	}
	panic(n.op)
}

func (r refRequest) holds(n *refNode) bool {
	switch n.op {
	case "AND":
		return r.holds(n.args[0]) && r.holds(n.args[1])
	case "OR":
		return r.holds(n.args[0]) || r.holds(n.args[1])
	case "NOT":
		return !r.holds(n.args[0])
	}
	var x []*refValue
	for _, a := range n.args {
		x = append(x, r.operand(a))
	}
	switch n.op {
	case "=":
		return refEqual(x[0], x[1])
	case "<>":
		return !refEqual(x[0], x[1])
	case "IN":
		return slices.ContainsFunc(x[1:], func(y *refValue) bool { return refEqual(x[0], y) })
	case "BETWEEN":
		lo, ok1 := refCompare(x[0], x[1])
		hi, ok2 := refCompare(x[0], x[2])
		return ok1 && ok2 && lo >= 0 && hi <= 0
	case "attribute_exists":
		return x[0] != nil
	case "attribute_not_exists":
		return x[0] == nil
	case "attribute_type":
		return x[0] != nil && x[0].typ == x[1].text
	case "begins_with":
		return x[0] != nil && x[1] != nil && x[0].typ == x[1].typ && (x[0].typ == "S" || x[0].typ == "B") && strings.HasPrefix(x[0].text, x[1].text)
	case "contains":
		return refContains(x[0], x[1])
	}
	c, ok := refCompare(x[0], x[1])
	return ok && map[string]bool{"<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[n.op]
}

func refContains(x, y *refValue) bool {
	if x == nil || y == nil {
		return false
	}
	switch x.typ {
	case "S", "B":
		return x.typ == y.typ && strings.Contains(x.text, y.text)
	case "SS", "NS", "BS":
		return x.typ == y.typ+"S" && slices.Contains(x.set, y.text)
	case "L":
		return slices.ContainsFunc(x.l, func(e *refValue) bool { return refEqual(e, y) })
	}
	return false
}

// valid reports whether the operands are those that the operator takes, as far as one can tell without an item.
func (r refRequest) valid(n *refNode) bool {
	typ := func(n *refNode) string {
		switch n.op {
		case "value":
			return r.values[n.name].typ
		case "size", "+", "-":
			return "N"
		case "list_append":
			return "L"
		}
		return "?"
	}
	all := func(allowed string, nodes ...*refNode) bool {
		return !slices.ContainsFunc(nodes, func(n *refNode) bool { return !slices.Contains(strings.Fields(allowed+" ?"), typ(n)) })
	}
	for _, a := range n.args {
		if !r.valid(a) {
			return false
		}
	}
	distinct := len(n.args) == 0 || n.args[0].op != "path" ||
		!slices.ContainsFunc(n.args[1:], func(a *refNode) bool { return a.op == "path" && slices.Equal(a.path, n.args[0].path) })
	switch n.op {
	case "=", "<>", "IN":
		return distinct
	case "<", "<=", ">", ">=":
		return distinct && all("S N B", n.args...)
	case "BETWEEN":
		if n.args[1].op == "value" && n.args[2].op == "value" {
			if c, ok := refCompare(r.operand(n.args[1]), r.operand(n.args[2])); !ok || c > 0 {
				return false
			}
		}
		return distinct && all("S N B", n.args...)
	case "begins_with":
		return distinct && all("S B", n.args...)
	case "contains":
		return distinct && all("S B SS NS BS L", n.args[0])
	case "size":
		return all("S B SS NS BS L M", n.args...)
	case "+", "-":
		return all("N", n.args...)
	case "list_append":
		return all("L", n.args...)
	}
	return true
}

// refText renders an encoded item.
func refText(it item.Item) string {
	return refRender(refItem(string(bytes.TrimSpace(it.AppendJSON(nil)))))
}
