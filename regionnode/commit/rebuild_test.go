package commit

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// relogs has a shard log anew where its catalog places, which stands for a replica that is being created too.
func relogs(c *Config) { c.Relog = c.Catalog.Place }

func (f *fixture) saved() (out []SavedRecord) {
	f.t.Helper()
	f.must(f.Saved(0, Key{}, func(r SavedRecord) bool {
		r.Bytes, r.Record = slices.Clone(r.Bytes), slices.Clone(r.Record)
		out = append(out, r)
		return true
	}))
	return out
}

func reopened(t testing.TB, engine store.Engine) *Rebuilder {
	return reopenedWith(t, engine, everybody)
}

// everybody says that others serve each item.
func everybody(Key, globaltable.Version) bool { return true }

func reopenedWith(t testing.TB, engine store.Engine, others func(Key, globaltable.Version) bool) *Rebuilder {
	t.Helper()
	r, err := OpenRebuilder(engine, self, 0, hlc.NewClock(time.Now, 0), time.Now, others)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fencedStore is a store with items, a peer's positions and all else that a region has, whose rebuilding has been asked for.
func fencedStore(t *testing.T, items int) (*store.Memory, globaltable.Incarnation) {
	t.Helper()
	engine := store.NewMemory()
	f := start(t, engine)
	for i := range items {
		f.must(f.Write(background, put(tableA, fmt.Sprint("k", i), fmt.Sprint("v", i)+strings.Repeat(" ", items/10-1))))
	}
	f.must(f.Write(background, remove(tableA, "k0")))
	f.must(f.Write(background, always(putOps(document(tableA, withPeer)), Key{globaltable.SystemTable, keyOf(globaltable.SystemTable, "doc").Bytes})))
	o := newOrigin(peer, withPeer.Lane())
	o.clock = o.clock.Add(100 * time.Millisecond) // after all that this region has written
	_, err := f.ApplyRemote(background, o.remote([]conflict.Change{o.changeOf(tableA, "theirs", "x")}))
	f.must(err)
	f.must(f.Revoke(background, third, 7))
	_, err = f.StartLanes(background, peer, 0, 100, []LaneStart{{Lane: withPeer.Lane(), Seq: 5}})
	f.must(err)
	f.ConfirmPeer(peer, 1, withPeer.Lane(), 1)
	for _, step := range []RebuildStep{RebuildNeeded, RebuildSaving} {
		_, err = f.ChangeRebuild(background, func(r Rebuild) Rebuild {
			r.Step, r.Reason, r.Above = step, Fenced, 1<<62
			return r
		})
		f.must(err)
	}
	f.must(f.stop())
	return engine, f.Incarnation()
}

// TestRebuildSurvivesCrashes crashes before and after each durable step: nothing that is to be saved is ever in neither place, and it ends as without crashes.
func TestRebuildSurvivesCrashes(t *testing.T) {
	const items = 3000 // more than a page has
	engine, old := fencedStore(t, items)
	pages := 0
	for done := false; !done; pages++ {
		r := reopened(t, engine)
		var err error
		done, err = r.Save()
		if err != nil {
			t.Fatal(err)
		}
		if _, percent, err := r.State(); err != nil || percent > 99 {
			t.Fatal(percent, err)
		}
		if pages%2 == 0 {
			engine = engine.Crash(nil)
		}
	}
	if pages < 2 {
		t.Fatalf("%d pages", pages)
	}
	engine = engine.Crash(nil)
	r := reopened(t, engine)
	if done, err := r.Save(); err != nil || !done { // it goes on where it was: at the end
		t.Fatal(done, err)
	}
	if state, _, _ := r.State(); state.Saved != items+1 {
		t.Fatalf("%d records were saved, want %d: the deleted one too, and the peer's; the catalog's not", state.Saved, items+1)
	}
	if err := r.Empty(); err != nil {
		t.Fatal(err)
	}
	engine = engine.Crash(nil)
	if _, err := OpenRebuilder(engine, self, 0, hlc.NewClock(time.Now, 0), time.Now, everybody); globaltable.KindOf(err) != globaltable.Invalid {
		t.Fatalf("a store that was emptied is emptied again: %v", err)
	}
	state, err := ReadRebuild(engine)
	if err != nil || state.Step != RebuildJoining || state.Reason != Fenced || state.Saved != items+1 {
		t.Fatalf("%+v, %v", state, err)
	}
	f := start(t, engine)
	if inc := f.Incarnation(); inc <= old || inc <= 1<<62 {
		t.Errorf("incarnation %d after %d, with one of %d known elsewhere", inc, old, uint64(1<<62))
	}
	if f.Revoked(third) != 7 || len(f.Positions()) != 0 || len(f.CatchUps()) != 0 || len(f.Confirmations()) != 0 {
		t.Error("something of the others was lost or kept that must not")
	}
	heads, err := f.Heads(background)
	f.must(err)
	if n, _, err := f.Count(tableA); err != nil || n != 0 || len(heads.Lanes) != 0 {
		t.Errorf("%d items, %v, lanes %+v", n, err, heads.Lanes)
	}
	f.expectValue(tableA, "k1", "")
	got := f.saved()
	if len(got) != items+1 || got[0].Table != tableA || time.Since(got[0].At) > time.Hour {
		t.Errorf("%d records are saved", len(got))
	}
	f.must(f.stop())
	checkStore(t, engine, someRecords)
}

// TestRebuildSavesAllOfATableThatNobodyElseServes: the purge frontier says what all replicas have, and where no other one was counted in it that is nobody.
func TestRebuildSavesAllOfATableThatNobodyElseServes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		others globaltable.Version // since which another one serves the table
		want   int
	}{{"others have what is below the frontier", 7, 1}, {"the other one came after that", 8, 4}} {
		t.Run(tc.name, func(t *testing.T) {
			engine := store.NewMemory()
			f := start(t, engine)
			for _, k := range []string{"k1", "k2", "k3"} {
				f.must(f.Write(background, put(tableA, k, "old")))
			}
			heads, err := f.Heads(background)
			f.must(err)
			f.RaisePurge(tableA, 7, heads.HLC, f.Now())
			f.must(f.Write(background, put(tableA, "k4", "new")))
			_, err = f.ChangeRebuild(background, func(r Rebuild) Rebuild {
				r.Step, r.Reason = RebuildSaving, Fenced
				return r
			})
			f.must(err)
			f.must(f.stop())
			r := reopenedWith(t, engine, func(k Key, under globaltable.Version) bool {
				return k.Table == tableA && tc.others <= under
			})
			if done, err := r.Save(); err != nil || !done {
				t.Fatal(done, err)
			}
			f.must(r.Empty())
			f = start(t, engine)
			if got := f.saved(); len(got) != tc.want {
				t.Errorf("%d records are saved, want %d", len(got), tc.want)
			}
		})
	}
}

// TestReplay: what adds nothing is known, what is above the frontier is logged with its own dot, the rest stays; all of it over a crash.
func TestReplay(t *testing.T) {
	engine, _ := fencedStore(t, 10)
	r := reopened(t, engine)
	if done, err := r.Save(); err != nil || !done {
		t.Fatal(done, err)
	}
	if err := r.Empty(); err != nil {
		t.Fatal(err)
	}
	f := start(t, engine, relogs)
	saved := f.saved()
	byKey := map[string]SavedRecord{}
	dots := map[string]hlc.Stamp{}
	for _, s := range saved {
		changes, err := conflict.ChangesOf(s.Record)
		f.must(err)
		it, _, err := conflict.ItemOf(s.Record, nil)
		f.must(err)
		name := "k0" // the deleted one
		if it != nil {
			name = "theirs"
			if v := valueOf(it); v != "x" {
				name = "k" + v[1:]
			}
		}
		byKey[name], dots[name] = s, changes[len(changes)-1].Dot
	}
	// The others have k1 as it was, k2 newer, and k0 not deleted yet.
	newer := conflict.Change{Table: uint64(tableA), Key: byKey["k2"].Bytes, Dot: hlc.Stamp{Time: dots["k2"].Time + 1, Origin: third}, Ops: putOps(value("k2", "newer"))}
	k2, _, err := conflict.Apply(nil, nil, &newer)
	f.must(err)
	early := conflict.Change{Table: uint64(tableA), Key: byKey["k0"].Bytes, Dot: hlc.Stamp{Time: 1, Origin: third}, Ops: putOps(value("k0", "risen"))}
	k0, _, err := conflict.Apply(nil, nil, &early)
	f.must(err)
	f.must(f.MergeRecords(background, []RecordAt{{byKey["k1"].Key, byKey["k1"].Record}, {byKey["k2"].Key, k2}, {byKey["k0"].Key, k0}}))

	purge := dots["k5"].Time // k3 to k5 may be older than deletions that the others have forgotten
	result, err := f.Replay(background, saved, purge, false)
	f.must(err)
	if want := (ReplayResult{Known: 2, Logged: 6, Kept: 3}); result != want { // k0, k6 to k9 and the peer's are logged
		t.Errorf("%+v, want %+v", result, want)
	}
	f.must(f.stop())

	f = start(t, engine.Crash(nil), relogs)
	for name, want := range map[string]string{"k0": "", "k1": "v1", "k2": "newer", "k3": "", "k5": "", "k6": "v6", "k9": "v9", "theirs": "x"} {
		f.expectValue(tableA, name, want)
	}
	var logged []hlc.Stamp
	kept := 0
	entries, err := f.ReadLog(withPeer.Lane(), 1, 1<<20)
	f.must(err)
	for _, e := range entries {
		f.must(change.EachChange(e.Body, func(c *conflict.Change) error {
			if c.Table == uint64(tableA.Feed()) {
				kept++
			} else {
				logged = append(logged, c.Dot)
			}
			if c.CatalogVersion != 7 {
				t.Errorf("logged under version %d", c.CatalogVersion)
			}
			return c.Check()
		}))
	}
	for _, name := range []string{"k0", "k6", "k7", "k8", "k9", "theirs"} {
		if !slices.Contains(logged, dots[name]) {
			t.Errorf("%s is not logged with its own dot", name)
		}
	}
	left := f.saved()
	if len(left) != 3 || len(logged) != 6 || kept != 4 {
		t.Fatalf("%d records are left, %d writes and %d conflicts are logged", len(left), len(logged), kept)
	}
	// What is kept is listed, with what it would have written. So is what a write that was logged takes away: it had not seen it.
	for _, e := range f.listed(tableA) {
		if e.Loser.Stamp == early.Dot && e.Rule == conflict.RuleItem {
			continue
		}
		name := map[string]string{"v3": "k3", "v4": "k4", "v5": "k5"}[string(e.Parts[len(e.Parts)-1].Lost.Bytes())]
		if e.Rule != conflict.RuleFenced || name == "" || e.Loser.Stamp != dots[name] {
			t.Errorf("%s: %+v", name, e)
		}
	}
	// Again, as after a crash before it was known that it was done: the same.
	if result, err = f.Replay(background, left, purge, false); err != nil || result != (ReplayResult{Kept: 3}) {
		t.Errorf("%+v, %v", result, err)
	}
	if n := len(f.listed(tableA)); n != 4 {
		t.Errorf("%d conflicts are listed", n)
	}
	f.must(f.DropSaved(background, left[0].Key))
	if got := f.saved(); len(got) != 2 {
		t.Errorf("%d are left", len(got))
	}
	var page []SavedRecord
	f.must(f.Saved(tableA, left[1].Key, func(r SavedRecord) bool {
		page = append(page, r)
		return false
	}))
	if len(page) != 1 || string(page[0].Bytes) != string(left[2].Bytes) {
		t.Errorf("the page after the second has %d", len(page))
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestReplayWithoutPlacement: a table that is not here takes nothing, and nothing leaves the saved space.
func TestReplayWithoutPlacement(t *testing.T) {
	engine, _ := fencedStore(t, 10)
	r := reopened(t, engine)
	if done, err := r.Save(); err != nil || !done {
		t.Fatal(done, err)
	}
	if err := r.Empty(); err != nil {
		t.Fatal(err)
	}
	f := start(t, engine)
	before := f.saved()
	_, err := f.Replay(background, before, 0, false)
	expectKind(t, err, globaltable.NotFound)
	if after := f.saved(); len(after) != len(before) {
		t.Errorf("%d of %d are left", len(after), len(before))
	}
	_, err = f.Replay(background, nil, 0, false)
	expectKind(t, err, globaltable.Invalid)
}

// TestSavedTwice: a second rebuilding joins what it saves with what the first has left.
func TestSavedTwice(t *testing.T) {
	engine, _ := fencedStore(t, 10)
	for range 2 {
		r := reopened(t, engine)
		if done, err := r.Save(); err != nil || !done {
			t.Fatal(done, err)
		}
		if err := r.Empty(); err != nil {
			t.Fatal(err)
		}
		f := start(t, engine)
		f.must(f.Write(background, put(tableA, "k1", "later")))
		f.must(f.Write(background, put(tableA, "new", "one")))
		_, err := f.ChangeRebuild(background, func(r Rebuild) Rebuild { return Rebuild{Step: RebuildSaving, Reason: Regressed} })
		f.must(err)
		f.must(f.stop())
	}
	r := reopened(t, engine)
	if done, err := r.Save(); err != nil || !done {
		t.Fatal(done, err)
	}
	f := start(t, engine)
	values := map[string]bool{}
	for _, s := range f.saved() {
		it, _, err := conflict.ItemOf(s.Record, nil)
		f.must(err)
		values[valueOf(it)] = true
	}
	if !values["later"] || !values["one"] || !values["v2"] || values["v1"] {
		t.Errorf("%v", values)
	}
	_, err := f.ChangeRebuild(background, func(Rebuild) Rebuild { return Rebuild{} })
	f.must(err)
	if state, err := ReadRebuild(engine); err != nil || state.Step != RebuildNone {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestRebuildStateInTheStore(t *testing.T) {
	engine := store.NewMemory()
	for _, value := range [][]byte{{}, {rebuildVersion + 1}, make([]byte, rebuildHead), append([]byte{rebuildVersion, 9, 1}, make([]byte, 16)...)} {
		b := engine.NewBatch()
		b.Set(store.AppendMetaKey(nil, store.MetaRebuild), value)
		if err := applyAndWait(engine, b); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRebuild(engine); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%x: %v", value, err)
		}
	}
	if _, err := decodeSaved([]byte{savedVersion}); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Error(err)
	}
	if _, err := decodeCatchUp(peer, []byte{catchUpVersion}); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Error(err)
	}
}

// TestStartLanes: positions and the exchange that they need are one; a later start replaces an earlier one; the end of an earlier one means nothing.
func TestStartLanes(t *testing.T) {
	engine := store.NewMemory()
	f := start(t, engine)
	o := newOrigin(peer, withPeer.Lane())
	r := o.remote([]conflict.Change{o.changeOf(tableA, "k", "v")})
	_, err := f.ApplyRemote(background, r)
	f.must(err)
	first, err := f.StartLanes(background, peer, 0, 100, []LaneStart{{Lane: withPeer.Lane(), Seq: 50, Chain: globaltable.Chain{5}}})
	f.must(err)
	f.must(f.SetCaught(background, peer, first, tableA, []byte("half")))
	second, err := f.StartLanes(background, peer, 0, 100, []LaneStart{{Lane: 9, Seq: 3}, {Lane: withPeer.Lane(), Seq: 60, Chain: globaltable.Chain{6}}})
	f.must(err)
	if second <= first {
		t.Errorf("exchange %d after %d", second, first)
	}
	expectKind(t, f.SetCaught(background, peer, first, tableA, nil), globaltable.InUse)
	expectKind(t, f.EndCatchUp(background, peer, first), globaltable.InUse)
	for name, try := range map[string]func() error{
		"behind": func() error {
			_, err := f.StartLanes(background, peer, 0, 100, []LaneStart{{Lane: withPeer.Lane(), Seq: 59}})
			return err
		},
		"an earlier store": func() error {
			_, err := f.StartLanes(background, peer, 0, 99, []LaneStart{{Lane: withPeer.Lane(), Seq: 99}})
			return err
		},
	} {
		if err := try(); err == nil {
			t.Errorf("%s: lanes were started", name)
		}
	}
	f.must(f.SetCaught(background, peer, second, tableA, []byte("more")))
	f.must(f.stop())

	f = start(t, engine.Crash(nil))
	got := f.CatchUps()
	lanes := []globaltable.LaneID{9, withPeer.Lane()}
	slices.Sort(lanes)
	if len(got) != 1 || got[0].Origin != peer || got[0].ID != second || got[0].Incarnation != 100 || !slices.Equal(got[0].Lanes, lanes) {
		t.Fatalf("%+v", got)
	}
	if at := f.Position(r.Source); at != (globaltable.Position{Incarnation: 100, Seq: 60, Chain: globaltable.Chain{6}}) {
		t.Errorf("%+v", at)
	}
	if state, err := f.Caught(peer, tableA); err != nil || string(state) != "more" {
		t.Errorf("%q, %v", state, err)
	}
	f.must(f.EndCatchUp(background, peer, second))
	if state, err := f.Caught(peer, tableA); err != nil || state != nil || len(f.CatchUps()) != 0 {
		t.Errorf("%q, %v", state, err)
	}
	// The end of the incarnation ends its exchange.
	_, err = f.StartLanes(background, peer, 0, 100, []LaneStart{{Lane: withPeer.Lane(), Seq: 70}})
	f.must(err)
	f.must(f.Revoke(background, peer, 100))
	if len(f.CatchUps()) != 0 {
		t.Error("the exchange with a dead incarnation goes on")
	}
	_, err = f.StartLanes(background, peer, 0, 100, []LaneStart{{Lane: withPeer.Lane(), Seq: 80}})
	expectKind(t, err, globaltable.InUse)
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestRebuildStateIsStored as it is, with what belongs to its step.
func TestRebuildStateIsStored(t *testing.T) {
	e := store.NewMemory()
	for name, c := range map[string]struct{ stored, want Rebuild }{
		"needed":             {Rebuild{Step: RebuildNeeded, Reason: Regressed, Above: 3}, Rebuild{Step: RebuildNeeded, Reason: Regressed, Above: 3}},
		"saving":             {Rebuild{Step: RebuildSaving, Reason: Fenced, Saved: 4, Cursor: []byte("k")}, Rebuild{Step: RebuildSaving, Reason: Fenced, Saved: 4, Cursor: []byte("k")}},
		"joining":            {Rebuild{Step: RebuildJoining, Reason: Replaced, Above: 9, Saved: 4}, Rebuild{Step: RebuildJoining, Reason: Replaced, Above: 9, Saved: 4}},
		"something replayed": {Rebuild{Step: RebuildJoining, Reason: Replaced, Above: 9, Since: globaltable.MakeVersion(2, 5)}, Rebuild{Step: RebuildJoining, Reason: Replaced, Above: 9, Since: globaltable.MakeVersion(2, 5)}},
		"needed again":       {Rebuild{Step: RebuildNeeded, Reason: Fenced, Above: 9, Since: globaltable.MakeVersion(2, 5)}, Rebuild{Step: RebuildNeeded, Reason: Fenced, Above: 9}},
	} {
		b := e.NewBatch()
		setRebuild(b, &c.stored)
		if err := applyAndWait(e, b); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadRebuild(e); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v: %v", name, got, err)
		}
	}
	for name, bad := range map[string]string{"short": "0103", "a version of 3 bytes": "010302" + strings.Repeat("00", 16) + "010203", "a needed one with more": "010101" + strings.Repeat("00", 16) + "01"} {
		raw, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		b := e.NewBatch()
		b.Set(store.AppendMetaKey(nil, store.MetaRebuild), raw)
		if err := applyAndWait(e, b); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRebuild(e); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}
