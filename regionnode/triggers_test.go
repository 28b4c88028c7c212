package regionnode

import (
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/manifest"
	"github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// TestTriggersByTable: a request is divided by tables, in its order.
func TestTriggersByTable(t *testing.T) {
	since := time.UnixMilli(5000)
	got, err := triggersByTable(&admin.TriggerRequest{Author: "me", Reason: "why", Documents: []trigger.Document{{Name: "1", Table: "b"}, {Name: "2", Table: "a"}, {Name: "3", Table: "b"}},
		Delete: []admin.TriggerName{{Table: "c", Name: "4"}}, Pause: []admin.TriggerName{{Table: "a", Name: "5"}}, Resume: []admin.TriggerName{{Table: "c", Name: "6"}},
		Replay: []admin.TriggerReplay{{TriggerName: admin.TriggerName{Table: "b", Name: "7"}, Since: since}}})
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	for i, want := range []struct {
		table string
		names []string
	}{{"b", []string{"1", "3", "7"}}, {"a", []string{"2", "5"}}, {"c", []string{"4", "6"}}} {
		c := got[i]
		names := c.change.Names()
		same := len(names) == len(want.names)
		for j := range want.names {
			same = same && names[j] == want.names[j]
		}
		if c.table != want.table || !same || c.change.Author != "me" || c.change.Reason != "why" {
			t.Errorf("%+v", c)
		}
	}
	if r := got[0].change.Replay; len(r) != 1 || r[0].Since != 5000 {
		t.Errorf("%+v", r)
	}
	for _, bad := range []admin.TriggerRequest{{Author: "me"}, {Documents: []trigger.Document{{}}}, {Author: "me", Pause: make([]admin.TriggerName, manifest.MaxDocuments+1)}} {
		if _, err := triggersByTable(&bad); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%v", err)
		}
	}
}

// TestTriggerActions: what was done is seen by what was there before and after.
func TestTriggerActions(t *testing.T) {
	one := func(change func(*globaltable.Trigger)) *globaltable.Trigger {
		g := &globaltable.Trigger{Name: "a", Born: 5, Number: 1}
		change(g)
		return g
	}
	as := one(func(*globaltable.Trigger) {})
	paused := one(func(g *globaltable.Trigger) { g.Paused = true })
	for _, c := range []struct {
		was, is *globaltable.Trigger
		want    string
	}{
		{nil, as, admin.TriggerCreate}, {as, nil, admin.TriggerDelete}, {as, as, admin.TriggerKeep}, {nil, nil, admin.TriggerKeep}, {as, paused, admin.TriggerPause}, {paused, as, admin.TriggerResume},
		{as, one(func(g *globaltable.Trigger) { g.Number = 2 }), admin.TriggerUpdate}, {as, one(func(g *globaltable.Trigger) { g.Replay.Number = 1 }), admin.TriggerAgain},
		{as, one(func(g *globaltable.Trigger) { g.Born = 6 }), admin.TriggerCreate},
	} {
		if got := triggerAction(c.was, c.is); got != c.want {
			t.Errorf("%+v, %+v: %s, want %s", c.was, c.is, got, c.want)
		}
	}
}
