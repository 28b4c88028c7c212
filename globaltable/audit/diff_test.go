package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

// TestLongElementsAreToldByField: of what is too long for an entry both sides would be cut alike.
func TestLongElementsAreToldByField(t *testing.T) {
	trigger := func(url string, paused bool) *globaltable.Table {
		return &globaltable.Table{ID: 7, Name: "orders", Triggers: []globaltable.Trigger{{Name: "search", Paused: paused, TriggerSpec: globaltable.TriggerSpec{Fire: globaltable.FireOne, Target: globaltable.Target{Webhook: &globaltable.Webhook{URL: url}}}}}}
	}
	long := "https://search.example/" + strings.Repeat("x", maxChanged)
	e := OfTable(trigger(long, false), trigger(long, true))
	if want := []Change{{What: "trigger search: paused", Now: "true"}}; e.Kind != TriggerChanged || !slices.Equal(e.Changes, want) {
		t.Errorf("%s %+v, want %+v", e.Kind, e.Changes, want)
	}
	e = OfTable(trigger("https://a.example", false), trigger("https://a.example", true))
	if len(e.Changes) != 1 || e.Changes[0].What != "trigger search" || !strings.Contains(e.Changes[0].Now, `"paused":true`) {
		t.Errorf("%+v", e.Changes)
	}
	e = OfTable(trigger("https://a.example", false), &globaltable.Table{ID: 7, Name: "orders"})
	if len(e.Changes) != 1 || e.Changes[0].What != "trigger search" || e.Changes[0].Now != "" {
		t.Errorf("%+v", e.Changes)
	}
}
