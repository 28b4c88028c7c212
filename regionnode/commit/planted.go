//go:build planted

package commit

// Faults that the simulation's own test plants, to see that they are caught (chaos/sim, TestPlanted). Nothing else sets this build tag.
var (
	plantedSequence  bool // a peer's entries are applied whatever their sequence and chain
	plantedChain     bool // the chain is not compared
	plantedPosition  bool // the position is not in the batch of the entries that it covers
	plantedEarly     bool // a group is answered before its sync
	plantedClock     bool // after a start the clock begins at physical time
	plantedPlacement bool // a peer's changes are stored wherever they may be
	plantedKeep      bool // a write on what has expired leaves the rest of it there
	plantedSweep     bool // what has expired by the region's clock is dropped, whatever the purge frontier
	plantedBake      bool // what has expired by the region's clock is gone for good when a record is merged
	plantedDigest    bool // merged records do not change the digests
	plantedEntry     bool // an entry stays when its record changes
	plantedMerge     bool // merges do not keep entries in step
	plantedBuild     bool // a step of building an index comes anywhere in its group
	plantedMirror    bool // a copy of a table is not kept in step with writes of clients
	plantedExchange  bool // what is lost where records of other regions are merged is not listed
	plantedUnlogged  bool // what a merge lists is not in the log
	plantedAtOnce    bool // a purge frontier moves as soon as a document without replicas on their way is in force
	plantedReceive   bool // policies do not keep a peer's changes and records out
	plantedTakeOver  bool // what is taken over is not logged
	plantedVoid      bool // what an entry had that is voided is not logged again
	plantedRelog     bool // what an entry had that is voided is logged again as it was, whatever has come after it
	plantedSaved     bool // what was saved and is taken over is dropped
	plantedTold      bool // what changes nothing is told in streams
	plantedUntold    bool // what exchanges bring is not told in streams
	plantedWall      bool // positions in streams are times of the wall clock
	plantedUnread    bool // readers of streams get what is not durable
	plantedFinal     bool // of several changes of an item in a batch one is told
	plantedCounts    bool // a trimmed stream says that it has what has gone
	plantedGap       bool // a stream goes on after its replica has joined again as if nothing had been missed
	plantedFenced    bool // what only a fenced region has is not saved before its store is emptied
)

// Plant switches a fault of this package on or off, before anything runs; it reports whether the package has one of that name.
func Plant(fault string, on bool) bool {
	switch fault {
	case "sequence":
		plantedSequence = on
	case "chain":
		plantedChain = on
	case "position":
		plantedPosition = on
	case "early":
		plantedEarly = on
	case "clock":
		plantedClock = on
	case "placement":
		plantedPlacement = on
	case "keep expired":
		plantedKeep = on
	case "sweep":
		plantedSweep = on
	case "bake":
		plantedBake = on
	case "digest":
		plantedDigest = on
	case "entry":
		plantedEntry = on
	case "merge":
		plantedMerge = on
	case "build":
		plantedBuild = on
	case "mirror":
		plantedMirror = on
	case "exchange loss":
		plantedExchange = on
	case "unlogged listing":
		plantedUnlogged = on
	case "at once":
		plantedAtOnce = on
	case "receive":
		plantedReceive = on
	case "unlogged take-over":
		plantedTakeOver = on
	case "void for good":
		plantedVoid = on
	case "stale relog":
		plantedRelog = on
	case "drop saved":
		plantedSaved = on
	case "told anyway":
		plantedTold = on
	case "untold copy":
		plantedUntold = on
	case "wall position":
		plantedWall = on
	case "read early":
		plantedUnread = on
	case "told at once":
		plantedFinal = on
	case "stale counts":
		plantedCounts = on
	case "silent gap":
		plantedGap = on
	case "fenced":
		plantedFenced = on
	default:
		return false
	}
	return true
}
