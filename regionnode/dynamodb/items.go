package dynamodb

import (
	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

func (c *call) putItem(p *fastjson.Object) error { return c.writeItem(plan.Put, putParameters, p) }
func (c *call) deleteItem(p *fastjson.Object) error {
	return c.writeItem(plan.Delete, deleteParameters, p)
}
func (c *call) updateItem(p *fastjson.Object) error {
	return c.writeItem(plan.Update, updateParameters, p)
}

// read reads a request of the kind given and checks what can be checked without its table.
func (c *call) read(r *itemRequest, may parameterSet, p *fastjson.Object) error {
	r.reset(may)
	if err := r.parse(p); err != nil {
		return err
	}
	var check constraints
	r.check(&check)
	if err := check.err(); err != nil {
		return err
	}
	return r.settle(c.server.expressions)
}

// writeItem writes one item.
func (c *call) writeItem(action plan.Action, may parameterSet, p *fastjson.Object) error {
	r := &c.request
	if err := c.read(r, may, p); err != nil {
		return err
	}
	table, err := c.table(r.table)
	if err != nil {
		return err
	}
	w, err := r.write(action, table)
	if err != nil {
		return err
	}
	c.writes.begin(1)
	c.writes.measured = r.capacity != nil
	c.writes.add(r.itemKey, w)
	if err := c.writes.commit(0, 1); err != nil {
		return err
	}
	if err := c.writes.acknowledged(); err != nil {
		return err
	}
	return c.answerWrite(table)
}

// Write does a write as a client's request does it: under the table's settings, acknowledged by peers where it asks for that. The key is the item's; w is checked as far as its plan checks it.
func (s *Server) Write(key item.Key, w plan.Write) error {
	c := newCall(s)
	c.writes.begin(1)
	c.writes.add(key, planned{Write: w, named: text(w.Table.Name)})
	if err := c.writes.commit(0, 1); err != nil {
		return err
	}
	return c.writes.acknowledged()
}

// write returns r as a write to the table, and leaves its key in r.itemKey.
func (r *itemRequest) write(action plan.Action, table *globaltable.Table) (planned, error) {
	var err error
	if action == plan.Put {
		if r.itemKey, err = plan.ItemKey(r.itemKey[:0], &table.KeySchema, r.attributes); err == nil {
			err = plan.CheckIndexKeys(table, r.attributes)
		}
	} else {
		r.itemKey, err = plan.Key(r.itemKey[:0], &table.KeySchema, r.attributes)
	}
	if err == nil && r.change != nil {
		err = plan.CheckUpdate(&table.KeySchema, r.change)
	}
	w := plan.Write{Action: action, Table: table, Item: r.attributes, Condition: r.where, Update: r.change, Returns: imageOf(r.returnValues)}
	return planned{Write: w, named: r.table, onFailure: string(r.onConditionFailure) == "ALL_OLD"}, err
}

// imageOf reads a ReturnValues that has been checked.
func imageOf(v text) plan.Image {
	switch string(v) {
	case "ALL_OLD":
		return plan.AllOld
	case "ALL_NEW":
		return plan.AllNew
	case "UPDATED_OLD":
		return plan.UpdatedOld
	case "UPDATED_NEW":
		return plan.UpdatedNew
	}
	return plan.NoImage
}

// answerWrite answers a request that wrote one item.
func (c *call) answerWrite(table *globaltable.Table) error {
	c.out = append(c.out, '{')
	if image := c.writes.list[0].image; image != nil {
		c.out = image.AppendJSON(append(c.field(), `"Attributes":`...))
	}
	if what := capacityOf(c.request.capacity); what != capacityNone {
		spent := consumed{c.request.table, table, c.writes.list[0].units}
		c.out = spent.append(append(c.field(), `"ConsumedCapacity":`...), what, "")
	}
	if w := &c.writes.list[0]; string(c.request.metrics) == "SIZE" && hasCollections(table) {
		var err error
		if c.out, err = c.appendCollection(append(c.field(), `"ItemCollectionMetrics":`...), w); err != nil {
			return err
		}
	}
	c.out = append(c.out, '}')
	return nil
}

// field returns the answer so far, with a comma if something comes before the next field.
func (c *call) field() []byte {
	if c.out[len(c.out)-1] == '{' {
		return c.out
	}
	return append(c.out, ',')
}

// readSize is what a read found: for its capacity.
type readSize struct {
	found bool
	bytes int
}

func (c *call) getItem(p *fastjson.Object) error {
	r := &c.request
	if err := c.read(r, getParameters, p); err != nil {
		return err
	}
	table, err := c.table(r.table)
	if err != nil {
		return err
	}
	if r.itemKey, err = plan.Key(r.itemKey[:0], &table.KeySchema, r.attributes); err != nil {
		return err
	}
	c.out = append(c.out, '{')
	c.conflicts = c.server.config.Shard.HasConflicts(table.ID)
	if err := c.door.get(table, r.itemKey, c.got); err != nil {
		return err
	}
	if len(c.unsettled) > 0 {
		if c.siblings, err = c.door.openConflicts(table, r.itemKey, c.unsettled); err != nil {
			return err
		}
	}
	if what := capacityOf(r.capacity); what != capacityNone {
		spent := consumed{r.table, table, plan.Units{Table: plan.ReadUnits(c.found.bytes, r.consistent)}}
		c.out = spent.append(append(c.field(), `"ConsumedCapacity":`...), what, "")
	}
	c.out = append(c.out, '}')
	return nil
}

// siblingsHeader tells in the answer to a get how many conflicts of the item are open; absent: none.
const siblingsHeader = "x-concordat-siblings"

// appendGot appends the item that a get found, within the shard's callback: the item is a view.
func (c *call) appendGot(current commit.Current) error {
	c.found = readSize{}
	if c.conflicts {
		if may, err := conflict.Unsettled(current.Record); err != nil {
			return err
		} else if may {
			c.unsettled = append(c.unsettled[:0], current.Record...)
		}
	}
	if current.Item != nil {
		c.found = readSize{true, current.Item.Size()}
		c.out = c.show(append(c.out, `"Item":`...), current.Item, c.request.shown)
	}
	return nil
}
