package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode/admin"
)

func triggerCommand(s Streams) *ucli.Command {
	tableFlag := &ucli.StringFlag{Name: "table", Usage: "`NAME` of the table; needed where triggers of several tables have the name"}
	words := auditFlags()
	yes := &ucli.BoolFlag{Name: "yes", Usage: "do it, without asking"}
	one := func(name, usage, description string, flags []ucli.Flag, change func(*ucli.Context, admin.TriggerName) (admin.TriggerRequest, error)) *ucli.Command {
		return &ucli.Command{Name: name, Usage: usage, ArgsUsage: "NAME", Description: description, Flags: slices.Concat([]ucli.Flag{tableFlag}, words, flags), Action: func(c *ucli.Context) error {
			base, found, err := triggerNamed(c)
			if err != nil {
				return err
			}
			r, err := change(c, admin.TriggerName{Table: found.Table, Name: found.Name})
			if err != nil {
				return err
			}
			return changeTriggers(c, s, base, r)
		}}
	}
	return &ucli.Command{
		Name:  "trigger",
		Usage: "have something happen when items change: webhooks, NATS subjects, programs",
		Subcommands: slices.Concat([]*ucli.Command{
			{
				Name:  "apply",
				Usage: "put a file of triggers in force",
				Description: "It shows what changes, asks, and makes or changes the triggers of the file; others stay. A trigger that is as the file says makes no new version. The events of a new trigger are those of changes from now on; one that is changed goes on\n" +
					"where it is. The table needs its change stream: a ReplicationPolicy with stream: NEW_AND_OLD_IMAGES, or UpdateTable, switches it on.",
				Flags: slices.Concat([]ucli.Flag{&ucli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` of triggers, YAML documents (required)"}, yes}, words),
				Action: func(c *ucli.Context) error {
					docs, err := triggerFile(c)
					if err != nil {
						return err
					}
					base, err := adminURL(c)
					if err != nil {
						return err
					}
					return changeTriggers(c, s, base, admin.TriggerRequest{Documents: docs})
				},
			},
			{
				Name:   "list",
				Usage:  "list the triggers",
				Flags:  []ucli.Flag{&ucli.StringFlag{Name: "table", Usage: "`NAME` of the table; default: all"}},
				Action: func(c *ucli.Context) error { return listTriggers(c, s) },
			},
			{
				Name:      "show",
				Usage:     "show a trigger as a document that can be applied",
				ArgsUsage: "NAME",
				Flags:     []ucli.Flag{tableFlag},
				Action:    func(c *ucli.Context) error { return showTrigger(c, s) },
			},
			one("delete", "end a trigger", "What it has not delivered is dropped, and so are its dead letters.", []ucli.Flag{yes}, func(_ *ucli.Context, n admin.TriggerName) (admin.TriggerRequest, error) {
				return admin.TriggerRequest{Delete: []admin.TriggerName{n}}, nil
			}),
			one("pause", "hold a trigger back until it is resumed", "Its events wait in the table's change stream, as long as that keeps them.", nil, func(_ *ucli.Context, n admin.TriggerName) (admin.TriggerRequest, error) {
				return admin.TriggerRequest{Pause: []admin.TriggerName{n}}, nil
			}),
			one("resume", "let a paused trigger go on where it was", "", nil, func(_ *ucli.Context, n admin.TriggerName) (admin.TriggerRequest, error) {
				return admin.TriggerRequest{Resume: []admin.TriggerName{n}}, nil
			}),
			one("replay", "deliver the events since a time once more", "Each region begins again with the changes that it made known since then, as far back as the table's change stream goes, and goes on from there. Events keep their ids.",
				[]ucli.Flag{&ucli.StringFlag{Name: "since", Usage: "`TIME` to begin with: 90m, 24h, or 2006-01-02T15:04:05Z (required)"}}, func(c *ucli.Context, n admin.TriggerName) (admin.TriggerRequest, error) {
					since, err := sinceFlag(c)
					return admin.TriggerRequest{Replay: []admin.TriggerReplay{{TriggerName: n, Since: since}}}, err
				}),
			{
				Name:        "schema",
				Usage:       "print the JSON Schema of triggers",
				Description: "It is for editors and for checks before a commit; `trigger apply` checks more.",
				Action: func(c *ucli.Context) error {
					return emit(c, s.Out, json.RawMessage(trigger.Schema()), func(w io.Writer) error {
						_, err := w.Write(trigger.Schema())
						return err
					})
				},
			},
		}, triggerRunCommands(s)),
	}
}

// auditFlags are what a change can say about itself.
func auditFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "reason", Usage: "`WHY`: a line for those who read the audit log"},
		&ucli.StringFlag{Name: "author", Usage: "`WHO` makes the change; default: you, at this machine"},
	}
}

// triggerFile returns the documents of the file that --file names. What is wrong in it is wrong usage.
func triggerFile(c *ucli.Context) ([]trigger.Document, error) {
	if err := required(c, "file"); err != nil {
		return nil, err
	}
	path := c.String("file")
	b, err := readFile(path, manifest.MaxBytes)
	if err != nil {
		return nil, wrongUsage(c, "%v", err)
	}
	docs, err := trigger.Parse(b)
	if err != nil {
		return nil, wrongUsage(c, "%s:\n%v", path, err)
	}
	return docs, nil
}

// sinceFlag returns the moment that --since names: how long ago it was, or when.
func sinceFlag(c *ucli.Context) (time.Time, error) {
	if err := required(c, "since"); err != nil {
		return time.Time{}, err
	}
	text := c.String("since")
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, wrongUsage(c, "--since is %q; it is how long ago it was, like 90m, or a time like 2006-01-02T15:04:05Z", text)
	}
	return at, nil
}

func fetchTriggers(c *ucli.Context, base string) ([]admin.Trigger, error) {
	path := "/v1/triggers"
	if t := c.String("table"); t != "" {
		path += "?table=" + url.QueryEscape(t)
	}
	list, err := askAdmin[admin.TriggerList](c.Context, "ask for triggers", 3*adminPatience, http.MethodGet, base, path, nil)
	return list.Triggers, err
}

// triggerNamed returns the trigger that a word and --table name.
func triggerNamed(c *ucli.Context) (base string, found admin.Trigger, err error) {
	if base, err = adminURL(c); err != nil {
		return base, found, err
	}
	given, err := words(c)
	if err != nil {
		return base, found, err
	}
	all, err := fetchTriggers(c, base)
	if err != nil {
		return base, found, err
	}
	var tables []string
	for _, g := range all {
		if g.Name == given[0] {
			found, tables = g, append(tables, g.Table)
		}
	}
	switch len(tables) {
	case 0:
		return base, found, fmt.Errorf("there is no trigger %s here; `concordat trigger list` shows those that there are", given[0])
	case 1:
		return base, found, nil
	}
	return base, found, wrongUsage(c, "triggers of several tables have the name %s: give --table, which can be %s", given[0], strings.Join(tables, ", "))
}

func listTriggers(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	list, err := fetchTriggers(c, base)
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "There are no triggers.")
			return err
		}
		t := newTable("table", "trigger", "fires", "target", "filter", "")
		for i := range list {
			g := &list[i]
			state := g.Notes
			if g.Replay != nil {
				state = append(slices.Clone(state), "Replayed since "+g.Replay.Since.Local().Format(time.DateTime)+".")
			}
			t.AppendRow(table.Row{g.Table, g.Name, g.Document.Spec.Fire, targetOf(&g.Document), filterOf(&g.Document), strings.Join(state, "\n")})
		}
		return render(w, t)
	})
}

// targetOf says in a line where the events of a trigger go.
func targetOf(d *trigger.Document) string {
	x := &d.Spec.Target
	switch {
	case x.Webhook != nil:
		return "webhook " + x.Webhook.URL
	case x.NATS != nil:
		return "nats " + x.NATS.Subject
	}
	return "command " + strings.Join(append([]string{x.Command.Path}, x.Command.Args...), " ")
}

// filterOf returns the filter of a trigger, as much of it as fits into a table.
func filterOf(d *trigger.Document) string {
	if d.Spec.Filter == nil {
		return "all events"
	}
	const most = 60
	if r := []rune(string(d.Spec.Filter)); len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(d.Spec.Filter)
}

func showTrigger(c *ucli.Context, s Streams) error {
	_, found, err := triggerNamed(c)
	if err != nil {
		return err
	}
	return emit(c, s.Out, found, func(w io.Writer) error {
		fmt.Fprintf(w, "# form %d, since version %s of the table\n", found.Number, found.Born)
		for _, note := range found.Notes {
			fmt.Fprintln(w, "# "+note)
		}
		b, err := manifest.EncodeYAML([]trigger.Document{found.Document})
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
}

// changeTriggers makes a change of triggers. Where that makes or ends any, it shows first what it would come to, and asks.
func changeTriggers(c *ucli.Context, s Streams, base string, r admin.TriggerRequest) (err error) {
	if r.Author, err = author(c); err != nil {
		return err
	}
	r.Reason = c.String("reason")
	ask := func(what, path string) (admin.TriggerSteps, error) {
		return askAdmin[admin.TriggerSteps](c.Context, what, policyPatience, http.MethodPost, base, path, r)
	}
	if len(r.Documents)+len(r.Delete) > 0 {
		planned, err := ask("plan triggers", "/v1/triggers/plan")
		if err != nil {
			return err
		}
		if err := writeSteps(s.Err, &planned); err != nil {
			return err
		}
		changes := slices.ContainsFunc(planned.Triggers, func(step admin.TriggerStep) bool { return step.Action != admin.TriggerKeep })
		if changes && !c.Bool("yes") {
			if err := confirm(c, s); err != nil {
				return err
			}
		}
	}
	done, err := ask("change triggers", "/v1/triggers/apply")
	if err != nil {
		return err
	}
	return emit(c, s.Out, done, func(w io.Writer) error {
		for _, step := range done.Triggers {
			fmt.Fprintf(w, "Trigger %s of table %s: %s.\n", step.Name, step.Table, doneInWords[step.Action])
		}
		return nil
	})
}

// doneInWords says what was done.
var doneInWords = map[string]string{
	admin.TriggerCreate: "created", admin.TriggerUpdate: "changed", admin.TriggerKeep: "as it was", admin.TriggerDelete: "deleted", admin.TriggerPause: "paused", admin.TriggerResume: "goes on", admin.TriggerAgain: "begins again",
}

// writeSteps writes what a change of triggers would come to.
func writeSteps(w io.Writer, p *admin.TriggerSteps) error {
	t := newTable("table", "trigger", "", "fires", "target", "filter", "what changes")
	for i := range p.Triggers {
		step := &p.Triggers[i]
		d := step.After
		if d == nil {
			d = step.Before
		}
		if d == nil { // it is gone already
			continue
		}
		t.AppendRow(table.Row{step.Table, step.Name, step.Action, d.Spec.Fire, targetOf(d), filterOf(d), strings.Join(different(step), "\n")})
	}
	if err := render(w, t); err != nil {
		return err
	}
	for _, step := range p.Triggers {
		for _, note := range step.Notes {
			if _, err := fmt.Fprintf(w, "%s: %s\n", step.Name, note); err != nil {
				return err
			}
		}
	}
	return nil
}

// different returns what a step changes of a trigger that there is, field by field.
func different(step *admin.TriggerStep) (out []string) {
	if step.Before == nil || step.After == nil {
		return nil
	}
	before, after := specOf(step.Before), specOf(step.After)
	names := map[string]bool{}
	for name := range before {
		names[name] = true
	}
	for name := range after {
		names[name] = true
	}
	for name := range names {
		if was, is := orDefault(before[name]), orDefault(after[name]); was != is {
			out = append(out, name+": "+was+" → "+is)
		}
	}
	slices.Sort(out)
	return out
}

func orDefault(s json.RawMessage) string {
	if s == nil {
		return "default"
	}
	return string(s)
}

func specOf(d *trigger.Document) map[string]json.RawMessage {
	var f struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	b, _ := json.Marshal(d) // texts and numbers
	_ = json.Unmarshal(b, &f)
	return f.Spec
}
