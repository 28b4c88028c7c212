package check

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

// gone reports whether a write may be missing since it was collected: what all writes at or below the frontier come to, collected, does not have it either.
func (f Frontiers) gone(w Write, writes []Write) bool {
	purge := f[w.Key.Table]
	if w.Stamp.Time > purge {
		return false
	}
	var r Record
	for _, o := range writes {
		if o.Key == w.Key && o.Stamp.Time <= purge {
			r = Fold(r, o)
		}
	}
	return lostPart(Collected(r, purge), w) != ""
}

// Frontier checks I8 when a replica's purge frontier has moved: applied reports whether a logged write is durably applied by every replica, those that are being made, and those out of reach, included.
func Frontier(region uint16, table, purge uint64, ledger *Ledger, applied func(Logged) bool) []Violation {
	var out []Violation
	for _, l := range ledger.writes {
		if l.Key.Table == table && l.Stamp.Time <= purge && !applied(l) {
			out = append(out, violation("I8", region, "the purge frontier of table %x is %s, and entry %d of lane %x with %s is not applied everywhere",
				table, Stamp{purge, region}, l.Seq, l.Lane, l.Stamp))
		}
	}
	return out
}
