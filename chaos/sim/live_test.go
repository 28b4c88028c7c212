package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/chaos/check"
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

// The second tier of simulation: real shards on real Pebble over a file system in memory that can crash, real embedded NATS with its files, real runners and
// sessions, in virtual time. Goroutines run as they like, so there is no trace to replay, and only logical state is asserted.

const (
	liveRegions = 3
	liveClients = 3 // of each region; each writes keys of its own
	liveKeys    = 9
	liveTable   = 1000
)

// liveWorld is all of one run.
type liveWorld struct {
	t         *testing.T
	rng       *rand.Rand // of the faults; one goroutine
	placement globaltable.Placement
	regions   []*liveRegion

	mu      sync.Mutex // guards what follows, and links
	history []*operation
	pending map[pendingKey]*operation
	ledger  *check.Ledger
	found   []check.Violation
	links   map[[2]hlc.Origin][]bus.Link
	cut     map[[2]hlc.Origin]bool
}

type pendingKey struct {
	region hlc.Origin
	key    string
}

// liveRegion is one region over all its lives.
type liveRegion struct {
	*liveWorld
	origin hlc.Origin
	dir    string // JetStream's
	fs     *vfs.MemFS

	// of the present life
	up      bool // under mu; nothing that happens after a crash counts
	engine  *store.Pebble
	shard   *commit.Shard
	outbox  *outbox.Runner
	home    *bus.Embedded
	matrix  *watermark.Matrix
	clock   *hlc.Clock
	inboxes []*inbox.Runner
	seen    map[globaltable.LaneID]uint64
	cancel  context.CancelFunc
	ended   chan error
}

func userKey(o hlc.Origin) nkeys.KeyPair {
	seed := make([]byte, 32)
	seed[0] = byte(o)
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed)
	if err != nil {
		panic(err)
	}
	return key
}

// liveCatalog has one table, everywhere.
type liveCatalog struct{ globaltable.Placement }

func (c liveCatalog) Place(globaltable.TableID, []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool) {
	return c.Placement, c.Lane(), 1, true
}
func (c liveCatalog) Admits(globaltable.TableID, []byte, globaltable.Version) bool { return true }
func (c liveCatalog) Trusts(hlc.Origin, globaltable.Incarnation) bool              { return true }
func (c liveCatalog) Excludes(globaltable.TableID, []byte, hlc.Origin) bool        { return false }
func (c liveCatalog) Placing(globaltable.TableID) globaltable.Version              { return 0 }
func (c liveCatalog) Version(globaltable.TableID) globaltable.Version              { return 1 }
func (c liveCatalog) Settled(globaltable.TableID) bool                             { return true }
func (c liveCatalog) Expiry(globaltable.TableID) conflict.Expiry                   { return nil }
func (liveCatalog) Foreign(globaltable.TableID, []byte, globaltable.Version) bool  { return false }
func (liveCatalog) Pinned() bool                                                   { return false }
func (liveCatalog) Stream(globaltable.TableID) (int64, globaltable.StreamView, bool) {
	return 0, "", false
}
func (liveCatalog) Indexed(globaltable.TableID) *globaltable.Table       { return nil }
func (liveCatalog) KeySchema(globaltable.TableID) *globaltable.KeySchema { return nil }
func (liveCatalog) Prepare([]item.Item) (commit.Adoption, error)         { return commit.Adoption{}, nil }

// start begins a life.
func (r *liveRegion) start() {
	t := r.t
	var err error
	r.engine, err = store.OpenPebble(store.Config{Dir: "store", FS: errorfs.Wrap(r.fs, slowLog), CacheBytes: 1 << 20, MemTableBytes: 1 << 20,
		OnFatal: func(err error) { r.find("panic", fmt.Sprintf("the store failed: %v", err)) }})
	if err != nil {
		t.Fatal(err)
	}
	r.clock, r.matrix = hlc.NewClock(time.Now, 0), watermark.New()
	r.outbox = nil
	r.shard, err = commit.Open(commit.Config{Origin: r.origin, Engine: r.engine, Clock: r.clock, Catalog: liveCatalog{r.placement},
		Events: commit.Events{Durable: r.durable}})
	if err != nil {
		t.Fatal(err)
	}
	life, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan error, 2)
	shard := r.shard
	go func() { r.ended <- shard.Run(life) }() // by itself: when a crash takes the bus away, writes go on until the disk is gone too
	group, ctx := errgroup.WithContext(life)
	heads, err := r.shard.Heads(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.learn(heads.Lanes)
	var peers []bus.Peer
	for _, o := range r.placement.Peers(r.origin) {
		peers = append(peers, bus.Peer{Name: nameOf(o), PublicKey: identities()[o].descriptor.PublicKey})
	}
	home, err := bus.StartEmbedded(ctx, bus.EmbeddedConfig{Region: nameOf(r.origin), Dir: r.dir, DontListen: true, Peers: peers, MaxStore: 1 << 30, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	out := outbox.NewRunner(outbox.RunnerConfig{Self: r.origin, Incarnation: r.shard.Incarnation(), Home: home, Log: liveLog{r}, Floor: r.matrix.Purge, Name: nameOf,
		StreamBytes: 1 << 20})
	for _, h := range heads.Lanes {
		out.AddLane(h.Lane, h.Seq, h.Trimmed)
	}
	r.mu.Lock()
	r.outbox, r.home, r.up = out, home, true
	r.mu.Unlock()
	service := peer.NewService(r.serviceConfig())
	group.Go(func() error { return out.Run(ctx) })
	group.Go(func() error { return home.Serve(ctx, service.Handle) })
	r.inboxes = nil
	for _, o := range r.placement.Peers(r.origin) {
		in := r.newInbox(o)
		r.inboxes = append(r.inboxes, in)
		group.Go(func() error { return in.Run(ctx) })
	}
	go func() { r.ended <- group.Wait() }()
}

// slowLog makes a sync of Pebble's log take its time, so that crashes find writes applied and not yet durable. Other syncs happen under locks, on which a
// bubble's time would stand still.
var slowLog = errorfs.InjectorFunc(func(op errorfs.Op) error {
	if (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.HasSuffix(op.Path, ".log") {
		time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond)
	}
	return nil
})

// crash ends a life as a power cut does: first nobody hears from the region any more, then its disk is as it is.
func (r *liveRegion) crash() {
	if err := r.home.Close(); err != nil {
		r.t.Errorf("closing the bus: %v", err)
	}
	r.mu.Lock()
	r.up = false
	disk := r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.rng.IntN(101), RNG: r.rng})
	r.mu.Unlock()
	r.stop()
	r.fs = disk
}

// stop ends what runs.
func (r *liveRegion) stop() {
	r.cancel()
	for range cap(r.ended) {
		if err := <-r.ended; err != nil && !errors.Is(err, bus.ErrClosed) {
			r.t.Errorf("region %d ended: %v", r.origin, err)
		}
	}
	if err := r.engine.Close(); err != nil {
		r.t.Errorf("closing the store: %v", err)
	}
}

// damage does to JetStream's files what a power cut or an operator may: deletes them, or brings an old copy back.
func (r *liveRegion) damage(old string) string {
	switch r.rng.IntN(3) {
	case 0:
		r.must(os.RemoveAll(r.dir))
		return "deleted"
	case 1:
		r.must(os.RemoveAll(r.dir))
		r.must(os.CopyFS(r.dir, os.DirFS(old)))
		return "rolled back"
	}
	return "kept"
}

func (r *liveRegion) must(err error) {
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *liveRegion) serviceConfig() peer.ServiceConfig {
	return peer.ServiceConfig{
		Self: identities()[r.origin].descriptor, Descriptor: identities()[r.origin].token, Log: liveLog{r}, Matrix: r.matrix,
		Regions: func(name string) (globaltable.Descriptor, bool) {
			for _, id := range identities() {
				if id.descriptor.Name == name {
					return id.descriptor, true
				}
			}
			return globaltable.Descriptor{}, false
		},
		Clock: r.clock.Last, Observe: r.clock.Observe, Physical: func() int64 { return time.Now().UnixMilli() },
		Known: func(hlc.Origin) globaltable.Incarnation { return 0 },
		Confirmed: func(p hlc.Origin, _ globaltable.Incarnation, lane globaltable.LaneID, seq uint64, _ bool) {
			r.outbox.Confirmed(p, lane, seq)
		},
		Regressed: func(name, reason string) { r.find("I17", "regressed, says "+name+": "+reason) },
		Control:   func(context.Context, string, []byte) ([]byte, error) { return []byte("{}"), nil },
	}
}

func (r *liveRegion) newInbox(origin hlc.Origin) *inbox.Runner {
	at := map[globaltable.LaneID]globaltable.Position{}
	var incarnation globaltable.Incarnation
	for _, p := range r.shard.Positions() {
		if p.Origin == origin {
			at[p.Lane], incarnation = p.Position, p.Position.Incarnation
		}
	}
	cfg := &peer.SessionConfig{
		Self: identities()[r.origin].descriptor, Descriptor: identities()[r.origin].token, Origin: identities()[origin].descriptor, Log: liveLog{r},
		Matrix: r.matrix, Clock: r.clock.Last, Observe: r.clock.Observe, Known: func(hlc.Origin) globaltable.Incarnation { return 0 },
		Physical: func() int64 { return time.Now().UnixMilli() }, Offset: func(hlc.Origin, time.Duration, time.Duration) {},
		Regressed: func(name, reason string) { r.find("I17", "regressed, says "+name+": "+reason) },
		Dial:      func(ctx context.Context) (bus.Link, error) { return r.dial(ctx, origin) },
		Catalog:   func(context.Context, peer.Client) error { return nil },
	}
	return inbox.NewRunner(inbox.RunnerConfig{Origin: origin, Store: liveStore{r}, Incarnation: incarnation, Positions: at,
		Mark: func(o hlc.Origin, t hlc.Timestamp) { r.matrix.Mark(r.origin, o, t) },
		Connect: func(ctx context.Context) (inbox.Session, error) {
			s, err := peer.Connect(ctx, cfg)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Events: inbox.Events{Stopped: func(_ hlc.Origin, lane globaltable.LaneID, reason inbox.Stop, err error) {
			if reason == inbox.Diverged || reason == inbox.Trimmed || reason == inbox.Refused || reason == inbox.Superseded {
				r.find("I17", fmt.Sprintf("lane %s stopped: %s: %v", lane, reason, err))
			}
		}},
	})
}

// dial connects to the origin within the process, unless the link is cut.
func (r *liveRegion) dial(ctx context.Context, origin hlc.Origin) (bus.Link, error) {
	from := r.regions[origin-1]
	r.mu.Lock()
	up, cut, home := from.up, r.cut[[2]hlc.Origin{r.origin, origin}], from.home
	r.mu.Unlock()
	if !up || cut {
		return nil, errors.New("out of reach")
	}
	link, err := bus.Dial(ctx, bus.DialConfig{Region: nameOf(r.origin), Peer: nameOf(origin), InProcess: home.Server(), Key: userKey(r.origin), Log: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[[2]hlc.Origin{r.origin, origin}] = append(r.links[[2]hlc.Origin{r.origin, origin}], link)
	return link, nil
}

// partition cuts two regions apart, or ends that.
func (w *liveWorld) partition(a, b hlc.Origin, cut bool) {
	w.mu.Lock()
	var closing []bus.Link
	for _, pair := range [][2]hlc.Origin{{a, b}, {b, a}} {
		w.cut[pair] = cut
		closing = append(closing, w.links[pair]...)
		w.links[pair] = nil
	}
	w.mu.Unlock()
	for _, l := range closing {
		_ = l.Close() // most are closed already
	}
}

func (r *liveRegion) find(invariant, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up {
		r.found = append(r.found, check.Violation{Invariant: invariant, Region: uint16(r.origin), Detail: detail})
	}
}

// durable is the shard's report.
func (r *liveRegion) durable(l globaltable.Lane, entries []change.Entry) {
	r.mu.Lock()
	if r.up {
		for i := range entries {
			r.record(l.ID, &entries[i])
		}
	}
	out := r.outbox
	r.mu.Unlock()
	if out != nil {
		out.Fresh(l, entries)
	}
}

// learn finds what the life before made durable and told nobody.
func (r *liveRegion) learn(heads []commit.LaneHead) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range heads {
		if h.Seq < r.seen[h.ID] {
			r.found = append(r.found, check.Violation{Invariant: "I2", Region: uint16(r.origin), Detail: "the log is shorter than before the crash"})
		}
		entries, err := r.shard.ReadLog(h.ID, max(r.seen[h.ID], h.Trimmed)+1, 1<<30)
		r.must(err)
		for i := range entries {
			r.record(h.ID, &entries[i])
		}
	}
	for k := range r.pending {
		if k.region == r.origin {
			delete(r.pending, k)
		}
	}
}

// record takes an entry into the ledger; mu is held.
func (r *liveRegion) record(lane globaltable.LaneID, e *change.Entry) {
	r.seen[lane] = e.Seq
	err := change.EachChange(e.Body, func(c *conflict.Change) error {
		op := r.pending[pendingKey{r.origin, string(c.Key)}]
		if op == nil || !sameOps(op.ops[0], c.Ops) {
			return fmt.Errorf("entry %d of region %d has a change that nobody asked for", e.Seq, r.origin)
		}
		op.Writes[0].Stamp = stampOf(c.Dot)
		r.found = append(r.found, r.ledger.Add(check.Logged{Write: op.Writes[0], Lane: uint64(lane), Seq: e.Seq})...)
		return nil
	})
	if err != nil {
		r.found = append(r.found, check.Violation{Invariant: "I20", Region: uint16(r.origin), Detail: err.Error()})
	}
}

// client writes one key after another until ctx is done.
func (r *liveRegion) client(ctx context.Context, number int, seed uint64) {
	w := &world{plan: &plan{deletes: 0.2, updates: 0.4, padding: 3000}, rng: rand.New(rand.NewPCG(seed, uint64(r.origin)*100+uint64(number)))}
	t := &table{id: liveTable, mode: conflict.Attribute}
	for ctx.Err() == nil {
		key := commit.Key{Table: liveTable, Bytes: keyOf(number + liveClients*w.rng.IntN(liveKeys/liveClients))}
		r.mu.Lock()
		if !r.up {
			r.mu.Unlock()
			pause(ctx, 50*time.Millisecond)
			continue
		}
		shard := r.shard
		op := &operation{Operation: check.Operation{ID: uint64(len(r.history) + 1), Region: uint16(r.origin)}}
		write, ops := w.newWrite(op.ID, t, true)
		write.Key = check.Key{Table: liveTable, Bytes: string(key.Bytes)}
		op.Writes, op.ops = []check.Write{write}, [][]conflict.Op{ops}
		r.history = append(r.history, op)
		r.pending[pendingKey{r.origin, string(key.Bytes)}] = op
		r.mu.Unlock()
		err := shard.Write(ctx, &commit.Write{Keys: []commit.Key{key}, Plan: func([]commit.Current) ([][]conflict.Op, error) { return op.ops, nil }})
		r.mu.Lock()
		switch {
		case !r.up || r.shard != shard || globaltable.KindOf(err) == globaltable.Unknown:
		case err == nil:
			op.Outcome = check.OK
		case !op.Writes[0].Stamp.IsZero():
			r.found = append(r.found, check.Violation{Invariant: "I2", Region: uint16(r.origin), Detail: "a write failed, and is in the log: " + err.Error()})
		default:
			op.Outcome = check.Failed
		}
		r.mu.Unlock()
		pause(ctx, time.Duration(w.rng.IntN(80))*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// liveLog is the shard's log as service, sessions and outbox want it.
type liveLog struct{ r *liveRegion }

func (l liveLog) Incarnation() globaltable.Incarnation { return l.r.shard.Incarnation() }
func (l liveLog) Heads(ctx context.Context) (hlc.Timestamp, []peer.LaneHead, error) {
	h, err := l.r.shard.Heads(ctx)
	var out []peer.LaneHead
	for _, lane := range h.Lanes {
		out = append(out, peer.LaneHead{Lane: lane.Lane, Seq: lane.Seq, Chain: lane.Chain, Trimmed: lane.Trimmed})
	}
	return h.HLC, out, err
}
func (l liveLog) Head(id globaltable.LaneID) (peer.LaneHead, bool) {
	h, ok := l.r.shard.Head(id)
	return peer.LaneHead{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain, Trimmed: h.Trimmed}, ok
}
func (l liveLog) ReadLog(lane globaltable.LaneID, from uint64, maxBytes int) ([]change.Entry, error) {
	return l.r.shard.ReadLog(lane, from, maxBytes)
}
func (l liveLog) Trim(ctx context.Context, lane globaltable.LaneID, upTo uint64) error {
	return l.r.shard.Trim(ctx, lane, upTo)
}

// liveStore is the shard as inboxes apply to it.
type liveStore struct{ r *liveRegion }

func (s liveStore) Apply(ctx context.Context, b inbox.Batch) (inbox.Stop, error) {
	_, err := s.r.shard.ApplyRemote(ctx, &commit.Remote{Source: b.Source, Entries: b.Entries, Position: b.Position})
	return stopReason(err, b.Position), err
}
func (s liveStore) Revoke(ctx context.Context, origin hlc.Origin, inc globaltable.Incarnation) error {
	return s.r.shard.Revoke(ctx, origin, inc-1)
}

// TestLiveRegions lets clients write in three regions while regions crash, JetStream's files are deleted or rolled back, and links are cut; then heals, and
// compares what is left with the history.
func TestLiveRegions(t *testing.T) {
	// JetStream's clock of access times waits on a channel of its package, which no bubble owns: started inside one it would keep virtual time from advancing.
	ats.Register()
	defer ats.Unregister()
	dirs := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &liveWorld{t: t, rng: rand.New(rand.NewPCG(*seedFlag, 2)), ledger: check.NewLedger(), pending: map[pendingKey]*operation{},
			links: map[[2]hlc.Origin][]bus.Link{}, cut: map[[2]hlc.Origin]bool{}}
		for o := hlc.Origin(1); o <= liveRegions; o++ {
			w.placement = append(w.placement, o)
			w.regions = append(w.regions, &liveRegion{liveWorld: w, origin: o, dir: filepath.Join(dirs, nameOf(o)), fs: vfs.NewCrashableMem(), seen: map[globaltable.LaneID]uint64{}})
		}
		for _, r := range w.regions {
			r.start()
		}
		ctx, stopClients := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for _, r := range w.regions {
			for n := range liveClients {
				clients.Go(func() { r.client(ctx, n, *seedFlag) })
			}
		}
		for range 8 {
			w.fault(filepath.Join(dirs, "old"))
		}
		time.Sleep(time.Second)
		stopClients()
		clients.Wait()
		w.rest()
		w.judge()
		for _, r := range w.regions {
			if err := r.home.Close(); err != nil {
				t.Errorf("closing the bus: %v", err)
			}
			r.stop()
		}
	})
}

// fault does something bad and lets the world go on.
func (w *liveWorld) fault(old string) {
	r := w.regions[w.rng.IntN(len(w.regions))]
	if w.rng.IntN(3) == 0 {
		other := w.placement.Peers(r.origin)[w.rng.IntN(liveRegions-1)]
		w.partition(r.origin, other, true)
		time.Sleep(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
		w.partition(r.origin, other, false)
		w.t.Logf("regions %d and %d were apart", r.origin, other)
		return
	}
	if err := os.RemoveAll(old); err != nil {
		w.t.Fatal(err)
	}
	if err := os.CopyFS(old, os.DirFS(r.dir)); err != nil {
		w.t.Logf("copying JetStream's files under way: %v", err) // it writes meanwhile; what was copied is an old state all the same
	}
	time.Sleep(time.Duration(200+w.rng.IntN(1000)) * time.Millisecond)
	r.crash()
	what := r.damage(old)
	time.Sleep(time.Duration(w.rng.IntN(1000)) * time.Millisecond)
	r.start()
	w.t.Logf("region %d crashed, JetStream's files were %s", r.origin, what)
}

// rest waits until everybody has everything.
func (w *liveWorld) rest() {
	for range 400 {
		time.Sleep(100 * time.Millisecond)
		if w.unrest() == "" {
			return
		}
	}
	w.t.Fatalf("no rest after 40 s: %s; found: %v", w.unrest(), w.found)
}

func (w *liveWorld) unrest() string {
	for _, r := range w.regions {
		for _, b := range r.outbox.Status() {
			for p, seq := range b.Confirmed {
				if seq < b.Head {
					return fmt.Sprintf("region %d confirmed %d of %d entries of region %d", p, seq, b.Head, r.origin)
				}
			}
		}
	}
	return ""
}

func (w *liveWorld) judge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var history []check.Operation
	outcomes := map[check.Outcome]int{}
	for _, op := range w.history {
		history = append(history, op.Operation)
		outcomes[op.Outcome]++
	}
	var replicas []check.Replica
	for _, r := range w.regions {
		// What is durable and applied is visible: nothing is under way.
		replicas = append(replicas, replicaOf(r.origin, r.engine, func(string, []byte) {}))
	}
	members := func(check.Key) []uint16 { return []uint16{1, 2, 3} }
	found := slices.Concat(w.found, check.NoLostWrite(history, replicas, members, nil, nil, nil), check.Convergence(replicas, members, nil),
		check.Reference(history, replicas, members, nil, nil, w.rng))
	for _, v := range found {
		w.t.Error(v)
	}
	w.t.Logf("%d operations: %v; %d entries", len(history), outcomes, w.ledger.Len())
	if outcomes[check.OK] < 100 {
		w.t.Errorf("only %d operations were acknowledged", outcomes[check.OK])
	}
}
