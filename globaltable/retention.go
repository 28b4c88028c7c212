package globaltable

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Retention bounds what a table keeps of something, in each region. Zero limits mean the defaults of what it is: see Kept.
type Retention struct {
	Seconds int64
	Bytes   int64 // about; what is over goes, the oldest first
}

// Kept is what a table keeps for a time, and up to a size: by which tags that is set, which limits there can be, and which there are by default. The tags' values are times and sizes as ParseAge and ParseSize read them, or RetentionDefault, which is as no tag.
type Kept struct {
	what             string // plural
	AgeTag, BytesTag string
	DefaultAge       time.Duration
	MaxAge           time.Duration // MinRetention at least
	DefaultBytes     int64
}

// What tables keep. Table.Conflicts and Table.Streams follow from the tags.
var (
	Conflicts     = &Kept{"conflicts", "concordat:conflict-age", "concordat:conflict-bytes", 7 * day, 366 * day, 64 << 20}
	StreamRecords = &Kept{"stream records", "concordat:stream-age", "concordat:stream-bytes", day, 35 * day, 8 << 30}
)

// RetentionDefault is the value of a tag, and of what sets one, that stands for the default.
const RetentionDefault = "default"

// The bounds of retention, whatever is kept.
const (
	MinRetention      = time.Minute
	MinRetentionBytes = 1 << 20
	MaxRetentionBytes = 1 << 40

	day = 24 * time.Hour
)

// Age is how long r says that something is kept.
func (k *Kept) Age(r Retention) time.Duration {
	return time.Duration(cmp.Or(r.Seconds, int64(k.DefaultAge/time.Second))) * time.Second
}

// Size is how many bytes of it r says that are kept, in each region.
func (k *Kept) Size(r Retention) int64 { return cmp.Or(r.Bytes, k.DefaultBytes) }

// faults says what is wrong with r.
func (k *Kept) faults(r Retention) error {
	if (r.Seconds == 0 || r.Seconds >= int64(MinRetention/time.Second) && r.Seconds <= int64(k.MaxAge/time.Second)) &&
		(r.Bytes == 0 || r.Bytes >= MinRetentionBytes && r.Bytes <= MaxRetentionBytes) {
		return nil
	}
	return fmt.Errorf("%s are kept for %v to %v, up to %d to %d bytes", k.what, MinRetention, k.MaxAge, MinRetentionBytes, int64(MaxRetentionBytes))
}

// ParseAge returns the seconds that a limit of age stands for; 0 for RetentionDefault. The error is of kind Invalid.
func (k *Kept) ParseAge(s string) (seconds int64, err error) {
	if s == RetentionDefault {
		return 0, nil
	}
	d, err := ParseAge(s)
	if err != nil || d < MinRetention || d > k.MaxAge || d%time.Second != 0 {
		return 0, notKnown("parse age", s, fmt.Sprintf("a time from %s to %s in whole seconds, like 30d or 36h, or %s", FormatAge(MinRetention), FormatAge(k.MaxAge), RetentionDefault))
	}
	return int64(d / time.Second), nil
}

// ParseBytes is ParseAge for a limit of size.
func (k *Kept) ParseBytes(s string) (bytes int64, err error) {
	if s == RetentionDefault {
		return 0, nil
	}
	if bytes, err = ParseSize(s); err != nil || bytes < MinRetentionBytes || bytes > MaxRetentionBytes {
		return 0, notKnown("parse size", s, fmt.Sprintf("a size from %s to %s, like 128MiB, or %s", FormatSize(MinRetentionBytes), FormatSize(MaxRetentionBytes), RetentionDefault))
	}
	return bytes, nil
}

// Tags returns the change of tags that gives a table the limits; empty texts stay as they are. untag is sorted. The error names all faults and is of kind Invalid.
func (k *Kept) Tags(age, bytes string) (tag map[string]string, untag []string, err error) {
	tag = map[string]string{}
	var faults []error
	for _, limit := range []struct {
		key, text, what string
		parse           func(string) (int64, error)
	}{{k.AgeTag, age, "age", k.ParseAge}, {k.BytesTag, bytes, "bytes", k.ParseBytes}} {
		if limit.text == "" {
			continue
		}
		_, err := limit.parse(limit.text)
		faults = append(faults, about(k.what+"' "+limit.what, err))
		if limit.text == RetentionDefault {
			untag = append(untag, limit.key)
		} else {
			tag[limit.key] = limit.text
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, &Error{Op: "limit " + k.what, Kind: Invalid, Message: oneLine(err)}
	}
	return tag, untag, nil
}

// ParseAge reads a time above zero: a whole number of days, like 30d, or what time.ParseDuration reads.
func ParseAge(s string) (time.Duration, error) {
	if digits, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(digits, 10, 64)
		if err == nil && n > 0 && n <= math.MaxInt64/uint64(day) {
			return time.Duration(n) * day, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is no time above zero, like 30d or 1h30m", clip(s))
}

// FormatAge writes a time as ParseAge reads it: whole days as such.
func FormatAge(d time.Duration) string {
	if d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	for _, none := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, none) {
			s = s[:len(s)-2]
		}
	}
	return s
}

var sizeUnits = []string{"KiB", "MiB", "GiB", "TiB"}

// ParseSize reads a number of bytes above zero, with a unit if need be: 512KiB, 64MiB, 8GiB, 1TiB.
func ParseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	for i, suffix := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = strings.TrimSpace(rest), int64(1)<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size above zero, like 1048576 or 64MiB", clip(s))
	}
	return n * unit, nil
}

// FormatSize writes a size exactly, as ParseSize reads it.
func FormatSize(n int64) string {
	unit := ""
	for _, next := range sizeUnits {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, next
	}
	return strconv.FormatInt(n, 10) + unit
}
