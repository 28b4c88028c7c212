package world

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// disassociation is the request by which the replica in a region leaves its table.
func disassociation(region string) dynamodb.UpdateTableInput {
	return dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{Disassociate: &types.DisassociateReplicationGroupMemberAction{
		RegionName: aws.String(region), DisassociationMode: types.DisassociationModeWaitForReplication}}}}
}

func protection(on bool) dynamodb.UpdateTableInput {
	return dynamodb.UpdateTableInput{DisassociationProtectionEnabled: aws.Bool(on)}
}

// traffic is what goes on in one region while its replica leaves, or another's: each writer writes growing numbers to items of its own.
type traffic struct {
	r      *running
	region string
	acked  [3]atomic.Int64 // by writer
	reads  atomic.Int64
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func (r *running) traffic(region string) *traffic {
	f := &traffic{r: r, region: region}
	var ctx context.Context
	ctx, f.stop = context.WithCancel(r.t.Context())
	for i, write := range []func(id string, n int64) error{f.put, f.update, f.transact} {
		f.done.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				if err := write(f.id(i), n); err != nil {
					r.t.Errorf("%s: write %d of writer %d: %v", region, n, i, err)
					return
				}
				f.acked[i].Store(n)
			}
		})
	}
	for _, read := range []func() error{f.get, f.query, f.transactGet} {
		f.done.Go(func() {
			for ctx.Err() == nil {
				if err := read(); err != nil {
					r.t.Errorf("%s: %v", region, err)
					return
				}
				f.reads.Add(1)
			}
		})
	}
	return f
}

func (f *traffic) id(writer int) string { return fmt.Sprint(f.region, " ", writer) }

func (f *traffic) end() {
	f.stop()
	f.done.Wait()
}

func (f *traffic) item(id string, n int64) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}, "v": numberOf(n), "kind": &types.AttributeValueMemberS{Value: f.region}}
}

func numberOf(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func (f *traffic) put(id string, n int64) error {
	_, err := f.r.db[f.region].PutItem(context.Background(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: f.item(id, n)})
	return err
}

// update counts up by one: what is written once counts once.
func (f *traffic) update(id string, n int64) error {
	_, err := f.r.db[f.region].UpdateItem(context.Background(), &dynamodb.UpdateItemInput{TableName: aws.String(tableName), Key: key(id),
		UpdateExpression: aws.String("SET v = :n, kind = :k"), ConditionExpression: aws.String("attribute_not_exists(id) OR v = :before"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":n": numberOf(n), ":before": numberOf(n - 1), ":k": &types.AttributeValueMemberS{Value: f.region}}})
	return err
}

// transact writes to a table of the region alone, too.
func (f *traffic) transact(id string, n int64) error {
	_, err := f.r.db[f.region].TransactWriteItems(context.Background(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: aws.String(tableName), Item: f.item(id, n)}},
		{Put: &types.Put{TableName: aws.String("alone-" + f.region), Item: f.item(id, n)}}}})
	return err
}

func key(id string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
}

func valueOf(item map[string]types.AttributeValue) int64 {
	v, _ := item["v"].(*types.AttributeValueMemberN)
	if v == nil {
		return 0
	}
	n, _ := strconv.ParseInt(v.Value, 10, 64)
	return n
}

// get reads, strongly consistent, at least what was acknowledged before.
func (f *traffic) get() error {
	for i := range f.acked {
		least := f.acked[i].Load()
		out, err := f.r.db[f.region].GetItem(context.Background(), &dynamodb.GetItemInput{TableName: aws.String(tableName), Key: key(f.id(i)), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return err
		}
		if got := valueOf(out.Item); got < least {
			return fmt.Errorf("writer %d: %d is read after %d was acknowledged", i, got, least)
		}
	}
	return nil
}

// query finds every item that was there before in the index.
func (f *traffic) query() error {
	out, err := f.r.db[f.region].Query(context.Background(), &dynamodb.QueryInput{TableName: aws.String(tableName), IndexName: aws.String("by-kind"),
		KeyConditionExpression: aws.String("kind = :k"), ExpressionAttributeValues: map[string]types.AttributeValue{":k": &types.AttributeValueMemberS{Value: "old"}}})
	if err != nil {
		return err
	}
	if out.Count != oldItems {
		return fmt.Errorf("a query of the index finds %d items of %d", out.Count, oldItems)
	}
	return nil
}

// transactGet reads both items of a transaction as of one moment: they are equal.
func (f *traffic) transactGet() error {
	out, err := f.r.db[f.region].TransactGetItems(context.Background(), &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
		{Get: &types.Get{TableName: aws.String(tableName), Key: key(f.id(2))}}, {Get: &types.Get{TableName: aws.String("alone-" + f.region), Key: key(f.id(2))}}}})
	if err != nil {
		return err
	}
	if a, b := valueOf(out.Responses[0].Item), valueOf(out.Responses[1].Item); a != b {
		return fmt.Errorf("half a transaction: %d and %d", a, b)
	}
	return nil
}

const oldItems = 400

// TestDisassociateUnderLoad: a replica leaves while both sides are read and written, by transactions and through an index, too. No request fails, and nothing acknowledged is lost.
func TestDisassociateUnderLoad(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Limits.IndexPerSecond = 2000 // so that it takes its time
	cfg.Latency = map[Pair]time.Duration{{"us-east-1", "eu-central-1"}: 20 * time.Millisecond}
	w := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	alone := func(region string) {
		t.Helper()
		_, err := w.db[region].CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: aws.String("alone-" + region), BillingMode: types.BillingModePayPerRequest,
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	alone(us)
	alone(eu)
	text := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	w.createTable(&dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}}, AttributeDefinitions: []types.AttributeDefinition{text("id"), text("kind")},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("by-kind"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("kind"), KeyType: types.KeyTypeHash}}}}}, us, eu, ap)
	for i := range oldItems {
		_, err := w.db[us].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberS{Value: fmt.Sprint("old ", i)}, "kind": &types.AttributeValueMemberS{Value: "old"}, "v": numberOf(int64(i))}})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.until("eu has what was there", func() bool {
		st, err := w.Node(eu).Table(t.Context(), tableName)
		return err == nil && st.Items == oldItems
	})
	token := &dynamodb.TransactWriteItemsInput{ClientRequestToken: aws.String("once"), TransactItems: []types.TransactWriteItem{{Update: &types.Update{TableName: aws.String(tableName), Key: key("counter"),
		UpdateExpression: aws.String("ADD v :one"), ExpressionAttributeValues: map[string]types.AttributeValue{":one": numberOf(1)}}}}}
	if _, err := w.db[eu].TransactWriteItems(t.Context(), token); err != nil {
		t.Fatal(err)
	}

	here, there := w.traffic(eu), w.traffic(us)
	expectFailure(t, w.update(eu, disassociation(eu)), http.StatusBadRequest, "ValidationException", "it is currently protected against disassociation")
	if err := w.update(eu, protection(false)); err != nil {
		t.Fatal(err)
	}
	w.until("the protection is off", func() bool { return !aws.ToBool(w.describe(eu).DisassociationProtectionEnabled) })
	if !aws.ToBool(w.describe(us).DisassociationProtectionEnabled) {
		t.Error("the protection is off elsewhere")
	}
	expectFailure(t, w.update(us, disassociation(eu)), http.StatusBadRequest, "ValidationException", "the request must be sent to the region of the replica: "+eu)
	var before [2][3]int64 // acknowledged in eu and in us before it was asked
	for i := range before[0] {
		before[0][i], before[1][i] = here.acked[i].Load(), there.acked[i].Load()
	}
	was := *w.describe(eu)
	if err := w.update(eu, disassociation(eu)); err != nil {
		t.Fatal(err)
	}
	seen := map[types.TableStatus]bool{}
	w.until("it is disassociated", func() bool { // as DynamoDB's documentation says how it is seen
		d := w.describe(eu)
		seen[d.TableStatus] = true
		if d.TableStatus == types.TableStatusUpdating {
			if err := w.update(eu, dynamodb.UpdateTableInput{DeletionProtectionEnabled: aws.Bool(true)}); err != nil {
				expectFailure(t, err, http.StatusBadRequest, "ResourceInUseException", "Table is being updated")
			}
		}
		return d.TableStatus == types.TableStatusActive && len(d.Replicas) == 0
	})
	if !seen[types.TableStatusUpdating] {
		t.Errorf("statuses %v", seen)
	}
	// What either side had acknowledged before is on the other, as soon as it is a table of its own.
	check := func(in, of string, least [3]int64) {
		t.Helper()
		for i, n := range least {
			out, err := w.db[in].GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), Key: key(fmt.Sprint(of, " ", i)), ConsistentRead: aws.Bool(true)})
			if err != nil || valueOf(out.Item) < n {
				t.Errorf("%s has %d of what writer %d had written in %s, %d before; %v", in, valueOf(out.Item), i, of, n, err)
			}
		}
	}
	check(eu, us, before[1])
	check(us, eu, before[0])
	check(ap, eu, before[0])
	reads := here.reads.Load()
	w.until("all is read in the new table", func() bool { return here.reads.Load() > reads+20 && here.acked[0].Load() > before[0][0]+20 })
	w.until("what was left is gone", func() bool {
		return len(w.describe(us).Replicas) == 1 && w.describe(us).TableStatus == types.TableStatusActive
	})
	here.end()
	there.end()

	// Each side goes on for itself: its own writes are there to the last, and the other's do not come any more.
	for i := range here.acked {
		for _, f := range []*traffic{here, there} {
			out, err := w.db[f.region].GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), Key: key(f.id(i)), ConsistentRead: aws.Bool(true)})
			if err != nil || valueOf(out.Item) != f.acked[i].Load() {
				t.Errorf("%s has %d of writer %d, %d was acknowledged: %v", f.region, valueOf(out.Item), i, f.acked[i].Load(), err)
			}
		}
	}
	w.put(eu, "mark", "eu")
	w.put(us, "mark", "us")
	w.until("us and ap are equal", func() bool { return w.get(ap, "mark") == "us" })
	if w.get(eu, "mark") != "eu" || w.get(us, "mark") != "us" {
		t.Error("the two are one still")
	}
	now := w.describe(eu)
	if aws.ToString(now.TableArn) != aws.ToString(was.TableArn) || now.GlobalTableVersion != nil || now.DisassociationProtectionEnabled != nil || now.MultiRegionConsistency != "" ||
		aws.ToString(now.LatestStreamArn) != aws.ToString(was.LatestStreamArn) || !now.CreationDateTime.Equal(*was.CreationDateTime) || len(now.GlobalSecondaryIndexes) != 1 ||
		now.GlobalSecondaryIndexes[0].IndexStatus != types.IndexStatusActive {
		t.Errorf("what it was: %+v\nwhat it is: %+v", was, now)
	}
	// The index has what the table has, in both.
	for _, region := range []string{us, eu} {
		items, entries := 0, 0
		for _, index := range []*string{nil, aws.String("by-kind")} {
			pages := dynamodb.NewScanPaginator(w.db[region], &dynamodb.ScanInput{TableName: aws.String(tableName), IndexName: index})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, item := range page.Items {
					if index != nil {
						entries++
					} else if item["kind"] != nil {
						items++
					}
				}
			}
		}
		if items != entries || items < oldItems+3 {
			t.Errorf("%s: %d items have the index's key, and it has %d entries", region, items, entries)
		}
	}
	// What was done once with a token is not done again by it.
	if _, err := w.db[eu].TransactWriteItems(t.Context(), token); err != nil {
		t.Error(err)
	}
	out, err := w.db[eu].GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), Key: key("counter")})
	if err != nil || valueOf(out.Item) != 1 {
		t.Errorf("it is done %d times: %v", valueOf(out.Item), err)
	}
	w.verifyAfter(us, eu)
}

// verifyAfter compares the regions that go on together, and sees one table in each.
func (r *running) verifyAfter(stays, left string) {
	r.t.Helper()
	for _, region := range r.ready.Regions {
		var list admin.TableList
		var err error
		if list, err = r.Node(region.Name).Tables(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		named := 0
		for _, t := range list.Tables {
			if t.Name == tableName {
				named++
				if want := map[bool]int{true: 1, false: 2}[region.Name == left]; len(t.Replicas) != want {
					r.t.Errorf("%s: %d replicas, want %d", region.Name, len(t.Replicas), want)
				}
			}
		}
		if named != 1 {
			r.t.Errorf("%s lists %d tables of the name", region.Name, named)
		}
	}
	for _, v := range r.verify("/v1/verify?table=" + tableName) {
		if v.State != "converged" {
			r.t.Errorf("%s: %+v", v.Region, v)
		}
	}
}

// TestDisassociatedTableGoesOn: settings, time to live, and replicas of its own, also over a new start of all regions.
func TestDisassociatedTableGoesOn(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	w := runWorld(t, cfg)
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us, eu)
	if _, err := w.db[us].UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{TableName: aws.String(tableName),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("ttl"), Enabled: aws.Bool(true)}}); err != nil {
		t.Fatal(err)
	}
	tag := func(region, value string) {
		t.Helper()
		if _, err := w.db[region].TagResource(t.Context(), &dynamodb.TagResourceInput{ResourceArn: w.describe(region).TableArn, Tags: []types.Tag{{Key: aws.String("where"), Value: &value}}}); err != nil {
			t.Fatal(err)
		}
	}
	tag(us, us)
	tag(eu, eu)
	for i := range 20 {
		_, err := w.db[us].PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberS{Value: fmt.Sprint(i)}, "ttl": numberOf(time.Now().Add(time.Duration(4+90*(i%2)) * time.Second).Unix())}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range []dynamodb.UpdateTableInput{protection(false), disassociation(eu)} {
		w.until("it can be asked", func() bool { return w.update(eu, in) == nil })
	}
	left := func(region string) bool {
		d := w.describe(region)
		return d.TableStatus == types.TableStatusActive && len(d.Replicas) == 0
	}
	w.until("both are tables in one region", func() bool { return left(eu) && left(us) })
	w.until("what has expired is gone on both sides", func() bool {
		for _, region := range []string{us, eu} {
			if st, err := w.Node(region).Table(t.Context(), tableName); err != nil || st.Items != 10 || st.Collection.Expiring != 10 {
				return false
			}
		}
		return true
	})
	for _, region := range []string{us, eu} {
		out, err := w.db[region].ListTagsOfResource(t.Context(), &dynamodb.ListTagsOfResourceInput{ResourceArn: w.describe(region).TableArn})
		if err != nil || len(out.Tags) != 1 || aws.ToString(out.Tags[0].Value) != region {
			t.Errorf("%s: %v %v", region, out, err)
		}
		ttl, err := w.db[region].DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(tableName)})
		if err != nil || ttl.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
			t.Errorf("%s: %v %v", region, ttl, err)
		}
	}
	expectFailure(t, w.update(eu, disassociation(eu)), http.StatusBadRequest, "ValidationException", "it is not a replica of a global table in region: "+eu)
	expectFailure(t, w.update(eu, protection(true)), http.StatusBadRequest, "ValidationException", "DisassociationProtectionEnabled can only be specified for a replica of a global table")
	create := func(region string) dynamodb.UpdateTableInput {
		return dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(region)}}}}
	}
	// The name is taken where the other table is; in a third region the new one can have a replica.
	if err := w.update(us, create(eu)); err != nil {
		t.Fatal(err)
	}
	w.until("refused", func() bool { return w.replica(us, eu).ReplicaStatus == types.ReplicaStatusCreationFailed })
	w.stop()

	w = runWorld(t, cfg)
	w.until("the new table has a replica", func() bool { return w.update(eu, create(ap)) == nil })
	w.until("it serves", func() bool {
		st, err := w.Node(ap).Table(t.Context(), tableName)
		return err == nil && st.Items >= 1 && st.Items <= 10 && len(st.Replicas) == 2 && w.describe(eu).TableStatus == types.TableStatusActive && w.describe(ap).TableStatus == types.TableStatusActive
	})
	w.put(ap, "from ap", "v")
	w.until("it came", func() bool { return w.get(eu, "from ap") == "v" })
	if w.get(us, "from ap") != "" {
		t.Error("it came to us, too")
	}
}
