package check

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Fold joins a write into a record: the dumb reference that conflict's merge is compared with. It is written from PROTOCOL.md section 1
// rules 1 to 4, for puts, deletes and updates.
func Fold(r Record, w Write) Record {
	out := Record{Reset: r.Reset, Cells: maps.Clone(r.Cells)}
	if out.Cells == nil {
		out.Cells = map[string]Cell{}
	}
	if w.Kind != Update && w.Stamp.Compare(out.Reset) > 0 {
		out.Reset = w.Stamp
	}
	if w.Kind != Delete {
		out.join("", Cell{Stamp: w.Stamp})
	}
	for name, value := range w.Set {
		out.join(name, Cell{Stamp: w.Stamp, Value: value, Due: w.due(name)})
	}
	for _, name := range w.Remove {
		out.join(name, Cell{Stamp: w.Stamp, Removed: true})
	}
	maps.DeleteFunc(out.Cells, func(_ string, c Cell) bool { return c.Stamp.Compare(out.Reset) < 0 })
	return out
}

func (r *Record) join(name string, c Cell) {
	if old, there := r.Cells[name]; !there || c.Stamp.Compare(old.Stamp) > 0 {
		r.Cells[name] = c
	}
}

// Equal reports whether both are the same state.
func (r Record) Equal(o Record) bool {
	return r.Reset == o.Reset && maps.EqualFunc(visible(r.Cells), visible(o.Cells), func(a, b Cell) bool { return a == b })
}

// visible is the cells without the values of presence, and without what follows from the values.
func visible(cells map[string]Cell) map[string]Cell {
	out := maps.Clone(cells)
	for name, c := range out {
		if c.Due = 0; name == "" {
			c.Value = ""
		}
		out[name] = c
	}
	return out
}

// accepted is the writes that took place.
func accepted(history []Operation) []Write {
	var out []Write
	for _, op := range history {
		if op.Outcome == Failed {
			continue
		}
		for _, w := range op.Writes {
			if !w.Stamp.IsZero() {
				out = append(out, w)
			}
		}
	}
	return out
}

// orders is how many random orders the reference folds a history in.
const orders = 3

// Reference checks I4: all accepted writes, folded by the reference merge in three random orders with duplicates, give one state,
// and every region that may hold a table holds just this state of it, but for what was collected, and for what has expired: at rest that is collected, too. doubtful, if not nil, reports which writes may be there or not: what a region wrote that
// nobody heard any more, or whose store was lost. Then the state is that of all others and some of them.
func Reference(history []Operation, replicas []Replica, members Members, purged Frontiers, doubtful func(Write) bool, rng *rand.Rand) []Violation {
	var writes []Write
	perhaps := map[Key][]Write{}
	for _, w := range accepted(history) {
		if doubtful != nil && doubtful(w) {
			perhaps[w.Key] = append(perhaps[w.Key], w)
		} else {
			writes = append(writes, w)
		}
	}
	var out []Violation
	var want map[Key]Record
	for n := range orders {
		got := map[Key]Record{}
		for _, i := range shuffledTwice(len(writes), rng) {
			got[writes[i].Key] = Fold(got[writes[i].Key], writes[i])
		}
		if n == 0 {
			want = got
			continue
		}
		for _, k := range sortedKeys(want, got) {
			if !want[k].Equal(got[k]) {
				out = append(out, violation("I4", 0, "the reference itself depends on the order at %s: %v and %v", k, want[k], got[k]))
			}
		}
	}
	byKey := map[Key][]Write{}
	for _, w := range writes {
		byKey[w.Key] = append(byKey[w.Key], w)
	}
	for _, rep := range replicas {
		for _, k := range sortedKeys(want, rep.Records) {
			held, purge := rep.Records[k], purged[k.Table]
			folded, known, may := want[k], byKey[k], perhaps[k]
			if !slices.Contains(members(k), rep.Region) {
				folded, known, may = Record{}, nil, nil
			}
			if !withSome(folded, known, may, held, purge) {
				out = append(out, violation("I4", rep.Region, "%s is %v, the reference says %v", k, held, lived(folded, known, purge)))
			}
		}
	}
	return out
}

// maxDoubtful bounds the doubtful writes of a key of which all choices are tried. A key with more is not judged here; that all regions hold the same of it is.
const maxDoubtful = 12

// withSome reports whether held is what lives of r, which is the known writes folded, with some of the others.
func withSome(r Record, known, may []Write, held Record, purge uint64) bool {
	if len(may) > maxDoubtful {
		return true
	}
	for choice := range 1 << len(may) {
		with, all := r, slices.Clip(known)
		for i, w := range may {
			if choice>>i&1 == 1 {
				with, all = Fold(with, w), append(all, w)
			}
		}
		if lived(with, all, purge).sameBelow(held, purge) {
			return true
		}
	}
	return false
}

// shuffledTwice returns the numbers below n in random order, about a third of them twice.
func shuffledTwice(n int, rng *rand.Rand) []int {
	var order []int
	for i := range n {
		order = append(order, i)
		if rng.IntN(3) == 0 {
			order = append(order, i)
		}
	}
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}
