package trigger

import (
	"bytes"
	"context"
	"maps"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// work is what one trigger has in this region. Its goroutine owns the flows, one for each feed that is fired here.
type work struct {
	runner *Runner
	id     globaltable.TriggerID
	poke   chan struct{} // there is something to look at
	halt   chan struct{} // closed by stop
	once   sync.Once
	ended  chan struct{} // closed when run has returned

	mu     sync.Mutex
	table  *globaltable.Table   // as the catalog has it
	spec   *globaltable.Trigger // in it
	core   *Core
	flows  map[FeedID]*flow // with what is under way
	counts map[FeedID]*Counts
	dealt  bool      // something was delivered since the cursors were stored
	busy   time.Time // until when cursors are taken care of at each tick, and the others told early: something was delivered less than a beat before

	// Of run alone.
	target  Target
	number  uint64 // of the spec that target is for
	adopted *globaltable.Table
	saved   []byte
	savedAt time.Time
	beatAt  time.Time
}

// newWork returns the work on a trigger that is as far as state says; nil: one that was not met before.
func newWork(r *Runner, id globaltable.TriggerID, t *globaltable.Table, g *globaltable.Trigger, state []byte) *work {
	w := &work{runner: r, id: id, poke: make(chan struct{}, 1), halt: make(chan struct{}), ended: make(chan struct{}),
		table: t, spec: g, core: NewCore(r.cfg.Self, r.cfg.Reach), flows: map[FeedID]*flow{}, counts: map[FeedID]*Counts{}, saved: state}
	if state != nil {
		if err := w.core.Load(state, r.cfg.Now()); err != nil {
			r.trouble("cursors of a trigger cannot be read: it begins anew", err)
			w.core = NewCore(r.cfg.Self, r.cfg.Reach)
		}
	}
	return w
}

// take takes the trigger as the catalog has it now.
func (w *work) take(t *globaltable.Table, g *globaltable.Trigger) {
	w.mu.Lock()
	w.table, w.spec = t, g
	w.mu.Unlock()
	w.look()
}

func (w *work) look() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

func (w *work) stop() { w.once.Do(func() { close(w.halt) }) }

func (w *work) names() (table, trigger string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table.Name, w.id.Name
}

// hear takes what another region tells.
func (w *work) hear(from hlc.Origin, entries []Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.table.Replica(from) != nil {
		w.core.Hear(from, entries, w.runner.cfg.Now())
	}
}

// word returns what the others are to be told: in any case, or if a cursor has moved on since.
func (w *work) word(all bool) (*globaltable.Table, Told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := Told{Table: w.id.Table, Name: w.id.Name, Born: w.id.Born}
	if w.adopted != nil && (all || w.core.Moved()) {
		told.Entries = w.core.Entries(func(id FeedID) bool { return w.flows[id] != nil })
	}
	return w.table, told
}

// run fires the trigger until ctx is done, or it is stopped.
func (w *work) run(ctx context.Context) {
	defer close(w.ended)
	ctx, cancel := context.WithCancel(ctx)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	defer func() {
		cancel()
		w.finish(context.WithoutCancel(ctx))
	}()
	for {
		w.step(ctx)
		select {
		case <-ctx.Done():
			return
		case <-w.halt:
			return
		case <-w.poke:
		case <-ticker.C:
		}
	}
}

// finish ends all that goes on, and stores how far it is.
func (w *work) finish(ctx context.Context) {
	w.endAll(0)
	w.save(ctx, true)
	if w.target != nil {
		w.target.Close()
	}
}

// step brings all in line with the catalog, with what was heard, and with how far the region is.
func (w *work) step(ctx context.Context) {
	w.adopt(ctx)
	if w.adopted == nil {
		return
	}
	cfg := &w.runner.cfg
	now := cfg.Now()
	beat := now.Sub(w.beatAt) >= cfg.Beat-tick/2
	if beat {
		w.beatAt = now
	}
	lost := cfg.Stream.Lost(w.adopted)
	w.mu.Lock()
	w.core.Lost(lost)
	busy := now.Before(w.busy)
	w.mu.Unlock()
	if beat || busy {
		w.note(now)
	}
	w.mu.Lock()
	var fires []FeedID
	if cfg.Serves() {
		fires = w.core.Decide(now)
	}
	w.mu.Unlock()
	w.flow(ctx, fires)
	w.save(ctx, false)
	if beat {
		w.report(now)
	}
}

// note has the core know what this region has applied.
func (w *work) note(now time.Time) {
	row := w.runner.cfg.Row(w.adopted)
	mark := w.runner.cfg.Stream.Mark() // after the row
	w.mu.Lock()
	defer w.mu.Unlock()
	w.core.Note(row, mark, now)
	w.spread(now)
}

// spread has the others told early of what is delivered. The caller holds w.mu.
func (w *work) spread(now time.Time) {
	if now.Before(w.busy) && w.core.Moved() {
		w.runner.moved()
	}
}

// adopt takes over what the catalog says, after the end of what goes by something else.
func (w *work) adopt(ctx context.Context) {
	w.mu.Lock()
	t, g := w.table, w.spec
	w.mu.Unlock()
	if t == w.adopted {
		return
	}
	cfg := &w.runner.cfg
	v := viewOf(t, g, cfg.Self, cfg.Life, cfg.Catalog().Active)
	mark, err := cfg.Stream.MarkNow(ctx)
	if err != nil {
		return // the region stops
	}
	if w.adopted != nil && (v.Era != w.core.Era() || g.Number != w.number) {
		w.endAll(drain)
	}
	if w.target == nil || g.Number != w.number {
		if w.target != nil {
			w.target.Close()
		}
		w.target, w.number = cfg.Means.newTarget(t, g), g.Number
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.core.Adopt(v, mark, cfg.Stream.Lost(t), w.runner.cfg.Now())
	w.adopted = t
	for _, f := range w.flows {
		f.follow(t)
	}
	maps.DeleteFunc(w.counts, func(id FeedID, _ *Counts) bool {
		_, _, known := w.core.Feed(id)
		return !known
	})
}

// flow has exactly those feeds delivered, from now on or as soon as what is under way has ended.
func (w *work) flow(ctx context.Context, fires []FeedID) {
	wanted := map[FeedID]bool{}
	for _, id := range fires {
		wanted[id] = true
	}
	changed := false
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, f := range w.flows {
		if !wanted[id] {
			f.stop(drain)
		}
		select {
		case <-f.ended:
			delete(w.flows, id)
			changed = true
		default:
		}
	}
	for _, id := range fires {
		if w.flows[id] != nil {
			continue // if it is stopping, another follows
		}
		f, err := newFlow(w, id)
		if err != nil {
			w.count(id).fail(err, w.runner.cfg.Now())
			continue
		}
		w.flows[id] = f
		changed = true
		w.runner.drive.fly(ctx, f)
	}
	if changed {
		w.runner.soon()
	}
}

// endAll ends all flows, and waits for them. What is under way may take so long.
func (w *work) endAll(patience time.Duration) {
	w.mu.Lock()
	flows := maps.Clone(w.flows)
	w.mu.Unlock()
	for _, f := range flows {
		f.stop(patience)
	}
	for _, f := range flows {
		w.runner.drive.await(f)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range flows {
		delete(w.flows, id)
	}
}

// advance takes that all of a feed was dealt with up to a position; dealt says that some of it was delivered.
func (w *work) advance(id FeedID, position hlc.Timestamp, dealt bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.core.Advance(id, position) {
		return
	}
	now := w.runner.cfg.Now()
	if dealt {
		w.dealt, w.busy = true, now.Add(w.runner.cfg.Beat) // marks come a little later than what they are about
	}
	w.spread(now)
}

// save stores how far the trigger is, if that is worth it.
func (w *work) save(ctx context.Context, last bool) {
	now := w.runner.cfg.Now()
	w.mu.Lock()
	if w.adopted == nil || !w.dealt && !last && now.Sub(w.savedAt) < saveIdle && !w.savedAt.IsZero() {
		w.mu.Unlock()
		return
	}
	state := w.core.State()
	w.dealt = false
	w.mu.Unlock()
	w.savedAt = now
	if bytes.Equal(state, w.saved) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := w.runner.cfg.Store.SetTrigger(ctx, w.id, state); err != nil {
		w.mu.Lock()
		w.dealt = true // once more
		w.mu.Unlock()
		if ctx.Err() == nil && globaltable.KindOf(err) != globaltable.InUse {
			w.runner.trouble("cursors of a trigger were not stored", err)
		}
		return
	}
	w.saved = state
}

// report tells how many feeds are fired here, and how far behind.
func (w *work) report(now time.Time) {
	if w.runner.cfg.Events.Fires == nil {
		return
	}
	w.mu.Lock()
	feeds, behind := 0, time.Duration(0)
	for _, s := range w.core.Standings(now) {
		if s.Fires {
			feeds++
			behind = max(behind, now.Sub(s.Position.Time()))
		}
	}
	table := w.table.Name
	w.mu.Unlock()
	w.runner.cfg.Events.Fires(table, w.id.Name, feeds, behind)
}
