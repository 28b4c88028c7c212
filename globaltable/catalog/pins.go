package catalog

import (
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// PinChange is what a table's locality policies are to become: those that are named differently stay as they are.
type PinChange struct {
	Set    []globaltable.Pin `json:"set,omitempty"` // made, or in place of those of the same names; without Released and Gaining
	Remove []string          `json:"remove,omitempty"`
}

// changePins changes the locality policies. Where that moves anything, each replica is Placing from then on, until its region says that it has carried it out.
func changePins(t, next *globaltable.Table, change *Change, regions func(string) (globaltable.Descriptor, bool)) error {
	c := change.Pins
	if c == nil {
		return nil
	}
	switch {
	case !PinsChangeable(t):
		return InUse("update table", t.Name, "updated")
	case len(change.Create)+len(change.Delete) > 0 || change.Disassociate != nil:
		return invalid(t, "Replicas and locality policies cannot be changed in one request.")
	}
	for i := range next.Replicas {
		if r := &next.Replicas[i]; r.Jurisdiction == "" {
			d, _ := regions(r.Region)
			r.Jurisdiction = d.Jurisdiction
		}
	}
	for _, name := range c.Remove {
		i := pinNamed(next, name)
		if i < 0 {
			return &globaltable.Error{Op: "remove locality policy", Resource: name, Kind: globaltable.NotFound, Message: "Table " + t.Name + " has no locality policy " + name + "."}
		}
		next.Pins[i].Released = true
	}
	for i := range c.Set {
		p := c.Set[i].Clone()
		p.Released, p.Gaining = false, nil
		at := pinNamed(next, p.Name)
		if at >= 0 && next.Pins[at].Match == p.Match {
			p.Gaining = next.Pins[at].Gaining // of a change before, that is still being carried out
			next.Pins[at] = p
			continue
		}
		if at >= 0 {
			next.Pins[at].Released = true
		}
		next.Pins = append(next.Pins, p)
	}
	if !t.Settled() || demands(t, next, regions) {
		demandPlacing(t, next)
	}
	tidyPins(next)
	return enoughCopies(next)
}

// PinsChangeable reports whether the locality policies of t may be changed now: nothing of it is under way; or what is can come to no end, since some policy leaves items that are to be handed over no region any more.
func PinsChangeable(t *globaltable.Table) bool {
	if t.Settled() {
		return true
	}
	return onlyPlacing(t) && slices.ContainsFunc(t.Pins, func(p globaltable.Pin) bool {
		return !p.Released && len(locality.PlaceOf(t, &p)) == 0
	})
}

// onlyPlacing reports whether nothing but carrying policies out keeps t from being settled.
func onlyPlacing(t *globaltable.Table) bool {
	still := t.Clone()
	for i := range still.Replicas {
		still.Replicas[i].Placing = 0
	}
	return still.Settled()
}

// pinNamed returns the index of the policy in force that has the name; -1 if there is none.
func pinNamed(t *globaltable.Table, name string) int {
	return slices.IndexFunc(t.Pins, func(p globaltable.Pin) bool { return p.Name == name && !p.Released })
}

// moves reports whether some item may be in other regions under next's policies than under t's, in the replicas of next.
func moves(t, next *globaltable.Table) bool {
	return locality.Shifts(t.Pins, next.Pins, func(a, b *globaltable.Pin) bool {
		return !slices.Equal(locality.PlaceOf(next, a), locality.PlaceOf(next, b))
	})
}

// demands reports whether there is anything to carry out of next's policies: where some item moves; and where some region may not have an item any more that has no replica now. It may have had one, and logs may have entries for it
// still, which have to be voided.
func demands(t, next *globaltable.Table, regions func(string) (globaltable.Descriptor, bool)) bool {
	return moves(t, next) || locality.Shifts(t.Pins, next.Pins, func(a, b *globaltable.Pin) bool { return !covers(b, a, regions) })
}

// covers reports whether p allows each region that o allows, of all that there may be; nil allows every one.
func covers(p, o *globaltable.Pin, regions func(string) (globaltable.Descriptor, bool)) bool {
	if p == nil || o == nil {
		return p == nil
	}
	lacks := func(j string) bool { return !slices.Contains(p.Jurisdictions, j) }
	return !slices.ContainsFunc(o.Jurisdictions, lacks) && !slices.ContainsFunc(o.Regions, func(name string) bool {
		d, known := regions(name)
		return !slices.Contains(p.Regions, name) && (!known || lacks(d.Jurisdiction))
	})
}

// demandPlacing says, in next, what each region has to do, and under which policies it gains items that it may not have under t.
func demandPlacing(t, next *globaltable.Table) {
	for i := range next.Replicas {
		r := &next.Replicas[i]
		if r.Status != globaltable.Active {
			continue // fenced, or failed: if it ever is created, it begins with nothing
		}
		r.Placing = next.Version
		for j := range next.Pins {
			if p := &next.Pins[j]; gains(t, p, r) && !slices.Contains(p.Gaining, r.Origin) {
				p.Gaining = append(p.Gaining, r.Origin)
				slices.Sort(p.Gaining)
			}
		}
	}
}

// gains reports whether the region of r may have items of p, of the table after t, that it may not have under t. It errs on that side: what it has already it gets again, and does not serve meanwhile.
func gains(t *globaltable.Table, p *globaltable.Pin, r *globaltable.Replica) bool {
	if p.Released {
		return !(&globaltable.Pin{Jurisdictions: p.Jurisdictions, Regions: p.Regions}).Allows(r)
	}
	if !p.Allows(r) {
		return false
	}
	if i := pinNamed(t, p.Name); i >= 0 && t.Pins[i].Match == p.Match {
		return !t.Pins[i].Allows(r)
	}
	// Its keys were those of less specific policies, or of ones that are gone, which have what is gained of them.
	return slices.ContainsFunc(t.Pins, func(o globaltable.Pin) bool {
		return o.Match.Rank().Compare(p.Match.Rank()) <= 0 && o.Match.Overlaps(&p.Match) && (!o.Allows(r) || slices.Contains(o.Gaining, r.Origin))
	})
}

// tidyPins drops what nobody waits for any more.
func tidyPins(t *globaltable.Table) {
	for i := range t.Pins {
		p := &t.Pins[i]
		p.Gaining = slices.DeleteFunc(p.Gaining, func(o hlc.Origin) bool {
			r := t.Replica(o)
			return r == nil || r.Placing == 0
		})
		if len(p.Gaining) == 0 {
			p.Gaining = nil
		}
	}
	t.Pins = slices.DeleteFunc(t.Pins, func(p globaltable.Pin) bool { return p.Released && p.Gaining == nil })
	if len(t.Pins) == 0 {
		t.Pins = nil
	}
}

// enoughCopies refuses policies that leave items without a region, or, unless that is meant, with one.
func enoughCopies(t *globaltable.Table) error {
	for i := range t.Pins {
		p := &t.Pins[i]
		if p.Released {
			continue
		}
		copies, in := copiesUnder(t, p)
		switch {
		case copies == 0:
			return invalid(t, fmt.Sprintf("Locality policy %s allows none of the regions of table %s: its items could be nowhere.", p.Name, t.Name))
		case copies == 1 && !p.SingleCopy:
			return invalid(t, fmt.Sprintf("Locality policy %s leaves one copy of its items, in %s. Say so with singleCopy: allowed, or let them be in another region as well.", p.Name, in))
		}
	}
	return nil
}

// copiesUnder returns how many copies a policy leaves its items in t, and in which region the last of them is.
func copiesUnder(t *globaltable.Table, p *globaltable.Pin) (copies int, in string) {
	for i := range t.Replicas {
		if r := &t.Replicas[i]; p.Allows(r) && (staying(*r) || r.Status == globaltable.Creating) {
			copies, in = copies+1, r.Region
		}
	}
	return copies, in
}

// Gains reports whether region self is getting items that policies let it have.
func Gains(t *globaltable.Table, self hlc.Origin) bool {
	return slices.ContainsFunc(t.Pins, func(p globaltable.Pin) bool { return slices.Contains(p.Gaining, self) })
}
