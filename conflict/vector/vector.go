// Package vector has version vectors: for each origin the greatest timestamp seen.
package vector

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// Vector maps origins to the greatest timestamp seen of each: entries sorted by origin, one for each, none zero.
// The zero value is the empty vector. A Vector is immutable: methods return new ones and may share memory.
type Vector []hlc.Stamp

// Get returns the entry of origin o, or zero.
func (v Vector) Get(o hlc.Origin) hlc.Timestamp {
	for _, e := range v {
		if e.Origin == o {
			return e.Time
		}
	}
	return 0
}

// Contains reports whether s is at or below v's entry of its origin.
func (v Vector) Contains(s hlc.Stamp) bool { return s.Time <= v.Get(s.Origin) }

// With returns v raised to hold s.
func (v Vector) With(s hlc.Stamp) Vector {
	if s.IsZero() || v.Contains(s) {
		return v
	}
	i, found := slices.BinarySearchFunc(v, s.Origin, func(e hlc.Stamp, o hlc.Origin) int { return int(e.Origin) - int(o) })
	if found {
		out := slices.Clone(v)
		out[i] = s
		return out
	}
	return slices.Insert(slices.Clone(v), i, s)
}

// Join returns the maximum per origin: the least upper bound.
func (v Vector) Join(w Vector) Vector {
	out := v
	for _, s := range w {
		out = out.With(s)
	}
	return out
}

// Above returns the entries of v above floor.
func (v Vector) Above(floor hlc.Timestamp) Vector {
	var out Vector
	for _, s := range v {
		if s.Time > floor {
			out = append(out, s)
		}
	}
	return out
}

// Without returns v without the entry of origin o.
func (v Vector) Without(o hlc.Origin) Vector {
	var out Vector
	for _, s := range v {
		if s.Origin != o {
			out = append(out, s)
		}
	}
	return out
}

// Equal reports whether both hold the same entries.
func (v Vector) Equal(w Vector) bool { return slices.Equal(v, w) }
