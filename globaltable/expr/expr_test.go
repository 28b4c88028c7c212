package expr

import (
	"errors"
	"strings"

	"github.com/valyala/fastjson"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable/item"
)

// parseJSON parses text as a request's parser does.
func parseJSON(t rapid.TB, text string) *fastjson.Value {
	t.Helper()
	if err := item.CheckJSON([]byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	v, err := fastjson.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// parseItem returns the item that text says; nil for "".
func parseItem(t rapid.TB, text string) item.Item {
	t.Helper()
	if text == "" {
		return nil
	}
	it, err := item.DecodeItemJSON(nil, parseJSON(t, text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return it
}

// bindings returns names, {"#a":"a"}, and values, {":v":{"S":"a"}}, as a request has them; "" for none.
func bindings(t rapid.TB, names, values string) *Bindings {
	t.Helper()
	b := new(Bindings)
	if names != "" {
		if err := b.SetNames(parseJSON(t, names).GetObject()); err != nil {
			t.Fatalf("%s: %v", names, err)
		}
	}
	if values != "" {
		if err := b.SetValues(parseJSON(t, values).GetObject()); err != nil {
			t.Fatalf("%s: %v", values, err)
		}
	}
	return b
}

// message returns what a client is told of err; "" for none.
func message(t rapid.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var v Violations
	if errors.As(err, &v) && len(v) == 1 {
		return "1 validation error detected: Value " + v[0].Value + " at '" + v[0].Path + "' failed to satisfy constraint: " + v[0].Constraint
	}
	var e *item.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no item.Error", err)
	}
	if e.Class != item.Validation && e.Class != item.SizeExceeded && e.Class != item.Serialization {
		t.Fatalf("%v has class %v", err, e.Class)
	}
	return e.Message
}

// sample is an item with attributes of all types.
const sample = `{"pk":{"S":"p"},"s":{"S":"hello"},"n":{"N":"10"},"m5":{"N":"-5"},"b":{"B":"AQID"},"t":{"BOOL":true},"f":{"BOOL":false},"nil":{"NULL":true},
	"ss":{"SS":["a","b"]},"ns":{"NS":["1","2"]},"bs":{"BS":["AQ==","Ag=="]},"blank":{"S":""},
	"l":{"L":[{"S":"x"},{"N":"1"},{"L":[{"N":"7"}]},{"M":{"k":{"S":"v"}}}]},
	"m":{"M":{"a":{"M":{"b":{"N":"3"}}},"x":{"S":"y"},"l":{"L":[{"S":"p"},{"S":"q"},{"S":"r"}]}}},"a.b":{"S":"dot"}}`

// values are bound to what the tests of conditions and updates use.
var values = map[string]string{
	":hello": `{"S":"hello"}`, ":he": `{"S":"he"}`, ":ll": `{"S":"ll"}`, ":a": `{"S":"a"}`, ":z": `{"S":"z"}`, ":empty": `{"S":""}`,
	":10": `{"N":"10.0"}`, ":9": `{"N":"9"}`, ":1": `{"N":"1"}`, ":2": `{"N":"2"}`, ":3": `{"N":"3"}`, ":4": `{"N":"4"}`, ":5": `{"N":"5"}`, ":7": `{"N":"7"}`, ":100": `{"N":"1e2"}`,
	":big": `{"N":"9.9999999999999999999999999999999999999e125"}`, ":tiny": `{"N":"1e-130"}`,
	":bin": `{"B":"AQID"}`, ":b1": `{"B":"AQ=="}`, ":b2": `{"B":"Ag=="}`, ":true": `{"BOOL":true}`, ":null": `{"NULL":true}`,
	":ss": `{"SS":["b","a"]}`, ":ssb": `{"SS":["b"]}`, ":ssc": `{"SS":["c"]}`, ":ns": `{"NS":["2.0","1"]}`, ":ns3": `{"NS":["3"]}`, ":bs": `{"BS":["Ag==","AQ=="]}`,
	":l": `{"L":[{"S":"new"}]}`, ":l7": `{"L":[{"N":"7"}]}`, ":map": `{"M":{"b":{"N":"3"}}}`,
	":S": `{"S":"S"}`, ":N": `{"S":"N"}`, ":SS": `{"S":"SS"}`, ":M": `{"S":"M"}`, ":L": `{"S":"L"}`, ":NULL": `{"S":"NULL"}`, ":BOOL": `{"S":"BOOL"}`, ":none": `{"S":"Q"}`,
}

// placeholders are bound to names.
var placeholders = map[string]string{"#dot": `"a.b"`, "#s": `"s"`, "#size": `"size"`}

// used returns those members of a map that the expression names, as JSON; "" for none.
func used(text string, of map[string]string) string {
	seen := map[string]bool{}
	var members []string
	for l := newLexer(text); l.cur.kind != tokenEnd; l.advance() {
		if v, ok := of[l.cur.text]; ok && !seen[l.cur.text] {
			seen[l.cur.text] = true
			members = append(members, `"`+l.cur.text+`":`+v)
		}
	}
	if members == nil {
		return ""
	}
	return "{" + strings.Join(members, ",") + "}"
}

// bindingsFor returns the placeholders and values that the expression names.
func bindingsFor(t rapid.TB, text string) *Bindings {
	t.Helper()
	return bindings(t, used(text, placeholders), used(text, values))
}
