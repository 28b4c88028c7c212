package conflict

import (
	"bytes"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// Missing returns the dots that both, a join of r with another record, has and r has not, but for those of deletions, removals and observations that may have been collected from r at the purge frontier given. A put that is missing shows
// by its attributes, a contribution that some write had seen by what that write did.
func (r *Record) Missing(both *Record, purge hlc.Timestamp) (dots []hlc.Stamp) {
	if r.Reset.Stamp.Compare(both.Reset.Stamp) < 0 && both.Reset.Stamp.Time > purge {
		dots = append(dots, both.Reset.Stamp)
	}
	i := 0
	for _, c := range both.Cells { // both are sorted by name
		for i < len(r.Cells) && bytes.Compare(r.Cells[i].Name, c.Name) < 0 {
			i++
		}
		if c.Removed && c.Stamp.Time <= purge {
			continue
		}
		if i == len(r.Cells) || !bytes.Equal(r.Cells[i].Name, c.Name) || r.Cells[i].Stamp.Compare(c.Stamp) < 0 {
			dots = append(dots, c.Stamp)
		}
	}
	for i := range both.Nested {
		if c := &both.Nested[i]; !(c.Removed && c.Stamp.Time <= purge) && !r.has(c) {
			dots = append(dots, c.Stamp)
		}
	}
	for i := range both.Typed {
		t := r.typed(both.Typed[i].Name)
		if t == nil {
			t = &Typed{}
		}
		dots = append(dots, t.missing(&both.Typed[i], purge)...)
	}
	return dots
}

// missing is Record.Missing for what an attribute has beside its cell.
func (t *Typed) missing(both *Typed, purge hlc.Timestamp) (dots []hlc.Stamp) {
	have := map[hlc.Stamp]bool{}
	t.writes(func(dot hlc.Stamp) { have[dot] = true })
	both.dots(func(dot hlc.Stamp) bool {
		if !have[dot] {
			dots = append(dots, dot)
		}
		return true
	})
	both.observers(func(by hlc.Stamp) {
		if !have[by] && by.Time > purge {
			dots = append(dots, by)
		}
	})
	return dots
}
