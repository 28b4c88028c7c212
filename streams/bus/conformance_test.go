package bus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

var worlds = []struct {
	name string
	make func(testing.TB) *world
}{{"memory", memoryWorld}, {"embedded", embeddedWorld}, {"external", externalWorld}, {"cluster", clusterWorld}}

// TestConformance holds every implementation of Home and Link to the same behaviour. One world serves all subtests of an implementation; each has a lane of its own.
func TestConformance(t *testing.T) {
	tests := []struct {
		name string
		run  func(*testing.T, *world, globaltable.LaneID)
	}{
		{"lanes", testLanes},
		{"order", testOrder},
		{"resume", testResume},
		{"acknowledge all", testAckAll},
		{"bounded", testBounded},
		{"reset", testReset},
		{"read", testRead},
		{"list", testList},
		{"large", testLarge},
		{"volume", testVolume},
		{"answer", testAnswer},
		{"concurrent answers", testConcurrentAnswers},
		{"handler error", testHandlerError},
		{"bounded handlers", testBoundedHandlers},
		{"asker stops", testAskerStops},
		{"link lost in an answer", testLinkLostInAnswer},
		{"nobody serves", testNobodyServes},
		{"probe", testProbe},
		{"peers", testPeers},
		{"closed", testClosed},
	}
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			if w.name == "cluster" && testing.Short() {
				t.Skip("starts three servers")
			}
			world := w.make(t)
			for i, test := range tests {
				t.Run(test.name, func(t *testing.T) { test.run(t, world, globaltable.LaneID(100+i)) })
			}
		})
	}
}

// openLane makes a lane with both peers.
func (w *world) openLane(t testing.TB, id globaltable.LaneID, maxBytes int64) LaneSpec {
	t.Helper()
	spec := LaneSpec{ID: id, Peers: []string{"us", "in"}, MaxBytes: maxBytes}
	if err := w.home.ResetLane(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	if err := w.home.OpenLane(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// publish sends messages with the numbers from (included) to to (excluded), of the size given, and waits for all.
func (w *world) publish(t testing.TB, id globaltable.LaneID, from, to, size int) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i := from; i < to; i++ {
		wg.Add(1)
		err := w.home.Publish(testContext(t), id, numbered(i, size), func(err error) {
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
			wg.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
}

func numbered(i, size int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, max(size, 8))
	binary.BigEndian.PutUint64(b, uint64(i))
	return b
}

func number(t testing.TB, m Message) int {
	t.Helper()
	if len(m.Data) < 8 || len(m.Data) > 8 && m.Data[len(m.Data)-1] != m.Data[7] {
		t.Errorf("a message of %d bytes is broken", len(m.Data))
		return -1
	}
	return int(binary.BigEndian.Uint64(m.Data))
}

// pullTo runs Pull until the message with the number last came; it acknowledges as ack says, and returns the numbers.
func pullTo(t testing.TB, l Link, id globaltable.LaneID, last int, ack func(i int) bool) []int {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var got []int
	err := l.Pull(ctx, id, 8<<20, func(m Message) {
		i := number(t, m)
		if ctx.Err() != nil {
			return
		}
		got = append(got, i)
		if ack(i) {
			if err := m.Ack(); err != nil {
				t.Errorf("ack: %v", err)
			}
		}
		if i == last {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(got) == 0 || got[len(got)-1] != last {
		t.Fatalf("pull ended with %v after %d messages", err, len(got))
	}
	return got
}

func never(int) bool  { return false }
func always(int) bool { return true }

func wantRange(t testing.TB, got []int, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("got %d messages, want %d to %d", len(got), from, to)
	}
	for i, n := range got {
		if n != from+i {
			t.Fatalf("message %d is number %d, want %d", i, n, from+i)
		}
	}
}

func testLanes(t *testing.T, w *world, id globaltable.LaneID) {
	ctx := testContext(t)
	us := w.dial(t, "us")
	spec := LaneSpec{ID: id, Peers: []string{"us"}, MaxBytes: 1 << 20}
	if err := us.Pull(ctx, id, 1<<20, func(Message) {}); !errors.Is(err, ErrNoConsumer) {
		t.Fatalf("pull without a lane: %v", err)
	}
	if err := w.home.OpenLane(ctx, spec); !errors.Is(err, ErrNoLane) || globaltable.KindOf(err) != globaltable.NotFound {
		t.Fatalf("open without a lane: %v", err)
	}
	if err := w.home.ResetLane(ctx, LaneSpec{ID: id}); globaltable.KindOf(err) != globaltable.Invalid {
		t.Fatalf("reset without a bound: %v", err)
	}
	if err := w.home.ResetLane(ctx, spec); err != nil {
		t.Fatal(err)
	}
	w.publish(t, id, 0, 3, 100)
	if err := us.Pull(ctx, id, 1<<20, func(Message) {}); !errors.Is(err, ErrNoConsumer) {
		t.Fatalf("pull from a lane that is not open: %v", err)
	}
	if err := w.home.OpenLane(ctx, spec); err != nil {
		t.Fatal(err)
	}
	wantRange(t, pullTo(t, us, id, 2, always), 0, 3)
	in := w.dial(t, "in")
	if err := in.Pull(ctx, id, 1<<20, func(Message) {}); !errors.Is(err, ErrNoConsumer) {
		t.Fatalf("pull by a region that is no peer of the lane: %v", err)
	}
	spec.Peers = []string{"in"}
	if err := w.home.OpenLane(ctx, spec); err != nil {
		t.Fatal(err)
	}
	wantRange(t, pullTo(t, in, id, 2, always), 0, 3)
	if err := us.Pull(ctx, id, 1<<20, func(Message) {}); !errors.Is(err, ErrNoConsumer) {
		t.Fatalf("pull by a region that is no peer of the lane any more: %v", err)
	}
	for range 2 {
		if err := w.home.RemoveLane(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Pull(ctx, id, 1<<20, func(Message) {}); !errors.Is(err, ErrNoConsumer) {
		t.Fatalf("pull from a lane that was removed: %v", err)
	}
	done := make(chan error, 1)
	if err := w.home.Publish(ctx, id, []byte("x"), func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrNoLane) {
		t.Fatalf("publish to a lane that was removed: %v", err)
	}
	select {
	case <-w.home.Reset():
	case <-ctx.Done():
		t.Fatal("no reset signal though a stream is gone")
	}
}

func testOrder(t *testing.T, w *world, id globaltable.LaneID) {
	w.openLane(t, id, 64<<20)
	us := w.dial(t, "us")
	started := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		<-started
		w.publish(t, id, 1, 5000, 700)
	})
	w.publish(t, id, 0, 1, 700)
	var once sync.Once
	got := pullTo(t, us, id, 4999, func(i int) bool {
		once.Do(func() { close(started) }) // so that most is published while the pull waits
		return i%100 == 0
	})
	wg.Wait()
	wantRange(t, got, 0, 5000)
}

// testResume breaks the link in the middle: everything that was not acknowledged comes again, in order.
func testResume(t *testing.T, w *world, id globaltable.LaneID) {
	w.openLane(t, id, 64<<20)
	w.publish(t, id, 0, 1000, 2000)
	us := w.dial(t, "us")
	ctx, next := testContext(t), 0
	for round := range 3 {
		first := true
		err := us.Pull(ctx, id, 8<<20, func(m Message) {
			i := number(t, m)
			if first && i > next || !first && i != next { // an acknowledgement that was under way may be lost
				t.Errorf("round %d: got %d, next is %d", round, i, next)
			}
			first, next = false, i+1
			if i == 200*(round+1) {
				if err := m.Ack(); err != nil {
					t.Errorf("ack: %v", err)
				}
			}
			if i == 200*(round+1)+50 {
				w.breakLinks(t)
			}
		})
		if !errors.Is(err, ErrLinkLost) {
			t.Fatalf("round %d ended with %v", round, err)
		}
		awaitLink(t, us)
	}
	got := pullTo(t, us, id, 999, always)
	wantRange(t, got, got[0], 1000)
	if got[0] > next {
		t.Fatalf("resumed at %d after %d", got[0], next)
	}
}

// awaitLink waits until the link has a connection again.
func awaitLink(t testing.TB, l Link) {
	t.Helper()
	ctx := testContext(t)
	for ctx.Err() == nil {
		err := l.Request(ctx, nil, func([]byte) error { return nil })
		if !errors.Is(err, ErrLinkLost) {
			return
		}
	}
	t.Fatal("the link did not come back")
}

func testAckAll(t *testing.T, w *world, id globaltable.LaneID) {
	w.openLane(t, id, 64<<20)
	w.publish(t, id, 0, 100, 100)
	us := w.dial(t, "us")
	// An acknowledgement does not wait, so a Pull that begins at once may still get what was acknowledged. It is sent again then.
	resumesAt := func(want int, ack func(int) bool) {
		t.Helper()
		for ctx := testContext(t); ; {
			got := pullTo(t, us, id, 99, ack)
			wantRange(t, got, got[0], 100)
			if got[0] == want {
				return
			}
			if got[0] > want || ctx.Err() != nil {
				t.Fatalf("the pull began at %d, want %d", got[0], want)
			}
		}
	}
	resumesAt(0, never)
	resumesAt(60, func(i int) bool { return i == 59 })
	resumesAt(60, func(i int) bool { return i == 59 }) // not lower, nor higher by what was only delivered
	resumesAt(99, func(i int) bool { return i == 98 })
	w.publish(t, id, 100, 103, 100)
	wantRange(t, pullTo(t, us, id, 102, never), 99, 103)
	wantRange(t, pullTo(t, w.dial(t, "in"), id, 102, never), 0, 103)
}

func testBounded(t *testing.T, w *world, id globaltable.LaneID) {
	w.openLane(t, id, 1<<20)
	w.publish(t, id, 0, 300, 10_000)
	got := pullTo(t, w.dial(t, "us"), id, 299, always)
	wantRange(t, got, got[0], 300)
	if len(got) < 50 || len(got) > 1<<20/10_000 {
		t.Fatalf("the stream of 1 MiB kept %d messages of 10 kB", len(got))
	}
}

// testRead: who reads a lane at home sees all that the stream has, in order, and takes nothing from peers.
func testRead(t *testing.T, w *world, id globaltable.LaneID) {
	read := func() (got []int) {
		err := w.home.ReadLane(testContext(t), id, func(msg []byte) error {
			got = append(got, number(t, Message{Data: msg}))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := read(); len(got) > 0 {
		t.Fatalf("a lane that was never made has %d messages", len(got))
	}
	w.openLane(t, id, 1<<20)
	if got := read(); len(got) > 0 {
		t.Fatalf("an empty stream has %d messages", len(got))
	}
	w.publish(t, id, 0, 300, 10_000)
	got := read()
	wantRange(t, got, got[0], 300)
	failed := errors.New("enough")
	if err := w.home.ReadLane(testContext(t), id, func([]byte) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("a reader that fails: %v", err)
	}
	wantRange(t, pullTo(t, w.dial(t, "us"), id, 299, always), got[0], 300)
}

// testList: whoever lists lanes sees each of which there is a stream, open or not, also those that another home has left there.
func testList(t *testing.T, w *world, id globaltable.LaneID) {
	ctx := testContext(t)
	lists := func(id globaltable.LaneID) bool {
		t.Helper()
		all, err := w.home.Lanes(ctx)
		if err != nil || !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Fatalf("%v, %v", all, err)
		}
		return slices.Contains(all, id)
	}
	if lists(id) {
		t.Fatal("a lane that was never made is listed")
	}
	spec := LaneSpec{ID: id, MaxBytes: 1 << 20}
	for range 2 {
		if err := w.home.ResetLane(ctx, spec); err != nil || !lists(id) {
			t.Fatalf("a lane that was made is not listed: %v", err)
		}
	}
	if err := w.home.OpenLane(ctx, spec); err != nil || !lists(id) {
		t.Fatalf("an open lane is not listed: %v", err)
	}
	many := make([]globaltable.LaneID, 0, 5)
	for i := range cap(many) {
		other := id + 1<<32 + globaltable.LaneID(i)
		many = append(many, other)
		if err := w.home.ResetLane(ctx, LaneSpec{ID: other, MaxBytes: 1 << 10}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.home.Lanes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range append(many, id) {
		if !slices.Contains(all, other) {
			t.Fatalf("lane %s is not listed", other)
		}
		if err := w.home.RemoveLane(ctx, other); err != nil {
			t.Fatal(err)
		}
	}
	if all, err = w.home.Lanes(ctx); err != nil || slices.ContainsFunc(append(many, id), func(other globaltable.LaneID) bool { return slices.Contains(all, other) }) {
		t.Fatalf("a lane that was removed is listed: %v", err)
	}
}

func testReset(t *testing.T, w *world, id globaltable.LaneID) {
	spec := w.openLane(t, id, 1<<20)
	w.publish(t, id, 0, 10, 100)
	us := w.dial(t, "us")
	pulled := make(chan error, 1)
	seen := make(chan struct{})
	go func() {
		pulled <- us.Pull(testContext(t), id, 1<<20, func(m Message) {
			if number(t, m) == 9 {
				close(seen)
			}
		})
	}()
	<-seen
	if err := w.home.ResetLane(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	if err := <-pulled; !errors.Is(err, ErrNoConsumer) {
		t.Fatalf("the pull ended with %v", err)
	}
	w.publish(t, id, 20, 25, 100)
	if err := w.home.OpenLane(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	wantRange(t, pullTo(t, us, id, 24, always), 20, 25)
	select {
	case <-w.home.Reset():
		t.Fatal("a reset of our own is no alarm")
	default:
	}
}

func testLarge(t *testing.T, w *world, id globaltable.LaneID) {
	w.openLane(t, id, 64<<20)
	w.publish(t, id, 0, 8, MaxMessage)
	err := w.home.Publish(testContext(t), id, make([]byte, MaxMessage+1), func(error) { t.Error("done after an error") })
	if !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too large a message: %v", err)
	}
	w.publish(t, id, 8, 10, 10)
	wantRange(t, pullTo(t, w.dial(t, "us"), id, 9, always), 0, 10)
}

func testVolume(t *testing.T, w *world, id globaltable.LaneID) {
	w.openLane(t, id, 256<<20)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, peer := range []string{"us", "in"} {
		l := w.dial(t, peer)
		wg.Go(func() {
			if got := pullTo(t, l, id, 1999, func(i int) bool { return i%64 == 0 }); len(got) != 2000 {
				t.Errorf("%s got %d messages", peer, len(got))
			}
		})
	}
	w.publish(t, id, 0, 2000, 64<<10)
}

// serve runs a handler until the test ends.
func (w *world) serve(t testing.TB, h Handler) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.home.Serve(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	l := w.dial(t, "us")
	wait := testContext(t)
	for errors.Is(l.Request(wait, []byte("ping"), func([]byte) error { return nil }), ErrNoService) {
		if wait.Err() != nil {
			t.Fatal("nobody serves")
		}
	}
}

func testAnswer(t *testing.T, w *world, _ globaltable.LaneID) {
	const parts = 3000
	w.serve(t, func(_ context.Context, peer string, request []byte, reply func([]byte) error) error {
		if string(request) == "ping" {
			return nil
		}
		for i := range parts {
			size := 8 + i
			if i%300 == 0 {
				size = MaxMessage
			}
			if err := reply(numbered(i, size)); err != nil {
				return err
			}
		}
		return reply([]byte(peer + string(request)))
	})
	n, last := 0, ""
	err := w.dial(t, "in").Request(testContext(t), []byte("?"), func(part []byte) error {
		if n < parts && int(binary.BigEndian.Uint64(part)) != n {
			t.Errorf("part %d is %d", n, binary.BigEndian.Uint64(part))
		}
		n, last = n+1, string(part)
		return nil
	})
	if err != nil || n != parts+1 || last != "in?" {
		t.Fatalf("%d parts, %v", n, err)
	}
	if err := w.dial(t, "in").Request(testContext(t), make([]byte, MaxMessage+1), nil); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too large a request: %v", err)
	}
	big := make([]byte, MaxMessage)
	if err := w.dial(t, "in").Request(testContext(t), big, func([]byte) error { return context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Fatalf("an error of each is the answer's: %v", err)
	}
}

func testConcurrentAnswers(t *testing.T, w *world, _ globaltable.LaneID) {
	w.serve(t, func(_ context.Context, peer string, request []byte, reply func([]byte) error) error {
		for i := range 200 {
			if err := reply(fmt.Appendf(nil, "%s %s %d", peer, request, i)); err != nil {
				return err
			}
		}
		return nil
	})
	var wg sync.WaitGroup
	for _, peer := range []string{"us", "in"} {
		l := w.dial(t, peer)
		for i := range 8 {
			wg.Go(func() {
				n := 0
				err := l.Request(testContext(t), fmt.Append(nil, i), func(part []byte) error {
					if string(part) != fmt.Sprintf("%s %d %d", peer, i, n) {
						t.Errorf("%s %d: part %d is %q", peer, i, n, part)
					}
					n++
					return nil
				})
				if err != nil || n != 200 {
					t.Errorf("%s %d: %d parts, %v", peer, i, n, err)
				}
			})
		}
	}
	wg.Wait()
}

func testHandlerError(t *testing.T, w *world, _ globaltable.LaneID) {
	w.serve(t, func(_ context.Context, _ string, _ []byte, reply func([]byte) error) error {
		if err := reply([]byte("a")); err != nil {
			return err
		}
		if err := reply(make([]byte, MaxMessage+1)); !errors.Is(err, ErrTooLarge) {
			return fmt.Errorf("too large a part: %v", err)
		}
		return errors.New("no such lane here")
	})
	n := 0
	err := w.dial(t, "us").Request(testContext(t), nil, func([]byte) error { n++; return nil })
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Message != "no such lane here" || n != 1 {
		t.Fatalf("%d parts, %v", n, err)
	}
}

func testBoundedHandlers(t *testing.T, w *world, _ globaltable.LaneID) {
	release := make(chan struct{})
	running := make(chan struct{}, maxHandlersPerPeer)
	w.serve(t, func(ctx context.Context, _ string, request []byte, _ func([]byte) error) error {
		if string(request) != "wait" {
			return nil
		}
		running <- struct{}{}
		<-release
		return nil
	})
	us, in := w.dial(t, "us"), w.dial(t, "in")
	var wg sync.WaitGroup
	for range maxHandlersPerPeer {
		wg.Go(func() {
			if err := us.Request(testContext(t), []byte("wait"), nil); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxHandlersPerPeer {
		<-running
	}
	if err := us.Request(testContext(t), nil, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("one request too many: %v", err)
	}
	if err := in.Request(testContext(t), nil, nil); err != nil {
		t.Errorf("a request of another peer: %v", err)
	}
	close(release)
	wg.Wait()
}

// testAskerStops has an asker that goes away in the middle of an endless answer: the handler learns of it. Before, the handler is held back.
func testAskerStops(t *testing.T, w *world, _ globaltable.LaneID) {
	stopped := make(chan int, 1)
	w.serve(t, func(ctx context.Context, _ string, request []byte, reply func([]byte) error) error {
		if string(request) == "ping" {
			return nil
		}
		part, sent := make([]byte, 64<<10), 0
		for reply(part) == nil {
			sent++
		}
		stopped <- sent
		if ctx.Err() == nil {
			t.Error("reply failed before the handler's context ended")
		}
		return ctx.Err()
	})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	n := 0
	err := w.dial(t, "us").Request(ctx, nil, func([]byte) error {
		if n++; n == 1000 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if sent := <-stopped; sent > n+answerWindowParts {
		t.Errorf("the handler sent %d parts though %d were consumed", sent, n)
	}
}

func testLinkLostInAnswer(t *testing.T, w *world, _ globaltable.LaneID) {
	w.serve(t, func(_ context.Context, _ string, request []byte, reply func([]byte) error) error {
		for i := 0; string(request) == "many"; i++ {
			if err := reply(numbered(i, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
	us := w.dial(t, "us")
	n := 0
	err := us.Request(testContext(t), []byte("many"), func([]byte) error {
		if n++; n == 20 {
			w.breakLinks(t)
		}
		return nil
	})
	if !errors.Is(err, ErrLinkLost) {
		t.Fatalf("after %d parts: %v", n, err)
	}
	awaitLink(t, us)
	if err := us.Request(testContext(t), nil, nil); err != nil {
		t.Fatalf("the link came back, but %v", err)
	}
}

func testNobodyServes(t *testing.T, w *world, _ globaltable.LaneID) {
	us := w.dial(t, "us")
	if err := us.Request(testContext(t), nil, nil); !errors.Is(err, ErrNoService) {
		t.Fatalf("nobody serves: %v", err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	inside, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- w.home.Serve(ctx, func(ctx context.Context, _ string, request []byte, _ func([]byte) error) error {
			if len(request) == 0 {
				return nil
			}
			close(inside)
			<-ctx.Done()
			return nil
		})
	}()
	for errors.Is(us.Request(testContext(t), nil, nil), ErrNoService) {
		if ctx.Err() != nil {
			t.Fatal("nobody serves")
		}
	}
	if err := w.home.Serve(ctx, nil); err == nil {
		t.Error("two may not serve at once")
	}
	asked := make(chan error, 1)
	go func() { asked <- us.Request(testContext(t), []byte("wait"), nil) }()
	<-inside
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var remote *RemoteError
	if err := <-asked; !errors.As(err, &remote) {
		t.Fatalf("a handler that was cut short did not fail: %v", err)
	}
}

func testProbe(t *testing.T, w *world, _ globaltable.LaneID) {
	for _, peer := range []string{"us", "in"} {
		if err := w.dial(t, peer).Probe(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// testClosed runs last: it closes the home.
func testClosed(t *testing.T, w *world, id globaltable.LaneID) {
	us := w.dial(t, "us")
	w.openLane(t, id, 1<<20)
	if err := us.Close(); err != nil {
		t.Fatal(err)
	}
	if err := us.Request(testContext(t), nil, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("request on a closed link: %v", err)
	}
	if err := us.Pull(testContext(t), id, 1, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("pull on a closed link: %v", err)
	}
	serving := make(chan error, 1)
	go func() {
		serving <- w.home.Serve(context.Background(), func(context.Context, string, []byte, func([]byte) error) error { return nil })
	}()
	in := w.dial(t, "in")
	for errors.Is(in.Request(testContext(t), nil, nil), ErrNoService) {
	}
	for range 2 {
		if err := w.home.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-serving; !errors.Is(err, ErrClosed) {
		t.Fatalf("Serve ended with %v", err)
	}
	if err := w.home.Publish(testContext(t), id, []byte("x"), func(error) { t.Error("done after an error") }); !errors.Is(err, ErrClosed) {
		t.Fatalf("publish on a closed home: %v", err)
	}
}
