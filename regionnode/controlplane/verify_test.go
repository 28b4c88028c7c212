package controlplane

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/repair"
)

// settle carries everything, and has the watermarks say so.
func (w *world) settle() {
	w.carry()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = map[hlc.Origin]hlc.Timestamp{}
	for _, r := range w.regions {
		w.applied[r.Origin] = hlc.FromTime(time.Now()).Add(time.Millisecond)
	}
}

func keyOf(t *testing.T, id string) item.Key {
	t.Helper()
	key, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// plant changes a region's store behind its back; f returns the record that is to be there, nil for none.
func (n *node) plant(table globaltable.TableID, id string, f func(record []byte) []byte) {
	n.w.t.Helper()
	key := commit.Key{Table: table, Bytes: keyOf(n.w.t, id)}
	b := n.engine.NewBatch()
	err := n.shard.Get(n.w.t.Context(), key, func(c commit.Current) error {
		storeKey := store.AppendRecordKey(nil, table, key.Bytes)
		if record := f(c.Record); record != nil {
			b.Set(storeKey, record)
		} else {
			b.Delete(storeKey)
		}
		return nil
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	wait, err := n.engine.Apply(b)
	if err == nil {
		err = wait()
	}
	if err != nil {
		n.w.t.Fatal(err)
	}
}

// rotted is the record with other bytes, of the same write.
func rotted(t *testing.T, table globaltable.TableID, id string) func(record []byte) []byte {
	return func(record []byte) []byte {
		r, err := conflict.DecodeRecord(record)
		if err != nil {
			t.Fatal(err)
		}
		var b item.Builder
		b.Add([]byte("id"), item.AppendString(nil, id))
		b.Add([]byte("rot"), item.AppendInt(nil, 1))
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := conflict.ApplyLocal(nil, nil, &conflict.Change{Table: uint64(table), Key: keyOf(t, id), Dot: r.Reset.Stamp, Ops: conflict.RecordPut(nil, it)})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// TestVerifyAndRepair: what is on its way is told from what is lost, changes behind a store's back are found wherever they are, and healed from any region.
func TestVerifyAndRepair(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ap, eu, us := w.nodes["ap"], w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu", "us", "ap")
		for i := range 300 {
			if err := eu.write(table.ID, itemName(i), false); err != nil {
				t.Fatal(err)
			}
		}
		w.settle()
		verify := func(n *node, want string) *repair.Report {
			t.Helper()
			got, err := n.verify.Verify(t.Context(), table.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.State != want || len(got.Replicas) != 2 {
				t.Errorf("%s: %+v, want %s", n.self.Name, got, want)
			}
			return got
		}
		if got := verify(us, repair.Converged); got.Items != 300 || got.Table != "orders" {
			t.Errorf("%+v", got)
		}
		// Not carried yet: a new item, a changed one, a deleted one.
		w.pass(time.Second)
		for id, remove := range map[string]bool{"new": false, itemName(1): false, itemName(2): true} {
			if err := us.write(table.ID, id, remove); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range verify(eu, repair.InFlight).Replicas {
			if want := map[string]int{"us": 3}[r.Region]; r.InFlight != want || r.Keys != 0 {
				t.Errorf("%+v", r)
			}
		}
		w.settle()
		verify(eu, repair.Converged)

		us.plant(table.ID, itemName(10), func([]byte) []byte { return nil })
		us.plant(table.ID, itemName(2), func([]byte) []byte { return nil }) // a tombstone: nobody misses it
		ap.plant(table.ID, itemName(11), rotted(t, table.ID, itemName(11)))
		eu.plant(table.ID, itemName(12), func([]byte) []byte { return nil })
		for n, want := range map[*node]map[string]int{us: {"eu": 2, "ap": 2}, eu: {"us": 2, "ap": 2}, ap: {"eu": 2, "us": 2}} {
			for _, r := range verify(n, repair.Diverged).Replicas {
				if r.Keys != want[r.Region] || r.Buckets == 0 || len(r.Hashes) != r.Keys || r.InFlight != 0 || r.State != repair.Diverged {
					t.Errorf("%s: %+v, want %d keys", n.self.Name, r, want[r.Region])
				}
			}
		}
		w.setCut("ap-us", true)
		got := verify(us, repair.Diverged)
		if r := got.Replicas[0]; r.Region != "ap" || r.State != repair.NotCompared || r.Detail != "ap is out of reach" {
			t.Errorf("%+v", got)
		}
		w.setCut("ap-us", false)
		got, err := us.verify.Repair(t.Context(), table.ID)
		if err != nil || got.State != repair.Converged || got.Replicas[0].Repaired != 2 || got.Replicas[1].Repaired != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		for _, n := range w.nodes {
			verify(n, repair.Converged)
		}
		// The digests that the stores keep are right again, too.
		s := joinStory{w: w, owner: "eu", table: table.ID}
		if got := s.equal(); got != "ap eu us: 300 items\n" {
			t.Error(got)
		}
	}, "ap", "eu", "us")
}

func TestVerifyRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu")
		if got, err := eu.verify.Verify(t.Context(), table.ID); err != nil || got.State != repair.Converged || len(got.Replicas) != 0 {
			t.Errorf("a single replica: %+v, %v", got, err)
		}
		_, err := us.verify.Verify(t.Context(), table.ID)
		wantError(t, err, globaltable.NotFound, "no active replica in this region")
		for name, r := range map[string]repair.RepairRequest{
			"too many":        {Table: table.ID, Version: table.Version, Buckets: make([]int, 17)},
			"no such bucket":  {Table: table.ID, Version: table.Version, Buckets: []int{repair.Buckets}},
			"another version": {Table: table.ID, Version: table.Version + 1},
		} {
			if err := eu.verify.HandleRepair(t.Context(), us.self, &r); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		for name, r := range map[string]repair.DigestsRequest{
			"nothing":         {Table: table.ID, Version: table.Version, From: 5, To: 5},
			"too many":        {Table: table.ID, Version: table.Version, From: 0, To: 65},
			"beyond":          {Table: table.ID, Version: table.Version, From: 1020, To: 1025},
			"before":          {Table: table.ID, Version: table.Version, From: -1, To: 5},
			"another version": {Table: table.ID, Version: table.Version + 1, From: 0, To: 5},
			"a stranger":      {Table: table.ID, Version: table.Version, From: 0, To: 5},
			"the catalog":     {Table: globaltable.SystemTable, From: 0, To: 5},
		} {
			if d, err := eu.server.Digests(t.Context(), us.self, &r); err == nil || d != nil {
				t.Errorf("%s: %v", name, d)
			}
		}
		// While a replica is being made it is neither compared nor compared with.
		w.until("heard", func() bool { return len(eu.plane.Unheard()) == 0 })
		w.setCut("us", true)
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"us"}}); err != nil {
			t.Fatal(err)
		}
		if got, err := eu.verify.Verify(t.Context(), table.ID); err != nil || len(got.Replicas) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	}, "eu", "us")
}
