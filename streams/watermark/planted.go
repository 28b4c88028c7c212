//go:build planted

package watermark

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedOnePhase bool // P is F at once
	plantedForemost bool // F is what the foremost member has applied, not what all have: a region collects what it has seen itself
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "one phase":
		plantedOnePhase = on
	case "foremost":
		plantedForemost = on
	default:
		return false
	}
	return true
}
