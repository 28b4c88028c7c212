package conflict

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares b with testdata/name.golden, hexadecimal in lines of 32 bytes.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	var text strings.Builder
	for rest := b; len(rest) > 0; {
		n := min(32, len(rest))
		text.WriteString(hex.EncodeToString(rest[:n]) + "\n")
		rest = rest[n:]
	}
	path := filepath.Join("testdata", name+".golden")
	if *rewrite {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("%s: the encoding has changed; stores and peers hold the old one\ngot\n%swant\n%s", name, text.String(), want)
	}
}

// The base of the stamps in golden files: 2026-03-04 05:06:07.890 UTC.
const goldenMillis = 1772600767890

func goldenStamp(afterMillis int64, logical uint16, o hlc.Origin) hlc.Stamp {
	return hlc.Stamp{Time: hlc.Timestamp(goldenMillis+afterMillis)<<16 | hlc.Timestamp(logical), Origin: o}
}

// allOps has every kind of operation and every type.
func allOps(t testing.TB) []Op {
	elements, err := item.AppendSet(nil, item.SS, []item.Value{item.AppendString(nil, "x"), item.AppendString(nil, "y")})
	if err != nil {
		t.Fatal(err)
	}
	number := item.AppendInt(nil, 42)
	return []Op{
		{Kind: OpReset},
		{Kind: OpReset, Value: makeItem(t, "a", "1", "b", "2")},
		{Kind: OpSetCell},
		{Kind: OpSetCell, Type: TypeRegister, Name: []byte("register"), Value: number},
		{Kind: OpSetCell, Type: TypeMap, Name: []byte("map"), Value: item.AppendMap(nil, makeItem(t, "in", "side"))},
		{Kind: OpSetCell, Type: TypeMax, Name: []byte("max"), Value: number},
		{Kind: OpSetCell, Type: TypeMin, Name: []byte("min"), Value: number},
		{Kind: OpRemoveCell, Name: []byte("removed")},
		{Kind: OpAddNumber, Type: TypeCounter, Name: []byte("counter"), Value: number},
		{Kind: OpAddElements, Type: TypeSet, Name: []byte("set"), Value: elements},
		{Kind: OpDeleteElements, Type: TypeSet, Name: []byte("set"), Value: elements},
	}
}

func fullChange(t testing.TB) Change {
	return Change{
		Table:          0x0191_0203_0405_0001,
		Key:            []byte("\x01\x02\x03\x04\x05\x06\x07\x08key"),
		Dot:            goldenStamp(0, 3, 1),
		Context:        vector.Vector{goldenStamp(-40, 0, 2), goldenStamp(-1000, 1, 300)},
		Floor:          goldenStamp(-2500, 0, 0).Time,
		CatalogVersion: 3<<40 | 7,
		Transaction:    goldenStamp(0, 2, 0).Time,
		Ops:            allOps(t),
	}
}

func TestChangeGolden(t *testing.T) {
	full := fullChange(t)
	least := Change{Table: 1, Key: []byte("k"), Dot: goldenStamp(0, 0, 1), Ops: []Op{{Kind: OpReset}}}
	logged := fullChange(t)
	logged.Ops = loggedOps(t, logged.Dot)
	for name, c := range map[string]Change{"change-full": full, "change-least": least, "change-contributions": logged} {
		b := c.Append(nil)
		golden(t, name, b)
		var got Change
		if err := DecodeChange(b, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range got.Ops {
			// Empty and nil are one on the wire.
			if len(got.Ops[i].Name) == 0 {
				got.Ops[i].Name = nil
			}
			if len(got.Ops[i].Value) == 0 {
				got.Ops[i].Value = nil
			}
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("%s: decoded\n%+v\nwant\n%+v", name, got, c)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: check: %v", name, err)
		}
	}
}

func TestChangeRoundTrip(t *testing.T) {
	var got Change
	rapid.Check(t, func(t *rapid.T) {
		c := genChange(t)
		// Any distance between the times, beyond what clocks allow.
		c.Transaction = hlc.Timestamp(rapid.Uint64().Draw(t, "any transaction"))
		c.Dot.Time = hlc.Timestamp(rapid.Uint64Min(1).Draw(t, "any dot"))
		b := c.Append([]byte("x"))[1:]
		if err := DecodeChange(b, &got); err != nil {
			t.Fatal(err)
		}
		if again := got.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("decoded and encoded again:\n%x\n%x", again, b)
		}
		if got.Dot != c.Dot || got.Transaction != c.Transaction || got.Floor != c.Floor || !got.Context.Equal(c.Context) ||
			got.Table != c.Table || got.CatalogVersion != c.CatalogVersion || len(got.Ops) != len(c.Ops) {
			t.Fatalf("decoded %+v, want %+v", got, c)
		}
	})
}

func TestDecodeChangeReusesOps(t *testing.T) {
	c := fullChange(t)
	b := c.Append(nil)
	got := Change{Ops: make([]Op, 0, 64)}
	first := &got.Ops[:1][0]
	if err := DecodeChange(b, &got); err != nil {
		t.Fatal(err)
	}
	if &got.Ops[0] != first {
		t.Error("the operations are in new memory")
	}
}

func TestDecodeChangeRefuses(t *testing.T) {
	full := fullChange(t)
	b := full.Append(nil)
	for n := range b {
		if err := DecodeChange(b[:n], new(Change)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the first %d of %d bytes: %v, want ErrCorrupt", n, len(b), err)
		}
	}
	change := func(f func(c *Change)) []byte {
		c := fullChange(t)
		f(&c)
		return c.Append(nil)
	}
	with := func(i int, v byte) []byte {
		c := bytes.Clone(b)
		c[i] = v
		return c
	}
	op := func(op Op) []byte { return change(func(c *Change) { c.Ops = []Op{op} }) }
	x := item.AppendInt(nil, 1)
	cases := []struct {
		name string
		b    []byte
		want error
	}{
		{"version", with(0, 2), ErrUnsupported},
		{"flag", with(1, 0x80), ErrUnsupported},
		{"kind", op(Op{Kind: 99, Name: []byte("a"), Value: x}), ErrUnsupported},
		{"no kind", op(Op{Kind: 0, Name: []byte("a"), Value: x}), ErrUnsupported},
		{"type", op(Op{Kind: OpSetCell, Type: 6, Name: []byte("a"), Value: x}), ErrUnsupported},
		{"bytes after the end", append(bytes.Clone(b), 0), ErrCorrupt},
		{"no operation", change(func(c *Change) { c.Ops = nil }), ErrCorrupt},
		{"no key", change(func(c *Change) { c.Key = nil }), ErrCorrupt},
		{"no time", change(func(c *Change) { c.Dot.Time = 0 }), ErrCorrupt},
		{"no origin", change(func(c *Change) { c.Dot.Origin = 0 }), ErrCorrupt},
		{"context out of order", change(func(c *Change) { c.Context[0], c.Context[1] = c.Context[1], c.Context[0] }), ErrCorrupt},
		{"context with an origin twice", change(func(c *Change) { c.Context[1] = c.Context[0] }), ErrCorrupt},
		{"context of no origin", change(func(c *Change) { c.Context[0].Origin = 0 }), ErrCorrupt},
		{"context with a zero time", change(func(c *Change) { c.Context[0].Time = 0 }), ErrCorrupt},
		{"context of its own origin", change(func(c *Change) { c.Context[0].Origin = 1 }), ErrCorrupt},
		{"context at the floor", change(func(c *Change) { c.Context[0].Time = c.Floor }), ErrCorrupt},
		{"reset with a name", op(Op{Kind: OpReset, Name: []byte("a")}), ErrCorrupt},
		{"reset with a type", op(Op{Kind: OpReset, Type: TypeSet}), ErrCorrupt},
		{"set without a value", op(Op{Kind: OpSetCell, Name: []byte("a")}), ErrCorrupt},
		{"set of the presence to a value", op(Op{Kind: OpSetCell, Value: x}), ErrCorrupt},
		{"removal of the presence", op(Op{Kind: OpRemoveCell}), ErrCorrupt},
		{"removal with a value", op(Op{Kind: OpRemoveCell, Name: []byte("a"), Value: x}), ErrCorrupt},
		{"path of one name", op(Op{Kind: OpSetPath, Type: TypeMap, Name: pathOf("a"), Value: x}), ErrCorrupt},
		{"path that ends early", op(Op{Kind: OpSetPath, Type: TypeMap, Name: []byte{1, 'a', 2, 'b'}, Value: x}), ErrCorrupt},
		{"path through a presence", op(Op{Kind: OpSetPath, Type: TypeMap, Name: pathOf("a", "", "b"), Value: x}), ErrCorrupt},
		{"path to an entry without a value", op(Op{Kind: OpSetPath, Type: TypeMap, Name: pathOf("a", "b")}), ErrCorrupt},
		{"presence of a map with a value", op(Op{Kind: OpSetPath, Type: TypeMap, Name: pathOf("a", ""), Value: x}), ErrCorrupt},
		{"removal of a map's presence", op(Op{Kind: OpRemovePath, Type: TypeMap, Name: pathOf("a", "")}), ErrCorrupt},
		{"removal of an entry with a value", op(Op{Kind: OpRemovePath, Type: TypeMap, Name: pathOf("a", "b"), Value: x}), ErrCorrupt},
		{"path deeper than values nest", op(Op{Kind: OpSetPath, Type: TypeMap, Name: bytes.Repeat(pathOf("a"), item.MaxNesting+1), Value: x}), ErrCorrupt},
		{"contribution without a value", op(Op{Kind: OpAddNumber, Type: TypeCounter, Name: []byte("a")}), ErrCorrupt},
	}
	for _, c := range cases {
		if err := DecodeChange(c.b, new(Change)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// A number has one encoding: a longer one is refused.
func TestDecodeChangeRefusesLongNumbers(t *testing.T) {
	c := Change{Table: 1, Key: []byte("k"), Dot: stamp(1, 1), Ops: []Op{{Kind: OpReset}}}
	b := c.Append(nil)
	at := 2 + hlc.StampLen + 8 // the key's length
	if b[at] != 1 {
		t.Fatalf("byte %d is %d, want the key's length", at, b[at])
	}
	long := append(append(bytes.Clone(b[:at]), 0x81, 0x00), b[at+1:]...)
	if err := DecodeChange(long, new(Change)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
}

func TestCheckChangeRefuses(t *testing.T) {
	str, number := item.AppendString(nil, "s"), item.AppendInt(nil, 1)
	cases := map[string]func(c *Change){
		"floor at the dot":       func(c *Change) { c.Floor, c.Context = c.Dot.Time, nil },
		"context after the dot":  func(c *Change) { c.Context = vector.Vector{{Time: c.Dot.Time, Origin: 2}} },
		"item that is none":      func(c *Change) { c.Ops = []Op{{Kind: OpReset, Value: []byte{0xff, 1}}} },
		"item with bytes after":  func(c *Change) { c.Ops = []Op{{Kind: OpReset, Value: append(makeItem(t, "a", "1"), 0)}} },
		"value that is none":     func(c *Change) { c.Ops = []Op{{Kind: OpSetCell, Name: []byte("a"), Value: []byte{0xff}}} },
		"name that is not UTF-8": func(c *Change) { c.Ops = []Op{{Kind: OpRemoveCell, Name: []byte{0xff}}} },
		"name in a path":         func(c *Change) { c.Ops = []Op{{Kind: OpRemovePath, Type: TypeMap, Name: pathOf("a", "\xff")}} },
		"increment of a string": func(c *Change) {
			c.Ops = []Op{{Kind: OpIncrement, Type: TypeCounter, Name: []byte("a"), Value: append([]byte{0, 0}, str...)}}
		},
		"run of later": func(c *Change) {
			c.Ops = []Op{{Kind: OpIncrement, Type: TypeCounter, Name: []byte("a"), Value: []byte{1, 0}}}
		},
		"observation of nothing": func(c *Change) { c.Ops = []Op{{Kind: OpObserve, Name: []byte("a"), Value: []byte{0, 0, 0}}} },
		"observation of later":   func(c *Change) { c.Ops = []Op{{Kind: OpObserve, Name: []byte("a"), Value: []byte{0, 0, 1, 1, 1}}} },
		"entry deeper than values": func(c *Change) {
			c.Ops = []Op{{Kind: OpSetPath, Type: TypeMap, Name: bytes.Repeat(pathOf("a"), item.MaxNesting), Value: item.AppendList(nil, []item.Value{number})}}
		},
		"two values":                func(c *Change) { c.Ops = []Op{{Kind: OpSetCell, Name: []byte("a"), Value: append(number, number...)}} },
		"sum of a string":           func(c *Change) { c.Ops = []Op{{Kind: OpAddNumber, Type: TypeCounter, Name: []byte("a"), Value: str}} },
		"elements of a string":      func(c *Change) { c.Ops = []Op{{Kind: OpAddElements, Type: TypeSet, Name: []byte("a"), Value: str}} },
		"operation of another kind": func(c *Change) { c.Ops = []Op{{Kind: OpRemoveCell}} },
	}
	for name, f := range cases {
		c := fullChange(t)
		f(&c)
		if err := c.Check(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

// TestMaxLen: no encoding is longer than what was said of it.
func TestMaxLen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genChange(t)
		if n := len(c.Append(nil)); n > c.MaxLen() || c.MaxLen() > n+400 {
			t.Fatalf("%d bytes, and at most %d were said", n, c.MaxLen())
		}
	})
}
