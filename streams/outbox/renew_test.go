package outbox

import (
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

// TestRenew: what memory has of a lane is forgotten, and its stream is filled from the log again.
func TestRenew(t *testing.T) {
	c := NewCore(1, Limits{}, nil)
	lane := globaltable.Lane{Placement: globaltable.NewPlacement(1, 2)}
	lane.ID = lane.Placement.Lane()
	kinds := func(effects []Effect) (out []EffectKind) {
		for _, e := range effects {
			out = append(out, e.Kind)
		}
		return out
	}
	turn := c.AddLane(lane, 0, 0)[0].Turn
	c.StreamReset(lane.ID, turn)
	c.StreamOpened(lane.ID, turn)
	c.Fresh(lane.ID, entries(1, 3))
	if !c.Live(lane.ID) {
		t.Fatal("the lane is not live")
	}
	effects := c.Renew(lane.ID)
	if got := kinds(effects); len(got) != 1 || got[0] != ResetStream || c.Live(lane.ID) {
		t.Fatalf("%v, live %v", got, c.Live(lane.ID))
	}
	next := effects[0].Turn
	if got := c.Published(lane.ID, turn, 1); len(got) != 0 {
		t.Errorf("a report of the stream before had effects: %v", kinds(got))
	}
	if got := kinds(c.StreamReset(lane.ID, next)); len(got) != 1 || got[0] != Load {
		t.Fatalf("the stream is filled by %v, not from the log", got)
	}
	if got := c.Loaded(lane.ID, turn, entries(1, 3)); len(got) != 0 {
		t.Errorf("what was read before had effects: %v", kinds(got))
	}
	c.Loaded(lane.ID, next, entries(1, 3))
	for seq := uint64(1); seq <= 3; seq++ {
		c.Published(lane.ID, next, seq)
	}
	if c.Live(lane.ID) {
		t.Error("live before it was opened")
	}
	c.StreamOpened(lane.ID, next)
	if !c.Live(lane.ID) || !c.Live(lane.ID+1) {
		t.Error("not live at the end, or one that is not known is not")
	}
	if got := c.Renew(lane.ID + 1); len(got) != 0 {
		t.Errorf("%v", kinds(got))
	}
}
