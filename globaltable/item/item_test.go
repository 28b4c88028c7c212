package item

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// allTypes is an item with a value of each type.
const allTypes = `{"s":{"S":"grüße \"\\\n"},"n":{"N":"-0012.50e1"},"b":{"B":"AAEC/w=="},"t":{"BOOL":true},"f":{"BOOL":false},"nil":{"NULL":true},` +
	`"m":{"M":{"z":{"N":"1"},"a":{"M":{}}}},"l":{"L":[{"S":""},{"L":[]},{"N":"0"}]},"ss":{"SS":["b","a",""]},"ns":{"NS":["10","-1","2.50"]},"bs":{"BS":["Ag==","AQ=="]}}`

const allTypesCanonical = `{"b":{"B":"AAEC/w=="},"bs":{"BS":["AQ==","Ag=="]},"f":{"BOOL":false},"l":{"L":[{"S":""},{"L":[]},{"N":"0"}]},` +
	`"m":{"M":{"a":{"M":{}},"z":{"N":"1"}}},"n":{"N":"-125"},"nil":{"NULL":true},"ns":{"NS":["-1","2.5","10"]},"s":{"S":"grüße \"\\\n"},"ss":{"SS":["","a","b"]},"t":{"BOOL":true}}`

// TestGolden pins the bytes of the encodings: stores and logs hold them.
func TestGolden(t *testing.T) {
	it := mustItem(t, allTypes)
	s := Value(AppendString(nil, "a\x00b"))
	n := Value(AppendInt(nil, -42))
	key, err := AppendKey(nil, s, n)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"item": it, "key": key} {
		path := "testdata/" + name + ".golden"
		if *rewrite {
			if err := os.WriteFile(path, []byte(hex.Dump(b)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.Dump(b); got != string(want) {
			t.Errorf("%s: stored bytes would not be understood; got\n%swant\n%s", path, got, want)
		}
	}
}

func TestEachType(t *testing.T) {
	it := mustItem(t, allTypes)
	if got := string(it.AppendJSON(nil)); got != allTypesCanonical {
		t.Errorf("got  %s\nwant %s", got, allTypesCanonical)
	}
	if it.Len() != 11 {
		t.Errorf("%d attributes", it.Len())
	}
	get := func(name string) Value {
		v, ok := it.GetString(name)
		if !ok {
			t.Fatalf("no attribute %s", name)
		}
		return v
	}
	for name, want := range map[string]struct {
		t         Type
		len, size int
	}{
		"s": {S, 11, 11}, "n": {N, 0, 4}, "b": {B, 4, 4}, "t": {BOOL, 0, 1}, "f": {BOOL, 0, 1}, "nil": {NULL, 0, 1}, "m": {M, 2, 3 + 1 + 1 + 2 + 1 + 1 + 3},
		"l": {L, 3, 3 + 1 + 0 + 1 + 3 + 1 + 1}, "ss": {SS, 3, 2}, "ns": {NS, 3, 3 + 2 + 2}, "bs": {BS, 2, 2},
	} {
		v := get(name)
		if v.Type() != want.t || v.Len() != want.len || v.Size() != want.size {
			t.Errorf("%s: type %s, length %d, size %d, want %v", name, v.Type(), v.Len(), v.Size(), want)
		}
		if back, ok := ParseType(want.t.String()); back != want.t || !ok {
			t.Errorf("%s: descriptor is not parsed", want.t)
		}
	}
	if !get("t").Bool() || get("f").Bool() || get("s").Bool() {
		t.Error("truth values")
	}
	if !bytes.Equal(get("b").Bytes(), []byte{0, 1, 2, 255}) || get("n").Bytes() != nil || get("n").Number().String() != "-125" || get("s").Number() != nil {
		t.Error("payloads")
	}
	if v, ok := get("m").Get([]byte("z")); !ok || v.Number().String() != "1" {
		t.Error("entry of a map")
	}
	if v, ok := get("ns").At(2); !ok || v.Number().String() != "10" {
		t.Error("element of a set")
	}
	for _, i := range []int{-1, 3} {
		if _, ok := get("ns").At(i); ok {
			t.Errorf("element %d of 3", i)
		}
	}
	if _, ok := it.GetString("zz"); ok {
		t.Error("an attribute that is not there")
	}
	var none Item
	if _, ok := none.GetString("a"); ok || none.Len() != 0 || none.Size() != 0 || string(none.AppendJSON(nil)) != "{}" {
		t.Error("the nil item is not empty")
	}
}

// TestJSONAgainstReference takes items through every codec and compares with encoding/json on trees.
func TestJSONAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := genEntries(5).Draw(t, "item")
		it, err := decodeItem(mustJSON(wireEntries(tree, false)))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckItem(it); err != nil {
			t.Fatalf("% x: %v", []byte(it), err)
		}
		var got, want any
		text := it.AppendJSON(nil)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := json.Unmarshal(mustJSON(wireEntries(tree, true)), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %s\nwant %s", mustJSON(got), mustJSON(want))
		}
		again, err := decodeItem(text)
		if err != nil || !bytes.Equal(again, it) {
			t.Fatalf("the canonical text makes other bytes: %v", err)
		}
		if it.Size() > 2*len(it) {
			t.Fatalf("size %d of %d bytes: CheckSize relies on less", it.Size(), len(it))
		}
	})
}

// TestBuildersAgree takes an item apart and builds it again, in another order.
func TestBuildersAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		it, err := decodeItem(mustJSON(wireEntries(genEntries(4).Draw(t, "item"), false)))
		if err != nil {
			t.Fatal(err)
		}
		fields := []field{}
		for name, v := range it.Each {
			fields = append(fields, field{name, rebuild(t, v)})
		}
		var b Builder
		for _, f := range rapid.Permutation(fields).Draw(t, "order") {
			b.Add(f.name, f.value)
		}
		again, err := b.AppendItem([]byte("before"))
		if err != nil || !bytes.Equal(again, append([]byte("before"), it...)) {
			t.Fatalf("got % x, %v, want % x", again, err, []byte(it))
		}
		m, err := b.AppendMap(nil)
		if err != nil || !bytes.Equal(m, AppendMap(nil, it)) || !bytes.Equal(AppendItem(nil, m), it) || CheckValue(m) != nil {
			t.Fatalf("the map of the item is % x, %v", m, err)
		}
	})
}

// rebuild makes v from its parts.
func rebuild(t *rapid.T, v Value) Value {
	var elems []Value
	for e := range v.Elements {
		elems = append(elems, rebuild(t, e))
	}
	switch v.Type() {
	case S:
		return AppendString(nil, v.Bytes())
	case N:
		return AppendNumber(nil, v.Number())
	case B:
		return AppendBinary(nil, v.Bytes())
	case BOOL:
		return AppendBool(nil, v.Bool())
	case NULL:
		return AppendNull(nil)
	case L:
		return AppendList(nil, elems)
	case M:
		var b Builder
		for name, e := range v.Each {
			b.Add(name, rebuild(t, e))
		}
		out, err := b.AppendMap(nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	slices.Reverse(elems)
	out, err := AppendSet(nil, v.Type(), elems)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBuildFaults(t *testing.T) {
	one := Value(AppendInt(nil, 1))
	for want, names := range map[*Error][]string{errDuplicateName: {"a", "b", "a"}, errEmptyName: {"a", ""}, errNameSize: {strings.Repeat("x", MaxNameSize+1)}} {
		var b Builder
		for _, name := range names {
			b.Add([]byte(name), one)
		}
		if out, err := b.AppendItem([]byte("x")); err != want || string(out) != "x" {
			t.Errorf("%q: %v", out, err)
		}
		if out, err := b.AppendMap([]byte("x")); err != want || string(out) != "x" {
			t.Errorf("%q: %v", out, err)
		}
		if b.Reset(); b.Len() != 0 {
			t.Error("Reset leaves attributes")
		}
	}
	for _, c := range []struct {
		t     Type
		elems []Value
		want  string
	}{
		{SS, nil, errEmptySS.Message}, {NS, nil, errEmptyNS.Message}, {BS, nil, errEmptyBS.Message}, {L, nil, errSetElement.Message},
		{SS, []Value{one}, errSetElement.Message},
		{NS, []Value{one, one}, errDuplicateNS.Message},
		{SS, []Value{AppendString(nil, "a"), AppendString(nil, "a")}, invalidPrefix + "Input collection [a, a] contains duplicates."},
	} {
		if out, err := AppendSet([]byte("x"), c.t, c.elems); string(out) != "x" || messageOf(err) != c.want {
			t.Errorf("%q: %v, want %s", out, err, c.want)
		}
	}
	if out, err := AppendNumberText([]byte("x"), "no"); string(out) != "x" || err == nil {
		t.Errorf("%q: %v", out, err)
	}
}

// messageOf returns the text for the client, empty if err is no *Error.
func messageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return ""
}

func TestCheckSize(t *testing.T) {
	build := func(n int) Item {
		var b Builder
		b.Add([]byte("a"), AppendString(nil, strings.Repeat("x", n-1)))
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	if err := CheckSize(build(MaxItemSize)); err != nil {
		t.Error(err)
	}
	if err := CheckSize(build(MaxItemSize + 1)); err != errItemSize {
		t.Errorf("one byte too many: %v", err)
	}
	// A list of NULLs is the item whose size is largest for its bytes: 1+3+2n.
	nulls := slices.Repeat([]Value{AppendNull(nil)}, (MaxItemSize-4)/2+1)
	for n, want := range map[int]error{len(nulls) - 1: nil, len(nulls): errItemSize} {
		var b Builder
		b.Add([]byte("a"), AppendList(nil, nulls[:n]))
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := CheckSize(it); got != want {
			t.Errorf("%d NULLs, size %d, %d bytes: %v", n, Item(it).Size(), len(it), got)
		}
	}
}

func TestLengthsAreShiftedRight(t *testing.T) {
	sizes := []int{0, 1, 1 << 21}
	for d := -10; d <= 2; d++ { // around the lengths at which a varint grows, of the list and of its element
		sizes = append(sizes, 1<<7+d, 1<<14+d)
	}
	for _, n := range sizes {
		v := Value(AppendList(nil, []Value{AppendBinary(nil, make([]byte, n)), AppendBool(nil, true)}))
		if err := CheckValue(v); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		if e, ok := v.At(1); !ok || !e.Bool() {
			t.Errorf("%d: the second element is lost", n)
		}
	}
}
