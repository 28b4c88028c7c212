package commit

import (
	"errors"
	"sync/atomic"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// The life of a submission: its caller and the sequencer agree by one word on who still needs what.
const (
	stateQueued    = iota // the caller may take it back
	stateTaken            // in a group: the sequencer reads the caller's memory while it holds buildMu
	stateCancelled        // taken back; the sequencer releases and recycles it when it meets it
	stateAbandoned        // the caller has gone with an unknown outcome; who answers recycles it
	stateAnswered
)

type kind uint8

const (
	kindWrite kind = iota
	kindMerge
	kindReplay
	kindCollect
	kindFollow
	kindControl
	kindFeed
	kindReview
	kindErase
)

// submission is one thing for the sequencer to put into a group. They are pooled: a warm one makes a single-key write without allocating.
type submission struct {
	kind      kind
	seen      uint64 // the newest group known to be durable before the keys were read
	state     atomic.Uint32
	done      chan error                       // capacity 1; the answer
	notify    func(sub *submission, err error) // instead of done, when driven without goroutines
	first     bool                             // goes before all others in its group: it reads the engine
	exclusive bool                             // has a group of its own: system table, or a range deletion
	logs      int                              // at least what it adds to bodies of the log; known when it has been decided
	later     bool                             // it has no room in its group, and goes into the next one
	bytes     int                              // about what it adds to a group
	hashes    []uint64                         // the latches it holds, sorted
	keys      []keyState
	arena     []byte // memory of keys' views, unless it has grown since
	err       error  // of this submission alone; its group goes on

	current     []Current       // kindWrite: what the plan is given
	ops         [][]conflict.Op // kindWrite: for each key; the caller's memory
	transaction bool
	token       *Token   // kindWrite: to be written down as done; nil: none
	write       *Write   // the caller's: its plan and keys are read by the sequencer as well, the rest by its goroutine only
	logged      []Logged // for write.Logged

	remote *Remote // kindMerge: nil for records without a position
	giver  giver   // kindMerge: whose records they are; zero: this region's own
	parts  []part
	result RemoteResult
	// losses are what merging the keys has lost; listings, those that the conflict feed lacks.
	losses   []lossAt
	listings []listing
	purge    hlc.Timestamp // kindCollect: the frontier at which the keys were collected

	replays []replay    // kindReplay: parallel to keys
	from    *savedGiver // kindReplay: who gives what is replayed; nil: it is this store's own

	follow followPage // kindFollow

	review *review   // kindReview
	over   *takeOver // kindMerge: the records are taken over; nil: they are not
	erase  *erase    // kindErase

	control func(c *core, g *group) error // kindControl
}

// keyState is one latched key on its way: what was, what will be.
type keyState struct {
	table    globaltable.TableID
	key      item.Key
	storeKey []byte
	hash     uint64
	current  []byte // record as read; nil: none
	before   Digest // current's part of its bucket

	context vector.Vector // kindWrite
	floor   hlc.Timestamp
	stamp   hlc.Timestamp
	expiry  conflict.Expiry // kindWrite: of the table, when the write was planned
	expired bool            // kindWrite: something of current had expired then
	due     hlc.Timestamp   // kindWrite: when the item expires that the plan was given; zero: never

	next    []byte // record as it will be; nil: unchanged, or gone
	gone    bool   // kindCollect: there will be no record
	after   Digest
	live    bool // next has an item
	digests *tableDigests
	place   placed
	change  conflict.Change // kindWrite
}

// giver is a region that gave whole records, and the life of its store.
type giver struct {
	origin      hlc.Origin
	incarnation globaltable.Incarnation // 0: whichever it has
}

type placed struct {
	placement globaltable.Placement
	lane      globaltable.LaneID
	version   globaltable.Version
}

// part is one change, or one whole record, to be merged into a key.
type part struct {
	key      int // index of keys
	admitted bool
	change   conflict.Change
	record   []byte // instead of change

	before, after []byte // the key's record without it, and with it; after is nil if it changes nothing
	outcome       cdc.Outcome
}

// made is the version of the table under which a change was made; zero for a record.
func (p *part) made() globaltable.Version { return globaltable.Version(p.change.CatalogVersion) }

// maxPooledArena bounds the memory that an idle submission keeps.
const maxPooledArena = 256 << 10

// recycle makes sub as good as new and keeps its memory. It holds no pointer to a caller's memory afterwards.
func (s *Shard) recycle(sub *submission) {
	if cap(sub.arena) > maxPooledArena || cap(sub.parts) > 4096 || cap(sub.keys) > 4096 {
		return
	}
	clear(sub.keys)
	clear(sub.parts)
	clear(sub.current)
	sub.hashes, sub.keys, sub.arena, sub.parts, sub.current = sub.hashes[:0], sub.keys[:0], sub.arena[:0], sub.parts[:0], sub.current[:0]
	sub.kind, sub.notify, sub.first, sub.exclusive, sub.bytes, sub.err = 0, nil, false, false, 0, nil
	sub.logs, sub.later = 0, false
	sub.token, sub.write, sub.logged = nil, nil, sub.logged[:0]
	sub.ops, sub.transaction, sub.remote, sub.giver, sub.result, sub.purge, sub.control = nil, false, nil, giver{}, RemoteResult{}, 0, nil
	sub.replays, sub.from, sub.follow = nil, nil, followPage{}
	sub.review, sub.over, sub.erase = nil, nil, nil
	clear(sub.losses)
	clear(sub.listings)
	sub.losses, sub.listings = sub.losses[:0], sub.listings[:0]
	sub.state.Store(stateQueued)
	s.pool.Put(sub)
}

// newSubmission returns an empty one.
func (s *Shard) newSubmission(k kind) *submission {
	sub := s.pool.Get().(*submission)
	sub.kind = k
	return sub
}

// grow makes room for n bytes in the arena, so that views taken from now on need no second copy.
func (sub *submission) grow(n int) {
	if cap(sub.arena)-len(sub.arena) < n {
		sub.arena = make([]byte, 0, max(n, 4<<10))
	}
}

// addKey appends a key; its bytes must stay valid while the caller waits.
func (sub *submission) addKey(table globaltable.TableID, key item.Key) {
	at := len(sub.arena)
	sub.arena = store.AppendRecordKey(sub.arena, table, key)
	h := hashKey(table, key)
	sub.keys = append(sub.keys, keyState{table: table, key: key, storeKey: sub.arena[at:len(sub.arena):len(sub.arena)], hash: h})
	sub.hashes = append(sub.hashes, h)
	if table == globaltable.SystemTable {
		sub.exclusive = true
	}
}

// note adds l to what the caller is told, once.
func (sub *submission) note(l Logged) {
	// A write of several keys has them in one table mostly, and a table is in one lane.
	for i := range sub.logged {
		if known := &sub.logged[i]; known.Table == l.Table && known.Lane == l.Lane {
			return
		}
	}
	sub.logged = append(sub.logged, l)
}

// read gets the newest state of all keys. They are latched, so it stays the newest, unless the whole table is dropped. durable is the newest group that is durable now.
func (sub *submission) read(r store.Reader, catalog Catalog, durable uint64) error {
	sub.seen = durable
	for i := range sub.keys {
		k := &sub.keys[i]
		value, release, ok, err := r.Get(k.storeKey)
		if err != nil {
			return fault(globaltable.Internal, "read store", "", err)
		}
		if !ok {
			continue
		}
		at := len(sub.arena)
		sub.arena = append(sub.arena, value...)
		k.current = sub.arena[at:len(sub.arena):len(sub.arena)]
		if err := release.Close(); err != nil {
			return fault(globaltable.Internal, "read store", "", err)
		}
		if k.before, _, err = digestOf(catalog, k.table, k.key, k.current); err != nil {
			return errCorruptStore("record", err)
		}
	}
	return nil
}

// mayLook refuses keys of tables with policies that may not be here, after they were read: what is handed over to another region is erased with its key latched, after the policy came into force. So what a key shows that may be here now
// is all that there is.
func (sub *submission) mayLook(catalog Catalog) error {
	if !catalog.Pinned() {
		return nil
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		if _, _, _, ok := catalog.Place(k.table, k.key); ok {
			continue
		}
		// A table that is not here is the sequencer's to refuse: it knows for certain.
		if err := errNoPlace(catalog, k.table); errors.Is(err, ErrNotHere) {
			return err
		}
	}
	return nil
}

// digestOf returns a record's part of its bucket.
func digestOf(catalog Catalog, table globaltable.TableID, key item.Key, record []byte) (d Digest, live bool, err error) {
	sum, live, err := conflict.Digest(key, record)
	if err != nil || !live {
		return Digest{}, false, err
	}
	it, _, err := itemOf(catalog, table, key, record)
	if err != nil {
		return Digest{}, false, err
	}
	return Digest{Sum: sum, Count: 1, Bytes: uint64(it.Size())}, true, nil
}

// merge computes what the keys become. The catalog is asked for every part. It may be called again when that has changed its mind.
func (sub *submission) merge(r *rules) error {
	sub.result = RemoteResult{}
	sub.losses = sub.losses[:0]
	for i := range sub.keys {
		k := &sub.keys[i]
		k.next, k.after, k.live = nil, Digest{}, false
	}
	for i := range sub.parts {
		p := &sub.parts[i]
		k := &sub.keys[p.key]
		p.before, p.after, p.outcome = nil, nil, cdc.Applied
		if p.admitted = plantedPlacement || r.catalog.Admits(k.table, k.key, p.made()) || plantedReceive && r.catalog.Admits(k.table, nil, p.made()); !p.admitted {
			sub.result.Voided++
			if p.record == nil && r.catalog.Foreign(k.table, k.key, p.made()) {
				sub.result.Foreign++
			}
			continue
		}
		current := k.current
		if k.next != nil {
			current = k.next
		}
		at := len(sub.arena)
		var changed bool
		x, err := expiryOf(r.catalog, r.catalog.Expiry(k.table), k.table, k.key)
		if err != nil {
			return err
		}
		if len(x) == 0 {
			changed, err = sub.mergePart(r, p, current)
		} else {
			purge := r.purges.frontier(k.table)
			if plantedBake {
				purge = r.clock.Last()
			}
			changed, err = sub.mergeExpiring(r, x, p, current, purge)
		}
		if err != nil {
			return err
		}
		if changed {
			k.next = sub.arena[at:len(sub.arena):len(sub.arena)]
			p.before, p.after = current, k.next
		} else {
			sub.arena = sub.arena[:at]
		}
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		if k.next == nil {
			continue
		}
		var err error
		if k.after, k.live, err = digestOf(r.catalog, k.table, k.key, k.next); err != nil {
			return err
		}
	}
	return nil
}

// mergeExpiring is mergePart in a table with the history x, at its purge frontier. A change's floor is the frontier of its writer, which is as good as one's own, and has to be counted: what the writer had collected at it, it has not reset.
func (sub *submission) mergeExpiring(r *rules, x conflict.Expiry, p *part, current []byte, purge hlc.Timestamp) (changed bool, err error) {
	purge = max(purge, p.change.Floor)
	before, err := x.Settled(current, purge)
	if err != nil {
		return false, err
	}
	if p.record != nil {
		if p.record, err = x.Settled(p.record, purge); err != nil {
			return false, err
		}
	}
	at := len(sub.arena)
	if _, err := sub.mergePart(r, p, before); err != nil {
		return false, err
	}
	// A change, which is no record before it is joined, may bring what has expired.
	after, err := x.Settled(sub.arena[at:], purge)
	if err != nil {
		return false, err
	}
	sub.arena = append(sub.arena[:at], after...)
	return string(after) != string(current), nil
}

// mergePart appends the merged record to the arena, and notes what was lost.
func (sub *submission) mergePart(r *rules, p *part, current []byte) (changed bool, err error) {
	if p.record != nil {
		if err := r.loseRecord(sub, p, current); err != nil {
			return false, err
		}
		at := len(sub.arena)
		sub.arena, err = conflict.JoinEncoded(sub.arena, current, p.record)
		return err == nil && string(sub.arena[at:]) != string(current), err
	}
	next, did, err := conflict.Apply(sub.arena, current, &p.change)
	if err != nil {
		return false, err
	}
	sub.arena = next
	switch {
	case did.Class == conflict.Duplicate:
		sub.result.Duplicate++
	case did.Lost:
		sub.result.Lost++
		p.outcome = cdc.Partly
	default:
		if did.Class == conflict.Concurrent {
			p.outcome = cdc.Merged
		}
		sub.result.Applied++
	}
	if did.Class == conflict.Concurrent || did.Class == conflict.Duplicate {
		err = r.loseChange(sub, p.key, current, &p.change)
	}
	return did.Changed, err
}
