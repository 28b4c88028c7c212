package naive

import (
	"math/big"
	"slices"
)

func whole(n int) *big.Rat { return new(big.Rat).SetInt64(int64(n)) }

// projection parses and binds ProjectionExpression; nil if there is none.
func (b *bindings) projection(p object) ([][]step, error) {
	text, ok := p["ProjectionExpression"].(string)
	if !ok {
		return nil, nil
	}
	nodes, err := parseChecked(text, parseProjection)
	if err == nil {
		for _, n := range nodes {
			b.path(n)
		}
		b.overlaps(nodes)
		err = b.verdict()
	}
	if err != nil {
		return nil, prefixed("Invalid ProjectionExpression: ", err)
	}
	var out [][]step
	for _, n := range nodes {
		out = append(out, n.steps)
	}
	return out, nil
}

// overlaps demands that no path lies within another, and that no two ask for different kinds of one container.
func (b *bindings) overlaps(nodes []*node) {
	for i, n := range nodes {
		for _, earlier := range nodes[:i] {
			one, two := earlier.steps, n.steps
			short := min(len(one), len(two))
			switch {
			case slices.Equal(one[:short], two[:short]):
				b.fail("Two document paths overlap with each other; must remove or rewrite one of these paths; path one: %s, path two: %s",
					pathText(one), pathText(two))
			case conflicting(one, two):
				b.fail("Two document paths conflict with each other; must remove or rewrite one of these paths; path one: %s, path two: %s",
					pathText(one), pathText(two))
			}
		}
	}
}

// conflicting reports whether one path takes for a map what the other takes for a list.
func conflicting(one, two []step) bool {
	for i := range min(len(one), len(two)) {
		if (one[i].name == "") != (two[i].name == "") {
			return true
		}
		if one[i] != two[i] {
			return false
		}
	}
	return false
}

// project returns what the paths, none of which overlap, name of an item. Maps keep the entries named, lists the elements named, in their order.
func project(it item, paths [][]step) item {
	v, ok := projectValue(value{kind: "M", entries: it}, paths)
	if !ok {
		return item{}
	}
	return v.entries
}

// projectValue returns what is named of v; ok is false if nothing is there.
func projectValue(v value, paths [][]step) (value, bool) {
	if len(paths[0]) == 0 {
		return v, true
	}
	out := value{kind: v.kind}
	switch v.kind {
	case "M":
		out.entries = map[string]value{}
		for name, e := range v.entries {
			below := following(paths, step{name: name})
			if len(below) == 0 {
				continue
			}
			if part, ok := projectValue(e, below); ok {
				out.entries[name] = part
			}
		}
		return out, len(out.entries) > 0
	case "L":
		for i, e := range v.list {
			below := following(paths, step{index: i})
			if len(below) == 0 {
				continue
			}
			if part, ok := projectValue(e, below); ok {
				out.list = append(out.list, part)
			}
		}
		return out, len(out.list) > 0
	}
	return value{}, false
}

// following returns the rests of the paths that begin with s.
func following(paths [][]step, s step) [][]step {
	var out [][]step
	for _, p := range paths {
		if len(p) > 0 && p[0] == s {
			out = append(out, p[1:])
		}
	}
	return out
}
