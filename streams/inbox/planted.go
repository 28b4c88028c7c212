//go:build planted

package inbox

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedSequence bool // entries are taken whatever their sequence and chain
	plantedChain    bool // the chain is not compared
	plantedSilence  bool // a stream that has fallen silent before the head is believed
	plantedMark     bool // a heartbeat is a watermark at once, applied or not
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "sequence":
		plantedSequence = on
	case "chain":
		plantedChain = on
	case "silence":
		plantedSilence = on
	case "mark":
		plantedMark = on
	default:
		return false
	}
	return true
}
