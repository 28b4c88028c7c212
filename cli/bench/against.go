package bench

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5"
)

// rival is something else that keeps items.
type rival interface {
	at() string // for the report: without passwords
	// prepare makes what the items go into, and returns the settings of its durability as they are.
	prepare(ctx context.Context) (settings []string, err error)
	askers(ctx context.Context, n int) ([]asker, error)
	// remove takes away what prepare made, and the items below n, and closes all connections. It is called once, whatever went before.
	remove(ctx context.Context, n int64) error
}

// replicating is a rival that brings items to another place.
type replicating interface {
	rival
	// replicate begins that, if there is another place.
	replicate(ctx context.Context) (begun bool, err error)
	watchers(ctx context.Context, n int) ([]asker, error)
	// arrived returns when everything that was written so far is durable in the other place.
	arrived(ctx context.Context) error
}

func (t *Target) check() error {
	switch t.Kind {
	case DynamoDB, Etcd:
		return checkURL(t.At)
	case Redis:
		if _, _, err := net.SplitHostPort(t.At); err != nil {
			return fmt.Errorf("%q is not HOST:PORT", t.At)
		}
		return nil
	case Postgres:
		// What the parser says may have the password in it.
		if _, err := pgx.ParseConfig(t.At); err != nil || t.At == "" {
			return errors.New("not a connection string like postgres://user@127.0.0.1:5432/database")
		}
		if _, err := pgx.ParseConfig(t.Replica); err != nil {
			return errors.New("the replica's is not a connection string like postgres://user@127.0.0.1:5433/database")
		}
		return nil
	}
	return errors.New("no such kind")
}

// rival returns the target's, without any connection yet.
func (r *run) rival(t Target) (rival, error) {
	name := "bench-against-" + r.suffix
	switch t.Kind {
	case DynamoDB:
		return newDynamo(t.At, name, r)
	case Redis:
		return newRedis(t.At, name, r), nil
	case Etcd:
		return newEtcd(t.At, name, r), nil
	}
	return newPostgres(t, r)
}

// against takes the measures at other places.
func (r *run) against(ctx context.Context) error {
	for _, target := range r.cfg.Against {
		a, err := r.beside(ctx, target)
		if err != nil {
			return fmt.Errorf("against %s: %w", target.Kind, err)
		}
		r.report.Against = append(r.report.Against, a)
	}
	return nil
}

func (r *run) beside(ctx context.Context, target Target) (a Against, err error) {
	v, err := r.rival(target)
	if err != nil {
		return a, err
	}
	a = Against{Kind: target.Kind, At: v.at(), Settings: []string{}, Rows: []Side{}}
	written := int64(0)
	defer func() { err = errors.Join(err, v.remove(context.WithoutCancel(ctx), written)) }()
	settings, err := v.prepare(ctx)
	if err != nil {
		return a, err
	}
	a.Settings = append(a.Settings, settings...)
	all, err := v.askers(ctx, r.cfg.Connections)
	if err != nil {
		return a, err
	}
	r.say("put at %s: %d connections, %v", a.At, r.cfg.Connections, r.cfg.Duration)
	written = int64(r.cfg.Items)
	put, err := r.puts(ctx, all, false)
	if err != nil {
		return a, err
	}
	r.side(&a, Put, put)
	r.say("get at %s: %d connections, %v", a.At, r.cfg.Connections, r.cfg.Duration)
	get, err := r.gets(ctx, all, min(put.Operations, written), false)
	if err != nil {
		return a, err
	}
	r.side(&a, Get, get)
	switch v := v.(type) {
	case replicating:
		err = r.copies(ctx, v, all, &a)
	case *dynamo:
		err = r.mixesBeside(ctx, v, &a)
	}
	return a, err
}

// mixesBeside runs the workloads of YCSB over a table of another endpoint, where they were taken here.
func (r *run) mixesBeside(ctx context.Context, d *dynamo, a *Against) error {
	if !r.cfg.takes(YCSB) {
		return nil
	}
	mixes, err := r.mixes(ctx, d.door, d.table, false)
	if err != nil {
		return err
	}
	for i, w := range workloads {
		r.side(a, w.name, mixes[i])
	}
	return nil
}

// copies measures how a rival replicates.
func (r *run) copies(ctx context.Context, v replicating, all []asker, a *Against) error {
	if begun, err := v.replicate(ctx); err != nil || !begun {
		return err
	}
	r.say("replicated at %s: %d items or %v", a.At, r.cfg.Items, r.cfg.Duration)
	m := startMeter()
	n, _, err := r.fill(ctx, all)
	if err == nil {
		err = v.arrived(ctx)
	}
	if err != nil {
		return err
	}
	r.side(a, Replicated, m.figures(n, nil, false))
	r.say("lag at %s: %d writes a second, %v", a.At, lagRate, r.cfg.Duration)
	watchers, err := v.watchers(ctx, lagSessions)
	if err != nil {
		return err
	}
	_, seen, err := r.lagOf(ctx, offset(all, int64(r.cfg.Items)), offset(watchers, int64(r.cfg.Items)), false)
	if err != nil {
		return err
	}
	r.side(a, Lag, seen)
	return nil
}

// side adds a row where the measure was taken here, too.
func (r *run) side(a *Against, measure string, theirs Figures) {
	ours := r.report.measure(measure)
	if ours == nil {
		return
	}
	s := Side{Measure: measure, Theirs: theirs, Ours: ours.Figures, Times: ours.PerSecond / theirs.PerSecond}
	if measure == Lag {
		s.Times = *theirs.P50Millis / *ours.P50Millis
	}
	a.Rows = append(a.Rows, s)
}

// offset returns askers for items that the others have not written.
func offset(all []asker, by int64) []asker {
	out := make([]asker, 0, len(all))
	for _, a := range all {
		out = append(out, offsetAsker{a, by})
	}
	return out
}

type offsetAsker struct {
	asker
	by int64
}

func (a offsetAsker) put(ctx context.Context, i int64) error { return a.asker.put(ctx, a.by+i) }
func (a offsetAsker) get(ctx context.Context, i int64) (bool, error) {
	return a.asker.get(ctx, a.by+i)
}

// dynamo is another endpoint with the DynamoDB API.
type dynamo struct {
	door   *door
	tables *tables
	table  string
}

func newDynamo(endpoint, table string, r *run) (*dynamo, error) {
	d, err := newDoor(DynamoDB, targetRegion, endpoint, r.cfg, r.cfg.Connections, r.texts)
	return &dynamo{door: d, tables: newTables(targetRegion, endpoint, r.cfg), table: table}, err
}

func (d *dynamo) at() string { return d.door.url }

func (d *dynamo) prepare(ctx context.Context) ([]string, error) {
	return nil, d.tables.create(ctx, d.table, false)
}

func (d *dynamo) askers(_ context.Context, n int) ([]asker, error) { return d.door.askers(d.table, n) }

func (d *dynamo) remove(ctx context.Context, _ int64) error {
	defer d.door.close()
	return d.tables.remove(ctx, d.table)
}
