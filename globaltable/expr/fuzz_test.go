package expr

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
)

// fuzzJSON parses text as a request's; nil if it is no JSON object.
func fuzzJSON(text string) *fastjson.Object {
	if item.CheckJSON([]byte(text)) != nil {
		return nil
	}
	v, err := fastjson.Parse(text)
	if err != nil {
		return nil
	}
	return v.GetObject()
}

// fuzzItem returns the item that text says, or the sample.
func fuzzItem(t *testing.T, text string) item.Item {
	if o := fuzzJSON(text); o != nil {
		if it, err := item.DecodeItemJSON(nil, fastjson.MustParse(text)); err == nil && item.CheckSize(it) == nil {
			return it
		}
	}
	return parseItem(t, sample)
}

// checkFault: whatever a client sends, it gets an error in DynamoDB's words.
func checkFault(t *testing.T, err error) {
	t.Helper()
	var v Violations
	if errors.As(err, &v) {
		return
	}
	var e *item.Error
	if err != nil && (!errors.As(err, &e) || e.Message == "" || e.Class == item.Corrupt) {
		t.Errorf("%v", err)
	}
}

// fuzzValues are given to the values of an expression, one after the other.
var fuzzValues = []string{`{"S":"hello"}`, `{"N":"10"}`, `{"L":[{"S":"x"},{"N":"1"}]}`, `{"SS":["a","z"]}`, `{"NS":["1"]}`, `{"M":{"a":{"N":"3"}}}`, `{"B":"AQ=="}`, `{"S":"SS"}`,
	`{"N":"1e125"}`, `{"BOOL":true}`}

// bindAll returns bindings for every placeholder of the text.
func bindAll(t *testing.T, text string, shift uint8) *Bindings {
	names, values := map[string]string{}, map[string]string{}
	i := int(shift)
	for l := newLexer(text); l.cur.kind != tokenEnd; l.advance() {
		if len(l.cur.text) > maxPlaceholder {
			continue
		}
		switch l.cur.kind {
		case tokenName:
			names[l.cur.text] = strconv.Quote([]string{"s", "m", "l", "a.b", "gone"}[i%5])
		case tokenValue:
			values[l.cur.text] = fuzzValues[i%len(fuzzValues)]
		}
		i++
	}
	return bindings(t, used(text, names), used(text, values))
}

// FuzzCondition: any text is parsed or refused, and what was parsed can be evaluated, for conditions, filters and keys.
func FuzzCondition(f *testing.F) {
	f.Add("NOT (#a.b[1] BETWEEN :v AND size(#c)) OR contains(x, :w) AND y IN (:a, z)", uint8(0), sample)
	p := NewParser(64)
	f.Fuzz(func(t *testing.T, text string, shift uint8, it string) {
		b := bindAll(t, text, shift)
		c, err := p.Condition(ConditionParameter, []byte(text), b)
		checkFault(t, err)
		if err == nil {
			if c.Holds(nil) == c.not().Holds(nil) || c.Holds(fuzzItem(t, it)) == c.not().Holds(fuzzItem(t, it)) {
				t.Errorf("%q and its negation hold", text)
			}
			checkFault(t, b.CheckUsed())
		}
		k, err := p.KeyCondition([]byte(text), b)
		checkFault(t, err)
		if err == nil && len(k.Terms) == 0 {
			t.Errorf("%q has no terms", text)
		}
	})
}

// not is the negation of c.
func (c *Condition) not() *Condition {
	return &Condition{&node{op: OpNot, args: []*node{c.root}}, c.bound}
}

// FuzzProjection: what is projected of an item is an item, and projecting that again changes nothing but the indexes of lists.
func FuzzProjection(f *testing.F) {
	f.Add("a, #b.c[0], m.x, l[2], l[0]", uint8(0), sample)
	p := NewParser(64)
	f.Fuzz(func(t *testing.T, text string, shift uint8, it string) {
		x, err := p.Projection([]byte(text), bindAll(t, text, shift))
		checkFault(t, err)
		if err != nil {
			return
		}
		whole := fuzzItem(t, it)
		out := item.Item(x.Append(nil, whole))
		if err := item.CheckItem(out); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(out) > len(whole) {
			t.Errorf("%q: more than the item has", text)
		}
		if again := x.Append(nil, out); !strings.Contains(text, "[") && string(again) != string(out) {
			t.Errorf("%q: projected again it is another item", text)
		}
	})
}

// FuzzUpdate: an update of an item is refused, or makes a good item within the limits, twice the same, that its cells agree with.
func FuzzUpdate(f *testing.F) {
	f.Add("SET a = if_not_exists(#b, :v) + :w, l[9] = list_append(l, :l) REMOVE m.x, l[0] ADD n :n DELETE ss :s", uint8(0), sample)
	p := NewParser(64)
	f.Fuzz(func(t *testing.T, text string, shift uint8, it string) {
		u, err := p.Update([]byte(text), bindAll(t, text, shift))
		checkFault(t, err)
		if err != nil {
			return
		}
		before := fuzzItem(t, it)
		got, err := u.Apply(nil, before)
		checkFault(t, err)
		if err != nil {
			return
		}
		if got.After.Size() > item.MaxItemSize {
			t.Errorf("%q: %d bytes", text, got.After.Size())
		}
		checkUpdated(t, text, before, got)
		first := string(got.After)
		if again, err := u.Apply(nil, before); err != nil || string(again.After) != first {
			t.Errorf("%q: applied again it is another item: %v", text, err)
		}
		for _, returned := range [][]byte{u.AppendOld(nil, before), must(u.AppendNew(nil, before))} {
			if err := item.CheckItem(returned); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzLegacy: any JSON object as any of the structures.
func FuzzLegacy(f *testing.F) {
	f.Add(`{"s":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"hello"}]},"gone":{"Exists":false}}`, sample)
	f.Add(`{"n":{"Action":"ADD","Value":{"N":"1"}},"ss":{"Action":"DELETE","Value":{"SS":["a"]}}}`, sample)
	f.Fuzz(func(t *testing.T, text, it string) {
		o := fuzzJSON(text)
		if o == nil {
			return
		}
		before := fuzzItem(t, it)
		for _, operator := range []string{"", "AND", "OR"} {
			c, err := Expected(o, operator)
			checkFault(t, err)
			if c != nil {
				c.Holds(before)
			}
			c, err = Filter("QueryFilter", o, operator)
			checkFault(t, err)
			if c != nil {
				c.Holds(before)
			}
		}
		_, err := KeyConditions(o)
		checkFault(t, err)
		u, err := AttributeUpdates(o)
		checkFault(t, err)
		if u == nil || err != nil {
			return
		}
		got, err := u.Apply(nil, before)
		checkFault(t, err)
		if err == nil {
			checkUpdated(t, text, before, got)
		}
	})
}
