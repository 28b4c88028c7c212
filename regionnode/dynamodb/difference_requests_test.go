package dynamodb_test

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// tableDraft is a table that requests are about.
type tableDraft struct {
	name       string
	keys       []keyDraft // the partition key, and the sort key if there is one
	indexes    []indexDraft
	parameters tree // of CreateTable

	provisioned bool // as far as the requests that were made say
}

type keyDraft struct{ name, kind string }

type indexDraft struct {
	name       string
	local      bool
	keys       []keyDraft
	sorts      int // how many of keys are of the order
	projection tree
}

func (x *indexDraft) create() tree {
	schema := []any{}
	for i, k := range x.keys {
		kind := "HASH"
		if i >= len(x.keys)-x.sorts {
			kind = "RANGE"
		}
		schema = append(schema, tree{"AttributeName": k.name, "KeyType": kind})
	}
	return tree{"IndexName": x.name, "KeySchema": schema, "Projection": x.projection}
}

func (t *tableDraft) create() tree {
	definitions, schema := []any{}, []any{}
	for i, k := range t.keys {
		definitions = append(definitions, tree{"AttributeName": k.name, "AttributeType": k.kind})
		schema = append(schema, tree{"AttributeName": k.name, "KeyType": []string{"HASH", "RANGE"}[i]})
	}
	defined := map[string]bool{}
	for _, k := range t.keys {
		defined[k.name] = true
	}
	out := tree{"TableName": t.name, "KeySchema": schema, "BillingMode": "PAY_PER_REQUEST"}
	for i := range t.indexes {
		x := &t.indexes[i]
		parameter := "GlobalSecondaryIndexes"
		if x.local {
			parameter = "LocalSecondaryIndexes"
		}
		list, _ := out[parameter].([]any)
		out[parameter] = append(list, x.create())
		for _, k := range x.keys {
			if !defined[k.name] {
				defined[k.name] = true
				definitions = append(definitions, tree{"AttributeName": k.name, "AttributeType": k.kind})
			}
		}
	}
	out["AttributeDefinitions"] = definitions
	maps.Copy(out, t.parameters)
	return out
}

// drafts are the tables of every run.
func drafts() []tableDraft {
	return []tableDraft{
		{name: "hash", keys: []keyDraft{{"pk", "S"}}},
		{name: "sorted", keys: []keyDraft{{"pk", "S"}, {"sk", "N"}}},
		{name: "binary", keys: []keyDraft{{"pk", "N"}, {"sk", "B"}}},
		{name: "indexed", keys: []keyDraft{{"pk", "S"}, {"sk", "N"}}, indexes: []indexDraft{
			{name: "local", local: true, keys: []keyDraft{{"pk", "S"}, {"a", "N"}}, sorts: 1, projection: tree{"ProjectionType": "ALL"}},
			{name: "local-keys", local: true, keys: []keyDraft{{"pk", "S"}, {"b", "S"}}, sorts: 1, projection: tree{"ProjectionType": "KEYS_ONLY"}},
			{name: "global", keys: []keyDraft{{"b", "S"}}, projection: tree{"ProjectionType": "ALL"}},
			{name: "global-sorted", keys: []keyDraft{{"b", "S"}, {"a", "N"}}, sorts: 1, projection: tree{"ProjectionType": "INCLUDE", "NonKeyAttributes": []any{"c"}}},
			{name: "global-keys", keys: []keyDraft{{"sk", "N"}, {"pk", "S"}}, sorts: 1, projection: tree{"ProjectionType": "KEYS_ONLY"}},
			{name: "global-many", keys: []keyDraft{{"a", "N"}, {"b", "S"}, {"sk", "N"}, {"d", "S"}}, sorts: 2, projection: tree{"ProjectionType": "ALL"}},
		}},
	}
}

// steps makes the requests of a run: first its tables, then n at random.
func (g *generator) steps(n int) []step {
	g.tables = drafts()
	var out []step
	for i := range g.tables {
		body := g.tables[i].create()
		if !g.rarely(4) {
			body["StreamSpecification"] = g.stream()
		}
		out = append(out, step{operation: "CreateTable", body: body})
	}
	for range n {
		out = append(out, g.step())
	}
	return out
}

// weight says how often an operation is asked for, among the others.
type weight struct {
	operation string
	weight    int
	make      func(g *generator) step
}

var weights = []weight{
	{"PutItem", 12, (*generator).putItem},
	{"GetItem", 6, (*generator).getItem},
	{"DeleteItem", 4, (*generator).deleteItem},
	{"UpdateItem", 14, (*generator).updateItem},
	{"Query", 8, (*generator).query},
	{"Scan", 5, (*generator).scan},
	{"TransactWriteItems", 5, (*generator).transactWrite},
	{"TransactGetItems", 2, (*generator).transactGet},
	{"BatchWriteItem", 3, (*generator).batchWrite},
	{"BatchGetItem", 3, (*generator).batchGet},
	{"ExecuteStatement", 14, (*generator).executeStatement},
	{"BatchExecuteStatement", 3, (*generator).batchExecute},
	{"ExecuteTransaction", 4, (*generator).executeTransaction},
	{"CreateTable", 2, (*generator).createTable},
	{"UpdateTable", 4, (*generator).updateTable},
	{"DescribeTable", 2, (*generator).nameTable},
	{"ListTables", 1, (*generator).listTables},
	{"DeleteTable", 1, (*generator).deleteTable},
	{"UpdateTimeToLive", 2, (*generator).updateTimeToLive},
	{"DescribeTimeToLive", 1, (*generator).nameTable},
	{"TagResource", 1, (*generator).tagResource},
	{"UntagResource", 1, (*generator).untagResource},
	{"ListTagsOfResource", 1, (*generator).nameResource},
	{"ListStreams", 1, (*generator).listStreams},
	{"DescribeStream", 1, (*generator).describeStream},
	{"GetShardIterator", 1, (*generator).getShardIterator},
	{"GetRecords", 4, (*generator).getRecords},
}

func (g *generator) step() step {
	// Most requests are valid as far as parameters go; some have a fault, and a few have two, of which the right one has to be reported.
	g.faults = one(g, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2)
	var makers []int
	for i, w := range weights {
		makers = append(makers, slices.Repeat([]int{i}, w.weight)...)
	}
	w := weights[one(g, makers...)]
	s := w.make(g)
	s.operation = w.operation
	g.mutate(s.body)
	if g.rarely(10) {
		s.wait = time.Duration(g.IntN(5)) * time.Second
	}
	g.elapsed += s.wait
	return s
}

// mutate spoils a parameter of a request: takes it away, or makes it something else.
func (g *generator) mutate(body tree) {
	for g.faults > 0 && g.spoil(2) {
		names := slices.Sorted(maps.Keys(body))
		if len(names) == 0 {
			return
		}
		name := one(g, names...)
		switch v := body[name].(type) {
		case string:
			body[name] = one[any](g, nil, "x", "x;", padded(256), "UNKNOWN")
			if g.rarely(6) {
				g.faults = 0
				body[name] = one[any](g, 1, 1.5, true, false, []any{}, tree{})
			}
		case bool:
			body[name] = one[any](g, nil, !v, "x", 1)
		case int:
			body[name] = one[any](g, nil, 0, -1, 1.5, v+1, 1000001, "1", true)
		default:
			body[name] = nil
		}
	}
}

// table picks a table that exists most of the time.
func (g *generator) table() *tableDraft {
	t := one(g, g.tables...)
	if g.spoil(25) {
		t.name = "nobody"
	}
	return &t
}

func (g *generator) key(t *tableDraft) tree {
	out := tree{}
	for _, k := range t.keys {
		if g.spoil(25) {
			continue
		}
		out[k.name] = g.keyValue(k.kind)
	}
	if g.spoil(25) {
		out[g.name()] = g.value(0)
	}
	return out
}

func (g *generator) item(t *tableDraft) tree {
	out := g.attributes(g.IntN(5), 3)
	for _, k := range t.keys {
		if !g.spoil(25) {
			out[k.name] = g.keyValue(k.kind)
		}
	}
	g.indexKeys(t, out)
	if g.rarely(4) {
		const year = 365 * 24 * 60 * 60
		out["expires"] = tree{"N": fmt.Sprint(firstSecond+int(g.elapsed.Seconds())+one(g, -6*year, -10, 0, 1, 2, 10, 100), one(g, "", "", ".5"))}
	}
	switch {
	case g.spoil(40):
		out["big"] = tree{"S": padded(one(g, 400*1024-200, 400*1024+1))}
	case g.rarely(100): // a few of them fill a page
		out["big"] = tree{"S": padded(300_000 + g.IntN(90_000))}
	}
	return out
}

// indexKeys gives the attributes of indexes' keys values that may be there, mostly.
func (g *generator) indexKeys(t *tableDraft, item tree) {
	for _, x := range t.indexes {
		for _, k := range x.keys {
			if item[k.name] != nil && !g.spoil(20) || g.rarely(4) {
				item[k.name] = g.keyValue(k.kind)
			}
		}
	}
}

// options adds parameters that change what is answered.
func (g *generator) options(body tree, name string, values ...any) {
	if g.rarely(3) {
		body[name] = one(g, values...)
	}
}

func (g *generator) capacity(body tree) {
	g.options(body, "ReturnConsumedCapacity", "TOTAL", "INDEXES", "NONE")
}

func (g *generator) putItem() step {
	t := g.table()
	body := tree{"TableName": t.name, "Item": g.item(t)}
	g.writeOptions(body)
	return step{body: body}
}

func (g *generator) deleteItem() step {
	t := g.table()
	body := tree{"TableName": t.name, "Key": g.key(t)}
	g.writeOptions(body)
	return step{body: body}
}

// updateItem makes an update, in the new style or the old.
func (g *generator) updateItem() step {
	t := g.table()
	body := tree{"TableName": t.name, "Key": g.key(t)}
	e := g.expressions()
	if g.rarely(5) {
		g.attributeUpdates(body, t)
		if g.rarely(3) {
			g.expected(body)
		}
		if g.spoil(6) {
			body["UpdateExpression"] = e.update(t)
		}
	} else {
		if !g.rarely(15) {
			body["UpdateExpression"] = e.update(t)
		}
		if g.rarely(3) {
			body["ConditionExpression"] = e.mangled(e.condition(2))
		}
	}
	e.addTo(body)
	g.capacity(body)
	g.options(body, "ReturnValues", "ALL_OLD", "NONE", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW")
	g.options(body, "ReturnValuesOnConditionCheckFailure", "ALL_OLD", "NONE")
	return step{body: body}
}

// condition adds a condition, in the new style or the old.
func (g *generator) condition(body tree) {
	e := g.expressions()
	switch g.IntN(6) {
	case 0, 1:
		body["ConditionExpression"] = e.mangled(e.condition(2))
	case 2:
		g.expected(body)
		if g.spoil(6) {
			body["ConditionExpression"] = e.condition(0)
		}
	}
	e.addTo(body)
}

// projection adds a projection, in the new style or the old.
func (g *generator) projection(body tree, e *expressions) {
	switch g.IntN(6) {
	case 0, 1:
		body["ProjectionExpression"] = e.projection()
	case 2:
		if len(e.names)+len(e.values) == 0 {
			body["AttributesToGet"] = g.attributesToGet()
		}
	}
}

func (g *generator) writeOptions(body tree) {
	g.condition(body)
	g.capacity(body)
	g.options(body, "ReturnValues", "ALL_OLD", "NONE")
	if g.spoil(10) {
		body["ReturnValues"] = one[any](g, "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW", "ANY")
	}
	if g.rarely(10) {
		body["ReturnItemCollectionMetrics"] = one(g, "SIZE", "NONE")
	}
	if g.rarely(10) {
		body["ReturnValuesOnConditionCheckFailure"] = one(g, "ALL_OLD", "NONE")
	}
}

func (g *generator) getItem() step {
	t := g.table()
	body := tree{"TableName": t.name, "Key": g.key(t)}
	g.capacity(body)
	g.options(body, "ConsistentRead", true, false)
	e := g.expressions()
	g.projection(body, e)
	e.addTo(body)
	return step{body: body}
}

func (g *generator) scan() step {
	t, keys, body := g.walk()
	if g.rarely(4) {
		total := 1 + g.IntN(4)
		body["TotalSegments"], body["Segment"] = total, g.IntN(total)
		if g.spoil(3) {
			body["Segment"] = total
		}
	}
	e := g.expressions()
	g.filter(body, e, "ScanFilter")
	e.addTo(body)
	g.startKey(body, t, keys)
	return step{body: body, pages: g.rarely(2)}
}

func (g *generator) query() step {
	t, keys, body := g.walk()
	e := g.expressions()
	if g.rarely(5) {
		g.keyConditions(body, keys)
		if g.rarely(2) {
			g.filter(body, e, "QueryFilter")
		}
	} else {
		body["KeyConditionExpression"] = e.keyCondition(keys)
		if g.rarely(2) {
			g.filter(body, e, "")
		}
	}
	e.addTo(body)
	g.options(body, "ScanIndexForward", true, false)
	g.startKey(body, t, keys)
	return step{body: body, pages: g.rarely(2)}
}

// walk makes what Query and Scan have in common, on a table or on one of its indexes, whose key it returns.
func (g *generator) walk() (t *tableDraft, keys []keyDraft, body tree) {
	t = g.table()
	keys = t.keys
	body = tree{"TableName": t.name}
	global := false
	if len(t.indexes) > 0 && !g.rarely(3) {
		x := one(g, t.indexes...)
		body["IndexName"], keys, global = x.name, x.keys, !x.local
	}
	if g.spoil(25) {
		body["IndexName"] = "nothing"
	}
	g.capacity(body)
	g.options(body, "Limit", 1, 2, 3, 100)
	if global && !g.spoil(4) { // which has no consistent reads, and may not have all attributes
		g.options(body, "Select", "COUNT", "ALL_PROJECTED_ATTRIBUTES")
	} else {
		g.options(body, "ConsistentRead", true, false)
		g.options(body, "Select", "COUNT", "ALL_ATTRIBUTES")
	}
	if g.spoil(8) {
		body["Select"] = one(g, "SPECIFIC_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES")
	}
	return t, keys, body
}

// filter adds a filter and a projection, in the new style or, if the parameter is named, the old.
func (g *generator) filter(body tree, e *expressions, legacy string) {
	switch {
	case legacy != "" && g.rarely(4):
		conditions := g.conditions()
		body[legacy] = conditions
		g.operator(body, conditions)
		return
	case g.rarely(2):
		body["FilterExpression"] = e.mangled(e.condition(2))
	}
	if body["Select"] == nil || g.spoil(4) {
		g.projection(body, e)
		if (body["ProjectionExpression"] != nil || body["AttributesToGet"] != nil) && g.rarely(3) {
			body["Select"] = "SPECIFIC_ATTRIBUTES"
		}
	}
}

func (g *generator) startKey(body tree, t *tableDraft, keys []keyDraft) {
	if !g.rarely(5) {
		return
	}
	key := g.key(t)
	for _, k := range keys {
		if key[k.name] == nil {
			key[k.name] = g.keyValue(k.kind)
		}
	}
	body["ExclusiveStartKey"] = key
}

func (g *generator) batchWrite() step {
	requests := tree{}
	for range 1 + g.IntN(3) {
		t := g.table()
		list := []any{}
		seen := map[string]bool{} // of keys: most batches have each only once
		n := 1 + g.IntN(5)
		if g.spoil(15) {
			n = 26
		}
		for range n {
			one := g.batchWriteOne(t)
			if k := jsonOf(one); !seen[k] || g.spoil(4) {
				seen[k] = true
				list = append(list, one)
			}
		}
		requests[t.name] = list
	}
	body := tree{"RequestItems": requests}
	g.capacity(body)
	return step{body: body}
}

func (g *generator) batchWriteOne(t *tableDraft) tree {
	put, del := tree{"PutRequest": tree{"Item": g.item(t)}}, tree{"DeleteRequest": tree{"Key": g.key(t)}}
	switch {
	case g.spoil(20):
		return tree{}
	case g.spoil(20):
		maps.Copy(put, del)
	case g.spoil(20):
		return tree{"PutRequest": tree{}}
	case g.rarely(3):
		return del
	}
	return put
}

func (g *generator) batchGet() step {
	requests := tree{}
	for range 1 + g.IntN(3) {
		t := g.table()
		keys := []any{}
		seen := map[string]bool{}
		for range 1 + g.IntN(6) {
			key := g.key(t)
			if k := jsonOf(key); !seen[k] || g.spoil(4) {
				seen[k] = true
				keys = append(keys, key)
			}
		}
		if g.spoil(15) {
			keys = []any{}
		}
		r := tree{"Keys": keys}
		g.options(r, "ConsistentRead", true, false)
		e := g.expressions()
		g.projection(r, e)
		if len(e.names) > 0 {
			r["ExpressionAttributeNames"] = e.spoiled(e.names, "#", "name")
		}
		requests[t.name] = r
	}
	body := tree{"RequestItems": requests}
	g.capacity(body)
	return step{body: body}
}
