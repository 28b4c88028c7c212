package store

import (
	"io"
)

// Reader is a consistent view of an engine: the engine itself (each call sees the newest state) or a Snapshot.
type Reader interface {
	// Get returns the value of key. ok is false when there is none. value is a view until release is closed; release is nil when ok is false.
	Get(key []byte) (value []byte, release io.Closer, ok bool, err error)
	// NewIter returns an iterator over keys in [lower, upper) as they are now; it does not see later batches. A nil upper has no end.
	// It is not positioned. The caller closes it.
	NewIter(lower, upper []byte) (Iterator, error)
}

// Engine is an ordered map of byte strings with atomic, durable batches: what lies under a shard. Its methods may be
// called from several goroutines, except that batches are applied by one goroutine at a time.
type Engine interface {
	Reader
	// NewBatch returns an empty batch. It must end in Apply, or in Discard.
	NewBatch() Batch
	// Apply applies b atomically. When it returns, b is visible; it is durable when wait returns nil. Batches become durable in the order in
	// which they were applied. wait is called exactly once, from any goroutine; b and its memory belong to the engine.
	Apply(b Batch) (wait func() error, err error)
	// NewSnapshot returns the state as it is now. The caller closes it.
	NewSnapshot() Snapshot
	// Size returns about how many bytes the keys in [lower, upper) take on disk. What was written just now may be missing.
	Size(lower, upper []byte) (uint64, error)
	// Close releases everything. Iterators and snapshots must have been closed, and every wait called.
	Close() error
}

// Snapshot is a view of one moment.
type Snapshot interface {
	Reader
	Close() error
}

// Batch gathers changes that are applied together. Keys and values are copied. Later operations win over earlier ones.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	DeleteRange(from, to []byte) // keys in [from, to)
	Len() int                    // bytes gathered, about
	Empty() bool
	Discard() // gives the batch back unapplied
}

// Iterator walks over a range of keys. Key and Value are views until the iterator moves. A failure ends the walk; Close returns it.
type Iterator interface {
	First() bool
	Last() bool
	SeekGE(key []byte) bool // first key at or after key
	SeekLT(key []byte) bool // last key before key
	Next() bool
	Prev() bool
	Key() []byte
	Value() ([]byte, error)
	Close() error
}

// KV is one key with its value.
type KV struct{ Key, Value []byte }

// Each calls f with every key in [lower, upper) and its value, in order, as views, until f returns an error, which is returned.
func Each(r Reader, lower, upper []byte, f func(key, value []byte) error) (err error) {
	it, err := r.NewIter(lower, upper)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		if err := f(it.Key(), value); err != nil {
			return err
		}
	}
	return nil
}
