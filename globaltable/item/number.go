package item

import "github.com/cockroachdb/apd/v3"

// Number is a number in its canonical, order-preserving form: equal numbers are equal bytes, and bytes.Compare orders them.
type Number []byte

// ParseNumber parses text as DynamoDB does. The error is an *Error of class Validation.
func ParseNumber[T string | []byte](text T) (Number, error) { panic("unfinished") }

// AppendText appends the number as DynamoDB prints it: plain decimal notation, without trailing zeros.
func (n Number) AppendText(dst []byte) []byte { panic("unfinished") }

// String returns what AppendText appends.
func (n Number) String() string { return string(n.AppendText(nil)) }

// Compare returns -1, 0 or 1 as n is less than, equal to or greater than o.
func (n Number) Compare(o Number) int { panic("unfinished") }

// Sign returns -1, 0 or 1.
func (n Number) Sign() int { panic("unfinished") }

// Int64 returns n as an integer; ok is false when it is not one, or does not fit.
func (n Number) Int64() (i int64, ok bool) { panic("unfinished") }

// Decimal sets d to n.
func (n Number) Decimal(d *apd.Decimal) { panic("unfinished") }

// AppendDecimal appends the Number equal to d. The error is an *Error of class Validation when d is out of range, has more
// than 38 significant digits, or is not finite.
func AppendDecimal(dst []byte, d *apd.Decimal) ([]byte, error) { panic("unfinished") }

// AppendSum appends the Number a + b. The sum is exact; the error is as AppendDecimal's.
func AppendSum(dst []byte, a, b Number) ([]byte, error) { panic("unfinished") }

// AppendDifference appends the Number a - b. The difference is exact; the error is as AppendDecimal's.
func AppendDifference(dst []byte, a, b Number) ([]byte, error) { panic("unfinished") }
