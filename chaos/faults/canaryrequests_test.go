//go:build linux

package faults

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/chaos/canary"
)

// The tables: in each the items of a jurisdiction are told by another part of the key. In the last one requests from elsewhere are forwarded.
const (
	byPrefix    = "people"   // EU#…
	byComponent = "orders"   // o#EU#…
	bySortKey   = "events"   // …, EU/…
	forwarded   = "accounts" // EU#…
)

var canaryTables = []string{byPrefix, byComponent, bySortKey, forwarded}

func forwards(c class) bool { return c.table == forwarded }

// keyOfClass returns a key of the class. It has the texts in it.
func keyOfClass(c class, partition, sort string) attributes {
	switch c.table {
	case byComponent:
		partition = "o#" + c.law + "#" + partition
	case bySortKey:
		sort = c.law + "/" + sort
	default:
		partition = c.law + "#" + partition
	}
	return attributes{"pk": text(partition), "sk": text(sort)}
}

func number(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
func binaryValue(s string) types.AttributeValue {
	return &types.AttributeValueMemberB{Value: []byte(s)}
}

// requests are what a client sends for one class to one region: each part of each kind of request has a canary of its own.
type requests struct {
	v      *vault
	c      class
	api    *sdk.Client
	region string
	n      int      // makes keys distinct
	log    *journal // of what was acknowledged
}

// get returns the canary of a place in the requests to this region.
func (q *requests) get(place string, kind canary.Kind) string {
	return q.v.get(q.c, place+" to "+q.region, kind)
}

// word is get of letters and digits.
func (q *requests) word(place string) string { return q.get(place, canary.Word) }

// key returns a key that nobody else uses, with two canaries in it.
func (q *requests) key(place string) attributes {
	suffix := fmt.Sprintf("/%s/%d", q.region, q.n)
	return keyOfClass(q.c, q.word("partition key of "+place)+suffix, q.word("sort key of "+place)+suffix)
}

// with returns an item: the key, and attributes.
func with(key attributes, more attributes) attributes {
	out := attributes{}
	for _, m := range []attributes{key, more} {
		for name, v := range m {
			out[name] = v
		}
	}
	return out
}

// all sends every request once. What each answers does not matter here: most are refused in a region where the item may not be.
func (q *requests) all(ctx context.Context) {
	for _, f := range []func(context.Context){q.put, q.large, q.update, q.fail, q.transact, q.statements, q.remove, q.expire, q.read, q.batch, q.invalid, q.contend} {
		if ctx.Err() != nil {
			return
		}
		f(ctx)
	}
}

// put writes values of all types, and journals the item.
func (q *requests) put(ctx context.Context) {
	v := func(place string, kind canary.Kind) string { return q.get("put "+place, kind) }
	key := q.key("put")
	_, err := q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(key, attributes{
		"g": text(v("index key", canary.Word)), "s": text(v("S", canary.Text)), "b": binaryValue(v("B", canary.Binary)), "n": number(v("N", canary.Number)),
		"ss":                             &types.AttributeValueMemberSS{Value: []string{"a", v("SS", canary.Text)}},
		"ns":                             &types.AttributeValueMemberNS{Value: []string{"1", v("NS", canary.Number)}},
		"bs":                             &types.AttributeValueMemberBS{Value: [][]byte{{1}, []byte(v("BS", canary.Binary))}},
		v("attribute name", canary.Word): text("x"),
		"m":                              &types.AttributeValueMemberM{Value: attributes{v("nested name", canary.Text): &types.AttributeValueMemberL{Value: []types.AttributeValue{text(v("nested", canary.Text))}}}},
	})})
	if err == nil {
		q.log.acknowledge(q.c, key)
	}
}

// large writes what is compressed on its way and lies in a file of its own.
func (q *requests) large(ctx context.Context) {
	filling := strings.Repeat("All work and no play makes Jack a dull boy. ", 60)
	key := q.key("large")
	_, err := q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(key, attributes{"s": text(filling + q.word("large") + filling)})})
	if err == nil {
		q.log.acknowledge(q.c, key)
	}
}

func (q *requests) update(ctx context.Context) {
	input := &sdk.UpdateItemInput{
		TableName: &q.c.table, Key: q.key("update"), UpdateExpression: aws.String("SET s = :s, #n = :n, l = list_append(if_not_exists(l, :e), :l) ADD c :c"),
		ExpressionAttributeNames: map[string]string{"#n": q.word("updated name")},
		ExpressionAttributeValues: attributes{":s": text(q.get("updated", canary.Text)), ":n": binaryValue(q.get("updated B", canary.Binary)), ":c": number("1"),
			":e": &types.AttributeValueMemberL{Value: []types.AttributeValue{}}, ":l": &types.AttributeValueMemberL{Value: []types.AttributeValue{text(q.word("appended"))}}},
		ReturnValues: types.ReturnValueAllNew,
	}
	_, _ = q.api.UpdateItem(ctx, input)
	_, _ = q.api.UpdateItem(ctx, input)
}

// fail sends writes whose conditions do not hold.
func (q *requests) fail(ctx context.Context) {
	key := q.key("fail")
	_, _ = q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(key, attributes{"s": text(q.word("before failure"))})})
	_, _ = q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(key, attributes{"s": text(q.word("put that fails"))}),
		ConditionExpression: aws.String("s = :c"), ExpressionAttributeValues: attributes{":c": text(q.get("condition", canary.Text))},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	_, _ = q.api.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: &q.c.table, Key: key, UpdateExpression: aws.String("SET x = s + :v"),
		ExpressionAttributeValues: attributes{":v": number(q.get("added to a text", canary.Number))}})
	_, _ = q.api.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: &q.c.table, Key: key, UpdateExpression: aws.String("SET x.y = :v"),
		ExpressionAttributeValues: attributes{":v": text(q.word("put where nothing is"))}})
	_, _ = q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(key, attributes{"g": number(q.get("index key of another type", canary.Number))})})
}

func (q *requests) transact(ctx context.Context) {
	key := q.key("transaction")
	input := &sdk.TransactWriteItemsInput{ClientRequestToken: aws.String(q.word("token")[:30] + fmt.Sprintf("%06d", q.n%1_000_000)), TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: &q.c.table, Item: with(key, attributes{"s": text(q.get("transaction", canary.Text))})}},
		{ConditionCheck: &types.ConditionCheck{TableName: &q.c.table, Key: q.key("checked by a transaction"), ConditionExpression: aws.String("attribute_not_exists(s) OR s <> :c"),
			ExpressionAttributeValues: attributes{":c": text(q.word("condition of a transaction"))}}},
	}}
	if _, err := q.api.TransactWriteItems(ctx, input); err == nil {
		q.log.acknowledge(q.c, key)
	}
	_, _ = q.api.TransactWriteItems(ctx, input) // the token again
	_, _ = q.api.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Update: &types.Update{TableName: &q.c.table, Key: key, UpdateExpression: aws.String("SET s = :s"), ConditionExpression: aws.String("attribute_not_exists(pk)"),
			ExpressionAttributeValues:           attributes{":s": text(q.word("transaction that fails"))},
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}}}})
	_, _ = q.api.TransactGetItems(ctx, &sdk.TransactGetItemsInput{TransactItems: []types.TransactGetItem{{Get: &types.Get{TableName: &q.c.table, Key: key}}}})
}

func (q *requests) statements(ctx context.Context) {
	key := q.key("statement")
	pk, sk := key["pk"].(*types.AttributeValueMemberS).Value, key["sk"].(*types.AttributeValueMemberS).Value
	insert := fmt.Sprintf(`INSERT INTO "%s" VALUE {'pk': '%s', 'sk': '%s', 's': '%s', 'p': ?}`, q.c.table, pk, sk, q.word("literal of a statement"))
	if _, err := q.api.ExecuteStatement(ctx, &sdk.ExecuteStatementInput{Statement: &insert, Parameters: []types.AttributeValue{text(q.word("parameter of a statement"))}}); err == nil {
		q.log.acknowledge(q.c, key)
	}
	where := fmt.Sprintf(` WHERE pk = '%s' AND sk = '%s'`, pk, sk)
	for _, s := range []string{
		fmt.Sprintf(`SELECT * FROM "%s"%s`, q.c.table, where),
		fmt.Sprintf(`UPDATE "%s" SET s = '%s'%s`, q.c.table, q.word("statement that updates"), where),
		fmt.Sprintf(`UPDATE "%s" SET s = 'x'%s AND s = '%s'`, q.c.table, where, q.word("condition of a statement")),
		fmt.Sprintf(`SELECT * FROM "%s" WHERE pk = '%s' AND contains(s, '%s')`, q.c.table, pk, q.word("filter of a statement")),
	} {
		_, _ = q.api.ExecuteStatement(ctx, &sdk.ExecuteStatementInput{Statement: &s})
		_, _ = q.api.BatchExecuteStatement(ctx, &sdk.BatchExecuteStatementInput{Statements: []types.BatchStatementRequest{{Statement: &s}}})
	}
	again := fmt.Sprintf(`UPDATE "%s" SET t = '%s'%s`, q.c.table, q.word("statement of a transaction"), where)
	_, _ = q.api.ExecuteTransaction(ctx, &sdk.ExecuteTransactionInput{TransactStatements: []types.ParameterizedStatement{{Statement: &again}}})
}

func (q *requests) remove(ctx context.Context) {
	key := q.key("deleted")
	_, _ = q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(key, attributes{"s": text(q.word("deleted")), "g": text(q.word("index key of what is deleted"))})})
	_, _ = q.api.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: &q.c.table, Key: key, ReturnValues: types.ReturnValueAllOld})
}

func (q *requests) expire(ctx context.Context) {
	_, _ = q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(q.key("expired"), attributes{"s": text(q.word("expired")), "ttl": number(fmt.Sprint(time.Now().Unix() + 1))})})
}

func (q *requests) read(ctx context.Context) {
	key := q.key("put")
	_, _ = q.api.GetItem(ctx, &sdk.GetItemInput{TableName: &q.c.table, Key: key})
	_, _ = q.api.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{q.c.table: {Keys: []attributes{key, q.key("large")}}}})
	values := attributes{":pk": key["pk"], ":f": text(q.word("filter"))}
	_, _ = q.api.Query(ctx, &sdk.QueryInput{TableName: &q.c.table, KeyConditionExpression: aws.String("pk = :pk"), FilterExpression: aws.String("s <> :f"), ExpressionAttributeValues: values})
	_, _ = q.api.Query(ctx, &sdk.QueryInput{TableName: &q.c.table, IndexName: aws.String("by-g"), KeyConditionExpression: aws.String("g = :g"), Limit: aws.Int32(3),
		ExpressionAttributeValues: attributes{":g": text(q.word("put index key"))}})
	_, _ = q.api.Scan(ctx, &sdk.ScanInput{TableName: &q.c.table, FilterExpression: aws.String("s <> :f"), ExpressionAttributeValues: attributes{":f": values[":f"]}, Limit: aws.Int32(20)})
	_, _ = q.api.Scan(ctx, &sdk.ScanInput{TableName: &q.c.table, IndexName: aws.String("by-g"), Limit: aws.Int32(5)})
}

func (q *requests) batch(ctx context.Context) {
	_, _ = q.api.BatchWriteItem(ctx, &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{q.c.table: {
		{PutRequest: &types.PutRequest{Item: with(q.key("batch"), attributes{"s": text(q.word("batch"))})}},
		{DeleteRequest: &types.DeleteRequest{Key: q.key("delete of a batch")}},
	}}})
}

// invalid sends what cannot be understood, of which DynamoDB's message quotes a piece.
func (q *requests) invalid(ctx context.Context) {
	word := q.word(quoted)
	_, _ = q.api.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: &q.c.table, Key: q.key("invalid"), UpdateExpression: aws.String("SET SET " + word)})
	_, _ = q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(q.key("invalid"), attributes{"n": number(word)})})
	_, _ = q.api.ExecuteStatement(ctx, &sdk.ExecuteStatementInput{Statement: aws.String(`SELECT FROM ` + word)})
	_, _ = q.api.GetItem(ctx, &sdk.GetItemInput{TableName: aws.String(word), Key: q.key("invalid")})
}

// contend writes items that all regions write at once: some of the writes lose, and are listed as conflicts.
func (q *requests) contend(ctx context.Context) {
	key := keyOfClass(q.c, q.v.get(q.c, "partition key of conflicts", canary.Word), q.v.get(q.c, "sort key of conflicts", canary.Word))
	_, _ = q.api.PutItem(ctx, &sdk.PutItemInput{TableName: &q.c.table, Item: with(key, attributes{"s": text(q.word("conflict"))})})
}

// journal is the keys of items that were acknowledged, and that nobody writes again.
type journal struct {
	mu   sync.Mutex
	keys map[class][]attributes
}

func (j *journal) acknowledge(c class, key attributes) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keys[c] = append(j.keys[c], key)
}

func (j *journal) of(c class) []attributes {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.keys[c]
}
