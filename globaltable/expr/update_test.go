package expr

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable/item"
)

// text renders what an update does to the attributes that it names.
func (u Updated) text() string {
	kinds := []string{SetCell: "set", RemoveCell: "remove", AddNumber: "add", AddElements: "union", DeleteElements: "delete"}
	var cells []string
	for _, c := range u.Cells {
		text := fmt.Sprintf("%s %s", kinds[c.Kind], c.Name)
		if c.Operand != nil {
			text += " by " + string(item.AppendJSON(nil, c.Operand))
		}
		if c.Value != nil {
			text += " to " + string(item.AppendJSON(nil, c.Value))
		}
		cells = append(cells, text)
	}
	return strings.Join(cells, "; ")
}

func TestUpdates(t *testing.T) {
	it := parseItem(t, sample)
	p := NewParser(100)
	for text, want := range map[string]string{
		"SET s = :a":            `set s to {"S":"a"}`,
		"set s = n, n = s":      `set n to {"S":"hello"}; set s to {"N":"10"}`, // both read the old item
		"SET gone = :a":         `set gone to {"S":"a"}`,
		"SET #dot = :1":         `set a.b to {"N":"1"}`,
		"SET n = n + :1":        `set n to {"N":"11"}`,
		"SET n = n - :100":      `set n to {"N":"-90"}`,
		"SET n = :1 + :2":       `set n to {"N":"3"}`,
		"SET n = (n + :1)":      `set n to {"N":"11"}`,
		"SET n = (n) - (m5)":    `set n to {"N":"15"}`,
		"SET n = :tiny - :tiny": `set n to {"N":"0"}`,
		"SET n = m.a.b + l[1]":  `set n to {"N":"4"}`,
		"SET c = if_not_exists(c, :5) + :1, d = if_not_exists(n, :5)":     `set c to {"N":"6"}; set d to {"N":"10"}`,
		"SET c = if_not_exists(c, if_not_exists(d, s))":                   `set c to {"S":"hello"}`,
		"SET l = list_append(:l, l[2])":                                   `set l to {"L":[{"S":"new"},{"N":"7"}]}`,
		"SET c = list_append(if_not_exists(c, :l), list_append(:l7, :l))": `set c to {"L":[{"S":"new"},{"N":"7"},{"S":"new"}]}`,
		"SET m.x = :1": `set m to {"M":{"a":{"M":{"b":{"N":"3"}}},"l":{"L":[{"S":"p"},{"S":"q"},{"S":"r"}]},"x":{"N":"1"}}}`,
		"SET m.a.b = :1, m.a.a = :2 REMOVE m.l, m.x": `set m to {"M":{"a":{"M":{"a":{"N":"2"},"b":{"N":"1"}}}}}`,
		"REMOVE m.a.b":                                     `set m to {"M":{"a":{"M":{}},"l":{"L":[{"S":"p"},{"S":"q"},{"S":"r"}]},"x":{"S":"y"}}}`,
		"SET m.l[1] = :1":                                  `set m to {"M":{"a":{"M":{"b":{"N":"3"}}},"l":{"L":[{"S":"p"},{"N":"1"},{"S":"r"}]},"x":{"S":"y"}}}`,
		"REMOVE l[0], l[1]":                                `set l to {"L":[{"L":[{"N":"7"}]},{"M":{"k":{"S":"v"}}}]}`,
		"REMOVE l[3], l[9], l[1], l[2]":                    `set l to {"L":[{"S":"x"}]}`,
		"REMOVE l[0], l[1], l[2], l[3]":                    `set l to {"L":[]}`,
		"SET l[9] = :1, l[4] = :2 REMOVE l[0], l[1], l[3]": `set l to {"L":[{"L":[{"N":"7"}]},{"N":"2"},{"N":"1"}]}`,
		"SET l[2][0] = :1, l[3].k = l[0]":                  `set l to {"L":[{"S":"x"},{"N":"1"},{"L":[{"N":"1"}]},{"M":{"k":{"S":"x"}}}]}`,
		"REMOVE s, gone":                                   `remove gone; remove s`,
		"ADD n :1":                                         `add n by {"N":"1"} to {"N":"11"}`,
		"ADD c :1":                                         `add c by {"N":"1"} to {"N":"1"}`,
		"ADD ss :ssc, ns :ns3, bs :bs":                     `union bs by {"BS":["AQ==","Ag=="]} to {"BS":["AQ==","Ag=="]}; union ns by {"NS":["3"]} to {"NS":["1","2","3"]}; union ss by {"SS":["c"]} to {"SS":["a","b","c"]}`,
		"ADD c :ssc":                                       `union c by {"SS":["c"]} to {"SS":["c"]}`,
		"ADD m.a.b :1, m.n :2, m.s :ss":                    `set m to {"M":{"a":{"M":{"b":{"N":"4"}}},"l":{"L":[{"S":"p"},{"S":"q"},{"S":"r"}]},"n":{"N":"2"},"s":{"SS":["a","b"]},"x":{"S":"y"}}}`,
		"ADD l[1] :2, l[9] :3":                             `set l to {"L":[{"S":"x"},{"N":"3"},{"L":[{"N":"7"}]},{"M":{"k":{"S":"v"}}},{"N":"3"}]}`,
		"DELETE ss :ssb":                                   `delete ss by {"SS":["b"]} to {"SS":["a"]}`,
		"DELETE ss :ss":                                    `delete ss by {"SS":["a","b"]}`,
		"DELETE ss :ssc, c :ss":                            `delete c by {"SS":["a","b"]}; delete ss by {"SS":["c"]} to {"SS":["a","b"]}`,
		"DELETE m.gone :ss":                                `set m to {"M":{"a":{"M":{"b":{"N":"3"}}},"l":{"L":[{"S":"p"},{"S":"q"},{"S":"r"}]},"x":{"S":"y"}}}`,
		"delete ss :ssb add n :1 remove s set c = s":       `set c to {"S":"hello"}; add n by {"N":"1"} to {"N":"11"}; remove s; delete ss by {"SS":["b"]} to {"SS":["a"]}`,
	} {
		b := bindingsFor(t, text)
		u, err := p.Update([]byte(text), b)
		if err != nil {
			t.Errorf("%s: %s", text, message(t, err))
			continue
		}
		for range 2 { // an update may be applied again
			got, err := u.Apply(nil, it)
			if err != nil {
				t.Errorf("%s: %s", text, message(t, err))
				continue
			}
			if got.text() != want {
				t.Errorf("%s:\n got %s\nwant %s", text, got.text(), want)
			}
			checkUpdated(t, text, it, got)
		}
	}
}

// checkUpdated checks that the two forms of what an update has come to are one.
func checkUpdated(t rapid.TB, text string, before item.Item, u Updated) {
	t.Helper()
	if err := item.CheckItem(u.After); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	attributes := map[string]item.Value{}
	for name, v := range before.Each {
		attributes[string(name)] = v
	}
	last := ""
	for _, c := range u.Cells {
		if string(c.Name) <= last {
			t.Errorf("%s: cell %q after %q", text, c.Name, last)
		}
		last = string(c.Name)
		attributes[last] = c.Value
		if c.Value == nil {
			delete(attributes, last)
		}
	}
	var b item.Builder
	for name, v := range attributes {
		b.Add([]byte(name), v)
	}
	want, err := b.AppendItem(nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(u.After) {
		t.Errorf("%s: cells make\n%s\nbut the item is\n%s", text, item.Item(want).AppendJSON(nil), u.After.AppendJSON(nil))
	}
}

// TestUpdateReturns: what the update names, before and after.
func TestUpdateReturns(t *testing.T) {
	it := parseItem(t, sample)
	p := NewParser(100)
	for text, want := range map[string][2]string{
		"SET s = :a, gone = :1":                {`{"s":{"S":"hello"}}`, `{"gone":{"N":"1"},"s":{"S":"a"}}`},
		"REMOVE s, gone":                       {`{"s":{"S":"hello"}}`, `{}`},
		"ADD n :1, c :1":                       {`{"n":{"N":"10"}}`, `{"c":{"N":"1"},"n":{"N":"11"}}`},
		"DELETE ss :ss":                        {`{"ss":{"SS":["a","b"]}}`, `{}`},
		"SET m.a.b = :1 REMOVE m.x":            {`{"m":{"M":{"a":{"M":{"b":{"N":"3"}}},"x":{"S":"y"}}}}`, `{"m":{"M":{"a":{"M":{"b":{"N":"1"}}}}}}`},
		"SET l[2] = :1, l[9] = :2 REMOVE l[0]": {`{"l":{"L":[{"S":"x"},{"L":[{"N":"7"}]}]}}`, `{"l":{"L":[{"N":"1"},{"N":"2"}]}}`},
	} {
		u, err := p.Update([]byte(text), bindingsFor(t, text))
		if err != nil {
			t.Fatalf("%s: %s", text, message(t, err))
		}
		if got := string(item.Item(u.AppendOld(nil, it)).AppendJSON(nil)); got != want[0] {
			t.Errorf("%s: old\n got %s\nwant %s", text, got, want[0])
		}
		out, err := u.AppendNew(nil, it)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := string(item.Item(out).AppendJSON(nil)); got != want[1] {
			t.Errorf("%s: new\n got %s\nwant %s", text, got, want[1])
		}
	}
}

func TestUpdateOfNothing(t *testing.T) {
	key := parseItem(t, `{"pk":{"S":"p"}}`)
	for text, want := range map[string]struct {
		after   string
		removes bool
	}{
		"SET a = :1, b = if_not_exists(a, :2)": {`{"a":{"N":"1"},"b":{"N":"2"},"pk":{"S":"p"}}`, false},
		"ADD a :1 REMOVE b":                    {`{"a":{"N":"1"},"pk":{"S":"p"}}`, false},
		"REMOVE a DELETE b :ss":                {`{"pk":{"S":"p"}}`, true},
	} {
		u, err := NewParser(0).Update([]byte(text), bindingsFor(t, text))
		if err != nil {
			t.Fatalf("%s: %s", text, message(t, err))
		}
		got, err := u.Apply(nil, key)
		if err != nil || string(got.After.AppendJSON(nil)) != want.after || u.OnlyRemoves() != want.removes {
			t.Errorf("%s: %s %v %v, want %s %v", text, got.After.AppendJSON(nil), u.OnlyRemoves(), err, want.after, want.removes)
		}
	}
}

func TestUpdateErrors(t *testing.T) {
	p := NewParser(100)
	for text, want := range map[string]string{
		"":                                "The expression can not be empty;",
		"INVALID SYNTAX HERE":             `Syntax error; token: "INVALID", near: "INVALID SYNTAX"`,
		"SET":                             `Syntax error; token: "<EOF>", near: "SET"`,
		"SET a = ":                        `Syntax error; token: "<EOF>", near: "="`,
		"SET a = :1,":                     `Syntax error; token: "<EOF>", near: ","`,
		"SET a = :1 b = :2":               `Syntax error; token: "b", near: ":1 b ="`,
		"SET a = :1 + :2 + :3":            `Syntax error; token: "+", near: ":2 + :3"`,
		"SET a = (:1 + :2) + :3":          `Syntax error; token: "+", near: ") + :3"`,
		"SET a = :1 = :2":                 `Syntax error; token: "=", near: ":1 = :2"`,
		"SET :a = :1":                     `Syntax error; token: ":a", near: "SET :a ="`,
		"SET SET = :1":                    `Syntax error; token: "SET", near: "SET SET ="`,
		"ADD hits : incr":                 `Syntax error; token: ":", near: "hits : incr"`,
		"ADD a b":                         `Syntax error; token: "b", near: "a b"`,
		"ADD a = :1":                      `Syntax error; token: "=", near: "a = :1"`,
		"REMOVE a :1":                     `Syntax error; token: ":1", near: "a :1"`,
		"SET a-b = :1":                    `Syntax error; token: "-", near: "a-b"`,
		"SET a = ((:1))":                  "The expression has redundant parentheses;",
		"SET a = :1 SET b = :2":           `The "SET" section can only be used once in an update expression;`,
		"ADD a :1 REMOVE b add c :1":      `The "ADD" section can only be used once in an update expression;`,
		"SET a = foo(b)":                  "Invalid function name; function: foo",
		"SET a = attribute_exists(b)":     "The function is not allowed in an update expression; function: attribute_exists",
		"SET a = size(b)":                 "The function is not allowed in an update expression; function: size",
		"SET name = :1":                   "Attribute name is a reserved keyword; reserved keyword: name",
		"REMOVE a.b.value":                "Attribute name is a reserved keyword; reserved keyword: value",
		"SET a = :x":                      "An expression attribute value used in expression is not defined; attribute value: :x",
		"SET #x = :x":                     "An expression attribute name used in the document path is not defined; attribute name: #x",
		"SET a = if_not_exists(b)":        "Incorrect number of operands for operator or function; operator or function: if_not_exists, number of operands: 1",
		"SET a = list_append(b, :l, c)":   "Incorrect number of operands for operator or function; operator or function: list_append, number of operands: 3",
		"SET a = if_not_exists(:1, b)":    "Operator or function requires a document path; operator or function: if_not_exists",
		"SET a = b + :a":                  "Incorrect operand type for operator or function; operator or function: +, operand type: S",
		"SET a = :l - b":                  "Incorrect operand type for operator or function; operator or function: -, operand type: L",
		"SET a = list_append(b, :l) + :1": "Incorrect operand type for operator or function; operator or function: +, operand type: L",
		"SET a = list_append(:map, b)":    "Incorrect operand type for operator or function; operator or function: list_append, operand type: M",
		"ADD a :a":                        "Incorrect operand type for operator or function; operator: ADD, operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND",
		"ADD a :l":                        "Incorrect operand type for operator or function; operator: ADD, operand type: LIST, typeSet: ALLOWED_FOR_ADD_OPERAND",
		"DELETE a :1":                     "Incorrect operand type for operator or function; operator: DELETE, operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND",
		"SET a = :1, a.b = :2":            "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], path two: [a, b]",
		"SET a.b = :1 REMOVE a":           "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a, b], path two: [a]",
		"SET f = :1, f = :2":              "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [f], path two: [f]",
		"SET a[0] = :1 REMOVE a.b":        "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [a, [0]], path two: [a, b]",
		"SET a = " + strings.Repeat("if_not_exists(a,", 301) + "b" + strings.Repeat(")", 301): "Expression size has exceeded the maximum allowed size; expression size: 5126",
		"REMOVE a" + strings.Repeat(",a", 300) + strings.Repeat("[0]", 32):                    "The document path has too many nesting elements; nesting levels: 33",
	} {
		_, err := p.Update([]byte(text), bindingsFor(t, text))
		if got := message(t, err); got != "Invalid UpdateExpression: "+want {
			t.Errorf("%.80s:\n got %s\nwant Invalid UpdateExpression: %s", text, got, want)
		}
	}
}

// TestApplyErrors: what is wrong only with this item.
func TestApplyErrors(t *testing.T) {
	it := parseItem(t, sample)
	p := NewParser(100)
	for text, want := range map[string]error{
		"SET a = gone":                   errNoSuchAttribute,
		"SET a = m.gone":                 errNoSuchAttribute,
		"SET a = gone + :1":              errNoSuchAttribute,
		"SET a = list_append(gone, :l)":  errNoSuchAttribute,
		"SET a = if_not_exists(c, gone)": errNoSuchAttribute,
		"SET a = s + :1":                 errOperandType,
		"SET a = :1 - ss":                errOperandType,
		"SET a = list_append(s, :l)":     errOperandType,
		"ADD s :1":                       errOperandType,
		"ADD n :ss":                      errOperandType,
		"ADD ss :ns":                     errOperandType,
		"DELETE n :ss":                   errOperandType,
		"DELETE ss :ns":                  errOperandType,
		"SET gone.a = :1":                errInvalidPath,
		"SET s.a = :1":                   errInvalidPath,
		"SET m[0] = :1":                  errInvalidPath,
		"SET l.a = :1":                   errInvalidPath,
		"SET l[9].a = :1":                errInvalidPath,
		"SET m.gone.a = :1":              errInvalidPath,
		"REMOVE gone.a":                  errInvalidPath,
		"REMOVE gone[0]":                 errInvalidPath,
		"DELETE gone.a :ss":              errInvalidPath,
		"ADD gone.a :1":                  errInvalidPath,
	} {
		u, err := p.Update([]byte(text), bindingsFor(t, text))
		if err != nil {
			t.Errorf("%s: %s", text, message(t, err))
			continue
		}
		if _, err := u.Apply(nil, it); err != want {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
		if _, err := u.AppendNew(nil, it); err != want {
			t.Errorf("%s: new: %v, want %v", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"SET a = :big + :big": "Number overflow. Attempting to store a number with magnitude larger than supported range",
		"ADD n :tiny":         "Number overflow. Attempting to store a number with magnitude larger than supported range",
		"SET a = :tiny + :1":  "Number overflow. Attempting to store a number with magnitude larger than supported range",
	} {
		u, err := p.Update([]byte(text), bindingsFor(t, text))
		if err != nil {
			t.Fatalf("%s: %s", text, message(t, err))
		}
		if _, err := u.Apply(nil, it); message(t, err) != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// allocated returns how many bytes were ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestUpdateGrows: an item that grows beyond the limits is an error before it takes much memory.
func TestUpdateGrows(t *testing.T) {
	p := NewParser(0)
	apply := func(text, before, names, values string) error {
		u, err := p.Update([]byte(text), bindings(t, names, values))
		if err != nil {
			t.Fatalf("%s: %s", text, message(t, err))
		}
		got, err := u.Apply(nil, parseItem(t, before))
		if err == nil {
			checkUpdated(t, text, parseItem(t, before), got)
		}
		return err
	}
	list := `{"pk":{"S":"p"},"a":{"L":[{"S":"` + strings.Repeat("x", 300<<10) + `"}]}}`
	twice := "list_append(a,a)"
	for range 6 {
		twice = "list_append(" + twice + "," + twice + ")"
	}
	var many []string
	for i := range 250 {
		many = append(many, fmt.Sprintf("a%d = a", i))
	}
	for _, text := range []string{"SET a = list_append(a, a)", "SET b = a", "SET b = " + twice, "SET " + strings.Join(many, ", ")} {
		const enough = 32 << 20 // where 250 copies or 128 lists are more
		before := allocated()
		if err := apply(text, list, "", ""); err != errUpdateSize {
			t.Errorf("%.40s: %v", text, err)
		}
		if n := allocated() - before; n > enough {
			t.Errorf("%.40s: took %d bytes", text, n)
		}
	}
	if err := apply("SET b = :v", list, "", `{":v":{"S":"`+strings.Repeat("y", 90<<10)+`"}}`); err != nil {
		t.Error(err)
	}
	nested := func(n int) string { return strings.Repeat(`{"M":{"a":`, n) + `{"S":"x"}` + strings.Repeat(`}}`, n) }
	deep := `{"a":` + nested(2) + `}`
	if err := apply("SET a.b = :v", deep, "", `{":v":`+nested(30)+`}`); err != nil {
		t.Error(err)
	}
	err := apply("SET a.b = :v", deep, "", `{":v":`+nested(31)+`}`)
	if want := "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"; message(t, err) != want {
		t.Errorf("nesting: %v", err)
	}
	// A wide item: the count of its attributes takes another byte.
	wide, set := []string{`"pk":{"S":"p"}`}, []string{}
	for i := range 126 {
		wide = append(wide, fmt.Sprintf(`"a%d":{"N":"%d"}`, i, i))
	}
	for i := range 100 {
		set = append(set, fmt.Sprintf("b%d = pk", i))
	}
	if err := apply("SET "+strings.Join(set, ",")+" REMOVE a3, a5", "{"+strings.Join(wide, ",")+"}", "", ""); err != nil {
		t.Error(err)
	}
}
