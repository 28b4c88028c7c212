package commit

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// Sent is how much has been put into a lane of this shard since it first was, over all lives of the store. From the moment on at which an entry is durable, each peer of the lane can have it: what is not in here has not left
// the region that way.
//
// It is a function of the log, and the log is trimmed. So it is stored whenever something of the log goes, in the same batch, and after so many bytes; at the start what follows in the log is added. A batch that voids entries has to store it too (keepSent): a header does not tell how long
// the body was.
type Sent struct {
	Placement globaltable.Placement // of the lane; shared, not to be changed. None for one that has no entry in this life of the store
	First     uint64                // the sequence that was counted first in this life of the store; 0: none
	Seq       uint64                // the one counted last; 0: none in this life
	Chain     globaltable.Chain     // at Seq
	Changes   uint64
	Bytes     uint64 // of bodies
}

// keepSentEvery is after how many bytes a lane's Sent is stored, wherever its log is trimmed: the start reads that much of it.
const keepSentEvery = 64 << 20

func (s *Sent) add(h *change.Header, body int) {
	if s.First == 0 {
		s.First = h.Seq
	}
	s.Seq, s.Chain = h.Seq, h.Chain
	s.Changes += uint64(h.Changes)
	s.Bytes += uint64(body)
}

const (
	sentVersion = 1
	sentLen     = 1 + 8 + 8 + 32 + 8 + 8
)

func (s *Sent) append(dst []byte) []byte {
	dst = append(dst, sentVersion)
	dst = binary.BigEndian.AppendUint64(dst, s.First)
	dst = binary.BigEndian.AppendUint64(dst, s.Seq)
	dst = append(dst, s.Chain[:]...)
	dst = binary.BigEndian.AppendUint64(dst, s.Changes)
	return binary.BigEndian.AppendUint64(dst, s.Bytes)
}

func decodeSent(b []byte) (s Sent, err error) {
	if len(b) != sentLen || b[0] != sentVersion {
		return s, errCorruptStore("what was sent in a lane", nil)
	}
	s = Sent{First: binary.BigEndian.Uint64(b[1:]), Seq: binary.BigEndian.Uint64(b[9:]), Changes: binary.BigEndian.Uint64(b[49:]), Bytes: binary.BigEndian.Uint64(b[57:])}
	copy(s.Chain[:], b[17:])
	return s, nil
}

// keepSent stores what was sent in a lane, the entries of g that are sealed included.
func (c *core) keepSent(g *group, l *lane) {
	key := store.AppendSentKey(c.scratch[:0], l.ID)
	c.scratch = l.sent.append(key)
	g.batch.Set(c.scratch[:len(key)], c.scratch[len(key):])
	l.kept = l.sent.Bytes
}

// loadSent reads what was stored, and adds what the logs have after that.
func (l *loaded) loadSent(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaSent)
	err := store.Each(r, lower, upper, func(key, value []byte) error {
		id, ok := store.DecodeSentKey(key)
		if !ok {
			return errCorruptStore("key of what was sent in a lane", nil)
		}
		s, err := decodeSent(value)
		l.sent[id] = s
		return err
	})
	if err != nil {
		return err
	}
	for id, ln := range l.lanes {
		s := l.sent[id]
		s.Placement, ln.kept = ln.Placement, s.Bytes
		lower, upper := store.LogRange(id, s.Seq+1, 0)
		err := store.Each(r, lower, upper, func(_, value []byte) error {
			e, err := change.DecodeEntry(value)
			if err == nil {
				s.add(&e.Header, len(e.Body))
			}
			return err
		})
		if err != nil {
			return err
		}
		ln.sent, l.sent[id] = s, s
	}
	return nil
}

// keepSent puts into b, which empties the store, what was sent in this life of it, as what the next one adds to.
func (l *loaded) keepSent(b store.Batch) {
	for id, s := range l.sent {
		next := Sent{Changes: s.Changes, Bytes: s.Bytes}
		b.Set(store.AppendSentKey(nil, id), next.append(nil))
	}
}

// sentBefore returns what was sent in a lane that has no entry yet.
func (v *view) sentBefore(id globaltable.LaneID) Sent {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.sent[id]
}

// LaneSent is what was sent in one lane.
type LaneSent struct {
	Lane globaltable.LaneID
	Sent
}

// Sent returns what was durably sent in each lane that there ever was, sorted by lane.
func (s *Shard) Sent() []LaneSent {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	out := make([]LaneSent, 0, len(s.view.sent))
	for id, sent := range s.view.sent {
		out = append(out, LaneSent{id, sent})
	}
	slices.SortFunc(out, func(a, b LaneSent) int {
		return globaltable.CompareLanes(globaltable.Lane{ID: a.Lane}, globaltable.Lane{ID: b.Lane})
	})
	return out
}

// UpdateLedger has f write into the ledger's space of the store (store.SpaceLedger: keys begin with it), in the critical section: calls are one after the other, in the order of what they write. f must be fast. It returns when that is durable.
func (s *Shard) UpdateLedger(ctx context.Context, f func(b LedgerBatch) error) error {
	return s.do(ctx, false, func(_ *core, g *group) error { return f(LedgerBatch{g.batch}) })
}

// LedgerBatch takes what is written into the ledger.
type LedgerBatch struct{ batch store.Batch }

// Set puts a value at a key, which comes after the space's byte.
func (b LedgerBatch) Set(key, value []byte) { b.batch.Set(ledgerKey(key), value) }

// Drop erases the keys in [from, to).
func (b LedgerBatch) Drop(from, to []byte) { b.batch.DeleteRange(ledgerKey(from), ledgerKey(to)) }

func ledgerKey(key []byte) []byte { return append([]byte{byte(store.SpaceLedger)}, key...) }

// Ledger calls f with what UpdateLedger has set at keys in [from, to), in order, until f returns false. What f gets is a view.
func (s *Shard) Ledger(from, to []byte, f func(key, value []byte) (more bool, err error)) (err error) {
	it, err := s.cfg.Engine.NewIter(ledgerKey(from), ledgerKey(to))
	if err != nil {
		return fault(globaltable.Internal, "read ledger", "", err)
	}
	defer closing(it, &err)
	more := true
	for ok := it.First(); ok && more && err == nil; ok = more && err == nil && it.Next() {
		var value []byte
		if value, err = it.Value(); err == nil {
			more, err = f(it.Key()[1:], value)
		}
	}
	return err
}
