package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const goodNode = `apiVersion: concordat/v1
kind: Node
metadata: {name: eu-central-1}
spec:
  region: {jurisdiction: EU, id: 2, keyFile: region.key}
  data: data
  dynamodb: {listen: "127.0.0.1:8000", auth: {acceptAny: true}}
  admin: {listen: "127.0.0.1:8080"}
  nats: {embedded: {listen: "127.0.0.1:4222"}}
`

// writeNode puts a configuration beside a region's key and returns its path.
func writeNode(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(newKey(t)), "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNodeConfigSmallest(t *testing.T) {
	path := writeNode(t, goodNode)
	doc, err := readNodeDocument(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := doc.config()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Region.Name != "eu-central-1" || cfg.DataDir != filepath.Join(filepath.Dir(path), "data") || !cfg.DynamoDB.AcceptAny {
		t.Errorf("%+v", cfg)
	}
	got := command(t, "node", "--config", path, "--check", "--output", "json")
	if got.status != 0 || !strings.Contains(got.out, `"valid": true`) {
		t.Errorf("%+v", got)
	}
}

func TestNodeConfigFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		old, new string   // replaced in goodNode
		want     []string // all of them in one error
	}{
		"unknown fields": {"  data: data\n  dynamodb: {", "  dta: data\n  peers: [{descriptr: x}]\n  dynamodb: {lissen: 1, ",
			[]string{"node.yaml:6: spec.dta: there is no such field", "node.yaml:7: spec.peers[0].descriptr: there is", "node.yaml:8: spec.dynamodb.lissen: there is"}},
		"unknown top":   {"kind: Node", "kind: Node\nextra: 1", []string{"node.yaml:3: extra: there is no such field"}},
		"wrong type":    {"id: 2", "id: two", []string{"node.yaml", "id: two"}},
		"twice":         {"kind: Node", "kind: Node\nkind: Node", []string{"already defined"}},
		"no YAML":       {"spec:", "spec: [", []string{"node.yaml"}},
		"no mapping":    {goodNode, "- a\n- b", []string{"node.yaml"}},
		"empty":         {goodNode, "# nothing\n", []string{"has 0 documents"}},
		"two documents": {"kind: Node", "kind: Node\n---\nkind: Node", []string{"has 2 documents"}},
		"many values": {"{jurisdiction: EU, id: 2, keyFile: region.key}", "{jurisdiction: eu, id: 70000}", []string{
			"node.yaml:5: spec.region.jurisdiction: \"eu\"", "node.yaml:5: spec.region.id: is 70000", "spec.region.keyFile: is missing: make one with"}},
		"version and kind": {"concordat/v1\nkind: Node", "concordat/v2\nkind: Knot", []string{"node.yaml:1: apiVersion: is \"concordat/v2\"", "node.yaml:2: kind: is \"Knot\""}},
		"no name":          {"{name: eu-central-1}", "{}", []string{"metadata.name: is missing"}},
		"bad name":         {"name: eu-central-1", "name: EU", []string{"spec.region.name: \"EU\""}},
		"no data":          {"  data: data\n", "", []string{"spec.data: is missing"}},
		"listen":           {`"127.0.0.1:8000"`, `"127.0.0.1"`, []string{"spec.dynamodb.listen: \"127.0.0.1\" is not host:port"}},
		"port":             {`"127.0.0.1:8080"`, `"127.0.0.1:80800"`, []string{"spec.admin.listen", "0 to 65535"}},
		"no credentials":   {"acceptAny: true", "acceptAny: false", []string{"spec.dynamodb.auth: needs credentials"}},
		"any and some":     {"acceptAny: true", "acceptAny: true, credentials: [{accessKey: a, secretKey: b}]", []string{"exclude each other"}},
		"credentials": {"acceptAny: true", "credentials: [{accessKey: a, secretKey: b}, {accessKey: a, secretKey: b, secretKeyFile: c}, {}]", []string{
			"credentials[1]: accessKey \"a\" was given before", "credentials[1]: needs one of", "credentials[2]: accessKey is missing", "credentials[2]: needs one of"}},
		"no bus":       {`embedded: {listen: "127.0.0.1:4222"}`, "", []string{"spec.nats: needs one of embedded and external"}},
		"embedded tls": {`"127.0.0.1:4222"`, `"127.0.0.1:4222", tls: {certFile: x}`, []string{"certFile and keyFile belong together"}},
		"external": {`embedded: {listen: "127.0.0.1:4222"}`, `external: {urls: ["http://x", "nats://u:p@x", "::"], user: u, replicas: 9}`, []string{
			`urls[0]: the scheme "http"`, "urls[1]: must carry no user", `urls[2]: "::" is no URL`, "user and passwordFile belong together", "replicas: is 9"}},
		"events alone":   {`embedded: {listen: "127.0.0.1:4222"}`, `external: {urls: ["nats://127.0.0.1:4222"], nkeySeedFile: x, eventsCredentialsFile: y}`, []string{"eventsCredentialsFile: goes with credentialsFile only"}},
		"external bare":  {`embedded: {listen: "127.0.0.1:4222"}`, `external: {urls: []}`, []string{"urls: is missing", "needs one of user with passwordFile, nkeySeedFile and credentialsFile"}},
		"peer bare":      {"  data: data", "  data: data\n  peers: [{}]", []string{"spec.peers[0]: needs one of descriptor"}},
		"peer forged":    {"  data: data", "  data: data\n  peers: [{descriptor: abc}]", []string{"spec.peers[0].descriptor: "}},
		"duration":       {"  data: data", "  data: data\n  limits: {heartbeat: fast}", []string{`"fast" is no duration`}},
		"duration below": {"  data: data", "  data: data\n  limits: {heartbeat: -1s}", []string{`"-1s" is no duration above zero`}},
		"size":           {"  data: data", "  data: data\n  limits: {cacheBytes: 12MB}", []string{`"12MB" is no size`}},
	} {
		text := strings.Replace(goodNode, tc.old, tc.new, 1)
		if text == goodNode {
			t.Fatalf("%s: nothing was replaced", name)
		}
		_, err := parseNodeDocument("node.yaml", []byte(text))
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in:\n%v", name, want, err)
			}
		}
	}
}

// Files that a valid document names are checked too, all at once.
func TestNodeConfigMissingFiles(t *testing.T) {
	text := strings.Replace(goodNode, "acceptAny: true", "credentials: [{accessKey: a, secretKeyFile: none.secret}]", 1)
	text = strings.Replace(text, `"127.0.0.1:4222"`, `"127.0.0.1:4222", tls: {certFile: none.crt, keyFile: none.key}`, 1)
	text = strings.Replace(text, "keyFile: region.key", "keyFile: none.key", 1)
	text += "  peers: [{descriptorFile: none.descriptor}]\n"
	got := command(t, "node", "--config", writeNode(t, text))
	if got.status != 1 || got.out != "" {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"spec.region.keyFile: ", "credentials[0].secretKeyFile: ", "spec.nats.embedded.tls: ", "spec.peers[0].descriptorFile: "} {
		if !strings.Contains(got.err, want) {
			t.Errorf("no %q in %s", want, got.err)
		}
	}
}

func TestNodeConfigPeerIsItself(t *testing.T) {
	text := goodNode + "  peers: [{descriptor: " + newDescriptor(t, "eu-central-1", "EU", "2", "nats://10.0.0.1:4222") + "}]\n"
	got := command(t, "node", "--config", writeNode(t, text), "--check")
	if got.status != 1 || !strings.Contains(got.err, "eu-central-1 is there twice") {
		t.Errorf("%+v", got)
	}
}

func TestDurationsAndSizes(t *testing.T) {
	text := goodNode + "  limits: {maxClockOffset: 1m, heartbeat: 100ms, freeBytes: 1GiB, cacheBytes: 1048576, writeBufferBytes: 32MiB, streamBytes: 512 KiB, collectPerSecond: 77, sweepEvery: 7s, indexPerSecond: 78, compareEvery: 90m, compareBytesPerSecond: 1MiB}\n"
	doc, err := parseNodeDocument("node.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	l := doc.Spec.Limits
	if time.Duration(l.MaxClockOffset) != time.Minute || time.Duration(l.Heartbeat) != 100*time.Millisecond || l.FreeBytes != 1<<30 || l.CacheBytes != 1<<20 || l.WriteBufferBytes != 32<<20 ||
		l.StreamBytes != 512<<10 || l.CollectPerSecond != 77 || time.Duration(l.SweepEvery) != 7*time.Second || l.IndexPerSecond != 78 || time.Duration(l.CompareEvery.duration) != 90*time.Minute || l.CompareEvery.never || l.CompareBytesPerSecond != 1<<20 {
		t.Errorf("%+v", l)
	}
	doc, err = parseNodeDocument("node.yaml", []byte(goodNode+"  limits: {compareEvery: never}\n"))
	if err != nil || !doc.Spec.Limits.CompareEvery.never {
		t.Errorf("%+v, %v", doc, err)
	}
	if _, err := parseNodeDocument("node.yaml", []byte(goodNode+"  limits: {compareEvery: seldom}\n")); err == nil {
		t.Error("an interval that is none was taken")
	}
	if _, err := parseNodeDocument("node.yaml", []byte(goodNode+"  limits: {freeBytes: 1 GB}\n")); err == nil {
		t.Error("a size that is none was taken")
	}
}

func FuzzNodeDocument(f *testing.F) {
	f.Add([]byte(goodNode))
	f.Add([]byte(strings.Replace(goodNode, "kind: Node", "kind: &a [*a]", 1)))
	f.Add([]byte("a: &x {<<: *x}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return // the parser's own time on long nonsense is not what is tested
		}
		doc, err := parseNodeDocument("node.yaml", b)
		if (doc == nil) == (err == nil) {
			t.Errorf("document %v, error %v", doc, err)
		}
	})
}

func TestNATSAccountsWithPassword(t *testing.T) {
	text := strings.Replace(goodNode, `embedded: {listen: "127.0.0.1:4222"}`, `external: {urls: ["nats://127.0.0.1:4222"], user: node, passwordFile: password}`, 1)
	text += "  peers: [{descriptor: " + newDescriptor(t, "us-east-1", "US", "1", "nats://10.0.0.1:4222") + "}]\n"
	path := writeNode(t, text)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "password"), []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := command(t, "nats", "accounts", "--config", path)
	if got.status != 0 || strings.Contains(got.out, "correct horse") || !strings.Contains(got.out, "PEER-us-east-1") {
		t.Fatalf("%+v", got)
	}
	_, hash, _ := strings.Cut(got.out, `password: "`)
	hash, _, _ = strings.Cut(hash, `"`)
	if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte("correct horse")); err != nil {
		t.Errorf("the hash %q: %v", hash, err)
	}
}

func TestNATSAccountsRefusals(t *testing.T) {
	for name, tc := range map[string]struct{ nats, want string }{
		"embedded":    {`embedded: {listen: "127.0.0.1:4222"}`, "makes its accounts by itself"},
		"operator":    {`external: {urls: ["nats://127.0.0.1:4222"], credentialsFile: x}`, "operator mode"},
		"no password": {`external: {urls: ["nats://127.0.0.1:4222"], user: u, passwordFile: none}`, "none: no such file"},
		"no key":      {`external: {urls: ["nats://127.0.0.1:4222"], nkeySeedFile: none}`, "none: no such file"},
	} {
		got := command(t, "nats", "accounts", "--config", writeNode(t, strings.Replace(goodNode, `embedded: {listen: "127.0.0.1:4222"}`, tc.nats, 1)))
		if got.status != 1 || got.out != "" || !strings.Contains(got.err, tc.want) {
			t.Errorf("%s: %+v, want %q", name, got, tc.want)
		}
	}
}
