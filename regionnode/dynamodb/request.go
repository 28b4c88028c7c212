package dynamodb

import (
	"errors"
	"math"
	"math/bits"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
)

// parameterSet is a set of parameters of requests on items.
type parameterSet uint64

const (
	pTableName parameterSet = 1 << iota
	pIndexName
	pItem
	pKey
	pKeys
	pConsistentRead
	pReturnConsumedCapacity
	pReturnItemCollectionMetrics
	pReturnValues
	pReturnValuesOnConditionCheckFailure
	pSelect
	pLimit
	pScanIndexForward
	pExclusiveStartKey
	pSegment
	pTotalSegments

	pConditionExpression
	pUpdateExpression
	pProjectionExpression
	pFilterExpression
	pKeyConditionExpression
	pExpressionAttributeNames
	pExpressionAttributeValues

	// What was there before expressions.
	pExpected
	pAttributeUpdates
	pAttributesToGet
	pQueryFilter
	pScanFilter
	pKeyConditions
	pConditionalOperator
)

// The parameters that several operations have.
const (
	withTable      = pTableName | pReturnConsumedCapacity
	withCondition  = pConditionExpression | pExpressionAttributeNames | pExpressionAttributeValues | pReturnValuesOnConditionCheckFailure
	withProjection = pProjectionExpression | pExpressionAttributeNames | pAttributesToGet | pConsistentRead
	withPages      = pIndexName | pSelect | pLimit | pExclusiveStartKey | pFilterExpression | pExpressionAttributeValues | pConditionalOperator
	withOne        = withTable | withCondition | pExpected | pConditionalOperator | pReturnValues | pReturnItemCollectionMetrics
)

// What the operations have, and the parts of those that have several.
const (
	putParameters    = withOne | pItem
	deleteParameters = withOne | pKey
	updateParameters = withOne | pKey | pUpdateExpression | pAttributeUpdates
	getParameters    = withTable | withProjection | pKey
	queryParameters  = withTable | withProjection | withPages | pKeyConditionExpression | pKeyConditions | pQueryFilter | pScanIndexForward
	scanParameters   = withTable | withProjection | withPages | pScanFilter | pSegment | pTotalSegments

	transactParameters    = pTableName | withCondition
	transactGetParameters = pTableName | pKey | pProjectionExpression | pExpressionAttributeNames

	batchGetParameters    = withProjection | pKeys
	batchPutParameters    = pItem
	batchDeleteParameters = pKey
)

func parameterNamed(name []byte) parameterSet {
	switch string(name) {
	case "TableName":
		return pTableName
	case "IndexName":
		return pIndexName
	case "Item":
		return pItem
	case "Key":
		return pKey
	case "Keys":
		return pKeys
	case "ConsistentRead":
		return pConsistentRead
	case "ReturnConsumedCapacity":
		return pReturnConsumedCapacity
	case "ReturnItemCollectionMetrics":
		return pReturnItemCollectionMetrics
	case "ReturnValues":
		return pReturnValues
	case "ReturnValuesOnConditionCheckFailure":
		return pReturnValuesOnConditionCheckFailure
	case "Select":
		return pSelect
	case "Limit":
		return pLimit
	case "ScanIndexForward":
		return pScanIndexForward
	case "ExclusiveStartKey":
		return pExclusiveStartKey
	case "Segment":
		return pSegment
	case "TotalSegments":
		return pTotalSegments
	case "ConditionExpression":
		return pConditionExpression
	case "UpdateExpression":
		return pUpdateExpression
	case "ProjectionExpression":
		return pProjectionExpression
	case "FilterExpression":
		return pFilterExpression
	case "KeyConditionExpression":
		return pKeyConditionExpression
	case "ExpressionAttributeNames":
		return pExpressionAttributeNames
	case "ExpressionAttributeValues":
		return pExpressionAttributeValues
	case "Expected":
		return pExpected
	case "AttributeUpdates":
		return pAttributeUpdates
	case "AttributesToGet":
		return pAttributesToGet
	case "QueryFilter":
		return pQueryFilter
	case "ScanFilter":
		return pScanFilter
	case "KeyConditions":
		return pKeyConditions
	case "ConditionalOperator":
		return pConditionalOperator
	}
	return 0
}

// itemRequest is a request on items, an action of a transaction, a write of a batch, or what a batch reads of one table: the front that all of them share. Its steps are in DynamoDB's
// order, so that of several faults the same one is told:
//
//	parse    types of parameters, shapes of attribute values
//	check    constraints of single parameters, all of them together
//	settle   what the parameters mean together, values, expressions
//
// and then the table, and what the table's schema makes of it. Its texts and objects are views of the parsed request, its memory is used again by the next one.
type itemRequest struct {
	may parameterSet // what it may have; others are ignored, as DynamoDB ignores them
	asked
	expressions

	// attributes is item, key or start, decoded; held is what is wrong with a value of it.
	attributes item.Item
	itemKey    item.Key // of the item that the request is about, in its table
}

// asked are the parameters of a request, and what is wrong with some of them.
type asked struct {
	given parameterSet
	// places has where in the request each parameter is, by its bit; count is how many there are.
	places [32]uint8
	count  int

	table, index, capacity, metrics, returnValues, onConditionFailure, selects, operator text
	condition, update, projection, filter, keyCondition                                  text
	item, key, start                                                                     *fastjson.Value
	keys, attributesToGet                                                                []*fastjson.Value
	names, values, expected, updates, keyConditions, queryFilter, scanFilter             *fastjson.Object
	limit, segment, segments                                                             integer
	consistent, backward                                                                 bool

	held       error           // what is wrong with a value of item, key or start
	heldLegacy error           // with a parameter that expressions replace
	violations expr.Violations // of constraints of their members
	heldNames  error           // with ExpressionAttributeNames
	heldValues error           // with ExpressionAttributeValues
}

// reset makes r an empty request that may have the parameters given.
func (r *itemRequest) reset(may parameterSet) {
	if r.has(allExpressions | allLegacy | substitutions) {
		r.expressions.reset()
	}
	r.may, r.asked = may, asked{}
	r.attributes, r.itemKey = r.attributes[:0], r.itemKey[:0]
}

// has reports whether one of the parameters was given.
func (r *itemRequest) has(p parameterSet) bool { return r.given&p != 0 }

// parse reads the parameters.
func (r *itemRequest) parse(p *fastjson.Object) error {
	var first misshapen
	if err := each(p, r.set); err != nil {
		first = misshapen{r.count, err}
	}
	for _, a := range [...]struct {
		parameter parameterSet
		value     *fastjson.Value
	}{{pItem, r.item}, {pKey, r.key}, {pExclusiveStartKey, r.start}} {
		if a.value != nil {
			var err error
			r.held, err = decodeItem(&r.attributes, a.value)
			r.note(&first, a.parameter, err)
		}
	}
	if r.has(allLegacy) {
		r.parseLegacy(&first)
	}
	r.parseSubstitutions(&first)
	return first.err
}

// misshapen is the first error of JSON of a wrong shape, by the places of parameters in the request: DynamoDB reads it from front to end.
type misshapen struct {
	at  int // zero: none
	err error
}

// note notes that a parameter has JSON of a wrong shape, unless err is nil.
func (r *itemRequest) note(first *misshapen, p parameterSet, err error) {
	if at := int(r.places[bits.TrailingZeros64(uint64(p))]); err != nil && (first.err == nil || at < first.at) {
		*first = misshapen{at, err}
	}
}

// set takes one parameter.
func (r *itemRequest) set(name []byte, v *fastjson.Value) error {
	p := parameterNamed(name)
	if r.may&p == 0 || !given(v) {
		return nil
	}
	r.given |= p
	r.count++
	r.places[bits.TrailingZeros64(uint64(p))] = uint8(r.count)
	switch p {
	case pItem:
		return parseAttributes(&r.item, v)
	case pKey:
		return parseAttributes(&r.key, v)
	case pExclusiveStartKey:
		return parseAttributes(&r.start, v)
	case pKeys:
		return parseList(&r.keys, v)
	case pAttributesToGet:
		return parseList(&r.attributesToGet, v)
	case pConsistentRead:
		return parseBool(&r.consistent, v)
	case pScanIndexForward:
		forward := true
		err := parseBool(&forward, v)
		r.backward = !forward
		return err
	case pLimit:
		return parseInteger(&r.limit, v, "Integer")
	case pSegment:
		return parseInteger(&r.segment, v, "Integer")
	case pTotalSegments:
		return parseInteger(&r.segments, v, "Integer")
	}
	if o, class := r.object(p); o != nil {
		return parseObject(o, v, class)
	}
	return parseText(r.text(p), v)
}

// text returns where a parameter that is a text belongs.
func (r *itemRequest) text(p parameterSet) *text {
	switch p {
	case pTableName:
		return &r.table
	case pIndexName:
		return &r.index
	case pReturnConsumedCapacity:
		return &r.capacity
	case pReturnItemCollectionMetrics:
		return &r.metrics
	case pReturnValues:
		return &r.returnValues
	case pReturnValuesOnConditionCheckFailure:
		return &r.onConditionFailure
	case pSelect:
		return &r.selects
	case pConditionalOperator:
		return &r.operator
	case pConditionExpression:
		return &r.condition
	case pUpdateExpression:
		return &r.update
	case pProjectionExpression:
		return &r.projection
	case pFilterExpression:
		return &r.filter
	}
	return &r.keyCondition
}

// object returns where a parameter that is a map belongs, and its Java class; nil if it is none.
func (r *itemRequest) object(p parameterSet) (dst **fastjson.Object, class string) {
	switch p {
	case pExpressionAttributeNames:
		return &r.names, "java.util.Map<java.lang.String, java.lang.String>"
	case pExpressionAttributeValues:
		return &r.values, attributeMapClass
	case pExpected:
		return &r.expected, mapClass("ExpectedAttributeValue")
	case pAttributeUpdates:
		return &r.updates, mapClass("AttributeValueUpdate")
	case pKeyConditions:
		return &r.keyConditions, mapClass("Condition")
	case pQueryFilter:
		return &r.queryFilter, mapClass("Condition")
	case pScanFilter:
		return &r.scanFilter, mapClass("Condition")
	}
	return nil, ""
}

const attributeMapClass = "java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>"

func mapClass(structure string) string {
	return "java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810." + structure + ">"
}

// parseAttributes notes a map of attribute values. Its content is decoded later.
func parseAttributes(dst **fastjson.Value, v *fastjson.Value) error {
	var o *fastjson.Object
	err := parseObject(&o, v, attributeMapClass)
	if err == nil && o != nil {
		*dst = v
	}
	return err
}

// decodeItem decodes attributes over *dst. JSON of a wrong shape is an error at once; a wrong value is held back, for DynamoDB
// reports the violated constraints of other parameters first.
func decodeItem(dst *item.Item, v *fastjson.Value) (held, now error) {
	if v == nil {
		return nil, nil
	}
	it, err := item.DecodeItemJSON((*dst)[:0], v)
	if err == nil {
		*dst = it
		return nil, nil
	}
	return hold(err)
}

// hold divides errors of values: JSON of a wrong shape is an error at once, anything else is held back.
func hold(err error) (held, now error) {
	var e *item.Error
	if errors.As(err, &e) && e.Class == item.Serialization {
		return nil, err
	}
	return err, nil
}

// The values of enumerations.
var (
	selections    = []string{"SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"}
	images        = []string{"ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"}
	failureImages = []string{"ALL_OLD", "NONE"}
	operators     = []string{"OR", "AND"}
	capacities    = []string{"INDEXES", "TOTAL", "NONE"}
	metrics       = []string{"SIZE", "NONE"}
)

// check notes the violated constraints of single parameters.
func (r *itemRequest) check(c *constraints) {
	for _, v := range r.violations {
		c.fail(v.Value, v.Path, v.Constraint)
	}
	c.oneOf(r.selects, "select", "SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES", selections...)
	c.atLeast(r.limit, 1, "limit")
	c.atLeast(r.segments, 1, "totalSegments")
	c.atMost(r.segments, maxSegments, "totalSegments")
	c.capacity(r.capacity)
	if r.may&pTableName != 0 {
		c.tableName(r.table, "tableName")
	}
	if r.index != nil {
		c.name(r.index, "indexName")
	}
	c.present(r.may&pItem == 0 || r.item != nil, "item")
	c.present(r.may&pKey == 0 || r.key != nil, "key")
	if r.may&pKeys != 0 && c.present(r.keys != nil, "keys") {
		c.count(len(r.keys), 1, maxBatchGets, "keys")
	}
	c.metrics(r.metrics)
	c.oneOf(r.returnValues, "returnValues", "ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW", images...)
	c.oneOf(r.onConditionFailure, "returnValuesOnConditionCheckFailure", "ALL_OLD, NONE", failureImages...)
	c.oneOf(r.operator, "conditionalOperator", "OR, AND", operators...)
	c.atLeast(r.segment, 0, "segment")
	c.atMost(r.segment, maxSegments-1, "segment")
	if r.attributesToGet != nil {
		c.count(len(r.attributesToGet), 1, math.MaxInt32, "attributesToGet")
	}
}
