package naive

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// term is one condition of a query on an attribute of the key.
type term struct {
	name   string
	op     string // "=", "<", "<=", ">", ">=", "BETWEEN", "begins_with", or one that a query refuses
	values []value
}

func (t term) holds(it item) bool {
	v := it[t.name]
	switch t.op {
	case "=":
		return equal(v, t.values[0])
	case "begins_with":
		return v.kind == t.values[0].kind && strings.HasPrefix(v.text, t.values[0].text)
	case "BETWEEN":
		return inOrder(t.values[0], v, true) && inOrder(v, t.values[1], true)
	case "<", "<=":
		return inOrder(v, t.values[0], t.op == "<=")
	}
	return inOrder(t.values[0], v, t.op == ">=")
}

// keyCondition parses and binds a key condition.
func (b *bindings) keyCondition(text string) ([]term, error) {
	n, err := parseChecked(text, parseCondition)
	if err == nil {
		n = b.boolean(n)
		err = b.verdict()
	}
	if err != nil {
		return nil, prefixed("Invalid KeyConditionExpression: ", err)
	}
	terms, err := termsOf(n)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, t := range terms {
		if seen[t.name] {
			return nil, invalid("KeyConditionExpressions must only contain one condition per key")
		}
		seen[t.name] = true
	}
	return terms, nil
}

func termsOf(n *node) ([]term, error) {
	op := n.op
	if op == "call" {
		op = n.name
	}
	switch op {
	case "AND":
		left, err := termsOf(n.args[0])
		if err != nil {
			return nil, err
		}
		right, err := termsOf(n.args[1])
		return append(left, right...), err
	case "=", "<", "<=", ">", ">=", "BETWEEN", "begins_with":
	default:
		return nil, invalid("Invalid operator used in KeyConditionExpression: %s", op)
	}
	t := term{op: op}
	for i, a := range n.args {
		switch {
		case a.op == "call":
			return nil, invalid("KeyConditionExpressions cannot contain nested operations")
		case a.op == "value":
			t.values = append(t.values, a.value)
		case len(a.steps) > 1:
			return nil, invalid("KeyConditionExpressions cannot have conditions on nested attributes")
		case t.name != "":
			return nil, invalid("Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition")
		default:
			t.name = a.steps[0].name
			if i == 1 && len(n.args) == 2 { // :v < a says the same as a > :v
				if mirrored := map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}[op]; mirrored != "" {
					t.op = mirrored
				}
			}
		}
	}
	if t.name == "" {
		return nil, invalid("Invalid condition in KeyConditionExpression: No key attribute specified")
	}
	return []term{t}, nil
}

// keyConditions reads KeyConditionExpression or KeyConditions, of which one is given.
func keyConditions(p object, b *bindings) ([]term, error) {
	if text, ok := p["KeyConditionExpression"].(string); ok {
		return b.keyCondition(text)
	}
	conditions := p["KeyConditions"].(object)
	var out []term
	for _, name := range slices.Sorted(maps.Keys(conditions)) {
		c := conditions[name].(object)
		operator := c["ComparisonOperator"].(string)
		values, err := decodeArguments(operator, listOrNone(c["AttributeValueList"]))
		if err != nil {
			return nil, err
		}
		op := map[string]string{"EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "BETWEEN": "BETWEEN", "BEGINS_WITH": "begins_with"}[operator]
		if op == "" {
			return nil, invalid("Attempted conditional constraint is not an indexable operation")
		}
		out = append(out, term{name, op, values})
	}
	if len(out) == 0 {
		return nil, invalid("Conditions can be of length 1 or 2 only")
	}
	return out, nil
}

// checkTerms checks a query's terms against the key: equality for all of the partition, then for a prefix of the sort attributes, then one range. Which of
// several faults is reported is left open.
func (w *walk) checkTerms() error {
	keys := w.keys()
	find := func(name string) *term {
		for i := range w.terms {
			if w.terms[i].name == name {
				return &w.terms[i]
			}
		}
		return nil
	}
	var faults []error
	fail := func(format string, args ...any) { faults = append(faults, invalid(format, args...)) }
	used := 0
	for _, a := range keys.partition {
		t := find(a.name)
		if t == nil {
			fail("Query condition missed key schema element: %s", a.name)
			continue
		}
		if t.op != "=" {
			fail("Query key condition not supported")
		}
		faults = append(faults, t.wrongValues(a, maxPartitionKey)...)
		used++
	}
	ranged := false
	for _, a := range keys.sort {
		t := find(a.name)
		switch {
		case t == nil && used < len(w.terms):
			fail("Query condition missed key schema element: %s", a.name)
		case t == nil:
		default:
			if ranged {
				fail("Query key condition not supported")
			}
			ranged = t.op != "="
			faults = append(faults, t.wrongValues(a, maxSortKey)...)
			used++
		}
	}
	if used < len(w.terms) {
		fail("Query key condition not supported")
	}
	return oneOf(faults)
}

// wrongValues returns what is wrong with the values of a term on the attribute of a key.
func (t *term) wrongValues(a attribute, limit int) []error {
	var faults []error
	for _, v := range t.values {
		switch {
		case v.kind != a.kind:
			faults = append(faults, wrongValue("Condition parameter type does not match schema type"))
		case len(v.text) > limit:
			faults = append(faults, errTooLong(limit))
		default:
			if err := emptyKey(item{a.name: v}, a, ""); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return faults
}

// startPlace is the place in a walk's order of a key that has all attributes of the table's and the index's keys.
func (w *walk) place(db *DB, key item) row {
	return row{whole: key, hash: db.hash(w.keys().partitionValues(key)), tableHash: db.hash(w.table.keys.partitionValues(key))}
}

// checkStart checks ExclusiveStartKey: the attributes of the table's key and the index's, of their types, within the walk.
func (w *walk) checkStart(db *DB) error {
	if w.start == nil {
		return nil
	}
	wanted := map[string]string{}
	for _, a := range append(w.table.keys.all(), w.keys().all()...) {
		wanted[a.name] = a.kind
	}
	if len(w.start) != len(wanted) {
		if w.isQuery && w.index == nil {
			return invalid("Exclusive Start Key must have same size as table's key schema")
		}
		return w.badStart()
	}
	for name, kind := range wanted {
		if w.start[name].kind != kind {
			return w.badStart()
		}
	}
	if err := oneOf(w.table.keyValues(w.start)); err != nil {
		return oneOf([]error{prefixed("The provided starting key is invalid: ", err), w.badStart()})
	}
	for _, k := range w.table.indexKeysOf(w.start) {
		if w.index != nil && k.index == w.index.name && (isEmpty(k.value) || len(k.value.text) > k.limit) {
			return w.badStart()
		}
	}
	if !w.isQuery {
		return w.checkStartSegment(db)
	}
	if w.index == nil && len(w.terms) == len(w.table.keys.all()) && !slices.ContainsFunc(w.terms, func(t term) bool { return t.op != "=" }) {
		return invalid("The query can return at most one row and cannot be restarted")
	}
	fits := func(of []attribute) bool {
		return !slices.ContainsFunc(w.terms, func(t term) bool {
			return slices.ContainsFunc(of, func(a attribute) bool { return a.name == t.name }) && !t.holds(w.start)
		})
	}
	switch {
	case !fits(w.keys().partition):
		return invalid("The provided starting key is outside query boundaries based on provided conditions")
	case !fits(w.keys().sort):
		return invalid("The provided starting key does not match the range key predicate")
	}
	return nil
}

// badStart is the fault of a starting key of a wrong form. Its message has a tail for tables.
func (w *walk) badStart() error {
	if w.index != nil {
		return &fault{kind: "ValidationException", message: "The provided starting key is invalid",
			or: []string{"The provided starting key is invalid: " + messageOf(errKeyMismatch)}}
	}
	return prefixed("The provided starting key is invalid: ", errKeyMismatch)
}

func (w *walk) checkStartSegment(db *DB) error {
	total, ok := w.parameters["TotalSegments"].(int64)
	if !ok {
		return nil
	}
	if segment := w.parameters["Segment"].(int64); segmentOf(w.place(db, w.start).hash, total) != segment {
		return invalid("The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. "+
			"TotalSegments: %d Segment: %d", total, segment)
	}
	return nil
}

// segmentOf returns the segment, of so many, that a hash is in.
func segmentOf(hash uint64, total int64) int64 {
	segment, _ := bits.Mul64(hash, uint64(total))
	return int64(segment)
}

// after returns the rows that come after the starting key in the walk's order, which is backward for a query that says so.
func (w *walk) after(db *DB, rows []row) []row {
	at := w.place(db, w.start)
	direction := 1
	if w.isQuery && w.parameters["ScanIndexForward"] == false {
		direction = -1
	}
	return slices.DeleteFunc(rows, func(r row) bool { return w.order(r, at)*direction <= 0 })
}

// order is the order of a walk: the partition's hash, the key, and in an index then the table's order.
func (w *walk) order(a, b row) int { return compareRows(w.table.keys, w.keys(), a, b) }

func compareRows(table, keys schema, a, b row) int {
	return cmp.Or(
		cmp.Compare(a.hash, b.hash),
		compareAll(keys.partitionValues(a.whole), keys.partitionValues(b.whole)),
		compareAll(keys.sortValues(a.whole), keys.sortValues(b.whole)),
		cmp.Compare(a.tableHash, b.tableHash),
		compareAll(table.partitionValues(a.whole), table.partitionValues(b.whole)),
		compareAll(table.sortValues(a.whole), table.sortValues(b.whole)))
}
