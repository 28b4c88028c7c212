package dynamodb

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkOperations measures the handler with a commit to the store in memory, without HTTP.
func BenchmarkOperations(b *testing.B) {
	d := newDirect(b, false)
	var ctx fasthttp.RequestCtx
	ask := func(b *testing.B, operation string, body []byte) {
		ctx.Request.Reset()
		ctx.Response.Reset()
		d.ask(&ctx, operation, bytes.NewReader(body))
		if ctx.Response.StatusCode() != 200 {
			b.Fatal(string(ctx.Response.Body()))
		}
	}
	for i := range 100 {
		ask(b, "PutItem", []byte(putBody(fmt.Sprint(i))))
	}
	actions := make([]string, 10)
	for i := range actions {
		actions[i] = fmt.Sprintf(`{"Put":{"TableName":"people","Item":{"pk":{"S":"%d"},"v":{"S":"%s"}}}}`, i, strings.Repeat("v", benchSize))
	}
	conditional := strings.TrimSuffix(putBody("1"), "}") + `,"ConditionExpression":"n = :n OR attribute_not_exists(pk)","ExpressionAttributeValues":{":n":{"N":"12345"}}}`
	for _, c := range []struct{ name, operation, body string }{
		{"PutItem", "PutItem", putBody("1")},
		{"PutItem with a condition", "PutItem", conditional},
		{"UpdateItem", "UpdateItem", `{"TableName":"people","Key":{"pk":{"S":"2"}},"UpdateExpression":"ADD n :n","ExpressionAttributeValues":{":n":{"N":"1"}}}`},
		{"UpdateItem, all of it returned", "UpdateItem",
			`{"TableName":"people","Key":{"pk":{"S":"2"}},"UpdateExpression":"SET n = n + :n","ExpressionAttributeValues":{":n":{"N":"1"}},"ReturnValues":"ALL_NEW"}`},
		{"GetItem", "GetItem", `{"TableName":"people","Key":{"pk":{"S":"3"}}}`},
		{"GetItem with a projection", "GetItem", `{"TableName":"people","Key":{"pk":{"S":"3"}},"ProjectionExpression":"n"}`},
		{"Scan of 100", "Scan", `{"TableName":"people","Limit":100}`},
		{"Scan of 100 with a filter", "Scan", `{"TableName":"people","Limit":100,"FilterExpression":"n < :n","ExpressionAttributeValues":{":n":{"N":"1"}}}`},
		{"TransactWriteItems of 10", "TransactWriteItems", `{"TransactItems":[` + strings.Join(actions, ",") + `]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(b, c.operation, []byte(c.body))
			}
		})
	}
}

// BenchmarkQuery reads a partition of 100 items of 1 KB.
func BenchmarkQuery(b *testing.B) {
	d := newDirect(b, false)
	table := *d.config.View().(one).table
	sort := table.KeySchema.Partition
	sort.Name = "sk"
	table.KeySchema.Sort = &sort
	d.config.View = func() View { return one{&table} }
	var ctx fasthttp.RequestCtx
	ask := func(operation, body string) {
		ctx.Request.Reset()
		ctx.Response.Reset()
		d.ask(&ctx, operation, bytes.NewReader([]byte(body)))
		if ctx.Response.StatusCode() != 200 {
			b.Fatal(string(ctx.Response.Body()))
		}
	}
	for i := range 100 {
		ask("PutItem", fmt.Sprintf(`{"TableName":"people","Item":{"pk":{"S":"a"},"sk":{"S":"%03d"},"v":{"S":"%s"}}}`, i, strings.Repeat("v", benchSize)))
	}
	b.ReportAllocs()
	for b.Loop() {
		ask("Query", `{"TableName":"people","KeyConditionExpression":"pk = :a","ExpressionAttributeValues":{":a":{"S":"a"}}}`)
	}
}
