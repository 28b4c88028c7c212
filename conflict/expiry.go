package conflict

import (
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Period is a time in which the items of a table expire by one attribute.
type Period struct {
	Attribute string        // top-level; not empty
	From      hlc.Timestamp // not zero
	To        hlc.Timestamp // the first moment that is not in it, above From; zero: it has no end yet
	// FromKey is the value (item.Value) that the attribute has by the record's key, if it is part of that: see Expiry.Keyed. Empty in the history of a table.
	FromKey string
}

// Expiry is the history of a table's time to live: periods, ascending, none overlapping the next. A nil Expiry, like an empty one, lets nothing expire.
//
// # An expired item is a virtual delete
//
// From a record and the history alone follows the moment at which the item expires (Due), and what the record is from then on (Expire): what it is after a delete stamped with that moment and no
// region. Nobody has to make that delete, and nobody's clock is asked. So whether a region learns of a write, or of a change of the history, early or late, all that have learnt the same show the same. An item that was renewed before it expired is
// there again as soon as the renewal is known, however many regions have seen it expired meanwhile.
//
// For good it is applied only at a moment that the table's purge frontier has reached: then nothing more can be learnt of the time before. A write on an item that has expired resets it, as commit sees to: else what it leaves untouched
// would stay, and be taken for renewed.
//
// # The moment
//
// The value of the attribute, if it is a number (in the record, or in its key), is in seconds since 1970; a fraction is cut off. In each period it takes effect at the latest of: the value; the moment after the write of the value; the beginning of the
// period. It does so in the first period that has not ended by then. A value beyond what a Timestamp holds, or more than MaxOverdue before the moment at which it would take effect, means nothing.
type Expiry []Period

// MaxOverdue is five years, beyond which DynamoDB takes a value for something else than a time to live.
const MaxOverdue = 5 * 365 * 24 * time.Hour

// maxSeconds is the last whole second of a Timestamp.
const maxSeconds = int64(1)<<48/1000 - 1

// Until returns the history as it was known when nothing of it was later than t: the periods that begin at or before t, and of their ends those at or before t.
func (x Expiry) Until(t hlc.Timestamp) Expiry {
	var out Expiry
	for _, p := range x {
		if p.From > t {
			break
		}
		if p.To > t {
			p.To = 0
		}
		out = append(out, p)
	}
	return out
}

// Keyed returns the history for the record of one key, whose attributes are given. Updates do not write them (ItemOf), so a record that was not written whole may have the attribute in its key only.
func (x Expiry) Keyed(key item.Item) Expiry {
	out := slices.Clone(x)
	for i := range out {
		v, _ := key.GetString(out[i].Attribute)
		out[i].FromKey = string(v)
	}
	return out
}

// Newest returns the latest beginning or end in the history; zero for an empty one. Until it nothing can have expired that a history without its last change would not let expire.
func (x Expiry) Newest() hlc.Timestamp {
	if len(x) == 0 {
		return 0
	}
	return max(x[len(x)-1].From, x[len(x)-1].To)
}

// Due returns the moment at which the item of an encoded record expires. ok is false if it never does, or there is none. The error is that of DecodeRecord.
func (x Expiry) Due(encoded []byte) (at hlc.Timestamp, ok bool, err error) {
	if len(x) == 0 || len(encoded) == 0 {
		return 0, false, nil
	}
	h, err := readHead(encoded)
	if err != nil || !h.live {
		return 0, false, err
	}
	if h.uniform {
		for i := range x {
			v, _ := item.Item(h.body).GetString(x[i].Attribute)
			if at, ok = x[i].due(v, h.write.Stamp.Time); ok {
				return at, true, nil
			}
		}
		return 0, false, nil
	}
	r, err := decodeGeneral(h)
	if err != nil {
		return 0, false, err
	}
	at, ok = r.due(x)
	return at, ok, nil
}

// due is Due for a decoded record.
func (r *Record) due(x Expiry) (at hlc.Timestamp, ok bool) {
	if !r.Live() {
		return 0, false
	}
	for i := range x {
		name := []byte(x[i].Attribute)
		v, written, found := r.shown(name, r.typed(name))
		if !found && x[i].FromKey != "" {
			v, written, found = item.Value(x[i].FromKey), r.written(), true
		}
		if !found {
			continue
		}
		if at, ok = x[i].due(v, written.Time); ok {
			return at, true
		}
	}
	return 0, false
}

// written returns the greatest stamp by which the item exists: its key was written then, if nothing else says when.
func (r *Record) written() (at hlc.Stamp) {
	if i, found := r.find(nil); found && !r.Cells[i].Removed {
		at = r.Cells[i].Stamp
	}
	for i := range r.Typed {
		r.Typed[i].dots(func(dot hlc.Stamp) bool {
			if at.Less(dot) {
				at = dot
			}
			return true
		})
	}
	return at
}

// due returns when the value v of the period's attribute (empty: none), written at the time given, takes effect in the period.
func (p *Period) due(v item.Value, written hlc.Timestamp) (at hlc.Timestamp, ok bool) {
	if v.Type() != item.N {
		return 0, false
	}
	seconds, ok := v.Number().Whole()
	if !ok || seconds < 0 || seconds > maxSeconds {
		return 0, false
	}
	value := hlc.FromTime(time.Unix(seconds, 0))
	at = max(value, written+1, p.From)
	if p.To != 0 && at >= p.To || at.Millis()-value.Millis() > MaxOverdue.Milliseconds() {
		return 0, false
	}
	return at, true
}

// Expire returns what an encoded record is at a moment: if its item has expired by then, it appends the record without what went, reset at the moment at which it went, to dst, which does not overlap
// encoded. Otherwise expired is false and nothing is appended. What of the record was written after that moment by somebody who did not know of the expiry stays, as after any delete. The error is that of DecodeRecord.
func (x Expiry) Expire(dst, encoded []byte, at hlc.Timestamp) (next []byte, expired bool, err error) {
	due, ok, err := x.Due(encoded)
	if err != nil || !ok || due > at {
		return dst, false, err
	}
	r, err := DecodeRecord(encoded)
	if err != nil {
		return dst, false, err
	}
	for ok && due <= at {
		r = Join(r, Record{Reset: Write{Stamp: hlc.Stamp{Time: due}}})
		r.Typed = unexpired(r.Typed, due)
		due, ok = r.due(x) // what is left may have an attribute of a later period
	}
	return AppendRecord(dst, &r), true, nil
}

// Settled returns what an encoded record is joined as at a purge frontier: an item that has expired at or below it is gone for good. The error is that of DecodeRecord.
func (x Expiry) Settled(encoded []byte, purge hlc.Timestamp) ([]byte, error) {
	next, expired, err := x.Expire(nil, encoded, purge)
	if err != nil || !expired {
		return encoded, err
	}
	return next, nil
}

// unexpired returns typed without the contributions before a moment at which their item expired. Of a run that goes on after it nobody knows which part was before: it stays whole. What writes had seen stays.
func unexpired(typed []Typed, at hlc.Timestamp) (left []Typed) {
	for i := range typed {
		t := typed[i]
		t.Runs = slices.DeleteFunc(slices.Clone(t.Runs), func(r Run) bool { return r.Last.Time < at || plantedStraddle && r.First < at })
		t.Bids = slices.DeleteFunc(slices.Clone(t.Bids), func(b Bid) bool { return b.Dot.Time < at })
		t.Elements = nil
		for _, e := range typed[i].Elements {
			e.Adds = e.Adds.Above(at - 1)
			if len(e.Adds)+len(e.Removals) > 0 {
				t.Elements = append(t.Elements, e)
			}
		}
		if !t.isEmpty() {
			left = append(left, t)
		}
	}
	return left
}

// Waste says what of a record can be collected some time.
type Waste uint8

// The wastes.
const (
	NoWaste Waste = iota
	Deleted       // the record of a deleted item, or a removed attribute
	Expires       // the item, when it has expired
)

// Garbage is the function Garbage for the records of a table with the history x: what goes first, and at which purge frontier.
func (x Expiry) Garbage(encoded []byte) (at hlc.Timestamp, what Waste, err error) {
	at, deleted, err := Garbage(encoded)
	if err != nil {
		return 0, NoWaste, err
	}
	due, expires, err := x.Due(encoded)
	switch {
	case err != nil:
		return 0, NoWaste, err
	case expires && (!deleted || due < at):
		return due, Expires, nil
	case deleted:
		return at, Deleted, nil
	}
	return 0, NoWaste, nil
}

// Collectable is the function Collectable for the records of a table with the history x.
func (x Expiry) Collectable(encoded []byte, p hlc.Timestamp) (bool, error) {
	if next, expired, err := x.Expire(nil, encoded, p); err != nil || expired {
		if err != nil {
			return false, err
		}
		return Collectable(next, p)
	}
	return Collectable(encoded, p)
}

// Collection says what Expiry.Collect did.
type Collection struct {
	Expired bool // the item had expired
	Gone    bool // nothing is left
	Changed bool // there is less in the record; it was appended
}

// Collect is the function Collect for the records of a table with the history x: an item that has expired at or below p becomes the reset that it was virtually, and of that is left what is left of a delete. The canonical bytes at
// a moment at or after p stay the same.
func (x Expiry) Collect(dst, encoded []byte, p hlc.Timestamp) (next []byte, did Collection, err error) {
	record, expired, err := x.Expire(nil, encoded, p)
	if err != nil {
		return dst, Collection{}, err
	}
	if !expired {
		record = encoded
	}
	did.Expired = expired
	next, did.Gone, did.Changed, err = Collect(dst, record, p)
	if err == nil && expired && !did.Gone && !did.Changed {
		next, did.Changed = append(dst, record...), true
	}
	return next, did, err
}
