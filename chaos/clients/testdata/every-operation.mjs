// A program as applications write them, with the AWS SDK for JavaScript v3: it does every operation that is offered, in one region of two, and looks at the answers.
// It is called with the two regions' names and endpoints: node every-operation.mjs NAME URL NAME URL.
import assert from "node:assert/strict";
import * as dynamodb from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, GetCommand, PutCommand, QueryCommand, UpdateCommand, paginateScan } from "@aws-sdk/lib-dynamodb";

const [region, endpoint, otherRegion, otherEndpoint] = process.argv.slice(2);
const options = (region, endpoint) => ({ region, endpoint, credentials: { accessKeyId: "app", secretAccessKey: "secret" } });
const here = new dynamodb.DynamoDBClient(options(region, endpoint));
const there = new dynamodb.DynamoDBClient(options(otherRegion, otherEndpoint));

const done = new Set();
// send does one operation of the SDK by its name.
async function send(name, input, client = here) {
  done.add(name);
  return client.send(new dynamodb[`${name}Command`](input));
}
// refused sees an operation fail as it should.
async function refused(name, input, exception, message, client = here) {
  done.add(name);
  await assert.rejects(client.send(new dynamodb[`${name}Command`](input)), (e) => {
    assert.equal(e.name, exception, `${name}: ${e.name}: ${e.message}`);
    if (message) assert.match(e.message, message);
    return true;
  });
}

// eventually waits for what another region does.
async function eventually(what, check) {
  for (const limit = Date.now() + 60_000; ; await new Promise((go) => setTimeout(go, 20))) {
    if (await check()) return;
    assert.ok(Date.now() < limit, `not within a minute: ${what}`);
  }
}

const S = (v) => ({ S: v });
const N = (v) => ({ N: String(v) });
const TableName = "orders";
const wait = { client: here, minDelay: 1, maxDelay: 1, maxWaitTime: 60 };

async function tables() {
  const made = await send("CreateTable", {
    TableName, BillingMode: "PAY_PER_REQUEST",
    AttributeDefinitions: ["customer", "status"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })).concat([{ AttributeName: "number", AttributeType: "N" }]),
    KeySchema: [{ AttributeName: "customer", KeyType: "HASH" }, { AttributeName: "number", KeyType: "RANGE" }],
    GlobalSecondaryIndexes: [{ IndexName: "by-status", KeySchema: [{ AttributeName: "status", KeyType: "HASH" }, { AttributeName: "number", KeyType: "RANGE" }], Projection: { ProjectionType: "ALL" } }],
    LocalSecondaryIndexes: [{ IndexName: "by-own-status", KeySchema: [{ AttributeName: "customer", KeyType: "HASH" }, { AttributeName: "status", KeyType: "RANGE" }], Projection: { ProjectionType: "KEYS_ONLY" } }],
    Tags: [{ Key: "team", Value: "shop" }],
  });
  assert.ok(made.TableDescription.TableArn.endsWith(`table/${TableName}`));
  await dynamodb.waitUntilTableExists(wait, { TableName });
  const { Table } = await send("DescribeTable", { TableName });
  assert.equal(Table.TableStatus, "ACTIVE");
  assert.deepEqual(Table.GlobalSecondaryIndexes.map((i) => [i.IndexName, i.IndexStatus]), [["by-status", "ACTIVE"]]);
  assert.deepEqual((await send("ListTables", {})).TableNames, [TableName]);
  await refused("CreateTable", { TableName, BillingMode: "PAY_PER_REQUEST", AttributeDefinitions: [{ AttributeName: "a", AttributeType: "S" }], KeySchema: [{ AttributeName: "a", KeyType: "HASH" }] },
    "ResourceInUseException", /Table already exists/);

  const ResourceArn = Table.TableArn;
  await send("TagResource", { ResourceArn, Tags: [{ Key: "stage", Value: "test" }] });
  await send("UntagResource", { ResourceArn, TagKeys: ["team"] });
  assert.deepEqual((await send("ListTagsOfResource", { ResourceArn })).Tags, [{ Key: "stage", Value: "test" }]);

  await send("UpdateTimeToLive", { TableName, TimeToLiveSpecification: { AttributeName: "expires", Enabled: true } });
  assert.equal((await send("DescribeTimeToLive", { TableName })).TimeToLiveDescription.AttributeName, "expires");
  assert.ok((await send("DescribeLimits", {})).TableMaxReadCapacityUnits > 0);
  assert.ok((await send("DescribeEndpoints", {})).Endpoints.length > 0);

  await send("UpdateTable", { TableName, ReplicaUpdates: [{ Create: { RegionName: otherRegion } }] });
  await dynamodb.waitUntilTableExists({ ...wait, client: there }, { TableName });
  await eventually("the replica is active", async () => (await send("DescribeTable", { TableName })).Table.Replicas?.every((r) => r.ReplicaStatus === "ACTIVE"));
}

const order = (customer, number, more = {}) => ({ customer: S(customer), number: N(number), ...more });

async function items() {
  await send("PutItem", { TableName, Item: order("ada", 1, { status: S("open"), goods: { L: [{ M: { sku: S("x-1"), count: N(2) } }] } }) });
  await refused("PutItem", { TableName, Item: order("ada", 1), ConditionExpression: "attribute_not_exists(customer)", ReturnValuesOnConditionCheckFailure: "ALL_OLD" }, "ConditionalCheckFailedException");
  const updated = await send("UpdateItem", {
    TableName, Key: order("ada", 1), UpdateExpression: "SET #s = :paid, goods[0].#c = goods[0].#c + :one ADD tags :t REMOVE obsolete",
    ConditionExpression: "#s = :open AND size(goods) = :one", ExpressionAttributeNames: { "#s": "status", "#c": "count" },
    ExpressionAttributeValues: { ":paid": S("paid"), ":open": S("open"), ":one": N(1), ":t": { SS: ["gift"] } }, ReturnValues: "ALL_NEW",
  });
  assert.deepEqual(updated.Attributes, order("ada", 1, { status: S("paid"), goods: { L: [{ M: { sku: S("x-1"), count: N(3) } }] }, tags: { SS: ["gift"] } }));
  const got = await send("GetItem", { TableName, Key: order("ada", 1), ProjectionExpression: "goods[0].sku, #s", ExpressionAttributeNames: { "#s": "status" }, ConsistentRead: true });
  assert.deepEqual(got.Item, { status: S("paid"), goods: { L: [{ M: { sku: S("x-1") } }] } });

  const puts = Array.from({ length: 25 }, (_, i) => ({ PutRequest: { Item: order("bob", i, { status: S(i % 2 ? "open" : "paid"), price: N(i * 1.5) }) } }));
  assert.deepEqual((await send("BatchWriteItem", { RequestItems: { [TableName]: puts } })).UnprocessedItems, {});
  const batch = await send("BatchGetItem", { RequestItems: { [TableName]: { Keys: [order("bob", 3), order("bob", 99)], ProjectionExpression: "price" } } });
  assert.deepEqual(batch.Responses, { [TableName]: [{ price: N(4.5) }] });

  const page = await send("Query", { TableName, KeyConditionExpression: "customer = :c AND #n BETWEEN :a AND :b", FilterExpression: "price > :t", ExpressionAttributeNames: { "#n": "number" },
    ExpressionAttributeValues: { ":c": S("bob"), ":a": N(5), ":b": N(15), ":t": N(12) }, ScanIndexForward: false, Limit: 4, ReturnConsumedCapacity: "INDEXES" });
  assert.deepEqual([page.Items.map((i) => i.number.N), page.Count, page.ScannedCount, page.LastEvaluatedKey], [["15", "14", "13", "12"], 4, 4, order("bob", 12)]);
  const open = await send("Query", { TableName, IndexName: "by-status", KeyConditionExpression: "#s = :s", ExpressionAttributeNames: { "#s": "status" }, ExpressionAttributeValues: { ":s": S("open") }, Select: "COUNT" });
  assert.equal(open.Count, 12);
  const local = await send("Query", { TableName, IndexName: "by-own-status", KeyConditionExpression: "customer = :c AND begins_with(#s, :s)", ExpressionAttributeNames: { "#s": "status" },
    ExpressionAttributeValues: { ":c": S("bob"), ":s": S("pa") }, ConsistentRead: true });
  assert.deepEqual(local.Items[0], order("bob", local.Items[0].number.N, { status: S("paid") }));
  let scanned = 0;
  for (let Segment = 0; Segment < 3; Segment++) {
    scanned += (await send("Scan", { TableName, Segment, TotalSegments: 3, FilterExpression: "attribute_exists(price)" })).Count;
  }
  assert.equal(scanned, 25);
  assert.deepEqual((await send("DeleteItem", { TableName, Key: order("bob", 24), ReturnValues: "ALL_OLD" })).Attributes, order("bob", 24, { status: S("paid"), price: N(36) }));
}

async function transactions() {
  const TransactItems = [
    { Put: { TableName, Item: order("eve", 1, { status: S("open") }), ConditionExpression: "attribute_not_exists(customer)" } },
    { Update: { TableName, Key: order("bob", 1), UpdateExpression: "SET seen = :y", ExpressionAttributeValues: { ":y": { BOOL: true } } } },
    { Delete: { TableName, Key: order("bob", 2) } },
    { ConditionCheck: { TableName, Key: order("ada", 1), ConditionExpression: "attribute_exists(customer)" } },
  ];
  await send("TransactWriteItems", { TransactItems, ClientRequestToken: "once" });
  await send("TransactWriteItems", { TransactItems, ClientRequestToken: "once" }); // does nothing again
  await assert.rejects(send("TransactWriteItems", { TransactItems }), (e) => {
    assert.deepEqual([e.name, e.CancellationReasons.map((r) => r.Code)], ["TransactionCanceledException", ["ConditionalCheckFailed", "None", "None", "None"]]);
    return true;
  });
  const read = await send("TransactGetItems", { TransactItems: [{ Get: { TableName, Key: order("eve", 1) } }, { Get: { TableName, Key: order("bob", 2) } }] });
  assert.deepEqual(read.Responses.map((r) => r.Item), [order("eve", 1, { status: S("open") }), undefined]);
}

async function statements() {
  await send("ExecuteStatement", { Statement: `INSERT INTO "${TableName}" VALUE {'customer': ?, 'number': ?, 'status': 'open'}`, Parameters: [S("zoe"), N(1)] });
  const selected = await send("ExecuteStatement", { Statement: `SELECT * FROM "${TableName}" WHERE customer = ?`, Parameters: [S("zoe")] });
  assert.deepEqual(selected.Items, [order("zoe", 1, { status: S("open") })]);
  const batch = await send("BatchExecuteStatement", { Statements: [
    { Statement: `UPDATE "${TableName}" SET "status" = 'paid' WHERE customer = 'zoe' AND "number" = 1` },
    { Statement: `DELETE FROM "${TableName}" WHERE customer = 'nobody'` },
  ] });
  assert.deepEqual(batch.Responses.map((r) => r.Error?.Code), [undefined, "ValidationError"]);
  await send("ExecuteTransaction", { TransactStatements: [
    { Statement: `UPDATE "${TableName}" SET "status" = 'sent' WHERE customer = 'zoe' AND "number" = 1` },
    { Statement: `INSERT INTO "${TableName}" VALUE {'customer': 'zoe', 'number': 2}` },
  ] });
}

// documents does a few things as most programs do, with plain values.
async function documents() {
  const db = DynamoDBDocumentClient.from(here);
  await db.send(new PutCommand({ TableName, Item: { customer: "max", number: 1, nested: { list: [1, "two", null, true, new Set(["a"])] }, bytes: new Uint8Array([0, 255]) } }));
  const { Item } = await db.send(new GetCommand({ TableName, Key: { customer: "max", number: 1 } }));
  assert.deepEqual(Item, { customer: "max", number: 1, nested: { list: [1, "two", null, true, new Set(["a"])] }, bytes: new Uint8Array([0, 255]) });
  const { Attributes } = await db.send(new UpdateCommand({ TableName, Key: { customer: "max", number: 1 }, UpdateExpression: "SET visits = if_not_exists(visits, :zero) + :one",
    ExpressionAttributeValues: { ":zero": 0, ":one": 1 }, ReturnValues: "UPDATED_NEW" }));
  assert.deepEqual(Attributes, { visits: 1 });
  const { Items } = await db.send(new QueryCommand({ TableName, KeyConditionExpression: "customer = :c", ExpressionAttributeValues: { ":c": "max" } }));
  assert.equal(Items.length, 1);
  let all = 0;
  for await (const page of paginateScan({ client: db, pageSize: 7 }, { TableName })) all += page.Items.length;
  assert.ok(all > 25, `${all} items`);
}

async function replicas() {
  await eventually("the other region has everything", async () => {
    const [a, b] = [await send("Scan", { TableName, Select: "COUNT" }), await send("Scan", { TableName, Select: "COUNT" }, there)];
    return a.Count === b.Count;
  });
  await refused("DescribeGlobalTable", { GlobalTableName: "nothing" }, "GlobalTableNotFoundException");
  assert.ok(Array.isArray((await send("ListGlobalTables", {})).GlobalTables));
}

async function clean() {
  await send("UpdateTable", { TableName, ReplicaUpdates: [{ Delete: { RegionName: otherRegion } }] });
  await eventually("the replica is gone", async () => !(await send("DescribeTable", { TableName })).Table.Replicas?.length);
  await send("DeleteTable", { TableName });
  await dynamodb.waitUntilTableNotExists(wait, { TableName });
  await refused("GetItem", { TableName, Key: order("ada", 1) }, "ResourceNotFoundException");
}

for (const part of [tables, items, transactions, statements, documents, replicas, clean]) {
  console.log(part.name);
  await part();
}
// Every other operation that the SDK knows is refused by its name, and nothing hangs or breaks the connection.
const others = Object.keys(dynamodb).filter((k) => k.endsWith("Command") && k !== "$Command").map((k) => k.slice(0, -"Command".length)).filter((k) => !done.has(k));
for (const name of others) {
  await assert.rejects(here.send(new dynamodb[`${name}Command`]({})), (e) => {
    assert.ok(e.$metadata?.httpStatusCode >= 400 && e.$metadata.httpStatusCode < 500, `${name}: ${e}`);
    return true;
  });
}
console.log(`${done.size} operations done, ${others.length} refused`);
here.destroy();
there.destroy();
