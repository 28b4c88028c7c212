package dynamodb

import (
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// transactGetRequest has the parameters of TransactGetItems.
type transactGetRequest struct {
	items    []*fastjson.Value
	capacity text
	gets     []itemRequest
	tables   []*globaltable.Table
	keys     []commit.Key
}

func (r *transactGetRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TransactItems":
		return parseList(&r.items, v)
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	}
	return nil
}

func (c *call) transactGetItems(p *fastjson.Object) error {
	var r transactGetRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	for i := range r.gets {
		if err := r.gets[i].settle(c.server.expressions); err != nil {
			return err
		}
	}
	if err := c.resolveGets(&r); err != nil {
		return err
	}
	return c.answerTransactGet(&r)
}

// check parses the gets and checks the constraints of all parameters.
func (r *transactGetRequest) check() error {
	var check constraints
	check.capacity(r.capacity)
	if check.present(r.items != nil, "transactItems") {
		check.count(len(r.items), 1, maxTransactItems, "transactItems")
	}
	if len(r.items) > maxTransactItems {
		return check.err()
	}
	r.gets = make([]itemRequest, len(r.items))
	for i, v := range r.items {
		check.at = "transactItems." + strconv.Itoa(i+1) + ".member."
		var o, get *fastjson.Object
		if err := parseObject(&o, v, className("TransactGetItem")); err != nil {
			return err
		}
		if o != nil {
			if err := parseObject(&get, o.Get("Get"), className("Get")); err != nil {
				return err
			}
		}
		if !check.present(get != nil, "get") {
			continue
		}
		g := &r.gets[i]
		g.reset(transactGetParameters)
		if err := g.parse(get); err != nil {
			return err
		}
		check.at += "get."
		g.check(&check)
	}
	return check.err()
}

// resolveGets finds the tables and makes the keys.
func (c *call) resolveGets(r *transactGetRequest) error {
	var reasons []reason
	for i := range r.gets {
		g := &r.gets[i]
		table, err := c.table(g.table)
		if err != nil {
			return err
		}
		key, err := plan.Key(nil, &table.KeySchema, g.attributes)
		if err != nil {
			if reasons == nil {
				reasons = make([]reason, len(r.gets))
			}
			reasons[i] = reasonOf(err)
		}
		r.tables = append(r.tables, table)
		r.keys = append(r.keys, commit.Key{Table: table.ID, Bytes: key})
	}
	if reasons != nil {
		return cancelled(reasons)
	}
	return distinct(r.keys)
}

// answerTransactGet reads all keys at one moment and appends the answer.
func (c *call) answerTransactGet(r *transactGetRequest) error {
	var all consumption
	c.out = append(c.out, `{"Responses":[`...)
	err := c.server.config.Shard.GetAll(c.server.base, r.keys, func(current []commit.Current) error {
		bytes := 0
		for i := range current {
			size := current[i].Item.Size()
			bytes += size
			all.add(r.tables[i], plan.Units{Table: plan.ReadUnits(size, true)}, transactional)
		}
		switch {
		case bytes > maxTransactBytes:
			return errTransactSize
		case !c.reserve(int64(bytes)):
			return unavailable(errNoMemory)
		}
		for i := range current {
			if i > 0 {
				c.out = append(c.out, ',')
			}
			c.out = append(c.out, '{')
			if it := current[i].Item; it != nil {
				c.out = c.show(append(c.out, `"Item":`...), it, r.gets[i].shown)
			}
			c.out = append(c.out, '}')
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.out = append(c.out, ']')
	if what := capacityOf(r.capacity); what != capacityNone {
		c.out = all.append(c.field(), what, "Read")
	}
	c.out = append(c.out, '}')
	return nil
}
