package commit

import (
	"bytes"
	"context"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// garbageKeys says by which history of its time to live a table's keys in store.SpaceGarbage are made. When the history changes, a walk over the records gives each the key that it has by the new one.
//
// From the moment at which the walk begins every record that is written gets a key by the new history, wherever the walk is. So the walk has to touch only what was there when it began, page by page, and a record that comes while a page is read is
// none that the walk could miss. Which of the two keys a record has, where they differ, the store tells.
type garbageKeys struct {
	made   hlc.Timestamp // keys are made by the history as it was known until then; zero: by none
	making hlc.Timestamp // and, by a walk, by the history until then; zero: there is no walk
	cursor []byte        // the item key up to which the walk has got

	by, next conflict.Expiry // the histories; nil until they are asked for
}

// mark is a record's key in store.SpaceGarbage.
type mark struct {
	at   hlc.Timestamp
	what conflict.Waste // NoWaste: there is no key
}

func markOf(x conflict.Expiry, record []byte) (m mark, err error) {
	m.at, m.what, err = x.Garbage(record)
	return m, err
}

// markAt is markOf for the record at a key.
func (s *Shard) markAt(table globaltable.TableID, key item.Key, x conflict.Expiry, record []byte) (mark, error) {
	x, err := expiryOf(s.cfg.Catalog, x, table, key)
	if err != nil {
		return mark{}, err
	}
	return markOf(x, record)
}

// histories returns by which history keys are made, and, during a walk, by which one they are made anew.
func (p *purges) histories(table globaltable.TableID) (by, next conflict.Expiry, walking bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[table]
	if t == nil && table.IsFeed() {
		t = p.of(table)
	}
	if t == nil || t.keys.made == 0 && t.keys.making == 0 {
		return nil, nil, false
	}
	x := &t.keys
	if x.by == nil {
		x.by = p.catalog.Expiry(table).Until(x.made)
	}
	if x.next == nil && x.making != 0 {
		x.next = p.catalog.Expiry(table).Until(x.making)
	}
	return x.by, x.next, x.making != 0
}

// marks returns the keys that a record has and that the one in its place is to have.
func (c *core) marks(k *keyState) (was, is mark, err error) {
	var by, next conflict.Expiry
	var walking bool
	if len(c.catalog.Expiry(k.table)) > 0 {
		by, next, walking = c.purges.histories(k.table)
	}
	if by, err = expiryOf(c.catalog, by, k.table, k.key); err != nil {
		return was, is, err
	}
	if next, err = expiryOf(c.catalog, next, k.table, k.key); err != nil {
		return was, is, err
	}
	if was, err = markOf(by, k.current); err != nil {
		return was, is, err
	}
	if !walking {
		is, err = markOf(by, k.next)
		return was, is, err
	}
	if is, err = markOf(next, k.next); err != nil {
		return was, is, err
	}
	anew, err := markOf(next, k.current)
	if err != nil || anew == was {
		return was, is, err
	}
	// The walk, or a write since it began, has been here or not: the one that is there, or the one that would be there, tells.
	look := anew
	if anew.what == conflict.NoWaste || was.what != conflict.NoWaste && anew.at == was.at {
		look = was
	}
	c.scratch = store.AppendGarbageKey(c.scratch[:0], k.table, look.at, k.key)
	found := false
	err = getValue(c.engine, c.scratch, func([]byte) error {
		found = true
		return nil
	})
	if found == (look == anew) {
		was = anew
	}
	return was, is, err
}

// followPage is a part of a walk.
type followPage struct {
	table globaltable.TableID
	last  []byte // the item key up to which it goes
	done  bool   // it is the last
}

const (
	opFollow      = "follow time to live"
	maxFollowRead = 1 << 20 // bytes of one page
)

// FollowExpiry brings the keys by which the table is collected one page on towards its present time to live: at most limit records change their key. done is true when there is nothing to do; otherwise it returns when all is durable.
func (s *Shard) FollowExpiry(ctx context.Context, table globaltable.TableID, limit int) (done bool, err error) {
	switch until, next := s.purges.following(table); next {
	case nothingToFollow:
		return true, nil
	case walkToBegin:
		return false, s.do(ctx, false, beginFollow(table, until))
	}
	sub, err := s.prepareFollow(table, limit)
	if err != nil {
		return false, err
	}
	if _, ok := s.latches.acquire(ctx, sub.hashes); !ok {
		s.recycle(sub)
		return false, errInterrupted(ctx, globaltable.Unavailable)
	}
	if err := sub.read(s.cfg.Engine, s.cfg.Catalog, s.progress.durable.Load()); err != nil {
		s.release(sub)
		return false, err
	}
	_, err = s.submit(ctx, sub)
	return false, err
}

// followStep is what is to be done next for a table's keys.
type followStep uint8

const (
	nothingToFollow followStep = iota
	walkToBegin
	pageToWalk
)

// following returns what is to be done next for a table's keys; until is for a walk to begin: by the history until then.
func (p *purges) following(table globaltable.TableID) (until hlc.Timestamp, next followStep) {
	if table.IsFeed() {
		return 0, nothingToFollow
	}
	until = p.catalog.Expiry(table).Newest()
	switch keys := p.get(table).keys; {
	case keys.making != 0:
		return 0, pageToWalk
	case keys.made != until:
		return until, walkToBegin
	}
	return 0, nothingToFollow
}

// beginFollow begins a walk: what is written from now on has keys by the history until then.
func beginFollow(table globaltable.TableID, until hlc.Timestamp) func(*core, *group) error {
	return func(c *core, g *group) error {
		c.purges.mu.Lock()
		defer c.purges.mu.Unlock()
		if !c.catalog.Admits(table, nil, 0) {
			return fault(globaltable.InUse, opFollow, "the table is not in the catalog", nil)
		}
		t := c.purges.of(table)
		if t.keys.making == 0 && t.keys.made < until {
			t.keys.making, t.keys.cursor, t.keys.next = until, nil, nil
		}
		// At once: of a group with nothing else in it nothing would be written.
		g.batch.Set(store.AppendPurgeKey(nil, table), t.append(nil))
		return nil
	}
}

// prepareFollow finds the records of the next page that have another key by the new history than by the old one.
func (s *Shard) prepareFollow(table globaltable.TableID, limit int) (*submission, error) {
	by, next, _ := s.purges.histories(table)
	lower, upper := store.RecordRange(table)
	if cursor := s.purges.get(table).keys.cursor; len(cursor) > 0 {
		lower = append(store.AppendRecordKey(nil, table, cursor), 0)
	}
	it, err := s.cfg.Engine.NewIter(lower, upper)
	if err != nil {
		return nil, fault(globaltable.Internal, opFollow, "", err)
	}
	page, read := followPage{table: table, done: true}, 0
	var keys []item.Key
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if read >= maxFollowRead || len(keys) >= max(1, min(limit, maxCollect)) {
			page.done = false
			break
		}
		var record []byte
		if record, err = it.Value(); err != nil {
			break
		}
		read += len(it.Key()) + len(record)
		page.last = append(page.last[:0], store.RecordKeySuffix(it.Key())...)
		var old, anew mark
		if old, err = s.markAt(table, page.last, by, record); err == nil {
			anew, err = s.markAt(table, page.last, next, record)
		}
		if old != anew {
			keys = append(keys, item.Key(bytes.Clone(page.last)))
		}
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fault(globaltable.Internal, opFollow, "", err)
	}
	sub := s.newSubmission(kindFollow)
	sub.follow = page
	for _, k := range keys {
		sub.addKey(table, k)
	}
	sub.hashes = sortHashes(sub.hashes)
	return sub, nil
}

// commitFollow gives the page's records their new keys, and moves the cursor in the same batch.
func (c *core) commitFollow(g *group, sub *submission) error {
	page := &sub.follow
	if !c.purges.moveFollow(page) {
		return nil // the table was dropped, and may have come anew
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		k.next = k.current
		if err := c.keepGarbage(g, k); err != nil {
			return err
		}
	}
	if page.done {
		c.purges.endFollow(page.table)
	}
	// At once: a group without anything else in it is not written.
	state := c.purges.get(page.table)
	g.batch.Set(store.AppendPurgeKey(nil, page.table), state.append(nil))
	return nil
}

// moveFollow moves the cursor of a walk; false if there is none.
func (p *purges) moveFollow(page *followPage) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[page.table]
	if t == nil || t.keys.making == 0 {
		return false
	}
	t.keys.cursor = slices.Clone(page.last)
	return true
}

// endFollow ends a walk.
func (p *purges) endFollow(table globaltable.TableID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := &p.tables[table].keys
	*x = garbageKeys{made: x.making, by: x.next}
}
