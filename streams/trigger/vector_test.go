package trigger

import (
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/streams/cdc"
)

// TestCovers: what was dealt with elsewhere need not be told, but for what stands for more than one write, or has an image that others may not have told.
func TestCovers(t *testing.T) {
	v := Vector{Writes: map[hlc.Origin]hlc.Timestamp{1: 100, 2: 50}, Expired: 70}
	stamp := func(at hlc.Timestamp, o hlc.Origin) hlc.Stamp { return hlc.Stamp{Time: at, Origin: o} }
	for what, c := range map[string]struct {
		r    cdc.Record
		want bool
	}{
		"a write":                             {cdc.Record{Kind: cdc.Write, Dot: stamp(100, 1), Newest: stamp(100, 1), Position: 101}, true},
		"a later one":                         {cdc.Record{Kind: cdc.Write, Dot: stamp(101, 1), Newest: stamp(101, 1), Position: 102}, false},
		"of another region":                   {cdc.Record{Kind: cdc.Write, Dot: stamp(60, 2), Newest: stamp(60, 2), Position: 102}, false},
		"after one with a greater stamp":      {cdc.Record{Kind: cdc.Write, Dot: stamp(40, 2), Newest: stamp(90, 1), Position: 102}, false},
		"after one with the same, of another": {cdc.Record{Kind: cdc.Write, Dot: stamp(40, 1), Newest: stamp(40, 2), Position: 102}, false},
		"a copy":                              {cdc.Record{Kind: cdc.Copied, Dot: stamp(40, 1), Newest: stamp(40, 1), Position: 102}, false},
		"an expiry":                           {cdc.Record{Kind: cdc.Expired, Dot: stamp(70, 2), Newest: stamp(70, 2), Position: 102}, true},
		"a later expiry":                      {cdc.Record{Kind: cdc.Expired, Dot: stamp(71, 1), Newest: stamp(71, 1), Position: 102}, false},
		"long after it was written":           {cdc.Record{Kind: cdc.Write, Dot: stamp(100, 1), Newest: stamp(100, 1), Position: hlc.Timestamp(100).Add(late) + 1}, false},
	} {
		if got := v.Covers(&c.r); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
