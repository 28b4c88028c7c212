package commit

import (
	"bytes"
	"context"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// erase is about records of a table, or of a conflict feed, that another region has taken over.
type erase struct {
	table   globaltable.TableID // whose version is being carried out: no feed
	version globaltable.Version
	to      string   // the region that has them
	records [][]byte // as they were given, parallel to the keys
	done    globaltable.Placed
}

const opErase = "erase records"

// Erase erases records, of the table or of its feed, that the region to has taken over, if they are still as they were given, and may still not be here, while that version of the table is being carried out; with all that is a
// function of them. It returns how many went, when that is durable. It makes no change that anybody could see who may see them, so it has no stamp and no log entry.
func (s *Shard) Erase(ctx context.Context, table globaltable.TableID, version globaltable.Version, to string, records []RecordAt) (erased int, err error) {
	sub, err := s.prepareErase(table, version, to, records)
	if err != nil || sub == nil {
		return 0, err
	}
	if _, ok := s.latches.acquire(ctx, sub.hashes); !ok {
		s.recycle(sub)
		return 0, errInterrupted(ctx, globaltable.Unavailable)
	}
	if err := sub.read(s.cfg.Engine, s.cfg.Catalog, s.progress.durable.Load()); err != nil {
		s.release(sub)
		return 0, err
	}
	e := sub.erase
	if _, err = s.submit(ctx, sub); err != nil {
		return 0, err
	}
	return int(e.done.Erased), nil
}

// prepareErase checks the records. sub is nil when there are none.
func (s *Shard) prepareErase(table globaltable.TableID, version globaltable.Version, to string, records []RecordAt) (*submission, error) {
	if len(records) == 0 {
		return nil, nil
	}
	sub := s.newSubmission(kindErase)
	sub.erase = &erase{table: table, version: version, to: to}
	for i := range records {
		r := &records[i]
		err := checkKey(r.Key)
		if err == nil && (r.Table != table && r.Table != table.Feed() || table == globaltable.SystemTable) {
			err = fault(globaltable.Invalid, opErase, "a record of another table", nil)
		}
		if err != nil {
			s.recycle(sub)
			return nil, err
		}
		sub.addKey(r.Table, r.Bytes)
		sub.erase.records = append(sub.erase.records, r.Record)
		sub.bytes += 64 + len(r.Bytes)
	}
	sub.hashes = sortHashes(sub.hashes)
	return sub, nil
}

// decideErase decides which go, under the catalog in force.
func (c *core) decideErase(sub *submission) error {
	e := sub.erase
	if err := c.carriesOut(e.table, e.version); err != nil {
		return err
	}
	e.done = globaltable.Placed{Handed: map[string]int64{}}
	for i := range sub.keys {
		k := &sub.keys[i]
		k.gone = k.current != nil && bytes.Equal(k.current, e.records[i]) && !c.catalog.Admits(k.table, k.key, 0)
		if !k.gone {
			continue
		}
		e.done.Erased++
		e.done.Handed[e.to]++
		e.done.ErasedBytes += int64(len(k.key) + len(k.current))
		var err error
		if k.digests, err = c.digests.table(k.table); err != nil {
			return fault(globaltable.Internal, opErase, "", err)
		}
	}
	return nil
}

// commitErase fills the batch.
func (c *core) commitErase(g *group, sub *submission) error {
	e := sub.erase
	if e.done.Erased == 0 {
		return nil
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		if !k.gone {
			continue
		}
		if err := c.putRecord(g, k); err != nil {
			return err
		}
		c.digests.change(k.table, k.digests, k.key.Bucket(digestBits), k.before, Digest{})
	}
	return c.placings.count(g, e.table, &e.done)
}

// EraseSaved erases what is kept over a rebuilding, of the table and of its feed, for items that may not be here, and that a replay has decided about: saved records, and writes of the region's log. Whatever of a saved record could be merged was logged anew when the region came back; the rest, which is
// in doubt, is listed in the conflict feed with its values, wherever the item may be. So nothing of it is here alone. What no replay has decided about stays, until another region has taken it over (EraseGiven). It erases limit of them at most, and reports whether there may be more. It returns when that is durable.
func (s *Shard) EraseSaved(ctx context.Context, table globaltable.TableID, version globaltable.Version, limit int) (more bool, err error) {
	keys, err := s.savedToErase(table, limit)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	return len(keys) == limit, s.do(ctx, false, eraseSaved(table, version, keys))
}

// savedKey is what is kept of an item, or of a write of it.
type savedKey struct {
	table    globaltable.TableID
	key      item.Key
	storeKey []byte
}

// savedToErase returns at most limit of what is kept for items that may not be here.
func (s *Shard) savedToErase(table globaltable.TableID, limit int) (keys []savedKey, err error) {
	for _, t := range []globaltable.TableID{table, table.Feed()} {
		for _, of := range []func(globaltable.TableID) (lower, upper []byte){store.SavedRange, store.ReplaySpace} {
			lower, upper := of(t)
			err := store.Each(s.cfg.Engine, lower, upper, func(storeKey, _ []byte) error {
				key, ok := savedItem(storeKey)
				switch {
				case !ok:
					return errCorruptStore("key of what was saved", nil)
				case len(keys) == limit:
					return errStop
				case s.cfg.Catalog.Admits(t, key, 0):
					return nil
				}
				open, err := openSaved(s.cfg.Engine, Key{t, key})
				if err == nil && !open {
					keys = append(keys, savedKey{t, bytes.Clone(key), bytes.Clone(storeKey)})
				}
				return err
			})
			if err != nil && err != errStop {
				return nil, fault(globaltable.Internal, opErase, "", err)
			}
		}
	}
	return keys, nil
}

// openSaved reports whether a record is saved that no replay has decided about.
func openSaved(r store.Reader, k Key) (open bool, err error) {
	err = getValue(r, store.AppendSavedKey(nil, k.Table, k.Bytes), func(value []byte) error {
		saved, err := decodeSaved(value)
		open = !saved.Judged
		return err
	})
	return open, err
}

// savedItem returns the item's key in a key of what is saved: a view.
func savedItem(storeKey []byte) (key item.Key, ok bool) {
	if store.Space(storeKey[0]) == store.SpaceSaved {
		_, key, ok = store.DecodeSavedKey(storeKey)
		return key, ok
	}
	_, key, _, ok = store.DecodeReplayKey(storeKey)
	return key, ok
}

func eraseSaved(table globaltable.TableID, version globaltable.Version, keys []savedKey) func(*core, *group) error {
	return func(c *core, g *group) error {
		if err := c.carriesOut(table, version); err != nil {
			return err
		}
		var done globaltable.Placed
		for i := range keys {
			k := &keys[i]
			open, err := openSaved(c.engine, Key{k.table, k.key})
			if err != nil {
				return err
			}
			if !open && !c.catalog.Admits(k.table, k.key, 0) {
				g.batch.Delete(k.storeKey)
				done.Saved++
			}
		}
		return c.placings.count(g, table, &done)
	}
}

// toErase finds the keys of a page, of what is kept of a table's items in a range of the store beside their records, whose items may not be here: in order, after the key given. keyOf reads the item's key out of a value. next is the last one of the page; nil: there are no more.
func (s *Shard) toErase(table globaltable.TableID, lower, upper, after []byte, keyOf func(value []byte) (item.Key, error)) (bad [][]byte, next []byte, err error) {
	if after != nil {
		lower = append(slices.Clip(after), 0)
	}
	seen, size := 0, 0
	err = store.Each(s.cfg.Engine, lower, upper, func(key, value []byte) error {
		if seen++; seen > maxTrim || size > maxTrimBytes {
			return errStop
		}
		size += len(value)
		of, err := keyOf(value)
		if err != nil {
			return err
		}
		next = append(next[:0], key...)
		if !s.cfg.Catalog.Admits(table, of, 0) {
			bad = append(bad, bytes.Clone(key))
		}
		return nil
	})
	switch {
	case err == nil:
		next = nil
	case err != errStop:
		return nil, nil, fault(globaltable.Internal, opErase, "", err)
	}
	return bad, next, nil
}
