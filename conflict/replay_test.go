package conflict

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// copyOf is a region's store at a moment, as its log and its record have it.
type copyOf struct {
	worldRegion
	own []int // its own writes so far, by index
}

func (w *world) copyOf(r *worldRegion) copyOf {
	c := copyOf{worldRegion: *r}
	c.seen, c.inbox = maps.Clone(r.seen), make([][]int, len(r.inbox))
	for i := range r.inbox {
		c.inbox[i] = slices.Clone(r.inbox[i])
	}
	for i, e := range w.naive.events {
		if e.dot.Origin == r.origin {
			c.own = append(c.own, i)
		}
	}
	return c
}

// leaving is a region that the others do not hear any more, and its own writes, as far as it knows of them.
type leaving struct {
	*worldRegion
	own       []int
	forgotten []int // own writes that its store has no more
}

// leave takes a region out, cut off, or restored from an old copy. What it writes from now on nobody hears. One that was restored hears nobody: the others have seen what it has forgotten, and it would see the write that had seen a
// contribution before the one that took it back.
func (w *world) leave(r *worldRegion, old *copyOf) *leaving {
	now := w.copyOf(r)
	l := &leaving{worldRegion: r, own: now.own}
	if old != nil {
		*r = old.worldRegion
		l.own, l.forgotten = old.own, now.own[len(old.own):]
	}
	return l
}

// silently writes on l, and nobody hears it.
func (w *world) silently(l *leaving) {
	l.own = append(l.own, len(w.changes))
	w.write(l.worldRegion)
	w.unhear(l.origin, len(w.changes)-1)
}

// unhear drops the writes of an origin from the index given on that somebody has still to hear.
func (w *world) unhear(o hlc.Origin, from int) {
	for _, r := range w.regions {
		r.inbox[o-1] = slices.DeleteFunc(r.inbox[o-1], func(i int) bool { return i >= from })
	}
}

// fence has the others do without l: they hear it no more, and exchange all that they have.
func (w *world) fence(l *leaving) (others []*worldRegion) {
	w.unhear(l.origin, 0)
	for _, r := range w.regions {
		if r != l.worldRegion {
			others = append(others, r)
		}
	}
	w.agree(others)
	return others
}

func (w *world) agree(regions []*worldRegion) {
	for _, r := range regions {
		for w.hear(r) {
		}
		for _, o := range regions {
			if o != r {
				w.exchange(r, o)
			}
		}
	}
}

// comeBack rebuilds l from what the others have, and replays what it had. It returns the writes that are not in the world any more.
func (w *world) comeBack(l *leaving, others []*worldRegion) (gone map[int]bool) {
	saved, had := l.record, l.seen
	l.record, l.seen, l.inbox = nil, map[hlc.Stamp]bool{}, make([][]int, 3)
	w.agree(others)
	for _, o := range others {
		o.inbox[l.origin-1] = nil
		w.exchange(l.worldRegion, o)
	}
	known := maps.Clone(l.seen)
	all := func(i int) bool { return known[w.naive.events[i].dot] }
	p := &Replay{Self: l.origin, Purge: l.purge, Doubt: l.purge}
	var own []SavedWrite
	index := map[hlc.Stamp]int{}
	trimmed := true
	for _, i := range l.own {
		// What all others have confirmed may be trimmed.
		if trimmed = trimmed && all(i) && rapid.Bool().Draw(w.t, "trimmed"); trimmed {
			continue
		}
		s := SavedWrite{Logged: true}
		w.must(DecodeChange(w.changes[i], &s.Change))
		if s.Contributes() {
			own = append(own, s)
		}
	}
	for _, i := range l.own {
		index[w.naive.events[i].dot] = i
	}
	writes, err := p.Writes(saved, own)
	w.must(err)
	fates := map[hlc.Stamp]Fate{}
	for k := range writes {
		s := &writes[k]
		fate, err := p.Judge(l.record, s)
		w.must(err)
		fates[s.Dot] = max(fates[s.Dot], fate)
		if fate == Fresh {
			w.relog(l, index, s, others)
		}
	}
	w.sound(l.worldRegion)
	gone = map[int]bool{}
	for _, i := range l.forgotten {
		gone[i] = !all(i)
	}
	for _, i := range l.own {
		e := w.naive.events[i]
		if all(i) || e.dot.Time > p.Doubt {
			continue
		}
		gone[i] = true
		if fates[e.dot] == Fresh {
			w.t.Fatalf("%v is logged anew at the frontier %s", e.dot, p.Doubt)
		}
		if fates[e.dot] != Doubted && w.counts(e, had) {
			w.t.Fatalf("an increment of %v was dropped\n%s", e.dot, w.tell())
		}
	}
	return gone
}

// relog logs a write of l anew. It stands after all of the region's that are there.
func (w *world) relog(l *leaving, index map[hlc.Stamp]int, s *SavedWrite, others []*worldRegion) {
	i, mine := index[s.Dot]
	if !mine {
		w.t.Fatalf("%v, which the others have, is logged anew\n%s", s.Dot, w.tell())
	}
	s.Key = []byte("k")
	next, _, err := Apply(nil, l.record, &s.Change)
	w.must(err)
	l.record = next
	w.changes[i] = s.Change.Append(nil)
	e := w.naive.events[i]
	for dot := range l.seen {
		if dot.Origin == l.origin && dot.Time < e.dot.Time {
			e.seen[dot] = true
		}
	}
	l.seen[s.Dot] = true
	for _, o := range others {
		o.inbox[l.origin-1] = append(o.inbox[l.origin-1], i)
	}
}

// counts reports whether some increment of e counts for who has seen the writes given.
func (w *world) counts(e *event, seen map[hlc.Stamp]bool) bool {
	var all []*event
	for _, o := range w.naive.events {
		if seen[o.dot] {
			all = append(all, o)
		}
	}
	return slices.ContainsFunc(e.effects, func(f effect) bool { return f.kind == "add" && !taken(all, e, f.path[0], nil) })
}

// TestReturningWorldIsItsReference: a region is cut off, or is restored from an old copy of itself, and writes what nobody hears; the others go on, and collect. Then it is rebuilt, and replays. All show what the naive reading
// of all writes gives that are not in doubt: each increment counts once, or was observed, and nothing that was taken back is there again.
func TestReturningWorldIsItsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { playReturn(newWorld(t, nil)) })
}

// TestReturningCountersAreTheirReference is the same with nothing but a counter.
func TestReturningCountersAreTheirReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, nil)
		w.names, w.kinds = []string{"a"}, []string{"add", "add", "add", "set"}
		playReturn(w)
	})
}

func playReturn(w *world) {
	t := w.t
	w.play()
	r := w.regions[rapid.IntRange(0, 2).Draw(t, "leaves")]
	var old *copyOf
	if rapid.Bool().Draw(t, "restored") {
		c := w.copyOf(r)
		old = &c
		w.some(w.regions, nil, "before", func(r *worldRegion) { w.write(r) })
	}
	l := w.leave(r, old)
	var deaf *worldRegion
	if old != nil {
		deaf = r
	}
	w.some(w.regions, deaf, "apart", func(o *worldRegion) {
		if o == r {
			w.silently(l)
		} else {
			w.write(o)
		}
	})
	others := w.fence(l)
	for range rapid.IntRange(0, 2).Draw(t, "rounds") {
		w.some(others, nil, "without it", func(o *worldRegion) { w.write(o) })
		if rapid.Bool().Draw(t, "still writes") {
			w.silently(l)
		}
		w.agree(others)
		w.purge = w.tick()
		for _, o := range others {
			w.collect(o)
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "writes at last") {
		w.silently(l)
	}
	gone := w.comeBack(l, others)
	w.drop(gone)
	w.play()
	w.compare()
}

// some has regions write or hear, but for one that is deaf.
func (w *world) some(of []*worldRegion, deaf *worldRegion, label string, write func(r *worldRegion)) {
	for range rapid.IntRange(0, 8).Draw(w.t, label) {
		r := of[rapid.IntRange(0, len(of)-1).Draw(w.t, "who")]
		if rapid.IntRange(0, 2).Draw(w.t, "hears") == 0 {
			if r != deaf {
				w.hear(r)
			}
		} else {
			write(r)
		}
	}
}

// drop takes writes out of the world that nobody has.
func (w *world) drop(gone map[int]bool) {
	moved := map[int]int{}
	var events []*event
	var changes [][]byte
	for i := range w.changes {
		if !gone[i] {
			moved[i] = len(events)
			events, changes = append(events, w.naive.events[i]), append(changes, w.changes[i])
		}
	}
	w.naive.events, w.changes = events, changes
	clear(w.naive.floors)
	for _, r := range w.regions {
		for _, inbox := range r.inbox {
			for i := range inbox {
				inbox[i] = moved[inbox[i]]
			}
		}
	}
}

// written returns the record, and the change as it is logged, after a region's write on a record.
func written(t *testing.T, record []byte, dot hlc.Stamp, ops ...Op) (next []byte, logged Change) {
	t.Helper()
	logged = Change{Key: []byte("k"), Dot: dot, Ops: ops}
	var err error
	if logged.Context, err = ContextOf(record, dot.Origin, 0); err == nil {
		next, _, err = ApplyLocal(nil, record, &logged)
	}
	if err != nil {
		t.Fatal(err)
	}
	return next, logged
}

func adding(n int64) Op {
	return Op{Kind: OpAddNumber, Type: TypeCounter, Name: []byte("a"), Value: item.AppendInt(nil, n)}
}

// TestReplayOfAResetWithAnIncrement: what is reset in the write of an increment is what is there, not what the region had.
func TestReplayOfAResetWithAnIncrement(t *testing.T) {
	copied, _ := written(t, nil, stamp(10, 1), adding(5))
	others, _ := written(t, copied, stamp(20, 1), adding(7))
	had, logged := written(t, copied, stamp(30, 1), Op{Kind: OpReset, Value: makeItem(t, "pk", "k")}, adding(2))
	had, _ = written(t, had, stamp(40, 1), adding(1))
	p := &Replay{Self: 1, Purge: 5, Doubt: 5}
	_, second := written(t, had, stamp(50, 1), adding(3))
	for i, c := range []Change{logged, second} {
		w := SavedWrite{Change: c, Logged: true}
		if fate, err := p.Judge(others, &w); err != nil || fate != Fresh {
			t.Fatalf("%d: %d, %v", i, fate, err)
		}
		var err error
		if others, _, err = Apply(nil, others, &w.Change); err != nil {
			t.Fatal(err)
		}
	}
	it, _, err := ItemOf(others, nil)
	if err != nil || textOf(it) != `{"a":{"N":"5"},"pk":{"S":"k"}}` {
		t.Errorf("%s, %v", textOf(it), err)
	}
}

// TestReplayOfTheStateOfARun: of another region's run only the state is known. Where the others have nothing of it, they may have collected a part.
func TestReplayOfTheStateOfARun(t *testing.T) {
	early, _ := written(t, nil, stamp(10, 2), adding(5))
	saved, _ := written(t, early, stamp(30, 2), adding(7))
	later, _ := written(t, nil, stamp(35, 2), adding(1))
	own, logged := written(t, nil, stamp(30, 1), adding(7))
	for name, tc := range map[string]struct {
		current, saved []byte
		log            []SavedWrite
		doubt          hlc.Timestamp
		want           Fate
	}{
		"nothing is left of it":            {nil, saved, nil, 20, Doubted},
		"nothing can have been collected":  {nil, saved, nil, 9, Fresh},
		"they have the beginning":          {early, saved, nil, 20, Fresh},
		"they have it":                     {saved, saved, nil, 20, Known},
		"they have a later one":            {later, saved, nil, 20, Known},
		"it ended below the frontier":      {early, saved, nil, 30, Doubted},
		"an own one":                       {nil, own, []SavedWrite{{Change: logged, Logged: true}}, 20, Fresh},
		"an own one in doubt":              {nil, own, []SavedWrite{{Change: logged, Logged: true}}, 30, Doubted},
		"one that was in doubt":            {nil, own, []SavedWrite{{Change: logged, Logged: true, Kept: true}}, 30, Doubted},
		"one that was in doubt, and alone": {nil, own, []SavedWrite{{Change: logged, Logged: true, Kept: true}}, 0, Fresh},
	} {
		p := &Replay{Self: 1, Purge: tc.doubt, Doubt: tc.doubt}
		writes, err := p.Writes(tc.saved, tc.log)
		if err != nil || len(writes) != 1 {
			t.Fatalf("%s: %d writes, %v", name, len(writes), err)
		}
		if fate, err := p.Judge(tc.current, &writes[0]); err != nil || fate != tc.want {
			t.Errorf("%s: %d, %v; want %d", name, fate, err, tc.want)
		}
	}
	for _, w := range []SavedWrite{{Change: Change{Dot: stamp(30, 1), Ops: []Op{{Kind: OpIncrement, Type: TypeCounter, Name: []byte("a"), Value: []byte{1}}}}, Logged: true}} {
		if _, err := (&Replay{Self: 1}).Judge(nil, &w); err == nil {
			t.Error("an increment that is none was judged")
		}
	}
	if _, err := (&Replay{Self: 1}).Writes([]byte{0xff}, nil); err == nil {
		t.Error("what is no record was split")
	}
}
