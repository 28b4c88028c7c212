package locality

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Lets reports whether the policies of t let the item at key be in the region of r, a replica of t or what would be one. Unlike Decide it does not ask how far that replica is on its way in or out.
func Lets(t *globaltable.Table, key []byte, r *globaltable.Replica) bool {
	pin, known := PinOf(t, key)
	return known && (pin == nil || pin.Allows(r))
}

// Refusing returns the policy by which region may not serve the item of t at key: the one that decides about it if that does not let the item be there, else the most specific one by which the region is getting it. nil: no policy
// is the reason, or Decide permits it. It points into t.
func Refusing(t *globaltable.Table, key []byte, region hlc.Origin) *globaltable.Pin {
	r := t.Replica(region)
	pin, known := PinOf(t, key)
	if !known || pin != nil && (r == nil || !pin.Allows(r)) {
		return pin
	}
	partition, sort, _ := parts(t, key)
	var getting *globaltable.Pin
	for i := range t.Pins {
		p := &t.Pins[i]
		if gaining(p, region) && p.Match.Has(partition, sort) && (getting == nil || p.Match.Rank().Compare(getting.Match.Rank()) > 0) {
			getting = p
		}
	}
	return getting
}

// Serving returns the regions that may serve the item of t at key now, in the order of t's replicas.
func Serving(t *globaltable.Table, key []byte) (regions []hlc.Origin) {
	for i := range t.Replicas {
		if o := t.Replicas[i].Origin; Decide(t, key, o, Admit) == Permit {
			regions = append(regions, o)
		}
	}
	return regions
}

// Withholding returns the policies of t that keep items from being served in region, in the order of the document; nil: none does, and what is there of the table may be served whole. They point into t.
func Withholding(t *globaltable.Table, region hlc.Origin) (pins []*globaltable.Pin) {
	if len(t.Pins) == 0 {
		return nil
	}
	r := t.Replica(region)
	for i := range t.Pins {
		p := &t.Pins[i]
		if gaining(p, region) || !p.Released && (r == nil || !p.Allows(r)) {
			pins = append(pins, p)
		}
	}
	return pins
}

func gaining(p *globaltable.Pin, region hlc.Origin) bool { return slices.Contains(p.Gaining, region) }
