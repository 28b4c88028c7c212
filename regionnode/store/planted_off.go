//go:build !planted

package store

// Faults that tests plant, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedScrub = false
)
