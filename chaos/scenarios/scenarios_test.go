package scenarios

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/chaos/sim"
)

// TestScenarios plays testdata: each file is one story, from `world N`, which makes regions a, b, c, …, to its end. The commands are listed in sim/story.go; -rewrite writes what the regions really
// do. Time passes while a command waits for its answer, and by `run` and `rest`; what is sent arrives within a millisecond, unless a link is cut.
func TestScenarios(t *testing.T) { playAll(t, "testdata/stories") }

func playAll(t *testing.T, dir string) {
	datadriven.Walk(t, dir, func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			var s *sim.Story
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				var out []string
				for line := range strings.Lines(d.Input) {
					line = strings.TrimSpace(line)
					if name, ok := strings.CutPrefix(line, "plant "); ok {
						if !sim.Plant(name, true) {
							t.Fatal("no package has such a fault: " + name)
						}
						t.Cleanup(func() { sim.Plant(name, false) })
						continue
					}
					if n, ok := strings.CutPrefix(line, "world "); ok {
						if s != nil {
							s.End()
						}
						s = sim.NewStory(int(n[0] - '0'))
						continue
					}
					if said := s.Do(line); said != "" {
						out = append(out, said)
					}
				}
				return strings.Join(out, "\n") + "\n"
			})
			s.End()
		})
	})
}
