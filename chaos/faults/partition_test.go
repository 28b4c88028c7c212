//go:build linux

package faults

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// awaitPair waits until the status command shows one of these states.
func (r *region) awaitPair(from string, states ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s says of the pair from %s: %v", r.name, from, states), func() string {
		if p := r.pair(from); !slices.Contains(states, p.State) {
			return fmt.Sprintf("it says %s (%s)", p.State, p.Detail)
		}
		return ""
	})
}

// A region is cut off while all sides write, without any sign but silence; each side serves alone and says how things are. After the healing all are equal.
func TestPartition(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	away, near, far := c.nodes[2], c.nodes[0], c.nodes[1]
	near.awaitPair(far.name, admin.StateIdle)
	near.awaitPair(away.name, admin.StateIdle)

	h := newHistory()
	l := startLoad(t, h, table, "cut", c.regions()...)
	near.awaitPair(far.name, admin.StateLive)
	c.cut(away)
	for _, n := range c.nodes {
		h.acknowledges(t, n.region, 100)
	}
	near.awaitPair(away.name, admin.StateDisconnected, admin.StateStalled)
	away.awaitPair(near.name, admin.StateDisconnected, admin.StateStalled)
	near.awaitPair(far.name, admin.StateLive)
	for _, n := range c.nodes {
		h.acknowledges(t, n.region, 100)
	}
	c.heal(away)
	near.awaitPair(away.name, admin.StateLive, admin.StateCatchingUp)
	l.stop()
	h.mustConverge(t, table, c.regions()...)
	near.awaitPair(away.name, admin.StateIdle)
}

// A region's process stands still, as one does that is short of memory or of a processor, and goes on later. Its clients' requests may take place then.
func TestStandstill(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	frozen, near := c.nodes[1], c.nodes[0]
	h := newHistory()
	l := startLoad(t, h, table, "standstill", c.regions()...)
	h.acknowledges(t, frozen.region, 100)
	frozen.proc.signal(syscall.SIGSTOP)
	near.awaitPair(frozen.name, admin.StateDisconnected, admin.StateStalled)
	h.acknowledges(t, near.region, 100)
	frozen.proc.signal(syscall.SIGCONT)
	h.acknowledges(t, frozen.region, 100)
	near.awaitPair(frozen.name, admin.StateLive, admin.StateCatchingUp)
	l.stop()
	h.mustConverge(t, table, c.regions()...)
}
