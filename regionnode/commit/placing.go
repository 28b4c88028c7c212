package commit

import (
	"context"
	"encoding/json"
	"maps"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// # Carrying out locality policies
//
// What a region does in a version of a table that changes where items may be (ARCHITECTURE.md, "Sovereignty") comes by four ways into the store: entries of its log are voided (review.go), records go (erase.go) that another
// region has taken over (takeover.go, there), and what was kept over a rebuilding goes. Each looks at what is, so each can be begun again at any time. What they have come to is counted in the same batches.

// Placing is what carrying out a version of a table's policies has come to in this region.
type Placing struct {
	Version globaltable.Version `json:"version"`
	Started int64               `json:"started"` // Unix milliseconds
	Done    globaltable.Placed  `json:"done"`
	Receipt string              `json:"receipt,omitempty"` // signed; empty until all is done
	// Rewritten are the policies by which the files have nothing of the table any more that may not be here: those of the version before, and of this one when it is done. None: they may have anything.
	Rewritten []globaltable.Pin `json:"rewritten,omitempty"`
}

// placings holds them, by table: of each the newest.
type placings struct {
	mu sync.Mutex
	of map[globaltable.TableID]Placing
}

func (p *placings) get(table globaltable.TableID) Placing {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.of[table]
	out.Done.Handed = maps.Clone(out.Done.Handed)
	return out
}

func (p *placings) set(table globaltable.TableID, to Placing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[table] = to
}

func (l *loaded) loadPlacings(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaPlacing)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		table, ok := store.DecodePlacingKey(key)
		if !ok {
			return errCorruptStore("key of what carrying out policies has come to", nil)
		}
		var p Placing
		if err := json.Unmarshal(value, &p); err != nil {
			return errCorruptStore("what carrying out policies has come to", err)
		}
		l.placings[table] = p
		return nil
	})
}

// put stores what carrying out a version has come to, with the group.
func (p *placings) put(g *group, table globaltable.TableID, to Placing) error {
	b, err := json.Marshal(to)
	if err != nil {
		return err
	}
	g.batch.Set(store.AppendPlacingKey(nil, table), b)
	p.set(table, to)
	return nil
}

// drop forgets a table.
func (p *placings) drop(g *group, table globaltable.TableID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.of[table]; ok {
		delete(p.of, table)
		g.batch.Delete(store.AppendPlacingKey(nil, table))
	}
}

// count adds to what the version that is being carried out has come to.
func (p *placings) count(g *group, table globaltable.TableID, done *globaltable.Placed) error {
	now := p.get(table)
	now.Done.Add(done)
	return p.put(g, table, now)
}

// underWay returns an error unless the version of the table, or of the table whose feed it is, is in force and being carried out.
func (c *core) carriesOut(table globaltable.TableID, version globaltable.Version) error {
	now := c.placings.get(table)
	if c.catalog.Placing(table) != version || now.Version != version || now.Receipt != "" {
		return fault(globaltable.InUse, opPlace, "that version of the table is not being carried out", nil)
	}
	return nil
}

const opPlace = "carry out locality policies"

// BeginPlacing begins to count what carrying out a version of the table's policies comes to, durably. It is no error if that was begun already. at is now, in Unix milliseconds. It forgets how far
// joins and catch-ups of the table had got, which is told by keys of items; after a crash they begin again. The error is of kind InUse when the version is not in force, or no policies of it.
func (s *Shard) BeginPlacing(ctx context.Context, table globaltable.TableID, version globaltable.Version, at int64) error {
	if s.placings.get(table).Version == version {
		return nil
	}
	return s.do(ctx, false, beginPlacing(table, version, at))
}

func beginPlacing(table globaltable.TableID, version globaltable.Version, at int64) func(*core, *group) error {
	return func(c *core, g *group) error {
		if c.catalog.Placing(table) != version {
			return fault(globaltable.InUse, opPlace, "that version of the table is not being carried out", nil)
		}
		if c.placings.get(table).Version == version {
			return nil
		}
		for _, t := range []globaltable.TableID{table, table.Feed()} {
			g.batch.DeleteRange(store.JoinRange(t))
			for origin := range c.catchUps {
				g.batch.Delete(store.AppendCaughtKey(nil, origin, t))
			}
		}
		next := Placing{Version: version, Started: at}
		if was := c.placings.get(table); was.Receipt != "" { // else it was begun, and not ended
			next.Rewritten = was.Rewritten
		}
		return c.placings.put(g, table, next)
	}
}

// Placing returns what carrying out policies of the table has come to, in the newest version that was begun; zero if none ever was. Some of it may not be durable yet.
func (s *Shard) Placing(table globaltable.TableID) Placing { return s.placings.get(table) }

// EndPlacing keeps the receipt of the version, and its policies, durably. The error is of kind InUse when the version is not the one that is being carried out.
func (s *Shard) EndPlacing(ctx context.Context, table globaltable.TableID, version globaltable.Version, policies []globaltable.Pin, receipt string) error {
	return s.do(ctx, false, endPlacing(table, version, policies, receipt))
}

func endPlacing(table globaltable.TableID, version globaltable.Version, policies []globaltable.Pin, receipt string) func(*core, *group) error {
	return func(c *core, g *group) error {
		if err := c.carriesOut(table, version); err != nil {
			return err
		}
		now := c.placings.get(table)
		now.Receipt, now.Rewritten = receipt, policies
		return c.placings.put(g, table, now)
	}
}

// Walking reports whether the store keeps, beside records, keys up to which a walk over the table or its feed has got: of an index that is being made, or a time to live that is being followed.
func (s *Shard) Walking(table globaltable.TableID) bool {
	for _, t := range []globaltable.TableID{table, table.Feed()} {
		if s.purges.get(t).keys.making != 0 {
			return true
		}
		for _, index := range s.indexes.of(t) {
			if state, ok := s.indexes.get(indexKey{t, index}); ok && !state.built {
				return true
			}
		}
	}
	return false
}
