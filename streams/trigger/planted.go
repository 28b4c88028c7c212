//go:build planted

package trigger

// Faults that tests plant, to see that they are caught. Nothing else sets this build tag.
var (
	plantedEager    bool // a cursor is beyond what is still to be delivered
	plantedOwnMark  bool // who takes over begins at the mark of its own stream
	plantedCopied   bool // whole records are taken for covered
	plantedClaim    bool // a vector claims what a region has applied and not dealt with
	plantedUnlocked bool // a key may be in two batches at once
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "eager cursor":
		plantedEager = on
	case "own mark":
		plantedOwnMark = on
	case "early claim":
		plantedClaim = on
	case "unlocked key":
		plantedUnlocked = on
	case "covered copy":
		plantedCopied = on
	default:
		return false
	}
	return true
}
