package conflict

import (
	"bytes"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// ChangesOf takes an encoded record apart into the writes of which something is left in it, each as a change with its dot, context and floor, ascending. Joining all of them
// gives the record again, the vector aside: what the writes themselves had seen is all that is known of that. They are for logging writes anew that other regions may never
// have got. Table, catalog version and transaction are zero, Key is nil; names and values are views of record. The error is that of DecodeRecord, or ErrUnsupported for a record that no
// changes of this version lead to.
func ChangesOf(record []byte) ([]Change, error) {
	r, err := DecodeRecord(record)
	if err != nil {
		return nil, err
	}
	var writes []*Write
	if r.Reset.Stamp.Origin != 0 {
		writes = append(writes, &r.Reset)
	}
	for i := range r.Cells {
		if c := &r.Cells[i]; len(c.Name) == 0 && c.Removed {
			return nil, &Error{Op: "split record", Kind: ErrUnsupported, Message: "removed presence"}
		}
		writes = append(writes, &r.Cells[i].Write)
	}
	for i := range r.Nested {
		if c := &r.Nested[i]; isPresence(c.Name) && c.Removed {
			return nil, &Error{Op: "split record", Kind: ErrUnsupported, Message: "removed presence"}
		}
		writes = append(writes, &r.Nested[i].Write)
	}
	slices.SortFunc(writes, compareWrites)
	writes = slices.CompactFunc(writes, func(a, b *Write) bool { return compareWrites(a, b) == 0 })
	// Of contributions only the dot of their write is kept, no context and no floor: they belong to the first write with that dot that has more.
	known := len(writes)
	for i := range r.Typed {
		r.Typed[i].writes(func(dot hlc.Stamp) {
			if !slices.ContainsFunc(writes[:known], func(w *Write) bool { return w.Stamp == dot }) {
				writes = append(writes, &Write{Stamp: dot})
			}
		})
	}
	slices.SortFunc(writes, compareWrites)
	writes = slices.CompactFunc(writes, func(a, b *Write) bool { return compareWrites(a, b) == 0 })
	out := make([]Change, 0, len(writes))
	for i, w := range writes {
		c := Change{Dot: w.Stamp, Context: w.Context, Floor: w.Floor}
		if i == 0 || writes[i-1].Stamp != w.Stamp {
			for j := range r.Typed {
				c.Ops = r.Typed[j].opsOf(c.Ops, w.Stamp)
			}
		}
		// A deletion comes last: it takes the presence back that contributions write.
		c.Ops = r.opsOf(c.Ops, w)
		out = append(out, c)
	}
	return out, nil
}

// opsOf appends the operations of the write with the dot given that have left something in t. By how much its increment raised the run is not known any more.
func (t *Typed) opsOf(ops []Op, dot hlc.Stamp) []Op {
	for i := range t.Runs {
		if run := &t.Runs[i]; run.Last == dot {
			ops = append(ops, Op{Kind: OpIncrement, Type: TypeCounter, Name: t.Name, Value: appendIncrement(nil, run, nil)})
		}
	}
	for of := item.S; of <= item.B; of++ {
		var added []item.Value
		for i := range t.Elements {
			if e := &t.Elements[i]; e.Value.Type() == of && slices.Contains(e.Adds, dot) {
				added = append(added, e.Value)
			}
		}
		if len(added) > 0 {
			set, err := item.AppendSet(nil, of-item.S+item.SS, added)
			if err != nil {
				panic("conflict: set: " + err.Error()) // distinct, of one type
			}
			ops = append(ops, Op{Kind: OpAddElements, Type: TypeSet, Name: t.Name, Value: set})
		}
	}
	for i := range t.Bids {
		if b := &t.Bids[i]; b.Dot == dot {
			op := Op{Kind: OpSetCell, Type: TypeMax, Name: t.Name, Value: b.Value}
			if b.Min {
				op.Type = TypeMin
			}
			ops = append(ops, op)
		}
	}
	if seen := t.seenBy(dot); !seen.isEmpty() {
		ops = append(ops, Op{Kind: OpObserve, Name: t.Name, Value: appendObservation(nil, dot, &seen)})
	}
	return ops
}

// seenBy returns the observations of the write with the dot given.
func (t *Typed) seenBy(dot hlc.Stamp) Typed {
	seen := Typed{Name: t.Name}
	other := func(o Observed) bool { return o.By != dot }
	for _, o := range t.Observed {
		if o.By == dot {
			seen.Observed = append(seen.Observed, o)
		}
	}
	for _, e := range t.Elements {
		if removals := slices.DeleteFunc(slices.Clone(e.Removals), other); len(removals) > 0 {
			seen.Elements = append(seen.Elements, Element{Value: e.Value, Removals: removals})
		}
	}
	seen.Outbid = slices.DeleteFunc(slices.Clone(t.Outbid), other)
	return seen
}

// opsOf appends the operations of w that made what it has left in r's reset and cells.
func (r *Record) opsOf(ops []Op, w *Write) []Op {
	cells := r.cellsOf(w)
	if compareWrites(w, &r.Reset) == 0 {
		// As one put where that says it all; a put whose attributes have gone since would read as a delete.
		if put, ok := itemOfCells(cells); ok {
			return r.nestedOpsOf(RecordPut(ops, put), w)
		}
		ops = RecordDelete(ops)
	}
	for _, cell := range cells {
		op := Op{Kind: OpSetCell, Name: cell.Name, Value: cell.Value}
		if cell.Removed {
			op.Kind = OpRemoveCell
		}
		// An attribute's operation writes the presence too.
		if len(cell.Name) > 0 || len(cells) == 1 {
			ops = append(ops, op)
		}
	}
	return r.nestedOpsOf(ops, w)
}

// nestedOpsOf appends the operations of w inside of maps.
func (r *Record) nestedOpsOf(ops []Op, w *Write) []Op {
	for i := range r.Nested {
		c := &r.Nested[i]
		if compareWrites(&c.Write, w) != 0 {
			continue
		}
		op := Op{Kind: OpSetPath, Type: TypeMap, Name: c.Name, Value: c.Value}
		if c.Removed {
			op.Kind = OpRemovePath
		}
		ops = append(ops, op)
	}
	return ops
}

// cellsOf returns the cells that are of the write w.
func (r *Record) cellsOf(w *Write) (cells []Cell) {
	for i := range r.Cells {
		if compareWrites(&r.Cells[i].Write, w) == 0 {
			cells = append(cells, r.Cells[i])
		}
	}
	return cells
}

// itemOfCells returns the item that cells of one put are. ok is false if they are no put of an item with an attribute.
func itemOfCells(cells []Cell) (it item.Item, ok bool) {
	var b item.Builder
	for _, c := range cells {
		if c.Removed {
			return nil, false
		}
		if len(c.Name) > 0 {
			b.Add(c.Name, c.Value)
			ok = true
		}
	}
	if !ok {
		return nil, false
	}
	it, err := b.AppendItem(nil)
	if err != nil {
		panic("conflict: record with a name twice: " + err.Error()) // names in a record are sorted and distinct
	}
	return it, true
}

// Adds reports whether joining c into the encoded record current would change more than bookkeeping: its reset, a cell or a contribution. What adds nothing is known
// there, or was overwritten. The error is that of DecodeRecord or of Change.Delta.
func Adds(current []byte, c *Change) (bool, error) {
	before, err := DecodeRecord(current)
	if err != nil {
		return false, err
	}
	delta, err := c.Delta()
	if err != nil {
		return false, err
	}
	after := Join(before, delta)
	same := func(a, b Cell) bool {
		return a.Stamp == b.Stamp && a.Removed == b.Removed && bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Value, b.Value)
	}
	return after.Reset.Stamp != before.Reset.Stamp || !sameTyped(after.Typed, before.Typed) ||
		!slices.EqualFunc(after.Cells, before.Cells, same) || !slices.EqualFunc(after.Nested, before.Nested, same), nil
}

// NewestOf returns the greatest stamp of a write that has left something in an encoded record; zero for no record.
func NewestOf(encoded []byte) (hlc.Stamp, error) {
	if len(encoded) == 0 {
		return hlc.Stamp{}, nil
	}
	h, err := readHead(encoded)
	if err != nil {
		return hlc.Stamp{}, err
	}
	newest := h.newest()
	if h.more == nil {
		return newest, nil
	}
	for i := range h.more.typed {
		h.more.typed[i].writes(func(dot hlc.Stamp) {
			if newest.Less(dot) {
				newest = dot
			}
		})
	}
	return newest, nil
}
