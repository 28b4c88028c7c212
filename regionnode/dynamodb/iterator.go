package dynamodb

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/cdc"
)

// iteratorAge is how long a shard iterator can be used after it was made.
const iteratorAge = 15 * time.Minute

// The lengths that parameters of requests for records may have, in bytes.
const (
	maxIterator                = 2048
	minSequence, maxSequence   = 21, 40
	iteratorVersion            = 1
	iteratorBody, iteratorSize = 1 + 5*8, 1 + 6*8
)

// iterator is what a ShardIterator says: where in a shard to go on.
type iterator struct {
	shard
	at   hlc.Timestamp // the records after this position; in the shard, or just before it
	made time.Time     // to the millisecond
}

// append appends x as text. A region takes back only its own.
//
//	base64url(version · table · since · number of the shard · position · made, Unix milliseconds · checksum, with the region's name)
func (x *iterator) append(dst []byte, region string) []byte {
	var b [iteratorSize]byte
	b[0] = iteratorVersion
	for i, n := range [...]uint64{uint64(x.stream.Table), uint64(x.stream.Since), uint64(x.number), uint64(x.at), uint64(x.made.UnixMilli())} {
		binary.BigEndian.PutUint64(b[1+8*i:], n)
	}
	binary.BigEndian.PutUint64(b[iteratorBody:], iteratorSum(b[:iteratorBody], region))
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

func iteratorSum(body []byte, region string) uint64 {
	var d xxhash.Digest
	d.Reset()
	// A digest takes everything.
	_, _ = d.WriteString(region)
	_, _ = d.Write(body)
	return d.Sum64()
}

// parseIterator reads what append wrote in the same region. That there is such a stream is not looked at.
func parseIterator(text []byte, region string) (x iterator, ok bool) {
	var b [iteratorSize]byte
	if len(text) != base64.RawURLEncoding.EncodedLen(iteratorSize) {
		return iterator{}, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(b[:], text); err != nil {
		return iterator{}, false
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	if b[0] != iteratorVersion || binary.BigEndian.Uint64(b[iteratorBody:]) != iteratorSum(b[:iteratorBody], region) || n(2) >= maxShards {
		return iterator{}, false
	}
	s := cdc.Stream{Table: globaltable.TableID(n(0)), Since: int64(n(1))}
	x = iterator{shard: shardNumbered(s, int64(n(2))), at: hlc.Timestamp(n(3)), made: time.UnixMilli(int64(n(4)))}
	return x, s.Since >= 0 && x.at >= x.after && x.at <= x.last
}

// The types of shard iterators.
const (
	atSequence    = "AT_SEQUENCE_NUMBER"
	afterSequence = "AFTER_SEQUENCE_NUMBER"
	trimHorizon   = "TRIM_HORIZON"
	latest        = "LATEST"
	atTimestamp   = "AT_TIMESTAMP"
)

// iteratorRequest has the parameters of GetShardIterator.
type iteratorRequest struct {
	arn, shard, kind, sequence text
	millis                     integer       // the timestamp, in Unix milliseconds
	position                   hlc.Timestamp // the sequence number
}

func (r *iteratorRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "StreamArn":
		return parseText(&r.arn, v)
	case "ShardId":
		return parseText(&r.shard, v)
	case "ShardIteratorType":
		return parseText(&r.kind, v)
	case "SequenceNumber":
		return parseText(&r.sequence, v)
	case "Timestamp":
		return parseTime(&r.millis, v)
	}
	return nil
}

// parseTime reads a time, which is a number of seconds, as milliseconds. One that is out of all bounds becomes one far away.
func parseTime(millis *integer, v *fastjson.Value) error {
	if !given(v) {
		return nil
	}
	seconds, err := v.Float64()
	if err != nil {
		return wrongType(v, "Date")
	}
	const bound = 1 << 46 // of milliseconds: two thousand years
	*millis = integer{int64(math.Round(max(0, min(bound, seconds*1000)))), true}
	return nil
}

// check also checks what the parameters mean together.
func (r *iteratorRequest) check() error {
	var check constraints
	check.arn(r.arn)
	if check.present(r.shard != nil, "shardId") {
		check.length(r.shard, minShardID, maxShardID, "shardId")
	}
	if check.present(r.kind != nil, "shardIteratorType") {
		check.oneOf(r.kind, "shardIteratorType", strings.Join(iteratorTypes, ", "), iteratorTypes...)
	}
	check.length(r.sequence, minSequence, maxSequence, "sequenceNumber")
	if err := check.err(); err != nil {
		return err
	}
	kind := string(r.kind)
	if err := r.goesWith("SequenceNumber", r.sequence != nil, kind == atSequence || kind == afterSequence); err != nil {
		return err
	}
	if err := r.goesWith("Timestamp", r.millis.given, kind == atTimestamp); err != nil {
		return err
	}
	if r.sequence != nil {
		var ok bool
		if r.position, ok = cdc.ParseSequence(string(r.sequence)); !ok {
			return r.badSequence()
		}
	}
	return nil
}

var iteratorTypes = []string{trimHorizon, latest, atSequence, afterSequence, atTimestamp}

// goesWith demands a parameter if the type of the iterator needs it, and only then.
func (r *iteratorRequest) goesWith(name string, is, must bool) error {
	switch {
	case must && !is:
		return invalid("One or more parameter values were invalid: " + name + " must be specified when ShardIteratorType is " + string(r.kind))
	case is && !must:
		return invalid("One or more parameter values were invalid: " + name + " must not be specified when ShardIteratorType is " + string(r.kind))
	}
	return nil
}

func (r *iteratorRequest) badSequence() error {
	return invalid("Invalid SequenceNumber: " + string(r.sequence))
}

func (c *call) getShardIterator(p *fastjson.Object) error {
	var r iteratorRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	s, err := c.server.streamNamed(r.arn)
	if err != nil {
		return err
	}
	first, last := c.server.shards(&s)
	in, ok := shardWithID(s.Stream, string(r.shard))
	if !ok || in.number < first || in.number > last {
		return shardNotFound()
	}
	if r.sequence != nil && (r.position <= in.after || r.position > in.last) {
		return r.badSequence()
	}
	if r.millis.given && r.millis.value > c.server.config.Shard.Now().Millis() {
		return invalid("Invalid Timestamp: it is in the future")
	}
	x := iterator{shard: in, at: r.place(&s, &in, c.server.config.Streams.StreamMark()), made: c.server.config.Now()}
	if x.trimmed(&s) {
		return errTrimmed()
	}
	c.out = append(c.out, `{"ShardIterator":"`...)
	c.out = append(x.append(c.out, c.server.config.Region), `"}`...)
	return nil
}

// place returns the position after which the iterator that is asked for begins.
func (r *iteratorRequest) place(s *stream, in *shard, mark hlc.Timestamp) hlc.Timestamp {
	oldest := min(max(in.after, s.Trimmed), in.last)
	switch string(r.kind) {
	case latest:
		return min(max(oldest, mark), in.last)
	case atTimestamp:
		return min(max(oldest, hlc.FromTime(time.UnixMilli(max(1, r.millis.value)))-1), in.last)
	case atSequence:
		return r.position - 1
	case afterSequence:
		return r.position
	}
	return oldest
}

// trimmed reports whether something has gone that a reader at x would have read.
func (x *iterator) trimmed(s *stream) bool { return x.at < min(s.Trimmed, x.last) }

func errTrimmed() *exception {
	return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + "TrimmedDataAccessException", message: "The data you are trying to access has been trimmed"}
}

// appendIterator appends x as the member of an answer, made now.
func (c *call) appendIterator(x *iterator) {
	x.made = c.server.config.Now()
	c.out = append(c.out, `,"NextShardIterator":"`...)
	c.out = append(x.append(c.out, c.server.config.Region), '"')
}
