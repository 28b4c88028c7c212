package trigger

import "time"

// Counts is what became of the events of a feed in this region since its node started.
type Counts struct {
	Delivered uint64
	Filtered  uint64 // records that do not match, or are not of the feed
	Covered   uint64 // records that another region has dealt with
	Failed    uint64 // attempts with a batch
	Withheld  uint64 // events that policies do not let the target have
	Gaps      uint64 // times that records had gone before they were read: how many they were is not known
	Buried    uint64
	LastError string // of an attempt: nothing of an item
	LastAt    time.Time
}

func (c *Counts) fail(err error, now time.Time) {
	c.Failed++
	c.LastError, c.LastAt = err.Error(), now
}

// count returns the counts of a feed. The caller holds w.mu.
func (w *work) count(id FeedID) *Counts {
	c := w.counts[id]
	if c == nil {
		c = &Counts{}
		w.counts[id] = c
	}
	return c
}

// counted changes the counts of a feed.
func (w *work) counted(id FeedID, f func(*Counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.count(id))
}
