package repair

import (
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// written returns the record after writes of one attribute each, in the order given, on top of each other: at a time, by an origin; an empty value deletes the item.
func written(t *testing.T, writes ...write) (record []byte) {
	t.Helper()
	for _, w := range writes {
		c := &conflict.Change{Table: 42, Key: []byte("12345678k"), Dot: hlc.Stamp{Time: w.at, Origin: w.by}}
		switch {
		case w.value == "":
			c.Ops = conflict.RecordDelete(nil)
		case w.attribute != "":
			c.Ops = []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte(w.attribute), Value: item.AppendString(nil, w.value)}}
		default:
			var b item.Builder
			b.Add([]byte("v"), item.AppendString(nil, w.value))
			it, err := b.AppendItem(nil)
			if err != nil {
				t.Fatal(err)
			}
			c.Ops = conflict.RecordPut(nil, it)
		}
		next, _, err := conflict.Apply(nil, record, c)
		if err != nil {
			t.Fatal(err)
		}
		record = next
	}
	return record
}

type write struct {
	at        hlc.Timestamp
	by        hlc.Origin
	attribute string // empty: the whole item
	value     string // empty: deleted
}

// TestClassify: a difference is divergence only if a side lacks a dot at or below its own watermark, or equal writes hide different bytes.
func TestClassify(t *testing.T) {
	const eu, us = 2, 3
	put := write{10, eu, "", "a"}
	later := write{20, us, "", "b"}
	gone := write{20, us, "", ""}
	cell := write{30, us, "other", "c"}
	for name, c := range map[string]struct {
		a, b           []byte
		marksA, marksB marks
		want           verdict
	}{
		"nothing":                      {nil, nil, nil, nil, equal},
		"the same":                     {written(t, put, later), written(t, put, later), nil, nil, equal},
		"a tombstone and nothing":      {written(t, put, gone), nil, marks{us: 99}, marks{us: 99}, equal},
		"an item not there yet":        {written(t, put), nil, marks{eu: 99}, marks{eu: 9}, inFlight},
		"an item that is missing":      {written(t, put), nil, nil, marks{eu: 10}, diverged},
		"missing in the first":         {nil, written(t, put), marks{eu: 10}, nil, diverged},
		"a put not there yet":          {written(t, put, later), written(t, put), marks{us: 99, eu: 99}, marks{us: 19, eu: 99}, inFlight},
		"a put that is missing":        {written(t, put, later), written(t, put), marks{us: 99}, marks{us: 20}, diverged},
		"a deletion not there yet":     {written(t, put, gone), written(t, put), nil, marks{us: 19}, inFlight},
		"an item that rose again":      {written(t, put, gone), written(t, put), nil, marks{us: 20}, diverged},
		"an attribute not there yet":   {written(t, put, cell), written(t, put), nil, marks{us: 29, eu: 99}, inFlight},
		"an attribute that is missing": {written(t, put, cell), written(t, put), nil, marks{us: 30}, diverged},
		"each lacks one":               {written(t, put), written(t, write{11, us, "", "b"}), marks{us: 10}, marks{eu: 9}, inFlight},
		"other bytes of one write":     {written(t, put), written(t, write{10, eu, "", "b"}), nil, nil, diverged},
	} {
		got, err := classify(c.a, c.marksA, c.b, c.marksB)
		if err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
	if _, err := classify([]byte{0xff}, nil, nil, nil); err == nil {
		t.Error("what is no record was compared")
	}
}
