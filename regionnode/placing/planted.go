//go:build planted

package placing

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedLane    bool // the review of the log forgets a lane
	plantedStreams bool // streams are not made anew when what they have is voided
	plantedTold    bool // change streams keep what they have of items that go
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "forgotten lane":
		plantedLane = on
	case "old streams":
		plantedStreams = on
	case "kept telling":
		plantedTold = on
	default:
		return false
	}
	return true
}
