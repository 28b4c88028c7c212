package confirm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/confirm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lane globaltable.LaneID = 7

var peers = globaltable.NewPlacement(2, 3)

func tracker(t testing.TB, change func(*confirm.Config)) *confirm.Tracker {
	t.Helper()
	cfg := confirm.Config{Region: "us-east-1"}
	if change != nil {
		change(&cfg)
	}
	tr, err := confirm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func need(seq uint64, count int) []confirm.Need {
	return []confirm.Need{{Lane: lane, Seq: seq, Peers: peers, Count: count}}
}

// waiting is a Wait that runs.
type waiting struct {
	done atomic.Bool
	err  error
}

func begin(ctx context.Context, tr *confirm.Tracker, needs []confirm.Need) *waiting {
	w := new(waiting)
	go func() {
		w.err = tr.Wait(ctx, needs)
		w.done.Store(true)
	}()
	synctest.Wait()
	return w
}

func (w *waiting) expect(t *testing.T, done bool) {
	t.Helper()
	synctest.Wait()
	if w.done.Load() != done || done && w.err != nil {
		t.Errorf("done %v, %v; want %v", w.done.Load(), w.err, done)
	}
}

func (w *waiting) expectUnknown(t *testing.T, text string) {
	t.Helper()
	synctest.Wait()
	var g *globaltable.Error
	if !w.done.Load() || !errors.As(w.err, &g) || g.Kind != globaltable.Unknown || g.Message != text {
		t.Errorf("done %v, %v; want %s", w.done.Load(), w.err, text)
	}
}

func TestPeersThatCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, nil)
		one, two := begin(t.Context(), tr, need(5, 1)), begin(t.Context(), tr, need(5, 2))
		tr.Confirmed(4, lane, 9) // counts for nobody
		tr.Confirmed(2, lane, 4) // not so far
		tr.Confirmed(2, lane+1, 9)
		one.expect(t, false)
		tr.Confirmed(2, lane, 6)
		one.expect(t, true)
		two.expect(t, false)
		tr.Confirmed(2, lane, 7) // the same peer again is no second one
		two.expect(t, false)
		tr.Confirmed(3, lane, 5)
		two.expect(t, true)
		tr.Confirmed(2, lane, 1) // never falls
		begin(t.Context(), tr, need(5, 2)).expect(t, true)
		begin(t.Context(), tr, need(7, 1)).expect(t, true)
		if err := tr.Wait(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// TestVoided: who waits for an entry that loses what was in it hears that its outcome is not known, then and later; a later entry is waited for as ever.
func TestVoided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, nil)
		four, six := begin(t.Context(), tr, need(4, 1)), begin(t.Context(), tr, need(6, 1))
		tr.Voided(lane, 5)
		const text = "The write is durable in us-east-1, and 0 of the 1 peers that the table asks for confirmed it before a locality policy changed where the item may be. Its outcome is unknown to the client: it may still reach the other regions"
		four.expectUnknown(t, text)
		six.expect(t, false)
		begin(t.Context(), tr, need(5, 1)).expectUnknown(t, text)
		tr.Confirmed(2, lane, 7)
		six.expect(t, true)
		begin(t.Context(), tr, need(5, 1)).expectUnknown(t, strings.Replace(text, "0 of", "1 of", 1))
		begin(t.Context(), tr, need(7, 1)).expect(t, true)
	})
}

// TestAllEntries: a batch waits for each of its entries.
func TestAllEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, nil)
		w := begin(t.Context(), tr, []confirm.Need{
			{Lane: lane, Seq: 2, Peers: peers, Count: 1}, {Lane: lane + 1, Seq: 8, Peers: peers, Count: 1}, {Lane: lane, Seq: 9, Peers: peers, Count: 1}})
		tr.Confirmed(3, lane+1, 8)
		w.expect(t, false)
		tr.Confirmed(2, lane, 2)
		w.expect(t, false)
		tr.Confirmed(3, lane, 9)
		w.expect(t, true)
	})
}

func TestEndsWithoutThePeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []string
		var mu sync.Mutex
		tr := tracker(t, func(c *confirm.Config) {
			c.Timeout = 3 * time.Second
			c.Waited = func(took time.Duration, confirmed bool) {
				mu.Lock()
				defer mu.Unlock()
				waits = append(waits, fmt.Sprint(took, " ", confirmed))
			}
		})
		const text = "The write is durable in us-east-1, and %s confirmed it %s. Its outcome is unknown to the client: it may still reach the other regions"
		late := begin(t.Context(), tr, need(5, 2))
		tr.Confirmed(2, lane, 5)
		time.Sleep(3*time.Second - 1)
		late.expect(t, false)
		time.Sleep(time.Nanosecond)
		late.expectUnknown(t, fmt.Sprintf(text, "1 of the 2 peers that the table asks for", "in time"))

		ctx, cancel := context.WithCancel(t.Context())
		gone := begin(ctx, tr, need(6, 1))
		cancel()
		gone.expectUnknown(t, fmt.Sprintf(text, "0 of the 1 peers that the table asks for", "before the request ended"))

		stopped := begin(t.Context(), tr, need(6, 1))
		tr.Close()
		stopped.expectUnknown(t, fmt.Sprintf(text, "0 of the 1 peers that the table asks for", "before it stopped"))
		begin(t.Context(), tr, need(6, 1)).expectUnknown(t, fmt.Sprintf(text, "0 of the 1 peers that the table asks for", "before it stopped"))
		// What was confirmed is confirmed.
		begin(t.Context(), tr, need(5, 1)).expect(t, true)
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(waits, ", "); got != "3s false, 0s false, 0s false, 0s false, 0s true" {
			t.Error(got)
		}
	})
}

func TestNoMoreThanMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, func(c *confirm.Config) { c.MaxWaiting = 2 })
		for seq := range uint64(2) {
			if err := tr.Ready(); err != nil {
				t.Error(err)
			}
			defer begin(t.Context(), tr, need(seq+1, 1)).expect(t, true)
		}
		if err := tr.Ready(); globaltable.KindOf(err) != globaltable.LimitExceeded || !strings.Contains(err.Error(), "2 writes wait") {
			t.Error(err)
		}
		tr.Confirmed(2, lane, 2)
		synctest.Wait()
		if err := tr.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestConfigNamesAllFaults(t *testing.T) {
	_, err := confirm.New(confirm.Config{Timeout: -1})
	for _, want := range []string{"no region", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
}

// TestManyWritersAndPeers: whatever the order in which writers come, give up, and peers confirm, nobody is answered before enough peers have confirmed, and everybody
// whose peers have.
func TestManyWritersAndPeers(t *testing.T) {
	tr := tracker(t, func(c *confirm.Config) { c.Timeout = time.Minute })
	const writes = 400
	var confirmed [4]atomic.Uint64
	var group sync.WaitGroup
	for _, o := range []hlc.Origin{1, 2, 3} {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(o), 1))
			for at := uint64(0); at < writes; {
				at = min(writes, at+1+random.Uint64N(9))
				confirmed[o].Store(at)
				tr.Confirmed(o, lane, at)
			}
		})
	}
	for n := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 2))
			for range writes {
				want := confirm.Need{Lane: lane, Seq: 1 + random.Uint64N(writes), Peers: globaltable.NewPlacement(1, 2, 3), Count: 1 + random.IntN(3)}
				ctx, cancel := context.WithCancel(t.Context())
				impatient := random.IntN(4) == 0
				if impatient {
					cancel() // gives up at once, met or not
				}
				err := tr.Wait(ctx, []confirm.Need{want})
				cancel()
				have := 0
				for i := range confirmed {
					if confirmed[i].Load() >= want.Seq {
						have++
					}
				}
				if err == nil && have < want.Count {
					t.Errorf("answered with %d of %d peers", have, want.Count)
				}
				if err != nil && !impatient {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkWait(b *testing.B) {
	tr := tracker(b, nil)
	b.ReportAllocs()
	n := make([]confirm.Need, 1)
	for i := range uint64(b.N) {
		n[0] = confirm.Need{Lane: lane, Seq: i + 1, Peers: peers, Count: 1}
		go tr.Confirmed(2, lane, i+1)
		if err := tr.Wait(context.Background(), n); err != nil {
			b.Fatal(err)
		}
	}
}
