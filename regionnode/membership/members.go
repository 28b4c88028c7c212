// Package membership decides what a region does about the members of the world, itself among them: whom it follows, for whom its log does not wait, whether it may serve clients, and
// how it comes back when the others do not follow it, or its store, any more. It acts through small interfaces only, so the simulation drives the code that a node runs.
package membership

import (
	"maps"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// Hint is what an operator can do for a region that serves nobody.
const Hint = "`concordat region rebuild`, in this region, brings it back with what the others have, and what only it has"

// Outside says, in words that follow "serves nobody: ", why a region with that incarnation of its store is none that the others follow, as far as v knows; empty if it is one.
func Outside(v *catalog.View, own globaltable.Incarnation) string {
	m, known := v.Member(v.Self().Origin)
	switch {
	case !known:
		return "it is not a member of the world"
	case m.State.Leaves():
		return "it was removed, for ever; make a new region"
	case m.State != globaltable.MemberActive:
		return "it is " + string(m.State) + ". " + Hint
	case m.Incarnation != 0 && m.Incarnation != own:
		return "the others follow another store of it. " + Hint
	}
	return ""
}

// Trusts reports whether a region is followed whose store has that incarnation (0: not told), and by which version of the world's document it is or is not.
func Trusts(v *catalog.View, o hlc.Origin, incarnation globaltable.Incarnation) (trusted bool, world globaltable.Version) {
	return v.Trusts(o, incarnation), worldVersion(v)
}

func worldVersion(v *catalog.View) globaltable.Version {
	if w, ok := v.World(); ok {
		return w.Version
	}
	return 0
}

// Refusals is the peers that refuse to replicate with this region, with the version of the world's document by which they do. A refusal does not say that the region is out. It says that there may be a document to
// hear, and only the documents say who is in: a peer that has not heard yet that the region is in again, or has an old store itself, refuses too, and nobody has to wait for it. It counts as little as one that cannot be reached.
type Refusals map[string]globaltable.Version

// Take takes from a heartbeat whether a peer refuses, and by which version. It reports whether that is another answer than the one before.
func (r Refusals) Take(peer string, refuses bool, by globaltable.Version) (changed bool) {
	was, refused := r[peer]
	if refuses {
		r[peer] = by
	} else {
		delete(r, peer)
	}
	return refuses != refused || by != was
}

// News returns the active members, sorted, that refuse by a document that is later than the one in v: the region may be out, and has not heard so yet.
func (r Refusals) News(v *catalog.View) (peers []string) {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if _, active := v.ActiveRegion(name); active && News(v, r[name]) {
			peers = append(peers, name)
		}
	}
	return peers
}

// News reports whether that version of the world's document is later than the one in v.
func News(v *catalog.View, version globaltable.Version) bool { return version > worldVersion(v) }

// Unawaited returns what says for which members of a lane the log does not wait: those that nobody hears any more. As long as a table's document still places changes for such a region, that
// table's lane does wait: what goes into it until the document changes is wanted if the region is let in again. nil: the log waits for everybody, also for a peer that was left out of a
// configuration by mistake.
func Unawaited(v *catalog.View) func(globaltable.Lane) []hlc.Origin {
	if _, ok := v.World(); !ok {
		return nil
	}
	self, placed := v.Self().Origin, map[globaltable.LaneID]bool{}
	v.Tables(func(t *globaltable.Table) bool {
		for _, p := range locality.Placements(t) {
			placed[p.Lane()] = true
		}
		return true
	})
	return func(l globaltable.Lane) (out []hlc.Origin) {
		if placed[l.ID] {
			return nil
		}
		for _, o := range l.Placement.Peers(self) {
			if !v.Active(o) {
				out = append(out, o)
			}
		}
		return out
	}
}

// Elsewhere returns what says whether another region has all of an item that is at or below its table's purge frontier here, which was raised under the version given of the table's document: one that
// serves the item, as far as v knows, and the table since that version or longer. The frontier speaks of the replicas of that time: one that was fenced then, and has been made anew since, may not have
// what was written without it; and one that has carried out other locality policies since, as a receipt of its says, or is at it, may not have had the item then. Where there is none, what is here may be all that there is. A region that is fenced, and has not heard so from the documents, does not know which of the others are left
// either: then there is none. Nobody needs a table that is dead.
func Elsewhere(v *catalog.View, reason commit.RebuildReason) func(k commit.Key, under globaltable.Version) bool {
	if reason == commit.Fenced && v.Active(v.Self().Origin) {
		return func(commit.Key, globaltable.Version) bool { return false }
	}
	placed := placedIn(v)
	return func(k commit.Key, under globaltable.Version) bool {
		t, known := v.Table(k.Table)
		return known && (t.Deleted || slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool {
			return r.Origin != v.Self().Origin && r.Since <= under && v.Active(r.Origin) && (r.Status == globaltable.Active || r.Status == globaltable.Updating) &&
				locality.Decide(t, k.Bytes, r.Origin, locality.Admit) == locality.Permit && max(r.Placing, placed(t.ID.Base())[r.Origin]) <= under
		}))
	}
}

// placedIn returns what says, of a table, which version of its policies each region has carried out last.
func placedIn(v *catalog.View) func(globaltable.TableID) map[hlc.Origin]globaltable.Version {
	known := map[globaltable.TableID]map[hlc.Origin]globaltable.Version{}
	return func(table globaltable.TableID) map[hlc.Origin]globaltable.Version {
		of, ok := known[table]
		if !ok {
			of = map[hlc.Origin]globaltable.Version{}
			for _, r := range v.Receipts(table) {
				of[r.Origin] = max(of[r.Origin], r.Version)
			}
			known[table] = of
		}
		return of
	}
}

// Owes reports whether an origin whose lanes were begun anew here still has to give the catalog that they would have brought: the catalog's lane was among them, and the origin is an active member. What one
// that is out has issued is with those who stayed, or void.
func Owes(v *catalog.View, u *commit.CatchUp) bool {
	return v.Active(u.Origin) && slices.Contains(u.Lanes, globaltable.CatalogLane)
}

// Follows reports whether what follows a region, begun when it was the member given, goes on under v: it is an active member still, and its store the same.
func Follows(v *catalog.View, began catalog.Member) bool {
	m, ok := v.Member(began.Descriptor.Origin)
	return ok && m.State == globaltable.MemberActive && m.Incarnation == began.Incarnation
}

// Followed returns the members that this region is to follow, sorted by name.
func Followed(v *catalog.View) []catalog.Member {
	return slices.DeleteFunc(slices.Clone(v.Members()), func(m catalog.Member) bool {
		return m.Descriptor.Origin == v.Self().Origin || m.State != globaltable.MemberActive
	})
}
