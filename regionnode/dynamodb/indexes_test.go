package dynamodb_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/concordat-db/concordat/globaltable"
)

// TestIndexesSayWhatIsWrong: each fault in DynamoDB's words, and of several the one that DynamoDB tells.
func TestIndexesSayWhatIsWrong(t *testing.T) {
	r := startRegion(t, memory(t), open)
	client := httpClient(t)
	const (
		base  = `"TableName":"abc","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"a","KeyType":"HASH"},{"AttributeName":"b","KeyType":"RANGE"}],`
		plain = `"TableName":"abc","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],`
		wrong = "One or more parameter values were invalid: "
		all   = `"Projection":{"ProjectionType":"ALL"}`
	)
	attributes := func(names string) string {
		var list []string
		for _, name := range strings.Fields(names) {
			list = append(list, `{"AttributeName":"`+name+`","AttributeType":"S"}`)
		}
		return `"AttributeDefinitions":[` + strings.Join(list, ",") + `]`
	}
	schema := func(elements string) string {
		var list []string
		for _, e := range strings.Fields(elements) {
			name, kind, _ := strings.Cut(e, ":")
			list = append(list, `{"AttributeName":"`+name+`","KeyType":"`+kind+`"}`)
		}
		return `"KeySchema":[` + strings.Join(list, ",") + `]`
	}
	local := func(indexes ...string) string { return `,"LocalSecondaryIndexes":[` + strings.Join(indexes, ",") + `]` }
	global := func(indexes ...string) string {
		return `,"GlobalSecondaryIndexes":[` + strings.Join(indexes, ",") + `]`
	}
	index := func(name, keys, rest string) string {
		return `{"IndexName":"` + name + `",` + schema(keys) + `,` + rest + `}`
	}
	many := func(n int, keys, rest string) (list []string) {
		for i := range n {
			list = append(list, index(fmt.Sprint("index", i), keys, rest))
		}
		return list
	}
	names := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%q", fmt.Sprint("x", i)))
		}
		return strings.Join(list, ",")
	}
	include := func(n int) string {
		return `"Projection":{"ProjectionType":"INCLUDE","NonKeyAttributes":[` + names(n) + `]}`
	}
	for _, c := range []struct{ body, want string }{
		{base + attributes("a b") + global(`{}`), "3 validation errors detected: Value null at 'globalSecondaryIndexes.1.member.projection' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'globalSecondaryIndexes.1.member.indexName' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'globalSecondaryIndexes.1.member.keySchema' failed to satisfy constraint: Member must not be null"},
		{base + attributes("a b") + local(index("ab", "a:HASH", `"Projection":{"ProjectionType":"SOME","NonKeyAttributes":[]}`)),
			"3 validation errors detected: Value 'SOME' at 'localSecondaryIndexes.1.member.projection.projectionType' failed to satisfy constraint: Member must satisfy enum value set: [ALL, INCLUDE, KEYS_ONLY]; " +
				"Value '[]' at 'localSecondaryIndexes.1.member.projection.nonKeyAttributes' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				"Value 'ab' at 'localSecondaryIndexes.1.member.indexName' failed to satisfy constraint: Member must have length greater than or equal to 3"},
		{base + attributes("a b") + local(), wrong + "List of LocalSecondaryIndexes is empty"},
		{base + attributes("a b") + global(), wrong + "List of GlobalSecondaryIndexes is empty"},
		{plain + attributes("a") + local(index("abc", "a:HASH", all)), wrong + "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex"},
		{base + attributes("a b") + local(index("abc", "a:HASH", all)), wrong + "Index KeySchema does not have a range key for index: abc"},
		{base + attributes("a b c") + local(index("abc", "c:HASH a:RANGE", all)),
			wrong + "Index KeySchema does not have the same leading hash key as table KeySchema for index: abc. index hash key: c, table hash key: a"},
		{base + attributes("a b") + local(index("abc", "a:HASH c:RANGE", all)), wrong + "Some index key attributes are not defined in AttributeDefinitions. Keys: [a, c], AttributeDefinitions: [a, b]"},
		{base + attributes("a b") + local(index("abc", "a:RANGE b:HASH", all)), "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"},
		{base + attributes("a b") + local(index("abc", "a:HASH b:HASH", all)), "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"},
		{base + attributes("a b c") + local(index("abc", "a:HASH c:RANGE", all), index("abc", "a:HASH c:RANGE", all)), wrong + "Duplicate index name: abc"},
		{base + attributes("a b c") + local(many(6, "a:HASH c:RANGE", all)...), wrong + "Number of LocalSecondaryIndexes exceeds per-table limit of 5"},
		{base + attributes("a b c") + local(index("abc", "a:HASH c:RANGE", all)) + global(index("abc", "c:HASH", all)), wrong + "Duplicate index name: abc"},
		{base + attributes("a b") + global(index("abc", "b:HASH", `"Projection":{}`)), wrong + "Unknown ProjectionType: null"},
		{base + attributes("a b") + global(index("abc", "b:HASH", `"Projection":{"ProjectionType":"ALL","NonKeyAttributes":["x"]}`)), wrong + "ProjectionType is ALL, but NonKeyAttributes is specified"},
		{base + attributes("a b") + global(index("abc", "b:HASH", `"Projection":{"ProjectionType":"KEYS_ONLY","NonKeyAttributes":["x"]}`)), wrong + "ProjectionType is KEYS_ONLY, but NonKeyAttributes is specified"},
		{base + attributes("a b") + global(index("abc", "b:HASH", `"Projection":{"ProjectionType":"INCLUDE"}`)), wrong + "ProjectionType is INCLUDE, but NonKeyAttributes is not specified"},
		{base + attributes("a b") + global(many(6, "b:HASH", include(20))...), wrong + "Number of NonKeyAttributes of all indexes exceeds the per-table limit of 100"},
		{base + attributes("a b") + global(index("abc", "b:HASH", all+`,"ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}`)),
			wrong + "ProvisionedThroughput should not be specified for index: abc when BillingMode is PAY_PER_REQUEST"},
		{base + attributes("a b") + global(many(21, "b:HASH", all)...), wrong + "GlobalSecondaryIndex count exceeds the per-table limit of 20"},
		{base + attributes("a b c d") + global(index("abc", "c:HASH", all)), wrong + "Some AttributeDefinitions are not used. AttributeDefinitions: [a, b, c, d], keys used: [a, b, c]"},
		{base + attributes("a b c d") + global(index("abc", "c:HASH b:RANGE d:HASH", all)), "Invalid KeySchema: All HASH key attributes must precede RANGE key attributes in the KeySchema"},
		{base + attributes("a b c d e") + global(index("abc", "a:HASH b:HASH c:HASH d:HASH e:HASH", all)), "Invalid KeySchema: The KeySchema exceeds the maximum allowed number of HASH key attributes"},
		{base + attributes("a b") + global(index("abc", "a:HASH b:RANGE a:RANGE", all)), "Both the Hash Key and the Range Key element in the KeySchema have the same name"},
		{strings.Replace(base, `"BillingMode":"PAY_PER_REQUEST"`, `"ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}`, 1) + attributes("a b") + global(index("abc", "b:HASH", all)),
			wrong + "ProvisionedThroughput is not specified for index: abc"},
		{strings.Replace(base, `"BillingMode":"PAY_PER_REQUEST"`, `"ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}`, 1) + attributes("a b") +
			global(index("abc", "b:HASH", all+`,"ProvisionedThroughput":{"ReadCapacityUnits":1000000000001,"WriteCapacityUnits":1}`)), "Given value 1000000000001 for ReadCapacityUnits is out of bounds for index abc"},
	} {
		a := r.post(t, client, "CreateTable", "{"+c.body+"}")
		if a.status != 400 || a.body != validation(c.want) {
			t.Errorf("%.300s\ngot  %d %s\nwant %s", c.body, a.status, a.body, c.want)
		}
	}
	a := r.post(t, client, "CreateTable", "{"+base+attributes("a b c")+local(index("local", "a:HASH c:RANGE", all))+global(index("global", "c:HASH b:RANGE", all))+"}")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	update := func(actions ...string) string {
		return `,"GlobalSecondaryIndexUpdates":[` + strings.Join(actions, ",") + `]`
	}
	create := func(index string) string { return `{"Create":` + index + `}` }
	remove := func(name string) string { return `{"Delete":{"IndexName":"` + name + `"}}` }
	const limit = `{"__type":"com.amazonaws.dynamodb.v20120810#LimitExceededException","message":"Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"}`
	const missing = `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found: Index: %s of table: abc not found"}`
	for _, c := range []struct{ body, want string }{
		{update(create(index("other", "b:HASH", all))), validation("Invalid KeySchema: Some index key attribute have no definition")},
		{"," + attributes("b") + update(create(index("global", "b:HASH", all))), validation("Attempting to create an index which already exists")},
		{"," + attributes("b") + update(create(index("local", "b:HASH", all))), validation("Attempting to create an index which already exists")},
		{"," + attributes("b x") + update(create(index("other", "b:HASH", all))), validation(wrong + "Some AttributeDefinitions are not used. AttributeDefinitions: [b, x], keys used: [b]")},
		{`,"AttributeDefinitions":[{"AttributeName":"b","AttributeType":"N"}]` + update(create(index("other", "b:HASH", all))), validation(wrong + "An attribute cannot have two types: b")},
		{"," + attributes("b") + update(create(index("other", "b:HASH", all)), remove("global")), limit},
		{update(remove("global"), remove("other")), limit},
		{update(remove("global"), remove("global")), validation(wrong + "Only one global secondary index update per index is allowed simultaneously. Index: global")},
		{update(remove("other")), fmt.Sprintf(missing, "other")},
		{update(remove("local")), fmt.Sprintf(missing, "local")},
		{update(`{"Update":{"IndexName":"other","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}}}`), fmt.Sprintf(missing, "other")},
		{update(`{"Update":{"IndexName":"global","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}}}`),
			validation(wrong + "ProvisionedThroughput should not be specified for index: global when BillingMode is PAY_PER_REQUEST")},
		{update(`{"Update":{"IndexName":"global"}}`), validation(wrong + "One of ProvisionedThroughput, OnDemandThroughput or WarmThroughput must be specified for index: global")},
		{update(`{}`), validation(wrong + "Each global secondary index update must have exactly one of Create, Update and Delete")},
		{update(`{"Delete":{"IndexName":"a"}}`), validation("1 validation error detected: Value 'a' at 'globalSecondaryIndexUpdates.1.member.delete.indexName' failed to satisfy constraint: Member must have length greater than or equal to 3")},
		{`,"BillingMode":"PROVISIONED","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}`, validation(wrong + "ProvisionedThroughput must be specified for index: global")},
	} {
		a := r.post(t, client, "UpdateTable", `{"TableName":"abc"`+c.body+"}")
		if a.status != 400 || a.body != c.want {
			t.Errorf("%s\ngot  %d %s\nwant %s", c.body, a.status, a.body, c.want)
		}
	}
}

func keySchema(names ...string) (out []types.KeySchemaElement) {
	for _, name := range names {
		name, kind, _ := strings.Cut(name, ":")
		out = append(out, types.KeySchemaElement{AttributeName: aws.String(name), KeyType: types.KeyType(kind)})
	}
	return out
}

func definitions(names ...string) (out []types.AttributeDefinition) {
	for _, name := range names {
		name, kind, _ := strings.Cut(name, ":")
		out = append(out, types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeType(kind)})
	}
	return out
}

// TestIndexesOfATable makes a table with indexes by the SDK, and another index on it while it is in use.
func TestIndexesOfATable(t *testing.T) {
	r := startRegion(t, onPebble(t), nil)
	c := r.client(t)
	ctx := t.Context()
	name := aws.String("scores")
	all := &types.Projection{ProjectionType: types.ProjectionTypeAll}
	if _, err := c.CreateTable(ctx, &sdk.CreateTableInput{
		TableName: name, BillingMode: types.BillingModePayPerRequest, KeySchema: keySchema("user:HASH", "game:RANGE"),
		AttributeDefinitions:  definitions("user:S", "game:S", "top:N", "season:S", "region:S"),
		LocalSecondaryIndexes: []types.LocalSecondaryIndex{{IndexName: aws.String("by-top"), KeySchema: keySchema("user:HASH", "top:RANGE"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly}}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("by-season"), KeySchema: keySchema("season:HASH", "region:HASH", "top:RANGE", "user:RANGE"),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{"won", "lost"}}, OnDemandThroughput: &types.OnDemandThroughput{MaxReadRequestUnits: aws.Int64(7)}}},
	}); err != nil {
		t.Fatal(err)
	}
	describe := func() *types.TableDescription {
		t.Helper()
		d, err := c.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: name})
		if err != nil {
			t.Fatal(err)
		}
		return d.Table
	}
	d := describe()
	if d.TableStatus != types.TableStatusActive || len(d.LocalSecondaryIndexes) != 1 || len(d.GlobalSecondaryIndexes) != 1 || len(d.AttributeDefinitions) != 5 {
		t.Fatalf("%+v", d)
	}
	season := d.GlobalSecondaryIndexes[0]
	if got := season.KeySchema; len(got) != 4 || *got[0].AttributeName != "season" || got[1].KeyType != types.KeyTypeHash || got[3].KeyType != types.KeyTypeRange || *got[3].AttributeName != "user" {
		t.Errorf("key schema %+v", got)
	}
	if season.IndexStatus != types.IndexStatusActive || season.Backfilling != nil || !slices.Equal(season.Projection.NonKeyAttributes, []string{"won", "lost"}) ||
		*season.IndexArn != *d.TableArn+"/index/by-season" || *season.OnDemandThroughput.MaxReadRequestUnits != 7 {
		t.Errorf("index %+v", season)
	}
	for i := range 50 {
		it := attributes{"user": s("u"), "game": s(fmt.Sprint("game", i)), "top": n(fmt.Sprint(i)), "won": n("1"), "note": s("not in the index")}
		if i%2 == 0 {
			it["season"], it["region"] = s("s"), s("r")
		}
		if _, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: name, Item: it}); err != nil {
			t.Fatal(err)
		}
	}
	d = describe()
	if got := *d.LocalSecondaryIndexes[0].ItemCount; got != 50 {
		t.Errorf("%d entries in the local index", got)
	}
	if got := *d.GlobalSecondaryIndexes[0].ItemCount; got != 25 {
		t.Errorf("%d entries in the sparse index", got)
	}
	if full, part := *d.TableSizeBytes, *d.LocalSecondaryIndexes[0].IndexSizeBytes; part <= 0 || part >= full {
		t.Errorf("the index of keys has %d bytes, the table %d", part, full)
	}
	if _, err := c.PutItem(ctx, &sdk.PutItemInput{TableName: name, Item: attributes{"user": s("u"), "game": s("g"), "top": s("a string")}}); !isValidation(err, "Type mismatch for Index Key top Expected: N Actual: S IndexName: by-top") {
		t.Errorf("a wrong type: %v", err)
	}
	if _, err := c.BatchWriteItem(ctx, &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{*name: {{PutRequest: &types.PutRequest{
		Item: attributes{"user": s("u"), "game": s("g"), "season": s("")}}}}}}); !isValidation(err, "IndexName: by-season, IndexKey: season") {
		t.Errorf("an empty key: %v", err)
	}
	u, err := c.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: name, AttributeDefinitions: definitions("game:S", "won:N"), GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
		{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: aws.String("by-game"), KeySchema: keySchema("game:HASH", "won:RANGE"), Projection: all}}}})
	if err != nil || u.TableDescription.TableStatus != types.TableStatusUpdating {
		t.Fatal(u, err)
	}
	byGame := func() (types.TableStatus, types.GlobalSecondaryIndexDescription) {
		d := describe()
		for _, x := range d.GlobalSecondaryIndexes {
			if *x.IndexName == "by-game" {
				return d.TableStatus, x
			}
		}
		t.Fatalf("no such index: %+v", d.GlobalSecondaryIndexes)
		return "", types.GlobalSecondaryIndexDescription{}
	}
	// Nobody builds the index here but this test.
	if status, x := byGame(); status != types.TableStatusUpdating || x.IndexStatus != types.IndexStatusCreating || !aws.ToBool(x.Backfilling) || *x.ItemCount != 0 {
		t.Errorf("before it is built: table %s, index %+v", status, x)
	}
	another := &sdk.UpdateTableInput{TableName: name, AttributeDefinitions: definitions("region:S"), GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
		{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: aws.String("by-region"), KeySchema: keySchema("region:HASH"), Projection: all}}}}
	var tooMany *types.LimitExceededException
	if _, err := c.UpdateTable(ctx, another); !errors.As(err, &tooMany) {
		t.Errorf("a second index while one is being built: %v", err)
	}
	r.build(t)
	if status, x := byGame(); status != types.TableStatusActive || x.IndexStatus != types.IndexStatusActive || x.Backfilling != nil || *x.ItemCount != 50 || *x.IndexSizeBytes <= 0 {
		t.Errorf("after it was built: table %s, index %+v", status, x)
	}
	if _, err := c.UpdateTable(ctx, another); err != nil {
		t.Error(err)
	}
	r.build(t)
	// One that goes while it is wanted by nobody takes its definition with it.
	for _, gone := range []string{"by-season", "by-game", "by-region"} {
		if _, err := c.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: name, GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
			{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: &gone}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if d := describe(); len(d.GlobalSecondaryIndexes) != 0 || len(d.LocalSecondaryIndexes) != 1 || len(d.AttributeDefinitions) != 3 {
		t.Errorf("after all global ones went: %+v", d)
	}
	if _, err := c.DeleteTable(ctx, &sdk.DeleteTableInput{TableName: name}); err != nil {
		t.Fatal(err)
	}
	if err := sdk.NewTableNotExistsWaiter(c, func(o *sdk.TableNotExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
	}).Wait(ctx, &sdk.DescribeTableInput{TableName: name}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

// TestIndexThroughput: what indexes declare in PROVISIONED mode, and over changes of the mode.
func TestIndexThroughput(t *testing.T) {
	r := startRegion(t, memory(t), nil)
	c := r.client(t)
	ctx := t.Context()
	name := aws.String("table")
	units := func(n int64) *types.ProvisionedThroughput {
		return &types.ProvisionedThroughput{ReadCapacityUnits: &n, WriteCapacityUnits: &n}
	}
	if _, err := c.CreateTable(ctx, &sdk.CreateTableInput{TableName: name, KeySchema: keySchema("a:HASH"), AttributeDefinitions: definitions("a:S", "b:B"), ProvisionedThroughput: units(1),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("index"), KeySchema: keySchema("b:HASH"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}, ProvisionedThroughput: units(2)}}}); err != nil {
		t.Fatal(err)
	}
	update := func(mode types.BillingMode, table, index *types.ProvisionedThroughput) {
		t.Helper()
		in := &sdk.UpdateTableInput{TableName: name, BillingMode: mode, ProvisionedThroughput: table}
		if index != nil {
			in.GlobalSecondaryIndexUpdates = []types.GlobalSecondaryIndexUpdate{{Update: &types.UpdateGlobalSecondaryIndexAction{IndexName: aws.String("index"), ProvisionedThroughput: index}}}
		}
		if _, err := c.UpdateTable(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want int64) {
		t.Helper()
		d, err := c.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: name})
		if err != nil {
			t.Fatal(err)
		}
		x := d.Table.GlobalSecondaryIndexes[0]
		if *x.ProvisionedThroughput.ReadCapacityUnits != want || *x.ProvisionedThroughput.WriteCapacityUnits != want || x.IndexStatus != types.IndexStatusActive {
			t.Errorf("index %+v, want %d units", x, want)
		}
	}
	expect(2)
	update("", nil, units(3))
	expect(3)
	update(types.BillingModePayPerRequest, nil, nil)
	expect(0)
	update(types.BillingModeProvisioned, units(5), units(4))
	expect(4)
}

// build builds what is to be built.
func (r *region) build(t testing.TB) {
	t.Helper()
	for _, u := range r.shard.Unbuilt() {
		r.step(t, u.Table, u.Index)
	}
}

func (r *region) step(t testing.TB, table globaltable.TableID, index globaltable.IndexID) {
	t.Helper()
	for done := false; !done; {
		b, err := r.shard.BuildIndex(context.Background(), table, index, 7)
		if err != nil {
			t.Fatal(err)
		}
		done = b.Done
	}
}

// isValidation reports whether err is a ValidationException whose message has the text.
func isValidation(err error, text string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationException" && strings.Contains(api.ErrorMessage(), text)
}
