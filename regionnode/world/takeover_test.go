package world

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestTriggerTakeoverTellsLittleAgain: a region that fires is cut off under a load. Who takes over tells again only what was told shortly before.
func TestTriggerTakeoverTellsLittleAgain(t *testing.T) {
	w, h := runWorld(t, triggersConfig(t)), newHook(t)
	w.makeTable(us, eu, ap)
	w.stream(us, eu, ap)
	w.applyTrigger(us, "index", webhookTo(h, ", fire: one, batch: {size: 10, window: 1ms}"), eu, ap)
	w.until("the first one fires", func() bool { return slices.Equal(w.fires("index"), []string{ap}) })
	var mu sync.Mutex
	at := map[string]time.Time{}
	tell := func(region string, i int) {
		name := fmt.Sprint("insert ", region, i, " x")
		mu.Lock()
		at[name] = time.Now()
		mu.Unlock()
		w.put(region, fmt.Sprint(region, i), "x")
		w.until("it is told", func() bool { return h.names()[name] > 0 })
	}
	const before, after = 200, 20
	load := func(from, to int) {
		var writers sync.WaitGroup
		for _, region := range []string{us, eu} {
			writers.Go(func() {
				for i := from; i < to; i++ {
					tell(region, i) // as fast as it is told
				}
			})
		}
		writers.Wait()
	}
	began := time.Now()
	load(0, before)
	for n := before; time.Since(began) < 4*time.Second; n++ { // a beat is a second
		load(n+1000, n+1001)
	}
	w.Cut(ap)
	cut := time.Now()
	load(before, before+after)
	w.Heal(ap)
	w.until("the first one fires alone again", func() bool { return slices.Equal(w.fires("index"), []string{ap}) })
	load(before+after, before+2*after)
	events, again := h.told()
	seen, oldest := map[string]bool{}, time.Duration(0)
	for _, e := range events {
		if seen[e.ID] {
			oldest = max(oldest, cut.Sub(at[e.name()]))
		}
		seen[e.ID] = true
	}
	t.Logf("%d of %d events were told again, the oldest %v before the cut; written in %v", again, len(seen), oldest, cut.Sub(began))
	if oldest > cut.Sub(began)/2 {
		t.Error("the region that took over had not heard how far the first one was")
	}
	h.ordered()
}
