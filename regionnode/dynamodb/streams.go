package dynamodb

import (
	"time"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
)

// The limits of requests on streams. The lengths are in bytes.
const (
	maxStreams     = 100 // listed by one answer
	maxShardsShown = 100

	minStreamARN, maxStreamARN = 37, 1024
	minShardID, maxShardID     = 28, 65
)

// stream is a change stream of a table of this region, as its clients see it.
type stream struct {
	commit.StreamState
	table *globaltable.Table
	// open says that the stream is on: there may be more records. status is DynamoDB's word.
	open   bool
	status string
}

// streams returns the streams of a table, the oldest first: the newest one of the replica here, be it on or off, and before it those of which the store has something.
func (s *Server) streams(t *globaltable.Table) (out []stream) {
	r := t.Replica(s.config.Origin)
	if r == nil {
		return nil
	}
	newest := cdc.Stream{Table: t.ID, Since: t.StreamSince(r)}
	for _, state := range s.config.Streams.Streams(t.ID) {
		if state.Since < newest.Since {
			out = append(out, stream{StreamState: state, table: t, status: "DISABLED"})
		}
	}
	if newest.Since == 0 {
		return out
	}
	x := stream{StreamState: s.config.Streams.Stream(newest), table: t, open: t.Stream.View != "", status: "DISABLED"}
	if x.open {
		x.View, x.status = t.Stream.View, "ENABLED"
		switch r.Status {
		case globaltable.Creating:
			x.status = "ENABLING"
		case globaltable.Deleting:
			x.status = "DISABLING"
		}
	}
	return append(out, x)
}

// streamOf returns one stream of a table.
func (s *Server) streamOf(t *globaltable.Table, since int64) (stream, bool) {
	for _, x := range s.streams(t) {
		if x.Since == since {
			return x, true
		}
	}
	return stream{}, false
}

// streamNamed returns the stream that an ARN names.
func (s *Server) streamNamed(given text) (stream, error) {
	region, name, since, ok := streamOfARN(string(given))
	if !ok {
		return stream{}, invalid("Invalid StreamArn: " + string(given))
	}
	if t, found := s.config.View().Lookup(name); found && region == s.config.Region {
		if x, ok := s.streamOf(t, since); ok {
			return x, nil
		}
	}
	return stream{}, streamNotFound(string(given))
}

func streamNotFound(arn string) *exception {
	return resourceNotFound("Requested resource not found: Stream: " + arn + " not found")
}

func (s *Server) arnOf(x *stream) string {
	return streamARN(s.config.Region, x.table.Name, globaltable.LabelOf(x.Since))
}

// shards returns the numbers of the first and the last shard that a stream has now; there is none if the last is less. There are so many as the table's retention has times of a shard, and two.
func (s *Server) shards(x *stream) (first, last int64) {
	now := s.config.Shard.Now()
	kept := hlc.FromTime(time.UnixMilli(max(0, now.Millis()-streamAge(x.table).Milliseconds())))
	first = shardAt(x.Stream, max(x.Trimmed, kept)+1)
	switch {
	case x.open:
		return first, shardAt(x.Stream, now)
	case x.Last == 0:
		return 0, -1
	}
	return first, shardAt(x.Stream, x.Last)
}

// settle makes what is known of x's past final: no record comes any more to a shard whose time is over, nor to a stream that is off.
func (s *Server) settle(x *stream) error {
	_, last := s.shards(x)
	if x.open && (last == 0 || s.config.Streams.StreamMark() >= shardNumbered(x.Stream, last).after) {
		return nil
	}
	if _, err := s.config.Streams.StreamMarkNow(s.base); err != nil {
		return err
	}
	view := x.View
	x.StreamState = s.config.Streams.Stream(x.Stream)
	x.View = view
	return nil
}

func (c *call) listStreams(p *fastjson.Object) error {
	var table, after text
	var limit integer
	err := each(p, func(name []byte, v *fastjson.Value) error {
		switch string(name) {
		case "TableName":
			return parseText(&table, v)
		case "ExclusiveStartStreamArn":
			return parseText(&after, v)
		case "Limit":
			return parseInteger(&limit, v, "Integer")
		}
		return nil
	})
	if err != nil {
		return err
	}
	var check constraints
	if table != nil {
		check.name(table, "tableName")
	}
	check.length(after, minStreamARN, maxStreamARN, "exclusiveStartStreamArn")
	check.atLeast(limit, 1, "limit")
	check.atMost(limit, maxStreams, "limit")
	if err := check.err(); err != nil {
		return err
	}
	from := streamPlace{}
	if after != nil {
		var region string
		var ok bool
		if region, from.table, from.since, ok = streamOfARN(string(after)); !ok || region != c.server.config.Region {
			return invalid("Invalid ExclusiveStartStreamArn: " + string(after))
		}
	}
	if !limit.given {
		limit.value = maxStreams
	}
	if table == nil {
		return c.answerStreams(c.server.streamsAfter(from, int(limit.value)+1), int(limit.value))
	}
	t, ok := c.server.config.View().Lookup(string(table))
	if !ok {
		return resourceNotFound("Requested resource not found: Table: " + string(table) + " not found")
	}
	return c.answerStreams(from.rest(c.server.streams(t)), int(limit.value))
}

// streamPlace is a place in the list of all streams, which goes by names of tables and then by age. The zero value is before all.
type streamPlace struct {
	table string
	since int64
}

// rest returns those of a table's streams that come after p.
func (p streamPlace) rest(of []stream) []stream {
	for i := range of {
		if name := of[i].table.Name; name > p.table || name == p.table && of[i].Since > p.since {
			return of[i:]
		}
	}
	return nil
}

// streamsAfter returns streams of all tables after a place, n of them at least if there are so many.
func (s *Server) streamsAfter(from streamPlace, n int) (out []stream) {
	view := s.config.View()
	if t, ok := view.Lookup(from.table); ok {
		out = from.rest(s.streams(t))
	}
	for last, more := from.table, true; more && len(out) < n; {
		var names []string
		if names, more = view.Names(last, maxStreams); len(names) == 0 {
			break
		}
		for _, name := range names {
			if t, ok := view.Lookup(name); ok {
				out = append(out, s.streams(t)...)
			}
		}
		last = names[len(names)-1]
	}
	return out
}

func (c *call) answerStreams(list []stream, limit int) error {
	b := append(c.out, `{"Streams":[`...)
	for i := range list[:min(limit, len(list))] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"StreamArn":`...)
		b = item.AppendJSONString(b, c.server.arnOf(&list[i]))
		b = append(b, `,"TableName":`...)
		b = item.AppendJSONString(b, list[i].table.Name)
		b = append(b, `,"StreamLabel":`...)
		b = append(item.AppendJSONString(b, globaltable.LabelOf(list[i].Since)), '}')
	}
	b = append(b, ']')
	if len(list) > limit {
		b = append(b, `,"LastEvaluatedStreamArn":`...)
		b = item.AppendJSONString(b, c.server.arnOf(&list[limit-1]))
	}
	c.out = append(b, '}')
	return nil
}

// shardsRequest has the parameters of DescribeStream.
type shardsRequest struct {
	arn, after text
	limit      integer
	filter     *fastjson.Object // nil: not given
	kind, of   text             // the filter
}

func (r *shardsRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "StreamArn":
		return parseText(&r.arn, v)
	case "ExclusiveStartShardId":
		return parseText(&r.after, v)
	case "Limit":
		return parseInteger(&r.limit, v, "Integer")
	case "ShardFilter":
		if err := parseObject(&r.filter, v, className("ShardFilter")); err != nil || r.filter == nil {
			return err
		}
		if err := parseText(&r.kind, r.filter.Get("Type")); err != nil {
			return err
		}
		return parseText(&r.of, r.filter.Get("ShardId"))
	}
	return nil
}

// check also checks what the parameters mean together.
func (r *shardsRequest) check() error {
	var check constraints
	check.arn(r.arn)
	check.atLeast(r.limit, 1, "limit")
	check.atMost(r.limit, maxShardsShown, "limit")
	check.length(r.after, minShardID, maxShardID, "exclusiveStartShardId")
	check.oneOf(r.kind, "shardFilter.type", "CHILD_SHARDS", "CHILD_SHARDS")
	check.length(r.of, minShardID, maxShardID, "shardFilter.shardId")
	if err := check.err(); err != nil {
		return err
	}
	if r.filter != nil && (r.kind == nil || r.of == nil) {
		return invalid("One or more parameter values were invalid: ShardFilter must have Type and ShardId")
	}
	return nil
}

// arn demands the ARN of a stream.
func (c *constraints) arn(v text) {
	if c.present(v != nil, "streamArn") {
		c.length(v, minStreamARN, maxStreamARN, "streamArn")
	}
}

func (c *call) describeStream(p *fastjson.Object) error {
	var r shardsRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	x, err := c.server.streamNamed(r.arn)
	if err != nil {
		return err
	}
	if err := c.server.settle(&x); err != nil {
		return err
	}
	oldest, newest := c.server.shards(&x)
	first, last := oldest, newest
	if r.filter != nil {
		parent, ok := shardWithID(x.Stream, string(r.of))
		if !ok {
			return shardNotFound()
		}
		first, last = max(first, parent.number+1), min(last, parent.number+1)
	}
	if r.after != nil {
		before, ok := shardWithID(x.Stream, string(r.after))
		if !ok {
			return shardNotFound()
		}
		first = max(first, before.number+1)
	}
	limit := int64(maxShardsShown)
	if r.limit.given {
		limit = r.limit.value
	}
	c.beginStream(&x)
	shown := min(last, first+limit-1)
	for n := first; n <= shown; n++ {
		if n > first {
			c.out = append(c.out, ',')
		}
		c.out = x.appendShard(c.out, n, n > oldest, n == newest)
	}
	c.out = append(c.out, ']')
	if shown < last {
		c.out = append(c.out, `,"LastEvaluatedShardId":`...)
		c.out = item.AppendJSONString(c.out, shardNumbered(x.Stream, shown).id())
	}
	c.out = append(c.out, "}}"...)
	return nil
}

func shardNotFound() *exception {
	return resourceNotFound("Requested resource not found: Shard does not exist")
}

// beginStream appends the description of x up to its list of shards.
func (c *call) beginStream(x *stream) {
	b := append(c.out, `{"StreamDescription":{"StreamArn":`...)
	b = item.AppendJSONString(b, c.server.arnOf(x))
	b = append(b, `,"StreamLabel":`...)
	b = item.AppendJSONString(b, globaltable.LabelOf(x.Since))
	b = append(b, `,"StreamStatus":`...)
	b = item.AppendJSONString(b, x.status)
	if x.View != "" { // of a stream that is off, and in which nothing was told, it is not known any more
		b = append(b, `,"StreamViewType":`...)
		b = item.AppendJSONString(b, string(x.View))
	}
	b = append(b, `,"CreationRequestDateTime":`...)
	b = appendSeconds(b, time.UnixMilli(x.Since))
	b = append(b, `,"TableName":`...)
	b = item.AppendJSONString(b, x.table.Name)
	c.out = append(appendTableKey(b, &x.table.KeySchema), `,"Shards":[`...)
}

// appendShard appends a shard; child says that its parent is there still, newest that no other comes after it.
func (x *stream) appendShard(b []byte, number int64, child, newest bool) []byte {
	s := shardNumbered(x.Stream, number)
	b = append(b, `{"ShardId":"`...)
	b = append(append(b, s.id()...), '"')
	if child {
		b = append(b, `,"ParentShardId":"`...)
		b = append(append(b, shardNumbered(x.Stream, number-1).id()...), '"')
	}
	b = append(b, `,"SequenceNumberRange":{"StartingSequenceNumber":"`...)
	b = append(cdc.AppendSequence(b, s.after+1), '"')
	if !newest || !x.open {
		b = append(b, `,"EndingSequenceNumber":"`...)
		end := s.last
		if newest {
			end = x.Last
		}
		b = append(cdc.AppendSequence(b, end), '"')
	}
	return append(b, "}}"...)
}

// streamAge is how long the shards of a table's streams are listed at least, with records or without.
func streamAge(t *globaltable.Table) time.Duration {
	return max(24*time.Hour, globaltable.StreamRecords.Age(t.Streams))
}
