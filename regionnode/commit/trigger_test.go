package commit

import (
	"bytes"
	"slices"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
)

var (
	triggerA  = globaltable.TriggerID{Table: tableA, Name: "a", Born: 1}
	triggerAA = globaltable.TriggerID{Table: tableA, Name: "aa", Born: 1}
)

func letter(at hlc.Timestamp, pk string, size int) cdc.Letter {
	return cdc.Letter{Position: at, Key: keyOf(tableA, pk).Bytes, Attempts: 3, Error: "refused", Event: bytes.Repeat([]byte{'x'}, size)}
}

func (f *fixture) letters(id globaltable.TriggerID) (at []hlc.Timestamp) {
	f.t.Helper()
	f.must(f.EachLetter(id, 0, func(l *cdc.Letter) bool {
		at = append(at, l.Position)
		return true
	}))
	return at
}

// counted checks that what is known of letters is what the store has.
func (f *fixture) counted(id globaltable.TriggerID) Letters {
	f.t.Helper()
	var n Letters
	lower, upper := store.LetterRange(id, 0)
	f.must(store.Each(f.engine, lower, upper, func(key, value []byte) error {
		n.Count++
		n.Bytes += int64(len(key) + len(value))
		return nil
	}))
	got := f.Letters(id)
	if got.Count != n.Count || got.Bytes != n.Bytes {
		f.t.Fatalf("%+v is known, the store has %+v", got, n)
	}
	return got
}

func TestDeadLetters(t *testing.T) {
	f := open(t, store.NewMemory())
	f.run()
	f.must(f.Bury(background, triggerA, []cdc.Letter{letter(5, "a", 10), letter(7, "b", 10)}))
	f.must(f.Bury(background, triggerAA, []cdc.Letter{letter(6, "a", 10)}))
	f.must(f.Bury(background, triggerA, []cdc.Letter{letter(5, "a", 30)})) // once more
	if got := f.letters(triggerA); !slices.Equal(got, []hlc.Timestamp{5, 7}) {
		t.Errorf("%v", got)
	}
	f.counted(triggerA)
	f.counted(triggerAA)
	n, err := f.DropLetters(background, triggerA, []hlc.Timestamp{5, 5, 9})
	if f.must(err); n != 1 {
		t.Errorf("%d letters were dropped", n)
	}
	f.counted(triggerA)
	f.must(f.SetTrigger(background, triggerA, []byte("state")))
	f.must(f.SetTrigger(background, triggerAA, []byte("other")))
	f.must(f.stop())

	again := open(t, f.engine)
	again.run()
	if got := again.Letters(triggerA); got.Count != 1 {
		t.Errorf("%+v", got)
	}
	again.must(again.DropTrigger(background, triggerA))
	kept := map[globaltable.TriggerID]string{}
	again.must(again.Triggers(func(id globaltable.TriggerID, state []byte) error {
		kept[id] = string(state)
		return nil
	}))
	if len(kept) != 1 || kept[triggerAA] != "other" || len(again.letters(triggerA)) != 0 || len(again.letters(triggerAA)) != 1 {
		t.Errorf("%v", kept)
	}
	again.counted(triggerA)
}

func TestDeadLettersAreBounded(t *testing.T) {
	f := open(t, store.NewMemory())
	f.run()
	const size = 4 << 20
	for i := range 20 {
		f.must(f.Bury(background, triggerA, []cdc.Letter{letter(hlc.Timestamp(i+1), "a", size)}))
	}
	n := f.counted(triggerA)
	if got := f.letters(triggerA); n.Bytes > MaxLetterBytes || n.Count+n.Dropped != 20 || got[0] != hlc.Timestamp(n.Dropped+1) || got[len(got)-1] != 20 {
		t.Errorf("%+v: %v", n, got)
	}
	var many []cdc.Letter
	for i := range MaxLetters + 5 {
		many = append(many, letter(hlc.Timestamp(i+1), "b", 1))
	}
	f.must(f.Bury(background, triggerAA, many[:MaxLetters]))
	f.must(f.Bury(background, triggerAA, many[MaxLetters:]))
	if n := f.counted(triggerAA); n.Count != MaxLetters || n.Dropped != 5 || f.letters(triggerAA)[0] != 6 {
		t.Errorf("%+v", n)
	}
}

func TestDeadLettersAreErased(t *testing.T) {
	f := open(t, store.NewMemory())
	f.run()
	var many []cdc.Letter
	for i := range 3000 {
		many = append(many, letter(hlc.Timestamp(i+1), string(rune('a'+i%3)), 10))
	}
	f.must(f.Bury(background, triggerA, many))
	away := "b"
	f.catalog.elsewhere.Store(&away)
	f.catalog.pin(func(globaltable.TableID, []byte) globaltable.Placement { return nil })
	if got := f.letters(triggerA); len(got) != 2000 {
		t.Errorf("%d letters are shown", len(got))
	}
	f.must(f.Bury(background, triggerA, []cdc.Letter{letter(9000, away, 10)}))
	f.must(f.BeginPlacing(background, tableA, f.catalog.Version(tableA), 1))
	var next []byte
	for more := true; more; more = next != nil {
		var err error
		next, err = f.EraseLetters(background, tableA, f.catalog.Version(tableA), next)
		f.must(err)
	}
	if n := f.counted(triggerA); n.Count != 2000 || f.Placing(tableA).Done.Streamed != 1000 {
		t.Errorf("%+v, %+v", n, f.Placing(tableA).Done)
	}
	f.must(f.stop())
	f.catalog.elsewhere.Store(nil)
	if again := open(t, f.engine); len(again.letters(triggerA)) != 2000 {
		t.Error("what was erased is there again")
	}
}
