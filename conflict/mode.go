package conflict

import (
	"fmt"

	"github.com/concordat-db/concordat/globaltable/item"
)

// Mode is a table's conflict mode. It decides how writes are recorded, never how records merge: so it may be
// another one in another region for a while, and change on a live table.
type Mode uint8

// The modes. Zero is LWW, DynamoDB's behaviour.
const (
	LWW       Mode = 0 // the greater stamp wins the item
	Attribute Mode = 1 // the greater stamp wins each top-level attribute
	Vector    Mode = 2 // each attribute merges by its declared type
)

// modeNames are part of the catalog's documents.
var modeNames = [...]string{LWW: "lww", Attribute: "attribute", Vector: "vector"}

// String returns the mode as documents write it.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode is the inverse of String. The empty text is LWW.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return LWW, nil
	}
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("conflict mode must be lww, attribute or vector")
}

// RecordPut appends the operations of a put of the whole item: the same in every mode. The op holds a view of it.
func RecordPut(ops []Op, it item.Item) []Op { return append(ops, Op{Kind: OpReset, Value: it}) }

// RecordDelete appends the operations of a delete: the same in every mode.
func RecordDelete(ops []Op) []Op { return append(ops, Op{Kind: OpReset}) }

// RecordUpdate appends the operations of an update. after is the item as the update left it; cells is what the update did, as
// operations on single attributes. Under LWW an update is recorded as a put of after.
func (m Mode) RecordUpdate(ops []Op, after item.Item, cells []Op) []Op {
	if m == LWW {
		return RecordPut(ops, after)
	}
	return append(ops, cells...)
}
