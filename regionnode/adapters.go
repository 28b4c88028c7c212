package regionnode

import (
	"context"
	"errors"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/peer"
)

// The parts declare the interfaces that they need in their own terms. What stands here turns one part's terms into another's; it decides nothing.

// shardLog is the shard as the streams read it: peer.Log and outbox.Log.
type shardLog struct{ *commit.Shard }

// Head implements peer.Log.
func (l shardLog) Head(id globaltable.LaneID) (peer.LaneHead, bool) {
	h, ok := l.Shard.Head(id)
	return laneHead(h), ok
}

// Heads implements peer.Log.
func (l shardLog) Heads(ctx context.Context) (hlc.Timestamp, []peer.LaneHead, error) {
	heads, err := l.Shard.Heads(ctx)
	if err != nil {
		return 0, nil, err
	}
	out := make([]peer.LaneHead, 0, len(heads.Lanes))
	for _, h := range heads.Lanes {
		out = append(out, laneHead(h))
	}
	return heads.HLC, out, nil
}

func laneHead(h commit.LaneHead) peer.LaneHead {
	return peer.LaneHead{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain, Trimmed: h.Trimmed}
}

// applyTimeout bounds one Apply. A shard that takes longer has failed or is stopping.
const applyTimeout = time.Minute

// applier is the shard as an inbox applies to it.
type applier struct {
	shard   *commit.Shard
	catalog *catalog.Catalog
	foreign func(origin hlc.Origin, changes int) // told of changes that may not be here, and whose origin should have known
}

// Apply implements inbox.Store.
func (a applier) Apply(ctx context.Context, b inbox.Batch) (inbox.Stop, error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	result, err := a.shard.ApplyRemote(ctx, &commit.Remote{Source: b.Source, Entries: b.Entries, Position: b.Position})
	if result.Foreign > 0 {
		a.foreign(b.Source.Origin, result.Foreign)
	}
	if err == nil {
		return inbox.Running, nil
	}
	return stopReason(err, b.Position), err
}

// stopReason says why a batch could not be applied.
func stopReason(err error, p globaltable.Position) inbox.Stop {
	var ahead *hlc.AheadError
	var position *commit.PositionError
	switch {
	case errors.As(err, &ahead):
		return inbox.ClockAhead
	case errors.Is(err, commit.ErrCatalogBehind):
		return inbox.CatalogBehind
	case errors.As(err, &position):
		switch {
		case position.Stored == p:
			return inbox.Running // an attempt before, whose answer was lost, did it
		case position.Reason == commit.ChainDiffers:
			return inbox.Diverged
		case position.Reason == commit.Revoked:
			return inbox.Superseded
		}
		return inbox.ApplyFailed
	case errors.Is(err, conflict.ErrUnsupported), globaltable.KindOf(err) == globaltable.Corrupt:
		return inbox.Refused
	}
	return inbox.ApplyFailed
}

// Revoke implements inbox.Store: every incarnation before inc is dead.
func (a applier) Revoke(ctx context.Context, origin hlc.Origin, inc globaltable.Incarnation) error {
	return a.shard.Revoke(ctx, origin, inc-1)
}
