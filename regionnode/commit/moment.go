package commit

import (
	"context"
	"errors"
	"io"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// GetAll calls f with the states that the keys had at one moment between call and return, views in the order of keys, and returns when what f has seen is durable. f's error is returned.
// It takes no latch: a snapshot holds all of a write or nothing of it.
func (s *Shard) GetAll(ctx context.Context, keys []Key, f func([]Current) error) error {
	for _, k := range keys {
		if err := checkKey(k); err != nil {
			return err
		}
	}
	moment := s.cfg.Engine.NewSnapshot()
	err := s.readMoment(moment, keys, f)
	if cerr := moment.Close(); err == nil && cerr != nil {
		err = fault(globaltable.Internal, "read store", "", cerr)
	}
	var seen uint64
	for _, k := range keys {
		// Marked before it was applied, so whatever the snapshot shows of the key is in the set by now.
		seen = max(seen, s.pending.group(hashKey(k.Table, k.Bytes)))
	}
	if werr := s.progress.wait(ctx, seen); werr != nil {
		return werr
	}
	return err
}

func (s *Shard) readMoment(moment store.Reader, keys []Key, f func([]Current) error) (err error) {
	now := s.cfg.Clock.Now() // one moment for all, by which items expire
	current := make([]Current, len(keys))
	held := make([]io.Closer, 0, len(keys))
	defer func() {
		for _, c := range held {
			err = errors.Join(err, c.Close())
		}
	}()
	var storeKey []byte
	for i, k := range keys {
		storeKey = store.AppendRecordKey(storeKey[:0], k.Table, k.Bytes)
		value, release, ok, err := moment.Get(storeKey)
		if err != nil {
			return fault(globaltable.Internal, "read store", "", err)
		}
		if !ok {
			continue
		}
		held = append(held, release)
		if current[i], _, err = currentOf(s.cfg.Catalog, s.cfg.Catalog.Expiry(k.Table), k, value, now); err != nil {
			return err
		}
	}
	return f(current)
}

// Size returns about how many bytes what is in r takes on disk. What was written just now may be missing.
func (s *Shard) Size(r Range) (uint64, error) {
	lower, upper := r.bounds()
	n, err := s.cfg.Engine.Size(lower, upper)
	if err != nil {
		return 0, fault(globaltable.Internal, "size", "", err)
	}
	return n, nil
}
