package commit

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// do runs f in the critical section, alone in its group if exclusive, and returns when that group and all before it are durable. What f writes it
// writes whole, or it returns an error before it writes.
func (s *Shard) do(ctx context.Context, exclusive bool, f func(c *core, g *group) error) error {
	sub := s.newSubmission(kindControl)
	sub.exclusive, sub.control = exclusive, f
	_, err := s.submit(ctx, sub)
	return err
}

// Heads samples the log's heads and the clock at one moment between writes. It returns when all of it is durable: no write of this shard that is not in the heads
// ever gets a stamp at or below Heads.HLC, over a crash too.
func (s *Shard) Heads(ctx context.Context) (Heads, error) {
	var out Heads
	err := s.do(ctx, false, func(_ *core, g *group) error {
		g.sampled = append(g.sampled, &out)
		return nil
	})
	if err != nil {
		return Heads{}, err
	}
	return out, nil
}

// heads returns the heads as they are, with a time that is above every stamp given. The caller makes sure of the clock's bound.
func (c *core) heads() Heads {
	h := Heads{HLC: c.clock.Now(), Lanes: make([]LaneHead, 0, len(c.lanes))}
	for _, l := range c.lanes {
		h.Lanes = append(h.Lanes, l.head())
	}
	slices.SortFunc(h.Lanes, func(a, b LaneHead) int { return globaltable.CompareLanes(a.Lane, b.Lane) })
	return h
}

// ReadLog returns durable entries of a lane in order, beginning with sequence from, until their bodies reach maxBytes, at least one if there is one. It returns
// change.ErrTrimmed when from is gone. The entries are the caller's.
func (s *Shard) ReadLog(id globaltable.LaneID, from uint64, maxBytes int) (entries []change.Entry, err error) {
	from = max(from, 1)
	head, trimmed := s.durableHead(id)
	if from <= trimmed {
		return nil, change.ErrTrimmed
	}
	if from > head {
		return nil, nil
	}
	it, err := s.cfg.Engine.NewIter(store.LogRange(id, from, head+1))
	if err != nil {
		return nil, fault(globaltable.Internal, "read log", "", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	next, bytes := from, 0
	for ok := it.First(); ok && (next == from || bytes < maxBytes); ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return nil, fault(globaltable.Internal, "read log", "", err)
		}
		e, err := change.DecodeEntry(slices.Clone(value))
		if err != nil {
			return nil, err
		}
		if e.Seq != next {
			break
		}
		entries = append(entries, e)
		bytes += len(e.Body)
		next++
	}
	if len(entries) > 0 {
		return entries, nil
	}
	if _, trimmed := s.durableHead(id); from <= trimmed {
		return nil, change.ErrTrimmed // while this was reading
	}
	return nil, fault(globaltable.Corrupt, "read log", "an entry is missing", nil)
}

func (s *Shard) durableHead(id globaltable.LaneID) (seq, trimmed uint64) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	l := s.view.lanes[id]
	if l == nil {
		return 0, 0
	}
	return l.Seq, l.Trimmed
}

// Head returns the durable head of one of the shard's own lanes. ok is false when there is no such lane.
func (s *Shard) Head(id globaltable.LaneID) (head LaneHead, ok bool) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	l := s.view.lanes[id]
	if l == nil {
		return LaneHead{}, false
	}
	return l.LaneHead, true
}

// Trim drops a lane's entries up to and with upTo, but never the newest one: head and chain live on in it. Each call costs the store a range
// deletion, so call it about once a second, not for each acknowledgement.
func (s *Shard) Trim(ctx context.Context, id globaltable.LaneID, upTo uint64) error {
	return s.do(ctx, false, trim(id, upTo))
}

func trim(id globaltable.LaneID, upTo uint64) func(*core, *group) error {
	return func(c *core, g *group) error {
		l := c.lanes[id]
		if l == nil || l.seq == 0 {
			return nil
		}
		upTo := min(upTo, l.seq-1)
		if upTo <= l.trimmed {
			return nil
		}
		from, to := store.LogRange(id, l.trimmed+1, upTo+1)
		g.batch.DeleteRange(from, to)
		l.trimmed = upTo
		c.storeLaneHead(g, l)
		c.keepSent(g, l)
		// Before the batch shows: a reader that misses an entry has to find why.
		c.view.trim(id, upTo)
		return nil
	}
}

// Position returns the durable position in a lane of another region's shard; zero if there is none. src.Incarnation is ignored.
func (s *Shard) Position(src change.Source) globaltable.Position {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	return s.view.positions[positionKeyOf(src)]
}

// Positions returns all durable positions, sorted by origin, shard and lane.
func (s *Shard) Positions() []PositionAt {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	out := make([]PositionAt, 0, len(s.view.positions))
	for k, p := range s.view.positions {
		out = append(out, PositionAt{Origin: k.origin, Shard: k.shard, Lane: k.lane, Position: p})
	}
	slices.SortFunc(out, func(a, b PositionAt) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Lane, b.Lane))
	})
	return out
}

// Revoke declares inc and every earlier incarnation of origin dead, durably.
func (s *Shard) Revoke(ctx context.Context, origin hlc.Origin, inc globaltable.Incarnation) error {
	if origin == s.cfg.Origin {
		return fault(globaltable.Invalid, "revoke incarnation", "a region cannot revoke itself", nil)
	}
	return s.do(ctx, false, revoke(origin, inc))
}

func revoke(origin hlc.Origin, inc globaltable.Incarnation) func(*core, *group) error {
	return func(c *core, g *group) error {
		if c.revoked[origin] >= inc {
			return nil
		}
		c.revoked[origin] = inc
		g.batch.Set(store.AppendRevokedKey(nil, origin), binary.BigEndian.AppendUint64(nil, uint64(inc)))
		g.settled = append(g.settled, func(v *view) { v.revoked[origin] = inc })
		if under := c.catchUps[origin]; under != nil && under.Incarnation <= inc {
			c.dropCatchUp(g, origin) // what a dead incarnation's lanes have missed is brought by who closes it
		}
		return nil
	}
}

// Revoked returns the greatest incarnation of origin that is durably revoked, zero if there is none.
func (s *Shard) Revoked(origin hlc.Origin) globaltable.Incarnation {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	return s.view.revoked[origin]
}

// ConfirmPeer notes that the store of peer with the incarnation of (0: not told) has durably applied a lane of this shard up to and with seq, and that the clock has been moved past the one that the peer
// had then: what is decided on the strength of it has a greater stamp than all that the peer wrote before it had that. It is stored along with a later group, and with it a bound of the clock; a crash may
// forget it, but not where the log was trimmed because of it.
func (s *Shard) ConfirmPeer(peer hlc.Origin, of globaltable.Incarnation, id globaltable.LaneID, seq uint64) {
	s.confirmed.raise(confirmedKey{id, peer}, confirmedAt{seq, of})
}

// ConfirmedBy returns how far that store of a peer has confirmed a lane; 0 if it has not.
func (s *Shard) ConfirmedBy(peer hlc.Origin, of globaltable.Incarnation, id globaltable.LaneID) uint64 {
	return s.confirmed.by(confirmedKey{id, peer}, of)
}

// Confirmations returns what peers have confirmed, sorted by lane and peer.
func (s *Shard) Confirmations() []Confirmation { return s.confirmed.list() }

// Count returns the live items of a table and their size, as DynamoDB counts it, as applied.
func (s *Shard) Count(table globaltable.TableID) (items, bytes int64, err error) {
	d, err := s.core.digests.total(table)
	if err != nil {
		return 0, 0, fault(globaltable.Internal, "count", "", err)
	}
	return int64(d.Count), int64(d.Bytes), nil
}

// Digests returns the table's digests as of one moment between writes, all of it durable.
func (s *Shard) Digests(ctx context.Context, table globaltable.TableID) (*[DigestBuckets]Digest, error) {
	out := new([DigestBuckets]Digest)
	err := s.do(ctx, false, func(c *core, _ *group) error {
		t, err := c.digests.table(table)
		if err != nil {
			return fault(globaltable.Internal, "read digests", "", err)
		}
		*out = t.buckets
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// SetJoin keeps, durably, how far a new replica of the table here has got with what source holds. state is opaque, and gone with the table's data. The error is of
// kind InUse when the table may not be here any more.
func (s *Shard) SetJoin(ctx context.Context, table globaltable.TableID, source hlc.Origin, state []byte) error {
	return s.do(ctx, false, setJoin(table, source, state))
}

func setJoin(table globaltable.TableID, source hlc.Origin, state []byte) func(*core, *group) error {
	return func(c *core, g *group) error {
		if !c.catalog.Admits(table, nil, 0) {
			return fault(globaltable.InUse, "keep join", "the table is not in the catalog", nil)
		}
		g.batch.Set(store.AppendJoinKey(nil, table, source), state)
		return nil
	}
}

// Join returns what SetJoin kept; nil if there is nothing.
func (s *Shard) Join(table globaltable.TableID, source hlc.Origin) (state []byte, err error) {
	err = getValue(s.cfg.Engine, store.AppendJoinKey(nil, table, source), func(value []byte) error {
		state = slices.Clone(value)
		return nil
	})
	if err != nil {
		return nil, fault(globaltable.Internal, "read join", "", err)
	}
	return state, nil
}

// RebuildDigest computes the digest of one bucket of a table anew from its records, durably. It reads the bucket while nothing else is written.
func (s *Shard) RebuildDigest(ctx context.Context, table globaltable.TableID, bucket int) error {
	if bucket < 0 || bucket >= DigestBuckets {
		return fault(globaltable.Invalid, "rebuild digest", "a bucket that cannot be", nil)
	}
	return s.do(ctx, true, func(c *core, _ *group) error {
		sum, err := readBucket(c.engine, c.catalog, table, bucket)
		if err != nil {
			return fault(globaltable.Internal, "rebuild digest", "", err)
		}
		t, err := c.digests.table(table)
		if err != nil {
			return fault(globaltable.Internal, "rebuild digest", "", err)
		}
		c.digests.change(table, t, bucket, t.buckets[bucket], sum)
		return nil
	})
}

// readBucket sums up the records of a bucket.
func readBucket(r store.Reader, catalog Catalog, table globaltable.TableID, bucket int) (sum Digest, err error) {
	hash := func(b int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(b)<<(64-digestBits)) }
	_, upper := store.RecordRange(table)
	if bucket+1 < DigestBuckets {
		upper = store.AppendRecordKey(nil, table, hash(bucket+1))
	}
	err = store.Each(r, store.AppendRecordKey(nil, table, hash(bucket)), upper, func(key, value []byte) error {
		d, _, err := digestOf(catalog, table, item.Key(store.RecordKeySuffix(key)), value)
		sum.add(d)
		return err
	})
	return sum, err
}

// DropTable erases all records and digests of a table, its purge frontier and what else there is of it, and all of its conflict feed, durably. The catalog in force must not have the table any more: no write can add to it then.
func (s *Shard) DropTable(ctx context.Context, table globaltable.TableID) error {
	if table == globaltable.SystemTable {
		return fault(globaltable.Invalid, "drop table", "the system table stays", nil)
	}
	return s.do(ctx, true, dropTable(table))
}

func dropTable(table globaltable.TableID) func(*core, *group) error {
	return func(c *core, g *group) error {
		if _, _, _, ok := c.catalog.Place(table, nil); ok || c.catalog.Admits(table, nil, 0) {
			return fault(globaltable.InUse, "drop table", "the table is still in the catalog", nil)
		}
		for _, m := range c.mirrors {
			if m.to == table {
				return fault(globaltable.InUse, "drop table", "another table is being copied into it", nil)
			}
		}
		c.clearTable(g, table)
		c.clearTable(g, table.Feed())
		c.streams.drop(g.batch, table)
		return nil
	}
}

// clearTable drops all that there is of a table but its log and its change streams. The group has nothing else of it.
func (c *core) clearTable(g *group, table globaltable.TableID) {
	for _, of := range []func(globaltable.TableID) (from, to []byte){store.RecordRange, store.DigestRange, store.JoinRange, store.GarbageRange} {
		g.batch.DeleteRange(of(table))
	}
	for _, index := range c.indexes.of(table) {
		c.indexes.drop(g.batch, indexKey{table, index})
	}
	c.purges.drop(g.batch, table)
	c.placings.drop(g, table)
	c.letters.drop(g.batch, table)
	c.digests.drop(table)
	maps.DeleteFunc(c.cleared, func(_ globaltable.TableID, in uint64) bool { return g.number-in > rememberCleared })
	c.cleared[table] = g.number
}

// rememberCleared is for how many groups a submission may be on its way at most that was read before a table's data was dropped.
const rememberCleared = 1 << 16

// readTooEarly refuses what was read before the data of one of its tables was dropped: it would bring some of that back.
func (c *core) readTooEarly(sub *submission) error {
	if len(c.cleared) == 0 {
		return nil
	}
	for i := range sub.keys {
		if c.cleared[sub.keys[i].table] > sub.seen {
			return fault(globaltable.Unavailable, "commit", "the table's data was dropped meanwhile; try again", nil)
		}
	}
	return nil
}

// LogBytes returns about how many bytes a lane's entries have.
func (s *Shard) LogBytes(id globaltable.LaneID) int64 {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	if l := s.view.lanes[id]; l != nil {
		return l.size.after(l.Trimmed)
	}
	return 0
}

// LogExcess returns up to and with which sequence a lane's log would have to go so that about keep bytes stay; zero when there are no more than that.
func (s *Shard) LogExcess(id globaltable.LaneID, keep int64) uint64 {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	l := s.view.lanes[id]
	if l == nil || l.size.after(l.Trimmed) <= keep {
		return 0
	}
	return l.size.beyond(keep)
}
