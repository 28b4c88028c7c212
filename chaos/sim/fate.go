package sim

import (
	"slices"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
)

// write names one write of a key.
type write struct {
	key   check.Key
	stamp check.Stamp
}

func emptyDisk() diskCopy { return diskCopy{disk: store.NewMemory()} }

// forgive notes which writes of a region may be lost, since its store is lost but for a copy: those that the copy does not have. Whether others had got them shows at the end.
func (r *region) forgive(c *diskCopy) {
	var kept check.Replica
	if c != nil {
		kept = replicaOf(r.origin, c.disk, func(string, []byte) {})
	}
	r.ledger.Each(func(l check.Logged) {
		if l.By == uint16(r.origin) && !kept.Records[l.Key].Has(l.Write) {
			r.forgiven[write{l.Key, l.Stamp}] = true
		}
	})
}

// forgiveTable notes that what a region has written to a table may be lost, since clients had asked it to drop its data of it: as the last one that had the table, or while nobody followed it any more, which
// it did not know. If it is fenced before the others have heard so, they go on with the table, and have it created there anew; that does not bring back what was dropped. Otherwise a region drops only what
// others have got.
func (r *region) forgiveTable(table globaltable.TableID) {
	t, known := r.catalog.View().Table(table)
	others := known && slices.ContainsFunc(t.Replicas, func(o globaltable.Replica) bool { return o.Origin != r.origin })
	if others && r.standing(r) == globaltable.MemberActive {
		return
	}
	r.ledger.Each(func(l check.Logged) {
		if l.By == uint16(r.origin) && l.Key.Table == uint64(table) {
			r.forgiven[write{l.Key, l.Stamp}] = true
		}
	})
}

// forgiveExpired notes that what a region has written may be lost that had expired by a moment, if nobody followed the region any more when it erased that: it may have gone by a time to live that the region had issued itself, and that
// is void. Clients had asked for it, there, and could not see the items any more.
func (r *region) forgiveExpired(table globaltable.TableID, purge uint64) {
	if r.standing(r) == globaltable.MemberActive {
		return
	}
	x := r.catalog.Expiry(table)
	r.ledger.Each(func(l check.Logged) {
		if l.By != uint16(r.origin) || l.Key.Table != uint64(table) {
			return
		}
		for name, value := range l.Set {
			if due := r.dueBy(x, name, value, l.Stamp.Time); due > 0 && due <= purge {
				r.erased[write{l.Key, l.Stamp}] = true
			}
		}
	})
}

// mayBeErased reports whether a write may have gone by a time to live that is void: see forgiveExpired.
func (w *world) mayBeErased(x check.Write) bool { return w.erased[write{x.Key, x.Stamp}] }

// exchanged takes into evidence that records of another region are durable here: what is in them did not get lost with whoever wrote it.
func (r *region) exchanged(records []commit.RecordAt) {
	for i := range records {
		rec := recordOf(records[i].Record)
		key := check.Key{Table: uint64(records[i].Table), Bytes: string(records[i].Bytes)}
		r.joined[records[i].Table] = true
		r.reach(write{key, rec.Reset})
		for _, c := range rec.Cells {
			r.reach(write{key, c.Stamp})
		}
	}
}

func (r *region) reach(x write) {
	if !slices.Contains(r.reached[x], r) {
		r.reached[x] = append(r.reached[x], r)
	}
}

// steady reports whether the region was an active member with one store throughout.
func (r *region) steady() bool { return !r.disturbed && r.store == 0 }

// doubtful reports whether a write may be missing in the end: nobody follows a store any more that has logged it and has kept the table since, and no region has got it, and holds the table since, that was an active member with one store
// throughout. Who has given the table back and got it again has given back what it logged before: it was with the others then.
func (w *world) doubtful(x check.Write) bool {
	kept := func(r *region) bool {
		return r.steady() && slices.Contains(w.holders(globaltable.TableID(x.Key.Table)), uint16(r.origin))
	}
	if slices.ContainsFunc(w.reached[write{x.Key, x.Stamp}], kept) {
		return false
	}
	for _, l := range w.ledger.Logs(x.Key, x.Stamp) {
		by := w.region(hlc.Origin(l.By))
		since := func(r *region) bool { // its replica is the one that it was when the write was logged
			replica := w.document(globaltable.TableID(x.Key.Table)).Replica(r.origin)
			return replica != nil && l.Catalog >= uint64(replica.Born)
		}
		if !w.ledger.Void(l) && since(by) {
			return false
		}
		for _, r := range w.regions {
			if r == by || !kept(r) || !since(r) || by.again[globaltable.Incarnation(l.Incarnation)] {
				continue
			}
			if w.placements[globaltable.LaneID(l.Lane)].Has(r.origin) && r.tookEntry(l) {
				return false
			}
		}
	}
	return true
}

// tookEntry reports whether the region has applied a log entry, as an entry.
func (r *region) tookEntry(l check.Logged) bool {
	lane := r.lane(hlc.Origin(l.By), globaltable.Incarnation(l.Incarnation), globaltable.LaneID(l.Lane))
	return r.took[lane] >= l.Seq && !slices.ContainsFunc(r.skipped[lane], func(a check.Applied) bool { return a.From <= l.Seq && l.Seq <= a.To })
}

// missing reports whether a doubtful write may really be missing: a region lists it as saved, or has it in a store that was not rebuilt; or the stores are gone that had it.
func (w *world) missing(x check.Write) bool {
	if !w.doubtful(x) {
		return false
	}
	if w.forgiven[write{x.Key, x.Stamp}] || w.mayBeErased(x) {
		return true
	}
	for _, l := range w.ledger.Logs(x.Key, x.Stamp) {
		if w.standing(w.region(hlc.Origin(l.By))).Leaves() {
			return true
		}
	}
	for _, r := range w.regions {
		if w.standing(r) != globaltable.MemberActive && recordHas(r, x) || savedHas(r, x) {
			return true
		}
	}
	return false
}

func recordHas(r *region, x check.Write) bool {
	encoded := recordIn(r, globaltable.TableID(x.Key.Table), item.Key(x.Key.Bytes))
	return encoded != nil && recordOf(encoded).Has(x)
}

// savedHas reports whether the region lists the write as saved.
func savedHas(r *region, x check.Write) (has bool) {
	for _, s := range savedIn(r) {
		if uint64(s.Table) == x.Key.Table && string(s.Bytes) == x.Key.Bytes {
			has = recordOf(s.Record).Has(x)
		}
	}
	return has
}

// savedIn returns what a region's saved space holds.
func savedIn(r *region) (out []commit.SavedRecord) {
	err := commit.EachSaved(r.disk, 0, commit.Key{}, func(s commit.SavedRecord) bool {
		out = append(out, s)
		return true
	})
	if err != nil {
		panic(err)
	}
	return out
}
