package conflict

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// collected is the record after Collect, whatever Collect said.
func collected(t rapid.TB, rec []byte, p hlc.Timestamp) []byte {
	t.Helper()
	next, gone, changed, err := Collect([]byte("before"), rec, p)
	switch {
	case err != nil:
		t.Fatalf("collect: %v", err)
	case gone && changed, !changed && len(next) != len("before"):
		t.Fatalf("collect: gone %v, changed %v, %d bytes", gone, changed, len(next))
	case gone:
		return nil
	case !changed:
		return rec
	}
	return next[len("before"):]
}

func canonicalOf(t rapid.TB, rec []byte) []byte {
	t.Helper()
	out, err := AppendCanonical(nil, rec)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func genFrontier(t *rapid.T) hlc.Timestamp {
	return hlc.Timestamp(rapid.Uint64Range(0, 10).Draw(t, "purge frontier"))
}

// refCollect says what PROTOCOL.md section 1 says, of a decoded record: false when nothing is left.
func refCollect(r Record, p hlc.Timestamp) (Record, bool) {
	var left []Cell
	base := map[string]Cell{}
	for _, c := range r.Cells {
		if !c.Removed || c.Stamp.Time > p {
			left = append(left, c)
		}
		if !c.Removed {
			base[string(c.Name)] = c
		}
	}
	var nested []Cell
	for _, c := range r.Nested {
		if !c.Removed || c.Stamp.Time > p {
			nested = append(nested, c)
		}
		if name, _, _ := SplitPath(c.Name); isPresence(c.Name) && !c.Removed && depth(c.Name) == 2 {
			base[string(name)] = Cell{Write: c.Write, Value: emptyMap} // its value does not matter, but that it is no set
		}
	}
	var typed []Typed
	for _, t := range r.Typed {
		b, live := base[string(t.Name)]
		if t = refCollectTyped(t, b, live, p); len(t.Runs)+len(t.Observed)+len(t.Elements)+len(t.Bids)+len(t.Outbid) > 0 {
			typed = append(typed, t)
		}
	}
	r.Cells, r.Nested, r.Typed = left, nested, typed
	r.wholeAgain()
	return r, len(left)+len(nested)+len(typed) > 0 || r.Reset.Stamp.Time > p
}

func refCollectTyped(t Typed, base Cell, live bool, p hlc.Timestamp) Typed {
	out := Typed{Name: t.Name}
	runs, obs := map[hlc.Origin]Run{}, map[hlc.Origin]Observation{}
	for _, r := range t.Runs {
		runs[r.Last.Origin] = r
	}
	for _, o := range t.Observed {
		obs[o.Last.Origin] = o
	}
	for _, r := range t.Runs {
		o, seen := obs[r.Last.Origin]
		if whole := seen && (o.First > r.First || o.First == r.First && o.Last.Time >= r.Last.Time); !whole || o.By.Time > p {
			out.Runs = append(out.Runs, r)
		}
	}
	for _, o := range t.Observed {
		r, there := runs[o.Last.Origin]
		part := there && o.First == r.First && o.Last.Time < r.Last.Time
		if part || o.By.Time > p {
			out.Observed = append(out.Observed, o)
		}
	}
	in := func(dots []Observed, o hlc.Origin) (d Observed, ok bool) {
		for _, d := range dots {
			if d.Dot.Origin == o {
				return d, true
			}
		}
		return d, false
	}
	for _, e := range t.Elements {
		left := Element{Value: e.Value}
		for _, a := range e.Adds {
			if d, ok := in(e.Removals, a.Origin); !ok || a.Time > d.Dot.Time || d.By.Time > p {
				left.Adds = append(left.Adds, a)
			}
		}
		for _, d := range e.Removals {
			hides := live && base.Value.Type().IsSet() && base.Value.Has(e.Value) && d.Dot.Origin == base.Stamp.Origin && d.Dot.Time >= base.Stamp.Time
			if hides || d.By.Time > p {
				left.Removals = append(left.Removals, d)
			}
		}
		if len(left.Adds)+len(left.Removals) > 0 {
			out.Elements = append(out.Elements, left)
		}
	}
	for _, b := range t.Bids {
		if d, ok := in(t.Outbid, b.Dot.Origin); !ok || b.Dot.Time > d.Dot.Time || d.By.Time > p {
			out.Bids = append(out.Bids, b)
		}
	}
	for _, d := range t.Outbid {
		if live && d.Dot.Origin == base.Stamp.Origin && d.Dot.Time >= base.Stamp.Time || d.By.Time > p {
			out.Outbid = append(out.Outbid, d)
		}
	}
	return out
}

func TestCollectIsItsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec, p := genRecord(t, "record"), genFrontier(t)
		got := collected(t, rec, p)
		want, some := refCollect(mustDecode(t, rec), p)
		if gone, err := Collectable(rec, p); err != nil || gone == (some || len(rec) == 0) {
			t.Fatalf("at %d all of it goes: %v, %v; something stays: %v", p, gone, err, some)
		}
		var encoded []byte
		if some {
			encoded = AppendRecord(nil, &want)
		}
		if !bytes.Equal(got, encoded) {
			t.Fatalf("collected at %d:\n%x\n%x", p, got, encoded)
		}
		if err := CheckRecord(got); err != nil {
			t.Fatal(err)
		}
		if again := collected(t, got, p); !bytes.Equal(again, got) {
			t.Fatal("collecting twice is not collecting once")
		}
	})
}

// Garbage names the first frontier at which Collect does something, and no record is forgotten.
func TestGarbageIsWhereCollectBegins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := genRecord(t, "record")
		at, ok, err := Garbage(rec)
		if err != nil {
			t.Fatal(err)
		}
		for p := hlc.Timestamp(0); p < 12; p++ {
			does := !bytes.Equal(collected(t, rec, p), rec)
			if !does && ok && p == at {
				t.Fatalf("Garbage says %d, and nothing goes there", at)
			}
			if does && (!ok || p < at) {
				t.Fatalf("Garbage says %d, %v, and something goes at %d", at, ok, p)
			}
		}
	})
}

// The law: when all that is at or below the frontier has been merged, replicas may collect when they like. What comes later leads all of them to the same logical state.
func TestCollectKeepsLogicalState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := genFrontier(t)
		var old, young []Change
		for _, c := range genPlainChanges(t, "changes") {
			if c.Dot.Time <= p {
				old = append(old, c)
			} else {
				young = append(young, c)
			}
		}
		base := applied(t, old)
		want := canonicalOf(t, applied(t, append(old[:len(old):len(old)], young...)))
		if got := canonicalOf(t, collected(t, base, p)); !bytes.Equal(got, canonicalOf(t, base)) {
			t.Fatalf("canonical bytes\n%x\n%x", got, canonicalOf(t, base))
		}
		var replicas [2][]byte
		for i := range replicas {
			replicas[i] = base
			for _, c := range shuffled(t, young, "order") {
				if rapid.Bool().Draw(t, "collect") {
					replicas[i] = collected(t, replicas[i], hlc.Timestamp(rapid.Uint64Range(0, uint64(p)).Draw(t, "at")))
				}
				if rapid.IntRange(0, 3).Draw(t, "arrives") > 0 {
					replicas[i] = mustApply(t, replicas[i], &c)
				}
			}
		}
		both := mustJoin(t, replicas[0], replicas[1])
		for _, c := range young {
			both = mustApply(t, both, &c)
		}
		if got := canonicalOf(t, both); !bytes.Equal(got, want) {
			t.Fatalf("canonical bytes\n%x\n%x", got, want)
		}
	})
}

func TestCollect(t *testing.T) {
	put := Change{Dot: stamp(10, 1), Ops: RecordPut(nil, makeItem(t, "a", "x", "b", "y"))}
	removal := Change{Dot: stamp(20, 2), Context: nil, Ops: []Op{{Kind: OpRemoveCell, Name: []byte("a")}}}
	tombstone := Change{Dot: stamp(30, 1), Ops: RecordDelete(nil)}
	record := func(cs ...*Change) []byte {
		rec, err := applyAll(nil, cs...)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	for _, c := range []struct {
		name string
		rec  []byte
		at   hlc.Timestamp // zero: never
		gone bool          // then
	}{
		{"never written", nil, 0, false},
		{"live", record(&put), 0, false},
		{"a removed attribute", record(&put, &removal), 20, false},
		{"deleted", record(&put, &removal, &tombstone), 30, true},
		{"deleted, never seen alive", record(&tombstone), 30, true},
	} {
		at, ok, err := Garbage(c.rec)
		if err != nil || ok != (c.at != 0) || at != c.at {
			t.Errorf("%s: %d, %v, %v; want %d", c.name, at, ok, err, c.at)
		}
		if got := collected(t, c.rec, c.at-1); c.at > 0 && !bytes.Equal(got, c.rec) {
			t.Errorf("%s: collected too early", c.name)
		}
		if got := collected(t, c.rec, 1<<62); (got == nil) != (c.gone || c.rec == nil) {
			t.Errorf("%s: left is %x", c.name, got)
		}
	}
	for _, bad := range [][]byte{{9}, {recordVersion}, {recordVersion, recordGeneral, 1}} {
		if _, _, err := Garbage(bad); err == nil {
			t.Errorf("Garbage of %x has no error", bad)
		}
		if _, _, _, err := Collect(nil, bad, 1); err == nil {
			t.Errorf("Collect of %x has no error", bad)
		}
	}
}

func BenchmarkGarbage(b *testing.B) {
	ops := RecordPut(nil, kilobyte(b))
	live, err := applyAll(nil, &Change{Dot: stamp(10, 1), Ops: ops})
	if err != nil {
		b.Fatal(err)
	}
	general, err := applyAll(live, &Change{Dot: stamp(20, 2), Ops: []Op{{Kind: OpRemoveCell, Name: []byte("zone")}}})
	if err != nil {
		b.Fatal(err)
	}
	for name, rec := range map[string][]byte{"uniform": live, "general": general} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Garbage(rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
