//go:build linux

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong is named on standard error, with status 2 for a wrong command line and 1 for anything else, and nothing is left behind.
func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	key := path("region.key")
	mustCommand(t, "region", "keygen", "--out", key)
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile("../../deployments/node-embedded.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := func(name, old, new string) string {
		t.Helper()
		if !strings.Contains(string(whole), old) {
			t.Fatalf("deployments/node-embedded.yaml has no %q", old)
		}
		writeFile(t, path(name), strings.Replace(string(whole), old, new, 1))
		return path(name)
	}
	writeFile(t, path("app1.secret"), secretKey)
	writeFile(t, path("us-east-1.descriptor"), "not a descriptor")
	writeFile(t, path("ap-south-1.descriptor"), "not a descriptor")
	writeFile(t, path("no.yaml"), "spec: [")
	writeFile(t, path("file"), "a file, no folder")
	data := path("data")

	for _, c := range []struct {
		args   []string
		status int
		names  string // the fault, in what standard error says
	}{
		{[]string{"nod"}, 2, `did you mean "node"`},
		{[]string{"node"}, 2, "--config"},
		{[]string{"node", "--confg", "x"}, 2, "--config"},
		{[]string{"dev", "extra"}, 2, `not "extra"`},
		{[]string{"dev", "--data", data, "--port", "70000"}, 2, "--port is 70000"},
		{[]string{"dev", "--data", data, "--port", "x"}, 2, "port"},
		{[]string{"dev", "--data", data, "--region", "EU"}, 2, "NAME=JURISDICTION"},
		{[]string{"dev", "--data", data, "--region", "Upper_Case=EU"}, 2, "Upper_Case"},
		{[]string{"dev", "--data", data, "--latency", "us-east-1:mars=1ms"}, 2, "mars"},
		{[]string{"dev", "--data", data, "--latency", "us-east-1:eu-central-1=fast"}, 2, "fast"},
		{[]string{"dev", "--data", data, "--port", "9000", "--admin-port", "9001"}, 2, "overlap"},
		{[]string{"dev", "--data", path("file")}, 1, path("file")},
		{[]string{"status", "--admin", "nowhere"}, 2, "--admin"},
		{[]string{"status", "--output", "xml"}, 2, "xml"},
		{[]string{"status", "--admin", "http://" + freeAddress(t)}, 1, "is a node running there"},
		{[]string{"region", "keygen"}, 2, "--out"},
		{[]string{"region", "keygen", "--out", key}, 1, "exists"},
		{[]string{"region", "descriptor", "--key", key, "--name", "a", "--jurisdiction", "EU", "--id", "0"}, 2, "--id is 0"},
		{[]string{"region", "descriptor", "--key", path("file"), "--name", "a", "--jurisdiction", "EU", "--id", "1"}, 1, "nkey"},
		{[]string{"node", "--config", path("missing.yaml")}, 1, "missing.yaml"},
		{[]string{"node", "--config", path("no.yaml")}, 1, "no.yaml"},
		{[]string{"node", "--config", config("unknown.yaml", "  data:", "  dat:")}, 1, "spec.dat: there is no such field"},
		{[]string{"node", "--config", config("kind.yaml", "kind: Node", "kind: Nod")}, 1, "kind"},
		{[]string{"node", "--config", config("id.yaml", "id: 2 ", "id: 70000 ")}, 1, "id"},
		{[]string{"node", "--config", config("size.yaml", "logBytes: 4GiB", "logBytes: 64 parsecs")}, 1, "64 parsecs"},
		{[]string{"node", "--config", config("key.yaml", "keyFile: region.key", "keyFile: other.key")}, 1, "other.key"},
		{[]string{"node", "--config", config("peer.yaml", "/var/lib/concordat", "data")}, 1, "spec.peers[0].descriptorFile"},
		{[]string{"nats", "accounts", "--config", config("embedded.yaml", "/var/lib/concordat", "data")}, 1, "embedded"},
	} {
		line := strings.Join(c.args, " ")
		got := command(t, c.args...)
		if got.status != c.status || !strings.Contains(got.err, c.names) || got.out != "" {
			t.Errorf("concordat %s: status %d, want %d; standard error must name %q:\n%s%s", line, got.status, c.status, c.names, got.err, got.out)
		}
		if strings.Contains(got.err, "goroutine ") || strings.Contains(got.err, strings.TrimSpace(string(secret))) || strings.Contains(got.err, secretKey) {
			t.Errorf("concordat %s: a panic or a secret on standard error:\n%s", line, got.err)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("concordat %s: made %s", line, data)
			removeAll(t, data)
		}
	}
	if after, err := os.ReadFile(key); err != nil || string(after) != string(secret) {
		t.Errorf("keygen changed a key that was there: %v", err)
	}
}

// Two processes on one data directory, or on one port: the second ends with a message, and the first goes on.
func TestSecondProcess(t *testing.T) {
	c := newCluster(t)
	c.launch()
	n := c.nodes[0]
	got := command(t, "node", "--config", n.config)
	if got.status != 1 || !strings.Contains(got.err, "another process is using it") {
		t.Errorf("a second node on one data directory: status %d: %s", got.status, got.err)
	}
	doc := readDocument(t, "node-embedded.yaml")
	doc.set("spec.nats.embedded.listen", freeAddress(t))
	other := *n
	other.config, other.data = filepath.Join(filepath.Dir(n.config), "other.yaml"), filepath.Join(t.TempDir(), "data")
	c.place(&other, doc)
	got = command(t, "node", "--config", other.config)
	if got.status != 1 || !strings.Contains(got.err, "address already in use") {
		t.Errorf("a second node on one port: status %d: %s", got.status, got.err)
	}
	createTable(t, table, c.regions()...)
}
