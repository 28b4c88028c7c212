package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/change"
)

// ErrCatalogBehind refuses changes made under a newer version of their table's document than the one in force here: this region cannot decide yet
// where they may be. It also refuses documents that others explain, which are still to come.
var ErrCatalogBehind = &globaltable.Error{Op: opApply, Kind: globaltable.Unavailable, Message: "a change was made under a newer catalog than this region's"}

// PositionReason says why a Remote does not fit.
type PositionReason uint8

// The reasons.
const (
	NotNext       PositionReason = iota + 1 // the first entry is not the one after the stored position
	ChainDiffers                            // the entries do not continue the stored chain, or are not consecutive
	Revoked                                 // the incarnation has been revoked, or the catalog does not trust it
	NotRevokedYet                           // a new incarnation of an origin whose older one has not been revoked
)

func (r PositionReason) String() string {
	switch r {
	case NotNext:
		return "does not follow the stored position"
	case ChainDiffers:
		return "does not continue the stored chain"
	case Revoked:
		return "its incarnation is revoked"
	case NotRevokedYet:
		return "another incarnation is still in force"
	}
	return "is refused"
}

// PositionError refuses a Remote whose entries do not follow what is stored. Nothing was done.
type PositionError struct {
	Source change.Source
	Stored globaltable.Position // applied here; durable by the time of the error
	Got    uint64               // sequence of the first entry
	Reason PositionReason
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("commit: entry %d of lane %s of origin %d %s (stored: %d)", e.Got, e.Source.Lane, e.Source.Origin, e.Reason, e.Stored.Seq)
}

// ConflictError refuses a transaction: another write had one of its keys for too long. Nothing was done.
type ConflictError struct {
	Key int // which one, an index of Write.Keys
}

func (e *ConflictError) Error() string { return "commit: another write has a key of the transaction" }

// Unwrap says what kind of error it is.
func (e *ConflictError) Unwrap() error {
	return &globaltable.Error{Op: opWrite, Kind: globaltable.Unavailable, Message: "another write is in the way; nothing was done"}
}

const opWrite = "write"

func fault(kind globaltable.Kind, op, message string, cause error) error {
	return &globaltable.Error{Op: op, Kind: kind, Message: message, Err: cause}
}

func errQueueFull() error {
	return fault(globaltable.LimitExceeded, opWrite, "too many writes are waiting in this region", nil)
}

func errTooLarge() error {
	return fault(globaltable.Invalid, opWrite, fmt.Sprintf("A write of more than %d bytes, with what it replaces of contributions to its items, is not possible; nothing was done", maxWriteBytes), nil)
}

func errStopped() error {
	return fault(globaltable.Unavailable, "commit", "the region is shutting down", nil)
}

func errFailed(kind globaltable.Kind, cause error) error {
	return fault(kind, "commit", "the store of this region has failed", cause)
}

// errInterrupted is for a caller that did not wait to the end.
func errInterrupted(ctx context.Context, kind globaltable.Kind) error {
	message := "gave up while waiting; nothing was done"
	if kind == globaltable.Unknown {
		message = "gave up while waiting; the outcome is unknown"
	}
	return fault(kind, "commit", message, context.Cause(ctx))
}

// ErrNoTable is in the chain of what a write is told of which a table was not, or no longer, in this region when it was to be stamped: nothing was done. Another table may have its name by then.
var ErrNoTable = errors.New("the table is not in this region")

func errNoTable(id globaltable.TableID) error {
	return &globaltable.Error{Op: opWrite, Resource: "table " + id.String(), Kind: globaltable.NotFound, Message: ErrNoTable.Error(), Err: ErrNoTable}
}

// ErrNotHere is in the chain of what a write is told of which an item may not be in this region, though its table is here: nothing was done. The table's locality policies decide.
var ErrNotHere = errors.New("the item may not be in this region")

// errNoPlace says why the catalog has no place for a client's write to the table.
func errNoPlace(c Catalog, id globaltable.TableID) error {
	if _, _, _, ok := c.Place(id, nil); !ok {
		return errNoTable(id)
	}
	return &globaltable.Error{Op: opWrite, Resource: "table " + id.String(), Kind: globaltable.Denied, Message: ErrNotHere.Error(), Err: ErrNotHere}
}

func errCorruptStore(what string, cause error) error {
	return fault(globaltable.Corrupt, "read store", what, cause)
}
