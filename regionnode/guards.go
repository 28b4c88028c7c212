package regionnode

import (
	"context"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
)

// The reasons for which a node refuses client writes. Reads and the changes of peers go on; reads do not for the last two, see members.go.
const (
	refusedDisk   = "disk"
	refusedClock  = "clock"
	refusedStart  = "clock at start"
	refusedMember = "member"
	refusedFenced = "fenced"
)

// refuse makes client writes fail with a message until allow is called for the same reason. The lock is held throughout: several inboxes measure the
// clock at once, and what the shard does must be what the status says.
func (n *Node) refuse(reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, already := n.refused[reason]
	n.refused[reason] = message
	if already {
		return
	}
	n.shard.Refuse(reason, &globaltable.Error{Op: "write", Kind: globaltable.Unavailable, Message: message})
	n.metrics.Refused(reason, true)
	n.log.Error().Str("reason", reason).Msg("writes are refused: " + message)
}

func (n *Node) allow(reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, was := n.refused[reason]; !was {
		return
	}
	delete(n.refused, reason)
	n.shard.Allow(reason)
	n.metrics.Refused(reason, false)
	n.log.Info().Str("reason", reason).Msg("writes are taken again")
}

// watchDisk refuses writes while the disk is almost full.
func (n *Node) watchDisk(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	dog, err := store.NewWatchdog(store.WatchdogConfig{Dir: n.cfg.DataDir, Ticks: ticker.C, MinFreeBytes: int64(n.cfg.Limits.FreeBytes), MinFreePercent: -1,
		Seen: func(d store.DiskSpace) { n.metrics.DiskFree(d.FreeBytes) },
		Changed: func(d store.DiskSpace) {
			if d.Low {
				n.refuse(refusedDisk, d.Message())
			} else {
				n.allow(refusedDisk)
			}
		}})
	if err != nil {
		return err
	}
	return dog.Run(ctx)
}

// checkStart refuses writes while the persisted HLC is further ahead of the wall clock than peers would accept: the clock was set back. It returns for
// how long that is.
func (n *Node) checkStart() time.Duration {
	ahead := n.clock.AheadAtStart(n.clock.Last())
	if ahead <= 0 {
		n.allow(refusedStart)
	} else {
		n.refuse(refusedStart, "the clock of this region is behind the stamps that it has given before by more than the maximum offset; set it right, or wait")
	}
	return ahead
}

// waitForClock lets writes go on as soon as checkStart does.
func (n *Node) waitForClock(ctx context.Context) error {
	for ahead := n.checkStart(); ahead > 0; ahead = n.checkStart() {
		timer := time.NewTimer(min(ahead, time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
	return nil
}

// clockMeasured takes how far the wall clock is ahead of a peer's.
func (n *Node) clockMeasured(p hlc.Origin, ahead, uncertain time.Duration) {
	n.metrics.ClockAhead(n.regionName(p), ahead)
	switch n.guard.measured(p, ahead, uncertain, time.Now()) {
	case clockAhead:
		n.refuse(refusedClock, "the clock of this region is ahead of all its peers by more than half the maximum offset")
	case clockBehind:
		n.log.Warn().Dur("ahead", ahead).Msg("the clock of this region is behind all its peers: its writes lose conflicts")
		n.allow(refusedClock)
	default:
		n.allow(refusedClock)
	}
}

// regressed stops serving clients for good: a peer has more of this region's log than the region itself, so the store was rolled back or
// restored, and sequences would be used twice. The region needs a new incarnation (PROTOCOL.md section 3 rule 2).
func (n *Node) regressed(peer, reason string) {
	n.needRebuild(commit.Regressed, reason+", reported by "+peer)
}
