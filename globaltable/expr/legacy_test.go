package expr

import (
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
)

func TestExpected(t *testing.T) {
	it := parseItem(t, sample)
	for text, want := range map[string]bool{
		`{"s":{"Value":{"S":"hello"}}}`:                                                      true,
		`{"s":{"Exists":true,"Value":{"S":"x"}}}`:                                            false,
		`{"s":{"Exists":false}}`:                                                             false,
		`{"gone":{"Exists":false}}`:                                                          true,
		`{"gone":{"Exists":false,"Value":null}}`:                                             true,
		`{"gone":{"Value":{"S":"x"}}}`:                                                       false,
		`{"s":{"ComparisonOperator":"NULL"}}`:                                                false,
		`{"s":{"ComparisonOperator":"NOT_NULL"}}`:                                            true,
		`{"gone":{"ComparisonOperator":"NULL","AttributeValueList":[]}}`:                     true,
		`{"n":{"ComparisonOperator":"EQ","Value":{"N":"10"}}}`:                               true,
		`{"n":{"ComparisonOperator":"EQ","AttributeValueList":[{"N":"10"}]}}`:                true,
		`{"ss":{"ComparisonOperator":"EQ","AttributeValueList":[{"SS":["b","a"]}]}}`:         true,
		`{"n":{"ComparisonOperator":"NE","AttributeValueList":[{"N":"10"}]}}`:                false,
		`{"gone":{"ComparisonOperator":"NE","AttributeValueList":[{"N":"10"}]}}`:             true,
		`{"n":{"ComparisonOperator":"LT","AttributeValueList":[{"N":"11"}]}}`:                true,
		`{"n":{"ComparisonOperator":"LE","AttributeValueList":[{"N":"10"}]}}`:                true,
		`{"n":{"ComparisonOperator":"GT","AttributeValueList":[{"N":"10"}]}}`:                false,
		`{"n":{"ComparisonOperator":"GE","AttributeValueList":[{"N":"10"}]}}`:                true,
		`{"gone":{"ComparisonOperator":"GE","AttributeValueList":[{"N":"10"}]}}`:             false,
		`{"n":{"ComparisonOperator":"BETWEEN","AttributeValueList":[{"N":"1"},{"N":"20"}]}}`: true,
		`{"n":{"ComparisonOperator":"IN","AttributeValueList":[{"N":"1"},{"N":"10"}]}}`:      true,
		`{"n":{"ComparisonOperator":"IN","AttributeValueList":[{"N":"1"}]}}`:                 false,
		`{"s":{"ComparisonOperator":"BEGINS_WITH","AttributeValueList":[{"S":"he"}]}}`:       true,
		`{"s":{"ComparisonOperator":"CONTAINS","AttributeValueList":[{"S":"ll"}]}}`:          true,
		`{"ss":{"ComparisonOperator":"CONTAINS","AttributeValueList":[{"S":"a"}]}}`:          true,
		`{"l":{"ComparisonOperator":"CONTAINS","AttributeValueList":[{"N":"1"}]}}`:           true,
		`{"ss":{"ComparisonOperator":"NOT_CONTAINS","AttributeValueList":[{"S":"a"}]}}`:      false,
		`{"ss":{"ComparisonOperator":"NOT_CONTAINS","AttributeValueList":[{"S":"q"}]}}`:      true,
		`{"gone":{"ComparisonOperator":"NOT_CONTAINS","AttributeValueList":[{"S":"a"}]}}`:    false,
		`{"a.b":{"Value":{"S":"dot"}}}`:                                                      true, // a name, never a path
		`{"s":{"Value":{"S":"hello"}},"n":{"Value":{"N":"9"}}}`:                              false,
		`{"s":{"Value":{"S":"hello"}},"n":{"Value":{"N":"9"}},"|":"OR"}`:                     true,
		`{"s":{"Value":{"S":"hello"}},"n":{"Value":{"N":"9"}},"|":"AND"}`:                    false,
	} {
		o, operator := withOperator(t, text)
		c, err := Expected(o, operator)
		if err != nil {
			t.Errorf("%s: %s", text, message(t, err))
		} else if got := c.Holds(it); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
		// A filter is the same, where it can say it.
		if strings.Contains(text, `"Value":`) || strings.Contains(text, `"Exists":`) {
			continue
		}
		if c, err = Filter("ScanFilter", o, operator); err != nil || c.Holds(it) != want {
			t.Errorf("%s as a filter: %v", text, err)
		}
	}
}

// withOperator parses text and takes the conditional operator, "|", out of it.
func withOperator(t *testing.T, text string) (*fastjson.Object, string) {
	v := parseJSON(t, text)
	operator := string(v.GetStringBytes("|"))
	v.Del("|")
	return v.GetObject(), operator
}

func TestExpectedErrors(t *testing.T) {
	const invalid = "One or more parameter values were invalid: "
	for text, want := range map[string]string{
		`{"a":{"Value":{"S":"x"}},"|":"AND"}`:                                               "ConditionalOperator can only be used when Filter or Expected has two or more elements",
		`{"a":{}}`:                                                                          invalid + "Value must be provided when Exists is null for Attribute: a",
		`{"a":{"Exists":true}}`:                                                             invalid + "Value must be provided when Exists is true for Attribute: a",
		`{"a":{"Exists":false,"Value":{"S":"x"}}}`:                                          invalid + "Value cannot be used when Exists is false for Attribute: a",
		`{"a":{"Exists":false,"ComparisonOperator":"NULL"}}`:                                invalid + "Exists and ComparisonOperator cannot be used together for Attribute: a",
		`{"a":{"Value":{"S":"x"},"AttributeValueList":[]}}`:                                 invalid + "Value and AttributeValueList cannot be used together for Attribute: a",
		`{"a":{"AttributeValueList":[{"S":"x"}]}}`:                                          invalid + "AttributeValueList can only be used with a ComparisonOperator for Attribute: a",
		`{"a":{"ComparisonOperator":"EQ"}}`:                                                 invalid + "Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: a",
		`{"a":{"ComparisonOperator":"EQ","AttributeValueList":[]}}`:                         invalid + "Invalid number of argument(s) for the EQ ComparisonOperator",
		`{"a":{"ComparisonOperator":"NULL","AttributeValueList":[{"S":"x"}]}}`:              invalid + "Invalid number of argument(s) for the NULL ComparisonOperator",
		`{"a":{"ComparisonOperator":"BETWEEN","Value":{"S":"x"}}}`:                          invalid + "Invalid number of argument(s) for the BETWEEN ComparisonOperator",
		`{"a":{"ComparisonOperator":"LT","Value":{"SS":["x"]}}}`:                            invalid + "ComparisonOperator LT is not valid for SS AttributeValue type",
		`{"a":{"ComparisonOperator":"CONTAINS","Value":{"M":{}}}}`:                          invalid + "ComparisonOperator CONTAINS is not valid for M AttributeValue type",
		`{"a":{"ComparisonOperator":"BEGINS_WITH","Value":{"N":"1"}}}`:                      invalid + "ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type",
		`{"a":{"ComparisonOperator":"IN","AttributeValueList":[{"S":"x"},{"N":"1"}]}}`:      invalid + "AttributeValues inside AttributeValueList must be of same type",
		`{"a":{"ComparisonOperator":"BETWEEN","AttributeValueList":[{"N":"2"},{"N":"1"}]}}`: "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound",
		`{"a":{"ComparisonOperator":"LIKE","Value":{"S":"x"}}}`: "1 validation error detected: Value 'LIKE' at 'expected.a.member.comparisonOperator' failed to satisfy constraint: " +
			"Member must satisfy enum value set: [IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS]",
		`{"a":{"Value":{"N":"x"}}}`:                   "The parameter cannot be converted to a numeric value: x",
		`{"a":{"Value":"x"}}`:                         "Unexpected value type in payload",
		`{"a":{"Exists":"x"}}`:                        "Unexpected token received from parser",
		`{"a":{"ComparisonOperator":1}}`:              "NUMBER_VALUE cannot be converted to String",
		`{"a":{"AttributeValueList":"x"}}`:            "Unexpected field type",
		`{"a":"x"}`:                                   "Unexpected value type in payload",
		`{"a":[]}`:                                    "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.ExpectedAttributeValue",
		`{"a":{"Exists":false},"a":{"Exists":false}}`: "A member name appears twice in an object",
	} {
		o, operator := withOperator(t, text)
		_, err := Expected(o, operator)
		if got := message(t, err); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
	if _, err := Expected(nil, "AND"); message(t, err) != "ConditionalOperator cannot be used without Filter or Expected" {
		t.Error(err)
	}
	if c, err := Expected(nil, ""); c != nil || err != nil {
		t.Error(c, err)
	}
	_, err := Filter("QueryFilter", parseJSON(t, `{"a":{"AttributeValueList":[{"S":"x"}]}}`).GetObject(), "")
	if want := "1 validation error detected: Value null at 'queryFilter.a.member.comparisonOperator' failed to satisfy constraint: Member must not be null"; message(t, err) != want {
		t.Error(message(t, err))
	}
}

func TestLegacyKeyConditions(t *testing.T) {
	for text, want := range map[string]string{
		`{"pk":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"x"}]}}`:                                                                                  "pk = S",
		`{"pk":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"x"}]},"sk":{"ComparisonOperator":"BETWEEN","AttributeValueList":[{"N":"1"},{"N":"2"}]}}`: "pk = S, sk between N N",
		`{"pk":{"ComparisonOperator":"BEGINS_WITH","AttributeValueList":[{"S":"x"}]}}`:                                                                         "pk begins S",
		`{"pk":{"ComparisonOperator":"GE","AttributeValueList":[{"S":"x"}]}}`:                                                                                  "pk >= S",
	} {
		k, err := KeyConditions(parseJSON(t, text).GetObject())
		if err != nil {
			t.Errorf("%s: %s", text, message(t, err))
		} else if got := k.text(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		`{}`:        "Conditions can be of length 1 or 2 only",
		`{"pk":{}}`: "1 validation error detected: Value null at 'keyConditions.pk.member.comparisonOperator' failed to satisfy constraint: Member must not be null",
		`{"pk":{"ComparisonOperator":"NE","AttributeValueList":[{"S":"x"}]}}`: "Attempted conditional constraint is not an indexable operation",
		`{"pk":{"ComparisonOperator":"EQ","AttributeValueList":[]}}`:          "One or more parameter values were invalid: Invalid number of argument(s) for the EQ ComparisonOperator",
	} {
		_, err := KeyConditions(parseJSON(t, text).GetObject())
		if got := message(t, err); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestAttributeUpdates(t *testing.T) {
	it := parseItem(t, sample)
	for text, want := range map[string]string{
		`{"s":{"Value":{"S":"x"}}}`: `set s to {"S":"x"}`,
		`{"s":{"Action":"PUT","Value":{"S":"x"}},"c":{"Action":"PUT","Value":{"N":"1"}}}`: `set c to {"N":"1"}; set s to {"S":"x"}`,
		`{"s":{"Action":"DELETE"},"gone":{"Action":"DELETE"}}`:                            `remove gone; remove s`,
		`{"n":{"Action":"ADD","Value":{"N":"-1"}}}`:                                       `add n by {"N":"-1"} to {"N":"9"}`,
		`{"ss":{"Action":"ADD","Value":{"SS":["c"]}}}`:                                    `union ss by {"SS":["c"]} to {"SS":["a","b","c"]}`,
		`{"ss":{"Action":"DELETE","Value":{"SS":["a","b"]}}}`:                             `delete ss by {"SS":["a","b"]}`,
		`{"gone":{"Action":"DELETE","Value":{"SS":["a"]}}}`:                               `delete gone by {"SS":["a"]}`,
		`{"c":{"Action":"ADD","Value":{"L":[{"N":"1"}]}}}`:                                `set c to {"L":[{"N":"1"}]}`,
	} {
		u, err := AttributeUpdates(parseJSON(t, text).GetObject())
		if err != nil {
			t.Errorf("%s: %s", text, message(t, err))
			continue
		}
		got, err := u.Apply(nil, it)
		if err != nil || got.text() != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", text, got.text(), err, want)
		}
		checkUpdated(t, text, it, got)
	}
	for text, want := range map[string]string{
		`{"a":{}}`:               "One or more parameter values were invalid: Only DELETE action is allowed when no attribute value is specified",
		`{"a":{"Action":"ADD"}}`: "One or more parameter values were invalid: Only DELETE action is allowed when no attribute value is specified",
		`{"a":{"Action":"ADD","Value":{"S":"x"}}}`:    "One or more parameter values were invalid: ADD action is not supported for the type S",
		`{"a":{"Action":"DELETE","Value":{"N":"1"}}}`: "One or more parameter values were invalid: DELETE action with value is not supported for the type N",
		`{"a":{"Action":"SET","Value":{"N":"1"}}}`:    "1 validation error detected: Value 'SET' at 'attributeUpdates.a.member.action' failed to satisfy constraint: Member must satisfy enum value set: [ADD, PUT, DELETE]",
		`{"a":1}`: "Unexpected value type in payload",
	} {
		_, err := AttributeUpdates(parseJSON(t, text).GetObject())
		if got := message(t, err); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{`{"s":{"Action":"ADD","Value":{"N":"1"}}}`, `{"n":{"Action":"DELETE","Value":{"SS":["a"]}}}`} {
		u, err := AttributeUpdates(parseJSON(t, text).GetObject())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Apply(nil, it); err != errTypeMismatch {
			t.Errorf("%s: %v", text, err)
		}
	}
	if u, err := AttributeUpdates(parseJSON(t, "{}").GetObject()); u != nil || err != nil {
		t.Error(u, err)
	}
}

func TestAttributesToGet(t *testing.T) {
	p, err := AttributesToGet(parseJSON(t, `["s","gone","a.b"]`).GetArray())
	if err != nil {
		t.Fatal(err)
	}
	if got := string(item.Item(p.Append(nil, parseItem(t, sample))).AppendJSON(nil)); got != `{"a.b":{"S":"dot"},"s":{"S":"hello"}}` {
		t.Error(got)
	}
	for text, want := range map[string]string{
		`["a","b","a"]`: "One or more parameter values were invalid: Duplicate value in attribute name: a",
		`[""]`:          "One or more parameter values were invalid: An attribute name may not be empty",
		`[1]`:           "NUMBER_VALUE cannot be converted to String",
	} {
		_, err := AttributesToGet(parseJSON(t, text).GetArray())
		if got := message(t, err); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
