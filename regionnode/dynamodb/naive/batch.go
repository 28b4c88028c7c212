package naive

import (
	"maps"
	"slices"
)

var (
	putRequest    = structure("PutRequest", required("Item", attributes))
	deleteRequest = structure("DeleteRequest", required("Key", attributes))
	writeRequest  = structure("WriteRequest", optional("PutRequest", putRequest), optional("DeleteRequest", deleteRequest))

	keysAndAttributes = structure("KeysAndAttributes", required("Keys", within(1, 100, listOf(attributes))),
		optional("AttributesToGet", within(1, -1, listOf(nameShape))), optional("ConsistentRead", boolean),
		optional("ProjectionExpression", text), optional("ExpressionAttributeNames", names))
)

// byTable is a map by tables' names.
func byTable(most int64, class string, of *shape) *shape {
	s := within(1, most, mapOf(of))
	s.keys = tableName
	s.class = "java.util.Map<java.lang.String, " + class + ">"
	return s
}

var (
	batchWriteItemInput = structure("BatchWriteItemInput",
		required("RequestItems", byTable(25, "java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>", within(1, 25, listOf(writeRequest)))),
		optional("ReturnConsumedCapacity", capacity), optional("ReturnItemCollectionMetrics", metrics))
	batchGetItemInput = structure("BatchGetItemInput",
		required("RequestItems", byTable(100, "com.amazonaws.dynamodb.v20120810.KeysAndAttributes", keysAndAttributes)),
		optional("ReturnConsumedCapacity", capacity))
)

// distinct demands that no two writes or reads of a request have one key.
func distinct(keys []string) bool {
	slices.Sort(keys)
	return len(slices.Compact(slices.Clone(keys))) == len(keys)
}

// identity is the same for the same key of the same table only.
func (t *table) identity(key item) string {
	return t.name + "\n" + canonical(pick(t.keys.all(), key))
}

var errDuplicateKeys = invalid("Provided list of item keys contains duplicates")

func (db *DB) batchWriteItem(p object) (object, error) {
	writes, err := decodeBatchWrites(p["RequestItems"].(object))
	if err != nil {
		return nil, err
	}
	if err := db.checkKeys(writes); err != nil {
		return nil, err
	}
	units := map[string]consumed{}
	metrics := object{}
	for _, w := range writes {
		t := db.tables[w.table]
		old := t.get(w.key)
		db.set(t, w.key, w.put)
		c := units[w.table]
		c.add(t.writeUnits(old, w.put))
		units[w.table] = c
		if m := t.collection(p, w.key); m != nil {
			list, _ := metrics[w.table].([]any)
			metrics[w.table] = append(list, m)
		}
	}
	out := object{"UnprocessedItems": object{}}
	db.reportAll(p, out, units, "")
	if len(metrics) > 0 {
		out["ItemCollectionMetrics"] = metrics
	}
	return out, nil
}

// decodeBatchWrites decodes all requests of a batch. Which of several faults is reported is left open.
func decodeBatchWrites(requests object) ([]*write, error) {
	var writes []*write
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		for _, r := range requests[name].([]any) {
			w, err := batchWrite(name, r.(object))
			if err != nil {
				faults = append(faults, err)
			}
			if w.put.size() > maxItemSize {
				faults = append(faults, errItemSize)
			}
			writes = append(writes, w)
		}
	}
	if len(writes) > 25 {
		faults = append(faults, invalid("Too many items requested for the BatchWriteItem call"))
	}
	return writes, oneOf(faults)
}

// checkKeys checks the tables and the keys of a batch. Whether a wrong key or one that is there twice is reported is left open.
func (db *DB) checkKeys(writes []*write) error {
	for _, w := range writes {
		if _, err := db.lookUpTable(w.table); err != nil {
			return err
		}
	}
	var keys []string
	var faults []error
	for _, w := range writes {
		t := db.tables[w.table]
		if err := w.checkKey(t); err != nil {
			faults = append(faults, err)
			continue
		}
		keys = append(keys, t.identity(w.key))
	}
	if !distinct(keys) {
		faults = append(faults, errDuplicateKeys)
	}
	return oneOf(faults)
}

// checkReads is checkKeys for reads.
func (db *DB) checkReads(reads []batchRead) error {
	for _, r := range reads {
		if _, err := db.lookUpTable(r.table); err != nil {
			return err
		}
	}
	var keys []string
	var faults []error
	for _, r := range reads {
		t := db.tables[r.table]
		for _, key := range r.keys {
			if err := t.namedKey(key); err != nil {
				faults = append(faults, err)
				continue
			}
			keys = append(keys, t.identity(key))
		}
	}
	if !distinct(keys) {
		faults = append(faults, errDuplicateKeys)
	}
	return oneOf(faults)
}

// reportAll adds ConsumedCapacity of several tables.
func (db *DB) reportAll(p, out object, units map[string]consumed, kind string) {
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(units)) {
		if r := units[name].report(p, db.tables[name], kind); r != nil {
			list = append(list, r)
		}
	}
	if what, _ := p["ReturnConsumedCapacity"].(string); what == "TOTAL" || what == "INDEXES" {
		out["ConsumedCapacity"] = list
	}
}

// batchWrite decodes one request of a batch: a put or a delete.
func batchWrite(table string, r object) (*write, error) {
	put, hasPut := r["PutRequest"].(object)
	del, hasDelete := r["DeleteRequest"].(object)
	w := &write{table: table}
	var err error
	if hasPut {
		if w.put, err = decodeItem(put["Item"]); err != nil {
			return w, err
		}
	}
	if hasDelete {
		if w.key, err = decodeItem(del["Key"]); err != nil {
			return w, err
		}
	}
	switch {
	case hasPut && hasDelete:
		return w, invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
	case !hasPut && !hasDelete:
		return w, invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	}
	return w, nil
}

// batchRead has the reads of one table.
type batchRead struct {
	table      string
	keys       []item
	projection [][]step
	consistent bool
}

func (db *DB) batchGetItem(p object) (object, error) {
	reads, err := decodeBatchReads(p["RequestItems"].(object))
	if err != nil {
		return nil, err
	}
	if err := db.checkReads(reads); err != nil {
		return nil, err
	}
	responses := object{}
	units := map[string]consumed{}
	for _, r := range reads {
		t := db.tables[r.table]
		list := []any{}
		c := consumed{}
		for _, key := range r.keys {
			it := t.get(key)
			c.table += readUnits(it.size(), r.consistent)
			if it != nil {
				list = append(list, selected(it, r.projection).encode())
			}
		}
		responses[r.table] = list
		units[r.table] = c
	}
	out := object{"Responses": responses, "UnprocessedKeys": object{}}
	db.reportAll(p, out, units, "")
	return out, nil
}

// decodeBatchReads decodes all reads of a batch. Which of several faults is reported is left open.
func decodeBatchReads(requests object) ([]batchRead, error) {
	var reads []batchRead
	var faults []error
	total := 0
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		p := requests[name].(object)
		r := batchRead{table: name}
		r.consistent, _ = p["ConsistentRead"].(bool)
		b, err := projectionParameters.bindings(p)
		if err == nil {
			r.projection, err = projectionOf(p, b)
		}
		if err != nil {
			faults = append(faults, err)
		}
		for _, k := range p["Keys"].([]any) {
			key, err := decodeItem(k)
			if err != nil {
				faults = append(faults, err)
			}
			r.keys = append(r.keys, key)
		}
		reads = append(reads, r)
		total += len(r.keys)
	}
	if total > 100 {
		faults = append(faults, invalid("Too many items requested for the BatchGetItem call"))
	}
	return reads, oneOf(faults)
}
