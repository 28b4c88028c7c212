package inbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
)

// Batch is a run of consecutive entries of one lane, to be applied with the position after it.
type Batch struct {
	Source   change.Source
	Entries  []change.Entry
	Position globaltable.Position
}

// Store applies batches.
type Store interface {
	// Apply merges the batch and stores its position with it, durably. It returns Running when that is done; otherwise nothing was, and the reason says
	// why. err is for the log.
	Apply(ctx context.Context, b Batch) (reason Stop, err error)
	// Revoke records durably that the origin's incarnations before inc are dead.
	Revoke(ctx context.Context, origin hlc.Origin, inc globaltable.Incarnation) error
}

// Session is a connection to an origin on which both sides have been introduced.
type Session interface {
	// Heartbeat exchanges heartbeats: it tells the origin the durable positions, but of lanes that are held, and returns what the origin says of itself.
	Heartbeat(ctx context.Context, own []LanePosition) (Heartbeat, error)
	// Confirm tells the origin durable positions, at once and without asking anything: writers there wait for them. What is lost on the way the next
	// heartbeat tells again.
	Confirm(ctx context.Context, own []LanePosition) error
	// ReadLog returns a page of a lane's log from a sequence on; done when it reached the head. trimmed when the log no longer has that sequence.
	ReadLog(ctx context.Context, lane globaltable.LaneID, inc globaltable.Incarnation, from uint64, maxBytes int) (entries []change.Entry, done, trimmed bool, err error)
	// FetchCatalog brings this region's catalog up to the origin's.
	FetchCatalog(ctx context.Context) error
	// Pull delivers a lane's stream messages; see bus.Link.
	Pull(ctx context.Context, lane globaltable.LaneID, windowBytes int, deliver func(bus.Message)) error
	Close() error
}

// RunnerConfig configures a Runner. Connect and Store are needed.
type RunnerConfig struct {
	Origin  hlc.Origin
	Shard   uint16
	Connect func(ctx context.Context) (Session, error)
	Store   Store
	Mark    func(origin hlc.Origin, t hlc.Timestamp) // everything of the origin up to t is durably applied here
	// Prompt reports whether somebody may wait for the confirmation of a lane's entries. Those are confirmed as soon as they are durable here, the others with the
	// next heartbeat. Nil: none. It is called often.
	Prompt      func(lane globaltable.LaneID) bool
	Events      Events
	Limits      Limits
	Incarnation globaltable.Incarnation // newest known of the origin; zero: none
	Positions   map[globaltable.LaneID]globaltable.Position
	Hold        Hold // as recorded by StartLanes before the start
	// StartLanes records durably that the lanes go on from heads and that an exchange has to bring what lies below, and returns the exchange's id. Release ends it.
	// nil: a lane whose next entries are gone stays stopped.
	StartLanes func(ctx context.Context, inc globaltable.Incarnation, heads []Head) (id uint64, err error)

	Interval    time.Duration // between heartbeats; default 250 ms
	Timeout     time.Duration // of one request; default 10 s
	MaxBackoff  time.Duration // between connection attempts; default 5 s
	WindowBytes int           // outstanding on each lane's stream; default 4 MiB, 200 ms at 20 MB/s
	PageBytes   int           // asked of the log at once; default 2 MiB
}

// Events report what a runner does. Any may be nil; they must not block.
type Events struct {
	Connected    func(origin hlc.Origin)
	Disconnected func(origin hlc.Origin, err error)
	Stopped      func(origin hlc.Origin, lane globaltable.LaneID, reason Stop, err error) // Running: goes on
	LogRead      func(origin hlc.Origin, lane globaltable.LaneID, entries int)
	Applied      func(origin hlc.Origin, lane globaltable.LaneID, changes int, lag time.Duration)
}

func (c RunnerConfig) withDefaults() RunnerConfig {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Interval, 250*time.Millisecond)
	def(&c.Timeout, 10*time.Second)
	def(&c.MaxBackoff, 5*time.Second)
	if c.WindowBytes == 0 {
		c.WindowBytes = 4 << 20
	}
	if c.PageBytes == 0 {
		c.PageBytes = 2 << 20
	}
	return c
}

// Runner follows one origin: it connects, and connects again, and carries out what its Core decides.
//
// One goroutine, the loop, owns the Core. Everything that waits (applying, reading the log, heartbeats, pulling) has a goroutine of the
// session and reports to the loop through one channel. A lane's puller hands over one message at a time and then waits until the Core wants more, so
// what is not wanted stays in the stream.
type Runner struct {
	cfg    RunnerConfig
	core   *Core
	status atomic.Pointer[Status]
	// released holds the id of the newest exchange that is complete, until the core is told.
	released chan uint64

	mu   sync.Mutex
	late []func() []Effect // results of Applies that ended after their session's loop
}

// Status is a runner's state for people.
type Status struct {
	Origin    hlc.Origin
	Connected bool
	Error     string        // why it is not connected
	Heard     time.Time     // last heartbeat
	Lag       time.Duration // from the stamp of the newest change of the batch applied last to its durability here
	LagAt     time.Time     // when that was
	Progress  time.Time     // when a batch was last applied, nothing was missing, or the connection was made: what is behind since long stands still
	Mark      hlc.Timestamp // everything of the origin up to it is durably applied here
	Lanes     []LanePosition
}

// NewRunner returns a Runner. It starts nothing.
func NewRunner(cfg RunnerConfig) *Runner {
	cfg = cfg.withDefaults()
	r := &Runner{cfg: cfg, core: NewCore(cfg.Origin, cfg.Shard, cfg.Limits, cfg.Incarnation, cfg.Positions), released: make(chan uint64, 1)}
	r.core.Resume(cfg.Hold)
	r.status.Store(&Status{Origin: cfg.Origin, Lanes: r.core.Positions()})
	return r
}

// Status returns the state as of the last heartbeat or change of connection. It may be called at any time.
func (r *Runner) Status() Status { return *r.status.Load() }

// Release tells that the exchange of the id given is complete: what StartLanes left below the lanes is here, durably. It is called by one goroutine at a time.
func (r *Runner) Release(id uint64) {
	select {
	case <-r.released: // of an earlier exchange, which does not matter any more
	default:
	}
	r.released <- id
}

func (r *Runner) update(f func(*Status)) {
	s := *r.status.Load()
	f(&s)
	r.status.Store(&s)
}

// Run follows the origin until ctx is done.
func (r *Runner) Run(ctx context.Context) error {
	backoff := r.cfg.Interval
	for ctx.Err() == nil {
		began := time.Now()
		err := r.session(ctx)
		if ctx.Err() != nil {
			break
		}
		r.update(func(s *Status) { s.Connected, s.Error = false, err.Error() })
		if f := r.cfg.Events.Disconnected; f != nil {
			f(r.cfg.Origin, err)
		}
		if time.Since(began) > r.cfg.MaxBackoff {
			backoff = r.cfg.Interval
		}
		wait(ctx, backoff/2+rand.N(backoff/2+1))
		backoff = min(2*backoff, r.cfg.MaxBackoff)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// session is one connection's life.
type session struct {
	*Runner
	Session
	group   *errgroup.Group
	ctx     context.Context // of the session: ends with its first error
	events  chan func() []Effect
	pulls   map[globaltable.LaneID]*puller
	acks    map[globaltable.LaneID][]pendingAck
	resumed time.Time     // when lanes went on after a catalog fetch; the loop's
	prompt  chan struct{} // capacity 1: something to be confirmed at once was applied
}

type pendingAck struct {
	seq uint64
	ack func() error
}

// maxAcks bounds the acknowledgements kept for a lane; older ones are covered by newer ones.
const maxAcks = 1024

func (r *Runner) session(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	conn, err := r.cfg.Connect(dialing)
	cancel()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	s := &session{Runner: r, Session: conn, group: group, ctx: ctx, events: make(chan func() []Effect),
		pulls: map[globaltable.LaneID]*puller{}, acks: map[globaltable.LaneID][]pendingAck{}, prompt: make(chan struct{}, 1)}
	if f := r.cfg.Events.Connected; f != nil {
		f(r.cfg.Origin)
	}
	r.update(func(s *Status) { s.Connected, s.Error, s.Progress = true, "", time.Now() })
	group.Go(s.loop)
	group.Go(s.heartbeats)
	if r.cfg.Prompt != nil {
		group.Go(s.confirmations)
	}
	err = group.Wait()
	s.settle()
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = errors.New("session ended")
	}
	return err
}

// settle tells the core of the Applies that ended after the loop, so that the next session begins at the durable positions. Of what follows
// from them only marks matter now.
func (s *session) settle() {
	for _, event := range s.late {
		for _, e := range event() {
			if e.Kind == Mark {
				s.cfg.Mark(s.cfg.Origin, e.HLC)
			}
		}
	}
	s.late = nil
}

// loop owns the core.
func (s *session) loop() error {
	if err := s.act(s.core.Connected()); err != nil {
		return err
	}
	ticker := time.NewTicker(4 * s.cfg.Interval)
	defer ticker.Stop()
	for {
		var effects []Effect
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case event := <-s.events:
			effects = event()
		case id := <-s.released:
			effects = s.core.Release(id)
		case <-ticker.C:
			effects = s.core.Tick()
		}
		if err := s.act(effects); err != nil {
			return err
		}
		for id, p := range s.pulls {
			p.gate(s.core.Wants(id))
		}
	}
}

// report hands an event to the loop and waits until the core has taken it.
func (s *session) report(event func() []Effect) error {
	taken := make(chan struct{})
	select {
	case s.events <- func() []Effect {
		defer close(taken)
		return event()
	}:
		<-taken
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *session) act(effects []Effect) error {
	for _, e := range effects {
		switch e.Kind {
		case OpenLane:
			s.open(e.Lane)
		case CloseLanes:
			for _, p := range s.pulls {
				p.gate(false)
			}
		case Revoke:
			if err := s.cfg.Store.Revoke(s.ctx, s.cfg.Origin, e.Incarnation); err != nil {
				return err
			}
		case Apply:
			s.group.Go(func() error { return s.apply(e) })
		case ReadLog:
			s.group.Go(func() error { return s.readLog(e) })
		case Acknowledge:
			s.acknowledge(e)
		case FetchCatalog:
			s.group.Go(s.fetchCatalog)
		case Stopped:
			if f := s.cfg.Events.Stopped; f != nil {
				f(s.cfg.Origin, e.Lane, e.Reason, nil)
			}
			s.update(func(st *Status) { st.Lanes = s.core.Positions() })
		case Mark:
			s.cfg.Mark(s.cfg.Origin, e.HLC)
			s.update(func(st *Status) { st.Mark = e.HLC })
		case StartLanes:
			if err := s.start(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// start begins lanes anew at the origin's heads. Nothing else of the origin is taken meanwhile.
func (s *session) start(e Effect) error {
	if s.cfg.StartLanes == nil {
		return nil
	}
	id, err := s.cfg.StartLanes(s.ctx, e.Incarnation, e.Heads)
	if err != nil {
		return err
	}
	return s.act(s.core.Started(e.Heads, id))
}

// apply is not ended by the session's end, which waits for it: what has become durable must be known to the next session. The store bounds its time.
func (s *session) apply(e Effect) error {
	b := Batch{Source: change.Source{Origin: s.cfg.Origin, Shard: s.cfg.Shard, Incarnation: e.Position.Incarnation, Lane: e.Lane},
		Entries: e.Entries, Position: e.Position}
	reason, err := s.cfg.Store.Apply(context.WithoutCancel(s.ctx), b)
	if err != nil {
		if f := s.cfg.Events.Stopped; f != nil {
			f(s.cfg.Origin, e.Lane, reason, err)
		}
	}
	changes, last := 0, hlc.Timestamp(0)
	for i := range e.Entries {
		changes += int(e.Entries[i].Changes)
		last = max(last, e.Entries[i].Last)
	}
	event := func() []Effect {
		if reason == Running {
			now := time.Now()
			lag := now.Sub(last.Time())
			s.update(func(st *Status) { st.Lag, st.LagAt, st.Progress = lag, now, now })
			if f := s.cfg.Events.Applied; f != nil {
				f(s.cfg.Origin, e.Lane, changes, lag)
			}
		}
		return s.core.Applied(e.Lane, e.Position, reason)
	}
	select {
	case s.events <- event:
		if reason == Running && s.cfg.Prompt != nil && s.cfg.Prompt(e.Lane) {
			s.askPrompt()
		}
		return nil
	case <-s.ctx.Done():
		s.mu.Lock()
		s.late = append(s.late, event)
		s.mu.Unlock()
		return s.ctx.Err()
	}
}

func (s *session) readLog(e Effect) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	inc := s.incarnation()
	entries, done, trimmed, err := s.Session.ReadLog(ctx, e.Lane, inc, e.Seq, s.cfg.PageBytes)
	if err == nil && !trimmed {
		if f := s.cfg.Events.LogRead; f != nil {
			f(s.cfg.Origin, e.Lane, len(entries))
		}
		return s.report(func() []Effect { return s.core.LogPage(e.Lane, inc, entries, done) })
	}
	if reportErr := s.report(func() []Effect { return s.core.LogFailed(e.Lane, trimmed) }); reportErr != nil {
		return reportErr
	}
	if trimmed || globaltable.KindOf(err) == globaltable.InUse || globaltable.KindOf(err) == globaltable.Denied {
		return nil // an answer: the heartbeat will tell more
	}
	return err
}

func (s *session) fetchCatalog() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.FetchCatalog(ctx); err != nil {
		return err
	}
	return s.report(func() []Effect {
		// If what was fetched does not help, lanes stop again; then they wait for the ticker, so that this does not spin.
		if time.Since(s.resumed) < s.cfg.Interval {
			return nil
		}
		s.resumed = time.Now()
		return s.core.Tick()
	})
}

// heartbeats exchanges one now and then one each interval. A failure ends the session: whatever the link does, the next one is new.
func (s *session) heartbeats() error {
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		var own []LanePosition
		err := s.report(func() []Effect {
			own = s.core.Positions()
			return nil
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
		h, err := s.Session.Heartbeat(ctx, own)
		cancel()
		if err != nil {
			return err
		}
		err = s.report(func() []Effect {
			effects := s.core.Heartbeat(h)
			s.update(func(st *Status) {
				st.Heard, st.Lanes = time.Now(), s.core.Positions()
				if !slices.ContainsFunc(st.Lanes, LanePosition.behind) {
					st.Progress = st.Heard
				}
			})
			return effects
		})
		if err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

func (s *session) askPrompt() {
	select {
	case s.prompt <- struct{}{}:
	default: // it is going to look anyway
	}
}

// confirmations tells the origin at once how far the lanes are for which somebody waits there. One is under way at a time, so what is applied meanwhile goes
// together: the farther the origin, the more of it. That it cannot be told ends no session: if the link is broken, the heartbeat finds out.
func (s *session) confirmations() error {
	for {
		select {
		case <-s.prompt:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		var own []LanePosition
		err := s.report(func() []Effect {
			own = slices.DeleteFunc(s.core.Positions(), func(p LanePosition) bool { return !s.cfg.Prompt(p.Lane) })
			return nil
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
		_ = s.Session.Confirm(ctx, own)
		cancel()
	}
}

// incarnation asks the loop's core; only callable outside the loop.
func (s *session) incarnation() (inc globaltable.Incarnation) {
	_ = s.report(func() []Effect {
		inc = s.core.Incarnation()
		return nil
	})
	return inc
}

// puller hands one lane's stream messages to the loop while its gate is open.
type puller struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
	is   bool
}

func (p *puller) gate(open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open == p.is {
		return
	}
	p.is = open
	if open {
		close(p.open)
	} else {
		p.open = make(chan struct{})
	}
}

func (p *puller) wait(ctx context.Context) bool {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	select {
	case <-open:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *session) open(lane globaltable.LaneID) {
	if s.pulls[lane] != nil {
		return
	}
	p := &puller{open: make(chan struct{})}
	s.pulls[lane] = p
	s.group.Go(func() error {
		backoff := s.cfg.Interval
		for s.ctx.Err() == nil {
			// The origin may be making the stream anew: a failed pull is no reason to end the session, and the log is there meanwhile.
			_ = s.Pull(s.ctx, lane, s.cfg.WindowBytes, func(m bus.Message) {
				backoff = s.cfg.Interval
				if p.wait(s.ctx) {
					s.deliver(lane, m)
				}
			})
			wait(s.ctx, backoff)
			backoff = min(2*backoff, s.cfg.MaxBackoff)
		}
		return s.ctx.Err()
	})
}

// deliver waits until the loop has taken the message. What cannot be decoded is dropped: the gap that it leaves is read from the log.
func (s *session) deliver(lane globaltable.LaneID, m bus.Message) {
	msg, err := change.DecodeMessage(m.Data)
	if err != nil || msg.Lane != lane {
		return
	}
	_ = s.report(func() []Effect {
		if msg.Fragment == msg.Fragments-1 {
			acks := append(s.acks[lane], pendingAck{msg.Seq, m.Ack})
			s.acks[lane] = acks[max(0, len(acks)-maxAcks):]
		}
		return s.core.Message(msg)
	})
}

// acknowledge moves the stream's cursor to the newest message at or below the sequence.
func (s *session) acknowledge(e Effect) {
	acks := s.acks[e.Lane]
	var last func() error
	n := 0
	for n < len(acks) && acks[n].seq <= e.Seq {
		last = acks[n].ack
		n++
	}
	s.acks[e.Lane] = acks[n:]
	if last != nil {
		_ = last() // a lost acknowledgement brings a duplicate, which the sequence tells
	}
}
