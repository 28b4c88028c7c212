package dynamodb

import (
	"net/http"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
)

const (
	// maxRecords is how many stream records a page may have.
	maxRecords = 1000
	// maxRecordBytes is the size of keys and images at which a page of stream records ends.
	maxRecordBytes = 1 << 20
)

func (c *call) getRecords(p *fastjson.Object) error {
	var given text
	var limit integer
	err := each(p, func(name []byte, v *fastjson.Value) error {
		switch string(name) {
		case "ShardIterator":
			return parseText(&given, v)
		case "Limit":
			return parseInteger(&limit, v, "Integer")
		}
		return nil
	})
	if err != nil {
		return err
	}
	var check constraints
	check.atLeast(limit, 1, "limit")
	if check.present(given != nil, "shardIterator") {
		check.length(given, 1, maxIterator, "shardIterator")
	}
	if err := check.err(); err != nil {
		return err
	}
	pg := recordPage{limit: maxRecords}
	if limit.given {
		if limit.value > maxRecords {
			return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + "LimitExceededException", message: "Limit must be less than or equal to " + strconv.Itoa(maxRecords)}
		}
		pg.limit = int(limit.value)
	}
	x, ok := parseIterator(given, c.server.config.Region)
	if !ok {
		return invalid("Invalid ShardIterator")
	}
	if c.server.config.Now().Sub(x.made) > iteratorAge {
		return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + "ExpiredIteratorException", message: "The provided iterator exceeds the maximum age allowed."}
	}
	s, err := c.streamToRead(x.stream)
	if err != nil {
		return err
	}
	return c.answerRecords(&s, &x, &pg)
}

// streamToRead finds the stream of an iterator. Only a table that is complete here tells of its items.
func (c *call) streamToRead(id cdc.Stream) (stream, error) {
	if err := c.server.refused(); err != nil {
		return stream{}, err
	}
	c.view = c.server.config.View() // before the table is found
	t, ok := c.view.Table(id.Table)
	if ok {
		status := t.StatusIn(c.server.config.Origin)
		ok = status == globaltable.Active || status == globaltable.Updating
	}
	if ok {
		var named *globaltable.Table
		named, ok = c.view.Lookup(t.Name) // the name may be another table's here
		ok = ok && named.ID == id.Table
	}
	if !ok {
		return stream{}, tableNotFound()
	}
	c.resolved = append(c.resolved, t)
	s, ok := c.server.streamOf(t, id.Since)
	if !ok {
		return stream{}, streamNotFound(streamARN(c.server.config.Region, t.Name, globaltable.LabelOf(id.Since)))
	}
	return s, nil
}

// recordPage is a page of stream records as it grows.
type recordPage struct {
	limit int // of records

	teller cdc.Teller
	view   globaltable.StreamView
	count  int
	bytes  int
	last   hlc.Timestamp // position of the last record in it
	ended  bool          // there is a record after last
	err    error
}

// answerRecords reads one page and appends the answer.
func (c *call) answerRecords(s *stream, x *iterator, pg *recordPage) error {
	c.partial = withheld(s.table, c.server.config.Origin)
	pg.teller, pg.view = cdc.Teller{Table: s.table, Region: c.server.config.Region}, s.View
	c.out = append(c.out, `{"Records":[`...)
	upTo, err := c.door.stream(commit.StreamRange{Stream: s.Stream, After: x.at, UpTo: x.last}, func(r *cdc.Record) bool { return c.takeRecord(pg, r) })
	if err == nil {
		err = pg.err
	}
	if err != nil {
		return err
	}
	// Looked at only now: what was trimmed while it was read may be missing in what was read.
	if s.Trimmed = c.server.config.Streams.Stream(s.Stream).Trimmed; x.trimmed(s) {
		return errTrimmed()
	}
	if pg.ended {
		upTo = pg.last
	}
	c.out = append(c.out, ']')
	over, err := c.server.over(s, x, upTo)
	if err != nil {
		return err
	}
	if !over {
		x.at = upTo
		c.appendIterator(x)
	}
	c.out = append(c.out, '}')
	return nil
}

// over reports whether no record comes any more in the iterator's shard after a position up to which all was read.
func (s *Server) over(of *stream, x *iterator, upTo hlc.Timestamp) (bool, error) {
	if upTo >= x.last {
		return true, nil
	}
	if of.open && s.config.Shard.Now() <= x.last {
		return false, nil
	}
	// The time of the shard or of the stream is over. If that is not yet the past, it is for the next request.
	if err := s.settle(of); err != nil {
		return false, err
	}
	return !of.open && of.Last <= upTo, nil
}

// takeRecord takes the next record into the page, and reports whether there is to be another one.
func (c *call) takeRecord(pg *recordPage, r *cdc.Record) (more bool) {
	keys, err := pg.teller.Table.KeySchema.AppendItem(c.scratch[:0], r.Key)
	if err != nil {
		pg.err = err
		return false
	}
	c.scratch = keys
	size := keys.Size()
	for _, image := range [...]item.Item{r.Old, r.New} {
		if image != nil {
			size += image.Size()
		}
	}
	if pg.ended = pg.count > 0 && (pg.bytes+size > maxRecordBytes || !c.reserve(int64(size))); pg.ended {
		return false
	}
	if pg.count > 0 {
		c.out = append(c.out, ',')
	}
	c.out = pg.append(c.out, c.server.config.Region, r, keys, size)
	pg.count++
	pg.bytes += size
	pg.last = r.Position
	pg.ended = pg.count >= pg.limit
	return !pg.ended
}

// append appends the record as the API has it. keys is its key, size that of keys and images.
func (pg *recordPage) append(b []byte, region string, r *cdc.Record, keys item.Item, size int) []byte {
	b = append(b, `{"eventID":"`...)
	b = pg.teller.AppendID(b, r)
	b = append(b, `","eventName":"`...)
	b = append(b, r.Event.String()...)
	b = append(b, `","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":`...)
	b = item.AppendJSONString(b, region)
	b = append(b, `,"dynamodb":{"ApproximateCreationDateTime":`...)
	b = strconv.AppendInt(b, r.Position.Millis()/1000, 10)
	b = keys.AppendJSON(append(b, `,"Keys":`...))
	if r.New != nil {
		b = r.New.AppendJSON(append(b, `,"NewImage":`...))
	}
	if r.Old != nil {
		b = r.Old.AppendJSON(append(b, `,"OldImage":`...))
	}
	b = append(b, `,"SequenceNumber":"`...)
	b = cdc.AppendSequence(b, r.Position)
	b = append(b, `","SizeBytes":`...)
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, `,"StreamViewType":"`...)
	b = append(append(b, pg.view...), `"}`...)
	if r.Kind == cdc.Expired {
		b = append(b, `,"userIdentity":{"PrincipalId":"dynamodb.amazonaws.com","Type":"Service"}`...)
	}
	return append(b, '}')
}
