package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// jurisdictions are those of the regions of these tests.
var jurisdictions = map[string]string{"ap": "IN", "eu": "EU", "us": "US", "za": "ZA"}

// pinnable returns a world, and a table that is active in the regions named; the first one owns it.
func pinnable(t testing.TB, names ...string) (*world, *globaltable.Table) {
	t.Helper()
	w := newWorld(t, "ap", "eu", "us", "za")
	for i := range w.regions {
		w.regions[i].Jurisdiction = jurisdictions[w.regions[i].Name]
	}
	spec := specOf("orders")
	spec.KeySchema.Sort = &globaltable.KeyAttribute{Name: "at", Type: item.S}
	owner := mustRegion(w, names[0])
	table, err := Create(spec, 1000<<16|globaltable.TableID(owner.Origin), owner, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) > 1 {
		table = settle(t, mustUpdate(t, w, table, &Change{Create: names[1:]}))
	}
	return w, table
}

// settle lets every region answer that all is done, until nothing more is to do.
func settle(t testing.TB, table *globaltable.Table) *globaltable.Table {
	t.Helper()
	for range 10 {
		answers := Answers{}
		for i := range table.Replicas {
			answers[table.Replicas[i].Origin] = Answer{Outcome: Adopted, Joined: true, Dropped: true, Placed: true}
		}
		next, ok := Advance(table, answers, 1)
		if !ok {
			return table
		}
		if err := next.Validate(); err != nil {
			t.Fatal(err)
		}
		table = next
	}
	t.Fatal("it never settles")
	return nil
}

func prefix(name, prefix string, regions ...string) globaltable.Pin {
	return globaltable.Pin{Name: name, Match: globaltable.Match{KeyPrefix: prefix}, Regions: regions, Foreign: globaltable.Reject, SingleCopy: len(regions) == 1}
}

func set(pins ...globaltable.Pin) *Change { return &Change{Pins: &PinChange{Set: pins}} }

// show puts the policies and what is under way into a line.
func (w *world) pins(t *globaltable.Table) string {
	var out []string
	for i := range t.Pins {
		p := &t.Pins[i]
		line := fmt.Sprintf("%s %q %v", p.Name, p.Match.KeyPrefix, append(slices.Clone(p.Jurisdictions), p.Regions...))
		if p.Released {
			line += " released"
		}
		for _, o := range p.Gaining {
			line += " +" + w.nameOf(o)
		}
		out = append(out, line)
	}
	for i := range t.Replicas {
		if r := &t.Replicas[i]; r.Placing != 0 {
			out = append(out, "placing "+r.Region)
		}
	}
	return strings.Join(out, "; ")
}

// TestPinTransitions: a table's policies, change by change; each begins when the one before is carried out.
func TestPinTransitions(t *testing.T) {
	w, table := pinnable(t, "eu", "ap", "us")
	const everywhere = "; placing ap; placing eu; placing us"
	for i, step := range []struct {
		change     *Change
		then, last string // at once, and when all have carried it out
	}{
		// What was everywhere is in fewer regions: nobody gains.
		{set(prefix("a", "A", "eu", "us")), `a "A" [eu us]` + everywhere, `a "A" [eu us]`},
		// The same again moves nothing, and what only says what foreign regions do does not, either.
		{set(prefix("a", "A", "eu", "us")), `a "A" [eu us]`, `a "A" [eu us]`},
		{set(func() globaltable.Pin {
			p := prefix("a", "A", "eu", "us")
			p.Foreign = globaltable.Forward
			return p
		}()), `a "A" [eu us]`, `a "A" [eu us]`},
		// Elsewhere: the new region gains, and one that stays does not.
		{set(prefix("a", "A", "ap", "us")), `a "A" [ap us] +ap` + everywhere, `a "A" [ap us]`},
		// A more specific one: who may have its keys and could not have the others' gains.
		{set(prefix("ab", "AB", "eu")), `a "A" [ap us]; ab "AB" [eu] +eu` + everywhere, `a "A" [ap us]; ab "AB" [eu]`},
		// By jurisdiction it is the same places: nothing moves.
		{set(globaltable.Pin{Name: "ab", Match: globaltable.Match{KeyPrefix: "AB"}, Jurisdictions: []string{"EU"}, Foreign: globaltable.Reject, SingleCopy: true}), `a "A" [ap us]; ab "AB" [EU]`, `a "A" [ap us]; ab "AB" [EU]`},
		// Another match under the same name: what it was about is released, and gained by those that it kept out.
		{set(prefix("ab", "B", "eu", "us")), `a "A" [ap us]; ab "AB" [EU] released +ap +us; ab "B" [eu us]` + everywhere, `a "A" [ap us]; ab "B" [eu us]`},
		// Removed and made in one change.
		{&Change{Pins: &PinChange{Remove: []string{"a"}, Set: []globaltable.Pin{prefix("c", "C", "ap")}}}, `a "A" [ap us] released +eu; ab "B" [eu us]; c "C" [ap]` + everywhere, `ab "B" [eu us]; c "C" [ap]`},
		// A policy of the whole table under others: nothing moves, but a region that had a replica once may not have what is in logs for it any more, so each region looks.
		{set(prefix("all", "", "ap", "eu", "us")), `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]` + everywhere, `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]`},
		// One more for the same places as the one that decided before, its name, and that it is gone again: nothing moves.
		{set(prefix("abc", "BC", "eu", "us")), `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]; abc "BC" [eu us]`, `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]; abc "BC" [eu us]`},
		{&Change{Pins: &PinChange{Remove: []string{"abc"}, Set: []globaltable.Pin{prefix("bc", "BC", "eu", "us")}}}, `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]; bc "BC" [eu us]`, `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]; bc "BC" [eu us]`},
		{&Change{Pins: &PinChange{Remove: []string{"bc"}}}, `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]`, `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]`},
		{&Change{Pins: &PinChange{Remove: []string{"all"}}}, `ab "B" [eu us]; c "C" [ap]`, `ab "B" [eu us]; c "C" [ap]`},
		// To a jurisdiction that has these regions; not to some of its regions, of which there may have been others.
		{set(globaltable.Pin{Name: "c", Match: globaltable.Match{KeyPrefix: "C"}, Jurisdictions: []string{"IN"}, Foreign: globaltable.Reject, SingleCopy: true}), `ab "B" [eu us]; c "C" [IN]`, `ab "B" [eu us]; c "C" [IN]`},
		{set(prefix("c", "C", "ap")), `ab "B" [eu us]; c "C" [ap]` + everywhere, `ab "B" [eu us]; c "C" [ap]`},
		{set(prefix("all", "", "ap", "eu", "us")), `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]` + everywhere, `ab "B" [eu us]; c "C" [ap]; all "" [ap eu us]`},
		{&Change{Pins: &PinChange{Remove: []string{"ab", "c", "all"}}}, `ab "B" [eu us] released +ap; c "C" [ap] released +eu +us` + everywhere, ""},
	} {
		next := mustUpdate(t, w, table, step.change)
		if got := w.pins(next); got != step.then {
			t.Fatalf("step %d: %s\nwant %s", i, got, step.then)
		}
		if fresh, err := follows(table, next, nil); err != nil || !fresh {
			t.Fatalf("step %d is not adopted: %v", i, err)
		}
		table = settle(t, next)
		if got := w.pins(table); got != step.last {
			t.Fatalf("step %d ends as %s\nwant %s", i, got, step.last)
		}
		back, err := globaltable.DecodeTable(globaltable.EncodeTable(next))
		if err != nil || globaltable.HashTable(back) != globaltable.HashTable(next) {
			t.Fatalf("step %d: its document: %v", i, err)
		}
	}
}

// TestPinsAreCarriedOutOneByOne: each region's word ends its own part, and what it gained is served by it then.
func TestPinsAreCarriedOutOneByOne(t *testing.T) {
	w, table := pinnable(t, "eu", "ap", "us")
	table = settle(t, mustUpdate(t, w, table, set(prefix("a", "A", "eu"))))
	next := mustUpdate(t, w, table, set(prefix("a", "A", "ap", "eu")))
	ap, us := mustRegion(w, "ap").Origin, mustRegion(w, "us").Origin
	if since, ok := JoinIn(next, ap); !ok || since != next.Version || !Gains(next, ap) || Gains(next, us) {
		t.Errorf("ap gets nothing: %v %v", since, ok)
	}
	if got := Sources(next, ap); !slices.Equal(got, []hlc.Origin{2, 3}) {
		t.Errorf("ap gets it from %v", got)
	}
	if _, ok := JoinIn(next, us); ok {
		t.Error("us gains nothing, and joins")
	}
	if _, ok := Advance(next, Answers{ap: {Outcome: Adopted, Joined: true}}, 1); ok {
		t.Error("to have joined is not to have placed")
	}
	next, ok := Advance(next, Answers{us: {Placed: true}}, 1)
	if !ok || w.pins(next) != `a "A" [ap eu] +ap; placing ap; placing eu` || next.Settled() {
		t.Errorf("us has placed: %s", w.pins(next))
	}
	if next, ok = Advance(next, Answers{ap: {Placed: true}}, 1); !ok || w.pins(next) != `a "A" [ap eu]; placing eu` {
		t.Errorf("ap has placed: %s", w.pins(next))
	}
	if next, ok = Advance(next, Answers{2: {Placed: true}}, 1); !ok || !next.Settled() {
		t.Errorf("all have placed: %s", w.pins(next))
	}
}

// TestRefusedPins: what no policies may come to.
func TestRefusedPins(t *testing.T) {
	w, free := pinnable(t, "eu", "ap", "us")
	pinned := settle(t, mustUpdate(t, w, free, set(prefix("a", "A", "eu", "us"))))
	placing := mustUpdate(t, w, pinned, set(prefix("a", "A", "ap", "eu")))
	alone := prefix("one", "1", "us")
	alone.SingleCopy = false
	yes := true
	for name, c := range map[string]struct {
		table  *globaltable.Table
		change *Change
		kind   globaltable.Kind
		text   string
	}{
		"a tie":                        {pinned, set(prefix("b", "A", "ap", "us")), globaltable.Invalid, `"a" and "b" may match the same key, and neither is more specific`},
		"a tie of new ones":            {free, set(prefix("x", "A", "ap", "us"), prefix("y", "A", "eu", "us")), globaltable.Invalid, "neither is more specific"},
		"one copy":                     {free, set(alone), globaltable.Invalid, "Locality policy one leaves one copy of its items, in us. Say so with singleCopy: allowed"},
		"nowhere":                      {free, set(prefix("no", "N", "za")), globaltable.Invalid, "its items could be nowhere"},
		"a jurisdiction of no replica": {free, set(globaltable.Pin{Name: "no", Jurisdictions: []string{"ZA"}, Foreign: globaltable.Reject}), globaltable.Invalid, "its items could be nowhere"},
		"not there":                    {free, &Change{Pins: &PinChange{Remove: []string{"a"}}}, globaltable.NotFound, "Table orders has no locality policy a."},
		"removed twice":                {pinned, &Change{Pins: &PinChange{Remove: []string{"a", "a"}}}, globaltable.NotFound, "no locality policy a"},
		"while one is carried out":     {placing, set(prefix("b", "B", "ap", "us")), globaltable.InUse, "being updated"},
		"a replica meanwhile":          {placing, &Change{Create: []string{"za"}}, globaltable.InUse, "being updated"},
		"one that goes meanwhile":      {placing, &Change{Delete: []string{"us"}}, globaltable.InUse, "being updated"},
		"with replicas":                {pinned, &Change{Pins: &PinChange{Remove: []string{"a"}}, Create: []string{"za"}}, globaltable.Invalid, "cannot be changed in one request"},
		"the last copy but one":        {pinned, &Change{Delete: []string{"us"}}, globaltable.Invalid, "Locality policy a leaves one copy"},
		"a wrong one":                  {free, set(globaltable.Pin{Name: "A", Regions: []string{"eu"}, Foreign: "x", SingleCopy: true}), globaltable.Invalid, "a policy's name has"},
	} {
		_, err := Update(c.table, c.change, 1, w.region)
		if err == nil || globaltable.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Remove(pinned, "us", 1); err == nil || !strings.Contains(err.Error(), "leaves one copy") {
		t.Errorf("a table is deleted in a region whose copy is the last but one: %v", err)
	}
	if _, err := Remove(placing, "us", 1); globaltable.KindOf(err) != globaltable.InUse {
		t.Errorf("a table is deleted in a region that others may have to get items from: %v", err)
	}
	if _, err := Update(placing, &Change{DeletionProtection: &yes, Region: "eu"}, 1, w.region); err != nil {
		t.Errorf("what moves nothing is refused meanwhile: %v", err)
	}
	next := mustUpdate(t, w, free, &Change{Tag: map[string]string{globaltable.AcknowledgeTag: "peers:1"}, Pins: set(prefix("a", "A", "eu", "us")).Pins})
	if next.AcknowledgePeers != 1 || len(next.Pins) != 1 {
		t.Error("settings made with policies are lost")
	}
	if settled := settle(t, next); settled.AcknowledgePeers != 1 || settled.Tags[globaltable.AcknowledgeTag] != "peers:1" {
		t.Error("settings do not stay")
	}
}

// TestFencingWhilePlacing: a region that is given up has nothing to carry out, and nobody waits for what it gains.
func TestFencingWhilePlacing(t *testing.T) {
	w, table := pinnable(t, "eu", "ap", "us")
	table = settle(t, mustUpdate(t, w, table, set(prefix("a", "A", "eu", "us"))))
	table = mustUpdate(t, w, table, set(prefix("a", "A", "ap", "eu")))
	fenced, regions := founded(t)
	// The members there have the same numbers, and other names.
	gone := slices.IndexFunc(regions, func(d globaltable.Descriptor) bool { return d.Origin == mustRegion(w, "ap").Origin })
	fenced, err := FenceMembers(fenced, []string{regions[gone].Name}, mustRegion(w, "eu").Origin, 2)
	if err != nil {
		t.Fatal(err)
	}
	fenced, ok := AdvanceWorld(fenced, all, 2)
	if !ok {
		t.Fatal("ap is not fenced")
	}
	next, ok := Follow(table, fenced, 1, 2000)
	if !ok {
		t.Fatal("nothing follows")
	}
	if err := next.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := w.pins(next); got != `a "A" [ap eu]; placing eu; placing us` {
		t.Errorf("%s", got)
	}
	if p := locality.PlaceOf(next, &next.Pins[0]); !slices.Equal(p, globaltable.NewPlacement(mustRegion(w, "eu").Origin)) {
		t.Errorf("its items are in %v", p)
	}
}

// TestGainsAreNotServed: whatever the change, a region that may have an item it could not have serves it only when it has got it; and where nothing moves, nothing is demanded.
func TestGainsAreNotServed(t *testing.T) {
	names := []string{"ap", "eu", "us"}
	pins := rapid.Custom(func(t *rapid.T) globaltable.Pin {
		p := globaltable.Pin{Name: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), Foreign: globaltable.Reject, SingleCopy: true}
		switch rapid.IntRange(0, 3).Draw(t, "match") {
		case 0:
			p.Match.KeyPrefix = rapid.SampledFrom([]string{"", "A", "AB", "B"}).Draw(t, "prefix")
		case 1:
			p.Match.Delimiter, p.Match.Component, p.Match.Equals = "B", rapid.IntRange(1, 2).Draw(t, "position"), rapid.SampledFrom([]string{"", "A"}).Draw(t, "equals")
		default:
			p.Match.SortKeyPrefix = rapid.SampledFrom([]string{"", "1", "12"}).Draw(t, "sort")
		}
		p.Regions = rapid.SampledFrom([][]string{{"ap"}, {"eu"}, {"us"}, {"ap", "eu"}, {"eu", "us"}}).Draw(t, "regions")
		return p
	})
	moved, still := 0, 0
	w, start := pinnable(t, "eu", "ap", "us")
	rapid.Check(t, func(rt *rapid.T) {
		table := start
		for range 4 {
			c := &PinChange{Set: rapid.SliceOfNDistinct(pins, 0, 2, func(p globaltable.Pin) string { return p.Name }).Draw(rt, "set")}
			if len(table.Pins) > 0 && rapid.Bool().Draw(rt, "remove") {
				c.Remove = []string{table.Pins[rapid.IntRange(0, len(table.Pins)-1).Draw(rt, "which")].Name}
			}
			next, err := Update(table, &Change{Pins: c}, 1, w.region)
			if err != nil {
				continue // a tie
			}
			gained := false
			for _, partition := range []string{"A", "AB", "ABA", "B", "BA", "C"} {
				for _, sort := range []string{"1", "12", "2"} {
					key, err := item.AppendKey(nil, item.AppendString(nil, partition), item.AppendString(nil, sort))
					if err != nil {
						rt.Fatal(err)
					}
					for _, name := range names {
						o := mustRegion(w, name).Origin
						before, now := locality.Decide(table, key, o, locality.Receive), locality.Decide(next, key, o, locality.Receive)
						if before != now && next.Settled() {
							rt.Fatalf("%s %s moves in %s, and nobody has to carry that out\n%s\n%s", partition, sort, name, w.pins(table), w.pins(next))
						}
						if before != locality.Permit && now == locality.Permit {
							gained = true
							if d := locality.Decide(next, key, o, locality.Admit); d != locality.NotYet {
								rt.Fatalf("%s serves %s %s, which it has not got: %v\n%s\n%s", name, partition, sort, d, w.pins(table), w.pins(next))
							}
						}
					}
				}
			}
			if gained {
				moved++
			} else {
				still++
			}
			table = settle(t, next)
		}
	})
	if moved == 0 || still == 0 {
		t.Errorf("%d changes moved something, %d did not", moved, still)
	}
}

// TestOnlyPermittedRegionIsLost: what cannot be handed over to anybody any more does not hold the table up for ever: another policy can take the place of the one that demands it, and nothing that is still to be done is forgotten.
func TestOnlyPermittedRegionIsLost(t *testing.T) {
	w, table := pinnable(t, "us", "ap", "eu")
	table = settle(t, mustUpdate(t, w, table, set(prefix("a", "A", "eu"), prefix("b", "B", "eu", "us"))))
	table = mustUpdate(t, w, table, set(prefix("a", "A", "eu"), prefix("b", "B", "ap", "eu", "us"), prefix("c", "C", "eu")))
	if PinsChangeable(table) {
		t.Fatal("policies can be changed while they are carried out")
	}
	members, regions := founded(t)
	gone := slices.IndexFunc(regions, func(d globaltable.Descriptor) bool { return d.Origin == mustRegion(w, "eu").Origin })
	members, err := FenceMembers(members, []string{regions[gone].Name}, mustRegion(w, "us").Origin, 2)
	if err != nil {
		t.Fatal(err)
	}
	members, ok := AdvanceWorld(members, all, 2)
	if !ok {
		t.Fatal("eu is not fenced")
	}
	if table, ok = Follow(table, members, 1, 2000); !ok || PinsChangeable(table) {
		t.Fatalf("while eu is being closed: %v, %s", ok, w.pins(table))
	}
	table, ok = Advance(table, Answers{mustRegion(w, "ap").Origin: {Joined: true}, mustRegion(w, "us").Origin: {Joined: true}}, 1)
	if !ok || !PinsChangeable(table) {
		t.Fatalf("%v, %s", ok, w.pins(table))
	}
	// Not a policy that leaves another one without a region.
	if _, err := Update(table, set(prefix("c", "C", "us")), 1, w.region); err == nil {
		t.Error("items are left without a region")
	}
	next := mustUpdate(t, w, table, set(prefix("a", "A", "us"), prefix("c", "C", "ap")))
	if got, want := w.pins(next), `a "A" [us] +us; b "B" [ap eu us] +ap; c "C" [ap] +ap; placing ap; placing us`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if next.Replica(mustRegion(w, "ap").Origin).Placing != next.Version {
		t.Error("ap goes on with the version before")
	}
}

// TestReturnsWithSomethingToPlace: a replica that comes back with what policies keep out of it serves, and is placing; the table is not settled before it has placed. While it waits for a region that is gone its policies can be changed.
func TestReturnsWithSomethingToPlace(t *testing.T) {
	w := newWorld(t, "eu", "us")
	v1 := exampleOf(t, w, "eu", "orders", 1000)
	v2, err := Update(v1, &Change{Create: []string{"us"}}, 1, w.region)
	if err != nil {
		t.Fatal(err)
	}
	eu, us := mustRegion(w, "eu").Origin, mustRegion(w, "us").Origin
	joined := Answers{eu: {Outcome: Adopted}, us: {Outcome: Adopted, Joined: true}}
	if v3, ok := Advance(v2, joined, 1); !ok || !v3.Settled() || v3.ReplicaNamed("us").Placing != 0 {
		t.Errorf("%+v", v3)
	}
	joined[us] = Answer{Outcome: Adopted, Joined: true, ToPlace: true}
	v3, ok := Advance(v2, joined, 1)
	if r := v3.ReplicaNamed("us"); !ok || v3.Validate() != nil || v3.Settled() || r.Status != globaltable.Active || r.Placing != v3.Version {
		t.Fatalf("%+v, %v", v3, v3.Validate())
	}
	if PinsChangeable(v3) {
		t.Error("policies can be changed while what they demand is carried out")
	}
	bare := v3.Clone()
	bare.Pins = []globaltable.Pin{{Name: "ap", Match: globaltable.Match{KeyPrefix: "AP#"}, Regions: []string{"ap"}, Foreign: globaltable.Reject}}
	if !PinsChangeable(bare) {
		t.Error("policies cannot be changed that let no region have what is to be handed over")
	}
	v4, ok := Advance(v3, Answers{us: {Placed: true}}, 1)
	if !ok || !v4.Settled() {
		t.Errorf("%+v", v4)
	}
}
