package naive

import "slices"

var (
	tableName  = within(3, 255, &shape{kind: "text", pattern: "[a-zA-Z0-9_.-]+"})
	boolean    = &shape{kind: "boolean"}
	text       = &shape{kind: "text"}
	attributes = mapOf(&shape{kind: "value"})
	capacity   = enum("INDEXES, TOTAL, NONE")
	returned   = enum("ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW")
	onFailure  = enum("ALL_OLD, NONE")
	metrics    = enum("SIZE, NONE")
	names      = mapOf(within(-1, 65535, text))
	nameShape  = within(-1, 65535, text)

	expectation = structure("ExpectedAttributeValue",
		optional("Value", &shape{kind: "value"}), optional("Exists", boolean),
		optional("ComparisonOperator", enum(comparisonOperators)), optional("AttributeValueList", listOf(&shape{kind: "value"})))
	updateShape = structure("AttributeValueUpdate",
		optional("Value", &shape{kind: "value"}), optional("Action", enum("ADD, PUT, DELETE")))
	conditionOperator = enum("OR, AND")
)

// conditional has the parameters of every write of one item.
var conditional = []field{
	required("TableName", tableName),
	optional("Expected", mapOf(expectation)), optional("ConditionalOperator", conditionOperator),
	optional("ConditionExpression", text), optional("ExpressionAttributeNames", names), optional("ExpressionAttributeValues", attributes),
	optional("ReturnValues", returned), optional("ReturnConsumedCapacity", capacity), optional("ReturnItemCollectionMetrics", metrics),
	optional("ReturnValuesOnConditionCheckFailure", onFailure),
}

var (
	putItemInput    = structure("PutItemInput", append([]field{required("Item", attributes)}, conditional...)...)
	deleteItemInput = structure("DeleteItemInput", append([]field{required("Key", attributes)}, conditional...)...)
	updateItemInput = structure("UpdateItemInput", append([]field{required("Key", attributes),
		optional("UpdateExpression", text), optional("AttributeUpdates", mapOf(updateShape))}, conditional...)...)
	getItemInput = structure("GetItemInput", required("TableName", tableName), required("Key", attributes),
		optional("AttributesToGet", within(1, -1, listOf(nameShape))), optional("ConsistentRead", boolean), optional("ReturnConsumedCapacity", capacity),
		optional("ProjectionExpression", text), optional("ExpressionAttributeNames", names))
)

// write is a write of one item, checked as far as it can be without the table.
type write struct {
	table     string
	key       item     // of a put nil
	put       item     // the new item; nil unless it is a put
	update    []action // of an update
	isUpdate  bool
	condition *node // nil: none
	returns   string
	onFailure string
}

var (
	conditionParameters = parameters{[]string{"ConditionExpression"}, []string{"ConditionExpression"}, []string{"Expected", "ConditionalOperator"}}
	updateParameters    = parameters{[]string{"UpdateExpression", "ConditionExpression"}, []string{"UpdateExpression", "ConditionExpression"},
		[]string{"AttributeUpdates", "Expected", "ConditionalOperator"}}
	projectionParameters = parameters{[]string{"ProjectionExpression"}, nil, []string{"AttributesToGet"}}
)

// say binds what a write says in expressions, or in the parameters from before there were any.
func (w *write) say(p object, b *bindings) error {
	var err error
	if w.update, err = attributeUpdates(p); err != nil {
		return err
	}
	if w.condition, err = expected(p); err != nil {
		return err
	}
	update, err := b.update(p)
	if err != nil {
		return err
	}
	condition, err := b.condition(p, "ConditionExpression")
	if err != nil {
		return err
	}
	if update != nil {
		w.update = update
	}
	if condition != nil {
		w.condition = condition
	}
	return b.checkUsed()
}

// returnsFrom reads ReturnValues and its like.
func (w *write) returnsFrom(p object) {
	w.table = p["TableName"].(string)
	w.returns, _ = p["ReturnValues"].(string)
	w.onFailure, _ = p["ReturnValuesOnConditionCheckFailure"].(string)
}

func (db *DB) putItem(p object) (object, error) {
	w := &write{}
	w.returnsFrom(p)
	b, err := conditionParameters.bindings(p)
	if err != nil {
		return nil, err
	}
	if w.put, err = decodeItem(p["Item"]); err != nil {
		return nil, err
	}
	if err := w.returnsOld(); err != nil {
		return nil, err
	}
	if w.put.size() > maxItemSize {
		return nil, errItemSize
	}
	if err := w.say(p, b); err != nil {
		return nil, err
	}
	return db.writeOne(p, w)
}

var errItemSize = invalid("Item size has exceeded the maximum allowed size")

// returnsOld demands that ReturnValues asks for nothing that only an update has.
func (w *write) returnsOld() error {
	switch w.returns {
	case "", "NONE", "ALL_OLD":
		return nil
	}
	return invalid("ReturnValues can only be ALL_OLD or NONE")
}

func (db *DB) deleteItem(p object) (object, error) {
	w := &write{}
	w.returnsFrom(p)
	b, err := conditionParameters.bindings(p)
	if err != nil {
		return nil, err
	}
	if w.key, err = decodeItem(p["Key"]); err != nil {
		return nil, err
	}
	if err := inTurn(w.returnsOld, func() error { return w.say(p, b) }); err != nil {
		return nil, err
	}
	return db.writeOne(p, w)
}

func (db *DB) updateItem(p object) (object, error) {
	w := &write{isUpdate: true}
	w.returnsFrom(p)
	b, err := updateParameters.bindings(p)
	if err != nil {
		return nil, err
	}
	if w.key, err = decodeItem(p["Key"]); err != nil {
		return nil, err
	}
	if err := w.say(p, b); err != nil {
		return nil, err
	}
	return db.writeOne(p, w)
}

// writeOne does a write and answers it.
func (db *DB) writeOne(p object, w *write) (object, error) {
	t, err := db.lookUpTable(w.table)
	if err != nil {
		return nil, err
	}
	if err := w.checkKey(t); err != nil {
		return nil, err
	}
	old, now, err := db.plan(t, w)
	if err != nil {
		return nil, err
	}
	db.set(t, w.key, now)
	out := object{}
	if returned := w.answer(old, now); len(returned) > 0 {
		out["Attributes"] = returned.encode()
	}
	if w.movesUp(now) {
		out["Attributes"] = Open
	}
	if report := t.writeUnits(old, now).report(p, t, ""); report != nil {
		out["ConsumedCapacity"] = report
	}
	if m := t.collection(p, w.key); m != nil {
		out["ItemCollectionMetrics"] = m
	}
	return out, nil
}

// checkKey checks the key against the table's schema.
func (w *write) checkKey(t *table) error {
	if w.put != nil {
		w.key = t.keys.keyOf(w.put)
		return t.itemKey(w.put)
	}
	if err := t.namedKey(w.key); err != nil {
		return err
	}
	for _, a := range w.update {
		if name := a.path.steps[0].name; t.keys.has(name) {
			return wrongValue("Cannot update attribute %s. This attribute is part of the key", name)
		}
	}
	return nil
}

// plan checks the condition and returns the item as it was and as it will be, nil for none.
func (db *DB) plan(t *table, w *write) (old, now item, err error) {
	old = t.get(w.key)
	if w.condition != nil && !holds(w.condition, old) {
		return nil, nil, w.conditionFailed(old)
	}
	switch {
	case w.put != nil:
		return old, w.put, nil
	case !w.isUpdate:
		return old, nil, nil
	}
	if old == nil && onlyRemoves(w.update) {
		return nil, nil, nil // there is nothing to remove
	}
	base := old
	if base == nil {
		base = w.key
	}
	// Which of several faults is reported is left open.
	var faults []error
	if old == nil {
		faults = t.indexKeys(w.key)
	}
	if now, err = apply(w.update, base); err != nil {
		return nil, nil, oneOf(append(faults, err))
	}
	if now.size() > maxItemSize {
		faults = append(faults, invalid("Item size to update has exceeded the maximum allowed size"))
	}
	return old, now, oneOf(append(faults, t.updatedIndexKeys(w.touched(now))...))
}

func (w *write) conditionFailed(old item) error {
	f := &fault{kind: "ConditionalCheckFailedException", message: "The conditional request failed"}
	if w.onFailure == "ALL_OLD" && old != nil {
		f.members = object{"Item": old.encode()}
	}
	return f
}

// touched returns the attributes of an item that the update is about.
func (w *write) touched(it item) item {
	out := item{}
	for _, a := range w.update {
		name := a.path.steps[0].name
		if v, ok := it[name]; ok {
			out[name] = v
		}
	}
	return out
}

// onlyRemoves reports whether an update has actions, and all of them take something away.
func onlyRemoves(actions []action) bool {
	for _, a := range actions {
		if a.verb == "SET" || a.verb == "ADD" {
			return false
		}
	}
	return len(actions) > 0
}

// answer returns what ReturnValues asks for.
func (w *write) answer(old, now item) item {
	var paths [][]step
	for _, a := range w.update {
		paths = append(paths, a.path.steps)
	}
	switch {
	case w.returns == "ALL_OLD":
		return old
	case w.returns == "ALL_NEW":
		return now
	case len(paths) == 0:
		return nil
	case w.returns == "UPDATED_OLD":
		return project(old, paths)
	case w.returns == "UPDATED_NEW":
		return project(now, paths)
	}
	return nil
}

// movesUp reports whether UPDATED_NEW is asked for and an element was removed whose place another one has then: whether that one is shown is left open.
func (w *write) movesUp(now item) bool {
	return w.returns == "UPDATED_NEW" && slices.ContainsFunc(w.update, func(a action) bool {
		steps := a.path.steps
		_, taken := lookUp(now, steps)
		return a.verb == "REMOVE" && steps[len(steps)-1].name == "" && taken
	})
}

// collection is ItemCollectionMetrics, of tables with local indexes. Its estimate of a size is left open.
func (t *table) collection(p object, key item) object {
	if p["ReturnItemCollectionMetrics"] != "SIZE" {
		return nil
	}
	for _, x := range t.indexes {
		if x.local {
			partition := schema{partition: t.keys.partition}.keyOf(key)
			return object{"ItemCollectionKey": partition.encode(), "SizeEstimateRangeGB": Anything}
		}
	}
	return nil
}

// Anything stands in an answer for what is left open.
var Anything = &struct{ byte }{}

// Open stands where it is left open even whether something is there.
var Open = &struct{ byte }{}

// Token is a text that each side makes for itself, to be sent back to it.
type Token string

// read is a read of one item, checked as far as it can be without the table.
type read struct {
	key        item
	projection [][]step // nil: all
}

// projectionOf binds a projection, new style or old.
func projectionOf(p object, b *bindings) ([][]step, error) {
	old, err := attributesToGet(p)
	if err != nil {
		return nil, err
	}
	paths, err := b.projection(p)
	if err != nil {
		return nil, err
	}
	if old != nil {
		paths = old
	}
	return paths, b.checkUsed()
}

// decodeRead decodes a read of one item.
func decodeRead(p object) (r read, err error) {
	b, err := projectionParameters.bindings(p)
	if err != nil {
		return r, err
	}
	if r.key, err = decodeItem(p["Key"]); err != nil {
		return r, err
	}
	r.projection, err = projectionOf(p, b)
	return r, err
}

func (db *DB) getItem(p object) (object, error) {
	r, err := decodeRead(p)
	if err != nil {
		return nil, err
	}
	t, err := db.lookUpTable(p["TableName"].(string))
	if err != nil {
		return nil, err
	}
	if err := t.namedKey(r.key); err != nil {
		return nil, err
	}
	out := object{}
	it := t.get(r.key)
	if it != nil {
		out["Item"] = selected(it, r.projection).encode()
	}
	consistent, _ := p["ConsistentRead"].(bool)
	units := consumed{table: readUnits(it.size(), consistent)}
	if report := units.report(p, t, ""); report != nil {
		out["ConsumedCapacity"] = report
	}
	return out, nil
}

// selected returns what the paths name of an item; nil: all.
func selected(it item, paths [][]step) item {
	if paths == nil {
		return it
	}
	return project(it, paths)
}
