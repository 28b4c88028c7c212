package item

import (
	"math"

	"github.com/cockroachdb/apd/v3"
)

// exact computes without rounding. The range of numbers bounds its results: a sum has at most 257 digits.
var exact = apd.Context{MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent}

// Decimal sets d to n.
func (n Number) Decimal(d *apd.Decimal) {
	var x digits
	n.digits(&x)
	if x.n == 0 {
		d.SetInt64(0)
		return
	}
	var text [maxDigits]byte
	for i := range x.n {
		text[i] = x.d[i] + '0'
	}
	d.Coeff.SetString(string(text[:x.n]), 10) // cannot fail: digits only
	d.Form, d.Negative, d.Exponent = apd.Finite, x.negative, int32(x.exp-x.n+1)
}

// AppendDecimal appends the Number equal to d. The error is an *Error of class Validation when d is out of range, has more
// than 38 significant digits, or is not finite.
func AppendDecimal(dst []byte, d *apd.Decimal) ([]byte, error) {
	if d.Form != apd.Finite {
		return dst, errNotNumeric("")
	}
	var buf [64]byte
	text := d.Coeff.Append(buf[:0], 10)
	x := digits{negative: d.Negative}
	_, tooMany, _ := scanMantissa(&x, text, 0)
	x.exp += int(d.Exponent)
	if err := x.fault(tooMany); err != nil {
		return dst, err
	}
	return x.append(dst), nil
}

// AppendSum appends the Number a + b. The sum is exact; where it is no Number the error is an *Error of class Validation, with
// DynamoDB's text: it reports an overflow also for too many digits.
func AppendSum(dst []byte, a, b Number) ([]byte, error) {
	if i, ok := a.Int64(); ok {
		if j, ok := b.Int64(); ok && !sumOverflows(i, j) {
			return appendInt(dst, i+j), nil
		}
	}
	var x, y apd.Decimal
	a.Decimal(&x)
	b.Decimal(&y)
	return appendExact(dst, &x, &y)
}

// AppendDifference is AppendSum for a - b.
func AppendDifference(dst []byte, a, b Number) ([]byte, error) {
	if i, ok := a.Int64(); ok {
		if j, ok := b.Int64(); ok && j != math.MinInt64 && !sumOverflows(i, -j) {
			return appendInt(dst, i-j), nil
		}
	}
	var x, y apd.Decimal
	a.Decimal(&x)
	b.Decimal(&y)
	y.Neg(&y)
	return appendExact(dst, &x, &y)
}

func sumOverflows(i, j int64) bool {
	return j > 0 && i > math.MaxInt64-j || j < 0 && i < math.MinInt64-j
}

// appendExact appends x + y. It changes x.
func appendExact(dst []byte, x, y *apd.Decimal) ([]byte, error) {
	if _, err := exact.Add(x, x, y); err != nil {
		return dst, errOverflow
	}
	out, err := AppendDecimal(dst, x)
	if err == errTooManyDigits {
		return dst, errOverflow
	}
	return out, err
}
