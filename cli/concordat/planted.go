//go:build planted

package main

import (
	"os"

	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/trigger"
)

// plant switches the fault that the environment names (chaos/faults, TestPlanted). Nothing else builds the program with the tag planted.
func plant() {
	name := os.Getenv("CONCORDAT_PLANT")
	if name == "" {
		return
	}
	if !locality.Plant(name, true) && !store.Plant(name, true) && !commit.Plant(name, true) && !placing.Plant(name, true) && !trigger.Plant(name, true) {
		panic("no such fault: " + name)
	}
}
