//go:build planted

package trigger

import (
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

// TestPlanted plants bugs; each must be caught.
func TestPlanted(t *testing.T) {
	inModel := func(seed uint64) bool {
		m := newModel(t, seed, globaltable.FireOne)
		m.copies = 1
		omitted, _ := m.run()
		return len(omitted) > 0
	}
	for fault, caught := range map[string]func(seed uint64) bool{
		"own mark": inModel, "covered copy": inModel, "early claim": inModel,
		"eager cursor": func(seed uint64) bool {
			omitted, _ := crashes(seed)
			return omitted > 0
		},
	} {
		t.Run(fault, func(t *testing.T) {
			if !Plant(fault, true) {
				t.Fatal("there is no such fault")
			}
			defer Plant(fault, false)
			for seed := range uint64(10 * modelSeeds) {
				if caught(seed) {
					t.Logf("caught by seed %d", seed)
					return
				}
			}
			t.Error("it is not caught")
		})
	}
	if Plant("none", true) {
		t.Error("a fault that there is not was planted")
	}
}
