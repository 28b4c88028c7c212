package sim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// held is the tables that this region has or is to have, sorted by id.
func (r *region) held() (out []catalog.Held) {
	r.catalog.View().Held(func(h catalog.Held) { out = append(out, h) })
	slices.SortFunc(out, func(a, b catalog.Held) int { return cmp.Compare(a.Table, b.Table) })
	return out
}

// advanceFrontiers is regionnode's: it moves the purge frontiers of placements, and with them those of their tables. What it raises is checked.
func (r *region) advanceFrontiers() {
	type frontier struct{ purge, applied hlc.Timestamp }
	frontiers := map[globaltable.LaneID]frontier{}
	for _, h := range r.held() {
		counted := h.Counted.Lane()
		f, done := frontiers[counted]
		if !done {
			f.applied = r.matrix.Applied(h.Counted)
			f.purge = r.matrix.Advance(counted, f.applied, r.clock.Last())
			frontiers[counted] = f
		}
		if !h.Settled {
			continue
		}
		r.shard.RaisePurge(h.Table, h.Version, f.purge, f.applied)
		r.checkFrontier(h)
	}
}

// checkFrontier checks I8 when a table's purge frontier has moved further than in any region before: everybody who has a replica has applied all that was written at or below it.
// One that the others do not follow, or not yet, collects for itself only: its store is emptied before anybody gets anything of it, or its replica is made anew. It counts when the replica serves: see regainedFrontier.
func (r *region) checkFrontier(h catalog.Held) {
	purge := uint64(r.shard.Purge(h.Table))
	if purge <= r.purged[uint64(h.Table)] || r.excluded[notFollowed] != "" || r.excluded[rebuilds] != "" {
		return
	}
	r.cover("a purge frontier moved")
	doc, known := r.catalog.View().Table(h.Table)
	if known && !doc.Settled() {
		r.found("I8", "the purge frontier of table %s has moved to %s under %s, with replicas on their way: %v", h.Table, hlc.Timestamp(purge), doc.Version, doc.Replicas)
	}
	r.judgeFrontier(h, purge)
}

// regainedFrontier is checkFrontier for a replica that begins to serve: a region that alone has the table has taken back the frontier that it had reached for itself, and with that it gives the table to the others.
func (r *region) regainedFrontier(table globaltable.TableID) {
	for _, h := range r.held() {
		if purge := uint64(r.shard.Purge(table)); h.Table == table && purge > r.purged[uint64(table)] {
			r.judgeFrontier(h, purge)
		}
	}
}

func (r *region) judgeFrontier(h catalog.Held, purge uint64) {
	r.purged[uint64(h.Table)] = purge
	doc, known := r.catalog.View().Table(h.Table)
	applied := func(l check.Logged) bool {
		for _, m := range h.Placement {
			if known && doc.Replica(m) != nil && l.Catalog < uint64(doc.Replica(m).Born) {
				continue // it came by the exchange: see check.Bootstrap
			}
			if r.standing(r.region(m)) != globaltable.MemberActive || r.region(m) == r.membership.victim && r.losing() {
				continue // what it had, in a store that may be emptied by now, it gets again
			}
			if r.placements[globaltable.LaneID(l.Lane)].Has(m) && !r.region(m).reachedEntry(l) && !r.region(m).knows(l, doc) {
				return false
			}
		}
		return true
	}
	saw := func(w, d check.Logged) bool {
		seen := r.sights[w.Stamp].durable
		if seen == nil || r.region(hlc.Origin(w.Stamp.Origin)).joined[h.Table] {
			return true
		}
		return !r.placements[globaltable.LaneID(d.Lane)].Has(hlc.Origin(w.Stamp.Origin)) || seen[check.Lane{Region: w.Stamp.Origin, Origin: d.By, Incarnation: d.Incarnation, Lane: d.Lane}] >= d.Seq
	}
	r.evidence.found = append(r.evidence.found, check.Frontier(uint16(r.origin), uint64(h.Table), purge, r.ledger, applied)...)
	r.evidence.found = append(r.evidence.found, check.InFlight(uint16(r.origin), uint64(h.Table), purge, r.ledger, applied, saw)...)
}

// reachedEntry reports whether the region has made a log entry, or has it and all before it durably, whatever was left of it when it came.
func (r *region) reachedEntry(l check.Logged) bool {
	return uint16(r.origin) == l.By || r.solid(r.lane(hlc.Origin(l.By), globaltable.Incarnation(l.Incarnation), globaltable.LaneID(l.Lane))) >= l.Seq
}

// knows reports whether the region has got a write that was logged again in a record, or by an entry of before: what it says of the write again, or less of it, is not news, however late it comes. An entry that had nothing of it for this region does not count.
func (r *region) knows(l check.Logged, doc *globaltable.Table) bool {
	if l.Again && slices.Contains(r.reached[write{l.Key, l.Stamp}], r) {
		return true
	}
	return l.Again && slices.ContainsFunc(r.ledger.Logs(l.Key, l.Stamp), func(o check.Logged) bool {
		if o.Number >= l.Number || r.ledger.Void(o) {
			return false
		}
		came := r.placements[globaltable.LaneID(o.Lane)].Has(r.origin) && r.reachedEntry(o) && !r.isHollow(o)
		return came || doc != nil && doc.Replica(r.origin) != nil && o.Catalog < uint64(doc.Replica(r.origin).Born) // it came by the exchange
	})
}

// collect erases what can go of a table's records, page by page.
func (r *region) collect(table globaltable.TableID, after []byte) {
	r.erases(table)
	r.manual.Collect(table, after, 1+r.rng.IntN(8), func(c commit.Collected, err error) {
		switch {
		case !r.up:
			return
		case err != nil:
			r.cover("collection was refused")
			return
		}
		if c.Gone > 0 {
			r.note("%d collects %d items of table %s at %s", r.origin, c.Gone, table, c.Purge)
			r.tell("%s collects %d deleted items of %s", r.name(), c.Gone, r.tableName(table))
			r.cover("a deleted item was collected")
			if t := r.document(table); t != nil && !t.Settled() {
				r.cover("collection raced a join")
			}
		}
		if c.Expired > 0 {
			r.note("%d erases %d items of table %s that have expired, at %s", r.origin, c.Expired, table, c.Purge)
			r.cover("an expired item was erased")
		}
		if c.Reduced > 0 {
			r.cover("a removed attribute was collected")
		}
		if c.Next != nil {
			r.after(0, func() { r.collect(table, c.Next) })
		} else {
			r.swept[table] = max(r.swept[table], c.Purge)
		}
	})
	r.work()
}

// collectSome is one visit of the collector.
func (w *world) collectSome() {
	if r := w.anyRegion(); r.up {
		for _, h := range r.held() {
			if h.Table != globaltable.SystemTable {
				r.followTimeToLive(h.Table)
				r.sweep(h.Table)
				r.collect(h.Table, nil)
			}
		}
	}
}

// sweep notes, as regionnode does, that all that is expired of a table was collected, where nothing waits for it.
func (r *region) sweep(table globaltable.TableID) {
	if r.shard.Waiting(table)+r.shard.Expiring(table) == 0 {
		r.swept[table] = max(r.swept[table], r.shard.Purge(table))
	}
}

// collectAll is a visit of the collector in every region: what all have left when they are judged has been collected.
func (w *world) collectAll() {
	for _, r := range w.regions {
		if !r.up {
			continue
		}
		for _, h := range r.held() {
			if h.Table != globaltable.SystemTable {
				r.followTimeToLive(h.Table)
				r.sweep(h.Table)
			}
			if r.shard.Waiting(h.Table) > 0 || r.shard.Expiring(h.Table) > 0 && !r.lasting(h.Table) {
				r.collect(h.Table, nil)
			}
		}
	}
}

// uncollected says which table's purge frontier has not passed its newest write, or of which something still waits to be collected; "" when there is none.
func (r *region) uncollected() string {
	for _, h := range r.held() {
		if newest := r.ledger.Newest(uint64(h.Table)); uint64(r.shard.Purge(h.Table)) < newest {
			region, origin, mark, _ := r.matrix.Least(h.Placement)
			return fmt.Sprintf("region %d has purge frontier %s of table %s, whose newest write is %s: %d has applied %d up to %s", r.origin, r.shard.Purge(h.Table), h.Table,
				hlc.Timestamp(newest), region, origin, mark)
		}
		if n := r.shard.Waiting(h.Table); n > 0 && !r.story { // a story tells when it collects
			return fmt.Sprintf("region %d has %d records of table %s to collect", r.origin, n, h.Table)
		}
		if why := r.unexpired(h.Table); why != "" {
			return why
		}
	}
	return ""
}
