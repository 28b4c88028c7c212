package globaltable

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// WorldTable stands for the world's document where documents are named by tables' ids: adoptions, questions between regions. No table has it.
const WorldTable TableID = 2

// Limits of the world's document.
const (
	MaxMembers     = 256       // that there ever were: a region's number is never used again
	maxMemberBytes = 192 << 10 // bytes of all descriptors
)

// MemberState is what a region is to the others. Its texts are part of the world's document.
type MemberState string

// The states of a member.
const (
	MemberActive   MemberState = "active"
	MemberFencing  MemberState = "fencing"  // to be heard no more: not every active member knows it yet
	MemberFenced   MemberState = "fenced"   // heard by nobody; it can come back with a new store
	MemberRemoving MemberState = "removing" // like fencing
	MemberRemoved  MemberState = "removed"  // like fenced, and for ever
)

// Closed reports whether every active member has ceased to hear a region in this state.
func (s MemberState) Closed() bool { return s == MemberFenced || s == MemberRemoved }

// Leaves reports whether a region in this state never comes back.
func (s MemberState) Leaves() bool { return s == MemberRemoving || s == MemberRemoved }

// Member is a region of the world.
type Member struct {
	Descriptor  Descriptor // who it is, as Token says
	Token       string     // Descriptor, signed with the region's key
	State       MemberState
	Since       Version     // the document's version that gave the member its State and Incarnation
	Incarnation Incarnation // the life of the region's store that the others follow; 0: whichever they met first
}

// World is the document of the world: which regions are members, in one version. Like a table's it has one owner at a time, which issues versions one after the other. It changes its
// owner only when that is fenced or removed. A World that a catalog gave out is shared: it must not be changed; Clone it.
type World struct {
	Owner       hlc.Origin
	Version     Version
	Predecessor Hash     // of the version before; zero for the first
	Members     []Member // sorted by region name
}

// Clone returns a deep copy.
func (w *World) Clone() *World {
	c := *w
	c.Members = slices.Clone(w.Members)
	return &c
}

// Member returns the member with the number given; nil if there is none. It points into w.
func (w *World) Member(o hlc.Origin) *Member {
	for i := range w.Members {
		if w.Members[i].Descriptor.Origin == o {
			return &w.Members[i]
		}
	}
	return nil
}

// MemberNamed is Member by the region's name.
func (w *World) MemberNamed(region string) *Member {
	for i := range w.Members {
		if w.Members[i].Descriptor.Name == region {
			return &w.Members[i]
		}
	}
	return nil
}

// Active reports whether the region with the number given is an active member.
func (w *World) Active(o hlc.Origin) bool {
	m := w.Member(o)
	return m != nil && m.State == MemberActive
}

// Settled reports whether no member is on its way out.
func (w *World) Settled() bool {
	return !slices.ContainsFunc(w.Members, func(m Member) bool { return m.State == MemberFencing || m.State == MemberRemoving })
}

// Validate reports all faults of w at once, with kind Invalid. It checks descriptors against their members, not signatures: see DecodeWorld.
func (w *World) Validate() error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(w.Version.Epoch() > 0 && w.Version.Number() > 0, "version %v is not one that an owner issues", w.Version)
	fault((w.Version.Number() == 1) == (w.Predecessor == Hash{}), "only the first version has no predecessor")
	fault(w.Active(w.Owner), "the owner is not an active member")
	fault(len(w.Members) <= MaxMembers, "%d members, at most %d", len(w.Members), MaxMembers)
	bytes := 0
	origins, keys := map[hlc.Origin]bool{}, map[string]bool{}
	for i := range w.Members {
		m := &w.Members[i]
		if err := m.Descriptor.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("member %d: %w", i, err))
			continue
		}
		d := &m.Descriptor
		fault(i == 0 || w.Members[i-1].Descriptor.Name < d.Name, "members are not in the order of their names, or twice")
		fault(!origins[d.Origin], "member %d: the region's number is used twice", i)
		fault(!keys[d.PublicKey], "member %d: the region's key is used twice", i)
		origins[d.Origin], keys[d.PublicKey] = true, true
		switch m.State {
		case MemberActive, MemberFencing, MemberFenced, MemberRemoving, MemberRemoved:
		default:
			fault(false, "member %d: state %q is not known", i, m.State)
		}
		fault(m.Token != "", "member %d: the descriptor is not signed", i)
		fault(m.Since > 0 && m.Since <= w.Version, "member %d: its state is of version %v", i, m.Since)
		bytes += len(m.Token)
	}
	fault(bytes <= maxMemberBytes, "the descriptors have %d bytes, at most %d", bytes, maxMemberBytes)
	if len(faults) == 0 {
		return nil
	}
	return &Error{Op: "check world", Kind: Invalid, Err: errors.Join(faults...)}
}

// CompareMembers orders by the regions' names.
func CompareMembers(a, b Member) int { return strings.Compare(a.Descriptor.Name, b.Descriptor.Name) }
