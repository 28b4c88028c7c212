package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/locality"
	document "github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/trigger"
)

// Triggers: each region fires those of its tables by hand (trigger.Manual), over its own streams and store, and tells the others by its peer service. Targets are late, refuse, and keep what they do not confirm; regions die between a delivery and the cursor that says so. Checker I13 knows what the streams tell, and what was delivered.

// firing is what a plan chose about triggers. The zero value: there are none.
type firing struct {
	triggers []planned
	refuses  float64       // share of the attempts that fail
	slow     time.Duration // an attempt, at most
	changes  time.Duration // between two changes of some trigger, on average; zero: never
	rng      *rand.Rand    // of its own, so that the rest of a run does not depend on it
}

// planned is a trigger of a run.
type planned struct {
	table int // of the plan's
	document.Document
	late bool // it is made while clients write
}

const (
	triggerReach = 2 * time.Second
	triggerBeat  = 500 * time.Millisecond
	triggerRetry = 50 * time.Millisecond
)

// fire chooses triggers, with randomness of its own, for some of the tables with a change stream.
func (p *plan) fire(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x74726967676572))
	if rng.IntN(3) > 0 {
		return
	}
	p.firing = firing{rng: rng, refuses: some(rng, 0.6, 0.4), slow: between(rng, time.Millisecond, 400*time.Millisecond), changes: sometimes(rng, 0.5, 300*time.Millisecond, 3*time.Second)}
	ways := []globaltable.Fire{globaltable.FireOne, globaltable.FireOrigin, globaltable.FireEverywhere}
	for i := range p.tables {
		t := &p.tables[i]
		if t.stream == "" || rng.IntN(3) == 0 {
			continue
		}
		g := planned{table: i, late: rng.IntN(4) == 0, Document: document.Document{Name: fmt.Sprintf("trigger-%d", i), Table: t.name, Spec: globaltable.TriggerSpec{
			Fire:   ways[rng.IntN(len(ways))],
			Target: globaltable.Target{NATS: &globaltable.NATSTarget{Subject: t.name}},
			Batch:  globaltable.Batch{Size: pick(rng, 1, 2, 100), Window: globaltable.MinBatchWindow},
			// The last attempt would be a dead letter.
			Parallel: pick(rng, 1, 2, 8), Retry: globaltable.Retry{Attempts: globaltable.MaxRetryAttempts, First: triggerRetry, Most: 4 * triggerRetry},
		}}}
		p.firing.triggers = append(p.firing.triggers, g)
	}
}

// arm makes the triggers that a table has from the beginning.
func (w *world) arm(ctx context.Context, owner *region, t *table) {
	var set []document.Document
	for _, g := range w.plan.firing.triggers {
		if g.Table == t.name && !g.late {
			set = append(set, g.Document)
		}
	}
	if len(set) == 0 {
		return
	}
	if _, err := owner.plane.ChangeTriggers(ctx, t.name, catalog.TriggerChange{Set: set, Author: "sim"}); err != nil {
		panic(err)
	}
}

// armed reports whether a document has the triggers that its table is to have from the beginning.
func (w *world) armed(t *globaltable.Table) bool {
	return !slices.ContainsFunc(w.plan.firing.triggers, func(g planned) bool {
		return g.Table == t.Name && !g.late && t.Trigger(g.Name) == nil
	})
}

// fireTriggers lets triggers change until all is quiet.
func (w *world) fireTriggers() {
	if len(w.plan.firing.triggers) == 0 {
		return
	}
	for i := range w.plan.firing.triggers {
		if g := &w.plan.firing.triggers[i]; g.late {
			w.after(between(w.plan.firing.rng, 0, 2*time.Second), func() { w.changeTrigger(g, "made", catalog.TriggerChange{Set: []document.Document{g.Document}}) })
		}
	}
	w.arriveBy(w.plan.firing.rng, w.plan.firing.changes, w.changeSomeTrigger)
}

// changeSomeTrigger has some region change some trigger.
func (w *world) changeSomeTrigger() {
	f := &w.plan.firing
	g := &f.triggers[f.rng.IntN(len(f.triggers))]
	doc := w.document(w.plan.tables[g.table].id)
	now := doc.Trigger(g.Name)
	if now == nil {
		return
	}
	switch f.rng.IntN(4) {
	case 0:
		w.changeTrigger(g, "replayed", catalog.TriggerChange{Replay: []catalog.TriggerReplay{{Name: g.Name, Since: now.Begins.Millis()}}})
	case 1:
		next := g.Document
		next.Spec.Batch.Size = 1 + f.rng.IntN(10)
		w.changeTrigger(g, "changed", catalog.TriggerChange{Set: []document.Document{next}})
	default:
		w.pauseTrigger(g, !now.Paused)
	}
}

func (w *world) pauseTrigger(g *planned, pause bool) {
	if pause {
		w.changeTrigger(g, "paused", catalog.TriggerChange{Pause: []string{g.Name}})
	} else {
		w.changeTrigger(g, "resumed", catalog.TriggerChange{Resume: []string{g.Name}})
	}
}

func (w *world) changeTrigger(g *planned, what string, change catalog.TriggerChange) {
	r := w.regions[w.plan.firing.rng.IntN(len(w.regions))]
	t := &w.plan.tables[g.table]
	if _, known := r.named(t); !r.up || !known {
		return
	}
	change.Author = "sim"
	plane := r.plane
	w.changes++
	r.spawn(fmt.Sprintf("change %d", w.changes), func(ctx context.Context) {
		if _, err := plane.ChangeTriggers(ctx, t.name, change); err == nil {
			line := fmt.Sprintf("%d: %s (%s) of %s is %s", r.origin, g.Name, g.Spec.Fire, t.name, what)
			r.sayThen(line, func() {
				r.note("%s", line)
				r.cover("a trigger was " + what)
			})
		}
	}, nil)
}

// openTriggers makes what fires the region's triggers.
func (r *region) openTriggers(d *door) {
	r.triggers, r.swept = nil, map[globaltable.TableID]hlc.Timestamp{}
	if len(r.plan.firing.triggers) == 0 {
		return
	}
	view := r.catalog.View
	m, err := trigger.NewManual(trigger.Config{
		Self: r.origin, Region: nameOf(r.origin), Life: d.shard.Incarnation(), Catalog: view, Reach: triggerReach, Beat: triggerBeat,
		Serves: func() bool { return len(r.excluded) == 0 },
		Now:    func() time.Time { return time.UnixMilli(epoch).Add(r.now) },
		Stream: tellingTables{d}, Store: cursors{d.shard, d},
		Row: func(t *globaltable.Table) trigger.Row {
			row, _ := r.matrix.Row(r.origin)
			return trigger.NewRow(t, r.origin, row.HLC, row.Marks, r.swept[t.ID])
		},
		Send: func(ctx context.Context, region string, g *trigger.Gossip) error {
			c, err := neighbours{r}.client(region)
			if err != nil {
				return err
			}
			return c.Triggers(ctx, g)
		},
		Means: trigger.Means{Publisher: target{r, r.life}},
		Events: trigger.Events{
			Gap: func(table, name string, after, upTo hlc.Timestamp) {
				r.sayThen(fmt.Sprintf("%d: trigger %s of %s has missed what was told after %s, up to %s", r.origin, name, table, after, upTo), func() {
					r.fired.Missed(r.triggerOf(table, name), uint16(r.origin), uint64(after), uint64(upTo))
					r.cover("a trigger missed what was trimmed")
				})
			},
			Withheld: func(string, string, int) { r.cover("an event was withheld") },
		},
	}, r.attempt)
	if err != nil {
		panic(err)
	}
	r.triggers = m
}

// startTriggers begins the loop in which they are fired.
func (r *region) startTriggers() {
	if r.triggers == nil {
		return
	}
	m := r.triggers
	l := &loop{region: r, name: "triggers", even: true, look: func(ctx context.Context) {
		m.Look(ctx)
		m.Tell(func(region string, do func(context.Context)) { r.soon("tell triggers to "+region, do) })
	}}
	r.loops = append(r.loops, l)
	l.in(lookEvery / 2)
}

// soon has a task begin that another one asks for.
func (r *region) soon(name string, do func(ctx context.Context)) {
	life := r.life
	r.sayThen(fmt.Sprintf("%d: %s", r.origin, name), func() {
		if r.up && r.life == life {
			r.spawn(name, do, nil)
		}
	})
}

// attempted is the attempt that a task makes.
type attempted struct{}

// attempt has an attempt made to deliver a batch.
func (r *region) attempt(a trigger.Attempt, do func(ctx context.Context)) {
	r.attempts++
	r.soon(fmt.Sprintf("attempt %d", r.attempts), func(ctx context.Context) { do(context.WithValue(ctx, attempted{}, a)) })
}

// target is where all events go that a region delivers: trigger.Publisher.
type target struct {
	*region
	life int
}

// errRefused is of a target.
var errRefused = errors.New("refused")

// Publish implements trigger.Publisher. Who dies while it waits does not learn that the target has the events, or some of them.
func (x target) Publish(ctx context.Context, _ string, messages []trigger.Message) error {
	a := ctx.Value(attempted{}).(trigger.Attempt)
	return x.await(ctx, "publish", func(done func(error)) {
		f := &x.plan.firing
		var err error
		n := len(messages)
		if !x.quiet && f.rng.Float64() < f.refuses {
			err, n = errRefused, f.rng.IntN(n+1)
			x.cover("a delivery failed")
		}
		x.world.after(between(f.rng, 0, f.slow), func() {
			for _, m := range messages[:n] {
				x.delivered(a, m.ID)
			}
		})
		x.after(between(f.rng, f.slow, 2*f.slow), func() { done(err) })
	})
}

// delivered takes into evidence that a target has an event.
func (x target) delivered(a trigger.Attempt, id string) {
	of := check.Trigger{Table: uint64(a.Trigger.Table), Name: a.Trigger.Name}
	again, found := x.fired.Deliver(check.Delivery{Trigger: of, Region: uint16(x.origin), Run: fmt.Sprintf("%d/%d/%d", x.origin, x.life, a.Flow), ID: id})
	x.evidence.found = append(x.evidence.found, found...)
	x.note("%d delivers %s of %s", x.origin, id, a.Trigger.Name)
	x.cover("an event was delivered")
	if again {
		x.cover("an event was delivered again")
	}
	if a.Number > 1 {
		x.cover("a delivery was tried again")
	}
	if a.Feed.Lane == 0 {
		return
	}
	feed := firedFeed{of, a.Feed}
	if by, known := x.firedBy[feed]; known && by != x.origin {
		x.cover("a trigger was taken over")
	}
	x.firedBy[feed] = x.origin
	if a.Feed.Origin != 0 {
		x.cover("an event was delivered of what was made in a region that is out")
	}
}

// firedFeed is a feed of a trigger.
type firedFeed struct {
	check.Trigger
	feed trigger.FeedID
}

// triggerOf is a trigger as checkers name it.
func (r *region) triggerOf(table, name string) check.Trigger {
	t, _ := r.catalog.View().Lookup(table)
	return check.Trigger{Table: uint64(t.ID), Name: name}
}

// tellingTables is a region's change streams, table by table: trigger.Stream.
type tellingTables struct{ *door }

// Mark implements trigger.Stream.
func (s tellingTables) Mark() hlc.Timestamp { return s.shard.StreamMark() }

// MarkNow implements trigger.Stream.
func (s tellingTables) MarkNow(ctx context.Context) (hlc.Timestamp, error) {
	err := s.await(ctx, "mark", func(done func(error)) {
		s.manual.Heads(func(_ commit.Heads, err error) { done(err) })
		s.work()
	})
	return s.shard.StreamMark(), err
}

// Read implements trigger.Stream.
func (s tellingTables) Read(table globaltable.TableID, after hlc.Timestamp, f func(*cdc.Record) bool) (upTo hlc.Timestamp, err error) {
	return s.shard.ReadTable(table, after, 0, f)
}

// Await implements trigger.Stream.
func (s tellingTables) Await(ctx context.Context, table globaltable.TableID, after hlc.Timestamp) {
	s.shard.AwaitTable(ctx, table, after)
}

// Lost implements trigger.Stream.
func (s tellingTables) Lost(t *globaltable.Table) hlc.Timestamp { return s.shard.Lost(t) }

// cursors is trigger.Store. Dead letters there are none: no batch is tried so often.
type cursors struct {
	*commit.Shard
	*door
}

// SetTrigger implements trigger.Store.
func (c cursors) SetTrigger(ctx context.Context, id globaltable.TriggerID, state []byte) error {
	return c.await(ctx, fmt.Sprintf("set trigger %x %s", uint64(id.Table), id.Name), func(done func(error)) {
		if c.dies() {
			return
		}
		c.passedOver(id)
		c.manual.SetTrigger(id, state, done)
		c.work()
	})
}

// passedOver notes, when this region keeps for the first time how far a trigger is, that it owes nothing of what had gone by then.
func (c cursors) passedOver(id globaltable.TriggerID) {
	t, known := c.catalog.View().Table(id.Table)
	err := c.Triggers(func(kept globaltable.TriggerID, _ []byte) error {
		known = known && kept != id
		return nil
	})
	if err != nil {
		panic(err)
	}
	if known {
		c.fired.Missed(check.Trigger{Table: uint64(id.Table), Name: id.Name}, uint16(c.origin), 0, uint64(c.shard.Lost(t)))
	}
}

// DropTrigger implements trigger.Store.
func (c cursors) DropTrigger(ctx context.Context, id globaltable.TriggerID) error {
	return c.await(ctx, fmt.Sprintf("drop trigger %x %s", uint64(id.Table), id.Name), func(done func(error)) {
		c.manual.DropTrigger(id, done)
		c.work()
	})
}

// tellsTriggers takes into evidence what a stream of this region has, if there are triggers.
func (r *region) tellsTriggers(table globaltable.TableID, x *cdc.Record) {
	t, known := r.catalog.View().Table(table)
	if len(r.plan.firing.triggers) == 0 || !known {
		return
	}
	teller := cdc.Teller{Table: t, Region: nameOf(r.origin)}
	r.evidence.found = append(r.evidence.found, r.fired.Told(uint16(r.origin), teller.ID(x), toldOf(check.Key{Table: uint64(table), Bytes: string(x.Key)}, x))...)
}

// findsTold takes into evidence what the streams of a store tell that is not what it was.
func (r *region) findsTold() {
	if len(r.plan.firing.triggers) == 0 {
		return
	}
	for _, s := range r.shard.AllStreams() {
		_, err := r.shard.ReadStream(commit.StreamRange{Stream: s.Stream}, func(x *cdc.Record) bool {
			r.tellsTriggers(s.Table, x)
			return true
		})
		if err != nil {
			panic(err)
		}
	}
}

// owesNothing forgets what this region tells of a table: its data go.
func (r *region) owesNothing(table globaltable.TableID) {
	r.fired.Forget(uint16(r.origin), func(x check.Told) bool { return x.Key.Table == uint64(table) })
}

// resumeTriggers has operators resume what they have paused.
func (w *world) resumeTriggers() {
	for i := range w.plan.firing.triggers {
		g := &w.plan.firing.triggers[i]
		if doc := w.document(w.plan.tables[g.table].id); doc != nil && doc.Trigger(g.Name) != nil && doc.Trigger(g.Name).Paused {
			w.pauseTrigger(g, false)
		}
	}
}

// unfired says which trigger has not dealt with all that is told; "" when there is none.
func (r *region) unfired() (why string) {
	if r.triggers == nil {
		return ""
	}
	r.triggers.Standings(func(id globaltable.TriggerID, by globaltable.Version, feeds []trigger.Standing) {
		doc, _ := r.catalog.View().Table(id.Table)
		if doc == nil || doc.Deleted || doc.Trigger(id.Name) == nil {
			return
		}
		if by != doc.Version {
			why = fmt.Sprintf("region %d fires trigger %s as of %s, not %s", r.origin, id.Name, by, doc.Version)
			return
		}
		switch paused := doc.Trigger(id.Name).Paused; {
		case paused && r.table(id.Table) == nil:
			return // of a replica that became a table of its own
		case paused:
			why = fmt.Sprintf("trigger %s is paused", id.Name)
		}
		if _, tells := doc.StreamIn(r.origin); !tells {
			return
		}
		var last hlc.Timestamp
		for _, s := range r.shard.Streams(id.Table) {
			last = max(last, s.Last)
		}
		for _, f := range feeds {
			if f.Position < last {
				why = fmt.Sprintf("region %d has dealt with feed %+v of trigger %s, and told until %s", r.origin, f, id.Name, last)
			}
		}
	})
	return why
}

// judgeTriggers checks I13.
func (w *world) judgeTriggers() (out []check.Violation) {
	for i := range w.plan.firing.triggers {
		g := &w.plan.firing.triggers[i]
		t := &w.plan.tables[g.table]
		doc := w.document(t.id)
		now := doc.Trigger(g.Name)
		if doc.Deleted || now == nil || doc.Stream.View == "" {
			continue
		}
		w.cover("a trigger owed what is told")
		out = append(out, w.fired.Judge(check.Armed{
			Trigger: check.Trigger{Table: uint64(t.id), Name: g.Name}, Begins: uint64(now.Begins),
			Firing: map[globaltable.Fire]check.Firing{globaltable.FireOrigin: check.ByOrigin, globaltable.FireEverywhere: check.ByAll, globaltable.FireOne: check.ByOne}[now.Fire],
			Holders: func(k check.Key) (out []uint16) {
				for _, o := range w.holders(k) {
					if _, tells := doc.StreamIn(hlc.Origin(o)); tells && w.standing(w.region(hlc.Origin(o))) == globaltable.MemberActive {
						out = append(out, o)
					}
				}
				return out
			},
			Away: func(k check.Key) bool { return w.wasAway(t.id, k) },
			Back: func(k check.Key) bool {
				return slices.ContainsFunc(w.ledger.Of(k), func(l check.Logged) bool { return len(w.ledger.Logs(k, l.Stamp)) > 1 })
			},
		})...)
	}
	return out
}

// wasAway reports whether some document of a table kept an item out of one of its regions.
func (w *world) wasAway(id globaltable.TableID, k check.Key) bool {
	return slices.ContainsFunc(w.pinnedBy[id], func(t *globaltable.Table) bool {
		pin, known := locality.PinOf(t, []byte(k.Bytes))
		return !known || pin != nil && slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool { return !pin.Allows(&r) })
	})
}
