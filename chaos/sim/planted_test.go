//go:build planted

package sim

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/concordat-db/concordat/chaos/check"
)

// faults is what is planted, and which checkers may be the ones to find it.
var faults = []struct {
	name  string
	found string // invariants
}{
	{"tie", "I3 I4"},
	{"follow", "I11"},
	{"clock", "I11"},
	{"sequence", "I2 I17"},
	{"chain", "I2 I3 I17"},
	{"silence", "I21"},
	{"mark", "I8"},
	{"trim", "I17"},
	{"position", "I20 I17"},
	{"early", "I2 I20"},
	{"placement", "I3 I4"},
	{"digest", "I3 I20"},
	{"sources", "I9 I2 I4"},
	{"one phase", "I8"},
	{"foremost", "I8"},
	{"sweep", "I2 I3 I4 I20"},
	{"bake", "I2 I3 I4 I20"},
	{"keep expired", "I10"},
	{"only the source", "I8"},
	{"vector", "I2 I3 I4"},
	{"fenced", "I2"},
	{"entry", "I14"},
	{"merge", "I14"},
	{"build", "I14"},
	{"base", "I3 I6"},
	{"bid", "I6"},
	{"observe", "I6"},
	{"part", "I3 I6"},
	{"runs", "I3 I6"},
	{"remove", "I6"},
	{"replayed increment", "I3 I6"},
	{"straddle", "I3 I6"},
	{"mirror", "I20 I3"},
	{"exchange loss", "I22"},
	{"unlogged listing", "I20"},
	{"seen loss", "I22"},
	{"feed join", "I9 I2 I3 I4"},
	{"admit", "I18 I3"},
	{"send", "I18"},
	{"receive", "I18"},
	{"erase at once", "I2"},
	{"unlogged take-over", "I2 I3 I4"},
	{"void for good", "I2 I3 I4"},
	{"collect while placing", "I8"},
	{"forgotten lane", "I18"},
	{"old streams", "I18"},
}

// plantedBound is how many seeds may pass before a fault is found.
const plantedBound = 300

// TestPlanted plants one fault after another, and plays seeds until a checker that should find it does. A fault that passes the bound is a hole in the checkers or in what
// the simulation reaches. Its seeds without a fault are TestSeeds, which is why that test exists in this build too.
func TestPlanted(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			if !Plant(f.name, true) {
				t.Fatal("no package has such a fault")
			}
			defer Plant(f.name, false)
			caught := firstCaught(t, func(v check.Violation) bool { return slices.Contains(strings.Fields(f.found), v.Invariant) })
			if caught == nil {
				t.Fatalf("not found in %d seeds", plantedBound)
			}
			t.Logf("found by seed %d: %s", caught.Seed, caught.Violations[0])
		})
	}
}

// firstCaught plays seeds over all cores until one of them is found out; it returns that with the least seed of those tried.
func firstCaught(t *testing.T, is func(check.Violation) bool) *Result {
	var next atomic.Uint64
	var mu sync.Mutex
	var first *Result
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1); seed <= plantedBound; seed = next.Add(1) {
				r := run(t, seed)
				r.Violations = slices.DeleteFunc(r.Violations, func(v check.Violation) bool { return !is(v) })
				mu.Lock()
				if len(r.Violations) > 0 && (first == nil || seed < first.Seed) {
					first = &r
				}
				done := first != nil
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	workers.Wait()
	return first
}
