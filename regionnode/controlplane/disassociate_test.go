package controlplane

import (
	"fmt"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// leaver follows a replica of orders in us that becomes a table of its own.
type leaver struct {
	w     *world
	table globaltable.TableID
	wrote int // items, all of different ids
}

// disassociate asks us.
func (w *world) disassociate() (*globaltable.Table, error) {
	return w.nodes["us"].plane.UpdateTable(w.t.Context(), "orders", catalog.Change{Disassociate: &catalog.Disassociation{Region: "us", Confirmed: true}})
}

// put writes an item by the name that the table has in a region.
func (l *leaver) put(region string) {
	l.w.t.Helper()
	n := l.w.nodes[region]
	t, ok := n.catalog.View().Lookup("orders")
	if !ok {
		l.w.t.Fatalf("%s has no table of the name", region)
	}
	l.wrote++
	id := fmt.Sprint("item ", l.wrote)
	if err := n.write(t.ID, id, false); err != nil {
		l.w.t.Fatalf("%s: %v", region, err)
	}
}

func (l *leaver) replica(region string) *globaltable.Replica {
	t, ok := l.w.nodes[region].catalog.View().Table(l.table)
	if !ok {
		return nil
	}
	return t.ReplicaNamed("us")
}

// successor is the table that us makes, as us knows it.
func (l *leaver) successor() *globaltable.Table {
	var out *globaltable.Table
	l.w.nodes["us"].catalog.View().Tables(func(t *globaltable.Table) bool {
		for _, r := range t.Replicas {
			if r.Succeeds.Table == l.table {
				out = t
			}
		}
		return true
	})
	return out
}

func (l *leaver) mirror() commit.MirrorStatus {
	m, _ := l.w.nodes["us"].shard.Mirror(l.table)
	return m
}

func (l *leaver) fill(limit int) {
	if _, err := l.w.nodes["us"].shard.FillMirror(l.w.t.Context(), l.table, limit); err != nil {
		l.w.t.Fatal(err)
	}
}

// named is the table that has the name in us.
func (l *leaver) named() globaltable.TableID {
	t, ok := l.w.nodes["us"].catalog.View().Lookup("orders")
	if !ok {
		l.w.t.Fatal("us has no table of the name")
	}
	return t.ID
}

// steps are the states that the replica goes through, in order. Each is reached by what until does, and do.
var leaverSteps = []struct {
	name    string
	do      func(*leaver)
	reached func(*leaver) bool
}{
	{"asked", func(l *leaver) {
		if _, err := l.w.disassociate(); err != nil {
			l.w.t.Fatal(err)
		}
	}, func(l *leaver) bool { r := l.replica("us"); return r != nil && r.Disassociating() }},
	{"with a successor", nil, func(l *leaver) bool { return l.successor() != nil && l.mirror().To == l.successor().ID }},
	{"copied in part", func(l *leaver) { l.fill(2) }, func(l *leaver) bool { return l.mirror().Percent > 0 }},
	{"copied", func(l *leaver) {
		for !l.mirror().Full {
			l.fill(3)
		}
	}, func(l *leaver) bool { return l.mirror().Full }},
	{"over", nil, func(l *leaver) bool { return l.named() != l.table }},
	{"gone", nil, func(l *leaver) bool { return l.replica("eu") == nil && l.replica("us") == nil }},
}

// run goes through the steps; between any two of them there are writes everywhere, and at is called.
func (l *leaver) run(regions []string, at func(step int)) {
	for i, s := range leaverSteps {
		if s.do != nil {
			s.do(l)
		}
		l.w.until(s.name, func() bool { return s.reached(l) })
		at(i)
		for _, region := range regions {
			l.put(region)
		}
	}
}

// check makes sure that what was written up to the change of the name, and by its side afterwards, is on each side. inUs is how many items us has to have, elsewhere how many the others.
func (l *leaver) check(others []string, inUs, elsewhere int64) {
	l.w.t.Helper()
	us, heir := l.w.nodes["us"], l.named()
	l.w.until("the others have all", func() bool {
		for _, o := range others {
			if l.w.nodes[o].count(l.table) != elsewhere {
				return false
			}
		}
		return true
	})
	if got := us.count(heir); got != inUs {
		l.w.t.Errorf("us has %d items, want %d", got, inUs)
	}
	l.w.until("what is left is dropped", func() bool { return us.count(l.table) == 0 })
	t, _ := us.catalog.View().Table(heir)
	if t.StatusIn(us.self.Origin) != globaltable.Active || len(t.Replicas) != 1 || t.Owner != us.self.Origin {
		l.w.t.Errorf("what us has: %s", globaltable.EncodeTable(t))
	}
	for _, o := range others {
		got, ok := l.w.nodes[o].catalog.View().Lookup("orders")
		if !ok || got.ID != l.table || got.StatusIn(l.w.nodes[o].self.Origin) != globaltable.Active || len(got.Replicas) != len(others) {
			l.w.t.Errorf("%s has %v", o, got)
		}
	}
	if len(us.shard.Mirrors()) > 0 {
		l.w.t.Error("it is copied still")
	}
}

// TestDisassociate: the replica of a region that does not own the table becomes one of its own, while all are written. Then the table cannot come back where its name is taken, and the new one can get replicas.
func TestDisassociate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		l := &leaver{w: w, table: w.make("orders", "eu", "ap", "us").ID}
		regions := []string{"ap", "eu", "us"}
		for range 3 {
			for _, r := range regions {
				l.put(r)
			}
		}
		l.run(regions, func(int) {})
		// 9 before, 3 in each of the four steps before the change of the name; then one each in two.
		l.check([]string{"ap", "eu"}, 9+12+2, 9+12+4)

		if _, err := w.nodes["eu"].plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"us"}}); err != nil {
			t.Fatal(err)
		}
		w.until("refused", func() bool {
			return strings.HasPrefix(w.nodes["eu"].replica("orders", "us"), "CREATION_FAILED: A table named orders exists already")
		})
		if _, err := w.nodes["us"].plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"sa"}}); err != nil {
			t.Fatal(err)
		}
		w.until("in sa", func() bool {
			return w.nodes["sa"].status("orders") == globaltable.Active && w.nodes["sa"].count(l.named()) == 23
		})
		if _, err := w.nodes["us"].plane.DeleteTable(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		w.until("us is free", func() bool { return w.nodes["us"].status("orders") == "" })
		for _, change := range []catalog.Change{{Delete: []string{"us"}}, {Create: []string{"us"}}} {
			if _, err := w.nodes["eu"].plane.UpdateTable(t.Context(), "orders", change); err != nil {
				t.Fatal(err)
			}
		}
		w.until("a replica again", func() bool {
			return w.nodes["us"].status("orders") == globaltable.Active && w.nodes["us"].count(l.table) == 25
		})
	}, "ap", "eu", "sa", "us")
}

// TestDisassociateOfTwo: of two replicas both become tables in one region; here the one that owns the table leaves, and stays the owner of what it has left.
func TestDisassociateOfTwo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		l := &leaver{w: w, table: w.make("orders", "us", "eu").ID}
		for range 5 {
			l.put("us")
		}
		l.run([]string{"eu", "us"}, func(int) {})
		l.check([]string{"eu"}, 5+8+2, 5+8+2)
		if t2, _ := w.nodes["eu"].catalog.View().Lookup("orders"); t2.Owner != w.nodes["us"].self.Origin {
			t.Error("another owns it")
		}
		if _, err := w.nodes["eu"].plane.DeleteTable(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		w.until("deleted", func() bool {
			return w.nodes["eu"].status("orders") == "" && w.nodes["us"].status("orders") == globaltable.Active
		})
	}, "eu", "us")
}

// TestDisassociateOverCrashes: the region that leaves, or the owner, dies between any two steps and goes on from its disk.
func TestDisassociateOverCrashes(t *testing.T) {
	for _, dies := range []string{"us", "eu"} {
		for step := range leaverSteps {
			t.Run(fmt.Sprintf("%s dies when it is %s", dies, leaverSteps[step].name), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					l := &leaver{w: w, table: w.make("orders", "eu", "ap", "us").ID}
					for range 8 {
						l.put("us")
					}
					l.run([]string{"eu", "us"}, func(i int) {
						if i == step {
							w.restart(dies)
						}
					})
					l.check([]string{"ap", "eu"}, 8+8+2, 8+8+2)
				}, "ap", "eu", "us")
			})
		}
	}
}

// TestDisassociateWaits for what was written before: while a region is out of reach, or has not applied it, the replica stays, and it is said why.
func TestDisassociateWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		l := &leaver{w: w, table: w.make("orders", "eu", "ap", "us").ID}
		l.put("us")
		w.setCut(linkName("ap", "us"), true)
		if _, err := w.disassociate(); err != nil {
			t.Fatal(err)
		}
		says := func(what string) {
			t.Helper()
			w.until(what, func() bool {
				if l.mirror().To != 0 && !l.mirror().Full {
					l.fill(10)
				}
				return w.nodes["eu"].replica("orders", "us") == "UPDATING: Waiting for "+what+"."
			})
		}
		says("ap to adopt the change")
		w.mu.Lock()
		w.behind = true
		w.mu.Unlock()
		w.setCut(linkName("ap", "us"), false)
		says("ap and us to apply what each other wrote and eu and us to apply what each other wrote")
		l.put("us")
		for _, refused := range []func() error{
			func() error { _, err := w.disassociate(); return err },
			func() error {
				_, err := w.nodes["eu"].plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"sa"}})
				return err
			},
			func() error { _, err := w.nodes["us"].plane.DeleteTable(t.Context(), "orders"); return err },
			func() error { _, err := w.nodes["ap"].plane.DeleteTable(t.Context(), "orders"); return err },
		} {
			wantError(t, refused(), globaltable.InUse, "Attempt to change a resource which is still in use: Table is being updated: orders")
		}
		if percent, ok := w.nodes["eu"].plane.ReplicaProgress(l.table, w.nodes["us"].self.Origin); !ok || percent != 100 {
			t.Errorf("the owner tells %d%%, %v", percent, ok)
		}
		w.mu.Lock()
		w.behind = false
		w.mu.Unlock()
		w.until("gone", func() bool { return l.replica("eu") == nil })
		l.check([]string{"ap", "eu"}, 2, 2)
	}, "ap", "eu", "sa", "us")
}

// TestDisassociateIsCalledOff when its region is fenced: the table that was being made ends everywhere, and the name was never its own.
func TestDisassociateIsCalledOff(t *testing.T) {
	for step := range 4 {
		t.Run(leaverSteps[step].name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				l := &leaver{w: w, table: w.make("orders", "eu", "ap", "us").ID}
				for range 5 {
					l.put("us")
				}
				w.mu.Lock()
				w.behind = true // so that it does not go on
				w.mu.Unlock()
				for i := 0; i <= step; i++ {
					s := leaverSteps[i]
					if s.do != nil {
						s.do(l)
					}
					w.until(s.name, func() bool { return s.reached(l) })
				}
				var heir globaltable.TableID
				if r := l.replica("eu"); r != nil {
					heir = r.Successor
				}
				if heir == 0 {
					t.Fatal("no successor is named")
				}
				w.nodes["us"].stop()
				delete(w.nodes, "us")
				if err := w.nodes["eu"].plane.FenceRegion(t.Context(), "us"); err != nil {
					t.Fatal(err)
				}
				w.until("us is fenced", func() bool { return strings.HasPrefix(w.nodes["eu"].replica("orders", "us"), "FENCED") })
				w.until("what was being made has ended", func() bool {
					for _, n := range w.nodes {
						if got, ok := n.catalog.View().Table(heir); ok && !got.Deleted {
							return false
						}
					}
					return true
				})
				if got := w.nodes["eu"].count(l.table); got != 5 {
					t.Errorf("eu has %d items", got)
				}
				if r := l.replica("eu"); r.Successor != 0 {
					t.Error("it has a successor")
				}
			}, "ap", "eu", "us")
		})
	}
}
