//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
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
)

// tale is what an event says, whichever way it came.
type tale struct {
	id             string // of the event
	region, origin string // that tells, and in which the change was made
	sequence       string // texts that sort in the order of the region that tells
	key            string
	old, new       string // the operations whose items the images are; empty: no image
	expiry         bool
}

// deed is what a write did that an event has to tell: the item of an operation came or went, by what was done in a region.
type deed struct {
	origin, what, id string
}

const (
	putDeed    = "put"
	removeDeed = "remove"
	expireDeed = "expire"
)

// deed returns what the event tells.
func (x *tale) deed() deed {
	switch {
	case x.expiry:
		return deed{x.origin, expireDeed, x.old}
	case x.new == "":
		return deed{x.origin, removeDeed, x.old}
	}
	return deed{x.origin, putDeed, x.new}
}

// deeds is what clients have done to a table whose changes are told.
type deeds struct {
	mu           sync.Mutex
	sent         map[string]operation // puts, by their ids
	must         map[deed]string      // what was acknowledged, and so has to be told → its key
	acknowledged map[string]int       // by region
}

func newDeeds() *deeds {
	return &deeds{sent: map[string]operation{}, must: map[deed]string{}, acknowledged: map[string]int{}}
}

// Keys of clients begin with these: items that are written once, items that one client writes, items that expire, and items that all regions write.
const (
	onceKey   = "once/"
	ownKey    = "own/"
	mortalKey = "mortal/"
	sharedKey = "shared/"
)

// lifetime is after how many seconds mortal items expire, about.
const lifetime = 2

// put writes an item of the operation id, and remembers what has to be told of that.
func (d *deeds) put(t testing.TB, r *region, key, id string) error {
	d.mu.Lock()
	d.sent[id] = operation{region: r.name, key: key, id: id}
	d.mu.Unlock()
	item := attributes{"pk": text(key), "id": text(id)}
	done := []deed{{r.name, putDeed, id}}
	if strings.HasPrefix(key, mortalKey) {
		item["until"] = &types.AttributeValueMemberN{Value: strconv.FormatInt(time.Now().Unix()+lifetime, 10)}
		done = append(done, deed{r.name, expireDeed, id})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := r.api.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String(table), Item: item})
	if err == nil {
		d.did(r, key, done...)
	}
	return err
}

// remove deletes an item. What has to be told is that the item went which the answer has.
func (d *deeds) remove(t testing.TB, r *region, key string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := r.api.DeleteItem(ctx, &sdk.DeleteItemInput{TableName: aws.String(table), Key: keyOf(key), ReturnValues: types.ReturnValueAllOld})
	if err != nil {
		return err
	}
	if old, ok := out.Attributes["id"].(*types.AttributeValueMemberS); ok {
		d.did(r, key, deed{r.name, removeDeed, old.Value})
	} else {
		d.did(r, key)
	}
	return nil
}

func (d *deeds) did(r *region, key string, done ...deed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acknowledged[r.name]++
	for _, x := range done {
		d.must[x] = key
	}
}

// acknowledges waits until a region has acknowledged n more writes.
func (d *deeds) acknowledges(t testing.TB, r *region, n int) {
	t.Helper()
	of := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.acknowledged[r.name]
	}
	target := of() + n
	eventually(t, fmt.Sprintf("%s acknowledges %d writes", r.name, n), func() string {
		if got := of(); got < target {
			return fmt.Sprintf("%d are missing", target-got)
		}
		return ""
	})
}

// start lets clients write in the regions until stop is called, or the test ends.
func (d *deeds) start(t testing.TB, regions ...*region) (stop func()) {
	done := make(chan struct{})
	var writers sync.WaitGroup
	for _, r := range regions {
		for w := range clients - 1 {
			writers.Go(func() { d.client(t, r, w, done) })
		}
	}
	stop = sync.OnceFunc(func() { close(done); writers.Wait() })
	t.Cleanup(stop)
	return stop
}

// client is one client of a region.
func (d *deeds) client(t testing.TB, r *region, w int, done <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		id := fmt.Sprintf("%s/%d/%d", r.name, w, i)
		own, shared := fmt.Sprint(ownKey, r.name, "/", w), fmt.Sprint(sharedKey, i%5)
		var err error
		switch i % 8 {
		case 0, 1:
			err = d.put(t, r, onceKey+id, id)
		case 2, 3:
			err = d.put(t, r, own, id)
		case 4:
			err = d.remove(t, r, own)
		case 5:
			err = d.put(t, r, shared, id)
		case 6:
			if err = d.put(t, r, shared, id); err == nil && i%3 == 0 {
				err = d.remove(t, r, shared)
			}
		case 7:
			err = d.put(t, r, mortalKey+id, id)
		}
		switch {
		case err == nil:
			pause(done, thinking)
		case errors.Is(err, syscall.ECONNREFUSED):
			i-- // it was never sent
			fallthrough
		default:
			pause(done, sulking)
		}
	}
}

// heedless leaves out what was done to items that all regions write: one that has lost when it comes to a region is not told there.
func heedless(_ deed, key string) bool { return !strings.HasPrefix(key, sharedKey) }

// untold returns what was acknowledged and is in none of the tales, of what counts; nil: all does.
func (d *deeds) untold(tales []tale, counts func(d deed, key string) bool) (out []deed) {
	told := make(map[deed]bool, len(tales))
	for i := range tales {
		told[tales[i].deed()] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for x, key := range d.must {
		if !told[x] && (counts == nil || counts(x, key)) {
			out = append(out, x)
		}
	}
	return out
}

// wrong returns what is wrong with the tales, which are in the order in which they came, some of them again: nobody did what they tell, an event has two ids or an id two events, or
// the first tales of two events of an item are not in the order of the region that tells.
func (d *deeds) wrong(tales []tale) (faults []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	events := map[[2]string]deed{}   // by the region that tells and id: where a delete met another item than in its own region, it removed that
	ids := map[deed]string{}         // in all regions the same
	newest := map[[2]string]string{} // sequences, by the region that tells and key
	for i := range tales {
		x := &tales[i]
		did := x.deed()
		for _, image := range []string{x.old, x.new} {
			if op, known := d.sent[image]; image != "" && (!known || op.key != x.key) {
				faults = append(faults, fmt.Sprintf("%+v: nobody wrote %s there", *x, image))
			}
		}
		if op := d.sent[did.id]; did.what != removeDeed && op.region != x.origin {
			faults = append(faults, fmt.Sprintf("%+v: it was done in %q", *x, op.region))
		}
		if before, again := events[[2]string{x.region, x.id}]; again {
			if before != did {
				faults = append(faults, fmt.Sprintf("event %s tells %v and %v", x.id, before, did))
			}
			continue
		}
		events[[2]string{x.region, x.id}] = did
		if other := ids[did]; other != "" && other != x.id {
			faults = append(faults, fmt.Sprintf("%v is told as %s and as %s", did, other, x.id))
		}
		ids[did] = x.id
		if at := [2]string{x.region, x.key}; x.sequence < newest[at] {
			faults = append(faults, fmt.Sprintf("%+v came after a later one of its item", *x))
		} else {
			newest[at] = x.sequence
		}
	}
	return faults
}

// ordered returns what is wrong with the order of the first tales of items that one client writes, whoever tells them: what came is followed by what came after it, as that client counts.
func (d *deeds) ordered(tales []tale) (faults []string) {
	seen, newest := map[string]bool{}, map[string]int{}
	for i := range tales {
		x := &tales[i]
		if seen[x.id] || !strings.HasPrefix(x.key, ownKey) {
			continue
		}
		seen[x.id] = true
		did := x.deed()
		n, err := strconv.Atoi(did.id[strings.LastIndexByte(did.id, '/')+1:])
		if n = 2 * n; err == nil && did.what != putDeed {
			n++
		}
		if err != nil || n < newest[x.key] {
			faults = append(faults, fmt.Sprintf("%+v came too late, after %d (%v)", *x, newest[x.key], err))
		}
		newest[x.key] = max(newest[x.key], n)
	}
	return faults
}

// few returns some of what is wrong, for a message.
func few[T any](all []T) string {
	const shown = 8
	return fmt.Sprintf("%d, among them %+v", len(all), all[:min(shown, len(all))])
}

// newTelling starts three regions with a table whose changes are told, and whose items expire.
func newTelling(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.launch()
	regions := c.regions()
	createTable(t, table, regions...)
	first := regions[0].api
	eventually(t, "the stream is switched on", func() string {
		_, err := first.UpdateTable(t.Context(), &sdk.UpdateTableInput{TableName: aws.String(table),
			StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}})
		return problem(err)
	})
	eventually(t, "items expire", func() string {
		_, err := first.UpdateTimeToLive(t.Context(), &sdk.UpdateTimeToLiveInput{TableName: aws.String(table),
			TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)}})
		return problem(err)
	})
	for _, r := range regions {
		eventually(t, r.name+" tells changes, and lets items expire", func() string {
			about, err := r.api.DescribeTable(t.Context(), &sdk.DescribeTableInput{TableName: aws.String(table)})
			if err != nil || about.Table.LatestStreamArn == nil {
				return "no stream: " + problem(err)
			}
			expiry, err := r.api.DescribeTimeToLive(t.Context(), &sdk.DescribeTimeToLiveInput{TableName: aws.String(table)})
			if err != nil || expiry.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
				return "no expiry: " + problem(err)
			}
			return ""
		})
	}
	return c
}

// problem is what an error says; nothing if there is none.
func problem(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The judge of tales finds what it is there for.
func TestJudgeOfTales(t *testing.T) {
	d := newDeeds()
	d.sent["a/0/1"] = operation{region: "a", key: "own/k"}
	d.sent["a/0/2"] = operation{region: "a", key: "own/k"}
	d.must[deed{"a", putDeed, "a/0/1"}] = "own/k"
	d.must[deed{"a", putDeed, "a/0/2"}] = "own/k"
	first := tale{id: "1", region: "a", origin: "a", sequence: "01", key: "own/k", new: "a/0/1"}
	second := tale{id: "2", region: "a", origin: "a", sequence: "02", key: "own/k", old: "a/0/1", new: "a/0/2"}
	with := func(x tale, change func(*tale)) tale { change(&x); return x }
	if all := []tale{first, second, first}; len(d.wrong(all))+len(d.ordered(all))+len(d.untold(all, nil)) > 0 {
		t.Errorf("%v is right: %v %v %v", all, d.wrong(all), d.ordered(all), d.untold(all, nil))
	}
	if got := d.untold([]tale{second}, nil); !slices.Equal(got, []deed{first.deed()}) {
		t.Errorf("not told: %v", got)
	}
	for name, tales := range map[string][]tale{
		"order":              {second, first},
		"nobody's":           {with(first, func(x *tale) { x.new = "a/0/3" })},
		"of another item":    {with(first, func(x *tale) { x.key = "own/other" })},
		"of another region":  {with(first, func(x *tale) { x.origin = "b" })},
		"two ids":            {first, with(first, func(x *tale) { x.id = "3" })},
		"two of the same id": {first, with(second, func(x *tale) { x.id = "1" })},
	} {
		if len(d.wrong(tales)) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	if elsewhere := with(first, func(x *tale) { x.region, x.id = "b", "1" }); len(d.ordered([]tale{second, elsewhere})) == 0 {
		t.Error("order over regions: not found")
	}
}
