package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// Conflict feeds: what regions list of themselves is in the history as writes of theirs, and checker I22 asks of each whether it is true, and whether anything is missing. What the writer of a write had seen, the simulation knows from the positions
// that a region had reached, not from the vectors of the records.

// The attributes of entries by which they expire, and which says that it was a fenced region that had a write.
const (
	expireAttribute = "x"
	fencedAttribute = "r3"
)

// listed is what is known of the conflict feeds.
type listed struct {
	operations []check.Operation // each is one listing
	listings   []check.Listing
	entries    map[check.Key]map[string]string // all attributes that were ever listed of a conflict
}

// ages chooses how long the tables list their conflicts, with randomness of its own: some for so long that all of them are there in the end, some not.
func (p *plan) ages(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x66656564))
	for i := range p.tables {
		if rng.IntN(2) == 0 {
			p.tables[i].conflictAge = time.Duration(1+rng.IntN(5)) * time.Second
		}
	}
	p.dropConflict = sometimes(rng, 0.3, 100*time.Millisecond, time.Second)
}

// aged is a shard's catalog in which some tables list their conflicts for less long than documents may say.
type aged struct {
	commit.Catalog
	world *world
}

// Indexed implements commit.Catalog.
func (c aged) Indexed(id globaltable.TableID) *globaltable.Table {
	doc := c.Catalog.Indexed(id)
	if doc == nil || !id.IsFeed() {
		return doc
	}
	if t := c.world.table(id.Base()); t != nil && t.conflictAge > 0 {
		short := *doc
		short.Conflicts.Seconds = int64(t.conflictAge / time.Second)
		return &short
	}
	return doc
}

// lasting reports whether entries of the feed are still there when the run is judged.
func (w *world) lasting(id globaltable.TableID) bool {
	t := w.table(id.Base())
	return id.IsFeed() && (t == nil || t.conflictAge == 0)
}

// sight is how far a region was with the lanes of others when it made a write.
type sight struct {
	planned map[check.Lane]uint64 // durably, when it was planned; what had come by an exchange apart. nil: not known
	durable map[check.Lane]uint64 // when it became durable; what had come by an exchange apart. nil: not known
	reached map[check.Lane]uint64 // when it became durable, lanes that were begun anew at their new beginnings
	heard   int                   // of the ledger's entries, when the key came by an exchange last
}

// reachedLanes is how far this region has applied the lanes of others, whatever came how.
func (r *region) reachedLanes() map[check.Lane]uint64 {
	out := map[check.Lane]uint64{}
	for _, p := range r.shard.Positions() {
		out[r.lane(p.Origin, p.Incarnation, p.Lane)] = p.Seq
	}
	return withoutStore(out)
}

// sees notes what the region had seen when it made a write, which has just become durable.
func (r *region) sees(w *check.Write, planned map[check.Lane]uint64) {
	s := r.seeing
	s.planned, s.heard = planned, r.heard[w.Key]
	r.sights[w.Stamp] = s
}

// hears notes that records of other regions, or that were saved, are on their way into this region: whoever writes to them from now on may have seen all that is known of now.
func (r *region) hears(table globaltable.TableID, key item.Key) {
	r.joined[table] = true // also if it becomes durable and the region dies before it is told
	r.heard[check.Key{Table: uint64(table), Bytes: string(key)}] = r.ledger.Len()
}

// sawIt is check.Sight. Whoever had seen a write of a region may have seen all that this region had written before.
func (w *world) sawIt(by, e check.Logged) (surely, perhaps bool) {
	if by.Stamp.Origin == e.Stamp.Origin || e.Stamp.Time <= by.Floor {
		return true, true
	}
	s, known := w.sights[by.Stamp]
	if !known {
		return false, true
	}
	for _, l := range w.ledger.Logs(e.Key, e.Stamp) {
		lane := check.Lane{Region: by.Stamp.Origin, Origin: l.By, Incarnation: l.Incarnation, Lane: l.Lane}
		again := w.region(hlc.Origin(l.By)).again[globaltable.Incarnation(l.Incarnation)]
		surely = surely || s.planned[lane] >= l.Seq && !again && !w.region(hlc.Origin(by.Stamp.Origin)).isHollow(l)
		perhaps = perhaps || l.By == by.Stamp.Origin || s.reached[lane] >= l.Seq
	}
	heard := s.reached == nil || e.Number <= s.heard
	return surely, surely || perhaps || heard
}

// recordListing takes into evidence what a region has listed.
func (r *region) recordListing(lane globaltable.LaneID, seq uint64, c *conflict.Change) {
	key := check.Key{Table: c.Table, Bytes: string(c.Key)}
	write := writeOf(c)
	write.Key, write.Stamp, write.Floor = key, stampOf(c.Dot), uint64(c.Floor)
	all := r.listed.entries[key]
	if all == nil {
		all = map[string]string{}
		r.listed.entries[key] = all
	}
	for name, v := range write.Set {
		all[name] = v
	}
	l, expires, err := listingOf(key, all)
	if err != nil {
		r.found("I20", "entry %d of lane %s lists something that is no conflict: %v", seq, lane, err)
		return
	}
	l.By, l.At = uint16(r.origin), write.Stamp
	_, l.Fenced = write.Set[fencedAttribute]
	if v, sets := write.Set[expireAttribute]; sets {
		r.seconds[v] = uint64(expires.Unix())
		r.judgeAge(c, expires)
	}
	r.mortalWrite(&write)
	r.listed.listings = append(r.listed.listings, l)
	r.recordOwn(lane, seq, c, write)
	r.cover("a conflict was listed")
	if l.Fenced {
		r.cover("a write of a fenced region was listed")
	}
	if l.Whole {
		r.cover("a whole item was listed as lost")
	}
}

// dropsAgain takes into evidence that a region which has come back drops a conflict that it had dropped before: nobody can tell any more that this was after it was listed.
func (r *region) dropsAgain(lane globaltable.LaneID, seq uint64, c *conflict.Change) bool {
	write := writeOf(c)
	write.Key, write.Stamp, write.Floor = check.Key{Table: c.Table, Bytes: string(c.Key)}, stampOf(c.Dot), uint64(c.Floor)
	if !globaltable.TableID(c.Table).IsFeed() || r.store == 0 || write.Kind != check.Delete {
		return false
	}
	r.recordOwn(lane, seq, c, write)
	r.cover("a conflict was dropped again")
	return true
}

// recordOwn takes into evidence a write that no client asked for.
func (r *region) recordOwn(lane globaltable.LaneID, seq uint64, c *conflict.Change, write check.Write) {
	r.listed.operations = append(r.listed.operations, check.Operation{Region: uint16(r.origin), Outcome: check.OK, Writes: []check.Write{write}})
	r.sees(&write, nil)
	r.evidence.found = append(r.evidence.found, r.ledger.Add(check.Logged{Write: write, By: uint16(r.origin), Incarnation: uint64(r.shard.Incarnation()),
		Lane: uint64(lane), Seq: seq, Catalog: c.CatalogVersion})...)
}

// judgeAge checks that a conflict is listed for as long as its table says. It is the time at which the merge was planned that counts, which may be a while before it is stamped.
func (r *region) judgeAge(c *conflict.Change, expires time.Time) {
	age := globaltable.Conflicts.DefaultAge
	if t := r.table(globaltable.TableID(c.Table).Base()); t != nil && t.conflictAge > 0 {
		age = t.conflictAge
	}
	if least, most := c.Dot.Time.Time().Add(age-time.Minute), c.Dot.Time.Time().Add(age); expires.After(most) || expires.Before(least) && r.store == 0 { // what is listed anew is so until then
		r.found("I22", "listed at %s until %s, and the table lists for %s", c.Dot.Time, expires, age)
	}
}

// listingOf is a conflict in the checkers' terms, and until when it is listed.
func listingOf(key check.Key, attributes map[string]string) (l check.Listing, expires time.Time, err error) {
	var b item.Builder
	for name, v := range attributes {
		b.Add([]byte(name), item.Value(v))
	}
	it, err := b.AppendItem(nil)
	if err != nil {
		return l, expires, err
	}
	e, err := feed.Decode(it)
	if err != nil {
		return l, expires, err
	}
	dot, ok := feed.DotOf(item.Key(key.Bytes))
	if !ok || dot != e.Loser.Stamp {
		return l, expires, fmt.Errorf("its key is not that of the write that lost")
	}
	l = check.Listing{Feed: key, Key: check.Key{Table: uint64(globaltable.TableID(key.Table).Base()), Bytes: string(feed.ItemKey(item.Key(key.Bytes)))},
		Loser: stampOf(dot), Lost: e.Rule != conflict.RuleFenced, Whole: e.Whole, Deleted: e.Deleted}
	for _, p := range e.Parts {
		l.Parts = append(l.Parts, check.Part{Name: string(p.Name), Lost: string(p.Lost), Won: string(p.Won), Winner: stampOf(p.Winner.Stamp)})
	}
	return l, e.Expires, nil
}

// feedKey returns where a conflict is listed. Those of feeds are not: everybody writes down the same.
func feedKey(k check.Key, loser check.Stamp) (entry check.Key, ok bool) {
	table, dot := globaltable.TableID(k.Table), hlc.Stamp{Time: hlc.Timestamp(loser.Time), Origin: hlc.Origin(loser.Origin)}
	return check.Key{Table: uint64(table.Feed()), Bytes: string(feed.AppendKey(nil, item.Key(k.Bytes), dot))}, !table.IsFeed()
}

// judgeConflicts checks I22 over the whole run.
func (w *world) judgeConflicts() []check.Violation {
	fenced := func(l check.Listing) bool {
		by := w.region(hlc.Origin(l.By))
		return (by.store > 0 || by.replays) && l.Loser.Time <= w.purged[l.Key.Table]
	}
	kept := func(k check.Key) bool {
		return len(w.holders(k)) > 0
	}
	out := w.conflicts.Exact(w.listed.listings, fenced, w.doubtful, kept)
	for _, r := range w.active() {
		for _, s := range savedIn(r) {
			if r.holds(check.Key{Table: uint64(s.Table), Bytes: string(s.Bytes)}) && !s.Table.IsFeed() && !r.listsSome(s) {
				out = append(out, check.Violation{Invariant: "I22", Region: uint16(r.origin), Detail: fmt.Sprintf("%x of table %s stays saved, and no write of it is listed", s.Bytes, s.Table)})
			}
		}
	}
	return out
}

// listsSome reports whether a write of a record that this region keeps saved is listed as that of a region that was given up. Of a run any increment will do: each is kept by itself. What was listed before, and is so no more, since somebody has dropped it or its time was over, is not
// listed again.
func (r *region) listsSome(s commit.SavedRecord) bool {
	changes, err := conflict.ChangesOf(s.Record)
	if err != nil {
		panic(err)
	}
	rec, err := conflict.DecodeRecord(s.Record)
	if err != nil {
		panic(err)
	}
	key := check.Key{Table: uint64(s.Table), Bytes: string(s.Bytes)}
	return slices.ContainsFunc(r.listed.listings, func(l check.Listing) bool {
		of := func(c conflict.Change) bool { return stampOf(c.Dot) == l.Loser }
		within := func(t conflict.Typed) bool {
			return slices.ContainsFunc(t.Runs, func(run conflict.Run) bool { return spans(&run, l.Loser) })
		}
		return l.Key == key && (slices.ContainsFunc(changes, of) || slices.ContainsFunc(rec.Typed, within)) && (l.Fenced || r.over(l.Feed, uint64(r.clock.Last())))
	})
}

// over reports whether a conflict that was listed may have been over before a moment: somebody dropped it, or it had expired.
func (w *world) over(entry check.Key, moment uint64) bool {
	return slices.ContainsFunc(w.ledger.Of(entry), func(l check.Logged) bool {
		if l.Kind == check.Delete {
			return true
		}
		due := l.Due(expireAttribute)
		return due > 0 && due <= moment
	})
}

// dropConflict has some region drop some conflict that it lists, as one does that has too many.
func (w *world) dropSomeConflict() {
	r := w.anyRegion()
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !r.up || len(r.excluded) > 0 {
		return
	}
	var keys []item.Key
	for _, l := range w.listed.listings {
		if l.Feed.Table == uint64(t.id.Feed()) && recordIn(r, t.id.Feed(), item.Key(l.Feed.Bytes)) != nil {
			keys = append(keys, item.Key(l.Feed.Bytes))
		}
	}
	if len(keys) == 0 {
		return
	}
	op := &operation{Operation: check.Operation{ID: uint64(len(w.operations) + 1), Region: uint16(r.origin), Invoked: int64(w.now)}}
	key := commit.Key{Table: t.id.Feed(), Bytes: keys[w.rng.IntN(len(keys))]}
	op.keys, op.ops = []commit.Key{key}, [][]conflict.Op{conflict.RecordDelete(nil)}
	op.Writes = []check.Write{{Kind: check.Delete, Key: check.Key{Table: uint64(key.Table), Bytes: string(key.Bytes)}}}
	w.cover("a conflict was dropped")
	r.begin(op)
}
