package hlc

import (
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hand is a physical clock that a test sets.
type hand struct {
	mu sync.Mutex
	t  time.Time
}

func (h *hand) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.t
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t = h.t.Add(d)
}

func newHand() *hand { return &hand{t: time.Date(2026, 3, 4, 5, 6, 7, 890e6, time.UTC)} }

func TestNowFollowsPhysicalTime(t *testing.T) {
	h := newHand()
	c := NewClock(h.now, 0)
	if got, want := c.Now(), FromTime(h.t); got != want {
		t.Fatalf("first timestamp %s, want physical time %s", got, want)
	}
	if got, want := c.Now(), FromTime(h.t)+1; got != want {
		t.Fatalf("second timestamp of a millisecond %s, want %s", got, want)
	}
	h.move(time.Millisecond)
	if got, want := c.Now(), FromTime(h.t); got != want {
		t.Fatalf("timestamp of the next millisecond %s, want %s", got, want)
	}
}

func TestNowWhenPhysicalTimeRunsBack(t *testing.T) {
	h := newHand()
	c := NewClock(h.now, 0)
	before := c.Now()
	h.move(-time.Hour)
	if after := c.Now(); after != before+1 {
		t.Fatalf("after the clock was set back: %s, want %s", after, before+1)
	}
}

func TestLogicalCounterCarries(t *testing.T) {
	h := newHand()
	c := NewClock(h.now, 0)
	full := FromTime(h.t) | math.MaxUint16
	if err := c.Observe(full); err != nil {
		t.Fatal(err)
	}
	got := c.Now()
	if got.Millis() != full.Millis()+1 || got.Logical() != 0 {
		t.Fatalf("after a full counter %s, want the next millisecond with counter 0", got)
	}
}

func TestBeforeTheEpoch(t *testing.T) {
	c := NewClock(func() time.Time { return time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) }, 0)
	if got := c.Now(); got != 1 {
		t.Fatalf("a machine before 1970 gives %d, want 1", got)
	}
}

func TestObserve(t *testing.T) {
	h := newHand()
	c := NewClock(h.now, time.Second)
	limit := FromTime(h.t.Add(time.Second)) | math.MaxUint16
	if err := c.Observe(limit); err != nil {
		t.Fatalf("timestamp at the limit: %v", err)
	}
	if got := c.Now(); got <= limit {
		t.Fatalf("%s given after %s was observed", got, limit)
	}
	if err := c.Observe(5); err != nil {
		t.Fatalf("old timestamp: %v", err)
	}
	last := c.Last()
	var ahead *AheadError
	for _, bad := range []Timestamp{FromTime(h.t.Add(time.Second + time.Millisecond)), math.MaxUint64} {
		// A timestamp at or below the clock's own is no news; these are above it.
		if bad <= last {
			bad = last.Add(time.Millisecond)
		}
		if err := c.Observe(bad); !errors.As(err, &ahead) {
			t.Fatalf("observing %s: %v, want an AheadError", bad, err)
		}
		if ahead.MaxOffset != time.Second || ahead.Ahead <= time.Second {
			t.Fatalf("error says %s ahead, allowed %s", ahead.Ahead, ahead.MaxOffset)
		}
		if c.Last() != last {
			t.Fatal("a refused timestamp moved the clock")
		}
	}
	h.move(2 * time.Second)
	if err := c.Observe(FromTime(h.now())); err != nil {
		t.Fatalf("what was too far ahead is refused when its time has come: %v", err)
	}
}

func TestReserveAndPromise(t *testing.T) {
	const ahead = 400 * time.Millisecond
	h := newHand()
	c := NewClock(h.now, 0)
	if got := c.Promise(); got != 0 {
		t.Fatalf("promise %s without a durable bound", got)
	}
	c.Now()
	bound, needed := c.Reserve(ahead)
	if !needed || bound < FromTime(h.t.Add(ahead)) {
		t.Fatalf("first bound %s needed %t", bound, needed)
	}
	if again, needed := c.Reserve(ahead); needed || again != bound {
		t.Fatalf("bound %s needed %t right after another", again, needed)
	}
	if got := c.Promise(); got != 0 {
		t.Fatalf("promise %s while the bound is not durable", got)
	}
	c.CommitBound(bound)
	p := c.Promise()
	if p > bound || p < FromTime(h.t) {
		t.Fatalf("promise %s, want the present, at most %s", p, bound)
	}
	if now := c.Now(); now <= p {
		t.Fatalf("%s given after %s was promised", now, p)
	}
	h.move(ahead/2 + time.Millisecond)
	if _, needed := c.Reserve(ahead); !needed {
		t.Fatal("less than half is left, and no new bound is needed")
	}
	h.move(time.Minute)
	if got := c.Promise(); got > bound {
		t.Fatalf("promise %s above the durable bound %s", got, bound)
	}
	if now := c.Now(); now <= bound {
		t.Fatalf("timestamp %s did not follow physical time", now)
	}
	if got := c.Promise(); got != bound {
		t.Fatalf("promise %s with the clock past the bound, want the bound", got)
	}
}

func TestAheadAtStart(t *testing.T) {
	h := newHand()
	c := NewClock(h.now, time.Second)
	bound := FromTime(h.t.Add(10 * time.Second))
	c.Restore(bound)
	if got := c.AheadAtStart(bound); got != 9*time.Second {
		t.Fatalf("wait %s, want 9s", got)
	}
	if got := c.Now(); got <= bound {
		t.Fatalf("%s given after a restart at %s", got, bound)
	}
	h.move(9 * time.Second)
	if got := c.AheadAtStart(bound); got != 0 {
		t.Fatalf("wait %s when physical time has caught up", got)
	}
	if got := c.AheadAtStart(math.MaxUint64); got <= 0 {
		t.Fatalf("wait %s for the end of time", got)
	}
	if got := c.AheadAtStart(0); got != 0 {
		t.Fatalf("wait %s for a new store", got)
	}
}

// A region that gives stamps in batches, crashes at any point, has its physical clock set anywhere, and starts again from what was
// durable, never gives a stamp twice and never one at or below a promise.
func TestNeverRunsBackOverRestarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHand()
		clock := NewClock(h.now, 0)
		var (
			kept     []Timestamp // stamps in durable batches, in order
			promised Timestamp
			stored   Timestamp // bound in the store
			batch    []Timestamp
		)
		t.Repeat(map[string]func(*rapid.T){
			"stamp": func(t *rapid.T) {
				s := clock.Now()
				if s <= promised {
					t.Fatalf("stamp %s at or below the promise %s", s, promised)
				}
				if n := len(kept); n > 0 && s <= kept[n-1] {
					t.Fatalf("stamp %s after %s", s, kept[n-1])
				}
				batch = append(batch, s)
			},
			"sync": func(t *rapid.T) {
				bound, needed := clock.Reserve(time.Duration(rapid.IntRange(0, 500).Draw(t, "ahead")) * time.Millisecond)
				if needed {
					stored = bound
				}
				for _, s := range batch {
					if s > stored {
						t.Fatalf("batch with %s is durable under the bound %s", s, stored)
					}
				}
				clock.CommitBound(bound)
				kept, batch = append(kept, batch...), nil
			},
			"promise": func(t *rapid.T) {
				p := clock.Promise()
				if p < promised || p > stored {
					t.Fatalf("promise %s after %s, bound %s", p, promised, stored)
				}
				promised = p
			},
			"observe": func(t *rapid.T) {
				by := time.Duration(rapid.IntRange(-1000, 1000).Draw(t, "by")) * time.Millisecond
				// An error is fine: the clock did not move.
				_ = clock.Observe(FromTime(h.now().Add(by)))
			},
			"physical": func(t *rapid.T) {
				h.move(time.Duration(rapid.IntRange(-2000, 2000).Draw(t, "by")) * time.Millisecond)
			},
			"crash": func(t *rapid.T) {
				clock, batch = NewClock(h.now, 0), nil
				clock.Restore(stored)
			},
		})
	})
}

func TestConcurrentUse(t *testing.T) {
	const workers, each = 8, 500
	c := NewClock(time.Now, time.Hour)
	given := make([][]Timestamp, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				given[w] = append(given[w], c.Now())
				if err := c.Observe(c.Last() + 3); err != nil {
					t.Error(err)
				}
				bound, _ := c.Reserve(time.Millisecond)
				c.CommitBound(bound)
				if p := c.Promise(); p > c.Bound() {
					t.Errorf("promise %s above the bound", p)
				}
			}
		})
	}
	wg.Wait()
	var all []Timestamp
	for _, g := range given {
		if !slices.IsSorted(g) {
			t.Error("one goroutine saw the clock run back")
		}
		all = append(all, g...)
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != workers*each {
		t.Error("a timestamp was given twice")
	}
}

func BenchmarkNow(b *testing.B) {
	c := NewClock(time.Now, 0)
	b.ReportAllocs()
	for b.Loop() {
		c.Now()
	}
}
