//go:build !planted

package main

// plant is for tests, with the build tag planted.
func plant() {}
