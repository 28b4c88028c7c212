package watermark

import (
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// The reference keeps everything that ever happened and looks it all through each time.

type pair struct{ region, origin hlc.Origin }

type reference struct {
	newest map[hlc.Origin]hlc.Timestamp // HLC of the region's row; no entry: never heard of
	marks  map[pair]hlc.Timestamp
	lanes  map[globaltable.LaneID]*history
}

// history is what Advance saw of one placement.
type history struct {
	looks  []look
	raised []hlc.Timestamp
	last   hlc.Timestamp // what Advance returned before
}

type look struct{ now, applied hlc.Timestamp }

func (r *reference) raise(region, origin hlc.Origin, t hlc.Timestamp) {
	r.marks[pair{region, origin}] = max(r.marks[pair{region, origin}], t)
}

func (r *reference) applied(p globaltable.Placement) hlc.Timestamp {
	var all []hlc.Timestamp
	for _, i := range p {
		for _, j := range p {
			all = append(all, r.marks[pair{i, j}])
		}
	}
	if len(all) == 0 {
		return 0
	}
	return slices.Min(all)
}

// leastBetween is applied without what members have of themselves.
func (r *reference) leastBetween(p globaltable.Placement) hlc.Timestamp {
	var all []hlc.Timestamp
	for _, i := range p {
		for _, j := range p {
			if i != j {
				all = append(all, r.marks[pair{i, j}])
			}
		}
	}
	return slices.Min(all)
}

// allowed reports whether P may be purge: F had that value at a local HLC which F has reached since, or another member said so.
func (h *history) allowed(purge hlc.Timestamp) bool {
	if purge == 0 || slices.Contains(h.raised, purge) {
		return true
	}
	for i, first := range h.looks {
		for _, later := range h.looks[i+1:] {
			if first.applied == purge && later.applied >= first.now {
				return true
			}
		}
	}
	return false
}

func TestMatrixIsItsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New()
		ref := &reference{newest: map[hlc.Origin]hlc.Timestamp{}, marks: map[pair]hlc.Timestamp{}, lanes: map[globaltable.LaneID]*history{}}
		now := hlc.Timestamp(1)
		region := rapid.Custom(func(t *rapid.T) hlc.Origin { return hlc.Origin(rapid.IntRange(1, 4).Draw(t, "region")) })
		moment := func(t *rapid.T) hlc.Timestamp {
			return hlc.Timestamp(rapid.Uint64Range(0, uint64(now)).Draw(t, "moment"))
		}
		placement := rapid.Custom(func(t *rapid.T) globaltable.Placement {
			return globaltable.NewPlacement(rapid.SliceOfN(region, 0, 4).Draw(t, "members")...)
		})
		lane := func(p globaltable.Placement) *history {
			if ref.lanes[p.Lane()] == nil {
				ref.lanes[p.Lane()] = &history{}
			}
			return ref.lanes[p.Lane()]
		}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) { now += hlc.Timestamp(rapid.IntRange(1, 20).Draw(t, "by")) },
			"row": func(t *rapid.T) {
				r := Row{Region: region.Draw(t, "of"), HLC: moment(t), Marks: map[hlc.Origin]hlc.Timestamp{}}
				for o := hlc.Origin(1); o <= 4; o++ {
					if rapid.Bool().Draw(t, "marked") {
						r.Marks[o] = moment(t)
					}
				}
				m.Update(r)
				if old, known := ref.newest[r.Region]; !known || r.HLC > old {
					ref.newest[r.Region] = r.HLC
					ref.raise(r.Region, r.Region, r.HLC)
					for o, t := range r.Marks {
						ref.raise(r.Region, o, t)
					}
				}
				clear(r.Marks) // the matrix has a copy
			},
			"mark": func(t *rapid.T) {
				self, origin, at := region.Draw(t, "self"), region.Draw(t, "origin"), moment(t)
				m.Mark(self, origin, at)
				ref.raise(self, origin, at)
				ref.newest[self] += 0 // heard of now
			},
			"beat": func(t *rapid.T) {
				self, at := region.Draw(t, "self"), moment(t)
				m.Beat(self, at)
				ref.newest[self] = max(ref.newest[self], at)
				if at == ref.newest[self] {
					ref.raise(self, self, at)
				}
			},
			"raise": func(t *rapid.T) {
				p, at := placement.Draw(t, "placement"), moment(t)
				m.Raise(p.Lane(), at)
				lane(p).raised = append(lane(p).raised, at)
			},
			"advance": func(t *rapid.T) {
				p := placement.Draw(t, "placement")
				h := lane(p)
				h.looks = append(h.looks, look{now, ref.applied(p)})
				purge := m.Advance(p.Lane(), m.Applied(p), now)
				if !h.allowed(purge) {
					t.Fatalf("P of %v is %d, which F was not at any moment that F has reached: %v", p, purge, h.looks)
				}
				if purge < h.last {
					t.Fatalf("P of %v runs back from %d to %d", p, h.last, purge)
				}
				h.last = purge
			},
			"": func(t *rapid.T) {
				p := placement.Draw(t, "placement")
				if got, want := m.Applied(p), ref.applied(p); got != want {
					t.Fatalf("F of %v is %d, want %d", p, got, want)
				}
				if i, j, mark, ok := m.Least(p); ok != (len(p) > 1) || ok && (i == j || !p.Has(i) || !p.Has(j) || mark != ref.marks[pair{i, j}]) {
					t.Fatalf("the least mark of %v is %d of %d in %d, %v", p, mark, j, i, ok)
				} else if ok && ref.leastBetween(p) != mark {
					t.Fatalf("the least mark of %v is %d, not %d", p, ref.leastBetween(p), mark)
				}
				if h := ref.lanes[p.Lane()]; h != nil && m.Purge(p.Lane()) < max(h.last, slices.Max(append(h.raised, 0))) {
					t.Fatalf("P of %v is %d, and was %d, and raised to %v", p, m.Purge(p.Lane()), h.last, h.raised)
				}
				for _, r := range m.Rows() {
					for o, at := range r.Marks {
						if at != ref.marks[pair{r.Region, o}] {
							t.Fatalf("mark of %d in %d is %d, want %d", o, r.Region, at, ref.marks[pair{r.Region, o}])
						}
					}
				}
			},
		})
		// When everybody has applied everything, P gets there.
		all := globaltable.NewPlacement(1, 2, 3, 4)
		for range 2 {
			for i := range all {
				for j := range all {
					m.Mark(all[i], all[j], now)
				}
			}
			m.Advance(all.Lane(), m.Applied(all), now)
		}
		if got := m.Advance(all.Lane(), m.Applied(all), now); got != now {
			t.Fatalf("P is %d at rest, want %d", got, now)
		}
	})
}

func TestPurgeFrontierTakesTwoPhases(t *testing.T) {
	m, p := New(), globaltable.NewPlacement(1, 2)
	everywhere := func(at hlc.Timestamp) {
		for _, i := range p {
			m.Update(Row{Region: i, HLC: at, Marks: map[hlc.Origin]hlc.Timestamp{1: at, 2: at}})
		}
	}
	for _, step := range []struct {
		name         string
		applied, now hlc.Timestamp
		want         hlc.Timestamp
	}{
		{"F is 10 at local HLC 20", 10, 20, 0},
		{"F is below 20", 19, 30, 0},
		{"F has reached 20", 20, 40, 10},
		{"the next one began at 40", 39, 50, 10},
		{"and F has reached it", 40, 60, 20},
	} {
		everywhere(step.applied)
		if got := m.Advance(p.Lane(), m.Applied(p), step.now); got != step.want {
			t.Errorf("%s: P is %d, want %d", step.name, got, step.want)
		}
	}
}

func TestUnheardMemberHoldsEverythingBack(t *testing.T) {
	m, p := New(), globaltable.NewPlacement(1, 2, 3)
	for _, i := range []hlc.Origin{1, 2} {
		m.Update(Row{Region: i, HLC: 100, Marks: map[hlc.Origin]hlc.Timestamp{1: 100, 2: 100, 3: 100}})
	}
	if got := m.Applied(p); got != 0 {
		t.Errorf("F is %d with a member never heard of", got)
	}
	for range 3 {
		if got := m.Advance(p.Lane(), m.Applied(p), 1); got != 0 {
			t.Errorf("P is %d with a member never heard of", got)
		}
	}
	if got := m.Applied(globaltable.NewPlacement(1, 2)); got != 100 {
		t.Errorf("F of the two heard of is %d", got)
	}
	if got := m.Applied(nil); got != 0 {
		t.Errorf("F of nobody is %d", got)
	}
}

func TestRaise(t *testing.T) {
	m := New()
	m.Raise(7, 50)
	m.Raise(7, 40)
	m.Raise(8, 0)
	if got := m.Purge(7); got != 50 {
		t.Errorf("P is %d, want 50: it never runs back", got)
	}
	if len(m.frontiers) != 1 {
		t.Errorf("a frontier of zero takes room: %d kept", len(m.frontiers))
	}
	// A region that knows P from others goes on from it.
	p := globaltable.NewPlacement(1)
	m.Raise(p.Lane(), 50)
	m.Beat(1, 60)
	if got := m.Advance(p.Lane(), m.Applied(p), 60); got != 50 {
		t.Errorf("P is %d, want 50", got)
	}
	if got := m.Advance(p.Lane(), m.Applied(p), 70); got != 60 {
		t.Errorf("P is %d, want 60", got)
	}
}

func TestBounds(t *testing.T) {
	m := New()
	for i := range maxFrontiers + 100 {
		m.Raise(globaltable.LaneID(i+2), 9)
	}
	if len(m.frontiers) != maxFrontiers {
		t.Errorf("%d frontiers are kept, want %d", len(m.frontiers), maxFrontiers)
	}
	p := globaltable.NewPlacement(1)
	m.Beat(1, 10)
	for range 2 {
		if got := m.Advance(p.Lane(), m.Applied(p), 10); got != 0 {
			t.Errorf("P of a placement that found no room is %d: it must collect nothing", got)
		}
	}
	m.Raise(2, 10)
	if got := m.Purge(2); got != 10 {
		t.Errorf("P of a placement that has room is %d, want 10", got)
	}

	marks := map[hlc.Origin]hlc.Timestamp{}
	for i := range maxRegions + 100 {
		marks[hlc.Origin(i+1)] = 1
	}
	for i := range maxRegions + 100 {
		m.Update(Row{Region: hlc.Origin(i + 1), HLC: 20})
	}
	m.Update(Row{Region: 1, HLC: 30, Marks: marks})
	if n := len(m.Rows()); n != maxRegions {
		t.Errorf("%d rows are kept, want %d", n, maxRegions)
	}
	if r, _ := m.Row(1); len(r.Marks) != 1 || r.HLC != 20 {
		t.Errorf("a row with %d marks was taken", len(marks))
	}
	for i := range maxRegions + 100 { // and not bit by bit either
		m.Update(Row{Region: 1, HLC: hlc.Timestamp(40 + i), Marks: map[hlc.Origin]hlc.Timestamp{hlc.Origin(i + 1): 1}})
	}
	if r, _ := m.Row(1); len(r.Marks) != maxRegions {
		t.Errorf("%d marks are kept, want %d", len(r.Marks), maxRegions)
	}
}

func TestRowsAreCopies(t *testing.T) {
	m := New()
	m.Beat(1, 5)
	row, ok := m.Row(1)
	if !ok {
		t.Fatal("no row")
	}
	row.Marks[1] = 99
	m.Rows()[0].Marks[1] = 99
	if got := m.Applied(globaltable.NewPlacement(1)); got != 5 {
		t.Errorf("F is %d: the caller wrote into the matrix", got)
	}
	if _, ok := m.Row(2); ok {
		t.Error("a row of a region never heard of")
	}
	m.Beat(3, 1)
	m.Beat(2, 1)
	var order []hlc.Origin
	for _, r := range m.Rows() {
		order = append(order, r.Region)
	}
	if !slices.Equal(order, []hlc.Origin{1, 2, 3}) {
		t.Errorf("rows are in the order %v", order)
	}
}

// TestConcurrentUse is for the race detector; what must hold besides is that the frontier only rises.
func TestConcurrentUse(t *testing.T) {
	m, p := New(), globaltable.NewPlacement(1, 2)
	var wg sync.WaitGroup
	for _, self := range p {
		wg.Go(func() {
			for at := hlc.Timestamp(1); at <= 500; at++ {
				m.Beat(self, at)
				m.Mark(self, 3-self, at)
			}
		})
	}
	wg.Go(func() {
		for at := hlc.Timestamp(1); at <= 500; at++ {
			m.Update(Row{Region: 3, HLC: at, Marks: map[hlc.Origin]hlc.Timestamp{1: at}})
			m.Raise(9, at)
			m.Rows()
		}
	})
	last := hlc.Timestamp(0)
	for at := hlc.Timestamp(1); at <= 500; at++ {
		if got := m.Advance(p.Lane(), m.Applied(p), at); got < last || got > m.Applied(p) {
			t.Errorf("P is %d after %d", got, last)
		} else {
			last = got
		}
	}
	wg.Wait()
	if got := m.Applied(p); got != 500 {
		t.Errorf("F is %d in the end", got)
	}
}
