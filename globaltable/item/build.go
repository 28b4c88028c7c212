package item

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// AppendString appends an S. The caller makes sure that s is UTF-8.
func AppendString[T string | []byte](dst []byte, s T) []byte { return appendSized(dst, S, s) }

// AppendBinary appends a B.
func AppendBinary[T string | []byte](dst []byte, b T) []byte { return appendSized(dst, B, b) }

// AppendNumber appends an N.
func AppendNumber(dst []byte, n Number) []byte { return appendSized(dst, N, []byte(n)) }

// AppendNumberText appends an N parsed from text. The error is an *Error of class Validation.
func AppendNumberText[T string | []byte](dst []byte, text T) ([]byte, error) {
	dst, start := beginBody(dst, N)
	dst, err := appendParsed(dst, text)
	if err != nil {
		return dst[:start-2], err
	}
	dst[start-1] = byte(len(dst) - start)
	return dst, nil
}

// AppendInt appends an N that is an integer.
func AppendInt(dst []byte, n int64) []byte {
	dst, start := beginBody(dst, N)
	dst = appendInt(dst, n)
	dst[start-1] = byte(len(dst) - start)
	return dst
}

// AppendBool appends a BOOL.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, byte(BOOL), 1)
	}
	return append(dst, byte(BOOL), 0)
}

// AppendNull appends a NULL.
func AppendNull(dst []byte) []byte { return append(dst, byte(NULL)) }

// AppendList appends an L of the elements given.
func AppendList(dst []byte, elems []Value) []byte { return appendElements(dst, L, elems) }

func appendElements(dst []byte, t Type, elems []Value) []byte {
	dst, start := beginBody(dst, t)
	dst = binary.AppendUvarint(dst, uint64(len(elems)))
	for _, e := range elems {
		dst = append(dst, e...)
	}
	return endBody(dst, start)
}

// AppendSet appends a set of type t (SS, NS or BS). It sorts elems in place. The error is an *Error of class Validation: no
// element, duplicates, or an element of another type. Then dst is returned as it was.
func AppendSet(dst []byte, t Type, elems []Value) ([]byte, error) {
	if len(elems) == 0 {
		return dst, errEmptySet(t)
	}
	for _, e := range elems {
		if e.Type() != t.Elem() {
			return dst, errSetElement
		}
	}
	slices.SortFunc(elems, compareElements)
	for i := 1; i < len(elems); i++ {
		if bytes.Equal(elems[i-1], elems[i]) {
			return dst, errDuplicateElements(t, elems)
		}
	}
	return appendElements(dst, t, elems), nil
}

// compareElements orders elements of one set: by their bytes without the header.
func compareElements(a, b Value) int { return bytes.Compare(a.body(), b.body()) }

func errEmptySet(t Type) error {
	switch t {
	case SS:
		return errEmptySS
	case NS:
		return errEmptyNS
	case BS:
		return errEmptyBS
	}
	return errSetElement
}

func errDuplicateElements(t Type, elems []Value) error {
	if t == NS {
		return errDuplicateNS
	}
	var quoted strings.Builder
	for i, e := range elems {
		if quoted.Len() > maxQuote {
			break
		}
		if i > 0 {
			quoted.WriteString(", ")
		}
		quoted.Write(e.Bytes()[:min(e.Len(), maxQuote)])
	}
	return duplicatesFault(t, quoted.String())
}

func duplicatesFault(t Type, quoted string) error {
	const bare = invalidPrefix + "Input collection ["
	if t == BS {
		return quoting(Validation, bare, quoted, "]of type BS contains duplicates.")
	}
	return quoting(Validation, bare, quoted, "] contains duplicates.")
}

// AppendMap appends an M with the attributes of it.
func AppendMap(dst []byte, it Item) []byte {
	if len(it) == 0 {
		return append(dst, byte(M), 1, 0)
	}
	return appendSized(dst, M, []byte(it.entries()))
}

// AppendItem appends an item with the entries of m, an M.
func AppendItem(dst []byte, m Value) []byte {
	dst = append(dst, itemVersion)
	return append(dst, m.body()...)
}

// Builder collects attributes in any order and builds an item or a map of them. The zero value is ready. It keeps views of
// the names and values until Reset; it is not for use by several goroutines.
type Builder struct {
	fields []field
}

// Reset makes b empty; its memory is kept.
func (b *Builder) Reset() {
	clear(b.fields)
	b.fields = b.fields[:0]
}

// Add adds an attribute. The caller makes sure that v is a value and name is UTF-8.
func (b *Builder) Add(name []byte, v Value) { b.fields = append(b.fields, field{name, v}) }

// Len returns the number of attributes added.
func (b *Builder) Len() int { return len(b.fields) }

// AppendItem appends the item. The error is an *Error of class Validation or SizeExceeded: a name that is there twice, empty
// or too long. Then dst is returned as it was.
func (b *Builder) AppendItem(dst []byte) ([]byte, error) {
	out, err := appendEntries(append(dst, itemVersion), b.fields)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendMap is AppendItem for an M.
func (b *Builder) AppendMap(dst []byte) ([]byte, error) {
	out, start := beginBody(dst, M)
	out, err := appendEntries(out, b.fields)
	if err != nil {
		return dst, err
	}
	return endBody(out, start), nil
}
