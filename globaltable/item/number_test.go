package item

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"
)

func TestParseNumber(t *testing.T) {
	nines := strings.Repeat("9", maxDigits)
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "0e1000": "0", "0.000": "0", "+3": "3", ".123": "0.123", "5.": "5", "0001.23": "1.23",
		"1e+5": "100000", "-17.4E37": "-174" + strings.Repeat("0", 36), "10E-1": "1", "1.0": "1", "100": "100", "-7.1234": "-7.1234",
		"1e125":                            "1" + strings.Repeat("0", 125),
		"1E-130":                           "0." + strings.Repeat("0", 129) + "1",
		nines + "e88":                      nines + strings.Repeat("0", 88),
		"0." + nines:                       "0." + nines,
		nines + strings.Repeat("0", 80):    nines + strings.Repeat("0", 80),
		strings.Repeat("0", 1000) + "1e-1": "0.1",
		"0." + strings.Repeat("0", 999) + "1e1000": "1",
		"123456.789": "123456.789", "12": "12", "-120": "-120", "0.05": "0.05",
	} {
		n, err := ParseNumber(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := n.String(); got != want {
			t.Errorf("%q prints as %q, want %q", in, got, want)
		}
		if length, ok := numberAt(n); !ok || length != len(n) || len(n) > maxNumberLen {
			t.Errorf("%q: % x is not taken as canonical", in, n)
		}
	}
}

func TestParseNumberFaults(t *testing.T) {
	long := strings.Repeat("1", maxDigits+1)
	notNumeric := func(s string) string { return "The parameter cannot be converted to a numeric value: " + s }
	for in, want := range map[string]string{
		"": "The parameter cannot be converted to a numeric value", "NaN": notNumeric("NaN"), "Infinity": notNumeric("Infinity"),
		" 1": notNumeric(" 1"), "1 ": notNumeric("1 "), "-": notNumeric("-"), ".": notNumeric("."), "1e": notNumeric("1e"), "1e+": notNumeric("1e+"),
		"e5": notNumeric("e5"), "1.2.3": notNumeric("1.2.3"), "0x10": notNumeric("0x10"), "--1": notNumeric("--1"), "1e5x": notNumeric("1e5x"), "1_0": notNumeric("1_0"),
		"1e126": errOverflow.Message, "-11e125": errOverflow.Message, "1e99999999999999999999999": errOverflow.Message,
		"1e-131": errUnderflow.Message, "-0.9e-130": errUnderflow.Message, "1e-99999999999999999999999": errUnderflow.Message,
		long: errTooManyDigits.Message, "0." + long: errTooManyDigits.Message, long + "e100": errOverflow.Message,
	} {
		_, err := ParseNumber(in)
		var e *Error
		if !errors.As(err, &e) || e.Class != Validation || e.Message != want {
			t.Errorf("%q: %v, want %q", in, err, want)
			continue
		}
		if strings.Contains(e.Error(), ": ") && strings.HasPrefix(want, "The parameter") {
			t.Errorf("%q: the text for logs quotes: %q", in, e.Error())
		}
	}
}

func TestNumberIsLikeDecimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := genNumber().Draw(t, "x"), genNumber().Draw(t, "y")
		if rapid.IntRange(0, 3).Draw(t, "same") == 0 {
			y = plain(x)
		}
		a, err := ParseNumber(x)
		if err != nil {
			t.Fatalf("%q: %v", x, err)
		}
		b, err := ParseNumber([]byte(y))
		if err != nil {
			t.Fatalf("%q: %v", y, err)
		}
		dx, dy := decimal(x), decimal(y)
		if got, want := a.Compare(b), dx.Cmp(dy); got != want {
			t.Fatalf("%s and %s compare as %d, want %d", x, y, got, want)
		}
		if (dx.Cmp(dy) == 0) != bytes.Equal(a, b) {
			t.Fatalf("%s and %s are % x and % x", x, y, a, b)
		}
		if got := a.String(); got != plain(x) {
			t.Fatalf("%s prints as %s, want %s", x, got, plain(x))
		}
		if a.Sign() != dx.Sign() {
			t.Fatalf("%s has sign %d", x, a.Sign())
		}
		var back apd.Decimal
		a.Decimal(&back)
		if back.Cmp(dx) != 0 {
			t.Fatalf("%s as a decimal is %s", x, &back)
		}
		if c, err := AppendDecimal(nil, dx); err != nil || !bytes.Equal(c, a) {
			t.Fatalf("decimal %s: % x, %v", dx, c, err)
		}
		// Self-terminating: the end is found whatever follows.
		if n, ok := numberAt(append(bytes.Clone(a), b...)); !ok || n != len(a) {
			t.Fatalf("%s followed by %s: length %d, %v", x, y, n, ok)
		}
	})
}

func TestNumberArithmeticIsExact(t *testing.T) {
	small := rapid.Custom(func(t *rapid.T) string { return strconv.FormatInt(rapid.Int64().Draw(t, "i"), 10) })
	gen := rapid.OneOf(genNumber(), small)
	rapid.Check(t, func(t *rapid.T) {
		x, y := gen.Draw(t, "x"), gen.Draw(t, "y")
		a, _ := ParseNumber(x)
		b, _ := ParseNumber(y)
		for _, op := range []struct {
			run func(dst []byte, a, b Number) ([]byte, error)
			ref func(d, x, y *apd.Decimal) (apd.Condition, error)
		}{{AppendSum, apd.BaseContext.WithPrecision(400).Add}, {AppendDifference, apd.BaseContext.WithPrecision(400).Sub}} {
			var want apd.Decimal
			if _, err := op.ref(&want, decimal(x), decimal(y)); err != nil {
				t.Fatal(err)
			}
			want.Reduce(&want)
			got, err := op.run([]byte("x"), a, b)
			e := int64(want.Exponent) + want.NumDigits() - 1
			fits := want.IsZero() || want.NumDigits() <= maxDigits && e >= minExponent && e <= maxExponent
			if fits != (err == nil) {
				t.Fatalf("%s and %s: %s: %v", x, y, &want, err)
			}
			if err == nil && Number(got[1:]).String() != plain(want.String()) {
				t.Fatalf("%s and %s: %s, want %s", x, y, Number(got[1:]), &want)
			}
		}
	})
}

func TestSumsAtTheBounds(t *testing.T) {
	for _, c := range [][2]string{{"9e125", "9e125"}, {"1e50", "1"}, {"1e125", "1e-130"}} {
		a, _ := ParseNumber(c[0])
		b, _ := ParseNumber(c[1])
		if _, err := AppendSum(nil, a, b); err != errOverflow {
			t.Errorf("%s + %s: %v", c[0], c[1], err)
		}
	}
	least := Value(AppendInt(nil, math.MinInt64)).Number()
	if n, err := AppendDifference(nil, Number{numberZero}, least); err != nil || Number(n).String() != "9223372036854775808" {
		t.Errorf("0 - the least int64: %s, %v", Number(n), err)
	}
	if _, err := AppendDecimal(nil, &apd.Decimal{Form: apd.NaN}); err == nil {
		t.Error("NaN became a number")
	}
}

func TestWhole(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"0.9", 0, true}, {"-0.9", 0, true}, {"1700000000.999", 1700000000, true}, {"-12.5", -12, true}, {"12e-1", 1, true},
		{"9223372036854775807.9", math.MaxInt64, true}, {"9223372036854775808", 0, false}, {"1e125", 0, false}, {"1e-130", 0, true},
	} {
		n, err := ParseNumber(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := n.Whole(); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %d, %v", c.text, got, ok)
		}
	}
}

func TestInt64(t *testing.T) {
	for _, i := range []int64{0, 1, -1, 9, 10, 99, 100, 101, -120, 1e18, math.MaxInt64, math.MinInt64} {
		n := Value(AppendInt(nil, i)).Number()
		if n.String() != strconv.FormatInt(i, 10) {
			t.Errorf("%d prints as %s", i, n)
		}
		if got, ok := n.Int64(); got != i || !ok {
			t.Errorf("%d is read as %d, %v", i, got, ok)
		}
	}
	for _, s := range []string{"1.5", "9223372036854775808", "-9223372036854775809", "1e19", "9999999999999999999", "1e-3", "1e125"} {
		n, _ := ParseNumber(s)
		if i, ok := n.Int64(); ok {
			t.Errorf("%s is read as the integer %d", s, i)
		}
	}
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "-1.50", "1e125", "1E-130", ".5", "99999999999999999999999999999999999999", "1e-9999999999999999999", "\x81\x83\x14"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseNumber(s); err == nil {
			again, err := ParseNumber(n.String())
			if err != nil || !bytes.Equal(again, n) {
				t.Fatalf("%q: % x prints as %s, which is % x, %v", s, n, n, again, err)
			}
			if got, ok := numberAt(n); !ok || got != len(n) {
				t.Fatalf("%q: % x is not canonical", s, n)
			}
		}
		// The same bytes as an encoded number: what is taken is canonical.
		if length, ok := numberAt([]byte(s)); ok {
			n := Number(s[:length])
			again, err := ParseNumber(n.String())
			if err != nil || !bytes.Equal(again, n) {
				t.Fatalf("% x is taken, prints as %s, which is % x, %v", []byte(n), n, again, err)
			}
		}
	})
}
