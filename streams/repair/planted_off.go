//go:build !planted

package repair

// Faults that the simulation's own test plants, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedSources = false
	plantedFeed    = false
)
