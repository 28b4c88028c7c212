package commit

import (
	"context"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// StreamState is what a change stream has.
type StreamState struct {
	cdc.Stream
	View    globaltable.StreamView
	Trimmed hlc.Timestamp // records up to and with it have gone; zero: none
	Last    hlc.Timestamp // of the newest record that there ever was; zero: there was none
	Records int64
	Bytes   int64 // of what is stored
}

// Streams returns what there is of the change streams of a table in this store, the oldest first: a stream of which nothing was told yet is not among them. Of what they have some may not be durable yet.
func (s *Shard) Streams(table globaltable.TableID) (out []StreamState) {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	for id, state := range s.streams.states {
		if id.Table == table {
			out = append(out, s.stateOf(id, state))
		}
	}
	slices.SortFunc(out, func(a, b StreamState) int { return compareStreams(a.Stream, b.Stream) })
	return out
}

// AllStreams is Streams for all tables.
func (s *Shard) AllStreams() []StreamState {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	out := make([]StreamState, 0, len(s.streams.states))
	for id, state := range s.streams.states {
		out = append(out, s.stateOf(id, state))
	}
	slices.SortFunc(out, func(a, b StreamState) int { return compareStreams(a.Stream, b.Stream) })
	return out
}

// Stream returns what there is of one stream. Where nothing was told yet it has no view.
func (s *Shard) Stream(id cdc.Stream) StreamState {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	state := s.streams.states[id]
	if state == nil {
		state = &streamState{}
	}
	return s.stateOf(id, state)
}

func (s *Shard) stateOf(id cdc.Stream, state *streamState) StreamState {
	out := StreamState{Stream: id, View: state.view, Trimmed: state.trimmed, Last: state.last, Records: state.records, Bytes: state.bytes}
	if s.streams.outlives(id) {
		out.Trimmed = max(out.Trimmed, s.streams.born)
	}
	return out
}

// StreamMark returns a position such that all records at or below it, of all streams, are durable and can be read, and no other ever comes to be there. It moves with each write, not by itself: see StreamMarkNow.
func (s *Shard) StreamMark() hlc.Timestamp {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	return s.streams.mark
}

// StreamMarkNow is StreamMark for a position that is after all that was written before the call. It costs a sync, unless others write.
func (s *Shard) StreamMarkNow(ctx context.Context) (hlc.Timestamp, error) {
	if _, err := s.Heads(ctx); err != nil {
		return 0, err
	}
	return s.StreamMark(), nil
}

// StreamRange is a run of the records of a change stream.
type StreamRange struct {
	cdc.Stream
	After hlc.Timestamp // the records after this position
	UpTo  hlc.Timestamp // up to and with this one; zero: the mark
}

const opReadStream = "read change stream"

// ReadStream calls f with the durable records in r, in order, until f returns false. What f gets is a view, valid during the call. It returns the position up to which r was read: that of the last record that f has seen, if f ended it, else the end of r, or the mark if that is before. Records of items
// that may not be here any more, which are about to be erased, are passed over.
func (s *Shard) ReadStream(r StreamRange, f func(*cdc.Record) (more bool)) (upTo hlc.Timestamp, err error) {
	upTo = s.StreamMark() // before the lanes: all that have something up to it are known then
	if plantedUnread {
		upTo = s.Stream(r.Stream).Last
	}
	if r.UpTo != 0 {
		upTo = min(upTo, r.UpTo)
	}
	if upTo <= r.After {
		return r.After, nil
	}
	lanes := s.streamLanes(r.Stream)
	pinned := s.cfg.Catalog.Pinned()
	err = eachStreamRecord(s.cfg.Engine, r.Stream, lanes, r.After, upTo, func(x *cdc.Record, _, value []byte) (bool, error) {
		if err := x.Decode(value); err != nil {
			return false, errCorruptStore("stream record", err)
		}
		if pinned {
			if _, _, _, ok := s.cfg.Catalog.Place(r.Table, x.Key); !ok {
				return true, nil
			}
		}
		if !f(x) {
			upTo = x.Position
			return false, nil
		}
		return true, nil
	})
	return upTo, err
}

// streamLanes returns the lanes of which the stream has records. The caller must not change the list.
func (s *Shard) streamLanes(id cdc.Stream) []globaltable.LaneID {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	if state := s.streams.states[id]; state != nil {
		return state.lanes
	}
	return nil
}

// eachStreamRecord calls f with the stored records of some lanes of a stream with positions after the one given, up to and with the other, in the order of positions, until f returns false or an error. Of the record only position and lane are filled in; key and value are views.
func eachStreamRecord(r store.Reader, id cdc.Stream, lanes []globaltable.LaneID, after, upTo hlc.Timestamp, f func(x *cdc.Record, key, value []byte) (bool, error)) (err error) {
	type head struct {
		it store.Iterator
		at hlc.Timestamp // of the record that it is at
	}
	heads := make([]head, 0, len(lanes))
	defer func() {
		for i := range heads {
			closing(heads[i].it, &err)
		}
	}()
	ended := func(i int, ok bool) bool {
		if ok {
			_, _, _, heads[i].at, ok = store.DecodeStreamKey(heads[i].it.Key())
		}
		return !ok
	}
	for _, lane := range lanes {
		it, err := r.NewIter(store.StreamRange(id.Table, id.Since, lane, after, upTo))
		if err != nil {
			return fault(globaltable.Internal, opReadStream, "", err)
		}
		heads = append(heads, head{it: it})
		if i := len(heads) - 1; ended(i, it.First()) {
			if err := heads[i].it.Close(); err != nil {
				heads = heads[:i]
				return fault(globaltable.Internal, opReadStream, "", err)
			}
			heads = heads[:i]
		}
	}
	var x cdc.Record
	for len(heads) > 0 {
		least := 0
		for i := range heads {
			if heads[i].at < heads[least].at {
				least = i
			}
		}
		it := heads[least].it
		_, _, x.Lane, x.Position, _ = store.DecodeStreamKey(it.Key())
		value, err := it.Value()
		if err != nil {
			return fault(globaltable.Internal, opReadStream, "", err)
		}
		if more, err := f(&x, it.Key(), value); err != nil || !more {
			return err
		}
		if ended(least, it.Next()) {
			closed := heads[least].it
			heads = slices.Delete(heads, least, least+1)
			if err := closed.Close(); err != nil {
				return fault(globaltable.Internal, opReadStream, "", err)
			}
		}
	}
	return nil
}

// maxTrim and maxTrimBytes bound the records that one batch drops.
const (
	maxTrim      = 4096
	maxTrimBytes = 16 << 20
)

// TrimStream drops the oldest records of a stream, a page of them: those at or below a position, and those that are too many for a number of bytes. It returns whether there may be more, when that is durable.
func (s *Shard) TrimStream(ctx context.Context, id cdc.Stream, upTo hlc.Timestamp, limit int64) (more bool, err error) {
	cut, err := s.streamCut(id, upTo, limit)
	if err != nil || cut.records == 0 {
		return false, err
	}
	err = s.do(ctx, false, trimStream(id, &cut, &more))
	return more, err
}

func trimStream(id cdc.Stream, cut *streamCut, more *bool) func(*core, *group) error {
	return func(c *core, g *group) error {
		*more = !c.streams.cut(g.batch, id, cut) || cut.more
		return nil
	}
}

// streamCut is what of a stream is to go: its records after trimmed, up to and with one of them.
type streamCut struct {
	trimmed, upTo  hlc.Timestamp
	went           uint64 // as streamState has it
	records, bytes int64
	more           bool // there are others
}

// streamCut says what TrimStream is to drop. It counts it outside of the critical section: what is durable does not change, it only goes.
func (s *Shard) streamCut(id cdc.Stream, upTo hlc.Timestamp, limit int64) (cut streamCut, err error) {
	mark := s.StreamMark() // before the lanes, as in ReadStream
	s.streams.mu.Lock()
	state := s.streams.states[id]
	if state == nil || state.records == 0 {
		s.streams.mu.Unlock()
		return cut, nil
	}
	over, lanes := state.bytes-limit, state.lanes
	cut.trimmed, cut.went = state.trimmed, state.went
	s.streams.mu.Unlock()
	if over <= 0 {
		mark = min(mark, upTo)
	}
	err = eachStreamRecord(s.cfg.Engine, id, lanes, cut.trimmed, mark, func(x *cdc.Record, key, value []byte) (bool, error) {
		if x.Position > upTo && cut.bytes >= over {
			return false, nil
		}
		if cut.more = cut.records >= maxTrim || cut.bytes >= maxTrimBytes; cut.more {
			return false, nil
		}
		cut.upTo = x.Position
		cut.records++
		cut.bytes += int64(len(key) + len(value))
		return true, nil
	})
	return cut, err
}

// DropStream drops a stream that has no records any more. It is no error if it has some, or is not there: then nothing is done.
func (s *Shard) DropStream(ctx context.Context, id cdc.Stream) error {
	return s.do(ctx, false, dropStream(id))
}

func dropStream(id cdc.Stream) func(*core, *group) error {
	return func(c *core, g *group) error {
		c.streams.mu.Lock()
		defer c.streams.mu.Unlock()
		if state := c.streams.states[id]; state != nil && state.records == 0 {
			c.streams.forget(g.batch, id)
		}
		return nil
	}
}

// EraseStreams erases the stream records of a table's items that may not be here, from the record after the one named on, a page of them. next names the last one that was looked at; nil: there are no more. It returns when that is durable. An error of kind InUse says that another version is in force.
func (s *Shard) EraseStreams(ctx context.Context, table globaltable.TableID, version globaltable.Version, after []byte) (next []byte, err error) {
	bad, next, err := s.streamsToErase(table, after)
	if err != nil || len(bad) == 0 {
		return next, err
	}
	return next, s.do(ctx, false, eraseStreams(table, version, bad))
}

// streamsToErase is toErase for the table's stream records.
func (s *Shard) streamsToErase(table globaltable.TableID, after []byte) (bad [][]byte, next []byte, err error) {
	lower, upper := store.StreamsRange(table)
	return s.toErase(table, lower, upper, after, func(value []byte) (item.Key, error) {
		var x cdc.Record
		if err := x.Decode(value); err != nil {
			return nil, errCorruptStore("stream record", err)
		}
		return x.Key, nil
	})
}

func eraseStreams(table globaltable.TableID, version globaltable.Version, keys [][]byte) func(*core, *group) error {
	return func(c *core, g *group) error { return c.eraseStreams(g, table, version, keys) }
}

func (c *core) eraseStreams(g *group, table globaltable.TableID, version globaltable.Version, keys [][]byte) error {
	if err := c.carriesOut(table, version); err != nil {
		return err
	}
	c.streams.mu.Lock()
	defer c.streams.mu.Unlock()
	var done globaltable.Placed
	for _, key := range keys {
		_, since, _, at, _ := store.DecodeStreamKey(key)
		state := c.streams.states[cdc.Stream{Table: table, Since: since}]
		if state != nil && at <= state.trimmed {
			continue // it goes with this group, or has gone
		}
		err := getValue(c.engine, key, func(value []byte) error {
			done.Streamed++
			g.batch.Delete(key)
			if state != nil {
				state.records--
				state.bytes -= int64(len(key) + len(value))
				state.went++
				c.streams.dirty[cdc.Stream{Table: table, Since: since}] = struct{}{}
			}
			return nil
		})
		if err != nil {
			return fault(globaltable.Internal, opErase, "", err)
		}
	}
	return c.placings.count(g, table, &done)
}
