package check

import "time"

// Reading is one timestamp that a region's clock gave to a write, in the order in which they were given, over all lives of the region.
type Reading struct {
	Region   uint16
	Life     int    // rises by one at each start
	Time     uint64 // milliseconds in the upper 48 bits, counter in the lower 16
	Physical int64  // the region's physical clock then, milliseconds
}

// Clock checks the first half of I11: the timestamps of a region rise strictly, over restarts too, and none is further ahead than bound of the
// latest physical time that the region has seen on its own clock: no remote stamp has dragged it along.
func Clock(readings []Reading, bound time.Duration) []Violation {
	last, latest := map[uint16]Reading{}, map[uint16]int64{}
	var out []Violation
	for _, r := range readings {
		if prev, there := last[r.Region]; there && r.Time <= prev.Time {
			out = append(out, violation("I11", r.Region, "gave %s in life %d after %s in life %d",
				Stamp{r.Time, r.Region}, r.Life, Stamp{prev.Time, r.Region}, prev.Life))
		}
		last[r.Region] = r
		latest[r.Region] = max(latest[r.Region], r.Physical)
		if ahead := int64(r.Time>>16) - latest[r.Region]; ahead > bound.Milliseconds() {
			out = append(out, violation("I11", r.Region, "gave a stamp %d ms ahead of its own clock", ahead))
		}
	}
	return out
}

// Arrival is a change from another region, and what the receiver's clocks said around it.
type Arrival struct {
	Region        uint16
	Stamp         Stamp
	Physical      int64  // the receiver's physical clock, milliseconds
	Before, After uint64 // the receiver's HLC
	Taken         bool   // applied
}

// Quarantine checks the second half of I11: a change stamped further ahead than bound is not applied, and the receiver's clock does
// not follow it. A stamp that the receiver's HLC had reached already, since its own clock ran ahead for a while, moves nothing and may be applied.
func Quarantine(arrivals []Arrival, bound time.Duration) []Violation {
	var out []Violation
	for _, a := range arrivals {
		if int64(a.Stamp.Time>>16)-a.Physical <= bound.Milliseconds() || a.Stamp.Time <= a.Before {
			continue
		}
		if a.Taken {
			out = append(out, violation("I11", a.Region, "applied %s, %d ms ahead", a.Stamp, int64(a.Stamp.Time>>16)-a.Physical))
		}
		if a.After >= a.Stamp.Time {
			out = append(out, violation("I11", a.Region, "its clock followed %s, which is too far ahead", a.Stamp))
		}
	}
	return out
}
