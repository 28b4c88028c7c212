package cdc

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

var regionNames = map[hlc.Origin]string{2: "eu-central-1", 7: "us-east-1"}

// tellerIn is the teller of a table in a region.
func tellerIn(region string) *Teller {
	return &Teller{
		Table: &globaltable.Table{
			ID: 0x018bcfe568020007, Name: "places.v-1_x",
			KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "city", Type: item.S}, Sort: &globaltable.KeyAttribute{Name: "n", Type: item.N}},
			Stream:    globaltable.Stream{View: globaltable.ViewNewAndOldImages, Since: 5, Secret: []byte("0123456789abcdef")},
		},
		Region: region,
		Name:   func(o hlc.Origin) string { return regionNames[o] },
	}
}

func mustEvent(t *testing.T, teller *Teller, r *Record) []byte {
	t.Helper()
	b, err := teller.AppendEvent(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEventGolden pins what consumers get.
func TestEventGolden(t *testing.T) {
	teller := tellerIn("us-east-1")
	for name, r := range samples(t) {
		r.Position = r.Dot.Time + 77
		golden(t, "event-"+name, string(mustEvent(t, teller, &r))+"\n")
	}
}

// TestEventIsACloudEvent: the SDK of CloudEvents reads each event, finds it valid, and has what the record has.
func TestEventIsACloudEvent(t *testing.T) {
	teller := tellerIn("us-east-1")
	for name, r := range samples(t) {
		r.Position = r.Dot.Time + 77
		var e event.Event
		if err := json.Unmarshal(mustEvent(t, teller, &r), &e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if e.ID() != teller.ID(&r) || e.Type() != r.Event.Type() || e.Source() != "concordat:places.v-1_x" || !e.Time().Equal(r.Dot.Time.Time()) || e.DataContentType() != "application/json" {
			t.Errorf("%s: %s", name, e)
		}
		want := map[string]any{"origin": "eu-central-1", "region": "us-east-1", "sequence": Sequence(r.Position), "kind": r.Kind.String(), "outcome": r.Outcome.String()}
		got := e.Extensions()
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s: %s is %v, want %v", name, key, got[key], value)
			}
		}
		if _, has := got["transaction"]; has != (r.Transaction != 0) {
			t.Errorf("%s: transaction: %v", name, has)
		}
		var data struct {
			Table          string
			Keys, Old, New map[string]any
		}
		if err := e.DataAs(&data); err != nil {
			t.Fatal(err)
		}
		keys := map[string]any{"city": map[string]any{"S": "berlin"}, "n": map[string]any{"N": "7"}}
		if data.Table != "places.v-1_x" || !reflect.DeepEqual(data.Keys, keys) || (data.Old != nil) != (r.Old != nil) || (data.New != nil) != (r.New != nil) {
			t.Errorf("%s: %+v", name, data)
		}
		if data.New != nil && !reflect.DeepEqual(data.New["v"], map[string]any{"S": "newer \"<ü"}) {
			t.Errorf("%s: %v", name, data.New)
		}
	}
}

// TestEventIDs: the id of a change is the same in every region and whatever the stream shows, but for copies, which are a region's own; no two changes have the same, and it does not tell the key.
func TestEventIDs(t *testing.T) {
	here, there := tellerIn("us-east-1"), tellerIn("eu-central-1")
	there.Table.Stream = globaltable.Stream{View: globaltable.ViewKeysOnly, Since: 9, Secret: here.Table.Stream.Secret}
	for name, r := range samples(t) {
		r.Position, r.Lane = 5, 5
		id := here.ID(&r)
		other := r
		other.Position, other.Lane, other.Outcome, other.Old, other.Event = 99, 8, Merged, nil, Modify // as it came there
		if got := there.ID(&other); (got != id) != (r.Kind == Copied) {
			t.Errorf("%s: %s in one region, %s in another", name, id, got)
		}
		if other.Kind == Copied && there.ID(&r) == there.ID(&other) {
			t.Errorf("%s: two copies of a region have one id", name)
		}
		for field, change := range map[string]func(r *Record){
			"dot's time": func(r *Record) { r.Dot.Time++ }, "dot's origin": func(r *Record) { r.Dot.Origin++ }, "kind": func(r *Record) { r.Kind = r.Kind%3 + 1 },
			"key": func(r *Record) { r.Key = mustKey(t, item.AppendString(nil, "berlin"), item.AppendInt(nil, 8)) },
		} {
			x := r
			if change(&x); here.ID(&x) == id {
				t.Errorf("%s: another %s has the same id", name, field)
			}
		}
		if strings.Contains(id, "berlin") || strings.Contains(id, "6265726c696e") {
			t.Errorf("%s tells the key", id)
		}
	}
	other := tellerIn("us-east-1")
	other.Table.Stream.Secret = []byte("fedcba9876543210")
	key := samples(t)["insert"].Key
	if slices.Equal(here.KeyHash(key), other.KeyHash(key)) {
		t.Error("the secret does not matter")
	}
	other = tellerIn("us-east-1")
	if other.Table.ID++; slices.Equal(here.KeyHash(key), other.KeyHash(key)) {
		t.Error("the table does not matter")
	}
}

func TestSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := hlc.Timestamp(rapid.Uint64().Draw(t, "a")), hlc.Timestamp(rapid.Uint64().Draw(t, "b"))
		s := Sequence(a)
		if back, ok := ParseSequence(s); !ok || back != a || len(s) != 21 {
			t.Fatalf("%s is %d, %v", s, back, ok)
		}
		if (s < Sequence(b)) != (a < b) {
			t.Fatalf("%s and %s do not sort as %d and %d", s, Sequence(b), a, b)
		}
	})
	for _, bad := range []string{"", "1", "000000000000000000000", "100000000000000000001x", "199999999999999999999", "1-0000000000000000001", "1+0000000000000000001", "2" + Sequence(1)[1:], Sequence(1) + "0", "1 0000000000000000001"} {
		if at, ok := ParseSequence(bad); ok {
			t.Errorf("%q is %d", bad, at)
		}
	}
}

func TestTypesAndWords(t *testing.T) {
	for e, want := range map[Event][2]string{Insert: {"INSERT", TypeInsert}, Modify: {"MODIFY", TypeModify}, Remove: {"REMOVE", TypeRemove}} {
		if e.String() != want[0] || e.Type() != want[1] {
			t.Errorf("%d: %s %s", e, e, e.Type())
		}
	}
	// Times of events are those of the changes, to the millisecond.
	r := samples(t)["insert"]
	var e event.Event
	if err := json.Unmarshal(mustEvent(t, tellerIn("us-east-1"), &r), &e); err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2023, 11, 14, 22, 13, 20, 50e6, time.UTC); !e.Time().Equal(want) {
		t.Errorf("at %s, want %s", e.Time(), want)
	}
}
