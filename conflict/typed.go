package conflict

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Typed is what an attribute has beside its cell: contributions, and what writes have seen of them. Each list has at most one entry for an
// origin (elements: for a value), and is sorted by it.
//
// # Contributions
//
// Two regions that add to one number do not contradict each other, and no stamp should decide between them. So an increment, an element, a bid is
// not a value that is written over another: it lies beside it, under its dot, and goes only when a write goes that had *seen* it. A write observes
// what its region's record shows at that moment and nothing else, whether or not the write itself wins anywhere; what it had not seen stays, over a concurrent delete too.
//
//   - A counter is its cell and, of each origin, a run: the increments of a time in which nobody had observed all of them, as one exact sum. Two
//     states of a run are of one origin, which extends it one by one, so the later one has all of the earlier, and the merge keeps the later; it never adds. An observation is a
//     state of the run that some write had seen: what the run has beyond it counts.
//   - A set is its cell and, of each element, the greatest dot that added it from each origin, and the dots that a removal had seen.
//   - A maximum (or minimum) is its cell and, of each origin, the latest bid. A bid observes all others that its writer saw, so it replaces them as in DynamoDB; of those that
//     did not know of each other the greatest shows.
//
// All are maxima under total orders, kept apart by origin, so that joining them is commutative, associative and idempotent without more ado. Nothing here is dropped by a
// reset: a reset observes, in its own change.
//
// # What was rejected
//
// A counter as two sums per origin, increments and decrements, that only grow: it cannot be set. Observations as a vector per attribute: elements would go that their remover had not seen, once a record was
// merged without all of what came before. Dropping a run at once when it is observed: a late copy of it would count again.
type Typed struct {
	Name     []byte
	Runs     []Run
	Observed []Observation // of runs
	Elements []Element
	Bids     []Bid
	Outbid   []Observed // dots of bids and of the cell that a write had seen
}

// Run is what one origin has added to a counter since it was last observed whole.
type Run struct {
	Last  hlc.Stamp     // dot of its latest increment
	First hlc.Timestamp // of its first; its identity
	Sum   Sum
}

// Observation is a state of a run that a write had seen.
type Observation struct {
	Run
	By hlc.Stamp // the write
}

// Observed is a dot that a write had seen, and with it all earlier ones of its origin on the same thing.
type Observed struct {
	Dot, By hlc.Stamp
}

// Element is an element of a set.
type Element struct {
	Value    item.Value // S, N or B
	Adds     vector.Vector
	Removals []Observed // of adds, and of a cell whose value has the element
}

// Bid is a value that competes with others for the greatest or the least.
type Bid struct {
	Dot   hlc.Stamp
	Min   bool // the least; else the greatest
	Value item.Value
}

func (t *Typed) isEmpty() bool {
	return len(t.Runs)+len(t.Observed)+len(t.Elements)+len(t.Bids)+len(t.Outbid) == 0
}

func (r *Run) compare(o *Run) int {
	if c := cmp.Compare(r.First, o.First); c != 0 {
		return c
	}
	return r.Last.Compare(o.Last)
}

func compareRuns(a, b *Run) int {
	if c := a.compare(b); c != 0 {
		return c
	}
	return bytes.Compare(a.Sum, b.Sum)
}

func compareObservations(a, b *Observation) int {
	if c := a.Run.compare(&b.Run); c != 0 {
		return c
	}
	if c := a.By.Compare(b.By); c != 0 {
		return c
	}
	return bytes.Compare(a.Sum, b.Sum)
}

func compareObserved(a, b *Observed) int {
	if c := a.Dot.Compare(b.Dot); c != 0 {
		return c
	}
	return a.By.Compare(b.By)
}

func compareBids(a, b *Bid) int {
	if c := a.Dot.Compare(b.Dot); c != 0 {
		return c
	}
	if a.Min != b.Min {
		if a.Min {
			return 1
		}
		return -1
	}
	return bytes.Compare(a.Value, b.Value)
}

// The keys by which the lists are sorted.
func (r *Run) key(o *Run) int           { return cmp.Compare(r.Last.Origin, o.Last.Origin) }
func (b *Bid) key(o *Bid) int           { return cmp.Compare(b.Dot.Origin, o.Dot.Origin) }
func (s *Observed) key(o *Observed) int { return cmp.Compare(s.Dot.Origin, o.Dot.Origin) }
func (e *Element) key(o *Element) int   { return bytes.Compare(e.Value, o.Value) }
func (t *Typed) key(o *Typed) int       { return bytes.Compare(t.Name, o.Name) }

func (s *Observation) key(o *Observation) int { return s.Run.key(&o.Run) }

// joinLists merges two sorted lists: entries of one key become what both makes of them. The result may be one of the lists.
func joinLists[T any](a, b []T, key func(x, y *T) int, both func(x, y *T) T) []T {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]T, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := key(&a[0], &b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, both(&a[0], &b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// greater returns a function for joinLists that keeps the greater entry.
func greater[T any](compare func(a, b *T) int) func(x, y *T) T {
	return func(x, y *T) T {
		if compare(x, y) < 0 {
			return *y
		}
		return *x
	}
}

func joinTyped(a, b []Typed) []Typed { return joinLists(a, b, (*Typed).key, joinAttribute) }

func joinAttribute(x, y *Typed) Typed {
	runs := greater(compareRuns)
	if plantedRuns {
		runs = func(x, y *Run) Run {
			joined := greater(compareRuns)(x, y)
			if x.First == y.First && x.Last != y.Last {
				joined.Sum = x.Sum.minus(Sum(nil).minus(y.Sum))
			}
			return joined
		}
	}
	return Typed{
		Name:     x.Name,
		Runs:     joinLists(x.Runs, y.Runs, (*Run).key, runs),
		Observed: joinLists(x.Observed, y.Observed, (*Observation).key, greater(compareObservations)),
		Elements: joinLists(x.Elements, y.Elements, (*Element).key, joinElement),
		Bids:     joinLists(x.Bids, y.Bids, (*Bid).key, greater(compareBids)),
		Outbid:   joinLists(x.Outbid, y.Outbid, (*Observed).key, greater(compareObserved)),
	}
}

func joinElement(x, y *Element) Element {
	return Element{
		Value:    x.Value,
		Adds:     x.Adds.Join(y.Adds),
		Removals: joinLists(x.Removals, y.Removals, (*Observed).key, greater(compareObserved)),
	}
}

// findTyped returns the index of the attribute with the name given, or where it belongs.
func (r *Record) findTyped(name []byte) (int, bool) {
	return slices.BinarySearchFunc(r.Typed, name, func(t Typed, n []byte) int { return bytes.Compare(t.Name, n) })
}

// typed returns what there is of an attribute beside its cell; nil if nothing is.
func (r *Record) typed(name []byte) *Typed {
	if i, found := r.findTyped(name); found {
		return &r.Typed[i]
	}
	return nil
}

// add joins what an operation did to an attribute into r.
func (r *Record) add(t Typed) { r.Typed = joinTyped(r.Typed, []Typed{t}) }

// observationOf returns the observation of a run of origin o.
func (t *Typed) observationOf(o hlc.Origin) *Observation {
	for i := range t.Observed {
		if t.Observed[i].Last.Origin == o {
			return &t.Observed[i]
		}
	}
	return nil
}

// remainder returns what of run i counts. counts is false when all of it was observed.
func (t *Typed) remainder(i int) (left Sum, counts bool) {
	run := &t.Runs[i]
	obs := t.observationOf(run.Last.Origin)
	switch {
	case obs == nil || obs.First < run.First:
		return run.Sum, true
	case obs.First > run.First || obs.Last.Time >= run.Last.Time:
		return nil, false
	}
	return run.Sum.minus(obs.Sum), true
}

// dotOf returns the greatest dot of origin o that a write had seen; zero if none had.
func dotOf(seen []Observed, o hlc.Origin) hlc.Timestamp {
	for i := range seen {
		if seen[i].Dot.Origin == o {
			return seen[i].Dot.Time
		}
	}
	return 0
}

// sortElements sorts the elements, which are distinct.
func (t *Typed) sortElements() {
	slices.SortFunc(t.Elements, func(a, b Element) int { return a.key(&b) })
}

// live calls f with the dots that add the element and were not removed, until it returns false.
func (e *Element) live(f func(dot hlc.Stamp) bool) {
	for _, dot := range e.Adds {
		if plantedRemove && slices.ContainsFunc(e.Removals, func(o Observed) bool { return dot.Less(o.By) }) {
			continue
		}
		if dot.Time > dotOf(e.Removals, dot.Origin) && !f(dot) {
			return
		}
	}
}

// isLive reports whether no write had seen the bid.
func (b *Bid) isLive(t *Typed) bool {
	return plantedBid || b.Dot.Time > dotOf(t.Outbid, b.Dot.Origin)
}

// dots calls f with the dots of live contributions until it returns false: of runs the last.
func (t *Typed) dots(f func(dot hlc.Stamp) bool) {
	for i := range t.Runs {
		if _, counts := t.remainder(i); counts && !f(t.Runs[i].Last) {
			return
		}
	}
	for i := range t.Elements {
		more := true
		t.Elements[i].live(func(dot hlc.Stamp) bool { more = f(dot); return more })
		if !more {
			return
		}
	}
	for i := range t.Bids {
		if t.Bids[i].isLive(t) && !f(t.Bids[i].Dot) {
			return
		}
	}
}

// anyLive reports whether an attribute has a contribution that no write had seen.
func anyLive(typed []Typed) (live bool) {
	for i := range typed {
		typed[i].dots(func(hlc.Stamp) bool { live = true; return false })
		if live {
			return true
		}
	}
	return false
}

// writes calls f with the dot of every write that has left something in t: contributions, seen or not, and what it had seen.
func (t *Typed) writes(f func(dot hlc.Stamp)) {
	for i := range t.Runs {
		f(t.Runs[i].Last)
	}
	for i := range t.Elements {
		for _, dot := range t.Elements[i].Adds {
			f(dot)
		}
	}
	for i := range t.Bids {
		f(t.Bids[i].Dot)
	}
	t.observers(f)
}

// observers calls f with the dot of every write of which t says what it had seen.
func (t *Typed) observers(f func(by hlc.Stamp)) {
	for i := range t.Observed {
		f(t.Observed[i].By)
	}
	for i := range t.Elements {
		for j := range t.Elements[i].Removals {
			f(t.Elements[i].Removals[j].By)
		}
	}
	for i := range t.Outbid {
		f(t.Outbid[i].By)
	}
}
