package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// worldProgress is what the owner of the world remembers of how far its newest document has come. It is guarded by Plane.mu, and all of it can be asked for again.
type worldProgress struct {
	// heard has, by region, the version that it had adopted when its catalog was fetched: from then on it takes nothing more from those that the version puts out,
	// so what they issued and this region does not know is known to nobody.
	heard   map[hlc.Origin]globaltable.Version
	waiting []string            // in words, sorted
	refuses bool                // a region that can be reached has not adopted the newest document
	refused globaltable.Version // one that some region has got and cannot adopt
	version globaltable.Version // the newest, and since when it is
	since   time.Time
}

// reissueAfter is how long regions that can be reached may take to adopt a document of the world.
const reissueAfter = 10 * time.Second

// leadWorld brings the world one step on, if this region owns it: members on their way out are closed when all active members know, and their tables get this region for owner.
func (p *Plane) leadWorld(ctx context.Context) {
	v := p.cfg.Catalog.View()
	w, ok := v.World()
	if !ok || w.Owner != p.self.Origin {
		p.mu.Lock()
		p.world = worldProgress{}
		p.mu.Unlock()
		return
	}
	if !w.Settled() {
		p.closeMembers(ctx, w)
	} else {
		p.waitForNobody()
		if p.stale(w) {
			p.advanceWorld(ctx, w, reissued)
		}
	}
	p.inherit(ctx)
}

// reissueWorld has the world's document issued again, if it is still of the version given, and this region's.
func (p *Plane) reissueWorld(version globaltable.Version) {
	if w, ok := p.cfg.Catalog.View().World(); ok && w.Owner == p.self.Origin && w.Version == version {
		p.mu.Lock()
		p.world.refused = version
		p.mu.Unlock()
	}
}

// reissueTable issues a table's document again, if it is still of the version given, and this region's.
func (p *Plane) reissueTable(ctx context.Context, id globaltable.TableID, version globaltable.Version) error {
	const op = "issue table again"
	if err := p.lock(ctx, op, id.String()); err != nil {
		return err
	}
	defer p.unlock()
	if regions := p.Unheard(); len(regions) > 0 {
		return p.errUnheard(op, id.String(), regions)
	}
	t, known := p.cfg.Catalog.View().Table(id)
	if !known || t.Owner != p.self.Origin || t.Version != version {
		return nil
	}
	epoch, err := p.raise(ctx, t.Version.Epoch())
	if err != nil {
		return err
	}
	return p.put(ctx, p.own(op), t, catalog.Inherit(t, p.self.Origin, epoch))
}

// reissued is the same world, for those who have not adopted it.
func reissued(w *globaltable.World, epoch uint32) (*globaltable.World, bool) {
	return catalog.ReissueWorld(w, epoch), true
}

// closeMembers asks the active members whether they have adopted what puts others out, fetches their catalogs when they have, and issues what follows.
func (p *Plane) closeMembers(ctx context.Context, w *globaltable.World) {
	since := newestOut(w)
	p.gatherWorld(ctx, w, since)
	heard := func(o hlc.Origin, since globaltable.Version) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return o == p.self.Origin || p.world.heard[o] >= since
	}
	next := func(w *globaltable.World, epoch uint32) (*globaltable.World, bool) {
		return catalog.AdvanceWorld(w, heard, epoch)
	}
	if _, ok := next(w, w.Version.Epoch()); !ok {
		if !p.stale(w) {
			return
		}
		next = reissued
	}
	p.advanceWorld(ctx, w, next)
}

// advanceWorld issues what follows w, unless another document has come into force.
func (p *Plane) advanceWorld(ctx context.Context, w *globaltable.World, next func(w *globaltable.World, epoch uint32) (*globaltable.World, bool)) {
	if err := p.lock(ctx, "close region", "world"); err != nil {
		return
	}
	defer p.unlock()
	_, err := p.nextWorld(ctx, "close region", nil, func(now *globaltable.World, epoch uint32) (*globaltable.World, error) {
		made, ok := next(now, epoch)
		if now.Version != w.Version || !ok {
			return nil, errChanged
		}
		return made, nil
	})
	if err != nil && !errors.Is(err, errChanged) {
		p.failed(ctx, "close region", "", err)
	}
}

// stale reports whether w has been the newest document for so long that those who can be reached should have adopted it.
func (p *Plane) stale(w *globaltable.World) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	if p.world.version != w.Version {
		p.world.version, p.world.since = w.Version, now
	}
	return (p.world.refuses || p.world.refused == w.Version) && now.Sub(p.world.since) >= reissueAfter
}

// newestOut returns the newest version that puts a member out that is not closed yet. Whoever has adopted it knows of all.
func newestOut(w *globaltable.World) (since globaltable.Version) {
	for i := range w.Members {
		if m := &w.Members[i]; m.State == globaltable.MemberFencing || m.State == globaltable.MemberRemoving {
			since = max(since, m.Since)
		}
	}
	return since
}

// gatherWorld asks each active member that was not heard since the version given.
func (p *Plane) gatherWorld(ctx context.Context, w *globaltable.World, since globaltable.Version) {
	var ask []globaltable.Descriptor
	var asking, waiting []string
	p.mu.Lock()
	for i := range w.Members {
		d := w.Members[i].Descriptor
		if w.Members[i].State == globaltable.MemberActive && d.Origin != p.self.Origin && p.world.heard[d.Origin] < since {
			ask = append(ask, d)
			asking = append(asking, toAdopt(d))
		}
	}
	if len(p.world.waiting) == 0 {
		p.world.waiting = asking // until they have answered, or not
	}
	p.mu.Unlock()
	refuses := false
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(maxAsks)
	for _, d := range ask {
		g.Go(func() error {
			if why, reached := p.hearSince(ctx, d, since); why != "" {
				mu.Lock()
				defer mu.Unlock()
				waiting = append(waiting, why)
				refuses = refuses || reached
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	slices.Sort(waiting)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.world.waiting, p.world.refuses = waiting, refuses
}

func toAdopt(d globaltable.Descriptor) string { return d.Name + " to adopt the change" }

// hearSince fetches a region's catalog if it has adopted the version given of the world; if not, it says why, in words, and whether the region answers at all.
func (p *Plane) hearSince(ctx context.Context, d globaltable.Descriptor, since globaltable.Version) (why string, reached bool) {
	replies, err := p.askProgress(ctx, d.Origin, []question{{Table: globaltable.WorldTable.String(), Since: uint64(since)}})
	switch {
	case err != nil:
		return d.Name + ", which cannot be reached", false
	case replies[0].Outcome == 0:
		return toAdopt(d), true
	}
	if err := p.fetch(ctx, d.Name, true); err != nil {
		p.failed(ctx, "hear catalog", d.Name, err)
		return d.Name + " to give its catalog", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.world.heard == nil {
		p.world.heard = map[hlc.Origin]globaltable.Version{}
	}
	p.world.heard[d.Origin] = since
	return "", true
}

// hearClosing fetches from the world's owner what it has heard of all when it closed members. Of what these had issued some regions may have got the last, and others not: documents are issued anew, but what lies beside them, receipts, versions of
// policies and entries of the audit log, is nobody's to issue again.
func (p *Plane) hearClosing(ctx context.Context) {
	v := p.cfg.Catalog.View()
	w, ok := v.World()
	if !ok || w.Owner == p.self.Origin || !v.Active(p.self.Origin) {
		return
	}
	since := newestClosed(w)
	p.mu.Lock()
	heard := p.closed >= since
	p.mu.Unlock()
	owner, known := v.RegionOf(w.Owner)
	if heard || !known {
		return
	}
	if err := p.fetch(ctx, owner.Name, true); err != nil {
		p.failed(ctx, "hear catalog", owner.Name, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = max(p.closed, since)
}

// newestClosed returns the newest version that has closed a member; zero: none is closed.
func newestClosed(w *globaltable.World) (since globaltable.Version) {
	for i := range w.Members {
		if m := &w.Members[i]; m.State.Closed() {
			since = max(since, m.Since)
		}
	}
	return since
}

func (p *Plane) waitForNobody() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.world.waiting, p.world.refuses = nil, false
}

// inherit makes this region the owner of the tables whose owner is closed.
func (p *Plane) inherit(ctx context.Context) {
	v := p.cfg.Catalog.View()
	w, _ := v.World()
	v.Tables(func(t *globaltable.Table) bool {
		if m := w.Member(t.Owner); t.Deleted || m == nil || !m.State.Closed() {
			return true
		}
		if err := p.inheritTable(ctx, t.ID); err != nil {
			p.failed(ctx, "take over table "+t.ID.String(), "", err)
		}
		return ctx.Err() == nil
	})
}

func (p *Plane) inheritTable(ctx context.Context, id globaltable.TableID) error {
	const op = "take over table"
	if err := p.lock(ctx, op, id.String()); err != nil {
		return err
	}
	defer p.unlock()
	// Whether all have been heard is asked again: this start may have found the member closed, and not have closed it.
	if regions := p.Unheard(); len(regions) > 0 {
		return p.errUnheard(op, id.String(), regions)
	}
	v := p.cfg.Catalog.View()
	w, _ := v.World()
	t, known := v.Table(id)
	if m := w.Member(t.Owner); !known || w.Owner != p.self.Origin || m == nil || !m.State.Closed() {
		return nil
	}
	// Greater than the closed owner's: it may have started again, and issued versions which nobody heard.
	epoch, err := p.raise(ctx, t.Version.Epoch()+takeoverEpochs)
	if err != nil {
		return err
	}
	return p.put(ctx, p.own(op), t, catalog.Inherit(t, p.self.Origin, epoch))
}

// pending returns what this region, as the owner of the world, waits for, in words.
func (p *Plane) pending() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.world.waiting)
}

// Pending returns what the owner of the world waits for, in words that follow "Waiting for": nothing when no member is on its way out. Another region asks the owner.
func (p *Plane) Pending(ctx context.Context) []string {
	v := p.cfg.Catalog.View()
	w, ok := v.World()
	switch {
	case !ok || w.Settled():
		return nil
	case w.Owner == p.self.Origin:
		return p.pending()
	}
	owner, _ := v.RegionOf(w.Owner)
	a, err := p.ask(ctx, owner.Name, &request{World: &worldRequest{}})
	if err != nil {
		return []string{fmt.Sprintf("%s, which owns the world's document and cannot be reached", owner.Name)}
	}
	return a.Pending
}
