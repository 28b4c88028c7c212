// Package world runs several regions in one process, with links between them that have a delay and can be cut: for development, the demo
// and tests. Each region is a regionnode.Node as in production, with its own store, its own NATS server and its own key.
package world

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode"
)

// MaxRegions bounds a world.
const MaxRegions = 16

// Region is a region of a world.
type Region struct{ Name, Jurisdiction string }

// DefaultRegions are those of a world for which none are given.
func DefaultRegions() []Region {
	return []Region{{"us-east-1", "US"}, {"eu-central-1", "EU"}, {"ap-south-1", "IN"}}
}

// Pair is two regions, in either order.
type Pair struct{ A, B string }

// Config describes a world.
type Config struct {
	Regions   []Region
	DataDir   string                 // one folder per region, by its name; an earlier world goes on from it
	Port      int                    // DynamoDB of the first region; the others follow. 0: free ones
	AdminPort int                    // admin API, likewise
	NATSPort  int                    // NATS, likewise
	Latency   map[Pair]time.Duration // one-way delay of the link
	Triggers  regionnode.TriggersConfig
	Limits    regionnode.Limits
	Log       zerolog.Logger
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Regions) == 0 || len(c.Regions) > MaxRegions {
		fault("%d regions: there must be 1 to %d", len(c.Regions), MaxRegions)
	}
	names := map[string]bool{}
	for _, r := range c.Regions {
		if err := globaltable.ValidateRegionName(r.Name); err != nil {
			fault("region %q: %w", r.Name, err)
		}
		if err := globaltable.ValidateJurisdiction(r.Jurisdiction); err != nil {
			fault("region %q: jurisdiction %q: %w", r.Name, r.Jurisdiction, err)
		}
		if names[r.Name] {
			fault("region %q is there twice", r.Name)
		}
		names[r.Name] = true
	}
	if c.DataDir == "" {
		fault("no data directory")
	}
	for _, p := range []struct {
		what string
		base int
	}{{"port", c.Port}, {"admin port", c.AdminPort}, {"NATS port", c.NATSPort}} {
		if p.base < 0 || p.base+len(c.Regions)-1 > 65535 {
			fault("%s %d is out of range", p.what, p.base)
		}
	}
	for pair, d := range c.Latency {
		if !names[pair.A] || !names[pair.B] || pair.A == pair.B {
			fault("latency %s:%s: not two regions of this world", pair.A, pair.B)
		}
		if d < 0 || d > time.Minute {
			fault("latency %s:%s: %s is not between 0 and a minute", pair.A, pair.B, d)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &globaltable.Error{Op: "check world", Kind: globaltable.Invalid, Err: errors.Join(faults...)}
}

// Ready tells where the regions serve. It is what the ready file holds.
type Ready struct {
	Regions []ReadyRegion `json:"regions"`
}

// ReadyRegion is one region of a Ready, with URLs.
type ReadyRegion struct {
	Name         string `json:"name"`
	Jurisdiction string `json:"jurisdiction"`
	DynamoDB     string `json:"dynamodb"`
	Admin        string `json:"admin"`
	NATS         string `json:"nats"`
}

// World is several regions and the links between them.
type World struct {
	cfg     Config
	regions []*region
	links   []*link

	mu sync.Mutex // guards the regions' nodes while the world runs
}

type region struct {
	Region
	key        []byte
	descriptor globaltable.Descriptor
	token      string // descriptor, signed
	config     regionnode.Config
	node       *regionnode.Node
}

// link is the way from a region to an origin: the region dials the origin's NATS through it.
type link struct {
	*Link
	from, to string
}

// Open prepares the world: keys, stores, links. It starts nothing that Close would not end.
func Open(cfg Config) (w *World, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Limits.CacheBytes == 0 {
		cfg.Limits.CacheBytes = 64 << 20 // the regions share one machine's memory
	}
	if cfg.Limits.WriteBufferBytes == 0 {
		cfg.Limits.WriteBufferBytes = 32 << 20
	}
	w = &World{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
			w = nil
		}
	}()
	if err := w.identify(); err != nil {
		return w, err
	}
	if err := w.connect(); err != nil {
		return w, err
	}
	for _, r := range w.regions {
		if r.node, err = regionnode.Open(r.config); err != nil {
			return w, err
		}
	}
	return w, nil
}

// Close releases a world that was never run.
func (w *World) Close() (err error) {
	for _, r := range w.regions {
		if r.node != nil {
			err = errors.Join(err, r.node.Close())
		}
	}
	for _, l := range w.links {
		err = errors.Join(err, l.Close())
	}
	return err
}

// identify gives every region its key, number and address. A region that was there before keeps key and number.
func (w *World) identify() error {
	highest, err := w.highestOrigin()
	if err != nil {
		return err
	}
	for _, spec := range w.cfg.Regions {
		r := &region{Region: spec}
		known, err := r.load(filepath.Join(w.cfg.DataDir, spec.Name))
		if err != nil {
			return err
		}
		if known && r.descriptor.Jurisdiction != spec.Jurisdiction {
			return &globaltable.Error{Op: "open world", Resource: spec.Name, Kind: globaltable.Invalid, Message: fmt.Sprintf(
				"the region was made for jurisdiction %s and cannot become one of %s", r.descriptor.Jurisdiction, spec.Jurisdiction)}
		}
		w.regions = append(w.regions, r)
	}
	taken := map[int]bool{}
	for i, r := range w.regions {
		port, err := choosePort(w.cfg.NATSPort, i, taken)
		if err != nil {
			return err
		}
		if r.descriptor.Origin == 0 {
			highest++
			r.descriptor.Origin = highest
		}
		r.descriptor.NATS = []string{fmt.Sprintf("nats://127.0.0.1:%d", port)}
		if err := r.save(filepath.Join(w.cfg.DataDir, r.Name)); err != nil {
			return err
		}
		r.config = regionnode.Config{
			Region: r.descriptor, KeySeed: r.key, DataDir: filepath.Join(w.cfg.DataDir, r.Name),
			DynamoDB: regionnode.DynamoDBConfig{Listen: address(w.cfg.Port, i), AcceptAny: true},
			Admin:    regionnode.AdminConfig{Listen: address(w.cfg.AdminPort, i)},
			Bus:      regionnode.BusConfig{Embedded: &regionnode.EmbeddedBus{Listen: fmt.Sprintf("127.0.0.1:%d", port)}},
			Triggers: w.cfg.Triggers, Limits: w.cfg.Limits, Log: w.cfg.Log,
		}
	}
	return nil
}

// highestOrigin is the greatest number that a region in the data directory has, those included that are not of this world any more: the others hold
// what they wrote, and a number is never given again.
func (w *World) highestOrigin() (highest hlc.Origin, err error) {
	folders, err := os.ReadDir(w.cfg.DataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("read the data directory: %w", err)
	}
	for _, f := range folders {
		token, err := os.ReadFile(filepath.Join(w.cfg.DataDir, f.Name(), descriptorFile))
		if err != nil {
			continue // no region's folder
		}
		d, err := globaltable.ParseDescriptor(strings.TrimSpace(string(token)))
		if err != nil {
			return 0, fmt.Errorf("read the descriptor of region %s: %w", f.Name(), err)
		}
		highest = max(highest, d.Origin)
	}
	return highest, nil
}

// The files of a region's identity, in its folder.
const (
	seedFile       = "region.seed"
	descriptorFile = "region.descriptor"
)

// load reads the identity in dir, or makes a new one without a number.
func (r *region) load(dir string) (known bool, err error) {
	seed, err := os.ReadFile(filepath.Join(dir, seedFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, r.generate()
	}
	if err != nil {
		return false, fmt.Errorf("read the key of region %s: %w", r.Name, err)
	}
	token, err := os.ReadFile(filepath.Join(dir, descriptorFile))
	if err != nil {
		return false, fmt.Errorf("read the descriptor of region %s: %w", r.Name, err)
	}
	r.key = []byte(strings.TrimSpace(string(seed)))
	r.descriptor, err = globaltable.ParseDescriptor(strings.TrimSpace(string(token)))
	return true, err
}

func (r *region) generate() error {
	key, err := nkeys.CreatePairWithRand(nkeys.PrefixByteUser, rand.Reader)
	if err != nil {
		return err
	}
	if r.key, err = key.Seed(); err != nil {
		return err
	}
	public, err := key.PublicKey()
	if err != nil {
		return err
	}
	r.descriptor = globaltable.Descriptor{Name: r.Name, Jurisdiction: r.Jurisdiction, PublicKey: public}
	return nil
}

func (r *region) save(dir string) error {
	key, err := nkeys.FromSeed(r.key)
	if err != nil {
		return err
	}
	token, err := globaltable.Sign(&r.descriptor, key)
	if err != nil {
		return err
	}
	r.token = token
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The descriptor is there before the key: a key without one could not be used again.
	if err := os.WriteFile(filepath.Join(dir, descriptorFile), []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, seedFile), append(r.key, '\n'), 0o600)
}

// connect makes the links and tells every region of its peers.
func (w *World) connect() error {
	for _, from := range w.regions {
		for _, to := range w.regions {
			if from == to {
				continue
			}
			target := strings.TrimPrefix(to.descriptor.NATS[0], "nats://")
			l, err := NewLink("127.0.0.1:0", target, Both(w.latency(from.Name, to.Name)))
			if err != nil {
				return err
			}
			w.links = append(w.links, &link{l, from.Name, to.Name})
			from.config.Peers = append(from.config.Peers, regionnode.PeerConfig{Descriptor: to.descriptor, Token: to.token, URLs: []string{"nats://" + l.Addr()}})
		}
	}
	return nil
}

func (w *World) latency(a, b string) time.Duration {
	return max(w.cfg.Latency[Pair{a, b}], w.cfg.Latency[Pair{b, a}])
}

// Cut separates a region from all others, in both directions.
func (w *World) Cut(name string) { w.each(name, (*Link).Cut) }

// Heal ends a Cut.
func (w *World) Heal(name string) { w.each(name, (*Link).Heal) }

func (w *World) each(name string, f func(*Link)) {
	for _, l := range w.links {
		if l.from == name || l.to == name {
			f(l.Link)
		}
	}
}

// Node returns a region's node, nil if there is none of that name.
func (w *World) Node(name string) *regionnode.Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.regions {
		if r.Name == name {
			return r.node
		}
	}
	return nil
}

// replace returns what notes that a region's node was opened again.
func (w *World) replace(r *region) func(*regionnode.Node) {
	return func(n *regionnode.Node) {
		w.mu.Lock()
		defer w.mu.Unlock()
		r.node = n
	}
}

// Run runs the regions until ctx is done, or one of them fails. ready is called when all serve.
func (w *World) Run(ctx context.Context, ready func(Ready)) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range w.links {
		group.Go(func() error { return l.Run(ctx) })
	}
	var mu sync.Mutex
	missing := len(w.regions)
	all := Ready{Regions: make([]ReadyRegion, len(w.regions))}
	for i, r := range w.regions {
		group.Go(func() error {
			err := regionnode.RunOn(ctx, r.node, func(e regionnode.Endpoints) {
				mu.Lock()
				defer mu.Unlock()
				all.Regions[i] = ReadyRegion{Name: r.Name, Jurisdiction: r.Jurisdiction, DynamoDB: e.DynamoDB, Admin: e.Admin, NATS: e.NATS}
				if missing--; missing == 0 {
					ready(all)
				}
			}, w.replace(r))
			if err != nil {
				return fmt.Errorf("region %s: %w", r.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func address(base, i int) string {
	if base == 0 {
		return "127.0.0.1:0"
	}
	return fmt.Sprintf("127.0.0.1:%d", base+i)
}

// Free ports are taken from below the range out of which systems give ports to whoever asks for any: until the server listens, nobody else is
// handed the port by chance, not even a link of this world.
const (
	firstFreePort = 20000
	lastFreePort  = 32000
)

// choosePort returns the i-th port from base on, or with base 0 a free one that is not in taken: links need to know it before its server listens.
func choosePort(base, i int, taken map[int]bool) (int, error) {
	if base != 0 {
		return base + i, nil
	}
	var err error
	for range 100 {
		port := firstFreePort + mathrand.IntN(lastFreePort-firstFreePort)
		if taken[port] {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			taken[port] = true
			return port, l.Close()
		}
	}
	return 0, &globaltable.Error{Op: "find a free port", Kind: globaltable.Unavailable, Err: err}
}
