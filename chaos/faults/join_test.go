//go:build linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// nodeMemoryBound is what a process with one region may take, in bytes, however many items there are: a cache of 128 MiB, write buffers of 256 MiB, what is under
// way, and a heap that the collector lets double.
const nodeMemoryBound = 1 << 30

// joinRate is how many writes a second the regions of TestJoin get, all together.
const joinRate = 2000

// TestJoin adds a replica to a table of -items items that two regions go on writing to, 2,000 times a second. On the way the new region is killed, then one of the two
// that feed it. In the end `verify` has to say that all are converged. `make join` runs it with a million items.
func TestJoin(t *testing.T) {
	c := newCluster(t)
	c.launch()
	us, eu, ap := c.nodes[0], c.nodes[1], c.nodes[2]
	createTable(t, table, us.region, eu.region)
	if err := fill(t, us.region, *items); err != nil {
		t.Fatal(err)
	}
	awaitEven(t, c.regions()...)

	w := startPaced(t, joinRate, us.region, eu.region)
	began := time.Now()
	addReplica(t, us.region, table, ap.name)
	awaitPercent(t, us.region, ap.name, 15)
	ap.proc.kill()
	ap.launch()
	awaitPercent(t, us.region, ap.name, 40)
	eu.proc.kill()
	eu.launch()
	deadline := time.Now().Add(joinPatience)
	for !isActive(t, us.region, table, ap.name) {
		if time.Now().After(deadline) {
			t.Fatalf("the replica is not active after %v", joinPatience)
		}
		pause(nil, 100*time.Millisecond)
	}
	joined, written := time.Since(began), w.written.Load()
	w.stop()
	awaitEven(t, c.regions()...)
	told := quiesce(t, table, c.regions()...)

	verifying := time.Now()
	if got := command(t, "verify", "--admin", ap.admin); got.status != 0 {
		t.Errorf("verify: status %d\n%s%s", got.status, got.out, got.err)
	}
	verified := time.Since(verifying)
	for _, n := range c.nodes {
		if peak := n.proc.peakMemory(); peak > nodeMemoryBound {
			t.Errorf("%s took %d MiB; its bound is %d MiB", n.name, peak>>20, nodeMemoryBound>>20)
		} else {
			t.Logf("%s took at most %d MiB", n.name, peak>>20)
		}
	}
	t.Logf("%d items: the replica was active %.1f s after it was asked for, with two kills and %d writes meanwhile (%.0f/s); verify took %.1f s",
		told.Items, joined.Seconds(), written, float64(written)/joined.Seconds(), verified.Seconds())
}

// joinPatience bounds the wait for a replica of a million items on a busy machine.
const joinPatience = 15 * time.Minute

// addReplica asks a region for a replica of a table in another one.
func addReplica(t testing.TB, asked *region, table, region string) {
	t.Helper()
	_, err := asked.api.UpdateTable(t.Context(), &sdk.UpdateTableInput{
		TableName:      &table,
		ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: &region}}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitPercent waits until a region, asked, says that the new replica has so much of the table, or that it is active.
func awaitPercent(t testing.TB, asked *region, joining string, percent int) {
	t.Helper()
	deadline := time.Now().Add(joinPatience)
	for {
		st, err := asked.status()
		if err == nil && reached(st, joining, percent) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not get to %d %%", joining, percent)
		}
		pause(nil, 20*time.Millisecond)
	}
}

func reached(st admin.Status, joining string, percent int) bool {
	for _, b := range st.Tables {
		for _, r := range b.Replicas {
			if b.Name == table && r.Region == joining && (r.Status == string(types.ReplicaStatusActive) || r.Percent != nil && *r.Percent >= percent) {
				return true
			}
		}
	}
	return false
}

func isActive(t testing.TB, asked *region, table, region string) bool {
	t.Helper()
	out, err := asked.api.DescribeTable(t.Context(), &sdk.DescribeTableInput{TableName: &table})
	if err != nil {
		return false
	}
	for _, r := range out.Table.Replicas {
		if *r.RegionName == region {
			return r.ReplicaStatus == types.ReplicaStatusActive
		}
	}
	return false
}

// paced is clients that write at a rate, whatever the answers.
type paced struct {
	written atomic.Int64 // acknowledged
	stop    func()
}

// startPaced lets clients write perSecond items a second to the regions in turn: new ones, ones of those that fill wrote, and deletes of them. What fails, because a region
// is down, is not tried again.
func startPaced(t testing.TB, perSecond int, regions ...*region) *paced {
	const workers = 16 // for each region
	p := new(paced)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	due := make([]chan int, len(regions))
	var all sync.WaitGroup
	for i, r := range regions {
		due[i] = make(chan int, workers)
		for range workers {
			all.Go(func() {
				for n := range due[i] {
					if writeOne(ctx, r, n) == nil {
						p.written.Add(1)
					}
				}
			})
		}
	}
	all.Go(func() {
		defer func() {
			for _, d := range due {
				close(d)
			}
		}()
		const beat = 10 * time.Millisecond
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for n := 0; ; {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			for range perSecond * int(beat) / int(time.Second) {
				select {
				case due[n%len(due)] <- n: // a region that is down drops what it should have got
				default:
				}
				n++
			}
		}
	})
	p.stop = sync.OnceFunc(func() {
		close(done)
		all.Wait()
		cancel()
	})
	t.Cleanup(p.stop)
	return p
}

// writeOne is the n-th write of startPaced.
func writeOne(ctx context.Context, r *region, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	key := fmt.Sprintf("item/%08d", rand.IntN(max(*items, 1)))
	switch n % 8 {
	case 0:
		_, err := r.api.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: aws.String(table), Key: keyOf(key)})
		return err
	case 1, 2, 3:
		key = fmt.Sprintf("new/%s/%08d", r.name, n)
	}
	item := keyOf(key)
	item["filling"] = &types.AttributeValueMemberB{Value: filler(n)}
	_, err := r.api.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String(table), Item: item})
	return err
}
