package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/rs/zerolog"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/cli/bench"
	"github.com/concordat-db/concordat/regionnode/world"
)

const (
	// benchWait is how long tables may take to come and go, and regions to catch up.
	benchWait = 2 * time.Minute
	// maxReadyFile bounds what is read of a ready file, in bytes.
	maxReadyFile = 1 << 20
)

func benchCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "bench",
		Usage: "measure a world, and beside it the raw limits of this machine",
		Description: "Without --ready-file or --endpoint it starts a world of its own in a temporary directory, in this process. Client and regions share\n" +
			"the machine, and so do the raw limits: compare ratios, not figures, and look at the load average. Without --sign the regions must take any\n" +
			"credentials, as those of `concordat dev` do. CPU time (client included) and disk bytes are known for a world of its own only;\n" +
			"so is the backlog drain, because a region has to be cut off. What is put beside with --against is asked by as many connections for the same items, and\n" +
			"reported with the settings of its durability as they are found; tables and keys that were made there are removed.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "ready-file", Usage: "`FILE` that a running `concordat dev` wrote: measure that world"},
			&ucli.StringSliceFlag{Name: "endpoint", Usage: "`DYNAMODB=ADMIN`, two URLs of a running region (repeatable; the first takes the writes)"},
			&ucli.IntFlag{Name: "regions", Usage: "`NUMBER` of regions of its own world: 1 to 3", Value: 2},
			&ucli.StringFlag{Name: "data", Usage: "`DIR` for temporary stores: the disk that is measured (default: the system's temporary directory)"},
			&ucli.IntFlag{Name: "items", Usage: "`NUMBER` of different items", Value: 100_000},
			&ucli.IntFlag{Name: "connections", Usage: "`NUMBER` of HTTP connections, each with one request in work", Value: 64},
			&ucli.DurationFlag{Name: "duration", Usage: "`TIME` for each measure", Value: 10 * time.Second},
			&ucli.StringSliceFlag{Name: "only", Usage: "`MEASURE` to take (repeatable; scale, a table a hundred times as large as another, only where it is named): " + strings.Join(bench.Measures(), ", ")},
			&ucli.BoolFlag{Name: "no-limits", Usage: "leave the raw limits out, for a profile of the regions"},
			&ucli.StringSliceFlag{Name: "against", Usage: "something else to put beside, `KIND=WHERE` (repeatable): dynamodb=URL, redis=HOST:PORT, etcd=URL, postgres=DSN, or\n" +
				"postgres=DSN,replica=DSN to measure logical replication too"},
			&ucli.BoolFlag{Name: "sign", Usage: "sign requests with $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY"},
			&ucli.StringFlag{Name: "cpu-profile", Usage: "`FILE` for a profile of this process, for `go tool pprof`; see --no-limits"},
		},
		Action: func(c *ucli.Context) error { return runBench(c, s) },
	}
}

func runBench(c *ucli.Context, s Streams) (err error) {
	cfg, err := benchConfig(c)
	if err != nil {
		return err
	}
	cfg.Tell = s.Err
	dir, err := os.MkdirTemp(c.String("data"), "concordat-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg.Dir = dir
	stop, err := startProfile(c.String("cpu-profile"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	var report bench.Report
	if cfg.Own {
		report, err = benchOwn(c, cfg)
	} else if cfg, err = benchWorld(c, cfg); err == nil {
		report, err = bench.Run(c.Context, cfg)
	}
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return emit(c, s.Out, report, func(w io.Writer) error { return writeBench(w, report) })
}

// benchConfig reads the flags. Regions, and what is asked of them, are filled in later. All faults are reported at once.
func benchConfig(c *ucli.Context) (bench.Config, error) {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	cfg := bench.Config{
		Items: c.Int("items"), Connections: c.Int("connections"), Duration: c.Duration("duration"), Only: c.StringSlice("only"), NoLimits: c.Bool("no-limits"),
		Wait: benchWait, Own: !c.IsSet("ready-file") && !c.IsSet("endpoint"),
	}
	if c.Bool("sign") {
		cfg.Credentials = bench.Credentials{AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}
		if cfg.Credentials == (bench.Credentials{}) {
			fault("--sign needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
	}
	if c.IsSet("ready-file") && c.IsSet("endpoint") {
		fault("--ready-file and --endpoint exclude each other")
	}
	if n := c.Int("regions"); n < 1 || n > len(world.DefaultRegions()) {
		fault("--regions is %d; it can be 1 to %d", n, len(world.DefaultRegions()))
	}
	if !cfg.Own && c.IsSet("regions") {
		fault("--regions is for a world of its own")
	}
	for _, text := range c.StringSlice("endpoint") {
		if _, _, err := parseEndpoint(text); err != nil {
			fault("--endpoint %v", err)
		}
	}
	for _, text := range c.StringSlice("against") {
		if !addTarget(&cfg.Against, text) {
			fault("--against %q is not KIND=WHERE with a kind of %s", text, strings.Join(bench.Kinds(), ", "))
		}
	}
	// The rest is checked where it is used; what is not known yet stands in.
	check := cfg
	check.Regions = []bench.Region{{DynamoDB: "http://127.0.0.1"}}
	check.Count = func(context.Context, string, string) (int64, error) { return 0, nil }
	check.Tell, check.Dir = io.Discard, "."
	if err := check.Validate(); err != nil {
		faults = append(faults, strings.Split(err.Error(), "\n")...)
	}
	if len(faults) > 0 {
		return bench.Config{}, wrongUsage(c, "%s", strings.Join(faults, "\n  "))
	}
	return cfg, nil
}

// addTarget adds KIND=WHERE; replica=WHERE belongs to the postgres before it: the flag's values have been split at commas.
func addTarget(all *[]bench.Target, text string) bool {
	kind, where, ok := strings.Cut(text, "=")
	if last := len(*all) - 1; kind == "replica" && last >= 0 && (*all)[last].Kind == bench.Postgres && (*all)[last].Replica == "" {
		(*all)[last].Replica = where
		return ok
	}
	if !ok || !slices.Contains(bench.Kinds(), kind) {
		return false
	}
	*all = append(*all, bench.Target{Kind: kind, At: where})
	return true
}

// parseEndpoint splits DYNAMODB=ADMIN.
func parseEndpoint(text string) (dynamodb, admin string, err error) {
	dynamodb, admin, ok := strings.Cut(text, "=")
	if !ok || !strings.Contains(dynamodb, "://") || !strings.Contains(admin, "://") {
		return "", "", fmt.Errorf("%q is not DYNAMODB=ADMIN, like http://127.0.0.1:8000=http://127.0.0.1:8080", text)
	}
	return dynamodb, strings.TrimRight(admin, "/"), nil
}

// benchWorld fills in the regions of a running world.
func benchWorld(c *ucli.Context, cfg bench.Config) (bench.Config, error) {
	var r world.Ready
	if file := c.String("ready-file"); file != "" {
		b, err := readFile(file, maxReadyFile)
		if err != nil {
			return cfg, err
		}
		if err := json.Unmarshal(b, &r); err != nil || len(r.Regions) == 0 {
			return cfg, errors.Join(fmt.Errorf("%s is no ready file of `concordat dev`", file), err)
		}
	}
	for _, text := range c.StringSlice("endpoint") {
		dynamodb, admin, err := parseEndpoint(text)
		if err != nil {
			return cfg, err
		}
		st, err := fetchStatus(c.Context, admin)
		if err != nil {
			return cfg, err
		}
		r.Regions = append(r.Regions, world.ReadyRegion{Name: st.Region.Name, Jurisdiction: st.Region.Jurisdiction, DynamoDB: dynamodb, Admin: admin})
	}
	return withRegions(cfg, r), nil
}

// withRegions returns cfg for the world's regions.
func withRegions(cfg bench.Config, r world.Ready) bench.Config {
	admins := map[string]string{}
	for _, g := range r.Regions {
		cfg.Regions = append(cfg.Regions, bench.Region{Name: g.Name, DynamoDB: g.DynamoDB})
		admins[g.Name] = g.Admin
	}
	cfg.Count = func(ctx context.Context, region, name string) (int64, error) {
		st, err := fetchStatus(ctx, admins[region])
		if err != nil {
			return 0, err
		}
		for _, t := range st.Tables {
			if t.Name == name {
				return t.Items, nil
			}
		}
		return 0, nil
	}
	return cfg
}

// benchOwn runs a world for the time of the measures.
func benchOwn(c *ucli.Context, cfg bench.Config) (bench.Report, error) {
	w, err := world.Open(world.Config{Regions: world.DefaultRegions()[:c.Int("regions")], DataDir: filepath.Join(cfg.Dir, "world"), Log: zerolog.Nop()})
	if err != nil {
		return bench.Report{}, err
	}
	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	ended := make(chan error, 1)
	ready := make(chan world.Ready, 1)
	go func() {
		ended <- w.Run(ctx, func(r world.Ready) { ready <- r })
		stop() // a world that ended by itself ends the measures
	}()
	select {
	case err := <-ended:
		return bench.Report{}, errors.Join(err, c.Context.Err())
	case r := <-ready:
		cfg.Cut, cfg.Heal = w.Cut, w.Heal
		report, err := bench.Run(ctx, withRegions(cfg, r))
		stop()
		return report, errors.Join(stopped(ctx, <-ended), err)
	}
}

// startProfile profiles this process until stop is called, if a file is named.
func startProfile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// writeBench writes the report for people.
func writeBench(w io.Writer, r bench.Report) error {
	where := "client and regions are separate processes on this machine or others; the limits are this machine's"
	if r.Own {
		where = "client and regions share one process on this machine"
	}
	fmt.Fprintf(w, "%s: %d connections, items of %d bytes; %d cores, load average %s before and %s after;\n%s.\n\n", strings.Join(r.Regions, ", "),
		r.Connections, r.ItemBytes, r.Machine.Cores, orNone(r.Machine.LoadBefore, "%.1f"), orNone(r.Machine.LoadAfter, "%.1f"), where)
	t := newTable("measure", "what", "per second", "p50 ms", "p99 ms", "CPU µs/op", "disk B/op", "of the limit")
	alignRight(t, 3, 4, 5, 6, 7)
	for _, m := range r.Measures {
		t.AppendRow(append(benchRow(m.Name, m.What, m.Figures), shares(m.Shares)))
	}
	t.AppendSeparator() // nothing, where no limits follow
	for _, l := range r.Limits {
		t.AppendRow(append(benchRow(l.Name, l.What, l.Figures), "limit"))
	}
	if err := render(w, t); err != nil {
		return err
	}
	for _, a := range r.Against {
		fmt.Fprintf(w, "\nAgainst %s at %s\n", a.Kind, a.At)
		for _, s := range a.Settings {
			fmt.Fprintln(w, s)
		}
		t := newTable("measure", "theirs/s", "p50 ms", "p99 ms", "ours/s", "p50 ms", "p99 ms", "times")
		alignRight(t, 2, 3, 4, 5, 6, 7, 8)
		for _, row := range a.Rows {
			t.AppendRow(table.Row{row.Measure, fmt.Sprintf("%.0f", row.Theirs.PerSecond), orNone(row.Theirs.P50Millis, "%.2f"), orNone(row.Theirs.P99Millis, "%.2f"),
				fmt.Sprintf("%.0f", row.Ours.PerSecond), orNone(row.Ours.P50Millis, "%.2f"), orNone(row.Ours.P99Millis, "%.2f"), fmt.Sprintf("%.1f", row.Times)})
		}
		if err := render(w, t); err != nil {
			return err
		}
	}
	return nil
}

func benchRow(name, what string, f bench.Figures) table.Row {
	return table.Row{name, what, fmt.Sprintf("%.0f", f.PerSecond), orNone(f.P50Millis, "%.2f"), orNone(f.P99Millis, "%.2f"),
		orNone(f.CPUMicros, "%.1f"), orNone(f.DiskBytes, "%.0f")}
}

// shares writes how much of each limit was reached.
func shares(all []bench.Share) string {
	lines := make([]string, 0, len(all))
	for _, s := range all {
		line := fmt.Sprintf("%.2f of %s", s.Ratio, s.Limit)
		if s.CPU != nil {
			line += fmt.Sprintf(", %.2f by CPU", *s.CPU)
		}
		if s.Disk != nil {
			line += fmt.Sprintf(", %.2f by disk", *s.Disk)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// orNone writes a figure that may not be known.
func orNone(v *float64, format string) string {
	if v == nil {
		return "n/a"
	}
	return fmt.Sprintf(format, *v)
}
