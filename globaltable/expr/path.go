package expr

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Step is one step of a document path: to an attribute or the entry of a map by its name, or, if Name is nil, to element Index of a
// list.
type Step struct {
	Name  []byte
	Index int
}

func (s Step) isIndex() bool { return s.Name == nil }

// compareSteps orders names by their bytes, then elements by their indexes: the order of an item's bytes.
func compareSteps(a, b Step) int {
	switch {
	case a.isIndex() != b.isIndex():
		if b.isIndex() {
			return -1
		}
		return 1
	case a.isIndex():
		return cmp.Compare(a.Index, b.Index)
	}
	return bytes.Compare(a.Name, b.Name)
}

// target is a document path that something is done with. Paths of one expression lie beside each other, none within another.
type target struct {
	path  []Step // at least one; the first is a name
	place int    // of the path in the expression
}

func compareTargets(a, b target) int {
	if c := slices.CompareFunc(a.path, b.path, compareSteps); c != 0 {
		return c
	}
	return cmp.Compare(a.place, b.place)
}

// sortTargets sorts targets in place and returns DynamoDB's error if a path lies within another, or if two take one place for a map
// and for a list.
//
// Sorted, a path is followed directly by one that lies within it, if there is one; and where the names under one place end and the
// indexes begin, two neighbours differ. So looking at neighbours finds all faults.
func sortTargets(parameter string, targets []target) error {
	if !slices.IsSortedFunc(targets, compareTargets) {
		slices.SortFunc(targets, compareTargets)
	}
	for i := 1; i < len(targets); i++ {
		a, b := targets[i-1], targets[i]
		common := 0
		for common < min(len(a.path), len(b.path)) && compareSteps(a.path[common], b.path[common]) == 0 {
			common++
		}
		what := ""
		switch {
		case common == len(a.path):
			what = "overlap"
		case a.path[common].isIndex() != b.path[common].isIndex():
			what = "conflict"
		default:
			continue
		}
		if a.place > b.place {
			a, b = b, a
		}
		return invalid(parameter, "Two document paths "+what+" with each other; must remove or rewrite one of these paths",
			"; path one: "+pathText(a.path)+", path two: "+pathText(b.path))
	}
	return nil
}

// pathText returns a path as messages quote it: [a, [0], b].
func pathText(path []Step) string {
	text := []byte{'['}
	for i, s := range path {
		if i > 0 {
			text = append(text, ", "...)
		}
		if s.isIndex() {
			text = append(text, '[')
			text = strconv.AppendInt(text, int64(s.Index), 10)
			text = append(text, ']')
		} else {
			text = append(text, s.Name...)
		}
	}
	return string(append(text, ']'))
}

// appendSteps appends a parsed path with the names of a request.
func (b bound) appendSteps(dst []Step, path []step) []Step {
	for _, s := range path {
		if s.symbol < 0 {
			dst = append(dst, Step{Index: s.index})
		} else {
			dst = append(dst, Step{Name: b[s.symbol]})
		}
	}
	return dst
}

// get returns the value at a path of an item: a view of it.
func (b bound) get(it item.Item, path []step) (v item.Value, ok bool) {
	v, ok = it.Get(b[path[0].symbol])
	for _, s := range path[1:] {
		if !ok {
			return nil, false
		}
		switch {
		case s.symbol >= 0:
			v, ok = v.Get(b[s.symbol])
		case v.Type() == item.L:
			v, ok = v.At(s.index)
		default:
			return nil, false
		}
	}
	return v, ok
}

// follow is get for a path that stands for itself.
func follow(it item.Item, path []Step) (v item.Value, ok bool) {
	v, ok = it.Get(path[0].Name)
	for _, s := range path[1:] {
		switch {
		case !ok:
			return nil, false
		case !s.isIndex():
			v, ok = v.Get(s.Name)
		case v.Type() == item.L:
			v, ok = v.At(s.Index)
		default:
			return nil, false
		}
	}
	return v, ok
}

// samePath reports whether two paths are the same, whatever their symbols.
func (b bound) samePath(p, q []step) bool {
	return slices.EqualFunc(p, q, func(s, t step) bool {
		if s.symbol < 0 || t.symbol < 0 {
			return s == t
		}
		return bytes.Equal(b[s.symbol], b[t.symbol])
	})
}
