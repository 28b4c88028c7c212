package world

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/concordat-db/concordat/chaos/adapter"
)

// listener has what a region's stream has told, by key.
type listener struct {
	adapter.Reader
	region  string
	records map[string][]streamtypes.Record
	ids     map[string]bool
}

// listen returns a listener to the newest stream of the table in a region.
func (r *running) listen(region string) *listener {
	r.t.Helper()
	l := &listener{region: region, records: map[string][]streamtypes.Record{}, ids: map[string]bool{}}
	l.ARN = aws.ToString(r.describe(region).LatestStreamArn)
	l.Record = func(x streamtypes.Record) error {
		if l.ids[*x.EventID] {
			return fmt.Errorf("event %s is told twice", *x.EventID)
		}
		l.ids[*x.EventID] = true
		key := x.Dynamodb.Keys["id"].(*streamtypes.AttributeValueMemberS).Value
		l.records[key] = append(l.records[key], x)
		return nil
	}
	r.reconnect(l)
	return l
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
		var last map[string]streamtypes.AttributeValue
		for i, x := range records {
			d := x.Dynamodb
			if !reflect.DeepEqual(d.OldImage, last) {
				r.t.Errorf("%s: record %d of %s begins with %v, the one before ended with %v", l.region, i, key, d.OldImage, last)
			}
			want := map[[2]bool]streamtypes.OperationType{{false, true}: streamtypes.OperationTypeInsert, {true, true}: streamtypes.OperationTypeModify, {true, false}: streamtypes.OperationTypeRemove}[[2]bool{d.OldImage != nil, d.NewImage != nil}]
			if x.EventName != want || *x.AwsRegion != l.region {
				r.t.Errorf("%s: record %d of %s is %s in %s", l.region, i, key, x.EventName, *x.AwsRegion)
			}
			last = d.NewImage
		}
		value := ""
		if v, ok := last["v"].(*streamtypes.AttributeValueMemberS); ok {
			value = v.Value
		}
		if got := r.get(l.region, key); got != value {
			r.t.Errorf("%s: %s is %q, and was told to be %q", l.region, key, got, value)
		}
	}
}

// TestStreamsOfThreeRegions: each region's stream tells what was written in all of them, in order for each key, with the same ids, over a restart.
func TestStreamsOfThreeRegions(t *testing.T) {
	cfg := config(t)
	r := runWorld(t, cfg)
	regions := []string{"us-east-1", "eu-central-1", "ap-south-1"}
	r.makeTable(regions[0], regions[1:]...)
	r.put(regions[0], "untold", "before there was a stream")
	r.converge(1)
	if err := r.update(regions[1], dynamodb.UpdateTableInput{StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}}); err != nil {
		t.Fatal(err)
	}
	r.until("the stream is on everywhere", func() bool {
		return !slices.ContainsFunc(regions, func(region string) bool { return r.describe(region).StreamSpecification == nil })
	})
	var listeners []*listener
	for _, region := range regions {
		listeners = append(listeners, r.listen(region))
	}
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
	r.stop()

	r = runWorld(t, cfg)
	for _, l := range listeners {
		r.reconnect(l)
	}
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
	cfg := config(t)
	cfg.Regions = cfg.Regions[:2]
	r := runWorld(t, cfg)
	us, eu := cfg.Regions[0].Name, cfg.Regions[1].Name
	r.makeTable(us, eu)
	if err := r.update(us, dynamodb.UpdateTableInput{StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeOldImage}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db[us].UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{TableName: aws.String(tableName),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)}}); err != nil {
		t.Fatal(err)
	}
	r.until("items expire everywhere", func() bool {
		for _, region := range []string{us, eu} {
			out, err := r.db[region].DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(tableName)})
			if err != nil || out.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled || r.describe(region).StreamSpecification == nil {
				return false
			}
		}
		return true
	})
	listeners := []*listener{r.listen(us), r.listen(eu)}
	if _, err := r.db[eu].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: "mortal"}, "until": &types.AttributeValueMemberN{Value: fmt.Sprint(time.Now().Unix() + 2)}}}); err != nil {
		t.Fatal(err)
	}
	r.until("both regions have told of its end", func() bool { return listeners[0].heard(r) == 2 && listeners[1].heard(r) == 2 })
	for _, l := range listeners {
		born, gone := l.records["mortal"][0], l.records["mortal"][1]
		if born.EventName != streamtypes.OperationTypeInsert || born.UserIdentity != nil || gone.EventName != streamtypes.OperationTypeRemove || gone.Dynamodb.OldImage["until"] == nil ||
			gone.UserIdentity == nil || *gone.UserIdentity.PrincipalId != "dynamodb.amazonaws.com" || *gone.UserIdentity.Type != "Service" {
			t.Errorf("%s tells %+v and %+v", l.region, born, gone)
		}
	}
	if !maps.Equal(listeners[0].ids, listeners[1].ids) {
		t.Errorf("%v and %v", listeners[0].ids, listeners[1].ids)
	}
}
