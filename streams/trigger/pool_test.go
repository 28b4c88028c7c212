package trigger

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestPool has a pool deliver events by chance, and looks at all times whether it keeps its word.
func TestPool(t *testing.T) { rapid.Check(t, func(t *rapid.T) { checkPool(t) }) }

func checkPool(t *rapid.T) {
	cfg := PoolConfig{Size: rapid.IntRange(1, 4).Draw(t, "size"), Window: time.Duration(rapid.IntRange(0, 3).Draw(t, "window")) * time.Second,
		Parallel: rapid.IntRange(1, 3).Draw(t, "parallel"), Attempts: rapid.IntRange(1, 3).Draw(t, "attempts"), First: time.Second, Most: 3 * time.Second, Random: func() float64 { return 0.5 }}
	pool, now := NewPool(cfg, 0), time.Unix(1_000_000, 0)
	type known struct {
		key   string
		dealt bool
	}
	var added []known // by position, from 1
	var running []*Batch
	keys := map[string]hlc.Timestamp{} // the greatest position that was dealt with
	dealt := func(b *Batch) {
		pool.Dealt(b)
		for _, e := range b.Events {
			added[e.Position-1].dealt = true
			if keys[string(e.Key)] >= e.Position {
				t.Fatalf("%d of a key is dealt with after %d", e.Position, keys[string(e.Key)])
			}
			keys[string(e.Key)] = e.Position
		}
	}
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch rapid.IntRange(0, 4).Draw(t, "step") {
		case 0:
			if pool.Room() {
				key := fmt.Sprint("k", rapid.IntRange(0, 3).Draw(t, "key"))
				added = append(added, known{key: key})
				pool.Add(Event{Position: hlc.Timestamp(len(added)), Key: item.Key(key), JSON: []byte("{}")}, now)
			}
		case 1, 2:
			wake := pool.Wake()
			b := pool.Next(now)
			if b == nil {
				if !wake.IsZero() && !wake.After(now) {
					t.Fatal("it wakes for nothing")
				}
				continue
			}
			if wake.After(now) || wake.IsZero() {
				t.Fatalf("a batch of attempt %d before it was due", b.Attempt)
			}
			if len(running) >= cfg.Parallel || len(b.Events) > cfg.Size {
				t.Fatal("too much at once")
			}
			for _, r := range running {
				for _, e := range r.Events {
					for _, x := range b.Events {
						if string(e.Key) == string(x.Key) {
							t.Fatal("a key is in two batches at once")
						}
					}
				}
			}
			running = append(running, b)
		case 3:
			if len(running) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(running)-1).Draw(t, "which")
			b := running[i]
			running = append(running[:i], running[i+1:]...)
			if rapid.Bool().Draw(t, "fails") && pool.Failed(b, 0, now) {
				if b.Attempt >= cfg.Attempts {
					t.Fatal("one attempt too many")
				}
				continue
			}
			dealt(b)
		case 4:
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
		}
		least := hlc.Timestamp(len(added))
		for i, a := range added {
			if !a.dealt {
				least = hlc.Timestamp(i)
				break
			}
		}
		if got := pool.Position(); got != least {
			t.Fatalf("it is at %d; all is dealt with up to %d", got, least)
		}
	}
	// All of it ends, if the target takes it.
	for range 10 * len(added) {
		for _, b := range running {
			dealt(b)
		}
		running = nil
		now = now.Add(time.Minute)
		for b := pool.Next(now); b != nil; b = pool.Next(now) {
			running = append(running, b)
		}
	}
	if pool.Position() != hlc.Timestamp(len(added)) || pool.Held() != 0 || pool.Running() != 0 || pool.bytes != 0 || len(pool.locked) != 0 {
		t.Fatalf("at %d of %d, %d held, %d bytes", pool.Position(), len(added), pool.Held(), pool.bytes)
	}
}

// TestPoolGoesOnAroundAFailingKey: what fails holds back its own keys only, and the pool is bounded all the same.
func TestPoolGoesOnAroundAFailingKey(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	pool := NewPool(PoolConfig{Size: 1, Parallel: 1, Attempts: 100, First: time.Hour, Most: time.Hour, Random: func() float64 { return 0 }}, 0)
	added, delivered := 0, 0
	for i := range 10_000 {
		if pool.Room() {
			added++
			pool.Add(Event{Position: hlc.Timestamp(i + 1), Key: item.Key(fmt.Sprint(i % 10)), JSON: []byte("{}")}, now)
		}
		for b := pool.Next(now); b != nil; b = pool.Next(now) {
			if string(b.Events[0].Key) == "0" {
				if !pool.Failed(b, 0, now) {
					t.Fatal("it is given up")
				}
				continue
			}
			pool.Dealt(b)
			delivered++
		}
	}
	if pool.Position() != 0 || pool.Room() || delivered < 2000 || pool.Held() != added-delivered || pool.Held() > 256 {
		t.Errorf("at %d, %d delivered, %d held", pool.Position(), delivered, pool.Held())
	}
}

func TestPoolDelays(t *testing.T) {
	p := NewPool(PoolConfig{First: time.Second, Most: 10 * time.Second, Random: func() float64 { return 0.999999 }}, 0)
	for attempt, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 90: 10 * time.Second} {
		if got := p.delay(attempt, 0); got < want-time.Millisecond || got > want {
			t.Errorf("after attempt %d: %v, not %v", attempt, got, want)
		}
	}
	if got := p.delay(1, 5*time.Second); got != 5*time.Second {
		t.Errorf("%v after being asked for 5s", got)
	}
	if got := p.delay(1, time.Hour); got != 10*time.Second {
		t.Errorf("%v after being asked for an hour", got)
	}
}

// crashes delivers a hundred events through pools that crash by chance, each begun where the one before was, and returns how many were not delivered, and how often one of a key was delivered first after a later one.
func crashes(seed uint64) (omitted, disordered int) {
	const events = 100
	r, now := rand.New(rand.NewPCG(seed, 2)), time.Unix(1_000_000, 0)
	cfg := PoolConfig{Size: 1 + r.IntN(5), Parallel: 1 + r.IntN(3), Attempts: 1000, First: time.Second, Most: time.Second, Random: r.Float64}
	key := func(at hlc.Timestamp) int { return int(at) % 7 }
	delivered, newest := map[hlc.Timestamp]bool{}, map[int]hlc.Timestamp{}
	pool, stored := NewPool(cfg, 0), hlc.Timestamp(0)
	for steps := 0; pool.Position() < events && steps < 100_000; steps++ {
		now = now.Add(100 * time.Millisecond)
		for pool.Read() < events && pool.Room() && r.IntN(3) > 0 {
			at := pool.Read() + 1
			pool.Add(Event{Position: at, Key: item.Key{byte(key(at))}}, now)
		}
		for b := pool.Next(now); b != nil; b = pool.Next(now) {
			if r.IntN(3) == 0 {
				pool.Failed(b, 0, now)
				continue
			}
			for _, e := range b.Events {
				if !delivered[e.Position] && newest[key(e.Position)] > e.Position {
					disordered++
				}
				delivered[e.Position] = true
				newest[key(e.Position)] = max(newest[key(e.Position)], e.Position)
			}
			if r.IntN(4) > 0 { // else it is still under way, for who looks
				pool.Dealt(b)
			}
		}
		if r.IntN(2) == 0 {
			stored = pool.Position()
		}
		if r.IntN(10) == 0 || pool.Running() == cfg.Parallel {
			pool = NewPool(cfg, stored)
		}
	}
	return events - len(delivered), disordered
}

func TestCrashesOmitNothing(t *testing.T) {
	for seed := range uint64(300) {
		if omitted, disordered := crashes(seed); omitted+disordered > 0 {
			t.Fatalf("seed %d: %d were not delivered, %d out of order", seed, omitted, disordered)
		}
	}
}
