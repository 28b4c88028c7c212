package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	countPoll = 5 * time.Millisecond // between looks at how many items a region has

	lagRate      = 500                    // writes per second
	lagWatch     = 4                      // of so many writes one is watched for, so that the looking itself is no load
	lagPoll      = 250 * time.Microsecond // between looks; the lag is known no better than that
	targetRegion = "us-east-1"            // what other endpoints are called: they take any name

	lagSessions = 64 // of each region: writes, and looks, under way at once
)

// run is what the measures share.
type run struct {
	cfg    Config
	report Report
	texts  texts
	doors  []*door   // of the regions
	tables []*tables // likewise
	suffix string    // of this run's tables
	made   []string
}

func newRun(cfg Config) (*run, error) {
	t, err := newTexts()
	if err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, report: newReport(cfg), texts: t, suffix: fmt.Sprintf("%08x", rand.Uint32())}
	for _, g := range cfg.Regions {
		d, err := newDoor(g.Name, g.Name, g.DynamoDB, cfg, max(cfg.Connections, lagSessions), t)
		if err != nil {
			return nil, err
		}
		r.doors = append(r.doors, d)
		r.tables = append(r.tables, newTables(g.Name, g.DynamoDB, cfg))
	}
	return r, nil
}

// close gives the connections back, and deletes the tables in a world that goes on.
func (r *run) close(ctx context.Context) (err error) {
	if !r.cfg.Own {
		ctx := context.WithoutCancel(ctx)
		for _, name := range r.made {
			// The first region owns the tables, so it is the last to let go.
			for i := len(r.tables) - 1; i >= 0; i-- {
				err = errors.Join(err, r.tables[i].remove(ctx, name))
			}
		}
	}
	for _, d := range r.doors {
		d.close()
	}
	return err
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.cfg.Tell, format+"\n", args...) }

// makeTable makes a table, in all regions or in the first only.
func (r *run) makeTable(ctx context.Context, what string, everywhere bool) (name string, err error) {
	return r.makeTold(ctx, what, everywhere, false)
}

// makeTold is makeTable for a table that has a change stream, if told.
func (r *run) makeTold(ctx context.Context, what string, everywhere, told bool) (name string, err error) {
	name = "bench-" + what + "-" + r.suffix
	r.made = append(r.made, name)
	if err := r.tables[0].create(ctx, name, told); err != nil {
		return name, err
	}
	if everywhere {
		err = r.tables[0].replicate(ctx, name, r.tables[1:])
	}
	return name, err
}

// measured adds a row, beside the limits named, which are taken now, in the same weather, unless they were before.
func (r *run) measured(ctx context.Context, name, what string, f Figures, limits ...string) error {
	m := Measure{Name: name, What: what, Figures: f, Shares: []Share{}}
	for _, limit := range limits {
		if r.cfg.NoLimits {
			break
		}
		l, err := r.takeLimit(ctx, limit)
		if err != nil {
			return err
		}
		if limit == limitDelivery {
			m.Shares = append(m.Shares, latencyShare(f, l))
		} else {
			m.Shares = append(m.Shares, rateShare(f, l))
		}
	}
	r.report.Measures = append(r.report.Measures, m)
	return nil
}

// putGet measures PutItem, then GetItem of what was put.
func (r *run) putGet(ctx context.Context) error {
	table, err := r.makeTable(ctx, "put", false)
	if err != nil {
		return err
	}
	r.say("put: %d connections, %v", r.cfg.Connections, r.cfg.Duration)
	all, err := r.doors[0].askers(table, r.cfg.Connections)
	if err != nil {
		return err
	}
	f, err := r.puts(ctx, all, r.cfg.Own)
	if err != nil {
		return err
	}
	written := min(f.Operations, int64(r.cfg.Items))
	if r.cfg.takes(Put) {
		if err := r.measured(ctx, Put, "PutItem, table of one region", f, limitCommit, limitEcho); err != nil {
			return err
		}
	}
	if !r.cfg.takes(Get) {
		return nil
	}
	r.say("get: %d connections, %v", r.cfg.Connections, r.cfg.Duration)
	if f, err = r.gets(ctx, all, written, r.cfg.Own); err != nil {
		return err
	}
	return r.measured(ctx, Get, "GetItem", f, limitEcho)
}

// puts writes the items again and again until the time is over. alone says that what this process takes meanwhile is taken for that.
func (r *run) puts(ctx context.Context, all []asker, alone bool) (Figures, error) {
	m := startMeter()
	s, err := load(ctx, len(all), r.cfg.Duration, 0, func(w int, i int64) error { return all[w].put(ctx, i%int64(r.cfg.Items)) })
	if err != nil {
		return Figures{}, err
	}
	return m.figures(int64(len(s.all)), s, alone), nil
}

// gets reads items below n at random until the time is over.
func (r *run) gets(ctx context.Context, all []asker, n int64, alone bool) (Figures, error) {
	m := startMeter()
	s, err := load(ctx, len(all), r.cfg.Duration, 0, func(w int, _ int64) error {
		found, err := all[w].get(ctx, rand.Int64N(n))
		if err == nil && !found {
			err = errors.New("an item that was put is not there")
		}
		return err
	})
	if err != nil {
		return Figures{}, err
	}
	return m.figures(int64(len(s.all)), s, alone), nil
}

// fill writes different items until all are written or the time is over, and returns how many and how long each took.
func (r *run) fill(ctx context.Context, all []asker) (n int64, s *samples, err error) {
	s, err = load(ctx, len(all), r.cfg.Duration, int64(r.cfg.Items), func(w int, i int64) error { return all[w].put(ctx, i) })
	if err != nil {
		return 0, nil, err
	}
	return int64(len(s.all)), s, nil
}

// fillTable does it in the first region.
func (r *run) fillTable(ctx context.Context, table string) (n int64, s *samples, err error) {
	all, err := r.doors[0].askers(table, r.cfg.Connections)
	if err != nil {
		return 0, nil, err
	}
	return r.fill(ctx, all)
}

// caughtUp waits until the region has n items of the table. each is called after each look.
func (r *run) caughtUp(ctx context.Context, region, table string, n int64, each func(have int64)) error {
	return patiently(ctx, r.cfg.Wait, countPoll, fmt.Sprintf("%s: gets the %d items", region, n), func() (bool, error) {
		have, err := r.cfg.Count(ctx, region, table)
		if err != nil {
			return false, err
		}
		each(have)
		return have >= n, nil
	})
}

// replicated measures writes until all regions have applied them.
func (r *run) replicated(ctx context.Context) error {
	table, err := r.makeTable(ctx, "replicated", true)
	if err != nil {
		return err
	}
	r.say("replicated: %d regions, %d items or %v", len(r.doors), r.cfg.Items, r.cfg.Duration)
	m := startMeter()
	n, s, err := r.fillTable(ctx, table)
	if err != nil {
		return err
	}
	acknowledged := m.figures(n, s, false)
	group, waiting := errgroup.WithContext(ctx)
	for _, g := range r.cfg.Regions[1:] {
		group.Go(func() error { return r.caughtUp(waiting, g.Name, table, n, func(int64) {}) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	applied := m.figures(n, nil, r.cfg.Own)
	if err := r.measured(ctx, "put-replicated", "PutItem, table of all regions", acknowledged, limitCommit); err != nil {
		return err
	}
	return r.measured(ctx, Replicated, "the same, until all regions have it", applied, limitCommit, limitJetStream)
}

// drain measures how fast a region that was cut off takes what was written meanwhile. The clock starts when the first of it has come: how long a
// cut connection takes to come back is not a matter of speed, and is told beside.
func (r *run) drain(ctx context.Context) error {
	table, err := r.makeTable(ctx, "drain", true)
	if err != nil {
		return err
	}
	last := r.cfg.Regions[len(r.cfg.Regions)-1].Name
	r.say("drain: %s is cut off; %d items or %v", last, r.cfg.Items, r.cfg.Duration)
	r.cfg.Cut(last)
	defer r.cfg.Heal(last) // whatever happens
	n, _, err := r.fillTable(ctx, table)
	if err != nil {
		return err
	}
	if have, err := r.cfg.Count(ctx, last, table); err != nil || have > 0 {
		return errors.Join(err, fmt.Errorf("%s: has %d items of a table that was written while it was cut off", last, have))
	}
	r.cfg.Heal(last)
	healed := startMeter()
	from, at := int64(0), healed
	err = r.caughtUp(ctx, last, table, n, func(have int64) {
		if from == 0 && have > 0 && have < n {
			from, at = have, startMeter()
		}
	})
	if err != nil {
		return err
	}
	r.say("drain: the first of %d items was there %v after the healing", n, at.began.Sub(healed.began).Round(time.Millisecond))
	return r.measured(ctx, Drain, "backlog after a cut", at.figures(n-from, nil, r.cfg.Own), limitApply)
}

// join measures how fast a new replica takes a table that has items. The clock starts when the first of them has come: what goes before are answers of the catalog.
func (r *run) join(ctx context.Context) error {
	table, err := r.makeTable(ctx, "join", false)
	if err != nil {
		return err
	}
	to := r.cfg.Regions[1].Name
	r.say("join: %d items or %v, then a replica in %s", r.cfg.Items, r.cfg.Duration, to)
	n, _, err := r.fillTable(ctx, table)
	if err != nil {
		return err
	}
	began := startMeter()
	joined := make(chan error, 1)
	go func() { joined <- r.tables[0].replicate(ctx, table, r.tables[1:2]) }()
	from, at := int64(0), began
	err = r.caughtUp(ctx, to, table, n, func(have int64) {
		if from == 0 && have > 0 && have < n {
			from, at = have, startMeter()
		}
	})
	f := at.figures(n-from, nil, r.cfg.Own)
	if err := errors.Join(err, <-joined); err != nil {
		return err
	}
	r.say("join: the first of %d items was there after %v, and the replica was active after %v", n, at.began.Sub(began.began).Round(time.Millisecond),
		time.Since(began.began).Round(time.Millisecond))
	return r.measured(ctx, Join, fmt.Sprintf("a replica joins a table of %d items", n), f, limitPages)
}

// lag writes at a steady rate, and watches for some of the writes in the last region. It is counted from the sending of the write.
func (r *run) lag(ctx context.Context) error {
	table, err := r.makeTable(ctx, "lag", true)
	if err != nil {
		return err
	}
	r.say("lag: %d writes a second, %v", lagRate, r.cfg.Duration)
	writers, err := r.doors[0].askers(table, lagSessions)
	if err != nil {
		return err
	}
	watchers, err := r.doors[len(r.doors)-1].askers(table, lagSessions)
	if err != nil {
		return err
	}
	put, seen, err := r.lagOf(ctx, writers, watchers, r.cfg.Own)
	if err != nil {
		return err
	}
	if err := r.measured(ctx, "put-steady", fmt.Sprintf("PutItem, all regions, %d/s", lagRate), put); err != nil {
		return err
	}
	return r.measured(ctx, Lag, fmt.Sprintf("write to visible, %d/s", lagRate), seen, limitDelivery)
}

// lagOf returns the figures of the writes, and those of what was watched for.
func (r *run) lagOf(ctx context.Context, writers, watchers []asker, alone bool) (put, visible Figures, err error) {
	free, watching := pool(writers), pool(watchers)
	var puts, seen samples
	m := startMeter()
	n, err := paced(ctx, lagRate, r.cfg.Duration, func(ctx context.Context, i int64) error {
		w := <-free
		defer func() { free <- w }()
		sent := time.Now()
		if err := w.put(ctx, i); err != nil {
			return err
		}
		puts.add(time.Since(sent))
		if i%lagWatch != 0 {
			return nil
		}
		s := <-watching
		defer func() { watching <- s }()
		err := patiently(ctx, r.cfg.Wait, lagPoll, "a write shows", func() (bool, error) { return s.get(ctx, i) })
		seen.add(time.Since(sent))
		return err
	})
	if err != nil {
		return Figures{}, Figures{}, err
	}
	put = m.figures(n, &puts, alone)
	// The two share their processor time: it is told once.
	visible = put
	visible.P50Millis, visible.P99Millis = seen.quantiles()
	visible.CPUMicros, visible.DiskBytes = nil, nil
	return put, visible, nil
}

// pool returns askers for whoever takes one and gives it back.
func pool(askers []asker) chan asker {
	all := make(chan asker, len(askers))
	for _, s := range askers {
		all <- s
	}
	return all
}

// paced begins op perSecond times a second for d, at least once, without waiting for those before, and returns how many it was. At most lagSessions
// run at once: op must end soon.
func paced(ctx context.Context, perSecond int, d time.Duration, op func(ctx context.Context, i int64) error) (n int64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lagSessions)
	interval := time.Second / time.Duration(perSecond)
	var stopped error
	for began := time.Now(); n == 0 || time.Duration(n)*interval < d; n++ {
		if stopped = pause(ctx, time.Until(began.Add(time.Duration(n)*interval))); stopped != nil {
			break
		}
		i := n
		group.Go(func() error { return op(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		return n, err
	}
	return n, stopped
}
