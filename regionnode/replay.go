package regionnode

import (
	"bytes"
	"context"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
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

// completeJoin replays the saved records of a table that has got what the others hold, and returns nil when all other replicas have confirmed what was logged: the dots are older than watermarks that
// the others may have of this region by then, so the table's purge frontier must not move before. It is called again until it does.
func (n *Node) completeJoin(ctx context.Context, table globaltable.TableID) error {
	t, known := n.catalog.View().Table(table)
	if !known || n.rebuildStatus().Step != commit.RebuildJoining.String() {
		return nil
	}
	mine := t.Replica(n.cfg.Region.Origin)
	if mine == nil || mine.Status != globaltable.Creating {
		return nil
	}
	n.rebuild.mu.Lock()
	done := n.rebuild.logged[table]
	n.rebuild.mu.Unlock()
	if done == nil || done.since != mine.Since {
		if err := n.replaySaved(ctx, t); err != nil {
			return err
		}
		heads, err := n.shard.Heads(ctx)
		if err != nil {
			return err
		}
		done = &replayed{since: mine.Since, heads: heads.Lanes}
		n.rebuild.mu.Lock()
		n.rebuild.logged[table] = done
		n.rebuild.mu.Unlock()
	}
	if behind := n.behind(t, done.heads); len(behind) > 0 {
		return &globaltable.Error{Op: "replay", Resource: t.Name, Kind: globaltable.Unavailable,
			Message: strings.Join(behind, " and ") + " to confirm what was replayed"}
	}
	return nil
}

// replaySaved replays all saved records of a table. What is in doubt stays.
func (n *Node) replaySaved(ctx context.Context, t *globaltable.Table) error {
	purge := n.shard.Purge(t.ID)
	var total commit.ReplayResult
	var after commit.Key
	for {
		page, size := []commit.SavedRecord{}, 0
		err := n.shard.Saved(t.ID, after, func(r commit.SavedRecord) bool {
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
		result, err := n.shard.Replay(ctx, page, purge)
		if err != nil {
			return err
		}
		total.Known, total.Logged, total.Kept = total.Known+result.Known, total.Logged+result.Logged, total.Kept+result.Kept
		after = page[len(page)-1].Key
	}
	n.metrics.Replayed(total.Known, total.Logged, total.Kept)
	n.log.Info().Str("table", t.Name).Int("known", total.Known).Int("logged", total.Logged).Int("kept", total.Kept).Msg("saved writes were replayed")
	return nil
}

// behind returns the other replicas' regions that have not confirmed this region's lanes up to heads.
func (n *Node) behind(t *globaltable.Table, heads []commit.LaneHead) (out []string) {
	type laneOf struct {
		peer hlc.Origin
		lane globaltable.LaneID
	}
	confirmed := map[laneOf]uint64{}
	for _, c := range n.shard.Confirmations() {
		confirmed[laneOf{c.Peer, c.Lane}] = c.Seq
	}
	for _, o := range locality.Place(t).Peers(n.cfg.Region.Origin) {
		for _, h := range heads {
			if h.ID != globaltable.CatalogLane && h.Placement.Has(o) && confirmed[laneOf{o, h.ID}] < h.Seq {
				out = append(out, n.regionName(o))
				break
			}
		}
	}
	return out
}
