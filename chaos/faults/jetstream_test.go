//go:build linux

package faults

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// What happens to a stopped region's JetStream directory costs lag, never data: the store has the log. Streams are in memory, so what can lie in the directory is of another time: streams in
// files, of the region's own lanes, with messages that peers must not get.
func TestJetStreamDamaged(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	h := newHistory()
	victim := c.nodes[0]
	streams := filepath.Join(victim.data, "jetstream")
	c.writeWhileAway(h, "before", victim, 100)
	st, err := victim.status()
	if err != nil || len(st.Lanes) == 0 {
		t.Fatal(len(st.Lanes), err)
	}
	victim.proc.stop()
	older := filepath.Join(t.TempDir(), "older")
	fileStreams(t, older, st)
	victim.launch()
	c.catchUp(h)

	replace := func(t *testing.T) {
		removeAll(t, streams)
		if err := os.CopyFS(streams, os.DirFS(older)); err != nil {
			t.Fatal(err)
		}
	}
	for _, damage := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"deleted", func(t *testing.T) { removeAll(t, streams) }},
		{"replaced", replace},
		{"replaced, files truncated", func(t *testing.T) {
			replace(t)
			eachBlock(t, streams, func(b []byte) []byte { return b[:len(b)/2] })
		}},
		{"replaced, bits flipped", func(t *testing.T) {
			replace(t)
			eachBlock(t, streams, func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b })
		}},
		{"replaced, files emptied", func(t *testing.T) {
			replace(t)
			eachBlock(t, streams, func([]byte) []byte { return nil })
		}},
	} {
		// The peers are away: what is written now is in the victim's store and streams only.
		c.writeWhileAway(h, damage.name, victim, 100)
		victim.proc.stop()
		damage.do(t)
		victim.launch()
		for i := range 20 {
			if err := h.write(t, victim.region, table, operation{key: fmt.Sprintf("after %s/%d", damage.name, i), id: damage.name + "/after"}); err != nil {
				t.Fatalf("%s: %v", damage.name, err)
			}
		}
		c.catchUp(h)
		if t.Failed() {
			t.Fatalf("JetStream's directory %s: see above", damage.name)
		}
	}
}

// fileStreams makes a JetStream directory with a stream in files for each of the region's lanes, as the region's server would name them.
func fileStreams(t *testing.T, dir string, st admin.Status) {
	t.Helper()
	options := &server.Options{}
	if err := options.ProcessConfigString(`accounts { CONCORDAT { jetstream: enabled, users: [ { user: u, password: p } ] } }`); err != nil {
		t.Fatal(err)
	}
	options.DontListen, options.NoSigs, options.JetStream, options.StoreDir, options.JetStreamDomain = true, true, true, dir, st.Region.Name
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.WaitForShutdown()
	defer s.Shutdown()
	s.Start()
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo("u", "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, lane := range st.Lanes {
		subject := "concordat.lane." + lane.ID
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LANE_" + lane.ID, Subjects: []string{subject}, Storage: jetstream.FileStorage}); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			if _, err := js.Publish(t.Context(), subject, []byte(fmt.Sprintf("of another time %d %s", i, strings.Repeat("x", 1000)))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// writeWhileAway stops all but one region and writes n items there.
func (c *cluster) writeWhileAway(h *history, name string, n *node, items int) {
	c.t.Helper()
	for _, peer := range c.nodes {
		if peer != n {
			peer.proc.stop()
		}
	}
	for i := range items {
		if err := h.write(c.t, n.region, table, operation{key: fmt.Sprintf("%s/%d", name, i), id: name}); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := h.write(c.t, n.region, table, operation{key: "register", id: name}); err != nil {
		c.t.Fatal(err)
	}
}

// catchUp starts whoever is away, and judges what all have when they are even.
func (c *cluster) catchUp(h *history) {
	c.t.Helper()
	for _, n := range c.nodes {
		if !n.proc.running() {
			n.launch()
		}
	}
	h.mustConverge(c.t, table, c.regions()...)
}

func removeAll(t testing.TB, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// eachBlock changes each file of messages in dir. There must be one.
func eachBlock(t testing.TB, dir string, change func([]byte) []byte) {
	t.Helper()
	changed := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".blk" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		changed++
		return os.WriteFile(path, change(b), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if changed == 0 {
		t.Fatalf("%s has no file of messages to damage", dir)
	}
}
