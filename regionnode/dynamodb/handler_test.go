package dynamodb

// Tests that need the handler without a connection: fuzzing and benchmarks.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/confirm"
)

// one is a view with one table.
type one struct{ table *globaltable.Table }

func (o one) Lookup(name string) (*globaltable.Table, bool) { return o.table, name == o.table.Name }
func (o one) Table(id globaltable.TableID) (*globaltable.Table, bool) {
	return o.table, id == o.table.ID
}
func (o one) Names(after string, limit int) (names []string, more bool) {
	if limit > 0 && after < o.table.Name {
		names = append(names, o.table.Name)
	}
	return names, false
}

// planner is a shard that plans writes and keeps nothing, to measure the handler alone.
type planner struct {
	Shard
	current item.Item
}

func (p planner) Write(_ context.Context, w *commit.Write) error {
	_, err := w.Plan([]commit.Current{{Item: p.current}})
	return err
}

func (p planner) Get(_ context.Context, _ commit.Key, f func(commit.Current) error) error {
	return f(commit.Current{Item: p.current})
}

// fixed is a control plane that makes nothing: it answers what it is told.
type fixed struct {
	table   *globaltable.Table
	percent map[hlc.Origin]int
}

func (f fixed) CreateTable(context.Context, catalog.Spec) (*globaltable.Table, error) {
	return f.table, nil
}
func (f fixed) UpdateTable(context.Context, string, catalog.Change) (*globaltable.Table, error) {
	return f.table, nil
}
func (f fixed) DeleteTable(context.Context, string) (*globaltable.Table, error) { return f.table, nil }
func (f fixed) DescribeTable(string) (*globaltable.Table, error)                { return f.table, nil }
func (f fixed) ReplicaProgress(_ globaltable.TableID, o hlc.Origin) (int, bool) {
	return f.percent[o], f.percent[o] > 0
}

// placed is the catalog of a shard with one table in one region.
type placed struct{ table *globaltable.Table }

func (p placed) Place(table globaltable.TableID, _ []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool) {
	pl := globaltable.NewPlacement(1)
	return pl, pl.Lane(), p.table.Version, table == p.table.ID
}
func (p placed) Admits(globaltable.TableID, []byte, globaltable.Version) bool { return false }
func (p placed) Trusts(hlc.Origin, globaltable.Incarnation) bool              { return true }
func (p placed) Excludes(globaltable.TableID, []byte, hlc.Origin) bool        { return false }
func (p placed) Placing(globaltable.TableID) globaltable.Version              { return 0 }
func (p placed) Version(globaltable.TableID) globaltable.Version              { return p.table.Version }
func (p placed) Settled(globaltable.TableID) bool                             { return true }
func (p placed) Expiry(globaltable.TableID) conflict.Expiry                   { return nil }
func (placed) Foreign(globaltable.TableID, []byte, globaltable.Version) bool  { return false }
func (placed) Pinned() bool                                                   { return false }
func (placed) Indexed(globaltable.TableID) *globaltable.Table                 { return nil }
func (placed) Prepare([]item.Item) (commit.Adoption, error)                   { return commit.Adoption{}, nil }

func (p placed) KeySchema(globaltable.TableID) *globaltable.KeySchema { return &p.table.KeySchema }
func (p placed) Stream(globaltable.TableID) (int64, globaltable.StreamView, bool) {
	s, ok := p.table.StreamIn(1)
	return s.Since, s.View, ok
}

// direct is a server whose handler is called without a connection.
type direct struct {
	*Server
	fast *fasthttp.Server
}

func newDirect(t testing.TB, signed bool) *direct {
	t.Helper()
	return newDirectOf(t, signed, globaltable.Stream{})
}

// newDirectOf is newDirect for a table with a stream.
func newDirectOf(t testing.TB, signed bool, stream globaltable.Stream) *direct {
	t.Helper()
	table := &globaltable.Table{ID: 99, Name: "people", Owner: 1, Version: globaltable.MakeVersion(1, 1), CreatedAt: 1,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}},
		Billing:   globaltable.PayPerRequest, Class: globaltable.ClassStandard, Stream: stream,
		Replicas: []globaltable.Replica{{Region: "eu", Origin: 1, Status: globaltable.Active, Since: globaltable.MakeVersion(1, 1)}}}
	engine := store.NewMemory()
	shard, err := commit.Open(commit.Config{Origin: 1, Engine: engine, Clock: hlc.NewClock(time.Now, 0), Catalog: placed{table},
		Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.NewVerifier(auth.Config{Region: "eu", AcceptAny: !signed, Credentials: func(string) (string, bool) { return "secret", true }})
	if err != nil {
		t.Fatal(err)
	}
	tracker, err := confirm.New(confirm.Config{Region: "eu"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Region: "eu", Origin: 1, Verifier: verifier, Shard: shard, Streams: shard, View: func() View { return one{table} }, Control: fixed{table: table}, Confirm: tracker})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- shard.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.cancel()
	})
	return &direct{Server: s, fast: &fasthttp.Server{}}
}

// ask calls the handler as fasthttp does, reusing ctx.
func (d *direct) ask(ctx *fasthttp.RequestCtx, operation string, body *bytes.Reader) {
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.Header.SetContentType(contentType)
	prefix := targetPrefix
	if o := d.operations[operation]; o != nil && o.streams {
		prefix = streamsPrefix
	}
	ctx.Request.Header.Set("X-Amz-Target", prefix+operation)
	ctx.Request.SetBodyStream(body, body.Len())
	d.handle(ctx)
}

// FuzzRequest sends any body to any operation: no panic, no answer that is not JSON, no internal error.
func FuzzRequest(f *testing.F) {
	d := newStreaming(f)
	var names []string
	for name := range operations() {
		names = append(names, name)
	}
	seeds := []string{
		`{"StreamArn":"arn:aws:dynamodb:eu:000000000000:table/people/stream/2023-11-14T22:13:20.000","ShardId":"shardId-00000001700000000000-7fb87680","ShardIteratorType":"AT_SEQUENCE_NUMBER","SequenceNumber":"100000000000000000001"}`,
		`{"StreamArn":"arn:aws:dynamodb:eu:000000000000:table/people/stream/2023-11-14T22:13:20.000","ShardFilter":{"Type":"CHILD_SHARDS","ShardId":"shardId-00000001700000000000-7fb87680"},"ExclusiveStartShardId":"shardId-00000001700000000000-7fb87680","Limit":1}`,
		`{"TableName":"people","ExclusiveStartStreamArn":"arn:aws:dynamodb:eu:000000000000:table/people/stream/2023-11-14T22:13:20.000","ShardIterator":"AQ","Limit":1001}`,
		`{"TableName":"people","Item":{"pk":{"S":"a"},"n":{"N":"1"}},"ReturnValues":"ALL_OLD","ReturnConsumedCapacity":"TOTAL"}`,
		`{"TableName":"people","Key":{"pk":{"S":"a"}},"ConsistentRead":true,"ReturnConsumedCapacity":"INDEXES"}`,
		`{"RequestItems":{"people":[{"PutRequest":{"Item":{"pk":{"S":"b"}}}},{"DeleteRequest":{"Key":{"pk":{"S":"a"}}}}]}}`,
		`{"RequestItems":{"people":{"Keys":[{"pk":{"S":"a"}}],"ConsistentRead":true}}}`,
		`{"TableName":"people","Limit":1,"Segment":0,"TotalSegments":2,"ExclusiveStartKey":{"pk":{"S":"a"}},"Select":"COUNT"}`,
		`{"TableName":"other","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}],"KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST","Tags":[{"Key":"a","Value":"b"}]}`,
		`{"TableName":"people","ReplicaUpdates":[{"Create":{"RegionName":"us"}},{"Delete":{"RegionName":"x"}}],"ProvisionedThroughput":{"ReadCapacityUnits":1e400,"WriteCapacityUnits":-0.5}}`,
		`{"TableName":"people","ReplicaUpdates":[{"Update":{"RegionName":"us","GlobalSecondaryIndexes":[{"IndexName":"one","ProvisionedThroughputOverride":{"ReadCapacityUnits":1}},{"IndexName":"two","OnDemandThroughputOverride":{"MaxReadRequestUnits":-1}}]}}]}`,
		`{"GlobalTableName":"people","GlobalTableGlobalSecondaryIndexSettingsUpdate":[{"IndexName":"one","ProvisionedWriteCapacityUnits":1}],"ReplicaSettingsUpdate":[{"RegionName":"us","ReplicaGlobalSecondaryIndexSettingsUpdate":[{"IndexName":"one","ProvisionedReadCapacityUnits":1}]}]}`,
		`{"TableName":"people","Key":{"pk":{"S":"a"}},"UpdateExpression":"SET #a.b[1] = if_not_exists(c, :v) ADD n :v REMOVE d DELETE s :s","ConditionExpression":"size(n) > :v","ExpressionAttributeNames":{"#a":"a"},"ExpressionAttributeValues":{":v":{"N":"1"},":s":{"SS":["x"]}},"ReturnValues":"UPDATED_NEW"}`,
		`{"TableName":"people","Key":{"pk":{"S":"a"}},"AttributeUpdates":{"n":{"Action":"ADD","Value":{"N":"1"}}},"Expected":{"pk":{"Exists":true,"Value":{"S":"a"}},"x":{"ComparisonOperator":"BETWEEN","AttributeValueList":[{"N":"1"},{"N":"2"}]}},"ConditionalOperator":"OR"}`,
		`{"TableName":"people","KeyConditionExpression":"pk = :a","FilterExpression":"contains(v, :a) AND NOT n IN (:a)","ProjectionExpression":"v, n","ExpressionAttributeValues":{":a":{"S":"a"}},"ScanIndexForward":false,"IndexName":"people"}`,
		`{"TableName":"people","KeyConditions":{"pk":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"a"}]}},"QueryFilter":{"v":{"ComparisonOperator":"NULL"}},"ScanFilter":{"v":{"ComparisonOperator":"NOT_CONTAINS","AttributeValueList":[{"S":"a"}]}},"AttributesToGet":["v"]}`,
		`{"TransactItems":[{"Put":{"TableName":"people","Item":{"pk":{"S":"a"}},"ConditionExpression":"attribute_not_exists(pk)","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}},{"Update":{"TableName":"people","Key":{"pk":{"S":"b"}},"UpdateExpression":"REMOVE a"}},{"Delete":{"TableName":"people","Key":{"pk":{"S":"c"}}}},{"ConditionCheck":{"TableName":"people","Key":{"pk":{"S":"d"}},"ConditionExpression":"attribute_exists(pk)"}}],"ClientRequestToken":"x"}`,
		`{"TransactItems":[{"Get":{"TableName":"people","Key":{"pk":{"S":"a"}},"ProjectionExpression":"v"}}]}`,
		`{"Statement":"SELECT v, n FROM people WHERE pk IN ['a', ?] AND n > 1 ORDER BY pk DESC","Parameters":[{"S":"b"}],"Limit":1,"NextToken":"AXknLt7Il1cOABsskpaG6gn8AWEAAQKBgig="}`,
		`{"Statements":[{"Statement":"UPDATE people SET n = n + 1 REMOVE v WHERE pk = 'a' RETURNING ALL OLD *"},{"Statement":"INSERT INTO people VALUE {'pk':'z','s':<<1,2>>}"},{"Statement":"DELETE FROM people WHERE pk = 'z' AND n = 1"}]}`,
		`{"TransactStatements":[{"Statement":"EXISTS(SELECT * FROM people WHERE pk = 'a' AND n = 1)"},{"Statement":"DELETE FROM people WHERE pk = ?","Parameters":[{"S":"b"}]}],"ClientRequestToken":"x"}`,
		`{"ExclusiveStartTableName":"abc","Limit":3}`, `{`, `null`, `{"TableName":{"a":[]},"TableName":null}`,
	}
	for _, s := range seeds {
		for i := range names {
			f.Add(uint8(i), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, operation uint8, body []byte) {
		var ctx fasthttp.RequestCtx
		name := names[int(operation)%len(names)]
		d.ask(&ctx, name, bytes.NewReader(body))
		if status := ctx.Response.StatusCode(); status != 200 && status != 400 {
			t.Fatalf("%s %q: %d %s", name, body, status, ctx.Response.Body())
		}
		if body := ctx.Response.Body(); len(body) > 0 && !json.Valid(body) { // the answers about tags have none
			t.Fatalf("%s %q: answered %q", name, body, ctx.Response.Body())
		}
	})
}

func TestDescriptionIsComplete(t *testing.T) {
	d := newDirect(t, false)
	d.config.Control = fixed{percent: map[hlc.Origin]int{3: 42}, table: &globaltable.Table{ID: 0x0123456789abcdef, Name: "people", CreatedAt: 1_700_000_000_123,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "p\"k", Type: item.S}, Sort: &globaltable.KeyAttribute{Name: "sk", Type: item.N}},
		Billing:   globaltable.PayPerRequest, Class: globaltable.ClassStandard, DeletionProtection: true,
		Replicas: []globaltable.Replica{
			{Region: "eu", Origin: 1, Status: globaltable.Active},
			{Region: "in", Origin: 2, Status: globaltable.CreationFailed, StatusDescription: "the name is taken"},
			{Region: "us", Origin: 3, Status: globaltable.Creating}}}}
	var ctx fasthttp.RequestCtx
	d.ask(&ctx, "DescribeTable", bytes.NewReader([]byte(`{"TableName":"people"}`)))
	const want = `{"Table":{"AttributeDefinitions":[{"AttributeName":"p\"k","AttributeType":"S"},{"AttributeName":"sk","AttributeType":"N"}],` +
		`"KeySchema":[{"AttributeName":"p\"k","KeyType":"HASH"},{"AttributeName":"sk","KeyType":"RANGE"}],"TableName":"people","TableStatus":"UPDATING",` +
		`"CreationDateTime":1700000000.123,"TableArn":"arn:aws:dynamodb:eu:000000000000:table/people","TableId":"01234567-89ab-cdef-0000-000000000000",` +
		`"ItemCount":0,"TableSizeBytes":0,"ProvisionedThroughput":{"NumberOfDecreasesToday":0,"ReadCapacityUnits":0,"WriteCapacityUnits":0},` +
		`"BillingModeSummary":{"BillingMode":"PAY_PER_REQUEST","LastUpdateToPayPerRequestDateTime":1700000000.123},"TableClassSummary":{"TableClass":"STANDARD"},` +
		`"DeletionProtectionEnabled":true,"GlobalTableVersion":"2019.11.21","MultiRegionConsistency":"EVENTUAL",` +
		`"GlobalTableSettingsReplicationMode":"ENABLED_WITH_OVERRIDES","DisassociationProtectionEnabled":true,"Replicas":[{"RegionName":"in","ReplicaStatus":"CREATION_FAILED",` +
		`"ReplicaStatusDescription":"the name is taken","ReplicaTableClassSummary":{"TableClass":"STANDARD"},"GlobalTableSettingsReplicationMode":"ENABLED_WITH_OVERRIDES"},` +
		`{"RegionName":"us","ReplicaStatus":"CREATING","ReplicaStatusPercentProgress":"42","ReplicaTableClassSummary":{"TableClass":"STANDARD"},` +
		`"GlobalTableSettingsReplicationMode":"ENABLED_WITH_OVERRIDES"}]}}`
	if got := string(ctx.Response.Body()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestScarceMemory leaves room for little: reads answer less, and requests that find no room say so. All is given back.
func TestScarceMemory(t *testing.T) {
	d := newDirect(t, false)
	var ctx fasthttp.RequestCtx
	ask := func(operation, body string) string {
		ctx.Request.Reset()
		ctx.Response.Reset()
		d.ask(&ctx, operation, bytes.NewReader([]byte(body)))
		return string(ctx.Response.Body())
	}
	keys := make([]string, 4)
	for i := range keys {
		keys[i] = fmt.Sprintf(`{"pk":{"S":"%d"}}`, i)
		if got := ask("PutItem", putBody(fmt.Sprint(i))); got != "{}" {
			t.Fatal(got)
		}
	}
	const room = 1500 // a request and one item more than the first
	d.memory.Store(d.config.MaxMemory - room)
	var page struct {
		Count            int
		LastEvaluatedKey any
		Responses        map[string][]any
		UnprocessedKeys  map[string]struct{ Keys []any }
	}
	if err := json.Unmarshal([]byte(ask("Scan", `{"TableName":"people"}`)), &page); err != nil || page.Count != 2 || page.LastEvaluatedKey == nil {
		t.Errorf("scan: %+v, %v", page, err)
	}
	if err := json.Unmarshal([]byte(ask("BatchGetItem", `{"RequestItems":{"people":{"Keys":[`+strings.Join(keys, ",")+`]}}}`)), &page); err != nil ||
		len(page.Responses["people"]) != 2 || len(page.UnprocessedKeys["people"].Keys) != 2 {
		t.Errorf("batch: %+v, %v", page, err)
	}
	large := strings.Repeat(" ", room) + `{"TableName":"people"}`
	if got := ask("Scan", large); ctx.Response.StatusCode() != 503 {
		t.Errorf("a large body: %d %s", ctx.Response.StatusCode(), got)
	}
	d.memory.Store(d.config.MaxMemory - 20_000)
	dense := `{"TableName":"people","Unknown":[` + strings.Repeat("[],", 4000) + `1]}`
	if got := ask("Scan", dense); ctx.Response.StatusCode() != 503 {
		t.Errorf("a dense body: %d %.80s", ctx.Response.StatusCode(), got)
	}
	d.memory.Add(20_000 - d.config.MaxMemory)
	if got := ask("Scan", dense); ctx.Response.StatusCode() != 200 {
		t.Errorf("the same with room: %d %.80s", ctx.Response.StatusCode(), got)
	}
	if left := d.memory.Load(); left != 0 {
		t.Errorf("%d bytes were not given back", left)
	}
}

// TestLongAnswersHoldTheirMemory until they are written.
func TestLongAnswersHoldTheirMemory(t *testing.T) {
	d := newDirect(t, false)
	var ctx fasthttp.RequestCtx
	for i := range 400 {
		ctx.Request.Reset()
		d.ask(&ctx, "PutItem", bytes.NewReader([]byte(putBody(fmt.Sprint(i)))))
	}
	ctx.Request.Reset()
	ctx.Response.Reset()
	d.ask(&ctx, "Scan", bytes.NewReader([]byte(`{"TableName":"people"}`)))
	size := int64(ctx.Response.Header.ContentLength())
	if size <= maxKept || d.memory.Load() != size {
		t.Errorf("an answer of %d bytes holds %d", size, d.memory.Load())
	}
	var wire bytes.Buffer
	w := bufio.NewWriter(&wire)
	if err := ctx.Response.Write(w); err != nil {
		t.Fatal(err)
	}
	if left := d.memory.Load(); left != 0 {
		t.Errorf("%d bytes were not given back", left)
	}
	if w.Flush() != nil || !bytes.Contains(wire.Bytes(), []byte(`"Count":400,"ScannedCount":400}`)) {
		t.Error("the answer is not whole")
	}
}

func TestServeEndsWhateverHappensFirst(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if err := newDirect(t, false).Serve(done, ln); err != nil {
		t.Errorf("stopped before it began: %v", err)
	}
	// ln is closed now.
	if err := newDirect(t, false).Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed listener: %v", err)
	}
}

const benchSize = 1000

func putBody(key string) string {
	return `{"TableName":"people","Item":{"pk":{"S":"` + key + `"},"n":{"N":"12345"},"v":{"S":"` + strings.Repeat("v", benchSize) + `"}}}`
}

// BenchmarkHandler measures the handler without HTTP: alone (parse, plan, answer), and with a commit to the store in memory.
func BenchmarkHandler(b *testing.B) {
	put := []byte(putBody("a"))
	get := []byte(`{"TableName":"people","Key":{"pk":{"S":"a"}},"ConsistentRead":true}`)
	for _, kind := range []string{"alone", "commit"} {
		d := newDirect(b, false)
		if kind == "alone" {
			d.config.Shard = planner{d.config.Shard, decode(b, put)}
		}
		var ctx fasthttp.RequestCtx
		d.ask(&ctx, "PutItem", bytes.NewReader(put))
		for _, c := range []struct {
			operation string
			body      []byte
		}{{"PutItem", put}, {"GetItem", get}} {
			b.Run(c.operation+"/"+kind, func(b *testing.B) {
				r := bytes.NewReader(c.body)
				b.ReportAllocs()
				for b.Loop() {
					ctx.Request.Reset()
					ctx.Response.Reset()
					r.Reset(c.body)
					d.ask(&ctx, c.operation, r)
					if ctx.Response.StatusCode() != 200 {
						b.Fatal(string(ctx.Response.Body()))
					}
				}
			})
		}
	}
}

// decode returns the item of a PutItem.
func decode(t testing.TB, body []byte) item.Item {
	t.Helper()
	v, err := fastjson.ParseBytes(body)
	if err != nil {
		t.Fatal(err)
	}
	it, err := item.DecodeItemJSON(nil, v.Get("Item"))
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// TestAllocations keeps the hot path from growing garbage: the handler's part, without the shard.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	put := []byte(putBody("a"))
	d := newDirect(t, false)
	d.config.Shard = planner{d.config.Shard, decode(t, put)}
	var ctx fasthttp.RequestCtx
	r := bytes.NewReader(nil)
	for operation, body := range map[string][]byte{
		"PutItem":    put,
		"GetItem":    []byte(`{"TableName":"people","Key":{"pk":{"S":"a"}},"ReturnConsumedCapacity":"TOTAL"}`),
		"DeleteItem": []byte(`{"TableName":"people","Key":{"pk":{"S":"a"}},"ReturnValues":"ALL_OLD"}`),
	} {
		n := testing.AllocsPerRun(200, func() {
			ctx.Request.Reset()
			ctx.Response.Reset()
			r.Reset(body)
			d.ask(&ctx, operation, r)
		})
		if ctx.Response.StatusCode() != 200 || n > 5 {
			t.Errorf("%s: %d, %v allocations", operation, ctx.Response.StatusCode(), n)
		}
	}
}

// BenchmarkHTTP measures the same through loopback with 32 connections in parallel, client included, beside a bare echo of a body as large.
func BenchmarkHTTP(b *testing.B) {
	d := newDirect(b, false)
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, ln) }()
	echo := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBody(ctx.Request.Body()) }, NoDefaultServerHeader: true}
	echoLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	echoed := make(chan error, 1)
	go func() { echoed <- echo.Serve(echoLn) }()
	client := &fasthttp.Client{MaxConnsPerHost: 64, Dial: func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }}
	b.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
		if err := echo.Shutdown(); err != nil {
			b.Error(err)
		}
		<-echoed
	})
	put := []byte(putBody("a"))
	for _, c := range []struct {
		name, addr, operation string
		body                  []byte
	}{
		{"Echo", echoLn.Addr().String(), "PutItem", put},
		{"PutItem", ln.Addr().String(), "PutItem", put},
		{"GetItem", ln.Addr().String(), "GetItem", []byte(`{"TableName":"people","Key":{"pk":{"S":"a"}}}`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			var once sync.Once
			var clients atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				// Each client has a key of its own: writes of one key wait for each other.
				body := bytes.Replace(c.body, []byte(`{"S":"a"}`), fmt.Appendf(nil, `{"S":"%d"}`, clients.Add(1)), 1)
				req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
				defer fasthttp.ReleaseRequest(req)
				defer fasthttp.ReleaseResponse(res)
				for pb.Next() {
					req.Reset()
					req.SetRequestURI("http://" + c.addr + "/")
					req.Header.SetMethod("POST")
					req.Header.SetContentType(contentType)
					req.Header.Set("X-Amz-Target", targetPrefix+c.operation)
					req.SetBodyRaw(body)
					if err := client.Do(req, res); err != nil || res.StatusCode() != 200 {
						once.Do(func() { b.Error(fmt.Sprint(err, res.StatusCode(), string(res.Body()))) })
						return
					}
				}
			})
		})
	}
}
