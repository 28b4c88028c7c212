package check

import (
	"cmp"
	"fmt"
	"slices"
)

// Kept is something of an item that a region keeps.
type Kept struct {
	Key   Key
	Where string // in what: a record, a log, a stream, …
}

// Given is something of an item that a region gave to another one, or would give it at any time that it asks.
type Given struct {
	Kept
	To uint16
}

// Residency checks the first half of I18 for one region: it keeps nothing of an item that may not be there. may reports whether the items of a key may be in the region, under what it has promised.
func Residency(region uint16, kept []Kept, may func(Key) bool) []Violation {
	var out []Violation
	for _, k := range distinct(kept, compareKept) {
		if !may(k.Key) {
			out = append(out, violation("I18", region, "keeps something of %s in %s, and has told that it does not", k.Key, k.Where))
		}
	}
	return out
}

// Sending checks the second half of I18 for one region: it gives nobody anything of an item that may not be there. may reports whether the items of a key may be in another region, under what this one has promised.
func Sending(region uint16, given []Given, may func(to uint16, k Key) bool) []Violation {
	var out []Violation
	for _, g := range distinct(given, func(a, b Given) int { return cmp.Or(cmp.Compare(a.To, b.To), compareKept(a.Kept, b.Kept)) }) {
		if !may(g.To, g.Key) {
			out = append(out, Violation{Invariant: "I18", Region: region, Detail: fmt.Sprintf("gives region %d something of %s in %s, and has told that it does not", g.To, g.Key, g.Where)})
		}
	}
	return out
}

func compareKept(a, b Kept) int { return cmp.Or(a.Key.compare(b.Key), cmp.Compare(a.Where, b.Where)) }

// distinct returns each of all once, in order: findings come in the same order every time.
func distinct[T comparable](all []T, compare func(a, b T) int) []T {
	out := slices.Clone(all)
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}
