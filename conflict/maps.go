package conflict

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// AppendPath appends one name to a path, which is built from the top-level attribute down: of OpSetPath and OpRemovePath, and of Record.Nested. Names may have any bytes. The paths of what is
// inside a map begin with the map's own, so in order of bytes they follow it.
func AppendPath(dst, name []byte) []byte { return appendBytes(dst, name) }

// SplitPath returns the first name of a path and the rest of it: views. ok is false for no path.
func SplitPath(path []byte) (name, rest []byte, ok bool) {
	r := reader{b: path}
	name = r.bytes()
	return name, r.b, r.kind == nil
}

// checkPath reports whether path is that of an entry inside an attribute: 2 to item.MaxNesting names, none empty; where present is allowed the last may be, which is the presence of the map around it.
func checkPath(path []byte, presence bool) bool {
	names := 0
	for len(path) > 0 {
		name, rest, ok := SplitPath(path)
		if !ok || len(name) == 0 && !(presence && len(rest) == 0 && names > 0) {
			return false
		}
		names, path = names+1, rest
	}
	return names >= 2 && names <= item.MaxNesting
}

// isPresence reports whether a path is that of a map's presence.
func isPresence(path []byte) bool {
	for {
		name, rest, ok := SplitPath(path)
		if !ok || len(rest) == 0 {
			return ok && len(name) == 0
		}
		path = rest
	}
}

// CheckPath returns an error, ErrCorrupt, for a path that is not that of an entry inside an attribute.
func CheckPath(path []byte) error {
	if !checkPath(path, false) {
		return &Error{Op: "check path", Kind: ErrCorrupt, Message: "not inside an attribute"}
	}
	return checkNames(path)
}

// checkNames checks the names of a path.
func checkNames(path []byte) error {
	if !checkPath(path, true) {
		return &Error{Op: "check path", Kind: ErrCorrupt, Message: "not inside an attribute"}
	}
	for len(path) > 0 {
		var name []byte
		name, path, _ = SplitPath(path)
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

// checkName checks a name, which may be empty.
func checkName(name []byte) error {
	if !utf8.Valid(name) || len(name) > item.MaxNameSize {
		return &Error{Op: "check name", Kind: ErrCorrupt, Message: "not UTF-8, or too long"}
	}
	return nil
}

// depth returns the number of names of a path.
func depth(path []byte) (names int) {
	for len(path) > 0 {
		_, path, _ = SplitPath(path)
		names++
	}
	return names
}

// node is an attribute, or an entry of a map, with what was written inside of it: a record within the record.
//
// # Maps
//
// Its cell is the write of the whole, the base, as the reset is a record's. Its entries are nodes, the presence first, whose name is empty. What is older than the base is not there. Two nodes are
// joined by the greater base and name by name, as records are; and a base whose value is a map means the same as an empty map with the map's entries, each of the base's write, and its presence. So a map that is joined with
// a node that has entries is taken apart first (explode), and a node whose entries all are of its base's write is put together to one value again (collapse). Thus every state has one form, whole maps
// cost what they did before anybody wrote inside of one, and which of both forms a replica has seen does not matter.
//
// A map is shown if its presence is live; every write inside of it, a removal too, writes that, and the presence of each map around it. So it shows over a base that is older, be that a removal or another value; an entry written by somebody who did not know of that is not lost.
type node struct {
	Cell    // a zero stamp: the whole was never written
	entries []node
}

var emptyMap = item.AppendMap(nil, nil)

func (n *node) isMap() bool { return !n.Stamp.IsZero() && !n.Removed && n.Value.Type() == item.M }

// inner returns the entry with the name given, made if need be.
func (n *node) inner(name []byte) *node {
	i, found := slices.BinarySearchFunc(n.entries, name, func(e node, name []byte) int { return bytes.Compare(e.Name, name) })
	if !found {
		n.entries = slices.Insert(n.entries, i, node{Cell: Cell{Name: name}})
	}
	return &n.entries[i]
}

// explode takes a base that is a whole map apart.
func (n *node) explode() {
	if len(n.entries) > 0 || !n.isMap() {
		return
	}
	n.entries = append(make([]node, 0, n.Value.Len()+1), node{Cell: Cell{Write: n.Write}})
	for name, v := range n.Value.Each {
		n.entries = append(n.entries, node{Cell: Cell{Name: name, Write: n.Write, Value: v}})
	}
	n.Value = emptyMap
}

// collapse puts together what is of one write.
func (n *node) collapse() {
	whole := n.isMap()
	for i := range n.entries {
		e := &n.entries[i]
		e.collapse()
		whole = whole && len(e.entries) == 0 && !e.Removed && compareWrites(&e.Write, &n.Write) == 0
	}
	if !whole || len(n.entries) == 0 || len(n.entries[0].Name) > 0 {
		return
	}
	var b item.Builder
	for _, e := range n.entries[1:] {
		b.Add(e.Name, e.Value)
	}
	v, err := b.AppendMap(nil)
	if err != nil {
		panic("conflict: map with a name twice: " + err.Error()) // entries are sorted and distinct
	}
	n.Value, n.entries = v, nil
}

// prune drops what is older than the write of what is around it.
func (n *node) prune(floor hlc.Stamp) {
	if n.Stamp.Less(floor) {
		n.Cell = Cell{Name: n.Name}
	} else {
		floor = n.Stamp
	}
	if plantedBase {
		floor = hlc.Stamp{}
	}
	kept := n.entries[:0]
	for _, e := range n.entries {
		if e.prune(floor); !e.Stamp.IsZero() || len(e.entries) > 0 {
			kept = append(kept, e)
		}
	}
	n.entries = kept
}

// joinNodes joins what two records have of one name. It may change both.
func joinNodes(a, b node) node {
	if tie := a.Stamp == b.Stamp && compareCells(&a.Cell, &b.Cell) != 0; tie || len(a.entries)+len(b.entries) > 0 {
		a.explode()
		b.explode()
	}
	n := node{Cell: a.Cell}
	if compareCells(&a.Cell, &b.Cell) < 0 {
		n.Cell = b.Cell
	}
	n.entries = joinLists(a.entries, b.entries, func(x, y *node) int { return bytes.Compare(x.Name, y.Name) },
		func(x, y *node) node { return joinNodes(*x, *y) })
	return n
}

// put writes an entry: path is what leads to it from n. n is older, or of the same write.
func (n *node) put(path []byte, c Cell) {
	n.explode()
	n.inner(nil).Cell = Cell{Write: c.Write}
	name, rest, _ := SplitPath(path)
	e := n.inner(name)
	if len(rest) > 0 {
		e.put(rest, c)
		return
	}
	c.Name = name
	*e = node{Cell: c}
}

// shown returns what n shows, and the stamp by which it does. ok is false for nothing.
func (n *node) shown() (v item.Value, at hlc.Stamp, ok bool) {
	if len(n.entries) == 0 || len(n.entries[0].Name) > 0 || n.entries[0].Removed {
		return n.Value, n.Stamp, !n.Removed && !n.Stamp.IsZero()
	}
	var b item.Builder
	for i := range n.entries[1:] {
		e := &n.entries[i+1]
		if v, _, ok := e.shown(); ok {
			b.Add(e.Name, v)
		}
	}
	v, err := b.AppendMap(nil)
	if err != nil {
		panic("conflict: map with a name twice: " + err.Error()) // entries are sorted and distinct
	}
	return v, n.entries[0].Stamp, true
}

// normal reports whether n is as join leaves it: nothing older than what is around it, whole where it can be.
func (n *node) normal(floor hlc.Stamp) bool {
	if !n.Stamp.IsZero() {
		if n.Stamp.Less(floor) {
			return false
		}
		floor = n.Stamp
	}
	if len(n.entries) == 0 {
		return !n.Stamp.IsZero()
	}
	if len(n.Name) == 0 {
		return false // inside a presence
	}
	if n.isMap() {
		presence := Cell{Write: n.Write}
		if !bytes.Equal(n.Value, emptyMap) || len(n.entries[0].Name) > 0 || compareCells(&n.entries[0].Cell, &presence) < 0 {
			return false
		}
	}
	for i := range n.entries {
		if !n.entries[i].normal(floor) {
			return false
		}
	}
	again := node{Cell: n.Cell, entries: slices.Clone(n.entries)}
	again.collapse()
	return len(again.entries) > 0
}

// nested returns which of r's nested cells are inside an attribute: from the first index up to the second.
func (r *Record) nested(name []byte) (from, to int) {
	if len(r.Nested) == 0 {
		return 0, 0
	}
	path := AppendPath(nil, name)
	from, _ = slices.BinarySearchFunc(r.Nested, path, func(c Cell, p []byte) int { return bytes.Compare(c.Name, p) })
	for to = from; to < len(r.Nested) && bytes.HasPrefix(r.Nested[to].Name, path); to++ {
	}
	return from, to
}

// node returns an attribute with all that is inside of it.
func (r *Record) node(name []byte) node {
	n := node{Cell: Cell{Name: name}}
	if i, found := r.find(name); found {
		n.Cell = r.Cells[i]
	}
	from, to := r.nested(name)
	for _, c := range r.Nested[from:to] {
		e := &n
		_, path, _ := SplitPath(c.Name)
		for len(path) > 0 {
			var name []byte
			name, path, _ = SplitPath(path)
			e = e.inner(name)
		}
		c.Name = e.Name
		e.Cell = c
	}
	return n
}

// setNode puts an attribute with all that is inside of it in place of what r has.
func (r *Record) setNode(n node) {
	if !n.Stamp.IsZero() {
		r.set(n.Cell)
	} else if i, found := r.find(n.Name); found {
		r.Cells = slices.Delete(r.Cells, i, i+1)
	}
	from, to := r.nested(n.Name)
	if len(n.entries) == 0 && from == to {
		return
	}
	inside := n.appendNested(nil, AppendPath(nil, n.Name))
	if from == to {
		from, _ = slices.BinarySearchFunc(r.Nested, inside[0].Name, func(c Cell, p []byte) int { return bytes.Compare(c.Name, p) })
		to = from
	}
	r.Nested = slices.Concat(r.Nested[:from], inside, r.Nested[to:])
}

// appendNested appends the cells inside n, whose path is given.
func (n *node) appendNested(cells []Cell, path []byte) []Cell {
	inside := len(cells)
	for i := range n.entries {
		e := &n.entries[i]
		own := AppendPath(slices.Clone(path), e.Name)
		if c := e.Cell; !c.Stamp.IsZero() {
			c.Name = own
			cells = append(cells, c)
		}
		cells = e.appendNested(cells, own)
	}
	// Entries are in order of names, paths in order of lengths first.
	slices.SortFunc(cells[inside:], func(a, b Cell) int { return bytes.Compare(a.Name, b.Name) })
	return cells
}

// joinNested puts the attributes that have something inside in a or b into r, the join of both but for that, and those named besides.
func (r *Record) joinNested(a, b *Record, names [][]byte) {
	for _, cells := range [...][]Cell{a.Nested, b.Nested} {
		names = appendRoots(names, cells)
	}
	slices.SortFunc(names, bytes.Compare)
	for _, name := range slices.CompactFunc(names, bytes.Equal) {
		n := joinNodes(a.node(name), b.node(name))
		n.prune(r.Reset.Stamp)
		n.collapse()
		r.setNode(n)
	}
}

// appendRoots appends the names of the attributes that the nested cells are in.
func appendRoots(names [][]byte, nested []Cell) [][]byte {
	for i := range nested {
		if name, _, _ := SplitPath(nested[i].Name); len(names) == 0 || !bytes.Equal(names[len(names)-1], name) {
			names = append(names, name)
		}
	}
	return names
}

// wholeAgain puts together what is of one write, after cells have gone or have become of one write.
func (r *Record) wholeAgain() {
	for _, name := range appendRoots(nil, r.Nested) {
		n := r.node(name)
		n.collapse()
		r.setNode(n)
	}
}

// checkNested reports whether r's nested cells are in the one form that they have.
func (r *Record) checkNested() bool {
	if slices.ContainsFunc(r.Nested, func(c Cell) bool { return !checkPath(c.Name, true) }) {
		return false
	}
	for _, name := range appendRoots(nil, r.Nested) {
		n := r.node(name)
		if !n.normal(r.Reset.Stamp) {
			return false
		}
	}
	return true
}

// kept reports whether a nested cell is in r, be it as part of what was written with it.
func (r *Record) kept(c *Cell) bool {
	name, _, _ := SplitPath(c.Name)
	if i, found := r.find(name); found && r.Cells[i].Stamp == c.Stamp {
		return true
	}
	from, to := r.nested(name)
	return slices.ContainsFunc(r.Nested[from:to], func(o Cell) bool { return bytes.HasPrefix(c.Name, o.Name) && o.Stamp == c.Stamp })
}

// has reports whether r has the write of a nested cell, or one that is above it: at its path, or of what is around it.
func (r *Record) has(c *Cell) bool {
	if c.Stamp.Compare(r.Reset.Stamp) <= 0 {
		return true
	}
	name, _, _ := SplitPath(c.Name)
	if i, found := r.find(name); found && c.Stamp.Compare(r.Cells[i].Stamp) <= 0 {
		return true
	}
	from, to := r.nested(name)
	return slices.ContainsFunc(r.Nested[from:to], func(o Cell) bool {
		return bytes.HasPrefix(c.Name, o.Name) && c.Stamp.Compare(o.Stamp) <= 0
	})
}
