package dynamodb

import (
	"strings"

	"github.com/valyala/fastjson"
)

// state is what becomes of a parameter.
type state uint8

const (
	offered state = iota // it does what it does in DynamoDB
	kept                 // it is checked, stored and shown, and has no effect
	refused              // a request with it is refused before anything is done
)

// parameter is the state of one parameter of an operation and, if it is a structure, of members of it.
//
// These rows are the one place that says what is offered: refusals follow from them here, COMPATIBILITY.md is written from them, and a test holds them against
// the newest model of the SDK and against the decoders. A parameter that becomes offered is a line that changes.
type parameter struct {
	at    string // its name; below structures a path such as "Tags.Key". Lists are passed through, "*" stands for every key of a map
	has   string // members of the structure, by spaces, that share its state
	state state  // also of everything below a parameter that is refused
	only  string // the one value, as JSON, that is not refused; empty: all
	note  string // why, or what to do instead, for COMPATIBILITY.md and for who is refused; Markdown, backquotes only
}

const (
	limitsNothing = "limits nothing: no request is throttled by it"
	noEncryption  = "encryption at rest is a matter of the disk"
	noScaling     = "there is no auto scaling, since nothing is throttled"
	noPolicies    = "there are no resource policies"
	noVectors     = "there are no vector indexes"
	noWitness     = "there is no multi-Region strong consistency"

	noTableOfItsOwn = "a replica of a global table of 2017 cannot leave it and become a table of its own"
	copyFirst       = "copy the items that are to stay into another table, then "
)

// parameters has the rows of each operation that is offered.
var parameters = map[string][]parameter{
	"BatchExecuteStatement": {
		{at: "ReturnConsumedCapacity"},
		{at: "Statements", has: "ConsistentRead Parameters ReturnValuesOnConditionCheckFailure Statement"},
	},
	"BatchGetItem": {
		{at: "RequestItems"},
		{at: "RequestItems.*", has: "AttributesToGet ConsistentRead ExpressionAttributeNames Keys ProjectionExpression"},
		{at: "ReturnConsumedCapacity"},
	},
	"BatchWriteItem": {
		{at: "RequestItems"},
		{at: "RequestItems.*", has: "DeleteRequest PutRequest"},
		{at: "RequestItems.*.DeleteRequest", has: "Key"},
		{at: "RequestItems.*.PutRequest", has: "Item"},
		{at: "ReturnConsumedCapacity"},
		{at: "ReturnItemCollectionMetrics"},
	},
	"CreateTable": {
		{at: "AttributeDefinitions", has: "AttributeName AttributeType"},
		{at: "BillingMode", state: kept, note: limitsNothing},
		{at: "DeletionProtectionEnabled"},
		{at: "GlobalSecondaryIndexes", has: "IndexName"},
		{at: "GlobalSecondaryIndexes.KeySchema", has: "AttributeName KeyType"},
		{at: "GlobalSecondaryIndexes.OnDemandThroughput", has: "MaxReadRequestUnits MaxWriteRequestUnits", state: kept, note: limitsNothing},
		{at: "GlobalSecondaryIndexes.Projection", has: "NonKeyAttributes ProjectionType"},
		{at: "GlobalSecondaryIndexes.ProvisionedThroughput", has: "ReadCapacityUnits WriteCapacityUnits", state: kept, note: limitsNothing},
		{at: "GlobalSecondaryIndexes.WarmThroughput", has: "ReadUnitsPerSecond WriteUnitsPerSecond", state: kept, note: limitsNothing},
		{at: "GlobalTableSettingsReplicationMode", only: `"ENABLED_WITH_OVERRIDES"`, note: "there are no global tables of several accounts"},
		{at: "GlobalTableSourceArn", state: refused, note: "there are no global tables of several accounts"},
		{at: "KeySchema", has: "AttributeName KeyType"},
		{at: "LocalSecondaryIndexes", has: "IndexName"},
		{at: "LocalSecondaryIndexes.KeySchema", has: "AttributeName KeyType"},
		{at: "LocalSecondaryIndexes.Projection", has: "NonKeyAttributes ProjectionType"},
		{at: "OnDemandThroughput", has: "MaxReadRequestUnits MaxWriteRequestUnits", state: kept, note: limitsNothing},
		{at: "ProvisionedThroughput", has: "ReadCapacityUnits WriteCapacityUnits", state: kept, note: limitsNothing},
		{at: "ResourcePolicy", state: refused, note: noPolicies},
		{at: "SSESpecification"},
		{at: "SSESpecification.Enabled", only: "false", note: noEncryption},
		{at: "SSESpecification.KMSMasterKeyId", state: refused, note: noEncryption},
		{at: "SSESpecification.SSEType", state: refused, note: noEncryption},
		{at: "StreamSpecification", has: "StreamEnabled StreamViewType"},
		{at: "TableClass", state: kept},
		{at: "TableName"},
		{at: "Tags", has: "Key Value"},
		{at: "VectorIndexes", state: refused, note: noVectors},
		{at: "WarmThroughput", has: "ReadUnitsPerSecond WriteUnitsPerSecond", state: kept, note: limitsNothing},
	},
	"CreateGlobalTable": {
		{at: "GlobalTableName"},
		{at: "ReplicationGroup", has: "RegionName"},
	},
	"DeleteItem": {
		{at: "ConditionExpression"},
		{at: "ConditionalOperator"},
		{at: "Expected"},
		{at: "Expected.*", has: "AttributeValueList ComparisonOperator Exists Value"},
		{at: "ExpressionAttributeNames"},
		{at: "ExpressionAttributeValues"},
		{at: "Key"},
		{at: "ReturnConsumedCapacity"},
		{at: "ReturnItemCollectionMetrics"},
		{at: "ReturnValues"},
		{at: "ReturnValuesOnConditionCheckFailure"},
		{at: "TableName"},
	},
	"DeleteTable":         {{at: "TableName"}},
	"DescribeEndpoints":   {},
	"DescribeGlobalTable": {{at: "GlobalTableName"}},
	"DescribeGlobalTableSettings": {
		{at: "GlobalTableName"},
	},
	"DescribeLimits": {},
	"DescribeStream": {
		{at: "ExclusiveStartShardId"},
		{at: "Limit"},
		{at: "ShardFilter", has: "ShardId Type"},
		{at: "StreamArn"},
	},
	"DescribeTable":      {{at: "TableName"}},
	"DescribeTimeToLive": {{at: "TableName"}},
	"ExecuteStatement": {
		{at: "ConsistentRead"},
		{at: "Limit"},
		{at: "NextToken"},
		{at: "Parameters"},
		{at: "ReturnConsumedCapacity"},
		{at: "ReturnValuesOnConditionCheckFailure"},
		{at: "Statement"},
	},
	"ExecuteTransaction": {
		{at: "ClientRequestToken"},
		{at: "ReturnConsumedCapacity"},
		{at: "TransactStatements", has: "Parameters ReturnValuesOnConditionCheckFailure Statement"},
	},
	"GetItem": {
		{at: "AttributesToGet"},
		{at: "ConsistentRead"},
		{at: "ExpressionAttributeNames"},
		{at: "Key"},
		{at: "ProjectionExpression"},
		{at: "ReturnConsumedCapacity"},
		{at: "TableName"},
	},
	"GetRecords": {
		{at: "Limit"},
		{at: "ShardIterator"},
	},
	"GetShardIterator": {
		{at: "SequenceNumber"},
		{at: "ShardId"},
		{at: "ShardIteratorType"},
		{at: "StreamArn"},
		{at: "Timestamp"},
	},
	"ListGlobalTables": {
		{at: "ExclusiveStartGlobalTableName"},
		{at: "Limit"},
		{at: "RegionName"},
	},
	"ListStreams": {
		{at: "ExclusiveStartStreamArn"},
		{at: "Limit"},
		{at: "TableName"},
	},
	"ListTables": {
		{at: "ExclusiveStartTableName"},
		{at: "Limit"},
	},
	"ListTagsOfResource": {
		{at: "NextToken"},
		{at: "ResourceArn"},
	},
	"PutItem": {
		{at: "ConditionExpression"},
		{at: "ConditionalOperator"},
		{at: "Expected"},
		{at: "Expected.*", has: "AttributeValueList ComparisonOperator Exists Value"},
		{at: "ExpressionAttributeNames"},
		{at: "ExpressionAttributeValues"},
		{at: "Item"},
		{at: "ReturnConsumedCapacity"},
		{at: "ReturnItemCollectionMetrics"},
		{at: "ReturnValues"},
		{at: "ReturnValuesOnConditionCheckFailure"},
		{at: "TableName"},
	},
	"Query": {
		{at: "AttributesToGet"},
		{at: "ConditionalOperator"},
		{at: "ConsistentRead"},
		{at: "ExclusiveStartKey"},
		{at: "ExpressionAttributeNames"},
		{at: "ExpressionAttributeValues"},
		{at: "FilterExpression"},
		{at: "IndexName"},
		{at: "KeyConditionExpression"},
		{at: "KeyConditions"},
		{at: "KeyConditions.*", has: "AttributeValueList ComparisonOperator"},
		{at: "Limit"},
		{at: "ProjectionExpression"},
		{at: "QueryFilter"},
		{at: "QueryFilter.*", has: "AttributeValueList ComparisonOperator"},
		{at: "ReturnConsumedCapacity"},
		{at: "ScanIndexForward"},
		{at: "Select"},
		{at: "TableName"},
	},
	"Scan": {
		{at: "AttributesToGet"},
		{at: "ConditionalOperator"},
		{at: "ConsistentRead"},
		{at: "ExclusiveStartKey"},
		{at: "ExpressionAttributeNames"},
		{at: "ExpressionAttributeValues"},
		{at: "FilterExpression"},
		{at: "IndexName"},
		{at: "Limit"},
		{at: "ProjectionExpression"},
		{at: "ReturnConsumedCapacity"},
		{at: "ScanFilter"},
		{at: "ScanFilter.*", has: "AttributeValueList ComparisonOperator"},
		{at: "Segment"},
		{at: "Select"},
		{at: "TableName"},
		{at: "TotalSegments"},
	},
	"TagResource": {
		{at: "ResourceArn"},
		{at: "Tags", has: "Key Value"},
	},
	"TransactGetItems": {
		{at: "ReturnConsumedCapacity"},
		{at: "TransactItems", has: "Get"},
		{at: "TransactItems.Get", has: "ExpressionAttributeNames Key ProjectionExpression TableName"},
	},
	"TransactWriteItems": {
		{at: "ClientRequestToken"},
		{at: "ReturnConsumedCapacity"},
		{at: "ReturnItemCollectionMetrics"},
		{at: "TransactItems", has: "ConditionCheck Delete Put Update"},
		{at: "TransactItems.ConditionCheck", has: "ConditionExpression ExpressionAttributeNames ExpressionAttributeValues Key ReturnValuesOnConditionCheckFailure TableName"},
		{at: "TransactItems.Delete", has: "ConditionExpression ExpressionAttributeNames ExpressionAttributeValues Key ReturnValuesOnConditionCheckFailure TableName"},
		{at: "TransactItems.Put", has: "ConditionExpression ExpressionAttributeNames ExpressionAttributeValues Item ReturnValuesOnConditionCheckFailure TableName"},
		{at: "TransactItems.Update", has: "ConditionExpression ExpressionAttributeNames ExpressionAttributeValues Key ReturnValuesOnConditionCheckFailure TableName UpdateExpression"},
	},
	"UntagResource": {
		{at: "ResourceArn"},
		{at: "TagKeys"},
	},
	"UpdateGlobalTable": {
		{at: "GlobalTableName"},
		{at: "ReplicaUpdates", has: "Create"},
		{at: "ReplicaUpdates.Create", has: "RegionName"},
		{at: "ReplicaUpdates.Delete", state: refused, note: noTableOfItsOwn + ": " + copyFirst + "`UpdateTable` with `ReplicaUpdates.Delete` removes the replica with its data, and makes the table one of 2019"},
	},
	"UpdateGlobalTableSettings": {
		{at: "GlobalTableBillingMode", state: kept, note: limitsNothing},
		{at: "GlobalTableGlobalSecondaryIndexSettingsUpdate", has: "IndexName"},
		{at: "GlobalTableGlobalSecondaryIndexSettingsUpdate.ProvisionedWriteCapacityAutoScalingSettingsUpdate", state: refused, note: noScaling},
		{at: "GlobalTableGlobalSecondaryIndexSettingsUpdate.ProvisionedWriteCapacityUnits", state: kept, note: limitsNothing},
		{at: "GlobalTableName"},
		{at: "GlobalTableProvisionedWriteCapacityAutoScalingSettingsUpdate", state: refused, note: noScaling},
		{at: "GlobalTableProvisionedWriteCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaSettingsUpdate", has: "RegionName"},
		{at: "ReplicaSettingsUpdate.ReplicaGlobalSecondaryIndexSettingsUpdate", has: "IndexName"},
		{at: "ReplicaSettingsUpdate.ReplicaGlobalSecondaryIndexSettingsUpdate.ProvisionedReadCapacityAutoScalingSettingsUpdate", state: refused, note: noScaling},
		{at: "ReplicaSettingsUpdate.ReplicaGlobalSecondaryIndexSettingsUpdate.ProvisionedReadCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaSettingsUpdate.ReplicaProvisionedReadCapacityAutoScalingSettingsUpdate", state: refused, note: noScaling},
		{at: "ReplicaSettingsUpdate.ReplicaProvisionedReadCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaSettingsUpdate.ReplicaTableClass", state: kept},
	},
	"UpdateItem": {
		{at: "AttributeUpdates"},
		{at: "AttributeUpdates.*", has: "Action Value"},
		{at: "ConditionExpression"},
		{at: "ConditionalOperator"},
		{at: "Expected"},
		{at: "Expected.*", has: "AttributeValueList ComparisonOperator Exists Value"},
		{at: "ExpressionAttributeNames"},
		{at: "ExpressionAttributeValues"},
		{at: "Key"},
		{at: "ReturnConsumedCapacity"},
		{at: "ReturnItemCollectionMetrics"},
		{at: "ReturnValues"},
		{at: "ReturnValuesOnConditionCheckFailure"},
		{at: "TableName"},
		{at: "UpdateExpression"},
	},
	"UpdateTimeToLive": {
		{at: "TableName"},
		{at: "TimeToLiveSpecification", has: "AttributeName Enabled"},
	},
	"UpdateTable": {
		{at: "AttributeDefinitions", has: "AttributeName AttributeType"},
		{at: "BillingMode", state: kept, note: limitsNothing},
		{at: "DeletionProtectionEnabled"},
		{at: "DisassociationProtectionEnabled"},
		{at: "GlobalSecondaryIndexUpdates", has: "Create Delete Update"},
		{at: "GlobalSecondaryIndexUpdates.Create", has: "IndexName"},
		{at: "GlobalSecondaryIndexUpdates.Create.KeySchema", has: "AttributeName KeyType"},
		{at: "GlobalSecondaryIndexUpdates.Create.OnDemandThroughput", has: "MaxReadRequestUnits MaxWriteRequestUnits", state: kept, note: limitsNothing},
		{at: "GlobalSecondaryIndexUpdates.Create.Projection", has: "NonKeyAttributes ProjectionType"},
		{at: "GlobalSecondaryIndexUpdates.Create.ProvisionedThroughput", has: "ReadCapacityUnits WriteCapacityUnits", state: kept, note: limitsNothing},
		{at: "GlobalSecondaryIndexUpdates.Create.WarmThroughput", has: "ReadUnitsPerSecond WriteUnitsPerSecond", state: kept, note: limitsNothing},
		{at: "GlobalSecondaryIndexUpdates.Delete", has: "IndexName"},
		{at: "GlobalSecondaryIndexUpdates.Update", has: "IndexName"},
		{at: "GlobalSecondaryIndexUpdates.Update.OnDemandThroughput", has: "MaxReadRequestUnits MaxWriteRequestUnits", state: kept, note: limitsNothing},
		{at: "GlobalSecondaryIndexUpdates.Update.ProvisionedThroughput", has: "ReadCapacityUnits WriteCapacityUnits", state: kept, note: limitsNothing},
		{at: "GlobalSecondaryIndexUpdates.Update.WarmThroughput", has: "ReadUnitsPerSecond WriteUnitsPerSecond", state: kept, note: limitsNothing},
		{at: "GlobalTableSettingsReplicationMode", only: `"DISABLED"`, note: "there are no global tables of several accounts"},
		{at: "GlobalTableWitnessUpdates", state: refused, note: noWitness},
		{at: "MultiRegionConsistency", only: `"EVENTUAL"`, note: noWitness},
		{at: "OnDemandThroughput", has: "MaxReadRequestUnits MaxWriteRequestUnits", state: kept, note: limitsNothing},
		{at: "ProvisionedThroughput", has: "ReadCapacityUnits WriteCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates", has: "Create Delete Disassociate Update"},
		{at: "ReplicaUpdates.Create", has: "RegionName"},
		{at: "ReplicaUpdates.Create.GlobalSecondaryIndexes", has: "IndexName"},
		{at: "ReplicaUpdates.Create.GlobalSecondaryIndexes.OnDemandThroughputOverride", has: "MaxReadRequestUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Create.GlobalSecondaryIndexes.ProvisionedThroughputOverride", has: "ReadCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Create.KMSMasterKeyId", state: refused, note: noEncryption},
		{at: "ReplicaUpdates.Create.OnDemandThroughputOverride", has: "MaxReadRequestUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Create.ProvisionedThroughputOverride", has: "ReadCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Create.TableClassOverride", state: kept},
		{at: "ReplicaUpdates.Delete", has: "RegionName"},
		{at: "ReplicaUpdates.Disassociate", has: "DisassociationMode RegionName"},
		{at: "ReplicaUpdates.Update", has: "RegionName"},
		{at: "ReplicaUpdates.Update.GlobalSecondaryIndexes", has: "IndexName"},
		{at: "ReplicaUpdates.Update.GlobalSecondaryIndexes.OnDemandThroughputOverride", has: "MaxReadRequestUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Update.GlobalSecondaryIndexes.ProvisionedThroughputOverride", has: "ReadCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Update.KMSMasterKeyId", state: refused, note: noEncryption},
		{at: "ReplicaUpdates.Update.OnDemandThroughputOverride", has: "MaxReadRequestUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Update.ProvisionedThroughputOverride", has: "ReadCapacityUnits", state: kept, note: limitsNothing},
		{at: "ReplicaUpdates.Update.TableClassOverride", state: kept},
		{at: "SSESpecification"},
		{at: "SSESpecification.Enabled", only: "false", note: noEncryption},
		{at: "SSESpecification.KMSMasterKeyId", state: refused, note: noEncryption},
		{at: "SSESpecification.SSEType", state: refused, note: noEncryption},
		{at: "StreamSpecification", has: "StreamEnabled StreamViewType"},
		{at: "TableClass", state: kept},
		{at: "TableName"},
		{at: "VectorIndexUpdates", state: refused, note: noVectors},
		{at: "WarmThroughput", has: "ReadUnitsPerSecond WriteUnitsPerSecond", state: kept, note: limitsNothing},
	},
}

// refusal is a node in the tree of an operation's refused parameters: what is refused where it lies in a request, and below it. Its root is the request.
type refusal struct {
	at    string // of a parameter that is refused; empty: none is here
	only  string // the value, as JSON, that is not; empty: all are
	why   string // empty: for no reason that is told
	below map[string]*refusal
}

// refusals returns the tree of what rows refuse; nil if that is nothing.
func refusals(rows []parameter) *refusal {
	var root *refusal
	for _, row := range rows {
		if row.state != refused && row.only == "" {
			continue
		}
		if root == nil {
			root = &refusal{}
		}
		at := root
		for _, name := range strings.Split(row.at, ".") {
			if at.below == nil {
				at.below = map[string]*refusal{}
			}
			if at.below[name] == nil {
				at.below[name] = &refusal{}
			}
			at = at.below[name]
		}
		at.at, at.only, at.why = row.at, row.only, strings.ReplaceAll(row.note, "`", "")
	}
	return root
}

// refuse returns an error if v, a request or a part of one, has a parameter that is refused. Of parameters that are given twice each is looked at.
func (r *refusal) refuse(v *fastjson.Value) (err error) {
	if r == nil || !given(v) {
		return nil
	}
	if r.at != "" {
		return r.whole(v)
	}
	switch v.Type() {
	case fastjson.TypeArray:
		for _, e := range v.GetArray() {
			if err = r.refuse(e); err != nil {
				break
			}
		}
	case fastjson.TypeObject:
		any := r.below["*"]
		v.GetObject().Visit(func(name []byte, e *fastjson.Value) {
			switch {
			case err != nil:
			case any != nil:
				err = any.refuse(e)
			default:
				err = r.below[string(name)].refuse(e)
			}
		})
	}
	return err
}

// whole is refuse for a parameter that is refused itself.
func (r *refusal) whole(v *fastjson.Value) error {
	if r.only == "" {
		return notOffered(r.at, r.why)
	}
	switch v.Type() {
	case fastjson.TypeString, fastjson.TypeTrue, fastjson.TypeFalse:
		if value := string(v.MarshalTo(nil)); value != r.only {
			return notOffered(r.at+" "+strings.Trim(value, `"`), r.why)
		}
	}
	return nil // of a wrong type: the decoder says so
}
