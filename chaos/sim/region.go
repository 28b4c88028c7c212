package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/regionnode/membership"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/outbox"
	"github.com/concordat-db/concordat/streams/peer"
	"github.com/concordat-db/concordat/streams/repair"
	"github.com/concordat-db/concordat/streams/trigger"
	"github.com/concordat-db/concordat/streams/watermark"
)

// region is one region over all its lives. What a crash leaves is disk, bus and the physical clock; the rest is made anew by start.
type region struct {
	*world
	origin   hlc.Origin
	disk     *store.Memory
	bus      *jetstream
	offset   time.Duration                   // of the physical clock
	latest   atomic.Int64                    // greatest physical time it has shown, Unix milliseconds; tasks read the clock, too
	seen     map[globaltable.LaneID]uint64   // newest sequence of each own lane that is in the ledger
	promised map[globaltable.TableID]promise // what it is held to about where items may be; nothing of a table of which it has told nothing
	took     map[check.Lane]uint64           // newest sequence of each followed lane that is in evidence.applied

	store     int                                         // how often its store was emptied, lost or restored
	replays   bool                                        // it has taken over what another region had saved
	floor     int64                                       // its physical clock shows no less: a store that was lost, or is older, knows nothing of the stamps that it gave
	fresh     globaltable.Incarnation                     // of a store that was emptied and is not followed yet
	stores    []globaltable.Incarnation                   // that it ever had
	again     map[globaltable.Incarnation]bool            // stores that were restored: their sequences may have been given twice
	disturbed bool                                        // it was fenced or removed at some time
	gone      bool                                        // it has burnt down, and never starts again
	abandoned bool                                        // once it is fenced nobody brings it back
	asked     bool                                        // an operator is having it rebuilt
	back      bool                                        // it has come back, rebuilt
	skipped   map[check.Lane][]check.Applied              // entries of lanes begun anew that never came by the lane
	missing   map[check.Lane]uint64                       // lanes begun anew → up to where all of them is here
	hollow    map[check.Lane]map[uint64]bool              // entries of followed lanes that came when their bodies had been erased
	refused   map[refusal]bool                            // changes of followed lanes that were voided here when their entries were applied
	gave      map[check.Key]int                           // of the ledger's entries, when another region may have taken the item over
	adopted   map[globaltable.TableID]*globaltable.Table  // newest document of each table that was noticed
	replicas  map[globaltable.TableID]globaltable.Replica // this region's, as last noticed
	joined    map[globaltable.TableID]bool                // tables of which something may have come by exchange
	heard     map[check.Key]int                           // keys that came by an exchange → how many entries the ledger had then
	inherited map[globaltable.TableID]map[string]string   // the items that a table had when it took the place of a replica here

	tale   *check.Streams               // what its change streams have told, in the store that is there
	readTo map[cdc.Stream]hlc.Timestamp // how far they were read
	untold map[string]bool              // store keys of what was told and erased, since the items may not be here

	life     int
	up       bool
	clock    *hlc.Clock
	catalog  *catalog.Catalog
	shard    *commit.Shard
	manual   *commit.Manual
	building bool // a Build is due
	unsynced int  // Syncs due
	blocked  bool // the next Build waits for a Sync
	matrix   *watermark.Matrix
	outbox   *outbox.Core
	tails    map[globaltable.LaneID]*tail
	service  *peer.Service
	comeback *membership.Comeback
	excluded map[string]string // reason → why clients are not served
	refusals membership.Refusals
	leaving  map[hlc.Origin]int // sessions that ended with their member, and still wait for the shard
	saving   bool               // the store is saved and emptied: nothing else of the region is there
	sample   commit.Heads       // of the request that is being answered
	sessions []*session         // by origin
	readings []check.Reading    // of the group that is becoming durable
	ctx      context.Context    // ends with the life
	cancel   context.CancelFunc
	server   *repair.Server
	joiner   *repair.Joiner
	plane    *controlplane.Plane
	placer   *placing.Placer
	triggers *trigger.Manual                       // nil: there are none
	attempts int                                   // of triggers
	swept    map[globaltable.TableID]hlc.Timestamp // up to where all expired items were collected in this life
	giver    *handover.Giver
	taker    *handover.Taker
	indexed  map[globaltable.TableID]hlc.Timestamp // up to which the keys by which a table is collected follow its time to live, in this life
	loops    []*loop
	viewed   *catalog.View // the newest that noticeCatalog has seen
	served   int           // requests of tasks
	asker    *region       // whose request of a session is being answered
	seeing   sight         // what was applied here when the entries that are being recorded became durable
	pending  []*operation  // built into a group or queued, oldest first; kept over a crash until the log has told
}

func newRegion(w *world, o hlc.Origin) *region {
	return &region{world: w, origin: o, disk: store.NewMemory(), bus: newJetstream(w.plan.bound),
		seen: map[globaltable.LaneID]uint64{}, promised: map[globaltable.TableID]promise{}, took: map[check.Lane]uint64{}, again: map[globaltable.Incarnation]bool{},
		skipped: map[check.Lane][]check.Applied{}, hollow: map[check.Lane]map[uint64]bool{}, refused: map[refusal]bool{}, gave: map[check.Key]int{}, adopted: map[globaltable.TableID]*globaltable.Table{}, missing: map[check.Lane]uint64{}, replicas: map[globaltable.TableID]globaltable.Replica{}, joined: map[globaltable.TableID]bool{}, heard: map[check.Key]int{},
		inherited: map[globaltable.TableID]map[string]string{}, tale: check.NewStreams(uint16(o)), readTo: map[cdc.Stream]hlc.Timestamp{}, untold: map[string]bool{}}
}

// after makes do happen d from now, if the region has not died by then.
func (r *region) after(d time.Duration, do func()) {
	life := r.life
	r.world.after(d, func() {
		if r.up && r.life == life {
			do()
		}
	})
}

// physical is the region's own clock.
func (r *region) physical() int64 {
	t := max(epoch+(r.now+r.offset).Milliseconds(), r.floor)
	for was := r.latest.Load(); was < t && !r.latest.CompareAndSwap(was, t); was = r.latest.Load() {
	}
	return t
}

// start begins a life: what a node does when its process starts.
func (r *region) start() {
	if r.up || r.saving || r.gone {
		return
	}
	r.life++
	r.up = true
	r.note("%d starts, life %d", r.origin, r.life)
	state, heads := r.open()
	if state.Step == commit.RebuildSaving {
		r.save()
		return
	}
	r.startTails(heads)
	r.openPlane(state)
	r.service = peer.NewService(r.serviceConfig())
	r.resume(state)
	r.waitForClock()
	r.startLoops()
	r.beat()
	r.follow()
}

// beat is regionnode's: it keeps the frontiers moving, also in a region without peers.
func (r *region) beat() {
	r.sampled(func() {
		r.matrix.Beat(r.origin, r.sample.HLC)
		r.advanceFrontiers()
	})
	r.after(beatEvery, r.beat)
}

// open opens the store and takes the evidence that it holds.
func (r *region) open() (commit.Rebuild, []commit.LaneHead) {
	state, err := commit.ReadRebuild(r.disk)
	if err != nil {
		panic(fmt.Sprintf("region %d does not read its store: %v", r.origin, err))
	}
	r.clock = hlc.NewClock(func() time.Time { return time.UnixMilli(r.physical()) }, maxOffset)
	r.matrix = watermark.New()
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.openCatalog()
	life := r.life
	shard, err := commit.Open(commit.Config{
		Origin: r.origin, Engine: watched{r.disk, r}, Clock: r.clock, Catalog: aged{controlplane.ForShard(r.catalog), r.world}, Relog: r.catalog.Feeds, Random: salts{r.rng},
		Events: commit.Events{
			Durable: r.durable,
			Fatal: func(err error) {
				if r.up && r.life == life { // a shard whose region has died may notice that
					panic(fmt.Sprintf("region %d: the shard failed: %v", r.origin, err))
				}
			},
			Panic: func(e *commit.PanicError) { panic(fmt.Sprintf("region %d: %v\n%s", r.origin, e, e.Stack)) },
		},
	})
	if err != nil {
		panic(fmt.Sprintf("region %d does not open: %v", r.origin, err))
	}
	r.shard, r.manual = shard, commit.NewManual(shard)
	r.indexed = map[globaltable.TableID]hlc.Timestamp{}
	r.building, r.blocked, r.unsynced = false, false, 0
	r.outbox, r.sessions = nil, nil
	r.excluded, r.refusals, r.leaving = map[string]string{}, membership.Refusals{}, map[hlc.Origin]int{}
	if inc := shard.Incarnation(); !slices.Contains(r.stores, inc) {
		r.stores = append(r.stores, inc)
	}
	r.survivedCrash()
	heads := r.headsNow()
	r.learn(heads)
	return state, heads
}

// waitForClock is regionnode's: it refuses writes while the stored clock is further ahead than peers would accept.
func (r *region) waitForClock() {
	const reason = "clock at start"
	ahead := r.clock.AheadAtStart(r.clock.Last())
	if ahead <= 0 {
		r.shard.Allow(reason)
		return
	}
	r.cover("writes were refused at a start for the clock")
	r.shard.Refuse(reason, &globaltable.Error{Op: "write", Kind: globaltable.Unavailable, Message: reason})
	r.after(min(ahead, time.Second), r.waitForClock)
}

// crash ends a life, and damages streams now and then. The next one begins after a while.
func (r *region) crash() {
	r.die(func(unsynced int) int { return r.rng.IntN(unsynced + 1) })
	if r.rng.IntN(2) == 0 {
		r.damageStreams()
	}
	r.world.after(between(r.rng, 0, 2*time.Second), r.start)
}

// die ends a life by a crash. survive says how many of the groups that were not synced are there in the next one.
func (r *region) die(survive func(unsynced int) int) {
	unsynced := r.stop(survive)
	r.note("%d crashes with %d groups unsynced", r.origin, unsynced)
	r.cover("crash")
	if unsynced > 0 {
		r.cover("crash before a sync")
	}
}

// stop ends a life.
func (r *region) stop(survive func(unsynced int) int) (unsynced int) {
	r.up, r.asked = false, false
	r.cancel()
	r.due = append(r.due, func() {}) // its tasks end
	r.disk = r.disk.Crash(func(n int) int {
		unsynced = n
		return survive(n)
	})
	for _, op := range r.pending {
		op.Outcome = check.Unknown
	}
	return unsynced
}

// dies reports whether the region is dead, and lets it die now and then: it is asked between any two effects.
func (r *region) dies() bool {
	if r.up && r.chance(r.plan.crashPoint) {
		r.cover("a crash between two effects")
		r.crash()
	}
	return !r.up
}

// learn takes the evidence that a store holds when a life begins: entries and positions that became durable and that nobody was told of.
func (r *region) learn(heads []commit.LaneHead) {
	for _, h := range heads {
		r.placements[h.ID] = h.Placement
		entries, err := r.readLog(h.ID, max(r.seen[h.ID], h.Trimmed)+1, 1<<30)
		if err != nil {
			panic(fmt.Sprintf("region %d: reading its log: %v", r.origin, err))
		}
		for i := range entries {
			r.cover("an unanswered write survived a crash")
			r.record(h.ID, &entries[i])
		}
	}
	r.endGroup()
	r.forgetMissing()
	for _, p := range r.shard.Positions() {
		r.applied(p.Origin, p.Incarnation, p.Lane, p.Seq)
	}
	r.pending = nil // what the log does not have never took place
	r.inspect(heads)
}

// headsNow is the shard's own lanes when a life begins, sorted.
func (r *region) headsNow() (lanes []commit.LaneHead) {
	r.manual.Heads(func(h commit.Heads, err error) { r.sample = h })
	r.manual.Settle()
	return r.sample.Lanes
}

// readLog is regionnode's: the shard's log as the streams read it.
func (r *region) readLog(lane globaltable.LaneID, from uint64, maxBytes int) ([]change.Entry, error) {
	return r.shard.ReadLog(lane, from, maxBytes)
}

// lane names an origin's lane as this region follows it.
func (r *region) lane(origin hlc.Origin, incarnation globaltable.Incarnation, id globaltable.LaneID) check.Lane {
	return check.Lane{Region: uint16(r.origin), Store: r.store, Origin: uint16(origin), Incarnation: uint64(incarnation), Lane: uint64(id)}
}

// applied takes into evidence that a followed lane is durably applied up to and with seq.
func (r *region) applied(origin hlc.Origin, incarnation globaltable.Incarnation, lane globaltable.LaneID, seq uint64) {
	l := r.lane(origin, incarnation, lane)
	if from := r.took[l] + 1; seq >= from {
		r.evidence.applied = append(r.evidence.applied, check.Applied{Lane: l, From: from, To: seq})
		r.took[l] = seq
	}
}

// work has a group built of what is queued, soon, and synced later.
func (r *region) work() {
	if r.building {
		return
	}
	r.building = true
	r.after(between(r.rng, 0, time.Millisecond), func() {
		r.building = false
		if r.unsynced >= 3 {
			r.blocked = true
			return
		}
		// A caller that waited for a latch may have built the group already: a Sync is due in any case.
		r.unsynced++
		r.after(between(r.rng, 0, r.plan.sync), r.sync)
		if r.manual.Build() {
			r.work()
		}
	})
}

// sync makes the oldest group durable, which answers what is in it.
func (r *region) sync() {
	r.unsynced--
	r.manual.Sync()
	for r.up && r.unsynced == 0 && r.manual.Sync() {
		r.cover("more than one group was synced at once")
	}
	if !r.up {
		return // the next life finds the rest of the group in the log
	}
	r.endGroup()
	r.noticeCatalog()
	if r.blocked {
		r.blocked = false
		r.work()
	}
}

// positions is how far this region has applied the lanes of others.
func (r *region) positions() map[check.Lane]uint64 {
	out := map[check.Lane]uint64{}
	for _, p := range r.shard.Positions() {
		l := r.lane(p.Origin, p.Incarnation, p.Lane)
		out[l] = p.Seq
		if at, missing := r.missing[l]; missing {
			out[l] = at
		}
	}
	return out
}

// flush makes durable what is applied.
func (r *region) flush() {
	for r.up && r.manual.Sync() {
		r.endGroup()
	}
	if r.up {
		r.noticeCatalog()
	}
}

// durable is the commit's report of fresh entries.
func (r *region) durable(l globaltable.Lane, entries []change.Entry) {
	// It is evidence before the region can die: somebody may have been given the entries already.
	r.placements[l.ID] = l.Placement
	r.seeing = sight{durable: withoutStore(r.positions()), reached: r.reachedLanes()}
	for i := range entries {
		r.record(l.ID, &entries[i])
	}
	r.seeing = sight{}
	if r.dies() {
		return
	}
	// As outbox.Runner.Fresh does.
	r.actTail(r.outbox.AddLane(l, entries[0].Seq-1, entries[0].Seq-1))
	r.actTail(r.outbox.Fresh(l.ID, entries))
}

func (r *region) serviceConfig() peer.ServiceConfig {
	return peer.ServiceConfig{
		Self: identities()[r.origin].descriptor, Descriptor: identities()[r.origin].token,
		Log: peerLog{r}, Matrix: r.matrix,
		Regions:  func(name string) (globaltable.Descriptor, bool) { return r.catalog.View().Region(name) },
		Clock:    r.clock.Last,
		Observe:  r.clock.Observe,
		Physical: r.physical,
		Known:    func(o hlc.Origin) globaltable.Incarnation { return r.known(o) },
		Trusts: func(o hlc.Origin, inc globaltable.Incarnation) (bool, globaltable.Version) {
			return membership.Trusts(r.catalog.View(), o, inc)
		},
		Met: r.met,
		ConfirmedBy: func(p hlc.Origin, store globaltable.Incarnation, lane globaltable.LaneID) uint64 {
			return r.shard.ConfirmedBy(p, store, lane)
		},
		Confirmed: func(p hlc.Origin, store globaltable.Incarnation, lane globaltable.LaneID, seq uint64, past bool) {
			if past {
				r.shard.ConfirmPeer(p, store, lane, seq)
			}
			r.actTail(r.outbox.Confirmed(lane, p, seq))
		},
		Regressed: r.regressed,
		Control:   r.plane.HandlePeer,
		Exchange:  r.exchange,
		HandOver:  r.taker.Take,
		Offered:   r.giver.Answer,
		Triggers: func(asker globaltable.Descriptor, g *trigger.Gossip) {
			if r.triggers != nil {
				r.triggers.Hear(asker.Origin, g)
			}
		},
	}
}

// known is regionnode's: the newest incarnation of a peer that this region has met.
func (r *region) known(o hlc.Origin) globaltable.Incarnation {
	newest := r.shard.Revoked(o)
	for _, p := range r.shard.Positions() {
		if p.Origin == o {
			newest = max(newest, p.Incarnation)
		}
	}
	return newest
}

// session is the one in which this region follows another; nil if there is none.
func (r *region) session(from *region) *session {
	for _, s := range r.sessions {
		if s.from == from {
			return s
		}
	}
	return nil
}

// peerLog is the region's log as its peer service reads it. The heads are those sampled when the request came.
type peerLog struct{ r *region }

func (l peerLog) Incarnation() globaltable.Incarnation { return l.r.shard.Incarnation() }

func (l peerLog) Heads(context.Context) (hlc.Timestamp, []peer.LaneHead, error) {
	var out []peer.LaneHead
	for _, h := range l.r.sample.Lanes {
		out = append(out, peer.LaneHead{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain, Trimmed: h.Trimmed})
	}
	return l.r.sample.HLC, out, nil
}

func (l peerLog) Head(id globaltable.LaneID) (peer.LaneHead, bool) {
	for _, h := range l.r.sample.Lanes {
		if h.ID == id {
			return peer.LaneHead{Lane: h.Lane, Seq: h.Seq, Chain: h.Chain, Trimmed: h.Trimmed}, true
		}
	}
	return peer.LaneHead{}, false
}

func (l peerLog) ReadLog(lane globaltable.LaneID, from uint64, maxBytes int) ([]change.Entry, error) {
	entries, err := l.r.readLog(lane, from, maxBytes)
	for i := range entries {
		l.r.gives(l.r.asker.origin, "its log", changedBy(&entries[i]))
	}
	return entries, err
}

// sampled calls then when the heads, as they are now, are durable; they are r.sample then.
func (r *region) sampled(then func()) {
	r.manual.Heads(func(h commit.Heads, err error) {
		if err == nil {
			r.sample = h
			then()
		}
	})
	r.work()
}

// salts is randomness for bodies.
type salts struct{ rng *rand.Rand }

func (s salts) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.rng.Uint32())
	}
	return len(p), nil
}
