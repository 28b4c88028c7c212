package dynamodb

import "github.com/valyala/fastjson"

// operation is one entry of the dispatch table.
type operation struct {
	name string
	// control says that it is one on tables: it may take long, and a limit reached is LimitExceededException.
	control bool
	// run does the request and appends the answer to c.out. p lives until run returns.
	run func(c *call, p *fastjson.Object) error
}

// operations returns the dispatch table. An operation joins by a line here and, if it stood there, by leaving later.
func operations() map[string]*operation {
	table := map[string]*operation{}
	for _, o := range []operation{
		{"PutItem", false, (*call).putItem},
		{"GetItem", false, (*call).getItem},
		{"DeleteItem", false, (*call).deleteItem},
		{"BatchWriteItem", false, (*call).batchWriteItem},
		{"BatchGetItem", false, (*call).batchGetItem},
		{"Scan", false, (*call).scan},
		{"CreateTable", true, (*call).createTable},
		{"DescribeTable", true, (*call).describeTable},
		{"ListTables", true, (*call).listTables},
		{"UpdateTable", true, (*call).updateTable},
		{"DeleteTable", true, (*call).deleteTable},
		{"UpdateTimeToLive", true, (*call).updateTimeToLive},
		{"DescribeTimeToLive", true, (*call).describeTimeToLive},
		{"DescribeLimits", true, (*call).describeLimits},
		{"DescribeEndpoints", true, (*call).describeEndpoints},
	} {
		table[o.name] = &o
	}
	return table
}

// later has the operations of DynamoDB that are not offered, so that a client hears that rather than that there is no such operation.
var later = func() map[string]string {
	messages := map[string]string{}
	for _, name := range []string{
		"BatchExecuteStatement", "CreateBackup", "CreateGlobalTable", "DeleteBackup", "DeleteResourcePolicy", "DescribeBackup",
		"DescribeContinuousBackups", "DescribeContributorInsights", "DescribeExport", "DescribeGlobalTable", "DescribeGlobalTableSettings",
		"DescribeImport", "DescribeKinesisStreamingDestination", "DescribeTableReplicaAutoScaling",
		"DisableKinesisStreamingDestination", "EnableKinesisStreamingDestination", "ExecuteStatement", "ExecuteTransaction",
		"ExportTableToPointInTime", "GetResourcePolicy", "ImportTable", "ListBackups", "ListContributorInsights", "ListExports",
		"ListGlobalTables", "ListImports", "ListTagsOfResource", "PutResourcePolicy", "Query", "RestoreTableFromBackup",
		"RestoreTableToPointInTime", "TagResource", "TransactGetItems", "TransactWriteItems", "UntagResource",
		"UpdateContinuousBackups", "UpdateContributorInsights", "UpdateGlobalTable", "UpdateGlobalTableSettings", "UpdateItem",
		"UpdateKinesisStreamingDestination", "UpdateTableReplicaAutoScaling",
	} {
		messages[name] = name + " is not offered by this version of Concordat"
	}
	return messages
}()
