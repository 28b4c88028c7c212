package bus

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/globaltable"
)

const (
	defaultMaxStore  = 4 << 30
	maxEventStore    = 1 << 50          // each stream of events has a bound of its own; the server would count all that they may grow to
	serverMaxPending = 512 << 20        // what one peer may have asked for and not yet taken from the socket
	serverWriteLimit = 60 * time.Second // for one write: a thin link needs long for a window
	serverMaxPayload = 1 << 20
	maxConnections   = 1 << 14          // each peer has a few
	startTimeout     = 30 * time.Second // JetStream recovers its streams in this time
)

// EmbeddedConfig configures a region's embedded NATS server.
type EmbeddedConfig struct {
	Region     string         // own name: the JetStream domain
	Dir        string         // JetStream's files: lanes are in memory, events in files; made if missing
	Host       string         // to listen on; default 127.0.0.1
	Port       int            // to listen on; 0 picks a free one
	DontListen bool           // no listener: peers in the same process dial by Embedded.Server
	TLS        *tls.Config    // for the listener; nil: none
	Peers      []Peer         // who may dial
	Grants     []Grant        // who may read events
	MaxStore   int64          // bytes of all lanes' streams together, in memory, what they may grow to counted; default 4 GiB
	Log        zerolog.Logger // where the server's log goes
}

// Validate reports all faults at once.
func (c *EmbeddedConfig) Validate() error {
	faults := append(validatePeers(c.Region, c.Peers), validateGrants(c.Grants, c.Peers)...)
	if c.Dir == "" {
		faults = append(faults, errors.New("no directory for JetStream"))
	}
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, fmt.Errorf("port %d is not in 0 to 65535", c.Port))
	}
	if c.MaxStore < 0 {
		faults = append(faults, errors.New("MaxStore is negative"))
	}
	return joinInvalid("check embedded NATS", c.Region, faults)
}

// Embedded is a Home over a NATS server in this process. NATS gives connections no maximum age: an expired TLS certificate does not end the
// connections made while it was valid.
type Embedded struct {
	*jetHome
	cfg    EmbeddedConfig // Peers and Grants as set last; guarded by jetHome.lanes
	keys   ownKeys
	events *Events
	door   *door
	server *server.Server
}

// ownKeys are those of the region's own users, in the account of the lanes and in that of the events. They live as long as the server.
type ownKeys struct{ lanes, events nkeys.KeyPair }

func newOwnKeys() (k ownKeys, err error) {
	if k.lanes, err = nkeys.CreateUser(); err == nil {
		k.events, err = nkeys.CreateUser()
	}
	return k, err
}

// StartEmbedded starts the server and connects to it. Close stops both.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	fault := func(err error) error {
		return &globaltable.Error{Op: "start embedded NATS", Resource: cfg.Region, Kind: globaltable.Unavailable, Err: err}
	}
	keys, err := newOwnKeys()
	if err != nil {
		return nil, fault(err)
	}
	d := &door{}
	opts, err := cfg.serverOptions(keys, d)
	if err != nil {
		return nil, err
	}
	if err := dropStreams(cfg.Dir); err != nil {
		return nil, fault(err)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fault(err)
	}
	users, err := usersOf(opts, srv)
	if err != nil {
		return nil, fault(err)
	}
	d.admit(users)
	srv.SetLoggerV2(serverLog{cfg.Log.With().Str("component", "nats").Logger()}, false, false, false)
	srv.Start()
	stop := func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if err := awaitServer(ctx, srv); err != nil {
		stop()
		return nil, fault(err)
	}
	reset := make(chan struct{}, 1)
	nc, err := connectHome(cfg.Region, nil, []nats.Option{nats.InProcessServer(srv), userKey(keys.lanes)}, reset, cfg.Log)
	if err != nil {
		stop()
		return nil, fault(err)
	}
	// A server that starts has nothing to take up: lanes are refilled from the log. What would be written to files would never be read, and was an eighth of all that a
	// replicated put wrote, and a sixth of its processor time.
	home, err := newJetHome(cfg.Region, nc, jetstream.MemoryStorage, 1, cfg.Log, reset)
	if err != nil {
		nc.Close()
		stop()
		return nil, fault(err)
	}
	events, err := connectEvents(cfg.Region, nil, []nats.Option{nats.InProcessServer(srv), userKey(keys.events)}, 1, cfg.Log)
	if err != nil {
		err = errors.Join(fault(err), home.Close())
		stop()
		return nil, err
	}
	events.volatile, events.erased = true, cfg.erased
	return &Embedded{jetHome: home, cfg: cfg, keys: keys, events: events, door: d, server: srv}, nil
}

// Events returns the region's JetStream of events.
func (e *Embedded) Events() *Events { return e.events }

// erased reports whether nothing is left in files of a stream of events that was deleted. The server moves its directory away, with a point before the name, and erases that later.
func (c *EmbeddedConfig) erased(stream string) (bool, error) {
	left, err := filepath.Glob(filepath.Join(c.Dir, server.JetStreamStoreDir, eventsAccount, "streams", "*"+stream))
	return len(left) == 0, err
}

// dropStreams removes the files of all streams of lanes, which earlier versions left there, and of events. Owners fill them anew after each start; but a directory may have come back as it was some time ago, with what was
// erased since, and between the server's start and the filling somebody could fetch that.
func dropStreams(dir string) error {
	for _, prefix := range []string{streamPrefix, eventStreamPrefix, "." + eventStreamPrefix} {
		streams, err := filepath.Glob(filepath.Join(dir, server.JetStreamStoreDir, "*", "streams", prefix+"*"))
		if err != nil {
			return err
		}
		for _, stream := range streams {
			if err := os.RemoveAll(stream); err != nil {
				return err
			}
		}
	}
	return nil
}

// accountOptions gives the accounts by the text that operators of external clusters install, so that there is one definition of them.
func (c *EmbeddedConfig) accountOptions(keys ownKeys) (*server.Options, error) {
	lanes, err := keys.lanes.PublicKey()
	if err != nil {
		return nil, err
	}
	events, err := keys.events.PublicKey()
	if err != nil {
		return nil, err
	}
	text, err := ServerConfig(AccountsConfig{Region: c.Region, Peers: c.Peers, Grants: c.Grants, UserKey: lanes, EventsKey: events})
	if err != nil {
		return nil, err
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(text); err != nil {
		return nil, &globaltable.Error{Op: "configure embedded NATS", Resource: c.Region, Err: err}
	}
	return opts, nil
}

func (c *EmbeddedConfig) serverOptions(keys ownKeys, d *door) (*server.Options, error) {
	opts, err := c.accountOptions(keys)
	if err != nil {
		return nil, err
	}
	opts.CustomClientAuthentication, opts.AlwaysEnableNonce, opts.MaxConn = d, true, maxConnections
	opts.ServerName = "concordat-" + c.Region
	opts.Host, opts.Port, opts.DontListen = c.Host, c.Port, c.DontListen
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if c.TLS != nil {
		opts.TLSConfig, opts.TLS, opts.TLSTimeout = c.TLS, true, 10
	}
	opts.JetStream, opts.StoreDir, opts.JetStreamDomain = true, c.Dir, c.Region
	opts.JetStreamMaxMemory = cmp.Or(c.MaxStore, defaultMaxStore)
	opts.JetStreamMaxStore = maxEventStore
	opts.MaxPayload, opts.MaxPending, opts.WriteDeadline = serverMaxPayload, serverMaxPending, serverWriteLimit
	opts.NoSigs, opts.NoSystemAccount = true, false
	return opts, nil
}

// awaitServer waits until the server takes connections and JetStream has recovered.
func awaitServer(ctx context.Context, srv *server.Server) error {
	limit := startTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	if !srv.ReadyForConnections(limit) {
		return errors.New("the server did not become ready")
	}
	if !srv.JetStreamEnabled() {
		return errors.New("JetStream did not start: see the server's log")
	}
	return ctx.Err()
}

// URL returns the address at which the server listens, "" with DontListen.
func (e *Embedded) URL() string {
	addr, ok := e.server.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return "nats://" + net.JoinHostPort(addr.IP.String(), strconv.Itoa(addr.Port))
}

// Server returns the server, for links within the process (DialConfig.InProcess).
func (e *Embedded) Server() *server.Server { return e.server }

// Close ends the home, then the server, and waits for both.
func (e *Embedded) Close() error {
	e.events.close()
	err := e.jetHome.Close()
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return err
}

// serverLog sends the server's log to zerolog. The server reports a failed JetStream as an error or warning and goes on; publishes then fail,
// and the home signals Reset.
type serverLog struct{ log zerolog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.log.Debug().Msgf(format, v...) }
func (l serverLog) Warnf(format string, v ...any)   { l.log.Warn().Msgf(format, v...) }

// Errorf demotes permission violations: every peer provokes some at each connection, when it probes that its own credential can do no more than
// it should. A refusal is the accounts at work; what a peer may not do is not done, whoever tries it.
func (l serverLog) Errorf(format string, v ...any) {
	level := zerolog.ErrorLevel
	if strings.Contains(format, "Violation") {
		level = zerolog.DebugLevel
	}
	l.log.WithLevel(level).Msgf(format, v...)
}

func (l serverLog) Fatalf(format string, v ...any) {
	l.log.Error().Bool("fatal", true).Msgf(format, v...)
}
func (l serverLog) Debugf(format string, v ...any) { l.log.Trace().Msgf(format, v...) }
func (l serverLog) Tracef(format string, v ...any) { l.log.Trace().Msgf(format, v...) }
