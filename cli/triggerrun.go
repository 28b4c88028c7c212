package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// triggerRunCommands are those verbs of trigger that are about how a region fires triggers.
func triggerRunCommands(s Streams) []*ucli.Command {
	tableFlag := &ucli.StringFlag{Name: "table", Usage: "`NAME` of the table; needed where triggers of several tables have the name"}
	only := &ucli.StringSliceFlag{Name: "id", Usage: "only the dead letter with this `ID` (repeatable); default: all"}
	return []*ucli.Command{
		{
			Name:      "stats",
			Usage:     "show how a region fires its triggers",
			ArgsUsage: "[NAME]",
			Description: "Of each trigger, or of the one named, a line for each feed: which part of the events it is, whether the region fires it, how old the moment is up to which all was dealt with, what waits in the table's change stream, and what became\n" +
				"of events since the region's node was started. Gaps are what nobody wants to see: so many times the stream had dropped records before they were read, one or a thousand at a time.",
			Flags:  []ucli.Flag{&ucli.StringFlag{Name: "table", Usage: "`NAME` of the table; default: all"}},
			Action: func(c *ucli.Context) error { return triggerStats(c, s) },
		},
		{
			Name:        "dlq",
			Usage:       "deal with the dead letters of a trigger: events that its target did not take",
			Description: "They are kept in the region that tried to deliver them, at most 10,000 of a trigger and 64 MiB, until they are redriven or purged, which is in the audit log, or the trigger is deleted. With --admin, ask the region.",
			Subcommands: []*ucli.Command{
				{
					Name:      "list",
					Usage:     "list dead letters, the oldest first",
					ArgsUsage: "NAME",
					Flags: []ucli.Flag{tableFlag,
						&ucli.IntFlag{Name: "limit", Usage: "list `NUMBER` at most, up to 1000", Value: 100},
						&ucli.StringFlag{Name: "after", Usage: "go on after the one with this `ID`, which an earlier list ended with"}},
					Action: func(c *ucli.Context) error { return listLetters(c, s) },
				},
				{
					Name:      "show",
					Usage:     "show a dead letter, with its event",
					ArgsUsage: "NAME ID",
					Flags:     []ucli.Flag{tableFlag},
					Action:    func(c *ucli.Context) error { return showLetter(c, s) },
				},
				{
					Name:        "redrive",
					Usage:       "deliver dead letters once more",
					ArgsUsage:   "NAME",
					Description: "What the target takes is dropped; the rest stays. They keep their event ids, and are not in order with events that are delivered meanwhile: a sink that compares the attributes stamp and sequence is not fooled.",
					Flags:       append(auditFlags(), tableFlag, only),
					Action:      func(c *ucli.Context) error { return redriveLetters(c, s) },
				},
				{
					Name:      "purge",
					Usage:     "drop dead letters",
					ArgsUsage: "NAME",
					Flags:     append(auditFlags(), tableFlag, only, &ucli.BoolFlag{Name: "yes", Usage: "do it, without asking"}),
					Action:    func(c *ucli.Context) error { return purgeLetters(c, s) },
				},
			},
		},
	}
}

func triggerStats(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	given, err := words(c)
	if err != nil {
		return err
	}
	query := url.Values{"table": {c.String("table")}, "trigger": given}
	out, err := askAdmin[admin.TriggerStats](c.Context, "ask for stats of triggers", 3*adminPatience, http.MethodGet, base, "/v1/triggers/stats?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, out, func(w io.Writer) error { return writeTriggerStats(w, &out) })
}

func writeTriggerStats(w io.Writer, stats *admin.TriggerStats) error {
	if len(stats.Triggers) == 0 {
		_, err := fmt.Fprintln(w, "There are no triggers.")
		return err
	}
	t := newTable("table", "trigger", "feed", "fires", "cursor age", "waiting", "delivered", "failed", "withheld", "gaps", "dead letters", "last error")
	for i := range stats.Triggers {
		g := &stats.Triggers[i]
		for j := range g.Feeds {
			f := &g.Feeds[j]
			letters := ""
			if j == 0 {
				letters = strconv.FormatInt(g.Letters.Count, 10)
			}
			lastError := ""
			if f.LastError != nil {
				lastError = f.LastError.At.Local().Format(time.TimeOnly) + " " + f.LastError.Error
			}
			t.AppendRow(table.Row{g.Table, g.Name, feedOf(g, f), firesOf(stats.Region, g, f), ageOf(f.CursorAgeMillis), waitingOf(&f.Backlog), f.Delivered, f.Failed, f.Withheld, f.Gaps, letters, lastError})
		}
	}
	return render(w, t)
}

// feedOf says which events a feed has.
func feedOf(g *admin.TriggerRun, f *admin.TriggerRow) string {
	switch {
	case f.Origin != "" && len(f.Regions) > 0:
		return "made in " + f.Origin + ", of " + strings.Join(f.Regions, ", ")
	case f.Origin != "":
		return "made in " + f.Origin
	case len(f.Regions) > 0:
		return "of " + strings.Join(f.Regions, ", ")
	}
	return "all"
}

// firesOf says who fires a feed.
func firesOf(region string, g *admin.TriggerRun, f *admin.TriggerRow) string {
	by := f.By
	if f.Fires {
		by = append([]string{region}, by...)
	}
	switch {
	case g.Paused:
		return "paused"
	case len(by) == 0:
		return "nobody"
	}
	return strings.Join(by, ", ")
}

func waitingOf(q *admin.TriggerQueue) string {
	if q.Records == 0 {
		return "0"
	}
	more := ""
	if q.More {
		more = "over "
	}
	return fmt.Sprintf("%s%d, %s, oldest %s", more, q.Records, humanBytes(q.Bytes), ageOf(q.AgeMillis))
}

// ageOf writes an age, coarser the greater it is.
func ageOf(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}

// letterQuery returns a query for dead letters of the trigger that is named; given are the words.
func letterQuery(c *ucli.Context) (base string, query url.Values, given []string, err error) {
	base, found, err := triggerNamed(c)
	if err != nil {
		return base, nil, nil, err
	}
	given, err = words(c)
	return base, url.Values{"table": {found.Table}, "trigger": {found.Name}}, given, err
}

func fetchLetters(c *ucli.Context, base string, query url.Values) (admin.DeadLetterList, error) {
	return askAdmin[admin.DeadLetterList](c.Context, "ask for dead letters", 3*adminPatience, http.MethodGet, base, "/v1/triggers/letters?"+query.Encode(), nil)
}

func listLetters(c *ucli.Context, s Streams) error {
	if n := c.Int("limit"); n < 1 || n > 1000 {
		return wrongUsage(c, "--limit is %d; it can be 1 to 1000", n)
	}
	base, query, _, err := letterQuery(c)
	if err != nil {
		return err
	}
	query.Set("limit", strconv.Itoa(c.Int("limit")))
	query.Set("after", c.String("after"))
	list, err := fetchLetters(c, base, query)
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list.Letters) == 0 {
			_, err := fmt.Fprintf(w, "There are no dead letters in %s.\n", list.Region)
			return err
		}
		t := newTable("id", "given up", "attempts", "size", "error")
		for i := range list.Letters {
			l := &list.Letters[i]
			t.AppendRow(table.Row{l.ID, l.Buried.Local().Format(time.DateTime), l.Attempts, humanBytes(int64(l.Bytes)), l.Error})
		}
		if err := render(w, t); err != nil || !list.More {
			return err
		}
		_, err := fmt.Fprintf(w, "There is more: --after %s\n", list.Letters[len(list.Letters)-1].ID)
		return err
	})
}

func showLetter(c *ucli.Context, s Streams) error {
	base, query, given, err := letterQuery(c)
	if err != nil {
		return err
	}
	query.Set("id", given[1])
	query.Set("events", "true")
	list, err := fetchLetters(c, base, query)
	if err != nil {
		return err
	}
	if len(list.Letters) != 1 {
		return errors.New("the region has no such dead letter")
	}
	l := &list.Letters[0]
	return emit(c, s.Out, l, func(w io.Writer) error {
		fmt.Fprintf(w, "Given up %s, after %d attempts: %s\n", l.Buried.Local().Format(time.DateTime), l.Attempts, l.Error)
		b, err := json.MarshalIndent(l.Event, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	})
}

// lettersOf returns a request about the dead letters that the flags name.
func lettersOf(c *ucli.Context) (base string, r admin.DeadLetterRequest, err error) {
	base, found, err := triggerNamed(c)
	if err != nil {
		return base, r, err
	}
	who, err := author(c)
	return base, admin.DeadLetterRequest{Table: found.Table, Trigger: found.Name, IDs: each(c, "id"), Author: who, Reason: c.String("reason")}, err
}

func redriveLetters(c *ucli.Context, s Streams) error {
	base, r, err := lettersOf(c)
	if err != nil {
		return err
	}
	var sum admin.Redriven
	for more := true; more; {
		one, err := askAdmin[admin.Redriven](c.Context, "redrive dead letters", policyPatience, http.MethodPost, base, "/v1/triggers/letters/redrive", r)
		if err != nil {
			return err
		}
		sum = admin.Redriven{Delivered: sum.Delivered + one.Delivered, Failed: one.Failed, Withheld: one.Withheld, More: one.More, Error: one.Error}
		more = one.More && one.Failed == 0 // what fails stays at the front
	}
	err = emit(c, s.Out, sum, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d delivered, %d failed, %d withheld by locality policies.\n", sum.Delivered, sum.Failed, sum.Withheld)
		return err
	})
	if err == nil && sum.Failed > 0 {
		err = fmt.Errorf("not all were delivered: %s", sum.Error)
	}
	return err
}

func purgeLetters(c *ucli.Context, s Streams) error {
	base, r, err := lettersOf(c)
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		what := "all dead letters"
		if len(r.IDs) > 0 {
			what = "dead letters " + strings.Join(r.IDs, ", ")
		}
		fmt.Fprintf(s.Err, "This drops %s of trigger %s of table %s in the region that is asked.\n", what, r.Trigger, r.Table)
		if err := confirm(c, s); err != nil {
			return err
		}
	}
	purged, err := askAdmin[admin.Purged](c.Context, "purge dead letters", policyPatience, http.MethodPost, base, "/v1/triggers/letters/purge", r)
	if err != nil {
		return err
	}
	return emit(c, s.Out, purged, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d dropped.\n", purged.Dropped)
		return err
	})
}

// triggerStatesTable is the triggers of a status.
func triggerStatesTable(states []admin.TriggerState) table.Writer {
	t := newTable("table", "trigger", "", "cursor age", "dead letters", "gaps")
	for _, g := range states {
		what, age := "fired elsewhere", ""
		switch {
		case g.Paused:
			what = "paused"
		case g.Fires:
			what, age = "fires here", ageOf(g.BehindMillis)
		}
		t.AppendRow(table.Row{g.Table, g.Name, what, age, g.Letters, g.Gaps})
	}
	return t
}
