//go:build planted

package catalog

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedSource   bool // while a replica is on its way in, the first of its sources alone holds collection back
	plantedAnyFirst bool // whoever asks first comes back first to a table that nobody serves
	plantedAdmit    bool // clients' writes are admitted whatever the policies say
	plantedSend     bool // changes go to all replicas, whatever the policies say
	plantedPlacing  bool // something may be collected while policies are being carried out
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "only the source":
		plantedSource = on
	case "any first":
		plantedAnyFirst = on
	case "admit":
		plantedAdmit = on
	case "send":
		plantedSend = on
	case "collect while placing":
		plantedPlacing = on
	default:
		return false
	}
	return true
}
