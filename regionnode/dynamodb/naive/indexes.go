package naive

import "slices"

// The greatest numbers of indexes of a table.
const (
	maxLocalIndexes  = 5
	maxGlobalIndexes = 20
)

// addIndexes reads the indexes of a new table and checks that the definitions are those of all keys.
func (t *table) addIndexes(p object) error {
	locals, hasLocals := p["LocalSecondaryIndexes"].([]any)
	globals, hasGlobals := p["GlobalSecondaryIndexes"].([]any)
	switch {
	case hasLocals && len(t.keys.sort) == 0:
		return wrongValue("Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex")
	case hasLocals && len(locals) == 0:
		return wrongValue("List of LocalSecondaryIndexes is empty")
	case hasGlobals && len(globals) == 0:
		return wrongValue("List of GlobalSecondaryIndexes is empty")
	}
	for _, list := range [][]any{locals, globals} {
		for _, e := range list {
			if err := t.addIndex(e.(object), len(t.indexes) < len(locals)); err != nil {
				return err
			}
		}
	}
	if len(locals) > maxLocalIndexes {
		return wrongValue("Number of LocalSecondaryIndexes exceeds per-table limit of %d", maxLocalIndexes)
	}
	if len(globals) > maxGlobalIndexes {
		return wrongValue("Number of GlobalSecondaryIndexes exceeds per-table limit of %d", maxGlobalIndexes)
	}
	used := map[string]bool{}
	for _, a := range t.keys.all() {
		used[a.name] = true
	}
	for _, x := range t.indexes {
		for _, a := range x.keys.all() {
			used[a.name] = true
		}
	}
	if len(used) != len(t.definitions) {
		if len(t.indexes) == 0 {
			return wrongValue("Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
		}
		return wrongValue("Some AttributeDefinitions are not used. AttributeDefinitions: [%s], keys used: [%s]", commas(t.definedNames()), commas(t.usedNames()))
	}
	return nil
}

func (t *table) definedNames() []string {
	var out []string
	for _, a := range t.definitions {
		out = append(out, a.name)
	}
	return out
}

// usedNames are the attributes of all keys, each once.
func (t *table) usedNames() []string {
	var out []string
	add := func(s schema) {
		for _, a := range s.all() {
			if !slices.Contains(out, a.name) {
				out = append(out, a.name)
			}
		}
	}
	add(t.keys)
	for _, x := range t.indexes {
		add(x.keys)
	}
	return out
}

func (t *table) addIndex(o object, local bool) error {
	x := index{name: o["IndexName"].(string), local: local}
	if t.index(x.name) != nil {
		return wrongValue("Duplicate index name: %s", x.name)
	}
	if err := inTurn(
		func() error { return t.indexKey(&x, o["KeySchema"].([]any)) },
		func() error { return x.project(o["Projection"].(object)) },
		func() error { return x.bill(t, o) }); err != nil {
		return err
	}
	t.indexes = append(t.indexes, x)
	return nil
}

// indexKey reads the key of an index: attributes of the partition, then of the order.
func (t *table) indexKey(x *index, elements []any) error {
	var names []string
	for _, e := range elements {
		o := e.(object)
		name := o["AttributeName"].(string)
		names = append(names, name)
		i := slices.IndexFunc(t.definitions, func(a attribute) bool { return a.name == name })
		if i < 0 {
			return wrongValue("Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]",
				commas(namesOf(elements)), commas(t.definedNames()))
		}
		if o["KeyType"] == "HASH" {
			if len(x.keys.sort) > 0 {
				return invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
			}
			x.keys.partition = append(x.keys.partition, t.definitions[i])
		} else {
			x.keys.sort = append(x.keys.sort, t.definitions[i])
		}
	}
	switch {
	case len(x.keys.partition) == 0:
		return invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	case len(names) == 2 && names[0] == names[1]:
		return invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
	case x.local && x.keys.partition[0].name != t.keys.partition[0].name:
		return wrongValue("Index KeySchema does not have the same leading hash key as table KeySchema for index: %s. index hash key: %s, table hash key: %s",
			x.name, x.keys.partition[0].name, t.keys.partition[0].name)
	case x.local && len(x.keys.sort) == 0:
		return wrongValue("Index KeySchema does not have a range key for index: %s", x.name)
	}
	return nil
}

func namesOf(elements []any) []string {
	var out []string
	for _, e := range elements {
		out = append(out, e.(object)["AttributeName"].(string))
	}
	return out
}

func (x *index) project(o object) error {
	kind, _ := o["ProjectionType"].(string)
	list := listOrNone(o["NonKeyAttributes"])
	switch {
	case kind == "":
		return wrongValue("Unknown ProjectionType: null")
	case kind != "INCLUDE" && o["NonKeyAttributes"] != nil:
		return wrongValue("ProjectionType is %s, but NonKeyAttributes is specified", kind)
	case kind == "INCLUDE" && o["NonKeyAttributes"] == nil:
		return wrongValue("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
	}
	x.projection.kind = kind
	for _, name := range list {
		x.projection.names = append(x.projection.names, name.(string))
	}
	return nil
}

func (x *index) bill(t *table, o object) error {
	units, given := o["ProvisionedThroughput"].(object)
	x.throughput = object{"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
	switch {
	case x.local:
	case t.billing == "PAY_PER_REQUEST" && given:
		return wrongValue("ProvisionedThroughput should not be specified for index: %s when BillingMode is PAY_PER_REQUEST", x.name)
	case t.billing == "PROVISIONED" && !given:
		return wrongValue("ProvisionedThroughput is not specified for index: %s", x.name)
	case given:
		x.throughput = units
	}
	return nil
}
