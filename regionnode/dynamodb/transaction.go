package dynamodb

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"net/http"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	maxTransactItems = 100
	// maxTransactBytes is the size of all items of a transaction.
	maxTransactBytes = 4 << 20
	maxToken         = 36
)

// errTransactSize refuses a transaction on more than maxTransactBytes.
var errTransactSize = invalid("The aggregate size of the items in the transaction exceeds 4 MB")

// action is one action of a transaction.
type action struct {
	itemRequest
	action plan.Action
}

// transactWriteRequest has the parameters of TransactWriteItems.
type transactWriteRequest struct {
	items                    []*fastjson.Value
	capacity, metrics, token text
	actions                  []action
	held                     error
}

func (r *transactWriteRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TransactItems":
		return parseList(&r.items, v)
	case "ClientRequestToken":
		return parseText(&r.token, v)
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	case "ReturnItemCollectionMetrics":
		return parseText(&r.metrics, v)
	}
	return nil
}

func (c *call) transactWriteItems(p *fastjson.Object) error {
	var r transactWriteRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	for i := range r.actions {
		if err := r.actions[i].settle(c.server.expressions); err != nil {
			return err
		}
	}
	w := &c.writes
	w.transact(len(r.actions), r.capacity != nil)
	if err := c.addActions(r.actions); err != nil {
		return err
	}
	if r.token != nil {
		w.write.Token = r.fingerprint()
	}
	if err := c.commitTransaction(); err != nil {
		return err
	}
	c.out = append(c.out, '{')
	if err := c.appendTransactCapacity(capacityOf(r.capacity)); err != nil {
		return err
	}
	if err := c.appendCollections(r.metrics, len(r.actions)); err != nil {
		return err
	}
	c.out = append(c.out, '}')
	return nil
}

// check parses the actions and checks the constraints of all parameters.
func (r *transactWriteRequest) check() error {
	var check constraints
	check.capacity(r.capacity)
	if check.present(r.items != nil, "transactItems") {
		check.count(len(r.items), 1, maxTransactItems, "transactItems")
	}
	check.metrics(r.metrics)
	check.length(r.token, 1, maxToken, "clientRequestToken")
	if len(r.items) <= maxTransactItems {
		r.actions = make([]action, len(r.items))
		for i, v := range r.items {
			check.at = "transactItems." + strconv.Itoa(i+1) + ".member."
			if err := r.parseAction(&check, &r.actions[i], v); err != nil {
				return err
			}
		}
	}
	if err := check.err(); err != nil {
		return err
	}
	return r.held
}

// actionKinds are the members that an action may be.
var actionKinds = []struct {
	name, path string
	action     plan.Action
	may        parameterSet
}{
	{"ConditionCheck", "conditionCheck.", plan.Check, transactParameters | pKey},
	{"Put", "put.", plan.Put, transactParameters | pItem},
	{"Delete", "delete.", plan.Delete, transactParameters | pKey},
	{"Update", "update.", plan.Update, transactParameters | pKey | pUpdateExpression},
}

// parseAction parses one action: an object with one of the members.
func (r *transactWriteRequest) parseAction(check *constraints, a *action, v *fastjson.Value) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className("TransactWriteItem")); err != nil {
		return err
	}
	kinds, at := 0, check.at
	for _, k := range actionKinds {
		var body *fastjson.Object
		if o != nil {
			if err := parseObject(&body, o.Get(k.name), className(k.name)); err != nil {
				return err
			}
		}
		if body == nil {
			continue
		}
		kinds++
		a.reset(k.may)
		a.action = k.action
		if err := a.parse(body); err != nil {
			return err
		}
		check.at = at + k.path
		a.check(check)
		check.present(k.action != plan.Check || a.has(pConditionExpression), "conditionExpression")
		check.present(k.action != plan.Update || a.has(pUpdateExpression), "updateExpression")
	}
	if kinds != 1 && r.held == nil {
		r.held = invalid("TransactItems can only contain one of Check, Put, Update or Delete")
	}
	return nil
}

// addActions finds tables and keys of the actions. What is wrong with a key cancels the transaction; a table that is not there is the request's error.
func (c *call) addActions(actions []action) error {
	var reasons []reason
	for i := range actions {
		a := &actions[i]
		table, err := c.table(a.table)
		if err != nil {
			return err
		}
		p, err := a.write(a.action, table)
		if err != nil {
			if reasons == nil {
				reasons = make([]reason, len(actions))
			}
			reasons[i] = reasonOf(err)
			continue
		}
		c.writes.add(a.itemKey, p)
	}
	if reasons != nil {
		return cancelled(reasons)
	}
	return nil
}

// distinct refuses a transaction with an item in two of its actions.
func distinct(keys []commit.Key) error {
	if repeats(keys) {
		return invalid("Transaction request cannot include multiple operations on one item")
	}
	return nil
}

// fingerprint returns the request's token: what the client calls it, and what it asks for. Maps in another order, and numbers written in another way, are the same request.
func (r *transactWriteRequest) fingerprint() *commit.Token {
	h := digest{sha256.New()}
	h.add(r.capacity)
	h.add(r.metrics)
	for i := range r.actions {
		a := &r.actions[i]
		h.add([]byte{byte(a.action)})
		for _, part := range [...][]byte{a.table, a.attributes, a.condition, a.update, a.onConditionFailure} {
			h.add(part)
		}
		a.bindings.Each(func(placeholder, content []byte) {
			h.add(placeholder)
			h.add(content)
		})
		h.add(nil)
	}
	return h.token(r.token)
}

// digest is a hash of a list of byte strings.
type digest struct{ hash.Hash }

func (h digest) add(part []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(part)))
	h.Write(n[:])
	h.Write(part)
}

// transact prepares w for a transaction of n actions.
func (w *writes) transact(n int, measured bool) {
	w.begin(n)
	w.write.Transaction, w.onRefusal, w.measured = true, gatherAll, measured
}

// commitTransaction does all writes in one commit, and returns when it is done and confirmed as its tables ask.
func (c *call) commitTransaction() error {
	w := &c.writes
	if err := distinct(w.keys); err != nil {
		return err
	}
	if err := w.commit(0, len(w.list)); err != nil {
		return conflicting(err, len(w.list))
	}
	return w.acknowledged()
}

// appendTransactCapacity appends what a transaction that is done has consumed.
func (c *call) appendTransactCapacity(what capacity) error {
	var all consumption
	w := &c.writes
	switch {
	case what == capacityNone:
		return nil
	case w.write.Repeated:
		// Nothing was written now; DynamoDB counts that the items are looked at.
		err := c.door.getAll(w.keys, func(i int) *globaltable.Table { return w.list[i].Table }, func(current []commit.Current) error {
			for i := range current {
				all.add(w.list[i].named, w.list[i].Table, plan.Units{Table: plan.ReadUnits(current[i].Item.Size(), true)}, transactional)
			}
			return nil
		})
		c.out = all.append(c.field(), what, "Read")
		return err
	}
	for i := range w.list {
		all.add(w.list[i].named, w.list[i].Table, w.list[i].units, transactional)
	}
	c.out = all.append(c.field(), what, "Write")
	return nil
}

// token returns the client's token, for what was added.
func (h digest) token(name text) *commit.Token {
	t := new(commit.Token)
	h.Sum(t.Content[:0])
	id := sha256.Sum256(name)
	copy(t.ID[:], id[:])
	return t
}

// reason is why an action was refused; zero if it was not.
type reason struct {
	code, message string
	item          []byte // the item that was there, as JSON, if it is asked for
}

// codes are the codes of reasons, by the names of exceptions.
var codes = map[string]string{
	prefixValidate + "ValidationException":                    "ValidationError",
	prefixDynamoDB + "ConditionalCheckFailedException":        "ConditionalCheckFailed",
	prefixDynamoDB + "DuplicateItemException":                 "DuplicateItem",
	prefixDynamoDB + "ResourceNotFoundException":              "ResourceNotFound",
	prefixDynamoDB + "ProvisionedThroughputExceededException": "ProvisionedThroughputExceeded",
	prefixService + "ServiceUnavailableException":             "ThrottlingError",
	prefixService + "AccessDeniedException":                   "AccessDenied",
}

// reasonOf returns the reason that an error is.
func reasonOf(err error) reason {
	x := translate(err, false)
	code, ok := codes[x.name]
	if !ok {
		code = "InternalServerError"
	}
	return reason{code: code, message: x.message}
}

// conflicting turns an error of a transaction of n actions that could not be done for another write into DynamoDB's.
func conflicting(err error, n int) error {
	var c *commit.ConflictError
	if !errors.As(err, &c) {
		return err
	}
	reasons := make([]reason, n)
	if c.Key >= 0 {
		reasons[c.Key] = reason{code: "TransactionConflict", message: "Transaction is ongoing for the item"}
	}
	return cancelled(reasons)
}

// cancelled is a TransactionCanceledException: why, for each action.
func cancelled(reasons []reason) *exception {
	const intro = "Transaction cancelled, please refer cancellation reasons for specific reasons ["
	fields, codes := []byte(`"CancellationReasons":[`), []byte(intro)
	for i, r := range reasons {
		if i > 0 {
			fields, codes = append(fields, ','), append(codes, ", "...)
		}
		if r.code == "" {
			r.code = "None"
		}
		codes = append(codes, r.code...)
		fields = item.AppendJSONString(append(fields, `{"Code":`...), r.code)
		if r.item != nil {
			fields = append(append(fields, `,"Item":`...), r.item...)
		}
		if r.message != "" {
			fields = item.AppendJSONString(append(fields, `,"Message":`...), r.message)
		}
		fields = append(fields, '}')
	}
	return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + "TransactionCanceledException", message: string(append(codes, ']')), capital: true,
		fields: append(fields, ']')}
}
