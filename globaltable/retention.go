package globaltable

import (
	"cmp"
	"time"
)

// Retention bounds what a table keeps of something. Zero limits mean the defaults.
type Retention struct {
	Seconds int64 // from when it was written; at most MaxRetention
	Bytes   int64 // in each region, about; what is over goes, the oldest first
}

// The bounds and defaults of retention.
const (
	DefaultConflictAge   = 7 * 24 * time.Hour
	DefaultConflictBytes = 64 << 20
	MinRetention         = time.Minute
	MaxRetention         = 366 * 24 * time.Hour
	MinRetentionBytes    = 1 << 20
	MaxRetentionBytes    = 1 << 40
)

// Age is how long conflicts are listed.
func (r Retention) Age() time.Duration {
	return time.Duration(cmp.Or(r.Seconds, int64(DefaultConflictAge/time.Second))) * time.Second
}

// Size is how many bytes of conflicts are kept.
func (r Retention) Size() int64 { return cmp.Or(r.Bytes, DefaultConflictBytes) }

// valid reports whether the limits are in their ranges.
func (r Retention) valid() bool {
	age := time.Duration(r.Seconds) * time.Second
	return (r.Seconds == 0 || age >= MinRetention && r.Seconds <= int64(MaxRetention/time.Second)) &&
		(r.Bytes == 0 || r.Bytes >= MinRetentionBytes && r.Bytes <= MaxRetentionBytes)
}
