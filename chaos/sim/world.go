package sim

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// Result is what one seed came to.
type Result struct {
	Seed       uint64
	Violations []check.Violation
	Hash       uint64   // of the whole trace
	Last       []string // lines of the trace
	Steps      int
	Virtual    time.Duration
	Coverage   map[string]int // how often something interesting happened
}

// epoch is virtual time zero on the physical clocks, in Unix milliseconds.
const epoch = 1_800_000_000_000

const (
	heartbeatEvery = 250 * time.Millisecond
	beatEvery      = time.Second
	outboxTick     = 500 * time.Millisecond
	requestTimeout = 2 * time.Second
	maxBackoff     = time.Second

	patience  = 30 * time.Second  // of operators with a region that they have given up, while something waits for it
	restLimit = 240 * time.Second // of virtual time, from the last fault to rest
	stepLimit = 400_000           // events of a whole run
)

// world is everything in one run.
type world struct {
	queue
	tasks
	plan    *plan
	rng     *rand.Rand
	trace   trace
	regions []*region // by origin-1
	links   map[[2]hlc.Origin]*link

	operations []*operation
	ledger     *check.Ledger
	evidence   evidence
	coverage   map[string]int
	covering   sync.Mutex
	placements map[globaltable.LaneID]globaltable.Placement // of every lane that was ever written
	changes    int                                          // of tables that were asked for
	purged     check.Frontiers                              // greatest purge frontier of each table that any region had
	sights     map[check.Stamp]sight                        // write → what its region had applied of the others
	listed     listed
	conflicts  *check.Conflicts
	fired      *check.Triggers
	firedBy    map[firedFeed]hlc.Origin                     // who delivered something of a feed last
	pinnedBy   map[globaltable.TableID][]*globaltable.Table // documents with policies that were adopted somewhere
	membership membershipState
	forgiven   map[write]bool              // writes that may be lost with the store that had them
	erased     map[write][]conflict.Expiry // writes that a region may have erased, by which histories
	reached    map[write][]*region         // who got a write by an exchange
	moments    map[moment]struct{}
	items      map[check.Key]struct{} // that were ever written
	shownSaved []commit.SavedRecord   // taken over by another region than had saved them, which has listed something of them as in doubt
	pinned     bool                   // some table has, or had, policies
	states     map[string][][]byte    // by store key: some of the records it had
	seconds    map[string]uint64      // by value: what was written as a time at which an item expires
	story      bool
	watched    globaltable.TableID
	told       []string // what there is to tell, if this is a story
	quiet      bool     // no faults any more
	steps      int
}

// evidence is what the checkers get beside the history.
type evidence struct {
	found    []check.Violation // on the way
	readings []check.Reading
	arrivals []check.Arrival
	holes    []check.Hole
	applied  []check.Applied
	marks    []check.Mark
}

// Run plays one seed. It is called in a bubble of testing/synctest of its own.
func Run(seed uint64) (result Result) {
	rng := rand.New(rand.NewPCG(seed, 0x636f6e636f726461))
	p := newPlan(rng)
	p.mortal(seed)
	p.ages(seed)
	p.part(seed)
	p.typing(seed)
	p.pins(seed)
	p.streams(seed)
	p.fire(seed)
	w := newWorld(p, rng)
	result = Result{Seed: seed, Coverage: w.coverage}
	defer func() {
		if p := recover(); p != nil {
			result.Violations = append(result.Violations, check.Violation{Invariant: "panic", Detail: fmt.Sprintf("%v\n%s", p, debug.Stack())})
		}
		w.end()
		result.Hash, result.Last, result.Steps, result.Virtual = w.trace.hash.Sum64(), w.trace.lines(), w.steps, w.now
	}()
	w.build()
	w.found()
	w.load()
	if stuck := w.rest(); stuck != "" {
		result.Violations = append(w.evidence.found, check.Violation{Invariant: "I21", Detail: stuck})
		return result
	}
	result.Violations = w.judge()
	return result
}

func newWorld(p *plan, rng *rand.Rand) *world {
	w := &world{plan: p, rng: rng, links: map[[2]hlc.Origin]*link{}, ledger: check.NewLedger(), coverage: map[string]int{},
		placements: map[globaltable.LaneID]globaltable.Placement{}, purged: check.Frontiers{}, sights: map[check.Stamp]sight{}, listed: listed{entries: map[check.Key]map[string]string{}},
		moments: map[moment]struct{}{}, items: map[check.Key]struct{}{}, states: map[string][][]byte{}, seconds: map[string]uint64{}, forgiven: map[write]bool{}, erased: map[write][]conflict.Expiry{}, reached: map[write][]*region{},
		membership: membershipState{states: map[hlc.Origin]globaltable.MemberState{}, copies: map[hlc.Origin]diskCopy{}}}
	w.fired, w.firedBy, w.pinnedBy = check.NewTriggers(), map[firedFeed]hlc.Origin{}, map[globaltable.TableID][]*globaltable.Table{}
	w.conflicts = check.NewConflicts(w.ledger, w.sawIt, feedKey)
	return w
}

func (w *world) build() {
	for i := range w.plan.regions {
		r := newRegion(w, hlc.Origin(i+1))
		r.abandoned = w.plan.abandon > 0 && w.rng.Float64() < w.plan.abandon
		w.regions = append(w.regions, r)
	}
	for _, a := range w.regions {
		for _, b := range w.regions {
			w.links[[2]hlc.Origin{a.origin, b.origin}] = &link{up: true, latency: between(w.rng, time.Millisecond, w.plan.latency)}
		}
	}
	for _, r := range w.regions {
		r.start()
	}
}

// end lets all tasks end.
func (w *world) end() {
	for _, r := range w.regions {
		if r.cancel != nil {
			r.cancel()
		}
	}
	synctest.Wait()
}

// load lets clients work and faults happen until the operations are used up.
func (w *world) load() {
	for _, f := range w.faults() {
		w.arrive(f.every, f.strike)
	}
	w.arrive(20*time.Millisecond, w.glance)
	w.arrive(20*time.Millisecond, w.glanceMortal)
	w.arrive(20*time.Millisecond, w.glanceTyped)
	w.arrive(w.plan.glancePins(), w.glanceResidency)
	w.readStreams()
	w.fireTriggers()
	w.enableTimeToLive()
	done := false
	left := w.plan.operations
	var next func()
	next = func() {
		if left == 0 {
			done = true
			return
		}
		left--
		w.client()
		w.after(w.exponential(w.plan.pace), next)
	}
	w.after(0, next)
	for !done && w.advance() {
	}
}

// rest heals everything and waits until nothing is left to do. It returns why that did not happen, "" if it did.
func (w *world) rest() string {
	w.quiet = true
	w.heal()
	began, deadline := w.now, w.now+restLimit
	for w.now < deadline && w.steps < stepLimit {
		until := w.now + heartbeatEvery
		for len(w.heap) > 0 && w.heap[0].at <= until && w.steps < stepLimit {
			w.advance()
		}
		w.now = until
		if w.unrest() == "" {
			return ""
		}
		w.collectAll()
		w.buildAll()
		w.resumeTriggers()
		w.helpAll()
		if w.now > began+patience {
			w.giveUp()
		}
	}
	return w.unrest()
}

func (w *world) advance() bool {
	w.steps++
	if w.steps >= stepLimit || !w.step() {
		return false
	}
	w.runTasks()
	return true
}

func (w *world) note(format string, args ...any) { w.trace.add(w.now, format, args...) }

// tell notes what people should know who read a story.
func (w *world) tell(format string, args ...any) {
	w.note(format, args...)
	line := fmt.Sprintf(format, args...)
	if n := len(w.told); w.story && n == 0 || w.story && w.told[n-1] != line {
		w.told = append(w.told, line)
	}
}

// cover counts what has happened. Tasks call it, too.
func (w *world) cover(what string) {
	w.covering.Lock()
	defer w.covering.Unlock()
	w.coverage[what]++
}

// chance is true with probability p while faults are on.
func (w *world) chance(p float64) bool { return p > 0 && !w.quiet && w.rng.Float64() < p }

func (w *world) exponential(mean time.Duration) time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(mean))
}

// arrive makes a fault strike again and again, mean apart, until all is quiet.
func (w *world) arrive(mean time.Duration, strike func()) {
	if mean == 0 {
		return
	}
	w.after(w.exponential(mean), func() {
		if !w.quiet {
			strike()
			w.arrive(mean, strike)
		}
	})
}

func (w *world) region(o hlc.Origin) *region { return w.regions[o-1] }

func (w *world) anyRegion() *region { return w.regions[w.rng.IntN(len(w.regions))] }

func (w *world) tableName(id globaltable.TableID) string {
	if t := w.table(id); t != nil {
		return t.name
	}
	return id.String()
}

// table returns the table's definition.
func (w *world) table(id globaltable.TableID) *table {
	i := slices.IndexFunc(w.plan.tables, func(t table) bool { return t.id == id })
	if i < 0 {
		return nil
	}
	return &w.plan.tables[i]
}
