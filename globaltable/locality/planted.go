//go:build planted

package locality

// Faults that tests plant, to see that they are caught (chaos/faults, TestPlanted). Nothing else sets this build tag.
var (
	plantedPolicies bool // nobody asks the policies
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "policies":
		plantedPolicies = on
	default:
		return false
	}
	return true
}
