//go:build linux

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A region with a NATS of its operator, configured by what deployments/ and `concordat nats accounts` say, beside two with one of their own.
func TestExternalNATS(t *testing.T) {
	t.Parallel() // with the tests that mostly wait
	for _, servers := range []int{1, 3} {
		t.Run(strconv.Itoa(servers), func(t *testing.T) { testExternalNATS(t, servers) })
	}
}

func testExternalNATS(t *testing.T, servers int) {
	c := newCluster(t)
	n := c.nodes[0]
	dir := filepath.Dir(n.config)
	userKey := filepath.Join(dir, "nats-user.key")
	mustCommand(t, "region", "keygen", "--out", userKey)
	addresses := []string{n.nats} // the peers' links lead there
	for len(addresses) < servers {
		addresses = append(addresses, freeAddress(t))
	}
	var urls []string
	for _, a := range addresses {
		urls = append(urls, "nats://"+a)
	}
	doc := readDocument(t, "node-external.yaml")
	doc.set("spec.nats.external.urls", urls)
	doc.set("spec.nats.external.replicas", servers)
	c.place(n, doc)
	accounts := mustCommand(t, "nats", "accounts", "--config", n.config)
	running := startNATS(t, n, addresses, accounts)
	c.launch()
	createTable(t, table, c.regions()...)

	h := newHistory()
	l := startLoad(t, h, table, "external", c.regions()...)
	for _, r := range c.regions() {
		h.acknowledges(t, r, 100)
	}
	purgeStreams(t, urls[0], userKey)
	for _, r := range c.regions() {
		h.acknowledges(t, r, 100)
	}
	if servers > 1 {
		last := running[len(running)-1]
		last.Shutdown()
		last.WaitForShutdown()
	}
	h.acknowledges(t, n.region, 100)
	l.stop()
	h.mustConverge(t, table, c.regions()...)
}

// startNATS starts the servers of a region as deployments/nats-server.conf describes them, in this process, and waits until they can be used.
func startNATS(t *testing.T, n *node, addresses []string, accounts string) []*server.Server {
	t.Helper()
	var routes []string
	for range addresses {
		routes = append(routes, freeAddress(t))
	}
	var all []*server.Server
	for i := range addresses {
		s := newNATS(t, n, i, addresses, routes, accounts)
		all = append(all, s)
		t.Cleanup(s.WaitForShutdown)
		t.Cleanup(s.Shutdown)
		go s.Start()
	}
	eventually(t, "NATS serves", func() string {
		for _, s := range all {
			if s.NumRoutes() == 0 && len(all) > 1 || !s.JetStreamEnabled() || len(all) > 1 && !s.JetStreamIsCurrent() {
				return s.Name() + " does not"
			}
		}
		return ""
	})
	return all
}

// newNATS reads the configuration with the addresses and folders of this test.
func newNATS(t *testing.T, n *node, i int, addresses, routes []string, accounts string) *server.Server {
	t.Helper()
	b, err := os.ReadFile("../../deployments/nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var others []string
	for j, r := range routes {
		if j != i {
			others = append(others, strconv.Quote("nats://"+r))
		}
	}
	conf := string(b)
	for old, new := range map[string]string{
		`"eu-central-1-a"`:       strconv.Quote(fmt.Sprint(n.name, "-", i)),
		`"0.0.0.0:4222"`:         strconv.Quote(addresses[i]),
		`domain: "eu-central-1"`: "domain: " + strconv.Quote(n.name),
		`name: "eu-central-1"`:   "name: " + strconv.Quote(n.name),
		`"/var/lib/nats"`:        strconv.Quote(filepath.Join(dir, "streams")),
		`"0.0.0.0:6222"`:         strconv.Quote(routes[i]),
		`"nats://10.20.0.2:6222", "nats://10.20.0.3:6222"`: strings.Join(others, ", "),
	} {
		if !strings.Contains(conf, old) {
			t.Fatalf("deployments/nats-server.conf has no %s", old)
		}
		conf = strings.ReplaceAll(conf, old, new)
	}
	writeFile(t, filepath.Join(dir, "nats-server.conf"), conf)
	writeFile(t, filepath.Join(dir, "accounts.conf"), accounts)
	options, err := server.ProcessConfigFile(filepath.Join(dir, "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	options.NoSigs = true
	if len(addresses) == 1 {
		options.Cluster = server.ClusterOpts{}
		options.Routes = nil
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// purgeStreams empties some lanes' streams under way and deletes the others, as an operator might by mistake. There must be some.
func purgeStreams(t *testing.T, url, userKey string) {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(userKey)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url, key)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	names := js.StreamNames(ctx)
	touched := 0
	for name := range names.Name() {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		if touched%2 == 1 {
			if err := js.DeleteStream(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		touched++
	}
	if names.Err() != nil || touched == 0 {
		t.Fatalf("%d streams, %v", touched, names.Err())
	}
}
