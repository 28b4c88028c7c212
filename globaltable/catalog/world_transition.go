package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// The functions below make the next document of the world, or say why there is none. They are pure, and run in the region that owns it. When nothing is to be changed they return the document
// that they were given. owner is the region that issues the next one: the present owner, or the one that takes over from an owner that the same version fences or removes. epoch is its own,
// never below the document's, and above it when it takes over.

// FoundWorld returns the first document: all regions whose signed descriptors are given are active.
func FoundWorld(tokens []string, owner hlc.Origin, epoch uint32) (*globaltable.World, error) {
	w := &globaltable.World{Owner: owner, Version: globaltable.MakeVersion(epoch, 1)}
	for _, token := range tokens {
		d, err := globaltable.ParseDescriptor(token)
		if err != nil {
			return nil, err
		}
		w.Members = append(w.Members, globaltable.Member{Descriptor: d, Token: token, State: globaltable.MemberActive, Since: w.Version})
	}
	slices.SortFunc(w.Members, globaltable.CompareMembers)
	return w, w.Validate()
}

// FenceMembers returns the document in which the regions named are heard no more.
func FenceMembers(w *globaltable.World, names []string, owner hlc.Origin, epoch uint32) (*globaltable.World, error) {
	return outMembers("fence region", w, names, globaltable.MemberFencing, owner, epoch)
}

// RemoveMember returns the document in which the region named is on its way out for ever.
func RemoveMember(w *globaltable.World, name string, owner hlc.Origin, epoch uint32) (*globaltable.World, error) {
	return outMembers("remove region", w, []string{name}, globaltable.MemberRemoving, owner, epoch)
}

func outMembers(op string, w *globaltable.World, names []string, state globaltable.MemberState, owner hlc.Origin, epoch uint32) (*globaltable.World, error) {
	next, changed := successorWorld(w, owner, epoch), false
	for _, name := range names {
		m := next.MemberNamed(name)
		if m == nil {
			return nil, noMember(op, name)
		}
		to := state
		switch {
		case m.State.Leaves() && state == globaltable.MemberFencing:
			return nil, &globaltable.Error{Op: op, Resource: name, Kind: globaltable.InUse, Message: "Region " + name + " is " + string(m.State) + "."}
		case m.State.Leaves(), m.State != globaltable.MemberActive && state == globaltable.MemberFencing:
			continue
		case m.State == globaltable.MemberFenced:
			to = globaltable.MemberRemoved // nobody hears it: there is nothing to wait for
		}
		m.State, m.Since, changed = to, next.Version, true
	}
	if !changed {
		return w, nil
	}
	if !slices.ContainsFunc(next.Members, func(m globaltable.Member) bool { return m.State == globaltable.MemberActive }) {
		return nil, &globaltable.Error{Op: op, Resource: strings.Join(names, ", "), Kind: globaltable.Invalid, Message: "No active region would be left."}
	}
	return finishWorld(op, next)
}

// AddMember returns the document with a new member, active at once. Name, number and key must be ones that no member ever had.
func AddMember(w *globaltable.World, token string, owner hlc.Origin, epoch uint32) (*globaltable.World, error) {
	const op = "add region"
	d, err := globaltable.ParseDescriptor(token)
	if err != nil {
		return nil, err
	}
	for i := range w.Members {
		m := &w.Members[i]
		if m.State == globaltable.MemberActive && m.Token == token {
			return w, nil // it was asked for before
		}
		for _, same := range []struct {
			is   bool
			what string
		}{{m.Descriptor.Name == d.Name, "name"}, {m.Descriptor.Origin == d.Origin, "number"}, {m.Descriptor.PublicKey == d.PublicKey, "key"}} {
			if same.is {
				return nil, &globaltable.Error{Op: op, Resource: d.Name, Kind: globaltable.Exists,
					Message: fmt.Sprintf("The %s of region %s belongs to region %s, number %d, which is %s. It cannot be used again.", same.what, d.Name, m.Descriptor.Name, m.Descriptor.Origin, m.State)}
			}
		}
	}
	next := successorWorld(w, owner, epoch)
	next.Members = append(next.Members, globaltable.Member{Descriptor: d, Token: token, State: globaltable.MemberActive, Since: next.Version})
	slices.SortFunc(next.Members, globaltable.CompareMembers)
	return finishWorld(op, next)
}

// AdmitMember brings a region with a new store one step nearer to being an active member: an active one is fenced first, since the others still follow the store that it had; a fenced one
// becomes active, if its store is another one than that with which it was fenced. The caller makes sure that nothing of its earlier life is open: see Closed.
func AdmitMember(w *globaltable.World, name string, incarnation globaltable.Incarnation, owner hlc.Origin, epoch uint32) (*globaltable.World, error) {
	const op = "admit region"
	m := w.MemberNamed(name)
	switch {
	case m == nil:
		return nil, noMember(op, name)
	case m.State.Leaves():
		return nil, &globaltable.Error{Op: op, Resource: name, Kind: globaltable.Denied,
			Message: "Region " + name + " was removed. Its number is never used again: make a new region."}
	case incarnation == 0 || incarnation < m.Incarnation:
		return nil, &globaltable.Error{Op: op, Resource: name, Kind: globaltable.Denied,
			Message: "The others follow a later store of region " + name + " than the one that asks: it was restored from an old copy."}
	case m.State == globaltable.MemberFenced && incarnation == m.Incarnation:
		// Its tables would begin anew, and drop what it had replayed and written before it was fenced again.
		return nil, &globaltable.Error{Op: op, Resource: name, Kind: globaltable.Denied,
			Message: "Region " + name + " was fenced with the store that asks. It has to be rebuilt again."}
	case m.State == globaltable.MemberActive && m.Incarnation == incarnation, m.State == globaltable.MemberFencing:
		return w, nil
	case m.State == globaltable.MemberActive:
		return FenceMembers(w, []string{name}, owner, epoch)
	}
	next := successorWorld(w, owner, epoch)
	m = next.MemberNamed(name)
	m.State, m.Since, m.Incarnation = globaltable.MemberActive, next.Version, incarnation
	return finishWorld(op, next)
}

// AdvanceWorld returns the document after what the regions have answered: members on their way out are closed once every active member has adopted the version that says so, and the owner has fetched what
// each knows of the catalog after that. heard tells whether a region has, for a member's Since. ok is false when there is nothing to do yet.
func AdvanceWorld(w *globaltable.World, heard func(o hlc.Origin, since globaltable.Version) bool, epoch uint32) (next *globaltable.World, ok bool) {
	next = successorWorld(w, w.Owner, epoch)
	for i := range next.Members {
		m := &next.Members[i]
		if m.State != globaltable.MemberFencing && m.State != globaltable.MemberRemoving ||
			slices.ContainsFunc(w.Members, func(a globaltable.Member) bool {
				return a.State == globaltable.MemberActive && !heard(a.Descriptor.Origin, m.Since)
			}) {
			continue
		}
		m.Since, ok = next.Version, true
		if m.State = globaltable.MemberFenced; w.Members[i].State == globaltable.MemberRemoving {
			m.State = globaltable.MemberRemoved
		}
	}
	return next, ok
}

// ReissueWorld returns the same world as its next version. An owner that took over does so when a region does not adopt what it issued: that may have a document of the old owner's, not known when the
// new one took over, whose stamp is greater.
func ReissueWorld(w *globaltable.World, epoch uint32) *globaltable.World {
	return successorWorld(w, w.Owner, epoch)
}

// Follow returns the document of a table after what has become of the members: replicas of closed regions are fenced, and what is being created begins anew, since it must not wait for them; the fenced replica of a
// region that has come back is created, once it may: see Waits. ok is false when there is nothing to do. It runs in the table's owner's region, now in Unix milliseconds.
func Follow(t *globaltable.Table, w *globaltable.World, epoch uint32, now int64) (next *globaltable.Table, ok bool) {
	if t.Deleted {
		return nil, false
	}
	next = successor(t, epoch)
	kept, anew := next.Replicas[:0], false
	for _, r := range next.Replicas {
		m := w.Member(r.Origin)
		_, waits := Waits(t, r.Origin)
		switch {
		case m == nil:
		case m.State.Closed():
			changed, goes := closeReplica(&r, m.State == globaltable.MemberRemoved, next.Version, now)
			ok = ok || changed || goes
			anew = anew || changed && r.Since == next.Version || goes && orphaned(t) // it may have been waited for
			if goes {
				continue
			}
		case m.State == globaltable.MemberActive && r.Status == globaltable.StatusFenced && mayReturn(t, &r):
			r.Status, r.StatusDescription, r.Since, r.Born = globaltable.Creating, "", next.Version, next.Version
			r.InaccessibleSince = 0
			ok, anew = true, true
		case waits && r.Status == globaltable.Creating && !orphaned(t):
			ok, anew = true, true // somebody serves the table again
		}
		kept = append(kept, r)
	}
	if !ok {
		return nil, false
	}
	next.Replicas = kept
	tidyPins(next)
	for i := range kept {
		// All that is being created or closed has one Since: whoever has exchanged what that version demands has exchanged it with all who are left.
		if r := &kept[i]; anew && (r.Status == globaltable.Creating || r.Status == globaltable.StatusFencing) {
			r.Since = next.Version
		}
	}
	bury(next)
	return next, true
}

// closeReplica makes r what a closed region's replica has to become. goes is true when nothing of it is left.
func closeReplica(r *globaltable.Replica, removed bool, v globaltable.Version, now int64) (changed, goes bool) {
	switch r.Status {
	case globaltable.CreationFailed:
		return false, true
	case globaltable.StatusFenced:
		return false, removed
	case globaltable.StatusFencing:
		changed = removed && !r.Leaving
		r.Leaving = r.Leaving || removed
		return changed, false
	}
	r.Leaving = removed || r.Status == globaltable.Deleting
	r.Placing = 0
	r.Successor = 0 // a disassociation that was on its way is called off; one that is decided is decided
	r.Status, r.StatusDescription, r.Since, r.JoinBytesPerSecond = globaltable.StatusFencing, "", v, 0
	r.InaccessibleSince = now
	return true, false
}

// Closed reports whether nothing of the region's replica of t is open any more: it can be created anew.
func Closed(t *globaltable.Table, o hlc.Origin) bool {
	r := t.Replica(o)
	return r == nil || r.Status == globaltable.StatusFenced || r.Status == globaltable.CreationFailed
}

// Inherit returns the document of a table whose owner is closed, with owner in its place.
func Inherit(t *globaltable.Table, owner hlc.Origin, epoch uint32) *globaltable.Table {
	next := successor(t, epoch)
	next.Owner = owner
	return next
}

func successorWorld(w *globaltable.World, owner hlc.Origin, epoch uint32) *globaltable.World {
	next := w.Clone()
	next.Owner = owner
	next.Version = globaltable.MakeVersion(epoch, w.Version.Number()+1)
	next.Predecessor = globaltable.HashWorld(w)
	return next
}

func finishWorld(op string, next *globaltable.World) (*globaltable.World, error) {
	if err := next.Validate(); err != nil {
		return nil, &globaltable.Error{Op: op, Kind: globaltable.Invalid, Message: "The world cannot become that.", Err: err}
	}
	return next, nil
}

func noMember(op, name string) error {
	return &globaltable.Error{Op: op, Resource: name, Kind: globaltable.NotFound, Message: "There is no region " + name + "."}
}
