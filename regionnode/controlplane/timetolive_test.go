package controlplane

import (
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/repair"
)

// writeFor writes an item that expires after a while.
func (n *node) writeFor(table globaltable.TableID, id string, d time.Duration) {
	n.w.t.Helper()
	var b item.Builder
	b.Add([]byte("id"), item.AppendString(nil, id))
	b.Add([]byte("ttl"), item.AppendInt(nil, time.Now().Add(d).Unix()))
	it, err := b.AppendItem(nil)
	if err != nil {
		n.w.t.Fatal(err)
	}
	err = n.shard.Write(n.w.t.Context(), &commit.Write{Keys: []commit.Key{{Table: table, Bytes: keyOf(n.w.t, id)}},
		Plan: func([]commit.Current) ([][]conflict.Op, error) {
			return [][]conflict.Op{conflict.RecordPut(nil, it)}, nil
		}})
	if err != nil {
		n.w.t.Fatal(err)
	}
}

func (n *node) seen(table globaltable.TableID) (items int) {
	n.w.t.Helper()
	err := n.shard.Walk(n.w.t.Context(), commit.Range{Table: table}, func(item.Key, commit.Current) bool {
		items++
		return true
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return items
}

// TestTimeToLiveInAllRegions: any region changes the setting, all follow; items vanish everywhere at one moment, are erased by each when the frontier allows it, and no comparison sees a difference in that.
func TestTimeToLiveInAllRegions(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu", "us")
		begin := time.Now()
		if _, err := us.plane.UpdateTable(t.Context(), "orders", catalog.Change{TimeToLive: &catalog.TimeToLive{Attribute: "ttl", Enabled: true}}); err != nil {
			t.Fatal(err)
		}
		for name, n := range w.nodes {
			doc, _ := n.catalog.View().Table(table.ID)
			if len(doc.Expiry) != 1 || doc.Expiry[0].From.Time().Sub(begin) < catalog.TimeToLiveLead {
				t.Errorf("%s has %+v", name, doc.Expiry)
			}
			if status, _ := doc.TimeToLive(n.shard.Now()); status != globaltable.TTLEnabling {
				t.Errorf("%s: %s", name, status)
			}
		}
		w.pass(catalog.TimeToLiveLead)
		eu.writeFor(table.ID, "short", 5*time.Second)
		us.writeFor(table.ID, "long", time.Hour)
		w.settle()
		for _, n := range w.nodes {
			if got := n.seen(table.ID); got != 2 {
				t.Errorf("%s sees %d items", n.self.Name, got)
			}
		}
		w.pass(5 * time.Second)
		for _, n := range w.nodes {
			if got := n.seen(table.ID); got != 1 {
				t.Errorf("%s sees %d items, when one has expired", n.self.Name, got)
			}
		}
		verify := func() {
			t.Helper()
			for _, n := range w.nodes {
				if got, err := n.verify.Verify(t.Context(), table.ID); err != nil || got.State != repair.Converged || got.Items != 1 {
					t.Errorf("%s: %+v, %v", n.self.Name, got, err)
				}
			}
		}
		verify()
		// One has erased it, the other one has not: where a bucket is looked at closely, for another item's sake, that is no difference.
		beside := ""
		for i := 0; beside == ""; i++ {
			if id := itemName(i); keyOf(t, id).Bucket(10) == keyOf(t, "short").Bucket(10) {
				beside = id
			}
		}
		lost := func() {
			t.Helper()
			if err := us.write(table.ID, beside, false); err != nil {
				t.Fatal(err)
			}
			w.settle()
			eu.plant(table.ID, beside, func([]byte) []byte { return nil })
			if got, err := us.verify.Verify(t.Context(), table.ID); err != nil || got.Replicas[0].Keys != 1 {
				t.Errorf("%+v, %v", got, err)
			}
			for _, n := range w.nodes {
				n.plant(table.ID, beside, func([]byte) []byte { return nil })
				if err := n.shard.RebuildDigest(t.Context(), table.ID, keyOf(t, beside).Bucket(10)); err != nil {
					t.Fatal(err)
				}
			}
		}
		doc, _ := eu.catalog.View().Table(table.ID)
		for _, n := range []*node{eu, us} {
			for done := false; !done; {
				var err error
				if done, err = n.shard.FollowExpiry(t.Context(), table.ID, 100); err != nil {
					t.Fatal(err)
				}
			}
			n.shard.RaisePurge(table.ID, doc.Version, hlc.FromTime(time.Now()), n.shard.Now())
			if c, err := n.shard.Collect(t.Context(), table.ID, nil, 100); err != nil || c.Expired != 1 {
				t.Errorf("%s: %+v, %v", n.self.Name, c, err)
			}
			verify()
			lost()
		}
		// A repair brings nothing back.
		eu.plant(table.ID, "long", func([]byte) []byte { return nil })
		if got, err := eu.verify.Repair(t.Context(), table.ID); err != nil || got.State != repair.Converged || eu.count(table.ID) != 1 {
			t.Errorf("%+v, %v, %d items", got, err, eu.count(table.ID))
		}
	}, "eu", "us")
}

// TestTimeToLiveOfTheOwner: the owner's word about the time to live counts, with a replica of the table or without.
func TestTimeToLiveOfTheOwner(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		table := w.make("orders", "eu", "us")
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{TimeToLive: &catalog.TimeToLive{Attribute: "ttl", Enabled: true}}); err != nil {
			t.Fatal(err)
		}
		if _, err := eu.plane.DeleteTable(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		w.until("eu has left", func() bool {
			doc, ok := us.catalog.View().Table(table.ID)
			return ok && doc.Settled() && doc.Replica(eu.self.Origin) == nil
		})
		us.catalog.View().Held(func(h catalog.Held) {
			if h.Table == table.ID && (!h.Counted.Has(eu.self.Origin) || h.Placement.Has(eu.self.Origin)) {
				t.Errorf("counted %v, placement %v", h.Counted, h.Placement)
			}
		})
		// And it can still be changed, from where it is.
		if _, err := us.plane.UpdateTable(t.Context(), "orders", catalog.Change{TimeToLive: &catalog.TimeToLive{}}); err != nil {
			t.Error(err)
		}
	}, "eu", "us")
}

// TestTimeToLiveInTime: a document that would be stamped after the moment from which it holds is not written.
func TestTimeToLiveInTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu := w.nodes["eu"]
		table := w.make("orders", "eu")
		next, err := catalog.Update(table, &catalog.Change{TimeToLive: &catalog.TimeToLive{Attribute: "ttl", Enabled: true, At: hlc.FromTime(time.Now())}}, table.Version.Epoch(), nil)
		if err != nil {
			t.Fatal(err)
		}
		err = eu.plane.put(t.Context(), cause{}, table, next)
		if globaltable.KindOf(err) != globaltable.Unavailable {
			t.Errorf("written: %v", err)
		}
		if doc, _ := eu.catalog.View().Table(table.ID); doc.Version != table.Version {
			t.Error("the document is in force")
		}
	}, "eu")
}
