package conflict

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// show writes losses down, one a line.
func show(losses []Loss) string {
	var out []string
	for _, l := range losses {
		what := l.Rule.String()
		if l.Whole {
			what += " whole"
		}
		if l.Deleted {
			what += " deleted"
		}
		for _, p := range l.Parts {
			if p.Path != nil {
				for _, rest, _ := SplitPath(p.Path); len(rest) > 0; {
					var name []byte
					name, rest, _ = SplitPath(rest)
					p.Name = append(append(slices.Clone(p.Name), '.'), name...)
				}
			}
			what += fmt.Sprintf(" %s:%s/%s by %d.%d", p.Name, plainly(p.Lost), plainly(p.Won), p.Winner.Stamp.Time, p.Winner.Stamp.Origin)
		}
		out = append(out, fmt.Sprintf("%d.%d %s", l.Loser.Stamp.Time, l.Loser.Stamp.Origin, what))
	}
	return strings.Join(out, "\n")
}

func plainly(v item.Value) string {
	if v.Type() != item.M {
		return string(v.Bytes())
	}
	var out []string
	for name, v := range v.Each {
		out = append(out, fmt.Sprintf("%s S(%s)", name, v.Bytes()))
	}
	return fmt.Sprint(out)
}

func TestLosses(t *testing.T) {
	seen := func(s ...hlc.Stamp) vector.Vector {
		var v vector.Vector
		for _, x := range s {
			v = v.With(x)
		}
		return v
	}
	a1, b2, a3, b3 := stamp(1, 1), stamp(2, 2), stamp(3, 1), stamp(3, 2)
	remove := func(at hlc.Stamp, context vector.Vector, name string) Change {
		return Change{Key: []byte("k"), Dot: at, Context: context, Ops: []Op{{Kind: OpRemoveCell, Name: []byte(name)}}}
	}
	inside := func(at hlc.Stamp, context vector.Vector, value string, path ...string) Change {
		op := Op{Kind: OpSetPath, Type: TypeMap, Value: item.AppendString(nil, value)}
		if value == "" {
			op.Kind, op.Value = OpRemovePath, nil
		}
		for _, name := range path {
			op.Name = AppendPath(op.Name, []byte(name))
		}
		return Change{Key: []byte("k"), Dot: at, Context: context, Ops: []Op{op}}
	}
	mapOf := func(pairs ...string) item.Value {
		var b item.Builder
		for i := 0; i < len(pairs); i += 2 {
			b.Add([]byte(pairs[i]), item.AppendString(nil, pairs[i+1]))
		}
		v, err := b.AppendMap(nil)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	setMap := func(at hlc.Stamp, context vector.Vector, pairs ...string) Change {
		return Change{Key: []byte("k"), Dot: at, Context: context, Ops: []Op{{Kind: OpSetCell, Name: []byte("m"), Value: mapOf(pairs...)}}}
	}
	for name, c := range map[string]struct {
		before []Change
		comes  Change
		want   string
	}{
		"a put over an unseen put":          {[]Change{put(t, a1, nil, "x", "old")}, put(t, b2, nil, "x", "new"), "1.1 item whole x:old/new by 2.2"},
		"a put over a seen put":             {[]Change{put(t, a1, nil, "x", "old")}, put(t, b2, seen(a1), "x", "new"), ""},
		"an older put comes late":           {[]Change{put(t, b2, nil, "x", "new")}, put(t, a1, nil, "x", "old"), "1.1 item whole x:old/new by 2.2"},
		"the same twice":                    {[]Change{put(t, b2, nil, "x", "new")}, put(t, b2, nil, "x", "new"), ""},
		"the same value":                    {[]Change{put(t, a1, nil, "x", "same")}, put(t, b2, nil, "x", "same"), ""},
		"more attributes":                   {[]Change{put(t, a1, nil, "x", "same")}, put(t, b2, nil, "x", "same", "y", "more"), "1.1 item whole x:same/same by 2.2 y:/more by 2.2"},
		"a delete over an unseen put":       {[]Change{put(t, a1, nil, "x", "old")}, del(b2, nil), "1.1 item whole x:old/ by 2.2"},
		"a put over an unseen delete":       {[]Change{del(a1, nil)}, put(t, b2, nil, "x", "new"), "1.1 item whole deleted x:/new by 2.2"},
		"two deletes":                       {[]Change{del(a1, nil)}, del(b2, nil), ""},
		"after a later write of its region": {[]Change{put(t, b2, nil, "x", "new"), set(t, a3, nil, "y", "2")}, put(t, a1, nil, "x", "old"), "1.1 item whole x:old/new by 2.2 y:/2 by 3.1"},
		"after one that had seen it":        {[]Change{put(t, b2, nil, "x", "new"), set(t, stamp(3, 3), seen(a1), "y", "2")}, put(t, a1, nil, "x", "old"), "1.1 item whole x:old/new by 2.2 y:/2 by 3.3"},
		"a put under a removal": {[]Change{put(t, b2, nil, "x", "new", "y", "new"), remove(b3, nil, "x")}, put(t, a1, nil, "x", "old"),
			"1.1 item whole x:old/ by 3.2 y:/new by 2.2"},
		"one attribute each":               {[]Change{put(t, a1, nil, "x", "1"), set(t, a3, nil, "x", "2")}, set(t, b3, seen(a1), "y", "3"), ""},
		"the same attribute":               {[]Change{put(t, a1, nil, "x", "1"), set(t, a3, nil, "x", "2")}, set(t, b3, seen(a1), "x", "3"), "3.1 attribute x:2/3 by 3.2"},
		"a removal":                        {[]Change{put(t, a1, nil, "x", "1"), set(t, a3, nil, "x", "2")}, remove(b3, seen(a1), "x"), "3.1 attribute x:2/ by 3.2"},
		"an update under an unseen delete": {[]Change{put(t, a1, nil, "x", "1"), del(b3, seen(a1))}, set(t, a3, nil, "x", "2"), "3.1 item x:2/ by 3.2"},
		"a delete under an unseen update":  {[]Change{put(t, a1, nil, "x", "1"), set(t, b3, seen(a1), "x", "2")}, del(a3, nil), ""},
		"a put, updated, under an unseen one": {[]Change{put(t, a1, nil, "x", "1", "y", "1"), set(t, b2, seen(a1), "x", "2")}, put(t, b3, nil, "x", "3"),
			"1.1 item whole x:/3 by 3.2 y:1/ by 3.2"},
		"entries of one map":         {[]Change{setMap(a1, nil, "x", "1"), inside(a3, nil, "2", "m", "x")}, inside(b3, seen(a1), "3", "m", "y"), ""},
		"one entry":                  {[]Change{setMap(a1, nil, "x", "1"), inside(a3, nil, "2", "m", "x")}, inside(b3, seen(a1), "3", "m", "x"), "3.1 attribute m.x:2/3 by 3.2"},
		"an entry, removed":          {[]Change{setMap(a1, nil, "x", "1"), inside(a3, nil, "2", "m", "x")}, inside(b3, seen(a1), "", "m", "x"), "3.1 attribute m.x:2/ by 3.2"},
		"an entry of an unseen map":  {[]Change{setMap(a1, nil, "x", "1", "y", "1")}, inside(b2, nil, "2", "m", "x"), "1.1 attribute m.x:1/2 by 2.2"},
		"an entry under a map":       {[]Change{setMap(a1, nil, "x", "1"), inside(b2, seen(a1), "2", "m", "x")}, setMap(a3, nil, "x", "3"), "2.2 attribute m.x:2/3 by 3.1"},
		"an equal entry under a map": {[]Change{setMap(a1, nil, "x", "1"), inside(b2, seen(a1), "3", "m", "x")}, setMap(a3, nil, "x", "3"), ""},
		"an entry under a removal":   {[]Change{setMap(a1, nil, "x", "1"), inside(b2, seen(a1), "2", "m", "x")}, remove(a3, nil, "m"), "2.2 attribute m.x:2/ by 3.1"},
		"an entry under a delete":    {[]Change{setMap(a1, nil, "x", "1"), inside(b2, seen(a1), "2", "m", "x")}, del(a3, nil), "2.2 item m.x:2/ by 3.1"},
		"an entry inside of a value": {[]Change{set(t, a1, nil, "m", "1")}, inside(b2, nil, "2", "m", "x"), "1.1 attribute m:1/[x S(2)] by 2.2"},
		"an entry inside of an entry": {[]Change{setMap(a1, nil), inside(a3, nil, "2", "m", "x")}, inside(b3, seen(a1), "3", "m", "x", "z"),
			"3.1 attribute m.x:2/[z S(3)] by 3.2"},
		"a put, written inside of": {[]Change{{Key: []byte("k"), Dot: a1, Ops: []Op{{Kind: OpReset, Value: itemWith(t, "m", mapOf("x", "1", "y", "1"))}}}, inside(b2, seen(a1), "2", "m", "x")},
			put(t, a3, nil, "z", "3"), "2.2 item m.x:2/ by 3.1"},
	} {
		rec, err := applyAll(nil, pointers(c.before)...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Losses(rec, &c.comes, 0)
		if err != nil {
			t.Fatal(err)
		}
		if show(got) != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, show(got), c.want)
		}
		var sent Change
		if err := DecodeChange(c.comes.Append(nil), &sent); err != nil {
			t.Fatal(err)
		}
		if again, err := Losses(rec, &sent, 0); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: %+v is lost to a change that was sent, %+v to the same one that was not: %v", name, again, got, err)
		}
		// Below the purge frontier the record's writes have seen everything. A change says itself what its writer had seen.
		below := slices.DeleteFunc(slices.Clone(got), func(l Loss) bool { return l.Loser.Stamp == c.comes.Dot })
		if all, err := Losses(rec, &c.comes, 9); err != nil || show(all) != show(below) {
			t.Errorf("%s: below the purge frontier\ngot  %s %v\nwant %s", name, show(all), err, show(below))
		}
		alone, err := applyAll(nil, &c.comes)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := RecordLosses(rec, alone, 9); err != nil || len(all) > 0 {
			t.Errorf("%s: two records have lost %s %v below the purge frontier, where all has seen everything", name, show(all), err)
		}
		if _, r, _ := Apply(nil, rec, &c.comes); len(got) > 0 && r.Class != Concurrent && r.Class != Duplicate {
			t.Errorf("%s: a conflict of class %v", name, r.Class)
		}
	}
}

// lossEvent is a write as the reference knows it: with all the writes that its writer had seen, by name.
type lossEvent struct {
	change Change
	seen   map[hlc.Stamp]bool
	value  string          // what it gives each attribute that it names
	names  map[string]bool // nil: a whole put or delete
	put    bool            // of a whole one
}

// over reports whether e, if it comes to an attribute that l wrote, takes it away.
func (e *lossEvent) over(l *lossEvent, name string) bool {
	return l.change.Dot.Less(e.change.Dot) && (e.names == nil || e.names[name])
}

// world is some regions that write one key.
type lossWorld struct {
	events []*lossEvent
	have   [3][]*lossEvent
	record [3][]byte
	listed map[hlc.Stamp]bool
	now    uint64
}

func (w *lossWorld) write(t *rapid.T, region int) {
	w.now++
	self := hlc.Origin(region + 1)
	e := &lossEvent{seen: map[hlc.Stamp]bool{}, value: fmt.Sprint("v", w.now)}
	for _, s := range w.have[region] {
		e.seen[s.change.Dot] = true
	}
	context, err := ContextOf(w.record[region], self, 0)
	if err != nil {
		t.Fatal(err)
	}
	e.change = Change{Key: []byte("k"), Dot: stamp(w.now, self), Context: context}
	value := item.AppendString(nil, e.value)
	names := rapid.SampledFrom([][]string{nil, nil, {"x"}, {"m.a"}, {"x", "m.b"}, {"m.a", "m.b"}}).Draw(t, "names")
	whole := item.AppendMap(nil, makeItem(t, "a", e.value, "b", e.value))
	switch {
	case names != nil:
		e.names = map[string]bool{}
		for _, n := range names {
			e.names[n] = true
		}
		switch {
		case len(names) == 2 && e.names["m.a"]:
			e.change.Ops = []Op{{Kind: OpSetCell, Name: []byte("m"), Value: whole}}
		default:
			for _, n := range names {
				op := Op{Kind: OpSetCell, Name: []byte(n), Value: value}
				if name, inner, nested := strings.Cut(n, "."); nested {
					op.Kind, op.Type, op.Name = OpSetPath, TypeMap, AppendPath(AppendPath(nil, []byte(name)), []byte(inner))
				}
				e.change.Ops = append(e.change.Ops, op)
			}
		}
	case rapid.Bool().Draw(t, "put"):
		e.put = true
		var b item.Builder
		b.Add([]byte("x"), value)
		b.Add([]byte("m"), whole)
		it, err := b.AppendItem(nil)
		if err != nil {
			t.Fatal(err)
		}
		e.change.Ops = RecordPut(nil, it)
	default:
		e.change.Ops = RecordDelete(nil)
	}
	w.events = append(w.events, e)
	if w.record[region], _, err = ApplyLocal(nil, w.record[region], &e.change); err != nil {
		t.Fatal(err)
	}
	w.have[region] = append(w.have[region], e)
}

// hear brings the region the next write of another one that it has not got, in the order of its writer.
func (w *lossWorld) hear(t *rapid.T, region, from int) bool {
	for _, e := range w.events {
		if e.change.Dot.Origin != hlc.Origin(from+1) || slices.Contains(w.have[region], e) {
			continue
		}
		lost, err := Losses(w.record[region], &e.change, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.list(lost)
		if w.record[region], _, err = Apply(nil, w.record[region], &e.change); err != nil {
			t.Fatal(err)
		}
		w.have[region] = append(w.have[region], e)
		return true
	}
	return false
}

// exchange merges another region's whole record.
func (w *lossWorld) exchange(t *rapid.T, region, from int) {
	lost, err := RecordLosses(w.record[region], w.record[from], 0)
	if err != nil {
		t.Fatal(err)
	}
	w.list(lost)
	if w.record[region], err = JoinEncoded(nil, w.record[region], w.record[from]); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.have[from] {
		if !slices.Contains(w.have[region], e) {
			w.have[region] = append(w.have[region], e)
		}
	}
}

func (w *lossWorld) list(losses []Loss) {
	for _, l := range losses {
		w.listed[l.Loser.Stamp] = true
	}
}

// must reports whether e has to be listed: what it gave an attribute is not there, and everybody who took it away had not seen it. may reports whether it can be: somebody wrote over it who had not seen it.
func (w *lossWorld) must(e *lossEvent, final map[string]string) (must, may bool) {
	names := e.names
	if names == nil {
		names = map[string]bool{"x": true, "m.a": true, "m.b": true}
	}
	for _, o := range w.events {
		for n := range names {
			may = may || o.over(e, n) && !o.seen[e.change.Dot] && o.change.Dot.Origin != e.change.Dot.Origin
		}
	}
	if e.names == nil && !e.put {
		return false, may // a delete is lost when all is there again; the examples have that
	}
	for n := range names {
		taken := final[n] != e.value
		for _, o := range w.events {
			if o.seen[e.change.Dot] { // it was seen, and dealt with
				taken = false
			}
		}
		must = must || taken
	}
	return must, may
}

func TestLossesAreTheConflicts(t *testing.T) {
	listed := 0
	rapid.Check(t, func(t *rapid.T) {
		w := &lossWorld{listed: map[hlc.Stamp]bool{}}
		for range rapid.IntRange(2, 14).Draw(t, "steps") {
			region, other := rapid.IntRange(0, 2).Draw(t, "region"), rapid.IntRange(1, 2).Draw(t, "other")
			other = (region + other) % 3
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				w.write(t, region)
			case 2, 3:
				w.hear(t, region, other)
			default:
				w.exchange(t, region, other)
			}
		}
		for more := true; more; {
			more = false
			for i := range 9 {
				more = i/3 != i%3 && w.hear(t, i/3, i%3) || more
			}
		}
		final := map[string]string{}
		it, _, err := ItemOf(w.record[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		if it != nil {
			for name, v := range it.Each {
				if v.Type() != item.M {
					final[string(name)] = string(v.Bytes())
					continue
				}
				for inner, v := range v.Each {
					final[string(name)+"."+string(inner)] = string(v.Bytes())
				}
			}
		}
		for _, e := range w.events {
			must, may := w.must(e, final)
			if must && !w.listed[e.change.Dot] {
				t.Fatalf("%v was lost unseen and is not listed; listed: %v", e.change.Dot, slices.Collect(maps.Keys(w.listed)))
			}
			if !may && w.listed[e.change.Dot] {
				t.Fatalf("%v is listed, and whoever wrote over it had seen it", e.change.Dot)
			}
			open, err := Open(w.record[0], e.change.Dot)
			if err != nil {
				t.Fatal(err)
			}
			if must && !open {
				t.Fatalf("%v is closed, and nobody has seen it", e.change.Dot)
			}
		}
		listed += len(w.listed)
	})
	if listed == 0 {
		t.Fatal("no conflict in all of it")
	}
}

// TestClosedStaysClosed: a write at a purge frontier above a conflict closes it, in its own region and in the others, although all contexts that could tell are dropped then; so does it stay when more is written.
func TestClosedStaysClosed(t *testing.T) {
	loser := set(t, stamp(10, 1), nil, "x", "lost")
	loser.Ops = append(loser.Ops, Op{Kind: OpSetCell, Name: []byte("y"), Value: item.AppendString(nil, "stays")})
	winner := set(t, stamp(11, 2), nil, "x", "won")
	record, err := applyAll(nil, &loser, &winner)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(where string, record []byte, open bool) {
		t.Helper()
		if got, err := Open(record, loser.Dot); err != nil || got != open {
			t.Errorf("%s: open %v, %v", where, got, err)
		}
		if got, err := Unsettled(record); err != nil || got != open {
			t.Errorf("%s: unsettled %v, %v", where, got, err)
		}
	}
	expect("both", record, true)
	other := record
	for i, name := range []string{"z", "x", "z", "y"} {
		by := hlc.Origin(2 + i%2)
		context, err := ContextOf(record, by, 50)
		if err != nil {
			t.Fatal(err)
		}
		c := set(t, stamp(uint64(100+i), by), context, name, "later")
		c.Floor = 50
		if record, _, err = ApplyLocal(nil, record, &c); err != nil {
			t.Fatal(err)
		}
		if other, _, err = Apply(nil, other, &c); err != nil {
			t.Fatal(err)
		}
		expect(fmt.Sprint("after ", i), record, false)
		expect(fmt.Sprint("elsewhere, after ", i), other, false)
	}
	// Who writes alone keeps nothing.
	alone, err := applyAll(nil, &loser)
	if err != nil {
		t.Fatal(err)
	}
	c := set(t, stamp(100, 1), nil, "x", "later")
	c.Floor = 50
	alone, _, err = ApplyLocal(nil, alone, &c)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := DecodeRecord(alone)
	if err != nil || slices.ContainsFunc(rec.Cells, func(c Cell) bool { return c.Floor != 0 }) {
		t.Errorf("%+v %v", rec, err)
	}
}

// TestFencedContributions: a write in doubt is listed with what it contributes: the number that it added, the elements, the bid; of the state of a run, the sum.
func TestFencedContributions(t *testing.T) {
	number := func(n int64) item.Value { return item.AppendInt(nil, n) }
	set := func(elements ...string) item.Value {
		var values []item.Value
		for _, e := range elements {
			values = append(values, item.AppendString(nil, e))
		}
		v, err := item.AppendSet(nil, item.SS, values)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	dot := func(at hlc.Timestamp) hlc.Stamp { return hlc.Stamp{Time: at, Origin: 1} }
	var record []byte
	write := func(at hlc.Timestamp, ops ...Op) *Change {
		t.Helper()
		c := &Change{Key: []byte("k"), Dot: dot(at), Ops: ops}
		var err error
		if record, _, err = ApplyLocal(nil, record, c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	add := func(name string, n int64) Op {
		return Op{Kind: OpAddNumber, Type: TypeCounter, Name: []byte(name), Value: number(n)}
	}
	write(1, add("n", 5))
	others := record
	c := write(2, add("n", 7), Op{Kind: OpAddElements, Type: TypeSet, Name: []byte("s"), Value: set("x", "y")}, Op{Kind: OpDeleteElements, Type: TypeSet, Name: []byte("t"), Value: set("z")},
		Op{Kind: OpSetCell, Type: TypeMax, Name: []byte("m"), Value: number(9)}, Op{Kind: OpSetCell, Name: []byte("a"), Value: number(1)})
	show := func(l Loss, err error) (out string) {
		t.Helper()
		if err != nil || l.Rule != RuleFenced || l.Loser.Stamp != dot(2) {
			t.Fatalf("%+v %v", l, err)
		}
		for i := range l.Parts {
			p := &l.Parts[i]
			out += fmt.Sprintf("%s %d %s %s;", p.Name, p.Effect, item.AppendJSON(nil, p.Lost), func() string {
				if p.Won == nil {
					return "-"
				}
				return string(item.AppendJSON(nil, p.Won))
			}())
		}
		return out
	}
	const rest = `s 1 {"SS":["x","y"]} -;t 2 {"SS":["z"]} -;m 0 {"N":"9"} -;`
	if got, want := show(Fenced(others, c)), `a 0 {"N":"1"} -;n 1 {"N":"7"} {"N":"5"};`+rest; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	changes, err := ChangesOf(record)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(Fenced(nil, &changes[len(changes)-1])), `n 1 {"N":"12"} -;`; !strings.Contains(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}
