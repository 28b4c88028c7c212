package locality

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable"
)

// For each key the policies that decide about it before and after are among the pairs, also where most of the policies are the same; what is not there any more of what was is seen; and where nothing is another policy, each decides after
// what it has decided before, and nothing narrows.
func TestShifts(t *testing.T) {
	narrowed := 0
	rapid.Check(t, func(r *rapid.T) {
		before := tables().Draw(r, "before")
		after := before.Clone()
		for i := range after.Pins {
			if p := &after.Pins[i]; rapid.IntRange(0, 2).Draw(r, "changes") == 0 {
				p.Jurisdictions, p.Regions = nil, []string{rapid.SampledFrom(regionNames).Draw(r, "now in")}
			}
		}
		if len(after.Pins) > 0 && rapid.Bool().Draw(r, "one goes") {
			after.Pins = after.Pins[1:]
		}
		if rapid.Bool().Draw(r, "backwards") {
			before, after = after, before
		}
		for range 20 {
			key := keyOf(r, before)
			n, _ := decode(before, key)
			was, is := n.decides(before), n.decides(after)
			if !Shifts(before.Pins, after.Pins, func(a, b *globaltable.Pin) bool { return a == was && b == is }) {
				r.Fatalf("%q: %+v decided, %+v does, and that is no pair of\n%+v\n%+v", n, was, is, before.Pins, after.Pins)
			}
			for i := range before.Replicas {
				replica := &before.Replicas[i]
				if (was == nil || was.Allows(replica)) && is != nil && !is.Allows(replica) {
					narrowed++
					if !Narrows(before.Pins, after.Pins, replica) {
						r.Fatalf("%q may not be in %s any more, which is not seen", n, replica.Region)
					}
				}
			}
		}
		if Shifts(before.Pins, before.Pins, func(a, b *globaltable.Pin) bool { return a != b }) {
			r.Fatalf("a policy takes the place of another one in %+v", before.Pins)
		}
	})
	if narrowed == 0 {
		t.Error("nothing ever narrowed")
	}
}
