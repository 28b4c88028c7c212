package repair

import (
	"context"
	"strings"
	"sync"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// # Catching up
//
// A region whose next entries are gone from an origin's log begins the origin's lanes anew at their heads, and takes what it has missed from the origin's store: all records of all
// tables that both hold, page by page as in a join. The positions were durable before the first page, so what an origin wrote is below them, and in its store, or above them, and in
// the lanes. A table that comes to be shared later comes by its join, which begins after that too; only a region whose store is another one than its peers follow can be told that it shares one that it never
// joined, and has no catch-up under way until it is followed again. The other regions are not asked: their own lanes bring what they wrote.

// CatchUp is the exchange with one region whose lanes were begun anew here.
type CatchUp struct {
	Origin hlc.Origin
	ID     uint64
}

// CatchUps is where the exchanges that are under way are kept, durably.
type CatchUps interface {
	UnderWay() []CatchUp
	// Keep keeps how far one has got with a table; Kept returns what was kept of it, nil if nothing was.
	Keep(ctx context.Context, c CatchUp, table globaltable.TableID, state []byte) error
	Kept(c CatchUp, table globaltable.TableID) (state []byte, err error)
	// End is called when all records of all tables shared are here.
	End(ctx context.Context, c CatchUp) error
}

// workKey names a piece of work: the join of a table, or a table's part in catching up with a region.
type workKey struct {
	table globaltable.TableID
	lags  hlc.Origin // the region to catch up with; 0: a join
}

// work is to get a table's records from some sources.
type work struct {
	key     workKey
	since   uint64 // see state
	version globaltable.Version
	gained  bool // of a join: see core
	sources []globaltable.Descriptor
	kept    func(source hlc.Origin) ([]byte, error)
	keep    func(ctx context.Context, source hlc.Origin, state []byte) error
	// throttle is what the document gives this join alone, beside that of the Joiner.
	throttle throttle
}

func (w *work) newCore(pageBytes int) (*core, error) {
	c, err := newCore(w.key.table, w.since, w.version, w.sources, pageBytes, w.kept)
	if err == nil {
		c.gained = w.gained
	}
	return c, err
}

// works returns what is to be got under view, and the catch-ups that are under way.
func (j *Joiner) works(view *catalog.View) (works []*work, catchUps []CatchUp) {
	for _, join := range view.Joins() {
		if plantedSources {
			join.Sources = join.Sources[:min(1, len(join.Sources))]
		}
		if plantedFeed && join.Table.IsFeed() {
			join.Sources = nil
		}
		works = append(works, &work{key: workKey{table: join.Table}, since: uint64(join.Since), version: join.Since, gained: join.Gained, sources: join.Sources,
			throttle: throttle{perSecond: join.BytesPerSecond},
			kept:     func(source hlc.Origin) ([]byte, error) { return j.cfg.Store.Join(join.Table, source) },
			keep: func(ctx context.Context, source hlc.Origin, state []byte) error {
				return j.cfg.Store.SetJoin(ctx, join.Table, source, state)
			}})
	}
	if j.cfg.CatchUps == nil {
		return works, nil
	}
	catchUps = j.cfg.CatchUps.UnderWay()
	for _, c := range catchUps {
		origin, known := view.RegionOf(c.Origin)
		if !known { // it waits for a descriptor of it
			origin = globaltable.Descriptor{Origin: c.Origin}
		}
		for _, table := range view.Shared(c.Origin) {
			works = append(works, &work{key: workKey{table, c.Origin}, since: c.ID, sources: []globaltable.Descriptor{origin},
				kept: func(hlc.Origin) ([]byte, error) { return j.cfg.CatchUps.Kept(c, table) },
				keep: func(ctx context.Context, _ hlc.Origin, state []byte) error {
					return j.cfg.CatchUps.Keep(ctx, c, table, state)
				}})
		}
	}
	return works, catchUps
}

// endCatchUps ends those whose tables are all done. The caller holds mu.
func (j *Joiner) endCatchUps(ctx context.Context, catchUps []CatchUp, works []*work, running *sync.WaitGroup) {
	open := map[hlc.Origin]bool{}
	for _, w := range works {
		if w.key.lags != 0 && !j.joins[w.key].doneSince(w.since) {
			open[w.key.lags] = true
		}
	}
	for _, c := range catchUps {
		if open[c.Origin] || j.ending[c.Origin] {
			continue
		}
		j.ending[c.Origin] = true
		running.Go(func() {
			err := j.cfg.CatchUps.End(ctx, c)
			switch {
			case err != nil:
				j.failed(ctx, 0, "", err)
			case j.cfg.Events.Caught != nil:
				j.cfg.Events.Caught(c.Origin)
			}
			j.mu.Lock()
			defer j.mu.Unlock()
			delete(j.ending, c.Origin)
		})
	}
}

// doneSince reports whether one is done and about since.
func (one *join) doneSince(since uint64) bool { return one != nil && one.since == since && one.done() }

// CatchingUp returns how far the catch-up with a region is. ok is false when there is none.
func (j *Joiner) CatchingUp(origin hlc.Origin) (p Progress, ok bool) {
	if j.cfg.CatchUps == nil {
		return Progress{}, false
	}
	for _, c := range j.cfg.CatchUps.UnderWay() {
		ok = ok || c.Origin == origin
	}
	if !ok {
		return Progress{}, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var cores []*core
	var waiting []string
	for key, one := range j.joins {
		if key.lags == origin && one.core != nil {
			cores = append(cores, one.core)
			waiting = append(waiting, one.core.waiting()...)
		}
	}
	p.Percent = min(percent(cores...), 99)
	if len(waiting) > 0 {
		p.Waiting = strings.Join(waiting[:1], "") + " to give " + j.self.Name + " what is there"
	}
	return p, true
}
