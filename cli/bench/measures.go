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
	name = "bench-" + what + "-" + r.suffix
	r.made = append(r.made, name)
	if err := r.tables[0].create(ctx, name); err != nil {
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
	f, err := r.puts(ctx, r.doors[0], table)
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
	if f, err = r.gets(ctx, r.doors[0], table, written); err != nil {
		return err
	}
	return r.measured(ctx, Get, "GetItem", f, limitEcho)
}

// puts writes the items again and again until the time is over.
func (r *run) puts(ctx context.Context, d *door, table string) (Figures, error) {
	sessions, err := d.sessions(r.cfg.Connections)
	if err != nil {
		return Figures{}, err
	}
	m := startMeter()
	s, err := load(ctx, len(sessions), r.cfg.Duration, 0, func(w int, i int64) error { return sessions[w].put(table, i%int64(r.cfg.Items)) })
	if err != nil {
		return Figures{}, err
	}
	return m.figures(int64(len(s.all)), s, r.cfg.Own && d == r.doors[0]), nil
}

// gets reads items below n at random until the time is over.
func (r *run) gets(ctx context.Context, d *door, table string, n int64) (Figures, error) {
	sessions, err := d.sessions(r.cfg.Connections)
	if err != nil {
		return Figures{}, err
	}
	m := startMeter()
	s, err := load(ctx, len(sessions), r.cfg.Duration, 0, func(w int, _ int64) error {
		found, err := sessions[w].get(table, rand.Int64N(n))
		if err == nil && !found {
			err = fmt.Errorf("%s: an item that was put is not there", d.name)
		}
		return err
	})
	if err != nil {
		return Figures{}, err
	}
	return m.figures(int64(len(s.all)), s, r.cfg.Own && d == r.doors[0]), nil
}

// fill writes different items until all are written or the time is over, and returns how many and how long each took.
func (r *run) fill(ctx context.Context, table string) (n int64, s *samples, err error) {
	sessions, err := r.doors[0].sessions(r.cfg.Connections)
	if err != nil {
		return 0, nil, err
	}
	s, err = load(ctx, len(sessions), r.cfg.Duration, int64(r.cfg.Items), func(w int, i int64) error { return sessions[w].put(table, i) })
	if err != nil {
		return 0, nil, err
	}
	return int64(len(s.all)), s, nil
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
	n, s, err := r.fill(ctx, table)
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
	n, _, err := r.fill(ctx, table)
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

// lag writes at a steady rate, and watches for some of the writes in the last region. It is counted from the sending of the write.
func (r *run) lag(ctx context.Context) error {
	table, err := r.makeTable(ctx, "lag", true)
	if err != nil {
		return err
	}
	r.say("lag: %d writes a second, %v", lagRate, r.cfg.Duration)
	writers, err := pool(r.doors[0])
	if err != nil {
		return err
	}
	watchers, err := pool(r.doors[len(r.doors)-1])
	if err != nil {
		return err
	}
	var puts, seen samples
	m := startMeter()
	n, err := paced(ctx, lagRate, r.cfg.Duration, func(ctx context.Context, i int64) error {
		w := <-writers
		defer func() { writers <- w }()
		sent := time.Now()
		if err := w.put(table, i); err != nil {
			return err
		}
		puts.add(time.Since(sent))
		if i%lagWatch != 0 {
			return nil
		}
		s := <-watchers
		defer func() { watchers <- s }()
		err := patiently(ctx, r.cfg.Wait, lagPoll, s.door.name+": shows a write", func() (bool, error) { return s.get(table, i) })
		seen.add(time.Since(sent))
		return err
	})
	if err != nil {
		return err
	}
	f := m.figures(n, &puts, r.cfg.Own)
	if err := r.measured(ctx, "put-steady", fmt.Sprintf("PutItem, all regions, %d/s", lagRate), f); err != nil {
		return err
	}
	// The two share their processor time: it is told once.
	f.P50Millis, f.P99Millis = seen.quantiles()
	f.CPUMicros, f.DiskBytes = nil, nil
	return r.measured(ctx, Lag, fmt.Sprintf("write to visible, %d/s", lagRate), f, limitDelivery)
}

// pool returns sessions for whoever takes one and gives it back.
func pool(d *door) (chan *session, error) {
	sessions, err := d.sessions(lagSessions)
	all := make(chan *session, lagSessions)
	for _, s := range sessions {
		all <- s
	}
	return all, err
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

// against takes put and get at other endpoints.
func (r *run) against(ctx context.Context) error {
	for _, target := range r.cfg.Against {
		rows, err := r.sideBySide(ctx, target)
		if err != nil {
			return fmt.Errorf("against %s: %w", target.Name, err)
		}
		r.report.Against = append(r.report.Against, Against{Name: target.Name, URL: target.URL, Rows: rows})
	}
	return nil
}

func (r *run) sideBySide(ctx context.Context, target Target) (rows []Side, err error) {
	d, err := newDoor(target.Name, targetRegion, target.URL, r.cfg, r.cfg.Connections, r.texts)
	if err != nil {
		return nil, err
	}
	defer d.close()
	t := newTables(targetRegion, target.URL, r.cfg)
	table := "bench-against-" + r.suffix
	if err := t.create(ctx, table); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.remove(context.WithoutCancel(ctx), table)) }()
	r.say("put at %s: %d connections, %v", target.URL, r.cfg.Connections, r.cfg.Duration)
	put, err := r.puts(ctx, d, table)
	if err != nil {
		return nil, err
	}
	r.say("get at %s: %d connections, %v", target.URL, r.cfg.Connections, r.cfg.Duration)
	get, err := r.gets(ctx, d, table, min(put.Operations, int64(r.cfg.Items)))
	if err != nil {
		return nil, err
	}
	for _, side := range []struct {
		name   string
		theirs Figures
	}{{Put, put}, {Get, get}} {
		if ours := r.report.measure(side.name); ours != nil {
			rows = append(rows, Side{Measure: side.name, Theirs: side.theirs, Ours: ours.Figures, Times: ours.PerSecond / side.theirs.PerSecond})
		}
	}
	return rows, nil
}
