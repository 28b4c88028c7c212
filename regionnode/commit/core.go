package commit

import (
	"encoding/binary"
	"io"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// core decides: from submissions it makes groups. It is single-threaded, and what it does depends on nothing but the engine's state, the catalog in force,
// the clock, the salts and the order of the submissions. It acts on nothing: a group's batch is applied by whoever asked for it.
type core struct {
	rules   *rules
	origin  hlc.Origin
	engine  store.Engine
	clock   *hlc.Clock
	catalog Catalog
	relog   func(globaltable.TableID, []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool)
	random  io.Reader
	ahead   time.Duration // of the clock's bound

	pending   *pending
	digests   *digests
	confirmed *confirmed
	purges    *purges
	indexes   *indexes
	mirrors   map[globaltable.TableID]*mirror // by the table that is copied
	placings  *placings
	streams   *streams
	letters   *letters
	voiding   func(globaltable.LaneID, uint64) // nil: nobody wants to know
	view      *view
	arrivals  *arrivals
	tokens    tokens

	number    uint64 // of the newest group
	lanes     map[globaltable.LaneID]*lane
	positions map[positionKey]globaltable.Position
	// incarnations has the greatest incarnation of each origin's shard that a position is held in.
	incarnations map[originShard]globaltable.Incarnation
	revoked      map[hlc.Origin]globaltable.Incarnation
	catchUps     map[hlc.Origin]*CatchUp

	// cleared has the group in which a table's data was dropped last.
	cleared map[globaltable.TableID]uint64

	merged  []byte // records of the write that is being decided
	scratch []byte
	docs    []item.Item
}

type originShard struct {
	origin hlc.Origin
	shard  uint16
}

// group is what one batch holds, and what is to be done once it is durable.
type group struct {
	number    uint64
	batch     store.Batch
	wait      func() error  // nil when nothing was applied
	subs      []*submission // taken; all are answered, whatever happens
	bytes     int           // estimated, of all subs: how large a body may become
	exclusive bool
	tried     bool // given to the engine: from here on its outcome may be unknown
	lanes     []groupLane
	entries   []change.Entry // parallel to lanes
	logged    int            // at least the bytes of all bodies together, salts aside
	changes   int
	bound     hlc.Timestamp // to be committed after the sync; zero: none
	useClock  bool          // a stamp of the clock leaves with this group
	adopt     func()
	positions []PositionAt
	settled   []func(*view) // run under the view's lock after the sync
	sampled   []*Heads      // to be filled when the entries are sealed
	mark      hlc.Timestamp // with useClock: no stream record of a later group has a position at or below it
	told      []streamEnd   // streams that have got records
}

// groupLane gathers a lane's entry. buf begins with room for the entry's header, so that its stored form is made without copying the body.
type groupLane struct {
	lane    *lane
	info    globaltable.Lane // as of this group
	buf     []byte
	changes int
	last    hlc.Timestamp
}

// entryHeaderLen is the length of what precedes the body in an entry's stored form.
var entryHeaderLen = len(change.AppendEntry(nil, &change.Entry{}))

// begin starts the next group. It locks the digests until the group is applied or discarded.
func (c *core) begin(g *group) {
	c.number++
	g.number = c.number
	g.batch = c.engine.NewBatch()
	c.digests.mu.Lock()
	c.digests.group = g.number
}

// add puts sub into g, wholly or, with an error in sub.err, not at all. The error returned is not sub's: the shard cannot go on.
func (c *core) add(g *group, sub *submission) (fatal error) {
	if sub.err = c.readTooEarly(sub); sub.err != nil {
		return nil
	}
	sub.logs = 0
	switch sub.kind {
	case kindWrite:
		if sub.err = c.decideWrite(sub); sub.err == nil && g.admit(sub) {
			return c.commitWrite(g, sub)
		}
	case kindMerge:
		if sub.err = c.decideMerge(sub); sub.err == nil && g.admit(sub) {
			return c.commitMerge(g, sub)
		}
	case kindReplay:
		if sub.err = c.decideReplay(sub); sub.err == nil && g.admit(sub) {
			return c.commitReplay(g, sub)
		}
	case kindCollect:
		if sub.err = c.decideCollect(sub); sub.err == nil {
			return c.commitCollect(g, sub)
		}
	case kindFollow:
		return c.commitFollow(g, sub)
	case kindFeed:
		if sub.err = c.decideListings(sub); sub.err == nil && g.admit(sub) {
			return c.commitListings(g, sub)
		}
	case kindReview:
		if sub.err = c.decideReview(sub); sub.err == nil && g.admit(sub) {
			return c.commitReview(g, sub)
		}
	case kindErase:
		if sub.err = c.decideErase(sub); sub.err == nil {
			return c.commitErase(g, sub)
		}
	case kindControl:
		sub.err = sub.control(c, g)
	}
	return nil
}

// admit reports whether what sub logs has room in the group's bodies, and takes it if so. What a write is completed by is not known before it is decided, so it may come to more than the queue took it for. A submission that has no
// room waits for the next group, as does all behind it: merges of a lane are in order. In an empty group each has room.
func (g *group) admit(sub *submission) bool {
	if g.logged > 0 && g.logged+sub.logs > change.MaxBody-change.SaltLen {
		sub.later = true
		return false
	}
	g.logged += sub.logs
	return true
}

// decideWrite places, stamps and merges. Nothing but the clock and the submission has changed when it returns an error.
func (c *core) decideWrite(sub *submission) error {
	if err := c.stamp(sub); err != nil {
		return err
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		if len(sub.ops[i]) == 0 {
			continue
		}
		var ok bool
		if k.place.placement, k.place.lane, k.place.version, ok = c.catalog.Place(k.table, k.key); !ok {
			return errNoPlace(c.catalog, k.table)
		}
		var err error
		if k.digests, err = c.digests.table(k.table); err != nil {
			return fault(globaltable.Internal, opWrite, "", err)
		}
	}
	if sub.token != nil {
		if err := c.tokens.admit(c.clock.Last()); err != nil {
			return err
		}
	}
	c.merged = c.merged[:0]
	var transaction hlc.Timestamp
	for i := range sub.keys {
		k := &sub.keys[i]
		if len(sub.ops[i]) == 0 {
			continue
		}
		if sub.transaction && transaction == 0 {
			transaction = k.stamp
		}
		k.change = conflict.Change{
			Table: uint64(k.table), Key: k.key, Dot: hlc.Stamp{Time: k.stamp, Origin: c.origin}, Context: k.context, Floor: k.floor,
			CatalogVersion: uint64(k.place.version), Transaction: transaction, Ops: sub.ops[i],
		}
		at := len(c.merged)
		merged, _, err := conflict.ApplyLocal(c.merged, k.current, &k.change)
		if err != nil {
			return fault(globaltable.Internal, opWrite, "", err)
		}
		if sub.logs += lengthInBody(&k.change); sub.logs > maxWriteBytes {
			return errTooLarge()
		}
		c.merged = merged
		k.next = merged[at:len(merged):len(merged)]
		if k.after, k.live, err = digestOf(c.catalog, k.table, k.key, k.next); err != nil {
			return fault(globaltable.Internal, opWrite, "", err)
		}
	}
	return nil
}

// lengthInBody bounds what a change takes in a body of the log.
func lengthInBody(c *conflict.Change) int { return change.LengthLen + c.MaxLen() }

// stamp gives the keys that are written their stamps. Between the plan and this moment an item may have expired that the plan was given: then the write is planned anew, so that a write is stamped after an item's expiry exactly if
// its plan saw the item expired. That comes to an end: an item that the new plan was given expires later, or not at all.
func (c *core) stamp(sub *submission) (err error) {
	for {
		var last hlc.Timestamp
		for i := range sub.keys {
			if len(sub.ops[i]) > 0 {
				last = c.clock.Now()
				sub.keys[i].stamp = last
			}
		}
		if before := sub.write.Before; before != 0 && last >= before {
			return fault(globaltable.Unavailable, opWrite, "the write took so long that it would come too late; nothing was done", nil)
		}
		if c.rules.holds(sub, last) {
			return nil
		}
		if _, err := c.rules.plan(sub); err != nil {
			return err
		}
	}
}

// commitWrite fills the batch with what decideWrite decided.
func (c *core) commitWrite(g *group, sub *submission) error {
	if done, err := c.prepare(g, sub); !done {
		return err
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		if k.next == nil {
			continue
		}
		if err := c.commitOwn(g, k); err != nil {
			return err
		}
		if err := c.tellWrite(g, k); err != nil {
			return err
		}
		// The group's entry is the lane's next one: see seal.
		sub.note(Logged{Table: k.table, Lane: k.place.lane, Placement: k.place.placement, Seq: c.lanes[k.place.lane].seq + 1})
	}
	if sub.token != nil {
		c.pending.mark(sub.token.hash(), g.number)
		c.tokens.commit(g.batch, sub.token, c.clock.Now())
	}
	g.useClock = true
	return nil
}

// commitOwn puts a write of this region into the batch: the key's new record, and the change into the entry of its lane.
func (c *core) commitOwn(g *group, k *keyState) error {
	if err := c.commitKey(g, k); err != nil {
		return err
	}
	return c.logChange(g, k.place, &k.change)
}

// logChange puts a change into the group's entry of the lane.
func (c *core) logChange(g *group, at placed, x *conflict.Change) error {
	gl, err := c.groupLane(g, at)
	if err != nil {
		return err
	}
	gl.buf = change.AppendBodyChange(gl.buf, x)
	gl.changes++
	gl.last = max(gl.last, x.Dot.Time)
	g.changes++
	return nil
}

// commitKey puts one key's new record into the batch, and into its digest. An error is fatal: the records are the shard's own.
func (c *core) commitKey(g *group, k *keyState) error {
	if err := c.putRecord(g, k); err != nil {
		return err
	}
	if plantedDigest && k.change.Ops == nil {
		return nil
	}
	c.digests.change(k.table, k.digests, k.key.Bucket(digestBits), k.before, k.after)
	if k.table.IsFeed() && k.live && k.before == (Digest{}) {
		came := Key{k.table, slices.Clone(k.key)}
		g.settled = append(g.settled, func(*view) { c.arrivals.add(came) })
	}
	return nil
}

// putRecord writes a record, or erases it, with all that is a function of it but the digests. Every record goes this way.
func (c *core) putRecord(g *group, k *keyState) error {
	c.pending.mark(k.hash, g.number)
	if k.gone {
		g.batch.Delete(k.storeKey)
	} else {
		g.batch.Set(k.storeKey, k.next)
	}
	if err := c.keepGarbage(g, k); err != nil {
		return err
	}
	if err := c.keepEntries(g, k); err != nil {
		return err
	}
	if len(c.mirrors) == 0 {
		return nil
	}
	return c.keepMirror(g, k)
}

// groupLane returns the place in g where the changes of a placement gather. The first change of a lane begins its body with a salt.
func (c *core) groupLane(g *group, p placed) (*groupLane, error) {
	for i := range g.lanes {
		if gl := &g.lanes[i]; gl.lane.ID == p.lane {
			return gl, nil
		}
	}
	l := c.lanes[p.lane]
	if l == nil {
		l = &lane{Lane: globaltable.Lane{ID: p.lane}, sent: c.view.sentBefore(p.lane)}
		c.lanes[p.lane] = l
	}
	if !slices.Equal(l.Placement, p.placement) {
		// The catalog's lane gains members; every other lane is its placement.
		l.Placement, l.stored = slices.Clone(p.placement), false
	}
	var salt [change.SaltLen]byte
	if _, err := io.ReadFull(c.random, salt[:]); err != nil {
		return nil, err
	}
	// The whole group's estimate: the outbox keeps the buffer, so seal cuts it down if it came out too large.
	buf := make([]byte, entryHeaderLen, entryHeaderLen+change.SaltLen+g.bytes)
	g.lanes = append(g.lanes, groupLane{lane: l, info: l.Lane, buf: change.AppendBodySalt(buf, salt)})
	return &g.lanes[len(g.lanes)-1], nil
}

// decideMerge checks a peer's entries against what is stored, and asks the catalog in force again.
func (c *core) decideMerge(sub *submission) error {
	if sub.remote != nil {
		if err := c.checkPosition(sub.remote); err != nil {
			return err
		}
	}
	// Here and not before: what a region gave is not taken from the moment on at which the catalog that fences it is in force.
	if sub.giver.origin != 0 && !c.catalog.Trusts(sub.giver.origin, sub.giver.incarnation) {
		return fault(globaltable.Fenced, "merge records", "the region that gave them is fenced or removed, or has another store", nil)
	}
	for i := range sub.parts {
		p := &sub.parts[i]
		k := &sub.keys[p.key]
		if c.catalog.Admits(k.table, k.key, p.made()) != p.admitted {
			// The catalog has changed since the caller merged. It is rare, so the sequencer may do it again.
			if err := sub.merge(c.rules); err != nil {
				return err
			}
			if err := c.rules.list(sub, c.engine); err != nil {
				return err
			}
			break
		}
	}
	for i := range sub.keys {
		k := &sub.keys[i]
		if k.next == nil {
			continue
		}
		var err error
		if k.digests, err = c.digests.table(k.table); err != nil {
			return fault(globaltable.Internal, "apply", "", err)
		}
	}
	if err := c.decideTakeOver(sub); err != nil {
		return err
	}
	return c.decideListings(sub)
}

// commitMerge fills the batch with merged records and the position.
func (c *core) commitMerge(g *group, sub *submission) error {
	if done, err := c.prepare(g, sub); !done {
		return err
	}
	for i := range sub.keys {
		if k := &sub.keys[i]; k.next != nil {
			if err := c.commitKey(g, k); err != nil {
				return err
			}
		}
	}
	g.changes += len(sub.parts)
	if err := c.tellMerge(g, sub); err != nil {
		return err
	}
	if err := c.commitTakeOver(g, sub); err != nil {
		return err
	}
	if err := c.commitListings(g, sub); err != nil {
		return err
	}
	if sub.remote == nil {
		return nil
	}
	src, p := sub.remote.Source, sub.remote.Position
	key := positionKeyOf(src)
	c.positions[key] = p
	c.incarnations[originShard{src.Origin, src.Shard}] = p.Incarnation
	storeKey := store.AppendPositionKey(c.scratch[:0], src.Origin, src.Shard, src.Lane)
	c.scratch = appendPosition(storeKey, p)
	if !plantedPosition {
		g.batch.Set(c.scratch[:len(storeKey)], c.scratch[len(storeKey):])
	}
	g.positions = append(g.positions, PositionAt{Origin: src.Origin, Shard: src.Shard, Lane: src.Lane, Position: p})
	return nil
}

// checkPosition makes application exactly once: entries must be the next ones of the incarnation in force.
func (c *core) checkPosition(r *Remote) error {
	if plantedSequence {
		return nil
	}
	src := r.Source
	stored := c.positions[positionKeyOf(src)]
	refuse := func(reason PositionReason) error {
		return &PositionError{Source: src, Stored: stored, Got: r.Entries[0].Seq, Reason: reason}
	}
	revoked := c.revoked[src.Origin]
	if src.Incarnation <= revoked || !c.catalog.Trusts(src.Origin, src.Incarnation) {
		return refuse(Revoked)
	}
	if known := c.incarnations[originShard{src.Origin, src.Shard}]; known != 0 && known != src.Incarnation && known > revoked {
		return refuse(NotRevokedYet)
	}
	at := stored
	if at.Incarnation != src.Incarnation {
		at = globaltable.Position{} // the first entries of a new incarnation
	}
	if r.Entries[0].Seq != at.Seq+1 {
		return refuse(NotNext)
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		if e.Seq != at.Seq+1 || e.Chain != change.NextChain(at.Chain, e.Seq, e.BodyHash) && !plantedChain {
			return refuse(ChainDiffers)
		}
		at.Seq, at.Chain = e.Seq, e.Chain
	}
	if r.Position.Seq != at.Seq || r.Position.Chain != at.Chain {
		return refuse(ChainDiffers)
	}
	return nil
}

// prepare shows changed documents to the catalog. done is false when sub ends here: refused by the catalog (sub.err), or with an error that is fatal.
func (c *core) prepare(g *group, sub *submission) (done bool, fatal error) {
	if !sub.exclusive {
		return true, nil
	}
	c.docs = c.docs[:0]
	for i := range sub.keys {
		k := &sub.keys[i]
		if k.table != globaltable.SystemTable || k.next == nil || !k.live {
			continue
		}
		it, _, err := conflict.ItemOf(k.next, nil)
		if err != nil {
			sub.err = fault(globaltable.Corrupt, "adopt catalog", "", err)
			return false, nil
		}
		c.docs = append(c.docs, it)
	}
	if len(c.docs) == 0 {
		return true, nil
	}
	a, err := c.catalog.Prepare(c.docs)
	if err == nil {
		err = c.mayMirror(a.Tables)
	}
	if err != nil {
		sub.err = err
		return false, nil
	}
	for _, kv := range a.Extra {
		g.batch.Set(kv.Key, kv.Value)
	}
	for i := range a.Tables {
		t := &a.Tables[i]
		if t.Anew {
			c.clearTable(g, t.ID)
		}
		c.cutStreams(g, t)
		if err := c.adoptIndexes(g, t); err != nil {
			return false, err
		}
		c.adoptMirror(g, t.Mirror)
	}
	g.adopt = a.Adopt
	return true, nil
}

// seal completes the batch: digests, one log entry for each lane, the clock's bound, what peers have confirmed, purge frontiers.
func (c *core) seal(g *group) {
	c.scratch = c.digests.flush(g.batch, c.scratch)
	for i := range g.lanes {
		gl := &g.lanes[i]
		if cap(gl.buf) > 2*len(gl.buf) {
			gl.buf = slices.Clip(slices.Clone(gl.buf))
		}
		l := gl.lane
		body := gl.buf[entryHeaderLen:len(gl.buf):len(gl.buf)]
		h := change.Seal(l.chain, l.seq+1, body, gl.changes, gl.last)
		c.scratch = change.AppendEntry(c.scratch[:0], &change.Entry{Header: h})
		copy(gl.buf, c.scratch)
		c.scratch = store.AppendLogKey(c.scratch[:0], l.ID, h.Seq)
		g.batch.Set(c.scratch, gl.buf)
		l.seq, l.chain = h.Seq, h.Chain
		g.entries = append(g.entries, change.Entry{Header: h, Body: body})
		if l.sent.add(&h, len(body)); l.sent.Bytes-l.kept >= keepSentEvery {
			c.keepSent(g, l)
		}
		if !l.stored {
			c.storeLaneHead(g, l)
		}
	}
	for _, h := range g.sampled {
		// Now that the group's entries are in the heads, the time may be above the group's stamps.
		*h = c.heads()
		g.useClock = true
	}
	c.streams.flush(g.batch, g)
	if g.useClock {
		c.reserve(g)
		g.mark = c.clock.Last()
	}
	if !g.batch.Empty() {
		if c.confirmed.flush(g.batch) {
			c.reserve(g)
		}
		c.purges.flush(g.batch)
		c.indexes.flush(g.batch)
	}
}

// reserve puts the clock's bound into the batch, if one is needed.
func (c *core) reserve(g *group) {
	if bound, needed := c.clock.Reserve(c.ahead); needed {
		c.scratch = appendBound(c.scratch[:0], g.batch, bound)
		g.bound = bound
	}
}

// appendBound writes the clock's bound into b. It appends to scratch what b has copied.
func appendBound(scratch []byte, b store.Batch, bound hlc.Timestamp) []byte {
	key := store.AppendMetaKey(scratch, store.MetaClock)
	scratch = binary.BigEndian.AppendUint64(key, uint64(bound))
	b.Set(scratch[:len(key)], scratch[len(key):])
	return scratch
}

func (c *core) storeLaneHead(g *group, l *lane) {
	key := store.AppendLaneKey(c.scratch[:0], l.ID)
	c.scratch = appendLaneHead(key, l.trimmed, l.Placement)
	g.batch.Set(c.scratch[:len(key)], c.scratch[len(key):])
	l.stored = true
	head, placement := l.ID, l.Placement
	g.settled = append(g.settled, func(v *view) { v.lane(head).Placement = placement })
}

// apply applies the batch and releases the digests. The group is visible then.
func (c *core) apply(g *group) (err error) {
	defer c.digests.mu.Unlock()
	if g.batch.Empty() {
		g.batch.Discard()
		g.batch = nil
		return nil
	}
	g.wait, err = c.engine.Apply(g.batch)
	return err
}

// abort gives the group up; the shard has failed.
func (c *core) abort(g *group) {
	g.batch.Discard()
	c.digests.mu.Unlock()
}
