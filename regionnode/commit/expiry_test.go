package commit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// wall is a clock that stands still unless it is moved.
type wall struct{ millis atomic.Int64 }

const wallBegins = 1_700_000_000 // seconds

func newWall() *wall {
	w := new(wall)
	w.millis.Store(wallBegins * 1000)
	return w
}

func (w *wall) now() time.Time        { return time.UnixMilli(w.millis.Load()) }
func (w *wall) move(by time.Duration) { w.millis.Add(by.Milliseconds()) }

// at is the timestamp of a second after the beginning.
func at(second int) hlc.Timestamp {
	return hlc.FromTime(time.Unix(wallBegins+int64(second), 0))
}

var fromTheFirst = conflict.Expiry{{Attribute: "ttl", From: 1}}

// expiring opens a shard whose table A expires, with a clock that is moved by hand.
func expiring(t testing.TB, engine store.Engine, x conflict.Expiry) (*fixture, *wall) {
	w := newWall()
	f := open(t, engine, func(c *Config) { c.Clock = hlc.NewClock(w.now, 0) })
	f.catalog.expire(tableA, x)
	return f, w
}

// mortal is an item that expires at a second.
func mortal(pk, v string, second int) item.Item {
	return buildItem(map[string]item.Value{"pk": item.AppendString(nil, pk), "v": item.AppendString(nil, v), "ttl": item.AppendInt(nil, wallBegins+int64(second))})
}

func (f *fixture) scan(table globaltable.TableID) (seen []string) {
	f.t.Helper()
	f.must(f.Walk(background, Range{Table: table}, func(_ item.Key, c Current) bool {
		seen = append(seen, valueOf(c.Item))
		return true
	}))
	slices.Sort(seen)
	return seen
}

// follow brings the keys of a table to its time to live.
func (f *fixture) follow(table globaltable.TableID, limit int) (pages int) {
	f.t.Helper()
	for {
		done, err := f.FollowExpiry(background, table, limit)
		f.must(err)
		if done {
			return pages
		}
		pages++
	}
}

func (f *fixture) expectAudit(log coverage) {
	f.t.Helper()
	f.must(auditExpiring(f.engine, log, f.catalog))
}

func TestItemsVanishAtTheirSecond(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), fromTheFirst)
	f.run()
	f.must(f.Write(background, always(putOps(mortal("a", "a", 10)), keyOf(tableA, "a"))))
	f.must(f.Write(background, always(putOps(mortal("b", "b", 11)), keyOf(tableA, "b"))))
	f.must(f.Write(background, put(tableA, "c", "c")))
	f.must(f.Write(background, always(putOps(mortal("d", "d", -1)), keyOf(tableA, "d")))) // has expired when it is written
	f.must(f.Write(background, always(putOps(mortal("a", "other table", 10)), keyOf(tableB, "a"))))
	see := func(want ...string) {
		t.Helper()
		if got := f.scan(tableA); !slices.Equal(got, want) {
			t.Fatalf("at %s a scan sees %v, want %v", w.now(), got, want)
		}
		for _, pk := range []string{"a", "b", "c", "d"} {
			v := ""
			if slices.Contains(want, pk) {
				v = pk
			}
			f.expectValue(tableA, pk, v)
			f.must(f.Write(background, &Write{Keys: []Key{keyOf(tableA, pk)}, Plan: func(c []Current) ([][]conflict.Op, error) {
				if valueOf(c[0].Item) != v {
					t.Errorf("a plan is given %q for %s", valueOf(c[0].Item), pk)
				}
				return [][]conflict.Op{nil}, nil
			}}))
		}
		f.expectValue(tableB, "a", "other table")
	}
	see("a", "b", "c")
	w.move(10*time.Second - time.Millisecond)
	see("a", "b", "c")
	w.move(time.Millisecond)
	see("b", "c")
	w.move(time.Hour)
	see("c")
	if n := f.records(tableA); n != 4 {
		t.Errorf("%d records: nothing may be erased before the frontier moves", n)
	}
	f.must(f.stop())
	f.expectAudit(someRecords)
}

// TestItemsExpireByTheirKey: the time to live is an attribute of the key, which updates do not write. It counts all the same, for an item that was put as for one that updates have made.
func TestItemsExpireByTheirKey(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), conflict.Expiry{{Attribute: "until", From: 1}})
	f.catalog.schema = &globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}, Sort: &globaltable.KeyAttribute{Name: "until", Type: item.N}}
	f.run()
	key := func(pk string, second int64) Key {
		k, err := item.AppendKey(nil, item.AppendString(nil, pk), item.AppendInt(nil, wallBegins+second))
		f.must(err)
		return Key{tableA, k}
	}
	set := func(v string) []conflict.Op {
		return []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("v"), Value: item.AppendString(nil, v)}}
	}
	see := func(want ...string) {
		t.Helper()
		if got := f.scan(tableA); !slices.Equal(got, want) {
			t.Fatalf("at %s a scan sees %v, want %v", w.now(), got, want)
		}
	}
	put, err := f.catalog.schema.AppendItem(nil, key("put", 10).Bytes)
	f.must(err)
	f.must(f.Write(background, always(putOps(put), key("put", 10))))
	f.must(f.Write(background, always(set("put"), key("put", 10))))
	f.must(f.Write(background, always(set("updated"), key("updated", 10))))
	f.must(f.Write(background, always(addTo("v", 1), key("counted", 10))))
	f.must(f.Write(background, always(set("later"), key("later", 20))))
	f.must(f.Write(background, always(set("past"), key("past", -5))))
	see("", "later", "put", "updated") // the counter is no text
	f.follow(tableA, 100)
	f.expectAudit(allRecords)
	w.move(10 * time.Second)
	see("later")
	f.must(f.Write(background, always([]conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("w"), Value: item.AppendInt(nil, 1)}}, key("updated", 10))))
	f.must(f.Get(background, key("updated", 10), func(c Current) error {
		if v := valueOf(c.Item); v != "" {
			t.Errorf("what had expired is there again: %q", v)
		}
		return nil
	}))
	w.move(time.Second)
	see("later")
	f.RaisePurge(tableA, 7, at(11), f.Now())
	if got, err := f.Collect(background, tableA, nil, 100); err != nil || got.Expired != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	see("later")
	f.must(f.stop())
	f.expectAudit(someRecords)
}

// TestSweep: an expired value goes when the frontier has reached its second, with its share in the digests, and nothing is logged.
func TestSweep(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), fromTheFirst)
	f.run()
	if pages := f.follow(tableA, 10); pages != 2 {
		t.Fatalf("%d steps for an empty table", pages)
	}
	f.must(f.Write(background, always(putOps(mortal("a", "a", 10)), keyOf(tableA, "a"))))
	f.must(f.Write(background, always(putOps(mortal("b", "b", 20)), keyOf(tableA, "b"))))
	f.must(f.Write(background, put(tableA, "c", "c")))
	f.must(f.Write(background, remove(tableA, "d")))
	if f.Expiring(tableA) != 2 || f.Waiting(tableA) != 1 {
		t.Fatalf("%d expire, %d wait", f.Expiring(tableA), f.Waiting(tableA))
	}
	w.move(15 * time.Second)
	entries := len(f.log)
	for _, c := range []struct {
		purge                  hlc.Timestamp
		expired, gone, records int
	}{{at(10) - 1, 0, 1, 3}, {at(10), 1, 0, 2}, {at(20) - 1, 0, 0, 2}} {
		f.RaisePurge(tableA, 7, c.purge, f.Now())
		got, err := f.Collect(background, tableA, nil, 100)
		if err != nil || got.Expired != c.expired || got.Gone != c.gone || got.Reduced != 0 {
			t.Fatalf("at %s: %+v, %v", c.purge, got, err)
		}
		if n := f.records(tableA); n != c.records {
			t.Fatalf("at %s: %d records, want %d", c.purge, n, c.records)
		}
		if items, _, err := f.Count(tableA); err != nil || int(items) != c.records {
			t.Fatalf("at %s: %d items are counted, %v", c.purge, items, err)
		}
	}
	f.expectValue(tableA, "b", "b")
	// It comes again, and is another one.
	f.must(f.Write(background, always(putOps(mortal("a", "again", 30)), keyOf(tableA, "a"))))
	f.expectValue(tableA, "a", "again")
	f.must(f.stop())
	if len(f.log) != entries+1 {
		t.Errorf("%d entries: sweeping makes none", len(f.log)-entries)
	}
	f.expectAudit(someRecords)
}

// TestWriteAcrossItsSecond: the item expires after the plan and before the stamp.
func TestWriteAcrossItsSecond(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), fromTheFirst)
	m := NewManual(f.Shard)
	ok := func(err error) { f.must(err) }
	m.Write(always(putOps(mortal("a", "old", 10)), keyOf(tableA, "a")), ok)
	m.Write(put(tableA, "b", "b"), ok)
	m.Settle()
	w.move(9 * time.Second)

	var given []string
	update := &Write{Keys: []Key{keyOf(tableA, "b"), keyOf(tableA, "a")}, Transaction: true, Plan: func(c []Current) ([][]conflict.Op, error) {
		given = append(given, valueOf(c[1].Item))
		return [][]conflict.Op{updateOps(conflict.OpSetCell, "x"), updateOps(conflict.OpSetCell, "y")}, nil
	}}
	m.Write(update, ok)
	w.move(time.Second) // the plan has seen the item
	m.Settle()
	if !slices.Equal(given, []string{"old", ""}) {
		t.Fatalf("the plan was given %q", given)
	}
	attributes := func(pk string) (names []string) {
		f.must(f.Get(background, keyOf(tableA, pk), func(c Current) error {
			c.Item.Each(func(name []byte, _ item.Value) bool {
				names = append(names, string(name))
				return true
			})
			return nil
		}))
		return names
	}
	if got := attributes("a"); !slices.Equal(got, []string{"pk", "y"}) {
		t.Errorf("what has expired was not replaced: %v", got)
	}
	if got := attributes("b"); !slices.Equal(got, []string{"pk", "v", "x"}) {
		t.Errorf("the other item of the transaction has %v", got)
	}
	// The change says so to the others.
	last := f.log[len(f.log)-1]
	f.must(change.EachChange(last.Body, func(c *conflict.Change) error {
		if reset := c.Ops[0].Kind == conflict.OpReset; reset != (string(c.Key) == string(keyOf(tableA, "a").Bytes)) {
			t.Errorf("operations %v", c.Ops)
		}
		return nil
	}))

	// A condition that fails on what has expired meanwhile is the write's error, and one without effect makes none.
	m.Write(always(putOps(mortal("c", "c", 12)), keyOf(tableA, "c")), ok)
	m.Settle()
	entries := len(f.log)
	gone := &globaltable.Error{Kind: globaltable.ConditionFailed}
	for _, failure := range []error{gone, nil} {
		var answer error
		m.Write(&Write{Keys: []Key{keyOf(tableA, "c")}, Plan: func(c []Current) ([][]conflict.Op, error) {
			if c[0].Item == nil {
				return [][]conflict.Op{nil}, failure
			}
			return [][]conflict.Op{updateOps(conflict.OpSetCell, "x")}, nil
		}}, func(err error) { answer = err })
		w.move(2 * time.Second)
		m.Settle()
		if answer != failure || len(f.log) != entries {
			t.Errorf("answered %v, %d entries more", answer, len(f.log)-entries)
		}
		m.Write(always(putOps(mortal("c", "c", 14)), keyOf(tableA, "c")), ok)
		m.Settle()
		entries++
	}
	f.expectAudit(someRecords)
}

// TestHistoryChangesUnderAWrite: what a plan was given has not expired by the clock, but by a document that came into force meanwhile.
func TestHistoryChangesUnderAWrite(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), nil)
	m := NewManual(f.Shard)
	ok := func(err error) { f.must(err) }
	m.Write(always(putOps(mortal("a", "old", 1)), keyOf(tableA, "a")), ok)
	m.Settle()
	w.move(5 * time.Second)
	plans := 0
	m.Write(&Write{Keys: []Key{keyOf(tableA, "a")}, Plan: func(c []Current) ([][]conflict.Op, error) {
		if plans++; (valueOf(c[0].Item) == "old") != (plans == 1) {
			t.Errorf("plan %d is given %q", plans, valueOf(c[0].Item))
		}
		return [][]conflict.Op{updateOps(conflict.OpSetCell, "x")}, nil
	}}, ok)
	f.catalog.expire(tableA, conflict.Expiry{{Attribute: "ttl", From: at(4)}})
	m.Settle()
	if plans != 2 {
		t.Errorf("planned %d times", plans)
	}
	f.expectValue(tableA, "a", "")
}

func TestWriteInTime(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), nil)
	m := NewManual(f.Shard)
	for _, late := range []bool{false, true} {
		var answer error
		write := put(tableA, "a", "a")
		write.Before = at(1)
		m.Write(write, func(err error) { answer = err })
		if late {
			w.move(time.Second)
		}
		m.Settle()
		if late {
			expectKind(t, answer, globaltable.Unavailable)
		} else {
			f.must(answer)
		}
	}
	if len(f.log) != 1 {
		t.Errorf("%d entries", len(f.log))
	}
}

// TestReplayNeverResurrects: what comes late, or again, of an item that has expired below the frontier shows nobody anything; a renewal that was made in time does, whatever this region has shown meanwhile.
func TestReplayNeverResurrects(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), fromTheFirst)
	f.run()
	f.follow(tableA, 10)
	o := newOrigin(peer, withPeer.Lane())
	o.clock = at(0)
	lasting := func(second int) conflict.Change {
		c := o.changeOf(tableA, "k", "x")
		c.Ops = putOps(mortal("k", fmt.Sprint("until ", second), second))
		return c
	}
	first := lasting(5)
	w.move(7 * time.Second)
	_, err := f.ApplyRemote(background, o.remote([]conflict.Change{first}))
	f.must(err)
	f.expectValue(tableA, "k", "")
	// The renewal was stamped before the item expired, and comes after.
	_, err = f.ApplyRemote(background, o.remote([]conflict.Change{lasting(9)}))
	f.must(err)
	f.expectValue(tableA, "k", "until 9")
	w.move(3 * time.Second)
	f.expectValue(tableA, "k", "")
	kept, err := conflict.AppendCanonical(nil, f.recordOf(tableA, "k"))
	if err != nil || len(kept) == 0 {
		t.Fatal("the value went before the frontier reached its second", err)
	}
	whole := f.recordOf(tableA, "k")
	f.RaisePurge(tableA, 7, at(9), f.Now())
	got, err := f.Collect(background, tableA, nil, 10)
	if err != nil || got.Expired != 1 || f.records(tableA) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	// A region that has not collected gives its record, and somebody repeats a write.
	f.must(f.MergeRecords(background, []RecordAt{{keyOf(tableA, "k"), whole}}))
	f.expectValue(tableA, "k", "")
	if r := f.recordOf(tableA, "k"); r == nil {
		t.Error("the record that came was not taken as what it is")
	} else if _, live, err := conflict.ItemOf(r, nil); live || err != nil {
		t.Errorf("a value came back behind the frontier: %v", err)
	}
	got, err = f.Collect(background, tableA, nil, 10)
	if err != nil || f.records(tableA) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = f.ApplyRemote(background, o.remote([]conflict.Change{first}))
	f.must(err)
	if _, live, err := conflict.ItemOf(f.recordOf(tableA, "k"), nil); live || err != nil {
		t.Errorf("a value came again behind the frontier: %v", err)
	}
	// Where the item has come anew, as an attribute, the old record brings nothing of the rest.
	_, err = f.Collect(background, tableA, nil, 10)
	f.must(err)
	f.must(f.Write(background, always(updateOps(conflict.OpSetCell, "ttl"), keyOf(tableA, "k"))))
	f.must(f.MergeRecords(background, []RecordAt{{keyOf(tableA, "k"), whole}}))
	f.must(f.Get(background, keyOf(tableA, "k"), func(c Current) error {
		if c.Item.Len() != 2 { // the key's and the one that was written
			t.Errorf("%d attributes: what had expired came back", c.Item.Len())
		}
		return nil
	}))
	f.must(f.stop())
	f.expectAudit(someRecords)
}

// TestFloorOfAChange: the writer had collected what it wrote on, so it reset nothing; here nothing is collected yet.
func TestFloorOfAChange(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), fromTheFirst)
	f.run()
	f.follow(tableA, 10)
	f.must(f.Write(background, always(putOps(mortal("k", "old", 5)), keyOf(tableA, "k"))))
	w.move(10 * time.Second)
	o := newOrigin(peer, withPeer.Lane())
	o.clock = at(9)
	c := o.changeOf(tableA, "k", "x")
	c.Floor, c.Ops = at(8), []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("ttl"), Value: item.AppendInt(nil, wallBegins+60)}}
	_, err := f.ApplyRemote(background, o.remote([]conflict.Change{c}))
	f.must(err)
	f.must(f.Get(background, keyOf(tableA, "k"), func(c Current) error {
		if c.Item.Len() != 2 { // the key's and the one that was written
			t.Errorf("%d attributes: what had expired came back", c.Item.Len())
		}
		return nil
	}))
	f.must(f.stop())
	f.expectAudit(someRecords)
}

func (f *fixture) recordOf(table globaltable.TableID, pk string) (record []byte) {
	f.t.Helper()
	f.must(f.Records(background, table, nil, nil, func(key item.Key, r []byte) bool {
		if string(key) == string(keyOf(table, pk).Bytes) {
			record = slices.Clone(r)
		}
		return true
	}))
	return record
}

// TestKeysFollowTheTimeToLive: the setting changes on a table with items, again and again, while they are written; the walk is cut by crashes.
func TestKeysFollowTheTimeToLive(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { followTimeToLive(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func followTimeToLive(t *testing.T, rng *rand.Rand) {
	engine := store.NewMemory()
	f, w := expiring(t, engine, nil)
	m := NewManual(f.Shard)
	ok := func(err error) { f.must(err) }
	write := func() {
		pk := strconv.Itoa(rng.IntN(30))
		attributes := map[string]item.Value{"pk": item.AppendString(nil, pk)}
		for _, name := range []string{"ttl", "other"} {
			if rng.IntN(3) > 0 {
				attributes[name] = item.AppendInt(nil, wallBegins+rng.Int64N(200))
			}
		}
		if rng.IntN(5) == 0 {
			m.Write(remove(tableA, pk), ok)
			return
		}
		m.Write(always(putOps(buildItem(attributes)), keyOf(tableA, pk)), ok)
	}
	var x conflict.Expiry
	for range 60 {
		write()
	}
	m.Settle()
	for range 5 {
		moment := f.Now() + 1
		if n := len(x); n > 0 && x[n-1].To == 0 {
			x = slices.Clone(x)
			x[n-1].To = moment
		} else {
			x = append(slices.Clone(x), conflict.Period{Attribute: []string{"ttl", "other"}[rng.IntN(2)], From: moment})
		}
		f.catalog.expire(tableA, x)
		w.move(time.Duration(rng.IntN(20)) * time.Second)
		for over := false; !over; {
			for range rng.IntN(4) {
				write()
			}
			if rng.IntN(8) == 0 {
				m.Settle()
				catalog := f.catalog
				f = open(t, engine.Crash(nil), func(c *Config) { c.Clock, c.Catalog = hlc.NewClock(w.now, 0), catalog })
				engine = f.engine.(*store.Memory)
				m = NewManual(f.Shard)
			}
			m.FollowExpiry(tableA, 1+rng.IntN(6), func(o bool, err error) { f.must(err); over = o })
			if rng.IntN(2) == 0 {
				m.Settle()
			}
		}
		m.Settle()
		f.expectAudit(someRecords)
	}
	// Everything goes that has expired, and nothing else.
	w.move(300 * time.Second)
	f.RaisePurge(tableA, 7, f.Now(), f.Now())
	m.Collect(tableA, nil, 1000, func(_ Collected, err error) { f.must(err) })
	m.Settle()
	f.expectAudit(someRecords)
	f.must(f.Records(background, tableA, nil, nil, func(_ item.Key, record []byte) bool {
		if due, expires, err := x.Due(record); err != nil || expires && due <= f.Purge(tableA) {
			t.Errorf("due at %s, and still there: %v", due, err)
		}
		return true
	}))
}

// TestCreatedOnceATime: many writers create the same few items if they are not there, each for a second, while time flies. In the log no two lives of an item overlap.
func TestCreatedOnceATime(t *testing.T) {
	engine := openPebble(t, vfs.NewMem())
	f, w := expiring(t, engine, fromTheFirst)
	f.run()
	ctx, cancel := context.WithCancel(background)
	var clock, sweeper, workers sync.WaitGroup
	clock.Go(func() {
		for ctx.Err() == nil {
			w.move(time.Millisecond)
		}
	})
	sweeper.Go(func() {
		for ctx.Err() == nil {
			f.RaisePurge(tableA, 7, f.now(), f.Now())
			if _, err := f.FollowExpiry(ctx, tableA, 10); err != nil && ctx.Err() == nil {
				t.Errorf("follow: %v", err)
			}
			if _, err := f.Collect(ctx, tableA, nil, 3); err != nil && ctx.Err() == nil {
				t.Errorf("collect: %v", err)
			}
		}
	})
	exists := &globaltable.Error{Kind: globaltable.ConditionFailed}
	var created atomic.Int64
	for range 4 {
		workers.Go(func() {
			for n := 0; created.Load() < 40; n++ {
				pk := fmt.Sprint(n % 3)
				second := int(w.now().Unix() - wallBegins + 1)
				err := f.Write(background, &Write{Keys: []Key{keyOf(tableA, pk)}, Plan: func(c []Current) ([][]conflict.Op, error) {
					if c[0].Item != nil {
						return nil, exists
					}
					return [][]conflict.Op{putOps(mortal(pk, "v", second))}, nil
				}})
				switch {
				case err == nil:
					created.Add(1)
				case err != error(exists):
					t.Errorf("create: %v", err)
				}
			}
		})
	}
	workers.Wait()
	cancel()
	sweeper.Wait()
	clock.Wait()
	f.must(f.stop())
	until := map[string]hlc.Timestamp{}
	lives := 0
	for _, e := range f.log {
		f.must(change.EachChange(e.Body, func(c *conflict.Change) error {
			lives++
			if c.Dot.Time < until[string(c.Key)] {
				t.Errorf("created at %s, and the one before lives until %s", c.Dot.Time, until[string(c.Key)])
			}
			v, _ := item.Item(c.Ops[0].Value).GetString("ttl")
			seconds, _ := v.Number().Int64()
			until[string(c.Key)] = max(hlc.FromTime(time.Unix(seconds, 0)), c.Dot.Time+1)
			return nil
		}))
	}
	if lives != int(created.Load()) || lives < 40 {
		t.Errorf("%d lives, %d were created", lives, created.Load())
	}
	f.must(engine.Close())
}
