package dynamodb

import (
	"fmt"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// maxCapacityUnits is the greatest throughput that DynamoDB takes.
const maxCapacityUnits = 1_000_000_000_000

// createRequest has the parameters of CreateTable.
type createRequest struct {
	table       text
	definitions []pair // name and type; nil: not given
	keys        []pair // name and key type; nil: not given
	tags        []pair
	local       []indexRequest // nil: not given
	global      []indexRequest // likewise
	tableSettings
}

// pair is a structure of two strings.
type pair struct{ first, second text }

func (r *createRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TableName":
		return parseText(&r.table, v)
	case "AttributeDefinitions":
		return parsePairs(&r.definitions, v, "AttributeName", "AttributeType", "AttributeDefinition")
	case "KeySchema":
		return parsePairs(&r.keys, v, "AttributeName", "KeyType", "KeySchemaElement")
	case "Tags":
		return parsePairs(&r.tags, v, "Key", "Value", "Tag")
	case "LocalSecondaryIndexes":
		return parseIndexes(&r.local, v, "LocalSecondaryIndex")
	case "GlobalSecondaryIndexes":
		return parseIndexes(&r.global, v, "GlobalSecondaryIndex")
	}
	return r.tableSettings.set(name, v)
}

// throughput is a ProvisionedThroughput.
type throughput struct{ read, write integer }

func parseThroughput(dst **throughput, v *fastjson.Value) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className("ProvisionedThroughput")); err != nil || o == nil {
		return err
	}
	*dst = &throughput{}
	if err := parseInteger(&(*dst).read, o.Get("ReadCapacityUnits"), "Long"); err != nil {
		return err
	}
	return parseInteger(&(*dst).write, o.Get("WriteCapacityUnits"), "Long")
}

// check is checkAt for a table's.
func (t *throughput) check(check *constraints) { t.checkAt(check, "") }

// checkAt checks a throughput that is a member of the structure at path, which is empty or ends in a dot.
func (t *throughput) checkAt(check *constraints, path string) {
	if t == nil {
		return
	}
	check.present(t.write.given, path+"provisionedThroughput.writeCapacityUnits")
	check.atLeast(t.write, 1, path+"provisionedThroughput.writeCapacityUnits")
	check.present(t.read.given, path+"provisionedThroughput.readCapacityUnits")
	check.atLeast(t.read, 1, path+"provisionedThroughput.readCapacityUnits")
}

// declared returns t as a table declares it.
func (t *throughput) declared() (globaltable.Throughput, error) { return t.declaredFor("") }

// declaredFor returns t as the index of that name declares it; the empty name is that of the table.
func (t *throughput) declaredFor(index string) (globaltable.Throughput, error) {
	whose := ""
	if index != "" {
		whose = " for index " + index
	}
	if n := t.read.value; n > maxCapacityUnits {
		return globaltable.Throughput{}, invalidf("Given value %d for ReadCapacityUnits is out of bounds%s", n, whose)
	}
	if n := t.write.value; n > maxCapacityUnits {
		return globaltable.Throughput{}, invalidf("Given value %d for WriteCapacityUnits is out of bounds%s", n, whose)
	}
	return globaltable.Throughput{Read: t.read.value, Write: t.write.value}, nil
}

// billing checks the parameters on billing that CreateTable and UpdateTable share.
func (c *constraints) billing(mode, class text) {
	c.oneOf(mode, "billingMode", "PROVISIONED, PAY_PER_REQUEST", "PROVISIONED", "PAY_PER_REQUEST")
	c.oneOf(class, "tableClass", "STANDARD, STANDARD_INFREQUENT_ACCESS", "STANDARD", "STANDARD_INFREQUENT_ACCESS")
}

const (
	errNoUnitsAllowed = "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"
	errUnitsNeeded    = "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"
)

func className(structure string) string {
	return "class com.amazonaws.dynamodb.v20120810." + structure
}

// parsePairs reads a list of structures of two strings.
func parsePairs(dst *[]pair, v *fastjson.Value, first, second, structure string) error {
	return parseStructures(dst, v, structure, func(p *pair, o *fastjson.Object) error {
		if err := parseText(&p.first, o.Get(first)); err != nil {
			return err
		}
		return parseText(&p.second, o.Get(second))
	})
}

func (c *call) createTable(p *fastjson.Object) error {
	var r createRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	spec, err := r.spec()
	if err != nil {
		return err
	}
	t, err := c.server.config.Control.CreateTable(c.server.base, spec)
	if err != nil {
		return err
	}
	return c.describeAs("TableDescription", t, globaltable.Creating, "")
}

// check checks constraints of single parameters, in the order of DynamoDB's model.
func (r *createRequest) check() error {
	var check constraints
	if check.present(r.definitions != nil, "attributeDefinitions") {
		check.definitions(r.definitions)
	}
	check.name(r.table, "tableName")
	r.tableSettings.check(&check)
	if check.present(r.keys != nil, "keySchema") {
		check.keySchema(r.keys, "keySchema", 2)
	}
	check.checkIndexes(r.local, "localSecondaryIndexes", 2)
	check.checkIndexes(r.global, "globalSecondaryIndexes", 2*globaltable.MaxIndexKeyParts)
	check.tags(r.tags)
	return check.err()
}

func (c *constraints) definitions(list []pair) {
	for i, d := range list {
		path := "attributeDefinitions." + strconv.Itoa(i+1) + ".member."
		c.attributeName(d.first, path+"attributeName")
		if c.present(d.second != nil, path+"attributeType") {
			c.oneOf(d.second, path+"attributeType", "B, N, S", "B", "N", "S")
		}
	}
}

func (c *constraints) attributeName(v text, path string) {
	switch {
	case !c.present(v != nil, path):
	case len(v) == 0:
		c.fail("''", path, "Member must have length greater than or equal to 1")
	case len(v) > globaltable.MaxKeyNameLen:
		c.fail(quote(v), path, "Member must have length less than or equal to 255")
	}
}

// countText stands for a list of n members in a message.
func countText(n int) string {
	if n == 0 {
		return "[]"
	}
	return fmt.Sprintf("[%d members]", n)
}

// count demands a length of a list.
func (c *constraints) count(n, least, most int, path string) {
	value := "'" + countText(n) + "'"
	if n < least {
		c.fail(value, path, "Member must have length greater than or equal to "+strconv.Itoa(least))
	}
	if n > most {
		c.fail(value, path, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
}

// spec checks what the parameters mean together and returns the table that they ask for.
func (r *createRequest) spec() (spec catalog.Spec, err error) {
	spec.Name = string(r.table)
	if err := r.create(&spec); err != nil {
		return spec, err
	}
	d, err := defined(r.definitions)
	if err != nil {
		return spec, err
	}
	if spec.KeySchema.Partition, spec.KeySchema.Sort, err = d.simpleKey(r.keys); err != nil {
		return spec, err
	}
	if err := d.localIndexes(r.local, &spec); err != nil {
		return spec, err
	}
	if err := d.globalIndexes(r.global, &spec); err != nil {
		return spec, err
	}
	if err := d.allUsed(len(spec.Indexes) > 0); err != nil {
		return spec, err
	}
	spec.Tags, err = tagMap(r.tags)
	return spec, err
}
