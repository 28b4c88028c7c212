package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
)

// table is one global table of a run.
type table struct {
	name      string
	id        globaltable.TableID   // since it was made
	members   globaltable.Placement // at first
	mode      conflict.Mode         // in which its writes are recorded
	keys      int
	mortal    bool // its items have times at which they expire
	typed     bool // its updates are clients' expressions, and its attributes merge by types
	tags      map[string]string
	puts      float64    // share of the writes to a typed table
	templates []template // of its updates

	stream      globaltable.StreamView // at first; empty: none
	conflictAge time.Duration          // how long a conflict is listed; 0: longer than any run
}

// plan is what a seed chose: the shape of the world, the work, and the faults with their rates.
type plan struct {
	regions int
	tables  []table

	operations int
	pace       time.Duration // between operations, on average
	deletes    float64       // shares of the operations; the rest are puts
	updates    float64
	transacts  float64
	clashes    float64 // share of the calls made to all regions at once, for one key
	padding    int     // bytes of a value, at most

	sync       time.Duration // a disk sync, at most
	maxMessage int           // bytes: small ones make fragments
	bound      int           // messages that a stream keeps
	refill     uint64
	batchBytes int
	queueBytes int
	pageBytes  int
	logBytes   int // of a lane's log, about; beyond it peers are left behind
	joinBytes  int // of a page that a new replica asks for

	latency time.Duration // one way, at most, by link
	jitter  time.Duration // beyond it; with reorder, messages overtake each other
	reorder bool

	dropMessage, duplicate, forge, loseAck, losePubAck, loseRequest float64 // of each

	partition, crash, busRestart, busCut, redeliver, clockJump, reshape, collect, fence, remove, lose, bringBack, copies, index, build, disassociate time.Duration // between two of them, on average; zero: never

	enabled    bool          // the mortal tables have a time to live from the beginning
	timeToLive time.Duration // between two changes of it, on average; zero: never

	repin        time.Duration // between two changes of locality policies, on average; zero: never
	exile        bool          // policies keep out of a region what it has, while it is fenced
	crashPlacing float64       // chance to die between two steps of carrying policies out
	alone        bool          // items may be pinned to one region

	changeMode   time.Duration // between two changes of how a typed table merges, on average; zero: never
	dropConflict time.Duration // between two conflicts that are dropped, on average; zero: never

	telling telling
	firing  firing

	crashPoint  float64 // chance to die between two effects
	abandon     float64 // share of the regions that nobody brings back once they are fenced
	crashSaving float64 // chance to die between two steps of a store's being saved and emptied
	crashJoin   float64 // chance that one side dies after a page of a new replica was merged, and before that is noted

	skew      [5]time.Duration // of the physical clocks, by origin
	jumpAhead time.Duration    // of a clock that jumps, at most
}

const unlimited = 1 << 40

// maxOffset is the clocks' bound in all runs.
const maxOffset = hlc.DefaultMaxOffset

func newPlan(rng *rand.Rand) *plan {
	p := &plan{regions: 2 + rng.IntN(3)}
	p.tables = newTables(rng, p.regions)
	p.operations = 40 + rng.IntN(160)
	p.pace = between(rng, 2*time.Millisecond, 40*time.Millisecond)
	p.deletes = some(rng, 0.7, 0.3)
	p.updates = some(rng, 0.7, 0.6)
	p.transacts = some(rng, 0.5, 0.3)
	p.clashes = some(rng, 0.5, 0.5)
	p.padding = pick(rng, 8, 60, 1500)

	p.sync = between(rng, 0, time.Duration(pick(rng, 1, 20, 150))*time.Millisecond)
	p.maxMessage = pick(rng, 400, 900, bus.MaxMessage)
	p.bound = pick(rng, 3, 20, 1000)
	p.refill = uint64(pick(rng, 2, 10, 1024))
	p.batchBytes = pick(rng, 1, 2000, 512<<10)
	p.queueBytes = pick(rng, 500, 4000, 4<<20)
	p.pageBytes = pick(rng, 1, 1500, 1<<20)
	p.logBytes = pick(rng, unlimited, unlimited, 2000, 10_000)
	p.joinBytes = pick(rng, 1, 1, 1, 300, 1<<20)

	p.latency = between(rng, time.Millisecond, 150*time.Millisecond)
	p.jitter = between(rng, 0, 60*time.Millisecond)
	p.reorder = rng.IntN(2) == 0
	p.dropMessage = some(rng, 0.5, 0.2)
	p.duplicate = some(rng, 0.5, 0.2)
	p.forge = some(rng, 0.4, 0.2)
	p.loseAck = some(rng, 0.5, 0.5)
	p.losePubAck = some(rng, 0.4, 0.1)
	p.loseRequest = some(rng, 0.4, 0.2)

	p.partition = sometimes(rng, 0.5, 300*time.Millisecond, 2*time.Second)
	p.crash = sometimes(rng, 0.6, 300*time.Millisecond, 2*time.Second)
	p.crashPoint = some(rng, 0.4, 0.003)
	p.busRestart = sometimes(rng, 0.4, 200*time.Millisecond, 2*time.Second)
	p.busCut = sometimes(rng, 0.4, 200*time.Millisecond, 2*time.Second)
	p.redeliver = sometimes(rng, 0.4, 50*time.Millisecond, time.Second)
	p.clockJump = sometimes(rng, 0.4, 300*time.Millisecond, 2*time.Second)
	p.jumpAhead = between(rng, 10*time.Millisecond, 3*time.Second)
	if rng.IntN(2) == 0 {
		for o := range p.skew {
			p.skew[o] = between(rng, 0, 2*maxOffset) - maxOffset
		}
	}
	p.collect = sometimes(rng, 0.8, 20*time.Millisecond, 300*time.Millisecond)
	p.reshape = sometimes(rng, 0.6, 100*time.Millisecond, time.Second)
	p.index = sometimes(rng, 0.6, 50*time.Millisecond, 500*time.Millisecond)
	p.build = between(rng, 2*time.Millisecond, 50*time.Millisecond)
	p.crashJoin = some(rng, 0.9, 0.7)
	if rng.IntN(2) == 0 {
		p.moveMembers(rng)
	}
	return p
}

// moveMembers plans regions that are fenced, removed, lost, and come back.
func (p *plan) moveMembers(rng *rand.Rand) {
	p.fence = sometimes(rng, 0.7, 300*time.Millisecond, 3*time.Second)
	p.remove = sometimes(rng, 0.8, 200*time.Millisecond, 1500*time.Millisecond)
	p.lose = sometimes(rng, 0.4, 100*time.Millisecond, time.Second)
	if p.lose > 0 { // it happens only where nothing else moves
		p.reshape, p.remove = 0, 0
		p.fence *= time.Duration(rng.IntN(2))
	}
	p.bringBack = between(rng, 50*time.Millisecond, time.Second)
	p.copies = between(rng, 10*time.Millisecond, 100*time.Millisecond) // stores are lost soon after the beginning
	p.crashSaving = some(rng, 0.5, 0.5)
	p.abandon = some(rng, 0.4, 0.6)
}

func newTables(rng *rand.Rand, regions int) []table {
	var out []table
	all := rng.IntN(2) == 0
	for i := range 1 + rng.IntN(4) {
		var members []hlc.Origin
		for o := 1; o <= regions; o++ {
			if i == 0 && all || rng.IntN(3) > 0 {
				members = append(members, hlc.Origin(o))
			}
		}
		if len(members) == 0 {
			members = []hlc.Origin{hlc.Origin(1 + rng.IntN(regions))}
		}
		t := table{name: fmt.Sprintf("table-%d", i), members: globaltable.NewPlacement(members...), keys: 1 + rng.IntN(pick(rng, 5, 5, 15))}
		if rng.IntN(2) == 0 {
			t.mode = conflict.Attribute
		}
		out = append(out, t)
	}
	return out
}

// some returns a rate up to most, with probability p; zero otherwise.
func some(rng *rand.Rand, p, most float64) float64 {
	if rng.Float64() >= p {
		return 0
	}
	return most * rng.Float64()
}

// sometimes returns a duration in the range, with probability p; zero otherwise.
func sometimes(rng *rand.Rand, p float64, from, to time.Duration) time.Duration {
	if rng.Float64() >= p {
		return 0
	}
	return between(rng, from, to)
}

func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)+1))
}

func pick(rng *rand.Rand, choices ...int) int { return choices[rng.IntN(len(choices))] }
