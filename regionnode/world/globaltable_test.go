package world

import (
	"context"
	"net/http"
	"slices"
	"strconv"
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
	t.Parallel()
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

	// A replica begins without tags and protection. It needs no stream; one that is switched on is in each region its own.
	on := dynamodb.UpdateTableInput{StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}}
	w.until("a replica can be made", func() bool {
		return w.update(us, dynamodb.UpdateTableInput{MultiRegionConsistency: types.MultiRegionConsistencyEventual, ReplicaUpdates: []types.ReplicationGroupUpdate{{
			Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(eu), TableClassOverride: types.TableClassStandardInfrequentAccess}}}}) == nil
	})
	w.until("it is active", func() bool {
		out, err := w.db[eu].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
		return err == nil && out.Table.TableStatus == types.TableStatusActive && w.describe(us).TableStatus == types.TableStatusActive
	})
	for _, region := range []string{us, eu} {
		if d := w.describe(region); d.StreamSpecification != nil || d.LatestStreamArn != nil {
			t.Errorf("%s: %+v", region, d)
		}
	}
	if err := w.update(eu, on); err != nil {
		t.Fatal(err)
	}
	w.until("the stream is on", func() bool {
		return w.describe(us).StreamSpecification != nil && w.describe(eu).StreamSpecification != nil
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
	expectFailure(t, w.update(us, on), http.StatusBadRequest, "ValidationException", "Table already has an enabled stream: TableName: ")
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
		return a.BillingModeSummary.BillingMode == types.BillingModeProvisioned && *a.ProvisionedThroughput.ReadCapacityUnits == 3 && *b.ProvisionedThroughput.ReadCapacityUnits == 9 && *b.ProvisionedThroughput.WriteCapacityUnits == 4
	})
	if got := w.replica(us, eu).ProvisionedThroughputOverride; got == nil || aws.ToInt64(got.ReadCapacityUnits) != 9 {
		t.Errorf("%+v", got)
	}
	out, err := w.db[us].ListTagsOfResource(t.Context(), &dynamodb.ListTagsOfResourceInput{ResourceArn: arn(us)})
	if err != nil || len(out.Tags) != 1 || *out.Tags[0].Value != "us" {
		t.Errorf("%v, %v", out, err)
	}

	// Deleting the other replica leaves a table of one region, with its stream.
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
	t.Parallel()
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
	if d := w.describe(us); d.GlobalTableVersion != nil || len(d.Replicas) != 0 || d.StreamSpecification != nil {
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
		"Unsupported parameter: ReplicaUpdates.Delete is not offered by this version of Concordat: a replica of a global table of 2017 cannot leave it and become a table of its own: "+
			"copy the items that are to stay into another table, then UpdateTable with ReplicaUpdates.Delete removes the replica with its data")
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

// withIndexes is a table with two global indexes, under a billing mode; units are those of the table and of each index, nil for none.
func withIndexes(mode types.BillingMode, units *types.ProvisionedThroughput) *dynamodb.CreateTableInput {
	text := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	key := func(name string) []types.KeySchemaElement {
		return []types.KeySchemaElement{{AttributeName: aws.String(name), KeyType: types.KeyTypeHash}}
	}
	in := &dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: mode, ProvisionedThroughput: units, KeySchema: key("id"),
		AttributeDefinitions: []types.AttributeDefinition{text("id"), text("color"), text("size")}}
	for _, name := range []string{"color", "size"} {
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{IndexName: aws.String("by-" + name), KeySchema: key(name),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}, ProvisionedThroughput: units})
	}
	return in
}

func units(read, write int64) *types.ProvisionedThroughput {
	return &types.ProvisionedThroughput{ReadCapacityUnits: &read, WriteCapacityUnits: &write}
}

// onDemand and provisioned are overrides of an index.
func onDemand(name string, read int64) types.ReplicaGlobalSecondaryIndex {
	return types.ReplicaGlobalSecondaryIndex{IndexName: &name, OnDemandThroughputOverride: &types.OnDemandThroughputOverride{MaxReadRequestUnits: &read}}
}

func provisioned(name string, read int64) types.ReplicaGlobalSecondaryIndex {
	return types.ReplicaGlobalSecondaryIndex{IndexName: &name, ProvisionedThroughputOverride: &types.ProvisionedThroughputOverride{ReadCapacityUnits: &read}}
}

// override changes what a replica has for its indexes, asked for in a region.
func (r *running) override(in, of string, indexes ...types.ReplicaGlobalSecondaryIndex) error {
	return r.update(in, dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{
		Update: &types.UpdateReplicationGroupMemberAction{RegionName: &of, GlobalSecondaryIndexes: indexes}}}})
}

// overrides returns what a region says that the replica in another one has for its indexes: "index provisioned/on demand".
func (r *running) overrides(in, of string) (out []string) {
	for _, x := range r.replica(in, of).GlobalSecondaryIndexes {
		p, o := "-", "-"
		if x.ProvisionedThroughputOverride != nil {
			p = strconv.FormatInt(*x.ProvisionedThroughputOverride.ReadCapacityUnits, 10)
		}
		if x.OnDemandThroughputOverride != nil {
			o = strconv.FormatInt(*x.OnDemandThroughputOverride.MaxReadRequestUnits, 10)
		}
		out = append(out, *x.IndexName+" "+p+"/"+o)
	}
	return out
}

// reads returns what a region says that its own indexes have for reads: "index provisioned/on demand".
func (r *running) reads(region string) (out []string) {
	for _, x := range r.describe(region).GlobalSecondaryIndexes {
		o := "-"
		if x.OnDemandThroughput != nil {
			o = strconv.FormatInt(*x.OnDemandThroughput.MaxReadRequestUnits, 10)
		}
		out = append(out, *x.IndexName+" "+strconv.FormatInt(*x.ProvisionedThroughput.ReadCapacityUnits, 10)+"/"+o)
	}
	return out
}

// TestUnitsOfAReplicasIndexes: what one replica has for its indexes is shown by all, wherever it was asked for, until the billing mode changes or the index goes.
func TestUnitsOfAReplicasIndexes(t *testing.T) {
	t.Parallel()
	w := runWorld(t, config(t))
	const us, eu = "us-east-1", "eu-central-1"
	w.createTable(withIndexes(types.BillingModePayPerRequest, nil), us)
	create := dynamodb.UpdateTableInput{ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(eu),
		GlobalSecondaryIndexes: []types.ReplicaGlobalSecondaryIndex{onDemand("by-color", 50), {IndexName: aws.String("by-size")}}}}}}
	w.until("a replica can be made", func() bool { return w.update(us, create) == nil })
	w.until("it is active", func() bool {
		out, err := w.db[eu].DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)})
		return err == nil && out.Table.TableStatus == types.TableStatusActive && w.describe(us).TableStatus == types.TableStatusActive
	})
	expect := func(what string, got func() []string, want ...string) {
		t.Helper()
		w.until(what, func() bool { return slices.Equal(got(), want) })
	}
	other := func(in, of string) func() []string { return func() []string { return w.overrides(in, of) } }
	own := func(region string) func() []string { return func() []string { return w.reads(region) } }
	expect("us sees what eu has", other(us, eu), "by-color -/50", "by-size -/-")
	expect("eu sees what it has", own(eu), "by-color 0/50", "by-size 0/-")
	expect("us has none of it", own(us), "by-color 0/-", "by-size 0/-")

	// In the region that does not own the table, of the one that does.
	if err := w.override(eu, us, onDemand("by-size", 60)); err != nil {
		t.Fatal(err)
	}
	expect("eu sees what us has", other(eu, us), "by-color -/-", "by-size -/60")
	expect("us sees what it has", own(us), "by-color 0/-", "by-size 0/60")

	const wrong = "One or more parameter values were invalid: "
	expectFailure(t, w.override(us, eu, onDemand("by-nothing", 1)), http.StatusBadRequest, "ResourceNotFoundException", "Requested resource not found: Index: by-nothing of table: "+tableName+" not found")
	expectFailure(t, w.override(us, eu, provisioned("by-color", 1)), http.StatusBadRequest, "ValidationException",
		wrong+"Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: by-color when BillingMode is PAY_PER_REQUEST")
	expectFailure(t, w.override(us, eu, onDemand("by-color", 1), onDemand("by-color", 2)), http.StatusBadRequest, "ValidationException",
		wrong+"Only one global secondary index update per index is allowed simultaneously. Index: by-color")
	expectFailure(t, w.override(us, eu, onDemand("by-color", 0)), http.StatusBadRequest, "ValidationException",
		"Value '0' at 'replicaUpdates.1.member.update.globalSecondaryIndexes.1.member.onDemandThroughputOverride.maxReadRequestUnits' failed to satisfy constraint")

	// With the billing mode changes what can be overridden.
	change := dynamodb.UpdateTableInput{BillingMode: types.BillingModeProvisioned, ProvisionedThroughput: units(1, 2)}
	for _, name := range []string{"by-color", "by-size"} {
		change.GlobalSecondaryIndexUpdates = append(change.GlobalSecondaryIndexUpdates,
			types.GlobalSecondaryIndexUpdate{Update: &types.UpdateGlobalSecondaryIndexAction{IndexName: &name, ProvisionedThroughput: units(3, 4)}})
	}
	if err := w.update(us, change); err != nil {
		t.Fatal(err)
	}
	expect("no override is left", other(us, eu), "by-color -/-", "by-size -/-")
	if err := w.override(us, eu, provisioned("by-color", 9)); err != nil {
		t.Fatal(err)
	}
	expect("us sees what eu has now", other(us, eu), "by-color 9/-", "by-size -/-")
	expect("eu sees what it has now", own(eu), "by-color 9/-", "by-size 3/-")
	expectFailure(t, w.override(us, eu, onDemand("by-color", 1)), http.StatusBadRequest, "ValidationException",
		wrong+"OnDemandThroughput can only be specified for index: by-color when BillingMode is PAY_PER_REQUEST")

	// An index that is made again under its name is another one.
	if err := w.update(eu, dynamodb.UpdateTableInput{GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
		{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: aws.String("by-color")}}}}); err != nil {
		t.Fatal(err)
	}
	expect("it is gone", own(eu), "by-size 3/-")
	table := withIndexes(types.BillingModeProvisioned, units(5, 6))
	again := dynamodb.UpdateTableInput{AttributeDefinitions: table.AttributeDefinitions, GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
		{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: aws.String("by-color"), KeySchema: table.GlobalSecondaryIndexes[0].KeySchema,
			Projection: table.GlobalSecondaryIndexes[0].Projection, ProvisionedThroughput: units(5, 6)}}}}
	if err := w.update(eu, again); err != nil {
		t.Fatal(err)
	}
	expect("it is another one", own(eu), "by-size 3/-", "by-color 5/-")
	expect("us sees another one", other(us, eu), "by-size -/-", "by-color -/-")
}

// TestIndexSettingsOf2017: units of indexes, of one replica and of all, by the calls of the first version.
func TestIndexSettingsOf2017(t *testing.T) {
	t.Parallel()
	w := runWorld(t, config(t))
	const us, eu = "us-east-1", "eu-central-1"
	w.createTable(withIndexes(types.BillingModePayPerRequest, nil), us)
	ctx, name := t.Context(), aws.String(tableName)
	w.until("it can be made global", func() bool {
		_, err := w.db[us].CreateGlobalTable(ctx, &dynamodb.CreateGlobalTableInput{GlobalTableName: name, ReplicationGroup: []types.Replica{{RegionName: aws.String(us)}, {RegionName: aws.String(eu)}}})
		return err == nil
	})
	w.until("it is active", func() bool {
		out, err := w.db[eu].DescribeGlobalTable(ctx, &dynamodb.DescribeGlobalTableInput{GlobalTableName: name})
		return err == nil && out.GlobalTableDescription.GlobalTableStatus == types.GlobalTableStatusActive
	})
	write := func(index string, units int64) types.GlobalTableGlobalSecondaryIndexSettingsUpdate {
		return types.GlobalTableGlobalSecondaryIndexSettingsUpdate{IndexName: &index, ProvisionedWriteCapacityUnits: &units}
	}
	read := func(region string, table int64, indexes ...types.ReplicaGlobalSecondaryIndexSettingsUpdate) types.ReplicaSettingsUpdate {
		return types.ReplicaSettingsUpdate{RegionName: &region, ReplicaProvisionedReadCapacityUnits: &table, ReplicaGlobalSecondaryIndexSettingsUpdate: indexes}
	}
	index := func(index string, units int64) types.ReplicaGlobalSecondaryIndexSettingsUpdate {
		return types.ReplicaGlobalSecondaryIndexSettingsUpdate{IndexName: &index, ProvisionedReadCapacityUnits: &units}
	}
	update := func(in dynamodb.UpdateGlobalTableSettingsInput) error {
		in.GlobalTableName = name
		_, err := w.db[eu].UpdateGlobalTableSettings(ctx, &in)
		return err
	}
	const wrong, notAllowed = "One or more parameter values were invalid: ", " when BillingMode is PAY_PER_REQUEST"
	one := func(r types.ReplicaSettingsUpdate) dynamodb.UpdateGlobalTableSettingsInput {
		return dynamodb.UpdateGlobalTableSettingsInput{ReplicaSettingsUpdate: []types.ReplicaSettingsUpdate{r}}
	}
	writes := func(x ...types.GlobalTableGlobalSecondaryIndexSettingsUpdate) dynamodb.UpdateGlobalTableSettingsInput {
		return dynamodb.UpdateGlobalTableSettingsInput{GlobalTableGlobalSecondaryIndexSettingsUpdate: x}
	}
	bad := func(in dynamodb.UpdateGlobalTableSettingsInput, name, message string) {
		t.Helper()
		expectFailure(t, update(in), http.StatusBadRequest, name, message)
	}
	bad(one(read(us, 5)), "ValidationException", wrong+"Neither ReadCapacityUnits nor WriteCapacityUnits can be specified"+notAllowed)
	bad(writes(write("by-color", 5)), "ValidationException", wrong+"Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: by-color"+notAllowed)
	bad(writes(write("by-nothing", 5)), "IndexNotFoundException", "'by-nothing'")
	bad(writes(write("by-color", 5), write("by-color", 6)), "ValidationException", "Only one global secondary index update per index is allowed simultaneously. Index: by-color")
	bad(one(read(us, 5, index("by-nothing", 5))), "IndexNotFoundException", "'by-nothing'")
	bad(one(read(us, 5, index("by-color", 5), index("by-color", 6))), "ValidationException", "Only one global secondary index update per index is allowed simultaneously. Index: by-color")
	bad(one(read(us, 5, index("by-color", 0))), "ValidationException",
		"Value '0' at 'replicaSettingsUpdate.1.member.replicaGlobalSecondaryIndexSettingsUpdate.1.member.provisionedReadCapacityUnits' failed to satisfy constraint")
	bad(dynamodb.UpdateGlobalTableSettingsInput{ReplicaSettingsUpdate: []types.ReplicaSettingsUpdate{read(us, 5), read(us, 6)}}, "ValidationException", "Only one replica update can be made for a region at a time: "+us)

	// To provisioned: what the table and its indexes have for reads is what the first replica is to have.
	mode := dynamodb.UpdateGlobalTableSettingsInput{GlobalTableBillingMode: types.BillingModeProvisioned, GlobalTableProvisionedWriteCapacityUnits: aws.Int64(20),
		ReplicaSettingsUpdate: []types.ReplicaSettingsUpdate{read(us, 10, index("by-color", 11), index("by-size", 12))}}
	mode.GlobalTableGlobalSecondaryIndexSettingsUpdate = writes(write("by-color", 21)).GlobalTableGlobalSecondaryIndexSettingsUpdate
	bad(mode, "ValidationException", wrong+"ProvisionedThroughput must be specified for index: by-size")
	mode.GlobalTableGlobalSecondaryIndexSettingsUpdate = writes(write("by-color", 21), write("by-size", 22)).GlobalTableGlobalSecondaryIndexSettingsUpdate
	if err := update(mode); err != nil {
		t.Fatal(err)
	}
	more := one(read(eu, 15, index("by-size", 17)))
	more.GlobalTableGlobalSecondaryIndexSettingsUpdate = writes(write("by-color", 31)).GlobalTableGlobalSecondaryIndexSettingsUpdate
	if err := update(more); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{us: {"by-color 11/31", "by-size 12/22"}, eu: {"by-color 11/31", "by-size 17/22"}}
	for _, region := range []string{us, eu} {
		w.until(region+" shows the settings of both", func() bool {
			out, err := w.db[region].DescribeGlobalTableSettings(ctx, &dynamodb.DescribeGlobalTableSettingsInput{GlobalTableName: name})
			return err == nil && len(out.ReplicaSettings) == 2 && !slices.ContainsFunc(out.ReplicaSettings, func(s types.ReplicaSettingsDescription) bool {
				var got []string
				for _, x := range s.ReplicaGlobalSecondaryIndexSettings {
					got = append(got, *x.IndexName+" "+strconv.FormatInt(*x.ProvisionedReadCapacityUnits, 10)+"/"+strconv.FormatInt(*x.ProvisionedWriteCapacityUnits, 10))
					if own := *s.RegionName == region; own && x.IndexStatus != types.IndexStatusActive || !own && x.IndexStatus != "" {
						return true
					}
				}
				return !slices.Equal(got, want[*s.RegionName])
			})
		})
	}
	if got := w.reads(eu); !slices.Equal(got, []string{"by-color 11/-", "by-size 17/-"}) {
		t.Errorf("%v", got)
	}
	out, err := w.db[eu].DescribeGlobalTable(ctx, &dynamodb.DescribeGlobalTableInput{GlobalTableName: name})
	if err != nil || len(out.GlobalTableDescription.ReplicationGroup[0].GlobalSecondaryIndexes) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
}
