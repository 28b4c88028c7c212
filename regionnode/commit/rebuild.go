package commit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// RebuildStep is how far a region is with being rebuilt. Its numbers are stored. The steps follow each other, and each is durable before anything of the next is done:
//
//	needed   clients are refused until somebody has the region rebuilt
//	saving   records, and writes of the log, are copied to where the emptying does not reach; page by page, with a cursor
//	joining  the store was emptied and has a new incarnation: one batch. The region is admitted, joins its tables, and replays what was saved
type RebuildStep uint8

// The steps.
const (
	RebuildNone    RebuildStep = 0
	RebuildNeeded  RebuildStep = 1
	RebuildSaving  RebuildStep = 2
	RebuildJoining RebuildStep = 3
)

func (s RebuildStep) String() string {
	if s > RebuildJoining {
		return "unknown"
	}
	return [...]string{"none", "needed", "saving", "joining"}[s]
}

// RebuildReason is why a region has to be rebuilt. Its numbers are stored.
type RebuildReason uint8

// The reasons.
const (
	Fenced    RebuildReason = 1 // the others do not follow it any more
	Regressed RebuildReason = 2 // its store is older than what its peers have from it
	Replaced  RebuildReason = 3 // its store is new, and the others still follow the one that it had before
)

func (r RebuildReason) String() string {
	if r == 0 || r > Replaced {
		return "no reason"
	}
	return [...]string{"", "fenced", "regressed", "replaced"}[r]
}

// Rebuild is the durable state of a region's being rebuilt. The zero value: there is nothing of it.
type Rebuild struct {
	Step   RebuildStep
	Reason RebuildReason
	Above  globaltable.Incarnation // the greatest incarnation of this region that anybody has told of
	Saved  uint64                  // records copied by this saving
	Cursor []byte                  // saving: the store key up to which all is copied
	Since  globaltable.Version     // joining: of the world's document by which the others follow this store, once something was replayed under it; 0: nothing was
}

const (
	rebuildVersion = 1
	rebuildHead    = 1 + 1 + 1 + 8 + 8
)

func (r *Rebuild) append(dst []byte) []byte {
	dst = append(dst, rebuildVersion, byte(r.Step), byte(r.Reason))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Above))
	dst = binary.BigEndian.AppendUint64(dst, r.Saved)
	switch {
	case r.Step == RebuildSaving:
		return append(dst, r.Cursor...)
	case r.Step == RebuildJoining && r.Since != 0:
		return binary.BigEndian.AppendUint64(dst, uint64(r.Since))
	}
	return dst
}

// ReadRebuild returns the state in a store; none for a store that is new.
func ReadRebuild(r store.Reader) (out Rebuild, err error) {
	err = getValue(r, store.AppendMetaKey(nil, store.MetaRebuild), func(b []byte) error {
		if len(b) < rebuildHead || b[0] != rebuildVersion || b[1] == 0 || RebuildStep(b[1]) > RebuildJoining || RebuildReason(b[2]) > Replaced {
			return errCorruptStore("state of a rebuilding", nil)
		}
		rest := b[rebuildHead:]
		if RebuildStep(b[1]) != RebuildSaving && len(rest) > 0 && (RebuildStep(b[1]) != RebuildJoining || len(rest) != 8) {
			return errCorruptStore("state of a rebuilding", nil)
		}
		out = Rebuild{Step: RebuildStep(b[1]), Reason: RebuildReason(b[2]), Above: globaltable.Incarnation(binary.BigEndian.Uint64(b[3:])),
			Saved: binary.BigEndian.Uint64(b[11:])}
		switch {
		case out.Step == RebuildSaving:
			out.Cursor = bytes.Clone(rest)
		case len(rest) > 0:
			out.Since = globaltable.Version(binary.BigEndian.Uint64(rest))
		}
		return nil
	})
	return out, err
}

func setRebuild(b store.Batch, r *Rebuild) {
	key := store.AppendMetaKey(nil, store.MetaRebuild)
	if r.Step == RebuildNone {
		b.Delete(key)
		b.DeleteRange(store.MetaRange(store.MetaKept))
		return
	}
	b.Set(key, r.append(nil))
}

// ChangeRebuild makes of the state what change makes of it, durably, and returns it.
func (s *Shard) ChangeRebuild(ctx context.Context, change func(Rebuild) Rebuild) (out Rebuild, err error) {
	err = s.do(ctx, false, changeRebuild(change, &out))
	return out, err
}

func changeRebuild(change func(Rebuild) Rebuild, out *Rebuild) func(*core, *group) error {
	return func(c *core, g *group) error {
		now, err := ReadRebuild(c.engine)
		if err != nil {
			return err
		}
		*out = change(now)
		setRebuild(g.batch, out)
		return nil
	}
}

// Rebuilder takes a store from saving to joining. Nothing else uses the store meanwhile: no shard is open.
type Rebuilder struct {
	engine store.Engine
	origin hlc.Origin
	shard  uint16
	clock  *hlc.Clock
	now    func() time.Time
	others func(k Key, under globaltable.Version) bool
	loaded *loaded
	state  Rebuild
}

// rebuildPage is about how many bytes are read, and at most how many are written, between two syncs.
const rebuildPage = 1 << 20

// OpenRebuilder returns the Rebuilder of a store whose step is saving. now is the wall clock; clock is of this store alone. others reports whether other regions serve an item that did so
// under the version given of its table's document, under which the table's purge frontier was raised here, and so have all of it that is at or below that frontier.
func OpenRebuilder(engine store.Engine, origin hlc.Origin, shard uint16, clock *hlc.Clock, now func() time.Time, others func(k Key, under globaltable.Version) bool) (*Rebuilder, error) {
	l, isNew, err := load(engine)
	if err != nil {
		return nil, err
	}
	state, err := ReadRebuild(engine)
	switch {
	case err != nil:
		return nil, err
	case isNew || state.Step != RebuildSaving || l.identity.origin != origin || l.identity.shard != shard:
		return nil, fault(globaltable.Invalid, "rebuild store", "the store is not one that is being saved", nil)
	}
	clock.Restore(l.bound)
	return &Rebuilder{engine: engine, origin: origin, shard: shard, clock: clock, now: now, others: others, loaded: l, state: state}, nil
}

// savedSpaces returns the range of what saving looks at: records, and after them the log.
func savedSpaces() (lower, upper []byte) {
	lower, _ = store.SpaceRange(store.SpaceRecord)
	_, upper = store.SpaceRange(store.SpaceLog)
	return lower, upper
}

// State returns how far it is, and how much of records and log, in percent, has been looked at.
func (r *Rebuilder) State() (state Rebuild, percent int, err error) {
	lower, upper := savedSpaces()
	all, err := r.engine.Size(lower, upper)
	if err != nil || all == 0 || len(r.state.Cursor) == 0 {
		return r.state, 0, err
	}
	done, err := r.engine.Size(lower, r.state.Cursor)
	return r.state, int(min(99, 100*done/all)), err
}

// Save copies the next page of records that others may not have: those with a write above the purge frontier that the region knew of their table, and all items that nobody else serves: the frontier
// says nothing of anybody who would have them. After the records come the region's own writes in the log, see copyEntry. done is true when there are none left.
func (r *Rebuilder) Save() (done bool, err error) {
	lower, upper := savedSpaces()
	if len(r.state.Cursor) > 0 {
		lower = append(bytes.Clone(r.state.Cursor), 0)
	}
	it, err := r.engine.NewIter(lower, upper)
	if err != nil {
		return false, err
	}
	b, next := r.engine.NewBatch(), r.state
	done, err = r.copyPage(it, b, &next)
	if err = errors.Join(err, it.Close()); err != nil {
		b.Discard()
		return false, err
	}
	setRebuild(b, &next)
	if err := applyAndWait(r.engine, b); err != nil {
		return false, err
	}
	r.state = next
	return done, nil
}

func (r *Rebuilder) copyPage(it store.Iterator, b store.Batch, next *Rebuild) (done bool, err error) {
	read := 0
	for ok := it.First(); ok; ok = it.Next() {
		if read >= rebuildPage || b.Len() >= rebuildPage {
			return false, nil
		}
		next.Cursor = append(next.Cursor[:0:0], it.Key()...)
		read += len(it.Key())
		if store.Space(it.Key()[0]) == store.SpaceLog {
			n, err := r.copyLogged(b, it)
			if err != nil {
				return false, err
			}
			read += n
			continue
		}
		record, err := it.Value()
		if err != nil {
			return false, err
		}
		read += len(record)
		table, key := store.RecordKeyTable(it.Key()), store.RecordKeySuffix(it.Key())
		newest, err := conflict.NewestOf(record)
		if err != nil {
			return false, errCorruptStore("record", err)
		}
		purge := r.purge(table)
		if table == globaltable.SystemTable || newest.Time <= purge.frontier && r.others(Key{table, key}, purge.under) || plantedFenced {
			continue
		}
		if err := r.copyRecord(b, table, key, record, purge.frontier); err != nil {
			return false, err
		}
		next.Saved++
	}
	return true, nil
}

// copyLogged looks at the log entry at which it stands. It returns how many bytes it has read.
func (r *Rebuilder) copyLogged(b store.Batch, it store.Iterator) (read int, err error) {
	lane, seq, ok := store.DecodeLogKey(it.Key())
	if !ok {
		return 0, errCorruptStore("key of a log entry", nil)
	}
	if after, keeps := r.keepsLog(lane); !keeps || seq <= after {
		return 0, nil
	}
	value, err := it.Value()
	if err != nil {
		return 0, err
	}
	if err := r.copyEntry(b, value); err != nil {
		return 0, errCorruptStore("log entry", err)
	}
	return len(value), nil
}

// purge returns what the store knows of a table's purge frontier. Others certainly have a record at or below it if they serve the table since it was raised.
func (r *Rebuilder) purge(table globaltable.TableID) (p tablePurge) {
	if t := r.loaded.purges[table]; t != nil {
		p = *t
	}
	return p
}

// copyRecord joins a record with what an earlier rebuilding has left of it. What that one had does not know of what was deleted since.
func (r *Rebuilder) copyRecord(b store.Batch, table globaltable.TableID, key item.Key, record []byte, frontier hlc.Timestamp) error {
	e := SavedRecord{At: r.now(), Frontier: frontier, Record: record}
	storeKey := store.AppendSavedKey(nil, table, key)
	err := getValue(r.engine, storeKey, func(value []byte) error {
		old, err := decodeSaved(value)
		if err != nil {
			return err
		}
		if e.Record, err = conflict.JoinEncoded(nil, old.Record, record); !bytes.Equal(e.Record, record) {
			e.Frontier = min(e.Frontier, old.Frontier)
		}
		return err
	})
	if err != nil {
		return err
	}
	b.Set(storeKey, e.append(nil))
	return nil
}

// outlives are the kinds of meta keys that outlive the emptying, ascending: whose store it is, what time it may be, which stores of others are dead, the rebuilding itself, and the purge frontiers that an
// earlier one has kept.
var outlives = []store.Meta{store.MetaIdentity, store.MetaClock, store.MetaRevoked, store.MetaRebuild, store.MetaKept}

// Empty drops everything but what was saved, the purge frontiers (see RegainPurge), the tokens of transactions, which are done still, and the ledger of what has left the region, and gives the store a new incarnation, greater than every one known: in one batch. The step is joining afterwards, and a shard can be opened.
func (r *Rebuilder) Empty() error {
	b := r.engine.NewBatch()
	b.DeleteRange([]byte{0}, []byte{byte(store.SpaceMeta)})
	b.DeleteRange([]byte{byte(store.SpaceMeta) + 1}, []byte{byte(store.SpaceSaved)})
	b.DeleteRange([]byte{byte(store.SpaceSaved) + 1}, []byte{byte(store.SpaceToken)})
	b.DeleteRange([]byte{byte(store.SpaceReplay) + 1}, []byte{byte(store.SpaceLedger)})
	b.DeleteRange([]byte{byte(store.SpaceLedger) + 1}, []byte{0xff})
	from := []byte{byte(store.SpaceMeta)}
	for _, m := range outlives {
		lower, upper := store.MetaRange(m)
		b.DeleteRange(from, lower)
		from = upper
	}
	b.DeleteRange(from, []byte{byte(store.SpaceMeta) + 1})
	for table, p := range r.loaded.purges {
		if p.frontier > 0 {
			b.Set(store.AppendKeptKey(nil, table), binary.BigEndian.AppendUint64(nil, uint64(p.frontier)))
		}
	}
	r.loaded.keepSent(b)
	inc := max(globaltable.Incarnation(r.clock.Now()), r.loaded.identity.incarnation+1, r.state.Above+1)
	id := identity{r.origin, r.shard, inc}
	b.Set(store.AppendMetaKey(nil, store.MetaIdentity), id.append(nil))
	bound, _ := r.clock.Reserve(r.clock.MaxOffset() / 2)
	b.Set(store.AppendMetaKey(nil, store.MetaClock), binary.BigEndian.AppendUint64(nil, uint64(max(bound, r.loaded.bound))))
	next := Rebuild{Step: RebuildJoining, Reason: r.state.Reason, Above: inc, Saved: r.state.Saved}
	setRebuild(b, &next)
	if err := applyAndWait(r.engine, b); err != nil {
		return err
	}
	r.clock.CommitBound(bound)
	r.state = next
	return nil
}

func applyAndWait(e store.Engine, b store.Batch) error {
	wait, err := e.Apply(b)
	if err != nil {
		return err
	}
	return wait()
}
