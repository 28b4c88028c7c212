package dynamodb

import (
	"errors"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// itemRequest has the parameters of PutItem, GetItem and DeleteItem. Its texts are views of the parsed request.
type itemRequest struct {
	table                            text
	item, key                        *fastjson.Value
	capacity, metrics                text
	returnValues, onConditionFailure text
	consistent                       bool
	names                            bool   // ExpressionAttributeNames or -Values were given
	refused                          string // the first parameter given that is not offered
}

func (r *itemRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TableName":
		return parseText(&r.table, v)
	case "Item":
		return parseAttributes(&r.item, v)
	case "Key":
		return parseAttributes(&r.key, v)
	case "ConsistentRead":
		return parseBool(&r.consistent, v)
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	case "ReturnItemCollectionMetrics":
		return parseText(&r.metrics, v)
	case "ReturnValues":
		return parseText(&r.returnValues, v)
	case "ReturnValuesOnConditionCheckFailure":
		return parseText(&r.onConditionFailure, v)
	case "ExpressionAttributeNames", "ExpressionAttributeValues":
		var o *fastjson.Object
		r.names = r.names || given(v)
		return parseObject(&o, v, "java.util.Map<java.lang.String, java.lang.String>")
	default:
		if given(v) && r.refused == "" {
			r.refused = conditional[string(name)]
		}
	}
	return nil
}

// conditional has the parameters of operations on one item that are not offered yet, by their names.
var conditional = map[string]string{
	"ConditionExpression":  "ConditionExpression",
	"Expected":             "Expected",
	"ConditionalOperator":  "ConditionalOperator",
	"ProjectionExpression": "ProjectionExpression",
	"AttributesToGet":      "AttributesToGet",
}

// parseAttributes notes a map of attribute values. Its content is decoded later.
func parseAttributes(dst **fastjson.Value, v *fastjson.Value) error {
	var o *fastjson.Object
	err := parseObject(&o, v, "java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>")
	if err == nil && o != nil {
		*dst = v
	}
	return err
}

// expressions answers what has to do with expressions.
func (r *itemRequest) expressions() error {
	switch {
	case r.refused != "":
		return notOffered(r.refused)
	case r.names:
		return invalid("ExpressionAttributeNames can only be specified when using expressions")
	}
	return nil
}

// decodeItem decodes attributes over *dst. JSON of a wrong shape is an error at once; a wrong value is held back, for DynamoDB
// reports the violated constraints of other parameters first.
func decodeItem(dst *item.Item, v *fastjson.Value) (held, now error) {
	if v == nil {
		return nil, nil
	}
	it, err := item.DecodeItemJSON((*dst)[:0], v)
	if err == nil {
		*dst = it
		return nil, nil
	}
	var e *item.Error
	if errors.As(err, &e) && e.Class == item.Serialization {
		return nil, err
	}
	return err, nil
}

func (c *call) putItem(p *fastjson.Object) error {
	r := &c.request
	*r = itemRequest{}
	if err := each(p, r.set); err != nil {
		return err
	}
	held, err := decodeItem(&c.item, r.item)
	if err != nil {
		return err
	}
	var check constraints
	units := check.capacity(r.capacity)
	check.name(r.table, "tableName")
	check.present(r.item != nil, "item")
	old, err := r.checkWrite(&check)
	if err != nil {
		return err
	}
	if held != nil {
		return held
	}
	if err := item.CheckSize(c.item); err != nil {
		return err
	}
	table, err := c.table(r.table)
	if err != nil {
		return err
	}
	if c.key, err = plan.ItemKey(c.key[:0], &table.KeySchema, c.item); err != nil {
		return err
	}
	if err := plan.CheckIndexKeys(table, c.item); err != nil {
		return err
	}
	return c.writeOne(table, plan.Write{Action: plan.Put, Item: c.item}, c.item.Size(), units, old)
}

func (c *call) deleteItem(p *fastjson.Object) error {
	r := &c.request
	*r = itemRequest{}
	if err := each(p, r.set); err != nil {
		return err
	}
	held, err := decodeItem(&c.keyItem, r.key)
	if err != nil {
		return err
	}
	var check constraints
	units := check.capacity(r.capacity)
	check.name(r.table, "tableName")
	check.present(r.key != nil, "key")
	old, err := r.checkWrite(&check)
	if err != nil {
		return err
	}
	if held != nil {
		return held
	}
	table, err := c.table(r.table)
	if err != nil {
		return err
	}
	if c.key, err = plan.Key(c.key[:0], &table.KeySchema, c.keyItem); err != nil {
		return err
	}
	return c.writeOne(table, plan.Write{Action: plan.Delete}, 0, units, old)
}

// checkWrite checks what PutItem and DeleteItem have in common. old says that the item replaced is asked for.
func (r *itemRequest) checkWrite(check *constraints) (old bool, err error) {
	check.oneOf(r.metrics, "returnItemCollectionMetrics", "SIZE, NONE", "SIZE", "NONE")
	check.oneOf(r.returnValues, "returnValues", "ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW",
		"ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW")
	check.oneOf(r.onConditionFailure, "returnValuesOnConditionCheckFailure", "ALL_OLD, NONE", "ALL_OLD", "NONE")
	if err := check.err(); err != nil {
		return false, err
	}
	if err := r.expressions(); err != nil {
		return false, err
	}
	switch string(r.returnValues) {
	case "", "NONE":
		return false, nil
	case "ALL_OLD":
		return true, nil
	}
	return false, invalid("ReturnValues can only be ALL_OLD or NONE")
}

// writeOne does one write of c.key and answers it. size is that of the new item in bytes.
func (c *call) writeOne(table *globaltable.Table, w plan.Write, size int, units capacity, old bool) error {
	c.begin(1)
	c.keepOld = old
	if err := c.add(table, c.key, w); err != nil {
		return err
	}
	if err := c.commit(0, 1); err != nil {
		return err
	}
	if err := c.acknowledged(); err != nil {
		return err
	}
	c.out = append(c.out, '{')
	if len(c.old) > 0 {
		c.out = append(c.out, `"Attributes":`...)
		c.out = c.old.AppendJSON(c.out)
	}
	if units != capacityNone {
		if len(c.out) > 1 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, `"ConsumedCapacity":`...)
		c.out = appendCapacity(c.out, c.request.table, writeUnits(max(size, c.outcomes[0].OldSize)), units)
	}
	c.out = append(c.out, '}')
	return nil
}

// readSize is what a read found: for its capacity.
type readSize struct {
	found bool
	bytes int
}

func (c *call) getItem(p *fastjson.Object) error {
	r := &c.request
	*r = itemRequest{}
	if err := each(p, r.set); err != nil {
		return err
	}
	held, err := decodeItem(&c.keyItem, r.key)
	if err != nil {
		return err
	}
	var check constraints
	units := check.capacity(r.capacity)
	check.name(r.table, "tableName")
	check.present(r.key != nil, "key")
	if err := check.err(); err != nil {
		return err
	}
	if err := r.expressions(); err != nil {
		return err
	}
	if held != nil {
		return held
	}
	table, err := c.table(r.table)
	if err != nil {
		return err
	}
	if c.key, err = plan.Key(c.key[:0], &table.KeySchema, c.keyItem); err != nil {
		return err
	}
	c.out = append(c.out, '{')
	if err := c.server.config.Shard.Get(c.server.base, commit.Key{Table: table.ID, Bytes: c.key}, c.got); err != nil {
		return err
	}
	if units != capacityNone {
		if c.read.found {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, `"ConsumedCapacity":`...)
		c.out = appendCapacity(c.out, r.table, readUnits(c.read.bytes, r.consistent), units)
	}
	c.out = append(c.out, '}')
	return nil
}

// appendGot appends the item that a get found, within the shard's callback: the item is a view.
func (c *call) appendGot(current commit.Current) error {
	c.read = readSize{}
	if current.Item != nil {
		c.read = readSize{true, current.Item.Size()}
		c.out = append(c.out, `"Item":`...)
		c.out = current.Item.AppendJSON(c.out)
	}
	return nil
}

// writeUnits returns the capacity units of a write of an item of so many bytes: one for each kilobyte begun, at least one.
func writeUnits(bytes int) float64 { return float64(max(1, (bytes+1023)/1024)) }

// readUnits returns the capacity units of a read: one, or without consistency a half, for each 4 KB begun, at least one.
func readUnits(bytes int, consistent bool) float64 {
	units := float64(max(1, (bytes+4095)/4096))
	if consistent {
		return units
	}
	return units / 2
}

// appendCapacity appends a ConsumedCapacity. Without indexes the table has consumed it all.
func appendCapacity(dst, table []byte, units float64, what capacity) []byte {
	dst = append(dst, `{"TableName":`...)
	dst = item.AppendJSONString(dst, table)
	dst = append(dst, `,"CapacityUnits":`...)
	dst = appendUnits(dst, units)
	if what == capacityIndexes {
		dst = append(dst, `,"Table":{"CapacityUnits":`...)
		dst = appendUnits(dst, units)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}
