package world

import (
	"context"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func (r *running) describe(region string) *types.TableDescription {
	r.t.Helper()
	out, err := r.db[region].DescribeTable(r.t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
	if err != nil {
		r.t.Fatal(err)
	}
	return out.Table
}

// update changes the table, asked for in a region.
func (r *running) update(region string, in dynamodb.UpdateTableInput) error {
	in.TableName = aws.String(tableName)
	_, err := r.db[region].UpdateTable(r.t.Context(), &in)
	return err
}

// replica returns what a region says of the replica in another one.
func (r *running) replica(in, of string) types.ReplicaDescription {
	r.t.Helper()
	for _, d := range r.describe(in).Replicas {
		if aws.ToString(d.RegionName) == of {
			return d
		}
	}
	r.t.Fatalf("%s knows no replica in %s", in, of)
	return types.ReplicaDescription{}
}

// TestGlobalTableOf2019: what a table becomes when it gets replicas, which settings follow to all of them, and which stay where they were made.
func TestGlobalTableOf2019(t *testing.T) {
	w := runWorld(t, config(t))
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us)
	arn := func(region string) *string { return w.describe(region).TableArn }
	tag := func(region, key, value string) {
		t.Helper()
		_, err := w.db[region].TagResource(t.Context(), &dynamodb.TagResourceInput{ResourceArn: arn(region), Tags: []types.Tag{{Key: &key, Value: &value}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.update(us, dynamodb.UpdateTableInput{DeletionProtectionEnabled: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	tag(us, "where", "us")
	if d := w.describe(us); d.GlobalTableVersion != nil || d.StreamSpecification != nil || d.MultiRegionConsistency != "" || d.DisassociationProtectionEnabled != nil {
		t.Errorf("a table of one region: %+v", d)
	}

	// A replica switches the stream on, and begins without tags and protection.
	w.until("a replica can be made", func() bool {
		return w.update(us, dynamodb.UpdateTableInput{MultiRegionConsistency: types.MultiRegionConsistencyEventual, ReplicaUpdates: []types.ReplicationGroupUpdate{{
			Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(eu), TableClassOverride: types.TableClassStandardInfrequentAccess}}}}) == nil
	})
	w.until("it is active", func() bool {
		out, err := w.db[eu].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
		return err == nil && out.Table.TableStatus == types.TableStatusActive && w.describe(us).TableStatus == types.TableStatusActive
	})
	labels := map[string]bool{}
	for _, region := range []string{us, eu} {
		d := w.describe(region)
		if aws.ToString(d.GlobalTableVersion) != "2019.11.21" || d.MultiRegionConsistency != types.MultiRegionConsistencyEventual || len(d.Replicas) != 1 ||
			d.GlobalTableSettingsReplicationMode != types.GlobalTableSettingsReplicationModeEnabledWithOverrides || !aws.ToBool(d.DisassociationProtectionEnabled) {
			t.Errorf("%s: %+v", region, d)
		}
		if d.StreamSpecification == nil || d.StreamSpecification.StreamViewType != types.StreamViewTypeNewAndOldImages ||
			aws.ToString(d.LatestStreamArn) != *d.TableArn+"/stream/"+aws.ToString(d.LatestStreamLabel) {
			t.Errorf("%s: stream %+v %v", region, d.StreamSpecification, aws.ToString(d.LatestStreamArn))
		}
		labels[*d.LatestStreamArn] = true
		if local := region == us; aws.ToBool(d.DeletionProtectionEnabled) != local || (d.TableClassSummary.TableClass == types.TableClassStandard) != local {
			t.Errorf("%s: protection %v, class %v", region, *d.DeletionProtectionEnabled, d.TableClassSummary.TableClass)
		}
		out, err := w.db[region].ListTagsOfResource(t.Context(), &dynamodb.ListTagsOfResourceInput{ResourceArn: d.TableArn})
		if err != nil || (len(out.Tags) == 1) != (region == us) {
			t.Errorf("%s: %v, %v", region, out, err)
		}
	}
	if len(labels) != 2 {
		t.Errorf("the streams of two regions are one: %v", labels)
	}
	if got := w.replica(us, eu); got.ReplicaTableClassSummary == nil || got.ReplicaTableClassSummary.TableClass != types.TableClassStandardInfrequentAccess {
		t.Errorf("%+v", got)
	}

	// What cannot be.
	off := dynamodb.UpdateTableInput{StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(false)}}
	expectFailure(t, w.update(eu, off), http.StatusBadRequest, "ValidationException", "Disabling Stream is not allowed for a Global Table replica.")
	del := func(region string) dynamodb.UpdateTableInput {
		return dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{Delete: &types.DeleteReplicationGroupMemberAction{RegionName: &region}}}}
	}
	expectFailure(t, w.update(eu, del(us)), http.StatusBadRequest, "ValidationException", "Resource cannot be deleted as it is currently protected against deletion.")
	expectFailure(t, w.update(us, dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(eu)}}}}),
		http.StatusBadRequest, "ValidationException", "already has a replica in region: "+eu)

	// Settings asked for in the region that does not own the table: what is local stays there, what is not is everywhere.
	tag(eu, "where", "eu")
	if err := w.update(eu, dynamodb.UpdateTableInput{BillingMode: types.BillingModeProvisioned,
		ProvisionedThroughput: &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(3), WriteCapacityUnits: aws.Int64(4)}}); err != nil {
		t.Fatal(err)
	}
	if err := w.update(us, dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{Update: &types.UpdateReplicationGroupMemberAction{RegionName: aws.String(eu),
		ProvisionedThroughputOverride: &types.ProvisionedThroughputOverride{ReadCapacityUnits: aws.Int64(9)}}}}}); err != nil {
		t.Fatal(err)
	}
	w.until("both know", func() bool {
		a, b := w.describe(us), w.describe(eu)
		return a.BillingModeSummary == nil && *a.ProvisionedThroughput.ReadCapacityUnits == 3 && *b.ProvisionedThroughput.ReadCapacityUnits == 9 && *b.ProvisionedThroughput.WriteCapacityUnits == 4
	})
	if got := w.replica(us, eu).ProvisionedThroughputOverride; got == nil || aws.ToInt64(got.ReadCapacityUnits) != 9 {
		t.Errorf("%+v", got)
	}
	out, err := w.db[us].ListTagsOfResource(t.Context(), &dynamodb.ListTagsOfResourceInput{ResourceArn: arn(us)})
	if err != nil || len(out.Tags) != 1 || *out.Tags[0].Value != "us" {
		t.Errorf("%v, %v", out, err)
	}

	// Deleting the other replica leaves a table of one region, with its stream, which can be switched off then.
	if err := w.update(us, del(eu)); err != nil {
		t.Fatal(err)
	}
	w.until("eu is gone", func() bool {
		d := w.describe(us)
		return d.TableStatus == types.TableStatusActive && len(d.Replicas) == 0
	})
	if d := w.describe(us); d.GlobalTableVersion != nil || d.StreamSpecification == nil {
		t.Errorf("%+v", d)
	}
	if err := w.update(us, off); err != nil {
		t.Error(err)
	}
}

// TestGlobalTableOf2017: the calls of the first version, which see no tables but those that it made.
func TestGlobalTableOf2017(t *testing.T) {
	w := runWorld(t, config(t))
	const us, eu, ap = "us-east-1", "eu-central-1", "ap-south-1"
	w.makeTable(us)
	ctx, db, name := t.Context(), w.db[us], aws.String(tableName)
	group := func(regions ...string) *dynamodb.CreateGlobalTableInput {
		in := &dynamodb.CreateGlobalTableInput{GlobalTableName: name, ReplicationGroup: []types.Replica{}}
		for _, r := range regions {
			in.ReplicationGroup = append(in.ReplicationGroup, types.Replica{RegionName: aws.String(r)})
		}
		return in
	}
	_, err := db.DescribeGlobalTable(ctx, &dynamodb.DescribeGlobalTableInput{GlobalTableName: name})
	expectFailure(t, err, http.StatusBadRequest, "GlobalTableNotFoundException", "Global table with name: '"+tableName+"' does not exist.")
	_, err = db.CreateGlobalTable(ctx, &dynamodb.CreateGlobalTableInput{GlobalTableName: aws.String("nobody"), ReplicationGroup: group(us).ReplicationGroup})
	expectFailure(t, err, http.StatusBadRequest, "TableNotFoundException", "there is no table of that name in region: "+us)
	_, err = db.CreateGlobalTable(ctx, group(eu))
	expectFailure(t, err, http.StatusBadRequest, "ValidationException", "ReplicationGroup must have the region that is asked: "+us)

	w.until("it can be made", func() bool {
		out, err := db.CreateGlobalTable(ctx, group(us, eu))
		return err == nil && out.GlobalTableDescription.GlobalTableStatus == types.GlobalTableStatusCreating && len(out.GlobalTableDescription.ReplicationGroup) == 2
	})
	active := func(region string, replicas int) func() bool {
		return func() bool {
			out, err := w.db[region].DescribeGlobalTable(context.WithoutCancel(ctx), &dynamodb.DescribeGlobalTableInput{GlobalTableName: name})
			return err == nil && out.GlobalTableDescription.GlobalTableStatus == types.GlobalTableStatusActive && len(out.GlobalTableDescription.ReplicationGroup) == replicas
		}
	}
	w.until("it is active", active(eu, 2))
	w.put(us, "a", "1")
	w.until("items are replicated", func() bool { return w.get(eu, "a") == "1" })
	if d := w.describe(us); d.GlobalTableVersion != nil || len(d.Replicas) != 0 || d.StreamSpecification == nil {
		t.Errorf("DescribeTable tells of replicas as if it were of 2019: %+v", d)
	}
	_, err = db.CreateGlobalTable(ctx, group(us, ap))
	expectFailure(t, err, http.StatusBadRequest, "GlobalTableAlreadyExistsException", "already exists.")

	change := func(u types.ReplicaUpdate) error {
		_, err := db.UpdateGlobalTable(ctx, &dynamodb.UpdateGlobalTableInput{GlobalTableName: name, ReplicaUpdates: []types.ReplicaUpdate{u}})
		return err
	}
	expectFailure(t, change(types.ReplicaUpdate{Create: &types.CreateReplicaAction{RegionName: aws.String(eu)}}), http.StatusBadRequest, "ReplicaAlreadyExistsException", "'"+eu+"'")
	expectFailure(t, change(types.ReplicaUpdate{Delete: &types.DeleteReplicaAction{RegionName: aws.String(eu)}}), http.StatusBadRequest, "ValidationException",
		"Unsupported parameter: ReplicaUpdates.Delete")
	w.until("a third one can be made", func() bool {
		return change(types.ReplicaUpdate{Create: &types.CreateReplicaAction{RegionName: aws.String(ap)}}) == nil
	})
	w.until("it is active", active(ap, 3))

	settings, err := db.UpdateGlobalTableSettings(ctx, &dynamodb.UpdateGlobalTableSettingsInput{GlobalTableName: name, GlobalTableBillingMode: types.BillingModeProvisioned,
		GlobalTableProvisionedWriteCapacityUnits: aws.Int64(6), ReplicaSettingsUpdate: []types.ReplicaSettingsUpdate{
			{RegionName: aws.String(eu), ReplicaProvisionedReadCapacityUnits: aws.Int64(5), ReplicaTableClass: types.TableClassStandardInfrequentAccess}}})
	if err != nil || len(settings.ReplicaSettings) != 3 {
		t.Fatal(settings, err)
	}
	seen, err := db.DescribeGlobalTableSettings(ctx, &dynamodb.DescribeGlobalTableSettingsInput{GlobalTableName: name})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range seen.ReplicaSettings {
		if s.ReplicaBillingModeSummary.BillingMode != types.BillingModeProvisioned || *s.ReplicaProvisionedReadCapacityUnits != 5 || *s.ReplicaProvisionedWriteCapacityUnits != 6 ||
			(s.ReplicaTableClassSummary.TableClass == types.TableClassStandardInfrequentAccess) != (*s.RegionName == eu) {
			t.Errorf("%+v", s)
		}
	}
	_, err = db.UpdateGlobalTableSettings(ctx, &dynamodb.UpdateGlobalTableSettingsInput{GlobalTableName: name, ReplicaSettingsUpdate: []types.ReplicaSettingsUpdate{
		{RegionName: aws.String("nowhere"), ReplicaProvisionedReadCapacityUnits: aws.Int64(5)}}})
	expectFailure(t, err, http.StatusBadRequest, "ReplicaNotFoundException", "'nowhere'")

	list := func(in *dynamodb.ListGlobalTablesInput) int {
		out, err := db.ListGlobalTables(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return len(out.GlobalTables)
	}
	if all, there, nowhere := list(&dynamodb.ListGlobalTablesInput{}), list(&dynamodb.ListGlobalTablesInput{RegionName: aws.String(ap)}),
		list(&dynamodb.ListGlobalTablesInput{RegionName: aws.String("nowhere")}); all != 1 || there != 1 || nowhere != 0 {
		t.Errorf("%d, %d, %d", all, there, nowhere)
	}

	// A change of replicas by the calls of 2019 makes it one of theirs.
	if err := w.update(us, dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{Delete: &types.DeleteReplicationGroupMemberAction{RegionName: aws.String(ap)}}}}); err != nil {
		t.Fatal(err)
	}
	_, err = db.DescribeGlobalTable(ctx, &dynamodb.DescribeGlobalTableInput{GlobalTableName: name})
	expectFailure(t, err, http.StatusBadRequest, "GlobalTableNotFoundException")
	if d := w.describe(us); aws.ToString(d.GlobalTableVersion) != "2019.11.21" {
		t.Errorf("%+v", d)
	}
}
