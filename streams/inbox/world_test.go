package inbox_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/outbox"
	"github.com/concordat-db/concordat/streams/peer"
	"github.com/concordat-db/concordat/streams/watermark"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const table = globaltable.TableID(0x1000)

// The table's one placement and its lane.
var (
	both = globaltable.NewPlacement(1, 2)
	lane = both.Lane()
)

// world is two regions, eu (1) and us (2), with real shards on stores in memory, on a bus in memory. It lives in a synctest bubble: its time is
// virtual, and when nothing moves any more a test can tell.
type world struct {
	t       *testing.T
	network *bus.MemoryNetwork
	eu, us  *region
}

// setup adjusts a region before it starts.
type setup struct {
	streamBytes int64
	outbox      outbox.Limits
	inbox       inbox.Limits
	prompt      bool // somebody waits for the lane's confirmations
}

// region is one side: what lives on over restarts, and what runs now.
type region struct {
	w          *world
	descriptor globaltable.Descriptor
	token      string
	setup      setup
	other      *region
	engine     *store.Memory
	catalog    catalog
	ahead      atomic.Int64 // of the wall clock, in nanoseconds
	fetches    atomic.Int64
	fetchHelps bool

	shard  *commit.Shard
	matrix *watermark.Matrix
	outbox *outbox.Runner
	inbox  *inbox.Runner
	stop   func()

	mu     sync.Mutex
	events events
}

// events are what a region's runners reported.
type events struct {
	attempts, connected, disconnected int
	applied                           int // changes
	logRead                           int // entries
	resets                            int
	stops                             []inbox.Stop
	regressed                         []string
}

// catalog has one table, under a version that tests move.
type catalog struct{ version atomic.Uint64 }

func (c *catalog) Place(id globaltable.TableID, _ []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool) {
	return both, lane, globaltable.Version(c.version.Load()), id == table
}

func (c *catalog) Admits(id globaltable.TableID, _ []byte, _ globaltable.Version) bool {
	return id == table
}

func (c *catalog) Trusts(hlc.Origin, globaltable.Incarnation) bool       { return true }
func (c *catalog) Excludes(globaltable.TableID, []byte, hlc.Origin) bool { return false }
func (c *catalog) Placing(globaltable.TableID) globaltable.Version       { return 0 }

func (c *catalog) Version(globaltable.TableID) globaltable.Version {
	return globaltable.Version(c.version.Load())
}

func (c *catalog) Settled(globaltable.TableID) bool { return true }

func (c *catalog) Expiry(globaltable.TableID) conflict.Expiry { return nil }

func (*catalog) Foreign(globaltable.TableID, []byte, globaltable.Version) bool { return false }
func (*catalog) Pinned() bool                                                  { return false }
func (*catalog) Stream(globaltable.TableID) (int64, globaltable.StreamView, bool) {
	return 0, "", false
}
func (*catalog) Indexed(globaltable.TableID) *globaltable.Table       { return nil }
func (*catalog) KeySchema(globaltable.TableID) *globaltable.KeySchema { return nil }
func (*catalog) Prepare([]item.Item) (commit.Adoption, error)         { return commit.Adoption{}, nil }

// inWorld runs a story with both regions up.
func inWorld(t *testing.T, s setup, story func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, network: bus.NewMemoryNetwork()}
		w.eu, w.us = w.newRegion("eu", 1, s), w.newRegion("us", 2, s)
		w.eu.other, w.us.other = w.us, w.eu
		w.eu.start(store.NewMemory())
		w.us.start(store.NewMemory())
		defer func() {
			w.eu.stop()
			w.us.stop()
		}()
		story(t, w)
	})
}

func (w *world) newRegion(name string, origin hlc.Origin, s setup) *region {
	key, err := nkeys.CreateUser()
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		w.t.Fatal(err)
	}
	r := &region{w: w, setup: s, fetchHelps: true,
		descriptor: globaltable.Descriptor{Name: name, Jurisdiction: strings.ToUpper(name), Origin: origin, PublicKey: public}}
	if r.token, err = globaltable.Sign(&r.descriptor, key); err != nil {
		w.t.Fatal(err)
	}
	r.catalog.version.Store(1)
	return r
}

func (r *region) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

func (r *region) physical() int64 { return r.now().UnixMilli() }

// note records an event.
func (r *region) note(f func(*events)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.events)
}

func (r *region) seen() events {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events
}

// start opens the region's store and runs everything, as a node does.
func (r *region) start(engine *store.Memory) {
	r.w.t.Helper()
	r.engine, r.matrix = engine, watermark.New()
	clock := hlc.NewClock(r.now, 500*time.Millisecond)
	var err error
	r.shard, err = commit.Open(commit.Config{Origin: r.descriptor.Origin, Engine: engine, Clock: clock, Catalog: &r.catalog,
		Events: commit.Events{Durable: func(l globaltable.Lane, entries []change.Entry) { r.outbox.Fresh(l, entries) }}})
	if err != nil {
		r.w.t.Fatal(err)
	}
	home := r.w.network.Home(r.descriptor.Name)
	r.outbox = outbox.NewRunner(outbox.RunnerConfig{Self: r.descriptor.Origin, Incarnation: r.shard.Incarnation(), Home: home, Log: log{r.shard},
		Floor: r.matrix.Purge, Name: func(hlc.Origin) string { return r.other.descriptor.Name }, Limits: r.setup.outbox, StreamBytes: r.setup.streamBytes,
		Events: outbox.Events{Reset: func(globaltable.LaneID) { r.note(func(e *events) { e.resets++ }) }}})
	r.inbox = r.newInbox(clock)
	service := peer.NewService(peer.ServiceConfig{
		Self: r.descriptor, Descriptor: r.token, Log: log{r.shard}, Matrix: r.matrix, Clock: clock.Last, Observe: clock.Observe, Physical: r.physical, Known: r.known,
		Regions: func(name string) (globaltable.Descriptor, bool) {
			return r.other.descriptor, name == r.other.descriptor.Name
		},
		ConfirmedBy: r.shard.ConfirmedBy,
		Confirmed: func(p hlc.Origin, store globaltable.Incarnation, l globaltable.LaneID, seq uint64, _ bool) {
			r.shard.ConfirmPeer(p, store, l, seq)
			r.outbox.Confirmed(p, l, seq)
		},
		Regressed: r.regressed,
		Control:   func(context.Context, string, []byte) ([]byte, error) { return []byte("1"), nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	shardCtx, stopShard := context.WithCancel(context.Background())
	var running, shard sync.WaitGroup
	run := func(group *sync.WaitGroup, ctx context.Context, f func(context.Context) error) {
		group.Go(func() {
			if err := f(ctx); err != nil {
				r.w.t.Errorf("%s: %v", r.descriptor.Name, err)
			}
		})
	}
	run(&shard, shardCtx, r.shard.Run)
	heads, err := r.shard.Heads(ctx)
	if err != nil {
		r.w.t.Fatal(err)
	}
	for _, h := range heads.Lanes {
		r.outbox.AddLane(h.Lane, h.Seq, h.Trimmed)
	}
	for _, c := range r.shard.Confirmations() {
		r.outbox.Confirmed(c.Peer, c.Lane, c.Seq)
	}
	run(&running, ctx, r.outbox.Run)
	run(&running, ctx, r.inbox.Run)
	run(&running, ctx, func(ctx context.Context) error { return home.Serve(ctx, service.Handle) })
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := home.Close(); err != nil {
			r.w.t.Error(err)
		}
		stopShard()
		shard.Wait()
	})
}

func (r *region) newInbox(clock *hlc.Clock) *inbox.Runner {
	origin := r.other.descriptor.Origin
	positions := map[globaltable.LaneID]globaltable.Position{}
	for _, p := range r.shard.Positions() {
		positions[p.Lane] = p.Position
	}
	session := &peer.SessionConfig{
		Self: r.descriptor, Descriptor: r.token, Origin: r.other.descriptor, Log: log{r.shard}, Matrix: r.matrix, Clock: clock.Last, Observe: clock.Observe, Known: r.known,
		Physical: r.physical, Offset: func(hlc.Origin, time.Duration, time.Duration) {}, Regressed: r.regressed,
		Dial: func(context.Context) (bus.Link, error) {
			r.note(func(e *events) { e.attempts++ })
			return r.w.network.Dial(r.descriptor.Name, r.other.descriptor.Name), nil
		},
		Catalog: func(context.Context, peer.Client) error {
			r.fetches.Add(1)
			if r.fetchHelps {
				r.catalog.version.Store(r.other.catalog.version.Load())
			}
			return nil
		},
	}
	return inbox.NewRunner(inbox.RunnerConfig{
		Origin: origin, Store: applier{r}, Incarnation: r.known(origin), Positions: positions, Limits: r.setup.inbox, PageBytes: 64 << 10,
		Prompt: func(globaltable.LaneID) bool { return r.setup.prompt },
		Connect: func(ctx context.Context) (inbox.Session, error) {
			s, err := peer.Connect(ctx, session)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Mark: func(o hlc.Origin, t hlc.Timestamp) { r.matrix.Mark(r.descriptor.Origin, o, t) },
		Events: inbox.Events{
			Connected:    func(hlc.Origin) { r.note(func(e *events) { e.connected++ }) },
			Disconnected: func(hlc.Origin, error) { r.note(func(e *events) { e.disconnected++ }) },
			Stopped: func(_ hlc.Origin, _ globaltable.LaneID, reason inbox.Stop, err error) {
				if err == nil {
					r.note(func(e *events) { e.stops = append(e.stops, reason) })
				}
			},
			LogRead: func(_ hlc.Origin, _ globaltable.LaneID, n int) { r.note(func(e *events) { e.logRead += n }) },
			Applied: func(_ hlc.Origin, _ globaltable.LaneID, n int, _ time.Duration) {
				r.note(func(e *events) { e.applied += n })
			},
		},
	})
}

func (r *region) regressed(_, reason string) {
	r.note(func(e *events) { e.regressed = append(e.regressed, reason) })
}

func (r *region) known(o hlc.Origin) globaltable.Incarnation {
	newest := r.shard.Revoked(o)
	for _, p := range r.shard.Positions() {
		newest = max(newest, p.Incarnation)
	}
	return newest
}

// restart kills the region and starts it from what its disk kept.
func (r *region) restart() {
	r.stop()
	r.start(r.engine.Crash(nil))
}

// log is a shard as the streams read it.
type log struct{ *commit.Shard }

func (l log) Heads(ctx context.Context) (hlc.Timestamp, []peer.LaneHead, error) {
	heads, err := l.Shard.Heads(ctx)
	var out []peer.LaneHead
	for _, h := range heads.Lanes {
		out = append(out, peer.LaneHead{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain, Trimmed: h.Trimmed})
	}
	return heads.HLC, out, err
}

func (l log) Head(id globaltable.LaneID) (peer.LaneHead, bool) {
	h, ok := l.Shard.Head(id)
	return peer.LaneHead{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain, Trimmed: h.Trimmed}, ok
}

// applier is a shard as an inbox applies to it.
type applier struct{ *region }

func (a applier) Apply(ctx context.Context, b inbox.Batch) (inbox.Stop, error) {
	_, err := a.shard.ApplyRemote(ctx, &commit.Remote{Source: b.Source, Entries: b.Entries, Position: b.Position})
	var ahead *hlc.AheadError
	var position *commit.PositionError
	switch {
	case err == nil:
		return inbox.Running, nil
	case errors.Is(err, commit.ErrCatalogBehind):
		return inbox.CatalogBehind, err
	case errors.As(err, &ahead):
		return inbox.ClockAhead, err
	case errors.As(err, &position):
		a.w.t.Errorf("%s: the inbox gives what does not follow: %v", a.descriptor.Name, err)
	}
	return inbox.ApplyFailed, err
}

func (a applier) Revoke(ctx context.Context, origin hlc.Origin, inc globaltable.Incarnation) error {
	return a.shard.Revoke(ctx, origin, inc-1)
}

// write puts count new items with values of the size given, one write each.
func (r *region) write(count, size int) {
	r.w.t.Helper()
	for range count {
		if err := r.put(rand.Uint64(), size); err != nil {
			r.w.t.Fatal(err)
		}
	}
}

// put puts an item whose value cannot be compressed.
func (r *region) put(id uint64, size int) error {
	pk := item.AppendInt(nil, int64(id>>1))
	key, err := item.AppendKey(nil, pk, nil)
	if err != nil {
		return err
	}
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], id)
	value := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(value) // never fails
	var b item.Builder
	b.Add([]byte("id"), pk)
	b.Add([]byte("v"), item.AppendBinary(nil, value))
	it, err := b.AppendItem(nil)
	if err != nil {
		return err
	}
	return r.shard.Write(r.w.t.Context(), &commit.Write{Keys: []commit.Key{{Table: table, Bytes: key}},
		Plan: func([]commit.Current) ([][]conflict.Op, error) {
			return [][]conflict.Op{conflict.RecordPut(nil, it)}, nil
		}})
}

// head is the newest entry of the region's own lane.
func (r *region) head() commit.LaneHead {
	r.w.t.Helper()
	heads, err := r.shard.Heads(r.w.t.Context())
	if err != nil {
		r.w.t.Fatal(err)
	}
	if len(heads.Lanes) == 0 {
		return commit.LaneHead{}
	}
	return heads.Lanes[0]
}

// position is how far the region has applied the other one's lane.
func (r *region) position() globaltable.Position {
	return r.shard.Position(change.Source{Origin: r.other.descriptor.Origin, Lane: lane})
}

// caughtUp reports whether the region has applied all that the other one has written.
func (r *region) caughtUp() bool {
	head := r.other.head()
	return r.position().Seq == head.Seq && (head.Seq == 0 || r.position().Chain == head.Chain)
}

// until lets virtual time pass until ok; it fails when that takes more than five minutes.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for range 3000 {
		synctest.Wait()
		if ok() {
			return
		}
		w.pass(100 * time.Millisecond)
	}
	w.t.Fatalf("never: %s\neu %+v\nus %+v\nfrom eu %+v\nfrom us %+v", what, w.eu.seen(), w.us.seen(), w.us.inbox.Status(), w.eu.inbox.Status())
}

// pass lets virtual time pass.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// converge waits until both have everything, and compares what they have.
func (w *world) converge() {
	w.t.Helper()
	w.until("both have everything", func() bool { return w.eu.caughtUp() && w.us.caughtUp() })
	a, err := w.eu.shard.Digests(w.t.Context(), table)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := w.us.shard.Digests(w.t.Context(), table)
	if err != nil {
		w.t.Fatal(err)
	}
	if *a != *b {
		w.t.Error("the regions have everything and differ")
	}
}

// connected waits until both hear each other.
func (w *world) connected() {
	w.t.Helper()
	w.until("both are connected", func() bool {
		return w.eu.inbox.Status().Connected && w.us.inbox.Status().Connected && !cmp.Or(w.eu.inbox.Status().Heard, w.us.inbox.Status().Heard).IsZero()
	})
}
