package dynamodb

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
)

const maxNextToken = 32768

// executeRequest has the parameters of ExecuteStatement.
type executeRequest struct {
	statement
	capacity, next text
	limit          integer
}

func (r *executeRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	case "NextToken":
		return parseText(&r.next, v)
	case "Limit":
		return parseInteger(&r.limit, v, "Integer")
	}
	return r.statement.set(name, v)
}

func (c *call) executeStatement(p *fastjson.Object) error {
	var r executeRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	var check constraints
	r.check(&check)
	check.atLeast(r.limit, 1, "limit")
	check.length(r.next, 1, maxNextToken, "nextToken")
	check.capacity(r.capacity)
	if err := check.err(); err != nil {
		return err
	}
	if err := r.settle(); err != nil {
		return err
	}
	if r.Exists != nil {
		return invalid("EXISTS is a statement of transactions only")
	}
	table, err := c.table([]byte(r.Table))
	if err != nil {
		return err
	}
	if r.Select != nil {
		return c.executeSelect(&r, table)
	}
	return c.executeWrite(&r, table)
}

// executeWrite does a statement that writes.
func (c *call) executeWrite(r *executeRequest, table *globaltable.Table) error {
	p, key, err := r.write(table)
	if err != nil {
		return err
	}
	w := &c.writes
	w.begin(1)
	w.measured = r.capacity != nil
	w.add(key, p)
	if err := w.commit(0, 1); err != nil {
		return err
	}
	if err := w.acknowledged(); err != nil {
		return err
	}
	c.out = append(c.out, `{"Items":[`...)
	if image := w.list[0].image; image != nil {
		c.out = image.AppendJSON(c.out)
	}
	c.out = append(c.out, ']')
	if what := capacityOf(r.capacity); what != capacityNone {
		spent := consumed{text(r.Table), table, w.list[0].units}
		c.out = spent.append(append(c.field(), `"ConsumedCapacity":`...), what, "")
	}
	c.out = append(c.out, '}')
	return nil
}

// executeSelect reads a page of a SELECT, which may go over several spans.
func (c *call) executeSelect(r *executeRequest, table *globaltable.Table) error {
	if err := c.admitSelect(&r.statement, table); err != nil {
		return err
	}
	spans, filter, err := r.spans(c.server, table)
	if err != nil {
		return err
	}
	at := position{statement: r.fingerprint()}
	if r.next != nil && !at.resume(r.next, spans) {
		return invalid("NextToken does not match request")
	}
	if err := checkProjected(spans[0], r.Select.Projection); err != nil {
		return err
	}
	pg := page{named: text(r.Table), where: filter, shown: r.Select.Projection, consistent: r.consistent, limit: math.MaxInt32, list: true, fetch: needsMore(spans[0], r.Select.Projection, filter)}
	pg.whole = pg.fetch && pg.shown != nil
	if r.limit.given {
		pg.limit = int(min(r.limit.value, math.MaxInt32))
	}
	c.out = append(c.out, `{"Items":[`...)
	for ; at.span < len(spans); at.span++ {
		pg.span = spans[at.span]
		if err := c.readSpan(&pg); err != nil {
			return err
		}
		if pg.ended {
			break
		}
	}
	c.out = append(c.out, ']')
	if pg.ended {
		c.out = item.AppendJSONString(append(c.field(), `"NextToken":`...), at.token(pg.last))
	}
	return c.endPage(&pg, capacityOf(r.capacity))
}

// admitSelect refuses a SELECT of one item, by its whole key, that may not be served here. Others pass over what may not.
func (c *call) admitSelect(s *statement, table *globaltable.Table) error {
	if len(table.Pins) == 0 && c.door.asker == 0 {
		return nil
	}
	if s.Index == "" && s.Select.Where != nil {
		if _, key, _, err := keyIn(s.Select.Where, table); err == nil {
			return c.door.one(table, key)
		}
	}
	if c.door.asker != 0 {
		return &globaltable.Error{Op: "serve forwarded request", Resource: table.Name, Kind: globaltable.Denied, Message: "Only statements on one item are forwarded."}
	}
	return nil
}

// fingerprint is a hash of the statement and its parameters.
func (s *statement) fingerprint() (sum [8]byte) {
	h := digest{sha256.New()}
	s.addTo(h)
	copy(sum[:], h.Sum(nil))
	return sum
}

// addTo adds the statement to a digest.
func (s *statement) addTo(h digest) {
	h.add(s.text)
	for _, v := range s.parameters {
		h.add(v)
	}
	h.add(nil)
}

// position is where a SELECT goes on: after a key of one of its spans. A NextToken is this, for the statement that it was given for.
type position struct {
	statement [8]byte
	span      int
}

const tokenVersion = 1

// token returns the position after key as a NextToken.
func (p *position) token(key item.Key) string {
	b := append([]byte{tokenVersion}, p.statement[:]...)
	b = binary.AppendUvarint(b, uint64(p.span))
	return base64.StdEncoding.EncodeToString(append(b, key...))
}

// resume reads a NextToken and makes its span begin there. It reports whether the token is one of this statement's.
func (p *position) resume(token text, spans []*plan.Span) bool {
	b, err := base64.StdEncoding.DecodeString(string(token))
	const head = 1 + len(p.statement)
	if err != nil || len(b) <= head || b[0] != tokenVersion || string(b[1:head]) != string(p.statement[:]) {
		return false
	}
	span, n := binary.Uvarint(b[head:])
	if n <= 0 || span >= uint64(len(spans)) {
		return false
	}
	p.span = int(span)
	key := item.Key(b[head+n:])
	if !spans[p.span].Has(key) {
		return false
	}
	return spans[p.span].After(key)
}
