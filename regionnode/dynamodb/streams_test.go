package dynamodb_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/dynamodb"
	"github.com/concordat-db/concordat/streams/cdc"
)

// told is a region with a table whose changes are told, and clients of it.
type told struct {
	*region
	t       *testing.T
	clock   *handClock
	store   *shiftingStream
	items   *sdk.Client
	streams *dynamodbstreams.Client
}

const streamed = "orders"

// startTelling starts a region with a table with the stream view given, empty for none, at a round time.
func startTelling(t *testing.T, view types.StreamViewType) *told {
	t.Helper()
	clock := new(handClock)
	clock.millis.Store(1_700_000_000_000)
	store := new(shiftingStream)
	r := startRegionAt(t, memory(t), clock.now, func(c *dynamodb.Config) {
		store.Shard = c.Streams.(*commit.Shard)
		c.Streams = store
	})
	w := &told{region: r, t: t, clock: clock, store: store, items: r.client(t), streams: dynamodbstreams.New(dynamodbstreams.Options{
		Region: testRegion, BaseEndpoint: aws.String("http://" + r.addr), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(testKey, testSecret, ""), HTTPClient: httpClient(t)})}
	createTable(t, w.items, streamed, false)
	w.clock.move(time.Second)
	if view != "" {
		w.must(w.turn(view))
	}
	return w
}

func (w *told) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// turn switches the stream on, or off with an empty view.
func (w *told) turn(view types.StreamViewType) error {
	on := view != ""
	_, err := w.items.UpdateTable(w.t.Context(), &sdk.UpdateTableInput{TableName: aws.String(streamed), StreamSpecification: &types.StreamSpecification{StreamEnabled: &on, StreamViewType: view}})
	return err
}

// put and remove write a second after what was before.
func (w *told) put(pk, v string) {
	w.t.Helper()
	w.clock.move(time.Second)
	_, err := w.items.PutItem(w.t.Context(), &sdk.PutItemInput{TableName: aws.String(streamed), Item: attributes{"pk": s(pk), "v": s(v)}})
	w.must(err)
}

func (w *told) remove(pk string) {
	w.t.Helper()
	w.clock.move(time.Second)
	_, err := w.items.DeleteItem(w.t.Context(), &sdk.DeleteItemInput{TableName: aws.String(streamed), Key: attributes{"pk": s(pk)}})
	w.must(err)
}

// arn returns the newest stream's.
func (w *told) arn() string {
	w.t.Helper()
	return aws.ToString(describe(w.t, w.items, streamed).LatestStreamArn)
}

func (w *told) describeStream(arn string) *streamtypes.StreamDescription {
	w.t.Helper()
	out, err := w.streams.DescribeStream(w.t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &arn})
	w.must(err)
	return out.StreamDescription
}

// iterator returns one in a shard, by its number in the description. at is a sequence number or empty.
func (w *told) iterator(arn string, shard int, kind streamtypes.ShardIteratorType, at string) (string, error) {
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: w.describeStream(arn).Shards[shard].ShardId, ShardIteratorType: kind}
	if at != "" {
		in.SequenceNumber = &at
	}
	out, err := w.streams.GetShardIterator(w.t.Context(), in)
	if err != nil {
		return "", err
	}
	return *out.ShardIterator, nil
}

func (w *told) begin(arn string, shard int, kind streamtypes.ShardIteratorType, at string) string {
	w.t.Helper()
	it, err := w.iterator(arn, shard, kind, at)
	w.must(err)
	return it
}

func (w *told) get(iterator string) *dynamodbstreams.GetRecordsOutput {
	w.t.Helper()
	out, err := w.streams.GetRecords(w.t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: &iterator})
	w.must(err)
	return out
}

// rest reads until the shard ends or a page is empty. over says that it ended.
func (w *told) rest(iterator string) (records []streamtypes.Record, over bool) {
	w.t.Helper()
	for {
		out := w.get(iterator)
		records = append(records, out.Records...)
		if out.NextShardIterator == nil {
			return records, true
		}
		if len(out.Records) == 0 {
			return records, false
		}
		iterator = *out.NextShardIterator
	}
}

// brief is a record in short: what happened to which key, and v before and after.
func brief(r streamtypes.Record) string {
	v := func(image map[string]streamtypes.AttributeValue) string {
		if image == nil {
			return "-"
		}
		return image["v"].(*streamtypes.AttributeValueMemberS).Value
	}
	return fmt.Sprintf("%s %s %s %s", r.EventName, r.Dynamodb.Keys["pk"].(*streamtypes.AttributeValueMemberS).Value, v(r.Dynamodb.OldImage), v(r.Dynamodb.NewImage))
}

func (w *told) expect(records []streamtypes.Record, want ...string) {
	w.t.Helper()
	var got []string
	for _, r := range records {
		got = append(got, brief(r))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("told\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestStreamViews: what each view shows, and all that a record has.
func TestStreamViews(t *testing.T) {
	for view, want := range map[types.StreamViewType][3]string{
		types.StreamViewTypeKeysOnly:        {"INSERT a - -", "MODIFY a - -", "REMOVE a - -"},
		types.StreamViewTypeNewImage:        {"INSERT a - 1", "MODIFY a - 22", "REMOVE a - -"},
		types.StreamViewTypeOldImage:        {"INSERT a - -", "MODIFY a 1 -", "REMOVE a 22 -"},
		types.StreamViewTypeNewAndOldImages: {"INSERT a - 1", "MODIFY a 1 22", "REMOVE a 22 -"},
	} {
		t.Run(string(view), func(t *testing.T) {
			w := startTelling(t, view)
			w.put("a", "1")
			w.put("a", "1")
			w.put("a", "22")
			w.remove("a")
			w.remove("a")
			arn := w.arn()
			d := w.describeStream(arn)
			if d.StreamViewType != streamtypes.StreamViewType(view) || d.StreamStatus != streamtypes.StreamStatusEnabled || *d.StreamArn != arn || *d.TableName != streamed ||
				!strings.HasSuffix(arn, "/stream/"+*d.StreamLabel) || d.CreationRequestDateTime.UnixMilli() != 1_700_000_001_000 || len(d.KeySchema) != 1 || len(d.Shards) != 1 || d.LastEvaluatedShardId != nil {
				t.Errorf("%+v", d)
			}
			if s := d.Shards[0]; s.ParentShardId != nil || s.SequenceNumberRange.EndingSequenceNumber != nil || len(*s.ShardId) < 28 {
				t.Errorf("%+v", s)
			}
			records, over := w.rest(w.begin(arn, 0, streamtypes.ShardIteratorTypeTrimHorizon, ""))
			w.expect(records, want[:]...)
			if over {
				t.Error("the open shard ended")
			}
			ids := map[string]bool{}
			for i, r := range records {
				if *r.EventVersion != "1.1" || *r.EventSource != "aws:dynamodb" || *r.AwsRegion != testRegion || r.UserIdentity != nil || r.Dynamodb.StreamViewType != d.StreamViewType ||
					r.Dynamodb.ApproximateCreationDateTime.Unix() != 1_700_000_002+[]int64{0, 2, 3}[i] {
					t.Errorf("%+v %+v", r, r.Dynamodb)
				}
				ids[*r.EventID] = true
				if i > 0 && *r.Dynamodb.SequenceNumber <= *records[i-1].Dynamodb.SequenceNumber {
					t.Error("sequence numbers do not ascend")
				}
			}
			if len(ids) != 3 {
				t.Errorf("ids %v", ids)
			}
			// Names and values: pk and a are the key; an image has them too, and v.
			size := map[types.StreamViewType]int64{types.StreamViewTypeKeysOnly: 3, types.StreamViewTypeNewImage: 9, types.StreamViewTypeOldImage: 8, types.StreamViewTypeNewAndOldImages: 14}[view]
			if got := *records[1].Dynamodb.SizeBytes; got != size {
				t.Errorf("the second has %d bytes, not %d", got, size)
			}
		})
	}
}

// TestShardIterators: the five types, and what is wrong with them.
func TestShardIterators(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewImage)
	for i := range 5 {
		w.put("k"+fmt.Sprint(i), fmt.Sprint(i))
	}
	arn := w.arn()
	all, _ := w.rest(w.begin(arn, 0, streamtypes.ShardIteratorTypeTrimHorizon, ""))
	third := *all[2].Dynamodb.SequenceNumber
	newest := w.begin(arn, 0, streamtypes.ShardIteratorTypeLatest, "")
	w.put("k5", "5")
	for kind, want := range map[streamtypes.ShardIteratorType][]string{
		streamtypes.ShardIteratorTypeAtSequenceNumber:    {"INSERT k2 - 2", "INSERT k3 - 3", "INSERT k4 - 4", "INSERT k5 - 5"},
		streamtypes.ShardIteratorTypeAfterSequenceNumber: {"INSERT k3 - 3", "INSERT k4 - 4", "INSERT k5 - 5"},
	} {
		records, _ := w.rest(w.begin(arn, 0, kind, third))
		w.expect(records, want...)
	}
	records, _ := w.rest(newest)
	w.expect(records, "INSERT k5 - 5")
	records, _ = w.rest(w.begin(arn, 0, streamtypes.ShardIteratorTypeLatest, ""))
	w.expect(records)
	timed := func(at time.Time) (string, error) {
		out, err := w.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: w.describeStream(arn).Shards[0].ShardId,
			ShardIteratorType: streamtypes.ShardIteratorTypeAtTimestamp, Timestamp: &at})
		if err != nil {
			return "", err
		}
		return *out.ShardIterator, nil
	}
	for at, want := range map[time.Time]int{*all[2].Dynamodb.ApproximateCreationDateTime: 4, w.clock.now(): 1, w.clock.now().Add(-500 * time.Millisecond): 1, time.UnixMilli(1): 6} {
		it, err := timed(at)
		w.must(err)
		if records, _ := w.rest(it); len(records) != want {
			t.Errorf("%d records from %s on, not %d", len(records), at, want)
		}
	}
	_, err := timed(w.clock.now().Add(time.Second))
	wantError(t, err, "ValidationException", "Invalid Timestamp: it is in the future")
	_, err = w.iterator(arn, 0, streamtypes.ShardIteratorTypeAfterSequenceNumber, cdc.Sequence(hlc.FromTime(w.clock.now().Add(24*time.Hour))))
	wantError(t, err, "ValidationException", "Invalid SequenceNumber: "+cdc.Sequence(hlc.FromTime(w.clock.now().Add(24*time.Hour))))
}

// TestPagesOfRecords: by number, by size, and an iterator that goes on.
func TestPagesOfRecords(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewAndOldImages)
	for range 3 {
		w.put("a", strings.Repeat("v", 390<<10))
		w.remove("a")
	}
	arn := w.arn()
	it := w.begin(arn, 0, streamtypes.ShardIteratorTypeTrimHorizon, "")
	out := w.get(it)
	if len(out.Records) != 2 {
		t.Errorf("a page has %d records", len(out.Records))
	}
	again := w.get(it)
	if len(again.Records) != 2 || *again.Records[1].EventID != *out.Records[1].EventID {
		t.Error("an iterator reads something else the second time")
	}
	records, _ := w.rest(it)
	if len(records) != 6 {
		t.Errorf("%d records", len(records))
	}
	for n := 0; ; n++ {
		out, err := w.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: &it, Limit: aws.Int32(1)})
		w.must(err)
		if len(out.Records) == 0 {
			if n != 6 {
				t.Errorf("%d pages of one", n)
			}
			break
		}
		if len(out.Records) != 1 {
			t.Fatalf("%d records", len(out.Records))
		}
		it = *out.NextShardIterator
	}
	_, err := w.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: &it, Limit: aws.Int32(1001)})
	wantError(t, err, "LimitExceededException", "Limit must be less than or equal to 1000")
	w.clock.move(15 * time.Minute)
	fresh := *w.get(it).NextShardIterator
	w.clock.move(time.Millisecond)
	_, err = w.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: &it})
	wantError(t, err, "ExpiredIteratorException", "The provided iterator exceeds the maximum age allowed.")
	w.put("b", "1")
	records, _ = w.rest(fresh)
	w.expect(records, "INSERT b - 1")
}

// TestShardsAreTimes: shards of an idle and of a busy stream, their children, pages of them, their ends.
func TestShardsAreTimes(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewImage)
	arn := w.arn()
	w.put("a", "1")
	at := func(shard int) []streamtypes.Record {
		records, over := w.rest(w.begin(arn, shard, streamtypes.ShardIteratorTypeTrimHorizon, ""))
		if last := len(w.describeStream(arn).Shards) - 1; over != (shard < last) {
			t.Errorf("shard %d of %d is over: %v", shard, last, over)
		}
		return records
	}
	// The time of the first shard is over, and nobody writes.
	w.clock.move(4*time.Hour - 2*time.Second)
	d := w.describeStream(arn)
	if len(d.Shards) != 1 {
		t.Fatalf("%d shards", len(d.Shards))
	}
	reading := w.begin(arn, 0, streamtypes.ShardIteratorTypeLatest, "")
	w.clock.move(time.Second)
	for pages, over := 0, false; !over; pages++ {
		out := w.get(reading)
		if len(out.Records) > 0 || pages > 1 {
			t.Fatal("the shard does not end")
		}
		if over = out.NextShardIterator == nil; !over {
			reading = *out.NextShardIterator
		}
	}
	w.put("a", "2")
	w.expect(at(0), "INSERT a - 1")
	w.expect(at(1), "MODIFY a - 2")
	w.clock.move(9 * time.Hour)
	w.put("a", "3")
	d = w.describeStream(arn)
	if len(d.Shards) != 4 {
		t.Fatalf("%d shards", len(d.Shards))
	}
	for i, s := range d.Shards {
		if i > 0 && *s.ParentShardId != *d.Shards[i-1].ShardId || (s.SequenceNumberRange.EndingSequenceNumber == nil) != (i == 3) {
			t.Errorf("shard %d: %+v", i, s)
		}
		if i > 0 && *s.SequenceNumberRange.StartingSequenceNumber <= *d.Shards[i-1].SequenceNumberRange.EndingSequenceNumber {
			t.Errorf("shard %d begins in the one before", i)
		}
	}
	w.expect(at(2))
	w.expect(at(3), "MODIFY a - 3")
	if records, over := w.rest(w.begin(arn, 1, streamtypes.ShardIteratorTypeLatest, "")); len(records) > 0 || !over {
		t.Error("there is something new in an old shard")
	}
	w.pagesOfShards(arn, d.Shards)
	// A day later the oldest are gone from the list, by age.
	w.clock.move(12 * time.Hour)
	if now := w.describeStream(arn); len(now.Shards) != 7 || *now.Shards[0].ShardId != *d.Shards[0].ShardId {
		t.Errorf("%d shards", len(now.Shards))
	}
	w.clock.move(4 * time.Hour)
	now := w.describeStream(arn)
	if len(now.Shards) != 7 || *now.Shards[0].ShardId != *d.Shards[1].ShardId || now.Shards[0].ParentShardId != nil {
		t.Errorf("%d shards", len(now.Shards))
	}
	_, err := w.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: d.Shards[0].ShardId, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon})
	wantError(t, err, "ResourceNotFoundException", "Requested resource not found: Shard does not exist")
}

// pagesOfShards lists the shards in pages, and by their parents.
func (w *told) pagesOfShards(arn string, want []streamtypes.Shard) {
	w.t.Helper()
	var got []string
	for in := (&dynamodbstreams.DescribeStreamInput{StreamArn: &arn, Limit: aws.Int32(3)}); ; {
		out, err := w.streams.DescribeStream(w.t.Context(), in)
		w.must(err)
		for _, s := range out.StreamDescription.Shards {
			got = append(got, *s.ShardId)
		}
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			break
		}
	}
	for i, s := range want {
		if len(got) != len(want) || got[i] != *s.ShardId {
			w.t.Fatalf("pages have %v", got)
		}
		out, err := w.streams.DescribeStream(w.t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &arn, ShardFilter: &streamtypes.ShardFilter{Type: streamtypes.ShardFilterTypeChildShards, ShardId: s.ShardId}})
		w.must(err)
		children := out.StreamDescription.Shards
		if i+1 < len(want) && (len(children) != 1 || *children[0].ShardId != *want[i+1].ShardId) || i+1 == len(want) && len(children) != 0 {
			w.t.Errorf("children of shard %d: %+v", i, children)
		}
	}
}

// TestOldStreams: a stream that was switched off is read to its end; the next one is another.
func TestOldStreams(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewAndOldImages)
	w.put("a", "1")
	first := w.arn()
	reading := w.begin(first, 0, streamtypes.ShardIteratorTypeLatest, "")
	w.put("a", "2")
	w.must(w.turn(""))
	w.put("a", "3")
	d := w.describeStream(first)
	if d.StreamStatus != streamtypes.StreamStatusDisabled || d.StreamViewType != streamtypes.StreamViewTypeNewAndOldImages || len(d.Shards) != 1 || d.Shards[0].SequenceNumberRange.EndingSequenceNumber == nil {
		t.Errorf("%+v", d)
	}
	records, over := w.rest(reading)
	if w.expect(records, "MODIFY a 1 2"); !over || *records[0].Dynamodb.SequenceNumber != *d.Shards[0].SequenceNumberRange.EndingSequenceNumber {
		t.Error("the stream that is off does not end with its last record")
	}
	w.must(w.turn(types.StreamViewTypeKeysOnly))
	w.put("a", "4")
	second := w.arn()
	w.clock.move(5 * time.Hour)
	if d := w.describeStream(first); d.StreamStatus != streamtypes.StreamStatusDisabled || len(d.Shards) != 1 {
		t.Errorf("%+v", d)
	}
	records, over = w.rest(w.begin(first, 0, streamtypes.ShardIteratorTypeTrimHorizon, ""))
	if w.expect(records, "INSERT a - 1", "MODIFY a 1 2"); !over {
		t.Error("the old stream has no end")
	}
	records, _ = w.rest(w.begin(second, 0, streamtypes.ShardIteratorTypeTrimHorizon, ""))
	w.expect(records, "MODIFY a - -")
	// One in which nothing was told, and the store knows nothing of.
	w.must(w.turn(""))
	w.must(w.turn(types.StreamViewTypeNewImage))
	third := w.arn()
	idle := w.begin(third, 0, streamtypes.ShardIteratorTypeTrimHorizon, "")
	w.must(w.turn(""))
	if d := w.describeStream(third); d.StreamStatus != streamtypes.StreamStatusDisabled || len(d.Shards) != 0 {
		t.Errorf("%+v", d)
	}
	if records, over := w.rest(idle); len(records) > 0 || !over {
		t.Error("a stream that had nothing has no end")
	}
	w.listed(first, second, third)
	w.gone(first, second, third)
}

// listed expects these streams of the table, all at once and in pages.
func (w *told) listed(want ...string) {
	w.t.Helper()
	createTable(w.t, w.items, "another", false)
	for _, in := range []*dynamodbstreams.ListStreamsInput{{TableName: aws.String(streamed)}, {}, {Limit: aws.Int32(2)}, {TableName: aws.String(streamed), Limit: aws.Int32(1)}} {
		var got []string
		for {
			out, err := w.streams.ListStreams(w.t.Context(), in)
			w.must(err)
			for _, s := range out.Streams {
				got = append(got, *s.StreamArn)
				if *s.TableName != streamed || !strings.HasSuffix(*s.StreamArn, "/"+*s.StreamLabel) {
					w.t.Errorf("%+v", s)
				}
			}
			if in.ExclusiveStartStreamArn = out.LastEvaluatedStreamArn; in.ExclusiveStartStreamArn == nil {
				break
			}
		}
		if !slices.Equal(got, want) {
			w.t.Errorf("%+v lists %v, not %v", in, got, want)
		}
	}
	if out, err := w.streams.ListStreams(w.t.Context(), &dynamodbstreams.ListStreamsInput{TableName: aws.String("another")}); err != nil || len(out.Streams) != 0 {
		w.t.Errorf("%+v, %v", out, err)
	}
}

// gone deletes the table: its streams go with it.
func (w *told) gone(streams ...string) {
	w.t.Helper()
	it := w.begin(streams[0], 0, streamtypes.ShardIteratorTypeTrimHorizon, "")
	_, err := w.items.DeleteTable(w.t.Context(), &sdk.DeleteTableInput{TableName: aws.String(streamed)})
	w.must(err)
	for err == nil {
		_, err = w.items.DescribeTable(w.t.Context(), &sdk.DescribeTableInput{TableName: aws.String(streamed)})
	}
	for _, arn := range streams {
		_, err := w.streams.DescribeStream(w.t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &arn})
		wantError(w.t, err, "ResourceNotFoundException", "Requested resource not found: Stream: "+arn+" not found")
	}
	_, err = w.streams.GetRecords(w.t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: &it})
	wantError(w.t, err, "ResourceNotFoundException", "Requested resource not found")
	_, err = w.streams.ListStreams(w.t.Context(), &dynamodbstreams.ListStreamsInput{TableName: aws.String(streamed)})
	wantError(w.t, err, "ResourceNotFoundException", "Requested resource not found: Table: "+streamed+" not found")
	// One with the same name is another table, with no stream of its own.
	createTable(w.t, w.items, streamed, false)
	_, err = w.streams.GetRecords(w.t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: &it})
	wantError(w.t, err, "ResourceNotFoundException", "Requested resource not found")
}

// TestTrimmedRecords: who comes too late is told so.
func TestTrimmedRecords(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewImage)
	for i := range 4 {
		w.put("k"+fmt.Sprint(i), fmt.Sprint(i))
	}
	arn := w.arn()
	start := w.begin(arn, 0, streamtypes.ShardIteratorTypeTrimHorizon, "")
	all, _ := w.rest(start)
	after := w.begin(arn, 0, streamtypes.ShardIteratorTypeAfterSequenceNumber, *all[1].Dynamodb.SequenceNumber)
	cut, ok := cdc.ParseSequence(*all[1].Dynamodb.SequenceNumber)
	table, found := w.tables.View().Lookup(streamed)
	if !ok || !found {
		t.Fatal("no such table")
	}
	id := cdc.Stream{Table: table.ID, Since: table.StreamSince(table.Replica(1))}
	_, err := w.shard.TrimStream(t.Context(), id, cut, 1<<40)
	w.must(err)
	const message = "The data you are trying to access has been trimmed"
	_, err = w.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: &start})
	wantError(t, err, "TrimmedDataAccessException", message)
	for _, kind := range []streamtypes.ShardIteratorType{streamtypes.ShardIteratorTypeAtSequenceNumber, streamtypes.ShardIteratorTypeAfterSequenceNumber} {
		_, err = w.iterator(arn, 0, kind, *all[0].Dynamodb.SequenceNumber)
		wantError(t, err, "TrimmedDataAccessException", message)
	}
	_, err = w.iterator(arn, 0, streamtypes.ShardIteratorTypeAtSequenceNumber, *all[1].Dynamodb.SequenceNumber)
	wantError(t, err, "TrimmedDataAccessException", message)
	for _, it := range []string{after, w.begin(arn, 0, streamtypes.ShardIteratorTypeTrimHorizon, ""), w.begin(arn, 0, streamtypes.ShardIteratorTypeAtSequenceNumber, *all[2].Dynamodb.SequenceNumber)} {
		records, _ := w.rest(it)
		w.expect(records, "INSERT k2 - 2", "INSERT k3 - 3")
	}
}
