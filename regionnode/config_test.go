package regionnode

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
)

// identity makes a region's key and descriptor.
func identity(t testing.TB, name string, origin hlc.Origin) (seed []byte, d globaltable.Descriptor) {
	t.Helper()
	key, public := newKey(t)
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return seed, globaltable.Descriptor{Name: name, Jurisdiction: "EU", Origin: origin, PublicKey: public}
}

// goodConfig is a node on free ports, with one peer that is nowhere.
func goodConfig(t testing.TB) Config {
	t.Helper()
	seed, self := identity(t, "eu-central-1", 1)
	_, other := identity(t, "us-east-1", 2)
	return Config{
		Region: self, KeySeed: seed, DataDir: filepath.Join(t.TempDir(), "eu"),
		DynamoDB: DynamoDBConfig{Listen: "127.0.0.1:0", AcceptAny: true},
		Admin:    AdminConfig{Listen: "127.0.0.1:0"},
		Bus:      BusConfig{Embedded: &EmbeddedBus{Listen: "127.0.0.1:0"}},
		Peers:    []PeerConfig{{Descriptor: other, URLs: []string{"nats://127.0.0.1:1"}}},
		Limits:   Limits{CacheBytes: 8 << 20, FreeBytes: 1, ShutdownPatience: 10 * time.Second},
	}
}

func TestConfigFaults(t *testing.T) {
	strangeKey, _ := identity(t, "eu-central-1", 1)
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountSeed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string // all of them; none: valid
	}{
		"good":                   {func(*Config) {}, nil},
		"credentials":            {func(c *Config) { c.DynamoDB.AcceptAny, c.DynamoDB.Credentials = false, map[string]string{"a": "b"} }, nil},
		"external bus":           {func(c *Config) { c.Bus = BusConfig{External: &bus.ExternalConfig{URLs: []string{"nats://a:1"}}} }, nil},
		"addresses of the peer":  {func(c *Config) { c.Peers[0].URLs, c.Peers[0].Descriptor.NATS = nil, []string{"nats://a:1"} }, nil},
		"no region":              {func(c *Config) { c.Region = globaltable.Descriptor{} }, []string{"region:", "1 to 32 lower-case", "jurisdiction", "origin is zero", "not the key"}},
		"no key":                 {func(c *Config) { c.KeySeed = nil }, []string{"not an nkey seed"}},
		"another region's key":   {func(c *Config) { c.KeySeed = strangeKey }, []string{"is not the key"}},
		"a key of another kind":  {func(c *Config) { c.KeySeed = accountSeed }, []string{"is not the key"}},
		"no directory":           {func(c *Config) { c.DataDir = "" }, []string{"data directory"}},
		"no addresses":           {func(c *Config) { c.DynamoDB.Listen, c.Admin.Listen = "", "" }, []string{"dynamodb: no address", "admin: no address"}},
		"no credentials":         {func(c *Config) { c.DynamoDB.AcceptAny = false }, []string{"no credentials"}},
		"no bus":                 {func(c *Config) { c.Bus.Embedded = nil }, []string{"exactly one"}},
		"two buses":              {func(c *Config) { c.Bus.External = &bus.ExternalConfig{} }, []string{"exactly one"}},
		"a bus without address":  {func(c *Config) { c.Bus.Embedded.Listen = "" }, []string{"embedded: no address"}},
		"a bus without port":     {func(c *Config) { c.Bus.Embedded.Listen = "127.0.0.1" }, []string{"embedded: listen on", "missing port"}},
		"a bus on a named port":  {func(c *Config) { c.Bus.Embedded.Listen = "127.0.0.1:nats" }, []string{"embedded: listen on"}},
		"an external bus of air": {func(c *Config) { c.Bus = BusConfig{External: &bus.ExternalConfig{}} }, []string{"no URLs"}},
		"a peer that is not":     {func(c *Config) { c.Peers[0].Descriptor.PublicKey = "U" }, []string{"peer 1", "public key"}},
		"itself as peer":         {func(c *Config) { c.Peers[0].Descriptor = c.Region }, []string{"region eu-central-1 is there twice", "number 1 is there twice"}},
		"peers alike":            {func(c *Config) { c.Peers = append(c.Peers, c.Peers[0]) }, []string{"peer 2: region us-east-1 is there twice", "number 2 is there twice"}},
		"a peer without address": {func(c *Config) { c.Peers[0].URLs = nil }, []string{"region us-east-1 has no NATS address"}},
		"negative limits": {func(c *Config) {
			c.Limits = Limits{MaxClockOffset: -1, Heartbeat: -1, FreeBytes: 1 << 63, CacheBytes: -1, StreamBytes: -1, MaxOpenRequests: -1, ShutdownPatience: -1,
				CollectPerSecond: -1, IndexPerSecond: -1, CompareEvery: -1, CompareBytesPerSecond: -1}
		}, []string{"maxClockOffset", "heartbeat", "freeBytes", "cacheBytes", "streamBytes", "maxOpenRequests", "shutdownPatience",
			"collectPerSecond", "indexPerSecond", "compareEvery", "compareBytesPerSecond"}},
		"sweeps too often": {func(c *Config) { c.Limits.SweepEvery = time.Second - 1 }, []string{"sweepEvery is less than 1s"}},
		"everything at once": {func(c *Config) { *c = Config{} }, []string{"region:", "region key", "data directory", "dynamodb: no address", "admin: no address",
			"no credentials", "nats:"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := goodConfig(t)
			c.change(&cfg)
			err := cfg.Validate()
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if globaltable.KindOf(err) != globaltable.Invalid {
				t.Errorf("error %v", err)
			}
			for _, text := range c.want {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("%v does not say %q", err, text)
				}
			}
			if _, err := Open(cfg); err == nil {
				t.Error("a node opens all the same")
			}
		})
	}
}
