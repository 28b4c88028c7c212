package commit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// listed returns the conflicts of a table in their order.
func (f *fixture) listed(table globaltable.TableID) (out []*feed.Entry) {
	f.t.Helper()
	f.must(f.Conflicts(background, table, hlc.Stamp{}, false, func(key item.Key, e *feed.Entry) bool {
		if dot, ok := feed.DotOf(key); !ok || dot != e.Loser.Stamp {
			f.t.Errorf("the conflict of %v has the key of %v", e.Loser.Stamp, dot)
		}
		out = append(out, e.Clone())
		return true
	}))
	return out
}

// show writes conflicts down for a comparison: rule, the region that lost, and what.
func show(entries []*feed.Entry) string {
	var out []string
	for _, e := range entries {
		s := fmt.Sprint(e.Rule, " ", e.Loser.Stamp.Origin)
		for _, p := range e.Parts {
			s += fmt.Sprintf(" %s:%s/%s", p.Name, p.Lost.Bytes(), p.Won.Bytes())
		}
		out = append(out, s)
	}
	return strings.Join(out, "\n")
}

func (f *fixture) expectListed(table globaltable.TableID, want string) {
	f.t.Helper()
	if got := show(f.listed(table)); got != want {
		f.t.Fatalf("listed is\n%s\nwant\n%s", got, want)
	}
}

// open returns how many conflicts of the item are open.
func (f *fixture) openOf(table globaltable.TableID, pk string) int {
	f.t.Helper()
	n, err := f.OpenConflicts(background, keyOf(table, pk), f.recordOf(table, pk))
	f.must(err)
	return n
}

// loggedListings returns how many changes of feeds the logs have.
func (f *fixture) loggedListings() (n int) {
	for _, e := range f.log {
		f.must(change.EachChange(e.Body, func(c *conflict.Change) error {
			if globaltable.TableID(c.Table).IsFeed() {
				n++
			}
			return c.Check()
		}))
	}
	return n
}

func apply(f *fixture, o *origin, changes ...conflict.Change) RemoteResult {
	f.t.Helper()
	result, err := f.ApplyRemote(background, o.remote(changes))
	f.must(err)
	return result
}

// laterOrigin is a peer that stamps above all that the shard has.
func laterOrigin(f *fixture) *origin {
	o := newOrigin(peer, withPeer.Lane())
	o.clock = max(o.clock, f.Now())
	return o
}

func TestLossesOfALaneAreListed(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine, relogs)
	f.must(f.Write(background, put(tableA, "k", "mine")))
	f.must(f.Write(background, put(tableA, "later", "mine")))
	o := laterOrigin(f)
	if r := apply(f, o, o.changeOf(tableA, "k", "theirs"), o.changeOf(tableA, "other", "x")); r.Conflicts != 1 || r.Applied != 2 {
		t.Errorf("%+v", r)
	}
	const one = "item 1 pk:k/k v:mine/theirs"
	f.expectListed(tableA, one)
	if e := f.listed(tableA)[0]; !e.Whole || e.Deleted || e.Winner().Stamp.Origin != peer || time.Until(e.Expires).Round(time.Hour) != globaltable.Conflicts.DefaultAge {
		t.Errorf("%+v", e)
	}
	// It is a write of this region, in the item's lane, and counts as data of the feed only.
	if n, bytes, err := f.Count(tableA.Feed()); err != nil || n != 1 || bytes < 50 || f.loggedListings() != 1 {
		t.Errorf("%d conflicts, %d bytes, %d logged, %v", n, bytes, f.loggedListings(), err)
	}
	if n, _, _ := f.Count(tableA); n != 3 {
		t.Errorf("%d items", n)
	}
	if !f.HasConflicts(tableA) || f.HasConflicts(tableB) || f.HasConflicts(tableA.Feed()) {
		t.Error("which tables have conflicts")
	}
	// One who loses to what is there is listed as well: a deletion that comes late.
	late := newOrigin(third, everywhere.Lane())
	late.clock = 5
	if r := apply(f, late, late.changeOf(tableA, "later", "")); r.Conflicts != 1 || r.Lost != 1 {
		t.Errorf("%+v", r)
	}
	f.expectListed(tableA, "item 3 pk:/later v:/mine\n"+one)
	// From one on, backward, and not further than is asked.
	second := f.listed(tableA)[1].Loser.Stamp
	for backward, want := range map[bool]hlc.Stamp{false: second, true: f.listed(tableA)[0].Loser.Stamp} {
		n := 0
		f.must(f.Conflicts(background, tableA, second, backward, func(_ item.Key, e *feed.Entry) bool {
			if n++; e.Loser.Stamp != want {
				t.Errorf("backward %v: %v", backward, e.Loser.Stamp)
			}
			return false
		}))
		if n != 1 {
			t.Errorf("backward %v: %d", backward, n)
		}
	}
	f.must(f.stop())
	checkStore(t, engine, someRecords)
	f = start(t, engine.Crash(nil), relogs)
	f.expectListed(tableA, "item 3 pk:/later v:/mine\n"+one)
	if !f.HasConflicts(tableA) {
		t.Error("forgotten over a restart")
	}
}

func TestWhatWasSeenIsNotListed(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	f.must(f.Write(background, put(tableA, "k", "mine")))
	mine := f.recordOf(tableA, "k")
	context, err := conflict.ContextOf(mine, peer, 0)
	f.must(err)
	o := laterOrigin(f)
	c := o.changeOf(tableA, "k", "theirs")
	c.Context = context
	if r := apply(f, o, c); r.Conflicts != 0 || r.Applied != 1 {
		t.Errorf("%+v", r)
	}
	f.expectListed(tableA, "")
	if f.openOf(tableA, "k") != 0 || f.loggedListings() != 0 || f.HasConflicts(tableA) {
		t.Error("something is there")
	}
	// The catalog has no feed, nor has a feed.
	for _, table := range []globaltable.TableID{globaltable.SystemTable, tableA.Feed()} {
		if hasFeed(table) {
			t.Errorf("%s has a feed", table)
		}
	}
}

func TestOpenConflicts(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	f.must(f.Write(background, put(tableA, "k", "mine")))
	f.must(f.Write(background, put(tableA, "kk", "mine")))
	o := laterOrigin(f)
	apply(f, o, o.changeOf(tableA, "k", "theirs"), o.changeOf(tableA, "kk", "theirs"))
	late := newOrigin(third, everywhere.Lane())
	late.clock = 5
	apply(f, late, late.changeOf(tableA, "k", "third"))
	if n := f.openOf(tableA, "k"); n != 2 {
		t.Errorf("%d are open", n)
	}
	if n := f.openOf(tableA, "kk"); n != 1 {
		t.Errorf("%d are open", n)
	}
	f.must(f.Write(background, put(tableA, "k", "settled")))
	if f.openOf(tableA, "k") != 0 || f.openOf(tableA, "kk") != 1 {
		t.Error("a write by somebody who has seen all closes them, and no other's")
	}
	if len(f.listed(tableA)) != 3 {
		t.Error("closed is not gone")
	}
}

// TestListedOnce: over a lane, by an exchange, in any order, a conflict is listed once; what was listed and is gone does not come again.
func TestListedOnce(t *testing.T) {
	w := newWall()
	f := start(t, store.NewMemory(), relogs, func(c *Config) {
		c.Clock = hlc.NewClock(w.now, 0)
		c.Catalog = defaultTables()
		c.Catalog.(*tables).keep = globaltable.Retention{Seconds: 100}
	})
	f.must(f.Write(background, put(tableA, "k", "mine")))
	mine := f.recordOf(tableA, "k")
	o := laterOrigin(f)
	o.clock = f.Now()
	theirs := o.changeOf(tableA, "k", "theirs")
	const one = "item 1 pk:k/k v:mine/theirs"
	record, _, err := conflict.Apply(nil, nil, &theirs)
	f.must(err)
	again := func() {
		t.Helper()
		f.must(f.MergeRecords(background, []RecordAt{{keyOf(tableA, "k"), record}, {keyOf(tableA, "k"), mine}}))
		f.must(f.MergeRecords(background, []RecordAt{{keyOf(tableA, "k"), mine}}))
	}
	again()
	f.expectListed(tableA, one)
	apply(f, o, theirs)
	f.expectListed(tableA, one)
	again()
	if n := f.loggedListings(); n != 1 {
		t.Errorf("%d changes of the feed", n)
	}
	if e := f.listed(tableA)[0]; e.Expires != time.Unix(wallBegins+100, 0).UTC() {
		t.Errorf("expires %v", e.Expires)
	}
	w.move(100 * time.Second)
	f.expectListed(tableA, "")
	again()
	f.expectListed(tableA, "")
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestGoneStaysGone: another region has found the conflict first, and it was listed here and is gone when this one finds it.
func TestGoneStaysGone(t *testing.T) {
	for _, how := range []string{"listed", "expired", "dropped"} {
		w := newWall()
		f := start(t, store.NewMemory(), relogs, func(c *Config) { c.Clock = hlc.NewClock(w.now, 0) })
		f.must(f.Write(background, put(tableA, "k", "mine")))
		mine := f.recordOf(tableA, "k")
		o := laterOrigin(f)
		o.clock = f.Now()
		theirs := o.changeOf(tableA, "k", "theirs")
		losses, err := conflict.Losses(mine, &theirs, 0)
		f.must(err)
		e := feed.Entry{Loss: losses[0], Expires: w.now().Add(time.Minute)}
		ops, err := e.Missing(nil, nil)
		f.must(err)
		key := Key{tableA.Feed(), feed.AppendKey(nil, keyOf(tableA, "k").Bytes, losses[0].Loser.Stamp)}
		entry, _, err := conflict.Apply(nil, nil, &conflict.Change{Key: key.Bytes, Dot: hlc.Stamp{Time: o.clock, Origin: third}, Ops: ops})
		f.must(err)
		f.must(f.MergeRecords(background, []RecordAt{{key, entry}}))
		want := 0
		switch how {
		case "listed":
			want = 1
		case "expired":
			w.move(time.Minute)
		case "dropped":
			if n, err := f.TrimConflicts(background, tableA, 0); err != nil || n != 1 {
				t.Fatal(n, err)
			}
		}
		if r := apply(f, o, theirs); r.Conflicts != 0 || r.Applied != 1 || len(f.listed(tableA)) != want {
			t.Errorf("%s: %+v, %s", how, r, show(f.listed(tableA)))
		}
		f.must(f.stop())
		checkStore(t, f.engine, someRecords)
	}
}

// twoAttributes are updates of x and y, of the same key, that do not know of each other.
func twoAttributes(o *origin, pk string, at hlc.Timestamp, v string) conflict.Change {
	c := o.changeOf(tableA, pk, "x")
	c.Dot.Time, o.clock = at, max(o.clock, at)
	c.Ops = nil
	for _, name := range []string{"x", "y"} {
		c.Ops = append(c.Ops, conflict.Op{Kind: conflict.OpSetCell, Name: []byte(name), Value: item.AppendString(nil, v)})
	}
	return c
}

// TestListingOnWhatComesWithIt: one batch brings an item, and what its sender has found of a conflict; this region finds more of it. Both are listed.
func TestListingOnWhatComesWithIt(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	now := f.Now()
	o, other := newOrigin(peer, withPeer.Lane()), newOrigin(third, everywhere.Lane())
	loser, winner := twoAttributes(o, "k", now+1, "old"), twoAttributes(other, "k", now+2, "new")
	apply(f, o, loser)
	record, _, err := conflict.Apply(nil, nil, &winner)
	f.must(err)
	// The sender knows of x only.
	e := feed.Entry{Loss: conflict.Loss{Loser: conflict.Write{Stamp: loser.Dot}, Rule: conflict.RuleAttribute, Parts: []conflict.Part{
		{Name: []byte("x"), Lost: item.AppendString(nil, "old"), Won: item.AppendString(nil, "new"), Winner: conflict.Write{Stamp: winner.Dot}}}}, Expires: time.Now().Add(time.Hour)}
	ops, err := e.Missing(nil, nil)
	f.must(err)
	key := Key{tableA.Feed(), feed.AppendKey(nil, keyOf(tableA, "k").Bytes, loser.Dot)}
	known, _, err := conflict.Apply(nil, nil, &conflict.Change{Key: key.Bytes, Dot: hlc.Stamp{Time: now + 3, Origin: third}, Ops: ops})
	f.must(err)
	for i, records := range [][]RecordAt{{{key, known}, {keyOf(tableA, "k"), record}}, {{keyOf(tableA, "k"), record}, {key, known}}} {
		f.must(f.MergeRecords(background, records))
		f.expectListed(tableA, "attribute 2 x:old/new y:old/new")
		if n := f.loggedListings(); n != 1 {
			t.Errorf("%d: %d changes of the feed are logged", i, n)
		}
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestBigConflicts: more conflicts than a log entry has room for, each with two items of nearly 400 KB, in one batch, beside one whose entry the batch brings.
func TestBigConflicts(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	const n = 7
	big := strings.Repeat("x", 399<<10)
	for i := range n {
		f.must(f.Write(background, put(tableA, fmt.Sprint("k", i), "mine"+big)))
	}
	o := laterOrigin(f)
	var records []RecordAt
	for i := range n {
		c := o.changeOf(tableA, fmt.Sprint("k", i), "their"+big)
		record, _, err := conflict.Apply(nil, nil, &c)
		f.must(err)
		records = append(records, RecordAt{keyOf(tableA, fmt.Sprint("k", i)), record})
	}
	f.must(f.MergeRecords(background, records))
	got := f.listed(tableA)
	if len(got) != n || f.loggedListings() != n {
		t.Fatalf("%d are listed, %d logged", len(got), f.loggedListings())
	}
	for _, e := range got {
		lost, won, err := e.Versions()
		f.must(err)
		if valueOf(lost) != "mine"+big || valueOf(won) != "their"+big {
			t.Error("another value is listed")
		}
	}
	entries, most := 0, 0
	for _, e := range f.log {
		if len(e.Body) > change.MaxBody {
			t.Errorf("an entry of %d bytes", len(e.Body))
		}
		lists := false
		f.must(change.EachChange(e.Body, func(c *conflict.Change) error {
			lists = lists || globaltable.TableID(c.Table).IsFeed()
			return nil
		}))
		if lists {
			entries, most = entries+1, max(most, len(e.Body))
		}
	}
	if entries < 2 || most > 2*maxFeedBytes {
		t.Errorf("%d entries, of at most %d bytes: none went ahead", entries, most)
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestWhatIsBroughtStays: listings on what the batch itself brings do not go ahead of it, however full it is.
func TestWhatIsBroughtStays(t *testing.T) {
	f := open(t, store.NewMemory(), relogs)
	sub := f.newSubmission(kindMerge)
	big := []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("p"), Value: make([]byte, maxFeedBytes)}}
	for i := range 4 {
		sub.listings = append(sub.listings, listing{keyState: keyState{key: item.Key{byte(i)}}, ops: big, brought: i > 1})
	}
	before := f.ahead(sub)
	if len(sub.listings) != 2 || !sub.listings[0].brought || !sub.listings[1].brought || len(before) != 2 {
		t.Errorf("%d stay, %d go ahead", len(sub.listings), len(before))
	}
}

// TestConflictIsInTheBatchOfTheMerge cuts the power at every place: where the merged item is, the conflict is.
func TestConflictIsInTheBatchOfTheMerge(t *testing.T) {
	both, neither := 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		engine := store.NewMemory()
		f := open(t, engine, relogs, func(c *Config) { c.MaxGroups = 1 + rng.IntN(3) })
		m := NewManual(f.Shard)
		for i := range 6 {
			m.Write(put(tableA, fmt.Sprint("k", i), "mine"), f.must)
		}
		m.Settle()
		o := laterOrigin(f)
		o.clock = o.clock.Add(100 * time.Millisecond)
		for i := range 6 {
			m.ApplyRemote(o.remote([]conflict.Change{o.changeOf(tableA, fmt.Sprint("k", i), "theirs")}), func(r RemoteResult, err error) { f.must(err) })
			for range rng.IntN(3) {
				if rng.IntN(2) == 0 {
					m.Build()
				} else {
					m.Sync()
				}
			}
		}
		g := open(t, engine.Crash(func(unsynced int) int { return rng.IntN(unsynced + 1) }))
		checkStore(t, g.engine, someRecords)
		has := map[string]bool{}
		for _, e := range g.listed(tableA) {
			lost, _, err := e.Versions()
			g.must(err)
			pk, _ := lost.GetString("pk")
			has[string(pk.Bytes())] = true
		}
		for i := range 6 {
			pk := fmt.Sprint("k", i)
			if merged := g.get(tableA, pk) == "theirs"; merged != has[pk] {
				t.Fatalf("seed %d: %s is merged: %v, listed: %v", seed, pk, merged, has[pk])
			} else if merged {
				both++
			} else {
				neither++
			}
		}
	}
	if both == 0 || neither == 0 {
		t.Errorf("%d merged, %d not: the power was not cut in between", both, neither)
	}
}

// TestItemAndConflictsShareALatch: what is read of the feed while the item is latched stays the newest.
func TestItemAndConflictsShareALatch(t *testing.T) {
	k := keyOf(tableA, "k").Bytes
	if hashKey(tableA, k) != hashKey(tableA.Feed(), feed.AppendKey(nil, k, hlc.Stamp{Time: 9, Origin: 2})) {
		t.Error("two latches")
	}
	// A write of both latches once.
	f := start(t, store.NewMemory(), relogs)
	ops := putOps(value("k", "v"))
	f.must(f.Write(background, &Write{Keys: []Key{{tableA, k}, {tableA.Feed(), feed.AppendKey(nil, k, hlc.Stamp{Time: 9, Origin: 2})}}, Plan: func(c []Current) ([][]conflict.Op, error) {
		return [][]conflict.Op{ops, ops}, nil
	}}))
}

func TestTrimConflicts(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	const n = 300
	for i := range n {
		f.must(f.Write(background, put(tableA, fmt.Sprint("k", i), "mine")))
	}
	o := laterOrigin(f)
	var changes []conflict.Change
	for i := range n {
		changes = append(changes, o.changeOf(tableA, fmt.Sprint("k", i), "theirs"))
	}
	apply(f, o, changes...)
	all := f.listed(tableA)
	_, bytes, err := f.Count(tableA.Feed())
	f.must(err)
	if len(all) != n {
		t.Fatalf("%d are listed", len(all))
	}
	if dropped, err := f.TrimConflicts(background, tableA, bytes); err != nil || dropped != 0 {
		t.Errorf("%d dropped within the limit, %v", dropped, err)
	}
	limit := bytes / 4
	total := 0
	for {
		dropped, err := f.TrimConflicts(background, tableA, limit)
		f.must(err)
		if total += dropped; dropped == 0 {
			break
		}
	}
	left := f.listed(tableA)
	_, now, err := f.Count(tableA.Feed())
	f.must(err)
	if len(left)+total != n || now > limit || now < limit-bytes/n*2 || left[0].Loser.Stamp != all[total].Loser.Stamp {
		t.Errorf("%d of %d dropped, %d bytes of %d, limit %d", total, n, now, bytes, limit)
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestSequencerLists: the catalog has changed between the merge and its batch, so the sequencer merges again, and lists again.
func TestSequencerLists(t *testing.T) {
	f := open(t, store.NewMemory(), relogs)
	m := NewManual(f.Shard)
	m.Write(put(tableB, "k", "mine"), f.must)
	m.Settle()
	o := laterOrigin(f)
	o.clock = o.clock.Add(100 * time.Millisecond)
	is := *f.catalog.inForce.Load()
	f.catalog.inForce.Store(&map[globaltable.TableID]globaltable.Placement{tableA: withPeer})
	var got RemoteResult
	m.ApplyRemote(o.remote([]conflict.Change{o.changeOf(tableB, "k", "theirs")}), func(r RemoteResult, err error) { got = r; f.must(err) })
	f.catalog.inForce.Store(&is)
	m.Settle()
	if got.Conflicts != 1 || got.Applied != 1 {
		t.Errorf("%+v", got)
	}
	f.expectListed(tableB, "item 1 pk:k/k v:mine/theirs")
	// And the other way: a table that is not here any more lists nothing.
	m.ApplyRemote(o.remote([]conflict.Change{o.changeOf(tableB, "k", "again")}), func(r RemoteResult, err error) { got = r; f.must(err) })
	f.catalog.inForce.Store(&map[globaltable.TableID]globaltable.Placement{tableA: withPeer})
	m.Settle()
	if got.Conflicts != 0 || got.Voided != 1 {
		t.Errorf("%+v", got)
	}
}

func TestDropTableDropsItsFeed(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	f.must(f.Write(background, put(tableA, "k", "mine")))
	o := laterOrigin(f)
	apply(f, o, o.changeOf(tableA, "k", "theirs"))
	f.catalog.inForce.Store(&map[globaltable.TableID]globaltable.Placement{tableB: alone})
	f.must(f.DropTable(background, tableA))
	if n, bytes, err := f.Count(tableA.Feed()); err != nil || n != 0 || bytes != 0 || f.records(tableA.Feed()) != 0 || f.HasConflicts(tableA) {
		t.Errorf("%d, %d bytes, %d records, %v", n, bytes, f.records(tableA.Feed()), err)
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

func TestArrived(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	const n = 40
	for i := range n {
		f.must(f.Write(background, put(tableA, fmt.Sprint("k", i), "mine")))
	}
	var followers sync.WaitGroup
	for range 3 {
		_, next, missed := f.Arrived(expired(), 0)
		if missed {
			t.Error("a beginning misses nothing")
		}
		followers.Go(func() {
			seen := map[string]bool{}
			for len(seen) < n {
				keys, more, missed := f.Arrived(background, next)
				if missed {
					t.Error("missed some")
				}
				for _, k := range keys {
					if k.Table != tableA.Feed() || seen[string(k.Bytes)] {
						t.Errorf("%s %x, again: %v", k.Table, k.Bytes, seen[string(k.Bytes)])
					}
					seen[string(k.Bytes)] = true
					if err := f.Get(background, k, func(c Current) error {
						if c.Item == nil {
							t.Error("what has arrived is not there")
						}
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
				next = more
			}
		})
	}
	o := laterOrigin(f)
	for i := range n {
		apply(f, o, o.changeOf(tableA, fmt.Sprint("k", i), "theirs"))
	}
	followers.Wait()
	// Another region's listings arrive, too; what is listed already does not arrive again.
	_, next, _ := f.Arrived(expired(), 0)
	if keys, again, missed := f.Arrived(expired(), next); len(keys) > 0 || again != next || missed {
		t.Errorf("%d keys, %d after %d, %v", len(keys), again, next, missed)
	}
}

func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestArrivalsAreBounded: who is too slow is told, and goes on from what is remembered.
func TestArrivalsAreBounded(t *testing.T) {
	var a arrivals
	for i := range maxArrivals + 10 {
		a.add(Key{tableA.Feed(), item.Key(fmt.Sprint(i))})
	}
	for after, want := range map[uint64]struct {
		first  string
		n      int
		missed bool
	}{0: {"10", maxArrivals, true}, 9: {"10", maxArrivals, true}, 10: {"10", maxArrivals, false}, maxArrivals: {fmt.Sprint(maxArrivals), 10, false}, maxArrivals + 10: {"", 0, false},
		maxArrivals + 11: {"10", maxArrivals, true}} {
		keys, next, missed, _ := a.after(after)
		first := ""
		if len(keys) > 0 {
			first = string(keys[0].Bytes)
		}
		if first != want.first || len(keys) != want.n || missed != want.missed || next != maxArrivals+10 {
			t.Errorf("after %d: %d keys from %s, next %d, missed %v", after, len(keys), first, next, missed)
		}
	}
	if len(a.keys) != maxArrivals || cap(a.keys) > 4*maxArrivals {
		t.Errorf("%d keys in room for %d", len(a.keys), cap(a.keys))
	}
}

// TestStoreFromBeforeFeeds: a store that an earlier release has left lists from then on; what was lost before is lost.
func TestStoreFromBeforeFeeds(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine, relogs, func(c *Config) { c.Catalog.(*tables).feedless = true })
	for _, pk := range []string{"before", "after"} {
		f.must(f.Write(background, put(tableA, pk, "mine")))
	}
	o := laterOrigin(f)
	if r := apply(f, o, o.changeOf(tableA, "before", "theirs")); r.Conflicts != 0 || r.Applied != 1 {
		t.Errorf("%+v", r)
	}
	f.must(f.stop())
	f = start(t, engine.Crash(nil), relogs)
	f.expectListed(tableA, "")
	if n, err := f.TrimConflicts(background, tableA, 1<<20); err != nil || n != 0 || f.HasConflicts(tableA) || f.openOf(tableA, "before") != 0 {
		t.Errorf("%d, %v", n, err)
	}
	if r := apply(f, o, o.changeOf(tableA, "after", "theirs")); r.Conflicts != 1 {
		t.Errorf("%+v", r)
	}
	f.expectListed(tableA, "item 1 pk:after/after v:mine/theirs")
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}
