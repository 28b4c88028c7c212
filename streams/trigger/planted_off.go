//go:build !planted

package trigger

// Faults that tests plant, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedEager    = false
	plantedOwnMark  = false
	plantedCopied   = false
	plantedClaim    = false
	plantedUnlocked = false
)
