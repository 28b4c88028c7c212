package commit

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

var background = context.Background()

func TestWriteAndRead(t *testing.T) {
	f := start(t, store.NewMemory())
	f.must(f.Write(background, put(tableA, "k", "1")))
	f.expectValue(tableA, "k", "1")
	f.must(f.Write(background, put(tableA, "k", "2")))
	f.must(f.Write(background, put(tableA, "l", "3")))
	f.must(f.Write(background, remove(tableA, "l")))
	f.expectValue(tableA, "k", "2")
	f.expectValue(tableA, "l", "")
	if items, bytes, err := f.Count(tableA); err != nil || items != 1 || bytes == 0 {
		t.Fatalf("count: %d items, %d bytes, %v", items, bytes, err)
	}
	f.must(f.stop())
	if len(f.log) != 4 {
		t.Fatalf("%d entries reached the outbox, want 4", len(f.log))
	}
	checkStore(t, f.engine, allRecords)
}

func TestPlanSeesTheNewestStateAndMayRefuse(t *testing.T) {
	f := start(t, store.NewMemory())
	refusal := errors.New("condition failed")
	create := func(v string) *Write {
		return &Write{Keys: []Key{keyOf(tableA, "k")}, Plan: func(c []Current) ([][]conflict.Op, error) {
			if c[0].Item != nil {
				return nil, refusal
			}
			return [][]conflict.Op{putOps(value("k", v))}, nil
		}}
	}
	f.must(f.Write(background, create("first")))
	if err := f.Write(background, create("second")); !errors.Is(err, refusal) {
		t.Fatalf("got %v", err)
	}
	f.expectValue(tableA, "k", "first")
	// A latch that had stayed would block this one.
	f.must(f.Write(background, put(tableA, "k", "third")))
}

func TestTransactionIsOneEntryForEachPlacement(t *testing.T) {
	f := start(t, store.NewMemory())
	w := &Write{Keys: []Key{keyOf(tableA, "a"), keyOf(tableB, "b"), keyOf(tableA, "c"), keyOf(tableA, "looked at")}, Transaction: true,
		Plan: func([]Current) ([][]conflict.Op, error) {
			return [][]conflict.Op{putOps(value("a", "1")), putOps(value("b", "2")), putOps(value("c", "3")), nil}, nil
		}}
	f.must(f.Write(background, w))
	f.must(f.stop())
	if len(f.log) != 2 {
		t.Fatalf("%d entries, want one for each of two placements", len(f.log))
	}
	var stamps []hlc.Timestamp
	for _, e := range f.log {
		f.must(change.EachChange(e.Body, func(c *conflict.Change) error {
			stamps = append(stamps, c.Dot.Time)
			if c.Transaction == 0 || c.CatalogVersion != 7 {
				t.Errorf("change without transaction or version: %+v", c)
			}
			return nil
		}))
	}
	if len(stamps) != 3 {
		t.Fatalf("%d changes, want 3", len(stamps))
	}
	checkStore(t, f.engine, allRecords)
}

func TestWrongWrites(t *testing.T) {
	f := start(t, store.NewMemory())
	plan := func([]Current) ([][]conflict.Op, error) { return nil, nil }
	k := keyOf(tableA, "k")
	for name, c := range map[string]struct {
		w    *Write
		kind globaltable.Kind
	}{
		"no keys":             {&Write{Plan: plan}, globaltable.Invalid},
		"no plan":             {&Write{Keys: []Key{k}}, globaltable.Invalid},
		"key twice":           {&Write{Keys: []Key{k, k}, Plan: plan}, globaltable.Invalid},
		"key too short":       {&Write{Keys: []Key{{tableA, item.Key("short")}}, Plan: plan}, globaltable.Invalid},
		"too many keys":       {&Write{Keys: make([]Key, maxWriteKeys+1), Plan: plan}, globaltable.Invalid},
		"operations missing":  {&Write{Keys: []Key{k}, Plan: plan}, globaltable.Internal},
		"table not here":      {put(0x999, "k", "v"), globaltable.NotFound},
		"table not here, two": {always(putOps(value("k", "v")), k, keyOf(0x999, "k")), globaltable.NotFound},
		"too large":           {put(tableA, "k", strings.Repeat("x", maxWriteBytes)), globaltable.Invalid},
	} {
		t.Run(name, func(t *testing.T) { expectKind(t, f.Write(background, c.w), c.kind) })
	}
	f.expectValue(tableA, "k", "")
	expectKind(t, f.Get(background, Key{tableA, nil}, func(Current) error { return nil }), globaltable.Invalid)
	f.must(f.Write(background, put(tableA, "k", "v"))) // nothing is left latched
	f.must(f.stop())
	checkStore(t, f.engine, allRecords)
}

func TestWalk(t *testing.T) {
	f := start(t, store.NewMemory())
	for _, pk := range []string{"a", "b", "c", "d", "e"} {
		f.must(f.Write(background, put(tableA, pk, pk)))
	}
	f.must(f.Write(background, remove(tableA, "c")))
	f.must(f.Write(background, put(tableB, "z", "z")))
	walk := func(r Range, limit int) (keys []item.Key) {
		r.Table = tableA
		f.must(f.Walk(background, r, func(k item.Key, c Current) bool {
			keys = append(keys, append(item.Key(nil), k...))
			return len(keys) < limit
		}))
		return keys
	}
	all := walk(Range{}, 100)
	if len(all) != 4 || !slices.IsSortedFunc(all, func(a, b item.Key) int { return bytes.Compare(a, b) }) {
		t.Fatalf("%x, want 4 keys in order", all)
	}
	for _, c := range []struct {
		name  string
		r     Range
		limit int
		want  []item.Key
	}{
		{"from a key", Range{Lower: all[1]}, 100, all[1:]},
		{"after a key", Range{Lower: all[0].Next()}, 100, all[1:]},
		{"before a key", Range{Upper: all[2]}, 100, all[:2]},
		{"between", Range{Lower: all[0].Next(), Upper: all[2]}, 100, all[1:2]},
		{"a prefix", Range{Lower: all[1][:8], Upper: all[1][:8].PrefixEnd()}, 100, all[1:2]},
		{"stopped", Range{}, 2, all[:2]},
		{"bounds in the wrong order", Range{Lower: all[2], Upper: all[1]}, 100, nil},
	} {
		if got := walk(c.r, c.limit); !slices.EqualFunc(got, c.want, func(a, b item.Key) bool { return string(a) == string(b) }) {
			t.Errorf("%s: %x, want %x", c.name, got, c.want)
		}
		if c.limit < 100 {
			continue
		}
		c.r.Backward = true
		got := walk(c.r, c.limit)
		slices.Reverse(got)
		if !slices.EqualFunc(got, c.want, func(a, b item.Key) bool { return string(a) == string(b) }) {
			t.Errorf("%s, backward: %x, want %x", c.name, got, c.want)
		}
	}
	if got := walk(Range{Backward: true}, 1); len(got) != 1 || string(got[0]) != string(all[3]) {
		t.Errorf("the last: %x", got)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	expectKind(t, f.Walk(ctx, Range{Table: tableA}, func(item.Key, Current) bool { return true }), globaltable.Unavailable)
}

func TestRefuseGatesClientsOnly(t *testing.T) {
	f := start(t, store.NewMemory())
	full := &globaltable.Error{Kind: globaltable.Unavailable, Message: "disk almost full"}
	clock := &globaltable.Error{Kind: globaltable.Unavailable, Message: "clock ahead"}
	f.Refuse("disk", full)
	f.Refuse("clock", clock)
	if err := f.Write(background, put(tableA, "k", "1")); !errors.Is(err, clock) {
		t.Fatalf("got %v", err)
	}
	f.Allow("clock")
	if err := f.Write(background, put(tableA, "k", "1")); !errors.Is(err, full) {
		t.Fatalf("got %v", err)
	}
	o := newOrigin(peer, withPeer.Lane())
	if _, err := f.ApplyRemote(background, o.remote([]conflict.Change{o.changeOf(tableA, "k", "theirs")})); err != nil {
		t.Fatal(err)
	}
	f.expectValue(tableA, "k", "theirs")
	f.Allow("disk")
	f.Allow("never refused")
	f.must(f.Write(background, put(tableA, "k", "2")))
}

// gated is an engine whose syncs wait for the test.
type gated struct {
	*store.Memory
	sync chan error // one receive for each sync
}

func (g gated) Apply(b store.Batch) (func() error, error) {
	wait, err := g.Memory.Apply(b)
	return func() error {
		if err := <-g.sync; err != nil {
			return err
		}
		return wait()
	}, err
}

// openGated opens a shard on a gated engine. The identity is synced in the background.
func openGated(t *testing.T, adjust ...func(*Config)) (*fixture, gated) {
	m := store.NewMemory()
	open(t, m)
	g := gated{m, make(chan error)}
	f := start(t, g, adjust...)
	return f, g
}

func async(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func TestAnswersWaitForTheSync(t *testing.T) { synctest.Test(t, answersWaitForTheSync) }

func answersWaitForTheSync(t *testing.T) {
	f, g := openGated(t)
	write := async(func() error { return f.Write(background, put(tableA, "k", "1")) })
	synctest.Wait() // until it waits for its sync
	var mu sync.Mutex
	synced := false
	checkSynced := func() error {
		mu.Lock()
		defer mu.Unlock()
		if !synced {
			return errors.New("answered before the sync")
		}
		return nil
	}
	refusal := errors.New("condition failed")
	answers := []<-chan error{
		async(func() error {
			return errors.Join(f.Get(background, keyOf(tableA, "k"), func(Current) error { return nil }), checkSynced())
		}),
		async(func() error {
			return errors.Join(f.Walk(background, Range{Table: tableA}, func(item.Key, Current) bool { return true }), checkSynced())
		}),
		async(func() error {
			err := f.Write(background, &Write{Keys: []Key{keyOf(tableA, "k")}, Plan: func([]Current) ([][]conflict.Op, error) { return nil, refusal }})
			if !errors.Is(err, refusal) {
				return err
			}
			return checkSynced()
		}),
		async(func() error {
			_, err := f.Heads(background)
			return errors.Join(err, checkSynced())
		}),
	}
	// A key in another slot waits for nothing.
	f.expectValue(tableA, "elsewhere", "")
	ctx, cancel := context.WithCancel(background)
	cancel()
	expectKind(t, f.Get(ctx, keyOf(tableA, "k"), func(Current) error { return nil }), globaltable.Unavailable)
	if log, err := f.ReadLog(withPeer.Lane(), 1, 1<<20); err != nil || len(log) != 0 {
		t.Fatalf("the log shows %d entries before the sync, %v", len(log), err)
	}
	mu.Lock()
	synced = true
	mu.Unlock()
	g.sync <- nil
	close(g.sync)
	f.must(<-write)
	for _, a := range answers {
		f.must(<-a)
	}
	if log, err := f.ReadLog(withPeer.Lane(), 1, 1<<20); err != nil || len(log) != 1 {
		t.Fatalf("the log shows %d entries after the sync, %v", len(log), err)
	}
}

func TestContextEndsEarly(t *testing.T) { synctest.Test(t, contextEndsEarly) }

func contextEndsEarly(t *testing.T) {
	f := open(t, store.NewMemory()) // nobody runs it yet
	ctx, cancel := context.WithCancel(background)
	queued := async(func() error { return f.Write(ctx, put(tableA, "k", "1")) })
	synctest.Wait()
	// The second one waits for the first one's latch.
	latched := async(func() error { return f.Write(ctx, put(tableA, "k", "2")) })
	cancel()
	expectKind(t, <-queued, globaltable.Unavailable)
	expectKind(t, <-latched, globaltable.Unavailable)
	f.run()
	f.must(f.Write(background, put(tableA, "k", "3")))
	f.must(f.stop())
	if len(f.log) != 1 {
		t.Fatalf("%d entries, want only the write that was not taken back", len(f.log))
	}
}

func TestContextEndsDuringTheSync(t *testing.T) { synctest.Test(t, contextEndsDuringTheSync) }

func contextEndsDuringTheSync(t *testing.T) {
	f, g := openGated(t)
	ctx, cancel := context.WithCancel(background)
	write := async(func() error { return f.Write(ctx, put(tableA, "k", "1")) })
	synctest.Wait() // until it waits for its sync
	cancel()
	expectKind(t, <-write, globaltable.Unknown)
	close(g.sync)
	f.expectValue(tableA, "k", "1")
}

func TestQueueIsBounded(t *testing.T) { synctest.Test(t, queueIsBounded) }

func queueIsBounded(t *testing.T) {
	f := open(t, store.NewMemory(), func(c *Config) { c.MaxQueue = 2 })
	var writes []<-chan error
	for _, pk := range []string{"a", "b"} {
		writes = append(writes, async(func() error { return f.Write(background, put(tableA, pk, "1")) }))
		synctest.Wait()
	}
	expectKind(t, f.Write(background, put(tableA, "c", "1")), globaltable.LimitExceeded)
	// A peer's changes wait for room instead.
	ctx, cancel := context.WithCancel(background)
	o := newOrigin(peer, withPeer.Lane())
	r := o.remote([]conflict.Change{o.changeOf(tableA, "d", "theirs")})
	remote := async(func() error { _, err := f.ApplyRemote(ctx, r); return err })
	cancel()
	expectKind(t, <-remote, globaltable.Unavailable)
	remote = async(func() error { _, err := f.ApplyRemote(background, r); return err })
	f.run()
	f.must(errors.Join(<-writes[0], <-writes[1], <-remote))
	f.expectValue(tableA, "d", "theirs")
}

func TestRunAnswersEverythingAtTheEnd(t *testing.T) { synctest.Test(t, runAnswersEverythingAtTheEnd) }

func runAnswersEverythingAtTheEnd(t *testing.T) {
	f := open(t, store.NewMemory())
	var writes []<-chan error
	for _, pk := range []string{"a", "b", "c"} {
		writes = append(writes, async(func() error { return f.Write(background, put(tableA, pk, "1")) }))
		synctest.Wait()
	}
	f.ConfirmPeer(peer, 1, withPeer.Lane(), 3)
	ctx, cancel := context.WithCancel(background)
	cancel()
	f.must(f.Run(ctx))
	f.must(errors.Join(<-writes[0], <-writes[1], <-writes[2]))
	expectKind(t, f.Write(background, put(tableA, "d", "1")), globaltable.Unavailable)
	f.expectValue(tableA, "a", "1")
	again := open(t, f.engine)
	if c := again.Confirmations(); len(c) != 1 || c[0] != (Confirmation{peer, withPeer.Lane(), 3, 1}) {
		t.Fatalf("confirmations after a restart: %+v", c)
	}
}

func TestFailingStoreStopsTheShard(t *testing.T) { synctest.Test(t, failingStoreStopsTheShard) }

func failingStoreStopsTheShard(t *testing.T) {
	broken := errors.New("input/output error")
	fatal := make(chan error, 8)
	f, g := openGated(t, func(c *Config) { c.Events.Fatal = func(err error) { fatal <- err } })
	write := async(func() error { return f.Write(background, put(tableA, "k", "1")) })
	synctest.Wait() // until it waits for its sync
	read := async(func() error { return f.Get(background, keyOf(tableA, "k"), func(Current) error { return nil }) })
	g.sync <- broken
	expectKind(t, <-write, globaltable.Unknown)
	expectKind(t, <-read, globaltable.Unavailable)
	if err := <-fatal; !errors.Is(err, broken) {
		t.Fatalf("Events.Fatal got %v", err)
	}
	expectKind(t, f.Write(background, put(tableA, "l", "1")), globaltable.Unavailable)
	if err := f.stop(); !errors.Is(err, broken) {
		t.Fatalf("Run returned %v", err)
	}
	if len(fatal) != 0 || len(f.log) != 0 {
		t.Fatal("a second fatal call, or an entry that is not durable has left")
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	_, err := Open(Config{MaxGroups: -1, MaxGroupBytes: change.MaxBody})
	for _, want := range []string{"no origin", "no engine", "no clock", "no catalog", "MaxGroups is negative", "MaxGroupBytes is above"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %q", err, want)
		}
	}
}

func TestStoreOfAnotherRegionIsRefused(t *testing.T) {
	f := open(t, store.NewMemory())
	cfg := f.cfg
	cfg.Origin = 9
	_, err := Open(cfg)
	expectKind(t, err, globaltable.Invalid)
}

func TestClockNeverRunsBack(t *testing.T) {
	now := time.Now()
	m := store.NewMemory()
	physical := func(c *Config) { c.Clock = hlc.NewClock(func() time.Time { return now }, 0) }
	f := start(t, m, physical)
	incarnation := f.Incarnation()
	var last hlc.Timestamp
	for range 5 {
		f.must(f.Write(background, put(tableA, "k", "1")))
		h, err := f.Heads(background)
		f.must(err)
		if h.HLC <= last || h.HLC > f.cfg.Clock.Bound() {
			t.Fatalf("heads at %s after %s, bound %s", h.HLC, last, f.cfg.Clock.Bound())
		}
		last = h.HLC
		f.must(f.stop())
		now = now.Add(-time.Hour) // the machine's clock is set back between starts
		f = start(t, f.engine, physical)
		if f.Incarnation() != incarnation {
			t.Fatal("the incarnation has changed")
		}
	}
	f.must(f.Write(background, put(tableA, "k", "2")))
	f.must(f.stop())
	if got := f.log[len(f.log)-1].Last; got <= last {
		t.Fatalf("a stamp of %s after %s had been promised", got, last)
	}
	checkStore(t, f.engine, allRecords)
}

// TestWriteTellsWhereItIsLogged: what Write says of the log holds for every write of a busy shard: the entry at that place, durable by then, has the write's key.
func TestWriteTellsWhereItIsLogged(t *testing.T) {
	f := start(t, store.NewMemory())
	var writers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			for i := range 40 {
				pk := string(rune('a'+n)) + string(rune('a'+i%5))
				w := put(tableA, pk, "1")
				if i%4 == 0 { // in two lanes at once
					w = always(putOps(value(pk, "2")), keyOf(tableA, pk), keyOf(tableB, pk), keyOf(tableB, pk+"b"))
				}
				if err := f.Write(background, w); err != nil {
					t.Error(err)
					return
				}
				if len(w.Logged) != len(w.Keys)/3+1 {
					t.Errorf("%d keys: %v", len(w.Keys), w.Logged)
				}
				for _, l := range w.Logged {
					entries, err := f.ReadLog(l.Lane, l.Seq, 1)
					if err != nil || len(entries) == 0 || !holds(t, entries[0], keyOf(l.Table, pk)) {
						t.Errorf("%v: %v, %d entries", l, err, len(entries))
					}
				}
			}
		})
	}
	writers.Wait()
	w := put(tableA, "k", "1")
	f.must(f.Write(background, w))
	if len(w.Logged) != 1 || w.Logged[0].Lane != withPeer.Lane() || !slices.Equal(w.Logged[0].Placement, withPeer) || w.Logged[0].Table != tableA {
		t.Fatalf("%v", w.Logged)
	}
	// Nothing written, nothing told: the place of the write before is not left there.
	plan := w.Plan
	w.Plan = func(c []Current) ([][]conflict.Op, error) { return make([][]conflict.Op, len(c)), nil }
	if err := f.Write(background, w); err != nil || len(w.Logged) != 0 {
		t.Errorf("without effect: %v, %v", err, w.Logged)
	}
	w.Plan = plan
	f.must(f.Write(background, w))
	w.Plan = func([]Current) ([][]conflict.Op, error) { return nil, errors.New("refused") }
	if err := f.Write(background, w); err == nil || len(w.Logged) != 0 {
		t.Errorf("refused: %v, %v", err, w.Logged)
	}
}

// holds reports whether an entry has a change of the key.
func holds(t *testing.T, e change.Entry, k Key) bool {
	t.Helper()
	found := false
	err := change.EachChange(e.Body, func(c *conflict.Change) error {
		found = found || c.Table == uint64(k.Table) && string(c.Key) == string(k.Bytes)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}
