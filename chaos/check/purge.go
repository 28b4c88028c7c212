package check

import "slices"

// Frontiers are purge frontiers: table → the greatest time at or below which any replica has collected something, or might have. Whatever is at or below it was applied
// everywhere before (Frontier checks just that), so each replica may have, or not have any more, what Collected drops.
type Frontiers map[uint64]uint64

// Collected returns what is left of a record when all has gone that nobody can need at purge: removed attributes, and the whole of a deleted item. It is written from PROTOCOL.md section 1,
// for puts, deletes and updates.
func Collected(r Record, purge uint64) Record {
	out := Record{Reset: r.Reset, Cells: map[string]Cell{}}
	for name, c := range r.Cells {
		if !c.Removed || c.Stamp.Time > purge {
			out.Cells[name] = c
		}
	}
	if len(out.Cells) == 0 && out.Reset.Time <= purge {
		return Record{}
	}
	return out
}

// sameBelow reports whether two records are the same but for what can be collected at purge. A whole-item write at or below it whose item is gone may have been forgotten before attributes
// were written anew, so the stamp of it says nothing any more.
func (r Record) sameBelow(o Record, purge uint64) bool {
	a, b := Collected(r, purge), Collected(o, purge)
	for _, c := range []*Record{&a, &b} {
		if c.Reset.Time <= purge {
			c.Reset = Stamp{}
		}
	}
	return a.Equal(b)
}

// gone reports whether a write may be missing since it was collected: at some time on the way of the frontier what all writes below came to, expired and collected, did not have it any more.
func (f Frontiers) gone(w Write, writes []Write) bool {
	purge := f[w.Key.Table]
	below := slices.DeleteFunc(slices.Clone(writes), func(o Write) bool { return o.Key != w.Key || o.Stamp.Time > purge })
	slices.SortFunc(below, func(a, b Write) int { return a.Stamp.Compare(b.Stamp) })
	var r Record
	for i, o := range below {
		r = Fold(r, o)
		last := i+1 == len(below)
		if o.Stamp.Compare(w.Stamp) < 0 || !last && below[i+1].Stamp == o.Stamp {
			continue // the frontier is never between a write and what is left of it where it was logged again
		}
		// The frontier may have stood at this write, and anywhere up to the next.
		until := purge
		if !last {
			until = below[i+1].Stamp.Time - 1
		}
		if lostPart(Collected(r, o.Stamp.Time), w) != "" || lostPart(Collected(Expired(r, until), until), w) != "" {
			return true
		}
	}
	return false
}

// Frontier checks I8 when a replica's purge frontier has moved: applied reports whether a logged write is durably applied by every replica, those that are being made, and those out of reach, included.
func Frontier(region uint16, table, purge uint64, ledger *Ledger, applied func(Logged) bool) []Violation {
	var out []Violation
	for _, l := range ledger.byTable[table] {
		if l.Stamp.Time <= purge && !ledger.Void(l) && !applied(l) {
			out = append(out, violation("I8", region, "the purge frontier of table %x is %s, and entry %d of lane %x with %s is not applied everywhere",
				table, Stamp{purge, region}, l.Seq, l.Lane, l.Stamp))
		}
	}
	return out
}
