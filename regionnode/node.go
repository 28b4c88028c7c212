package regionnode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/regionnode/dynamodb"
	"github.com/concordat-db/concordat/regionnode/membership"
	"github.com/concordat-db/concordat/regionnode/metrics"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/cdc/publish"
	"github.com/concordat-db/concordat/streams/cdc/reader"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/confirm"
	"github.com/concordat-db/concordat/streams/egress"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/outbox"
	"github.com/concordat-db/concordat/streams/peer"
	"github.com/concordat-db/concordat/streams/repair"
	"github.com/concordat-db/concordat/streams/trigger"
	"github.com/concordat-db/concordat/streams/watermark"
)

// theShard is the number of the node's one shard.
const theShard = 0

// Endpoints are where a running node listens.
type Endpoints struct {
	DynamoDB string // http://host:port
	Admin    string // http://host:port
	NATS     string // nats://host:port; of an external NATS the first URL
}

// Node is one process of a region.
//
// A write comes in by dynamodb, passes the shard (commit) into the store, and leaves by the outbox; a peer's write comes by an inbox into the same shard. Run
// starts all of it from the inside out and stops it from the outside in: first nobody asks any more, then what has been taken is answered, then
// the store is closed.
type Node struct {
	cfg       Config
	log       zerolog.Logger
	key       nkeys.KeyPair
	token     string // signed descriptor
	engine    *store.Pebble
	snapshots *snapshots
	clock     *hlc.Clock
	catalog   *catalog.Catalog
	shard     *commit.Shard
	streams   shardLog
	ledger    *egress.Ledger
	confirm   *confirm.Tracker
	matrix    *watermark.Matrix
	guard     *clockGuard
	metrics   *metrics.Set
	plane     *controlplane.Plane
	server    *repair.Server
	joiner    *repair.Joiner
	placer    *placing.Placer
	giver     *handover.Giver
	taker     *handover.Taker
	verify    *repair.Verifier
	compare   *repair.Background
	readers   *reader.Readers
	events    *publish.Runner // nil before the bus is there, and where it has no place for events

	triggers *trigger.Runner
	swept    swept

	forwards *forwarding
	offences *offences

	comeback *membership.Comeback // nil while there is no shard

	fatal chan error

	mu       sync.Mutex
	inboxes  map[hlc.Origin]*inbox.Runner
	outbox   *outbox.Runner // nil before the bus is there
	sessions map[string]*peer.Session
	refused  map[string]string // reason → what users are told
	refusals membership.Refusals
	excluded map[string]error // reason → why nobody is served
	serving  bool

	closed atomic.Pointer[error] // the first of excluded

	refusing sync.Mutex // held from when the refusals of peers are looked at until clients are refused, or served again, for it

	rebuild rebuilding
}

// Open opens the node's store and checks everything that can be checked without the network. It starts nothing, but Pebble's own background
// work; the caller must call Run or Close.
func Open(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.CheckInvitation(time.Now()); err != nil {
		return nil, err
	}
	cfg.Limits, cfg.Peers = cfg.Limits.withDefaults(cfg.Bus.Embedded != nil), cfg.withInvited()
	key, err := nkeys.FromSeed(cfg.KeySeed)
	if err != nil {
		return nil, err
	}
	token, err := globaltable.Sign(&cfg.Region, key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, &globaltable.Error{Op: "open node", Resource: cfg.Region.Name, Kind: globaltable.Internal, Err: err}
	}
	n := &Node{
		cfg: cfg, log: cfg.Log.With().Str("region", cfg.Region.Name).Logger(), key: key, token: token,
		clock: hlc.NewClock(time.Now, cfg.Limits.MaxClockOffset), matrix: watermark.New(), guard: newClockGuard(cfg.Limits.MaxClockOffset),
		metrics: metrics.New(cfg.Region.Name), inboxes: map[hlc.Origin]*inbox.Runner{}, fatal: make(chan error, 1),
		sessions: map[string]*peer.Session{}, refused: map[string]string{}, refusals: membership.Refusals{}, excluded: map[string]error{},
	}
	n.forwards, n.offences = newForwarding(n.session, n.countForwarded), newOffences(n.log)
	n.engine, err = store.OpenPebble(store.Config{Dir: cfg.StoreDir(), CacheBytes: cfg.Limits.CacheBytes,
		MemTableBytes: uint64(cfg.Limits.WriteBufferBytes), OnFatal: n.die})
	if err != nil {
		return nil, err
	}
	if err := n.openRebuild(); err != nil {
		return nil, errors.Join(err, n.engine.Close())
	}
	if n.rebuild.state.Step == commit.RebuildSaving {
		return n, nil // the store is not a shard's until it was emptied
	}
	if err := n.openShard(); err != nil {
		return nil, errors.Join(err, n.engine.Close())
	}
	n.resumeRebuild()
	return n, nil
}

// openCatalog reads the catalog out of the store.
func (n *Node) openCatalog() error {
	peers := make([]globaltable.Descriptor, 0, len(n.cfg.Peers))
	for _, p := range n.cfg.Peers {
		peers = append(peers, p.Descriptor)
	}
	var err error
	if n.catalog, err = catalog.New(n.cfg.Region, peers); err != nil {
		return err
	}
	return controlplane.LoadCatalog(n.catalog, n.engine)
}

func (n *Node) openShard() error {
	err := n.openCatalog()
	if err != nil {
		return err
	}
	n.shard, err = commit.Open(commit.Config{
		Origin: n.cfg.Region.Origin, Shard: theShard, Engine: n.engine, Clock: n.clock, Catalog: controlplane.ForShard(n.catalog),
		Relog: n.catalog.Feeds,
		Events: commit.Events{Durable: n.durable, Voided: n.voided, Group: func(s commit.GroupStats) { n.metrics.Group(s.Changes, s.Bytes) }, Fatal: n.die,
			Panic: func(e *commit.PanicError) {
				n.log.Error().Err(e).Str("stack", e.Stack).Msg("a bug: a write was given up")
			}},
	})
	if err != nil {
		return err
	}
	n.streams = shardLog{n.shard}
	if n.ledger, err = n.newLedger(); err != nil {
		return err
	}
	if n.confirm, err = n.newTracker(); err != nil {
		return err
	}
	if n.readers, err = reader.Open(readerStore{n.shard}); err != nil {
		return err
	}
	n.server = repair.NewServer(n.catalog, n.shard, n.ownMarks)
	n.verify = repair.NewVerifier(n.server, n, controlplane.ForRepair(n.shard), 0)
	if n.compare, err = n.newBackground(); err != nil {
		return err
	}
	if n.joiner, err = n.newJoiner(); err != nil {
		return err
	}
	n.snapshots = newSnapshots(n)
	n.newPlacer()
	n.plane, err = controlplane.New(controlplane.Config{Catalog: n.catalog, Door: n.shard, Items: n.shard, Peers: n, Joins: n.joiner, Places: n.placer, Marks: n.matrix, Now: time.Now, Clock: n.clock,
		Tokens: n.tokens(), Key: n.key,
		Events: controlplane.Events{
			WorldIssued: func(w *globaltable.World) {
				n.log.Info().Stringer("version", w.Version).Msg("members changed")
			},
			Issued: func(t *globaltable.Table) {
				n.log.Info().Str("table", t.Name).Stringer("version", t.Version).Msg("table changed")
			},
			Failed: func(what, region string, err error) {
				n.log.Debug().Str("peer", region).Err(err).Msg(what)
			},
		}})
	if err != nil {
		return err
	}
	n.comeback = n.newComeback()
	return nil
}

// tokens returns the signed descriptors of this region and of its configured peers.
func (n *Node) tokens() []string {
	out := []string{n.token}
	for _, p := range n.cfg.Peers {
		if p.Token != "" {
			out = append(out, p.Token)
		}
	}
	return out
}

// Close releases a node that was never run.
func (n *Node) Close() error { return n.engine.Close() }

// die is called when the disk fails. Nothing more can be promised, so the node stops; see Run. It does not return: who met the failure has nothing to go on with, and Pebble
// would panic before Run's caller has ended the process.
func (n *Node) die(err error) {
	select {
	case n.fatal <- err:
	default:
	}
	select {}
}

// ErrStoreFailed ends a node whose disk failed. The process must end: the store may never answer again.
var ErrStoreFailed = errors.New("the store has failed")

// Run starts the node, calls ready when it serves, and stops it when ctx is done. It returns nil after a clean stop, and ErrReopen when the node is to be opened again. After ErrStoreFailed goroutines may be left
// hanging in the store.
func (n *Node) Run(ctx context.Context, ready func(Endpoints)) error {
	ended := make(chan error, 1)
	go func() { ended <- n.run(ctx, ready) }()
	select {
	case err := <-ended:
		return err
	case err := <-n.fatal:
		n.log.Error().Err(err).Msg("the store has failed: this node ends")
		return fmt.Errorf("%w: %w", ErrStoreFailed, err)
	}
}

func (n *Node) run(ctx context.Context, ready func(Endpoints)) (err error) {
	if n.shard == nil {
		return n.runSaving(ctx)
	}
	defer func() { err = errors.Join(err, n.engine.Close()) }()
	if n.rebuild.state.Step == commit.RebuildJoining {
		// What the store had before it was emptied may be what locality policies, which have come meanwhile, do not let be here.
		if err := n.engine.Scrub(ctx); err != nil {
			return err
		}
	}
	// The shard outlives those who use it.
	shardCtx, stopShard := context.WithCancel(context.WithoutCancel(ctx))
	shardEnded := make(chan error, 1)
	go func() { shardEnded <- n.shard.Run(shardCtx) }()
	defer func() {
		stopShard()
		err = errors.Join(err, <-shardEnded)
	}()
	home, natsURL, err := n.openBus(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, home.Close()) }()
	if err := n.openOutbox(ctx, home); err != nil {
		return err
	}
	n.events = n.newPublisher(home.Events())
	n.triggers = n.newTriggers(home.Events())
	listeners, err := listen(n.cfg.DynamoDB.Listen, n.cfg.Admin.Listen)
	if err != nil {
		return err
	}
	n.pin(listeners[0].Addr().String(), listeners[1].Addr())
	api, err := n.newAPI()
	if err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	n.checkStart() // before the first write
	group, ctx := errgroup.WithContext(ctx)
	// Requests are let end, but no peer is heard any more then.
	defer context.AfterFunc(ctx, n.confirm.Close)()
	group.Go(func() error { return n.outbox.Run(ctx) })
	group.Go(func() error { return home.Serve(ctx, n.newService(api).Handle) })
	group.Go(func() error { return n.followMembers(ctx, home) })
	if n.events != nil {
		group.Go(func() error { return n.events.Run(ctx) })
	}
	group.Go(func() error { return n.keepGrants(ctx, home) })
	group.Go(func() error { return n.plane.Run(ctx) })
	group.Go(func() error { return n.joiner.Run(ctx) })
	group.Go(func() error { return n.ledger.Run(ctx) })
	group.Go(func() error { return n.noteCredentials(ctx) })
	group.Go(func() error { return n.placer.Run(ctx) })
	group.Go(func() error { return n.snapshots.Run(ctx) })
	group.Go(func() error { return n.watchMembers(ctx) })
	group.Go(func() error { return n.waitForReopen(ctx) })
	group.Go(func() error { return n.comeBack(ctx) })
	if !n.cfg.Limits.NoCompare {
		group.Go(func() error { return n.compare.Run(ctx) })
	}
	group.Go(func() error { return n.collect(ctx) })
	group.Go(func() error { return n.triggers.Run(ctx) })
	group.Go(func() error { return n.buildIndexes(ctx) })
	group.Go(func() error { return n.watchDisk(ctx) })
	group.Go(func() error { return n.waitForClock(ctx) })
	group.Go(func() error { return api.Serve(ctx, listeners[0]) })
	group.Go(func() error {
		return n.newAdmin(api, home, natsURL).Serve(ctx, listeners[1], n.cfg.Limits.ShutdownPatience)
	})
	n.setServing(true)
	n.log.Info().Str("dynamodb", listeners[0].Addr().String()).Str("admin", listeners[1].Addr().String()).Msg("region serves")
	ready(Endpoints{DynamoDB: "http://" + listeners[0].Addr().String(), Admin: "http://" + listeners[1].Addr().String(), NATS: natsURL})
	err = group.Wait()
	n.setServing(false)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

func listen(addrs ...string) (listeners []net.Listener, err error) {
	for _, a := range addrs {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return nil, errors.Join(&globaltable.Error{Op: "listen", Resource: a, Kind: globaltable.Internal, Err: err}, closeAll(listeners))
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) (err error) {
	for _, l := range listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// openBus starts or reaches the region's own NATS.
func (n *Node) openBus(ctx context.Context) (ownBus, string, error) {
	if ext := n.cfg.Bus.External; ext != nil {
		cfg := *ext
		cfg.Region, cfg.Log = n.cfg.Region.Name, n.log
		home, err := bus.ConnectExternal(ctx, cfg)
		if err != nil {
			return nil, "", err
		}
		return home, ext.URLs[0], nil
	}
	host, port, err := n.cfg.Bus.Embedded.address()
	if err != nil {
		return nil, "", err
	}
	home, err := bus.StartEmbedded(ctx, bus.EmbeddedConfig{Region: n.cfg.Region.Name, Dir: n.cfg.JetStreamDir(), Host: host, Port: port,
		TLS: n.cfg.Bus.Embedded.TLS, Peers: n.dialling(n.catalog.View()), Grants: n.grants(), MaxStore: n.cfg.Bus.Embedded.MaxStoreBytes, Log: n.log})
	if err != nil {
		return nil, "", err
	}
	return home, home.URL(), nil
}

// openOutbox makes the outbox with the lanes that the log has.
func (n *Node) openOutbox(ctx context.Context, home bus.Home) error {
	runner := outbox.NewRunner(outbox.RunnerConfig{Self: n.cfg.Region.Origin, Shard: theShard, Incarnation: n.shard.Incarnation(), Home: home, Log: n.streams,
		Floor: n.matrix.Purge, Name: n.regionName, StreamBytes: n.cfg.Limits.StreamBytes,
		Used:   func(lane globaltable.LaneID) bool { return n.catalog.View().Used(lane) },
		Excess: func(lane globaltable.LaneID) uint64 { return n.shard.LogExcess(lane, n.cfg.Limits.LogBytes) },
		MaySend: func(lane globaltable.Lane, e *change.Entry) error {
			if !n.catalog.View().Pinned() {
				return nil
			}
			return n.maySend(lane.ID, lane.Placement.Peers(n.cfg.Region.Origin), e)
		},
		Events: outbox.Events{
			Lagging: n.lagging,
			Reset:   func(globaltable.LaneID) { n.metrics.StreamReset() },
			Removed: func(lane globaltable.LaneID) {
				n.log.Info().Stringer("lane", lane).Msg("the stream of a lane that is not written any more was removed")
			},
			Failed: func(lane globaltable.LaneID, err error) {
				if errors.As(err, new(*heldBack)) {
					n.log.Debug().Err(err).Msg("a lane waits")
					return
				}
				n.metrics.BusFailed()
				n.log.Warn().Stringer("lane", lane).Err(err).Msg("the region's NATS did not take a lane; trying again")
			},
		}})
	// From here on fresh entries go to the outbox; those that became durable before are in the heads.
	n.mu.Lock()
	n.outbox = runner
	n.mu.Unlock()
	_, heads, err := n.streams.Heads(ctx)
	if err != nil {
		return err
	}
	for _, h := range heads {
		runner.AddLane(h.Lane, h.Seq, h.Trimmed)
	}
	for _, c := range n.shard.Confirmations() {
		runner.Confirmed(c.Peer, c.Lane, c.Seq)
		n.confirm.Confirmed(c.Peer, c.Lane, c.Seq)
	}
	return nil
}

// durable is called by the shard for each lane of each durable group.
func (n *Node) durable(lane globaltable.Lane, entries []change.Entry) {
	n.mu.Lock()
	out := n.outbox
	n.mu.Unlock()
	if out != nil {
		out.Fresh(lane, entries)
	}
}

// advanceFrontiers moves the purge frontier of each placement of a table here as far as the rows allow, and with it that of each of its tables.
func (n *Node) advanceFrontiers() {
	type frontier struct{ purge, applied hlc.Timestamp }
	frontiers := map[globaltable.LaneID]frontier{}
	n.catalog.View().Held(func(h catalog.Held) {
		counted := h.Counted.Lane()
		f, done := frontiers[counted]
		if !done {
			f.applied = n.matrix.Applied(h.Counted) // before the clock is read
			f.purge = n.matrix.Advance(counted, f.applied, n.clock.Last())
			frontiers[counted] = f
		}
		if h.Settled {
			n.shard.RaisePurge(h.Table, h.Version, f.purge, f.applied)
		}
	})
}

func (n *Node) regionName(o hlc.Origin) string {
	if d, ok := n.catalog.View().RegionOf(o); ok {
		return d.Name
	}
	return strconv.Itoa(int(o))
}

func (n *Node) newService(api *dynamodb.Server) *peer.Service {
	return peer.NewService(peer.ServiceConfig{
		Self: n.cfg.Region, Descriptor: n.token, Shard: theShard, Log: n.streams, Matrix: n.matrix, Clock: n.clock.Last, Observe: n.clock.Observe, Physical: wallMillis,
		Regions: func(name string) (globaltable.Descriptor, bool) { return n.catalog.View().Region(name) },
		Trusts: func(o hlc.Origin, inc globaltable.Incarnation) (bool, globaltable.Version) {
			return membership.Trusts(n.catalog.View(), o, inc)
		},
		Known:       n.knownIncarnation,
		ConfirmedBy: n.shard.ConfirmedBy,
		Confirmed: func(p hlc.Origin, store globaltable.Incarnation, lane globaltable.LaneID, seq uint64, past bool) {
			if past {
				n.shard.ConfirmPeer(p, store, lane, seq)
			}
			n.outbox.Confirmed(p, lane, seq)
			n.confirm.Confirmed(p, lane, seq)
		},
		Regressed: n.regressed,
		Met:       n.met,
		Control:   n.plane.HandlePeer,
		Exchange:  n.answerExchange,
		Digests:   n.server.Digests,
		HandOver:  n.taker.Take,
		Offered:   n.giver.Answer,
		Repair:    n.verify.HandleRepair,
		Forward:   n.serveForwarded(api),
		Triggers:  func(asker globaltable.Descriptor, g *trigger.Gossip) { n.triggers.Hear(asker.Origin, g) },
		Answering: n.countForwarded,
		Denied:    n.metrics.PeerDenied,
		MaySend: func(asker hlc.Origin, lane globaltable.LaneID, e *change.Entry) error {
			return n.maySend(lane, []hlc.Origin{asker}, e)
		},
	})
}

// knownIncarnation is the newest incarnation of a peer that this region has met.
func (n *Node) knownIncarnation(o hlc.Origin) globaltable.Incarnation {
	newest := n.shard.Revoked(o)
	for _, p := range n.shard.Positions() {
		if p.Origin == o {
			newest = max(newest, p.Incarnation)
		}
	}
	return newest
}

// newTracker makes what writers wait at for peers. Half of the requests may wait, so that a table whose peers are away leaves the other half to the other tables.
func (n *Node) newTracker() (*confirm.Tracker, error) {
	return confirm.New(confirm.Config{Region: n.cfg.Region.Name, Timeout: n.cfg.Limits.AcknowledgeTimeout, MaxWaiting: max(1, n.cfg.Limits.MaxOpenRequests/2),
		Waited: n.metrics.Acknowledged})
}

func (n *Node) newInbox(m catalog.Member, hold inbox.Hold) *inbox.Runner {
	p, name, origin := n.peerConfig(m.Descriptor), m.Descriptor.Name, m.Descriptor.Origin
	session := &peer.SessionConfig{
		Self: n.cfg.Region, Descriptor: n.token, Origin: m.Descriptor, Log: n.streams, Matrix: n.matrix, Clock: n.clock.Last, Observe: n.clock.Observe, Known: n.knownIncarnation,
		Physical: wallMillis, Offset: n.clockMeasured, Regressed: n.regressed, Met: n.met, Fenced: n.fenced,
		Dial:    func(ctx context.Context) (bus.Link, error) { return n.dial(ctx, p) },
		Catalog: func(ctx context.Context, _ peer.Client) error { return n.plane.Fetch(ctx, name) },
	}
	return inbox.NewRunner(inbox.RunnerConfig{
		Origin: origin, Shard: theShard, Store: applier{n.shard, n.catalog, n.foreignChanges}, Interval: n.cfg.Limits.Heartbeat,
		Incarnation: n.knownIncarnation(origin), Positions: n.positionsOf(origin, m.Incarnation), Hold: hold,
		Prompt: func(lane globaltable.LaneID) bool { return n.catalog.View().Prompt(lane) },
		StartLanes: func(ctx context.Context, inc globaltable.Incarnation, heads []inbox.Head) (uint64, error) {
			return n.startLanes(ctx, name, origin, inc, heads)
		},
		Mark: func(o hlc.Origin, t hlc.Timestamp) {
			n.matrix.Mark(n.cfg.Region.Origin, o, t)
			n.advanceFrontiers()
		},
		Connect: func(ctx context.Context) (inbox.Session, error) {
			s, err := peer.Connect(ctx, session)
			if err != nil {
				return nil, err
			}
			n.mu.Lock()
			n.sessions[name] = s
			n.mu.Unlock()
			return s, nil
		},
		Events: n.inboxEvents(name),
	})
}

func (n *Node) dial(ctx context.Context, p PeerConfig) (bus.Link, error) {
	urls := p.URLs
	if len(urls) == 0 {
		urls = p.Descriptor.NATS
	}
	return bus.Dial(ctx, bus.DialConfig{Region: n.cfg.Region.Name, Peer: p.Descriptor.Name, URLs: urls, Key: n.key, TLS: p.TLS, Log: n.log})
}

// Ask implements controlplane.Peers over the session that the region's inbox holds.
func (n *Node) Ask(ctx context.Context, region string, request []byte) ([]byte, error) {
	s, err := n.session(region)
	if err != nil {
		return nil, err
	}
	return s.Control(ctx, request)
}

func (n *Node) session(region string) (*peer.Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.sessions[region]
	if s == nil {
		return nil, &globaltable.Error{Op: "ask peer", Resource: region, Kind: globaltable.Unavailable, Message: "region " + region + " cannot be reached"}
	}
	return s, nil
}

func wallMillis() int64 { return time.Now().UnixMilli() }

func (n *Node) newAPI() (*dynamodb.Server, error) {
	verifier, err := auth.NewVerifier(auth.Config{Region: n.cfg.Region.Name, AcceptAny: n.cfg.DynamoDB.AcceptAny,
		Credentials: func(accessKey string) (string, bool) {
			secret, ok := n.cfg.DynamoDB.Credentials[accessKey]
			return secret, ok
		}})
	if err != nil {
		return nil, err
	}
	// While writes are refused every request fails: the refusal itself is in the log, and the metrics count the rest.
	failures := n.log.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Minute})
	return dynamodb.New(dynamodb.Config{
		Region: n.cfg.Region.Name, Origin: n.cfg.Region.Origin, Verifier: verifier, Shard: n.shard, Streams: n.shard, Control: n.plane, Confirm: n.confirm, Forward: n.forwards,
		View: func() dynamodb.View { return n.catalog.View() }, Refused: n.serves,
		MaxRequests: n.cfg.Limits.MaxOpenRequests, DrainTimeout: n.cfg.Limits.ShutdownPatience,
		Events: dynamodb.Events{
			Request:   n.metrics.Request,
			Forwarded: n.forwarded,
			Failed: func(operation, requestID string, err error) {
				failures.Warn().Str("operation", operation).Str("request", requestID).Err(err).Msg("a request failed")
			},
		},
	})
}

func (n *Node) newAdmin(api *dynamodb.Server, home ownBus, natsURL string) *admin.Server {
	return admin.New(admin.Config{Status: n.Status, Verify: n.Verify, Repair: n.repairTables,
		Tables: n, Policies: policies{n}, Triggers: triggers{n}, TriggerRuns: triggerRuns{n}, Regions: n.Regions, Fence: n.fenceRegion, Remove: n.plane.RemoveRegion, AddRegion: n.AddRegion,
		Rebuild: n.Rebuild, RebuildState: n.rebuildStatus, Saved: savedRecords{n}, Conflicts: conflictFeeds{n, api.Write},
		Audit:     auditor{n, home, make(chan struct{}, 1)},
		Snapshots: n.snapshots,
		Streams:   changeStreams{n, n.natsURLs(natsURL), func(ctx context.Context) error { return home.SetGrants(ctx, n.grants()) }},
		Ready:     func() error { return cmp.Or(n.ready(), n.serves()) }, Metrics: n.metrics.Handler()})
}

func (n *Node) setServing(is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving = is
}

func (n *Node) ready() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.serving {
		return &globaltable.Error{Op: "serve", Resource: n.cfg.Region.Name, Kind: globaltable.Unavailable, Message: "the node is starting or stopping"}
	}
	return nil
}
