package bus

import (
	"bytes"
	"context"
	"sync"

	"github.com/concordat-db/concordat/globaltable"
)

// MemoryLink is a Link in a MemoryNetwork.
type MemoryLink struct {
	network      *MemoryNetwork
	region, peer string
	closing      sync.Once
	closed       chan struct{}
}

// session returns the home of the peer and what ends when the link breaks.
func (l *MemoryLink) session() (*MemoryHome, <-chan struct{}, error) {
	select {
	case <-l.closed:
		return nil, nil, ErrClosed
	default:
	}
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	lost, err := n.session(l.region, l.peer)
	return n.region(l.peer).home, lost, err
}

// Pull is Link.Pull. windowBytes has no use here: a message is taken when deliver has returned from the one before.
func (l *MemoryLink) Pull(ctx context.Context, id globaltable.LaneID, _ int, deliver func(Message)) error {
	_, lost, err := l.session()
	if err != nil {
		return err
	}
	lane, err := l.rewind(id)
	if err != nil {
		return err
	}
	for {
		messages, changed, err := l.next(id, lane)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := l.ended(ctx, lost); err != nil {
				return err
			}
			deliver(Message{Data: bytes.Clone(m.data), Ack: func() error { return l.ack(lane, m.seq) }})
		}
		if len(messages) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-lost:
		case <-l.closed:
		case <-ctx.Done():
		}
		if err := l.ended(ctx, lost); err != nil {
			return err
		}
	}
}

func (l *MemoryLink) ended(ctx context.Context, lost <-chan struct{}) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case <-l.closed:
		return ErrClosed
	case <-lost:
		return ErrLinkLost
	default:
		return nil
	}
}

// rewind sets the cursor to the first unacknowledged message.
func (l *MemoryLink) rewind(id globaltable.LaneID) (*memoryLane, error) {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	lane := n.region(l.peer).lanes[id]
	if lane == nil || !lane.open || lane.cursors[l.region] == nil {
		return nil, ErrNoConsumer
	}
	c := lane.cursors[l.region]
	c.next = c.acked + 1
	return lane, nil
}

// next returns what to deliver now, with the faults that were asked for, or what to wait for.
func (l *MemoryLink) next(id globaltable.LaneID, lane *memoryLane) ([]memoryMessage, <-chan struct{}, error) {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	cursor := lane.cursors[l.region]
	if n.region(l.peer).lanes[id] != lane || cursor == nil {
		return nil, nil, ErrNoConsumer
	}
	faults := n.faults[memoryFaultKey{l.peer, l.region, id}]
	if faults == nil {
		faults = &memoryFaults{}
	}
	for {
		ahead := lane.from(cursor.next)
		if len(ahead) == 0 || faults.drop == 0 && faults.reorder > 0 && len(ahead) < 2 {
			return nil, n.changed, nil
		}
		cursor.next = ahead[0].seq + 1
		switch {
		case faults.drop > 0:
			faults.drop--
		case faults.reorder > 0:
			faults.reorder--
			cursor.next = ahead[1].seq + 1
			return []memoryMessage{ahead[1], ahead[0]}, nil, nil
		case faults.duplicate > 0:
			faults.duplicate--
			return []memoryMessage{ahead[0], ahead[0]}, nil, nil
		default:
			return []memoryMessage{ahead[0]}, nil, nil
		}
	}
}

// ack moves the cursor over the message and all before it. One of a stream that is gone is void.
func (l *MemoryLink) ack(lane *memoryLane, seq uint64) error {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.session(l.region, l.peer); err != nil {
		return err
	}
	if c := lane.cursors[l.region]; c != nil && seq < lane.next {
		c.acked = max(c.acked, seq)
	}
	return nil
}

// Request is Link.Request.
func (l *MemoryLink) Request(ctx context.Context, request []byte, each func(part []byte) error) error {
	if len(request) > MaxMessage {
		return ErrTooLarge
	}
	home, lost, err := l.session()
	if err != nil {
		return err
	}
	s, err := home.admit(l.region)
	if err != nil {
		return err
	}
	hctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(errAskerGone)
	parts, end := make(chan []byte), make(chan error, 1)
	go func() {
		defer s.wg.Done()
		defer home.leave(l.region)
		err := s.handler(hctx, l.region, bytes.Clone(request), func(part []byte) error {
			if len(part) > MaxMessage {
				return ErrTooLarge
			}
			select {
			case parts <- bytes.Clone(part):
				return nil
			case <-hctx.Done():
				return context.Cause(hctx)
			}
		})
		if err == nil && hctx.Err() != nil {
			err = errNotServing
		}
		end <- err
	}()
	for {
		select {
		case part := <-parts:
			if err := each(part); err != nil {
				return err
			}
		case err := <-end:
			if err != nil {
				return &RemoteError{Message: err.Error()}
			}
			return nil
		case <-lost:
			return ErrLinkLost
		case <-l.closed:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// admit takes a place for a handler, which leave gives back.
func (h *MemoryHome) admit(peer string) (*serving, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case h.serving == nil:
		return nil, ErrNoService
	case h.running >= maxHandlers || h.handlers[peer] >= maxHandlersPerPeer:
		return nil, ErrBusy
	}
	h.running++
	h.handlers[peer]++
	h.serving.wg.Add(1)
	return h.serving, nil
}

func (h *MemoryHome) leave(peer string) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	h.running--
	if h.handlers[peer]--; h.handlers[peer] == 0 {
		delete(h.handlers, peer)
	}
}

// Probe is Link.Probe. A link in memory can do nothing else than its methods.
func (l *MemoryLink) Probe(context.Context) error {
	_, _, err := l.session()
	return err
}

// Close is Link.Close.
func (l *MemoryLink) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return nil
}
