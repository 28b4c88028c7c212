//go:build !planted

package conflict

// Faults that tests plant, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedBase     = false
	plantedBid      = false
	plantedObserve  = false
	plantedPart     = false
	plantedRemove   = false
	plantedRuns     = false
	plantedReplay   = false
	plantedStraddle = false
	plantedSeen     = false
	plantedTie      = false
	plantedVector   = false
)

func (r *Record) forget() {}
