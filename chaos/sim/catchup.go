package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/membership"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/repair"
)

// hold is regionnode's: what is still missing below the lanes of an origin, as the store has it.
func (r *region) hold(origin hlc.Origin) inbox.Hold {
	for _, c := range r.shard.CatchUps() {
		if c.Origin == origin {
			return inbox.Hold{ID: c.ID, Lanes: c.Lanes}
		}
	}
	return inbox.Hold{}
}

// startLanes begins lanes anew at the origin's heads. As in the runner, nothing of the origin is taken meanwhile.
func (s *session) startLanes(e inbox.Effect) {
	var starts []commit.LaneStart
	solid := map[check.Lane]uint64{}
	for _, h := range e.Heads {
		starts = append(starts, commit.LaneStart{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain})
		l := s.lane(s.from.origin, e.Incarnation, h.Lane)
		s.skipped[l] = append(s.skipped[l], check.Applied{Lane: l, From: s.took[l] + 1, To: h.Seq})
		solid[l] = s.solid(l)
	}
	maps.Copy(s.missing, solid)
	if slices.Contains(lanesOf(e.Heads), globaltable.CatalogLane) {
		s.plane.HearAgain(nameOf(s.from.origin))
	}
	for _, t := range s.catalog.View().Shared(s.from.origin) {
		s.joined[t] = true
	}
	var id uint64
	var err error
	s.manual.StartLanes(s.from.origin, 0, e.Incarnation, starts, func(i uint64, failed error) { id, err = i, failed })
	s.settleNow()
	maps.Copy(s.missing, solid) // the exchange before may have ended in the same group
	if s.dies() {
		return
	}
	if err != nil {
		s.fail(err)
		return
	}
	s.note("%d begins %d lanes of %d anew", s.origin, len(starts), s.from.origin)
	s.cover("lanes were begun anew")
	for _, h := range e.Heads {
		s.applied(s.from.origin, e.Incarnation, h.Lane, h.Seq)
	}
	s.step(s.core.Started(e.Heads, id))
}

func lanesOf(heads []inbox.Head) (out []globaltable.LaneID) {
	for _, h := range heads {
		out = append(out, h.Lane)
	}
	return out
}

// settleNow makes durable all that is queued.
func (r *region) settleNow() {
	for r.up && (r.manual.Build() || r.manual.Sync()) {
		r.endGroup()
	}
	if r.up {
		r.noticeCatalog()
	}
}

// solid is up to where a region has everything of a followed lane: below its position in a lane that was begun anew, something may still be missing.
func (r *region) solid(l check.Lane) uint64 {
	if at, missing := r.missing[l]; missing {
		return at
	}
	return r.took[l]
}

// forgetMissing drops what the store does not say is missing any more.
func (r *region) forgetMissing() {
	for l := range r.missing {
		if l.Store != r.store || !slices.Contains(r.hold(hlc.Origin(l.Origin)).Lanes, globaltable.LaneID(l.Lane)) {
			delete(r.missing, l)
		}
	}
}

// limitLogs is outbox.Runner's: it has the logs trimmed that are beyond their limit.
func (r *region) limitLogs() {
	for _, b := range r.outbox.Status() {
		if upTo := r.shard.LogExcess(b.Lane.ID, int64(r.plan.logBytes)); upTo > 0 {
			r.actTail(r.outbox.Exceeded(b.Lane.ID, upTo, r.wall()))
		}
	}
}

// catchUps is repair.CatchUps.
type catchUps struct{ *door }

// UnderWay implements repair.CatchUps, as regionnode does.
func (c catchUps) UnderWay() (out []repair.CatchUp) {
	if !c.comeback.Followed() {
		return nil
	}
	for _, u := range c.shard.CatchUps() {
		out = append(out, repair.CatchUp{Origin: u.Origin, ID: u.ID})
	}
	return out
}

// Keep implements repair.CatchUps.
func (c catchUps) Keep(ctx context.Context, u repair.CatchUp, table globaltable.TableID, state []byte) error {
	return c.await(ctx, fmt.Sprintf("caught %x %d", uint64(table), u.Origin), func(done func(error)) {
		if c.chance(c.plan.crashJoin) {
			c.crashAny(u.Origin)
		}
		if c.dies() {
			return
		}
		c.manual.SetCaught(u.Origin, u.ID, table, state, done)
		c.work()
	})
}

// Kept implements repair.CatchUps.
func (c catchUps) Kept(u repair.CatchUp, table globaltable.TableID) ([]byte, error) {
	return c.shard.Caught(u.Origin, table)
}

// End implements repair.CatchUps, as regionnode does.
func (c catchUps) End(ctx context.Context, u repair.CatchUp) error {
	for _, now := range c.shard.CatchUps() {
		if now.Origin == u.Origin && membership.Owes(c.catalog.View(), now) {
			if err := c.plane.Fetch(ctx, nameOf(u.Origin)); err != nil {
				return err
			}
		}
	}
	return c.await(ctx, fmt.Sprintf("end %d", u.Origin), func(done func(error)) {
		c.manual.EndCatchUp(u.Origin, u.ID, func(err error) {
			if err == nil && c.up {
				c.note("%d has caught up with %d", c.origin, u.Origin)
				c.cover("a region caught up by exchange")
				c.forgetMissing()
				if s := c.session(c.world.region(u.Origin)); s != nil {
					s.caughtUp(u.ID)
				}
			}
			done(err)
		})
		c.work()
	})
}

// caughtUp tells the core, in the next session if there is none now.
func (s *session) caughtUp(id uint64) {
	if !s.connected {
		s.released = id
		return
	}
	s.region.after(0, s.alive(func() { s.step(s.core.Release(id)) }))
}
