package check

// NoLostWrite checks I2: in every region that may hold it, the final state of a key dominates every acknowledged write to it. Dominating
// means that the write is there as it was made, or that a greater one took its place, or that it was collected. missing, if not nil, reports which writes may be missing: no store has one any
// more, or the region that comes back with it lists it as saved. late, if not nil, reports which may have come too late to have a part in what expired and was collected.
func NoLostWrite(history []Operation, replicas []Replica, members Members, purged Frontiers, missing, late func(Write) bool) []Violation {
	byRegion := map[uint16]Replica{}
	for _, r := range replicas {
		byRegion[r.Region] = r
	}
	var out []Violation
	all, sure, early := map[Key][]Write{}, map[Key][]Write{}, map[Key][]Write{} // of those that are missing nobody knows whether they had a part in what was collected
	for _, w := range accepted(history) {
		all[w.Key] = append(all[w.Key], w)
		if missing == nil || !missing(w) {
			sure[w.Key] = append(sure[w.Key], w)
		}
		if late != nil && !late(w) {
			early[w.Key] = append(early[w.Key], w)
		}
	}
	for _, op := range history {
		if op.Outcome != OK {
			continue
		}
		for _, w := range op.Writes {
			if w.Stamp.IsZero() {
				out = append(out, violation("I2", op.Region, "operation %d was acknowledged, and no log has its write to %s", op.ID, w.Key))
				continue
			}
			for _, region := range members(w.Key) {
				if lost := lostPart(byRegion[region].Records[w.Key], w); lost != "" && !purged.gone(w, all[w.Key]) && !purged.gone(w, sure[w.Key]) && !purged.gone(w, early[w.Key]) && (missing == nil || !missing(w)) {
					out = append(out, violation("I2", region, "operation %d acknowledged in region %d: %s of %s at %s is lost", op.ID, op.Region, lost, w.Key, w.Stamp))
				}
			}
		}
	}
	return out
}

// Has reports whether a record dominates a write.
func (r Record) Has(w Write) bool { return lostPart(r, w) == "" }

// lostPart names what of w the record does not dominate; "" when it dominates all.
func lostPart(r Record, w Write) string {
	switch r.Reset.Compare(w.Stamp) {
	case 1:
		return ""
	case -1:
		if w.Kind != Update {
			return "the whole item"
		}
	}
	if w.Kind != Delete && r.Cells[""].Stamp.Compare(w.Stamp) < 0 {
		return "the presence"
	}
	for name, value := range w.Set {
		c := r.Cells[name]
		if d := c.Stamp.Compare(w.Stamp); d < 0 || d == 0 && (c.Removed || c.Value != value) {
			return "attribute " + name
		}
	}
	for _, name := range w.Remove {
		c := r.Cells[name]
		if d := c.Stamp.Compare(w.Stamp); d < 0 || d == 0 && !c.Removed {
			return "the removal of " + name
		}
	}
	return ""
}
