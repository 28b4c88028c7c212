package dynamodb

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// replicaUpdate is one element of ReplicaUpdates, of UpdateTable and of UpdateGlobalTable.
type replicaUpdate struct {
	actions int    // how many were given
	action  string // Create, Update, Delete or Disassociate
	region  text
	class   text
	mode    text
	readOverride
	indexes []indexOverride // nil: not given
}

// readOverride is what a replica is to have for reads, of its table or of an index.
type readOverride struct{ provisioned, onDemand integer }

// indexOverride is a ReplicaGlobalSecondaryIndex, or a ReplicaGlobalSecondaryIndexSettingsUpdate.
type indexOverride struct {
	name text
	readOverride
}

func parseReplicaUpdates(dst *[]replicaUpdate, v *fastjson.Value, structure string) error {
	return parseStructures(dst, v, structure, func(u *replicaUpdate, o *fastjson.Object) error {
		return each(o, func(name []byte, v *fastjson.Value) error { return u.setAction(string(name), v) })
	})
}

const actionDisassociate = "Disassociate"

// disassociates reports whether one of the updates is that of a replica that leaves.
func disassociates(updates []replicaUpdate) bool {
	return slices.ContainsFunc(updates, func(u replicaUpdate) bool { return u.action == actionDisassociate })
}

func (u *replicaUpdate) setAction(action string, v *fastjson.Value) error {
	if action != "Create" && action != "Update" && action != "Delete" && action != actionDisassociate || !given(v) {
		return nil
	}
	u.actions++
	u.action = action
	var o *fastjson.Object
	if err := parseObject(&o, v, className(action+"ReplicationGroupMemberAction")); err != nil {
		return err
	}
	return each(o, u.set)
}

func (u *replicaUpdate) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "RegionName":
		return parseText(&u.region, v)
	case "TableClassOverride":
		return parseText(&u.class, v)
	case "DisassociationMode":
		return parseText(&u.mode, v)
	case "GlobalSecondaryIndexes":
		return parseStructures(&u.indexes, v, "ReplicaGlobalSecondaryIndex", func(x *indexOverride, o *fastjson.Object) error {
			return each(o, func(name []byte, v *fastjson.Value) error {
				if string(name) == "IndexName" {
					return parseText(&x.name, v)
				}
				return x.readOverride.set(name, v)
			})
		})
	}
	return u.readOverride.set(name, v)
}

func (r *readOverride) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "ProvisionedThroughputOverride":
		return parseOverride(&r.provisioned, v, "ProvisionedThroughputOverride", "ReadCapacityUnits")
	case "OnDemandThroughputOverride":
		return parseOverride(&r.onDemand, v, "OnDemandThroughputOverride", "MaxReadRequestUnits")
	}
	return nil
}

// units returns r as a replica declares it for the index of that name; the empty name is that of the table.
func (r *readOverride) units(index string) (globaltable.ReadUnits, error) {
	if _, err := (&throughput{read: r.provisioned}).declaredFor(index); err != nil {
		return globaltable.ReadUnits{}, err
	}
	return globaltable.ReadUnits{ReadCapacity: r.provisioned.value, OnDemandRead: min(r.onDemand.value, maxCapacityUnits)}, nil
}

// replicaOverride returns what a replica is to have instead of its table.
func replicaOverride(class text, read *readOverride, indexes []indexOverride) (o catalog.Override, err error) {
	o.Class = globaltable.TableClass(class)
	if o.ReadUnits, err = read.units(""); err != nil {
		return o, err
	}
	for i := range indexes {
		name := string(indexes[i].name)
		if _, twice := o.Indexes[name]; twice {
			return o, invalid(errIndexTwice + name)
		}
		if o.Indexes == nil {
			o.Indexes = make(map[string]globaltable.ReadUnits, len(indexes))
		}
		if o.Indexes[name], err = indexes[i].units(name); err != nil {
			return o, err
		}
	}
	return o, nil
}

// parseOverride reads a structure of one number.
func parseOverride(dst *integer, v *fastjson.Value, structure, member string) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className(structure)); err != nil || o == nil {
		return err
	}
	return parseInteger(dst, o.Get(member), "Long")
}

// checkReplicas checks constraints of single parameters.
func (c *constraints) checkReplicas(updates []replicaUpdate) {
	for i := range updates {
		u := &updates[i]
		if u.actions != 1 {
			continue
		}
		path := "replicaUpdates." + strconv.Itoa(i+1) + ".member." + strings.ToLower(u.action) + "."
		c.present(u.region != nil, path+"regionName")
		if u.action == actionDisassociate && c.present(u.mode != nil, path+"disassociationMode") {
			c.oneOf(u.mode, path+"disassociationMode", "WAIT_FOR_REPLICATION", "WAIT_FOR_REPLICATION")
		}
		c.oneOf(u.class, path+"tableClassOverride", "STANDARD, STANDARD_INFREQUENT_ACCESS", "STANDARD", "STANDARD_INFREQUENT_ACCESS")
		c.checkRead(&u.readOverride, path)
		if u.indexes != nil {
			c.count(len(u.indexes), 1, globaltable.MaxGlobalIndexes, path+"globalSecondaryIndexes")
		}
		for i := range u.indexes {
			path := path + "globalSecondaryIndexes." + strconv.Itoa(i+1) + ".member."
			c.name(u.indexes[i].name, path+"indexName")
			c.checkRead(&u.indexes[i].readOverride, path)
		}
	}
}

func (c *constraints) checkRead(r *readOverride, path string) {
	c.atLeast(r.provisioned, 1, path+"provisionedThroughputOverride.readCapacityUnits")
	c.atLeast(r.onDemand, 1, path+"onDemandThroughputOverride.maxReadRequestUnits")
}

const (
	errRegionTwice = "One or more parameter values were invalid: Only one replica update can be made for a region at a time: "
	errIndexTwice  = "One or more parameter values were invalid: Only one global secondary index update per index is allowed simultaneously. Index: "
)

// changeReplicas fills in the replicas to be made, changed and removed.
func changeReplicas(change *catalog.Change, updates []replicaUpdate) error {
	named := map[string]bool{}
	for i := range updates {
		u := &updates[i]
		region := string(u.region)
		switch {
		case u.actions != 1:
			return invalid("One or more parameter values were invalid: Each replica update must have exactly one of Create, Update, Delete and Disassociate")
		case named[region]:
			return invalid(errRegionTwice + region)
		case u.action == "Create":
			change.Create = append(change.Create, region)
		case u.action == "Delete":
			change.Delete = append(change.Delete, region)
		case u.action == actionDisassociate:
			change.Disassociate = &catalog.Disassociation{Region: region}
			continue
		}
		named[region] = true
		override, err := replicaOverride(u.class, &u.readOverride, u.indexes)
		switch {
		case err != nil:
			return err
		case u.action == "Update" && override.Empty():
			return invalid("One or more parameter values were invalid: The update of the replica in region " + region + " changes nothing")
		case u.action == "Delete" || override.Empty() && override.Indexes == nil:
			continue
		}
		if change.Overrides == nil {
			change.Overrides = map[string]catalog.Override{}
		}
		change.Overrides[region] = override
	}
	return nil
}

// others returns the replicas in other regions, which are what DynamoDB lists: a table in one region has none.
func (c *call) others(t *globaltable.Table) []*globaltable.Replica {
	var out []*globaltable.Replica
	for i := range t.Replicas {
		if r := &t.Replicas[i]; r.Origin != c.server.config.Origin {
			out = append(out, r)
		}
	}
	return out
}

// version2019 and version2017 are the versions of global tables.
const (
	version2019 = "2019.11.21"
	settingMode = `"GlobalTableSettingsReplicationMode":"ENABLED_WITH_OVERRIDES"`
)

// appendReplicas appends what a global table of 2019 has. One of 2017 shows that by the calls of 2017 alone.
func (c *call) appendReplicas(b []byte, t *globaltable.Table) []byte {
	others := c.others(t)
	if len(others) == 0 || t.Legacy {
		return b
	}
	b = append(b, `,"GlobalTableVersion":"`+version2019+`","MultiRegionConsistency":"EVENTUAL",`+settingMode+`,"DisassociationProtectionEnabled":`...)
	here := t.Replica(c.server.config.Origin)
	b = strconv.AppendBool(b, here == nil || !t.OwnOf(here).Disassociable)
	b = append(b, `,"Replicas":[`...)
	for i, r := range others {
		if i > 0 {
			b = append(b, ',')
		}
		own := t.OwnOf(r)
		b = c.appendReplica(b, t, r, own.Indexes)
		b = append(b[:len(b)-1], `,"ReplicaTableClassSummary":{"TableClass":`...)
		b = item.AppendJSONString(b, string(own.Class))
		b = append(b, '}')
		b = appendOverrides(b, own.ReadUnits)
		b = append(b, `,`+settingMode+`}`...)
	}
	return append(b, ']')
}

func appendOverrides(b []byte, units globaltable.ReadUnits) []byte {
	b = appendOverride(b, "ProvisionedThroughputOverride", "ReadCapacityUnits", units.ReadCapacity)
	return appendOverride(b, "OnDemandThroughputOverride", "MaxReadRequestUnits", units.OnDemandRead)
}

func appendOverride(b []byte, structure, member string, units int64) []byte {
	if units == 0 {
		return b
	}
	b = append(append(b, `,"`...), structure...)
	b = append(append(b, `":{"`...), member...)
	b = append(b, `":`...)
	b = strconv.AppendInt(b, units, 10)
	return append(b, '}')
}

// appendReplica appends what both versions of global tables tell of a replica. units are those of its indexes, where they are told.
func (c *call) appendReplica(b []byte, t *globaltable.Table, r *globaltable.Replica, units map[globaltable.IndexID]globaltable.ReadUnits) []byte {
	b = append(b, `{"RegionName":`...)
	b = item.AppendJSONString(b, r.Region)
	b = append(b, `,"ReplicaStatus":`...)
	b = item.AppendJSONString(b, replicaStatus(r))
	if r.StatusDescription != "" {
		b = append(b, `,"ReplicaStatusDescription":`...)
		b = item.AppendJSONString(b, r.StatusDescription)
	}
	if percent, ok := c.server.config.Control.ReplicaProgress(t.ID, r.Origin); ok {
		b = append(b, `,"ReplicaStatusPercentProgress":"`...)
		b = strconv.AppendInt(b, int64(percent), 10)
		b = append(b, '"')
	}
	if r.InaccessibleSince > 0 {
		b = append(b, `,"ReplicaInaccessibleDateTime":`...)
		b = appendSeconds(b, time.UnixMilli(r.InaccessibleSince))
	}
	b = appendReplicaIndexes(b, t, units)
	return append(b, '}')
}

// replicaStatus returns ReplicaStatus as DynamoDB's clients know it.
func replicaStatus(r *globaltable.Replica) string {
	if r.Status == globaltable.StatusFencing || r.Status == globaltable.StatusFenced {
		return "REGION_DISABLED"
	}
	return string(r.Status)
}
