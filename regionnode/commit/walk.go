package commit

import (
	"bytes"
	"context"
	"io"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// Range is a run of the keys of a table, or of the entries of one of its indexes, in either direction. Its bounds are byte strings, not necessarily keys of anything: a prefix of keys
// is the lower bound of all that begin with it, and its item.Key.PrefixEnd their upper one; what comes after a key begins at its item.Key.Next.
type Range struct {
	Table    globaltable.TableID
	Index    globaltable.IndexID // zero: the table itself
	Lower    item.Key            // the range begins with it; nil: at the first key
	Upper    item.Key            // the range ends before it; nil: after the last key
	Backward bool                // from the last key to the first
}

// bounds returns r as a range of the store.
func (r *Range) bounds() (lower, upper []byte) {
	whole, prefix := store.RecordRange, func(key item.Key) []byte { return store.AppendRecordKey(nil, r.Table, key) }
	if r.Index != 0 {
		whole = func(globaltable.TableID) (lower, upper []byte) { return store.EntryRange(r.Table, r.Index) }
		prefix = func(key item.Key) []byte { return store.AppendEntryKey(nil, r.Table, r.Index, key) }
	}
	lower, upper = whole(r.Table)
	if r.Lower != nil {
		lower = prefix(r.Lower)
	}
	if r.Upper != nil {
		upper = prefix(r.Upper)
	}
	return lower, upper
}

// Walk calls f with the live items in r, in order and as of one moment, until f returns false. For an index, key is the entry's: item.AppendIndexKey's, the table's key at its end; what f gets
// beside it is the item itself, as of the same moment. An index that is not built yet is refused, in DynamoDB's words, with kind Invalid. What f gets is a view, valid during the call. Walk returns when everything f has seen is durable: the caller answers nobody before.
func (s *Shard) Walk(ctx context.Context, r Range, f func(key item.Key, current Current) (more bool)) error {
	x := s.cfg.Catalog.Expiry(r.Table)
	at := s.momentOf(x)
	// live shows the record of a key under the one that f gets: an entry's, in an index.
	live := func(entry, key item.Key, record []byte) (bool, error) {
		c, _, err := currentOf(s.cfg.Catalog, x, Key{r.Table, key}, record, at)
		c.Key = key
		return err == nil && (c.Item == nil || f(entry, c)), err
	}
	if r.Index == 0 {
		return s.walkRecords(ctx, s.cfg.Engine, &r, func(key item.Key, record []byte) (bool, error) { return live(key, key, record) })
	}
	if err := s.readable(&r); err != nil {
		return err
	}
	moment := s.cfg.Engine.NewSnapshot()
	var base []byte
	err := s.walk(ctx, moment, &r, func(it store.Iterator) (more bool, err error) {
		entry := item.Key(store.EntryKeySuffix(it.Key()))
		key, err := baseKey(it, entry)
		if err != nil {
			return false, err
		}
		base = store.AppendRecordKey(base[:0], r.Table, key)
		record, release, ok, err := moment.Get(base)
		switch {
		case err != nil:
			return false, fault(globaltable.Internal, opWalk, "", err)
		case !ok:
			return false, errCorruptStore("an index has an entry of a record that is not there", nil)
		}
		defer closing(release, &err)
		return live(entry, key, record)
	})
	if cerr := moment.Close(); err == nil && cerr != nil {
		err = fault(globaltable.Internal, opWalk, "", cerr)
	}
	return err
}

const opWalk = "walk"

// readable refuses an index that is not built. One that is stays so.
func (s *Shard) readable(r *Range) error {
	name := ""
	if t := s.cfg.Catalog.Indexed(r.Table); t != nil {
		for i := range t.Indexes {
			if t.Indexes[i].ID == r.Index {
				name = t.Indexes[i].Name
			}
		}
	}
	switch status, ok := s.Index(r.Table, r.Index); {
	case name == "" || !ok:
		return fault(globaltable.Invalid, opWalk, "The table does not have the specified index", nil)
	case !status.Ready:
		return fault(globaltable.Invalid, opWalk, "Cannot read from backfilling global secondary index: "+name, nil)
	}
	return nil
}

// baseKey returns the table's key in an entry's: a view.
func baseKey(it store.Iterator, entry item.Key) (item.Key, error) {
	value, err := it.Value()
	if err != nil {
		return nil, fault(globaltable.Internal, opWalk, "", err)
	}
	at, ok := store.DecodeEntry(value)
	if !ok || len(entry)-at < minKeyLen {
		return nil, errCorruptStore("entry of an index", nil)
	}
	return entry[at:], nil
}

func closing(c io.Closer, err *error) {
	if cerr := c.Close(); *err == nil && cerr != nil {
		*err = fault(globaltable.Internal, opWalk, "", cerr)
	}
}

// walkRecords is walk over the records of a table.
func (s *Shard) walkRecords(ctx context.Context, from store.Reader, r *Range, f func(key item.Key, record []byte) (more bool, err error)) error {
	return s.walk(ctx, from, r, func(it store.Iterator) (bool, error) {
		record, err := it.Value()
		if err != nil {
			return false, fault(globaltable.Internal, opWalk, "", err)
		}
		return f(item.Key(store.RecordKeySuffix(it.Key())), record)
	})
}

// Records calls f with the records of the table with keys in (from, to), those of deleted items included, in order and as of one moment, until f returns false. A nil from is before the
// first key, a nil to after the last. What f gets is a view, valid during the call. It returns when everything f has seen is durable.
func (s *Shard) Records(ctx context.Context, table globaltable.TableID, from, to item.Key, f func(key item.Key, record []byte) (more bool)) error {
	r := Range{Table: table, Upper: to}
	if from != nil {
		r.Lower = from.Next()
	}
	return s.walkRecords(ctx, s.cfg.Engine, &r, func(key item.Key, record []byte) (bool, error) { return f(key, record), nil })
}

// walk calls f with an iterator at each key of r in what from shows, until f returns false or an error, and waits until what f may have seen is durable.
func (s *Shard) walk(ctx context.Context, from store.Reader, r *Range, f func(it store.Iterator) (more bool, err error)) error {
	lower, upper := r.bounds()
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	it, err := from.NewIter(lower, upper)
	if err != nil {
		return fault(globaltable.Internal, opWalk, "", err)
	}
	seen := s.started.Load() // after the iterator was made: all that it shows has begun
	start, step := it.First, it.Next
	if r.Backward {
		start, step = it.Last, it.Prev
	}
	more := true
	for ok := start(); ok && more && err == nil; ok = more && err == nil && step() {
		if ctx.Err() != nil {
			err = errInterrupted(ctx, globaltable.Unavailable)
			break
		}
		more, err = f(it)
	}
	closing(it, &err)
	if werr := s.progress.wait(ctx, seen); werr != nil {
		return werr
	}
	return err
}
