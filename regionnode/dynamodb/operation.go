package dynamodb

import "github.com/valyala/fastjson"

// operation is one entry of the dispatch table.
type operation struct {
	name string
	// control says that it is one on tables: it may take long, and a limit reached is LimitExceededException.
	control bool
	// run does the request and appends the answer to c.out. p lives until run returns.
	run func(c *call, p *fastjson.Object) error
	// refusals are the parameters that may not be given: see parameters.go.
	refusals *refusal
}

// operations returns the dispatch table. An operation joins by a line here and its rows in parameters, and by leaving later.
func operations() map[string]*operation {
	table := map[string]*operation{}
	for _, o := range []operation{
		{name: "PutItem", run: (*call).putItem},
		{name: "GetItem", run: (*call).getItem},
		{name: "DeleteItem", run: (*call).deleteItem},
		{name: "BatchWriteItem", run: (*call).batchWriteItem},
		{name: "BatchGetItem", run: (*call).batchGetItem},
		{name: "Scan", run: (*call).scan},
		{name: "CreateTable", control: true, run: (*call).createTable},
		{name: "DescribeTable", control: true, run: (*call).describeTable},
		{name: "ListTables", control: true, run: (*call).listTables},
		{name: "UpdateTable", control: true, run: (*call).updateTable},
		{name: "DeleteTable", control: true, run: (*call).deleteTable},
		{name: "TagResource", control: true, run: (*call).tagResource},
		{name: "UntagResource", control: true, run: (*call).untagResource},
		{name: "ListTagsOfResource", control: true, run: (*call).listTagsOfResource},
		{name: "CreateGlobalTable", control: true, run: (*call).createGlobalTable},
		{name: "UpdateGlobalTable", control: true, run: (*call).updateGlobalTable},
		{name: "DescribeGlobalTable", control: true, run: (*call).describeGlobalTable},
		{name: "ListGlobalTables", control: true, run: (*call).listGlobalTables},
		{name: "DescribeGlobalTableSettings", control: true, run: (*call).describeGlobalTableSettings},
		{name: "UpdateGlobalTableSettings", control: true, run: (*call).updateGlobalTableSettings},
		{name: "DescribeLimits", control: true, run: (*call).describeLimits},
		{name: "DescribeEndpoints", control: true, run: (*call).describeEndpoints},
	} {
		o.refusals = refusals(parameters[o.name])
		table[o.name] = &o
	}
	return table
}

// later has the operations of DynamoDB that are not offered, so that a client hears that rather than that there is no such operation.
var later = func() map[string]string {
	messages := map[string]string{}
	for _, name := range []string{
		"BatchExecuteStatement", "CancelBulkOperation", "CreateBackup", "DeleteBackup", "DeleteResourcePolicy", "DescribeBackup", "DescribeBulkOperation",
		"DescribeContinuousBackups", "DescribeContributorInsights", "DescribeExport", "DescribeImport", "DescribeKinesisStreamingDestination",
		"DescribeTableReplicaAutoScaling", "DescribeTimeToLive", "DisableKinesisStreamingDestination", "EnableKinesisStreamingDestination",
		"ExecuteStatement", "ExecuteTransaction", "ExportTableToPointInTime", "GetResourcePolicy", "ImportTable", "ListBackups", "ListBulkOperations",
		"ListContributorInsights", "ListExports", "ListImports", "PutResourcePolicy", "Query", "RestoreTableFromBackup", "RestoreTableToPointInTime",
		"SearchVectors", "StartBulkPutItems", "TransactGetItems", "TransactWriteItems", "UpdateContinuousBackups", "UpdateContributorInsights",
		"UpdateItem", "UpdateKinesisStreamingDestination", "UpdateTableReplicaAutoScaling", "UpdateTimeToLive",
	} {
		messages[name] = name + " is not offered by this version of Concordat"
	}
	return messages
}()
