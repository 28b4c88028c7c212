//go:build linux && !planted

package faults

// tags are those with which the program is built.
const tags = ""
