package repair

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// Store is where the records go.
type Store interface {
	// Merge merges records by the one merge, drops those that may not be here, and returns when all is durable. The error is of kind Fenced when the region that gave them
	// is not trusted any more.
	Merge(ctx context.Context, table globaltable.TableID, from Giver, records []Record) error
	// TakePurge takes over, durably, the purge frontier of a table whose records are about to be merged: what is at or below it was dealt with by all replicas.
	TakePurge(ctx context.Context, table globaltable.TableID, purge hlc.Timestamp) error
	// SetJoin keeps the state of a join, durably; Join returns what was kept, nil if nothing was.
	SetJoin(ctx context.Context, table globaltable.TableID, source hlc.Origin, state []byte) error
	Join(table globaltable.TableID, source hlc.Origin) (state []byte, err error)
}

// Config configures a Joiner. Zero limits mean the defaults.
type Config struct {
	Catalog *catalog.Catalog
	Store   Store
	Peers   Peers
	// CatchUps are the exchanges with regions whose lanes were begun anew here. nil: there never are any.
	CatchUps CatchUps
	// Complete is called when all that the sources of a join held is here, before that is told to anybody; again later if it returns an error. toPlace: see Progress. nil: nothing is to be done then.
	Complete func(ctx context.Context, table globaltable.TableID, since globaltable.Version) (toPlace bool, err error)

	Every          time.Duration // between looks at what is unfinished; 250 ms
	PageBytes      int           // of records in one answer; 1 MiB
	Pages          int           // asked for at once, of all joins; 4
	BytesPerSecond int64         // of records, about, of all joins; 0: no limit
	Events         Events
}

// Events are callbacks. Any may be nil. They may be called from several goroutines.
type Events struct {
	Took   func(table globaltable.TableID, source string, records, bytes int) // a page was merged
	Failed func(table globaltable.TableID, source string, err error)          // it is tried again
	Joined func(table globaltable.TableID)
	Caught func(origin hlc.Origin) // all that its lanes, begun anew, have missed is here
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, errors.New("repair: "+text))
		}
	}
	fault(c.Catalog == nil, "no catalog")
	fault(c.Store == nil, "no store")
	fault(c.Peers == nil, "no peers")
	fault(c.Every < 0 || c.PageBytes < 0 || c.PageBytes > maxPage || c.Pages < 0 || c.BytesPerSecond < 0, "a limit is negative or too great")
	return errors.Join(faults...)
}

// Progress is how far a join is.
type Progress struct {
	Done    bool
	Percent int    // by count of items; 100 only when Done
	Waiting string // what for, in words, to follow "Waiting for"; empty when it goes on
	ToPlace bool   // with Done: the region still keeps what policies keep out of it, and has to hand that over
}

// Joiner brings the data of the replicas that are being created in this region. It remembers nothing but in the catalog and the store, so each side may crash at any
// time. Its methods may be called from several goroutines.
type Joiner struct {
	cfg      Config
	self     globaltable.Descriptor
	pages    chan struct{} // holds a token for each page that is asked for or merged
	throttle throttle

	mu     sync.Mutex
	joins  map[workKey]*join
	ending map[hlc.Origin]bool // catch-ups that are being ended
}

// join is one table's. Its goroutine alone asks and merges; mu guards the core, which others look at.
type join struct {
	since    uint64
	cancel   context.CancelFunc // nil: no goroutine
	core     *core              // nil until it was loaded; guarded by Joiner.mu
	complete bool               // Config.Complete has done its part; guarded by Joiner.mu
	toPlace  bool               // what it said; guarded by Joiner.mu
	fault    error              // of Config.Complete; guarded by Joiner.mu
}

// done reports whether nothing is left to do. The caller holds Joiner.mu.
func (one *join) done() bool { return one.core != nil && one.core.done() && one.complete }

// New returns a Joiner. It starts nothing.
func New(cfg Config) (*Joiner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Every = cmp.Or(cfg.Every, 250*time.Millisecond)
	cfg.PageBytes = cmp.Or(cfg.PageBytes, 1<<20)
	cfg.Pages = cmp.Or(cfg.Pages, 4)
	return &Joiner{cfg: cfg, self: cfg.Catalog.View().Self(), pages: make(chan struct{}, cfg.Pages),
		throttle: throttle{perSecond: cfg.BytesPerSecond}, joins: map[workKey]*join{}, ending: map[hlc.Origin]bool{}}, nil
}

// Progress returns how far the join is of the replica that version since of the table brought, its conflict feed included. ok is false when there is no such join.
func (j *Joiner) Progress(table globaltable.TableID, since globaltable.Version) (p Progress, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	one, feed := j.joins[workKey{table: table}], j.joins[workKey{table: table.Feed()}]
	if one == nil || one.since != uint64(since) || feed == nil || feed.since != uint64(since) {
		return Progress{}, false
	}
	if one.core == nil {
		return Progress{}, true
	}
	p = Progress{Done: one.done() && feed.done(), Percent: percent(one.core), ToPlace: one.toPlace || feed.toPlace}
	waiting := one.core.waiting()
	if feed.core != nil {
		p.Percent = percent(one.core, feed.core)
		if len(waiting) == 0 {
			waiting = feed.core.waiting()
		}
	}
	if !p.Done {
		p.Percent = min(p.Percent, 99)
	}
	switch {
	case len(waiting) > 0:
		p.Waiting = strings.Join(waiting, " and ") + " to give " + j.self.Name + " what is there"
	case one.fault != nil:
		p.Waiting = "region " + j.self.Name + ": " + one.fault.Error()
	}
	return p, true
}

// Run brings what is to be joined, until ctx is done; it returns nil then.
func (j *Joiner) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(j.cfg.Every)
	defer tick.Stop()
	for {
		view := j.cfg.Catalog.View()
		j.Look(ctx, view, &running)
		select {
		case <-ctx.Done():
			return nil
		case <-view.Changed():
		case <-tick.C:
		}
	}
}

// Look starts what is to be joined under view and has no goroutine, and stops what is not to be joined any more. There are at most as many
// goroutines, in running, as tables that are being created, and tables shared with each region whose lanes were begun anew. Run repeats it; it is for the simulation, which owns time, in
// place of Run.
func (j *Joiner) Look(ctx context.Context, view *catalog.View, running *sync.WaitGroup) {
	works, catchUps := j.works(view)
	j.mu.Lock()
	defer j.mu.Unlock()
	wanted := map[workKey]bool{}
	for _, w := range works {
		wanted[w.key] = true
		one := j.joins[w.key]
		switch {
		case one == nil:
			one = &join{since: w.since}
			j.joins[w.key] = one
		case one.since != w.since && one.cancel != nil:
			one.cancel() // and at the next look it begins anew
			continue
		case one.since != w.since:
			*one = join{since: w.since}
		}
		if one.cancel != nil || one.done() || !j.isNext(w) {
			continue
		}
		var turn context.Context
		turn, one.cancel = context.WithCancel(ctx)
		running.Go(func() {
			j.run(turn, w, one)
			j.mu.Lock()
			defer j.mu.Unlock()
			one.cancel()
			one.cancel = nil
		})
	}
	for key, one := range j.joins {
		switch {
		case wanted[key]:
		case one.cancel != nil:
			one.cancel()
		default:
			delete(j.joins, key)
		}
	}
	j.endCatchUps(ctx, catchUps, works, running)
}

// isNext reports whether what has to come before w is done: a table comes before its conflict feed. The caller holds mu.
func (j *Joiner) isNext(w *work) bool {
	if !w.key.table.IsFeed() {
		return true
	}
	table := j.joins[workKey{table: w.key.table.Base(), lags: w.key.lags}]
	return table != nil && table.since == w.since && table.done()
}

// run goes on with a piece of work until it is done or every source that is not has failed. The next look tries again.
func (j *Joiner) run(ctx context.Context, w *work, one *join) {
	if one.core == nil {
		c, err := w.newCore(j.cfg.PageBytes)
		if err != nil {
			j.failed(ctx, w.key.table, "", err)
			return
		}
		j.mu.Lock()
		one.core = c
		j.mu.Unlock()
	}
	// First all are asked whether they are ready, then each is read: one that fails holds up no other then.
	for range 2 {
		var g errgroup.Group
		for i := range w.sources {
			g.Go(func() error {
				j.exchange(ctx, w, one.core, i)
				return nil
			})
		}
		_ = g.Wait() // its functions return nil
	}
	j.mu.Lock()
	done := one.core.done()
	j.mu.Unlock()
	if done && ctx.Err() == nil {
		j.complete(ctx, w, one)
	}
}

// complete does what is to be done when all records are here.
func (j *Joiner) complete(ctx context.Context, w *work, one *join) {
	var toPlace bool
	var err error
	if w.key.lags == 0 && j.cfg.Complete != nil {
		toPlace, err = j.cfg.Complete(ctx, w.key.table, w.version)
	}
	j.mu.Lock()
	one.complete, one.toPlace, one.fault = err == nil, toPlace, err
	j.mu.Unlock()
	switch {
	case err != nil:
		j.failed(ctx, w.key.table, "", err)
	case w.key.lags == 0 && j.cfg.Events.Joined != nil:
		j.cfg.Events.Joined(w.key.table)
	}
}

// exchange asks source i for what is missing until there is nothing to ask, or something fails.
func (j *Joiner) exchange(ctx context.Context, w *work, c *core, i int) {
	for ctx.Err() == nil {
		j.mu.Lock()
		r, ok := c.request(i)
		name := c.sources[i].region.Name
		j.mu.Unlock()
		if !ok {
			return
		}
		size, err := j.page(ctx, w, c, i, name, r)
		if err == nil {
			// Not with a page's token: a join that was told to be slow holds up no other one.
			err = w.throttle.wait(ctx, size)
		}
		if err != nil {
			if ctx.Err() == nil {
				j.mu.Lock()
				c.failed(i, err)
				j.mu.Unlock()
				j.failed(ctx, c.table, name, err)
			}
			return
		}
	}
}

// page asks source i once, and returns how many bytes of records came. Records become durable before the state that speaks of them.
func (j *Joiner) page(ctx context.Context, w *work, c *core, i int, name string, r *Request) (size int, err error) {
	select {
	case j.pages <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-j.pages }()
	p, err := j.cfg.Peers.Exchange(ctx, name, r)
	if err != nil {
		return 0, err
	}
	j.mu.Lock()
	next, merge, err := c.took(i, r, p)
	j.mu.Unlock()
	if err != nil || !merge {
		return 0, err
	}
	if err := j.cfg.Store.TakePurge(ctx, c.table, p.Purge); err != nil {
		return 0, err
	}
	if p.Feed > 0 {
		if err := j.cfg.Store.TakePurge(ctx, c.table.Feed(), p.Feed); err != nil {
			return 0, err
		}
	}
	if err := j.cfg.Store.Merge(ctx, c.table, Giver{c.sources[i].region.Origin, p.Incarnation}, p.Records); err != nil {
		return 0, err
	}
	// How far it is, is told by the key of an item. Of one that may not be here, which a source gives that has not heard so yet, not even that is kept: after a crash it goes on from an earlier one.
	if len(next.cursor) <= boundLen || j.cfg.Catalog.Admits(c.table, next.cursor, 0) {
		if err := w.keep(ctx, c.sources[i].region.Origin, next.append(nil)); err != nil {
			return 0, err
		}
	}
	j.mu.Lock()
	c.kept(i, next)
	j.mu.Unlock()
	size = p.Size()
	if f := j.cfg.Events.Took; f != nil {
		f(c.table, name, len(p.Records), size)
	}
	return size, j.throttle.wait(ctx, size)
}

func (j *Joiner) failed(ctx context.Context, table globaltable.TableID, source string, err error) {
	if f := j.cfg.Events.Failed; f != nil && ctx.Err() == nil {
		f(table, source, err)
	}
}

// throttle spreads bytes over time.
type throttle struct {
	perSecond int64 // 0: no limit

	mu   sync.Mutex
	next time.Time // when what was let through so far is paid for
}

// note notes n bytes and returns how long it takes until they, and all before them, are paid for.
func (t *throttle) note(n int) time.Duration {
	if t.perSecond == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.next.Before(now) {
		t.next = now
	}
	t.next = t.next.Add(time.Duration(float64(n) / float64(t.perSecond) * float64(time.Second)))
	return t.next.Sub(now)
}

// ready reports whether all that was noted is paid for.
func (t *throttle) ready() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !time.Now().Before(t.next)
}

// wait notes n bytes and returns when they, and all before them, are paid for.
func (t *throttle) wait(ctx context.Context, n int) error {
	delay := t.note(n)
	if delay == 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
