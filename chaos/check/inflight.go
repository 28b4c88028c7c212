package check

// InFlight checks the second half of I8 when a replica's purge frontier has moved: no write to the table is on its way any more whose writer had not applied all that was written at or below
// the frontier when it wrote. Such a write could not tell what it replaces from what it was made beside, once that was collected. applied reports whether a logged write is durably applied by every
// replica; saw, whether the writer of w had durably applied d when w became durable (true if that is not known).
func InFlight(region uint16, table, purge uint64, ledger *Ledger, applied func(Logged) bool, saw func(w, d Logged) bool) []Violation {
	var out []Violation
	for _, w := range ledger.byTable[table] {
		if w.Again || ledger.Void(w) || applied(w) {
			continue
		}
		for _, d := range ledger.byTable[table] {
			if d.Stamp.Time <= purge && d.Stamp.Origin != w.Stamp.Origin && !d.Again && !ledger.Void(d) && !saw(w, d) {
				out = append(out, violation("I8", region, "the purge frontier of table %x is %s, and the write at %s is on its way, whose writer had not seen the one at %s",
					table, Stamp{purge, region}, w.Stamp, d.Stamp))
			}
		}
	}
	return out
}
