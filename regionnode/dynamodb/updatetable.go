package dynamodb

import (
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// updateRequest has the parameters of UpdateTable.
type updateRequest struct {
	table      text
	replicas   []replicaUpdate // nil: not given
	billing    text
	class      text
	throughput *throughput
	protected  *bool // nil: not given
	refused    string
}

// replicaUpdate is one element of ReplicaUpdates.
type replicaUpdate struct {
	actions int // how many of Create, Update and Delete were given
	action  string
	region  text
}

func (r *updateRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "TableName":
		return parseText(&r.table, v)
	case "ReplicaUpdates":
		return r.setReplicas(v)
	case "BillingMode":
		return parseText(&r.billing, v)
	case "TableClass":
		return parseText(&r.class, v)
	case "ProvisionedThroughput":
		return parseThroughput(&r.throughput, v)
	case "DeletionProtectionEnabled":
		if !given(v) {
			return nil
		}
		r.protected = new(bool)
		return parseBool(r.protected, v)
	case "MultiRegionConsistency":
		var consistency text
		if err := parseText(&consistency, v); err != nil {
			return err
		}
		if consistency != nil && string(consistency) != "EVENTUAL" {
			r.refuse("MultiRegionConsistency " + string(consistency))
		}
	case "AttributeDefinitions", "GlobalSecondaryIndexUpdates", "StreamSpecification", "SSESpecification", "OnDemandThroughput", "WarmThroughput",
		"GlobalTableWitnessUpdates", "GlobalTableSettingsReplicationMode":
		if given(v) {
			r.refuse("UpdateTable with " + string(name))
		}
	}
	return nil
}

func (r *updateRequest) refuse(what string) {
	if r.refused == "" {
		r.refused = what
	}
}

func (r *updateRequest) setReplicas(v *fastjson.Value) error {
	var list []*fastjson.Value
	if err := parseList(&list, v); err != nil || list == nil {
		return err
	}
	r.replicas = make([]replicaUpdate, 0, len(list))
	for _, e := range list {
		var o *fastjson.Object
		if err := parseObject(&o, e, className("ReplicationGroupUpdate")); err != nil {
			return err
		}
		var u replicaUpdate
		if o != nil {
			if err := each(o, func(name []byte, v *fastjson.Value) error { return r.setReplica(&u, string(name), v) }); err != nil {
				return err
			}
		}
		r.replicas = append(r.replicas, u)
	}
	return nil
}

func (r *updateRequest) setReplica(u *replicaUpdate, action string, v *fastjson.Value) error {
	if action != "Create" && action != "Update" && action != "Delete" || !given(v) {
		return nil
	}
	u.actions++
	u.action = action
	var o *fastjson.Object
	if err := parseObject(&o, v, className(action+"ReplicationGroupMemberAction")); err != nil {
		return err
	}
	return each(o, func(name []byte, v *fastjson.Value) error {
		switch string(name) {
		case "RegionName":
			return parseText(&u.region, v)
		case "KMSMasterKeyId", "ProvisionedThroughputOverride", "OnDemandThroughputOverride", "GlobalSecondaryIndexes", "TableClassOverride":
			if given(v) {
				r.refuse("ReplicaUpdates with " + string(name))
			}
		}
		return nil
	})
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
	t, err := c.server.config.Control.UpdateTable(c.server.base, string(r.table), change)
	if err != nil {
		return err
	}
	return c.describe("TableDescription", t)
}

// check checks the parameters and returns the change that they ask for.
func (r *updateRequest) check() (change catalog.Change, err error) {
	var check constraints
	check.name(r.table, "tableName")
	check.billing(r.billing, r.class)
	r.throughput.check(&check)
	if r.replicas != nil {
		check.count(len(r.replicas), 1, globaltable.MaxReplicas, "replicaUpdates")
	}
	for i, u := range r.replicas {
		if u.actions == 1 {
			path := "replicaUpdates." + strconv.Itoa(i+1) + ".member." + strings.ToLower(u.action) + ".regionName"
			check.present(u.region != nil, path)
		}
	}
	if err := check.err(); err != nil {
		return change, err
	}
	if r.refused != "" {
		return change, notOffered(r.refused)
	}
	if r.replicas == nil && r.billing == nil && r.class == nil && r.throughput == nil && r.protected == nil {
		return change, invalid("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required")
	}
	if err := r.settings(&change); err != nil {
		return change, err
	}
	return change, r.members(&change)
}

// settings fills in what is no replica.
func (r *updateRequest) settings(change *catalog.Change) error {
	if r.billing != nil {
		mode := globaltable.BillingMode(r.billing)
		if mode == globaltable.PayPerRequest && r.throughput != nil {
			return invalid(errNoUnitsAllowed)
		}
		if mode == globaltable.Provisioned && r.throughput == nil {
			return invalid(errUnitsNeeded)
		}
		change.Billing = &mode
	}
	if r.throughput != nil {
		units, err := r.throughput.declared()
		if err != nil {
			return err
		}
		change.Throughput = &units
	}
	if r.class != nil {
		class := globaltable.TableClass(r.class)
		change.Class = &class
	}
	change.DeletionProtection = r.protected
	return nil
}

// members fills in the replicas to be made and removed.
func (r *updateRequest) members(change *catalog.Change) error {
	for _, u := range r.replicas {
		switch {
		case u.actions != 1:
			return invalid("One or more parameter values were invalid: Each replica update must have exactly one of Create, Update and Delete")
		case u.action == "Create":
			change.Create = append(change.Create, string(u.region))
		case u.action == "Delete":
			change.Delete = append(change.Delete, string(u.region))
		default:
			return notOffered("ReplicaUpdates with Update")
		}
	}
	return nil
}
