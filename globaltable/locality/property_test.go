package locality

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The reference below says the same in the dumbest way, and shares no code with the package: it decodes keys into values, and compares each policy with each.

// naive is a key, decoded.
type naive struct{ partition, sort string }

func decode(t *globaltable.Table, key []byte) (n naive, ok bool) {
	p, s, err := item.DecodeKey(key, t.KeySchema.Sort != nil)
	if err != nil {
		return n, false
	}
	n.partition = string(p.Bytes())
	if s != nil {
		n.sort = string(s.Bytes())
	}
	return n, true
}

func (n naive) of(m globaltable.Match) bool {
	if m.Component > 0 {
		parts := strings.Split(n.partition, m.Delimiter)
		if len(parts) < m.Component || parts[m.Component-1] != m.Equals {
			return false
		}
	}
	return strings.HasPrefix(n.partition, m.KeyPrefix) && strings.HasPrefix(n.sort, m.SortKeyPrefix)
}

// moreSpecific is the order that users are told.
func moreSpecific(a, b globaltable.Match) bool {
	if len(a.SortKeyPrefix) != len(b.SortKeyPrefix) {
		return len(a.SortKeyPrefix) > len(b.SortKeyPrefix)
	}
	if (a.Component > 0) != (b.Component > 0) {
		return a.Component > 0
	}
	return len(a.KeyPrefix) > len(b.KeyPrefix)
}

// decides returns the policy of t that no other one is more specific than, of those that match.
func (n naive) decides(t *globaltable.Table) *globaltable.Pin {
	for i := range t.Pins {
		p := &t.Pins[i]
		if p.Released || !n.of(p.Match) {
			continue
		}
		beaten := false
		for j := range t.Pins {
			o := &t.Pins[j]
			beaten = beaten || !o.Released && n.of(o.Match) && moreSpecific(o.Match, p.Match)
		}
		if !beaten {
			return p
		}
	}
	return nil
}

func (n naive) may(t *globaltable.Table, r *globaltable.Replica) bool {
	if r.Status != globaltable.Creating && r.Status != globaltable.Active && r.Status != globaltable.Updating {
		return false
	}
	p := n.decides(t)
	if p == nil {
		return true
	}
	for _, region := range p.Regions {
		if region == r.Region {
			return true
		}
	}
	for _, j := range p.Jurisdictions {
		if j == r.Jurisdiction {
			return true
		}
	}
	return false
}

// getting reports whether the region of r may not have all of the items of the key's policies yet.
func (n naive) getting(t *globaltable.Table, r *globaltable.Replica) bool {
	for _, p := range t.Pins {
		for _, o := range p.Gaining {
			if o == r.Origin && n.of(p.Match) {
				return true
			}
		}
	}
	return r.Status == globaltable.Creating
}

var regionNames = []string{"ap", "eu", "us", "za"}

// tables generates tables with policies that an owner can issue.
func tables() *rapid.Generator[*globaltable.Table] {
	texts := rapid.StringOfN(rapid.SampledFrom([]rune("aE#ü")), 0, 2, -1)
	return rapid.Custom(func(t *rapid.T) *globaltable.Table {
		v := globaltable.MakeVersion(1, 2)
		table := &globaltable.Table{ID: 1000<<16 | 1, Name: "orders", Owner: 1, Version: v, Predecessor: globaltable.Hash{1}, CreatedAt: 1000, Billing: globaltable.PayPerRequest, Class: globaltable.ClassStandard,
			KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: rapid.SampledFrom([]item.Type{item.S, item.B}).Draw(t, "type")}}}
		if rapid.Bool().Draw(t, "sort key") {
			table.KeySchema.Sort = &globaltable.KeyAttribute{Name: "at", Type: item.S}
		}
		for i, name := range regionNames {
			r := globaltable.Replica{Region: name, Origin: hlc.Origin(i + 1), Jurisdiction: rapid.SampledFrom([]string{"EU", "US", ""}).Draw(t, "jurisdiction"), Since: v,
				Status: rapid.SampledFrom([]globaltable.Status{globaltable.Active, globaltable.Active, globaltable.Active, globaltable.Creating, globaltable.Deleting, globaltable.StatusFenced, globaltable.CreationFailed}).Draw(t, "status")}
			if r.Status == globaltable.Active && rapid.Bool().Draw(t, "placing") {
				r.Placing = v
			}
			table.Replicas = append(table.Replicas, r)
		}
		for range rapid.IntRange(0, 5).Draw(t, "policies") {
			p := globaltable.Pin{Name: rapid.StringMatching(`[a-f]`).Draw(t, "name"), Foreign: globaltable.Reject}
			if table.KeySchema.Sort != nil {
				p.Match.SortKeyPrefix = texts.Draw(t, "sort prefix")
			}
			if rapid.Bool().Draw(t, "component") {
				p.Match.Delimiter, p.Match.Component, p.Match.Equals = "#", rapid.IntRange(1, 3).Draw(t, "position"), strings.ReplaceAll(texts.Draw(t, "equals"), "#", "")
			} else {
				p.Match.KeyPrefix = texts.Draw(t, "prefix")
			}
			if rapid.Bool().Draw(t, "by region") {
				p.Regions = rapid.SampledFrom([][]string{{"eu"}, {"ap", "us"}, {"eu", "us"}}).Draw(t, "regions")
			} else {
				p.Jurisdictions = rapid.SampledFrom([][]string{{"EU"}, {"EU", "US"}}).Draw(t, "jurisdictions")
			}
			for i := range table.Replicas {
				if table.Replicas[i].Placing != 0 && rapid.Bool().Draw(t, "gains") {
					p.Gaining = append(p.Gaining, table.Replicas[i].Origin)
				}
			}
			p.Released = p.Gaining != nil && rapid.Bool().Draw(t, "released")
			table.Pins = append(table.Pins, p)
			if table.Validate() != nil { // a tie, or a name that is taken
				table.Pins = table.Pins[:len(table.Pins)-1]
			}
		}
		if err := table.Validate(); err != nil {
			t.Fatal(err)
		}
		return table
	})
}

// keys generates keys of the table.
func keyOf(t *rapid.T, table *globaltable.Table) item.Key {
	text := rapid.StringOfN(rapid.SampledFrom([]rune("aE#ü\x00")), 1, 5, -1)
	value := func(name string, typ item.Type) item.Value {
		s := text.Draw(t, name)
		if typ == item.B {
			return item.AppendBinary(nil, s)
		}
		return item.AppendString(nil, s)
	}
	var sort item.Value
	if table.KeySchema.Sort != nil {
		sort = value("sort", item.S)
	}
	key, err := item.AppendKey(nil, value("partition", table.KeySchema.Partition.Type), sort)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// agree compares the package with the reference about one key.
func agree(t interface{ Fatalf(string, ...any) }, table *globaltable.Table, key item.Key) (pinned bool) {
	n, ok := decode(table, key)
	if !ok {
		t.Fatalf("the reference cannot decode %x", key)
	}
	pin, known := PinOf(table, key)
	if want := n.decides(table); !known || pin != want {
		t.Fatalf("%q of %+v: %+v, want %+v", n, table.Pins, pin, want)
	}
	matching, _ := Matching(table, key)
	if (pin == nil) != (len(matching) == 0) || pin != nil && matching[0] != pin {
		t.Fatalf("the first that matches is not the one that decides")
	}
	for i := range table.Pins {
		p := &table.Pins[i]
		if slices.Contains(matching, p) != (!p.Released && n.of(p.Match)) {
			t.Fatalf("%q: whether %+v matches", n, p)
		}
	}
	placement := Place(table, key)
	if !slices.ContainsFunc(Placements(table), func(p globaltable.Placement) bool { return slices.Equal(p, placement) }) {
		t.Fatalf("%v is none of the placements %v", placement, Placements(table))
	}
	for i := range table.Replicas {
		r := &table.Replicas[i]
		may := n.may(table, r)
		if slices.Contains(placement, r.Origin) != may {
			t.Fatalf("%q: %s is placed: %v", n, r.Region, !may)
		}
		for _, op := range []Operation{Send, Receive} {
			if got := Decide(table, key, r.Origin, op); (got == Permit) != may || got == NotYet {
				t.Fatalf("%q: %s may %d: %v, want %v", n, r.Region, op, got, may)
			}
		}
		want := Permit
		switch {
		case !may:
			want = NotHere
		case n.getting(table, r):
			want = NotYet
		}
		if got := Decide(table, key, r.Origin, Admit); got != want {
			t.Fatalf("%q: %s admits: %v, want %v", n, r.Region, got, want)
		}
		if Decide(table, key, r.Origin, 0) != NotHere {
			t.Fatalf("an operation that is none is permitted")
		}
	}
	if Decide(table, key, 99, Receive) != NotHere {
		t.Fatalf("a region without a replica may have the item")
	}
	return pin != nil
}

// TestAgainstReference: where items may be, and what regions do, is as the reference says.
func TestAgainstReference(t *testing.T) {
	pinned, free := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		table := tables().Draw(rt, "table")
		for range 4 {
			if agree(rt, table, keyOf(rt, table)) {
				pinned++
			} else {
				free++
			}
		}
	})
	if pinned == 0 || free == 0 {
		t.Errorf("%d keys of policies, %d of none", pinned, free)
	}
}

// TestFailsClosed: of what is no key nothing is permitted once the table has policies.
func TestFailsClosed(t *testing.T) {
	table := &globaltable.Table{ID: 1000<<16 | 1, Replicas: []globaltable.Replica{{Region: "eu", Origin: 1, Status: globaltable.Active}},
		Pins: []globaltable.Pin{{Name: "all", Regions: []string{"eu"}, Foreign: globaltable.Reject}}}
	for _, key := range [][]byte{{}, {1}, []byte("12345678"), []byte("12345678\xff"), append([]byte("12345678"), byte(item.S), 'a')} {
		if Decide(table, key, 1, Receive) != NotHere || len(Place(table, key)) != 0 {
			t.Errorf("%x is permitted", key)
		}
		if _, known := Matching(table, key); known {
			t.Errorf("%x is known", key)
		}
	}
	if Decide(table, nil, 1, Receive) != Permit {
		t.Error("no item at all may be there")
	}
}

// FuzzDecide: whatever bytes come as a key, nothing panics, what is no key is nowhere, and what is one is where the reference has it.
func FuzzDecide(f *testing.F) {
	add := func(partition, sort string) {
		key, err := item.AppendKey(nil, item.AppendString(nil, partition), item.AppendString(nil, sort))
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(key), "EU#", "#", uint8(1), "EU", "a")
	}
	add("EU#1", "a")
	add("a\x00#EU", "\x00")
	f.Add([]byte{}, "", "", uint8(0), "", "")
	f.Fuzz(func(t *testing.T, key []byte, prefix, delimiter string, component uint8, equals, sort string) {
		v := globaltable.MakeVersion(1, 1)
		table := &globaltable.Table{ID: 1000<<16 | 1, Name: "orders", Owner: 1, Version: v, CreatedAt: 1, Billing: globaltable.PayPerRequest, Class: globaltable.ClassStandard,
			KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}, Sort: &globaltable.KeyAttribute{Name: "at", Type: item.S}},
			Replicas:  []globaltable.Replica{{Region: "eu", Origin: 1, Status: globaltable.Active, Since: v, Jurisdiction: "EU"}, {Region: "us", Origin: 2, Status: globaltable.Active, Since: v, Jurisdiction: "US"}}}
		for _, p := range []globaltable.Pin{
			{Name: "prefix", Match: globaltable.Match{KeyPrefix: prefix}, Regions: []string{"eu"}, Foreign: globaltable.Reject},
			{Name: "part", Match: globaltable.Match{Delimiter: delimiter, Component: int(component), Equals: equals}, Jurisdictions: []string{"US"}, Foreign: globaltable.Reject},
			{Name: "sort", Match: globaltable.Match{SortKeyPrefix: sort}, Regions: []string{"eu", "us"}, Foreign: globaltable.Reject},
		} {
			table.Pins = append(table.Pins, p)
			if table.Validate() != nil {
				table.Pins = table.Pins[:len(table.Pins)-1]
			}
		}
		if p, s, err := item.DecodeKey(key, true); err == nil && p.Type() == item.S && s.Type() == item.S {
			agree(t, table, key)
			return
		}
		Decide(table, key, 1, Admit)
		if pins, known := Matching(table, key); !known && len(table.Pins) > 0 && (len(Place(table, key)) > 0 || pins != nil) {
			t.Errorf("%x is no key, and is placed", key)
		}
	})
}
