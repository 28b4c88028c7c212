package item

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// CheckItem reports whether b is exactly one item as this package encodes it: structure, order, canonical form, UTF-8,
// nesting. It is for bytes from peers and from disk. The error is an *Error of class Corrupt. It never panics. It does not
// check the size: a merge may make an item larger than MaxItemSize.
func CheckItem(b []byte) error {
	if len(b) == 0 || b[0] != itemVersion {
		return corrupt("version of an item")
	}
	c := checker{rest: b[1:]}
	if err := c.entries(1); err != nil {
		return err
	}
	return c.end()
}

// CheckValue is CheckItem for one value.
func CheckValue(b []byte) error {
	c := checker{rest: b}
	if err := c.value(1); err != nil {
		return err
	}
	return c.end()
}

// SplitValue returns the value at the start of b and what follows it: views of b. It checks only that the value lies within
// b; CheckValue checks the rest. The error is an *Error of class Corrupt.
func SplitValue(b []byte) (v Value, rest []byte, err error) {
	c := checker{rest: b}
	if _, _, err := c.header(); err != nil {
		return nil, nil, err
	}
	v, rest = split(b)
	return v, rest, nil
}

// checker reads bytes that nobody vouches for.
type checker struct {
	rest []byte
}

func (c *checker) end() error {
	if len(c.rest) > 0 {
		return corrupt("bytes after the end")
	}
	return nil
}

// uvarint reads a varint of minimal length, at most limit.
func (c *checker) uvarint(limit int) (int, error) {
	u, w := binary.Uvarint(c.rest)
	if w <= 0 || w > 1 && c.rest[w-1] == 0 {
		return 0, corrupt("varint")
	}
	if u > uint64(limit) {
		return 0, corrupt("length")
	}
	c.rest = c.rest[w:]
	return int(u), nil
}

// take reads a length and that many bytes.
func (c *checker) take() ([]byte, error) {
	n, err := c.uvarint(len(c.rest))
	if err != nil {
		return nil, err
	}
	if n > len(c.rest) {
		return nil, corrupt("length")
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b, nil
}

// header reads one value's tag and the bytes that belong to it.
func (c *checker) header() (t Type, body []byte, err error) {
	if len(c.rest) == 0 {
		return 0, nil, corrupt("value ends early")
	}
	t = Type(c.rest[0])
	c.rest = c.rest[1:]
	switch {
	case t == NULL:
		return t, nil, nil
	case t == BOOL:
		if len(c.rest) == 0 || c.rest[0] > 1 {
			return 0, nil, corrupt("truth value")
		}
		body, c.rest = c.rest[:1], c.rest[1:]
		return t, body, nil
	case t < S || t > BS:
		return 0, nil, corrupt("type")
	}
	body, err = c.take()
	return t, body, err
}

// value reads one value of the given level.
func (c *checker) value(level int) error {
	t, body, err := c.header()
	if err != nil {
		return err
	}
	if level > MaxNesting {
		return corrupt("nesting")
	}
	inner := checker{rest: body}
	switch t {
	case S:
		if !utf8.Valid(body) {
			return corrupt("string is not UTF-8")
		}
		return nil
	case N:
		if n, ok := numberAt(body); !ok || n != len(body) {
			return corrupt("number")
		}
		return nil
	case M:
		err = inner.entries(level + 1)
	case L:
		err = inner.list(level + 1)
	case SS, NS, BS:
		err = inner.set(t.Elem())
	default:
		return nil
	}
	if err != nil {
		return err
	}
	return inner.end()
}

// entries reads the body of an M or an item, whose values have the given level.
func (c *checker) entries(level int) error {
	count, err := c.uvarint(len(c.rest))
	if err != nil {
		return err
	}
	var last []byte // a name is not empty, so the first is greater
	for range count {
		name, err := c.take()
		if err != nil {
			return err
		}
		if bytes.Compare(last, name) >= 0 || len(name) > MaxNameSize || !utf8.Valid(name) {
			return corrupt("attribute name")
		}
		last = name
		if err := c.value(level); err != nil {
			return err
		}
	}
	return nil
}

// list reads the body of an L, whose elements have the given level.
func (c *checker) list(level int) error {
	count, err := c.uvarint(len(c.rest))
	if err != nil {
		return err
	}
	for range count {
		if err := c.value(level); err != nil {
			return err
		}
	}
	return nil
}

// set reads the body of a set with elements of type t. They are scalars: they have no level to check.
func (c *checker) set(t Type) error {
	count, err := c.uvarint(len(c.rest))
	if err != nil {
		return err
	}
	if count == 0 {
		return corrupt("empty set")
	}
	var last Value
	for range count {
		before := c.rest
		if err := c.value(0); err != nil {
			return err
		}
		e := Value(before[:len(before)-len(c.rest)])
		if e.Type() != t || last != nil && compareElements(last, e) >= 0 {
			return corrupt("element of a set")
		}
		last = e
	}
	return nil
}
