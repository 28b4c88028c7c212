package naive

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

var (
	transactCommon = []field{required("TableName", tableName), optional("ExpressionAttributeNames", names),
		optional("ExpressionAttributeValues", attributes), optional("ReturnValuesOnConditionCheckFailure", onFailure)}
	conditionCheck = structure("ConditionCheck", append([]field{required("Key", attributes), required("ConditionExpression", text)}, transactCommon...)...)
	transactPut    = structure("Put", append([]field{required("Item", attributes), optional("ConditionExpression", text)}, transactCommon...)...)
	transactDelete = structure("Delete", append([]field{required("Key", attributes), optional("ConditionExpression", text)}, transactCommon...)...)
	transactUpdate = structure("Update", append([]field{required("Key", attributes), required("UpdateExpression", text), optional("ConditionExpression", text)},
		transactCommon...)...)
	transactWriteItem = structure("TransactWriteItem", optional("ConditionCheck", conditionCheck), optional("Put", transactPut),
		optional("Delete", transactDelete), optional("Update", transactUpdate))
	transactWriteItemsInput = structure("TransactWriteItemsInput", required("TransactItems", within(1, 100, listOf(transactWriteItem))),
		optional("ReturnConsumedCapacity", capacity), optional("ReturnItemCollectionMetrics", metrics),
		optional("ClientRequestToken", within(1, 36, text)))

	transactGet = structure("Get", required("Key", attributes), required("TableName", tableName), optional("ProjectionExpression", text),
		optional("ExpressionAttributeNames", names))
	transactGetItemsInput = structure("TransactGetItemsInput",
		required("TransactItems", within(1, 100, listOf(structure("TransactGetItem", required("Get", transactGet))))),
		optional("ReturnConsumedCapacity", capacity))
)

// answered is what a transaction with a token was and when it was done.
type answered struct {
	request string
	at      time.Time
	reads   map[string]consumed // what a repetition costs
}

const tokenLifetime = 10 * time.Minute

// transactWrite is one part of a transaction.
type transactWrite struct {
	write
	check     bool       // a ConditionCheck: nothing is written
	statement *statement // nil: it is not one of PartiQL
}

func decodeTransactWrite(o object) (*transactWrite, error) {
	w := &transactWrite{}
	for kind, v := range o {
		p := v.(object)
		w.returnsFrom(p)
		w.check, w.isUpdate = kind == "ConditionCheck", kind == "Update"
		of := conditionParameters
		if kind == "Update" {
			of = updateParameters
		}
		b, err := of.bindings(p)
		if err != nil {
			return nil, err
		}
		if kind == "Put" {
			w.put, err = decodeItem(p["Item"])
		} else {
			w.key, err = decodeItem(p["Key"])
		}
		if err != nil {
			return nil, err
		}
		if w.put.size() > maxItemSize {
			return nil, errItemSize
		}
		return w, w.say(p, b)
	}
	return w, nil
}

func (db *DB) transactWriteItems(p object) (object, error) {
	var writes []*transactWrite
	for _, e := range p["TransactItems"].([]any) {
		if len(e.(object)) != 1 {
			return nil, invalid("TransactItems can only contain one of Check, Put, Update or Delete")
		}
	}
	for _, e := range p["TransactItems"].([]any) {
		w, err := decodeTransactWrite(e.(object))
		if err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	for _, w := range writes {
		if _, err := db.lookUpTable(w.table); err != nil {
			return nil, err
		}
	}
	reasons := newReasons(len(writes))
	for i, w := range writes {
		reasons.note(i, w.checkKey(db.tables[w.table]))
	}
	if err := reasons.cancelled(); err != nil {
		return nil, err
	}
	var keys []string
	for _, w := range writes {
		keys = append(keys, db.tables[w.table].identity(w.key))
	}
	if !distinct(keys) {
		return nil, errTwiceInTransaction
	}
	if before, ok := db.repeated(p); ok {
		return db.repeat(p, before)
	}
	return db.commit(p, writes, reasons)
}

var errTwiceInTransaction = invalid("Transaction request cannot include multiple operations on one item")

// commit plans all writes, does all or none, and answers.
func (db *DB) commit(p object, writes []*transactWrite, reasons *reasons) (object, error) {
	type planned struct{ old, now item }
	plans := make([]planned, len(writes))
	for i, w := range writes {
		old, now, err := db.planPart(w)
		if w.check {
			now = old
		}
		plans[i] = planned{old, now}
		reasons.note(i, err)
	}
	if err := reasons.cancelled(); err != nil {
		return nil, err
	}
	units, reads := map[string]consumed{}, map[string]consumed{}
	collections := object{}
	for i, w := range writes {
		t := db.tables[w.table]
		c := consumed{table: kilobytes(plans[i].old.size(), 1)}
		if !w.check {
			c = t.writeUnits(plans[i].old, plans[i].now)
			db.set(t, w.key, plans[i].now)
			if m := t.collection(p, w.key); m != nil {
				list, _ := collections[w.table].([]any)
				collections[w.table] = append(list, m)
			}
		}
		sum, read := units[w.table], reads[w.table]
		sum.add(c.times(2))
		read.table += 2 * kilobytes(plans[i].now.size(), 4)
		units[w.table], reads[w.table] = sum, read
	}
	if token, ok := p["ClientRequestToken"].(string); ok {
		db.tokens[token] = answered{requestText(p), db.config.Now(), reads}
	}
	out := object{}
	db.reportAll(p, out, units, "Write")
	if len(collections) > 0 {
		out["ItemCollectionMetrics"] = collections
	}
	return out, nil
}

func (db *DB) planPart(w *transactWrite) (old, now item, err error) {
	if w.statement != nil {
		return db.planStatement(db.tables[w.table], w.statement, &w.write)
	}
	return db.plan(db.tables[w.table], &w.write)
}

// requestText is the same for the same request only.
func requestText(p object) string {
	b, _ := json.Marshal(p)
	return string(b)
}

// repeated finds what was done with the request's token before.
func (db *DB) repeated(p object) (answered, bool) {
	token, ok := p["ClientRequestToken"].(string)
	if !ok {
		return answered{}, false
	}
	before, ok := db.tokens[token]
	return before, ok && db.config.Now().Sub(before.at) < tokenLifetime
}

func (db *DB) repeat(p object, before answered) (object, error) {
	if before.request != requestText(p) {
		return nil, &fault{kind: "IdempotentParameterMismatchException",
			message: "DynamoDB rejected the request because you retried a request with a different payload but with an idempotent token that was already used."}
	}
	out := object{}
	db.reportAll(p, out, before.reads, "Read")
	return out, nil
}

// reasons gathers why parts of a transaction fail.
type reasons struct {
	list  []any
	codes []string
	fails bool
}

func newReasons(n int) *reasons {
	r := &reasons{list: make([]any, n), codes: make([]string, n)}
	for i := range n {
		r.list[i], r.codes[i] = object{"Code": "None"}, "None"
	}
	return r
}

// reasonCodes are the names that exceptions have where they are one reason among others.
var reasonCodes = map[string]string{"ConditionalCheckFailedException": "ConditionalCheckFailed", "ValidationException": "ValidationError",
	"DuplicateItemException": "DuplicateItem", "ResourceNotFoundException": "ResourceNotFound"}

// note notes the fault of part i, if it has one.
func (r *reasons) note(i int, err error) {
	if err == nil {
		return
	}
	f := err.(*fault)
	code := reasonCodes[f.kind]
	reason := object{"Code": code, "Message": f.messages()}
	if old := f.members["Item"]; old != nil {
		reason["Item"] = old
	}
	r.list[i], r.codes[i], r.fails = reason, code, true
}

func (r *reasons) cancelled() error {
	if !r.fails {
		return nil
	}
	return &fault{kind: "TransactionCanceledException", members: object{"CancellationReasons": r.list},
		message: "Transaction cancelled, please refer cancellation reasons for specific reasons [" + strings.Join(r.codes, ", ") + "]"}
}

func (db *DB) transactGetItems(p object) (object, error) {
	var gets []object
	var reads []read
	for _, e := range p["TransactItems"].([]any) {
		get := e.(object)["Get"].(object)
		r, err := decodeRead(get)
		if err != nil {
			return nil, err
		}
		gets, reads = append(gets, get), append(reads, r)
	}
	for _, get := range gets {
		if _, err := db.lookUpTable(get["TableName"].(string)); err != nil {
			return nil, err
		}
	}
	reasons := newReasons(len(reads))
	for i, r := range reads {
		reasons.note(i, db.tables[gets[i]["TableName"].(string)].namedKey(r.key))
	}
	if err := reasons.cancelled(); err != nil {
		return nil, err
	}
	var keys []string
	responses := []any{}
	units := map[string]consumed{}
	for i, r := range reads {
		t := db.tables[gets[i]["TableName"].(string)]
		keys = append(keys, t.identity(r.key))
		it := t.get(r.key)
		response := object{}
		if it != nil {
			response["Item"] = selected(it, r.projection).encode()
		}
		responses = append(responses, response)
		sum := units[t.name]
		sum.table += 2 * kilobytes(it.size(), 4)
		units[t.name] = sum
	}
	if !distinct(slices.Clone(keys)) {
		return nil, errTwiceInTransaction
	}
	out := object{"Responses": responses}
	db.reportAll(p, out, units, "Read")
	return out, nil
}
