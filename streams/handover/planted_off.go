//go:build !planted

package handover

// Faults that the simulation's own test plants, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedAtOnce = false
)
