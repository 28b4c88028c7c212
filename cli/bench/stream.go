package bench

import (
	"context"
	"fmt"
)

// stream measures what a change stream costs that shows both images: writes over items that are there, in a table of one region with a stream and in one without, and new items in tables of all regions, until all have them. Each row with a stream has its share of the one without, in the same run.
func (r *run) stream(ctx context.Context) error {
	if err := r.besideNone(ctx, "stream", "PutItem over an item", r.overwritten); err != nil || len(r.doors) < 2 {
		return err
	}
	return r.besideNone(ctx, "stream-replicated", "PutItem, until all regions have it", r.spread)
}

// besideNone measures without a stream, and then with one.
func (r *run) besideNone(ctx context.Context, name, what string, measure func(ctx context.Context, name string, told bool) (Figures, error)) error {
	none, err := measure(ctx, name+"-none", false)
	if err != nil {
		return err
	}
	told, err := measure(ctx, name, true)
	if err != nil {
		return err
	}
	without := Limit{Name: name + "-none", What: what + ", no stream", Figures: none}
	r.report.Limits = append(r.report.Limits, without)
	r.report.Measures = append(r.report.Measures, Measure{Name: name, What: what + ", with a stream", Figures: told, Shares: []Share{rateShare(told, &without)}})
	return nil
}

// overwritten writes over the items of a table of the first region.
func (r *run) overwritten(ctx context.Context, name string, told bool) (Figures, error) {
	table, err := r.makeTold(ctx, name, false, told)
	if err != nil {
		return Figures{}, err
	}
	r.say("%s: %d items, then %v", name, r.cfg.Items, r.cfg.Duration)
	all, err := r.doors[0].askers(table, r.cfg.Connections)
	if err != nil {
		return Figures{}, err
	}
	n, _, err := r.fill(ctx, all)
	if err != nil {
		return Figures{}, err
	}
	m := startMeter()
	s, err := load(ctx, len(all), r.cfg.Duration, 0, func(w int, i int64) error { return all[w].put(ctx, i%n) })
	if err != nil {
		return Figures{}, err
	}
	return m.figures(int64(len(s.all)), s, r.cfg.Own), nil
}

// spread writes the items once, into a table of all regions, and waits until all have them.
func (r *run) spread(ctx context.Context, name string, told bool) (Figures, error) {
	table, err := r.makeTold(ctx, name, true, told)
	if err != nil {
		return Figures{}, err
	}
	r.say("%s: %d regions, %d items or %v", name, len(r.doors), r.cfg.Items, r.cfg.Duration)
	m := startMeter()
	n, _, err := r.fillTable(ctx, table)
	if err != nil {
		return Figures{}, err
	}
	for _, g := range r.cfg.Regions[1:] {
		if err := r.caughtUp(ctx, g.Name, table, n, func(int64) {}); err != nil {
			return Figures{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return m.figures(n, nil, r.cfg.Own), nil
}
