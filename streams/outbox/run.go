package outbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
)

// Log is the shard's log.
type Log interface {
	// ReadLog returns consecutive durable entries from the sequence on, or change.ErrTrimmed.
	ReadLog(lane globaltable.LaneID, from uint64, maxBytes int) ([]change.Entry, error)
	// Trim drops entries up to and with upTo.
	Trim(ctx context.Context, lane globaltable.LaneID, upTo uint64) error
}

// RunnerConfig configures a Runner.
type RunnerConfig struct {
	Self        hlc.Origin
	Shard       uint16
	Incarnation globaltable.Incarnation
	Home        bus.Home
	Log         Log
	Floor       func(globaltable.LaneID) hlc.Timestamp // purge frontier sent with messages
	Name        func(hlc.Origin) string                // region name, as the bus knows peers
	Limits      Limits
	Used        func(globaltable.LaneID) bool // whether a lane may be written, now; see NewCore. It must be fast
	// MaySend is asked for each entry before it goes into its lane's stream; an error says why it may not, now: the lane begins again later. nil: all may.
	MaySend func(globaltable.Lane, *change.Entry) error
	// Excess returns up to and with which sequence a lane's log is beyond its byte limit; zero: it is within. nil: there is no limit.
	Excess      func(globaltable.LaneID) (upTo uint64)
	StreamBytes int64         // bound of each lane's stream; default 256 MiB
	Interval    time.Duration // between ticks: trimming and new attempts; default 500 ms
	Events      Events
}

// Events report what a runner does. Any may be nil; they must not block.
type Events struct {
	Reset   func(lane globaltable.LaneID) // a stream is made anew
	Removed func(lane globaltable.LaneID) // a stream was deleted: the lane is over, or another store's
	Failed  func(lane globaltable.LaneID, err error)
	// Lagging: the lane's log has dropped what the peer has not confirmed; or the peer has caught up.
	Lagging func(lane globaltable.LaneID, peer hlc.Origin, is bool)
}

// Runner carries out what its Core decides. The Core is under a mutex; each lane has one worker, which carries out the lane's effects in
// their order and may wait for the bus, so a slow lane does not hold up another one, nor the committer that brings fresh entries.
type Runner struct {
	cfg RunnerConfig

	mu      sync.Mutex
	core    *Core
	found   bool // the bus's streams were listed since it began, or began again, and none is to be removed that was not
	workers map[globaltable.LaneID]*worker
	spawn   func(*worker) // starts a worker; nil before and after Run
}

// worker is one lane's queue of effects. The Core bounds it: at most FlightBytes of Publish, one of each other kind, trims, which are
// folded into one, and one word about each peer that is left behind or has caught up.
type worker struct {
	queue []Effect
	wake  chan struct{} // holds one token when the queue may be non-empty
}

// NewRunner returns a Runner. It starts nothing.
func NewRunner(cfg RunnerConfig) *Runner {
	if cfg.StreamBytes == 0 {
		cfg.StreamBytes = 256 << 20
	}
	if cfg.Interval == 0 {
		cfg.Interval = 500 * time.Millisecond
	}
	return &Runner{cfg: cfg, core: NewCore(cfg.Self, cfg.Limits, cfg.Used), workers: map[globaltable.LaneID]*worker{}}
}

// AddLane adds a lane of the log, or tells that its members changed.
func (r *Runner) AddLane(l globaltable.Lane, head, trimmed uint64) {
	r.step(func() []Effect { return r.core.AddLane(l, head, trimmed) })
}

// Fresh takes entries that have just become durable. It does not wait for the bus.
func (r *Runner) Fresh(l globaltable.Lane, entries []change.Entry) {
	r.step(func() []Effect {
		if len(entries) == 0 {
			return nil
		}
		first := entries[0].Seq
		effects := r.core.AddLane(l, first-1, first-1)
		return append(effects, r.core.Fresh(l.ID, entries)...)
	})
}

// Confirmed takes a peer's durable position, checked by the caller.
func (r *Runner) Confirmed(peer hlc.Origin, lane globaltable.LaneID, seq uint64) {
	r.step(func() []Effect { return r.core.Confirmed(lane, peer, seq) })
}

// Exclude says which members of each lane do not count any more, or again; see Core.Exclude. f must be fast, and is called at once only.
func (r *Runner) Exclude(f func(globaltable.Lane) []hlc.Origin) {
	r.step(func() []Effect { return r.core.Exclude(f) })
}

// Renew begins a lane again; see Core.Renew.
func (r *Runner) Renew(lane globaltable.LaneID) {
	r.step(func() []Effect { return r.core.Renew(lane) })
}

// Live reports whether the lane's stream is open to its peers, with all that it is to have; a lane without peers needs none.
func (r *Runner) Live(lane globaltable.LaneID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.Live(lane)
}

// Status returns the state of all lanes.
func (r *Runner) Status() []Backlog {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.Status()
}

// Run publishes and trims until ctx is done. Lanes added before are served too.
func (r *Runner) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	r.mu.Lock()
	r.spawn = func(w *worker) { group.Go(func() error { return r.work(ctx, w) }) }
	for _, w := range r.workers {
		r.spawn(w)
	}
	r.mu.Unlock()
	group.Go(func() error { return r.tick(ctx) })
	return group.Wait()
}

func (r *Runner) tick(ctx context.Context) error {
	// While spawn is set this goroutine lives, so the group is never added to once it has been waited for.
	defer func() {
		r.mu.Lock()
		r.spawn = nil
		r.mu.Unlock()
	}()
	ticker := time.NewTicker(r.cfg.Interval)
	defer ticker.Stop()
	for {
		r.find(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.step(r.core.Tick)
			r.step(r.limit)
		case <-r.cfg.Home.Reset():
			r.setFound(false)
			r.step(r.core.BusReset)
		}
	}
}

// find has the streams removed that the bus has and the log does not, once for each start of the bus. What fails is tried again with the next tick.
func (r *Runner) find(ctx context.Context) {
	r.mu.Lock()
	found := r.found
	r.mu.Unlock()
	if found {
		return
	}
	ids, err := r.cfg.Home.Lanes(ctx)
	if err != nil {
		if f := r.cfg.Events.Failed; f != nil && ctx.Err() == nil {
			f(0, err)
		}
		return
	}
	r.setFound(true) // before: what fails sets it back
	r.step(func() []Effect { return r.core.Found(ids) })
}

func (r *Runner) setFound(found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = found
}

// limit has the logs trimmed that are beyond their limit.
func (r *Runner) limit() (effects []Effect) {
	if r.cfg.Excess == nil {
		return nil
	}
	for id := range r.core.lanes {
		if upTo := r.cfg.Excess(id); upTo > 0 {
			effects = append(effects, r.core.Exceeded(id, upTo, time.Now())...)
		}
	}
	return effects
}

// step gives the core an event and each lane's worker the effects.
func (r *Runner) step(event func() []Effect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range event() {
		w := r.workers[e.Lane.ID]
		if w == nil {
			w = &worker{wake: make(chan struct{}, 1)}
			r.workers[e.Lane.ID] = w
			if r.spawn != nil {
				r.spawn(w)
			}
		}
		w.add(e)
	}
}

// add queues an effect; the runner's mutex is held. A new stream makes what was due to the old one pointless, and a trim that waits is replaced
// by a later one.
func (w *worker) add(e Effect) {
	if e.Kind == ResetStream || e.Kind == RemoveStream || e.Kind == Trim {
		keep := w.queue[:0]
		for _, old := range w.queue {
			if (e.Kind == Trim) == (old.Kind == Trim) {
				continue
			}
			keep = append(keep, old)
		}
		clear(w.queue[len(keep):])
		w.queue = keep
	}
	w.queue = append(w.queue, e)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns the next effect that is to be carried out.
func (r *Runner) take(w *worker) (Effect, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(w.queue) > 0 {
		e := w.queue[0]
		w.queue[0] = Effect{}
		w.queue = w.queue[1:]
		if !r.core.Stale(&e) {
			return e, true
		}
	}
	return Effect{}, false
}

// work carries out one lane's effects.
func (r *Runner) work(ctx context.Context, w *worker) error {
	var scratch []byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		for e, ok := r.take(w); ok && ctx.Err() == nil; e, ok = r.take(w) {
			var err error
			if scratch, err = r.act(ctx, e, scratch); err != nil && ctx.Err() == nil {
				if f := r.cfg.Events.Failed; f != nil {
					f(e.Lane.ID, err)
				}
				r.step(func() []Effect { return r.core.Failed(e.Lane.ID, e.Turn) })
			}
		}
	}
}

func (r *Runner) act(ctx context.Context, e Effect, scratch []byte) ([]byte, error) {
	id := e.Lane.ID
	switch e.Kind {
	case ResetStream:
		if f := r.cfg.Events.Reset; f != nil {
			f(id)
		}
		if err := r.cfg.Home.ResetLane(ctx, r.spec(e)); err != nil {
			return scratch, err
		}
		r.step(func() []Effect { return r.core.StreamReset(id, e.Turn) })
	case RemoveStream:
		if err := r.cfg.Home.RemoveLane(ctx, id); err != nil {
			r.setFound(false) // it may be one that the core does not know
			return scratch, err
		}
		if f := r.cfg.Events.Removed; f != nil {
			f(id)
		}
		r.step(func() []Effect { return r.core.StreamRemoved(id, e.Turn) })
	case OpenStream:
		if err := r.cfg.Home.OpenLane(ctx, r.spec(e)); err != nil {
			return scratch, err
		}
		r.step(func() []Effect { return r.core.StreamOpened(id, e.Turn) })
	case Load:
		entries, err := r.cfg.Log.ReadLog(id, e.Seq, e.Bytes)
		if err != nil && !errors.Is(err, change.ErrTrimmed) {
			return scratch, err
		}
		r.step(func() []Effect { return r.core.Loaded(id, e.Turn, entries) })
	case Trim:
		return scratch, r.cfg.Log.Trim(ctx, id, e.Seq)
	case LeftBehind, CaughtUp:
		if f := r.cfg.Events.Lagging; f != nil {
			f(id, e.Peer, e.Kind == LeftBehind)
		}
	case Publish:
		return r.publish(ctx, e, scratch)
	}
	return scratch, nil
}

// publish sends an entry's fragments. The entry counts as published when the bus has taken the last of them, since it takes them in order.
func (r *Runner) publish(ctx context.Context, e Effect, scratch []byte) ([]byte, error) {
	id := e.Lane.ID
	if f := r.cfg.MaySend; f != nil && !e.Entry.Void {
		if err := f(e.Lane, &e.Entry); err != nil {
			return scratch, err
		}
	}
	src := change.Source{Origin: r.cfg.Self, Shard: r.cfg.Shard, Incarnation: r.cfg.Incarnation, Lane: id}
	var parts [][]byte
	scratch, err := change.AppendMessages(src, &e.Entry, r.cfg.Floor(id), bus.MaxMessage, scratch, func(m []byte) error {
		parts = append(parts, m)
		return nil
	})
	if err != nil {
		return scratch, err
	}
	for i, m := range parts {
		last := i == len(parts)-1
		err := r.cfg.Home.Publish(ctx, id, m, func(err error) {
			r.step(func() []Effect {
				switch {
				case err != nil:
					return r.core.Failed(id, e.Turn)
				case last:
					return r.core.Published(id, e.Turn, e.Seq)
				}
				return nil
			})
		})
		if err != nil {
			return scratch, err
		}
	}
	return scratch, nil
}

func (r *Runner) spec(e Effect) bus.LaneSpec {
	spec := bus.LaneSpec{ID: e.Lane.ID, MaxBytes: r.cfg.StreamBytes}
	for _, o := range e.Peers {
		spec.Peers = append(spec.Peers, r.cfg.Name(o))
	}
	return spec
}
