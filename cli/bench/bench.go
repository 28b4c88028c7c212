// Package bench measures a running world from outside, as applications and operators see it, and beside each figure the raw limit of what lies
// below, taken in the same run on the same machine: a store, a bus, an HTTP server that do nothing else.
//
// A figure of one machine says little about another. Its ratio to the raw limit says how much the layers between cost, and moves far less: a
// machine that is slow or busy is so for both. Clients and regions share the machine, so every figure has the client's cost in it, and so have the limits.
//
// Items have 1 KB by DynamoDB's count, with text that no compression makes smaller. Keys are spread over the whole table by the hash of the
// partition key.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The measures, in the order in which they are taken.
const (
	Put        = "put"        // PutItem into a table of one region
	Get        = "get"        // GetItem of what put has written
	Replicated = "replicated" // PutItem into a table of all regions, until the others have it
	Join       = "join"       // what a new replica takes of a table that has items
	Drain      = "drain"      // what was written while a region was cut off, once it is back
	Lag        = "lag"        // from a write to its visibility in another region, at a steady rate
	YCSB       = "ycsb"       // the workloads A, B, C, F and D of YCSB, in a table of one region
	Stream     = "stream"     // what a change stream costs: PutItem with one, beside PutItem without, local and replicated
	Scale      = "scale"      // PutItem and GetItem in a large table, beside a small one; only where it is asked for
)

// Measures returns the names of all measures.
func Measures() []string {
	return []string{Put, Get, Replicated, Join, Drain, Lag, YCSB, Stream, Scale}
}

// Bounds of a Config.
const (
	MaxConnections = 4096
	MaxItems       = 100_000_000
	MaxDuration    = 5 * time.Minute // a latency is kept for each operation until its measure is over
)

// Region is one region of the world.
type Region struct {
	Name     string
	DynamoDB string // URL
}

// Target is something else that keeps items, for a comparison.
type Target struct {
	Kind string // one of Kinds
	At   string // where it is: a URL; host:port for redis; a connection string for postgres
	// Replica is, for postgres, where another server is that takes the rows by logical replication; empty: none, and that is not measured.
	Replica string
}

// What a Target can be.
const (
	DynamoDB = "dynamodb"
	Redis    = "redis"
	Etcd     = "etcd"
	Postgres = "postgres"
)

// Kinds returns the kinds of targets.
func Kinds() []string { return []string{DynamoDB, Redis, Etcd, Postgres} }

// Credentials sign requests. The zero value does not.
type Credentials struct{ AccessKey, SecretKey string }

// Config says what to measure.
type Config struct {
	Regions []Region // the first takes the writes
	// Count returns how many items of the table the region has, 0 if it has not got the table.
	Count func(ctx context.Context, region, table string) (int64, error)
	// Cut separates a region from all others, and Heal ends that. Both are nil where that is not possible: Drain is left out then.
	Cut, Heal func(region string)
	// Own says that the regions run in this process, so that its CPU time and disk writes are theirs (and the client's). Tables stay behind.
	Own         bool
	Dir         string // where the raw limits make their stores; they remove them
	Items       int    // different keys; Replicated and Drain write each once
	Connections int    // to each endpoint, each with one request in work
	Duration    time.Duration
	Credentials Credentials
	Only        []string // measures to take; all if empty
	NoLimits    bool     // leaves the raw limits out
	Against     []Target
	Wait        time.Duration // how long tables may take to come and go, and regions to catch up, before the run fails
	Tell        io.Writer     // what is being done, a line for each
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Regions) == 0 {
		fault("no regions")
	}
	for _, r := range c.Regions {
		if err := checkURL(r.DynamoDB); err != nil {
			fault("region %s: %w", r.Name, err)
		}
	}
	for _, t := range c.Against {
		if err := t.check(); err != nil {
			fault("against %s: %w", t.Kind, err)
		}
	}
	for _, n := range []struct {
		what       string
		value, max int
	}{{"items", c.Items, MaxItems}, {"connections", c.Connections, MaxConnections}} {
		if n.value < 1 || n.value > n.max {
			fault("%d %s: it can be 1 to %d", n.value, n.what, n.max)
		}
	}
	if c.Duration <= 0 || c.Duration > MaxDuration {
		fault("duration %v: it can be more than 0 and at most %v", c.Duration, MaxDuration)
	}
	for _, name := range c.Only {
		if !slices.Contains(Measures(), name) {
			fault("no measure %q; there are %s", name, strings.Join(Measures(), ", "))
		}
	}
	if (c.Credentials.AccessKey == "") != (c.Credentials.SecretKey == "") {
		fault("one of access key and secret key is missing")
	}
	if (c.Cut == nil) != (c.Heal == nil) {
		fault("one of Cut and Heal is missing")
	}
	if c.Count == nil || c.Tell == nil || c.Dir == "" || c.Wait <= 0 {
		fault("Count, Tell, Dir or Wait is missing")
	}
	return errors.Join(faults...)
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is not a URL like http://127.0.0.1:8000", text)
	}
	return nil
}

// takes reports whether the measure is to be taken: it was asked for, and it is possible in this world.
func (c *Config) takes(name string) bool {
	switch name {
	case Replicated, Join, Lag:
		if len(c.Regions) < 2 {
			return false
		}
	case Drain:
		if len(c.Regions) < 2 || c.Cut == nil {
			return false
		}
	case Scale:
		return slices.Contains(c.Only, name)
	}
	return len(c.Only) == 0 || slices.Contains(c.Only, name)
}

// Run takes the measures. Tables that it made in a world that is not its own are deleted again, also after an error.
func Run(ctx context.Context, cfg Config) (report Report, err error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	r, err := newRun(cfg)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	for _, step := range []struct {
		take bool
		run  func(context.Context) error
	}{
		{cfg.takes(Put) || cfg.takes(Get), r.putGet},
		{cfg.takes(Replicated), r.replicated},
		{cfg.takes(Join), r.join},
		{cfg.takes(Drain), r.drain},
		{cfg.takes(Lag), r.lag},
		{cfg.takes(YCSB), r.ycsb},
		{cfg.takes(Stream), r.stream},
		{cfg.takes(Scale), r.scale},
		{len(cfg.Against) > 0, r.against},
	} {
		if !step.take {
			continue
		}
		if err := step.run(ctx); err != nil {
			return r.report, err
		}
	}
	r.report.finish()
	return r.report, nil
}
