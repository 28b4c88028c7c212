package sim

import (
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// link is one direction between two regions.
type link struct {
	up      bool
	latency time.Duration
	last    time.Duration // arrival of the newest message, for links that keep the order
}

// send carries something from one region to another: arrive happens there, unless the link is cut when it leaves or when it would arrive.
func (w *world) send(from, to hlc.Origin, arrive func()) {
	l := w.links[[2]hlc.Origin{from, to}]
	if !l.up {
		return
	}
	at := w.now + l.latency + between(w.rng, 0, w.plan.jitter)
	if !w.plan.reorder {
		at = max(at, l.last)
		l.last = at
	}
	w.after(at-w.now, func() {
		if l.up {
			arrive()
		}
	})
}

// fault is a kind of fault with the time between two strikes; zero: never.
type fault struct {
	every  time.Duration
	strike func()
}

func (w *world) faults() []fault {
	p := w.plan
	return []fault{
		{p.partition, w.partition},
		{p.crash, w.crash},
		{p.busRestart, w.restartBus},
		{p.busCut, w.cutStream},
		{p.redeliver, w.redeliver},
		{p.clockJump, w.jumpClock},
		{p.reshape, w.reshape},
		{p.fence, w.fence},
		{p.remove, w.removeRegion},
		{p.lose, w.lose},
		{p.bringBack, w.bringBack},
		{p.copies, w.keepCopy},
		{p.collect, w.collectSome},
		{p.timeToLive, w.changeTimeToLive},
		{p.dropConflict, w.dropSomeConflict},
		{p.changeMode, w.changeMergeMode},
		{p.index, w.changeIndex},
		{p.build, w.buildSome},
		{p.disassociate, w.disassociate},
		{p.repin, w.repin},
		{200 * time.Millisecond, w.rememberStream},
	}
}

// partition cuts one link, one or both ways, or a whole region off, for a while.
func (w *world) partition() {
	a, b := w.anyRegion(), w.anyRegion()
	if a == b {
		w.isolate(a)
		return
	}
	both := w.rng.IntN(2) == 0
	w.note("cut %d→%d both=%v", a.origin, b.origin, both)
	cut := []*link{w.links[[2]hlc.Origin{a.origin, b.origin}]}
	if both {
		cut = append(cut, w.links[[2]hlc.Origin{b.origin, a.origin}])
	}
	w.cover("partition")
	w.cut(cut)
}

func (w *world) isolate(r *region) {
	w.note("cut off %d", r.origin)
	w.cover("region cut off")
	var cut []*link
	for _, o := range w.regions {
		cut = append(cut, w.links[[2]hlc.Origin{r.origin, o.origin}], w.links[[2]hlc.Origin{o.origin, r.origin}])
	}
	w.cut(cut)
}

func (w *world) cut(links []*link) {
	for _, l := range links {
		l.up = false
	}
	w.after(between(w.rng, 50*time.Millisecond, 4*time.Second), func() {
		for _, l := range links {
			l.up = true
		}
	})
}

func (w *world) crash() {
	if r := w.anyRegion(); r.up {
		r.crash()
	}
}

// restartBus loses or rolls back a region's streams and says so, as an external server's restart does.
func (w *world) restartBus() {
	r := w.anyRegion()
	r.damageStreams()
	if r.up {
		w.note("bus of %d restarts", r.origin)
		w.cover("bus restart")
		r.actTail(r.outbox.BusReset())
		r.actTail(r.outbox.Found(r.laneIDs()))
	}
}

// cutStream loses the end of a stream and tells nobody.
func (w *world) cutStream() {
	r := w.anyRegion()
	lane, ok := r.anyStream()
	if !ok {
		return
	}
	gone := r.bus.cut(lane, 1+w.rng.IntN(3))
	if len(gone) > 0 {
		w.note("stream %d/%s loses its last %d messages", r.origin, lane, len(gone))
		w.cover("stream cut short")
		r.lost(lane, gone)
	}
}

func (w *world) redeliver() {
	r := w.anyRegion()
	if lane, ok := r.anyStream(); ok {
		peer := w.anyRegion()
		r.bus.redeliver(lane, peer.origin)
		r.kick(lane)
	}
}

func (w *world) rememberStream() {
	r := w.anyRegion()
	if lane, ok := r.anyStream(); ok {
		r.bus.remember(lane)
	}
}

// jumpClock sets a physical clock ahead or back, mostly for a while only.
func (w *world) jumpClock() {
	r := w.anyRegion()
	d := between(w.rng, 0, 2*w.plan.jumpAhead) - w.plan.jumpAhead
	w.note("clock of %d jumps by %s", r.origin, d)
	w.cover("clock jump")
	r.offset += d
	w.after(between(w.rng, 100*time.Millisecond, 3*time.Second), func() {
		if w.quiet {
			return
		}
		r.offset = w.plan.skew[r.origin]
		if r.up && w.plan.crash > 0 && w.rng.IntN(2) == 0 {
			r.crash() // whoever sets a clock often restarts what reads it
		}
	})
}

// heal ends all faults.
func (w *world) heal() {
	w.note("healed")
	for _, a := range w.regions {
		for _, b := range w.regions {
			w.links[[2]hlc.Origin{a.origin, b.origin}].up = true
		}
	}
	for _, r := range w.regions {
		r.offset = 0
		r.start()
	}
}
