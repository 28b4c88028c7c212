package conflict

import (
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
)

// OpKind is what an operation does to a record. Its numbers are part of the encoding.
type OpKind uint8

// The operations of a delta.
//
// OpAddNumber is an intent: ApplyLocal turns it into an OpIncrement, which only a log has. OpDeleteElements says what a write deleted, and takes effect by the OpObserve that ApplyLocal puts after it; as it puts
// one after each operation that a write of its kind may have seen contributions before (see Typed). All but resets and observations write the item's presence, too.
const (
	OpReset          OpKind = 1  // whole-item write: Value is the item (item.Item), or empty for a delete
	OpSetCell        OpKind = 2  // attribute Name is set to Value (item.Value); both empty: only the item's presence is written. Of TypeMax and TypeMin it is a bid
	OpRemoveCell     OpKind = 3  // attribute Name is removed
	OpAddNumber      OpKind = 4  // contribution: Value (a number) is added to the counter Name
	OpAddElements    OpKind = 5  // contribution: the elements of Value (a set) are added to the set Name
	OpDeleteElements OpKind = 6  // contribution: the elements of Value (a set) are deleted from the set Name
	OpIncrement      OpKind = 7  // contribution to the counter Name: Value is what the origin's run has become, and the increment
	OpObserve        OpKind = 8  // Value is what the write had seen of contributions to Name
	OpSetPath        OpKind = 9  // the entry at Name, a path (AppendPath), inside a map is set to Value; Name ends with an empty name and Value is empty: only the map's presence is written
	OpRemovePath     OpKind = 10 // the entry at Name, a path, inside a map is removed
)

// TypeTag is the declared merge type of the attribute that an operation is on. Its numbers are part of the encoding.
type TypeTag uint8

// The merge types.
const (
	TypeRegister TypeTag = 0
	TypeCounter  TypeTag = 1
	TypeSet      TypeTag = 2
	TypeMap      TypeTag = 3
	TypeMax      TypeTag = 4
	TypeMin      TypeTag = 5
)

// Op is one operation of a change. Name and Value are views of the bytes that the change was decoded from or built on.
type Op struct {
	Kind  OpKind
	Type  TypeTag
	Name  []byte // attribute name, or path; see OpKind for when it is empty
	Value []byte // see OpKind
}

// Change is one key's transition: a delta of its record. It is what the log keeps, what peers get, and what is merged.
type Change struct {
	Table          uint64        // globaltable.TableID
	Key            []byte        // item.Key: hash of the partition key, partition key, sort key
	Dot            hlc.Stamp     // identity and stamp of the write
	Context        vector.Vector // what the record had seen when the write was made, without the dot's origin, above Floor
	Floor          hlc.Timestamp // the purge frontier of the writer when it wrote
	CatalogVersion uint64        // version of the table's document in force at the write; 0 for the catalog's own changes
	Transaction    hlc.Timestamp // the same for all changes of one transaction of Dot.Origin; 0: none
	Ops            []Op          // applied in order
}
