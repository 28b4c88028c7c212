//go:build linux

package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	items  = flag.Int("items", 20_000, "items of 1 KB that TestLoad and TestJoin load")
	pins   = flag.Int("pins", 4_000, "items that TestPin loads")
	adds   = flag.Int("adds", 600, "increments of each region in TestCounters")
	rounds = flag.Int("rounds", 3, "kills in TestKill, TestStreamsOverKills and TestTriggerAtLeastOnce")
	binary = flag.String("program", "", "`FILE` to test; none: the program is built")
	seed   = flag.Uint64("seed", 0, "seed of what is random; 0: another one each time")
)

// program is the path of the binary under test.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	os.Exit(run(m))
}

func run(m *testing.M) (status int) {
	dir, err := os.MkdirTemp("", "concordat-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if program = *binary; program == "" {
		program = filepath.Join(dir, "concordat")
		// With the settings of the test itself: then nothing but the program is left to compile.
		build := exec.Command("go", "build", "-tags", tags, "-o", program, "github.com/concordat-db/concordat/cli/concordat")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "faults: build the program: %v\n%s", err, out)
			return 1
		}
	}
	if status = m.Run(); status != 0 {
		return status
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 1
	}
	return 0
}

// newRandom returns the randomness of a test, and tells how to get it again.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	t.Logf("-seed=%d", *seed)
	return rand.New(rand.NewPCG(*seed, uint64(len(t.Name()))))
}

// patience bounds every wait. It is long: it is reached only by what never happens, on any machine.
const patience = 60 * time.Second

// eventually waits until check returns nothing, and fails with its last answer when patience is over.
func eventually(t testing.TB, what string, check func() (missing string)) {
	t.Helper()
	within(t, patience, what, check)
}

// within is eventually for what is promised within some time.
func within(t testing.TB, promised time.Duration, what string, check func() (missing string)) {
	t.Helper()
	deadline := time.NewTimer(promised)
	defer deadline.Stop()
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for {
		missing := check()
		if missing == "" {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s: not within %v: %s", what, promised, missing)
		case <-again.C:
		}
	}
}
