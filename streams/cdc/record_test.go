package cdc

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/valyala/fastjson"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func golden(t *testing.T, name string, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%swant\n%s", path, got, want)
	}
}

func mustItem(t testing.TB, json string) item.Item {
	t.Helper()
	v, err := fastjson.Parse(json)
	if err != nil {
		t.Fatal(err)
	}
	it, err := item.DecodeItemJSON(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func mustKey(t testing.TB, values ...item.Value) item.Key {
	t.Helper()
	var sort item.Value
	if len(values) > 1 {
		sort = values[1]
	}
	key, err := item.AppendKey(nil, values[0], sort)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func samples(t testing.TB) map[string]Record {
	key := mustKey(t, item.AppendString(nil, "berlin"), item.AppendInt(nil, 7))
	older := mustItem(t, `{"city":{"S":"berlin"},"n":{"N":"7"},"v":{"S":"older"}}`)
	newer := mustItem(t, `{"city":{"S":"berlin"},"n":{"N":"7"},"v":{"S":"newer \"<ü"},"b":{"B":"AAE="}}`)
	dot := hlc.Stamp{Time: 1_700_000_000_050<<16 | 3, Origin: 2}
	return map[string]Record{
		"insert": {Kind: Write, Event: Insert, Dot: dot, Newest: dot, Key: key, New: newer},
		"modify": {Kind: Write, Event: Modify, Outcome: Partly, Dot: dot, Transaction: 1_700_000_000_050<<16 | 1, Newest: hlc.Stamp{Time: dot.Time + 9, Origin: 7}, Key: key, Old: older, New: newer},
		"copied": {Kind: Copied, Event: Modify, Outcome: Merged, Dot: dot, Newest: dot, Key: key, Old: older},
		"expiry": {Kind: Expired, Event: Remove, Dot: hlc.Stamp{Time: dot.Time &^ 0xffff, Origin: 2}, Newest: dot, Key: key, Old: older},
		"keys":   {Kind: Write, Event: Remove, Dot: dot, Newest: dot, Key: key},
	}
}

// TestGolden pins the stored form: streams are read by later releases.
func TestGolden(t *testing.T) {
	for name, r := range samples(t) {
		stored := r.Append(nil)
		golden(t, "record-"+name, hex.EncodeToString(stored)+"\n")
		var back Record
		if err := back.Decode(stored); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s: %+v, %v", name, back, err)
		}
	}
}

func drawRecord(t *rapid.T) Record {
	stamp := func(name string) hlc.Stamp {
		return hlc.Stamp{Time: hlc.Timestamp(rapid.Uint64().Draw(t, name)), Origin: hlc.Origin(rapid.Uint16().Draw(t, name+"'s origin"))}
	}
	bytesOf := func(name string) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, name) }
	r := Record{Kind: Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Event: Event(rapid.IntRange(1, 3).Draw(t, "event")), Outcome: Outcome(rapid.IntRange(0, 2).Draw(t, "outcome")),
		Dot: stamp("dot"), Newest: stamp("newest"), Key: bytesOf("key")}
	if rapid.Bool().Draw(t, "in a transaction") {
		r.Transaction = hlc.Timestamp(rapid.Uint64Min(1).Draw(t, "transaction"))
	}
	if rapid.Bool().Draw(t, "has old") {
		r.Old = append([]byte{}, bytesOf("old")...)
	}
	if rapid.Bool().Draw(t, "has new") {
		r.New = append([]byte{}, bytesOf("new")...)
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		stored := r.Append([]byte("before"))
		if n := len(stored) - len("before"); n > MaxRecordLen(len(r.Key), len(r.Old)+len(r.New)) {
			t.Fatalf("%d bytes are more than %d", n, MaxRecordLen(len(r.Key), len(r.Old)+len(r.New)))
		}
		back := Record{Position: 5, Lane: 6} // are from the store's key, and stay
		if err := back.Decode(stored[len("before"):]); err != nil {
			t.Fatal(err)
		}
		r.Position, r.Lane, r.Key = 5, 6, append(item.Key{}, r.Key...)
		if back.Key = append(item.Key{}, back.Key...); !reflect.DeepEqual(back, r) {
			t.Fatalf("%+v, want %+v", back, r)
		}
		for n := range stored[len("before"):] {
			if n == len(stored)-len("before")-len(r.New) && r.New != nil {
				break // a new image that is cut off is another one; the store's checksums see it
			}
			if new(Record).Decode(stored[len("before"):][:n]) == nil {
				t.Fatalf("the first %d bytes are a record", n)
			}
		}
	})
}

func TestShow(t *testing.T) {
	for view, want := range map[globaltable.StreamView][2]bool{
		globaltable.ViewKeysOnly: {false, false}, globaltable.ViewOldImage: {true, false}, globaltable.ViewNewImage: {false, true}, globaltable.ViewNewAndOldImages: {true, true},
	} {
		r := samples(t)["modify"]
		if r.Show(view); (r.Old != nil) != want[0] || (r.New != nil) != want[1] || r.Key == nil {
			t.Errorf("%s: %+v", view, r)
		}
	}
}

// FuzzDecode: no bytes make it panic, and what it accepts it would have written.
func FuzzDecode(f *testing.F) {
	for _, r := range samples(f) {
		f.Add(r.Append(nil))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if err := r.Decode(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatalf("%x decodes to what encodes as %x", b, r.Append(nil))
		}
	})
}
