package dynamodb

import (
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// indexRequest has the parameters of an index: of one in GlobalSecondaryIndexes or LocalSecondaryIndexes, or of an action of GlobalSecondaryIndexUpdates.
type indexRequest struct {
	name       text
	keys       []pair // name and key type; nil: not given
	projection *projection
	throughput *throughput
	onDemand   *units
	warm       *units
}

// projection is a Projection.
type projection struct {
	kind   text
	nonKey []text // nil: not given
}

// maxNonKeys is how many attributes one index may name.
const maxNonKeys = 20

func (r *indexRequest) set(name []byte, v *fastjson.Value) error {
	switch string(name) {
	case "IndexName":
		return parseText(&r.name, v)
	case "KeySchema":
		return parsePairs(&r.keys, v, "AttributeName", "KeyType", "KeySchemaElement")
	case "Projection":
		return parseProjection(&r.projection, v)
	case "ProvisionedThroughput":
		return parseThroughput(&r.throughput, v)
	case "OnDemandThroughput":
		return parseUnits(&r.onDemand, v, "OnDemandThroughput", "MaxReadRequestUnits", "MaxWriteRequestUnits")
	case "WarmThroughput":
		return parseUnits(&r.warm, v, "WarmThroughput", "ReadUnitsPerSecond", "WriteUnitsPerSecond")
	}
	return nil
}

func parseProjection(dst **projection, v *fastjson.Value) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className("Projection")); err != nil || o == nil {
		return err
	}
	p := &projection{}
	*dst = p
	if err := parseText(&p.kind, o.Get("ProjectionType")); err != nil {
		return err
	}
	var list []*fastjson.Value
	if err := parseList(&list, o.Get("NonKeyAttributes")); err != nil || list == nil {
		return err
	}
	p.nonKey = make([]text, len(list))
	for i, e := range list {
		if err := parseText(&p.nonKey[i], e); err != nil {
			return err
		}
	}
	return nil
}

// parseIndexes reads a list of indexes.
func parseIndexes(dst *[]indexRequest, v *fastjson.Value, structure string) error {
	var list []*fastjson.Value
	if err := parseList(&list, v); err != nil || list == nil {
		return err
	}
	*dst = make([]indexRequest, len(list))
	for i, e := range list {
		if err := parseIndex(&(*dst)[i], e, structure); err != nil {
			return err
		}
	}
	return nil
}

func parseIndex(dst *indexRequest, v *fastjson.Value, structure string) error {
	var o *fastjson.Object
	if err := parseObject(&o, v, className(structure)); err != nil || o == nil {
		return err
	}
	return each(o, dst.set)
}

// checkIndexes checks constraints of single parameters of a list of indexes, of which each key has at most so many attributes.
func (c *constraints) checkIndexes(list []indexRequest, path string, attributes int) {
	for i := range list {
		c.checkIndex(&list[i], path+"."+strconv.Itoa(i+1)+".member.", attributes)
	}
}

func (c *constraints) checkIndex(r *indexRequest, path string, attributes int) {
	if c.present(r.projection != nil, path+"projection") {
		c.oneOf(r.projection.kind, path+"projection.projectionType", "ALL, INCLUDE, KEYS_ONLY", "ALL", "INCLUDE", "KEYS_ONLY")
		if r.projection.nonKey != nil {
			c.count(len(r.projection.nonKey), 1, maxNonKeys, path+"projection.nonKeyAttributes")
			for i, name := range r.projection.nonKey {
				c.attributeName(name, path+"projection.nonKeyAttributes."+strconv.Itoa(i+1)+".member")
			}
		}
	}
	c.name(r.name, path+"indexName")
	r.throughput.checkAt(c, path)
	r.onDemand.check(c, -1, path+"onDemandThroughput.maxReadRequestUnits", path+"onDemandThroughput.maxWriteRequestUnits")
	r.warm.check(c, 1, path+"warmThroughput.readUnitsPerSecond", path+"warmThroughput.writeUnitsPerSecond")
	if c.present(r.keys != nil, path+"keySchema") {
		c.keySchema(r.keys, path+"keySchema", attributes)
	}
}

// keySchema checks a key schema of 1 to so many attributes.
func (c *constraints) keySchema(keys []pair, path string, attributes int) {
	c.count(len(keys), 1, attributes, path)
	for i, k := range keys {
		path := path + "." + strconv.Itoa(i+1) + ".member."
		c.attributeName(k.first, path+"attributeName")
		if c.present(k.second != nil, path+"keyType") {
			c.oneOf(k.second, path+"keyType", "HASH, RANGE", "HASH", "RANGE")
		}
	}
}

// definitions are AttributeDefinitions.
type definitions struct {
	names []string // in the order given
	types map[string]item.Type
	used  []string // by keys, in the order of their first use
}

func defined(list []pair) (*definitions, error) {
	d := &definitions{types: make(map[string]item.Type, len(list))}
	for _, p := range list {
		name := string(p.first)
		if _, ok := d.types[name]; ok {
			return nil, invalid("Cannot have two attributes with the same name")
		}
		d.types[name], _ = item.ParseType(string(p.second))
		d.names = append(d.names, name)
	}
	return d, nil
}

// key resolves a key schema whose constraints were checked.
func (d *definitions) key(keys []pair) (partition, sort []globaltable.KeyAttribute, err error) {
	var names []string
	for i, k := range keys {
		name := string(k.first)
		switch hash := string(k.second) == "HASH"; {
		case i == 0 && !hash:
			return nil, nil, invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
		case hash && len(sort) > 0:
			return nil, nil, invalid("Invalid KeySchema: All HASH key attributes must precede RANGE key attributes in the KeySchema")
		case hash:
			partition = append(partition, globaltable.KeyAttribute{Name: name, Type: d.types[name]})
		default:
			sort = append(sort, globaltable.KeyAttribute{Name: name, Type: d.types[name]})
		}
		names = append(names, name)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, nil, invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
	}
	for _, name := range names {
		if d.types[name] == 0 {
			return nil, nil, invalidf("One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]",
				strings.Join(names, ", "), strings.Join(d.names, ", "))
		}
		if !slices.Contains(d.used, name) {
			d.used = append(d.used, name)
		}
	}
	return partition, sort, nil
}

// simpleKey is key for keys of one attribute for each part.
func (d *definitions) simpleKey(keys []pair) (partition globaltable.KeyAttribute, sort *globaltable.KeyAttribute, err error) {
	if len(keys) == 2 && string(keys[0].second) == "HASH" && string(keys[1].second) != "RANGE" {
		return partition, nil, invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
	}
	p, s, err := d.key(keys)
	if err != nil {
		return partition, nil, err
	}
	if len(s) > 0 {
		sort = &s[0]
	}
	return p[0], sort, nil
}

// allUsed demands that each attribute that is defined is in a key.
func (d *definitions) allUsed(indexes bool) error {
	switch {
	case len(d.used) == len(d.names):
		return nil
	case !indexes:
		return invalid("One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	return invalidf("One or more parameter values were invalid: Some AttributeDefinitions are not used. AttributeDefinitions: [%s], keys used: [%s]",
		strings.Join(d.names, ", "), strings.Join(d.used, ", "))
}

// localIndexes fills in the local indexes of a new table.
func (d *definitions) localIndexes(list []indexRequest, spec *catalog.Spec) error {
	switch {
	case list == nil:
		return nil
	case len(list) == 0:
		return invalid("One or more parameter values were invalid: List of LocalSecondaryIndexes is empty")
	case spec.KeySchema.Sort == nil:
		return invalid("One or more parameter values were invalid: Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex")
	}
	for i := range list {
		r := &list[i]
		partition, sort, err := d.simpleKey(r.keys)
		switch {
		case err != nil:
			return err
		case sort == nil:
			return invalid("One or more parameter values were invalid: Index KeySchema does not have a range key for index: " + string(r.name))
		case partition.Name != spec.KeySchema.Partition.Name:
			return invalidf("One or more parameter values were invalid: Index KeySchema does not have the same leading hash key as table KeySchema for index: %s. index hash key: %s, table hash key: %s",
				r.name, partition.Name, spec.KeySchema.Partition.Name)
		}
		x := globaltable.Index{Name: string(r.name), Local: true, Partition: []globaltable.KeyAttribute{partition}, Sort: []globaltable.KeyAttribute{*sort}}
		if err := r.project(&x); err != nil {
			return err
		}
		if err := addIndex(spec, &x); err != nil {
			return err
		}
	}
	if len(list) > globaltable.MaxLocalIndexes {
		return invalidf("One or more parameter values were invalid: Number of LocalSecondaryIndexes exceeds per-table limit of %d", globaltable.MaxLocalIndexes)
	}
	return nil
}

// globalIndexes fills in the global indexes of a new table.
func (d *definitions) globalIndexes(list []indexRequest, spec *catalog.Spec) error {
	switch {
	case list == nil:
		return nil
	case len(list) == 0:
		return invalid("One or more parameter values were invalid: List of GlobalSecondaryIndexes is empty")
	}
	for i := range list {
		x, err := d.globalIndex(&list[i])
		if err != nil {
			return err
		}
		if err := list[i].bill(x, spec.Billing); err != nil {
			return err
		}
		if err := addIndex(spec, x); err != nil {
			return err
		}
	}
	if len(list) > globaltable.MaxGlobalIndexes {
		return invalidf("One or more parameter values were invalid: GlobalSecondaryIndex count exceeds the per-table limit of %d", globaltable.MaxGlobalIndexes)
	}
	return nil
}

// globalIndex returns a global index without its throughput.
func (d *definitions) globalIndex(r *indexRequest) (*globaltable.Index, error) {
	partition, sort, err := d.key(r.keys)
	switch {
	case err != nil:
		return nil, err
	case len(partition) > globaltable.MaxIndexKeyParts:
		return nil, invalid("Invalid KeySchema: The KeySchema exceeds the maximum allowed number of HASH key attributes")
	case len(sort) > globaltable.MaxIndexKeyParts:
		return nil, invalid("Invalid KeySchema: The KeySchema exceeds the maximum allowed number of RANGE key attributes")
	}
	x := &globaltable.Index{Name: string(r.name), Partition: partition, Sort: sort}
	return x, r.project(x)
}

// addIndex adds x to a new table.
func addIndex(spec *catalog.Spec, x *globaltable.Index) error {
	nonKeys := len(x.NonKey)
	for i := range spec.Indexes {
		if spec.Indexes[i].Name == x.Name {
			return invalid("One or more parameter values were invalid: Duplicate index name: " + x.Name)
		}
		nonKeys += len(spec.Indexes[i].NonKey)
	}
	if nonKeys > globaltable.MaxProjectedNonKeys {
		return invalidf("One or more parameter values were invalid: Number of NonKeyAttributes of all indexes exceeds the per-table limit of %d", globaltable.MaxProjectedNonKeys)
	}
	spec.Indexes = append(spec.Indexes, *x)
	return nil
}

// project fills in what the index shows.
func (r *indexRequest) project(x *globaltable.Index) error {
	const wrong = "One or more parameter values were invalid: "
	p := r.projection
	switch {
	case p.kind == nil:
		return invalid(wrong + "Unknown ProjectionType: null")
	case string(p.kind) == string(globaltable.ProjectInclude) && p.nonKey == nil:
		return invalid(wrong + "ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
	case string(p.kind) != string(globaltable.ProjectInclude) && p.nonKey != nil:
		return invalid(wrong + "ProjectionType is " + string(p.kind) + ", but NonKeyAttributes is specified")
	}
	x.Projection = globaltable.Projection(p.kind)
	for _, name := range p.nonKey {
		if slices.Contains(x.NonKey, string(name)) {
			return invalid(wrong + "Duplicate attribute in NonKeyAttributes: " + string(name))
		}
		x.NonKey = append(x.NonKey, string(name))
	}
	return nil
}

// bill fills in what the index declares; mode is that of its table, empty if the table has it and is not known here.
func (r *indexRequest) bill(x *globaltable.Index, mode globaltable.BillingMode) (err error) {
	switch {
	case mode == globaltable.PayPerRequest && r.throughput != nil:
		return invalid("One or more parameter values were invalid: ProvisionedThroughput should not be specified for index: " + x.Name + " when BillingMode is PAY_PER_REQUEST")
	case mode == globaltable.Provisioned && r.throughput == nil:
		return invalid("One or more parameter values were invalid: ProvisionedThroughput is not specified for index: " + x.Name)
	}
	if r.throughput != nil {
		if x.Throughput, err = r.throughput.declaredFor(x.Name); err != nil {
			return err
		}
	}
	if x.OnDemandMax, err = r.onDemand.throughput(); err != nil {
		return err
	}
	x.Warm, err = r.warm.throughput()
	return err
}

// indexUpdate is one element of GlobalSecondaryIndexUpdates.
type indexUpdate struct {
	actions int // how many of Create, Update and Delete were given
	action  string
	index   indexRequest
}

func parseIndexUpdates(dst *[]indexUpdate, v *fastjson.Value) error {
	return parseStructures(dst, v, "GlobalSecondaryIndexUpdate", func(u *indexUpdate, o *fastjson.Object) error {
		return each(o, func(name []byte, v *fastjson.Value) error {
			action := string(name)
			if action != "Create" && action != "Update" && action != "Delete" || !given(v) {
				return nil
			}
			u.actions++
			u.action = action
			return parseIndex(&u.index, v, action+"GlobalSecondaryIndexAction")
		})
	})
}

// indexUpdates checks constraints of single parameters.
func (c *constraints) indexUpdates(list []indexUpdate) {
	for i := range list {
		u := &list[i]
		path := "globalSecondaryIndexUpdates." + strconv.Itoa(i+1) + ".member." + strings.ToLower(u.action) + "."
		switch {
		case u.actions != 1:
		case u.action == "Create":
			c.checkIndex(&u.index, path, 2*globaltable.MaxIndexKeyParts)
		default:
			c.name(u.index.name, path+"indexName")
			u.index.throughput.checkAt(c, path)
			u.index.onDemand.check(c, -1, path+"onDemandThroughput.maxReadRequestUnits", path+"onDemandThroughput.maxWriteRequestUnits")
			u.index.warm.check(c, 1, path+"warmThroughput.readUnitsPerSecond", path+"warmThroughput.writeUnitsPerSecond")
		}
	}
}

// changeIndexes fills in what becomes of the indexes. attributes are the AttributeDefinitions.
func changeIndexes(change *catalog.Change, list []indexUpdate, attributes []pair) error {
	d, err := defined(attributes)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for i := range list {
		u := &list[i]
		name := string(u.index.name)
		switch {
		case u.actions != 1:
			return invalid("One or more parameter values were invalid: Each global secondary index update must have exactly one of Create, Update and Delete")
		case names[name]:
			return invalid(errIndexTwice + name)
		case u.action != "Update" && (change.CreateIndex != nil || change.DeleteIndex != ""):
			return tooManyIndexes()
		}
		names[name] = true
		switch u.action {
		case "Create":
			err = createIndex(change, d, &u.index)
		case "Delete":
			change.DeleteIndex = name
		default:
			err = updateIndex(change, &u.index)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func createIndex(change *catalog.Change, d *definitions, r *indexRequest) error {
	for _, k := range r.keys {
		if d.types[string(k.first)] == 0 {
			return invalid("Invalid KeySchema: Some index key attribute have no definition")
		}
	}
	x, err := d.globalIndex(r)
	if err != nil {
		return err
	}
	change.CreateIndex = x
	return r.bill(x, "")
}

func updateIndex(change *catalog.Change, r *indexRequest) (err error) {
	var units catalog.IndexUnits
	if r.throughput != nil {
		declared, err := r.throughput.declaredFor(string(r.name))
		if err != nil {
			return err
		}
		units.Throughput = &declared
	}
	if units.OnDemandMaxRead, units.OnDemandMaxWrite, err = r.onDemand.declared(); err != nil {
		return err
	}
	if units.WarmRead, units.WarmWrite, err = r.warm.declared(); err != nil {
		return err
	}
	if units == (catalog.IndexUnits{}) {
		return invalid("One or more parameter values were invalid: One of ProvisionedThroughput, OnDemandThroughput or WarmThroughput must be specified for index: " + string(r.name))
	}
	if change.IndexUnits == nil {
		change.IndexUnits = map[string]catalog.IndexUnits{}
	}
	change.IndexUnits[string(r.name)] = units
	return nil
}

func tooManyIndexes() error {
	return &globaltable.Error{Op: "update table", Kind: globaltable.LimitExceeded,
		Message: "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"}
}

// mayChangeIndexes checks what a change of indexes asks for against the table as this region knows it; the owner checks again.
func (c *call) mayChangeIndexes(name []byte, change *catalog.Change, attributes []pair) error {
	if attributes == nil && change.CreateIndex == nil {
		return nil
	}
	t, ok := c.server.config.View().Lookup(string(name))
	if !ok {
		return nil // the control plane says so
	}
	if change.CreateIndex != nil && c.building(t) {
		return tooManyIndexes()
	}
	d, err := defined(attributes)
	if err != nil {
		return err
	}
	known := t.KeyAttributes()
	if change.CreateIndex != nil {
		for a := range change.CreateIndex.Keys {
			if !slices.Contains(known, a) {
				known = append(known, a)
			}
		}
	}
	for _, a := range known {
		switch of := d.types[a.Name]; {
		case of == 0:
		case of != a.Type:
			return invalid("One or more parameter values were invalid: An attribute cannot have two types: " + a.Name)
		default:
			d.used = append(d.used, a.Name)
		}
	}
	return d.allUsed(true)
}
