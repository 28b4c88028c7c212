package commit

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// purges holds the purge frontier P of each table, and how many of the table's records have something to collect.
//
// P is a fact about all replicas, so it never falls. It moves only while no replica of the table is on its way in or out, under the very version of the document in force: mu is
// held while documents come into force, so that a version that brings a replica is a moment after which P stands still. What is collected is collected at a P that is durable in the
// same batch. So is what a write has left out at it of what its record says that writes had seen: whoever gets the record, and no P with it, would take what the others had written for unseen.
// Otherwise P is written along with other groups, now and then: after a crash a lower one is as true.
//
// The placement's frontier speaks of writes of its members only. A version without replicas on their way is issued when all have what others wrote, those that have left or were closed and what a
// returning one has replayed; but a member may have written before it had that, and such a write may still be on its way. It has a smaller stamp than the version, and the version was adopted before
// since: so nothing is raised before every pair of members has passed since.
type purges struct {
	mu      sync.Mutex
	catalog Catalog
	clock   *hlc.Clock
	tables  map[globaltable.TableID]*tablePurge
	dirty   map[globaltable.TableID]struct{}
}

type tablePurge struct {
	frontier hlc.Timestamp
	under    globaltable.Version // of the table's document under which the frontier was last raised: whose replicas it speaks of; 0 if it was taken over from another region
	stored   hlc.Timestamp       // frontier in the store, or in the group that is being built
	waiting  uint64              // keys of the table in store.SpaceGarbage that are of deleted items and removed attributes
	expiring uint64              // and those of items that expire
	keys     garbageKeys
	version  globaltable.Version // that raise was asked under last; zero: not since the start
	since    hlc.Timestamp       // the clock when it was asked under version for the first time
}

// storePurgeAfter is how far a frontier moves before it is worth being written for itself.
const storePurgeAfter = 10 * time.Second

// A table whose items never expired has the first three numbers only.
const (
	purgeLen         = 8 + 8 + 8
	expiringPurgeLen = purgeLen + 8 + 8 + 8 // and the cursor
)

func (t *tablePurge) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(t.frontier)), t.waiting)
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.under))
	if t.keys.made == 0 && t.keys.making == 0 {
		return dst
	}
	dst = binary.BigEndian.AppendUint64(dst, t.expiring)
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(t.keys.made)), uint64(t.keys.making))
	return append(dst, t.keys.cursor...)
}

func decodePurge(b []byte) (*tablePurge, error) {
	if len(b) != purgeLen && len(b) < expiringPurgeLen {
		return nil, errCorruptStore("purge frontier of a wrong length", nil)
	}
	at := hlc.Timestamp(binary.BigEndian.Uint64(b))
	t := &tablePurge{frontier: at, stored: at, waiting: binary.BigEndian.Uint64(b[8:]), under: globaltable.Version(binary.BigEndian.Uint64(b[16:]))}
	if len(b) > purgeLen {
		t.expiring = binary.BigEndian.Uint64(b[purgeLen:])
		t.keys.made, t.keys.making = hlc.Timestamp(binary.BigEndian.Uint64(b[purgeLen+8:])), hlc.Timestamp(binary.BigEndian.Uint64(b[purgeLen+16:]))
		t.keys.cursor = bytes.Clone(b[expiringPurgeLen:])
		if t.keys.making == 0 && (t.keys.made == 0 || len(t.keys.cursor) > 0) {
			return nil, errCorruptStore("purge frontier with a walk that is none", nil)
		}
	}
	return t, nil
}

func (l *loaded) loadPurges(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaPurge)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		table, ok := store.DecodePurgeKey(key)
		if !ok {
			return errCorruptStore("key of a purge frontier", nil)
		}
		p, err := decodePurge(value)
		l.purges[table] = p
		return err
	})
}

// of returns the table's state, new if need be. The time to live of a conflict feed is as old as the feed: there never is a change of it to follow. The caller holds mu.
func (p *purges) of(table globaltable.TableID) *tablePurge {
	t := p.tables[table]
	if t == nil {
		t = new(tablePurge)
		if table.IsFeed() {
			t.keys.made = p.catalog.Expiry(table).Newest()
		}
		p.tables[table] = t
	}
	return t
}

// get returns a copy of the table's state.
func (p *purges) get(table globaltable.TableID) tablePurge {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tables[table]; t != nil {
		return *t
	}
	return tablePurge{}
}

func (p *purges) frontier(table globaltable.TableID) hlc.Timestamp {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tables[table]; t != nil {
		return t.frontier
	}
	return 0
}

// floor returns the frontier at which a write of this region is planned, and has it written with the write's group, or before it.
func (p *purges) floor(table globaltable.TableID) hlc.Timestamp {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[table]
	if t == nil {
		return 0
	}
	if t.stored < t.frontier {
		p.dirty[table] = struct{}{}
	}
	return t.frontier
}

// raise moves the frontier, if that version of the table's document is in force, no replica is on its way, and all pairs of members have passed the time at which it came into force.
func (p *purges) raise(table globaltable.TableID, version globaltable.Version, to, applied hlc.Timestamp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.catalog.Version(table) != version || !p.catalog.Settled(table) {
		return
	}
	t := p.of(table)
	if t.version != version {
		t.version, t.since = version, p.clock.Last()
	}
	if to <= t.frontier || applied < t.since && !plantedAtOnce {
		return
	}
	if t.under != version || to.Time().Sub(t.stored.Time()) >= storePurgeAfter {
		p.dirty[table] = struct{}{}
	}
	t.frontier, t.under = to, version
}

// count notes that a key of the table in store.SpaceGarbage comes, goes, or becomes one of something else with the group that is being built.
func (p *purges) count(table globaltable.TableID, was, is conflict.Waste) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.of(table)
	for _, c := range []struct {
		what conflict.Waste
		by   uint64
	}{{was, ^uint64(0)}, {is, 1}} {
		switch c.what {
		case conflict.Deleted:
			t.waiting += c.by
		case conflict.Expires:
			t.expiring += c.by
		}
	}
	p.dirty[table] = struct{}{}
}

// keep has the table's frontier written with the group that is being built.
func (p *purges) keep(table globaltable.TableID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(table)
	p.dirty[table] = struct{}{}
}

// drop forgets a table that is not in the catalog any more.
func (p *purges) drop(b store.Batch, table globaltable.TableID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tables, table)
	delete(p.dirty, table)
	b.Delete(store.AppendPurgeKey(nil, table))
}

// flush writes what has changed into b.
func (p *purges) flush(b store.Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.dirty) == 0 {
		return
	}
	for _, table := range slices.Sorted(maps.Keys(p.dirty)) {
		t := p.tables[table]
		t.stored = t.frontier
		b.Set(store.AppendPurgeKey(nil, table), t.append(nil))
	}
	clear(p.dirty)
}

// Purge returns the table's purge frontier P: all replicas are known to have passed it, twice (package watermark).
func (s *Shard) Purge(table globaltable.TableID) hlc.Timestamp {
	return s.purges.frontier(table)
}

// RaisePurge moves the table's purge frontier to that of its placement under version; applied is what every replica has applied of every other one (F of package watermark). It does nothing when the
// frontier is there already, when another version is in force, while a replica is on its way in or out, or until applied has passed the clock of the first call under version: what came before may
// have been written without having seen what a region wrote that is not in the placement. It is stored along with a later group.
func (s *Shard) RaisePurge(table globaltable.TableID, version globaltable.Version, to, applied hlc.Timestamp) {
	s.purges.raise(table, version, to, applied)
}

// TakePurge takes over, durably, the purge frontier that a replica has told from which this region gets the table's records. It must be taken before those records are. The
// error is of kind InUse when the table may not be here any more, and Unavailable when the frontier is too far ahead of this region's clock.
func (s *Shard) TakePurge(ctx context.Context, table globaltable.TableID, purge hlc.Timestamp) error {
	if purge <= s.Purge(table) {
		return nil
	}
	return s.do(ctx, false, takePurge(table, purge))
}

func takePurge(table globaltable.TableID, purge hlc.Timestamp) func(*core, *group) error {
	return func(c *core, g *group) error {
		if !c.catalog.Admits(table, nil, 0) {
			return fault(globaltable.InUse, "take purge frontier", "the table is not in the catalog", nil)
		}
		// What is written here from now on is above it.
		if err := c.clock.Observe(purge); err != nil {
			return fault(globaltable.Unavailable, "take purge frontier", "", err)
		}
		g.useClock = true
		c.purges.mu.Lock()
		defer c.purges.mu.Unlock()
		t := c.purges.of(table)
		if purge > t.frontier {
			t.frontier, t.under = purge, 0
		}
		// At once: of a group with nothing else in it nothing would be written.
		g.batch.Set(store.AppendPurgeKey(nil, table), t.append(nil))
		return nil
	}
}

// RegainPurge takes over, durably, the purge frontier that the table had here before the store was emptied, if there is one. It is for a region that comes back to a table that nobody serves: what it had of the
// table is all that there is, and no other region would tell it up to where deletions may be forgotten.
func (s *Shard) RegainPurge(ctx context.Context, table globaltable.TableID) error {
	return s.do(ctx, false, regainPurge(table))
}

func regainPurge(table globaltable.TableID) func(*core, *group) error {
	return func(c *core, g *group) error {
		var kept hlc.Timestamp
		err := getValue(c.engine, store.AppendKeptKey(nil, table), func(value []byte) error {
			if len(value) != 8 {
				return errCorruptStore("purge frontier that was kept", nil)
			}
			kept = hlc.Timestamp(binary.BigEndian.Uint64(value))
			return nil
		})
		if err != nil || kept == 0 {
			return err
		}
		return takePurge(table, kept)(c, g)
	}
}

// Waiting returns how many records of the table have something to collect, now or later: those of deleted items, and those with a removed attribute.
func (s *Shard) Waiting(table globaltable.TableID) uint64 {
	t := s.purges.get(table)
	return t.waiting
}

// Expiring returns how many records of the table have an item that expires, or has expired and is not erased yet.
func (s *Shard) Expiring(table globaltable.TableID) uint64 {
	t := s.purges.get(table)
	return t.expiring
}

// keepGarbage keeps store.SpaceGarbage in step with a record that is about to be written: for each record that has something to collect there is exactly one key, at the least
// frontier at which something of it goes. Most writes leave a live item where there was one, in a table whose items do not expire, and find that out from a few bytes.
func (c *core) keepGarbage(g *group, k *keyState) error {
	was, is, err := c.marks(k)
	if err != nil || was == is {
		return err
	}
	if was.what != conflict.NoWaste {
		c.scratch = store.AppendGarbageKey(c.scratch[:0], k.table, was.at, k.key)
		g.batch.Delete(c.scratch)
	}
	if is.what != conflict.NoWaste {
		c.scratch = store.AppendGarbageKey(c.scratch[:0], k.table, is.at, k.key)
		g.batch.Set(c.scratch, nil)
	}
	if was.what != is.what {
		c.purges.count(k.table, was.what, is.what)
	}
	return nil
}
