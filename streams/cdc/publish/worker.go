package publish

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/cdc/reader"
)

// A page is what is published at once: its first event may be larger.
const (
	pageEvents = 256
	pageBytes  = 1 << 20
)

// lastWords bounds what is done after the end: to note where readers are.
const lastWords = 2 * time.Second

// worker keeps the events of one table. All that it does to JetStream it does in turn, in run.
type worker struct {
	cfg   *Config
	id    globaltable.TableID
	name  string // the table's
	stop  context.CancelFunc
	ended chan struct{}

	mu        sync.Mutex
	table     *globaltable.Table
	stream    bus.EventStream
	look      bool               // what is there is to be looked at again, before anything else
	renew     uint64             // how often it was said that what is there must not be kept,
	renewed   uint64             // and when that was done, renew as it was when it was begun
	why       string             // of the last renew
	interrupt context.CancelFunc // ends a wait for news; nil: there is none
	state     Status
	readers   map[string]bool // that have a consumer
	news      chan struct{}   // closed when state or readers are others
}

func newWorker(cfg *Config, t *globaltable.Table) *worker {
	w := &worker{cfg: cfg, id: t.ID, name: t.Name, ended: make(chan struct{}), table: t, readers: map[string]bool{}, news: make(chan struct{})}
	w.suspect()
	return w
}

// want says what the table is like, and by that what its events are to be like.
func (w *worker) want(t *globaltable.Table) {
	age, bytes := Retention(t)
	stream := bus.EventStream{Name: bus.EventStreamName(t.ID), Subjects: bus.EventSubjects(t.Name), MaxAge: age, MaxBytes: bytes}
	readers := w.wantedReaders()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.table = t
	same := stream == w.stream && len(readers) == len(w.readers)
	for name := range readers {
		same = same && w.readers[name]
	}
	w.stream = stream
	if !same {
		w.lookAgain()
	}
}

// again has the worker make the stream anew.
func (w *worker) again(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.renew++
	w.why, w.state.Ready = why, false
	w.lookAgain()
}

// suspect is told that JetStream may have lost or rolled back what it had. It cannot be seen in a stream that was rolled back that it has what was erased since.
func (w *worker) suspect() {
	w.mu.Lock()
	pinned := len(w.table.Pins) > 0
	if !pinned {
		w.lookAgain()
	}
	w.mu.Unlock()
	if pinned {
		w.again("it may have what policies do not let be here")
	}
}

// lookAgain has the worker look at what there is. The caller holds mu.
func (w *worker) lookAgain() {
	w.look = true
	if w.interrupt != nil {
		w.interrupt()
	}
}

func (w *worker) wantedReaders() map[string]hlc.Timestamp {
	out := map[string]hlc.Timestamp{}
	for _, r := range w.cfg.Readers.List(reader.Grant) {
		if at, reads := r.At(w.id); reads {
			out[r.Name] = at
		}
	}
	return out
}

func (w *worker) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.state
	out.Pending = maps.Clone(w.state.Pending)
	return out
}

// has reports whether a reader has its consumer, and returns what is closed when that may be otherwise.
func (w *worker) has(name string) (has bool, news <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.readers[name] && w.state.Ready, w.news
}

// change changes what others see of the worker.
func (w *worker) change(f func(s *Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.state)
	close(w.news)
	w.news = make(chan struct{})
}

// run keeps the events until ctx is done.
func (w *worker) run(ctx context.Context) {
	defer close(w.ended)
	for failed := 0; ctx.Err() == nil; {
		err := w.turn(ctx)
		if err == nil || ctx.Err() != nil {
			failed = 0
			continue
		}
		if errors.Is(err, bus.ErrGap) {
			w.again("something has come between")
		}
		w.change(func(s *Status) { s.Ready, s.Error = false, err.Error() })
		if f := w.cfg.Events.Failed; f != nil {
			f(w.name, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff(failed)):
		}
		failed++
	}
}

// errChanged ends a turn in which JetStream has turned out to have something else than it had.
var errChanged = errors.New("the stream of events is not as it was left")

// turn looks at what there is, brings it up to the present and keeps it there, until something is to be looked at again.
func (w *worker) turn(ctx context.Context) error {
	w.mu.Lock()
	t, want, renew := w.table, Want{Stream: w.stream}, w.renew
	if renew != w.renewed {
		want.Anew = w.why
	}
	w.look = false
	w.mu.Unlock()
	w.fill(&want)
	found, err := w.find(ctx, &want)
	if err != nil {
		return err
	}
	plan := Decide(&want, found)
	if err := w.prepare(ctx, &want, &plan, renew); err != nil {
		return err
	}
	p := pump{worker: w, stream: want.Stream, last: plan.Last, after: plan.After,
		teller: cdc.Teller{Table: t, Region: w.cfg.Self.Name, Name: w.cfg.Name}}
	if plan.Anew == "" {
		p.tail = found.Tail
	}
	for p.after < want.Mark {
		if _, err := p.page(ctx); err != nil {
			return err
		}
	}
	if err := p.setReaders(ctx, &want, &plan); err != nil {
		return err
	}
	return p.keep(ctx)
}

// fill says who reads, and what there is to be read.
func (w *worker) fill(want *Want) {
	want.Readers, want.Mark, want.Now = w.wantedReaders(), w.cfg.Store.StreamMark(), hlc.FromTime(w.cfg.Now())
}

// find looks at what JetStream has.
func (w *worker) find(ctx context.Context, want *Want) (*Found, error) {
	state, err := w.cfg.Bus.State(ctx, want.Stream.Name)
	if err != nil {
		return nil, err
	}
	f := &Found{EventState: state}
	f.Head, _ = cdc.ParseSequence(state.Head)
	f.Tail, _ = cdc.ParseSequence(state.Tail)
	if !state.Exists || want.Anew != "" {
		return f, nil
	}
	before := want.Mark
	if f.Head > 0 {
		before = f.Head - 1
	}
	// What is about to be too old is not missed.
	if base := max(want.Base(), want.Now.Add(slack-want.Stream.MaxAge)); base < before {
		_, err = w.cfg.Store.ReadTable(w.id, base, before, func(*cdc.Record) bool {
			f.Missing = true
			return false
		})
	}
	return f, err
}

// prepare makes or changes the stream.
func (w *worker) prepare(ctx context.Context, want *Want, plan *Plan, renew uint64) error {
	switch {
	case plan.Anew != "":
		w.mu.Lock()
		clear(w.readers)
		w.mu.Unlock()
		if err := w.cfg.Bus.Make(ctx, want.Stream); err != nil {
			return err
		}
		w.mu.Lock()
		w.renewed = renew
		w.mu.Unlock()
		w.change(func(s *Status) { s.Anew++ })
		if f := w.cfg.Events.Anew; f != nil {
			f(w.name, plan.Anew)
		}
	case plan.Adjust:
		return w.cfg.Bus.Adjust(ctx, want.Stream)
	}
	return nil
}

// pump publishes records of one table behind what its stream has.
type pump struct {
	*worker
	stream bus.EventStream
	teller cdc.Teller
	last   uint64        // sequence of the last event
	tail   hlc.Timestamp // its position; zero: there is none
	after  hlc.Timestamp // position of the last record that was read
	events []bus.Event   // of the page,
	newest hlc.Timestamp // the position of the last of them
	buf    []byte        // and their data
	looked time.Time     // when JetStream was last asked what it has
}

// page publishes the next records, and returns how many.
func (p *pump) page(ctx context.Context) (int, error) {
	var failed error
	now := p.cfg.Now()
	p.events, p.buf = p.events[:0], p.buf[:0]
	reached, err := p.cfg.Store.ReadTable(p.id, p.after, 0, func(r *cdc.Record) bool {
		failed = p.add(r, now)
		return failed == nil && len(p.events) < pageEvents && len(p.buf) < pageBytes
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	if len(p.events) > 0 {
		if err := p.cfg.Bus.Append(ctx, p.stream.Name, p.last, p.events); err != nil {
			return 0, err
		}
	}
	p.last += uint64(len(p.events))
	p.after, p.tail = reached, max(p.tail, p.newest)
	p.change(func(s *Status) { s.Published = reached })
	if f := p.cfg.Events.Published; f != nil && len(p.events) > 0 {
		f(p.name, len(p.events), len(p.buf))
	}
	return len(p.events), nil
}

// add makes an event of a record. One that is too large for a message goes without its images, and says so.
func (p *pump) add(r *cdc.Record, now time.Time) error {
	e := bus.Event{ID: p.teller.ID(r), Position: cdc.Sequence(r.Position), Subject: bus.EventSubject(p.name, subjectKind(r.Event), r.Lane)}
	if age := now.Sub(r.Position.Time()); age > slack {
		e.Keep = max(p.stream.MaxAge-age, time.Second)
	}
	from := len(p.buf)
	var err error
	if p.buf, err = p.teller.AppendEvent(p.buf, r); err != nil {
		return err
	}
	if len(p.buf)-from > bus.MaxMessage {
		small := *r
		small.Show(globaltable.ViewKeysOnly)
		e.Omitted = "images"
		if p.buf, err = p.teller.AppendEvent(p.buf[:from], &small); err != nil {
			return err
		}
	}
	e.Data = p.buf[from:len(p.buf):len(p.buf)] // what is appended later does not move it: an earlier array stays as it is
	p.events, p.newest = append(p.events, e), r.Position
	return nil
}

func subjectKind(e cdc.Event) string {
	switch e {
	case cdc.Insert:
		return "insert"
	case cdc.Modify:
		return "modify"
	}
	return "remove"
}

// setReaders makes the consumers that are missing, each behind what its reader has read, and drops others.
func (p *pump) setReaders(ctx context.Context, want *Want, plan *Plan) error {
	for _, name := range plan.Drop {
		if err := p.cfg.Bus.RemoveReader(ctx, p.stream.Name, name); err != nil {
			return err
		}
	}
	for _, name := range plan.Set {
		from, err := p.sequenceAfter(ctx, want.Readers[name])
		if err == nil {
			err = p.cfg.Bus.SetReader(ctx, p.stream.Name, name, from)
		}
		if err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.worker.readers = map[string]bool{}
	for name := range want.Readers {
		p.worker.readers[name] = true
	}
	ready := p.renew == p.renewed
	p.mu.Unlock()
	p.change(func(s *Status) { s.Ready, s.Error = ready, "" })
	return nil
}

// sequenceAfter returns the sequence of the first event after a position: the stream has them in the order of both.
func (p *pump) sequenceAfter(ctx context.Context, at hlc.Timestamp) (uint64, error) {
	state, err := p.cfg.Bus.State(ctx, p.stream.Name)
	if err != nil {
		return 0, err
	}
	low, high := state.First, state.Last+1 // the first event after at is in [low, high]
	if state.Messages == 0 {
		return high, nil
	}
	for low < high {
		middle := low + (high-low)/2
		text, err := p.cfg.Bus.Position(ctx, p.stream.Name, middle)
		if err != nil {
			return 0, err
		}
		if found, ok := cdc.ParseSequence(text); !ok || found <= at { // one that has gone was too old
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

// keep publishes what comes, and notes where readers are, until there is something to look at.
func (p *pump) keep(ctx context.Context) error {
	for {
		wait, done := p.waiting(ctx)
		if wait == nil {
			return nil
		}
		p.cfg.Store.AwaitTable(wait, p.id, p.after)
		done()
		if ctx.Err() != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			return p.glance(last)
		}
		for n := 1; n > 0; {
			var err error
			if n, err = p.page(ctx); err != nil {
				return err
			}
			if now := p.cfg.Now(); now.Sub(p.looked) >= p.pause() {
				if err := p.glance(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// pause is how long JetStream is not asked what it has: without readers only its loss is looked for.
func (p *pump) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.worker.readers) == 0 {
		return 10 * p.cfg.Every
	}
	return p.cfg.Every
}

// waiting returns a context for a wait that ends with the next glance, or when there is something to look at; nil: there is.
func (p *pump) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	pause := p.pause()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.look {
		return nil, nil
	}
	wait, cancel := context.WithTimeout(ctx, pause)
	p.interrupt = cancel
	return wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		cancel()
		p.interrupt = nil
	}
}

// glance checks that JetStream still has what it was given, and notes how far readers are.
func (p *pump) glance(ctx context.Context) error {
	p.looked = p.cfg.Now()
	want := Want{Stream: p.stream}
	p.fill(&want)
	found, err := p.find(ctx, &want)
	if err != nil {
		return err
	}
	p.mu.Lock()
	readers := maps.Clone(p.worker.readers)
	p.mu.Unlock()
	maps.DeleteFunc(want.Readers, func(name string, _ hlc.Timestamp) bool { return !readers[name] }) // the others are for the next turn
	if plan := Decide(&want, found); plan.Anew != "" || len(plan.Set) > 0 || found.Last != p.last {
		return errChanged
	}
	var moves []reader.Move
	pending := map[string]uint64{}
	for name := range want.Readers {
		r := found.Readers[name]
		pending[name] = r.Pending
		at := p.tail // all is acknowledged
		switch {
		case r.Floor < found.First || found.Messages == 0:
			continue // nothing is, or nothing that is still there
		case r.Floor < found.Last:
			text, err := p.cfg.Bus.Position(ctx, p.stream.Name, r.Floor)
			if err != nil {
				return err
			}
			var ok bool
			if at, ok = cdc.ParseSequence(text); !ok {
				continue // it has gone just now
			}
		}
		moves = append(moves, reader.Move{Kind: reader.Grant, Name: name, Place: reader.Place{Table: p.id, At: at}})
	}
	p.change(func(s *Status) { s.Pending = pending })
	return p.cfg.Readers.Set(ctx, moves, p.cfg.Now())
}
