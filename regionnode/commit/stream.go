package commit

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// # Change streams
//
// The batch that changes the record of an item whose table has a stream has a stream record of it, too (package cdc). Every way on which a record changes but handing over, which changes no item, calls tell: writes, merges change by change, what is replayed, and collection, for items that expire.
//
// A position in a stream is a stamp of the clock, taken when the record is put into the batch. The mark is such a stamp as well: all records of all streams at or below it are durable, and no other ever comes to be there.

// streams holds what the change streams have, and where they end.
type streams struct {
	born   hlc.Timestamp // of the store
	mu     sync.Mutex
	states map[cdc.Stream]*streamState
	dirty  map[cdc.Stream]struct{} // changed in the group that is being built
	mark   hlc.Timestamp
	ends   map[cdc.Stream]hlc.Timestamp // the newest durable record, of those told since the shard was opened
	news   chan struct{}                // closed when something is durable; nil: nobody waits
}

// streamState is what a stream has, as applied.
type streamState struct {
	view    globaltable.StreamView // empty: nothing was told yet
	trimmed hlc.Timestamp          // records up to and with it have gone; zero: none
	last    hlc.Timestamp          // of the newest record that there ever was
	records int64
	bytes   int64                // of keys and values
	lanes   []globaltable.LaneID // that have records, or had, sorted
	went    uint64               // how often records have gone, since the shard was opened
}

const (
	streamStateVersion = 1
	streamStateLen     = 2 + 4*8 // and the lanes
)

// views gives the views of streams their numbers in the store.
var views = []globaltable.StreamView{globaltable.ViewKeysOnly, globaltable.ViewNewImage, globaltable.ViewOldImage, globaltable.ViewNewAndOldImages, ""}

func (s *streamState) append(dst []byte) []byte {
	dst = append(dst, streamStateVersion, byte(slices.Index(views, s.view)))
	for _, n := range [...]uint64{uint64(s.trimmed), uint64(s.last), uint64(s.records), uint64(s.bytes)} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	for _, id := range s.lanes {
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	}
	return dst
}

func decodeStreamState(b []byte) (*streamState, error) {
	if len(b) < streamStateLen || (len(b)-streamStateLen)%8 != 0 || b[0] != streamStateVersion || int(b[1]) >= len(views) {
		return nil, errCorruptStore("state of a change stream", nil)
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(b[2+8*i:]) }
	s := &streamState{view: views[b[1]], trimmed: hlc.Timestamp(at(0)), last: hlc.Timestamp(at(1)), records: int64(at(2)), bytes: int64(at(3))}
	for i := 4; 2+8*i < len(b); i++ {
		s.lanes = append(s.lanes, globaltable.LaneID(at(i)))
	}
	unsorted := slices.Compare(s.lanes, slices.Compact(slices.Sorted(slices.Values(s.lanes)))) != 0
	if s.records < 0 || s.bytes < 0 || unsorted {
		return nil, errCorruptStore("state of a change stream", nil)
	}
	return s, nil
}

func (l *loaded) loadStreams(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaStream)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		table, since, ok := store.DecodeStreamStateKey(key)
		if !ok {
			return errCorruptStore("key of a change stream", nil)
		}
		s, err := decodeStreamState(value)
		l.streams[cdc.Stream{Table: table, Since: since}] = s
		return err
	})
}

func compareStreams(a, b cdc.Stream) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Since, b.Since))
}

// add notes a record that is about to be written.
func (s *streams) add(id cdc.Stream, view globaltable.StreamView, lane globaltable.LaneID, at hlc.Timestamp, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.states[id]
	if state == nil {
		state = &streamState{}
		s.states[id] = state
	}
	state.view, state.last = view, at
	state.records++
	state.bytes += int64(bytes)
	if i, found := slices.BinarySearch(state.lanes, lane); !found {
		state.lanes = slices.Insert(slices.Clone(state.lanes), i, lane) // readers may have the list
	}
	s.dirty[id] = struct{}{}
}

// cut drops the records of a stream that x says, unless others have gone since it was made.
func (s *streams) cut(b store.Batch, id cdc.Stream, x *streamCut) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.states[id]
	if state == nil || state.went != x.went {
		return state == nil
	}
	for _, lane := range state.lanes {
		b.DeleteRange(store.StreamRange(id.Table, id.Since, lane, x.trimmed, x.upTo))
	}
	state.trimmed = x.upTo
	if !plantedCounts {
		state.records -= x.records
		state.bytes -= x.bytes
	}
	state.went++
	s.dirty[id] = struct{}{}
	return true
}

// restart makes a stream one that has nothing, and had nothing that is still there, up to a position after all that it had.
func (s *streams) restart(b store.Batch, id cdc.Stream, at hlc.Timestamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.states[id]
	if was == nil {
		was = &streamState{}
	}
	for _, lane := range was.lanes {
		b.DeleteRange(store.StreamRange(id.Table, id.Since, lane, was.trimmed, was.last))
	}
	s.states[id] = &streamState{view: was.view, trimmed: at, last: at, went: was.went + 1}
	s.dirty[id] = struct{}{}
}

// hasPast reports whether a reader of a stream may have been somewhere in it: it was told something, or its region had another store.
func (s *streams) hasPast(id cdc.Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[id] != nil || s.outlives(id)
}

// outlives reports whether a stream is older than the store, which has nothing of before.
func (s *streams) outlives(id cdc.Stream) bool { return s.born.Millis() > id.Since }

// drop forgets all streams of a table.
func (s *streams) drop(b store.Batch, table globaltable.TableID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.states {
		if id.Table == table {
			s.forget(b, id)
		}
	}
	b.DeleteRange(store.StreamsRange(table))
}

// forget drops the state of a stream. The caller holds mu.
func (s *streams) forget(b store.Batch, id cdc.Stream) {
	delete(s.states, id)
	delete(s.dirty, id)
	delete(s.ends, id)
	b.Delete(store.AppendStreamStateKey(nil, id.Table, id.Since))
}

// flush writes what has changed into b.
func (s *streams) flush(b store.Batch, g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dirty) == 0 {
		return
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.dirty), compareStreams) {
		state := s.states[id]
		b.Set(store.AppendStreamStateKey(nil, id.Table, id.Since), state.append(nil))
		g.told = append(g.told, streamEnd{id, state.last})
	}
	clear(s.dirty)
}

// streamEnd is the newest record of a stream in a group.
type streamEnd struct {
	stream cdc.Stream
	last   hlc.Timestamp
}

// settle takes over that a group is durable.
func (s *streams) settle(g *group) {
	if g.mark == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark = max(s.mark, g.mark)
	for _, end := range g.told {
		s.ends[end.stream] = end.last
	}
	if len(g.told) > 0 && s.news != nil {
		close(s.news)
		s.news = nil
	}
}

// telling is a change of a record that may be told.
type telling struct {
	table         globaltable.TableID
	key           item.Key
	before, after []byte // records; nil: none
	kind          cdc.Kind
	dot           hlc.Stamp
	transaction   hlc.Timestamp
	outcome       cdc.Outcome
}

// tell puts what there is to be told of a change into the table's stream, if it has one and the item may be here.
func (c *core) tell(g *group, x *telling) error {
	since, view, ok := c.catalog.Stream(x.table)
	if !ok || plantedUntold && x.kind == cdc.Copied {
		return nil
	}
	_, lane, _, ok := c.catalog.Place(x.table, x.key)
	if !ok {
		return nil
	}
	t := cdc.Table{Key: c.catalog.KeySchema(x.table), Expiry: c.catalog.Expiry(x.table)}
	step, err := t.Between(x.key, x.before, x.after, x.dot.Time)
	if err != nil {
		return errCorruptStore("record", err)
	}
	to := streamPlace{cdc.Stream{Table: x.table, Since: since}, view, lane}
	if step.Gone != nil {
		c.putStreamRecord(g, to, &cdc.Record{Kind: cdc.Expired, Event: cdc.Remove, Dot: step.GoneAt, Newest: step.NewestNow, Key: x.key, Old: step.Gone})
	}
	if step.Changed() || plantedTold {
		r := cdc.Record{Kind: x.kind, Event: step.Event(), Outcome: x.outcome, Dot: x.dot, Transaction: x.transaction, Newest: step.NewestNow, Key: x.key, Old: step.Old, New: step.New}
		c.putStreamRecord(g, to, &r)
	}
	return nil
}

// cutStreams has streams end where a replica is another one than before, and the newest one go on where it serves. What changed in between was not told: a reader that was there before learns that something is missing.
func (c *core) cutStreams(g *group, t *AdoptedTable) {
	newest := cdc.Stream{Table: t.ID, Since: t.Stream}
	hasPast := c.streams.hasPast(newest)
	if t.Anew {
		c.streams.drop(g.batch, t.ID)
	}
	since, _, on := c.catalog.Stream(t.ID)
	begins := t.Tells && !(on && since == t.Stream) && !plantedGap
	if t.Stream > 0 && hasPast && (t.Anew || begins) {
		at := c.clock.Now()
		g.useClock = true
		c.streams.restart(g.batch, newest, at)
	}
}

// streamPlace is where a stream record goes.
type streamPlace struct {
	stream cdc.Stream
	view   globaltable.StreamView
	lane   globaltable.LaneID
}

func (c *core) putStreamRecord(g *group, to streamPlace, r *cdc.Record) {
	r.Show(to.view)
	at := c.clock.Now()
	if plantedWall {
		at &^= hlc.Timestamp(0xffff)
	}
	g.useClock = true
	key := store.AppendStreamKey(c.scratch[:0], to.stream.Table, to.stream.Since, to.lane, at)
	c.scratch = r.Append(key)
	g.batch.Set(c.scratch[:len(key)], c.scratch[len(key):])
	c.streams.add(to.stream, to.view, to.lane, at, len(c.scratch))
}

// tellWrite tells of a write of this region.
func (c *core) tellWrite(g *group, k *keyState) error {
	return c.tell(g, &telling{table: k.table, key: k.key, before: k.current, after: k.next, kind: cdc.Write, dot: k.change.Dot, transaction: k.change.Transaction})
}

// tellMerge tells of what was merged, change by change. A change at or below the purge frontier has been here before: what it was of was collected, and another region, which has not yet, has logged it again. Those of an item are told together, as a copy, if anything is seen of them.
func (c *core) tellMerge(g *group, sub *submission) error {
	for i := range sub.parts {
		p := &sub.parts[i]
		if p.after == nil {
			continue
		}
		k := &sub.keys[p.key]
		if _, _, told := c.catalog.Stream(k.table); !told {
			continue // a join brings millions of records, whose stamps need not be read
		}
		if plantedFinal {
			if sub.nextOf(i) != nil {
				continue
			}
			p.before = k.current
		}
		x := telling{table: k.table, key: k.key, before: p.before, after: p.after, kind: cdc.Write, dot: p.change.Dot, transaction: p.change.Transaction, outcome: p.outcome}
		if p.record != nil {
			var err error
			if x.dot, err = conflict.NewestOf(p.record); err != nil {
				return errCorruptStore("record", err)
			}
			x.kind = cdc.Copied
		} else if purge := c.purges.frontier(k.table); p.change.Dot.Time <= purge {
			if next := sub.nextOf(i); next != nil && next.record == nil && next.change.Dot.Time <= purge {
				next.before = p.before
				continue
			}
			x.kind = cdc.Copied
		}
		if err := c.tell(g, &x); err != nil {
			return err
		}
	}
	return nil
}

// nextOf returns the part after the i-th that changes the same key; nil if there is none.
func (sub *submission) nextOf(i int) *part {
	for j := i + 1; j < len(sub.parts); j++ {
		if p := &sub.parts[j]; p.key == sub.parts[i].key && p.after != nil {
			return p
		}
	}
	return nil
}

// tellCollected tells of an item that had expired and is erased.
func (c *core) tellCollected(g *group, k *keyState, purge hlc.Timestamp) error {
	return c.tell(g, &telling{table: k.table, key: k.key, before: k.current, after: k.next, kind: cdc.Expired, dot: hlc.Stamp{Time: purge}})
}

// tellReplayed tells of what this region had written before it was rebuilt, and what is known again.
func (c *core) tellReplayed(g *group, k *keyState, changes []conflict.Change) error {
	last := changes[len(changes)-1]
	return c.tell(g, &telling{table: k.table, key: k.key, before: k.current, after: k.next, kind: cdc.Copied, dot: last.Dot, transaction: last.Transaction})
}
