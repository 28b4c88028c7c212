package conflict

import (
	"bytes"
	"errors"
	"maps"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// goldenRecords has one record of each shape.
func goldenRecords(t testing.TB) map[string]Record {
	w := Write{Stamp: goldenStamp(0, 1, 1)}
	uniform := func(w Write, extra ...hlc.Stamp) Record {
		cells, err := cellsOf(makeItem(t, "a", "1", "b", "2"), w)
		if err != nil {
			t.Fatal(err)
		}
		return Record{Reset: w, Cells: cells, Vector: w.implied(vector.Vector(nil).Join(extra))}
	}
	seen := Write{Stamp: w.Stamp, Context: vector.Vector{goldenStamp(-70, 2, 2)}, Floor: goldenStamp(-3000, 0, 0).Time}
	later := Write{Stamp: goldenStamp(90, 0, 3), Context: vector.Vector{w.Stamp}}
	general := uniform(w, goldenStamp(-500, 0, 9))
	general.set(Cell{Write: later})
	general.set(Cell{Name: []byte("a"), Write: later, Removed: true})
	general.set(Cell{Name: []byte("c"), Write: later, Value: item.AppendInt(nil, 7)})
	general.Vector = later.implied(general.Vector)
	records := goldenTyped(t)
	maps.Copy(records, map[string]Record{
		"record-put":       uniform(w),
		"record-put-full":  uniform(seen, goldenStamp(-500, 0, 9)),
		"record-tombstone": {Reset: w, Vector: vector.Vector{w.Stamp}},
		"record-expired":   {Reset: Write{Stamp: goldenStamp(0, 0, 0)}, Vector: vector.Vector{w.Stamp}},
		"record-general":   general,
		"record-updated": {Cells: []Cell{{Write: later}, {Name: []byte("c"), Write: later, Value: item.AppendNull(nil)}},
			Vector: later.implied(nil)},
		"record-removed-presence": {Cells: []Cell{{Write: w, Removed: true}}, Vector: w.implied(nil)},
		"record-vector":           {Vector: vector.Vector{w.Stamp}},
	})
	return records
}

func TestRecordGolden(t *testing.T) {
	for name, r := range goldenRecords(t) {
		b := AppendRecord(nil, &r)
		golden(t, name, b)
		got := mustDecode(t, b)
		if _, live, err := ItemOf(b, nil); err != nil || live != r.Live() {
			t.Errorf("%s: item: live %t, %v", name, live, err)
		}
		if h, err := readHead(b); err != nil || h.live != r.Live() {
			t.Errorf("%s: head: live %t, %v", name, h.live, err)
		}
		if !got.Vector.Equal(r.Vector) {
			t.Errorf("%s: vector %v, want %v", name, got.Vector, r.Vector)
		}
		if compareWrites(&got.Reset, &r.Reset) != 0 || len(got.Cells) != len(r.Cells) {
			t.Fatalf("%s: decoded\n%+v\nwant\n%+v", name, got, r)
		}
		for i := range r.Cells {
			if !bytes.Equal(got.Cells[i].Name, r.Cells[i].Name) || compareCells(&got.Cells[i], &r.Cells[i]) != 0 {
				t.Errorf("%s: cell %d is %+v, want %+v", name, i, got.Cells[i], r.Cells[i])
			}
		}
		if err := CheckRecord(b); err != nil {
			t.Errorf("%s: check: %v", name, err)
		}
	}
}

func TestSizeOfOverhead(t *testing.T) {
	r := goldenRecords(t)["record-put"]
	if got, want := len(AppendRecord(nil, &r)), 2+hlc.StampLen+len(makeItem(t, "a", "1", "b", "2")); got != want {
		t.Errorf("a record of one writer has %d bytes, want %d", got, want)
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	enc := map[string][]byte{}
	for name, r := range goldenRecords(t) {
		enc[name] = AppendRecord(nil, &r)
	}
	for name, b := range enc {
		for n := 1; n < len(b); n++ {
			// A live record in uniform form that ends inside its item is found by CheckRecord at the latest.
			if err := CheckRecord(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: the first %d of %d bytes: %v, want ErrCorrupt", name, n, len(b), err)
			}
		}
		if err := CheckRecord(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: byte after the end: %v, want ErrCorrupt", name, err)
		}
	}
	with := func(name string, i int, v byte) []byte {
		b := bytes.Clone(enc[name])
		b[i] = v
		return b
	}
	w := Write{Stamp: stamp(5, 1)}
	a := Cell{Name: []byte("a"), Write: w, Value: item.AppendNull(nil)}
	bad := func(r Record) []byte { return appendGeneral(nil, &r) }
	cases := []struct {
		name string
		b    []byte
		want error
	}{
		{"version", with("record-put", 0, 2), ErrUnsupported},
		{"flag", with("record-put", 1, 0x40|recordLive), ErrUnsupported},
		{"section", append(with("record-tombstone", 1, recordSections), 1, 1, 0), ErrUnsupported},
		{"flag of another form", with("record-general", 1, recordGeneral|recordLive), ErrCorrupt},
		{"no time", append([]byte{recordVersion, 0}, make([]byte, hlc.StampLen)...), ErrCorrupt},
		{"tombstone with an item", with("record-put", 1, 0), ErrCorrupt},
		{"put without an item", with("record-tombstone", 1, recordLive), ErrCorrupt},
		{"nothing", bad(Record{}), ErrCorrupt},
		{"put in general form", bad(Record{Reset: w, Cells: []Cell{{Write: w}, a}}), ErrCorrupt},
		{"tombstone in general form", bad(Record{Reset: w}), ErrCorrupt},
		{"cells out of order", bad(Record{Cells: []Cell{a, {Write: w}}}), ErrCorrupt},
		{"cell twice", bad(Record{Cells: []Cell{a, a}}), ErrCorrupt},
		{"cell older than the reset", bad(Record{Reset: Write{Stamp: stamp(6, 1)}, Cells: []Cell{a}}), ErrCorrupt},
		{"empty value", bad(Record{Cells: []Cell{{Name: []byte("a"), Write: w}}}), ErrCorrupt},
		{"value that is none", bad(Record{Cells: []Cell{{Name: []byte("a"), Write: w, Value: []byte{0xff}}}}), ErrCorrupt},
		{"implied vector entry", appendVector(append([]byte{recordVersion, recordRest}, w.Stamp.Append(nil)...), 5, vector.Vector{stamp(4, 1)}), ErrCorrupt},
		{"unused write", []byte{recordVersion, recordGeneral, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 0, 0, 0}, ErrCorrupt},
		{"flag of a write", []byte{recordVersion, recordGeneral, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 4, 0, 0}, ErrUnsupported},
		{"reset without its write", []byte{recordVersion, recordGeneral, 0, 1, 0}, ErrCorrupt},
		{"name that is not UTF-8", bad(Record{Cells: []Cell{{Name: []byte{0xff}, Write: w, Removed: true}}}), ErrCorrupt},
		{"name that is too long", bad(Record{Cells: []Cell{{Name: bytes.Repeat([]byte("a"), item.MaxNameSize+1), Write: w, Removed: true}}}), ErrCorrupt},
		{"no section", []byte{recordVersion, recordGeneral | recordSections, 0, 0, 0, 0}, ErrCorrupt},
		{"section that is not known", []byte{recordVersion, recordGeneral | recordSections, 0, 1, 9, 0, 0, 0}, ErrUnsupported},
		{"part that is not known", []byte{recordVersion, recordGeneral | recordSections, 0, 1, sectionTyped, 7, 1, 1, 'a', 0x80, 1, 1, 1, 0, 0}, ErrUnsupported},
		{"attribute of nothing", bad(Record{Typed: []Typed{{Name: []byte("a")}}}), ErrCorrupt},
		{"element of nothing", bad(Record{Typed: []Typed{{Name: []byte("a"), Elements: []Element{{Value: item.AppendInt(nil, 1)}}}}}), ErrCorrupt},
		{"element that no set has", bad(Record{Typed: []Typed{{Name: []byte("a"), Elements: []Element{{Value: item.AppendNull(nil), Adds: vector.Vector{w.Stamp}}}}}}), ErrCorrupt},
		{"run that ends before it begins", bad(Record{Typed: []Typed{{Name: []byte("a"), Runs: []Run{{Last: w.Stamp, First: 6}}}}}), ErrCorrupt},
		{"runs of one origin", bad(Record{Typed: []Typed{{Name: []byte("a"), Runs: []Run{{Last: w.Stamp, First: 1}, {Last: w.Stamp, First: 1}}}}}), ErrCorrupt},
		{"sum in another form", bad(Record{Typed: []Typed{{Name: []byte("a"), Runs: []Run{{Last: w.Stamp, First: 1, Sum: Sum{2, 10}}}}}}), ErrCorrupt},
		{"attributes out of order", bad(Record{Typed: []Typed{{Name: []byte("b"), Outbid: []Observed{{w.Stamp, w.Stamp}}}, {Name: []byte("a"), Outbid: []Observed{{w.Stamp, w.Stamp}}}}}), ErrCorrupt},
		{"entry in a map that is whole", bad(Record{Cells: []Cell{{Name: []byte("a"), Write: Write{Stamp: stamp(4, 1)}, Value: item.AppendMap(nil, makeItem(t, "x", "y"))}},
			Nested: []Cell{{Name: pathOf("a", ""), Write: w}, {Name: pathOf("a", "b"), Write: w, Value: item.AppendNull(nil)}}}), ErrCorrupt},
		{"map of one write in parts", bad(Record{Cells: []Cell{{Name: []byte("a"), Write: w, Value: emptyMap}},
			Nested: []Cell{{Name: pathOf("a", ""), Write: w}, {Name: pathOf("a", "b"), Write: w, Value: item.AppendNull(nil)}}}), ErrCorrupt},
		{"entry older than its map", bad(Record{Cells: []Cell{{Name: []byte("a"), Write: w, Removed: true}},
			Nested: []Cell{{Name: pathOf("a", "b"), Write: Write{Stamp: stamp(4, 1)}, Value: item.AppendNull(nil)}}}), ErrCorrupt},
		{"entry of no map", bad(Record{Nested: []Cell{{Name: pathOf("a"), Write: w, Value: item.AppendNull(nil)}}}), ErrCorrupt},
		{"cell without its write", []byte{recordVersion, recordGeneral, 0, 0, 1, 0, 0}, ErrCorrupt},
	}
	for _, c := range cases {
		if err := CheckRecord(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// An attribute with an empty name would pass for the presence.
func TestEmptyAttributeNameIsRefused(t *testing.T) {
	good := makeItem(t, "a", "1")
	i := bytes.IndexByte(good, 'a')
	if i < 1 || good[i-1] != 1 {
		t.Fatalf("the item %x does not look as this test expects", good)
	}
	bad := append(append(bytes.Clone(good[:i-1]), 0), good[i+1:]...)
	c := Change{Key: []byte("k"), Dot: stamp(1, 1), Ops: RecordPut(nil, bad)}
	if err := c.Check(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("check: %v, want ErrCorrupt", err)
	}
	if _, err := c.Delta(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("delta: %v, want ErrCorrupt", err)
	}
}

func TestItemOfIsAView(t *testing.T) {
	c := put(t, stamp(1, 1), nil, "a", "1")
	rec, _, err := Apply(nil, nil, &c)
	if err != nil {
		t.Fatal(err)
	}
	it, live, err := ItemOf(rec, nil)
	if err != nil || !live {
		t.Fatalf("live %t, %v", live, err)
	}
	if &it[len(it)-1] != &rec[len(rec)-1] || cap(it) != len(it) {
		t.Error("the item is a copy, or can be appended to over what follows it")
	}
	if it, live, err := ItemOf(nil, nil); it != nil || live || err != nil {
		t.Errorf("no record has the item %x %t %v", it, live, err)
	}
}
