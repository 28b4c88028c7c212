package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/concordat-db/concordat/regionnode/store"
)

// disk is a file system whose free space is what the test says.
type disk struct {
	vfs.FS
	free, total uint64
	err         error
}

func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free, TotalBytes: d.total}, d.err
}

func TestWatchdogRefusesEarlyAndDoesNotFlap(t *testing.T) {
	d := &disk{FS: vfs.NewMem(), total: 100 << 30, free: 50 << 30}
	var seen []store.DiskSpace
	w, err := store.NewWatchdog(store.WatchdogConfig{Dir: "data", FS: d, Ticks: make(chan time.Time),
		Changed: func(s store.DiskSpace) { seen = append(seen, s) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name    string
		free    uint64
		err     error
		changes int
		low     bool
	}{
		{"room", 6 << 30, nil, 0, false},
		{"below 5 percent", 5<<30 - 1, nil, 1, true},
		{"still below", 4 << 30, nil, 1, true},
		{"back, but not by a quarter", 5<<30 + 1, nil, 1, true},
		{"back", 7 << 30, nil, 2, false},
		{"unreadable", 50 << 30, errors.New("input/output error"), 3, true},
		{"readable", 50 << 30, nil, 4, false},
	} {
		d.free, d.err = step.free, step.err
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w.Run(ctx); err != nil { // one look
			t.Fatal(err)
		}
		if len(seen) != step.changes {
			t.Fatalf("%s: %d changes, want %d", step.name, len(seen), step.changes)
		}
		if n := len(seen); n > 0 && seen[n-1].Low != step.low {
			t.Fatalf("%s: low is %v", step.name, seen[n-1].Low)
		}
	}
	if m := seen[0].Message(); !strings.Contains(m, "disk almost full") || !strings.Contains(m, "5119 MiB free") {
		t.Errorf("message: %s", m)
	}
}

func TestWatchdogLimits(t *testing.T) {
	for _, c := range []struct {
		name    string
		total   uint64
		bytes   int64
		percent int
		want    uint64
	}{
		{"default on a large disk", 100 << 30, 0, 0, 100 << 30 / 100 * 5},
		{"default on a medium disk", 10 << 30, 0, 0, 1 << 30},
		{"default on a small disk", 1 << 30, 0, 0, 1 << 28},
		{"bytes only", 100 << 30, 1 << 20, -1, 1 << 20},
		{"percent only", 100 << 30, -1, 10, 100 << 30 / 100 * 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got store.DiskSpace
			w, err := store.NewWatchdog(store.WatchdogConfig{Dir: "data", FS: &disk{FS: vfs.NewMem(), total: c.total},
				Ticks: make(chan time.Time), Changed: func(s store.DiskSpace) { got = s }, MinFreeBytes: c.bytes, MinFreePercent: c.percent})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := w.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if got.LimitBytes != c.want {
				t.Errorf("limit %d, want %d", got.LimitBytes, c.want)
			}
		})
	}
}

func TestWatchdogLooksAtTicks(t *testing.T) {
	d := &disk{FS: vfs.NewMem(), total: 100 << 30, free: 1}
	ticks := make(chan time.Time)
	changed := make(chan store.DiskSpace)
	w, err := store.NewWatchdog(store.WatchdogConfig{Dir: "data", FS: d, Ticks: ticks, Changed: func(s store.DiskSpace) { changed <- s }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	if s := <-changed; !s.Low {
		t.Error("low space is not reported at the start")
	}
	d.free = 50 << 30 // the watchdog waits for the tick
	ticks <- time.Time{}
	if s := <-changed; s.Low {
		t.Error("the end of low space is not reported")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWatchdogShowsEachLook(t *testing.T) {
	d := &disk{FS: vfs.NewMem(), total: 100 << 30, free: 50 << 30}
	var free []uint64
	changes := 0
	w, err := store.NewWatchdog(store.WatchdogConfig{Dir: "data", FS: d, Ticks: make(chan time.Time),
		Seen: func(s store.DiskSpace) { free = append(free, s.FreeBytes) }, Changed: func(store.DiskSpace) { changes++ }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w.Run(ctx); err != nil { // one look
			t.Fatal(err)
		}
		d.free -= 10 << 30
	}
	if want := []uint64{50 << 30, 40 << 30}; !slices.Equal(free, want) || changes != 0 {
		t.Errorf("seen %v with %d changes, want %v without any", free, changes, want)
	}
}

func TestWatchdogConfig(t *testing.T) {
	_, err := store.NewWatchdog(store.WatchdogConfig{MinFreePercent: 100})
	for _, want := range []string{"no directory", "no ticks", "no callback", "100 percent"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %q", err, want)
		}
	}
}
