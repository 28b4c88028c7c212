package naive

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
	return t.keySizes(key)
}

var errKeyMismatch = invalid("The provided key element does not match the schema")

// itemKey checks the key attributes of a whole item, the table's and the indexes'.
func (t *table) itemKey(it item) error {
	for _, a := range t.keys.all() {
		v, ok := it[a.name]
		switch {
		case !ok:
			return wrongValue("Missing the key %s in the item", a.name)
		case v.kind != a.kind:
			return wrongValue("Type mismatch for key %s expected: %s actual: %s", a.name, a.kind, v.kind)
		}
	}
	return first(t.keySizes(it), t.indexKeys(it))
}

// keySizes checks the lengths of the values of the table's key.
func (t *table) keySizes(it item) error {
	for _, a := range t.keys.all() {
		if err := emptyKey(it, a, ""); err != nil {
			return err
		}
	}
	for _, a := range t.keys.partition {
		if len(it[a.name].text) > maxPartitionKey {
			return wrongValue("Size of hashkey has exceeded the maximum size limit of2048 bytes")
		}
	}
	for _, a := range t.keys.sort {
		if len(it[a.name].text) > maxSortKey {
			return wrongValue("Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
		}
	}
	return nil
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
func (t *table) indexKeys(it item) error {
	for _, x := range t.indexes {
		for _, a := range x.keys.all() {
			v, ok := it[a.name]
			if !ok || t.keys.has(a.name) {
				continue
			}
			if v.kind != a.kind {
				return wrongValue("Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", a.name, a.kind, v.kind, x.name)
			}
			if err := emptyKey(it, a, x.name); err != nil {
				return err
			}
		}
		for _, a := range x.keys.partition {
			if len(it[a.name].text) > maxPartitionKey {
				return wrongValue("Size of hashkey has exceeded the maximum size limit of2048 bytes")
			}
		}
		for _, a := range x.keys.sort {
			if len(it[a.name].text) > maxSortKey {
				return wrongValue("Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
			}
		}
	}
	return nil
}
