package commit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// SavedRecord is a record that was saved before the store was emptied. It leaves the saved space when all of its writes are known or logged anew; what is in doubt stays until somebody decides.
type SavedRecord struct {
	Key
	At time.Time // when it was saved, to the millisecond
	// Frontier is the table's purge frontier in the store that had the record: whatever was deleted at or below it, the record knows of. 0: not known, or none.
	Frontier hlc.Timestamp
	Record   []byte // encoded conflict record
}

const (
	savedVersion = 2 // 1 has no frontier
	savedHead    = 1 + 8 + 8
)

func (e *SavedRecord) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, savedVersion), uint64(e.At.UnixMilli()))
	return append(binary.BigEndian.AppendUint64(dst, uint64(e.Frontier)), e.Record...)
}

// decodeSaved returns what a value says. The record is a view.
func decodeSaved(b []byte) (e SavedRecord, err error) {
	head := savedHead
	if len(b) > 0 && b[0] == 1 {
		head -= 8
	}
	if len(b) <= head || b[0] == 0 || b[0] > savedVersion {
		return SavedRecord{}, errCorruptStore("saved record", nil)
	}
	e.At, e.Record = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))), b[head:]
	if head == savedHead {
		e.Frontier = hlc.Timestamp(binary.BigEndian.Uint64(b[1+8:]))
	}
	return e, nil
}

// Saved calls f with the saved records of the table given, or with table zero of all, in order and after the key given, until f returns false. What f gets is a view, valid during the call.
func (s *Shard) Saved(table globaltable.TableID, after Key, f func(SavedRecord) (more bool)) error {
	return EachSaved(s.cfg.Engine, table, after, f)
}

// EachSaved is Shard.Saved for a store whose shard need not be open.
func EachSaved(r store.Reader, table globaltable.TableID, after Key, f func(SavedRecord) (more bool)) error {
	lower, upper := store.SpaceRange(store.SpaceSaved)
	if table != 0 {
		lower, upper = store.SavedRange(table)
	}
	if after.Table != 0 {
		if from := append(store.AppendSavedKey(nil, after.Table, after.Bytes), 0); bytes.Compare(from, lower) > 0 {
			lower = from
		}
	}
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	err := store.Each(r, lower, upper, func(key, value []byte) error {
		e, err := decodeSaved(value)
		if err != nil {
			return err
		}
		table, itemKey, ok := store.DecodeSavedKey(key)
		if !ok {
			return errCorruptStore("key of a saved record", nil)
		}
		if e.Key = (Key{table, itemKey}); !f(e) {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return fault(globaltable.Internal, "read saved records", "", err)
	}
	return nil
}

// errStop ends a walk early.
var errStop = errors.New("enough")

// DropSaved drops a saved record, durably. It is no error if there is none.
func (s *Shard) DropSaved(ctx context.Context, key Key) error {
	return s.do(ctx, false, func(_ *core, g *group) error {
		g.batch.Delete(store.AppendSavedKey(nil, key.Table, key.Bytes))
		return nil
	})
}

// ReplayResult counts what became of the writes of saved records.
type ReplayResult struct {
	Known  int // here already, or overwritten by what is
	Logged int // merged, and logged anew with their own dots
	Kept   int // in doubt: they stay saved
}

// MaxReplay bounds the records of one Replay.
const MaxReplay = 128

// Replay takes saved records into the table. It is for a replica that has got what the others hold and is not active yet. A write that adds nothing is known. One above purge, the greatest
// purge frontier of the others, cannot be older than a deletion that they have forgotten: it is merged, and logged with its own dot in the lane of the table's placement. The rest stays saved, and is listed in the conflict feed; of a feed it is listed anew. All of that, and what
// leaves the saved space, is one batch. It returns when that is durable.
//
// With alone, there are no others: nobody has served the table since this region did, and purge is the frontier that it had itself. Then nothing is in doubt of a record that was saved at that frontier.
func (s *Shard) Replay(ctx context.Context, records []SavedRecord, purge hlc.Timestamp, alone bool) (ReplayResult, error) {
	sub, err := s.prepareReplay(records)
	if err != nil {
		return ReplayResult{}, err
	}
	if _, ok := s.latches.acquire(ctx, sub.hashes); !ok {
		s.recycle(sub)
		return ReplayResult{}, errInterrupted(ctx, globaltable.Unavailable)
	}
	result, err := s.planReplay(sub, records, purge, alone)
	if err == nil {
		err = s.listAhead(ctx, sub)
	}
	if err != nil {
		s.release(sub)
		return ReplayResult{}, err
	}
	if _, err := s.submit(ctx, sub); err != nil {
		return ReplayResult{}, err
	}
	return result, nil
}

const opReplay = "replay saved records"

func (s *Shard) prepareReplay(records []SavedRecord) (*submission, error) {
	if len(records) == 0 || len(records) > MaxReplay {
		return nil, fault(globaltable.Invalid, opReplay, fmt.Sprintf("1 to %d records are replayed at once", MaxReplay), nil)
	}
	sub := s.newSubmission(kindReplay)
	for i := range records {
		if err := checkKey(records[i].Key); err != nil {
			s.recycle(sub)
			return nil, err
		}
		sub.addKey(records[i].Table, records[i].Bytes)
		sub.bytes += len(records[i].Record) + 256
	}
	sub.hashes = sortHashes(sub.hashes)
	return sub, nil
}

// planReplay decides what becomes of each write.
func (s *Shard) planReplay(sub *submission, records []SavedRecord, purge hlc.Timestamp, alone bool) (result ReplayResult, err error) {
	if err := sub.read(s.cfg.Engine, s.cfg.Catalog, s.progress.durable.Load()); err != nil {
		return result, err
	}
	sub.replays = make([]replay, len(records))
	for i := range records {
		k, r := &sub.keys[i], &sub.replays[i]
		changes, err := conflict.ChangesOf(records[i].Record)
		if err != nil {
			r.keep = true // what this version cannot split stays as it is
			result.Kept++
			continue
		}
		x, current := s.cfg.Catalog.Expiry(k.table), k.current
		doubt := purge
		if alone && records[i].Frontier >= purge {
			doubt = 0
		}
		for j := range changes {
			c := &changes[j]
			c.Table, c.Key = uint64(k.table), k.key
			// Of what a write had seen, the record keeps nothing at or below the frontier at which it was saved: all that was dealt with.
			if saved := records[i].Frontier; c.Floor < saved && saved < c.Dot.Time {
				c.Floor, c.Context = saved, c.Context.Above(saved)
			}
			if current, err = settled(x, current, max(purge, c.Floor)); err != nil {
				return result, fault(globaltable.Corrupt, opReplay, "", err)
			}
			what, err := judge(x, current, c, purge, doubt)
			if err != nil {
				return result, fault(globaltable.Corrupt, opReplay, "", err)
			}
			switch what {
			case known:
				result.Known++
			case doubted:
				if k.table.IsFeed() {
					// A conflict is as true as ever, and so is that one was dropped. As a write of its time it could not be told from what the others have forgotten, so it is written anew.
					r.list = append(r.list, c.Ops...)
					result.Logged++
					break
				}
				result.Kept++
				r.keep = true
				fenced, err := conflict.Fenced(current, c)
				if err != nil {
					return result, fault(globaltable.Corrupt, opReplay, "", err)
				}
				sub.lose(i, []conflict.Loss{fenced})
			case fresh:
				if err := s.rules.loseChange(sub, i, current, c); err != nil {
					return result, fault(globaltable.Corrupt, opReplay, "", err)
				}
				if current, _, err = conflict.Apply(nil, current, c); err != nil {
					return result, fault(globaltable.Corrupt, opReplay, "", err)
				}
				k.next = current
				r.changes = append(r.changes, *c)
				result.Logged++
				if err := s.cfg.Clock.Observe(c.Dot.Time); err != nil {
					return result, fault(globaltable.Unavailable, opReplay, "", err)
				}
			}
		}
		if k.next == nil {
			continue
		}
		if k.after, k.live, err = digestOf(s.cfg.Catalog, k.table, k.key, k.next); err != nil {
			return result, fault(globaltable.Corrupt, opReplay, "", err)
		}
	}
	if err := s.rules.list(sub, s.cfg.Engine); err != nil {
		return result, err
	}
	sub.listAnew()
	return result, nil
}

// listAnew makes listings of the saved ones that nobody else has any more.
func (sub *submission) listAnew() {
	for i := range sub.replays {
		k, ops := &sub.keys[i], sub.replays[i].list
		if len(ops) == 0 {
			continue
		}
		at := slices.IndexFunc(sub.listings, func(l listing) bool { return string(l.storeKey) == string(k.storeKey) })
		if at >= 0 { // a loss of the same write was found
			found := sub.listings[at].ops
			for _, op := range ops {
				if !slices.ContainsFunc(found, func(o conflict.Op) bool { return string(o.Name) == string(op.Name) }) {
					sub.listings[at].ops = append(sub.listings[at].ops, op)
				}
			}
			continue
		}
		l := listing{keyState: keyState{table: k.table, key: k.key, storeKey: k.storeKey, hash: k.hash, current: k.current, before: k.before}, ops: ops}
		if k.next != nil {
			l.current, l.before, l.brought = k.next, k.after, true
		}
		sub.listings = append(sub.listings, l)
	}
}

// fate is what becomes of a saved write.
type fate int

const (
	known   fate = iota // here already, overwritten by what is, or nobody would see it
	doubted             // it may be older than a deletion that nobody knows of any more
	fresh               // it is to be merged and logged
)

// judge decides about a saved write, where current is what the table has. doubt is the time up to which a deletion may be forgotten that the record did not know of.
//
// An item's expiry overwrites what is older than its time, as a deletion does. But it is no write that would be known to have won: what it says of the item follows from writes that c may have beaten, had
// it been there in time. So a write that nothing but an expiry has overwritten is in doubt, if it would show without that.
func judge(x conflict.Expiry, current []byte, c *conflict.Change, purge, doubt hlc.Timestamp) (fate, error) {
	adds, err := conflict.Adds(current, c)
	if err != nil {
		return known, err
	}
	if adds && c.Dot.Time > doubt && c.Dot.Origin != 0 {
		return fresh, nil
	}
	if !adds {
		r, err := conflict.DecodeRecord(current)
		if err != nil || r.Reset.Stamp.Origin != 0 || r.Reset.Stamp.Time <= c.Dot.Time {
			return known, err
		}
		current = nil
	}
	shows, err := showsIn(x, current, c, purge)
	if err != nil || !shows {
		return known, err
	}
	return doubted, nil
}

// showsIn reports whether anybody would see, at the purge frontier or later, that c is in the record. A deletion of what is not there does not show; below the purge frontier it can hide nothing any more either.
func showsIn(x conflict.Expiry, current []byte, c *conflict.Change, purge hlc.Timestamp) (bool, error) {
	next, _, err := conflict.Apply(nil, current, c)
	if err == nil {
		next, err = settled(x, next, purge)
	}
	if err != nil {
		return false, err
	}
	before, err := conflict.AppendCanonical(nil, current)
	if err != nil {
		return false, err
	}
	after, err := conflict.AppendCanonical(nil, next)
	return !bytes.Equal(before, after), err
}

// replay is what becomes of one saved record.
type replay struct {
	changes []conflict.Change // to be logged
	list    []conflict.Op     // of a conflict that is to be listed anew
	keep    bool              // something of it stays saved
}

// decideReplay asks the catalog in force where the writes go. Nothing has changed when it returns an error.
func (c *core) decideReplay(sub *submission) error {
	for i := range sub.keys {
		k, r := &sub.keys[i], &sub.replays[i]
		if len(r.changes) == 0 {
			continue
		}
		var ok bool
		if k.place.placement, k.place.lane, k.place.version, ok = c.relog(k.table, k.key); !ok {
			return errNoTable(k.table)
		}
		for j := range r.changes {
			r.changes[j].CatalogVersion = uint64(k.place.version)
		}
		var err error
		if k.digests, err = c.digests.table(k.table); err != nil {
			return fault(globaltable.Internal, opReplay, "", err)
		}
	}
	return c.decideListings(sub)
}

// commitReplay fills the batch.
func (c *core) commitReplay(g *group, sub *submission) error {
	for i := range sub.keys {
		k, r := &sub.keys[i], &sub.replays[i]
		if !r.keep {
			g.batch.Delete(store.AppendSavedKey(nil, k.table, k.key))
		}
		if len(r.changes) == 0 {
			continue
		}
		if err := c.commitKey(g, k); err != nil {
			return err
		}
		gl, err := c.groupLane(g, k.place)
		if err != nil {
			return err
		}
		for j := range r.changes {
			gl.buf = change.AppendBodyChange(gl.buf, &r.changes[j])
			gl.changes++
			gl.last = max(gl.last, r.changes[j].Dot.Time)
			g.changes++
		}
	}
	return c.commitListings(g, sub)
}
