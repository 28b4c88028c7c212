package conflict

import (
	"bytes"
	"slices"

	"github.com/cockroachdb/apd/v3"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// What an attribute shows follows from its cell and from what lies beside it. An attribute whose declared type has changed may have several kinds of contributions; then the first of these that is there decides:
//
//   - live bids: the greatest of them and of the cell, if none has seen it; the least, if the latest of them is for the least;
//   - a live cell: a number and the remainders, a set and the live elements of its type, any other value alone;
//   - live elements: those of the type of the latest of them;
//   - remainders: their sum.

// base returns the cell of an attribute, if it has a value: where something was written inside of it, the map that this comes to, by the stamp of its presence.
func (r *Record) base(name []byte) (c Cell, ok bool) {
	if from, to := r.nested(name); from < to {
		n := r.node(name)
		c = Cell{Name: name}
		c.Value, c.Stamp, ok = n.shown()
		return c, ok
	}
	if i, found := r.find(name); found && !r.Cells[i].Removed {
		return r.Cells[i], true
	}
	return Cell{}, false
}

// element returns an element; nil if there is none.
func (t *Typed) element(v item.Value) *Element {
	if i, found := slices.BinarySearchFunc(t.Elements, v, func(e Element, v item.Value) int { return bytes.Compare(e.Value, v) }); found {
		return &t.Elements[i]
	}
	return nil
}

// hides reports whether the element was removed from a cell with the stamp given. e may be nil.
func (e *Element) hides(base hlc.Stamp) bool {
	return e != nil && dotOf(e.Removals, base.Origin) >= base.Time
}

// outbidOf returns the greatest dot of origin o that a write had seen. t may be nil.
func (t *Typed) outbidOf(o hlc.Origin) hlc.Timestamp {
	if t == nil {
		return 0
	}
	return dotOf(t.Outbid, o)
}

// hidesBase reports whether a bid had seen a cell with the stamp given.
func (t *Typed) hidesBase(base hlc.Stamp) bool { return t.outbidOf(base.Origin) >= base.Time }

// shown returns what an attribute shows, and the latest of the stamps that it shows by. ok is false if it shows nothing. t may be nil.
func (r *Record) shown(name []byte, t *Typed) (v item.Value, at hlc.Stamp, ok bool) {
	base, ok := r.base(name)
	if t == nil {
		return base.Value, base.Stamp, ok
	}
	if ok && t.hidesBase(base.Stamp) {
		base, ok = Cell{}, false
	}
	if v, at, found := t.best(base.Value, base.Stamp); found {
		return v, at, true
	}
	if !ok {
		if v, at, ok = t.set(nil, hlc.Stamp{}); !ok {
			v, at, ok = t.count(nil, hlc.Stamp{})
		}
		return v, at, ok
	}
	switch {
	case base.Value.Type() == item.N:
		return t.count(base.Value, base.Stamp)
	case base.Value.Type().IsSet():
		return t.set(base.Value, base.Stamp)
	}
	return base.Value, base.Stamp, true
}

// best returns the best of the live bids, and of the cell's value, if there is one. found is false without a live bid.
func (t *Typed) best(base item.Value, stamp hlc.Stamp) (v item.Value, at hlc.Stamp, found bool) {
	least := false
	for i := range t.Bids {
		if b := &t.Bids[i]; b.isLive(t) && (!found || at.Less(b.Dot)) {
			at, least, found = b.Dot, b.Min, true
		}
	}
	if !found {
		return nil, hlc.Stamp{}, false
	}
	if len(base) > 0 {
		v = base
		if at.Less(stamp) {
			at = stamp
		}
	}
	for i := range t.Bids {
		if b := &t.Bids[i]; b.isLive(t) && (len(v) == 0 || better(b.Value, v, least)) {
			v = b.Value
		}
	}
	return v, at, true
}

// better reports whether a is above b, or below it for the least.
func better(a, b item.Value, least bool) bool {
	if least {
		return compareValues(a, b) < 0
	}
	return compareValues(a, b) > 0
}

// compareValues orders values: by type, then numbers by value, strings and binaries by their bytes, all others by their encoding.
func compareValues(a, b item.Value) int {
	if c, ok := a.Compare(b); ok {
		return c
	}
	return bytes.Compare(a, b) // the type is the first byte
}

// count returns the sum of the cell's number, if there is one, and of the remainders. ok is false if there is neither.
func (t *Typed) count(base item.Value, stamp hlc.Stamp) (v item.Value, at hlc.Stamp, ok bool) {
	var sum, left apd.Decimal
	at, ok = stamp, len(base) > 0
	if ok {
		base.Number().Decimal(&sum)
	}
	n := 0
	for i := range t.Runs {
		s, counts := t.remainder(i)
		if !counts {
			continue
		}
		s.decimal(&left)
		addTo(&sum, &left)
		if last := t.Runs[i].Last; at.Less(last) {
			at = last
		}
		n++
	}
	if n == 0 {
		return base, stamp, ok
	}
	return appendShown(nil, &sum), at, true
}

// set returns the set of the cell's elements, if it has any, and of the live ones, those of its type. ok is false if no element is live.
func (t *Typed) set(base item.Value, stamp hlc.Stamp) (v item.Value, at hlc.Stamp, ok bool) {
	at = stamp
	var elements []item.Value
	for e := range base.Elements {
		if !t.element(e).hides(stamp) {
			elements = append(elements, e)
		}
	}
	of := base.Type().Elem()
	if len(base) == 0 {
		of = t.elementType()
	}
	for i := range t.Elements {
		e := &t.Elements[i]
		if e.Value.Type() != of {
			continue
		}
		live := false
		e.live(func(dot hlc.Stamp) bool {
			if live = true; at.Less(dot) {
				at = dot
			}
			return true
		})
		if live && !(base.Has(e.Value) && !e.hides(stamp)) {
			elements = append(elements, e.Value)
		}
	}
	if len(elements) == 0 {
		return nil, hlc.Stamp{}, false
	}
	v, err := item.AppendSet(nil, of-item.S+item.SS, elements)
	if err != nil {
		panic("conflict: set: " + err.Error()) // distinct, of one type
	}
	return v, at, true
}

// elementType returns the type of the latest element that is live; zero without one.
func (t *Typed) elementType() (of item.Type) {
	var latest hlc.Stamp
	for i := range t.Elements {
		e := &t.Elements[i]
		e.live(func(dot hlc.Stamp) bool {
			// One write adds to a set elements of one type; where it seems otherwise, the greater type.
			if c := latest.Compare(dot); c < 0 || c == 0 && of < e.Value.Type() {
				latest, of = dot, e.Value.Type()
			}
			return true
		})
	}
	return of
}

// names returns the names of all attributes of which r has anything, ascending. They are views of r.
func (r *Record) names() [][]byte {
	names := make([][]byte, 0, len(r.Cells)+len(r.Typed))
	for i := range r.Cells {
		if len(r.Cells[i].Name) > 0 {
			names = append(names, r.Cells[i].Name)
		}
	}
	names = appendRoots(names, r.Nested)
	for i := range r.Typed {
		names = append(names, r.Typed[i].Name)
	}
	slices.SortFunc(names, bytes.Compare)
	return slices.CompactFunc(names, bytes.Equal)
}

// item returns the item that r, which is live, shows, with the attributes of key that it lacks.
func (r *Record) item(key item.Item) item.Item {
	var b item.Builder
	if len(r.Typed)+len(r.Nested) == 0 {
		for i := range r.Cells {
			if c := &r.Cells[i]; !c.Removed && len(c.Name) > 0 {
				b.Add(c.Name, c.Value)
			}
		}
	} else {
		for _, name := range r.names() {
			if v, _, ok := r.shown(name, r.typed(name)); ok {
				b.Add(name, v)
			}
		}
	}
	for name, v := range key.Each {
		if _, _, ok := r.shown(name, r.typed(name)); !ok {
			b.Add(name, v)
		}
	}
	out, err := b.AppendItem(nil)
	if err != nil {
		// Names are sorted and distinct in any record that Join, Delta or DecodeRecord made.
		panic("conflict: record with a name twice: " + err.Error())
	}
	return out
}
