package dynamodb

import (
	"errors"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const maxBatchStatements = 25

// batchStatement is a statement of a BatchExecuteStatement on its way.
type batchStatement struct {
	statement
	failed reason // zero: it has not failed
	at     int    // index of the write that it is
}

// batchExecuteRequest has the parameters of BatchExecuteStatement.
type batchExecuteRequest struct {
	list       []*fastjson.Value
	capacity   text
	statements []batchStatement
}

func (r *batchExecuteRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "Statements":
		return parseList(&r.list, v)
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	}
	return nil
}

func (c *call) batchExecuteStatement(p *fastjson.Object) error {
	var r batchExecuteRequest
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
			s.failed = reasonOf(err)
			continue
		}
		if s.ReadOnly() {
			reads++
		} else {
			writes++
		}
	}
	switch {
	case reads > 0 && writes > 0:
		return invalid("A batch of statements must be all reads or all writes")
	case writes > 0:
		return c.executeWrites(&r)
	}
	return c.executeReads(&r)
}

// check parses the statements and checks the constraints of all parameters.
func (r *batchExecuteRequest) check() (err error) {
	var check constraints
	check.capacity(r.capacity)
	if check.present(r.list != nil, "statements") {
		check.count(len(r.list), 1, maxBatchStatements, "statements")
	}
	if len(r.list) <= maxBatchStatements {
		r.statements = make([]batchStatement, len(r.list))
		err = parseStatements(&check, "statements", "BatchStatementRequest", r.list, func(i int) *statement { return &r.statements[i].statement })
	}
	if err != nil {
		return err
	}
	return check.err()
}

// parseStatements parses the statements of a list.
func parseStatements(check *constraints, path, class string, list []*fastjson.Value, at func(i int) *statement) error {
	for i, v := range list {
		var o *fastjson.Object
		if err := parseObject(&o, v, className(class)); err != nil {
			return err
		}
		check.at = path + "." + strconv.Itoa(i+1) + ".member"
		if !check.present(o != nil, "") {
			continue
		}
		s := at(i)
		if err := each(o, s.set); err != nil {
			return err
		}
		check.at += "."
		s.check(check)
	}
	check.at = ""
	return nil
}

// executeReads does the statements of a batch that reads: each is about one item.
func (c *call) executeReads(r *batchExecuteRequest) error {
	var all consumption
	c.out = append(c.out, `{"Responses":[`...)
	for i := range r.statements {
		s := &r.statements[i]
		if i > 0 {
			c.out = append(c.out, ',')
		}
		var err error
		if s.failed.code == "" {
			err = c.executeRead(s, &all)
		}
		if err != nil {
			s.failed = reasonOf(err)
		}
		if s.failed.code != "" {
			c.appendFailed(s)
		}
	}
	c.endStatements(all, r.capacity)
	return nil
}

// executeRead does one SELECT of a batch and appends its response. On an error nothing is appended.
func (c *call) executeRead(s *batchStatement, all *consumption) error {
	if s.Select == nil || s.Select.Where == nil || s.Index != "" {
		return invalid("Select statements within BatchExecuteStatement must specify the primary key in the where clause.")
	}
	table, err := c.table([]byte(s.Table))
	if err != nil {
		return err
	}
	_, key, where, err := keyIn(s.Select.Where, table)
	if err != nil {
		return invalid("Select statements within BatchExecuteStatement must specify the primary key in the where clause.")
	}
	at := len(c.out)
	c.out = item.AppendJSONString(append(c.out, `{"TableName":`...), s.Table)
	size := 0
	err = c.door.get(table, key, func(current commit.Current) error {
		it := current.Item
		size = it.Size()
		if it == nil || where != nil && !where.Holds(it) {
			return nil
		}
		if !c.reserve(int64(size)) {
			return unavailable(errNoMemory)
		}
		c.out = c.show(append(c.out, `,"Item":`...), it, s.Select.Projection)
		return nil
	})
	if err != nil {
		c.out = c.out[:at]
		return err
	}
	c.out = append(c.out, '}')
	all.add(text(s.Table), table, plan.Units{Table: plan.ReadUnits(size, s.consistent)}, 1)
	return nil
}

// executeWrites does the statements of a batch that writes. Each is done or refused for itself.
func (c *call) executeWrites(r *batchExecuteRequest) error {
	w := &c.writes
	w.begin(len(r.statements))
	w.onRefusal, w.measured = refuseEach, r.capacity != nil
	for i := range r.statements {
		s := &r.statements[i]
		if s.failed.code != "" {
			continue
		}
		if err := c.addStatement(s); err != nil {
			s.failed = reasonOf(err)
		}
	}
	c.commitEach(r)
	if err := w.acknowledged(); err != nil {
		return err
	}
	c.out = append(c.out, `{"Responses":[`...)
	var all consumption
	for i := range r.statements {
		s := &r.statements[i]
		if i > 0 {
			c.out = append(c.out, ',')
		}
		if s.failed.code != "" {
			c.appendFailed(s)
			continue
		}
		p := &w.list[s.at]
		c.out = item.AppendJSONString(append(c.out, `{"TableName":`...), s.Table)
		if p.image != nil {
			c.out = p.image.AppendJSON(append(c.out, `,"Item":`...))
		}
		c.out = append(c.out, '}')
		all.add(p.named, p.Table, p.units, 1)
	}
	c.endStatements(all, r.capacity)
	return nil
}

// addStatement adds what a statement writes.
func (c *call) addStatement(s *batchStatement) error {
	table, err := c.table([]byte(s.Table))
	if err != nil {
		return err
	}
	p, key, err := s.write(table)
	if err != nil {
		return err
	}
	w := &c.writes
	s.at = len(w.list)
	w.add(key, p)
	err = w.admit(s.at + 1)
	if err != nil {
		w.keys, w.list = w.keys[:s.at], w.list[:s.at]
	}
	return err
}

// commitEach does the writes in as few commits as there can be without an item twice in one, and tells the statements what became of them.
func (c *call) commitEach(r *batchExecuteRequest) {
	w := &c.writes
	for from := 0; from < len(w.list); {
		to := from + 1
		for to < len(w.list) && !containsKey(w.keys[from:to], w.keys[to]) {
			to++
		}
		err := w.commit(from, to)
		for i := range r.statements {
			if s := &r.statements[i]; s.failed.code == "" && s.at >= from && s.at < to {
				switch {
				case errors.As(err, new(*foreign)) && w.door.may(w.list[s.at].Table, w.keys[s.at].Bytes):
					// It is another one of the commit that may not be here any more.
					s.failed = reasonOf(unavailable("The table's locality policies have changed. Nothing was done; a retry may succeed"))
				case err != nil:
					s.failed = reasonOf(err)
				case w.reasons != nil:
					s.failed = w.reasons[s.at]
				}
			}
		}
		from = to
	}
}

func containsKey(keys []commit.Key, k commit.Key) bool {
	for _, other := range keys {
		if other.Table == k.Table && string(other.Bytes) == string(k.Bytes) {
			return true
		}
	}
	return false
}

// appendFailed appends the response of a statement that has failed.
func (c *call) appendFailed(s *batchStatement) {
	c.out = item.AppendJSONString(append(c.out, `{"Error":{"Code":`...), s.failed.code)
	if s.failed.item != nil {
		c.out = append(append(c.out, `,"Item":`...), s.failed.item...)
	}
	c.out = item.AppendJSONString(append(c.out, `,"Message":`...), s.failed.message)
	c.out = append(c.out, '}')
	if s.Statement != nil {
		c.out = item.AppendJSONString(append(c.out, `,"TableName":`...), s.Table)
	}
	c.out = append(c.out, '}')
}

// endStatements ends an answer that is a list of responses.
func (c *call) endStatements(all consumption, what text) {
	c.out = append(c.out, ']')
	if what := capacityOf(what); what != capacityNone {
		c.out = all.append(c.field(), what, "")
	}
	c.out = append(c.out, '}')
}
