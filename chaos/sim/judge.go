package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/inbox"
)

// lanes is all lanes that were ever written, sorted by id.
func (w *world) lanes() []globaltable.Lane {
	out := make([]globaltable.Lane, 0, len(w.placements))
	for id, p := range w.placements {
		out = append(out, globaltable.Lane{ID: id, Placement: p})
	}
	slices.SortFunc(out, globaltable.CompareLanes)
	return out
}

func (r *region) follows(id globaltable.LaneID) bool { return r.placements[id].Has(r.origin) }

// feeds reports whether another region is a member of one of this region's own lanes, as the lane is now: those of the catalog's lane change with the next document.
func (r *region) feeds(id globaltable.LaneID, o hlc.Origin) bool {
	h, ok := r.shard.Head(id)
	return ok && h.Placement.Has(o)
}

// laneIDs is the lanes of which this region has a stream, sorted.
func (r *region) laneIDs() []globaltable.LaneID {
	out := make([]globaltable.LaneID, 0, len(r.bus.streams))
	for id := range r.bus.streams {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func (r *region) anyStream() (globaltable.LaneID, bool) {
	ids := r.laneIDs()
	if len(ids) == 0 {
		return 0, false
	}
	return ids[r.rng.IntN(len(ids))], true
}

// unrest says what is still to be done, "" when all is at rest.
func (w *world) unrest() string {
	if why := w.unsettled(); why != "" {
		return why
	}
	for _, r := range w.active() {
		if !r.up || len(r.pending) > 0 {
			return fmt.Sprintf("region %d has %d operations without an answer", r.origin, len(r.pending))
		}
		for why := range r.excluded {
			return fmt.Sprintf("region %d serves nobody: %s", r.origin, why)
		}
		status := r.outbox.Status()
		for _, b := range status {
			for _, p := range b.Lane.Placement.Peers(r.origin) {
				if b.Confirmed[p] < b.Head && w.standing(w.region(p)) == globaltable.MemberActive {
					return fmt.Sprintf("region %d has %d entries in lane %s, region %d confirmed %d", r.origin, b.Head, b.Lane.ID, p, b.Confirmed[p])
				}
			}
			if b.Head > 0 && b.Trimmed+1 < b.Head {
				return fmt.Sprintf("region %d trimmed lane %s to %d of %d", r.origin, b.Lane.ID, b.Trimmed, b.Head)
			}
		}
		if under := r.shard.CatchUps(); len(under) > 0 {
			progress, _ := r.joiner.CatchingUp(under[0].Origin)
			return fmt.Sprintf("region %d is catching up with region %d: %+v", r.origin, under[0].Origin, progress)
		}
		for _, o := range w.active() {
			if o != r && r.session(o) == nil {
				return fmt.Sprintf("region %d does not follow %d", r.origin, o.origin)
			}
		}
		for _, s := range r.sessions {
			if why := s.unrest(); why != "" {
				return why
			}
		}
		if why := r.uncollected(); why != "" {
			return why
		}
		if why := r.unbuilt(); why != "" {
			return why
		}
		if why := r.unfired(); why != "" {
			return why
		}
	}
	for _, r := range w.regions {
		if s := w.standing(r); !w.story && s == globaltable.MemberFencing || !w.story && s == globaltable.MemberFenced && !r.gone && !r.abandoned {
			return fmt.Sprintf("region %d has not come back", r.origin)
		}
	}
	return ""
}

func (s *session) unrest() string {
	if !s.connected {
		return fmt.Sprintf("region %d is not connected to %d", s.origin, s.from.origin)
	}
	for id, head := range s.from.seen {
		if l := s.lane(s.from.origin, s.from.shard.Incarnation(), id); s.from.feeds(id, s.origin) && s.took[l] < head {
			return fmt.Sprintf("region %d has applied %d of %d entries of lane %s of %d", s.origin, s.took[l], head, id, s.from.origin)
		}
	}
	for _, p := range s.core.Positions() {
		if p.Stop != inbox.Running {
			return fmt.Sprintf("region %d stopped lane %s of %d: %s", s.origin, p.Lane, s.from.origin, p.Stop)
		}
	}
	return ""
}

// maxStates bounds the states kept of one key: laws are checked over all triples.
const maxStates = 6

// glance keeps the record of some key as some region has it now, for the laws.
func (w *world) glance() {
	r := w.anyRegion()
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	key := string(store.AppendRecordKey(nil, t.id, keyOf(w.rng.IntN(t.keys))))
	value, release, ok, err := r.disk.Get([]byte(key))
	if err != nil {
		panic(err)
	}
	if !ok {
		return
	}
	w.keepState(key, value)
	if err := release.Close(); err != nil {
		panic(err)
	}
}

func (w *world) keepState(key string, encoded []byte) {
	kept := w.states[key]
	if len(kept) < maxStates && !slices.ContainsFunc(kept, func(b []byte) bool { return bytes.Equal(b, encoded) }) {
		w.states[key] = append(kept, bytes.Clone(encoded))
	}
}

// laws checks the merge over states that keys really had, of different regions and times.
func (w *world) laws() (out []check.Violation) {
	join := func(a, b []byte) []byte {
		joined, err := conflict.JoinEncoded(nil, a, b)
		if err != nil {
			panic(err)
		}
		return joined
	}
	for _, key := range slices.Sorted(maps.Keys(w.states)) {
		out = append(out, check.Laws(join, w.states[key])...)
		if len(w.states[key]) > 2 {
			w.cover("laws over three states of a key")
		}
	}
	return out
}

// judge gives the checkers all that is known.
func (w *world) judge() []check.Violation {
	var history []check.Operation
	for _, op := range w.operations {
		w.settleFate(op)
		history = append(history, op.Operation)
	}
	history = append(history, w.listed.operations...)
	var replicas []check.Replica
	heads := map[check.Lane]uint64{}
	for _, r := range w.active() {
		r.checkResidency()
		r.inspectStreams()
		s := r.snapshot(r.headsNow())
		w.evidence.found = append(w.evidence.found, check.Indexes(s)...)
		w.evidence.found = append(w.evidence.found, w.conflicts.Atomic(s, w.purged)...)
		r.checkHeirs(s)
		s = r.withoutHeirs(s)
		w.evidence.found = append(w.evidence.found, check.Atomicity(s, w.ledger, w.purged, w.mayBeErased)...)
		replicas = append(replicas, s.Replica)
		for _, l := range w.lanes() {
			for _, p := range l.Placement.Peers(r.origin) {
				if r.feeds(l.ID, p) && !w.ledger.Closed(uint16(r.origin), uint64(r.shard.Incarnation())) && w.standing(w.region(p)) == globaltable.MemberActive {
					heads[w.region(p).lane(r.origin, r.shard.Incarnation(), l.ID)] = r.seen[l.ID]
				}
			}
		}
	}
	holes, applied := w.followed()
	replicas = withoutEpochs(replicas)
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 1))
	return slices.Concat(w.evidence.found, w.laws(), w.judgeConflicts(), w.judgeTriggers(),
		check.NoLostWrite(history, replicas, w.holders, w.purged, w.missing, w.late),
		check.Convergence(replicas, w.holders, w.purged),
		check.Reference(history, withoutCatalog(replicas), w.holders, w.purged, w.doubtful, rng),
		check.Merged(history, w.shown(), w.holders, w.purged, w.passed, w.isTyped),
		check.Clock(w.evidence.readings, maxOffset),
		check.Quarantine(w.evidence.arrivals, maxOffset),
		check.Gaps(holes, applied, heads),
		check.Marks(w.evidence.marks, w.ledger, func(o uint16, lane uint64) bool {
			return w.region(hlc.Origin(o)).follows(globaltable.LaneID(lane))
		}))
}

// followed is the evidence of lanes, without those of stores that nobody follows any more, and of those whose sequences were given twice.
func (w *world) followed() (holes []check.Hole, applied []check.Applied) {
	is := func(l check.Lane) bool {
		r := w.region(hlc.Origin(l.Region))
		return l.Store == r.store && w.standing(r) == globaltable.MemberActive && !w.ledger.Closed(l.Origin, l.Incarnation)
	}
	for _, h := range w.evidence.holes {
		if is(h.Lane) && w.region(hlc.Origin(h.Origin)).feeds(globaltable.LaneID(h.Lane.Lane), hlc.Origin(h.Region)) {
			holes = append(holes, h)
		}
	}
	for _, a := range w.evidence.applied {
		if is(a.Lane) {
			applied = append(applied, a)
		}
	}
	return holes, applied
}

// withoutEpochs drops the items of the system table that say how often an owner has started: whoever had to fetch documents, since the catalog's lane no longer had them, has not got
// these, and nobody needs another region's.
func withoutEpochs(replicas []check.Replica) []check.Replica {
	table := uint64(globaltable.SystemTable)
	for i := range replicas {
		rep := &replicas[i]
		for o := range identities() {
			k := check.Key{Table: table, Bytes: string(catalog.EpochKey(o))}
			delete(rep.Records, k)
			delete(rep.Canonical, k)
		}
		delete(rep.Digests, table)
	}
	return replicas
}

// withoutCatalog is the replicas without the system table, whose documents no client wrote.
func withoutCatalog(replicas []check.Replica) []check.Replica {
	out := slices.Clone(replicas)
	for i := range out {
		out[i].Records = maps.Clone(out[i].Records)
		maps.DeleteFunc(out[i].Records, func(k check.Key, _ check.Record) bool { return k.Table == uint64(globaltable.SystemTable) })
	}
	return out
}

// inspect checks what a start finds.
func (r *region) inspect(heads []commit.LaneHead) {
	r.checkResidency()
	r.inspectStreams()
	s := r.snapshot(heads)
	r.evidence.found = append(r.evidence.found, check.Indexes(s)...)
	r.evidence.found = append(r.evidence.found, r.conflicts.Atomic(s, r.frontiers())...)
	r.checkHeirs(s)
	r.evidence.found = append(r.evidence.found, check.Atomicity(r.withoutHeirs(s), r.ledger, r.frontiers(), r.mayBeErased)...)
}

// frontiers is how far this store may have collected: as anybody that is followed did, or, while the others do not follow this region, as it says itself. What was collected was collected at a frontier
// in the same batch, so a store never says less than it has done; and none but its own records are judged by what it says.
func (r *region) frontiers() check.Frontiers {
	out := maps.Clone(r.purged)
	for _, h := range r.held() {
		out[uint64(h.Table)] = max(out[uint64(h.Table)], uint64(r.shard.Purge(h.Table)))
	}
	return out
}

// snapshot reads the region's engine, in the checkers' terms.
func (r *region) snapshot(heads []commit.LaneHead) check.Snapshot {
	s := check.Snapshot{Replica: withoutCatalog([]check.Replica{r.replica()})[0], Store: r.store, Trimmed: map[uint64]uint64{}, Positions: r.positions(),
		Holds: func(k check.Key) []uint16 {
			if r.holds(k) {
				return []uint16{uint16(r.origin)}
			}
			return nil
		},
		// Where lanes were begun anew and are not caught up with, positions say less than what has come.
		Hollow: func(l check.Lane, seq uint64) bool { return r.hollow[l][seq] },
		Joined: func(k check.Key) bool { return r.joined[globaltable.TableID(k.Table)] || len(r.missing) > 0 },
	}
	s.Indexes = r.indexes()
	for _, h := range heads {
		if h.ID == globaltable.CatalogLane {
			continue
		}
		s.Trimmed[uint64(h.ID)] = h.Trimmed
		lower, upper := store.LogRange(h.ID, 0, 0)
		eachKV(r.disk, lower, upper, func(_, value []byte) {
			e, err := change.DecodeEntry(value)
			if err == nil && !e.Void {
				err = change.EachChange(e.Body, func(c *conflict.Change) error {
					l, known := r.ledger.Find(check.Key{Table: c.Table, Bytes: string(c.Key)}, stampOf(c.Dot))
					if !known {
						return fmt.Errorf("entry %d of lane %s is in no ledger", e.Seq, h.ID)
					}
					s.Log = append(s.Log, l)
					return nil
				})
			}
			if err != nil {
				r.found("I20", "%v", err)
			}
		})
	}
	return s
}

func (r *region) replica() check.Replica {
	return replicaOf(r.origin, r.disk, r.keepState)
}

// replicaOf reads what a region holds out of its engine. each gets every record with its store key.
func replicaOf(o hlc.Origin, engine store.Engine, each func(key string, encoded []byte)) check.Replica {
	rep := check.Replica{Region: uint16(o), Records: map[check.Key]check.Record{}, Canonical: map[check.Key]string{}, Digests: map[uint64]string{}, Recounted: map[uint64]string{}}
	counted := map[uint64]map[int]commit.Digest{}
	lower, upper := store.SpaceRange(store.SpaceRecord)
	eachKV(engine, lower, upper, func(key, value []byte) {
		k := check.Key{Table: binary.BigEndian.Uint64(key[1:]), Bytes: string(store.RecordKeySuffix(key))}
		rep.Records[k] = recordOf(value)
		each(string(key), value)
		canonical, err := conflict.AppendCanonical(nil, value)
		if err != nil {
			panic(err)
		}
		rep.Canonical[k] = string(canonical)
		sum, live, err := conflict.Digest([]byte(k.Bytes), value)
		if err != nil {
			panic(err)
		}
		if live {
			if counted[k.Table] == nil {
				counted[k.Table] = map[int]commit.Digest{}
			}
			bucket := item.Key(k.Bytes).Bucket(10)
			d := counted[k.Table][bucket]
			counted[k.Table][bucket] = commit.Digest{Sum: d.Sum + sum, Count: d.Count + 1}
		}
	})
	kept := map[uint64]map[int]commit.Digest{}
	lower, upper = store.SpaceRange(store.SpaceDigest)
	eachKV(engine, lower, upper, func(key, value []byte) {
		table, bucket, ok := store.DecodeDigestKey(key)
		if !ok || len(value) < 16 {
			panic("a digest's key or value cannot be right")
		}
		if kept[uint64(table)] == nil {
			kept[uint64(table)] = map[int]commit.Digest{}
		}
		kept[uint64(table)][int(bucket)] = commit.Digest{Sum: binary.BigEndian.Uint64(value), Count: binary.BigEndian.Uint64(value[8:])}
	})
	for table, d := range counted {
		rep.Recounted[table] = digestText(d)
	}
	for table, d := range kept {
		if text := digestText(d); text != "" {
			rep.Digests[table] = text
		}
	}
	return rep
}

// digestText is the buckets that hold something, as text.
func digestText(buckets map[int]commit.Digest) string {
	var b strings.Builder
	for i := range commit.DigestBuckets {
		if d := buckets[i]; d != (commit.Digest{}) && (d.Sum != 0 || d.Count != 0) {
			fmt.Fprintf(&b, "%d:%x/%d/%d ", i, d.Sum, d.Count, d.Bytes)
		}
	}
	return b.String()
}

// recordOf translates a stored record.
func recordOf(encoded []byte) check.Record {
	rec, err := conflict.DecodeRecord(encoded)
	if err != nil {
		panic(err)
	}
	out := check.Record{Reset: stampOf(rec.Reset.Stamp), Cells: map[string]check.Cell{}}
	for i := range rec.Cells {
		c := &rec.Cells[i]
		if string(c.Name) == insideAttribute {
			continue
		}
		out.Cells[string(c.Name)] = check.Cell{Stamp: stampOf(c.Stamp), Removed: c.Removed, Value: string(c.Value)}
	}
	return out
}

func eachKV(engine store.Engine, lower, upper []byte, f func(key, value []byte)) {
	err := store.Each(engine, lower, upper, func(key, value []byte) error {
		f(key, value)
		return nil
	})
	if err != nil {
		panic(err)
	}
}
