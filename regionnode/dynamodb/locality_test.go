package dynamodb_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/dynamodb"
)

// document returns the next version of the table's document.
func (r *region) document(t testing.TB, table string) *globaltable.Table {
	t.Helper()
	old, ok := r.tables.View().Lookup(table)
	if !ok {
		t.Fatal("no table ", table)
	}
	next := old.Clone()
	next.Version, next.Predecessor = globaltable.MakeVersion(old.Version.Epoch(), old.Version.Number()+1), globaltable.HashTable(old)
	return next
}

// adopt brings a document into force, as it comes from the table's owner.
func (r *region) adopt(t testing.TB, doc *globaltable.Table) {
	t.Helper()
	w := &commit.Write{Keys: []commit.Key{{Table: globaltable.SystemTable, Bytes: catalog.DocumentKey(doc.ID)}}, Plan: func([]commit.Current) ([][]conflict.Op, error) {
		return [][]conflict.Op{conflict.RecordPut(nil, catalog.EncodeDocument(doc))}, nil
	}}
	if err := r.shard.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// pin gives the table locality policies, and replicas in three regions.
func (r *region) pin(t testing.TB, table string, pins ...globaltable.Pin) {
	t.Helper()
	next := r.document(t, table)
	since := next.Version
	self := next.Replica(1)
	self.Jurisdiction = "EU"
	next.Replicas = []globaltable.Replica{{Region: "ap-south-1", Jurisdiction: "IN", Origin: 3, Status: globaltable.Active, Since: since}, *self,
		{Region: "us-east-1", Jurisdiction: "US", Origin: 2, Status: globaltable.Active, Since: since}}
	next.Pins = pins
	for i := range pins {
		for _, o := range pins[i].Gaining {
			next.Replica(o).Placing = since
		}
	}
	if err := next.Validate(); err != nil {
		t.Fatal(err)
	}
	r.adopt(t, next)
}

// american pins what begins with US# to the United States.
func american(foreign globaltable.Foreign) globaltable.Pin {
	return globaltable.Pin{Name: "us-customers", Match: globaltable.Match{KeyPrefix: "US#"}, Jurisdictions: []string{"US"}, Foreign: foreign, SingleCopy: true}
}

// TestOnlyTheDoorAsksTheShard: an operation that reads, counts or writes items without asking the policies does not pass here.
func TestOnlyTheDoorAsksTheShard(t *testing.T) {
	guarded := []string{"Get", "GetAll", "Walk", "Write", "OpenConflicts", "ReadStream"}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	inDoor := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(guarded, s.Sel.Name) {
				return true
			}
			shard, ok := s.X.(*ast.SelectorExpr)
			if !ok || shard.Sel.Name != "Shard" && shard.Sel.Name != "Streams" {
				return true
			}
			if f.Name() == "door.go" {
				inDoor++
			} else {
				t.Errorf("%s calls Shard.%s", f.Name(), s.Sel.Name)
			}
			return true
		})
	}
	if inDoor < len(guarded) {
		t.Errorf("the door calls %d methods of the shard", inDoor)
	}
}

// requests has a request for each operation of the SDK that is about items, each about the item of the key given, and what is to be seen of it.
func requests(key string) map[string]func(ctx context.Context, c *sdk.Client) (string, error) {
	item := map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: key}}
	whole := map[string]types.AttributeValue{"pk": item["pk"], "v": &types.AttributeValueMemberS{Value: "secret"}}
	tab := aws.String("tab")
	statement := func(s string) *string { return aws.String(strings.ReplaceAll(s, "KEY", "'"+key+"'")) }
	return map[string]func(ctx context.Context, c *sdk.Client) (string, error){
		"PutItem": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: tab, Item: whole})
			return "", err
		},
		"GetItem": func(ctx context.Context, c *sdk.Client) (string, error) {
			out, err := c.GetItem(ctx, &sdk.GetItemInput{TableName: tab, Key: item})
			return fmt.Sprint(out), err
		},
		"UpdateItem": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: tab, Key: item, UpdateExpression: aws.String("REMOVE w"), ConditionExpression: aws.String("attribute_not_exists(v)")})
			return "", err
		},
		"DeleteItem": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: tab, Key: item})
			return "", err
		},
		"BatchGetItem": func(ctx context.Context, c *sdk.Client) (string, error) {
			out, err := c.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"tab": {Keys: []map[string]types.AttributeValue{item}}}})
			return fmt.Sprint(out), err
		},
		"BatchWriteItem": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.BatchWriteItem(ctx, &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"tab": {{PutRequest: &types.PutRequest{Item: whole}}}}})
			return "", err
		},
		"TransactGetItems": func(ctx context.Context, c *sdk.Client) (string, error) {
			out, err := c.TransactGetItems(ctx, &sdk.TransactGetItemsInput{TransactItems: []types.TransactGetItem{{Get: &types.Get{TableName: tab, Key: item}}}})
			return fmt.Sprint(out), err
		},
		"TransactWriteItems": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{{ConditionCheck: &types.ConditionCheck{TableName: tab, Key: item, ConditionExpression: aws.String("attribute_exists(pk)")}}}})
			return "", err
		},
		"ExecuteStatement, SELECT": func(ctx context.Context, c *sdk.Client) (string, error) {
			out, err := c.ExecuteStatement(ctx, &sdk.ExecuteStatementInput{Statement: statement("SELECT * FROM tab WHERE pk = KEY")})
			return fmt.Sprint(out), err
		},
		"ExecuteStatement, INSERT": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.ExecuteStatement(ctx, &sdk.ExecuteStatementInput{Statement: statement("INSERT INTO tab VALUE {'pk':KEY}")})
			return "", err
		},
		"ExecuteStatement, DELETE": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.ExecuteStatement(ctx, &sdk.ExecuteStatementInput{Statement: statement("DELETE FROM tab WHERE pk = KEY")})
			return "", err
		},
		"ExecuteTransaction": func(ctx context.Context, c *sdk.Client) (string, error) {
			_, err := c.ExecuteTransaction(ctx, &sdk.ExecuteTransactionInput{TransactStatements: []types.ParameterizedStatement{{Statement: statement("UPDATE tab SET v = 'w' WHERE pk = KEY")}}})
			return "", err
		},
	}
}

// TestRejectBySDK: every operation that names an item gets DynamoDB's own exception, which says no more than the policy.
func TestRejectBySDK(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	client := r.client(t)
	createTable(t, client, "tab", false)
	if _, err := client.PutItem(t.Context(), &sdk.PutItemInput{TableName: aws.String("tab"), Item: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: "US#1"}, "v": &types.AttributeValueMemberS{Value: "secret"}}}); err != nil {
		t.Fatal(err)
	}
	r.pin(t, "tab", american(globaltable.Reject))
	for _, key := range []string{"US#1", "US#none"} { // there, and not there
		for name, do := range requests(key) {
			_, err := do(t.Context(), client)
			expectDenied(t, name, err, "The item may not be in region eu-central-1: locality policy us-customers permits us-east-1.")
		}
	}
	out, err := client.BatchExecuteStatement(t.Context(), &sdk.BatchExecuteStatementInput{Statements: []types.BatchStatementRequest{
		{Statement: aws.String("SELECT * FROM tab WHERE pk = 'US#1'")}, {Statement: aws.String("SELECT * FROM tab WHERE pk = 'EU#1'")}}})
	if err != nil {
		t.Fatal(err)
	}
	if e := out.Responses[0].Error; e == nil || e.Code != types.BatchStatementErrorCodeEnumAccessDenied || out.Responses[0].Item != nil || out.Responses[1].Error != nil {
		t.Errorf("%+v", out.Responses)
	}
}

func expectDenied(t *testing.T, name string, err error, message string) {
	t.Helper()
	var api smithy.APIError
	var answer *awshttp.ResponseError
	if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" || api.ErrorMessage() != message || !errors.As(err, &answer) || answer.HTTPStatusCode() != 400 {
		t.Errorf("%s: %v", name, err)
	}
}

// way is what forwards to a region in this process: dynamodb.Forwarder.
type way struct {
	to    map[string]*dynamodb.Server
	from  string
	by    hlc.Origin
	fails map[string]error // by region
	asked []string
}

func (w *way) Forward(_ context.Context, region string, r dynamodb.ForwardRequest) (dynamodb.Forwarded, error) {
	w.asked = append(w.asked, region)
	if err := w.fails[region]; err != nil {
		return dynamodb.Forwarded{}, err
	}
	return w.to[region].Forwarded(w.from, w.by, r)
}

// abroad is two regions that have the table tab, and forward to each other.
type abroad struct {
	eu, us *region
	way    *way
	told   chan dynamodb.Forwarding
}

func startAbroad(t *testing.T, pins ...globaltable.Pin) *abroad {
	t.Helper()
	a := &abroad{way: &way{to: map[string]*dynamodb.Server{}, from: testRegion, by: 1, fails: map[string]error{
		"ap-south-1": &globaltable.Error{Op: "ask peer", Kind: globaltable.Unavailable, Message: "out of reach"}}}, told: make(chan dynamodb.Forwarding, 100)}
	told := func(f dynamodb.Forwarding) { a.told <- f }
	a.us = startRegionOf(t, globaltable.Descriptor{Name: "us-east-1", Jurisdiction: "US", Origin: 2, PublicKey: descriptor(t, "us-east-1", 2).PublicKey}, memory(t), time.Now, func(c *dynamodb.Config) {
		open(c)
		c.Events.Forwarded = told
	})
	a.way.to["us-east-1"] = a.us.server
	a.eu = startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		c.Forward, c.Events.Forwarded = a.way, told
	})
	createTable(t, a.eu.client(t), "tab", false)
	a.pin(t, pins...)
	return a
}

// pin changes the policies in both regions.
func (a *abroad) pin(t *testing.T, pins ...globaltable.Pin) {
	t.Helper()
	a.eu.pin(t, "tab", pins...)
	doc, _ := a.eu.tables.View().Lookup("tab")
	a.us.adopt(t, doc)
}

// events returns what was told since.
func (a *abroad) events() (out []dynamodb.Forwarding) {
	for {
		select {
		case f := <-a.told:
			out = append(out, f)
		default:
			return out
		}
	}
}

// TestForwardBySDK: what is about one item, or a transaction, is done where the item may be, by each operation; nothing of it stays here.
func TestForwardBySDK(t *testing.T) {
	a := startAbroad(t, american(globaltable.Forward))
	client := a.eu.client(t)
	if _, err := requests("US#1")["PutItem"](t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if got, err := requests("US#1")["GetItem"](t.Context(), client); err != nil || !strings.Contains(got, "map[pk:") {
		t.Errorf("%s, %v", got, err)
	}
	for name, do := range requests("US#1") {
		_, err := do(t.Context(), client)
		switch {
		case strings.HasPrefix(name, "Batch"):
			expectDenied(t, name, err, "The item may not be in region eu-central-1: locality policy us-customers permits us-east-1. "+name+" is not forwarded.")
		case name == "UpdateItem": // its condition is decided there
			var failed *types.ConditionalCheckFailedException
			if err != nil && !errors.As(err, &failed) {
				t.Errorf("%s: %v", name, err)
			}
		case name == "TransactWriteItems", name == "ExecuteTransaction", strings.HasSuffix(name, "INSERT"):
			var canceled *types.TransactionCanceledException
			var duplicate *types.DuplicateItemException
			if err != nil && !errors.As(err, &canceled) && !errors.As(err, &duplicate) { // another request of the map has deleted it, or not
				t.Errorf("%s: %v", name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
	doc, _ := a.eu.tables.View().Lookup("tab")
	if items, _, err := a.eu.shard.Count(doc.ID); items != 0 || err != nil {
		t.Errorf("%d items stayed: %v", items, err)
	}
	forwarded, served := 0, 0
	for _, e := range a.events() {
		switch {
		case e.Policy != "us-customers" || e.Operation == "" || e.Err != nil || e.Sent == 0 || e.Received == 0:
			t.Errorf("%+v", e)
		case e.Served && e.Peer == testRegion:
			served++
		case !e.Served && e.Peer == "us-east-1":
			forwarded++
		}
	}
	if forwarded == 0 || forwarded != served {
		t.Errorf("%d forwarded, %d served", forwarded, served)
	}
}

// TestForwardAnswersAsItIs compares what comes through with what the other region answers itself.
func TestForwardAnswersAsItIs(t *testing.T) {
	a := startAbroad(t, american(globaltable.Forward))
	client := httpClient(t)
	for _, q := range []struct{ operation, body string }{
		{"PutItem", `{"TableName":"tab","Item":{"pk":{"S":"US#1"},"v":{"N":"1"}},"ReturnConsumedCapacity":"TOTAL"}`},
		{"GetItem", `{"TableName":"tab","Key":{"pk":{"S":"US#1"}},"ReturnConsumedCapacity":"INDEXES"}`},
		{"PutItem", `{"TableName":"tab","Item":{"pk":{"S":"US#1"}},"ConditionExpression":"attribute_not_exists(pk)","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`},
		{"TransactGetItems", `{"TransactItems":[{"Get":{"TableName":"tab","Key":{"pk":{"S":"US#1"}}}},{"Get":{"TableName":"tab","Key":{"pk":{"S":"free"}}}}]}`},
		{"TransactWriteItems", `{"TransactItems":[{"ConditionCheck":{"TableName":"tab","Key":{"pk":{"S":"US#none"}},"ConditionExpression":"attribute_exists(pk)"}}]}`},
		{"GetItem", `{"TableName":"arn:aws:dynamodb:REGION:000000000000:table/tab","Key":{"pk":{"S":"US#1"}}}`},
		{"ExecuteStatement", `{"Statement":"SELECT * FROM tab WHERE pk = 'US#1'"}`},
		{"ExecuteStatement", `{"Statement":"SELECT * FROM \"arn:aws:dynamodb:REGION:000000000000:table/tab\" WHERE pk = 'US#1'"}`},
		{"ExecuteStatement", `{"Statement":"SELECT v FROM tab WHERE pk = 'US#1' AND v = 7","ReturnConsumedCapacity":"TOTAL"}`},
	} {
		here := a.eu.post(t, client, q.operation, strings.ReplaceAll(q.body, "REGION", testRegion))
		if here.header.Get("x-concordat-forwarded") != "us-east-1" {
			t.Errorf("%s: not forwarded: %s", q.operation, here.body)
		}
		if q.operation == "PutItem" && here.status == 200 {
			continue // once
		}
		there := a.us.post(t, client, q.operation, strings.ReplaceAll(q.body, "REGION", "us-east-1"))
		if here.status != there.status || here.body != there.body || there.header.Get("x-concordat-forwarded") != "" {
			t.Errorf("%s: %d %s; there %d %s", q.operation, here.status, here.body, there.status, there.body)
		}
	}
}

// TestForwardFails: no region answers; or one has maybe done a write, which is then not sent to another one.
func TestForwardFails(t *testing.T) {
	either := globaltable.Pin{Name: "abroad", Match: globaltable.Match{KeyPrefix: "US#"}, Regions: []string{"ap-south-1", "us-east-1"}, Foreign: globaltable.Forward}
	a := startAbroad(t, either)
	client := httpClient(t)
	const put, get = `{"TableName":"tab","Item":{"pk":{"S":"US#1"}}}`, `{"TableName":"tab","Key":{"pk":{"S":"US#1"}}}`
	expect := func(what string, got answer, status int, text string, asked ...string) {
		t.Helper()
		if got.status != status || !strings.Contains(got.body, text) || !slices.Equal(a.way.asked, asked) {
			t.Errorf("%s: %d %s, asked %v", what, got.status, got.body, a.way.asked)
		}
		a.way.asked = nil
	}
	expect("the first is out of reach", a.eu.post(t, client, "PutItem", put), 200, "{}", "ap-south-1", "us-east-1")
	a.way.fails["ap-south-1"] = &globaltable.Error{Op: "ask peer", Kind: globaltable.Unknown, Message: "no answer"}
	expect("a read", a.eu.post(t, client, "GetItem", get), 200, "US#1", "ap-south-1", "us-east-1")
	expect("a write", a.eu.post(t, client, "PutItem", put), 500, `The request was forwarded to ap-south-1, as locality policy abroad says, and no answer came. Its outcome is unknown: it may have been done there or not`, "ap-south-1")
	a.way.fails["ap-south-1"] = &globaltable.Error{Op: "ask peer", Kind: globaltable.Unavailable, Message: "out of reach"}
	a.way.fails["us-east-1"] = a.way.fails["ap-south-1"]
	expect("nobody", a.eu.post(t, client, "PutItem", put), 503, `Locality policy abroad has the request forwarded, and none of the regions that may serve it answers: ap-south-1, us-east-1. Nothing was done; a retry may succeed`, "ap-south-1", "us-east-1")
	expect("items of two placements", a.eu.post(t, client, "TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"tab","Item":{"pk":{"S":"US#1"}}}},{"Delete":{"TableName":"tab","Key":{"pk":{"S":"free"}}}}]}`), 503, "abroad", "ap-south-1", "us-east-1")
}

// TestForwardIsDecidedThere: the region that is asked goes by its own policies, for itself and for who asks, and does nothing else for others.
func TestForwardIsDecidedThere(t *testing.T) {
	a := startAbroad(t, american(globaltable.Forward))
	doc, _ := a.eu.tables.View().Lookup("tab")
	ask := func(operation string, parameters []byte) dynamodb.ForwardRequest {
		return dynamodb.ForwardRequest{Operation: operation, Tables: []globaltable.TableID{doc.ID}, Parameters: parameters}
	}
	put := func(pk string) []byte {
		return []byte(`{"TableName":"tab","Item":{"pk":{"S":"` + pk + `"},"v":{"S":"secret"}}}`)
	}
	get := func(pk string) []byte { return []byte(`{"TableName":"tab","Key":{"pk":{"S":"` + pk + `"}}}`) }
	for _, pk := range []string{"US#1", "free"} {
		if got, err := a.us.server.Forwarded(testRegion, 1, ask("PutItem", put(pk))); err != nil || got.Status != 200 {
			t.Fatalf("%+v %v", got, err)
		}
	}
	refused := func(what string, by hlc.Origin, operation string, body []byte) {
		t.Helper()
		got, err := a.us.server.Forwarded("peer", by, ask(operation, body))
		if strings.Contains(string(got.Body), "secret") || err == nil && got.Status < 400 {
			t.Errorf("%s: %+v %s %v", what, got, got.Body, err)
		}
	}
	for _, operation := range []string{"Scan", "Query", "BatchGetItem", "BatchWriteItem", "BatchExecuteStatement", "CreateTable", "nothing", ""} {
		refused(operation, 1, operation, []byte(`{"TableName":"tab"}`))
	}
	refused("a region that is none", 77, "GetItem", get("US#1"))
	refused("nobody", 0, "GetItem", get("US#1"))
	refused("a scan in disguise", 1, "ExecuteStatement", []byte(`{"Statement":"SELECT * FROM tab"}`))
	refused("not JSON", 1, "GetItem", []byte(`{`))
	// Names are each region's own: what is another table there is not meant.
	other := ask("GetItem", get("free"))
	other.Tables = []globaltable.TableID{doc.ID + 1}
	if got, err := a.us.server.Forwarded(testRegion, 1, other); err != nil || !got.Undone || strings.Contains(string(got.Body), "secret") {
		t.Errorf("another table: %+v %s %v", got, got.Body, err)
	}
	// Under reject the region that asks has no business with the item, whatever it believes.
	a.pin(t, american(globaltable.Reject))
	refused("a policy that rejects", 1, "GetItem", get("US#1"))
	refused("a statement", 1, "ExecuteStatement", []byte(`{"Statement":"SELECT * FROM tab WHERE pk = 'US#1'"}`))
	refused("a write", 1, "DeleteItem", get("US#1"))
	if got, err := a.us.server.Forwarded(testRegion, 1, ask("GetItem", get("free"))); err != nil || got.Status != 200 || got.Undone {
		t.Errorf("what it has itself: %+v %v", got, err)
	}
	// The region that was asked may not have it any more: it does not forward further.
	a.pin(t, globaltable.Pin{Name: "indian", Match: globaltable.Match{KeyPrefix: "US#"}, Regions: []string{"ap-south-1"}, Foreign: globaltable.Forward, SingleCopy: true})
	if got, err := a.us.server.Forwarded(testRegion, 1, ask("GetItem", get("US#1"))); err != nil || !got.Undone || got.Status != 400 {
		t.Errorf("%+v %s %v", got, got.Body, err)
	}
}

// shifting is a shard under which the policies change in the midst of the first request.
type shifting struct {
	dynamodb.Shard
	shift func()
}

func (s *shifting) once() {
	if f := s.shift; f != nil {
		s.shift = nil
		f()
	}
}

func (s *shifting) Get(ctx context.Context, key commit.Key, f func(commit.Current) error) error {
	s.once()
	return s.Shard.Get(ctx, key, f)
}

func (s *shifting) Write(ctx context.Context, w *commit.Write) error {
	s.once()
	return s.Shard.Write(ctx, w)
}

func (s *shifting) Walk(ctx context.Context, r commit.Range, f func(item.Key, commit.Current) bool) error {
	s.once()
	return s.Shard.Walk(ctx, r, f)
}

// TestPoliciesChangeInTheMidst: what was admitted under the policies before is decided once again when they have changed before it was done.
func TestPoliciesChangeInTheMidst(t *testing.T) {
	s := new(shifting)
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		s.Shard, c.Shard = c.Shard, s
	})
	client := httpClient(t)
	createTable(t, r.client(t), "tab", false)
	if got := r.post(t, client, "PutItem", `{"TableName":"tab","Item":{"pk":{"S":"US#1"},"v":{"S":"secret"}}}`); got.status != 200 {
		t.Fatal(got.body)
	}
	policy := func(p globaltable.Pin) func() { return func() { r.pin(t, "tab", p) } }
	free := globaltable.Pin{Name: "us-customers", Match: globaltable.Match{KeyPrefix: "US#"}, Jurisdictions: []string{"EU", "US"}, Foreign: globaltable.Reject}
	for _, q := range []struct{ operation, body string }{
		{"GetItem", `{"TableName":"tab","Key":{"pk":{"S":"US#1"}}}`},
		{"PutItem", `{"TableName":"tab","Item":{"pk":{"S":"US#1"}}}`},
		{"PutItem", `{"TableName":"tab","Item":{"pk":{"S":"US#1"}},"ConditionExpression":"attribute_not_exists(pk)"}`},
		{"ExecuteStatement", `{"Statement":"SELECT * FROM tab WHERE pk = 'US#1'"}`},
		{"TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"tab","Item":{"pk":{"S":"free"}}}},{"ConditionCheck":{"TableName":"tab","Key":{"pk":{"S":"US#1"}},"ConditionExpression":"attribute_exists(pk)"}}]}`},
	} {
		s.shift = policy(american(globaltable.Reject))
		if got := r.post(t, client, q.operation, q.body); got.status != 400 || !strings.Contains(got.body, "AccessDeniedException") || !strings.Contains(got.body, "locality policy us-customers permits us-east-1") {
			t.Errorf("%s: %d %s", q.operation, got.status, got.body)
		}
		policy(free)()
	}
	s.shift = policy(american(globaltable.Reject))
	if got := r.post(t, client, "Scan", `{"TableName":"tab"}`); got.body != `{"Items":[],"Count":0,"ScannedCount":0}` || got.header.Get("x-concordat-partial") != "us-customers" {
		t.Errorf("%s %s", got.body, got.header)
	}
}

// TestManyThatMayNotBeHere: a page ends when much was passed over, at an item that may be told, and the next one goes on from there.
func TestManyThatMayNotBeHere(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := r.client(t)
	if got := r.post(t, httpClient(t), "CreateTable", `{"TableName":"tab","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"},{"AttributeName":"sk","AttributeType":"S"}],"KeySchema":[{"AttributeName":"pk","KeyType":"HASH"},{"AttributeName":"sk","KeyType":"RANGE"}]}`); got.status != 200 {
		t.Fatal(got.body)
	}
	put := func(sk string, size int) {
		t.Helper()
		if _, err := client.PutItem(t.Context(), &sdk.PutItemInput{TableName: aws.String("tab"), Item: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: "p"}, "sk": &types.AttributeValueMemberS{Value: sk}, "v": &types.AttributeValueMemberS{Value: strings.Repeat("v", size)}}}); err != nil {
			t.Fatal(err)
		}
	}
	put("a", 1)
	for i := range 45 {
		put(fmt.Sprintf("us-%02d", i), 390<<10)
	}
	put("z", 1)
	r.pin(t, "tab", globaltable.Pin{Name: "us-orders", Match: globaltable.Match{SortKeyPrefix: "us-"}, Jurisdictions: []string{"US"}, Foreign: globaltable.Reject, SingleCopy: true})
	var pages []string
	var start map[string]types.AttributeValue
	for len(pages) < 9 {
		out, err := client.Query(t.Context(), &sdk.QueryInput{TableName: aws.String("tab"), KeyConditionExpression: aws.String("pk = :p"), ExclusiveStartKey: start,
			ExpressionAttributeValues: map[string]types.AttributeValue{":p": &types.AttributeValueMemberS{Value: "p"}}})
		if err != nil {
			t.Fatal(err)
		}
		page := fmt.Sprint(out.ScannedCount)
		for _, it := range out.Items {
			page += " " + it["sk"].(*types.AttributeValueMemberS).Value
		}
		if start = out.LastEvaluatedKey; start != nil {
			page += " after " + start["sk"].(*types.AttributeValueMemberS).Value
		}
		if pages = append(pages, page); start == nil {
			break
		}
	}
	if !slices.Equal(pages, []string{"1 a after a", "1 z"}) {
		t.Errorf("%q", pages)
	}
}

// TestForwardWhileItIsBrought: a region that is getting items has requests on them forwarded until it has all, and then serves them itself.
func TestForwardWhileItIsBrought(t *testing.T) {
	wide := globaltable.Pin{Name: "us-customers", Match: globaltable.Match{KeyPrefix: "US#"}, Jurisdictions: []string{"EU", "US"}, Foreign: globaltable.Forward}
	bringing := wide
	bringing.Gaining = []hlc.Origin{1}
	a := startAbroad(t, bringing)
	client := httpClient(t)
	const put = `{"TableName":"tab","Item":{"pk":{"S":"US#1"}}}`
	if got := a.eu.post(t, client, "PutItem", put); got.status != 200 || got.header.Get("x-concordat-forwarded") != "us-east-1" {
		t.Errorf("%d %s", got.status, got.body)
	}
	// The other region serves its own clients all the time.
	if got := a.us.post(t, client, "GetItem", `{"TableName":"tab","Key":{"pk":{"S":"US#1"}}}`); got.status != 200 || !strings.Contains(got.body, "US#1") || got.header.Get("x-concordat-forwarded") != "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	a.pin(t, wide)
	if got := a.eu.post(t, client, "PutItem", put); got.status != 200 || got.header.Get("x-concordat-forwarded") != "" {
		t.Errorf("%d %s", got.status, got.body)
	}
}
