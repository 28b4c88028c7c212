package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/repair"
)

// I18: what a region keeps, in whatever it keeps anything, and what it gives to others. It is held to what it has told: an item that was in it before may be there until it has carried out the policies, and no longer.

// promise is what a region is held to about the items of one table: each may be where one of these documents lets it be. The first is the one that the region has told to have carried out, the others are those that it has adopted since.
type promise []*globaltable.Table

// may reports whether the item of a key, of the table or of its feed, may be in a region.
func (p promise) may(o hlc.Origin, k check.Key) bool {
	if len(p) == 0 {
		return true
	}
	key := item.Key(k.Bytes)
	if globaltable.TableID(k.Table).IsFeed() {
		key = feed.ItemKey(key)
	}
	return slices.ContainsFunc(p, func(t *globaltable.Table) bool {
		pin, known := locality.PinOf(t, key)
		r := t.Replica(o)
		return known && (pin == nil || r == nil || pin.Allows(r)) // who has no replica is no matter of policies
	})
}

// promises takes notice of a document that this region has adopted. Whoever has an active replica, and is not said to have anything to carry out, has told so before, or began with nothing.
func (r *region) promises(t *globaltable.Table) {
	mine, was := t.Replica(r.origin), r.promised[t.ID]
	r.world.pinned = r.pinned || len(t.Pins) > 0
	if len(t.Pins) > 0 {
		r.pinnedBy[t.ID] = append(r.pinnedBy[t.ID], t)
	}
	r.gains(r.adopted[t.ID], t)
	r.adopted[t.ID] = t
	switch {
	case mine == nil || mine.Status != globaltable.Active && mine.Status != globaltable.Updating:
		delete(r.promised, t.ID) // it drops what it has, or will
	case mine.Placing == 0:
		r.promised[t.ID] = promise{t}
	case len(was) > 0 && was[len(was)-1].Version != t.Version:
		r.promised[t.ID] = append(slices.Clip(was), t)
	}
}

// gains checks I9 when this region has got all items that policies let it have.
func (r *region) gains(old, t *globaltable.Table) {
	if old == nil || !catalog.Gains(old, r.origin) || catalog.Gains(t, r.origin) || t.Replica(r.origin) == nil || t.Replica(r.origin).Status != globaltable.Active {
		return
	}
	r.cover("items were gained")
	since, replica := old.Replica(r.origin).Placing, r.replica()
	follows := func(l check.Logged) bool {
		gained := locality.Decide(old, []byte(l.Key.Bytes), r.origin, locality.Admit) == locality.NotYet
		return !gained || l.Catalog >= uint64(since) && r.follows(globaltable.LaneID(l.Lane)) || !r.holds(l.Key)
	}
	for _, id := range []globaltable.TableID{t.ID, t.ID.Feed()} {
		r.evidence.found = append(r.evidence.found, check.Bootstrap(replica, uint64(id), uint64(since), r.ledger, r.purged, follows, r.world.missing)...)
	}
}

// isHollow reports whether an entry had lost its body when this region applied it, or its change was voided here.
func (r *region) isHollow(l check.Logged) bool {
	lane := r.lane(hlc.Origin(l.By), globaltable.Incarnation(l.Incarnation), globaltable.LaneID(l.Lane))
	return r.hollow[lane][l.Seq] || r.refused[refusal{lane, l.Seq, l.Key}]
}

// givesUp notes that another region may have taken items over: what this one has of them from now on it has got anew.
func (r *region) givesUp(records []commit.RecordAt) {
	for i := range records {
		key := check.Key{Table: uint64(records[i].Table), Bytes: string(records[i].Bytes)}
		r.gave[key] = r.ledger.Len()
		for x, by := range r.reached {
			if x.key == key {
				r.reached[x] = slices.DeleteFunc(by, func(o *region) bool { return o == r })
			}
		}
	}
}

// placed is called when this region tells that it has carried out a version.
func (r *region) placed(id globaltable.TableID, version globaltable.Version) {
	t, _ := r.catalog.View().Table(id)
	if was := r.promised[id]; len(was) == 1 && was[0].Version == t.Version {
		return // it has told so before
	}
	r.promised[id] = promise{t}
	r.note("%d has placed %s of table %s", r.origin, version, t.Name)
	r.tell("%s has placed version %s of %s", r.name(), version, t.Name)
	r.cover("a change of policies was carried out")
	r.checkResidency()
}

// mayBe reports whether the item of a key may be in a region, as far as this one has told.
func (r *region) mayBe(o hlc.Origin, k check.Key) bool {
	return r.promised[globaltable.TableID(k.Table).Base()].may(o, k)
}

// checkResidency checks I18 for all that this region keeps now, and for what its disk would have after a crash.
func (r *region) checkResidency() {
	away := r.away()
	if len(away) == 0 {
		return
	}
	kept := slices.Concat(keptIn(r.disk, away), keptIn(r.disk.Copy(), away), r.streamed())
	r.evidence.found = append(r.evidence.found, check.Residency(uint16(r.origin), kept, func(k check.Key) bool { return r.mayBe(r.origin, k) })...)
}

// away is the items that may not be in this region.
func (r *region) away() (keys []check.Key) {
	for k := range r.items {
		if !r.mayBe(r.origin, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// spaces are the names of what a store keeps.
var spaces = map[store.Space]string{
	store.SpaceRecord: "a record", store.SpaceGarbage: "what waits to be collected", store.SpaceSaved: "what was saved", store.SpaceEntry: "an index", store.SpaceReplay: "its own writes that were saved",
	store.SpaceMeta: "how far it has got", store.SpaceStream: "a change stream",
}

// keptIn returns where an engine has anything of the keys given, of their tables or of these' feeds: the bytes of a key are in whatever is about its item.
func keptIn(engine store.Engine, keys []check.Key) (kept []check.Kept) {
	for space := store.SpaceRecord; space <= store.SpaceStream; space++ {
		lower, upper := store.SpaceRange(space)
		eachKV(engine, lower, upper, func(key, value []byte) {
			if space == store.SpaceLog {
				kept = append(kept, keptInEntry(value, keys)...)
				return
			}
			for _, k := range keys {
				if bytes.Contains(key, []byte(k.Bytes)) && isOf(key, k.Table) || (space == store.SpaceMeta || space == store.SpaceStream) && bytes.Contains(value, []byte(k.Bytes)) && isOf(key, k.Table) {
					where := spaces[space]
					if space == store.SpaceMeta {
						where = fmt.Sprintf("%s (meta key %#x)", where, key[1])
					}
					kept = append(kept, check.Kept{Key: k, Where: where})
				}
			}
		})
	}
	return kept
}

// isOf reports whether a store key has the id of a table, or of its feed.
func isOf(storeKey []byte, table uint64) bool {
	for _, id := range []globaltable.TableID{globaltable.TableID(table), globaltable.TableID(table).Feed()} {
		if bytes.Contains(storeKey, binary.BigEndian.AppendUint64(nil, uint64(id))) {
			return true
		}
	}
	return false
}

func keptInEntry(stored []byte, keys []check.Key) (kept []check.Kept) {
	e, err := change.DecodeEntry(stored)
	if err != nil {
		panic(err)
	}
	for _, k := range changedBy(&e) {
		for _, gone := range keys {
			if globaltable.TableID(k.Table).Base() == globaltable.TableID(gone.Table) && bytes.Contains([]byte(k.Bytes), []byte(gone.Bytes)) {
				kept = append(kept, check.Kept{Key: gone, Where: "its log"})
			}
		}
	}
	return kept
}

// changedBy is the keys that an entry changes; none if it is void.
func changedBy(e *change.Entry) (keys []check.Key) {
	if e.Void {
		return nil
	}
	err := change.EachChange(e.Body, func(c *conflict.Change) error {
		keys = append(keys, check.Key{Table: c.Table, Bytes: string(c.Key)})
		return nil
	})
	if err != nil {
		panic(err)
	}
	return keys
}

// streamed is what this region's streams have. A stream that came back as it was a while ago, or is of a store that is not there any more, is not looked at: see the package's documentation.
func (r *region) streamed() (kept []check.Kept) {
	for _, lane := range r.laneIDs() {
		if s := r.bus.streams[lane]; !s.stale {
			for i := range s.messages {
				for _, k := range s.messages[i].keys {
					kept = append(kept, check.Kept{Key: k, Where: "a stream"})
				}
			}
		}
	}
	return kept
}

// glancePins is how often residency is looked at.
func (p *plan) glancePins() time.Duration {
	if p.repin == 0 {
		return 0
	}
	return 20 * time.Millisecond
}

// glanceResidency checks what some region keeps.
func (w *world) glanceResidency() { w.anyRegion().checkResidency() }

// exchange answers a request for records, and checks what is given.
func (r *region) exchange(ctx context.Context, asker globaltable.Descriptor, q *repair.Request) ([]byte, repair.End, error) {
	records, end, err := r.server.Answer(ctx, asker, q)
	if err != nil || len(r.promised[q.Table.Base()]) == 0 {
		return records, end, err
	}
	page, err := repair.DecodePage(q, records, end)
	if err != nil {
		return nil, end, err
	}
	var keys []check.Key
	for _, rec := range page.Records {
		keys = append(keys, check.Key{Table: uint64(q.Table), Bytes: string(rec.Key)})
	}
	err = r.await(ctx, "give", func(done func(error)) {
		r.gives(asker.Origin, "an exchange", keys)
		done(nil)
	})
	return records, end, err
}

// gives checks I18 for what this region gives to another one.
func (r *region) gives(to hlc.Origin, where string, keys []check.Key) {
	var given []check.Given
	for _, k := range keys {
		given = append(given, check.Given{Kept: check.Kept{Key: k, Where: where}, To: uint16(to)})
	}
	r.evidence.found = append(r.evidence.found, check.Sending(uint16(r.origin), given, func(to uint16, k check.Key) bool { return r.mayBe(hlc.Origin(to), k) })...)
}
