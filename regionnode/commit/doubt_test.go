package commit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// TestJudge: what becomes of a saved write, by what the table has. The purge frontier is at second 10; items expire by their attribute ttl.
func TestJudge(t *testing.T) {
	at := func(second int64) hlc.Timestamp { return hlc.FromTime(time.Unix(second, 0)) }
	written := func(second int64, origin hlc.Origin, ops []conflict.Op) *conflict.Change {
		return &conflict.Change{Table: uint64(tableA), Key: keyOf(tableA, "k").Bytes, Dot: hlc.Stamp{Time: at(second), Origin: origin}, Ops: ops}
	}
	mortal := func(until int64) []conflict.Op {
		return putOps(buildItem(map[string]item.Value{"pk": item.AppendString(nil, "k"), "ttl": item.AppendInt(nil, until)}))
	}
	lasting := putOps(value("k", "v"))
	for name, tc := range map[string]struct {
		current *conflict.Change
		saved   *conflict.Change
		doubt   int64
		want    conflict.Fate
	}{
		"above the frontier":                        {nil, written(11, self, lasting), 10, conflict.Fresh},
		"below it":                                  {nil, written(9, self, lasting), 10, conflict.Doubted},
		"below it, where nothing is in doubt":       {nil, written(9, self, lasting), 0, conflict.Fresh},
		"a deletion below it":                       {nil, written(9, self, conflict.RecordDelete(nil)), 10, conflict.Known},
		"what is there":                             {written(9, self, lasting), written(9, self, lasting), 10, conflict.Known},
		"overwritten":                               {written(9, peer, lasting), written(8, self, lasting), 10, conflict.Known},
		"deleted":                                   {written(9, peer, conflict.RecordDelete(nil)), written(8, self, lasting), 10, conflict.Known},
		"beaten by an item that has expired":        {written(7, peer, mortal(9)), written(8, self, lasting), 10, conflict.Doubted},
		"the same, where nothing is in doubt":       {written(7, peer, mortal(9)), written(8, self, lasting), 0, conflict.Doubted},
		"expired as well":                           {written(7, peer, mortal(9)), written(8, self, mortal(9)), 10, conflict.Known},
		"a deletion older than an expiry":           {written(7, peer, mortal(9)), written(8, self, conflict.RecordDelete(nil)), 10, conflict.Known},
		"beaten by an item that will expire":        {written(9, peer, mortal(20)), written(8, self, lasting), 10, conflict.Known},
		"written after an item's expiry, in doubt":  {written(5, peer, mortal(6)), written(8, self, lasting), 10, conflict.Doubted},
		"written after an item's expiry, and above": {written(5, peer, mortal(6)), written(11, self, lasting), 10, conflict.Fresh},
	} {
		var current []byte
		var err error
		if tc.current != nil {
			if current, _, err = conflict.Apply(nil, nil, tc.current); err == nil {
				current, err = fromTheFirst.Settled(current, at(10))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		doubt := hlc.Timestamp(0)
		if tc.doubt > 0 {
			doubt = at(tc.doubt)
		}
		p := conflict.Replay{Self: self, Expiry: fromTheFirst, Purge: at(10), Doubt: doubt}
		if got, err := p.Judge(current, &conflict.SavedWrite{Change: *tc.saved}); err != nil || got != tc.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, tc.want)
		}
	}
}

// TestFrontierOutlivesTheEmptying: a region that alone has a table keeps the table's purge frontier over its rebuilding. What it saved at that frontier is in no doubt for itself; it is for a region that others tell of a frontier, and
// so is what an earlier rebuilding had left in doubt.
func TestFrontierOutlivesTheEmptying(t *testing.T) {
	nobody := func(Key, globaltable.Version) bool { return false }
	engine := store.NewMemory()
	var passed time.Duration // for each start the clock begins further ahead
	clock := func(c *Config) {
		c.Clock = hlc.NewClock(func() time.Time { return time.Now().Add(passed) }, 0)
	}
	f := start(t, engine, relogs, clock)
	rebuild := func() {
		t.Helper()
		_, err := f.ChangeRebuild(background, func(r Rebuild) Rebuild {
			r.Step, r.Reason, r.Cursor = RebuildSaving, Fenced, nil
			return r
		})
		f.must(err)
		f.must(f.stop())
		r := reopenedWith(t, engine, nobody)
		if done, err := r.Save(); err != nil || !done {
			t.Fatal(done, err)
		}
		f.must(r.Empty())
		engine, passed = engine.Crash(nil), passed+time.Minute
		f = start(t, engine, relogs, clock)
	}
	raise := func() hlc.Timestamp {
		t.Helper()
		heads, err := f.Heads(background)
		f.must(err)
		f.RaisePurge(tableA, 7, heads.HLC, f.Now())
		return heads.HLC
	}
	f.must(f.Write(background, put(tableA, "old", "one")))
	first := raise()
	f.must(f.Write(background, put(tableA, "new", "two")))
	rebuild()
	if f.Purge(tableA) != 0 {
		t.Fatal("an emptied store has a frontier of a table that it does not have")
	}
	for i, s := range f.saved() {
		if s.Frontier != first {
			t.Errorf("record %d was saved at %s, not at %s", i, s.Frontier, first)
		}
	}
	later := first.Add(time.Hour)
	result, err := f.Replay(background, f.saved(), later, true)
	f.must(err)
	if want := (ReplayResult{Kept: 2}); result != want {
		t.Errorf("with a later frontier: %+v, want %+v", result, want)
	}
	// Nobody ever serves it; it is emptied again, and then it comes back.
	rebuild()
	f.must(f.RegainPurge(background, tableA))
	f.must(f.RegainPurge(background, tableB))
	f.must(f.stop())
	engine, passed = engine.Crash(nil), passed+time.Minute
	f = start(t, engine, relogs, clock)
	if got := f.Purge(tableA); got != first || f.Purge(tableB) != 0 {
		t.Fatalf("the frontier is %s, not %s", got, first)
	}
	// What was listed of the two is logged again.
	if result, err = f.Replay(background, f.saved(), first, false); err != nil || result != (ReplayResult{Logged: 3, Kept: 1}) {
		t.Errorf("with others: %+v, %v", result, err)
	}
	// What is in doubt stays so when more is saved of its item; what comes to be saved for the first time is not.
	f.must(f.Write(background, always([]conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("w"), Value: item.AppendString(nil, "x")}}, keyOf(tableA, "old"))))
	second := raise()
	rebuild()
	f.must(f.RegainPurge(background, tableA))
	if got := f.Purge(tableA); got != second {
		t.Errorf("the frontier is %s, not %s", got, second)
	}
	if result, err = f.Replay(background, f.saved(), second, true); err != nil || result != (ReplayResult{Logged: 3, Kept: 2}) {
		t.Errorf("again: %+v, %v", result, err)
	}
	f.expectValue(tableA, "new", "two")
	_, err = f.ChangeRebuild(background, func(Rebuild) Rebuild { return Rebuild{} })
	f.must(err)
	lower, upper := store.MetaRange(store.MetaKept)
	f.must(store.Each(engine, lower, upper, func(key, _ []byte) error { return fmt.Errorf("%x outlives the rebuilding", key) }))
	f.must(f.stop())
	checkStore(t, engine, someRecords)
}

// TestSavedGolden pins the stored form, and that of before.
func TestSavedGolden(t *testing.T) {
	for name, tc := range map[string]struct {
		stored string
		e      SavedRecord
	}{
		"now":              {"03000000000000c350" + "00000000000a0007" + "00" + "0102", SavedRecord{At: time.UnixMilli(50000), Frontier: 0xa0007, Record: []byte{1, 2}}},
		"judged":           {"03000000000000c350" + "00000000000a0007" + "01" + "0102", SavedRecord{At: time.UnixMilli(50000), Frontier: 0xa0007, Judged: true, Record: []byte{1, 2}}},
		"not told":         {"02000000000000c350" + "00000000000a0007" + "0102", SavedRecord{At: time.UnixMilli(50000), Frontier: 0xa0007, Record: []byte{1, 2}}},
		"without frontier": {"01000000000000c350" + "0102", SavedRecord{At: time.UnixMilli(50000), Record: []byte{1, 2}}},
	} {
		b, err := hex.DecodeString(tc.stored)
		if err != nil {
			t.Fatal(err)
		}
		if got := tc.e.append(nil); b[0] == savedVersion && !bytes.Equal(got, b) {
			t.Errorf("%s: stored as %x", name, got)
		}
		if e, err := decodeSaved(b); err != nil || !e.At.Equal(tc.e.At) || e.Frontier != tc.e.Frontier || e.Judged != tc.e.Judged || !bytes.Equal(e.Record, tc.e.Record) {
			t.Errorf("%s: read as %+v, %v", name, e, err)
		}
	}
	for _, wrong := range []string{"", "00000000000000c3500102", "04000000000000c35000000000000a0007000102", "03000000000000c35000000000000a0007020102", "03000000000000c35000000000000a000700", "01000000000000c350", "02000000000000c35000000000000a0007"} {
		b, _ := hex.DecodeString(wrong)
		if _, err := decodeSaved(b); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
