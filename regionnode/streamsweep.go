package regionnode

import (
	"context"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// trimPages bounds the pages that one sweep drops of a change stream: see commit.Shard.TrimStream.
const trimPages = 64

// trimStreams drops what is too old, or too much, in the change streams of tables, the oldest first, and streams that have ended and have nothing any more.
func (n *Node) trimStreams(ctx context.Context) {
	view := n.catalog.View()
	for table, streams := range n.streamsByTable() {
		t, known := view.Table(table)
		if !known || ctx.Err() != nil {
			continue
		}
		if err := n.trimTable(ctx, t, streams, hlc.FromTime(time.Now())); err != nil && ctx.Err() == nil {
			n.log.Warn().Str("table", t.Name).Err(err).Msg("old records of change streams could not be dropped")
		}
	}
}

// streamsByTable returns what there is of change streams, the oldest of each table first.
func (n *Node) streamsByTable() map[globaltable.TableID][]commit.StreamState {
	out := map[globaltable.TableID][]commit.StreamState{}
	for _, s := range n.shard.AllStreams() {
		out[s.Table] = append(out[s.Table], s)
	}
	return out
}

// trimTable is trimStreams for the streams of one table, the oldest first.
func (n *Node) trimTable(ctx context.Context, t *globaltable.Table, streams []commit.StreamState, now hlc.Timestamp) error {
	var bytes int64
	for _, s := range streams {
		bytes += s.Bytes
	}
	upTo := now.Add(-globaltable.StreamRecords.Age(t.Streams))
	newest, on := t.StreamOn(n.cfg.Region.Origin)
	for _, s := range streams {
		// A stream makes room for those after it.
		bytes -= s.Bytes
		limit := max(0, globaltable.StreamRecords.Size(t.Streams)-bytes)
		for pages, more := 0, true; more && pages < trimPages; pages++ {
			var err error
			if more, err = n.shard.TrimStream(ctx, s.Stream, upTo, limit); err != nil {
				return err
			}
		}
		// One that is empty since it was too large stays for as long as its readers may come, and the newest one stays while its replica joins: it knows since when something is missing.
		if ended := !on || s.Since != newest.Since; ended && s.Last <= upTo {
			if err := n.shard.DropStream(ctx, s.Stream); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) streamStatus(t *globaltable.Table) admin.Streamed {
	out := admin.Streamed{Limit: globaltable.StreamRecords.Size(t.Streams), KeepSeconds: int64(globaltable.StreamRecords.Age(t.Streams) / time.Second)}
	if s, on := t.StreamIn(n.cfg.Region.Origin); on {
		out.View = string(s.View)
	}
	out.Streams, out.Records, out.Bytes = streamSize(n.shard.Streams(t.ID))
	return out
}

// streamSize adds up what streams have.
func streamSize(of []commit.StreamState) (streams int, records, bytes int64) {
	for _, s := range of {
		records += s.Records
		bytes += s.Bytes
	}
	return len(of), records, bytes
}
