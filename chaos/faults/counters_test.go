//go:build linux

package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
)

const (
	counters = 10
	adders   = 16 // clients of a region
	oneWay   = 80 * time.Millisecond
)

// TestCounters: three regions, 80 ms apart, add to the same counters at the same time, and one of them is cut off halfway. No increment is lost, in a table whose
// mode is vector. With -adds=10000 it is what the mode promises; `make counters` runs that.
func TestCounters(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newClusterApart(t, oneWay)
	c.launch()
	createTable(t, table, c.regions()...)
	mergeByVector(t, c.regions()...)
	halves := []func(){func() { c.cut(c.nodes[2]) }, func() {}}
	for _, change := range halves {
		var all sync.WaitGroup
		for _, n := range c.nodes {
			all.Go(func() { addToCounters(t, n.region, *adds/2) })
		}
		all.Wait()
		change()
	}
	c.heal(c.nodes[2])
	quiesce(t, table, c.regions()...)
	for _, r := range c.regions() {
		sum := 0
		for i := range counters {
			n := readCounter(t, r, keyOf(counterKey(i)))
			sum += n.likes
			if want := 3 * (*adds / 2 * 2) / counters; n.likes != want {
				t.Errorf("%s: counter %d is %d, want %d", r.name, i, n.likes, want)
			}
		}
		t.Logf("%s: %d increments in %d counters", r.name, sum, counters)
	}
}

func counterKey(i int) string { return "counter/" + strconv.Itoa(i) }

// mergeByVector gives the table its mode, and waits until all regions have it: what is added before is recorded by the mode of then.
func mergeByVector(t testing.TB, regions ...*region) {
	t.Helper()
	mustCommand(t, "table", "merge", table, "--mode", "vector", "--admin", regions[0].admin)
	for _, r := range regions {
		eventually(t, r.name+" has the mode", func() string {
			var told admin.Table
			if err := json.Unmarshal([]byte(mustCommand(t, "table", "show", table, "--admin", r.admin, "--output", "json")), &told); err != nil {
				return err.Error()
			}
			if told.Merge.Mode != "vector" {
				return "it says " + told.Merge.Mode
			}
			return ""
		})
	}
}

// addToCounters adds 1 so many times, in turn to each counter.
func addToCounters(t testing.TB, r *region, times int) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range adders {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(times); i = next.Add(1) - 1 {
				_, err := r.api.UpdateItem(t.Context(), &sdk.UpdateItemInput{
					TableName: aws.String(table), Key: keyOf(counterKey(int(i % counters))), UpdateExpression: aws.String("ADD likes :one"),
					ExpressionAttributeValues: attributes{":one": &types.AttributeValueMemberN{Value: "1"}},
				})
				if err != nil {
					t.Errorf("%s: %v", r.name, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// counted is a counter as a region shows it.
type counted struct {
	likes int
	ids   map[string]bool // of the increments that count
}

func readCounter(t testing.TB, r *region, key attributes) counted {
	t.Helper()
	out, err := r.api.GetItem(t.Context(), &sdk.GetItemInput{TableName: aws.String(table), Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return countedIn(t, out.Item)
}

func countedIn(t testing.TB, item attributes) counted {
	t.Helper()
	c := counted{ids: map[string]bool{}}
	if n, ok := item["likes"].(*types.AttributeValueMemberN); ok {
		var err error
		if c.likes, err = strconv.Atoi(n.Value); err != nil {
			t.Error(err)
		}
	}
	if ids, ok := item["ids"].(*types.AttributeValueMemberSS); ok {
		for _, id := range ids.Value {
			c.ids[id] = true
		}
	}
	return c
}

// base is what a SET gives a counter: so much more than all increments that it can be told from them.
const base = 1_000_000

// TestCountersAreSetAndDeleted: increments, SETs and deletes of the same counters in three regions at once, one of them cut off halfway. Each increment adds its id to a set of the same item, and each SET and delete takes away
// the ids that it sees, which its answer tells. So it is known of each increment whether somebody had seen it who wrote over it: it counts if and only if nobody had.
func TestCountersAreSetAndDeleted(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newClusterApart(t, oneWay)
	c.launch()
	createTable(t, table, c.regions()...)
	mergeByVector(t, c.regions()...)
	h := &countHistory{added: map[string]map[string]bool{}, seen: map[string]map[string]bool{}, bases: map[string]map[int]bool{}}
	for half, change := range []func(){func() { c.cut(c.nodes[2]) }, func() {}} {
		var all sync.WaitGroup
		for _, n := range c.nodes {
			all.Go(func() { h.write(t, n.region, half, *adds/4) })
		}
		all.Wait()
		change()
	}
	c.heal(c.nodes[2])
	quiesce(t, table, c.regions()...)
	for i := range counters {
		want := h.counting(counterKey(i))
		first := readCounter(t, c.regions()[0], keyOf(counterKey(i)))
		for _, r := range c.regions() {
			got := readCounter(t, r, keyOf(counterKey(i)))
			if !maps.Equal(got.ids, want) {
				t.Errorf("%s: counter %d has %d ids, %d increments were seen by nobody who wrote over them", r.name, i, len(got.ids), len(want))
			}
			if rest := got.likes - len(want); rest != 0 && !h.bases[counterKey(i)][rest] {
				t.Errorf("%s: counter %d is %d with %d increments that count: that leaves %d, which nobody has set", r.name, i, got.likes, len(want), rest)
			}
			if got.likes != first.likes {
				t.Errorf("%s: counter %d is %d, in %s it is %d", r.name, i, got.likes, c.regions()[0].name, first.likes)
			}
		}
	}
}

// countHistory is what clients did with the counters, by key.
type countHistory struct {
	mu    sync.Mutex
	added map[string]map[string]bool // ids of increments
	seen  map[string]map[string]bool // of those, ids that somebody who wrote over them had seen
	bases map[string]map[int]bool    // values that were set
}

func (h *countHistory) note(key string, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.added[key] == nil {
		h.added[key], h.seen[key], h.bases[key] = map[string]bool{}, map[string]bool{}, map[int]bool{}
	}
	f()
}

// counting returns the ids of the increments that count.
func (h *countHistory) counting(key string) map[string]bool {
	out := maps.Clone(h.added[key])
	maps.DeleteFunc(out, func(id string, _ bool) bool { return h.seen[key][id] })
	return out
}

// write does so many random writes in a region.
func (h *countHistory) write(t testing.TB, r *region, half, times int) {
	var all sync.WaitGroup
	for client := range adders {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), uint64(half)<<32|uint64(len(r.name))))
			for i := range times / adders {
				id := fmt.Sprintf("%s-%d-%d-%d", r.name, half, client, i)
				if err := h.writeOne(t, r, counterKey(random.IntN(counters)), id, random); err != nil {
					t.Errorf("%s: %v", r.name, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func (h *countHistory) writeOne(t testing.TB, r *region, key, id string, random *rand.Rand) error {
	ctx := t.Context()
	switch random.IntN(10) {
	case 0:
		set := base * (1 + random.IntN(1000))
		h.note(key, func() { h.bases[key][set] = true })
		out, err := r.api.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: aws.String(table), Key: keyOf(key), UpdateExpression: aws.String("SET likes = :n REMOVE ids"),
			ExpressionAttributeValues: attributes{":n": &types.AttributeValueMemberN{Value: strconv.Itoa(set)}}, ReturnValues: types.ReturnValueAllOld})
		if err != nil {
			return err
		}
		h.saw(t, key, out.Attributes)
	case 1:
		out, err := r.api.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: aws.String(table), Key: keyOf(key), ReturnValues: types.ReturnValueAllOld})
		if err != nil {
			return err
		}
		h.saw(t, key, out.Attributes)
	default:
		_, err := r.api.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: aws.String(table), Key: keyOf(key), UpdateExpression: aws.String("ADD likes :one, ids :id"),
			ExpressionAttributeValues: attributes{":one": &types.AttributeValueMemberN{Value: "1"}, ":id": &types.AttributeValueMemberSS{Value: []string{id}}}})
		if err != nil {
			return err
		}
		h.note(key, func() { h.added[key][id] = true })
	}
	return nil
}

// saw notes the ids in the item that somebody has written over.
func (h *countHistory) saw(t testing.TB, key string, item attributes) {
	ids := slices.Collect(maps.Keys(countedIn(t, item).ids))
	h.note(key, func() {
		for _, id := range ids {
			h.seen[key][id] = true
		}
	})
}
