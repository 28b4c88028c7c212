package commit

import (
	"context"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/cdc"
)

// Manual drives a shard without goroutines, one step at a time, in the caller's order: for the simulation, which owns time and crash points. It runs the
// code that Run runs. Each callback is called exactly once, from within a call of Manual, unless the simulated crash comes first.
// A shard is driven by a Manual or by Run, not by both. The shard's blocking methods that submit must not be called, reads of durable state may.
type Manual struct {
	s        *Shard
	inFlight []*group
}

// NewManual returns a driver of s.
func NewManual(s *Shard) *Manual { return &Manual{s: s} }

// Write queues w. done may be called at once.
func (m *Manual) Write(w *Write, done func(error)) {
	s := m.s
	if err := s.gate.err(); err != nil {
		done(err)
		return
	}
	sub := s.newSubmission(kindWrite)
	if err := sub.addWriteKeys(w); err != nil {
		s.recycle(sub)
		done(err)
		return
	}
	m.latch(sub)
	writes, err := s.plan(sub)
	if err != nil || !writes {
		if werr := m.settleUpTo(s.release(sub)); werr != nil {
			err = werr
		}
		done(err)
		return
	}
	m.push(sub, func(_ RemoteResult, err error) { done(err) })
}

// ApplyRemote queues r.
func (m *Manual) ApplyRemote(r *Remote, done func(RemoteResult, error)) {
	sub, err := m.s.prepareRemote(r)
	if err != nil {
		done(RemoteResult{}, err)
		return
	}
	m.merge(sub, done)
}

// MergeRecords queues records.
func (m *Manual) MergeRecords(records []RecordAt, done func(error)) {
	sub, err := m.s.prepareRecords(records)
	if err != nil {
		done(err)
		return
	}
	m.merge(sub, func(_ RemoteResult, err error) { done(err) })
}

// MergeFrom queues what Shard.MergeFrom does.
func (m *Manual) MergeFrom(origin hlc.Origin, incarnation globaltable.Incarnation, records []RecordAt, done func(error)) {
	sub, err := m.s.prepareRecords(records)
	if err != nil {
		done(err)
		return
	}
	sub.giver = giver{origin, incarnation}
	m.merge(sub, func(_ RemoteResult, err error) { done(err) })
}

// Heads queues a sample of the heads.
func (m *Manual) Heads(done func(Heads, error)) {
	out := new(Heads)
	m.control(false, func(_ *core, g *group) error {
		g.sampled = append(g.sampled, out)
		return nil
	}, func(err error) { done(*out, err) })
}

// Trim queues what Shard.Trim does.
func (m *Manual) Trim(id globaltable.LaneID, upTo uint64, done func(error)) {
	m.control(false, trim(id, upTo), done)
}

// Revoke queues what Shard.Revoke does.
func (m *Manual) Revoke(origin hlc.Origin, inc globaltable.Incarnation, done func(error)) {
	m.control(false, revoke(origin, inc), done)
}

// SetJoin queues what Shard.SetJoin does.
func (m *Manual) SetJoin(table globaltable.TableID, source hlc.Origin, state []byte, done func(error)) {
	m.control(false, setJoin(table, source, state), done)
}

// StartLanes queues what Shard.StartLanes does.
func (m *Manual) StartLanes(origin hlc.Origin, shard uint16, inc globaltable.Incarnation, heads []LaneStart, done func(id uint64, err error)) {
	id := new(uint64)
	m.control(false, startLanes(origin, shard, inc, heads, id), func(err error) { done(*id, err) })
}

// SetCaught queues what Shard.SetCaught does.
func (m *Manual) SetCaught(origin hlc.Origin, id uint64, table globaltable.TableID, state []byte, done func(error)) {
	m.control(false, setCaught(origin, id, table, state), done)
}

// EndCatchUp queues what Shard.EndCatchUp does.
func (m *Manual) EndCatchUp(origin hlc.Origin, id uint64, done func(error)) {
	m.control(false, endCatchUp(origin, id), done)
}

// DropTable queues what Shard.DropTable does.
func (m *Manual) DropTable(table globaltable.TableID, done func(error)) {
	m.control(true, dropTable(table), done)
}

// Collect queues what Shard.Collect does.
func (m *Manual) Collect(table globaltable.TableID, after []byte, limit int, done func(Collected, error)) {
	sub, out, err := m.s.prepareCollect(table, after, limit)
	if err != nil || sub == nil {
		done(out, err)
		return
	}
	m.latch(sub)
	if err := m.s.readAndCollect(sub, &out); err != nil {
		m.s.release(sub)
		done(Collected{}, err)
		return
	}
	m.push(sub, func(_ RemoteResult, err error) { done(out, err) })
}

// BuildIndex queues what Shard.BuildIndex does.
func (m *Manual) BuildIndex(table globaltable.TableID, index globaltable.IndexID, limit int, done func(Built, error)) {
	out := new(Built)
	sub := m.s.newSubmission(kindControl)
	sub.first, sub.control = !plantedBuild, buildIndex(indexKey{table, index}, limit, out)
	m.push(sub, func(_ RemoteResult, err error) { done(*out, err) })
}

// FillMirror queues what Shard.FillMirror does.
func (m *Manual) FillMirror(from globaltable.TableID, limit int, done func(Built, error)) {
	out := new(Built)
	sub := m.s.newSubmission(kindControl)
	sub.first, sub.control = true, fillMirror(from, limit, out)
	m.push(sub, func(_ RemoteResult, err error) { done(*out, err) })
}

// FollowExpiry queues what Shard.FollowExpiry does.
func (m *Manual) FollowExpiry(table globaltable.TableID, limit int, done func(over bool, err error)) {
	switch until, next := m.s.purges.following(table); next {
	case nothingToFollow:
		done(true, nil)
		return
	case walkToBegin:
		m.control(false, beginFollow(table, until), func(err error) { done(false, err) })
		return
	}
	sub, err := m.s.prepareFollow(table, limit)
	if err != nil {
		done(false, err)
		return
	}
	m.latch(sub)
	if err := sub.read(m.s.cfg.Engine, m.s.cfg.Catalog, m.s.progress.durable.Load()); err != nil {
		m.s.release(sub)
		done(false, err)
		return
	}
	m.push(sub, func(_ RemoteResult, err error) { done(false, err) })
}

// TakePurge queues what Shard.TakePurge does.
func (m *Manual) TakePurge(table globaltable.TableID, purge hlc.Timestamp, done func(error)) {
	m.control(false, takePurge(table, purge), done)
}

// RegainPurge queues what Shard.RegainPurge does.
func (m *Manual) RegainPurge(table globaltable.TableID, done func(error)) {
	m.control(false, regainPurge(table), done)
}

// ChangeRebuild queues what Shard.ChangeRebuild does.
func (m *Manual) ChangeRebuild(change func(Rebuild) Rebuild, done func(Rebuild, error)) {
	out := new(Rebuild)
	m.control(false, changeRebuild(change, out), func(err error) { done(*out, err) })
}

// Replay queues what Shard.Replay does, batch after batch.
func (m *Manual) Replay(records []SavedRecord, purge hlc.Timestamp, alone bool, done func(ReplayResult, error)) {
	m.replay(&replaying{records: records, self: m.s.cfg.Origin, purge: purge, alone: alone}, done)
}

func (m *Manual) replay(r *replaying, done func(ReplayResult, error)) {
	sub, err := m.s.prepareReplay(r)
	if err != nil {
		done(ReplayResult{}, err)
		return
	}
	m.latch(sub)
	if err := m.s.planReplay(sub, r); err != nil {
		m.s.release(sub)
		done(ReplayResult{}, err)
		return
	}
	m.listAhead(sub)
	m.push(sub, func(_ RemoteResult, err error) {
		switch {
		case err != nil:
			done(ReplayResult{}, err)
		case len(r.records) > 0:
			m.replay(r, done)
		default:
			done(r.result, nil)
		}
	})
}

// BeginPlacing queues what Shard.BeginPlacing does.
func (m *Manual) BeginPlacing(table globaltable.TableID, version globaltable.Version, at int64, done func(error)) {
	m.control(false, beginPlacing(table, version, at), done)
}

// EndPlacing queues what Shard.EndPlacing does.
func (m *Manual) EndPlacing(table globaltable.TableID, version globaltable.Version, policies []globaltable.Pin, receipt string, done func(error)) {
	m.control(false, endPlacing(table, version, policies, receipt), done)
}

// Review queues what Shard.Review does, batch after batch.
func (m *Manual) Review(table globaltable.TableID, version globaltable.Version, lane globaltable.LaneID, after uint64, done func(Reviewed, error)) {
	r, out, err := m.s.prepareReview(table, version, lane, after)
	if err != nil || r == nil {
		done(out, err)
		return
	}
	m.review(r, out, done)
}

func (m *Manual) review(r *review, out Reviewed, done func(Reviewed, error)) {
	sub := m.s.newSubmission(kindReview)
	sub.review, sub.bytes = r, maxReviewLog
	m.push(sub, func(_ RemoteResult, err error) {
		if err != nil {
			done(Reviewed{}, err)
			return
		}
		out.Voided += len(r.voids)
		if r.seqs = r.seqs[r.done:]; len(r.seqs) > 0 {
			m.review(r, out, done)
			return
		}
		done(out, nil)
	})
}

// TakeOver queues what Shard.TakeOver does.
func (m *Manual) TakeOver(origin hlc.Origin, incarnation globaltable.Incarnation, version globaltable.Version, records []RecordAt, done func(error)) {
	sub, err := m.s.prepareTakeOver(origin, incarnation, version, records)
	if err != nil || sub == nil {
		done(err)
		return
	}
	m.merge(sub, func(_ RemoteResult, err error) { done(err) })
}

// TakeOverSaved queues what Shard.TakeOverSaved does, batch after batch.
func (m *Manual) TakeOverSaved(origin hlc.Origin, incarnation globaltable.Incarnation, version globaltable.Version, purge hlc.Timestamp, parts []RecordAt, done func(ReplayResult, error)) {
	r, err := m.s.prepareTakeOverSaved(origin, incarnation, version, parts)
	if err != nil || r == nil {
		done(ReplayResult{}, err)
		return
	}
	m.TakePurge(r.from.table, purge, func(err error) {
		if r.purge = m.s.Purge(r.from.table); err != nil || plantedSaved {
			done(ReplayResult{}, err)
			return
		}
		m.replayPages(r, r.records, done)
	})
}

func (m *Manual) replayPages(r *replaying, rest []SavedRecord, done func(ReplayResult, error)) {
	r.records = rest[:min(len(rest), MaxReplay)]
	rest = rest[len(r.records):]
	m.replay(r, func(result ReplayResult, err error) {
		if err != nil || len(rest) == 0 {
			done(result, refusedPart(err))
			return
		}
		m.replayPages(r, rest, done)
	})
}

// EraseGiven queues what Shard.EraseGiven does.
func (m *Manual) EraseGiven(table globaltable.TableID, version globaltable.Version, to string, parts []RecordAt, done func(erased int, err error)) {
	erased := new(int)
	m.control(false, eraseGiven(table, version, to, parts, erased), func(err error) { done(*erased, err) })
}

// Erase queues what Shard.Erase does.
func (m *Manual) Erase(table globaltable.TableID, version globaltable.Version, to string, records []RecordAt, done func(erased int, err error)) {
	sub, err := m.s.prepareErase(table, version, to, records)
	if err != nil || sub == nil {
		done(0, err)
		return
	}
	m.latch(sub)
	if err := sub.read(m.s.cfg.Engine, m.s.cfg.Catalog, m.s.progress.durable.Load()); err != nil {
		m.s.release(sub)
		done(0, err)
		return
	}
	e := sub.erase
	m.push(sub, func(_ RemoteResult, err error) {
		if err != nil {
			done(0, err)
			return
		}
		done(int(e.done.Erased), nil)
	})
}

// EraseSaved queues what Shard.EraseSaved does.
func (m *Manual) EraseSaved(table globaltable.TableID, version globaltable.Version, limit int, done func(more bool, err error)) {
	keys, err := m.s.savedToErase(table, limit)
	if err != nil || len(keys) == 0 {
		done(false, err)
		return
	}
	m.control(false, eraseSaved(table, version, keys), func(err error) { done(len(keys) == limit, err) })
}

// TrimStream queues what Shard.TrimStream does.
func (m *Manual) TrimStream(id cdc.Stream, upTo hlc.Timestamp, limit int64, done func(more bool, err error)) {
	cut, err := m.s.streamCut(id, upTo, limit)
	if err != nil || cut.records == 0 {
		done(false, err)
		return
	}
	more := new(bool)
	m.control(false, trimStream(id, &cut, more), func(err error) { done(*more, err) })
}

// DropStream queues what Shard.DropStream does.
func (m *Manual) DropStream(id cdc.Stream, done func(error)) { m.control(false, dropStream(id), done) }

// SetTrigger queues what Shard.SetTrigger does.
func (m *Manual) SetTrigger(id globaltable.TriggerID, state []byte, done func(error)) {
	m.control(false, setTrigger(id, state), done)
}

// DropTrigger queues what Shard.DropTrigger does.
func (m *Manual) DropTrigger(id globaltable.TriggerID, done func(error)) {
	m.control(true, dropTrigger(id), done)
}

// EraseStreams queues what Shard.EraseStreams does.
func (m *Manual) EraseStreams(table globaltable.TableID, version globaltable.Version, after []byte, done func(next []byte, err error)) {
	keys, next, err := m.s.streamsToErase(table, after)
	if err != nil || len(keys) == 0 {
		done(next, err)
		return
	}
	m.control(false, eraseStreams(table, version, keys), func(err error) { done(next, err) })
}

// Build makes one group of what is queued and applies it: it is visible then, not durable. It reports whether there was anything. It syncs first when too many groups are in flight.
func (m *Manual) Build() bool {
	for len(m.inFlight) >= m.s.cfg.MaxGroups {
		m.Sync()
	}
	g, _ := m.s.build()
	if g == nil {
		return false
	}
	m.inFlight = append(m.inFlight, g)
	if g.exclusive {
		for m.Sync() {
		}
	}
	return true
}

// Sync makes the oldest applied group durable, and answers it. It reports whether there was one.
func (m *Manual) Sync() bool {
	if len(m.inFlight) == 0 {
		return false
	}
	g := m.inFlight[0]
	m.inFlight = m.inFlight[1:]
	m.s.sync(g)
	return true
}

// Settle builds and syncs until nothing is left.
func (m *Manual) Settle() {
	for m.Build() || m.Sync() {
	}
}

// settleUpTo syncs until group n is durable.
func (m *Manual) settleUpTo(n uint64) error {
	for m.s.progress.durable.Load() < n && m.Sync() {
	}
	return m.s.progress.wait(context.Background(), n)
}

// latch takes sub's latches. Whoever holds one of them is queued, and lets go when it is built.
func (m *Manual) latch(sub *submission) {
	for !m.s.latches.tryAcquire(sub.hashes) {
		m.Build()
	}
}

func (m *Manual) merge(sub *submission, done func(RemoteResult, error)) {
	m.latch(sub)
	if err := m.s.readAndMerge(sub); err != nil {
		m.s.release(sub)
		done(RemoteResult{}, err)
		return
	}
	m.listAhead(sub)
	m.push(sub, done)
}

// listAhead is Shard.listAhead. That a listing fails shows at what it goes before, too.
func (m *Manual) listAhead(sub *submission) {
	for _, one := range m.s.ahead(sub) {
		m.push(one, func(RemoteResult, error) {})
	}
}

func (m *Manual) control(exclusive bool, f func(*core, *group) error, done func(error)) {
	sub := m.s.newSubmission(kindControl)
	sub.exclusive, sub.control = exclusive, f
	m.push(sub, func(_ RemoteResult, err error) { done(err) })
}

func (m *Manual) push(sub *submission, done func(RemoteResult, error)) {
	sub.notify = func(sub *submission, err error) {
		result := sub.result
		m.s.recycle(sub)
		done(result, err)
	}
	for {
		n, bytes := m.s.queue.length()
		if n == 0 || n < m.s.queue.max && bytes+sub.bytes <= m.s.queue.maxBytes {
			break
		}
		m.Build()
	}
	if err := m.s.queue.push(context.Background(), sub); err != nil {
		m.s.latches.release(sub.hashes)
		m.s.recycle(sub)
		done(RemoteResult{}, err)
	}
}
