package plan

import (
	"bytes"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Units are capacity units by what consumed them.
type Units struct {
	Table   float64
	Indexes []float64 // of each of the table's indexes, in the order of Table.Indexes; nil: none consumed any
}

// Sum returns all of them together.
func (u *Units) Sum() float64 {
	sum := u.Table
	for _, x := range u.Indexes {
		sum += x
	}
	return sum
}

// Add adds v, of the same table, n times.
func (u *Units) Add(v Units, n float64) {
	u.Table += n * v.Table
	if u.Indexes == nil && v.Indexes != nil {
		u.Indexes = make([]float64, len(v.Indexes))
	}
	for i, x := range v.Indexes {
		u.Indexes[i] += n * x
	}
}

// sizeUnits returns one unit for each part of a size begun, at least one.
func sizeUnits(bytes, part int) float64 { return float64(max(1, (bytes+part-1)/part)) }

// ReadUnits returns the units of a read of so many bytes: one, or without consistency a half, for each 4 KB begun.
func ReadUnits(bytes int, consistent bool) float64 {
	units := sizeUnits(bytes, 4096)
	if consistent {
		return units
	}
	return units / 2
}

// WriteUnits returns the units of a write that made after of before, each nil if there is none: one for each KB begun of the larger one, and the same for what changes in each index. An
// entry whose key changes is deleted and put, which is two writes.
func WriteUnits(t *globaltable.Table, before, after item.Item) Units {
	const part = 1024
	u := Units{Table: sizeUnits(max(before.Size(), after.Size()), part)}
	if len(t.Indexes) == 0 {
		return u
	}
	u.Indexes = make([]float64, len(t.Indexes))
	for i := range t.Indexes {
		x := &t.Indexes[i]
		// The item's key in the table is the same in both, so it is left out of both.
		old, _, had := x.AppendEntry(nil, before, nil)
		now, _, has := x.AppendEntry(nil, after, nil)
		if had && has && bytes.Equal(old, now) {
			if !sameProjection(t, x, before, after) {
				u.Indexes[i] = sizeUnits(max(t.ProjectedSize(x, before), t.ProjectedSize(x, after)), part)
			}
			continue
		}
		if had {
			u.Indexes[i] += sizeUnits(t.ProjectedSize(x, before), part)
		}
		if has {
			u.Indexes[i] += sizeUnits(t.ProjectedSize(x, after), part)
		}
	}
	return u
}

// sameProjection reports whether an index shows the same of both items.
func sameProjection(t *globaltable.Table, x *globaltable.Index, a, b item.Item) bool {
	return projected(t, x, a, b) && projected(t, x, b, a)
}

// projected reports whether what an index shows of a is in b.
func projected(t *globaltable.Table, x *globaltable.Index, a, b item.Item) bool {
	for name, v := range a.Each {
		if !t.Projects(x, name) {
			continue
		}
		if w, ok := b.Get(name); !ok || !bytes.Equal(v, w) {
			return false
		}
	}
	return true
}
