package conflict

import (
	"encoding/binary"

	"github.com/cockroachdb/apd/v3"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Sum is an exact decimal of any number of digits: what increments add up to. Equal sums are equal bytes, so that the merge compares them and
// never computes. No bytes are zero; otherwise
//
//	uvarint (2 × (exponent + sumBias) + negative) ‖ magnitude, big-endian, without a leading zero byte and not divisible by ten
type Sum []byte

const (
	// A number is a multiple of 10^-167 (38 digits, the first at 10^-130), and so is a sum of numbers.
	sumBias = 167
	// 2^64 numbers below 10^126 add up to less than 10^146: an exponent is below that, and a magnitude has 313 digits.
	maxSumExponent  = 146
	maxSumMagnitude = 131
)

// exactly computes without rounding: the bounds above bound what it makes.
var exactly = apd.Context{MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent}

// decimal sets d to s.
func (s Sum) decimal(d *apd.Decimal) {
	if len(s) == 0 {
		d.SetInt64(0)
		return
	}
	head, n := binary.Uvarint(s)
	d.Form, d.Negative, d.Exponent = apd.Finite, head&1 != 0, int32(head>>1)-sumBias
	d.Coeff.SetBytes(s[n:])
}

// sumOf returns d as a Sum. It changes d.
func sumOf(d *apd.Decimal) Sum {
	if d.IsZero() {
		return nil
	}
	d.Reduce(d)
	head := uint64(d.Exponent+sumBias) << 1
	if d.Negative {
		head |= 1
	}
	return append(binary.AppendUvarint(nil, head), d.Coeff.Bytes()...)
}

// plus returns s + n.
func (s Sum) plus(n item.Number) Sum {
	var x, y apd.Decimal
	s.decimal(&x)
	n.Decimal(&y)
	addTo(&x, &y)
	return sumOf(&x)
}

// minus returns s - o.
func (s Sum) minus(o Sum) Sum {
	if len(o) == 0 {
		return s
	}
	var x, y apd.Decimal
	s.decimal(&x)
	o.decimal(&y)
	y.Negative = !y.Negative
	addTo(&x, &y)
	return sumOf(&x)
}

// addTo adds y to x, exactly.
func addTo(x, y *apd.Decimal) {
	if _, err := exactly.Add(x, x, y); err != nil {
		panic("conflict: sum: " + err.Error()) // exponents are within 400 of each other
	}
}

// sum reads a Sum.
func (r *reader) sum() Sum {
	s := r.bytes()
	if len(s) == 0 {
		return nil
	}
	in := reader{b: s}
	head := in.uvarint()
	rest, digit := in.b, 0
	for _, b := range rest {
		digit = (digit*256 + int(b)) % 10
	}
	if in.kind != nil || head>>1 > sumBias+maxSumExponent || len(rest) == 0 || len(rest) > maxSumMagnitude || rest[0] == 0 || digit == 0 {
		r.fail(ErrCorrupt, "bad sum")
		return nil
	}
	return s
}

// shownDigits is what a number holds. Half to even, as DynamoDB's own arithmetic has no rounding to be like.
var shownDigits = apd.Context{Precision: 38, MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent, Rounding: apd.RoundHalfEven}

// appendShown appends d as the N that is nearest to it: rounded to 38 digits, the greatest number for what is beyond that, zero for what is too small. It changes d.
func appendShown(dst []byte, d *apd.Decimal) []byte {
	const maxExponent, minExponent = 125, -130 // of the first digit; see item.Number
	if d.NumDigits() > int64(shownDigits.Precision) {
		if _, err := shownDigits.Round(d, d); err != nil {
			panic("conflict: round: " + err.Error())
		}
	}
	switch first := d.NumDigits() - 1 + int64(d.Exponent); {
	case d.IsZero() || first < minExponent:
		d.SetInt64(0)
	case first > maxExponent:
		negative := d.Negative
		d.SetInt64(1)
		d.Exponent = int32(shownDigits.Precision)
		addTo(d, apd.New(-1, 0))
		d.Exponent, d.Negative = maxExponent-int32(shownDigits.Precision)+1, negative
	}
	n, err := item.AppendDecimal(nil, d)
	if err != nil {
		panic("conflict: number within bounds: " + err.Error())
	}
	return item.AppendNumber(dst, n)
}
