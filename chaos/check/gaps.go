package check

// Lane is one origin's lane as one region follows it.
type Lane struct {
	Region      uint16 // who follows
	Store       int    // its store: one that was emptied, lost or restored is another one, and begins anew
	Origin      uint16
	Incarnation uint64 // of the origin's store
	Lane        uint64
}

// Hole is one entry of a lane that the faults kept from a region on its way through the stream.
type Hole struct {
	Lane
	Seq uint64
}

// Applied is a run of entries that a region applied durably, in the order in which that happened.
type Applied struct {
	Lane
	From, To uint64 // both inclusive
}

// Gaps checks I17: what a region applied of each lane is without a gap or a repetition, from the first entry to its head, and so every hole
// was found and filled. heads are the lanes' ends at their origins, for each region that follows one.
func Gaps(holes []Hole, applied []Applied, heads map[Lane]uint64) []Violation {
	var out []Violation
	reached := map[Lane]uint64{}
	for _, a := range applied {
		if a.From != reached[a.Lane]+1 || a.To < a.From {
			out = append(out, violation("I17", a.Region, "applied %d to %d of lane %x of region %d after %d", a.From, a.To, a.Lane.Lane, a.Origin, reached[a.Lane]))
		}
		reached[a.Lane] = max(reached[a.Lane], a.To)
	}
	seen := map[Hole]bool{}
	for _, h := range holes {
		if reached[h.Lane] < h.Seq && !seen[h] {
			out = append(out, violation("I17", h.Region, "entry %d of lane %x of region %d was kept from it and never read from the log", h.Seq, h.Lane.Lane, h.Origin))
		}
		seen[h] = true
	}
	for lane, head := range heads {
		if reached[lane] < head {
			out = append(out, violation("I17", lane.Region, "applied %d of %d entries of lane %x of region %d", reached[lane], head, lane.Lane, lane.Origin))
		}
	}
	return out
}
