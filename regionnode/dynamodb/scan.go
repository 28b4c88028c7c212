package dynamodb

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	// maxPageBytes is the size of items at which a page ends.
	maxPageBytes = 1 << 20
	maxSegments  = 1_000_000
)

// scanRequest has the parameters of Scan.
type scanRequest struct {
	table             text
	capacity, selects text
	limit             integer
	segment, segments integer
	start             *fastjson.Value
	consistent        bool
	names             bool
	refused           string
}

func (r *scanRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TableName":
		return parseText(&r.table, v)
	case "Limit":
		return parseInteger(&r.limit, v, "Integer")
	case "Segment":
		return parseInteger(&r.segment, v, "Integer")
	case "TotalSegments":
		return parseInteger(&r.segments, v, "Integer")
	case "Select":
		return parseText(&r.selects, v)
	case "ExclusiveStartKey":
		return parseAttributes(&r.start, v)
	case "ConsistentRead":
		return parseBool(&r.consistent, v)
	case "ReturnConsumedCapacity":
		return parseText(&r.capacity, v)
	case "ExpressionAttributeNames", "ExpressionAttributeValues":
		var o *fastjson.Object
		r.names = r.names || given(v)
		return parseObject(&o, v, "java.util.Map<java.lang.String, java.lang.String>")
	case "IndexName", "FilterExpression", "ScanFilter", "ConditionalOperator", "ProjectionExpression", "AttributesToGet":
		if given(v) && r.refused == "" {
			r.refused = string(name)
		}
	}
	return nil
}

func (c *call) scan(p *fastjson.Object) error {
	var r scanRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	held, err := decodeItem(&c.keyItem, r.start)
	if err != nil {
		return err
	}
	units, err := r.check()
	if err != nil {
		return err
	}
	if held != nil {
		return invalid("The provided starting key is invalid: " + translate(held, false).message)
	}
	table, err := c.table(r.table)
	if err != nil {
		return err
	}
	from, to := r.bounds()
	if r.start != nil {
		if from, err = r.startKey(c, table, from, to); err != nil {
			return err
		}
	}
	return c.answerScan(&r, table, from, to, units)
}

func (r *scanRequest) check() (units capacity, err error) {
	var check constraints
	check.oneOf(r.selects, "select", "SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES",
		"SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES")
	check.atLeast(r.limit, 1, "limit")
	check.atLeast(r.segments, 1, "totalSegments")
	check.atMost(r.segments, maxSegments, "totalSegments")
	check.name(r.table, "tableName")
	units = check.capacity(r.capacity)
	check.atLeast(r.segment, 0, "segment")
	check.atMost(r.segment, maxSegments-1, "segment")
	if err := check.err(); err != nil {
		return units, err
	}
	switch {
	case r.segment.given && !r.segments.given:
		return units, invalid("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	case r.segments.given && !r.segment.given:
		return units, invalid("The Segment parameter is required but was not present in the request when parameter TotalSegments is present")
	case r.segment.given && r.segment.value >= r.segments.value:
		return units, invalidf("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d",
			r.segment.value, r.segments.value)
	case r.refused != "":
		return units, notOffered(r.refused)
	case r.names:
		return units, invalid("ExpressionAttributeNames can only be specified when using expressions")
	case string(r.selects) == "SPECIFIC_ATTRIBUTES":
		return units, invalid("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
	case string(r.selects) == "ALL_PROJECTED_ATTRIBUTES":
		return units, invalid("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
	}
	return units, nil
}

// bounds returns the range of keys of the segment asked for: from its first key to before the next segment's. Segments divide the hashes of partition keys evenly, so
// together they cover every item once.
func (r *scanRequest) bounds() (from, to item.Key) {
	if !r.segments.given {
		return nil, nil
	}
	if r.segment.value > 0 {
		from = binary.BigEndian.AppendUint64(nil, firstHash(uint64(r.segment.value), uint64(r.segments.value)))
	}
	if r.segment.value+1 < r.segments.value {
		to = binary.BigEndian.AppendUint64(nil, firstHash(uint64(r.segment.value)+1, uint64(r.segments.value)))
	}
	return from, to
}

// firstHash returns the first hash of segment i of n, i less than n: 2^64 * i / n.
func firstHash(i, n uint64) uint64 {
	quotient, _ := bits.Div64(i, 0, n)
	return quotient
}

// startKey returns where the scan goes on: after the key given.
func (r *scanRequest) startKey(c *call, t *globaltable.Table, from, to item.Key) (item.Key, error) {
	k, err := plan.Key(nil, &t.KeySchema, c.keyItem)
	if err != nil {
		return nil, invalid("The provided starting key is invalid: " + translate(err, false).message)
	}
	if from != nil && string(k) < string(from) || to != nil && string(k) >= string(to) {
		return nil, invalid("The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. " +
			"TotalSegments: " + strconv.FormatInt(r.segments.value, 10) + " Segment: " + strconv.FormatInt(r.segment.value, 10))
	}
	return k.Next(), nil
}

// page is a page of a scan as it grows.
type page struct {
	items int
	bytes int
	last  item.Key // the last item's, if there may be more
}

// answerScan reads one page and appends the answer.
func (c *call) answerScan(r *scanRequest, t *globaltable.Table, from, to item.Key, units capacity) error {
	list := string(r.selects) != "COUNT"
	c.out = append(c.out, '{')
	if list {
		c.out = append(c.out, `"Items":[`...)
	}
	var p page
	err := c.server.config.Shard.Walk(c.server.base, commit.Range{Table: t.ID, Lower: from, Upper: to}, func(key item.Key, current commit.Current) bool {
		size := current.Item.Size()
		if p.items > 0 && (p.bytes+size > maxPageBytes || list && !c.reserve(int64(size))) {
			p.last = c.key
			return false
		}
		if list {
			if p.items > 0 {
				c.out = append(c.out, ',')
			}
			c.out = current.Item.AppendJSON(c.out)
		}
		p.items++
		p.bytes += size
		c.key = append(c.key[:0], key...)
		if r.limit.given && int64(p.items) >= r.limit.value {
			p.last = c.key
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	if list {
		c.out = append(c.out, "],"...)
	}
	c.out = append(c.out, `"Count":`...)
	c.out = strconv.AppendInt(c.out, int64(p.items), 10)
	c.out = append(c.out, `,"ScannedCount":`...)
	c.out = strconv.AppendInt(c.out, int64(p.items), 10)
	if p.last != nil {
		names, err := plan.AppendKeyItem(c.keyItem[:0], &t.KeySchema, p.last)
		if err != nil {
			return err
		}
		c.out = append(c.out, `,"LastEvaluatedKey":`...)
		c.out = names.AppendJSON(c.out)
	}
	if units != capacityNone {
		c.out = append(c.out, `,"ConsumedCapacity":`...)
		c.out = appendCapacity(c.out, r.table, readUnits(p.bytes, r.consistent), units)
	}
	c.out = append(c.out, '}')
	return nil
}
