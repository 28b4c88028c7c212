package regionnode

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/watermark"
)

const (
	beatEvery     = time.Second
	collectAtOnce = 256              // records in one batch: they are latched together
	lookAgain     = 30 * time.Second // what comes in late, by an exchange, is found by beginning anew as often
)

// collectable is a table as a turn of collection finds it.
type collectable struct {
	table   globaltable.TableID
	purge   hlc.Timestamp
	waiting uint64 // records with something to collect, now or later
}

// collecting decides what is collected when. It is pure. Each turn has a budget of records; the tables share it, each as much as it needs, beginning after the one that came last.
type collecting struct {
	budget int // of a turn
	walks  map[globaltable.TableID]*walk
	last   globaltable.TableID // where the turn before ended

	left  int
	queue []collectable
}

// walk is how far a table has been gone through, in the order in which things can be collected.
type walk struct {
	next  []byte        // where to go on; nil: at the beginning
	done  hlc.Timestamp // all before next was collected at this frontier
	began time.Time
}

func newCollecting(budget int) *collecting {
	return &collecting{budget: budget, walks: map[globaltable.TableID]*walk{}}
}

// turn begins a turn, with all tables that may be collected now.
func (c *collecting) turn(now time.Time, tables []collectable) {
	c.left, c.queue = c.budget, c.queue[:0]
	walks := make(map[globaltable.TableID]*walk, len(tables))
	for _, t := range tables {
		w := c.walks[t.table]
		if w == nil || now.Sub(w.began) >= lookAgain {
			w = &walk{began: now}
		}
		walks[t.table] = w
		if t.waiting > 0 && t.purge > w.done {
			c.queue = append(c.queue, t)
		}
	}
	c.walks = walks
	slices.SortFunc(c.queue, func(a, b collectable) int { return cmp.Compare(a.table-c.last-1, b.table-c.last-1) })
}

// next says what to collect now; ok is false when the turn is over.
func (c *collecting) next() (table globaltable.TableID, after []byte, limit int, ok bool) {
	if c.left <= 0 || len(c.queue) == 0 {
		return 0, nil, 0, false
	}
	table = c.queue[0].table
	c.last = table
	return table, c.walks[table].next, min(c.left, collectAtOnce), true
}

// did takes what became of it.
func (c *collecting) did(table globaltable.TableID, r commit.Collected) {
	w := c.walks[table]
	w.next = r.Last
	c.left -= max(r.Gone+r.Reduced+r.Expired, 1)
	if r.Next == nil {
		w.done = r.Purge
		c.queue = c.queue[1:]
	}
}

// failed gives the table up for this turn.
func (c *collecting) failed() { c.queue = c.queue[1:] }

// collect erases deleted items, removed attributes and expired items that no replica needs any more, gently, until ctx is done. Beside that it keeps the frontiers moving in a region without peers.
func (n *Node) collect(ctx context.Context) error {
	plan := newCollecting(int(float64(n.cfg.Limits.CollectPerSecond) * n.cfg.Limits.SweepEvery.Seconds()))
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	names := map[string]bool{}
	var swept time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if at, _, err := n.streams.Heads(ctx); err == nil {
			n.matrix.Beat(n.cfg.Region.Origin, at)
			n.advanceFrontiers()
		}
		// A tick early rather than late: ticks are never quite a second apart.
		if now := time.Now(); now.Sub(swept) > n.cfg.Limits.SweepEvery-beatEvery/2 {
			swept = now
			n.sweep(ctx, plan)
		}
		n.swept.keep(n.catalog.View())
		names = n.measureCollection(names)
	}
}

// sweep is a turn of collection.
func (n *Node) sweep(ctx context.Context, plan *collecting) {
	tables := n.collectables()
	for _, t := range tables {
		n.followTimeToLive(ctx, t.table)
	}
	n.trimConflicts(ctx)
	for _, t := range tables {
		if t.waiting == 0 {
			n.swept.raise(t.table, t.purge)
		}
	}
	n.trimStreams(ctx)
	plan.turn(time.Now(), tables)
	for table, after, limit, ok := plan.next(); ok && ctx.Err() == nil; table, after, limit, ok = plan.next() {
		r, err := n.shard.Collect(ctx, table, after, limit)
		if err != nil {
			plan.failed()
			if globaltable.KindOf(err) != globaltable.InUse && ctx.Err() == nil {
				n.log.Warn().Stringer("table", table).Err(err).Msg("deleted and expired items could not be collected")
			}
			continue
		}
		plan.did(table, r)
		if r.Next == nil {
			n.swept.raise(table, r.Purge)
		}
		n.collected(table, r)
	}
}

// trimConflicts drops the oldest conflicts of tables that keep too many. The regions of a table would all drop the same at the same time; so each but the first leaves it to those before it, unless there is a good deal too much.
func (n *Node) trimConflicts(ctx context.Context) {
	view := n.catalog.View()
	view.Held(func(h catalog.Held) {
		t, known := view.Table(h.Table.Base())
		if !h.Table.IsFeed() || !known || n.serves() != nil {
			return
		}
		rank := int64(slices.Index(h.Placement, n.cfg.Region.Origin))
		limit := globaltable.Conflicts.Size(t.Conflicts)
		limit += limit / 16 * rank
		if _, err := n.shard.TrimConflicts(ctx, t.ID, limit); err != nil && ctx.Err() == nil && t.StatusIn(n.cfg.Region.Origin) == globaltable.Active {
			n.log.Warn().Str("table", t.Name).Err(err).Msg("old conflicts could not be dropped")
		}
	})
}

// followPages bounds the pages of a table, of 1 MiB at most, that one sweep reads after a change of its time to live.
const followPages = 16

// followTimeToLive goes on with what a change of a table's time to live demands of the keys by which it is collected.
func (n *Node) followTimeToLive(ctx context.Context, table globaltable.TableID) {
	for range followPages {
		done, err := n.shard.FollowExpiry(ctx, table, collectAtOnce)
		if err != nil && globaltable.KindOf(err) != globaltable.InUse && ctx.Err() == nil {
			n.log.Warn().Stringer("table", table).Err(err).Msg("expiring items could not be listed")
		}
		if done || err != nil {
			return
		}
	}
}

// collectables lists the tables that may be collected.
func (n *Node) collectables() (out []collectable) {
	n.catalog.View().Held(func(h catalog.Held) {
		if h.Settled && h.Table != globaltable.SystemTable {
			out = append(out, collectable{h.Table, n.shard.Purge(h.Table), n.shard.Waiting(h.Table) + n.shard.Expiring(h.Table)})
		}
	})
	return out
}

// collected reports what was collected, with what allowed it: the frontier, and the least that a replica had applied of another one's.
func (n *Node) collected(table globaltable.TableID, r commit.Collected) {
	if r.Gone+r.Reduced+r.Expired == 0 {
		return
	}
	n.metrics.Collected(r.Gone, r.Reduced, r.Expired)
	p, _, _, _ := n.catalog.Place(table, nil)
	n.log.Debug().Stringer("table", table).Stringer("purge", r.Purge).Stringer("applied", n.matrix.Applied(p)).
		Int("deleted", r.Gone).Int("reduced", r.Reduced).Int("expired", r.Expired).Msg("collected")
}

// heldBackAfter is how old the least watermark has to be to be worth a word.
const heldBackAfter = 10 * time.Second

func (n *Node) collectionStatus(t *globaltable.Table, now time.Time) admin.Collection {
	out := admin.Collection{Waiting: n.shard.Waiting(t.ID), Expiring: n.shard.Expiring(t.ID)}
	if purge := n.shard.Purge(t.ID); purge > 0 {
		out.PurgeAgeMillis = ageMillis(now, purge)
	}
	if out.HeldBack = onTheWay(t); out.HeldBack == "" {
		out.HeldBack = behindMost(n.matrix, catalog.Counted(t), n.regionName, now)
	}
	return out
}

// onTheWay names a replica that is on its way in or out: the frontier stands still meanwhile.
func onTheWay(t *globaltable.Table) string {
	for _, r := range t.Replicas {
		switch r.Status {
		case globaltable.Creating:
			return "the replica in " + r.Region + " is being created"
		case globaltable.Deleting:
			return "the replica in " + r.Region + " is being deleted"
		case globaltable.StatusFencing:
			return "the replica in " + r.Region + " is being closed"
		}
	}
	return ""
}

// behindMost names the pair of regions of which one has not applied the other for the longest time; empty when that is not worth a word.
func behindMost(m *watermark.Matrix, p globaltable.Placement, name func(hlc.Origin) string, now time.Time) string {
	region, origin, mark, ok := m.Least(p)
	switch {
	case !ok || mark > 0 && now.Sub(mark.Time()) < heldBackAfter:
		return ""
	case mark == 0:
		return "it is not known what " + name(region) + " has applied of " + name(origin)
	}
	return name(region) + " has not applied " + name(origin) + " since " + mark.Time().UTC().Format(time.DateTime) + " UTC"
}

// measureCollection brings the gauges up to date. It gets the names of the tables that it has measured before, and returns those of now.
func (n *Node) measureCollection(before map[string]bool) map[string]bool {
	now, view := map[string]bool{}, n.catalog.View()
	at, streams := time.Now(), n.streamsByTable()
	view.Held(func(h catalog.Held) {
		t, known := view.Table(h.Table)
		if !known {
			return // the system table: nothing of it is ever deleted
		}
		now[t.Name] = true
		if h.Table.IsFeed() {
			if listed, bytes, err := n.shard.Count(h.Table); err == nil {
				n.metrics.Conflicts(t.Name, listed, bytes)
			}
			return
		}
		age := time.Duration(-1)
		if purge := n.shard.Purge(h.Table); purge > 0 {
			age = max(0, at.Sub(purge.Time()))
		}
		n.metrics.Collection(t.Name, n.shard.Waiting(h.Table), n.shard.Expiring(h.Table), age)
		count, records, bytes := streamSize(streams[h.Table])
		n.metrics.StreamRecords(t.Name, count, records, bytes)
	})
	for name := range before {
		if !now[name] {
			n.metrics.CollectionEnds(name)
		}
	}
	return now
}
