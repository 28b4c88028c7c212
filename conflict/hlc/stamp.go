// Package hlc has the hybrid logical clock and the stamps it gives.
//
// The clock is that of Kulkarni, Demirbas, Madeppa, Avva and Leone, "Logical Physical Clocks and Consistent
// Snapshots in Globally Distributed Databases" (2014): it never runs back, it follows physical time, and a stamp
// given after another one was seen is greater.
package hlc

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"time"
)

// Timestamp is a point of hybrid logical time: milliseconds since the Unix epoch in the upper 48 bits, a logical
// counter in the lower 16. Zero is before every write.
type Timestamp uint64

// logicalBits is the width of the logical counter.
const logicalBits = 16

// FromTime returns the first timestamp of t's millisecond.
func FromTime(t time.Time) Timestamp { return Timestamp(t.UnixMilli()) << logicalBits }

// Time returns the physical part, to the millisecond.
func (t Timestamp) Time() time.Time { return time.UnixMilli(t.Millis()).UTC() }

// Millis returns the physical part in milliseconds since the Unix epoch.
func (t Timestamp) Millis() int64 { return int64(t >> logicalBits) }

// Logical returns the logical counter.
func (t Timestamp) Logical() uint16 { return uint16(t) }

// Add returns t moved by d, to the millisecond; the logical counter is kept.
func (t Timestamp) Add(d time.Duration) Timestamp {
	return Timestamp(int64(t) + d.Milliseconds()<<logicalBits)
}

// String returns the timestamp as seconds with milliseconds, a dot and the logical counter.
func (t Timestamp) String() string {
	return fmt.Sprintf("%d.%03d+%d", t.Millis()/1000, t.Millis()%1000, t.Logical())
}

// Origin is the number of a region, from its signed descriptor: 1 to 65535, unique for ever. Zero is no region.
type Origin uint16

// Stamp is a timestamp and the region that gave it: a total order over all writes of all regions. A write's stamp is
// also its identity, its dot.
type Stamp struct {
	Time   Timestamp
	Origin Origin
}

// StampLen is the length of an encoded stamp in bytes.
const StampLen = 10

// IsZero reports whether s is no stamp at all.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// Compare orders by time, then by origin.
func (s Stamp) Compare(o Stamp) int {
	if c := cmp.Compare(s.Time, o.Time); c != 0 {
		return c
	}
	return cmp.Compare(s.Origin, o.Origin)
}

// Less reports whether s is before o.
func (s Stamp) Less(o Stamp) bool { return s.Compare(o) < 0 }

// Append appends the encoding of s: big-endian time and origin, so that bytes order as stamps do.
func (s Stamp) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Time))
	return binary.BigEndian.AppendUint16(dst, uint16(s.Origin))
}

// DecodeStamp decodes the first StampLen bytes of b. ok is false when b is shorter.
func DecodeStamp(b []byte) (s Stamp, ok bool) {
	if len(b) < StampLen {
		return Stamp{}, false
	}
	return Stamp{
		Time:   Timestamp(binary.BigEndian.Uint64(b)),
		Origin: Origin(binary.BigEndian.Uint16(b[8:])),
	}, true
}

func (s Stamp) String() string { return fmt.Sprintf("%s@%d", s.Time, s.Origin) }
