package commit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// # What was saved, on its way to another region
//
// A region that comes back may have saved what a policy keeps out of it by now. A region that serves the item replays it in its place: by the same rules, as writes of the region that it comes from, on the record that is there. So what is given is what a replay goes by: the
// record, the frontier at which it was saved, and the writes of the log beside it. A record may have any number of these, so it goes in parts, one after the other. Only when the last part was taken it is erased here, with all that was kept for it.

// SavedPart is one part of a saved record that no replay has decided about.
type SavedPart struct {
	Key
	Bytes []byte    // as TakeOverSaved takes it
	Upto  hlc.Stamp // the dot up to which it has the writes of the log
	More  bool      // another part follows it
	// Sole: it has contributions. They are added to what the region has that takes them over, so no two may do that with the same ones.
	Sole bool
}

// A part as it goes to another region:
//
//	version ‖ flags ‖ frontier ‖ the dot up to which writes were in earlier parts ‖ length ‖ record ‖ for each write of the log, ascending: length ‖ as it is stored (ownwrites.go)
const (
	savedPartVersion = 0x81 // which is no record's: a region that does not know of parts must not take one for a record
	savedPartMore    = 1 << 0
	savedPartHead    = 1 + 1 + 8 + hlc.StampLen
)

// appendSavedPart appends the part of saved that has the writes of own, which are stored so.
func appendSavedPart(dst []byte, saved *SavedRecord, after hlc.Stamp, own [][]byte, more bool) []byte {
	flags := byte(0)
	if more {
		flags = savedPartMore
	}
	dst = binary.BigEndian.AppendUint64(append(dst, savedPartVersion, flags), uint64(saved.Frontier))
	dst = after.Append(dst)
	dst = append(binary.AppendUvarint(dst, uint64(len(saved.Record))), saved.Record...)
	for _, w := range own {
		dst = append(binary.AppendUvarint(dst, uint64(len(w))), w...)
	}
	return dst
}

// decodeSavedPart is the inverse of appendSavedPart: views of b. What it returns says nothing of when it was saved.
func decodeSavedPart(b []byte) (saved SavedRecord, err error) {
	corrupt := func(err error) (SavedRecord, error) {
		return SavedRecord{}, fault(globaltable.Corrupt, opTakeOver, "what was given cannot be read", err)
	}
	if len(b) < savedPartHead || b[0] != savedPartVersion || b[1]&^savedPartMore != 0 {
		return corrupt(nil)
	}
	own := &ownWrites{more: b[1] == savedPartMore}
	saved.Frontier, saved.own = hlc.Timestamp(binary.BigEndian.Uint64(b[2:])), own
	own.after, _ = hlc.DecodeStamp(b[10:savedPartHead])
	rest, ok := b[savedPartHead:], false
	if saved.Record, rest, ok = cutLength(rest); !ok {
		return corrupt(nil)
	}
	for last := own.after; len(rest) > 0; {
		var stored []byte
		if stored, rest, ok = cutLength(rest); !ok {
			return corrupt(nil)
		}
		w, err := decodeOwnWrite(stored)
		if err != nil || !last.Less(w.Dot) {
			return corrupt(err)
		}
		w.Ops = slices.Clone(w.Ops)
		own.writes, last = append(own.writes, w), w.Dot
	}
	if own.more && len(own.writes) == 0 {
		return corrupt(nil)
	}
	return saved, nil
}

// cutLength cuts a length and as many bytes off b. A length is written in the shortest form.
func cutLength(b []byte) (part, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}

// SavedParts calls f with the parts of saved records of the table, or of the feed, that no replay has decided about, in order, until f returns false: those of records after the key given, or, with upto, those of that record with writes after it and then those
// of the records after it. What f gets is its own.
func (s *Shard) SavedParts(table globaltable.TableID, after item.Key, upto hlc.Stamp, f func(SavedPart) (more bool)) error {
	if !upto.IsZero() {
		key := Key{table, after}
		var begun SavedRecord
		err := getValue(s.cfg.Engine, store.AppendSavedKey(nil, table, after), func(value []byte) (err error) {
			begun, err = decodeSaved(bytes.Clone(value))
			return err
		})
		if err != nil {
			return fault(globaltable.Internal, "read saved records", "", err)
		}
		if begun.Key = key; begun.Record != nil && !begun.Judged {
			if more, err := s.partsOf(&begun, upto, f); err != nil || !more {
				return err
			}
		}
	}
	var failed error
	from := Key{}
	if len(after) > 0 {
		from = Key{table, after}
	}
	err := s.Saved(table, from, func(saved SavedRecord) (more bool) {
		if saved.Judged {
			return true
		}
		more, failed = s.partsOf(&saved, hlc.Stamp{}, f)
		return more && failed == nil
	})
	return cmpErr(err, failed)
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// partsOf calls f with the parts of a record that have writes after the dot given; with a zero one, all. It reports whether f wants more.
func (s *Shard) partsOf(saved *SavedRecord, after hlc.Stamp, f func(SavedPart) (more bool)) (more bool, err error) {
	sole, err := contributes(saved.Record)
	if err != nil {
		return false, fault(globaltable.Corrupt, "read saved records", "", err)
	}
	for {
		var own [][]byte
		upto, follows, read := after, false, 0
		err := eachOwnWrite(s.cfg.Engine, saved.Key, after, func(storeKey, value []byte) error {
			if follows = read >= replayBytes; follows {
				return errStop
			}
			_, _, upto, _ = store.DecodeReplayKey(storeKey)
			own, read = append(own, bytes.Clone(value)), read+len(storeKey)+len(value)
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return false, fault(globaltable.Internal, "read saved records", "", err)
		}
		p := SavedPart{Key: Key{saved.Table, bytes.Clone(saved.Bytes)}, Bytes: appendSavedPart(nil, saved, after, own, follows), Upto: upto, More: follows, Sole: sole || len(own) > 0}
		if more = f(p); !more || !follows {
			return more, nil
		}
		after = upto
	}
}

// contributes reports whether an encoded record has contributions.
func contributes(record []byte) (bool, error) {
	r, err := conflict.DecodeRecord(record)
	return len(r.Typed) > 0, err
}

// savedGiver is a region that gives what it has saved, of one table or of one conflict feed.
type savedGiver struct {
	giver   giver
	table   globaltable.TableID
	version globaltable.Version // of its document
}

// TakeOverSaved replays parts of records, of one table or of one conflict feed, that a region had saved and may not have any more, in that region's place, while that version of the table's document is in force here and this region serves the items. What of them is in doubt is
// listed in the conflict feed; what this region has saved itself is left alone. purge is the table's purge frontier in the region that gives them. It returns when all is durable: whoever gave them may erase them then. After an error the same parts may be given again. It is
// of kind Denied when an item may not be here, or is not served, InUse when another version is in force.
func (s *Shard) TakeOverSaved(ctx context.Context, origin hlc.Origin, incarnation globaltable.Incarnation, version globaltable.Version, purge hlc.Timestamp, parts []RecordAt) (ReplayResult, error) {
	r, err := s.prepareTakeOverSaved(origin, incarnation, version, parts)
	if err != nil || r == nil {
		return ReplayResult{}, err
	}
	if err := s.TakePurge(ctx, r.from.table, purge); err != nil {
		return ReplayResult{}, err
	}
	if r.purge = s.Purge(r.from.table); plantedSaved {
		return ReplayResult{}, nil
	}
	for rest := r.records; len(rest) > 0; rest = rest[min(len(rest), MaxReplay):] {
		r.records = rest[:min(len(rest), MaxReplay)]
		if _, err := s.replay(ctx, r); err != nil {
			return ReplayResult{}, refusedPart(err)
		}
	}
	return r.result, nil
}

// refusedPart says of an error of a replay that it is this region that does not take something over.
func refusedPart(err error) error {
	var e *globaltable.Error
	if !errors.As(err, &e) {
		return err
	}
	return &globaltable.Error{Op: opTakeOver, Resource: e.Resource, Kind: e.Kind, Message: e.Message, Err: err}
}

// prepareTakeOverSaved checks the parts. It returns nil when there are none.
func (s *Shard) prepareTakeOverSaved(origin hlc.Origin, incarnation globaltable.Incarnation, version globaltable.Version, parts []RecordAt) (*replaying, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	r := &replaying{self: origin, from: &savedGiver{giver{origin, incarnation}, parts[0].Table, version}}
	var last hlc.Timestamp
	for i := range parts {
		p := &parts[i]
		if p.Table != r.from.table || p.Table == globaltable.SystemTable || origin == 0 || origin == s.cfg.Origin {
			return nil, fault(globaltable.Invalid, opTakeOver, "of several tables, of the catalog, or this region's own", nil)
		}
		saved, err := decodeSavedPart(p.Record)
		if err == nil {
			saved.Key = p.Key
			err = saved.check(origin)
		}
		if err != nil {
			return nil, err
		}
		at, err := (&part{record: saved.Record}).last()
		if err != nil {
			return nil, fault(globaltable.Corrupt, opTakeOver, "", err)
		}
		for j := range saved.own.writes {
			at = max(at, saved.own.writes[j].Dot.Time)
		}
		last = max(last, at)
		r.records = append(r.records, saved)
	}
	if err := s.cfg.Clock.Observe(last); err != nil {
		return nil, fault(globaltable.Unavailable, opTakeOver, "", err)
	}
	return r, nil
}

// check checks a record that a region gives, and what comes with it.
func (e *SavedRecord) check(origin hlc.Origin) error {
	if err := conflict.CheckRecord(e.Record); err != nil {
		return fault(globaltable.Corrupt, opTakeOver, "", err)
	}
	for i := range e.own.writes {
		w := &e.own.writes[i]
		if w.Dot.Origin != origin || globaltable.TableID(w.Table) != e.Table || !bytes.Equal(w.Change.Key, e.Bytes) {
			return fault(globaltable.Corrupt, opTakeOver, "a write of another region, or of another item", nil)
		}
		if err := w.Check(); err != nil {
			return fault(globaltable.Corrupt, opTakeOver, "", err)
		}
	}
	return nil
}

// decideGiven asks the catalog in force whether what another region gives may be replayed here. Nothing has changed when it returns an error.
func (c *core) decideGiven(sub *submission) error {
	from := sub.from
	switch {
	case from == nil:
		return nil
	case !c.catalog.Trusts(from.giver.origin, from.giver.incarnation):
		return fault(globaltable.Fenced, opTakeOver, "the region that gave it is fenced or removed, or has another store", nil)
	case c.catalog.Version(from.table) != from.version:
		return fault(globaltable.InUse, opTakeOver, "another version of the table is in force", nil)
	}
	for i := range sub.keys {
		if _, _, _, serves := c.catalog.Place(sub.keys[i].table, sub.keys[i].key); !serves {
			return fault(globaltable.Denied, opTakeOver, "an item may not be here, or is not served", nil)
		}
	}
	return nil
}

// EraseGiven erases saved records, of the table or of its feed, of which the region to has taken the last part over, with the writes kept beside them, if they are still as they were given, and may still not be here, while that version of the table is being carried out. parts are what was given: of
// those that others follow nothing is erased. It returns how many records went, when that is durable.
func (s *Shard) EraseGiven(ctx context.Context, table globaltable.TableID, version globaltable.Version, to string, parts []RecordAt) (erased int, err error) {
	err = s.do(ctx, false, eraseGiven(table, version, to, parts, &erased))
	return erased, err
}

func eraseGiven(table globaltable.TableID, version globaltable.Version, to string, parts []RecordAt, erased *int) func(*core, *group) error {
	return func(c *core, g *group) error {
		if err := c.carriesOut(table, version); err != nil {
			return err
		}
		done := globaltable.Placed{Handed: map[string]int64{}}
		for i := range parts {
			p := &parts[i]
			given, err := decodeSavedPart(p.Record)
			if err != nil {
				return err
			}
			if p.Table.Base() != table || given.own.more || c.catalog.Admits(p.Table, p.Bytes, 0) {
				continue
			}
			n, err := c.eraseSavedRecord(g, p.Key, &given)
			if err != nil {
				return err
			}
			if n > 0 {
				*erased++
				done.Handed[to]++
				done.Saved += int64(n)
			}
		}
		if *erased == 0 {
			return nil
		}
		return c.placings.count(g, table, &done)
	}
}

// eraseSavedRecord erases what is kept of a record, if it is what was given. It returns how many keys of the store go.
func (c *core) eraseSavedRecord(g *group, key Key, given *SavedRecord) (n int, err error) {
	storeKey, same := store.AppendSavedKey(nil, key.Table, key.Bytes), false
	err = getValue(c.engine, storeKey, func(value []byte) error {
		now, err := decodeSaved(value)
		same = err == nil && now.Frontier == given.Frontier && bytes.Equal(now.Record, given.Record)
		return err
	})
	if err != nil || !same {
		return 0, err
	}
	g.batch.Delete(storeKey)
	n = 1
	err = eachOwnWrite(c.engine, key, hlc.Stamp{}, func(storeKey, _ []byte) error {
		g.batch.Delete(storeKey)
		n++
		return nil
	})
	return n, err
}
