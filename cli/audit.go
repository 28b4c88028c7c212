package cli

import (
	"cmp"
	"encoding/hex"
	"errors"
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

	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func auditCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:        "audit",
		Usage:       "show, and check, where data is, what has left a region, and who changed what",
		Description: "SOVEREIGNTY.md says what each of these proves, and what it does not.",
		Subcommands: []*ucli.Command{
			{
				Name:  "log",
				Usage: "list what was changed of policies, tables, regions and credentials",
				Description: "Every region has the entries of all. The oldest come first. With --follow, those that are there are followed by others as they come, until Ctrl-C; a region that is away for a while is asked on. Entries are lines\n" +
					"then: with --output json, one object a line; with yaml, one document each.",
				Flags: []ucli.Flag{
					&ucli.DurationFlag{Name: "since", Usage: "only entries of the last `TIME`: 90m, 24h"},
					&ucli.StringFlag{Name: "kind", Usage: "only entries of this `KIND`: " + kindNames()},
					&ucli.StringFlag{Name: "region", Usage: "only the chain of the region `NAME`"},
					&ucli.IntFlag{Name: "limit", Usage: "the newest `NUMBER` of them", Value: 1000},
					&ucli.BoolFlag{Name: "follow", Usage: "go on with entries as they come"},
				},
				Action: func(c *ucli.Context) error { return listAudit(c, s) },
			},
			{
				Name:  "check",
				Usage: "check every chain of the audit log, and every signature",
				Description: "Computes all hashes anew, and goes on to the end whatever it meets. Entries that cannot be read, gaps, forks, wrong hashes and wrong signatures are named, and the exit status is 1. Note the heads that it shows: given with --head the next time, they show that\n" +
					"nothing was cut off or written anew meanwhile.",
				Flags: []ucli.Flag{
					&ucli.StringSliceFlag{Name: "key", Usage: "`REGION=KEY`: the region's public key, in place of the one that the region asked tells"},
					&ucli.StringSliceFlag{Name: "head", Usage: "`REGION=NUMBER:HASH`: an entry that has to be there"},
				},
				Action: func(c *ucli.Context) error { return checkAudit(c, s) },
			},
			auditEgressCommand(s),
			auditResidencyCommand(s),
		},
	}
}

func kindNames() string {
	var out []string
	for _, k := range audit.Kinds() {
		out = append(out, string(k))
	}
	return strings.Join(out, ", ")
}

func auditPage(c *ucli.Context, base string, query url.Values) (admin.AuditLog, error) {
	return askAdmin[admin.AuditLog](c.Context, "read audit log", 3*adminPatience, http.MethodGet, base, "/v1/audit/log?"+query.Encode(), nil)
}

// eachAuditPage calls f with the pages of the audit log that query selects. Afterwards query selects what comes after them.
func eachAuditPage(c *ucli.Context, base string, query url.Values, f func(*admin.AuditLog) error) error {
	for more := true; more; {
		page, err := auditPage(c, base, query)
		if err != nil {
			return err
		}
		if err := f(&page); err != nil {
			return err
		}
		more = page.More
		query.Set("after", page.Next)
	}
	return nil
}

func listAudit(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	limit := c.Int("limit")
	if limit < 1 {
		return wrongUsage(c, "--limit is %d; it must be above zero", limit)
	}
	query, err := conflictQuery(c)
	if err != nil {
		return err
	}
	if kind := c.String("kind"); kind != "" {
		if !slices.Contains(audit.Kinds(), audit.Kind(kind)) {
			return wrongUsage(c, "--kind is %q; it can be %s", kind, kindNames())
		}
		query.Set("kind", kind)
	}
	if region := c.String("region"); region != "" {
		query.Set("region", region)
	}
	list := admin.AuditLog{Entries: []admin.AuditEntry{}}
	err = eachAuditPage(c, base, query, func(page *admin.AuditLog) error {
		list.Keys = page.Keys
		list.Entries = append(list.Entries, page.Entries...)
		if len(list.Entries) > 2*limit {
			list.Entries = newestEntries(list.Entries, limit)
		}
		return nil
	})
	if err != nil {
		return err
	}
	list.Entries = newestEntries(list.Entries, limit)
	if c.Bool("follow") {
		return followAudit(c, s, base, query, list)
	}
	return emit(c, s.Out, list, func(w io.Writer) error { return writeAudit(w, list.Entries) })
}

// auditPoll is how often a log that is followed is looked at. Where to go on is known by what was read, not by what the region remembers: so nothing is missed, or shown twice, when it restarts.
const auditPoll = time.Second

// followAudit shows what is there, and what query selects from now on.
func followAudit(c *ucli.Context, s Streams, base string, query url.Values, there admin.AuditLog) error {
	f, err := formatOf(c)
	if err != nil {
		return err
	}
	show := func(page admin.AuditLog) error {
		for i := range page.Entries {
			if err := emitLine(s.Out, f, &page.Entries[i], auditLine(&page.Entries[i])); err != nil {
				return err
			}
		}
		return nil
	}
	if err := show(there); err != nil {
		return err
	}
	query.Del("since") // when it was written does not matter: it comes now
	return follow(c, s, auditPoll, func() (admin.AuditLog, error) { return auditPage(c, base, query) }, func(page admin.AuditLog) error {
		query.Set("after", page.Next)
		page.Entries = newestEntries(page.Entries, len(page.Entries))
		return show(page)
	})
}

func auditLine(x *admin.AuditEntry) string {
	e := x.Entry
	if e == nil {
		return "an entry that cannot be read: " + x.Fault
	}
	line := fmt.Sprintf("%s  %s %d  %s %s: %s (%s)", time.UnixMilli(e.At).Local().Format(time.DateTime), e.Region, e.Seq, e.Kind, e.Subject, strings.Join(auditChanges(e), "; "), auditBy(e))
	if e.Reason != "" {
		line += ": " + e.Reason
	}
	return line
}

func auditChanges(e *audit.Entry) (out []string) {
	for _, c := range e.Changes {
		out = append(out, changeText(&c))
	}
	if e.Omitted > 0 {
		out = append(out, fmt.Sprintf("and %d more", e.Omitted))
	}
	return out
}

func auditBy(e *audit.Entry) string {
	if e.Author == "" {
		return e.Asked
	}
	return e.Asked + ", " + e.Author
}

// newestEntries returns the newest of them, the oldest of these first.
func newestEntries(entries []admin.AuditEntry, limit int) []admin.AuditEntry {
	at := func(e admin.AuditEntry) int64 {
		if e.Entry == nil {
			return 0
		}
		return e.Entry.At
	}
	slices.SortStableFunc(entries, func(a, b admin.AuditEntry) int { return cmp.Compare(at(a), at(b)) })
	return entries[max(0, len(entries)-limit):]
}

func writeAudit(w io.Writer, entries []admin.AuditEntry) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintln(w, "There are no such entries.")
		return err
	}
	t := newTable("time", "region", "number", "kind", "subject", "what", "asked in, by", "reason")
	alignRight(t, 3)
	for _, x := range entries {
		e := x.Entry
		if e == nil {
			t.AppendRow(table.Row{"", "", "", "", "", "an entry that cannot be read: " + x.Fault})
			continue
		}
		t.AppendRow(table.Row{time.UnixMilli(e.At).Local().Format(time.DateTime), e.Region, e.Seq, e.Kind, e.Subject, strings.Join(auditChanges(e), "\n"), auditBy(e), e.Reason})
	}
	return render(w, t)
}

func changeText(c *audit.Change) string {
	const width = 60
	cut := func(s string) string {
		if r := []rune(s); len(r) > width {
			return string(r[:width-1]) + "…"
		}
		return s
	}
	switch {
	case c.Was == "":
		return c.What + ": " + cut(c.Now)
	case c.Now == "":
		return c.What + ": gone"
	}
	return c.What + ": " + cut(c.Was) + " → " + cut(c.Now)
}

// regionKeys reads the keys that were given, over those of the region asked.
func regionKeys(c *ucli.Context) (map[string]string, error) {
	keys := map[string]string{}
	for _, text := range c.StringSlice("key") {
		region, key, ok := strings.Cut(text, "=")
		if !ok || !strings.HasPrefix(key, "U") {
			return nil, wrongUsage(c, "--key is %q; it is REGION=KEY, with a key as `concordat region list --output json` shows it", text)
		}
		keys[region] = key
	}
	return keys, nil
}

func knownHeads(c *ucli.Context) (out []audit.Head, err error) {
	for _, text := range c.StringSlice("head") {
		region, rest, _ := strings.Cut(text, "=")
		number, hash, _ := strings.Cut(rest, ":")
		h := audit.Head{Region: region}
		if h.Seq, err = strconv.ParseUint(number, 10, 64); err == nil {
			err = h.Hash.UnmarshalText([]byte(hash))
		}
		if err != nil || region == "" {
			return nil, wrongUsage(c, "--head is %q; it is REGION=NUMBER:HASH, as `concordat audit check` shows it", text)
		}
		out = append(out, h)
	}
	return out, nil
}

func checkAudit(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	given, err := regionKeys(c)
	if err != nil {
		return err
	}
	known, err := knownHeads(c)
	if err != nil {
		return err
	}
	var checker *audit.Checker
	err = eachAuditPage(c, base, url.Values{}, func(page *admin.AuditLog) error {
		if checker == nil {
			for region, key := range given {
				page.Keys[region] = key
			}
			checker = audit.NewChecker(page.Keys, known)
		}
		for _, e := range page.Entries {
			switch {
			case e.Entry != nil:
				checker.Add(e.Sealed)
			case e.At != nil:
				checker.AddUnreadable(*e.At, e.Sealed, e.Fault)
			default:
				checker.AddUnreadable(audit.Place{}, nil, e.Fault)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r := checker.Result()
	if r.Problems == nil {
		r.Problems = []audit.Problem{}
	}
	if err := emit(c, s.Out, r, func(w io.Writer) error { return writeCheck(w, &r) }); err != nil {
		return err
	}
	if r.Found > 0 {
		return fmt.Errorf("the audit log is not sound: %d problems", r.Found)
	}
	return nil
}

func writeCheck(w io.Writer, r *audit.Result) error {
	if r.Entries == 0 && r.Found == 0 {
		_, err := fmt.Fprintln(w, "There are no entries.")
		return err
	}
	t := newTable("chain of", "entries to", "head")
	alignRight(t, 2)
	for _, h := range r.Heads {
		t.AppendRow(table.Row{h.Region, h.Seq, hex.EncodeToString(h.Hash[:])})
	}
	if err := render(w, t); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "%s, entry %d: %s\n", p.Region, p.Seq, p.What)
	}
	if r.Found > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%d entries: every hash and every signature is right.\n", r.Entries)
	return err
}

var errFound = errors.New("items were found where they may not be")
