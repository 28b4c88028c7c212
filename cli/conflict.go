package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func conflictCommand(s Streams) *ucli.Command {
	tableFlag := &ucli.StringFlag{Name: "table", Usage: "`NAME` or id of the table; default: all"}
	return &ucli.Command{
		Name:  "conflict",
		Usage: "show what concurrent writes have discarded, and bring it back",
		Description: "When two regions write the same at the same time, and neither had seen the other's write, one of them wins. What the other one wrote is listed here, in every region that may have the item, until it\n" +
			"is older than the table keeps conflicts (`concordat table set --conflict-age`, 7 days) or there are too many. Writes over what their writer had seen are no conflicts, and are not listed.",
		Subcommands: []*ucli.Command{
			{
				Name:  "list",
				Usage: "list conflicts, the newest first",
				Flags: []ucli.Flag{
					tableFlag,
					&ucli.DurationFlag{Name: "since", Usage: "only writes of the last `TIME`: 90m, 24h"},
					&ucli.BoolFlag{Name: "open", Usage: "only conflicts of items that nobody has written since who had seen them"},
					&ucli.IntFlag{Name: "limit", Usage: "list `NUMBER` conflicts at most, up to 1000", Value: 100},
					&ucli.StringFlag{Name: "before", Usage: "go on after the conflict with this `ID`, which an earlier list ended with"},
				},
				Action: func(c *ucli.Context) error { return listConflicts(c, s) },
			},
			{
				Name:      "show",
				Usage:     "show both versions of a conflict",
				ArgsUsage: "ID",
				Action:    func(c *ucli.Context) error { return showConflict(c, s) },
			},
			{
				Name:        "tail",
				Usage:       "follow conflicts as they are found or arrive, until Ctrl-C",
				Description: "With --output json, one conflict a line; with yaml, one document each.",
				Flags: []ucli.Flag{
					tableFlag,
					&ucli.DurationFlag{Name: "since", Usage: "begin with those of the last `TIME`"},
				},
				Action: func(c *ucli.Context) error { return tailConflicts(c, s) },
			},
			{
				Name:   "stats",
				Usage:  "count conflicts, by table",
				Flags:  []ucli.Flag{tableFlag},
				Action: func(c *ucli.Context) error { return conflictStats(c, s) },
			},
			{
				Name:      "restore",
				Usage:     "write back what was discarded",
				ArgsUsage: "ID",
				Description: "It is an ordinary write of now, which goes to every region: it replaces what is there, as any write does. Without --yes the command shows what would change and ends with status 2.\n" +
					"Of a whole item the whole item is written, of single attributes these. A discarded deletion deletes.",
				Flags: []ucli.Flag{
					&ucli.StringSliceFlag{Name: "attributes", Usage: "write only these attributes: `NAME,...`"},
					&ucli.BoolFlag{Name: "yes", Usage: "do it"},
				},
				Action: func(c *ucli.Context) error { return restoreConflict(c, s) },
			},
		},
	}
}

func listConflicts(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if n := c.Int("limit"); n < 1 || n > 1000 {
		return wrongUsage(c, "--limit is %d; it can be 1 to 1000", n)
	}
	query, err := conflictQuery(c)
	if err != nil {
		return err
	}
	query.Set("limit", strconv.Itoa(c.Int("limit")))
	if c.Bool("open") {
		query.Set("open", "true")
	}
	if before := c.String("before"); before != "" {
		query.Set("before", before)
	}
	list, err := askAdmin[admin.ConflictList](c.Context, "list conflicts", 3*adminPatience, http.MethodGet, base, "/v1/conflicts?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list.Conflicts) == 0 {
			_, err := fmt.Fprintln(w, "No conflict is listed.")
			return err
		}
		t := newTable("id", "table", "key", "discarded write", "of", "winner", "discarded", "open")
		for i := range list.Conflicts {
			t.AppendRow(conflictRow(&list.Conflicts[i]))
		}
		if err := render(w, t); err != nil || !list.More {
			return err
		}
		_, err := fmt.Fprintf(w, "There is more: --before %s\n", list.Conflicts[len(list.Conflicts)-1].ID)
		return err
	})
}

// conflictQuery reads --table and --since.
func conflictQuery(c *ucli.Context) (url.Values, error) {
	query := url.Values{}
	if name := c.String("table"); name != "" {
		query.Set("table", name)
	}
	if c.IsSet("since") {
		since := c.Duration("since")
		if since <= 0 {
			return nil, wrongUsage(c, "--since is %v; it must be above zero", since)
		}
		query.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339))
	}
	return query, nil
}

func conflictRow(x *admin.Conflict) table.Row {
	open := ""
	if x.Open {
		open = "open"
	}
	return table.Row{x.ID, x.Table, clipped(plainItem(x.Key)), x.Loser.Time.Local().Format(time.DateTime), x.Loser.Region, x.Winner.Region, clipped(discardedOf(x)), open}
}

// discardedOf says in words what was discarded.
func discardedOf(x *admin.Conflict) string {
	switch {
	case len(x.Discarded) > 0:
		return strings.Join(x.Discarded, ", ")
	case x.Loser.Deleted:
		return "the deletion"
	}
	return "the item"
}

// maxCell is how wide a cell of a list may be.
const maxCell = 40

func clipped(s string) string {
	if r := []rune(s); len(r) > maxCell {
		return string(r[:maxCell-1]) + "…"
	}
	return s
}

// plainItem writes an item for people: names and values, without the types.
func plainItem(dynamo json.RawMessage) string {
	var attributes map[string]map[string]json.RawMessage
	if len(dynamo) == 0 || json.Unmarshal(dynamo, &attributes) != nil {
		return ""
	}
	var out []string
	for _, name := range sortedNames(attributes) {
		out = append(out, name+"="+plainValue(attributes[name]))
	}
	return strings.Join(out, " ")
}

func sortedNames(m map[string]map[string]json.RawMessage) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// plainValue writes an attribute value for people. What is no text or number stays JSON.
func plainValue(v map[string]json.RawMessage) string {
	for typ, raw := range v {
		var text string
		if (typ == "S" || typ == "N") && json.Unmarshal(raw, &text) == nil {
			return text
		}
		var compact bytes.Buffer
		if json.Compact(&compact, raw) == nil {
			return compact.String()
		}
	}
	return ""
}

// oneConflict returns the id that the argument is.
func oneConflict(c *ucli.Context) (base, id string, err error) {
	if base, err = adminURL(c); err != nil {
		return "", "", err
	}
	ids, err := words(c)
	if err != nil {
		return "", "", err
	}
	if len(ids) != 1 {
		return "", "", wrongUsage(c, "give the ID of one conflict; `concordat conflict list` shows them")
	}
	return base, url.PathEscape(ids[0]), nil
}

func showConflict(c *ucli.Context, s Streams) error {
	base, id, err := oneConflict(c)
	if err != nil {
		return err
	}
	x, err := askAdmin[admin.Conflict](c.Context, "show conflict", adminPatience, http.MethodGet, base, "/v1/conflicts/"+id, nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, x, func(w io.Writer) error { return writeConflict(w, &x) })
}

func writeConflict(w io.Writer, x *admin.Conflict) error {
	state := "closed: somebody has written the item since who had seen it"
	if x.Open {
		state = "open"
	}
	fmt.Fprintf(w, "Conflict %s of table %s, item %s: %s.\nRule: %s. It is %s. Listed until %s.\n", x.ID, x.Table, plainItem(x.Key), x.Outcome, ruleText(x.Rule), state, x.Expires.Local().Format(time.DateTime))
	t := newTable("", "discarded", "kept")
	t.AppendRow(table.Row{"region", x.Loser.Region, x.Winner.Region})
	t.AppendRow(table.Row{"written", versionTime(&x.Loser), versionTime(&x.Winner)})
	t.AppendRow(table.Row{"stamp", x.Loser.Stamp, x.Winner.Stamp})
	t.AppendRow(table.Row{"had seen", contextText(&x.Loser), contextText(&x.Winner)})
	for _, d := range differences(x.Loser.Values, x.Winner.Values) {
		t.AppendRow(table.Row{d.name, clipped(d.a), clipped(d.b)})
	}
	return render(w, t)
}

func ruleText(rule string) string {
	switch rule {
	case "item":
		return "the later write of the whole item wins"
	case "attribute":
		return "the later write of the attribute wins"
	case "fenced":
		return "written in a region that the others had given up"
	}
	return rule
}

func versionTime(v *admin.Version) string {
	if v.Stamp == "" {
		return ""
	}
	return v.Time.Local().Format("2006-01-02 15:04:05.000")
}

func contextText(v *admin.Version) string {
	var out []string
	for region, stamp := range v.Context {
		out = append(out, region+" "+stamp)
	}
	slices.Sort(out)
	if v.Floor != "" {
		out = append(out, "all up to "+v.Floor)
	}
	return strings.Join(out, "\n")
}

// difference is an attribute in two items, for people.
type difference struct{ name, a, b string }

// differences has an entry for each attribute of two items, in DynamoDB's JSON.
func differences(a, b json.RawMessage) (out []difference) {
	var x, y map[string]map[string]json.RawMessage
	_ = json.Unmarshal(a, &x) // none: nothing to show
	_ = json.Unmarshal(b, &y)
	names := append(sortedNames(x), sortedNames(y)...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		cell := func(m map[string]map[string]json.RawMessage) string {
			if v, has := m[name]; has {
				return plainValue(v)
			}
			return "–"
		}
		out = append(out, difference{name, cell(x), cell(y)})
	}
	return out
}

func conflictStats(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	query := url.Values{}
	if name := c.String("table"); name != "" {
		query.Set("table", name)
	}
	stats, err := askAdmin[[]admin.ConflictStats](c.Context, "count conflicts", 3*adminPatience, http.MethodGet, base, "/v1/conflicts/stats?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, stats, func(w io.Writer) error {
		if len(stats) == 0 {
			_, err := fmt.Fprintln(w, "The region has no tables.")
			return err
		}
		t := newTable("table", "listed", "open", "size", "limit", "kept for", "oldest", "by rule", "discarded of")
		alignRight(t, 2, 3, 4, 5)
		for _, x := range stats {
			oldest := ""
			if x.Oldest != nil {
				oldest = x.Oldest.Local().Format(time.DateTime)
			}
			t.AppendRow(table.Row{x.Table, x.Listed, x.Open, humanBytes(x.Bytes), humanBytes(x.Limit), globaltable.FormatAge(time.Duration(x.Keep) * time.Second), oldest, counts(x.ByRule), counts(x.ByLoser)})
		}
		return render(w, t)
	})
}

func counts(m map[string]int) string {
	var out []string
	for name, n := range m {
		out = append(out, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func tailConflicts(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	query, err := conflictQuery(c)
	if err != nil {
		return err
	}
	f, err := formatOf(c)
	if err != nil {
		return err
	}
	show := func(x *admin.Conflict) error {
		return emitLine(s.Out, f, x, fmt.Sprintf("%s  %s  %s  %s: %s (%s)", x.Loser.Time.Local().Format(time.DateTime), x.ID, x.Table, plainItem(x.Key), x.Outcome, discardedOf(x)))
	}
	follow := url.Values{}
	if query.Has("table") {
		follow.Set("table", query.Get("table"))
	}
	if c.IsSet("since") {
		// What comes while these are listed is followed: from here on.
		now, err := askAdmin[admin.ConflictTail](c.Context, "follow conflicts", time.Minute, http.MethodGet, base, "/v1/conflicts/tail?wait=0&"+follow.Encode(), nil)
		if err != nil {
			return err
		}
		follow.Set("after", strconv.FormatUint(now.Next, 10))
		if err := showSince(c, base, query, show); err != nil {
			return err
		}
	}
	return followConflicts(c, s, base, follow, show)
}

// showSince shows the conflicts that query selects, the oldest first.
func showSince(c *ucli.Context, base string, query url.Values, show func(*admin.Conflict) error) error {
	query.Set("limit", "1000")
	var all []admin.Conflict
	for more := true; more; {
		list, err := askAdmin[admin.ConflictList](c.Context, "list conflicts", 3*adminPatience, http.MethodGet, base, "/v1/conflicts?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		all = append(all, list.Conflicts...)
		if more = list.More && len(list.Conflicts) > 0; more {
			query.Set("before", all[len(all)-1].ID)
		}
	}
	for _, x := range slices.Backward(all) {
		if err := show(&x); err != nil {
			return err
		}
	}
	return nil
}

// followConflicts shows conflicts as they come until the command is ended.
func followConflicts(c *ucli.Context, s Streams, base string, query url.Values, show func(*admin.Conflict) error) error {
	ask := func() (admin.ConflictTail, error) {
		return askAdmin[admin.ConflictTail](c.Context, "follow conflicts", time.Minute, http.MethodGet, base, "/v1/conflicts/tail?"+query.Encode(), nil)
	}
	return follow(c, s, 0, ask, func(tail admin.ConflictTail) error {
		if tail.Missed && query.Has("after") {
			fmt.Fprintln(s.Err, "Some came too fast to follow; `concordat conflict list` shows them.")
		}
		for i := range tail.Conflicts {
			if err := show(&tail.Conflicts[i]); err != nil {
				return err
			}
		}
		query.Set("after", strconv.FormatUint(tail.Next, 10))
		return nil
	})
}

func restoreConflict(c *ucli.Context, s Streams) error {
	base, id, err := oneConflict(c)
	if err != nil {
		return err
	}
	attributes := c.StringSlice("attributes") // twice, if they follow the ID
	slices.Sort(attributes)
	body := admin.RestoreConflict{Attributes: slices.Compact(attributes), Write: c.Bool("yes")}
	change, err := askAdmin[admin.ConflictChange](c.Context, "restore conflict", 3*adminPatience, http.MethodPost, base, "/v1/conflicts/"+id+"/restore", body)
	if err != nil {
		return err
	}
	err = emit(c, s.Out, change, func(w io.Writer) error {
		t := newTable("attribute", "now", "restored")
		if change.Written {
			t = newTable("attribute", "before", "now")
		}
		if change.Then == nil {
			fmt.Fprintln(w, "The item is deleted by it.")
		}
		for _, d := range differences(change.Now, change.Then) {
			if d.a != d.b {
				t.AppendRow(table.Row{d.name, clipped(d.a), clipped(d.b)})
			}
		}
		if t.Length() == 0 {
			_, err := fmt.Fprintln(w, "Nothing is changed by it: the item is so already.")
			return err
		}
		return render(w, t)
	})
	if err != nil || change.Written {
		return err
	}
	return wrongUsage(c, "give --yes to write it")
}
