//go:build !planted

package catalog

// Faults that the simulation's own test plants, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedSource   = false
	plantedAnyFirst = false
	plantedAdmit    = false
	plantedSend     = false
	plantedPlacing  = false
)
