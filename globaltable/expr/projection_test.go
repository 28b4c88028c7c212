package expr

import (
	"testing"

	"github.com/concordat-db/concordat/globaltable/item"
)

func TestProjections(t *testing.T) {
	it := parseItem(t, sample)
	p := NewParser(100)
	for text, want := range map[string]string{
		"s":                   `{"s":{"S":"hello"}}`,
		"s, pk,n":             `{"n":{"N":"10"},"pk":{"S":"p"},"s":{"S":"hello"}}`,
		"gone":                `{}`,
		"gone, s":             `{"s":{"S":"hello"}}`,
		"#dot, #s":            `{"a.b":{"S":"dot"},"s":{"S":"hello"}}`,
		"m.a.b":               `{"m":{"M":{"a":{"M":{"b":{"N":"3"}}}}}}`,
		"m.x, m.a":            `{"m":{"M":{"a":{"M":{"b":{"N":"3"}}},"x":{"S":"y"}}}}`,
		"m.gone":              `{}`,
		"m.a.gone, m.x":       `{"m":{"M":{"x":{"S":"y"}}}}`,
		"s.x, l.x, m[0]":      `{}`,
		"l[0]":                `{"l":{"L":[{"S":"x"}]}}`,
		"l[3], l[0]":          `{"l":{"L":[{"S":"x"},{"M":{"k":{"S":"v"}}}]}}`,
		"l[3].k, l[2][0]":     `{"l":{"L":[{"L":[{"N":"7"}]},{"M":{"k":{"S":"v"}}}]}}`,
		"l[2][1], l[3].gone":  `{}`,
		"l[9], l[1], l[5]":    `{"l":{"L":[{"N":"1"}]}}`,
		"ss[0]":               `{}`,
		"m.l[2], m.l[0], m.x": `{"m":{"M":{"l":{"L":[{"S":"p"},{"S":"r"}]},"x":{"S":"y"}}}}`,
	} {
		b := bindingsFor(t, text)
		x, err := p.Projection([]byte(text), b)
		if err != nil {
			t.Errorf("%s: %s", text, message(t, err))
			continue
		}
		prefix := []byte("prefix")
		out := x.Append(prefix, it)[len(prefix):]
		if err := item.CheckItem(out); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := string(item.Item(out).AppendJSON(nil)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"a,":             `Syntax error; token: "<EOF>", near: ","`,
		"a b":            `Syntax error; token: "b", near: "a b"`,
		":v":             `Syntax error; token: ":v", near: ":v"`,
		"a, comment":     "Attribute name is a reserved keyword; reserved keyword: comment",
		"#x":             "An expression attribute name used in the document path is not defined; attribute name: #x",
		"a, b, a":        "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], path two: [a]",
		"a.b, c, a":      "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a, b], path two: [a]",
		"s, #s":          "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [s], path two: [s]",
		"a[1].b, a[1]":   "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a, [1], b], path two: [a, [1]]",
		"a.b, a.c, a[0]": "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [a, c], path two: [a, [0]]",
		"size(a)":        `Syntax error; token: "(", near: "size(a"`,
	} {
		_, err := p.Projection([]byte(text), bindingsFor(t, text))
		if got := message(t, err); got != "Invalid ProjectionExpression: "+want {
			t.Errorf("%s:\n got %s\nwant Invalid ProjectionExpression: %s", text, got, want)
		}
	}
}

func TestProjectionNames(t *testing.T) {
	x, err := NewColumns([]Step{{Name: []byte("b")}, {Index: 1}}, []Step{{Name: []byte("a")}})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for name := range x.Names {
		got += string(name)
	}
	if got != "ab" {
		t.Errorf("names: %q", got)
	}
}
