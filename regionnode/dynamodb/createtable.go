package dynamodb

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// maxCapacityUnits is the greatest throughput that DynamoDB takes.
const maxCapacityUnits = 1_000_000_000_000

// createRequest has the parameters of CreateTable.
type createRequest struct {
	table       text
	definitions []pair // name and type; nil: not given
	keys        []pair // name and key type; nil: not given
	tags        []pair
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

func (t *throughput) check(check *constraints) {
	if t == nil {
		return
	}
	check.present(t.write.given, "provisionedThroughput.writeCapacityUnits")
	check.atLeast(t.write, 1, "provisionedThroughput.writeCapacityUnits")
	check.present(t.read.given, "provisionedThroughput.readCapacityUnits")
	check.atLeast(t.read, 1, "provisionedThroughput.readCapacityUnits")
}

// declared returns t as a table declares it.
func (t *throughput) declared() (globaltable.Throughput, error) {
	if n := t.read.value; n > maxCapacityUnits {
		return globaltable.Throughput{}, invalidf("Given value %d for ReadCapacityUnits is out of bounds", n)
	}
	if n := t.write.value; n > maxCapacityUnits {
		return globaltable.Throughput{}, invalidf("Given value %d for WriteCapacityUnits is out of bounds", n)
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
	var list []*fastjson.Value
	if err := parseList(&list, v); err != nil || list == nil {
		return err
	}
	*dst = make([]pair, 0, len(list))
	for _, e := range list {
		var o *fastjson.Object
		if err := parseObject(&o, e, className(structure)); err != nil {
			return err
		}
		var p pair
		if o != nil {
			if err := parseText(&p.first, o.Get(first)); err != nil {
				return err
			}
			if err := parseText(&p.second, o.Get(second)); err != nil {
				return err
			}
		}
		*dst = append(*dst, p)
	}
	return nil
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
	return c.describeAs("TableDescription", t, globaltable.Creating)
}

// check checks constraints of single parameters, in the order of DynamoDB's model.
func (r *createRequest) check() error {
	var check constraints
	if check.present(r.definitions != nil, "attributeDefinitions") {
		for i, d := range r.definitions {
			path := "attributeDefinitions." + strconv.Itoa(i+1) + ".member."
			check.attributeName(d.first, path+"attributeName")
			if check.present(d.second != nil, path+"attributeType") {
				check.oneOf(d.second, path+"attributeType", "B, N, S", "B", "N", "S")
			}
		}
	}
	check.name(r.table, "tableName")
	r.tableSettings.check(&check)
	if check.present(r.keys != nil, "keySchema") {
		check.count(len(r.keys), 1, 2, "keySchema")
		for i, k := range r.keys {
			path := "keySchema." + strconv.Itoa(i+1) + ".member."
			check.attributeName(k.first, path+"attributeName")
			if check.present(k.second != nil, path+"keyType") {
				check.oneOf(k.second, path+"keyType", "HASH, RANGE", "HASH", "RANGE")
			}
		}
	}
	check.tags(r.tags)
	return check.err()
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
	if err := r.keySchema(&spec.KeySchema); err != nil {
		return spec, err
	}
	spec.Tags, err = tagMap(r.tags)
	return spec, err
}

func (r *createRequest) keySchema(s *globaltable.KeySchema) error {
	types := map[string]item.Type{}
	names := make([]string, 0, len(r.definitions))
	for _, d := range r.definitions {
		if _, ok := types[string(d.first)]; ok {
			return invalid("Cannot have two attributes with the same name")
		}
		types[string(d.first)], _ = item.ParseType(string(d.second))
		names = append(names, string(d.first))
	}
	if string(r.keys[0].second) != "HASH" {
		return invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	keys := []string{string(r.keys[0].first)}
	if len(r.keys) == 2 {
		if string(r.keys[1].second) != "RANGE" {
			return invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
		}
		keys = append(keys, string(r.keys[1].first))
		if keys[0] == keys[1] {
			return invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
	}
	for _, k := range keys {
		if _, ok := types[k]; !ok {
			return invalidf("One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]",
				strings.Join(keys, ", "), strings.Join(names, ", "))
		}
	}
	if len(keys) != len(types) {
		return invalid("One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	s.Partition = globaltable.KeyAttribute{Name: keys[0], Type: types[keys[0]]}
	if len(keys) == 2 {
		s.Sort = &globaltable.KeyAttribute{Name: keys[1], Type: types[keys[1]]}
	}
	return nil
}
