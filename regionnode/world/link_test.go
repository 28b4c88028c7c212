package world

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// bubble runs one connection of a link with pipes for both ends, in virtual time, and waits for its end after f.
func bubble(t *testing.T, delay Delay, window int, f func(t *testing.T, l *Link, near, far net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		l := &Link{delay: delay, window: window, gate: newGate()}
		near, nearInner := net.Pipe()
		far, farInner := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		var carrier sync.WaitGroup
		carrier.Go(func() { l.carry(ctx, nearInner, func(context.Context) (net.Conn, error) { return farInner, nil }) })
		f(t, l, near, far)
		cancel()
		carrier.Wait()
	})
}

func send(t *testing.T, c net.Conn, data string) {
	t.Helper()
	if _, err := c.Write([]byte(data)); err != nil {
		t.Error(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("received %q, %v, want %q", got, err, want)
	}
}

func TestLinkDelaysEachDirection(t *testing.T) {
	bubble(t, Delay{Out: 40 * time.Millisecond, Back: 90 * time.Millisecond}, DefaultWindow, func(t *testing.T, l *Link, near, far net.Conn) {
		start := time.Now()
		send(t, near, "there")
		receive(t, far, "there")
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Errorf("out took %v", d)
		}
		start = time.Now()
		send(t, far, "and back")
		receive(t, near, "and back")
		if d := time.Since(start); d != 90*time.Millisecond {
			t.Errorf("back took %v", d)
		}
		synctest.Wait() // the counters follow the delivery
		if got, want := l.Stats(), (LinkStats{Out: 5, Back: 8}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

// A megabyte in small messages, sent at once, arrives after one delay and not after one for each.
func TestLinkDelayDoesNotThrottle(t *testing.T) {
	bubble(t, Both(90*time.Millisecond), DefaultWindow, func(t *testing.T, l *Link, near, far net.Conn) {
		const messages = 8192
		start := time.Now()
		for range messages {
			send(t, near, string(make([]byte, 128)))
		}
		if _, err := io.CopyN(io.Discard, far, messages*128); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 90*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}

func TestLinkHoldsAtMostItsWindow(t *testing.T) {
	const window = 4 * (1000 + chunkOverhead)
	bubble(t, Both(time.Millisecond), window, func(t *testing.T, l *Link, near, far net.Conn) {
		l.Cut()
		var sent int
		var sender sync.WaitGroup
		sender.Go(func() {
			for ; sent < 10; sent++ {
				send(t, near, string(make([]byte, 1000)))
			}
		})
		time.Sleep(time.Hour) // virtual
		synctest.Wait()
		// Four fill the window, a fifth is in the hand of the reader.
		if sent != 5 {
			t.Errorf("a cut link took %d messages of 1000 bytes, its window holds 4", sent)
		}
		l.Heal()
		if _, err := io.CopyN(io.Discard, far, 10*1000); err != nil {
			t.Error(err)
		}
		sender.Wait()
	})
}

func TestLinkCutIsSilentAndHealDelivers(t *testing.T) {
	bubble(t, Both(40*time.Millisecond), DefaultWindow, func(t *testing.T, l *Link, near, far net.Conn) {
		send(t, near, "before ")
		receive(t, far, "before ")
		send(t, near, "under way ")
		l.Cut()
		l.Cut()
		send(t, near, "after")
		if !l.IsCut() {
			t.Error("not cut")
		}
		if err := far.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n, err := far.Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("a cut link delivered %d bytes, %v", n, err)
		}
		if err := far.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		l.Heal()
		l.Heal()
		start := time.Now()
		receive(t, far, "under way after")
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Errorf("what a cut held back was there %v after the healing, want one delay", d)
		}
		start = time.Now()
		send(t, near, "later")
		receive(t, far, "later")
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Errorf("after the healing a message took %v", d)
		}
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// A client that gave up while the link was cut never reaches the target, and leaves nothing behind.
func TestLinkForgetsWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Link{delay: Both(time.Millisecond), window: DefaultWindow, gate: newGate()}
		l.Cut()
		near, inner := net.Pipe()
		var carrier sync.WaitGroup
		carrier.Go(func() {
			l.carry(t.Context(), inner, func(context.Context) (net.Conn, error) {
				t.Error("dialled")
				return nil, net.ErrClosed
			})
		})
		time.Sleep(time.Second)
		near.Close()
		carrier.Wait()
	})
}

// run starts a link to a server that handles each connection with handle, and returns its address. All ends with the test.
func run(t *testing.T, delay Delay, handle func(*net.TCPConn)) *Link {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLink("127.0.0.1:0", server.Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		server.Close()
		all.Wait()
		goleak.VerifyNone(t, leaks...)
	})
	return l
}

func connect(t *testing.T, l *Link) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// Over real sockets, pieces of random sizes go through and come back as they were, over several connections at once; the end of one
// direction leaves the other open.
func TestLinkKeepsBytesAndOrder(t *testing.T) {
	l := run(t, Both(2*time.Millisecond), func(c *net.TCPConn) {
		h := sha256.New()
		if _, err := io.Copy(io.MultiWriter(h, c), c); err != nil { // echo, then the sum after the end
			t.Error(err)
		}
		if _, err := c.Write(h.Sum(nil)); err != nil {
			t.Error(err)
		}
	})
	var clients sync.WaitGroup
	for i := range 4 {
		c := connect(t, l)
		data := make([]byte, 1<<20)
		r := rand.NewChaCha8([32]byte{byte(i)})
		_, _ = r.Read(data) // never fails
		clients.Go(func() {
			sizes := rand.New(r)
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+sizes.IntN(40_000))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Error(err)
				}
				rest = rest[n:]
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		clients.Go(func() {
			got, err := io.ReadAll(c)
			sum := sha256.Sum256(data)
			if err != nil || !bytes.Equal(got, append(bytes.Clone(data), sum[:]...)) {
				t.Errorf("got %d bytes, %v, want %d unchanged and their sum", len(got), err, len(data))
			}
		})
	}
	clients.Wait()
}

func TestLinkDelaysAtLeast(t *testing.T) {
	l := run(t, Both(15*time.Millisecond), func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	c := connect(t, l)
	start := time.Now()
	send(t, c, "ping")
	receive(t, c, "ping")
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("round trip took %v, less than both delays", d)
	}
}

func TestLinkPassesResetsOn(t *testing.T) {
	done := make(chan error, 1)
	l := run(t, Both(0), func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		done <- err
	})
	c := connect(t, l)
	send(t, c, "x")
	abort(c)
	if err := <-done; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target saw %v, want a reset", err)
	}
}

func TestLinkToNobodyResets(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := free.Addr().String()
	free.Close()
	l, err := NewLink("127.0.0.1:0", target, Both(0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer goleak.VerifyNone(t, leaks...)
	var runner sync.WaitGroup
	runner.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer runner.Wait()
	defer cancel()
	c, err := net.Dial("tcp", l.Addr())
	if err == nil { // the reset may come even before Dial has looked
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a link to nobody: %v, want a reset", err)
	}
	if s := l.Stats(); s.Connections != 1 || s.Refused != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestLinkBadArguments(t *testing.T) {
	if _, err := NewLink("127.0.0.1:0", "127.0.0.1:1", Delay{Back: -1}); err == nil {
		t.Error("took a negative delay")
	}
	if _, err := NewLink("nowhere", "127.0.0.1:1", Delay{}); err == nil {
		t.Error("took an address without a port")
	}
}

// heard takes what is written, from any goroutine, and a full stop at the end.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Close() error {
	_, err := h.Write([]byte("."))
	return err
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(b)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// A tap hears both directions of each connection, at once: what a cut link holds back, too.
func TestLinkIsOverheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, back heard
		l := &Link{window: DefaultWindow, gate: newGate()}
		l.Overhear(func(connection uint64, b bool) io.WriteCloser {
			if connection != 1 {
				t.Errorf("connection %d; want 1", connection)
			}
			if b {
				return &back
			}
			return &out
		})
		near, nearInner := net.Pipe()
		far, farInner := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		var carrier sync.WaitGroup
		carrier.Go(func() { l.carry(ctx, nearInner, func(context.Context) (net.Conn, error) { return farInner, nil }) })
		send(t, near, "there")
		receive(t, far, "there")
		send(t, far, "and back")
		receive(t, near, "and back")
		l.Cut()
		send(t, near, ", again")
		synctest.Wait()
		cancel()
		carrier.Wait()
		if out.String() != "there, again." || back.String() != "and back." {
			t.Errorf("heard %q out, %q back", out.String(), back.String())
		}
	})
}
