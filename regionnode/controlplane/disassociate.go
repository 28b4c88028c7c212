package controlplane

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// Marks tells what regions have applied of each other: a *watermark.Matrix.
type Marks interface {
	// Applied returns the least time, over all ordered pairs of members, below which one has durably applied everything that the other wrote; zero if that is not known of any.
	Applied(p globaltable.Placement) hlc.Timestamp
}

// parting is how far a replica here is that becomes a table of its own. Nothing of it is stored: what is asked again after a crash is answered alike, or later than need be.
type parting struct {
	since   globaltable.Version // of the replica's status
	at      hlc.Timestamp       // above all that was written anywhere before all knew of it; zero: not all know
	percent int                 // of the records, that the new table has
	filled  bool                // it has all, and all that was written before at is everywhere
	waiting string              // what for, in words
}

// depart brings the replicas here that are to become tables of their own one step on, and ends tables that were made for that and never will be in their place.
func (p *Plane) depart(ctx context.Context) {
	v := p.cfg.Catalog.View()
	if !v.Active(p.self.Origin) {
		return
	}
	under := map[globaltable.TableID]bool{}
	v.Tables(func(t *globaltable.Table) bool {
		var err error
		switch r := t.Replica(p.self.Origin); {
		case t.Owner == p.self.Origin && v.Forsaken(t):
			err = p.forsake(ctx, t.ID)
		case r != nil && r.Disassociating():
			under[t.ID] = true
			if _, made := v.Table(r.Successor); !made {
				err = p.succeed(ctx, t.ID, r.Successor)
			} else {
				p.measure(ctx, t, r)
			}
		}
		if err != nil && !errors.Is(err, errChanged) {
			p.failed(ctx, "disassociate replica of table "+t.ID.String(), "", err)
		}
		return ctx.Err() == nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.parting, func(id globaltable.TableID, _ parting) bool { return !under[id] })
}

// reserve returns an id that no other table gets.
func (p *Plane) reserve(ctx context.Context, op, name string) (globaltable.TableID, error) {
	if err := p.lock(ctx, op, name); err != nil {
		return 0, err
	}
	defer p.unlock()
	p.last = p.nextID(p.cfg.Catalog.View())
	return p.last, nil
}

// succeed issues the first document of the table that the replica of a table here becomes.
func (p *Plane) succeed(ctx context.Context, id, successor globaltable.TableID) error {
	if err := p.lock(ctx, "disassociate replica", id.String()); err != nil {
		return err
	}
	defer p.unlock()
	v := p.cfg.Catalog.View()
	t, _ := v.Table(id)
	if _, made := v.Table(successor); made || t == nil {
		return errChanged
	}
	if r := t.Replica(p.self.Origin); r == nil || r.Successor != successor {
		return errChanged
	}
	if _, ok := catalog.Succeed(t, p.self, 1); !ok {
		return errChanged
	}
	epoch, err := p.raise(ctx, 0)
	if err != nil {
		return err
	}
	next, _ := catalog.Succeed(t, p.self, epoch)
	return p.put(ctx, p.own("disassociate replica"), nil, next)
}

// forsake issues the last document of a table that is never to be.
func (p *Plane) forsake(ctx context.Context, id globaltable.TableID) error {
	_, err := p.issue(ctx, p.own("disassociate replica"), id, func(t *globaltable.Table, epoch uint32) (*globaltable.Table, error) {
		if !p.cfg.Catalog.View().Forsaken(t) {
			return nil, errChanged
		}
		return catalog.Forsake(t, epoch), nil
	})
	return err
}

// measure notes how far a replica here is. What the others had written before they knew that it leaves has a smaller stamp than this region's clock has once they have said that they know (askProgress); so has
// what was written here. When each has applied the other's writes up to there, nothing of the time before is under way.
func (p *Plane) measure(ctx context.Context, t *globaltable.Table, r *globaltable.Replica) {
	p.mu.Lock()
	now := p.parting[t.ID]
	p.mu.Unlock()
	if now.since != r.Since {
		now = parting{since: r.Since}
	}
	var pending []string
	if now.at == 0 {
		if pending = p.unaware(ctx, t, r.Since); len(pending) == 0 {
			now.at = p.cfg.Clock.Last()
		}
	}
	if now.at != 0 {
		pending = p.unreplicated(t, now.at)
	}
	copied, ok := p.cfg.Door.Mirror(t.ID)
	if !ok || !copied.Full {
		pending = append(pending, p.self.Name+" to copy its records")
	}
	now.percent, now.filled, now.waiting = copied.Percent, len(pending) == 0, strings.Join(pending, " and ")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parting[t.ID] = now
}

// unaware says which regions with a replica of t have not been heard to have adopted version since.
func (p *Plane) unaware(ctx context.Context, t *globaltable.Table, since globaltable.Version) (out []string) {
	for i := range t.Replicas {
		o := &t.Replicas[i]
		if o.Origin == p.self.Origin || t.StatusIn(o.Origin) == "" {
			continue
		}
		replies, err := p.askProgress(ctx, o.Origin, []question{{Table: t.ID.String(), Since: uint64(since)}})
		if err != nil || replies[0].Outcome == 0 {
			out = append(out, o.Region+" to adopt the change")
		}
	}
	return out
}

// unreplicated says between which regions and this one what was written before at may be on its way.
func (p *Plane) unreplicated(t *globaltable.Table, at hlc.Timestamp) (out []string) {
	for i := range t.Replicas {
		o := &t.Replicas[i]
		if o.Origin == p.self.Origin || t.StatusIn(o.Origin) == "" {
			continue
		}
		if p.cfg.Marks.Applied(globaltable.NewPlacement(p.self.Origin, o.Origin)) < at {
			out = append(out, o.Region+" and "+p.self.Name+" to apply what each other wrote")
		}
	}
	return out
}
