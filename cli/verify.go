package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

func verifyCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "verify",
		Usage: "compare a region's replicas with those of the other regions",
		Description: "Reads the records on both sides, not only the digests that are kept. A replica is converged; or in flight, when what differs is on its way; or diverged, when a write\n" +
			"is missing that certainly arrived, or equal writes have left different bytes; or not compared. Keys that have diverged are named by a hash.\n" +
			"The exit status is 0 when every replica is converged or in flight, and 1 otherwise. What is in flight is looked at again for some seconds.",
		Flags:  compareFlags(),
		Action: func(c *ucli.Context) error { return runCompare(c, s, http.MethodGet, "/v1/verify") },
	}
}

func repairCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "repair",
		Usage: "exchange the records that have diverged between a region and the others",
		Description: "Compares like verify, merges the records of what has diverged in both directions, and compares again: it shows, and exits, like verify.\n" +
			"Where equal writes have left different bytes, all regions end with the same ones; nobody knows which were right. It changes data, so it wants --yes.",
		Flags: append(compareFlags(), &ucli.BoolFlag{Name: "yes", Usage: "do it"}),
		Action: func(c *ucli.Context) error {
			if !c.Bool("yes") {
				return wrongUsage(c, "repair changes data: give --yes to do it; verify shows what differs")
			}
			return runCompare(c, s, http.MethodPost, "/v1/repair")
		},
	}
}

func compareFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "table", Usage: "`NAME` of the table; default: all of the region"},
		&ucli.DurationFlag{Name: "timeout", Usage: "give up after `TIME`", Value: 10 * time.Minute},
	}
}

func runCompare(c *ucli.Context, s Streams, method, path string) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if c.Duration("timeout") <= 0 {
		return wrongUsage(c, "--timeout is %v; it must be above zero", c.Duration("timeout"))
	}
	if name := c.String("table"); name != "" {
		path += "?table=" + url.QueryEscape(name)
	}
	v, err := askAdmin[admin.Verification](c.Context, "ask for a comparison", c.Duration("timeout"), method, base, path, nil)
	if err != nil {
		return err
	}
	if err := emit(c, s.Out, v, func(w io.Writer) error { return writeVerification(w, v) }); err != nil {
		return err
	}
	switch v.State {
	case repair.Converged:
		return nil
	case repair.InFlight:
		_, err := fmt.Fprintln(s.Err, "What differs is in flight: nothing has diverged.")
		return err
	}
	return fmt.Errorf("region %s: %s", v.Region, strings.Join(faultsOf(v), "; "))
}

// faultsOf says what is wrong, table by table.
func faultsOf(v admin.Verification) (out []string) {
	for _, t := range v.Tables {
		for _, r := range t.Replicas {
			switch r.State {
			case repair.Diverged:
				out = append(out, fmt.Sprintf("table %s has diverged from %s: %d keys in %d buckets", t.Table, r.Region, r.Keys, r.Buckets))
			case repair.NotCompared:
				out = append(out, fmt.Sprintf("table %s was not compared with %s: %s", t.Table, r.Region, r.Detail))
			}
		}
	}
	return out
}

// writeVerification writes v for people.
func writeVerification(w io.Writer, v admin.Verification) error {
	t := newTable("table", "items", "with", "state", "diverged keys", "buckets", "in flight", "repaired", "detail")
	alignRight(t, 2, 5, 6, 7, 8)
	for _, one := range v.Tables {
		if len(one.Replicas) == 0 {
			t.AppendRow(table.Row{one.Table, "", "", one.State, "", "", "", "", "no other replica"})
		}
		for _, r := range one.Replicas {
			detail := r.Detail
			if len(r.Hashes) > 0 {
				detail = strings.Join(r.Hashes[:min(len(r.Hashes), 10)], "\n")
			}
			t.AppendRow(table.Row{one.Table, one.Items, r.Region, r.State, r.Keys, r.Buckets, r.InFlight, r.Repaired, detail})
		}
	}
	_, err := fmt.Fprintf(w, "Region %s: %s\n%s\n", v.Region, v.State, t.Render())
	return err
}
