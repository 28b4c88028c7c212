package catalog

import (
	"fmt"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

func TestTimeToLive(t *testing.T) {
	w := newWorld(t, "eu", "us")
	table := exampleOf(t, w, "eu", "orders", 1000)
	for i, c := range []struct {
		attribute string
		enabled   bool
		at        hlc.Timestamp
		err       string
		want      string // history
	}{
		{"ttl", false, 10, "TimeToLive is already disabled", "[]"},
		{"ttl", true, 10, "", "[{ttl 10 0}]"},
		{"ttl", true, 20, "TimeToLive is already enabled", "[{ttl 10 0}]"},
		{"expires", true, 20, "TimeToLive is active on a different AttributeName: current AttributeName is ttl", "[{ttl 10 0}]"},
		{"expires", false, 20, "TimeToLive is active on a different AttributeName: current AttributeName is ttl", "[{ttl 10 0}]"},
		{"ttl", false, 5, "", "[{ttl 10 11}]"}, // a clock behind that of the owner before
		{"", false, 20, "TimeToLive is already disabled", "[{ttl 10 11}]"},
		{"expires", false, 20, "TimeToLive is already disabled", "[{ttl 10 11}]"},
		{"expires", true, 5, "", "[{ttl 10 11} {expires 12 0}]"},
		{"", false, 30, "", "[{ttl 10 11} {expires 12 30}]"},
		{"ttl", true, 40, "", "[{ttl 10 11} {expires 12 30} {ttl 40 0}]"},
	} {
		before := globaltable.HashTable(table)
		next, err := Update(table, &Change{TimeToLive: &TimeToLive{c.attribute, c.enabled, c.at}}, 1, w.region)
		if message := textOf(err); message != c.err {
			t.Fatalf("%d: %q, want %q", i, message, c.err)
		}
		if globaltable.HashTable(table) != before {
			t.Fatalf("%d: the document before was changed", i)
		}
		if err == nil {
			if fresh, err := follows(table, next, nil); !fresh || err != nil {
				t.Fatalf("%d: %v, %v", i, fresh, err)
			}
			table = next
		}
		if got := historyText(table.Expiry); got != c.want {
			t.Fatalf("%d: %s, want %s", i, got, c.want)
		}
	}
	for len(table.Expiry) < globaltable.MaxPeriods || table.Expiring() != "" {
		set := &TimeToLive{"expires", true, 1000}
		if table.Expiring() != "" {
			set = &TimeToLive{"", false, 1000}
		}
		next, err := Update(table, &Change{TimeToLive: set}, 1, w.region)
		if err != nil {
			t.Fatal(err)
		}
		table = next
	}
	_, err := Update(table, &Change{TimeToLive: &TimeToLive{"ttl", true, 1 << 40}}, 1, w.region)
	if textOf(err) != "Time to live has been modified multiple times within a fixed interval" {
		t.Error(err)
	}
}

// TestHistoryNeverChanges: a document that says otherwise of the past than the one before is of no owner.
func TestHistoryNeverChanges(t *testing.T) {
	w := newWorld(t, "eu", "us")
	table := exampleOf(t, w, "eu", "orders", 1000)
	table.Expiry = conflict.Expiry{{Attribute: "a", From: 10, To: 20}, {Attribute: "b", From: 30}}
	for text, x := range map[string]conflict.Expiry{
		"another end":       {{Attribute: "a", From: 10, To: 21}, {Attribute: "b", From: 30}},
		"another attribute": {{Attribute: "c", From: 10, To: 20}, {Attribute: "b", From: 30}},
		"forgotten":         {{Attribute: "b", From: 30}},
		"none":              nil,
	} {
		next := successor(table, 1)
		next.Expiry = x
		if _, err := follows(table, next, nil); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestOwnerCounts: a table whose items expire has its owner among those that hold collection back.
func TestOwnerCounts(t *testing.T) {
	w := newWorld(t, "eu", "us")
	table := exampleOf(t, w, "eu", "orders", 1000)
	table.Replicas[0].Region, table.Replicas[0].Origin = "us", 2
	for _, x := range []conflict.Expiry{nil, {{Attribute: "ttl", From: 10}}} {
		table.Expiry = x
		us, _ := w.region("us")
		eu, _ := w.region("eu")
		c, err := New(us, []globaltable.Descriptor{eu})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Load([]item.Item{EncodeDocument(table)}, nil); err != nil {
			t.Fatal(err)
		}
		c.View().Held(func(h Held) {
			if h.Table == table.ID && (len(h.Counted) != 1+len(x) || len(h.Placement) != 1) {
				t.Errorf("with %v: counted %v, placement %v", x, h.Counted, h.Placement)
			}
		})
		if got := c.Expiry(table.ID); len(got) != len(x) {
			t.Errorf("history %v, want %v", got, x)
		}
	}
}

func textOf(err error) string {
	if g, ok := err.(*globaltable.Error); ok {
		return g.Message
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func historyText(x conflict.Expiry) string {
	out := "["
	for i, p := range x {
		if i > 0 {
			out += " "
		}
		out += fmt.Sprintf("{%s %d %d}", p.Attribute, uint64(p.From), uint64(p.To))
	}
	return out + "]"
}
