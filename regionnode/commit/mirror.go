package commit

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// mirror is a table that is copied, under live traffic, into another one, which is to come into its place here. The other table has exactly the records of the first up to the position in the order of keys, with all that
// is a function of records, in its own right: entries of indexes, keys of garbage, digests. It is what an index is: writes above the position leave it alone, those below it are in both tables by the same batch, and the
// position moves over records that are read inside the critical section, at the beginning of a group. Nobody else writes to the other table before it is in the first one's place, so its records need no latch and no log entry.
//
// The first table's purge frontier stands still meanwhile, and is the other's: nothing of either is collected.
type mirror struct {
	to   globaltable.TableID
	upTo item.Key // while it is not full: the position; empty at the beginning
	full bool     // it covers every key
}

const (
	mirrorVersion = 1
	mirrorLen     = 1 + 1 + 8 // and the position
)

func (m *mirror) append(dst []byte) []byte {
	full := byte(0)
	if m.full {
		full = 1
	}
	return append(binary.BigEndian.AppendUint64(append(dst, mirrorVersion, full), uint64(m.to)), m.upTo...)
}

func decodeMirror(b []byte) (*mirror, error) {
	if len(b) < mirrorLen || b[0] != mirrorVersion || b[1] > 1 || b[1] == 1 && len(b) > mirrorLen {
		return nil, errCorruptStore("state of a copy of a table", nil)
	}
	return &mirror{full: b[1] == 1, to: globaltable.TableID(binary.BigEndian.Uint64(b[2:])), upTo: bytes.Clone(b[mirrorLen:])}, nil
}

func (l *loaded) loadMirrors(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaMirror)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		table, ok := store.DecodeMirrorKey(key)
		if !ok {
			return errCorruptStore("key of a copy of a table", nil)
		}
		m, err := decodeMirror(value)
		l.mirrors[table] = m
		return err
	})
}

func (m *mirror) covers(key item.Key) bool {
	return m.full || bytes.Compare(key, m.upTo) <= 0
}

// mayMirror refuses documents by which a table comes into another's place that has not all of it: no owner issues one before it was told so.
func (c *core) mayMirror(tables []AdoptedTable) error {
	for i := range tables {
		a := &tables[i].Mirror
		if m := c.mirrors[a.From]; m != nil && a.Over && (m.to != a.To || !m.full) {
			return fault(globaltable.Corrupt, "adopt catalog", "a table is to come into the place of another one of which it has not all", nil)
		}
	}
	return nil
}

// adoptMirror begins or ends what a document that is about to come into force says of copies.
func (c *core) adoptMirror(g *group, a Mirroring) {
	m := c.mirrors[a.From]
	if m != nil && (a.Over || m.to != a.To) {
		delete(c.mirrors, a.From)
		g.batch.Delete(store.AppendMirrorKey(nil, a.From))
		g.settled = append(g.settled, func(v *view) { delete(v.mirrors, a.From) })
		m = nil
	}
	if m != nil || a.To == 0 || a.Over {
		return
	}
	m = &mirror{to: a.To}
	c.mirrors[a.From] = m
	c.purges.inherit(a.From, a.To)
	c.keepPosition(g, a.From, m)
}

// keepPosition stores how far a copy is.
func (c *core) keepPosition(g *group, from globaltable.TableID, m *mirror) {
	g.batch.Set(store.AppendMirrorKey(nil, from), m.append(nil))
	now := m.status(from)
	g.settled = append(g.settled, func(v *view) { v.mirrors[from] = now })
}

// inherit gives a table that begins to be a copy the frontier of the other, which stands still, and has its keys of garbage made by the other's history, which does not change either.
func (p *purges) inherit(from, to globaltable.TableID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.of(to)
	t.frontier, t.under = p.of(from).frontier, 0
	t.keys = garbageKeys{made: p.catalog.Expiry(from).Newest()}
	p.dirty[from], p.dirty[to] = struct{}{}, struct{}{} // both, for what is stored of the other's may be older
}

// keepMirror keeps the copy of a table in step with a record that is about to be written, or to go.
func (c *core) keepMirror(g *group, k *keyState) error {
	m := c.mirrors[k.table]
	if m == nil || !m.covers(k.key) || plantedMirror && k.change.Ops != nil {
		return nil
	}
	return c.copyRecord(g, m.to, k)
}

// copyRecord does to the same key of another table what is done to k.
func (c *core) copyRecord(g *group, to globaltable.TableID, k *keyState) error {
	other := keyState{table: to, key: k.key, storeKey: store.AppendRecordKey(nil, to, k.key), hash: hashKey(to, k.key),
		current: k.current, next: k.next, gone: k.gone}
	var err error
	if other.digests, err = c.digests.table(to); err != nil {
		return fault(globaltable.Internal, opMirror, "", err)
	}
	if err := c.putRecord(g, &other); err != nil {
		return err
	}
	c.digests.change(to, other.digests, k.key.Bucket(digestBits), k.before, k.after)
	return nil
}

const opMirror = "copy table"

// MirrorStatus is how far a table is copied into another one.
type MirrorStatus struct {
	From, To globaltable.TableID
	Full     bool // To has all of From, durably, and keeps it
	Percent  int  // of the table's keys that were gone through, 0 to 99; 100 when it is full

	upTo item.Key // while it is not full
}

func (m *mirror) status(from globaltable.TableID) MirrorStatus {
	s := MirrorStatus{From: from, To: m.to, Full: m.full, Percent: 100, upTo: m.upTo}
	if !m.full {
		s.Percent = percentOf(m.upTo)
	}
	return s
}

// Mirrors returns the tables that are being copied, or kept in step with their copy, in the order of their ids.
func (s *Shard) Mirrors() (out []MirrorStatus) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, m := range s.view.mirrors {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b MirrorStatus) int { return compareIndexes(indexKey{table: a.From}, indexKey{table: b.From}) })
	return out
}

// Mirror returns how far the copy of a table is. ok is false when it has none.
func (s *Shard) Mirror(from globaltable.TableID) (status MirrorStatus, ok bool) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	status, ok = s.view.mirrors[from]
	return status, ok
}

// FillMirror takes the copy of a table a step further: over the next records, in the order of keys, at most limit of them. It returns when that is durable.
func (s *Shard) FillMirror(ctx context.Context, from globaltable.TableID, limit int) (Built, error) {
	if err := s.readAheadOfCopy(from, limit); err != nil {
		return Built{}, err
	}
	var out Built
	sub := s.newSubmission(kindControl)
	sub.first, sub.control = true, fillMirror(from, limit, &out)
	if _, err := s.submit(ctx, sub); err != nil {
		return Built{}, err
	}
	return out, nil
}

// readAheadOfCopy reads what a step will read, and forgets it: then the critical section finds it in the store's cache.
func (s *Shard) readAheadOfCopy(from globaltable.TableID, limit int) error {
	status, ok := s.Mirror(from)
	if !ok || status.Full {
		return nil
	}
	_, err := eachUnbuilt(s.cfg.Engine, from, status.upTo, limit, func(item.Key, []byte) error { return nil })
	if err != nil {
		return fault(globaltable.Internal, opMirror, "", err)
	}
	return nil
}

// fillMirror is the step inside the critical section. Its submission comes first in its group.
func fillMirror(from globaltable.TableID, limit int, out *Built) func(*core, *group) error {
	return func(c *core, g *group) error {
		m := c.mirrors[from]
		if m == nil || m.full {
			out.Done = true
			return nil
		}
		last := slices.Clone(m.upTo)
		more, err := eachUnbuilt(c.engine, from, m.upTo, limit, func(key item.Key, record []byte) error {
			k := keyState{key: key, next: record}
			var err error
			if k.after, k.live, err = digestOf(c.catalog, from, key, record); err != nil {
				return errCorruptStore("record", err)
			}
			if err := c.copyRecord(g, m.to, &k); err != nil {
				return err
			}
			last = append(last[:0], key...)
			out.Records++
			return nil
		})
		if err != nil {
			return err
		}
		m.upTo, m.full = last, !more
		if m.full {
			m.upTo, out.Done = nil, true
		}
		c.keepPosition(g, from, m)
		return nil
	}
}
