package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a link.
const (
	// DefaultWindow is how many bytes a link holds in one direction of one connection before it stops reading: enough for 64 MB in
	// flight, or 700 MB/s at 90 ms.
	DefaultWindow = 64 << 20
	// maxConnections is how many connections a link carries at once. Further ones are reset.
	maxConnections = 512

	readBytes     = 64 << 10 // read at once
	chunkOverhead = 64       // counted for each chunk beside its bytes, so that many small ones are bounded too
)

// Delay is how long a byte is under way, by direction. Zero passes it on at once.
type Delay struct {
	Out  time.Duration // from whoever connects to the target
	Back time.Duration // from the target
}

// Both returns the delay d in both directions.
func Both(d time.Duration) Delay { return Delay{Out: d, Back: d} }

// LinkStats counts what a link delivered since it was made.
type LinkStats struct {
	Connections uint64 // accepted, the refused ones among them
	Refused     uint64 // reset because maxConnections were open or the target did not answer
	Out, Back   uint64 // bytes delivered to the target and from it
}

// Link is a TCP path between two regions on one machine, as long as a real one: each byte arrives its delay after it was sent. It
// can be cut and healed.
//
// A delay must not become a bandwidth. A proxy that reads, sleeps and writes carries one buffer per delay; here a reader stamps
// each chunk with the time at which it is due and goes on reading, and a writer delivers the chunks when they are due, in
// order. What is under way is bounded in bytes (DefaultWindow); at the bound the reader stops, and TCP slows the sender.
//
// A cut link is silent, as a network that drops packets is: connections stay open, nothing arrives, new connections get no
// answer. So software on both sides has to notice the silence by itself; a reset would tell it. What was under way is sent
// again at the moment of the healing, as TCP would do, and so arrives the delay after it.
//
// The handshake is not delayed: the kernel accepts at once. The target sees the connection after the delay.
//
// github.com/Shopify/toxiproxy/v2 was considered. Its latency toxic holds 1,024 chunks whatever their size, which throttles small
// messages on a long link; it cannot be silent and keep what is under way; and it starts goroutines that nobody waits for.
type Link struct {
	listener net.Listener
	target   string
	delay    Delay
	window   int
	gate     *gate
	tap      Tap // nil: none

	connections, tapped, refused, out, back atomic.Uint64
}

// Tap returns who hears what one connection carries in one direction, back being from the target. He gets it when it comes, whenever it is delivered, and is closed when the direction has ended. He must not fail. Connections count
// from 1.
type Tap func(connection uint64, back bool) io.WriteCloser

// NewLink listens on the address listen (port 0 chooses one, see Addr) for a link to target. Run carries connections; a link that is
// never run must be closed.
func NewLink(listen, target string, delay Delay) (*Link, error) {
	if delay.Out < 0 || delay.Back < 0 {
		return nil, fmt.Errorf("link to %s: a delay is negative: %v out, %v back", target, delay.Out, delay.Back)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", target, err)
	}
	return &Link{listener: l, target: target, delay: delay, window: DefaultWindow, gate: newGate()}, nil
}

// Addr returns the address to connect to instead of the target's.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Overhear makes t hear all connections. It has to be called before Run.
func (l *Link) Overhear(t Tap) { l.tap = t }

// heard returns src, heard by the tap, and what is to be called after it.
func (l *Link) heard(src io.Reader, connection uint64, back bool) (io.Reader, func()) {
	if l.tap == nil {
		return src, func() {}
	}
	w := l.tap(connection, back)
	return io.TeeReader(src, w), func() { _ = w.Close() }
}

// Close stops listening. Connections end with Run.
func (l *Link) Close() error { return l.listener.Close() }

// Cut makes the link silent in both directions. It returns at once and may be called again.
func (l *Link) Cut() { l.gate.shut() }

// Heal ends the silence.
func (l *Link) Heal() { l.gate.open() }

// IsCut reports whether the link is silent.
func (l *Link) IsCut() bool { return l.gate.isShut() }

// Stats returns what was delivered so far.
func (l *Link) Stats() LinkStats {
	return LinkStats{Connections: l.connections.Load(), Refused: l.refused.Load(), Out: l.out.Load(), Back: l.back.Load()}
}

// Run carries connections until ctx is done, then resets them, waits for its goroutines and returns nil. It returns an error when
// it cannot accept any more. A link runs once.
func (l *Link) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var carriers sync.WaitGroup
	defer carriers.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.listener.Close() })
	defer stop()

	slots := make(chan struct{}, maxConnections)
	for {
		near, err := l.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("link to %s: accept: %w", l.target, err)
		}
		l.connections.Add(1)
		select {
		case slots <- struct{}{}:
		default:
			l.refused.Add(1)
			abort(near)
			continue
		}
		carriers.Go(func() {
			defer func() { <-slots }()
			l.carry(ctx, near, l.dial)
		})
	}
}

func (l *Link) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", l.target)
}

// carry takes one connection from near to what dial returns, until both directions have ended or ctx is done, and closes both. It
// resets near when there is nothing to take it to.
func (l *Link) carry(ctx context.Context, near net.Conn, dial func(context.Context) (net.Conn, error)) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { abort(near) })
	defer stop()

	connection := l.tapped.Add(1)
	out := newLine(l.delay.Out, l.window)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer abort(near) // before the wait: its reader may be blocked in it
	defer cancel()
	var connected atomic.Bool
	readers.Go(func() {
		src, end := l.heard(near, connection, false)
		defer end()
		empty := out.fill(ctx, src)
		if empty && !connected.Load() {
			cancel() // gave up before it got through: the target never hears of it
		}
	})

	if !l.gate.await(ctx, time.Now().Add(l.delay.Out), l.delay.Out) {
		return
	}
	far, err := dial(ctx)
	if err != nil {
		l.refused.Add(1)
		return
	}
	connected.Store(true)
	stopFar := context.AfterFunc(ctx, func() { abort(far) })
	defer stopFar()

	back := newLine(l.delay.Back, l.window)
	var directions sync.WaitGroup
	directions.Go(func() {
		src, end := l.heard(far, connection, true)
		defer end()
		back.fill(ctx, src)
	})
	directions.Go(func() { back.drain(ctx, near, far, l.gate, &l.back) })
	directions.Go(func() { out.drain(ctx, far, near, l.gate, &l.out) })
	directions.Wait()
	// Properly, while ctx is alive: an abort could throw away what the kernel has not delivered yet.
	near.Close()
	far.Close()
}

// chunk is some bytes, or the end of a direction, under way.
type chunk struct {
	due  time.Time
	data []byte
	end  bool
	err  error // with end: why; nil for a proper end
}

// line is one direction of one connection: a queue between the goroutine that fills it and the one that drains it.
type line struct {
	delay  time.Duration
	window int

	mu     sync.Mutex
	chunks []chunk
	held   int // bytes in chunks, overhead included

	filled, drained chan struct{} // capacity 1: something changed
	gone            chan struct{} // closed when nobody drains any more
}

func newLine(delay time.Duration, window int) *line {
	return &line{delay: delay, window: window,
		filled: make(chan struct{}, 1), drained: make(chan struct{}, 1), gone: make(chan struct{})}
}

// fill reads src to its end. It reports whether that came without a byte before it.
func (q *line) fill(ctx context.Context, src io.Reader) (empty bool) {
	buf := make([]byte, readBytes)
	empty = true
	for {
		n, err := src.Read(buf)
		due := time.Now().Add(q.delay)
		if n > 0 {
			empty = false
			if !q.push(ctx, chunk{due: due, data: append([]byte(nil), buf[:n]...)}) {
				return empty
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			q.push(ctx, chunk{due: due, end: true, err: err})
			return empty
		}
	}
}

// drain delivers what is due to dst until the end of the direction. When dst takes no more, it stops reading src.
func (q *line) drain(ctx context.Context, dst, src net.Conn, g *gate, delivered *atomic.Uint64) {
	defer close(q.gone)
	for {
		c, ok := q.next(ctx)
		if !ok || !g.await(ctx, c.due, q.delay) {
			return
		}
		switch {
		case c.end && c.err != nil:
			abort(dst)
			return
		case c.end:
			closeWrite(dst)
			return
		}
		n, err := dst.Write(c.data)
		delivered.Add(uint64(n))
		if err != nil {
			// The other direction may still have something to say: only this one ends.
			_ = src.SetReadDeadline(time.Unix(1, 0))
			return
		}
		q.remove()
	}
}

// push appends c. It blocks while the window is full, and reports false when ctx is done or nobody drains.
func (q *line) push(ctx context.Context, c chunk) bool {
	size := len(c.data) + chunkOverhead
	for {
		q.mu.Lock()
		if q.held == 0 || q.held+size <= q.window {
			q.chunks = append(q.chunks, c)
			q.held += size
			q.mu.Unlock()
			notify(q.filled)
			return true
		}
		q.mu.Unlock()
		select {
		case <-q.drained:
		case <-q.gone:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// next returns the first chunk and leaves it in the queue, so that it counts as held until it is delivered.
func (q *line) next(ctx context.Context) (chunk, bool) {
	for {
		q.mu.Lock()
		if len(q.chunks) > 0 {
			c := q.chunks[0]
			q.mu.Unlock()
			return c, true
		}
		q.mu.Unlock()
		select {
		case <-q.filled:
		case <-ctx.Done():
			return chunk{}, false
		}
	}
}

// remove takes the first chunk away.
func (q *line) remove() {
	q.mu.Lock()
	q.held -= len(q.chunks[0].data) + chunkOverhead
	q.chunks[0] = chunk{} // its bytes can go
	q.chunks = q.chunks[1:]
	q.mu.Unlock()
	notify(q.drained)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// gate lets everything pass or holds everything back. It is made by newGate and not copied.
type gate struct {
	mu     sync.Mutex
	way    chan struct{} // closed while the gate is open
	held   bool
	healed time.Time // when it was last opened; zero: never shut
}

func newGate() *gate {
	g := &gate{way: make(chan struct{})}
	close(g.way)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.held {
		g.way, g.held = make(chan struct{}), true
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held {
		close(g.way)
		g.held, g.healed = false, time.Now()
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

// await returns when what is due at due may arrive: then, or the delay after the last healing, whichever is later, and never
// while the gate is shut. It reports false when ctx is done first.
func (g *gate) await(ctx context.Context, due time.Time, delay time.Duration) bool {
	for {
		g.mu.Lock()
		way, again := g.way, g.healed.Add(delay)
		g.mu.Unlock()
		if again.After(due) {
			due = again
		}
		select {
		case <-way:
		case <-ctx.Done():
			return false
		}
		if !sleepUntil(ctx, due) {
			return false
		}
		g.mu.Lock()
		pass := !g.held && !g.healed.Add(delay).After(due)
		g.mu.Unlock()
		if pass {
			return true
		}
	}
}

// sleepUntil reports false when ctx is done first.
func sleepUntil(ctx context.Context, due time.Time) bool {
	d := time.Until(due)
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// abort closes c so that the other side sees a reset, not an end.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // fails on a connection that is gone already
	}
	_ = c.Close()
}

// closeWrite ends the direction towards c, or the whole connection where its kind knows no half.
func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite() // an error means that c is gone, and then there is nobody to tell
		return
	}
	_ = c.Close()
}
