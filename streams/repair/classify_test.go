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
		purgeA         hlc.Timestamp
		want           verdict
	}{
		"nothing":                                   {nil, nil, nil, nil, 0, equal},
		"the same":                                  {written(t, put, later), written(t, put, later), nil, nil, 0, equal},
		"a tombstone and nothing":                   {written(t, put, gone), nil, marks{us: 99}, marks{us: 99}, 0, equal},
		"an item not there yet":                     {written(t, put), nil, marks{eu: 99}, marks{eu: 9}, 0, inFlight},
		"an item that is missing":                   {written(t, put), nil, nil, marks{eu: 10}, 0, diverged},
		"missing in the first":                      {nil, written(t, put), marks{eu: 10}, nil, 0, diverged},
		"a put not there yet":                       {written(t, put, later), written(t, put), marks{us: 99, eu: 99}, marks{us: 19, eu: 99}, 0, inFlight},
		"a put that is missing":                     {written(t, put, later), written(t, put), marks{us: 99}, marks{us: 20}, 0, diverged},
		"a deletion not there yet":                  {written(t, put, gone), written(t, put), nil, marks{us: 19}, 0, inFlight},
		"an item that rose again":                   {written(t, put, gone), written(t, put), nil, marks{us: 20}, 0, diverged},
		"an attribute not there yet":                {written(t, put, cell), written(t, put), nil, marks{us: 29, eu: 99}, 0, inFlight},
		"an attribute that is missing":              {written(t, put, cell), written(t, put), nil, marks{us: 30}, 0, diverged},
		"each lacks one":                            {written(t, put), written(t, write{11, us, "", "b"}), marks{us: 10}, marks{eu: 9}, 0, inFlight},
		"other bytes of one write":                  {written(t, put), written(t, write{10, eu, "", "b"}), nil, nil, 0, diverged},
		"a collected deletion, and what came after": {nil, written(t, put, gone, cell), marks{us: 29, eu: 99}, nil, 20, inFlight},
		"a deletion that is missing":                {nil, written(t, put, gone, cell), marks{us: 29, eu: 99}, nil, 19, diverged},
		"collected, and still there":                {nil, written(t, put), marks{us: 99, eu: 99}, nil, 50, diverged},
	} {
		got, err := classify(side{c.a, c.marksA, c.purgeA}, side{record: c.b, marks: c.marksB})
		if err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
	if _, err := classify(side{record: []byte{0xff}}, side{}); err == nil {
		t.Error("what is no record was compared")
	}
}
