package conflict

import (
	"bytes"
	"slices"

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

// Part is one attribute in which a write lost.
type Part struct {
	Name   []byte
	Lost   item.Value // what the write had made of the attribute; nil: it was not there
	Won    item.Value // what it is after the merge; nil: it is not there
	Winner Write      // zero: none, under RuleFenced
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
// Only a change of class Concurrent can have any. The error is that of DecodeRecord or of Change.Delta.
//
// # What is a conflict
//
// A join discards a reset, or a cell, that is less than another one. Mostly whoever wrote the greater one had seen the lesser, and wrote over it: that is what writing is. It is a conflict when he had not. The winner's context and floor say
// what he had seen (PROTOCOL.md section 1 rule 7), the side on which the winner is says by its vector what it had dealt with before. So the answer is exact, and does not depend on clocks.
//
// Nothing is lost where both wrote the same, or where what was discarded shows no difference. A contribution is never discarded unseen. Expiry is nobody's write, and takes part in no conflict.
func Losses(current []byte, c *Change, purge hlc.Timestamp) ([]Loss, error) {
	before, err := DecodeRecord(current)
	if err != nil {
		return nil, err
	}
	delta, err := c.Delta()
	if err != nil {
		return nil, err
	}
	return losses(&before, &delta, c.Floor, max(purge, c.Floor)), nil
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
	return losses(&x, &y, purge, purge), nil
}

// losses returns what a and b lose when they are joined. Whatever is at or below floorB was seen by the writes of b, at or below floorA by those of a.
func losses(a, b *Record, floorB, floorA hlc.Timestamp) []Loss {
	joined := Join(*a, *b)
	return append(a.lostTo(b, &joined, floorB), b.lostTo(a, &joined, floorA)...)
}

// lostTo returns what the writes of r, joined with other, have lost. Whatever is at or below floor was seen by the writes of other.
func (r *Record) lostTo(other, joined *Record, floor hlc.Timestamp) (out []Loss) {
	unseen := func(s hlc.Stamp) bool { return s.Origin != 0 && s.Time > floor && !other.Vector.Contains(s) }
	if s := r.Reset.Stamp; s != joined.Reset.Stamp && unseen(s) && !joined.Reset.saw(s) {
		if l, differs := r.lostWhole(joined); differs {
			out = append(out, l)
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		if len(c.Name) == 0 || c.Stamp == r.Reset.Stamp && len(out) > 0 && out[0].Whole || !unseen(c.Stamp) {
			continue
		}
		p, rule, lost := joined.lost(c)
		if !lost {
			continue
		}
		at := slices.IndexFunc(out, func(l Loss) bool { return l.Loser.Stamp == c.Stamp })
		if at < 0 {
			at, out = len(out), append(out, Loss{Loser: c.Write, Rule: rule})
		}
		out[at].Rule = min(out[at].Rule, rule)
		out[at].Parts = append(out[at].Parts, p)
	}
	return out
}

// saw reports whether whoever made w had seen the write with the stamp s, or made it himself. Of an expiry nobody asks.
func (w *Write) saw(s hlc.Stamp) bool {
	return w.Stamp.Origin == 0 || s.Time <= w.Floor || w.implies(s)
}

// lost returns what cell c, which is not in the record any more, lost to what is.
func (r *Record) lost(c *Cell) (p Part, rule Rule, lost bool) {
	p = Part{Name: c.Name, Lost: c.Value}
	i, found := r.find(c.Name)
	if found {
		now := &r.Cells[i]
		if now.Stamp == c.Stamp || now.saw(c.Stamp) {
			return p, 0, false
		}
		p.Won, p.Winner, rule = now.Value, now.Write, RuleAttribute
	}
	if c.Stamp.Less(r.Reset.Stamp) {
		if r.Reset.saw(c.Stamp) {
			return p, 0, false
		}
		rule = RuleItem
		if !found {
			p.Winner = r.Reset
		}
	}
	return p, rule, rule != 0 && !bytes.Equal(p.Lost, p.Won)
}

// lostWhole returns what the reset of r, a put or a delete, lost to what is in joined. differs is false when that is nothing: both are deletes, or puts of the same item, or all of the put has been written over since.
func (r *Record) lostWhole(joined *Record) (l Loss, differs bool) {
	l = Loss{Loser: r.Reset, Rule: RuleItem, Whole: true}
	own := r.cellsAt(r.Reset.Stamp)
	if l.Deleted = len(own) == 0; l.Deleted && r.Live() {
		return l, false // what was written on it since is lost for itself
	}
	now := joined.liveCells()
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

// cellsAt returns the attributes that are of the write with that stamp.
func (r *Record) cellsAt(s hlc.Stamp) (out []*Cell) {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Stamp == s && len(c.Name) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// liveCells returns the attributes of the item; none if there is no item.
func (r *Record) liveCells() (out []*Cell) {
	if !r.Live() {
		return nil
	}
	for i := range r.Cells {
		if c := &r.Cells[i]; !c.Removed && len(c.Name) > 0 {
			out = append(out, c)
		}
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
		for i := range delta.Cells {
			cell := &delta.Cells[i]
			if len(cell.Name) == 0 {
				continue
			}
			p := Part{Name: cell.Name, Lost: cell.Value}
			if j, found := now.find(cell.Name); found {
				p.Won, p.Winner = now.Cells[j].Value, now.Cells[j].Write
			}
			l.Parts = append(l.Parts, p)
		}
	}
	l.Rule = RuleFenced
	return l, nil
}

// Unsettled reports whether an encoded record can have open conflicts: it has seen writes that none of those which are left in it had seen, or two that are left had not seen each other. A record in uniform form of a single writer
// never has, and is told by two bytes. The error is that of DecodeRecord.
func Unsettled(encoded []byte) (bool, error) {
	if len(encoded) == 0 || len(encoded) > 1 && encoded[0] == recordVersion && encoded[1]&(recordGeneral|recordRest) == 0 {
		return false, nil
	}
	h, err := readHead(encoded)
	if err != nil || len(h.rest) > 0 {
		return err == nil, err
	}
	unseen := 0
	for i := range h.writes {
		s := h.writes[i].Stamp
		if s.Origin != 0 && !slices.ContainsFunc(h.writes, func(w Write) bool { return w.Stamp != s && w.saw(s) }) {
			unseen++
		}
	}
	return unseen > 1, nil
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
