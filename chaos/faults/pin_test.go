//go:build linux

package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// pinRate is how many writes a second the regions of TestPin get, all together.
const pinRate = 1000

// TestPin pins a part of a table of -pins items to one jurisdiction while the regions go on being written to, and lets it go again. The plan has to count right, every region to sign what it has erased and to have nothing else,
// and no write that was acknowledged, in whichever region, to be lost. `make pin` runs it with a million items.
func TestPin(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newCluster(t)
	c.launch()
	us, eu, ap := c.nodes[0], c.nodes[1], c.nodes[2]
	createTable(t, table, us.region, eu.region, ap.region)
	if err := fill(t, us.region, *pins); err != nil {
		t.Fatal(err)
	}
	awaitEven(t, c.regions()...)

	prefix, pinned := pinnedPart(*pins)
	document := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(document, fmt.Appendf(nil, pinDocument, table, prefix), 0o600); err != nil {
		t.Fatal(err)
	}
	var plan admin.PolicyPlan
	asked := time.Now()
	if err := json.Unmarshal([]byte(mustCommand(t, "policy", "plan", "-f", document, "--admin", us.admin, "--output", "json")), &plan); err != nil {
		t.Fatal(err)
	}
	planned := time.Since(asked)
	for _, r := range plan.Tables[0].Regions {
		want := int64(pinned)
		if r.Region == eu.name {
			want = 0
		}
		if !r.Counted || r.Held.Items != int64(*pins) || r.Erased.Items != want || r.Copied.Items+r.Unreachable.Items != 0 {
			t.Errorf("of %d items, %d of them pinned, the plan says: %+v", *pins, pinned, r)
		}
	}

	load, seen := startPaced(t, pinRate, us.region, eu.region), startWitnesses(t, prefix, us.region, eu.region, ap.region)
	began := time.Now()
	apply(t, "policy", "apply", "-f", document, "--yes", "--reason", "the law", "--admin", ap.admin, "--timeout", "10m")
	took := time.Since(began)
	for _, n := range c.nodes {
		mustCommand(t, "audit", "residency", "--admin", n.admin)
	}
	receipts(t, us.region, pinned, us.name, ap.name)

	back := time.Now()
	apply(t, "policy", "delete", "the-part", "--table", table, "--yes", "--reason", "the law has changed", "--admin", eu.admin, "--timeout", "10m")
	widened, written := time.Since(back), load.written.Load()
	load.stop()
	keys := seen.stop()
	told := quiesce(t, table, c.regions()...)
	for _, n := range c.nodes {
		for _, key := range keys {
			got, err := n.api.GetItem(t.Context(), &sdk.GetItemInput{TableName: aws.String(table), Key: keyOf(key), ConsistentRead: aws.Bool(true)})
			if err != nil || got.Item == nil {
				t.Fatalf("%s: an acknowledged write is lost: %v", n.name, err)
			}
		}
	}
	t.Logf("%d items, %d of them pinned: planned in %.1f s, carried out in %.1f s, let go in %.1f s, with %d writes meanwhile, and %d to what is pinned, none lost",
		told.Items, pinned, planned.Seconds(), took.Seconds(), widened.Seconds(), written, len(keys))
}

const pinDocument = `apiVersion: concordat/v1
kind: LocalityPolicy
metadata: {name: the-part}
spec:
  match: {table: %s, keyPrefix: "%s"}
  pin: {jurisdictions: [EU]}
  foreign: reject
  singleCopy: allowed
`

// pinnedPart returns what the keys of a tenth of the items, or more, begin with that fill makes, and how many these are.
func pinnedPart(items int) (prefix string, n int) {
	n = 1
	for n*10 < items {
		n *= 10
	}
	return "item/" + fmt.Sprintf("%08d", 0)[len(fmt.Sprint(n))-1:], n
}

// apply runs a command that changes policies to its end, however long it takes, and fails if they are not carried out.
func apply(t testing.TB, args ...string) {
	t.Helper()
	if got := commandWithin(t, joinPatience, args...); got.status != 0 {
		t.Fatalf("concordat %s: status %d\n%s%s", strings.Join(args, " "), got.status, got.out, got.err)
	}
}

// receipts checks that the regions named have signed that they have erased at least so many items, and given each away.
func receipts(t testing.TB, asked *region, items int, regions ...string) {
	t.Helper()
	var list admin.Receipts
	if err := json.Unmarshal([]byte(mustCommand(t, "policy", "receipts", "--admin", asked.admin, "--output", "json")), &list); err != nil {
		t.Fatal(err)
	}
	erased := map[string]int64{}
	for _, r := range list.Receipts {
		erased[r.Region] = max(erased[r.Region], r.Done.Erased)
	}
	for _, name := range regions {
		if erased[name] < int64(items)/2 { // some were deleted before
			t.Errorf("%s has signed that it has erased %d items; it had %d", name, erased[name], items)
		}
	}
}

// witnesses write items of a policy, one after the other in each region, and remember what was acknowledged.
type witnesses struct {
	stop func() (keys []string)
}

func startWitnesses(t testing.TB, prefix string, regions ...*region) *witnesses {
	var mu sync.Mutex
	var keys []string
	var all sync.WaitGroup
	done := make(chan struct{})
	for _, r := range regions {
		all.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%s/%s/%d", prefix, r.name, n)
				_, err := r.api.PutItem(t.Context(), &sdk.PutItemInput{TableName: aws.String(table), Item: keyOf(key)})
				if err == nil {
					mu.Lock()
					keys = append(keys, key)
					mu.Unlock()
				}
				select {
				case <-done:
					return
				case <-t.Context().Done():
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(done)
		all.Wait()
	})
	t.Cleanup(end)
	return &witnesses{stop: func() []string {
		end()
		return keys
	}}
}
