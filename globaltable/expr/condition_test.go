package expr

import (
	"strings"
	"testing"
)

// TestConditions: what holds for the sample. Each is asked twice, for parsed texts are kept.
func TestConditions(t *testing.T) {
	it := parseItem(t, sample)
	p := NewParser(100)
	for text, want := range map[string]bool{
		// comparisons: equality
		"s = :hello": true, "s = :he": false, "s <> :he": true, "s <> :hello": false,
		"n = :10": true, ":10 = n": true, "n = :9": false, "n = :hello": false, "n <> :hello": true,
		"b = :bin": true, "t = :true": true, "f = :true": false, "nil = :null": true,
		"ss = :ss": true, "ss = :ssb": false, "ns = :ns": true, "bs = :bs": true, "m.a = :map": true, "l[2] = :l7": true, "l = :l7": false,
		"ss <> :ssb": true, "m.a <> :map": false, "l[2] <> :l7": false,
		// what is not there is equal to nothing
		"gone = :hello": false, "gone <> :hello": true, "gone = another": false, "gone <> another": true, "gone < :9": false, "NOT gone < :9": true,
		"gone >= :9": false, "gone BETWEEN :1 AND :9": false, "gone IN (:a)": false, "NOT gone IN (:a)": true, "size(gone) = :1": false,
		"s.x = :hello": false, "m[0] = :hello": false, "l.x = :hello": false, "l[9] = :hello": false, "ss[0] = :a": false, "m.a.b.c = :1": false,
		// order
		"n < :100": true, "n < :10": false, "n <= :10": true, "n > :9": true, "n > :10": false, "n >= :10": true, "m5 < :1": true,
		"s < :z": true, "s > :he": true, "b > :b1": true, "n < :z": false, "n > :z": false, "t < s": false, "ss >= ns": false,
		":1 < :2": true, ":2 < :1": false,
		"n BETWEEN :9 AND :100": true, "n BETWEEN :10 AND :10": true, "n BETWEEN :100 AND m5": false, "m5 between :1 and n": false, "m5 between f and n": false, ":2 between m5 and n": true,
		"n BETWEEN :a AND :z": false, ":5 BETWEEN m5 AND n": true, "s BETWEEN :a AND :z": true,
		"s IN (:a, :hello)": true, "s IN (:a)": false, "s in (:10, #dot )": false, "n IN (:10)": true, "ss IN (:ssb, :ss)": true, ":10 IN (s, n)": true,
		// logic: NOT before AND before OR
		"s = :hello AND n = :10": true, "s = :hello AND n = :9": false, "s = :a OR n = :10": true, "s = :a OR n = :9": false,
		"NOT s = :a": true, "NOT NOT s = :a": false, "NOT s = :hello OR n = :10": true, "NOT (s = :hello OR n = :10)": false,
		"s = :hello OR s = :a AND n = :9": true, "(s = :hello OR s = :a) AND n = :9": false, "NOT s = :a AND n = :10": true,
		"s = :hello and not n = :9 or f = :true": true, "s = :a AND n = :9 OR (t = :true)": true,
		"n BETWEEN :1 AND :100 AND s = :hello": true, "(n) = (:10)": true, "(size(s)) = :5": true, "((n) = :10 OR s = :a) AND (t = :true)": true,
		// functions
		"attribute_exists(s)": true, "attribute_exists(gone)": false, "attribute_exists(m.a.b)": true, "attribute_exists(l[3].k)": true, "attribute_exists(l[4])": false,
		"attribute_exists(nil)": true, "attribute_not_exists(gone)": true, "attribute_not_exists(m.x)": false, "attribute_not_exists(s.x)": true,
		"attribute_exists(#dot)": true, "#dot = #s": false, "attribute_exists(a.b)": false, "attribute_exists(#size)": false,
		"attribute_type(s, :S)": true, "attribute_type(s, :N)": false, "attribute_type(nil, :NULL)": true, "attribute_type(gone, :S)": false,
		"attribute_type(ss, :SS)": true, "attribute_type(m, :M)": true, "attribute_type(l, :L)": true, "attribute_type(f, :BOOL)": true,
		"begins_with(s, :he)": true, "begins_with(s, :hello)": true, "begins_with(s, :ll)": false, "begins_with(s, :empty)": true, "begins_with(b, :b1)": true,
		"begins_with(b, :he)": false, "begins_with(n, :he)": false, "begins_with(gone, :he)": false, "begins_with(:hello, :he)": true, "begins_with(:he, s)": false,
		"contains(s, :ll)": true, "contains(s, :z)": false, "contains(b, :b2)": true, "contains(b, :he)": false, "contains(ss, :a)": true, "contains(ss, :z)": false,
		"contains(ss, :1)": false, "contains(ns, :1)": true, "contains(bs, :b2)": true, "contains(l, :1)": true, "contains(l, :l7)": true, "contains(l, :7)": false,
		"contains(n, :1)": false, "contains(m, :a)": false, "contains(gone, :a)": false, "contains(:hello, :ll)": true, "contains(:ss, s)": false, "contains(s, gone)": false,
		"size(s) = :5": true, "size(b) = :3": true, "size(ss) = :2": true, "size(ns) > :1": true, "size(bs) = :2": true, "size(l) = :4": true, "size(m) = :3": true,
		"size(blank) = size(gone)": false, "size(n) = :2": false, "size(t) = :1": false, "size(nil) < :1": false, "size(s) > size(b)": true, "size(b) > size(s)": false,
		"size(s) = size(:hello)": true, "size(l) BETWEEN size(b) AND size(s)": true, "size(l) IN (size(s), :4)": true, "NOT size(n) = :2": true, "size(#s) < :9": true,
	} {
		for range 2 {
			b := bindingsFor(t, text)
			c, err := p.Condition(ConditionParameter, []byte(text), b)
			if err != nil {
				t.Errorf("%s: %v", text, message(t, err))
				continue
			}
			if err := b.CheckUsed(); err != nil {
				t.Errorf("%s: %v", text, message(t, err))
			}
			if got := c.Holds(it); got != want {
				t.Errorf("%s: %v, want %v", text, got, want)
			}
		}
	}
}

// TestConditionsOnNothing: an item that does not exist has no attribute.
func TestConditionsOnNothing(t *testing.T) {
	p := NewParser(0)
	for text, want := range map[string]bool{
		"attribute_exists(pk)": false, "attribute_not_exists(pk)": true, "n < :9": false, "n <> :9": true, "NOT n = :9": true, ":1 < :2": true,
	} {
		c, err := p.Condition(FilterParameter, []byte(text), bindingsFor(t, text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := c.Holds(nil); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestConditionNames(t *testing.T) {
	text := "a.b = :1 AND NOT size(c[0]) IN (d, #s) OR attribute_exists(e)"
	c, err := NewParser(0).Condition(ConditionParameter, []byte(text), bindingsFor(t, text))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	c.Names(func(name []byte) bool {
		got += string(name)
		return string(name) != "s"
	})
	if got != "acds" {
		t.Errorf("names: %q, want those up to s", got)
	}
}

// TestConditionErrors: DynamoDB's words for what is wrong with a condition.
func TestConditionErrors(t *testing.T) {
	p := NewParser(100)
	long := "a" + strings.Repeat("b", 4096)
	for text, want := range map[string]string{
		"":                                    "The expression can not be empty;",
		" \t\n":                               "The expression can not be empty;",
		long:                                  "Expression size has exceeded the maximum allowed size; expression size: 4097",
		"a-b":                                 `Syntax error; token: "-", near: "a-b"`,
		"${x}":                                `Syntax error; token: "$", near: "${"`,
		"hits : incr":                         `Syntax error; token: ":", near: "hits : incr"`,
		"a = ":                                `Syntax error; token: "<EOF>", near: "="`,
		"attribute_exists(car_id) AND NOT #s": `Syntax error; token: "<EOF>", near: "#s"`,
		"a = b = c":                           `Syntax error; token: "=", near: "b = c"`,
		"(a = b) = c":                         `Syntax error; token: "=", near: ") = c"`,
		"contains()":                          `Syntax error; token: ")", near: "()"`,
		"contains(a, )":                       `Syntax error; token: ")", near: ", )"`,
		"contains(a b)":                       `Syntax error; token: "b", near: "a b)"`,
		"a == b":                              `Syntax error; token: "=", near: "== b"`,
		"a != b":                              `Syntax error; token: "!", near: "a !="`,
		"a":                                   `Syntax error; token: "<EOF>", near: "a"`,
		"(a)":                                 `Syntax error; token: "<EOF>", near: ")"`,
		"a AND b = c":                         `Syntax error; token: "AND", near: "a AND b"`,
		"(a = b AND c)":                       `Syntax error; token: ")", near: "c)"`,
		"NOT (a)":                             `Syntax error; token: "<EOF>", near: ")"`,
		"a = b c":                             `Syntax error; token: "c", near: "b c"`,
		"(a = b":                              `Syntax error; token: "<EOF>", near: "b"`,
		"a = b)":                              `Syntax error; token: ")", near: "b)"`,
		"a[b] = c":                            `Syntax error; token: "b", near: "[b]"`,
		"a[1 = c":                             `Syntax error; token: "=", near: "1 = c"`,
		"a. = c":                              `Syntax error; token: "=", near: ". = c"`,
		"a.:x = c":                            `Syntax error; token: ":x", near: ".:x ="`,
		"AND = c":                             `Syntax error; token: "AND", near: "AND ="`,
		"a BETWEEN b OR c":                    `Syntax error; token: "OR", near: "b OR c"`,
		"a IN b":                              `Syntax error; token: "b", near: "IN b"`,
		"a IN ()":                             `Syntax error; token: ")", near: "()"`,
		"é = c":                               `Syntax error; token: "é", near: "é ="`,
		"((a = b))":                           "The expression has redundant parentheses;",
		"((a)) = b":                           "The expression has redundant parentheses;",
		"contains(((a)),b)":                   "The expression has redundant parentheses;",
		"((foo(a)))":                          "The expression has redundant parentheses;",
		strings.Repeat("(", 2000) + "a":       "The expression has redundant parentheses;",
		"AND (a)":                             `Syntax error; token: "AND", near: "AND ("`,
		"(a = b AND foo(a))":                  "Invalid function name; function: foo",
		"(size(a) AND a = b)":                 "The function is not allowed to be used this way in an expression; function: size",
		"foo(a)":                              "Invalid function name; function: foo",
		"Size(a) = b":                         "Invalid function name; function: Size",
		"foo(a) AND size = b":                 "Invalid function name; function: foo",
		"if_not_exists(a, b) = c":             "The function is not allowed in a condition expression; function: if_not_exists",
		"list_append(a, b)":                   "The function is not allowed in a condition expression; function: list_append",
		"size(a)":                             "The function is not allowed to be used this way in an expression; function: size",
		"NOT (size(a) OR a = b)":              "The function is not allowed to be used this way in an expression; function: size",
		"attribute_exists(a) = b":             "The function is not allowed to be used this way in an expression; function: attribute_exists",
		"a = begins_with(b, c)":               "The function is not allowed to be used this way in an expression; function: begins_with",
		"name = :undefined":                   "Attribute name is a reserved keyword; reserved keyword: name",
		"a.Status = :undefined":               "Attribute name is a reserved keyword; reserved keyword: Status",
		"#undefined = :other":                 "An expression attribute name used in the document path is not defined; attribute name: #undefined",
		":undefined = #other":                 "An expression attribute value used in expression is not defined; attribute value: :undefined",
		"size(a, b) = #undefined":             "An expression attribute name used in the document path is not defined; attribute name: #undefined",
		"size(a, b) = c":                      "Incorrect number of operands for operator or function; operator or function: size, number of operands: 2",
		"begins_with(a)":                      "Incorrect number of operands for operator or function; operator or function: begins_with, number of operands: 1",
		"attribute_exists(a, b)":              "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of operands: 2",
		"attribute_exists(:a)":                "Operator or function requires a document path; operator or function: attribute_exists",
		"attribute_not_exists(size(a))":       "Operator or function requires a document path; operator or function: attribute_not_exists",
		"a < :true":                           "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
		":map >= a":                           "Incorrect operand type for operator or function; operator or function: >=, operand type: M",
		"a BETWEEN :ss AND :ss":               "Incorrect operand type for operator or function; operator or function: BETWEEN, operand type: SS",
		"begins_with(a, :1)":                  "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
		"begins_with(size(a), :a)":            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
		"contains(:1, a)":                     "Incorrect operand type for operator or function; operator or function: contains, operand type: N",
		"size(:1) = a":                        "Incorrect operand type for operator or function; operator or function: size, operand type: N",
		"size(size(a)) = :1":                  "Incorrect operand type for operator or function; operator or function: size, operand type: N",
		"attribute_type(a, :1)":               "Incorrect operand type for operator or function; operator or function: attribute_type, operand type: N",
		"attribute_type(a, b)":                "Incorrect operand type for operator or function; operator or function: attribute_type, operand type: {NS,SS,L,BS,N,M,B,BOOL,NULL,S}",
		"attribute_type(a, :none)":            "Invalid attribute type name found; type: Q, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
		"a = a":                               "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [a]",
		"a.b[1] <= a.b[1]":                    "The first operand must be distinct from the remaining operands for this operator or function; operator: <=, first operand: [a, b, [1]]",
		"s = #s ":                             "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [s]",
		"contains(a, a)":                      "The first operand must be distinct from the remaining operands for this operator or function; operator: contains, first operand: [a]",
		"a IN (b, a)":                         "The first operand must be distinct from the remaining operands for this operator or function; operator: IN, first operand: [a]",
		"a BETWEEN a AND b":                   "The first operand must be distinct from the remaining operands for this operator or function; operator: BETWEEN, first operand: [a]",
		"a BETWEEN :z AND :a": "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; " +
			"lower bound operand: AttributeValue: {S:z}, upper bound operand: AttributeValue: {S:a}",
		"a BETWEEN :1 AND :a": "The BETWEEN operator requires same data type for lower and upper bounds; " +
			"lower bound operand: AttributeValue: {N:1}, upper bound operand: AttributeValue: {S:a}",
		"a IN (" + strings.Repeat(":1,", 100) + ":1)": "The IN operator is provided with too many operands; number of operands: 101",
		strings.Repeat("a=b OR ", 150) + "a=b":        "The expression contains too many operators; operator count: 301",
		strings.Repeat("NOT ", 1020) + "a=b":          "The expression contains too many operators; operator count: 1000",
		"a" + strings.Repeat(".b", 32) + "=c":         "The document path has too many nesting elements; nesting levels: 33",
		"a[99999999999] = c":                          "List index is not within the allowable range; index: [99999999999]",
	} {
		_, err := p.Condition(FilterParameter, []byte(text), bindingsFor(t, text))
		if got := message(t, err); got != "Invalid FilterExpression: "+want {
			t.Errorf("%.80s:\n got %s\nwant Invalid FilterExpression: %s", text, got, want)
		}
		if err != nil && strings.Contains(err.Error(), "undefined") {
			t.Errorf("%s: %q is not for logs", text, err)
		}
	}
}

// TestConditionLimits: what is just within the limits is taken.
func TestConditionLimits(t *testing.T) {
	p := NewParser(0)
	for _, text := range []string{
		"a IN (" + strings.Repeat(":1,", 99) + ":1)",
		strings.Repeat("a=b OR ", 149) + "NOT a=b",
		"a" + strings.Repeat(".b", 31) + "=c",
		"a = b" + strings.Repeat(" ", 4091),
		strings.Repeat("NOT (", 200) + "a=b" + strings.Repeat(")", 200),
	} {
		if _, err := p.Condition(ConditionParameter, []byte(text), bindingsFor(t, text)); err != nil {
			t.Errorf("%.50s…: %v", text, message(t, err))
		}
	}
}

func TestReservedWords(t *testing.T) {
	if len(reserved) != 573 {
		t.Errorf("%d reserved words, want 573", len(reserved))
	}
	for word := range reserved {
		if len(word) > maxReserved {
			t.Errorf("%s is longer than maxReserved", word)
		}
	}
	for word, want := range map[string]bool{"ABORT": true, "zone": true, "Ttl": true, "localTimestamp": true, "abor": false, "TTLS": false,
		"localtimestamps": false, "": false, "a": false} {
		if isReserved(word) != want {
			t.Errorf("%q: want %v", word, want)
		}
	}
}
