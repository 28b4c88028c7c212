package commit

import (
	"context"
	"errors"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/streams/change"
)

const opApply = "apply changes of a peer"

// maxRemoteKeys bounds the keys latched by one Remote: far more than a batch of 512 KB of real changes has.
const maxRemoteKeys = 1 << 16

// ApplyRemote merges a peer's entries and stores the position with them, exactly once: what does not follow the stored position is refused with a
// *PositionError, and what this region's catalog is too old for with ErrCatalogBehind. Every stamp advances the clock; one too far ahead refuses the whole of r with an *hlc.AheadError in the chain. Changes that may not be here
// are voided. Nothing of it enters the log. It returns when everything is durable; for an error of any kind but Unknown, nothing was done.
func (s *Shard) ApplyRemote(ctx context.Context, r *Remote) (RemoteResult, error) {
	sub, err := s.prepareRemote(r)
	if err != nil {
		return RemoteResult{}, err
	}
	return s.mergeAndSubmit(ctx, sub)
}

// MergeRecords merges whole records that came another way than a lane: by the same door, without a position. Records that may not be here are dropped.
func (s *Shard) MergeRecords(ctx context.Context, records []RecordAt) error {
	sub, err := s.prepareRecords(records)
	if err != nil || len(records) == 0 {
		return err
	}
	_, err = s.mergeAndSubmit(ctx, sub)
	return err
}

// MergeFrom is MergeRecords for records that a region's store with that incarnation gave; 0: whichever it has. The error is of kind Fenced, and nothing was done, when the catalog in force does not
// trust it.
func (s *Shard) MergeFrom(ctx context.Context, origin hlc.Origin, incarnation globaltable.Incarnation, records []RecordAt) error {
	sub, err := s.prepareRecords(records)
	if err != nil || len(records) == 0 {
		return err
	}
	sub.giver = giver{origin, incarnation}
	_, err = s.mergeAndSubmit(ctx, sub)
	return err
}

func (s *Shard) mergeAndSubmit(ctx context.Context, sub *submission) (RemoteResult, error) {
	if _, ok := s.latches.acquire(ctx, sub.hashes); !ok {
		s.recycle(sub)
		return RemoteResult{}, errInterrupted(ctx, globaltable.Unavailable)
	}
	err := s.readAndMerge(sub)
	if err == nil {
		err = s.listAhead(ctx, sub)
	}
	if err != nil {
		s.release(sub)
		return RemoteResult{}, err
	}
	return s.submit(ctx, sub)
}

// readAndMerge does in the caller's goroutine all of a merge that needs no sequence.
func (s *Shard) readAndMerge(sub *submission) error {
	sub.grow(sub.bytes)
	if err := sub.read(s.cfg.Engine, s.cfg.Catalog, s.progress.durable.Load()); err != nil {
		return err
	}
	sub.grow(sub.bytes + sub.bytes/4)
	if err := sub.merge(&s.rules); err != nil {
		return fault(globaltable.Corrupt, opApply, "", err)
	}
	return s.rules.list(sub, s.cfg.Engine)
}

// prepareRemote checks and decodes r.
func (s *Shard) prepareRemote(r *Remote) (*submission, error) {
	if len(r.Entries) == 0 || r.Source.Origin == 0 || r.Source.Origin == s.cfg.Origin || r.Source.Incarnation == 0 ||
		r.Position.Incarnation != r.Source.Incarnation {
		return nil, fault(globaltable.Invalid, opApply, "no entries, or a source or position that cannot be", nil)
	}
	sub := s.newSubmission(kindMerge)
	sub.remote = r
	for i := range r.Entries {
		if r.Entries[i].Void {
			continue
		}
		sub.bytes += len(r.Entries[i].Body)
		err := change.EachChange(r.Entries[i].Body, func(c *conflict.Change) error { return s.addRemoteChange(sub, r, c) })
		if errors.Is(err, ErrCatalogBehind) {
			s.recycle(sub)
			return nil, err
		}
		if err != nil {
			s.recycle(sub)
			return nil, fault(globaltable.Corrupt, opApply, "", err)
		}
	}
	if err := s.finishParts(sub); err != nil {
		return nil, err
	}
	return sub, nil
}

// addRemoteChange takes over a decoded change. Its views live as long as the body, its operations do not.
func (s *Shard) addRemoteChange(sub *submission, r *Remote, c *conflict.Change) error {
	if err := c.Check(); err != nil {
		return err
	}
	table := globaltable.TableID(c.Table)
	if globaltable.Version(c.CatalogVersion) > s.cfg.Catalog.Version(table) {
		return ErrCatalogBehind
	}
	// The catalog's lane goes everywhere: nothing else may be in it, nor the catalog in another.
	if (table == globaltable.SystemTable) != (r.Source.Lane == globaltable.CatalogLane) {
		return fault(globaltable.Corrupt, opApply, "a change in a lane where its table cannot be", nil)
	}
	p := part{change: *c}
	p.change.Ops = slices.Clone(c.Ops)
	return sub.addPart(Key{table, item.Key(c.Key)}, p)
}

// addPart appends a part. Its key is given its index by finishParts.
func (sub *submission) addPart(k Key, p part) error {
	if err := checkKey(k); err != nil {
		return err
	}
	if len(sub.parts) >= maxRemoteKeys {
		return fault(globaltable.LimitExceeded, opApply, "too many changes at once", nil)
	}
	p.key = len(sub.keys)
	sub.addKey(k.Table, k.Bytes)
	sub.parts = append(sub.parts, p)
	return nil
}

// finishParts joins parts of the same key, and shows the clock the greatest stamp.
func (s *Shard) finishParts(sub *submission) error {
	index := make(map[string]int, len(sub.keys))
	keys := sub.keys[:0]
	var last hlc.Timestamp
	for i := range sub.parts {
		p := &sub.parts[i]
		k := sub.keys[p.key]
		at, known := index[string(k.storeKey)]
		if !known {
			at = len(keys)
			index[string(k.storeKey)] = at
			keys = append(keys, k)
		}
		p.key = at
		stamp, err := p.last()
		if err != nil {
			s.recycle(sub)
			return fault(globaltable.Corrupt, opApply, "", err)
		}
		last = max(last, stamp)
	}
	sub.keys = keys
	sub.hashes = sortHashes(sub.hashes)
	sub.bytes += 64 * len(keys)
	if err := s.cfg.Clock.Observe(last); err != nil {
		s.recycle(sub)
		return fault(globaltable.Unavailable, opApply, "", err)
	}
	return nil
}

// last returns the greatest stamp of a part.
func (p *part) last() (hlc.Timestamp, error) {
	if p.record == nil {
		return p.change.Dot.Time, nil
	}
	newest, err := conflict.NewestOf(p.record)
	if err != nil {
		return 0, err
	}
	seen, err := conflict.VectorOf(p.record)
	if err != nil {
		return 0, err
	}
	last := newest.Time
	for _, stamp := range seen {
		last = max(last, stamp.Time)
	}
	return last, nil
}

// prepareRecords checks records.
func (s *Shard) prepareRecords(records []RecordAt) (*submission, error) {
	sub := s.newSubmission(kindMerge)
	for i := range records {
		r := &records[i]
		err := conflict.CheckRecord(r.Record)
		if err == nil {
			sub.bytes += len(r.Record)
			err = sub.addPart(r.Key, part{record: r.Record})
		}
		if err != nil {
			s.recycle(sub)
			return nil, fault(globaltable.Corrupt, "merge records", "", err)
		}
	}
	if err := s.finishParts(sub); err != nil {
		return nil, err
	}
	return sub, nil
}
