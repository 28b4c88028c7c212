package bus

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/globaltable"
)

const (
	clusteredReplicas = 3
	maxReplicas       = 5 // NATS's own limit
	connectTimeout    = 10 * time.Second
	reconnectWait     = 250 * time.Millisecond
	pingInterval      = 10 * time.Second // two unanswered pings end a connection
)

// ExternalConfig says how to reach a region's own NATS cluster, with JetStream in its account (ServerConfig). Exactly one of User, Seed and
// CredsFile is set.
type ExternalConfig struct {
	Region    string // own name: also the JetStream domain of the servers
	URLs      []string
	User      string
	Password  string
	Seed      []byte // nkey seed of kind User
	CredsFile string // path
	// EventsCredsFile is, beside CredsFile, of the user of the account of the events; empty: there are no events in NATS. With the other ways to authenticate it follows from them: see EventsKey.
	EventsCredsFile string
	TLS             *tls.Config
	Replicas        int // of each stream, 1 to 5; 0: 3 when the servers are clustered, else 1
	Log             zerolog.Logger
}

// Validate reports all faults at once.
func (c *ExternalConfig) Validate() error {
	var faults []error
	if err := globaltable.ValidateRegionName(c.Region); err != nil {
		faults = append(faults, err)
	}
	if len(c.URLs) == 0 {
		faults = append(faults, errors.New("no NATS address"))
	}
	ways := 0
	for _, set := range []bool{c.User != "", len(c.Seed) > 0, c.CredsFile != ""} {
		if set {
			ways++
		}
	}
	if c.EventsCredsFile != "" && c.CredsFile == "" {
		faults = append(faults, errors.New("a credentials file for the events goes with a credentials file"))
	}
	if ways != 1 {
		faults = append(faults, errors.New("set exactly one of user, nkey seed and credentials file"))
	}
	if c.Replicas < 0 || c.Replicas > maxReplicas {
		faults = append(faults, fmt.Errorf("%d replicas are not in 1 to %d", c.Replicas, maxReplicas))
	}
	return joinInvalid("check external NATS", c.Region, faults)
}

// External is a Home over a NATS cluster that somebody else runs.
type External struct {
	*jetHome
	events *Events // nil: no credential for them
}

// ConnectExternal connects and checks that JetStream answers, in the region's domain.
func ConnectExternal(ctx context.Context, cfg ExternalConfig) (*External, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	fault := func(kind globaltable.Kind, err error) error {
		return &globaltable.Error{Op: "connect to external NATS", Resource: cfg.Region, Kind: kind, Err: err}
	}
	auth, err := cfg.credentials()
	if err != nil {
		return nil, fault(globaltable.Invalid, err)
	}
	reset := make(chan struct{}, 1)
	opts := []nats.Option{auth}
	if cfg.TLS != nil {
		opts = append(opts, nats.Secure(cfg.TLS))
	}
	nc, err := connectHome(cfg.Region, cfg.URLs, opts, reset, cfg.Log)
	if err != nil {
		return nil, fault(globaltable.Unavailable, err)
	}
	replicas := cfg.Replicas
	if replicas == 0 {
		replicas = 1
		if nc.ConnectedClusterName() != "" {
			replicas = clusteredReplicas
		}
	}
	home, err := newJetHome(cfg.Region, nc, jetstream.FileStorage, replicas, cfg.Log, reset)
	if err != nil {
		nc.Close()
		return nil, fault(globaltable.Unavailable, err)
	}
	info, err := home.js.AccountInfo(ctx)
	if err == nil && info.Domain != cfg.Region {
		err = fmt.Errorf("the servers' JetStream domain is %q: set it to the region's name", info.Domain)
	}
	if err != nil {
		return nil, errors.Join(fault(globaltable.Unavailable, err), home.Close())
	}
	out := &External{jetHome: home}
	if auth, err := cfg.eventsCredentials(); err != nil {
		return nil, errors.Join(fault(globaltable.Invalid, err), home.Close())
	} else if auth != nil {
		opts[0] = auth
		if out.events, err = connectEvents(cfg.Region, cfg.URLs, opts, replicas, cfg.Log); err != nil {
			return nil, errors.Join(fault(globaltable.Unavailable, err), home.Close())
		}
	}
	return out, nil
}

// Events returns the region's JetStream of events; nil: the configuration has no credential for it. The servers may not have its account yet.
func (e *External) Events() *Events { return e.events }

// SetGrants checks who may read events. Who may connect, the accounts on the servers say; who has no consumer any more gets nothing.
func (e *External) SetGrants(_ context.Context, grants []Grant) error {
	return joinInvalid("set grants", e.region, validateGrants(grants, nil))
}

// Close ends the home, and waits for it.
func (e *External) Close() error {
	e.events.close()
	return e.jetHome.Close()
}

// SetPeers is Home.SetPeers. Who may connect, the accounts on the servers say, which their operator installs; until the first call
// everybody with an account is answered.
func (e *External) SetPeers(_ context.Context, peers []Peer) error {
	if err := joinInvalid("set peers", e.region, validatePeers(e.region, peers)); err != nil {
		return err
	}
	e.desk.restrict(peers)
	return nil
}

func (c *ExternalConfig) credentials() (nats.Option, error) {
	switch {
	case c.CredsFile != "":
		return nats.UserCredentials(c.CredsFile), nil
	case c.User != "":
		return nats.UserInfo(c.User, c.Password), nil
	}
	key, err := nkeys.FromSeed(c.Seed)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	if !nkeys.IsValidPublicUserKey(public) {
		return nil, errors.New("the seed is not an nkey of kind User")
	}
	return userKey(key), nil
}

// eventsCredentials is credentials for the account of the events; nil: there are none.
func (c *ExternalConfig) eventsCredentials() (nats.Option, error) {
	switch {
	case c.CredsFile != "" && c.EventsCredsFile == "":
		return nil, nil
	case c.CredsFile != "":
		return nats.UserCredentials(c.EventsCredsFile), nil
	case c.User != "":
		return nats.UserInfo(c.User+eventsUser, c.Password), nil
	}
	key, err := EventsKey(c.Seed)
	if err != nil {
		return nil, err
	}
	return userKey(key), nil
}

// EventsKey returns the key of the region's user of the events, where its own user has the nkey with that seed. A user is of one account, so this is another one; that it follows from the seed spares operators a second file.
func EventsKey(seed []byte) (nkeys.KeyPair, error) {
	_, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("concordat events"))
	return nkeys.FromRawSeed(nkeys.PrefixByteUser, mac.Sum(nil))
}

// userKey authenticates by signing the server's challenge.
func userKey(key nkeys.KeyPair) nats.Option {
	return func(o *nats.Options) error {
		public, err := key.PublicKey()
		if err != nil {
			return err
		}
		return nats.Nkey(public, key.Sign)(o)
	}
}

// connectHome makes the connection of a home. A reconnection signals reset: another server, or the same one after a restart, may have other streams.
func connectHome(region string, urls []string, opts []nats.Option, reset chan struct{}, log zerolog.Logger) (*nats.Conn, error) {
	opts = append(opts,
		nats.Name("concordat "+region), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval), nats.ReconnectBufSize(-1), // fail while disconnected: what is sent later would be out of order
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Str("region", region).Err(err).Msg("bus: own NATS lost")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			log.Info().Str("region", region).Msg("bus: own NATS back")
			signal(reset)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn().Str("region", region).Err(err).Msg("bus: own NATS")
		}))
	return nats.Connect(strings.Join(urls, ","), opts...)
}
