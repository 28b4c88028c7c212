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
	if !isEmpty(v) {
		return nil
	}
	if index != "" {
		return invalid("One or more parameter values are not valid. A value specified for a secondary index key is not supported. "+
			"The AttributeValue for a key attribute cannot contain an empty %s value. IndexName: %s, IndexKey: %s", emptyNames[v.kind], index, a.name)
	}
	return invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s",
		emptyNames[v.kind], a.name)
}

// isEmpty reports whether v is a text or bytes of no length, which no key may be.
func isEmpty(v value) bool { return v.text == "" && (v.kind == "S" || v.kind == "B") }

var emptyNames = map[string]string{"S": "string", "B": "binary"}

// indexKey is a value that an item has for the key of an index.
type indexKey struct {
	index string
	attribute
	limit int
	value value
}

// indexKeysOf returns the values that an item has for the keys of indexes.
func (t *table) indexKeysOf(it item) []indexKey {
	var out []indexKey
	for _, x := range t.indexes {
		for i, a := range x.keys.all() {
			v, ok := it[a.name]
			if !ok {
				continue
			}
			limit := maxPartitionKey
			if i >= len(x.keys.partition) {
				limit = maxSortKey
			}
			out = append(out, indexKey{x.name, a, limit, v})
		}
	}
	return out
}

// indexKeys checks the values that a new item has for the keys of indexes.
func (t *table) indexKeys(it item) []error {
	var faults []error
	for _, k := range t.indexKeysOf(it) {
		switch {
		case k.value.kind != k.kind:
			faults = append(faults, wrongValue("Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", k.name, k.kind, k.value.kind, k.index))
		case isEmpty(k.value):
			faults = append(faults, emptyKey(it, k.attribute, k.index))
		case len(k.value.text) > k.limit:
			faults = append(faults, wrongValue("Size limit exceeded for Index Key %s Actual Size: %d bytes Max Size: %d bytes IndexName: %s",
				k.name, len(k.value.text), k.limit, k.index))
		}
	}
	return faults
}

// updatedIndexKeys does the same for an item after an update.
func (t *table) updatedIndexKeys(it item) []error {
	var faults []error
	for _, k := range t.indexKeysOf(it) {
		switch {
		case k.value.kind != k.kind:
			faults = append(faults, invalid("The update expression attempted to update the secondary index key to unsupported type"))
		case isEmpty(k.value):
			faults = append(faults, invalid("One or more parameter values are not valid. The update expression attempted to update a secondary index key to a value "+
				"that is not supported. The AttributeValue for a key attribute cannot contain an empty %s value. IndexName: %s, IndexKey: %s",
				emptyNames[k.kind], k.index, k.name))
		case len(k.value.text) > k.limit:
			faults = append(faults, invalid("The update expression attempted to update the secondary index key beyond allowed size limits."))
		}
	}
	return faults
}
