package expr

import (
	"fmt"
	"strings"
	"testing"
)

// text renders a key condition.
func (k *KeyCondition) text() string {
	ops := []string{KeyEqual: "=", KeyLess: "<", KeyLessOrEqual: "<=", KeyGreater: ">", KeyGreaterOrEqual: ">=", KeyBetween: "between", KeyBeginsWith: "begins"}
	var terms []string
	for _, t := range k.Terms {
		text := fmt.Sprintf("%s %s", t.Name, ops[t.Op])
		for _, v := range t.Values {
			if v != nil {
				text += " " + v.Type().String()
			}
		}
		terms = append(terms, text)
	}
	return strings.Join(terms, ", ")
}

func TestKeyConditions(t *testing.T) {
	p := NewParser(100)
	for text, want := range map[string]string{
		"pk = :a":                                     "pk = S",
		":1 = pk":                                     "pk = N",
		"(pk = :a)":                                   "pk = S",
		"pk = :a AND sk > :1":                         "pk = S, sk > N",
		"pk = :a AND :1 > sk":                         "pk = S, sk < N",
		"(pk = :a) and (:1 <= sk)":                    "pk = S, sk >= N",
		"pk = :a AND :1 >= sk":                        "pk = S, sk <= N",
		"pk = :a AND :1 < sk":                         "pk = S, sk > N",
		"sk between :1 and :2 AND #s = :bin":          "sk between N N, s = B",
		"begins_with(sk, :a) AND pk = :a":             "sk begins S, pk = S",
		"(a = :1 AND (b = :1 AND c = :a)) AND d < :1": "a = N, b = N, c = S, d < N",
		"a=:1 AND b=:2 AND c=:3 AND d=:4 AND e=:5 AND g<:7": "a = N, b = N, c = N, d = N, e = N, g < N",
	} {
		k, err := p.KeyCondition([]byte(text), bindingsFor(t, text))
		if err != nil {
			t.Errorf("%s: %s", text, message(t, err))
		} else if got := k.text(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"pk = ":                            `Invalid KeyConditionExpression: Syntax error; token: "<EOF>", near: "="`,
		"hash = :a":                        "Invalid KeyConditionExpression: Attribute name is a reserved keyword; reserved keyword: hash",
		"pk = :x":                          "Invalid KeyConditionExpression: An expression attribute value used in expression is not defined; attribute value: :x",
		"pk < :true":                       "Invalid KeyConditionExpression: Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
		"pk = :a OR sk = :a":               "Invalid operator used in KeyConditionExpression: OR",
		"pk = :a AND NOT sk = :a":          "Invalid operator used in KeyConditionExpression: NOT",
		"pk <> :a":                         "Invalid operator used in KeyConditionExpression: <>",
		"pk = :a AND sk IN (:a)":           "Invalid operator used in KeyConditionExpression: IN",
		"attribute_exists(pk)":             "Invalid operator used in KeyConditionExpression: attribute_exists",
		"pk = :a AND contains(sk, :a)":     "Invalid operator used in KeyConditionExpression: contains",
		"size(pk) = :1":                    "Invalid operator used in KeyConditionExpression: size",
		"pk = sk":                          "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition",
		":1 = :2":                          "Invalid condition in KeyConditionExpression: No key attribute specified",
		"begins_with(:a, pk)":              "Invalid condition in KeyConditionExpression: begins_with operator must have the key attribute as its first operand",
		":1 BETWEEN pk AND :2":             "Invalid condition in KeyConditionExpression: BETWEEN operator must have the key attribute as its first operand",
		"pk.x = :a":                        "KeyConditionExpressions cannot have conditions on nested attributes",
		"pk[0] = :a":                       "KeyConditionExpressions cannot have conditions on nested attributes",
		"pk = :a AND sk > :1 AND sk < :2":  "KeyConditionExpressions must only contain one condition per key",
		"s = :a AND #s > :1":               "KeyConditionExpressions must only contain one condition per key",
		"pk = :a AND sk BETWEEN :2 AND :1": "Invalid KeyConditionExpression: The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {N:2}, upper bound operand: AttributeValue: {N:1}",
	} {
		_, err := p.KeyCondition([]byte(text), bindingsFor(t, text))
		if got := message(t, err); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
}
