package sim

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
)

// event is something that happens at a virtual time.
type event struct {
	at time.Duration
	n  uint64 // events of one time happen in the order in which they were made
	do func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].n < h[j].n
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}

// queue is virtual time: events happen one after another, and time is that of the event.
type queue struct {
	now  time.Duration
	next uint64
	heap eventHeap
}

// after makes do happen d from now.
func (q *queue) after(d time.Duration, do func()) {
	q.next++
	heap.Push(&q.heap, event{q.now + max(d, 0), q.next, do})
}

// step lets the next event happen; it reports false when there is none.
func (q *queue) step() bool {
	if len(q.heap) == 0 {
		return false
	}
	e := heap.Pop(&q.heap).(event)
	q.now = e.at
	e.do()
	return true
}

// keptLines is how many of the last lines of a trace are kept for people.
const keptLines = 60

// trace is what happened: a hash of all lines, and the last of them.
type trace struct {
	hash xxhash.Digest
	line []byte
	last [keptLines]string
	n    int
}

func (t *trace) add(now time.Duration, format string, args ...any) {
	t.line = fmt.Appendf(t.line[:0], "%9.3fs ", now.Seconds())
	t.line = fmt.Appendf(t.line, format, args...)
	t.line = append(t.line, '\n')
	_, _ = t.hash.Write(t.line)
	t.last[t.n%keptLines] = string(t.line[:len(t.line)-1])
	t.n++
}

// lines returns the last lines, oldest first.
func (t *trace) lines() []string {
	if t.n < keptLines {
		return t.last[:t.n]
	}
	at := t.n % keptLines
	return append(append([]string(nil), t.last[at:]...), t.last[:at]...)
}
