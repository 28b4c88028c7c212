//go:build linux

package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// The memory of a process with three regions, in bytes, however many items there are: for each a cache of 64 MiB, write buffers of 128 MiB, what is under
// way between the regions, and a heap that the collector lets double.
const memoryBound = 2 << 30

// TestLoad loads items of 1 KB into one region of `concordat dev` by BatchWriteItem, over many connections, until all have reached the two
// others. With -items=1000000 it is the foundation's promise; `make load` runs that.
func TestLoad(t *testing.T) {
	d := startDev(t, t.TempDir())
	createTable(t, table, d.regions...)
	first := d.regions[0]
	began := time.Now()
	if err := fill(t, first, *items); err != nil {
		t.Fatal(err)
	}
	loaded := time.Since(began)
	told := quiesce(t, table, d.regions...)
	replicated := time.Since(began)
	if told.Items != int64(*items) {
		t.Errorf("%d items are there, of %d", told.Items, *items)
	}
	peak := d.proc.peakMemory()
	if peak > memoryBound {
		t.Errorf("the process took %d MiB; its bound is %d MiB", peak>>20, int64(memoryBound)>>20)
	}
	t.Logf("%d items of 1 KB: loaded in %.1f s (%.0f/s), in all three regions after %.1f s (%.0f/s); greatest memory of the process %d MiB",
		*items, loaded.Seconds(), float64(*items)/loaded.Seconds(), replicated.Seconds(), float64(*items)/replicated.Seconds(), peak>>20)
}

// fill writes n items of 1 KB into a region.
func fill(t *testing.T, r *region, n int) error {
	const (
		connections = 32
		batch       = 25 // of DynamoDB
	)
	var next atomic.Int64
	var loaders sync.WaitGroup
	failed := make(chan error, connections)
	for range connections {
		loaders.Go(func() {
			for {
				from := int(next.Add(batch)) - batch
				if from >= n {
					return
				}
				if err := loadBatch(t, r, from, min(from+batch, n)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	loaders.Wait()
	close(failed)
	return <-failed
}

// loadBatch writes the items of numbers from to to, and again those that the region did not take because it is busy.
func loadBatch(t *testing.T, r *region, from, to int) error {
	requests := make([]types.WriteRequest, 0, to-from)
	for i := from; i < to; i++ {
		item := keyOf(fmt.Sprintf("item/%08d", i))
		item["filling"] = &types.AttributeValueMemberB{Value: filler(i)}
		requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
	}
	for len(requests) > 0 {
		out, err := r.api.BatchWriteItem(t.Context(), &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: requests}})
		var busy *types.ProvisionedThroughputExceededException
		switch {
		case errors.As(err, &busy):
			continue
		case err != nil:
			return err
		}
		requests = out.UnprocessedItems[table]
	}
	return nil
}

// filler is what no compression makes smaller: 1 KB with the key.
func filler(i int) []byte {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	b := make([]byte, 1000)
	for j := range b {
		b[j] = byte(random.Uint32())
	}
	return b
}
