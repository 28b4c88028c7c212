// Package locality decides where an item may be and what a region may do with it. It is pure, and the only place where that is
// computed: the same function answers when a request is admitted, when a change is placed for sending, and when one is received.
//
// An item may be in the table's replicas that the most specific of the table's policies allows which match its key (globaltable.Pin); where none matches, in all. What belongs to an item is where
// the item is: its index entries, and the conflicts that the feed of the table lists about it.
package locality

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Operation is what a region wants to do with an item.
type Operation uint8

// The operations.
const (
	Admit   Operation = iota + 1 // serve a client's read or write of it
	Send                         // be sent a change of it
	Receive                      // store a change of it that came from elsewhere
)

// Decision is the answer.
type Decision uint8

// The decisions. All but Permit refuse.
const (
	Permit  Decision = iota + 1
	NotHere          // the item may not be in the region
	NotYet           // the region is getting it: it is sent changes, and serves nobody
)

func (d Decision) String() string {
	switch d {
	case Permit:
		return "permit"
	case NotHere:
		return "not here"
	case NotYet:
		return "not yet"
	}
	return "no decision"
}

// PinOf returns the policy that decides about the item of t at key (an item.Key; in a conflict feed, a conflict's): the most specific one that matches, nil if none does. known is false when it cannot be
// told, because key is none: then the item may be nowhere. It points into t.
func PinOf(t *globaltable.Table, key []byte) (pin *globaltable.Pin, known bool) {
	if len(t.Pins) == 0 || plantedPolicies {
		return nil, true
	}
	partition, sort, known := parts(t, key)
	if !known {
		return nil, false
	}
	var rank globaltable.Rank
	for i := range t.Pins {
		p := &t.Pins[i]
		if p.Released || !p.Match.Has(partition, sort) {
			continue
		}
		if r := p.Match.Rank(); pin == nil || r.Compare(rank) > 0 {
			pin, rank = p, r
		}
	}
	return pin, true
}

func parts(t *globaltable.Table, key []byte) (partition, sort item.KeyPart, ok bool) {
	k := item.Key(key)
	if t.ID.IsFeed() {
		k = feed.ItemKey(k)
	}
	return k.Parts()
}

// Place returns the placement of the item of t at key: the replicas that are to be fed. It is empty for a dead table.
func Place(t *globaltable.Table, key []byte) globaltable.Placement {
	pin, known := PinOf(t, key)
	if !known {
		return nil
	}
	return PlaceOf(t, pin)
}

// PlaceOf returns the placement of the items of t that pin decides about; nil: of those that no policy matches. Of a table without policies it is that of all items, and of one with some there is no other.
func PlaceOf(t *globaltable.Table, pin *globaltable.Pin) globaltable.Placement {
	origins := make([]hlc.Origin, 0, len(t.Replicas))
	for i := range t.Replicas {
		if r := &t.Replicas[i]; fed(r.Status) && (pin == nil || pin.Allows(r)) {
			origins = append(origins, r.Origin)
		}
	}
	return globaltable.NewPlacement(origins...)
}

// Placements returns every placement that items of t have, each once: first that of items that no policy matches.
func Placements(t *globaltable.Table) []globaltable.Placement {
	out := []globaltable.Placement{PlaceOf(t, nil)}
	for i := range t.Pins {
		if t.Pins[i].Released {
			continue
		}
		p := PlaceOf(t, &t.Pins[i])
		if !slices.ContainsFunc(out, func(o globaltable.Placement) bool { return slices.Equal(o, p) }) {
			out = append(out, p)
		}
	}
	return out
}

// Decide says whether region may do op with the item of t at key (an item.Key; in a conflict feed, a conflict's). A nil key asks whether it may do so with any item. It fails closed.
func Decide(t *globaltable.Table, key []byte, region hlc.Origin, op Operation) Decision {
	r := t.Replica(region)
	switch {
	case r == nil || !fed(r.Status) || op != Admit && op != Send && op != Receive:
		return NotHere
	case key != nil && len(t.Pins) > 0:
		if d := decidePinned(t, key, r); d != Permit && (d == NotHere || op == Admit) {
			return d
		}
	}
	if op == Admit && r.Status == globaltable.Creating {
		return NotYet
	}
	return Permit
}

// MayTell reports whether the target of a trigger may be told of the item of t at key (an item.Key). What no policy decides about, may be told to all; what is pinned, only to who is within the region itself, as its NATS and commands
// on its machine are, or is named by the policy. That the region may have the item is not asked: see Decide. It fails closed.
func MayTell(t *globaltable.Table, key []byte, target *globaltable.Target) bool {
	pin, known := PinOf(t, key)
	return known && (pin == nil || Tells(pin, target))
}

// Tells reports whether the items that pin decides about may be told to a target.
func Tells(pin *globaltable.Pin, target *globaltable.Target) bool {
	switch {
	case target.Webhook != nil:
		return pin.NamesTarget(target.Webhook.URL)
	case target.NATS != nil, target.Command != nil:
		return true
	}
	return false
}

// MayExport reports whether the item of t at key (an item.Key) may be written to a destination, a URL (file:///path for a directory). What no policy decides about, may be written anywhere; what is pinned, only where the policy
// names. That the region may have the item is not asked: see Decide. It fails closed.
func MayExport(t *globaltable.Table, key []byte, destination string) bool {
	pin, known := PinOf(t, key)
	return known && (pin == nil || pin.NamesTarget(destination))
}

// Both reports whether each of two regions may hold the item of t at key.
func Both(t *globaltable.Table, key []byte, a, b hlc.Origin) bool {
	return Decide(t, key, a, Receive) == Permit && Decide(t, key, b, Receive) == Permit
}

// Excludes reports whether a locality policy keeps the item of t at key out of a region: what was meant for it in earlier versions must not go there any more. A region without a replica is no matter of policies, where none decides about
// the item; it fails closed otherwise.
func Excludes(t *globaltable.Table, key []byte, region hlc.Origin) bool {
	r := t.Replica(region)
	if r == nil {
		r = &globaltable.Replica{Origin: region} // which no policy allows
	}
	return !Lets(t, key, r)
}

// decidePinned is what the policies say of an item in the region of r.
func decidePinned(t *globaltable.Table, key []byte, r *globaltable.Replica) Decision {
	if !Lets(t, key, r) {
		return NotHere
	}
	if r.Placing == 0 {
		return Permit
	}
	partition, sort, _ := parts(t, key)
	for i := range t.Pins {
		if p := &t.Pins[i]; gaining(p, r.Origin) && p.Match.Has(partition, sort) {
			return NotYet
		}
	}
	return Permit
}

// fed reports whether a replica of the status gets changes. One that is being deleted, or whose region is fenced, no longer does; one that failed never did.
func fed(s globaltable.Status) bool {
	return s == globaltable.Creating || s == globaltable.Active || s == globaltable.Updating
}

// Matching returns all policies of t that match the key, the more specific before the less: PinOf returns the first. known is false when it cannot be told. They point into t.
func Matching(t *globaltable.Table, key []byte) (pins []*globaltable.Pin, known bool) {
	partition, sort, known := parts(t, key)
	if !known {
		return nil, false
	}
	for i := range t.Pins {
		if p := &t.Pins[i]; !p.Released && p.Match.Has(partition, sort) {
			pins = append(pins, p)
		}
	}
	slices.SortStableFunc(pins, func(a, b *globaltable.Pin) int { return b.Match.Rank().Compare(a.Match.Rank()) })
	return pins, true
}
