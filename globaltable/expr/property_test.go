package expr

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable/item"
)

// The generators draw from few names and values, so that what is asked often meets what is there.

func genName(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
}

func genScalar(t *rapid.T) string {
	return rapid.SampledFrom([]string{
		`{"S":""}`, `{"S":"a"}`, `{"S":"ab"}`, `{"S":"b"}`, `{"S":"é"}`, `{"N":"0"}`, `{"N":"1"}`, `{"N":"1.50"}`, `{"N":"-2"}`, `{"N":"2"}`, `{"N":"10"}`,
		`{"B":"YQ=="}`, `{"B":"YWI="}`, `{"BOOL":true}`, `{"BOOL":false}`, `{"NULL":true}`,
		`{"SS":["a","b"]}`, `{"SS":["b","c"]}`, `{"SS":["a"]}`, `{"NS":["1","2"]}`, `{"NS":["2.0"]}`, `{"BS":["YQ=="]}`, `{"BS":["YQ==","YWI="]}`,
		`{"S":"S"}`, `{"S":"L"}`, `{"S":"NULL"}`,
	}).Draw(t, "scalar")
}

func genValue(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 {
		kind = 5
	}
	switch kind {
	case 0, 1:
		return `{"M":` + genEntries(t, depth-1) + `}`
	case 2, 3:
		var elements []string
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			elements = append(elements, genValue(t, depth-1))
		}
		return `{"L":[` + strings.Join(elements, ",") + `]}`
	}
	return genScalar(t)
}

func genEntries(t *rapid.T, depth int) string {
	var members []string
	for _, name := range []string{"a", "b", "c", "d"} {
		if rapid.IntRange(0, 2).Draw(t, "there") > 0 {
			members = append(members, fmt.Sprintf(`"%s":%s`, name, genValue(t, depth)))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func genPath(t *rapid.T) []string {
	path := []string{genName(t)}
	for range rapid.IntRange(0, 3).Draw(t, "steps") {
		if rapid.Bool().Draw(t, "index") {
			path = append(path, fmt.Sprintf("[%d]", rapid.IntRange(0, 4).Draw(t, "i")))
		} else {
			path = append(path, "."+genName(t))
		}
	}
	return path
}

// drawn collects the values that an expression has.
type drawn struct {
	members []string
}

func (d *drawn) value(t *rapid.T) *refNode {
	name := fmt.Sprintf(":v%d", len(d.members))
	d.members = append(d.members, fmt.Sprintf(`"%s":%s`, name, genValue(t, 2)))
	return &refNode{op: "value", name: name}
}

func (d *drawn) json() string {
	if d.members == nil {
		return ""
	}
	return "{" + strings.Join(d.members, ",") + "}"
}

// request returns what the drawn values and the item are for the reference.
func (d *drawn) request(it string) refRequest {
	r := refRequest{item: refItem(it)}
	if d.members != nil {
		r.values = refItem(d.json())
	}
	return r
}

func (d *drawn) path(t *rapid.T) *refNode { return &refNode{op: "path", path: genPath(t)} }

func (d *drawn) operand(t *rapid.T) *refNode {
	switch rapid.IntRange(0, 5).Draw(t, "operand") {
	case 0, 1, 2:
		return d.path(t)
	case 3:
		return &refNode{op: "size", args: []*refNode{d.path(t)}}
	}
	return d.value(t)
}

func (d *drawn) condition(t *rapid.T, depth int) *refNode {
	ops := []string{"=", "<>", "<", "<=", ">", ">=", "BETWEEN", "IN", "attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"}
	if depth > 0 {
		ops = append(ops, "AND", "OR", "NOT", "AND", "OR", "NOT")
	}
	n := &refNode{op: rapid.SampledFrom(ops).Draw(t, "operator")}
	operands := func(count int) {
		for range count {
			n.args = append(n.args, d.operand(t))
		}
	}
	switch n.op {
	case "AND", "OR":
		n.args = []*refNode{d.condition(t, depth-1), d.condition(t, depth-1)}
	case "NOT":
		n.args = []*refNode{d.condition(t, depth-1)}
	case "BETWEEN":
		operands(3)
	case "IN":
		operands(rapid.IntRange(2, 4).Draw(t, "options"))
	case "attribute_exists", "attribute_not_exists":
		n.args = []*refNode{d.path(t)}
	case "attribute_type":
		name := fmt.Sprintf(":v%d", len(d.members))
		d.members = append(d.members, fmt.Sprintf(`"%s":{"S":"%s"}`, name, rapid.SampledFrom([]string{"S", "N", "L", "SS", "NULL"}).Draw(t, "type")))
		n.args = []*refNode{d.path(t), {op: "value", name: name}}
	default:
		operands(2)
	}
	return n
}

// TestConditionProperty: the package and the reference say the same of random conditions and items.
func TestConditionProperty(t *testing.T) {
	p := NewParser(100)
	evaluated := 0
	rapid.Check(t, func(t *rapid.T) {
		var d drawn
		n := d.condition(t, 3)
		it := genEntries(t, 3)
		r := d.request(it)
		text := n.text()
		b := bindings(t, "", d.json())
		c, err := p.Condition(ConditionParameter, []byte(text), b)
		if (err == nil) != r.valid(n) {
			t.Fatalf("%s with %s: %v", text, d.json(), err)
		}
		if err != nil {
			return
		}
		evaluated++
		if got, want := c.Holds(parseItem(t, it)), r.holds(n); got != want {
			t.Fatalf("%s with %s on %s: %v, want %v", text, d.json(), it, got, want)
		}
	})
	if evaluated == 0 {
		t.Error("no condition was valid")
	}
}

func (d *drawn) assigned(t *rapid.T, depth int) *refNode {
	ops := []string{"value", "value", "path", "if_not_exists", "list_append"}
	if depth == 0 {
		ops = ops[:3]
	}
	if depth == 2 {
		ops = append(ops, "+", "-")
	}
	switch op := rapid.SampledFrom(ops).Draw(t, "set"); op {
	case "value":
		return d.value(t)
	case "path":
		return d.path(t)
	case "if_not_exists":
		return &refNode{op: op, args: []*refNode{d.path(t), d.assigned(t, depth-1)}}
	default:
		return &refNode{op: op, args: []*refNode{d.assigned(t, depth-1), d.assigned(t, depth-1)}}
	}
}

func (d *drawn) actions(t *rapid.T) (actions []refAction) {
	for range rapid.IntRange(1, 5).Draw(t, "actions") {
		a := refAction{clause: rapid.SampledFrom([]string{"SET", "SET", "REMOVE", "ADD", "DELETE"}).Draw(t, "clause"), path: genPath(t)}
		switch a.clause {
		case "SET":
			a.value = d.assigned(t, 2)
		case "ADD", "DELETE":
			a.value = d.value(t)
		}
		// Mostly paths that can stand together.
		if slices.ContainsFunc(actions, func(b refAction) bool { return refOverlap(a.path, b.path) }) && rapid.IntRange(0, 9).Draw(t, "overlap") > 0 {
			continue
		}
		actions = append(actions, a)
	}
	return actions
}

// validUpdate is what can be told of an update without an item.
func (r refRequest) validUpdate(actions []refAction) bool {
	var paths [][]string
	for _, a := range actions {
		paths = append(paths, a.path)
		switch a.clause {
		case "SET":
			if !r.valid(a.value) {
				return false
			}
		case "ADD", "DELETE":
			typ := r.operand(a.value).typ
			if !(strings.HasSuffix(typ, "S") && len(typ) == 2 || typ == "N" && a.clause == "ADD") {
				return false
			}
		}
	}
	return !refOverlaps(paths)
}

// TestUpdateProperty: the package and the reference make the same of random updates and items.
func TestUpdateProperty(t *testing.T) {
	p := NewParser(100)
	applied := 0
	rapid.Check(t, func(t *rapid.T) {
		var d drawn
		actions := d.actions(t)
		it := genEntries(t, 3)
		r := d.request(it)
		text := refUpdateText(actions)
		u, err := p.Update([]byte(text), bindings(t, "", d.json()))
		if (err == nil) != r.validUpdate(actions) {
			t.Fatalf("%s with %s: %v", text, d.json(), err)
		}
		if err != nil {
			return
		}
		before := parseItem(t, it)
		got, err := u.Apply(nil, before)
		want, ok := r.apply(actions)
		if (err == nil) != ok {
			t.Fatalf("%s with %s on %s: %v", text, d.json(), it, err)
		}
		if err != nil {
			return
		}
		applied++
		if refText(got.After) != refRender(want) {
			t.Fatalf("%s with %s on %s:\n got %s\nwant %s", text, d.json(), it, refText(got.After), refRender(want))
		}
		checkUpdated(t, text, before, got)
		var paths [][]string
		for _, a := range actions {
			paths = append(paths, a.path)
		}
		if got, want := refText(u.AppendOld(nil, before)), refRender(r.project(paths)); got != want {
			t.Fatalf("%s on %s: old\n got %s\nwant %s", text, it, got, want)
		}
	})
	if applied == 0 {
		t.Error("no update was applied")
	}
}

// TestProjectionProperty: the package and the reference project the same.
func TestProjectionProperty(t *testing.T) {
	p := NewParser(100)
	rapid.Check(t, func(t *rapid.T) {
		var paths [][]string
		var texts []string
		for range rapid.IntRange(1, 6).Draw(t, "paths") {
			path := genPath(t)
			if slices.ContainsFunc(paths, func(q []string) bool { return refOverlap(path, q) }) && rapid.IntRange(0, 9).Draw(t, "overlap") > 0 {
				continue
			}
			paths = append(paths, path)
			texts = append(texts, strings.Join(path, ""))
		}
		text := strings.Join(texts, ", ")
		x, err := p.Projection([]byte(text), new(Bindings))
		if (err == nil) == refOverlaps(paths) {
			t.Fatalf("%s: %v", text, err)
		}
		if err != nil {
			return
		}
		it := genEntries(t, 4)
		out := item.Item(x.Append(nil, parseItem(t, it)))
		if err := item.CheckItem(out); err != nil {
			t.Fatalf("%s on %s: %v", text, it, err)
		}
		if got, want := refText(out), refRender((refRequest{item: refItem(it)}).project(paths)); got != want {
			t.Fatalf("%s on %s:\n got %s\nwant %s", text, it, got, want)
		}
	})
}
