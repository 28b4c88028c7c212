package dynamodb

import (
	"crypto/sha256"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/regionnode/commit"
)

// executeTransactionRequest has the parameters of ExecuteTransaction.
type executeTransactionRequest struct {
	list            []*fastjson.Value
	capacity, token text
	statements      []statement
}

func (r *executeTransactionRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TransactStatements":
		return parseList(&r.list, v)
	case "ClientRequestToken":
		return parseText(&r.token, v)
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	}
	return nil
}

func (c *call) executeTransaction(p *fastjson.Object) error {
	var r executeTransactionRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	reads, writes := 0, 0
	for i := range r.statements {
		s := &r.statements[i]
		if err := s.settle(); err != nil {
			return err
		}
		switch {
		case s.Select != nil:
			reads++
		default:
			writes++
		}
	}
	switch {
	case reads > 0 && writes > 0:
		return invalid("A transaction of statements must be all reads or all writes")
	case reads > 0:
		return c.transactReads(&r)
	}
	return c.transactWrites(&r)
}

// check parses the statements and checks the constraints of all parameters.
func (r *executeTransactionRequest) check() (err error) {
	var check constraints
	check.capacity(r.capacity)
	check.length(r.token, 1, maxToken, "clientRequestToken")
	if check.present(r.list != nil, "transactStatements") {
		check.count(len(r.list), 1, maxTransactItems, "transactStatements")
	}
	if len(r.list) <= maxTransactItems {
		r.statements = make([]statement, len(r.list))
		err = parseStatements(&check, "transactStatements", "ParameterizedStatement", r.list, func(i int) *statement { return &r.statements[i] })
	}
	if err != nil {
		return err
	}
	return check.err()
}

// transactReads does a transaction of SELECTs: each is about one item.
func (c *call) transactReads(r *executeTransactionRequest) error {
	const wrong = "Select statements within ExecuteTransaction must specify the primary key in the where clause."
	reads := make([]momentRead, len(r.statements))
	keys := make([]commit.Key, len(r.statements))
	for i := range r.statements {
		if s := &r.statements[i]; s.Select.Where == nil || s.Index != "" {
			return invalid(wrong)
		}
	}
	for i := range r.statements {
		s := &r.statements[i]
		table, err := c.table([]byte(s.Table))
		if err != nil {
			return err
		}
		reads[i] = momentRead{named: text(s.Table), table: table, shown: s.Select.Projection}
	}
	for i := range r.statements {
		m := &reads[i]
		_, key, where, err := keyIn(r.statements[i].Select.Where, m.table)
		if err != nil {
			return invalid(wrong)
		}
		m.where, keys[i] = where, commit.Key{Table: m.table.ID, Bytes: key}
	}
	return c.answerMoment(reads, keys, capacityOf(r.capacity))
}

// transactWrites does a transaction that writes, or only checks.
func (c *call) transactWrites(r *executeTransactionRequest) error {
	w := &c.writes
	w.transact(len(r.statements), r.capacity != nil)
	var reasons []reason
	for i := range r.statements {
		s := &r.statements[i]
		table, err := c.table([]byte(s.Table))
		if err != nil {
			return err
		}
		p, key, err := s.write(table)
		if err != nil {
			if reasons == nil {
				reasons = make([]reason, len(r.statements))
			}
			reasons[i] = reasonOf(err)
			continue
		}
		w.add(key, p)
	}
	if reasons != nil {
		return cancelled(reasons)
	}
	if r.token != nil {
		h := digest{sha256.New()}
		h.add(r.capacity)
		for i := range r.statements {
			h.add(r.statements[i].onConditionFailure)
			r.statements[i].addTo(h)
		}
		w.write.Token = h.token(r.token)
	}
	if err := c.commitTransaction(); err != nil {
		return err
	}
	c.out = append(c.out, `{"Responses":[`...)
	for i := range r.statements {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, '{')
		if image := w.list[i].image; image != nil {
			c.out = image.AppendJSON(append(c.out, `"Item":`...))
		}
		c.out = append(c.out, '}')
	}
	c.out = append(c.out, ']')
	if err := c.appendTransactCapacity(capacityOf(r.capacity)); err != nil {
		return err
	}
	c.out = append(c.out, '}')
	return nil
}
