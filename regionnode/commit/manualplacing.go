package commit

import (
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// BeginPlacing queues what Shard.BeginPlacing does.
func (m *Manual) BeginPlacing(table globaltable.TableID, version globaltable.Version, at int64, done func(error)) {
	m.control(false, beginPlacing(table, version, at), done)
}

// EndPlacing queues what Shard.EndPlacing does.
func (m *Manual) EndPlacing(table globaltable.TableID, version globaltable.Version, receipt string, done func(error)) {
	m.control(false, endPlacing(table, version, receipt), done)
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
