package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Defaults of a Watchdog.
const (
	defaultMinFreeBytes   = 1 << 30
	defaultMinFreePercent = 5
)

// WatchdogConfig says what a watchdog looks at.
type WatchdogConfig struct {
	Dir string
	FS  vfs.FS // nil: the machine's
	// Ticks says when to look, for example the channel of a time.Ticker of about a second.
	Ticks <-chan time.Time
	// Changed is called by Run at the first look if space is low, and whenever that changes.
	Changed func(DiskSpace)
	// Seen is called by Run at each look, before Changed. May be nil.
	Seen func(DiskSpace)
	// MinFreeBytes and MinFreePercent (0 to 99) are the limit: space is low when less than the greater of the two is free. Zero bytes and percent
	// mean 1 GiB and 5 percent, but on a small disk never more than a quarter of it. A negative value switches one off.
	MinFreeBytes   int64
	MinFreePercent int
}

// DiskSpace is what a watchdog has seen.
type DiskSpace struct {
	Low        bool
	FreeBytes  uint64
	TotalBytes uint64
	LimitBytes uint64 // Low begins below it, and ends a quarter above it
	Err        error  // the file system could not be asked: Low
}

// Message says for users what is wrong.
func (d DiskSpace) Message() string {
	if d.Err != nil {
		return "disk almost full or failing: its free space cannot be read; writes are refused"
	}
	return fmt.Sprintf("disk almost full: %d MiB free of %d MiB, writes are refused below %d MiB",
		d.FreeBytes>>20, d.TotalBytes>>20, d.LimitBytes>>20)
}

// Validate reports all faults at once.
func (c *WatchdogConfig) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("watchdog: no directory"))
	}
	if c.Ticks == nil {
		errs = append(errs, errors.New("watchdog: no ticks"))
	}
	if c.Changed == nil {
		errs = append(errs, errors.New("watchdog: no callback"))
	}
	if c.MinFreePercent > 99 {
		errs = append(errs, fmt.Errorf("watchdog: minimum of %d percent free: at most 99", c.MinFreePercent))
	}
	return errors.Join(errs...)
}

// Watchdog looks at the free space of the data directory, so that writes can be refused with a clear error while the store
// can still flush and compact. A full disk would end the process, and keep it from starting again.
type Watchdog struct {
	c   WatchdogConfig
	low bool
}

// NewWatchdog returns a watchdog. It does nothing until Run.
func NewWatchdog(c WatchdogConfig) (*Watchdog, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	return &Watchdog{c: c}, nil
}

// Run looks at once and then at every tick, until ctx is done. It returns nil.
func (w *Watchdog) Run(ctx context.Context) error {
	for {
		w.look()
		select {
		case <-ctx.Done():
			return nil
		case <-w.c.Ticks:
		}
	}
}

func (w *Watchdog) look() {
	d := w.measure()
	if w.c.Seen != nil {
		w.c.Seen(d)
	}
	if d.Low != w.low {
		w.low = d.Low
		w.c.Changed(d)
	}
}

// measure decides with hysteresis: a disk that hovers at the limit does not flap.
func (w *Watchdog) measure() DiskSpace {
	usage, err := w.c.FS.GetDiskUsage(w.c.Dir)
	if err != nil {
		return DiskSpace{Low: true, Err: err}
	}
	d := DiskSpace{FreeBytes: usage.AvailBytes, TotalBytes: usage.TotalBytes, LimitBytes: w.limit(usage.TotalBytes)}
	need := d.LimitBytes
	if w.low {
		need += need / 4
	}
	d.Low = d.FreeBytes < need
	return d
}

func (w *Watchdog) limit(total uint64) uint64 {
	var limit uint64
	switch b := w.c.MinFreeBytes; {
	case b > 0:
		limit = uint64(b)
	case b == 0:
		limit = min(defaultMinFreeBytes, total/4)
	}
	switch p := w.c.MinFreePercent; {
	case p > 0:
		limit = max(limit, total/100*uint64(p))
	case p == 0:
		limit = max(limit, total/100*defaultMinFreePercent)
	}
	return limit
}
