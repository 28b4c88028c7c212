//go:build !planted

package commit

// Faults that the simulation's own test plants, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedSequence  = false
	plantedChain     = false
	plantedPosition  = false
	plantedEarly     = false
	plantedClock     = false
	plantedPlacement = false
	plantedKeep      = false
	plantedSweep     = false
	plantedBake      = false
	plantedDigest    = false
	plantedEntry     = false
	plantedMerge     = false
	plantedBuild     = false
	plantedMirror    = false
	plantedExchange  = false
	plantedUnlogged  = false
	plantedAtOnce    = false
	plantedReceive   = false
	plantedTakeOver  = false
	plantedVoid      = false
	plantedRelog     = false
	plantedSaved     = false
	plantedTold      = false
	plantedUntold    = false
	plantedWall      = false
	plantedUnread    = false
	plantedFinal     = false
	plantedCounts    = false
	plantedGap       = false
	plantedFenced    = false
)
