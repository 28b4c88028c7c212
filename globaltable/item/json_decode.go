package item

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// DecodeItemJSON encodes the attributes of v, {"name": {"S": "..."}, ...}, over dst[:0], which may be nil. v must come from text
// that passed CheckJSON. The item keeps no view of v. The error is an *Error of class Validation, Serialization or
// SizeExceeded (of a name; CheckSize checks the item).
func DecodeItemJSON(dst []byte, v *fastjson.Value) (Item, error) {
	d := decoders.Get().(*decoder)
	defer d.release()
	out, err := d.entries(append(dst[:0], itemVersion), v, 1)
	if err = d.verdict(err); err != nil {
		return nil, err
	}
	return out, nil
}

// DecodeValueJSON is DecodeItemJSON for one value, {"S": "..."}.
func DecodeValueJSON(dst []byte, v *fastjson.Value) (Value, error) {
	d := decoders.Get().(*decoder)
	defer d.release()
	out, err := d.value(dst[:0], v, 1)
	if err = d.verdict(err); err != nil {
		return nil, err
	}
	return out, nil
}

// DecodeStringJSON returns the content of v, a JSON string: a view of the parser's memory. The error is an *Error of class
// Serialization.
func DecodeStringJSON(v *fastjson.Value) ([]byte, error) { return stringOf(v, stringKinds) }

// DecodeBoolJSON is DecodeStringJSON for a truth value.
func DecodeBoolJSON(v *fastjson.Value) (bool, error) {
	if t := v.Type(); t != fastjson.TypeTrue && t != fastjson.TypeFalse {
		return false, kindFault(v, boolKinds)
	}
	return v.Type() == fastjson.TypeTrue, nil
}

// DecodeListJSON is DecodeStringJSON for an array.
func DecodeListJSON(v *fastjson.Value) ([]*fastjson.Value, error) {
	if v.Type() != fastjson.TypeArray {
		return nil, kindFault(v, listKinds)
	}
	return v.GetArray(), nil
}

// decoder holds what decoding needs beside its result, so that it allocates nothing.
type decoder struct {
	members []member // a stack: of each open object its members, of each set its elements
	used    int      // how much of members was in use
	scratch []byte   // payloads of elements of the set at hand
	held    error    // the first wrong value: JSON of a wrong shape, even behind it, is reported before it
	visit   func(name []byte, v *fastjson.Value)
}

// member is one member of an object, or the payload of one element of a set. Its name is a view of the parser's memory, which
// does not change while the parsed value is valid; or of scratch.
type member struct {
	name  []byte
	value *fastjson.Value
}

func compareMembers(a, b member) int { return bytes.Compare(a.name, b.name) }

var decoders = sync.Pool{New: func() any {
	d := new(decoder)
	d.visit = d.push // made once: a new method value for each object would allocate
	return d
}}

// What a pooled decoder may keep.
const (
	keptMembers = 4096
	keptScratch = 64 << 10 // bytes
)

// release returns d to the pool without references into the parser's memory.
func (d *decoder) release() {
	clear(d.members[:d.used])
	d.held = nil
	d.members, d.used = d.members[:0], 0
	if cap(d.members) > keptMembers {
		d.members = nil
	}
	if cap(d.scratch) > keptScratch {
		d.scratch = nil
	}
	decoders.Put(d)
}

// hold takes err back if it is of a value, whose JSON may go on; what has been encoded is of no use then. Any other error is returned.
func (d *decoder) hold(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Class == Serialization {
		return err
	}
	if d.held == nil {
		d.held = err
	}
	return nil
}

// verdict returns the error of the whole: err, or what was held.
func (d *decoder) verdict(err error) error {
	if err != nil {
		if err = d.hold(err); err != nil {
			return err
		}
	}
	return d.held
}

func (d *decoder) push(name []byte, v *fastjson.Value) {
	d.members = append(d.members, member{name, v})
}

// pop drops the members from base on.
func (d *decoder) pop(base int) {
	d.used = max(d.used, len(d.members))
	d.members = d.members[:base]
}

// entries appends count, names and values of v, an object of values of the given level, ascending by name.
func (d *decoder) entries(dst []byte, v *fastjson.Value, level int) ([]byte, error) {
	if v.Type() != fastjson.TypeObject {
		return dst, kindFault(v, mapKinds)
	}
	base := len(d.members)
	defer d.pop(base)
	v.GetObject().Visit(d.visit)
	end := len(d.members)
	if own := d.members[base:]; !slices.IsSortedFunc(own, compareMembers) {
		slices.SortFunc(own, compareMembers)
	}
	dst = binary.AppendUvarint(dst, uint64(end-base))
	for i := base; i < end; i++ {
		m := d.members[i] // not a range over a slice of it: nested objects may move the stack
		if err := checkName(m.name); err != nil {
			if err = d.hold(err); err != nil {
				return dst, err
			}
		}
		if !utf8.Valid(m.name) {
			return dst, errNotUTF8
		}
		if i > base && bytes.Equal(d.members[i-1].name, m.name) {
			return dst, errDuplicateMember
		}
		dst = appendName(dst, m.name)
		out, err := d.value(dst, m.value, level)
		if err == nil {
			dst = out
		} else if err = d.hold(err); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

var (
	errNotUTF8         = serialization("A string is not valid UTF-8")
	errDuplicateMember = serialization("A member name appears twice in an object")
)

// value appends the value that v stands for, at the given level.
func (d *decoder) value(dst []byte, v *fastjson.Value, level int) ([]byte, error) {
	if level > MaxNesting {
		return dst, errNesting
	}
	t, content, err := d.choose(v)
	if err != nil {
		return dst, err
	}
	switch t {
	case S:
		text, err := stringOf(content, stringKinds)
		if err != nil {
			return dst, err
		}
		return appendSized(dst, S, text), nil
	case N:
		text, err := stringOf(content, stringKinds)
		if err != nil {
			return dst, err
		}
		return AppendNumberText(dst, text)
	case B:
		text, err := stringOf(content, blobKinds)
		if err != nil {
			return dst, err
		}
		return appendBase64(dst, text)
	case BOOL:
		truth, err := DecodeBoolJSON(content)
		if err != nil {
			return dst, err
		}
		return AppendBool(dst, truth), nil
	case NULL:
		if content.Type() != fastjson.TypeTrue {
			return dst, errNullNotTrue
		}
		return AppendNull(dst), nil
	case M:
		dst, start := beginBody(dst, M)
		if dst, err = d.entries(dst, content, level+1); err != nil {
			return dst, err
		}
		return endBody(dst, start), nil
	case L:
		return d.list(dst, content, level)
	default:
		return d.set(dst, t, content)
	}
}

// choose returns the one type that v, {"S": ...}, has, and what stands beside it. As DynamoDB, it ignores members that are null
// or have a name that it does not know.
func (d *decoder) choose(v *fastjson.Value) (t Type, content *fastjson.Value, err error) {
	switch v.Type() {
	case fastjson.TypeObject:
	case fastjson.TypeNull:
		return 0, nil, errEmptyValue
	default:
		return 0, nil, kindFault(v, valueKinds)
	}
	base := len(d.members)
	v.GetObject().Visit(d.visit)
	own := d.members[base:]
	defer d.pop(base)
	for _, m := range own {
		u, known := ParseType(m.name)
		switch {
		case !known || m.value.Type() == fastjson.TypeNull:
		case t == u:
			return 0, nil, errDuplicateMember
		case t != 0:
			return 0, nil, errManyTypes
		default:
			t, content = u, m.value
		}
	}
	if t == 0 {
		return 0, nil, errEmptyValue
	}
	return t, content, nil
}

func (d *decoder) list(dst []byte, v *fastjson.Value, level int) ([]byte, error) {
	elems, err := DecodeListJSON(v)
	if err != nil {
		return dst, err
	}
	dst, start := beginBody(dst, L)
	dst = binary.AppendUvarint(dst, uint64(len(elems)))
	for _, e := range elems {
		out, err := d.value(dst, e, level+1)
		if err == nil {
			dst = out
		} else if err = d.hold(err); err != nil {
			return dst, err
		}
	}
	return endBody(dst, start), nil
}

// set appends a set. It sorts payloads: the elements need their order before they can be appended.
func (d *decoder) set(dst []byte, t Type, v *fastjson.Value) ([]byte, error) {
	elems, err := DecodeListJSON(v)
	if err != nil {
		return dst, err
	}
	if len(elems) == 0 {
		return dst, errEmptySet(t)
	}
	base := len(d.members)
	defer d.pop(base)
	d.scratch = d.scratch[:0]
	for _, e := range elems {
		payload, err := d.element(t.Elem(), e)
		if err != nil {
			if err = d.hold(err); err != nil {
				return dst, err
			}
		}
		d.push(payload, nil)
	}
	if d.held != nil {
		return dst, nil // its elements may be no elements
	}
	own := d.members[base:]
	if !slices.IsSortedFunc(own, compareMembers) {
		slices.SortFunc(own, compareMembers)
	}
	dst, start := beginBody(dst, t)
	dst = binary.AppendUvarint(dst, uint64(len(own)))
	for i, m := range own {
		if i > 0 && bytes.Equal(own[i-1].name, m.name) {
			return dst, duplicatesInJSON(t, elems)
		}
		dst = appendSized(dst, t.Elem(), m.name)
	}
	return endBody(dst, start), nil
}

// element returns the payload of an element of a set: a view of v, or of scratch, whose older memory stays when it moves.
func (d *decoder) element(t Type, v *fastjson.Value) (payload []byte, err error) {
	if t == S {
		return stringOf(v, stringKinds)
	}
	start := len(d.scratch)
	if t == N {
		text, err := stringOf(v, stringKinds)
		if err != nil {
			return nil, err
		}
		d.scratch, err = appendParsed(d.scratch, text)
		return d.scratch[start:], err
	}
	text, err := stringOf(v, blobKinds)
	if err != nil {
		return nil, err
	}
	d.scratch, err = appendBase64Payload(d.scratch, text)
	return d.scratch[start:], err
}

// duplicatesInJSON is the fault of a set; it quotes the elements as the request has them.
func duplicatesInJSON(t Type, elems []*fastjson.Value) error {
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
		quoted.Write(e.GetStringBytes())
	}
	return duplicatesFault(t, quoted.String())
}

// stringOf returns the content of a JSON string: a view of the parser's memory.
func stringOf(v *fastjson.Value, k kinds) ([]byte, error) {
	if v.Type() != fastjson.TypeString {
		return nil, kindFault(v, k)
	}
	text := v.GetStringBytes()
	if !utf8.Valid(text) {
		return nil, errNotUTF8
	}
	return text, nil
}
