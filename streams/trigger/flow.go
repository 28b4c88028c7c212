package trigger

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/globaltable/pattern"
	"github.com/concordat-db/concordat/streams/cdc"
)

const (
	maxLook   = 4096        // records that are looked at without a word to who waits for them
	lookEvery = time.Second // a cursor moves on with the region's mark, also where nothing is told
	buryPause = time.Second // before dead letters are stored once more
)

// flow delivers a feed from where it is, while this region fires it. Its goroutine owns the pool; those that deliver batches tell it what became of them.
type flow struct {
	work    *work
	id      FeedID
	spec    *globaltable.Trigger
	table   atomic.Pointer[globaltable.Table] // the newest document that divides items as the one at the beginning did
	teller  cdc.Teller
	pattern *pattern.Pattern
	pool    *Pool
	done    chan outcome
	want    chan hlc.Timestamp // of the watcher: after which position there is to be something
	news    chan struct{}      // from it
	once    sync.Once
	halt    chan struct{} // closed by stop
	cut     chan struct{} // closed when what is under way has to end
	over    sync.Once
	ended   chan struct{} // closed by end

	watching bool
}

// outcome is what became of a batch.
type outcome struct {
	batch *Batch
	told  []Event // those that may be told
	err   error   // nil: it is dealt with
	after time.Duration
}

// newFlow returns a flow from where the feed is. The caller holds w.mu.
func newFlow(w *work, id FeedID) (*flow, error) {
	p, err := pattern.Compile(w.spec.Filter)
	if err != nil {
		return nil, err
	}
	g, cfg := w.spec, &w.runner.cfg
	first, most := g.Delays()
	at := w.core.Begin(id, cfg.Stream.Mark())
	f := &flow{work: w, id: id, spec: g, pattern: p, done: make(chan outcome), want: make(chan hlc.Timestamp, 1), news: make(chan struct{}, 1),
		halt: make(chan struct{}), cut: make(chan struct{}), ended: make(chan struct{}),
		pool: NewPool(PoolConfig{Size: g.BatchSize(), Window: g.BatchWindow(), Parallel: g.Workers(), Attempts: g.Attempts(), First: first, Most: most, Random: rand.Float64}, at)}
	f.teller = cdc.Teller{Table: w.adopted, Region: cfg.Region, Name: func(o hlc.Origin) string {
		d, _ := cfg.Catalog().RegionOf(o)
		return d.Name
	}}
	f.table.Store(w.adopted)
	return f, nil
}

// follow takes a later document of the table, of the same era.
func (f *flow) follow(t *globaltable.Table) { f.table.Store(t) }

// stop has the flow end: it reads and begins nothing any more, and what is under way may take so long.
func (f *flow) stop(patience time.Duration) {
	f.once.Do(func() {
		close(f.halt)
		if patience == 0 {
			close(f.cut)
			return
		}
		time.AfterFunc(patience, func() { close(f.cut) })
	})
}

func (f *flow) run(ctx context.Context) {
	defer f.end()
	defer f.work.look()
	ctx, cancel := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(func() { f.watch(ctx) })
	others.Go(func() {
		select {
		case <-f.cut:
			cancel()
		case <-ctx.Done():
		}
	})
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for !f.halted(ctx) {
		more := f.turn(ctx, func(b *Batch, to Target) {
			others.Go(func() {
				f.done <- f.try(ctx, to, b) // run takes them all
			})
		})
		f.wait(ctx, look.C, more)
	}
	for f.pool.Running() > 0 {
		f.took(ctx, <-f.done)
	}
}

// turn does what there is to do now: it reads what there is room for, has begun what is to be tried, and tells how far the feed is. more says that there is something to be read at once, if there is room. begin is to see to it that what became of each batch is taken (took).
func (f *flow) turn(ctx context.Context, begin func(b *Batch, to Target)) (more bool) {
	more = f.read(ctx)
	target := f.work.target // it stays as long as flows do
	for b := f.pool.Next(f.now()); b != nil; b = f.pool.Next(f.now()) {
		begin(b, target)
	}
	f.work.advance(f.id, f.pool.Position(), false)
	return more
}

func (f *flow) now() time.Time { return f.work.runner.cfg.Now() }

// end notes that the flow does nothing any more.
func (f *flow) end() { f.over.Do(func() { close(f.ended) }) }

func (f *flow) halted(ctx context.Context) bool {
	select {
	case <-f.halt:
		return true
	default:
		return ctx.Err() != nil
	}
}

// wait returns when there may be something to do. more says that there is something to be read at once, if there is room.
func (f *flow) wait(ctx context.Context, look <-chan time.Time, more bool) {
	room := f.pool.Room()
	if more && room {
		select {
		case o := <-f.done:
			f.took(ctx, o)
		default:
		}
		return
	}
	if room && !f.watching {
		f.watching = true
		f.want <- f.pool.Read()
	}
	var due <-chan time.Time
	if at := f.pool.Wake(); !at.IsZero() {
		timer := time.NewTimer(at.Sub(f.now()))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case o := <-f.done:
		f.took(ctx, o)
	case <-f.news:
		f.watching = false
	case <-due:
	case <-look:
	case <-f.halt:
	case <-ctx.Done():
	}
}

// watch says, when it is asked, when the stream has something after a position.
func (f *flow) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case after := <-f.want:
			f.work.runner.cfg.Stream.Await(ctx, f.work.id.Table, after)
			f.news <- struct{}{} // there is room: it is asked for again after it was taken only
		}
	}
}

// read takes what the stream has into the pool, as far as there is room, and reports whether there may be more.
func (f *flow) read(ctx context.Context) (more bool) {
	if !f.pool.Room() {
		return false
	}
	stream, t := f.work.runner.cfg.Stream, f.table.Load()
	after := f.pool.Read()
	if lost := stream.Lost(t); lost > after {
		f.work.counted(f.id, func(c *Counts) { c.Gaps++ })
		if gap := f.work.runner.cfg.Events.Gap; gap != nil {
			gap(t.Name, f.spec.Name, after, lost)
		}
		f.pool.Skip(lost)
		after = lost
	}
	looked, now := 0, f.now()
	upTo, err := stream.Read(t.ID, after, func(r *cdc.Record) bool {
		looked++
		if e, wanted := f.event(t, r); wanted {
			f.pool.Add(e, now)
		}
		more = looked >= maxLook || !f.pool.Room()
		return !more && ctx.Err() == nil
	})
	if err != nil {
		f.work.runner.trouble("a change stream cannot be read", err)
		return false
	}
	f.pool.Skip(upTo)
	return more
}

// event returns the event of a record that is to be delivered.
func (f *flow) event(t *globaltable.Table, r *cdc.Record) (e Event, wanted bool) {
	w := f.work
	w.mu.Lock()
	vector, until, ok := w.core.Feed(f.id)
	counts := w.count(f.id)
	switch {
	case !ok || until != 0 && r.Position > until || !f.id.Has(r, func() globaltable.LaneID { return laneOf(t, r.Key) }):
		counts.Filtered++
		ok = false
	case f.id.Lane != 0 && vector.Covers(r):
		counts.Covered++
		ok = false
	}
	w.mu.Unlock()
	if !ok {
		return Event{}, false
	}
	body, err := f.teller.AppendEvent(nil, r)
	if err == nil {
		wanted, err = f.pattern.Match(body)
	}
	if err != nil {
		w.runner.trouble("an event cannot be matched: it is delivered", err)
		wanted = len(body) > 0
	}
	if !wanted {
		w.counted(f.id, func(c *Counts) { c.Filtered++ })
		return Event{}, false
	}
	return Event{Position: r.Position, ID: f.teller.ID(r), Key: slices.Clone(r.Key), JSON: body}, true
}

// try delivers what of a batch may be told.
func (f *flow) try(ctx context.Context, target Target, b *Batch) outcome {
	began, events := f.now(), &f.work.runner.cfg.Events
	table := f.table.Load()
	told := f.mayTell(b.Events)
	if len(told) == 0 {
		return outcome{batch: b}
	}
	attempt, cancel := context.WithTimeout(ctx, f.spec.Target.TimeLimit())
	defer cancel()
	err := target.Deliver(attempt, told)
	if err == nil {
		f.work.counted(f.id, func(c *Counts) { c.Delivered += uint64(len(told)) })
		if events.Delivered != nil {
			events.Delivered(table.Name, f.spec.Name, len(told), f.now().Sub(began))
		}
		return outcome{batch: b, told: told}
	}
	o := outcome{batch: b, told: told, err: err}
	if x, ok := err.(*failure); ok {
		o.after = x.after
	}
	return o
}

// mayTell returns those of the events whose items may be here and whose target may be told of them.
func (f *flow) mayTell(events []Event) (told []Event) {
	t, self := f.work.runner.document(f.work.id.Table), f.work.runner.cfg.Self
	if t != nil && len(t.Pins) == 0 {
		return events
	}
	for i := range events {
		if t != nil && MayTell(t, self, &events[i], &f.spec.Target) {
			told = append(told, events[i])
		}
	}
	return told
}

// MayTell reports whether a region may tell a target of an event now.
func MayTell(t *globaltable.Table, self hlc.Origin, e *Event, target *globaltable.Target) bool {
	return locality.Decide(t, e.Key, self, locality.Receive) == locality.Permit && locality.MayTell(t, e.Key, target)
}

// document returns the table's newest document.
func (r *Runner) document(id globaltable.TableID) *globaltable.Table {
	t, _ := r.cfg.Catalog().Table(id)
	return t
}

// took takes what became of a batch.
func (f *flow) took(ctx context.Context, o outcome) {
	events, name := &f.work.runner.cfg.Events, f.table.Load().Name
	if withheld := f.pool.Keep(o.batch, o.told); withheld > 0 {
		f.work.counted(f.id, func(c *Counts) { c.Withheld += uint64(withheld) })
		if events.Withheld != nil {
			events.Withheld(name, f.spec.Name, withheld)
		}
	}
	if o.err != nil {
		if ctx.Err() != nil {
			f.pool.Again(o.batch, f.now()) // by who goes on: this flow ends
			return
		}
		f.work.counted(f.id, func(c *Counts) { c.fail(o.err, f.now()) })
		if events.Failed != nil {
			events.Failed(name, f.spec.Name, o.err)
		}
		if f.pool.Failed(o.batch, o.after, f.now()) || !f.bury(ctx, o) {
			return
		}
	}
	f.pool.Dealt(o.batch)
	f.work.advance(f.id, f.pool.Position(), true)
}

// bury makes the events of a batch dead letters. It returns false if they could not be stored: the batch is tried once more then.
func (f *flow) bury(ctx context.Context, o outcome) bool {
	letters := make([]cdc.Letter, 0, len(o.batch.Events))
	for i := range o.batch.Events {
		e := &o.batch.Events[i]
		letters = append(letters, cdc.Letter{Position: e.Position, Buried: f.now().UnixMilli(), Attempts: uint16(o.batch.Attempt), Key: e.Key, Error: o.err.Error(), Event: e.JSON})
	}
	if err := f.work.runner.cfg.Store.Bury(ctx, f.work.id, letters); err != nil {
		f.work.runner.trouble("dead letters were not stored", err)
		f.pool.Again(o.batch, f.now().Add(buryPause))
		return false
	}
	f.work.counted(f.id, func(c *Counts) { c.Buried += uint64(len(letters)) })
	if buried := f.work.runner.cfg.Events.Buried; buried != nil {
		buried(f.table.Load().Name, f.spec.Name, len(letters))
	}
	return true
}
