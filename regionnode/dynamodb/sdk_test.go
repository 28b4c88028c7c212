package dynamodb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/concordat-db/concordat/regionnode/store"
)

// inMemory hands each request's body to the transport as a plain reader of bytes.
//
// The SDK wraps bodies in a type that returns an error from its WriteTo once it is closed, and it closes it when the answer is there. A server on loopback may
// answer while net/http still looks for the body's end; net/http takes the error for a failed write and closes the connection, in the middle of a long answer.
// Real clients repeat the request, but these tests look at first answers.
type inMemory struct{ *http.Transport }

func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return t.Transport.RoundTrip(r)
}

// httpClient returns a client of its own, whose connections end with the test.
func httpClient(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: inMemory{transport}}
}

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }

type attributes = map[string]types.AttributeValue

// createTable makes a table with partition key pk (S) and, if sorted, sort key sk (N).
func createTable(t testing.TB, c *sdk.Client, name string, sorted bool) {
	t.Helper()
	in := &sdk.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}},
	}
	if sorted {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeN})
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange})
	}
	if _, err := c.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := sdk.NewTableExistsWaiter(c).Wait(t.Context(), &sdk.DescribeTableInput{TableName: &name}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

func onPebble(t testing.TB) store.Engine {
	t.Helper()
	e, err := store.OpenPebble(store.Config{Dir: "shard-0", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return e
}

func TestStoryThroughTheSDK(t *testing.T) {
	for name, engine := range map[string]func(testing.TB) store.Engine{"memory": memory, "pebble": onPebble} {
		t.Run(name, func(t *testing.T) {
			c := startRegion(t, engine(t), nil).client(t)
			ctx := t.Context()
			createTable(t, c, "people", true)

			all := attributes{
				"pk": s("ada"), "sk": n("1"), "n": n("-12345678901234567890.123456789"), "b": &types.AttributeValueMemberB{Value: []byte{0, 255, 7}},
				"bool": &types.AttributeValueMemberBOOL{Value: true}, "null": &types.AttributeValueMemberNULL{Value: true},
				"m":  &types.AttributeValueMemberM{Value: attributes{"inner": s("ünïcode \"quoted\" \u0001"), "empty": s("")}},
				"l":  &types.AttributeValueMemberL{Value: []types.AttributeValue{s("x"), n("2")}},
				"ss": &types.AttributeValueMemberSS{Value: []string{"b", "a"}}, "ns": &types.AttributeValueMemberNS{Value: []string{"2", "10"}},
				"bs": &types.AttributeValueMemberBS{Value: [][]byte{{2}, {1}}},
			}
			put, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("people"), Item: all, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal})
			if err != nil {
				t.Fatal(err)
			}
			if *put.ConsumedCapacity.CapacityUnits != 1 || put.Attributes != nil {
				t.Errorf("put answered %+v", put)
			}
			key := attributes{"pk": s("ada"), "sk": n("1.0")} // the same number
			get := func() attributes {
				t.Helper()
				out, err := c.GetItem(ctx, &sdk.GetItemInput{TableName: aws.String("people"), Key: key, ConsistentRead: aws.Bool(true)})
				if err != nil {
					t.Fatal(err)
				}
				return out.Item
			}
			got := get()
			if len(got) != len(all) || got["n"].(*types.AttributeValueMemberN).Value != "-12345678901234567890.123456789" ||
				got["m"].(*types.AttributeValueMemberM).Value["inner"].(*types.AttributeValueMemberS).Value != "ünïcode \"quoted\" \u0001" ||
				!slices.Equal(got["ss"].(*types.AttributeValueMemberSS).Value, []string{"a", "b"}) ||
				!slices.Equal(got["ns"].(*types.AttributeValueMemberNS).Value, []string{"2", "10"}) {
				t.Errorf("got %#v", got)
			}
			old, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("people"), Item: attributes{"pk": s("ada"), "sk": n("1"), "v": n("2")}, ReturnValues: types.ReturnValueAllOld})
			if err != nil || len(old.Attributes) != len(all) {
				t.Fatalf("old item: %v, %v", old, err)
			}
			deleted, err := c.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: aws.String("people"), Key: key, ReturnValues: types.ReturnValueAllOld})
			if err != nil || deleted.Attributes["v"].(*types.AttributeValueMemberN).Value != "2" {
				t.Fatalf("deleted: %v, %v", deleted, err)
			}
			if got := get(); got != nil {
				t.Errorf("after the delete there is %v", got)
			}
			deleted, err = c.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: aws.String("people"), Key: key, ReturnValues: types.ReturnValueAllOld})
			if err != nil || deleted.Attributes != nil {
				t.Fatalf("deleted again: %v, %v", deleted, err)
			}
		})
	}
}

func TestTables(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	ctx := t.Context()
	for _, name := range []string{"ccc", "aaa", "bbb"} {
		createTable(t, c, name, false)
	}
	pager := sdk.NewListTablesPaginator(c, &sdk.ListTablesInput{Limit: aws.Int32(2)})
	var names []string
	pages := 0
	for ; pager.HasMorePages(); pages++ {
		out, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, out.TableNames...)
	}
	if !slices.Equal(names, []string{"aaa", "bbb", "ccc"}) || pages != 2 {
		t.Errorf("%d pages of %v", pages, names)
	}
	_, err := c.CreateTable(ctx, &sdk.CreateTableInput{TableName: aws.String("aaa"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}}})
	var inUse *types.ResourceInUseException
	if !errors.As(err, &inUse) || inUse.ErrorMessage() != "Table already exists: aaa" {
		t.Errorf("made twice: %v", err)
	}
	d, err := c.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: aws.String("aaa")})
	if err != nil {
		t.Fatal(err)
	}
	table := d.Table
	if table.TableStatus != types.TableStatusActive || *table.TableArn != "arn:aws:dynamodb:eu-central-1:000000000000:table/aaa" || len(*table.TableId) != 36 ||
		table.BillingModeSummary.BillingMode != types.BillingModePayPerRequest || *table.ItemCount != 0 || *table.ProvisionedThroughput.ReadCapacityUnits != 0 ||
		table.Replicas != nil || *table.DeletionProtectionEnabled || table.TableClassSummary.TableClass != types.TableClassStandard ||
		time.Since(*table.CreationDateTime).Abs() > time.Hour {
		t.Errorf("described as %+v", table)
	}
	if _, err := c.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: aws.String("aaa"), DeletionProtectionEnabled: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteTable(ctx, &sdk.DeleteTableInput{TableName: aws.String("aaa")})
	wantError(t, err, "ValidationException", "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	if _, err := c.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: aws.String("aaa"), DeletionProtectionEnabled: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	if _, err = c.DeleteTable(ctx, &sdk.DeleteTableInput{TableName: aws.String("aaa")}); err != nil {
		t.Fatal(err)
	}
	if err := sdk.NewTableNotExistsWaiter(c, func(o *sdk.TableNotExistsWaiterOptions) {
		o.MinDelay = time.Millisecond
		o.MaxDelay = 5 * time.Millisecond
	}).
		Wait(ctx, &sdk.DescribeTableInput{TableName: aws.String("aaa")}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	_, err = c.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: aws.String("bbb"), ReplicaUpdates: []types.ReplicationGroupUpdate{
		{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String("us-east-1")}}}})
	wantError(t, err, "ValidationException", "Failed to create a new replica of table with name: 'bbb' because the region is not known: us-east-1")
}

func wantError(t testing.TB, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("got %v\nwant %s: %s", err, code, message)
	}
}

func TestBatches(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	ctx := t.Context()
	createTable(t, c, "one", false)
	createTable(t, c, "two", true)
	var ones, twos []types.WriteRequest
	for i := range 12 {
		ones = append(ones, types.WriteRequest{PutRequest: &types.PutRequest{Item: attributes{"pk": s(fmt.Sprint(i)), "v": s(strings.Repeat("x", 350_000))}}})
		twos = append(twos, types.WriteRequest{PutRequest: &types.PutRequest{Item: attributes{"pk": s("p"), "sk": n(fmt.Sprint(i))}}})
	}
	w, err := c.BatchWriteItem(ctx, &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"one": ones, "two": twos}, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal})
	if err != nil || len(w.UnprocessedItems) != 0 {
		t.Fatalf("%+v, %v", w, err)
	}
	units := map[string]float64{}
	for _, u := range w.ConsumedCapacity {
		units[*u.TableName] = *u.CapacityUnits
	}
	if units["one"] != 12*342 || units["two"] != 12 {
		t.Errorf("consumed %v", units)
	}
	keys := map[string]types.KeysAndAttributes{"two": {Keys: []attributes{{"pk": s("p"), "sk": n("3")}, {"pk": s("p"), "sk": n("99")}}}}
	k := types.KeysAndAttributes{ConsistentRead: aws.Bool(true)}
	for i := range 13 {
		k.Keys = append(k.Keys, attributes{"pk": s(fmt.Sprint(i))})
	}
	keys["one"] = k
	g, err := c.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: keys, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal})
	if err != nil || len(g.Responses["one"]) != 12 || len(g.Responses["two"]) != 1 || len(g.UnprocessedKeys) != 0 {
		t.Fatalf("%d, %d, %v, %v", len(g.Responses["one"]), len(g.Responses["two"]), g.UnprocessedKeys, err)
	}
	_, err = c.BatchWriteItem(ctx, &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"two": {twos[0], twos[0]}}})
	wantError(t, err, "ValidationException", "Provided list of item keys contains duplicates")
	_, err = c.BatchWriteItem(ctx, &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"two": append(slices.Clone(twos), twos...), "one": ones[:2]}})
	wantError(t, err, "ValidationException", "Too many items requested for the BatchWriteItem call")
	_, err = c.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"none": {Keys: []attributes{{"pk": s("a")}}}}})
	wantError(t, err, "ResourceNotFoundException", "Requested resource not found")
}

// TestBatchGetPages reads more than an answer holds, as an SDK client does, until nothing is left.
func TestBatchGetPages(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	ctx := t.Context()
	createTable(t, c, "big", false)
	const items = 50
	keys := types.KeysAndAttributes{}
	for i := range items {
		item := attributes{"pk": s(fmt.Sprint(i)), "v": s(strings.Repeat("x", 400_000))}
		if _, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("big"), Item: item}); err != nil {
			t.Fatal(err)
		}
		keys.Keys = append(keys.Keys, attributes{"pk": item["pk"]})
	}
	left := map[string]types.KeysAndAttributes{"big": keys}
	seen, pages := map[string]bool{}, 0
	for ; len(left) > 0; pages++ {
		out, err := c.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: left})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range out.Responses["big"] {
			seen[it["pk"].(*types.AttributeValueMemberS).Value] = true
		}
		left = out.UnprocessedKeys
	}
	if len(seen) != items || pages != 2 {
		t.Errorf("%d items in %d pages", len(seen), pages)
	}
}

func TestScanCoversEverythingOnce(t *testing.T) {
	c := startRegion(t, memory(t), nil).client(t)
	createTable(t, c, "many", true)
	const items = 300
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < items; i += 4 {
				_, err := c.PutItem(t.Context(), &sdk.PutItemInput{TableName: aws.String("many"), Item: attributes{"pk": s(fmt.Sprint(i / 3)), "sk": n(fmt.Sprint(i)), "v": s(strings.Repeat("y", 20_000))}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, segments := range []int32{0, 1, 2, 7} {
		for _, limit := range []int32{0, 1, 100} {
			if limit == 1 && segments != 2 {
				continue
			}
			t.Run(fmt.Sprintf("segments=%d,limit=%d", segments, limit), func(t *testing.T) {
				seen := map[string]int{}
				for segment := range max(segments, 1) {
					in := &sdk.ScanInput{TableName: aws.String("many")}
					if segments > 0 {
						in.Segment, in.TotalSegments = aws.Int32(segment), aws.Int32(segments)
					}
					if limit > 0 {
						in.Limit = aws.Int32(limit)
					}
					scanAll(t, c, in, seen)
				}
				for k, times := range seen {
					if times != 1 {
						t.Errorf("item %s came %d times", k, times)
					}
				}
				if len(seen) != items {
					t.Errorf("%d of %d items", len(seen), items)
				}
			})
		}
	}
	count, err := c.Scan(t.Context(), &sdk.ScanInput{TableName: aws.String("many"), Select: types.SelectCount, Limit: aws.Int32(10), ReturnConsumedCapacity: types.ReturnConsumedCapacityIndexes})
	if err != nil || count.Count != 10 || count.ScannedCount != 10 || count.Items != nil || *count.ConsumedCapacity.Table.CapacityUnits != 24.5 {
		t.Errorf("count: %+v, %v", count, err)
	}
}

func scanAll(t *testing.T, c *sdk.Client, in *sdk.ScanInput, seen map[string]int) {
	t.Helper()
	pager := sdk.NewScanPaginator(c, in)
	for pager.HasMorePages() {
		out, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in.Limit != nil && out.Count > *in.Limit || int(out.Count) != len(out.Items) || out.Count > 52 {
			t.Errorf("a page of %d items", out.Count)
		}
		for _, it := range out.Items {
			seen[it["sk"].(*types.AttributeValueMemberN).Value]++
		}
	}
}

func TestCredentialsAreChecked(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	for name, c := range map[string]struct {
		provider      aws.CredentialsProvider
		code, message string
	}{
		"wrong secret": {credentials.NewStaticCredentialsProvider(testKey, "guess", ""), "InvalidSignatureException",
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."},
		"unknown key": {credentials.NewStaticCredentialsProvider("AKIDNOBODY", testSecret, ""), "UnrecognizedClientException", "The security token included in the request is invalid."},
		"anonymous":   {aws.AnonymousCredentials{}, "MissingAuthenticationTokenException", "Request is missing Authentication Token"},
	} {
		t.Run(name, func(t *testing.T) {
			client := sdk.New(sdk.Options{Region: testRegion, BaseEndpoint: aws.String("http://" + r.addr), RetryMaxAttempts: 1, Credentials: c.provider, HTTPClient: httpClient(t)})
			_, err := client.ListTables(t.Context(), &sdk.ListTablesInput{})
			wantError(t, err, c.code, c.message)
		})
	}
}

func TestLimitsAndEndpoints(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	c := r.client(t)
	l, err := c.DescribeLimits(t.Context(), &sdk.DescribeLimitsInput{})
	if err != nil || *l.TableMaxReadCapacityUnits != 40000 {
		t.Errorf("%+v, %v", l, err)
	}
	e, err := c.DescribeEndpoints(t.Context(), &sdk.DescribeEndpointsInput{})
	if err != nil || *e.Endpoints[0].Address != r.addr {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = c.ListBackups(context.Background(), &sdk.ListBackupsInput{})
	wantError(t, err, "UnknownOperationException", "ListBackups is not offered by this version of Concordat")
}
