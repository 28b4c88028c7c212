package conflict

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cockroachdb/apd/v3"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Rule says by what a write lost. Its numbers are part of the encoding of a conflict.
type Rule uint8

// The rules.
const (
	RuleItem      Rule = 1 // a whole put or delete with a greater stamp
	RuleAttribute Rule = 2 // a write of the same attribute with a greater stamp
	RuleFenced    Rule = 3 // it came from a region that the others had given up, and they may have forgotten what was newer
)

// String returns the rule's name, as it is shown.
func (r Rule) String() string {
	switch r {
	case RuleItem:
		return "item"
	case RuleAttribute:
		return "attribute"
	case RuleFenced:
		return "fenced"
	}
	return "none"
}

// Part is one attribute, or an entry inside of one, in which a write lost.
type Part struct {
	Name   []byte     // of the attribute
	Path   []byte     // of the entry, from the attribute's name down (AppendPath); nil: it is the attribute itself
	Lost   item.Value // what the write had made of it; nil: it was not there
	Won    item.Value // what it is after the merge; nil: it is not there
	Winner Write      // zero: none, under RuleFenced
	Effect Effect     // what Lost is to the attribute
}

// Effect says what the value is that a write had lost. Its numbers are part of the encoding of a conflict.
type Effect uint8

// The effects. All but Made are of contributions, under RuleFenced.
const (
	Made  Effect = 0 // what it had made of the attribute
	Added Effect = 1 // what it had added: a number, or elements
	Taken Effect = 2 // elements that it had taken away
)

// inner returns the entry with that name inside of p.
func (p *Part) inner(name []byte) Part {
	path := slices.Clone(p.Path)
	if path == nil {
		path = AppendPath(nil, p.Name)
	}
	return Part{Name: p.Name, Path: AppendPath(path, name)}
}

// Loss is what one write lost in a merge to writes that had not seen it. That makes it a conflict, whose identity is the item's key and the write's dot. All bytes are
// views of the records that were merged.
type Loss struct {
	Loser   Write
	Rule    Rule
	Whole   bool   // a put or a delete was lost: Parts has all attributes of both sides, equal ones too
	Deleted bool   // Whole: the loser had deleted the item
	Parts   []Part // ascending by name; of a loser that is not whole, only those in which something was lost
}

// Losses returns what was lost when c was joined into the encoded record current: of the record, and of c. purge is the table's purge frontier: whatever is at or below it was seen by the writes of the record, which may say so no more. A change
// says all that its writer had seen, and a region that was given up comes back with changes whose writers had not seen what the others had all got.
// Only a change of class Concurrent or Duplicate can have any. The error is that of DecodeRecord or of Change.Delta.
//
// # What is a conflict
//
// A join discards a reset, or a cell, that is less than another one. Mostly whoever wrote the greater one had seen the lesser, and wrote over it: that is what writing is. It is a conflict when he had not. The winner's context and floor say
// what he had seen (PROTOCOL.md section 1 rule 7). So the answer is exact, and does not depend on clocks. What the vector of a record says does not count: a later write of a region, in another lane, or a write of somebody who had seen it,
// may have come before it. So what was lost before, too, when a change comes again or two records meet one of which has dealt with it, is lost again: whoever lists it finds that it is listed.
//
// Nothing is lost where both wrote the same, or where what was discarded shows no difference. A contribution is never discarded unseen. Expiry is nobody's write, and takes part in no conflict. Inside of maps the same holds entry by entry; there
// a value is lost, too, that stays in the record and is hidden by a map, which somebody has written an entry of.
func Losses(current []byte, c *Change, purge hlc.Timestamp) ([]Loss, error) {
	before, err := DecodeRecord(current)
	if err != nil {
		return nil, err
	}
	delta, err := c.Delta()
	if err != nil {
		return nil, err
	}
	joined := Join(before, delta)
	return append(before.lostTo(&joined, c.Floor), delta.lostTo(&joined, max(purge, c.Floor))...), nil
}

// RecordLosses is Losses for the join of two encoded records.
func RecordLosses(a, b []byte, purge hlc.Timestamp) ([]Loss, error) {
	if len(a) == 0 || len(b) == 0 || bytes.Equal(a, b) {
		return nil, nil
	}
	x, err := DecodeRecord(a)
	if err != nil {
		return nil, err
	}
	y, err := DecodeRecord(b)
	if err != nil {
		return nil, err
	}
	joined := Join(x, y)
	return append(x.lostTo(&joined, purge), y.lostTo(&joined, purge)...), nil
}

// losing gathers what the writes of one record lose in a join.
type losing struct {
	joined *Record
	unseen func(hlc.Stamp) bool // the other side may not have seen the write
	out    []Loss
}

// lostTo returns what the writes of r have lost in a join. Whatever is at or below floor was seen by all that is on the other side.
func (r *Record) lostTo(joined *Record, floor hlc.Timestamp) []Loss {
	l := losing{joined: joined, unseen: func(s hlc.Stamp) bool { return s.Origin != 0 && (plantedSeen || s.Time > floor) }}
	var told hlc.Stamp
	if s := r.Reset.Stamp; s != joined.Reset.Stamp && l.unseen(s) && !joined.Reset.saw(s) {
		if whole, differs := r.lostWhole(joined); differs {
			l.out, told = append(l.out, whole), s
		}
	}
	for _, name := range r.attributesWritten() {
		n, now := r.node(name), joined.node(name)
		l.look(Part{Name: name}, &n, &now, []*Write{&joined.Reset}, told)
	}
	return l.out
}

// attributesWritten returns the names of the attributes that r has writes of, contributions apart.
func (r *Record) attributesWritten() [][]byte {
	bare := Record{Cells: r.Cells, Nested: r.Nested}
	return bare.names()
}

// look notes what was lost of n, which is at p, and inside of it. now is what is there after the join, and around are the writes of all that it is in, from the reset on. What is of the write told was noted with what it is in. Both nodes may change.
func (l *losing) look(p Part, n, now *node, around []*Write, told hlc.Stamp) {
	if len(n.entries)+len(now.entries) > 0 {
		n.explode()
		now.explode()
	}
	if s := n.Stamp; !s.IsZero() && s != told && l.unseen(s) {
		if w, rule, lost := n.lost(now, around); lost {
			p.Lost, p.Winner = n.of(s), *w
			p.Won, _, _ = now.shown()
			if !bytes.Equal(p.Lost, p.Won) {
				l.note(&n.Write, rule, p)
			}
			told = s
		}
	}
	around = append(around[:len(around):len(around)], &now.Write)
	for i := range n.entries {
		e := &n.entries[i]
		if len(e.Name) == 0 {
			continue
		}
		l.look(p.inner(e.Name), e, now.entry(e.Name), around, told)
	}
}

// note adds a part to what a write has lost.
func (l *losing) note(loser *Write, rule Rule, p Part) {
	at := slices.IndexFunc(l.out, func(o Loss) bool { return o.Loser.Stamp == loser.Stamp })
	if at < 0 {
		at, l.out = len(l.out), append(l.out, Loss{Loser: *loser, Rule: rule})
	}
	l.out[at].Rule = min(l.out[at].Rule, rule)
	l.out[at].Parts = append(l.out[at].Parts, p)
}

// entry returns a copy of the entry with the name; one that was never written if there is none.
func (n *node) entry(name []byte) *node {
	if i := slices.IndexFunc(n.entries, func(e node) bool { return bytes.Equal(e.Name, name) }); i >= 0 {
		e := n.entries[i]
		return &e
	}
	return new(node)
}

// of returns what the write with the stamp, which is that of n, has made of n, as far as it is still there; nil: nothing.
func (n *node) of(s hlc.Stamp) item.Value {
	if n.Stamp != s || n.Removed {
		return nil
	}
	if len(n.entries) == 0 || n.Value.Type() != item.M {
		return n.Value
	}
	var b item.Builder
	for i := range n.entries {
		e := &n.entries[i]
		if v := e.of(s); len(e.Name) > 0 && v != nil {
			b.Add(e.Name, v)
		}
	}
	v, err := b.AppendMap(nil)
	if err != nil {
		panic("conflict: map with a name twice: " + err.Error()) // entries are sorted and distinct
	}
	return v
}

// saw reports whether whoever made w had seen the write with the stamp s, or made it himself. Of an expiry nobody asks.
func (w *Write) saw(s hlc.Stamp) bool {
	return w.Stamp.Origin == 0 || !plantedSeen && (s.Time <= w.Floor || w.implies(s))
}

// lost reports whether the write of the whole of n is not there any more, or hidden, and by which write that had not seen it: of several the nearest. now and around are as for look.
func (n *node) lost(now *node, around []*Write) (winner *Write, rule Rule, lost bool) {
	s := n.Stamp
	for i, w := range around {
		if !s.Less(w.Stamp) {
			continue
		}
		if w.saw(s) {
			return nil, 0, false
		}
		if winner = w; rule == 0 {
			rule = RuleAttribute
		}
		if i == 0 {
			rule = RuleItem
		}
	}
	over := &now.Write
	if s == now.Stamp && !n.Removed && n.Value.Type() != item.M && len(now.entries) > 0 {
		over = &now.entries[0].Write // the presence of the map that hides it
	}
	if s.Less(over.Stamp) {
		if over.saw(s) {
			return nil, 0, false
		}
		winner, rule = over, cmp.Or(rule, RuleAttribute)
	}
	return winner, rule, winner != nil
}

// lostWhole returns what the reset of r, a put or a delete, lost to what is in joined. differs is false when that is nothing: both are deletes, or puts of the same item, or all of the put has been written over since.
func (r *Record) lostWhole(joined *Record) (l Loss, differs bool) {
	l = Loss{Loser: r.Reset, Rule: RuleItem, Whole: true}
	own := r.attributesOf(r.Reset.Stamp)
	if l.Deleted = len(own) == 0; l.Deleted && r.Live() {
		return l, false // what was written on it since is lost for itself
	}
	now := joined.attributes()
	differs = l.Deleted && joined.Live()
	for len(own)+len(now) > 0 {
		order := 0
		switch {
		case len(now) == 0:
			order = -1
		case len(own) == 0:
			order = 1
		default:
			order = bytes.Compare(own[0].Name, now[0].Name)
		}
		p := Part{Winner: joined.Reset}
		if order <= 0 {
			p.Name, p.Lost = own[0].Name, own[0].Value
			if i, found := joined.find(p.Name); found {
				p.Winner = joined.Cells[i].Write // it was removed after the reset
			}
			own = own[1:]
		}
		if order >= 0 {
			p.Name, p.Won, p.Winner = now[0].Name, now[0].Value, now[0].Write
			now = now[1:]
		}
		differs = differs || !l.Deleted && !bytes.Equal(p.Lost, p.Won)
		l.Parts = append(l.Parts, p)
	}
	return l, differs
}

// attributesOf returns the attributes that are of the write with that stamp.
func (r *Record) attributesOf(s hlc.Stamp) (out []Cell) {
	for i := range r.Cells {
		c := r.Cells[i]
		if c.Stamp != s || len(c.Name) == 0 {
			continue
		}
		n := r.node(c.Name)
		if c.Value = n.of(s); c.Value != nil {
			out = append(out, c)
		}
	}
	return out
}

// attributes returns what the item shows; none if there is no item. What is shown by contributions has the reset's write.
func (r *Record) attributes() (out []Cell) {
	if !r.Live() {
		return nil
	}
	for _, name := range r.names() {
		v, at, ok := r.shown(name, r.typed(name))
		if !ok {
			continue
		}
		c := Cell{Name: name, Value: v, Write: r.Reset}
		if i, found := r.find(name); found {
			c.Write = r.Cells[i].Write
		}
		from, to := r.nested(name)
		for i := range r.Nested[from:to] {
			if w := &r.Nested[from+i].Write; w.Stamp == at {
				c.Write = *w
			}
		}
		out = append(out, c)
	}
	return out
}

// Fenced returns what c, a write of a region that was given up, would be in the encoded record current of those which went on: as a loss to what is there, by RuleFenced. c is not joined. The error is that of DecodeRecord or of Change.Delta.
func Fenced(current []byte, c *Change) (Loss, error) {
	now, err := DecodeRecord(current)
	if err != nil {
		return Loss{}, err
	}
	delta, err := c.Delta()
	if err != nil {
		return Loss{}, err
	}
	l := Loss{Loser: c.write()}
	if !delta.Reset.Stamp.IsZero() {
		l, _ = delta.lostWhole(&now)
	} else {
		for _, name := range delta.attributesWritten() {
			lost, won := delta.node(name), now.node(name)
			l.Parts = lost.parts(Part{Name: name}, &won, l.Parts)
		}
		if l.Parts, err = c.contributed(current, l.Parts); err != nil {
			return Loss{}, err
		}
	}
	l.Rule = RuleFenced
	return l, nil
}

// contributed appends what c, no put and no deletion, contributes: increments, elements and bids, beside what current has there. Of the state of a run, of which no increments are known, it is what the run had come to.
func (c *Change) contributed(current []byte, out []Part) ([]Part, error) {
	it, _, err := ItemOf(current, nil)
	if err != nil {
		return nil, err
	}
	for i := range c.Ops {
		op := &c.Ops[i]
		p := Part{Name: op.Name, Lost: op.Value}
		switch {
		case op.Kind == OpIncrement:
			in := reader{b: op.Value}
			run, by := in.increment(c.Dot)
			if err := in.err("list increment"); err != nil {
				return nil, err
			}
			if p.Effect, p.Lost = Added, by; len(by) == 0 {
				var sum apd.Decimal
				run.Sum.decimal(&sum)
				p.Lost = appendShown(nil, &sum)
			}
		case op.Kind == OpAddElements:
			p.Effect = Added
		case op.Kind == OpDeleteElements:
			p.Effect = Taken
		case op.Kind != OpSetCell || op.Type != TypeMax && op.Type != TypeMin:
			continue
		}
		p.Won, _ = it.Get(op.Name)
		out = append(out, p)
	}
	return out, nil
}

// parts appends what a write that made n, at p, would have there beside what is there now.
func (n *node) parts(p Part, now *node, out []Part) []Part {
	if !n.Stamp.IsZero() {
		p.Lost, p.Winner = n.of(n.Stamp), now.Write
		p.Won, _, _ = now.shown()
		return append(out, p)
	}
	now.explode()
	for i := range n.entries {
		if e := &n.entries[i]; len(e.Name) > 0 {
			out = e.parts(p.inner(e.Name), now.entry(e.Name), out)
		}
	}
	return out
}

// Unsettled reports whether an encoded record can have open conflicts: it has seen writes that none of those which are left in it had seen, or two that are left had not seen each other. A record in uniform form of a single writer
// never has, and is told by two bytes. The error is that of DecodeRecord.
func Unsettled(encoded []byte) (bool, error) {
	if len(encoded) == 0 || len(encoded) > 1 && encoded[0] == recordVersion && encoded[1]&(recordGeneral|recordRest) == 0 {
		return false, nil
	}
	h, err := readHead(encoded)
	if err != nil {
		return false, err
	}
	unseen := func(s hlc.Stamp) bool {
		saw := func(w Write) bool { return !w.Stamp.IsZero() && w.Stamp.Origin != 0 && w.Stamp != s && w.saw(s) }
		return s.Origin != 0 && !saw(h.write) && !slices.ContainsFunc(h.writes, saw)
	}
	if slices.ContainsFunc(h.rest, unseen) {
		return true, nil
	}
	n := 0
	for i := range h.writes {
		if unseen(h.writes[i].Stamp) {
			n++
		}
	}
	return n > 1, nil
}

// Open reports whether the conflict that the write with the stamp lost is open in an encoded record: no other write that is left in it had seen the loser. Any later one of somebody who has seen it closes it. The error
// is that of DecodeRecord.
func Open(encoded []byte, loser hlc.Stamp) (bool, error) {
	if len(encoded) == 0 {
		return false, nil
	}
	h, err := readHead(encoded)
	if err != nil {
		return false, err
	}
	closes := func(w Write) bool {
		return !w.Stamp.IsZero() && w.Stamp != loser && w.Stamp.Origin != 0 && w.saw(loser)
	}
	return (h.rest.Contains(loser) || h.implies(loser)) && !closes(h.write) && !slices.ContainsFunc(h.writes, closes), nil
}
