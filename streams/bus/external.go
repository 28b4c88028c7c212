package bus

import (
	"context"
	"crypto/tls"

	"github.com/rs/zerolog"
)

// ExternalConfig says how to reach a region's own NATS cluster, with JetStream in its account (ServerConfig). Exactly one of User, Seed and
// CredsFile is set.
type ExternalConfig struct {
	Region    string // own name
	URLs      []string
	User      string
	Password  string
	Seed      []byte // nkey seed of kind User
	CredsFile string // path
	TLS       *tls.Config
	Replicas  int // of each stream; 0: 3 when the servers are clustered, else 1
	Log       zerolog.Logger
}

// External is a Home over a NATS cluster that somebody else runs.
type External struct {
	Home
}

// ConnectExternal connects and checks that JetStream answers.
func ConnectExternal(ctx context.Context, cfg ExternalConfig) (*External, error) { return nil, ErrClosed }

// AccountsConfig is what ServerConfig needs to know.
type AccountsConfig struct {
	Region   string
	Peers    []Peer
	UserKey  string // public nkey of the region's own user; or:
	User     string // name of the region's own user
	Password string // its password, in clear or as a bcrypt hash
}

// ServerConfig returns the accounts section of a nats-server configuration for the region: account CONCORDAT with JetStream, and one account for
// each peer, which may fetch, acknowledge and ask, nothing else.
func ServerConfig(cfg AccountsConfig) (string, error) { return "", nil }
