package conflict

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

func number(t rapid.TB, text string) item.Value {
	t.Helper()
	v, err := item.AppendNumberText(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func stringSet(t rapid.TB, elements ...string) item.Value {
	t.Helper()
	var values []item.Value
	for _, e := range elements {
		values = append(values, item.AppendString(nil, e))
	}
	v, err := item.AppendSet(nil, item.SS, values)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// goldenTyped has a record of each kind of contributions, and one of all.
func goldenTyped(t testing.TB) map[string]Record {
	a, b, c := goldenStamp(0, 1, 1), goldenStamp(-70, 0, 2), goldenStamp(90, 0, 300)
	sum := func(text string) Sum { return Sum(nil).plus(number(t, text).Number()) }
	counter := Typed{Name: []byte("counter"),
		Runs:     []Run{{a, goldenStamp(-1000, 0, 0).Time, sum("1234.5")}, {b, b.Time, sum("-9e125").plus(number(t, "1e-130").Number())}, {Last: c, First: a.Time}},
		Observed: []Observation{{Run{goldenStamp(-900, 0, 1), goldenStamp(-1000, 0, 0).Time, sum("4.5")}, b}}}
	set := Typed{Name: []byte("set"), Elements: []Element{
		{Value: item.AppendString(nil, "both"), Adds: vector.Vector{a, c}, Removals: []Observed{{a, c}}},
		{Value: item.AppendString(nil, "gone"), Removals: []Observed{{a, b}}},
		{Value: item.AppendInt(nil, 7), Adds: vector.Vector{b}},
	}}
	bids := Typed{Name: []byte("top"),
		Bids:   []Bid{{Dot: a, Value: number(t, "3")}, {Dot: c, Min: true, Value: number(t, "4")}},
		Outbid: []Observed{{b, c}}}
	w := Write{Stamp: c, Context: vector.Vector{a}}
	all := Record{Reset: Write{Stamp: b}, Cells: []Cell{{Write: w}, {Name: []byte("counter"), Write: w, Value: number(t, "5")}},
		Typed: []Typed{counter, set, bids}, Vector: vector.Vector{a, b, c}}
	entry := func(w Write, v item.Value, names ...string) Cell {
		return Cell{Name: pathOf(names...), Write: w, Removed: v == nil && names[len(names)-1] != "", Value: v}
	}
	early := Write{Stamp: a}
	nested := Record{Cells: []Cell{{Write: w}, {Name: []byte("map"), Write: early, Value: emptyMap}},
		Nested: []Cell{
			entry(w, nil, "map", ""), entry(early, number(t, "1"), "map", "a"), entry(w, nil, "map", "b"),
			entry(w, emptyMap, "map", "inner"), entry(w, nil, "other", ""), entry(w, number(t, "2"), "other", "c"),
		}, Vector: vector.Vector{a, c}}
	return map[string]Record{
		"record-nested":        nested,
		"record-counter":       {Typed: []Typed{counter}, Vector: vector.Vector{a, b, c}},
		"record-set":           {Cells: []Cell{{Write: w}}, Typed: []Typed{set}, Vector: vector.Vector{a, b, c}},
		"record-bids":          {Cells: []Cell{{Write: w}}, Typed: []Typed{bids}, Vector: vector.Vector{a, b, c}},
		"record-contributions": all,
	}
}

// pathOf returns the path of the names given; an empty one at the end is a map's presence.
func pathOf(names ...string) (path []byte) {
	for _, name := range names {
		path = AppendPath(path, []byte(name))
	}
	return path
}

// loggedOps has the operations that only a log has, of a change with the dot of fullChange.
func loggedOps(t testing.TB, dot hlc.Stamp) []Op {
	run := Run{Last: dot, First: goldenStamp(-40, 2, 0).Time, Sum: Sum(nil).plus(number(t, "41.5").Number())}
	seen := Typed{
		Observed: []Observation{{Run{goldenStamp(-50, 0, 2), goldenStamp(-60, 0, 0).Time, Sum(nil).plus(number(t, "-3").Number())}, dot}},
		Elements: []Element{{Value: item.AppendString(nil, "x"), Removals: []Observed{{goldenStamp(-50, 0, 2), dot}}}},
		Outbid:   []Observed{{goldenStamp(-50, 0, 2), dot}, {goldenStamp(-55, 0, 300), dot}},
	}
	return []Op{
		{Kind: OpIncrement, Type: TypeCounter, Name: []byte("counter"), Value: appendIncrement(nil, &run, number(t, "1.5"))},
		{Kind: OpIncrement, Type: TypeCounter, Name: []byte("unknown"), Value: appendIncrement(nil, &run, nil)},
		{Kind: OpSetPath, Type: TypeMap, Name: pathOf("map", "inner", "a"), Value: number(t, "1")},
		{Kind: OpSetPath, Type: TypeMap, Name: pathOf("map", "")},
		{Kind: OpRemovePath, Type: TypeMap, Name: pathOf("map", "b")},
		{Kind: OpObserve, Name: []byte("typed"), Value: appendObservation(nil, dot, &seen)},
	}
}

// What Sum holds is what apd says, exactly, in one form.
func TestSumsAreExact(t *testing.T) {
	numbers := rapid.SampledFrom([]string{"0", "1", "-1", "99999999999999999999999999999999999999", "-99999999999999999999999999999999999999e88", "1e125", "1e-130",
		"-1.2345678901234567890123456789012345678e-130", "0.1", "10", "-100"})
	rapid.Check(t, func(t *rapid.T) {
		var want, x apd.Decimal
		sum, other := Sum(nil), Sum(nil)
		for _, text := range rapid.SliceOfN(numbers, 0, 12).Draw(t, "numbers") {
			n, err := item.ParseNumber(text)
			if err != nil {
				t.Fatal(err)
			}
			n.Decimal(&x)
			sum = sum.plus(n)
			exactly.Add(&want, &want, &x)
			if rapid.Bool().Draw(t, "both") {
				other = other.plus(n)
			}
		}
		var got, less, rest apd.Decimal
		sum.decimal(&got)
		if got.Cmp(&want) != 0 {
			t.Fatalf("%s, want %s", &got, &want)
		}
		in := reader{b: appendBytes(nil, sum)}
		if again := in.sum(); in.kind != nil || string(again) != string(sum) {
			t.Fatalf("%x is read as %x: %s", sum, again, in.message)
		}
		sum.minus(other).decimal(&less)
		other.decimal(&rest)
		exactly.Add(&rest, &rest, &less)
		if rest.Cmp(&want) != 0 {
			t.Fatal("a difference is not one")
		}
		if err := item.CheckValue(appendShown(nil, &got)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSumsThatAreNone(t *testing.T) {
	for _, bad := range []Sum{{0}, {0x80, 0}, {2, 0, 1}, {2, 10}, {0xff, 0xff, 0x7f, 1}, append(Sum{2}, make([]byte, maxSumMagnitude+1)...)} {
		in := reader{b: appendBytes(nil, bad)}
		if in.sum(); in.kind != ErrCorrupt {
			t.Errorf("%x is a sum", bad)
		}
	}
}

// What a number cannot hold is shown as near as it can.
func TestShownNumbers(t *testing.T) {
	const nines = "99999999999999999999999999999999999999"
	for _, c := range []struct {
		add  []string
		want string
	}{
		{[]string{nines, "0.4"}, nines},
		{[]string{nines, "0.6"}, "100000000000000000000000000000000000000"},
		{[]string{"10000000000000000000000000000000000000", "0.5"}, "10000000000000000000000000000000000000"},
		{[]string{nines + "e88", nines + "e88"}, nines + strings.Repeat("0", 88)},
		{[]string{"-" + nines + "e88", "-1e125"}, "-" + nines + strings.Repeat("0", 88)},
		{[]string{"1.1e-130", "-1e-130"}, "0"},
	} {
		sum := Sum(nil)
		for _, text := range c.add {
			sum = sum.plus(number(t, text).Number())
		}
		var d apd.Decimal
		sum.decimal(&d)
		if got := item.Value(appendShown(nil, &d)).Number().String(); got != c.want {
			t.Errorf("%v shows as %s, want %s", c.add, got, c.want)
		}
	}
}

func TestCompletedOperationsAreNotIntents(t *testing.T) {
	for _, op := range loggedOps(t, stamp(goldenMillis, 1)) {
		if op.Kind == OpSetPath || op.Kind == OpRemovePath {
			continue // is the same in an intent
		}
		c := Change{Key: []byte("k"), Dot: stamp(goldenMillis, 1), Ops: []Op{op, {Kind: OpAddNumber, Type: TypeCounter, Name: []byte("n"), Value: number(t, "1")}}}
		if next, _, err := ApplyLocal([]byte("x"), nil, &c); !errors.Is(err, ErrCorrupt) || string(next) != "x" {
			t.Errorf("kind %d: %q, %v", op.Kind, next, err)
		}
	}
}

// Where nothing is to be completed the operations stay where they are.
func TestCompletionCostsNothingWithoutContributions(t *testing.T) {
	first, second := put(t, stamp(10, 1), nil, "a", "1"), set(t, stamp(20, 1), nil, "b", "2")
	rec, _, err := ApplyLocal(nil, nil, &first)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Change{&first, &second} {
		ops := c.Ops
		if n := testing.AllocsPerRun(10, func() { _, err = c.complete(rec) }); n != 0 || err != nil {
			t.Errorf("%v allocations, %v", n, err)
		}
		if &ops[0] != &c.Ops[0] || len(ops) != len(c.Ops) {
			t.Error("the operations are others")
		}
	}
}

// TestContributionTakesABidOver: an attribute was a maximum and is a counter, or a set, now: what is added is added to what it shows.
func TestContributionTakesABidOver(t *testing.T) {
	number := func(n int64) item.Value { return item.AppendInt(nil, n) }
	set := func(s string) item.Value {
		v, err := item.AppendSet(nil, item.SS, []item.Value{item.AppendString(nil, s)})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, c := range map[string]struct {
		bid  item.Value
		op   Op
		want string
	}{
		"counter":  {number(5), Op{Kind: OpAddNumber, Type: TypeCounter, Value: number(7)}, `{"a":{"N":"12"}}`},
		"set":      {set("x"), Op{Kind: OpAddElements, Type: TypeSet, Value: set("y")}, `{"a":{"SS":["x","y"]}}`},
		"deletion": {set("x"), Op{Kind: OpDeleteElements, Type: TypeSet, Value: set("x")}, `{}`},
	} {
		bid := Change{Key: []byte("k"), Dot: stamp(10, 1), Ops: []Op{{Kind: OpSetCell, Type: TypeMax, Name: []byte("a"), Value: c.bid}}}
		record, _, err := ApplyLocal(nil, nil, &bid)
		if err != nil {
			t.Fatal(err)
		}
		c.op.Name = []byte("a")
		change := Change{Key: []byte("k"), Dot: stamp(20, 2), Ops: []Op{c.op}}
		local, _, err := ApplyLocal(nil, record, &change)
		if err != nil {
			t.Fatal(err)
		}
		// A peer does what the log says, and comes to the same.
		remote, _, err := Apply(nil, record, &change)
		if err != nil || !bytes.Equal(local, remote) {
			t.Errorf("%s: here %x, there %x, %v", name, local, remote, err)
		}
		if it, live, err := ItemOf(local, nil); err != nil || !live || string(it.AppendJSON(nil)) != c.want {
			t.Errorf("%s: %s, %v", name, it.AppendJSON(nil), err)
		}
	}
}
