package controlplane

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/streams/repair"
)

// background is the comparison in the background of one region.
type background struct {
	*repair.Background
	stop func()

	mu       sync.Mutex
	passes   []repair.Pass
	feeds    int // passes over conflict feeds
	diverged int // keys that events told of
	failed   []error
	tables   map[string]int // that have diverged, by region
}

func (n *node) compare(every time.Duration, bytesPerSecond int64) *background {
	n.w.t.Helper()
	b := &background{tables: map[string]int{}}
	locked := func(f func()) {
		b.mu.Lock()
		defer b.mu.Unlock()
		f()
	}
	var err error
	b.Background, err = repair.NewBackground(repair.BackgroundConfig{Verifier: n.verify, Every: every, BytesPerSecond: bytesPerSecond, Events: repair.BackgroundEvents{
		Ended: func(t *globaltable.Table, _ string, p repair.Pass) {
			locked(func() {
				if t.ID.IsFeed() {
					b.feeds++
				} else {
					b.passes = append(b.passes, p)
				}
			})
		},
		Diverged: func(_ *globaltable.Table, _ string, keys, _ int) { locked(func() { b.diverged += keys }) },
		Failed:   func(_ *globaltable.Table, _ string, err error) { locked(func() { b.failed = append(b.failed, err) }) },
		Known:    func(region string, diverged int) { locked(func() { b.tables[region] = diverged }) },
	}})
	if err != nil {
		n.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			n.w.t.Error(err)
		}
	}
	return b
}

// seen returns the last pass and how many there were, how many keys and tables have diverged.
func (b *background) seen(region string) (last repair.Pass, passes, keys, tables int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.passes) > 0 {
		last = b.passes[len(b.passes)-1]
	}
	return last, len(b.passes), b.diverged, b.tables[region]
}

// filled makes a table of two regions with so many items, everywhere.
func (w *world) filled(items int) *globaltable.Table {
	w.t.Helper()
	table := w.make("orders", "eu", "us")
	for i := range items {
		if err := w.nodes["eu"].write(table.ID, itemName(i), false); err != nil {
			w.t.Fatal(err)
		}
	}
	w.settle()
	return table
}

// TestBackgroundFindsWhatIsPlanted: a record changed behind a store's back is found within two rounds, shown until it is healed, and not healed by that; what is on its way is no divergence.
func TestBackgroundFindsWhatIsPlanted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us := w.nodes["eu"], w.nodes["us"]
		table := w.filled(200)
		const every = 10 * time.Minute
		b := eu.compare(every, 1<<20)
		defer b.stop()
		w.pass(every)
		if p, n, keys, _ := b.seen("us"); n != 1 || keys != 0 || p.State != repair.Converged || p.Bytes == 0 {
			t.Errorf("%d passes, %+v", n, p)
		}
		if err := us.write(table.ID, "new", false); err != nil { // and not carried
			t.Fatal(err)
		}
		w.pass(every)
		if p, n, keys, _ := b.seen("us"); n != 2 || keys != 0 || p.State != repair.InFlight || p.InFlight != 1 {
			t.Errorf("%d passes, %+v", n, p)
		}
		w.settle()
		us.plant(table.ID, itemName(10), func([]byte) []byte { return nil })
		eu.plant(table.ID, itemName(11), rotted(t, table.ID, itemName(11)))
		w.pass(every)
		p, n, keys, tables := b.seen("us")
		if n != 3 || keys != 2 || p.State != repair.Diverged || p.Keys != 2 || tables != 1 {
			t.Errorf("%d passes, %d keys, %d tables, %+v", n, keys, tables, p)
		}
		if got := b.State(table.ID); len(got) != 1 || got[0].Region != "us" || got[0].Diverged == nil || got[0].Last == nil || got[0].Last.State != repair.Diverged {
			t.Errorf("%+v", got)
		}
		report, err := eu.verify.Verify(t.Context(), table.ID)
		if err != nil || report.State != repair.Diverged || report.Replicas[0].Keys != 2 {
			t.Errorf("it has healed something: %+v, %v", report, err)
		}
		if report, err = eu.verify.Repair(t.Context(), table.ID); err != nil || report.State != repair.Converged {
			t.Fatalf("%+v, %v", report, err)
		}
		b.Compared(table.ID, report)
		if got := b.State(table.ID); got[0].Diverged != nil {
			t.Errorf("%+v", got)
		}
		w.pass(every)
		if p, _, keys, tables := b.seen("us"); keys != 2 || tables != 0 || p.State != repair.Converged {
			t.Errorf("%d keys, %d tables, %+v", keys, tables, p)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.feeds != len(b.passes) {
			t.Errorf("the feed was compared %d times, the table %d times", b.feeds, len(b.passes))
		}
	}, "eu", "us")
}

// TestBackgroundIsGentle: it reads no faster than it may on either side, whatever its interval; and whoever asks for a comparison gets it at once.
func TestBackgroundIsGentle(t *testing.T) {
	for name, c := range map[string]struct{ ours, theirs int64 }{"here": {200, 0}, "there": {0, 200}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				eu, us := w.nodes["eu"], w.nodes["us"]
				table := w.filled(200)
				us.server.LimitBackground(c.theirs)
				began := time.Now()
				b := eu.compare(time.Millisecond, c.ours)
				defer b.stop()
				w.pass(5 * time.Second)
				asked := time.Now()
				if report, err := eu.verify.Verify(t.Context(), table.ID); err != nil || report.State != repair.Converged {
					t.Errorf("%+v, %v", report, err)
				}
				if took := time.Since(asked); took > 0 {
					t.Errorf("who asked waited for %v", took)
				}
				for passes := 0; passes < 3; _, passes, _, _ = b.seen("us") {
					w.pass(time.Second)
				}
				took := time.Since(began).Seconds()
				var read int64
				b.mu.Lock()
				defer b.mu.Unlock()
				for _, p := range b.passes {
					read += p.Bytes
				}
				if rate := float64(read) / took; rate > 220 || rate < 100 {
					t.Errorf("%d bytes in %.0f s: %.0f a second", read, took, rate)
				}
				if len(b.failed) > 0 && c.theirs == 0 {
					t.Error(b.failed)
				}
			}, "eu", "us")
		})
	}
}

// TestBackgroundWaitsForJoins: while a replica is on its way in nothing is compared, and it is said why; a region out of reach holds nothing up.
func TestBackgroundWaitsForJoins(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu := w.nodes["eu"]
		table := w.filled(50)
		w.setCut("eu-us", true)
		const every = 10 * time.Minute
		b := eu.compare(every, 0)
		defer b.stop()
		w.pass(every / 2)
		if p, n, _, _ := b.seen("us"); n != 1 || p.State != repair.NotCompared || p.Detail != "us is out of reach" {
			t.Errorf("%d passes, %+v", n, p)
		}
		w.setCut("eu-us", false)
		w.setCut("ap", true)
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Create: []string{"ap"}}); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * every)
		if _, n, _, _ := b.seen("us"); n != 1 {
			t.Errorf("%d passes", n)
		}
		if got := b.State(table.ID); len(got) != 1 || got[0].Paused == "" {
			t.Errorf("%+v", got)
		}
		w.setCut("ap", false)
		w.until("the replica is there", func() bool { return len(b.State(table.ID)) == 2 && b.State(table.ID)[0].Paused == "" })
		w.settle()
		w.pass(2 * every)
		for _, c := range b.State(table.ID) {
			if c.Last == nil || c.Last.State != repair.Converged {
				t.Errorf("%+v", c)
			}
		}
	}, "eu", "us", "ap")
}
