package conflict

import (
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Write is what is kept of the write that a reset or a cell comes from.
type Write struct {
	Stamp   hlc.Stamp
	Context vector.Vector // what the writer had seen of other origins, above Floor
	Floor   hlc.Timestamp // the writer's purge frontier; everything at or below it was seen too
}

// Cell is one top-level attribute, or with an empty name the item's presence.
type Cell struct {
	Name []byte
	Write
	Removed bool
	Value   item.Value // empty if Removed, and for the presence
}

// Record is a stored item: PROTOCOL.md section 1. The zero value is a record that was never written.
type Record struct {
	Reset  Write         // the latest whole-item write; zero stamp: none
	Cells  []Cell        // sorted by name, one for each name, none older than Reset
	Vector vector.Vector // greatest stamp of each origin that the record's writes had seen, those of Reset and Cells included
}

// Class says how a change relates to the record that it was applied to. It decides nothing: a change is always joined.
type Class uint8

// The classes.
const (
	Duplicate  Class = 1 // the record's vector covers the change already
	Causal     Class = 2 // the writer had seen all that the record has seen
	Concurrent Class = 3 // neither
)

// Result says what Apply did.
type Result struct {
	Class      Class
	Changed    bool // the encoded record is another one than before, be it only in its vector
	LiveBefore bool // the item existed
	LiveAfter  bool // the item exists
	Lost       bool // a write of the change is not in the record, because that holds or has dropped it for a greater stamp
}
