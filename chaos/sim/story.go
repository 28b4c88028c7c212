package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
)

// Story is a world without chance, in which what happens is what it is told: the same regions as in Run, links that deliver in a millisecond, and no faults but those of the story. It lives in a
// bubble of testing/synctest, and is not safe for concurrent use.
type Story struct {
	w      *world
	copies map[string]diskCopy
	wrong  map[string]bool // invariants whose violation was told

	restored bool // a disk was replaced by a copy: what was evidence before means nothing any more
}

// storyPlan is the plan of every story.
func storyPlan(regions int) *plan {
	p := &plan{regions: regions, padding: 1, maxMessage: bus.MaxMessage, bound: 1000, refill: 1024, batchBytes: 1, queueBytes: 4 << 20, pageBytes: 1 << 20, joinBytes: 1 << 20,
		logBytes: unlimited, latency: time.Millisecond}
	return p
}

// NewStory begins a story with as many regions as there are letters from a on.
func NewStory(regions int) *Story {
	rng := rand.New(rand.NewPCG(1, 2))
	w := newWorld(storyPlan(regions), rng)
	w.quiet, w.story = true, true
	w.build()
	s := &Story{w: w, copies: map[string]diskCopy{}, wrong: map[string]bool{}}
	s.run(2 * time.Second)
	w.told = nil
	return s
}

// End lets everything end.
func (s *Story) End() { s.w.end() }

// name is how a story calls the region.
func (r *region) name() string { return string(rune('a' + r.origin - 1)) }

// letter is how a story calls the region with the name of its descriptor.
func letter(name string) string { return strings.TrimPrefix(name, "region-") }

// commands are what a story can be told: words → what they do. Arguments are checked by those who write the story: what is wrong panics.
var commands = map[string]func(s *Story, args []string) error{
	"table":    (*Story).table,
	"put":      (*Story).put,
	"update":   (*Story).update,
	"delete":   (*Story).remove,
	"transact": (*Story).transact,
	"cut":      (*Story).cut,
	"heal":     (*Story).heal,
	"run":      (*Story).wait,
	"rest":     (*Story).rest,
	"crash":    (*Story).crash,
	"start":    (*Story).start,
	"copy":     (*Story).copy,
	"restore":  (*Story).restore,
	"stream":   (*Story).stream,
	"replica":  (*Story).replica,
	"tag":      (*Story).tag,
	"pin":      (*Story).pin,
	"unpin":    (*Story).unpin,
	"drop":     (*Story).drop,
	"clock":    (*Story).clock,
	"collect":  (*Story).collect,
	"show":     (*Story).show,
	"replicas": (*Story).replicas,
	"fence":    (*Story).fence,
	"expel":    (*Story).expel,
	"rebuild":  (*Story).rebuild,
	"saved":    (*Story).saved,
	"members":  (*Story).members,
	"limit":    (*Story).limit,
	"log":      (*Story).log,
	"watch":    (*Story).watch,
}

// Do does one line of the story and returns what there is to tell.
func (s *Story) Do(line string) string {
	words := strings.Fields(line)
	do, known := commands[words[0]]
	if !known {
		return "there is no command " + words[0]
	}
	s.w.told = nil
	if err := do(s, words[1:]); err != nil {
		s.w.tell("%s", sentence(err))
	}
	for _, r := range s.w.regions {
		r.checkResidency()
	}
	for _, v := range s.w.evidence.found {
		if !s.restored && !s.wrong[v.Invariant] {
			s.wrong[v.Invariant] = true
			s.w.tell("WRONG: %s", v)
		}
	}
	return strings.Join(s.w.told, "\n")
}

// sentence is what a client is told.
func sentence(err error) string {
	var e *globaltable.Error
	if errors.As(err, &e) && e.Message != "" {
		return "error: " + e.Message
	}
	return "error: " + err.Error()
}

func (s *Story) region(letter string) *region { return s.w.regions[letter[0]-'a'] }

func (s *Story) run(d time.Duration) {
	until := s.w.now + d
	for len(s.w.heap) > 0 && s.w.heap[0].at <= until {
		s.w.advance()
	}
	s.w.now = until
}

// until lets time pass until done, ten seconds at most.
func (s *Story) until(done func() bool) bool {
	s.w.runTasks()
	for limit := s.w.now + 10*time.Second; !done() && s.w.now < limit; {
		s.w.advance()
	}
	return done()
}

// call has a region's control plane do something, and waits for its answer.
func (s *Story) call(r *region, what string, do func(ctx context.Context) error) (err error) {
	ended := false
	r.spawn(what, func(ctx context.Context) { err = do(ctx) }, func() { ended = true })
	if !s.until(func() bool { return ended }) {
		return errors.New("there is no answer")
	}
	return err
}

// wait: `run 2s`.
func (s *Story) wait(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err == nil {
		s.run(d)
	}
	return err
}

// rest: `rest` lets time pass until nothing is left to do; it tells what is, after half a minute.
func (s *Story) rest([]string) error {
	for limit := s.w.now + 30*time.Second; s.w.now < limit; {
		s.run(heartbeatEvery)
		if s.w.unrest() == "" {
			return nil
		}
	}
	return errors.New("no rest: " + s.w.unrest())
}

// table: `table NAME a b [attribute]` makes a table in a, with a replica in b.
func (s *Story) table(args []string) error {
	t := table{name: args[0], keys: 1}
	var members []hlc.Origin
	for _, a := range args[1:] {
		if a == conflict.Attribute.String() {
			t.mode = conflict.Attribute
			continue
		}
		members = append(members, s.region(a).origin)
	}
	t.members = globaltable.NewPlacement(members...)
	s.w.plan.tables = append(s.w.plan.tables, t)
	s.w.make(&s.w.plan.tables[len(s.w.plan.tables)-1], s.region(args[1]))
	if !s.until(s.w.founded) {
		return errors.New("the table was not made: " + s.w.unsettled())
	}
	for _, r := range s.w.regions {
		r.noticeCatalog()
		delete(r.joined, s.w.plan.tables[len(s.w.plan.tables)-1].id) // there was nothing to come
	}
	s.w.told = nil
	return nil
}

func (s *Story) tableNamed(name string) *table {
	i := slices.IndexFunc(s.w.plan.tables, func(t table) bool { return t.name == name })
	return &s.w.plan.tables[i]
}

func storyKey(name string) item.Key {
	k, err := item.AppendKey(nil, item.Value(item.AppendString(nil, name)), nil)
	if err != nil {
		panic(err)
	}
	return k
}

// write makes one call to a region and tells its answer.
func (s *Story) write(r *region, keys []commit.Key, writes []check.Write, ops [][]conflict.Op) error {
	if !r.up {
		return errors.New(r.name() + " is down")
	}
	op := &operation{Operation: check.Operation{ID: uint64(len(s.w.operations) + 1), Region: uint16(r.origin), Invoked: int64(s.w.now)}, keys: keys, ops: ops}
	for i := range writes {
		writes[i].Key = check.Key{Table: uint64(keys[i].Table), Bytes: string(keys[i].Bytes)}
	}
	op.Writes = writes
	s.w.operations = append(s.w.operations, op)
	r.pending = append(r.pending, op)
	answered, failed := false, error(nil)
	r.manual.Write(&commit.Write{Keys: keys, Transaction: len(keys) > 1, Plan: func([]commit.Current) ([][]conflict.Op, error) { return ops, nil }}, func(err error) {
		answered, failed = true, err
		r.answered(op, err)
	})
	r.work()
	s.until(func() bool { return answered || !r.up })
	return failed
}

func putOf(value string) (check.Write, []conflict.Op) {
	v := item.AppendString(nil, value)
	var b item.Builder
	b.Add([]byte("v"), v)
	it, err := b.AppendItem(nil)
	if err != nil {
		panic(err)
	}
	return check.Write{Kind: check.Put, Set: map[string]string{"v": string(v)}}, conflict.RecordPut(nil, it)
}

// put: `put a t k v`.
func (s *Story) put(args []string) error {
	w, ops := putOf(args[3])
	return s.write(s.region(args[0]), []commit.Key{{Table: s.tableNamed(args[1]).id, Bytes: storyKey(args[2])}}, []check.Write{w}, [][]conflict.Op{ops})
}

// remove: `delete a t k`.
func (s *Story) remove(args []string) error {
	return s.write(s.region(args[0]), []commit.Key{{Table: s.tableNamed(args[1]).id, Bytes: storyKey(args[2])}}, []check.Write{{Kind: check.Delete}},
		[][]conflict.Op{conflict.RecordDelete(nil)})
}

// transact: `transact a t k1=v1 k2=v2`.
func (s *Story) transact(args []string) error {
	var keys []commit.Key
	var writes []check.Write
	var ops [][]conflict.Op
	for _, pair := range args[2:] {
		k, v, _ := strings.Cut(pair, "=")
		w, op := putOf(v)
		keys = append(keys, commit.Key{Table: s.tableNamed(args[1]).id, Bytes: storyKey(k)})
		writes, ops = append(writes, w), append(ops, op)
	}
	return s.write(s.region(args[0]), keys, writes, ops)
}

// update: `update a t k name=value [as lww]` sets one attribute; it is recorded as the table's mode says, or as a region records it that knows of another mode: under lww as a put of the item as the update
// left it.
func (s *Story) update(args []string) error {
	r, t := s.region(args[0]), s.tableNamed(args[1])
	name, value, _ := strings.Cut(args[3], "=")
	mode := t.mode
	if len(args) > 4 {
		mode = map[string]conflict.Mode{"lww": conflict.LWW, "attribute": conflict.Attribute}[args[5]]
	}
	key := storyKey(args[2])
	v := item.AppendString(nil, value)
	if mode == conflict.Attribute {
		w := check.Write{Kind: check.Update, Set: map[string]string{name: string(v)}}
		ops := mode.RecordUpdate(nil, nil, []conflict.Op{{Kind: conflict.OpSetCell, Name: []byte(name), Value: v}})
		return s.write(r, []commit.Key{{Table: t.id, Bytes: key}}, []check.Write{w}, [][]conflict.Op{ops})
	}
	attributes := map[string]string{}
	for n, old := range attributesOf(r, t.id, key) {
		attributes[n] = old
	}
	attributes[name] = string(v)
	var b item.Builder
	for _, n := range sortedNames(attributes) {
		b.Add([]byte(n), item.Value(attributes[n]))
	}
	after, err := b.AppendItem(nil)
	if err != nil {
		return err
	}
	w := check.Write{Kind: check.Put, Set: attributes}
	return s.write(r, []commit.Key{{Table: t.id, Bytes: key}}, []check.Write{w}, [][]conflict.Op{conflict.RecordPut(nil, after)})
}

// links are those that `a b`, `a>b` or `a` name: both directions, one, or all of a region.
func (s *Story) links(args []string) (out []*link) {
	add := func(from, to *region) { out = append(out, s.w.links[[2]hlc.Origin{from.origin, to.origin}]) }
	switch from, to, one := strings.Cut(args[0], ">"); {
	case one:
		add(s.region(from), s.region(to))
	case len(args) == 2:
		add(s.region(args[0]), s.region(args[1]))
		add(s.region(args[1]), s.region(args[0]))
	default:
		for _, r := range s.w.regions {
			add(s.region(args[0]), r)
			add(r, s.region(args[0]))
		}
	}
	return out
}

// cut: `cut a b`, `cut a>b`, `cut a`.
func (s *Story) cut(args []string) error {
	for _, l := range s.links(args) {
		l.up = false
	}
	return nil
}

// heal: like cut; `heal` heals all.
func (s *Story) heal(args []string) error {
	if len(args) > 0 {
		for _, l := range s.links(args) {
			l.up = true
		}
		return nil
	}
	for _, l := range s.w.links {
		l.up = true
	}
	return nil
}

// crash: `crash a`: the power goes; what was not synced is gone.
func (s *Story) crash(args []string) error {
	s.region(args[0]).die(func(int) int { return 0 })
	s.w.runTasks()
	return nil
}

// start: `start a`.
func (s *Story) start(args []string) error {
	s.region(args[0]).start()
	s.w.runTasks()
	return nil
}

// copy: `copy a NAME` keeps a copy of a's disk.
func (s *Story) copy(args []string) error {
	s.copies[args[1]] = s.region(args[0]).copyDisk()
	return nil
}

// restore: `restore a NAME` puts the copy in the place of a's disk, while a is down.
func (s *Story) restore(args []string) error {
	r := s.region(args[0])
	if r.up {
		return errors.New(r.name() + " is up")
	}
	r.replaceDisk(s.copies[args[1]])
	s.restored = true
	return nil
}

// clock: `clock a +200ms` sets a's clock ahead, or back.
func (s *Story) clock(args []string) error {
	d, err := time.ParseDuration(args[1])
	s.region(args[0]).offset = d
	return err
}

// replica: `replica add|remove t b [in a]` asks a, or the first region that has one, to give t a replica in b or to take that away.
func (s *Story) replica(args []string) error {
	t, target := s.tableNamed(args[1]), identities()[s.region(args[2]).origin].descriptor.Name
	r := s.w.region(t.members[0])
	if len(args) > 3 {
		r = s.region(args[4])
	}
	change := catalog.Change{Create: []string{target}}
	if args[0] == "remove" {
		change = catalog.Change{Delete: []string{target}}
	}
	plane := r.plane
	return s.call(r, "change", func(ctx context.Context) error {
		_, err := plane.UpdateTable(ctx, t.name, change)
		return err
	})
}

// tag: `tag a t` has a ask for a new version of the table's document in which nothing but a tag changes.
func (s *Story) tag(args []string) error {
	plane, t := s.region(args[0]).plane, s.tableNamed(args[1])
	return s.call(s.region(args[0]), "tag", func(ctx context.Context) error {
		_, err := plane.UpdateTable(ctx, t.name, catalog.Change{Tag: map[string]string{"at": s.w.now.String()}})
		return err
	})
}

// drop: `drop a t` is DeleteTable in a.
func (s *Story) drop(args []string) error {
	plane := s.region(args[0]).plane
	return s.call(s.region(args[0]), "drop", func(ctx context.Context) error {
		_, err := plane.DeleteTable(ctx, args[1])
		return err
	})
}

// collect: `collect a t` has a erase what it may.
func (s *Story) collect(args []string) error {
	s.region(args[0]).collect(s.tableNamed(args[1]).id, nil)
	s.run(100 * time.Millisecond)
	return nil
}

// stream: `stream a` shows the entries that a's streams hold, `stream a remember`, `stream a rollback` keep them and bring them back.
func (s *Story) stream(args []string) error {
	r := s.region(args[0])
	for _, id := range r.laneIDs() {
		if id == globaltable.CatalogLane {
			continue
		}
		switch {
		case len(args) == 1:
			var seqs []string
			for _, m := range r.bus.streams[id].messages {
				seqs = append(seqs, fmt.Sprint(m.seq))
			}
			s.w.tell("the stream of %s for %s holds: %s", r.name(), s.letters(r.placements[id].Peers(r.origin)), strings.Join(seqs, " "))
		case args[1] == "remember":
			r.bus.remember(id)
		case args[1] == "rollback":
			r.bus.rollback(id)
		}
	}
	return nil
}

// watch: `watch t` tells from now on what each region has of the table's items whenever it has applied something of another region.
func (s *Story) watch(args []string) error {
	s.w.watched = s.tableNamed(args[0]).id
	return nil
}

func (s *Story) letters(origins []hlc.Origin) string {
	var out []string
	for _, o := range origins {
		out = append(out, s.w.region(o).name())
	}
	return strings.Join(out, " ")
}

// log: `log a` shows the entries of a's own lanes.
func (s *Story) log(args []string) error {
	r := s.region(args[0])
	for _, h := range r.headsNow() {
		if h.ID == globaltable.CatalogLane {
			continue
		}
		entries, err := r.readLog(h.ID, h.Trimmed+1, 1<<30)
		if err != nil {
			return err
		}
		for i := range entries {
			var changes []string
			if entries[i].Void {
				s.w.tell("log of %s for %s, entry %d: void", r.name(), s.letters(h.Placement.Peers(r.origin)), entries[i].Seq)
				continue
			}
			err := change.EachChange(entries[i].Body, func(c *conflict.Change) error {
				changes = append(changes, s.change(c))
				return nil
			})
			if err != nil {
				return err
			}
			s.w.tell("log of %s for %s, entry %d: %s", r.name(), s.letters(h.Placement.Peers(r.origin)), entries[i].Seq, strings.Join(changes, ", "))
		}
	}
	return nil
}

func (s *Story) change(c *conflict.Change) string {
	key := item.Key(c.Key)
	if globaltable.TableID(c.Table).IsFeed() {
		return "conflict of " + keyName(feed.ItemKey(key))
	}
	name := keyName(key)
	for i := range c.Ops {
		switch op := &c.Ops[i]; {
		case op.Kind == conflict.OpReset && len(op.Value) == 0:
			return "delete " + name
		case op.Kind == conflict.OpReset:
			v, _ := item.Item(op.Value).GetString("v")
			return "put " + name + "=" + string(v.Bytes())
		case op.Kind == conflict.OpSetCell && len(op.Name) > 0:
			return "set " + string(op.Name) + " of " + name
		}
	}
	return "change of " + name
}
