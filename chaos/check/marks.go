package check

// Mark is a watermark as a region raised it: everything that Origin stamped at or below Time is applied there, at these positions.
type Mark struct {
	Region, Origin uint16
	Incarnation    uint64 // of the origin
	Time           uint64
	Positions      map[uint64]uint64 // lane → applied durably at that moment
}

// Marks checks what collection (I8) relies on: no write of an origin, logged before or after, is at or below a watermark and beyond the position at
// which the region raised it. What is logged again is older than that by its nature: nothing is collected before everybody has it. follows reports whether a region is a member of a lane.
func Marks(marks []Mark, ledger *Ledger, follows func(region uint16, lane uint64) bool) []Violation {
	var out []Violation
	for _, m := range marks {
		for _, l := range ledger.writes {
			if l.by() == m.Origin && l.Incarnation == m.Incarnation && !l.Again && !ledger.Void(l) && l.Stamp.Time <= m.Time && l.Seq > m.Positions[l.Lane] && follows(m.Region, l.Lane) {
				out = append(out, violation("I8", m.Region, "watermark %s, and entry %d of lane %x with %s was not applied (%d was)",
					Stamp{m.Time, m.Origin}, l.Seq, l.Lane, l.Stamp, m.Positions[l.Lane]))
			}
		}
	}
	return out
}
