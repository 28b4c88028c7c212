package check

import (
	"cmp"
	"slices"
)

// Convergence checks I3: regions that may hold an item hold the same of it, byte for byte, and their digests say so where they may hold the same items; a region that
// may not hold it holds nothing. What can be collected counts as gone: regions do that each in its own time.
func Convergence(replicas []Replica, members Members, purged Frontiers) []Violation {
	replicas = slices.Clone(replicas)
	slices.SortFunc(replicas, func(a, b Replica) int { return cmp.Compare(a.Region, b.Region) })
	var out []Violation
	records, live := map[Key]bool{}, map[Key]bool{}
	for _, rep := range replicas {
		for k := range rep.Records {
			records[k] = true
			if !slices.Contains(members(k), rep.Region) {
				out = append(out, violation("I3", rep.Region, "%s is held, and may not be here", k))
			}
		}
		for k := range rep.Canonical {
			live[k] = true
		}
	}
	apart := map[uint64]bool{} // tables of which not every item is where the others are
	for _, k := range sortedKeys(records, live) {
		in := members(k)
		apart[k.Table] = apart[k.Table] || !slices.Equal(in, members(Key{Table: k.Table}))
		holders := slices.DeleteFunc(slices.Clone(replicas), func(r Replica) bool { return !slices.Contains(in, r.Region) })
		for i := range holders {
			out = append(out, sameBytes(k, holders[0], holders[i], purged[k.Table])...)
		}
	}
	for _, table := range tables(replicas) {
		var first *Replica
		for i := range replicas {
			switch rep := &replicas[i]; {
			case apart[table] || !slices.Contains(members(Key{Table: table}), rep.Region):
			case first == nil:
				first = rep
			case first.Digests[table] != rep.Digests[table]:
				out = append(out, violation("I3", rep.Region, "the digest of table %x is not that of region %d", table, first.Region))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Violation) int { return cmp.Compare(a.Detail, b.Detail) })
	return out
}

// sameBytes compares what two regions hold of a key: the record, a tombstone's included, and its canonical bytes.
func sameBytes(k Key, a, b Replica, purge uint64) []Violation {
	var out []Violation
	if !a.Records[k].sameBelow(b.Records[k], purge) {
		out = append(out, violation("I3", b.Region, "%s is %v, in region %d it is %v", k, b.Records[k], a.Region, a.Records[k]))
	}
	if a.Canonical[k] != b.Canonical[k] {
		out = append(out, violation("I3", b.Region, "the bytes of %s are not those of region %d", k, a.Region))
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
