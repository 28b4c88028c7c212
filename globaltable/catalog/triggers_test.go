package catalog

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/trigger"
)

// triggerDocs parses specs of triggers of the table orders: "name: spec".
func triggerDocs(t testing.TB, texts ...string) (out []trigger.Document) {
	t.Helper()
	for _, text := range texts {
		name, spec, _ := strings.Cut(text, ": ")
		parsed, err := trigger.Parse([]byte(fmt.Sprintf("apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: %s}\nspec: {table: orders, %s}\n", name, spec)))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, parsed...)
	}
	return out
}

// triggered returns a change of triggers by somebody.
func triggered(c TriggerChange) *TriggerChange {
	c.Author, c.At, c.Region = "me", 5_000_000, "eu"
	return &c
}

// streaming is a table with its stream on.
func streaming(t testing.TB) (*world, *globaltable.Table) {
	t.Helper()
	w, table := pinnable(t, "eu", "us")
	return w, settle(t, mustUpdate(t, w, table, &Change{Stream: ptr(globaltable.ViewNewAndOldImages), Secret: []byte("0123456789abcdef"), At: 4000, Region: "eu"}))
}

const (
	search = "search: target: {webhook: {url: 'https://search.example/hook'}}"
	mail   = "mail: fire: one, target: {nats: {subject: mail}}"
)

// TestChangeTriggers is one table's life.
func TestChangeTriggers(t *testing.T) {
	_, table := streaming(t)
	apply := func(c TriggerChange) string {
		t.Helper()
		next, err := ChangeTriggers(table, triggered(c), 1)
		if err != nil {
			return err.Error()
		}
		if next == nil {
			return "nothing"
		}
		if fresh, err := follows(table, next, nil); err != nil || !fresh {
			t.Fatalf("it is not adopted: %v", err)
		}
		table = next
		var out []string
		for i := range table.Triggers {
			g := &table.Triggers[i]
			text := fmt.Sprintf("%s %d", g.Name, g.Number)
			if g.Paused {
				text += " paused"
			}
			if g.Replay.Number > 0 {
				text += fmt.Sprintf(" replay %d of %d", g.Replay.Number, g.Replay.From.Millis())
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want && (want == "" || !strings.Contains(got, want)) {
			t.Fatalf("%s: %q, want %q", what, got, want)
		}
	}
	changed := strings.Replace(search, "target:", "parallel: 2, target:", 1)
	expect("one", apply(TriggerChange{Set: triggerDocs(t, search)}), "search 1")
	born := table.Trigger("search").Born
	if born != table.Version {
		t.Errorf("born in %v, which is %v", born, table.Version)
	}
	expect("the same again", apply(TriggerChange{Set: triggerDocs(t, search)}), "nothing")
	expect("a second one", apply(TriggerChange{Set: triggerDocs(t, search, mail)}), "mail 1, search 1")
	expect("changed", apply(TriggerChange{Set: triggerDocs(t, changed)}), "mail 1, search 2")
	expect("paused", apply(TriggerChange{Pause: []string{"search"}}), "mail 1, search 2 paused")
	expect("paused again", apply(TriggerChange{Pause: []string{"search"}}), "nothing")
	expect("changed back", apply(TriggerChange{Set: triggerDocs(t, search)}), "mail 1, search 3 paused")
	expect("replayed", apply(TriggerChange{Replay: []TriggerReplay{{"search", 4_000_000}}}), "search 3 paused replay 1 of 4000000")
	expect("replayed once more", apply(TriggerChange{Replay: []TriggerReplay{{"search", 4_000_000}}}), "search 3 paused replay 2 of 4000000")
	expect("goes on", apply(TriggerChange{Resume: []string{"search"}, Pause: []string{"mail"}}), "mail 1 paused, search 3 replay 2")
	if g := table.Trigger("search"); g.Born != born {
		t.Errorf("born in %v, then in %v", born, g.Born)
	}
	expect("of the future", apply(TriggerChange{Replay: []TriggerReplay{{"search", 5_000_001}}}), "is not in the past")
	expect("none", apply(TriggerChange{Pause: []string{"other"}}), "Table orders has no trigger other.")
	expect("none to replay", apply(TriggerChange{Replay: []TriggerReplay{{"other", 0}}}), "Table orders has no trigger other.")
	expect("twice", apply(TriggerChange{Pause: []string{"mail"}, Resume: []string{"mail"}}), "Trigger mail is there twice.")
	expect("another table's", apply(TriggerChange{Set: []trigger.Document{{Name: "a", Table: "customers"}}}), "Trigger a is about table customers.")
	expect("not right", apply(TriggerChange{Set: []trigger.Document{{Name: "a", Table: "orders"}}}), "a trigger has one target")
	var many []string
	for i := range globaltable.MaxTriggers - 1 {
		many = append(many, fmt.Sprintf("m%d: target: {nats: {subject: a}}", i))
	}
	expect("too many", apply(TriggerChange{Set: triggerDocs(t, many...)}), "33 triggers, at most 32")
	expect("deleted", apply(TriggerChange{Delete: []string{"search"}}), "mail 1 paused")
	expect("deleted again", apply(TriggerChange{Delete: []string{"search"}}), "has no trigger search")
	expect("made anew", apply(TriggerChange{Set: triggerDocs(t, search)}), "mail 1 paused, search 1")
	if g := table.Trigger("search"); g.Born == born || g.ID(table.ID) == (globaltable.TriggerID{Table: table.ID, Name: "search", Born: born}) {
		t.Error("one that was deleted and made anew is the same")
	}
	expect("all go", apply(TriggerChange{Delete: []string{"mail", "search"}}), "")
	if table.Triggers != nil {
		t.Errorf("%v", table.Triggers)
	}
}

func TestChangeTriggersRefuses(t *testing.T) {
	w, plain := pinnable(t, "eu")
	if _, err := ChangeTriggers(plain, triggered(TriggerChange{Set: triggerDocs(t, search)}), 1); globaltable.KindOf(err) != globaltable.Invalid || !strings.Contains(err.Error(), "Table orders has no change stream") {
		t.Errorf("a table without a stream: %v", err)
	}
	_, table := streaming(t)
	for _, c := range []TriggerChange{{}, {Author: "a\nb"}, {Author: "me", Reason: strings.Repeat("a", 2000)}} {
		if _, err := ChangeTriggers(table, &c, 1); globaltable.KindOf(err) != globaltable.Invalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
	dead := table.Clone()
	dead.Deleted = true
	if _, err := ChangeTriggers(dead, triggered(TriggerChange{}), 1); globaltable.KindOf(err) != globaltable.NotFound {
		t.Error(err)
	}
	// A stream that goes leaves the triggers, which fire nothing then; so does one that comes again.
	next, err := ChangeTriggers(table, triggered(TriggerChange{Set: triggerDocs(t, search)}), 1)
	if err != nil {
		t.Fatal(err)
	}
	off := mustUpdate(t, w, next, &Change{Stream: ptr(globaltable.StreamView("")), At: 6000, Region: "eu"})
	if len(off.Triggers) != 1 || !strings.Contains(strings.Join(TriggerNotes(off, &off.Triggers[0]), " "), "no change stream any more") {
		t.Errorf("%v", off.Triggers)
	}
}

// TestTriggersOfASuccessor: a replica that becomes a table of its own takes the triggers along, as new ones.
func TestTriggersOfASuccessor(t *testing.T) {
	w := newWorld(t, "eu", "us")
	table := mustUpdate(t, w, spread(t, w), &Change{Stream: ptr(globaltable.ViewNewAndOldImages), Secret: []byte("0123456789abcdef"), At: 4000, Region: "eu"})
	for _, c := range []TriggerChange{{Set: triggerDocs(t, search)}, {Set: triggerDocs(t, strings.Replace(search, "target:", "parallel: 2, target:", 1)), Replay: nil}, {Replay: []TriggerReplay{{"search", 5}}}} {
		next, err := ChangeTriggers(table, triggered(c), 1)
		if err != nil {
			t.Fatal(err)
		}
		table = next
	}
	under := mustUpdate(t, w, table, leaving())
	us, _ := w.region("us")
	got, ok := Succeed(under, us, 3)
	if !ok || got.Validate() != nil || len(got.Triggers) != 1 {
		t.Fatalf("%+v: %v", got, got.Validate())
	}
	if g := got.Triggers[0]; g.Born != got.Version || g.Number != 1 || g.Replay != (globaltable.Replay{}) || g.Parallel != 2 || table.Triggers[0].Number != 2 {
		t.Errorf("%+v", g)
	}
	if _, err := ChangeTriggers(under, triggered(TriggerChange{Delete: []string{"search"}}), 1); globaltable.KindOf(err) != globaltable.InUse {
		t.Errorf("while it becomes one: %v", err)
	}
	if last := Forsake(got, 4); last.Validate() != nil || last.Triggers != nil {
		t.Errorf("its end: %+v", last)
	}
}

func TestTriggerNotes(t *testing.T) {
	w, table := streaming(t)
	table = settle(t, mustUpdate(t, w, table, set(prefix("eu-b", "EU#", "eu", "us"), func() globaltable.Pin {
		p := prefix("eu-a", "UK#", "eu", "us")
		p.Targets = []string{"https://search.example"}
		return p
	}())))
	for _, c := range []struct {
		view  globaltable.StreamView
		spec  string
		notes []string // parts of them
	}{
		{globaltable.ViewNewAndOldImages, mail, nil},
		{globaltable.ViewNewAndOldImages, search, []string{"pinned by eu-b: these"}},
		{globaltable.ViewNewAndOldImages, "other: target: {webhook: {url: 'https://other.example/'}}", []string{"pinned by eu-a, eu-b: these"}},
		{globaltable.ViewNewImage, "mail: filter: {data: {old: {x: {S: [a]}}}, type: [b]}, target: {nats: {subject: mail}}", []string{"have no old image", "The filter asks for the old image"}},
		{globaltable.ViewOldImage, "mail: filter: {data: {old: {x: {S: [a]}}}}, target: {nats: {subject: mail}}", []string{"have no new image"}},
		{globaltable.ViewKeysOnly, "mail: filter: {data: {new: {x: {S: [a]}}}}, target: {nats: {subject: mail}}", []string{"no new and no old image", "The filter asks for the new image"}},
	} {
		table.Stream.View = c.view
		d := triggerDocs(t, c.spec)[0]
		g := &globaltable.Trigger{Name: d.Name, TriggerSpec: d.Spec}
		notes := TriggerNotes(table, g)
		if len(notes) != len(c.notes) {
			t.Errorf("%s, %s: %q", c.view, c.spec, notes)
			continue
		}
		for i, part := range c.notes {
			if !strings.Contains(notes[i], part) {
				t.Errorf("%s, %s: %q", c.view, c.spec, notes)
			}
		}
	}
}

// TestTriggersAgainstModel: random changes leave what a map of names would have, each version is valid, and one that changes nothing is none.
func TestTriggersAgainstModel(t *testing.T) {
	_, start := streaming(t)
	type one struct {
		doc     trigger.Document
		paused  bool
		number  uint64
		replays uint64
		since   hlc.Timestamp
	}
	names := []string{"a", "b", "c", "d"}
	rapid.Check(t, func(t *rapid.T) {
		table, model := start, map[string]one{}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			now, there := model[name]
			was := now
			var c TriggerChange
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				d := trigger.Document{Name: name, Table: "orders", Spec: globaltable.TriggerSpec{Fire: globaltable.FireOrigin, Parallel: rapid.IntRange(1, 3).Draw(t, "parallel"), Target: globaltable.Target{NATS: &globaltable.NATSTarget{Subject: "a"}}}}
				c.Set = []trigger.Document{d}
				if !there || !now.doc.Equal(&d) {
					now.number++
				}
				now.doc, there = d, true
			case 1:
				c.Delete = []string{name}
			case 2:
				c.Pause, now.paused = []string{name}, true
			case 3:
				c.Resume, now.paused = []string{name}, false
			default:
				at := rapid.Int64Range(0, 5_000_000).Draw(t, "since")
				c.Replay = []TriggerReplay{{name, at}}
				now.replays, now.since = now.replays+1, hlc.Timestamp(at<<16)
			}
			next, err := ChangeTriggers(table, triggered(c), 1)
			if !there {
				if globaltable.KindOf(err) != globaltable.NotFound {
					t.Fatalf("%+v of none: %v", c, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Delete != nil {
				delete(model, name)
			} else if same := reflect.DeepEqual(was, now); same != (next == nil) {
				t.Fatalf("%+v of %+v makes %v", c, was, next)
			} else {
				model[name] = now
			}
			if next != nil {
				table = next
			}
			got := map[string]one{}
			for i := range table.Triggers {
				g := &table.Triggers[i]
				got[g.Name] = one{trigger.Of("orders", g), g.Paused, g.Number, g.Replay.Number, g.Replay.From}
			}
			if !reflect.DeepEqual(got, model) || !slices.IsSortedFunc(table.Triggers, func(a, b globaltable.Trigger) int { return strings.Compare(a.Name, b.Name) }) {
				t.Fatalf("%+v, want %+v", got, model)
			}
		}
	})
}

// TestTriggerBegins: a trigger begins at the moment of its version, and stays so; one that is made anew begins anew.
func TestTriggerBegins(t *testing.T) {
	_, table := streaming(t)
	apply := func(at int64, c TriggerChange) {
		t.Helper()
		c.Author, c.At, c.Region = "me", at, "eu"
		next, err := ChangeTriggers(table, &c, 1)
		if err != nil {
			t.Fatal(err)
		}
		table = next
	}
	begins := func(want int64) {
		t.Helper()
		if got := table.Trigger("search").Begins; got.Millis() != want || got.Logical() != 0 {
			t.Errorf("it begins at %v, not at %d ms", got, want)
		}
		if b, err := globaltable.DecodeTable(globaltable.EncodeTable(table)); err != nil || b.Trigger("search").Begins != table.Trigger("search").Begins {
			t.Errorf("stored: %+v, %v", b, err)
		}
	}
	apply(5000, TriggerChange{Set: triggerDocs(t, search)})
	begins(5000)
	apply(6000, TriggerChange{Set: triggerDocs(t, search+", parallel: 3")})
	begins(5000)
	apply(7000, TriggerChange{Delete: []string{"search"}})
	apply(8000, TriggerChange{Set: triggerDocs(t, search)})
	begins(8000)
}
