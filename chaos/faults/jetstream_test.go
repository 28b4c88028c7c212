//go:build linux

package faults

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What happens to a stopped region's JetStream directory costs lag, never data: the store has the log.
func TestJetStreamDamaged(t *testing.T) {
	c := newCluster(t)
	c.launch()
	createTable(t, table, c.regions()...)
	h := newHistory()
	victim := c.nodes[0]
	streams := filepath.Join(victim.data, "jetstream")
	older := filepath.Join(t.TempDir(), "older")

	c.writeWhileAway(h, "before", victim, 100)
	victim.proc.stop()
	if err := os.CopyFS(older, os.DirFS(streams)); err != nil {
		t.Fatal(err)
	}
	victim.launch()
	c.catchUp(h)

	for _, damage := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"deleted", func(t *testing.T) { removeAll(t, streams) }},
		{"rolled back", func(t *testing.T) {
			removeAll(t, streams)
			if err := os.CopyFS(streams, os.DirFS(older)); err != nil {
				t.Fatal(err)
			}
		}},
		{"files truncated", func(t *testing.T) { eachBlock(t, streams, func(b []byte) []byte { return b[:len(b)/2] }) }},
		{"bits flipped", func(t *testing.T) { eachBlock(t, streams, func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }) }},
		{"emptied", func(t *testing.T) { eachBlock(t, streams, func([]byte) []byte { return nil }) }},
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
