package item

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of a request. The deepest that can be right has two levels of JSON for each level of an
// attribute and a few around them; one that is a little too deep should get DynamoDB's own error, which the decoder gives.
// It is below the depth at which fastjson gives up.
const maxJSONDepth = 256

var errJSON = serialization("The request is not well-formed JSON")

// CheckJSON reports whether body is one well-formed JSON text: strict grammar, UTF-8, no lone surrogates, nesting up to what a
// request can need. Call it before a fastjson parser, which is lenient: it takes control characters, bad escapes and
// anything that looks like a number, and keeps half a surrogate pair as text. CheckJSON does not recurse. The error is an *Error
// of class Serialization.
func CheckJSON(body []byte) error {
	if !utf8.Valid(body) {
		return errJSON
	}
	s := jsonScanner{b: body}
	if !s.text() {
		return errJSON
	}
	return nil
}

// jsonScanner walks over a JSON text. Its methods move past what their names say, or return false.
type jsonScanner struct {
	b       []byte
	i       int
	depth   int
	objects [maxJSONDepth / 64]uint64 // which of the open containers are objects
}

// text walks over the whole text.
func (s *jsonScanner) text() bool {
	for {
		opened, ok := s.value()
		if !ok {
			return false
		}
		if opened {
			continue
		}
		// A value is complete: close what it ends, and go to the next.
		for {
			s.space()
			if s.depth == 0 {
				return s.i == len(s.b)
			}
			if s.i == len(s.b) {
				return false
			}
			c := s.b[s.i]
			s.i++
			if c == ',' {
				if s.inObject() && !s.key() {
					return false
				}
				break
			}
			if !s.close(c) {
				return false
			}
		}
	}
}

// value walks over a scalar or an empty container, or into a container up to its first value; then opened is true.
func (s *jsonScanner) value() (opened, ok bool) {
	s.space()
	if s.i == len(s.b) {
		return false, false
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '{', '[':
		return s.open(c)
	case '"':
		return false, s.string()
	case 't':
		return false, s.literal("rue")
	case 'f':
		return false, s.literal("alse")
	case 'n':
		return false, s.literal("ull")
	}
	s.i--
	return false, s.number()
}

// open enters a container and, if it is an object with members, passes the first name.
func (s *jsonScanner) open(c byte) (opened, ok bool) {
	if s.depth == maxJSONDepth {
		return false, false
	}
	word, bit := s.depth/64, uint64(1)<<(s.depth%64)
	s.depth++
	s.objects[word] &^= bit
	end := byte(']')
	if c == '{' {
		s.objects[word] |= bit
		end = '}'
	}
	s.space()
	if s.i < len(s.b) && s.b[s.i] == end {
		s.i++
		s.depth--
		return false, true
	}
	return true, c == '[' || s.key()
}

func (s *jsonScanner) inObject() bool {
	d := s.depth - 1
	return s.objects[d/64]>>(d%64)&1 == 1
}

// close leaves the innermost container, which c must end.
func (s *jsonScanner) close(c byte) bool {
	want := byte(']')
	if s.inObject() {
		want = '}'
	}
	s.depth--
	return c == want
}

// key walks over a member's name and the colon.
func (s *jsonScanner) key() bool {
	s.space()
	if s.i == len(s.b) || s.b[s.i] != '"' {
		return false
	}
	s.i++
	if !s.string() {
		return false
	}
	s.space()
	if s.i == len(s.b) || s.b[s.i] != ':' {
		return false
	}
	s.i++
	return true
}

func (s *jsonScanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *jsonScanner) literal(rest string) bool {
	if len(s.b)-s.i < len(rest) || string(s.b[s.i:s.i+len(rest)]) != rest {
		return false
	}
	s.i += len(rest)
	return true
}

// string walks over the rest of a string whose quote is passed.
func (s *jsonScanner) string() bool {
	for {
		s.i += plainPrefix(s.b[s.i:])
		if s.i == len(s.b) {
			return false
		}
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			return true
		case c < ' ' || !s.escape():
			return false
		}
	}
}

// escape walks over the rest of an escape whose backslash is passed; a surrogate pair is one.
func (s *jsonScanner) escape() bool {
	if s.i == len(s.b) {
		return false
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
	default:
		return false
	}
	u, ok := s.hex4()
	switch {
	case !ok || u>>10 == 0xdc00>>10:
		return false
	case u>>10 != 0xd800>>10:
		return true
	}
	if !s.literal(`\u`) {
		return false
	}
	low, ok := s.hex4()
	return ok && low>>10 == 0xdc00>>10
}

func (s *jsonScanner) hex4() (u uint16, ok bool) {
	if len(s.b)-s.i < 4 {
		return 0, false
	}
	for _, c := range s.b[s.i : s.i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		u = u<<4 | uint16(c)
	}
	s.i += 4
	return u, true
}

func (s *jsonScanner) number() bool {
	if s.i < len(s.b) && s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *jsonScanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > start
}

// plainPrefix returns the length of the longest prefix of b that stands for itself in a JSON string: without a quote, a
// backslash or a control character. It looks at eight bytes at a time.
func plainPrefix(b []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote := w ^ ones*'"'
		slash := w ^ ones*'\\'
		// Each term has the high bit of a byte set where that byte is found; a borrow can set one falsely, but only above
		// one that is set rightly, so the lowest is always right.
		found := ((w-ones*' ')&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return i
}
