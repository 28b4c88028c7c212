package conflict

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The encoding of a record, version 1. No bytes at all are the record that was never written. Otherwise
//
//	version ‖ flags ‖ body
//
// and the body has one of two forms. The uniform one is a whole put or delete that nothing newer touched: reset and all cells at one
// stamp. It is what LWW tables hold, and it has the item as package item encodes it, so that reading is slicing:
//
//	uniform   stamp ‖ [context] ‖ [floor] ‖ [rest of the vector] ‖ [sections] ‖ item, to the end (empty: a tombstone)
//	general   writes ‖ [rest of the vector] ‖ [sections] ‖ reset ‖ cells
//	writes    count ‖ (stamp ‖ flags ‖ [context] ‖ [floor])*, ascending: each distinct write once
//	reset     uvarint: 0 is none, else 1 + index of its write
//	cells     count ‖ (name (bytes) ‖ uvarint (2 × index of its write + removed) ‖ [value (bytes)])*, by name
//
// The presence and removals have no value. Of the vector only what the writes do not imply is stored, its times relative to the
// greatest write's. A record that one region wrote under LWW is thus its item and 12 bytes.
//
// Sections are count ‖ (tag ‖ bytes)*, by tag, in general form only. A record with one that is not known is refused: to skip it would lose what it holds at the next merge.
//
// A record has exactly one encoding, and decoding refuses any other: replicas with equal records are byte-identical.
const (
	recordVersion = 1

	recordGeneral  = 1 << 0 // else uniform
	recordLive     = 1 << 1 // uniform: there is an item
	recordContext  = 1 << 2 // uniform: context of the write
	recordFloor    = 1 << 3 // uniform: floor of the write
	recordRest     = 1 << 4 // rest of the vector
	recordSections = 1 << 5
	recordFlags    = recordGeneral | recordLive | recordContext | recordFloor | recordRest | recordSections

	sectionTyped  = 1 // what attributes have beside their cells: typed_codec.go
	sectionNested = 2 // entries of maps, as cells have them, with paths for names

	writeContext = 1 << 0
	writeFloor   = 1 << 1

	minWriteLen = hlc.StampLen + 1
	minCellLen  = 2
)

// head is the decoded front of an encoded record.
type head struct {
	uniform bool
	live    bool          // the item exists
	write   Write         // uniform: the only one
	writes  []Write       // general: ascending
	rest    vector.Vector // of the vector, what the writes do not imply
	more    *more         // what is in sections; nil without any
	body    []byte        // uniform: the item; general: from the reset on
}

// more is what sections hold.
type more struct {
	typed  []Typed
	nested []byte // not decoded yet
}

// readHead reads the front of b, which is not empty. For a record in uniform form it allocates only for vectors.
func readHead(b []byte) (h head, err error) {
	r := reader{b: b}
	if v := r.byte(); v != recordVersion {
		r.fail(ErrUnsupported, "version of the encoding is not known")
	}
	flags := r.byte()
	if flags&^recordFlags != 0 {
		r.fail(ErrUnsupported, "flag is not known")
	}
	base := hlc.Timestamp(0)
	if h.uniform = flags&recordGeneral == 0; h.uniform {
		h.live = flags&recordLive != 0
		h.write = r.context(r.stamp(), flags&recordContext != 0, flags&recordFloor != 0)
		base = h.write.Stamp.Time
	} else {
		if flags&(recordLive|recordContext|recordFloor) != 0 {
			r.fail(ErrCorrupt, "flag of another form")
		}
		if h.writes = r.writes(); len(h.writes) > 0 {
			base = h.writes[len(h.writes)-1].Stamp.Time
		}
	}
	if flags&recordRest != 0 {
		h.rest = r.vector(base)
	}
	if flags&recordSections != 0 {
		h.sections(&r, base)
	}
	for _, s := range h.rest {
		if h.implies(s) {
			r.fail(ErrCorrupt, "vector entry that a write implies")
		}
	}
	if h.uniform && h.live != (len(r.b) > 0) {
		r.fail(ErrCorrupt, "item missing, or bytes after the end")
	}
	h.body = r.b[:len(r.b):len(r.b)]
	if !h.uniform {
		h.live = r.presence() || h.more != nil && anyLive(h.more.typed)
	}
	return h, r.err("decode record")
}

// sections reads the sections; base is the time of the newest write.
func (h *head) sections(r *reader, base hlc.Timestamp) {
	if h.uniform {
		r.fail(ErrUnsupported, "section in this form is not known")
	}
	n := r.count(2)
	if n == 0 {
		r.fail(ErrCorrupt, "no section")
	}
	h.more = new(more)
	last := byte(0)
	for range n {
		tag := r.byte()
		in := reader{b: r.bytes()}
		switch {
		case r.kind != nil:
			return
		case tag <= last:
			r.fail(ErrCorrupt, "sections out of order")
		case tag == sectionTyped:
			h.more.typed = in.typed(base)
		case tag == sectionNested:
			h.more.nested, in.b = in.b, nil
		default:
			r.fail(ErrUnsupported, "section is not known")
		}
		if last = tag; in.kind != nil {
			r.fail(in.kind, in.message)
		} else if len(in.b) > 0 && r.kind == nil {
			r.fail(ErrCorrupt, "bytes after the end of a section")
		}
	}
}

// presence skips the reset and reports whether the first cell is the presence, and live. It leaves faults to the decoding of the cells.
func (r reader) presence() bool {
	r.uvarint()
	if n := r.count(minCellLen); n == 0 || len(r.bytes()) > 0 {
		return false
	}
	return r.uvarint()&1 == 0 && r.kind == nil
}

// newest returns the greatest stamp of a write; zero if there is none.
func (h *head) newest() hlc.Stamp {
	if n := len(h.writes); n > 0 {
		return h.writes[n-1].Stamp
	}
	return h.write.Stamp
}

// implies reports whether the writes imply a vector entry at or above s.
func (h *head) implies(s hlc.Stamp) bool {
	if h.uniform {
		return h.write.implies(s)
	}
	return slices.ContainsFunc(h.writes, func(w Write) bool { return w.implies(s) })
}

// vector puts the whole vector together.
func (h *head) vector() vector.Vector {
	v := h.write.implied(h.rest)
	for i := range h.writes {
		v = h.writes[i].implied(v)
	}
	return v
}

// DecodeRecord decodes b, all of it; no bytes give the zero record. The record has views of b. It checks all but the values of cells in general
// form, and whether entries of maps are in their one form: CheckRecord does that. The error is ErrCorrupt or ErrUnsupported.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) == 0 {
		return Record{}, nil
	}
	h, err := readHead(b)
	if err != nil {
		return Record{}, err
	}
	if !h.uniform {
		return decodeGeneral(h)
	}
	cells, err := cellsOf(h.body, h.write)
	if err != nil {
		return Record{}, err
	}
	return Record{Reset: h.write, Cells: cells, Vector: h.vector()}, nil
}

func decodeGeneral(h head) (Record, error) {
	r := reader{b: h.body}
	used := make([]bool, len(h.writes))
	rec := Record{Vector: h.vector()}
	if i := r.uvarint(); i > uint64(len(h.writes)) {
		r.fail(ErrCorrupt, "reset without its write")
	} else if i > 0 {
		rec.Reset, used[i-1] = h.writes[i-1], true
	}
	rec.Cells = r.cells(h.writes, used, rec.Reset.Stamp, isItem)
	if h.more != nil {
		rec.more(h.more, &r, h.writes, used)
	}
	switch {
	case slices.Contains(used, false):
		r.fail(ErrCorrupt, "write of nothing")
	case len(r.b) > 0:
		r.fail(ErrCorrupt, "bytes after the end")
	case rec.uniform() || rec.isZero():
		r.fail(ErrCorrupt, "not the shortest form")
	}
	if r.kind != nil {
		return Record{}, r.err("decode record")
	}
	return rec, nil
}

// more puts what sections hold into rec; the rest of the record was read by r.
func (rec *Record) more(m *more, r *reader, writes []Write, used []bool) {
	rec.Typed = m.typed
	if m.nested == nil {
		return
	}
	in := reader{b: m.nested}
	rec.Nested = in.cells(writes, used, rec.Reset.Stamp, isPresence)
	if in.kind != nil {
		r.fail(in.kind, in.message)
	} else if len(in.b) > 0 || len(rec.Nested) == 0 {
		r.fail(ErrCorrupt, "no entries of maps, or bytes after their end")
	}
}

// writes reads the table of writes.
func (r *reader) writes() []Write {
	n := r.count(minWriteLen)
	writes := make([]Write, 0, n)
	for range n {
		w := r.write()
		if r.kind != nil {
			return nil
		}
		if last := len(writes) - 1; last >= 0 && compareWrites(&writes[last], &w) >= 0 {
			r.fail(ErrCorrupt, "writes out of order")
		}
		writes = append(writes, w)
	}
	return writes
}

// write reads one write.
func (r *reader) write() Write {
	stamp, flags := r.stamp(), r.byte()
	if flags&^(writeContext|writeFloor) != 0 {
		r.fail(ErrUnsupported, "flag of a write is not known")
	}
	return r.context(stamp, flags&writeContext != 0, flags&writeFloor != 0)
}

// cells reads cells in order of their names, none older than the reset; those whose name is a presence have no value.
func (r *reader) cells(writes []Write, used []bool, reset hlc.Stamp, presence func(name []byte) bool) []Cell {
	n := r.count(minCellLen)
	cells := make([]Cell, 0, min(n, 256)) // a cell in memory is 50 times its least encoding
	for range n {
		c := r.cell(writes, used, presence)
		if r.kind != nil {
			break
		}
		if last := len(cells) - 1; last >= 0 && bytes.Compare(cells[last].Name, c.Name) >= 0 {
			r.fail(ErrCorrupt, "cells out of order")
		}
		if c.Stamp.Less(reset) {
			r.fail(ErrCorrupt, "cell older than the reset")
		}
		cells = append(cells, c)
	}
	return cells
}

// cell reads a cell and marks its write as used.
func (r *reader) cell(writes []Write, used []bool, presence func(name []byte) bool) Cell {
	c := Cell{Name: r.bytes()}
	i := r.uvarint()
	c.Removed = i&1 != 0
	if i >>= 1; i >= uint64(len(writes)) {
		r.fail(ErrCorrupt, "cell without its write")
		return Cell{}
	}
	c.Write, used[i] = writes[i], true
	if !c.Removed && !presence(c.Name) {
		if c.Value = r.bytes(); len(c.Value) == 0 {
			r.fail(ErrCorrupt, "empty value")
		}
	}
	return c
}

// CheckRecord checks all of an encoded record, items and values included: for records from peers and backups. The error is ErrCorrupt or
// ErrUnsupported. The other functions of this package trust what they get as encoded records: it is this store's own, or was checked.
func CheckRecord(b []byte) error {
	r, err := DecodeRecord(b)
	if err != nil {
		return err
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		err := checkName(c.Name)
		if err == nil && !c.Removed && len(c.Name) > 0 {
			err = item.CheckValue(c.Value)
		}
		if err != nil {
			return &Error{Op: "check record", Kind: ErrCorrupt, Message: "name or value of a cell", Err: err}
		}
	}
	if !r.checkNested() {
		return &Error{Op: "check record", Kind: ErrCorrupt, Message: "entries of maps that are not in their form"}
	}
	for i := range r.Nested {
		c := &r.Nested[i]
		err := checkNames(c.Name)
		if err == nil && len(c.Value) > 0 {
			if err = item.CheckValue(c.Value); err == nil {
				err = item.CheckNesting(c.Value, depth(c.Name))
			}
		}
		if err != nil {
			return &Error{Op: "check record", Kind: ErrCorrupt, Message: "entry of a map", Err: err}
		}
	}
	for i := range r.Typed {
		if err := r.Typed[i].checkValues(); err != nil {
			return &Error{Op: "check record", Kind: ErrCorrupt, Message: "value of a contribution", Err: err}
		}
	}
	return nil
}

// uniform reports whether r is one whole put or delete.
func (r *Record) uniform() bool {
	if r.Reset.Stamp.IsZero() || len(r.Typed)+len(r.Nested) > 0 {
		return false
	}
	if len(r.Cells) == 0 {
		return true
	}
	if len(r.Cells[0].Name) != 0 {
		return false
	}
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Removed || compareWrites(&c.Write, &r.Reset) != 0 {
			return false
		}
	}
	return true
}

// isZero reports whether r was never written.
func (r *Record) isZero() bool {
	return r.Reset.Stamp.IsZero() && len(r.Cells)+len(r.Nested)+len(r.Typed)+len(r.Vector) == 0
}

// AppendRecord appends the encoding of r; nothing for the zero record.
func AppendRecord(dst []byte, r *Record) []byte {
	switch {
	case r.uniform():
		rest := unimplied(nil, &r.Reset, 0, r.Vector...)
		dst = appendUniform(dst, &r.Reset, rest, len(r.Cells) > 0)
		return appendAttributes(dst, r.Cells)
	case r.isZero():
		return dst
	}
	return appendGeneral(dst, r)
}

// appendUniform appends a record in uniform form but for the item, which the caller appends if it is live.
func appendUniform(dst []byte, w *Write, rest vector.Vector, live bool) []byte {
	var flags byte
	if live {
		flags |= recordLive
	}
	if len(w.Context) > 0 {
		flags |= recordContext
	}
	if w.Floor != 0 {
		flags |= recordFloor
	}
	if len(rest) > 0 {
		flags |= recordRest
	}
	dst = append(dst, recordVersion, flags)
	dst = appendContext(w.Stamp.Append(dst), w)
	return appendRest(dst, w.Stamp.Time, rest)
}

func appendRest(dst []byte, base hlc.Timestamp, rest vector.Vector) []byte {
	if len(rest) == 0 {
		return dst
	}
	return appendVector(dst, base, rest)
}

// appendAttributes appends the item that the cells of a live record are; nothing for no cells.
func appendAttributes(dst []byte, cells []Cell) []byte {
	if len(cells) == 0 {
		return dst
	}
	var b item.Builder
	for i := range cells[1:] {
		if c := &cells[i+1]; !c.Removed {
			b.Add(c.Name, c.Value)
		}
	}
	out, err := b.AppendItem(dst)
	if err != nil {
		// Names are sorted and distinct in any record that Join, Delta or DecodeRecord made.
		panic("conflict: record with a name twice: " + err.Error())
	}
	return out
}

// writeTable is the distinct writes of a record, ascending.
type writeTable []*Write

func (r *Record) writeTable() writeTable {
	writes := make(writeTable, 0, len(r.Cells)+len(r.Nested)+1)
	if !r.Reset.Stamp.IsZero() {
		writes = append(writes, &r.Reset)
	}
	for i := range r.Cells {
		writes = append(writes, &r.Cells[i].Write)
	}
	for i := range r.Nested {
		writes = append(writes, &r.Nested[i].Write)
	}
	slices.SortFunc(writes, compareWrites)
	return slices.CompactFunc(writes, func(a, b *Write) bool { return compareWrites(a, b) == 0 })
}

func (t writeTable) index(w *Write) uint64 {
	i, _ := slices.BinarySearchFunc(t, w, compareWrites)
	return uint64(i)
}

// base is what times in a record are relative to: that of the newest write; 0 without one.
func (t writeTable) base() hlc.Timestamp {
	if len(t) == 0 {
		return 0
	}
	return t[len(t)-1].Stamp.Time
}

func appendGeneral(dst []byte, r *Record) []byte {
	writes := r.writeTable()
	var rest vector.Vector
	for _, s := range r.Vector {
		if !slices.ContainsFunc(writes, func(w *Write) bool { return w.implies(s) }) {
			rest = append(rest, s)
		}
	}
	flags := byte(recordGeneral)
	if len(rest) > 0 {
		flags |= recordRest
	}
	if len(r.Typed)+len(r.Nested) > 0 {
		flags |= recordSections
	}
	dst = append(dst, recordVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(len(writes)))
	for _, w := range writes {
		dst = appendWrite(dst, w)
	}
	dst = appendRest(dst, writes.base(), rest)
	if flags&recordSections != 0 {
		dst = appendSections(dst, r, writes)
	}
	if r.Reset.Stamp.IsZero() {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendUvarint(dst, writes.index(&r.Reset)+1)
	}
	return appendCells(dst, r.Cells, writes, isItem)
}

// isItem reports whether a top-level name is that of the item's presence.
func isItem(name []byte) bool { return len(name) == 0 }

// appendSections appends the sections of r, which has at least one.
func appendSections(dst []byte, r *Record, writes writeTable) []byte {
	n := byte(0)
	if len(r.Typed) > 0 {
		n++
	}
	if len(r.Nested) > 0 {
		n++
	}
	dst = append(dst, n)
	if len(r.Typed) > 0 {
		dst = appendBytes(append(dst, sectionTyped), appendTyped(nil, writes.base(), r.Typed))
	}
	if len(r.Nested) > 0 {
		dst = appendBytes(append(dst, sectionNested), appendCells(nil, r.Nested, writes, isPresence))
	}
	return dst
}

func appendCells(dst []byte, cells []Cell, writes writeTable, presence func(name []byte) bool) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(cells)))
	for i := range cells {
		dst = appendCell(dst, &cells[i], writes.index(&cells[i].Write), presence)
	}
	return dst
}

// AppendWrite appends w as records have it: stamp ‖ flags ‖ [context] ‖ [floor].
func AppendWrite(dst []byte, w *Write) []byte { return appendWrite(dst, w) }

// ReadWrite reads what AppendWrite has appended from the beginning of b, and returns what follows. The error is ErrCorrupt or ErrUnsupported.
func ReadWrite(b []byte) (w Write, rest []byte, err error) {
	r := reader{b: b}
	w = r.write()
	if err := r.err("read write"); err != nil {
		return Write{}, nil, err
	}
	return w, r.b, nil
}

func appendWrite(dst []byte, w *Write) []byte {
	var flags byte
	if len(w.Context) > 0 {
		flags |= writeContext
	}
	if w.Floor != 0 {
		flags |= writeFloor
	}
	return appendContext(append(w.Stamp.Append(dst), flags), w)
}

func appendCell(dst []byte, c *Cell, write uint64, presence func(name []byte) bool) []byte {
	dst = appendBytes(dst, c.Name)
	if c.Removed {
		return binary.AppendUvarint(dst, write<<1|1)
	}
	dst = binary.AppendUvarint(dst, write<<1)
	if presence(c.Name) {
		return dst
	}
	return appendBytes(dst, c.Value)
}
