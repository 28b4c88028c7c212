package globaltable

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// pinnedTable has locality policies: one that is carried out, one that is gone and still carried out, and jurisdictions.
func pinnedTable() *Table {
	t := laterTable()
	t.KeySchema = KeySchema{Partition: KeyAttribute{"country", item.S}, Sort: &KeyAttribute{"name", item.S}}
	t.Replicas = []Replica{
		{Region: "ap-south-1", Origin: 9, Status: Active, Jurisdiction: "IN", Since: MakeVersion(4, 1), Placing: t.Version},
		{Region: "eu-central-1", Origin: 7, Status: Active, Jurisdiction: "EU", Since: MakeVersion(4, 1)},
		{Region: "us-east-1", Origin: 3, Status: Active, Since: MakeVersion(4, 1), Placing: t.Version},
	}
	t.Pins = []Pin{
		{Name: "eu", Match: Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU", "IN"}, Foreign: Reject, Gaining: []hlc.Origin{9}},
		{Name: "old", Match: Match{Delimiter: "#", Component: 2, Equals: "<x>"}, Regions: []string{"eu-central-1"}, Foreign: Forward, SingleCopy: true, Released: true, Gaining: []hlc.Origin{3, 9}},
		{Name: "eu", Match: Match{SortKeyPrefix: "2"}, Regions: []string{"eu-central-1", "us-east-1"}, Foreign: Forward, Released: true, Gaining: []hlc.Origin{9}},
	}
	return t
}

// targetedTable has a policy that names targets.
func targetedTable() *Table {
	t := pinnedTable()
	t.Pins[0].Targets = []string{"https://search.example/hooks", "s3://eu-exports/a"}
	return t
}

func parts(t testing.TB, partition, sort string) (item.KeyPart, item.KeyPart) {
	t.Helper()
	key, err := item.AppendKey(nil, item.AppendString(nil, partition), item.AppendString(nil, sort))
	if err != nil {
		t.Fatal(err)
	}
	p, s, ok := key.Parts()
	if !ok {
		t.Fatal("no parts")
	}
	return p, s
}

func TestMatchHas(t *testing.T) {
	for _, c := range []struct {
		m               Match
		partition, sort string
		want            bool
	}{
		{Match{}, "a", "b", true},
		{Match{KeyPrefix: "EU#"}, "EU#1", "b", true},
		{Match{KeyPrefix: "EU#"}, "EU#", "b", true},
		{Match{KeyPrefix: "EU#"}, "EU", "b", false},
		{Match{KeyPrefix: "EU#"}, "eu#1", "b", false},
		{Match{SortKeyPrefix: "b"}, "a", "bc", true},
		{Match{SortKeyPrefix: "bc"}, "bc", "b", false},
		{Match{Delimiter: "#", Component: 1, Equals: "EU"}, "EU", "b", true},
		{Match{Delimiter: "#", Component: 1, Equals: "EU"}, "EU#x", "b", true},
		{Match{Delimiter: "#", Component: 1, Equals: "EU"}, "EUR#x", "b", false},
		{Match{Delimiter: "#", Component: 2, Equals: "EU"}, "EU", "b", false},
		{Match{Delimiter: "#", Component: 2, Equals: "EU"}, "x#EU", "b", true},
		{Match{Delimiter: "#", Component: 2, Equals: ""}, "x#", "b", true},
		{Match{Delimiter: "#", Component: 2, Equals: ""}, "x", "b", false},
		{Match{Delimiter: "#", Component: 3, Equals: "EU"}, "x##EU#y", "b", true},
		{Match{Delimiter: "::", Component: 2, Equals: ":"}, "x:::", "b", true}, // x, and what comes after the first ::
		{Match{Delimiter: "#", Component: 2, Equals: "EU", SortKeyPrefix: "c"}, "x#EU", "b", false},
		{Match{KeyPrefix: "a"}, "a\x00b", "b", true},
		{Match{Delimiter: "#", Component: 2, Equals: "b"}, "a\x00#b", "c", true},
	} {
		p, s := parts(t, c.partition, c.sort)
		if got := c.m.Has(p, s); got != c.want {
			t.Errorf("%+v, %q %q: %v", c.m, c.partition, c.sort, got)
		}
	}
}

// TestRank: the documented order of specificity.
func TestRank(t *testing.T) {
	order := []Match{{}, {KeyPrefix: "E"}, {KeyPrefix: "EU"}, {Delimiter: "#", Component: 1, Equals: "EU"}, {SortKeyPrefix: "a"}, {SortKeyPrefix: "a", KeyPrefix: "E"},
		{SortKeyPrefix: "a", Delimiter: "#", Component: 9}, {SortKeyPrefix: "ab"}}
	for i := range order {
		for j := range order {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := order[i].Rank().Compare(order[j].Rank()); got != want {
				t.Errorf("%+v and %+v: %d, want %d", order[i], order[j], got, want)
			}
		}
	}
	if !order[0].IsTable() || order[1].IsTable() {
		t.Error("which one is about the whole table")
	}
}

func matches() *rapid.Generator[Match] {
	text := rapid.StringOfN(rapid.SampledFrom([]rune("aE#")), 0, 3, -1)
	return rapid.Custom(func(t *rapid.T) Match {
		m := Match{SortKeyPrefix: text.Draw(t, "sort")}
		if rapid.Bool().Draw(t, "component") {
			m.Delimiter, m.Component = rapid.SampledFrom([]string{"#", "##", "a"}).Draw(t, "delimiter"), rapid.IntRange(1, 3).Draw(t, "position")
			m.Equals = text.Filter(func(s string) bool { return !strings.Contains(s, m.Delimiter) }).Draw(t, "equals")
		} else {
			m.KeyPrefix = text.Draw(t, "prefix")
		}
		return m
	})
}

// having draws matches that have a key.
func having(partition, sort string) *rapid.Generator[Match] {
	prefix := func(t *rapid.T, s, label string) string { return s[:rapid.IntRange(0, min(3, len(s))).Draw(t, label)] }
	return rapid.Custom(func(t *rapid.T) Match {
		m := Match{SortKeyPrefix: prefix(t, sort, "sort")}
		if rapid.Bool().Draw(t, "component") {
			m.Delimiter = rapid.SampledFrom([]string{"#", "##", "a"}).Draw(t, "delimiter")
			components := strings.Split(partition, m.Delimiter)
			m.Component = rapid.IntRange(1, len(components)).Draw(t, "position")
			m.Equals = components[m.Component-1]
		} else {
			m.KeyPrefix = prefix(t, partition, "prefix")
		}
		return m
	})
}

// TestOverlaps: whatever has a key in common overlaps, and overlapping is mutual. So two policies that are not refused as a tie never match one key without one of them being more specific.
func TestOverlaps(t *testing.T) {
	keys := rapid.StringOfN(rapid.SampledFrom([]rune("aE#")), 1, 6, -1)
	both := 0
	rapid.Check(t, func(rt *rapid.T) {
		partition, sort := keys.Draw(rt, "partition"), keys.Draw(rt, "sort key")
		either := rapid.OneOf(matches(), having(partition, sort)) // matches that know nothing of the key hardly ever both have it
		a, b := either.Draw(rt, "a"), either.Draw(rt, "b")
		p, s := parts(t, partition, sort)
		if a.Overlaps(&b) != b.Overlaps(&a) {
			rt.Fatal("overlapping is not mutual")
		}
		if a.Has(p, s) && b.Has(p, s) {
			both++
			if !a.Overlaps(&b) {
				rt.Fatal("they have a key in common, and do not overlap")
			}
		}
	})
	if both == 0 {
		t.Error("no key was of both")
	}
	apart := [][2]Match{{{KeyPrefix: "EU#"}, {KeyPrefix: "US#"}}, {{SortKeyPrefix: "a"}, {SortKeyPrefix: "b"}}, {{Delimiter: "#", Component: 1, Equals: "EU"}, {Delimiter: "#", Component: 1, Equals: "US"}}}
	for _, pair := range apart {
		if pair[0].Overlaps(&pair[1]) {
			t.Errorf("%+v overlap", pair)
		}
	}
}

func TestPinAllows(t *testing.T) {
	eu, unknown := Replica{Region: "eu", Jurisdiction: "EU"}, Replica{Region: "us"}
	for _, c := range []struct {
		p       Pin
		r       Replica
		allowed bool
	}{
		{Pin{Jurisdictions: []string{"EU"}}, eu, true}, {Pin{Jurisdictions: []string{"US"}}, eu, false}, {Pin{Regions: []string{"eu"}}, eu, true}, {Pin{Regions: []string{"EU"}}, eu, false},
		{Pin{Jurisdictions: []string{"EU"}, Released: true}, eu, false}, {Pin{Regions: []string{"us"}}, unknown, true}, {Pin{Jurisdictions: []string{""}}, unknown, false},
	} {
		if c.p.Allows(&c.r) != c.allowed {
			t.Errorf("%+v, %+v", c.p, c.r)
		}
	}
}

// TestPinValidate: every fault is named, all at once.
func TestPinValidate(t *testing.T) {
	strings1 := &KeySchema{Partition: KeyAttribute{"id", item.S}, Sort: &KeyAttribute{"at", item.B}}
	numbers := &KeySchema{Partition: KeyAttribute{"id", item.N}, Sort: &KeyAttribute{"at", item.N}}
	good := Pin{Name: "eu.1-a", Match: Match{KeyPrefix: "EU#", SortKeyPrefix: "a"}, Jurisdictions: []string{"EU"}, Foreign: Reject}
	if err := good.Validate(strings1); err != nil {
		t.Error(err)
	}
	if err := (&Pin{Name: "all", Regions: []string{"eu-central-1"}, Foreign: Forward}).Validate(numbers); err != nil {
		t.Error("a whole table with numbers as keys:", err)
	}
	long := strings.Repeat("a", MaxMatchLen+1)
	for want, p := range map[string]Pin{
		"a policy's name":                               {Name: "EU", Jurisdictions: good.Jurisdictions, Foreign: Reject},
		"foreign is":                                    {Name: "a", Jurisdictions: good.Jurisdictions, Foreign: "ignore"},
		"either to jurisdictions":                       {Name: "a", Foreign: Reject},
		"in order, each once":                           {Name: "a", Regions: []string{"b", "a"}, Foreign: Reject},
		"no jurisdiction's name":                        {Name: "a", Jurisdictions: []string{"eu"}, Foreign: Reject},
		"no region's name":                              {Name: "a", Regions: []string{"EU"}, Foreign: Reject},
		"a prefix of the partition key, or a component": {Name: "a", Jurisdictions: good.Jurisdictions, Foreign: Reject, Match: Match{KeyPrefix: "a", Delimiter: "#", Component: 1}},
		"a component needs a delimiter":                 {Name: "a", Jurisdictions: good.Jurisdictions, Foreign: Reject, Match: Match{Equals: "a"}},
		"position is 1 to":                              {Name: "a", Jurisdictions: good.Jurisdictions, Foreign: Reject, Match: Match{Delimiter: "#", Component: 17}},
		"has no delimiter in it":                        {Name: "a", Jurisdictions: good.Jurisdictions, Foreign: Reject, Match: Match{Delimiter: "#", Component: 1, Equals: "a#"}},
		"at most 256 bytes":                             {Name: "a", Jurisdictions: good.Jurisdictions, Foreign: Reject, Match: Match{KeyPrefix: long}},
		"without NUL":                                   {Name: "a", Jurisdictions: good.Jurisdictions, Foreign: Reject, Match: Match{SortKeyPrefix: "\x00"}},
	} {
		err := p.Validate(strings1)
		if KindOf(err) != Invalid || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), ";") {
			t.Errorf("%q alone is wrong: %v", want, err)
		}
	}
	for want, m := range map[string]Match{"the partition key is a number": {KeyPrefix: "1"}, "a prefix of the sort key": {SortKeyPrefix: "1"}} {
		p := Pin{Name: "a", Match: m, Jurisdictions: good.Jurisdictions, Foreign: Reject}
		if err := p.Validate(numbers); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	all := Pin{Name: "-", Foreign: "x", Match: Match{Equals: "\xff"}}
	if err := all.Validate(numbers); err == nil || strings.Count(err.Error(), ";") != 5 {
		t.Errorf("not all faults at once: %v", err)
	}
}

// TestPinsOfATable: what policies are together.
func TestPinsOfATable(t *testing.T) {
	if err := pinnedTable().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Table){
		"two locality policies have the name": func(t *Table) { t.Pins[2].Released, t.Pins[2].SingleCopy = false, true },
		"neither is more specific": func(t *Table) {
			t.Pins[2] = Pin{Name: "tie", Match: Match{KeyPrefix: "EU#"}, Regions: []string{"us-east-1"}, Foreign: Reject}
		},
		"nobody waits for it": func(t *Table) {
			t.Replicas[0].Placing, t.Replicas[2].Placing = 0, 0
			t.Pins[0].Gaining, t.Pins[1].Gaining = nil, nil
		},
		"gains and is not placing": func(t *Table) { t.Pins[0].Gaining = []hlc.Origin{7} },
		"gain are not in order":    func(t *Table) { t.Pins[1].Gaining = []hlc.Origin{9, 3} },
		"at most 64":               func(t *Table) { t.Pins = make([]Pin, 65) },
		"carries out version":      func(t *Table) { t.Replicas[0].Placing = t.Version + 1 },
		"jurisdiction's name":      func(t *Table) { t.Replicas[1].Jurisdiction = "eu" },
		"targets are in order":     func(t *Table) { t.Pins[0].Targets = []string{"https://b", "https://a"} },
		"a target is a URL":        func(t *Table) { t.Pins[0].Targets = []string{"search.example"} },
	} {
		table := pinnedTable()
		change(table)
		if err := table.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	table := pinnedTable()
	c := table.Clone()
	c.Pins[0].Jurisdictions[0], c.Pins[1].Gaining[0], c.Pins[2].Regions[0] = "XX", 1, "x"
	if !reflect.DeepEqual(table, pinnedTable()) {
		t.Error("a clone shares what it must not")
	}
}
