package item

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// itemVersion is the first byte of an item: the version of its encoding.
const itemVersion = 1

// uvarint decodes the varint at the start of b, which is known to be good.
func uvarint(b []byte) (n, width int) {
	if b[0] < 0x80 {
		return int(b[0]), 1
	}
	u, w := binary.Uvarint(b)
	return int(u), w
}

// split returns the value at the start of b, which is known to be good, and what follows it.
func split(b []byte) (v Value, rest []byte) {
	end := 1
	switch Type(b[0]) {
	case NULL:
	case BOOL:
		end = 2
	default:
		n, w := uvarint(b[1:])
		end = 1 + w + n
	}
	return b[:end:end], b[end:]
}

// splitName returns the name at the start of b, which is known to be good, and what follows it.
func splitName(b []byte) (name, rest []byte) {
	n, w := uvarint(b)
	return b[w : w+n : w+n], b[w+n:]
}

// entries is the body of an M and of an item: count, then names and values ascending by name.
type entries []byte

func (e entries) len() int {
	n, _ := uvarint(e)
	return n
}

func (e entries) get(name []byte) (Value, bool) {
	count, w := uvarint(e)
	rest := []byte(e[w:])
	for ; count > 0; count-- {
		var n []byte
		var v Value
		n, rest = splitName(rest)
		v, rest = split(rest)
		// Names ascend, but equality is what most lookups need first: it fails on the lengths alone.
		if bytes.Equal(n, name) {
			return v, true
		}
	}
	return nil, false
}

func (e entries) each(f func(name []byte, v Value) bool) {
	count, w := uvarint(e)
	rest := []byte(e[w:])
	for ; count > 0; count-- {
		var name []byte
		var v Value
		name, rest = splitName(rest)
		v, rest = split(rest)
		if !f(name, v) {
			return
		}
	}
}

// beginBody appends a tag and room for a length of one byte; endBody sets the length when the body is there, and moves the
// body if the length needs more. Most containers are below 128 bytes or few, so moving is rarer than measuring first would be.
func beginBody(dst []byte, t Type) (out []byte, start int) {
	dst = append(dst, byte(t), 0)
	return dst, len(dst)
}

func endBody(dst []byte, start int) []byte {
	n := len(dst) - start
	if n < 0x80 {
		dst[start-1] = byte(n)
		return dst
	}
	var length [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(length[:], uint64(n))
	dst = append(dst, length[:w-1]...) // room; its content is overwritten
	copy(dst[start+w-1:], dst[start:start+n])
	copy(dst[start-1:], length[:w])
	return dst
}

// appendSized appends a tag, a length and the bytes.
func appendSized[T string | []byte](dst []byte, t Type, b T) []byte {
	dst = append(dst, byte(t))
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// appendName appends a name as entries have it.
func appendName(dst, name []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	return append(dst, name...)
}

// field is a named value on its way into entries.
type field struct {
	name  []byte
	value Value
}

func compareFields(a, b field) int { return bytes.Compare(a.name, b.name) }

// appendEntries sorts the fields in place and appends them.
func appendEntries(dst []byte, fields []field) ([]byte, error) {
	if !slices.IsSortedFunc(fields, compareFields) {
		slices.SortFunc(fields, compareFields)
	}
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	for i, f := range fields {
		if err := checkName(f.name); err != nil {
			return dst, err
		}
		if i > 0 && bytes.Equal(fields[i-1].name, f.name) {
			return dst, errDuplicateName
		}
		dst = appendName(dst, f.name)
		dst = append(dst, f.value...)
	}
	return dst, nil
}

// checkName returns the fault of an attribute name's length. The empty name is not an attribute's: records of package conflict
// give it a meaning of their own. (The result is an error, not an *Error, so that nil stays nil.)
func checkName(name []byte) error {
	if len(name) == 0 {
		return errEmptyName
	}
	if len(name) > MaxNameSize {
		return errNameSize
	}
	return nil
}
