//go:build !planted

package locality

// Faults that tests plant, with the build tag planted (see planted.go). Without it they are constants, and cost nothing.
const (
	plantedPolicies = false
)
