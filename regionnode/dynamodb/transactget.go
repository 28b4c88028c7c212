package dynamodb

import (
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// transactGetRequest has the parameters of TransactGetItems.
type transactGetRequest struct {
	items    []*fastjson.Value
	capacity text
	gets     []itemRequest
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
	reads, keys, err := c.resolveGets(r.gets)
	if err != nil {
		return err
	}
	return c.answerMoment(reads, keys, capacityOf(r.capacity))
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

// momentRead is one of several reads of one moment.
type momentRead struct {
	named text // the table, as the request names it
	table *globaltable.Table
	shown *expr.Projection
	where *expr.Condition // an item for which it does not hold is not shown
}

// resolveGets finds the tables and makes the keys.
func (c *call) resolveGets(gets []itemRequest) (reads []momentRead, keys []commit.Key, err error) {
	var reasons []reason
	for i := range gets {
		g := &gets[i]
		table, err := c.table(g.table)
		if err != nil {
			return nil, nil, err
		}
		key, err := plan.Key(nil, &table.KeySchema, g.attributes)
		if err != nil {
			if reasons == nil {
				reasons = make([]reason, len(gets))
			}
			reasons[i] = reasonOf(err)
		}
		reads = append(reads, momentRead{named: g.table, table: table, shown: g.shown})
		keys = append(keys, commit.Key{Table: table.ID, Bytes: key})
	}
	if reasons != nil {
		return nil, nil, cancelled(reasons)
	}
	return reads, keys, nil
}

// answerMoment reads all keys at one moment and appends the answer. No key may be there twice.
func (c *call) answerMoment(reads []momentRead, keys []commit.Key, what capacity) error {
	if err := distinct(keys); err != nil {
		return err
	}
	var all consumption
	c.out = append(c.out, `{"Responses":[`...)
	err := c.door.getAll(keys, func(i int) *globaltable.Table { return reads[i].table }, func(current []commit.Current) error {
		bytes := 0
		for i := range current {
			size := current[i].Item.Size()
			bytes += size
			all.add(reads[i].named, reads[i].table, plan.Units{Table: plan.ReadUnits(size, true)}, transactional)
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
			if it := current[i].Item; it != nil && (reads[i].where == nil || reads[i].where.Holds(it)) {
				c.out = c.show(append(c.out, `"Item":`...), it, reads[i].shown)
			}
			c.out = append(c.out, '}')
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.out = append(c.out, ']')
	if what != capacityNone {
		c.out = all.append(c.field(), what, "Read")
	}
	c.out = append(c.out, '}')
	return nil
}
