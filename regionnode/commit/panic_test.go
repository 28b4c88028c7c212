package commit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

const secret = "what is in the item"

// breaking is a write of keys whose plan panics when it is asked for the time given, 1 for the first: with a value, or where that is nil by running out of a list. Before, it moves the clock past
// what was to expire, so that it is asked again.
func breaking(w *wall, time int, value any, keys ...Key) *Write {
	asked := 0
	return &Write{Keys: keys, Transaction: len(keys) > 1, Plan: func(c []Current) ([][]conflict.Op, error) {
		if asked++; asked == time && value != nil {
			panic(value)
		} else if asked == time {
			return nil, fmt.Errorf("%d", c[len(c)].Item.Len())
		}
		w.move(lifetime)
		out := make([][]conflict.Op, len(c))
		for i := range out {
			out[i] = updateOps(conflict.OpSetCell, "x")
		}
		return out, nil
	}}
}

const lifetime = 10 * time.Second

// soon is an item that expires when breaking has moved the clock.
func (w *wall) soon(pk, v string) item.Item {
	return mortal(pk, v, int(w.now().Add(lifetime).Unix()-wallBegins))
}

// panics gathers what is reported.
type panics struct {
	mu   sync.Mutex
	seen []*PanicError
}

func (p *panics) note(e *PanicError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, e)
}

// expect demands that err is what a write gets for a panic, that it was reported, and that it says where that was and nothing of the item.
func (p *panics) expect(t *testing.T, err error, cause string) {
	t.Helper()
	expectKind(t, err, globaltable.Internal)
	p.mu.Lock()
	defer p.mu.Unlock()
	var e *PanicError
	if !errors.As(err, &e) || !slices.Contains(p.seen, e) {
		t.Fatalf("%v, reported %v", err, p.seen)
	}
	if first, _, _ := strings.Cut(e.Stack, "\n"); !strings.Contains(e.Cause, cause) || !strings.Contains(first, "breaking") {
		t.Errorf("%v\n%s", e, e.Stack)
	}
	if all := err.Error() + e.Stack; strings.Contains(all, secret) || strings.Contains(all, "0x") {
		t.Errorf("it tells of the item: %s", all)
	}
}

// breakable is expiring that gathers panics.
func breakable(t *testing.T) (f *fixture, w *wall, p *panics) {
	w, p = newWall(), new(panics)
	f = open(t, store.NewMemory(), func(c *Config) { c.Clock, c.Events.Panic = hlc.NewClock(w.now, 0), p.note })
	f.catalog.expire(tableA, fromTheFirst)
	return f, w, p
}

// TestPanicOfAPlan: in the caller's goroutine and in the sequencer's it ends the write alone. Its keys are free after it, and nothing of it is there.
func TestPanicOfAPlan(t *testing.T) {
	f, w, p := breakable(t)
	f.run()
	for i, c := range []struct {
		time  int
		value any
		cause string
	}{
		{1, secret, "string"},
		{1, nil, "index out of range [2] with length 2"},
		{2, errors.New(secret), "*errors.errorString"},
		{2, nil, "index out of range [2] with length 2"},
	} {
		f.must(f.Write(background, always(putOps(w.soon("a", secret)), keyOf(tableA, "a"))))
		f.must(f.Write(background, put(tableA, "b", secret)))
		entries := len(f.log)
		p.expect(t, f.Write(background, breaking(w, c.time, c.value, keyOf(tableA, "b"), keyOf(tableA, "a"))), c.cause)
		if len(f.log) != entries || len(p.seen) != i+1 {
			t.Fatalf("%d entries of it, %d reports", len(f.log)-entries, len(p.seen))
		}
		f.expectValue(tableA, "b", secret)
		for _, pk := range []string{"a", "b"} {
			f.must(f.Write(background, put(tableA, pk, "after")))
			f.expectValue(tableA, pk, "after")
		}
	}
	f.must(f.stop())
	f.expectAudit(ownRecords)
}

// TestPanicWithinAGroup: the others of its group do not notice, whether they come before it or after it.
func TestPanicWithinAGroup(t *testing.T) {
	f, w, p := breakable(t)
	m := NewManual(f.Shard)
	m.Write(always(putOps(w.soon("a", secret)), keyOf(tableA, "a")), f.must)
	m.Settle()
	entries, answered := len(f.log), 0
	ok := func(err error) { f.must(err); answered++ }
	var broken error
	m.Write(put(tableA, "before", "1"), ok)
	m.Write(breaking(w, 2, nil, keyOf(tableA, "a"), keyOf(tableB, "a")), func(err error) { broken = err })
	m.Write(put(tableA, "after", "2"), ok)
	m.Write(put(tableB, "after", "3"), ok)
	m.Settle()
	p.expect(t, broken, "index out of range [2] with length 2")
	if answered != 3 || len(f.log) != entries+2 { // of one group an entry for each of two lanes
		t.Errorf("%d answers, %d entries", answered, len(f.log)-entries)
	}
	for _, c := range []struct {
		table     globaltable.TableID
		pk, value string
	}{{tableA, "before", "1"}, {tableA, "after", "2"}, {tableB, "after", "3"}, {tableA, "a", ""}, {tableB, "a", ""}} {
		f.expectValue(c.table, c.pk, c.value)
	}
	if f.recordOf(tableB, "a") != nil {
		t.Error("a part of the transaction was done")
	}
	f.expectAudit(allRecords)
}

// TestPanicsAmongWriters: many plans panic in the sequencer while others write.
func TestPanicsAmongWriters(t *testing.T) {
	f, w, p := breakable(t)
	f.run()
	const writes = 50
	var writers sync.WaitGroup
	for i := range 4 {
		pk := fmt.Sprint(i)
		writers.Go(func() {
			for n := range writes {
				if err := f.Write(background, put(tableB, pk, fmt.Sprint(n))); err != nil {
					t.Error(err)
				}
			}
		})
		writers.Go(func() {
			for range writes {
				if err := f.Write(background, always(putOps(w.soon(pk, secret)), keyOf(tableA, pk))); err != nil {
					t.Error(err)
				}
				// Another writer may have moved the clock, and the first plan sees nothing that expires: then it is not asked again.
				if err := f.Write(background, breaking(w, 2, nil, keyOf(tableA, pk))); err != nil {
					p.expect(t, err, "index out of range [1] with length 1")
				}
			}
		})
	}
	writers.Wait()
	for i := range 4 {
		f.expectValue(tableB, fmt.Sprint(i), fmt.Sprint(writes-1))
	}
	if len(p.seen) == 0 {
		t.Error("no plan panicked")
	}
	f.must(f.stop())
	f.expectAudit(ownRecords)
}
