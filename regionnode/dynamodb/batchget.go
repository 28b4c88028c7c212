package dynamodb

import (
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	maxBatchGets = 100
	// maxBatchGetBytes is the size of items at which a BatchGetItem ends; what is left is unprocessed.
	maxBatchGetBytes = 16 << 20
)

// batchGet has the keys of one table of a BatchGetItem.
type batchGet struct {
	table      string
	raw        *fastjson.Object // KeysAndAttributes, for UnprocessedKeys
	keyList    []*fastjson.Value
	names      []item.Item // the keys as items
	keys       []item.Key
	id         commit.Key // the table's part
	consistent bool
	units      float64
}

// batchGetRequest has the parameters of BatchGetItem.
type batchGetRequest struct {
	items    *fastjson.Object
	capacity text
	tables   []*batchGet
	keys     int
	names    bool
	refused  string
	held     error
}

func (r *batchGetRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "RequestItems":
		return parseObject(&r.items, v, "java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.KeysAndAttributes>")
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	}
	return nil
}

func (c *call) batchGetItem(p *fastjson.Object) error {
	var r batchGetRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	units, err := r.check()
	if err != nil {
		return err
	}
	for _, t := range r.tables {
		if err := c.resolveGet(t); err != nil {
			return err
		}
	}
	return c.answerBatchGet(&r, units)
}

// check parses the keys and checks the request's parameters.
func (r *batchGetRequest) check() (units capacity, err error) {
	var check constraints
	units = check.capacity(r.capacity)
	if check.present(r.items != nil, "requestItems") {
		if r.items.Len() == 0 {
			check.fail("'{}'", "requestItems", "Member must have length greater than or equal to 1")
		}
		if r.items.Len() > maxBatchGets {
			check.fail("'{...}'", "requestItems", "Member must have length less than or equal to 100")
			return units, check.err()
		}
		if err = each(r.items, func(table []byte, v *fastjson.Value) error { return r.parseTable(&check, table, v) }); err != nil {
			return units, err
		}
	}
	switch err := check.err(); {
	case err != nil:
		return units, err
	case r.refused != "":
		return units, notOffered(r.refused)
	case r.names:
		return units, invalid("ExpressionAttributeNames can only be specified when using expressions")
	case r.keys > maxBatchGets:
		return units, invalid("Too many items requested for the BatchGetItem call")
	}
	return units, r.held
}

func (r *batchGetRequest) parseTable(check *constraints, table []byte, v *fastjson.Value) error {
	t := &batchGet{table: string(table)}
	for _, other := range r.tables {
		if other.table == t.table {
			return serialization("A table is named twice in RequestItems")
		}
	}
	check.name(table, "requestItems.key")
	if err := parseObject(&t.raw, v, className("KeysAndAttributes")); err != nil {
		return err
	}
	path := "requestItems." + t.table + ".member.keys"
	if t.raw == nil {
		check.present(false, "requestItems."+t.table+".member")
		return nil
	}
	err := each(t.raw, func(name []byte, v *fastjson.Value) error {
		switch string(name) {
		case "Keys":
			return parseList(&t.keyList, v)
		case "ConsistentRead":
			return parseBool(&t.consistent, v)
		case "AttributesToGet", "ProjectionExpression":
			if given(v) && r.refused == "" {
				r.refused = string(name)
			}
		case "ExpressionAttributeNames":
			var o *fastjson.Object
			r.names = r.names || given(v)
			return parseObject(&o, v, "java.util.Map<java.lang.String, java.lang.String>")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if check.present(t.keyList != nil, path) {
		check.count(len(t.keyList), 1, maxBatchGets, path)
	}
	r.keys += len(t.keyList)
	r.tables = append(r.tables, t)
	if r.keys > maxBatchGets {
		return nil // refused whatever they are
	}
	for _, k := range t.keyList {
		if err := r.parseKey(t, k); err != nil {
			return err
		}
	}
	return nil
}

func (r *batchGetRequest) parseKey(t *batchGet, k *fastjson.Value) error {
	var attributes *fastjson.Value
	if err := parseAttributes(&attributes, k); err != nil {
		return err
	}
	var names item.Item
	held, err := decodeItem(&names, attributes)
	if err != nil {
		return err
	}
	if attributes == nil {
		held = invalid("1 validation error detected: Value null at 'requestItems." + t.table + ".member.keys." + strconv.Itoa(len(t.names)+1) +
			".member' failed to satisfy constraint: Member must not be null")
	}
	if r.held == nil {
		r.held = held
	}
	t.names = append(t.names, names)
	return nil
}

// resolveGet finds the table and makes the keys.
func (c *call) resolveGet(t *batchGet) error {
	table, err := c.table([]byte(t.table))
	if err != nil {
		return err
	}
	t.id.Table = table.ID
	sorted := make([]item.Key, 0, len(t.names))
	for _, names := range t.names {
		k, err := plan.Key(nil, &table.KeySchema, names)
		if err != nil {
			return err
		}
		t.keys = append(t.keys, k)
		sorted = append(sorted, k)
	}
	if !plan.Distinct(sorted) {
		return invalid("Provided list of item keys contains duplicates")
	}
	return nil
}

// answerBatchGet reads the keys one after the other and appends the answer. It ends at maxBatchGetBytes, after at least one item.
func (c *call) answerBatchGet(r *batchGetRequest, units capacity) error {
	c.out = append(c.out, `{"Responses":{`...)
	bytes, lastTable, lastKey := 0, len(r.tables), 0
read:
	for i, t := range r.tables {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = item.AppendJSONString(c.out, t.table)
		c.out = append(c.out, ":["...)
		first := true
		for k, key := range t.keys {
			size, full, err := c.appendOne(commit.Key{Table: t.id.Table, Bytes: key}, first, bytes)
			if err != nil {
				return err
			}
			if full {
				lastTable, lastKey = i, k
				c.out = append(c.out, ']')
				break read
			}
			first = first && !c.read.found
			bytes += size
			t.units += readUnits(size, t.consistent)
		}
		c.out = append(c.out, ']')
	}
	c.out = append(c.out, `},"UnprocessedKeys":{`...)
	for i := lastTable; i < len(r.tables); i++ {
		if i > lastTable {
			c.out = append(c.out, ',')
			lastKey = 0
		}
		c.appendUnprocessed(r.tables[i], lastKey)
	}
	c.out = append(c.out, '}')
	if units != capacityNone {
		var consumed consumedUnits
		for _, t := range r.tables {
			if t.units > 0 {
				consumed.add(t.table, t.units)
			}
		}
		c.out = consumed.append(c.out, units)
	}
	c.out = append(c.out, '}')
	return nil
}

// appendOne reads one key and appends its item. full says that it would make the answer too large, or memory too short; nothing is appended then.
func (c *call) appendOne(key commit.Key, first bool, bytes int) (size int, full bool, err error) {
	c.read = readSize{}
	err = c.server.config.Shard.Get(c.server.base, key, func(current commit.Current) error {
		if current.Item == nil {
			return nil
		}
		c.read = readSize{true, current.Item.Size()}
		if full = bytes > 0 && (bytes+c.read.bytes > maxBatchGetBytes || !c.reserve(int64(c.read.bytes))); full {
			return nil
		}
		if !first {
			c.out = append(c.out, ',')
		}
		c.out = current.Item.AppendJSON(c.out)
		return nil
	})
	return c.read.bytes, full, err
}

// appendUnprocessed appends the table's entry of UnprocessedKeys with the keys from the one given on.
func (c *call) appendUnprocessed(t *batchGet, from int) {
	c.out = item.AppendJSONString(c.out, t.table)
	c.out = append(c.out, `:{"Keys":[`...)
	for i, k := range t.keyList[from:] {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = k.MarshalTo(c.out)
	}
	c.out = append(c.out, ']')
	if t.consistent {
		c.out = append(c.out, `,"ConsistentRead":true`...)
	}
	c.out = append(c.out, '}')
}
