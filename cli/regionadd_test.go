package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// A region is added to a running world: what is printed lets it start, and the members know it.
func TestRegionAdd(t *testing.T) {
	d := startDev(t, "--data", t.TempDir(), "--region", "north=NO", "--region", "south=ZA")
	at := []string{"--admin", d.ready.Regions[0].Admin}
	dir := filepath.Dir(newKey(t))
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	made := command(t, "region", "descriptor", "--key", filepath.Join(dir, "region.key"), "--name", "east", "--jurisdiction", "JP", "--id", "9", "--nats", "nats://127.0.0.1:1")
	descriptor := file("east.descriptor", made.out)
	out := filepath.Join(dir, "east.invitation")

	var got result
	for { // the first change of the members waits until the regions have heard each other
		got = command(t, append([]string{"region", "add", "--descriptor", descriptor, "--out", out}, at...)...)
		if got.status == 0 || t.Context().Err() != nil || !strings.Contains(got.err, "must hear first") && !strings.Contains(got.err, "cannot be reached") {
			break
		}
	}
	if got.status != 0 || !strings.Contains(got.out, "Region east, number 9, is a member. It can start with "+out+" until ") {
		t.Fatalf("%+v", got)
	}
	if again := command(t, append([]string{"region", "add", "--descriptor", descriptor, "--out", out}, at...)...); again.status != 1 || !strings.Contains(again.err, "region east is a member; write its invitation") {
		t.Errorf("a file that exists: %+v", again)
	}
	var printed admin.Invitation
	asked := command(t, append([]string{"region", "add", "--descriptor", descriptor, "--expires", "1h", "--output", "json"}, at...)...)
	if err := json.Unmarshal([]byte(asked.out), &printed); err != nil || printed.Region != "east" || printed.Origin != 9 {
		t.Errorf("%+v, %v", asked, err)
	}
	i, err := globaltable.ParseInvitation(printed.Invitation)
	if err != nil || len(i.Members) != 2 || i.Expires.Sub(i.Issued) != time.Hour {
		t.Errorf("%+v, %v", i, err)
	}
	if taken := command(t, append([]string{"region", "add", "--descriptor", file("other.descriptor", newDescriptor(t, "west", "JP", "9", "nats://127.0.0.1:1"))}, at...)...); taken.status != 1 ||
		!strings.Contains(taken.err, "belongs to region east") {
		t.Errorf("a number that is taken: %+v", taken)
	}
	if damaged := command(t, append([]string{"region", "add", "--descriptor", file("damaged", made.out[1:])}, at...)...); damaged.status != 1 {
		t.Errorf("a damaged descriptor: %+v", damaged)
	}

	node := file("node.yaml", strings.NewReplacer("eu-central-1", "east", "jurisdiction: EU, id: 2", "jurisdiction: JP, id: 9").Replace(goodNode)+"  invitation: east.invitation\n")
	if checked := command(t, "node", "--config", node, "--check"); checked.status != 0 {
		t.Errorf("%+v", checked)
	}
	file("nats.secret", "secret")
	external := file("external.yaml", `apiVersion: concordat/v1
kind: Node
metadata: {name: north}
spec:
  region: {jurisdiction: NO, id: 1, keyFile: region.key}
  data: data
  dynamodb: {listen: "127.0.0.1:8000", auth: {acceptAny: true}}
  admin: {listen: "127.0.0.1:8080"}
  nats: {external: {urls: ["nats://127.0.0.1:4222"], user: north, passwordFile: nats.secret}}
`)
	configured, live := command(t, "nats", "accounts", "--config", external), command(t, append([]string{"nats", "accounts", "--config", external, "--live"}, at...)...)
	if configured.status != 0 || strings.Contains(configured.out, "PEER-") {
		t.Errorf("the configuration has no peers: %+v", configured)
	}
	if live.status != 0 || strings.Count(live.out, "\n  PEER-") != 2 || !strings.Contains(live.out, "PEER-east") || !strings.Contains(live.out, "PEER-south") {
		t.Errorf("%+v", live)
	}
	if wrong := command(t, "nats", "accounts", "--config", external, "--live", "--admin", d.ready.Regions[1].Admin); wrong.status != 1 || !strings.Contains(wrong.err, "is of region south") {
		t.Errorf("another region's node: %+v", wrong)
	}
}

// TestNodeInvitation has configurations whose invitation must not be used.
func TestNodeInvitation(t *testing.T) {
	path := writeNode(t, goodNode+"  invitation: it\n")
	key, err := readKey(filepath.Join(filepath.Dir(path), "region.key"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	member, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	memberPublic, err := member.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	issuer := globaltable.Descriptor{Name: "us-east-1", Jurisdiction: "US", Origin: 1, NATS: []string{"nats://10.0.0.1:4222"}, PublicKey: memberPublic}
	token, err := globaltable.Sign(&issuer, member)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	good := globaltable.Invitation{Region: globaltable.Descriptor{Name: "eu-central-1", Jurisdiction: "EU", Origin: 2, NATS: []string{"nats://10.0.0.2:4222"}, PublicKey: public},
		Members: []globaltable.SignedRegion{{Descriptor: issuer, Token: token}}, World: globaltable.MakeVersion(1, 2), Issuer: "us-east-1", Issued: now, Expires: now.Add(time.Hour)}
	check := func(change func(*globaltable.Invitation), damage string) result {
		i := good
		change(&i)
		text, err := globaltable.SignInvitation(&i, member)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "it"), []byte(damage+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return command(t, "node", "--config", path, "--check")
	}
	if got := check(func(*globaltable.Invitation) {}, ""); got.status != 0 {
		t.Errorf("%+v", got)
	}
	for name, c := range map[string]struct {
		change func(*globaltable.Invitation)
		damage string
		want   string
	}{
		"expired":        {func(i *globaltable.Invitation) { i.Issued, i.Expires = now.Add(-2*time.Hour), now.Add(-time.Hour) }, "", "the invitation expired at"},
		"another name":   {func(i *globaltable.Invitation) { i.Region.Name = "eu-west-1" }, "", "it is for another region"},
		"another number": {func(i *globaltable.Invitation) { i.Region.Origin = 3 }, "", "the origin claimed differs"},
		"another law":    {func(i *globaltable.Invitation) { i.Region.Jurisdiction = "US" }, "", "the jurisdiction claimed differs"},
		"damaged":        {func(*globaltable.Invitation) {}, "A", "spec.invitation"},
		"no way to a member": {func(i *globaltable.Invitation) {
			bare := issuer
			bare.NATS = nil
			token, err := globaltable.Sign(&bare, member)
			if err != nil {
				t.Fatal(err)
			}
			i.Members = []globaltable.SignedRegion{{Descriptor: bare, Token: token}}
		}, "", "region us-east-1 has no NATS address"},
	} {
		if got := check(c.change, c.damage); got.status != 1 || !strings.Contains(got.err, c.want) {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
	if err := os.Remove(filepath.Join(filepath.Dir(path), "it")); err != nil {
		t.Fatal(err)
	}
	if got := command(t, "node", "--config", path, "--check"); got.status != 1 || !strings.Contains(got.err, "spec.invitation") {
		t.Errorf("no file: %+v", got)
	}
}
