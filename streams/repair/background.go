package repair

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// BackgroundConfig configures a Background. Verifier and Every are needed.
type BackgroundConfig struct {
	Verifier *Verifier
	// Every is how often every table is to be compared with every other region that has it; it may take longer, see BytesPerSecond. Above zero.
	Every time.Duration
	// BytesPerSecond bounds what is read here, about; 0: no limit. What is read for other regions is bounded by Server.LimitBackground.
	BytesPerSecond int64
	Events         BackgroundEvents
}

// BackgroundEvents are callbacks. Any may be nil. They may be called from several goroutines.
type BackgroundEvents struct {
	Read     func(region string, bytes int64, took time.Duration)             // a step has ended
	Failed   func(table *globaltable.Table, region string, err error)         // it could not be done; it is tried again
	Diverged func(table *globaltable.Table, region string, keys, buckets int) // it has found so many
	Ended    func(table *globaltable.Table, region string, pass Pass)         // a table was compared whole, or given up for this time
	Known    func(region string, diverged int)                                // the number of tables that are known to have diverged from a region's
}

// Background compares this region's tables with those of the other regions, all the time and slowly. It heals nothing. It remembers nothing beyond its life: a
// new process begins anew. While a table has a replica on its way it waits, and so it does while a comparison runs that somebody asked for. Its methods may be called from several goroutines.
type Background struct {
	cfg      BackgroundConfig
	throttle throttle

	mu       sync.Mutex
	schedule schedule
}

// NewBackground returns a Background. It starts nothing.
func NewBackground(cfg BackgroundConfig) (*Background, error) {
	if cfg.Verifier == nil || cfg.Every <= 0 || cfg.BytesPerSecond < 0 {
		return nil, errors.New("repair: no verifier, no interval, or a negative limit")
	}
	return &Background{cfg: cfg, throttle: throttle{perSecond: cfg.BytesPerSecond}, schedule: schedule{every: cfg.Every}}, nil
}

// State tells what is known of a table: for each other region that has an active replica of it.
func (b *Background) State(table globaltable.TableID) []Compared {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.schedule.state(time.Now(), table)
}

// Compared takes over what a comparison has found that somebody asked for.
func (b *Background) Compared(table globaltable.TableID, r *Report) {
	b.mu.Lock()
	for _, replica := range r.Replicas {
		b.schedule.compared(time.Now(), pair{table, replica.Region}, replica.State)
	}
	b.mu.Unlock()
	b.tell()
}

// lookAgain is the time after which the sizes of tables are looked at again.
const lookAgain = time.Minute

// Run compares until ctx is done; it returns nil then.
func (b *Background) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		view := b.cfg.Verifier.server.catalog.View()
		all := b.pairs(view)
		b.mu.Lock()
		b.schedule.know(all)
		next, due, ok := b.schedule.plan(time.Now())
		b.mu.Unlock()
		wait := lookAgain
		if ok {
			wait = min(wait, time.Until(due))
		}
		if wait <= 0 && next.to > 0 {
			b.step(ctx, view, next)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-view.Changed():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// pairs returns what is to be compared under view.
func (b *Background) pairs(view *catalog.View) (all []known) {
	v := b.cfg.Verifier
	view.Tables(func(t *globaltable.Table) bool {
		_, others, err := v.table(t.ID)
		if err != nil {
			return true // it has no active replica here
		}
		paused := ""
		if !t.Settled() {
			paused = "a replica of the table is on its way in or out"
		}
		for _, id := range []globaltable.TableID{t.ID, t.ID.Feed()} {
			// What a store does not tell now it tells the next time.
			_, bytes, _ := v.server.source.Count(id)
			for _, d := range others {
				all = append(all, known{pair{id, d.Name}, bytes, paused})
			}
		}
		return true
	})
	return all
}

// step compares a part of a table with a region.
func (b *Background) step(ctx context.Context, view *catalog.View, st stretch) {
	t, known := view.Table(st.table)
	region, there := view.Region(st.region)
	if !known || !there {
		return // what there is has changed since
	}
	report := ReplicaReport{Region: st.region}
	var f found
	var err error
	undisturbed := b.cfg.Verifier.turn.background(ctx, func(ctx context.Context) {
		c := &comparison{v: b.cfg.Verifier, table: t, region: region, report: &report, read: func(ctx context.Context, bytes int, took time.Duration) error {
			f.bytes += int64(bytes)
			f.busy += took
			return b.throttle.wait(ctx, bytes)
		}}
		var differ []int
		if differ, err = c.sums(ctx, st.from, st.to); err == nil {
			err = c.look(ctx, differ)
		}
	})
	if ctx.Err() != nil {
		return
	}
	f.keys, f.buckets, f.inFlight = report.Keys, report.Buckets, report.InFlight
	b.done(t, st, f, undisturbed, err)
}

// done takes over how a step ended.
func (b *Background) done(t *globaltable.Table, st stretch, f found, undisturbed bool, err error) {
	now := time.Now()
	var pass *Pass
	b.mu.Lock()
	switch {
	case !undisturbed || globaltable.KindOf(err) == globaltable.LimitExceeded:
		b.schedule.delayed(now, st, found{bytes: f.bytes, busy: f.busy})
	case err != nil:
		pass = b.schedule.failed(now, st, found{bytes: f.bytes, busy: f.busy}, reason(err))
	default:
		pass = b.schedule.took(now, st, f)
	}
	b.mu.Unlock()
	e := &b.cfg.Events
	if e.Read != nil {
		e.Read(st.region, f.bytes, f.busy)
	}
	if e.Failed != nil && undisturbed && err != nil {
		e.Failed(t, st.region, err)
	}
	if e.Diverged != nil && undisturbed && err == nil && f.keys > 0 {
		e.Diverged(t, st.region, f.keys, f.buckets)
	}
	if e.Ended != nil && pass != nil {
		e.Ended(t, st.region, *pass)
	}
	b.tell()
}

// tell counts the tables that have diverged.
func (b *Background) tell() {
	if b.cfg.Events.Known == nil {
		return
	}
	b.mu.Lock()
	diverged := b.schedule.divergedTables()
	b.mu.Unlock()
	for region, n := range diverged {
		b.cfg.Events.Known(region, n)
	}
}
