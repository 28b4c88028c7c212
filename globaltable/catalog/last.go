package catalog

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// A table is orphaned when no region serves it: all that did are fenced, or have deleted their replicas. Whoever served it last has it as it was left, and alone knows up to where deletions were forgotten: one that
// was fenced before may have items that were deleted since, and nothing that says so. So replicas come back in the order opposite to that in which they were lost. Those that were fenced together come back together.

// orphaned reports whether no region serves the table.
func orphaned(t *globaltable.Table) bool { return !slices.ContainsFunc(t.Replicas, staying) }

// ToComeBack follows, in words, the names of regions that Waits returns.
const ToComeBack = " to come back, or to be removed: nobody else has the table as it was last"

// Waits returns the regions that the replica in region self waits for, sorted, because they had the table later: while nobody serves it, those that were fenced after self was, or after its replica was made if it was being created
// then, and those of them that are coming back. waits is also true, without regions, for a replica that is being created and has to begin anew: what it was to join is not what it has to join now. A replica that waits does not become
// active, and replays nothing: when the waiting ends, a new version demands that it joins (Follow).
func Waits(t *globaltable.Table, self hlc.Origin) (regions []string, waits bool) {
	r := t.Replica(self)
	switch {
	case plantedAnyFirst, r == nil || r.Status != globaltable.Creating && r.Status != globaltable.StatusFenced:
		return nil, false
	case !orphaned(t):
		return nil, r.Status == globaltable.Creating && len(Sources(t, self)) == 0
	}
	for i := range t.Replicas {
		if o := &t.Replicas[i]; o.Origin != self && later(o, r) {
			regions = append(regions, o.Region)
		}
	}
	return regions, len(regions) > 0
}

// later reports whether o has the table as it was at a later time than r has it.
func later(o, r *globaltable.Replica) bool {
	since := r.Since
	if r.Status == globaltable.Creating {
		since = r.Born
	}
	switch o.Status {
	case globaltable.Creating:
		return o.Born > since
	case globaltable.StatusFencing, globaltable.StatusFenced:
		// All that are being closed have one version: the time tells who was fenced first.
		return o.Since > since || o.Since == since && o.InaccessibleSince > r.InaccessibleSince
	}
	return false
}

// mayReturn reports whether the fenced replica r of t may be created now: one change of replicas at a time. Only where nobody serves the table any more it may while another one is on its way: one on its way out gives what it has
// to one that comes back, and one that is being created waits for it.
func mayReturn(t *globaltable.Table, r *globaltable.Replica) bool {
	if !orphaned(t) {
		return t.Settled()
	}
	_, waits := Waits(t, r.Origin)
	return !waits && t.Closing() == 0
}
