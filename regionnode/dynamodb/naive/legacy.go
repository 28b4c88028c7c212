package naive

import (
	"maps"
	"slices"
	"strings"
)

// The legacy parameters say the same as expressions do, so they become parsed expressions that are bound already.

var comparisonOperators = "IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS"

// arguments says how many values an operator takes, and of which kinds.
var arguments = map[string]struct {
	least, most int
	kinds       []string // nil: all
}{
	"NULL": {0, 0, nil}, "NOT_NULL": {0, 0, nil},
	"EQ": {1, 1, nil}, "NE": {1, 1, nil},
	"LT": {1, 1, scalars}, "LE": {1, 1, scalars}, "GT": {1, 1, scalars}, "GE": {1, 1, scalars},
	"CONTAINS": {1, 1, []string{"S", "N", "B", "BOOL", "NULL"}}, "NOT_CONTAINS": {1, 1, []string{"S", "N", "B", "BOOL", "NULL"}},
	"BEGINS_WITH": {1, 1, []string{"S", "B"}},
	"IN":          {1, 100, scalars},
	"BETWEEN":     {2, 2, scalars},
}

var scalars = []string{"S", "N", "B"}

func decodeList(list []any) ([]value, error) {
	var values []value
	for _, e := range list {
		v, err := decodeValue(e, 1)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// decodeArguments decodes the AttributeValueList of a condition and checks it against the operator.
func decodeArguments(operator string, list []any) ([]value, error) {
	values, err := decodeList(list)
	if err != nil {
		return nil, err
	}
	return values, checkArguments(operator, values)
}

// checkArguments checks the values of a condition against the operator.
func checkArguments(operator string, values []value) error {
	want := arguments[operator]
	if len(values) < want.least || len(values) > want.most {
		return wrongValue("Invalid number of argument(s) for the %s ComparisonOperator", operator)
	}
	for _, v := range values {
		if want.kinds != nil && !slices.Contains(want.kinds, v.kind) {
			return wrongValue("ComparisonOperator %s is not valid for %s AttributeValue type", operator, v.kind)
		}
	}
	if operator == "IN" || operator == "BETWEEN" {
		if slices.ContainsFunc(values, func(v value) bool { return v.kind != values[0].kind }) {
			return wrongValue("AttributeValues inside AttributeValueList must be of same type")
		}
	}
	if operator == "BETWEEN" && compare(values[0], values[1]) > 0 {
		return invalid("The BETWEEN condition was provided a range where the lower bound is greater than the upper bound")
	}
	return nil
}

// legacyCondition returns the condition that an operator makes with the attribute.
func legacyCondition(name, operator string, values []value) *node {
	args := []*node{{op: "path", steps: []step{{name: name}}}}
	for _, v := range values {
		args = append(args, &node{op: "value", value: v})
	}
	call := func(function string) *node { return &node{op: "call", name: function, args: args} }
	switch operator {
	case "NULL":
		return call("attribute_not_exists")
	case "NOT_NULL":
		return call("attribute_exists")
	case "BEGINS_WITH":
		return call("begins_with")
	case "CONTAINS":
		return call("contains")
	case "NOT_CONTAINS":
		// Only of an attribute that is there.
		return &node{op: "AND", args: []*node{{op: "call", name: "attribute_exists", args: args[:1]}, {op: "NOT", args: []*node{call("contains")}}}}
	case "BETWEEN", "IN":
		return &node{op: operator, args: args}
	}
	return &node{op: map[string]string{"EQ": "=", "NE": "<>", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}[operator], args: args}
}

// joined joins conditions by ConditionalOperator, which is AND unless it says OR, and may be there only if there is something to join; nil if there are none.
func joined(p object, conditions []*node) (*node, error) {
	op, given := p["ConditionalOperator"].(string)
	switch {
	case given && len(conditions) == 0:
		return nil, invalid("ConditionalOperator cannot be used without Filter or Expected")
	case given && len(conditions) == 1:
		return nil, invalid("ConditionalOperator can only be used when Filter or Expected has two or more elements")
	case !given:
		op = "AND"
	}
	var out *node
	for _, c := range conditions {
		if out == nil {
			out = c
		} else {
			out = &node{op: op, args: []*node{out, c}}
		}
	}
	return out, nil
}

// expected decodes the parameter Expected.
func expected(p object) (*node, error) {
	conditions, _ := p["Expected"].(object)
	var list []*node
	for _, name := range slices.Sorted(maps.Keys(conditions)) {
		c, err := expectedOne(name, conditions[name].(object))
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return joined(p, list)
}

func expectedOne(name string, c object) (*node, error) {
	operator, hasOperator := c["ComparisonOperator"].(string)
	list, hasList := c["AttributeValueList"].([]any)
	single, hasValue := c["Value"]
	exists, hasExists := c["Exists"].(bool)
	if hasValue {
		list = append([]any{single}, list...)
	}
	values, err := decodeList(list)
	if err != nil {
		return nil, err
	}
	switch {
	case hasList && hasValue:
		return nil, wrongValue("Value and AttributeValueList cannot be used together for Attribute: %s", name)
	case hasOperator && hasExists:
		return nil, wrongValue("Exists and ComparisonOperator cannot be used together for Attribute: %s", name)
	case hasOperator && operator != "NULL" && operator != "NOT_NULL" && !hasList && !hasValue:
		return nil, wrongValue("Value or AttributeValueList must be used with ComparisonOperator: %s for Attribute: %s", operator, name)
	case hasOperator:
		if err := checkArguments(operator, values); err != nil {
			return nil, err
		}
		return legacyCondition(name, operator, values), nil
	case hasList:
		return nil, wrongValue("AttributeValueList can only be used with a ComparisonOperator for Attribute: %s", name)
	case !hasValue && (!hasExists || exists):
		told := "null"
		if hasExists {
			told = "true"
		}
		return nil, wrongValue("Value must be provided when Exists is %s for Attribute: %s", told, name)
	case hasValue && hasExists && !exists:
		return nil, wrongValue("Value cannot be used when Exists is false for Attribute: %s", name)
	case !hasValue:
		return legacyCondition(name, "NULL", nil), nil
	}
	return legacyCondition(name, "EQ", values), nil
}

// filter decodes QueryFilter or ScanFilter.
func filter(p object, parameter string) (*node, error) {
	conditions, _ := p[parameter].(object)
	var list []*node
	for _, name := range slices.Sorted(maps.Keys(conditions)) {
		c := conditions[name].(object)
		operator := c["ComparisonOperator"].(string)
		values, err := decodeArguments(operator, listOrNone(c["AttributeValueList"]))
		if err != nil {
			return nil, err
		}
		list = append(list, legacyCondition(name, operator, values))
	}
	return joined(p, list)
}

func listOrNone(v any) []any {
	list, _ := v.([]any)
	return list
}

// attributeUpdates decodes AttributeUpdates.
func attributeUpdates(p object) ([]action, error) {
	updates, _ := p["AttributeUpdates"].(object)
	var out []action
	for _, name := range slices.Sorted(maps.Keys(updates)) {
		a, err := attributeUpdate(name, updates[name].(object))
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func attributeUpdate(name string, u object) (action, error) {
	verb, ok := u["Action"].(string)
	if !ok {
		verb = "PUT"
	}
	a := action{legacy: true, verb: map[string]string{"PUT": "SET", "ADD": "ADD", "DELETE": "DELETE"}[verb], path: &node{op: "path", steps: []step{{name: name}}}}
	if u["Value"] == nil {
		if verb != "DELETE" {
			return a, wrongValue("Only DELETE action is allowed when no attribute value is specified")
		}
		a.verb = "REMOVE"
		return a, nil
	}
	v, err := decodeValue(u["Value"], 1)
	if err != nil {
		return a, err
	}
	a.value = &node{op: "value", value: v}
	switch {
	case verb == "DELETE" && !isSet(v.kind):
		return a, wrongValue("DELETE action with value is not supported for the type %s", v.kind)
	case verb == "ADD" && v.kind != "N" && v.kind != "L" && !isSet(v.kind):
		return a, wrongValue("ADD action is not supported for the type %s", v.kind)
	}
	return a, nil
}

// attributesToGet decodes AttributesToGet; nil if there is none.
func attributesToGet(p object) ([][]step, error) {
	list, ok := p["AttributesToGet"].([]any)
	if !ok {
		return nil, nil
	}
	var out [][]step
	for i, name := range list {
		if slices.Contains(list[:i], name) {
			return nil, wrongValue("Duplicate value in attribute name: %s", name)
		}
		out = append(out, []step{{name: name.(string)}})
	}
	return out, nil
}

// parameters says which parameters of an operation are expressions, which of these may have values, and which parameters expressions replace.
type parameters struct{ expressions, withValues, legacy []string }

// bindings checks that a request has either expressions or legacy parameters, and takes names and values for its expressions.
func (of parameters) bindings(p object) (*bindings, error) {
	given := func(names []string) (out []string) {
		for _, name := range names {
			if p[name] != nil {
				out = append(out, name)
			}
		}
		return out
	}
	expressions, legacy := given(of.expressions), given(of.legacy)
	switch {
	case len(expressions) > 0 && len(legacy) > 0:
		return nil, invalid("Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {%s} Expression parameters: {%s}",
			commas(legacy), commas(expressions))
	case len(expressions) == 0 && p["ExpressionAttributeNames"] != nil:
		return nil, invalid("ExpressionAttributeNames can only be specified when using expressions")
	}
	b := &bindings{names: map[string]string{}, values: map[string]value{}, usedNames: map[string]bool{}, usedValues: map[string]bool{}}
	if err := b.setNames(p); err != nil {
		return nil, err
	}
	if p["ExpressionAttributeValues"] != nil && len(given(of.withValues)) == 0 {
		verb := " is null"
		if len(of.withValues) > 1 {
			verb = " are null"
		}
		return nil, invalid("ExpressionAttributeValues can only be specified when using expressions: %s%s", strings.Join(of.withValues, " and "), verb)
	}
	return b, b.setValues(p)
}

func commas(list []string) string { return strings.Join(list, ", ") }
