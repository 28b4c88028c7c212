package world

import (
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// What operations may meet. A write of one item meets the transaction of another client.
const (
	conflicts = "TransactionConflictException: Transaction is ongoing for the item"
	failed    = "ConditionalCheckFailedException: The conditional request failed"
	cancelled = "TransactionCanceledException: Transaction cancelled, please refer cancellation reasons for specific reasons ["
	noPath    = "ValidationException: The document path provided in the update expression is invalid for update"
	wrongType = "ValidationException: One or more parameter values were invalid: Type mismatch for Index Key color"
	toWrong   = "ValidationException: The update expression attempted to update the secondary index key to unsupported type"
	duplicate = "DuplicateItemException: Duplicate primary key exists in table"
)

// writes are the kinds of writes.
var writes = []operation{
	{"put", []string{conflicts}, (*client).put},
	{"put what expires", []string{conflicts}, (*client).putExpiring},
	{"put what is not there", []string{conflicts, failed}, (*client).putNew},
	{"set in a document", []string{conflicts, noPath}, (*client).setNested},
	{"add", []string{conflicts}, (*client).add},
	{"append", []string{conflicts}, (*client).append},
	{"move in indexes", []string{conflicts}, (*client).move},
	{"leave indexes", []string{conflicts}, (*client).leave},
	{"index key of a wrong type", []string{conflicts}, (*client).mistype},
	{"update of a version", []string{conflicts, failed}, (*client).nextVersion},
	{"delete", []string{conflicts}, (*client).delete},
	{"delete on a condition", []string{conflicts, failed}, (*client).deleteIf},
	{"batch write", nil, (*client).batchWrite},
	{"transaction with a token", []string{cancelled}, (*client).transact},
	{"transaction on a pair", []string{cancelled}, (*client).transactPair},
	{"insert statement", []string{conflicts, duplicate}, (*client).insert},
	{"update statement", []string{conflicts, failed}, (*client).updateStatement},
	{"delete statement", []string{conflicts, failed}, (*client).deleteStatement},
	{"batch of statements", nil, (*client).batchStatements},
	{"legacy update", []string{conflicts, failed}, (*client).updateLegacy},
	{"transaction of statements", []string{cancelled}, (*client).transactStatements},
}

func (c *client) put() error { return c.putItem(c.item(c.key())) }

// putExpiring puts an item that expires while the others write, or much later.
func (c *client) putExpiring() error {
	it := c.item(c.key())
	it["expires"] = num(int(time.Now().Unix()) + 1)
	if c.IntN(4) == 0 {
		it["expires"] = num(int(time.Now().Unix()) + 3600)
	}
	return c.putItem(it)
}

func (c *client) putItem(it attributes) error {
	began := time.Now()
	out, err := c.api.PutItem(c.ctx(), &dynamodb.PutItemInput{TableName: aws.String(sharedTable), Item: it, ReturnValues: types.ReturnValueAllOld})
	if err == nil && out.Attributes != nil {
		c.seen("the item before a put", began, out.Attributes)
		if keyText(out.Attributes) != keyText(it) {
			c.fault("a put of %s replaced %s", keyText(it), keyText(out.Attributes))
		}
	}
	return err
}

// shown checks the item of a failed condition: holds must be false for it.
func (c *client) shown(err error, began time.Time, key attributes, holds func(it attributes) bool) error {
	var e *types.ConditionalCheckFailedException
	if !errors.As(err, &e) {
		return err
	}
	if e.Item != nil {
		c.cover("a condition failed and showed its item")
		c.seen("the item of a failed condition", began, e.Item)
		if keyText(e.Item) != keyText(key) {
			c.fault("a condition on %s failed and shows %s", keyText(key), keyText(e.Item))
		}
	}
	if holds(e.Item) {
		c.fault("a condition failed that holds for %s", text(e.Item))
	}
	return err
}

func (c *client) putNew() error {
	it, began := c.item(c.key()), time.Now()
	_, err := c.api.PutItem(c.ctx(), &dynamodb.PutItemInput{TableName: aws.String(sharedTable), Item: it, ConditionExpression: aws.String("attribute_not_exists(pk)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	return c.shown(err, began, it, func(it attributes) bool { return it == nil })
}

// update updates an item and returns what the answer shows of it.
func (c *client) update(key attributes, expression string, values attributes, show types.ReturnValue) (attributes, error) {
	out, err := c.api.UpdateItem(c.ctx(), &dynamodb.UpdateItemInput{TableName: aws.String(sharedTable), Key: key, UpdateExpression: &expression, ExpressionAttributeValues: values, ReturnValues: show})
	if err != nil {
		return nil, err
	}
	return out.Attributes, nil
}

func (c *client) setNested() error {
	x := c.IntN(100)
	got, err := c.update(c.key(), "SET m.x = :x", attributes{":x": num(x)}, types.ReturnValueUpdatedNew)
	if err == nil && text(got) != text(attributes{"m": &types.AttributeValueMemberM{Value: attributes{"x": num(x)}}}) {
		c.fault("SET m.x = %d made %s", x, text(got))
	}
	return err
}

func (c *client) add() error {
	got, err := c.update(c.key(), "ADD hits :one, tags :tag", attributes{":one": num(1), ":tag": &types.AttributeValueMemberSS{Value: []string{c.name}}}, types.ReturnValueAllNew)
	if err != nil {
		return err
	}
	tags, _ := got["tags"].(*types.AttributeValueMemberSS)
	if hits, ok := number(got, "hits"); !ok || hits < 1 || tags == nil || len(tags.Value) == 0 {
		c.fault("ADD made %s", text(got))
	}
	return nil
}

func (c *client) append() error {
	list := func(of ...types.AttributeValue) types.AttributeValue { return &types.AttributeValueMemberL{Value: of} }
	got, err := c.update(c.key(), "SET trail = list_append(if_not_exists(trail, :none), :entry)", attributes{":none": list(), ":entry": list(str(c.name))}, types.ReturnValueUpdatedNew)
	if err != nil {
		return err
	}
	if log, _ := got["trail"].(*types.AttributeValueMemberL); log == nil || len(log.Value) == 0 || valueText(log.Value[len(log.Value)-1]) != valueText(str(c.name)) {
		c.fault("list_append made %s", text(got))
	}
	return nil
}

// move gives an item other index keys.
func (c *client) move() error {
	color, shape, grade, width := pick(c, colors), pick(c, shapes), pick(c, grades), c.IntN(20)-10
	got, err := c.update(c.key(), "SET color = :c, width = :n, shape = :s, grade = :r, writer = :by",
		attributes{":c": str(color), ":n": num(width), ":s": str(shape), ":r": str(grade), ":by": str(c.region)}, types.ReturnValueAllNew)
	if n, ok := number(got, "width"); err == nil && (!is(got, "color", color) || !is(got, "shape", shape) || !is(got, "grade", grade) || !ok || n != width) {
		c.fault("SET made %s", text(got))
	}
	return err
}

// leave takes an index key away.
func (c *client) leave() error {
	name := pick(c, []string{"color", "width", "shape", "grade"})
	got, err := c.update(c.key(), "REMOVE "+name, nil, types.ReturnValueAllNew)
	if _, there := got[name]; there {
		c.fault("REMOVE %s made %s", name, text(got))
	}
	return err
}

// mistype gives an index key a value of another type, which no item may have.
func (c *client) mistype() error {
	_, err := c.update(c.key(), "SET color = :n", attributes{":n": num(1)}, types.ReturnValueNone)
	if !meets(err, toWrong) {
		if err == nil {
			c.fault("a color became a number")
		}
		return err
	}
	it := c.item(c.key())
	it["color"] = num(1)
	if _, err = c.api.PutItem(c.ctx(), &dynamodb.PutItemInput{TableName: aws.String(sharedTable), Item: it}); meets(err, wrongType) {
		return nil
	}
	if err == nil {
		c.fault("an item with a number for a color was put")
	}
	return err
}

// nextVersion is a read and a conditional write.
func (c *client) nextVersion() error {
	key, began := c.key(), time.Now()
	it, err := c.get(key)
	if err != nil {
		return err
	}
	c.seen("GetItem", began, it)
	version, ok := number(it, "version")
	if !ok {
		version = 0
	}
	if c.IntN(3) == 0 {
		version++ // as one has it that read long ago
	}
	out, err := c.api.UpdateItem(c.ctx(), &dynamodb.UpdateItemInput{TableName: aws.String(sharedTable), Key: key, UpdateExpression: aws.String("SET version = :next"),
		ConditionExpression:       aws.String("attribute_not_exists(pk) OR version = :version"),
		ExpressionAttributeValues: attributes{":version": num(version), ":next": num(version + 1)}, ReturnValues: types.ReturnValueAllOld,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	holds := func(it attributes) bool {
		got, ok := number(it, "version")
		return it == nil || ok && got == version
	}
	if err == nil && !holds(out.Attributes) {
		c.fault("version %d was written over %s", version+1, text(out.Attributes))
	}
	return c.shown(err, began, key, holds)
}

func (c *client) delete() error {
	key, began := c.key(), time.Now()
	out, err := c.api.DeleteItem(c.ctx(), &dynamodb.DeleteItemInput{TableName: aws.String(sharedTable), Key: key, ReturnValues: types.ReturnValueAllOld})
	if err == nil && out.Attributes != nil {
		c.seen("the item before a delete", began, out.Attributes)
		if keyText(out.Attributes) != keyText(key) {
			c.fault("a delete of %s deleted %s", keyText(key), keyText(out.Attributes))
		}
	}
	return err
}

func (c *client) deleteIf() error {
	key, color, width, began := c.key(), pick(c, colors), c.IntN(20)-10, time.Now()
	holds := func(it attributes) bool {
		n, ok := number(it, "width")
		return is(it, "color", color) || ok && n > width
	}
	out, err := c.api.DeleteItem(c.ctx(), &dynamodb.DeleteItemInput{TableName: aws.String(sharedTable), Key: key, ConditionExpression: aws.String("color = :c OR width > :n"),
		ExpressionAttributeValues: attributes{":c": str(color), ":n": num(width)}, ReturnValues: types.ReturnValueAllOld,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	if err == nil && !holds(out.Attributes) {
		c.fault("color = %s OR width > %d let %s be deleted", color, width, text(out.Attributes))
	}
	return c.shown(err, began, key, holds)
}

func (c *client) batchWrite() error {
	var requests []types.WriteRequest
	asked := map[string]bool{}
	for _, key := range c.keys(2 + c.IntN(3)) {
		asked[keyText(key)] = true
		if c.IntN(4) == 0 {
			requests = append(requests, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: key}})
		} else {
			requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: c.item(key)}})
		}
	}
	out, err := c.api.BatchWriteItem(c.ctx(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{sharedTable: requests}})
	if err != nil {
		return err
	}
	for table, list := range out.UnprocessedItems {
		for _, w := range list {
			var key attributes
			if w.PutRequest != nil {
				key = w.PutRequest.Item
			} else if w.DeleteRequest != nil {
				key = w.DeleteRequest.Key
			}
			if table != sharedTable || !asked[keyText(key)] {
				c.fault("%s of table %s was not processed, and not asked for", keyText(key), table)
			}
		}
	}
	return nil
}

// transact writes four keys, checks a fifth and counts itself; it is sent twice.
func (c *client) transact() error {
	keys, began := c.keys(4), time.Now()
	table := aws.String(sharedTable)
	in := &dynamodb.TransactWriteItemsInput{ClientRequestToken: aws.String(fmt.Sprintf("%s %d", c.name, c.step)), TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: table, Item: c.item(keys[0])}},
		{Update: &types.Update{TableName: table, Key: keys[1], UpdateExpression: aws.String("SET color = :c, writer = :by ADD hits :one"),
			ExpressionAttributeValues: attributes{":c": str(pick(c, colors)), ":by": str(c.region), ":one": num(1)}}},
		{Delete: &types.Delete{TableName: table, Key: keys[2]}},
		{ConditionCheck: &types.ConditionCheck{TableName: table, Key: keys[3], ConditionExpression: aws.String("attribute_not_exists(color) OR color <> :c"),
			ExpressionAttributeValues: attributes{":c": str(colors[0])}, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}},
		{Update: &types.Update{TableName: table, Key: c.own(), UpdateExpression: aws.String("ADD #count :one"), ExpressionAttributeNames: map[string]string{"#count": "count"},
			ExpressionAttributeValues: attributes{":one": num(1)}}},
	}}
	var last error
	succeeded := false
	for range 2 {
		_, err := c.api.TransactWriteItems(c.ctx(), in)
		switch {
		case err == nil:
			succeeded = true
			continue
		case succeeded:
			c.fault("a transaction succeeded, and failed when it was sent again: %v", err)
		}
		last = err
		c.reasons(err, len(in.TransactItems), func(i int, r *types.CancellationReason) {
			c.seen("the item of a cancelled transaction", began, r.Item)
			if i != 3 || !is(r.Item, "color", colors[0]) {
				c.fault("condition %d of a transaction failed for %s", i, text(r.Item))
			}
		})
	}
	if !succeeded {
		return last
	}
	c.counted++
	return nil
}

// reasons checks why a transaction of n parts was cancelled; failed gets the parts whose condition failed.
func (c *client) reasons(err error, n int, failed func(i int, r *types.CancellationReason)) {
	var e *types.TransactionCanceledException
	if !errors.As(err, &e) {
		return
	}
	c.cover("a transaction was cancelled")
	if len(e.CancellationReasons) != n {
		c.fault("%d reasons for %d parts", len(e.CancellationReasons), n)
	}
	some := false
	for i := range e.CancellationReasons {
		r := &e.CancellationReasons[i]
		switch code := aws.ToString(r.Code); code {
		case "None":
			continue
		case "TransactionConflict":
		case "ConditionalCheckFailed", "DuplicateItem":
			failed(i, r)
		default:
			c.fault("part %d of a transaction was cancelled for %s, %s", i, code, aws.ToString(r.Message))
		}
		some = true
	}
	if !some {
		c.fault("a transaction was cancelled for no reason")
	}
}

// transactPair writes the region's pair, both with the same value.
func (c *client) transactPair() error {
	var in dynamodb.TransactWriteItemsInput
	v, color := str(fmt.Sprintf("%s %d", c.name, c.step)), str(pick(c, colors))
	for i, key := range pair(c.region) {
		it := attributes{"pk": key["pk"], "sk": key["sk"], "v": v, "color": color, "width": num(i), "writer": str(c.region)}
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{TableName: aws.String(sharedTable), Item: it}})
	}
	_, err := c.api.TransactWriteItems(c.ctx(), &in)
	c.reasons(err, 2, func(i int, _ *types.CancellationReason) { c.fault("put %d failed on no condition", i) })
	return err
}

func (c *client) execute(statement string, parameters ...types.AttributeValue) error {
	_, err := c.api.ExecuteStatement(c.ctx(), &dynamodb.ExecuteStatementInput{Statement: &statement, Parameters: parameters})
	return err
}

// The statements.
const (
	insertStatement = `INSERT INTO "shared" VALUE {'pk': ?, 'sk': ?, 'color': ?, 'width': ?, 'writer': ?}`
	updateStatement = `UPDATE "shared" SET shape = ? SET note = ? REMOVE grade WHERE pk = ? AND sk = ?`
	deleteStatement = `DELETE FROM "shared" WHERE pk = ? AND sk = ?`
)

func (c *client) insert() error {
	key := c.key()
	return c.execute(insertStatement, key["pk"], key["sk"], str(pick(c, colors)), num(c.IntN(20)-10), str(c.region))
}

func (c *client) updateStatement() error {
	key := c.key()
	return c.execute(updateStatement, str(pick(c, shapes)), str(c.name), key["pk"], key["sk"])
}

func (c *client) deleteStatement() error {
	key := c.key()
	return c.execute(deleteStatement, key["pk"], key["sk"])
}

func (c *client) transactStatements() error {
	keys := c.keys(2)
	out := &dynamodb.ExecuteTransactionInput{TransactStatements: []types.ParameterizedStatement{
		{Statement: aws.String(updateStatement), Parameters: []types.AttributeValue{str(pick(c, shapes)), str(c.name), keys[0]["pk"], keys[0]["sk"]}},
		{Statement: aws.String(deleteStatement), Parameters: []types.AttributeValue{keys[1]["pk"], keys[1]["sk"]}},
	}}
	_, err := c.api.ExecuteTransaction(c.ctx(), out)
	c.reasons(err, 2, func(i int, _ *types.CancellationReason) {
		if i != 0 {
			c.fault("a deletion failed on no condition")
		}
	})
	return err
}

// batchStatements sends statements that fail, or not, each by itself.
func (c *client) batchStatements() error {
	keys := c.keys(2)
	out, err := c.api.BatchExecuteStatement(c.ctx(), &dynamodb.BatchExecuteStatementInput{Statements: []types.BatchStatementRequest{
		{Statement: aws.String(updateStatement), Parameters: []types.AttributeValue{str(pick(c, shapes)), str(c.name), keys[0]["pk"], keys[0]["sk"]}},
		{Statement: aws.String(deleteStatement), Parameters: []types.AttributeValue{keys[1]["pk"], keys[1]["sk"]}},
	}})
	if err != nil {
		return err
	}
	if len(out.Responses) != 2 {
		c.fault("%d answers to 2 statements", len(out.Responses))
	}
	for i, r := range out.Responses {
		if r.Error == nil || r.Error.Code == types.BatchStatementErrorCodeEnumTransactionConflict || i == 0 && r.Error.Code == types.BatchStatementErrorCodeEnumConditionalCheckFailed {
			continue
		}
		c.fault("statement %d: %s, %s", i, r.Error.Code, aws.ToString(r.Error.Message))
	}
	return nil
}

// updateLegacy is a conditional update with the parameters that expressions have replaced.
func (c *client) updateLegacy() error {
	color := str(pick(c, colors))
	out, err := c.api.UpdateItem(c.ctx(), &dynamodb.UpdateItemInput{TableName: aws.String(sharedTable), Key: c.key(), ReturnValues: types.ReturnValueAllOld,
		AttributeUpdates: map[string]types.AttributeValueUpdate{"color": {Action: types.AttributeActionDelete}, "hits": {Action: types.AttributeActionAdd, Value: num(1)}},
		Expected:         map[string]types.ExpectedAttributeValue{"color": {ComparisonOperator: types.ComparisonOperatorNe, AttributeValueList: []types.AttributeValue{color}}}})
	if err == nil && out.Attributes["color"] != nil && valueText(out.Attributes["color"]) == valueText(color) {
		c.fault("color NE %s let %s be updated", valueText(color), text(out.Attributes))
	}
	return err
}
