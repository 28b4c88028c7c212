package naive

import (
	"fmt"
	"maps"
	"slices"
)

var executeStatementInput = structure("ExecuteStatementInput", append([]field{
	optional("ConsistentRead", boolean), optional("NextToken", within(1, 32768, text)), optional("Limit", within(1, -1, &shape{kind: "integer"})),
	optional("ReturnConsumedCapacity", capacity)}, statementShape...)...)

func (db *DB) executeStatement(p object) (object, error) {
	s, err := decodeStatement(p)
	if err != nil {
		return nil, err
	}
	if s.verb == "EXISTS" { // for transactions only
		return nil, errNotSupported
	}
	t, err := db.lookUpTable(s.table)
	if err != nil {
		return nil, err
	}
	if s.verb == "SELECT" {
		return db.selectPage(p, s, t)
	}
	w, err := s.write(p, t)
	if err != nil {
		return nil, err
	}
	old, now, err := db.planStatement(t, s, w)
	if err != nil {
		return nil, err
	}
	db.set(t, w.key, now)
	items := []any{}
	if returned := w.answer(old, now); len(returned) > 0 {
		items = append(items, returned.encode())
	}
	out := object{"Items": items}
	if w.movesUp(now) {
		out["Items"] = Anything
	}
	if report := t.writeUnits(old, now).report(p, t, ""); report != nil {
		out["ConsumedCapacity"] = report
	}
	return out, nil
}

// tokenPlace is what a NextToken stands for: the statement that it was given for, and the row after which it goes on.
type tokenPlace struct {
	request string
	span    int
	last    item
}

// selection is a SELECT on its table: a scan, or a query of each partition that the condition names.
type selection struct {
	walk
	statement *statement
	spans     [][]term // nil: a scan
}

// selectPage answers a page of a SELECT.
func (db *DB) selectPage(p object, s *statement, t *table) (object, error) {
	sel := &selection{walk: walk{parameters: maps.Clone(p), table: t}, statement: s}
	if s.index != "" {
		if sel.index = t.index(s.index); sel.index == nil {
			return nil, invalid("The table does not have the specified index: %s", s.index)
		}
	}
	for _, c := range s.columns {
		sel.projection = append(sel.projection, c.steps)
	}
	sel.split()
	if err := oneOf(sel.faults()); err != nil {
		return nil, err
	}
	at := tokenPlace{request: statementText(p)}
	if token, ok := p["NextToken"].(string); ok {
		before, known := db.places[token]
		if !known || before.request != at.request {
			return nil, invalid("NextToken does not match request…")
		}
		at = before
	}
	return db.answerSelect(p, sel, at), nil
}

// statementText is the same for the same statement with the same parameters only.
func statementText(p object) string {
	return requestText(object{"Statement": p["Statement"], "Parameters": p["Parameters"]})
}

// faults returns what is wrong with a SELECT on its table. Which of several faults is reported is left open.
func (sel *selection) faults() []error {
	s := sel.statement
	var faults []error
	add := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	add(sel.checkConsistency())
	if err := sel.checkProjection(); err != nil {
		add(errNotSupported) // what it says is documented for queries only
	}
	for _, terms := range sel.spans {
		for _, t := range terms {
			for _, a := range sel.keys().all() {
				if a.name == t.name {
					limit := maxSortKey
					if slices.Contains(sel.keys().partition, a) {
						limit = maxPartitionKey
					}
					faults = append(faults, t.wrongValues(a, limit)...)
				}
			}
		}
	}
	for _, o := range s.order {
		if !sel.keys().has(o.name) {
			add(invalid("Variable reference %s in ORDER BY clause must be part of the primary key", o.name))
		}
	}
	if s.order != nil && sel.spans == nil {
		add(errOrderNoEqual)
	}
	return faults
}

// split finds in the condition which partitions it names and in which range of the sort key, and leaves the rest as a filter. A condition on the sort
// key that is not the first is part of the filter; that a query takes one only is documented.
func (sel *selection) split() {
	left := conjuncts(sel.statement.where)
	all := left
	spans := [][]term{nil}
	take := func(fits func(*node) bool) bool {
		i := slices.IndexFunc(left, fits)
		if i >= 0 {
			left = slices.Delete(slices.Clone(left), i, i+1)
		}
		return i >= 0
	}
	for _, a := range sel.keys().partition {
		var options []value
		if !take(func(n *node) bool { options = n.options(a.name); return options != nil }) {
			sel.filter = conjunction(all)
			return
		}
		var more [][]term
		for _, terms := range spans {
			for _, v := range options {
				more = append(more, append(slices.Clone(terms), term{a.name, "=", []value{v}}))
			}
		}
		spans = more
	}
	for _, a := range sel.keys().sort {
		var t *term
		if !take(func(n *node) bool { t = n.keyTerm(a.name); return t != nil }) {
			break
		}
		for i := range spans {
			spans[i] = append(spans[i], *t)
		}
		if t.op != "=" {
			break
		}
	}
	sel.spans, sel.filter = spans, conjunction(left)
}

// conjuncts returns the conditions that are joined by AND.
func conjuncts(n *node) []*node {
	if n == nil {
		return nil
	}
	if n.op == "AND" {
		return append(conjuncts(n.args[0]), conjuncts(n.args[1])...)
	}
	return []*node{n}
}

// conjunction joins conditions by AND; nil if there are none.
func conjunction(list []*node) *node {
	var out *node
	for _, n := range list {
		if out == nil {
			out = n
		} else {
			out = &node{op: "AND", args: []*node{out, n}}
		}
	}
	return out
}

// isAttribute reports whether n is the attribute of the name, and nothing below it.
func (n *node) isAttribute(name string) bool {
	return n.op == "path" && len(n.steps) == 1 && n.steps[0].name == name
}

// options returns the values of which n says that the attribute has one, each once: by =, IN or = joined by OR. nil: it does not say that.
func (n *node) options(name string) []value {
	var out []value
	add := func(v value) {
		if !slices.ContainsFunc(out, func(o value) bool { return equal(o, v) }) {
			out = append(out, v)
		}
	}
	switch n.op {
	case "=":
		if t := n.keyTerm(name); t != nil {
			add(t.values[0])
		}
	case "IN":
		for _, a := range n.args[1:] {
			if !n.args[0].isAttribute(name) || a.op != "value" {
				return nil
			}
			add(a.value)
		}
	case "OR":
		for _, a := range n.args {
			some := a.options(name)
			if some == nil {
				return nil
			}
			for _, v := range some {
				add(v)
			}
		}
	}
	return out
}

// keyTerm returns n as a condition of a query on the attribute; nil if it is none.
func (n *node) keyTerm(name string) *term {
	op := n.op
	if op == "call" {
		op = n.name
	}
	if !slices.Contains([]string{"=", "<", "<=", ">", ">=", "BETWEEN", "begins_with"}, op) {
		return nil
	}
	args := n.args
	if op != "BETWEEN" && op != "begins_with" && !args[0].isAttribute(name) {
		args = []*node{args[1], args[0]}
		op = map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}[op]
	}
	t := &term{name: name, op: op}
	for _, a := range args[1:] {
		if a.op != "value" || !args[0].isAttribute(name) {
			return nil
		}
		t.values = append(t.values, a.value)
	}
	return t
}

// placed is a row with the index of its span.
type placed struct {
	row
	span int
}

// rows returns what a SELECT reads, in its order. Without ORDER BY partitions come as the condition names them, which is left open.
func (sel *selection) rows(db *DB, from tokenPlace) []placed {
	if sel.spans == nil {
		var out []placed
		for _, r := range sel.rowsIn(db, nil, from.last, "") {
			out = append(out, placed{r, 0})
		}
		return out
	}
	spans := slices.Clone(sel.spans)
	direction := ""
	for _, o := range sel.statement.order {
		of := func(terms []term) value {
			i := slices.IndexFunc(terms, func(t term) bool { return t.name == o.name })
			return terms[i].values[0]
		}
		if !slices.ContainsFunc(sel.keys().partition, func(a attribute) bool { return a.name == o.name }) {
			if o.descending {
				direction = "DESC"
			}
			break
		}
		slices.SortStableFunc(spans, func(a, b []term) int {
			if o.descending {
				a, b = b, a
			}
			return compare(of(a), of(b))
		})
	}
	var out []placed
	for i := from.span; i < len(spans); i++ {
		var after item
		if i == from.span {
			after = from.last
		}
		for _, r := range sel.rowsIn(db, spans[i], after, direction) {
			out = append(out, placed{r, i})
		}
	}
	return out
}

// rowsIn returns the rows of one partition, or all.
func (sel *selection) rowsIn(db *DB, terms []term, after item, direction string) []row {
	w := sel.walk
	w.isQuery, w.terms, w.start = terms != nil, terms, after
	w.parameters = object{"ScanIndexForward": direction != "DESC"}
	return db.rowsOf(&w)
}

func (db *DB) answerSelect(p object, sel *selection, from tokenPlace) object {
	rows := sel.rows(db, from)
	var plain []row
	for _, r := range rows {
		plain = append(plain, r.row)
	}
	pg := sel.page(plain)
	items := []any{}
	for _, r := range pg.rows {
		seen, shown := r.item, r.item
		if sel.looksUp() {
			pg.lookup += readUnits(r.whole.size(), p["ConsistentRead"] == true)
			seen = r.whole
			if sel.projection != nil {
				shown = r.whole
			}
		}
		if sel.filter == nil || holds(sel.filter, seen) {
			items = append(items, sel.statement.show(shown).encode())
		}
	}
	out := object{"Items": items}
	if pg.last != nil {
		key := sel.table.keys.keyOf(pg.last.whole)
		maps.Copy(key, sel.keys().keyOf(pg.last.whole))
		out["LastEvaluatedKey"] = key.encode()
		token := fmt.Sprint("place", len(db.places))
		out["NextToken"] = Token(token)
		from.span, from.last = rows[len(pg.rows)-1].span, key
		db.places[token] = from
	}
	if report := sel.consumed(pg).report(p, sel.table, ""); report != nil {
		out["ConsumedCapacity"] = report
		if len(sel.spans) > 1 { // whether each partition is rounded up for itself is left open
			out["ConsumedCapacity"] = Anything
		}
	}
	return out
}

// show returns an item's columns.
func (s *statement) show(it item) item {
	if s.columns == nil {
		return it
	}
	out := item{}
	for _, c := range s.columns {
		if v, ok := lookUp(it, c.steps); ok {
			out[c.name] = v
		}
	}
	return out
}
