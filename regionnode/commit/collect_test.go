package commit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// now is a frontier above everything written so far.
func (f *fixture) now() hlc.Timestamp {
	f.t.Helper()
	h, err := f.Heads(background)
	f.must(err)
	return h.HLC
}

// records counts the table's records, those of deleted items included.
func (f *fixture) records(table globaltable.TableID) (n int) {
	f.t.Helper()
	f.must(f.Records(background, table, nil, nil, func(item.Key, []byte) bool { n++; return true }))
	return n
}

func (f *fixture) expectWaiting(table globaltable.TableID, records int, waiting uint64) {
	f.t.Helper()
	if n, w := f.records(table), f.Waiting(table); n != records || w != waiting {
		f.t.Fatalf("%d records of which %d wait to be collected, want %d and %d", n, w, records, waiting)
	}
}

// raisePurge raises the frontier for members who have applied all there is.
func (f *fixture) raisePurge(table globaltable.TableID, version globaltable.Version, to hlc.Timestamp) {
	f.RaisePurge(table, version, to, f.cfg.Clock.Now())
}

func updateOps(kind conflict.OpKind, name string) []conflict.Op {
	op := conflict.Op{Kind: kind, Name: []byte(name)}
	if kind == conflict.OpSetCell {
		op.Value = item.AppendString(nil, name)
	}
	return []conflict.Op{op}
}

func TestCollect(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine)
	for _, pk := range []string{"a", "b", "c", "d", "e"} {
		f.must(f.Write(background, put(tableA, pk, pk)))
	}
	f.must(f.Write(background, always(updateOps(conflict.OpSetCell, "x"), keyOf(tableA, "e"))))
	f.must(f.Write(background, always(updateOps(conflict.OpRemoveCell, "x"), keyOf(tableA, "e"))))
	f.must(f.Write(background, remove(tableA, "a")))
	f.must(f.Write(background, remove(tableA, "b")))
	between := f.now()
	f.must(f.Write(background, remove(tableA, "c")))
	f.expectWaiting(tableA, 5, 4)

	// Nothing goes before the frontier has moved.
	if c, err := f.Collect(background, tableA, nil, 10); err != nil || c.Gone+c.Reduced != 0 || c.Next != nil {
		t.Fatalf("%+v, %v", c, err)
	}
	f.raisePurge(tableA, 7, between)
	first, err := f.Collect(background, tableA, nil, 2)
	if err != nil || first.Gone != 1 || first.Reduced != 1 || first.Purge != between || first.Next == nil {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := f.Collect(background, tableA, first.Next, 2)
	if err != nil || second.Gone != 1 || second.Reduced != 0 || second.Next != nil {
		t.Fatalf("%+v, %v", second, err)
	}
	f.expectWaiting(tableA, 3, 1) // c is above the frontier
	f.expectValue(tableA, "e", "e")
	f.expectValue(tableA, "a", "")

	// A key that is written again is not collected.
	f.must(f.Write(background, put(tableA, "c", "again")))
	f.expectWaiting(tableA, 3, 0)
	f.raisePurge(tableA, 7, f.now())
	if c, err := f.Collect(background, tableA, nil, 10); err != nil || c.Gone+c.Reduced != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	f.expectValue(tableA, "c", "again")
	f.must(f.stop())
	checkStore(t, engine, someRecords)
	if len(f.log) != 11 { // 5 puts, 2 updates, 3 deletes, a put
		t.Errorf("%d log entries: collecting makes none", len(f.log))
	}
}

// TestCollectStandsStill: while a replica is on its way the frontier does not move, nothing is collected, and what was found before is not collected after.
func TestCollectStandsStill(t *testing.T) {
	f := start(t, store.NewMemory())
	f.must(f.Write(background, put(tableA, "a", "1")))
	f.must(f.Write(background, remove(tableA, "a")))
	before := f.now()
	f.raisePurge(tableA, 7, before)
	f.catalog.moving.Store(true)
	f.raisePurge(tableA, 7, f.now())
	if got := f.Purge(tableA); got != before {
		t.Errorf("the frontier moved from %s to %s", before, got)
	}
	_, err := f.Collect(background, tableA, nil, 10)
	expectKind(t, err, globaltable.InUse)
	f.expectWaiting(tableA, 1, 1)
	f.catalog.moving.Store(false)
	f.raisePurge(tableA, 6, f.now())
	f.raisePurge(tableA, 7, before-1)
	if got := f.Purge(tableA); got != before {
		t.Errorf("the frontier went from %s to %s, by another version or back", before, got)
	}
	if c, err := f.Collect(background, tableA, nil, 10); err != nil || c.Gone != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestPurgeWaitsForWhatCameBeforeTheVersion: a write that is on its way may have been made before its writer had seen what a region wrote that has left the table; it has a smaller stamp than the version
// without that region. So the frontier stands still until all have passed the time at which the version was met, after a start too.
func TestPurgeWaitsForWhatCameBeforeTheVersion(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine)
	passed := f.now()
	f.RaisePurge(tableA, 7, passed, passed)
	if got := f.Purge(tableA); got != passed {
		t.Fatalf("the frontier is %s, and all have passed the start, %s", got, passed)
	}
	f.catalog.later.Store(1)
	to := f.now()
	f.RaisePurge(tableA, 8, to, to-1)
	f.RaisePurge(tableA, 7, to, f.now())
	f.RaisePurge(tableA, 8, to, to-1)
	if got := f.Purge(tableA); got != passed {
		t.Fatalf("the frontier is %s, and somebody may not have applied what was written before the version was met", got)
	}
	f.RaisePurge(tableA, 8, to, f.now())
	if got := f.Purge(tableA); got != to {
		t.Fatalf("the frontier is %s, and all have passed the version: %s", got, to)
	}
}

// TestPurgeIsDurable: what was collected was collected at a frontier that a crash cannot take back, and one that was told is durable when TakePurge returns.
func TestPurgeIsDurable(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine)
	f.must(f.Write(background, put(tableA, "a", "1")))
	f.must(f.Write(background, remove(tableA, "a")))
	at := f.now()
	f.raisePurge(tableA, 7, at)
	if _, err := f.Collect(background, tableA, nil, 10); err != nil {
		t.Fatal(err)
	}
	f.catalog.moving.Store(true) // as in a region that gets a replica
	told := f.now()
	f.must(f.TakePurge(background, tableB, told))
	f.must(f.TakePurge(background, tableB, told-1))
	expectKind(t, f.TakePurge(background, 0x9999, told), globaltable.InUse)
	// What is written then is above it, over a crash too.
	told = f.now().Add(100 * time.Millisecond)
	f.must(f.TakePurge(background, tableB, told))
	expectKind(t, f.TakePurge(background, tableB, told.Add(time.Minute)), globaltable.Unavailable)
	f.catalog.moving.Store(false)
	g := start(t, engine.Crash(nil))
	if now := g.cfg.Clock.Now(); now <= told {
		t.Errorf("the clock says %s, and the frontier that was taken over is %s", now, told)
	}
	if g.Purge(tableA) != at || g.Purge(tableB) != told {
		t.Errorf("after a crash %s and %s, want %s and %s", g.Purge(tableA), g.Purge(tableB), at, told)
	}
	g.expectWaiting(tableA, 0, 0)
	// What the shard has when it stops is kept, although nothing was collected.
	later := at + hlc.FromTime(time.UnixMilli(60_000))
	g.raisePurge(tableA, 7, later)
	g.must(g.stop())
	h := open(t, g.engine)
	if h.Purge(tableA) != later {
		t.Errorf("after a stop %s, want %s", h.Purge(tableA), later)
	}
	checkStore(t, g.engine, someRecords)
}

// TestPurgeIsDurableWithWrites: a record that a write has settled at a frontier never goes out with a lower one.
func TestPurgeIsDurableWithWrites(t *testing.T) {
	f := start(t, store.NewMemory())
	f.must(f.Write(background, put(tableA, "a", "1")))
	f.raisePurge(tableA, 7, f.now()) // is stored, since the version is new
	f.must(f.Write(background, put(tableA, "a", "2")))
	at := f.now()
	f.raisePurge(tableA, 7, at)
	f.must(f.Write(background, put(tableA, "a", "3")))
	if g := start(t, f.engine.(*store.Memory).Crash(nil)); g.Purge(tableA) != at {
		t.Errorf("after a crash %s, and the write's floor is %s", g.Purge(tableA), at)
	}
}

// TestDropTableDropsGarbage: a table that comes back begins with nothing to collect, at a frontier of its own.
func TestDropTableDropsGarbage(t *testing.T) {
	f := start(t, store.NewMemory())
	f.must(f.Write(background, put(tableB, "a", "1")))
	f.must(f.Write(background, remove(tableB, "a")))
	f.raisePurge(tableB, 7, f.now())
	f.must(f.Write(background, always(putOps(document(tableB, nil)), keyOf(globaltable.SystemTable, "b"))))
	f.must(f.DropTable(background, tableB))
	f.must(f.Write(background, always(putOps(document(tableB, alone)), keyOf(globaltable.SystemTable, "b"))))
	f.expectWaiting(tableB, 0, 0)
	if got := f.Purge(tableB); got != 0 {
		t.Errorf("the frontier is %s", got)
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestCollectUnderLoad: writers delete and put the same few keys while they are collected, on a real store.
func TestCollectUnderLoad(t *testing.T) {
	engine := openPebble(t, vfs.NewMem())
	f := start(t, engine)
	ctx, cancel := context.WithCancel(background)
	var collector, writers sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			f.raisePurge(tableA, 7, f.now())
			if _, err := f.Collect(background, tableA, nil, 3); err != nil {
				t.Errorf("collect: %v", err)
				return
			}
		}
	})
	for w := range 4 {
		writers.Go(func() {
			for n := range 100 {
				pk := fmt.Sprint(n*7%5, "of", w)
				if err := f.Write(background, put(tableA, pk, fmt.Sprint(n))); err != nil {
					t.Errorf("put: %v", err)
				}
				f.expectValue(tableA, pk, fmt.Sprint(n))
				if n%3 > 0 {
					if err := f.Write(background, remove(tableA, pk)); err != nil {
						t.Errorf("delete: %v", err)
					}
					f.expectValue(tableA, pk, "")
				}
			}
		})
	}
	writers.Wait()
	cancel()
	collector.Wait()
	f.raisePurge(tableA, 7, f.now())
	if _, err := f.Collect(background, tableA, nil, maxCollect); err != nil {
		t.Fatal(err)
	}
	items, _, err := f.Count(tableA)
	f.must(err)
	f.expectWaiting(tableA, int(items), 0)
	f.must(f.stop())
	checkStore(t, engine, someRecords)
	f.must(engine.Close())
}
