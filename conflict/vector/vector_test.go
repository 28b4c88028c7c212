package vector

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// reference is a vector as a map: slow and obvious.
type reference map[hlc.Origin]hlc.Timestamp

func (r reference) add(s hlc.Stamp) {
	if s.Time > r[s.Origin] {
		r[s.Origin] = s.Time
	}
}

func (r reference) vector() Vector {
	var v Vector
	for _, o := range slices.Sorted(maps.Keys(r)) {
		v = append(v, hlc.Stamp{Time: r[o], Origin: o})
	}
	return v
}

func entries(t *rapid.T, label string) []hlc.Stamp {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) hlc.Stamp {
		return hlc.Stamp{
			Time:   hlc.Timestamp(rapid.Uint64Range(0, 9).Draw(t, "time")),
			Origin: hlc.Origin(rapid.Uint16Range(1, 5).Draw(t, "origin")),
		}
	}), 0, 8).Draw(t, label)
}

func of(stamps []hlc.Stamp) (Vector, reference) {
	var v Vector
	r := reference{}
	for _, s := range stamps {
		v = v.With(s)
		r.add(s)
	}
	return v, r
}

func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := entries(t, "a"), entries(t, "b")
		v, rv := of(a)
		w, rw := of(b)
		before := slices.Clone(v)
		if !v.Equal(rv.vector()) {
			t.Fatalf("with: %v, want %v", v, rv.vector())
		}
		joined := maps.Clone(rv)
		for _, s := range b {
			joined.add(s)
		}
		if got := v.Join(w); !got.Equal(joined.vector()) {
			t.Fatalf("join: %v, want %v", got, joined.vector())
		}
		floor := hlc.Timestamp(rapid.Uint64Range(0, 9).Draw(t, "floor"))
		above := maps.Clone(rv)
		maps.DeleteFunc(above, func(_ hlc.Origin, at hlc.Timestamp) bool { return at <= floor })
		if got := v.Above(floor); !got.Equal(above.vector()) {
			t.Fatalf("above %d: %v, want %v", floor, got, above.vector())
		}
		without := maps.Clone(rv)
		delete(without, 3)
		if got := v.Without(3); !got.Equal(without.vector()) {
			t.Fatalf("without: %v, want %v", got, without.vector())
		}
		for _, s := range b {
			if v.Contains(s) != (s.Time <= rv[s.Origin]) || v.Get(s.Origin) != rv[s.Origin] {
				t.Fatalf("%v in %v: %t", s, v, v.Contains(s))
			}
		}
		if !slices.Equal(v, before) || !w.Equal(rw.vector()) {
			t.Fatal("a method changed its operands")
		}
	})
}
