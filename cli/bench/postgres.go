package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresRival keeps items in a table of two columns. With a replica it has that table there, too, and a subscription.
type postgresRival struct {
	cfg   Target
	name  string // of table, publication and subscription
	texts texts
	wait  time.Duration
	conns []*pgx.Conn
	here  *pgx.Conn // for what is asked seldom
	there *pgx.Conn // at the replica; nil: none
	undo  []func(ctx context.Context) error
	where string
}

func newPostgres(t Target, r *run) (*postgresRival, error) {
	c, err := pgx.ParseConfig(t.At)
	if err != nil {
		return nil, errors.New("not a connection string")
	}
	return &postgresRival{cfg: t, name: "bench_against_" + r.suffix, texts: r.texts, wait: r.cfg.Wait, where: fmt.Sprintf("%s:%d/%s", c.Host, c.Port, c.Database)}, nil
}

func (d *postgresRival) at() string { return d.where }

func (d *postgresRival) connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	d.conns = append(d.conns, c)
	return c, nil
}

func (d *postgresRival) prepare(ctx context.Context) (settings []string, err error) {
	if d.here, err = d.connect(ctx, d.cfg.At); err != nil {
		return nil, err
	}
	for _, name := range []string{"server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_level"} {
		var value string
		if err := d.here.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return nil, err
		}
		settings = append(settings, name+" "+value)
	}
	return settings, d.make(ctx, d.here)
}

// make makes the table, and notes that it is to go.
func (d *postgresRival) make(ctx context.Context, c *pgx.Conn) error {
	return d.do(ctx, c, "CREATE TABLE "+d.name+" (k bytea PRIMARY KEY, v bytea NOT NULL)", "DROP TABLE "+d.name)
}

// do does something, and notes how to undo it.
func (d *postgresRival) do(ctx context.Context, c *pgx.Conn, statement, undo string) error {
	if _, err := c.Exec(ctx, statement); err != nil {
		return err
	}
	d.undo = append(d.undo, func(ctx context.Context) error {
		_, err := c.Exec(ctx, undo)
		return err
	})
	return nil
}

func (d *postgresRival) askers(ctx context.Context, n int) ([]asker, error) {
	return d.sessions(ctx, d.cfg.At, n)
}

func (d *postgresRival) watchers(ctx context.Context, n int) ([]asker, error) {
	return d.sessions(ctx, d.cfg.Replica, n)
}

func (d *postgresRival) sessions(ctx context.Context, dsn string, n int) (all []asker, err error) {
	for range n {
		c, err := d.connect(ctx, dsn)
		if err != nil {
			return nil, err
		}
		all = append(all, &postgresAsker{rival: d, conn: c,
			insert: "INSERT INTO " + d.name + " (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v", sel: "SELECT v FROM " + d.name + " WHERE k = $1"})
	}
	return all, nil
}

// replicate empties the table and makes a publication of it and a subscription at the replica. The subscription's connection string is that of the bench: both servers
// must understand it.
func (d *postgresRival) replicate(ctx context.Context) (begun bool, err error) {
	if d.cfg.Replica == "" {
		return false, nil
	}
	if d.there, err = d.connect(ctx, d.cfg.Replica); err != nil {
		return false, err
	}
	if err := d.make(ctx, d.there); err != nil {
		return false, err
	}
	if _, err := d.here.Exec(ctx, "TRUNCATE "+d.name); err != nil {
		return false, err
	}
	if err := d.do(ctx, d.here, "CREATE PUBLICATION "+d.name+" FOR TABLE "+d.name, "DROP PUBLICATION "+d.name); err != nil {
		return false, err
	}
	subscribe := "CREATE SUBSCRIPTION " + d.name + " CONNECTION '" + strings.ReplaceAll(d.cfg.At, "'", "''") + "' PUBLICATION " + d.name
	if err := d.do(ctx, d.there, subscribe, "DROP SUBSCRIPTION "+d.name); err != nil {
		return false, err
	}
	return true, patiently(ctx, d.wait, tablePoll, "the subscription begins", func() (ready bool, err error) {
		err = d.there.QueryRow(ctx, "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid WHERE s.subname = $1",
			d.name).Scan(&ready)
		return ready, err
	})
}

// arrived waits until the replica has flushed what the first server has written.
func (d *postgresRival) arrived(ctx context.Context) error {
	var upTo string
	if err := d.here.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&upTo); err != nil {
		return err
	}
	return patiently(ctx, d.wait, countPoll, "the replica has the rows", func() (there bool, err error) {
		err = d.here.QueryRow(ctx, "SELECT coalesce(bool_or(flush_lsn >= $1::text::pg_lsn), false) FROM pg_stat_replication WHERE application_name = $2", upTo, d.name).Scan(&there)
		return there, err
	})
}

func (d *postgresRival) remove(ctx context.Context, _ int64) (err error) {
	for i := len(d.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, d.undo[i](ctx))
	}
	for _, c := range d.conns {
		err = errors.Join(err, c.Close(ctx))
	}
	return err
}

// postgresAsker belongs to one goroutine. Statements are prepared at their first use.
type postgresAsker struct {
	rival       *postgresRival
	conn        *pgx.Conn
	insert, sel string
}

func (a *postgresAsker) put(ctx context.Context, i int64) error {
	_, err := a.conn.Exec(ctx, a.insert, appendKey(nil, i), a.rival.texts.value(i))
	return err
}

func (a *postgresAsker) get(ctx context.Context, i int64) (bool, error) {
	var v []byte
	err := a.conn.QueryRow(ctx, a.sel, appendKey(nil, i)).Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return len(v) == valueBytes, err
}
