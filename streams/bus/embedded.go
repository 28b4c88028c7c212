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
	serverMaxPending = 512 << 20        // what one peer may have asked for and not yet taken from the socket
	serverWriteLimit = 60 * time.Second // for one write: a thin link needs long for a window
	serverMaxPayload = 1 << 20
	maxConnections   = 1 << 14          // each peer has a few
	startTimeout     = 30 * time.Second // JetStream recovers its streams in this time
)

// EmbeddedConfig configures a region's embedded NATS server.
type EmbeddedConfig struct {
	Region     string         // own name: the JetStream domain
	Dir        string         // JetStream's files, which are few: streams are in memory; made if missing
	Host       string         // to listen on; default 127.0.0.1
	Port       int            // to listen on; 0 picks a free one
	DontListen bool           // no listener: peers in the same process dial by Embedded.Server
	TLS        *tls.Config    // for the listener; nil: none
	Peers      []Peer         // who may dial
	MaxStore   int64          // bytes of all streams together, in memory, what they may grow to counted; default 4 GiB
	Log        zerolog.Logger // where the server's log goes
}

// Validate reports all faults at once.
func (c *EmbeddedConfig) Validate() error {
	faults := validatePeers(c.Region, c.Peers)
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
	cfg    EmbeddedConfig // Peers as of the last SetPeers; guarded by jetHome.lanes
	key    nkeys.KeyPair  // of the region's own user
	door   *door
	server *server.Server
}

// StartEmbedded starts the server and connects to it. Close stops both.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	fault := func(err error) error {
		return &globaltable.Error{Op: "start embedded NATS", Resource: cfg.Region, Kind: globaltable.Unavailable, Err: err}
	}
	key, err := nkeys.CreateUser() // the region's own user lives as long as the server
	if err != nil {
		return nil, fault(err)
	}
	d := &door{}
	opts, err := cfg.serverOptions(key, d)
	if err != nil {
		return nil, err
	}
	if err := dropLanes(cfg.Dir); err != nil {
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
	nc, err := connectHome(cfg.Region, nil, []nats.Option{nats.InProcessServer(srv), userKey(key)}, reset, cfg.Log)
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
	return &Embedded{jetHome: home, cfg: cfg, key: key, door: d, server: srv}, nil
}

// dropLanes removes the files of all lanes' streams, which earlier versions left there. Owners refill lanes after each start anyway, but between the server's start and that a peer
// could fetch from what a directory brings back.
func dropLanes(dir string) error {
	lanes, err := filepath.Glob(filepath.Join(dir, server.JetStreamStoreDir, "*", "streams", streamPrefix+"*"))
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		if err := os.RemoveAll(lane); err != nil {
			return err
		}
	}
	return nil
}

// accountOptions gives the accounts by the text that operators of external clusters install, so that there is one definition of them.
func (c *EmbeddedConfig) accountOptions(key nkeys.KeyPair) (*server.Options, error) {
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	text, err := ServerConfig(AccountsConfig{Region: c.Region, Peers: c.Peers, UserKey: public})
	if err != nil {
		return nil, err
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(text); err != nil {
		return nil, &globaltable.Error{Op: "configure embedded NATS", Resource: c.Region, Err: err}
	}
	return opts, nil
}

func (c *EmbeddedConfig) serverOptions(key nkeys.KeyPair, d *door) (*server.Options, error) {
	opts, err := c.accountOptions(key)
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
	opts.JetStreamMaxStore = 64 << 20 // no stream is a file
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
