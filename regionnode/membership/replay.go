package membership

import (
	"bytes"
	"context"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// maxReplayBytes bounds the saved records that are replayed at once, one oversize record aside.
const maxReplayBytes = 512 << 10

// replayed is a table whose saved records have been replayed by this start, and what the others have to confirm.
type replayed struct {
	since globaltable.Version // of the replica
	heads []commit.LaneHead
}

// Complete replays the saved records of a table that has got what the others hold, and returns nil when all other replicas have confirmed what was logged: the dots are older than watermarks that
// the others may have of this region by then, so the table's purge frontier must not move before. It is called again until it does: repair.Config.Complete. since is the version of which the others were
// asked for what they hold: what only a later one demands has not come yet.
func (c *Comeback) Complete(ctx context.Context, table globaltable.TableID, since globaltable.Version) error {
	if c.State().Step != commit.RebuildJoining {
		return nil
	}
	admitted, why := c.uninformed() // before the document is looked at
	t, known := c.cfg.Catalog.View().Table(table)
	if !known {
		return nil
	}
	mine := t.Replica(c.self)
	if mine == nil || mine.Status != globaltable.Creating {
		return nil
	}
	switch {
	case mine.Since != since:
		why = "a later document to be heard of"
	case c.void():
		why = "the region to be rebuilt again"
	}
	if why != "" {
		return &globaltable.Error{Op: "replay", Resource: t.Name, Kind: globaltable.Unavailable, Message: why}
	}
	if _, waits := catalog.Waits(t, c.self); waits {
		return nil // the replica does not become active before it has begun anew, and comes here again
	}
	// From now on the store has what is nowhere else: see void.
	if c.State().Since == 0 {
		if err := c.change(ctx, func(now commit.Rebuild) commit.Rebuild { now.Since = admitted; return now }); err != nil {
			return err
		}
	}
	c.mu.Lock()
	done := c.logged[table]
	c.mu.Unlock()
	if done == nil || done.since != mine.Since {
		if err := c.replay(ctx, t); err != nil {
			return err
		}
		heads, err := c.cfg.Store.Heads(ctx)
		if err != nil {
			return err
		}
		done = &replayed{since: mine.Since, heads: heads.Lanes}
		c.mu.Lock()
		c.logged[table] = done
		c.mu.Unlock()
	}
	if behind := c.behind(t, done.heads); len(behind) > 0 {
		return &globaltable.Error{Op: "replay", Resource: t.Name, Kind: globaltable.Unavailable,
			Message: strings.Join(behind, " and ") + " to confirm what was replayed"}
	}
	return nil
}

// replay replays all saved records of a table. What is in doubt stays.
func (c *Comeback) replay(ctx context.Context, t *globaltable.Table) error {
	alone := len(catalog.Sources(t, c.self)) == 0
	if alone {
		if err := c.cfg.Saved.RegainPurge(ctx, t.ID); err != nil {
			return err
		}
	}
	purge := c.cfg.Saved.Purge(t.ID)
	var total commit.ReplayResult
	var after commit.Key
	for {
		page, size := []commit.SavedRecord{}, 0
		err := c.cfg.Saved.Saved(t.ID, after, func(r commit.SavedRecord) bool {
			r.Bytes, r.Record = bytes.Clone(r.Bytes), bytes.Clone(r.Record)
			page = append(page, r)
			size += len(r.Record)
			return len(page) < commit.MaxReplay && size < maxReplayBytes
		})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		result, err := c.cfg.Saved.Replay(ctx, page, purge, alone)
		if err != nil {
			return err
		}
		total.Known, total.Logged, total.Kept = total.Known+result.Known, total.Logged+result.Logged, total.Kept+result.Kept
		after = page[len(page)-1].Key
	}
	if f := c.cfg.Replayed; f != nil {
		f(t, total)
	}
	return nil
}

// behind returns the other replicas' regions that have not confirmed this region's lanes up to heads.
func (c *Comeback) behind(t *globaltable.Table, heads []commit.LaneHead) (out []string) {
	type laneOf struct {
		peer hlc.Origin
		lane globaltable.LaneID
	}
	confirmed := map[laneOf]uint64{}
	for _, n := range c.cfg.Store.Confirmations() {
		confirmed[laneOf{n.Peer, n.Lane}] = n.Seq
	}
	v := c.cfg.Catalog.View()
	for _, o := range locality.PlaceOf(t, nil).Peers(c.self) {
		for _, h := range heads {
			if h.ID != globaltable.CatalogLane && h.Placement.Has(o) && confirmed[laneOf{o, h.ID}] < h.Seq {
				out = append(out, nameIn(v, o))
				break
			}
		}
	}
	return out
}
