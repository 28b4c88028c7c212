package conflict

import (
	"bytes"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Class says how a change relates to the record that it was applied to. It decides nothing: a change is always joined.
type Class uint8

// The classes.
const (
	Duplicate  Class = 1 // the record's vector covers the change already
	Causal     Class = 2 // the writer had seen all that the record has seen
	Concurrent Class = 3 // neither
)

func (c Class) String() string {
	switch c {
	case Duplicate:
		return "duplicate"
	case Causal:
		return "causal"
	case Concurrent:
		return "concurrent"
	}
	return "none"
}

// Result says what Apply did.
type Result struct {
	Class      Class
	Changed    bool // the encoded record is another one than before, be it only in its vector
	LiveBefore bool // the item existed
	LiveAfter  bool // the item exists
	Lost       bool // a write of the change, the presence apart, is not in the record: a greater stamp is, or the record is reset above it
}

// Apply joins a change into the encoded record current (empty: absent) and appends the record that results to dst, changed
// or not; dst and current do not overlap. next shares no memory with current and c. The error is that of DecodeRecord or of
// Change.Delta; nothing is appended then. A change from a peer is checked with Check first: Apply stores its values as they are.
//
// The common case, one whole put or delete on a record in uniform form, copies bytes and decodes no item, and does not allocate unless a
// vector is involved.
func Apply(dst, current []byte, c *Change) (next []byte, r Result, err error) {
	return apply(dst, current, c, false)
}

// ApplyLocal is Apply for a write of this region, whose dot is later than all that current has. Beyond joining it drops what is at or below the purge frontier c.Floor: entries
// of the vector, and contexts and floors of settled writes. Only local writes may do that: they carry the floor to the
// peers, which thereby know what the write's context has left out.
//
// First it completes c: it takes c.Ops for intents, and puts what the log gets in their place. An increment becomes what the region's run of the counter becomes with it, and after each operation comes what it
// observes of the contributions that the record has (see Typed); what the peers get says all that, since their records may have more by then. Where nothing is to be completed, as on every record
// without contributions, c.Ops stays as it is. Otherwise it is a new slice: the old one is not changed, and what the new one has are views of it and of current, or own memory.
func ApplyLocal(dst, current []byte, c *Change) (next []byte, r Result, err error) {
	switch before, err := c.complete(current); {
	case err != nil:
		return dst, Result{}, err
	case before != nil:
		return applyTo(dst, current, before, c, true)
	}
	return apply(dst, current, c, true)
}

func apply(dst, current []byte, c *Change, local bool) ([]byte, Result, error) {
	if len(c.Ops) == 1 && c.Ops[0].Kind == OpReset {
		if next, r, ok, err := applyReset(dst, current, c, local); ok || err != nil {
			return next, r, err
		}
	}
	return applyDecoded(dst, current, c, local)
}

// applyDecoded is apply without a short way: decode, join, encode.
func applyDecoded(dst, current []byte, c *Change, local bool) ([]byte, Result, error) {
	before, err := DecodeRecord(current)
	if err != nil {
		return dst, Result{}, err
	}
	return applyTo(dst, current, &before, c, local)
}

// applyTo is applyDecoded for a record that is decoded already.
func applyTo(dst, current []byte, before *Record, c *Change, local bool) ([]byte, Result, error) {
	delta, err := c.Delta()
	if err != nil {
		return dst, Result{}, err
	}
	after := Join(*before, delta)
	if plantedObserve && after.lacks(&delta) {
		delta.forget()
		after = Join(*before, delta)
	}
	r := Result{
		Class:      c.classify(before.Vector),
		LiveBefore: before.Live(),
		LiveAfter:  after.Live(),
		Lost:       after.lacks(&delta),
	}
	if local {
		after = after.settle(c.Floor, c.Dot)
	} else if plantedVector && r.Class == Duplicate {
		return append(dst, current...), r, nil
	}
	n := len(dst)
	dst = AppendRecord(dst, &after)
	r.Changed = !bytes.Equal(dst[n:], current)
	return dst, r, nil
}

// lacks reports whether a reset or attribute that delta wrote is not in r.
func (r *Record) lacks(delta *Record) bool {
	if !delta.Reset.Stamp.IsZero() && delta.Reset.Stamp != r.Reset.Stamp {
		return true
	}
	for i := range delta.Cells {
		c := &delta.Cells[i]
		if len(c.Name) == 0 {
			continue
		}
		if j, found := r.find(c.Name); !found || r.Cells[j].Stamp != c.Stamp {
			return true
		}
	}
	for i := range delta.Nested {
		// A presence that is not there was overwritten with what is inside.
		if c := &delta.Nested[i]; !isPresence(c.Name) && !r.kept(c) {
			return true
		}
	}
	return false
}

// applyReset is apply for a whole put or delete where cells need not be looked at: it is newer than all of the record, or older than a
// record in uniform form. ok is false, and nothing was done, if it is another case.
func applyReset(dst, current []byte, c *Change, local bool) (next []byte, r Result, ok bool, err error) {
	op := &c.Ops[0]
	if err := op.check("apply change"); err != nil {
		return dst, r, false, err
	}
	h := head{uniform: true}
	if len(current) > 0 {
		if h, err = readHead(current); err != nil {
			return dst, r, false, err
		}
	}
	r = Result{Class: h.classify(c), LiveBefore: h.live}
	if plantedVector && !local && r.Class == Duplicate {
		return append(dst, current...), r, true, nil
	}
	switch newest := h.newest(); {
	case h.more != nil && len(h.more.typed) > 0: // contributions outlive a reset
	case newest.Less(c.Dot) || plantedTie && newest.Time == c.Dot.Time && newest.Origin > c.Dot.Origin:
		r.Changed, r.LiveAfter = true, len(op.Value) > 0
		return append(h.replace(dst, c, local), op.Value...), r, true, nil
	case h.uniform && !local && c.Dot.Less(newest):
		rest := unimplied(h.rest, &h.write, 0, c.Dot)
		rest = unimplied(rest, &h.write, 0, c.Context...)
		r.Lost, r.LiveAfter, r.Changed = true, h.live, !rest.Equal(h.rest)
		if !r.Changed {
			return append(dst, current...), r, true, nil
		}
		return append(appendUniform(dst, &h.write, rest, h.live), h.body...), r, true, nil
	}
	return dst, Result{}, false, nil
}

// replace appends the record that c, one whole put or delete newer than all of h's, leaves of h's record, but for the item.
func (h *head) replace(dst []byte, c *Change, local bool) []byte {
	w, drop := c.write(), hlc.Timestamp(0)
	if local {
		drop, w = c.Floor, w.settle(c.Floor)
	}
	rest := unimplied(nil, &w, drop, h.rest...)
	rest = unimplied(rest, &w, drop, h.write.Stamp)
	rest = unimplied(rest, &w, drop, h.write.Context...)
	for i := range h.writes {
		rest = unimplied(rest, &w, drop, h.writes[i].Stamp)
		rest = unimplied(rest, &w, drop, h.writes[i].Context...)
	}
	return appendUniform(dst, &w, rest, len(c.Ops[0].Value) > 0)
}

// unimplied returns rest raised to those of the entries that are above drop and not implied by w.
func unimplied(rest vector.Vector, w *Write, drop hlc.Timestamp, entries ...hlc.Stamp) vector.Vector {
	for _, s := range entries {
		if s.Time > drop && !w.implies(s) {
			rest = rest.With(s)
		}
	}
	return rest
}

// classify returns c's class on a record with the vector given.
func (c *Change) classify(v vector.Vector) Class {
	switch {
	case v.Contains(c.Dot):
		return Duplicate
	case c.saw(v):
		return Causal
	}
	return Concurrent
}

// classify is Change.classify on h's record, without putting its vector together.
func (h *head) classify(c *Change) Class {
	if h.rest.Contains(c.Dot) || h.implies(c.Dot) {
		return Duplicate
	}
	saw := c.saw(h.rest) && c.sawWrite(&h.write)
	for i := range h.writes {
		saw = saw && c.sawWrite(&h.writes[i])
	}
	if saw {
		return Causal
	}
	return Concurrent
}

// saw reports whether the writer of c had seen, or wrote, all of v.
func (c *Change) saw(v vector.Vector) bool {
	for _, s := range v {
		if s.Time > c.Floor && (s.Origin != c.Dot.Origin || s.Time > c.Dot.Time) && !c.Context.Contains(s) {
			return false
		}
	}
	return true
}

// sawWrite is saw for what w implies of a vector.
func (c *Change) sawWrite(w *Write) bool {
	own := [1]hlc.Stamp{w.Stamp}
	return (w.Stamp.Origin == 0 || c.saw(own[:])) && c.saw(w.Context)
}

// JoinEncoded appends the encoding of the join of two encoded records to dst, which overlaps neither: for exchanges. On an error
// nothing is appended. A record from a peer is checked with CheckRecord first.
func JoinEncoded(dst, a, b []byte) ([]byte, error) {
	if len(a) == 0 || bytes.Equal(a, b) {
		return append(dst, b...), nil
	}
	if len(b) == 0 {
		return append(dst, a...), nil
	}
	x, err := DecodeRecord(a)
	if err != nil {
		return dst, err
	}
	y, err := DecodeRecord(b)
	if err != nil {
		return dst, err
	}
	r := Join(x, y)
	return AppendRecord(dst, &r), nil
}

// VectorOf returns the vector of an encoded record.
func VectorOf(encoded []byte) (vector.Vector, error) {
	if len(encoded) == 0 {
		return nil, nil
	}
	h, err := readHead(encoded)
	if err != nil {
		return nil, err
	}
	return h.vector(), nil
}

// ContextOf returns the context of a write that the region self makes on the record current, at its purge frontier floor: what the
// record has seen of other origins, above floor.
func ContextOf(current []byte, self hlc.Origin, floor hlc.Timestamp) (vector.Vector, error) {
	if len(current) == 0 {
		return nil, nil
	}
	// What most writes find: a record that this region alone wrote.
	if h, err := readHead(current); err == nil && h.uniform && h.write.Stamp.Origin == self && len(h.write.Context)+len(h.rest) == 0 {
		return nil, nil
	}
	v, err := VectorOf(current)
	if err != nil {
		return nil, err
	}
	return v.Above(floor).Without(self), nil
}

// ItemOf returns the item of an encoded record. live is false, and the item nil, if it does not exist. The item of a record in uniform form
// is a view of encoded; else it is built. Updates do not write the attributes of the key: what the item of a record in general form lacks of them is what key returns. It is asked only then; nil
// fills in nothing. The error is that of DecodeRecord, or key's.
func ItemOf(encoded []byte, key func() (item.Item, error)) (it item.Item, live bool, err error) {
	if len(encoded) == 0 {
		return nil, false, nil
	}
	h, err := readHead(encoded)
	if err != nil || !h.live {
		return nil, false, err
	}
	if h.uniform {
		return h.body, true, nil
	}
	r, err := decodeGeneral(h)
	if err != nil {
		return nil, false, err
	}
	var attributes item.Item
	if key != nil {
		if attributes, err = key(); err != nil {
			return nil, false, err
		}
	}
	return r.item(attributes), true, nil
}
