package dynamodb

import (
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	maxBatchGets = 100
	// maxBatchGetBytes is the size of items at which a BatchGetItem ends; what is left is unprocessed.
	maxBatchGetBytes = 16 << 20
)

// batchGet is what a BatchGetItem reads of one table.
type batchGet struct {
	itemRequest
	raw   *fastjson.Object // KeysAndAttributes, for UnprocessedKeys
	of    *globaltable.Table
	names []item.Item // the keys as items
	read  []commit.Key
	units plan.Units
}

// batchGetRequest has the parameters of BatchGetItem.
type batchGetRequest struct {
	items    *fastjson.Object
	capacity text
	tables   []*batchGet
	keys     int
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
	if err := r.check(c.server.expressions); err != nil {
		return err
	}
	if err := c.resolveBatch(r.tables); err != nil {
		return err
	}
	return c.answerBatchGet(&r)
}

// check parses the keys and checks the request's parameters.
func (r *batchGetRequest) check(parser *expr.Parser) error {
	var check constraints
	check.capacity(r.capacity)
	if check.present(r.items != nil, "requestItems") {
		if r.items.Len() == 0 {
			check.fail("'{}'", "requestItems", "Member must have length greater than or equal to 1")
		}
		if r.items.Len() > maxBatchGets {
			check.fail("'{...}'", "requestItems", "Member must have length less than or equal to 100")
			return check.err()
		}
		check.tableKeys(r.items)
		if err := each(r.items, func(table []byte, v *fastjson.Value) error { return r.parseTable(&check, table, v) }); err != nil {
			return err
		}
	}
	if err := check.err(); err != nil {
		return err
	}
	if r.keys > maxBatchGets {
		return invalid("Too many items requested for the BatchGetItem call")
	}
	for _, t := range r.tables {
		if err := t.settle(parser); err != nil {
			return err
		}
	}
	return nil
}

func (r *batchGetRequest) parseTable(check *constraints, table []byte, v *fastjson.Value) error {
	t := new(batchGet)
	for _, other := range r.tables {
		if string(other.table) == string(table) {
			return serialization("A table is named twice in RequestItems")
		}
	}
	if err := parseObject(&t.raw, v, className("KeysAndAttributes")); err != nil {
		return err
	}
	if t.raw == nil {
		check.present(false, "requestItems."+string(table)+".member")
		return nil
	}
	t.reset(batchGetParameters)
	if err := t.parse(t.raw); err != nil {
		return err
	}
	check.at = "requestItems." + string(table) + ".member."
	t.check(check)
	r.keys += len(t.keys)
	t.table = table
	r.tables = append(r.tables, t)
	for i, k := range t.keys {
		if r.keys > maxBatchGets {
			break // refused whatever they are
		}
		if err := r.parseKey(check, t, i, k); err != nil {
			return err
		}
	}
	check.at = ""
	return nil
}

func (r *batchGetRequest) parseKey(check *constraints, t *batchGet, i int, k *fastjson.Value) error {
	var attributes *fastjson.Value
	if err := parseAttributes(&attributes, k); err != nil {
		return err
	}
	check.present(attributes != nil, "keys."+strconv.Itoa(i+1)+".member")
	var names item.Item
	held, err := decodeItem(&names, attributes)
	if err != nil {
		return err
	}
	if t.held == nil {
		t.held = held
	}
	t.names = append(t.names, names)
	return nil
}

// resolveBatch finds the tables, all of them first, and makes the keys.
func (c *call) resolveBatch(tables []*batchGet) error {
	for _, t := range tables {
		var err error
		if t.of, err = c.table(t.table); err != nil {
			return err
		}
	}
	var all []commit.Key
	for _, t := range tables {
		for _, names := range t.names {
			k, err := plan.Key(nil, &t.of.KeySchema, names)
			if err != nil {
				return err
			}
			t.read = append(t.read, commit.Key{Table: t.of.ID, Bytes: k})
		}
		all = append(all, t.read...)
	}
	if repeats(all) {
		return errRepeated
	}
	for _, t := range tables { // all of them, before the first is read
		if err := c.door.admit(len(t.read), func(i int) (*globaltable.Table, item.Key) { return t.of, t.read[i].Bytes }); err != nil {
			return err
		}
	}
	return nil
}

// answerBatchGet reads the keys one after the other and appends the answer. It ends at maxBatchGetBytes, after at least one item.
func (c *call) answerBatchGet(r *batchGetRequest) error {
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
		for k, key := range t.read {
			full, err := c.appendOne(t, key, first, bytes)
			if err != nil {
				return err
			}
			if full {
				lastTable, lastKey = i, k
				c.out = append(c.out, ']')
				break read
			}
			first = first && !c.found.found
			bytes += c.found.bytes
			t.units.Table += plan.ReadUnits(c.found.bytes, t.consistent)
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
	if what := capacityOf(r.capacity); what != capacityNone {
		var all consumption
		for _, t := range r.tables {
			if t.units.Table > 0 {
				all.add(t.table, t.of, t.units, 1)
			}
		}
		c.out = all.append(c.field(), what, "")
	}
	c.out = append(c.out, '}')
	return nil
}

// appendOne reads one key and appends its item. full says that it would make the answer too large, or memory too short; nothing is appended then.
func (c *call) appendOne(t *batchGet, key commit.Key, first bool, bytes int) (full bool, err error) {
	c.found = readSize{}
	err = c.door.get(t.of, key.Bytes, func(current commit.Current) error {
		if current.Item == nil {
			return nil
		}
		c.found = readSize{true, current.Item.Size()}
		if full = bytes > 0 && (bytes+c.found.bytes > maxBatchGetBytes || !c.reserve(int64(c.found.bytes))); full {
			return nil
		}
		if !first {
			c.out = append(c.out, ',')
		}
		c.out = c.show(c.out, current.Item, t.shown)
		return nil
	})
	return full, err
}

// appendUnprocessed appends the table's entry of UnprocessedKeys: what was asked for, with the keys from the one given on.
func (c *call) appendUnprocessed(t *batchGet, from int) {
	c.out = item.AppendJSONString(c.out, t.table)
	c.out = append(c.out, `:{"Keys":[`...)
	for i, k := range t.keys[from:] {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = k.MarshalTo(c.out)
	}
	c.out = append(c.out, ']')
	t.raw.Visit(func(name []byte, v *fastjson.Value) {
		if p := parameterNamed(name); t.given&p&^pKeys != 0 {
			c.out = item.AppendJSONString(append(c.out, ','), name)
			c.out = v.MarshalTo(append(c.out, ':'))
		}
	})
	c.out = append(c.out, '}')
}
