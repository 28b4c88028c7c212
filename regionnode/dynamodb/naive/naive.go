// Package naive is DynamoDB as its documentation describes it, in memory, for tests: the examiner of regionnode/dynamodb. The differential test sends the same
// requests to both and compares the answers.
//
// It is written to be obviously right, and to share no mistake with what it examines: it imports nothing of this module. A request is a tree of
// encoding/json, a number a big.Rat, an item a map, a partition a sorted slice; an expression is parsed and evaluated anew for each request by a
// recursive function. Nothing is fast, nothing is concurrent.
//
// A request goes through the steps that DynamoDB's documentation and answers show:
//
//	shape        JSON of wrong types: SerializationException (shape.go)
//	constraints  of single parameters, all of them in one message: "2 validation errors detected: …" (shape.go)
//	combination  what the parameters say together, values, expressions (items.go, query.go, …)
//	table        ResourceNotFoundException
//	keys         and all else that needs the table's schema
//	state        conditions, sizes, and the answer
//
// What DynamoDB leaves open, the examiner is told, or leaves open too: Config.Hash has the order of partitions in a scan, and an Answer may
// list several messages of which the examined may choose.
package naive

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Config says what the documentation leaves open.
type Config struct {
	Region  string // the name in ARNs
	Account string // the number in ARNs
	// Now is the time that expiry and timestamps look at.
	Now func() time.Time
	// TimeToLiveLead is how long a change of a time to live takes to come into force.
	TimeToLiveLead time.Duration
	// Hash places a partition, given by the partition key's values in the form {"S": "a"}, among the others: a scan goes by ascending hash, and
	// segment i of n has the hashes from 2^64*i/n on.
	Hash func(partition []any) uint64
}

// DB is a region of DynamoDB. It is not safe for concurrent use.
type DB struct {
	config Config
	tables map[string]*table
	tokens map[string]answered   // of transactions, by client request token
	places map[string]tokenPlace // of SELECTs, by NextToken
}

// New returns a region without tables.
func New(c Config) *DB {
	return &DB{config: c, tables: map[string]*table{}, tokens: map[string]answered{}, places: map[string]tokenPlace{}}
}

// Answer is what a request gets.
type Answer struct {
	Status int
	// Body is the answer's body; of an error without its type and message. It is nil where the answer is empty.
	Body map[string]any
	// Type is the exception's name, without prefix; empty when there is none.
	Type string
	// Messages has the message of an error. Where DynamoDB leaves open which of several faults it reports, it has all of them.
	Messages []string
	// Or has other answers that may come as well.
	Or []Answer
}

// Do does a request and returns its answer.
func (db *DB) Do(operation string, body []byte) Answer {
	out, err := db.do(operation, body)
	if err == nil {
		return Answer{Status: 200, Body: out}
	}
	return err.(*fault).answer()
}

func (f *fault) answer() Answer {
	a := Answer{Status: 400, Type: f.kind, Messages: f.messages(), Body: f.members}
	for _, other := range f.others {
		a.Or = append(a.Or, other.answer())
	}
	return a
}

// object is a JSON object whose shape has been checked: nothing in it is null.
type object = map[string]any

func (db *DB) do(operation string, body []byte) (object, error) {
	o, ok := operations()[operation]
	if !ok {
		return nil, &fault{kind: "UnknownOperationException"}
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, &fault{kind: "SerializationException"}
	}
	p, isObject := v.(object)
	if !isObject {
		return nil, &fault{kind: "SerializationException"}
	}
	var c checker
	checked := c.check(o.input, p, "")
	if err := c.verdict(); err != nil {
		return nil, err
	}
	db.sweep()
	return o.run(db, checked.(object))
}

// operation is what a request can ask for.
type operation struct {
	input *shape
	run   func(db *DB, p object) (object, error)
}

// Operations returns the names of the operations that the examiner knows, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations())) }

func operations() map[string]operation {
	return map[string]operation{
		"PutItem":               {putItemInput, (*DB).putItem},
		"GetItem":               {getItemInput, (*DB).getItem},
		"DeleteItem":            {deleteItemInput, (*DB).deleteItem},
		"UpdateItem":            {updateItemInput, (*DB).updateItem},
		"Query":                 {queryInput, (*DB).query},
		"Scan":                  {scanInput, (*DB).scan},
		"BatchGetItem":          {batchGetItemInput, (*DB).batchGetItem},
		"BatchWriteItem":        {batchWriteItemInput, (*DB).batchWriteItem},
		"TransactGetItems":      {transactGetItemsInput, (*DB).transactGetItems},
		"TransactWriteItems":    {transactWriteItemsInput, (*DB).transactWriteItems},
		"ExecuteStatement":      {executeStatementInput, (*DB).executeStatement},
		"BatchExecuteStatement": {batchExecuteStatementInput, (*DB).batchExecuteStatement},
		"ExecuteTransaction":    {executeTransactionInput, (*DB).executeTransaction},
		"CreateTable":           {createTableInput, (*DB).createTable},
		"UpdateTable":           {updateTableInput, (*DB).updateTable},
		"DescribeTable":         {tableNameInput, (*DB).describeTable},
		"DeleteTable":           {tableNameInput, (*DB).deleteTable},
		"ListTables":            {listTablesInput, (*DB).listTables},
		"UpdateTimeToLive":      {updateTimeToLiveInput, (*DB).updateTimeToLive},
		"DescribeTimeToLive":    {tableNameInput, (*DB).describeTimeToLive},
		"TagResource":           {tagResourceInput, (*DB).tagResource},
		"UntagResource":         {untagResourceInput, (*DB).untagResource},
		"ListTagsOfResource":    {listTagsInput, (*DB).listTagsOfResource},
		"ListStreams":           {listStreamsInput, (*DB).listStreams},
		"DescribeStream":        {describeStreamInput, (*DB).describeStream},
		"GetShardIterator":      {getShardIteratorInput, (*DB).getShardIterator},
		"GetRecords":            {getRecordsInput, (*DB).getRecords},
	}
}
