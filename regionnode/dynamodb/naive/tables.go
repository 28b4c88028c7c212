package naive

import (
	"maps"
	"slices"
	"strings"
)

var (
	number = &shape{kind: "long"}

	definition  = structure("AttributeDefinition", required("AttributeName", within(1, 255, text)), required("AttributeType", enum("B, N, S")))
	keyElement  = structure("KeySchemaElement", required("AttributeName", within(1, 255, text)), required("KeyType", enum("HASH, RANGE")))
	throughput  = structure("ProvisionedThroughput", required("ReadCapacityUnits", within(1, -1, number)), required("WriteCapacityUnits", within(1, -1, number)))
	projection  = structure("Projection", optional("ProjectionType", enum("ALL, INCLUDE, KEYS_ONLY")), optional("NonKeyAttributes", within(1, 20, listOf(within(1, 255, text)))))
	tag         = structure("Tag", required("Key", within(1, 128, text)), required("Value", within(0, 256, text)))
	billing     = enum("PROVISIONED, PAY_PER_REQUEST")
	class       = enum("STANDARD, STANDARD_INFREQUENT_ACCESS")
	localIndex  = structure("LocalSecondaryIndex", required("IndexName", tableName), required("KeySchema", within(1, -1, listOf(keyElement))), required("Projection", projection))
	globalIndex = structure("GlobalSecondaryIndex", required("IndexName", tableName), required("KeySchema", within(1, -1, listOf(keyElement))), required("Projection", projection),
		optional("ProvisionedThroughput", throughput))

	createTableInput = structure("CreateTableInput",
		required("AttributeDefinitions", listOf(definition)), required("TableName", tableName), required("KeySchema", within(1, 2, listOf(keyElement))),
		optional("LocalSecondaryIndexes", listOf(localIndex)), optional("GlobalSecondaryIndexes", listOf(globalIndex)),
		optional("BillingMode", billing), optional("ProvisionedThroughput", throughput), optional("TableClass", class),
		optional("StreamSpecification", streamShape), optional("DeletionProtectionEnabled", boolean), optional("Tags", listOf(tag)))
	tableNameInput  = structure("DescribeTableInput", required("TableName", tableName))
	listTablesInput = structure("ListTablesInput", optional("ExclusiveStartTableName", tableName), optional("Limit", within(1, 100, &shape{kind: "integer"})))
)

const maxUnits = 1_000_000_000_000

func (db *DB) createTable(p object) (object, error) {
	t := &table{name: p["TableName"].(string), billing: "PROVISIONED", class: "STANDARD", partitions: map[string]*partition{}, created: db.config.Now()}
	if c, ok := p["TableClass"].(string); ok {
		t.class = c
	}
	t.protected, _ = p["DeletionProtectionEnabled"].(bool)
	err := inTurn(
		func() error { return t.bill(p) }, func() error { return checkStream(p) }, func() error { return t.define(p) }, func() error { return t.addIndexes(p) }, func() error { return t.addTags(p) })
	if err != nil {
		return nil, err
	}
	if db.tables[t.name] != nil {
		return nil, inUse("Table already exists: %s", t.name)
	}
	if s, ok := p["StreamSpecification"].(object); ok && s["StreamEnabled"] == true {
		t.turnStream(s["StreamViewType"].(string), t.created)
	}
	db.tables[t.name] = t
	return object{"TableDescription": db.description(t, Anything)}, nil
}

func (t *table) bill(p object) error {
	units, given := p["ProvisionedThroughput"].(object)
	if p["BillingMode"] == "PAY_PER_REQUEST" {
		if given {
			return errUnitsOnDemand
		}
		t.billing, t.onDemand = "PAY_PER_REQUEST", true
		t.throughput = noUnits()
		return nil
	}
	if !given {
		return errUnitsMissing
	}
	t.throughput = maps.Clone(units)
	return checkUnits(units)
}

var (
	errUnitsOnDemand = wrongValue("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
	errUnitsMissing  = wrongValue("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
)

func checkUnits(units object) error {
	for _, name := range []string{"ReadCapacityUnits", "WriteCapacityUnits"} {
		if n := units[name].(int64); n > maxUnits {
			return invalid("Given value %d for %s is out of bounds", n, name)
		}
	}
	return nil
}

// define reads the attribute definitions and the table's key.
func (t *table) define(p object) error {
	kinds := map[string]string{}
	var defined []string
	for _, e := range p["AttributeDefinitions"].([]any) {
		d := e.(object)
		name := d["AttributeName"].(string)
		if kinds[name] != "" {
			return invalid("Cannot have two attributes with the same name")
		}
		kinds[name] = d["AttributeType"].(string)
		defined = append(defined, name)
		t.definitions = append(t.definitions, attribute{name, kinds[name]})
	}
	var elements []object
	for _, e := range p["KeySchema"].([]any) {
		elements = append(elements, e.(object))
	}
	if elements[0]["KeyType"] != "HASH" {
		return invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	keys := []string{elements[0]["AttributeName"].(string)}
	if len(elements) == 2 {
		if elements[1]["KeyType"] != "RANGE" {
			return invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
		}
		keys = append(keys, elements[1]["AttributeName"].(string))
		if keys[0] == keys[1] {
			return invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
	}
	for _, name := range keys {
		if kinds[name] == "" {
			return wrongValue("Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]", commas(keys), commas(defined))
		}
	}
	t.keys.partition = []attribute{{keys[0], kinds[keys[0]]}}
	if len(keys) == 2 {
		t.keys.sort = []attribute{{keys[1], kinds[keys[1]]}}
	}
	return nil
}

func (t *table) addTags(p object) error {
	t.tags = map[string]string{}
	return t.setTags(listOrNone(p["Tags"]))
}

func (db *DB) arn(t *table) string {
	return "arn:aws:dynamodb:" + db.config.Region + ":" + db.config.Account + ":table/" + t.name
}

// description is a TableDescription. Times, ids and how long a table is on its way in or out are left open.
func (db *DB) description(t *table, status any) object {
	keys := func(s schema) []any {
		list := []any{}
		for _, a := range s.partition {
			list = append(list, object{"AttributeName": a.name, "KeyType": "HASH"})
		}
		for _, a := range s.sort {
			list = append(list, object{"AttributeName": a.name, "KeyType": "RANGE"})
		}
		return list
	}
	definitions := []any{}
	for _, a := range t.definitions {
		definitions = append(definitions, object{"AttributeName": a.name, "AttributeType": a.kind})
	}
	count, bytes := db.count(t, nil)
	provisioned := maps.Clone(t.throughput)
	provisioned["NumberOfDecreasesToday"] = 0
	out := object{
		"TableName": t.name, "TableStatus": status, "TableArn": db.arn(t), "TableId": Anything, "CreationDateTime": Anything,
		"AttributeDefinitions": definitions, "KeySchema": keys(t.keys), "ItemCount": count, "TableSizeBytes": bytes,
		"ProvisionedThroughput": provisioned, "DeletionProtectionEnabled": t.protected, "TableClassSummary": object{"TableClass": t.class},
	}
	if t.onDemand {
		out["BillingModeSummary"] = object{"BillingMode": t.billing, "LastUpdateToPayPerRequestDateTime": Anything}
	}
	if view := t.view(); view != "" {
		out["StreamSpecification"] = object{"StreamEnabled": true, "StreamViewType": view}
	}
	if n := len(t.streams); n > 0 {
		out["LatestStreamLabel"], out["LatestStreamArn"] = t.streams[n-1].label, db.streamArn(t, t.streams[n-1])
	}
	for _, x := range t.indexes {
		parameter := "GlobalSecondaryIndexes"
		described := db.describeIndex(t, x)
		described["KeySchema"] = keys(x.keys)
		if x.local {
			parameter = "LocalSecondaryIndexes"
		} else {
			described["IndexStatus"] = status
			if status == any(Anything) {
				described["Backfilling"], described["ItemCount"], described["IndexSizeBytes"] = Open, Anything, Anything
			}
			units := maps.Clone(x.throughput)
			units["NumberOfDecreasesToday"] = 0
			described["ProvisionedThroughput"] = units
		}
		out[parameter] = append(listOrNone(out[parameter]), described)
	}
	return out
}

// count counts the items of a table or an index, and their bytes. Whether what has expired still counts for a while is left open.
func (db *DB) count(t *table, x *index) (items, bytes any) {
	if t.expires {
		return Anything, Anything
	}
	n, sum := 0, 0
	for _, r := range db.rows(t, x) {
		n, sum = n+1, sum+r.item.size()
	}
	return n, sum
}

func (db *DB) describeIndex(t *table, x index) object {
	count, bytes := db.count(t, &x)
	projection := object{"ProjectionType": x.projection.kind}
	if x.projection.kind == "INCLUDE" {
		list := []any{}
		for _, name := range x.projection.names {
			list = append(list, name)
		}
		projection["NonKeyAttributes"] = list
	}
	return object{"IndexName": x.name, "IndexArn": db.arn(t) + "/index/" + x.name, "Projection": projection, "ItemCount": count, "IndexSizeBytes": bytes}
}

// namedTable returns the table that a request on tables names.
func (db *DB) namedTable(p object) (*table, error) {
	name := p["TableName"].(string)
	t := db.tables[name]
	if t == nil {
		return nil, notFound("Requested resource not found: Table: %s not found", name)
	}
	return t, nil
}

func (db *DB) describeTable(p object) (object, error) {
	t, err := db.namedTable(p)
	if err != nil {
		return nil, err
	}
	return object{"Table": db.description(t, "ACTIVE")}, nil
}

func (db *DB) deleteTable(p object) (object, error) {
	t, err := db.namedTable(p)
	if err != nil {
		return nil, err
	}
	if t.protected {
		return nil, invalid("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	out := object{"TableDescription": db.description(t, Anything)}
	delete(db.tables, t.name)
	return out, nil
}

func (db *DB) listTables(p object) (object, error) {
	after, _ := p["ExclusiveStartTableName"].(string)
	limit, ok := p["Limit"].(int64)
	if !ok {
		limit = 100
	}
	list := []any{}
	out := object{}
	for _, name := range slices.Sorted(maps.Keys(db.tables)) {
		if strings.Compare(name, after) <= 0 {
			continue
		}
		if int64(len(list)) == limit {
			out["LastEvaluatedTableName"] = list[len(list)-1]
			break
		}
		list = append(list, name)
	}
	out["TableNames"] = list
	return out, nil
}
