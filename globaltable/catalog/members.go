package catalog

import (
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Member is a region of the world as a View has it: from the world's document or, while there is none, from the configuration. Then it is active, and its Incarnation and Since are zero.
type Member struct {
	Descriptor  globaltable.Descriptor
	Token       string // Descriptor, signed; empty while there is no document
	State       globaltable.MemberState
	Incarnation globaltable.Incarnation // of the region's store, that the others follow; 0: whichever they met first
	Since       globaltable.Version     // of the world's document, that gave it its State and Incarnation
}

// membersOf returns the world in txn and its members, sorted by name.
func membersOf(txn *memdb.Txn) (w *globaltable.World, out []Member) {
	w, ok := first[*globaltable.World](txn, inWorld, byID, worldKey)
	if !ok {
		from(txn, inRegions, byName, nil, func(d *globaltable.Descriptor) bool {
			out = append(out, Member{Descriptor: *d, State: globaltable.MemberActive})
			return true
		})
		return nil, out
	}
	for i := range w.Members {
		m := &w.Members[i]
		out = append(out, Member{m.Descriptor, m.Token, m.State, m.Incarnation, m.Since})
	}
	return w, out
}

// World returns the world's document in force. ok is false while there is none: the members are those that are configured then, until one is fenced, removed or added.
func (v *View) World() (w *globaltable.World, ok bool) { return v.world, v.world != nil }

// Members returns all regions that are or were members, this one included if it is one, sorted by name. The caller must not change the slice.
func (v *View) Members() []Member { return v.members }

// Member returns the member with the number given.
func (v *View) Member(o hlc.Origin) (Member, bool) {
	for i := range v.members {
		if v.members[i].Descriptor.Origin == o {
			return v.members[i], true
		}
	}
	return Member{}, false
}

// Active reports whether the region with the number given is an active member.
func (v *View) Active(o hlc.Origin) bool { return v.all.Has(o) }

// Trusts reports whether what a region's store with that incarnation wrote may be taken: the region is an active member, and the incarnation the one that is followed. 0 stands for whichever
// it has.
func (v *View) Trusts(o hlc.Origin, incarnation globaltable.Incarnation) bool {
	m, ok := v.Member(o)
	return ok && m.State == globaltable.MemberActive && (m.Incarnation == 0 || incarnation == 0 || m.Incarnation == incarnation)
}

// Self returns this region.
func (v *View) Self() globaltable.Descriptor { return v.self }

// Regions returns the active members, sorted by name. The caller must not change the slice.
func (v *View) Regions() []globaltable.Descriptor { return v.regions }

// Region returns the region with the name given, which is or was a member.
func (v *View) Region(name string) (globaltable.Descriptor, bool) {
	if name == v.self.Name {
		return v.self, true
	}
	i, ok := slices.BinarySearchFunc(v.members, name, func(m Member, name string) int { return strings.Compare(m.Descriptor.Name, name) })
	if !ok {
		return globaltable.Descriptor{}, false
	}
	return v.members[i].Descriptor, true
}

// ActiveRegion is Region for active members.
func (v *View) ActiveRegion(name string) (globaltable.Descriptor, bool) {
	d, ok := v.Region(name)
	return d, ok && v.Active(d.Origin)
}

// RegionOf returns the region with the number given, which is or was a member.
func (v *View) RegionOf(o hlc.Origin) (globaltable.Descriptor, bool) {
	if o == v.self.Origin {
		return v.self, true
	}
	m, ok := v.Member(o)
	return m.Descriptor, ok
}
