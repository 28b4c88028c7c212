package catalog

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable"
)

// TestAnyOrderEndsAlike: whatever the order in which regions adopt, are asked, are out of reach and crash, the replicas end as they would
// without any of that.
func TestAnyOrderEndsAlike(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, "ap", "eu", "us")
		owner, _ := w.region("eu")
		table, err := Create(specOf("orders"), globaltable.NewTableID(1000<<16, owner.Origin), owner, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.issue(table); err != nil {
			t.Fatal(err)
		}
		id := table.ID
		// What the regions hold when they first hear of the change decides the end.
		usTaken, euHolds := rapid.Bool().Draw(rt, "name taken in us"), rapid.Bool().Draw(rt, "items in eu")
		if usTaken {
			us, _ := w.region("us")
			other, err := Create(specOf("orders"), globaltable.NewTableID(2000<<16, us.Origin), us, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.issue(other); err != nil {
				t.Fatal(err)
			}
		}
		w.places["eu"].holds[id] = euHolds
		step := func(next *globaltable.Table, err error) {
			if err != nil {
				rt.Fatal(err)
			}
			if err := w.issue(next); err != nil {
				rt.Fatal(err)
			}
		}
		shake := func() {
			for range rapid.IntRange(0, 30).Draw(rt, "steps") {
				region := rapid.SampledFrom([]string{"ap", "eu", "us"}).Draw(rt, "region")
				switch rapid.IntRange(0, 4).Draw(rt, "what") {
				case 0:
					w.mustAdopt(rt, region, id)
				case 1:
					w.open(t, region)
				case 2:
					w.leave(region, id)
				case 3:
					w.join(region, id)
				case 4:
					w.advance(rt, id, func(string) bool { return rapid.Bool().Draw(rt, "heard") })
				}
			}
			w.quiesce(rt, id)
		}
		step(Update(w.issued[id], &Change{Create: []string{"ap", "us"}}, 1, w.region))
		shake()
		got := w.issued[id]
		for region, failed := range map[string]bool{"ap": false, "us": usTaken} {
			want := globaltable.Active
			if failed {
				want = globaltable.CreationFailed
			}
			if r := got.ReplicaNamed(region); r == nil || r.Status != want {
				rt.Fatalf("%s is not %s:\n%s", region, want, w.show(got))
			}
			if holds := w.places[region].holds[id]; holds != (euHolds && !failed) {
				rt.Fatalf("%s has the data: %v", region, holds)
			}
		}
		// And back: each region deletes its replica; the last one kills the table.
		for _, region := range []string{"ap", "us", "eu"} {
			if got = w.issued[id]; got.StatusIn(mustRegion(w, region).Origin) != "" {
				step(Remove(got, region, got.Version.Epoch()))
				shake()
			}
		}
		if got = w.issued[id]; !got.Deleted {
			rt.Fatalf("not dead:\n%s", w.show(got))
		}
		for name, p := range w.places {
			if p.Admits(id, nil, 0) || p.holds[id] {
				rt.Fatalf("%s still has the table:\n%s", name, w.show(got))
			}
		}
	})
}

func mustRegion(w *world, name string) globaltable.Descriptor {
	d, ok := w.region(name)
	if !ok {
		panic(fmt.Sprintf("no region %s", name))
	}
	return d
}

func (w *world) mustAdopt(rt *rapid.T, region string, id globaltable.TableID) {
	if _, err := w.adopt(region, w.issued[id]); err != nil {
		rt.Fatal(err)
	}
}

func (w *world) advance(rt *rapid.T, id globaltable.TableID, heard func(string) bool) bool {
	t := w.issued[id]
	next, ok := Advance(t, w.ask(t, heard).Answers, t.Version.Epoch())
	if !ok {
		return false
	}
	if err := next.Validate(); err != nil {
		rt.Fatal(err)
	}
	if err := w.issue(next); err != nil {
		rt.Fatal(err)
	}
	return true
}

// quiesce lets everything arrive until nothing follows.
func (w *world) quiesce(rt *rapid.T, id globaltable.TableID) {
	for more := true; more; {
		for name := range w.places {
			w.mustAdopt(rt, name, id)
			w.leave(name, id)
		}
		for name := range w.places {
			w.join(name, id)
		}
		more = w.advance(rt, id, func(string) bool { return true })
	}
	if !w.issued[id].Settled() {
		rt.Fatalf("nothing follows, and it is unfinished:\n%s", w.show(w.issued[id]))
	}
}
