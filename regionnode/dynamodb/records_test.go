package dynamodb

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
)

var testStream = cdc.Stream{Table: 99, Since: 1_700_000_000_000}

// TestShardsGolden: ids are kept by clients.
func TestShardsGolden(t *testing.T) {
	for number, want := range map[int64]string{
		0: "shardId-00000001700000000000-7fb87680 100000000000000000001 100111412143718399999",
		1: "shardId-00000001700014400000-176bdf50 100111412143718400000 100111413087436799999",
	} {
		x := shardNumbered(testStream, number)
		if got := x.id() + " " + cdc.Sequence(x.after+1) + " " + cdc.Sequence(x.last); got != want {
			t.Errorf("shard %d is\n%s, not\n%s", number, got, want)
		}
	}
}

// TestShardsCoverAllPositions: each position is in one shard, and a shard is found by its id in its stream alone.
func TestShardsCoverAllPositions(t *testing.T) {
	for number := range int64(1000) {
		x := shardNumbered(testStream, number)
		if number > 0 && x.after != shardNumbered(testStream, number-1).last {
			t.Fatalf("between shard %d and the one before is something", number)
		}
		if shardAt(testStream, x.after+1) != number || shardAt(testStream, x.last) != number {
			t.Fatalf("shard %d does not have its bounds", number)
		}
		if got, ok := shardWithID(testStream, x.id()); !ok || got != x {
			t.Fatalf("%s is %+v", x.id(), got)
		}
		for _, other := range []cdc.Stream{{Table: 98, Since: testStream.Since}, {Table: 99, Since: testStream.Since - shardTime}, {Table: 99, Since: testStream.Since + 1}} {
			if _, ok := shardWithID(other, x.id()); ok {
				t.Fatalf("%s is also one of %+v", x.id(), other)
			}
		}
	}
	if first := shardAt(testStream, 1); first != 0 {
		t.Errorf("what is before the stream is in shard %d", first)
	}
	if far := shardAt(testStream, ^hlc.Timestamp(0)); far >= maxShards {
		t.Errorf("the last position is in shard %d", far)
	}
	for _, id := range []string{"", "shardId-00000001700000000000-7fb87681", "shardId-00000001699985600000-00000000", "shardId-00000001700000000001-00000000", "shardId-99999999999999999999-00000000",
		"shardId--0000001700000000000-7fb87680", "shardid-00000001700000000000-7fb87680"} {
		if x, ok := shardWithID(testStream, id); ok {
			t.Errorf("%s is %+v", id, x)
		}
	}
}

func testIterator() iterator {
	x := iterator{shard: shardNumbered(testStream, 1), made: time.UnixMilli(1_700_000_000_123)}
	x.at = x.after + 7
	return x
}

// TestIteratorGolden: an iterator is good for fifteen minutes, over a restart with another release.
func TestIteratorGolden(t *testing.T) {
	x := testIterator()
	const want = "AQAAAAAAAABjAAABi8_laAAAAAAAAAAAAQGL0MEiAAAGAAABi8_laHtxSpBZVU7sbw"
	if got := string(x.append(nil, "eu")); got != want {
		t.Errorf("it is %s", got)
	}
}

// TestForeignIterators: any change of a character makes an iterator none, and so does another region.
func TestForeignIterators(t *testing.T) {
	x := testIterator()
	text := x.append(nil, "eu")
	if got, ok := parseIterator(text, "eu"); !ok || got.shard != x.shard || got.at != x.at || !got.made.Equal(x.made) {
		t.Errorf("read as %+v", got)
	}
	if _, ok := parseIterator(text, "us"); ok {
		t.Error("another region takes it")
	}
	for i := range text {
		for _, c := range []byte("A0_-=\n\xff") {
			changed := bytes.Clone(text)
			if changed[i] = c; c == text[i] {
				continue
			}
			if _, ok := parseIterator(changed, "eu"); ok {
				t.Fatalf("with %q at %d it is one still", c, i)
			}
		}
	}
	for name, change := range map[string]func(*iterator){
		"before its shard": func(x *iterator) { x.at = x.after - 1 }, "behind its shard": func(x *iterator) { x.at = x.last + 1 },
		"of no shard": func(x *iterator) { x.number = maxShards }, "of a stream before time": func(x *iterator) { x.stream.Since = -1 },
	} {
		bad := testIterator()
		change(&bad)
		if _, ok := parseIterator(bad.append(nil, "eu"), "eu"); ok {
			t.Errorf("one %s is taken", name)
		}
	}
}

// FuzzIterator: whatever is taken is what append writes; the bytes as they are, and as what a checksum was made for.
func FuzzIterator(f *testing.F) {
	x := testIterator()
	f.Add(x.append(nil, "eu"))
	x.at, x.made = x.last, time.UnixMilli(0)
	f.Add(x.append(nil, "eu"))
	f.Add([]byte{})
	raw, err := base64.RawURLEncoding.DecodeString(string(x.append(nil, "eu")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, text []byte) {
		summed := make([]byte, iteratorSize)
		copy(summed[:iteratorBody], text)
		binary.BigEndian.PutUint64(summed[iteratorBody:], iteratorSum(summed[:iteratorBody], "eu"))
		for _, text := range [][]byte{text, base64.RawURLEncoding.AppendEncode(nil, summed)} {
			if x, ok := parseIterator(text, "eu"); ok && !bytes.Equal(x.append(nil, "eu"), text) {
				t.Errorf("%+v is also %q", x, text)
			}
		}
	})
}

// TestRecordGolden: all that a record can have.
func TestRecordGolden(t *testing.T) {
	image := func(text string) item.Item {
		var b item.Builder
		b.Add([]byte("Id"), item.AppendInt(nil, 101))
		b.Add([]byte("Message"), item.AppendString(nil, []byte(text)))
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	key, err := item.AppendKey(nil, item.AppendInt(nil, 101), nil)
	if err != nil {
		t.Fatal(err)
	}
	table := &globaltable.Table{ID: 99, Name: "posts", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "Id", Type: item.N}}, Stream: globaltable.Stream{Secret: make([]byte, globaltable.StreamSecretLen)}}
	c := &call{server: &Server{config: Config{Region: "eu", MaxMemory: 1 << 20}}}
	pg := recordPage{limit: 3, teller: cdc.Teller{Table: table, Region: "eu"}, view: globaltable.ViewNewAndOldImages}
	at := hlc.FromTime(time.UnixMilli(1_700_000_000_999))
	for i, r := range []cdc.Record{
		{Kind: cdc.Write, Event: cdc.Insert, New: image("New item!")},
		{Kind: cdc.Copied, Event: cdc.Modify, Old: image("New item!"), New: image("This item has changed")},
		{Kind: cdc.Expired, Event: cdc.Remove, Old: image("This item has changed")},
	} {
		r.Key, r.Position, r.Dot = key, at+hlc.Timestamp(i), hlc.Stamp{Time: at - 1, Origin: 2}
		if more := c.takeRecord(&pg, &r); more != (i < 2) || pg.err != nil {
			t.Fatal(more, pg.err)
		}
	}
	const id = `"eventID":"ID","eventName":"`
	const head = `","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"eu","dynamodb":{"ApproximateCreationDateTime":1700000000,"Keys":{"Id":{"N":"101"}},`
	const tail = `,"StreamViewType":"NEW_AND_OLD_IMAGES"}`
	// The sizes are those of the example in DynamoDB's documentation.
	want := `{` + id + `INSERT` + head + `"NewImage":{"Id":{"N":"101"},"Message":{"S":"New item!"}},"SequenceNumber":"SEQ0","SizeBytes":26` + tail + `},` +
		`{` + id + `MODIFY` + head + `"NewImage":{"Id":{"N":"101"},"Message":{"S":"This item has changed"}},"OldImage":{"Id":{"N":"101"},"Message":{"S":"New item!"}},"SequenceNumber":"SEQ1","SizeBytes":59` + tail + `},` +
		`{` + id + `REMOVE` + head + `"OldImage":{"Id":{"N":"101"},"Message":{"S":"This item has changed"}},"SequenceNumber":"SEQ2","SizeBytes":38` + tail +
		`,"userIdentity":{"PrincipalId":"dynamodb.amazonaws.com","Type":"Service"}}`
	got := string(c.out)
	for i := range 3 {
		got = strings.ReplaceAll(got, cdc.Sequence(at+hlc.Timestamp(i)), fmt.Sprint("SEQ", i))
	}
	for i, kind := range []cdc.Kind{cdc.Write, cdc.Copied, cdc.Expired} {
		got = strings.ReplaceAll(got, pg.teller.ID(&cdc.Record{Key: key, Dot: hlc.Stamp{Time: at - 1, Origin: 2}, Kind: kind, Position: at + hlc.Timestamp(i)}), "ID")
	}
	if got != want {
		t.Errorf("it is\n%s\nnot\n%s", got, want)
	}
}

// trimming is a store whose records go while they are read.
type trimming struct {
	*commit.Shard
	trimmed hlc.Timestamp
}

func (s *trimming) ReadStream(r commit.StreamRange, f func(*cdc.Record) bool) (hlc.Timestamp, error) {
	upTo, err := s.Shard.ReadStream(r, f)
	s.trimmed = upTo
	return upTo, err
}

func (s *trimming) Stream(id cdc.Stream) commit.StreamState {
	state := s.Shard.Stream(id)
	state.Trimmed = max(state.Trimmed, s.trimmed)
	return state
}

// readStream reads the stream of people from its beginning, and returns the last answer.
func readStream(t testing.TB, d *direct, ctx *fasthttp.RequestCtx) string {
	return askFor(t, d, ctx, "GetRecords", `{"ShardIterator":"`+beginStream(t, d, ctx)+`"}`)
}

func askFor(t testing.TB, d *direct, ctx *fasthttp.RequestCtx, operation, body string) string {
	ctx.Request.Reset()
	ctx.Response.Reset()
	d.ask(ctx, operation, bytes.NewReader([]byte(body)))
	return string(ctx.Response.Body())
}

func beginStream(t testing.TB, d *direct, ctx *fasthttp.RequestCtx) string {
	t.Helper()
	arn := streamARN("eu", "people", globaltable.LabelOf(testStream.Since))
	var described struct {
		StreamDescription struct{ Shards []struct{ ShardId string } }
	}
	if err := json.Unmarshal([]byte(askFor(t, d, ctx, "DescribeStream", `{"StreamArn":"`+arn+`"}`)), &described); err != nil || len(described.StreamDescription.Shards) == 0 {
		t.Fatal(err, described)
	}
	shards := described.StreamDescription.Shards
	var begun struct{ ShardIterator string }
	answer := askFor(t, d, ctx, "GetShardIterator", `{"StreamArn":"`+arn+`","ShardId":"`+shards[len(shards)-1].ShardId+`","ShardIteratorType":"TRIM_HORIZON"}`)
	if err := json.Unmarshal([]byte(answer), &begun); err != nil || begun.ShardIterator == "" {
		t.Fatal(err, answer)
	}
	return begun.ShardIterator
}

func newStreaming(t testing.TB) *direct {
	return newDirectOf(t, false, globaltable.Stream{View: globaltable.ViewNewAndOldImages, Since: testStream.Since, Secret: make([]byte, globaltable.StreamSecretLen)})
}

// TestTrimmedWhileRead: records that go while a page is read may be missing in it, so the page is not given out.
func TestTrimmedWhileRead(t *testing.T) {
	d := newStreaming(t)
	var ctx fasthttp.RequestCtx
	askFor(t, d, &ctx, "PutItem", putBody("1"))
	if got := readStream(t, d, &ctx); !strings.HasPrefix(got, `{"Records":[{"eventID"`) {
		t.Fatal(got)
	}
	d.config.Streams = &trimming{Shard: d.config.Streams.(*commit.Shard)}
	if got := readStream(t, d, &ctx); !strings.Contains(got, "TrimmedDataAccessException") || strings.Contains(got, "Records") {
		t.Error(got)
	}
}

// TestPageEndsWithTheMemory: where there is room for nothing more, the page has one record, and the iterator goes on after it.
func TestPageEndsWithTheMemory(t *testing.T) {
	d := newStreaming(t)
	var ctx fasthttp.RequestCtx
	for i := range 3 {
		askFor(t, d, &ctx, "PutItem", putBody(fmt.Sprint(i)))
	}
	it := beginStream(t, d, &ctx)
	taken := d.config.MaxMemory - 1024
	d.memory.Add(taken)
	defer d.memory.Add(-taken)
	for i := range 3 {
		var page struct {
			Records           []struct{ EventID string }
			NextShardIterator string
		}
		answer := askFor(t, d, &ctx, "GetRecords", `{"ShardIterator":"`+it+`"}`)
		if err := json.Unmarshal([]byte(answer), &page); err != nil || len(page.Records) != 1 {
			t.Fatalf("page %d: %v %s", i, err, answer)
		}
		it = page.NextShardIterator
	}
}

// BenchmarkGetRecords reads a page of 1000 records with both images, each of 100 bytes, or about as many of 1 KB as fit.
func BenchmarkGetRecords(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("images of %d", size), func(b *testing.B) {
			d := newStreaming(b)
			var ctx fasthttp.RequestCtx
			const keys = 50
			for i := range maxRecords + keys {
				askFor(b, d, &ctx, "PutItem", fmt.Sprintf(`{"TableName":"people","Item":{"pk":{"S":"%d"},"n":{"N":"%d"},"v":{"S":"%s"}}}`, i%keys, i, strings.Repeat("v", size)))
			}
			body := `{"ShardIterator":"` + beginStream(b, d, &ctx) + `"}`
			records := strings.Count(askFor(b, d, &ctx, "GetRecords", body), `"eventID"`)
			if records < 400 {
				b.Fatal(records)
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx.Request.Reset()
				ctx.Response.Reset()
				d.ask(&ctx, "GetRecords", bytes.NewReader([]byte(body)))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
		})
	}
}
