package commit

import (
	"bytes"
	"errors"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// Beside a record, a region that is rebuilt keeps those of its own writes to it that its log still has and that have to do with contributions: what they added is not in the record any more (conflict.Replay). Each is kept by itself, under the
// record's key and its dot, so that a counter may have any number of them:
//
//	version ‖ 1 if a replay has left it in doubt, else 0 ‖ the change, as it was logged
const (
	ownWriteVersion = 1
	ownWriteHead    = 2
)

func appendOwnWrite(dst []byte, c *conflict.Change) []byte {
	return c.Append(append(dst, ownWriteVersion, 0))
}

// decodeOwnWrite returns what a value says: views of it.
func decodeOwnWrite(b []byte) (w conflict.SavedWrite, err error) {
	if len(b) <= ownWriteHead || b[0] != ownWriteVersion || b[1] > 1 {
		return w, errCorruptStore("saved write", nil)
	}
	w.Logged, w.Kept = true, b[1] == 1
	if err := conflict.DecodeChange(b[ownWriteHead:], &w.Change); err != nil {
		return w, errCorruptStore("saved write", err)
	}
	return w, nil
}

// ownWrites are the saved writes of a record that come next.
type ownWrites struct {
	writes []conflict.SavedWrite
	stored map[hlc.Stamp]store.KV
	more   bool      // there are later ones
	after  hlc.Stamp // up to it they were in an earlier part of what another region gives
}

// ownWrites reads the saved writes of a record after the dot given, about replayBytes of them.
func (s *Shard) ownWrites(key Key, after hlc.Stamp) (own ownWrites, err error) {
	own.stored = map[hlc.Stamp]store.KV{}
	read := 0
	err = eachOwnWrite(s.cfg.Engine, key, after, func(storeKey, value []byte) error {
		if own.more = read >= replayBytes; own.more {
			return errStop
		}
		read += len(storeKey) + len(value)
		value = bytes.Clone(value)
		w, err := decodeOwnWrite(value)
		if err != nil {
			return err
		}
		own.writes = append(own.writes, w)
		own.stored[w.Dot] = store.KV{Key: bytes.Clone(storeKey), Value: value}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return own, err
}

// ownWritesOf returns the writes that go with a saved record after the dot given.
func (s *Shard) ownWritesOf(saved *SavedRecord, after hlc.Stamp) (ownWrites, error) {
	if saved.own == nil {
		return s.ownWrites(saved.Key, after)
	}
	own := *saved.own
	own.writes = slices.Clone(own.writes) // whoever judges them changes them
	return own, nil
}

// last returns the dot of the last one; there is one.
func (o *ownWrites) last() hlc.Stamp { return o.writes[len(o.writes)-1].Dot }

// settle notes what is to be stored of a write that was judged.
func (o *ownWrites) settle(out *replay, w *conflict.SavedWrite, what conflict.Fate) {
	kv, ok := o.stored[w.Dot]
	if !ok || !w.Logged || what == conflict.Doubted && w.Kept {
		return
	}
	if what == conflict.Doubted {
		kv.Value[1] = 1
	} else {
		kv.Value = nil
	}
	out.own = append(out.own, kv)
}

// leaveToRecord drops the writes that nobody has doubted. Where there are no others, nobody has another history of the record than this one, or has collected something of it: the record says it all, also what the log has no more.
func (o *ownWrites) leaveToRecord(out *replay) {
	kept := o.writes[:0]
	for _, w := range o.writes {
		if w.Kept {
			kept = append(kept, w)
		} else {
			out.own = append(out.own, store.KV{Key: o.stored[w.Dot].Key})
		}
	}
	o.writes = kept
}

// eachOwnWrite calls f with the saved writes of a record after the dot given, ascending: views.
func eachOwnWrite(r store.Reader, key Key, after hlc.Stamp, f func(storeKey, value []byte) error) error {
	lower, upper := store.ReplayRange(key.Table, key.Bytes, after)
	return store.Each(r, lower, upper, func(storeKey, value []byte) error {
		if _, of, _, ok := store.DecodeReplayKey(storeKey); !ok || !bytes.Equal(of, key.Bytes) {
			return nil // of another record, whose key begins like this one's
		}
		return f(storeKey, value)
	})
}

// keepsLog reports whether the log of a lane is to be kept, and from which entry on. What all members of the lane have confirmed they have. A log of which something is gone that nobody has confirmed is no use: increments would be missing
// before those that it has, and the records say more.
func (r *Rebuilder) keepsLog(id globaltable.LaneID) (after uint64, keeps bool) {
	l := r.loaded.lanes[id]
	if l == nil {
		return 0, false
	}
	peers := l.Placement.Peers(r.origin)
	least, most := ^uint64(0), uint64(0)
	for _, o := range peers {
		seq := r.loaded.confirmed[confirmedKey{id, o}].seq
		least, most = min(least, seq), max(most, seq)
	}
	return least, len(peers) > 0 && l.trimmed <= most
}

// copyEntry copies the own writes of a log entry that a replay may need. The value is the entry's.
func (r *Rebuilder) copyEntry(b store.Batch, value []byte) error {
	e, err := change.DecodeEntry(value)
	if err != nil || e.Void {
		return err
	}
	return change.EachChange(e.Body, func(c *conflict.Change) error {
		table := globaltable.TableID(c.Table)
		purge := r.purge(table)
		if c.Dot.Origin != r.origin || !c.Contributes() || table == globaltable.SystemTable || c.Dot.Time <= purge.frontier && r.others(Key{table, c.Key}, purge.under) {
			return nil
		}
		b.Set(store.AppendReplayKey(nil, table, c.Key, c.Dot), appendOwnWrite(nil, c))
		return nil
	})
}
