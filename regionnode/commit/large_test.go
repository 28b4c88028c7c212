package commit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

// addLarge is a write that adds n elements of 64 KiB to the set of an item.
func addLarge(t *testing.T, pk string, n int) *Write {
	t.Helper()
	var elements []item.Value
	for i := range n {
		elements = append(elements, item.AppendString(nil, fmt.Sprintf("%03d", i)+strings.Repeat("x", 64<<10)))
	}
	set, err := item.AppendSet(nil, item.SS, elements)
	if err != nil {
		t.Fatal(err)
	}
	return always([]conflict.Op{{Kind: conflict.OpAddElements, Type: conflict.TypeSet, Name: []byte("set"), Value: set}}, keyOf(tableA, pk))
}

// TestCompletedWriteIsBounded: a put of a few bytes that observes a large set is as large in the log as the set. Too large for an entry it is refused, and nothing is done; with others it goes into the next entry.
func TestCompletedWriteIsBounded(t *testing.T) {
	f := open(t, store.NewMemory())
	m := NewManual(f.Shard)
	write := func(w *Write) *error {
		out := new(error)
		*out = fmt.Errorf("not answered")
		m.Write(w, func(err error) { *out = err })
		return out
	}
	settle := func() {
		for m.Build() || m.Sync() {
		}
	}
	var adds []*error
	for pk, n := range map[string]int{"a": 70, "b": 70, "c": 100} {
		adds = append(adds, write(addLarge(t, pk, n)))
		settle()
		if pk == "c" { // more than one write can have
			adds = append(adds, write(always([]conflict.Op{{Kind: conflict.OpAddElements, Type: conflict.TypeSet, Name: []byte("more"), Value: largeSet(t)}}, keyOf(tableA, pk))))
			settle()
		}
	}
	for _, err := range adds {
		f.must(*err)
	}
	heads := f.log
	both := write(always(putOps(value("ab", "v")), keyOf(tableA, "a"), keyOf(tableA, "b")))
	one := write(put(tableA, "c", "v"))
	small := write(put(tableA, "d", "v"))
	settle()
	expectKind(t, *both, globaltable.Invalid)
	expectKind(t, *one, globaltable.Invalid)
	f.must(*small)
	if got := f.log[len(heads):]; len(got) != 1 || got[0].Changes != 1 {
		t.Fatalf("%d entries", len(got))
	}
	for _, pk := range []string{"a", "b", "c"} {
		f.expectValue(tableA, pk, "")
	}
	first, second, third := write(put(tableA, "a", "1")), write(put(tableA, "b", "2")), write(put(tableA, "d", "3"))
	settle()
	for _, err := range []*error{first, second, third} {
		f.must(*err)
	}
	if got := f.log[len(heads)+1:]; len(got) != 2 || got[0].Changes != 1 || got[1].Changes != 2 {
		t.Errorf("the writes are in %d entries", len(got))
	}
	for _, e := range f.log {
		if len(e.Body) > change.MaxBody {
			t.Errorf("entry %d has %d bytes", e.Seq, len(e.Body))
		}
	}
	for pk, want := range map[string]string{"a": "1", "b": "2", "d": "3"} {
		f.expectValue(tableA, pk, want)
	}
	checkStore(t, f.engine, allRecords)
}

func largeSet(t *testing.T) item.Value {
	t.Helper()
	var w *Write = addLarge(t, "c", 20)
	ops, err := w.Plan(make([]Current, 1))
	if err != nil {
		t.Fatal(err)
	}
	return ops[0][0].Value
}

// TestPostponedWriteMayBeGivenUp: its caller goes while it waits for room. Nothing of it is done, and its keys are free.
func TestPostponedWriteMayBeGivenUp(t *testing.T) {
	f := start(t, store.NewMemory())
	for _, pk := range []string{"a", "b"} {
		f.must(f.Write(background, addLarge(t, pk, 70)))
	}
	s := f.Shard
	f.must(f.stop())
	sub := s.newSubmission(kindWrite)
	w := put(tableA, "b", "v")
	f.must(sub.addWriteKeys(w))
	f.must(s.latch(background, sub))
	if _, err := s.plan(sub); err != nil {
		t.Fatal(err)
	}
	sub.later = true
	g := &group{subs: []*submission{sub}}
	sub.state.Store(stateAbandoned)
	s.postpone(g)
	if n, _ := s.queue.length(); n != 0 || len(g.subs) != 1 || globaltable.KindOf(sub.err) != globaltable.Unavailable {
		t.Errorf("%d are queued, %d stay in the group: %v", n, len(g.subs), sub.err)
	}
	sub.later, sub.err = true, nil
	sub.state.Store(stateTaken)
	s.postpone(g)
	if n, _ := s.queue.length(); n != 1 || len(g.subs) != 0 || sub.err != nil || sub.state.Load() != stateQueued {
		t.Errorf("%d are queued, %d stay in the group: %v", n, len(g.subs), sub.err)
	}
}
