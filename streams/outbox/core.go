// Package outbox keeps each lane's stream a bounded live tail of the lane's log, and trims the log.
//
// Core decides, Runner acts. The rules (PROTOCOL.md section 3):
//
//   - After each start of the bus a lane's stream is deleted, refilled from the log and only then opened to peers: a stream that was rolled
//     back would bring old entries back.
//   - Entries are published in order. If the bus refuses one, or may have lost any, the lane begins again with an empty stream. A peer that
//     finds a gap reads the log, so nothing here needs to be certain.
//   - The log is trimmed to the least position that all peers of the lane have confirmed as durably applied; never on the bus's word.
//   - A stream of a lane that this log does not have is deleted: another store made it. So is that of a lane that is over: it will not be written any
//     more, and its peers have all of it. Should it be written all the same, or again, it gets a new one.
//   - A log that has reached its byte limit is trimmed all the same. A peer that has not confirmed what goes lags: it comes back by exchange, and until it
//     has confirmed a position beyond, it is shown as lagging.
package outbox

import (
	"cmp"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/change"
)

// Limits bound a Core, per lane.
type Limits struct {
	FreshBytes    int    // bodies kept in memory until published; older ones are read from the log again. Default 8 MiB
	FlightBytes   int    // bodies handed to the bus and not yet taken by it. Default 4 MiB
	PageBytes     int    // bodies read from the log at once. Default 1 MiB
	RefillEntries uint64 // entries put into a new stream, at most; the rest of a backlog is read from the log. Default 1024
	TrimEvery     uint64 // entries confirmed before the log is trimmed between ticks. Default 256
}

func (l Limits) withDefaults() Limits {
	l.FreshBytes = cmp.Or(l.FreshBytes, 8<<20)
	l.FlightBytes = cmp.Or(l.FlightBytes, 4<<20)
	l.PageBytes = cmp.Or(l.PageBytes, 1<<20)
	l.RefillEntries = cmp.Or(l.RefillEntries, 1024)
	l.TrimEvery = cmp.Or(l.TrimEvery, 256)
	return l
}

// EffectKind is what a runner is to do.
type EffectKind uint8

// The effects. A runner carries them out in the order given, but for those that are Stale when their time has come.
const (
	ResetStream  EffectKind = iota + 1 // delete and make Lane's stream, closed to peers; report by StreamReset or Failed
	OpenStream                         // open Lane's stream to its peers; report by StreamOpened or Failed
	Publish                            // publish Entry; report by Published or Failed
	Load                               // read Lane's log from Seq on, Bytes at most; report by Loaded or Failed
	Trim                               // trim Lane's log up to and with Seq
	RemoveStream                       // delete Lane's stream; report by StreamRemoved or Failed
	LeftBehind                         // Peer lags since now: the log no longer has all that it has not confirmed
	CaughtUp                           // Peer lags no more
)

// Effect is one thing for the runner to do. Which fields are set depends on Kind.
type Effect struct {
	Kind  EffectKind
	Lane  globaltable.Lane
	Seq   uint64
	Bytes int
	Entry change.Entry
	Peer  hlc.Origin   // LeftBehind and CaughtUp
	Peers []hlc.Origin // ResetStream and OpenStream: who may fetch
	Turn  uint64       // of the stream's making; comes back with the report, so that one of an earlier stream is ignored
}

type phase uint8

const (
	waiting   phase = iota // for Tick, to begin again
	resetting              // ResetStream is out
	filling                // the stream is closed to peers
	opening                // OpenStream is out
	live
	removing // RemoveStream is out
	over     // there is no stream
)

// Core decides for all lanes of one shard. It is not safe for concurrent use.
type Core struct {
	self   hlc.Origin
	limits Limits
	lanes  map[globaltable.LaneID]*lane
	used   func(globaltable.LaneID) bool
	out    []Effect
}

type lane struct {
	lane      globaltable.Lane
	excluded  []hlc.Origin // members of it that do not count: nothing waits for them
	phase     phase
	turn      uint64
	head      uint64 // durable
	trimmed   uint64 // the log begins after it
	next      uint64 // sequence to publish next
	target    uint64 // while filling: what the stream must hold before peers may fetch
	loading   bool
	fresh     []change.Entry // consecutive, from some sequence ≥ next on; may begin later than next
	freshSize int
	flight    map[uint64]int // sequence → bytes handed to the bus
	flightSum int
	confirmed map[hlc.Origin]uint64
	lagging   map[hlc.Origin]time.Time // peers that have not confirmed all that was trimmed → since when; zero: since before the start
}

// NewCore returns a Core without lanes. used reports whether a lane may be written, now: of one that may not the stream is removed as soon as its peers have confirmed all of it. nil: all may.
func NewCore(self hlc.Origin, limits Limits, used func(globaltable.LaneID) bool) *Core {
	return &Core{self: self, limits: limits.withDefaults(), used: used, lanes: map[globaltable.LaneID]*lane{}}
}

// AddLane adds a lane with its durable head and the sequence up to which its log was trimmed, or changes the members of one that is there.
func (c *Core) AddLane(l globaltable.Lane, head, trimmed uint64) []Effect {
	st := c.lanes[l.ID]
	if st == nil {
		st = &lane{lane: l, head: head, trimmed: trimmed, confirmed: map[hlc.Origin]uint64{}, lagging: map[hlc.Origin]time.Time{}}
		c.lanes[l.ID] = st
		c.restart(st)
		return c.flush()
	}
	if !slices.Equal(st.lane.Placement, l.Placement) {
		st.lane = l
		c.restart(st)
	}
	return c.flush()
}

// Exclude says which members of each lane do not count any more, or again: those of f. The stream of a lane whose peers change is made anew without a consumer for them, and its log is trimmed
// without waiting for them.
func (c *Core) Exclude(f func(globaltable.Lane) []hlc.Origin) []Effect {
	for _, l := range c.sorted() {
		if excluded := f(l.lane); !slices.Equal(excluded, l.excluded) {
			l.excluded = excluded
			for _, o := range excluded {
				delete(l.lagging, o)
			}
			c.restart(l)
		}
	}
	return c.flush()
}

// Found tells of which lanes the bus has streams: those that the log does not have are removed.
func (c *Core) Found(ids []globaltable.LaneID) []Effect {
	for _, id := range ids {
		if c.lanes[id] == nil {
			c.emit(Effect{Kind: RemoveStream, Lane: globaltable.Lane{ID: id}})
		}
	}
	return c.flush()
}

// BusReset begins every lane again: the bus may have lost or rolled back its streams.
func (c *Core) BusReset() []Effect {
	for _, l := range c.sorted() {
		c.restart(l)
	}
	return c.flush()
}

// Renew begins a lane again: bodies of its log have been erased, which its stream and this memory still have. Core.Live tells when the lane is live again.
func (c *Core) Renew(id globaltable.LaneID) []Effect {
	if l := c.lanes[id]; l != nil {
		l.fresh, l.freshSize = nil, 0
		c.restart(l)
	}
	return c.flush()
}

// Fresh takes entries that have just become durable, consecutive from the head on.
func (c *Core) Fresh(id globaltable.LaneID, entries []change.Entry) []Effect {
	l := c.lanes[id]
	if l == nil || len(entries) == 0 {
		return nil
	}
	if n := len(l.fresh); n > 0 && l.fresh[n-1].Seq+1 != entries[0].Seq {
		l.fresh, l.freshSize = nil, 0
	}
	l.head = max(l.head, entries[len(entries)-1].Seq)
	if len(l.peers(c.self)) > 0 {
		for _, e := range entries {
			l.fresh = append(l.fresh, e)
			l.freshSize += len(e.Body)
		}
		drop := 0
		for ; l.freshSize > c.limits.FreshBytes && drop < len(l.fresh); drop++ {
			l.freshSize -= len(l.fresh[drop].Body)
		}
		l.fresh = slices.Delete(l.fresh, 0, drop)
	}
	if (l.phase == removing || l.phase == over) && !c.isOver(l) {
		c.restart(l)
	}
	c.pump(l)
	return c.flush()
}

// StreamRemoved reports that there is no stream.
func (c *Core) StreamRemoved(id globaltable.LaneID, turn uint64) []Effect {
	if l := c.current(id, turn); l != nil && l.phase == removing {
		l.phase = over
	}
	return c.flush()
}

// StreamReset reports that the stream is there, empty and closed.
func (c *Core) StreamReset(id globaltable.LaneID, turn uint64) []Effect {
	if l := c.current(id, turn); l != nil && l.phase == resetting {
		if l.phase = filling; len(l.peers(c.self)) == 0 {
			l.phase = live // and empty: its last peer was excluded
		}
		l.target = l.head
		l.next = l.trimmed + 1
		if l.head >= c.limits.RefillEntries {
			l.next = max(l.next, l.head-c.limits.RefillEntries+1)
		}
		c.pump(l)
	}
	return c.flush()
}

// StreamOpened reports that peers can fetch.
func (c *Core) StreamOpened(id globaltable.LaneID, turn uint64) []Effect {
	if l := c.current(id, turn); l != nil && l.phase == opening {
		l.phase = live
		c.pump(l)
	}
	return c.flush()
}

// Loaded brings entries of the log, consecutive from the sequence asked for.
func (c *Core) Loaded(id globaltable.LaneID, turn uint64, entries []change.Entry) []Effect {
	l := c.current(id, turn)
	if l == nil || !l.loading {
		return c.flush()
	}
	l.loading = false
	for _, e := range entries {
		if e.Seq == l.next {
			c.publish(l, e)
		}
	}
	c.pump(l)
	return c.flush()
}

// Published reports that the bus has taken an entry.
func (c *Core) Published(id globaltable.LaneID, turn, seq uint64) []Effect {
	if l := c.current(id, turn); l != nil {
		l.flightSum -= l.flight[seq]
		delete(l.flight, seq)
		for _, p := range l.peers(c.self) {
			if plantedTrim {
				l.confirmed[p] = max(l.confirmed[p], seq)
			}
		}
		c.pump(l)
	}
	return c.flush()
}

// Failed reports that any effect on the lane's stream or log was not carried out: the lane begins again at the next tick.
func (c *Core) Failed(id globaltable.LaneID, turn uint64) []Effect {
	if l := c.current(id, turn); l != nil {
		l.phase = waiting
		l.turn++
	}
	return c.flush()
}

// Confirmed takes a peer's durable position, which the caller has checked against incarnation and chain.
func (c *Core) Confirmed(id globaltable.LaneID, peer hlc.Origin, seq uint64) []Effect {
	if l := c.lanes[id]; l != nil && seq > l.confirmed[peer] {
		l.confirmed[peer] = min(seq, l.head)
		if _, lagged := l.lagging[peer]; lagged && l.confirmed[peer] >= l.trimmed {
			delete(l.lagging, peer)
			c.emit(Effect{Kind: CaughtUp, Lane: l.lane, Peer: peer})
		}
		if to := c.trimPoint(l); to >= l.trimmed+c.limits.TrimEvery {
			c.trim(l, to)
		}
	}
	return c.flush()
}

// Exceeded tells that the lane's log has reached its byte limit: entries up to and with upTo go, whoever has not confirmed them.
func (c *Core) Exceeded(id globaltable.LaneID, upTo uint64, now time.Time) []Effect {
	l := c.lanes[id]
	if l == nil || l.head == 0 {
		return nil
	}
	if upTo = min(upTo, l.head-1); upTo <= l.trimmed {
		return nil
	}
	for _, p := range l.peers(c.self) {
		if _, lags := l.lagging[p]; !lags && l.confirmed[p] < upTo {
			l.lagging[p] = now
			c.emit(Effect{Kind: LeftBehind, Lane: l.lane, Peer: p})
		}
	}
	c.trim(l, upTo)
	return c.flush()
}

// Tick begins failed lanes again, trims what has been confirmed, and removes the streams of lanes that are over.
func (c *Core) Tick() []Effect {
	for _, l := range c.sorted() {
		if to := c.trimPoint(l); to > l.trimmed {
			c.trim(l, to)
		}
		if l.phase == waiting || l.phase == live && c.isOver(l) {
			c.restart(l)
		}
	}
	return c.flush()
}

// Stale reports whether an effect has no point any more: the stream that it is about failed since it was decided, or is made anew.
func (c *Core) Stale(e *Effect) bool {
	if e.Kind == Trim || e.Kind == LeftBehind || e.Kind == CaughtUp {
		return false
	}
	l := c.lanes[e.Lane.ID]
	return l != nil && l.turn != e.Turn
}

// Live reports whether the lane's stream is there and open, or gone with the lane. One that is not known has nothing to wait for.
func (c *Core) Live(id globaltable.LaneID) bool {
	l := c.lanes[id]
	return l == nil || l.phase == live || l.phase == over
}

// Backlog is what a lane still keeps for one peer.
type Backlog struct {
	Lane      globaltable.Lane
	Head      uint64
	Trimmed   uint64
	Live      bool
	Confirmed map[hlc.Origin]uint64
	Lagging   map[hlc.Origin]Lag
}

// Lag says that a peer was left behind: the log has not kept all that the peer has not confirmed.
type Lag struct {
	Since   time.Time // zero: since before this start
	Dropped uint64    // entries that it has not confirmed and that are gone
}

// Status returns the state of all lanes, sorted by id.
func (c *Core) Status() []Backlog {
	var out []Backlog
	for _, l := range c.sorted() {
		b := Backlog{Lane: l.lane, Head: l.head, Trimmed: l.trimmed, Live: c.Live(l.lane.ID), Confirmed: map[hlc.Origin]uint64{},
			Lagging: map[hlc.Origin]Lag{}}
		for _, p := range l.peers(c.self) {
			b.Confirmed[p] = l.confirmed[p]
			if l.confirmed[p] < l.trimmed {
				b.Lagging[p] = Lag{Since: l.lagging[p], Dropped: l.trimmed - l.confirmed[p]}
			}
		}
		out = append(out, b)
	}
	return out
}

// trimPoint is the least position confirmed by all peers; the newest entry always stays, since head and chain are read from it.
func (c *Core) trimPoint(l *lane) uint64 {
	to := l.head
	for _, p := range l.peers(c.self) {
		to = min(to, l.confirmed[p])
	}
	if to == l.head && to > 0 {
		to--
	}
	return to
}

func (c *Core) trim(l *lane, to uint64) {
	l.trimmed = to
	c.emit(Effect{Kind: Trim, Lane: l.lane, Seq: to})
}

// isOver reports whether the lane has a stream that nobody needs any more.
func (c *Core) isOver(l *lane) bool {
	if c.used == nil || c.used(l.lane.ID) || len(l.lane.Placement.Peers(c.self)) == 0 {
		return false
	}
	return !slices.ContainsFunc(l.peers(c.self), func(p hlc.Origin) bool { return l.confirmed[p] < l.head })
}

// restart makes the lane's stream anew, or removes that of a lane that is over. A lane without peers needs none; one whose peers were all excluded has one, which is emptied.
func (c *Core) restart(l *lane) {
	l.turn++
	l.flight, l.flightSum, l.loading = map[uint64]int{}, 0, false
	if c.isOver(l) {
		l.phase = removing
		l.fresh, l.freshSize = nil, 0
		c.emit(Effect{Kind: RemoveStream, Lane: l.lane, Turn: l.turn})
		return
	}
	peers := l.peers(c.self)
	if len(peers) == 0 {
		l.phase = live
		l.fresh, l.freshSize = nil, 0
		if len(l.excluded) == 0 {
			return
		}
	}
	l.phase = resetting
	c.emit(Effect{Kind: ResetStream, Lane: l.lane, Peers: peers, Turn: l.turn})
}

// pump publishes what is due, from memory where it is there and from the log otherwise.
func (c *Core) pump(l *lane) {
	if l.phase != filling && l.phase != live || len(l.peers(c.self)) == 0 {
		return
	}
	l.next = max(l.next, l.trimmed+1)
	for l.next <= l.head && l.flightSum < c.limits.FlightBytes {
		drop := 0
		for drop < len(l.fresh) && l.fresh[drop].Seq < l.next {
			l.freshSize -= len(l.fresh[drop].Body)
			drop++
		}
		l.fresh = slices.Delete(l.fresh, 0, drop)
		if len(l.fresh) == 0 || l.fresh[0].Seq != l.next {
			if !l.loading {
				l.loading = true
				c.emit(Effect{Kind: Load, Lane: l.lane, Seq: l.next, Bytes: c.limits.PageBytes, Turn: l.turn})
			}
			return
		}
		c.publish(l, l.fresh[0])
	}
	if l.phase == filling && l.filled() {
		l.phase = opening
		c.emit(Effect{Kind: OpenStream, Lane: l.lane, Peers: l.peers(c.self), Turn: l.turn})
	}
}

// filled reports whether the bus has taken everything up to the target.
func (l *lane) filled() bool {
	for seq := range l.flight {
		if seq <= l.target {
			return false
		}
	}
	return l.next > l.target
}

func (c *Core) publish(l *lane, e change.Entry) {
	l.next = e.Seq + 1
	l.flight[e.Seq] = len(e.Body)
	l.flightSum += len(e.Body)
	c.emit(Effect{Kind: Publish, Lane: l.lane, Seq: e.Seq, Entry: e, Turn: l.turn})
}

// peers returns the other members of the lane that count.
func (l *lane) peers(self hlc.Origin) []hlc.Origin {
	return slices.DeleteFunc(l.lane.Placement.Peers(self), func(o hlc.Origin) bool { return slices.Contains(l.excluded, o) })
}

// current returns the lane if the turn is that of its present stream.
func (c *Core) current(id globaltable.LaneID, turn uint64) *lane {
	if l := c.lanes[id]; l != nil && l.turn == turn {
		return l
	}
	return nil
}

func (c *Core) sorted() []*lane {
	out := make([]*lane, 0, len(c.lanes))
	for _, l := range c.lanes {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *lane) int { return cmp.Compare(a.lane.ID, b.lane.ID) })
	return out
}

func (c *Core) emit(e Effect) { c.out = append(c.out, e) }

func (c *Core) flush() []Effect {
	out := c.out
	c.out = nil
	return out
}
