package dynamodb

import (
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// timeToLiveRequest has the parameters of UpdateTimeToLive.
type timeToLiveRequest struct {
	table     text
	spec      *fastjson.Object
	attribute text
	enabled   *bool
}

func (r *timeToLiveRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TableName":
		return parseText(&r.table, v)
	case "TimeToLiveSpecification":
		if err := parseObject(&r.spec, v, "com.amazonaws.dynamodb.v20120810.TimeToLiveSpecification"); err != nil || r.spec == nil {
			return err
		}
		return each(r.spec, r.setSpec)
	}
	return nil
}

func (r *timeToLiveRequest) setSpec(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "AttributeName":
		return parseText(&r.attribute, v)
	case "Enabled":
		if !given(v) {
			return nil
		}
		r.enabled = new(bool)
		return parseBool(r.enabled, v)
	}
	return nil
}

func (r *timeToLiveRequest) check() error {
	var check constraints
	check.name(r.table, "tableName")
	if check.present(r.spec != nil, "timeToLiveSpecification") {
		const path = "timeToLiveSpecification.attributeName"
		if check.present(r.attribute != nil, path) {
			switch n := len(r.attribute); {
			case n == 0:
				check.fail(quote(r.attribute), path, "Member must have length greater than or equal to 1")
			case n > globaltable.MaxExpiryAttributeLen:
				check.fail(quote(r.attribute), path, "Member must have length less than or equal to "+strconv.Itoa(globaltable.MaxExpiryAttributeLen))
			}
		}
		check.present(r.enabled != nil, "timeToLiveSpecification.enabled")
	}
	return check.err()
}

func (c *call) updateTimeToLive(p *fastjson.Object) error {
	var r timeToLiveRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	change := catalog.Change{TimeToLive: &catalog.TimeToLive{Attribute: string(r.attribute), Enabled: *r.enabled}}
	if _, err := c.server.config.Control.UpdateTable(c.server.base, string(r.table), change); err != nil {
		return err
	}
	c.out = append(c.out, `{"TimeToLiveSpecification":{"Enabled":`...)
	c.out = strconv.AppendBool(c.out, *r.enabled)
	c.out = append(c.out, `,"AttributeName":`...)
	c.out = item.AppendJSONString(c.out, []byte(r.attribute))
	c.out = append(c.out, "}}"...)
	return nil
}

func (c *call) describeTimeToLive(p *fastjson.Object) error {
	name, err := parseTableName(p)
	if err != nil {
		return err
	}
	t, err := c.server.config.Control.DescribeTable(string(name))
	if err != nil {
		return err
	}
	status, attribute := t.TimeToLive(c.server.config.Shard.Now())
	c.out = append(c.out, `{"TimeToLiveDescription":{"TimeToLiveStatus":`...)
	c.out = item.AppendJSONString(c.out, string(status))
	if attribute != "" {
		c.out = append(c.out, `,"AttributeName":`...)
		c.out = item.AppendJSONString(c.out, attribute)
	}
	c.out = append(c.out, "}}"...)
	return nil
}
