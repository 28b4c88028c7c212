package item

import (
	"bytes"
	"math/bits"
	"strconv"
)

// Number is a number in its canonical, order-preserving form: equal numbers are equal bytes, and bytes.Compare orders them.
//
// A number other than zero is ±d.ddd… × 10^e with up to 38 digits, the first and the last not 0, and -130 ≤ e ≤ 125.
//
//	zero       0x80
//	positive   0x81 · e+130 · digits
//	negative   0x7f · the complement of what the absolute value has after its first byte
//
// e+130 fits a byte exactly. Digits go two to a byte, the odd last one with a 0: a pair p is the byte 2p+1, the last pair
// 2p. So the end is in the bytes (the form is self-terminating, as a part of a key must be), and a number that goes on is
// greater than one that ends. It takes 3 to 21 bytes, zero 1.
type Number []byte

// The bounds of a number.
const (
	maxDigits   = 38
	maxExponent = 125
	minExponent = -130

	maxNumberLen = 2 + maxDigits/2
	maxTextLen   = 1 + 2 + 129 + maxDigits // "-0." and zeros and digits, the longest text of a number
)

const (
	numberNegative = 0x7f
	numberZero     = 0x80
	numberPositive = 0x81
)

// digits is a number taken apart: ±d[0].d[1]… × 10^exp. n is 0 for zero.
type digits struct {
	negative bool
	exp      int
	n        int
	d        [maxDigits]byte // each 0 to 9, those from n on 0; an even length, so that pairs are whole
}

// ParseNumber parses text as DynamoDB does: an optional sign, digits with an optional point, an optional exponent; no spaces,
// no NaN, no infinity. The error is an *Error of class Validation.
func ParseNumber[T string | []byte](text T) (Number, error) {
	b, err := appendParsed(make([]byte, 0, maxNumberLen), text)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// appendParsed appends the number that text says.
func appendParsed[T string | []byte](dst []byte, text T) ([]byte, error) {
	var d digits
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		d.negative = text[i] == '-'
		i++
	}
	i, tooMany, ok := scanMantissa(&d, text, i)
	if ok && i < len(text) {
		var exp int
		exp, ok = scanExponent(text, i)
		d.exp += exp
	}
	if !ok {
		return dst, errNotNumeric(string(text))
	}
	if err := d.fault(tooMany); err != nil {
		return dst, err
	}
	return d.append(dst), nil
}

// fault returns why d is no Number; tooMany says that it had more digits than it holds.
func (d *digits) fault(tooMany bool) error {
	switch {
	case d.n == 0:
		return nil
	case d.exp > maxExponent:
		return errOverflow
	case d.exp < minExponent:
		return errUnderflow
	case tooMany:
		return errTooManyDigits
	}
	return nil
}

// scanMantissa reads digits with an optional point from text[i:] into d and returns where they end. tooMany reports more than
// 38 significant digits; ok is false when there is no digit.
func scanMantissa[T string | []byte](d *digits, text T, i int) (end int, tooMany, ok bool) {
	var (
		zeros = 0 // zeros read since the last digit other than 0: significant only if one follows
		seen  = false
		point = false
	)
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c -= '0'; c > 9 {
			break
		}
		seen = true
		if c == 0 && d.n == 0 { // a leading zero moves the point or means nothing
			if point {
				d.exp--
			}
			continue
		}
		if !point {
			d.exp++
		}
		if c == 0 {
			zeros++
			continue
		}
		if d.n+zeros >= maxDigits {
			tooMany = true
			continue
		}
		d.n += zeros // the array is zeros already
		zeros = 0
		d.d[d.n] = c
		d.n++
	}
	d.exp-- // of the first digit, not of the point after it
	return i, tooMany, seen
}

// exponentCap is beyond any exponent that a text within a request could bring back into range.
const exponentCap = 1 << 40

// scanExponent parses the whole of text[i:] as e, sign, digits.
func scanExponent[T string | []byte](text T, i int) (exp int, ok bool) {
	if text[i] != 'e' && text[i] != 'E' {
		return 0, false
	}
	i++
	negative := false
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		negative = text[i] == '-'
		i++
	}
	if i == len(text) {
		return 0, false
	}
	for ; i < len(text); i++ {
		c := text[i] - '0'
		if c > 9 {
			return 0, false
		}
		exp = min(exp*10+int(c), exponentCap)
	}
	if negative {
		exp = -exp
	}
	return exp, true
}

// append appends the number; d is within bounds.
func (d *digits) append(dst []byte) []byte {
	if d.n == 0 {
		return append(dst, numberZero)
	}
	sign, flip := byte(numberPositive), byte(0)
	if d.negative {
		sign, flip = numberNegative, 0xff
	}
	dst = append(dst, sign, byte(d.exp-minExponent)^flip)
	for i := 0; i < d.n; i += 2 {
		b := (d.d[i]*10 + d.d[i+1]) * 2
		if i+2 < d.n {
			b++
		}
		dst = append(dst, b^flip)
	}
	return dst
}

// digits takes n apart.
func (n Number) digits(d *digits) {
	*d = digits{}
	if n[0] == numberZero {
		return
	}
	flip := byte(0)
	d.negative = n[0] == numberNegative
	if d.negative {
		flip = 0xff
	}
	d.exp = int(n[1]^flip) + minExponent
	for _, b := range n[2:] {
		pair := (b ^ flip) >> 1
		d.d[d.n], d.d[d.n+1] = pair/10, pair%10
		d.n += 2
	}
	if d.d[d.n-1] == 0 {
		d.n--
	}
}

// numberAt returns the length of the number at the start of b; ok is false if there is none in canonical form.
func numberAt(b []byte) (n int, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	flip := byte(0)
	switch b[0] {
	case numberZero:
		return 1, true
	case numberPositive:
	case numberNegative:
		flip = 0xff
	default:
		return 0, false
	}
	for i := 2; i < len(b) && i < maxNumberLen; i++ {
		c := b[i] ^ flip
		if c >= 200 || i == 2 && c < 20 {
			return 0, false // not a pair of digits, or a first digit of 0
		}
		if c&1 == 0 {
			return i + 1, c > 0 // a last pair of 00 would be a second form
		}
	}
	return 0, false
}

// AppendText appends the number as DynamoDB prints it: plain decimal notation without an exponent, leading or trailing zeros.
func (n Number) AppendText(dst []byte) []byte {
	if n[0] == numberZero {
		return append(dst, '0')
	}
	var d digits
	n.digits(&d)
	if d.negative {
		dst = append(dst, '-')
	}
	for i := range d.d[:d.n] {
		d.d[i] += '0'
	}
	text := d.d[:d.n]
	switch whole := d.exp + 1; {
	case whole <= 0:
		dst = append(dst, "0."...)
		dst = appendZeros(dst, -whole)
		return append(dst, text...)
	case whole >= d.n:
		dst = append(dst, text...)
		return appendZeros(dst, whole-d.n)
	default:
		dst = append(dst, text[:whole]...)
		dst = append(dst, '.')
		return append(dst, text[whole:]...)
	}
}

func appendZeros(dst []byte, n int) []byte {
	for ; n > 0; n-- {
		dst = append(dst, '0')
	}
	return dst
}

// String returns what AppendText appends.
func (n Number) String() string { return string(n.AppendText(make([]byte, 0, maxTextLen))) }

// Compare returns -1, 0 or 1 as n is less than, equal to or greater than o.
func (n Number) Compare(o Number) int { return bytes.Compare(n, o) }

// Sign returns -1, 0 or 1.
func (n Number) Sign() int { return int(n[0]) - numberZero }

// Int64 returns n as an integer; ok is false when it is not one, or does not fit.
func (n Number) Int64() (i int64, ok bool) {
	var d digits
	if n.digits(&d); d.n > 0 && d.exp < d.n-1 {
		return 0, false
	}
	return d.whole()
}

// Whole returns n without its fraction; ok is false when that does not fit.
func (n Number) Whole() (i int64, ok bool) {
	var d digits
	n.digits(&d)
	return d.whole()
}

// whole returns d without what is after the point.
func (d *digits) whole() (i int64, ok bool) {
	if d.n == 0 || d.exp < 0 {
		return 0, true
	}
	if d.exp > 18 {
		return 0, false
	}
	var u uint64
	for k := 0; k <= d.exp; k++ {
		hi, lo := bits.Mul64(u, 10)
		if hi != 0 {
			return 0, false
		}
		u = lo
		if k < d.n {
			u += uint64(d.d[k]) // at most 19 digits: no overflow
		}
	}
	if d.negative {
		return -int64(u), u <= 1<<63
	}
	return int64(u), u < 1<<63
}

// appendInt appends the number i.
func appendInt(dst []byte, i int64) []byte {
	d := digits{negative: i < 0}
	var buf [20]byte
	text := strconv.AppendInt(buf[:0], i, 10)
	if d.negative {
		text = text[1:]
	}
	scanMantissa(&d, text, 0)
	return d.append(dst)
}

// size is DynamoDB's size of the number in bytes.
func (n Number) size() int {
	if n[0] == numberZero {
		return 1
	}
	// Two digits to a byte here too, rounded up.
	size := len(n) - 2 + 1
	if n[0] == numberNegative {
		size++
	}
	return size
}
