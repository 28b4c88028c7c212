package commit

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/concordat-db/concordat/globaltable"
)

// progress counts the groups that have become durable, and lets readers wait for one.
type progress struct {
	durable atomic.Uint64

	mu     sync.Mutex
	raised chan struct{} // closed at the next advance; nil while nobody waits
	failed error
}

// advance tells that all groups up to n are durable.
func (p *progress) advance(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.durable.Store(n)
	p.wake()
}

// fail ends all waits, present and future, for what is not durable yet.
func (p *progress) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
	p.wake()
}

func (p *progress) wake() {
	if p.raised != nil {
		close(p.raised)
		p.raised = nil
	}
}

// wait returns when group n is durable. Otherwise the error says why not: of kind Unavailable.
func (p *progress) wait(ctx context.Context, n uint64) error {
	for p.durable.Load() < n {
		p.mu.Lock()
		if p.durable.Load() >= n {
			p.mu.Unlock()
			return nil
		}
		if err := p.failed; err != nil {
			p.mu.Unlock()
			return errFailed(globaltable.Unavailable, err)
		}
		if p.raised == nil {
			p.raised = make(chan struct{})
		}
		raised := p.raised
		p.mu.Unlock()
		select {
		case <-raised:
		case <-ctx.Done():
			return errInterrupted(ctx, globaltable.Unavailable)
		}
	}
	return nil
}

// pending is the applied-not-synced set: for each slot of key hashes the newest group that wrote one of its keys. A reader of a key waits for the
// group in the key's slot. Keys that share a slot may make a read wait for a sync it did not need; nothing is ever removed, because a
// group that is durable makes nobody wait. At some hundred keys in flight one read in some hundred waits in vain.
type pending struct{ slots [pendingSlots]atomic.Uint64 }

// mark is called by the sequencer before the group is applied.
func (p *pending) mark(hash, group uint64) { p.slots[slotOf(hash)].Store(group) }

// group returns the newest group that may have written the key. It is called after the key has been read.
func (p *pending) group(hash uint64) uint64 { return p.slots[slotOf(hash)].Load() }
