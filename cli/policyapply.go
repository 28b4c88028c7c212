package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
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
	"github.com/concordat-db/concordat/regionnode/controlplane"
)

const (
	policyPoll     = 250 * time.Millisecond
	policyPatience = 30 * time.Second // for one step of an apply
)

func fileFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` of policies, YAML documents (required)"}
}

// changeFlags are those of commands that change policies.
func changeFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.BoolFlag{Name: "yes", Usage: "do it, without asking"},
		&ucli.StringFlag{Name: "reason", Usage: "`WHY`: a line for those who read the history (required)"},
		&ucli.StringFlag{Name: "author", Usage: "`WHO` makes the change; default: you, at this machine"},
		countFlag(),
		&ucli.DurationFlag{Name: "timeout", Usage: "give up when nothing has moved for `TIME`", Value: time.Minute},
	}
}

func countFlag() ucli.Flag {
	return &ucli.DurationFlag{Name: "count-timeout", Usage: "for how much `TIME`, at most, regions count for the plan", Value: 5 * time.Minute}
}

func planCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "plan",
		Usage: "show what a file of policies would change, and refuse what cannot be",
		Description: "Every region counts what it has: the items that it would get (copied), and that it may not have any more (erased); of those it shows how many no region may have that can be reached. Nothing is changed. Refused are\n" +
			"policies of which two decide about one key and neither is more specific, and items that would be left in one region, unless the policy says singleCopy: allowed, or in none. Counting goes through all items of the tables, slowly.",
		Flags:  []ucli.Flag{fileFlag(), countFlag()},
		Action: func(c *ucli.Context) error { return planPolicies(c, s) },
	}
}

func applyCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "apply",
		Usage: "put a file of policies in force, and wait until every region has carried it out",
		Description: "It shows the plan, asks, and applies the documents, tables side by side: first locality policies, with the replicas that they cannot do without, and then replication policies, so that nothing is copied to where it may not stay. Documents that are in force already make no new version. Then it waits until every region has what it may\n" +
			"have, and nothing else. Ctrl-C ends the command and not what it has begun; the same command again goes on. When nothing moves for the time of --timeout it names what is pending, regions that cannot be reached\n" +
			"among it, and exits with status 1.",
		Flags: append([]ucli.Flag{fileFlag()}, changeFlags()...),
		Action: func(c *ucli.Context) error {
			docs, err := policyFile(c)
			if err != nil {
				return err
			}
			return changePolicies(c, s, admin.PolicyRequest{Documents: docs})
		},
	}
}

func deleteCommand(s Streams, tableFlag ucli.Flag) *ucli.Command {
	return &ucli.Command{
		Name:        "delete",
		Usage:       "end a policy: the next less specific one decides, or none",
		ArgsUsage:   "NAME",
		Description: "Of a locality policy, regions that may have its items then get them. A replication policy leaves the table as it is. It shows the plan, asks, and waits, like apply; the history keeps the policy.",
		Flags:       append([]ucli.Flag{tableFlag}, changeFlags()...),
		Action:      func(c *ucli.Context) error { return deletePolicy(c, s) },
	}
}

func deletePolicy(c *ucli.Context, s Streams) error {
	if err := required(c, "reason"); err != nil {
		return err
	}
	// In the history it is also when it is deleted already, and regions still carry that out: an interrupted command goes on.
	_, found, err := policyNamed(c, "/v1/policies/history")
	if isNoPolicy(err) {
		_, found, err = policyNamed(c, "/v1/policies") // perhaps one that was never a document
	}
	if err != nil {
		return err
	}
	return changePolicies(c, s, admin.PolicyRequest{Delete: []admin.PolicyName{{Table: found[0].Table, Name: found[0].Name}}})
}

func planPolicies(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	docs, err := policyFile(c)
	if err != nil {
		return err
	}
	who, err := author(c)
	if err != nil {
		return err
	}
	p, err := askPlan(c, base, admin.PolicyRequest{Documents: docs, Author: who})
	if err != nil {
		return err
	}
	return emit(c, s.Out, p, func(w io.Writer) error { return writePlan(w, &p) })
}

func askPlan(c *ucli.Context, base string, r admin.PolicyRequest) (admin.PolicyPlan, error) {
	wait := c.Duration("count-timeout")
	if wait <= 0 || wait > time.Hour {
		return admin.PolicyPlan{}, wrongUsage(c, "--count-timeout is %v; it can be up to 1h", wait)
	}
	return askAdmin[admin.PolicyPlan](c.Context, "plan policies", wait+3*adminPatience, http.MethodPost, base, "/v1/policies/plan?wait="+url.QueryEscape(wait.String()), r)
}

// writePlan writes a plan for people.
func writePlan(w io.Writer, p *admin.PolicyPlan) error {
	for i := range p.Tables {
		t := &p.Tables[i]
		busy := ""
		if t.Busy {
			busy = " An earlier change is still carried out; this one comes after it."
		}
		fmt.Fprintf(w, "Table %s, version %s.%s\n", t.Table, t.Version, busy)
		rows := newTable("policy", "kind", "", "says")
		for _, c := range t.Policies {
			d := c.After
			if d == nil {
				d = c.Before
			}
			rows.AppendRow(table.Row{c.Name, c.Kind, c.Action, says(d)})
		}
		if err := render(w, rows); err != nil {
			return err
		}
		if err := writeSettings(w, t.Settings); err != nil {
			return err
		}
		for _, note := range t.Notes {
			fmt.Fprintln(w, note)
		}
		if err := writeAmounts(w, t.Regions); err != nil {
			return err
		}
	}
	return nil
}

func writeSettings(w io.Writer, settings []controlplane.SettingChange) error {
	if len(settings) == 0 {
		return nil
	}
	rows := newTable("setting", "before", "after")
	for _, c := range settings {
		rows.AppendRow(table.Row{c.Setting, c.Before, c.After})
	}
	return render(w, rows)
}

func writeAmounts(w io.Writer, regions []controlplane.RegionPlan) error {
	moves := false
	for _, r := range regions {
		moves = moves || !r.Counted || r.Copied.Items+r.Erased.Items > 0
	}
	if !moves {
		_, err := fmt.Fprintln(w, "No item is copied or erased.")
		return err
	}
	rows := newTable("region", "jurisdiction", "holds", "copied", "erased", "unreachable then", "")
	alignRight(rows, 3, 4, 5, 6)
	amount := func(a controlplane.Amount) string {
		return fmt.Sprintf("%d items, %s", a.Items, humanBytes(a.Bytes))
	}
	for _, r := range regions {
		own := func(a controlplane.Amount) string {
			if !r.Counted {
				return "not known"
			}
			return amount(a)
		}
		detail := r.Detail
		if detail != "" {
			detail = "not counted: " + detail
		}
		rows.AppendRow(table.Row{r.Region, r.Jurisdiction, own(r.Held), amount(r.Copied), own(r.Erased), own(r.Unreachable), detail})
	}
	return render(w, rows)
}

// changes reports whether a plan does anything.
func changes(p *admin.PolicyPlan) bool {
	for _, t := range p.Tables {
		if len(t.Settings) > 0 || slices.ContainsFunc(t.Policies, func(c controlplane.PolicyChange) bool { return c.Action != controlplane.ActionKeep }) {
			return true
		}
	}
	return false
}

// policiesApplied is the result of `policy apply` and `policy delete`.
type policiesApplied struct {
	Done     bool           `json:"done"`     // every region has carried it out
	Policies []admin.Policy `json:"policies"` // the newest version of each that was named
}

// changePolicies plans, asks, applies and waits.
func changePolicies(c *ucli.Context, s Streams, r admin.PolicyRequest) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if err := required(c, "reason"); err != nil {
		return err
	}
	if c.Duration("timeout") <= 0 {
		return wrongUsage(c, "--timeout is %v; it must be above zero", c.Duration("timeout"))
	}
	if r.Author, err = author(c); err != nil {
		return err
	}
	r.Reason = c.String("reason")
	p, err := askPlan(c, base, r)
	if err != nil {
		return err
	}
	if err := writePlan(s.Err, &p); err != nil {
		return err
	}
	if changes(&p) && !c.Bool("yes") {
		if err := confirm(c, s); err != nil {
			return err
		}
	}
	var regions []string
	for _, t := range p.Tables {
		for _, region := range t.Regions {
			regions = append(regions, region.Region)
		}
	}
	slices.Sort(regions)
	f := following{show: newJoinProgress(s.Err, slices.Compact(regions)), stall: c.Duration("timeout")}
	f.show.doing, f.show.done = "done", "carried out"
	err = f.follow(c.Context, func(ctx context.Context) (admin.PolicyProgress, error) {
		return askAdmin[admin.PolicyProgress](ctx, "apply policies", policyPatience, http.MethodPost, base, "/v1/policies/apply", r)
	})
	if err != nil {
		return err
	}
	return emitApplied(c, s, base, &r)
}

// confirm asks whether the plan is to be applied.
func confirm(c *ucli.Context, s Streams) error {
	if s.In == nil {
		return wrongUsage(c, "give --yes to do it")
	}
	fmt.Fprint(s.Err, "Do it? Only yes is taken for yes: ")
	said := make(chan string, 1)
	go func() { // nothing ends a read of a terminal: it ends with the process, which an interruption ends
		line, _ := bufio.NewReader(io.LimitReader(s.In, 64)).ReadString('\n') // what cannot be read is no yes
		said <- strings.TrimSpace(line)
	}()
	select {
	case line := <-said:
		if line == "yes" {
			return nil
		}
	case <-c.Context.Done():
		fmt.Fprintln(s.Err)
	}
	return errors.New("nothing was changed")
}

// emitApplied writes what the region has now of the policies that were named.
func emitApplied(c *ucli.Context, s Streams, base string, r *admin.PolicyRequest) error {
	names := slices.Clone(r.Delete)
	for i := range r.Documents {
		names = append(names, admin.PolicyName{Table: r.Documents[i].Table(), Name: r.Documents[i].Name})
	}
	out := policiesApplied{Done: true, Policies: []admin.Policy{}}
	for _, n := range names {
		versions, err := fetchPolicies(c.Context, base, "/v1/policies/history", n.Table, n.Name)
		if err != nil {
			return err
		}
		if versions = ofTables(versions); len(versions) > 0 {
			out.Policies = append(out.Policies, versions[0])
		}
	}
	return emit(c, s.Out, out, func(w io.Writer) error {
		for i := range out.Policies {
			p := &out.Policies[i]
			state := "in force, and carried out in every region"
			if p.Deleted {
				state = "deleted, which every region has carried out"
			}
			fmt.Fprintf(w, "%s %s of table %s, version %d: %s.\n", p.Kind, p.Name, p.Table, p.Version, state)
		}
		return nil
	})
}

// following waits for the end of something that is asked for again and again.
type following struct {
	show  *joinProgress
	stall time.Duration // how long nothing may move
	moved time.Time     // when it did
	last  string        // how it was then
}

// follow asks until all is done. It ends when nothing has moved for the time of stall: an error in between is no movement.
func (f *following) follow(ctx context.Context, ask func(context.Context) (admin.PolicyProgress, error)) error {
	f.moved = time.Now()
	var known []admin.Table
	complete := false
	defer func() { f.show.end(complete) }()
	for {
		p, err := ask(ctx)
		var answered *adminFault
		switch {
		case ctx.Err() != nil:
			return errors.New("interrupted: what has been begun goes on by itself, and the same command again goes on with the rest")
		case err == nil && p.Done:
			for region := range f.show.each {
				f.show.set(region, 100, "")
			}
			complete = true
			return nil
		case errors.As(err, &answered) && (answered.status == http.StatusBadRequest || answered.status == http.StatusForbidden || answered.status == http.StatusNotFound):
			return err
		case err == nil:
			known = p.Tables
			f.note(known)
		}
		if time.Since(f.moved) > f.stall {
			return f.pending(known, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(policyPoll):
		}
	}
}

// note shows how far tables are, and sees whether anything has moved.
func (f *following) note(tables []admin.Table) {
	type state struct {
		Version  string
		Replicas []admin.Replica
	}
	var now []state
	for i := range tables {
		t := &tables[i]
		now = append(now, state{t.Version, t.Replicas})
		for _, r := range pendingOf(t) {
			percent := -1
			if r.Percent != nil {
				percent = min(*r.Percent, 99)
			}
			if f.show.each[r.Region] != nil {
				f.show.set(r.Region, percent, r.Detail)
			}
		}
	}
	b, _ := json.Marshal(now) // texts and numbers
	if string(b) != f.last {
		f.last, f.moved = string(b), time.Now()
	}
}

// pendingOf returns the replicas of t that have something to do.
func pendingOf(t *admin.Table) (out []admin.Replica) {
	for _, r := range t.Replicas {
		switch globaltable.Status(r.Status) {
		case globaltable.Creating, globaltable.Deleting, globaltable.Updating, globaltable.StatusFencing:
			out = append(out, r)
		default:
			if r.Placing {
				out = append(out, r)
			}
		}
	}
	return out
}

// pending says what is waited for.
func (f *following) pending(tables []admin.Table, err error) error {
	var what []string
	for i := range tables {
		for _, r := range pendingOf(&tables[i]) {
			detail := r.Detail
			if detail == "" {
				detail = "it has not told that it has carried out the change"
			}
			what = append(what, fmt.Sprintf("table %s in %s: %s", tables[i].Name, r.Region, strings.TrimSuffix(detail, ".")))
		}
	}
	if err != nil {
		what = append(what, err.Error())
	}
	return fmt.Errorf("nothing has moved for %v; pending is: %s. It goes on by itself when that is over, and the same command again waits for it", f.stall, strings.Join(what, "; "))
}
