package peer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/peer"
	"github.com/concordat-db/concordat/streams/trigger"
	"github.com/concordat-db/concordat/streams/watermark"
)

func TestMain(m *testing.M) {
	// nats-server's own: one goroutine for the process keeps the time for all file stores; a server that stops in the midst of making one can leave it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// The story's regions: eu is the origin that answers, us asks it, in is a third one. start is when it begins.
const (
	eu hlc.Origin = iota + 1
	us
	in
)

var (
	start    = time.UnixMilli(1_700_000_000_000)
	shared   = globaltable.NewPlacement(eu, us)
	foreign  = globaltable.NewPlacement(eu, in)
	everyone = globaltable.NewPlacement(eu, us, in)
)

func at(d time.Duration) hlc.Timestamp { return hlc.FromTime(start.Add(d)) }

// log is a region's change log in memory.
type log struct {
	incarnation globaltable.Incarnation
	clock       *hlc.Clock

	mu    sync.Mutex
	lanes []*lane
}

type lane struct {
	globaltable.Lane
	entries []change.Entry
	trimmed uint64
}

func (l *log) Incarnation() globaltable.Incarnation { return l.incarnation }

func (l *log) Heads(context.Context) (hlc.Timestamp, []peer.LaneHead, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []peer.LaneHead
	for _, ln := range l.lanes {
		out = append(out, ln.head())
	}
	return l.clock.Now(), out, nil
}

func (ln *lane) head() peer.LaneHead {
	h := peer.LaneHead{Lane: ln.Lane, Trimmed: ln.trimmed}
	if n := len(ln.entries); n > 0 {
		h.Seq, h.Chain = ln.entries[n-1].Seq, ln.entries[n-1].Chain
	}
	return h
}

func (l *log) find(id globaltable.LaneID) *lane {
	for _, ln := range l.lanes {
		if ln.ID == id {
			return ln
		}
	}
	return nil
}

func (l *log) Head(id globaltable.LaneID) (peer.LaneHead, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln := l.find(id); ln != nil {
		return ln.head(), true
	}
	return peer.LaneHead{}, false
}

func (l *log) ReadLog(id globaltable.LaneID, from uint64, maxBytes int) (out []change.Entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.find(id)
	if from <= ln.trimmed {
		return nil, change.ErrTrimmed
	}
	size := 0
	for i := from; i <= uint64(len(ln.entries)) && (len(out) == 0 || size < maxBytes); i++ {
		out = append(out, ln.entries[i-1])
		size += len(ln.entries[i-1].Body)
	}
	return out, nil
}

// write appends an entry with a body of the size given to the placement's lane.
func (l *log) write(p globaltable.Placement, size int) change.Entry {
	return l.writeTo(p.Lane(), p, size)
}

func (l *log) writeTo(id globaltable.LaneID, p globaltable.Placement, size int) change.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.find(id)
	if ln == nil {
		ln = &lane{Lane: globaltable.Lane{ID: id, Placement: p}}
		l.lanes = append(l.lanes, ln)
	}
	var chain globaltable.Chain
	seq := uint64(len(ln.entries) + 1)
	if seq > 1 {
		chain = ln.entries[seq-2].Chain
	}
	e := change.Entry{Body: make([]byte, size)}
	state := seq
	for i := range e.Body { // noise, so that it cannot be compressed
		state = state*6364136223846793005 + 1442695040888963407
		e.Body[i] = byte(state >> 56)
	}
	e.Header = change.Seal(chain, seq, e.Body, 1, l.clock.Now())
	ln.entries = append(ln.entries, e)
	return e
}

// region is one side: a log, a matrix, a clock, and what was reported of it.
type region struct {
	descriptor globaltable.Descriptor
	key        nkeys.KeyPair
	token      string
	log        *log
	matrix     *watermark.Matrix
	clock      *hlc.Clock
	peers      map[string]globaltable.Descriptor
	heard      chan string          // who has told of triggers
	gossip     chan *trigger.Gossip // and what

	mu        sync.Mutex
	physical  time.Time
	known     map[hlc.Origin]globaltable.Incarnation
	confirmed []confirmation
	past      []confirmation // likewise, behind the clock
	regressed []string
	met       []globaltable.Incarnation
	asked     []string // of the control plane
	offset    time.Duration
	forwards  func(asker, operation string, parameters []byte) (peer.Forwarded, []byte, error) // nil: none
	// forwardless: the service is told neither of forwarded requests nor of what may be sent.
	forwardless bool
	denied      []string // peers, once for each denied request
	maySend     func(asker hlc.Origin, lane globaltable.LaneID, e *change.Entry) error
	trusts      func(hlc.Origin, globaltable.Incarnation) (bool, globaltable.Version) // nil: everybody
	fenced      func(origin string, is bool, by globaltable.Version)
}

type confirmation struct {
	peer hlc.Origin
	lane globaltable.LaneID
	seq  uint64
}

func newRegion(t testing.TB, name, jurisdiction string, origin hlc.Origin) *region {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &region{key: key, descriptor: globaltable.Descriptor{Name: name, Jurisdiction: jurisdiction, Origin: origin, PublicKey: public},
		matrix: watermark.New(), peers: map[string]globaltable.Descriptor{}, known: map[hlc.Origin]globaltable.Incarnation{}, physical: start}
	r.token = sign(t, r.descriptor, key)
	r.clock = hlc.NewClock(r.now, 500*time.Millisecond)
	r.log = &log{incarnation: 100, clock: r.clock}
	return r
}

func sign(t testing.TB, d globaltable.Descriptor, key nkeys.KeyPair) string {
	t.Helper()
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	d.PublicKey = public
	token, err := globaltable.Sign(&d, key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (r *region) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.physical
}

func (r *region) trusted(o hlc.Origin, incarnation globaltable.Incarnation) (bool, globaltable.Version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trusts == nil {
		return true, 0
	}
	return r.trusts(o, incarnation)
}

func (r *region) incarnationOf(o hlc.Origin) globaltable.Incarnation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[o]
}

func (r *region) tellRegressed(_, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.regressed = append(r.regressed, reason)
}

func (r *region) service() *peer.Service {
	cfg := peer.ServiceConfig{
		Self: r.descriptor, Descriptor: r.token, Log: r.log, Matrix: r.matrix, Clock: r.clock.Last, Observe: r.clock.Observe,
		Regions: func(name string) (globaltable.Descriptor, bool) {
			d, ok := r.peers[name]
			return d, ok
		},
		Physical: func() int64 { return r.now().UnixMilli() }, Known: r.incarnationOf, Regressed: r.tellRegressed, Trusts: r.trusted,
		Met: func(_ string, known globaltable.Incarnation) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.met = append(r.met, known)
		},
		Confirmed: func(p hlc.Origin, _ globaltable.Incarnation, lane globaltable.LaneID, seq uint64, past bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.confirmed = append(r.confirmed, confirmation{p, lane, seq})
			if past {
				r.past = append(r.past, confirmation{p, lane, seq})
			}
		},
		Control: func(_ context.Context, from string, request []byte) ([]byte, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.asked = append(r.asked, from+" "+string(request))
			var kind *globaltable.Kind
			if err := json.Unmarshal(request, &kind); err == nil && kind != nil {
				return nil, &globaltable.Error{Op: "create table", Resource: "orders", Kind: *kind, Message: "as asked"}
			}
			return []byte(`{"answer":42}`), nil
		},
		Exchange: r.exchange, Digests: r.digests, Repair: r.repair, HandOver: r.handOver, Offered: r.offered, Triggers: r.triggers,
		Forward: func(_ context.Context, asker globaltable.Descriptor, q peer.ForwardRequest) (peer.Forwarded, []byte, error) {
			if q.Tables != nil && !slices.Equal(q.Tables, forwardedTables) {
				return peer.Forwarded{}, nil, &globaltable.Error{Op: "serve", Kind: globaltable.Corrupt, Message: fmt.Sprint("tables ", q.Tables)}
			}
			return r.forwards(asker.Name, q.Operation, q.Parameters)
		},
		MaySend: func(asker hlc.Origin, lane globaltable.LaneID, e *change.Entry) error {
			if r.maySend == nil {
				return nil
			}
			return r.maySend(asker, lane, e)
		},
		Denied: func(peer string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.denied = append(r.denied, peer)
		},
	}
	if r.forwardless {
		cfg.Forward, cfg.MaySend, cfg.Denied = nil, nil, nil
	}
	return peer.NewService(cfg)
}

// session says how r meets the origin over a link.
func (r *region) session(origin *region, dial func() (bus.Link, error)) *peer.SessionConfig {
	return &peer.SessionConfig{
		Self: r.descriptor, Descriptor: r.token, Origin: origin.descriptor, Log: r.log, Matrix: r.matrix, Clock: r.clock.Last, Observe: r.clock.Observe,
		Dial: func(context.Context) (bus.Link, error) { return dial() }, Known: r.incarnationOf,
		Physical: func() int64 { return r.now().UnixMilli() }, Regressed: r.tellRegressed, Fenced: r.fenced,
		Offset: func(_ hlc.Origin, ahead, _ time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.offset = ahead
		},
		Catalog: func(ctx context.Context, c peer.Client) error {
			_, err := c.Control(ctx, []byte(`"catalog"`))
			return err
		},
	}
}

// story is eu serving, and us dialling it.
type story struct {
	t      testing.TB
	eu, us *region
	dial   func() (bus.Link, error)
}

func newStory(t testing.TB) *story {
	s := &story{t: t, eu: newRegion(t, "eu", "EU", eu), us: newRegion(t, "us", "US", us)}
	third := newRegion(t, "in", "IN", in)
	s.eu.peers = map[string]globaltable.Descriptor{"us": s.us.descriptor, "in": third.descriptor}
	s.us.peers = map[string]globaltable.Descriptor{"eu": s.eu.descriptor, "in": third.descriptor}
	return s
}

// inMemory serves over a network in memory.
func inMemory(t testing.TB) *story {
	s := newStory(t)
	network := bus.NewMemoryNetwork()
	s.dial = func() (bus.Link, error) { return network.Dial("us", "eu"), nil }
	s.serve(network.Home("eu"))
	return s
}

// embedded serves over a NATS server in this process.
func embedded(t testing.TB) *story {
	s := newStory(t)
	home, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Region: "eu", Dir: t.TempDir(), DontListen: true, Log: zerolog.Nop(),
		Peers: []bus.Peer{{Name: "us", PublicKey: s.us.descriptor.PublicKey}}})
	if err != nil {
		t.Fatal(err)
	}
	s.dial = func() (bus.Link, error) {
		return bus.Dial(t.Context(), bus.DialConfig{Region: "us", Peer: "eu", InProcess: home.Server(), Key: s.us.key, Log: zerolog.Nop()})
	}
	s.serve(home)
	return s
}

// onEachBus runs a test over both.
func onEachBus(t *testing.T, f func(t *testing.T, s *story)) {
	t.Run("memory", func(t *testing.T) { f(t, inMemory(t)) })
	t.Run("embedded", func(t *testing.T) { f(t, embedded(t)) })
}

// serve serves until the test ends. It returns when eu answers.
func (s *story) serve(home bus.Home) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- home.Serve(ctx, s.eu.service().Handle) }()
	s.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, home.Close()); err != nil {
			s.t.Error(err)
		}
	})
	link, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	for err = bus.ErrNoService; errors.Is(err, bus.ErrNoService); {
		err = link.Request(s.t.Context(), []byte("{}"), func([]byte) error { return nil })
	}
	if err = errors.Join(err, link.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// client is a bare client on a new link.
func (s *story) client() peer.Client {
	s.t.Helper()
	link, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	s.closing(link)
	return peer.NewClient(link)
}

func (s *story) connect() *peer.Session {
	s.t.Helper()
	session, err := peer.Connect(s.t.Context(), s.us.session(s.eu, s.dial))
	if err != nil {
		s.t.Fatal(err)
	}
	s.closing(session)
	return session
}

func (s *story) closing(c interface{ Close() error }) {
	s.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			s.t.Error(err)
		}
	})
}

// expectKind checks an error's kind, and that it says what it should.
func expectKind(t testing.TB, err error, kind globaltable.Kind, text string) {
	t.Helper()
	var e *globaltable.Error
	if !errors.As(err, &e) || e.Kind != kind || !bytes.Contains([]byte(err.Error()), []byte(text)) {
		t.Errorf("error %v; want kind %v and %q", err, kind, text)
	}
}

func expectEqual[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
