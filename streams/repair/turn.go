package repair

import (
	"context"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
)

// turn lets one comparison run at a time. One that somebody asks for goes before one in the background, which is interrupted.
type turn struct {
	running chan struct{} // holds a token while one runs

	mu        sync.Mutex
	asked     bool               // one that somebody asked for runs, or is about to
	interrupt context.CancelFunc // ends the one in the background; nil: none runs
}

func newTurn() *turn { return &turn{running: make(chan struct{}, 1)} }

// ask begins a comparison that somebody asked for; end is to be called after it. The error is of kind InUse when there is another such one already.
func (t *turn) ask(ctx context.Context) (end func(), err error) {
	t.mu.Lock()
	taken := t.asked
	t.asked = true
	if t.interrupt != nil {
		t.interrupt()
	}
	t.mu.Unlock()
	if taken {
		return nil, &globaltable.Error{Op: "verify", Kind: globaltable.InUse, Message: "another comparison is running in this region"}
	}
	over := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.asked = false
	}
	select {
	case t.running <- struct{}{}:
		return func() {
			over()
			<-t.running
		}, nil
	case <-ctx.Done():
		over()
		return nil, ctx.Err()
	}
}

// background runs f, whose context ends when somebody asks for a comparison. It returns false, and f may not have been called, when f has to be repeated
// because of that.
func (t *turn) background(ctx context.Context, f func(ctx context.Context)) (undisturbed bool) {
	select {
	case t.running <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-t.running }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	asked := t.asked
	if !asked {
		t.interrupt = cancel
	}
	t.mu.Unlock()
	if asked {
		return false
	}
	f(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.interrupt = nil
	return ctx.Err() == nil
}
