package expr

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// refAction is one action of an update.
type refAction struct {
	clause string
	path   []string
	value  *refNode
}

// refUpdateText renders an update: a clause for each keyword.
func refUpdateText(actions []refAction) string {
	var parts []string
	for _, clause := range []string{"SET", "REMOVE", "ADD", "DELETE"} {
		var texts []string
		for _, a := range actions {
			if a.clause != clause {
				continue
			}
			text := strings.Join(a.path, "")
			switch clause {
			case "SET":
				text += " = " + a.value.text()
			case "ADD", "DELETE":
				text += " " + a.value.text()
			}
			texts = append(texts, text)
		}
		if texts != nil {
			parts = append(parts, clause+" "+strings.Join(texts, ", "))
		}
	}
	return strings.Join(parts, " ")
}

// refOverlap reports whether two paths cannot be in one expression.
func refOverlap(p, q []string) bool {
	for i := range min(len(p), len(q)) {
		if p[i] != q[i] {
			return i > 0 && p[i][0] != q[i][0] // a name and an element of one place
		}
	}
	return true
}

func refOverlaps(paths [][]string) bool {
	for i, p := range paths {
		for _, q := range paths[:i] {
			if refOverlap(p, q) {
				return true
			}
		}
	}
	return false
}

// evaluate returns the value of a SET; nil if it is an error.
func (r refRequest) evaluate(n *refNode) *refValue {
	switch n.op {
	case "path", "value":
		return r.operand(n)
	case "if_not_exists":
		if v := r.operand(n.args[0]); v != nil {
			return v
		}
		return r.evaluate(n.args[1])
	}
	x, y := r.evaluate(n.args[0]), r.evaluate(n.args[1])
	want := "N"
	if n.op == "list_append" {
		want = "L"
	}
	if x == nil || y == nil || x.typ != want || y.typ != want {
		return nil
	}
	if want == "L" {
		return &refValue{typ: "L", l: slices.Concat(x.l, y.l)}
	}
	return refSum(x, y, n.op)
}

func refSum(x, y *refValue, op string) *refValue {
	z := new(big.Rat).Add(refRat(x.text), refRat(y.text))
	if op == "-" {
		z.Sub(refRat(x.text), refRat(y.text))
	}
	return &refValue{typ: "N", text: z.String()}
}

// refGone marks an element of a list that is to go.
var refGone = &refValue{typ: "gone"}

// apply returns the item after the update; ok is false for an error. Places are found in a copy of the item in which nothing moves;
// elements that go are marked, those that come are kept aside, and the lists are put in order at the end.
func (r refRequest) apply(actions []refAction) (after map[string]*refValue, ok bool) {
	root := &refValue{typ: "M", m: refCopy(&refValue{typ: "M", m: r.item}).m}
	coming := map[*refValue]map[int]*refValue{}
	for _, a := range actions {
		at := root
		for i, s := range a.path[:len(a.path)-1] {
			if i == 0 {
				s = "." + s
			}
			at = at.child(s)
		}
		last := a.path[len(a.path)-1]
		if len(a.path) == 1 {
			last = "." + last
		}
		if at == nil || at.typ != map[byte]string{'.': "M", '[': "L"}[last[0]] {
			return nil, false
		}
		v, ok := r.outcome(a, r.at(a.path))
		if !ok {
			return nil, false
		}
		var index int
		switch n, _ := fmt.Sscanf(last, "[%d]", &index); {
		case n == 0 && v == nil:
			delete(at.m, last[1:])
		case n == 0:
			at.m[last[1:]] = v
		case index < len(at.l) && v == nil:
			at.l[index] = refGone
		case index < len(at.l):
			at.l[index] = v
		case v != nil:
			if coming[at] == nil {
				coming[at] = map[int]*refValue{}
			}
			coming[at][index] = v
		}
	}
	refTidy(root, coming)
	return root.m, true
}

// outcome returns the value that an action leaves at its place; nil if none.
func (r refRequest) outcome(a refAction, old *refValue) (v *refValue, ok bool) {
	switch a.clause {
	case "SET":
		v = r.evaluate(a.value)
		if v == nil {
			return nil, false
		}
		return refCopy(v), true
	case "REMOVE":
		return nil, true
	}
	by := r.operand(a.value)
	switch {
	case old == nil && a.clause == "ADD":
		return by, true
	case old == nil:
		return nil, true
	case old.typ != by.typ:
		return nil, false
	case by.typ == "N":
		return refSum(old, by, "+"), true
	}
	members := map[string]bool{}
	for _, e := range old.set {
		members[e] = true
	}
	for _, e := range by.set {
		members[e] = true
		if a.clause == "DELETE" {
			delete(members, e)
		}
	}
	if len(members) == 0 {
		return nil, true
	}
	return &refValue{typ: old.typ, set: slices.Sorted(maps.Keys(members))}, true
}

func refTidy(v *refValue, coming map[*refValue]map[int]*refValue) {
	for _, e := range v.m {
		refTidy(e, coming)
	}
	for _, e := range v.l {
		refTidy(e, coming)
	}
	v.l = slices.DeleteFunc(v.l, func(e *refValue) bool { return e == refGone })
	for _, i := range slices.Sorted(maps.Keys(coming[v])) {
		v.l = append(v.l, coming[v][i])
	}
}

func refCopy(v *refValue) *refValue {
	c := *v
	if v.m != nil {
		c.m = map[string]*refValue{}
		for name, e := range v.m {
			c.m[name] = refCopy(e)
		}
	}
	c.l = nil
	for _, e := range v.l {
		c.l = append(c.l, refCopy(e))
	}
	return &c
}

// project returns what is at the paths, within the maps and lists that hold it.
func (r refRequest) project(paths [][]string) map[string]*refValue {
	out := map[string]*refValue{}
	for name, v := range r.item {
		var below [][]string
		for _, p := range paths {
			if p[0] == name {
				below = append(below, p[1:])
			}
		}
		if kept := refProject(v, below); kept != nil {
			out[name] = kept
		}
	}
	return out
}

func refProject(v *refValue, paths [][]string) *refValue {
	if len(paths) == 0 {
		return nil
	}
	if len(paths[0]) == 0 {
		return v
	}
	below := func(step string) (out [][]string) {
		for _, p := range paths {
			if p[0] == step {
				out = append(out, p[1:])
			}
		}
		return out
	}
	out := &refValue{typ: v.typ, m: map[string]*refValue{}}
	for name, e := range v.m {
		if kept := refProject(e, below("."+name)); kept != nil {
			out.m[name] = kept
		}
	}
	for i, e := range v.l {
		if kept := refProject(e, below(fmt.Sprintf("[%d]", i))); kept != nil {
			out.l = append(out.l, kept)
		}
	}
	if len(out.m)+len(out.l) == 0 {
		return nil
	}
	return out
}
