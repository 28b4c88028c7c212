package trigger

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/streams/cdc"
)

// Stream is the change streams of tables, as this region tells them.
type Stream interface {
	// Mark returns a position such that all records at or below it are durable and can be read, and no other ever comes to be there.
	Mark() hlc.Timestamp
	// MarkNow is Mark for a position that is after all that was applied before the call.
	MarkNow(ctx context.Context) (hlc.Timestamp, error)
	// Read calls f with the durable records of a table after a position, in order, whatever stream of the table they are of, until f returns false. It returns up to where it has read. What f gets is a view.
	Read(table globaltable.TableID, after hlc.Timestamp, f func(*cdc.Record) (more bool)) (upTo hlc.Timestamp, err error)
	// Await returns when there may be a record of the table after a position, or ctx is done.
	Await(ctx context.Context, table globaltable.TableID, after hlc.Timestamp)
	// Lost returns a position up to which records of the table have gone; zero: none has.
	Lost(t *globaltable.Table) hlc.Timestamp
}

// Store keeps what triggers have to remember.
type Store interface {
	SetTrigger(ctx context.Context, id globaltable.TriggerID, state []byte) error
	Triggers(f func(id globaltable.TriggerID, state []byte) error) error
	DropTrigger(ctx context.Context, id globaltable.TriggerID) error
	Bury(ctx context.Context, id globaltable.TriggerID, letters []cdc.Letter) error
	EachLetter(id globaltable.TriggerID, after hlc.Timestamp, f func(*cdc.Letter) (more bool)) error
	DropLetters(ctx context.Context, id globaltable.TriggerID, at []hlc.Timestamp) (dropped int, err error)
}

// Events tells what happens, by table and trigger. Nil ones are not called.
type Events struct {
	Delivered func(table, trigger string, events int, took time.Duration)
	Failed    func(table, trigger string, err error) // an attempt
	Withheld  func(table, trigger string, events int)
	Gap       func(table, trigger string, after, upTo hlc.Timestamp) // records at positions after the one and up to the other went before they were read
	Buried    func(table, trigger string, events int)
	Fires     func(table, trigger string, feeds int, behind time.Duration) // how many feeds are fired here, and how far the last of them is behind
	Ended     func(table, trigger string)
	Trouble   func(what string, err error)
}

// Config configures a Runner. All fields but Reach, Beat, Now and Events are needed.
type Config struct {
	Self    hlc.Origin
	Region  string
	Life    globaltable.Incarnation // of this region's store
	Catalog func() *catalog.View
	Serves  func() bool // whether the region is one that the others follow, as far as it knows
	Stream  Stream
	Store   Store
	// Row returns what this region has applied, as far as it matters to a table: it is true of what can be read up to Mark, called afterwards.
	Row   func(t *globaltable.Table) Row
	Send  func(ctx context.Context, region string, g *Gossip) error
	Means Means
	Reach time.Duration    // see DefaultReach; 0: that
	Beat  time.Duration    // between words to the others, and a tenth of it where there is news; 0: DefaultBeat
	Now   func() time.Time // a clock that is never set; nil: time.Now

	Events Events
}

// Intervals.
const (
	DefaultBeat = time.Second
	tick        = 250 * time.Millisecond // between looks at who fires, and between cursors that are stored
	saveIdle    = 10 * time.Second       // between cursors that are stored where nothing was delivered
	sendTimeout = 5 * time.Second
	drain       = 5 * time.Second // how long batches may take that are under way when a region ceases to fire
	early       = 10              // words in a beat, at most, where cursors move on
)

// Gossip is what a region tells another one of triggers of tables that both have.
type Gossip struct {
	Triggers []Told `json:"triggers"`
}

// Told is what it tells of one of them.
type Told struct {
	Table   globaltable.TableID `json:"table,string"`
	Name    string              `json:"name"`
	Born    globaltable.Version `json:"born,string"`
	Entries []Entry             `json:"entries"`
}

// maxTold bounds the entries of one Gossip.
const maxTold = 256

// Runner fires the triggers of a region.
type Runner struct {
	cfg   Config
	drive driver
	word  chan struct{} // the others are to be told at once: who fires has changed
	news  chan struct{} // they are to be told early: a cursor has moved on

	mu    sync.Mutex
	works map[globaltable.TriggerID]*work
}

// driver has works and flows go on: each in a goroutine of its own (goroutines), or a step at a time (Manual).
type driver interface {
	begin(ctx context.Context, w *work)
	end(ctx context.Context, w *work) // returns when nothing of w is under way
	fly(ctx context.Context, f *flow)
	await(f *flow) // returns when f has ended, which was told to stop
}

// goroutines is a driver. A work waits for its flows, and Run for the works.
type goroutines struct{}

func (goroutines) begin(ctx context.Context, w *work) { go w.run(ctx) }

func (goroutines) end(_ context.Context, w *work) {
	w.stop()
	<-w.ended
}

func (goroutines) fly(ctx context.Context, f *flow) { go f.run(ctx) }

func (goroutines) await(f *flow) { <-f.ended }

// New returns a Runner. It starts nothing.
func New(cfg Config) *Runner {
	cfg.Reach, cfg.Beat = cmp.Or(cfg.Reach, DefaultReach), cmp.Or(cfg.Beat, DefaultBeat)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Runner{cfg: cfg, drive: goroutines{}, word: make(chan struct{}, 1), news: make(chan struct{}, 1), works: map[globaltable.TriggerID]*work{}}
}

// stored returns what the store has of triggers.
func (r *Runner) stored() (map[globaltable.TriggerID][]byte, error) {
	stored := map[globaltable.TriggerID][]byte{}
	err := r.cfg.Store.Triggers(func(id globaltable.TriggerID, state []byte) error {
		stored[id] = slices.Clone(state)
		return nil
	})
	return stored, err
}

// Run fires triggers until ctx is done, and returns when nothing is under way any more.
func (r *Runner) Run(ctx context.Context) error {
	stored, err := r.stored()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		r.tell(ctx)
	}()
	defer func() {
		cancel()
		<-told
		r.each(func(w *work) { <-w.ended })
	}()
	for {
		v := r.cfg.Catalog()
		r.follow(ctx, v, stored)
		select {
		case <-ctx.Done():
			return nil
		case <-v.Changed():
		}
	}
}

// follow begins and ends the work on triggers, as the tables have them.
func (r *Runner) follow(ctx context.Context, v *catalog.View, stored map[globaltable.TriggerID][]byte) {
	wanted := map[globaltable.TriggerID]bool{}
	v.Tables(func(t *globaltable.Table) bool {
		if t.Deleted || t.Replica(r.cfg.Self) == nil {
			return true
		}
		for i := range t.Triggers {
			g := &t.Triggers[i]
			id := g.ID(t.ID)
			wanted[id] = true
			r.mu.Lock()
			w := r.works[id]
			if w == nil {
				w = newWork(r, id, t, g, stored[id])
				r.works[id] = w
				r.drive.begin(ctx, w)
			} else {
				w.take(t, g)
			}
			r.mu.Unlock()
			delete(stored, id)
		}
		return true
	})
	for _, id := range slices.SortedFunc(maps.Keys(stored), compareIDs) {
		if t, known := v.Table(id.Table); known && !t.Deleted {
			r.drop(ctx, id) // it was deleted while this region was away
			delete(stored, id)
		}
	}
	r.each(func(w *work) {
		if wanted[w.id] {
			return
		}
		r.drive.end(ctx, w)
		r.mu.Lock()
		delete(r.works, w.id)
		r.mu.Unlock()
		if r.cfg.Events.Ended != nil {
			r.cfg.Events.Ended(w.names())
		}
		if t, known := v.Table(w.id.Table); known && !t.Deleted && t.Replica(r.cfg.Self) != nil {
			r.drop(ctx, w.id)
		}
	})
}

func (r *Runner) drop(ctx context.Context, id globaltable.TriggerID) {
	if err := r.cfg.Store.DropTrigger(ctx, id); err != nil && ctx.Err() == nil {
		r.trouble("what is left of a deleted trigger was not dropped", err)
	}
}

func (r *Runner) trouble(what string, err error) {
	if r.cfg.Events.Trouble != nil {
		r.cfg.Events.Trouble(what, err)
	}
}

// each calls f with all works that there are now, in the order of tables and names.
func (r *Runner) each(f func(*work)) {
	r.mu.Lock()
	works := slices.Collect(maps.Values(r.works))
	r.mu.Unlock()
	slices.SortFunc(works, func(a, b *work) int { return compareIDs(a.id, b.id) })
	for _, w := range works {
		f(w)
	}
}

func compareIDs(a, b globaltable.TriggerID) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Born, b.Born))
}

// soon has the others told at once.
func (r *Runner) soon() { nudge(r.word) }

// moved has the others told early that a cursor has moved on: what they do not know of when they take over is told twice.
func (r *Runner) moved() { nudge(r.news) }

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tell tells the other regions how feeds stand: of all triggers at each beat and when who fires changes, and in between, a tenth of a beat apart at least, of those whose cursors have moved on.
func (r *Runner) tell(ctx context.Context) {
	ticker := time.NewTicker(r.cfg.Beat)
	defer ticker.Stop()
	var busy sync.WaitGroup
	defer busy.Wait()
	out := outgoing{busy: &busy, send: func(region string, words []Gossip) { r.send(ctx, region, words) }, under: map[string]chan struct{}{}}
	var pause <-chan time.Time // after a word; nil: over
	for {
		news := r.news
		if pause != nil {
			news = nil
		}
		all := true
		select {
		case <-ctx.Done():
			return
		case <-pause:
			pause = nil
			continue
		case <-ticker.C:
		case <-r.word:
		case <-news:
			all = false
		}
		pause = time.After(r.cfg.Beat / early)
		out.give(r.words(all))
	}
}

// outgoing sends words, to each region one at a time.
type outgoing struct {
	busy  *sync.WaitGroup
	send  func(region string, words []Gossip)
	under map[string]chan struct{} // closed when the last word to a region has gone
}

// give sends words to the regions that are not being told something still: those hear the next ones.
func (o *outgoing) give(words map[string][]Gossip) {
	for region, words := range words {
		if under := o.under[region]; under != nil {
			select {
			case <-under:
			default:
				continue
			}
		}
		done := make(chan struct{})
		o.under[region] = done
		o.busy.Go(func() {
			defer close(done)
			o.send(region, words)
		})
	}
}

func (r *Runner) send(ctx context.Context, region string, words []Gossip) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	for i := range words {
		if r.cfg.Send(ctx, region, &words[i]) != nil {
			return // it is told at the next beat; who is not heard is not reached
		}
	}
}

// words returns what each region is to be told now: of all triggers, or of those whose cursors have moved on since they were told.
func (r *Runner) words(all bool) map[string][]Gossip {
	out := map[string][]Gossip{}
	v := r.cfg.Catalog()
	r.each(func(w *work) {
		table, told := w.word(all)
		if len(told.Entries) == 0 {
			return
		}
		for i := range table.Replicas {
			d, known := v.RegionOf(table.Replicas[i].Origin)
			if !known || d.Origin == r.cfg.Self || !v.Active(d.Origin) {
				continue
			}
			words := out[d.Name]
			if n := len(words); n == 0 || len(words[n-1].Triggers) > 0 && size(&words[n-1])+len(told.Entries) > maxTold {
				words = append(words, Gossip{})
			}
			last := &words[len(words)-1]
			last.Triggers = append(last.Triggers, told)
			out[d.Name] = words
		}
	})
	return out
}

func size(g *Gossip) (entries int) {
	for i := range g.Triggers {
		entries += len(g.Triggers[i].Entries)
	}
	return entries
}

// Hear takes what another region tells.
func (r *Runner) Hear(from hlc.Origin, g *Gossip) {
	for i := range g.Triggers {
		told := &g.Triggers[i]
		r.mu.Lock()
		w := r.works[globaltable.TriggerID{Table: told.Table, Name: told.Name, Born: told.Born}]
		r.mu.Unlock()
		if w != nil {
			w.hear(from, told.Entries)
		}
	}
}
