package publish

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/cdc/reader"
)

// Store has the change streams: a commit.Shard.
type Store interface {
	ReadTable(table globaltable.TableID, after, upTo hlc.Timestamp, f func(*cdc.Record) (more bool)) (reached hlc.Timestamp, err error)
	AwaitTable(ctx context.Context, table globaltable.TableID, after hlc.Timestamp) bool
	HasStreams(table globaltable.TableID) bool
	StreamMark() hlc.Timestamp
}

// Bus is the region's JetStream of events: a bus.Events.
type Bus interface {
	State(ctx context.Context, name string) (bus.EventState, error)
	Position(ctx context.Context, name string, seq uint64) (string, error)
	Make(ctx context.Context, s bus.EventStream) error
	Adjust(ctx context.Context, s bus.EventStream) error
	Remove(ctx context.Context, name string) error
	Names(ctx context.Context) ([]string, error)
	Append(ctx context.Context, stream string, last uint64, events []bus.Event) error
	SetReader(ctx context.Context, stream, name string, from uint64) error
	RemoveReader(ctx context.Context, stream, name string) error
	Lost() <-chan struct{}
}

// Config configures a Runner.
type Config struct {
	Self    globaltable.Descriptor
	View    func() *catalog.View
	Store   Store
	Bus     Bus
	Readers *reader.Readers
	Name    func(hlc.Origin) string
	Now     func() time.Time
	Every   time.Duration // between looks at what JetStream has and where readers are; default 1 s
	Events  Events
}

// Events report what a runner does. Any may be nil; they must not block.
type Events struct {
	Published func(table string, events, bytes int)
	Anew      func(table, why string) // the stream of a table's events is filled anew
	Failed    func(table string, err error)
}

// Status is how far a table's events are.
type Status struct {
	Ready     bool              // the stream has all that it is to have, and its readers have their consumers
	Published hlc.Timestamp     // records at or below it are in JetStream, or need not be
	Anew      uint64            // how often the stream was made anew since the node started
	Pending   map[string]uint64 // by reader: events that were not delivered to it yet
	Error     string            // of the last attempt, while it fails
}

// Runner keeps the events of all tables of the region. Each table has a worker, so a table whose stream is slow does not hold up another one.
type Runner struct {
	cfg Config

	mu      sync.Mutex
	workers map[globaltable.TableID]*worker
	tidy    bool // JetStream has no streams but those of workers
}

// New returns a Runner. It starts nothing.
func New(cfg Config) *Runner {
	cfg.Every = cmp.Or(cfg.Every, time.Second)
	return &Runner{cfg: cfg, workers: map[globaltable.TableID]*worker{}}
}

// Run publishes until ctx is done, and returns nil when all has ended.
func (r *Runner) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(10 * r.cfg.Every)
	defer tick.Stop()
	select {
	case <-r.cfg.Bus.Lost(): // what is there is looked at anyway
	default:
	}
	for {
		changed, readers := r.cfg.View().Changed(), r.cfg.Readers.Changed()
		r.follow(ctx, &all)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-readers:
		case <-tick.C:
		case <-r.cfg.Bus.Lost():
			r.each((*worker).suspect)
		}
	}
}

func (r *Runner) each(f func(*worker)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.workers {
		f(w)
	}
}

// follow gives each table that has a stream, or still has one of before, a worker, and ends the others.
func (r *Runner) follow(ctx context.Context, all *sync.WaitGroup) {
	wanted := map[globaltable.TableID]*globaltable.Table{}
	r.cfg.View().Tables(func(t *globaltable.Table) bool {
		if _, on := t.StreamIn(r.cfg.Self.Origin); !t.Deleted && (on || r.cfg.Store.HasStreams(t.ID)) {
			wanted[t.ID] = t
		}
		return true
	})
	r.mu.Lock()
	var ended []*worker
	for id, w := range r.workers {
		if wanted[id] == nil {
			delete(r.workers, id)
			r.tidy = false
			ended = append(ended, w)
		}
	}
	for id, t := range wanted {
		w := r.workers[id]
		if w == nil {
			w = newWorker(&r.cfg, t)
			r.workers[id] = w
			runCtx, stop := context.WithCancel(ctx)
			w.stop = stop
			all.Go(func() { w.run(runCtx) })
		}
		w.want(t)
	}
	tidy := r.tidy
	r.mu.Unlock()
	for _, w := range ended {
		w.stop()
		<-w.ended
	}
	if !tidy {
		r.clear(ctx)
	}
}

// clear removes the streams of tables that have none any more. What fails is tried again.
func (r *Runner) clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*r.cfg.Every)
	defer cancel()
	names, err := r.cfg.Bus.Names(ctx)
	for _, name := range names {
		id, _ := bus.EventStreamTable(name)
		r.mu.Lock()
		there := r.workers[id] != nil
		r.mu.Unlock()
		if !there {
			err = errors.Join(err, r.cfg.Bus.Remove(ctx, name))
		}
	}
	r.mu.Lock()
	r.tidy = err == nil
	r.mu.Unlock()
	if err != nil && ctx.Err() == nil && r.cfg.Events.Failed != nil {
		r.cfg.Events.Failed("", err)
	}
}

func (r *Runner) worker(table globaltable.TableID) *worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.workers[table]
}

// Renew makes the stream of a table's events anew, since items may not be here any more that it has events of.
func (r *Runner) Renew(table globaltable.TableID) {
	if w := r.worker(table); w != nil {
		w.again("policies were changed")
	}
}

// Live reports whether the stream of a table's events has been made, with all that it is to have, since the last Renew; of a table that has none, whether there is none.
func (r *Runner) Live(table globaltable.TableID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.workers[table]; w != nil {
		return w.status().Ready
	}
	return r.tidy
}

// Status returns how far a table's events are; ok is false if there are none.
func (r *Runner) Status(table globaltable.TableID) (s Status, ok bool) {
	w := r.worker(table)
	if w == nil {
		return Status{}, false
	}
	return w.status(), true
}

// AwaitReader waits until a reader has its consumers in the streams of all its tables, and says whether it has, when ctx is done at last.
func (r *Runner) AwaitReader(ctx context.Context, name string, tables []globaltable.TableID) bool {
	for _, id := range tables {
		for {
			w := r.worker(id)
			if w == nil {
				return false
			}
			has, news := w.has(name)
			if has {
				break
			}
			select {
			case <-news:
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

// backoff returns how long to wait before a try that follows n that failed, about.
func backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n, 10), 15*time.Second)
	return d/2 + rand.N(d)
}
