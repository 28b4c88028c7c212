package expr

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/concordat-db/concordat/globaltable/item"
)

func TestBindingErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                  "ExpressionAttributeNames must not be empty",
		`{"a":"b"}`:           `ExpressionAttributeNames contains invalid key: Syntax error; key: "a"`,
		`{"#":"b"}`:           `ExpressionAttributeNames contains invalid key: Syntax error; key: "#"`,
		`{"#a-b":"b"}`:        `ExpressionAttributeNames contains invalid key: Syntax error; key: "#a-b"`,
		`{"#a":"b",":c":"d"}`: `ExpressionAttributeNames contains invalid key: Syntax error; key: ":c"`,
		`{"#a":""}`:           "ExpressionAttributeNames contains invalid value: An attribute name may not be empty for key #a",
		`{"#a":1}`:            "NUMBER_VALUE cannot be converted to String",
		`{"#a":"b","#a":"c"}`: "A member name appears twice in an object",
		`{"#a":"` + strings.Repeat("x", maxSubstitutions) + `"}`: "ExpressionAttributeNames exceeds max size of 2097152 bytes",
	} {
		if got := message(t, new(Bindings).SetNames(parseJSON(t, text).GetObject())); got != want {
			t.Errorf("%.50s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		`{}`:               "ExpressionAttributeValues must not be empty",
		`{"v":{"S":"b"}}`:  `ExpressionAttributeValues contains invalid key: Syntax error; key: "v"`,
		`{":v":{"N":"b"}}`: "ExpressionAttributeValues contains invalid value: The parameter cannot be converted to a numeric value: b for key :v",
		`{":v":{}}`:        "ExpressionAttributeValues contains invalid value: Supplied AttributeValue is empty, must contain exactly one of the supported datatypes for key :v",
		`{":v":{"SS":[]}}`: "ExpressionAttributeValues contains invalid value: One or more parameter values were invalid: An string set  may not be empty for key :v",
		`{":v":"x"}`:       "Unexpected value type in payload",
		`{":` + strings.Repeat("x", 255) + `":{"S":"b"}}`: "ExpressionAttributeValues contains invalid key: The expression attribute map contains a key that is too long",
	} {
		err := new(Bindings).SetValues(parseJSON(t, text).GetObject())
		if got := message(t, err); got != want {
			t.Errorf("%.50s: %s, want %s", text, got, want)
		}
		if strings.Contains(err.Error(), ": b") {
			t.Errorf("%s: %q is not for logs", text, err)
		}
	}
}

func TestUnusedBindings(t *testing.T) {
	names, values := `{"#a":"x","#b":"y"}`, `{":c":{"S":"1"},":a":{"S":"2"},":b":{"S":"3"}}`
	b := bindings(t, names, values)
	p := NewParser(10)
	bind := func(text string) {
		t.Helper()
		if _, err := p.Condition(ConditionParameter, []byte(text), b); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := message(t, b.CheckUsed()), "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a, #b}"; got != want {
		t.Error(got)
	}
	bind("#a = :b")
	if got, want := message(t, b.CheckUsed()), "Value provided in ExpressionAttributeNames unused in expressions: keys: {#b}"; got != want {
		t.Error(got)
	}
	bind("#b = :b")
	if got, want := message(t, b.CheckUsed()), "Value provided in ExpressionAttributeValues unused in expressions: keys: {:a, :c}"; got != want {
		t.Error(got)
	}
	bind("#b IN (:a, :c)")
	if err := b.CheckUsed(); err != nil {
		t.Error(err)
	}
	b.Reset()
	if err := b.CheckUsed(); err != nil {
		t.Errorf("after Reset: %v", err)
	}
	if _, err := p.Condition(ConditionParameter, []byte("#a = :b"), b); err == nil {
		t.Error("after Reset names are still there")
	}
}

// TestBindingsAreReused: what one request had is nothing to the next, and each value keeps its bytes while others come.
func TestBindingsAreReused(t *testing.T) {
	p := NewParser(10)
	var b Bindings
	for round := range 5 {
		b.Reset()
		var members []string
		n := 1 + 40*round%100
		for i := range n {
			members = append(members, fmt.Sprintf(`":v%d":{"S":"%s"}`, i, strings.Repeat("x", i*round*5)))
		}
		if err := b.SetValues(parseJSON(t, "{"+strings.Join(members, ",")+"}").GetObject()); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			text := fmt.Sprintf("size(a) = size(:v%d) AND a = :v%d", i, i)
			c, err := p.Condition(ConditionParameter, []byte(text), &b)
			if err != nil {
				t.Fatal(err)
			}
			if it := parseItem(t, fmt.Sprintf(`{"a":{"S":"%s"}}`, strings.Repeat("x", i*round*5))); !c.Holds(it) {
				t.Fatalf("round %d, value %d is another one", round, i)
			}
		}
		if err := b.CheckUsed(); err != nil {
			t.Fatal(err)
		}
	}
	big := `{":v":{"S":"` + strings.Repeat("x", keptMemory+1) + `"}}`
	b.Reset()
	if err := b.SetValues(parseJSON(t, big).GetObject()); err != nil {
		t.Fatal(err)
	}
	if b.Reset(); cap(b.memory) > keptMemory {
		t.Errorf("%d bytes are kept", cap(b.memory))
	}
}

// TestParserKeeps: texts in use stay, others go, and the number is bounded.
func TestParserKeeps(t *testing.T) {
	p := NewParser(8)
	parse := func(text string) *parsed {
		x, err := p.parsed(conditions, ConditionParameter, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	first, seldom := parse("a = :v"), parse("b = :v")
	for i := range 100 {
		parse(fmt.Sprintf("a%d = :v", i))
		if parse("a = :v") != first {
			t.Fatalf("text in use is gone after %d others", i)
		}
		if n := len(p.young) + len(p.old); n > 8 {
			t.Fatalf("%d texts are kept", n)
		}
	}
	if parse("b = :v") == seldom {
		t.Error("a text that nobody uses was kept")
	}
	if parse("a = :v") != first {
		t.Error("text in use is gone")
	}
	if _, err := p.parsed(projections, projectionParameter, []byte("a = :v")); err == nil {
		t.Error("a condition was taken for a projection")
	}
	for i := range 100 {
		parse(fmt.Sprintf("a%d = :v", i) + strings.Repeat(" ", 2000))
		size := 0
		for _, generation := range []map[source]*parsed{p.young, p.old} {
			for s := range generation {
				size += len(s.text)
			}
		}
		if size > 2*(4*meanText+maxTextSize) {
			t.Fatalf("%d bytes are kept", size)
		}
	}
	if none := NewParser(0); none.limit != 0 {
		t.Error("a Parser of none keeps some")
	}
}

// TestParserConcurrently is for the race detector.
func TestParserConcurrently(t *testing.T) {
	p := NewParser(6)
	it := parseItem(t, sample)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var b Bindings
			for i := range 200 {
				b.Reset()
				text := fmt.Sprintf("attribute_exists(s) AND n > m5 OR a%d = s", (i*g)%10)
				c, err := p.Condition(ConditionParameter, []byte(text), &b)
				if err != nil || !c.Holds(it) {
					t.Errorf("%s: %v", text, err)
				}
				u, err := p.Update(fmt.Appendf(nil, "SET a%d = s", (i*g)%10), &b)
				if err != nil {
					t.Error(err)
				} else if got, err := u.Apply(nil, it); err != nil || len(got.Cells) != 1 {
					t.Errorf("%v %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestEncodedErrorsAreSafe: the text for logs has nothing of the request.
func TestEncodedErrorsAreSafe(t *testing.T) {
	_, err := NewParser(0).Condition(ConditionParameter, []byte("secret = :secret"), new(Bindings))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if e := err.(*item.Error); !strings.HasSuffix(e.Message, ":secret") {
		t.Errorf("%s", e.Message)
	}
}
