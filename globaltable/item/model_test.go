package item

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"github.com/valyala/fastjson"
	"pgregory.net/rapid"
)

// node is the dumb reference of a Value: a tree. A test encodes it with encoding/json and compares.
type node struct {
	t     Type
	text  string // S, N (as a client may write it), B (bytes)
	truth bool
	m     map[string]*node
	l     []*node
	set   []string // payloads as text
}

// wire returns what encoding/json shall encode; canonical says whether numbers and sets are brought into their one form.
func (n *node) wire(canonical bool) map[string]any {
	scalar := func(t Type, s string) string {
		switch {
		case t == B:
			return base64.StdEncoding.EncodeToString([]byte(s))
		case t == N && canonical:
			return plain(s)
		}
		return s
	}
	var content any
	switch n.t {
	case S, N, B:
		content = scalar(n.t, n.text)
	case BOOL:
		content = n.truth
	case NULL:
		content = true
	case M:
		content = wireEntries(n.m, canonical)
	case L:
		list := make([]any, len(n.l))
		for i, e := range n.l {
			list[i] = e.wire(canonical)
		}
		content = list
	default:
		elems := slices.Clone(n.set)
		if canonical {
			slices.SortFunc(elems, func(a, b string) int {
				if n.t == NS {
					return decimal(a).Cmp(decimal(b))
				}
				return strings.Compare(a, b)
			})
		}
		list := make([]any, len(elems))
		for i, e := range elems {
			list[i] = scalar(n.t.Elem(), e)
		}
		content = list
	}
	return map[string]any{n.t.String(): content}
}

func wireEntries(m map[string]*node, canonical bool) map[string]any {
	out := map[string]any{}
	for name, e := range m {
		out[name] = e.wire(canonical)
	}
	return out
}

func decimal(text string) *apd.Decimal {
	d, _, err := apd.NewFromString(text)
	if err != nil {
		panic(err)
	}
	return d
}

// plain is the reference of AppendText.
func plain(text string) string {
	d := decimal(text)
	d.Reduce(d)
	if d.IsZero() {
		return "0"
	}
	return d.Text('f')
}

// genNumber makes the text of a number, in one of the forms in which a client may write it.
func genNumber() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "zero") == 0 {
			return rapid.SampledFrom([]string{"0", "-0", "+0.00", "0e1000", ".0", "0."}).Draw(t, "form")
		}
		coefficient := rapid.StringMatching(`[1-9][0-9]{0,37}`).Draw(t, "coefficient")
		n := len(coefficient)
		exp := rapid.OneOf(rapid.IntRange(minExponent, maxExponent), rapid.IntRange(-5, 40),
			rapid.SampledFrom([]int{minExponent, minExponent + 1, maxExponent - 1, maxExponent})).Draw(t, "exponent")
		sign := rapid.SampledFrom([]string{"", "-", "+"}).Draw(t, "sign")
		switch rapid.IntRange(0, 3).Draw(t, "form") {
		case 0:
			return fmt.Sprintf("%s%sE%d", sign, coefficient, exp-n+1)
		case 1:
			return fmt.Sprintf("%s%s.%se%+d", sign, coefficient[:1], coefficient[1:], exp)
		case 2:
			return fmt.Sprintf("%s000.0%sE%d", sign, coefficient, exp+2)
		}
		return strings.TrimPrefix(sign, "+") + plain(fmt.Sprintf("%sE%d", coefficient, exp-n+1))
	})
}

func genName() *rapid.Generator[string] {
	return rapid.OneOf(rapid.StringMatching(`[a-f]{1,3}`), rapid.StringN(1, 200, 400))
}

// genNode makes a tree of at most the depth given.
func genNode(depth int) *rapid.Generator[*node] {
	return rapid.Custom(func(t *rapid.T) *node {
		top := Type(BS)
		n := &node{t: Type(rapid.IntRange(int(S), int(top)).Draw(t, "type"))}
		if depth <= 1 && (n.t == M || n.t == L) {
			n.t = S
		}
		switch n.t {
		case S:
			n.text = rapid.OneOf(rapid.String(), rapid.StringN(100, 300, -1)).Draw(t, "text")
		case N:
			n.text = genNumber().Draw(t, "number")
		case B:
			n.text = string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes"))
		case BOOL:
			n.truth = rapid.Bool().Draw(t, "truth")
		case M:
			n.m = genEntries(depth-1).Draw(t, "entries")
		case L:
			n.l = rapid.SliceOfN(genNode(depth-1), 0, 4).Draw(t, "elements")
		case SS:
			n.set = rapid.SliceOfNDistinct(rapid.String(), 1, 6, rapid.ID).Draw(t, "strings")
		case NS:
			n.set = rapid.SliceOfNDistinct(genNumber(), 1, 6, plain).Draw(t, "numbers")
		case BS:
			for _, b := range rapid.SliceOfNDistinct(rapid.SliceOfN(rapid.Byte(), 0, 5), 1, 6, func(b []byte) string { return string(b) }).Draw(t, "binaries") {
				n.set = append(n.set, string(b))
			}
		}
		return n
	})
}

func genEntries(depth int) *rapid.Generator[map[string]*node] {
	return rapid.MapOfN(genName(), genNode(depth), 0, 6)
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// decodeItem is the whole way of a request's item: check, parse, decode.
func decodeItem(text []byte) (Item, error) {
	if err := CheckJSON(text); err != nil {
		return nil, err
	}
	var p fastjson.Parser
	v, err := p.ParseBytes(text)
	if err != nil {
		return nil, err
	}
	return DecodeItemJSON(nil, v)
}

func mustItem(t testing.TB, text string) Item {
	t.Helper()
	it, err := decodeItem([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return it
}
