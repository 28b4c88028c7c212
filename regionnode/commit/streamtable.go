package commit

import (
	"context"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// ReadTable is ReadStream over all streams of a table that there are, one after the other, as if they were one: each ends before the next one begins. It calls f with the records after a position, up to and with another one, zero: the mark. Where records after the first position
// have gone already, f does not hear of it: see Trimmed.
func (s *Shard) ReadTable(table globaltable.TableID, after, upTo hlc.Timestamp, f func(*cdc.Record) (more bool)) (reached hlc.Timestamp, err error) {
	if mark := s.StreamMark(); upTo == 0 || upTo > mark {
		upTo = mark
	}
	if upTo <= after {
		return after, nil
	}
	ended := false
	for _, stream := range s.Streams(table) {
		if stream.Last <= after {
			continue
		}
		reached, err = s.ReadStream(StreamRange{Stream: stream.Stream, After: after, UpTo: upTo}, func(r *cdc.Record) bool {
			ended = !f(r)
			return !ended
		})
		if err != nil || ended {
			return reached, err
		}
	}
	return upTo, nil
}

// AwaitTable returns when a table's stream, whichever is in force, has a durable record after the position given that was told since the shard was opened, true, or when ctx is done, false.
func (s *Shard) AwaitTable(ctx context.Context, table globaltable.TableID, after hlc.Timestamp) bool {
	has := func() bool {
		for id, end := range s.streams.ends {
			if id.Table == table && end > after {
				return true
			}
		}
		return false
	}
	for {
		s.streams.mu.Lock()
		if has() {
			s.streams.mu.Unlock()
			return true
		}
		if s.streams.news == nil {
			s.streams.news = make(chan struct{})
		}
		news := s.streams.news
		s.streams.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// Trimmed returns the position up to which records of a table's streams have gone: a reader that was there has missed some if it is before that.
func (s *Shard) Trimmed(table globaltable.TableID) (at hlc.Timestamp) {
	for _, stream := range s.Streams(table) {
		if stream.Records > 0 {
			return max(at, stream.Trimmed)
		}
		at = max(at, stream.Trimmed)
	}
	return at
}

// Lost returns the position up to which records have gone that a table's streams had here, or would have had: where the store is younger than the stream, that is up to where it begins.
func (s *Shard) Lost(t *globaltable.Table) hlc.Timestamp {
	if stream, ok := t.StreamIn(s.cfg.Origin); ok && !s.HasStreams(t.ID) {
		return s.Stream(cdc.Stream{Table: t.ID, Since: stream.Since}).Trimmed
	}
	return s.Trimmed(t.ID)
}

// ReaderBatch takes what is written of readers.
type ReaderBatch struct{ batch store.Batch }

// Set puts what there is of a reader.
func (b ReaderBatch) Set(name string, value []byte) { b.batch.Set(readerKey(name), value) }

// Delete forgets a reader.
func (b ReaderBatch) Delete(name string) { b.batch.Delete(readerKey(name)) }

func readerKey(name string) []byte {
	return append(store.AppendMetaKey(nil, store.MetaReader), name...)
}

// UpdateReaders has f write what is kept of the readers of change streams, in the critical section: calls are one after the other. It returns when that is durable. Emptying the store forgets them.
func (s *Shard) UpdateReaders(ctx context.Context, f func(b ReaderBatch) error) error {
	return s.do(ctx, false, func(_ *core, g *group) error { return f(ReaderBatch{g.batch}) })
}

// Readers calls f with what UpdateReaders has set, in the order of names. What f gets is its own.
func (s *Shard) Readers(f func(name string, value []byte) error) error {
	lower, upper := store.MetaRange(store.MetaReader)
	return store.Each(s.cfg.Engine, lower, upper, func(key, value []byte) error {
		return f(string(key[len(lower):]), slices.Clone(value))
	})
}

// HasStreams reports whether there is anything of change streams of a table.
func (s *Shard) HasStreams(table globaltable.TableID) bool {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	for id := range s.streams.states {
		if id.Table == table {
			return true
		}
	}
	return false
}
