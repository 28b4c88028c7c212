//go:build linux

package faults

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/concordat-db/concordat/chaos/adapter"
)

// listener follows the change stream of the table in a region, as an application does that begins where it was after each failure.
type listener struct {
	*region
	reader adapter.Reader
	names  map[string]string // of regions, by the text of their ids in event ids

	mu      sync.Mutex
	tales   []tale
	seen    map[string]bool
	last    map[string]string // new images, by key
	faults  []string
	trouble error // of the latest attempt
	reads   int   // attempts that came to the end of what there was
}

// listen follows the streams of all regions until stop is called, or the test ends.
func (c *cluster) listen() (all []*listener, stop func()) {
	names := map[string]string{}
	for _, n := range c.nodes {
		names[fmt.Sprintf("%04x", n.id)] = n.name
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, n := range c.nodes {
		about, err := n.api.DescribeTable(c.t.Context(), &sdk.DescribeTableInput{TableName: aws.String(table)})
		if err != nil {
			c.t.Fatal(err)
		}
		o := n.api.Options()
		l := &listener{region: n.region, names: names, seen: map[string]bool{}, last: map[string]string{}}
		l.reader = adapter.Reader{ARN: *about.Table.LatestStreamArn, Limit: 200, Record: l.record, Client: dynamodbstreams.New(dynamodbstreams.Options{
			BaseEndpoint: o.BaseEndpoint, Region: o.Region, RetryMaxAttempts: 1, HTTPClient: o.HTTPClient, Credentials: o.Credentials})}
		all = append(all, l)
		readers.Go(func() { l.run(done) })
	}
	stop = sync.OnceFunc(func() { close(done); readers.Wait() })
	c.t.Cleanup(stop)
	return all, stop
}

// run reads until done is closed. The region is down now and then.
func (l *listener) run(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		_, err := l.reader.Read(l.t.Context())
		l.mu.Lock()
		if l.trouble = err; err == nil {
			l.reads++
		}
		l.mu.Unlock()
		pause(done, sulking)
	}
}

// record takes a record, and checks it: its event was not told before, and its old image is the new image of the record before it of the same key (I12).
func (l *listener) record(r streamtypes.Record) error {
	id := func(item map[string]streamtypes.AttributeValue, name string) string {
		s, _ := item[name].(*streamtypes.AttributeValueMemberS)
		if s == nil {
			return ""
		}
		return s.Value
	}
	part := strings.Split(*r.EventID, "-") // table, key, time, origin, kind
	x := tale{id: *r.EventID, region: *r.AwsRegion, origin: l.names[part[3]], sequence: *r.Dynamodb.SequenceNumber,
		key: id(r.Dynamodb.Keys, "pk"), old: id(r.Dynamodb.OldImage, "id"), new: id(r.Dynamodb.NewImage, "id"), expiry: r.UserIdentity != nil}
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong := func(format string, args ...any) {
		l.faults = append(l.faults, fmt.Sprintf("%s: %+v: ", l.name, x)+fmt.Sprintf(format, args...))
	}
	if l.seen[x.id] {
		wrong("told twice")
	}
	if x.old != l.last[x.key] {
		wrong("the item was %q before", l.last[x.key])
	}
	if x.region != l.name || x.old == x.new {
		wrong("an event of %s, of no change", x.region)
	}
	if want := eventName(x.old, x.new); r.EventName != want {
		wrong("it is called %s, and is %s", r.EventName, want)
	}
	l.seen[x.id], l.last[x.key] = true, x.new
	l.tales = append(l.tales, x)
	return nil
}

// eventName says what happened where an image became another one.
func eventName(old, new string) streamtypes.OperationType {
	switch {
	case old == "":
		return streamtypes.OperationTypeInsert
	case new == "":
		return streamtypes.OperationTypeRemove
	}
	return streamtypes.OperationTypeModify
}

// told returns all that was read, and what came in the way lately.
func (l *listener) told() ([]tale, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tales), l.trouble
}

// upToDate waits until the reader has once more come to the end.
func (l *listener) upToDate() {
	l.t.Helper()
	reads := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.reads
	}
	target := reads() + 2 // one may be under way
	eventually(l.t, "the stream of "+l.name+" is read to its end", func() string {
		if now := reads(); now < target {
			_, err := l.told()
			return fmt.Sprintf("%d attempts are missing: %s", target-now, problem(err))
		}
		return ""
	})
}

// scanIDs returns the operations whose items a region has.
func scanIDs(t testing.TB, r *region) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for _, id := range scanItems(t, r) {
		ids[id] = true
	}
	return ids
}

// scanItems returns the operation of each item of a region, by key.
func scanItems(t testing.TB, r *region) map[string]string {
	t.Helper()
	out := map[string]string{}
	pages := sdk.NewScanPaginator(r.api, &sdk.ScanInput{TableName: aws.String(table), ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			out[item["pk"].(*types.AttributeValueMemberS).Value] = item["id"].(*types.AttributeValueMemberS).Value
		}
	}
	return out
}

// The change stream of each region tells of every change once, in order, over kills of all regions and the loss of their JetStream directories (I12): of all writes that the region has
// acknowledged itself, and of those of the others that have not lost on their way.
func TestStreamsOverKills(t *testing.T) {
	t.Parallel() // most of it is waiting
	c := newTelling(t)
	random := newRandom(t)
	listeners, hush := c.listen()
	d := newDeeds()
	stop := d.start(t, c.regions()...)
	for round := range *rounds {
		victim := c.nodes[round%len(c.nodes)]
		d.acknowledges(t, victim.region, 50+random.IntN(100))
		victim.proc.kill()
		removeAll(t, filepath.Join(victim.data, "jetstream"))
		d.acknowledges(t, c.nodes[(round+1)%len(c.nodes)].region, 30+random.IntN(100))
		victim.launch()
		d.acknowledges(t, victim.region, 20)
	}
	stop()
	awaitEven(t, c.regions()...)
	for _, l := range listeners {
		own := func(x deed, key string) bool { return x.origin == l.name || heedless(x, key) }
		eventually(t, "all is told by "+l.name, func() string {
			tales, err := l.told()
			if missing := d.untold(tales, own); len(missing) > 0 {
				return few(missing) + " " + problem(err)
			}
			return ""
		})
		l.upToDate()
	}
	hush()
	records := 0
	for _, l := range listeners {
		for _, fault := range slices.Concat(l.faults, d.wrong(l.tales), d.ordered(l.tales)) {
			t.Error(fault)
		}
		items := scanItems(t, l.region)
		for key, id := range l.last {
			if items[key] != id {
				t.Errorf("%s: %s is %q, and the last record says %q", l.name, key, items[key], id)
			}
		}
		records += len(l.tales)
	}
	t.Log(strconv.Itoa(records) + " records")
}
