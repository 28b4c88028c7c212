// Package trigger fires triggers: it delivers the events of change streams to what a table's triggers name. core.go, pool.go and vector.go decide and are pure; run.go, flow.go and the targets act. See ARCHITECTURE.md, "Firing triggers".
package trigger

import (
	"maps"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/streams/cdc"
)

// Vector says what of a feed was dealt with, by whichever region. The zero value: nothing.
type Vector struct {
	Writes  map[hlc.Origin]hlc.Timestamp `json:"writes,omitempty"`  // of each origin every write with a stamp at or below
	Expired hlc.Timestamp                `json:"expired,omitempty"` // every expiry whose moment is at or before
}

// late is how long after its dot a record may come that is taken for covered. A region that comes back logs writes anew that are older than its watermark.
const late = 30 * time.Second

// Covers reports whether what r tells was certainly dealt with. A whole record stands for several writes, of which one may not have been. A write that came here after one with a greater stamp has an image with both, and before it was told one without it: a sink that had these of others, and only the first of this region, would keep that.
func (v *Vector) Covers(r *cdc.Record) bool {
	switch {
	case r.Kind == cdc.Expired:
		return r.Dot.Time <= v.Expired
	case r.Kind == cdc.Copied && !plantedCopied, r.Dot.Less(r.Newest):
		return false
	}
	return r.Dot.Time <= v.Writes[r.Dot.Origin] && r.Position <= r.Dot.Time.Add(late)
}

// Least returns a position such that all records at or below it, in the stream of any region, were dealt with: a position is above the dot of what is told there. A vector of nothing has zero.
func (v *Vector) Least() hlc.Timestamp {
	if len(v.Writes) == 0 {
		return 0
	}
	least := v.Expired
	for _, t := range v.Writes {
		least = min(least, t)
	}
	return least
}

// Join adds what another vector of the same feed says.
func (v *Vector) Join(o Vector) {
	if v.Writes == nil && len(o.Writes) > 0 {
		v.Writes = make(map[hlc.Origin]hlc.Timestamp, len(o.Writes))
	}
	for origin, t := range o.Writes {
		v.Writes[origin] = max(v.Writes[origin], t)
	}
	v.Expired = max(v.Expired, o.Expired)
}

// meet returns what both vectors say.
func meet(a, b Vector) Vector {
	out := Vector{Writes: map[hlc.Origin]hlc.Timestamp{}, Expired: min(a.Expired, b.Expired)}
	for o, t := range a.Writes {
		if u, ok := b.Writes[o]; ok {
			out.Writes[o] = min(t, u)
		}
	}
	return out
}

func (v Vector) clone() Vector { return Vector{Writes: maps.Clone(v.Writes), Expired: v.Expired} }

// since returns the vector of a feed that begins: nothing at or before that moment is fired.
func since(at hlc.Timestamp, origins ...hlc.Origin) Vector {
	v := Vector{Writes: make(map[hlc.Origin]hlc.Timestamp, len(origins)), Expired: at}
	for _, o := range origins {
		v.Writes[o] = at
	}
	return v
}
