package conflict

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Replay decides what becomes of the writes that a region had before it was emptied, now that it has what the others hold. It is a function of the record and the write; nothing is kept between two writes of a record but
// the record.
//
// A record says which writes are in it, but for counters not what they were: of a run it has the sum. And a sum belongs to a history. The others may have collected the run meanwhile, and then its sum, put beside
// what they have, would bring back increments that some write had observed. Or the region was restored from an old copy of itself and has begun another history; then its sum lacks what the others have from the first one, and the merge takes one
// of the two. So an increment is replayed by itself, from the region's log: it is added to the run that the rebuilt record has.
//
// For such a write, all that is relative to its region's contributions is made anew. A region's writes are one sequence, by their dots, whatever its store has forgotten in between: so a write observes all of its region's
// contributions that the rebuilt record has of before it, where it observes anything of them. What it had seen of others stays as it was.
type Replay struct {
	Self   hlc.Origin
	Expiry Expiry
	Saved  hlc.Timestamp // the purge frontier at which the record was saved; zero: not known, or none
	Purge  hlc.Timestamp // the greatest purge frontier of the others
	Doubt  hlc.Timestamp // up to which they may have forgotten what they knew of a write: Purge, or zero if there are no others
}

// Fate is what becomes of a saved write.
type Fate uint8

// The fates.
const (
	Known   Fate = iota // here already, overwritten by what is, or nobody would see it
	Doubted             // it may be older than a deletion, or part of what was collected, that nobody knows of any more
	Fresh               // it is to be merged and logged
)

// SavedWrite is a write that was saved.
type SavedWrite struct {
	Change
	Logged bool // as the region's log had it. Otherwise it is what a record had of it, which of an increment is the sum only
	Kept   bool // a Replay has doubted it before, and it has not been merged since; of logged ones only

	saved *Record // that it is of
}

// Writes returns the writes of a saved record, ascending: what ChangesOf says of it, but of those writes that are in own, the region's log, what the log says. own is ascending, its writes are the region's. The error is that of ChangesOf.
func (p *Replay) Writes(record []byte, own []SavedWrite) ([]SavedWrite, error) {
	changes, err := ChangesOf(record)
	if err != nil {
		return nil, err
	}
	r, err := DecodeRecord(record)
	if err != nil {
		return nil, err
	}
	// Of what a write had seen, the record keeps nothing at or below the frontier at which it was saved: all that was dealt with. The log keeps it.
	for i := range changes {
		if c := &changes[i]; c.Floor < p.Saved && p.Saved < c.Dot.Time {
			c.Floor, c.Context = p.Saved, c.Context.Above(p.Saved)
		}
	}
	var out []SavedWrite
	for i := 0; i < len(changes) || len(own) > 0; {
		if len(own) == 0 || i < len(changes) && changes[i].Dot.Less(own[0].Dot) {
			out = append(out, SavedWrite{Change: changes[i], saved: &r})
			i++
			continue
		}
		w := own[0]
		w.saved, own = &r, own[1:]
		if !w.Kept && w.Dot.Time <= p.Doubt {
			w.Ops = r.unobserved(&w)
		}
		for ; i < len(changes) && changes[i].Dot == w.Dot; i++ {
			if !w.Kept && w.Dot.Time <= p.Doubt {
				w.Ops = append(w.Ops, slices.DeleteFunc(changes[i].Ops, func(op Op) bool { return op.Kind == OpIncrement })...)
			}
		}
		out = append(out, w)
	}
	return out, nil
}

// unobserved returns the increments of a logged write that r's record does not have as observed. It is for one that will not be logged again: what else it did is what is left of it in the record.
func (r *Record) unobserved(w *SavedWrite) (ops []Op) {
	for _, op := range w.Ops {
		if op.Kind != OpIncrement {
			continue
		}
		t := r.typed(op.Name)
		if t == nil {
			continue
		}
		run := t.runOf(w.Dot.Origin)
		obs := t.observationOf(w.Dot.Origin)
		seen := obs != nil && obs.Last.Time >= w.Dot.Time
		if run != nil && run.First <= w.Dot.Time && !seen {
			ops = append(ops, op)
		}
	}
	return ops
}

// runOf returns the run of origin o; nil if there is none. t may be nil.
func (t *Typed) runOf(o hlc.Origin) *Run {
	if t != nil {
		for i := range t.Runs {
			if t.Runs[i].Last.Origin == o {
				return &t.Runs[i]
			}
		}
	}
	return nil
}

// counted reports whether the increment of origin o at a time is in the run that t has, or was observed. A region's writes of one key arrive in order. t may be nil.
func (t *Typed) counted(dot hlc.Stamp) bool {
	if t == nil {
		return false
	}
	run, obs := t.runOf(dot.Origin), t.observationOf(dot.Origin)
	return run != nil && run.Last.Time >= dot.Time || obs != nil && obs.Last.Time >= dot.Time
}

// remembers reports whether something is left of a run, or of an earlier one of its origin, so that it was not collected. t may be nil.
func (t *Typed) remembers(run *Run) bool {
	if t == nil {
		return false
	}
	obs := t.observationOf(run.Last.Origin)
	return t.runOf(run.Last.Origin) != nil || obs != nil && obs.First == run.First
}

// Judge decides about the next write of a record; ascending by dot. current is what the table has, with the fresh writes before; what has expired is settled. A fresh one becomes what is to be merged and logged; others stay as they are.
// The error is that of DecodeRecord or of Change.Delta.
func (p *Replay) Judge(current []byte, w *SavedWrite) (fate Fate, err error) {
	before, err := DecodeRecord(current)
	if err != nil {
		return Known, err
	}
	c := w.Change
	var hole bool
	if c.Ops, hole, err = p.uncounted(&before, w); err != nil || len(c.Ops) == 0 {
		return Known, err
	}
	own := c.Dot.Origin == p.Self
	if own && c.Dot.Time > p.Doubt && w.saved != nil {
		c.Ops = p.withDoubted(&before, w.saved, &c)
	}
	if fate, err = p.judge(current, &c, hole); err != nil || fate != Fresh {
		return fate, err
	}
	if own {
		if c.Ops, err = p.anew(&before, &c); err != nil {
			return Known, err
		}
	}
	w.Change = c
	return Fresh, nil
}

// uncounted returns the operations of w without the increments that before's record has already; the others as added to it. hole is true if there is one of which nobody can tell, or that cannot be added with its own dot any more.
func (p *Replay) uncounted(before *Record, w *SavedWrite) (ops []Op, hole bool, err error) {
	state := before.clone()
	for _, op := range w.Ops {
		if op.Kind != OpIncrement {
			ops = append(ops, op)
			continue
		}
		in := reader{b: op.Value}
		run, by := in.increment(w.Dot)
		if err := in.err("replay"); err != nil {
			return nil, false, err
		}
		t := before.typed(op.Name)
		counted := t.counted(w.Dot)
		switch {
		case w.Kept:
			hole = hole || counted
		case counted:
			continue
		case !w.Logged || len(by) == 0:
			// The state of a run: it goes on from what is here. Where nothing is, and the run is so old that the others may have forgotten it, they may have had a part of it.
			hole = hole || run.First <= p.Doubt && !t.remembers(&run)
		default:
			run = state.typed(op.Name).nextRun(w.Dot, by.Number())
			state.extend(op.Name, run)
			op.Value = appendIncrement(nil, &run, by)
		}
		ops = append(ops, op)
	}
	return ops, hole, nil
}

// judge decides about a write. hole says that it cannot be merged, whatever its dot.
//
// An item's expiry overwrites what is older than its time, as a deletion does. But it is no write that would be known to have won: what it says of the item follows from writes that c may have beaten, had
// it been there in time. So a write that nothing but an expiry has overwritten is in doubt, if it would show without that.
func (p *Replay) judge(current []byte, c *Change, hole bool) (Fate, error) {
	adds, err := Adds(current, c)
	if err != nil {
		return Known, err
	}
	if adds && !hole && c.Dot.Time > p.Doubt && c.Dot.Origin != 0 {
		return Fresh, nil
	}
	if hole {
		return Doubted, nil
	}
	if !adds {
		r, err := DecodeRecord(current)
		if err != nil || r.Reset.Stamp.Origin != 0 || r.Reset.Stamp.Time <= c.Dot.Time {
			return Known, err
		}
		current = nil
	}
	shows, err := p.shows(current, c)
	if err != nil || !shows {
		return Known, err
	}
	return Doubted, nil
}

// shows reports whether anybody would see, at the purge frontier or later, that c is in the record. A deletion of what is not there does not show; below the purge frontier it can hide nothing any more either.
func (p *Replay) shows(current []byte, c *Change) (bool, error) {
	next, _, err := Apply(nil, current, c)
	if err == nil {
		next, err = p.Expiry.Settled(next, p.Purge)
	}
	if err != nil {
		return false, err
	}
	before, err := AppendCanonical(nil, current)
	if err != nil {
		return false, err
	}
	after, err := AppendCanonical(nil, next)
	return string(before) != string(after), err
}

// anew returns the operations of c, a write of the region itself, as they are to be logged on the record before.
func (p *Replay) anew(before *Record, c *Change) (ops []Op, err error) {
	state := before.clone()
	for _, op := range c.Ops {
		done := len(ops)
		switch op.Kind {
		case OpIncrement:
			in := reader{b: op.Value}
			run, by := in.increment(c.Dot)
			if plantedReplay {
				continue
			}
			if len(by) > 0 {
				run = state.typed(op.Name).nextRun(c.Dot, by.Number())
				op.Value = appendIncrement(nil, &run, by)
			}
			state.extend(op.Name, run)
			ops = append(ops, op)
			continue
		case OpObserve:
			in := reader{b: op.Value}
			seen := in.observation(op.Name, c.Dot)
			if err := in.err("replay"); err != nil {
				return nil, err
			}
			p.observeRuns(state.typed(op.Name), &seen)
			ops = appendObserve(ops, seen, c.Dot)
		default:
			ops = append(ops, op)
			for _, seen := range state.seenOf(&op, c.Dot) {
				ops = appendObserve(ops, ownBefore(seen, c.Dot), c.Dot)
			}
		}
		did := Change{Dot: c.Dot, Context: c.Context, Floor: c.Floor, Ops: ops[done:]}
		delta, err := did.Delta()
		if err != nil {
			return nil, err
		}
		state = Join(state, delta)
	}
	return ops, nil
}

func appendObserve(ops []Op, seen Typed, dot hlc.Stamp) []Op {
	if seen.isEmpty() {
		return ops
	}
	return append(ops, Op{Kind: OpObserve, Name: seen.Name, Value: appendObservation(nil, dot, &seen)})
}

// withDoubted returns the operations of c, a write of the region, with what it had seen and did not say, because an earlier write of the region had taken it back: one that is not logged again, since it is in doubt. What that one says of
// contributions is in the record that was saved; that it had overwritten a cell which the record before shows again, c's context says.
func (p *Replay) withDoubted(before, saved *Record, c *Change) (ops []Op) {
	silent := func(by hlc.Stamp) bool { return by.Origin != p.Self || by.Time > p.Doubt }
	for i := range c.Ops {
		op := &c.Ops[i]
		ops = append(ops, *op)
		for j := range saved.Typed {
			if t := &saved.Typed[j]; op.observes(t.Name) {
				ops = appendObserve(ops, t.seenAlso(op, silent, c.Dot), c.Dot)
			}
		}
		base, ok := before.base(op.Name)
		if !ok || base.Stamp.Origin == 0 || base.Stamp.Time >= c.Dot.Time || !c.saw([]hlc.Stamp{base.Stamp}) {
			continue
		}
		seen, dots := Typed{Name: op.Name}, []Observed{{base.Stamp, c.Dot}}
		switch {
		case op.Kind == OpSetCell && op.Type != TypeRegister:
			seen.Outbid = dots
		case op.Kind == OpDeleteElements:
			for v := range item.Value(op.Value).Elements {
				if base.Value.Type().IsSet() && base.Value.Has(v) {
					seen.Elements = append(seen.Elements, Element{Value: v, Removals: dots})
				}
			}
			seen.sortElements()
		}
		ops = appendObserve(ops, seen, c.Dot)
	}
	return ops
}

// seenAlso returns the observations that an operation of the write with the dot given would have made, if they had not been made by writes that are not silent.
func (t *Typed) seenAlso(op *Op, silent func(by hlc.Stamp) bool, dot hlc.Stamp) Typed {
	seen := Typed{Name: t.Name}
	for _, e := range t.Elements {
		if op.Kind == OpDeleteElements && !item.Value(op.Value).Has(e.Value) {
			continue
		}
		if removals := seenBy(e.Removals, silent, dot); len(removals) > 0 {
			seen.Elements = append(seen.Elements, Element{Value: e.Value, Removals: removals})
		}
	}
	if op.Kind == OpDeleteElements {
		return seen
	}
	for _, o := range t.Observed {
		if !silent(o.By) {
			seen.Observed = append(seen.Observed, Observation{o.Run, dot})
		}
	}
	seen.Outbid = seenBy(t.Outbid, silent, dot)
	return seen
}

// seenBy returns the observations of writes that are not silent, as made by the write with the dot given.
func seenBy(all []Observed, silent func(by hlc.Stamp) bool, dot hlc.Stamp) (seen []Observed) {
	for _, o := range all {
		if !silent(o.By) {
			seen = append(seen, Observed{o.Dot, dot})
		}
	}
	return seen
}

// observes reports whether the operation is one that observes contributions to the attribute with the name given.
func (op *Op) observes(name []byte) bool {
	switch op.Kind {
	case OpReset:
		return true
	case OpSetCell, OpRemoveCell, OpDeleteElements:
		return string(op.Name) == string(name)
	}
	return false
}

// observeRuns makes what a write of the region had seen of runs what it would have seen of those that t has. t may be nil.
func (p *Replay) observeRuns(t *Typed, seen *Typed) {
	for i := range seen.Observed {
		obs := &seen.Observed[i]
		run := t.runOf(obs.Last.Origin)
		switch {
		case run == nil || run.First < obs.First || run.Last.Time >= obs.By.Time:
		case obs.Last.Origin == p.Self, run.First > obs.First && run.Last.Time <= obs.Last.Time:
			obs.Run = *run // another region's run that was begun anew when it was replayed: all of it is of before, too
		}
	}
}

// seenOf returns what an operation observes of r, when its write has the dot given.
func (r *Record) seenOf(op *Op, dot hlc.Stamp) (seen []Typed) {
	switch op.Kind {
	case OpReset:
		for i := range r.Typed {
			seen = append(seen, r.Typed[i].observe(dot))
		}
	case OpDeleteElements:
		seen = append(seen, r.observeElements(op.Name, op.Value, dot))
	case OpSetCell, OpRemoveCell:
		if len(op.Name) == 0 {
			break
		}
		if op.Type != TypeRegister {
			seen = append(seen, r.outbid(op.Name, dot))
		} else if t := r.typed(op.Name); t != nil {
			seen = append(seen, t.observe(dot))
		}
	}
	return seen
}

// ownBefore returns of an observation what is of the origin of the dot given, and before it.
func ownBefore(seen Typed, dot hlc.Stamp) Typed {
	other := func(s hlc.Stamp) bool { return s.Origin != dot.Origin || s.Time >= dot.Time }
	out := Typed{Name: seen.Name}
	out.Observed = slices.DeleteFunc(slices.Clone(seen.Observed), func(o Observation) bool { return other(o.Last) })
	out.Outbid = slices.DeleteFunc(slices.Clone(seen.Outbid), func(o Observed) bool { return other(o.Dot) })
	for _, e := range seen.Elements {
		if e.Removals = slices.DeleteFunc(slices.Clone(e.Removals), func(o Observed) bool { return other(o.Dot) }); len(e.Removals) > 0 {
			out.Elements = append(out.Elements, Element{Value: e.Value, Removals: e.Removals})
		}
	}
	return out
}

// Contributes reports whether c, as a log has it, has more than resets, cells and entries of maps: contributions, or what its write had seen of some.
func (c *Change) Contributes() bool {
	return slices.ContainsFunc(c.Ops, func(op Op) bool {
		switch op.Kind {
		case OpIncrement, OpAddElements, OpDeleteElements, OpObserve:
			return true
		}
		return op.Type == TypeMax || op.Type == TypeMin
	})
}
