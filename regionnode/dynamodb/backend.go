package dynamodb

import (
	"context"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/confirm"
)

// Shard is the store's door as the API uses it. *commit.Shard is one.
type Shard interface {
	Write(ctx context.Context, w *commit.Write) error
	Get(ctx context.Context, key commit.Key, f func(commit.Current) error) error
	GetAll(ctx context.Context, keys []commit.Key, f func([]commit.Current) error) error
	Walk(ctx context.Context, r commit.Range, f func(key item.Key, current commit.Current) (more bool)) error
	Size(r commit.Range) (bytes uint64, err error)
	Count(table globaltable.TableID) (items, bytes int64, err error)
	Index(table globaltable.TableID, index globaltable.IndexID) (status commit.IndexStatus, ok bool)
	// HasConflicts reports whether conflicts of the table may be listed: a look into memory.
	HasConflicts(table globaltable.TableID) bool
	// OpenConflicts returns how many conflicts of an item are open in its record.
	OpenConflicts(ctx context.Context, key commit.Key, record []byte) (int, error)
	// Now is the region's time, by which items expire.
	Now() hlc.Timestamp
}

// Streams is what the store has of change streams. *commit.Shard is one; its methods are described there.
type Streams interface {
	Streams(table globaltable.TableID) []commit.StreamState
	Stream(id cdc.Stream) commit.StreamState
	ReadStream(r commit.StreamRange, f func(*cdc.Record) (more bool)) (upTo hlc.Timestamp, err error)
	StreamMark() hlc.Timestamp
	StreamMarkNow(ctx context.Context) (hlc.Timestamp, error)
}

// Confirmer waits for other regions, for the writes to tables that ask for it. A *confirm.Tracker is one.
type Confirmer interface {
	// Ready returns an error when no further write may begin to wait.
	Ready() error
	// Wait returns nil when all needs are met, and else an error of kind Unknown: what was written stays written.
	Wait(ctx context.Context, needs []confirm.Need) error
}

// View is the tables of this region at one moment, in memory. *catalog.View is one.
type View interface {
	// Lookup returns the table that has the name in this region, in whatever state it is. The table is shared and not changed. It does not
	// keep name, which is a view of the request.
	Lookup(name string) (t *globaltable.Table, ok bool)
	// Table returns the table with the id, of which nothing but that is sure: it may be dead, or not in this region.
	Table(id globaltable.TableID) (t *globaltable.Table, ok bool)
	// Names returns at most limit names of this region's tables after the one given, ascending, and whether there are more.
	Names(after string, limit int) (names []string, more bool)
}

// Control makes and changes tables. Its methods may be called by several goroutines. Their errors are *globaltable.Error, whose messages are
// in DynamoDB's words. *controlplane.Plane is one.
type Control interface {
	// CreateTable makes a table in this region.
	CreateTable(ctx context.Context, spec catalog.Spec) (*globaltable.Table, error)
	// UpdateTable changes a table that has the name here.
	UpdateTable(ctx context.Context, name string, change catalog.Change) (*globaltable.Table, error)
	// DeleteTable removes this region's replica of the table.
	DeleteTable(ctx context.Context, name string) (*globaltable.Table, error)
	// DescribeTable returns the table with all that this region knows of its replicas.
	DescribeTable(name string) (*globaltable.Table, error)
	// ReplicaProgress returns how much of a table a replica of it that is being created has got, 0 to 100. ok is false when this region does not know.
	ReplicaProgress(table globaltable.TableID, region hlc.Origin) (percent int, ok bool)
}
