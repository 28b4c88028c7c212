package commit

import (
	"context"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

const opCollect = "collect"

// maxCollect bounds the keys of one call of Collect: they are latched together.
const maxCollect = 1024

// Collected is what one call of Collect did.
type Collected struct {
	Purge   hlc.Timestamp // the frontier at which it was done; durable
	Gone    int           // records of deleted items that are no more
	Expired int           // records whose item had expired; it is erased
	Reduced int           // records that have lost removed attributes
	Next    []byte        // where the next call goes on; nil: nothing more can be collected at Purge
	Last    []byte        // where a call at a later frontier may go on: all before was looked at, and only what came in late, from another region, can be there
}

// Collect erases what of the table's records nobody can need any more at its purge frontier (conflict.Collect), of at most limit records that have something to collect, in the order in which
// that became so. after is nil, or what a call before has returned as Next or Last. It goes by the same door as a write: the keys are latched, and it is in a group with others. It makes no
// change that a peer or a client could see, an item that has expired being seen by nobody, so it has no stamp and no log entry. It returns when all is durable. The error is of kind InUse while a replica of the table is on
// its way in or out; nothing was done then.
func (s *Shard) Collect(ctx context.Context, table globaltable.TableID, after []byte, limit int) (Collected, error) {
	sub, out, err := s.prepareCollect(table, after, limit)
	if err != nil || sub == nil {
		return out, err
	}
	if _, ok := s.latches.acquire(ctx, sub.hashes); !ok {
		s.recycle(sub)
		return Collected{}, errInterrupted(ctx, globaltable.Unavailable)
	}
	if err := s.readAndCollect(sub, &out); err != nil {
		s.release(sub)
		return Collected{}, err
	}
	if _, err := s.submit(ctx, sub); err != nil {
		return Collected{}, err
	}
	return out, nil
}

// prepareCollect finds the keys. sub is nil when there are none.
func (s *Shard) prepareCollect(table globaltable.TableID, after []byte, limit int) (sub *submission, out Collected, err error) {
	out.Purge = s.Purge(table)
	if out.Purge == 0 || table == globaltable.SystemTable {
		out.Last = after
		return nil, out, nil
	}
	if plantedSweep && len(s.cfg.Catalog.Expiry(table)) > 0 {
		out.Purge = s.cfg.Clock.Last()
	}
	keys, err := s.garbage(table, after, max(1, min(limit, maxCollect)), &out)
	if err != nil || len(keys) == 0 {
		return nil, out, err
	}
	sub = s.newSubmission(kindCollect)
	sub.purge = out.Purge
	for _, k := range keys {
		sub.addKey(table, k)
	}
	sub.hashes = sortHashes(sub.hashes)
	return sub, out, nil
}

// garbage returns the first keys after the one given of which something goes at or below out.Purge, and says in out where they end.
func (s *Shard) garbage(table globaltable.TableID, after []byte, limit int, out *Collected) (keys []item.Key, err error) {
	lower, _ := store.GarbageRange(table)
	if after != nil {
		lower = append(slices.Clip(after), 0)
	}
	upper := store.AppendGarbageKey(nil, table, out.Purge+1, nil)
	out.Last = after
	if string(lower) >= string(upper) {
		return nil, nil
	}
	it, err := s.cfg.Engine.NewIter(lower, upper)
	if err != nil {
		return nil, fault(globaltable.Internal, opCollect, "", err)
	}
	for ok := it.First(); ok && out.Next == nil && err == nil; ok = it.Next() {
		_, _, key, known := store.DecodeGarbageKey(it.Key())
		switch {
		case !known:
			err = errCorruptStore("key of garbage", nil)
		case len(keys) >= limit:
			out.Next = out.Last
		default:
			out.Last = slices.Clone(it.Key())
			keys = append(keys, item.Key(out.Last[len(out.Last)-len(key):]))
		}
	}
	if cerr := it.Close(); err == nil && cerr != nil {
		err = fault(globaltable.Internal, opCollect, "", cerr)
	}
	return keys, err
}

// readAndCollect decides what becomes of the latched keys. One that was written since it was found may have nothing to collect any more.
func (s *Shard) readAndCollect(sub *submission, out *Collected) error {
	if err := sub.read(s.cfg.Engine, s.cfg.Catalog, s.progress.durable.Load()); err != nil {
		return err
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		at := len(sub.arena)
		x, err := expiryOf(s.cfg.Catalog, s.cfg.Catalog.Expiry(k.table), k.table, k.key)
		if err != nil {
			return err
		}
		next, did, err := x.Collect(sub.arena, k.current, sub.purge)
		if err != nil {
			return errCorruptStore("record", err)
		}
		switch {
		case did.Gone:
			k.gone = true
		case did.Changed:
			sub.arena = next
			k.next = next[at:len(next):len(next)]
			if k.after, k.live, err = digestOf(s.cfg.Catalog, k.table, k.key, k.next); err != nil {
				return errCorruptStore("record", err)
			}
		}
		switch {
		case did.Expired:
			out.Expired++
		case did.Gone:
			out.Gone++
		case did.Changed:
			out.Reduced++
		}
	}
	return nil
}

// decideCollect asks the catalog in force whether the table may be collected, and whether the frontier is still that of the replica which was read: it may have been dropped, and made
// anew.
func (c *core) decideCollect(sub *submission) error {
	table := sub.keys[0].table
	if c.purges.frontier(table) < sub.purge && !plantedSweep || !c.catalog.Settled(table) {
		return fault(globaltable.InUse, opCollect, "a replica of the table is on its way in or out", nil)
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		if !k.gone && k.next == nil || k.before == k.after {
			continue
		}
		var err error
		if k.digests, err = c.digests.table(table); err != nil {
			return fault(globaltable.Internal, opCollect, "", err)
		}
	}
	return nil
}

// commitCollect fills the batch with what is left of the records, and the frontier at which the rest went. The digests stay as they are, but for items that have expired: they count live attributes only, and do not change while
// time passes.
func (c *core) commitCollect(g *group, sub *submission) error {
	c.purges.keep(sub.keys[0].table)
	for i := range sub.keys {
		k := &sub.keys[i]
		if !k.gone && k.next == nil {
			continue
		}
		if err := c.putRecord(g, k); err != nil {
			return err
		}
		if k.before != k.after {
			if err := c.tellCollected(g, k, sub.purge); err != nil {
				return err
			}
		}
		c.digests.change(k.table, k.digests, k.key.Bucket(digestBits), k.before, k.after)
	}
	return nil
}
