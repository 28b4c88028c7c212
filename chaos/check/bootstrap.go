package check

// Bootstrap checks I9 when a new replica begins to serve, under a version of the table's document: whatever was logged of the table until then and does not come by a lane that the region
// follows can have come by the exchange only, and must be there, or have been beaten by what is. missing is NoLostWrite's.
func Bootstrap(replica Replica, table, version uint64, ledger *Ledger, purged Frontiers, follows func(Logged) bool, missing func(Write) bool) []Violation {
	var out []Violation
	for _, l := range ledger.byTable[table] {
		if l.Catalog > version || follows(l) || ledger.Void(l) {
			continue
		}
		if lost := lostPart(replica.Records[l.Key], l.Write); lost != "" && !ledger.collected(l.Write, purged) && (missing == nil || !missing(l.Write)) {
			out = append(out, violation("I9", replica.Region, "a new replica serves without %s of %s at %s, which region %d had logged before", lost, l.Key, l.Stamp, l.Stamp.Origin))
		}
	}
	return out
}
