package commit

import (
	"context"
	"slices"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
)

// queue holds the submissions that wait for the sequencer, bounded by number and bytes.
type queue struct {
	max, maxBytes int

	mu     sync.Mutex
	subs   []*submission
	bytes  int
	closed error         // further submissions are refused with it
	room   chan struct{} // closed when something is taken; nil while nobody waits
	wake   chan struct{} // capacity 1: something is there, or closed
}

func newQueue(max, maxBytes int) *queue {
	return &queue{max: max, maxBytes: maxBytes, wake: make(chan struct{}, 1)}
}

// push appends sub. When the queue is full it fails at once for a client's write, so that clients hear of it, and waits for room for everything else: peers
// are held back by their own windows.
func (q *queue) push(ctx context.Context, sub *submission) error {
	for {
		q.mu.Lock()
		if q.closed != nil {
			defer q.mu.Unlock()
			return q.closed
		}
		if len(q.subs) < q.max && (q.bytes+sub.bytes <= q.maxBytes || len(q.subs) == 0) {
			q.subs = append(q.subs, sub)
			q.bytes += sub.bytes
			q.mu.Unlock()
			q.signal()
			return nil
		}
		if sub.kind == kindWrite {
			q.mu.Unlock()
			return errQueueFull()
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return errInterrupted(ctx, globaltable.Unavailable)
		}
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close refuses all further submissions with err. What is queued stays.
func (q *queue) close(err error) {
	q.mu.Lock()
	if q.closed == nil {
		q.closed = err
	}
	q.releaseWaiters()
	q.mu.Unlock()
	q.signal()
}

func (q *queue) releaseWaiters() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// take moves the next group's submissions to dst: the first one, and what follows while it fits and needs no group of its own. With nothing there it
// returns dst, and whether the queue is closed.
func (q *queue) take(dst []*submission, maxBytes int) (subs []*submission, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.subs) && n < maxGroupSubmissions {
		sub := q.subs[n]
		if n > 0 && (sub.exclusive || bytes+sub.bytes > maxBytes) {
			break
		}
		bytes += sub.bytes
		n++
		if sub.exclusive {
			break
		}
	}
	dst = append(dst, q.subs[:n]...)
	rest := copy(q.subs, q.subs[n:])
	clear(q.subs[rest:])
	q.subs = q.subs[:rest]
	q.bytes -= bytes
	if n > 0 {
		q.releaseWaiters()
	}
	return dst, q.closed != nil
}

// putBack puts what was taken before what is queued, closed or not.
func (q *queue) putBack(subs []*submission) {
	q.mu.Lock()
	q.subs = slices.Insert(q.subs, 0, subs...)
	for _, sub := range subs {
		q.bytes += sub.bytes
	}
	q.mu.Unlock()
	q.signal()
}

// length returns how many submissions wait, and their bytes.
func (q *queue) length() (n, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.subs), q.bytes
}
