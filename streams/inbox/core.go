// Package inbox follows the lanes of the other regions and applies them.
//
// One Core per origin decides, without I/O, clock or goroutine: events go in, effects come out. A Runner per origin acts. The rules
// (PROTOCOL.md section 3):
//
//   - The stream is never trusted for identity, order or completeness. An entry is taken only if it follows the last one taken: next sequence
//     and matching chain. Anything else is read from the origin's log.
//   - Entries are applied in order, one batch of a lane at a time; a position moves only with the batch that it covers, durably.
//   - A message is acknowledged to the stream when its entry is durable here. The acknowledgement moves the stream's cursor, nothing else: what the
//     origin may trim is told by positions in heartbeats.
//   - Messages of a dead incarnation are dropped. A later incarnation stops the lanes of the older one.
//   - A lane that cannot go on (clock ahead, older catalog, broken chain) stops where it is, and tries again; the others go on.
//   - A lane whose next entries are gone from the origin's log is begun again at the origin's head. What it has missed comes by an exchange of whole records (package
//     repair). Until that is complete the lane is held: its position is not told to the origin, for it does not say that all below it is here, and nothing of
//     the origin is marked as applied.
//   - A lane that the origin does not tell of any more waits for nothing: the catalog's, between a region's admission and the origin's next document. It goes on when
//     it is told of again.
package inbox

import (
	"cmp"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/change"
)

// Limits bound a Core.
type Limits struct {
	BatchBytes int // bodies given to one Apply; one larger entry goes alone. Default 512 KiB
	QueueBytes int // bodies verified and waiting, per lane; beyond it the lane wants no more. Default 4 MiB
}

func (l Limits) withDefaults() Limits {
	l.BatchBytes = cmp.Or(l.BatchBytes, 512<<10)
	l.QueueBytes = cmp.Or(l.QueueBytes, 4<<20)
	return l
}

// Stop says why a lane does not go on.
type Stop uint8

// The reasons.
const (
	Running       Stop = iota
	ClockAhead         // a change is stamped further ahead than the bound; resumes by itself
	CatalogBehind      // a change was made under a newer catalog than ours; resumes when it was fetched
	Trimmed            // the origin's log no longer has what comes next: goes on from the head with StartLanes
	Diverged           // the origin's own log does not continue the chain that was applied here
	Superseded         // a later incarnation of the origin exists: needs an exchange
	Refused            // bytes that cannot be right, or that this version does not understand
	ApplyFailed        // the store did not take the batch; tried again
	Restored           // this region's own store has less of the lane than it had: it is an older copy, and the region has to be rebuilt
)

func (s Stop) String() string {
	return [...]string{"running", "clock ahead", "catalog behind", "trimmed", "diverged", "superseded", "refused", "apply failed", "restored"}[s]
}

// retried reports whether a stopped lane tries again by itself at a tick. What only an exchange can mend waits for it.
func (s Stop) retried() bool {
	return s != Superseded && s != Diverged && s != Trimmed && s != Restored
}

// EffectKind is what a runner is to do.
type EffectKind uint8

// The effects. A runner carries them out in the order given.
const (
	OpenLane     EffectKind = iota + 1 // begin to pull Lane
	CloseLanes                         // stop pulling every lane of this origin: its incarnation is dead
	Revoke                             // record durably that incarnations below Incarnation are dead, then go on
	Apply                              // apply Entries; report by Applied
	ReadLog                            // ask the origin for its log of Lane from Seq on; report by LogPage or LogFailed
	Acknowledge                        // acknowledge the stream up to Seq
	FetchCatalog                       // fetch the catalog from the origin
	Stopped                            // Lane stopped for Reason, or goes on if Reason is Running: for alarms and status
	Mark                               // everything of the origin up to HLC is durably applied here
	StartLanes                         // record durably that Heads are the positions, and that what is below is missing; report by Started
)

// Effect is one thing for the runner to do. Which fields are set depends on Kind.
type Effect struct {
	Kind        EffectKind
	Lane        globaltable.LaneID
	Seq         uint64
	Entries     []change.Entry
	Position    globaltable.Position // Apply: after the last entry
	Incarnation globaltable.Incarnation
	HLC         hlc.Timestamp
	Reason      Stop
	Heads       []Head
}

// Head is the end of an origin's lane.
type Head struct {
	Lane  globaltable.LaneID `json:"lane"`
	Seq   uint64             `json:"seq"`
	Chain globaltable.Chain  `json:"chain"`
	// Confirmed is how far this very store has told the origin, at some time, that it has applied the lane.
	Confirmed uint64 `json:"confirmed,omitempty"`
}

// Heartbeat is what an origin says of itself: every write that it stamped at or below HLC is in its lanes at or below Heads.
type Heartbeat struct {
	Incarnation globaltable.Incarnation
	HLC         hlc.Timestamp
	Heads       []Head // of the lanes that this region shares, only
}

// Core decides for one origin. It is not safe for concurrent use.
type Core struct {
	origin      hlc.Origin
	shard       uint16
	limits      Limits
	incarnation globaltable.Incarnation // 0: not known yet
	lanes       map[globaltable.LaneID]*lane
	marks       [2]Heartbeat // [0]: the oldest not yet covered; [1]: the newest
	hold        uint64       // of the exchange that is under way; 0: none
	out         []Effect
}

// Hold says that lanes were begun anew at a head and that what lies below is still missing.
type Hold struct {
	ID    uint64 // a later one replaces it; zero: nothing is held
	Lanes []globaltable.LaneID
}

type lane struct {
	id       globaltable.LaneID
	applied  globaltable.Position // durable here
	last     globaltable.Position // of the last entry taken: applied, in flight or queued
	queue    []change.Entry
	queued   int // bytes of bodies in queue
	assembly change.Assembler
	inflight bool
	reading  bool // a ReadLog is out
	more     bool // the log goes on behind the page read last, which filled the queue
	held     bool // not all below applied is here
	stop     Stop
	settled  uint64 // applied.Seq when the answer now awaited cannot have been asked for yet
	fed      bool   // the newest heartbeat tells of it
	head     Head   // newest heard
	wanted   uint64 // head at the heartbeat before
	progress uint64 // last.Seq at the heartbeat before
}

// NewCore returns a Core for the origin's shard. positions are the stored ones, by lane; incarnation is the newest known of the
// origin (0: none known): what is older is dropped.
func NewCore(origin hlc.Origin, shard uint16, limits Limits, incarnation globaltable.Incarnation, positions map[globaltable.LaneID]globaltable.Position) *Core {
	c := &Core{origin: origin, shard: shard, limits: limits.withDefaults(), incarnation: incarnation, lanes: map[globaltable.LaneID]*lane{}}
	for id, p := range positions {
		c.lanes[id] = &lane{id: id, applied: p, last: p}
	}
	return c
}

// Positions returns the durable positions, sorted by lane.
func (c *Core) Positions() []LanePosition {
	out := make([]LanePosition, 0, len(c.lanes))
	for _, l := range c.lanes {
		p := LanePosition{Lane: l.id, Position: l.applied, Stop: l.stop, Held: l.held}
		if l.fed {
			p.Head = l.head.Seq
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b LanePosition) int { return cmp.Compare(a.Lane, b.Lane) })
	return out
}

// LanePosition is the state of one lane, for heartbeats and status.
type LanePosition struct {
	Lane     globaltable.LaneID
	Position globaltable.Position // durable here
	Head     uint64               // the origin's, as last heard; 0 if the origin does not feed this region with the lane
	Stop     Stop
	Held     bool // not all below Position is here: it is not told to the origin
}

func (p LanePosition) behind() bool { return p.Head > p.Position.Seq }

// Incarnation returns the origin's incarnation as known here.
func (c *Core) Incarnation() globaltable.Incarnation { return c.incarnation }

// Wants reports whether the lane takes stream messages now. While it does not, the runner leaves them in the stream.
func (c *Core) Wants(id globaltable.LaneID) bool {
	l := c.lanes[id]
	return l != nil && !l.reading && l.stop == Running && l.queued < c.limits.QueueBytes
}

// Connected begins a session. Nothing of the one before is under way any more: each Apply has been reported, or was never begun; no ReadLog
// will be answered. Lanes go on from their durable positions.
func (c *Core) Connected() []Effect {
	for _, l := range c.sorted() {
		l.reading, l.inflight, l.more = false, false, false
		l.queue, l.queued, l.assembly = nil, 0, change.Assembler{}
		l.last = l.applied
		l.wanted, l.progress = 0, 0
		c.emit(Effect{Kind: OpenLane, Lane: l.id})
	}
	return c.flush()
}

// Heartbeat takes what the origin says of itself. It opens lanes heard of for the first time and reads the log where the stream
// has fallen silent before the head.
func (c *Core) Heartbeat(h Heartbeat) []Effect {
	if !c.meet(h.Incarnation) {
		return c.flush()
	}
	for _, head := range h.Heads {
		l := c.lanes[head.Lane]
		if l == nil {
			l = &lane{id: head.Lane, applied: globaltable.Position{Incarnation: c.incarnation}}
			l.last = l.applied
			c.lanes[head.Lane] = l
			c.emit(Effect{Kind: OpenLane, Lane: l.id})
		}
		c.hear(l, head)
		// What was told was durable here. By now the origin has forgotten entries that this store has not got, and deletions among them have been collected everywhere: to go on from the origin's head
		// would leave here for ever what was deleted meanwhile.
		if head.Confirmed > l.applied.Seq {
			c.halt(l, Restored)
		}
	}
	if c.marks[0].HLC == 0 || c.marks[0].beyond(h) {
		c.marks = [2]Heartbeat{h}
	} else {
		c.marks[1] = h
	}
	c.mark()
	c.restart(h)
	c.unfeed(h)
	return c.flush()
}

// restart has the lanes begun anew whose next entries the origin's log no longer has.
func (c *Core) restart(h Heartbeat) {
	var heads []Head
	for _, head := range h.Heads {
		if l := c.lanes[head.Lane]; l != nil && l.stop == Trimmed && !l.inflight {
			heads = append(heads, head)
		}
	}
	if len(heads) > 0 {
		c.emit(Effect{Kind: StartLanes, Incarnation: c.incarnation, Heads: heads})
	}
}

// unfeed has lanes wait for nothing that the origin does not tell of. One that stopped since its next entries are gone could not be begun anew, for there is no head to begin at, and would look as if something
// were missing for as long as the origin writes nothing to it. Its position stays: if it is told of again, it is found by the log whether entries are gone.
func (c *Core) unfeed(h Heartbeat) {
	for _, l := range c.sorted() {
		if l.fed = h.tells(l.id); !l.fed && l.stop == Trimmed && !l.inflight {
			l.stop = Running
			l.wanted, l.progress = 0, 0
			c.emit(Effect{Kind: Stopped, Lane: l.id, Reason: Running})
		}
	}
}

// Started reports that StartLanes has been done: the lanes go on from those heads, and are held until Release is called with the id given.
func (c *Core) Started(heads []Head, id uint64) []Effect {
	c.hold = id
	for _, head := range heads {
		l := c.lanes[head.Lane]
		if l == nil || l.stop != Trimmed {
			continue
		}
		l.applied = globaltable.Position{Incarnation: c.incarnation, Seq: head.Seq, Chain: head.Chain}
		l.last, l.settled, l.held = l.applied, head.Seq, true
		l.wanted, l.progress = 0, 0
		l.stop = Running
		c.emit(Effect{Kind: Stopped, Lane: l.id, Reason: Running})
		c.emit(Effect{Kind: Acknowledge, Lane: l.id, Seq: head.Seq})
		c.read(l)
	}
	return c.flush()
}

// Release reports that what lay below the lanes' beginnings is here, by the exchange of that id.
func (c *Core) Release(id uint64) []Effect {
	if id == c.hold {
		c.hold = 0
		for _, l := range c.lanes {
			l.held = false
		}
		c.mark()
	}
	return c.flush()
}

// Resume continues a hold that was recorded before the start. It is called before anything else.
func (c *Core) Resume(h Hold) {
	c.hold = h.ID
	for _, id := range h.Lanes {
		if l := c.lanes[id]; l != nil {
			l.held = true
		}
	}
}

// hear compares a lane with the origin's head. Stream messages may still be on their way, so a gap at the end counts only if
// nothing at all has come since the heartbeat before. Stream messages may also have overtaken this answer, so a head behind what is applied
// now is no divergence unless it is behind what was applied before the heartbeat was asked for: not later than the one before was taken.
func (c *Core) hear(l *lane, head Head) {
	// What it has said before was durable there: less than that is another store, be it one that has the same incarnation.
	if head.Seq < l.settled || head.Seq < l.head.Seq || head.Seq == l.applied.Seq && head.Seq > 0 && head.Chain != l.applied.Chain {
		c.halt(l, Diverged)
		return
	}
	l.settled = l.applied.Seq
	if head.Seq > l.head.Seq {
		l.head = head
	}
	idle := !l.inflight && len(l.queue) == 0 && l.last.Seq == l.progress
	if idle && l.last.Seq < l.wanted && !plantedSilence {
		c.read(l)
	}
	l.wanted, l.progress = head.Seq, l.last.Seq
}

// Message takes a message of a lane's stream.
func (c *Core) Message(m change.Message) []Effect {
	if m.Origin != c.origin || m.Shard != c.shard || !c.meet(m.Incarnation) {
		return c.flush()
	}
	l := c.lanes[m.Lane]
	if l == nil || l.stop != Running || l.reading {
		return c.flush()
	}
	if m.Seq <= l.last.Seq && !plantedSequence {
		if m.Seq <= l.applied.Seq && m.Fragment == m.Fragments-1 {
			c.emit(Effect{Kind: Acknowledge, Lane: l.id, Seq: m.Seq})
		}
		return c.flush()
	}
	if m.Seq != l.last.Seq+1 && !plantedSequence {
		c.read(l)
		return c.flush()
	}
	e, complete, err := l.assembly.Add(m)
	switch {
	case err != nil:
		c.read(l) // damaged on the way: the log has it whole
	case complete:
		if !c.take(l, e) {
			c.read(l)
		}
	case m.Fragment == m.Fragments-1:
		c.read(l) // the last fragment came, and others did not
	}
	c.next(l)
	return c.flush()
}

// LogPage takes entries read from the origin's log, consecutive from the sequence asked for; done when the page reached the
// origin's durable head.
func (c *Core) LogPage(id globaltable.LaneID, incarnation globaltable.Incarnation, entries []change.Entry, done bool) []Effect {
	l := c.lanes[id]
	if l == nil || !l.reading || !c.meet(incarnation) {
		return c.flush()
	}
	l.reading = false
	if l.stop != Running {
		return c.flush() // it was asked for behind entries that the stop dropped
	}
	for _, e := range entries {
		if e.Seq <= l.last.Seq {
			continue
		}
		if !c.take(l, e) {
			// This is the origin's own word: what we applied and what it has are two histories.
			c.halt(l, Diverged)
			return c.flush()
		}
	}
	l.more = !done && len(entries) > 0
	c.readOn(l)
	c.next(l)
	return c.flush()
}

// readOn asks for the next page as soon as there is room for it: where nothing comes by the stream, nobody else would before two heartbeats.
func (c *Core) readOn(l *lane) {
	if l.more && l.queued < c.limits.QueueBytes {
		c.read(l)
	}
}

// LogFailed reports that a ReadLog could not be answered. trimmed: the origin no longer has those entries.
func (c *Core) LogFailed(id globaltable.LaneID, trimmed bool) []Effect {
	if l := c.lanes[id]; l != nil && l.reading {
		l.reading = false
		if trimmed {
			c.halt(l, Trimmed)
		}
	}
	return c.flush()
}

// Applied reports the end of an Apply: durable when reason is Running, not done otherwise.
func (c *Core) Applied(id globaltable.LaneID, p globaltable.Position, reason Stop) []Effect {
	l := c.lanes[id]
	if l == nil || !l.inflight {
		return c.flush()
	}
	l.inflight = false
	if reason != Running {
		c.halt(l, reason)
		return c.flush()
	}
	l.applied = p
	if len(l.queue) == 0 {
		l.last = p // a stop may have dropped what was taken beyond
	}
	c.emit(Effect{Kind: Acknowledge, Lane: l.id, Seq: p.Seq})
	c.next(l)
	c.readOn(l)
	c.mark()
	return c.flush()
}

// Tick lets stopped lanes try again: from the durable position, by the log.
func (c *Core) Tick() []Effect {
	for _, l := range c.sorted() {
		if l.stop != Running && l.stop.retried() && !l.inflight && !l.reading {
			l.stop = Running
			c.emit(Effect{Kind: Stopped, Lane: l.id, Reason: Running})
			c.read(l)
		}
	}
	return c.flush()
}

// meet compares an incarnation with the one known. It reports whether what carried it may be used.
func (c *Core) meet(inc globaltable.Incarnation) bool {
	switch {
	case inc == 0 || inc < c.incarnation:
		return false
	case inc == c.incarnation:
		return true
	}
	applied := false
	for _, l := range c.lanes {
		applied = applied || l.last.Seq > 0
	}
	c.incarnation = inc
	c.emit(Effect{Kind: Revoke, Incarnation: inc})
	// What was missing of the dead incarnation is for those who close it. The store forgets it with the revocation, so nobody would ever release it.
	c.hold, c.marks = 0, [2]Heartbeat{}
	for _, l := range c.lanes {
		l.held, l.head = false, Head{}
	}
	if !applied {
		for _, l := range c.lanes {
			l.applied.Incarnation, l.last.Incarnation = inc, inc
		}
		return true
	}
	c.emit(Effect{Kind: CloseLanes})
	for _, l := range c.sorted() {
		c.halt(l, Superseded)
	}
	return false
}

// take appends an entry that follows the last one taken; it reports false if it does not.
func (c *Core) take(l *lane, e change.Entry) bool {
	if (e.Seq != l.last.Seq+1 || change.NextChain(l.last.Chain, e.Seq, e.BodyHash) != e.Chain && !plantedChain) && !plantedSequence {
		return false
	}
	l.last = globaltable.Position{Incarnation: c.incarnation, Seq: e.Seq, Chain: e.Chain}
	l.queue = append(l.queue, e)
	l.queued += len(e.Body)
	return true
}

// next begins an Apply if none is out.
func (c *Core) next(l *lane) {
	if l.inflight || len(l.queue) == 0 || l.stop != Running {
		return
	}
	n, bytes := 0, 0
	for n < len(l.queue) && (n == 0 || bytes+len(l.queue[n].Body) <= c.limits.BatchBytes) {
		bytes += len(l.queue[n].Body)
		n++
	}
	batch := slices.Clone(l.queue[:n])
	l.queue = slices.Delete(l.queue, 0, n)
	l.queued -= bytes
	l.inflight = true
	last := batch[n-1]
	c.emit(Effect{Kind: Apply, Lane: l.id, Entries: batch,
		Position: globaltable.Position{Incarnation: c.incarnation, Seq: last.Seq, Chain: last.Chain}})
}

// read asks for the log after the last entry taken.
func (c *Core) read(l *lane) {
	if l.reading || l.stop != Running {
		return
	}
	l.reading, l.more = true, false
	l.assembly = change.Assembler{}
	c.emit(Effect{Kind: ReadLog, Lane: l.id, Seq: l.last.Seq + 1})
}

// halt stops a lane at its durable position and forgets what was taken beyond it.
func (c *Core) halt(l *lane, reason Stop) {
	l.queue, l.queued, l.more, l.assembly = nil, 0, false, change.Assembler{}
	if !l.inflight {
		l.last = l.applied
	}
	if l.stop == reason {
		return
	}
	l.stop = reason
	c.emit(Effect{Kind: Stopped, Lane: l.id, Reason: reason})
	if reason == CatalogBehind {
		c.emit(Effect{Kind: FetchCatalog})
	}
}

// mark emits the newest heartbeat's HLC whose heads are all applied, unless something below the heads is missing. Two heartbeats are kept: the oldest uncovered one, so that a lane that
// never rests still gets marks, and the newest.
func (c *Core) mark() {
	for c.hold == 0 && c.marks[0].HLC != 0 && c.covered(c.marks[0]) {
		c.emit(Effect{Kind: Mark, HLC: c.marks[0].HLC})
		c.marks[0], c.marks[1] = c.marks[1], Heartbeat{}
	}
}

// beyond reports whether h tells of a lane that now does not: the origin does not feed this region with it any more, and its head may never be reached.
func (h Heartbeat) beyond(now Heartbeat) bool {
	return slices.ContainsFunc(h.Heads, func(head Head) bool { return !now.tells(head.Lane) })
}

func (h Heartbeat) tells(id globaltable.LaneID) bool {
	return slices.ContainsFunc(h.Heads, func(head Head) bool { return head.Lane == id })
}

func (c *Core) covered(h Heartbeat) bool {
	for _, head := range h.Heads {
		if l := c.lanes[head.Lane]; (l == nil || l.applied.Seq < head.Seq) && !plantedMark {
			return false
		}
	}
	return true
}

func (c *Core) sorted() []*lane {
	out := make([]*lane, 0, len(c.lanes))
	for _, l := range c.lanes {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *lane) int { return cmp.Compare(a.id, b.id) })
	return out
}

func (c *Core) emit(e Effect) { c.out = append(c.out, e) }

// flush hands over the effects gathered; the slice is the caller's.
func (c *Core) flush() []Effect {
	out := c.out
	c.out = nil
	return out
}
