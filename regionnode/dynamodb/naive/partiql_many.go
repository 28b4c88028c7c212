package naive

import "slices"

var (
	batchExecuteStatementInput = structure("BatchExecuteStatementInput",
		required("Statements", within(1, 25, listOf(structure("BatchStatementRequest", append([]field{optional("ConsistentRead", boolean)}, statementShape...)...)))),
		optional("ReturnConsumedCapacity", capacity))
	executeTransactionInput = structure("ExecuteTransactionInput",
		required("TransactStatements", within(1, 100, listOf(structure("ParameterizedStatement", statementShape...)))),
		optional("ClientRequestToken", within(1, 36, text)), optional("ReturnConsumedCapacity", capacity))
)

// batched is a statement of a batch on its way.
type batched struct {
	p         object
	statement *statement
	err       error
}

// batchExecuteStatement does statements that read, or statements that write; each for itself.
func (db *DB) batchExecuteStatement(p object) (object, error) {
	var list []batched
	reads, writes := 0, 0
	for _, e := range p["Statements"].([]any) {
		b := batched{p: e.(object)}
		b.statement, b.err = decodeStatement(b.p)
		switch {
		case b.err != nil:
		case b.statement.reads():
			reads++
		default:
			writes++
		}
		list = append(list, b)
	}
	if reads > 0 && writes > 0 {
		return nil, errNotSupported
	}
	responses := []any{}
	units := map[string]consumed{}
	failed := false
	for _, b := range list {
		response, err := db.batchedStatement(b, units)
		if err != nil {
			failed = true
			response = object{"Error": batchError(err)}
		}
		switch {
		case b.err == nil:
			response["TableName"] = b.statement.table
		default:
			response["TableName"] = Open // whether a statement that is not understood has a table's name
		}
		responses = append(responses, response)
	}
	out := object{"Responses": responses}
	db.reportAll(p, out, units, "")
	if failed && out["ConsumedCapacity"] != nil {
		out["ConsumedCapacity"] = Anything // what failures cost is left open
	}
	return out, nil
}

func batchError(err error) object {
	f := err.(*fault)
	out := object{"Code": reasonCodes[f.kind], "Message": f.messages()}
	if old := f.members["Item"]; old != nil {
		out["Item"] = old
	}
	return out
}

var errBatchSelect = invalid("Select statements within BatchExecuteStatement must specify the primary key in the where clause.")

func (db *DB) batchedStatement(b batched, units map[string]consumed) (object, error) {
	if b.err != nil {
		return nil, b.err
	}
	s := b.statement
	if s.verb == "EXISTS" {
		return nil, errNotSupported
	}
	if s.verb == "SELECT" && (s.index != "" || s.where == nil) {
		return nil, errBatchSelect
	}
	t, err := db.lookUpTable(s.table)
	if err != nil {
		return nil, err
	}
	w, err := s.write(b.p, t)
	response := object{}
	sum := units[s.table]
	if s.verb == "SELECT" {
		switch {
		case err == errNoKey:
			return nil, errBatchSelect
		case err != nil: // a key of a wrong type or size
			return nil, errNotSupported
		}
		it := t.get(w.key)
		sum.table += readUnits(it.size(), b.p["ConsistentRead"] == true)
		if it != nil && (w.condition == nil || holds(w.condition, it)) {
			response["Item"] = s.show(it).encode()
		}
		units[s.table] = sum
		return response, nil
	}
	if err != nil {
		return nil, err
	}
	old, now, err := db.planStatement(t, s, w)
	if err != nil {
		return nil, err
	}
	db.set(t, w.key, now)
	if returned := w.answer(old, now); len(returned) > 0 {
		response["Item"] = returned.encode()
	}
	if w.movesUp(now) {
		response["Item"] = Open
	}
	sum.add(t.writeUnits(old, now))
	units[s.table] = sum
	return response, nil
}

// executeTransaction does statements that read one item each, or statements that write or check one, all or none.
func (db *DB) executeTransaction(p object) (object, error) {
	var list []batched
	var faults []error
	reads := 0
	for _, e := range p["TransactStatements"].([]any) {
		b := batched{p: e.(object)}
		b.statement, b.err = decodeStatement(b.p)
		if b.err != nil {
			faults = append(faults, b.err)
			continue
		}
		if b.statement.verb == "SELECT" {
			reads++
		}
		list = append(list, b)
	}
	if reads > 0 && reads < len(list) {
		faults = append(faults, errNotSupported)
	}
	if err := oneOf(faults); err != nil {
		return nil, err
	}
	for _, b := range list {
		if b.statement.verb == "SELECT" && (b.statement.index != "" || b.statement.where == nil) {
			return nil, errTransactSelect
		}
	}
	for _, b := range list {
		if _, err := db.lookUpTable(b.statement.table); err != nil {
			return nil, err
		}
	}
	if reads > 0 {
		return db.transactSelect(p, list)
	}
	return db.transactStatements(p, list)
}

// errTransactSelect: its words are known of batches only.
var errTransactSelect = errNotSupported

func (db *DB) transactSelect(p object, list []batched) (object, error) {
	var keys []string
	responses := []any{}
	units := map[string]consumed{}
	for _, b := range list {
		t := db.tables[b.statement.table]
		w, err := b.statement.write(b.p, t)
		if err != nil {
			return nil, errTransactSelect
		}
		keys = append(keys, t.identity(w.key))
		it := t.get(w.key)
		response := object{}
		if it != nil && (w.condition == nil || holds(w.condition, it)) {
			response["Item"] = b.statement.show(it).encode()
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

func (db *DB) transactStatements(p object, list []batched) (object, error) {
	reasons := newReasons(len(list))
	writes := make([]*transactWrite, len(list))
	var keys []string
	for i, b := range list {
		t := db.tables[b.statement.table]
		w, err := b.statement.write(b.p, t)
		reasons.note(i, err)
		if err == nil {
			writes[i] = &transactWrite{write: *w, check: b.statement.verb == "EXISTS", statement: b.statement}
			keys = append(keys, t.identity(w.key))
		}
	}
	if err := reasons.cancelled(); err != nil {
		return nil, err
	}
	if !distinct(keys) {
		return nil, errTwiceInTransaction
	}
	responses := []any{}
	for range list {
		responses = append(responses, object{})
	}
	before, ok := db.repeated(p)
	var out object
	var err error
	if ok {
		out, err = db.repeat(p, before)
	} else {
		out, err = db.commit(p, writes, reasons)
	}
	if err != nil {
		return nil, err
	}
	out["Responses"] = responses
	return out, nil
}
