package dynamodb_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/dynamodb"
)

// passing is a region in which a replica becomes a table of its own in the midst of a request: when it first asks the shard. By then what is left of the replica is gone.
type passing struct {
	dynamodb.Shard
	view     func() dynamodb.View
	from, to *globaltable.Table
	passed   atomic.Bool
	asked    atomic.Int32
}

// passingView has a table under the name orders.
type passingView struct {
	dynamodb.View
	orders *globaltable.Table
}

func (v passingView) Lookup(name string) (*globaltable.Table, bool) {
	if name == "orders" {
		return v.orders, true
	}
	return v.View.Lookup(name)
}

func (p *passing) View() dynamodb.View {
	if p.from == nil {
		return p.view()
	}
	if p.passed.Load() {
		return passingView{p.view(), p.to}
	}
	return passingView{p.view(), p.from}
}

func (p *passing) pass() {
	p.asked.Add(1)
	p.passed.Store(true)
}

func (p *passing) Write(ctx context.Context, w *commit.Write) error {
	for _, k := range w.Keys {
		if p.from != nil && k.Table == p.from.ID {
			p.pass()
			return &globaltable.Error{Op: "write", Kind: globaltable.NotFound, Err: commit.ErrNoTable}
		}
	}
	return p.Shard.Write(ctx, w)
}

func (p *passing) Get(ctx context.Context, key commit.Key, f func(commit.Current) error) error {
	p.pass()
	return p.Shard.Get(ctx, key, f)
}

func (p *passing) GetAll(ctx context.Context, keys []commit.Key, f func([]commit.Current) error) error {
	p.pass()
	return p.Shard.GetAll(ctx, keys, f)
}

func (p *passing) Walk(ctx context.Context, r commit.Range, f func(item.Key, commit.Current) bool) error {
	p.pass()
	return p.Shard.Walk(ctx, r, f)
}

// TestRequestsFollowTheName: every operation on items that has found the replica is done on the table that has come into its place, once. A table that was made anew under a name is none that it would follow to.
func TestRequestsFollowTheName(t *testing.T) {
	p := new(passing)
	var lookup func(name string) *globaltable.Table
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		p.Shard, p.view = c.Shard, c.View
		lookup = func(name string) *globaltable.Table {
			doc, ok := p.view().Lookup(name)
			if !ok {
				t.Fatal("no table ", name)
			}
			return doc
		}
		c.Shard, c.View = p, p.View
		open(c)
	})
	client := httpClient(t)
	for _, name := range []string{"before", "after"} {
		createTable(t, r.client(t), name, false)
	}
	if a := r.post(t, client, "PutItem", `{"TableName":"after","Item":{"pk":{"S":"k"},"v":{"N":"1"}}}`); a.status != 200 {
		t.Fatal(a.body)
	}
	before, after := lookup("before"), lookup("after").Clone()
	after.Name, after.Replicas[0].Succeeds = "orders", globaltable.Succession{Table: before.ID, Since: before.Version}
	renamed := before.Clone()
	renamed.Name = "orders"
	p.from, p.to = renamed, after
	const arn = "arn:aws:dynamodb:" + testRegion + ":000000000000:table/orders"
	for _, c := range []struct{ operation, body, want string }{
		{"GetItem", `{"TableName":"orders","Key":{"pk":{"S":"k"}}}`, `"v":{"N":"1"}`},
		{"GetItem", `{"TableName":"` + arn + `","Key":{"pk":{"S":"k"}}}`, `"v":{"N":"1"}`},
		{"BatchGetItem", `{"RequestItems":{"orders":{"Keys":[{"pk":{"S":"k"}}]}}}`, `"v":{"N":"1"}`},
		{"TransactGetItems", `{"TransactItems":[{"Get":{"TableName":"orders","Key":{"pk":{"S":"k"}}}}]}`, `"v":{"N":"1"}`},
		{"Scan", `{"TableName":"orders"}`, `"Count":1`},
		{"Query", `{"TableName":"orders","KeyConditionExpression":"pk = :k","ExpressionAttributeValues":{":k":{"S":"k"}}}`, `"Count":1`},
		{"ExecuteStatement", `{"Statement":"SELECT * FROM orders WHERE pk = 'k'"}`, `"v":{"N":"1"}`},
		{"BatchExecuteStatement", `{"Statements":[{"Statement":"SELECT * FROM orders WHERE pk = 'k'"}]}`, `"v":{"N":"1"}`},
		{"ExecuteTransaction", `{"TransactStatements":[{"Statement":"SELECT * FROM orders WHERE pk = 'k'"}]}`, `"v":{"N":"1"}`},
		{"UpdateItem", `{"TableName":"orders","Key":{"pk":{"S":"k"}},"UpdateExpression":"ADD v :one","ExpressionAttributeValues":{":one":{"N":"1"}},"ReturnValues":"ALL_NEW"}`, `"v":{"N":"2"}`},
		{"UpdateItem", `{"TableName":"` + arn + `","Key":{"pk":{"S":"k"}},"UpdateExpression":"ADD v :one","ExpressionAttributeValues":{":one":{"N":"1"}},"ReturnValues":"ALL_NEW"}`, `"v":{"N":"3"}`},
		{"TransactWriteItems", `{"ClientRequestToken":"t","TransactItems":[{"Update":{"TableName":"orders","Key":{"pk":{"S":"k"}},"UpdateExpression":"ADD v :one","ExpressionAttributeValues":{":one":{"N":"1"}}}}]}`, `{}`},
		{"TransactWriteItems", `{"ClientRequestToken":"t","TransactItems":[{"Update":{"TableName":"orders","Key":{"pk":{"S":"k"}},"UpdateExpression":"ADD v :one","ExpressionAttributeValues":{":one":{"N":"1"}}}}]}`, `{}`},
		{"ExecuteStatement", `{"Statement":"UPDATE orders SET w = v WHERE pk = 'k' RETURNING ALL NEW *"}`, `"w":{"N":"4"}`},
		{"ExecuteTransaction", `{"TransactStatements":[{"Statement":"UPDATE orders SET x = v WHERE pk = 'k'"}]}`, `"Responses"`},
		{"PutItem", `{"TableName":"orders","Item":{"pk":{"S":"k"},"v":{"N":"9"}},"ReturnValues":"ALL_OLD"}`, `"x":{"N":"4"}`},
		{"BatchWriteItem", `{"RequestItems":{"orders":[{"PutRequest":{"Item":{"pk":{"S":"l"}}}}]}}`, `"UnprocessedItems":{}`},
		{"DeleteItem", `{"TableName":"orders","Key":{"pk":{"S":"k"}},"ReturnValues":"ALL_OLD"}`, `"v":{"N":"9"}`},
	} {
		p.passed.Store(false)
		p.asked.Store(0)
		if a := r.post(t, client, c.operation, c.body); a.status != 200 || !strings.Contains(a.body, c.want) || p.asked.Load() == 0 {
			t.Errorf("%s %s: %d %s, want %s", c.operation, c.body, a.status, a.body, c.want)
		}
	}
	if items, _, err := r.shard.Count(after.ID); err != nil || items != 1 {
		t.Errorf("%d items in the table after: %v", items, err)
	}
	if items, _, err := r.shard.Count(before.ID); err != nil || items != 0 {
		t.Errorf("%d items in the table before: %v", items, err)
	}
	after.Replicas[0].Succeeds = globaltable.Succession{}
	for operation, body := range map[string]string{"PutItem": `{"TableName":"orders","Item":{"pk":{"S":"m"}}}`, "TransactWriteItems": `{"TransactItems":[{"Put":{"TableName":"orders","Item":{"pk":{"S":"m"}}}}]}`} {
		p.passed.Store(false)
		if a := r.post(t, client, operation, body); a.status != 400 || !strings.Contains(a.body, "ResourceNotFoundException") {
			t.Errorf("%s where another table was made: %d %s", operation, a.status, a.body)
		}
	}
}
