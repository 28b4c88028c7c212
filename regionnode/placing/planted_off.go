//go:build !planted

package placing

// Faults that the simulation's own test plants, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedLane    = false
	plantedStreams = false
	plantedTold    = false
)
