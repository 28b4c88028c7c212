package dynamodb_test

import (
	"fmt"
	"time"
)

func (g *generator) transactWrite() step {
	list := []any{}
	seen := map[string]bool{}
	for range 1 + g.IntN(4) {
		t := g.table()
		key := g.key(t)
		if k := t.name + jsonOf(key); seen[k] && !g.spoil(3) {
			continue
		} else {
			seen[k] = true
		}
		list = append(list, g.transactOne(t, key))
	}
	if g.spoil(20) {
		list = []any{}
	}
	body := tree{"TransactItems": list}
	g.capacity(body)
	s := step{body: body}
	if g.rarely(4) {
		body["ClientRequestToken"] = fmt.Sprint("token", g.IntN(3))
		s.wait = time.Duration(g.IntN(3)) * 5 * time.Minute
	}
	if g.rarely(6) && g.repeatable != nil {
		s.body = g.repeatable
	} else if body["ClientRequestToken"] != nil {
		g.repeatable = body
	}
	return s
}

// transactOne makes a part of a transaction.
func (g *generator) transactOne(t *tableDraft, key tree) tree {
	e := g.expressions()
	part := tree{"TableName": t.name, "Key": key}
	kind := one(g, "Put", "Put", "Delete", "Update", "Update", "ConditionCheck")
	switch kind {
	case "Put":
		item := g.attributes(g.IntN(4), 2)
		for name, v := range key {
			item[name] = v
		}
		delete(part, "Key")
		part["Item"] = item
	case "Update":
		part["UpdateExpression"] = e.update(t)
	}
	if kind == "ConditionCheck" || g.rarely(3) {
		part["ConditionExpression"] = e.mangled(e.condition(1))
	}
	e.addTo(part)
	g.options(part, "ReturnValuesOnConditionCheckFailure", "ALL_OLD", "NONE")
	out := tree{kind: part}
	switch {
	case g.spoil(20):
		out["Delete"] = tree{"TableName": t.name, "Key": key}
	case g.spoil(20):
		return tree{}
	}
	return out
}

func (g *generator) transactGet() step {
	list := []any{}
	seen := map[string]bool{}
	for range 1 + g.IntN(4) {
		t := g.table()
		get := tree{"TableName": t.name, "Key": g.key(t)}
		if k := jsonOf(get); seen[k] && !g.spoil(3) {
			continue
		} else {
			seen[k] = true
		}
		if g.rarely(3) {
			e := g.expressions()
			get["ProjectionExpression"] = e.projection()
			if len(e.names) > 0 {
				get["ExpressionAttributeNames"] = e.spoiled(e.names, "#", "name")
			}
		}
		list = append(list, tree{"Get": get})
	}
	body := tree{"TransactItems": list}
	g.capacity(body)
	return step{body: body}
}
