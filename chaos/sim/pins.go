package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// Locality policies: operators pin items to regions, move them, let them go everywhere again, in quick succession, whatever else goes wrong meanwhile. What a region has told that it has carried out holds from
// then on, for all that it keeps and gives: see residency.go.

// matches is what policies are about, over the keys k0, k1, …: all of them, those that begin alike, one alone, and none.
var matches = []globaltable.Match{
	{KeyPrefix: "k"},
	{KeyPrefix: "k1"},
	{KeyPrefix: "k0"},
	{KeyPrefix: "k2"},
	{Delimiter: "k", Component: 2, Equals: "3"},
	{Delimiter: "k", Component: 2, Equals: "1"},
	{KeyPrefix: "EU#"},
}

// pins chooses whether policies change, with randomness of its own.
func (p *plan) pins(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x70696e73))
	p.crashPlacing = some(rng, 0.4, 0.1)
	p.repin = sometimes(rng, 0.4, 20*time.Millisecond, 500*time.Millisecond)
	p.alone = rng.IntN(2) == 0
	if p.exile = rng.IntN(8) == 0; p.exile {
		p.alone = false // or nobody would be fenced
		p.repin, p.fence = cmp.Or(p.repin, 500*time.Millisecond), cmp.Or(p.fence, 500*time.Millisecond)
	}
}

// exiles has operators pin some items of each table to the other regions while one is fenced, or on its way back: what only that one has it may not keep then.
func (w *world) exiles(r *region) {
	if !w.plan.exile || w.standing(r) != globaltable.MemberFenced {
		return
	}
	for i := range w.plan.tables {
		t := &w.plan.tables[i]
		asked := w.anyRegion()
		if doc, ok := asked.named(t); asked.up && asked != r && ok && doc.Replica(r.origin) != nil && !exiled(doc, r) && !w.losing() {
			w.exile(asked, t, doc, r)
		}
	}
	w.after(between(w.rng, 100*time.Millisecond, time.Second), func() { w.exiles(r) })
}

// exiled reports whether some policy of a table keeps a region out.
func exiled(doc *globaltable.Table, r *region) bool {
	return slices.ContainsFunc(doc.Pins, func(p globaltable.Pin) bool { return !p.Released && !p.Allows(doc.Replica(r.origin)) })
}

// exile asks a region for policies that keep some items of a table out of another one.
func (w *world) exile(asked *region, t *table, doc *globaltable.Table, out *region) {
	p := globaltable.Pin{Name: "policy-0", Match: matches[w.rng.IntN(2)], Foreign: globaltable.Reject}
	for i := range doc.Replicas {
		if o := &doc.Replicas[i]; o.Origin != out.origin {
			p.Regions = append(p.Regions, o.Region)
		}
	}
	slices.Sort(p.Regions)
	if len(p.Regions) < 2 {
		return
	}
	w.membership.last = w.now
	plane := asked.plane
	w.changes++
	asked.spawn(fmt.Sprintf("change %d", w.changes), func(ctx context.Context) {
		_, _ = plane.UpdateTable(ctx, t.name, catalog.Change{Pins: &catalog.PinChange{Set: []globaltable.Pin{p}}})
	}, nil)
}

// bares reports whether items could be left without a region if these went out: nobody promises anything for them then. It errs on that side.
func (w *world) bares(out ...*region) bool {
	if w.plan.repin == 0 {
		return false
	}
	if w.plan.alone || len(out) > 1 || slices.ContainsFunc(w.regions, func(r *region) bool {
		s := w.standing(r)
		return !slices.Contains(out, r) && s != globaltable.MemberActive && s != globaltable.MemberRemoved
	}) {
		return true
	}
	stays := func(o hlc.Origin) bool { return !slices.Contains(out, w.region(o)) }
	return slices.ContainsFunc(w.plan.tables, func(t table) bool {
		doc := w.document(t.id)
		return doc != nil && slices.ContainsFunc(doc.Pins, func(p globaltable.Pin) bool {
			return !p.Released && !slices.ContainsFunc(locality.PlaceOf(doc, &p), stays)
		})
	})
}

// repin asks some region for other policies of some table.
func (w *world) repin() {
	asked := w.anyRegion()
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !asked.up || w.losing() {
		return
	}
	doc, ok := asked.named(t)
	if !ok || !doc.Settled() && w.rng.IntN(4) > 0 {
		return
	}
	change := w.newPins(doc)
	w.membership.last = w.now
	cut := w.someoneCut(nil)
	plane := asked.plane
	w.changes++
	n := w.changes
	asked.spawn(fmt.Sprintf("change %d", n), func(ctx context.Context) {
		_, err := plane.UpdateTable(ctx, t.name, catalog.Change{Pins: change})
		_ = asked.await(ctx, "note", func(func(error)) {
			if err != nil {
				asked.note("%d does not change the policies of table %s: %v", asked.origin, t.name, err)
				return
			}
			asked.note("%d has changed the policies of table %s: %+v", asked.origin, t.name, *change)
			asked.cover("policies were changed")
			if cut {
				asked.cover("a policy was changed while a region was cut off")
			}
		})
	}, nil)
}

// unpin takes back policies of tables some of whose items they leave to nobody: one that was made while the last of its regions was being removed. Those that leave one copy now have to be taken back with it.
func (w *world) unpin() {
	for i := range w.plan.tables {
		t := &w.plan.tables[i]
		doc, stranded := w.document(t.id), false
		if doc == nil {
			continue
		}
		var change catalog.PinChange
		for _, p := range doc.Pins {
			if copies := len(locality.PlaceOf(doc, &p)); !p.Released && (copies == 0 || copies == 1 && !p.SingleCopy) {
				change.Remove = append(change.Remove, p.Name)
				stranded = stranded || copies == 0
			}
		}
		if !stranded {
			continue
		}
		for _, r := range w.active() {
			if !r.up || doc.Replica(r.origin) == nil {
				continue
			}
			plane := r.plane
			w.changes++
			r.spawn(fmt.Sprintf("change %d", w.changes), func(ctx context.Context) {
				_, err := plane.UpdateTable(ctx, t.name, catalog.Change{Pins: &change})
				_ = r.await(ctx, "note", func(func(error)) {
					r.note("%d takes back policies of table %s whose regions have gone: %v", r.origin, t.name, err)
				})
				if err == nil {
					w.cover("policies were taken back whose regions have gone")
				}
			}, nil)
			break
		}
	}
}

// newPins is a change of one to three policies.
func (w *world) newPins(doc *globaltable.Table) *catalog.PinChange {
	var change catalog.PinChange
	for range 1 + w.rng.IntN(3) {
		name := fmt.Sprint("policy-", w.rng.IntN(3))
		is := func(p globaltable.Pin) bool { return p.Name == name }
		old := slices.IndexFunc(doc.Pins, func(p globaltable.Pin) bool { return is(p) && !p.Released })
		switch {
		case slices.ContainsFunc(change.Set, is) || slices.Contains(change.Remove, name):
		case old >= 0 && w.rng.IntN(3) == 0:
			change.Remove = append(change.Remove, name)
		default:
			p := globaltable.Pin{Name: name, Match: matches[w.rng.IntN(len(matches))], Foreign: globaltable.Reject, Regions: w.someRegions(doc), SingleCopy: w.plan.alone}
			if old >= 0 && w.rng.IntN(2) == 0 {
				p.Match = doc.Pins[old].Match
			}
			change.Set = append(change.Set, p)
		}
	}
	return &change
}

// someRegions is some of the regions that have a replica of a table, at least one, sorted.
func (w *world) someRegions(doc *globaltable.Table) (names []string) {
	for i := range doc.Replicas {
		if w.rng.IntN(2) == 0 {
			names = append(names, doc.Replicas[i].Region)
		}
	}
	if len(names) == 0 {
		names = []string{doc.Replicas[w.rng.IntN(len(doc.Replicas))].Region}
	}
	slices.Sort(names)
	return names
}
