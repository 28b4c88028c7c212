package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/globaltable"
)

// Bounds of what runs at once at an origin.
const (
	maxHandlers        = 256 // of all peers
	maxHandlersPerPeer = 48  // so that one peer cannot use them up
	maxRewindsPerPeer  = 64  // waiting; they run one at a time
	rewindTimeout      = 15 * time.Second
)

// timing holds the intervals by which both sides notice that the other is gone, though no connection broke.
type timing struct {
	alive   time.Duration // a side with nothing to say says so this often
	silence time.Duration // and is given up when not heard for so long
}

var defaultTiming = timing{alive: 5 * time.Second, silence: 20 * time.Second}

var (
	errAskerGone   = errors.New("bus: the asker has gone")
	errAskerSilent = errors.New("bus: nothing heard from the asker")
	errNoPeer      = errors.New("bus: the asker is no peer any more")
	errNotServing  = errors.New("bus: serving ended")
)

// answerer is the origin's side of requests: it takes the frames of all peers, runs handlers within bounds, and holds each back while its
// asker does not keep up. The name of a peer comes from the subject, which only that peer's account can reach.
type answerer struct {
	nc     *nats.Conn
	log    zerolog.Logger
	timing timing
	rewind func(ctx context.Context, peer string, lane globaltable.LaneID) error

	ctx  context.Context // ends with close: for rewinds, which need no handler
	stop context.CancelFunc
	sub  *nats.Subscription
	wg   sync.WaitGroup // rewinds

	mu       sync.Mutex
	serving  *serving        // nil while nobody serves
	peers    map[string]bool // who is answered; nil: everybody
	calls    map[callKey]*call
	handlers map[string]int // running, by peer
	rewinds  map[string]int // waiting or running, by peer
}

// restrict answers the peers given only, from now on, and cancels what runs for others.
func (a *answerer) restrict(peers []Peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peers = peerNames(peers)
	for key, c := range a.calls {
		if !a.peers[key.peer] {
			c.cancel(errNoPeer)
		}
	}
}

func peerNames(peers []Peer) map[string]bool {
	names := make(map[string]bool, len(peers))
	for _, p := range peers {
		names[p.Name] = true
	}
	return names
}

// serving is one run of Serve.
type serving struct {
	ctx     context.Context
	handler Handler
	wg      sync.WaitGroup
}

type callKey struct{ peer, id string }

// newAnswerer subscribes; close undoes it.
func newAnswerer(nc *nats.Conn, log zerolog.Logger, rewind func(context.Context, string, globaltable.LaneID) error) (*answerer, error) {
	a := &answerer{nc: nc, log: log, timing: defaultTiming, rewind: rewind,
		calls: map[callKey]*call{}, handlers: map[string]int{}, rewinds: map[string]int{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	sub, err := nc.Subscribe(servicePrefix+"*", a.take)
	if err != nil {
		a.stop()
		return nil, err
	}
	a.sub = sub
	if err := nc.FlushTimeout(connectTimeout); err != nil { // who dials when the home is made finds it
		a.close()
		return nil, err
	}
	return a, nil
}

// close stops taking frames, cancels what runs, and waits for rewinds. Serve ends by its own context or by this.
func (a *answerer) close() {
	a.stop()
	_ = a.sub.Unsubscribe() // fails only when the connection is closed, and then it is gone anyway
	a.wg.Wait()
}

// serve is Home.Serve.
func (a *answerer) serve(ctx context.Context, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &serving{ctx: ctx, handler: h}
	a.mu.Lock()
	if a.serving != nil {
		a.mu.Unlock()
		return errors.New("bus: Serve is already running")
	}
	a.serving = s
	a.mu.Unlock()

	ticker := time.NewTicker(a.timing.alive)
	defer ticker.Stop()
	err := a.watch(ctx, ticker.C)
	a.mu.Lock()
	a.serving = nil
	a.mu.Unlock()
	cancel()
	s.wg.Wait()
	return err
}

// watch tells askers that their handlers are at work and cancels those whose askers are silent.
func (a *answerer) watch(ctx context.Context, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.ctx.Done():
			return ErrClosed
		case <-tick:
		}
		a.mu.Lock()
		for _, c := range a.calls {
			if c.silentFor() > a.timing.silence {
				c.cancel(errAskerSilent)
				continue
			}
			_ = a.nc.PublishMsg(framed(c.reply, "", frame{verb: verbAlive}, nil)) // a lost one is noticed by the asker
		}
		a.mu.Unlock()
	}
}

// take handles one message of a peer. It runs on the subscription's goroutine and does not block.
func (a *answerer) take(m *nats.Msg) {
	peer := strings.TrimPrefix(m.Subject, servicePrefix)
	f, err := frameOf(m)
	if err != nil {
		a.log.Debug().Str("peer", peer).Err(err).Msg("bus: request dropped")
		return
	}
	switch f.verb {
	case verbTook, verbStop:
		a.progress(callKey{peer, f.id}, f)
		return
	}
	// A reply subject that the server did not rewrite is one of this account: the asker's credential is not of an account of its own, or
	// a message was sent here by a trick. An answer would go wherever the asker says, with this region's rights.
	if !strings.HasPrefix(m.Reply, importedReply) {
		if f.verb == verbReply && strings.HasPrefix(m.Reply, inboxPrefix+peer+".") {
			a.answer(m.Reply, verbEnd, 0, []byte(m.Reply)) // the peer itself wants to know; an inbox is harmless
		}
		a.log.Warn().Str("peer", peer).Msg("bus: request refused: it did not come from an account of the peer's own")
		return
	}
	switch f.verb {
	case verbAsk:
		a.ask(peer, f.id, m)
	case verbRewind:
		a.startRewind(peer, f.lane, m.Reply)
	case verbReply:
		a.answer(m.Reply, verbEnd, 0, []byte(m.Reply))
	}
}

func (a *answerer) progress(key callKey, f frame) {
	a.mu.Lock()
	c := a.calls[key]
	a.mu.Unlock()
	switch {
	case c == nil:
	case f.verb == verbStop:
		c.cancel(errAskerGone)
	default:
		c.took(f.n)
	}
}

// ask starts the handler, or answers that it cannot.
func (a *answerer) ask(peer, id string, m *nats.Msg) {
	key := callKey{peer, id}
	a.mu.Lock()
	s := a.serving
	verb := ""
	switch {
	case s == nil || a.peers != nil && !a.peers[peer]:
		verb = verbIdle
	case len(a.calls) >= maxHandlers || a.handlers[peer] >= maxHandlersPerPeer || a.calls[key] != nil:
		verb = verbBusy
	}
	if verb != "" {
		a.mu.Unlock()
		a.answer(m.Reply, verb, 0, nil)
		return
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	c := &call{reply: m.Reply, cancel: cancel, room: make(chan struct{}, 1), heard: time.Now()}
	a.calls[key] = c
	a.handlers[peer]++
	s.wg.Add(1) // under the lock: serve has not begun to wait while it is the one serving
	a.mu.Unlock()

	go func() {
		defer s.wg.Done()
		err := s.handler(ctx, peer, m.Data, func(part []byte) error { return a.sendPart(ctx, c, part) })
		a.finish(ctx, c, err)
		a.mu.Lock()
		delete(a.calls, key)
		if a.handlers[peer]--; a.handlers[peer] == 0 {
			delete(a.handlers, peer)
		}
		a.mu.Unlock()
		cancel(nil)
	}()
}

// finish sends the end of an answer.
func (a *answerer) finish(ctx context.Context, c *call, err error) {
	sent := c.sentParts()
	if err == nil && ctx.Err() != nil {
		err = errNotServing // the handler may have ended early because of it
	}
	if err == nil {
		a.answer(c.reply, verbEnd, sent, nil)
		return
	}
	if cause := context.Cause(ctx); errors.Is(cause, errAskerGone) {
		return
	}
	message := err.Error()
	if len(message) > 4096 {
		message = message[:4096]
	}
	a.answer(c.reply, verbFail, sent, []byte(message))
}

func (a *answerer) answer(reply, verb string, n uint64, data []byte) {
	if err := a.nc.PublishMsg(framed(reply, "", frame{verb: verb, n: n}, data)); err != nil {
		a.log.Debug().Err(err).Msg("bus: answer lost")
	}
}

// sendPart is the handler's reply: it waits for room in the window.
func (a *answerer) sendPart(ctx context.Context, c *call, part []byte) error {
	if len(part) > MaxMessage {
		return ErrTooLarge
	}
	for {
		n, ok := c.reserve(len(part))
		if ok {
			return a.nc.PublishMsg(framed(c.reply, "", frame{verb: verbPart, n: n}, part))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.room:
		}
	}
}

// startRewind rewinds a peer's consumer of a lane in the background and answers.
func (a *answerer) startRewind(peer string, lane globaltable.LaneID, reply string) {
	a.mu.Lock()
	verb := ""
	switch {
	case a.peers != nil && !a.peers[peer]:
		verb = verbIdle
	case a.ctx.Err() != nil || a.rewinds[peer] >= maxRewindsPerPeer:
		verb = verbBusy
	}
	if verb != "" {
		a.mu.Unlock()
		a.answer(reply, verb, 0, nil)
		return
	}
	a.rewinds[peer]++
	a.wg.Add(1)
	a.mu.Unlock()

	go func() {
		defer a.wg.Done()
		ctx, cancel := context.WithTimeout(a.ctx, rewindTimeout)
		defer cancel()
		switch err := a.rewind(ctx, peer, lane); {
		case err == nil:
			a.answer(reply, verbEnd, 0, nil)
		case errors.Is(err, ErrNoConsumer):
			a.answer(reply, verbIdle, 0, nil)
		default:
			a.answer(reply, verbFail, 0, fmt.Appendf(nil, "rewind: %v", err))
		}
		a.mu.Lock()
		if a.rewinds[peer]--; a.rewinds[peer] == 0 {
			delete(a.rewinds, peer)
		}
		a.mu.Unlock()
	}()
}

// call is one request being answered: the window of parts that were sent and not consumed.
type call struct {
	reply  string
	cancel context.CancelCauseFunc
	room   chan struct{} // capacity 1: a part was consumed

	mu    sync.Mutex
	sizes []int // bytes of each part in the window, oldest first
	bytes int   // their sum
	sent  uint64
	heard time.Time
}

// reserve takes room for a part and gives its number. An empty window takes any part.
func (c *call) reserve(size int) (n uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sizes) > 0 && (c.bytes+size > answerWindowBytes || len(c.sizes) >= answerWindowParts) {
		return 0, false
	}
	c.sizes = append(c.sizes, size)
	c.bytes += size
	c.sent++
	return c.sent, true
}

// took notes that the first n parts were consumed. Numbers never sent count as the last sent.
func (c *call) took(n uint64) {
	c.mu.Lock()
	c.heard = time.Now()
	for first := c.sent - uint64(len(c.sizes)) + 1; len(c.sizes) > 0 && first <= n; first++ {
		c.bytes -= c.sizes[0]
		c.sizes = c.sizes[1:]
	}
	c.mu.Unlock()
	select {
	case c.room <- struct{}{}:
	default:
	}
}

func (c *call) sentParts() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (c *call) silentFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.heard)
}
