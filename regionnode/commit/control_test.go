package commit

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

func TestLogHeadsAndTrim(t *testing.T) {
	f := start(t, store.NewMemory())
	lane := withPeer.Lane()
	f.must(f.Trim(background, lane, 5)) // no such lane yet
	if log, err := f.ReadLog(lane, 1, 1); err != nil || log != nil {
		t.Fatalf("an empty log: %d entries, %v", len(log), err)
	}
	big := strings.Repeat("x", 1000)
	for range 10 {
		f.must(f.Write(background, put(tableA, "k", big)))
	}
	f.must(f.Write(background, put(tableB, "k", "v")))
	h, err := f.Heads(background)
	f.must(err)
	if len(h.Lanes) != 2 || h.Lanes[0].ID >= h.Lanes[1].ID {
		t.Fatalf("heads: %+v", h)
	}
	head := func() LaneHead {
		h, err := f.Heads(background)
		f.must(err)
		for _, l := range h.Lanes {
			if l.ID == lane {
				return l
			}
		}
		t.Fatal("the lane is not among the heads")
		return LaneHead{}
	}
	before := head()
	if before.Seq != 10 || before.Trimmed != 0 || before.Placement.Lane() != lane {
		t.Fatalf("head: %+v", before)
	}
	log, err := f.ReadLog(lane, 0, 2500)
	f.must(err)
	if len(log) != 3 || log[0].Seq != 1 || log[2].Seq != 3 {
		t.Fatalf("%d entries for 2500 bytes", len(log))
	}
	if log, err = f.ReadLog(lane, 10, 1); err != nil || len(log) != 1 || log[0].Chain != before.Chain {
		t.Fatalf("newest entry: %d entries, %v", len(log), err)
	}
	if log, err = f.ReadLog(lane, 11, 1); err != nil || len(log) != 0 {
		t.Fatalf("past the head: %d entries, %v", len(log), err)
	}
	all := f.LogBytes(lane)
	if all < 10_000 || all > 15_000 {
		t.Fatalf("log of %d bytes", all)
	}
	f.must(f.Trim(background, lane, 4))
	f.must(f.Trim(background, lane, 2)) // behind: nothing
	if _, err := f.ReadLog(lane, 4, 1); !errors.Is(err, change.ErrTrimmed) {
		t.Fatalf("a trimmed entry: %v", err)
	}
	if log, err = f.ReadLog(lane, 5, 1<<20); err != nil || len(log) != 6 {
		t.Fatalf("after the trim: %d entries, %v", len(log), err)
	}
	if got := f.LogBytes(lane); got < all/2 || got > all*7/10 {
		t.Fatalf("%d of %d bytes left after 4 of 10 entries", got, all)
	}
	f.must(f.Trim(background, lane, 1000)) // all but the newest
	f.must(f.stop())
	f = start(t, f.engine)
	after := head()
	if after.Seq != before.Seq || after.Chain != before.Chain || after.Trimmed != 9 {
		t.Fatalf("head after a restart: %+v, was %+v", after, before)
	}
	if got := f.LogBytes(lane); got == 0 || got > all/5 {
		t.Fatalf("log of %d bytes after a restart", got)
	}
	f.must(f.Write(background, put(tableA, "k", "next")))
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
	if f.log[0].Seq != 11 {
		t.Fatalf("the next sequence is %d", f.log[0].Seq)
	}
}

func TestLogSizeStaysSmallAndClose(t *testing.T) {
	var s logSize
	const entry = 10 << 10
	for seq := uint64(1); seq <= 10_000; seq++ {
		s.append(seq, entry)
	}
	if len(s.marks) > 110 {
		t.Errorf("%d marks for 100 MB", len(s.marks))
	}
	for _, trimmed := range []uint64{0, 1, 50, 5000, 5001, 9999, 10_000, 20_000} {
		want := int64(max(0, 10_000-int64(trimmed))) * entry
		if got := s.after(trimmed); got < want-2*entry || got > want+2*entry {
			t.Errorf("after %d: %d bytes, want about %d", trimmed, got, want)
		}
	}
	before := s.after(7777)
	s.trim(7777)
	if len(s.marks) > 30 || s.after(7777) != before {
		t.Errorf("after a trim: %d marks, %d bytes instead of %d", len(s.marks), s.after(7777), before)
	}
}

func TestDropTable(t *testing.T) {
	f := start(t, store.NewMemory())
	f.must(f.Write(background, put(tableA, "k", "1")))
	f.must(f.Write(background, put(tableB, "k", "2")))
	expectKind(t, f.DropTable(background, tableA), globaltable.InUse)
	expectKind(t, f.DropTable(background, globaltable.SystemTable), globaltable.Invalid)
	f.must(f.Write(background, always(putOps(document(tableA, nil)), keyOf(globaltable.SystemTable, "table/a"))))
	f.must(f.DropTable(background, tableA))
	f.expectValue(tableA, "k", "")
	f.expectValue(tableB, "k", "2")
	if items, bytes, err := f.Count(tableA); items != 0 || bytes != 0 || err != nil {
		t.Fatalf("a dropped table has %d items, %d bytes, %v", items, bytes, err)
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestAnotherReplicaBeginsWithNothing: a version that brings this region another replica than it held drops what it held, in one batch, and what was read before cannot bring any of
// it back.
func TestAnotherReplicaBeginsWithNothing(t *testing.T) {
	f := open(t, store.NewMemory())
	m := NewManual(f.Shard)
	ok := func(err error) { f.must(err) }
	m.Write(put(tableA, "k", "old"), ok)
	m.Write(put(tableA, "gone", "old"), ok)
	m.Settle()
	m.Write(remove(tableA, "gone"), ok)
	m.Write(put(tableB, "k", "other"), ok)
	m.Settle()
	f.raisePurge(tableA, 7, f.cfg.Clock.Now())
	doc := marked(t, document(tableA, withPeer), "anew")
	o := newOrigin(peer, withPeer.Lane())
	var late, fresh error
	m.Write(always(putOps(doc), keyOf(globaltable.SystemTable, "table/a")), ok)
	update := always(updateOps(conflict.OpSetCell, "x"), keyOf(tableA, "k")) // it was read before, and has the old item
	m.Write(update, func(err error) { late = err })
	m.Settle()
	expectKind(t, late, globaltable.Unavailable)
	f.expectValue(tableA, "k", "")
	f.expectValue(tableB, "k", "other")
	if f.Purge(tableA) != 0 || f.Waiting(tableA) != 0 {
		t.Errorf("frontier %s, %d waiting", f.Purge(tableA), f.Waiting(tableA))
	}
	m.ApplyRemote(o.remote([]conflict.Change{o.changeOf(tableA, "k", "new")}), func(_ RemoteResult, err error) { fresh = err })
	m.Settle()
	f.must(fresh)
	f.expectValue(tableA, "k", "new")
	if n, _, err := f.Count(tableA); n != 1 || err != nil {
		t.Errorf("%d items, %v", n, err)
	}
	checkStore(t, f.engine, someRecords)
}

func TestDigestsAreBounded(t *testing.T) {
	all := map[globaltable.TableID]globaltable.Placement{}
	for id := globaltable.TableID(100); id < 120; id++ {
		all[id] = alone
	}
	f := start(t, store.NewMemory(), func(c *Config) { c.Catalog, c.MaxTables = newTables(all), 3 })
	for range 3 {
		for id := range all {
			f.must(f.Write(background, put(id, "k", "v")))
			f.must(f.Write(background, put(id, "l", "v")))
		}
	}
	for id := range all {
		if items, _, err := f.Count(id); err != nil || items != 2 {
			t.Fatalf("%d items, %v", items, err)
		}
		d, err := f.Digests(background, id)
		f.must(err)
		var n uint64
		for _, b := range d {
			n += b.Count
		}
		if n != 2 {
			t.Fatalf("digests count %d", n)
		}
	}
	f.must(f.stop())
	if n := len(f.core.digests.tables); n > 3 {
		t.Errorf("%d tables in memory", n)
	}
	checkStore(t, f.engine, allRecords)
}

// TestConfirmationsOnlyRise: as long as the peer has the same store.
func TestConfirmationsOnlyRise(t *testing.T) {
	f := start(t, store.NewMemory())
	f.ConfirmPeer(peer, 1, 7, 5)
	f.ConfirmPeer(peer, 1, 7, 3)
	f.ConfirmPeer(third, 1, 7, 9)
	f.must(f.Write(background, put(tableA, "k", "1"))) // carries them
	again := open(t, f.engine.(*store.Memory).Crash(nil))
	want := []Confirmation{{peer, 7, 5, 1}, {third, 7, 9, 1}}
	if got := again.Confirmations(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	// A new store of the peer has told nothing yet; what comes late from the old one counts for nothing any more.
	again.ConfirmPeer(peer, 2, 7, 4)
	again.ConfirmPeer(peer, 1, 7, 6)
	if a, b := again.ConfirmedBy(peer, 1, 7), again.ConfirmedBy(peer, 2, 7); a != 0 || b != 4 {
		t.Errorf("%d of the old store and %d of the new one are confirmed", a, b)
	}
}

// TestConfirmationsKeepTheClock: a stored confirmation says that the clock is past that of the peer, after a crash and after a stop too.
func TestConfirmationsKeepTheClock(t *testing.T) {
	for _, stops := range []bool{false, true} {
		f := start(t, store.NewMemory())
		f.must(f.cfg.Clock.Observe(f.cfg.Clock.Last().Add(f.cfg.Clock.MaxOffset() * 3 / 4)))
		told := f.cfg.Clock.Last()
		f.ConfirmPeer(peer, 0, 7, 5)
		if stops {
			f.must(f.stop())
		} else {
			f.must(f.Revoke(background, third, 1)) // carries it, and has no use for the clock itself
		}
		again := open(t, f.engine.(*store.Memory).Crash(nil))
		if n := len(again.Confirmations()); n != 1 {
			t.Fatalf("%d confirmations are stored", n)
		}
		if got := again.cfg.Clock.Last(); got < told {
			t.Errorf("stopped=%v: the clock starts at %s, and was at %s when the peer had confirmed", stops, got, told)
		}
	}
}

// TestRecords: tombstones are among them, the bounds are exclusive, and a caller may stop.
func TestRecords(t *testing.T) {
	f := start(t, store.NewMemory())
	for i, pk := range []string{"a", "b", "c", "d"} {
		f.must(f.Write(background, put(tableA, pk, "v")))
		if i%2 == 1 {
			f.must(f.Write(background, remove(tableA, pk)))
		}
	}
	f.must(f.Write(background, put(tableB, "e", "v")))
	read := func(from, to item.Key, limit int) (keys []string) {
		f.must(f.Records(background, tableA, from, to, func(key item.Key, record []byte) bool {
			if err := conflict.CheckRecord(record); err != nil {
				t.Error(err)
			}
			keys = append(keys, string(key))
			return len(keys) < limit
		}))
		return keys
	}
	all := read(nil, nil, 100)
	if len(all) != 4 || !slices.IsSorted(all) {
		t.Fatalf("%q", all)
	}
	if got := read(item.Key(all[0]), item.Key(all[3]), 100); !slices.Equal(got, all[1:3]) {
		t.Errorf("%q", got)
	}
	if got := read(nil, nil, 2); !slices.Equal(got, all[:2]) {
		t.Errorf("%q", got)
	}
}

// TestJoinState: it outlives a crash, goes with the table's data, and is not kept for a table that is not here.
func TestJoinState(t *testing.T) {
	engine := store.NewMemory()
	tables := defaultTables()
	f := start(t, engine, func(c *Config) { c.Catalog = tables })
	expect := func(source hlc.Origin, want string) {
		t.Helper()
		got, err := f.Join(tableA, source)
		f.must(err)
		if string(got) != want || (got == nil) != (want == "") {
			t.Errorf("source %d: %q, want %q", source, got, want)
		}
	}
	expect(2, "")
	f.must(f.SetJoin(background, tableA, 2, []byte("half")))
	f.must(f.SetJoin(background, tableA, 2, []byte("most")))
	f.must(f.SetJoin(background, tableA, 3, []byte("some")))
	expect(2, "most")
	f.must(f.stop())
	f = start(t, engine.Crash(nil), func(c *Config) { c.Catalog = tables })
	expect(2, "most")
	expect(3, "some")
	f.must(f.Write(background, always(putOps(document(tableA, nil)), keyOf(globaltable.SystemTable, "table/"+tableA.String()))))
	expectKind(t, f.SetJoin(background, tableA, 2, []byte("late")), globaltable.InUse)
	f.must(f.DropTable(background, tableA))
	expect(2, "")
	expect(3, "")
}

// TestRebuildDigest: what was changed behind the shard's back leaves its digest wrong; computed anew it is as if the shard had done it. It outlives a crash.
func TestRebuildDigest(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine)
	for _, pk := range []string{"a", "b", "c"} {
		f.must(f.Write(background, put(tableA, pk, "v")))
	}
	want, err := f.Digests(background, tableA)
	f.must(err)
	key := keyOf(tableA, "d")
	f.must(f.Write(background, put(tableA, "d", "v")))
	b := engine.NewBatch()
	b.Delete(store.AppendRecordKey(nil, tableA, key.Bytes))
	wait, err := engine.Apply(b)
	f.must(err)
	f.must(wait())
	if got, err := f.Digests(background, tableA); err != nil || *got == *want {
		t.Fatal("the digest knows of what it was not told", err)
	}
	for bucket := range DigestBuckets {
		f.must(f.RebuildDigest(background, tableA, bucket))
	}
	if got, err := f.Digests(background, tableA); err != nil || *got != *want {
		t.Error("the digests are wrong", err)
	}
	f.must(f.stop())
	f = start(t, engine.Crash(nil))
	if got, err := f.Digests(background, tableA); err != nil || *got != *want {
		t.Error("the digests are wrong after a crash", err)
	}
	if n, _, err := f.Count(tableA); err != nil || n != 3 {
		t.Error(n, err)
	}
	for _, bucket := range []int{-1, DigestBuckets} {
		expectKind(t, f.RebuildDigest(background, tableA, bucket), globaltable.Invalid)
	}
}
