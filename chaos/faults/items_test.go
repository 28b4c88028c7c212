//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
)

type attributes = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func keyOf(key string) attributes { return attributes{"pk": text(key)} }

// itemOf is the whole item that the operation id writes: its size and each of its attributes tell whose it is, so that half an item shows.
func itemOf(key, id string) attributes {
	return attributes{"pk": text(key), "id": text(id), "copy": text(id), "filling": text(filling(id))}
}

func filling(id string) string {
	return strings.Repeat("x", 50+int(crc32.ChecksumIEEE([]byte(id))%500))
}

// idOf returns the operation whose item this is, or what is wrong with it.
func idOf(item attributes) (key, id string, err error) {
	get := func(name string) string {
		if v, ok := item[name].(*types.AttributeValueMemberS); ok {
			return v.Value
		}
		return ""
	}
	key, id = get("pk"), get("id")
	if key == "" || id == "" || get("copy") != id || get("filling") != filling(id) || len(item) != 4 {
		return "", "", fmt.Errorf("item %q is not what any operation wrote: %d attributes, id %q, copy %q", key, len(item), id, get("copy"))
	}
	return key, id, nil
}

// createTable makes a table with the partition key pk in one region, then adds the others, and waits until all say that all are active.
func createTable(t testing.TB, table string, regions ...*region) {
	t.Helper()
	first := regions[0].api
	_, err := first.CreateTable(t.Context(), &sdk.CreateTableInput{
		TableName: &table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	awaitTable(t, table, regions[:1], regions[:1])
	for i, r := range regions[1:] {
		_, err := first.UpdateTable(t.Context(), &sdk.UpdateTableInput{
			TableName:      &table,
			ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: &r.name}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		awaitTable(t, table, regions[:1], regions[:i+2])
	}
	awaitTable(t, table, regions, regions)
}

// awaitTable waits until all who are asked say that the table is active in all members.
func awaitTable(t testing.TB, table string, asked, members []*region) {
	t.Helper()
	for _, r := range asked {
		eventually(t, table+" is active, says "+r.name, func() string {
			out, err := r.api.DescribeTable(t.Context(), &sdk.DescribeTableInput{TableName: &table})
			if err != nil {
				return err.Error()
			}
			if out.Table.TableStatus != types.TableStatusActive {
				return "table: " + string(out.Table.TableStatus)
			}
			active := map[string]bool{r.name: true} // a region does not list itself
			for _, replica := range out.Table.Replicas {
				active[*replica.RegionName] = replica.ReplicaStatus == types.ReplicaStatusActive
				if replica.ReplicaStatus == types.ReplicaStatusCreationFailed {
					t.Fatalf("replica in %s: %s", *replica.RegionName, aws.ToString(replica.ReplicaStatusDescription))
				}
			}
			for _, m := range members {
				if !active[m.name] {
					return fmt.Sprintf("replica in %s is not: %v", m.name, active)
				}
			}
			return ""
		})
	}
}

// write performs one operation and records it.
func (h *history) write(t testing.TB, r *region, table string, op operation) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	op.region, op.began = r.name, h.now()
	var err error
	if op.remove {
		_, err = r.api.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: &table, Key: keyOf(op.key)})
	} else {
		_, err = r.api.PutItem(ctx, &sdk.PutItemInput{TableName: &table, Item: itemOf(op.key, op.id)})
	}
	op.ended, op.acknowledged = h.now(), err == nil
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return err // it was never sent
	case ctx.Err() != nil:
		op.ended = open
	}
	h.add(op)
	return err
}

// load is clients that write until they are told to stop.
type load struct {
	stop func()
}

// Each region has so many clients. They wait a little after each answer: the faults are what is tested, and other tests use the machine too.
const (
	clients  = 4
	thinking = 5 * time.Millisecond
	sulking  = 20 * time.Millisecond // after an error: the region may be down
)

// startLoad lets clients write in each of the regions: items of their own, registers of their own, and registers that all share, with a delete now
// and then. An operation that fails is an outcome, no fault of the test.
func startLoad(t testing.TB, h *history, table, name string, regions ...*region) *load {
	done := make(chan struct{})
	var writers sync.WaitGroup
	for _, r := range regions {
		for w := range clients {
			writers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					op := operation{id: fmt.Sprintf("%s/%s/%d/%d", name, r.name, w, i), remove: i%11 == 10}
					switch i % 4 {
					case 0, 1:
						op.key, op.remove = op.id, false
					case 2:
						op.key = fmt.Sprintf("own/%s/%d", r.name, w)
					case 3:
						op.key = "shared/" + strconv.Itoa(i/4%16)
					}
					if h.write(t, r, table, op) == nil {
						pause(done, thinking)
					} else {
						pause(done, sulking)
					}
				}
			})
		}
	}
	l := &load{stop: sync.OnceFunc(func() { close(done); writers.Wait() })}
	t.Cleanup(l.stop)
	return l
}

// pause waits until done is closed, for d at most.
func pause(done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// acknowledges waits until a region has acknowledged n more operations of the history.
func (h *history) acknowledges(t testing.TB, r *region, n int) {
	t.Helper()
	target := h.of(r.name) + n
	eventually(t, fmt.Sprintf("%s acknowledges %d writes", r.name, n), func() string {
		if got := h.of(r.name); got < target {
			return fmt.Sprintf("%d are missing", target-got)
		}
		return ""
	})
}

// scan returns the id of every item of a table.
func scan(t testing.TB, r *region, table string) map[string]string {
	t.Helper()
	state := map[string]string{}
	pages := sdk.NewScanPaginator(r.api, &sdk.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatalf("scan in %s: %v", r.name, err)
		}
		for _, item := range page.Items {
			key, id, err := idOf(item)
			if err != nil {
				t.Fatalf("scan in %s: %v", r.name, err)
			}
			if state[key] != "" {
				t.Fatalf("scan in %s: %s is there twice", r.name, key)
			}
			state[key] = id
		}
	}
	return state
}

// quiesce waits until every region has applied all that every other has, and says so; then all digests must be equal (I3). It returns what
// the regions then say of the table.
func quiesce(t testing.TB, table string, regions ...*region) admin.Table {
	t.Helper()
	awaitEven(t, regions...)
	var first admin.Table
	for i, r := range regions {
		st, err := r.status()
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(st.Tables, func(b admin.Table) bool { return b.Name == table })
		if at < 0 {
			t.Fatalf("%s has no table %s", r.name, table)
		}
		got := st.Tables[at]
		if i == 0 {
			first = got
		} else if got.Digest != first.Digest || got.Items != first.Items { // bytes may differ: they count each region's own bookkeeping
			t.Errorf("positions are equal, but %s has %d items, digest %s, and %s has %d, %s",
				r.name, got.Items, got.Digest, regions[0].name, first.Items, first.Digest)
		}
	}
	return first
}

// awaitEven waits until every region is connected to all others and has all that they have.
func awaitEven(t testing.TB, regions ...*region) {
	t.Helper()
	eventually(t, "all regions are even", func() string {
		for _, r := range regions {
			if missing := behind(r, len(regions)); missing != "" {
				return r.name + ": " + missing
			}
		}
		return ""
	})
}

// behind says what keeps a region from having everything, and its peers from having everything of it; nothing if all is even.
func behind(r *region, regions int) string {
	st, err := r.status()
	if err != nil {
		return err.Error()
	}
	connected := 0
	for _, p := range st.Pairs {
		if p.To != r.name {
			continue
		}
		if p.BehindEntries > 0 || p.State != admin.StateIdle && p.State != admin.StateLive {
			return fmt.Sprintf("from %s: %s, %d entries behind, %s", p.From, p.State, p.BehindEntries, p.Detail)
		}
		connected++
	}
	if connected != regions-1 {
		return fmt.Sprintf("%d peers", connected)
	}
	for _, l := range st.Lanes {
		if !l.Live {
			return "lane " + l.ID + " is being refilled"
		}
		for peer, seq := range l.Confirmed {
			if seq < l.Head {
				return fmt.Sprintf("%s has confirmed %d of lane %s, of %d", peer, seq, l.ID, l.Head)
			}
		}
	}
	return ""
}

// mustConverge waits until the regions are even, compares their items one by one, and judges them.
func (h *history) mustConverge(t testing.TB, table string, regions ...*region) {
	t.Helper()
	told := quiesce(t, table, regions...)
	first := scan(t, regions[0], table)
	if int64(len(first)) != told.Items {
		t.Errorf("%s: a scan finds %d items, the status says %d", regions[0].name, len(first), told.Items)
	}
	for _, r := range regions[1:] {
		other := scan(t, r, table)
		if !maps.Equal(first, other) {
			t.Errorf("%s and %s differ: %s", regions[0].name, r.name, difference(first, other))
		}
	}
	h.mustHold(t, "after all", first)
	t.Logf("%v; %d items in %d regions, digest %s", h, told.Items, len(regions), told.Digest)
}

func difference(a, b map[string]string) string {
	var out []string
	for key := range a {
		if a[key] != b[key] {
			out = append(out, fmt.Sprintf("%s: %q, %q", key, a[key], b[key]))
		}
	}
	for key := range b {
		if a[key] == "" {
			out = append(out, fmt.Sprintf("%s: nothing, %q", key, b[key]))
		}
	}
	slices.Sort(out)
	return fmt.Sprintf("%d keys, among them %v", len(out), out[:min(len(out), 5)])
}
