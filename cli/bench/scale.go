package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	scaleTimes = 100 // times the items of the small table the large one has

	stepItems    = 1_000_000 // written in one go: a latency is kept for each
	stepPatience = time.Hour // far above what they take where anything works
)

// scale measures what reads and writes cost in a table of cfg.Items items beside the same in one with a hundredth of them: items are read, and written again, at random over all of
// them. It is taken only when it is asked for: the items between have to be written first.
func (r *run) scale(ctx context.Context) error {
	table, err := r.makeTable(ctx, "scale", false)
	if err != nil {
		return err
	}
	all, err := r.doors[0].askers(table, r.cfg.Connections)
	if err != nil {
		return err
	}
	have, err := r.extend(ctx, all, 0, max(1, int64(r.cfg.Items)/scaleTimes))
	if err != nil {
		return err
	}
	put, get, err := r.atRandom(ctx, all, have)
	if err != nil {
		return err
	}
	before := []Limit{
		{Name: fmt.Sprintf("put-of-%d", have), What: fmt.Sprintf("PutItem, table of %d items", have), Figures: put},
		{Name: fmt.Sprintf("get-of-%d", have), What: fmt.Sprintf("GetItem, table of %d items", have), Figures: get},
	}
	if have, err = r.extend(ctx, all, have, int64(r.cfg.Items)); err != nil {
		return err
	}
	if put, get, err = r.atRandom(ctx, all, have); err != nil {
		return err
	}
	for i, after := range []Measure{
		{Name: "scale-put", What: fmt.Sprintf("PutItem, table of %d items", have), Figures: put},
		{Name: "scale-get", What: fmt.Sprintf("GetItem, table of %d items", have), Figures: get},
	} {
		after.Shares = []Share{rateShare(after.Figures, &before[i])}
		r.report.Measures = append(r.report.Measures, after)
	}
	r.report.Limits = append(r.report.Limits, before...)
	return nil
}

// extend writes the items from have up to and without to, in the order of their numbers, and returns how many there are.
func (r *run) extend(ctx context.Context, all []asker, have, to int64) (int64, error) {
	r.say("scale: items %d to %d", have, to)
	return to, inSteps(ctx, len(all), have, to, func(w int, i int64) error { return all[w].put(ctx, i) })
}

// inSteps has workers do op for each number from the first up to and without to, in order.
func inSteps(ctx context.Context, workers int, from, to int64, op func(worker int, i int64) error) error {
	for from < to {
		first, n := from, min(to-from, stepItems)
		if _, err := load(ctx, workers, stepPatience, n, func(w int, i int64) error { return op(w, first+i) }); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// atRandom returns the figures of writes to, and reads of, items below n.
func (r *run) atRandom(ctx context.Context, all []asker, n int64) (put, get Figures, err error) {
	r.say("scale: %d connections, %v of writes and of reads each, over %d items", r.cfg.Connections, r.cfg.Duration, n)
	m := startMeter()
	s, err := load(ctx, len(all), r.cfg.Duration, 0, func(w int, _ int64) error { return all[w].put(ctx, rand.Int64N(n)) })
	if err != nil {
		return put, get, err
	}
	put = m.figures(int64(len(s.all)), s, r.cfg.Own)
	get, err = r.gets(ctx, all, n, r.cfg.Own)
	return put, get, err
}
