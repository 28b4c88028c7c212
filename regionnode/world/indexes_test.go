package world

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// TestIndexInAllRegions makes an index where the table is not owned, while both regions write; each builds its own. A third region that joins then has it too, and one that was away when it went, and
// another came, ends with the other.
func TestIndexInAllRegions(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.IndexPerSecond = 2000 // so that it takes its time
	r := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	r.makeTable(us, eu)
	put := func(region, id string, attributes map[string]types.AttributeValue) error {
		it := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
		for name, v := range attributes {
			it[name] = v
		}
		_, err := r.db[region].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: it})
		return err
	}
	text := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	for i := range 400 {
		// A number cannot be in an index of strings; before there is one, nobody minds.
		color := text(fmt.Sprint("c", i%7))
		if i%10 == 0 {
			color = &types.AttributeValueMemberN{Value: "1"}
		}
		if err := put([]string{us, eu}[i%2], fmt.Sprint("old ", i), map[string]types.AttributeValue{"color": color}); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w, region := range []string{us, eu} {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				attributes := map[string]types.AttributeValue{"size": text(fmt.Sprint(i % 5))}
				if i%3 > 0 {
					attributes["color"] = text(fmt.Sprint("c", i%11))
				}
				if err := put(region, fmt.Sprint("old ", (7*i+w)%400), attributes); err != nil && !strings.Contains(err.Error(), "being updated") {
					t.Error(err)
					return
				}
			}
		})
	}
	update := func(region string, updates ...types.GlobalSecondaryIndexUpdate) {
		t.Helper()
		_, err := r.db[region].UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String(tableName), GlobalSecondaryIndexUpdates: updates,
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("color"), AttributeType: types.ScalarAttributeTypeS}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) types.GlobalSecondaryIndexUpdate {
		return types.GlobalSecondaryIndexUpdate{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: &name, Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("color"), KeyType: types.KeyTypeHash}}}}
	}
	update(eu, create("by-color"))
	indexes := func(region string) (status types.TableStatus, out []types.GlobalSecondaryIndexDescription) {
		d, err := r.db[region].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
		if err != nil {
			return "", nil
		}
		return d.Table.TableStatus, d.Table.GlobalSecondaryIndexes
	}
	active := func(name string, regions ...string) func() bool {
		return func() bool {
			for _, region := range regions {
				status, list := indexes(region)
				if status != types.TableStatusActive || len(list) != 1 || *list[0].IndexName != name || list[0].IndexStatus != types.IndexStatusActive {
					return false
				}
			}
			return true
		}
	}
	r.until("the index is built in both regions", active("by-color", us, eu))
	if d, err := r.db[us].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)}); err != nil || len(d.Table.Replicas) != 1 ||
		len(d.Table.Replicas[0].GlobalSecondaryIndexes) != 1 || *d.Table.Replicas[0].GlobalSecondaryIndexes[0].IndexName != "by-color" {
		t.Errorf("the other replica has %+v, %v", d, err)
	}
	if err := put(us, "wrong", map[string]types.AttributeValue{"color": &types.AttributeValueMemberN{Value: "1"}}); err == nil || !strings.Contains(err.Error(), "Type mismatch for Index Key color") {
		t.Errorf("a key of a wrong type: %v", err)
	}
	if _, err := r.db[us].UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String(tableName),
		ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(ap)}}}}); err != nil {
		t.Fatal(err)
	}
	r.until("a region that joins has the index", active("by-color", us, eu, ap))
	close(stop)
	writers.Wait()
	same := func() bool {
		var first [2]int64
		for i, region := range []string{us, eu, ap} {
			_, list := indexes(region)
			if len(list) != 1 {
				return false
			}
			now := [2]int64{*list[0].ItemCount, *list[0].IndexSizeBytes}
			if i == 0 {
				first = now
			}
			if now != first || now[0] == 0 || now[0] > 400 {
				return false
			}
		}
		return true
	}
	r.until("the indexes have the same entries everywhere", same)
	for _, region := range r.ready.Regions {
		found := false
		for _, table := range r.status(region).Tables {
			found = found || table.Name == tableName && len(table.Indexes) == 1 && table.Indexes[0] == admin.Index{Name: "by-color", Ready: true, Percent: 100,
				Entries: table.Indexes[0].Entries, Bytes: table.Indexes[0].Bytes}
		}
		if !found {
			t.Errorf("%s: no index in %+v", region.Name, r.status(region).Tables)
		}
	}
	// Away, a region skips the version without it.
	r.Cut(ap)
	update(us, types.GlobalSecondaryIndexUpdate{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: aws.String("by-color")}})
	update(us, create("again"))
	r.until("the new index is built", active("again", us, eu))
	r.Heal(ap)
	r.until("the region that was away has it", active("again", ap))
	r.until("and the same entries", same)
}
