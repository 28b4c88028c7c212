package naive

import "maps"

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
	attribute_ = within(-1, 65535, text)

	expectation = structure("ExpectedAttributeValue",
		optional("Value", &shape{kind: "value"}), optional("Exists", boolean),
		optional("ComparisonOperator", enum(comparisonOperators)), optional("AttributeValueList", listOf(&shape{kind: "value"})))
	attributeUpdate_ = structure("AttributeValueUpdate",
		optional("Value", &shape{kind: "value"}), optional("Action", enum("ADD, PUT, DELETE")))
	conditionOperator = enum("AND, OR")
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
		optional("UpdateExpression", text), optional("AttributeUpdates", mapOf(attributeUpdate_))}, conditional...)...)
	getItemInput = structure("GetItemInput", required("TableName", tableName), required("Key", attributes),
		optional("AttributesToGet", within(1, -1, listOf(attribute_))), optional("ConsistentRead", boolean), optional("ReturnConsumedCapacity", capacity),
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

// expressionsOf checks and binds the expressions of a write in the new style, and the condition in the old one.
func (w *write) expressionsOf(p object) error {
	old, err := expected(p)
	if err != nil {
		return err
	}
	w.condition = old
	return nil
}

// bind binds the expressions of a write.
func (w *write) bind(p object) error {
	b, err := newBindings(p)
	if err != nil {
		return err
	}
	update, err := b.update(p)
	if err != nil {
		return err
	}
	if update != nil {
		w.update = update
	}
	condition, err := b.condition(p, "ConditionExpression")
	if err != nil {
		return err
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

// needsOperands checks ConditionalOperator, which says how several conditions of the old style are joined.
func needsOperands(p object, parameter string) error {
	if p["ConditionalOperator"] == nil {
		return nil
	}
	conditions, _ := p[parameter].(object)
	if len(conditions) == 0 {
		return wrongValue("ConditionalOperator cannot be used without Filter or Expected")
	}
	if len(conditions) == 1 {
		return wrongValue("ConditionalOperator can only be used when Filter or Expected has two or more elements")
	}
	return nil
}

func (db *DB) putItem(p object) (object, error) {
	w := &write{}
	w.returnsFrom(p)
	err := mixed(p, []string{"ConditionExpression"}, []string{"Expected", "ConditionalOperator"})
	if err = first(err, noValues(p, "ConditionExpression")); err != nil {
		return nil, err
	}
	if w.put, err = decodeItem(p["Item"]); err != nil {
		return nil, err
	}
	if w.returns != "" && w.returns != "NONE" && w.returns != "ALL_OLD" {
		return nil, invalid("ReturnValues can only be ALL_OLD or NONE")
	}
	if w.put.size() > maxItemSize {
		return nil, invalid("Item size has exceeded the maximum allowed size")
	}
	if err := first(needsOperands(p, "Expected"), w.expressionsOf(p), w.bind(p)); err != nil {
		return nil, err
	}
	return db.writeOne(p, w)
}

func (db *DB) deleteItem(p object) (object, error) {
	w := &write{}
	w.returnsFrom(p)
	err := mixed(p, []string{"ConditionExpression"}, []string{"Expected", "ConditionalOperator"})
	if err = first(err, noValues(p, "ConditionExpression")); err != nil {
		return nil, err
	}
	if w.key, err = decodeItem(p["Key"]); err != nil {
		return nil, err
	}
	if w.returns != "" && w.returns != "NONE" && w.returns != "ALL_OLD" {
		return nil, invalid("ReturnValues can only be ALL_OLD or NONE")
	}
	if err := first(needsOperands(p, "Expected"), w.expressionsOf(p), w.bind(p)); err != nil {
		return nil, err
	}
	return db.writeOne(p, w)
}

func (db *DB) updateItem(p object) (object, error) {
	w := &write{isUpdate: true}
	w.returnsFrom(p)
	err := mixed(p, []string{"UpdateExpression", "ConditionExpression"}, []string{"AttributeUpdates", "Expected", "ConditionalOperator"})
	if err = first(err, noValues(p, "UpdateExpression", "ConditionExpression")); err != nil {
		return nil, err
	}
	if w.key, err = decodeItem(p["Key"]); err != nil {
		return nil, err
	}
	if err := first(needsOperands(p, "Expected"), w.expressionsOf(p)); err != nil {
		return nil, err
	}
	if w.update, err = attributeUpdates(p); err != nil {
		return nil, err
	}
	if err := w.bind(p); err != nil {
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
	old = db.get(t, w.key)
	if w.condition != nil && !holds(w.condition, old) {
		f := &fault{kind: "ConditionalCheckFailedException", message: "The conditional request failed"}
		if w.onFailure == "ALL_OLD" && old != nil {
			f.members = object{"Item": old.encode()}
		}
		return nil, nil, f
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
	if now, err = apply(w.update, base); err != nil {
		return nil, nil, err
	}
	if item(now).size() > maxItemSize {
		return nil, nil, invalid("Item size to update has exceeded the maximum allowed size")
	}
	return old, now, t.indexKeys(now)
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
var Anything = &struct{}{}

// read is a read of one item, checked as far as it can be without the table.
type read struct {
	key        item
	projection [][]step // nil: all
}

// projectionOf checks and binds a projection, new style or old.
func projectionOf(p object) ([][]step, error) {
	old, err := attributesToGet(p)
	if err != nil {
		return nil, err
	}
	b, err := newBindings(p)
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

func (db *DB) getItem(p object) (object, error) {
	if err := mixed(p, []string{"ProjectionExpression"}, []string{"AttributesToGet"}); err != nil {
		return nil, err
	}
	key, err := decodeItem(p["Key"])
	if err != nil {
		return nil, err
	}
	paths, err := projectionOf(p)
	if err != nil {
		return nil, err
	}
	t, err := db.lookUpTable(p["TableName"].(string))
	if err != nil {
		return nil, err
	}
	if err := t.namedKey(key); err != nil {
		return nil, err
	}
	out := object{}
	it := db.get(t, key)
	if it != nil {
		out["Item"] = selected(it, paths).encode()
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

// copyOf returns the members of p that are named.
func copyOf(p object, names ...string) object {
	out := maps.Clone(p)
	for name := range p {
		keep := false
		for _, n := range names {
			keep = keep || n == name
		}
		if !keep {
			delete(out, name)
		}
	}
	return out
}
