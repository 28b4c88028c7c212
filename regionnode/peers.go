package regionnode

import (
	"context"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/membership"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/inbox"
)

// peersRetry is how long a change of the bus's peers that failed waits for another try.
const peersRetry = time.Second

// followed is an origin whose lanes this region follows: an active member.
type followed struct {
	member catalog.Member
	runner *inbox.Runner
	stop   context.CancelFunc
	ended  chan struct{}
}

// followMembers keeps the connections to other regions as the members are, until ctx is done: an inbox for each active one, and a way into this region's NATS for each that was not
// removed: one that is fenced must be able to hear so, and to ask to come back. It owns the inboxes, and returns when all have ended.
func (n *Node) followMembers(ctx context.Context, home bus.Home) error {
	following := map[hlc.Origin]*followed{}
	defer func() {
		for _, f := range following {
			f.stop()
		}
		for _, f := range following {
			<-f.ended
		}
	}()
	for {
		v := n.catalog.View()
		var retry <-chan time.Time
		if err := home.SetPeers(ctx, n.dialling(v)); err != nil {
			n.metrics.BusFailed()
			n.log.Warn().Err(err).Msg("the region's NATS did not take its peers; trying again")
			retry = time.After(peersRetry)
		}
		n.follow(ctx, v, following)
		select {
		case <-ctx.Done():
			return nil
		case <-v.Changed():
		case <-retry:
		}
	}
}

// dialling returns the regions that may dial this one.
func (n *Node) dialling(v *catalog.View) []bus.Peer {
	peers := []bus.Peer{}
	for _, m := range v.Members() {
		if m.Descriptor.Origin != n.cfg.Region.Origin && m.State != globaltable.MemberRemoved {
			peers = append(peers, bus.Peer{Name: m.Descriptor.Name, PublicKey: m.Descriptor.PublicKey})
		}
	}
	return peers
}

// follow ends what follows regions, or stores of them, that are not followed any more, and begins what is missing.
func (n *Node) follow(ctx context.Context, v *catalog.View, following map[hlc.Origin]*followed) {
	for o, f := range following {
		if !membership.Follows(v, f.member) {
			f.stop()
			<-f.ended
			n.forget(f.member.Descriptor)
			delete(following, o)
		}
	}
	for _, m := range membership.Followed(v) {
		o := m.Descriptor.Origin
		if following[o] != nil || ctx.Err() != nil {
			continue
		}
		runCtx, stop := context.WithCancel(ctx)
		hold := n.holdOf(o)
		f := &followed{member: m, runner: n.newInbox(m, hold), stop: stop, ended: make(chan struct{})}
		following[o] = f
		n.mu.Lock()
		n.inboxes[o] = f.runner
		if hold.ID != 0 && n.holdOf(o).ID != hold.ID {
			f.runner.Release(hold.ID) // the exchange ended before there was an inbox to be told
		}
		n.mu.Unlock()
		go func() {
			defer close(f.ended)
			_ = f.runner.Run(runCtx) // nil: it ends with its context
		}()
	}
}

// forget drops what the end of a region's inbox has left: a region that has gone is neither reachable nor a clock to be compared with.
func (n *Node) forget(d globaltable.Descriptor) {
	n.mu.Lock()
	delete(n.inboxes, d.Origin)
	delete(n.sessions, d.Name)
	n.mu.Unlock()
	n.metrics.ForgetPeer(d.Name)
	if n.guard.forget(d.Origin, time.Now()) != clockAhead {
		n.allow(refusedClock)
	}
}

// inbox returns what follows the origin now; nil if nothing does.
func (n *Node) inbox(o hlc.Origin) *inbox.Runner {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.inboxes[o]
}

// peerConfig returns how a member is reached: as the configuration says or, for one that came later, at the addresses of its descriptor.
func (n *Node) peerConfig(d globaltable.Descriptor) PeerConfig {
	for _, p := range n.cfg.Peers {
		if p.Descriptor.Matches(&d) == nil {
			return p
		}
	}
	return PeerConfig{Descriptor: d, TLS: n.cfg.PeerTLS}
}

// positionsOf returns how far the origin's lanes have been applied here, those of the incarnation only, unless that is zero.
func (n *Node) positionsOf(o hlc.Origin, incarnation globaltable.Incarnation) map[globaltable.LaneID]globaltable.Position {
	at := map[globaltable.LaneID]globaltable.Position{}
	for _, p := range n.shard.Positions() {
		if p.Origin == o && p.Shard == theShard && (incarnation == 0 || p.Incarnation == incarnation) {
			at[p.Lane] = p.Position
		}
	}
	return at
}

func (n *Node) inboxEvents(name string) inbox.Events {
	return inbox.Events{
		Connected: func(hlc.Origin) {
			n.metrics.Connected(name, true)
			n.log.Info().Str("peer", name).Msg("connected to peer")
		},
		Disconnected: func(_ hlc.Origin, err error) {
			n.metrics.Connected(name, false)
			n.mu.Lock()
			delete(n.sessions, name)
			n.mu.Unlock()
			n.log.Warn().Str("peer", name).Err(err).Msg("no connection to peer; trying again")
		},
		Stopped: func(_ hlc.Origin, lane globaltable.LaneID, reason inbox.Stop, err error) {
			if reason == inbox.Running {
				return
			}
			n.metrics.Stopped(name, reason.String())
			if reason == inbox.Restored {
				n.regressed(name, "this region has less of a lane than it had told")
			}
			event := n.log.Warn()
			if reason == inbox.CatalogBehind {
				event = n.log.Debug()
			}
			event.Str("peer", name).Stringer("lane", lane).Stringer("reason", reason).Err(err).Msg("a lane has stopped")
		},
		LogRead: func(_ hlc.Origin, _ globaltable.LaneID, entries int) { n.metrics.LogRead(name, entries) },
		Applied: func(_ hlc.Origin, _ globaltable.LaneID, changes int, lag time.Duration) {
			n.metrics.Applied(name, changes, lag)
		},
	}
}
