package world

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// reads are the kinds of reads. None may fail, but for transactions, which meet others.
var reads = []operation{
	{"query by color", nil, (*client).queryColor},
	{"query by shape", nil, (*client).queryShape},
	{"query by grade", nil, (*client).queryGrade},
	{"legacy query", nil, (*client).queryLegacy},
	{"query of the table", nil, (*client).queryTable},
	{"scan of the table", nil, (*client).scanTable},
	{"scan in segments", nil, (*client).scanSegments},
	{"scan of an index", nil, (*client).scanIndex},
	{"batch get", nil, (*client).batchGet},
	{"transaction that gets a pair", []string{cancelled}, (*client).getPair},
	{"select statement", nil, (*client).selectStatement},
}

// seen looks at items of an answer to a request that began then: none has expired before.
func (c *client) seen(what string, began time.Time, items ...attributes) {
	for _, it := range items {
		if at, ok := number(it, "expires"); ok && int64(at) <= began.Unix() {
			c.fault("%s: %s had expired at %d, the request began at %d", what, keyText(it), at, began.Unix())
		}
		for _, region := range c.regions {
			if region != c.region && is(it, "writer", region) {
				c.cover("an item of the other region was read")
			}
		}
	}
}

// maxPages bounds how many pages a reader follows. There are few keys, but writers may move entries before the reader all the time.
const maxPages = 1000

// pages follows a query or a scan to its end and returns all items. No page has an item twice.
func (c *client) pages(what string, page func(from attributes) ([]attributes, attributes, error)) (all []attributes, err error) {
	var from attributes
	for range maxPages {
		began := time.Now()
		items, last, err := page(from)
		if err != nil {
			return nil, err
		}
		c.seen(what, began, items...)
		keys := map[string]bool{}
		for _, it := range items {
			if keys[keyText(it)] {
				c.fault("%s: %s twice in a page", what, keyText(it))
			}
			keys[keyText(it)] = true
		}
		all = append(all, items...)
		if last == nil {
			return all, nil
		}
		c.cover("a page led to the next")
		from = last
	}
	c.fault("%s: no end after %d pages", what, maxPages)
	return all, nil
}

// complete checks that all fixed items are there that have to be.
func (c *client) complete(what string, items []attributes, has func(it attributes) bool) {
	keys := map[string]bool{}
	for _, it := range items {
		keys[keyText(it)] = true
	}
	for _, it := range fixed() {
		if has(it) && !keys[keyText(it)] {
			c.fault("%s misses %s, which was there all the time", what, text(it))
		}
	}
}

func everything(attributes) bool { return true }

func (c *client) query(what string, in *dynamodb.QueryInput) ([]attributes, error) {
	in.TableName = aws.String(sharedTable)
	if in.Limit == nil && c.IntN(3) > 0 {
		in.Limit = aws.Int32(1 + c.Int32N(4))
	}
	if in.ScanIndexForward == nil {
		in.ScanIndexForward = aws.Bool(c.IntN(2) == 0)
	}
	return c.pages(what, func(from attributes) ([]attributes, attributes, error) {
		in.ExclusiveStartKey = from
		out, err := c.api.Query(c.ctx(), in)
		if err != nil {
			return nil, nil, err
		}
		if int(out.Count) != len(out.Items) || in.Limit != nil && len(out.Items) > int(*in.Limit) || in.FilterExpression == nil && out.Count != out.ScannedCount {
			c.fault("%s: a count of %d, %d scanned, for %d items with limit %v", what, out.Count, out.ScannedCount, len(out.Items), in.Limit)
		}
		return out.Items, out.LastEvaluatedKey, nil
	})
}

func (c *client) scan(what string, in *dynamodb.ScanInput) ([]attributes, error) {
	in.TableName = aws.String(sharedTable)
	if in.Limit == nil && c.IntN(3) > 0 {
		in.Limit = aws.Int32(1 + c.Int32N(4))
	}
	return c.pages(what, func(from attributes) ([]attributes, attributes, error) {
		in.ExclusiveStartKey = from
		out, err := c.api.Scan(c.ctx(), in)
		if err != nil {
			return nil, nil, err
		}
		return out.Items, out.LastEvaluatedKey, nil
	})
}

// sorted checks the order of what a query returned, over all pages: a walk goes one way, whatever moves meanwhile. strict: no two are equal.
func (c *client) sorted(what string, items []attributes, forward, strict bool, less func(a, b attributes) bool) {
	for i := 1; i < len(items); i++ {
		a, b := items[i-1], items[i]
		if !forward {
			a, b = b, a
		}
		if less(b, a) || strict && !less(a, b) {
			c.fault("%s, forward %v: %s comes before %s", what, forward, text(items[i-1]), text(items[i]))
		}
	}
}

func byNumber(name string) func(a, b attributes) bool {
	return func(a, b attributes) bool {
		m, _ := number(a, name)
		n, _ := number(b, name)
		return m < n
	}
}

func byText(name string) func(a, b attributes) bool {
	return func(a, b attributes) bool { return valueText(a[name]) < valueText(b[name]) }
}

func (c *client) queryColor() error {
	color, least := pick(c, colors), c.IntN(20)-15
	in := &dynamodb.QueryInput{IndexName: aws.String(byColor), KeyConditionExpression: aws.String("color = :c AND width >= :n"),
		ExpressionAttributeValues: attributes{":c": str(color), ":n": num(least)}}
	if c.IntN(3) == 0 {
		in.FilterExpression, in.ExpressionAttributeValues[":by"] = aws.String("#by = :by"), str(c.regions[0])
		in.ExpressionAttributeNames = map[string]string{"#by": "writer"}
	}
	items, err := c.query("by color", in)
	if err != nil {
		return err
	}
	found := func(it attributes) bool {
		n, ok := number(it, "width")
		return is(it, "color", color) && ok && n >= least && (in.FilterExpression == nil || is(it, "writer", c.regions[0]))
	}
	for _, it := range items {
		if !found(it) {
			c.fault("color = %s AND width >= %d found %s", color, least, text(it))
		}
	}
	c.complete("by color", items, found)
	c.sorted("by color", items, *in.ScanIndexForward, false, byNumber("width"))
	return nil
}

func (c *client) queryShape() error {
	shape := pick(c, shapes)
	items, err := c.query("by shape", &dynamodb.QueryInput{IndexName: aws.String(byShape), KeyConditionExpression: aws.String("shape = :s"), ExpressionAttributeValues: attributes{":s": str(shape)}})
	if err != nil {
		return err
	}
	c.complete("by shape", items, func(it attributes) bool { return is(it, "shape", shape) })
	for _, it := range items {
		if !is(it, "shape", shape) || text(it) != text(project(it, "pk", "sk", "shape", "note")) {
			c.fault("shape = %s found %s", shape, text(it))
		}
	}
	return nil
}

// queryGrade queries the local index. With attributes that are not in it, they come from the table.
func (c *client) queryGrade() error {
	partition, grade := pick(c, partitions), pick(c, grades)
	in := &dynamodb.QueryInput{IndexName: aws.String(byGrade), KeyConditionExpression: aws.String("pk = :p AND #grade <= :r"), ConsistentRead: aws.Bool(c.IntN(2) == 0),
		ExpressionAttributeNames: map[string]string{"#grade": "grade"}, ExpressionAttributeValues: attributes{":p": str(partition), ":r": str(grade)}}
	all := c.IntN(2) == 0
	if all {
		in.Select = types.SelectAllAttributes
	}
	items, err := c.query("by grade", in)
	if err != nil {
		return err
	}
	found := func(it attributes) bool {
		return is(it, "pk", partition) && it["grade"] != nil && valueText(it["grade"]) <= valueText(str(grade))
	}
	c.complete("by grade", items, found)
	for _, it := range items {
		if !found(it) || !all && len(it) != 3 {
			c.fault("pk = %s AND grade <= %s found %s", partition, grade, text(it))
		}
	}
	c.sorted("by grade", items, *in.ScanIndexForward, false, byText("grade"))
	return nil
}

func (c *client) queryLegacy() error {
	color := pick(c, colors)
	in := &dynamodb.QueryInput{IndexName: aws.String(byColor), KeyConditions: map[string]types.Condition{
		"color": {ComparisonOperator: types.ComparisonOperatorEq, AttributeValueList: []types.AttributeValue{str(color)}},
		"width": {ComparisonOperator: types.ComparisonOperatorBetween, AttributeValueList: []types.AttributeValue{num(0), num(5)}}}}
	items, err := c.query("legacy query", in)
	if err != nil {
		return err
	}
	found := func(it attributes) bool {
		n, ok := number(it, "width")
		return is(it, "color", color) && ok && n >= 0 && n <= 5
	}
	for _, it := range items {
		if !found(it) {
			c.fault("color EQ %s, width BETWEEN 0 AND 5 found %s", color, text(it))
		}
	}
	c.complete("legacy query", items, found)
	c.sorted("legacy query", items, *in.ScanIndexForward, false, byNumber("width"))
	return nil
}

func (c *client) queryTable() error {
	partition := pick(c, partitions)
	in := &dynamodb.QueryInput{KeyConditionExpression: aws.String("pk = :p"), ExpressionAttributeValues: attributes{":p": str(partition)}, ConsistentRead: aws.Bool(true)}
	items, err := c.query("table", in)
	if err != nil {
		return err
	}
	c.complete("table", items, func(it attributes) bool { return is(it, "pk", partition) })
	for _, it := range items {
		if !is(it, "pk", partition) {
			c.fault("pk = %s found %s", partition, text(it))
		}
	}
	c.sorted("table", items, *in.ScanIndexForward, true, byNumber("sk"))
	return nil
}

// once checks that a walk over the table met no key twice.
func (c *client) once(what string, items []attributes) {
	keys := map[string]bool{}
	for _, it := range items {
		if keys[keyText(it)] {
			c.fault("%s: %s twice", what, keyText(it))
		}
		keys[keyText(it)] = true
	}
}

func (c *client) scanTable() error {
	items, err := c.scan("scan", &dynamodb.ScanInput{ConsistentRead: aws.Bool(c.IntN(2) == 0)})
	if err != nil {
		return err
	}
	c.complete("scan", items, everything)
	c.once("scan", items)
	return nil
}

func (c *client) scanSegments() error {
	var all []attributes
	for segment := range int32(3) {
		items, err := c.scan("segment", &dynamodb.ScanInput{Segment: &segment, TotalSegments: aws.Int32(3)})
		if err != nil {
			return err
		}
		all = append(all, items...)
	}
	c.complete("segments", all, everything)
	c.once("segments", all)
	return nil
}

func (c *client) scanIndex() error {
	items, err := c.scan("scan of an index", &dynamodb.ScanInput{IndexName: aws.String(byColor)})
	if err != nil {
		return err
	}
	c.complete("scan of an index", items, everything)
	for _, it := range items {
		if _, ok := number(it, "width"); !ok || it["color"] == nil {
			c.fault("%s is in %s", text(it), byColor)
		}
	}
	return nil
}

func (c *client) batchGet() error {
	keys, began := c.keys(5), time.Now()
	asked := map[string]bool{}
	for _, key := range keys {
		asked[keyText(key)] = true
	}
	out, err := c.api.BatchGetItem(c.ctx(), &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{sharedTable: {Keys: keys, ConsistentRead: aws.Bool(true)}}})
	if err != nil {
		return err
	}
	items := out.Responses[sharedTable]
	c.seen("batch get", began, items...)
	for _, key := range append(items, out.UnprocessedKeys[sharedTable].Keys...) {
		if !asked[keyText(key)] {
			c.fault("a batch has %s, which was not asked for, or a second time", keyText(key))
		}
		delete(asked, keyText(key))
	}
	return nil
}

// getPair gets both items of a pair of either region: only transactions of that region write them, which no other write ever beats, so they are the same here too.
func (c *client) getPair() error {
	var in dynamodb.TransactGetItemsInput
	for _, key := range pair(pick(c, c.regions)) {
		in.TransactItems = append(in.TransactItems, types.TransactGetItem{Get: &types.Get{TableName: aws.String(sharedTable), Key: key}})
	}
	began := time.Now()
	out, err := c.api.TransactGetItems(c.ctx(), &in)
	if err != nil {
		c.reasons(err, 2, func(i int, _ *types.CancellationReason) { c.fault("get %d failed on no condition", i) })
		return err
	}
	a, b := out.Responses[0].Item, out.Responses[1].Item
	c.seen("pair", began, a, b)
	if text(project(a, "v", "color")) != text(project(b, "v", "color")) {
		c.fault("half a transaction: %s and %s", text(a), text(b))
	}
	return nil
}

func (c *client) selectStatement() error {
	color := pick(c, colors)
	in := &dynamodb.ExecuteStatementInput{Statement: aws.String(`SELECT * FROM "shared"."by-color" WHERE color = ?`), Parameters: []types.AttributeValue{str(color)}, Limit: aws.Int32(1 + c.Int32N(4))}
	var all []attributes
	for range maxPages {
		began := time.Now()
		out, err := c.api.ExecuteStatement(c.ctx(), in)
		if err != nil {
			return err
		}
		c.seen("select", began, out.Items...)
		for _, it := range out.Items {
			if !is(it, "color", color) {
				c.fault("SELECT … color = %s found %s", color, text(it))
			}
		}
		all = append(all, out.Items...)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			c.complete("SELECT", all, func(it attributes) bool { return is(it, "color", color) })
			return nil
		}
	}
	c.fault("SELECT: no end after %d pages", maxPages)
	return nil
}

// project is an item's attributes of these names.
func project(it attributes, names ...string) attributes {
	out := attributes{}
	for _, name := range names {
		if v, there := it[name]; there {
			out[name] = v
		}
	}
	return out
}
