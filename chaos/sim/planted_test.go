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
	from  uint64 // seed with which the search begins: for what shows too rarely to be searched for from the first one on
}{
	{name: "tie", found: "I3 I4"},
	{name: "follow", found: "I11"},
	{name: "clock", found: "I11"},
	{name: "sequence", found: "I2 I17"},
	{name: "chain", found: "I2 I3 I17"},
	{name: "silence", found: "I21"},
	{name: "mark", found: "I8"},
	{name: "trim", found: "I17"},
	{name: "position", found: "I20 I17"},
	{name: "early", found: "I2 I20"},
	{name: "placement", found: "I3 I4"},
	{name: "digest", found: "I3 I20"},
	{name: "sources", found: "I9 I2 I4"},
	{name: "one phase", found: "I8"},
	{name: "foremost", found: "I8"},
	{name: "sweep", found: "I2 I3 I4 I20"},
	{name: "bake", found: "I2 I3 I4 I20"},
	{name: "keep expired", found: "I10"},
	{name: "only the source", found: "I8"},
	{name: "vector", found: "I2 I3 I4"},
	{name: "fenced", found: "I2"},
	{name: "entry", found: "I14"},
	{name: "merge", found: "I14"},
	{name: "build", found: "I14"},
	{name: "base", found: "I3 I6"},
	{name: "bid", found: "I6"},
	{name: "observe", found: "I6"},
	{name: "part", found: "I3 I6"},
	{name: "runs", found: "I3 I6"},
	{name: "remove", found: "I6"},
	{name: "replayed increment", found: "I3 I6", from: 240},
	{name: "straddle", found: "I3 I6"},
	{name: "mirror", found: "I20 I3"},
	{name: "exchange loss", found: "I22"},
	{name: "unlogged listing", found: "I20"},
	{name: "seen loss", found: "I22"},
	{name: "feed join", found: "I9 I2 I3 I4"},
	{name: "admit", found: "I18 I3"},
	{name: "send", found: "I18"},
	{name: "receive", found: "I18"},
	{name: "erase at once", found: "I2"},
	{name: "unlogged take-over", found: "I2 I3 I4"},
	{name: "drop saved", found: "I2 I6", from: 700},
	{name: "void for good", found: "I2 I3 I4"},
	{name: "collect while placing", found: "I8"},
	{name: "forgotten lane", found: "I18"},
	{name: "old streams", found: "I18"},
	{name: "kept telling", found: "I18"},
	{name: "told anyway", found: "I12"},
	{name: "untold copy", found: "I12"},
	{name: "told at once", found: "I12"},
	{name: "wall position", found: "I12"},
	{name: "read early", found: "I12"},
	{name: "stale counts", found: "I12"},
	{name: "eager cursor", found: "I13"},
	{name: "own mark", found: "I13"},
	{name: "early claim", found: "I13"},
	{name: "unlocked key", found: "I13"},
	{name: "silent gap", found: "I12"},
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
			caught := firstCaught(t, max(f.from, 1), func(v check.Violation) bool { return slices.Contains(strings.Fields(f.found), v.Invariant) })
			if caught == nil {
				t.Fatalf("not found in %d seeds", plantedBound)
			}
			t.Logf("found by seed %d: %s", caught.Seed, caught.Violations[0])
		})
	}
}

// firstCaught plays seeds, from the one given on, over all cores until one of them is found out; it returns that with the least seed of those tried.
func firstCaught(t *testing.T, from uint64, is func(check.Violation) bool) *Result {
	var next atomic.Uint64
	next.Store(from - 1)
	var mu sync.Mutex
	var first *Result
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1); seed < from+plantedBound; seed = next.Add(1) {
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
