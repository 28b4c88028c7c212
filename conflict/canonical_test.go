package conflict

import (
	"bytes"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

func TestDigestIsTheHashOfCanonicalBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := genRecord(t, "record")
		key := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "key")
		sum, live, err := Digest(key, rec)
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := AppendCanonical(nil, rec)
		if err != nil {
			t.Fatal(err)
		}
		r := mustDecode(t, rec)
		if live != r.Live() || live != (len(canonical) > 0) {
			t.Fatalf("live %t, %d canonical bytes, want live %t", live, len(canonical), r.Live())
		}
		want := uint64(0)
		if live {
			want = xxhash.Sum64(append(append([]byte{byte(len(key))}, key...), canonical...))
		}
		if sum != want {
			t.Fatalf("digest %x, want %x", sum, want)
		}
	})
}

// The same logical state in both forms: removals, resets, contexts and vectors do not show.
func TestCanonicalBytesOfBothForms(t *testing.T) {
	w := Write{Stamp: stamp(5, 1)}
	cells, err := cellsOf(makeItem(t, "a", "1", "b", "2"), w)
	if err != nil {
		t.Fatal(err)
	}
	uniform := Record{Reset: w, Cells: cells, Vector: w.implied(nil)}
	general := Record{Cells: append(cells[:len(cells):len(cells)], Cell{Name: []byte("gone"), Write: w, Removed: true}), Vector: w.implied(nil).With(stamp(9, 4))}
	u, g := AppendRecord(nil, &uniform), AppendRecord(nil, &general)
	if u[1]&recordGeneral != 0 || g[1]&recordGeneral == 0 {
		t.Fatal("the records are not of both forms")
	}
	a, err := AppendCanonical(nil, u)
	if err != nil {
		t.Fatal(err)
	}
	b, err := AppendCanonical(nil, g)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("canonical bytes\n%x\n%x", a, b)
	}
	golden(t, "canonical", a)
}
