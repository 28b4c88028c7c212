package commit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// expectKept checks how many saved records and writes of the log a store keeps of all tables.
func (f *fixture) expectKept(records, writes int) {
	f.t.Helper()
	for space, want := range map[store.Space]int{store.SpaceSaved: records, store.SpaceReplay: writes} {
		got := 0
		lower, upper := store.SpaceRange(space)
		f.must(store.Each(f.engine, lower, upper, func(_, _ []byte) error { got++; return nil }))
		if got != want {
			f.t.Errorf("%d are kept in space %#x, want %d", got, space, want)
		}
	}
}

// returns is a region that was emptied: it has saved a counter of three increments, of which the others have the first, and an item of which they have nothing. counters and items beginning with f may not be in it any more. taker has what they have.
func returns(t *testing.T) (giver, taker *fixture, purge hlc.Timestamp, version globaltable.Version) {
	t.Helper()
	f := start(t, store.NewMemory())
	o := f.others(f.does(addTo("n", 5)))
	f.does(addTo("n", 7), addTo("n", 9))
	f.must(f.Write(background, put(tableA, "f1", "v")))
	giver = f.emptied()
	taker = start(t, store.NewMemory(), relogs, func(c *Config) { c.Origin, c.Clock = peer, giver.cfg.Clock })
	taker.must(taker.MergeRecords(background, []RecordAt{{counter, o.record}}))
	giver.catalog.pin(func(globaltable.TableID, []byte) globaltable.Placement { return globaltable.NewPlacement(peer) })
	taker.catalog.later.Add(1)
	version = giver.catalog.Version(tableA)
	giver.must(giver.BeginPlacing(background, tableA, version, 1))
	return giver, taker, 1, version
}

func (f *fixture) give(taker *fixture, version globaltable.Version, purge hlc.Timestamp) (parts []RecordAt, result ReplayResult, err error) {
	f.t.Helper()
	for _, p := range f.savedParts(tableA) {
		if !p.Sole != (string(p.Key.Bytes) == string(keyOf(tableA, "f1").Bytes)) {
			f.t.Errorf("%x: sole: %v", p.Key.Bytes, p.Sole)
		}
		parts = append(parts, RecordAt{p.Key, p.Bytes})
	}
	result, err = taker.TakeOverSaved(background, self, f.Incarnation(), version, purge, parts)
	return parts, result, err
}

// TestTakeOverSaved: what was saved is replayed by the taker, and gone from the giver when that is durable; the taker logs it as the giver's writes, and twice is once. What the taker has saved itself stays.
func TestTakeOverSaved(t *testing.T) {
	f, taker, purge, version := returns(t)
	_, err := f.Replay(background, f.savedItems(), purge, false)
	f.must(err)
	f.expectKept(2, 3)
	b := taker.engine.NewBatch()
	own := (&SavedRecord{Record: []byte("its own")}).append(nil)
	b.Set(store.AppendSavedKey(nil, tableA, counter.Bytes), own)
	taker.must(applyAndWait(taker.engine, b))
	parts, result, err := f.give(taker, version, purge)
	f.must(err)
	if want := (ReplayResult{Known: 1, Logged: 3}); result != want {
		t.Errorf("%+v, want %+v", result, want)
	}
	if got, want := taker.shows(), `{"n":{"N":"21"},"pk":{"S":"counter"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	taker.expectValue(tableA, "f1", "v")
	if taker.Purge(tableA) != purge {
		t.Errorf("the purge frontier is %s", taker.Purge(tableA))
	}
	dots := 0
	for _, e := range taker.log {
		dots += int(e.Changes)
	}
	if dots != 3 {
		t.Errorf("%d changes are logged", dots)
	}
	f.expectKept(2, 3)
	for again, want := range []int{2, 0} {
		if n, err := f.EraseGiven(background, tableA, version, "eu", parts); err != nil || n != want {
			t.Errorf("%d: %d erased, %v", again, n, err)
		}
	}
	f.expectKept(0, 0)
	if done := f.Placing(tableA).Done; done.Saved != 5 || done.Handed["eu"] != 2 {
		t.Errorf("%+v", done)
	}
	if result, err := taker.TakeOverSaved(background, self, f.Incarnation(), version, purge, parts); err != nil || result.Logged != 0 {
		t.Errorf("again: %+v, %v", result, err)
	}
	taker.must(getValue(taker.engine, store.AppendSavedKey(nil, tableA, counter.Bytes), func(v []byte) error {
		if !bytes.Equal(v, own) {
			t.Errorf("the taker's own saved record is %x", v)
		}
		own = nil
		return nil
	}))
	if own != nil {
		t.Error("the taker's own saved record is gone")
	}
}

// TestDoubtIsListedWhereItIsTakenOver: what may be older than a deletion that the others have forgotten is not merged, and listed with all that it says; an increment by the number that it had added.
func TestDoubtIsListedWhereItIsTakenOver(t *testing.T) {
	f, taker, _, version := returns(t)
	_, result, err := f.give(taker, version, f.Now())
	f.must(err)
	if want := (ReplayResult{Known: 1, Kept: 3}); result != want {
		t.Errorf("%+v, want %+v", result, want)
	}
	if got, want := taker.shows(), `{"n":{"N":"5"},"pk":{"S":"counter"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	got := map[string]bool{}
	for _, e := range taker.listed(tableA) {
		for i := range e.Parts {
			p := &e.Parts[i]
			got[fmt.Sprintf("%s %s %d %s", e.Rule, p.Name, p.Effect, item.AppendJSON(nil, p.Lost))] = true
		}
	}
	for _, want := range []string{`fenced n 1 {"N":"7"}`, `fenced n 1 {"N":"9"}`, `fenced v 0 {"S":"v"}`} {
		if !got[want] {
			t.Errorf("%s is not listed: %v", want, got)
		}
	}
	taker.expectKept(0, 0)
}

// TestRefusedPartsStay: what the taker refuses it does not do, and what the giver may have again, or has otherwise, it does not erase.
func TestRefusedPartsStay(t *testing.T) {
	f, taker, purge, version := returns(t)
	refused := func(what string, kind globaltable.Kind, parts []RecordAt, version globaltable.Version) {
		t.Helper()
		if _, err := taker.TakeOverSaved(background, self, 5, version, purge, parts); globaltable.KindOf(err) != kind {
			t.Errorf("%s: %v", what, err)
		}
		if len(taker.log) > 0 || taker.record(tableA, "f1") != nil {
			t.Errorf("%s, and is here", what)
		}
	}
	var parts []RecordAt
	for _, p := range f.savedParts(tableA) {
		parts = append(parts, RecordAt{p.Key, p.Bytes})
	}
	refused("of another version", globaltable.InUse, parts, version+1)
	refused("damaged", globaltable.Corrupt, []RecordAt{{parts[0].Key, parts[0].Record[:len(parts[0].Record)-1]}}, version)
	refused("of another item", globaltable.Corrupt, []RecordAt{{keyOf(tableA, "other"), parts[0].Record}, {keyOf(tableA, "other2"), parts[1].Record}}, version)
	refused("the catalog's", globaltable.Invalid, []RecordAt{{Key{globaltable.SystemTable, parts[0].Bytes}, parts[0].Record}}, version)
	taker.catalog.distrusted = map[hlc.Origin]globaltable.Incarnation{self: 5}
	refused("of a region that is not followed", globaltable.Fenced, parts, version)
	taker.catalog.distrusted = nil
	taker.pin("")
	refused("where it may not be", globaltable.Denied, parts, version)

	if _, err := f.EraseGiven(background, tableA, version+1, "eu", parts); globaltable.KindOf(err) != globaltable.InUse {
		t.Errorf("erased in another version: %v", err)
	}
	changed := bytes.Clone(parts[0].Record)
	changed[9]++ // the frontier
	if n, err := f.EraseGiven(background, tableA, version, "eu", []RecordAt{{parts[0].Key, changed}}); err != nil || n != 0 {
		t.Errorf("%d erased that are not what was given: %v", n, err)
	}
	f.expectKept(2, 3)
	f.catalog.pin(func(globaltable.TableID, []byte) globaltable.Placement { return nil })
	version = f.catalog.Version(tableA)
	f.must(f.BeginPlacing(background, tableA, version, 1))
	if n, err := f.EraseGiven(background, tableA, version, "eu", parts); err != nil || n != 0 {
		t.Errorf("%d erased that may be here: %v", n, err)
	}
	f.expectKept(2, 3)
}

// TestManyPartsOfOneRecord: a record with more writes than a part has goes in several, each increment counts once, and nothing is erased before the last.
func TestManyPartsOfOneRecord(t *testing.T) {
	const n = 12000
	f := start(t, store.NewMemory())
	o := f.others(f.does(addTo("n", 1)))
	for range n {
		f.must(f.Write(background, always(addTo("n", 1), counter)))
	}
	f = f.emptied()
	f.catalog.pin(func(globaltable.TableID, []byte) globaltable.Placement { return globaltable.NewPlacement(peer) })
	version := f.catalog.Version(tableA)
	f.must(f.BeginPlacing(background, tableA, version, 1))
	taker := start(t, store.NewMemory(), relogs, func(c *Config) { c.Origin, c.Clock = peer, f.cfg.Clock })
	taker.catalog.later.Add(1)
	taker.must(taker.MergeRecords(background, []RecordAt{{counter, o.record}}))
	parts := f.savedParts(tableA)
	if len(parts) < 2 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, p := range parts {
		at := []RecordAt{{p.Key, p.Bytes}}
		for range 1 + i%2 { // an answer may get lost
			_, err := taker.TakeOverSaved(background, self, f.Incarnation(), version, 1, at)
			f.must(err)
		}
		erased, err := f.EraseGiven(background, tableA, version, "eu", at)
		if f.must(err); p.More != (erased == 0) {
			t.Errorf("part %d: %d erased", i, erased)
		}
	}
	if got, want := taker.shows(), fmt.Sprintf(`{"n":{"N":"%d"},"pk":{"S":"counter"}}`, n+1); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	f.expectKept(0, 0)
}

// TestSavedPartGolden pins what is sent of a saved record.
func TestSavedPartGolden(t *testing.T) {
	c := conflict.Change{Table: 7, Key: []byte("key"), Dot: hlc.Stamp{Time: 5, Origin: 3}, Ops: []conflict.Op{{Kind: conflict.OpReset}}}
	saved := SavedRecord{Frontier: 0xa0007, Record: []byte{1, 2}}
	for want, b := range map[string][]byte{
		"8100" + "00000000000a0007" + "00000000000000000000" + "020102":                                                           appendSavedPart(nil, &saved, hlc.Stamp{}, nil, false),
		"8101" + "00000000000a0007" + "00000000000000040003" + "020102" + hex.EncodeToString(withLength(appendOwnWrite(nil, &c))): appendSavedPart(nil, &saved, hlc.Stamp{Time: 4, Origin: 3}, [][]byte{appendOwnWrite(nil, &c)}, true),
	} {
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("sent as %s, want %s", got, want)
		}
		got, err := decodeSavedPart(b)
		if err != nil || got.Frontier != saved.Frontier || !bytes.Equal(got.Record, saved.Record) || got.own.more != (b[1] == 1) || len(got.own.writes) != int(b[1]) {
			t.Errorf("read as %+v, %v", got, err)
		}
	}
}

func withLength(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

// FuzzSavedPart: what a region gives of any bytes is taken over or refused, and what is stored agrees with itself.
func FuzzSavedPart(f *testing.F) {
	g := start(f, store.NewMemory())
	record := bytes.Clone(g.does(addTo("n", 5), setNumber("m", 3)))
	change := conflict.Change{Table: uint64(tableA), Key: counter.Bytes, Dot: hlc.Stamp{Time: 1 << 20, Origin: self}, Ops: []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("a"), Value: item.AppendString(nil, "x")}}}
	f.Add(appendSavedPart(nil, &SavedRecord{Record: record}, hlc.Stamp{}, nil, false))
	f.Add(appendSavedPart(nil, &SavedRecord{Record: record, Frontier: 9}, hlc.Stamp{Time: 4, Origin: self}, [][]byte{appendOwnWrite(nil, &change)}, true))
	f.Add([]byte{savedPartVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		if saved, err := decodeSavedPart(b); err == nil {
			var own [][]byte
			for i := range saved.own.writes {
				w := appendOwnWrite(nil, &saved.own.writes[i].Change)
				if saved.own.writes[i].Kept {
					w[1] = 1
				}
				own = append(own, w)
			}
			if again := appendSavedPart(nil, &saved, saved.own.after, own, saved.own.more); !bytes.Equal(again, b) {
				t.Fatalf("%x decodes to what encodes as %x", b, again)
			}
		}
		taker := open(t, store.NewMemory(), relogs, func(c *Config) { c.Origin = peer })
		m, answers := NewManual(taker.Shard), 0
		m.TakeOverSaved(self, 5, taker.catalog.Version(tableA), 1, []RecordAt{{counter, b}}, func(ReplayResult, error) { answers++ })
		m.Settle()
		if answers != 1 {
			t.Fatalf("%d answers", answers)
		}
		checkStore(t, taker.engine, someRecords)
	})
}
