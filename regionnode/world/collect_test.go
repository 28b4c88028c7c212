package world

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// TestDeletedItemsAreCollected: what is left of deleted items goes in every region when all have the deletion, not while one is out of reach. What was deleted stays deleted, over a restart and for a
// region that was away, and can be put again.
func TestDeletedItemsAreCollected(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	r := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu, ap)
	for i := range 60 {
		r.put(us, fmt.Sprint("item ", i), "here")
	}
	r.converge(60)
	r.until("the frontier moves everywhere", func() bool {
		return r.everywhere(func(c admin.Collection) bool { return c.PurgeAgeMillis != nil && *c.PurgeAgeMillis < 5000 })
	})
	r.Cut(ap)
	for i := range 40 {
		r.remove([]string{us, eu}[i%2], fmt.Sprint("item ", i))
	}
	r.put(ap, "item 0", "written by one that has not heard of the deletion")
	r.until("both regions have the deletions", func() bool {
		a, b := r.collection(r.ready.Regions[0]), r.collection(r.ready.Regions[1])
		return a.Waiting == 40 && b.Waiting == 40
	})
	r.Heal(ap)
	r.converge(21)
	r.until("all is collected", func() bool { return r.everywhere(func(c admin.Collection) bool { return c.Waiting == 0 }) })
	r.stop()
	r = runWorld(t, cfg)
	r.converge(21)
	if !r.everywhere(func(c admin.Collection) bool { return c.Waiting == 0 }) {
		t.Error("after a restart something waits to be collected")
	}
	r.put(eu, "item 7", "again")
	r.converge(22)
	for _, v := range r.verify("/v1/verify") {
		if v.State != repair.Converged || v.Tables[0].Items != 22 {
			t.Errorf("%s: %+v", v.Region, v)
		}
	}
	if c := r.listed(1, r.ready.Regions...)["item 0"]; !c.Loser.Deleted || !c.Open { // the others have been collected; that one of them was undone unseen is told
		t.Errorf("%+v", c)
	}
	if got := r.get(us, "item 0"); got != "written by one that has not heard of the deletion" {
		t.Errorf("item 0 is %q", got)
	}
	if got := r.get(ap, "item 1"); got != "" {
		t.Errorf("item 1 rose again: %q", got)
	}
}

func (r *running) collection(region ReadyRegion) admin.Collection {
	r.t.Helper()
	st := r.status(region)
	if len(st.Tables) != 1 {
		r.t.Fatalf("%s has %d tables", region.Name, len(st.Tables))
	}
	return st.Tables[0].Collection
}

func (r *running) everywhere(is func(admin.Collection) bool) bool {
	for _, region := range r.ready.Regions {
		if !is(r.collection(region)) {
			return false
		}
	}
	return true
}

// TestExpiredItemsAreErased: items vanish at their second, also while a region is out of reach, and are erased by all when none is.
func TestExpiredItemsAreErased(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu, ap)
	if _, err := r.db[eu].UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{TableName: aws.String(tableName),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)}}); err != nil {
		t.Fatal(err)
	}
	r.until("the time to live is in force everywhere", func() bool {
		for _, db := range r.db {
			out, err := db.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(tableName)})
			if err != nil || out.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
				return false
			}
		}
		return true
	})
	r.Cut(ap)
	until := time.Now().Add(2 * time.Second).Unix()
	for i := range 30 {
		it := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: fmt.Sprint("item ", i)}, "v": &types.AttributeValueMemberS{Value: "here"}}
		if i > 0 {
			it["until"] = &types.AttributeValueMemberN{Value: fmt.Sprint(until)}
		}
		if _, err := r.db[us].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: it}); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(name string) int32 {
		out, err := r.db[name].Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(tableName)})
		if err != nil {
			t.Fatal(err)
		}
		return out.Count
	}
	expiring := func(want uint64) bool {
		return r.collection(r.ready.Regions[0]).Expiring == want && r.collection(r.ready.Regions[1]).Expiring == want
	}
	r.until("both regions have them", func() bool { return expiring(29) })
	r.until("they have vanished in both", func() bool { return seen(us) == 1 && seen(eu) == 1 })
	if time.Now().Unix() < until {
		t.Error("they vanished before their second")
	}
	if !expiring(29) {
		t.Error("some are erased while a region is out of reach that may have renewed them")
	}
	r.Heal(ap)
	r.until("they are erased everywhere", func() bool {
		return seen(ap) == 1 && r.everywhere(func(c admin.Collection) bool { return c.Expiring == 0 })
	})
	r.converge(1)
}
