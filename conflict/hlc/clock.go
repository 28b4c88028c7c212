package hlc

import (
	"fmt"
	"sync"
	"time"
)

// DefaultMaxOffset is how far ahead of physical time a stamp of another region may be, unless configured otherwise.
const DefaultMaxOffset = 500 * time.Millisecond

// Clock is a hybrid logical clock: strictly increasing, close to physical time, and never behind a stamp that it was shown.
//
// # It never runs back, over restarts too
//
// A clock that forgets what it gave could give it again: two writes with one dot, or a heartbeat that promised "nothing
// of mine at or below h comes any more" and is then broken. Syncing the clock before each stamp would cost a sync, so
// the store keeps a bound instead, a little ahead, and a restart begins above the bound:
//
//   - The sequencer gives a batch its stamps with Now, then asks Reserve for the bound. If Reserve says so, the bound goes
//     into the same batch. So a batch that survives a crash lies, stamps and all, at or below a bound that survives as well.
//     A batch that does not survive was neither answered nor shipped, and its stamps are nobody's.
//   - After the sync it calls CommitBound. What leaves the region without a batch of its own (a heartbeat's time) comes from
//     Promise, which stays at or below the durable bound.
//   - On start, Restore gets the stored bound. Each later stamp is above it.
//
// # It is not led astray
//
// Observe refuses a stamp further ahead of physical time than the maximum offset, and does not move then: one region with a
// broken clock cannot take the others along. After a start with the physical clock set back, AheadAtStart says for how long
// the region must refuse writes.
//
// A Clock is safe for use by several goroutines.
type Clock struct {
	physical  func() time.Time
	maxOffset time.Duration

	mu       sync.Mutex
	last     Timestamp // greatest given, observed or promised
	reserved Timestamp // greatest bound handed out by Reserve
	durable  Timestamp // greatest bound known to be durable; at most reserved
}

// NewClock returns a clock over the physical clock given. maxOffset bounds how far ahead of it an observed stamp may be; zero or
// less stands for DefaultMaxOffset.
func NewClock(physical func() time.Time, maxOffset time.Duration) *Clock {
	if maxOffset <= 0 {
		maxOffset = DefaultMaxOffset
	}
	return &Clock{physical: physical, maxOffset: maxOffset}
}

// MaxOffset returns the maximum offset in force.
func (c *Clock) MaxOffset() time.Duration { return c.maxOffset }

// Now returns a timestamp greater than every one given, observed or promised before. It is for the stamps of a batch, whose
// writer then calls Reserve. A full logical counter carries into the milliseconds.
func (c *Clock) Now() Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.next()
	return c.last
}

// Last returns the greatest timestamp given, observed or promised: no write of this region has a greater stamp yet.
func (c *Clock) Last() Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Observe moves the clock so that all further timestamps are greater than t. It returns an *AheadError, and leaves the clock
// where it is, if t is beyond physical time plus the maximum offset.
func (c *Clock) Observe(t Timestamp) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t <= c.last {
		return nil
	}
	if ahead := c.ahead(t); ahead > c.maxOffset && !plantedFollow {
		return &AheadError{Time: t, Ahead: ahead, MaxOffset: c.maxOffset}
	}
	c.last = t
	return nil
}

// Promise returns a timestamp h for a heartbeat: at or below the durable bound, so that even after a crash no stamp at or below
// h is given any more. It is the present time where the bound allows, else the bound: an idle region that wants its heartbeats to
// go on renews the bound as Reserve asks. A stamp given before may be at or below h: the caller pairs h with a log position
// that holds all of those.
func (c *Clock) Promise() Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.next()
	return min(c.last, c.durable)
}

// Reserve is called once all stamps of a batch are given, or now and then when there is none. It returns the bound that the store
// must hold, and needed when the batch must write it: because the last timestamp is above the bound reserved before,
// or because less than half of ahead is left. The new bound is ahead of both the last timestamp and physical time. Keep
// ahead within the maximum offset: after a crash the clock starts at the bound.
func (c *Clock) Reserve(ahead time.Duration) (bound Timestamp, needed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := max(c.last, c.physicalNow())
	if at.Add(ahead/2) <= c.reserved {
		return c.reserved, false
	}
	c.reserved = max(c.reserved, at.Add(ahead))
	return c.reserved, true
}

// CommitBound tells that the bound b, which Reserve returned, is durable.
func (c *Clock) CommitBound(b Timestamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.durable = max(c.durable, b)
}

// Bound returns the greatest durable bound.
func (c *Clock) Bound() Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.durable
}

// Restore is called on start with the bound that the store holds, before any other method: all further timestamps are greater.
func (c *Clock) Restore(bound Timestamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, bound)
	c.reserved = max(c.reserved, bound)
	c.durable = max(c.durable, bound)
}

// AheadAtStart returns how long physical time needs until bound, the bound that the store holds, is no more than the maximum
// offset ahead of it; zero if it is not. While it is not zero the region refuses writes: peers would refuse its stamps.
func (c *Clock) AheadAtStart(bound Timestamp) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, c.ahead(bound)-c.maxOffset)
}

// next returns the timestamp that would be given now.
func (c *Clock) next() Timestamp { return max(c.last+1, c.physicalNow()) }

// physicalNow returns physical time as a timestamp; zero for a machine that believes it is before 1970.
func (c *Clock) physicalNow() Timestamp {
	t := c.physical()
	if t.UnixMilli() < 0 {
		return 0
	}
	return FromTime(t)
}

// ahead returns how far t is ahead of physical time, by whole milliseconds; negative if it is behind.
func (c *Clock) ahead(t Timestamp) time.Duration {
	ms := t.Millis() - c.physicalNow().Millis()
	// 48 bits of milliseconds are more than a Duration holds.
	if const292Years := int64(1<<63-1) / int64(time.Millisecond); ms > const292Years {
		ms = const292Years
	} else if ms < -const292Years {
		ms = -const292Years
	}
	return time.Duration(ms) * time.Millisecond
}

// AheadError says that a timestamp is too far ahead of this region's physical time.
type AheadError struct {
	Time      Timestamp
	Ahead     time.Duration // of physical time
	MaxOffset time.Duration
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("hlc: timestamp is %s ahead of this region's clock, at most %s is allowed", e.Ahead, e.MaxOffset)
}
