package world

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/chaos/adapter"
)

// listener has what a region's stream has told, by key.
type listener struct {
	adapter.Reader
	region  string
	records map[string][]told
	ids     map[string]bool
}

// told is what a record says: of items with an attribute v its text, nothing for no item, and whether the service itself did it.
type told struct {
	event    streamtypes.OperationType
	old, new string
	service  bool
}

// listen returns a listener to the newest stream of the table in a region.
func (r *running) listen(region string) *listener {
	r.t.Helper()
	l := &listener{region: region, records: map[string][]told{}, ids: map[string]bool{}}
	l.ARN = aws.ToString(r.describe(region).LatestStreamArn)
	l.Record = func(x streamtypes.Record) error {
		if l.ids[*x.EventID] {
			return fmt.Errorf("event %s is told twice", *x.EventID)
		}
		if *x.AwsRegion != l.region {
			return fmt.Errorf("event %s is of %s", *x.EventID, *x.AwsRegion)
		}
		l.ids[*x.EventID] = true
		key := textOf(x.Dynamodb.Keys["id"])
		by := x.UserIdentity
		l.records[key] = append(l.records[key], told{x.EventName, textOf(x.Dynamodb.OldImage["v"]), textOf(x.Dynamodb.NewImage["v"]), by != nil && *by.PrincipalId == "dynamodb.amazonaws.com" && *by.Type == "Service"})
		return nil
	}
	r.reconnect(l)
	return l
}

func textOf(v streamtypes.AttributeValue) string {
	s, _ := v.(*streamtypes.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

// reconnect gives a listener a client of the world as it runs now.
func (r *running) reconnect(l *listener) {
	for _, region := range r.ready.Regions {
		if region.Name == l.region {
			l.Client = dynamodbstreams.New(dynamodbstreams.Options{BaseEndpoint: aws.String(region.DynamoDB), Region: region.Name, HTTPClient: r.http, RetryMaxAttempts: 1,
				Credentials: credentials.NewStaticCredentialsProvider("any", "thing", "")})
		}
	}
}

// heard reads what there is and returns how many records there were in all.
func (l *listener) heard(r *running) int {
	r.t.Helper()
	if _, err := l.Read(r.t.Context()); err != nil {
		r.t.Fatal(l.region, err)
	}
	return len(l.ids)
}

// expectWhole checks each key's records: each begins where the one before ended, and the last one ends with what the region has.
func (l *listener) expectWhole(r *running) {
	r.t.Helper()
	for key, records := range l.records {
		last := ""
		for i, x := range records {
			if x.old != last || x.event != eventOf(x.old, x.new) {
				r.t.Errorf("%s: record %d of %s is %+v after %q", l.region, i, key, x, last)
			}
			last = x.new
		}
		if got := r.get(l.region, key); got != last {
			r.t.Errorf("%s: %s is %q, and was told to be %q", l.region, key, got, last)
		}
	}
}

// eventOf says what happened where a text became another one; empty stands for no item.
func eventOf(before, after string) streamtypes.OperationType {
	switch {
	case before == "":
		return streamtypes.OperationTypeInsert
	case after == "":
		return streamtypes.OperationTypeRemove
	}
	return streamtypes.OperationTypeModify
}

// streaming switches the table's stream on in all regions, and returns a listener in each of them.
func (r *running) streaming(regions []string) (all []*listener) {
	r.t.Helper()
	if err := r.update(regions[0], dynamodb.UpdateTableInput{StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}}); err != nil {
		r.t.Fatal(err)
	}
	r.until("the stream is on everywhere", func() bool {
		return !slices.ContainsFunc(regions, func(region string) bool { return r.describe(region).StreamSpecification == nil })
	})
	for _, region := range regions {
		all = append(all, r.listen(region))
	}
	return all
}

// again runs the world of r once more, without what JetStream had, and connects the listeners to it.
func (r *running) again(cfg Config, all []*listener) *running {
	r.t.Helper()
	r.stop()
	for _, l := range all {
		if err := os.RemoveAll(filepath.Join(cfg.DataDir, l.region, "jetstream")); err != nil {
			r.t.Fatal(err)
		}
	}
	next := runWorld(r.t, cfg)
	for _, l := range all {
		next.reconnect(l)
	}
	return next
}

// TestStreamsOfThreeRegions: each region's stream tells what was written in all of them, in order for each key, with the same ids, over a restart from which JetStream has nothing.
func TestStreamsOfThreeRegions(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	r := runWorld(t, cfg)
	regions := []string{"us-east-1", "eu-central-1", "ap-south-1"}
	r.makeTable(regions[0], regions[1:]...)
	r.put(regions[0], "untold", "before there was a stream")
	r.converge(1)
	listeners := r.streaming(regions)
	heard := func(n int) func() bool {
		return func() bool {
			return !slices.ContainsFunc(listeners, func(l *listener) bool { return l.heard(r) < n })
		}
	}
	// Keys of one region each: no write of theirs is lost, so all regions tell the same.
	own := func(round int) {
		for i, region := range regions {
			for k := range 10 {
				r.put(region, fmt.Sprint(region, k), fmt.Sprint(round))
			}
			r.remove(region, fmt.Sprint(region, 0))
			put := func(k int) types.TransactWriteItem {
				return types.TransactWriteItem{Put: &types.Put{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
					"id": &types.AttributeValueMemberS{Value: fmt.Sprint(region, k)}, "v": &types.AttributeValueMemberS{Value: fmt.Sprint("together ", round)}}}}
			}
			if _, err := r.db[region].TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{put(i), put(9)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const perRound = 3 * 13
	own(1)
	r.until("all was told everywhere", heard(perRound))
	r = r.again(cfg, listeners)
	own(2)
	r.until("all was told everywhere, after a restart", heard(2*perRound))
	for _, l := range listeners {
		if len(l.ids) != 2*perRound || !maps.Equal(l.ids, listeners[0].ids) {
			t.Errorf("%s has told %d, %s %d, and not the same", l.region, len(l.ids), listeners[0].region, len(listeners[0].ids))
		}
		l.expectWhole(r)
	}
	// One key that all write: who loses is not told where it has lost.
	for i := range 30 {
		r.put(regions[i%3], "contended", fmt.Sprint(i))
	}
	r.converge(int64(1 + 3*10 + 1 - 2)) // of the keys with number 0, which are removed, that of the first region was written again
	for _, l := range listeners {
		l.heard(r)
		l.expectWhole(r)
		if n := len(l.records["contended"]); n == 0 || n > 30 {
			t.Errorf("%s tells %d records of the key that all write", l.region, n)
		}
	}
}

// TestStreamsTellExpiry: an item that has expired is removed by the service, in each region, with one id.
func TestStreamsTellExpiry(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Regions = cfg.Regions[:2]
	r := runWorld(t, cfg)
	us, eu := cfg.Regions[0].Name, cfg.Regions[1].Name
	r.makeTable(us, eu)
	listeners := r.streaming([]string{us, eu})
	if _, err := r.db[us].UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{TableName: aws.String(tableName),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)}}); err != nil {
		t.Fatal(err)
	}
	r.until("items expire everywhere", func() bool {
		for _, region := range []string{us, eu} {
			out, err := r.db[region].DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(tableName)})
			if err != nil || out.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
				return false
			}
		}
		return true
	})
	if _, err := r.db[eu].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: "mortal"}, "v": &types.AttributeValueMemberS{Value: "here"}, "until": &types.AttributeValueMemberN{Value: fmt.Sprint(time.Now().Unix() + 2)}}}); err != nil {
		t.Fatal(err)
	}
	r.until("both regions have told of its end", func() bool { return listeners[0].heard(r) == 2 && listeners[1].heard(r) == 2 })
	for _, l := range listeners {
		want := []told{{event: streamtypes.OperationTypeInsert, new: "here"}, {event: streamtypes.OperationTypeRemove, old: "here", service: true}}
		if got := l.records["mortal"]; !slices.Equal(got, want) {
			t.Errorf("%s tells %+v", l.region, got)
		}
	}
	if !maps.Equal(listeners[0].ids, listeners[1].ids) {
		t.Errorf("%v and %v", listeners[0].ids, listeners[1].ids)
	}
}

var toldFlag = flag.Int("told", 1500, "how many items TestStreamsUnderLoad writes")

// load writes items of its own from one region, and some that others write too, and knows what has to be told of its own.
type load struct {
	name  string
	db    *dynamodb.Client
	rand  *rand.Rand
	items map[string]string // as they are
	told  map[string][]told
}

func (l *load) own() string { return fmt.Sprint(l.name, " ", l.rand.IntN(40)) }

// now notes that an item of its own has become another one.
func (l *load) now(key, v string) {
	if before := l.items[key]; before != v {
		l.told[key] = append(l.told[key], told{event: eventOf(before, v), old: before, new: v})
		l.items[key] = v
	}
}

func itemOf(key, v string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: key}, "v": &types.AttributeValueMemberS{Value: v}}
}

func keyOf(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: key}}
}

// several returns up to n items of its own, changed.
func (l *load) several(n int, v string) (out []map[string]types.AttributeValue) {
	for range n {
		key := l.own()
		if !slices.ContainsFunc(out, func(it map[string]types.AttributeValue) bool {
			return it["id"].(*types.AttributeValueMemberS).Value == key
		}) {
			out = append(out, itemOf(key, v))
			l.now(key, v)
		}
	}
	return out
}

// write does one request and returns how many items it wrote.
func (l *load) write(ctx context.Context, n int) (items int, err error) {
	v, key, table := fmt.Sprint(l.name, " wrote ", n), l.own(), aws.String(tableName)
	switch what := l.rand.IntN(20); {
	case what < 8:
		_, err = l.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: itemOf(key, v)})
		l.now(key, v)
	case what < 11:
		_, err = l.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: table, Key: keyOf(key), UpdateExpression: aws.String("SET v = :v"), ExpressionAttributeValues: map[string]types.AttributeValue{":v": &types.AttributeValueMemberS{Value: v}}})
		l.now(key, v)
	case what < 14:
		_, err = l.db.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: table, Key: keyOf(key)})
		l.now(key, "")
	case what < 16:
		var batch []types.WriteRequest
		for _, it := range l.several(5, v) {
			batch = append(batch, types.WriteRequest{PutRequest: &types.PutRequest{Item: it}})
		}
		_, err = l.db.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{tableName: batch}})
		return len(batch), err
	case what < 18:
		var actions []types.TransactWriteItem
		for _, it := range l.several(3, v) {
			actions = append(actions, types.TransactWriteItem{Put: &types.Put{TableName: table, Item: it}})
		}
		_, err = l.db.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: actions})
		return len(actions), err
	default:
		_, err = l.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: itemOf(fmt.Sprint("contended ", l.rand.IntN(10)), v)})
	}
	return 1, err
}

// TestStreamsUnderLoad: mixed writes from three regions at once, with readers beside them, and in the midst a restart without what JetStream had. Each region tells of each item that one writer has exactly what that one did; of the others what became of them.
func TestStreamsUnderLoad(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	r := runWorld(t, cfg)
	regions := []string{"us-east-1", "eu-central-1", "ap-south-1"}
	r.makeTable(regions[0], regions[1:]...)
	listeners := r.streaming(regions)
	var loads []*load
	for i := range 4 * len(regions) {
		region := regions[i%len(regions)]
		loads = append(loads, &load{name: fmt.Sprint(region, " ", i), rand: rand.New(rand.NewPCG(1, uint64(i))), items: map[string]string{}, told: map[string][]told{}})
	}
	for phase := range 2 {
		if phase == 1 {
			r = r.again(cfg, listeners)
		}
		var group errgroup.Group
		for i, l := range loads {
			l.db = r.db[regions[i%len(regions)]]
			group.Go(func() error {
				for done := 0; done < *toldFlag/2/len(loads); {
					n, err := l.write(t.Context(), phase*1_000_000+done)
					if err != nil {
						return err
					}
					done += n
				}
				return nil
			})
		}
		written := make(chan error, 1)
		go func() { written <- group.Wait() }()
		for over := false; !over; {
			select {
			case err := <-written:
				if err != nil {
					t.Fatal(err)
				}
				over = true
			default:
				for _, l := range listeners {
					l.heard(r)
				}
			}
		}
	}
	for _, l := range listeners {
		r.until(l.region+" has told all", func() bool {
			l.heard(r)
			for _, w := range loads {
				for key, want := range w.told {
					if len(l.records[key]) < len(want) {
						return false
					}
				}
			}
			return true
		})
	}
	r.until("the regions converge", func() bool {
		return !slices.ContainsFunc(r.ready.Regions, func(region ReadyRegion) bool {
			return r.status(region).Tables[0].Digest != r.status(r.ready.Regions[0]).Tables[0].Digest
		})
	})
	sum := 0
	for _, l := range listeners {
		l.heard(r)
		for _, w := range loads {
			for key, want := range w.told {
				if !slices.Equal(l.records[key], want) {
					t.Errorf("%s tells of %s\n%+v\nnot\n%+v", l.region, key, l.records[key], want)
				}
			}
		}
		l.expectWhole(r)
		sum += len(l.ids)
	}
	t.Logf("%d records were told in three regions", sum)
}
