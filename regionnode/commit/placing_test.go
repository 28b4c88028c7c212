package commit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// foreign pins the items of table A whose id begins with f to the placement given.
func foreign(to globaltable.Placement) func(globaltable.TableID, []byte) globaltable.Placement {
	return func(id globaltable.TableID, key []byte) globaltable.Placement {
		if id.Base() == tableA && idOf(key)[0] == 'f' {
			return to
		}
		return nil
	}
}

func idOf(key []byte) string {
	partition, _, _ := item.Key(key).Parts()
	return string(partition.Bytes)
}

// relogged is Config.Relog where it is what Place says.
func relogged(c *Config) { c.Relog = c.Catalog.Place }

// logged returns the changes in all lanes' logs, by lane and key's last byte, and the number of void entries.
func logged(t *testing.T, e store.Engine) (changes map[globaltable.LaneID]map[string]int, void int) {
	t.Helper()
	changes = map[globaltable.LaneID]map[string]int{}
	lower, upper := store.SpaceRange(store.SpaceLog)
	err := store.Each(e, lower, upper, func(key, value []byte) error {
		lane, _, _ := store.DecodeLogKey(key)
		entry, err := change.DecodeEntry(value)
		if err != nil || entry.Void {
			void++
			return err
		}
		return change.EachChange(entry.Body, func(c *conflict.Change) error {
			if changes[lane] == nil {
				changes[lane] = map[string]int{}
			}
			changes[lane][idOf(c.Key)]++
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return changes, void
}

func (f *fixture) review(version globaltable.Version) (voided int) {
	f.t.Helper()
	for lane := range f.view.lanes {
		for after := uint64(0); ; {
			r, err := f.Review(background, tableA, version, lane, after)
			f.must(err)
			voided += r.Voided
			if after = r.Next; r.Done {
				break
			}
		}
	}
	return voided
}

// TestReviewLogsAgain: an entry with what a member may not have any more is void, and what of it this region may have is in the lane where it is now, dots unchanged; the chain goes on.
func TestReviewLogsAgain(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine, relogged)
	f.catalog.pin(func(globaltable.TableID, []byte) globaltable.Placement { return nil })
	for _, id := range []string{"f1", "a1", "f2"} {
		f.must(f.Write(background, put(tableA, id, "v")))
	}
	tx := always(putOps(value("a2", "t")), keyOf(tableA, "a2"), keyOf(tableA, "f3"))
	tx.Transaction = true
	f.must(f.Write(background, tx))
	dots := map[string]bool{}
	eachLogged(t, engine, func(c *conflict.Change) { dots[fmt.Sprint(c.Dot, c.Transaction)] = true })

	// To this region alone: all of it is logged again.
	f.catalog.pin(foreign(alone))
	version := f.catalog.Version(tableA)
	f.must(f.BeginPlacing(background, tableA, version, 1000))
	if voided := f.review(version); voided != 3 {
		t.Errorf("%d entries were voided", voided)
	}
	if voided := f.review(version); voided != 0 {
		t.Errorf("%d entries were voided again", voided)
	}
	changes, void := logged(t, engine)
	if got := fmt.Sprint(len(changes[withPeer.Lane()]), len(changes[alone.Lane()]), void); got != "2 3 3" {
		t.Errorf("%s %v", got, changes)
	}
	eachLogged(t, engine, func(c *conflict.Change) {
		if !dots[fmt.Sprint(c.Dot, c.Transaction)] {
			t.Errorf("a change with another dot, or transaction: %v", c.Dot)
		}
		if c.CatalogVersion != uint64(version) && slices.Equal(c.Key, keyOf(tableA, "f1").Bytes) {
			t.Errorf("a change that was logged again has version %d", c.CatalogVersion)
		}
	})
	if p := f.Placing(tableA); p.Done.Voided != 3 || p.Done.Relogged != 4 || p.Started != 1000 {
		t.Errorf("%+v", p)
	}
	entries, err := f.ReadLog(withPeer.Lane(), 1, 1<<20)
	f.must(err)
	at := globaltable.Chain{}
	for _, e := range entries {
		if at = change.NextChain(at, e.Seq, e.BodyHash); at != e.Chain {
			t.Fatalf("the chain breaks at %d", e.Seq)
		}
	}
	f.must(f.stop())
	checkStore(t, engine, someRecords)
	again := open(t, engine)
	if p := again.Placing(tableA); p.Done.Voided != 3 {
		t.Errorf("after a start: %+v", p)
	}
}

// TestReviewLogsWhatIsLeft: what came after a change and was collected is forgotten in every region, so what it took back is not logged again: nothing that is logged again adds anything to a record that has it all.
func TestReviewLogsWhatIsLeft(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine, relogged)
	f.catalog.pin(func(globaltable.TableID, []byte) globaltable.Placement { return nil })
	for _, id := range []string{"f1", "f2", "f3"} {
		f.must(f.Write(background, put(tableA, id, "v")))
	}
	for _, ops := range [][]conflict.Op{updateOps(conflict.OpSetCell, "x"), updateOps(conflict.OpSetCell, "y"), updateOps(conflict.OpRemoveCell, "x")} {
		f.must(f.Write(background, always(ops, keyOf(tableA, "f3"))))
	}
	f.must(f.Write(background, remove(tableA, "f2")))
	f.raisePurge(tableA, f.catalog.Version(tableA), f.now())
	if c, err := f.Collect(background, tableA, nil, 10); err != nil || c.Gone != 1 || c.Reduced != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	f.catalog.pin(foreign(alone))
	version := f.catalog.Version(tableA)
	f.must(f.BeginPlacing(background, tableA, version, 1000))
	if voided := f.review(version); voided != 7 {
		t.Errorf("%d entries were voided", voided)
	}
	var got []string
	eachLogged(t, engine, func(c *conflict.Change) {
		record := f.recordOf(tableA, idOf(c.Key))
		if record == nil {
			t.Fatalf("a change of %s was logged again, of which nothing is left", idOf(c.Key))
		}
		if adds, err := conflict.Adds(record, c); adds || err != nil {
			t.Errorf("a change of %s brings something back: %v", idOf(c.Key), err)
		}
		got = append(got, idOf(c.Key))
	})
	if want := []string{"f1", "f3", "f3", "f3"}; !slices.Equal(got, want) { // the puts, y, and of the removal of x that the item is there
		t.Errorf("logged again were changes of %v", got)
	}
	if p := f.Placing(tableA); p.Done.Voided != 7 || p.Done.Relogged != 4 {
		t.Errorf("%+v", p)
	}
	f.must(f.stop())
	checkStore(t, engine, someRecords)
}

func eachLogged(t *testing.T, e store.Engine, f func(*conflict.Change)) {
	t.Helper()
	lower, upper := store.SpaceRange(store.SpaceLog)
	err := store.Each(e, lower, upper, func(_, value []byte) error {
		entry, err := change.DecodeEntry(value)
		if err != nil || entry.Void {
			return err
		}
		return change.EachChange(entry.Body, func(c *conflict.Change) error {
			f(c)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReviewOfWhatMayNotBeHere: what this region may not have itself is not logged again; it stays in the record until somebody has it.
func TestReviewOfWhatMayNotBeHere(t *testing.T) {
	engine := store.NewMemory()
	var told atomic.Uint64
	f := start(t, engine, relogged, func(c *Config) {
		c.Events.Voided = func(lane globaltable.LaneID, upTo uint64) {
			if lane == withPeer.Lane() {
				told.Store(upTo)
			}
		}
	})
	f.must(f.Write(background, put(tableA, "f1", "v")))
	f.must(f.Write(background, put(tableA, "a1", "v")))
	f.catalog.pin(foreign(globaltable.NewPlacement(peer)))
	version := f.catalog.Version(tableA)
	if _, err := f.Review(background, tableA, version, withPeer.Lane(), 0); globaltable.KindOf(err) != globaltable.InUse {
		t.Errorf("before it was begun: %v", err)
	}
	f.must(f.BeginPlacing(background, tableA, version, 1))
	if voided := f.review(version); voided != 1 || told.Load() != 1 {
		t.Errorf("%d entries were voided, up to %d was told", voided, told.Load())
	}
	f.expectValue(tableA, "f1", "v")

	record := f.record(tableA, "f1")
	if n, err := f.Erase(background, tableA, version, "eu", []RecordAt{{keyOf(tableA, "f1"), append(slices.Clone(record), 0)}, {keyOf(tableA, "a1"), f.record(tableA, "a1")}}); err != nil || n != 0 {
		t.Errorf("another record, and one that may be here: %d %v", n, err)
	}
	if n, err := f.Erase(background, tableA, version, "eu", []RecordAt{{keyOf(tableA, "f1"), record}}); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	if f.record(tableA, "f1") != nil {
		t.Error("the record is there still")
	}
	f.expectValue(tableA, "a1", "v")
	if p := f.Placing(tableA); p.Done.Erased != 1 || p.Done.Handed["eu"] != 1 || p.Done.ErasedBytes < int64(len(record)) {
		t.Errorf("%+v", p)
	}
	f.must(f.EndPlacing(background, tableA, version, []globaltable.Pin{{Name: "eu"}}, "signed"))
	if _, err := f.Erase(background, tableA, version, "eu", []RecordAt{{keyOf(tableA, "f1"), record}}); globaltable.KindOf(err) != globaltable.InUse {
		t.Errorf("after it was over: %v", err)
	}
	// By which policies the files were rewritten is known to the next version, and not to one that follows a version that was not ended.
	for _, known := range []int{1, 0} {
		f.catalog.pin(foreign(globaltable.NewPlacement(peer)))
		f.must(f.BeginPlacing(background, tableA, f.catalog.Version(tableA), 2))
		if p := f.Placing(tableA); len(p.Rewritten) != known || p.Receipt != "" || p.Done.Erased != 0 {
			t.Errorf("%+v", p)
		}
	}
	f.must(f.stop())
	checkStore(t, engine, someRecords)
}

// record returns the encoded record of a key; nil: none.
func (f *fixture) record(table globaltable.TableID, pk string) (record []byte) {
	f.t.Helper()
	f.must(getValue(f.engine, store.AppendRecordKey(nil, table, keyOf(table, pk).Bytes), func(b []byte) error {
		record = bytes.Clone(b)
		return nil
	}))
	return record
}

// TestTakeOverLogs: what is taken over is merged, and logged as the writes it is of, unless all of it is known to everybody.
func TestTakeOverLogs(t *testing.T) {
	giver, taker := start(t, store.NewMemory(), func(c *Config) { c.Origin = peer }), start(t, store.NewMemory(), relogged)
	giver.must(giver.Write(background, put(tableA, "f1", "one")))
	giver.must(giver.Write(background, put(tableA, "f1", "two")))
	giver.must(giver.Write(background, remove(tableA, "f2")))
	var records []RecordAt
	for _, id := range []string{"f1", "f2"} {
		records = append(records, RecordAt{keyOf(tableA, id), giver.record(tableA, id)})
	}
	version := taker.catalog.Version(tableA)
	take := func(version globaltable.Version) error {
		return taker.TakeOver(background, peer, 5, version, records)
	}
	if err := take(version + 1); globaltable.KindOf(err) != globaltable.InUse {
		t.Errorf("at another version: %v", err)
	}
	taker.must(take(version))
	taker.expectValue(tableA, "f1", "two")
	if changes, _ := logged(t, taker.engine); changes[withPeer.Lane()]["f1"]+changes[withPeer.Lane()]["f2"] != 2 && len(changes[withPeer.Lane()]) != 2 {
		t.Errorf("%v", changes)
	}
	before := taker.heads()
	taker.must(take(version)) // it may be asked again: others may still lack it
	if now := taker.heads(); now == before {
		t.Error("what changed nothing and is not known to everybody was not logged")
	}
	taker.purges.mu.Lock()
	taker.purges.of(tableA).frontier = taker.cfg.Clock.Now()
	taker.purges.mu.Unlock()
	before = taker.heads()
	taker.must(take(version))
	if now := taker.heads(); now != before {
		t.Error("what everybody has was logged again")
	}
	taker.catalog.pin(foreign(globaltable.NewPlacement(peer)))
	if err := take(taker.catalog.Version(tableA)); globaltable.KindOf(err) != globaltable.Denied {
		t.Errorf("what may not be here: %v", err)
	}
	taker.catalog.distrusted = map[hlc.Origin]globaltable.Incarnation{peer: 5}
	if err := take(taker.catalog.Version(tableA)); globaltable.KindOf(err) != globaltable.Fenced {
		t.Errorf("of a store that is not trusted: %v", err)
	}
}

func (f *fixture) heads() string {
	f.t.Helper()
	h, err := f.Heads(background)
	f.must(err)
	out := ""
	for _, l := range h.Lanes {
		out += fmt.Sprint(l.ID, l.Seq, " ")
	}
	return out
}

// TestEraseSaved: what was kept over a rebuilding goes, where the item may not be here; but for what no replay has decided about, which is here alone.
func TestEraseSaved(t *testing.T) {
	engine := store.NewMemory()
	b := engine.NewBatch()
	for _, id := range []string{"f1", "f2", "a1", "f3"} {
		b.Set(store.AppendSavedKey(nil, tableA, keyOf(tableA, id).Bytes), (&SavedRecord{Judged: id != "f3", Record: []byte("saved")}).append(nil))
		b.Set(store.AppendReplayKey(nil, tableA, keyOf(tableA, id).Bytes, hlc.Stamp{Time: 1, Origin: self}), []byte("kept"))
	}
	if err := applyAndWait(engine, b); err != nil {
		t.Fatal(err)
	}
	f := start(t, engine)
	f.catalog.pin(foreign(globaltable.NewPlacement(peer)))
	version := f.catalog.Version(tableA)
	f.must(f.BeginPlacing(background, tableA, version, 1))
	for more := true; more; {
		var err error
		more, err = f.EraseSaved(background, tableA, version, 2)
		f.must(err)
	}
	left := 0
	for _, of := range []func(globaltable.TableID) (lower, upper []byte){store.SavedRange, store.ReplaySpace} {
		lower, upper := of(tableA)
		f.must(store.Each(engine, lower, upper, func(key, _ []byte) error {
			left++
			if k, _ := savedItem(key); !bytes.Equal(k, keyOf(tableA, "a1").Bytes) && !bytes.Equal(k, keyOf(tableA, "f3").Bytes) {
				t.Errorf("%x is left", key)
			}
			return nil
		}))
	}
	if p := f.Placing(tableA); left != 4 || p.Done.Saved != 4 {
		t.Errorf("%d are left, %+v", left, p)
	}
}

// TestPlacingCrashes cuts the power at random moments while a region writes, reviews and erases: log and records never disagree, nothing that was written is nowhere, and what was counted is what was done.
func TestPlacingCrashes(t *testing.T) {
	fs := vfs.NewCrashableMem()
	engine := openPebble(t, fs)
	f := start(t, engine, relogged)
	const items = 60
	large := strings.Repeat("v", 100<<10) // so that it takes several batches
	for i := range items {
		f.must(f.Write(background, put(tableA, fmt.Sprint("f", i), large)))
		f.must(f.Write(background, put(tableA, fmt.Sprint("a", i), "v")))
	}
	f.catalog.pin(foreign(globaltable.NewPlacement(self, third)))
	version := f.catalog.Version(tableA)
	f.must(f.BeginPlacing(background, tableA, version, 1))
	rng := rand.New(rand.NewPCG(5, 6))
	crash := func() {
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		after := openPebble(t, clone)
		defer after.Close()
		g := open(t, after)
		checkStore(t, after, someRecords)
		changes, void := logged(t, after)
		p := g.Placing(tableA)
		relogged := 0
		for _, n := range changes[globaltable.NewPlacement(self, third).Lane()] {
			relogged += n
		}
		if int64(void) != p.Done.Voided || int64(relogged) != p.Done.Relogged || void != relogged {
			t.Fatalf("%d entries are void, %d changes logged again, counted are %+v", void, relogged, p.Done)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.review(version)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		crash()
	}
	if p := f.Placing(tableA); p.Done.Voided != items || p.Done.Relogged != items {
		t.Errorf("%+v", p.Done)
	}
	f.must(f.stop())
	f.must(engine.Close())
}

// TestLogSizeFrees: bytes that voided entries had do not count any more.
func TestLogSizeFrees(t *testing.T) {
	var s logSize
	for seq := uint64(1); seq <= 100; seq++ {
		s.append(seq, 64<<10)
	}
	before := s.after(0)
	for seq := uint64(1); seq <= 50; seq++ {
		s.free(seq, 64<<10)
	}
	if got := s.after(0); got != before/2 {
		t.Errorf("%d bytes, of %d", got, before)
	}
	s.free(100, 1<<30) // more than there is
	for i := 1; i < len(s.marks); i++ {
		if s.marks[i].bytes < s.marks[i-1].bytes {
			t.Fatalf("sums fall: %v", s.marks)
		}
	}
	if s.after(0) < 0 || s.beyond(1<<20) > 100 {
		t.Errorf("%d, %d", s.after(0), s.beyond(1<<20))
	}
}

// TestPlacingGolden pins what is stored of carrying out policies.
func TestPlacingGolden(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine, relogged)
	f.must(f.Write(background, put(tableA, "f1", "v")))
	f.catalog.pin(foreign(globaltable.NewPlacement(peer)))
	version := f.catalog.Version(tableA)
	f.must(f.BeginPlacing(background, tableA, version, 1234))
	f.review(version)
	record := f.record(tableA, "f1")
	if _, err := f.Erase(background, tableA, version, "eu", []RecordAt{{keyOf(tableA, "f1"), record}}); err != nil {
		t.Fatal(err)
	}
	f.must(f.EndPlacing(background, tableA, version, []globaltable.Pin{{Name: "eu", Regions: []string{"eu"}, Foreign: globaltable.Reject}}, "token"))
	f.must(f.stop())
	want := fmt.Sprintf(`{"version":8,"started":1234,"done":{"erased":1,"erasedBytes":%d,"handed":{"eu":1},"voided":1,"relogged":0},"receipt":"token","rewritten":[{"name":"eu","regions":["eu"],"foreign":"reject"}]}`, len(record)+len(keyOf(tableA, "f1").Bytes))
	f.must(getValue(engine, []byte{0x07, 0x0e, 0, 0, 0, 0, 0, 0, 0x10, 0}, func(b []byte) error {
		if string(b) != want {
			t.Errorf("%s\nwant %s", b, want)
		}
		want = ""
		return nil
	}))
	if want != "" {
		t.Error("nothing is stored under the key")
	}
}

// TestReplayLeavesWhatMayNotBeHere: a record that was saved, of an item that a policy keeps out of here by now, holds nothing up.
func TestReplayLeavesWhatMayNotBeHere(t *testing.T) {
	f := start(t, store.NewMemory(), relogged)
	f.must(f.Write(background, put(tableA, "f1", "v")))
	f.must(f.Write(background, put(tableA, "a1", "v")))
	records := []SavedRecord{{Key: keyOf(tableA, "f1"), Record: f.record(tableA, "f1")}, {Key: keyOf(tableA, "a1"), Record: f.record(tableA, "a1")}}
	g := start(t, store.NewMemory(), relogged)
	g.catalog.pin(foreign(globaltable.NewPlacement(peer)))
	got, err := g.Replay(background, records, 0, false)
	if err != nil || got != (ReplayResult{Logged: 1, Away: 1}) {
		t.Errorf("%+v %v", got, err)
	}
	g.expectValue(tableA, "a1", "v")
	if g.record(tableA, "f1") != nil {
		t.Error("what may not be here was replayed")
	}
}
