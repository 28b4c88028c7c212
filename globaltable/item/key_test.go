package item

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

// genKeyValue makes an S, N or B that can be a key. Short alphabets with 0x00, 0x01 and 0xff make escapes and near misses.
func genKeyValue(of Type) *rapid.Generator[Value] {
	tricky := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 0xfe, 0xff, 'a'}), 1, 6)
	return rapid.Custom(func(t *rapid.T) Value {
		switch of {
		case S:
			return AppendString(nil, rapid.OneOf(rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a', 'b', 0xff, 0x10ffff}), 1, 6, -1),
				rapid.StringN(1, 50, -1)).Draw(t, "s"))
		case B:
			return AppendBinary(nil, rapid.OneOf(tricky, rapid.SliceOfN(rapid.Byte(), 1, 50)).Draw(t, "b"))
		}
		out, err := AppendNumberText(nil, genNumber().Draw(t, "n"))
		if err != nil {
			t.Fatal(err)
		}
		return out
	})
}

var keyTypes = rapid.SampledFrom([]Type{S, N, B})

func TestKeysOrderAsValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partition := genKeyValue(keyTypes.Draw(t, "partition type")).Draw(t, "partition")
		of := keyTypes.Draw(t, "sort type")
		a, b := genKeyValue(of).Draw(t, "a"), genKeyValue(of).Draw(t, "b")
		ka, err := AppendKey(nil, partition, a)
		if err != nil {
			t.Fatal(err)
		}
		kb, err := AppendKey(nil, partition, b)
		if err != nil {
			t.Fatal(err)
		}
		var want int
		if of == N {
			want = decimal(a.Number().String()).Cmp(decimal(b.Number().String()))
		} else {
			want = cmp.Compare(string(a.Bytes()), string(b.Bytes()))
		}
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("% x and % x compare as %d, want %d", []byte(ka), []byte(kb), got, want)
		}
		// A key without sort key is the prefix of its partition, and of no other.
		prefix, err := AppendKey(nil, partition, nil)
		if err != nil || !bytes.HasPrefix(ka, prefix) || !bytes.HasPrefix(kb, prefix) {
			t.Fatalf("% x is no prefix of % x: %v", []byte(prefix), []byte(ka), err)
		}
		other, err := AppendKey(nil, genKeyValue(partition.Type()).Draw(t, "other"), a)
		if err != nil {
			t.Fatal(err)
		}
		op, _, err := DecodeKey(other, true)
		if err != nil || bytes.Equal(op, partition) != bytes.HasPrefix(other, prefix) {
			t.Fatalf("% x in the partition of % x: %v", []byte(prefix), []byte(other), err)
		}
		if ka.Hash() != xxhash.Sum64(prefix[hashLen:]) || ka.Bucket(10) != int(ka.Hash()>>54) || ka.Bucket(0) != 0 {
			t.Fatalf("hash %x, bucket %d", ka.Hash(), ka.Bucket(10))
		}
	})
}

func TestKeysAreDecoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partition := genKeyValue(keyTypes.Draw(t, "partition type")).Draw(t, "partition")
		var sort Value
		if rapid.Bool().Draw(t, "has sort") {
			sort = genKeyValue(keyTypes.Draw(t, "sort type")).Draw(t, "sort")
		}
		k, err := AppendKey([]byte("before"), partition, sort)
		if err != nil || string(k[:6]) != "before" {
			t.Fatalf("% x: %v", []byte(k), err)
		}
		k = k[6:]
		p, s, err := DecodeKey(k, sort != nil)
		if err != nil || !bytes.Equal(p, partition) || !bytes.Equal(s, sort) {
			t.Fatalf("% x: % x, % x, %v", []byte(k), []byte(p), []byte(s), err)
		}
		if _, _, err := DecodeKey(k, sort == nil); err == nil {
			t.Fatalf("% x is taken with and without a sort key", []byte(k))
		}
		for i := range k {
			if _, _, err := DecodeKey(k[:i], sort != nil); err == nil {
				t.Fatalf("% x is taken when cut at %d", []byte(k), i)
			}
		}
		k[rapid.IntRange(0, hashLen-1).Draw(t, "at")] ^= 1
		if _, _, err := DecodeKey(k, sort != nil); err == nil {
			t.Fatal("a wrong hash is taken")
		}
	})
}

func TestAppendKeyFaults(t *testing.T) {
	str := func(n int) Value { return AppendString(nil, strings.Repeat("x", n)) }
	for _, c := range []struct {
		name            string
		partition, sort Value
		want            *Error
	}{
		{"longest", str(MaxPartitionKeySize), str(MaxSortKeySize), nil},
		{"partition too long", str(MaxPartitionKeySize + 1), nil, errHashKeySize},
		{"sort too long", str(1), str(MaxSortKeySize + 1), errRangeKeySize},
		{"empty partition", str(0), nil, errKeyEmpty},
		{"empty sort", str(1), AppendBinary(nil, ""), errKeyEmpty},
		{"no partition", nil, nil, errKeyType},
		{"truth value", AppendBool(nil, true), nil, errKeyType},
		{"set", str(1), mustSet(t), errKeyType},
	} {
		k, err := AppendKey([]byte("x"), c.partition, c.sort)
		if c.want == nil {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != c.want || string(k) != "x" {
			t.Errorf("%s: %q, %v, want %v", c.name, k, err, c.want)
		}
	}
}

func mustSet(t *testing.T) Value {
	v, err := AppendSet(nil, SS, []Value{AppendString(nil, "a")})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCheckKeyValue(t *testing.T) {
	for _, c := range []struct {
		v     Value
		want  Type
		limit int
		text  string
	}{
		{AppendString(nil, "a"), S, MaxPartitionKeySize, ""},
		{AppendInt(nil, 1), N, MaxSortKeySize, ""},
		{nil, S, MaxSortKeySize, invalidPrefix + "Missing the key pk in the item"},
		{AppendInt(nil, 1), S, MaxSortKeySize, invalidPrefix + "Type mismatch for key pk expected: S actual: N"},
		{AppendString(nil, ""), S, MaxSortKeySize, "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: pk"},
		{AppendBinary(nil, ""), B, MaxSortKeySize, "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty binary value. Key: pk"},
		{AppendBinary(nil, make([]byte, 2049)), B, MaxPartitionKeySize, errHashKeySize.Message},
		{AppendString(nil, make([]byte, 1025)), S, MaxSortKeySize, errRangeKeySize.Message},
	} {
		err := CheckKeyValue("pk", c.v, c.want, c.limit)
		if messageOf(err) != c.text || (err == nil) != (c.text == "") {
			t.Errorf("% x: %v, want %q", []byte(c.v), err, c.text)
		}
		if err != nil && strings.Contains(err.Error(), "pk") {
			t.Errorf("the text for logs quotes: %q", err)
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, c := range []struct{ p, s Value }{
		{AppendString(nil, "a\x00b"), nil}, {AppendString(nil, "user#1"), AppendInt(nil, -42)}, {AppendBinary(nil, "\x00\xff"), AppendBinary(nil, "\x00")},
	} {
		k, err := AppendKey(nil, c.p, c.s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(k), c.s != nil)
	}
	f.Add([]byte("12345678\x01a\x00\x02"), false)
	f.Fuzz(func(t *testing.T, b []byte, hasSort bool) {
		// The hash is set right, or hardly any input would pass it.
		if len(b) > hashLen {
			if _, n, err := decodePart(nil, b[hashLen:], MaxPartitionKeySize); err == nil {
				b = append(binary.BigEndian.AppendUint64(nil, xxhash.Sum64(b[hashLen:hashLen+n])), b[hashLen:]...)
			}
		}
		p, s, err := DecodeKey(b, hasSort)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Class != Corrupt {
				t.Fatalf("% x: %v", b, err)
			}
			return
		}
		if CheckValue(p) != nil || s != nil && CheckValue(s) != nil {
			t.Fatalf("% x: % x, % x", b, []byte(p), []byte(s))
		}
		again, err := AppendKey(nil, p, s)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("% x is taken, its values make % x, %v", b, []byte(again), err)
		}
	})
}
