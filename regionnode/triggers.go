package regionnode

import (
	"context"
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// triggers is the node's triggers for operators: admin.Triggers.
type triggers struct{ n *Node }

const opTriggers = "triggers"

// Triggers implements admin.Triggers.
func (x triggers) Triggers(_ context.Context, table string) (admin.TriggerList, error) {
	out := admin.TriggerList{Region: x.n.cfg.Region.Name, Triggers: []admin.Trigger{}}
	tables, err := x.n.tablesNamed(opTriggers, table)
	for _, t := range tables {
		for i := range t.Triggers {
			g := &t.Triggers[i]
			row := admin.Trigger{Table: t.Name, Name: g.Name, Document: trigger.Of(t.Name, g), Number: g.Number, Born: g.Born.String(), Paused: g.Paused, Notes: notes(t, g)}
			if g.Replay.Number > 0 {
				row.Replay = &admin.ReplayOfTriggers{Number: g.Replay.Number, Since: g.Replay.From.Time()}
			}
			out.Triggers = append(out.Triggers, row)
		}
	}
	return out, err
}

// notes returns the notes about g, not nil.
func notes(t *globaltable.Table, g *globaltable.Trigger) []string {
	return append([]string{}, catalog.TriggerNotes(t, g)...)
}

// triggersOf is what a request wants of the triggers of one table.
type triggersOf struct {
	table  string
	change catalog.TriggerChange
}

// triggersByTable divides a request, in the order in which it names tables.
func triggersByTable(r *admin.TriggerRequest) (out []triggersOf, err error) {
	if err := policy.CheckWords(r.Author, r.Reason); err != nil {
		return nil, err
	}
	of := func(table string) *catalog.TriggerChange {
		i := slices.IndexFunc(out, func(c triggersOf) bool { return c.table == table })
		if i < 0 {
			i = len(out)
			out = append(out, triggersOf{table, catalog.TriggerChange{Author: r.Author, Reason: r.Reason}})
		}
		return &out[i].change
	}
	for _, d := range r.Documents {
		c := of(d.Table)
		c.Set = append(c.Set, d)
	}
	for _, n := range r.Delete {
		c := of(n.Table)
		c.Delete = append(c.Delete, n.Name)
	}
	for _, n := range r.Pause {
		c := of(n.Table)
		c.Pause = append(c.Pause, n.Name)
	}
	for _, n := range r.Resume {
		c := of(n.Table)
		c.Resume = append(c.Resume, n.Name)
	}
	for _, n := range r.Replay {
		c := of(n.Table)
		c.Replay = append(c.Replay, catalog.TriggerReplay{Name: n.Name, Since: n.Since.UnixMilli()})
	}
	named := len(r.Documents) + len(r.Delete) + len(r.Pause) + len(r.Resume) + len(r.Replay)
	if named == 0 || named > manifest.MaxDocuments {
		return nil, &globaltable.Error{Op: opTriggers, Kind: globaltable.Invalid, Message: fmt.Sprintf("name 1 to %d triggers", manifest.MaxDocuments)}
	}
	return out, nil
}

// PlanTriggers implements admin.Triggers. What is wrong is told of all tables at once.
func (x triggers) PlanTriggers(_ context.Context, r admin.TriggerRequest) (admin.TriggerSteps, error) {
	out := admin.TriggerSteps{Region: x.n.cfg.Region.Name, Triggers: []admin.TriggerStep{}}
	changes, err := triggersByTable(&r)
	if err != nil {
		return out, err
	}
	var wrong faults
	for _, c := range changes {
		before, after, err := x.n.plane.PlanTriggers(c.table, c.change)
		if wrong.add(err) {
			continue
		}
		if err != nil {
			return out, err
		}
		out.Triggers = append(out.Triggers, triggerSteps(before, after, &c.change)...)
	}
	return out, wrong.err()
}

// ApplyTriggers implements admin.Triggers.
func (x triggers) ApplyTriggers(ctx context.Context, r admin.TriggerRequest) (admin.TriggerSteps, error) {
	out := admin.TriggerSteps{Region: x.n.cfg.Region.Name, Triggers: []admin.TriggerStep{}}
	changes, err := triggersByTable(&r)
	if err != nil {
		return out, err
	}
	for _, c := range changes {
		before, ok := x.n.catalog.View().Lookup(c.table)
		if !ok {
			return out, catalog.NotFound(opTriggers, c.table)
		}
		after, err := x.n.plane.ChangeTriggers(ctx, c.table, c.change)
		if err != nil {
			return out, err
		}
		out.Triggers = append(out.Triggers, triggerSteps(before, after, &c.change)...)
	}
	return out, nil
}

// triggerSteps says what a change makes of the triggers that it names.
func triggerSteps(before, after *globaltable.Table, change *catalog.TriggerChange) (out []admin.TriggerStep) {
	for _, name := range change.Names() {
		was, is := before.Trigger(name), after.Trigger(name)
		s := admin.TriggerStep{Table: before.Name, Name: name, Action: triggerAction(was, is), Notes: []string{}}
		if was != nil {
			d := trigger.Of(before.Name, was)
			s.Before = &d
		}
		if is != nil {
			d := trigger.Of(after.Name, is)
			s.After, s.Notes = &d, notes(after, is)
		}
		out = append(out, s)
	}
	return out
}

// triggerAction says what has become of a trigger. A change does one thing with each.
func triggerAction(was, is *globaltable.Trigger) string {
	switch {
	case was == nil && is == nil:
		return admin.TriggerKeep
	case was == nil || is != nil && was.Born != is.Born:
		return admin.TriggerCreate
	case is == nil:
		return admin.TriggerDelete
	case was.Number != is.Number:
		return admin.TriggerUpdate
	case was.Replay.Number != is.Replay.Number:
		return admin.TriggerAgain
	case is.Paused && !was.Paused:
		return admin.TriggerPause
	case was.Paused && !is.Paused:
		return admin.TriggerResume
	}
	return admin.TriggerKeep
}
