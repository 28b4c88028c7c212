package check

import "slices"

// maxChoices bounds the choices of which writes there are that are tried. A key with more is not judged.
const maxChoices = 1 << maxDoubtful

// takenAgain returns what w had seen of attributes that a later write of its region writes whole.
func takenAgain(w Write, writes []Write) map[string]Seen {
	out := map[string]Seen{}
	for name, seen := range w.typed().Seen {
		if slices.ContainsFunc(writes, func(o Write) bool {
			return o.Stamp.Origin == w.Stamp.Origin && o.Stamp.Compare(w.Stamp) > 0 && (o.Kind != Update || slices.ContainsFunc(o.typed().Effects, func(e Effect) bool {
				return e.Path[0] == name && len(e.Path) == 1 && e.Kind <= RemoveWhole || e.Path[0] == name && e.Kind == Bid
			}))
		}) {
			out[name] = seen
		}
	}
	return out
}

// choices returns all that the writes of a key may come to with some of those that may be there or not. Of one that is not, what it had seen and taken back may be taken back all the same: a later write of its region, which is there, had seen that too: see takenAgain. And a later increment of its region says what its own have come to, whatever became of the rest: see increments. If its store forgot it, somebody may have seen it all the same: see forgotten. Of one that is, increments may be missing: see rest.
func choices(sure, perhaps []Write, purge uint64) (out []map[string]Value) {
	sets, all := [][]Write{nil}, slices.Concat(sure, perhaps)
	for _, w := range sure {
		rest, apart := w.rest()
		var without [][]Write
		for i, s := range sets {
			if apart {
				without = append(without, append(slices.Clip(s), rest))
			}
			sets[i] = append(s, w)
		}
		if sets = append(sets, without...); len(sets) > maxChoices {
			return nil
		}
	}
	// The newest first: what there is of a write goes by which later ones of its region are there.
	for _, w := range slices.SortedFunc(slices.Values(perhaps), func(a, b Write) int { return b.Stamp.Compare(a.Stamp) }) {
		var next [][]Write
		for _, s := range sets {
			next = append(next, s, append(slices.Clip(s), w))
			if rest, apart := w.rest(); apart {
				next = append(next, append(slices.Clip(s), rest))
			}
			if only, ok := w.forgotten(all); ok {
				next = append(next, append(slices.Clip(s), only))
			}
			if only, ok := w.increments(s); ok {
				next = append(next, append(slices.Clip(s), only))
			}
			if seen := takenAgain(w, s); len(seen) > 0 {
				next = append(next, append(slices.Clip(s), Write{Key: w.Key, Kind: Update, Stamp: w.Stamp, Floor: w.Floor, Typed: &Typed{Seen: seen}, observes: true}))
			}
		}
		if sets = next; len(sets) > maxChoices {
			return nil
		}
	}
	for _, s := range sets {
		out = append(out, merge(s, purge))
	}
	return out
}

// increments is what is there of w where it is not itself, but later increments of its runs are, among writes: each says what all before it of its run have come to. ok is false if that is nothing, or all.
func (w *Write) increments(writes []Write) (only Write, ok bool) {
	typed := Typed{}
	for _, e := range w.typed().Effects {
		if e.Kind == Add && w.goesOn(&e, writes) {
			typed.Effects = append(typed.Effects, e)
		}
	}
	return Write{Key: w.Key, Kind: Update, Stamp: w.Stamp, Floor: w.Floor, Typed: &typed, observes: true}, len(typed.Effects) > 0 && len(w.typed().Effects) > 1
}

// goesOn reports whether one of the writes is a later increment of the run that an increment of w is in.
func (w *Write) goesOn(e *Effect, writes []Write) bool {
	return slices.ContainsFunc(writes, func(o Write) bool {
		return o.Stamp.Origin == w.Stamp.Origin && o.Stamp.Compare(w.Stamp) > 0 && slices.ContainsFunc(o.typed().Effects, func(later Effect) bool {
			return later.Kind == Add && later.Path[0] == e.Path[0] && later.Run == e.Run
		})
	})
}

// rest is w without the increments that may be missing; ok is false if there are none.
func (w *Write) rest() (rest Write, ok bool) {
	rest, typed := *w, *w.typed()
	typed.Effects = slices.DeleteFunc(slices.Clone(typed.Effects), func(e Effect) bool { return e.Apart })
	rest.Typed = &typed
	return rest, len(typed.Effects) < len(w.typed().Effects)
}

// forgotten is what may be there of w where its store forgot it and went on with its run: nothing, but that somebody had seen it. An observation says what the run had come to, and that goes from what the run comes to since.
func (w *Write) forgotten(writes []Write) (only Write, ok bool) {
	all := merging{writes: writes}
	only = Write{Key: w.Key, Kind: Update, Stamp: w.Stamp, Floor: w.Floor, Typed: &Typed{}, observes: true}
	for _, e := range w.typed().Effects {
		if e.Kind != Add || !w.Forgotten || !all.taken(w, e.Path[0], func(s Seen) map[uint16]uint64 { return s.Runs }) {
			continue
		}
		e.gone = true
		only.Typed.Effects = append(only.Typed.Effects, e)
		ok = ok || w.goesOn(&e, writes)
	}
	return only, ok
}
