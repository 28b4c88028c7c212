package bench

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// samples gathers latencies. It may be used by several goroutines.
type samples struct {
	mu  sync.Mutex
	all []uint32 // microseconds
}

func (s *samples) add(d ...time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range d {
		s.all = append(s.all, micros(d))
	}
}

// join adds those of a worker.
func (s *samples) join(all []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, all...)
}

// micros rounds up, so that nothing took no time.
func micros(d time.Duration) uint32 {
	return uint32(max(1, min((d+time.Microsecond-1)/time.Microsecond, 1<<32-1)))
}

// quantiles returns the latency that half of the operations, and 99 of 100, did not exceed, in milliseconds; nil if there were no operations.
func (s *samples) quantiles() (p50, p99 *float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return nil, nil
	}
	slices.Sort(s.all)
	at := func(percent int) *float64 {
		rank := (len(s.all)*percent + 99) / 100 // nearest rank, from 1
		ms := float64(s.all[rank-1]) / 1000
		return &ms
	}
	return at(50), at(99)
}

// load runs workers, each of which does one operation after the other, one at least, until d is over, limit operations have begun (0: no limit), one
// fails, or ctx is done. op gets the number of the worker and that of the operation, from 0 on and dense.
func load(ctx context.Context, workers int, d time.Duration, limit int64, op func(worker int, i int64) error) (*samples, error) {
	all := &samples{}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	deadline := time.Now().Add(d)
	for w := range workers {
		group.Go(func() error {
			var mine []uint32
			defer func() { all.join(mine) }()
			for began := time.Now(); ctx.Err() == nil && (mine == nil || began.Before(deadline)); {
				i := next.Add(1) - 1
				if limit > 0 && i >= limit {
					return nil
				}
				if err := op(w, i); err != nil {
					return err
				}
				now := time.Now()
				mine = append(mine, micros(now.Sub(began)))
				began = now
			}
			return ctx.Err()
		})
	}
	return all, group.Wait()
}

// meter measures what the whole process takes.
type meter struct {
	began time.Time
	cpu   time.Duration
	disk  int64 // bytes; negative: not known
}

func startMeter() meter { return meter{time.Now(), processorTime(), diskWritten()} }

// figures returns the figures of n operations since the meter was started. alone says that what the process took was for them.
func (m meter) figures(n int64, s *samples, alone bool) Figures {
	f := Figures{Operations: n, Seconds: time.Since(m.began).Seconds()}
	f.PerSecond = float64(n) / f.Seconds
	if s != nil {
		f.P50Millis, f.P99Millis = s.quantiles()
	}
	if !alone || n == 0 {
		return f
	}
	cpu := float64((processorTime() - m.cpu).Microseconds()) / float64(n)
	f.CPUMicros = &cpu
	if m.disk >= 0 {
		disk := float64(diskWritten()-m.disk) / float64(n)
		f.DiskBytes = &disk
	}
	return f
}

// processorTime returns what all threads of the process have used.
func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0 // it fails for a wrong argument only
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// diskWritten returns how many bytes the process has caused to be written to disks, negative where the system does not tell.
func diskWritten() int64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return -1
	}
	for line := range bytes.Lines(b) {
		if text, ok := bytes.CutPrefix(line, []byte("write_bytes:")); ok {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
