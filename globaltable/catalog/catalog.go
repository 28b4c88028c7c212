// Package catalog knows the tables and the regions.
//
// The truth is in the store: a table's document is an item of the system table, written by the table's owner region alone and carried to all
// others by the catalog lane. Catalog is that truth in memory, twice. go-memdb holds documents, names and regions with their indexes, for
// listing and looking up. A View, compiled from it after every change and never changed itself, answers the hot path with one atomic load.
//
// A document comes into force inside the commit's critical section: Prepare is shown the documents that a group is about to write, checks them
// and returns what must be written with them; the function that it returns makes them the ones in force between that group and the next. So
// every write is placed under exactly one version of its table, and what a region had before it adopted a version is exactly known: this is what makes
// the outcome of an adoption race-free.
//
// Names bind to ids in each region by itself, in the order of adoption: a region where a name is taken refuses the replica. Adoption outcomes are kept
// in the store, for every version that was adopted.
package catalog

import (
	"sync/atomic"

	"github.com/hashicorp/go-memdb"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Outcome is what became of a version of a table's document in this region. Its numbers are stored.
type Outcome uint8

// The outcomes.
const (
	Adopted   Outcome = 1 // in force
	NotEmpty  Outcome = 2 // in force; but the version brings a new replica, and this region held items of the table already
	NameTaken Outcome = 3 // the version makes a replica here, and another table has the name: the replica is refused
)

// Adoption is the outcome of adopting one version.
type Adoption struct {
	Table   globaltable.TableID
	Version globaltable.Version
	Outcome Outcome
}

// Catalog holds the documents. It is safe for concurrent use, except that Load, Prepare and the functions that Prepare returns are called by one
// goroutine at a time.
type Catalog struct {
	self globaltable.Descriptor
	db   *memdb.MemDB
	view atomic.Pointer[View]
}

// New returns a catalog without tables, for the region self and its peers.
func New(self globaltable.Descriptor, peers []globaltable.Descriptor) (*Catalog, error) {
	panic("unfinished")
}

// Load brings in what the store holds: items of the system table, and the adoptions recorded. It is called once, before anything else.
func (c *Catalog) Load(docs []item.Item, adoptions []Adoption) error { panic("unfinished") }

// View returns the tables and regions in force now.
func (c *Catalog) View() *View { return c.view.Load() }

// Place returns where an item lives and the version of the table's document in force. ok is false when no client's write of it is admitted here. For the
// system table it is all regions, the catalog lane and version 0.
func (c *Catalog) Place(table globaltable.TableID, key []byte) (p globaltable.Placement, lane globaltable.LaneID, version globaltable.Version, ok bool) {
	panic("unfinished")
}

// Admits reports whether a change of the table that came from another region may be stored here.
func (c *Catalog) Admits(table globaltable.TableID, key []byte) bool { panic("unfinished") }

// Version returns the version of the table's document in force; zero if the table is not known. The system table's is zero.
func (c *Catalog) Version(table globaltable.TableID) globaltable.Version { panic("unfinished") }

// Prepare checks the documents that a group is about to write, in order. See the package's comment.
func (c *Catalog) Prepare(docs []item.Item, empty func(globaltable.TableID) bool) (adoptions []Adoption, adopt func(), err error) {
	panic("unfinished")
}
