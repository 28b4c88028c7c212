package outbox_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	shared globaltable.TableID = 0x1000 // in eu (1), us (2) and in (3)
	alone  globaltable.TableID = 0x2000 // in eu
)

var (
	names    = map[hlc.Origin]string{1: "eu", 2: "us", 3: "in"}
	everyone = globaltable.NewPlacement(1, 2, 3)
)

// tables is a catalog of two tables that never change.
type tables struct{}

func (tables) Place(id globaltable.TableID, _ []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool) {
	p := everyone
	if id == alone {
		p = globaltable.NewPlacement(1)
	}
	return p, p.Lane(), 1, true
}

func (tables) Admits(globaltable.TableID, []byte, globaltable.Version) bool { return true }

func (tables) Trusts(hlc.Origin, globaltable.Incarnation) bool       { return true }
func (tables) Excludes(globaltable.TableID, []byte, hlc.Origin) bool { return false }
func (tables) Placing(globaltable.TableID) globaltable.Version       { return 0 }
func (tables) Version(globaltable.TableID) globaltable.Version       { return 1 }

func (tables) Settled(globaltable.TableID) bool { return true }

func (tables) Expiry(globaltable.TableID) conflict.Expiry { return nil }

func (tables) Foreign(globaltable.TableID, []byte, globaltable.Version) bool    { return false }
func (tables) Pinned() bool                                                     { return false }
func (tables) Stream(globaltable.TableID) (int64, globaltable.StreamView, bool) { return 0, "", false }
func (tables) Indexed(globaltable.TableID) *globaltable.Table                   { return nil }
func (tables) KeySchema(globaltable.TableID) *globaltable.KeySchema             { return nil }
func (tables) Prepare([]item.Item) (commit.Adoption, error)                     { return commit.Adoption{}, nil }

// faultyHome is a home that refuses what it is told to.
type faultyHome struct {
	bus.Home
	mu      sync.Mutex
	refuse  map[string]int // calls to refuse, by method
	refused map[string]int
}

var errRefused = errors.New("refused")

func (h *faultyHome) fails(method string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse[method] == 0 {
		return false
	}
	h.refuse[method]--
	h.refused[method]++
	return true
}

func (h *faultyHome) ResetLane(ctx context.Context, l bus.LaneSpec) error {
	if h.fails("reset") {
		return errRefused
	}
	return h.Home.ResetLane(ctx, l)
}

func (h *faultyHome) OpenLane(ctx context.Context, l bus.LaneSpec) error {
	if h.fails("open") {
		return errRefused
	}
	return h.Home.OpenLane(ctx, l)
}

func (h *faultyHome) RemoveLane(ctx context.Context, id globaltable.LaneID) error {
	if h.fails("remove") {
		return errRefused
	}
	return h.Home.RemoveLane(ctx, id)
}

func (h *faultyHome) Lanes(ctx context.Context) ([]globaltable.LaneID, error) {
	if h.fails("list") {
		return nil, errRefused
	}
	return h.Home.Lanes(ctx)
}

func (h *faultyHome) Publish(ctx context.Context, id globaltable.LaneID, m []byte, done func(error)) error {
	if h.fails("publish") {
		return errRefused
	}
	if h.fails("take") {
		return h.Home.Publish(ctx, id, m, func(error) { done(errRefused) })
	}
	return h.Home.Publish(ctx, id, m, done)
}

// origin is region eu as far as an outbox needs one. It lives in a synctest bubble.
type origin struct {
	t       *testing.T
	network *bus.MemoryNetwork
	home    *faultyHome
	engine  *store.Memory
	shard   *commit.Shard
	runner  *outbox.Runner
	begin   func()
	stop    func()

	mu             sync.Mutex
	resets, failed int
	held           uint64 // the sequence of an entry that may not be sent; 0: all may
	left           bool   // the shared lane is not written any more
}

// inOrigin runs a story. The runner has not been begun.
func inOrigin(t *testing.T, limits outbox.Limits, streamBytes int64, story func(t *testing.T, o *origin)) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{t: t, network: bus.NewMemoryNetwork(), engine: store.NewMemory()}
		home := o.network.Home("eu")
		o.home = &faultyHome{Home: home, refuse: map[string]int{}, refused: map[string]int{}}
		var err error
		o.shard, err = commit.Open(commit.Config{Origin: 1, Engine: o.engine, Clock: hlc.NewClock(time.Now, 0), Catalog: tables{},
			Events: commit.Events{Durable: func(l globaltable.Lane, entries []change.Entry) { o.runner.Fresh(l, entries) }}})
		if err != nil {
			t.Fatal(err)
		}
		count := func(n *int) {
			o.mu.Lock()
			defer o.mu.Unlock()
			*n++
		}
		o.runner = outbox.NewRunner(outbox.RunnerConfig{Self: 1, Incarnation: o.shard.Incarnation(), Home: o.home, Log: o.shard,
			Floor: func(globaltable.LaneID) hlc.Timestamp { return 7 }, Name: func(p hlc.Origin) string { return names[p] },
			Limits: limits, StreamBytes: streamBytes,
			Used: func(globaltable.LaneID) bool {
				o.mu.Lock()
				defer o.mu.Unlock()
				return !o.left
			},
			MaySend: func(l globaltable.Lane, e *change.Entry) error {
				o.mu.Lock()
				defer o.mu.Unlock()
				if l.ID != everyone.Lane() || e.Seq != o.held {
					return nil
				}
				return errRefused
			},
			Events: outbox.Events{Reset: func(globaltable.LaneID) { count(&o.resets) }, Failed: func(globaltable.LaneID, error) { count(&o.failed) }}})
		ctx, cancel := context.WithCancel(context.Background())
		var shard, running sync.WaitGroup
		run := func(group *sync.WaitGroup, ctx context.Context, f func(context.Context) error) {
			group.Go(func() {
				if err := f(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		shardCtx, stopShard := context.WithCancel(context.Background())
		run(&shard, shardCtx, o.shard.Run)
		o.begin = sync.OnceFunc(func() { run(&running, ctx, o.runner.Run) })
		o.stop = func() {
			cancel()
			running.Wait()
		}
		defer func() {
			o.stop()
			stopShard()
			shard.Wait()
			if err := home.Close(); err != nil {
				t.Error(err)
			}
		}()
		story(t, o)
	})
}

// write puts count items, one entry each, with values that cannot be compressed.
func (o *origin) write(table globaltable.TableID, count, size int) {
	o.t.Helper()
	for range count {
		pk := item.AppendInt(nil, rand.Int64())
		key, err := item.AppendKey(nil, pk, nil)
		if err != nil {
			o.t.Fatal(err)
		}
		value := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(value) // never fails
		var b item.Builder
		b.Add([]byte("id"), pk)
		b.Add([]byte("v"), item.AppendBinary(nil, value))
		it, err := b.AppendItem(nil)
		if err != nil {
			o.t.Fatal(err)
		}
		err = o.shard.Write(o.t.Context(), &commit.Write{Keys: []commit.Key{{Table: table, Bytes: key}},
			Plan: func([]commit.Current) ([][]conflict.Op, error) {
				return [][]conflict.Op{conflict.RecordPut(nil, it)}, nil
			}})
		if err != nil {
			o.t.Fatal(err)
		}
	}
}

// pulled is what a peer has got of the lane.
type pulled struct {
	mu       sync.Mutex
	messages []change.Message
	entries  []change.Entry
}

// pull follows the shared lane as a peer does, until the test ends.
func (o *origin) pull(peer string) *pulled {
	p := &pulled{}
	link := o.network.Dial(peer, "eu")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			var assembly change.Assembler
			_ = link.Pull(ctx, everyone.Lane(), 1<<20, func(m bus.Message) { // not there yet, or made anew: tried again
				p.take(o.t, &assembly, m)
			})
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	stop := o.stop
	o.stop = func() {
		cancel()
		running.Wait()
		if err := link.Close(); err != nil {
			o.t.Error(err)
		}
		stop()
	}
	return p
}

func (p *pulled) take(t *testing.T, assembly *change.Assembler, m bus.Message) {
	msg, err := change.DecodeMessage(m.Data)
	if err != nil {
		t.Error(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages = append(p.messages, msg)
	e, complete, err := assembly.Add(msg)
	if err != nil {
		t.Error(err)
	}
	if complete {
		p.entries = append(p.entries, e)
	}
	if err := m.Ack(); err != nil {
		t.Error(err)
	}
}

func (p *pulled) seqs() (out []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		out = append(out, e.Seq)
	}
	return out
}

// until lets virtual time pass until ok; it fails when that takes more than a minute.
func (o *origin) until(what string, ok func() bool) {
	o.t.Helper()
	for range 600 {
		synctest.Wait()
		if ok() {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	o.t.Fatalf("never: %s: %+v", what, o.runner.Status())
}

// lane is the status of the shared lane.
func (o *origin) lane() outbox.Backlog {
	for _, b := range o.runner.Status() {
		if b.Lane.ID == everyone.Lane() {
			return b
		}
	}
	return outbox.Backlog{}
}

func sequence(from, to uint64) (out []uint64) {
	for s := from; s <= to; s++ {
		out = append(out, s)
	}
	return out
}

// What another store has left in the bus goes, at the start and when the bus begins again, over failures; so does the stream of a lane that is over, and comes when the lane does.
func TestStreamsThatNobodyNeedsAreRemoved(t *testing.T) {
	inOrigin(t, outbox.Limits{}, 0, func(t *testing.T, o *origin) {
		lanes := func() []globaltable.LaneID {
			ids, err := o.home.Home.Lanes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		leave := func(ids ...globaltable.LaneID) {
			for _, id := range ids {
				if err := o.home.Home.ResetLane(t.Context(), bus.LaneSpec{ID: id, MaxBytes: 1 << 10}); err != nil {
					t.Fatal(err)
				}
			}
		}
		leave(7, 8, everyone.Lane())
		o.home.refuse["list"], o.home.refuse["remove"] = 2, 3
		o.write(shared, 3, 100)
		us := o.pull("us")
		o.begin()
		o.until("only the lane of the log has a stream", func() bool { return slices.Equal(lanes(), []globaltable.LaneID{everyone.Lane()}) })
		o.until("us has all", func() bool { return slices.Equal(us.seqs(), sequence(1, 3)) })
		o.mu.Lock()
		if o.failed != 5 {
			t.Errorf("%d failures", o.failed)
		}
		o.left = true
		o.mu.Unlock()
		o.runner.Confirmed(2, everyone.Lane(), 3)
		time.Sleep(5 * time.Second) // of the bubble
		if len(lanes()) != 1 {
			t.Error("a stream was removed that a peer may need")
		}
		o.runner.Confirmed(3, everyone.Lane(), 3)
		o.until("there is no stream", func() bool { return len(lanes()) == 0 && o.runner.Live(everyone.Lane()) })
		leave(9, everyone.Lane())                                                                 // the bus was restored from a backup
		if err := o.home.Home.Publish(t.Context(), 99, []byte("x"), func(error) {}); err != nil { // there is no such stream: the home says that it may have lost others
			t.Fatal(err)
		}
		o.until("there is no stream again", func() bool { return len(lanes()) == 0 })
		o.write(shared, 1, 100)
		o.until("us has what was written then", func() bool { return slices.Contains(us.seqs(), 4) })
		for _, peer := range []hlc.Origin{2, 3} {
			o.runner.Confirmed(peer, everyone.Lane(), 4)
		}
		o.until("there is no stream at the end", func() bool { return len(lanes()) == 0 })
	})
}

func TestEntriesReachPeersInOrder(t *testing.T) {
	inOrigin(t, outbox.Limits{}, 0, func(t *testing.T, o *origin) {
		o.write(shared, 5, 100) // before the bus
		us := o.pull("us")
		o.begin()
		o.write(shared, 5, 100)
		o.write(shared, 1, 3<<20) // several messages
		o.write(shared, 1, 100)
		o.until("us has all", func() bool { return slices.Equal(us.seqs(), sequence(1, 12)) })
		var chain globaltable.Chain
		for _, e := range us.entries {
			if chain = change.NextChain(chain, e.Seq, e.BodyHash); chain != e.Chain {
				t.Errorf("the chain breaks at %d", e.Seq)
			}
		}
		for _, m := range us.messages {
			if m.Origin != 1 || m.Incarnation != o.shard.Incarnation() || m.Lane != everyone.Lane() || m.Floor != 7 {
				t.Errorf("message of %+v with floor %d", m.Source, m.Floor)
			}
		}
		if o.resets != 1 || o.failed != 0 {
			t.Errorf("%d resets, %d failures", o.resets, o.failed)
		}
	})
}

func TestFailuresOfTheBusAreTriedAgain(t *testing.T) {
	for _, method := range []string{"reset", "open", "publish", "take"} {
		t.Run(method, func(t *testing.T) {
			inOrigin(t, outbox.Limits{}, 0, func(t *testing.T, o *origin) {
				o.home.refuse[method] = 3
				us := o.pull("us")
				o.begin()
				o.write(shared, 10, 100)
				o.until("us has all", func() bool {
					got := us.seqs()
					slices.Sort(got)
					return slices.Equal(slices.Compact(got), sequence(1, 10))
				})
				o.until("the lane is live", func() bool { return o.lane().Live })
				if o.home.refused[method] != 3 {
					t.Errorf("refused %v", o.home.refused)
				}
				if o.resets < 2 {
					t.Errorf("%d resets: a lane begins again with an empty stream", o.resets)
				}
				if method != "take" && o.failed == 0 { // what the bus did not take is no failed call
					t.Error("nobody was told")
				}
			})
		})
	}
}

// TestWhatMayNotBeSentStopsTheLane: neither that entry nor one after it reaches a peer, until it may be sent.
func TestWhatMayNotBeSentStopsTheLane(t *testing.T) {
	inOrigin(t, outbox.Limits{}, 0, func(t *testing.T, o *origin) {
		o.held = 4
		us := o.pull("us")
		o.begin()
		o.write(shared, 10, 100)
		o.until("the lane was tried again and again", func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.failed > 5
		})
		for _, seq := range us.seqs() {
			if seq >= o.held {
				t.Errorf("entry %d was sent", seq)
			}
		}
		o.mu.Lock()
		o.held = 0
		o.mu.Unlock()
		o.until("us has all", func() bool {
			got := us.seqs()
			slices.Sort(got)
			return slices.Equal(slices.Compact(got), sequence(1, 10))
		})
	})
}

func TestStreamIsRefilledFromTheLog(t *testing.T) {
	inOrigin(t, outbox.Limits{FreshBytes: 1 << 10, PageBytes: 2 << 10, RefillEntries: 20}, 0, func(t *testing.T, o *origin) {
		o.begin()
		o.write(shared, 50, 500)
		o.until("the lane is live", func() bool { return o.lane().Live })
		o.network.Restart("eu")
		us := o.pull("us")
		o.until("us has the newest", func() bool { return slices.Equal(us.seqs(), sequence(31, 50)) })
		o.write(shared, 5, 500)
		o.until("us has what is new", func() bool { return slices.Equal(us.seqs(), sequence(31, 55)) })
	})
}

func TestFreshEntriesBeyondTheBoundComeFromTheLog(t *testing.T) {
	inOrigin(t, outbox.Limits{FreshBytes: 1 << 10, FlightBytes: 1 << 10, PageBytes: 4 << 10}, 0, func(t *testing.T, o *origin) {
		us := o.pull("us")
		o.begin()
		o.write(shared, 100, 900)
		o.until("us has all", func() bool { return slices.Equal(us.seqs(), sequence(1, 100)) })
	})
}

func TestTrimWaitsForEveryPeer(t *testing.T) {
	inOrigin(t, outbox.Limits{TrimEvery: 5}, 0, func(t *testing.T, o *origin) {
		us := o.pull("us")
		o.begin()
		o.write(shared, 20, 10)
		o.until("us has all", func() bool { return len(us.seqs()) == 20 }) // and has told the bus so
		trimmed := func() uint64 {
			heads, err := o.shard.Heads(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return heads.Lanes[0].Trimmed
		}
		pass := func() {
			<-time.After(5 * time.Second)
			synctest.Wait()
		}
		pass()
		if got := trimmed(); got != 0 {
			t.Fatalf("trimmed to %d on the bus's word", got)
		}
		o.runner.Confirmed(2, everyone.Lane(), 20)
		pass()
		if got := trimmed(); got != 0 {
			t.Fatalf("trimmed to %d without the second peer", got)
		}
		o.runner.Confirmed(3, everyone.Lane(), 12)
		o.until("trimmed to what both have", func() bool { return trimmed() == 12 })
		o.runner.Confirmed(3, everyone.Lane(), 1000) // nonsense is bounded by the head, and the newest entry stays
		o.until("trimmed to all but the newest", func() bool { return trimmed() == 19 })
	})
}

func TestLaneWithoutPeersNeedsNoStream(t *testing.T) {
	inOrigin(t, outbox.Limits{}, 0, func(t *testing.T, o *origin) {
		o.begin()
		o.write(alone, 10, 10)
		o.until("it is trimmed", func() bool {
			heads, err := o.shard.Heads(t.Context())
			return err == nil && heads.Lanes[0].Trimmed == 9
		})
		if st := o.runner.Status(); len(st) != 1 || !st[0].Live || len(st[0].Confirmed) != 0 || o.resets != 0 {
			t.Errorf("status %+v with %d streams made", st, o.resets)
		}
	})
}

func TestStopWhileBusy(t *testing.T) {
	inOrigin(t, outbox.Limits{}, 0, func(t *testing.T, o *origin) {
		o.begin()
		var writing sync.WaitGroup
		for i := range 4 {
			writing.Go(func() {
				for range 50 {
					o.write([]globaltable.TableID{shared, alone}[i%2], 1, 100)
				}
			})
		}
		o.stop()
		writing.Wait() // entries come after the end, and harm nobody
		if st := o.runner.Status(); len(st) == 0 || st[0].Head == 0 {
			t.Errorf("status %+v", st)
		}
	})
}
