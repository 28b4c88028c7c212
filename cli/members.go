package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// memberPoll is how often a command that waits looks again.
const memberPoll = 250 * time.Millisecond

func regionListCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "list",
		Usage: "list the regions of the world",
		Description: "Asks any region. A region is active; fencing or removing, while not every active one knows yet that it is not to be heard any more; fenced; or removed.\n" +
			"A replica of a fenced region is closed by its table's owner: the others first exchange all that it may have given to some of them only.",
		Action: func(c *ucli.Context) error {
			_, regions, err := askRegions(c)
			if err != nil {
				return err
			}
			return emit(c, s.Out, regions, func(w io.Writer) error { return writeRegions(w, regions) })
		},
	}
}

func regionShowCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:      "show",
		Usage:     "show a region and its part in the tables",
		ArgsUsage: "NAME",
		Action: func(c *ucli.Context) error {
			_, regions, err := askRegions(c)
			if err != nil {
				return err
			}
			m, err := memberOf(&regions, c.Args().First())
			if err != nil {
				return err
			}
			return emit(c, s.Out, m, func(w io.Writer) error { return writeMember(w, &regions, m) })
		},
	}
}

func regionFenceCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:      "fence",
		Usage:     "have a region that is lost be heard no more",
		ArgsUsage: "NAME",
		Description: "Asked of another region than the one to be fenced. From then on no region takes anything from it or gives it anything, nothing waits for it, and it serves nobody.\n" +
			"What it had confirmed to clients and not yet given to any other region is in its own store only: `concordat region rebuild`, in that region, brings it back with that.\n" +
			"It waits until every active region knows and all tables are closed; the exit status is 1 if that takes longer than --timeout, and it goes on by itself.",
		Flags:  memberFlags(),
		Action: func(c *ucli.Context) error { return putOut(c, s, "fence", false) },
	}
}

func regionRemoveCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:      "remove",
		Usage:     "fence a region for ever",
		ArgsUsage: "NAME",
		Description: "Like fence, and the region never comes back: its replicas go from the tables, and its name, number and key are never used again.\n" +
			"A region that has the only copy of a table is removed with --force only, and the table with it.",
		Flags:  append(memberFlags(), &ucli.BoolFlag{Name: "force", Usage: "although tables have their only copy there: they are lost"}),
		Action: func(c *ucli.Context) error { return putOut(c, s, "remove", c.Bool("force")) },
	}
}

func memberFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.BoolFlag{Name: "yes", Usage: "do it"},
		&ucli.BoolFlag{Name: "wait", Usage: "wait until it is done", Value: true},
		&ucli.DurationFlag{Name: "timeout", Usage: "wait for `TIME` at most", Value: 10 * time.Minute},
	}
}

// putOut fences or removes a region, after it has shown what that means.
func putOut(c *ucli.Context, s Streams, verb string, force bool) error {
	if c.Duration("timeout") <= 0 {
		return wrongUsage(c, "--timeout is %v; it must be above zero", c.Duration("timeout"))
	}
	base, regions, err := askRegions(c)
	if err != nil {
		return err
	}
	name := c.Args().First()
	m, err := memberOf(&regions, name)
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		if err := explain(s.Err, verb, m); err != nil {
			return err
		}
		return wrongUsage(c, "give --yes to %s region %s", verb, name)
	}
	path := "/v1/regions/" + url.PathEscape(name) + "/" + verb
	if force {
		path += "?force=true"
	}
	if regions, err = fetchRegions(c.Context, http.MethodPost, base, path); err != nil {
		return err
	}
	if c.Bool("wait") {
		if regions, err = waitClosed(c, s, base, name); err != nil {
			return err
		}
	}
	if m, err = memberOf(&regions, name); err != nil {
		return err
	}
	return emit(c, s.Out, m, func(w io.Writer) error { return writeMember(w, &regions, m) })
}

// explain tells what fencing or removing a region means for the tables.
func explain(w io.Writer, verb string, m *admin.Member) error {
	var lines []string
	switch verb {
	case "fence":
		lines = append(lines, fmt.Sprintf("Region %s (%s) would be fenced: no other region hears it any more, and it serves nobody until it is rebuilt.", m.Name, m.State))
	default:
		lines = append(lines, fmt.Sprintf("Region %s (%s) would be removed for ever.", m.Name, m.State))
	}
	for _, r := range m.Replicas {
		line := "table " + r.Table + ": its replica there (" + r.Status + ") is closed, the others go on"
		if slices.Contains(m.OnlyCopies, r.Table) {
			line = "table " + r.Table + ": its only copy is there"
		}
		lines = append(lines, "  "+line)
	}
	if len(m.Replicas) == 0 {
		lines = append(lines, "  no table has a replica there")
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// waitClosed returns when nothing of the region is open any more. What it waits for is told when it changes.
func waitClosed(c *ucli.Context, s Streams, base, name string) (admin.Regions, error) {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	said := ""
	for {
		regions, err := fetchRegions(ctx, http.MethodGet, base, "/v1/regions")
		if err == nil {
			m, err := memberOf(&regions, name)
			if err != nil || m.Closed() {
				return regions, err
			}
			if pending := pendingFor(&regions, m); pending != said {
				said = pending
				fmt.Fprintf(s.Err, "Waiting for %s.\n", pending)
			}
		}
		select {
		case <-ctx.Done():
			if said == "" {
				return admin.Regions{}, err
			}
			return admin.Regions{}, fmt.Errorf("region %s is not closed yet: waiting for %s; it goes on by itself", name, said)
		case <-time.After(memberPoll):
		}
	}
}

// pendingFor says what closing a region waits for.
func pendingFor(regions *admin.Regions, m *admin.Member) string {
	if !globaltable.MemberState(m.State).Closed() {
		if len(regions.Pending) == 0 {
			return "the other regions to hear of it"
		}
		return strings.Join(regions.Pending, "; ")
	}
	var parts []string
	for _, r := range m.Replicas {
		if r.Status == string(globaltable.StatusFenced) {
			continue
		}
		part := "table " + r.Table + " to be closed"
		if r.Detail != "" {
			part = "table " + r.Table + ": " + strings.TrimPrefix(strings.TrimSuffix(r.Detail, "."), "Waiting for ")
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// askRegions asks the region that the flags name.
func askRegions(c *ucli.Context) (base string, regions admin.Regions, err error) {
	if base, err = adminURL(c); err != nil {
		return "", regions, err
	}
	regions, err = fetchRegions(c.Context, http.MethodGet, base, "/v1/regions")
	return base, regions, err
}

func memberOf(regions *admin.Regions, name string) (*admin.Member, error) {
	if m := regions.Member(name); m != nil {
		return m, nil
	}
	var names []string
	for _, m := range regions.Regions {
		names = append(names, m.Name)
	}
	return nil, fmt.Errorf("there is no region %q; there are %s", name, strings.Join(names, ", "))
}

func fetchRegions(ctx context.Context, method, base, path string) (admin.Regions, error) {
	return askAdmin[admin.Regions](ctx, "ask for regions", 3*adminPatience, method, base, path, nil)
}

func writeRegions(w io.Writer, regions admin.Regions) error {
	t := newTable("region", "jurisdiction", "number", "state", "replicas", "NATS")
	alignRight(t, 3)
	for i := range regions.Regions {
		m := &regions.Regions[i]
		t.AppendRow(table.Row{m.Name, m.Jurisdiction, m.Origin, m.State, strings.Join(replicaCounts(m), "\n"), strings.Join(m.NATS, "\n")})
	}
	if err := render(w, t); err != nil {
		return err
	}
	return writePending(w, &regions)
}

func writePending(w io.Writer, regions *admin.Regions) error {
	if len(regions.Pending) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "Waiting for %s.\n", strings.Join(regions.Pending, "; "))
	return err
}

// replicaCounts says how many replicas a region has in which status.
func replicaCounts(m *admin.Member) (out []string) {
	counts := map[string]int{}
	var statuses []string
	for _, r := range m.Replicas {
		if counts[r.Status]++; counts[r.Status] == 1 {
			statuses = append(statuses, r.Status)
		}
	}
	slices.Sort(statuses)
	for _, status := range statuses {
		out = append(out, fmt.Sprintf("%d %s", counts[status], status))
	}
	return out
}

func writeMember(w io.Writer, regions *admin.Regions, m *admin.Member) error {
	fmt.Fprintf(w, "Region %s (%s), number %d: %s\n", m.Name, m.Jurisdiction, m.Origin, m.State)
	if m.Incarnation != 0 {
		fmt.Fprintf(w, "The others follow the store with incarnation %d.\n", m.Incarnation)
	}
	fmt.Fprintf(w, "Key %s\n", m.PublicKey)
	if len(m.NATS) > 0 {
		fmt.Fprintf(w, "NATS %s\n", strings.Join(m.NATS, ", "))
	}
	if len(m.Replicas) == 0 {
		fmt.Fprintln(w, "No table has a replica there.")
		return writePending(w, regions)
	}
	t := newTable("table", "replica", "detail")
	for _, r := range m.Replicas {
		detail := r.Detail
		if slices.Contains(m.OnlyCopies, r.Table) {
			detail = strings.TrimSpace("The only copy. " + detail)
		}
		t.AppendRow(table.Row{r.Table, r.Status, detail})
	}
	if err := render(w, t); err != nil {
		return err
	}
	return writePending(w, regions)
}
