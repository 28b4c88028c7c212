package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/cli/demo"
	"github.com/concordat-db/concordat/cli/demodata"
	"github.com/concordat-db/concordat/regionnode/world"
)

const (
	// demoLimit ends a demo that hangs.
	demoLimit = 2 * time.Minute
	// demoWait is how long regions may take to converge, at each place where the demo waits for it.
	demoWait = 30 * time.Second
	// demoCut is how long a region is cut off: long enough for every request and heartbeat under way to fail.
	demoCut = 5 * time.Second
)

// demoDelays are the one-way delays of the links between the first and the second region, the first and the third, the second
// and the third; in larger worlds they take turns.
var demoDelays = []time.Duration{40 * time.Millisecond, 90 * time.Millisecond, 60 * time.Millisecond}

func demoCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "demo",
		Usage: "watch three regions take writes, merge, lose a link and converge",
		Description: "Starts a world as `concordat dev` does, with links of 40, 60 and 90 ms, and needs under two minutes. The exit status is 1 if\n" +
			"anything is lost or does not converge. With --output json the report goes to standard output and the story to standard error.",
		Flags: append(worldFlags(), logLevelFlag("disabled"),
			&ucli.BoolFlag{Name: "keep", Usage: "leave the world running at the end, until Ctrl-C"}),
		Action: func(c *ucli.Context) error { return runDemo(c, s) },
	}
}

func runDemo(c *ucli.Context, s Streams) (err error) {
	cfg, err := worldConfig(c)
	if err != nil {
		return err
	}
	if len(cfg.Regions) < 2 {
		return wrongUsage(c, "the demo needs at least two regions")
	}
	f, err := formatOf(c)
	if err != nil {
		return err
	}
	tell := s.Out
	if f != formatTable {
		tell = s.Err
	}
	if cfg.Log, err = newLog(c, s.Err); err != nil {
		return err
	}
	fmt.Fprintf(tell, "Concordat: %d regions on this machine, as far apart as real ones.\n", len(cfg.Regions))
	fillLatency(&cfg, tell)
	cleanup, err := chooseDataDir(&cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	w, err := world.Open(cfg)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	ended := make(chan error, 1)
	ready := make(chan world.Ready, 1)
	go func() {
		ended <- w.Run(ctx, func(r world.Ready) { ready <- r })
		stop() // a world that ended by itself ends the story
	}()
	select {
	case err := <-ended:
		return stopped(c.Context, err)
	case r := <-ready:
		err := runStory(ctx, c, s, tell, w, r)
		stop()
		return errors.Join(stopped(ctx, <-ended), err)
	}
}

// runStory runs the demo in a world that is ready, tells how it ended, and, with --keep, waits until ctx is done.
func runStory(ctx context.Context, c *ucli.Context, s Streams, tell io.Writer, w *world.World, r world.Ready) error {
	cfg := demo.Config{Cut: w.Cut, Heal: w.Heal, Digest: digests(r), Out: tell, Screen: isTerminal(tell), Wait: demoWait, CutFor: demoCut}
	for _, g := range r.Regions {
		cfg.Regions = append(cfg.Regions, demo.Region{Name: g.Name, DynamoDB: g.DynamoDB})
	}
	limited, cancel := context.WithTimeoutCause(ctx, demoLimit, fmt.Errorf("the demo took longer than %v", demoLimit))
	defer cancel()
	report, err := demo.Run(limited, cfg)
	if err != nil {
		if limited.Err() != nil {
			err = errors.Join(err, context.Cause(limited))
		}
		return fmt.Errorf("the demo failed: %w", err)
	}
	keep := c.Bool("keep")
	if err := emit(c, s.Out, report, func(w io.Writer) error { return writeReport(w, report) }); err != nil {
		return err
	}
	writeNextSteps(tell, r, keep)
	if keep {
		<-ctx.Done()
	}
	return nil
}

// fillLatency gives a delay to each link that has none, and tells all of them.
func fillLatency(cfg *world.Config, tell io.Writer) {
	n := 0
	for i, a := range cfg.Regions {
		for _, b := range cfg.Regions[i+1:] {
			pair := world.Pair{A: a.Name, B: b.Name}
			d, ok := cfg.Latency[pair]
			if !ok {
				d, ok = cfg.Latency[world.Pair{A: b.Name, B: a.Name}]
			}
			if !ok {
				d = demoDelays[n%len(demoDelays)]
				cfg.Latency[pair] = d
			}
			n++
			fmt.Fprintf(tell, "   %s ⇄ %s: %v one way\n", a.Name, b.Name, d)
		}
	}
}

// digests returns a function that asks a region's admin API for the digest of the demo's table.
func digests(r world.Ready) func(context.Context, string) (demo.Digest, error) {
	return func(ctx context.Context, region string) (demo.Digest, error) {
		for _, g := range r.Regions {
			if g.Name != region {
				continue
			}
			st, err := fetchStatus(ctx, g.Admin)
			if err != nil {
				return demo.Digest{}, err
			}
			for _, t := range st.Tables {
				if t.Name == demo.TableName {
					return demo.Digest{Items: t.Items, Sum: t.Digest}, nil
				}
			}
		}
		return demo.Digest{}, fmt.Errorf("region %s has no table %s", region, demo.TableName)
	}
}

// writeReport writes the table at the end.
func writeReport(w io.Writer, r demo.Report) error {
	fmt.Fprintf(w, "\n== What happened, in %.1f s\n", r.Seconds)
	t := newTable("", "")
	t.ResetHeaders()
	t.AppendRow([]any{"loaded", fmt.Sprintf("%d places of %d countries in %.1f s, %.0f a second", r.Load.Places, r.Load.Countries, r.Load.Seconds, r.Load.PerSecond)})
	for _, l := range r.Lag {
		t.AppendRow([]any{"lag " + l.From + " → " + l.To, fmt.Sprintf("%.0f ms", l.Millis)})
	}
	t.AppendRow([]any{"one key, written in every region at once", fmt.Sprintf("%s won everywhere, %.0f ms later", r.Race.Winner, r.Race.Millis)})
	t.AppendRow([]any{r.Cut.Region + " cut off", fmt.Sprintf("%d writes inside, %d outside, %d keys on both sides", r.Cut.Inside, r.Cut.Outside, r.Cut.Contested)})
	t.AppendRow([]any{"after the healing", fmt.Sprintf("everything everywhere within %.0f ms", r.Cut.Millis)})
	for _, g := range r.Regions {
		t.AppendRow([]any{g.Region + " holds", fmt.Sprintf("%d items, digest %s", g.Items, g.Digest)})
	}
	return render(w, t)
}

func writeNextSteps(w io.Writer, r world.Ready, keep bool) {
	if keep {
		fmt.Fprintf(w, "The world goes on until Ctrl-C. In another terminal:\n\n%s"+
			"  aws dynamodb get-item --endpoint-url %s --table-name %s \\\n"+
			"    --key '{\"country\":{\"S\":\"IS\"},\"id\":{\"S\":\"IS-001\"}}'\n\n", firstSteps(r), r.Regions[len(r.Regions)-1].DynamoDB, demo.TableName)
	} else {
		fmt.Fprint(w, "Go on with `concordat demo --keep`, which leaves the world running, or `concordat dev` for an empty one.\n")
	}
	fmt.Fprintln(w, demodata.Attribution)
}
