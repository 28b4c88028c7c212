//go:build !planted

package sim

// Plant is there for stories; without the build tag planted no package has a fault.
func Plant(string, bool) bool { return false }
