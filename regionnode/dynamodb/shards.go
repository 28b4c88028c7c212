package dynamodb

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/streams/cdc"
)

// shardTime is how long a shard of a stream lasts, in milliseconds.
const shardTime = int64(4 * time.Hour / time.Millisecond)

// maxShards bounds the numbers of shards: a stream would have to last for half a million years.
const maxShards = 1 << 30

// shard is one of the times into which a stream is cut: the positions after and up to last. A stream's shards are numbered from 0 on, each is the parent of the next one. The first also has all positions from before the stream began by its name.
type shard struct {
	stream cdc.Stream
	number int64
	after  hlc.Timestamp // not in it
	last   hlc.Timestamp // in it
}

// shardNumbered returns a shard of a stream; number is less than maxShards.
func shardNumbered(s cdc.Stream, number int64) shard {
	x := shard{stream: s, number: number, last: hlc.FromTime(time.UnixMilli(s.Since+(number+1)*shardTime)) - 1}
	if number > 0 {
		x.after = hlc.FromTime(time.UnixMilli(s.Since+number*shardTime)) - 1
	}
	return x
}

// shardAt returns the number of the shard that has the position.
func shardAt(s cdc.Stream, at hlc.Timestamp) int64 {
	return min(max(0, at.Millis()-s.Since)/shardTime, maxShards-1)
}

const (
	shardPrefix = "shardId-"
	// shardIDLen is the length of a shard's id: prefix, twenty digits with the time in Unix milliseconds at which the shard begins, and eight that are no other stream's.
	shardIDLen = len(shardPrefix) + 20 + 1 + 8
)

// id returns the id of x: DynamoDB's are of the same form.
func (x shard) id() string {
	name := fmt.Sprintf("%d %d %d", x.stream.Table, x.stream.Since, x.number)
	return fmt.Sprintf("%s%020d-%08x", shardPrefix, x.stream.Since+x.number*shardTime, uint32(xxhash.Sum64String(name)))
}

// shardWithID returns the shard of a stream that has the id, whether the stream has got so far or not.
func shardWithID(s cdc.Stream, id string) (x shard, ok bool) {
	if len(id) != shardIDLen || !strings.HasPrefix(id, shardPrefix) {
		return shard{}, false
	}
	begins, err := strconv.ParseInt(id[len(shardPrefix):len(shardPrefix)+20], 10, 64)
	if err != nil || begins < s.Since || (begins-s.Since)/shardTime >= maxShards {
		return shard{}, false
	}
	x = shardNumbered(s, (begins-s.Since)/shardTime)
	return x, x.id() == id
}
