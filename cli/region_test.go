package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
)

// newKey makes a region's key with the program and returns its file.
func newKey(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "region.key")
	if got := command(t, "region", "keygen", "--out", file); got.status != 0 {
		t.Fatal(got.err)
	}
	return file
}

// newDescriptor makes a region's descriptor with the program.
func newDescriptor(t *testing.T, name, jurisdiction, id string, nats ...string) string {
	t.Helper()
	args := []string{"region", "descriptor", "--key", newKey(t), "--name", name, "--jurisdiction", jurisdiction, "--id", id}
	for _, url := range nats {
		args = append(args, "--nats", url)
	}
	got := command(t, args...)
	if got.status != 0 {
		t.Fatal(got.err)
	}
	return strings.TrimSpace(got.out)
}

func TestRegionKeygen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "region.key")
	got := command(t, "region", "keygen", "--out", file, "--output", "json")
	var v struct {
		File      string `json:"file"`
		PublicKey string `json:"public_key"`
	}
	if err := json.Unmarshal([]byte(got.out), &v); err != nil || got.status != 0 || v.File != file {
		t.Fatalf("%+v, %v", got, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; only the owner may read a key", info.Mode(), err)
	}
	key, err := readKey(file)
	if err != nil {
		t.Fatal(err)
	}
	if public, err := key.PublicKey(); err != nil || public != v.PublicKey {
		t.Errorf("the file holds the key of %s, printed was %s (%v)", public, v.PublicKey, err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.out+got.err, strings.TrimSpace(string(before))) {
		t.Error("the secret was printed")
	}
	if got := command(t, "region", "keygen", "--out", file); got.status != 1 || !strings.Contains(got.err, "exists") {
		t.Errorf("over an existing key: %+v", got)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("the existing key was changed (%v)", err)
	}
}

func TestRegionDescriptor(t *testing.T) {
	urls := []string{"nats://10.0.0.1:4222", "tls://nats.example:4222"}
	d, err := globaltable.ParseDescriptor(newDescriptor(t, "eu-central-1", "EU", "2", urls...))
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "eu-central-1" || d.Jurisdiction != "EU" || d.Origin != 2 || !slices.Equal(d.NATS, urls) {
		t.Errorf("%+v", d)
	}
	got := command(t, "region", "descriptor", "--key", newKey(t), "--name", "EU", "--jurisdiction", "eu", "--id", "2")
	if got.status != 2 || !strings.Contains(got.err, "region's name") || !strings.Contains(got.err, "jurisdiction has") {
		t.Errorf("two faults: %+v", got)
	}
}

func TestReadKeyFaults(t *testing.T) {
	for content, want := range map[string]string{
		"":                         "is empty",
		"hello":                    "no nkey seed",
		strings.Repeat("x", 20000): "longer than",
		"SAAMLK2ZCRSQWPRKZCUUJ63VHRXQKJGKLUHTPXEXZCMHTTOBWEU6IBOPAE": "", // an account's, or broken: never a region's
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readKey(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", content, err, want)
		}
	}
}
