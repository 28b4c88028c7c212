package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/policy"
)

// Plan is what a change of a table's policies would come to. Nothing has been changed for it.
type Plan struct {
	Table    string          `json:"table"`
	Version  string          `json:"version"` // of its document that the plan is about
	Busy     bool            `json:"busy"`    // an earlier change is still carried out; this one comes after it
	Policies []PolicyChange  `json:"policies"`
	Settings []SettingChange `json:"settings"`
	Regions  []RegionPlan    `json:"regions"` // those that have, or get, a replica, by name
	Notes    []string        `json:"notes"`   // what is strange about it
}

// PolicyChange is what becomes of one policy.
type PolicyChange struct {
	Name   string           `json:"name"`
	Kind   policy.Kind      `json:"kind"`
	Action string           `json:"action"` // create, change, delete or keep
	Before *policy.Document `json:"before,omitempty"`
	After  *policy.Document `json:"after,omitempty"`
}

// The actions of a plan.
const (
	ActionCreate = "create"
	ActionChange = "change"
	ActionDelete = "delete"
	ActionKeep   = "keep"
)

// SettingChange is a setting of the table that becomes another one.
type SettingChange struct {
	Setting string `json:"setting"`
	Before  string `json:"before"`
	After   string `json:"after"`
}

// RegionPlan is what becomes of a region's part of the table, as it is now: writes go on.
type RegionPlan struct {
	Region       string `json:"region"`
	Jurisdiction string `json:"jurisdiction"`
	Counted      bool   `json:"counted"`          // the region has told what it holds
	Detail       string `json:"detail,omitempty"` // why it has not
	Held         Amount `json:"held"`             // that the region has
	Copied       Amount `json:"copied"`           // that it gets, as the others count them
	Erased       Amount `json:"erased"`           // that it has and may not have any more
	Unreachable  Amount `json:"unreachable"`      // of those, what no region that was reached may have: until one is, nobody can read it
}

// Amount is an amount of items.
type Amount struct {
	Items int64 `json:"items"`
	Bytes int64 `json:"bytes"` // as DynamoDB counts them
}

func (a *Amount) add(c *censusClass) {
	a.Items += c.Items
	a.Bytes += c.Bytes
}

// PlanPolicies says what a change of the policies of the table that has the name here would come to, or refuses it as the owner would. It counts until ctx is done: what no region has told by then is left out, and said so.
func (p *Plane) PlanPolicies(ctx context.Context, name string, change catalog.PolicyChange) (Plan, error) {
	t, err := p.plannable("plan policies", name)
	if err != nil {
		return Plan{}, err
	}
	v := p.cfg.Catalog.View()
	history := v.Policies(t.ID)
	change.Region, change.At = p.self.Name, p.cfg.Now().UnixMilli()
	after, later, err := project(t, history, &change, v.ActiveRegion)
	if err != nil {
		return Plan{}, err
	}
	out := Plan{Table: t.Name, Version: t.Version.String(), Busy: !t.Settled(), Settings: settingChanges(t, after), Notes: notesOn(after, &change),
		Policies: policyChanges(catalog.PoliciesOf(t, history), catalog.PoliciesOf(after, later), &change)}
	var held map[hlc.Origin]counted
	if catalog.Moves(t, after) {
		held = p.askCensus(ctx, t, after)
	}
	out.Regions = regionPlans(t, after, held)
	return out, nil
}

// project returns the table, and the history of its policies, after the change and all that it demands.
func project(t *globaltable.Table, history []*policy.Version, change *catalog.PolicyChange, regions func(string) (globaltable.Descriptor, bool)) (*globaltable.Table, []*policy.Version, error) {
	now, ok := catalog.Settle(t)
	if !ok {
		return nil, nil, catalog.InUse("plan policies", t.Name, "updated")
	}
	history = slices.Clip(history)
	for _, step := range catalog.PolicySteps(now, change, regions) {
		// A step that makes replicas and removes others takes two.
		for range 2 {
			next, made, err := catalog.ChangePolicies(now, history, &step, now.Version.Epoch(), regions)
			if err != nil {
				return nil, nil, err
			}
			if next == nil {
				break
			}
			for i := range made {
				history = append(history, &made[i])
			}
			if now, ok = catalog.Settle(next); !ok {
				return nil, nil, catalog.InUse("plan policies", t.Name, "updated")
			}
		}
	}
	return now, history, nil
}

// ApplyPolicies makes as much of a change of the policies of the table that has the name here as can be made now, and returns the table. done is true when all of it is made and carried out everywhere; else it is to be called again, with
// the same change, when the table is settled. To call it again costs nothing, whoever does it: what is made already is not made twice.
func (p *Plane) ApplyPolicies(ctx context.Context, name string, change catalog.PolicyChange) (t *globaltable.Table, done bool, err error) {
	if t, err = p.plannable("apply policies", name); err != nil {
		return nil, false, err
	}
	if !catalog.PinsChangeable(t) {
		return t, false, nil
	}
	for _, step := range catalog.PolicySteps(t, &change, p.cfg.Catalog.View().ActiveRegion) {
		if t, err = p.ChangePolicies(ctx, name, step); err != nil {
			return nil, false, err
		}
		if !t.Settled() {
			return t, false, nil
		}
	}
	return t, true, nil
}

// policyChanges compares the policies of a table.
func policyChanges(before, after []catalog.PolicyInForce, change *catalog.PolicyChange) []PolicyChange {
	out := []PolicyChange{}
	byName := map[string]*PolicyChange{}
	of := func(name string) *PolicyChange {
		if byName[name] == nil {
			byName[name] = &PolicyChange{Name: name}
		}
		return byName[name]
	}
	for i := range before {
		of(before[i].Document.Name).Before = &before[i].Document
	}
	for i := range after {
		of(after[i].Document.Name).After = &after[i].Document
	}
	named := map[string]bool{}
	for i := range change.Set {
		named[change.Set[i].Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		c := byName[name]
		switch {
		case c.Before == nil:
			c.Action, c.Kind = ActionCreate, c.After.Kind
		case c.After == nil:
			c.Action, c.Kind = ActionDelete, c.Before.Kind
		case !c.Before.Equal(c.After):
			c.Action, c.Kind = ActionChange, c.After.Kind
		case !named[name]:
			continue // nobody asks
		default:
			c.Action, c.Kind = ActionKeep, c.After.Kind
		}
		out = append(out, *c)
	}
	return out
}

// settingChanges compares what a replication policy sets.
func settingChanges(t, after *globaltable.Table) []SettingChange {
	out := []SettingChange{}
	note := func(setting, before, now string) {
		if before != now {
			out = append(out, SettingChange{setting, before, now})
		}
	}
	for i := range after.Replicas {
		if r := &after.Replicas[i]; t.ReplicaNamed(r.Region) == nil {
			note("replica in "+r.Region, "none", "created")
		}
	}
	for i := range t.Replicas {
		if r := &t.Replicas[i]; after.ReplicaNamed(r.Region) == nil && r.Status != globaltable.Deleting {
			note("replica in "+r.Region, string(r.Status), "deleted")
		}
	}
	note("merge", t.Mode.String(), after.Mode.String())
	was, is := globaltable.TypeNames(t.Types), globaltable.TypeNames(after.Types)
	names := maps.Clone(was)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, is)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		note(fmt.Sprintf("type of %q", name), cmp.Or(was[name], globaltable.TypeNone), cmp.Or(is[name], globaltable.TypeNone))
	}
	note("acknowledge", globaltable.FormatAcknowledge(t.AcknowledgePeers), globaltable.FormatAcknowledge(after.AcknowledgePeers))
	note("stream", cmp.Or(string(t.Stream.View), policy.StreamOff), cmp.Or(string(after.Stream.View), policy.StreamOff))
	note("conflicts are listed for", globaltable.FormatAge(globaltable.Conflicts.Age(t.Conflicts)), globaltable.FormatAge(globaltable.Conflicts.Age(after.Conflicts)))
	note("conflicts are listed up to", globaltable.FormatSize(globaltable.Conflicts.Size(t.Conflicts)), globaltable.FormatSize(globaltable.Conflicts.Size(after.Conflicts)))
	note("stream records are kept for", globaltable.FormatAge(globaltable.StreamRecords.Age(t.Streams)), globaltable.FormatAge(globaltable.StreamRecords.Age(after.Streams)))
	note("stream records are kept up to", globaltable.FormatSize(globaltable.StreamRecords.Size(t.Streams)), globaltable.FormatSize(globaltable.StreamRecords.Size(after.Streams)))
	return out
}

// notesOn tells what a policy names and the table does not have.
func notesOn(after *globaltable.Table, change *catalog.PolicyChange) []string {
	out := []string{}
	for i := range change.Set {
		d := &change.Set[i]
		if d.Locality == nil {
			continue
		}
		for _, region := range d.Locality.Pin.Regions {
			if after.ReplicaNamed(region) == nil {
				out = append(out, fmt.Sprintf("Policy %s pins to %s, where table %s is not.", d.Name, region, after.Name))
			}
		}
		for _, j := range d.Locality.Pin.Jurisdictions {
			if !slices.ContainsFunc(after.Replicas, func(r globaltable.Replica) bool { return r.Jurisdiction == j }) {
				out = append(out, fmt.Sprintf("Policy %s pins to jurisdiction %s, in which table %s has no region.", d.Name, j, after.Name))
			}
		}
	}
	return out
}

// counted is what a region said of a census.
type counted struct {
	classes []censusClass
	reached bool   // it answered something
	detail  string // why it did not count; empty: it did
}

// censusPoll is how often a region that counts is asked how far it is.
const censusPoll = 250 * time.Millisecond

// askCensus asks all regions that have, or get, a replica, all at once.
func (p *Plane) askCensus(ctx context.Context, t, after *globaltable.Table) map[hlc.Origin]counted {
	r := &censusRequest{Table: t.ID.String(), Version: uint64(t.Version), Candidate: string(globaltable.EncodeTable(after))}
	regions := map[hlc.Origin]string{}
	for _, table := range []*globaltable.Table{t, after} {
		for i := range table.Replicas {
			regions[table.Replicas[i].Origin] = table.Replicas[i].Region
		}
	}
	out := map[hlc.Origin]counted{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(maxAsks)
	for o, region := range regions {
		g.Go(func() error {
			c := p.askCensusOf(ctx, o, region, r)
			mu.Lock()
			defer mu.Unlock()
			out[o] = c
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	return out
}

// askCensusOf asks one region until it has counted, cannot be reached, or ctx is done.
func (p *Plane) askCensusOf(ctx context.Context, o hlc.Origin, region string, r *censusRequest) (out counted) {
	for {
		var a *answer
		var err error
		if o == p.self.Origin {
			a, err = p.answerCensus(r)
		} else {
			a, err = p.ask(ctx, region, &request{Census: r})
		}
		var answered *answerError
		switch {
		case err == nil && a.Census == nil:
			err = errAnswer
		case err == nil:
			out.reached = true
		case o == p.self.Origin || errors.As(err, &answered):
			out.reached = true
		}
		switch {
		case err == nil && a.Census.Done:
			out.classes, out.detail = a.Census.Classes, ""
			return out
		case err == nil:
			out.detail = fmt.Sprintf("it has counted %d%%", a.Census.Percent)
		case out.reached && (globaltable.KindOf(err) == globaltable.Unavailable || globaltable.KindOf(err) == globaltable.LimitExceeded):
			out.detail = reason(err) // it may hear, or have counted for others, soon
		case out.reached:
			out.detail = reason(err)
			return out
		default:
			out.detail = "it cannot be reached"
			return out
		}
		select {
		case <-ctx.Done():
			return out
		case <-time.After(censusPoll):
		}
	}
}

// reason returns the words of an error that are for users.
func reason(err error) string {
	if e := (*globaltable.Error)(nil); errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}

// regionPlans adds up what the regions said.
func regionPlans(t, after *globaltable.Table, held map[hlc.Origin]counted) []RegionPlan {
	classes, reached := mergedClasses(held)
	out := []RegionPlan{}
	byName := map[string]globaltable.Replica{}
	for _, table := range []*globaltable.Table{t, after} {
		for _, r := range table.Replicas {
			byName[r.Region] = r
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		r := byName[name]
		row := RegionPlan{Region: name, Jurisdiction: r.Jurisdiction}
		own, asked := held[r.Origin]
		row.Counted, row.Detail = own.detail == "", own.detail
		for i := range own.classes {
			c := &own.classes[i]
			row.Held.add(c)
			if slices.Contains(c.To, r.Origin) {
				continue
			}
			row.Erased.add(c)
			if !slices.ContainsFunc(c.To, func(o hlc.Origin) bool { return reached[o] }) {
				row.Unreachable.add(c)
			}
		}
		for i := range classes {
			if c := &classes[i]; asked && slices.Contains(c.To, r.Origin) && !slices.Contains(c.From, r.Origin) {
				row.Copied.add(c)
			}
		}
		out = append(out, row)
	}
	return out
}

// mergedClasses has each class as the region counted it that has most of it: what a write has not reached yet somebody else has. reached are the regions that answered.
func mergedClasses(held map[hlc.Origin]counted) (classes []censusClass, reached map[hlc.Origin]bool) {
	reached = map[hlc.Origin]bool{}
	for _, o := range slices.Sorted(maps.Keys(held)) {
		reached[o] = held[o].reached
		of := map[string]*censusClass{} // of this region: several policies may have the same places
		for i := range held[o].classes {
			c := held[o].classes[i]
			name := fmt.Sprint(c.From, c.To)
			if of[name] == nil {
				of[name] = &censusClass{From: c.From, To: c.To}
			}
			of[name].Items += c.Items
			of[name].Bytes += c.Bytes
		}
		for _, name := range slices.Sorted(maps.Keys(of)) {
			i := slices.IndexFunc(classes, func(c censusClass) bool { return fmt.Sprint(c.From, c.To) == name })
			switch {
			case i < 0:
				classes = append(classes, *of[name])
			case of[name].Items > classes[i].Items:
				classes[i] = *of[name]
			}
		}
	}
	return classes, reached
}
