package conflict

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Write is what is kept of the write that a reset or a cell comes from.
type Write struct {
	Stamp   hlc.Stamp
	Context vector.Vector // what the writer had seen of other origins, above Floor
	Floor   hlc.Timestamp // the writer's purge frontier; everything at or below it was seen too
}

// Cell is one top-level attribute, or with an empty name the item's presence.
type Cell struct {
	Name []byte
	Write
	Removed bool
	Value   item.Value // empty if Removed, and for the presence
}

// Record is a stored item. The zero value is a record that was never written. Records are immutable, their slices shared.
//
// # The lattice
//
// Regions write the same key without asking each other, and their changes arrive in any order, some twice, some inside a
// whole record. All replicas must end with the same record whatever happened on the way, so a record is an element of a
// join-semilattice, and there is one way only in which records change: Join.
//
//   - Reset is ordered by stamp; Join keeps the greater.
//   - A cell is ordered by stamp; for each name Join keeps the greater. Cells with a stamp below Reset's are dropped. One
//     at exactly Reset's stamp belongs to that put and stays.
//   - What was written inside of an attribute is joined as node says: a record within the record.
//   - What an attribute has beside its cell is joined as Typed says. A reset drops nothing of it.
//   - Vector is joined by origin.
//
// Each of them is a maximum under a total order, or a filter by such a maximum that grows with it, hence commutative,
// associative and idempotent. This holds only while the orders are total over everything that distinguishes two
// values. Equal stamps should mean equal writes; after a fault they may not, and a tie decided by less than
// everything (or by rules that take each pair for itself, "removal beats value, greater value beats smaller") is a divergence that waits. So ties go
// on to removal, then value, then context and floor, by bytes, and the winner is taken whole, never mixed from both.
//
// # Presence
//
// An item exists when its presence cell, the one with the empty name, is live, or a contribution is. Each write but a delete stamps the presence. Without it
// an item that lost its last attribute could not be told from one deleted, and an update concurrent with a delete
// would leave attributes without an item.
//
// # What was rejected
//
// Merging by each table's mode: two regions that learn of a change of mode at different times would diverge. The mode
// decides how writes are recorded (see Mode) and never reaches this code.
type Record struct {
	Reset  Write         // the latest whole-item write; zero stamp: none
	Cells  []Cell        // sorted by name, one for each name, none older than Reset
	Nested []Cell        // entries of maps, and the presences of those maps (see node); Name is a path; sorted by it, one for each
	Typed  []Typed       // what attributes have beside their cells; sorted by name, one for each, none empty
	Vector vector.Vector // greatest stamp of each origin that the record's writes had seen, those of Reset and Cells included
}

// Live reports whether the item exists.
func (r *Record) Live() bool {
	return len(r.Cells) > 0 && len(r.Cells[0].Name) == 0 && !r.Cells[0].Removed || anyLive(r.Typed)
}

// find returns the index of the cell with the name given, or where it belongs.
func (r *Record) find(name []byte) (int, bool) {
	return slices.BinarySearchFunc(r.Cells, name, func(c Cell, n []byte) int { return bytes.Compare(c.Name, n) })
}

// set puts a cell, in place of one with its name.
func (r *Record) set(c Cell) {
	i, found := r.find(c.Name)
	if found {
		r.Cells[i] = c
		return
	}
	r.Cells = slices.Insert(r.Cells, i, c)
}

// Join is the one merge: the least record that is at or above both. It is commutative, associative and idempotent. The result
// shares memory with both.
func Join(a, b Record) Record {
	r := Record{Reset: a.Reset, Typed: joinTyped(a.Typed, b.Typed), Vector: a.Vector.Join(b.Vector)}
	if compareWrites(&a.Reset, &b.Reset) < 0 {
		r.Reset = b.Reset
	}
	r.Cells = make([]Cell, 0, max(len(a.Cells), len(b.Cells)))
	keep := func(c *Cell) {
		if !c.Stamp.Less(r.Reset.Stamp) {
			r.Cells = append(r.Cells, *c)
		}
	}
	var ties [][]byte
	i, j := 0, 0
	for i < len(a.Cells) && j < len(b.Cells) {
		x, y := &a.Cells[i], &b.Cells[j]
		order := bytes.Compare(x.Name, y.Name)
		if order == 0 && x.Stamp == y.Stamp && x.tiesInside(y) {
			ties = append(ties, x.Name)
		}
		switch {
		case order < 0:
			keep(x)
		case order > 0:
			keep(y)
		case compareCells(x, y) < 0:
			keep(y)
		default:
			keep(x)
		}
		if order <= 0 {
			i++
		}
		if order >= 0 {
			j++
		}
	}
	for ; i < len(a.Cells); i++ {
		keep(&a.Cells[i])
	}
	for ; j < len(b.Cells); j++ {
		keep(&b.Cells[j])
	}
	if len(a.Nested)+len(b.Nested)+len(ties) > 0 {
		r.joinNested(&a, &b, ties)
	}
	return r
}

// tiesInside reports whether two cells of one stamp are different maps, of which each entry counts for itself.
func (c *Cell) tiesInside(o *Cell) bool {
	return (c.Value.Type() == item.M || o.Value.Type() == item.M) && !bytes.Equal(c.Value, o.Value)
}

// compareCells orders two cells of one name: by stamp (time, then origin), then a removal above a value, then by everything
// else, so that only equal cells are equal.
func compareCells(a, b *Cell) int {
	if c := a.Stamp.Compare(b.Stamp); c != 0 {
		return c
	}
	if a.Removed != b.Removed {
		if a.Removed {
			return 1
		}
		return -1
	}
	if c := bytes.Compare(a.Value, b.Value); c != 0 {
		return c
	}
	return compareWrites(&a.Write, &b.Write)
}

// compareWrites orders by stamp, then context, then floor: total.
func compareWrites(a, b *Write) int {
	if c := a.Stamp.Compare(b.Stamp); c != 0 {
		return c
	}
	if c := slices.CompareFunc(a.Context, b.Context, compareEntries); c != 0 {
		return c
	}
	return cmp.Compare(a.Floor, b.Floor)
}

func compareEntries(a, b hlc.Stamp) int {
	if c := cmp.Compare(a.Origin, b.Origin); c != 0 {
		return c
	}
	return cmp.Compare(a.Time, b.Time)
}

// implies reports whether a vector that counts w has an entry of s's origin at or above s.
func (w *Write) implies(s hlc.Stamp) bool {
	return s.Origin == 0 || w.Stamp.Origin == s.Origin && s.Time <= w.Stamp.Time || w.Context.Contains(s)
}

// implied returns v raised to what w implies. A stamp of no region (an expiry) is no entry.
func (w *Write) implied(v vector.Vector) vector.Vector {
	if w.Stamp.Origin != 0 {
		v = v.With(w.Stamp)
	}
	return v.Join(w.Context)
}

// settle returns w without context and floor if both are at or below the purge frontier p: nothing that they could tell
// apart arrives any more.
func (w Write) settle(p hlc.Timestamp) Write {
	if w.Floor > p || slices.ContainsFunc(w.Context, func(s hlc.Stamp) bool { return s.Time > p }) {
		return w
	}
	return Write{Stamp: w.Stamp}
}

// settle is what only a local write does at the purge frontier p: it drops the entries of the vector at or below p, and contexts
// and floors as Write.settle. Only the write itself, own, keeps its own beside what other regions have written: it says that somebody has seen all of that (see Open). It shares nothing that it changes.
func (r *Record) settle(p hlc.Timestamp, own hlc.Stamp) Record {
	out := Record{Cells: slices.Clone(r.Cells), Nested: slices.Clone(r.Nested), Typed: r.Typed, Vector: r.Vector.Above(p)}
	others := func(c Cell) bool { return c.Stamp.Origin != own.Origin }
	alone := (r.Reset.Stamp.IsZero() || r.Reset.Stamp.Origin == own.Origin) && !slices.ContainsFunc(r.Cells, others) && !slices.ContainsFunc(r.Nested, others)
	settled := func(w Write) Write {
		if w.Stamp == own && !alone {
			return w
		}
		return w.settle(p)
	}
	out.Reset = settled(r.Reset)
	out.Vector = out.Reset.implied(out.Vector)
	for _, cells := range [...][]Cell{out.Cells, out.Nested} {
		for i := range cells {
			cells[i].Write = settled(cells[i].Write)
			out.Vector = cells[i].implied(out.Vector)
		}
	}
	out.wholeAgain()
	return out
}
