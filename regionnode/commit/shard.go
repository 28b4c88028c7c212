package commit

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

// Shard is the one door into a store. Its methods may be called from several goroutines. Writes and everything else that goes through the
// sequencer wait until Run runs.
type Shard struct {
	cfg         Config
	incarnation globaltable.Incarnation

	core      core
	rules     rules
	latches   *latches
	pending   pending
	progress  progress
	started   atomic.Uint64 // number of the newest group that may be visible
	queue     *queue
	gate      gate
	confirmed confirmed
	purges    purges
	indexes   indexes
	placings  placings
	streams   streams
	letters   letters
	view      view
	arrivals  arrivals
	pool      sync.Pool // of *submission
	failure   atomic.Pointer[error]
	failOnce  sync.Once
	failed    chan struct{} // closed when the store has failed

	// buildMu is held while a group is built: the time in which the memory of callers is read.
	buildMu sync.Mutex
}

// Open reads the shard's state, makes an identity in a new store, and moves the clock past every stamp that the store may hold. It starts nothing.
func Open(cfg Config) (*Shard, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	l, isNew, err := load(cfg.Engine)
	if err != nil {
		return nil, err
	}
	if isNew {
		if l.identity, err = found(&cfg); err != nil {
			return nil, err
		}
	} else {
		if l.identity.origin != cfg.Origin || l.identity.shard != cfg.Shard {
			return nil, fault(globaltable.Invalid, "open store",
				fmt.Sprintf("the store belongs to shard %d of region %d, not to shard %d of region %d",
					l.identity.shard, l.identity.origin, cfg.Shard, cfg.Origin), nil)
		}
		if !plantedClock {
			cfg.Clock.Restore(l.bound)
		}
	}
	return newShard(cfg, l)
}

// found writes the identity of a new store, durably.
func found(cfg *Config) (identity, error) {
	id := identity{cfg.Origin, cfg.Shard, globaltable.Incarnation(cfg.Clock.Now())}
	// The bound has to be in the store whatever was reserved for an earlier life of this clock.
	bound, _ := cfg.Clock.Reserve(cfg.Clock.MaxOffset() / 2)
	b := cfg.Engine.NewBatch()
	b.Set(store.AppendMetaKey(nil, store.MetaIdentity), id.append(nil))
	b.Set(store.AppendMetaKey(nil, store.MetaClock), binary.BigEndian.AppendUint64(nil, uint64(bound)))
	wait, err := cfg.Engine.Apply(b)
	if err == nil {
		err = wait()
	}
	if err != nil {
		return identity{}, fault(globaltable.Internal, "make store", "", err)
	}
	cfg.Clock.CommitBound(bound)
	return id, nil
}

func newShard(cfg Config, l *loaded) (*Shard, error) {
	s := &Shard{
		cfg:         cfg,
		incarnation: l.identity.incarnation,
		latches:     newLatches(),
		queue:       newQueue(cfg.MaxQueue, cfg.MaxQueueBytes),
		failed:      make(chan struct{}),
	}
	s.pool.New = func() any { return &submission{done: make(chan error, 1)} }
	s.gate.reasons = make(map[string]error)
	s.confirmed.seqs, s.confirmed.dirty = l.confirmed, make(map[confirmedKey]struct{})
	s.purges.catalog, s.purges.clock, s.purges.tables, s.purges.dirty = cfg.Catalog, cfg.Clock, l.purges, make(map[globaltable.TableID]struct{})
	s.indexes.states, s.indexes.dirty = l.indexes, make(map[indexKey]struct{})
	s.placings.of = l.placings
	s.letters.of = l.letters
	s.streams.born = hlc.Timestamp(l.identity.incarnation)
	s.streams.states, s.streams.dirty, s.streams.ends = l.streams, make(map[cdc.Stream]struct{}), make(map[cdc.Stream]hlc.Timestamp)
	for id, state := range l.streams {
		s.streams.mark = max(s.streams.mark, state.last)
		s.streams.ends[id] = state.last
	}
	s.rules = rules{origin: cfg.Origin, clock: cfg.Clock, catalog: cfg.Catalog, purges: &s.purges, panic: cfg.Events.Panic}
	s.core = core{
		rules: &s.rules, origin: cfg.Origin, engine: cfg.Engine, clock: cfg.Clock, catalog: cfg.Catalog, relog: cfg.Relog, random: cfg.Random,
		ahead: cfg.Clock.MaxOffset() / 2, pending: &s.pending, digests: newDigests(cfg.Engine, cfg.MaxTables), confirmed: &s.confirmed, purges: &s.purges, indexes: &s.indexes, mirrors: l.mirrors, placings: &s.placings, streams: &s.streams, letters: &s.letters, voiding: cfg.Events.Voided, view: &s.view, arrivals: &s.arrivals,
		tokens: tokens{max: cfg.MaxTokens, counts: l.tokens},
		lanes:  l.lanes, cleared: make(map[globaltable.TableID]uint64), positions: l.positions, revoked: l.revoked, catchUps: l.catchUps, incarnations: make(map[originShard]globaltable.Incarnation),
	}
	s.view.lanes = make(map[globaltable.LaneID]*laneView)
	s.view.sent = l.sent
	s.view.positions = make(map[positionKey]globaltable.Position)
	s.view.revoked = make(map[hlc.Origin]globaltable.Incarnation)
	s.view.catchUps = maps.Clone(l.catchUps)
	s.view.mirrors = make(map[globaltable.TableID]MirrorStatus)
	for from, m := range l.mirrors {
		s.view.mirrors[from] = m.status(from)
	}
	for k, p := range l.positions {
		o := originShard{k.origin, k.shard}
		s.core.incarnations[o] = max(s.core.incarnations[o], p.Incarnation)
		s.view.positions[k] = p
	}
	for o, inc := range l.revoked {
		s.view.revoked[o] = inc
	}
	for id, ln := range l.lanes {
		v := s.view.lane(id)
		v.LaneHead = ln.head()
		size, err := cfg.Engine.Size(store.LogRange(id, 0, 0))
		if err != nil {
			return nil, fault(globaltable.Internal, "open store", "", err)
		}
		if ln.seq > 0 {
			v.size.marks = []sizeMark{{seq: ln.trimmed}, {seq: ln.seq, bytes: size}}
		}
	}
	return s, nil
}

// Incarnation returns this store's incarnation.
func (s *Shard) Incarnation() globaltable.Incarnation { return s.incarnation }

// Write does w. It returns nil when the write is durable; for an error of any kind but Unknown, nothing was written. An error of the plan is
// returned when what the plan has seen is durable. When ctx ends early the kind is Unavailable if nothing was done, else Unknown.
func (s *Shard) Write(ctx context.Context, w *Write) error {
	w.Logged, w.Repeated = w.Logged[:0], false
	if err := s.gate.err(); err != nil {
		return err
	}
	sub := s.newSubmission(kindWrite)
	if err := sub.addWriteKeys(w); err != nil {
		s.recycle(sub)
		return err
	}
	if err := s.latch(ctx, sub); err != nil {
		s.recycle(sub)
		return err
	}
	writes, err := s.plan(sub)
	if err != nil || !writes {
		n := s.release(sub)
		if werr := s.progress.wait(ctx, n); werr != nil {
			return werr
		}
		return err
	}
	_, err = s.submit(ctx, sub)
	return err
}

// latch takes the latches of a write, or none.
func (s *Shard) latch(ctx context.Context, sub *submission) error {
	if s.latches.tryAcquire(sub.hashes) {
		return nil
	}
	waiting := ctx
	if sub.transaction {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, s.cfg.TransactionWait)
		defer cancel()
	}
	missed, ok := s.latches.acquire(waiting, sub.hashes)
	switch {
	case ok:
		return nil
	case ctx.Err() != nil:
		return errInterrupted(ctx, globaltable.Unavailable)
	}
	return &ConflictError{Key: slices.IndexFunc(sub.keys, func(k keyState) bool { return k.hash == missed })}
}

// release gives a submission up that was read but not queued. It returns the newest group that it may have seen.
func (s *Shard) release(sub *submission) (seen uint64) {
	for _, h := range sub.hashes {
		seen = max(seen, s.pending.group(h))
	}
	s.latches.release(sub.hashes)
	s.recycle(sub)
	return seen
}

// addWriteKeys checks and takes over the keys of w.
func (sub *submission) addWriteKeys(w *Write) error {
	if len(w.Keys) == 0 || len(w.Keys) > maxWriteKeys || w.Plan == nil {
		return fault(globaltable.Invalid, opWrite, fmt.Sprintf("a write has a plan and 1 to %d keys", maxWriteKeys), nil)
	}
	for _, k := range w.Keys {
		if err := checkKey(k); err != nil {
			return err
		}
		sub.addKey(k.Table, k.Bytes)
	}
	for i := range w.Keys {
		for j := range i {
			if w.Keys[i].Table == w.Keys[j].Table && string(w.Keys[i].Bytes) == string(w.Keys[j].Bytes) {
				return fault(globaltable.Invalid, opWrite, "a write has the same key twice", nil)
			}
		}
	}
	if w.Token != nil {
		sub.hashes = append(sub.hashes, w.Token.hash())
	}
	sub.hashes = sortHashes(sub.hashes)
	sub.transaction, sub.token, sub.write = w.Transaction, w.Token, w
	return nil
}

func checkKey(k Key) error {
	if len(k.Bytes) < minKeyLen || len(k.Bytes) > maxKeyLen {
		return fault(globaltable.Invalid, opWrite, "a key of an impossible length", nil)
	}
	return nil
}

// plan reads and plans a latched write. writes is false when there is nothing to write.
func (s *Shard) plan(sub *submission) (writes bool, err error) {
	if sub.token != nil {
		w := sub.write
		if w.Repeated, err = sub.token.done(s.cfg.Engine, s.cfg.Clock.Now()); err != nil || w.Repeated {
			return false, err
		}
	}
	if err := sub.read(s.cfg.Engine, s.cfg.Catalog, s.progress.durable.Load()); err != nil {
		return false, err
	}
	if err := sub.mayLook(s.cfg.Catalog); err != nil {
		return false, err
	}
	writes, err = s.rules.plan(sub)
	return writes || sub.token != nil, err
}

// submit queues sub and waits for its answer. In every case sub is recycled and its latches are released, by whoever has it last: it is not touched
// any more after it was given up.
func (s *Shard) submit(ctx context.Context, sub *submission) (result RemoteResult, err error) {
	if err := s.queue.push(ctx, sub); err != nil {
		s.latches.release(sub.hashes)
		s.recycle(sub)
		return RemoteResult{}, err
	}
	select {
	case err = <-sub.done:
	case <-ctx.Done():
		if sub.state.CompareAndSwap(stateQueued, stateCancelled) {
			return RemoteResult{}, errInterrupted(ctx, globaltable.Unavailable)
		}
		if sub.state.CompareAndSwap(stateTaken, stateAbandoned) {
			// The sequencer may be reading this caller's memory.
			s.buildMu.Lock()
			defer s.buildMu.Unlock()
			return RemoteResult{}, errInterrupted(ctx, globaltable.Unknown)
		}
		err = <-sub.done
	}
	result = sub.result
	if sub.write != nil && err == nil {
		sub.write.Logged = append(sub.write.Logged, sub.logged...)
	}
	s.recycle(sub)
	return result, err
}

// Get calls f with the newest state of key, a view, and returns when what f has seen is durable. f's error is returned.
func (s *Shard) Get(ctx context.Context, key Key, f func(Current) error) error {
	if err := checkKey(key); err != nil {
		return err
	}
	var space [128]byte
	value, release, ok, err := s.cfg.Engine.Get(store.AppendRecordKey(space[:0], key.Table, key.Bytes))
	if err != nil {
		return fault(globaltable.Internal, "read store", "", err)
	}
	var current Current
	if ok {
		defer release.Close()
		x := s.cfg.Catalog.Expiry(key.Table)
		if current, _, err = currentOf(s.cfg.Catalog, x, key, value, s.momentOf(x)); err != nil {
			return err
		}
	}
	err = f(current)
	if werr := s.progress.wait(ctx, s.pending.group(hashKey(key.Table, key.Bytes))); werr != nil {
		return werr
	}
	return err
}

// Refuse makes client writes fail with err until Allow is called with the same reason. Remote changes and reads go on.
func (s *Shard) Refuse(reason string, err error) { s.gate.set(reason, err) }

// Returning says whether the store was emptied, and the other regions do not follow it yet. What it merges meanwhile is dropped again when its tables are made anew, and so would be what it lists of that, in spite of the log: until then
// it lists no conflicts, but for those of what is replayed. All it has is of others, who list what of theirs is lost.
func (s *Shard) Returning(is bool) { s.rules.returning.Store(is) }

// Returns reports what Returning was told.
func (s *Shard) Returns() bool { return s.rules.returning.Load() }

// Allow ends a refusal. It is no error if there is none.
func (s *Shard) Allow(reason string) { s.gate.set(reason, nil) }
