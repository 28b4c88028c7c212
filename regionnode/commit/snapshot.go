package commit

import (
	"context"
	"errors"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// Snapshot is all tables as they were at one moment between two groups. While it is open the store keeps what was written over and erased since; so whoever opens one closes it before files are rewritten for what must be gone, and before the engine is closed.
type Snapshot struct {
	shard *Shard
	view  store.Snapshot
	at    hlc.Timestamp
}

// OpenSnapshot returns a snapshot when all that it shows is durable.
func (s *Shard) OpenSnapshot(ctx context.Context) (*Snapshot, error) {
	snap := &Snapshot{shard: s}
	sub := s.newSubmission(kindControl)
	sub.first, sub.control = true, func(c *core, g *group) error {
		// First in its group: the engine shows the groups before, and the streams have no record at or below this moment that is not of those.
		snap.view, snap.at = c.engine.NewSnapshot(), c.clock.Now()
		g.useClock = true
		return nil
	}
	// Not to be given up half way: the sequencer would open a snapshot that nobody closes.
	if _, err := s.submit(context.WithoutCancel(ctx), sub); err != nil {
		if snap.view != nil {
			err = errors.Join(err, snap.view.Close())
		}
		return nil, err
	}
	return snap, nil
}

// At returns the moment. What a change stream tells after this position, and nothing else, is not in the snapshot.
func (s *Snapshot) At() hlc.Timestamp { return s.at }

// Walk is Shard.Walk over a table, without an index, as of the moment. Items that may not be here any more are passed over.
func (s *Snapshot) Walk(ctx context.Context, r Range, f func(key item.Key, current Current) (more bool)) error {
	catalog := s.shard.cfg.Catalog
	x, pinned := catalog.Expiry(r.Table).Until(s.at), catalog.Pinned()
	return s.shard.walkRecords(ctx, s.view, &r, func(key item.Key, record []byte) (bool, error) {
		if pinned {
			if _, _, _, ok := catalog.Place(r.Table, key); !ok {
				return true, nil
			}
		}
		c, _, err := currentOf(catalog, x, Key{r.Table, key}, record, s.at)
		c.Key = key
		return err == nil && (c.Item == nil || f(key, c)), err
	})
}

// Close releases what the snapshot holds. It is called once, when no Walk goes on.
func (s *Snapshot) Close() error { return s.view.Close() }
