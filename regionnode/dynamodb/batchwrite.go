package dynamodb

import (
	"errors"
	"slices"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
)

const (
	maxBatchWrites = 25
	// maxCommitBytes is how many bytes of items go into one commit of a batch: the change log bounds an entry, and small commits share
	// their groups with other requests.
	maxCommitBytes = 1 << 20
)

// batchWrite is one request of a BatchWriteItem.
type batchWrite struct {
	table string
	raw   *fastjson.Value // the request, for UnprocessedItems
	write plan.Write
	key   item.Key
	names item.Item // of a delete: the key
	size  int       // of the item put, in bytes
}

// batchWriteRequest has the parameters of BatchWriteItem.
type batchWriteRequest struct {
	items             *fastjson.Object
	capacity, metrics text
	writes            []batchWrite
	held              error // wrong value, reported after violated constraints
}

func (r *batchWriteRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "RequestItems":
		return parseObject(&r.items, v, "java.util.Map<java.lang.String, java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>>")
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	case "ReturnItemCollectionMetrics":
		return parseText(&r.metrics, v)
	}
	return nil
}

func (c *call) batchWriteItem(p *fastjson.Object) error {
	var r batchWriteRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	units, err := r.check()
	if err != nil {
		return err
	}
	tables, err := c.resolve(r.writes)
	if err != nil {
		return err
	}
	c.begin(len(r.writes))
	for i := range r.writes {
		w := &r.writes[i]
		if err := c.add(tables[w.table], w.key, w.write); err != nil {
			return err
		}
	}
	done, err := c.commitBatch(r.writes)
	if err != nil {
		return err
	}
	if err := c.acknowledged(); err != nil {
		return err
	}
	c.answerBatchWrite(&r, done, units)
	return nil
}

// check parses the writes and checks the request's parameters.
func (r *batchWriteRequest) check() (units capacity, err error) {
	var check constraints
	units = check.capacity(r.capacity)
	if check.present(r.items != nil, "requestItems") {
		if r.items.Len() == 0 {
			check.fail("'{}'", "requestItems", "Member must have length greater than or equal to 1")
		}
		err = each(r.items, func(table []byte, v *fastjson.Value) error {
			check.name(table, "requestItems.key")
			var list []*fastjson.Value
			if err := parseList(&list, v); err != nil {
				return err
			}
			if len(list) == 0 {
				check.fail("'{"+string(table)+"=[]}'", "requestItems",
					"Map value must satisfy constraint: [Member must have length less than or equal to 25, Member must have length greater than or equal to 1]")
			}
			return r.parseTable(string(table), list)
		})
		if err != nil {
			return units, err
		}
	}
	check.oneOf(r.metrics, "returnItemCollectionMetrics", "SIZE, NONE", "SIZE", "NONE")
	switch err := check.err(); {
	case err != nil:
		return units, err
	case len(r.writes) > maxBatchWrites:
		return units, invalid("Too many items requested for the BatchWriteItem call")
	}
	return units, r.held
}

// parseTable parses the requests for one table. No more are decoded than make the error certain.
func (r *batchWriteRequest) parseTable(table string, list []*fastjson.Value) error {
	if slices.ContainsFunc(r.writes, func(w batchWrite) bool { return w.table == table }) {
		return serialization("A table is named twice in RequestItems")
	}
	for _, v := range list {
		w := batchWrite{table: table, raw: v}
		if len(r.writes) <= maxBatchWrites {
			if err := r.parseWrite(&w, v); err != nil {
				return err
			}
		}
		r.writes = append(r.writes, w)
	}
	return nil
}

func (r *batchWriteRequest) parseWrite(w *batchWrite, v *fastjson.Value) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className("WriteRequest")); err != nil {
		return err
	}
	actions := 0
	if o == nil {
		r.hold(invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"))
		return nil
	}
	err := each(o, func(name []byte, v *fastjson.Value) error {
		var body *fastjson.Object
		field, action := "", plan.Action(0)
		switch string(name) {
		case "PutRequest":
			field, action = "Item", plan.Put
		case "DeleteRequest":
			field, action = "Key", plan.Delete
		default:
			return nil
		}
		if err := parseObject(&body, v, className(string(name))); err != nil || body == nil {
			return err
		}
		actions++
		w.write.Action = action
		return r.parseBody(w, body.Get(field), field)
	})
	switch {
	case err != nil:
		return err
	case actions == 0:
		r.hold(invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"))
	case actions > 1:
		r.hold(invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"))
	}
	return nil
}

// parseBody decodes the item of a put, or the key of a delete.
func (r *batchWriteRequest) parseBody(w *batchWrite, v *fastjson.Value, field string) error {
	var attributes *fastjson.Value
	if err := parseAttributes(&attributes, v); err != nil {
		return err
	}
	if attributes == nil {
		r.hold(invalid("1 validation error detected: Value null at 'requestItems." + w.table + ".member." + strconv.Itoa(len(r.writes)+1) + ".member." +
			map[string]string{"Item": "putRequest.item", "Key": "deleteRequest.key"}[field] + "' failed to satisfy constraint: Member must not be null"))
		return nil
	}
	dst := &w.write.Item
	if field == "Key" {
		dst = &w.names
	}
	held, err := decodeItem(dst, attributes)
	if err != nil {
		return err
	}
	if held == nil && field == "Item" {
		w.size = w.write.Item.Size()
		held = item.CheckSize(w.write.Item)
	}
	r.hold(held)
	return nil
}

func (r *batchWriteRequest) hold(err error) {
	if r.held == nil && err != nil {
		r.held = err
	}
}

// resolve finds the tables of the writes and makes their keys.
func (c *call) resolve(writes []batchWrite) (map[string]*globaltable.Table, error) {
	tables := map[string]*globaltable.Table{}
	perTable := map[string][]item.Key{}
	for i := range writes {
		w := &writes[i]
		t, ok := tables[w.table]
		if !ok {
			var err error
			if t, err = c.table([]byte(w.table)); err != nil {
				return nil, err
			}
			tables[w.table] = t
		}
		var err error
		if w.write.Action == plan.Put {
			if w.key, err = plan.ItemKey(nil, &t.KeySchema, w.write.Item); err == nil {
				err = plan.CheckIndexKeys(t, w.write.Item)
			}
		} else {
			w.key, err = plan.Key(nil, &t.KeySchema, w.names)
		}
		if err != nil {
			return nil, err
		}
		perTable[w.table] = append(perTable[w.table], w.key)
	}
	for _, keys := range perTable {
		if !plan.Distinct(keys) {
			return nil, invalid("Provided list of item keys contains duplicates")
		}
	}
	return tables, nil
}

// commitBatch does the writes in commits of limited size and returns how many are done. When the region is overloaded or
// unavailable after the first commit, the rest is left unprocessed; before it, that is the request's error.
func (c *call) commitBatch(writes []batchWrite) (done int, err error) {
	for done < len(writes) {
		to, bytes := done, 0
		for to < len(writes) && (to == done || bytes+writes[to].size <= maxCommitBytes) {
			bytes += writes[to].size
			to++
		}
		if err := c.commit(done, to); err != nil {
			var g *globaltable.Error
			if done > 0 && errors.As(err, &g) && (g.Kind == globaltable.LimitExceeded || g.Kind == globaltable.Unavailable) {
				return done, nil
			}
			return done, err
		}
		done = to
	}
	return done, nil
}

// answerBatchWrite appends the answer; writes from done on are unprocessed.
func (c *call) answerBatchWrite(r *batchWriteRequest, done int, units capacity) {
	c.out = append(c.out, `{"UnprocessedItems":{`...)
	for i := done; i < len(r.writes); i++ {
		w := &r.writes[i]
		switch {
		case i == done || r.writes[i-1].table != w.table:
			if i > done {
				c.out = append(c.out, "],"...)
			}
			c.out = item.AppendJSONString(c.out, w.table)
			c.out = append(c.out, ":["...)
		default:
			c.out = append(c.out, ',')
		}
		c.out = w.raw.MarshalTo(c.out)
	}
	if done < len(r.writes) {
		c.out = append(c.out, ']')
	}
	c.out = append(c.out, '}')
	if units != capacityNone {
		var consumed consumedUnits
		for i := range done {
			consumed.add(r.writes[i].table, writeUnits(max(r.writes[i].size, c.outcomes[i].OldSize)))
		}
		c.out = consumed.append(c.out, units)
	}
	c.out = append(c.out, '}')
}

// consumedUnits sums up capacity by table, in the order of the request.
type consumedUnits []struct {
	table string
	units float64
}

func (u *consumedUnits) add(table string, units float64) {
	for i := range *u {
		if (*u)[i].table == table {
			(*u)[i].units += units
			return
		}
	}
	*u = append(*u, struct {
		table string
		units float64
	}{table, units})
}

func (u consumedUnits) append(dst []byte, what capacity) []byte {
	dst = append(dst, `,"ConsumedCapacity":[`...)
	for i, t := range u {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCapacity(dst, []byte(t.table), t.units, what)
	}
	return append(dst, ']')
}
