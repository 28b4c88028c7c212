package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// TestJoinUnderLoad adds a region to a table that has items of all sizes and is written, and deleted from, on both sides; on the way one source is out of reach.
func TestJoinUnderLoad(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.JoinBytesPerSecond = 8 << 20 // so that the join takes its time
	r := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu)
	for i := range 300 {
		r.put(us, fmt.Sprint("item ", i), strings.Repeat("x", 4000))
	}
	for i := range 5 {
		r.put(eu, fmt.Sprint("large ", i), strings.Repeat("y", 390<<10))
	}
	remove := func(region, id string) {
		_, err := r.db[region].DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(tableName),
			Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}})
		if err != nil {
			t.Error(err)
		}
	}
	for i := range 50 {
		remove(us, fmt.Sprint("item ", i))
	}
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for w, region := range []string{us, eu} {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					if i >= 50 { // each has put and deleted all that it ever does
						return
					}
				default:
				}
				_, err := r.db[region].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
					"id": &types.AttributeValueMemberS{Value: fmt.Sprintf("new %d %d", w, i%40)}, "v": &types.AttributeValueMemberS{Value: fmt.Sprint(i)}}})
				if err != nil {
					t.Error(err)
					return
				}
				remove(region, fmt.Sprint("item ", 50+(2*i+w)%100))
			}
		})
	}
	r.Cut(eu)
	_, err := r.db[us].UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String(tableName),
		ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(ap)}}}})
	if err != nil {
		t.Fatal(err)
	}
	replica := func() types.ReplicaDescription {
		out, err := r.db[us].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range out.Table.Replicas {
			if aws.ToString(d.RegionName) == ap {
				return d
			}
		}
		return types.ReplicaDescription{}
	}
	r.until("the region out of reach is named", func() bool {
		d := replica()
		return d.ReplicaStatus == types.ReplicaStatusCreating && strings.Contains(aws.ToString(d.ReplicaStatusDescription), "Cannot reach "+eu)
	})
	r.Heal(eu)
	var seen []string
	r.until("the new replica is active", func() bool {
		d := replica()
		if p := aws.ToString(d.ReplicaStatusPercentProgress); p != "" && (len(seen) == 0 || seen[len(seen)-1] != p) {
			seen = append(seen, p)
		}
		return d.ReplicaStatus == types.ReplicaStatusActive
	})
	if len(seen) == 0 {
		t.Error("no progress was told")
	}
	r.until("all regions know", func() bool {
		for _, region := range r.ready.Regions {
			st := r.status(region)
			if len(st.Tables) != 1 || st.Tables[0].Status != string(globaltable.Active) || len(st.Tables[0].Replicas) != 3 {
				return false
			}
		}
		return true
	})
	for range 3 { // under load there may be something in flight, and never more
		for _, v := range r.verify("/v1/verify") {
			if v.State != repair.Converged && v.State != repair.InFlight {
				t.Errorf("%s: %+v", v.Region, v)
			}
		}
	}
	close(stop)
	writers.Wait()
	const items = 300 - 50 - 100 + 5 + 80
	r.converge(items)
	for _, v := range r.verify("/v1/verify?table=" + tableName) {
		if v.State != repair.Converged || v.Tables[0].Items != items || len(v.Tables[0].Replicas) != 2 {
			t.Errorf("%s: %+v", v.Region, v)
		}
	}

	// And it goes again.
	_, err = r.db[us].UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String(tableName),
		ReplicaUpdates: []types.ReplicationGroupUpdate{{Delete: &types.DeleteReplicationGroupMemberAction{RegionName: aws.String(ap)}}}})
	if err != nil {
		t.Fatal(err)
	}
	r.until("the replica is gone", func() bool {
		st := r.status(r.ready.Regions[0])
		return len(st.Tables) == 1 && len(st.Tables[0].Replicas) == 2 && st.Tables[0].Status == string(globaltable.Active)
	})
}

// verify asks every region to compare itself with the others.
func (r *running) verify(path string) (out []admin.Verification) {
	r.t.Helper()
	for _, region := range r.ready.Regions {
		answer, err := r.http.Get(region.Admin + path)
		if err != nil {
			r.t.Fatal(err)
		}
		var v admin.Verification
		if err := errors.Join(json.NewDecoder(answer.Body).Decode(&v), answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK || len(v.Tables) == 0 || v.Tables[0].Table != tableName { // its conflicts may follow
			r.t.Fatalf("%s: %d %+v %v", region.Name, answer.StatusCode, v, err)
		}
		out = append(out, v)
	}
	return out
}
