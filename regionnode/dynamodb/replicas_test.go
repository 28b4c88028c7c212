package dynamodb

import (
	"bytes"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestReplicasAreDescribed: overrides, classes, and a replica whose region is fenced.
func TestReplicasAreDescribed(t *testing.T) {
	d := newDirect(t, false)
	table := &globaltable.Table{ID: 1, Name: "people", CreatedAt: 1_700_000_000_000,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}},
		Billing:   globaltable.Provisioned, Throughput: globaltable.Throughput{Read: 3, Write: 4}, Class: globaltable.ClassStandard,
		OnDemandSince: 1_700_000_001_000, Stream: globaltable.Stream{Since: 1_700_000_002_000},
		Replicas: []globaltable.Replica{
			{Region: "eu", Origin: 1, Status: globaltable.Active, CreatedAt: 1_700_000_003_000, Own: &globaltable.Own{ReadUnits: globaltable.ReadUnits{ReadCapacity: 8}, Class: globaltable.ClassInfrequentAccess}},
			{Region: "in", Origin: 2, Status: globaltable.StatusFenced, InaccessibleSince: 1_700_000_004_500},
			{Region: "us", Origin: 3, Status: globaltable.Active, Own: &globaltable.Own{ReadUnits: globaltable.ReadUnits{ReadCapacity: 5, OnDemandRead: 6}}}}}
	ask := func(operation, body string) string {
		var ctx fasthttp.RequestCtx
		d.ask(&ctx, operation, bytes.NewReader([]byte(body)))
		return string(ctx.Response.Body())
	}
	contains := func(got string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s\nis not in %s", part, got)
			}
		}
	}
	d.config.Control = fixed{table: table}
	contains(ask("DescribeTable", `{"TableName":"people"}`),
		`"CreationDateTime":1700000003.000`,
		`"ProvisionedThroughput":{"NumberOfDecreasesToday":0,"ReadCapacityUnits":8,"WriteCapacityUnits":4}`,
		`"BillingModeSummary":{"BillingMode":"PROVISIONED","LastUpdateToPayPerRequestDateTime":1700000001.000}`,
		`"TableClassSummary":{"TableClass":"STANDARD_INFREQUENT_ACCESS"}`,
		`,"LatestStreamLabel":"2023-11-14T22:13:23.000","LatestStreamArn":"arn:aws:dynamodb:eu:000000000000:table/people/stream/2023-11-14T22:13:23.000"`,
		`{"RegionName":"in","ReplicaStatus":"REGION_DISABLED","ReplicaInaccessibleDateTime":1700000004.500,"ReplicaTableClassSummary":{"TableClass":"STANDARD"},"GlobalTable`,
		`{"RegionName":"us","ReplicaStatus":"ACTIVE","ReplicaTableClassSummary":{"TableClass":"STANDARD"},"ProvisionedThroughputOverride":{"ReadCapacityUnits":5},`+
			`"OnDemandThroughputOverride":{"MaxReadRequestUnits":6},`)
	table.Legacy = true
	if got := ask("DescribeTable", `{"TableName":"people"}`); strings.Contains(got, "Replicas") || strings.Contains(got, "GlobalTableVersion") {
		t.Error(got)
	}
	const begun = `"GlobalTableStatus":"ACTIVE","CreationDateTime":1700000003.000,`
	contains(ask("DescribeGlobalTable", `{"GlobalTableName":"people"}`), `{"GlobalTableDescription":{"GlobalTableName":"people",`+
		`"GlobalTableArn":"arn:aws:dynamodb::000000000000:global-table/people",`+begun+`"ReplicationGroup":[{"RegionName":"eu","ReplicaStatus":"ACTIVE"},`+
		`{"RegionName":"in","ReplicaStatus":"REGION_DISABLED","ReplicaInaccessibleDateTime":1700000004.500},{"RegionName":"us","ReplicaStatus":"ACTIVE"}]}}`)
	contains(ask("DescribeGlobalTableSettings", `{"GlobalTableName":"people"}`), `{"RegionName":"eu","ReplicaStatus":"ACTIVE","ReplicaBillingModeSummary":{"BillingMode":"PROVISIONED"},`+
		`"ReplicaProvisionedReadCapacityUnits":8,"ReplicaProvisionedWriteCapacityUnits":4,"ReplicaTableClassSummary":{"TableClass":"STANDARD_INFREQUENT_ACCESS"}}`)
}
