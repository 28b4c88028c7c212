package naive

import (
	"maps"
	"slices"
)

var (
	selects = enum("SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES")

	conditionShape = structure("Condition", optional("AttributeValueList", listOf(&shape{kind: "value"})),
		required("ComparisonOperator", enum(comparisonOperators)))

	// walking has the parameters that Query and Scan share.
	walking = []field{
		required("TableName", tableName), optional("IndexName", tableName),
		optional("Select", selects), optional("Limit", within(1, -1, &shape{kind: "integer"})), optional("ConsistentRead", boolean),
		optional("AttributesToGet", within(1, -1, listOf(nameShape))), optional("ConditionalOperator", conditionOperator),
		optional("ExclusiveStartKey", attributes), optional("ReturnConsumedCapacity", capacity),
		optional("ProjectionExpression", text), optional("FilterExpression", text),
		optional("ExpressionAttributeNames", names), optional("ExpressionAttributeValues", attributes),
	}
	queryInput = structure("QueryInput", append([]field{optional("KeyConditions", mapOf(conditionShape)), optional("QueryFilter", mapOf(conditionShape)),
		optional("KeyConditionExpression", text), optional("ScanIndexForward", boolean)}, walking...)...)
	scanInput = structure("ScanInput", append([]field{optional("ScanFilter", mapOf(conditionShape)),
		optional("Segment", within(0, 999999, &shape{kind: "integer"})), optional("TotalSegments", within(1, 1000000, &shape{kind: "integer"}))}, walking...)...)
)

// walk is a Query or a Scan, checked as far as it can be without the table.
type walk struct {
	parameters object
	isQuery    bool
	terms      []term // of a query: conditions on the key
	filter     *node
	filterName string // the parameter that has the filter
	projection [][]step
	start      item // nil: from the beginning

	table *table
	index *index // nil: the table itself
}

// keys returns the schema that the walk goes by.
func (w *walk) keys() schema {
	if w.index != nil {
		return w.index.keys
	}
	return w.table.keys
}

func (w *walk) says(parameter, value string) bool { return w.parameters[parameter] == value }

func (db *DB) query(p object) (object, error) {
	of := parameters{[]string{"ProjectionExpression", "FilterExpression", "KeyConditionExpression"}, []string{"FilterExpression", "KeyConditionExpression"},
		[]string{"AttributesToGet", "QueryFilter", "ConditionalOperator"}}
	if p["KeyConditionExpression"] != nil {
		of.legacy = append(of.legacy, "KeyConditions") // which may go with other expressions
	}
	w := &walk{parameters: p, isQuery: true, filterName: "QueryFilter"}
	return db.walk(w, of)
}

func (db *DB) scan(p object) (object, error) {
	w := &walk{parameters: p, filterName: "ScanFilter"}
	return db.walk(w, parameters{[]string{"ProjectionExpression", "FilterExpression"}, []string{"FilterExpression"},
		[]string{"AttributesToGet", "ScanFilter", "ConditionalOperator"}})
}

// walk checks a query or a scan and does it.
func (db *DB) walk(w *walk, of parameters) (object, error) {
	b, err := of.bindings(w.parameters)
	if err != nil {
		return nil, err
	}
	if err := inTurn(w.startKey, w.segments, w.checkSelect, func() error { return w.say(b) }, func() error { return db.find(w) }); err != nil {
		return nil, err
	}
	return db.answer(w), nil
}

func (w *walk) segments() error {
	p := w.parameters
	segment, hasSegment := p["Segment"].(int64)
	total, hasTotal := p["TotalSegments"].(int64)
	switch {
	case hasSegment && !hasTotal:
		return invalid("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	case !hasSegment && hasTotal:
		return invalid("The Segment parameter is required but was not present in the request when parameter TotalSegments is present")
	case hasSegment && segment >= total:
		return invalid("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d",
			segment, total)
	}
	return nil
}

func (w *walk) startKey() error {
	if w.parameters["ExclusiveStartKey"] == nil {
		return nil
	}
	var err error
	if w.start, err = decodeItem(w.parameters["ExclusiveStartKey"]); err != nil {
		return prefixed("The provided starting key is invalid: ", err)
	}
	return nil
}

// say binds what a walk says in expressions, or in the parameters from before there were any.
func (w *walk) say(b *bindings) error {
	p := w.parameters
	var err error
	if w.filter, err = filter(p, w.filterName); err != nil {
		return err
	}
	if w.projection, err = attributesToGet(p); err != nil {
		return err
	}
	if w.isQuery {
		if w.terms, err = keyConditions(p, b); err != nil {
			return err
		}
	}
	condition, err := b.condition(p, "FilterExpression")
	if err != nil {
		return err
	}
	if condition != nil {
		w.filter, w.filterName = condition, "Filter Expression"
	}
	paths, err := b.projection(p)
	if err != nil {
		return err
	}
	if paths != nil {
		w.projection = paths
	}
	return b.checkUsed()
}

func (w *walk) checkSelect() error {
	what, _ := w.parameters["Select"].(string)
	projected := w.parameters["ProjectionExpression"] != nil || w.parameters["AttributesToGet"] != nil
	switch {
	case what == "SPECIFIC_ATTRIBUTES" && !projected:
		return invalid("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
	case what != "" && what != "SPECIFIC_ATTRIBUTES" && projected:
		parameter := "ProjectionExpression"
		if w.parameters["AttributesToGet"] != nil {
			parameter = "AttributesToGet"
		}
		if what == "COUNT" {
			what = "only the Count"
		}
		return invalid("Cannot specify the %s when choosing to get %s", parameter, what)
	case what == "ALL_PROJECTED_ATTRIBUTES" && w.parameters["IndexName"] == nil:
		return invalid("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
	case w.isQuery && w.parameters["KeyConditions"] == nil && w.parameters["KeyConditionExpression"] == nil:
		return invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	return nil
}

// find finds the table and the index, and checks what needs them.
func (db *DB) find(w *walk) error {
	var err error
	if w.table, err = db.lookUpTable(w.parameters["TableName"].(string)); err != nil {
		return err
	}
	if name, ok := w.parameters["IndexName"].(string); ok {
		if w.index = w.table.index(name); w.index == nil {
			return invalid("The table does not have the specified index: %s", name)
		}
	}
	steps := []func() error{w.checkConsistency, w.checkProjection, func() error { return w.checkStart(db) }}
	if w.isQuery {
		steps = []func() error{w.checkConsistency, w.checkTerms, w.checkFilter, w.checkProjection, func() error { return w.checkStart(db) }}
	}
	return inTurn(steps...)
}

func (w *walk) checkConsistency() error {
	if w.index != nil && !w.index.local && w.parameters["ConsistentRead"] == true {
		return invalid("Consistent reads are not supported on global secondary indexes")
	}
	return nil
}

// checkProjection refuses to get from a global index what it does not have.
func (w *walk) checkProjection() error {
	x := w.index
	if x == nil || x.local || x.projection.kind == "ALL" {
		return nil
	}
	if w.says("Select", "ALL_ATTRIBUTES") {
		return wrongValue("Select type ALL_ATTRIBUTES is not supported for global secondary index %s because its projection type is not ALL", x.name)
	}
	var missing []string
	for _, path := range w.projection {
		if !w.projects(path[0].name) && !slices.Contains(missing, path[0].name) {
			missing = append(missing, path[0].name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return wrongValue("Global secondary index %s does not project [%s]", x.name, commas(missing))
	}
	return nil
}

// projects reports whether the index has the attribute in its entries.
func (w *walk) projects(name string) bool {
	x := w.index
	return x.projection.kind == "ALL" || w.table.keys.has(name) || x.keys.has(name) || slices.Contains(x.projection.names, name)
}

// checkFilter refuses a query's filter on attributes of the key, which the key condition is for.
func (w *walk) checkFilter() error {
	if w.filter == nil {
		return nil
	}
	for _, name := range pathsIn(w.filter) {
		if w.keys().has(name) {
			return invalid("%s can only contain non-primary key attributes: Primary key attribute: %s", w.filterName, name)
		}
	}
	return nil
}

// pathsIn returns the top-level attributes that a condition is about.
func pathsIn(n *node) []string {
	if n.op == "path" {
		return []string{n.steps[0].name}
	}
	var out []string
	for _, a := range n.args {
		out = append(out, pathsIn(a)...)
	}
	return out
}

const maxPage = 1 << 20

// page is what a walk has read.
type page struct {
	rows   []row // read, before the filter
	last   *row  // after which it goes on; nil: it is at the end
	bytes  int
	lookup float64 // units for items looked up in the table, as a local index does for what it does not have
}

// answer reads a page and answers it.
func (db *DB) answer(w *walk) object {
	pg := db.read(w)
	items := []any{}
	count := 0
	for _, r := range pg.rows {
		seen, shown := r.item, r.item
		if w.looksUp() {
			pg.lookup += readUnits(r.whole.size(), w.parameters["ConsistentRead"] == true)
			seen = r.whole
			if w.projection != nil || w.says("Select", "ALL_ATTRIBUTES") {
				shown = r.whole
			}
		}
		if w.filter != nil && !holds(w.filter, seen) {
			continue
		}
		count++
		items = append(items, selected(shown, w.projection).encode())
	}
	out := object{"Count": count, "ScannedCount": len(pg.rows)}
	if !w.says("Select", "COUNT") {
		out["Items"] = items
	}
	if pg.last != nil {
		key := w.table.keys.keyOf(pg.last.whole)
		maps.Copy(key, w.keys().keyOf(pg.last.whole))
		out["LastEvaluatedKey"] = key.encode()
	}
	if report := w.consumed(pg).report(w.parameters, w.table, ""); report != nil {
		out["ConsumedCapacity"] = report
	}
	return out
}

// looksUp reports whether a local index looks each item up in the table, since more is asked than it has.
func (w *walk) looksUp() bool {
	if w.index == nil || !w.index.local || w.index.projection.kind == "ALL" {
		return false
	}
	if w.says("Select", "ALL_ATTRIBUTES") {
		return true
	}
	var wanted []string
	for _, path := range w.projection {
		wanted = append(wanted, path[0].name)
	}
	if w.filter != nil {
		wanted = append(wanted, pathsIn(w.filter)...)
	}
	return slices.ContainsFunc(wanted, func(name string) bool { return !w.projects(name) })
}

func (w *walk) consumed(pg page) consumed {
	units := readUnits(pg.bytes, w.parameters["ConsistentRead"] == true)
	if w.index == nil {
		return consumed{table: units}
	}
	c := consumed{table: pg.lookup}
	c.addIndex(w.index.name, units)
	return c
}

// read reads a page: as many rows as the limit says, or one megabyte.
func (db *DB) read(w *walk) page { return w.page(db.rowsOf(w)) }

// rowsOf returns the rows of a walk in its order, after its starting key.
func (db *DB) rowsOf(w *walk) []row {
	rows := db.rows(w.table, w.index)
	rows = slices.DeleteFunc(rows, func(r row) bool { return !w.inRange(r) })
	if w.isQuery && w.parameters["ScanIndexForward"] == false {
		slices.Reverse(rows)
	}
	if w.start != nil {
		rows = w.after(db, rows)
	}
	return rows
}

// page takes from the rows what is one page.
func (w *walk) page(rows []row) page {
	var pg page
	limit, limited := w.parameters["Limit"].(int64)
	read := 0 // with what is looked up
	for i, r := range rows {
		size, beside := r.item.size(), 0
		if w.looksUp() {
			beside = r.whole.size()
		}
		if read += size + beside; i > 0 && read > maxPage {
			pg.last = &rows[i-1]
			break
		}
		pg.rows = append(pg.rows, r)
		pg.bytes += size
		if limited && int64(len(pg.rows)) >= limit {
			pg.last = &rows[i]
			break
		}
	}
	return pg
}

// inRange reports whether a row belongs to the walk: it satisfies the query's terms, or is in the scan's segment.
func (w *walk) inRange(r row) bool {
	if w.isQuery {
		return !slices.ContainsFunc(w.terms, func(t term) bool { return !t.holds(r.whole) })
	}
	total, ok := w.parameters["TotalSegments"].(int64)
	return !ok || segmentOf(r.hash, total) == w.parameters["Segment"].(int64)
}
