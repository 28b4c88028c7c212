// Package adapter reads a DynamoDB stream as the Kinesis adapter for DynamoDB Streams does, through the AWS SDK: it lists shards, reads a shard only when its parent has been read to the end, and keeps for each the sequence number up to which it got. It is for tests, which let it begin anew with those.
package adapter

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// ShardEnd is the checkpoint of a shard that has been read to its end.
const ShardEnd = "SHARD_END"

// Reader reads one stream from its beginning. It is not safe for concurrent use.
type Reader struct {
	Client *dynamodbstreams.Client
	ARN    string
	Limit  int32 // of records in a page; 0: as many as there are
	// Checkpoints has by shard the sequence number of the last record that Record has seen, or ShardEnd. A new Reader with these goes on where the other one was. nil: from the beginning.
	Checkpoints map[string]string
	// Record gets each record. An error ends reading, and the record counts as not seen.
	Record func(types.Record) error
}

// Read reads what there is now, children after their parents, and returns when the open shards have nothing more. It returns how many shards there are.
func (r *Reader) Read(ctx context.Context) (shards int, err error) {
	if r.Checkpoints == nil {
		r.Checkpoints = map[string]string{}
	}
	for {
		list, err := r.shards(ctx)
		if err != nil {
			return 0, err
		}
		ended := false
		for _, s := range list {
			over, err := r.shard(ctx, list, s)
			if err != nil {
				return 0, fmt.Errorf("shard %s: %w", *s.ShardId, err)
			}
			ended = ended || over
		}
		if !ended { // of a shard that has ended there may be a child that was not in the list
			return len(list), nil
		}
	}
}

// shards lists all shards.
func (r *Reader) shards(ctx context.Context) (list []types.Shard, err error) {
	for in := (&dynamodbstreams.DescribeStreamInput{StreamArn: &r.ARN}); ; {
		out, err := r.Client.DescribeStream(ctx, in)
		if err != nil {
			return nil, err
		}
		list = append(list, out.StreamDescription.Shards...)
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			return list, nil
		}
	}
}

// shard reads one shard, unless its parent is to be read first, and reports whether it came to its end by that.
func (r *Reader) shard(ctx context.Context, list []types.Shard, s types.Shard) (over bool, err error) {
	at := r.Checkpoints[*s.ShardId]
	if at == ShardEnd || s.ParentShardId != nil && listed(list, *s.ParentShardId) && r.Checkpoints[*s.ParentShardId] != ShardEnd {
		return false, nil
	}
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &r.ARN, ShardId: s.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}
	if at != "" {
		in.ShardIteratorType, in.SequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, &at
	}
	begun, err := r.Client.GetShardIterator(ctx, in)
	if err != nil {
		return false, err
	}
	idle := false
	for it := begun.ShardIterator; ; {
		page := &dynamodbstreams.GetRecordsInput{ShardIterator: it}
		if r.Limit > 0 {
			page.Limit = &r.Limit
		}
		out, err := r.Client.GetRecords(ctx, page)
		if err != nil {
			return false, err
		}
		if err := r.take(*s.ShardId, out.Records); err != nil {
			return false, err
		}
		if it = out.NextShardIterator; it == nil {
			r.Checkpoints[*s.ShardId] = ShardEnd
			return true, nil
		}
		// An empty page may be followed by others: two of them are taken for the end of what there is.
		if idle && len(out.Records) == 0 {
			return false, nil
		}
		idle = len(out.Records) == 0
	}
}

func listed(list []types.Shard, id string) bool {
	for _, s := range list {
		if *s.ShardId == id {
			return true
		}
	}
	return false
}

// errOrder is about records whose sequence numbers do not ascend.
var errOrder = errors.New("sequence numbers do not ascend")

func (r *Reader) take(shard string, records []types.Record) error {
	for _, record := range records {
		number := *record.Dynamodb.SequenceNumber
		if at := r.Checkpoints[shard]; number <= at {
			return fmt.Errorf("%w: %s after %s", errOrder, number, at)
		}
		if err := r.Record(record); err != nil {
			return err
		}
		r.Checkpoints[shard] = number
	}
	return nil
}
