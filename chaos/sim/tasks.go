package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
)

// tasks are the goroutines of a run: the control planes and joins are written as code that waits, so they run as such. One of them at a time is let go on, and the
// simulation waits (synctest.Wait) until all of them wait again. What they want of the world they ask for by calls, which are taken in an order that depends on nothing but what
// they are: so a run is the same every time.
type tasks struct {
	mu     sync.Mutex
	parked []*call  // asked for since the last look
	due    []func() // each lets one goroutine begin or go on
	said   []saying // by goroutines since the last look: several may be going on at once
}

// saying is what a goroutine tells, and what the simulation then does.
type saying struct {
	line string
	do   func()
}

// call is what a goroutine wants to be done for it, and waits for.
type call struct {
	region *region
	life   int
	task   string
	what   string
	start  func(done func(error)) // done may be called at once, later, or, after the region's death, never
	answer chan error             // capacity 1
}

type taskName struct{}

// spawn lets a task begin, in the region's present life, when the event that goes on now is over. ended, if not nil, is called when it has ended, unless the region died before.
func (r *region) spawn(name string, do func(ctx context.Context), ended func()) {
	ctx := context.WithValue(r.ctx, taskName{}, name)
	r.due = append(r.due, func() {
		if ctx.Err() != nil {
			return
		}
		go func() {
			do(ctx)
			if ended != nil {
				_ = r.await(ctx, "end", func(func(error)) { ended() })
			}
		}()
	})
}

// await has start called by the simulation, and waits until it says done. The error is ctx's when the region has died.
func (r *region) await(ctx context.Context, what string, start func(done func(error))) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	name, _ := ctx.Value(taskName{}).(string)
	c := &call{region: r, life: r.life, task: name, what: what, start: start, answer: make(chan error, 1)}
	r.mu.Lock()
	r.parked = append(r.parked, c)
	r.mu.Unlock()
	select {
	case err := <-c.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runTasks lets tasks go on until all wait for time to pass.
func (w *world) runTasks() {
	for len(w.due) > 0 {
		resume := w.due[0]
		w.due = w.due[1:]
		resume()
		synctest.Wait()
		for _, s := range w.takeSaid() {
			s.do()
		}
		for _, c := range w.takeParked() {
			if c.region.up && c.region.life == c.life {
				c.start(c.done)
			}
		}
	}
}

// say is note for what a goroutine tells: in an order that depends on nothing but what is said.
func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.sayThen(line, func() { w.note("%s", line) })
}

// sayThen has the simulation do something about what a goroutine tells.
func (w *world) sayThen(line string, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, saying{line, do})
}

func (w *world) takeSaid() []saying {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.said
	w.said = nil
	slices.SortStableFunc(out, func(a, b saying) int { return cmp.Compare(a.line, b.line) })
	return out
}

func (w *world) takeParked() []*call {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.parked
	w.parked = nil
	slices.SortStableFunc(out, func(a, b *call) int {
		return cmp.Or(cmp.Compare(a.region.origin, b.region.origin), cmp.Compare(a.task, b.task), cmp.Compare(a.what, b.what))
	})
	return out
}

// done is called by the simulation; what comes after the first time is ignored.
func (c *call) done(err error) {
	if c.start == nil {
		return
	}
	c.start = nil
	c.region.due = append(c.region.due, func() { c.answer <- err })
}

// loop is a look that is repeated: after a while, and soon after a change of the catalog.
type loop struct {
	*region
	name    string
	look    func(context.Context)
	running bool
	changed bool // while it was running
	even    bool // its looks are not at random times
	turn    int
}

// startLoops begins what the control plane's and the joiner's Run repeat.
func (r *region) startLoops() {
	r.loops = nil
	for i, look := range r.plane.Looks() {
		r.loops = append(r.loops, &loop{region: r, name: "look " + string(rune('0'+i)), look: look})
	}
	running := new(sync.WaitGroup) // its goroutines end with the region's life
	joiner, catalog := r.joiner, r.catalog
	r.loops = append(r.loops, &loop{region: r, name: "join", look: func(ctx context.Context) { joiner.Look(ctx, catalog.View(), running) }})
	r.startComeback()
	for _, l := range r.loops {
		l.in(between(r.rng, 0, lookEvery))
	}
	r.startPlacing()
	r.startTriggers()
	r.viewed = r.catalog.View()
	r.noticeView(r.viewed)
}

func (l *loop) in(d time.Duration) {
	l.turn++
	turn := l.turn
	l.after(d, func() {
		if l.turn != turn || l.running {
			return
		}
		l.running, l.changed = true, false
		l.spawn(l.name, l.look, func() {
			l.running = false
			if l.changed {
				l.in(0)
			} else {
				l.in(lookEvery)
			}
		})
	})
}

// soon is when a look comes after a change of the catalog.
func (l *loop) soon() time.Duration {
	if l.even {
		return lookSoon / 2
	}
	return between(l.rng, 0, lookSoon)
}

// wake makes the next look soon.
func (l *loop) wake() {
	l.changed = true
	if !l.running {
		l.in(l.soon())
	}
}

// ask sends a request of a task to a region's peer service and returns the parts of its answer.
func (r *region) ask(ctx context.Context, to *region, request []byte) (parts [][]byte, err error) {
	name := identities()[to.origin].descriptor.Name
	unreachable := &globaltable.Error{Op: "ask peer", Resource: name, Kind: globaltable.Unavailable, Message: "region " + name + " cannot be reached"}
	err = r.await(ctx, "ask "+name+" "+string(request), func(done func(error)) {
		if s := r.session(to); s == nil || !s.connected {
			done(unreachable)
			return
		}
		r.after(requestTimeout, func() { done(errNoAnswer) })
		if r.chance(r.plan.loseRequest) {
			r.cover("a request was lost")
			return
		}
		r.send(r.origin, to.origin, func() {
			to.serve(r, request, func(answer [][]byte) {
				parts = answer
				done(nil)
			})
		})
	})
	return parts, err
}

// serve answers a request of a task: the answer may have to wait for the store.
func (r *region) serve(asker *region, request []byte, arrived func(parts [][]byte)) {
	if !r.up {
		return
	}
	var parts [][]byte
	var err error
	service := r.service
	r.served++
	r.spawn("serve "+string(rune(r.served)), func(ctx context.Context) {
		err = service.Handle(ctx, identities()[asker.origin].descriptor.Name, request, func(part []byte) error {
			parts = append(parts, part)
			return nil
		})
	}, func() {
		if err == nil {
			r.send(r.origin, asker.origin, func() { arrived(parts) })
		}
	})
}

// taskLink is the link by which a task asks one other region.
type taskLink struct{ from, to *region }

// Request implements bus.Link.
func (l taskLink) Request(ctx context.Context, request []byte, each func(part []byte) error) error {
	parts, err := l.from.ask(ctx, l.to, request)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := each(part); err != nil {
			return err
		}
	}
	return nil
}

// Pull implements bus.Link. Streams are fetched by session.fetch.
func (taskLink) Pull(context.Context, globaltable.LaneID, int, func(bus.Message)) error {
	return errors.New("not by this link")
}

// Probe implements bus.Link.
func (taskLink) Probe(context.Context) error { return nil }

// Close implements bus.Link.
func (taskLink) Close() error { return nil }
