package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/peer"
)

// session follows one origin in one life of a region: the core, and what inbox.Runner does around it. Connections come and go.
type session struct {
	*region
	from   *region
	member catalog.Member // whom it follows, and which store of it
	core   *inbox.Core
	ended  bool // the origin, or that store of it, is not followed any more

	number    int // of the connection; what belongs to an earlier one is ignored
	connected bool
	conn      inbox.Session // its calls are made over link
	link      *playedLink
	applying  int
	released  uint64 // a catch-up that ended while there was no connection; 0: none
	late      []func() []inbox.Effect
	backoff   time.Duration
	pulls     map[globaltable.LaneID]*pull
	ahead     map[globaltable.LaneID]bool // stopped for a clock ahead, nothing applied since
}

// pull is one lane's stream as it is fetched.
type pull struct {
	open      bool
	scheduled bool
	held      []fetched // arrived while the core wanted nothing
	acks      []fetched // delivered, not yet acknowledged
}

type fetched struct {
	stored
	message change.Message
	at      uint64 // stream sequence
}

func newSession(r *region, m catalog.Member) *session {
	from, positions := r.world.region(m.Descriptor.Origin), map[globaltable.LaneID]globaltable.Position{}
	for _, p := range r.shard.Positions() {
		if p.Origin == from.origin && (m.Incarnation == 0 || p.Incarnation == m.Incarnation) {
			positions[p.Lane] = p.Position
		}
	}
	limits := inbox.Limits{BatchBytes: r.plan.batchBytes, QueueBytes: r.plan.queueBytes}
	s := &session{region: r, from: from, member: m, core: inbox.NewCore(from.origin, 0, limits, r.known(from.origin), positions), backoff: heartbeatEvery,
		ahead: map[globaltable.LaneID]bool{}}
	s.core.Resume(r.hold(from.origin))
	return s
}

// alive wraps do so that it happens only while this connection lasts.
func (s *session) alive(do func()) func() {
	number, life := s.number, s.life
	return func() {
		if s.up && s.life == life && s.number == number {
			do()
		}
	}
}

// connect introduces both sides, and begins.
func (s *session) connect() {
	s.number++
	s.link = &playedLink{}
	cfg := s.sessionConfig()
	hello := func() (err error) {
		s.conn, err = peer.Connect(context.Background(), cfg)
		return err
	}
	s.ask(hello, func(err error) {
		if err != nil {
			s.fail(err)
			return
		}
		s.connected, s.backoff = true, heartbeatEvery
		s.pulls = map[globaltable.LaneID]*pull{}
		s.note("%d connected to %d", s.origin, s.from.origin)
		s.step(s.core.Connected())
		if id := s.released; id != 0 && s.connected {
			s.released = 0
			s.step(s.core.Release(id))
		}
		s.heartbeat()
		s.tick()
	})
}

func (s *session) sessionConfig() *peer.SessionConfig {
	return &peer.SessionConfig{
		Self: identities()[s.origin].descriptor, Descriptor: identities()[s.origin].token, Origin: identities()[s.from.origin].descriptor,
		Dial:   func(context.Context) (bus.Link, error) { return s.link, nil },
		Log:    peerLog{s.region},
		Matrix: s.matrix, Clock: s.clock.Last, Observe: s.clock.Observe, Known: s.known, Physical: s.physical,
		Offset:    func(hlc.Origin, time.Duration, time.Duration) {},
		Regressed: s.regressed, Met: s.met, Fenced: s.fenced,
		Catalog: func(context.Context, peer.Client) error { panic("the catalog is fetched by fetchCatalog") },
	}
}

// fail ends the connection. The next one begins when every Apply has been reported, after a pause.
func (s *session) fail(err error) {
	s.note("%d lost %d: %v", s.origin, s.from.origin, err)
	s.number++
	s.connected = false
	s.pulls = nil
	s.settle()
}

// settle is inbox.Runner's: results of Applies that outlived their session count, what follows from them does not, marks apart.
func (s *session) settle() {
	if s.connected || s.applying > 0 || s.ended {
		return
	}
	for _, event := range s.late {
		for _, e := range event() {
			if e.Kind == inbox.Mark {
				s.mark(e.HLC)
			}
		}
	}
	s.late = nil
	pause := s.backoff/2 + between(s.rng, 0, s.backoff/2)
	s.backoff = min(2*s.backoff, maxBackoff)
	s.region.after(pause, s.alive(s.connect))
}

// step carries out effects in their order, then opens and closes the gates.
func (s *session) step(effects []inbox.Effect) {
	for _, e := range effects {
		if s.dies() || s.ended {
			return
		}
		s.act(e)
	}
	if s.up && s.connected {
		s.release()
	}
}

// leave ends the session for good. What the shard has of it goes on.
func (s *session) leave() {
	s.note("%d follows %d no more", s.origin, s.from.origin)
	s.number++
	s.ended, s.connected, s.pulls = true, false, nil
	if s.applying > 0 {
		s.leaving[s.from.origin]++
	}
}

func (s *session) act(e inbox.Effect) {
	switch e.Kind {
	case inbox.OpenLane:
		if s.pulls[e.Lane] == nil {
			s.pulls[e.Lane] = &pull{open: true}
			s.fetchSoon(e.Lane)
		}
	case inbox.Apply:
		s.apply(e)
	case inbox.ReadLog:
		s.readLog(e)
	case inbox.Acknowledge:
		s.acknowledge(e)
	case inbox.FetchCatalog:
		s.fetchCatalog()
	case inbox.Stopped:
		s.note("%d stops %d/%s: %s", s.origin, s.from.origin, e.Lane, e.Reason)
		if e.Reason != inbox.Running {
			s.tell("%s does not go on with a lane of %s: %s", s.name(), s.from.name(), e.Reason)
		}
		s.stopped(e)
	case inbox.Mark:
		s.mark(e.HLC)
	case inbox.StartLanes:
		s.startLanes(e)
	case inbox.Revoke:
		s.cover("an incarnation was met")
		s.manual.Revoke(s.from.origin, e.Incarnation-1, func(error) {})
		s.settleNow()
	case inbox.CloseLanes:
		s.cover("the lanes of a dead incarnation were closed")
		clear(s.pulls)
	}
}

func (s *session) stopped(e inbox.Effect) {
	switch e.Reason {
	case inbox.Running:
		s.cover("a stopped lane went on")
	case inbox.Trimmed:
		s.cover("a lane stopped: trimmed")
		if s.plan.logBytes == unlimited && s.steady() { // a new store follows lanes from their beginnings
			s.found("I17", "lane %s of region %d stopped: trimmed", e.Lane, s.from.origin)
		}
	case inbox.Restored:
		s.cover("a region has less of a lane than it had told")
		s.regressed(nameOf(s.from.origin), "this region has less of a lane than it had told")
	case inbox.Diverged, inbox.Superseded, inbox.Refused:
		if s.from.store > 0 || !s.catalog.View().Trusts(s.from.origin, s.core.Incarnation()) {
			return // it has, or had, another store than the one that is followed, or is followed no more
		}
		s.evidence.found = append(s.evidence.found, check.Violation{Invariant: "I17", Region: uint16(s.origin),
			Detail: "lane " + e.Lane.String() + " stopped: " + e.Reason.String()})
	default:
		s.cover("a lane stopped: " + e.Reason.String())
		s.ahead[e.Lane] = e.Reason == inbox.ClockAhead
	}
}

// mark raises the watermark, and takes into evidence what it says.
func (s *session) mark(t hlc.Timestamp) {
	s.matrix.Mark(s.origin, s.from.origin, t)
	m := check.Mark{Region: uint16(s.origin), Origin: uint16(s.from.origin), Incarnation: uint64(s.core.Incarnation()), Time: uint64(t), Positions: map[uint64]uint64{}}
	for _, p := range s.core.Positions() {
		m.Positions[uint64(p.Lane)] = p.Position.Seq
	}
	s.evidence.marks = append(s.evidence.marks, m)
}

// failing returns a callback for a request whose failure ends the session.
func (s *session) failing(then func()) func(error) {
	return func(err error) {
		if err != nil {
			s.fail(err)
			return
		}
		then()
	}
}

// fetchCatalog brings this region's catalog up to the origin's; a failure ends the session.
func (s *session) fetchCatalog() {
	s.cover("the catalog was fetched")
	var err error
	number, plane := s.number, s.plane
	s.spawn("fetch "+nameOf(s.from.origin), func(ctx context.Context) { err = plane.Fetch(ctx, nameOf(s.from.origin)) }, func() {
		if s.number == number {
			s.failing(func() {})(err)
		}
	})
}

func (s *session) heartbeat() {
	own := s.core.Positions()
	var h inbox.Heartbeat
	ask := func() (err error) {
		h, err = s.conn.Heartbeat(context.Background(), own)
		return err
	}
	s.ask(ask, s.failing(func() {
		s.step(s.core.Heartbeat(h))
		s.advanceFrontiers()
		if s.connected {
			for _, l := range s.sortedPulls() {
				s.fetchSoon(l)
			}
			s.region.after(heartbeatEvery, s.alive(s.heartbeat))
		}
	}))
}

func (s *session) tick() {
	s.region.after(4*heartbeatEvery, s.alive(func() {
		s.step(s.core.Tick())
		s.tick()
	}))
}

// readLog asks for a page. An answer that is no page does not end the session.
func (s *session) readLog(e inbox.Effect) {
	var entries []change.Entry
	var done, trimmed bool
	inc := s.core.Incarnation()
	ask := func() (err error) {
		entries, done, trimmed, err = s.conn.ReadLog(context.Background(), e.Lane, inc, e.Seq, s.plan.pageBytes)
		return err
	}
	s.ask(ask, func(err error) {
		if err == nil && !trimmed {
			s.note("%d read %d entries of %d/%s from %d", s.origin, len(entries), s.from.origin, e.Lane, e.Seq)
			if len(entries) > 0 {
				s.cover("a gap was read from the log")
			}
			s.step(s.core.LogPage(e.Lane, inc, entries, done))
			return
		}
		s.step(s.core.LogFailed(e.Lane, trimmed))
		if kind := globaltable.KindOf(err); !trimmed && kind != globaltable.InUse && kind != globaltable.Denied {
			s.fail(err)
		}
	})
}

// apply gives a batch to the shard. The session's end does not end it.
func (s *session) apply(e inbox.Effect) {
	s.applying++
	r := &commit.Remote{Source: change.Source{Origin: s.from.origin, Incarnation: e.Position.Incarnation, Lane: e.Lane}, Entries: e.Entries, Position: e.Position}
	number := s.number
	s.applyRemote(r, func(reason inbox.Stop) {
		s.applying--
		if reason == inbox.Running {
			if s.ahead[e.Lane] {
				delete(s.ahead, e.Lane)
				s.cover("a clock-ahead stop was survived")
			}
			s.applied(s.from.origin, e.Position.Incarnation, e.Lane, e.Position.Seq)
		}
		if s.ended {
			if s.applying == 0 {
				s.leaving[s.from.origin]--
				s.follow()
			}
			return
		}
		event := func() []inbox.Effect { return s.core.Applied(e.Lane, e.Position, reason) }
		if s.connected && s.number == number {
			s.step(event())
			return
		}
		s.cover("an apply outlived its session")
		s.late = append(s.late, event)
		s.settle()
	})
}

// fetchSoon has the lane's next message fetched.
func (s *session) fetchSoon(lane globaltable.LaneID) {
	p := s.pulls[lane]
	if p == nil || p.scheduled {
		return
	}
	p.scheduled = true
	s.region.after(between(s.rng, 0, 2*time.Millisecond), s.alive(func() {
		p.scheduled = false
		s.fetch(lane, p)
	}))
}

// fetch takes messages out of the stream and sends them on their way, as long as the window is open.
func (s *session) fetch(lane globaltable.LaneID, p *pull) {
	if len(p.held) > 4 || !s.links[[2]hlc.Origin{s.origin, s.from.origin}].up {
		return
	}
	for range 8 {
		m, at, ok := s.from.bus.fetch(lane, s.origin)
		if !ok {
			return
		}
		if !s.from.bus.streams[lane].stale {
			s.from.gives(s.origin, "a stream", m.keys)
		}
		s.transmit(lane, p, m, at)
	}
	s.fetchSoon(lane)
}

// transmit sends one message, if nothing goes wrong once, and if something else goes wrong twice.
func (s *session) transmit(lane globaltable.LaneID, p *pull, m stored, at uint64) {
	l := s.lane(s.from.origin, m.incarnation, lane)
	if s.chance(s.plan.dropMessage) {
		if msg, err := change.DecodeMessage(m.data); err == nil && msg.Fragments > 1 {
			s.cover("a fragment was lost")
		}
		s.hole(l, m.seq)
		return
	}
	if s.chance(s.plan.forge) {
		if forged, ok := s.forged(lane, m.seq); ok {
			s.cover("a message of another history came")
			s.hole(l, m.seq)
			m = forged
		}
	}
	times := 1
	if s.chance(s.plan.duplicate) {
		s.cover("a message came twice")
		times = 2
	}
	for range times {
		s.send(s.from.origin, s.origin, s.alive(func() { s.arrived(lane, p, m, at) }))
	}
}

// forged is a message of another history with the sequence given, whole and sound in itself: what a stream may hold that was brought back from elsewhere. Only the chain tells.
func (s *session) forged(lane globaltable.LaneID, seq uint64) (stored, bool) {
	if !s.from.up || seq < 2 {
		return stored{}, false
	}
	entries, err := s.from.readLog(lane, seq-1, 1)
	if err != nil || len(entries) == 0 || entries[0].Void {
		return stored{}, false
	}
	e := change.Entry{Header: change.Seal(globaltable.Chain{1}, seq, entries[0].Body, int(entries[0].Changes), entries[0].Last), Body: entries[0].Body}
	src := change.Source{Origin: s.from.origin, Incarnation: s.from.shard.Incarnation(), Lane: lane}
	var out stored
	_, err = change.AppendMessages(src, &e, 0, bus.MaxMessage, nil, func(b []byte) error {
		out = stored{data: b, seq: seq, incarnation: src.Incarnation}
		return nil
	})
	return out, err == nil
}

func (s *session) arrived(lane globaltable.LaneID, p *pull, m stored, at uint64) {
	msg, err := change.DecodeMessage(m.data)
	if err != nil || msg.Lane != lane {
		panic("the model damaged a message")
	}
	p.held = append(p.held, fetched{m, msg, at})
	s.release()
}

// release gives held messages to the core while it wants them.
func (s *session) release() {
	for _, lane := range s.sortedPulls() {
		p := s.pulls[lane]
		if len(p.held) == 0 || !s.core.Wants(lane) {
			continue
		}
		f := p.held[0]
		p.held = p.held[1:]
		if f.message.Fragment == f.message.Fragments-1 {
			p.acks = append(p.acks, f)
		}
		s.step(s.core.Message(f.message)) // and releases the next one
		return
	}
}

func (s *session) sortedPulls() []globaltable.LaneID {
	out := make([]globaltable.LaneID, 0, len(s.pulls))
	for l := range s.pulls {
		out = append(out, l)
	}
	slices.Sort(out)
	return out
}

// acknowledge moves the stream's cursor to the newest message delivered at or below the sequence.
func (s *session) acknowledge(e inbox.Effect) {
	p := s.pulls[e.Lane]
	if p == nil {
		return
	}
	n := 0
	for n < len(p.acks) && p.acks[n].seq <= e.Seq {
		n++
	}
	if n == 0 {
		return
	}
	at := p.acks[n-1].at
	p.acks = p.acks[n:]
	if s.chance(s.plan.loseAck) {
		s.cover("an acknowledgement was lost")
		return
	}
	s.send(s.origin, s.from.origin, func() { s.from.bus.ack(e.Lane, s.origin, at) })
}

var errNoAnswer = errors.New("no answer")
