package commit

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// view is the durable state that is read from outside the sequencer.
type view struct {
	mu        sync.RWMutex
	lanes     map[globaltable.LaneID]*laneView
	sent      map[globaltable.LaneID]Sent
	positions map[positionKey]globaltable.Position
	revoked   map[hlc.Origin]globaltable.Incarnation
	catchUps  map[hlc.Origin]*CatchUp
	mirrors   map[globaltable.TableID]MirrorStatus
}

// laneView is one of the shard's own lanes.
type laneView struct {
	LaneHead
	size logSize
}

// lane returns the view of a lane, new if need be. The caller holds mu for writing.
func (v *view) lane(id globaltable.LaneID) *laneView {
	l := v.lanes[id]
	if l == nil {
		l = &laneView{LaneHead: LaneHead{Lane: globaltable.Lane{ID: id}}}
		v.lanes[id] = l
	}
	return l
}

// settle takes over what a group has made durable.
func (v *view) settle(g *group) {
	if len(g.entries) == 0 && len(g.positions) == 0 && len(g.settled) == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range g.entries {
		e := &g.entries[i]
		l := v.lane(g.lanes[i].lane.ID)
		l.Seq, l.Chain = e.Seq, e.Chain
		l.size.append(e.Seq, len(e.Body)+entryHeaderLen)
		sent := v.sent[l.ID]
		sent.Placement = g.lanes[i].info.Placement
		sent.add(&e.Header, len(e.Body))
		v.sent[l.ID] = sent
	}
	for _, p := range g.positions {
		v.positions[positionKey{p.Origin, p.Shard, p.Lane}] = p.Position
	}
	for _, f := range g.settled {
		f(v)
	}
}

// trim notes that entries are about to go.
func (v *view) trim(id globaltable.LaneID, upTo uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.lane(id)
	l.Trimmed = upTo
	l.size.trim(upTo)
}

// logSize knows about how many bytes a lane's log has, without asking the store: sums at some sequences, interpolated between.
type logSize struct{ marks []sizeMark }

type sizeMark struct {
	seq   uint64 // entries up to and with it
	bytes uint64 // of all entries since the shard was opened, and of those found then
}

// markEvery is the distance of marks in bytes. A log of 100 GB has some hundred thousand of 16 bytes each.
const markEvery = 1 << 20

func (s *logSize) append(seq uint64, n int) {
	if len(s.marks) == 0 {
		s.marks = append(s.marks, sizeMark{seq: seq - 1})
	}
	last := &s.marks[len(s.marks)-1]
	total := last.bytes + uint64(n)
	if len(s.marks) > 1 && total-s.marks[len(s.marks)-2].bytes < markEvery {
		*last = sizeMark{seq, total}
		return
	}
	s.marks = append(s.marks, sizeMark{seq, total})
}

// trim drops marks that no longer matter.
func (s *logSize) trim(upTo uint64) {
	i, _ := slices.BinarySearchFunc(s.marks, upTo, func(m sizeMark, seq uint64) int { return cmp.Compare(m.seq, seq) })
	// The mark at or before upTo is the one to interpolate from.
	if i < len(s.marks) && s.marks[i].seq != upTo || i == len(s.marks) {
		i--
	}
	if i > 0 {
		s.marks = slices.Delete(s.marks, 0, i)
	}
}

// free notes that an entry has lost that many bytes.
func (s *logSize) free(seq uint64, n int) {
	i, _ := slices.BinarySearchFunc(s.marks, seq, func(m sizeMark, seq uint64) int { return cmp.Compare(m.seq, seq) })
	for least := uint64(0); i < len(s.marks); i++ {
		if i > 0 {
			least = s.marks[i-1].bytes
		}
		m := &s.marks[i]
		m.bytes = max(m.bytes-min(m.bytes, uint64(n)), least)
	}
}

// after returns about how many bytes the entries after trimmed have.
func (s *logSize) after(trimmed uint64) int64 {
	if len(s.marks) == 0 {
		return 0
	}
	last := s.marks[len(s.marks)-1]
	i, _ := slices.BinarySearchFunc(s.marks, trimmed, func(m sizeMark, seq uint64) int { return cmp.Compare(m.seq, seq) })
	switch {
	case i == len(s.marks):
		return 0
	case i == 0 || s.marks[i].seq == trimmed:
		return int64(last.bytes - s.marks[i].bytes)
	}
	a, b := s.marks[i-1], s.marks[i]
	at := a.bytes + uint64(float64(b.bytes-a.bytes)*float64(trimmed-a.seq)/float64(b.seq-a.seq))
	return int64(last.bytes - at)
}

// beyond returns about the least sequence after which there are at most keep bytes.
func (s *logSize) beyond(keep int64) uint64 {
	if len(s.marks) < 2 {
		return 0
	}
	last := s.marks[len(s.marks)-1]
	if last.bytes <= s.marks[0].bytes+uint64(keep) {
		return 0
	}
	target := last.bytes - uint64(keep)
	i, _ := slices.BinarySearchFunc(s.marks, target, func(m sizeMark, bytes uint64) int { return cmp.Compare(m.bytes, bytes) })
	// The first mark is below the target and the last is not.
	a, b := s.marks[i-1], s.marks[i]
	return a.seq + uint64(math.Ceil(float64(b.seq-a.seq)*float64(target-a.bytes)/float64(b.bytes-a.bytes)))
}

// confirmed is what peers have confirmed of this shard's lanes. It is written along with other groups, so with that in which the log is trimmed because of it: forgetting some of it costs a peer's next
// heartbeat.
type confirmed struct {
	changed atomic.Bool

	mu    sync.Mutex
	seqs  map[confirmedKey]confirmedAt
	dirty map[confirmedKey]struct{}
}

// confirmedAt is a confirmation by one store of a peer.
type confirmedAt struct {
	seq uint64
	of  globaltable.Incarnation // 0: the peer does not tell
}

const confirmedLen = 8 + 8

func (a confirmedAt) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, a.seq), uint64(a.of))
}

// decodeConfirmed also reads what the first release stored, which does not say of which store it is.
func decodeConfirmed(b []byte) (a confirmedAt, err error) {
	switch len(b) {
	case confirmedLen - 8:
		return confirmedAt{seq: binary.BigEndian.Uint64(b)}, nil
	case confirmedLen:
	default:
		return a, errCorruptStore("confirmed position of a wrong length", nil)
	}
	return confirmedAt{binary.BigEndian.Uint64(b), globaltable.Incarnation(binary.BigEndian.Uint64(b[8:]))}, nil
}

// raise notes a confirmation. For one store of the peer it never falls; what an earlier one had says nothing of what a later one has.
func (c *confirmed) raise(k confirmedKey, a confirmedAt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.seqs[k]
	if a.of == 0 {
		a.of = now.of
	}
	if a.of < now.of || a.of == now.of && a.seq <= now.seq {
		return
	}
	c.seqs[k] = a
	c.dirty[k] = struct{}{}
	c.changed.Store(true)
}

// by returns what that store of the peer has confirmed.
func (c *confirmed) by(k confirmedKey, of globaltable.Incarnation) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.seqs[k]; of != 0 && now.of == of {
		return now.seq
	}
	return 0
}

// flush writes what has changed into b. The clock's bound has to go with it: see Shard.ConfirmPeer.
func (c *confirmed) flush(b store.Batch) (wrote bool) {
	if !c.changed.Swap(false) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(c.dirty), compareConfirmed)
	for _, k := range keys {
		b.Set(store.AppendConfirmedKey(nil, k.peer, k.lane), c.seqs[k].append(nil))
	}
	clear(c.dirty)
	return true
}

func (c *confirmed) list() []Confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Confirmation, 0, len(c.seqs))
	for _, k := range slices.SortedFunc(maps.Keys(c.seqs), compareConfirmed) {
		out = append(out, Confirmation{Peer: k.peer, Lane: k.lane, Seq: c.seqs[k].seq, Of: c.seqs[k].of})
	}
	return out
}

func compareConfirmed(a, b confirmedKey) int {
	return cmp.Or(cmp.Compare(a.lane, b.lane), cmp.Compare(a.peer, b.peer))
}

// gate refuses client writes for any number of reasons.
type gate struct {
	current atomic.Pointer[error] // of the first reason by name; nil: open

	mu      sync.Mutex
	reasons map[string]error
}

func (g *gate) set(reason string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		delete(g.reasons, reason)
	} else {
		g.reasons[reason] = err
	}
	if len(g.reasons) == 0 {
		g.current.Store(nil)
		return
	}
	first := g.reasons[slices.Min(slices.Collect(maps.Keys(g.reasons)))]
	g.current.Store(&first)
}

func (g *gate) err() error {
	if p := g.current.Load(); p != nil {
		return *p
	}
	return nil
}
