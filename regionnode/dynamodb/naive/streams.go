package naive

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

var (
	streamArn = within(37, 1024, text)
	shardID   = within(28, 65, text)

	listStreamsInput    = structure("ListStreamsInput", optional("TableName", tableName), optional("Limit", within(1, 100, &shape{kind: "integer"})), optional("ExclusiveStartStreamArn", streamArn))
	describeStreamInput = structure("DescribeStreamInput", required("StreamArn", streamArn), optional("Limit", within(1, 100, &shape{kind: "integer"})), optional("ExclusiveStartShardId", shardID),
		optional("ShardFilter", structure("ShardFilter", optional("Type", enum("CHILD_SHARDS")), optional("ShardId", shardID))))
	getShardIteratorInput = structure("GetShardIteratorInput", required("StreamArn", streamArn), required("ShardId", shardID),
		required("ShardIteratorType", enum("TRIM_HORIZON, LATEST, AT_SEQUENCE_NUMBER, AFTER_SEQUENCE_NUMBER, AT_TIMESTAMP")), optional("SequenceNumber", within(21, 40, text)))
	getRecordsInput = structure("GetRecordsInput", required("ShardIterator", within(1, 2048, text)), optional("Limit", within(1, -1, &shape{kind: "integer"})))
)

// stream is what a table's stream has told. It is one shard; into how many DynamoDB divides it is left open.
type stream struct {
	label   string
	since   time.Time
	view    string
	on      bool
	records []any
}

const labelForm = "2006-01-02T15:04:05.000"

// stream1 is the id of the one shard of every stream.
const stream1 = "shardId-00000000000000000001-naive"

// turnStream switches the table's stream on or off; an empty view is off. No two streams of a table have the same label.
func (t *table) turnStream(view string, now time.Time) {
	t.streams = slices.Clone(t.streams)
	n := len(t.streams)
	if view == "" {
		last := *t.streams[n-1]
		last.on = false
		t.streams[n-1] = &last
		return
	}
	if n > 0 && !now.After(t.streams[n-1].since) {
		now = t.streams[n-1].since.Add(time.Millisecond)
	}
	t.streams = append(t.streams, &stream{label: now.UTC().Format(labelForm), since: now, view: view, on: true})
}

// view is what the table's stream shows; empty: it is off.
func (t *table) view() string {
	if n := len(t.streams); n > 0 && t.streams[n-1].on {
		return t.streams[n-1].view
	}
	return ""
}

// tell puts a record of a change into the stream, if that is on and the change is one.
func (db *DB) tell(t *table, key, old, now item) {
	view := t.view()
	if view == "" || same(old, now) {
		return
	}
	s := t.streams[len(t.streams)-1]
	record := object{"ApproximateCreationDateTime": db.config.Now().Unix(), "Keys": key.encode(), "SequenceNumber": Anything, "StreamViewType": view}
	size := key.size()
	if old != nil && (view == "OLD_IMAGE" || view == "NEW_AND_OLD_IMAGES") {
		record["OldImage"] = old.encode()
		size += old.size()
	}
	if now != nil && (view == "NEW_IMAGE" || view == "NEW_AND_OLD_IMAGES") {
		record["NewImage"] = now.encode()
		size += now.size()
	}
	record["SizeBytes"] = size
	name := "MODIFY"
	switch {
	case old == nil:
		name = "INSERT"
	case now == nil:
		name = "REMOVE"
	}
	s.records = append(s.records, object{"eventID": Anything, "eventName": name, "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": db.config.Region, "dynamodb": record})
}

func same(a, b item) bool {
	if (a == nil) != (b == nil) || len(a) != len(b) {
		return false
	}
	for name, v := range a {
		if other, ok := b[name]; !ok || !equal(v, other) {
			return false
		}
	}
	return true
}

func (db *DB) streamArn(t *table, s *stream) string { return db.arn(t) + "/stream/" + s.label }

// kept returns the streams of t that can be read, the oldest first: the newest one, and those of before in which something was told. (DynamoDB has the others for a day, too; there is nothing to be read.)
func (t *table) kept() (out []*stream) {
	for i, s := range t.streams {
		if i == len(t.streams)-1 || len(s.records) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// listStreams lists the streams of tables that there are. Those of deleted tables DynamoDB keeps for a day; here they are gone.
func (db *DB) listStreams(p object) (object, error) {
	names := slices.Sorted(maps.Keys(db.tables))
	if name, ok := p["TableName"].(string); ok {
		if names = []string{name}; db.tables[name] == nil {
			return nil, notFound("Requested resource not found: Table: %s not found", name)
		}
	}
	after, given := p["ExclusiveStartStreamArn"].(string)
	if given && (!isStreamArn(after) || !strings.Contains(after, ":"+db.config.Region+":")) {
		return nil, invalid("Invalid ExclusiveStartStreamArn…")
	}
	limit, ok := p["Limit"].(int64)
	if !ok {
		limit = 100
	}
	list, out := []any{}, object{}
	for _, name := range names {
		t := db.tables[name]
		if t.swept { // what expired, and was told, is left open, and with it which streams have something
			return object{"Streams": Anything, "LastEvaluatedStreamArn": Open}, nil
		}
		for _, s := range t.kept() {
			arn := db.streamArn(t, s)
			switch {
			case given && arn <= after: // of two tables of which one's name begins with the other's the order is another one; there are none here
			case int64(len(list)) == limit:
				out["LastEvaluatedStreamArn"] = list[len(list)-1].(object)["StreamArn"]
			case int64(len(list)) < limit:
				list = append(list, object{"StreamArn": arn, "TableName": name, "StreamLabel": s.label})
			}
		}
	}
	out["Streams"] = list
	return out, nil
}

func isStreamArn(arn string) bool {
	name, label, ok := strings.Cut(arn, "/stream/")
	_, err := time.Parse(labelForm, label)
	return ok && err == nil && strings.HasPrefix(name, "arn:aws:dynamodb:") && strings.Contains(name, ":table/")
}

// namedStream returns the stream that an ARN names.
func (db *DB) namedStream(arn string) (*table, *stream, error) {
	if !isStreamArn(arn) {
		return nil, nil, invalid("Invalid StreamArn…")
	}
	for _, t := range db.tables {
		for _, s := range t.kept() {
			if db.streamArn(t, s) == arn {
				return t, s, nil
			}
		}
	}
	return nil, nil, notFound("Requested resource not found: Stream: %s not found", arn)
}

func (db *DB) describeStream(p object) (object, error) {
	filter, given := p["ShardFilter"].(object)
	if given && (filter["Type"] == nil || filter["ShardId"] == nil) {
		return nil, invalid("…")
	}
	t, s, err := db.namedStream(p["StreamArn"].(string))
	if err != nil {
		return nil, err
	}
	if given || p["ExclusiveStartShardId"] != nil {
		return nil, notFound("Requested resource not found…") // the differential test sends ids of no shard
	}
	keys := []any{}
	for i, a := range t.keys.all() {
		keys = append(keys, object{"AttributeName": a.name, "KeyType": []string{"HASH", "RANGE"}[i]})
	}
	status := "DISABLED"
	if s.on {
		status = "ENABLED"
	}
	d := object{"StreamArn": p["StreamArn"], "StreamLabel": s.label, "StreamStatus": status, "StreamViewType": s.view, "CreationRequestDateTime": float64(s.since.UnixMilli()) / 1000, "TableName": t.name,
		"KeySchema": keys, "Shards": []any{object{"ShardId": stream1}}, "LastEvaluatedShardId": Open}
	if !s.on && len(s.records) == 0 {
		d["StreamViewType"] = Open
	}
	return object{"StreamDescription": d}, nil
}

func (db *DB) getShardIterator(p object) (object, error) {
	kind := p["ShardIteratorType"].(string)
	_, numbered := p["SequenceNumber"]
	if wants := kind == "AT_SEQUENCE_NUMBER" || kind == "AFTER_SEQUENCE_NUMBER"; wants != numbered || kind == "AT_TIMESTAMP" {
		return nil, invalid("…")
	}
	_, s, err := db.namedStream(p["StreamArn"].(string))
	if err != nil {
		return nil, err
	}
	if p["ShardId"] != stream1 {
		return nil, oneOf([]error{notFound("Requested resource not found: Shard does not exist"), invalid("…")})
	}
	at := 0
	if kind == "LATEST" {
		at = len(s.records)
	}
	return object{"ShardIterator": Token(fmt.Sprintf("%s %d", p["StreamArn"], at))}, nil
}

func (db *DB) getRecords(p object) (object, error) {
	limit, ok := p["Limit"].(int64)
	if !ok {
		limit = 1000
	}
	if limit > 1000 { // "GetRecords was called with a value of more than 1000 for the limit request parameter"
		return nil, &fault{kind: "LimitExceededException", message: "…"}
	}
	var arn string
	var at int
	if n, err := fmt.Sscanf(p["ShardIterator"].(string), "%s %d", &arn, &at); n != 2 || err != nil {
		return nil, invalid("Invalid ShardIterator…")
	}
	t, s, err := db.namedStream(arn)
	if err != nil {
		return nil, err
	}
	if t.swept { // when what has expired is told is left open
		return object{"Records": Anything, "NextShardIterator": Open}, nil
	}
	end := min(at+int(limit), len(s.records))
	out := object{"Records": s.records[at:end]}
	if s.on || end < len(s.records) {
		out["NextShardIterator"] = Token(fmt.Sprintf("%s %d", arn, end))
	}
	return out, nil
}
