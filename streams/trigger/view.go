package trigger

import (
	"encoding/binary"
	"encoding/json"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// viewOf returns what a table says of one of its triggers to a region. active reports whether a region is an active member.
func viewOf(t *globaltable.Table, g *globaltable.Trigger, self hlc.Origin, life globaltable.Incarnation, active func(hlc.Origin) bool) View {
	v := View{Era: Era{Fire: g.Fire, Replay: g.Replay.Number}, From: g.Begins, Paused: g.Paused, Life: life}
	if g.Replay.Number != 0 {
		v.From = g.Replay.From
	}
	for i := range t.Replicas {
		r := &t.Replicas[i]
		fires := active(r.Origin) && (r.Status == globaltable.Active || r.Status == globaltable.Updating || r.Status == globaltable.Creating || r.Status == globaltable.Deleting)
		switch {
		case r.Status == globaltable.StatusFenced || r.Status == globaltable.CreationFailed:
		default:
			v.Live = append(v.Live, r.Origin)
		}
		switch {
		case fires:
			v.Home = append(v.Home, r.Origin)
		case r.Status != globaltable.CreationFailed:
			v.Out = append(v.Out, r.Origin)
		}
	}
	_, v.Tells = t.StreamIn(self)
	if r := t.Replica(self); r != nil {
		v.Always = v.Tells && r.Since < g.Born
	}
	v.Era.Division = division(t)
	if g.Fire == globaltable.FireEverywhere {
		return v
	}
	for _, p := range locality.Placements(t) {
		v.Lanes = append(v.Lanes, Lane{ID: p.Lane(), Regions: firing(t, p, active)})
	}
	return v
}

// NewRow returns a region's row, as it matters to a table: at and marks are those of its row of watermarks, swept is up to where it has collected all of the table's expired items.
func NewRow(t *globaltable.Table, self hlc.Origin, at hlc.Timestamp, marks map[hlc.Origin]hlc.Timestamp, swept hlc.Timestamp) Row {
	row := Row{HLC: at, Marks: marks}
	switch {
	case len(t.Expiry) > 0:
		row.Expired = swept
	case t.Owner == self:
		row.Expired = at
	default:
		// Nothing expires but by what the owner says, and that has come here, up to there.
		row.Expired = marks[t.Owner]
	}
	return row
}

// firing returns the regions of a placement that may fire, in the order of names, which is that of replicas.
func firing(t *globaltable.Table, p globaltable.Placement, active func(hlc.Origin) bool) (out []hlc.Origin) {
	for i := range t.Replicas {
		if r := &t.Replicas[i]; p.Has(r.Origin) && active(r.Origin) && (r.Status == globaltable.Active || r.Status == globaltable.Updating) {
			out = append(out, r.Origin)
		}
	}
	return out
}

// division returns a hash of all that the placements of t's items follow from.
func division(t *globaltable.Table) uint64 {
	h := xxhash.New()
	for i := range t.Pins {
		p := &t.Pins[i]
		where := globaltable.Pin{Match: p.Match, Jurisdictions: p.Jurisdictions, Regions: p.Regions, Released: p.Released}
		b, _ := json.Marshal(&where) // strings and numbers: cannot fail
		_, _ = h.Write(b)
	}
	placements := locality.Placements(t)
	slices.SortFunc(placements, func(a, b globaltable.Placement) int { return slices.Compare(a, b) })
	for _, p := range placements {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(p.Lane())))
	}
	return h.Sum64()
}

// laneOf returns which placement the item of t at key has; zero: none.
func laneOf(t *globaltable.Table, key []byte) globaltable.LaneID {
	p := locality.Place(t, key)
	if len(p) == 0 {
		return 0
	}
	return p.Lane()
}
