package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/concordat-db/concordat/regionnode"
)

// deployment copies a file of the folder deployments, as it stands, to a folder with all files that it names, and returns its path.
func deployment(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "deployments", name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{
		name:                    string(b),
		"app1.secret":           "not a secret\n",
		"us-east-1.descriptor":  newDescriptor(t, "us-east-1", "US", "1", "nats://10.10.0.1:4222") + "\n",
		"ap-south-1.descriptor": newDescriptor(t, "ap-south-1", "IN", "3", "nats://10.30.0.1:4222") + "\n",
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"region.key", "nats-user.key"} {
		if got := command(t, "region", "keygen", "--out", filepath.Join(dir, file)); got.status != 0 {
			t.Fatal(got.err)
		}
	}
	return filepath.Join(dir, name)
}

func deploymentConfig(t *testing.T, path string) regionnode.Config {
	t.Helper()
	if got := command(t, "node", "--config", path, "--check"); got.status != 0 || !strings.Contains(got.out, "eu-central-1 is valid") {
		t.Fatalf("--check: %+v", got)
	}
	doc, err := readNodeDocument(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := doc.config()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDeploymentEmbedded(t *testing.T) {
	cfg := deploymentConfig(t, deployment(t, "node-embedded.yaml"))
	switch {
	case cfg.Region.Name != "eu-central-1" || cfg.Region.Jurisdiction != "EU" || cfg.Region.Origin != 2 || len(cfg.Region.NATS) != 1:
		t.Errorf("region %+v", cfg.Region)
	case cfg.DataDir != "/var/lib/concordat" || cfg.DynamoDB.Listen != "0.0.0.0:8000" || cfg.Admin.Listen != "127.0.0.1:8080":
		t.Errorf("%s, %s, %s", cfg.DataDir, cfg.DynamoDB.Listen, cfg.Admin.Listen)
	case cfg.DynamoDB.AcceptAny || len(cfg.DynamoDB.Credentials) != 1 || cfg.DynamoDB.Credentials["CONCORDATAPP1"] != "not a secret":
		t.Errorf("credentials %v", cfg.DynamoDB.Credentials)
	case cfg.Bus.External != nil || cfg.Bus.Embedded.Listen != "0.0.0.0:4222" || cfg.Bus.Embedded.MaxStoreBytes != 4<<30:
		t.Errorf("bus %+v", cfg.Bus)
	case len(cfg.Peers) != 2 || cfg.Peers[0].Descriptor.Name != "us-east-1" || cfg.Peers[0].URLs[0] != "nats://10.10.0.1:4222" || cfg.Peers[1].URLs != nil:
		t.Errorf("peers %+v", cfg.Peers)
	}
	want := regionnode.Limits{MaxClockOffset: 500 * time.Millisecond, Heartbeat: 250 * time.Millisecond, FreeBytes: 512 << 20, CacheBytes: 128 << 20,
		WriteBufferBytes: 64 << 20, StreamBytes: 32 << 20, LogBytes: 4 << 30, MaxOpenRequests: 1024, ShutdownPatience: 10 * time.Second, AcknowledgeTimeout: 5 * time.Second,
		CollectPerSecond: 5000, SweepEvery: time.Second, IndexPerSecond: 20_000, CompareEvery: 24 * time.Hour, CompareBytesPerSecond: 4 << 20}
	if cfg.Limits != want {
		t.Errorf("limits %+v", cfg.Limits)
	}
}

// With an external cluster, the server's configuration takes what the program prints, and knows the node and its peers by their keys.
func TestDeploymentExternal(t *testing.T) {
	path := deployment(t, "node-external.yaml")
	cfg := deploymentConfig(t, path)
	if e := cfg.Bus.External; cfg.Bus.Embedded != nil || len(e.URLs) != 3 || e.Replicas != 3 || len(e.Seed) == 0 {
		t.Fatalf("bus %+v", cfg.Bus)
	}
	accounts := command(t, "nats", "accounts", "--config", path)
	if accounts.status != 0 {
		t.Fatal(accounts.err)
	}
	conf := deployment(t, "nats-server.conf")
	if err := os.WriteFile(filepath.Join(filepath.Dir(conf), "accounts.conf"), []byte(accounts.out), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if !opts.JetStream || opts.JetStreamDomain != cfg.Region.Name || opts.NoAuthUser != "" || opts.LeafNode.Port != 0 || opts.Gateway.Name != "" {
		t.Errorf("JetStream %v, domain %q, no_auth_user %q", opts.JetStream, opts.JetStreamDomain, opts.NoAuthUser)
	}
	users := map[string]bool{}
	for _, u := range opts.Nkeys {
		users[u.Account.Name+" "+u.Nkey] = true
	}
	own, err := readKey(filepath.Join(filepath.Dir(path), "nats-user.key"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := own.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	events, err := eventsKey(own)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"CONCORDAT " + public,
		"CONCORDAT-EVENTS " + events,
		"PEER-us-east-1 " + cfg.Peers[0].Descriptor.PublicKey,
		"PEER-ap-south-1 " + cfg.Peers[1].Descriptor.PublicKey,
	} {
		if !users[want] {
			t.Errorf("the servers do not know %s: %v", want, users)
		}
	}
	if len(users) != 4 {
		t.Errorf("users %v", users)
	}
}

// The unit starts what there is: its command lines are parsed by the program itself.
func TestDeploymentUnit(t *testing.T) {
	b, err := os.ReadFile("../deployments/concordat.service")
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	for line := range strings.Lines(string(b)) {
		name, words, ok := strings.Cut(strings.TrimSpace(line), "=/usr/local/bin/concordat ")
		if !ok {
			continue
		}
		started++
		path := deployment(t, "node-embedded.yaml")
		args := strings.Fields(strings.ReplaceAll(words, "/etc/concordat/node.yaml", path))
		if name == "ExecStart" {
			args = append(args, "--check")
		}
		if got := command(t, args...); got.status != 0 {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if started != 2 {
		t.Errorf("found %d command lines in the unit, want 2", started)
	}
}
