package item

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCheckRefuses(t *testing.T) {
	nested := func(levels int) []byte {
		v := Value(AppendNull(nil))
		for range levels - 1 {
			v = AppendList(nil, []Value{v})
		}
		return v
	}
	if err := CheckValue(nested(MaxNesting)); err != nil {
		t.Errorf("%d levels: %v", MaxNesting, err)
	}
	for name, b := range map[string][]byte{
		"nothing":               {},
		"no type":               {0},
		"unknown type":          {11},
		"truth of 2":            {byte(BOOL), 2},
		"truth missing":         {byte(BOOL)},
		"length missing":        {byte(S)},
		"length too long":       {byte(S), 2, 'a'},
		"length beyond int":     {byte(S), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"length not minimal":    {byte(S), 0x81, 0x00, 'a'},
		"bytes after":           {byte(NULL), 0},
		"not UTF-8":             {byte(S), 1, 0xff},
		"empty number":          {byte(N), 0},
		"number of zeros":       {byte(N), 3, numberPositive, 130, 0},
		"number with 0 first":   {byte(N), 3, numberPositive, 130, 2},
		"number with 00 last":   {byte(N), 4, numberPositive, 130, 21, 0},
		"number without an end": {byte(N), 3, numberPositive, 130, 21},
		"number of 40 digits":   append(append([]byte{byte(N), 22, numberPositive, 130}, bytes.Repeat([]byte{21}, 19)...), 20),
		"bytes after number":    {byte(N), 2, numberZero, numberZero},
		"empty set":             {byte(SS), 1, 0},
		"set out of order":      {byte(SS), 7, 2, byte(S), 1, 'b', byte(S), 1, 'a'},
		"set with duplicates":   {byte(SS), 7, 2, byte(S), 1, 'a', byte(S), 1, 'a'},
		"set of another type":   {byte(SS), 4, 1, byte(B), 1, 'a'},
		"count too small":       {byte(L), 3, 1, byte(NULL), byte(NULL)},
		"count too large":       {byte(L), 2, 2, byte(NULL)},
		"map out of order":      {byte(M), 7, 2, 1, 'b', byte(NULL), 1, 'a', byte(NULL)},
		"map with duplicates":   {byte(M), 7, 2, 1, 'a', byte(NULL), 1, 'a', byte(NULL)},
		"empty name":            {byte(M), 3, 1, 0, byte(NULL)},
		"name not UTF-8":        {byte(M), 4, 1, 1, 0xff, byte(NULL)},
		"name too long":         AppendMap(nil, hugeName()),
		"too deep":              nested(MaxNesting + 1),
		"far too deep":          nested(5000),
	} {
		var e *Error
		if err := CheckValue(b); !errors.As(err, &e) || e.Class != Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"nothing": {}, "version": {2, 0}, "no count": {1}, "bytes after": {1, 0, 0}} {
		if err := CheckItem(b); err == nil {
			t.Errorf("item: %s", name)
		}
	}
}

// hugeName is an item that no builder makes.
func hugeName() Item {
	it := []byte{itemVersion, 1}
	it = appendName(it, []byte(strings.Repeat("x", MaxNameSize+1)))
	return AppendNull(it)
}

func TestSplitValue(t *testing.T) {
	v := AppendList(nil, []Value{AppendInt(nil, 5)})
	got, rest, err := SplitValue(append(bytes.Clone(v), "rest"...))
	if err != nil || !bytes.Equal(got, v) || string(rest) != "rest" {
		t.Errorf("% x, %q, %v", []byte(got), rest, err)
	}
	for i := range v {
		if _, _, err := SplitValue(v[:i]); err == nil {
			t.Errorf("cut at %d", i)
		}
	}
}

// TestCheckOfDamage changes bytes of good items: what is still accepted must be canonical and readable.
func TestCheckOfDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		it, err := decodeItem(mustJSON(wireEntries(genEntries(4).Draw(t, "item"), false)))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(it)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				it[i] = rapid.Byte().Draw(t, "byte")
			case 1:
				it = append(it[:i:i], it[i+1:]...)
			case 2:
				it = append(it[:i:i], append([]byte{rapid.Byte().Draw(t, "byte")}, it[i:]...)...)
			}
			if len(it) == 0 {
				return
			}
		}
		checkAccepted(t, it)
	})
}

// checkAccepted reads every part of b, if CheckItem takes it, and verifies that b is the one encoding of what it says.
func checkAccepted(t interface{ Fatalf(string, ...any) }, b []byte) {
	if CheckItem(b) != nil {
		return
	}
	it := Item(b)
	text := it.AppendJSON(nil)
	if it.Size() < 0 {
		t.Fatalf("size %d", it.Size())
	}
	again, err := decodeItem(text)
	if err != nil || !bytes.Equal(again, it) {
		t.Fatalf("% x is accepted, reads %s, which is % x, %v", b, text, []byte(again), err)
	}
}

func FuzzCheckItem(f *testing.F) {
	f.Add([]byte(mustItem(f, allTypes)))
	f.Add([]byte{itemVersion, 0})
	f.Add([]byte{itemVersion, 1, 1, 'a', byte(L), 4, 3, byte(NULL), byte(NULL), byte(NULL)})
	f.Fuzz(func(t *testing.T, b []byte) {
		checkAccepted(t, b)
		if v, rest, err := SplitValue(b); err == nil && len(v)+len(rest) != len(b) {
			t.Fatalf("% x is split in %d and %d", b, len(v), len(rest))
		}
		if CheckValue(b) == nil {
			v := Value(b)
			if err := CheckItem(Item(append([]byte{itemVersion, 1, 1, 'a'}, v...))); err != nil {
				t.Fatalf("% x is a value, but not in an item: %v", b, err)
			}
		}
	})
}
