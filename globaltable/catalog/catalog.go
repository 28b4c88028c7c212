// Package catalog knows the tables and the regions.
//
// The truth is in the store: a table's document is an item of the system table, written by the table's owner region alone and carried to all
// others by the catalog lane. Catalog is that truth in memory, twice. go-memdb holds documents, names and regions with their indexes, for
// listing and looking up. A View, compiled from it after every change and never changed itself, answers the hot path with one atomic load.
//
// A document comes into force inside the commit's critical section: Prepare is shown the documents that a group is about to write, checks them
// and returns what must be written with them; the function that it returns makes them the ones in force between that group and the next. So
// every write is placed under exactly one version of its table: what a region wrote before it adopted a version that brings a replica is in its store
// by then, and what it writes after that is in a lane of the replica's. This is what a join rests on.
//
// Names bind to ids in each region by itself, in the order of adoption: a region where a name is taken refuses the replica. Adoption outcomes are kept
// in the store, for every version that was adopted.
package catalog

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
)

// Outcome is what became of a version of a table's document in this region. Its numbers are stored.
type Outcome uint8

// The outcomes.
const (
	Adopted Outcome = 1 // in force
	// 2 is not given any more, and counts as Adopted in stores that have it.
	NameTaken Outcome = 3 // the version makes a replica here, and another table has the name: the replica is refused
)

// Adoption is the outcome of adopting one version.
type Adoption struct {
	Table    globaltable.TableID
	Version  globaltable.Version
	Outcome  Outcome
	Anew     bool                  // the version brings this region a replica, or another one: nothing that the region holds of the table is of it. Not stored
	Stream   int64                 // when the newest stream of the region's replica began, in Unix milliseconds; 0: there never was one. Not stored
	Tells    bool                  // the region tells in that stream what changes. Not stored
	Indexes  []globaltable.IndexID // of the table under the version. Not stored
	Replaced []globaltable.IndexID // those of them that were other indexes in the version before, which a fenced owner had issued. Not stored
	Mirror   Mirror                // what becomes of records beside, or instead of, where they lie; zero: nothing is said of any. Not stored
}

// Catalog holds the documents. It is safe for concurrent use, except that Load, Prepare and the functions that Prepare returns are called by one
// goroutine at a time.
type Catalog struct {
	view atomic.Pointer[View]
}

// New returns a catalog without tables, for the region self and its peers.
func New(self globaltable.Descriptor, peers []globaltable.Descriptor) (*Catalog, error) {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		return nil, &globaltable.Error{Op: "open catalog", Err: err}
	}
	txn := db.Txn(true)
	for _, d := range append([]globaltable.Descriptor{self}, peers...) {
		if _, taken := first[*globaltable.Descriptor](txn, inRegions, byID, originKey(d.Origin)); taken || d.Origin == 0 {
			return nil, &globaltable.Error{Op: "open catalog", Resource: d.Name, Kind: globaltable.Invalid, Message: "the region's number is zero or used twice"}
		}
		if _, taken := first[*globaltable.Descriptor](txn, inRegions, byName, nameKey(d.Name)); taken {
			return nil, &globaltable.Error{Op: "open catalog", Resource: d.Name, Kind: globaltable.Invalid, Message: "the region's name is used twice"}
		}
		insert(txn, inRegions, &d)
	}
	txn.Commit()
	c := new(Catalog)
	c.view.Store(compile(self, db))
	return c, nil
}

// Load brings in what the store holds: items of the system table, and the adoptions recorded. It is called once, before anything else.
func (c *Catalog) Load(docs []item.Item, adoptions []Adoption) error {
	v := c.view.Load()
	staged := v.db.Snapshot()
	txn := staged.Txn(true)
	for _, a := range adoptions {
		if a.Outcome < Adopted || a.Outcome > NameTaken {
			return corrupt("an adoption in the store has an outcome that is not known")
		}
		insert(txn, inAdoptions, &a)
	}
	var heirs []*globaltable.Table // whose replicas have become tables, which may have come before them
	for _, doc := range docs {
		d, err := decodeSystem(doc)
		if err != nil {
			return err
		}
		if d.world != nil {
			insert(txn, inWorld, d.world)
		}
		if d.policy != nil {
			insert(txn, inPolicies, d.policy)
		}
		if d.receipt != nil {
			insert(txn, inReceipts, d.receipt)
		}
		t := d.table
		if t == nil {
			continue
		}
		e := newEntry(txn, t, v.self.Origin)
		if other, taken := first[*entry](txn, inTables, byName, nameKey(t.Name)); taken && e.bound && other.table.ID != t.ID {
			return corrupt("two tables of this region have the same name")
		}
		insert(txn, inTables, e)
		if len(t.Parted) > 0 || t.Disassociating() != nil {
			heirs = append(heirs, t)
		}
	}
	for _, t := range heirs {
		succeed(txn, t, v.self.Origin)
	}
	txn.Commit()
	c.enforce(staged)
	return nil
}

// enforce makes staged the state in force.
func (c *Catalog) enforce(staged *memdb.MemDB) {
	old := c.view.Load()
	c.view.Store(compile(old.self, staged))
	close(old.changed)
}

// View returns the tables and regions in force now.
func (c *Catalog) View() *View { return c.view.Load() }

// Place returns where an item lives and the version of the table's document in force; with a nil key, where items live that no policy matches. ok is false when no client's write of it is admitted here. For the
// system table it is all active members, the catalog lane and version 0. The caller must not change p.
func (c *Catalog) Place(table globaltable.TableID, key []byte) (p globaltable.Placement, lane globaltable.LaneID, version globaltable.Version, ok bool) {
	v := c.view.Load()
	if table == globaltable.SystemTable {
		return v.all, globaltable.CatalogLane, 0, true
	}
	e := v.tables[table]
	if e == nil || e.refused || locality.Decide(e.table, key, v.self.Origin, locality.Admit) != locality.Permit && !(plantedAdmit && v.serves(e)) {
		return nil, 0, 0, false
	}
	at, ok := e.at(key)
	return at.placement, at.lane, e.table.Version, ok
}

// Feeds is Place for a write of an earlier time that this region logs anew: ok is true also while the region is getting the item itself.
func (c *Catalog) Feeds(table globaltable.TableID, key []byte) (p globaltable.Placement, lane globaltable.LaneID, version globaltable.Version, ok bool) {
	v := c.view.Load()
	e := v.tables[table]
	if table == globaltable.SystemTable || e == nil || e.refused {
		return nil, 0, 0, false
	}
	at, ok := e.at(key)
	if !ok || !at.placement.Has(v.self.Origin) {
		return nil, 0, 0, false
	}
	return at.placement, at.lane, e.table.Version, true
}

// Admits reports whether a change of the item that came from another region may be stored here; with a nil key, whether any may. made is the version under which it was made; zero for a whole record,
// which is of no single one. A change from before the replica's time is refused: see globaltable.Replica.Born.
func (c *Catalog) Admits(table globaltable.TableID, key []byte, made globaltable.Version) bool {
	if table == globaltable.SystemTable {
		return true
	}
	v := c.view.Load()
	e := v.tables[table]
	return e != nil && !e.refused && (made == 0 || made >= e.born) && locality.Decide(e.table, key, v.self.Origin, locality.Receive) == locality.Permit
}

// Excludes reports whether a locality policy in force keeps the item out of a region.
func (c *Catalog) Excludes(table globaltable.TableID, key []byte, region hlc.Origin) bool {
	e := c.view.Load().tables[table]
	return e != nil && locality.Excludes(e.table, key, region)
}

// Placing is View.Placing under the catalog in force.
func (c *Catalog) Placing(table globaltable.TableID) globaltable.Version {
	return c.view.Load().Placing(table)
}

// Foreign reports whether a change that Admits refuses was made by who should have known: under the version that is in force here, or a later one, by which the item may not be here.
func (c *Catalog) Foreign(table globaltable.TableID, key []byte, made globaltable.Version) bool {
	v := c.view.Load()
	e := v.tables[table]
	return e != nil && !e.refused && made >= e.table.Version && locality.Decide(e.table, key, v.self.Origin, locality.Receive) != locality.Permit
}

// Pinned is View.Pinned under the catalog in force.
func (c *Catalog) Pinned() bool { return c.view.Load().pinned }

// Indexed returns the table's document in force if the table has indexes, else nil.
func (c *Catalog) Indexed(table globaltable.TableID) *globaltable.Table {
	if e := c.view.Load().tables[table]; e != nil && len(e.table.Indexes) > 0 {
		return e.table
	}
	return nil
}

// KeySchema returns the table's primary key; nil if the table is not known, or has none: the system table, a conflict feed. The caller must not change it.
func (c *Catalog) KeySchema(table globaltable.TableID) *globaltable.KeySchema {
	if e := c.view.Load().tables[table]; e != nil && e.feed != nil {
		return &e.table.KeySchema
	}
	return nil
}

// Stream returns in which change stream this region tells changes of the table; see globaltable.Table.StreamIn.
func (c *Catalog) Stream(table globaltable.TableID) (since int64, view globaltable.StreamView, ok bool) {
	s := c.view.Load().streams[table]
	return s.Since, s.View, s.View != ""
}

// Settled is View.Settled under the catalog in force.
func (c *Catalog) Settled(table globaltable.TableID) bool { return c.view.Load().Settled(table) }

// Expiry returns the history of the table's time to live; nil for a table that never had one. It is shared.
func (c *Catalog) Expiry(table globaltable.TableID) conflict.Expiry {
	return c.view.Load().expiry[table]
}

// Version returns the version of the table's document in force; zero if the table is not known. The system table's is zero; globaltable.WorldTable's is that of the world's document.
func (c *Catalog) Version(table globaltable.TableID) globaltable.Version {
	v := c.view.Load()
	if e := v.tables[table]; e != nil {
		return e.table.Version
	}
	if table == globaltable.WorldTable && v.world != nil {
		return v.world.Version
	}
	return 0
}

// Trusts reports whether what a region's store with that incarnation wrote may be taken now; see View.Trusts.
func (c *Catalog) Trusts(origin hlc.Origin, incarnation globaltable.Incarnation) bool {
	return c.view.Load().Trusts(origin, incarnation)
}

// Prepare checks the documents that a group is about to write, in order, against the ones in force and against each other. See the package's comment.
// Nothing has happened when it returns an error: of kind Unavailable for a document of a newer
// release and with ErrBehind, Corrupt for one that no owner can have issued, Exists for a new table of this region whose name is taken. adopt is nil
// when no document comes into force; it must be called before Prepare is called again, or not at all.
func (c *Catalog) Prepare(docs []item.Item) (adoptions []Adoption, adopt func(), err error) {
	v := c.view.Load()
	staged := v.db.Snapshot()
	txn := staged.Txn(true)
	tables, world, beside, err := decodeAll(docs)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range beside {
		if d.policy != nil {
			insert(txn, inPolicies, d.policy)
		} else {
			insert(txn, inReceipts, d.receipt)
		}
	}
	// The world first: whether a table may change its owner is for the members to say.
	if world != nil {
		fresh, err := worldFollows(v.world, world)
		if err != nil {
			return nil, nil, err
		}
		if fresh {
			a := &Adoption{Table: globaltable.WorldTable, Version: world.Version, Outcome: Adopted}
			insert(txn, inAdoptions, a)
			insert(txn, inWorld, world)
			adoptions = append(adoptions, *a)
		} else {
			world = v.world
		}
	} else {
		world = v.world
	}
	for _, t := range tables {
		a, err := adoptTable(txn, t, world, v.self.Origin)
		if err != nil {
			return nil, nil, err
		}
		if a == nil {
			continue
		}
		adopted := *a
		adopted.Mirror = mirrorOf(txn, t, v.self.Origin)
		for i := range t.Indexes {
			adopted.Indexes = append(adopted.Indexes, t.Indexes[i].ID)
		}
		adoptions = append(adoptions, adopted)
	}
	if adoptions == nil && beside == nil {
		return nil, nil, nil
	}
	txn.Commit()
	return adoptions, func() { c.enforce(staged) }, nil
}

// decodeAll decodes items of the system table; of several documents of the world it returns the newest.
func decodeAll(docs []item.Item) (tables []*globaltable.Table, world *globaltable.World, beside []systemDocument, err error) {
	for _, doc := range docs {
		d, err := decodeSystem(doc)
		switch {
		case err != nil:
			return nil, nil, nil, err
		case d.table != nil:
			tables = append(tables, d.table)
		case d.policy != nil || d.receipt != nil:
			beside = append(beside, d)
		case d.world != nil && (world == nil || d.world.Version > world.Version):
			world = d.world
		}
	}
	return tables, world, beside, nil
}

// anew reports whether region self has a later replica under t than under old, which is nil when the table was not known.
func anew(old *entry, t *globaltable.Table, self hlc.Origin) bool {
	held := globaltable.Version(0)
	if old != nil {
		held = old.born
	}
	now := t.Replica(self)
	return now != nil && now.Born > held
}

// adoptTable puts t into txn, if it is newer than what is there; nil if it is not.
func adoptTable(txn *memdb.Txn, t *globaltable.Table, world *globaltable.World, self hlc.Origin) (*Adoption, error) {
	old, known := first[*entry](txn, inTables, byID, tableKey(t.ID))
	if known {
		if fresh, err := follows(old.table, t, world); err != nil || !fresh {
			return nil, err
		}
	}
	a := &Adoption{Table: t.ID, Version: t.Version, Anew: anew(old, t, self)}
	if r := t.Replica(self); r != nil {
		a.Stream = t.StreamSince(r)
		_, a.Tells = t.StreamIn(self)
	}
	var err error
	if a.Outcome, err = outcome(txn, old, t, self); err != nil {
		return nil, err
	}
	if known {
		a.Replaced = replaced(old.table, t)
	}
	insert(txn, inAdoptions, a)
	insert(txn, inTables, newEntry(txn, t, self))
	succeed(txn, t, self)
	return a, nil
}

// ErrBehind refuses a table's document of another owner while this region has not heard that the one before was fenced. The world's document says so, and comes another way: the regions may have other owners, and lanes
// are begun anew at their heads.
var ErrBehind = &globaltable.Error{Op: "adopt catalog", Kind: globaltable.Unavailable, Message: "a table's document has another owner, and this region has not heard that the one before was fenced"}

// follows checks t against the version in force. It is fresh when it is newer. Versions may be skipped: between two looks the owner may have issued several. A new owner's version need not follow the
// newest one of an owner that was fenced: what that one issued, and no region heard that stayed, is void, be it an index or the table's end. Only regions that were fenced have it, and they begin with
// nothing when they come back.
func follows(old, t *globaltable.Table, world *globaltable.World) (fresh bool, err error) {
	switch {
	case t.Version < old.Version:
		return false, nil
	case t.Version == old.Version:
		if !bytes.Equal(globaltable.EncodeTable(old), globaltable.EncodeTable(t)) {
			return false, corrupt("two documents of one version of table " + t.ID.String() + ": its owner was restored and did not hear the other regions")
		}
		return false, nil
	case t.Name != old.Name || t.CreatedAt != old.CreatedAt || !sameKeys(t.KeySchema, old.KeySchema):
		return false, corrupt("a new document of table " + t.ID.String() + " changes what never changes")
	case t.Owner != old.Owner && t.Version.Epoch() > old.Version.Epoch():
		if !inherits(world, old.Owner) {
			return false, ErrBehind
		}
		return true, nil
	case t.Version.Number() <= old.Version.Number(),
		t.Version.Number() == old.Version.Number()+1 && t.Predecessor != globaltable.HashTable(old):
		return false, corrupt("the document of table " + t.ID.String() + " does not follow the one in force: its owner was restored and did not hear the other regions")
	case old.Deleted && !t.Deleted:
		return false, corrupt("table " + t.ID.String() + " is dead and has a new document")
	case t.Owner != old.Owner:
		return false, corrupt("a new document of table " + t.ID.String() + " has another owner in the epoch of the one before")
	case slices.ContainsFunc(old.Parted, func(id globaltable.TableID) bool { return !t.HasParted(id) }):
		return false, corrupt("a new document of table " + t.ID.String() + " forgets a table that a replica has become")
	case !sameIndexes(old, t) || !slices.Equal(t.Expiry.Until(old.Expiry.Newest()), old.Expiry):
		return false, corrupt("a new document of table " + t.ID.String() + " changes what never changes")
	}
	return true, nil
}

// inherits reports whether others may own what the region owned: it is closed, or was once and has come back with a new incarnation.
func inherits(w *globaltable.World, owner hlc.Origin) bool {
	if w == nil {
		return false
	}
	m := w.Member(owner)
	return m == nil || m.State != globaltable.MemberActive || m.Incarnation != 0
}

// worldFollows is follows for the world's documents. old is nil when there was none. A new owner's version need not follow the newest one of an owner that was fenced: what that one issued, and only some
// adopted before they ceased to hear it, is void. Its epoch is greater.
func worldFollows(old, w *globaltable.World) (fresh bool, err error) {
	const restored = ": its owner was restored and did not hear the other regions"
	switch {
	case old == nil:
		return true, nil
	case w.Version < old.Version:
		return false, nil
	case w.Version == old.Version:
		if !bytes.Equal(globaltable.EncodeWorld(old), globaltable.EncodeWorld(w)) {
			return false, corrupt("two documents of one version of the world" + restored)
		}
		return false, nil
	case w.Owner != old.Owner:
		if m := w.Member(old.Owner); m != nil && m.State == globaltable.MemberActive && m.Incarnation == 0 || w.Version.Epoch() == old.Version.Epoch() {
			return false, corrupt("a new document of the world has another owner, and the old one was never fenced")
		}
		return true, nil
	case w.Version.Number() <= old.Version.Number(),
		w.Version.Number() == old.Version.Number()+1 && w.Predecessor != globaltable.HashWorld(old):
		return false, corrupt("the document of the world does not follow the one in force" + restored)
	}
	for i := range old.Members {
		m := &old.Members[i]
		now := w.Member(m.Descriptor.Origin)
		if now == nil || now.Descriptor.Matches(&m.Descriptor) != nil || m.State == globaltable.MemberRemoved && now.State != globaltable.MemberRemoved {
			return false, corrupt("a new document of the world changes what never changes")
		}
	}
	return true, nil
}

func sameKeys(a, b globaltable.KeySchema) bool {
	if a.Partition != b.Partition || (a.Sort == nil) != (b.Sort == nil) {
		return false
	}
	return a.Sort == nil || *a.Sort == *b.Sort
}

// outcome says what becomes of t here. old is nil when the table was not known.
func outcome(txn *memdb.Txn, old *entry, t *globaltable.Table, self hlc.Origin) (Outcome, error) {
	if claims(t, self) && (old == nil || !old.bound) && !awaits(txn, t, self) {
		if other, taken := first[*entry](txn, inTables, byName, nameKey(t.Name)); taken && other.table.ID != t.ID {
			if t.Owner == self && t.Version.Number() == 1 {
				return 0, Exists("create table", t.Name)
			}
			return NameTaken, nil
		}
	}
	return Adopted, nil
}
