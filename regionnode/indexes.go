package regionnode

import (
	"context"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
)

const (
	buildAtOnce     = 64 // records in one step, for which writes wait
	buildAgainAfter = time.Second
)

// buildIndexes builds what indexes are new here, and copies replicas that become tables of their own, a step of each in turn and gently, until ctx is done. An index is new when the version of its table's
// document that brings it has come into force.
func (n *Node) buildIndexes(ctx context.Context) error {
	began := map[commit.Unbuilt]time.Time{}
	for {
		changed := n.catalog.View().Changed()
		pause := time.Duration(0)
		unbuilt := n.shard.Unbuilt()
		n.metrics.IndexesUnbuilt(len(unbuilt))
		unfilled := n.unfilled()
		for _, from := range unfilled {
			pause += n.fillMirror(ctx, from)
		}
		for _, u := range unbuilt {
			if began[u].IsZero() {
				began[u] = time.Now()
				n.log.Info().Stringer("table", u.Table).Str("index", n.indexName(u)).Msg("index is being built")
			}
			step, err := n.shard.BuildIndex(ctx, u.Table, u.Index, buildAtOnce)
			if err != nil {
				if ctx.Err() == nil {
					n.log.Warn().Stringer("table", u.Table).Str("index", n.indexName(u)).Err(err).Msg("index could not be built further")
				}
				pause = max(pause, buildAgainAfter)
				continue
			}
			n.metrics.IndexBuilt(step.Records)
			pause += time.Duration(step.Records) * time.Second / time.Duration(n.cfg.Limits.IndexPerSecond)
			if step.Done {
				n.indexBuilt(u, time.Since(began[u]))
				delete(began, u)
			}
		}
		if len(unbuilt) == 0 {
			clear(began) // those that were dropped
		}
		if len(unbuilt)+len(unfilled) > 0 {
			changed = nil
		} else {
			pause = -1
		}
		if !wait(ctx, changed, pause) {
			return nil
		}
	}
}

// unfilled returns the tables here whose copies, for replicas that become tables of their own, have not all of them yet.
func (n *Node) unfilled() (out []globaltable.TableID) {
	for _, m := range n.shard.Mirrors() {
		if !m.Full {
			out = append(out, m.From)
		}
	}
	return out
}

// fillMirror takes a copy a step further, as gently as an index is built, and returns for how long to pause after it.
func (n *Node) fillMirror(ctx context.Context, from globaltable.TableID) time.Duration {
	step, err := n.shard.FillMirror(ctx, from, buildAtOnce)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			n.log.Warn().Stringer("table", from).Err(err).Msg("a replica that becomes a table of its own could not be copied further")
		}
		return buildAgainAfter
	case step.Done:
		n.log.Info().Stringer("table", from).Msg("a replica that becomes a table of its own is copied")
	}
	return time.Duration(step.Records) * time.Second / time.Duration(n.cfg.Limits.IndexPerSecond)
}

// wait returns true when changed is closed or, if pause is not negative, that time has passed, and false when ctx is done.
func wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) bool {
	var passed <-chan time.Time
	if pause >= 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-passed:
	}
	return true
}

func (n *Node) indexBuilt(u commit.Unbuilt, took time.Duration) {
	status, ok := n.shard.Index(u.Table, u.Index)
	if !ok {
		return // it was dropped
	}
	n.log.Info().Stringer("table", u.Table).Str("index", n.indexName(u)).Int64("entries", status.Entries).Dur("took", took).Msg("index is built")
}

// indexName is empty for an index that is not in the catalog any more.
func (n *Node) indexName(u commit.Unbuilt) string {
	if t := n.catalog.Indexed(u.Table); t != nil {
		for i := range t.Indexes {
			if t.Indexes[i].ID == u.Index {
				return t.Indexes[i].Name
			}
		}
	}
	return ""
}

// indexStatus lists the indexes of a table as this region has them.
func (n *Node) indexStatus(t *globaltable.Table) (out []admin.Index) {
	for i := range t.Indexes {
		x := &t.Indexes[i]
		row := admin.Index{Name: x.Name, Local: x.Local}
		if status, ok := n.shard.Index(t.ID, x.ID); ok {
			row.Ready, row.Percent, row.Entries, row.Bytes = status.Ready, status.Percent, status.Entries, status.Bytes
		}
		out = append(out, row)
	}
	return out
}
