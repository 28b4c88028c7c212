package dynamodb_test

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/concordat-db/concordat/regionnode/dynamodb/naive"
)

// Shards, sequence numbers and iterators are each side's own, so a step of the differential test reads the streams of a table as a client does, on each side with what that side gave, and compares what was read.

func (g *generator) listStreams() step {
	body := tree{}
	if g.rarely(2) {
		body["TableName"] = g.tables[g.IntN(len(g.tables))].name
	}
	if g.rarely(3) {
		body["Limit"] = one(g, 1, 2, 100)
	}
	if g.rarely(6) {
		body["ExclusiveStartStreamArn"] = g.streamARN()
	}
	if g.spoil(2) {
		body["Limit"] = one(g, 0, 101, -1)
	}
	return step{body: body}
}

// streamARN is that of no stream: labels are times.
func (g *generator) streamARN() string {
	t := g.tables[g.IntN(len(g.tables))]
	return "arn:aws:dynamodb:" + one(g, testRegion, testRegion, "us-east-1") + ":000000000000:table/" + t.name + one(g, "/stream/2023-11-14T22:13:23.000", "/stream/2023-11-14T22:13:23.000", "", "/stream/now")
}

const noShard = "shardId-00000001700000003000-00000000"

func (g *generator) describeStream() step {
	body := tree{"StreamArn": g.streamARN()}
	if g.rarely(3) {
		body["Limit"] = one(g, 1, 100)
	}
	if g.rarely(3) {
		body["ExclusiveStartShardId"] = noShard
	}
	if g.rarely(3) {
		body["ShardFilter"] = one(g, tree{"Type": "CHILD_SHARDS", "ShardId": noShard}, tree{"Type": "CHILD_SHARDS"}, tree{"ShardId": noShard}, tree{"Type": "PARENTS", "ShardId": "x"})
	}
	if g.spoil(2) {
		body[one(g, "Limit", "ExclusiveStartShardId")] = one[any](g, 0, 101, "x")
	}
	return step{body: body}
}

func (g *generator) getShardIterator() step {
	kind := one(g, "TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")
	body := tree{"StreamArn": g.streamARN(), "ShardId": noShard, "ShardIteratorType": kind}
	if (kind == "AT_SEQUENCE_NUMBER" || kind == "AFTER_SEQUENCE_NUMBER") != g.rarely(10) {
		body["SequenceNumber"] = "100000000000000000001"
	}
	if g.spoil(2) {
		body[one(g, "ShardId", "SequenceNumber", "ShardIteratorType")] = one(g, "x", padded(66))
	}
	return step{body: body}
}

// getRecords reads the streams of a table, mostly.
func (g *generator) getRecords() step {
	if g.spoil(2) {
		return step{body: tree{"ShardIterator": one(g, "x", "", padded(100)), "Limit": one(g, 1, 0, 1000)}}
	}
	return step{reads: g.tables[g.IntN(len(g.tables))].name, limit: one(g, 1, 3, 10, 1000)}
}

// compareStreams reads all streams of a table on both sides and returns how they differ.
func (p *pair) compareStreams(t *testing.T, s step, answers map[string]int) string {
	p.clock.advance(time.Millisecond)
	list := tree{"TableName": s.reads}
	want := p.examiner.Do("ListStreams", []byte(jsonOf(list)))
	listed, difference := compareAnswers(p.post("ListStreams", jsonOf(list)), want)
	if difference != "" || want.Type != "" {
		return difference
	}
	for _, e := range listed["Streams"].([]any) {
		arn := e.(map[string]any)["StreamArn"].(string)
		described := p.examiner.Do("DescribeStream", []byte(jsonOf(tree{"StreamArn": arn})))
		if described.Type != "" && want.Body["Streams"] == any(naive.Anything) {
			continue // which old ones have something is left open
		}
		records, difference := p.compareStream(t, arn, s.limit, described)
		if difference != "" {
			return arn + ": " + difference
		}
		if answers != nil {
			answers["stream records"] += records
		}
	}
	return ""
}

// compareStream compares one stream and returns how many records were the same; want is the examiner's description of it.
func (p *pair) compareStream(t *testing.T, arn string, limit int, want naive.Answer) (records int, difference string) {
	got := p.post("DescribeStream", jsonOf(tree{"StreamArn": arn}))
	var shown, expected []any
	if want.Type == "" {
		d := maps.Clone(want.Body["StreamDescription"].(map[string]any))
		expected = d["Shards"].([]any)
		d["Shards"] = naive.Anything
		want.Body = map[string]any{"StreamDescription": d}
	}
	described, difference := compareAnswers(got, want)
	if difference != "" || want.Type != "" {
		return 0, difference
	}
	shown, _ = described["StreamDescription"].(map[string]any)["Shards"].([]any)
	told := readShards(shown, arn, limit, func(operation string, body tree) map[string]any {
		a := p.post(operation, jsonOf(body))
		var decoded map[string]any
		if err := json.Unmarshal([]byte(a.body), &decoded); err != nil || a.status != 200 {
			t.Fatalf("%s %s: %d %s", operation, jsonOf(body), a.status, a.body)
		}
		return decoded
	})
	wanted := readShards(expected, arn, limit, func(operation string, body tree) map[string]any {
		a := p.examiner.Do(operation, []byte(jsonOf(body)))
		if a.Type != "" {
			t.Fatalf("%s %s: %v", operation, jsonOf(body), a)
		}
		return a.Body
	})
	if wanted == nil {
		return 0, "" // left open
	}
	return len(told), differenceOf("", byKey(told), byKey(wanted))
}

// readShards reads shards to where they have nothing more, one after the other; nil: what they have is left open.
func readShards(shards []any, arn string, limit int, ask func(operation string, body tree) map[string]any) []any {
	out := []any{}
	for _, s := range shards {
		it := ask("GetShardIterator", tree{"StreamArn": arn, "ShardId": s.(map[string]any)["ShardId"], "ShardIteratorType": "TRIM_HORIZON"})["ShardIterator"]
		for it != nil {
			page := ask("GetRecords", tree{"ShardIterator": it, "Limit": limit})
			records, ok := page["Records"].([]any)
			if !ok {
				return nil
			}
			if out = append(out, records...); len(records) == 0 {
				break
			}
			it = page["NextShardIterator"]
		}
	}
	return out
}

// byKey returns the records of each key, in order: between keys of one transaction there is none.
func byKey(records []any) map[string]any {
	out := map[string]any{}
	for _, r := range records {
		key := jsonOf(r.(map[string]any)["dynamodb"].(map[string]any)["Keys"])
		list, _ := out[key].([]any)
		out[key] = append(list, r)
	}
	return out
}
