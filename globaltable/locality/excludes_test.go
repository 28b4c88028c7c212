package locality

import (
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestExcludes: only a policy keeps an item out; a region without a replica, or one on its way, is no matter of it where none decides.
func TestExcludes(t *testing.T) {
	key := func(id string) []byte {
		k, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	table := &globaltable.Table{ID: 0x1000, KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}},
		Replicas: []globaltable.Replica{{Region: "eu", Jurisdiction: "EU", Origin: 1, Status: globaltable.Active}, {Region: "us", Jurisdiction: "US", Origin: 2, Status: globaltable.Deleting}}}
	if Excludes(table, key("EU#1"), 2) || Excludes(table, key("EU#1"), 3) {
		t.Error("a table without policies excludes somebody")
	}
	table.Pins = []globaltable.Pin{{Name: "eu", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU"}}}
	for _, c := range []struct {
		key    []byte
		region int
		want   bool
	}{{key("EU#1"), 1, false}, {key("EU#1"), 2, true}, {key("EU#1"), 3, true}, {key("x"), 1, false}, {key("x"), 2, false}, {key("x"), 3, false}, {[]byte("none"), 1, true}} {
		if got := Excludes(table, c.key, hlc.Origin(c.region)); got != c.want {
			t.Errorf("%q in region %d: %v", c.key, c.region, got)
		}
	}
	table.Pins[0].Released = true
	if Excludes(table, key("EU#1"), 2) {
		t.Error("a policy that is gone excludes somebody")
	}
}
