package sim

import (
	"context"
	"encoding/json"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/outbox"
	"github.com/concordat-db/concordat/streams/peer"
)

// catalog is what one region knows of the tables. The documents are not simulated: each table has version 1, and the one that loses a replica
// version 2. A region takes version 2 at some time, or because a peer's changes were made under it.
type catalog struct {
	*world
	self    hlc.Origin
	version map[globaltable.TableID]globaltable.Version // absent: 1
	dropped map[globaltable.TableID]bool
}

func newCatalog(w *world, self hlc.Origin) *catalog {
	return &catalog{world: w, self: self, version: map[globaltable.TableID]globaltable.Version{}, dropped: map[globaltable.TableID]bool{}}
}

func (c *catalog) of(id globaltable.TableID) globaltable.Version { return max(c.version[id], 1) }

// placement is where the table is under the version that this region has; nil for a table that is nowhere.
func (c *catalog) placement(id globaltable.TableID) globaltable.Placement {
	t := c.table(id)
	switch {
	case t == nil:
		return nil
	case c.of(id) > 1:
		return t.narrowed
	}
	return t.placement
}

func (c *catalog) lane(id globaltable.TableID) globaltable.LaneID { return c.placement(id).Lane() }

// Place implements commit.Catalog.
func (c *catalog) Place(id globaltable.TableID, _ []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool) {
	p := c.placement(id)
	return p, p.Lane(), c.of(id), p.Has(c.self)
}

// Admits implements commit.Catalog.
func (c *catalog) Admits(id globaltable.TableID, _ []byte, _ globaltable.Version) bool {
	return c.placement(id).Has(c.self)
}

// Trusts implements commit.Catalog.
func (*catalog) Trusts(hlc.Origin, globaltable.Incarnation) bool { return true }

// Version implements commit.Catalog.
func (c *catalog) Version(id globaltable.TableID) globaltable.Version { return c.of(id) }

// Settled implements commit.Catalog. A replica that leaves is on its way until what it wrote is with the others and it has dropped its data.
func (c *catalog) Settled(id globaltable.TableID) bool {
	if !c.placement(id).Has(c.self) {
		return false
	}
	t := c.table(id)
	for _, r := range c.regions {
		if c.of(id) > 1 && t.placement.Has(r.origin) && !t.narrowed.Has(r.origin) && !r.catalog.dropped[id] {
			return false
		}
	}
	return true
}

// Prepare implements commit.Catalog. The system table is not written.
func (c *catalog) Prepare([]item.Item) ([]store.KV, func(), error) {
	return nil, nil, nil
}

// control answers a peer that asks for the catalog.
func (c *catalog) control(context.Context, string, []byte) ([]byte, error) {
	return json.Marshal(c.version)
}

// fetch brings the catalog up to the origin's.
func (c *catalog) fetch(ctx context.Context, from peer.Client) error {
	answer, err := from.Control(ctx, []byte(`"catalog"`))
	if err != nil {
		return err
	}
	var versions map[globaltable.TableID]globaltable.Version
	if err := json.Unmarshal(answer, &versions); err != nil {
		return err
	}
	for i := range c.plan.tables {
		if id := c.plan.tables[i].id; versions[id] > c.of(id) {
			c.adopt(id)
		}
	}
	return nil
}

func (c *catalog) adopt(id globaltable.TableID) {
	if c.of(id) > 1 {
		return
	}
	c.note("%d takes version 2 of table %s", c.self, id)
	c.cover("a placement was narrowed")
	c.version[id] = 2
}

// narrow takes a replica from a table: its regions learn of it one after another, in any order.
func (w *world) narrow() {
	for i := range w.plan.tables {
		if t := &w.plan.tables[i]; t.narrowed != nil {
			for _, r := range w.regions {
				w.after(between(w.rng, 0, 2*time.Second), func() { r.catalog.adopt(t.id) })
			}
		}
	}
}

// dropLeft erases the tables that this region no longer has, once what it wrote of them is with the others.
func (r *region) dropLeft(status []outbox.Backlog) {
	for i := range r.plan.tables {
		t := &r.plan.tables[i]
		if r.catalog.of(t.id) < 2 || r.catalog.dropped[t.id] || t.narrowed.Has(r.origin) || !t.placement.Has(r.origin) {
			continue
		}
		if r.confirmed(status, t.placement.Lane()) {
			r.manual.DropTable(t.id, func(err error) {
				if err != nil {
					panic(err)
				}
				r.note("%d drops table %s", r.origin, t.id)
				r.cover("a table was dropped")
				r.catalog.dropped[t.id] = true
			})
			r.work()
		}
	}
}

// confirmed reports whether all peers have confirmed all of one of this region's lanes.
func (r *region) confirmed(status []outbox.Backlog, lane globaltable.LaneID) bool {
	for _, b := range status {
		if b.Lane.ID != lane {
			continue
		}
		for _, seq := range b.Confirmed {
			if seq < b.Head {
				return false
			}
		}
	}
	return true
}
