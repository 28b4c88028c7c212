package bus

import (
	"context"
	"crypto/tls"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
)

// DialConfig says how a region reaches an origin.
type DialConfig struct {
	Region    string                     // own name: the consumer's and the account's
	Peer      string                     // the origin's name
	URLs      []string                   // the origin's NATS servers
	InProcess nats.InProcessConnProvider // instead of URLs: Embedded.Server of an origin in this process
	Key       nkeys.KeyPair              // the region's own
	TLS       *tls.Config
	Log       zerolog.Logger
}

// Dial connects to an origin. It tries each address once; a Link reconnects by itself for as long as it is open.
func Dial(ctx context.Context, cfg DialConfig) (Link, error) { return nil, ErrClosed }
