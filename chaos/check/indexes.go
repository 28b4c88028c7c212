package check

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// Attribute is one attribute of an index's key.
type Attribute struct {
	Name string
	Type byte // the first byte of its values, as the store has them; a length follows, as a varint, and the bytes
	Most int  // bytes that a value may have; it has one at least. 0: values of this type have no length before them, and none is too long
}

func (a *Attribute) takes(value string) bool {
	if value == "" || value[0] != a.Type {
		return false
	}
	if a.Most == 0 {
		return true
	}
	n, _ := binary.Uvarint([]byte(value[1:]))
	return n > 0 && n <= uint64(a.Most)
}

// Index is a secondary index of a table in one region, as its document and its store have it.
type Index struct {
	Table      uint64
	ID         uint32
	Attributes []Attribute // of the partition key, then of the sort key
	Missing    bool        // the store knows nothing of it
	Built      bool
	UpTo       string // while it is not built: it is, for the keys up to and with this one
	Count      uint64 // of entries, as kept
	Entries    []Entry
}

// Entry is one entry.
type Entry struct {
	Values []string // of the index's attributes, encoded as the store has them
	Key    string   // of the item
}

func (e Entry) text() string { return strings.Join(e.Values, "\x00\x00") + "\x00\x00" + e.Key }

// Indexes checks I14: each index has one entry for each item that has all of its attributes, each of its type and size, with these values; and no other. An index that is being built has them up to a key.
// A region that does not hold a table need not have its indexes.
func Indexes(s Snapshot) []Violation {
	var out []Violation
	for i := range s.Indexes {
		x := &s.Indexes[i]
		if x.Missing {
			if slices.Contains(s.Holds(Key{Table: x.Table}), s.Region) {
				out = append(out, violation("I14", s.Region, "index %d of table %x is in the document, and not in the store", x.ID, x.Table))
			}
			continue
		}
		out = append(out, x.check(&s)...)
	}
	return out
}

func (x *Index) check(s *Snapshot) []Violation {
	var out []Violation
	want := map[string]Key{}
	for _, k := range sortedKeys(s.Records, s.Records) {
		if k.Table != x.Table || !x.Built && cmp.Compare(k.Bytes, x.UpTo) > 0 {
			continue
		}
		if e, ok := x.entryOf(k, s.Records[k]); ok {
			want[e.text()] = k
		}
	}
	if x.Count != uint64(len(want)) {
		out = append(out, violation("I14", s.Region, "index %d of table %x counts %d entries, its records make %d", x.ID, x.Table, x.Count, len(want)))
	}
	for _, e := range x.Entries {
		if _, is := want[e.text()]; !is {
			out = append(out, violation("I14", s.Region, "index %d of table %x has an entry %q of %x, which its record does not make", x.ID, x.Table, e.Values, e.Key))
		}
		delete(want, e.text())
	}
	for _, k := range sortedKeys(s.Records, s.Records) {
		if e, ok := x.entryOf(k, s.Records[k]); ok && k.Table == x.Table {
			if _, left := want[e.text()]; left {
				out = append(out, violation("I14", s.Region, "index %d of table %x has no entry %q of %s", x.ID, x.Table, e.Values, k))
			}
		}
	}
	return out
}

// entryOf returns the entry that a record makes.
func (x *Index) entryOf(k Key, r Record) (e Entry, ok bool) {
	if presence, there := r.Cells[""]; !there || presence.Removed {
		return Entry{}, false
	}
	for i := range x.Attributes {
		c, there := r.Cells[x.Attributes[i].Name]
		if !there || c.Removed || !x.Attributes[i].takes(c.Value) {
			return Entry{}, false
		}
		e.Values = append(e.Values, c.Value)
	}
	e.Key = k.Bytes
	return e, true
}
