package handover

import (
	"context"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/streams/repair"
)

// Catalog is the catalog that the taker's store works under.
type Catalog interface {
	View() *catalog.View
	Trusts(origin hlc.Origin, incarnation globaltable.Incarnation) bool
}

// Taking is the taker's store, and its way to the giver.
type Taking interface {
	// TakeOver merges records that from gives away for good, while that version of the table is in force, and logs them. It returns when that is durable.
	TakeOver(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, records []repair.Record) error
	// TakeOverSaved replays parts of what from has saved, likewise. purge is the table's purge frontier there.
	TakeOverSaved(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, purge hlc.Timestamp, parts []repair.Record) error
}

// Givers asks other regions. There, a Giver answers.
type Givers interface {
	// Offered returns the page that a region has offered.
	Offered(ctx context.Context, region string, o *Offer) (*repair.Page, error)
}

// Taker takes over what other regions may not have any more. Its methods may be called from several goroutines.
type Taker struct {
	catalog Catalog
	store   Taking
	givers  Givers
	turn    chan struct{} // holds a token for each page that is being taken: it bounds their memory
}

// maxTakes bounds the pages that are taken at once.
const maxTakes = 4

// NewTaker returns a Taker.
func NewTaker(c Catalog, store Taking, givers Givers) *Taker {
	return &Taker{catalog: c, store: store, givers: givers, turn: make(chan struct{}, maxTakes)}
}

// Take takes over what asker offers. It returns nil when all of it is durable here. The error is of kind Unavailable while this region is at another version of the table, Denied when it may not take that.
func (t *Taker) Take(ctx context.Context, asker globaltable.Descriptor, o *Offer) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return &globaltable.Error{Op: opTake, Kind: globaltable.Unavailable, Err: ctx.Err()}
	}
	view := t.catalog.View()
	doc, known := view.Table(o.Table)
	self := view.Self()
	switch {
	case o.Table == globaltable.SystemTable || o.Incarnation == 0 || !t.catalog.Trusts(asker.Origin, o.Incarnation):
		return refuse(o, globaltable.Denied, "region "+asker.Name+" cannot give that")
	case !known || doc.Version != o.Version:
		return refuse(o, globaltable.Unavailable, "region "+self.Name+" is at another version of the table")
	case doc.Replica(asker.Origin) == nil:
		return refuse(o, globaltable.Denied, "region "+asker.Name+" has no replica of the table")
	}
	page, err := t.givers.Offered(ctx, asker.Name, o)
	if err != nil {
		return err
	}
	if page.Incarnation != o.Incarnation {
		return refuse(o, globaltable.Denied, "the page is of another store than the offer")
	}
	for i := range page.Records {
		if locality.Decide(doc, page.Records[i].Key, self.Origin, locality.Receive) != locality.Permit {
			return refuse(o, globaltable.Denied, "an item may not be in region "+self.Name)
		}
		if o.Saved && locality.Decide(doc, page.Records[i].Key, self.Origin, locality.Admit) != locality.Permit {
			return refuse(o, globaltable.Unavailable, "region "+self.Name+" is getting an item itself")
		}
	}
	from := repair.Giver{Origin: asker.Origin, Incarnation: o.Incarnation}
	if o.Saved {
		return t.store.TakeOverSaved(ctx, o.Table, from, o.Version, page.Purge, page.Records)
	}
	return t.store.TakeOver(ctx, o.Table, from, o.Version, page.Records)
}

const opTake = "take over records"

func refuse(o *Offer, kind globaltable.Kind, message string) error {
	return &globaltable.Error{Op: opTake, Resource: o.Table.String(), Kind: kind, Message: message}
}
