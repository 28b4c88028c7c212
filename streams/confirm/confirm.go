// Package confirm lets writers wait until other regions have what they wrote, durably.
//
// A write is an entry of a lane. Peers confirm positions of lanes, so a writer waits until enough of the peers that count have confirmed a position at or above its
// entry's. Positions only grow, so what waits in a lane is kept in the order of sequences, and a confirmation looks at those at or below it. A writer waits in
// its own goroutine; the Tracker has none.
package confirm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Config configures a Tracker. Zero limits mean the defaults.
type Config struct {
	Region     string        // name of this one, for messages
	Timeout    time.Duration // how long a writer waits; 5 s
	MaxWaiting int           // writers at once; 1,024
	// Waited reports a writer's wait, when it is over. It may be nil; it is called from the writer's goroutine.
	Waited func(took time.Duration, confirmed bool)
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var faults []error
	if c.Region == "" {
		faults = append(faults, errors.New("confirm: no region"))
	}
	if c.Timeout < 0 || c.MaxWaiting < 0 {
		faults = append(faults, errors.New("confirm: a limit is negative"))
	}
	return errors.Join(faults...)
}

// Need is what a writer waits for: Count of Peers have confirmed Lane up to Seq, or beyond.
type Need struct {
	Lane  globaltable.LaneID
	Seq   uint64
	Peers globaltable.Placement
	Count int
}

// Tracker knows what peers have confirmed of one incarnation of this region's log, and who waits for it. A new incarnation needs a new Tracker: its sequences begin
// anew. Its methods may be called from several goroutines.
type Tracker struct {
	cfg  Config
	pool sync.Pool // of *waiter

	mu      sync.Mutex
	lanes   map[globaltable.LaneID]*lane
	waiting int
	closed  bool
}

type lane struct {
	confirmed map[hlc.Origin]uint64
	voided    uint64    // up to which entries have lost what was in them: who confirms one from now on may not have it
	waiters   []*waiter // ascending by need.Seq
}

// waiter is one writer. Whoever takes it out of its lane sends the outcome, or is the writer itself.
type waiter struct {
	need Need
	done chan bool // capacity 1: confirmed; or the tracker was closed, or the entry voided
}

// New returns a Tracker that knows nothing yet. It starts nothing.
func New(cfg Config) (*Tracker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	cfg.MaxWaiting = cmp.Or(cfg.MaxWaiting, 1024)
	t := &Tracker{cfg: cfg, lanes: map[globaltable.LaneID]*lane{}}
	t.pool.New = func() any { return &waiter{done: make(chan bool, 1)} }
	return t, nil
}

// Confirmed takes that peer has applied lane durably up to and with seq. What it says stays true: a smaller seq changes nothing.
func (t *Tracker) Confirmed(peer hlc.Origin, id globaltable.LaneID, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lane(id)
	if l.confirmed[peer] >= seq {
		return
	}
	l.confirmed[peer] = seq
	n := 0 // waiters that may be served now
	for n < len(l.waiters) && l.waiters[n].need.Seq <= seq {
		n++
	}
	kept := l.waiters[:0]
	for i, w := range l.waiters {
		if i < n && l.count(&w.need) >= w.need.Count {
			w.done <- true
			continue
		}
		kept = append(kept, w)
	}
	clear(l.waiters[len(kept):])
	l.waiters = kept
}

// Voided tells that entries of a lane up to seq, not necessarily all of them, are about to lose what is in them: it is logged again elsewhere, and who confirms such an entry from now on need not have it. Whoever waits for one is answered
// that its outcome is unknown.
func (t *Tracker) Voided(id globaltable.LaneID, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lane(id)
	l.voided = max(l.voided, seq)
	n := 0
	for n < len(l.waiters) && l.waiters[n].need.Seq <= seq {
		l.waiters[n].done <- false
		n++
	}
	l.waiters = slices.Delete(l.waiters, 0, n)
}

// lane returns the lane of the id given. The caller holds mu.
func (t *Tracker) lane(id globaltable.LaneID) *lane {
	l := t.lanes[id]
	if l == nil {
		l = &lane{confirmed: map[hlc.Origin]uint64{}}
		t.lanes[id] = l
	}
	return l
}

// count returns how many of the peers that n names have confirmed what it asks for.
func (l *lane) count(n *Need) (confirmed int) {
	for _, o := range n.Peers {
		if l.confirmed[o] >= n.Seq {
			confirmed++
		}
	}
	return confirmed
}

// Ready refuses, before anything is written, a write that could not wait: too many do. The error is of kind LimitExceeded. Writes that are asked for at the same time
// may together exceed the bound by as many as they are.
func (t *Tracker) Ready() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting < t.cfg.MaxWaiting {
		return nil
	}
	return &globaltable.Error{Op: "write", Kind: globaltable.LimitExceeded,
		Message: fmt.Sprintf("%d writes wait for other regions to acknowledge them, and this region lets no more wait. Nothing was done", t.waiting)}
}

// Wait returns nil when all needs are met. After the timeout of the Tracker, or at the end of ctx or of the Tracker, it returns an error of kind Unknown that says what
// is known: whoever wrote that has it in this region, and the peers may get it yet. It reads needs until it returns.
func (t *Tracker) Wait(ctx context.Context, needs []Need) (err error) {
	if len(needs) == 0 {
		return nil
	}
	began := time.Now()
	timer := time.NewTimer(t.cfg.Timeout)
	defer timer.Stop()
	t.add(1)
	defer t.add(-1)
	for i := range needs {
		if err = t.wait(ctx, timer.C, &needs[i]); err != nil {
			break
		}
	}
	if f := t.cfg.Waited; f != nil {
		f(time.Since(began), err == nil)
	}
	return err
}

func (t *Tracker) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting += n
}

func (t *Tracker) wait(ctx context.Context, timeout <-chan time.Time, n *Need) error {
	w := t.enlist(n)
	if w == nil {
		return nil
	}
	why := "in time"
	select {
	case confirmed := <-w.done:
		t.pool.Put(w)
		if confirmed {
			return nil
		}
		why = t.ended(n)
	case <-timeout:
		if t.leave(w) {
			return nil
		}
	case <-ctx.Done():
		if t.leave(w) {
			return nil
		}
		why = "before the request ended"
	}
	return t.unknown(n, why)
}

// ended says why a wait was ended.
func (t *Tracker) ended(n *Need) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.Seq <= t.lane(n.Lane).voided {
		return "before a locality policy changed where the item may be"
	}
	return "before it stopped"
}

// enlist returns a waiter for n; nil when n is met already.
func (t *Tracker) enlist(n *Need) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lane(n.Lane)
	if l.count(n) >= n.Count && n.Seq > l.voided {
		return nil
	}
	w := t.pool.Get().(*waiter)
	w.need = *n
	if t.closed || n.Seq <= l.voided {
		w.done <- false
		return w
	}
	// Writers come nearly in the order of their entries.
	at := len(l.waiters)
	for at > 0 && l.waiters[at-1].need.Seq > n.Seq {
		at--
	}
	l.waiters = slices.Insert(l.waiters, at, w)
	return w
}

// leave takes back a waiter whose writer has given up. It reports whether the need was met meanwhile.
func (t *Tracker) leave(w *waiter) (met bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lane(w.need.Lane)
	if i := slices.Index(l.waiters, w); i >= 0 {
		l.waiters = slices.Delete(l.waiters, i, i+1)
	} else {
		met = <-w.done
	}
	w.need = Need{}
	t.pool.Put(w)
	return met
}

// unknown is the error of a writer that did not wait to the end.
func (t *Tracker) unknown(n *Need, why string) error {
	t.mu.Lock()
	confirmed := t.lane(n.Lane).count(n)
	t.mu.Unlock()
	return &globaltable.Error{Op: "write", Kind: globaltable.Unknown, Message: fmt.Sprintf("The write is durable in %s, and %d of the %d peers that the table asks for "+
		"confirmed it %s. Its outcome is unknown to the client: it may still reach the other regions", t.cfg.Region, confirmed, n.Count, why)}
}

// Close ends all waits, present and future ones: the region stops, and hears no peer any more.
func (t *Tracker) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, l := range t.lanes {
		for _, w := range l.waiters {
			w.done <- false
		}
		l.waiters = nil
	}
}
