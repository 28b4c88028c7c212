package dynamodb_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// handClock is a wall clock that is moved by hand.
type handClock struct{ millis atomic.Int64 }

func (c *handClock) now() time.Time        { return time.UnixMilli(c.millis.Load()) }
func (c *handClock) move(by time.Duration) { c.millis.Add(by.Milliseconds()) }

// TestTimeToLiveThroughTheSDK: enabled, items vanish at their second, disabled again.
func TestTimeToLiveThroughTheSDK(t *testing.T) {
	clock := new(handClock)
	clock.millis.Store(1_700_000_000_000)
	r := startRegionAt(t, memory(t), clock.now, nil)
	c, ctx, table := r.client(t), t.Context(), aws.String("sessions")
	if _, err := c.CreateTable(ctx, &sdk.CreateTableInput{TableName: table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}}}); err != nil {
		t.Fatal(err)
	}
	describe := func(status types.TimeToLiveStatus, attribute string) {
		t.Helper()
		out, err := c.DescribeTimeToLive(ctx, &sdk.DescribeTimeToLiveInput{TableName: table})
		if err != nil || out.TimeToLiveDescription.TimeToLiveStatus != status || aws.ToString(out.TimeToLiveDescription.AttributeName) != attribute {
			t.Fatalf("%+v, %v; want %s of %q", out, err, status, attribute)
		}
	}
	update := func(attribute string, enabled bool) error {
		out, err := c.UpdateTimeToLive(ctx, &sdk.UpdateTimeToLiveInput{TableName: table,
			TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(attribute), Enabled: aws.Bool(enabled)}})
		if err == nil && (aws.ToString(out.TimeToLiveSpecification.AttributeName) != attribute || aws.ToBool(out.TimeToLiveSpecification.Enabled) != enabled) {
			t.Errorf("answered %+v", out.TimeToLiveSpecification)
		}
		return err
	}
	wrong := func(attribute string, enabled bool, want string) {
		t.Helper()
		if err := update(attribute, enabled); err == nil || !strings.Contains(err.Error(), "ValidationException: "+want) {
			t.Errorf("%s, %v: %v, want %s", attribute, enabled, err, want)
		}
	}
	put := func(id, expires string) {
		t.Helper()
		it := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
		if expires != "" {
			it["expires"] = &types.AttributeValueMemberN{Value: expires}
		}
		if _, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: table, Item: it}); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(id string) bool {
		t.Helper()
		out, err := c.GetItem(ctx, &sdk.GetItemInput{TableName: table, Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Item != nil
	}
	count := func(want int32) {
		t.Helper()
		if out, err := c.Scan(ctx, &sdk.ScanInput{TableName: table}); err != nil || out.Count != want {
			t.Fatalf("a scan counts %d, %v; want %d", out.Count, err, want)
		}
	}

	describe(types.TimeToLiveStatusDisabled, "")
	wrong("expires", false, "TimeToLive is already disabled")
	put("before", "1700000003") // before anything expires
	if err := update("expires", true); err != nil {
		t.Fatal(err)
	}
	describe(types.TimeToLiveStatusEnabling, "expires")
	wrong("expires", true, "TimeToLive is already enabled")
	wrong("other", true, "TimeToLive is active on a different AttributeName: current AttributeName is expires")
	wrong("other", false, "TimeToLive is active on a different AttributeName: current AttributeName is expires")
	clock.move(2 * time.Second)
	describe(types.TimeToLiveStatusEnabled, "expires")

	put("short", "1700000005")
	put("long", "1700000060.75")
	put("never", "")
	put("old", "1500000000")              // more than five years ago
	put("milliseconds", "17000000000000") // read as seconds, beyond all time
	count(6)
	clock.move(2999 * time.Millisecond)
	if seen("before") || !seen("short") || !seen("long") {
		t.Error("at 4.999 s")
	}
	clock.move(time.Millisecond)
	if seen("short") || !seen("long") || !seen("never") || !seen("old") || !seen("milliseconds") {
		t.Error("at 5 s")
	}
	count(4)
	out, err := c.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: table, Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "short"}},
		ReturnValues: types.ReturnValueAllOld})
	if err != nil || out.Attributes != nil {
		t.Errorf("deleting what has expired returns %v, %v", out.Attributes, err)
	}
	put("short", "1700000099")
	if !seen("short") {
		t.Error("what was put again is not there")
	}
	clock.move(55 * time.Second)
	if seen("long") {
		t.Error("at 60 s")
	}

	// Disabled, nothing expires any more, and what has expired stays so.
	if err := update("expires", false); err != nil {
		t.Fatal(err)
	}
	describe(types.TimeToLiveStatusDisabling, "expires")
	clock.move(2 * time.Second)
	describe(types.TimeToLiveStatusDisabled, "")
	clock.move(time.Hour)
	if !seen("short") || seen("long") {
		t.Error("after it was disabled")
	}
	if err := update("other", true); err != nil {
		t.Error(err)
	}
}

// TestTimeToLiveWrongRequests has DynamoDB's words for what cannot be.
func TestTimeToLiveWrongRequests(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	long := strings.Repeat("a", 256)
	const spec, null = "timeToLiveSpecification", "failed to satisfy constraint: Member must not be null"
	for _, c := range []struct{ operation, body, want string }{
		{"UpdateTimeToLive", `{"TableName":"abc","TimeToLiveSpecification":"x"}`, serialization("Unexpected field type")},
		{"UpdateTimeToLive", `{"TableName":"abc","TimeToLiveSpecification":{"AttributeName":"a","Enabled":"yes"}}`, serialization("Unexpected token received from parser")},
		{"UpdateTimeToLive", `{"TableName":"abc","TimeToLiveSpecification":{"AttributeName":1}}`, serialization("NUMBER_VALUE cannot be converted to String")},
		{"UpdateTimeToLive", `{}`, validation("2 validation errors detected: Value null at 'tableName' " + null + "; Value null at '" + spec + "' " + null)},
		{"UpdateTimeToLive", `{"TableName":"abc","TimeToLiveSpecification":{}}`,
			validation("2 validation errors detected: Value null at '" + spec + ".attributeName' " + null + "; Value null at '" + spec + ".enabled' " + null)},
		{"UpdateTimeToLive", `{"TableName":"abc","TimeToLiveSpecification":{"AttributeName":"","Enabled":true}}`,
			validation("1 validation error detected: Value '' at '" + spec + ".attributeName' failed to satisfy constraint: Member must have length greater than or equal to 1")},
		{"UpdateTimeToLive", `{"TableName":"abc","TimeToLiveSpecification":{"AttributeName":"` + long + `","Enabled":true}}`,
			validation("1 validation error detected: Value '" + long + "' at '" + spec + ".attributeName' failed to satisfy constraint: Member must have length less than or equal to 255")},
		{"UpdateTimeToLive", `{"TableName":"abc","TimeToLiveSpecification":{"AttributeName":"a","Enabled":true}}`, missing("Requested resource not found: Table: abc not found")},
		{"DescribeTimeToLive", `{}`, validation("1 validation error detected: Value null at 'tableName' " + null)},
		{"DescribeTimeToLive", `{"TableName":"abc"}`, missing("Requested resource not found: Table: abc not found")},
	} {
		if a := r.post(t, client, c.operation, c.body); a.status != 400 || a.body != c.want {
			t.Errorf("%s %.200s\ngot  %d %s\nwant 400 %s", c.operation, c.body, a.status, a.body, c.want)
		}
	}
}
