//go:build planted

package conflict

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedVector bool // a change at or below the record's vector entry for its origin is taken for one that is in the record already
	plantedRuns   bool // two states of a counter's run are added up
	plantedTie    bool // at equal times the write that comes later wins, whatever its origin
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "runs":
		plantedRuns = on
	case "tie":
		plantedTie = on
	case "vector":
		plantedVector = on
	default:
		return false
	}
	return true
}
