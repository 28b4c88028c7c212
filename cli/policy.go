package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func policyCommand(s Streams) *ucli.Command {
	tableFlag := &ucli.StringFlag{Name: "table", Usage: "`NAME` of the table; needed where policies of several tables have the name"}
	return &ucli.Command{
		Name:  "policy",
		Usage: "say where items may be, and how replicas work together: plan, apply, and see who changed what and why",
		Subcommands: []*ucli.Command{
			planCommand(s),
			applyCommand(s),
			{
				Name:      "get",
				Usage:     "show a policy in force",
				ArgsUsage: "NAME",
				Flags:     []ucli.Flag{tableFlag},
				Action:    func(c *ucli.Context) error { return getPolicy(c, s) },
			},
			{
				Name:   "list",
				Usage:  "list the policies in force",
				Flags:  []ucli.Flag{&ucli.StringFlag{Name: "table", Usage: "`NAME` of the table; default: all"}},
				Action: func(c *ucli.Context) error { return listPolicies(c, s) },
			},
			deleteCommand(s, tableFlag),
			{
				Name:      "test",
				Usage:     "say where an item would live, and why",
				ArgsUsage: "KEY",
				Description: "KEY is the item's key in DynamoDB's JSON, {\"id\":{\"S\":\"EU#1\"}}, or the value of its partition key: text, a number, or base64, as the key's type is. The item need not exist. The policy that decides is the most\n" +
					"specific one that matches: a longer prefix of the sort key goes before a shorter one or none, then a component of the partition key, then a longer prefix of it. What is told of requests is about the region asked.",
				Flags:  []ucli.Flag{&ucli.StringFlag{Name: "table", Usage: "`NAME` of the table (required)"}, &ucli.StringFlag{Name: "sort", Usage: "`VALUE` of the sort key"}},
				Action: func(c *ucli.Context) error { return testPolicies(c, s) },
			},
			{
				Name:        "history",
				Usage:       "list the versions of policies: each application and each deletion, who made it and why",
				ArgsUsage:   "[NAME]",
				Description: "Each region keeps the 1024 newest of a table, and always those in force; and those of tables that were deleted, in any region.",
				Flags:       []ucli.Flag{&ucli.StringFlag{Name: "table", Usage: "`NAME` or id of the table; default: all"}},
				Action:      func(c *ucli.Context) error { return policyHistory(c, s) },
			},
			{
				Name:        "show",
				Usage:       "show one version of a policy",
				ArgsUsage:   "NAME",
				Description: "A table that is there goes before deleted ones: their ids, which `policy history` shows, name those.",
				Flags: []ucli.Flag{&ucli.StringFlag{Name: "table", Usage: "`NAME` or id of the table; needed where policies of several tables have the name"},
					&ucli.Uint64Flag{Name: "version", Usage: "`N` of the version; default: the newest"}},
				Action: func(c *ucli.Context) error { return showPolicy(c, s) },
			},
			receiptsCommand(s),
			{
				Name:        "schema",
				Usage:       "print the JSON Schema of policies",
				ArgsUsage:   "[KIND]",
				Description: "KIND is LocalityPolicy or ReplicationPolicy; default: of both. It is for editors and for checks before a commit; `policy plan` checks more.",
				Action:      func(c *ucli.Context) error { return policySchema(c, s) },
			},
		},
	}
}

// policyFile returns the documents of the file that --file names. What is wrong in it is wrong usage.
func policyFile(c *ucli.Context) ([]policy.Document, error) {
	if err := required(c, "file"); err != nil {
		return nil, err
	}
	path := c.String("file")
	b, err := readFile(path, manifest.MaxBytes)
	if err != nil {
		return nil, wrongUsage(c, "%v", err)
	}
	docs, err := policy.Parse(b)
	if err != nil {
		return nil, wrongUsage(c, "%s:\n%v", path, err)
	}
	return docs, nil
}

// author returns who makes a change: --author, or the user of this machine.
func author(c *ucli.Context) (string, error) {
	name := c.String("author")
	if name == "" {
		who, err := user.Current()
		if err != nil {
			return "", wrongUsage(c, "who you are is not known: give --author")
		}
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		name = who.Username + "@" + host
	}
	if err := policy.CheckWords(name, c.String("reason")); err != nil {
		return "", wrongUsage(c, "%v", err)
	}
	return name, nil
}

func fetchPolicies(ctx context.Context, base, path, table, name string) ([]admin.Policy, error) {
	query := url.Values{}
	if table != "" {
		query.Set("table", table)
	}
	if name != "" {
		query.Set("name", name)
	}
	list, err := askAdmin[admin.PolicyList](ctx, "ask for policies", 3*adminPatience, http.MethodGet, base, path+"?"+query.Encode(), nil)
	return list.Policies, err
}

// policyNamed returns the versions, or the policy in force, that a word and --table name: of one table.
func policyNamed(c *ucli.Context, path string) (base string, found []admin.Policy, err error) {
	if base, err = adminURL(c); err != nil {
		return base, nil, err
	}
	given, err := words(c)
	if err != nil {
		return base, nil, err
	}
	all, err := fetchPolicies(c.Context, base, path, c.String("table"), given[0])
	if err != nil {
		return base, nil, err
	}
	all = slices.DeleteFunc(all, func(p admin.Policy) bool { return p.Name != given[0] })
	if found = ofTables(all); len(found) == 0 {
		found = all
	}
	var tables []string
	for i := range found {
		tables = append(tables, tableText(&found[i]))
	}
	slices.Sort(tables)
	switch tables = slices.Compact(tables); {
	case len(found) == 0:
		return base, nil, &noPolicyError{given[0]}
	case len(tables) > 1:
		return base, nil, wrongUsage(c, "policies of several tables have the name %s: give --table, which can be %s", given[0], strings.Join(tables, ", "))
	}
	return base, found, nil
}

// ofTables returns those of tables that were not deleted.
func ofTables(all []admin.Policy) (out []admin.Policy) {
	for _, p := range all {
		if !p.TableDeleted {
			out = append(out, p)
		}
	}
	return out
}

// tableText names the table of a policy; one that was deleted by its id too, since others may have its name.
func tableText(p *admin.Policy) string {
	if p.TableDeleted {
		return p.TableID + " (" + p.Table + ", deleted)"
	}
	return p.Table
}

// noPolicyError says that there is no policy of the name.
type noPolicyError struct{ name string }

func (e *noPolicyError) Error() string {
	return "there is no policy " + e.name + " here; `concordat policy list` shows those in force"
}

func getPolicy(c *ucli.Context, s Streams) error {
	_, found, err := policyNamed(c, "/v1/policies")
	if err != nil {
		return err
	}
	return emit(c, s.Out, found[0], func(w io.Writer) error { return writePolicy(w, &found[0]) })
}

func showPolicy(c *ucli.Context, s Streams) error {
	_, versions, err := policyNamed(c, "/v1/policies/history")
	if err != nil {
		return err
	}
	found := versions[0]
	if c.IsSet("version") {
		i := slices.IndexFunc(versions, func(p admin.Policy) bool { return p.Version == c.Uint64("version") })
		if i < 0 {
			return fmt.Errorf("policy %s has no version %d here; there are %d to %d", found.Name, c.Uint64("version"), versions[len(versions)-1].Version, found.Version)
		}
		found = versions[i]
	}
	return emit(c, s.Out, found, func(w io.Writer) error { return writePolicy(w, &found) })
}

// writePolicy writes a document that can be applied again.
func writePolicy(w io.Writer, p *admin.Policy) error {
	what := "applied"
	if p.Deleted {
		what = "deleted"
	}
	if p.At != nil {
		fmt.Fprintf(w, "# version %d, %s %s by %s", p.Version, what, p.At.Local().Format(time.DateTime), p.Author)
		if p.Reason != "" {
			fmt.Fprintf(w, ": %s", p.Reason)
		}
		fmt.Fprintln(w)
	}
	b, err := manifest.EncodeYAML([]policy.Document{p.Document})
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func listPolicies(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	list, err := fetchPolicies(c.Context, base, "/v1/policies", c.String("table"), "")
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "There are no policies: every item may be wherever its table is.")
			return err
		}
		t := newTable("table", "policy", "kind", "says", "version", "applied", "by")
		alignRight(t, 5)
		for i := range list {
			p := &list[i]
			t.AppendRow(table.Row{p.Table, p.Name, p.Kind, says(&p.Document), p.Version, when(p), p.Author})
		}
		return render(w, t)
	})
}

func policyHistory(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	given, err := words(c)
	if err != nil {
		return err
	}
	list, err := fetchPolicies(c.Context, base, "/v1/policies/history", c.String("table"), strings.Join(given, ""))
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "No policy has ever been applied.")
			return err
		}
		t := newTable("table", "policy", "version", "", "when", "by", "reason", "says")
		alignRight(t, 3)
		for i := range list {
			p := &list[i]
			state := ""
			switch {
			case p.Deleted:
				state = "deleted"
			case p.InForce:
				state = "in force"
			}
			t.AppendRow(table.Row{tableText(p), p.Name, p.Version, state, when(p), p.Author, p.Reason, says(&p.Document)})
		}
		return render(w, t)
	})
}

func when(p *admin.Policy) string {
	if p.At == nil {
		return ""
	}
	return p.At.Local().Format(time.DateTime)
}

// says puts a document into a line or two.
func says(d *policy.Document) string {
	if l := d.Locality; l != nil {
		pin := d.PinOf()
		out := policy.Describe(&pin.Match) + ":\n" + strings.Join(append(slices.Clone(l.Pin.Jurisdictions), l.Pin.Regions...), ", ") + "; elsewhere: " + string(l.Foreign)
		if l.SingleCopy != "" {
			out += "; one copy is enough"
		}
		if len(l.Targets) > 0 {
			out += "\nmay be told to " + strings.Join(l.Targets, ", ")
		}
		return out
	}
	var parts []string
	b, _ := json.Marshal(d.Replication) // texts
	var fields map[string]any
	_ = json.Unmarshal(b, &fields)
	for _, name := range []string{"regions", "merge", "attributes", "acknowledge", "stream", "streamRecords", "conflicts"} {
		if v, has := fields[name]; has {
			text, _ := json.Marshal(v)
			parts = append(parts, name+" "+strings.NewReplacer(`"`, "", ",", ", ").Replace(string(text)))
		}
	}
	return strings.Join(parts, "\n")
}

func testPolicies(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if err := required(c, "table"); err != nil {
		return err
	}
	given, err := words(c)
	if err != nil {
		return err
	}
	ask := admin.PolicyTest{Table: c.String("table"), Partition: given[0], Sort: c.String("sort")}
	if strings.HasPrefix(given[0], "{") {
		if !json.Valid([]byte(given[0])) {
			return wrongUsage(c, "KEY begins like JSON and is none")
		}
		if c.IsSet("sort") {
			return wrongUsage(c, "KEY has the whole key: leave out --sort")
		}
		ask.Partition, ask.Key = "", json.RawMessage(given[0])
	}
	place, err := askAdmin[admin.PolicyPlace](c.Context, "test policies", 3*adminPatience, http.MethodPost, base, "/v1/policies/test", ask)
	if err != nil {
		return err
	}
	return emit(c, s.Out, place, func(w io.Writer) error { return writePlace(w, &place) })
}

func writePlace(w io.Writer, p *admin.PolicyPlace) error {
	because := "no policy matches it"
	if p.Policy != "" {
		because = "policy " + p.Policy + " matches " + p.Match
	}
	fmt.Fprintf(w, "The item may be in %s: %s.\n", strings.Join(p.Permitted, ", "), because)
	if len(p.Permitted) == 0 {
		fmt.Fprintln(w, "No region of the table may have it.")
	}
	fmt.Fprintf(w, "Region %s %s.\n", p.Region, map[string]string{
		admin.HereServes: "serves it", admin.HereRejects: "refuses requests for it", admin.HereForwards: "forwards requests for it",
		admin.HereGets: "is getting it, and serves it when it has all that it may have now"}[p.Here])
	if len(p.Others) == 0 {
		return nil
	}
	t := newTable("also matches", "because it is about", "does not decide")
	for _, o := range p.Others {
		t.AppendRow(table.Row{o.Policy, o.Match, o.Why})
	}
	return render(w, t)
}

func policySchema(c *ucli.Context, s Streams) error {
	given, err := words(c)
	if err != nil {
		return err
	}
	b, ok := policy.Schema(policy.Kind(strings.Join(given, "")))
	if !ok {
		return wrongUsage(c, "KIND is %q; it can be %s or %s", given[0], policy.LocalityPolicy, policy.ReplicationPolicy)
	}
	return emit(c, s.Out, json.RawMessage(b), func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

func isNoPolicy(err error) bool {
	var none *noPolicyError
	return errors.As(err, &none)
}
