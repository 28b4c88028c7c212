package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/world"
)

func devCommand(s Streams, version string) *ucli.Command {
	return &ucli.Command{
		Name:  "dev",
		Usage: "run a whole world of regions on this machine",
		Description: "Runs until it gets SIGINT or SIGTERM. Any credentials are accepted, so it listens on this machine only.\n" +
			"Each region takes the next port from each base, in the order given.",
		Flags:  append(worldFlags(), readyFileFlag(), logLevelFlag("warn")),
		Action: func(c *ucli.Context) error { return runDev(c, s, version) },
	}
}

// worldFlags are those that describe a world.
func worldFlags() []ucli.Flag {
	var regions []string
	for _, g := range world.DefaultRegions() {
		regions = append(regions, g.Name+"="+g.Jurisdiction)
	}
	return []ucli.Flag{
		&ucli.StringFlag{Name: "data", Usage: "`DIR` for the regions' stores (default: a temporary one, removed at the end)"},
		&ucli.StringSliceFlag{Name: "region", Usage: "`NAME=JURISDICTION` of a region (repeatable; default: " + strings.Join(regions, ", ") + ")"},
		&ucli.IntFlag{Name: "port", Usage: "first `PORT` of the DynamoDB endpoints; 0: free ones", Value: 8000},
		&ucli.IntFlag{Name: "admin-port", Usage: "first `PORT` of the admin APIs; 0: free ones", Value: 8080},
		&ucli.IntFlag{Name: "nats-port", Usage: "first `PORT` of NATS; 0: free ones", Value: 4222},
		&ucli.StringSliceFlag{Name: "latency", Usage: "one-way delay of the link between two regions, `A:B=80ms` (repeatable)"},
		&ucli.StringSliceFlag{Name: "trigger-secret", Usage: "key that triggers may sign webhooks with, `NAME=FILE` (repeatable)"},
		&ucli.StringSliceFlag{Name: "trigger-command", Usage: "absolute `PATH` of a program that triggers may run (repeatable)"},
	}
}

func readyFileFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "ready-file", Usage: "`FILE` to write when all regions serve"}
}

func runDev(c *ucli.Context, s Streams, version string) (err error) {
	cfg, err := worldConfig(c)
	if err != nil {
		return err
	}
	if cfg.Log, err = newLog(c, s.Err); err != nil {
		return err
	}
	cleanup, err := chooseDataDir(&cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	readyFile := c.String("ready-file")
	if readyFile != "" {
		// One of an earlier run would say that this one serves.
		if err := os.Remove(readyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		defer os.Remove(readyFile)
	}
	w, err := world.Open(cfg)
	if err != nil {
		return err
	}
	cfg.Log.Info().Str("version", version).Str("data", cfg.DataDir).Msg("starting")
	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	var told error
	err = w.Run(ctx, func(r world.Ready) {
		if told = tellReady(c, s.Out, readyFile, r); told != nil {
			stop()
		}
	})
	return errors.Join(told, stopped(ctx, err))
}

// tellReady writes the ready file, then tells the user.
func tellReady(c *ucli.Context, w io.Writer, file string, r world.Ready) error {
	if file != "" {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("write ready file: %w", err)
		}
		if err := writeWhole(file, append(b, '\n')); err != nil {
			return fmt.Errorf("write ready file: %w", err)
		}
	}
	return emit(c, w, r, func(w io.Writer) error {
		t := newTable("region", "jurisdiction", "DynamoDB", "admin", "NATS")
		for _, g := range r.Regions {
			t.AppendRow([]any{g.Name, g.Jurisdiction, g.DynamoDB, g.Admin, g.NATS})
		}
		if err := render(w, t); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "Ready. Ctrl-C ends it. Any credentials are accepted; for example:\n\n%s\n", firstSteps(r))
		return err
	})
}

// firstSteps shows how to use the world with the AWS CLI.
func firstSteps(r world.Ready) string {
	return fmt.Sprintf("  export AWS_ACCESS_KEY_ID=dev AWS_SECRET_ACCESS_KEY=dev AWS_DEFAULT_REGION=%s\n"+
		"  aws dynamodb list-tables --endpoint-url %s\n"+
		"  concordat status --admin %s\n", r.Regions[0].Name, r.Regions[0].DynamoDB, r.Regions[0].Admin)
}

// writeWhole makes file appear with all of b at once, so that a reader that waits for it never sees a part.
func writeWhole(file string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// chooseDataDir sets a temporary directory where none is given. cleanup removes it.
func chooseDataDir(cfg *world.Config) (cleanup func() error, err error) {
	if cfg.DataDir != "" {
		return func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "concordat-")
	if err != nil {
		return nil, err
	}
	cfg.DataDir = dir
	return func() error { return os.RemoveAll(dir) }, nil
}

// worldConfig reads worldFlags. All faults are reported at once.
func worldConfig(c *ucli.Context) (world.Config, error) {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	cfg := world.Config{
		DataDir: c.String("data"), Port: c.Int("port"), AdminPort: c.Int("admin-port"), NATSPort: c.Int("nats-port"),
		Latency: map[world.Pair]time.Duration{},
	}
	known := map[string]bool{}
	for _, text := range c.StringSlice("region") {
		g, err := parseRegion(text)
		switch {
		case err != nil:
			fault("--region %v", err)
		case known[g.Name]:
			fault("--region %s is given twice", g.Name)
		default:
			cfg.Regions = append(cfg.Regions, g)
		}
		known[g.Name] = true
	}
	if len(known) == 0 {
		cfg.Regions = world.DefaultRegions()
		for _, g := range cfg.Regions {
			known[g.Name] = true
		}
	}
	if len(known) > world.MaxRegions {
		fault("--region: %d regions; at most %d", len(known), world.MaxRegions)
	}
	for _, text := range c.StringSlice("latency") {
		pair, d, err := parseLatency(text)
		switch {
		case err != nil:
			fault("--latency %v", err)
		case !known[pair.A] || !known[pair.B]:
			fault("--latency %q: the regions are %s", text, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		default:
			cfg.Latency[pair] = d
		}
	}
	for _, text := range c.StringSlice("trigger-secret") {
		name, file, _ := strings.Cut(text, "=")
		b, err := readSecret(file)
		var key []byte
		if err == nil {
			key, err = webhookKey(string(b))
		}
		if err != nil || !globaltable.ValidPolicyName(name) {
			fault("--trigger-secret %q: it is NAME=FILE, with a name of lower-case letters, digits, hyphens and dots, and a key of at least 16 bytes in the file", text)
			continue
		}
		if cfg.Triggers.Secrets == nil {
			cfg.Triggers.Secrets = map[string][]byte{}
		}
		cfg.Triggers.Secrets[name] = key
	}
	for _, path := range c.StringSlice("trigger-command") {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			fault("--trigger-command %q is no absolute path", path)
		}
		cfg.Triggers.Commands = append(cfg.Triggers.Commands, path)
	}
	faults = append(faults, portFaults(cfg, len(known))...)
	if len(faults) > 0 {
		return world.Config{}, wrongUsage(c, "%s", strings.Join(faults, "\n  "))
	}
	return cfg, nil
}

// portFaults checks that n ports from each base exist and that no two are the same.
func portFaults(cfg world.Config, n int) (faults []string) {
	bases := []struct {
		flag string
		port int
	}{{"--port", cfg.Port}, {"--admin-port", cfg.AdminPort}, {"--nats-port", cfg.NATSPort}}
	for i, a := range bases {
		if a.port < 0 || a.port+n-1 > 65535 {
			faults = append(faults, fmt.Sprintf("%s is %d; %d ports from there must be within 1 to 65535 (0 takes free ones)", a.flag, a.port, n))
		}
		if a.port == 0 {
			continue
		}
		for _, b := range bases[:i] {
			if b.port != 0 && a.port < b.port+n && b.port < a.port+n {
				faults = append(faults, fmt.Sprintf("%s %d and %s %d: their %d ports overlap", b.flag, b.port, a.flag, a.port, n))
			}
		}
	}
	return faults
}

func parseRegion(text string) (world.Region, error) {
	name, jurisdiction, ok := strings.Cut(text, "=")
	g := world.Region{Name: name, Jurisdiction: jurisdiction}
	if !ok {
		return g, fmt.Errorf("%q is not NAME=JURISDICTION, like eu-central-1=EU", text)
	}
	if err := globaltable.ValidateRegionName(name); err != nil {
		return g, fmt.Errorf("%q: %w", text, err)
	}
	if err := globaltable.ValidateJurisdiction(jurisdiction); err != nil {
		return g, fmt.Errorf("%q: %w", text, err)
	}
	return g, nil
}

func parseLatency(text string) (pair world.Pair, d time.Duration, err error) {
	link, delay, ok := strings.Cut(text, "=")
	a, b, ok2 := strings.Cut(link, ":")
	if !ok || !ok2 || a == "" || b == "" || a == b {
		return pair, 0, fmt.Errorf("%q is not A:B=DELAY with two regions, like us-east-1:eu-central-1=40ms", text)
	}
	d, err = time.ParseDuration(delay)
	if err != nil || d < 0 || d > time.Minute {
		return pair, 0, fmt.Errorf("%q: the delay can be 0s to 1m", text)
	}
	return world.Pair{A: a, B: b}, d, nil
}
