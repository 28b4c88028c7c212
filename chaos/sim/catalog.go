package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/regionnode/membership"
	"github.com/concordat-db/concordat/streams/repair"
)

const (
	lookEvery = 250 * time.Millisecond // between looks of the control plane and the joiner
	lookSoon  = 2 * time.Millisecond   // after a change of the catalog, at most
)

// openCatalog reads the catalog out of the store, before the shard works with either.
func (r *region) openCatalog() {
	var peers []globaltable.Descriptor
	for _, o := range r.regions {
		if o != r {
			peers = append(peers, identities()[o.origin].descriptor)
		}
	}
	var err error
	if r.catalog, err = catalog.New(identities()[r.origin].descriptor, peers); err == nil {
		err = controlplane.LoadCatalog(r.catalog, r.disk)
	}
	if err != nil {
		panic(fmt.Sprintf("region %d does not read its catalog: %v", r.origin, err))
	}
}

// openPlane makes what decides about tables and brings their data, as regionnode does.
func (r *region) openPlane(state commit.Rebuild) {
	d := &door{r, r.shard, r.manual}
	r.server = repair.NewServer(r.catalog, d, func() map[hlc.Origin]hlc.Timestamp {
		row, _ := r.matrix.Row(r.origin)
		return row.Marks
	})
	var err error
	var comeback *membership.Comeback
	r.joiner, err = repair.New(repair.Config{Catalog: r.catalog, Store: d, CatchUps: catchUps{d}, Peers: neighbours{r}, PageBytes: r.plan.joinBytes, Pages: 64, Events: repair.Events{
		Failed: func(table globaltable.TableID, source string, err error) {
			r.say("%d failed to get %s from %s: %v", r.origin, table, source, err)
		},
		Took: func(globaltable.TableID, string, int, int) { r.cover("a page was exchanged") },
	}, Complete: func(ctx context.Context, table globaltable.TableID, since globaltable.Version) (bool, error) {
		// Joins go on at once, and some of what they ask for next says nothing of the table.
		return comeback.Complete(context.WithValue(ctx, taskName{}, fmt.Sprintf("complete %s", table)), table, since)
	}})
	if err != nil {
		panic(err)
	}
	r.openPlacing(d)
	r.openTriggers(d)
	r.plane, err = controlplane.New(controlplane.Config{Catalog: r.catalog, Door: d, Items: r.shard, Peers: neighbours{r}, Joins: r.joiner, Places: r.placer, Marks: r.matrix, Now: r.wall, Clock: r.clock, Tokens: r.tokens(), Random: nothingSecret{}, Events: controlplane.Events{
		Failed: func(what, region string, err error) { r.say("%d failed to %s %s: %v", r.origin, what, region, err) },
	}})
	if err != nil {
		panic(err)
	}
	comeback = r.newComeback(d, state)
	r.comeback = comeback
	for _, j := range r.catalog.View().Joins() {
		for _, source := range j.Sources {
			if state, err := d.Join(j.Table, source.Origin); err == nil && state != nil {
				r.cover("a join was restarted after a crash")
			}
		}
	}
}

// noticeCatalog is called after syncs: documents come into force in them.
func (r *region) noticeCatalog() {
	view := r.catalog.View()
	if view == r.viewed {
		return
	}
	r.viewed = view
	for _, l := range r.loops {
		l.wake()
	}
	r.noticeView(view)
}

// noticeView takes notice of all that a view has, as a life does at its start, too: the region may have died just after a document had come into force, and the log does not wait for members that were closed before.
func (r *region) noticeView(view *catalog.View) {
	r.noticeMembers(view)
	view.Tables(func(t *globaltable.Table) bool {
		r.noticeTable(t)
		return true
	})
}

// noticeTable notes what became of this region's replica, and has a new one checked when it begins to serve.
func (r *region) noticeTable(t *globaltable.Table) {
	r.promises(t)
	if t.Closing() != 0 {
		r.joined[t.ID], r.joined[t.ID.Feed()] = true, true // all that stay exchange all records
	}
	old, now := r.replicas[t.ID], globaltable.Replica{}
	if mine := t.Replica(r.origin); mine != nil {
		now = *mine
	}
	if now.Since == old.Since && now.Born == old.Born && now.Status == old.Status { // nothing of its settings concerns what is simulated
		return
	}
	r.replicas[t.ID] = now
	if now.Since != old.Since || now.Born != old.Born || now.Status == globaltable.Deleting {
		r.owesNothing(t.ID)
	}
	r.note("%d takes %s of table %s: its replica is %q", r.origin, t.Version, t.Name, now.Status)
	if now.Status != "" {
		r.tell("%s: replica of %s is %s", r.name(), t.Name, now.Status)
	}
	switch {
	case now.Status == globaltable.Creating:
		r.cover("a replica was created")
		r.joined[t.ID], r.joined[t.ID.Feed()] = true, true
	case now.Disassociated():
		r.takeOver(t, now.Successor)
	case now.Status == globaltable.Deleting:
		r.cover("a replica was removed")
	case now.Status == globaltable.Active && old.Status == globaltable.Creating:
		r.cover("a new replica serves")
		r.regainedFrontier(t.ID)
		follows := func(l check.Logged) bool {
			return l.Catalog >= uint64(now.Born) && r.follows(globaltable.LaneID(l.Lane)) || !r.holds(l.Key)
		}
		replica := r.replica()
		for _, id := range []globaltable.TableID{t.ID, t.ID.Feed()} {
			r.evidence.found = append(r.evidence.found, check.Bootstrap(replica, uint64(id), uint64(t.Version), r.ledger, r.purged, follows, r.world.missing)...)
		}
	}
}

// keySchema is that of all tables.
var keySchema = globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: keyAttribute, Type: item.S}}

// found makes the tables of the plan, before the first fault.
func (w *world) found() {
	w.quiet = true
	for i := range w.plan.tables {
		t := &w.plan.tables[i]
		w.make(t, w.region(t.members[w.rng.IntN(len(t.members))]))
	}
	for !w.founded() {
		if !w.advance() {
			panic("the tables were not made")
		}
	}
	for _, r := range w.regions {
		r.noticeCatalog()
		clear(r.joined) // there was nothing to come
		r.offset = w.plan.skew[r.origin]
	}
	clear(w.coverage)
	w.quiet = false
}

// make has a region make a table, and give replicas to the others that are to have it.
func (w *world) make(t *table, owner *region) {
	plane := owner.plane
	owner.spawn("make "+t.name, func(ctx context.Context) {
		made, err := plane.CreateTable(ctx, catalog.Spec{Name: t.name, KeySchema: keySchema, Tags: t.tags, Stream: t.stream})
		if err != nil {
			panic(err)
		}
		t.id = made.ID
		defer w.arm(ctx, owner, t)
		if len(t.members) == 1 {
			return
		}
		var change catalog.Change
		for _, o := range t.members.Peers(owner.origin) {
			change.Create = append(change.Create, identities()[o].descriptor.Name)
		}
		if _, err := plane.UpdateTable(ctx, t.name, change); err != nil {
			panic(err)
		}
	}, nil)
	w.runTasks()
}

// founded reports whether every table is settled where it is to be, and every region knows.
func (w *world) founded() bool {
	for _, t := range w.plan.tables {
		for _, r := range w.regions {
			doc, ok := r.catalog.View().Table(t.id)
			if !ok || !doc.Settled() || !slices.Equal(locality.PlaceOf(doc, nil), t.members) || !w.armed(doc) {
				return false
			}
		}
	}
	return true
}

// reshape asks some region to give a table a replica, to take one away, or to delete its own.
func (w *world) reshape() {
	asked := w.anyRegion()
	t := &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !asked.up || w.losing() {
		return
	}
	doc, ok := asked.named(t)
	if !ok {
		return
	}
	target := identities()[w.anyRegion().origin].descriptor
	for try := 0; try < 3 && doc.Replica(target.Origin) != nil; try++ { // regions without a replica are rare at first
		target = identities()[w.anyRegion().origin].descriptor
	}
	deletes := w.rng.IntN(12) == 0
	if doc.Replica(target.Origin) != nil && w.rng.IntN(2) == 0 {
		return // or most runs would end with one replica
	}
	var change catalog.Change
	if doc.Replica(target.Origin) == nil {
		change.Create = []string{target.Name}
	} else {
		change.Delete = []string{target.Name}
	}
	w.membership.last = w.now
	plane := asked.plane
	w.changes++
	n := w.changes
	asked.spawn(fmt.Sprintf("change %d", n), func(ctx context.Context) {
		var err error
		if deletes {
			_, err = plane.DeleteTable(ctx, t.name)
		} else {
			_, err = plane.UpdateTable(ctx, t.name, change)
		}
		if err == nil {
			_ = asked.await(ctx, "note", func(func(error)) {
				asked.note("%d has changed table %s: %+v %v", asked.origin, t.name, change, deletes)
			})
		}
	}, nil)
}

// document is the newest document of a table in any region, nil if nobody has one.
func (w *world) document(id globaltable.TableID) (newest *globaltable.Table) {
	for _, r := range w.regions {
		if r.catalog == nil {
			continue
		}
		if t, ok := r.catalog.View().Table(id); ok && (newest == nil || t.Version > newest.Version) {
			newest = t
		}
	}
	return newest
}

// holders is the regions that are to hold an item at the end; of a key without bytes, those that are to hold anything of the table.
func (w *world) holders(k check.Key) (out []uint16) {
	id := globaltable.TableID(k.Table)
	if id == globaltable.SystemTable {
		for _, r := range w.active() {
			out = append(out, uint16(r.origin))
		}
		return out
	}
	if t := w.document(id); t != nil {
		for _, o := range placeOf(t, k) {
			out = append(out, uint16(o))
		}
	}
	return out
}

// placeOf is where a document places an item; of a key without bytes, where it places anything.
func placeOf(t *globaltable.Table, k check.Key) globaltable.Placement {
	if k.Bytes == "" {
		return locality.PlaceOf(t, nil)
	}
	return locality.Place(t, []byte(k.Bytes))
}

// holds reports whether this region serves an item, and so must have all of it; of a key without bytes, whether it serves the table.
func (r *region) holds(k check.Key) bool {
	id := globaltable.TableID(k.Table)
	if id == globaltable.SystemTable {
		return true
	}
	var key []byte
	if k.Bytes != "" {
		key = []byte(k.Bytes)
	}
	t, ok := r.catalog.View().Table(id)
	return ok && locality.Decide(t, key, r.origin, locality.Admit) == locality.Permit && r.catalog.View().Serves(id)
}

// unsettled says which table is on its way somewhere, or not the same everywhere; "" when none is.
func (w *world) unsettled() string {
	if doc := w.newestWorld(); doc != nil {
		if !doc.Settled() {
			return fmt.Sprintf("the world is not settled: %v", w.membership.states)
		}
		for _, r := range w.active() {
			if r.catalog.Version(globaltable.WorldTable) != doc.Version {
				return fmt.Sprintf("region %d has not adopted %s of the world", r.origin, doc.Version)
			}
		}
	}
	for _, t := range w.plan.tables {
		newest := w.document(t.id)
		if !newest.Settled() {
			return fmt.Sprintf("table %s is not settled: %v%s", t.name, newest.Replicas, w.placingWaits(newest))
		}
		for _, r := range w.active() {
			if mine := newest.Replica(r.origin); mine != nil && mine.Status == globaltable.StatusFenced {
				return fmt.Sprintf("region %d is active, and its replica of table %s has not come back: %v", r.origin, t.name, newest.Replicas)
			}
			if doc, ok := r.catalog.View().Table(t.id); !ok || doc.Version != newest.Version {
				return fmt.Sprintf("region %d has not adopted %s of table %s", r.origin, newest.Version, t.name)
			}
		}
	}
	return ""
}
