//go:build linux

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/concordat-db/concordat/regionnode/world"
)

// dev is a running `concordat dev`.
type dev struct {
	proc    *process
	ready   string // its ready file
	regions []*region
}

// startDev runs a world and waits until its regions have met.
func startDev(t testing.TB, data string) *dev {
	t.Helper()
	d := &dev{ready: filepath.Join(t.TempDir(), "ready.json")}
	d.proc = start(t, "dev", "dev", "--data", data, "--ready-file", d.ready, "--port", "0", "--admin-port", "0", "--nats-port", "0")
	var told world.Ready
	eventually(t, "dev serves", func() string {
		b, err := os.ReadFile(d.ready)
		if errors.Is(err, os.ErrNotExist) && d.proc.running() {
			return "no ready file"
		}
		if err != nil {
			t.Fatalf("dev ended, or its ready file cannot be read: %v", err)
		}
		if err := json.Unmarshal(b, &told); err != nil {
			t.Fatalf("the ready file was there before it was whole: %v", err)
		}
		return ""
	})
	for _, r := range told.Regions {
		d.regions = append(d.regions, newRegion(t, r.Name, r.DynamoDB, r.Admin))
	}
	awaitEven(t, d.regions...)
	return d
}

// get returns the id of the item, and nothing if there is none.
func get(t testing.TB, r *region, table, key string) string {
	t.Helper()
	out, err := r.api.GetItem(t.Context(), &sdk.GetItemInput{TableName: &table, Key: keyOf(key), ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	if out.Item == nil {
		return ""
	}
	_, id, err := idOf(out.Item)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func awaitItem(t testing.TB, r *region, table, key, id string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %q at %s", r.name, id, key), func() string {
		if got := get(t, r, table, key); got != id {
			return fmt.Sprintf("it has %q", got)
		}
		return ""
	})
}

// The main job: a table in three regions, written in one, read in the others, with the AWS SDK.
func TestMainJob(t *testing.T) {
	t.Parallel() // most of it is waiting
	data := t.TempDir()
	d := startDev(t, data)
	a, b, c := d.regions[0], d.regions[1], d.regions[2]
	createTable(t, table, a, b, c)
	h := newHistory()
	must := func(r *region, op operation) {
		t.Helper()
		if err := h.write(t, r, table, op); err != nil {
			t.Fatal(err)
		}
	}
	must(a, operation{key: "ada", id: "1"})
	awaitItem(t, b, table, "ada", "1")
	awaitItem(t, c, table, "ada", "1")

	// What follows in time wins over what it follows, wherever it was written.
	must(b, operation{key: "ada", id: "2"})
	awaitItem(t, a, table, "ada", "2")
	must(c, operation{key: "ada", id: "3"})
	awaitItem(t, a, table, "ada", "3")

	must(c, operation{key: "gone", id: "4"})
	awaitItem(t, b, table, "gone", "4")
	must(b, operation{key: "gone", id: "5", remove: true})
	awaitItem(t, a, table, "gone", "")
	awaitItem(t, c, table, "gone", "")

	// At once, from all sides, on the same keys.
	l := startLoad(t, h, table, "all", a, b, c)
	for _, r := range d.regions {
		h.acknowledges(t, r, 200)
	}
	l.stop()
	h.mustConverge(t, table, a, b, c)

	// A world that is stopped says so with status 0, and one that is killed goes on from the same directory.
	before := scan(t, a, table)
	d.proc.stop()
	if _, err := os.Stat(d.ready); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ready file is still there after the end: %v", err)
	}
	d = startDev(t, data)
	d.proc.kill()
	d = startDev(t, data)
	h.mustConverge(t, table, d.regions...)
	if after := scan(t, d.regions[0], table); len(after) != len(before) {
		t.Errorf("%d items before, %d after", len(before), len(after))
	}
}

// The same with the AWS CLI.
func TestMainJobAWSCLI(t *testing.T) {
	t.Parallel() // with the tests that mostly wait
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("no aws on the PATH")
	}
	d := startDev(t, t.TempDir())
	cli := func(r *region, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "aws", append([]string{"dynamodb", "--endpoint-url", *r.api.Options().BaseEndpoint, "--output", "text"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "AWS_DEFAULT_REGION="+r.name, "AWS_REGION="+r.name,
			"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
		var diagnostics strings.Builder
		cmd.Stderr = &diagnostics
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, diagnostics.String())
		}
		return string(out)
	}
	first := d.regions[0]
	cli(first, "create-table", "--table-name", table, "--attribute-definitions", "AttributeName=pk,AttributeType=S",
		"--key-schema", "AttributeName=pk,KeyType=HASH", "--billing-mode", "PAY_PER_REQUEST")
	awaitTable(t, table, d.regions[:1], d.regions[:1])
	for i, r := range d.regions[1:] {
		cli(first, "update-table", "--table-name", table, "--replica-updates", fmt.Sprintf(`[{"Create":{"RegionName":%q}}]`, r.name))
		awaitTable(t, table, d.regions[:1], d.regions[:i+2])
	}
	awaitTable(t, table, d.regions, d.regions)
	item, err := json.Marshal(map[string]any{"pk": map[string]string{"S": "ada"}, "id": map[string]string{"S": "1"}, "copy": map[string]string{"S": "1"},
		"filling": map[string]string{"S": filling("1")}})
	if err != nil {
		t.Fatal(err)
	}
	cli(first, "put-item", "--table-name", table, "--item", string(item))
	for _, r := range d.regions[1:] {
		awaitItem(t, r, table, "ada", "1")
		if got := cli(r, "get-item", "--table-name", table, "--key", `{"pk":{"S":"ada"}}`, "--query", "Item.id.S"); strings.TrimSpace(got) != "1" {
			t.Errorf("%s: aws get-item printed %q", r.name, got)
		}
	}
	if got := cli(d.regions[1], "describe-table", "--table-name", table, "--query", "sort(Table.Replicas[].ReplicaStatus)"); strings.Count(got, "ACTIVE") < 2 {
		t.Errorf("aws describe-table: %q", got)
	}
}
