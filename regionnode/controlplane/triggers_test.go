package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/trigger"
)

func triggerTo(name, subject string) trigger.Document {
	return trigger.Document{Name: name, Table: "orders", Spec: globaltable.TriggerSpec{Fire: globaltable.FireOrigin, Target: globaltable.Target{NATS: &globaltable.NATSTarget{Subject: subject}}}}
}

// triggers puts a region's triggers of the table into words.
func (n *node) triggers(table globaltable.TableID) string {
	t, ok := n.catalog.View().Table(table)
	if !ok {
		return "no table"
	}
	var out []string
	for i := range t.Triggers {
		g := &t.Triggers[i]
		out = append(out, fmt.Sprintf("%s %d %v %d", g.Name, g.Number, g.Paused, g.Replay.Number))
	}
	return strings.Join(out, ", ")
}

// TestTriggersTravel: a change asked for in any region is made by the owner, and is the same everywhere, also where it was missed, and after a restart; who made it and why is in the audit log.
func TestTriggersTravel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu", "ap", "us").ID
		ap, eu, us := w.nodes["ap"], w.nodes["eu"], w.nodes["us"]
		ask := func(n *node, c catalog.TriggerChange) (*globaltable.Table, error) {
			c.Author, c.Reason = "me", "because"
			return n.plane.ChangeTriggers(t.Context(), "orders", c)
		}
		set := func(docs ...trigger.Document) catalog.TriggerChange { return catalog.TriggerChange{Set: docs} }
		if _, err := ask(us, set(triggerTo("a", "x"))); globaltable.KindOf(err) != globaltable.Invalid || !strings.Contains(err.Error(), "no change stream") {
			t.Fatalf("a table without a stream: %v", err)
		}
		view := globaltable.ViewNewAndOldImages
		if _, err := us.plane.UpdateTable(t.Context(), "orders", catalog.Change{Stream: &view}); err != nil {
			t.Fatal(err)
		}
		w.setCut("ap", true)
		got, err := ask(us, set(triggerTo("b", "x"), triggerTo("a", "x")))
		if err != nil || len(got.Triggers) != 2 || got.Triggers[0].Born != got.Version {
			t.Fatal(got, err)
		}
		if s := us.triggers(id); s != "a 1 false 0, b 1 false 0" {
			t.Errorf("who asked has not got it: %q", s)
		}
		version := eu.catalog.Version(id)
		if again, err := ask(us, set(triggerTo("a", "x"))); err != nil || again.Version != version || eu.catalog.Version(id) != version {
			t.Errorf("the same again makes version %v of %v, %v", again.Version, version, err)
		}
		for _, c := range []catalog.TriggerChange{set(triggerTo("a", "y")), {Pause: []string{"b"}}, {Replay: []catalog.TriggerReplay{{Name: "a", Since: time.Now().Add(-time.Minute).UnixMilli()}}}} {
			if _, err := ask(us, c); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ask(us, catalog.TriggerChange{Delete: []string{"c"}}); globaltable.KindOf(err) != globaltable.NotFound || !strings.Contains(err.Error(), "has no trigger c") {
			t.Errorf("none is deleted: %v", err)
		}
		// A plan says what the owner would, and changes nothing.
		before, after, err := us.plane.PlanTriggers("orders", catalog.TriggerChange{Delete: []string{"a"}, Author: "me"})
		if err != nil || before.Trigger("a") == nil || after.Trigger("a") != nil {
			t.Error(before, after, err)
		}
		if before, after, err := us.plane.PlanTriggers("orders", catalog.TriggerChange{Pause: []string{"b"}, Author: "me"}); err != nil || before != after {
			t.Errorf("nothing is to be done: %v", err)
		}
		if _, _, err := us.plane.PlanTriggers("orders", catalog.TriggerChange{Pause: []string{"c"}, Author: "me"}); globaltable.KindOf(err) != globaltable.NotFound {
			t.Error(err)
		}
		const all = "a 2 false 1, b 1 true 0"
		if s := ap.triggers(id); s != "" {
			t.Errorf("a region out of reach has %q", s)
		}
		w.setCut("ap", false)
		w.until("all have the last version", func() bool { return us.triggers(id) == all && ap.triggers(id) == all && eu.triggers(id) == all })
		w.restart("ap")
		if s := w.nodes["ap"].triggers(id); s != all {
			t.Errorf("after a restart %q", s)
		}
		var ops []string
		err = eu.plane.AuditLog(t.Context(), catalog.AuditPosition{}, func(a AuditEntry) bool {
			if e := a.Entry; e.Kind == audit.TriggerChanged {
				if e.Author != "me" || e.Reason != "because" || e.Asked != "us" || len(e.Changes) == 0 || !strings.HasPrefix(e.Changes[0].What, "trigger ") {
					t.Errorf("%+v", e)
				}
				ops = append(ops, e.Op)
			}
			return true
		})
		if want := []string{"apply triggers", "apply triggers", "pause trigger", "replay trigger"}; err != nil || !slices.Equal(ops, want) {
			t.Errorf("the log has %q, %v", ops, err)
		}
	}, "ap", "eu", "us")
}

// TestTriggersWithoutOwner: while the owner is out of reach nothing is changed, and that is said.
func TestTriggersWithoutOwner(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.make("orders", "eu", "us")
		w.setCut("eu", true)
		_, err := w.nodes["us"].plane.ChangeTriggers(t.Context(), "orders", catalog.TriggerChange{Set: []trigger.Document{triggerTo("a", "x")}, Author: "me"})
		if err == nil || !strings.Contains(err.Error(), "owned by region eu, which cannot be reached") {
			t.Error(err)
		}
		if _, err := w.nodes["us"].plane.ChangeTriggers(t.Context(), "none", catalog.TriggerChange{}); globaltable.KindOf(err) != globaltable.NotFound {
			t.Error(err)
		}
	}, "eu", "us")
}

func TestOpOfTriggerChanges(t *testing.T) {
	for want, c := range map[string]catalog.TriggerChange{
		"delete trigger": {Delete: []string{"a"}}, "resume trigger": {Resume: []string{"a", "b"}}, "change triggers": {Resume: []string{"a"}, Delete: []string{"b"}},
	} {
		if got := opOf(&c); got != want {
			t.Errorf("%+v is %q", c, got)
		}
	}
}
