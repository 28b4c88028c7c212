package regionnode

import (
	"testing"
	"time"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/inbox"
)

func TestDescribePair(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	lane := func(at, head uint64, stop inbox.Stop) []inbox.LanePosition {
		return []inbox.LanePosition{{Position: globaltable.Position{Seq: at}, Head: head, Stop: stop}}
	}
	for _, c := range []struct {
		name   string
		status inbox.Status
		state  string
		behind uint64
		lag    bool

		refuses bool
	}{
		{name: "the origin does not follow this region", status: inbox.Status{Connected: true, Progress: now, Lanes: lane(9, 9, inbox.Running)}, state: admin.StateStalled, refuses: true},
		{"no connection", inbox.Status{Error: "no route", Lanes: lane(3, 9, inbox.Running)}, admin.StateDisconnected, 6, false, false},
		{"nothing came ever", inbox.Status{Connected: true, Progress: now}, admin.StateIdle, 0, false, false},
		{"nothing came lately", inbox.Status{Connected: true, Progress: now, Lag: time.Millisecond, LagAt: ago(time.Minute), Lanes: lane(9, 9, inbox.Running)},
			admin.StateIdle, 0, false, false},
		{"all applied", inbox.Status{Connected: true, Progress: now, Lag: time.Millisecond, LagAt: ago(time.Second), Lanes: lane(9, 9, inbox.Running)},
			admin.StateLive, 0, true, false},
		{"some under way", inbox.Status{Connected: true, Progress: now, Lag: 90 * time.Millisecond, LagAt: ago(time.Millisecond), Lanes: lane(7, 9, inbox.Running)},
			admin.StateLive, 2, true, false},
		{"old changes come", inbox.Status{Connected: true, Progress: now, Lag: time.Minute, LagAt: ago(time.Millisecond), Lanes: lane(7, 9000, inbox.Running)},
			admin.StateCatchingUp, 8993, true, false},
		{"just connected", inbox.Status{Connected: true, Progress: now, Lanes: lane(0, 9, inbox.Running)}, admin.StateCatchingUp, 9, false, false},
		{"behind and still", inbox.Status{Connected: true, Progress: ago(lately), Lag: time.Millisecond, LagAt: ago(lately), Lanes: lane(7, 9, inbox.Running)},
			admin.StateStalled, 2, false, false},
		{"a lane has stopped", inbox.Status{Connected: true, Progress: now, Lanes: lane(9, 9, inbox.ClockAhead)}, admin.StateStalled, 0, false, false},
	} {
		var p admin.Pair
		describe(&p, c.status, now, c.refuses)
		if p.State != c.state || p.BehindEntries != c.behind || (p.LagMillis != nil) != c.lag {
			t.Errorf("%s: %s (%s), %d behind, lag %v", c.name, p.State, p.Detail, p.BehindEntries, p.LagMillis)
		}
		if c.state == admin.StateDisconnected && p.Detail != "no route" {
			t.Errorf("%s: the detail is %q", c.name, p.Detail)
		}
	}
}
