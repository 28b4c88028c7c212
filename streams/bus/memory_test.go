package bus

import (
	"context"
	"errors"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

func memoryLaneOf(t *testing.T) (*MemoryNetwork, *world) {
	n := NewMemoryNetwork()
	home := n.Home("eu")
	closing(t, home)
	w := &world{home: home, dial: func(t testing.TB, region string) Link { return n.Dial(region, "eu") }}
	w.openLane(t, 1, 1<<20)
	return n, w
}

func wantNumbers(t *testing.T, got []int, want ...int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestMemoryFaults(t *testing.T) {
	n, w := memoryLaneOf(t)
	w.publish(t, 1, 0, 8, 10)
	n.DropNext("eu", "us", 1, 2)
	n.Duplicate("eu", "us", 1, 1)
	n.Reorder("eu", "us", 1, 2)
	us := w.dial(t, "us")
	wantNumbers(t, pullTo(t, us, 1, 7, never), 3, 2, 5, 4, 6, 6, 7)
	wantNumbers(t, pullTo(t, us, 1, 7, always), 0, 1, 2, 3, 4, 5, 6, 7) // the faults are used up, and nothing was acknowledged
	wantNumbers(t, pullTo(t, w.dial(t, "in"), 1, 7, never), 0, 1, 2, 3, 4, 5, 6, 7)
}

// TestMemoryReorderWaits has a fault that needs a message which is not there yet.
func TestMemoryReorderWaits(t *testing.T) {
	n, w := memoryLaneOf(t)
	w.publish(t, 1, 0, 1, 10)
	n.Reorder("eu", "us", 1, 1)
	got := make(chan []int, 1)
	go func() { got <- pullTo(t, w.dial(t, "us"), 1, 0, never) }()
	w.publish(t, 1, 1, 2, 10)
	wantNumbers(t, <-got, 1, 0)
}

func TestMemoryRollback(t *testing.T) {
	n, w := memoryLaneOf(t)
	w.publish(t, 1, 0, 8, 10)
	us := w.dial(t, "us")
	wantNumbers(t, pullTo(t, us, 1, 7, always), 0, 1, 2, 3, 4, 5, 6, 7)
	n.Rollback("eu", 1, 3)
	w.publish(t, 1, 20, 22, 10)
	wantNumbers(t, pullTo(t, us, 1, 21, always), 20, 21)
	wantNumbers(t, pullTo(t, w.dial(t, "in"), 1, 21, always), 0, 1, 2, 3, 4, 20, 21)
	n.Rollback("eu", 9, 1) // no such lane
	select {
	case <-w.home.Reset():
		t.Error("a rollback is silent")
	default:
	}
}

func TestMemoryCutAndRestart(t *testing.T) {
	n, w := memoryLaneOf(t)
	us, in := w.dial(t, "us"), w.dial(t, "in")
	n.Cut("eu", "us")
	if err := us.Pull(testContext(t), 1, 0, nil); !errors.Is(err, ErrLinkLost) {
		t.Errorf("pull over a cut link: %v", err)
	}
	if err := us.Request(testContext(t), nil, nil); !errors.Is(err, ErrLinkLost) {
		t.Errorf("request over a cut link: %v", err)
	}
	w.publish(t, 1, 0, 1, 10)
	wantNumbers(t, pullTo(t, in, 1, 0, never), 0)
	n.Heal("us", "eu")
	wantNumbers(t, pullTo(t, us, 1, 0, always), 0)

	ended := make(chan error, 1)
	started := make(chan struct{})
	go func() { ended <- in.Pull(testContext(t), 1, 0, func(Message) { close(started) }) }()
	<-started
	n.Restart("eu")
	if err := <-ended; !errors.Is(err, ErrLinkLost) && !errors.Is(err, ErrNoConsumer) {
		t.Errorf("the pull ended with %v", err)
	}
	<-w.home.Reset()
	if err := us.Pull(testContext(t), 1, 0, nil); !errors.Is(err, ErrNoConsumer) {
		t.Errorf("pull after a restart: %v", err)
	}
	w.openLane(t, 1, 1<<20)
	w.publish(t, 1, 5, 6, 10)
	wantNumbers(t, pullTo(t, us, 1, 5, always), 5)
}

// TestMemoryHomeAgain closes a home and makes it again: streams and cursors are still there.
func TestMemoryHomeAgain(t *testing.T) {
	n, w := memoryLaneOf(t)
	w.publish(t, 1, 0, 3, 10)
	us := w.dial(t, "us")
	wantNumbers(t, pullTo(t, us, 1, 2, func(i int) bool { return i == 1 }), 0, 1, 2)
	if err := w.home.Close(); err != nil {
		t.Fatal(err)
	}
	if err := us.Pull(testContext(t), 1, 0, nil); !errors.Is(err, ErrLinkLost) {
		t.Errorf("pull from a closed home: %v", err)
	}
	if err := w.home.RemoveLane(context.Background(), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("remove a lane of a closed home: %v", err)
	}
	again := n.Home("eu")
	closing(t, again)
	if again == w.home || n.Home("eu") != again {
		t.Error("not one new home")
	}
	if err := us.Pull(testContext(t), 1, 0, nil); !errors.Is(err, ErrNoConsumer) {
		t.Errorf("pull from a lane that the new home has not opened: %v", err)
	}
	if err := again.OpenLane(context.Background(), LaneSpec{ID: 1, Peers: []string{"us"}}); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, pullTo(t, us, 1, 2, never), 2)
	if err := again.OpenLane(context.Background(), LaneSpec{ID: globaltable.LaneID(9)}); !errors.Is(err, ErrNoLane) {
		t.Errorf("open a lane that is not there: %v", err)
	}
}
