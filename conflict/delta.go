package conflict

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Delta returns c as a record, its operations applied in order: applying c is joining this. The record has views of c. The
// error is ErrUnsupported for operations that this version does not merge, so that a receiver stops and does not skip
// them; ErrCorrupt for an item or an observation that is none.
func (c *Change) Delta() (Record, error) {
	w := c.write()
	r := Record{Vector: c.Context.With(c.Dot)}
	for i := range c.Ops {
		if err := r.do(&c.Ops[i], w); err != nil {
			return Record{}, err
		}
	}
	return r, nil
}

// do applies one operation of the write w, which is later than all of r, or r is what earlier operations of w have made. It changes r's cells in place.
func (r *Record) do(op *Op, w Write) error {
	const what = "apply change"
	if err := op.check(what); err != nil {
		return err
	}
	if !op.supported() {
		return &Error{Op: what, Kind: ErrUnsupported, Message: "operation with this type, or not as logs have it"}
	}
	if op.Kind == OpReset {
		cells, err := cellsOf(op.Value, w)
		r.Reset, r.Cells, r.Nested = w, cells, nil
		return err
	}
	if op.Kind != OpObserve {
		r.set(Cell{Write: w})
	}
	in := reader{b: op.Value}
	switch op.Kind {
	case OpSetCell:
		if op.Type != TypeRegister {
			r.add(Typed{Name: op.Name, Bids: []Bid{{Dot: w.Stamp, Min: op.Type == TypeMin, Value: op.Value}}})
		} else if len(op.Name) > 0 {
			r.setNode(node{Cell: Cell{Name: op.Name, Write: w, Value: op.Value}})
		}
	case OpRemoveCell:
		r.setNode(node{Cell: Cell{Name: op.Name, Write: w, Removed: true}})
	case OpSetPath, OpRemovePath:
		name, path, _ := SplitPath(op.Name)
		n := r.node(name)
		cell := Cell{Write: w, Removed: op.Kind == OpRemovePath}
		if !cell.Removed {
			cell.Value = op.Value // a decoded removal has one, an empty one
		}
		n.put(path, cell)
		n.collapse()
		r.setNode(n)
	case OpIncrement:
		run, _ := in.increment(w.Stamp)
		r.extend(op.Name, run)
	case OpObserve:
		if seen := in.observation(op.Name, w.Stamp); in.kind == nil {
			r.add(seen)
		}
	case OpAddElements:
		t := Typed{Name: op.Name}
		for e := range item.Value(op.Value).Elements {
			t.Elements = append(t.Elements, Element{Value: e, Adds: vector.Vector{w.Stamp}})
		}
		t.sortElements()
		r.add(t)
	}
	return in.err(what)
}

// supported reports whether this version merges the operation.
func (op *Op) supported() bool {
	switch op.Kind {
	case OpSetCell:
		return op.Type == TypeRegister || len(op.Name) > 0 && (op.Type == TypeMax || op.Type == TypeMin)
	case OpReset, OpRemoveCell, OpObserve:
		return op.Type == TypeRegister
	case OpIncrement:
		return op.Type == TypeCounter
	case OpSetPath, OpRemovePath:
		return op.Type == TypeMap
	case OpAddElements, OpDeleteElements:
		return op.Type == TypeSet
	}
	return false
}

// extend puts a run of the counter with the name given. A second increment of one write has the first in its sum.
func (r *Record) extend(name []byte, run Run) {
	if t := r.typed(name); t != nil {
		for i := range t.Runs {
			if t.Runs[i].Last == run.Last {
				t.Runs = append([]Run(nil), t.Runs...)
				t.Runs[i] = run
				return
			}
		}
	}
	r.add(Typed{Name: name, Runs: []Run{run}})
}

// cellsOf returns the presence and the attributes of an item written whole by w; no cells for the empty item of a delete.
func cellsOf(it item.Item, w Write) ([]Cell, error) {
	if len(it) == 0 {
		return nil, nil
	}
	// Among others this refuses an empty name, which would pass for the presence.
	if err := item.CheckItem(it); err != nil {
		return nil, &Error{Op: "read item", Kind: ErrCorrupt, Message: "not an item", Err: err}
	}
	cells := make([]Cell, 1, it.Len()+1)
	cells[0] = Cell{Write: w}
	it.Each(func(name []byte, v item.Value) bool {
		cells = append(cells, Cell{Name: name, Write: w, Value: v})
		return true
	})
	return cells, nil
}

// contributes reports whether an operation is one that a local write has to complete whatever its record has.
func (op *Op) contributes() bool {
	return op.Kind == OpAddNumber || op.Kind == OpDeleteElements || op.Type == TypeMax || op.Type == TypeMin
}

// complete makes c, a write of this region with intents, what its log gets: see ApplyLocal. It returns the record, decoded; nil if there was nothing to complete.
func (c *Change) complete(current []byte) (*Record, error) {
	needed := len(current) > 1 && current[1]&recordSections != 0
	for i := range c.Ops {
		needed = needed || c.Ops[i].contributes()
	}
	if !needed {
		return nil, nil
	}
	before, err := DecodeRecord(current)
	if err != nil {
		return nil, err
	}
	if len(before.Typed) == 0 && !slices.ContainsFunc(c.Ops, func(op Op) bool { return op.contributes() }) {
		return &before, nil // the section has something else
	}
	state := before.clone()
	ops := make([]Op, 0, len(c.Ops)+1)
	var meant [2]Op
	for i := range c.Ops {
		for _, op := range state.takenOver(meant[:0], &c.Ops[i]) {
			done := len(ops)
			if ops, err = c.completeOp(ops, &op, &state); err != nil {
				return nil, err
			}
			for ; done < len(ops); done++ {
				if err := state.do(&ops[done], c.write()); err != nil {
					return nil, err
				}
			}
		}
	}
	c.Ops = ops
	return &before, nil
}

// takenOver appends an operation to dst. Before a contribution to, or a write inside of, an attribute that shows a bid, since its declared type was another one, goes one that sets the attribute to what it shows, which is what the
// client knows. The bid would hide what is done else, even from who does it.
func (r *Record) takenOver(dst []Op, op *Op) []Op {
	name := op.Name
	switch op.Kind {
	case OpAddNumber, OpAddElements, OpDeleteElements:
	case OpSetPath, OpRemovePath:
		name, _, _ = SplitPath(name)
	default:
		return append(dst, *op)
	}
	if t := r.typed(name); t != nil && slices.ContainsFunc(t.Bids, func(b Bid) bool { return b.isLive(t) }) {
		if v, _, ok := r.shown(name, t); ok {
			dst = append(dst, Op{Kind: OpSetCell, Name: name, Value: v})
		}
	}
	return append(dst, *op)
}

// clone returns a copy of r that do may change.
func (r *Record) clone() Record {
	out := *r
	out.Cells = append([]Cell(nil), r.Cells...)
	out.Typed = append([]Typed(nil), r.Typed...)
	return out
}

// completeOp appends what the log gets for one operation on the record that state is.
func (c *Change) completeOp(ops []Op, op *Op, state *Record) ([]Op, error) {
	dot := c.Dot
	switch op.Kind {
	case OpIncrement, OpObserve:
		return ops, &Error{Op: "write", Kind: ErrCorrupt, Message: "operation that only a log has"}
	case OpAddNumber:
		n := item.Value(op.Value)
		if n.Type() != item.N || op.Type != TypeCounter || len(op.Name) == 0 {
			return ops, &Error{Op: "write", Kind: ErrCorrupt, Message: "increment without a counter or a number"}
		}
		run := state.typed(op.Name).nextRun(dot, n.Number())
		return append(ops, Op{Kind: OpIncrement, Type: TypeCounter, Name: op.Name, Value: appendIncrement(nil, &run, n)}), nil
	}
	if base, ok := state.base(op.Name); ok && op.Kind == OpSetCell && op.Type != TypeRegister && base.Stamp == dot {
		// The cell is of the same write, and so not to be told from the bid by its dot.
		ops = append(ops, Op{Kind: OpRemoveCell, Name: op.Name})
		if err := state.do(&ops[len(ops)-1], c.write()); err != nil {
			return ops, err
		}
	}
	ops = append(ops, *op)
	observe := func(t Typed) {
		if !t.isEmpty() {
			ops = append(ops, Op{Kind: OpObserve, Name: t.Name, Value: appendObservation(nil, dot, &t)})
		}
	}
	switch op.Kind {
	case OpReset:
		for i := range state.Typed {
			observe(state.Typed[i].observe(dot))
		}
	case OpDeleteElements:
		observe(state.observeElements(op.Name, op.Value, dot))
	case OpSetCell, OpRemoveCell:
		t := state.typed(op.Name)
		if op.Type == TypeRegister {
			if t != nil {
				observe(t.observe(dot))
			}
			break
		}
		observe(state.outbid(op.Name, dot))
	}
	return ops, nil
}

// nextRun returns what the run of dot's origin becomes when its region adds n: it goes on, or where there is none of which anything counts, another begins. t may be nil.
func (t *Typed) nextRun(dot hlc.Stamp, n item.Number) Run {
	run := Run{Last: dot, First: dot.Time}
	if t != nil {
		for i := range t.Runs {
			if t.Runs[i].Last.Origin != dot.Origin {
				continue
			}
			if _, counts := t.remainder(i); counts {
				run.First, run.Sum = t.Runs[i].First, t.Runs[i].Sum
			}
		}
	}
	run.Sum = run.Sum.plus(n)
	return run
}

// observe returns what a write with the dot given has to say of what it has seen of t: of all that counts.
func (t *Typed) observe(by hlc.Stamp) Typed {
	seen := Typed{Name: t.Name}
	for i := range t.Runs {
		if _, counts := t.remainder(i); counts {
			seen.Observed = append(seen.Observed, Observation{t.Runs[i], by})
		}
	}
	for i := range t.Elements {
		if e := t.Elements[i].observe(by); len(e.Removals) > 0 {
			seen.Elements = append(seen.Elements, e)
		}
	}
	for i := range t.Bids {
		if b := &t.Bids[i]; b.isLive(t) {
			seen.Outbid = append(seen.Outbid, Observed{b.Dot, by})
		}
	}
	return seen
}

func (e *Element) observe(by hlc.Stamp) Element {
	seen := Element{Value: e.Value}
	e.live(func(dot hlc.Stamp) bool {
		seen.Removals = append(seen.Removals, Observed{dot, by})
		return true
	})
	return seen
}

// observeElements returns what a removal of elements of a set has to say: the dots that add them, and that of a cell which has them.
func (r *Record) observeElements(name []byte, elements item.Value, by hlc.Stamp) Typed {
	seen := Typed{Name: name}
	t := r.typed(name)
	if t == nil {
		t = &Typed{}
	}
	base, inBase := r.base(name)
	for v := range elements.Elements {
		e := Element{Value: v}
		if old := t.element(v); old != nil {
			e = old.observe(by)
		}
		if inBase && base.Value.Type().IsSet() && base.Value.Has(v) && !t.element(v).hides(base.Stamp) {
			e.Removals = joinLists(e.Removals, []Observed{{base.Stamp, by}}, (*Observed).key, greater(compareObserved))
		}
		if len(e.Removals) > 0 {
			seen.Elements = append(seen.Elements, e)
		}
	}
	seen.sortElements()
	return seen
}

// outbid returns what a bid has to say of what it has seen: everything but its origin's own bid, which it replaces.
func (r *Record) outbid(name []byte, by hlc.Stamp) Typed {
	seen := Typed{Name: name}
	t := r.typed(name)
	if t != nil {
		all := t.observe(by)
		seen.Observed, seen.Elements = all.Observed, all.Elements
		for _, o := range all.Outbid {
			if o.Dot.Origin != by.Origin {
				seen.Outbid = append(seen.Outbid, o)
			}
		}
	}
	if base, ok := r.base(name); ok && base.Stamp.Origin != 0 && base.Stamp.Time > t.outbidOf(base.Stamp.Origin) {
		seen.Outbid = joinLists(seen.Outbid, []Observed{{base.Stamp, by}}, (*Observed).key, greater(compareObserved))
	}
	return seen
}
