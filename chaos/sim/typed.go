package sim

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	planner "github.com/concordat-db/concordat/globaltable/plan"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/store"
)

// Typed merges: tables whose updates are those of clients, expressions that are planned by what the region has (package plan) under the conflict mode and the types that are in force there, and both change while clients write. What all of that comes to the checkers
// work out for themselves, from what each write did and from what it says that it had seen (check.Merged).

// typedAttributes are what such tables' items have, with what is said to merge them.
var typedAttributes = map[string]conflict.TypeTag{
	"n": conflict.TypeCounter, "s": conflict.TypeSet, "ns": conflict.TypeSet, "m": conflict.TypeMap, "hi": conflict.TypeMax, "lo": conflict.TypeMin, "g": conflict.TypeRegister,
}

// insideAttribute is the attribute that is written inside. What its cell is does not follow from the writes of the whole alone, so the checkers of cells know nothing of it.
const insideAttribute = "m"

// typing chooses the typed tables, with randomness of its own.
func (p *plan) typing(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0x7479706564))
	for i := range p.tables {
		t := &p.tables[i]
		if t.typed = rng.IntN(2) == 0; !t.typed {
			continue
		}
		t.tags = map[string]string{}
		t.puts = some(rng, 0.7, 0.15)
		of := []string{"n", "s", "ns", "bs", "hi", "lo", "m", "g", "q", "a"}
		rng.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		of = of[:1+rng.IntN(3)]          // what meets often tells more
		if t.mortal && rng.IntN(3) > 0 { // increments are to meet an expiry
			of, t.keys, t.puts = []string{"n"}, 1+rng.IntN(2), 0
			t.tags[globaltable.MergeTag] = conflict.Vector.String()
			p.enabled, p.timeToLive = true, 0
			p.pace, p.operations = between(rng, 30*time.Millisecond, 60*time.Millisecond), 100+rng.IntN(100)
		}
		switch {
		case p.fence+p.lose > 0 && rng.IntN(3) > 0: // and what regions have alone that come back
			of, t.keys, t.tags[globaltable.MergeTag] = append(of[:1], "n"), 1+rng.IntN(2), conflict.Vector.String()
		case !t.mortal && rng.IntN(3) == 0: // elements are to be removed here while they are added there
			of, t.keys, t.puts = []string{"s"}, 1, 0
			t.tags[globaltable.MergeTag] = conflict.Vector.String()
			p.clashes = max(p.clashes, 0.3)
		}
		for _, x := range templates {
			if slices.Contains(of, x.of) {
				t.templates = append(t.templates, x)
			}
		}
		if t.tags[globaltable.MergeTag] == "" && rng.IntN(4) > 0 {
			t.tags[globaltable.MergeTag] = pickMode(rng).String()
		}
		for _, name := range slices.Sorted(maps.Keys(typedAttributes)) {
			if rng.IntN(4) > 0 {
				t.tags[globaltable.TypeTagPrefix+name] = typedAttributes[name].String()
			}
		}
	}
	p.changeMode = sometimes(rng, 0.5, 200*time.Millisecond, 2*time.Second)
}

// pickMode is mostly vector.
func pickMode(rng *rand.Rand) conflict.Mode {
	return []conflict.Mode{conflict.LWW, conflict.Attribute, conflict.Vector, conflict.Vector, conflict.Vector}[rng.IntN(5)]
}

// changeMergeMode has some region give some typed table another mode, or an attribute another type, or none.
func (w *world) changeMergeMode() {
	r, t := w.anyRegion(), &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !t.typed || !r.up {
		return
	}
	change := catalog.Change{Tag: map[string]string{}}
	names := slices.Sorted(maps.Keys(typedAttributes))
	name := names[w.rng.IntN(len(names))]
	switch w.rng.IntN(3) {
	case 0:
		change.Tag[globaltable.MergeTag] = pickMode(w.rng).String()
	case 1:
		change.Untag = []string{globaltable.TypeTagPrefix + name}
	default:
		tag := typedAttributes[name]
		if w.rng.IntN(3) == 0 {
			tag = conflict.TypeTag(w.rng.IntN(int(conflict.TypeMin) + 1))
		}
		change.Tag[globaltable.TypeTagPrefix+name] = tag.String()
	}
	plane := r.plane
	w.changes++
	r.spawn(fmt.Sprintf("change %d", w.changes), func(ctx context.Context) {
		_, err := plane.UpdateTable(ctx, t.name, change)
		_ = r.await(ctx, "note", func(func(error)) {
			r.note("%d has changed how %s merges: %v %v %v", r.origin, t.name, change.Tag, change.Untag, err)
			if err == nil {
				r.cover("a table's conflict mode or types were changed")
			}
		})
	}, nil)
}

// request is a client's request for a key of a typed table.
type request struct {
	write planner.Write
	text  string
}

// template is a kind of update.
type template struct {
	text string
	of   string // the attribute that it names
}

var templates = []template{
	{"ADD n :n", "n"},
	{"ADD n :n", "n"},
	{"SET n = n + :n", "n"},
	{"SET n = n - :n", "n"},
	{"SET n = if_not_exists(n, :zero) + :n", "n"},
	{"SET n = :n", "n"},
	{"REMOVE n", "n"},
	{"ADD q :n", "q"},
	{"SET q = :n", "q"},
	{"ADD s :ss", "s"},
	{"ADD s :ss", "s"},
	{"DELETE s :ss", "s"},
	{"DELETE s :ss", "s"},
	{"SET s = :ss", "s"},
	{"REMOVE s", "s"},
	{"ADD ns :ns", "ns"},
	{"DELETE ns :ns", "ns"},
	{"ADD bs :bs", "bs"},
	{"DELETE bs :bs", "bs"},
	{"SET hi = :n", "hi"},
	{"ADD hi :n", "hi"},
	{"REMOVE hi", "hi"},
	{"SET lo = :n", "lo"},
	{"SET hi = :id", "hi"},
	{"SET m = :m", "m"},
	{"SET m.x = :id", "m"},
	{"SET m.x = :id", "m"},
	{"SET m.deep.z = :id", "m"},
	{"SET m.deep.n = :n", "m"},
	{"SET m.deep = :m", "m"},
	{"REMOVE m.x", "m"},
	{"REMOVE m.deep", "m"},
	{"REMOVE m", "m"},
	{"SET g = :id", "g"},
	{"SET g = :n", "g"},
	{"REMOVE g", "g"},
	{"SET a = :id", "a"},
}

var conditions = []string{"n > :c", "n < :c", "attribute_exists(m)", "attribute_not_exists(g)", "size(s) > :c", "hi >= :c"}

// newRequest makes a put, a delete or an update.
func (w *world) newRequest(id uint64, t *table, key item.Key, mayDelete bool) *request {
	q := &request{}
	attributes, err := keySchema.AppendItem(nil, key)
	if err != nil {
		panic(err)
	}
	roll := w.rng.Float64()
	switch {
	case roll < w.plan.deletes && mayDelete:
		q.text, q.write = "delete", planner.Write{Action: planner.Delete, Item: attributes}
		return q
	case roll < w.plan.deletes+t.puts:
		q.text, q.write = "put", planner.Write{Action: planner.Put}
		q.write.Item = w.typedItem(attributes, id, t)
		return q
	}
	first := t.templates[w.rng.IntN(len(t.templates))]
	clauses := []string{first.text}
	if second := t.templates[w.rng.IntN(len(t.templates))]; w.rng.IntN(3) == 0 && second.of != first.of {
		clauses = append(clauses, second.text)
	}
	if t.mortal && w.rng.IntN(3) == 0 {
		clauses = append(clauses, "SET "+mortalAttributes[w.rng.IntN(len(mortalAttributes))]+" = :due")
		if w.rng.IntN(2) == 0 {
			clauses = clauses[len(clauses)-1:]
		}
	}
	q.text = joinClauses(clauses)
	update, err := parseUpdate(q.text, w.values(id, t))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", q.text, err))
	}
	q.write = planner.Write{Action: planner.Update, Item: attributes, Update: update}
	if w.rng.IntN(6) == 0 {
		text := conditions[w.rng.IntN(len(conditions))]
		if q.write.Condition, err = parseCondition(text, w.values(id, t)); err != nil {
			panic(fmt.Sprintf("%s: %v", text, err))
		}
		q.text += " if " + text
	}
	return q
}

// joinClauses is one update of several.
func joinClauses(clauses []string) string {
	actions := map[string][]string{}
	for _, clause := range clauses {
		verb, rest, _ := strings.Cut(clause, " ")
		actions[verb] = append(actions[verb], rest)
	}
	var out []string
	for _, verb := range []string{"SET", "REMOVE", "ADD", "DELETE"} {
		if len(actions[verb]) > 0 {
			out = append(out, verb+" "+strings.Join(actions[verb], ", "))
		}
	}
	return strings.Join(out, " ")
}

// values are what the placeholders of an operation stand for.
func (w *world) values(id uint64, t *table) string {
	some := func(of string, words ...string) string {
		w.rng.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
		return `{"` + of + `":["` + strings.Join(words[:1+w.rng.IntN(2)], `","`) + `"]}`
	}
	due := ""
	if t.mortal {
		due = `,":due":` + string(item.AppendJSON(nil, w.mortalValue()))
	}
	n := w.rng.IntN(20) - 5
	return fmt.Sprintf(`{":n":{"N":"%d"},":zero":{"N":"0"},":c":{"N":"%d"},":id":{"S":"op-%d"},":ss":%s,":ns":%s,":bs":%s,":m":{"M":{"x":{"S":"op-%d"},"deep":{"M":{"n":{"N":"%d"}}}}}%s}`,
		n, w.rng.IntN(10), id, some("SS", "a", "b", "c"), some("NS", "1", "2"), some("BS", "AQ==", "Ag=="), id, n, due)
}

// typedItem is what a put of a typed table's item has.
func (w *world) typedItem(key item.Item, id uint64, t *table) item.Item {
	values := fastjson.MustParse(w.values(id, t))
	var b item.Builder
	key.Each(func(name []byte, v item.Value) bool {
		b.Add(name, v)
		return true
	})
	for _, a := range [][2]string{{"n", ":n"}, {"s", ":ss"}, {"ns", ":ns"}, {"m", ":m"}, {"hi", ":n"}, {"lo", ":n"}, {"g", ":id"}, {"t", ":due"}, {"u", ":due"}} {
		if w.rng.IntN(2) == 0 || a[1] == ":due" && !t.mortal {
			continue
		}
		v, err := item.DecodeValueJSON(nil, values.Get(a[1]))
		if err != nil {
			panic(err)
		}
		b.Add([]byte(a[0]), v)
	}
	b.Add([]byte("id"), item.AppendString(nil, fmt.Sprintf("op-%d", id)))
	it, err := b.AppendItem(nil)
	if err != nil {
		panic(err)
	}
	return it
}

func bindingsOf(values string) (*expr.Bindings, error) {
	b := new(expr.Bindings)
	return b, b.SetValues(fastjson.MustParse(values).GetObject())
}

func parseUpdate(text, values string) (*expr.Update, error) {
	b, err := bindingsOf(values)
	if err != nil {
		return nil, err
	}
	return expr.NewParser(0).Update([]byte(text), b)
}

func parseCondition(text, values string) (*expr.Condition, error) {
	b, err := bindingsOf(values)
	if err != nil {
		return nil, err
	}
	return expr.NewParser(0).Condition(expr.ConditionParameter, []byte(text), b)
}

// planTyped plans the operation's request for its key i on what the region has.
func (op *operation) planTyped(r *region, i int, current commit.Current) error {
	doc, known := r.catalog.View().Table(op.keys[i].Table)
	if !known {
		return &globaltable.Error{Op: "write", Kind: globaltable.NotFound}
	}
	q := op.requests[i]
	q.write.Table = doc
	memory := new(planner.Memory)
	out, err := q.write.Plan(current.Item, memory)
	if err != nil {
		return err
	}
	op.ops[i] = out.Ops
	op.Writes[i].Kind = check.Update
	if len(out.Ops) > 0 && out.Ops[0].Kind == conflict.OpReset {
		op.Writes[i].Kind = check.Put
		if len(out.Ops[0].Value) == 0 {
			op.Writes[i].Kind = check.Delete
		}
	}
	return nil
}

// loggedTyped matches a request with what was logged of it: its operations, with what they had seen, on what had expired after a put of the rest, and before a contribution with what the attribute shows.
func (op *operation) loggedTyped(i int, c *conflict.Change) (w check.Write, is bool) {
	intents, at := op.ops[i], 0
	amounts := map[string]item.Value{}
	for j := range c.Ops {
		if at == len(intents) {
			if c.Ops[j].Kind != conflict.OpObserve {
				return w, false
			}
			continue
		}
		switch in, is := &intents[at], &c.Ops[j]; {
		case in.Kind == conflict.OpAddNumber && is.Kind == conflict.OpIncrement && string(in.Name) == string(is.Name):
			amounts[string(in.Name)] = in.Value
			at++
		case in.Kind == is.Kind && in.Type == is.Type && string(in.Name) == string(is.Name) && string(in.Value) == string(is.Value):
			at++
		case is.Kind == conflict.OpObserve, is.Kind == conflict.OpSetCell, is.Kind == conflict.OpRemoveCell, j == 0 && is.Kind == conflict.OpReset:
		default:
			return w, false
		}
	}
	if at < len(intents) || len(intents) == 0 {
		return w, false
	}
	w = writeOf(c)
	w.Key, w.Typed = op.Writes[i].Key, typedOf(c, amounts)
	return w, true
}

// typedOf is what a change does, in the checkers' terms. amounts are those of its increments.
func typedOf(c *conflict.Change, amounts map[string]item.Value) *check.Typed {
	runs := runsOf(c)
	out := &check.Typed{Seen: map[string]check.Seen{}}
	for i := range c.Ops {
		op := &c.Ops[i]
		e := check.Effect{Kind: check.SetWhole, Path: []string{string(op.Name)}}
		switch op.Kind {
		case conflict.OpReset:
			if len(op.Value) > 0 {
				out.Item = itemOf(item.Item(op.Value))
			}
			continue
		case conflict.OpSetCell:
			if len(op.Name) == 0 {
				continue
			}
			if e.Value = valueOf(op.Value); op.Type != conflict.TypeRegister {
				e.Kind, e.Least = check.Bid, op.Type == conflict.TypeMin
			}
		case conflict.OpRemoveCell:
			e.Kind = check.RemoveWhole
		case conflict.OpIncrement:
			e.Kind, e.Value, e.Run = check.Add, valueOf(amounts[string(op.Name)]), runs[string(op.Name)]
		case conflict.OpAddElements:
			e.Kind, e.Value = check.Insert, valueOf(op.Value)
		case conflict.OpDeleteElements:
			e.Kind, e.Value = check.Drop, valueOf(op.Value)
		case conflict.OpSetPath, conflict.OpRemovePath:
			e.Path = nil
			for rest := op.Name; len(rest) > 0; {
				var name []byte
				name, rest, _ = conflict.SplitPath(rest)
				e.Path = append(e.Path, string(name))
			}
			if e.Value = valueOf(op.Value); op.Kind == conflict.OpRemovePath {
				e.Kind = check.RemoveWhole
			}
		default:
			continue
		}
		out.Effects = append(out.Effects, e)
	}
	for _, t := range deltaOf(c).Typed {
		out.Seen[string(t.Name)] = seenOf(&t)
	}
	return out
}

// runsOf is, by attribute, when the run began that a change's increment is in.
func runsOf(c *conflict.Change) map[string]uint64 {
	out := map[string]uint64{}
	for _, t := range deltaOf(c).Typed {
		if len(t.Runs) > 0 {
			out[string(t.Name)] = uint64(t.Runs[0].First)
		}
	}
	return out
}

func deltaOf(c *conflict.Change) conflict.Record {
	delta, err := c.Delta()
	if err != nil {
		panic(err)
	}
	return delta
}

func seenOf(t *conflict.Typed) check.Seen {
	s := check.Seen{Runs: map[uint16]uint64{}, Elements: map[string]map[uint16]uint64{}, Bids: map[uint16]uint64{}}
	for _, o := range t.Observed {
		s.Runs[uint16(o.Last.Origin)] = uint64(o.Last.Time)
	}
	for _, e := range t.Elements {
		of := map[uint16]uint64{}
		for _, o := range e.Removals {
			of[uint16(o.Dot.Origin)] = uint64(o.Dot.Time)
		}
		v := valueOf(e.Value)
		s.Elements[v.Type+"S"+v.Text] = of
	}
	for _, o := range t.Outbid {
		s.Bids[uint16(o.Dot.Origin)] = uint64(o.Dot.Time)
	}
	return s
}

// itemOf is an item's attributes in the checkers' terms, but for its key.
func itemOf(it item.Item) map[string]check.Value {
	out := map[string]check.Value{}
	it.Each(func(name []byte, v item.Value) bool {
		if string(name) != keyAttribute {
			out[string(name)] = valueOf(v)
		}
		return true
	})
	return out
}

// valueOf is a value in the checkers' terms.
func valueOf(v item.Value) check.Value {
	if len(v) == 0 {
		return check.Value{}
	}
	out := check.Value{Type: v.Type().String()}
	if t := v.Type(); t != item.S && t != item.N {
		out.Rank = string(v)
	}
	switch v.Type() {
	case item.S:
		out.Text = string(v.Bytes())
	case item.N:
		out.Text = v.Number().String()
	case item.SS, item.NS, item.BS:
		for e := range v.Elements {
			out.Elements = append(out.Elements, valueOf(e).Text)
		}
		slices.Sort(out.Elements)
	case item.M:
		out.Fields = map[string]check.Value{}
		v.Each(func(name []byte, e item.Value) bool {
			out.Fields[string(name)] = valueOf(e)
			return true
		})
	default:
		out.Text = hex.EncodeToString(v)
	}
	return out
}

// shown is what the regions show of typed tables.
func (w *world) shown() (out []check.Shown) {
	for _, r := range w.active() {
		s := check.Shown{Region: uint16(r.origin), Items: map[check.Key]map[string]check.Value{}}
		for i := range w.plan.tables {
			t := &w.plan.tables[i]
			if !t.typed {
				continue
			}
			lower, upper := store.RecordRange(t.id)
			eachKV(r.disk, lower, upper, func(key, value []byte) {
				if it := r.shows(t.id, value, r.shard.Purge(t.id)); it != nil {
					s.Items[check.Key{Table: uint64(t.id), Bytes: string(store.RecordKeySuffix(key))}] = it
				}
			})
		}
		out = append(out, s)
	}
	return out
}

// shows is what the region shows of a record of a table at a moment; nil if there is no item.
func (r *region) shows(table globaltable.TableID, record []byte, at hlc.Timestamp) map[string]check.Value {
	left, expired, err := r.catalog.Expiry(table).Expire(nil, record, at)
	if err != nil {
		panic(err)
	}
	if expired {
		record = left
	}
	it, live, err := conflict.ItemOf(record, nil)
	if err != nil {
		panic(err)
	}
	if !live {
		return nil
	}
	return itemOf(it)
}

// glanceTyped checks what some region shows of some item of a typed table, if it is known what of it the region has.
func (w *world) glanceTyped() {
	r, t := w.anyRegion(), &w.plan.tables[w.rng.IntN(len(w.plan.tables))]
	if !r.up || !t.typed || r.joined[t.id] || !r.steady() || !r.holds(check.Key{Table: uint64(t.id)}) || t.mortal && w.history(t.id).Newest() != r.catalog.Expiry(t.id).Newest() {
		return
	}
	key := check.Key{Table: uint64(t.id), Bytes: string(keyOf(w.rng.IntN(t.keys)))}
	if r.heard[key] > 0 || !r.holds(key) {
		return
	}
	r.flush()
	if !r.up {
		return
	}
	var writes []check.Write
	reached, newest, all := r.reachedLanes(), map[uint16]check.Stamp{}, w.ledger.Of(key)
	has := func(l *check.Logged) bool {
		return l.By == uint16(r.origin) || l.Seq <= reached[check.Lane{Region: uint16(r.origin), Origin: l.By, Incarnation: l.Incarnation, Lane: l.Lane}] && !r.isHollow(*l)
	}
	for i := range all {
		l := &all[i]
		if l.Again || w.ledger.Void(*l) {
			return
		}
		if has(l) {
			if writes = append(writes, l.Write); l.Stamp.Compare(newest[l.By]) > 0 {
				newest[l.By] = l.Stamp
			}
		}
	}
	// What it has may say something of what it has not: an increment, what all before it of its region have come to, and that a new run begins, that somebody had taken back the one before.
	for i := range all {
		missing := &all[i]
		if has(missing) {
			continue
		}
		if missing.Stamp.Compare(newest[missing.By]) < 0 {
			return
		}
		for j := range all {
			if _, perhaps := w.sawIt(all[j], *missing); perhaps && has(&all[j]) {
				return
			}
		}
	}
	w.cover("an item was looked at that merges by types")
	record, now := recordIn(r, t.id, item.Key(key.Bytes)), r.clock.Last()
	w.evidence.found = append(w.evidence.found, check.Shows(uint16(r.origin), key, writes, uint64(now), r.shows(t.id, record, now))...)
}

// isTyped reports whether attributes of the table's items may merge by types.
func (w *world) isTyped(id uint64) bool {
	t := w.table(globaltable.TableID(id))
	return t != nil && t.typed
}

// reachTyped takes into evidence that what contributes to an item is durable here: see exchanged. A run goes over what a store has lost that was put in another's place meanwhile, and it says nothing of what else its writes did.
func (r *region) reachTyped(key check.Key, typed []conflict.Typed) {
	for i := range typed {
		t := &typed[i]
		for _, run := range t.Runs {
			for _, l := range r.ledger.Of(key) {
				if x := (write{key, l.Stamp}); spans(&run, l.Stamp) && l.Typed.OnlyAdds(string(t.Name)) && !r.forgiven[x] {
					r.reach(x)
				}
			}
		}
		for _, e := range t.Elements {
			for _, s := range e.Adds {
				r.reach(write{key, stampOf(hlc.Stamp{Time: s.Time, Origin: s.Origin})})
			}
		}
		for _, b := range t.Bids {
			r.reach(write{key, stampOf(b.Dot)})
		}
	}
}

// spans reports whether a write is among those of a run, by its stamp.
func spans(run *conflict.Run, s check.Stamp) bool {
	return s.Origin == uint16(run.Last.Origin) && uint64(run.First) <= s.Time && s.Time <= uint64(run.Last.Time)
}

// dropIdle drops the writes of an operation that came to nothing: it found all as it wants it.
func (op *operation) dropIdle() {
	for i := len(op.Writes) - 1; i >= 0; i-- {
		if len(op.ops[i]) == 0 {
			op.Writes = slices.Delete(op.Writes, i, i+1)
		}
	}
}
