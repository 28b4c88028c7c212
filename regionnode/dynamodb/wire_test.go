package dynamodb_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/dynamodb"
)

// open takes every request, whoever sends it, so that tests can write them by hand.
func open(c *dynamodb.Config) {
	c.Verifier, _ = auth.NewVerifier(auth.Config{AcceptAny: true})
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request by hand. Empty target and content leave the headers out.
func (r *region) send(t testing.TB, client *http.Client, method, target, content string, body []byte) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+r.addr+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if target != "" {
		req.Header.Set("X-Amz-Target", target)
	}
	if content != "" {
		req.Header.Set("Content-Type", content)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func (r *region) post(t testing.TB, client *http.Client, operation, body string) answer {
	t.Helper()
	return r.send(t, client, "POST", targetOf(operation), "application/x-amz-json-1.0", []byte(body))
}

// targetOf returns an operation's target.
func targetOf(operation string) string {
	switch operation {
	case "ListStreams", "DescribeStream", "GetShardIterator", "GetRecords":
		return "DynamoDBStreams_20120810." + operation
	}
	return "DynamoDB_20120810." + operation
}

func TestHeaders(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	ids := map[string]bool{}
	for _, a := range []answer{
		r.post(t, client, "ListTables", `{}`),
		r.post(t, client, "ListTables", `{"Limit":0}`),
		r.post(t, client, "Nothing", `{}`),
		r.send(t, client, "GET", "", "", nil),
		r.send(t, client, "PUT", "", "", nil),
	} {
		id := a.header["X-Amzn-Requestid"]
		if len(id) != 1 || !regexp.MustCompile(`^[A-Z0-9]{52}$`).MatchString(id[0]) || ids[id[0]] {
			t.Errorf("request id %q", id)
		}
		ids[id[0]] = true
		if want := fmt.Sprint(crc32.ChecksumIEEE([]byte(a.body))); a.header.Get("x-amz-crc32") != want {
			t.Errorf("crc %s, want %s", a.header.Get("x-amz-crc32"), want)
		}
	}
}

// TestHeaderNamesAsAWSSpellsThem looks at the bytes on the wire.
func TestHeaderNamesAsAWSSpellsThem(t *testing.T) {
	r := startRegion(t, memory(t), open)
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.0\r\nx-amz-target: DynamoDB_20120810.ListTables\r\nContent-Length: 2\r\n\r\n{}")
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP/1.1 200 OK\r\n", "\r\nx-amzn-RequestId: ", "\r\nx-amz-crc32: ", "\r\nContent-Type: application/x-amz-json-1.0\r\n", "\r\nServer: Server\r\n", "\r\n\r\n{\"TableNames\":[]}"} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("%q is not in %q", want, raw)
		}
	}
}

func TestWhatIsNoOperation(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	const json = "application/x-amz-json-1.0"
	for _, c := range []struct {
		name, method, target, content, body string
		status                              int
		want                                string
	}{
		{"health", "GET", "", "", "", 200, "healthy: dynamodb.eu-central-1.amazonaws.com \n"},
		{"method", "DELETE", "", "", "", 404, "<UnknownOperationException/>\n"},
		{"no content type", "POST", "DynamoDB_20120810.ListTables", "", "{}", 404, "<UnknownOperationException/>\n"},
		{"other content type", "POST", "DynamoDB_20120810.ListTables", "text/plain", "{}", 404, "<UnknownOperationException/>\n"},
		{"charset", "POST", "DynamoDB_20120810.ListTables", json + "; charset=utf-8", "{}", 200, `{"TableNames":[]}`},
		{"no target", "POST", "", json, "{}", 400, `{"__type":"com.amazon.coral.service#UnknownOperationException"}`},
		{"unknown", "POST", "DynamoDB_20120810.Nothing", json, "{}", 400, `{"__type":"com.amazon.coral.service#UnknownOperationException"}`},
		{"other version", "POST", "DynamoDB_20111205.ListTables", json, "{}", 400, `{"__type":"com.amazon.coral.service#UnknownOperationException"}`},
		{"later", "POST", "DynamoDB_20120810.CreateBackup", json, "{}", 400, `{"__type":"com.amazon.coral.service#UnknownOperationException","message":"CreateBackup is not offered by this version of Concordat"}`},
		{"no body", "POST", "DynamoDB_20120810.ListTables", json, "", 400, `{"__type":"com.amazon.coral.service#SerializationException"}`},
		{"no JSON", "POST", "DynamoDB_20120810.ListTables", json, "{", 400, `{"__type":"com.amazon.coral.service#SerializationException"}`},
		{"no object", "POST", "DynamoDB_20120810.ListTables", json, "[]", 400, `{"__type":"com.amazon.coral.service#SerializationException"}`},
		{"two texts", "POST", "DynamoDB_20120810.ListTables", json, "{}{}", 400, `{"__type":"com.amazon.coral.service#SerializationException"}`},
		{"deep", "POST", "DynamoDB_20120810.ListTables", json, strings.Repeat("[", 1<<20), 400, `{"__type":"com.amazon.coral.service#SerializationException"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := r.send(t, client, c.method, c.target, c.content, []byte(c.body))
			if a.status != c.status || a.body != c.want {
				t.Errorf("got %d %s\nwant %d %s", a.status, a.body, c.status, c.want)
			}
		})
	}
}

func validation(message string) string {
	return `{"__type":"com.amazon.coral.validate#ValidationException","message":"` + message + `"}`
}

func serialization(message string) string {
	return `{"__type":"com.amazon.coral.service#SerializationException","Message":"` + message + `"}`
}

func missing(message string) string {
	return `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"` + message + `"}`
}

// TestErrors pins the bodies of errors, in DynamoDB's words, and the order of checks: each request has the faults of the lines after it too where that
// is possible.
func TestErrors(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	createTable(t, r.client(t), "hash", false)
	createTable(t, r.client(t), "sorted", true)
	long := strings.Repeat("a", 256)
	for _, c := range []struct{ operation, body, want string }{
		// Types come first.
		{"PutItem", `{"TableName":1,"ReturnValues":"x"}`, serialization("NUMBER_VALUE cannot be converted to String")},
		{"PutItem", `{"TableName":1.5}`, serialization("DECIMAL_VALUE cannot be converted to String")},
		{"PutItem", `{"TableName":true}`, serialization("TRUE_VALUE cannot be converted to String")},
		{"PutItem", `{"TableName":false}`, serialization("FALSE_VALUE cannot be converted to String")},
		{"PutItem", `{"TableName":[]}`, serialization("Unrecognized collection type class java.lang.String")},
		{"PutItem", `{"TableName":{}}`, serialization("Start of structure or map found where not expected.")},
		{"PutItem", `{"Item":"x"}`, serialization("Unexpected field type")},
		{"PutItem", `{"Item":[]}`, serialization("Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>")},
		{"GetItem", `{"ConsistentRead":"x"}`, serialization("Unexpected token received from parser")},
		{"GetItem", `{"ConsistentRead":1}`, serialization("NUMBER_VALUE cannot be converted to Boolean")},
		{"Scan", `{"Limit":"1"}`, serialization("STRING_VALUE cannot be converted to Integer")},
		{"CreateTable", `{"KeySchema":{}}`, serialization("Start of structure or map found where not expected.")},
		{"CreateTable", `{"KeySchema":[1]}`, serialization("Unexpected field type")},

		// Then the constraints of single parameters, all together.
		{"PutItem", `{}`, validation("2 validation errors detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null; Value null at 'item' failed to satisfy constraint: Member must not be null")},
		{"PutItem", `{"TableName":null,"Item":{"pk":{"S":""}}}`, validation("1 validation error detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null")},
		// What is misshapen comes before them, wherever it stands.
		{"PutItem", `{"Item":{"pk":{"N":"x"},"v":{"S":1}}}`, serialization("NUMBER_VALUE cannot be converted to String")},
		{"PutItem", `{"ConditionExpression":"a = :a","ExpressionAttributeValues":{":a":{"N":"x"},":b":{"B":"YQ"}}}`, serialization("Base64 encoded length is expected a multiple of 4 bytes but found: 2")},
		{"PutItem", `{"TableName":"a;","Item":{},"ReturnValues":"x","ReturnConsumedCapacity":"y","ReturnItemCollectionMetrics":"z"}`,
			validation("5 validation errors detected: Value 'y' at 'returnConsumedCapacity' failed to satisfy constraint: Member must satisfy enum value set: [INDEXES, TOTAL, NONE]; " +
				"Value 'a;' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; " +
				"Value 'a;' at 'tableName' failed to satisfy constraint: Member must have length greater than or equal to 3; " +
				"Value 'z' at 'returnItemCollectionMetrics' failed to satisfy constraint: Member must satisfy enum value set: [SIZE, NONE]; " +
				"Value 'x' at 'returnValues' failed to satisfy constraint: Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]")},
		{"GetItem", `{"TableName":"` + long + `","Key":{}}`, validation("1 validation error detected: Value '" + long + "' at 'tableName' failed to satisfy constraint: Member must have length less than or equal to 255")},
		{"Scan", `{"TableName":"abc","Limit":0,"Segment":-1,"TotalSegments":1000001}`, validation("3 validation errors detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1; " +
			"Value '1000001' at 'totalSegments' failed to satisfy constraint: Member must have value less than or equal to 1000000; Value '-1' at 'segment' failed to satisfy constraint: Member must have value greater than or equal to 0")},
		{"ListTables", `{"Limit":101}`, validation("1 validation error detected: Value '101' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100")},
		{"CreateTable", `{}`, validation("3 validation errors detected: Value null at 'attributeDefinitions' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'tableName' failed to satisfy constraint: Member must not be null; Value null at 'keySchema' failed to satisfy constraint: Member must not be null")},
		{"CreateTable", `{"TableName":"abc","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"X"}],"KeySchema":[{"AttributeName":""}]}`,
			validation("3 validation errors detected: Value 'X' at 'attributeDefinitions.1.member.attributeType' failed to satisfy constraint: Member must satisfy enum value set: [B, N, S]; " +
				"Value '' at 'keySchema.1.member.attributeName' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				"Value null at 'keySchema.1.member.keyType' failed to satisfy constraint: Member must not be null")},
		{"BatchWriteItem", `{"RequestItems":{}}`, validation("1 validation error detected: Value '{}' at 'requestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")},
		{"BatchWriteItem", `{"RequestItems":{"a;":[{"PutRequest":{"Item":{}}}]}}`, validation("1 validation error detected: Value '{[1 members]}' at 'requestItems' failed to satisfy constraint: " +
			"Map keys must satisfy constraint: [Member must have length less than or equal to 255, Member must have length greater than or equal to 3, Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+]")},
		{"BatchGetItem", `{}`, validation("1 validation error detected: Value null at 'requestItems' failed to satisfy constraint: Member must not be null")},

		// Then what the parameters mean together.
		{"PutItem", `{"TableName":"nobody","Item":{},"ConditionExpression":"a = b","ExpressionAttributeNames":{"#a":"b"}}`, validation("Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}")},
		{"PutItem", `{"TableName":"nobody","Item":{},"ExpressionAttributeNames":{"#a":"b"}}`, validation("ExpressionAttributeNames can only be specified when using expressions")},
		{"PutItem", `{"TableName":"nobody","Item":{},"ReturnValues":"ALL_NEW"}`, validation("ReturnValues can only be ALL_OLD or NONE")},
		{"Scan", `{"TableName":"nobody","Segment":1}`, validation("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")},
		{"Scan", `{"TableName":"nobody","TotalSegments":1}`, validation("The Segment parameter is required but was not present in the request when parameter TotalSegments is present")},
		{"Scan", `{"TableName":"nobody","Segment":2,"TotalSegments":2}`, validation("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 2 is not less than TotalSegments: 2")},
		{"Scan", `{"TableName":"nobody","Select":"SPECIFIC_ATTRIBUTES"}`, validation("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")},
		{"UpdateTable", `{"TableName":"nobody"}`, validation("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required")},
		{"UpdateTable", `{"TableName":"nobody","StreamSpecification":{"StreamEnabled":true}}`, validation("One or more parameter values were invalid: StreamViewType must be specified when StreamEnabled is true")},
		{"UpdateTable", `{"TableName":"nobody","ReplicaUpdates":[{}]}`, validation("One or more parameter values were invalid: Each replica update must have exactly one of Create, Update, Delete and Disassociate")},
		{"UpdateTable", `{"TableName":"nobody","ReplicaUpdates":[{"Create":{}}]}`, validation("1 validation error detected: Value null at 'replicaUpdates.1.member.create.regionName' failed to satisfy constraint: Member must not be null")},

		// Then the table.
		{"PutItem", `{"TableName":"nobody","Item":{}}`, missing("Requested resource not found")},
		{"GetItem", `{"TableName":"nobody","Key":{}}`, missing("Requested resource not found")},
		{"Scan", `{"TableName":"nobody","ExclusiveStartKey":{}}`, missing("Requested resource not found")},
		{"DescribeTable", `{"TableName":"nobody"}`, missing("Requested resource not found: Table: nobody not found")},
		{"DeleteTable", `{"TableName":"nobody"}`, missing("Requested resource not found: Table: nobody not found")},
		{"UpdateTable", `{"TableName":"nobody","ReplicaUpdates":[{"Create":{"RegionName":"x"}}]}`, missing("Requested resource not found: Table: nobody not found")},

		// Then keys.
		{"PutItem", `{"TableName":"hash","Item":{}}`, validation("One or more parameter values were invalid: Missing the key pk in the item")},
		{"PutItem", `{"TableName":"sorted","Item":{"pk":{"S":"a"}}}`, validation("One or more parameter values were invalid: Missing the key sk in the item")},
		{"PutItem", `{"TableName":"hash","Item":{"pk":{"N":"1"}}}`, validation("One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N")},
		{"PutItem", `{"TableName":"hash","Item":{"pk":{"S":""}}}`, validation("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: pk")},
		{"GetItem", `{"TableName":"hash","Key":{}}`, validation("The provided key element does not match the schema")},
		{"GetItem", `{"TableName":"hash","Key":{"pk":{"N":"1"}}}`, validation("The provided key element does not match the schema")},
		{"DeleteItem", `{"TableName":"hash","Key":{"pk":{"S":"1"},"x":{"S":"1"}}}`, validation("The provided key element does not match the schema")},
		{"GetItem", `{"TableName":"sorted","Key":{"pk":{"S":"1"}}}`, validation("The provided key element does not match the schema")},
		{"Scan", `{"TableName":"hash","ExclusiveStartKey":{"x":{"S":"1"}}}`, validation("The provided starting key is invalid: The provided key element does not match the schema")},
		{"PutItem", `{"TableName":"hash","Item":{"pk":{"S":"a"},"v":{"S":"` + strings.Repeat("x", 400*1024) + `"}}}`, validation("Item size has exceeded the maximum allowed size")},
	} {
		a := r.post(t, client, c.operation, c.body)
		if len(c.body) > 200 {
			c.body = c.body[:200] + "…"
		}
		if a.status != 400 || a.body != c.want || a.header.Get("Content-Type") != "application/x-amz-json-1.0" {
			t.Errorf("%s %s\ngot  %d %s\nwant 400 %s", c.operation, c.body, a.status, a.body, c.want)
		}
	}
}

func TestCreateTableSaysWhatIsWrong(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	const keys = `"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}],"KeySchema":[{"AttributeName":"a","KeyType":"HASH"}]`
	for _, c := range []struct{ parameters, want string }{
		{keys, "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"},
		{keys + `,"BillingMode":"PAY_PER_REQUEST","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}`,
			"One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"},
		{keys + `,"ProvisionedThroughput":{"ReadCapacityUnits":1000000000001,"WriteCapacityUnits":1}`, "Given value 1000000000001 for ReadCapacityUnits is out of bounds"},
		{keys + `,"ProvisionedThroughput":{"ReadCapacityUnits":0,"WriteCapacityUnits":1}`,
			"1 validation error detected: Value '0' at 'provisionedThroughput.readCapacityUnits' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{keys + `,"BillingMode":"PAY_PER_REQUEST","StreamSpecification":{"StreamEnabled":true}`, "One or more parameter values were invalid: StreamViewType must be specified when StreamEnabled is true"},
		{keys + `,"BillingMode":"PAY_PER_REQUEST","SSESpecification":{"Enabled":true}`, "Unsupported parameter: SSESpecification.Enabled true is not offered by this version of Concordat: encryption at rest is a matter of the disk"},
		{keys + `,"BillingMode":"PAY_PER_REQUEST","Tags":[{"Key":"a","Value":"1"},{"Key":"a","Value":"2"}]`, "One or more parameter values were invalid: Duplicate tag key: a"},
		{`"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}],"KeySchema":[{"AttributeName":"b","KeyType":"HASH"}]`,
			"One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [b], AttributeDefinitions: [a]"},
		{`"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"},{"AttributeName":"a","AttributeType":"N"}],"KeySchema":[{"AttributeName":"a","KeyType":"HASH"}]`,
			"Cannot have two attributes with the same name"},
		{`"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"},{"AttributeName":"b","AttributeType":"N"}],"KeySchema":[{"AttributeName":"a","KeyType":"HASH"}]`,
			"One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions"},
		{`"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}],"KeySchema":[{"AttributeName":"a","KeyType":"RANGE"}]`,
			"Invalid KeySchema: The first KeySchemaElement is not a HASH key type"},
		{`"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}],"KeySchema":[{"AttributeName":"a","KeyType":"HASH"},{"AttributeName":"b","KeyType":"HASH"}]`,
			"Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"},
		{`"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}],"KeySchema":[{"AttributeName":"a","KeyType":"HASH"},{"AttributeName":"a","KeyType":"RANGE"}]`,
			"Both the Hash Key and the Range Key element in the KeySchema have the same name"},
	} {
		a := r.post(t, client, "CreateTable", `{"TableName":"abc",`+c.parameters+`}`)
		if a.status != 400 || a.body != validation(c.want) {
			t.Errorf("%s\ngot  %d %s\nwant %s", c.parameters, a.status, a.body, c.want)
		}
	}
	a := r.post(t, client, "CreateTable", `{"TableName":"abc",`+keys+`,"ProvisionedThroughput":{"ReadCapacityUnits":3,"WriteCapacityUnits":4},"TableClass":"STANDARD_INFREQUENT_ACCESS",`+
		`"StreamSpecification":{"StreamEnabled":false},"SSESpecification":{"Enabled":false},"DeletionProtectionEnabled":true,"Tags":[{"Key":"k","Value":"v"}],"NotAParameter":1}`)
	for _, want := range []string{`"ReadCapacityUnits":3,"WriteCapacityUnits":4`, `"DeletionProtectionEnabled":true`, `"TableClass":"STANDARD_INFREQUENT_ACCESS"`} {
		if a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s is not in %d %s", want, a.status, a.body)
		}
	}
}

func TestLimitsBeforeParsing(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	big := make([]byte, dynamodb.MaxBody+1)
	a := r.send(t, client, "POST", "DynamoDB_20120810.ListTables", "application/x-amz-json-1.0", big)
	if a.status != 413 || !strings.Contains(a.body, "RequestEntityTooLargeException") {
		t.Errorf("too large: %d %s", a.status, a.body)
	}
	// Chunked, so that the length shows only while reading.
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+r.addr+"/", io.MultiReader(bytes.NewReader(big)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("chunked: %d", res.StatusCode)
	}
	// Within the limit, the padding is white space.
	body := append([]byte(`{}`), bytes.Repeat([]byte(" "), dynamodb.MaxBody-2)...)
	if a := r.send(t, client, "POST", "DynamoDB_20120810.ListTables", "application/x-amz-json-1.0", body); a.status != 200 {
		t.Errorf("at the limit: %d %s", a.status, a.body)
	}
	req, err = http.NewRequestWithContext(t.Context(), "POST", "http://"+r.addr+"/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	if res, err = client.Do(req); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 431 {
		t.Errorf("long header: %d", res.StatusCode)
	}
}

// blocked is a shard whose writes wait until they are let go.
type blocked struct {
	dynamodb.Shard
	arrived chan struct{}
	let     chan struct{}
}

func (b blocked) Write(ctx context.Context, w *commit.Write) error {
	b.arrived <- struct{}{}
	select {
	case <-b.let:
		return b.Shard.Write(ctx, w)
	case <-ctx.Done():
		return &globaltable.Error{Op: "write", Kind: globaltable.Unknown, Message: "gave up while waiting; the outcome is unknown"}
	}
}

const putA = `{"TableName":"hash","Item":{"pk":{"S":"a"}}}`

func TestTooManyRequests(t *testing.T) {
	b := blocked{arrived: make(chan struct{}, 1), let: make(chan struct{})}
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		c.MaxRequests = 1
		b.Shard = c.Shard
		c.Shard = b
	})
	client := httpClient(t)
	createTable(t, r.client(t), "hash", false)
	first := make(chan answer, 1)
	go func() { first <- r.post(t, client, "PutItem", putA) }()
	<-b.arrived
	if a := r.post(t, client, "ListTables", `{}`); a.status != 503 || !strings.Contains(a.body, "ServiceUnavailableException") {
		t.Errorf("second: %d %s", a.status, a.body)
	}
	close(b.let)
	if a := <-first; a.status != 200 || a.body != "{}" {
		t.Errorf("first: %d %s", a.status, a.body)
	}
	if a := r.post(t, client, "ListTables", `{}`); a.status != 200 {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
}

// TestStopWaitsForRequests stops the server with a request in work: it is answered, and new ones are not taken.
func TestStopWaitsForRequests(t *testing.T) {
	b := blocked{arrived: make(chan struct{}, 1), let: make(chan struct{})}
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		b.Shard = c.Shard
		c.Shard = b
	})
	client := httpClient(t)
	createTable(t, r.client(t), "hash", false)
	first := make(chan answer, 1)
	go func() { first <- r.post(t, client, "PutItem", putA) }()
	<-b.arrived
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request in work: %v", err)
	default:
	}
	close(b.let)
	if a := <-first; a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestStopGivesUpOnSlowRequests has a request that would never end: its context is cancelled and it answers that the outcome is unknown.
func TestStopGivesUpOnSlowRequests(t *testing.T) {
	b := blocked{arrived: make(chan struct{}, 1), let: make(chan struct{})}
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		c.DrainTimeout = 1 // the least there is
		b.Shard = c.Shard
		c.Shard = b
	})
	client := httpClient(t)
	createTable(t, r.client(t), "hash", false)
	first := make(chan answer, 1)
	go func() { first <- r.post(t, client, "PutItem", putA) }()
	<-b.arrived
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	want := `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"gave up while waiting; the outcome is unknown"}`
	if a := <-first; a.status != 500 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// failing is a shard that refuses with an error, or panics with a nil one.
type failing struct {
	dynamodb.Shard
	err error
}

func (f failing) Write(context.Context, *commit.Write) error {
	if f.err == nil {
		panic("planted")
	}
	return f.err
}

// breaking is a shard that is given, once, a plan with a bug.
type breaking struct {
	dynamodb.Shard
	done atomic.Bool
}

func (b *breaking) Write(ctx context.Context, w *commit.Write) error {
	if b.done.Swap(true) {
		return b.Shard.Write(ctx, w)
	}
	return b.Shard.Write(ctx, &commit.Write{Keys: w.Keys, Plan: func([]commit.Current) ([][]conflict.Op, error) { panic("what is in the item") }})
}

// TestPanicOfAPlan: it is the request's error, and the next one on the same item is served.
func TestPanicOfAPlan(t *testing.T) {
	failed := make(chan error, 1)
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		c.Shard = &breaking{Shard: c.Shard}
		c.Events.Failed = func(_, _ string, err error) { failed <- err }
	})
	createTable(t, r.client(t), "hash", false)
	const want = `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The request processing has failed because of an unknown error, exception or failure."}`
	if a := r.post(t, httpClient(t), "PutItem", putA); a.status != 500 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := <-failed; !strings.Contains(err.Error(), "the plan of a write panicked: string") || strings.Contains(err.Error(), "item") {
		t.Error(err)
	}
	if a := r.post(t, httpClient(t), "PutItem", putA); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestErrorsOfTheShard(t *testing.T) {
	kind := func(k globaltable.Kind, message string) error {
		return &globaltable.Error{Op: "write", Kind: k, Message: message}
	}
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{kind(globaltable.LimitExceeded, ""), 400, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The region takes no more requests at this moment. Try again, with a growing delay"}`},
		{kind(globaltable.Unavailable, "the disk is nearly full"), 503, `{"__type":"com.amazon.coral.service#ServiceUnavailableException","message":"the disk is nearly full"}`},
		{kind(globaltable.Unknown, ""), 500, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The outcome of the request is unknown: it may have been done or not"}`},
		{kind(globaltable.Denied, "not here"), 400, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not here"}`},
		{kind(globaltable.NotFound, "the table is not in this region"), 400, missing("Requested resource not found")},
		{kind(globaltable.ConditionFailed, ""), 400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}`},
		{kind(globaltable.Corrupt, "secret detail"), 500, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The request processing has failed because of an unknown error, exception or failure."}`},
		{io.ErrUnexpectedEOF, 500, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The request processing has failed because of an unknown error, exception or failure."}`},
		{nil, 500, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The request processing has failed because of an unknown error, exception or failure."}`},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			var failed []string
			var shard dynamodb.Shard
			f := &failing{}
			r := startRegion(t, memory(t), func(config *dynamodb.Config) {
				open(config)
				shard = config.Shard
				f.Shard, f.err = shard, c.err
				config.Shard = f
				config.Events.Failed = func(operation, id string, err error) { failed = append(failed, operation+" "+id) }
			})
			createTable(t, r.client(t), "hash", false)
			a := r.post(t, httpClient(t), "PutItem", putA)
			if a.status != c.status || a.body != c.want {
				t.Errorf("got %d %s\nwant %d %s", a.status, a.body, c.status, c.want)
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			if want := "PutItem " + a.header.Get("x-amzn-RequestId"); c.status >= 500 && (len(failed) != 1 || failed[0] != want) {
				t.Errorf("reported %v, want %s", failed, want)
			}
		})
	}
}

// TestConflictsOfTransactions has a shard that could not get a key in time.
func TestConflictsOfTransactions(t *testing.T) {
	r := startRegion(t, memory(t), func(c *dynamodb.Config) {
		open(c)
		c.Shard = failing{c.Shard, &commit.ConflictError{Key: 1}}
	})
	createTable(t, r.client(t), "hash", false)
	const del = `{"Delete":{"TableName":"hash","Key":{"pk":{"S":"%d"}}}}`
	a := r.post(t, httpClient(t), "TransactWriteItems", fmt.Sprintf(`{"TransactItems":[`+del+`,`+del+`,`+del+`]}`, 1, 2, 3))
	const want = `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict","Message":"Transaction is ongoing for the item"},` +
		`{"Code":"None"}],"Message":"Transaction cancelled, please refer cancellation reasons for specific reasons [None, TransactionConflict, None]"}`
	if a.status != 400 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// overloaded takes one commit and refuses those after it.
type overloaded struct {
	dynamodb.Shard
	writes int
}

func (o *overloaded) Write(ctx context.Context, w *commit.Write) error {
	if o.writes++; o.writes > 1 {
		return &globaltable.Error{Op: "write", Kind: globaltable.LimitExceeded}
	}
	return o.Shard.Write(ctx, w)
}

func TestOverloadLeavesItemsUnprocessed(t *testing.T) {
	r := startRegion(t, memory(t), func(c *dynamodb.Config) { c.Shard = &overloaded{Shard: c.Shard} })
	c := r.client(t)
	createTable(t, c, "one", false)
	createTable(t, c, "two", false)
	requests := map[string][]types.WriteRequest{}
	for _, table := range []string{"one", "two"} {
		for i := range 5 {
			requests[table] = append(requests[table], types.WriteRequest{PutRequest: &types.PutRequest{
				Item: attributes{"pk": s(fmt.Sprint(i)), "v": s(strings.Repeat("v", 300_000))}}})
		}
	}
	out, err := c.BatchWriteItem(t.Context(), &sdk.BatchWriteItemInput{RequestItems: requests})
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for table, list := range out.UnprocessedItems {
		for _, w := range list {
			left[table+w.PutRequest.Item["pk"].(*types.AttributeValueMemberS).Value] = true
		}
	}
	if len(left) != 7 {
		t.Fatalf("%d are left", len(left))
	}
	for table := range requests {
		for i := range 5 {
			got, err := c.GetItem(t.Context(), &sdk.GetItemInput{TableName: aws.String(table), Key: attributes{"pk": s(fmt.Sprint(i))}})
			if err != nil || (got.Item == nil) != left[table+fmt.Sprint(i)] {
				t.Errorf("%s %d: %v, left: %v", table, i, err, left[table+fmt.Sprint(i)])
			}
		}
	}
	_, err = c.BatchWriteItem(t.Context(), &sdk.BatchWriteItemInput{RequestItems: out.UnprocessedItems})
	wantError(t, err, "ProvisionedThroughputExceededException", "The region takes no more requests at this moment. Try again, with a growing delay")
}

func TestConfigNamesAllFaults(t *testing.T) {
	_, err := dynamodb.New(dynamodb.Config{MaxRequests: -1, MaxMemory: 1})
	for _, want := range []string{"Region", "Origin", "Verifier", "Shard", "Streams", "View", "Control", "Confirm", "MaxRequests", "MaxMemory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
}
