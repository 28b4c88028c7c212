package dynamodb_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func describe(t testing.TB, c *sdk.Client, name string) *types.TableDescription {
	t.Helper()
	out, err := c.DescribeTable(t.Context(), &sdk.DescribeTableInput{TableName: aws.String(name)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Table
}

// TestStatusesOfTables: the answers say the status into which the request puts the table, and the SDK's waiters see the end of it.
func TestStatusesOfTables(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	c := r.client(t)
	name := aws.String("orders")
	made, err := c.CreateTable(t.Context(), &sdk.CreateTableInput{TableName: name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}}})
	if err != nil || made.TableDescription.TableStatus != types.TableStatusCreating {
		t.Fatal(made, err)
	}
	in := &sdk.DescribeTableInput{TableName: name}
	if err := sdk.NewTableExistsWaiter(c).Wait(t.Context(), in, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	changed, err := c.UpdateTable(t.Context(), &sdk.UpdateTableInput{TableName: name, DeletionProtectionEnabled: aws.Bool(true)})
	if err != nil || changed.TableDescription.TableStatus != types.TableStatusUpdating {
		t.Fatal(changed, err)
	}
	if d := describe(t, c, "orders"); d.TableStatus != types.TableStatusActive || !*d.DeletionProtectionEnabled {
		t.Fatal(d)
	}
	_, err = c.DeleteTable(t.Context(), &sdk.DeleteTableInput{TableName: name})
	wantError(t, err, "ValidationException", "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	if _, err := c.UpdateTable(t.Context(), &sdk.UpdateTableInput{TableName: name, DeletionProtectionEnabled: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	gone, err := c.DeleteTable(t.Context(), &sdk.DeleteTableInput{TableName: name})
	if err != nil || gone.TableDescription.TableStatus != types.TableStatusDeleting {
		t.Fatal(gone, err)
	}
	quick := func(o *sdk.TableNotExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
	}
	if err := sdk.NewTableNotExistsWaiter(c).Wait(t.Context(), in, 10*time.Second, quick); err != nil {
		t.Fatal(err)
	}
}

// TestStreamSettings: a stream has a new label each time that it is switched on, and keeps the last one when it is off.
func TestStreamSettings(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	c := r.client(t)
	createTable(t, c, "orders", false)
	set := func(on bool, view types.StreamViewType) error {
		_, err := c.UpdateTable(t.Context(), &sdk.UpdateTableInput{TableName: aws.String("orders"), StreamSpecification: &types.StreamSpecification{StreamEnabled: &on, StreamViewType: view}})
		return err
	}
	if d := describe(t, c, "orders"); d.StreamSpecification != nil || d.LatestStreamArn != nil || d.LatestStreamLabel != nil {
		t.Errorf("%+v", d)
	}
	wantError(t, set(false, ""), "ValidationException", "Table has no stream to disable: TableName: orders")
	labels := map[string]bool{}
	for _, view := range []types.StreamViewType{types.StreamViewTypeKeysOnly, types.StreamViewTypeNewAndOldImages, types.StreamViewTypeOldImage} {
		if err := set(true, view); err != nil {
			t.Fatal(err)
		}
		d := describe(t, c, "orders")
		label := aws.ToString(d.LatestStreamLabel)
		if _, err := time.Parse("2006-01-02T15:04:05.000", label); err != nil || labels[label] {
			t.Errorf("label %s, %v", label, err)
		}
		labels[label] = true
		if d.StreamSpecification == nil || !*d.StreamSpecification.StreamEnabled || d.StreamSpecification.StreamViewType != view ||
			aws.ToString(d.LatestStreamArn) != *d.TableArn+"/stream/"+label {
			t.Errorf("%+v", d)
		}
		wantError(t, set(true, view), "ValidationException", "Table already has an enabled stream: TableName: orders")
		if err := set(false, ""); err != nil {
			t.Fatal(err)
		}
		if d := describe(t, c, "orders"); d.StreamSpecification != nil || aws.ToString(d.LatestStreamLabel) != label {
			t.Errorf("%+v", d)
		}
	}
	wantError(t, set(true, ""), "ValidationException", "One or more parameter values were invalid: StreamViewType must be specified when StreamEnabled is true")
	wantError(t, set(false, types.StreamViewTypeKeysOnly), "ValidationException", "One or more parameter values were invalid: StreamViewType must not be specified when StreamEnabled is false")

	made, err := c.CreateTable(t.Context(), &sdk.CreateTableInput{TableName: aws.String("with"), BillingMode: types.BillingModePayPerRequest,
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage},
		OnDemandThroughput:   &types.OnDemandThroughput{MaxReadRequestUnits: aws.Int64(100), MaxWriteRequestUnits: aws.Int64(-1)},
		WarmThroughput:       &types.WarmThroughput{ReadUnitsPerSecond: aws.Int64(13_000), WriteUnitsPerSecond: aws.Int64(5_000)},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}}})
	if err != nil {
		t.Fatal(err)
	}
	if d := made.TableDescription; d.LatestStreamLabel == nil || d.StreamSpecification.StreamViewType != types.StreamViewTypeNewImage ||
		aws.ToInt64(d.OnDemandThroughput.MaxReadRequestUnits) != 100 || d.OnDemandThroughput.MaxWriteRequestUnits != nil ||
		aws.ToInt64(d.WarmThroughput.ReadUnitsPerSecond) != 13_000 || aws.ToInt64(d.WarmThroughput.WriteUnitsPerSecond) != 5_000 || d.WarmThroughput.Status != types.TableStatusActive {
		t.Errorf("%+v", d)
	}
}

func TestTags(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	c := r.client(t)
	createTable(t, c, "orders", false)
	arn := describe(t, c, "orders").TableArn
	list := func() string {
		out, err := c.ListTagsOfResource(t.Context(), &sdk.ListTagsOfResourceInput{ResourceArn: arn})
		if err != nil || out.NextToken != nil {
			t.Fatal(out, err)
		}
		var b strings.Builder
		for _, tag := range out.Tags {
			fmt.Fprintf(&b, "%s=%s;", *tag.Key, *tag.Value)
		}
		return b.String()
	}
	tag := func(pairs ...string) error {
		in := &sdk.TagResourceInput{ResourceArn: arn, Tags: []types.Tag{}}
		for i := 0; i < len(pairs); i += 2 {
			in.Tags = append(in.Tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		_, err := c.TagResource(t.Context(), in)
		return err
	}
	untag := func(keys ...string) error {
		_, err := c.UntagResource(t.Context(), &sdk.UntagResourceInput{ResourceArn: arn, TagKeys: keys})
		return err
	}
	if got := list(); got != "" {
		t.Error(got)
	}
	for i, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return tag("b", "2", "a", "") }, "a=;b=2;"},
		{func() error { return tag("a", "1", "c:/@ é", "x y") }, "a=1;b=2;c:/@ é=x y;"},
		{func() error { return untag("b", "nothing") }, "a=1;c:/@ é=x y;"},
		{func() error { return tag() }, "a=1;c:/@ é=x y;"},
		{func() error { return tag("concordat:acknowledge", "local") }, "a=1;c:/@ é=x y;concordat:acknowledge=local;"},
		{func() error { return untag("concordat:acknowledge", "c:/@ é") }, "a=1;"},
		{func() error {
			return tag("concordat:merge", "vector", "concordat:type:likes", "counter", "concordat:type:old", "set")
		},
			"a=1;concordat:merge=vector;concordat:type:likes=counter;concordat:type:old=set;"},
		{func() error { return untag("concordat:type:old") }, "a=1;concordat:merge=vector;concordat:type:likes=counter;"},
		{func() error { return untag("concordat:merge", "concordat:type:likes", "a") }, ""},
	} {
		if err := step.do(); err != nil || list() != step.want {
			t.Fatalf("step %d: %v, %s", i, err, list())
		}
	}
	if err := tag("b", "2", "a", ""); err != nil || list() != "a=;b=2;" {
		t.Error(err, list())
	}
	const wrong = "One or more parameter values were invalid: "
	wantError(t, tag("concordat:acknowledge", "always"), "ValidationException", wrong+`Tag concordat:acknowledge: "always" is not known; it can be local, or peers:1 to peers:3`)
	wantError(t, tag("b", "3", "concordat:merge", "typed", "concordat:type:likes", "list"), "ValidationException", wrong+`Tag concordat:merge: "typed" is not known; it can be lww, attribute or vector; `+
		`Tag concordat:type:likes: "list" is not known; it can be counter, set, map, max, min, register or none`)
	wantError(t, tag("concordat:type:pk", "max"), "ValidationException", wrong+`attribute "pk" is of the table's key, which never changes: it has no merge type`)
	wantError(t, tag("concordat:mode", "vector"), "ValidationException", wrong+"Tag concordat:mode is not known; tags that begin with concordat: are settings of the table: concordat:acknowledge, concordat:conflict-age, concordat:conflict-bytes, concordat:merge, concordat:stream-age, concordat:stream-bytes, concordat:type:ATTRIBUTE")
	if list() != "a=;b=2;" {
		t.Errorf("a refused request has left %s", list())
	}
	wantError(t, tag("aws:x", "1"), "ValidationException", wrong+"aws: prefixed tag key names are not allowed for external use.")
	wantError(t, untag("AWS:x"), "ValidationException", wrong+"aws: prefixed tag key names are not allowed for external use.")
	wantError(t, tag("a", "1", "a", "2"), "ValidationException", wrong+"Duplicate tag key: a")
	wantError(t, tag("a", "*"), "ValidationException", wrong+"A tag can have letters, white space, numbers, and the characters + - = . _ : / @")
	wantError(t, tag("", "1"), "ValidationException", "1 validation error detected: Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1")
	var many []string
	for i := range 49 {
		many = append(many, fmt.Sprint("k", i), "v")
	}
	wantError(t, tag(many...), "ValidationException", wrong+"Too many tags: the limit is 50")
	if err := tag(many[:96]...); err != nil {
		t.Error(err)
	}
	if got := list(); got[:8] != "a=;b=2;k" || strings.Count(got, ";") != 50 {
		t.Error(got)
	}
}

// TestTagsOfWhat: which resources can have tags.
func TestTagsOfWhat(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	createTable(t, r.client(t), "orders", false)
	for _, operation := range []string{"ListTagsOfResource", "TagResource", "UntagResource"} {
		ask := func(arn string) answer {
			return r.post(t, client, operation, `{"ResourceArn":"`+arn+`","Tags":[{"Key":"a","Value":"b"}],"TagKeys":["b"]}`)
		}
		for _, arn := range []string{"orders", "arn:aws:s3:::bucket", "arn:aws:dynamodb:us-east-1:000000000000:table/orders", "arn:aws:dynamodb:eu-central-1:1:table/orders",
			"arn:aws:dynamodb:eu-central-1:000000000000:table/orders/index/i", "arn:aws:dynamodb:eu-central-1:00000000000x:table/orders"} {
			if a := ask(arn); a.status != 400 || a.body != validation("Invalid TableArn: Invalid ResourceArn provided as input "+arn) {
				t.Errorf("%s %s: %d %s", operation, arn, a.status, a.body)
			}
		}
		const nobody = "arn:aws:dynamodb:eu-central-1:000000000000:table/nobody"
		if a := ask(nobody); a.body != missing("Requested resource not found: ResourcArn: "+nobody+" not found") {
			t.Errorf("%s: %s", operation, a.body)
		}
		if a := ask(""); a.body != validation("1 validation error detected: Value '' at 'resourceArn' failed to satisfy constraint: Member must have length greater than or equal to 1") {
			t.Errorf("%s: %s", operation, a.body)
		}
		if a := ask("arn:aws:dynamodb:eu-central-1:123456789012:table/orders"); a.status != 200 || (a.body == "") == (operation == "ListTagsOfResource") {
			t.Errorf("%s: %d %s", operation, a.status, a.body)
		}
	}
	if a := r.post(t, client, "TagResource", `{}`); a.body != validation("2 validation errors detected: Value null at 'tags' failed to satisfy constraint: Member must not be null; "+
		"Value null at 'resourceArn' failed to satisfy constraint: Member must not be null") {
		t.Error(a.body)
	}
	if a := r.post(t, client, "ListTagsOfResource", `{"ResourceArn":"arn:aws:dynamodb:eu-central-1:000000000000:table/orders","NextToken":"x"}`); a.body !=
		validation("One or more parameter values were invalid: NextToken is not valid") {
		t.Error(a.body)
	}
}

// TestUpdateTableSaysWhatIsWrong pins what UpdateTable answers about settings.
func TestUpdateTableSaysWhatIsWrong(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	createTable(t, r.client(t), "orders", false)
	const invalid = "One or more parameter values were invalid: "
	for _, c := range []struct{ parameters, want string }{
		{`"StreamSpecification":{}`, "1 validation error detected: Value null at 'streamSpecification.streamEnabled' failed to satisfy constraint: Member must not be null"},
		{`"StreamSpecification":{"StreamEnabled":true,"StreamViewType":"ALL"}`, "1 validation error detected: Value 'ALL' at 'streamSpecification.streamViewType' failed to satisfy constraint: " +
			"Member must satisfy enum value set: [NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES, KEYS_ONLY]"},
		{`"OnDemandThroughput":{}`, invalid + "At least one of the units for reads and for writes must be specified"},
		{`"OnDemandThroughput":{"MaxReadRequestUnits":0}`, "1 validation error detected: Value '0' at 'onDemandThroughput.maxReadRequestUnits' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{`"WarmThroughput":{"ReadUnitsPerSecond":0}`, "1 validation error detected: Value '0' at 'warmThroughput.readUnitsPerSecond' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{`"BillingMode":"PROVISIONED"`, invalid + "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"},
		{`"MultiRegionConsistency":"STRONG"`, "Unsupported parameter: MultiRegionConsistency STRONG is not offered by this version of Concordat: there is no multi-Region strong consistency"},
		{`"MultiRegionConsistency":"EVENTUAL"`, invalid + "MultiRegionConsistency can only be specified when a replica is created"},
		{`"DisassociationProtectionEnabled":false`, invalid + "DisassociationProtectionEnabled can only be specified for a replica of a global table of version 2019.11.21"},
		{`"DisassociationProtectionEnabled":false,"TableClass":"STANDARD"`, invalid + "DisassociationProtectionEnabled cannot be combined with any other change in the same request"},
		{`"DisassociationProtectionEnabled":false,"ReplicaUpdates":[{"Delete":{"RegionName":"x"}}]`, invalid + "DisassociationProtectionEnabled cannot be combined with any other change in the same request"},
		{`"ReplicaUpdates":[{"Disassociate":{"RegionName":"eu-central-1","DisassociationMode":"WAIT_FOR_REPLICATION"}}]`,
			"Failed to disassociate the replica of table with name: 'orders' because it is not a replica of a global table in region: eu-central-1"},
		{`"ReplicaUpdates":[{"Disassociate":{"RegionName":"x","DisassociationMode":"WAIT_FOR_REPLICATION"}}]`,
			"Failed to disassociate the replica of table with name: 'orders' because the request must be sent to the region of the replica: x"},
		{`"ReplicaUpdates":[{"Disassociate":{}}]`,
			"2 validation errors detected: Value null at 'replicaUpdates.1.member.disassociate.regionName' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'replicaUpdates.1.member.disassociate.disassociationMode' failed to satisfy constraint: Member must not be null"},
		{`"ReplicaUpdates":[{"Disassociate":{"RegionName":"x","DisassociationMode":"AT_ONCE"}}]`,
			"1 validation error detected: Value 'AT_ONCE' at 'replicaUpdates.1.member.disassociate.disassociationMode' failed to satisfy constraint: Member must satisfy enum value set: [WAIT_FOR_REPLICATION]"},
		{`"ReplicaUpdates":[{"Disassociate":{"RegionName":"x","DisassociationMode":"WAIT_FOR_REPLICATION"},"Delete":{"RegionName":"x"}}]`,
			invalid + "Each replica update must have exactly one of Create, Update, Delete and Disassociate"},
		{`"ReplicaUpdates":[{"Disassociate":{"RegionName":"x","DisassociationMode":"WAIT_FOR_REPLICATION"}},{"Delete":{"RegionName":"y"}}]`, invalid + "Disassociate must be the only update in the request"},
		{`"BillingMode":"PAY_PER_REQUEST","ReplicaUpdates":[{"Disassociate":{"RegionName":"x","DisassociationMode":"WAIT_FOR_REPLICATION"}}]`, invalid + "Disassociate must be the only update in the request"},
		{`"ReplicaUpdates":[{"Create":{"RegionName":"x","KMSMasterKeyId":"k"}}]`, "Unsupported parameter: ReplicaUpdates.Create.KMSMasterKeyId is not offered by this version of Concordat: encryption at rest is a matter of the disk"},
		{`"ReplicaUpdates":[]`, "1 validation error detected: Value '[]' at 'replicaUpdates' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{`"ReplicaUpdates":[{"Create":{"RegionName":"x"}},{"Delete":{"RegionName":"x"}}]`, invalid + "Only one replica update can be made for a region at a time: x"},
		{`"ReplicaUpdates":[{"Update":{"RegionName":"x"}}]`, invalid + "The update of the replica in region x changes nothing"},
		{`"ReplicaUpdates":[{"Update":{"RegionName":"x","TableClassOverride":"STANDARD"}}]`, "Failed to update the replica of table with name: 'orders' because it has no replica in region: x"},
		{`"ReplicaUpdates":[{"Update":{"RegionName":"x","GlobalSecondaryIndexes":[{"IndexName":"index"}]}}]`, invalid + "The update of the replica in region x changes nothing"},
		{`"ReplicaUpdates":[{"Update":{"RegionName":"x","GlobalSecondaryIndexes":[{"IndexName":"one","OnDemandThroughputOverride":{"MaxReadRequestUnits":1}},{"IndexName":"two"},{"IndexName":"one"}]}}]`,
			invalid + "Only one global secondary index update per index is allowed simultaneously. Index: one"},
		{`"ReplicaUpdates":[{"Update":{"RegionName":"x","GlobalSecondaryIndexes":[]}}]`,
			"1 validation error detected: Value '[]' at 'replicaUpdates.1.member.update.globalSecondaryIndexes' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{`"ReplicaUpdates":[{"Create":{"RegionName":"x","GlobalSecondaryIndexes":[{"IndexName":"one"},{"OnDemandThroughputOverride":{"MaxReadRequestUnits":0}}]}}]`,
			"2 validation errors detected: Value null at 'replicaUpdates.1.member.create.globalSecondaryIndexes.2.member.indexName' failed to satisfy constraint: Member must not be null; " +
				"Value '0' at 'replicaUpdates.1.member.create.globalSecondaryIndexes.2.member.onDemandThroughputOverride.maxReadRequestUnits' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{`"ReplicaUpdates":[{"Update":{"RegionName":"x","GlobalSecondaryIndexes":[{"IndexName":"one","ProvisionedThroughputOverride":{"ReadCapacityUnits":1000000000001}}]}}]`,
			"Given value 1000000000001 for ReadCapacityUnits is out of bounds for index one"},
		{`"ReplicaUpdates":[{"Create":{"RegionName":"x","ProvisionedThroughputOverride":{"ReadCapacityUnits":0},"TableClassOverride":"FAST"}}]`,
			"2 validation errors detected: Value 'FAST' at 'replicaUpdates.1.member.create.tableClassOverride' failed to satisfy constraint: Member must satisfy enum value set: [STANDARD, STANDARD_INFREQUENT_ACCESS]; " +
				"Value '0' at 'replicaUpdates.1.member.create.provisionedThroughputOverride.readCapacityUnits' failed to satisfy constraint: Member must have value greater than or equal to 1"},
	} {
		a := r.post(t, client, "UpdateTable", `{"TableName":"orders",`+c.parameters+`}`)
		if a.status != 400 || a.body != validation(c.want) {
			t.Errorf("%s\ngot  %d %s\nwant %s", c.parameters, a.status, a.body, c.want)
		}
	}
	for _, parameters := range []string{`"SSESpecification":{"Enabled":false}`, `"GlobalTableSettingsReplicationMode":"DISABLED"`} {
		if a := r.post(t, client, "UpdateTable", `{"TableName":"orders",`+parameters+`}`); a.status != 200 {
			t.Errorf("%s: %d %s", parameters, a.status, a.body)
		}
	}
}

// TestListGlobalTables pages through the tables of the first version; others do not count.
func TestListGlobalTables(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	c := r.client(t)
	var want []string
	for i := range 9 {
		name := fmt.Sprint("table-", i)
		createTable(t, c, name, false)
		if i%2 == 1 {
			continue
		}
		want = append(want, name)
		if _, err := c.CreateGlobalTable(t.Context(), &sdk.CreateGlobalTableInput{GlobalTableName: &name, ReplicationGroup: []types.Replica{{RegionName: aws.String(testRegion)}}}); err != nil {
			t.Fatal(err)
		}
	}
	for limit := int32(1); limit <= 6; limit++ {
		var got []string
		in := &sdk.ListGlobalTablesInput{Limit: &limit}
		for pages := 0; pages < 10; pages++ {
			out, err := c.ListGlobalTables(t.Context(), in)
			if err != nil || len(out.GlobalTables) > int(limit) {
				t.Fatal(out, err)
			}
			for _, table := range out.GlobalTables {
				got = append(got, *table.GlobalTableName)
			}
			if in.ExclusiveStartGlobalTableName = out.LastEvaluatedGlobalTableName; out.LastEvaluatedGlobalTableName == nil {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
	_, err := c.ListGlobalTables(t.Context(), &sdk.ListGlobalTablesInput{Limit: aws.Int32(0)})
	wantError(t, err, "ValidationException", "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1")
}

// TestARNsAreNames: every operation takes a table's ARN as its name, of this region only.
func TestARNsAreNames(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	c := r.client(t)
	createTable(t, c, "orders", false)
	arn := describe(t, c, "orders").TableArn
	if _, err := c.PutItem(t.Context(), &sdk.PutItemInput{TableName: arn, Item: attributes{"pk": s("a")}}); err != nil {
		t.Error(err)
	}
	got, err := c.GetItem(t.Context(), &sdk.GetItemInput{TableName: arn, Key: attributes{"pk": s("a")}})
	if err != nil || len(got.Item) != 1 {
		t.Error(got, err)
	}
	if d := describe(t, c, *arn); *d.TableName != "orders" {
		t.Error(*d.TableName)
	}
	elsewhere := strings.Replace(*arn, testRegion, "us-east-1", 1)
	_, err = c.DescribeTable(t.Context(), &sdk.DescribeTableInput{TableName: &elsewhere})
	wantError(t, err, "ValidationException", "1 validation error detected: Value '"+elsewhere+"' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
	if _, err := c.DeleteTable(t.Context(), &sdk.DeleteTableInput{TableName: arn}); err != nil {
		t.Error(err)
	}
}
