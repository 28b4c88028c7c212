package dynamodb_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// generator makes requests. What it makes collides: few tables, few keys, few attributes, few values.
type generator struct {
	*rand.Rand
	tables  []tableDraft
	faults  int           // that the request at hand may still get
	elapsed time.Duration // that the steps so far wait
	// repeatable is a transaction with a token that was made before.
	repeatable tree
}

// one returns one of the list.
func one[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// often and rarely are true in one of n cases.
func (g *generator) rarely(n int) bool { return g.IntN(n) == 0 }

// spoil says to make a fault here, in one of n cases in which the request may have one more.
func (g *generator) spoil(n int) bool {
	if g.faults == 0 || !g.rarely(n) {
		return false
	}
	g.faults--
	return true
}

type tree = map[string]any

// attributeNames are what items have beside their keys.
var attributeNames = []string{"a", "b", "c", "d", "a.b", "size", "näme"}

func (g *generator) name() string {
	if g.rarely(6) {
		return one(g, attributeNames...)
	}
	return one(g, attributeNames[:4]...)
}

var (
	texts   = []string{"", "a", "b", "ab", "abc", "b a", "é", "日本", "\x00", "\"\\\n"}
	numbers = []string{"0", "-0", "1", "-1", "2", "3", "10", "1.5", "-1.50", "1e2", "100", "0.1", "+7", "007", ".5", "5.", "1E-130", "-1E-130", "9.9e125",
		"12345678901234567890123456789012345678", "0.00000000000000000000000000000000000001", "99999999999999999999999999999999999999e88"}
	binaries = []string{"", "YQ==", "YWI=", "AA==", "/+8="}
)

// value returns an attribute value nested up to the depth given.
func (g *generator) value(depth int) any {
	if g.spoil(12) {
		return g.badValue()
	}
	kinds := []string{"S", "S", "N", "N", "B", "BOOL", "NULL", "SS", "NS", "BS"}
	if depth > 0 {
		kinds = append(kinds, "M", "M", "L", "L")
	}
	return g.valueOf(one(g, kinds...), depth)
}

func (g *generator) valueOf(kind string, depth int) any {
	var content any
	switch kind {
	case "S":
		content = one(g, texts...)
		if g.rarely(60) {
			content = strings.Repeat("long", 1+g.IntN(3000))
		}
	case "N":
		content = one(g, numbers[:12]...)
		if g.rarely(5) {
			content = one(g, numbers...)
		}
	case "B":
		content = one(g, binaries...)
	case "BOOL":
		content = g.rarely(2)
	case "NULL":
		content = true
	case "M":
		content = g.attributes(g.IntN(4), depth-1)
	case "L":
		list := []any{}
		for range g.IntN(4) {
			list = append(list, g.value(depth-1))
		}
		content = list
	case "SS":
		content = g.subset("a", "b", "c", "")
	case "NS":
		content = g.subset("1", "2", "3.0", "1e2", "-1")
	case "BS":
		content = g.subset("YQ==", "YWI=", "AA==", "")
	}
	return tree{kind: content}
}

// subset returns one to all of the elements, in any order.
func (g *generator) subset(elements ...string) []any {
	var out []any
	for _, i := range g.Perm(len(elements))[:1+g.IntN(len(elements))] {
		out = append(out, elements[i])
	}
	return out
}

// attributes returns a map of so many attributes at most.
func (g *generator) attributes(n, depth int) tree {
	out := tree{}
	for range n {
		out[g.name()] = g.value(depth)
	}
	return out
}

// badValue returns what is no attribute value.
func (g *generator) badValue() any {
	nested := any(tree{"S": "x"})
	for range 33 {
		nested = tree{"L": []any{nested}}
	}
	return one[any](g,
		tree{}, tree{"S": nil}, tree{"X": "a"}, tree{"S": "a", "N": "1"}, tree{"S": "a", "X": 1},
		tree{"N": ""}, tree{"N": "x"}, tree{"N": "1 "}, tree{"N": "1e"}, tree{"N": "NaN"}, tree{"N": "0x1"},
		tree{"N": "1e126"}, tree{"N": "-1e126"}, tree{"N": "1e-131"}, tree{"N": "123456789012345678901234567890123456789"}, tree{"N": "1e99999999999"},
		tree{"SS": []any{}}, tree{"NS": []any{}}, tree{"BS": []any{}},
		tree{"SS": []any{"a", "b", "a"}}, tree{"NS": []any{"1", "1.0"}}, tree{"BS": []any{"YQ==", "YQ=="}}, tree{"NS": []any{"1", "x"}},
		tree{"NULL": false}, tree{"L": []any{tree{}}}, tree{"M": tree{"a": tree{"N": "x"}}}, nested,
		// JSON of wrong types.
		tree{"S": 1}, tree{"S": true}, tree{"N": 1}, tree{"N": 1.5}, tree{"B": 1}, tree{"B": "YQ"}, tree{"B": "Y==="}, tree{"BOOL": "true"}, tree{"BOOL": 1},
		tree{"L": "x"}, tree{"M": []any{}}, tree{"SS": "a"}, tree{"SS": []any{1}}, tree{"S": []any{}}, tree{"S": tree{}}, "x", 1, []any{})
}

// padded returns a text of so many bytes, to meet a limit with.
func padded(n int) string { return strings.Repeat("x", n) }

// keyValue returns a value of a key attribute.
func (g *generator) keyValue(kind string) any {
	if g.spoil(10) {
		return one[any](g, tree{"S": ""}, tree{"B": ""}, tree{"BOOL": true}, tree{"S": padded(1025)}, tree{"S": padded(2049)}, tree{"N": "x"}, tree{"SS": []any{"a"}})
	}
	switch kind {
	case "N":
		return tree{"N": one(g, "0", "1", "1.0", "-1", "2", "10", "1e1", "1E-130")}
	case "B":
		return tree{"B": one(g, "YQ==", "YWI=", "AA==", "AAA=", "AAE=")}
	}
	return tree{"S": one(g, "a", "b", "ab", "a\x00", "é", fmt.Sprint(g.IntN(10)))}
}
