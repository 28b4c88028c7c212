package commit

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// # Conflicts on their way into the feed
//
// Whoever merges a loss, be it from a lane, from an exchange or by a replay, writes it into the table's conflict feed (package feed) in the same batch, as a write of this region: with a stamp, and an entry in the log. What is listed already is left alone, and so is
// what was listed once and has expired or been dropped.
//
// The keys of a conflict and of its item have one latch (hashKey). So what is read of the feed while the item is latched stays the newest.

// lossAt is a loss of a submission's key.
type lossAt struct {
	key int // index of keys
	conflict.Loss
}

// listing is a conflict on its way into the feed.
type listing struct {
	keyState
	ops     []conflict.Op
	brought bool // it is on top of what the same submission brings
}

const (
	// maxFeedBytes bounds what a batch lists beside what it merges: its log entry has to have room for both. Listings beyond it go before, in batches of their own.
	maxFeedBytes = change.MaxBody / 4
	opFeed       = "list conflict"
)

// lose notes losses of the key at that index. Several of one write become one.
func (sub *submission) lose(key int, losses []conflict.Loss) {
	for _, l := range losses {
		i := slices.IndexFunc(sub.losses, func(o lossAt) bool { return o.key == key && o.Loser.Stamp == l.Loser.Stamp })
		if i < 0 {
			sub.losses = append(sub.losses, lossAt{key, l})
			continue
		}
		o := &sub.losses[i]
		o.Rule, o.Whole, o.Deleted = min(o.Rule, l.Rule), o.Whole || l.Whole, o.Deleted || l.Deleted
		for _, p := range l.Parts {
			if !slices.ContainsFunc(o.Parts, func(q conflict.Part) bool {
				return string(q.Name) == string(p.Name) && string(q.Path) == string(p.Path)
			}) {
				o.Parts = append(o.Parts, p)
			}
		}
	}
}

// loseChange notes what is lost where a change of the key at that index is merged into the record current.
func (r *rules) loseChange(sub *submission, key int, current []byte, c *conflict.Change) error {
	table := sub.keys[key].table
	if len(current) == 0 || !hasFeed(table) {
		return nil
	}
	losses, err := conflict.Losses(current, c, r.purges.frontier(table))
	if err == nil {
		sub.lose(key, losses)
	}
	return err
}

// loseRecord notes what is lost where a whole record is merged.
func (r *rules) loseRecord(sub *submission, p *part, current []byte) error {
	table := sub.keys[p.key].table
	if len(current) == 0 || !hasFeed(table) || plantedExchange {
		return nil
	}
	losses, err := conflict.RecordLosses(current, p.record, r.purges.frontier(table))
	if err == nil {
		sub.lose(p.key, losses)
	}
	return err
}

// hasFeed reports whether conflicts of the table are listed: of all but the catalog, each document of which has one writer, and the feeds, where regions write down the same.
func hasFeed(table globaltable.TableID) bool {
	return table != globaltable.SystemTable && !table.IsFeed()
}

// list makes what the submission has lost listings: those that the feed lacks. The keys are latched.
func (r *rules) list(sub *submission, reader store.Reader) error {
	sub.listings = sub.listings[:0]
	if sub.kind == kindMerge && r.returning.Load() {
		sub.losses = sub.losses[:0]
	}
	if len(sub.losses) == 0 {
		return nil
	}
	// What the submission itself brings of the feed is newer than what is stored.
	brings := map[string]*keyState{}
	for i := range sub.keys {
		if k := &sub.keys[i]; k.table.IsFeed() && k.next != nil {
			brings[string(k.storeKey)] = k
		}
	}
	for i := range sub.losses {
		l, err := r.listingOf(&sub.keys[sub.losses[i].key], &sub.losses[i].Loss, brings, reader)
		if err != nil {
			return err
		}
		if l != nil {
			sub.listings = append(sub.listings, *l)
		}
	}
	clear(sub.losses)
	sub.losses = sub.losses[:0]
	return nil
}

// listingOf returns the listing that the feed lacks of a loss of k's item; nil if it lacks none.
func (r *rules) listingOf(k *keyState, loss *conflict.Loss, brings map[string]*keyState, reader store.Reader) (*listing, error) {
	table := k.table.Feed()
	doc := r.catalog.Indexed(table)
	if doc == nil {
		return nil, nil // the table is not here any more
	}
	key := feed.AppendKey(nil, k.key, loss.Loser.Stamp)
	l := &listing{keyState: keyState{table: table, key: key, storeKey: store.AppendRecordKey(nil, table, key), hash: k.hash}}
	if b := brings[string(l.storeKey)]; b != nil {
		l.current, l.before, l.brought = b.next, b.after, true
	} else if err := getValue(reader, l.storeKey, func(value []byte) (err error) {
		l.current = slices.Clone(value)
		l.before, _, err = digestOf(r.catalog, table, key, l.current)
		return err
	}); err != nil {
		return nil, fault(globaltable.Internal, opFeed, "", err)
	}
	now := r.clock.Last()
	seen, _, err := currentOf(r.catalog, doc.Expiry, Key{table, key}, l.current, now)
	if err != nil || l.current != nil && seen.Item == nil {
		return nil, err
	}
	e := feed.Entry{Loss: *loss, Expires: now.Time().Add(globaltable.Conflicts.Age(doc.Conflicts)).Truncate(time.Second)}
	if l.ops, err = e.Missing(nil, seen.Item); err != nil || len(l.ops) == 0 {
		return nil, err
	}
	return l, nil
}

// bytes is about what the listing adds to a batch.
func (l *listing) bytes() int {
	n := 128 + len(l.key)
	for i := range l.ops {
		n += 16 + len(l.ops[i].Name) + len(l.ops[i].Value)
	}
	return n
}

// ahead takes from sub the listings for which its batch has no room, as submissions that are to be written before it. They are of keys that sub has latched. What stands on what sub brings stays.
func (s *Shard) ahead(sub *submission) (before []*submission) {
	slices.SortStableFunc(sub.listings, func(a, b listing) int { return order(b.brought) - order(a.brought) })
	room, n := maxFeedBytes, 0
	for n < len(sub.listings) && (room > 0 || sub.listings[n].brought) {
		room -= sub.listings[n].bytes()
		n++
	}
	rest := sub.listings[n:]
	sub.listings = sub.listings[:n]
	sub.bytes += maxFeedBytes - room
	for len(rest) > 0 {
		one := s.newSubmission(kindFeed)
		room = maxFeedBytes
		for len(rest) > 0 && room > 0 {
			room -= rest[0].bytes()
			one.listings = append(one.listings, rest[0])
			rest = rest[1:]
		}
		one.bytes, one.seen = maxFeedBytes-room, sub.seen
		before = append(before, one)
	}
	return before
}

// order sorts false before true.
func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

// listAhead writes what ahead returns. When it fails part of it may have been written, which does no harm: it is true, and will not be written again.
func (s *Shard) listAhead(ctx context.Context, sub *submission) error {
	for _, one := range s.ahead(sub) {
		if _, err := s.submit(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// decideListings places, stamps and merges, and adds to what the submission logs. One that has no place here, since the catalog has changed, is dropped, as the merge of its item is.
func (c *core) decideListings(sub *submission) (err error) {
	if len(sub.listings) == 0 {
		return nil
	}
	// After a start the clock may be further ahead than peers accept. Clients are refused meanwhile, and what would list something waits as well.
	if now := c.clock.Last(); c.clock.AheadAtStart(now) > 0 {
		return fault(globaltable.Unavailable, opFeed, "", &hlc.AheadError{Time: now, Ahead: c.clock.MaxOffset() + c.clock.AheadAtStart(now), MaxOffset: c.clock.MaxOffset()})
	}
	c.merged = c.merged[:0]
	for i := range sub.listings {
		k := &sub.listings[i].keyState
		k.next = nil
		var ok bool
		if k.place.placement, k.place.lane, k.place.version, ok = c.relog(k.table, k.key); !ok {
			continue
		}
		if k.digests, err = c.digests.table(k.table); err != nil {
			return fault(globaltable.Internal, opFeed, "", err)
		}
		k.floor, k.stamp = c.purges.floor(k.table), c.clock.Now()
		if k.context, err = conflict.ContextOf(k.current, c.origin, k.floor); err != nil {
			return errCorruptStore("record", err)
		}
		k.change = conflict.Change{
			Table: uint64(k.table), Key: k.key, Dot: hlc.Stamp{Time: k.stamp, Origin: c.origin}, Context: k.context, Floor: k.floor,
			CatalogVersion: uint64(k.place.version), Ops: sub.listings[i].ops,
		}
		sub.logs += lengthInBody(&k.change)
		at := len(c.merged)
		if c.merged, _, err = conflict.ApplyLocal(c.merged, k.current, &k.change); err != nil {
			return fault(globaltable.Internal, opFeed, "", err)
		}
		k.next = c.merged[at:len(c.merged):len(c.merged)]
		if k.after, k.live, err = digestOf(c.catalog, k.table, k.key, k.next); err != nil {
			return fault(globaltable.Internal, opFeed, "", err)
		}
	}
	return nil
}

// commitListings fills the batch with them.
func (c *core) commitListings(g *group, sub *submission) error {
	for i := range sub.listings {
		k := &sub.listings[i].keyState
		if k.next == nil {
			continue
		}
		commit := c.commitOwn
		if plantedUnlogged {
			commit = c.commitKey
		}
		if err := commit(g, k); err != nil {
			return err
		}
		sub.result.Conflicts++
	}
	g.useClock = true
	return nil
}

// Conflicts calls f with the conflicts of the table (not the feed's id) in the order of the losing dots, from the first at or after from, or backward from the last before it; zero is the beginning, or the end. It goes on until f returns
// false. What f gets is a view, valid during the call. It returns when all that f has seen is durable.
func (s *Shard) Conflicts(ctx context.Context, table globaltable.TableID, from hlc.Stamp, backward bool, f func(key item.Key, e *feed.Entry) (more bool)) error {
	r := Range{Table: table.Feed(), Index: feed.ByTime, Backward: backward}
	if !from.IsZero() {
		bound, err := feed.AppendTimeKey(nil, from)
		if err != nil {
			return fault(globaltable.Internal, opFeed, "", err)
		}
		if r.Lower = bound; backward {
			r.Lower, r.Upper = nil, bound
		}
	}
	var failed error
	err := s.Walk(ctx, r, func(_ item.Key, c Current) bool {
		e, err := feed.Decode(c.Item)
		if failed = err; err != nil {
			return false
		}
		return f(c.Key, e)
	})
	if err == nil && failed != nil {
		err = errCorruptStore("conflict", failed)
	}
	return err
}

// HasConflicts reports whether conflicts of the table may be listed: a look into memory.
func (s *Shard) HasConflicts(table globaltable.TableID) bool {
	state, _ := s.indexes.get(indexKey{table.Feed(), feed.ByTime})
	return hasFeed(table) && state.entries > 0
}

// OpenConflicts returns how many conflicts of an item are open in its record: nobody has written since who had seen them.
func (s *Shard) OpenConflicts(ctx context.Context, key Key, record []byte) (open int, err error) {
	if may, err := conflict.Unsettled(record); err != nil || !may {
		return 0, err
	}
	r := Range{Table: key.Table.Feed(), Lower: key.Bytes, Upper: key.Bytes.PrefixEnd()}
	var failed error
	err = s.Walk(ctx, r, func(k item.Key, _ Current) bool {
		dot, ok := feed.DotOf(k)
		if !ok || string(feed.ItemKey(k)) != string(key.Bytes) {
			return true
		}
		var is bool
		if is, failed = conflict.Open(record, dot); is {
			open++
		}
		return failed == nil
	})
	if failed != nil {
		return 0, errCorruptStore("record", failed)
	}
	return open, err
}

// TrimConflicts drops the oldest conflicts of the table, by the losing dots, when there are more than limit bytes of them, for all regions. It returns how many it dropped; they may have to be followed by more.
func (s *Shard) TrimConflicts(ctx context.Context, table globaltable.TableID, limit int64) (dropped int, err error) {
	_, bytes, err := s.Count(table.Feed())
	if err != nil || bytes <= limit {
		return 0, err
	}
	var w Write
	err = s.Walk(ctx, Range{Table: table.Feed(), Index: feed.ByTime}, func(_ item.Key, c Current) bool {
		bytes -= int64(c.Item.Size())
		if _, _, _, ok := s.cfg.Catalog.Place(table.Feed(), c.Key); !ok {
			return bytes > limit // it goes by itself when its item is handed over, or is just being brought
		}
		w.Keys = append(w.Keys, Key{table.Feed(), slices.Clone(c.Key)})
		return bytes > limit && len(w.Keys) < maxWriteKeys
	})
	if err != nil || len(w.Keys) == 0 {
		return 0, err
	}
	w.Plan = func(current []Current) ([][]conflict.Op, error) {
		ops := make([][]conflict.Op, len(current))
		for i := range current {
			if current[i].Item != nil {
				ops[i] = conflict.RecordDelete(nil)
			}
		}
		return ops, nil
	}
	return len(w.Keys), s.Write(ctx, &w)
}

// arrivals remembers the newest conflicts that have come into the feeds here, from wherever, in the order in which they became durable.
type arrivals struct {
	mu   sync.Mutex
	keys []Key // the newest last
	next uint64
	news chan struct{} // closed when something comes; nil: nobody waits
}

// maxArrivals bounds the conflicts that are remembered for those who follow them.
const maxArrivals = 1024

func (a *arrivals) add(k Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.keys) == maxArrivals {
		a.keys = a.keys[1:]
	}
	a.keys = append(a.keys, k)
	a.next++
	if a.news != nil {
		close(a.news)
		a.news = nil
	}
}

// after returns what has come after the number given, and the number to ask with the next time; news is closed when there is more.
func (a *arrivals) after(n uint64) (keys []Key, next uint64, missed bool, news <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.news == nil {
		a.news = make(chan struct{})
	}
	// A number from another life of the process says nothing.
	first := a.next - uint64(len(a.keys))
	if missed = n < first || n > a.next; missed {
		n = first
	}
	return slices.Clone(a.keys[n-first:]), a.next, missed, a.news
}

// Arrived returns the keys of conflicts that have come into this shard's feeds, be they from here or from another region, after the number given, and the number to ask with the next time. It waits for one until ctx is done. A number of
// zero begins now. missed says that there were more than the shard remembers.
func (s *Shard) Arrived(ctx context.Context, after uint64) (keys []Key, next uint64, missed bool) {
	if after == 0 {
		_, after, _, _ = s.arrivals.after(0)
		after++ // so that a beginning is not taken for another one
	}
	for {
		keys, next, missed, news := s.arrivals.after(after - 1)
		if len(keys) > 0 || missed {
			return keys, next + 1, missed
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, next + 1, false
		}
	}
}
