package catalog

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/go-memdb"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// View is the catalog at one moment. It is immutable.
type View struct {
	self    globaltable.Descriptor
	db      *memdb.MemDB                   // a snapshot
	world   *globaltable.World             // nil: the members are those configured
	members []Member                       // sorted by name
	regions []globaltable.Descriptor       // of active members
	all     globaltable.Placement          // active members
	tables  map[globaltable.TableID]*entry // and their conflict feeds
	names   map[string]*entry
	lanes   map[globaltable.LaneID]bool                // of all tables' placements; true: of tables whose writes wait for peers
	expiry  map[globaltable.TableID]conflict.Expiry    // of tables whose items expire, or have expired once
	streams map[globaltable.TableID]globaltable.Stream // in which this region tells changes
	pinned  bool                                       // some table has locality policies
	changed chan struct{}
}

// entry is a table's document as this region sees it. It is immutable.
type entry struct {
	table     *globaltable.Table
	placement globaltable.Placement // of the table: of every item, where no policy says less
	lane      globaltable.LaneID    // of that placement
	places    map[*globaltable.Pin]placed
	status    globaltable.Status  // in this region
	refused   bool                // this region does not take the replica that the document gives it, or not yet: see View.Awaits
	bound     bool                // the table has its name in this region
	settled   bool                // no replica is on its way in or out
	born      globaltable.Version // of the replica in this region
	counted   globaltable.Placement
	feed      *entry // the table's conflict feed; nil of one
}

// placed is where the items are that a policy decides about.
type placed struct {
	placement globaltable.Placement
	lane      globaltable.LaneID
}

// newEntry compiles t. The adoptions of t must be in txn.
func newEntry(txn *memdb.Txn, t *globaltable.Table, self hlc.Origin) *entry {
	e := &entry{table: t, placement: locality.PlaceOf(t, nil), status: t.StatusIn(self)}
	e.lane = e.placement.Lane()
	for i := range t.Pins {
		if p := &t.Pins[i]; !p.Released {
			if e.places == nil {
				e.places = map[*globaltable.Pin]placed{}
			}
			placement := locality.PlaceOf(t, p)
			e.places[p] = placed{placement, placement.Lane()}
		}
	}
	e.counted = Counted(t)
	e.settled = t.Settled() || plantedSource && !firstSource(t, self) || plantedPlacing && onlyPlacing(t)
	if r := t.Replica(self); r != nil {
		e.born = r.Born
		o, ok := outcomeSince(txn, t.ID, r.Since)
		e.refused = ok && o == NameTaken || awaits(txn, t, self)
	}
	e.bound = claims(t, self) && !e.refused
	// The feed is where the table is, and as settled. Its entries expire by what is in force for all feeds for ever: the owner has no say in it.
	f := *e
	f.table, f.counted, f.bound = feed.TableOf(t), f.placement, false
	e.feed = &f
	return e
}

// at returns where the item of the key is. ok is false when that cannot be told.
func (e *entry) at(key []byte) (p placed, ok bool) {
	if e.places == nil || key == nil || plantedSend {
		return placed{e.placement, e.lane}, true
	}
	pin, ok := locality.PinOf(e.table, key)
	if pin == nil {
		return placed{e.placement, e.lane}, ok
	}
	return e.places[pin], ok
}

// Counted returns the regions between which all has to be applied that the table's purge frontier has passed: all of the table's, also those where not every item may be. Where items expire the table's owner is among them, with a replica or without: what it says about the
// time to live is then everywhere, too.
func Counted(t *globaltable.Table) globaltable.Placement {
	p := locality.PlaceOf(t, nil)
	if len(t.Expiry) > 0 && !p.Has(t.Owner) {
		return globaltable.NewPlacement(append(slices.Clone(p), t.Owner)...)
	}
	return p
}

// firstSource reports whether the region is the first source of a replica that is being created. Only a planted fault asks.
func firstSource(t *globaltable.Table, self hlc.Origin) bool {
	for _, r := range t.Replicas {
		if r.Status == globaltable.Creating {
			return len(Sources(t, r.Origin)) == 0 || Sources(t, r.Origin)[0] == self
		}
	}
	return true
}

// claims reports whether t wants its name in region self.
func claims(t *globaltable.Table, self hlc.Origin) bool { return t.StatusIn(self) != "" }

// outcomeSince returns the outcome of the first version adopted at or after since.
func outcomeSince(txn *memdb.Txn, id globaltable.TableID, since globaltable.Version) (o Outcome, ok bool) {
	from(txn, inAdoptions, byID, adoptionKey(id, since), func(a *Adoption) bool {
		if ok = a.Table == id; ok {
			o = a.Outcome
		}
		return false
	})
	return o, ok
}

// compile makes the view of db, which does not change any more.
func compile(self globaltable.Descriptor, db *memdb.MemDB) *View {
	v := &View{self: self, db: db, tables: map[globaltable.TableID]*entry{}, names: map[string]*entry{}, lanes: map[globaltable.LaneID]bool{globaltable.CatalogLane: false},
		expiry: map[globaltable.TableID]conflict.Expiry{}, streams: map[globaltable.TableID]globaltable.Stream{}, changed: make(chan struct{})}
	txn := db.Txn(false)
	v.world, v.members = membersOf(txn)
	origins := make([]hlc.Origin, 0, len(v.members))
	for i := range v.members {
		if m := &v.members[i]; m.State == globaltable.MemberActive {
			v.regions = append(v.regions, m.Descriptor)
			origins = append(origins, m.Descriptor.Origin)
		}
	}
	v.all = globaltable.NewPlacement(origins...)
	from(txn, inTables, byID, nil, func(e *entry) bool {
		v.tables[e.table.ID], v.tables[e.table.ID.Feed()] = e, e.feed
		prompt := e.table.AcknowledgePeers > 0
		v.lanes[e.lane] = v.lanes[e.lane] || prompt
		for _, p := range e.places {
			v.lanes[p.lane] = v.lanes[p.lane] || prompt
		}
		v.pinned = v.pinned || len(e.table.Pins) > 0
		if len(e.table.Expiry) > 0 {
			v.expiry[e.table.ID] = e.table.Expiry
		}
		if s, ok := e.table.StreamIn(self.Origin); ok && v.serves(e) {
			v.streams[e.table.ID] = s
		}
		v.expiry[e.feed.table.ID] = e.feed.table.Expiry
		if e.bound {
			v.names[e.table.Name] = e
		}
		return true
	})
	return v
}

// Table returns the newest document of a table, dead, foreign or refused ones included; of a conflict feed, what stands for one. ok is false when it is not known.
func (v *View) Table(id globaltable.TableID) (t *globaltable.Table, ok bool) {
	if e := v.tables[id]; e != nil {
		return e.table, true
	}
	return nil, false
}

// Lookup returns the table that has the name in this region. It may be one that is being made or deleted: see StatusIn. It does not
// keep name and does not allocate.
func (v *View) Lookup(name string) (t *globaltable.Table, ok bool) {
	if e := v.names[name]; e != nil {
		return e.table, true
	}
	return nil, false
}

// Receipts returns the receipts that regions have given of carrying out the table's locality policies, the newest version first, in the order of regions' names.
func (v *View) Receipts(table globaltable.TableID) (out []Receipt) {
	from(v.db.Txn(false), inReceipts, byID, tableKey(table), func(r *Receipt) bool {
		if r.Table == table {
			out = append(out, *r)
		}
		return r.Table == table
	})
	slices.SortFunc(out, func(a, b Receipt) int {
		return cmp.Or(cmp.Compare(b.Version, a.Version), cmp.Compare(a.Region, b.Region))
	})
	return out
}

// Len returns the number of tables that have their name in this region.
func (v *View) Len() int { return len(v.names) }

// Names returns at most limit names of this region's tables after the name given, in order, and whether there are more.
func (v *View) Names(after string, limit int) (names []string, more bool) {
	from(v.db.Txn(false), inTables, byName, nameKey(after), func(e *entry) bool {
		switch {
		case e.table.Name == after:
			return true
		case len(names) >= limit:
			more = true
			return false
		}
		names = append(names, e.table.Name)
		return true
	})
	return names, more
}

// Tables calls f with every document known, dead and foreign ones included, in the order of ids, until f returns false.
func (v *View) Tables(f func(*globaltable.Table) bool) { v.TablesAfter(0, f) }

// TablesAfter is Tables for those after the id given.
func (v *View) TablesAfter(id globaltable.TableID, f func(*globaltable.Table) bool) {
	from(v.db.Txn(false), inTables, byID, tableKey(id+1), func(e *entry) bool { return f(e.table) })
}

// ReceiptSum returns how many receipts of the table there are, and a sum that two regions with the same ones have alike, in whatever order they came; zero for none.
func (v *View) ReceiptSum(table globaltable.TableID) (n int, sum uint64) {
	from(v.db.Txn(false), inReceipts, byID, tableKey(table), func(r *Receipt) bool {
		if r.Table == table {
			n++
			sum += xxhash.Sum64String(r.Token)
		}
		return r.Table == table
	})
	return n, sum
}

// Pinned reports whether any table has locality policies: if not, none need be asked for.
func (v *View) Pinned() bool { return v.pinned }

// MaySend reports whether the policies in force let a peer have the item, so that a change of it may be sent there. How far a replica of the table is on its way in or out there does not matter; nor does it for a table without policies.
func (v *View) MaySend(table globaltable.TableID, key []byte, peer hlc.Origin) bool {
	e := v.tables[table]
	switch {
	case e == nil:
		return table == globaltable.SystemTable // whose changes go to all members
	case len(e.table.Pins) == 0:
		return true
	}
	r := e.table.Replica(peer)
	if r == nil {
		// It may have had one; what was logged for it then still has to get through its lane.
		d, _ := v.RegionOf(peer)
		r = &globaltable.Replica{Region: d.Name, Jurisdiction: d.Jurisdiction, Origin: peer}
	}
	return locality.Lets(e.table, key, r)
}

// Placing returns the version whose locality policies this region is carrying out in the table; zero: none. Until it has, its log may have changes that may not be sent any more.
func (v *View) Placing(table globaltable.TableID) globaltable.Version {
	if e := v.tables[table]; e != nil {
		if r := e.table.Replica(v.self.Origin); r != nil {
			return r.Placing
		}
	}
	return 0
}

// Serves reports whether this region holds, or is to hold, items of the table.
func (v *View) Serves(id globaltable.TableID) bool {
	e := v.tables[id]
	return e != nil && v.serves(e)
}

// Prompt reports whether a table's writes in the lane wait for peers to confirm them.
func (v *View) Prompt(lane globaltable.LaneID) bool { return v.lanes[lane] }

// Used reports whether there is a table some items of which are in the lane's placement: only then is anything written into the lane.
func (v *View) Used(lane globaltable.LaneID) bool {
	_, used := v.lanes[lane]
	return used
}

func (v *View) worldSettled() bool { return v.world == nil || v.world.Settled() }

func (v *View) serves(e *entry) bool { return !e.refused && e.placement.Has(v.self.Origin) }

// Settled reports whether this region has a replica of the table, and no replica is on its way in or out: only then it is known what all replicas have, and something of the
// table may be collected. The system table is settled while no region is being fenced or removed.
func (v *View) Settled(id globaltable.TableID) bool {
	if id == globaltable.SystemTable {
		return v.worldSettled()
	}
	e := v.tables[id]
	return e != nil && e.settled && v.serves(e)
}

// Held is a table that this region holds items of, or a conflict feed.
type Held struct {
	Table     globaltable.TableID
	Version   globaltable.Version
	Placement globaltable.Placement // the caller must not change it
	Lane      globaltable.LaneID    // of the placement; the system table's changes are in the catalog's instead
	Settled   bool
	Counted   globaltable.Placement // see the function; the caller must not change it
}

// Held calls f with every table that this region holds, or is to hold, items of, the system table included, in no order.
func (v *View) Held(f func(Held)) {
	f(Held{Table: globaltable.SystemTable, Placement: v.all, Lane: v.all.Lane(), Settled: v.worldSettled(), Counted: v.all})
	for id, e := range v.tables {
		if v.serves(e) {
			f(Held{Table: id, Version: e.table.Version, Placement: e.placement, Lane: e.lane, Settled: e.settled, Counted: e.counted})
		}
	}
}

// Join is a replica here that has to get what the sources hold: it is being created, another one's region is being closed, or it gains items by policies.
type Join struct {
	Table   globaltable.TableID
	Since   globaltable.Version // the document's version that demands it
	Sources []globaltable.Descriptor
	Gained  bool // it is about items only that policies let the region have since

	BytesPerSecond int64 // that it may take from them together, about; 0: no bound but the node's
}

// Joins returns the joins of replicas here that are not refused, in the order of tables' ids, each followed by that of the conflict feed, which belongs to it.
func (v *View) Joins() []Join {
	var out []Join
	from(v.db.Txn(false), inTables, byID, nil, func(e *entry) bool {
		since, ok := JoinIn(e.table, v.self.Origin)
		if !ok || e.refused {
			return true
		}
		mine := e.table.Replica(v.self.Origin)
		for _, t := range []*globaltable.Table{e.table, e.feed.table} {
			out = append(out, Join{Table: t.ID, Since: since, Sources: v.givers(t), Gained: since == mine.Placing, BytesPerSecond: mine.JoinBytesPerSecond})
		}
		return true
	})
	return out
}

// givers is Givers for this region.
func (v *View) givers(t *globaltable.Table) (out []globaltable.Descriptor) {
	for _, o := range Givers(t, v.self.Origin) {
		d, known := v.RegionOf(o)
		if !known { // it waits for a descriptor of the region
			d = globaltable.Descriptor{Name: t.Replica(o).Region, Origin: o}
		}
		out = append(out, d)
	}
	return out
}

// Shared returns the tables that this region and another one hold, or are to hold, replicas of, in the order of ids, each followed by its conflict feed. A replica there that is on its way out counts: what it wrote may not
// have come yet. One whose region is fenced does not: the others give what it wrote.
func (v *View) Shared(other hlc.Origin) (out []globaltable.TableID) {
	from(v.db.Txn(false), inTables, byID, nil, func(e *entry) bool {
		r := e.table.Replica(other)
		if r != nil && (r.Status == globaltable.Deleting || e.table.StatusIn(other) != "") && !e.refused && e.placement.Has(v.self.Origin) {
			out = append(out, e.table.ID, e.feed.table.ID)
		}
		return true
	})
	return out
}

// Outcome returns what became, in this region, of the first version of the table at or after since that it adopted. ok is false when there was none yet.
func (v *View) Outcome(table globaltable.TableID, since globaltable.Version) (o Outcome, ok bool) {
	return outcomeSince(v.db.Txn(false), table, since)
}

// Changed returns a channel that is closed when this view is no longer the one in force.
func (v *View) Changed() <-chan struct{} { return v.changed }
