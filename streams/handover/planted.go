//go:build planted

package handover

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedAtOnce bool // a record is erased whether or not another region has said that it has it
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "erase at once":
		plantedAtOnce = on
	default:
		return false
	}
	return true
}
