package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
)

// newestWorld is the newest document of the world that any region knows; nil while there is none: all regions are members.
func (w *world) newestWorld() (newest *globaltable.World) {
	for _, r := range w.regions {
		if r.catalog == nil || r.gone { // what burnt with a region is void
			continue
		}
		if doc, ok := r.catalog.View().World(); ok && (newest == nil || doc.Version > newest.Version) {
			newest = doc
		}
	}
	return newest
}

// standing is what a region is to the others.
func (w *world) standing(r *region) globaltable.MemberState {
	if doc := w.newestWorld(); doc != nil {
		return doc.Member(r.origin).State
	}
	return globaltable.MemberActive
}

// active is the regions that are active members.
func (w *world) active() (out []*region) {
	for _, r := range w.regions {
		if w.standing(r) == globaltable.MemberActive {
			out = append(out, r)
		}
	}
	return out
}

// noticeWorld notes what became of the members.
func (w *world) noticeWorld() {
	doc := w.newestWorld()
	if doc == nil || doc.Version == w.membership.version {
		return
	}
	w.membership.version = doc.Version
	for i := range doc.Members {
		m := &doc.Members[i]
		r := w.region(m.Descriptor.Origin)
		for _, inc := range r.stores {
			switch {
			case m.State == globaltable.MemberActive && (m.Incarnation == 0 || m.Incarnation == inc):
				if inc == r.fresh {
					r.fresh = 0
				}
				if inc == r.stores[len(r.stores)-1] && !r.again[inc] {
					w.ledger.Reopen(uint16(r.origin), uint64(inc))
				}
			case inc != r.fresh:
				w.ledger.Close(uint16(r.origin), uint64(inc))
			}
		}
		if was := w.membership.states[r.origin]; was != m.State {
			w.noticeMember(r, m.State)
			w.membership.states[r.origin] = m.State
		}
	}
}

func (w *world) noticeMember(r *region, now globaltable.MemberState) {
	if now != globaltable.MemberActive || w.membership.states[r.origin] != "" {
		w.tell("%s is %s", r.name(), now)
	}
	switch now {
	case globaltable.MemberFencing, globaltable.MemberRemoving:
		r.disturbed = true
		if slices.ContainsFunc(w.plan.tables, func(t table) bool { doc := w.document(t.id); return doc != nil && isPlacing(doc) }) {
			w.cover("a region was fenced while policies were being carried out")
		}
		if now == globaltable.MemberRemoving && w.someoneCut(r) {
			w.cover("a removal began while another region was cut off")
		}
	case globaltable.MemberFenced:
		w.cover("a region was fenced")
		w.after(0, func() { w.exiles(r) })
		if !r.up {
			w.cover("a region was fenced that was down")
		}
	case globaltable.MemberRemoved:
		w.cover("a region was removed")
	}
}

// someoneCut reports whether a link between others is down.
func (w *world) someoneCut(but *region) bool {
	for _, a := range w.regions {
		for _, b := range w.regions {
			if a != but && b != but && !w.links[[2]hlc.Origin{a.origin, b.origin}].up {
				return true
			}
		}
	}
	return false
}

// membership is what the simulation's operators know and do.
type membershipState struct {
	version globaltable.Version // of the newest document that was noticed
	states  map[hlc.Origin]globaltable.MemberState
	copies  map[hlc.Origin]diskCopy // of disks, as they were a while ago
	victim  *region                 // whose store was lost or restored; one in a run
	orders  int
	until   time.Duration // an order before may still be carried out: two operators who put out each other's region split the world, and nobody promises anything then
	last    time.Duration // when somebody was asked to change members or replicas
}

// orderTakes is how long it may take, at most, until an order is carried out whose answer was lost.
const orderTakes = 12 * time.Second

// commander is a region that can be asked to put others out: one that is not among them and knows no less than any other of these.
func (w *world) commander(out []*region) *region {
	var best []*region
	var newest globaltable.Version
	for _, r := range w.active() {
		if !r.up || slices.Contains(out, r) || len(r.excluded) > 0 {
			continue
		}
		known := r.catalog.Version(globaltable.WorldTable)
		if known > newest {
			best, newest = nil, known
		}
		if known == newest {
			best = append(best, r)
		}
	}
	if len(best) == 0 {
		return nil
	}
	return best[w.rng.IntN(len(best))]
}

// splits reports whether one of those that are to go out has put out a region that is not among them, and this one does not know it. The order would be carried out by a world that still counts on that region, and
// nobody in it would take the document from whoever goes out: two operators would have put out each other's region.
func (r *region) splits(out []*region) bool {
	mine := r.catalog.View()
	for _, o := range out {
		if o.gone || o.catalog == nil || o.catalog.Version(globaltable.WorldTable) <= r.catalog.Version(globaltable.WorldTable) {
			continue
		}
		for _, other := range r.regions {
			if !slices.Contains(out, other) && mine.Active(other.origin) && !o.catalog.View().Active(other.origin) {
				return true
			}
		}
	}
	return false
}

// order asks a region to change the members.
func (w *world) order(out []*region, what string, do func(ctx context.Context, p *controlplane.Plane) error) {
	if w.now < w.membership.until {
		return
	}
	asked := w.commander(out)
	if asked == nil || asked.splits(out) {
		return
	}
	w.membership.orders++
	w.membership.last, w.membership.until = w.now, w.now+orderTakes
	plane, name := asked.plane, fmt.Sprintf("order %d", w.membership.orders)
	w.note("%d is asked to %s", asked.origin, what)
	var err error
	asked.spawn(name, func(ctx context.Context) { err = do(ctx, plane) }, func() {
		asked.note("%d was asked to %s: %v", asked.origin, what, err)
		if k := globaltable.KindOf(err); err == nil || k != globaltable.Unknown && k != globaltable.Internal {
			w.membership.until = w.now + 300*time.Millisecond
		}
	})
}

// anyMember is an active member that is not the only one, nil if there is none.
func (w *world) anyMember() *region {
	active := w.active()
	if len(active) < 2 {
		return nil
	}
	return active[w.rng.IntN(len(active))]
}

// fence has a region fenced: one that works, one that is cut off, one that is down, or has burnt down with all that it had.
func (w *world) fence() {
	r := w.anyMember()
	if r == nil || w.losing() || w.bares(r) {
		return
	}
	switch w.rng.IntN(5) {
	case 0:
		w.isolate(r)
	case 1:
		if r.up {
			r.crash()
		}
	case 2, 3:
		w.burn(r)
	}
	out := []*region{r}
	for _, o := range w.active() { // an owner that is down has to go with it
		if o != r && !o.up && w.rng.IntN(3) == 0 && !w.bares(r, o) {
			out = append(out, o)
		}
	}
	w.orderFence(out)
}

// burn has a region lose all that it had, for ever: one in a run, where two are left.
func (w *world) burn(r *region) {
	if len(w.active()) < 3 || slices.ContainsFunc(w.regions, func(o *region) bool { return o.gone }) {
		return
	}
	if r.up {
		r.crash()
	}
	r.gone = true
	w.note("%d has burnt down", r.origin)
	w.cover("a region burnt down")
}

func (w *world) orderFence(out []*region) {
	var names []string
	for _, r := range out {
		names = append(names, nameOf(r.origin))
	}
	w.order(out, fmt.Sprintf("fence %v", names), func(ctx context.Context, p *controlplane.Plane) error { return p.FenceRegion(ctx, names...) })
}

// removeRegion has a region removed for ever. It goes on, until it hears so, or is gone at once.
func (w *world) removeRegion() {
	r := w.anyMember()
	if r == nil || w.losing() || len(w.active()) == 2 && w.rng.IntN(4) > 0 || w.bares(r) {
		return
	}
	name := nameOf(r.origin)
	if o := w.anyMember(); o != r && w.rng.IntN(3) > 0 {
		w.isolate(o)
	}
	w.order([]*region{r}, "remove "+name, func(ctx context.Context, p *controlplane.Plane) error { return p.RemoveRegion(ctx, name, false) })
}

// losing reports whether a region's store was lost or restored and the region is not back yet: nobody takes copies away meanwhile.
func (w *world) losing() bool { return w.membership.victim != nil && !w.membership.victim.back }

// keepCopy copies a disk.
func (w *world) keepCopy() {
	if r := w.anyRegion(); r.up && r.comeback.State().Step == commit.RebuildNone {
		w.membership.copies[r.origin] = r.copyDisk()
	}
}

// lose has a region lose its store, or get a copy of it back. That is the one thing by which writes can be lost that nobody else has got yet, so it happens where others have all the rest.
func (w *world) lose() {
	r := w.anyMember()
	if r == nil || !w.mayLose(r) {
		return
	}
	w.membership.victim = r
	if r.up {
		r.die(func(int) int { return 0 })
	}
	if c, kept := w.membership.copies[r.origin]; kept && w.rng.IntN(2) == 0 {
		w.note("%d is restored from a copy", r.origin)
		w.cover("a store was restored")
		r.forgive(&c)
		r.replaceDisk(c)
	} else {
		w.note("%d loses its store", r.origin)
		w.cover("a store was lost")
		r.forgive(nil)
		r.replaceDisk(emptyDisk())
	}
	r.damageStreams()
	w.after(between(w.rng, 0, 2*time.Second), r.start)
}

// quietFor is how long nobody must have changed anything before a store is lost.
const quietFor = 8 * time.Second

func (w *world) mayLose(r *region) bool {
	if w.bares(r) || w.membership.victim != nil || w.membership.last > 0 && w.now-w.membership.last < quietFor || len(w.active()) < len(w.regions) {
		return false
	}
	for _, o := range w.regions {
		if o.saving || o.gone || o.up && len(o.excluded) > 0 {
			return false
		}
	}
	for _, t := range w.plan.tables {
		doc, others := w.document(t.id), 0
		if doc == nil || !doc.Settled() {
			return false
		}
		for _, replica := range doc.Replicas {
			if replica.Origin != r.origin && replica.Status == globaltable.Active {
				others++
			}
		}
		if doc.Replica(r.origin) != nil && others == 0 {
			return false
		}
	}
	return true
}

// bringBack is an operator's visit to a region that serves nobody.
func (w *world) bringBack() { w.anyRegion().helped() }

// helped has the region rebuilt, if it knows that it has to be, unless nobody wants it any more.
func (r *region) helped() {
	if !r.up || r.abandoned && r.standing(r) == globaltable.MemberFenced || r.asked {
		return
	}
	if r.excluded[notFollowed]+r.excluded[notHeard]+r.excluded[mustRebuild] == "" || r.excluded[rebuilds] != "" || r.standing(r).Leaves() {
		return
	}
	r.asked = true
	r.rebuild(func(err error) {
		r.asked = false
		if err != nil {
			r.note("%d is not rebuilt: %v", r.origin, err)
		}
	})
}

// giveUp is what operators do about tables that wait for regions which were fenced, since nobody else has their data: those that nobody had wanted any more come back after all, and those that have burnt down are removed,
// whatever is lost with them. Policies all of whose regions have gone are taken back.
func (w *world) giveUp() {
	w.unpin()
	for _, r := range w.regions {
		r.abandoned = false
		if !r.gone || w.standing(r) != globaltable.MemberFenced || !w.awaited(r) {
			continue
		}
		name := nameOf(r.origin)
		w.order([]*region{r}, "remove "+name+", whatever is lost", func(ctx context.Context, p *controlplane.Plane) error { return p.RemoveRegion(ctx, name, true) })
	}
}

// awaited reports whether a table that nobody serves has a replica in a region that is fenced.
func (w *world) awaited(r *region) bool {
	return slices.ContainsFunc(w.plan.tables, func(t table) bool {
		doc := w.document(t.id)
		return doc.Replica(r.origin) != nil && !slices.ContainsFunc(doc.Replicas, func(o globaltable.Replica) bool { return o.Status == globaltable.Active })
	})
}

// helpAll does what operators do when all else is quiet: regions come back, and those that cannot are fenced. One that is being rebuilt cannot issue anything, and some may not have heard that it is out: so it is named with them.
func (w *world) helpAll() {
	for _, r := range w.regions {
		r.helped()
		if !r.gone || w.standing(r) != globaltable.MemberActive {
			continue
		}
		out := []*region{r}
		for _, o := range w.regions {
			if o != r && o.up && o.excluded[rebuilds] != "" {
				out = append(out, o)
			}
		}
		w.orderFence(out)
	}
}
