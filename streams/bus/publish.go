package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/concordat-db/concordat/globaltable"
)

// Bounds of what is published and not acknowledged.
const (
	maxPendingMessages = 4096
	maxPendingBytes    = 64 << 20
	publishTimeout     = 10 * time.Second // longer than the failover of a clustered stream, 5.4 to 5.8 s
)

// publisher sends to lanes' streams and reports each outcome once, in the order of sending. Nothing is retried: a retry would come behind
// what was sent after it, and receivers fill holes from the log anyway.
type publisher struct {
	js    jetstream.JetStream
	once  jetstream.PublishOpt // no retries
	alarm func()               // the streams may be lost or rolled back

	bytes *semaphore.Weighted
	slots *semaphore.Weighted
	queue chan pending // capacity maxPendingMessages: a slot is a place
	stop  chan struct{}
	done  chan struct{}

	send   sync.Mutex // sending and queueing are one step, so that the queue has the order of the streams
	closed bool       // guarded by send

	mu          sync.Mutex
	lanes       map[globaltable.LaneID]*laneTail
	generations uint64 // given so far
}

// laneTail is what is known of a stream's end. A sequence that does not rise within one generation is a stream rolled back.
type laneTail struct {
	subject    string
	generation uint64
	last       uint64
}

type pending struct {
	future     jetstream.PubAckFuture
	lane       globaltable.LaneID
	generation uint64
	size       int64
	done       func(error)
}

// startPublisher starts the goroutine that waits for acknowledgements; close ends it.
func startPublisher(js jetstream.JetStream, alarm func()) *publisher {
	p := &publisher{js: js, once: jetstream.WithRetryAttempts(0), alarm: alarm,
		bytes: semaphore.NewWeighted(maxPendingBytes), slots: semaphore.NewWeighted(maxPendingMessages),
		queue: make(chan pending, maxPendingMessages), stop: make(chan struct{}), done: make(chan struct{}),
		lanes: map[globaltable.LaneID]*laneTail{}}
	go p.settle()
	return p
}

// publish is Home.Publish.
func (p *publisher) publish(ctx context.Context, id globaltable.LaneID, msg []byte, done func(error)) error {
	if len(msg) > MaxMessage {
		return ErrTooLarge
	}
	size := int64(len(msg))
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	if err := p.bytes.Acquire(ctx, size); err != nil {
		p.slots.Release(1)
		return err
	}
	if err := p.enqueue(id, msg, size, done); err != nil {
		p.release(size)
		return err
	}
	return nil
}

func (p *publisher) enqueue(id globaltable.LaneID, msg []byte, size int64, done func(error)) error {
	p.send.Lock()
	defer p.send.Unlock()
	if p.closed {
		return ErrClosed
	}
	tail := p.tail(id)
	future, err := p.js.PublishMsgAsync(&nats.Msg{Subject: tail.subject, Data: msg}, p.once)
	if err != nil {
		return err
	}
	p.queue <- pending{future: future, lane: id, generation: tail.generation, size: size, done: done}
	return nil
}

func (p *publisher) release(size int64) {
	p.bytes.Release(size)
	p.slots.Release(1)
}

// settle reports outcomes in order until the queue is closed and empty.
func (p *publisher) settle() {
	defer close(p.done)
	for it := range p.queue {
		err := p.outcome(it)
		p.release(it.size)
		it.done(err)
	}
}

func (p *publisher) outcome(it pending) error {
	select {
	case ack := <-it.future.Ok():
		p.note(it, ack.Sequence)
		return nil
	case err := <-it.future.Err():
		p.alarm()
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			return ErrNoLane
		}
		return err
	case <-p.stop:
		return ErrClosed
	}
}

// note raises the alarm if a stream's sequence does not rise.
func (p *publisher) note(it pending, sequence uint64) {
	p.mu.Lock()
	tail := p.lanes[it.lane]
	back := false
	if tail != nil && tail.generation == it.generation {
		back = sequence <= tail.last
		tail.last = sequence
	}
	p.mu.Unlock()
	if back {
		p.alarm()
	}
}

func (p *publisher) tail(id globaltable.LaneID) laneTail {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.lanes[id]; t != nil {
		return *t
	}
	p.generations++
	t := &laneTail{subject: laneSubject(id), generation: p.generations}
	p.lanes[id] = t
	return *t
}

// forget begins a new generation of a lane: its stream is made anew.
func (p *publisher) forget(id globaltable.LaneID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lanes, id)
}

// close fails what is pending and waits.
func (p *publisher) close() {
	p.send.Lock()
	if !p.closed {
		p.closed = true
		close(p.stop)
		close(p.queue)
	}
	p.send.Unlock()
	<-p.done
}
