package conflict

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The short way gives what the long way gives.
func TestShortWayAgainstLongWay(t *testing.T) {
	short := 0
	rapid.Check(t, func(t *rapid.T) {
		rec := genRecord(t, "record")
		c := genChange(t)
		if rapid.IntRange(0, 3).Draw(t, "any") > 0 {
			c.Ops = []Op{{Kind: OpReset}}
			if rapid.Bool().Draw(t, "put") {
				c.Ops[0].Value = genItem(t)
			}
		}
		local := rapid.Bool().Draw(t, "local")
		if local {
			c.Floor = hlc.Timestamp(rapid.Uint64Range(0, 6).Draw(t, "purge frontier"))
			c.Context = c.Context.Above(c.Floor)
		}
		dst := []byte("before")
		got, gotResult, err := apply(dst, rec, &c, local)
		if err != nil {
			t.Fatal(err)
		}
		want, wantResult, err := applyDecoded(dst, rec, &c, local)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || gotResult != wantResult {
			t.Fatalf("short way %x %+v\nlong way  %x %+v", got, gotResult, want, wantResult)
		}
		if !bytes.HasPrefix(got, dst) {
			t.Fatal("what was before is gone")
		}
		if _, _, ok, _ := applyReset(nil, rec, &c, local); len(c.Ops) == 1 && c.Ops[0].Kind == OpReset && ok {
			short++
		}
	})
	if short == 0 {
		t.Fatal("no case took the short way")
	}
}

func stamp(at uint64, o hlc.Origin) hlc.Stamp { return hlc.Stamp{Time: hlc.Timestamp(at), Origin: o} }

func makeItem(t rapid.TB, pairs ...string) item.Item {
	t.Helper()
	var b item.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.Add([]byte(pairs[i]), item.AppendString(nil, pairs[i+1]))
	}
	it, err := b.AppendItem(nil)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func put(t testing.TB, at hlc.Stamp, context vector.Vector, pairs ...string) Change {
	return Change{Key: []byte("k"), Dot: at, Context: context, Ops: RecordPut(nil, makeItem(t, pairs...))}
}

func del(at hlc.Stamp, context vector.Vector) Change {
	return Change{Key: []byte("k"), Dot: at, Context: context, Ops: RecordDelete(nil)}
}

func set(t testing.TB, at hlc.Stamp, context vector.Vector, name, value string) Change {
	return Change{Key: []byte("k"), Dot: at, Context: context, Ops: []Op{
		{Kind: OpSetCell, Name: []byte(name), Value: item.AppendString(nil, value)}}}
}

// text returns the strings of an item, for example "a=1 b=2"; "-" if there is none.
func text(t testing.TB, rec []byte) string {
	t.Helper()
	it, live, err := ItemOf(rec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !live {
		return "-"
	}
	if err := item.CheckItem(it); err != nil {
		t.Fatal(err)
	}
	var out []byte
	it.Each(func(name []byte, v item.Value) bool {
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = append(append(append(out, name...), '='), v.Bytes()...)
		return true
	})
	return string(out)
}

func TestResults(t *testing.T) {
	first := put(t, stamp(10, 1), nil, "a", "1", "b", "2")
	seenFirst := vector.Vector{stamp(10, 1)}
	cases := []struct {
		name   string
		before []Change
		change Change
		want   Result
		item   string
	}{
		{"put on nothing", nil, first,
			Result{Class: Causal, Changed: true, LiveAfter: true}, "a=1 b=2"},
		{"delete of nothing", nil, del(stamp(10, 1), nil),
			Result{Class: Causal, Changed: true}, "-"},
		{"the same again", []Change{first}, first,
			Result{Class: Duplicate, LiveBefore: true, LiveAfter: true}, "a=1 b=2"},
		{"put over what was seen", []Change{first}, put(t, stamp(11, 2), seenFirst, "a", "3"),
			Result{Class: Causal, Changed: true, LiveBefore: true, LiveAfter: true}, "a=3"},
		{"put over what was not seen, later", []Change{first}, put(t, stamp(11, 2), nil, "a", "3"),
			Result{Class: Concurrent, Changed: true, LiveBefore: true, LiveAfter: true}, "a=3"},
		{"put over what was not seen, earlier", []Change{first}, put(t, stamp(9, 2), nil, "a", "3"),
			Result{Class: Concurrent, Changed: true, LiveBefore: true, LiveAfter: true, Lost: true}, "a=1 b=2"},
		{"late duplicate of what was overwritten", []Change{first, put(t, stamp(12, 1), nil, "c", "1")}, first,
			Result{Class: Duplicate, LiveBefore: true, LiveAfter: true, Lost: true}, "c=1"},
		{"same time, greater origin wins", []Change{first}, put(t, stamp(10, 2), nil, "z", "1"),
			Result{Class: Concurrent, Changed: true, LiveBefore: true, LiveAfter: true}, "z=1"},
		{"delete", []Change{first}, del(stamp(11, 1), nil),
			Result{Class: Causal, Changed: true, LiveBefore: true}, "-"},
		{"earlier put on a tombstone", []Change{del(stamp(11, 2), nil)}, first,
			Result{Class: Concurrent, Changed: true, Lost: true}, "-"},
		{"set of an attribute", []Change{first}, set(t, stamp(12, 2), seenFirst, "b", "9"),
			Result{Class: Causal, Changed: true, LiveBefore: true, LiveAfter: true}, "a=1 b=9"},
		{"earlier set of another attribute", []Change{first, set(t, stamp(12, 2), seenFirst, "b", "9")}, set(t, stamp(11, 1), nil, "a", "5"),
			Result{Class: Concurrent, Changed: true, LiveBefore: true, LiveAfter: true}, "a=5 b=9"},
		{"earlier set of the same attribute", []Change{first, set(t, stamp(12, 2), seenFirst, "b", "9")}, set(t, stamp(11, 1), nil, "b", "5"),
			Result{Class: Concurrent, Changed: true, LiveBefore: true, LiveAfter: true, Lost: true}, "a=1 b=9"},
		{"put between, later attributes stay", []Change{first, set(t, stamp(12, 2), seenFirst, "b", "9")}, put(t, stamp(11, 1), nil, "b", "7", "c", "7"),
			Result{Class: Concurrent, Changed: true, LiveBefore: true, LiveAfter: true, Lost: true}, "b=9 c=7"},
		{"delete between, later attribute stays", []Change{first, set(t, stamp(12, 2), seenFirst, "b", "9")}, del(stamp(11, 1), nil),
			Result{Class: Concurrent, Changed: true, LiveBefore: true, LiveAfter: true}, "b=9"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var rec []byte
			for i := range c.before {
				var err error
				if rec, _, err = Apply(nil, rec, &c.before[i]); err != nil {
					t.Fatal(err)
				}
			}
			next, r, err := Apply(nil, rec, &c.change)
			if err != nil {
				t.Fatal(err)
			}
			if r != c.want {
				t.Errorf("result %+v, want %+v", r, c.want)
			}
			if got := text(t, next); got != c.item {
				t.Errorf("item %q, want %q", got, c.item)
			}
			if r.Changed != !bytes.Equal(rec, next) {
				t.Error("Changed is wrong")
			}
		})
	}
}

func TestFloorCountsAsSeen(t *testing.T) {
	first := put(t, stamp(10, 1), nil, "a", "1")
	rec, _, err := Apply(nil, nil, &first)
	if err != nil {
		t.Fatal(err)
	}
	second := put(t, stamp(20, 2), nil, "a", "2")
	second.Floor = 10
	if _, r, err := Apply(nil, rec, &second); err != nil || r.Class != Causal {
		t.Fatalf("class %v (%v): what the floor covers was seen", r.Class, err)
	}
}

// A region that writes alone keeps nothing of its history; what others wrote goes at the purge frontier, at local writes only.
func TestLocalWritesSettle(t *testing.T) {
	const self = 1
	var rec []byte
	write := func(at, floor uint64) {
		t.Helper()
		context, err := ContextOf(rec, self, hlc.Timestamp(floor))
		if err != nil {
			t.Fatal(err)
		}
		c := put(t, stamp(at, self), context, "a", "1")
		c.Floor = hlc.Timestamp(floor)
		if rec, _, err = ApplyLocal(nil, rec, &c); err != nil {
			t.Fatal(err)
		}
	}
	vectorIs := func(want ...hlc.Stamp) {
		t.Helper()
		if v, err := VectorOf(rec); err != nil || !v.Equal(want) {
			t.Fatalf("vector %v (%v), want %v", v, err, want)
		}
	}
	overhead := len(makeItem(t, "a", "1")) + 12
	write(10, 5)
	write(20, 15)
	if len(rec) != overhead {
		t.Fatalf("a record of one writer has %d bytes, want %d", len(rec), overhead)
	}
	theirs := put(t, stamp(30, 2), vector.Vector{stamp(20, self)}, "a", "2")
	rec, _, err := Apply(nil, rec, &theirs)
	if err != nil {
		t.Fatal(err)
	}
	vectorIs(stamp(20, self), stamp(30, 2))
	write(40, 25)
	vectorIs(stamp(40, self), stamp(30, 2))
	write(50, 30)
	vectorIs(stamp(50, self))
	if len(rec) != overhead {
		t.Fatalf("a settled record has %d bytes, want %d", len(rec), overhead)
	}
}

// Context and floor of a write stay until both are at or below the frontier.
func TestWriteSettles(t *testing.T) {
	const p = 10
	at := stamp(20, 1)
	cases := []struct {
		write Write
		stays bool
	}{
		{Write{Stamp: at, Floor: p}, false},
		{Write{Stamp: at, Floor: p + 1}, true},
		{Write{Stamp: at, Floor: p - 1, Context: vector.Vector{stamp(p, 2)}}, false},
		{Write{Stamp: at, Floor: p - 1, Context: vector.Vector{stamp(p, 2), stamp(p+1, 3)}}, true},
	}
	for _, c := range cases {
		want := Write{Stamp: at}
		if c.stays {
			want = c.write
		}
		if got := c.write.settle(p); compareWrites(&got, &want) != 0 {
			t.Errorf("%+v settles to %+v, want %+v", c.write, got, want)
		}
	}
}

func TestUnsupportedIsNotSkipped(t *testing.T) {
	number := item.AppendInt(nil, 1)
	for _, op := range []Op{
		{Kind: OpAddNumber, Type: TypeCounter, Name: []byte("a"), Value: number},
		{Kind: OpSetCell, Type: TypeMap, Name: []byte("a"), Value: number},
		{Kind: OpRemoveCell, Type: TypeMax, Name: []byte("a")},
	} {
		c := Change{Key: []byte("k"), Dot: stamp(1, 1), Ops: []Op{op}}
		if err := c.Check(); err != nil {
			t.Errorf("kind %d: a sound change is refused: %v", op.Kind, err)
		}
		if _, err := c.Delta(); !errors.Is(err, ErrUnsupported) {
			t.Errorf("kind %d: delta: %v, want ErrUnsupported", op.Kind, err)
		}
		if next, _, err := Apply([]byte("x"), nil, &c); !errors.Is(err, ErrUnsupported) || string(next) != "x" {
			t.Errorf("kind %d: apply: %q %v, want ErrUnsupported and nothing appended", op.Kind, next, err)
		}
	}
}

func TestApplyKeepsItsInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec, c := genRecord(t, "record"), genChange(t)
		recBefore, cBefore := bytes.Clone(rec), c.Append(nil)
		next := mustApply(t, rec, &c)
		clear(next)
		if !bytes.Equal(rec, recBefore) || !bytes.Equal(c.Append(nil), cBefore) {
			t.Fatal("the input changed, or shares memory with the outcome")
		}
	})
}

func TestContextOfAgainstVector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := genChanges(t, "changes")
		rec := applied(t, changes)
		self := hlc.Origin(rapid.Uint16Range(1, 3).Draw(t, "self"))
		floor := hlc.Timestamp(rapid.Uint64Range(0, 9).Draw(t, "floor"))
		got, err := ContextOf(rec, self, floor)
		if err != nil {
			t.Fatal(err)
		}
		for o, at := range refFold(changes).seen {
			want := at
			if o == self || at <= floor {
				want = 0
			}
			if got.Get(o) != want {
				t.Fatalf("context of %d is %d, want %d", o, got.Get(o), want)
			}
		}
	})
}

func TestModes(t *testing.T) {
	for _, m := range []Mode{LWW, Attribute, Vector} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("mode %s parses to %s (%v)", m, got, err)
		}
	}
	if m, err := ParseMode(""); err != nil || m != LWW {
		t.Errorf("no mode is %s (%v), want lww", m, err)
	}
	if _, err := ParseMode("LWW"); err == nil {
		t.Error("an unknown mode parses")
	}
	after := makeItem(t, "a", "1", "b", "2")
	cells := []Op{{Kind: OpSetCell, Name: []byte("b"), Value: item.AppendString(nil, "2")}}
	if ops := LWW.RecordUpdate(nil, after, cells); len(ops) != 1 || ops[0].Kind != OpReset || !bytes.Equal(ops[0].Value, after) {
		t.Errorf("lww records an update as %v", ops)
	}
	if ops := Attribute.RecordUpdate(nil, after, cells); len(ops) != 1 || ops[0].Kind != OpSetCell {
		t.Errorf("attribute records an update as %v", ops)
	}
}
