package conflict

import (
	"encoding/binary"
	"math"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The canonical bytes of a live record are what two replicas must agree on, and nothing that one may have collected before the
// other (PROTOCOL.md section 6 rule 1): without reset, vector, contexts and removals.
//
//	count ‖ (name (bytes) ‖ stamp ‖ value (bytes))*, live cells by name, the presence first ‖ [1 ‖ contributions] ‖ [2 ‖ entries of maps, as cells]
//
// Where removals have gone, a map may be of one write again: it is then put together. Contributions are those that count, by attribute, as the section of a record has them, without anything that a write had seen, and with what that leaves: remainders for sums, and of the cell what of it does not show any more, which are the elements removed from it
// and whether a bid hides it. Both are there only if an attribute has some, so records without them have the digests that they always had.

// AppendCanonical appends the canonical bytes of an encoded record to dst; nothing if the item does not exist.
func AppendCanonical(dst, encoded []byte) ([]byte, error) {
	n := len(dst)
	sections, err := eachLive(encoded,
		func(count int) { dst = binary.AppendUvarint(dst, uint64(count)) },
		func(name []byte, s hlc.Stamp, v item.Value) {
			dst = appendBytes(dst, name)
			dst = s.Append(dst)
			dst = appendBytes(dst, v)
		})
	if err != nil {
		return dst[:n], err
	}
	return append(dst, sections...), nil
}

// Digest returns a record's part in the digest of its bucket: xxhash64 over length and bytes of the key, then the canonical
// bytes. live is false, and the sum zero, if the item does not exist: a tombstone adds nothing.
func Digest(key, encoded []byte) (sum uint64, live bool, err error) {
	var d xxhash.Digest
	d.Reset()
	var buf [2*binary.MaxVarintLen64 + hlc.StampLen]byte
	sections, err := eachLive(encoded,
		func(count int) {
			live = true
			d.Write(binary.AppendUvarint(buf[:0], uint64(len(key))))
			d.Write(key)
			d.Write(binary.AppendUvarint(buf[:0], uint64(count)))
		},
		func(name []byte, s hlc.Stamp, v item.Value) {
			d.Write(binary.AppendUvarint(buf[:0], uint64(len(name))))
			d.Write(name)
			d.Write(binary.AppendUvarint(s.Append(buf[:0]), uint64(len(v))))
			d.Write(v)
		})
	if err != nil || !live {
		return 0, false, err
	}
	if len(sections) > 0 {
		d.Write(sections)
	}
	return d.Sum64(), true, nil
}

// eachLive calls begin with the number of live cells, the presence included, and each with every one, in order. It calls neither
// if the item does not exist. It returns what follows the cells: contributions and entries of maps.
func eachLive(encoded []byte, begin func(count int), each func(name []byte, s hlc.Stamp, v item.Value)) (sections []byte, err error) {
	if len(encoded) == 0 {
		return nil, nil
	}
	h, err := readHead(encoded)
	if err != nil || !h.live {
		return nil, err
	}
	if h.uniform {
		it := item.Item(h.body)
		begin(it.Len() + 1)
		each(nil, h.write.Stamp, nil)
		it.Each(func(name []byte, v item.Value) bool {
			each(name, h.write.Stamp, v)
			return true
		})
		return nil, nil
	}
	r, err := decodeGeneral(h)
	if err != nil {
		return nil, err
	}
	sections = r.appendContributions(nil)
	r.bare()
	begin(len(r.Cells))
	for i := range r.Cells {
		c := &r.Cells[i]
		each(c.Name, c.Stamp, c.Value)
	}
	if len(r.Nested) > 0 {
		sections = binary.AppendUvarint(append(sections, sectionNested), uint64(len(r.Nested)))
		for i := range r.Nested {
			c := &r.Nested[i]
			sections = appendBytes(c.Stamp.Append(appendBytes(sections, c.Name)), c.Value)
		}
	}
	return sections, nil
}

// bare drops removals, and where entries of maps are together with their map what their writes had seen, so that those of one dot can be put together.
func (r *Record) bare() {
	for i := range r.Nested {
		r.Nested[i].Write = Write{Stamp: r.Nested[i].Stamp}
	}
	for _, name := range appendRoots(nil, r.Nested) {
		if i, found := r.find(name); found {
			r.Cells[i].Write = Write{Stamp: r.Cells[i].Stamp}
		}
	}
	r.dropRemovals(math.MaxUint64)
}

// appendContributions appends the canonical bytes of what attributes have beside their cells; nothing if nothing of it counts.
func (r *Record) appendContributions(dst []byte) []byte {
	var canonical []Typed
	for i := range r.Typed {
		if t := r.canonical(&r.Typed[i]); !t.isEmpty() {
			canonical = append(canonical, t)
		}
	}
	if len(canonical) == 0 {
		return dst
	}
	return appendTyped(append(dst, sectionTyped), 0, canonical)
}

// canonical returns of t what shows, in its terms. What removes something of the cell is there as a removal, by nobody.
func (r *Record) canonical(t *Typed) Typed {
	out := Typed{Name: t.Name}
	base, ok := r.base(t.Name)
	for i := range t.Runs {
		if left, counts := t.remainder(i); counts {
			last := t.Runs[i].Last
			out.Runs = append(out.Runs, Run{Last: last, First: last.Time, Sum: left})
		}
	}
	for i := range t.Elements {
		e := &t.Elements[i]
		shows := Element{Value: e.Value}
		e.live(func(dot hlc.Stamp) bool { shows.Adds = append(shows.Adds, dot); return true })
		if ok && base.Value.Type().IsSet() && base.Value.Has(e.Value) && e.hides(base.Stamp) {
			shows.Removals = []Observed{{Dot: base.Stamp}}
		}
		if len(shows.Adds)+len(shows.Removals) > 0 {
			out.Elements = append(out.Elements, shows)
		}
	}
	for i := range t.Bids {
		if t.Bids[i].isLive(t) {
			out.Bids = append(out.Bids, t.Bids[i])
		}
	}
	if ok && t.hidesBase(base.Stamp) {
		out.Outbid = []Observed{{Dot: base.Stamp}}
	}
	return out
}
