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
	since   globaltable.Version // that demanded it
	heads   []commit.LaneHead
	toPlace bool // some may not be here any more
}

// Complete replays the saved records of a table that has got what the others hold, and returns when all other replicas have confirmed what was logged, without an error: the dots are older than watermarks that
// the others may have of this region by then, so the table's purge frontier must not move before. It is called again until it does: repair.Config.Complete. since is the version of which the others were
// asked for what they hold: what only a later one demands has not come yet. toPlace says that some of it may not be here any more: another region has to take it over (package placing) when this one serves the table.
//
// Where this region gains items by policies, since is the version that lets it have them again: then what it still has of them is replayed.
func (c *Comeback) Complete(ctx context.Context, table globaltable.TableID, since globaltable.Version) (toPlace bool, err error) {
	joining := c.State().Step == commit.RebuildJoining
	var admitted globaltable.Version
	var why string
	if joining {
		admitted, why = c.uninformed() // before the document is looked at
	}
	t, known := c.cfg.Catalog.View().Table(table)
	if !known {
		return false, nil
	}
	mine := t.Replica(c.self)
	switch {
	case mine != nil && mine.Placing != 0 && mine.Placing == since:
		return false, c.regain(ctx, t, since)
	case !joining || mine == nil || mine.Status != globaltable.Creating:
		return false, nil
	case mine.Since != since:
		why = "a later document to be heard of"
	case c.void():
		why = "the region to be rebuilt again"
	}
	if why != "" {
		return false, &globaltable.Error{Op: "replay", Resource: t.Name, Kind: globaltable.Unavailable, Message: why}
	}
	if _, waits := catalog.Waits(t, c.self); waits {
		return false, nil // the replica does not become active before it has begun anew, and comes here again
	}
	// From now on the store has what is nowhere else: see void.
	if c.State().Since == 0 {
		if err := c.change(ctx, func(now commit.Rebuild) commit.Rebuild { now.Since = admitted; return now }); err != nil {
			return false, err
		}
	}
	return c.once(ctx, t, since, func(*commit.SavedRecord) bool { return true })
}

// regain replays what is still to be decided about of a table of which this region may have items again. There hardly ever is any.
func (c *Comeback) regain(ctx context.Context, t *globaltable.Table, since globaltable.Version) error {
	open := func(r *commit.SavedRecord) bool { return !r.Judged }
	some := false
	err := c.cfg.Saved.Saved(t.ID, commit.Key{}, func(r commit.SavedRecord) bool {
		some = open(&r)
		return !some
	})
	if err == nil && some {
		_, err = c.once(ctx, t, since, open)
	}
	return err
}

// once replays the saved records of a table of which are is true, once for each version that demands it, and returns an error until the others have confirmed what was logged.
func (c *Comeback) once(ctx context.Context, t *globaltable.Table, since globaltable.Version, are func(*commit.SavedRecord) bool) (toPlace bool, err error) {
	c.mu.Lock()
	done := c.logged[t.ID]
	c.mu.Unlock()
	if done == nil || done.since != since {
		if done, err = c.replay(ctx, t, are); err != nil {
			return false, err
		}
		done.since = since
		c.mu.Lock()
		c.logged[t.ID] = done
		c.mu.Unlock()
	}
	if behind := c.behind(t, done.heads); len(behind) > 0 {
		return false, &globaltable.Error{Op: "replay", Resource: t.Name, Kind: globaltable.Unavailable,
			Message: strings.Join(behind, " and ") + " to confirm what was replayed"}
	}
	return done.toPlace, nil
}

// replay replays those saved records of a table. What is in doubt stays, and so does what may not be here.
func (c *Comeback) replay(ctx context.Context, t *globaltable.Table, are func(*commit.SavedRecord) bool) (*replayed, error) {
	alone := len(catalog.Sources(t, c.self)) == 0
	if alone {
		if err := c.cfg.Saved.RegainPurge(ctx, t.ID); err != nil {
			return nil, err
		}
	}
	purge := c.cfg.Saved.Purge(t.ID)
	var total commit.ReplayResult
	var after commit.Key
	for {
		page, size := []commit.SavedRecord{}, 0
		err := c.cfg.Saved.Saved(t.ID, after, func(r commit.SavedRecord) bool {
			if !are(&r) {
				return true
			}
			r.Bytes, r.Record = bytes.Clone(r.Bytes), bytes.Clone(r.Record)
			page = append(page, r)
			size += len(r.Record)
			return len(page) < commit.MaxReplay && size < maxReplayBytes
		})
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		result, err := c.cfg.Saved.Replay(ctx, page, purge, alone)
		if err != nil {
			return nil, err
		}
		total.Add(result)
		after = page[len(page)-1].Key
	}
	if f := c.cfg.Replayed; f != nil {
		f(t, total)
	}
	heads, err := c.cfg.Store.Heads(ctx)
	if err != nil {
		return nil, err
	}
	return &replayed{heads: heads.Lanes, toPlace: total.Away > 0}, nil
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
