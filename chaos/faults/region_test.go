//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/chaos/canary"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/world"
)

// The credentials of deployments/.
const (
	accessKey = "CONCORDATAPP1"
	secretKey = "a secret of forty characters, for a test"
)

// region is a region as its users see it: where it serves, and the client of its application.
type region struct {
	t     testing.TB
	name  string
	admin string // URL
	api   *sdk.Client
}

// newRegion returns the region that serves at these URLs. Its client does not try again: each call is one operation.
func newRegion(t testing.TB, name, dynamodb, admin string) *region {
	transport := &http.Transport{MaxIdleConnsPerHost: 128}
	t.Cleanup(transport.CloseIdleConnections)
	return &region{t: t, name: name, admin: admin, api: sdk.New(sdk.Options{
		BaseEndpoint: &dynamodb, Region: name, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: wholeBodies{transport}},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})}
}

// wholeBodies gives net/http the body of a request in memory, as a type that it knows. For the SDK's own type it sends head and body apart and looks
// behind the end of the body afterwards; when the answer was faster than that, the SDK has closed the body, net/http takes this for a failure, and closes the
// connection while the answer is being read. With a server on the same machine that happens once in some hundred calls.
type wholeBodies struct{ http.RoundTripper }

func (w wholeBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	r = r.WithContext(r.Context()) // a copy: a RoundTripper may not change what it is given
	r.Body = io.NopCloser(bytes.NewReader(body))
	return w.RoundTripper.RoundTrip(r)
}

// status asks the region's admin API.
func (r *region) status() (admin.Status, error) {
	var st admin.Status
	err := r.ask("/v1/status", &st)
	return st, err
}

// ask asks the region's admin API for what is at a path.
func (r *region) ask(path string, into any) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience/10)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.admin+path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// pair asks the status command for the replication from another region to this one.
func (r *region) pair(from string) admin.Pair {
	r.t.Helper()
	var st admin.Status
	if err := json.Unmarshal([]byte(mustCommand(r.t, "status", "--admin", r.admin, "--output", "json")), &st); err != nil {
		r.t.Fatal(err)
	}
	for _, p := range st.Pairs {
		if p.From == from && p.To == r.name {
			return p
		}
	}
	r.t.Fatalf("the status of %s has no pair from %s", r.name, from)
	return admin.Pair{}
}

// node is a region whose only process is `concordat node`.
type node struct {
	*region
	proc   *process // of the latest start
	config string
	data   string
	nats   string // host:port of its NATS
	id     int
	law    string // jurisdiction
	log    string // file to which all is logged, at all levels; empty: none
}

// launch starts the node and waits until it serves.
func (n *node) launch() {
	n.t.Helper()
	if n.log == "" {
		n.proc = start(n.t, n.name, "node", "--config", n.config)
	} else {
		n.proc = startRecorded(n.t, n.name, n.log, "node", "--config", n.config, "--log-level", "debug")
	}
	eventually(n.t, n.name+" serves", func() string {
		if !n.proc.running() {
			n.t.Fatalf("%s ended: %v", n.name, n.proc.err)
		}
		if !n.proc.log.has("serving") {
			return "no line that says so in its log"
		}
		return ""
	})
}

// cluster is three regions, each a process of its own, configured as deployments/ shows. Each dials its peers by links that can be cut.
type cluster struct {
	t     *testing.T
	nodes []*node
	links map[[2]string]*world.Link // from, to: from dials to
	heard *canary.Capture           // of what links carry; nil: nobody listens
}

// newCluster configures three regions and starts none.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	return newClusterApart(t, 0)
}

// newClusterApart is newCluster with regions that are so far from each other: what one sends takes so long.
func newClusterApart(t *testing.T, oneWay time.Duration) *cluster {
	t.Helper()
	return newClusterHeard(t, oneWay, nil)
}

// newClusterHeard is newClusterApart with links that are overheard.
func newClusterHeard(t *testing.T, oneWay time.Duration, heard *canary.Capture) *cluster {
	t.Helper()
	c := &cluster{t: t, links: map[[2]string]*world.Link{}, heard: heard}
	for i, spec := range world.DefaultRegions() {
		dir := t.TempDir()
		c.nodes = append(c.nodes, &node{
			region: newRegion(t, spec.Name, "http://"+freeAddress(t), "http://"+freeAddress(t)),
			config: filepath.Join(dir, "node.yaml"), data: filepath.Join(dir, "data"), nats: freeAddress(t), id: i + 1, law: spec.Jurisdiction,
		})
	}
	for _, n := range c.nodes {
		c.identify(n)
	}
	c.connect(world.Both(oneWay))
	for _, n := range c.nodes {
		c.configure(n)
	}
	return c
}

// launch starts all nodes and waits until they have met.
func (c *cluster) launch() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.launch()
	}
	awaitEven(c.t, c.regions()...)
}

func (c *cluster) regions() (all []*region) {
	for _, n := range c.nodes {
		all = append(all, n.region)
	}
	return all
}

// identify makes a region's key and descriptor beside its configuration.
func (c *cluster) identify(n *node) {
	c.t.Helper()
	dir := filepath.Dir(n.config)
	key := filepath.Join(dir, "region.key")
	mustCommand(c.t, "region", "keygen", "--out", key)
	descriptor := mustCommand(c.t, "region", "descriptor", "--key", key, "--name", n.name, "--jurisdiction", n.law, "--id", fmt.Sprint(n.id), "--nats", "nats://"+n.nats)
	writeFile(c.t, filepath.Join(dir, "own.descriptor"), descriptor)
	writeFile(c.t, filepath.Join(dir, "app1.secret"), secretKey)
}

// connect makes a link for each ordered pair. Their goroutines end with the test, after all processes.
func (c *cluster) connect(delay world.Delay) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var carriers errgroup.Group
	for _, from := range c.nodes {
		for _, to := range c.nodes {
			if from == to {
				continue
			}
			l, err := world.NewLink("127.0.0.1:0", to.nats, delay)
			if err != nil {
				c.t.Fatal(err)
			}
			if c.heard != nil {
				l.Overhear(c.tap(from.name, to.name))
			}
			c.links[[2]string{from.name, to.name}] = l
			carriers.Go(func() error { return l.Run(ctx) })
		}
	}
	c.t.Cleanup(func() {
		cancel()
		if err := carriers.Wait(); err != nil {
			c.t.Error(err)
		}
	})
}

// tap hears a link by which a region dials another one.
func (c *cluster) tap(from, to string) world.Tap {
	return func(connection uint64, back bool) io.WriteCloser {
		d := canary.Direction{From: from, To: to}
		if back {
			d = canary.Direction{From: to, To: from}
		}
		return c.heard.Wire(d, connection)
	}
}

// cut separates a region from all others; heal ends that.
func (c *cluster) cut(n *node)  { c.each(n, (*world.Link).Cut) }
func (c *cluster) heal(n *node) { c.each(n, (*world.Link).Heal) }

func (c *cluster) each(n *node, do func(*world.Link)) {
	for pair, l := range c.links {
		if slices.Contains(pair[:], n.name) {
			do(l)
		}
	}
}

// configure writes the region's configuration: deployments/node-embedded.yaml with the addresses and names of this region.
func (c *cluster) configure(n *node) {
	c.t.Helper()
	doc := readDocument(c.t, "node-embedded.yaml")
	doc.set("spec.nats.embedded.listen", n.nats)
	c.place(n, doc)
}

// document is a YAML document of deployments/.
type document map[string]any

func readDocument(t testing.TB, name string) document {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "deployments", name))
	if err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// set sets the field at a path. Its parents must be there.
func (d document) set(path string, value any) {
	fields := strings.Split(path, ".")
	at := map[string]any(d)
	for _, f := range fields[:len(fields)-1] {
		at = at[f].(map[string]any)
	}
	at[fields[len(fields)-1]] = value
}

// place writes a document as the configuration of a node, with what differs from region to region and machine to machine.
func (c *cluster) place(n *node, doc document) {
	c.t.Helper()
	doc.set("metadata.name", n.name)
	doc.set("spec.region.jurisdiction", n.law)
	doc.set("spec.region.id", n.id)
	doc.set("spec.data", n.data)
	doc.set("spec.dynamodb.listen", strings.TrimPrefix(*n.api.Options().BaseEndpoint, "http://"))
	doc.set("spec.admin.listen", strings.TrimPrefix(n.admin, "http://"))
	doc.set("spec.nats.advertise", []string{"nats://" + n.nats})
	var peers []map[string]any
	for _, p := range c.nodes {
		if p.name != n.name {
			peers = append(peers, map[string]any{
				"descriptorFile": filepath.Join(filepath.Dir(p.config), "own.descriptor"),
				"urls":           []string{"nats://" + c.links[[2]string{n.name, p.name}].Addr()},
			})
		}
	}
	doc.set("spec.peers", peers)
	b, err := yaml.Marshal(map[string]any(doc))
	if err != nil {
		c.t.Fatal(err)
	}
	writeFile(c.t, n.config, string(b))
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddress returns an address of this machine that stays free while a process is down. The kernel gives ports from 32768 on to whoever
// connects somewhere; below it nobody takes one unasked.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(20_000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}
