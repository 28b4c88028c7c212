package inbox

import (
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/change"
)

const lateLane = globaltable.LaneID(7)

// lateEntries returns the first n entries of a lane.
func lateEntries(n int) (out []change.Entry) {
	var chain globaltable.Chain
	for seq := uint64(1); seq <= uint64(n); seq++ {
		e := change.Entry{Body: make([]byte, change.SaltLen)}
		e.Header = change.Seal(chain, seq, e.Body, 0, 0)
		chain = e.Chain
		out = append(out, e)
	}
	return out
}

func lateHeartbeat(e change.Entry) Heartbeat {
	return Heartbeat{Incarnation: 1, HLC: 1, Heads: []Head{{Lane: lateLane, Seq: e.Seq, Chain: e.Chain}}}
}

// only returns the effect of the kind among effects; it fails without one.
func only(t *testing.T, effects []Effect, kind EffectKind) Effect {
	t.Helper()
	for _, e := range effects {
		if e.Kind == kind {
			return e
		}
	}
	t.Fatalf("effects %v have none of kind %d", effects, kind)
	return Effect{}
}

// reading returns a core that is connected and has read the log from 1 on.
func reading(t *testing.T, entries []change.Entry) *Core {
	t.Helper()
	c := NewCore(1, 0, Limits{}, 0, nil)
	c.Connected()
	c.Heartbeat(lateHeartbeat(entries[len(entries)-1]))
	read := only(t, c.Heartbeat(lateHeartbeat(entries[len(entries)-1])), ReadLog)
	if read.Seq != 1 {
		t.Fatalf("the log is read from %d", read.Seq)
	}
	return c
}

func TestHeartbeatOvertakenByTheStreamIsNoDivergence(t *testing.T) {
	entries := lateEntries(4)
	c := reading(t, entries[:2])
	apply := only(t, c.LogPage(lateLane, 1, entries, true), Apply)
	c.Applied(lateLane, apply.Position, Running)
	c.Heartbeat(lateHeartbeat(entries[1])) // sampled before entries 3 and 4 were written
	if got := c.Positions()[0]; got.Stop != Running || got.Position.Seq != 4 {
		t.Fatalf("the lane is %v", got)
	}
	c.Heartbeat(lateHeartbeat(entries[2])) // asked for after 4 was applied: the origin has lost it
	if got := c.Positions()[0]; got.Stop != Diverged {
		t.Fatalf("the lane is %v at an origin that went back", got)
	}
}

func TestLogPageAfterAStopIsDropped(t *testing.T) {
	entries := lateEntries(6)
	c := reading(t, entries[:2])
	apply := only(t, c.LogPage(lateLane, 1, entries[:2], false), Apply) // and the next page is asked for
	c.Applied(lateLane, apply.Position, ClockAhead)
	c.LogPage(lateLane, 1, entries[2:4], true)
	if got := c.Positions()[0]; got.Stop != ClockAhead {
		t.Fatalf("the lane is %v", got)
	}
	if read := only(t, c.Tick(), ReadLog); read.Seq != 1 {
		t.Fatalf("it reads on from %d", read.Seq)
	}
}

func TestConnectedBeginsAtTheDurablePosition(t *testing.T) {
	entries := lateEntries(3)
	c := NewCore(1, 0, Limits{BatchBytes: 1}, 0, nil)
	c.Connected()
	c.Heartbeat(lateHeartbeat(entries[2]))
	c.Heartbeat(lateHeartbeat(entries[2]))
	apply := only(t, c.LogPage(lateLane, 1, entries, true), Apply)
	if apply.Position.Seq != 1 {
		t.Fatalf("the first batch ends at %d", apply.Position.Seq)
	}
	// The session ends here; its runner reports the batch and carries nothing out any more.
	only(t, c.Applied(lateLane, apply.Position, Running), Apply)
	c.Connected()
	c.Heartbeat(lateHeartbeat(entries[2]))
	if read := only(t, c.Heartbeat(lateHeartbeat(entries[2])), ReadLog); read.Seq != 2 {
		t.Fatalf("the next session reads from %d", read.Seq)
	}
	if next := only(t, c.LogPage(lateLane, 1, entries[1:], true), Apply); next.Position.Seq != 2 {
		t.Fatalf("the next batch ends at %d", next.Position.Seq)
	}
}

// TestLessThanWasTold: a store that has less of a lane than it had told the origin is an older copy. Its lane does not go on from the origin's head, though the log has nothing before that.
func TestLessThanWasTold(t *testing.T) {
	entries := lateEntries(5)
	at := func(e change.Entry) map[globaltable.LaneID]globaltable.Position {
		return map[globaltable.LaneID]globaltable.Position{lateLane: {Incarnation: 1, Seq: e.Seq, Chain: e.Chain}}
	}
	h := lateHeartbeat(entries[4])
	h.Heads[0].Confirmed = 3
	for applied, want := range map[int]Stop{2: Restored, 3: Running, 4: Running} {
		c := NewCore(1, 0, Limits{}, 1, at(entries[applied-1]))
		effects := append(c.Connected(), c.Heartbeat(h)...)
		effects = append(effects, c.LogFailed(lateLane, want == Restored)...) // what it may have asked for before it heard so
		effects = append(append(effects, c.Heartbeat(h)...), c.Tick()...)
		if got := c.Positions()[0].Stop; got != want {
			t.Errorf("with %d applied the lane is %v, want %v", applied, got, want)
		}
		for _, e := range effects {
			if e.Kind == StartLanes {
				t.Errorf("with %d applied the lane begins anew", applied)
			}
		}
	}
}
