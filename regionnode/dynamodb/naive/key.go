package naive

import "slices"

// The greatest sizes of key values in bytes.
const (
	maxPartitionKey = 2048
	maxSortKey      = 1024
)

// lookUpTable returns the table that a request on items names.
func (db *DB) lookUpTable(name string) (*table, error) {
	t := db.tables[name]
	if t == nil {
		return nil, notFound("Requested resource not found")
	}
	return t, nil
}

// namedKey checks the key that a read, an update or a delete names: the key's attributes and no other.
func (t *table) namedKey(key item) error {
	if len(key) != len(t.keys.all()) {
		return errKeyMismatch
	}
	for _, a := range t.keys.all() {
		if key[a.name].kind != a.kind {
			return errKeyMismatch
		}
	}
	return oneOf(t.keyValues(key))
}

var errKeyMismatch = invalid("The provided key element does not match the schema")

// itemKey checks the key attributes of a whole item, the table's and the indexes'. Which of several faults is reported is left open.
func (t *table) itemKey(it item) error {
	var faults []error
	for _, a := range t.keys.all() {
		v, ok := it[a.name]
		switch {
		case !ok:
			faults = append(faults, wrongValue("Missing the key %s in the item", a.name))
		case v.kind != a.kind:
			faults = append(faults, wrongValue("Type mismatch for key %s expected: %s actual: %s", a.name, a.kind, v.kind))
		}
	}
	return oneOf(slices.Concat(faults, t.keyValues(it), t.indexKeys(it)))
}

// keyValues checks the values of the table's key: not empty, not too long. Those of a wrong type are checked for themselves.
func (t *table) keyValues(it item) []error {
	var faults []error
	for _, a := range t.keys.all() {
		if it[a.name].kind == a.kind {
			faults = append(faults, emptyKey(it, a, ""))
		}
	}
	faults = append(faults, tooLong(it, t.keys.partition, maxPartitionKey), tooLong(it, t.keys.sort, maxSortKey))
	return slices.DeleteFunc(faults, func(err error) bool { return err == nil })
}

func tooLong(it item, of []attribute, limit int) error {
	for _, a := range of {
		if it[a.name].kind == a.kind && len(it[a.name].text) > limit {
			return errTooLong(limit)
		}
	}
	return nil
}

func errTooLong(limit int) error {
	if limit == maxPartitionKey {
		return wrongValue("Size of hashkey has exceeded the maximum size limit of2048 bytes")
	}
	return wrongValue("Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
}

func emptyKey(it item, a attribute, index string) error {
	v := it[a.name]
	if v.text != "" || v.kind != "S" && v.kind != "B" {
		return nil
	}
	kind := map[string]string{"S": "string", "B": "binary"}[v.kind]
	if index != "" {
		return invalid("One or more parameter values are not valid. A value specified for a secondary index key is not supported. "+
			"The AttributeValue for a key attribute cannot contain an empty %s value. IndexName: %s, IndexKey: %s", kind, index, a.name)
	}
	return invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s", kind, a.name)
}

// indexKeys checks the values that an item has for the keys of indexes.
func (t *table) indexKeys(it item) []error {
	var faults []error
	for _, x := range t.indexes {
		for _, a := range x.keys.all() {
			v, ok := it[a.name]
			switch {
			case !ok || t.keys.has(a.name):
			case v.kind != a.kind:
				faults = append(faults, wrongValue("Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", a.name, a.kind, v.kind, x.name))
			default:
				faults = append(faults, emptyKey(it, a, x.name))
			}
		}
		faults = append(faults, tooLong(it, x.keys.partition, maxPartitionKey), tooLong(it, x.keys.sort, maxSortKey))
	}
	return slices.DeleteFunc(faults, func(err error) bool { return err == nil })
}
