//go:build planted

package conflict

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

// catcher is a test that may fail.
type catcher struct {
	testing.TB
	failed bool
}

func (c *catcher) Helper()               {}
func (c *catcher) Logf(string, ...any)   {}
func (c *catcher) Log(...any)            {}
func (c *catcher) Errorf(string, ...any) { c.failed = true }
func (c *catcher) Error(...any)          { c.failed = true }
func (c *catcher) Fail()                 { c.failed = true }
func (c *catcher) Failed() bool          { return c.failed }
func (c *catcher) FailNow()              { c.failed = true }

// TestPlanted plants one fault of each type of merge after another. A world that does not notice is a hole in its reference, or in what it does.
func TestPlanted(t *testing.T) {
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "0s", "rapid.checks": "2000"} {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		defer flag.Set(name, old)
	}
	play := func(t *rapid.T) {
		w := newWorld(t, nil)
		w.play()
		w.compare()
	}
	for _, fault := range []string{"runs", "observe", "part", "remove", "bid", "base"} {
		t.Run(fault, func(t *testing.T) {
			if !Plant(fault, true) {
				t.Fatal("there is no such fault")
			}
			defer Plant(fault, false)
			c := &catcher{TB: t}
			if rapid.Check(c, play); !c.failed {
				t.Fatal("not found")
			}
		})
	}
	if Plant("nothing", true) {
		t.Fatal("a fault that there is not was planted")
	}
}
