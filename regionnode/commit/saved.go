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
)

// SavedRecord is a record that was saved before the store was emptied. It leaves the saved space when all of its writes are known or logged anew; what is in doubt stays until somebody decides. What may not be here any more leaves it when
// another region has taken it over (savedover.go).
type SavedRecord struct {
	Key
	At time.Time // when it was saved, to the millisecond
	// Frontier is the table's purge frontier in the store that had the record: whatever was deleted at or below it, the record knows of. 0: not known, or none.
	Frontier hlc.Timestamp
	Judged   bool   // a replay has decided about all of its writes: what is in doubt is listed in the conflict feed
	Record   []byte // encoded conflict record

	own *ownWrites // of a record that another region gives: what comes with it; nil: they are in the store
}

const (
	savedVersion = 3 // 2 does not say whether it was judged, 1 has no frontier either
	savedHead    = 1 + 8 + 8 + 1
)

func (e *SavedRecord) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, savedVersion), uint64(e.At.UnixMilli()))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Frontier))
	judged := byte(0)
	if e.Judged {
		judged = 1
	}
	return append(append(dst, judged), e.Record...)
}

// decodeSaved returns what a value says. The record is a view.
func decodeSaved(b []byte) (e SavedRecord, err error) {
	if len(b) == 0 || b[0] == 0 || b[0] > savedVersion {
		return SavedRecord{}, errCorruptStore("saved record", nil)
	}
	head := [...]int{1: 1 + 8, 2: 1 + 8 + 8, 3: savedHead}[b[0]]
	if len(b) <= head || head == savedHead && b[head-1] > 1 {
		return SavedRecord{}, errCorruptStore("saved record", nil)
	}
	e.At, e.Record = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))), b[head:]
	if b[0] >= 2 {
		e.Frontier = hlc.Timestamp(binary.BigEndian.Uint64(b[1+8:]))
	}
	e.Judged = b[0] >= 3 && b[head-1] == 1
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

// DropSaved drops a saved record, and what is kept of the log for it, durably. It is no error if there is none.
func (s *Shard) DropSaved(ctx context.Context, key Key) error {
	return s.do(ctx, false, func(c *core, g *group) error {
		g.batch.Delete(store.AppendSavedKey(nil, key.Table, key.Bytes))
		return eachOwnWrite(c.engine, key, hlc.Stamp{}, func(storeKey, _ []byte) error {
			g.batch.Delete(storeKey)
			return nil
		})
	})
}

// ReplayResult counts what became of the writes of saved records.
type ReplayResult struct {
	Known  int // here already, or overwritten by what is
	Logged int // merged, and logged anew with their own dots
	Kept   int // in doubt: they stay saved, and are listed
	Away   int // records, not writes, that may not be here any more: another region has to take them over
}

// Add adds o to r.
func (r *ReplayResult) Add(o ReplayResult) {
	r.Known, r.Logged, r.Kept, r.Away = r.Known+o.Known, r.Logged+o.Logged, r.Kept+o.Kept, r.Away+o.Away
}

// MaxReplay bounds the records of one Replay.
const MaxReplay = 128

// Replay takes saved records into the table. It is for a replica that has got what the others hold and is not active yet. A write that adds nothing is known. One above purge, the greatest
// purge frontier of the others, cannot be older than a deletion that they have forgotten: it is merged, and logged with its own dot in the lane of the table's placement; what of it is relative to the region's own
// contributions is made anew (conflict.Replay). The rest stays saved, and is listed in the conflict feed; of a feed it is listed anew. What a locality policy keeps out of here stays as it is, for another region to take over. All of that, and what leaves the saved space, is one batch, or several where records have many
// writes: then each is right by itself. It returns when that is durable.
//
// With alone, there are no others: nobody has served the table since this region did, and purge is the frontier that it had itself. Then nothing is in doubt of a record that was saved at that frontier.
func (s *Shard) Replay(ctx context.Context, records []SavedRecord, purge hlc.Timestamp, alone bool) (ReplayResult, error) {
	return s.replay(ctx, &replaying{records: records, self: s.cfg.Origin, purge: purge, alone: alone})
}

// replay does what is left of r, batch after batch.
func (s *Shard) replay(ctx context.Context, r *replaying) (ReplayResult, error) {
	for {
		sub, err := s.prepareReplay(r)
		if err != nil {
			return ReplayResult{}, err
		}
		if _, ok := s.latches.acquire(ctx, sub.hashes); !ok {
			s.recycle(sub)
			return ReplayResult{}, errInterrupted(ctx, globaltable.Unavailable)
		}
		if err = s.planReplay(sub, r); err == nil {
			err = s.listAhead(ctx, sub)
		}
		if err != nil {
			s.release(sub)
			return ReplayResult{}, err
		}
		if _, err := s.submit(ctx, sub); err != nil {
			return ReplayResult{}, err
		}
		if len(r.records) == 0 {
			return r.result, nil
		}
	}
}

// replaying is how far a Replay has got.
type replaying struct {
	records []SavedRecord // still to do
	self    hlc.Origin    // whose they are
	from    *savedGiver   // nil: they are this store's own
	purge   hlc.Timestamp
	alone   bool
	after   hlc.Stamp // up to it the first record's writes are done
	kept    bool      // something of them stays saved
	result  ReplayResult
}

const opReplay = "replay saved records"

func (s *Shard) prepareReplay(r *replaying) (*submission, error) {
	records := r.records
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
	sub.hashes, sub.from = sortHashes(sub.hashes), r.from
	return sub, nil
}

// replayBytes is about how much one batch of a Replay logs, and how much it reads of the writes of one record.
const replayBytes = 1 << 20

// planReplay decides what becomes of each write, as far as one batch goes.
func (s *Shard) planReplay(sub *submission, r *replaying) error {
	if err := sub.read(s.cfg.Engine, s.cfg.Catalog, s.progress.durable.Load()); err != nil {
		return err
	}
	sub.replays = make([]replay, len(sub.keys))
	for i := range sub.keys {
		if err := s.planRecord(sub, i, r); err != nil {
			return err
		}
		k, out := &sub.keys[i], &sub.replays[i]
		if k.next != nil {
			var err error
			if k.after, k.live, err = digestOf(s.cfg.Catalog, k.table, k.key, k.next); err != nil {
				return fault(globaltable.Corrupt, opReplay, "", err)
			}
		}
		if !out.done {
			break
		}
		r.records, r.after, r.kept = r.records[1:], hlc.Stamp{}, false
	}
	sub.bytes += sub.logs
	if err := s.rules.list(sub, s.cfg.Engine); err != nil {
		return err
	}
	sub.listAnew()
	return nil
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

// planRecord decides what becomes of the writes of the record that is next, as far as the batch goes.
func (s *Shard) planRecord(sub *submission, i int, r *replaying) error {
	saved, k, out := &r.records[0], &sub.keys[i], &sub.replays[i]
	if out.keep = r.kept; r.from == nil && s.cfg.Catalog.Excludes(k.table, k.key, s.cfg.Origin) {
		out.keep, out.done = true, true // a locality policy has come meanwhile
		r.result.Away++
		return nil
	}
	if saved.own != nil && r.after.Less(saved.own.after) {
		r.after = saved.own.after
	}
	own, err := s.ownWritesOf(saved, r.after)
	if err != nil {
		return err
	}
	x, err := expiryOf(s.cfg.Catalog, s.cfg.Catalog.Expiry(k.table), k.table, k.key)
	if err != nil {
		return err
	}
	current := k.current
	p := conflict.Replay{Self: r.self, Expiry: x, Saved: saved.Frontier, Purge: r.purge, Doubt: r.purge}
	if r.alone && saved.Frontier >= r.purge {
		p.Doubt = 0
	}
	if r.alone {
		own.leaveToRecord(out)
	}
	writes, err := p.Writes(saved.Record, own.writes)
	switch {
	case err == nil:
	case r.from != nil:
		return fault(globaltable.Corrupt, opReplay, "", err) // it stays with who gives it
	default:
		out.keep, out.done = true, true // what this version cannot split stays as it is
		r.result.Kept++
		return nil
	}
	for j := range writes {
		w := &writes[j]
		c := &w.Change
		if !r.after.Less(c.Dot) {
			continue
		}
		// What a feed lists anew is not split: a part of it, made anew, would hide the rest.
		if own.more && own.last().Less(c.Dot) {
			if saved.own != nil {
				break // the next part of it goes on from here
			}
			r.kept = out.keep
			return nil
		}
		if sub.logs >= replayBytes && len(out.list) == 0 {
			r.kept = out.keep
			return nil
		}
		r.after = c.Dot
		c.Table, c.Key, c.CatalogVersion, c.Transaction = uint64(k.table), k.key, 0, 0
		if current, err = x.Settled(current, max(r.purge, c.Floor)); err != nil {
			return fault(globaltable.Corrupt, opReplay, "", err)
		}
		what, err := p.Judge(current, w)
		if err != nil {
			return fault(globaltable.Corrupt, opReplay, "", err)
		}
		if what == conflict.Fresh && lengthInBody(c) > maxWriteBytes {
			what = conflict.Doubted // no peer would take it
		}
		switch what {
		case conflict.Known:
			r.result.Known++
		case conflict.Doubted:
			err = sub.keepDoubted(i, current, c, &r.result)
		case conflict.Fresh:
			current, err = s.replayFresh(sub, i, current, c)
			r.result.Logged++
		}
		if err != nil {
			return err
		}
		own.settle(out, w, what)
	}
	out.done = true
	if out.keep && r.from == nil && !saved.Judged {
		out.judged = saved
	}
	return nil
}

// keepDoubted leaves c, a write of the key at that index, saved, and notes it for the conflict feed, where current is what the table has.
func (sub *submission) keepDoubted(i int, current []byte, c *conflict.Change, result *ReplayResult) error {
	out := &sub.replays[i]
	if sub.keys[i].table.IsFeed() {
		// A conflict is as true as ever, and so is that one was dropped. As a write of its time it could not be told from what the others have forgotten, so it is written anew.
		out.list = append(out.list, c.Ops...)
		sub.logs += lengthInBody(c)
		result.Logged++
		return nil
	}
	result.Kept++
	out.keep = true
	fenced, err := conflict.Fenced(current, c)
	if err != nil {
		return fault(globaltable.Corrupt, opReplay, "", err)
	}
	sub.lose(i, []conflict.Loss{fenced})
	return nil
}

// replayFresh merges c, a write of the key at that index, into what the table has, to be logged with the batch. It returns what the table has then.
func (s *Shard) replayFresh(sub *submission, i int, current []byte, c *conflict.Change) (next []byte, err error) {
	if err := s.rules.loseChange(sub, i, current, c); err != nil {
		return nil, fault(globaltable.Corrupt, opReplay, "", err)
	}
	if next, _, err = conflict.Apply(nil, current, c); err != nil {
		return nil, fault(globaltable.Corrupt, opReplay, "", err)
	}
	sub.keys[i].next = next
	sub.replays[i].changes = append(sub.replays[i].changes, *c)
	sub.logs += lengthInBody(c)
	if err := s.cfg.Clock.Observe(c.Dot.Time); err != nil {
		return nil, fault(globaltable.Unavailable, opReplay, "", err)
	}
	return next, nil
}

// replay is what becomes of one saved record in a batch.
type replay struct {
	changes []conflict.Change // to be logged
	list    []conflict.Op     // of a conflict that is to be listed anew
	own     []store.KV        // saved writes of the log that are in doubt from now on, and, without a value, those that are done
	judged  *SavedRecord      // it stays saved, and all of its writes were looked at for the first time
	keep    bool              // something of it stays saved
	done    bool              // all of its writes have been looked at
}

// decideReplay asks the catalog in force where the writes go. Nothing has changed when it returns an error.
func (c *core) decideReplay(sub *submission) error {
	if err := c.decideGiven(sub); err != nil {
		return err
	}
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
			sub.logs += lengthInBody(&r.changes[j])
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
		if sub.from == nil {
			keepSaved(g, k, r)
		}
		if len(r.changes) == 0 {
			continue
		}
		if err := c.commitKey(g, k); err != nil {
			return err
		}
		if err := c.tellReplayed(g, k, r.changes); err != nil {
			return err
		}
		for j := range r.changes {
			if err := c.logChange(g, k.place, &r.changes[j]); err != nil {
				return err
			}
		}
	}
	return c.commitListings(g, sub)
}

// keepSaved puts into the batch what stays in the saved space of a record that was replayed, or leaves it.
func keepSaved(g *group, k *keyState, r *replay) {
	if r.done && !r.keep {
		g.batch.Delete(store.AppendSavedKey(nil, k.table, k.key))
	}
	if r.judged != nil {
		saved := *r.judged
		saved.Judged = true
		g.batch.Set(store.AppendSavedKey(nil, k.table, k.key), saved.append(nil))
	}
	for _, kv := range r.own {
		if kv.Value == nil {
			g.batch.Delete(kv.Key)
		} else {
			g.batch.Set(kv.Key, kv.Value)
		}
	}
}
