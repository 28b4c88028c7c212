package commit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
)

// A lane whose next entries are gone from its origin's log is begun anew at the origin's head. What it has missed comes by an exchange of all records of the tables shared with that
// origin. That something is missing is in the store in the same batch as the positions, so nobody can take one of them for more than it says.

// LaneStart is where a lane of another region is begun anew.
type LaneStart struct {
	Lane  globaltable.LaneID
	Seq   uint64 // of the head
	Chain globaltable.Chain
}

// CatchUp is the exchange that brings what lanes begun anew have missed.
type CatchUp struct {
	Origin      hlc.Origin
	ID          uint64 // a later exchange with the same origin has a greater one
	Incarnation globaltable.Incarnation
	Lanes       []globaltable.LaneID // begun anew, sorted
}

const (
	catchUpVersion = 1
	catchUpHead    = 1 + 8 + 8
)

func (c *CatchUp) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, catchUpVersion), c.ID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.Incarnation))
	for _, id := range c.Lanes {
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	}
	return dst
}

func decodeCatchUp(origin hlc.Origin, b []byte) (*CatchUp, error) {
	if len(b) < catchUpHead || (len(b)-catchUpHead)%8 != 0 || b[0] != catchUpVersion {
		return nil, errCorruptStore("record of an exchange", nil)
	}
	c := &CatchUp{Origin: origin, ID: binary.BigEndian.Uint64(b[1:]), Incarnation: globaltable.Incarnation(binary.BigEndian.Uint64(b[9:]))}
	for b = b[catchUpHead:]; len(b) > 0; b = b[8:] {
		c.Lanes = append(c.Lanes, globaltable.LaneID(binary.BigEndian.Uint64(b)))
	}
	return c, nil
}

func (l *loaded) loadCatchUps(r store.Reader) error {
	lower, upper := store.MetaRange(store.MetaCatchUp)
	return store.Each(r, lower, upper, func(key, value []byte) error {
		origin, ok := store.DecodeCatchUpKey(key)
		if !ok {
			return errCorruptStore("key of an exchange", nil)
		}
		c, err := decodeCatchUp(origin, value)
		l.catchUps[origin] = c
		return err
	})
}

// StartLanes begins lanes of another region's shard anew, durably: their positions are the heads given, and an exchange, whose id it returns, has to bring what they have
// missed. An exchange with that origin that is under way begins anew, for its lanes too. The heads must have been durable at the origin when it told them.
func (s *Shard) StartLanes(ctx context.Context, origin hlc.Origin, shard uint16, inc globaltable.Incarnation, heads []LaneStart) (id uint64, err error) {
	err = s.do(ctx, false, startLanes(origin, shard, inc, heads, &id))
	return id, err
}

func startLanes(origin hlc.Origin, shard uint16, inc globaltable.Incarnation, heads []LaneStart, id *uint64) func(*core, *group) error {
	return func(c *core, g *group) error {
		if known := c.incarnations[originShard{origin, shard}]; inc <= c.revoked[origin] || known > inc {
			return fault(globaltable.InUse, "start lanes", fmt.Sprintf("the incarnation of region %d is not the one in force", origin), nil)
		}
		for _, h := range heads {
			if at := c.positions[positionKey{origin, shard, h.Lane}]; at.Incarnation == inc && at.Seq > h.Seq {
				return fault(globaltable.Invalid, "start lanes", "a head is behind the position", nil)
			}
		}
		next := &CatchUp{Origin: origin, ID: uint64(c.clock.Now()), Incarnation: inc}
		if old := c.catchUps[origin]; old != nil && old.Incarnation == inc {
			next.Lanes = slices.Clone(old.Lanes)
		}
		for _, h := range heads {
			key, p := positionKey{origin, shard, h.Lane}, globaltable.Position{Incarnation: inc, Seq: h.Seq, Chain: h.Chain}
			c.positions[key] = p
			g.batch.Set(store.AppendPositionKey(nil, origin, shard, h.Lane), appendPosition(nil, p))
			g.positions = append(g.positions, PositionAt{Origin: origin, Shard: shard, Lane: h.Lane, Position: p})
			next.Lanes = append(next.Lanes, h.Lane)
		}
		c.incarnations[originShard{origin, shard}] = inc
		slices.Sort(next.Lanes)
		next.Lanes = slices.Compact(next.Lanes)
		c.catchUps[origin] = next
		g.batch.Set(store.AppendCatchUpKey(nil, origin), next.append(nil))
		g.batch.DeleteRange(store.CaughtRange(origin))
		g.settled = append(g.settled, func(v *view) { v.catchUps[origin] = next })
		g.useClock = true
		*id = next.ID
		return nil
	}
}

// CatchUps returns the exchanges that are under way, sorted by origin. The caller must not change them.
func (s *Shard) CatchUps() []*CatchUp {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	out := make([]*CatchUp, 0, len(s.view.catchUps))
	for _, c := range s.view.catchUps {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *CatchUp) int { return cmp.Compare(a.Origin, b.Origin) })
	return out
}

// SetCaught keeps, durably, how far the exchange of the id given has got with a table. state is opaque. The error is of kind InUse when that exchange is no longer the one under way.
func (s *Shard) SetCaught(ctx context.Context, origin hlc.Origin, id uint64, table globaltable.TableID, state []byte) error {
	return s.do(ctx, false, setCaught(origin, id, table, state))
}

func setCaught(origin hlc.Origin, id uint64, table globaltable.TableID, state []byte) func(*core, *group) error {
	return func(c *core, g *group) error {
		if err := c.underWay(origin, id); err != nil {
			return err
		}
		g.batch.Set(store.AppendCaughtKey(nil, origin, table), state)
		return nil
	}
}

// Caught returns what SetCaught kept for the exchange under way; nil if there is nothing.
func (s *Shard) Caught(origin hlc.Origin, table globaltable.TableID) (state []byte, err error) {
	err = getValue(s.cfg.Engine, store.AppendCaughtKey(nil, origin, table), func(value []byte) error {
		state = bytes.Clone(value)
		return nil
	})
	if err != nil {
		return nil, fault(globaltable.Internal, "read exchange", "", err)
	}
	return state, nil
}

// EndCatchUp records, durably, that the exchange of the id given is complete. The error is of kind InUse when it is no longer the one under way.
func (s *Shard) EndCatchUp(ctx context.Context, origin hlc.Origin, id uint64) error {
	return s.do(ctx, false, endCatchUp(origin, id))
}

func endCatchUp(origin hlc.Origin, id uint64) func(*core, *group) error {
	return func(c *core, g *group) error {
		if err := c.underWay(origin, id); err != nil {
			return err
		}
		c.dropCatchUp(g, origin)
		return nil
	}
}

func (c *core) underWay(origin hlc.Origin, id uint64) error {
	if now := c.catchUps[origin]; now == nil || now.ID != id {
		return fault(globaltable.InUse, "catch up", "another exchange has begun", nil)
	}
	return nil
}

// dropCatchUp forgets the exchange with an origin.
func (c *core) dropCatchUp(g *group, origin hlc.Origin) {
	delete(c.catchUps, origin)
	g.batch.Delete(store.AppendCatchUpKey(nil, origin))
	g.batch.DeleteRange(store.CaughtRange(origin))
	g.settled = append(g.settled, func(v *view) { delete(v.catchUps, origin) })
}
