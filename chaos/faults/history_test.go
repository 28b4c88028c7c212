//go:build linux

package faults

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// operation is one write of a client, with a value of its own: its id.
type operation struct {
	region, key, id string
	remove          bool // a delete
	acknowledged    bool // else unknown: it took place, or not
	// The times are those of the client, which are those of all regions here: Unix microseconds.
	began, ended int64 // an operation that may still take place has not ended: open
}

// open is the end of an operation whose request may still be in work somewhere.
const open = math.MaxInt64

// apart is by how much, in microseconds, two operations of different regions must be apart for the later to have the greater stamp: stamps count
// in milliseconds. Within a region the order of time is the order of stamps.
const apart = 5_000

// before reports whether a's stamp is certainly less than b's.
func (a operation) before(b operation) bool {
	if a.ended == open {
		return false
	}
	if a.region == b.region {
		return a.ended < b.began
	}
	return a.ended+apart < b.began
}

// history records operations of many clients.
type history struct {
	mu           sync.Mutex
	operations   map[string][]operation // by key
	began        time.Time
	acknowledged map[string]int // by region
	unknown      int
}

func newHistory() *history {
	return &history{operations: map[string][]operation{}, began: time.Now(), acknowledged: map[string]int{}}
}

// now is a clock that does not jump.
func (h *history) now() int64 { return time.Since(h.began).Microseconds() }

func (h *history) add(op operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations[op.key] = append(h.operations[op.key], op)
	if op.acknowledged {
		h.acknowledged[op.region]++
	} else {
		h.unknown++
	}
}

// of returns how many operations a region has acknowledged.
func (h *history) of(region string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acknowledged[region]
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%d keys, acknowledged %v, %d unknown", len(h.operations), h.acknowledged, h.unknown)
}

// judge returns what is wrong with the final state: the id of each key's item. Each item must be the work of an operation that is not before an
// acknowledged one; a key without an item must be that of a delete, or have no acknowledged put (I2). Nothing may be there that nobody wrote. Only
// operations of the regions given are looked at; none means all.
func (h *history) judge(state map[string]string, regions ...string) (faults []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, ops := range h.operations {
		if len(regions) > 0 {
			ops = slices.DeleteFunc(slices.Clone(ops), func(op operation) bool { return !slices.Contains(regions, op.region) })
		}
		if fault := judgeKey(ops, state[key]); fault != "" {
			faults = append(faults, key+": "+fault)
		}
	}
	for key, id := range state {
		if h.operations[key] == nil {
			faults = append(faults, fmt.Sprintf("%s: has %s, which nobody wrote", key, id))
		}
	}
	slices.Sort(faults)
	return faults
}

// judgeKey judges one key; id is empty where there is no item.
func judgeKey(ops []operation, id string) string {
	// Of the acknowledged operations only those can lose to all others that no acknowledged one follows.
	var survivors []operation
	var newest operation
	for _, a := range ops {
		if slices.ContainsFunc(ops, func(b operation) bool { return b.acknowledged && a.before(b) }) {
			continue
		}
		survivors = append(survivors, a)
		if a.acknowledged && a.began > newest.began {
			newest = a
		}
	}
	anyAcknowledged := slices.ContainsFunc(ops, func(a operation) bool { return a.acknowledged })
	if id == "" && !anyAcknowledged {
		return ""
	}
	for _, a := range survivors {
		if a.remove && id == "" || !a.remove && a.id == id {
			return ""
		}
	}
	have := id
	if id == "" {
		have = "nothing"
	}
	return fmt.Sprintf("has %s, though %s was acknowledged by %s", have, newest.id, newest.region)
}

// mustHold fails the test where judge finds something.
func (h *history) mustHold(t testing.TB, where string, state map[string]string, regions ...string) {
	t.Helper()
	const shown = 10
	if faults := h.judge(state, regions...); len(faults) > 0 {
		t.Errorf("%s: %d keys are wrong (%v), among them:\n  %s", where, len(faults), h, strings.Join(faults[:min(shown, len(faults))], "\n  "))
	}
}

// The judge finds what it is there for.
func TestJudge(t *testing.T) {
	put := func(region, id string, began, ended int64, acknowledged bool) operation {
		return operation{region: region, key: "k", id: id, began: began, ended: ended, acknowledged: acknowledged}
	}
	remove := func(op operation) operation { op.remove = true; return op }
	for _, c := range []struct {
		name  string
		ops   []operation
		right []string
		wrong []string
	}{
		{"one put", []operation{put("a", "1", 0, 1, true)}, []string{"1"}, []string{"", "2"}},
		{"an unknown put", []operation{put("a", "1", 0, 1, false)}, []string{"", "1"}, []string{"2"}},
		{"one after the other", []operation{put("a", "1", 0, 1, true), put("a", "2", 2, 3, true)}, []string{"2"}, []string{"", "1"}},
		{"at once", []operation{put("a", "1", 0, 5, true), put("a", "2", 2, 9, true)}, []string{"1", "2"}, []string{""}},
		{"two regions, near", []operation{put("a", "1", 0, 1, true), put("b", "2", 2, 3, true)}, []string{"1", "2"}, []string{""}},
		{"two regions, apart", []operation{put("a", "1", 0, 1, true), put("b", "2", 9000, 9001, true)}, []string{"2"}, []string{"", "1"}},
		{"delete", []operation{put("a", "1", 0, 1, true), remove(put("a", "2", 2, 3, true))}, []string{""}, []string{"1", "2"}},
		{"delete, then put", []operation{remove(put("a", "1", 0, 1, true)), put("a", "2", 2, 3, true)}, []string{"2"}, []string{""}},
		{"unknown, then acknowledged", []operation{put("a", "1", 0, 1, false), put("a", "2", 2, 3, true)}, []string{"2"}, []string{"", "1"}},
		{"still open, then acknowledged", []operation{put("a", "1", 0, open, false), put("a", "2", 2, 3, true)}, []string{"1", "2"}, []string{""}},
		{"acknowledged, then unknown", []operation{put("a", "1", 0, 1, true), remove(put("a", "2", 2, 3, false))}, []string{"1", ""}, []string{"2"}},
	} {
		h := newHistory()
		for _, op := range c.ops {
			h.add(op)
		}
		state := func(id string) map[string]string {
			if id == "" {
				return nil
			}
			return map[string]string{"k": id}
		}
		for _, id := range c.right {
			if faults := h.judge(state(id)); faults != nil {
				t.Errorf("%s: %q is right, and called wrong: %v", c.name, id, faults)
			}
		}
		for _, id := range c.wrong {
			if h.judge(state(id)) == nil {
				t.Errorf("%s: %q is wrong, and not found", c.name, id)
			}
		}
	}
	h := newHistory()
	h.add(put("a", "1", 0, 1, true))
	if h.judge(map[string]string{"k": "1", "other": "9"}) == nil {
		t.Error("an item that nobody wrote is not found")
	}
}
