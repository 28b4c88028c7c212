package dynamodb

import (
	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// updateRequest has the parameters of UpdateTable.
type updateRequest struct {
	table       text
	replicas    []replicaUpdate // nil: not given
	consistency text
	definitions []pair        // nil: not given
	indexes     []indexUpdate // likewise
	guarded     *bool         // against disassociation; nil: not given
	tableSettings
}

func (r *updateRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TableName":
		return parseText(&r.table, v)
	case "ReplicaUpdates":
		return parseReplicaUpdates(&r.replicas, v, "ReplicationGroupUpdate")
	case "AttributeDefinitions":
		return parsePairs(&r.definitions, v, "AttributeName", "AttributeType", "AttributeDefinition")
	case "GlobalSecondaryIndexUpdates":
		return parseIndexUpdates(&r.indexes, v)
	case "MultiRegionConsistency":
		return parseText(&r.consistency, v)
	case "DisassociationProtectionEnabled":
		if !given(v) {
			return nil
		}
		r.guarded = new(bool)
		return parseBool(r.guarded, v)
	}
	return r.tableSettings.set(name, v)
}

func (c *call) updateTable(p *fastjson.Object) error {
	var r updateRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	change, err := r.check()
	if err != nil {
		return err
	}
	if err := c.mayChangeIndexes(r.table, &change, r.definitions); err != nil {
		return err
	}
	t, err := c.server.config.Control.UpdateTable(c.server.base, string(r.table), change)
	if err != nil {
		return err
	}
	made := ""
	if change.CreateIndex != nil {
		made = change.CreateIndex.Name
	}
	return c.describeAs("TableDescription", t, globaltable.Updating, made)
}

// check checks the parameters and returns the change that they ask for.
func (r *updateRequest) check() (change catalog.Change, err error) {
	var check constraints
	check.definitions(r.definitions)
	check.name(r.table, "tableName")
	r.tableSettings.check(&check)
	if r.replicas != nil {
		check.count(len(r.replicas), 1, globaltable.MaxReplicas, "replicaUpdates")
	}
	check.checkReplicas(r.replicas)
	check.indexUpdates(r.indexes)
	if err := check.err(); err != nil {
		return change, err
	}
	others := len(r.indexes) > 0 || r.consistency != nil || r.given()
	if r.replicas == nil && r.guarded == nil && !others {
		return change, invalid("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required")
	}
	switch {
	case r.guarded != nil && (r.replicas != nil || others):
		return change, invalid("One or more parameter values were invalid: DisassociationProtectionEnabled cannot be combined with any other change in the same request")
	case disassociates(r.replicas) && (len(r.replicas) > 1 || others):
		return change, invalid("One or more parameter values were invalid: Disassociate must be the only update in the request")
	}
	change.DisassociationProtection = r.guarded
	if err := r.change(&change); err != nil {
		return change, err
	}
	if err := changeIndexes(&change, r.indexes, r.definitions); err != nil {
		return change, err
	}
	if err := changeReplicas(&change, r.replicas); err != nil {
		return change, err
	}
	if r.consistency != nil && len(change.Create) == 0 {
		return change, invalid("One or more parameter values were invalid: MultiRegionConsistency can only be specified when a replica is created")
	}
	return change, nil
}
