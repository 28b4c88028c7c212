//go:build planted

package store

// Faults that tests plant, to see that they are caught (chaos/faults, TestPlanted). Nothing else sets this build tag.
var (
	plantedScrub bool // files keep what was erased
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "scrub":
		plantedScrub = on
	default:
		return false
	}
	return true
}
