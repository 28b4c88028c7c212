package dynamodb

import "github.com/valyala/fastjson"

// operation is one entry of the dispatch table.
type operation struct {
	name string
	// streams says that it is one of the DynamoDB Streams API, whose targets have a prefix of their own.
	streams bool
	// control says that it is one on tables: it may take long, and a limit reached is LimitExceededException.
	control bool
	// forwards says that it is about one item, or a transaction, and so can be done by another region where a locality policy says so.
	forwards bool
	// run does the request and appends the answer to c.out. p lives until run returns.
	run func(c *call, p *fastjson.Object) error
	// refusals are the parameters that may not be given: see parameters.go.
	refusals *refusal
}

// operations returns the dispatch table. An operation joins by a line here and its rows in parameters, and by leaving later.
func operations() map[string]*operation {
	table := map[string]*operation{}
	for _, o := range []operation{
		{name: "PutItem", forwards: true, run: (*call).putItem},
		{name: "GetItem", forwards: true, run: (*call).getItem},
		{name: "DeleteItem", forwards: true, run: (*call).deleteItem},
		{name: "BatchWriteItem", run: (*call).batchWriteItem},
		{name: "BatchGetItem", run: (*call).batchGetItem},
		{name: "ExecuteStatement", forwards: true, run: (*call).executeStatement},
		{name: "BatchExecuteStatement", run: (*call).batchExecuteStatement},
		{name: "ExecuteTransaction", forwards: true, run: (*call).executeTransaction},
		{name: "Query", run: (*call).query},
		{name: "Scan", run: (*call).scan},
		{name: "TransactGetItems", forwards: true, run: (*call).transactGetItems},
		{name: "TransactWriteItems", forwards: true, run: (*call).transactWriteItems},
		{name: "UpdateItem", forwards: true, run: (*call).updateItem},
		{name: "CreateTable", control: true, run: (*call).createTable},
		{name: "DescribeTable", control: true, run: (*call).describeTable},
		{name: "ListTables", control: true, run: (*call).listTables},
		{name: "UpdateTable", control: true, run: (*call).updateTable},
		{name: "DeleteTable", control: true, run: (*call).deleteTable},
		{name: "UpdateTimeToLive", control: true, run: (*call).updateTimeToLive},
		{name: "DescribeTimeToLive", control: true, run: (*call).describeTimeToLive},
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
		{name: "ListStreams", streams: true, control: true, run: (*call).listStreams},
		{name: "DescribeStream", streams: true, control: true, run: (*call).describeStream},
		{name: "GetShardIterator", streams: true, control: true, run: (*call).getShardIterator},
		{name: "GetRecords", streams: true, control: true, run: (*call).getRecords},
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
		"CancelBulkOperation", "CreateBackup", "DeleteBackup", "DeleteResourcePolicy", "DescribeBackup", "DescribeBulkOperation",
		"DescribeContinuousBackups", "DescribeContributorInsights", "DescribeExport", "DescribeImport", "DescribeKinesisStreamingDestination",
		"DescribeTableReplicaAutoScaling", "DisableKinesisStreamingDestination", "EnableKinesisStreamingDestination",
		"ExportTableToPointInTime", "GetResourcePolicy", "ImportTable", "ListBackups", "ListBulkOperations",
		"ListContributorInsights", "ListExports", "ListImports", "PutResourcePolicy", "RestoreTableFromBackup", "RestoreTableToPointInTime",
		"SearchVectors", "StartBulkPutItems", "UpdateContinuousBackups", "UpdateContributorInsights",
		"UpdateKinesisStreamingDestination", "UpdateTableReplicaAutoScaling",
	} {
		messages[name] = name + " is not offered by this version of Concordat"
	}
	return messages
}()
