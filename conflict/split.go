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
	slices.SortFunc(writes, compareWrites)
	writes = slices.CompactFunc(writes, func(a, b *Write) bool { return compareWrites(a, b) == 0 })
	out := make([]Change, 0, len(writes))
	for _, w := range writes {
		out = append(out, r.changeOf(w))
	}
	return out, nil
}

// changeOf returns the change that made what w has left in r.
func (r *Record) changeOf(w *Write) Change {
	c := Change{Dot: w.Stamp, Context: w.Context, Floor: w.Floor}
	cells := r.cellsOf(w)
	if compareWrites(w, &r.Reset) == 0 {
		// As one put where that says it all; a put whose attributes have gone since would read as a delete.
		if put, ok := itemOfCells(cells); ok {
			c.Ops = RecordPut(nil, put)
			return c
		}
		c.Ops = RecordDelete(nil)
	}
	for _, cell := range cells {
		op := Op{Kind: OpSetCell, Name: cell.Name, Value: cell.Value}
		if cell.Removed {
			op.Kind = OpRemoveCell
		}
		// An attribute's operation writes the presence too.
		if len(cell.Name) > 0 || len(cells) == 1 {
			c.Ops = append(c.Ops, op)
		}
	}
	return c
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

// Adds reports whether joining c into the encoded record current would change more than bookkeeping: its reset or a cell. What adds nothing is known
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
	return after.Reset.Stamp != before.Reset.Stamp || !slices.EqualFunc(after.Cells, before.Cells, func(a, b Cell) bool {
		return a.Stamp == b.Stamp && a.Removed == b.Removed && bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Value, b.Value)
	}), nil
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
	return h.newest(), nil
}
