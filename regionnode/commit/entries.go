package commit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// indexes holds, for each index of each table here, up to which record it is built, and what is in it.
//
// An index has exactly the entries of the records up to its position in the order of keys. Writes above the position leave it alone; the position moves over records that are read inside the
// critical section, at the beginning of a group, when the engine shows all that was ever written. A built index has no position: it covers every key.
type indexes struct {
	mu     sync.Mutex
	states map[indexKey]*indexState
	dirty  map[indexKey]struct{} // changed in the group that is being built
}

type indexKey struct {
	table globaltable.TableID
	index globaltable.IndexID
}

func compareIndexes(a, b indexKey) int {
	return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.index, b.index))
}

type indexState struct {
	built   bool
	upTo    item.Key // while it is not built: the position; empty at the beginning
	entries uint64
	bytes   uint64 // of what the entries show, as DynamoDB counts it
	ready   bool   // built, durably. Not stored
}

const (
	indexVersion  = 1
	indexStateLen = 1 + 1 + 8 + 8 // and the position
)

func (s *indexState) append(dst []byte) []byte {
	built := byte(0)
	if s.built {
		built = 1
	}
	dst = append(dst, indexVersion, built)
	dst = binary.BigEndian.AppendUint64(dst, s.entries)
	dst = binary.BigEndian.AppendUint64(dst, s.bytes)
	return append(dst, s.upTo...)
}

func decodeIndexState(b []byte) (*indexState, error) {
	if len(b) < indexStateLen || b[0] != indexVersion || b[1] > 1 || b[1] == 1 && len(b) > indexStateLen {
		return nil, errCorruptStore("state of an index", nil)
	}
	built := b[1] == 1
	return &indexState{built: built, ready: built, upTo: bytes.Clone(b[indexStateLen:]),
		entries: binary.BigEndian.Uint64(b[2:]), bytes: binary.BigEndian.Uint64(b[10:])}, nil
}

func (l *loaded) loadIndexes(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaIndex)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		table, index, ok := store.DecodeIndexKey(key)
		if !ok {
			return errCorruptStore("key of an index", nil)
		}
		s, err := decodeIndexState(value)
		l.indexes[indexKey{table, index}] = s
		return err
	})
}

// covers reports whether the index has the entries of the record at key. A state that is not there is that of an index whose table this region does not hold.
func (s *indexState) covers(key item.Key) bool {
	return s != nil && (s.built || bytes.Compare(key, s.upTo) <= 0)
}

// get returns a copy of the index's state. The index of a conflict feed is as old as the feed: there never is anything to build.
func (x *indexes) get(k indexKey) (indexState, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.states[k]; s != nil {
		return *s, true
	}
	if k.table.IsFeed() {
		return indexState{built: true, ready: true}, true
	}
	return indexState{}, false
}

// begin makes the state of an index that is new here.
func (x *indexes) begin(k indexKey, built bool) *indexState {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := &indexState{built: built}
	x.states[k] = s
	x.dirty[k] = struct{}{}
	return s
}

// count notes what an index gains and loses with the group that is being built.
func (x *indexes) count(k indexKey, entries, bytes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.states[k]
	if s == nil && k.table.IsFeed() {
		s = &indexState{built: true, ready: true}
		x.states[k] = s
	}
	s.entries += uint64(entries)
	s.bytes += uint64(bytes)
	x.dirty[k] = struct{}{}
}

// advance moves the position.
func (x *indexes) advance(k indexKey, upTo item.Key, built bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.states[k]
	s.upTo, s.built = upTo, built
	x.dirty[k] = struct{}{}
}

// ready makes a built index one that may be read.
func (x *indexes) ready(k indexKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.states[k]; s != nil {
		s.ready = s.built
	}
}

// of returns the ids of the table's indexes.
func (x *indexes) of(table globaltable.TableID) (ids []globaltable.IndexID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.states {
		if k.table == table {
			ids = append(ids, k.index)
		}
	}
	return ids
}

// drop forgets an index.
func (x *indexes) drop(b store.Batch, k indexKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.states, k)
	delete(x.dirty, k)
	b.Delete(store.AppendIndexKey(nil, k.table, k.index))
	b.DeleteRange(store.EntryRange(k.table, k.index))
}

// flush writes what has changed into b.
func (x *indexes) flush(b store.Batch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.dirty) == 0 {
		return
	}
	for _, k := range slices.SortedFunc(maps.Keys(x.dirty), compareIndexes) {
		b.Set(store.AppendIndexKey(nil, k.table, k.index), x.states[k].append(nil))
	}
	clear(x.dirty)
}

// adoptIndexes makes the indexes of a table the ones that a document which is about to come into force gives it. A region that holds nothing of the table, as when the document brings it a
// replica, has nothing to build.
func (c *core) adoptIndexes(g *group, t *AdoptedTable) error {
	for _, id := range c.indexes.of(t.ID) {
		if !slices.Contains(t.Indexes, id) || slices.Contains(t.Replaced, id) {
			c.indexes.drop(g.batch, indexKey{t.ID, id})
		}
	}
	var empty bool
	asked := false
	for _, id := range t.Indexes {
		k := indexKey{t.ID, id}
		if _, known := c.indexes.get(k); known {
			continue
		}
		if !asked {
			var err error
			if empty, err = c.holdsNothing(t); err != nil {
				return err
			}
			asked = true
		}
		if c.indexes.begin(k, empty); empty {
			g.settled = append(g.settled, func(*view) { c.indexes.ready(k) })
		}
	}
	return nil
}

// holdsNothing reports whether no record of the table is left once the group is applied, which is exclusive and changes documents only.
func (c *core) holdsNothing(t *AdoptedTable) (empty bool, err error) {
	if t.Anew {
		return true, nil
	}
	it, err := c.engine.NewIter(store.RecordRange(t.ID))
	if err != nil {
		return false, err
	}
	empty = !it.First()
	return empty, it.Close()
}

// keepEntries keeps the entries of the table's indexes in step with a record that is about to be written, or to go.
func (c *core) keepEntries(g *group, k *keyState) error {
	t := c.catalog.Indexed(k.table)
	if t == nil || plantedMerge && k.change.Ops == nil {
		return nil
	}
	before, _, err := t.KeySchema.ItemOf(k.key, k.current)
	if err != nil {
		return err
	}
	after, _, err := t.KeySchema.ItemOf(k.key, k.next)
	if err != nil {
		return err
	}
	for i := range t.Indexes {
		state, ok := c.indexes.get(indexKey{t.ID, t.Indexes[i].ID})
		if ok && state.covers(k.key) {
			c.keepEntry(g, t, &t.Indexes[i], k.key, before, after)
		}
	}
	return nil
}

// keepEntry replaces an item's entry in one index; a nil item has none.
func (c *core) keepEntry(g *group, t *globaltable.Table, x *globaltable.Index, key item.Key, before, after item.Item) {
	buf := store.AppendEntryKey(c.scratch[:0], t.ID, x.ID, nil)
	buf, _, had := x.AppendEntry(buf, before, key)
	n := len(buf)
	buf = store.AppendEntryKey(buf, t.ID, x.ID, nil)
	buf, at, has := x.AppendEntry(buf, after, key)
	m := len(buf)
	buf = store.AppendEntry(buf, at)
	c.scratch = buf
	old, next, value := buf[:n], buf[n:m], buf[m:]
	entries, size := 0, 0
	if had {
		entries, size = -1, -t.ProjectedSize(x, before)
	}
	if has {
		entries, size = entries+1, size+t.ProjectedSize(x, after)
	}
	if same := had && has && bytes.Equal(old, next); !same {
		if had && !plantedEntry {
			g.batch.Delete(old)
		}
		if has {
			g.batch.Set(next, value)
		}
	}
	if entries != 0 || size != 0 {
		c.indexes.count(indexKey{t.ID, x.ID}, entries, size)
	}
}

const opBuild = "build index"

// Built is what one step of BuildIndex did.
type Built struct {
	Records int  // that were gone through
	Done    bool // the index is built, or there is no such index here
}

const (
	// maxBuild and maxBuildBytes bound the records of one step, which nothing is written beside.
	maxBuild      = 64
	maxBuildBytes = 256 << 10
)

// BuildIndex takes an index that is new here a step further: over the next records of its table, in the order of keys, at most limit of them. It returns when that is durable. The index may be read when
// the step is the last.
func (s *Shard) BuildIndex(ctx context.Context, table globaltable.TableID, index globaltable.IndexID, limit int) (Built, error) {
	if err := s.readAhead(table, index, limit); err != nil {
		return Built{}, err
	}
	var out Built
	sub := s.newSubmission(kindControl)
	sub.first, sub.control = !plantedBuild, buildIndex(indexKey{table, index}, limit, &out)
	if _, err := s.submit(ctx, sub); err != nil {
		return Built{}, err
	}
	return out, nil
}

// readAhead reads what a step will read, and forgets it: then the critical section finds it in the store's cache.
func (s *Shard) readAhead(table globaltable.TableID, index globaltable.IndexID, limit int) error {
	state, ok := s.indexes.get(indexKey{table, index})
	if !ok || state.built {
		return nil
	}
	_, err := eachUnbuilt(s.cfg.Engine, table, state.upTo, limit, func(item.Key, []byte) error { return nil })
	if err != nil {
		return fault(globaltable.Internal, opBuild, "", err)
	}
	return nil
}

// eachUnbuilt calls f with the records of table after the key given, one step of them. more is true when the step ended before the table did.
func eachUnbuilt(r store.Reader, table globaltable.TableID, after item.Key, limit int, f func(key item.Key, record []byte) error) (more bool, err error) {
	rng := Range{Table: table}
	if len(after) > 0 {
		rng.Lower = after.Next()
	}
	it, err := r.NewIter(rng.bounds())
	if err != nil {
		return false, err
	}
	defer closing(it, &err)
	n, size := 0, 0
	for ok := it.First(); ok; ok = it.Next() {
		if n >= max(1, min(limit, maxBuild)) || size >= maxBuildBytes {
			return true, nil
		}
		record, err := it.Value()
		if err == nil {
			err = f(item.Key(store.RecordKeySuffix(it.Key())), record)
		}
		if err != nil {
			return false, err
		}
		n++
		size += len(record)
	}
	return false, nil
}

// buildIndex is the step inside the critical section. Its submission comes first in its group.
func buildIndex(k indexKey, limit int, out *Built) func(*core, *group) error {
	return func(c *core, g *group) error {
		state, known := c.indexes.get(k)
		t := c.catalog.Indexed(k.table)
		if !known || state.built || t == nil {
			out.Done = true
			return nil
		}
		at := slices.IndexFunc(t.Indexes, func(x globaltable.Index) bool { return x.ID == k.index })
		if at < 0 {
			return fault(globaltable.Internal, opBuild, "an index that is not in the catalog", nil)
		}
		last := slices.Clone(state.upTo)
		more, err := eachUnbuilt(c.engine, k.table, state.upTo, limit, func(key item.Key, record []byte) error {
			it, _, err := t.KeySchema.ItemOf(key, record)
			if err != nil {
				return errCorruptStore("record", err)
			}
			c.keepEntry(g, t, &t.Indexes[at], key, nil, it)
			last = append(last[:0], key...)
			out.Records++
			return nil
		})
		if err != nil {
			return err
		}
		if !more {
			last = nil
			out.Done = true
			g.settled = append(g.settled, func(*view) { c.indexes.ready(k) })
		}
		c.indexes.advance(k, last, !more)
		return nil
	}
}

// IndexStatus is how far an index is built in this region, and what it has.
type IndexStatus struct {
	Ready   bool  // it may be read
	Percent int   // of the table's keys that were gone through while it is built, 0 to 99; 100 when it is
	Entries int64 // as applied
	Bytes   int64 // of what the entries show, as DynamoDB counts it
}

// Index returns the status of an index. ok is false when there is no such index here.
func (s *Shard) Index(table globaltable.TableID, index globaltable.IndexID) (status IndexStatus, ok bool) {
	state, ok := s.indexes.get(indexKey{table, index})
	if !ok {
		return IndexStatus{}, false
	}
	status = IndexStatus{Ready: state.ready, Entries: int64(state.entries), Bytes: int64(state.bytes), Percent: 100}
	if !state.ready {
		status.Percent = 99
		if !state.built {
			status.Percent = percentOf(state.upTo)
		}
	}
	return status, true
}

// percentOf says how much of a table is before a key: keys begin with a hash.
func percentOf(key item.Key) int {
	if len(key) < minKeyLen {
		return 0
	}
	return int(key.Hash() / (1<<64/100 + 1))
}

// Unbuilt is an index that is being built.
type Unbuilt struct {
	Table globaltable.TableID
	Index globaltable.IndexID
}

// Unbuilt returns the indexes that are not built yet, in order.
func (s *Shard) Unbuilt() (out []Unbuilt) {
	s.indexes.mu.Lock()
	defer s.indexes.mu.Unlock()
	for _, k := range slices.SortedFunc(maps.Keys(s.indexes.states), compareIndexes) {
		if !s.indexes.states[k].built {
			out = append(out, Unbuilt{k.table, k.index})
		}
	}
	return out
}
