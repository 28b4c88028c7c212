package bus

import (
	"context"
	"crypto/tls"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// Peer is a region that may dial this one.
type Peer struct {
	Name      string // the region's name
	PublicKey string // from its descriptor
}

// EmbeddedConfig configures a region's embedded NATS server.
type EmbeddedConfig struct {
	Region     string         // own name: the JetStream domain
	Dir        string         // JetStream's files; made if missing
	Host       string         // to listen on; default 127.0.0.1
	Port       int            // to listen on; 0 picks a free one
	DontListen bool           // no listener: peers in the same process dial by Embedded.Server
	TLS        *tls.Config    // for the listener; nil: none
	Peers      []Peer         // who may dial
	MaxStore   int64          // bytes of all streams together; default 64 GiB
	Log        zerolog.Logger // where the server's log goes
}

// Embedded is a Home over a NATS server in this process.
type Embedded struct {
	Home
}

// StartEmbedded starts the server and connects to it. Close stops both.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) { return nil, ErrClosed }

// URL returns the address at which the server listens, "" with DontListen.
func (e *Embedded) URL() string { return "" }

// Server returns the server, for links within the process (DialConfig.InProcess).
func (e *Embedded) Server() *server.Server { return nil }
