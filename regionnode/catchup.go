package regionnode

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/membership"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/repair"
)

// lagging is told when a lane's log has dropped what a peer has not confirmed, and when that peer has caught up.
func (n *Node) lagging(lane globaltable.LaneID, p hlc.Origin, is bool) {
	name := n.regionName(p)
	n.metrics.Lagging(name, is)
	if is {
		n.log.Warn().Str("peer", name).Stringer("lane", lane).Msg("the change log has reached its limit: the peer is left behind and will catch up by exchange")
		return
	}
	n.log.Info().Str("peer", name).Stringer("lane", lane).Msg("the peer has caught up")
}

// holdOf returns what is still missing below the lanes of an origin, as the store has it.
func (n *Node) holdOf(origin hlc.Origin) inbox.Hold {
	for _, c := range n.shard.CatchUps() {
		if c.Origin == origin {
			return inbox.Hold{ID: c.ID, Lanes: c.Lanes}
		}
	}
	return inbox.Hold{}
}

// startLanes begins lanes of an origin anew at its heads. The joiner brings what they have missed.
func (n *Node) startLanes(ctx context.Context, name string, origin hlc.Origin, inc globaltable.Incarnation, heads []inbox.Head) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	starts := make([]commit.LaneStart, 0, len(heads))
	for _, h := range heads {
		starts = append(starts, commit.LaneStart{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain})
	}
	id, err := n.shard.StartLanes(ctx, origin, theShard, inc, starts)
	if err != nil {
		return 0, err
	}
	if slices.ContainsFunc(heads, func(h inbox.Head) bool { return h.Lane == globaltable.CatalogLane }) {
		// Not only at the end of the exchange: which tables are to be exchanged is in the documents that the lane has not brought.
		n.plane.HearAgain(name)
	}
	n.metrics.CatchingUp(name, true)
	n.log.Warn().Str("peer", name).Int("lanes", len(heads)).Msg("the peer's change log has not kept what comes next: catching up by exchange")
	return id, nil
}

// describeCatchUp adds to a pair that a catch-up is under way.
func (n *Node) describeCatchUp(p *admin.Pair, origin hlc.Origin) {
	progress, ok := n.joiner.CatchingUp(origin)
	if !ok {
		return
	}
	if p.State != admin.StateDisconnected {
		p.State = admin.StateCatchingUp
	}
	parts := []string{fmt.Sprintf("catching up by exchange, %d %%", progress.Percent)}
	if progress.Waiting != "" {
		parts = append(parts, "waiting for "+progress.Waiting)
	}
	if p.Detail != "" {
		parts = append(parts, p.Detail)
	}
	p.Detail = strings.Join(parts, "; ")
}

// catchUps is the shard as the joiner keeps catch-ups in it.
type catchUps struct{ n *Node }

// UnderWay implements repair.CatchUps. None goes on, or ends, while the others do not follow this store.
func (c catchUps) UnderWay() (out []repair.CatchUp) {
	if !c.n.comeback.Followed() {
		return nil
	}
	for _, u := range c.n.shard.CatchUps() {
		out = append(out, repair.CatchUp{Origin: u.Origin, ID: u.ID})
	}
	return out
}

// Keep implements repair.CatchUps.
func (c catchUps) Keep(ctx context.Context, u repair.CatchUp, table globaltable.TableID, state []byte) error {
	return c.n.shard.SetCaught(ctx, u.Origin, u.ID, table, state)
}

// Kept implements repair.CatchUps.
func (c catchUps) Kept(u repair.CatchUp, table globaltable.TableID) ([]byte, error) {
	return c.n.shard.Caught(u.Origin, table)
}

// End implements repair.CatchUps. When the catalog's lane was among those begun anew, the documents that it would have brought are fetched.
func (c catchUps) End(ctx context.Context, u repair.CatchUp) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	for _, now := range c.n.shard.CatchUps() {
		if now.Origin == u.Origin && membership.Owes(c.n.catalog.View(), now) {
			if err := c.n.plane.Fetch(ctx, c.n.regionName(u.Origin)); err != nil {
				return err
			}
		}
	}
	if err := c.n.shard.EndCatchUp(ctx, u.Origin, u.ID); err != nil {
		return err
	}
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if in := c.n.inboxes[u.Origin]; in != nil {
		in.Release(u.ID)
	}
	return nil
}
