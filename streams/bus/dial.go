package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/globaltable"
)

// DialConfig says how a region reaches an origin.
type DialConfig struct {
	Region    string                     // own name: the consumer's and the account's
	Peer      string                     // the origin's name
	URLs      []string                   // the origin's NATS servers
	InProcess nats.InProcessConnProvider // instead of URLs: Embedded.Server of an origin in this process
	Key       nkeys.KeyPair              // the region's own
	TLS       *tls.Config                // nil: none
	Log       zerolog.Logger
}

// Validate reports all faults at once.
func (c *DialConfig) Validate() error {
	var faults []error
	for _, name := range []string{c.Region, c.Peer} {
		if err := globaltable.ValidateRegionName(name); err != nil {
			faults = append(faults, err)
		}
	}
	if len(c.URLs) == 0 && c.InProcess == nil {
		faults = append(faults, errors.New("no NATS address of the peer"))
	}
	if c.Key == nil {
		faults = append(faults, errors.New("no key"))
	}
	return joinInvalid("check link", c.Peer, faults)
}

// natsLink is the Link over NATS. It uses core NATS only: the consumer handles of the jetstream package ask for the consumer's description first,
// which a peer may not.
type natsLink struct {
	cfg    DialConfig
	nc     *nats.Conn
	inbox  string // prefix of all reply subjects of this link
	timing timing

	mu      sync.Mutex
	closed  bool
	up      bool
	lost    chan struct{} // closed when the connection that is up breaks; a new one follows at reconnection
	pulling map[globaltable.LaneID]bool
}

// Dial connects to an origin. It tries each address once, within ctx; a Link reconnects by itself for as long as it is open, and its calls
// fail with ErrLinkLost whenever the connection breaks under them.
func Dial(ctx context.Context, cfg DialConfig) (Link, error) {
	l, err := dial(ctx, cfg)
	if err != nil {
		return nil, err // not a Link that holds a nil pointer
	}
	return l, nil
}

func dial(ctx context.Context, cfg DialConfig) (*natsLink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &natsLink{cfg: cfg, timing: defaultTiming, up: true, lost: make(chan struct{}), pulling: map[globaltable.LaneID]bool{}}
	nc, err := connectPeer(ctx, &cfg, []nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.disconnected(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { l.reconnected() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			cfg.Log.Warn().Str("peer", cfg.Peer).Err(err).Msg("bus: link")
		}),
	})
	if errors.Is(err, nats.ErrAuthorization) {
		return nil, &globaltable.Error{Op: "dial", Resource: cfg.Peer, Kind: globaltable.Unavailable, Err: err,
			Message: "the NATS of " + cfg.Peer + " does not let region " + cfg.Region + " in: it has not heard of it yet, or has removed it; where it is a cluster of its own, its accounts have to be installed anew"}
	}
	if err != nil {
		return nil, &globaltable.Error{Op: "dial", Resource: cfg.Peer, Kind: globaltable.Unavailable, Err: err}
	}
	l.nc, l.inbox = nc, nc.NewInbox()
	return l, nil
}

// connectPeer connects with the region's key. Reply subjects begin with the one prefix that the peer's account may subscribe to.
func connectPeer(ctx context.Context, cfg *DialConfig, opts []nats.Option) (*nats.Conn, error) {
	opts = append(opts, userKey(cfg.Key), nats.Name("concordat "+cfg.Region), nats.CustomInboxPrefix(inboxPrefix+cfg.Region),
		nats.PingInterval(pingInterval), nats.NoEcho())
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, untilDeadline(deadline))
	}
	opts = append(opts, nats.Timeout(timeout))
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	} else if cfg.TLS != nil {
		opts = append(opts, nats.Secure(cfg.TLS))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nats.Connect(strings.Join(cfg.URLs, ","), opts...)
}

func (l *natsLink) disconnected(err error) {
	l.mu.Lock()
	if l.up {
		l.up = false
		close(l.lost)
	}
	closed := l.closed
	l.mu.Unlock()
	if !closed {
		l.cfg.Log.Warn().Str("peer", l.cfg.Peer).Err(err).Msg("bus: link lost")
	}
}

func (l *natsLink) reconnected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up && !l.closed {
		l.up, l.lost = true, make(chan struct{})
	}
}

// session returns a channel that is closed when the present connection breaks.
func (l *natsLink) session() (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case !l.up:
		return nil, ErrLinkLost
	}
	return l.lost, nil
}

// lostError says why a session ended.
func (l *natsLink) lostError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	return ErrLinkLost
}

func (l *natsLink) service() string { return servicePrefix + l.cfg.Region }

func (l *natsLink) Close() error {
	l.mu.Lock()
	l.closed = true
	if l.up {
		l.up = false
		close(l.lost)
	}
	l.mu.Unlock()
	l.nc.Close()
	return nil
}

func (l *natsLink) fault(op string, err error) error {
	return fmt.Errorf("%s %s: %w", op, l.cfg.Peer, err)
}
