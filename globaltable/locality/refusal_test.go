package locality

import (
	"slices"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

const (
	us = hlc.Origin(1)
	eu = hlc.Origin(2)
	de = hlc.Origin(3)
)

// customers is a table of three regions with the policies given.
func customers(pins ...globaltable.Pin) *globaltable.Table {
	return &globaltable.Table{ID: 9, Name: "customers", Pins: pins,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}},
		Replicas: []globaltable.Replica{{Region: "us", Jurisdiction: "US", Origin: us, Status: globaltable.Active},
			{Region: "eu", Jurisdiction: "EU", Origin: eu, Status: globaltable.Active}, {Region: "de", Jurisdiction: "EU", Origin: de, Status: globaltable.Active}}}
}

func key(t *testing.T, pk string) item.Key {
	t.Helper()
	k, err := item.AppendKey(nil, item.AppendString(nil, pk), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func names(pins []*globaltable.Pin) (out []string) {
	for _, p := range pins {
		out = append(out, p.Name)
	}
	return out
}

// TestRefusingAgreesWithDecide: wherever Decide refuses for a policy there is one, and nowhere else; who serves is who Decide permits.
func TestRefusingAgreesWithDecide(t *testing.T) {
	europe := globaltable.Pin{Name: "europe", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU"}, Foreign: globaltable.Forward}
	german := globaltable.Pin{Name: "german", Match: globaltable.Match{KeyPrefix: "EU#de#"}, Regions: []string{"de"}, Foreign: globaltable.Reject}
	wide := globaltable.Pin{Name: "wide", Match: globaltable.Match{KeyPrefix: "EU#x#"}, Jurisdictions: []string{"EU", "US"}, Foreign: globaltable.Reject, Gaining: []hlc.Origin{us}}
	gone := globaltable.Pin{Name: "gone", Match: globaltable.Match{KeyPrefix: "A"}, Jurisdictions: []string{"EU"}, Foreign: globaltable.Reject, Released: true, Gaining: []hlc.Origin{us}}
	table := customers(europe, german, wide, gone)
	table.Replicas[0].Placing = 5
	for pk, want := range map[string]struct {
		by      string
		serving []hlc.Origin
	}{
		"US#1":    {"", []hlc.Origin{us, eu, de}},
		"EU#1":    {"europe", []hlc.Origin{eu, de}},
		"EU#de#1": {"german", []hlc.Origin{de}},
		"EU#x#1":  {"wide", []hlc.Origin{eu, de}}, // it may be there, and is being brought
		"A1":      {"gone", []hlc.Origin{eu, de}},
	} {
		k := key(t, pk)
		by := ""
		if p := Refusing(table, k, us); p != nil {
			by = p.Name
		}
		if by != want.by || !slices.Equal(Serving(table, k), want.serving) {
			t.Errorf("%s: refused by %q, served by %v; want %q, %v", pk, by, Serving(table, k), want.by, want.serving)
		}
		for _, o := range []hlc.Origin{us, eu, de, 77} {
			d := Decide(table, k, o, Admit)
			if refused := Refusing(table, k, o) != nil; o != 77 && refused != (d != Permit) {
				t.Errorf("%s in %d: %v, and a policy that refuses: %v", pk, o, d, refused)
			}
			if r := table.Replica(o); r != nil && Lets(table, k, r) != (Decide(table, k, o, Send) == Permit) {
				t.Errorf("%s in %d: Lets says %v", pk, o, Lets(table, k, r))
			}
		}
	}
	if got := names(Withholding(table, us)); !slices.Equal(got, []string{"europe", "german", "wide", "gone"}) {
		t.Error(got)
	}
	if got := names(Withholding(table, eu)); !slices.Equal(got, []string{"german"}) {
		t.Error(got)
	}
	if got := Withholding(customers(), us); got != nil {
		t.Error(got)
	}
	// The policies speak also of regions whose replica is on its way out, or was never made; Decide does not.
	table.Replicas[1].Status = globaltable.Deleting
	if k := key(t, "EU#1"); !Lets(table, k, &table.Replicas[1]) || Lets(table, k, &globaltable.Replica{Region: "jp", Jurisdiction: "JP"}) || Lets(table, nil, &table.Replicas[1]) {
		t.Error("Lets asks for more than policies")
	}
}
