package dynamodb_test

import (
	"fmt"
	"slices"
)

// The legacy parameters, from before there were expressions.

var comparisons = []string{"EQ", "NE", "LT", "LE", "GT", "GE", "IN", "BETWEEN", "CONTAINS", "NOT_CONTAINS", "BEGINS_WITH", "NULL", "NOT_NULL"}

// comparison makes an operator and its values.
func (g *generator) comparison() (operator string, values []any) {
	operator = one(g, comparisons...)
	switch operator {
	case "NULL", "NOT_NULL":
	case "IN":
		values = []any{g.valueOf("S", 0), g.valueOf("S", 0)}
	case "BETWEEN":
		values = []any{tree{"N": one(g, "-1", "1")}, tree{"N": one(g, "1", "10")}}
	case "BEGINS_WITH":
		values = []any{g.valueOf(one(g, "S", "B"), 0)}
	case "EQ", "NE":
		values = []any{g.value(2)}
	default:
		values = []any{g.valueOf(one(g, "S", "N", "B"), 0)}
	}
	if g.spoil(10) {
		switch len(values) {
		case 0:
			values = append(values, g.value(0))
		case 1:
			values = one(g, []any{}, []any{values[0], values[0]}, []any{g.value(1)})
		default:
			values = one(g, []any{}, []any{values[1], values[0]}, []any{values[0], tree{"BOOL": true}}, []any{values[0], tree{"B": "YQ=="}})
		}
	}
	return operator, values
}

// conditions makes the conditions of a filter.
func (g *generator) conditions() tree {
	out := tree{}
	for range 1 + g.IntN(2) {
		operator, values := g.comparison()
		if g.spoil(20) {
			operator = "LIKE"
		}
		c := tree{"ComparisonOperator": operator}
		if values != nil || g.rarely(3) {
			c["AttributeValueList"] = slices.Concat([]any{}, values)
		}
		out[g.name()] = c
	}
	return out
}

// operator adds ConditionalOperator, as it may be where there are several conditions.
func (g *generator) operator(body tree, conditions tree) {
	if len(conditions) > 1 && g.rarely(2) || g.spoil(20) {
		body["ConditionalOperator"] = one(g, "AND", "OR")
	}
}

// expected adds Expected.
func (g *generator) expected(body tree) {
	out := tree{}
	for range 1 + g.IntN(2) {
		out[g.name()] = g.expectation()
	}
	body["Expected"] = out
	g.operator(body, out)
}

func (g *generator) expectation() tree {
	if g.spoil(6) {
		v := g.value(0)
		return one(g, tree{}, tree{"Exists": true}, tree{"Exists": false, "Value": v}, tree{"ComparisonOperator": "EQ"}, tree{"AttributeValueList": []any{v}},
			tree{"Value": v, "AttributeValueList": []any{v}}, tree{"Exists": true, "ComparisonOperator": "NULL"}, tree{"ComparisonOperator": "EQ", "Exists": true, "Value": v})
	}
	switch g.IntN(4) {
	case 0:
		return tree{"Exists": false}
	case 1:
		return tree{"Value": g.value(1)}
	case 2:
		return tree{"Exists": true, "Value": g.value(1)}
	}
	operator, values := g.comparison()
	out := tree{"ComparisonOperator": operator}
	if len(values) == 1 && g.rarely(2) {
		out["Value"] = values[0]
	} else if values != nil {
		out["AttributeValueList"] = values
	}
	return out
}

// attributeUpdates adds AttributeUpdates.
func (g *generator) attributeUpdates(body tree, t *tableDraft) {
	out := tree{}
	for range 1 + g.IntN(3) {
		u := tree{}
		switch verb := one(g, "PUT", "ADD", "DELETE", ""); verb {
		case "ADD":
			u["Action"], u["Value"] = verb, g.valueOf(one(g, "N", "SS", "NS", "L"), 1)
		case "DELETE":
			u["Action"] = verb
			if g.rarely(2) {
				u["Value"] = g.valueOf(one(g, "SS", "NS"), 0)
			}
		case "PUT":
			u["Action"], u["Value"] = verb, g.value(2)
		default:
			u["Value"] = g.value(2)
		}
		if g.spoil(10) {
			delete(u, "Value")
		}
		if g.spoil(10) {
			u["Value"] = g.value(1)
		}
		name := g.name()
		if g.spoil(12) {
			name = t.keys[0].name
		}
		out[name] = u
	}
	body["AttributeUpdates"] = out
}

// keyConditions adds KeyConditions.
func (g *generator) keyConditions(body tree, keys []keyDraft) {
	out := tree{keys[0].name: tree{"ComparisonOperator": "EQ", "AttributeValueList": []any{g.keyValue(keys[0].kind)}}}
	if len(keys) > 1 && g.rarely(2) {
		operator := one(g, "EQ", "LT", "LE", "GT", "GE", "BETWEEN", "BEGINS_WITH")
		if operator == "BEGINS_WITH" && keys[1].kind == "N" {
			operator = "GT"
		}
		values := []any{g.keyValue(keys[1].kind)}
		if operator == "BETWEEN" {
			values = []any{values[0], values[0]}
		}
		if g.spoil(10) {
			operator = one(g, "NE", "CONTAINS", "NULL", "IN")
		}
		out[keys[1].name] = tree{"ComparisonOperator": operator, "AttributeValueList": values}
	}
	switch {
	case g.spoil(12):
		delete(out, keys[0].name)
	case g.spoil(12):
		out[keys[0].name].(tree)["ComparisonOperator"] = one(g, "GT", "NE", "BEGINS_WITH")
	case g.spoil(12):
		out["a"] = tree{"ComparisonOperator": "EQ", "AttributeValueList": []any{g.value(0)}}
	}
	body["KeyConditions"] = out
}

// attributesToGet returns the parameter.
func (g *generator) attributesToGet() []any {
	var out []any
	for range 1 + g.IntN(3) {
		if name := any(g.name()); !slices.Contains(out, name) || g.spoil(3) {
			out = append(out, name)
		}
	}
	return out
}

// keyCondition writes a key condition.
func (e *expressions) keyCondition(keys []keyDraft) string {
	g := e.g
	partition := fmt.Sprintf("%s = %s", e.named(keys[0].name), e.value(g.keyValue(keys[0].kind)))
	if g.spoil(10) {
		partition = one(g, e.named(keys[0].name)+" > "+e.value(g.keyValue(keys[0].kind)), "a = "+e.value(g.keyValue("S")), partition+" OR "+partition,
			"attribute_exists("+keys[0].name+")", partition+" AND "+partition, "NOT "+partition, keys[0].name+".a = "+e.value(g.keyValue("S")))
	}
	if len(keys) == 1 || g.rarely(2) {
		if g.spoil(10) {
			partition += " AND a = " + e.value(g.value(0))
		}
		return e.mangled(partition)
	}
	sort := e.named(keys[1].name)
	text := ""
	switch v := e.value(g.keyValue(keys[1].kind)); g.IntN(4) {
	case 0:
		text = fmt.Sprintf("%s BETWEEN %s AND %s", sort, v, v)
	case 1:
		if keys[1].kind == "N" {
			text = v + " >= " + sort
		} else {
			text = fmt.Sprintf("begins_with(%s, %s)", sort, v)
		}
	default:
		text = fmt.Sprintf("%s %s %s", sort, one(g, "=", "<", "<=", ">", ">="), v)
	}
	return e.mangled(one(g, partition+" AND "+text, text+" AND "+partition, "("+partition+") AND ("+text+")"))
}
