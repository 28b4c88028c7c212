package bus

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nkeys"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

// TestServerConfigGolden pins the text that operators install: a change of it needs their work.
func TestServerConfigGolden(t *testing.T) {
	var keys []string
	for i := range 5 {
		key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{byte(i + 1)}, 32))
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, public)
	}
	got, err := ServerConfig(AccountsConfig{Region: "eu-central-1", UserKey: keys[0], EventsKey: keys[3],
		Grants: []Grant{{Name: "search", PublicKey: keys[4], Streams: []string{EventStreamName(0x0123456789abcdef)}}},
		Peers:  []Peer{{Name: "us-east-1", PublicKey: keys[1]}, {Name: "ap-south-1", PublicKey: keys[2]}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "accounts.conf")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the accounts differ from %s:\n%s", path, got)
	}
}

// TestEmbeddedRestart starts a region again on the same directory: nobody fetches before the owner has reset its lanes.
func TestEmbeddedRestart(t *testing.T) {
	keys, peers := newPeerKeys(t, "us", "in")
	dir := t.TempDir()
	for round := range 2 {
		home, err := StartEmbedded(testContext(t), EmbeddedConfig{Region: "eu", Dir: dir, DontListen: true, Peers: peers, Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{home: home}
		link, err := Dial(testContext(t), DialConfig{Region: "us", Peer: "eu", InProcess: home.Server(), Key: keys["us"], Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			w.openLane(t, 1, 1<<20)
			w.publish(t, 1, 0, 10, 100)
			got := pullTo(t, link, 1, 9, func(i int) bool { return i == 4 })
			wantRange(t, got, 0, 10)
		} else {
			if err := link.Pull(testContext(t), 1, 0, nil); !errors.Is(err, ErrNoConsumer) {
				t.Errorf("pull from a lane that the owner has not reset since the restart: %v", err)
			}
			w.openLane(t, 1, 1<<20)
			w.publish(t, 1, 50, 51, 100)
			wantRange(t, pullTo(t, link, 1, 50, always), 50, 51)
		}
		if err := link.Close(); err != nil {
			t.Error(err)
		}
		if err := home.Close(); err != nil {
			t.Error(err)
		}
		if home.URL() != "" {
			t.Errorf("the address %q of a server that does not listen", home.URL())
		}
	}
}
