package change

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func salt(b byte) (s [SaltLen]byte) {
	for i := range s {
		s[i] = b
	}
	return s
}

// sample is a body with two changes of one transaction.
func sample() []byte {
	body := AppendBodySalt(nil, salt(7))
	for _, name := range []string{"a", "b"} {
		body = AppendBodyChange(body, &conflict.Change{
			Table: 0x0102030405060708, Key: []byte("12345678key-" + name), Dot: hlc.Stamp{Time: 0x1122334455660001, Origin: 3},
			Context: vector.Vector{{Time: 0x1122334455650000, Origin: 1}}, Floor: 0x1122334400000000,
			CatalogVersion: uint64(globaltable.MakeVersion(2, 9)), Transaction: 0x1122334455660001,
			Ops: []conflict.Op{{Kind: conflict.OpReset}},
		})
	}
	return body
}

func sampleEntry() Entry {
	body := sample()
	return Entry{Header: Seal(globaltable.Chain{1, 2, 3}, 42, body, 2, 0x1122334455660001), Body: body}
}

var source = Source{Origin: 3, Shard: 0, Incarnation: 0x1122334400000001, Lane: 0xabcdef0123456789}

func messages(t testing.TB, e Entry, limit int) (out [][]byte) {
	t.Helper()
	_, err := AppendMessages(source, &e, 77, limit, nil, func(m []byte) error {
		out = append(out, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGolden pins the bytes: what one version writes, all later ones must read.
func TestGolden(t *testing.T) {
	e := sampleEntry()
	void := Entry{Header: e.Header}
	void.Void = true
	for name, got := range map[string][]byte{
		"entry":        AppendEntry(nil, &e),
		"entry-void":   AppendEntry(nil, &void),
		"message":      messages(t, e, 1<<20)[0],
		"message-void": messages(t, void, 1<<20)[0],
		"fragment-2":   messages(t, e, overheadLen+100)[1],
	} {
		path := filepath.Join("testdata", name+".golden")
		text := hex.EncodeToString(got) + "\n"
		if *rewrite {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if text != string(want) {
			t.Errorf("%s: bytes changed:\n%s\nwant\n%s", name, text, want)
		}
	}
}

func TestEntryRoundTrip(t *testing.T) {
	e := sampleEntry()
	got, err := DecodeEntry(AppendEntry(nil, &e))
	if err != nil {
		t.Fatal(err)
	}
	if got.Header != e.Header || !bytes.Equal(got.Body, e.Body) {
		t.Errorf("got %+v, want %+v", got.Header, e.Header)
	}
	n := 0
	err = EachChange(got.Body, func(c *conflict.Change) error {
		n++
		if c.Dot.Origin != 3 || !strings.HasPrefix(string(c.Key), "12345678key-") {
			t.Errorf("change %+v", c)
		}
		return nil
	})
	if err != nil || n != 2 {
		t.Errorf("%d changes, %v", n, err)
	}
}

// TestMessages carries bodies of many lengths in fragments of many lengths and puts them together again.
func TestMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 20000).Draw(t, "size")
		body := make([]byte, size)
		if rapid.Bool().Draw(t, "random") {
			r := rand.NewChaCha8([32]byte{byte(size)})
			_, _ = r.Read(body)
		}
		e := Entry{Header: Seal(globaltable.Chain{}, 1, body, 1, 9), Body: body}
		limit := rapid.IntRange(overheadLen+1, 4000).Draw(t, "limit")
		var a Assembler
		var parts [][]byte
		if _, err := AppendMessages(source, &e, 0, max(limit, overheadLen+size/1000+1), nil, func(m []byte) error {
			parts = append(parts, m)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i, p := range parts {
			m, err := DecodeMessage(p)
			if err != nil {
				t.Fatal(err)
			}
			if m.Source != source || m.Seq != 1 {
				t.Fatalf("message %+v", m)
			}
			got, complete, err := a.Add(m)
			if err != nil {
				t.Fatal(err)
			}
			if complete != (i == len(parts)-1) {
				t.Fatalf("fragment %d of %d: complete %v", i, len(parts), complete)
			}
			if complete && (!bytes.Equal(got.Body, body) || got.Header != e.Header) {
				t.Fatal("body differs")
			}
		}
	})
}

// TestAssemblerOutOfOrder: what does not follow yields nothing, and never a wrong body.
func TestAssemblerOutOfOrder(t *testing.T) {
	body := make([]byte, 5000)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(body)
	e := Entry{Header: Seal(globaltable.Chain{}, 1, body, 1, 9), Body: body}
	var parts []Message
	for _, b := range messages(t, e, 1000) {
		m, err := DecodeMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, m)
	}
	var a Assembler
	for _, order := range [][]int{{1, 2, 3}, {0, 2, 1}, {0, 1, 1, 2}, {5, 4, 3, 2, 1, 0}, {0, 1, 2, 4, 5}} {
		for _, i := range order {
			if _, complete, err := a.Add(parts[i]); complete || err != nil {
				t.Fatalf("order %v: complete %v, %v", order, complete, err)
			}
		}
	}
	for i, p := range parts {
		got, complete, err := a.Add(p)
		if err != nil || complete != (i == len(parts)-1) || complete && !bytes.Equal(got.Body, body) {
			t.Fatalf("after disorder: fragment %d: complete %v, %v", i, complete, err)
		}
	}
}

// TestDamage flips every bit of a message and of an entry's body: each is noticed.
func TestDamage(t *testing.T) {
	m := messages(t, sampleEntry(), 1<<20)[0]
	for i := range len(m) * 8 {
		b := slices.Clone(m)
		b[i/8] ^= 1 << (i % 8)
		if _, err := DecodeMessage(b); err == nil {
			t.Fatalf("flipped bit %d was not noticed", i)
		}
	}
	for n := range m {
		if _, err := DecodeMessage(m[:n]); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Fatalf("message cut to %d bytes: %v", n, err)
		}
	}
}

func TestChainDependsOnAll(t *testing.T) {
	base := NextChain(globaltable.Chain{1}, 2, [32]byte{3})
	for name, other := range map[string]globaltable.Chain{
		"previous chain": NextChain(globaltable.Chain{2}, 2, [32]byte{3}),
		"sequence":       NextChain(globaltable.Chain{1}, 3, [32]byte{3}),
		"body":           NextChain(globaltable.Chain{1}, 2, [32]byte{4}),
	} {
		if other == base {
			t.Errorf("chain does not depend on the %s", name)
		}
	}
}

func TestVoidEntryHasNoBody(t *testing.T) {
	e := sampleEntry()
	e.Void = true
	if _, err := DecodeEntry(AppendEntry(nil, &e)); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Errorf("void entry with a body: %v", err)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(messages(f, sampleEntry(), 1<<20)[0])
	f.Add(messages(f, sampleEntry(), overheadLen+50)[1])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			return
		}
		var a Assembler
		e, complete, err := a.Add(m)
		if err == nil && complete && !e.Void {
			_ = EachChange(e.Body, func(*conflict.Change) error { return nil })
		}
	})
}

func FuzzEachChange(f *testing.F) {
	f.Add(sample())
	f.Fuzz(func(t *testing.T, b []byte) {
		stop := errors.New("enough")
		n := 0
		_ = EachChange(b, func(*conflict.Change) error {
			if n++; n > 1000 {
				return stop
			}
			return nil
		})
	})
}

func FuzzDecodeEntry(f *testing.F) {
	e := sampleEntry()
	f.Add(AppendEntry(nil, &e))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		if again := AppendEntry(nil, &e); !bytes.Equal(again, b) {
			t.Errorf("decoded and encoded again:\n%x\n%x", again, b)
		}
	})
}

func BenchmarkAppendMessages64KiB(b *testing.B) {
	body := make([]byte, 64<<10)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(body)
	e := Entry{Header: Seal(globaltable.Chain{}, 1, body, 64, 9), Body: body}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var scratch []byte
	for b.Loop() {
		scratch, _ = AppendMessages(source, &e, 0, 1<<20, scratch, func([]byte) error { return nil })
	}
}

func BenchmarkReceive64KiB(b *testing.B) {
	body := make([]byte, 64<<10)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(body)
	m := messages(b, Entry{Header: Seal(globaltable.Chain{}, 1, body, 64, 9), Body: body}, 1<<20)[0]
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var a Assembler
	for b.Loop() {
		msg, err := DecodeMessage(m)
		if err != nil {
			b.Fatal(err)
		}
		if _, complete, err := a.Add(msg); err != nil || !complete {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal64KiB(b *testing.B) {
	body := make([]byte, 64<<10)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		Seal(globaltable.Chain{}, 1, body, 64, 9)
	}
}
