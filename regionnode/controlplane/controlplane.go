// Package controlplane makes, changes and deletes tables.
package controlplane

import (
	"context"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// Door is the way into the store: a commit.Shard.
type Door interface {
	Write(ctx context.Context, w *commit.Write) error
	Get(ctx context.Context, key commit.Key, f func(commit.Current) error) error
	MergeRecords(ctx context.Context, records []commit.RecordAt) error
	DropTable(ctx context.Context, table globaltable.TableID) error
	Count(table globaltable.TableID) (items, bytes int64, err error)
	Heads(ctx context.Context) (commit.Heads, error)
	Confirmations() []commit.Confirmation
}

// Peers asks other regions. A region's own Handle answers.
type Peers interface {
	// Ask sends a request to a region and returns the answer. An error means that the region could not be asked, or that its answer is lost.
	Ask(ctx context.Context, region string, request []byte) ([]byte, error)
}

// Config says what a Plane works with. Zero limits mean the defaults.
type Config struct {
	Catalog *catalog.Catalog
	Door    Door
	Peers   Peers
	Now     func() time.Time // wall clock

	Every      time.Duration // between looks at what is unfinished; 250 ms
	AskTimeout time.Duration // for one request to a peer; 3 s
	MaxTables  int           // live tables with a replica in this region; 2500
	Events     Events
}

// Events are callbacks. Any may be nil.
type Events struct {
	Issued func(t *globaltable.Table)           // this region, the owner, made a version
	Failed func(what, region string, err error) // something is tried again later; region may be empty
}

// Plane is a region's part in the making of tables. Its methods may be called from several goroutines.
type Plane struct{ cfg Config }

// New returns a Plane. It starts nothing.
func New(cfg Config) (*Plane, error) { panic("unfinished") }

// Run brings what is unfinished to its end, until ctx is done; it returns nil then.
func (p *Plane) Run(ctx context.Context) error { panic("unfinished") }

// CreateTable makes a table with one replica, here, active at once; this region is its owner.
func (p *Plane) CreateTable(ctx context.Context, spec catalog.Spec) (*globaltable.Table, error) {
	panic("unfinished")
}

// UpdateTable changes the table that has the name here. When another region owns it, that one is asked.
func (p *Plane) UpdateTable(ctx context.Context, name string, change catalog.Change) (*globaltable.Table, error) {
	panic("unfinished")
}

// DeleteTable removes this region's replica of the table that has the name here. The last replica takes the table with it.
func (p *Plane) DeleteTable(ctx context.Context, name string) (*globaltable.Table, error) {
	panic("unfinished")
}

// DescribeTable returns the table that has the name here; where this region is its owner, with descriptions of what unfinished replicas wait for.
func (p *Plane) DescribeTable(name string) (*globaltable.Table, error) { panic("unfinished") }

// ListTables returns at most limit names of this region's tables after the name given, in order, and whether there are more.
func (p *Plane) ListTables(after string, limit int) (names []string, more bool) {
	panic("unfinished")
}

// Fetch brings this region's catalog up to that of the region given: for the inbox, which met a newer version there.
func (p *Plane) Fetch(ctx context.Context, region string) error { panic("unfinished") }

// Unheard returns the regions whose newest documents this region has not seen since its start, sorted. Until there are none it changes no document that was
// there before.
func (p *Plane) Unheard() []string { panic("unfinished") }

// HandlePeer answers a request of the region named peer.
func (p *Plane) HandlePeer(ctx context.Context, peer string, request []byte) ([]byte, error) {
	panic("unfinished")
}
