package controlplane

import (
	"context"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// leave is a table whose data is to go from this region: its replica is being deleted, has failed, or is no more.
type leave struct {
	version globaltable.Version // of the document that it was looked at under
	since   globaltable.Version // of the replica's status; zero without a replica
	heads   []commit.LaneHead   // of this region's log when the replica had ceased to take writes
	waiting string              // what for, in words; empty when it is done
	dropped bool
}

// leave drops the data of tables that this region does not hold any more. It keeps no durable state: dropping twice harms nothing, and heads sampled
// again after a crash are only later than they need to be.
func (p *Plane) leave(ctx context.Context) {
	v := p.cfg.Catalog.View()
	if !v.Active(p.self.Origin) {
		return // what only this region has is saved first, when it is rebuilt
	}
	if p.cfg.Door.Returns() {
		return // its log has nothing of what its earlier store wrote, which the others may lack: they close the replica
	}
	v.Tables(func(t *globaltable.Table) bool {
		if r := t.Replica(p.self.Origin); r != nil && (r.Status == globaltable.StatusFencing || r.Status == globaltable.StatusFenced) {
			return ctx.Err() == nil // likewise
		}
		if v.Awaits(t, p.self.Origin) {
			return ctx.Err() == nil // it is being filled, or about to end
		}
		if v.Serves(t.ID) {
			p.mu.Lock()
			delete(p.leaving, t.ID)
			p.mu.Unlock()
			return ctx.Err() == nil
		}
		var err error
		if r := t.Replica(p.self.Origin); r != nil && r.Status == globaltable.Deleting {
			err = p.drain(ctx, t, r.Since)
		} else {
			err = p.clear(ctx, t)
		}
		if err != nil {
			p.failed(ctx, "drop table "+t.ID.String(), "", err)
		}
		return ctx.Err() == nil
	})
}

// drain drops the data of a replica that is being deleted as soon as all that was written here is with the replicas that stay.
func (p *Plane) drain(ctx context.Context, t *globaltable.Table, since globaltable.Version) error {
	p.mu.Lock()
	l := p.leaving[t.ID]
	p.mu.Unlock()
	if l == nil || l.since != since {
		// The catalog in force admits no more writes, so these heads have all there are.
		heads, err := p.cfg.Door.Heads(ctx)
		if err != nil {
			return err
		}
		l = &leave{since: since, heads: heads.Lanes}
	}
	next := &leave{version: t.Version, since: since, heads: l.heads, dropped: l.dropped}
	if !l.dropped {
		if needed := neededBy(t); needed != "" {
			next.waiting = needed
		} else if behind := p.behind(t, l.heads); len(behind) > 0 {
			next.waiting = strings.Join(behind, " and ") + " to confirm what " + p.self.Name + " wrote"
		} else if err := p.cfg.Door.DropTable(ctx, t.ID); err != nil {
			return err
		} else {
			next.dropped = true
		}
	}
	p.mu.Lock()
	p.leaving[t.ID] = next
	p.mu.Unlock()
	return nil
}

// neededBy says, in words, who needs what a replica on its way out has; empty when nobody does. While a replica is being closed all others exchange with it, and it is not
// dropped where nobody else serves the table, and a region that is fenced, or comes back, had it too: what was confirmed to that one counts for nothing.
func neededBy(t *globaltable.Table) string {
	var fenced []string
	for i := range t.Replicas {
		switch r := &t.Replicas[i]; r.Status {
		case globaltable.StatusFencing:
			return "the others to exchange what " + r.Region + " may have left"
		case globaltable.Active, globaltable.Updating:
			return ""
		case globaltable.StatusFenced, globaltable.Creating:
			fenced = append(fenced, r.Region)
		}
	}
	if len(fenced) == 0 {
		return ""
	}
	return strings.Join(fenced, " and ") + " to come back, or to be removed: nobody else has the table's data"
}

// behind returns the regions that keep a replica and have not confirmed this region's lanes up to heads. It looks at all lanes that they share, for what
// a lane once carried is not known: at worst it waits for a little more than this table's changes.
func (p *Plane) behind(t *globaltable.Table, heads []commit.LaneHead) []string {
	type laneOf struct {
		peer hlc.Origin
		lane globaltable.LaneID
	}
	confirmed := map[laneOf]uint64{}
	for _, c := range p.cfg.Door.Confirmations() {
		confirmed[laneOf{c.Peer, c.Lane}] = c.Seq
	}
	var out []string
	for _, r := range t.Replicas {
		if r.Origin == p.self.Origin || t.StatusIn(r.Origin) == "" || r.Status == globaltable.Deleting {
			continue
		}
		if slices.ContainsFunc(heads, func(h commit.LaneHead) bool {
			return h.ID != globaltable.CatalogLane && h.Placement.Has(r.Origin) && confirmed[laneOf{r.Origin, h.ID}] < h.Seq
		}) {
			out = append(out, r.Region)
		}
	}
	return out
}

// clear drops what is left of a table that has no replica here, or one whose creation failed: each version of the document is looked at once.
func (p *Plane) clear(ctx context.Context, t *globaltable.Table) error {
	p.mu.Lock()
	l := p.leaving[t.ID]
	p.mu.Unlock()
	if l != nil && l.version == t.Version {
		return nil
	}
	n, _, err := p.cfg.Door.Count(t.ID)
	if err != nil {
		return err
	}
	conflicts, _, err := p.cfg.Door.Count(t.ID.Feed())
	if err != nil {
		return err
	}
	// A replica may have left tombstones, which nobody counts.
	if n+conflicts > 0 || t.Replica(p.self.Origin) != nil {
		if err := p.cfg.Door.DropTable(ctx, t.ID); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving[t.ID] = &leave{version: t.Version}
	return nil
}
