//go:build planted

package repair

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedSources bool // a new replica reads one source only
	plantedFeed    bool // a new replica does not read conflict feeds
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "sources":
		plantedSources = on
	case "feed join":
		plantedFeed = on
	default:
		return false
	}
	return true
}
