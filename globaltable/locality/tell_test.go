package locality

import (
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestMayTell: what is pinned is told to nobody outside but who is named by the policy that decides, and by no other.
func TestMayTell(t *testing.T) {
	table := &globaltable.Table{
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}},
		Pins: []globaltable.Pin{
			{Name: "eu", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU"}, Targets: []string{"https://eu.example/hooks", "s3://eu"}},
			{Name: "eu-vip", Match: globaltable.Match{KeyPrefix: "EU#VIP"}, Jurisdictions: []string{"EU"}},
			{Name: "gone", Match: globaltable.Match{KeyPrefix: "US#"}, Jurisdictions: []string{"US"}, Released: true},
		},
	}
	key := func(partition string) []byte {
		k, err := item.AppendKey(nil, item.AppendString(nil, partition), nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	webhook := func(url string) globaltable.Target {
		return globaltable.Target{Webhook: &globaltable.Webhook{URL: url}}
	}
	eu, other := webhook("https://eu.example/hooks/a"), webhook("https://eu.example/other")
	nats, command := globaltable.Target{NATS: &globaltable.NATSTarget{Subject: "a"}}, globaltable.Target{Command: &globaltable.CommandSpec{Path: "/a"}}
	for _, c := range []struct {
		what   string
		key    []byte
		target globaltable.Target
		may    bool
	}{
		{"pinned, named", key("EU#1"), eu, true},
		{"pinned, not named", key("EU#1"), other, false},
		{"pinned, here", key("EU#1"), nats, true},
		{"pinned, a command here", key("EU#1"), command, true},
		{"pinned, nobody", key("EU#1"), globaltable.Target{}, false},
		{"pinned more closely", key("EU#VIP1"), eu, false},
		{"pinned more closely, here", key("EU#VIP1"), nats, true},
		{"not pinned", key("IN#1"), other, true},
		{"not pinned any more", key("US#1"), other, true},
		{"no key", []byte{0xff}, nats, false},
	} {
		if got := MayTell(table, c.key, &c.target); got != c.may {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	for destination, may := range map[string][3]bool{ // of EU#1, EU#VIP1, IN#1
		"s3://eu/orders":  {true, false, true},
		"s3://us":         {false, false, true},
		"file:///tmp":     {false, false, true},
		"not a URL: even": {false, false, true},
	} {
		for i, partition := range []string{"EU#1", "EU#VIP1", "IN#1"} {
			if got := MayExport(table, key(partition), destination); got != may[i] {
				t.Errorf("%s to %s: %v", partition, destination, got)
			}
		}
	}
	if MayExport(table, []byte{0xff}, "s3://eu") {
		t.Error("what is no key is exported")
	}
	table.Pins = nil
	if !MayTell(table, key("EU#1"), &other) || !MayExport(table, key("EU#1"), "s3://us") {
		t.Error("a table without policies keeps something back")
	}
}

func BenchmarkMayTell(b *testing.B) {
	table := &globaltable.Table{KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}
	key, _ := item.AppendKey(nil, item.AppendString(nil, "EU#1"), nil)
	target := globaltable.Target{Webhook: &globaltable.Webhook{URL: "https://eu.example/hooks/a"}}
	for _, pins := range []struct {
		name string
		list []globaltable.Pin
	}{{"none", nil}, {"pinned", []globaltable.Pin{{Match: globaltable.Match{KeyPrefix: "EU#"}, Targets: []string{"https://eu.example/hooks"}}}}} {
		table.Pins = pins.list
		b.Run(pins.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !MayTell(table, key, &target) {
					b.Fatal("it may not")
				}
			}
		})
	}
}
