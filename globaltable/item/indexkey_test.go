package item

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// genParts makes lists of values of the types given.
func genParts(of []Type) *rapid.Generator[[]Value] {
	return rapid.Custom(func(t *rapid.T) []Value {
		parts := make([]Value, len(of))
		for i := range of {
			parts[i] = genKeyValue(of[i]).Draw(t, "part")
		}
		return parts
	})
}

// compareParts orders lists of values as DynamoDB orders sort keys: the first that differs decides.
func compareParts(t *rapid.T, a, b []Value) int {
	for i := range a {
		x, err := AppendKey(nil, AppendString(nil, "p"), a[i])
		y, err2 := AppendKey(nil, AppendString(nil, "p"), b[i])
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if c := bytes.Compare(x, y); c != 0 { // proven in TestKeysOrderAsValues
			return c
		}
	}
	return 0
}

func TestIndexKeysOrderAsTheirParts(t *testing.T) {
	types := rapid.SliceOfN(keyTypes, 1, 4)
	rapid.Check(t, func(t *rapid.T) {
		partition := genParts(types.Draw(t, "partition types")).Draw(t, "partition")
		of := types.Draw(t, "sort types")
		a, b := genParts(of).Draw(t, "a"), genParts(of).Draw(t, "b")
		if rapid.Bool().Draw(t, "same beginning") {
			b[0] = a[0]
		}
		bases := [2]Key{}
		for i := range bases {
			var err error
			if bases[i], err = AppendKey(nil, genKeyValue(S).Draw(t, "base"), nil); err != nil {
				t.Fatal(err)
			}
		}
		ka, err := AppendIndexKey(nil, partition, a, bases[0])
		kb, err2 := AppendIndexKey(nil, partition, b, bases[1])
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		want := compareParts(t, a, b)
		if want == 0 {
			want = bytes.Compare(bases[0], bases[1])
		}
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("% x and % x compare as %d, want %d", []byte(ka), []byte(kb), got, want)
		}
		// What begins with the partition, and with the first values of the sort key, is a range.
		n := rapid.IntRange(0, len(of)).Draw(t, "values")
		prefix, err := AppendIndexKey(nil, partition, a[:n], nil)
		if err != nil {
			t.Fatal(err)
		}
		inRange := bytes.Compare(kb, prefix) >= 0 && (prefix.PrefixEnd() == nil || bytes.Compare(kb, prefix.PrefixEnd()) < 0)
		if same := compareParts(t, a[:n], b[:n]) == 0; inRange != same {
			t.Fatalf("% x in the range of % x: %v, want %v", []byte(kb), []byte(prefix), inRange, same)
		}
	})
}

func TestPrefixOfAValueIsARange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := rapid.SampledFrom([]Type{S, B}).Draw(t, "type")
		whole, start := genKeyValue(of).Draw(t, "value"), genKeyValue(of).Draw(t, "start")
		if cut := whole.Bytes(); rapid.Bool().Draw(t, "is a prefix") {
			start = appendSized(nil, of, cut[:rapid.IntRange(0, len(cut)).Draw(t, "cut")])
		}
		partition := genKeyValue(N).Draw(t, "partition")
		k, err := AppendKey(nil, partition, whole)
		if err != nil {
			t.Fatal(err)
		}
		lower, err := AppendKey(nil, partition, nil)
		if err != nil {
			t.Fatal(err)
		}
		if lower, err = lower.AppendPrefix(start); err != nil {
			t.Fatal(err)
		}
		upper := lower.PrefixEnd()
		got := bytes.Compare(k, lower) >= 0 && (upper == nil || bytes.Compare(k, upper) < 0)
		if want := bytes.HasPrefix(whole.Bytes(), start.Bytes()); got != want {
			t.Fatalf("%q begins with %q: %v", whole.Bytes(), start.Bytes(), got)
		}
	})
}

func TestKeyBounds(t *testing.T) {
	k := Key("a")
	if next := k.Next(); string(next) != "a\x00" || string(k) != "a" {
		t.Errorf("next of a: %q", next)
	}
	for _, c := range []struct{ k, want string }{{"a", "b"}, {"a\xff", "b"}, {"\xff\xff", ""}, {"", ""}} {
		if got := Key(c.k).PrefixEnd(); string(got) != c.want || (got == nil) != (c.want == "") {
			t.Errorf("end of %q: %q, want %q", c.k, got, c.want)
		}
	}
}

func TestIndexKeysRefuse(t *testing.T) {
	good, long := AppendString(nil, "a"), AppendString(nil, strings.Repeat("x", MaxSortKeySize+1))
	for _, c := range []struct {
		name            string
		partition, sort []Value
	}{
		{"empty", []Value{AppendString(nil, "")}, nil},
		{"a type that is no key's", []Value{good}, []Value{AppendBool(nil, true)}},
		{"a sort key that is too long", []Value{good}, []Value{good, long}},
		{"a partition key that is too long", []Value{AppendString(nil, strings.Repeat("x", MaxPartitionKeySize+1))}, nil},
	} {
		dst := []byte("before")
		if got, err := AppendIndexKey(dst, c.partition, c.sort, nil); err == nil || string(got) != "before" {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	if _, err := AppendIndexKey(nil, []Value{long}, []Value{good}, nil); err != nil {
		t.Errorf("a partition key may be longer: %v", err)
	}
	if _, err := Key("p").AppendPrefix(AppendInt(nil, 1)); err == nil {
		t.Error("a number has no prefix")
	}
}
