package commit

import (
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// Catalog is what a shard asks about tables. Its answers are those of the catalog in force, which changes only in the functions that
// Prepare returns. Its methods must be fast and must not call the shard: the sequencer calls them inside the critical section, and Admits is called by
// others at the same time.
type Catalog interface {
	// Place returns where an item lives under the catalog in force, and the version of the table's document. ok is false when the table is
	// not, or no longer, here. For the system table it is all regions, globaltable.CatalogLane and version 0.
	Place(table globaltable.TableID, key []byte) (p globaltable.Placement, lane globaltable.LaneID, version globaltable.Version, ok bool)
	// Admits reports whether a change of the table that came from another region may be stored here now. made is the version under which it was made; zero for a
	// whole record.
	Admits(table globaltable.TableID, key []byte, made globaltable.Version) bool
	// Excludes reports whether a locality policy keeps the item out of a region: what was logged for it earlier must not go there any more. It is asked for entries of a lane, whose members the regions are.
	Excludes(table globaltable.TableID, key []byte, region hlc.Origin) bool
	// Placing returns the version whose locality policies this region is carrying out in the table; zero: none.
	Placing(table globaltable.TableID) globaltable.Version
	// Foreign reports whether a change that Admits refuses was made by who should have known that the item may not be here: under the version in force, or a later one.
	Foreign(table globaltable.TableID, key []byte, made globaltable.Version) bool
	// Pinned reports whether any table has locality policies, so that of a table that is here some items may not be.
	Pinned() bool
	// Trusts reports whether what a region's store with that incarnation wrote, or gave, may be stored here now: the region is neither fenced nor removed, and that store is the one
	// that the others follow. Incarnation 0 stands for whichever it has.
	Trusts(origin hlc.Origin, incarnation globaltable.Incarnation) bool
	// Expiry returns the history of the table's time to live; nil if it has none. It only ever grows. The caller does not change it.
	Expiry(table globaltable.TableID) conflict.Expiry
	// Version returns the version of the table's document in force; zero if the table is not known. The system table's is zero.
	Version(table globaltable.TableID) globaltable.Version
	// Settled reports whether this region has a replica of the table, and no replica is on its way in or out: only then its purge frontier moves, and something of it is collected.
	// The system table is settled while no region is being fenced or removed.
	Settled(table globaltable.TableID) bool
	// Indexed returns the table's document in force if the table has indexes, else nil. The caller must not change it.
	Indexed(table globaltable.TableID) *globaltable.Table
	// KeySchema returns the table's primary key, which never changes; nil if the table is not known, or is the system table or a conflict feed.
	KeySchema(table globaltable.TableID) *globaltable.KeySchema
	// Stream returns in which change stream changes of the table are told: when it began, Unix milliseconds, and what it shows. ok is false if in none: the stream is off, or this region's replica is on its way in or out.
	Stream(table globaltable.TableID) (since int64, view globaltable.StreamView, ok bool)
	// Prepare is called with the items that a group is about to give the system table, before the group is applied; nothing has
	// happened yet when it returns an error, which the group's submitter gets. docs are views, valid until Prepare returns.
	Prepare(docs []item.Item) (Adoption, error)
}

// Adoption is what comes with documents that are about to come into force. The zero value: none does.
type Adoption struct {
	Extra  []store.KV // stored in the same batch
	Tables []AdoptedTable
	Adopt  func() // makes the documents the ones in force: called after the group is durable and before the next group is built. It keeps no view. nil: nothing
}

// AdoptedTable is what a table's new document demands of a shard.
type AdoptedTable struct {
	ID       globaltable.TableID
	Anew     bool                  // it brings this region a replica, or another one: whatever is held of the table is dropped in the same batch
	Stream   int64                 // when the newest stream of the region's replica began, in Unix milliseconds; 0: there never was one
	Tells    bool                  // the region tells in that stream what changes
	Indexes  []globaltable.IndexID // that the table has; entries of others are dropped in the same batch
	Replaced []globaltable.IndexID // those of Indexes that are other ones than before: their entries are dropped too, and made anew
	Mirror   Mirroring             // what becomes of records beside where they lie
}

// Mirroring says into which table the records of another one are copied, and kept in step with. The zero value says nothing of any table.
type Mirroring struct {
	From, To globaltable.TableID // To is zero when From has none, or has it no more
	Over     bool                // To is in From's place: it has to have all of it
}

// Key names an item.
type Key struct {
	Table globaltable.TableID
	Bytes item.Key
}

// Current is the newest applied state of a key, as it is at the moment at which it is looked at.
type Current struct {
	Record []byte    // encoded conflict record, without what has expired; nil when the key was never written
	Item   item.Item // nil when the item does not exist, or has expired
	Key    item.Key  // of the item, in the table; nil for a plan, which knows it
}

// Write is one client's write: of one key, of several, or of none (a condition check).
type Write struct {
	Keys []Key
	// Plan decides. It gets the newest state of each key, and returns the operations for each, in the order of Keys; no operations for a key
	// means that it was only looked at. It must be pure; it is called with the keys latched, so what it
	// is given stays the newest until the write is in. Only time goes on: if an item that it was given expires before the write is stamped, it is called again, while Write waits, and what it returned before
	// counts no more. current, and all it points to, is valid only during the call. What it returns
	// must stay unchanged until Write returns. An error is the write's error, and nothing is written; so is a panic, as an error of kind Internal with a *PanicError.
	Plan func(current []Current) ([][]conflict.Op, error)
	// Before, if not zero, is a moment before which the write has to be stamped: else nothing is written, and the error is of kind Unavailable.
	Before hlc.Timestamp
	// Transaction marks all changes of this write as parts of one transaction. It waits for the keys no longer than Config.TransactionWait, and fails with a *ConflictError then.
	Transaction bool
	// Token, if not nil, makes this a write that is done once: see Token. It is not changed while Write runs. Of a write with one it is known that it was done, even where the plan
	// has no operations.
	Token *Token
	// Repeated is set by Write when it returns nil: the write of the token had been done before. Plan was not called, and nothing was written, then.
	Repeated bool
	// Logged is filled in when Write returns nil: where what was written stands in the log, one for each table and lane; empty when nothing was written. Its
	// memory is used again by the next Write with this struct.
	Logged []Logged
}

// Logged is an entry of one of the shard's own lanes with a write to a table.
type Logged struct {
	Table     globaltable.TableID
	Lane      globaltable.LaneID
	Placement globaltable.Placement // the lane's members; the caller must not change it
	Seq       uint64
}

// Remote is a run of consecutive entries of one lane of another region's shard, decoded and checked against their hashes.
type Remote struct {
	Source  change.Source
	Entries []change.Entry // consecutive, first one right after the stored position
	// Position is the one after the last entry. It must be that entry's sequence and chain, and Source's incarnation.
	Position globaltable.Position
}

// RemoteResult counts what became of the changes of a Remote.
type RemoteResult struct {
	Applied   int // merged, nothing of it lost
	Duplicate int // already known
	Lost      int // merged, but at least one write of the change was beaten by a greater stamp
	Voided    int // dropped: the item may not be here, or its table is not
	Foreign   int // of those: whoever sent them should have known; see Catalog.Foreign
	Conflicts int // listed in the conflict feed: writes that lost to others that had not seen them
}

// RecordAt is a whole record from another region.
type RecordAt struct {
	Key
	Record []byte // encoded conflict record
}

// LaneHead is the newest entry of one of the shard's own lanes.
type LaneHead struct {
	globaltable.Lane
	Seq     uint64 // 0: no entry yet
	Chain   globaltable.Chain
	Trimmed uint64 // entries up to and with it are gone; at most Seq-1
}

// Heads is the state of a shard's log at one moment. Everything in it is durable.
type Heads struct {
	HLC   hlc.Timestamp // every write that is not in these heads has, or will get, a greater stamp
	Lanes []LaneHead    // sorted by lane id
}

// PositionAt is the position that this shard holds in a lane of another region's shard.
type PositionAt struct {
	Origin hlc.Origin
	Shard  uint16
	Lane   globaltable.LaneID
	globaltable.Position
}

// Confirmation is how far a peer has confirmed, durably, one of this shard's lanes.
type Confirmation struct {
	Peer hlc.Origin
	Lane globaltable.LaneID
	Seq  uint64
	Of   globaltable.Incarnation // which store of the peer; 0: it has not told
}

// GroupStats describes a group that has become durable.
type GroupStats struct {
	Submissions int // writes and remote batches answered
	Changes     int
	Bytes       int // about, of the changes
}

// Events are callbacks. Any may be nil. They are called in order by the syncer's goroutine, Voided and Panic aside, which waits for them: they must not block long,
// and must not call back into the shard.
type Events struct {
	// Durable reports fresh entries of a lane, in order, when they are durable. Bodies may be kept, not changed.
	Durable func(lane globaltable.Lane, entries []change.Entry)
	// Voided reports, before anybody can see it, that the bodies of entries of a lane are about to be erased, upTo the last of them: a peer that confirms one of these from now on need not have what was in it. The sequencer's goroutine calls it.
	Voided func(lane globaltable.LaneID, upTo uint64)
	// Group reports each group after its sync.
	Group func(GroupStats)
	// Fatal reports that the store failed: the shard has stopped and answers nothing with success any more. The owner must end the process.
	Fatal func(err error)
	// Panic reports that the plan of a write panicked: Write returns the same as an error of kind Internal. It is called by the goroutine that planned, several at once, the sequencer's among them.
	Panic func(*PanicError)
}
