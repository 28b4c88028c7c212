package commit

import (
	"errors"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// pin keeps the items whose keys begin with the prefix away from this region.
func (f *fixture) pin(prefix string) { f.catalog.elsewhere.Store(&prefix) }

func expectNotHere(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrNotHere) || errors.Is(err, ErrNoTable) || globaltable.KindOf(err) != globaltable.Denied {
		t.Errorf("error %v", err)
	}
}

// TestPinnedKeysAreNotPlanned: a write of an item that may not be here ends before its plan can see anything of it, also where another key of it may be, and where it would only look.
func TestPinnedKeysAreNotPlanned(t *testing.T) {
	f := start(t, store.NewMemory())
	f.must(f.Write(background, put(tableA, "eu", "left from before")))
	f.must(f.Write(background, put(tableA, "us", "1")))
	f.pin("eu")
	seen := func(keys ...Key) *Write {
		return &Write{Keys: keys, Transaction: len(keys) > 1, Plan: func(c []Current) ([][]conflict.Op, error) {
			t.Error("planned")
			return make([][]conflict.Op, len(c)), nil
		}}
	}
	expectNotHere(t, f.Write(background, seen(keyOf(tableA, "eu"))))
	expectNotHere(t, f.Write(background, seen(keyOf(tableA, "us"), keyOf(tableA, "eu"))))
	expectNotHere(t, f.Write(background, seen(keyOf(tableA.Feed(), "eu"))))
	f.must(f.Write(background, put(tableA, "us", "2")))
	// A table that is not here is told as before.
	if err := f.Write(background, put(0x4711, "us", "3")); !errors.Is(err, ErrNoTable) || globaltable.KindOf(err) != globaltable.NotFound {
		t.Errorf("error %v", err)
	}
	f.must(f.stop())
	if len(f.log) != 3 {
		t.Errorf("%d entries", len(f.log))
	}
	checkStore(t, f.engine, someRecords)
}

// TestPinnedBetweenPlanAndStamp: the policy comes into force after the plan has been made: nothing is written.
func TestPinnedBetweenPlanAndStamp(t *testing.T) {
	f := start(t, store.NewMemory())
	f.must(f.Write(background, put(tableA, "us", "1")))
	w := put(tableA, "eu", "new")
	w.Keys = append(w.Keys, keyOf(tableA, "us"))
	plan := w.Plan
	w.Plan = func(c []Current) ([][]conflict.Op, error) {
		f.pin("eu")
		return plan(c)
	}
	expectNotHere(t, f.Write(background, w))
	f.expectValue(tableA, "eu", "")
	f.expectValue(tableA, "us", "1")
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// TestForeignChanges: what a peer sends although it should have known that it may not be here is voided and counted; what it made under an earlier version, before it knew, is voided.
func TestForeignChanges(t *testing.T) {
	f := start(t, store.NewMemory())
	f.catalog.later.Store(1)
	f.pin("eu")
	o := newOrigin(peer, withPeer.Lane())
	made := func(pk string, version uint64) conflict.Change {
		c := o.changeOf(tableA, pk, "secret")
		c.CatalogVersion = version
		return c
	}
	res, err := f.ApplyRemote(background, o.remote([]conflict.Change{made("eu1", 7), made("eu2", 8), made("us", 8), made("eu3", 8)}))
	f.must(err)
	if res != (RemoteResult{Applied: 1, Voided: 3, Foreign: 2}) {
		t.Errorf("%+v", res)
	}
	f.must(f.MergeRecords(background, []RecordAt{{keyOf(tableA, "eu4"), recordOf(t, o.changeOf(tableA, "eu4", "secret"))}}))
	f.must(f.stop())
	f.catalog.elsewhere.Store(nil)
	checkStore(t, f.engine, someRecords)
	for _, pk := range []string{"eu1", "eu2", "eu3", "eu4"} {
		f.expectValue(tableA, pk, "")
	}
	f.expectValue(tableA, "us", "secret")
}

// TestTrimLeavesPinnedConflicts: conflicts of items that may not be here are neither dropped nor in the way of those that are.
func TestTrimLeavesPinnedConflicts(t *testing.T) {
	f := start(t, store.NewMemory(), relogs)
	for _, pk := range []string{"eu", "us"} {
		f.must(f.Write(background, put(tableA, pk, "mine")))
	}
	o := laterOrigin(f)
	apply(f, o, o.changeOf(tableA, "eu", "theirs"), o.changeOf(tableA, "us", "theirs"))
	if n := len(f.listed(tableA)); n != 2 {
		t.Fatalf("%d are listed", n)
	}
	f.pin("eu")
	if n, err := f.TrimConflicts(background, tableA, 0); n != 1 || err != nil {
		t.Errorf("%d dropped: %v", n, err)
	}
	if left := f.listed(tableA); len(left) != 1 {
		t.Errorf("%d are left", len(left))
	}
	if n, err := f.TrimConflicts(background, tableA, 0); n != 0 || err != nil {
		t.Errorf("%d dropped: %v", n, err)
	}
}
