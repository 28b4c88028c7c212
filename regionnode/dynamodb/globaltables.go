package dynamodb

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// The operations of 2017 on global tables, version 2017.11.29. In DynamoDB they tie together tables that the client has made in each region, all of them empty; here a table's document says in which
// regions it is, so they work on the one table that has the name in this region, and its replicas are made. A table is one of that version if CreateGlobalTable made
// it one (Table.Legacy), and only to such tables do the other calls answer, as in DynamoDB.

// globalRequest has the parameters of all of them.
type globalRequest struct {
	name     text
	group    []text          // regions; nil: not given
	updates  []replicaUpdate // nil: not given
	after    text
	limit    integer
	region   text
	billing  text
	write    integer
	indexes  []indexWrite      // nil: not given
	replicas []replicaSettings // nil: not given
}

// indexWrite is a GlobalTableGlobalSecondaryIndexSettingsUpdate.
type indexWrite struct {
	name  text
	write integer
}

func (w *indexWrite) parse(o *fastjson.Object) error {
	if err := parseText(&w.name, o.Get("IndexName")); err != nil {
		return err
	}
	return parseInteger(&w.write, o.Get("ProvisionedWriteCapacityUnits"), "Long")
}

// replicaSettings is a ReplicaSettingsUpdate.
type replicaSettings struct {
	region, class text
	read          readOverride
	indexes       []indexOverride // nil: not given
}

func (r *globalRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "GlobalTableName":
		return parseText(&r.name, v)
	case "ReplicationGroup":
		return parseStructures(&r.group, v, "Replica", func(region *text, o *fastjson.Object) error { return parseText(region, o.Get("RegionName")) })
	case "ReplicaUpdates":
		return parseReplicaUpdates(&r.updates, v, "ReplicaUpdate")
	case "ExclusiveStartGlobalTableName":
		return parseText(&r.after, v)
	case "Limit":
		return parseInteger(&r.limit, v, "Integer")
	case "RegionName":
		return parseText(&r.region, v)
	case "GlobalTableBillingMode":
		return parseText(&r.billing, v)
	case "GlobalTableProvisionedWriteCapacityUnits":
		return parseInteger(&r.write, v, "Long")
	case "GlobalTableGlobalSecondaryIndexSettingsUpdate":
		return parseStructures(&r.indexes, v, "GlobalTableGlobalSecondaryIndexSettingsUpdate", (*indexWrite).parse)
	case "ReplicaSettingsUpdate":
		return parseStructures(&r.replicas, v, "ReplicaSettingsUpdate", (*replicaSettings).parse)
	}
	return nil
}

func (s *replicaSettings) parse(o *fastjson.Object) error {
	if err := parseText(&s.region, o.Get("RegionName")); err != nil {
		return err
	}
	if err := parseText(&s.class, o.Get("ReplicaTableClass")); err != nil {
		return err
	}
	if err := parseInteger(&s.read.provisioned, o.Get("ReplicaProvisionedReadCapacityUnits"), "Long"); err != nil {
		return err
	}
	return parseStructures(&s.indexes, o.Get("ReplicaGlobalSecondaryIndexSettingsUpdate"), "ReplicaGlobalSecondaryIndexSettingsUpdate", func(x *indexOverride, o *fastjson.Object) error {
		if err := parseText(&x.name, o.Get("IndexName")); err != nil {
			return err
		}
		return parseInteger(&x.provisioned, o.Get("ProvisionedReadCapacityUnits"), "Long")
	})
}

// parseGlobal reads the parameters and checks the name and what more demands.
func parseGlobal(p *fastjson.Object, more func(*globalRequest, *constraints)) (r globalRequest, err error) {
	if err := each(p, r.set); err != nil {
		return r, err
	}
	var check constraints
	check.name(r.name, "globalTableName")
	if more != nil {
		more(&r, &check)
	}
	return r, check.err()
}

func globalException(name, message string) *exception {
	return &exception{status: http.StatusBadRequest, name: prefixDynamoDB + name, message: message}
}

// legacy returns the global table of 2017 that has the name here.
func (c *call) legacy(name text) (*globaltable.Table, error) {
	t, err := c.server.config.Control.DescribeTable(string(name))
	if err != nil || !t.Legacy {
		return nil, globalException("GlobalTableNotFoundException", "Global table with name: '"+string(name)+"' does not exist.")
	}
	return t, nil
}

func (c *call) createGlobalTable(p *fastjson.Object) error {
	r, err := parseGlobal(p, func(r *globalRequest, check *constraints) {
		if check.present(r.group != nil, "replicationGroup") {
			for i, region := range r.group {
				check.present(region != nil, "replicationGroup."+strconv.Itoa(i+1)+".member.regionName")
			}
		}
	})
	if err != nil {
		return err
	}
	name := string(r.name)
	t, ok := c.server.config.View().Lookup(name)
	if !ok {
		return globalException("TableNotFoundException", "Failed to create the global table with name: '"+name+"' because there is no table of that name in region: "+c.server.config.Region)
	}
	if t.Legacy || len(c.others(t)) > 0 {
		return globalException("GlobalTableAlreadyExistsException", "Global table with name: '"+name+"' already exists.")
	}
	change, here := catalog.Change{Legacy: true}, false
	for _, region := range r.group {
		if string(region) == c.server.config.Region {
			here = true
			continue
		}
		change.Create = append(change.Create, string(region))
	}
	if !here {
		return invalid("One or more parameter values were invalid: ReplicationGroup must have the region that is asked: " + c.server.config.Region)
	}
	if t, err = c.server.config.Control.UpdateTable(c.server.base, name, change); err != nil {
		return err
	}
	c.appendGlobalTable(t, globaltable.Creating)
	return nil
}

func (c *call) updateGlobalTable(p *fastjson.Object) error {
	r, err := parseGlobal(p, func(r *globalRequest, check *constraints) {
		if check.present(r.updates != nil, "replicaUpdates") {
			check.checkReplicas(r.updates)
		}
	})
	if err != nil {
		return err
	}
	t, err := c.legacy(r.name)
	if err != nil {
		return err
	}
	change := catalog.Change{Legacy: true}
	if err := changeReplicas(&change, r.updates); err != nil {
		return err
	}
	for _, region := range change.Create {
		if t.ReplicaNamed(region) != nil {
			return globalException("ReplicaAlreadyExistsException", "Global table with name: '"+t.Name+"' already has a replica in region: '"+region+"'.")
		}
	}
	if len(change.Create) > 0 {
		if t, err = c.server.config.Control.UpdateTable(c.server.base, t.Name, change); err != nil {
			return err
		}
	}
	c.appendGlobalTable(t, globaltable.Updating)
	return nil
}

func (c *call) describeGlobalTable(p *fastjson.Object) error {
	r, err := parseGlobal(p, nil)
	if err != nil {
		return err
	}
	t, err := c.legacy(r.name)
	if err != nil {
		return err
	}
	status := globaltable.Active
	if !t.Settled() {
		status = globaltable.Updating
	}
	c.appendGlobalTable(t, status)
	return nil
}

// appendGlobalTable appends a GlobalTableDescription. Unlike DescribeTable it lists this region's replica too.
func (c *call) appendGlobalTable(t *globaltable.Table, status globaltable.Status) {
	begun := t.CreatedAt
	for i := range t.Replicas {
		if at := t.Replicas[i].CreatedAt; at > 0 && (begun == t.CreatedAt || at < begun) {
			begun = at
		}
	}
	b := append(c.out, `{"GlobalTableDescription":{"GlobalTableName":`...)
	b = item.AppendJSONString(b, t.Name)
	b = append(b, `,"GlobalTableArn":"arn:aws:dynamodb::`+account+`:global-table/`...)
	b = append(b, t.Name...)
	b = append(b, `","GlobalTableStatus":`...)
	b = item.AppendJSONString(b, string(status))
	b = append(b, `,"CreationDateTime":`...)
	b = appendSeconds(b, time.UnixMilli(begun))
	b = append(b, `,"ReplicationGroup":[`...)
	for i := range t.Replicas {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.appendReplica(b, t, &t.Replicas[i], nil)
	}
	c.out = append(b, "]}}"...)
}

func (c *call) listGlobalTables(p *fastjson.Object) error {
	var r globalRequest
	if err := each(p, r.set); err != nil {
		return err
	}
	var check constraints
	if r.after != nil {
		check.name(r.after, "exclusiveStartGlobalTableName")
	}
	check.atLeast(r.limit, 1, "limit")
	if err := check.err(); err != nil {
		return err
	}
	limit := 100
	if r.limit.given {
		limit = int(min(r.limit.value, 100))
	}
	last, n := "", 0
	c.out = append(c.out, `{"GlobalTables":[`...)
	view := c.server.config.View()
	for after, more := string(r.after), true; more; {
		var names []string
		names, more = view.Names(after, 100)
		more = more && len(names) > 0
		for _, name := range names {
			after = name
			t, ok := view.Lookup(name)
			if !ok || !t.Legacy || r.region != nil && t.ReplicaNamed(string(r.region)) == nil {
				continue
			}
			if n == limit {
				c.out = append(c.out, `],"LastEvaluatedGlobalTableName":`...)
				c.out = append(item.AppendJSONString(c.out, last), '}')
				return nil
			}
			if n++; n > 1 {
				c.out = append(c.out, ',')
			}
			c.appendGlobalName(t)
			last = name
		}
	}
	c.out = append(c.out, "]}"...)
	return nil
}

func (c *call) appendGlobalName(t *globaltable.Table) {
	b := append(c.out, `{"GlobalTableName":`...)
	b = item.AppendJSONString(b, t.Name)
	b = append(b, `,"ReplicationGroup":[`...)
	for i := range t.Replicas {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"RegionName":`...)
		b = append(item.AppendJSONString(b, t.Replicas[i].Region), '}')
	}
	c.out = append(b, "]}"...)
}

func (c *call) describeGlobalTableSettings(p *fastjson.Object) error {
	r, err := parseGlobal(p, nil)
	if err != nil {
		return err
	}
	t, err := c.legacy(r.name)
	if err != nil {
		return err
	}
	c.appendGlobalSettings(t)
	return nil
}

// checkSettings checks constraints of single parameters of UpdateGlobalTableSettings.
func (r *globalRequest) checkSettings(check *constraints) {
	check.oneOf(r.billing, "globalTableBillingMode", "PROVISIONED, PAY_PER_REQUEST", "PROVISIONED", "PAY_PER_REQUEST")
	check.atLeast(r.write, 1, "globalTableProvisionedWriteCapacityUnits")
	if r.indexes != nil {
		check.count(len(r.indexes), 1, globaltable.MaxGlobalIndexes, "globalTableGlobalSecondaryIndexSettingsUpdate")
	}
	for i, x := range r.indexes {
		path := "globalTableGlobalSecondaryIndexSettingsUpdate." + strconv.Itoa(i+1) + ".member."
		check.name(x.name, path+"indexName")
		check.atLeast(x.write, 1, path+"provisionedWriteCapacityUnits")
	}
	if r.replicas != nil {
		check.count(len(r.replicas), 1, 50, "replicaSettingsUpdate")
	}
	for i, s := range r.replicas {
		path := "replicaSettingsUpdate." + strconv.Itoa(i+1) + ".member."
		check.present(s.region != nil, path+"regionName")
		check.atLeast(s.read.provisioned, 1, path+"replicaProvisionedReadCapacityUnits")
		check.oneOf(s.class, path+"replicaTableClass", "STANDARD, STANDARD_INFREQUENT_ACCESS", "STANDARD", "STANDARD_INFREQUENT_ACCESS")
		path += "replicaGlobalSecondaryIndexSettingsUpdate"
		if s.indexes != nil {
			check.count(len(s.indexes), 1, globaltable.MaxGlobalIndexes, path)
		}
		for i, x := range s.indexes {
			path := path + "." + strconv.Itoa(i+1) + ".member."
			check.name(x.name, path+"indexName")
			check.atLeast(x.provisioned, 1, path+"provisionedReadCapacityUnits")
		}
	}
}

func (c *call) updateGlobalTableSettings(p *fastjson.Object) error {
	r, err := parseGlobal(p, (*globalRequest).checkSettings)
	if err != nil {
		return err
	}
	t, err := c.legacy(r.name)
	if err != nil {
		return err
	}
	change, err := r.settings(t)
	if err != nil {
		return err
	}
	if t, err = c.server.config.Control.UpdateTable(c.server.base, t.Name, change); err != nil {
		return err
	}
	c.appendGlobalSettings(t)
	return nil
}

// settings returns the change that UpdateGlobalTableSettings asks for.
func (r *globalRequest) settings(t *globaltable.Table) (catalog.Change, error) {
	change := catalog.Change{Legacy: true, Overrides: map[string]catalog.Override{}}
	read := t.Throughput.Read
	for _, s := range r.replicas {
		region := string(s.region)
		if t.ReplicaNamed(region) == nil {
			return change, globalException("ReplicaNotFoundException", "Global table with name: '"+t.Name+"' has no replica in region: '"+region+"'.")
		}
		if _, twice := change.Overrides[region]; twice {
			return change, invalid(errRegionTwice + region)
		}
		override, err := replicaOverride(s.class, &s.read, s.indexes)
		if err != nil {
			return change, err
		}
		for _, x := range s.indexes {
			if err := mayOverride(t, string(x.name)); err != nil {
				return change, err
			}
		}
		change.Overrides[region] = override
		read = cmp.Or(read, override.ReadCapacity)
	}
	mode := t.Billing
	if r.billing != nil {
		mode = globaltable.BillingMode(r.billing)
		change.Billing = &mode
	}
	if err := r.indexWrites(t, mode, &change); err != nil {
		return change, err
	}
	switch {
	case mode == globaltable.PayPerRequest && r.write.given:
		return change, invalid(errNoUnitsAllowed)
	case mode == globaltable.PayPerRequest || !r.write.given && t.Billing == mode:
		return change, nil
	case !r.write.given || read == 0:
		return change, invalid(errUnitsNeeded)
	}
	units, err := (&throughput{read: integer{read, true}, write: r.write}).declared()
	if change.Billing = &mode; err == nil {
		change.Throughput = &units
	}
	return change, err
}

// mayOverride demands a global index, as this region knows the table; the owner checks again.
func mayOverride(t *globaltable.Table, name string) error {
	if x := t.IndexNamed(name); x == nil || x.Local {
		return globalException("IndexNotFoundException", "Global table with name: '"+t.Name+"' has no global secondary index with name: '"+name+"'.")
	}
	return nil
}

// indexWrites fills in what indexes are to have for writes. An index that has nothing for reads yet, because its table was on demand, gets what the replicas are to have, as its table does.
func (r *globalRequest) indexWrites(t *globaltable.Table, mode globaltable.BillingMode, change *catalog.Change) error {
	change.IndexUnits = map[string]catalog.IndexUnits{}
	for _, w := range r.indexes {
		if _, twice := change.IndexUnits[string(w.name)]; twice {
			return invalid(errIndexTwice + string(w.name))
		}
		change.IndexUnits[string(w.name)] = catalog.IndexUnits{}
	}
	for _, w := range r.indexes {
		name := string(w.name)
		if err := mayOverride(t, name); err != nil {
			return err
		}
		if !w.write.given {
			continue
		}
		units := throughput{read: integer{value: t.IndexNamed(name).Throughput.Read}, write: w.write}
		for _, s := range r.replicas {
			units.read.value = cmp.Or(units.read.value, change.Overrides[string(s.region)].Indexes[name].ReadCapacity)
		}
		switch {
		case mode == globaltable.PayPerRequest:
			return invalid("One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: " + name + " when BillingMode is PAY_PER_REQUEST")
		case units.read.value == 0:
			return invalid("One or more parameter values were invalid: ProvisionedThroughput must be specified for index: " + name)
		}
		declared, err := units.declaredFor(name)
		if err != nil {
			return err
		}
		change.IndexUnits[name] = catalog.IndexUnits{Throughput: &declared}
	}
	return nil
}

// appendGlobalSettings appends the settings of each replica.
func (c *call) appendGlobalSettings(t *globaltable.Table) {
	b := append(c.out, `{"GlobalTableName":`...)
	b = item.AppendJSONString(b, t.Name)
	b = append(b, `,"ReplicaSettings":[`...)
	for i := range t.Replicas {
		r := &t.Replicas[i]
		own := t.OwnOf(r)
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"RegionName":`...)
		b = item.AppendJSONString(b, r.Region)
		b = append(b, `,"ReplicaStatus":`...)
		b = item.AppendJSONString(b, replicaStatus(r))
		b = append(b, `,"ReplicaBillingModeSummary":{"BillingMode":`...)
		b = item.AppendJSONString(b, string(t.Billing))
		b = append(b, `},"ReplicaProvisionedReadCapacityUnits":`...)
		declared, _ := own.Over(t.Throughput, t.OnDemandMax, t.Billing)
		b = strconv.AppendInt(b, declared.Read, 10)
		b = append(b, `,"ReplicaProvisionedWriteCapacityUnits":`...)
		b = strconv.AppendInt(b, declared.Write, 10)
		b = c.appendIndexSettings(b, t, r, own)
		b = append(b, `,"ReplicaTableClassSummary":{"TableClass":`...)
		b = item.AppendJSONString(b, string(own.Class))
		b = append(b, "}}"...)
	}
	c.out = append(b, "]}"...)
}

// appendIndexSettings appends the settings of the global indexes in one replica. Whether an index is complete only its own region knows.
func (c *call) appendIndexSettings(b []byte, t *globaltable.Table, r *globaltable.Replica, own globaltable.Own) []byte {
	n := 0
	for i := range t.Indexes {
		x := &t.Indexes[i]
		if x.Local {
			continue
		}
		if n++; n == 1 {
			b = append(b, `,"ReplicaGlobalSecondaryIndexSettings":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(b, `{"IndexName":`...)
		b = item.AppendJSONString(b, x.Name)
		if r.Origin == c.server.config.Origin {
			status, ok := c.server.config.Shard.Index(t.ID, x.ID)
			b = append(append(append(b, `,"IndexStatus":"`...), c.indexStatus(t, status, ok)...), '"')
		}
		declared, _ := own.Indexes[x.ID].Over(x.Throughput, x.OnDemandMax, t.Billing)
		b = append(b, `,"ProvisionedReadCapacityUnits":`...)
		b = strconv.AppendInt(b, declared.Read, 10)
		b = append(b, `,"ProvisionedWriteCapacityUnits":`...)
		b = strconv.AppendInt(b, declared.Write, 10)
		b = append(b, '}')
	}
	if n > 0 {
		b = append(b, ']')
	}
	return b
}
