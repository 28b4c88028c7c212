package dynamodb_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/concordat-db/concordat/chaos/adapter"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
)

// TestReadAsTheKinesisAdapterDoes: a reader with checkpoints, which is ended and begun anew, over shards that end, idle ones among them, and a stream that is switched off, sees each record once, in order.
func TestReadAsTheKinesisAdapterDoes(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewImage)
	r := &adapter.Reader{Client: w.streams, ARN: w.arn(), Limit: 3}
	var seen, want []string
	read := func(most, shards int) {
		t.Helper()
		last := &adapter.Reader{Client: r.Client, ARN: r.ARN, Limit: r.Limit, Checkpoints: r.Checkpoints}
		last.Record = func(record streamtypes.Record) error {
			if most--; most < 0 {
				return errStopped
			}
			seen = append(seen, brief(record))
			return nil
		}
		n, err := last.Read(t.Context())
		if most >= 0 && (err != nil || n != shards) || most < 0 && !errors.Is(err, errStopped) {
			t.Fatalf("%d shards, %v", n, err)
		}
		r.Checkpoints = last.Checkpoints
	}
	write := func(n int) {
		for range n {
			w.put("k", fmt.Sprint(len(want)))
			name := "MODIFY"
			if len(want) == 0 {
				name = "INSERT"
			}
			want = append(want, fmt.Sprintf("%s k - %d", name, len(want)))
		}
	}
	write(8)
	read(5, 1)
	read(100, 1)
	write(2)
	w.clock.move(4 * time.Hour)
	read(1, 2)
	write(7)
	w.clock.move(9 * time.Hour)
	read(100, 4)
	write(7)
	read(6, 4)
	w.must(w.turn(""))
	w.clock.move(9 * time.Hour)
	read(100, 4)
	if !slices.Equal(seen, want) {
		t.Errorf("read\n%s\nnot\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	for shard, at := range r.Checkpoints {
		if at != adapter.ShardEnd {
			t.Errorf("%s did not end: %s", shard, at)
		}
	}
}

var errStopped = errors.New("stopped")

// TestExpiryIsTold: what has expired is removed by the service, and is told before what is written over it.
func TestExpiryIsTold(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewAndOldImages)
	_, err := w.items.UpdateTimeToLive(t.Context(), &sdk.UpdateTimeToLiveInput{TableName: aws.String(streamed), TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)}})
	w.must(err)
	w.clock.move(3 * time.Second)
	_, err = w.items.PutItem(t.Context(), &sdk.PutItemInput{TableName: aws.String(streamed), Item: attributes{"pk": s("a"), "v": s("1"), "expires": n(fmt.Sprint(w.clock.now().Unix() + 5))}})
	w.must(err)
	w.clock.move(6 * time.Second)
	w.put("a", "2")
	w.remove("a")
	records, _ := w.rest(w.begin(w.arn(), 0, streamtypes.ShardIteratorTypeTrimHorizon, ""))
	w.expect(records, "INSERT a - 1", "REMOVE a 1 -", "INSERT a - 2", "REMOVE a 2 -")
	for i, r := range records {
		if by := r.UserIdentity; (by != nil) != (i == 1) || by != nil && (*by.PrincipalId != "dynamodb.amazonaws.com" || *by.Type != "Service") {
			t.Errorf("record %d: %+v", i, by)
		}
	}
}

// shiftingStream is a store of which something is read just before a policy takes it away.
type shiftingStream struct {
	*commit.Shard
	shift func()
}

func (s *shiftingStream) ReadStream(r commit.StreamRange, f func(*cdc.Record) bool) (hlc.Timestamp, error) {
	upTo, err := s.Shard.ReadStream(r, f)
	if s.shift != nil {
		s.shift()
		s.shift = nil
	}
	return upTo, err
}

// TestStreamOfWhatMayNotBeHere: records of items that may not be in the region are not shown, also if that is so only since they were read.
func TestStreamOfWhatMayNotBeHere(t *testing.T) {
	w := startTelling(t, types.StreamViewTypeNewImage)
	w.put("US#1", "secret")
	w.put("EU#1", "open")
	arn := w.arn()
	w.expect(w.get(w.begin(arn, 0, streamtypes.ShardIteratorTypeTrimHorizon, "")).Records, "INSERT US#1 - secret", "INSERT EU#1 - open")
	it := w.begin(arn, 0, streamtypes.ShardIteratorTypeTrimHorizon, "")
	w.store.shift = func() { w.pin(t, streamed, american(globaltable.Reject)) }
	for range 2 {
		out := w.get(it)
		w.expect(out.Records, "INSERT EU#1 - open")
		if header := middleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response).Header; header.Get("x-concordat-partial") != "us-customers" {
			t.Errorf("%v", header)
		}
	}
}
