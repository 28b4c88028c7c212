package commit

import (
	"context"
	"errors"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
)

// Run owns the sequencer and the syncer. When ctx ends it refuses what is new, answers everything that it has taken, and returns nil. When the store fails it
// answers what it has, as far as that is possible, and returns the error. It is called once.
func (s *Shard) Run(ctx context.Context) error {
	groups := make(chan *group, s.cfg.MaxGroups)
	slots := make(chan struct{}, s.cfg.MaxGroups)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for g := range groups {
			s.sync(g)
			<-slots
		}
	}()
	sequenced := make(chan struct{})
	go func() {
		defer close(sequenced)
		defer close(groups)
		s.sequence(groups, slots)
	}()
	select {
	case <-ctx.Done():
		s.queue.close(errStopped())
	case <-s.failed:
	}
	<-sequenced
	<-done
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return s.flushLast()
}

// sequence builds groups until the queue is closed and empty.
func (s *Shard) sequence(groups chan<- *group, slots chan struct{}) {
	for {
		// First the slot, then the submissions: while the disk is busy the next group grows.
		slots <- struct{}{}
		g, more := s.nextGroup()
		if !more {
			<-slots
			return
		}
		exclusive, number := g.exclusive, g.number
		groups <- g
		if exclusive {
			// The catalog may change with this group. A failure shows at the next apply.
			_ = s.progress.wait(context.Background(), number)
		}
	}
}

// nextGroup waits for submissions and builds a group of them.
func (s *Shard) nextGroup() (g *group, more bool) {
	for {
		g, closed := s.build()
		if g != nil {
			return g, true
		}
		if closed {
			return nil, false
		}
		<-s.queue.wake
	}
}

// build makes one group of what is queued and applies it; nil if nothing is. closed tells that nothing will be.
func (s *Shard) build() (g *group, closed bool) {
	s.buildMu.Lock()
	defer s.buildMu.Unlock()
	taken, closed := s.queue.take(nil, s.cfg.MaxGroupBytes)
	if len(taken) == 0 {
		return nil, closed
	}
	g = &group{subs: make([]*submission, 0, len(taken))}
	for _, sub := range taken {
		if !sub.state.CompareAndSwap(stateQueued, stateTaken) {
			s.latches.release(sub.hashes) // its caller took it back, and has gone
			s.recycle(sub)
			continue
		}
		g.subs = append(g.subs, sub)
		g.bytes += sub.bytes
		g.exclusive = g.exclusive || sub.exclusive
	}
	if s.failure.Load() == nil {
		if err := s.buildGroup(g); err != nil {
			s.fail(err)
		}
	}
	s.postpone(g)
	for _, sub := range g.subs {
		s.latches.release(sub.hashes)
	}
	for ; plantedEarly && len(g.subs) > 0; g.subs = g.subs[1:] {
		s.answer(g.subs[0], g.subs[0].err)
	}
	return g, false
}

// postpone puts what had no room in g back to the front of the queue, with its latches. A caller that has gone meanwhile may have taken its memory along: its submission ends here, and nothing of it was done.
func (s *Shard) postpone(g *group) {
	if !slices.ContainsFunc(g.subs, func(sub *submission) bool { return sub.later }) {
		return
	}
	var again []*submission
	g.subs = slices.DeleteFunc(g.subs, func(sub *submission) bool {
		if !sub.later {
			return false
		}
		sub.later = false
		if s.failure.Load() != nil || !sub.state.CompareAndSwap(stateTaken, stateQueued) {
			sub.err = fault(globaltable.Unavailable, opWrite, "given up; nothing was done", nil)
			return false
		}
		again = append(again, sub)
		return true
	})
	s.queue.putBack(again)
}

// buildGroup fills the group's batch and applies it. An error is the end of the shard.
func (s *Shard) buildGroup(g *group) error {
	s.core.begin(g)
	full := false
	for _, first := range [...]bool{true, false} {
		for _, sub := range g.subs {
			if sub.first != first {
				continue
			}
			if sub.later = full; full {
				continue
			}
			if err := s.core.add(g, sub); err != nil {
				s.core.abort(g)
				return err
			}
			full = sub.later
		}
	}
	s.core.seal(g)
	s.started.Store(g.number)
	g.tried = true
	return s.core.apply(g)
}

// sync waits until g is durable, and then does what had to wait for it, in an order that others rely on: the catalog is in force before anybody can
// see a document's write succeed; the outbox has an entry before its writer is answered.
func (s *Shard) sync(g *group) {
	if p := s.failure.Load(); p != nil {
		if g.wait != nil {
			_ = g.wait() // it was applied before the failure; what it says changes nothing
		}
		s.answerFailed(g, *p)
		return
	}
	if g.wait != nil {
		if err := g.wait(); err != nil {
			s.fail(err)
			s.answerFailed(g, err)
			return
		}
	}
	if g.bound != 0 {
		s.cfg.Clock.CommitBound(g.bound)
	}
	s.view.settle(g)
	s.streams.settle(g)
	if g.adopt != nil {
		s.purges.mu.Lock()
		g.adopt()
		s.purges.mu.Unlock()
	}
	if durable := s.cfg.Events.Durable; durable != nil {
		for i := range g.entries {
			durable(g.lanes[i].info, g.entries[i:i+1:i+1])
		}
	}
	s.progress.advance(g.number)
	if report := s.cfg.Events.Group; report != nil {
		report(GroupStats{Submissions: len(g.subs), Changes: g.changes, Bytes: g.bytes})
	}
	for _, sub := range g.subs {
		s.answer(sub, sub.err)
	}
}

// answerFailed answers a group that is not known to be durable.
func (s *Shard) answerFailed(g *group, cause error) {
	for _, sub := range g.subs {
		kind := globaltable.Unknown
		if sub.err != nil || !g.tried {
			kind = globaltable.Unavailable // not done; the reason of a refusal may not be durable
		}
		s.answer(sub, errFailed(kind, cause))
	}
}

// answer gives sub's caller its outcome.
func (s *Shard) answer(sub *submission, err error) {
	if !sub.state.CompareAndSwap(stateTaken, stateAnswered) {
		s.recycle(sub) // abandoned
		return
	}
	if sub.notify != nil {
		sub.notify(sub, err)
		return
	}
	sub.done <- err
}

// fail stops the shard: nothing is answered with success any more.
func (s *Shard) fail(err error) {
	s.failOnce.Do(func() {
		err = errFailed(globaltable.Internal, err)
		s.failure.Store(&err)
		s.queue.close(errFailed(globaltable.Unavailable, err))
		s.progress.fail(err)
		close(s.failed)
		if fatal := s.cfg.Events.Fatal; fatal != nil {
			fatal(err)
		}
	})
}

// flushLast writes, at the end, what peers have confirmed and how far purge frontiers have moved since the last group.
func (s *Shard) flushLast() error {
	b := s.cfg.Engine.NewBatch()
	if s.confirmed.flush(b) {
		if bound, needed := s.cfg.Clock.Reserve(s.core.ahead); needed {
			appendBound(nil, b, bound)
		}
	}
	if s.purges.flush(b); b.Empty() {
		b.Discard()
		return nil
	}
	wait, err := s.cfg.Engine.Apply(b)
	if err != nil {
		return errors.Join(errFailed(globaltable.Internal, err))
	}
	return wait()
}
