package item

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Key is an encoded primary key: 8 bytes, big-endian, xxhash64 of the encoded partition key; the encoded partition key; the
// encoded sort key if the table has one.
//
// A part is its type's tag, then the Number of an N, or the bytes of an S or B with each 0x00 written 0x00 0xff, and 0x00 0x01
// at the end. So a part tells its own end, and parts of one type order as their values do: an S by its UTF-8 bytes, a B by
// unsigned bytes, an N as a number. Keys of a partition are adjacent and in the order of their sort keys; partitions
// lie in the order of their hashes, so that buckets of digests, segments of scans and shards are ranges.
type Key []byte

const hashLen = 8

const (
	partEscape = 0xff // after 0x00: the payload goes on with a 0x00
	partEnd    = 0x01 // after 0x00: the part ends
)

// AppendKey appends the key of the values given; sort is nil if the table has none. With sort nil it is also the common
// prefix of all keys of a partition. The error is an *Error: not S, N or B, empty, or too large; dst is returned as it was.
// CheckKeyValue has the texts that name the attribute.
func AppendKey(dst []byte, partition, sort Value) (Key, error) {
	start := len(dst)
	out := append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	out, err := appendPart(out, partition, MaxPartitionKeySize)
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint64(out[start:], xxhash.Sum64(out[start+hashLen:]))
	if sort != nil {
		if out, err = appendPart(out, sort, MaxSortKeySize); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// AppendIndexKey appends the key of an entry of an index: 8 bytes of hash, as of a Key, over all encoded parts of partition; these parts; those of sort; base, the item's key in the table.
// So entries of equal index keys are distinct, adjacent, and in the order of base. With base nil it is the common prefix of the entries that have these values; with fewer values of sort
// than the index has, of those that begin with them. The error is an *Error: a value that is not S, N or B, empty, or too large; dst is returned as it was.
func AppendIndexKey(dst []byte, partition, sort []Value, base Key) (Key, error) {
	start := len(dst)
	out := append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	var err error
	for _, v := range partition {
		if out, err = appendPart(out, v, MaxPartitionKeySize); err != nil {
			return dst, err
		}
	}
	binary.BigEndian.PutUint64(out[start:], xxhash.Sum64(out[start+hashLen:]))
	for _, v := range sort {
		if out, err = appendPart(out, v, MaxSortKeySize); err != nil {
			return dst, err
		}
	}
	return append(out, base...), nil
}

// AppendPrefix appends the beginning of the part of v to k, a prefix of keys: the common prefix of the keys that go on with a value that begins with v, an S or B of at most
// MaxSortKeySize bytes, which may be empty. It may write into k's memory behind k. The error is AppendKey's.
func (k Key) AppendPrefix(v Value) (Key, error) {
	if t := v.Type(); t != S && t != B {
		return k, errKeyType
	}
	if v.Len() > MaxSortKeySize {
		return k, errRangeKeySize
	}
	return appendEscaped(append(k, v[0]), v.Bytes()), nil
}

// Next returns the least key above k.
func (k Key) Next() Key { return append(append(make(Key, 0, len(k)+1), k...), 0) }

// PrefixEnd returns the least key above all that begin with k; nil if there is none.
func (k Key) PrefixEnd() Key {
	n := len(k)
	for n > 0 && k[n-1] == 0xff {
		n--
	}
	if n == 0 {
		return nil
	}
	end := bytes.Clone(k[:n])
	end[n-1]++
	return end
}

// appendPart appends one value of a key.
func appendPart(dst []byte, v Value, limit int) ([]byte, error) {
	switch v.Type() {
	case N:
		dst = append(dst, byte(N))
		return append(dst, v.Number()...), nil
	case S, B:
	default:
		return dst, errKeyType
	}
	payload := v.Bytes()
	if len(payload) == 0 {
		return dst, errKeyEmpty
	}
	if len(payload) > limit {
		return dst, keySizeFault(limit)
	}
	return append(appendEscaped(append(dst, v[0]), payload), 0, partEnd), nil
}

// appendEscaped appends the bytes of an S or B as a part has them, without its end.
func appendEscaped(dst, payload []byte) []byte {
	for {
		i := bytes.IndexByte(payload, 0)
		if i < 0 {
			return append(dst, payload...)
		}
		dst = append(dst, payload[:i]...)
		dst = append(dst, 0, partEscape)
		payload = payload[i+1:]
	}
}

func keySizeFault(limit int) error {
	if limit == MaxSortKeySize {
		return errRangeKeySize
	}
	return errHashKeySize
}

// DecodeKey is the inverse of AppendKey, and checks k fully. The error is an *Error of class Corrupt. sort is nil without one.
// The values have memory of their own.
func DecodeKey(k []byte, hasSort bool) (partition, sort Value, err error) {
	sorts := 0
	if hasSort {
		sorts = 1
	}
	values, base, err := DecodeIndexKey(k, 1, sorts)
	switch {
	case err != nil:
		return nil, nil, err
	case len(base) > 0:
		return nil, nil, corrupt("key is too long")
	case hasSort:
		sort = values[1]
	}
	return values[0], sort, nil
}

// DecodeIndexKey is the inverse of AppendIndexKey for an index with so many attributes in its partition key and its sort key: their values, which have memory of their own, and the
// item's key in the table, a view of k that is not checked. The error is an *Error of class Corrupt.
func DecodeIndexKey(k []byte, partition, sort int) (values []Value, base Key, err error) {
	if len(k) < hashLen {
		return nil, nil, corrupt("key is too short")
	}
	rest := k[hashLen:]
	buf := make([]byte, 0, len(k)) // enough for all: a value is at most one byte longer than its part
	values = make([]Value, 0, partition+sort)
	for i := range partition + sort {
		limit := MaxPartitionKeySize
		if i >= partition {
			limit = MaxSortKeySize
		}
		start := len(buf)
		var n int
		if buf, n, err = decodePart(buf, rest, limit); err != nil {
			return nil, nil, err
		}
		values, rest = append(values, buf[start:len(buf):len(buf)]), rest[n:]
		if i+1 == partition && xxhash.Sum64(k[hashLen:len(k)-len(rest)]) != binary.BigEndian.Uint64(k) {
			return nil, nil, corrupt("key has a wrong hash")
		}
	}
	return values, rest, nil
}

// decodePart appends the value of the part at the start of b and returns the part's length.
func decodePart(dst, b []byte, limit int) (out []byte, n int, err error) {
	if len(b) == 0 {
		return dst, 0, corrupt("key ends early")
	}
	t := Type(b[0])
	switch t {
	case N:
		n, ok := numberAt(b[1:])
		if !ok {
			return dst, 0, corrupt("number in a key")
		}
		return AppendNumber(dst, Number(b[1:1+n])), 1 + n, nil
	case S, B:
	default:
		return dst, 0, corrupt("type in a key")
	}
	payload, n, ok := unescapePart(b[1:])
	switch {
	case !ok:
		return dst, 0, corrupt("escape in a key")
	case len(payload) == 0 || len(payload) > limit:
		return dst, 0, corrupt("length of a key")
	case t == S && !utf8.Valid(payload):
		return dst, 0, corrupt("key is not UTF-8")
	}
	return appendSized(dst, t, payload), 1 + n, nil
}

// unescapePart returns the payload of an S or B at the start of b, a view of b where nothing is escaped, and the number of
// bytes that it takes there with its end.
func unescapePart(b []byte) (payload []byte, n int, ok bool) {
	for {
		i := bytes.IndexByte(b[n:], 0)
		if i < 0 || n+i+1 >= len(b) {
			return nil, 0, false
		}
		run := b[n : n+i]
		mark := b[n+i+1]
		n += i + 2
		switch {
		case mark == partEnd && payload == nil:
			return run, n, true
		case mark == partEnd:
			return append(payload, run...), n, true
		case mark == partEscape:
			payload = append(append(payload, run...), 0)
		default:
			return nil, 0, false
		}
	}
}

// Hash returns the hash of the partition key. k is at least 8 bytes long.
func (k Key) Hash() uint64 { return binary.BigEndian.Uint64(k) }

// Bucket returns the upper bits of the hash, bits of them (0 to 62): 0 to 1<<bits - 1. A bucket is a range of keys.
func (k Key) Bucket(bits int) int { return int(k.Hash() >> (64 - bits)) }

// CheckKeyValue checks the value of the key attribute name: its type is want, it is not empty, it is at most limit bytes long
// (MaxPartitionKeySize or MaxSortKeySize). v is nil if the item has none. The error is an *Error with DynamoDB's text for PutItem.
func CheckKeyValue(name string, v Value, want Type, limit int) error {
	if v == nil {
		return quoting(Validation, invalidPrefix+"Missing the key ", name, " in the item")
	}
	if v.Type() != want {
		return quoting(Validation, invalidPrefix+"Type mismatch for key ", name, " expected: "+want.String()+" actual: "+v.Type().String())
	}
	if want == N {
		return nil
	}
	if v.Len() == 0 {
		kind := "string"
		if want == B {
			kind = "binary"
		}
		return quoting(Validation, "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty "+
			kind+" value. Key: ", name, "")
	}
	if v.Len() > limit {
		return keySizeFault(limit)
	}
	return nil
}

// KeyPart is one value of a key as it lies there.
type KeyPart struct {
	Type  Type   // zero: the key has no such value
	Bytes []byte // of an S or B, a view of the key where no 0x00 is escaped; nil of an N
}

// Parts returns the key's values, without a check of its hash. ok is false when k is none. It allocates for values with a 0x00 only.
func (k Key) Parts() (partition, sort KeyPart, ok bool) {
	if len(k) < hashLen {
		return partition, sort, false
	}
	partition, rest, ok := partOf(k[hashLen:])
	if !ok || len(rest) == 0 {
		return partition, sort, ok
	}
	sort, rest, ok = partOf(rest)
	return partition, sort, ok && len(rest) == 0
}

func partOf(b []byte) (p KeyPart, rest []byte, ok bool) {
	if len(b) == 0 {
		return p, nil, false
	}
	p.Type = Type(b[0])
	var n int
	switch p.Type {
	case N:
		n, ok = numberAt(b[1:])
	case S, B:
		p.Bytes, n, ok = unescapePart(b[1:])
	}
	if !ok {
		return KeyPart{}, nil, false
	}
	return p, b[1+n:], true
}
