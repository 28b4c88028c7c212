package dynamodb

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// parseTableName reads requests whose one parameter is the table's name.
func parseTableName(p *fastjson.Object) (text, error) {
	var table text
	err := each(p, func(name []byte, v *fastjson.Value) error {
		if string(name) == "TableName" {
			return parseText(&table, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var check constraints
	check.name(table, "tableName")
	return table, check.err()
}

func (c *call) describeTable(p *fastjson.Object) error {
	name, err := parseTableName(p)
	if err != nil {
		return err
	}
	t, err := c.server.config.Control.DescribeTable(string(name))
	if err != nil {
		return err
	}
	return c.describe("Table", t)
}

func (c *call) deleteTable(p *fastjson.Object) error {
	name, err := parseTableName(p)
	if err != nil {
		return err
	}
	t, err := c.server.config.Control.DeleteTable(c.server.base, string(name))
	if err != nil {
		return err
	}
	return c.describe("TableDescription", t)
}

func (c *call) listTables(p *fastjson.Object) error {
	var after text
	var limit integer
	err := each(p, func(name []byte, v *fastjson.Value) error {
		switch string(name) {
		case "ExclusiveStartTableName":
			return parseText(&after, v)
		case "Limit":
			return parseInteger(&limit, v, "Integer")
		}
		return nil
	})
	if err != nil {
		return err
	}
	var check constraints
	if after != nil {
		check.name(after, "exclusiveStartTableName")
	}
	check.atLeast(limit, 1, "limit")
	check.atMost(limit, 100, "limit")
	if err := check.err(); err != nil {
		return err
	}
	if !limit.given {
		limit.value = 100
	}
	names, more := c.server.config.View().Names(string(after), int(limit.value))
	c.out = append(c.out, `{"TableNames":[`...)
	for i, name := range names {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = item.AppendJSONString(c.out, name)
	}
	c.out = append(c.out, ']')
	if more && len(names) > 0 {
		c.out = append(c.out, `,"LastEvaluatedTableName":`...)
		c.out = item.AppendJSONString(c.out, names[len(names)-1])
	}
	c.out = append(c.out, '}')
	return nil
}

// tableID returns a table's id in the form of a UUID, as clients expect it.
func tableID(id globaltable.TableID) string {
	n := uint64(id)
	return fmt.Sprintf("%08x-%04x-%04x-0000-000000000000", n>>32, n>>16&0xffff, n&0xffff)
}

// describe appends {"<field>": description}.
func (c *call) describe(field string, t *globaltable.Table) error {
	status := t.StatusIn(c.server.config.Origin)
	if status == "" {
		status = globaltable.Deleting // its last replica here has just gone
	}
	if status == globaltable.Active && c.building(t) {
		status = globaltable.Updating
	}
	return c.describeAs(field, t, status, "")
}

// describeAs is describe with a status of the table. That is the one into which a request has put it, which it may have left already: the answers to requests
// say it, and DescribeTable what has become of it. So it is with the index of the name given, which the request has made; empty for none.
func (c *call) describeAs(field string, t *globaltable.Table, status globaltable.Status, index string) error {
	var items, bytes int64
	if status != globaltable.Creating {
		var err error
		if items, bytes, err = c.server.config.Shard.Count(t.ID); err != nil {
			return err
		}
	}
	here := t.Replica(c.server.config.Origin)
	if here == nil {
		here = &globaltable.Replica{}
	}
	b := append(c.out, `{"`...)
	b = append(b, field...)
	b = append(b, `":{`...)
	b = appendKeys(b, t)
	b = append(b, `,"TableName":`...)
	b = item.AppendJSONString(b, t.Name)
	b = append(b, `,"TableStatus":`...)
	b = item.AppendJSONString(b, string(status))
	b = append(b, `,"CreationDateTime":`...)
	b = appendSeconds(b, time.UnixMilli(t.Begun(here)))
	b = append(b, `,"TableArn":`...)
	b = item.AppendJSONString(b, arn(c.server.config.Region, t.Name))
	b = append(b, `,"TableId":`...)
	b = item.AppendJSONString(b, tableID(t.ID))
	b = append(b, `,"ItemCount":`...)
	b = strconv.AppendInt(b, items, 10)
	b = append(b, `,"TableSizeBytes":`...)
	b = strconv.AppendInt(b, bytes, 10)
	b = c.appendSettings(b, t, here)
	b = c.appendIndexes(b, t, t.OwnOf(here), index)
	b = c.appendReplicas(b, t)
	c.out = append(b, "}}"...)
	return nil
}

// appendKeys appends the attributes of all keys, and the table's key.
func appendKeys(b []byte, t *globaltable.Table) []byte {
	b = append(b, `"AttributeDefinitions":[`...)
	for i, a := range t.KeyAttributes() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"AttributeName":`...)
		b = item.AppendJSONString(b, a.Name)
		b = append(b, `,"AttributeType":`...)
		b = item.AppendJSONString(b, a.Type.String())
		b = append(b, '}')
	}
	return appendTableKey(append(b, ']'), &t.KeySchema)
}

func appendTableKey(b []byte, key *globaltable.KeySchema) []byte {
	var sort []globaltable.KeyAttribute
	if s := key.Sort; s != nil {
		sort = []globaltable.KeyAttribute{*s}
	}
	return appendKeySchema(b, []globaltable.KeyAttribute{key.Partition}, sort)
}

func appendKeySchema(b []byte, partition, sort []globaltable.KeyAttribute) []byte {
	b = append(b, `,"KeySchema":[`...)
	for i, a := range append(partition[:len(partition):len(partition)], sort...) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"AttributeName":`...)
		b = item.AppendJSONString(b, a.Name)
		if i < len(partition) {
			b = append(b, `,"KeyType":"HASH"}`...)
		} else {
			b = append(b, `,"KeyType":"RANGE"}`...)
		}
	}
	return append(b, ']')
}

// describeLimits answers with AWS's defaults: there is no such limit here.
func (c *call) describeLimits(*fastjson.Object) error {
	c.out = append(c.out, `{"AccountMaxReadCapacityUnits":80000,"AccountMaxWriteCapacityUnits":80000,`...)
	c.out = append(c.out, `"TableMaxReadCapacityUnits":40000,"TableMaxWriteCapacityUnits":40000}`...)
	return nil
}

// describeEndpoints sends clients that discover their endpoint back to the one that they know.
func (c *call) describeEndpoints(*fastjson.Object) error {
	c.out = append(c.out, `{"Endpoints":[{"Address":`...)
	c.out = item.AppendJSONString(c.out, strings.ToValidUTF8(string(c.host), "?"))
	c.out = append(c.out, `,"CachePeriodInMinutes":1440}]}`...)
	return nil
}
