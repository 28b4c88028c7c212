// Package regionnode is one process of a region: it wires the parts and owns every goroutine.
package regionnode

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
)

// Config says what a node is. Zero limits mean the defaults.
type Config struct {
	Region   globaltable.Descriptor // this region
	KeySeed  []byte                 // nkey seed of kind User, of Region.PublicKey: signs the descriptor, authenticates at peers
	DataDir  string                 // made if missing; one node at a time uses it
	DynamoDB DynamoDBConfig
	Admin    AdminConfig
	Bus      BusConfig
	Peers    []PeerConfig // while the world has no document of its own, they and this region are its members
	PeerTLS  *tls.Config  // for members that are not in Peers; nil: none, but for addresses that ask for it
	// Invitation, of a region that joins a running world, gives the members that are not in Peers; nil: none. Once the region has heard of the world, it plays no part.
	Invitation *globaltable.Invitation
	Triggers   TriggersConfig
	Limits     Limits
	Log        zerolog.Logger
}

// TriggersConfig says what triggers may use in this region, beside the network, and when another region counts as lost.
type TriggersConfig struct {
	Secrets  map[string][]byte // keys by which the bodies of webhooks are signed, by the names by which triggers name them
	Commands []string          // absolute paths of programs that may be run; empty: none
	Reach    time.Duration     // a region that was not heard for so long is not reached; default 10 s
}

// DynamoDBConfig configures the DynamoDB API.
type DynamoDBConfig struct {
	Listen      string            // host:port
	AcceptAny   bool              // take any credentials, unchecked: for development
	Credentials map[string]string // access key → secret key; needed unless AcceptAny
}

// AdminConfig configures the admin API.
type AdminConfig struct {
	Listen string // host:port
}

// BusConfig configures the region's own NATS: exactly one is set.
type BusConfig struct {
	Embedded *EmbeddedBus
	External *bus.ExternalConfig // Region and Log are filled in
}

// EmbeddedBus configures a NATS server in this process.
type EmbeddedBus struct {
	Listen        string      // host:port for peers
	TLS           *tls.Config // nil: none
	MaxStoreBytes int64       // bytes of all streams together, in memory; 0: the bus's default
}

// address takes Listen apart.
func (b *EmbeddedBus) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(b.Listen)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	return host, int(number), err
}

// PeerConfig is another region.
type PeerConfig struct {
	Descriptor globaltable.Descriptor
	Token      string      // Descriptor, signed. Without it this region cannot make the first document of the world, when members change
	URLs       []string    // where its NATS is dialled; empty: the descriptor's
	TLS        *tls.Config // nil: none
}

// Limits bound a node's resources.
type Limits struct {
	MaxClockOffset     time.Duration // how far ahead of this clock a change may be stamped; default 500 ms
	Heartbeat          time.Duration // interval between heartbeats; default 250 ms
	FreeBytes          uint64        // below so much free disk space writes are refused; default 512 MiB
	CacheBytes         int64         // the store's block cache; default 128 MiB
	WriteBufferBytes   int64         // each of the store's write buffers, of which up to four fill; default 64 MiB
	StreamBytes        int64         // of each lane's stream; default 256 MiB, 32 MiB with the embedded NATS, which has it in memory
	LogBytes           int64         // of each lane's change log: beyond it a peer that has not confirmed it is left behind; default 4 GiB
	MaxOpenRequests    int           // DynamoDB requests in work at once; default 1024
	ShutdownPatience   time.Duration // how long open requests may take at the end; default 10 s
	AcknowledgeTimeout time.Duration // how long a write to a table that asks for it waits for peers; default 5 s
	JoinBytesPerSecond int64         // of records that a new replica here takes from the others, about; default 0: no limit
	CollectPerSecond   int           // records of deleted and expired items that are erased, at most; default 5000
	SweepEvery         time.Duration // how often they are looked for; at least a second, which is the default
	IndexPerSecond     int           // records of a table that are gone through to build an index that is new, at most; default 20000

	// CompareEvery is how often each table is compared with every other region that has it, in the background; default 24 h. NoCompare: never.
	CompareEvery time.Duration
	NoCompare    bool
	// CompareBytesPerSecond bounds what that reads here, about, and as much again may be read for the other regions' comparisons; default 4 MiB.
	CompareBytesPerSecond int64
}

// minSweep is the least interval of sweeps: an item expires at a second.
const minSweep = time.Second

// withDefaults returns the limits with their defaults, of a node with an embedded NATS or without.
func (l Limits) withDefaults(embedded bool) Limits {
	if l.MaxClockOffset == 0 {
		l.MaxClockOffset = hlc.DefaultMaxOffset
	}
	if l.Heartbeat == 0 {
		l.Heartbeat = 250 * time.Millisecond
	}
	if l.FreeBytes == 0 {
		l.FreeBytes = 512 << 20
	}
	if l.CacheBytes == 0 {
		l.CacheBytes = 128 << 20
	}
	if l.WriteBufferBytes == 0 {
		l.WriteBufferBytes = 64 << 20
	}
	if l.StreamBytes == 0 {
		l.StreamBytes = 256 << 20
		if embedded {
			l.StreamBytes = 32 << 20
		}
	}
	if l.LogBytes == 0 {
		l.LogBytes = 4 << 30
	}
	if l.MaxOpenRequests == 0 {
		l.MaxOpenRequests = 1024
	}
	if l.AcknowledgeTimeout == 0 {
		l.AcknowledgeTimeout = 5 * time.Second
	}
	if l.ShutdownPatience == 0 {
		l.ShutdownPatience = 10 * time.Second
	}
	if l.CollectPerSecond == 0 {
		l.CollectPerSecond = 5000
	}
	if l.SweepEvery == 0 {
		l.SweepEvery = minSweep
	}
	if l.IndexPerSecond == 0 {
		l.IndexPerSecond = 20_000
	}
	if l.CompareEvery == 0 {
		l.CompareEvery = 24 * time.Hour
	}
	if l.CompareBytesPerSecond == 0 {
		l.CompareBytesPerSecond = 4 << 20
	}
	return l
}

// StoreDir is where the shard's Pebble store lies.
func (c *Config) StoreDir() string { return filepath.Join(c.DataDir, "shard-0") }

// JetStreamDir is where the embedded NATS keeps its files.
func (c *Config) JetStreamDir() string { return filepath.Join(c.DataDir, "jetstream") }

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if err := c.Region.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("region: %w", err))
	}
	if key, err := nkeys.FromSeed(c.KeySeed); err != nil {
		fault("region key: not an nkey seed of kind User")
	} else if public, err := key.PublicKey(); err != nil || public != c.Region.PublicKey {
		fault("region key: is not the key of the region's descriptor")
	}
	if c.DataDir == "" {
		fault("data directory is not set")
	}
	for _, l := range []struct{ what, addr string }{{"dynamodb", c.DynamoDB.Listen}, {"admin", c.Admin.Listen}} {
		if l.addr == "" {
			fault("%s: no address to listen on", l.what)
		}
	}
	if !c.DynamoDB.AcceptAny && len(c.DynamoDB.Credentials) == 0 {
		fault("dynamodb: no credentials; give some, or set acceptAny for development")
	}
	switch {
	case (c.Bus.Embedded == nil) == (c.Bus.External == nil):
		fault("nats: exactly one of embedded and external must be set")
	case c.Bus.Embedded != nil && c.Bus.Embedded.Listen == "":
		fault("nats: embedded: no address to listen on")
	case c.Bus.Embedded != nil:
		if _, _, err := c.Bus.Embedded.address(); err != nil {
			fault("nats: embedded: listen on %s: %w", c.Bus.Embedded.Listen, err)
		}
	case len(c.Bus.External.URLs) == 0:
		fault("nats: external: no URLs")
	}
	faults = append(faults, c.validatePeers()...)
	if err := c.validateInvitation(); err != nil {
		faults = append(faults, err)
	}
	for _, l := range []struct {
		what string
		n    int64
	}{{"maxClockOffset", int64(c.Limits.MaxClockOffset)}, {"heartbeat", int64(c.Limits.Heartbeat)}, {"cacheBytes", c.Limits.CacheBytes},
		{"writeBufferBytes", c.Limits.WriteBufferBytes},
		{"streamBytes", c.Limits.StreamBytes}, {"logBytes", c.Limits.LogBytes}, {"maxOpenRequests", int64(c.Limits.MaxOpenRequests)},
		{"freeBytes", int64(c.Limits.FreeBytes)}, {"shutdownPatience", int64(c.Limits.ShutdownPatience)},
		{"acknowledgeTimeout", int64(c.Limits.AcknowledgeTimeout)}, {"joinBytesPerSecond", c.Limits.JoinBytesPerSecond}, {"collectPerSecond", int64(c.Limits.CollectPerSecond)},
		{"indexPerSecond", int64(c.Limits.IndexPerSecond)}, {"compareEvery", int64(c.Limits.CompareEvery)},
		{"compareBytesPerSecond", c.Limits.CompareBytesPerSecond}} {
		if l.n < 0 {
			fault("limits: %s is negative or too large", l.what)
		}
	}
	for name, key := range c.Triggers.Secrets {
		if !globaltable.ValidPolicyName(name) || len(key) == 0 {
			fault("triggers: a secret has a name that triggers cannot have, or is empty")
		}
	}
	for i, path := range c.Triggers.Commands {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			fault("triggers: command %d is no absolute path", i+1)
		}
	}
	if c.Triggers.Reach < 0 {
		fault("triggers: reach is negative")
	}
	if s := c.Limits.SweepEvery; s != 0 && s < minSweep {
		fault("limits: sweepEvery is less than %s", minSweep)
	}
	if len(faults) == 0 {
		return nil
	}
	return &globaltable.Error{Op: "check node configuration", Resource: c.Region.Name, Kind: globaltable.Invalid, Err: errors.Join(faults...)}
}

func (c *Config) validatePeers() (faults []error) {
	names := map[string]bool{c.Region.Name: true}
	origins := map[hlc.Origin]bool{c.Region.Origin: true}
	for i, p := range c.withInvited() {
		if err := p.Descriptor.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("peer %d: %w", i+1, err))
			continue
		}
		if names[p.Descriptor.Name] {
			faults = append(faults, fmt.Errorf("peer %d: region %s is there twice", i+1, p.Descriptor.Name))
		}
		if origins[p.Descriptor.Origin] {
			faults = append(faults, fmt.Errorf("peer %d: region number %d is there twice", i+1, p.Descriptor.Origin))
		}
		if p.Token != "" {
			if d, err := globaltable.ParseDescriptor(p.Token); err != nil {
				faults = append(faults, fmt.Errorf("peer %d: %w", i+1, err))
			} else if err := p.Descriptor.Matches(&d); err != nil {
				faults = append(faults, fmt.Errorf("peer %d: %w", i+1, err))
			}
		}
		names[p.Descriptor.Name], origins[p.Descriptor.Origin] = true, true
		if len(p.URLs) == 0 && len(p.Descriptor.NATS) == 0 {
			faults = append(faults, fmt.Errorf("peer %d: region %s has no NATS address; for one of an invitation, list it among the peers, with one", i+1, p.Descriptor.Name))
		}
	}
	return faults
}
