package check

import (
	"cmp"
	"slices"
)

// Convergence checks I3: regions that may hold a table hold the same of it, byte for byte, and their digests say so; a region that
// may not hold it holds nothing. What can be collected counts as gone: regions do that each in its own time.
func Convergence(replicas []Replica, members Members, purged Frontiers) []Violation {
	replicas = slices.Clone(replicas)
	slices.SortFunc(replicas, func(a, b Replica) int { return cmp.Compare(a.Region, b.Region) })
	var out []Violation
	first := map[uint64]Replica{}
	for _, table := range tables(replicas) {
		for _, rep := range replicas {
			if !slices.Contains(members(table), rep.Region) {
				continue
			}
			if _, there := first[table]; !there {
				first[table] = rep
			}
			if a, b := first[table], rep; a.Digests[table] != b.Digests[table] {
				out = append(out, violation("I3", b.Region, "the digest of table %x is not that of region %d", table, a.Region))
			}
		}
	}
	for _, rep := range replicas {
		for k := range rep.Records {
			if !slices.Contains(members(k.Table), rep.Region) {
				out = append(out, violation("I3", rep.Region, "%s is held, and may not be here", k))
			}
		}
		for table, one := range first {
			if one.Region != rep.Region && slices.Contains(members(table), rep.Region) {
				out = append(out, sameBytes(table, one, rep, purged[table])...)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Violation) int { return cmp.Compare(a.Detail, b.Detail) })
	return out
}

// sameBytes compares what two regions hold of a table: records, tombstones included, and their canonical bytes.
func sameBytes(table uint64, a, b Replica, purge uint64) []Violation {
	var out []Violation
	for _, k := range sortedKeys(a.Records, b.Records) {
		if k.Table == table && !a.Records[k].sameBelow(b.Records[k], purge) {
			out = append(out, violation("I3", b.Region, "%s is %v, in region %d it is %v", k, b.Records[k], a.Region, a.Records[k]))
		}
	}
	for _, k := range sortedKeys(a.Canonical, b.Canonical) {
		if k.Table == table && a.Canonical[k] != b.Canonical[k] {
			out = append(out, violation("I3", b.Region, "the bytes of %s are not those of region %d", k, a.Region))
		}
	}
	return out
}

// tables returns the tables that any replica has something of, sorted.
func tables(replicas []Replica) []uint64 {
	var out []uint64
	for _, r := range replicas {
		for k := range r.Records {
			out = append(out, k.Table)
		}
		for t := range r.Digests {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
