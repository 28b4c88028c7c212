package item

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// rewritten copies a value through Open, at every level.
func rewritten(dst []byte, v Value) []byte {
	t := v.Type()
	if t != M && t != L && !t.IsSet() {
		return append(dst, v...)
	}
	dst, o := OpenValue(dst, t)
	n := 0
	for name, e := range v.Each {
		dst = rewritten(AppendName(dst, name), e)
		n++
	}
	for e := range v.Elements {
		dst = rewritten(dst, e)
		n++
	}
	return o.Close(dst, n)
}

// TestOpen: an item that is written part by part is the same bytes.
func TestOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		it, err := decodeItem(mustJSON(wireEntries(genEntries(5).Draw(t, "item"), false)))
		if err != nil {
			t.Fatal(err)
		}
		dst, o := OpenItem([]byte("prefix"))
		n := 0
		for name, v := range it.Each {
			dst = rewritten(AppendName(dst, name), v)
			n++
		}
		if got := o.Close(dst, n); string(got) != "prefix"+string(it) {
			t.Fatalf("%x, want %x", got[6:], it)
		}
	})
	// Counts and lengths of several bytes.
	for _, n := range []int{0, 1, 127, 128, 300, 20_000} {
		elems := slices.Repeat([]Value{AppendNull(nil)}, n)
		dst, o := OpenValue(nil, L)
		for _, e := range elems {
			dst = append(dst, e...)
		}
		if got, want := o.Close(dst, n), AppendList(nil, elems); string(got) != string(want) {
			t.Errorf("a list of %d elements is other bytes", n)
		}
	}
}

func TestCheckNesting(t *testing.T) {
	nest := func(levels int) Value {
		v := Value(AppendNull(nil))
		for i := range levels - 1 {
			if i%2 == 0 {
				v = AppendList(nil, []Value{AppendBool(nil, true), v})
				continue
			}
			var b Builder
			b.Add([]byte("a"), v)
			v, _ = b.AppendMap(nil)
		}
		return v
	}
	for level := 1; level <= MaxNesting; level++ {
		if err := CheckNesting(nest(MaxNesting-level+1), level); err != nil {
			t.Errorf("level %d: %v", level, err)
		}
		if err := CheckNesting(nest(MaxNesting-level+2), level); err != errNesting {
			t.Errorf("level %d: %v", level, err)
		}
	}
}

// TestSets: unions and differences are those of the members.
func TestSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := Type(rapid.IntRange(int(SS), int(BS)).Draw(t, "type"))
		members := func(label string) map[string]Value {
			m := map[string]Value{}
			for _, i := range rapid.SliceOfN(rapid.IntRange(-5, 200), 1, 20).Draw(t, label) {
				var e Value
				switch text := strings.Repeat("x", max(i, 0)); typ {
				case SS:
					e = AppendString(nil, text)
				case NS:
					e = AppendInt(nil, int64(i))
				default:
					e = AppendBinary(nil, text)
				}
				m[string(e)] = e
			}
			return m
		}
		set := func(m map[string]Value) Value {
			var elems []Value
			for _, e := range m {
				elems = append(elems, e)
			}
			v, err := AppendSet(nil, typ, elems)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		a, b := members("a"), members("b")
		union, without := map[string]Value{}, map[string]Value{}
		for k, e := range a {
			union[k] = e
			if _, ok := b[k]; ok != set(b).Has(e) {
				t.Fatalf("Has is %v", !ok)
			} else if !ok {
				without[k] = e
			}
		}
		for k, e := range b {
			union[k] = e
		}
		if got := AppendUnion(nil, set(a), set(b)); string(got) != string(set(union)) {
			t.Fatalf("union %x", got)
		}
		dst := []byte("x")
		got, ok := AppendWithout(dst, set(a), set(b))
		if ok != (len(without) > 0) || !ok && string(got) != "x" || ok && string(got[1:]) != string(set(without)) {
			t.Fatalf("without %x %v", got, ok)
		}
	})
}

func TestCompare(t *testing.T) {
	it := mustItem(t, `{"a":{"S":"a"},"b":{"S":"b"},"n":{"N":"-10"},"m":{"N":"9"},"x":{"B":"AQ=="},"y":{"B":"/w=="},"t":{"BOOL":true},"s":{"SS":["a"]},"l":{"L":[]}}`)
	get := func(name string) Value { v, _ := it.GetString(name); return v }
	for _, tc := range []struct {
		v, o  string
		order int
		ok    bool
	}{{"a", "b", -1, true}, {"b", "a", 1, true}, {"a", "a", 0, true}, {"n", "m", -1, true}, {"m", "n", 1, true}, {"x", "y", -1, true}, {"a", "n", 0, false},
		{"t", "t", 0, false}, {"s", "s", 0, false}, {"l", "l", 0, false}, {"none", "a", 0, false}, {"none", "none", 0, false}} {
		if order, ok := get(tc.v).Compare(get(tc.o)); order != tc.order || ok != tc.ok {
			t.Errorf("%s, %s: %d %v", tc.v, tc.o, order, ok)
		}
	}
}
