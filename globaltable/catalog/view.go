package catalog

import (
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// View is the catalog at one moment. It is immutable.
type View struct {
	changed chan struct{}
}

// Self returns this region.
func (v *View) Self() globaltable.Descriptor { panic("unfinished") }

// Regions returns all regions known, this one included, sorted by name. The caller must not change the slice.
func (v *View) Regions() []globaltable.Descriptor { panic("unfinished") }

// Region returns the region with the name given.
func (v *View) Region(name string) (globaltable.Descriptor, bool) { panic("unfinished") }

// RegionOf returns the region with the number given.
func (v *View) RegionOf(o hlc.Origin) (globaltable.Descriptor, bool) { panic("unfinished") }

// Table returns the newest document of a table, dead, foreign or refused ones included. ok is false when it is not known.
func (v *View) Table(id globaltable.TableID) (t *globaltable.Table, ok bool) { panic("unfinished") }

// Lookup returns the table that has the name in this region. It may be one that is being made or deleted: see StatusIn.
func (v *View) Lookup(name string) (t *globaltable.Table, ok bool) { panic("unfinished") }

// Names returns at most limit names of this region's tables after the name given, in order, and whether there are more.
func (v *View) Names(after string, limit int) (names []string, more bool) { panic("unfinished") }

// Tables calls f with every document known, in the order of ids, until f returns false.
func (v *View) Tables(f func(*globaltable.Table) bool) { panic("unfinished") }

// Outcome returns what became, in this region, of the first version of the table at or after since that it adopted. ok is false when there was none yet.
func (v *View) Outcome(table globaltable.TableID, since globaltable.Version) (o Outcome, ok bool) {
	panic("unfinished")
}

// Changed returns a channel that is closed when this view is no longer the one in force.
func (v *View) Changed() <-chan struct{} { return v.changed }
