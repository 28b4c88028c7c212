package trigger

import (
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Bounds of what a feed keeps in memory, and of a batch.
const (
	maxPoolBytes  = 16 << 20 // and one event
	maxPoolEvents = 16384
	maxBatchBytes = 4 << 20 // and one event
)

// Event is an event that is to be delivered.
type Event struct {
	Position hlc.Timestamp
	ID       string // of the event, for ever
	Key      item.Key
	JSON     []byte // the CloudEvent
}

func (e *Event) bytes() int { return len(e.JSON) + len(e.Key) + len(e.ID) }

// Batch is events that are delivered together, in the order of their positions.
type Batch struct {
	Events  []Event
	Attempt int // from 1

	due time.Time // of the next attempt, while it waits for it
}

// PoolConfig says how a pool makes batches of events.
type PoolConfig struct {
	Size     int           // events in a batch at most
	Window   time.Duration // how long an event waits for others at most
	Parallel int           // batches under way at once at most
	Attempts int           // with a batch
	First    time.Duration // from the first attempt to the second, about; then twice as long, and so on
	Most     time.Duration
	Random   func() float64 // in [0, 1)
}

// Pool holds the events of a feed from when they are read until they are dealt with: it makes batches of them, never two at once with events of one key, and knows up to where all is dealt with. It is pure, and not safe for concurrent use.
type Pool struct {
	cfg     PoolConfig
	read    hlc.Timestamp // all up to it was added, or is not to be delivered
	waiting []waiting     // in the order of positions
	locked  map[string]struct{}
	running map[*Batch]struct{}
	failed  map[*Batch]struct{} // waiting for their next attempt
	events  int                 // of all
	bytes   int
}

type waiting struct {
	Event
	added time.Time
}

// NewPool returns a pool for a feed that was dealt with up to a position.
func NewPool(cfg PoolConfig, at hlc.Timestamp) *Pool {
	return &Pool{cfg: cfg, read: at, locked: map[string]struct{}{}, running: map[*Batch]struct{}{}, failed: map[*Batch]struct{}{}}
}

// Room reports whether another event may be added.
func (p *Pool) Room() bool {
	return p.events < min(maxPoolEvents, max(4*p.cfg.Size*p.cfg.Parallel, 256)) && p.bytes < maxPoolBytes
}

// Read returns up to where the feed was read.
func (p *Pool) Read() hlc.Timestamp { return p.read }

// Add adds an event, after all that was added before.
func (p *Pool) Add(e Event, now time.Time) {
	p.waiting = append(p.waiting, waiting{e, now})
	p.events++
	p.bytes += e.bytes()
	p.read = e.Position
}

// Skip takes that there is nothing to be delivered up to a position, but what was added.
func (p *Pool) Skip(upTo hlc.Timestamp) { p.read = max(p.read, upTo) }

// Next returns a batch that is to be tried now; nil: none is.
func (p *Pool) Next(now time.Time) *Batch {
	if len(p.running) >= p.cfg.Parallel {
		return nil
	}
	var next *Batch
	for b := range p.failed {
		if !b.due.After(now) && (next == nil || b.Events[0].Position < next.Events[0].Position) {
			next = b
		}
	}
	if next != nil {
		delete(p.failed, next)
		next.Attempt++
		p.running[next] = struct{}{}
		return next
	}
	picked, due := p.pick()
	if len(picked) == 0 || due.After(now) {
		return nil
	}
	b := &Batch{Attempt: 1, Events: make([]Event, 0, len(picked))}
	for _, i := range picked {
		b.Events = append(b.Events, p.waiting[i].Event)
	}
	for i := range b.Events {
		p.locked[string(b.Events[i].Key)] = struct{}{}
	}
	p.remove(picked)
	p.running[b] = struct{}{}
	return b
}

// pick returns which of the waiting events would make the next batch, and from when on.
func (p *Pool) pick() (picked []int, due time.Time) {
	size := 0
	for i := range p.waiting {
		e := &p.waiting[i]
		if _, locked := p.locked[string(e.Key)]; locked && !plantedUnlocked {
			continue
		}
		if len(picked) == 0 {
			due = e.added
		}
		if size += e.bytes(); len(picked) > 0 && size > maxBatchBytes {
			return picked, due
		}
		if picked = append(picked, i); len(picked) == p.cfg.Size {
			return picked, due
		}
	}
	if len(picked) > 0 && p.Room() { // another one may come to join them
		due = due.Add(p.cfg.Window)
	}
	return picked, due
}

// remove takes the events picked out of those that wait.
func (p *Pool) remove(picked []int) {
	kept := p.waiting[:picked[0]]
	for i := picked[0]; i < len(p.waiting); i++ {
		if len(picked) > 0 && picked[0] == i {
			picked = picked[1:]
			continue
		}
		kept = append(kept, p.waiting[i])
	}
	clear(p.waiting[len(kept):])
	p.waiting = kept
}

// Wake returns when Next may have a batch, if nothing else happens before; zero: not by itself.
func (p *Pool) Wake() (at time.Time) {
	if len(p.running) >= p.cfg.Parallel {
		return time.Time{}
	}
	for b := range p.failed {
		if at.IsZero() || b.due.Before(at) {
			at = b.due
		}
	}
	if picked, due := p.pick(); len(picked) > 0 && (at.IsZero() || due.Before(at)) {
		at = due
	}
	return at
}

// Failed takes that an attempt with a batch has failed. It returns false if it was the last one: the batch is the caller's to bury, and Dealt with then. after is how long the target wants to be left alone; zero: it does not say.
func (p *Pool) Failed(b *Batch, after time.Duration, now time.Time) (again bool) {
	if b.Attempt >= p.cfg.Attempts {
		return false
	}
	p.Again(b, now.Add(p.delay(b.Attempt, after)))
	return true
}

// Again has a batch tried once more at that time, whatever was tried before.
func (p *Pool) Again(b *Batch, at time.Time) {
	b.due = at
	delete(p.running, b)
	p.failed[b] = struct{}{}
}

// delay is how long to wait after an attempt: about half of it is left to chance, so that those who failed together do not come again together.
func (p *Pool) delay(attempt int, after time.Duration) time.Duration {
	d := p.cfg.First
	for i := 1; i < attempt && d < p.cfg.Most; i++ {
		d *= 2
	}
	d = min(d, p.cfg.Most)
	d = d/2 + time.Duration(p.cfg.Random()*float64(d/2))
	return max(d, min(after, p.cfg.Most))
}

// Keep leaves in a batch that is under way only those of its events that are given, which are in their order; the others are dealt with. It returns how many those are.
func (p *Pool) Keep(b *Batch, kept []Event) (others int) {
	if others = len(b.Events) - len(kept); others == 0 {
		return 0
	}
	p.release(b.Events)
	for i := range kept {
		p.locked[string(kept[i].Key)] = struct{}{}
		p.events++
		p.bytes += kept[i].bytes()
	}
	b.Events = kept
	return others
}

func (p *Pool) release(events []Event) {
	for i := range events {
		delete(p.locked, string(events[i].Key))
		p.events--
		p.bytes -= events[i].bytes()
	}
}

// Dealt takes that the events of a batch are dealt with.
func (p *Pool) Dealt(b *Batch) {
	delete(p.running, b)
	p.release(b.Events)
}

// Running returns how many batches are under way.
func (p *Pool) Running() int { return len(p.running) }

// Held returns how many events are in the pool.
func (p *Pool) Held() int { return p.events }

// Position returns up to where all of the feed is dealt with.
func (p *Pool) Position() hlc.Timestamp {
	if plantedEager {
		return p.read
	}
	at := p.read + 1
	if len(p.waiting) > 0 {
		at = min(at, p.waiting[0].Position)
	}
	for b := range p.running {
		at = min(at, b.Events[0].Position)
	}
	for b := range p.failed {
		at = min(at, b.Events[0].Position)
	}
	return at - 1
}
