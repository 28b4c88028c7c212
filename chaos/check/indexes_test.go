package check

import (
	"slices"
	"strings"
	"testing"
)

// TestIndexesAreJudged plants each fault that an index can have.
func TestIndexesAreJudged(t *testing.T) {
	text := func(v string) string { return "\x01" + string(rune(len(v))) + v }
	record := func(a, b string) Record {
		r := Record{Cells: map[string]Cell{"": {Stamp: Stamp{1, 1}}}}
		for name, v := range map[string]string{"a": a, "b": b} {
			if v != "" {
				r.Cells[name] = Cell{Stamp: Stamp{1, 1}, Value: v}
			}
		}
		return r
	}
	dead := record(text("x"), "")
	dead.Cells[""] = Cell{Stamp: Stamp{2, 1}, Removed: true}
	gone := record(text("x"), "")
	gone.Cells["a"] = Cell{Stamp: Stamp{2, 1}, Removed: true}
	sound := func() Snapshot {
		return Snapshot{
			Replica: Replica{Region: 1, Records: map[Key]Record{
				{7, "k1"}: record(text("x"), text("y")), {7, "k2"}: record(text("x"), ""), {7, "k3"}: record("", text("y")), {7, "k4"}: dead, {7, "k5"}: gone,
				{7, "k6"}: record("\x02number", ""), {7, "k7"}: record(text(""), ""), {7, "k8"}: record(text("too long"), ""), {8, "k1"}: record(text("x"), ""),
			}},
			Indexes: []Index{{Table: 7, ID: 1, Attributes: []Attribute{{"a", 1, 4}}, Built: true, Count: 2, Entries: []Entry{{[]string{text("x")}, "k1"}, {[]string{text("x")}, "k2"}}}},
			Holds:   func(Key) []uint16 { return []uint16{1} },
		}
	}
	for name, c := range map[string]struct {
		change func(s *Snapshot, x *Index)
		found  string
	}{
		"sound":                   {func(*Snapshot, *Index) {}, ""},
		"missing entry":           {func(_ *Snapshot, x *Index) { x.Entries = x.Entries[1:] }, "has no entry"},
		"entry of nothing":        {func(_ *Snapshot, x *Index) { x.Entries = append(x.Entries, Entry{[]string{text("x")}, "k9"}) }, "which its record does not make"},
		"entry of what was there": {func(_ *Snapshot, x *Index) { x.Entries[0].Values = []string{text("w")} }, "which its record does not make"},
		"entry twice":             {func(_ *Snapshot, x *Index) { x.Entries = append(x.Entries, x.Entries[0]) }, "which its record does not make"},
		"wrong count":             {func(_ *Snapshot, x *Index) { x.Count++ }, "counts 3 entries, its records make 2"},
		"missing":                 {func(_ *Snapshot, x *Index) { *x = Index{Table: 7, ID: 1, Missing: true} }, "not in the store"},
		"missing where it may be": {func(s *Snapshot, x *Index) {
			*x, s.Holds = Index{Table: 7, ID: 1, Missing: true}, func(Key) []uint16 { return nil }
		}, ""},
		"two attributes": {func(_ *Snapshot, x *Index) { x.Attributes = append(x.Attributes, Attribute{"b", 1, 4}) }, "which its record does not make"},
		"of numbers": {func(_ *Snapshot, x *Index) {
			x.Attributes[0], x.Count, x.Entries = Attribute{"a", 2, 0}, 1, []Entry{{[]string{"\x02number"}, "k6"}}
		}, ""},
		"of numbers, without one":    {func(_ *Snapshot, x *Index) { x.Attributes[0], x.Count, x.Entries = Attribute{"a", 2, 0}, 1, nil }, "has no entry"},
		"built to the first":         {func(_ *Snapshot, x *Index) { x.Built, x.UpTo, x.Count, x.Entries = false, "k1", 1, x.Entries[:1] }, ""},
		"an entry where none is yet": {func(_ *Snapshot, x *Index) { x.Built, x.UpTo, x.Count = false, "k1", 1 }, "which its record does not make"},
		"nothing built":              {func(_ *Snapshot, x *Index) { x.Built, x.UpTo, x.Count, x.Entries = false, "", 0, nil }, ""},
	} {
		s := sound()
		c.change(&s, &s.Indexes[0])
		found := Indexes(s)
		if c.found == "" {
			if len(found) > 0 {
				t.Errorf("%s: %v", name, found)
			}
			continue
		}
		if !slices.ContainsFunc(found, func(v Violation) bool { return v.Invariant == "I14" && strings.Contains(v.Detail, c.found) }) {
			t.Errorf("%s: %v, want %q", name, found, c.found)
		}
	}
}
