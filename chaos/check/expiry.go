package check

import "slices"

// due is when the item of a record expires; 0: never. Each attribute's value says for itself when (Cell.Due), so it is the least of those that are there.
func (r Record) due() (at uint64) {
	if p, there := r.Cells[""]; !there || p.Removed {
		return 0
	}
	for _, c := range r.Cells {
		if !c.Removed && c.Due > 0 && (at == 0 || c.Due < at) {
			at = c.Due
		}
	}
	return at
}

// due is when an item expires by what w gave an attribute; 0: never.
func (w *Write) due(attribute string) uint64 {
	if w.Due == nil {
		return 0
	}
	return w.Due(attribute)
}

// Due is due for a record whose cells do not say it: of gives it for a cell.
func (r Record) Due(of func(name string, c Cell) uint64) uint64 {
	out := Record{Cells: map[string]Cell{}}
	for name, c := range r.Cells {
		c.Due = of(name, c)
		out.Cells[name] = c
	}
	return out.due()
}

// Names returns the attributes of a record's item, sorted; none if there is no item.
func (r Record) Names() (names []string) {
	if p, there := r.Cells[""]; !there || p.Removed {
		return nil
	}
	for name, c := range r.Cells {
		if name != "" && !c.Removed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Expired returns what a record is at a moment: PROTOCOL.md section 1 rule 8, an expired item is a delete stamped with the moment at which it expired and no region.
func Expired(r Record, at uint64) Record {
	for {
		due := r.due()
		if due == 0 || due > at {
			return r
		}
		r = without(r, due)
	}
}

// without is a record without all that was written before a moment.
func without(r Record, moment uint64) Record {
	out := Record{Reset: r.Reset, Cells: map[string]Cell{}}
	for name, c := range r.Cells {
		if c.Stamp.Time >= moment {
			out.Cells[name] = c
		}
	}
	if reset := (Stamp{Time: moment}); reset.Compare(out.Reset) > 0 {
		out.Reset = reset
	}
	return out
}

// lived returns what r, which all the writes of a key came to, is when everything has expired that does up to purge. What a writer's purge frontier had passed and had expired by then is gone, whatever that
// write did: it may have been erased where it was made.
func lived(r Record, writes []Write, purge uint64) Record {
	writes = slices.Clone(writes)
	slices.SortFunc(writes, func(a, b Write) int { return a.Stamp.Compare(b.Stamp) })
	gone := uint64(0)
	for _, w := range writes {
		if w.Floor == 0 {
			continue
		}
		var below Record
		for _, o := range writes {
			if o.Stamp.Time <= w.Floor {
				below = Fold(below, o)
			}
		}
		if gone > 0 {
			below = without(below, gone)
		}
		for due := below.due(); due > 0 && due <= w.Floor; due = below.due() {
			below = without(below, due)
			gone = max(gone, due)
		}
	}
	if gone > 0 && len(r.Cells) > 0 {
		r = without(r, gone)
	}
	return Expired(r, purge)
}
