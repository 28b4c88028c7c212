package trigger

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Manual fires a region's triggers without goroutines of its own, a step at a time, in the caller's order: for the simulation, which owns time and crash points. It runs the code that Runner.Run runs. What has to wait, for the store or for a target, waits in the goroutine that called; while it
// waits others may call, and never two at once do anything else.
type Manual struct {
	r      *Runner
	stored map[globaltable.TriggerID][]byte // of triggers of which the catalog has not told yet
	begin  func(a Attempt, do func(ctx context.Context))
	spoke  time.Time       // when the others were told
	under  map[string]bool // regions that are being told
	flows  map[*flow]int   // their numbers
}

// Attempt names an attempt to deliver a batch.
type Attempt struct {
	Trigger globaltable.TriggerID
	Feed    FeedID
	Flow    int // from 1: which of the runs of feeds in this life
	Number  int // from 1: which of the attempts with this batch
}

// NewManual returns a Manual that goes on where the store says. begin has an attempt made, in a goroutine in which it may wait. The process ends with the contexts of all that it was given.
func NewManual(cfg Config, begin func(a Attempt, do func(ctx context.Context))) (*Manual, error) {
	m := &Manual{r: New(cfg), begin: begin, under: map[string]bool{}, flows: map[*flow]int{}}
	m.r.drive = byHand{m}
	var err error
	m.stored, err = m.r.stored()
	return m, err
}

// Look brings everything in line with the catalog, with what was heard, and with how far the region is, and has begun what is to be delivered now.
func (m *Manual) Look(ctx context.Context) {
	m.r.follow(ctx, m.r.cfg.Catalog(), m.stored)
	m.r.each(func(w *work) {
		w.step(ctx)
		w.mu.Lock()
		flows := slices.Collect(maps.Values(w.flows))
		w.mu.Unlock()
		slices.SortFunc(flows, func(a, b *flow) int { return compareFeeds(a.id, b.id) })
		for _, f := range flows {
			m.turn(ctx, f)
		}
	})
}

// turn has a flow go on, or end if it is to and nothing is under way.
func (m *Manual) turn(ctx context.Context, f *flow) {
	for more := true; more; {
		if f.halted(ctx) {
			if f.pool.Running() == 0 {
				f.end()
			}
			return
		}
		more = f.turn(ctx, func(b *Batch, to Target) {
			m.begin(Attempt{f.work.id, f.id, m.flows[f], b.Attempt}, func(ctx context.Context) {
				o := f.try(ctx, to, b)
				if ctx.Err() != nil {
					return // the process has ended, and with it all that it knew
				}
				f.took(ctx, o)
				m.turn(ctx, f)
			})
		}) && f.pool.Room()
	}
}

// Tell has the others told how feeds stand, if it is time, who fires has changed, or there is news. begin does so in a goroutine in which it may wait.
func (m *Manual) Tell(begin func(region string, do func(ctx context.Context))) {
	now, all := m.r.cfg.Now(), true
	select {
	case <-m.r.word:
	default:
		since := now.Sub(m.spoke)
		if all = since >= m.r.cfg.Beat; all {
			break
		}
		if since < m.r.cfg.Beat/early {
			return
		}
		select {
		case <-m.r.news:
		default:
			return
		}
	}
	m.spoke = now
	words := m.r.words(all)
	for _, region := range slices.Sorted(maps.Keys(words)) {
		if m.under[region] {
			continue
		}
		m.under[region] = true
		begin(region, func(ctx context.Context) {
			m.r.send(ctx, region, words[region])
			if ctx.Err() == nil {
				m.under[region] = false
			}
		})
	}
}

// Hear takes what another region tells.
func (m *Manual) Hear(from hlc.Origin, g *Gossip) { m.r.Hear(from, g) }

// Standings calls f with how the feeds of each trigger stand, and with the version of the table by which they go; zero: none yet.
func (m *Manual) Standings(f func(id globaltable.TriggerID, by globaltable.Version, feeds []Standing)) {
	m.r.each(func(w *work) {
		var by globaltable.Version
		if w.adopted != nil {
			by = w.adopted.Version
		}
		f(w.id, by, w.core.Standings(m.r.cfg.Now()))
	})
}

// byHand is the driver of a Manual.
type byHand struct{ *Manual }

func (byHand) begin(context.Context, *work) {}

func (byHand) end(ctx context.Context, w *work) { w.finish(ctx) }

func (h byHand) fly(ctx context.Context, f *flow) {
	h.flows[f] = len(h.flows) + 1
	context.AfterFunc(ctx, f.end)
}

func (byHand) await(f *flow) {
	if f.pool.Running() == 0 {
		f.end()
	}
	<-f.ended
}
