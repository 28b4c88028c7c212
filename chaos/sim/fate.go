package sim

import (
	"slices"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
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

// forgiveTable notes that what a region has written to a table may be lost, since clients had asked it to drop its data of it: as the last one that was to have the table, or while nobody followed it any more, which
// it did not know. If it is fenced before the others have heard so, they go on with the table, and have it created there anew; that does not bring back what was dropped. Otherwise a region drops only what
// others have got.
func (r *region) forgiveTable(table globaltable.TableID) {
	t, known := r.catalog.View().Table(table)
	others := known && slices.ContainsFunc(t.Replicas, func(o globaltable.Replica) bool { return o.Origin != r.origin && o.Status != globaltable.Deleting })
	if others && r.standing(r) == globaltable.MemberActive {
		return
	}
	r.ledger.Each(func(l check.Logged) {
		if l.By == uint16(r.origin) && globaltable.TableID(l.Key.Table).Base() == table {
			r.forgiven[write{l.Key, l.Stamp}] = true
		}
	})
}

// erases notes which writes a region may have erased when it collects a table: those older than the time at which their items have expired, by the history that is in force there. It may turn out to be void: if the table's owner is
// fenced before anybody else has heard of a time to live. Clients had asked for it, and could not see the items any more.
func (r *region) erases(table globaltable.TableID) {
	x, purge := r.catalog.Expiry(table), uint64(r.shard.Purge(table))
	if len(x) == 0 || table.IsFeed() || r.shard.Expiring(table) == 0 { // a feed's is in force for ever
		return
	}
	due := map[check.Key]uint64{}
	r.ledger.Each(func(l check.Logged) {
		if l.Key.Table != uint64(table) {
			return
		}
		at, known := due[l.Key]
		if !known {
			_, at = r.recordBefore(commit.Key{Table: table, Bytes: item.Key(l.Key.Bytes)})
			due[l.Key] = at
		}
		if w := (write{l.Key, l.Stamp}); l.Stamp.Time < at && at <= purge && !slices.ContainsFunc(r.erased[w], func(by conflict.Expiry) bool { return slices.Equal(by, x) }) {
			r.erased[w] = append(r.erased[w], x)
		}
	})
}

// mayBeErased reports whether a write may have gone by a time to live that is void: see erases.
func (w *world) mayBeErased(x check.Write) bool {
	return slices.ContainsFunc(w.erased[write{x.Key, x.Stamp}], func(by conflict.Expiry) bool {
		return !slices.Equal(w.history(globaltable.TableID(x.Key.Table)).Until(by.Newest()), by)
	})
}

// exchanged takes into evidence that records of another region are durable here: what is in them did not get lost with whoever wrote it.
func (r *region) exchanged(records []commit.RecordAt) {
	for i := range records {
		decoded, err := conflict.DecodeRecord(records[i].Record)
		if err != nil {
			panic(err)
		}
		rec := recordOf(records[i].Record)
		key := check.Key{Table: uint64(records[i].Table), Bytes: string(records[i].Bytes)}
		r.joined[records[i].Table] = true
		r.reach(write{key, rec.Reset})
		for _, c := range rec.Cells {
			r.reach(write{key, c.Stamp})
		}
		r.reachTyped(key, decoded.Typed)
	}
}

func (r *region) reach(x write) {
	if !slices.Contains(r.reached[x], r) {
		r.reached[x] = append(r.reached[x], r)
	}
}

// steady reports whether the region was an active member with one store throughout.
func (r *region) steady() bool { return !r.disturbed && r.store == 0 }

// doubtful reports whether a write may be missing in the end: nobody follows a store any more that has logged it and has kept it, and the table, since, and no region has got it, and holds the table since, that was an active member with one store
// throughout. Who has given the table back and got it again has given back what it logged before: it was with the others then.
func (w *world) doubtful(x check.Write) bool {
	kept := func(r *region) bool {
		return r.steady() && slices.Contains(w.holders(x.Key), uint16(r.origin))
	}
	if slices.ContainsFunc(w.reached[write{x.Key, x.Stamp}], kept) {
		return false
	}
	for _, l := range w.ledger.Logs(x.Key, x.Stamp) {
		by := w.region(hlc.Origin(l.By))
		since := func(r *region) bool { // its replica is the one that it was when the write was logged, and it has the item since
			replica := w.document(globaltable.TableID(x.Key.Table)).Replica(r.origin)
			return replica != nil && l.Catalog >= uint64(replica.Born) && l.Number > r.gave[x.Key] && slices.Contains(w.holders(x.Key), uint16(r.origin))
		}
		again := by.again[globaltable.Incarnation(l.Incarnation)]
		if !w.ledger.Void(l) && since(by) && !(again && w.forgiven[write{x.Key, x.Stamp}]) {
			return false
		}
		for _, r := range w.regions {
			if r == by || !kept(r) || !since(r) || again {
				continue
			}
			if w.placements[globaltable.LaneID(l.Lane)].Has(r.origin) && r.tookEntry(l) {
				return false
			}
		}
	}
	return true
}

// tookEntry reports whether the region has applied a log entry, as an entry, with the change that it is about.
func (r *region) tookEntry(l check.Logged) bool {
	lane := r.lane(hlc.Origin(l.By), globaltable.Incarnation(l.Incarnation), globaltable.LaneID(l.Lane))
	return r.took[lane] >= l.Seq && !r.isHollow(l) && !slices.ContainsFunc(r.skipped[lane], func(a check.Applied) bool { return a.From <= l.Seq && l.Seq <= a.To })
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
	return w.listedAlone(x)
}

// listedAlone reports whether a write is of a record that a region had saved and another one has taken over, which has listed something of it as in doubt: nobody keeps it saved then.
func (w *world) listedAlone(x check.Write) bool {
	return slices.ContainsFunc(w.shownSaved, func(s commit.SavedRecord) bool {
		return uint64(s.Table) == x.Key.Table && string(s.Bytes) == x.Key.Bytes && recordOf(s.Record).Has(x)
	})
}

// showsSaved notes that this region has listed something of what another one had saved of these keys.
func (r *region) showsSaved(of *region, at []commit.RecordAt) {
	for _, s := range savedIn(of) {
		if slices.ContainsFunc(at, func(a commit.RecordAt) bool { return a.Table == s.Table && string(a.Bytes) == string(s.Bytes) }) {
			s.Bytes, s.Record = slices.Clone(s.Bytes), slices.Clone(s.Record)
			r.world.shownSaved = append(r.world.shownSaved, s)
		}
	}
}

// passed reports whether a write may be missing, or may have come back so late that what it would have changed had expired: then it is nothing any more.
func (w *world) passed(x check.Write) bool {
	return w.missing(x) || w.expires(x) && w.doubtful(x)
}

// late reports whether a write has passed, or has come back after something else may have expired that it might have changed.
func (w *world) late(x check.Write) bool { return w.passed(x) || w.expires(x) && x.Late > 0 }

// expires reports whether items of the write's table expire, or did.
func (w *world) expires(x check.Write) bool {
	return len(w.history(globaltable.TableID(x.Key.Table))) > 0
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

// settleFate notes which writes of an operation a store forgot, and decides which increments of an operation may be missing although the rest of their write was logged again: those in a run that the region keeps saved, as the write that it ends with, or had saved. A region whose log was of no use has of them only what their run comes to, and
// it is in doubt if it began before what the others may have forgotten.
func (w *world) settleFate(op *operation) {
	for i := range op.Writes {
		x := &op.Writes[i]
		x.Forgotten = w.forgiven[write{x.Key, x.Stamp}]
		if x.Typed == nil {
			continue
		}
		x.Typed = x.Typed.Whole(func(attribute string) bool {
			return slices.ContainsFunc(slices.Concat(savedIn(w.region(hlc.Origin(x.Stamp.Origin))), w.shownSaved), func(s commit.SavedRecord) bool {
				if uint64(s.Table) != x.Key.Table || string(s.Bytes) != x.Key.Bytes {
					return false
				}
				record, err := conflict.DecodeRecord(s.Record)
				if err != nil {
					panic(err)
				}
				return slices.ContainsFunc(record.Typed, func(t conflict.Typed) bool {
					return string(t.Name) == attribute && slices.ContainsFunc(t.Runs, func(run conflict.Run) bool { return spans(&run, x.Stamp) && !w.loggedAgain(x.Key, stampOf(run.Last)) })
				})
			})
		})
	}
}

func (w *world) loggedAgain(key check.Key, stamp check.Stamp) bool {
	return slices.ContainsFunc(w.ledger.Logs(key, stamp), func(l check.Logged) bool { return l.Again })
}
