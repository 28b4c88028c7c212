package trigger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/streams/cdc"
)

// The model: regions that write, tell each other their writes in order, tell all of it in their streams, and fire one trigger, each by a Core; with partitions, kills, losses, fences, and changes of how items are divided. An event is a text; what a record
// stands for is a list of them. What a region has in its stream has to be delivered by somebody, in the end, and it has to be dealt with in order.

const modelReach = 3 * time.Second

type modelRecord struct {
	cdc.Record
	stands []string // events
}

type modelWrite struct {
	dot   hlc.Stamp
	key   item.Key
	event string
}

type modelRegion struct {
	world   *model
	origin  hlc.Origin
	clock   hlc.Timestamp
	log     []modelWrite
	applied map[hlc.Origin]int // of the others' logs
	marks   map[hlc.Origin]hlc.Timestamp
	stream  []modelRecord
	swept   hlc.Timestamp
	dead    bool // its process does not run
	lost    bool // for ever
	core    *Core
	stored  []byte
	view    View
	flows   map[FeedID]int // of the stream: what is to be looked at next
	told    map[string]bool
}

type model struct {
	t         *testing.T
	r         *rand.Rand
	fire      globaltable.Fire
	now       time.Time
	regions   []*modelRegion
	cut       map[[2]hlc.Origin]bool
	out       hlc.Origin // a region that was lost and then fenced; zero: none
	division  int        // how items are divided: by how many of them
	copies    int        // one in so many times whole records come in place of writes
	delivered map[string]int
	expiries  []modelWrite // what expires, by its moment
}

func newModel(t *testing.T, seed uint64, fire globaltable.Fire) *model {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), fire: fire, now: time.UnixMilli(1_700_000_000_000), cut: map[[2]hlc.Origin]bool{}, division: 1, copies: 1 + int(seed%5), delivered: map[string]int{}}
	for o := hlc.Origin(1); o <= 3; o++ {
		m.regions = append(m.regions, &modelRegion{world: m, origin: o, applied: map[hlc.Origin]int{}, marks: map[hlc.Origin]hlc.Timestamp{}, told: map[string]bool{}})
	}
	for _, r := range m.regions {
		r.tick()
		r.start()
	}
	return m
}

func (m *model) linked(a, b *modelRegion) bool {
	return !a.dead && !b.dead && !m.cut[[2]hlc.Origin{min(a.origin, b.origin), max(a.origin, b.origin)}]
}

func (r *modelRegion) tick() hlc.Timestamp {
	r.clock = max(r.clock+1, hlc.FromTime(r.world.now))
	return r.clock
}

func (r *modelRegion) tell(x cdc.Record, stands ...string) {
	r.clock = max(r.clock, x.Dot.Time)
	x.Position = r.tick()
	r.stream = append(r.stream, modelRecord{x, stands})
	for _, e := range stands {
		r.told[e] = true
	}
}

// laneOf is which placement an item has where items are divided by n.
func modelLane(key item.Key, n int) globaltable.LaneID {
	return globaltable.LaneID(100*n + int(key[1]-'0')%n + 1)
}

func (m *model) viewFor() View {
	v := View{Era: Era{Fire: m.fire, Division: uint64(m.division)}, From: hlc.FromTime(time.UnixMilli(1_700_000_000_000)), Tells: true, Always: true, Life: 1}
	for _, r := range m.regions {
		if r.origin == m.out {
			v.Out = append(v.Out, r.origin)
			continue
		}
		v.Live, v.Home = append(v.Live, r.origin), append(v.Home, r.origin)
	}
	if m.fire == globaltable.FireEverywhere {
		v.Era.Division = 0
		return v
	}
	for i := range m.division {
		v.Lanes = append(v.Lanes, Lane{ID: globaltable.LaneID(100*m.division + i + 1), Regions: v.Home})
	}
	return v
}

func (r *modelRegion) start() {
	r.dead, r.core, r.flows = false, NewCore(r.origin, modelReach), map[FeedID]int{}
	if r.stored != nil {
		if err := r.core.Load(r.stored, r.world.now); err != nil {
			r.world.t.Fatal(err)
		}
	}
	r.adopt()
}

func (r *modelRegion) adopt() {
	r.view = r.world.viewFor()
	clear(r.flows)
	r.core.Adopt(r.view, r.tick(), 0, r.world.now)
}

func (r *modelRegion) write() {
	key := item.Key(fmt.Sprint("k", r.world.r.IntN(6)))
	at := hlc.Stamp{Time: r.tick(), Origin: r.origin}
	event := fmt.Sprintf("%s of %d at %d", key, r.origin, at.Time)
	r.log = append(r.log, modelWrite{at, key, event})
	r.tell(cdc.Record{Kind: cdc.Write, Dot: at, Key: key}, event)
	if r.world.r.IntN(10) == 0 {
		// It expires some seconds later, and is told by each region when that has collected it.
		due := hlc.Stamp{Time: at.Time.Add(time.Duration(1+r.world.r.IntN(4)) * time.Second), Origin: r.origin}
		r.world.expiries = append(r.world.expiries, modelWrite{due, key, "expiry of " + event})
	}
}

// pull applies what another region has logged, or a part of it; sometimes, as after an exchange, whole records in place of it.
func (r *modelRegion) pull(from *modelRegion) {
	n := len(from.log) - r.applied[from.origin]
	if n > 0 && r.world.r.IntN(3) > 0 {
		n = r.world.r.IntN(n + 1)
	}
	next := from.log[r.applied[from.origin] : r.applied[from.origin]+n]
	r.applied[from.origin] += n
	if len(next) > 1 && r.world.r.IntN(r.world.copies) == 0 {
		// The records have also what the other one knows of the third.
		for _, third := range r.world.regions {
			if third != r && third != from && r.applied[third.origin] < from.applied[third.origin] {
				next = slices.Concat(next, third.log[r.applied[third.origin]:from.applied[third.origin]])
			}
		}
		r.copy(slices.Clone(next))
	} else {
		for _, w := range next {
			if !r.told[w.event] { // else a duplicate, of which nothing is told
				r.tell(cdc.Record{Kind: cdc.Write, Dot: w.dot, Key: w.key}, w.event)
			}
		}
	}
	if r.applied[from.origin] == len(from.log) {
		r.marks[from.origin] = from.tick()
		r.clock = max(r.clock, from.clock)
	}
}

func (r *modelRegion) copy(writes []modelWrite) {
	byKey := map[string][]modelWrite{}
	var keys []string
	slices.SortFunc(writes, func(a, b modelWrite) int { return a.dot.Compare(b.dot) })
	for _, w := range writes {
		if r.told[w.event] {
			continue
		}
		if byKey[string(w.key)] == nil {
			keys = append(keys, string(w.key))
		}
		byKey[string(w.key)] = append(byKey[string(w.key)], w)
	}
	for _, key := range keys {
		var stands []string
		for _, w := range byKey[key] {
			stands = append(stands, w.event)
		}
		last := byKey[key][len(byKey[key])-1]
		r.tell(cdc.Record{Kind: cdc.Copied, Dot: last.dot, Key: last.key}, stands...)
	}
}

// sweep tells the expiries that all regions are known to have passed.
func (r *modelRegion) sweep() {
	purge := r.clock
	for _, x := range r.world.regions {
		for _, y := range r.world.regions {
			if x != y && x.origin != r.world.out && y.origin != r.world.out {
				purge = min(purge, x.marks[y.origin])
			}
		}
	}
	slices.SortFunc(r.world.expiries, func(a, b modelWrite) int { return a.dot.Compare(b.dot) })
	for _, e := range r.world.expiries {
		if e.dot.Time <= purge && e.dot.Time > r.swept {
			r.tell(cdc.Record{Kind: cdc.Expired, Dot: e.dot, Key: e.key}, e.event)
		}
	}
	r.swept = max(r.swept, purge)
}

// fire has the region's core decide, and delivers something of what it fires.
func (r *modelRegion) fire() {
	m := r.world
	row := Row{HLC: r.tick(), Marks: r.marks, Expired: r.swept}
	mark := r.tick()
	if m.r.IntN(3) == 0 {
		r.core.Note(row, mark, m.now)
	}
	fires := r.core.Decide(m.now)
	for id := range r.flows {
		if !slices.Contains(fires, id) {
			delete(r.flows, id)
		}
	}
	for _, id := range fires {
		next, under := r.flows[id]
		if !under {
			at := r.core.Begin(id, mark)
			next = 0
			for next < len(r.stream) && r.stream[next].Position <= at {
				next++
			}
		}
		for n := m.r.IntN(8); n > 0 && next < len(r.stream); n-- {
			r.deliver(id, &r.stream[next])
			next++
		}
		r.flows[id] = next
		if next == len(r.stream) {
			r.core.Advance(id, mark)
		} else if next > 0 {
			r.core.Advance(id, r.stream[next-1].Position)
		}
	}
	if m.r.IntN(3) == 0 {
		r.stored = r.core.State()
	}
}

func (r *modelRegion) deliver(id FeedID, x *modelRecord) {
	vector, until, ok := r.core.Feed(id)
	lane := func() globaltable.LaneID { return modelLane(x.Key, int(r.view.Era.Division)) }
	if !ok || until != 0 && x.Position > until || !id.Has(&x.Record, lane) || id.Lane != 0 && vector.Covers(&x.Record) {
		return
	}
	for _, e := range x.stands {
		r.world.delivered[e]++
	}
}

func (r *modelRegion) gossip(to *modelRegion) {
	to.core.Hear(r.origin, r.core.Entries(func(id FeedID) bool { _, fires := r.flows[id]; return fires }), r.world.now)
}

func (m *model) step(troubled bool) {
	m.now = m.now.Add(250 * time.Millisecond)
	for _, r := range m.regions {
		if r.dead {
			continue
		}
		if m.r.IntN(2) == 0 && troubled {
			r.write()
		}
		for _, other := range m.regions {
			if other == r || !m.linked(r, other) {
				continue
			}
			if m.r.IntN(2) == 0 {
				r.pull(other)
			}
			if m.r.IntN(3) == 0 {
				r.gossip(other)
			}
		}
		r.sweep()
		r.fire()
	}
}

// trouble is something that goes wrong, or changes.
func (m *model) trouble() {
	r := m.regions[m.r.IntN(len(m.regions))]
	switch m.r.IntN(6) {
	case 0:
		if !r.lost {
			r.dead = true
		}
	case 1:
		if r.dead && !r.lost {
			r.start()
		}
	case 2, 3:
		a, b := m.regions[m.r.IntN(3)].origin, m.regions[m.r.IntN(3)].origin
		m.cut[[2]hlc.Origin{min(a, b), max(a, b)}] = m.r.IntN(2) == 0
	case 4:
		m.division = 1 + m.r.IntN(2)
	case 5:
		if !r.dead && r.view.Era.Division != uint64(m.division) && m.fire != globaltable.FireEverywhere {
			r.adopt()
		}
	}
}

// fence lets the others of a lost region go on without it: each gets what any of them has of it.
func (m *model) fence(lost *modelRegion) {
	lost.dead, lost.lost, m.out = true, true, lost.origin
	most := 0
	for _, r := range m.regions {
		if r != lost {
			most = max(most, r.applied[lost.origin])
		}
	}
	for _, r := range m.regions {
		if r == lost {
			continue
		}
		if r.dead {
			r.start()
		}
		r.copy(slices.Clone(lost.log[r.applied[lost.origin]:most]))
		r.applied[lost.origin] = most
		m.step(false)
		r.adopt()
	}
}

// run runs the model, and returns what was not delivered of what somebody has who is left, and how much was delivered more than once.
func (m *model) run() (omitted []string, twice int) {
	for range 150 {
		if m.r.IntN(6) == 0 {
			m.trouble()
		}
		m.step(true)
	}
	clear(m.cut)
	if m.r.IntN(2) == 0 {
		m.fence(m.regions[m.r.IntN(3)])
	}
	for _, r := range m.regions {
		if r.dead && !r.lost {
			r.start()
		} else if !r.dead {
			r.adopt()
		}
	}
	for range 400 {
		m.step(false)
	}
	seen := map[string]bool{}
	for _, r := range m.regions {
		for e := range r.told {
			if !r.lost && !seen[e] && m.delivered[e] == 0 {
				omitted = append(omitted, fmt.Sprintf("%s (in the stream of %d)", e, r.origin))
			}
			seen[e] = true
		}
	}
	for _, n := range m.delivered {
		if n > 1 {
			twice++
		}
	}
	slices.Sort(omitted)
	return omitted, twice
}

const modelSeeds = 100

func TestNothingIsOmitted(t *testing.T) {
	for _, fire := range []globaltable.Fire{globaltable.FireOne, globaltable.FireOrigin, globaltable.FireEverywhere} {
		events, twice := 0, 0
		for seed := range uint64(modelSeeds) {
			m := newModel(t, seed, fire)
			omitted, n := m.run()
			if len(omitted) > 0 {
				t.Fatalf("%s, seed %d, region %d out: %d were not delivered: %s", fire, seed, m.out, len(omitted), omitted[0])
			}
			events += len(m.delivered)
			twice += n
		}
		t.Logf("%s: %d events, %d of them more than once", fire, events, twice)
	}
}

// TestOneFiresOnce: without trouble each event is delivered by one region, once.
// TestWhoLeftIsReplayed: what was made in a region whose replica is no more is delivered by others, after a replay and after a change of the way of firing too. No document tells of that region any more.
func TestWhoLeftIsReplayed(t *testing.T) {
	const us, eu, ap = 1, 2, 3
	now := time.UnixMilli(1_700_000_000_000)
	view := func(era Era, homes ...hlc.Origin) View {
		return View{Era: era, From: 5, Live: homes, Home: homes, Lanes: []Lane{{9, []hlc.Origin{us, eu}}}, Tells: true, Always: true, Life: 1}
	}
	for name, then := range map[string]struct {
		eras [2]Era
		from hlc.Timestamp
	}{
		"replayed":        {[2]Era{{Fire: globaltable.FireOrigin, Division: 1}, {Fire: globaltable.FireOrigin, Division: 1, Replay: 1}}, 5},
		"fires by origin": {[2]Era{{Fire: globaltable.FireOne, Division: 1}, {Fire: globaltable.FireOrigin, Division: 1}}, 7}, // what the region has said of itself holds
	} {
		c := NewCore(us, time.Second)
		c.Adopt(view(then.eras[0], us, eu, ap), 10, 0, now)
		c.Hear(ap, []Entry{{Feed: FeedID{Origin: ap}, Era: Era{Fire: globaltable.FireOrigin}, Life: 1, Vector: since(7, ap), Fires: true, Ready: true}}, now)
		c.Adopt(view(then.eras[0], us, eu), 20, 0, now)
		c.Adopt(view(then.eras[1], us, eu), 30, 0, now)
		vector, until, ok := c.Feed(FeedID{Origin: ap, Lane: 9})
		if !ok || until != 0 || vector.Writes[ap] > then.from {
			t.Errorf("%s: %+v until %d, %v", name, vector, until, ok)
		}
	}
}

// TestEndedElsewhere: a region that cannot fire a feed forgets it when those that can have dealt with it, whether it has heard of the end or not.
func TestEndedElsewhere(t *testing.T) {
	const us, eu, ap = 1, 2, 3
	now := time.UnixMilli(1_700_000_000_000)
	era, feed := Era{Fire: globaltable.FireOrigin, Division: 1}, FeedID{Origin: ap, Lane: 9}
	view := View{Era: era, From: 5, Live: []hlc.Origin{us, eu}, Home: []hlc.Origin{us, eu}, Out: []hlc.Origin{ap}, Lanes: []Lane{{9, []hlc.Origin{eu, ap}}}, Tells: true, Always: true, Life: 1}
	c := NewCore(us, time.Second)
	c.Adopt(view, 10, 0, now)
	view.Home, view.Out = []hlc.Origin{us, eu, ap}, nil
	c.Adopt(view, 20, 0, now)
	has := func(want bool, when string) {
		t.Helper()
		c.Decide(now)
		if _, _, has := c.Feed(feed); has != want {
			t.Errorf("%s: it is there: %v", when, has)
		}
	}
	own := func(o hlc.Origin) Entry {
		return Entry{Feed: FeedID{Origin: o}, Era: Era{Fire: globaltable.FireOrigin}, Life: 1, Vector: since(5, o)}
	}
	has(true, "nobody was heard")
	c.Hear(ap, []Entry{own(ap)}, now)
	c.Hear(eu, []Entry{own(eu), {Feed: feed, Era: era, Vector: since(6, ap), Fires: true, Ready: true}}, now)
	has(true, "it is fired")
	c.Hear(eu, []Entry{{Feed: FeedID{Origin: eu}, Era: Era{Fire: globaltable.FireOne}}}, now)
	has(true, "who fires it is in another era")
	c.Hear(eu, []Entry{own(eu)}, now)
	has(false, "nobody tells of it any more")
}

func TestOneFiresOnce(t *testing.T) {
	for _, fire := range []globaltable.Fire{globaltable.FireOne, globaltable.FireOrigin} {
		m := newModel(t, 1, fire)
		for range 200 {
			m.step(true)
		}
		for range 100 {
			m.step(false)
		}
		for e, n := range m.delivered {
			if n != 1 && !modelCopied(m, e) {
				t.Errorf("%s: %s was delivered %d times", fire, e, n)
			}
		}
		if len(m.delivered) < 100 {
			t.Errorf("%s: %d events", fire, len(m.delivered))
		}
	}
}

// modelCopied reports whether an event came to somebody in a whole record only.
func modelCopied(m *model, event string) bool {
	for _, r := range m.regions {
		for _, x := range r.stream {
			if x.Kind == cdc.Copied && slices.Contains(x.stands, event) {
				return true
			}
		}
	}
	return false
}
