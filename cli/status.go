package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

const (
	adminPatience  = 10 * time.Second
	maxAdminAnswer = 64 << 20 // bytes
	clearScreen    = "\x1b[H\x1b[2J"
)

func statusCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "status",
		Usage: "show a region: its peers and their lag, tables, change log",
		Description: "A pair of regions is idle when all is applied and nothing came lately, live when changes come and are applied, catching up when it is\n" +
			"behind and getting on, stalled when it is behind and not, disconnected when the origin cannot be reached.\n" +
			"Tables are compared with those of the other regions in the background, again and again: shown are the last time since the node's start, how far\n" +
			"the present one is, the bytes read, and the share of the time in which they were. What has diverged stays so until `concordat repair`.",
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "watch", Usage: "show it again and again, until Ctrl-C"},
			&ucli.DurationFlag{Name: "interval", Usage: "with --watch: how often, `TIME`", Value: time.Second},
		},
		Action: func(c *ucli.Context) error { return runStatus(c, s) },
	}
}

func runStatus(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	interval := c.Duration("interval")
	if interval < 100*time.Millisecond {
		return wrongUsage(c, "--interval is %v; it can be 100ms or more", interval)
	}
	watch := c.Bool("watch")
	for {
		st, err := fetchStatus(c.Context, base)
		if err != nil {
			if watch {
				return stopped(c.Context, err)
			}
			return err
		}
		err = emit(c, s.Out, st, func(w io.Writer) error {
			if watch && isTerminal(w) {
				fmt.Fprint(w, clearScreen)
			}
			return writeStatus(w, st)
		})
		if err != nil || !watch {
			return err
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// adminURL returns the admin API that the flags name, without a slash at its end.
func adminURL(c *ucli.Context) (string, error) {
	text := common(c, flagAdmin)
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", wrongUsage(c, "--admin (or CONCORDAT_ADMIN) is %q; it must be a URL like http://127.0.0.1:8080", text)
	}
	return strings.TrimRight(text, "/"), nil
}

// fetchStatus asks the admin API at base.
func fetchStatus(ctx context.Context, base string) (admin.Status, error) {
	return askAdmin[admin.Status](ctx, "ask for status", adminPatience, http.MethodGet, base, "/v1/status", nil)
}

// writeStatus writes st for people.
func writeStatus(w io.Writer, st admin.Status) error {
	state := "ready"
	if !st.Ready {
		state = "not ready"
	}
	fmt.Fprintf(w, "Region %s (%s), number %d, %s, version %s\n", st.Region.Name, st.Region.Jurisdiction, st.Region.Origin, state, st.Version)
	for _, why := range st.Refused {
		fmt.Fprintf(w, "Writes are refused: %s\n", why)
	}
	for _, what := range st.Alarms {
		fmt.Fprintf(w, "ALARM: %s\n", what)
	}
	if line := membersLine(st.Members); line != "" {
		fmt.Fprintln(w, line)
	}
	if line := eventsLine(st.Events); line != "" {
		fmt.Fprintln(w, line)
	}
	for _, part := range []struct {
		title string
		none  string // what is written when there is nothing; empty: nothing is
		t     table.Writer
	}{
		{"Replication", "no peers", pairsTable(st.Pairs)},
		{"Tables", "no tables", tablesTable(st.Tables)},
		{"Deleted and expired items", "no tables", collectionTable(st.Tables)},
		{"Conflicts", "no tables", listedTable(st.Tables)},
		{"Change streams", "", streamedTable(st.Tables)},
		{"Indexes that are being built", "", indexesTable(st.Tables, true)},
		{"Comparison in the background", "nothing to compare", comparisonsTable(st.Tables)},
		{"Triggers", "", triggerStatesTable(st.Triggers)},
		{"Change log of this region", "no lanes", lanesTable(st.Lanes)},
	} {
		if part.t.Length() == 0 && part.none == "" {
			continue
		}
		if part.t.Length() == 0 {
			fmt.Fprintf(w, "\n%s: %s\n", part.title, part.none)
			continue
		}
		fmt.Fprintf(w, "\n%s\n", part.title)
		if err := render(w, part.t); err != nil {
			return err
		}
	}
	return nil
}

// membersLine names the regions that are not active; empty when all are.
func membersLine(members []admin.State) string {
	var parts []string
	for _, m := range members {
		if m.State != string(globaltable.MemberActive) {
			parts = append(parts, m.Region+" is "+m.State)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "Members: " + strings.Join(parts, ", ")
}

// eventsLine sums up the events of change streams; empty when there are none.
func eventsLine(e *admin.EventsSummary) string {
	if e == nil {
		return ""
	}
	line := fmt.Sprintf("Events in NATS: of %d tables, %s behind at most, %d grants", e.Tables, time.Duration(e.LagMillis)*time.Millisecond, e.Grants)
	if len(e.Failing) > 0 {
		line += "; not taken: " + strings.Join(e.Failing, ", ")
	}
	return line
}

func pairsTable(pairs []admin.Pair) table.Writer {
	t := newTable("from", "to", "state", "lag ms", "behind", "certain up to", "detail")
	alignRight(t, 4, 5, 6)
	for _, p := range pairs {
		certain := "never"
		if p.WatermarkAgeMillis != nil {
			certain = fmt.Sprintf("%.0f ms ago", *p.WatermarkAgeMillis)
		}
		behind := fmt.Sprint(p.BehindEntries)
		if p.State == admin.StateGossip {
			behind = ""
		}
		t.AppendRow(table.Row{p.From, p.To, p.State, millis(p.LagMillis), behind, certain, p.Detail})
	}
	return t
}

func tablesTable(tables []admin.Table) table.Writer {
	t := newTable("table", "status", "owner", "version", "items", "bytes", "digest", "replicas")
	alignRight(t, 5, 6)
	for _, b := range tables {
		replicas := make([]string, 0, len(b.Replicas))
		for _, r := range b.Replicas {
			line := r.Region + " " + r.Status
			if r.Percent != nil {
				line += fmt.Sprintf(" %d%%", *r.Percent)
			}
			if r.Detail != "" {
				line += ": " + r.Detail
			}
			replicas = append(replicas, line)
		}
		t.AppendRow(table.Row{b.Name, b.Status, b.Owner, b.Version, b.Items, humanBytes(b.Bytes), b.Digest, strings.Join(replicas, "\n")})
	}
	return t
}

func collectionTable(tables []admin.Table) table.Writer {
	t := newTable("table", "not erased yet", "expiring", "every region has all up to", "held back by")
	alignRight(t, 2, 3, 4)
	for _, b := range tables {
		c, upTo := b.Collection, "never"
		if c.PurgeAgeMillis != nil {
			upTo = fmt.Sprintf("%.0f ms ago", *c.PurgeAgeMillis)
		}
		t.AppendRow(table.Row{b.Name, c.Waiting, c.Expiring, upTo, c.HeldBack})
	}
	return t
}

func listedTable(tables []admin.Table) table.Writer {
	t := newTable("table", "listed", "size", "up to", "listed for")
	alignRight(t, 2, 3, 4, 5)
	for _, b := range tables {
		x := b.Conflicts
		t.AppendRow(table.Row{b.Name, x.Listed, humanBytes(x.Bytes), humanBytes(x.Limit), globaltable.FormatAge(time.Duration(x.KeepSeconds) * time.Second)})
	}
	return t
}

// streamedTable lists what tables with change streams keep of them.
func streamedTable(tables []admin.Table) table.Writer {
	t := newTable("table", "shows", "records", "size", "up to", "kept for")
	alignRight(t, 3, 4, 5, 6)
	for _, b := range tables {
		if x := b.Streams; x.View != "" || x.Streams > 0 {
			t.AppendRow(table.Row{b.Name, cmp.Or(x.View, "off"), x.Records, humanBytes(x.Bytes), humanBytes(x.Limit), globaltable.FormatAge(time.Duration(x.KeepSeconds) * time.Second)})
		}
	}
	return t
}

func comparisonsTable(tables []admin.Table) table.Writer {
	t := newTable("table", "with", "last", "result", "read", "of its time", "now", "read", "of its time")
	alignRight(t, 5, 6, 7, 8, 9)
	for _, b := range tables {
		for _, c := range b.Comparisons {
			row := table.Row{b.Name, c.Region, "never", "", "", ""}
			if p := c.Last; p != nil {
				row = table.Row{b.Name, c.Region, p.Ended.UTC().Format(time.RFC3339), p.State, humanBytes(p.Bytes), share(p.Share)}
				if p.Detail != "" {
					row[3] = p.State + ": " + p.Detail
				}
			}
			if c.Diverged != nil {
				row[3] = "diverged, seen " + c.Diverged.UTC().Format(time.RFC3339) + ":\nrun concordat verify, and concordat repair"
			}
			now := fmt.Sprintf("%d%%", c.Percent)
			if c.Paused != "" {
				now += ", paused: " + c.Paused
			}
			t.AppendRow(append(row, now, humanBytes(c.Bytes), share(c.Share)))
		}
	}
	return t
}

// share writes a part of one.
func share(v float64) string { return fmt.Sprintf("%.2f%%", 100*v) }

func lanesTable(lanes []admin.Lane) table.Writer {
	t := newTable("lane", "regions", "newest", "kept", "bytes", "stream", "confirmed by peers")
	alignRight(t, 3, 4, 5)
	for _, l := range lanes {
		stream := "refilling"
		if l.Live {
			stream = "live"
		}
		confirmed := make([]string, 0, len(l.Confirmed))
		for _, peer := range slices.Sorted(maps.Keys(l.Confirmed)) {
			line := fmt.Sprintf("%s %d", peer, l.Confirmed[peer])
			if lag, lags := l.Lagging[peer]; lags {
				line += fmt.Sprintf(": left behind%s, %d entries are gone", since(lag.Since), lag.Entries)
			}
			confirmed = append(confirmed, line)
		}
		t.AppendRow(table.Row{l.ID, strings.Join(l.Regions, "\n"), l.Head, l.Entries, humanBytes(l.Bytes), stream, strings.Join(confirmed, "\n")})
	}
	return t
}

// since writes when something began; nothing when that is not known.
func since(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " since " + t.Local().Format(time.DateTime)
}

func alignRight(t table.Writer, columns ...int) {
	configs := make([]table.ColumnConfig, 0, len(columns))
	for _, n := range columns {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
}

// millis writes a duration in milliseconds; nothing for none.
func millis(ms *float64) string {
	if ms == nil {
		return ""
	}
	return fmt.Sprintf("%.1f", *ms)
}

// humanBytes writes n with a binary unit.
func humanBytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n), ""
	for _, suffix = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value /= unit; value < unit {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, suffix)
}
