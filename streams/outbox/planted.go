//go:build planted

package outbox

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedTrim bool // what the bus has taken counts as confirmed by all peers
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "trim":
		plantedTrim = on
	default:
		return false
	}
	return true
}
