package sim

import (
	"errors"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/outbox"
)

// tail carries out one lane's effects of the outbox in their order, as a worker of outbox.Runner does.
type tail struct {
	queue []outbox.Effect
	busy  bool
}

// startTails begins the outbox over the lanes that the log has.
func (r *region) startTails(heads []commit.LaneHead) {
	r.tails = map[globaltable.LaneID]*tail{}
	r.outbox = outbox.NewCore(r.origin, outbox.Limits{
		FreshBytes: r.plan.queueBytes, FlightBytes: max(r.plan.queueBytes, 1), PageBytes: r.plan.pageBytes, RefillEntries: r.plan.refill, TrimEvery: 4,
	}, func(lane globaltable.LaneID) bool { return r.catalog.View().Used(lane) })
	for _, h := range heads {
		r.actTail(r.outbox.AddLane(h.Lane, h.Seq, h.Trimmed))
	}
	r.actTail(r.outbox.Found(r.laneIDs()))
	for _, c := range r.shard.Confirmations() {
		r.actTail(r.outbox.Confirmed(c.Lane, c.Peer, c.Seq))
	}
	var tick func()
	tick = func() {
		r.actTail(r.outbox.Tick())
		r.limitLogs()
		r.after(outboxTick, tick)
	}
	r.after(outboxTick, tick)
}

// actTail queues effects with their lanes' workers. As there, a new stream makes what was due to the old one pointless.
func (r *region) actTail(effects []outbox.Effect) {
	for _, e := range effects {
		t := r.tails[e.Lane.ID]
		if t == nil {
			t = &tail{}
			r.tails[e.Lane.ID] = t
		}
		if e.Kind == outbox.ResetStream || e.Kind == outbox.RemoveStream || e.Kind == outbox.Trim {
			keep := t.queue[:0]
			for _, old := range t.queue {
				if (e.Kind == outbox.Trim) != (old.Kind == outbox.Trim) {
					keep = append(keep, old)
				}
			}
			t.queue = keep
		}
		t.queue = append(t.queue, e)
		r.wake(t)
	}
}

func (r *region) wake(t *tail) {
	if t.busy || len(t.queue) == 0 {
		return
	}
	t.busy = true
	r.after(between(r.rng, 0, 2*time.Millisecond), func() {
		t.busy = false
		if len(t.queue) == 0 {
			return
		}
		e := t.queue[0]
		t.queue = t.queue[1:]
		if r.outbox.Stale(&e) {
			r.wake(t)
			return
		}
		if r.dies() {
			return
		}
		ok := r.carryOut(e)
		if r.dies() {
			return
		}
		if !ok {
			r.actTail(r.outbox.Failed(e.Lane.ID, e.Turn))
		}
		r.wake(t)
	})
}

// carryOut does one effect; it reports false when the bus failed.
func (r *region) carryOut(e outbox.Effect) bool {
	id := e.Lane.ID
	switch e.Kind {
	case outbox.ResetStream:
		if r.chance(r.plan.losePubAck) {
			return false
		}
		r.note("%d resets stream %s", r.origin, id)
		r.bus.reset(id)
		r.actTail(r.outbox.StreamReset(id, e.Turn))
	case outbox.RemoveStream:
		if r.chance(r.plan.losePubAck) {
			return false
		}
		r.note("%d removes stream %s", r.origin, id)
		r.cover("a stream that nobody needs was removed")
		delete(r.bus.streams, id)
		r.actTail(r.outbox.StreamRemoved(id, e.Turn))
	case outbox.OpenStream:
		if !r.bus.open(id, e.Peers) {
			return false
		}
		r.kick(id)
		r.actTail(r.outbox.StreamOpened(id, e.Turn))
	case outbox.Load:
		entries, err := r.readLog(id, e.Seq, e.Bytes)
		if err != nil && !errors.Is(err, change.ErrTrimmed) {
			return false
		}
		r.cover("the outbox caught up from the log")
		r.actTail(r.outbox.Loaded(id, e.Turn, entries))
	case outbox.Trim:
		r.note("%d trims %s to %d", r.origin, id, e.Seq)
		r.cover("trim")
		r.manual.Trim(id, e.Seq, func(error) {})
		r.work()
	case outbox.Publish:
		return r.publish(e)
	case outbox.LeftBehind:
		r.note("%d leaves %d behind in %s", r.origin, e.Peer, id)
		r.cover("a peer was left behind")
	case outbox.CaughtUp:
		r.cover("a peer that was left behind has caught up")
	}
	return true
}

// publish stores an entry's fragments. The bus takes them at once, and says so later, or never.
func (r *region) publish(e outbox.Effect) bool {
	id := e.Lane.ID
	src := change.Source{Origin: r.origin, Incarnation: r.shard.Incarnation(), Lane: id}
	fragments := 0
	keys := changedBy(&e.Entry)
	_, err := change.AppendMessages(src, &e.Entry, r.matrix.Purge(id), r.plan.maxMessage, nil, func(m []byte) error {
		if r.dies() {
			return errors.New("the region died")
		}
		fragments++
		gone, ok := r.bus.append(id, stored{m, e.Seq, src.Incarnation, keys})
		if !ok {
			return errors.New("the stream is gone")
		}
		r.lost(id, gone)
		return nil
	})
	if err != nil {
		return false
	}
	if fragments > 1 {
		r.cover("an entry of several fragments")
	}
	r.kick(id)
	if r.chance(r.plan.losePubAck) {
		r.cover("a publish acknowledgement was lost")
		r.after(requestTimeout, func() { r.actTail(r.outbox.Failed(id, e.Turn)) })
		return true
	}
	r.after(between(r.rng, 0, 5*time.Millisecond), func() { r.actTail(r.outbox.Published(id, e.Turn, e.Seq)) })
	return true
}

// lost takes into evidence what a stream no longer has, for each peer that has not applied it.
func (r *region) lost(lane globaltable.LaneID, gone []stored) {
	for _, m := range gone {
		for _, o := range r.regions {
			l := o.lane(r.origin, m.incarnation, lane)
			if o != r && o.follows(lane) && o.took[l] < m.seq {
				r.hole(l, m.seq)
			}
		}
	}
}

func (r *region) hole(l check.Lane, seq uint64) {
	r.cover("a hole was made")
	r.evidence.holes = append(r.evidence.holes, check.Hole{Lane: l, Seq: seq})
}

// damageStreams loses each stream, brings it back as it was a while ago, or leaves it.
func (r *region) damageStreams() {
	for _, lane := range r.laneIDs() {
		switch r.rng.IntN(3) {
		case 0:
			r.note("stream %d/%s is lost", r.origin, lane)
			r.cover("a stream was lost")
			delete(r.bus.streams, lane)
		case 1:
			if r.bus.rollback(lane) {
				r.note("stream %d/%s is rolled back", r.origin, lane)
				r.cover("a stream was rolled back")
			}
		}
	}
}

// kick tells the lane's peers that there may be something to fetch.
func (r *region) kick(lane globaltable.LaneID) {
	for _, o := range r.regions {
		if o != r && o.up {
			for _, s := range o.sessions {
				if s.from == r {
					s.fetchSoon(lane)
				}
			}
		}
	}
}
