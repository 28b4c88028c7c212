package naive

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// The greatest and the smallest magnitude of a number, and its digits.
const (
	maxDigits   = 38
	maxExponent = 125 // 9.9…E+125
	minExponent = -130
)

var numberForm = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE]([+-]?\d+))?$`)

// parseNumber reads a number as a client writes it.
func parseNumber(text string) (*big.Rat, error) {
	if text == "" {
		return nil, invalid("The parameter cannot be converted to a numeric value")
	}
	form := numberForm.FindStringSubmatch(text)
	if form == nil {
		return nil, invalid("The parameter cannot be converted to a numeric value: %s", text)
	}
	mantissa, _ := new(big.Rat).SetString(strings.TrimSuffix(strings.ToLower(text), "e"+form[3]))
	if mantissa.Sign() == 0 {
		return mantissa, nil
	}
	// An exponent that no text within a request could bring back into range.
	const far = 1_000_000
	exponent, err := strconv.Atoi(form[3])
	switch negative := strings.HasPrefix(form[3], "-"); {
	case form[3] == "":
	case !negative && (err != nil || exponent > far):
		return nil, overflow()
	case negative && (err != nil || exponent < -far):
		return nil, underflow()
	}
	return checkedNumber(new(big.Rat).Mul(mantissa, powerOfTen(exponent)))
}

// checkedNumber returns n if it is a number that DynamoDB stores.
func checkedNumber(n *big.Rat) (*big.Rat, error) {
	magnitude := new(big.Rat).Abs(n)
	switch {
	case n.Sign() == 0:
		return n, nil
	case magnitude.Cmp(powerOfTen(maxExponent+1)) >= 0:
		return nil, overflow()
	case magnitude.Cmp(powerOfTen(minExponent)) < 0:
		return nil, underflow()
	case len(significant(n)) > maxDigits:
		return nil, invalid("Attempting to store more than 38 significant digits in a Number")
	}
	return n, nil
}

// result returns n, what an update has computed, if it is a number that DynamoDB stores. Too many digits are reported as an overflow.
func result(n *big.Rat) (value, error) {
	if _, err := checkedNumber(n); err != nil {
		if len(significant(n)) > maxDigits {
			return value{}, overflow()
		}
		return value{}, err
	}
	return value{kind: "N", number: n}, nil
}

func overflow() error {
	return invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
}

func underflow() error {
	return invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
}

func powerOfTen(exponent int) *big.Rat {
	p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent < 0 {
		return new(big.Rat).SetFrac(big.NewInt(1), p)
	}
	return new(big.Rat).SetInt(p)
}

// numberText writes n as answers do: without exponent, without zeros that say nothing.
func numberText(n *big.Rat) string {
	places, _ := n.FloatPrec()
	text := n.FloatString(places)
	return text
}

// significant returns the digits of n from the first to the last that is not zero.
func significant(n *big.Rat) string {
	digits := strings.ReplaceAll(strings.TrimPrefix(numberText(n), "-"), ".", "")
	return strings.Trim(digits, "0")
}

// numberSize returns the size of n in bytes: one for each pair of digits, one more, and one for a minus sign.
//
// The documentation says "approximately (length of attribute name) + (1 byte per two significant digits) + (1 byte)".
func numberSize(n *big.Rat) int {
	if n.Sign() == 0 {
		return 1
	}
	size := (len(significant(n))+1)/2 + 1
	if n.Sign() < 0 {
		size++
	}
	return size
}
