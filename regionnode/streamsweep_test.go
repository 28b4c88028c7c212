package regionnode

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// switchStream switches the stream of the table orders on or off, and returns its document.
func (r *running) switchStream(view types.StreamViewType) *globaltable.Table {
	r.t.Helper()
	spec := &types.StreamSpecification{StreamEnabled: aws.Bool(view != ""), StreamViewType: view}
	if _, err := r.db.UpdateTable(r.t.Context(), &sdk.UpdateTableInput{TableName: aws.String("orders"), StreamSpecification: spec}); err != nil {
		r.t.Fatal(err)
	}
	return r.orders()
}

func (r *running) orders() *globaltable.Table {
	r.t.Helper()
	t, ok := r.catalog.View().Lookup("orders")
	if !ok {
		r.t.Fatal("there is no table")
	}
	return t
}

// largeBytes is what the value of putLarge has.
const largeBytes = 1000

func (r *running) putLarge(id string) error {
	item := key(id)
	item["v"] = &types.AttributeValueMemberS{Value: strings.Repeat("v", largeBytes)}
	_, err := r.db.PutItem(r.t.Context(), &sdk.PutItemInput{TableName: aws.String("orders"), Item: item})
	return err
}

func (r *running) metricsText() string {
	_, text := r.get("/metrics")
	return text
}

func (r *running) trim(t *globaltable.Table, now hlc.Timestamp) []commit.StreamState {
	r.t.Helper()
	if err := r.trimTable(r.t.Context(), t, r.shard.Streams(t.ID), now); err != nil {
		r.t.Fatal(err)
	}
	return r.shard.Streams(t.ID)
}

// TestStreamsAreTrimmed: records go when they are too old or too many, those of a stream that has ended before those of the one that is on; a stream that has ended goes when it is empty and old.
func TestStreamsAreTrimmed(t *testing.T) {
	r := runNode(t, goodConfig(t))
	r.createTable()
	if r.status().Tables[0].Streams.Streams != 0 || strings.Contains(r.metricsText(), "concordat_stream_records") {
		t.Error("a table without a stream is shown with one")
	}
	r.switchStream(types.StreamViewTypeNewImage)
	put := func(from, to int) {
		for i := from; i < to; i++ {
			if err := r.putLarge(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(0, 4)
	r.switchStream("")
	put(4, 5) // told nobody
	table := r.switchStream(types.StreamViewTypeKeysOnly)
	put(5, 8)
	now := hlc.FromTime(time.Now())
	streams := r.trim(table, now)
	if len(streams) != 2 || streams[0].Records != 4 || streams[1].Records != 3 || streams[0].Bytes < 4*largeBytes || streams[1].Bytes > 3*largeBytes {
		t.Fatalf("%+v", streams)
	}
	if s := r.status().Tables[0].Streams; s.View != "KEYS_ONLY" || s.Streams != 2 || s.Records != 7 || s.Bytes != streams[0].Bytes+streams[1].Bytes || s.Limit != 8<<30 || s.KeepSeconds != 86400 {
		t.Errorf("%+v", s)
	}
	eventually(t, "metrics", func() bool {
		return strings.Contains(r.metricsText(), `concordat_stream_records{region="eu-central-1",table="orders"} 7`)
	})

	small := table.Clone()
	small.Streams = globaltable.Retention{Seconds: 3600, Bytes: 2*largeBytes + largeBytes/2}
	if s := r.trim(small, now); len(s) != 2 || s[0].Records != 2 || s[1].Records != 3 {
		t.Errorf("by size: %+v", s)
	}
	small.Streams.Bytes = 1
	if s := r.trim(small, now); len(s) != 2 || s[0].Records != 0 || s[1].Records != 0 {
		t.Errorf("a stream that has ended went with its records, though readers may come: %+v", s)
	}
	put(8, 9)
	if s := r.trim(table, now.Add(59*time.Minute)); len(s) != 2 || s[1].Records != 1 {
		t.Errorf("%+v", s)
	}
	small.Streams.Bytes = 0
	if s := r.trim(small, now.Add(time.Hour+time.Minute)); len(s) != 1 || s[0].Records != 0 || s[0].View != globaltable.ViewKeysOnly {
		t.Errorf("by age: %+v", s)
	}
	put(9, 10)
	if s := r.shard.Streams(table.ID); s[0].Records != 1 {
		t.Errorf("%+v", s)
	}
}
