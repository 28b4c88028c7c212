package conflict

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// A world of three regions and one key. Each region writes on its own record, by ApplyLocal, and hears of the others' writes in the order of each one's log, whatever lies between them; it hears some again, takes
// whole records, and collects at purge frontiers that follow from what has arrived. In the end each has to show what the naive reading of all writes gives, at any moment, and all have to agree on the canonical bytes.

type world struct {
	t       *rapid.T
	now     hlc.Timestamp
	history Expiry
	regions []*worldRegion
	names   []string // attributes that are written, and
	kinds   []string // what is done with them: few in each world, so that they meet
	changes [][]byte // encoded, by write
	naive   *naive
	purge   hlc.Timestamp // the greatest that any region may have
}

type worldRegion struct {
	origin hlc.Origin
	record []byte
	seen   map[hlc.Stamp]bool
	inbox  [][]int // by origin - 1: indexes of writes not yet heard, in order
	purge  hlc.Timestamp
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

func (w *world) tick() hlc.Timestamp {
	w.now += hlc.Timestamp(rapid.SampledFrom([]uint64{1, 1, uint64(second / 2), uint64(second)}).Draw(w.t, "tick"))
	return w.now
}

func (w *world) number(attribute string) item.Value {
	if attribute == "t" {
		return item.AppendInt(nil, int64(w.now/second)+int64(rapid.IntRange(-3, 6).Draw(w.t, "seconds")))
	}
	return number(w.t, rapid.SampledFrom([]string{"1", "2", "-1", "0", "10.5"}).Draw(w.t, "number"))
}

func (w *world) elements() (elements []item.Value, set item.Value) {
	elements = rapid.SliceOfNDistinct(rapid.Map(rapid.SampledFrom([]string{"x", "y", "z"}), func(s string) item.Value { return item.AppendString(nil, s) }), 1, 2,
		func(v item.Value) string { return string(v) }).Draw(w.t, "elements")
	of := item.SS
	if rapid.IntRange(0, 4).Draw(w.t, "numbers") == 0 {
		elements, of = []item.Value{item.AppendInt(nil, 1)}, item.NS
	}
	set, err := item.AppendSet(nil, of, slices.Clone(elements))
	w.must(err)
	return elements, set
}

// value makes a value of any kind.
func (w *world) value(attribute string) item.Value {
	switch rapid.IntRange(0, 4).Draw(w.t, "value") {
	case 0:
		return item.AppendString(nil, "text")
	case 1:
		_, set := w.elements()
		return set
	case 2:
		return genTree(w.t, 2)
	}
	return w.number(attribute)
}

// effect draws one effect on an attribute, and its intent.
func (w *world) effect(attribute string) (f effect, op Op) {
	name := []byte(attribute)
	f.path = []string{attribute}
	switch f.kind = rapid.SampledFrom(w.kinds).Draw(w.t, "effect"); f.kind {
	case "set":
		f.value = w.value(attribute)
		op = Op{Kind: OpSetCell, Name: name, Value: f.value}
	case "remove":
		op = Op{Kind: OpRemoveCell, Name: name}
	case "add":
		f.value = w.number("")
		op = Op{Kind: OpAddNumber, Type: TypeCounter, Name: name, Value: f.value}
	case "insert", "drop":
		var set item.Value
		f.elements, set = w.elements()
		op = Op{Kind: OpAddElements, Type: TypeSet, Name: name, Value: set}
		if f.kind == "drop" {
			op.Kind = OpDeleteElements
		}
	case "bid":
		f.value, f.least = w.number(attribute), rapid.Bool().Draw(w.t, "least")
		op = Op{Kind: OpSetCell, Type: TypeMax, Name: name, Value: f.value}
		if f.least {
			op.Type = TypeMin
		}
	default:
		op = Op{Kind: OpSetPath, Type: TypeMap, Name: AppendPath(nil, name)}
		for range rapid.IntRange(1, 2).Draw(w.t, "depth") {
			inner := string(genName(w.t))
			f.path, op.Name = append(f.path, inner), AppendPath(op.Name, []byte(inner))
		}
		if f.kind == "remove in" {
			op.Kind = OpRemovePath
			break
		}
		f.value = genTree(w.t, 1)
		op.Value = f.value
	}
	return f, op
}

func (w *world) put() item.Item {
	var b item.Builder
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(w.names), 1, len(w.names), rapid.ID).Draw(w.t, "names") {
		b.Add([]byte(name), w.value(name))
	}
	it, err := b.AppendItem(nil)
	w.must(err)
	return it
}

// write is one of region r's own: planned on what it sees, as commit does.
func (w *world) write(r *worldRegion) {
	at := w.tick()
	seen, expired, err := w.history.Expire(nil, r.record, at)
	w.must(err)
	if !expired {
		seen = r.record
	}
	left, _, err := ItemOf(seen, nil)
	w.must(err)
	e := &event{dot: hlc.Stamp{Time: at, Origin: r.origin}, floor: r.purge, seen: maps.Clone(r.seen)}
	var ops []Op
	replace := func(it item.Item) {
		if ops = RecordPut(ops, it); len(it) == 0 {
			e.effects = append(e.effects, effect{kind: "delete"})
		} else {
			e.effects = append(e.effects, effect{kind: "put", item: it})
		}
	}
	switch rapid.IntRange(0, 7).Draw(w.t, "kind") {
	case 0:
		replace(nil)
	case 1:
		replace(w.put())
	default:
		if expired {
			replace(left)
		}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(w.names), 1, min(2, len(w.names)), rapid.ID).Draw(w.t, "names") {
			f, op := w.effect(name)
			switch f.kind {
			case "add", "insert", "drop", "set in", "remove in":
				if !expired && w.naive.showsBid(name, r.seen, r.purge) {
					shown, _ := left.GetString(name)
					e.effects = append(e.effects, effect{kind: "set", path: []string{name}, value: shown})
				}
			}
			e.effects, ops = append(e.effects, f), append(ops, op)
		}
	}
	c := Change{Key: []byte("k"), Dot: e.dot, Floor: r.purge, Ops: ops}
	c.Context, err = ContextOf(r.record, r.origin, r.purge)
	w.must(err)
	intents := slices.Clone(ops)
	next, _, err := ApplyLocal(nil, r.record, &c)
	w.must(err)
	if !slices.EqualFunc(ops, intents, func(a, b Op) bool { return a.Kind == b.Kind && bytes.Equal(a.Value, b.Value) }) {
		w.t.Fatal("the intents were changed")
	}
	r.record = next
	r.seen[e.dot] = true
	w.naive.events = append(w.naive.events, e)
	clear(w.naive.floors)
	for _, o := range w.regions {
		if o != r {
			o.inbox[r.origin-1] = append(o.inbox[r.origin-1], len(w.changes))
		}
	}
	w.changes = append(w.changes, c.Append(nil))
	w.sound(r)
}

// sound checks what holds of any stored record.
func (w *world) sound(r *worldRegion) {
	mustDecode(w.t, r.record)
	w.must(CheckRecord(r.record))
}

// before is what a region does with a record before it joins it with another.
func (w *world) before(r *worldRegion, record []byte) []byte {
	next, expired, err := w.history.Expire(nil, record, r.purge)
	w.must(err)
	if expired {
		return next
	}
	return record
}

// apply has r hear a write, or hear it again.
func (w *world) apply(r *worldRegion, i int) {
	var c Change
	w.must(DecodeChange(w.changes[i], &c))
	w.must(c.Check())
	// The writer's frontier, first: what it may have collected, and therefore did not reset, is gone here too.
	r.purge = max(r.purge, c.Floor)
	next, _, err := Apply(nil, w.before(r, r.record), &c)
	w.must(err)
	r.record = w.before(r, next)
	r.seen[c.Dot] = true
	w.sound(r)
}

// hear has r hear the next write of one origin; false if there is none.
func (w *world) hear(r *worldRegion) bool {
	var some []int
	for i := range r.inbox {
		if len(r.inbox[i]) > 0 {
			some = append(some, i)
		}
	}
	if len(some) == 0 {
		return false
	}
	o := rapid.SampledFrom(some).Draw(w.t, "origin")
	i := r.inbox[o][0]
	r.inbox[o] = r.inbox[o][1:]
	w.apply(r, i)
	return true
}

// again has r hear a write that it has, of those that may still be on their way.
func (w *world) again(r *worldRegion) {
	var some []int
	for i, e := range w.naive.events {
		if r.seen[e.dot] && e.dot.Time > w.purge {
			some = append(some, i)
		}
	}
	if len(some) > 0 {
		w.apply(r, rapid.SampledFrom(some).Draw(w.t, "again"))
	}
}

// exchange has r take what o holds, and o's frontier before it.
func (w *world) exchange(r, o *worldRegion) {
	gone, err := w.history.Collectable(o.record, o.purge)
	w.must(err)
	r.purge = max(r.purge, o.purge)
	if gone {
		return
	}
	next, err := JoinEncoded(nil, w.before(r, r.record), w.before(r, o.record))
	w.must(err)
	if w.history == nil {
		w.missing(r, o, next)
	}
	r.record = next
	maps.Copy(r.seen, o.seen)
	w.sound(r)
}

// missing checks what is said of r's record beside the join of it and o's: that it lacks just what o has seen and r has not, and something if it shows less.
func (w *world) missing(r, o *worldRegion, joined []byte) {
	mine, both := mustDecode(w.t, r.record), mustDecode(w.t, joined)
	dots := mine.Missing(&both, r.purge)
	for _, dot := range dots {
		if r.seen[dot] || !o.seen[dot] {
			w.t.Fatalf("region %d is said to lack %v, which it has, or %d has not\n%s", r.origin, dot, o.origin, w.tell())
		}
	}
	if len(dots) == 0 && !bytes.Equal(canonicalOf(w.t, r.record), canonicalOf(w.t, joined)) {
		w.t.Fatalf("region %d is said to lack nothing\n%s", r.origin, w.tell())
	}
}

// rest is a moment at which everybody has heard everything: the frontier may rise to it.
func (w *world) rest() {
	for _, r := range w.regions {
		for w.hear(r) {
		}
	}
	w.purge = w.tick()
}

func (w *world) collect(r *worldRegion) {
	r.purge = max(r.purge, w.purge)
	next, did, err := w.history.Collect(nil, r.record, r.purge)
	w.must(err)
	at, what, err := w.history.Garbage(r.record)
	w.must(err)
	if (did.Gone || did.Changed) && (what == NoWaste || at > r.purge) {
		w.t.Fatalf("collected at %s, and there was no garbage before %s", r.purge, at)
	}
	switch {
	case did.Gone:
		r.record = nil
	case did.Changed:
		r.record = next
	}
	if len(r.record) > 0 {
		w.sound(r)
	}
}

// compare holds what all regions show against what all writes say.
func (w *world) compare() {
	for _, later := range []time.Duration{0, time.Second, 3 * time.Second, time.Minute} {
		at := w.now.Add(later)
		want := w.naive.itemAt(at)
		var agreed []byte
		for i, r := range w.regions {
			got := r.record
			if next, expired, err := w.history.Expire(nil, got, at); err != nil {
				w.t.Fatal(err)
			} else if expired {
				got = next
			}
			it, live, err := ItemOf(got, nil)
			w.must(err)
			if live != (want != nil) || !bytes.Equal(it, want) {
				w.t.Fatalf("region %d shows, after %s,\n%s, and all writes say\n%s\n%s", r.origin, later, textOf(it), textOf(want), w.tell())
			}
			canonical := canonicalOf(w.t, got)
			if i == 0 {
				agreed = canonical
			}
			if !bytes.Equal(canonical, agreed) {
				w.t.Fatalf("after %s regions 1 and %d have\n%x\n%x\n%s", later, r.origin, agreed, canonical, w.tell())
			}
		}
	}
}

func textOf(it item.Item) string {
	if it == nil {
		return "nothing"
	}
	return string(it.AppendJSON(nil))
}

func (w *world) tell() string {
	var b bytes.Buffer
	for _, e := range w.naive.events {
		b.WriteString(e.dot.Time.String() + " region " + string('0'+rune(e.dot.Origin)) + ":")
		for _, f := range e.effects {
			b.WriteString(" " + f.kind)
			for _, name := range f.path {
				b.WriteString("." + name)
			}
			if len(f.value) > 0 {
				b.Write(item.AppendJSON([]byte("="), f.value))
			}
			if f.item != nil {
				b.WriteString("=" + textOf(f.item))
			}
			for _, x := range f.elements {
				b.Write(item.AppendJSON([]byte(" "), x))
			}
		}
		b.WriteString(" having seen")
		for _, o := range w.naive.events {
			if e.seen[o.dot] {
				b.WriteString(" " + o.dot.Time.String())
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func newWorld(t *rapid.T, history Expiry) *world {
	w := &world{t: t, now: 1_700_000_000 * second, history: history}
	w.names = rapid.SampledFrom([][]string{{"t"}, {"a", "t"}, attributes}).Draw(t, "attributes")
	w.kinds = rapid.SampledFrom([][]string{
		{"add", "add", "set"}, {"insert", "insert", "drop", "set"}, {"bid", "bid", "set", "remove"}, {"set in", "remove in", "set", "remove"},
		{"set", "remove", "add", "insert", "drop", "bid", "set in", "remove in"},
	}).Draw(t, "kinds")
	w.naive = &naive{history: history, floors: map[hlc.Timestamp]hlc.Timestamp{}}
	for o := range hlc.Origin(3) {
		w.regions = append(w.regions, &worldRegion{origin: o + 1, seen: map[hlc.Stamp]bool{}, inbox: make([][]int, 3)})
	}
	return w
}

// play takes some steps, and lets everybody hear everything; some collect then what they may.
func (w *world) play() {
	one := func(label string) *worldRegion { return w.regions[rapid.IntRange(0, 2).Draw(w.t, label)] }
	for range rapid.IntRange(1, 30).Draw(w.t, "steps") {
		switch rapid.IntRange(0, 10).Draw(w.t, "step") {
		case 0, 1, 2, 3, 4:
			w.write(one("writer"))
		case 5, 6:
			w.hear(one("hearer"))
		case 7:
			if r, o := one("taker"), one("giver"); r != o {
				w.exchange(r, o)
			}
		case 8:
			w.again(one("hearer"))
		case 9:
			w.collect(one("collector"))
		case 10:
			w.rest()
		}
	}
	w.rest()
	for _, r := range w.regions {
		if rapid.Bool().Draw(w.t, "collects") {
			w.collect(r)
		}
	}
}

func TestWorldIsItsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, nil)
		w.play()
		w.compare()
	})
}

func TestMortalWorldIsItsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, Expiry{{Attribute: "t", From: 1}})
		w.play()
		w.compare()
	})
}
