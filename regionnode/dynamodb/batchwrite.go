package dynamodb

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	maxBatchWrites = 25
	// maxCommitBytes is how many bytes of items go into one commit of a batch: the change log bounds an entry, and small commits share
	// their groups with other requests.
	maxCommitBytes = 1 << 20
)

// batchWrite is one request of a BatchWriteItem.
type batchWrite struct {
	itemRequest
	action plan.Action
	raw    *fastjson.Value // the request, for UnprocessedItems
	size   int             // of the item put, in bytes
}

// batchWriteRequest has the parameters of BatchWriteItem.
type batchWriteRequest struct {
	items             *fastjson.Object
	capacity, metrics text
	writes            []batchWrite // as many as a batch may have
	more              int          // writes beyond them
	extra             batchWrite   // the last of those: they are checked, for violated constraints come first, and not kept
	held              error        // the first wrong value, reported after violated constraints
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
	if err := r.check(); err != nil {
		return err
	}
	c.writes.begin(len(r.writes))
	c.writes.measured = r.capacity != nil
	if err := c.resolve(r.writes); err != nil {
		return err
	}
	done, err := c.commitBatch(r.writes)
	if err != nil {
		return err
	}
	if err := c.writes.acknowledged(); err != nil {
		return err
	}
	return c.answerBatchWrite(&r, done)
}

// check parses the writes and checks the request's parameters.
func (r *batchWriteRequest) check() error {
	var check constraints
	check.capacity(r.capacity)
	if check.present(r.items != nil, "requestItems") {
		if r.items.Len() == 0 {
			check.fail("'{}'", "requestItems", "Member must have length greater than or equal to 1")
		}
		check.tableKeys(r.items)
		err := each(r.items, func(table []byte, v *fastjson.Value) error {
			var list []*fastjson.Value
			if err := parseList(&list, v); err != nil {
				return err
			}
			if len(list) == 0 || len(list) > maxBatchWrites {
				check.fail("'{"+string(table)+"="+countText(len(list))+"}'", "requestItems",
					"Map value must satisfy constraint: [Member must have length less than or equal to 25, Member must have length greater than or equal to 1]")
			}
			return r.parseTable(&check, table, list)
		})
		if err != nil {
			return err
		}
	}
	check.metrics(r.metrics)
	switch err := check.err(); {
	case err != nil:
		return err
	case r.more > 0:
		return invalid("Too many items requested for the BatchWriteItem call")
	}
	return r.held
}

// parseTable parses the requests for one table.
func (r *batchWriteRequest) parseTable(check *constraints, table []byte, list []*fastjson.Value) error {
	if slices.ContainsFunc(r.writes, func(w batchWrite) bool { return string(w.table) == string(table) }) {
		return serialization("A table is named twice in RequestItems")
	}
	for i, v := range list {
		w := &r.extra
		if len(r.writes) < maxBatchWrites {
			r.writes = append(r.writes, batchWrite{raw: v})
			w = &r.writes[len(r.writes)-1]
		} else {
			r.more++
		}
		check.at = "requestItems." + string(table) + ".member." + strconv.Itoa(i+1) + ".member."
		if err := r.parseWrite(check, w, v); err != nil {
			return err
		}
		w.table = table
	}
	check.at = ""
	return nil
}

func (r *batchWriteRequest) parseWrite(check *constraints, w *batchWrite, v *fastjson.Value) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className("WriteRequest")); err != nil {
		return err
	}
	actions := 0
	if o != nil {
		at := check.at
		err := each(o, func(name []byte, v *fastjson.Value) error {
			var body *fastjson.Object
			switch string(name) {
			case "PutRequest":
				w.action, check.at = plan.Put, at+"putRequest."
				w.reset(batchPutParameters)
			case "DeleteRequest":
				w.action, check.at = plan.Delete, at+"deleteRequest."
				w.reset(batchDeleteParameters)
			default:
				return nil
			}
			if err := parseObject(&body, v, className(string(name))); err != nil || body == nil {
				return err
			}
			actions++
			if err := w.parse(body); err != nil {
				return err
			}
			w.check(check)
			if w.item != nil && w.held == nil {
				w.size = w.attributes.Size()
			}
			r.hold(w.settle(nil)) // it has no expressions
			return nil
		})
		if err != nil {
			return err
		}
	}
	switch {
	case actions == 0:
		r.hold(invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"))
	case actions > 1:
		r.hold(invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"))
	}
	return nil
}

func (r *batchWriteRequest) hold(err error) {
	if r.held == nil && err != nil {
		r.held = err
	}
}

// resolve finds the tables of the writes, makes their keys and adds them to c's.
func (c *call) resolve(writes []batchWrite) error {
	var table *globaltable.Table
	begins := func(i int) bool { return i == 0 || string(writes[i].table) != string(writes[i-1].table) }
	for i := range writes {
		if begins(i) { // a table that is not there comes before anything that is wrong with another's keys
			if _, err := c.table(writes[i].table); err != nil {
				return err
			}
		}
	}
	for i := range writes {
		w := &writes[i]
		if begins(i) {
			var err error
			if table, err = c.table(w.table); err != nil {
				return err
			}
		}
		p, err := w.write(w.action, table)
		if err != nil {
			return err
		}
		c.writes.add(w.itemKey, p)
	}
	if repeats(c.writes.keys) {
		return errRepeated
	}
	return c.writes.admit(len(writes)) // of all, before the first is written
}

// errRepeated refuses a batch with an item twice.
var errRepeated = invalid("Provided list of item keys contains duplicates")

// repeats reports whether an item is named twice.
func repeats(keys []commit.Key) bool {
	seen := make(map[string]struct{}, len(keys))
	for _, k := range keys {
		seen[string(binary.BigEndian.AppendUint64(nil, uint64(k.Table)))+string(k.Bytes)] = struct{}{}
	}
	return len(seen) < len(keys)
}

// commitBatch does the writes in commits of limited size and returns how many are done. When the region is overloaded or
// unavailable after the first commit, or an item may not be here any more, the rest is left unprocessed; before it, that is the request's error.
func (c *call) commitBatch(writes []batchWrite) (done int, err error) {
	for done < len(writes) {
		to, bytes := done, 0
		for to < len(writes) && (to == done || bytes+writes[to].size <= maxCommitBytes) {
			bytes += writes[to].size
			to++
		}
		if err := c.writes.commit(done, to); err != nil {
			var g *globaltable.Error
			if done > 0 && errors.As(err, &g) && (g.Kind == globaltable.LimitExceeded || g.Kind == globaltable.Unavailable || g.Kind == globaltable.Denied) {
				return done, nil
			}
			return done, err
		}
		done = to
	}
	return done, nil
}

// answerBatchWrite appends the answer; writes from done on are unprocessed.
func (c *call) answerBatchWrite(r *batchWriteRequest, done int) error {
	c.out = append(c.out, `{"UnprocessedItems":{`...)
	for i := done; i < len(r.writes); i++ {
		w := &r.writes[i]
		switch {
		case i == done || string(r.writes[i-1].table) != string(w.table):
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
	if what := capacityOf(r.capacity); what != capacityNone {
		var all consumption
		for i := range c.writes.list[:done] {
			p := &c.writes.list[i]
			all.add(p.named, p.Table, p.units, 1)
		}
		c.out = all.append(c.field(), what, "")
	}
	if err := c.appendCollections(r.metrics, done); err != nil {
		return err
	}
	c.out = append(c.out, '}')
	return nil
}
