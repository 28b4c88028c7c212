// Package watermark keeps the matrix of watermarks and derives the purge frontier from it (PROTOCOL.md section 4 rule 1).
//
// Row i says, for every origin j, the HLC below which region i has durably applied everything of j. F of a placement is the least
// entry over all ordered pairs of its members. P is a value that F had at some local HLC h, once F itself has reached h: in one phase a
// write made before its writer had seen a delete could still be on its way. It speaks of what the members wrote; for what others had written that were members once, see package commit, RaisePurge.
//
// The matrix is pure state: the caller brings rows, its own HLC, and serialises calls or relies on the mutex.
package watermark

import (
	"maps"
	"slices"
	"sync"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Row is what one region has applied, as of its own HLC.
type Row struct {
	Region hlc.Origin                   `json:"region"`
	HLC    hlc.Timestamp                `json:"hlc"`   // the region's clock when it made the row
	Marks  map[hlc.Origin]hlc.Timestamp `json:"marks"` // by origin; its own is HLC
}

const (
	maxFrontiers = 4096 // placements whose frontier is kept
	maxRegions   = 1024 // rows, and marks in one: rows come from peers
)

// Matrix holds the newest row of each region.
type Matrix struct {
	mu        sync.Mutex
	rows      map[hlc.Origin]Row
	frontiers map[globaltable.LaneID]*frontier
}

// frontier is the two-phase state of one placement.
type frontier struct {
	purge     hlc.Timestamp // P
	candidate hlc.Timestamp // what F was at local HLC at; zero: none
	at        hlc.Timestamp
}

// New returns an empty matrix.
func New() *Matrix {
	return &Matrix{rows: map[hlc.Origin]Row{}, frontiers: map[globaltable.LaneID]*frontier{}}
}

// Update takes a row; one older than what is known of its region is ignored, as is one of more regions than there can be, and no mark runs back. The
// matrix keeps its own copy.
func (m *Matrix) Update(r Row) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.rows[r.Region]
	if known && r.HLC <= old.HLC || !known && len(m.rows) >= maxRegions {
		return
	}
	marks := maps.Clone(r.Marks)
	if marks == nil {
		marks = map[hlc.Origin]hlc.Timestamp{}
	}
	for o, t := range old.Marks {
		marks[o] = max(marks[o], t)
	}
	marks[r.Region] = max(marks[r.Region], r.HLC)
	if len(marks) > maxRegions {
		return
	}
	m.rows[r.Region] = Row{Region: r.Region, HLC: r.HLC, Marks: marks}
}

// Mark raises the mark of origin in the row of self, which only self writes.
func (m *Matrix) Mark(self, origin hlc.Origin, t hlc.Timestamp) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.own(self)
	r.Marks[origin] = max(r.Marks[origin], t)
}

// Beat sets the HLC of the row of self: everything that self stamped at or below now is durable.
func (m *Matrix) Beat(self hlc.Origin, now hlc.Timestamp) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.own(self)
	if now > r.HLC {
		r.HLC, r.Marks[self] = now, max(r.Marks[self], now)
		m.rows[self] = r
	}
}

func (m *Matrix) own(self hlc.Origin) Row {
	r, ok := m.rows[self]
	if !ok {
		r = Row{Region: self, Marks: map[hlc.Origin]hlc.Timestamp{}}
		m.rows[self] = r
	}
	return r
}

// Rows returns copies of all rows, sorted by region, to be sent with a heartbeat.
func (m *Matrix) Rows() []Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Row, 0, len(m.rows))
	for _, r := range m.rows {
		out = append(out, Row{Region: r.Region, HLC: r.HLC, Marks: maps.Clone(r.Marks)})
	}
	slices.SortFunc(out, func(a, b Row) int { return int(a.Region) - int(b.Region) })
	return out
}

// Row returns a copy of the region's row.
func (m *Matrix) Row(region hlc.Origin) (Row, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[region]
	return Row{Region: r.Region, HLC: r.HLC, Marks: maps.Clone(r.Marks)}, ok
}

// Applied returns F of the placement: the least mark over all ordered pairs of members. A member that was never heard of counts as zero.
func (m *Matrix) Applied(p globaltable.Placement) hlc.Timestamp {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(p) == 0 {
		return 0
	}
	least, foremost := ^hlc.Timestamp(0), hlc.Timestamp(0)
	for _, i := range p {
		own := ^hlc.Timestamp(0)
		for _, j := range p {
			own = min(own, m.rows[i].Marks[j])
		}
		least, foremost = min(least, own), max(foremost, own)
	}
	if plantedForemost {
		return foremost
	}
	return least
}

// Least returns the ordered pair of different members with the least mark: who holds the placement's purge frontier back most. ok is false for fewer than two members.
func (m *Matrix) Least(p globaltable.Placement) (region, origin hlc.Origin, mark hlc.Timestamp, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range p {
		for _, j := range p {
			if t := m.rows[i].Marks[j]; i != j && (!ok || t < mark) {
				region, origin, mark, ok = i, j, t, true
			}
		}
	}
	return region, origin, mark, ok
}

// Advance moves the purge frontier of the lane's placement as far as F allows, which is applied, and returns it. The local HLC now was read after applied: a write that was made before its writer had
// applied all up to there must not have a greater stamp than now.
func (m *Matrix) Advance(lane globaltable.LaneID, applied, now hlc.Timestamp) hlc.Timestamp {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frontier(lane)
	if f == nil {
		return 0
	}
	if plantedOnePhase {
		f.purge = max(f.purge, applied)
		return f.purge
	}
	if f.candidate != 0 && applied >= f.at {
		f.purge = max(f.purge, f.candidate)
		f.candidate = 0
	}
	if f.candidate == 0 && applied > f.purge {
		f.candidate, f.at = applied, now
	}
	return f.purge
}

// Purge returns the purge frontier of the lane's placement.
func (m *Matrix) Purge(lane globaltable.LaneID) hlc.Timestamp {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.frontiers[lane]; f != nil {
		return f.purge
	}
	return 0
}

// Raise takes a frontier that another member of the placement has reached: P is a global fact.
func (m *Matrix) Raise(lane globaltable.LaneID, purge hlc.Timestamp) {
	if purge == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.frontier(lane); f != nil {
		f.purge = max(f.purge, purge)
	}
}

// frontier returns the lane's state, nil when too many are kept: such a placement collects nothing.
func (m *Matrix) frontier(lane globaltable.LaneID) *frontier {
	f := m.frontiers[lane]
	if f == nil && len(m.frontiers) < maxFrontiers {
		f = &frontier{}
		m.frontiers[lane] = f
	}
	return f
}
