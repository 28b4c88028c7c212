package locality

import (
	"slices"

	"github.com/concordat-db/concordat/globaltable"
)

// Shifts calls f with pairs of policies, until it returns true, and reports whether it did: those of which the first may decide about an item by the policies before, and the second about the same item by those after; nil is none. It errs on
// the side of more pairs. Policies that are Released decide about nothing.
func Shifts(before, after []globaltable.Pin, f func(a, b *globaltable.Pin) bool) bool {
	for i := -1; i < len(before); i++ {
		for j := -1; j < len(after); j++ {
			a, b := at(before, i), at(after, j)
			if a != nil && a.Released || b != nil && b.Released || a != nil && b != nil && !a.Match.Overlaps(&b.Match) {
				continue
			}
			// All that b is about another policy before may have been about, which went before a. And the other way round.
			if beaten(before, a, b) || beaten(after, b, a) {
				continue
			}
			if f(a, b) {
				return true
			}
		}
	}
	return false
}

func at(pins []globaltable.Pin, i int) *globaltable.Pin {
	if i < 0 {
		return nil
	}
	return &pins[i]
}

// beaten reports whether a, of pins, decides about nothing that other matches: another one of pins matches all of that, and is more specific.
func beaten(pins []globaltable.Pin, a, other *globaltable.Pin) bool {
	return other != nil && slices.ContainsFunc(pins, func(p globaltable.Pin) bool {
		return !p.Released && p.Match.Covers(&other.Match) && (a == nil || p.Match.Rank().Compare(a.Match.Rank()) > 0)
	})
}

// Narrows reports whether some item that the policies before let be in the region of r may not be there by those after. It errs on that side.
func Narrows(before, after []globaltable.Pin, r *globaltable.Replica) bool {
	return Shifts(before, after, func(a, b *globaltable.Pin) bool { return (a == nil || a.Allows(r)) && b != nil && !b.Allows(r) })
}
