package bench

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
)

// The choice is as skewed as its definition: the first ranks have the share of 1/(i+1)^theta, and nothing is outside.
func TestZipfian(t *testing.T) {
	for _, items := range []int64{1, 2, 3, 10_000} {
		z := newZipfian(items, ycsbTheta)
		const draws = 200_000
		counts := make(map[int64]int)
		for range draws {
			rank := z.next()
			if rank < 0 || rank >= items {
				t.Fatalf("rank %d of %d", rank, items)
			}
			counts[rank]++
		}
		for rank := range min(items, 2) { // Gray's formula is exact for the first two
			want := draws / z.zeta / math.Pow(float64(rank+1), ycsbTheta)
			if got := float64(counts[rank]); math.Abs(got-want) > 6*math.Sqrt(want) {
				t.Errorf("rank %d of %d: %v times in %d, want %.0f", rank, items, got, draws, want)
			}
		}
	}
}

// Mixes are whole.
func TestWorkloads(t *testing.T) {
	for _, w := range workloads {
		if w.reads+w.updates+w.inserts+w.both != 100 {
			t.Errorf("%s is a mix of %d %%", w.name, w.reads+w.updates+w.inserts+w.both)
		}
	}
}

// Nobody reads an item whose insert has not been acknowledged.
func TestLatestIsAcknowledged(t *testing.T) {
	const workers, first = 8, 100
	u := &users{begun: make([]atomic.Int64, workers), popular: newZipfian(first, ycsbTheta)}
	u.next.Store(first)
	var done [first + workers*1000]atomic.Bool
	for i := range first {
		done[i].Store(true)
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for range 1000 {
				i := u.begin(w)
				done[i].Store(true) // the answer
				u.begun[w].Store(0)
				if at := u.choose(true); !done[at].Load() {
					t.Errorf("item %d is chosen and not there", at)
				}
			}
		})
	}
	all.Wait()
}
