package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"

// regions asks a region's admin API about the members.
func (r *running) regions(method, region, path string) (out admin.Regions, fault string) {
	r.t.Helper()
	at := r.ready.Regions[slices.IndexFunc(r.ready.Regions, func(g ReadyRegion) bool { return g.Name == region })]
	req, err := http.NewRequestWithContext(r.t.Context(), method, at.Admin+"/v1/regions"+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		var e admin.Error
		if err := errors.Join(json.NewDecoder(answer.Body).Decode(&e), answer.Body.Close()); err != nil {
			r.t.Fatal(err)
		}
		return out, e.Message
	}
	if err := errors.Join(json.NewDecoder(answer.Body).Decode(&out), answer.Body.Close()); err != nil {
		r.t.Fatal(err)
	}
	return out, ""
}

// write puts items from the regions named until the function returned is called, which waits for the writers and returns how many items there are.
func (r *running) write(regions ...string) (stop func() int64) {
	var writers sync.WaitGroup
	done := make(chan struct{})
	counts := make([]int64, len(regions))
	for w, region := range regions {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				_, err := r.db[region].PutItem(r.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
					"id": &types.AttributeValueMemberS{Value: fmt.Sprint("load ", region, i)}, "v": &types.AttributeValueMemberS{Value: "x"}}})
				if err != nil {
					r.t.Error(err)
					return
				}
				counts[w]++
			}
		})
	}
	return func() (n int64) {
		close(done)
		writers.Wait()
		for _, c := range counts {
			n += c
		}
		return n
	}
}

// same waits until the regions named have the same items, so many, and compare themselves as converged.
func (r *running) same(items int64, names ...string) {
	r.t.Helper()
	r.until("the regions have the same", func() bool {
		digests := map[string]bool{}
		for _, region := range r.ready.Regions {
			if !slices.Contains(names, region.Name) {
				continue
			}
			st := r.status(region)
			if len(st.Tables) != 1 || st.Tables[0].Items != items {
				return false
			}
			digests[st.Tables[0].Digest] = true
		}
		return len(digests) == 1
	})
	v, err := r.Node(names[0]).Verify(r.t.Context(), tableName)
	if err != nil || v.State != repair.Converged || len(v.Tables) != 1 || len(v.Tables[0].Replicas) != len(names)-1 {
		r.t.Errorf("%+v %v", v, err)
	}
}

// TestFenceUnderLoad fences a region that is out of reach while the others write: their tables settle and are equal, their log is trimmed, and the region serves nobody when it is back.
func TestFenceUnderLoad(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	r.makeTable(us, eu, ap)
	for i := range 100 {
		r.put(ap, fmt.Sprint("item ", i), "from ap")
	}
	r.converge(100)
	r.Cut(ap)
	r.put(ap, "only there", "never confirmed")
	stop := r.write(us, eu)
	if _, fault := r.regions(http.MethodPost, ap, "/"+ap+"/fence"); !strings.Contains(fault, "from another region") {
		t.Error(fault)
	}
	if _, fault := r.regions(http.MethodPost, us, "/"+ap+"/fence"); fault != "" {
		t.Fatal(fault)
	}
	r.until("the region is fenced everywhere", func() bool {
		for _, region := range []string{us, eu} {
			world, _ := r.regions(http.MethodGet, region, "")
			if m := world.Member(ap); m == nil || !m.Closed() || m.State != "fenced" || len(m.Replicas) != 1 {
				return false
			}
		}
		return true
	})
	out, err := r.db[eu].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(out.Table.Replicas, func(d types.ReplicaDescription) bool {
		return aws.ToString(d.RegionName) == ap && d.ReplicaStatus == types.ReplicaStatusRegionDisabled
	}) || out.Table.TableStatus != types.TableStatusActive {
		t.Errorf("%+v", out.Table)
	}
	r.same(100+stop(), us, eu)
	r.until("nothing is kept for it", func() bool {
		for _, region := range r.ready.Regions[:2] {
			for _, lane := range r.status(region).Lanes {
				if lane.Entries > 1 || lane.Confirmed[ap] != 0 {
					return false
				}
			}
		}
		return true
	})

	r.Heal(ap)
	r.until("it serves nobody", func() bool {
		_, err := r.db[ap].GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName),
			Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "item 1"}}})
		st := r.status(r.ready.Regions[2])
		return err != nil && strings.Contains(err.Error(), "concordat region rebuild") && !st.Ready &&
			slices.ContainsFunc(st.Refused, func(why string) bool { return strings.Contains(why, "concordat region rebuild") })
	})
	_, err = r.db[ap].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: "more"}}})
	if err == nil || !strings.Contains(err.Error(), "concordat region rebuild") {
		t.Errorf("a write: %v", err)
	}
	r.until("it knows why", func() bool {
		world, _ := r.regions(http.MethodGet, ap, "")
		m := world.Member(ap)
		return m != nil && m.State == "fenced"
	})
	if v := r.get(us, "only there"); v != "" {
		t.Errorf("a fenced region was heard: %q", v)
	}
}

// TestRemoveWhileAnotherIsCut removes a lost region while a second one is out of reach, under load: it says for whom it waits, and completes when that one is back, with nothing lost.
func TestRemoveWhileAnotherIsCut(t *testing.T) {
	t.Parallel()
	r := runWorld(t, config(t))
	r.makeTable(us, eu, ap)
	for i := range 50 {
		r.put(ap, fmt.Sprint("item ", i), "from ap")
	}
	r.converge(50)
	r.Cut(ap)
	r.Cut(eu)
	r.put(eu, "while cut", "from eu")
	stop := r.write(us, eu)
	if _, fault := r.regions(http.MethodPost, us, "/"+ap+"/remove"); fault != "" {
		t.Fatal(fault)
	}
	r.until("it says for whom it waits", func() bool {
		world, _ := r.regions(http.MethodGet, us, "")
		return world.Member(ap).State == "removing" && strings.Contains(strings.Join(world.Pending, " "), eu)
	})
	r.Heal(eu)
	r.Cut(ap) // a link that two regions share was healed with the other
	r.until("it is removed", func() bool {
		for _, region := range []string{us, eu} {
			world, _ := r.regions(http.MethodGet, region, "")
			if m := world.Member(ap); m.State != "removed" || len(m.Replicas) != 0 || len(world.Pending) != 0 {
				return false
			}
		}
		return true
	})
	r.same(51+stop(), us, eu)
	if _, fault := r.regions(http.MethodPost, eu, "/"+ap+"/fence"); !strings.Contains(fault, "removed") {
		t.Error(fault)
	}
}
