package naive

import (
	"maps"
	"slices"
	"time"
)

var (
	streamShape = structure("StreamSpecification", required("StreamEnabled", boolean),
		optional("StreamViewType", enum("NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES, KEYS_ONLY")))

	createIndexAction = structure("CreateGlobalSecondaryIndexAction", required("IndexName", tableName), required("KeySchema", within(1, -1, listOf(keyElement))),
		required("Projection", projection), optional("ProvisionedThroughput", throughput))
	updateIndexAction = structure("UpdateGlobalSecondaryIndexAction", required("IndexName", tableName), optional("ProvisionedThroughput", throughput))
	deleteIndexAction = structure("DeleteGlobalSecondaryIndexAction", required("IndexName", tableName))
	indexUpdate       = structure("GlobalSecondaryIndexUpdate", optional("Create", createIndexAction), optional("Update", updateIndexAction), optional("Delete", deleteIndexAction))

	updateTableInput = structure("UpdateTableInput", required("TableName", tableName), optional("AttributeDefinitions", listOf(definition)),
		optional("BillingMode", billing), optional("ProvisionedThroughput", throughput), optional("GlobalSecondaryIndexUpdates", listOf(indexUpdate)),
		optional("StreamSpecification", streamShape), optional("TableClass", class), optional("DeletionProtectionEnabled", boolean))
)

// updateTable changes a table at once; the answer says that it is on its way. Several changes in one request are done together, where DynamoDB's documentation
// asks for one at a time.
func (db *DB) updateTable(p object) (object, error) {
	if err := inTurn(func() error { return checkUpdateGiven(p) }, func() error { return checkBilling(p) }, func() error { return checkStream(p) },
		func() error { return checkIndexUpdates(p) }); err != nil {
		return nil, err
	}
	t, err := db.namedTable(p)
	if err != nil {
		return nil, err
	}
	next := *t
	next.indexes, next.definitions = slices.Clone(t.indexes), slices.Clone(t.definitions)
	deleted, err := next.update(t, p, db.config.Now())
	if err != nil {
		return nil, err
	}
	next.redefine()
	*t = next
	out := db.description(t, Anything)
	if deleted { // how long an index that goes is shown, and its attributes, is left open
		out["GlobalSecondaryIndexes"], out["AttributeDefinitions"] = Open, Anything
	}
	return object{"TableDescription": out}, nil
}

func checkUpdateGiven(p object) error {
	for name := range p {
		if list, isList := p[name].([]any); name != "TableName" && name != "AttributeDefinitions" && (!isList || len(list) > 0) {
			return nil
		}
	}
	return invalid("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required")
}

func checkBilling(p object) error {
	units, given := p["ProvisionedThroughput"].(object)
	switch {
	case p["BillingMode"] == "PAY_PER_REQUEST" && given:
		return errUnitsOnDemand
	case p["BillingMode"] == "PROVISIONED" && !given:
		return errUnitsMissing
	case given:
		return checkUnits(units)
	}
	return nil
}

// checkStream: how a view that is missing, or too much, is told is left open.
func checkStream(p object) error {
	s, given := p["StreamSpecification"].(object)
	if given && (s["StreamEnabled"] == true) != (s["StreamViewType"] != nil) {
		return errNotSupported
	}
	return nil
}

// checkIndexUpdates: "You can create or delete only one global secondary index per UpdateTable operation."
func checkIndexUpdates(p object) error {
	var scratch table
	for _, e := range listOrNone(p["AttributeDefinitions"]) {
		d := e.(object)
		a := attribute{d["AttributeName"].(string), d["AttributeType"].(string)}
		if slices.Contains(scratch.definedNames(), a.name) {
			return errNotSupported
		}
		scratch.definitions = append(scratch.definitions, a)
	}
	var names []string
	changes := 0
	for _, e := range listOrNone(p["GlobalSecondaryIndexUpdates"]) {
		if len(e.(object)) != 1 {
			return errNotSupported
		}
		for action, v := range e.(object) {
			name := v.(object)["IndexName"].(string)
			if slices.Contains(names, name) {
				return oneOf([]error{invalid("One or more parameter values were invalid: Only one global secondary index update per index is allowed simultaneously. Index: %s", name), errTwoIndexes})
			}
			names = append(names, name)
			if action != "Update" {
				changes++
			}
			if changes > 1 {
				return errTwoIndexes
			}
			if action == "Create" && scratch.checkIndex(v.(object)) != nil {
				return errNotSupported
			}
			if action == "Update" && v.(object)["ProvisionedThroughput"] == nil {
				return errNotSupported
			}
		}
	}
	return nil
}

// checkIndex checks a new index as far as it can be without the table: AttributeDefinitions "must include the key element(s) of the new index". How a fault is
// told is left open.
func (t *table) checkIndex(o object) error {
	var x index
	return inTurn(func() error { return t.indexKey(&x, o["KeySchema"].([]any)) }, func() error { return x.project(o["Projection"].(object)) })
}

var errTwoIndexes = &fault{kind: "LimitExceededException",
	message: "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"}

// update makes t, a copy of what it was, what the request asks for. Which of several faults is reported is left open.
func (t *table) update(was *table, p object, now time.Time) (deleted bool, err error) {
	var faults []error
	note := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	note(t.updateBilling(was, p))
	if s, ok := p["StreamSpecification"].(object); ok {
		if (s["StreamEnabled"] == true) == (was.view() != "") { // "You receive a ValidationException if you try to enable a stream on a table that already has a stream"
			note(errNotSupported)
		} else {
			view, _ := s["StreamViewType"].(string)
			t.turnStream(view, now)
		}
	}
	if c, ok := p["TableClass"].(string); ok {
		t.class = c
	}
	if on, ok := p["DeletionProtectionEnabled"].(bool); ok {
		t.protected = on
	}
	created := false
	for _, e := range listOrNone(p["GlobalSecondaryIndexUpdates"]) {
		for action, v := range e.(object) {
			o := v.(object)
			switch action {
			case "Create":
				created = true
				note(t.createIndex(p, o))
			case "Update":
				note(t.updateIndex(p, o))
			case "Delete":
				deleted = true
				note(t.deleteIndex(o["IndexName"].(string)))
			}
		}
	}
	if !created {
		note(t.checkDefinitions(p, nil))
	}
	if was.billing != t.billing {
		for i := range t.indexes {
			x := &t.indexes[i]
			if t.billing == "PAY_PER_REQUEST" {
				x.throughput = noUnits()
			} else if !x.local && x.throughput["ReadCapacityUnits"] == 0 {
				note(invalid("One or more parameter values were invalid: ProvisionedThroughput must be specified for index: %s", x.name))
			}
		}
	}
	return deleted, oneOf(faults)
}

func noUnits() object { return object{"ReadCapacityUnits": 0, "WriteCapacityUnits": 0} }

func (t *table) updateBilling(was *table, p object) error {
	if mode, ok := p["BillingMode"].(string); ok {
		t.billing = mode
	}
	units, given := p["ProvisionedThroughput"].(object)
	if t.billing == "PAY_PER_REQUEST" {
		if given {
			return errUnitsOnDemand
		}
		t.throughput, t.onDemand = noUnits(), true
		return nil
	}
	if given && was.billing == "PROVISIONED" && p["BillingMode"] == nil && maps.Equal(units, was.throughput) {
		return unchanged("table", units)
	}
	if given {
		t.throughput = maps.Clone(units)
	}
	return nil
}

func unchanged(what string, units object) error {
	read, write := units["ReadCapacityUnits"], units["WriteCapacityUnits"]
	kind := what
	if what != "table" {
		kind, what = "index", "index "+what
	}
	return invalid("The provisioned throughput for the %s will not change. The requested value equals the current value. "+
		"Current ReadCapacityUnits provisioned for the %s: %d. Requested ReadCapacityUnits: %d. "+
		"Current WriteCapacityUnits provisioned for the %s: %d. Requested WriteCapacityUnits: %d. "+
		"Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits.", what, kind, read, read, kind, write, write)
}

// createIndex adds an index, which has what the table's items say, as if it had been there from the beginning.
func (t *table) createIndex(p, o object) error {
	x := index{name: o["IndexName"].(string)}
	if t.index(x.name) != nil {
		return errNotSupported
	}
	elements := o["KeySchema"].([]any)
	if err := t.checkDefinitions(p, namesOf(elements)); err != nil {
		return err
	}
	for _, e := range listOrNone(p["AttributeDefinitions"]) {
		d := e.(object)
		a := attribute{d["AttributeName"].(string), d["AttributeType"].(string)}
		if !slices.Contains(t.definitions, a) {
			t.definitions = append(t.definitions, a)
		}
	}
	if err := inTurn(func() error { return t.indexKey(&x, elements) }, func() error { return x.project(o["Projection"].(object)) },
		func() error { return x.bill(t, o) }); err != nil {
		if t.billing == "PROVISIONED" && o["ProvisionedThroughput"] == nil {
			return errNotSupported
		}
		return err
	}
	t.indexes = append(t.indexes, x)
	return nil
}

// checkDefinitions checks AttributeDefinitions against those that the table has, and what a new index needs. How a fault is told is left open.
func (t *table) checkDefinitions(p object, needed []string) error {
	kinds := map[string]string{}
	used := slices.Concat(t.usedNames(), needed)
	for _, e := range listOrNone(p["AttributeDefinitions"]) {
		d := e.(object)
		name, kind := d["AttributeName"].(string), d["AttributeType"].(string)
		i := slices.IndexFunc(t.definitions, func(a attribute) bool { return a.name == name })
		if kinds[name] != "" || i >= 0 && t.definitions[i].kind != kind || !slices.Contains(used, name) {
			return errNotSupported
		}
		kinds[name] = kind
	}
	for _, name := range needed {
		if kinds[name] == "" {
			return errNotSupported
		}
	}
	return nil
}

func (t *table) updateIndex(p, o object) error {
	name := o["IndexName"].(string)
	x := t.index(name)
	if x == nil || x.local {
		return errNoIndex
	}
	units := o["ProvisionedThroughput"].(object)
	if t.billing == "PAY_PER_REQUEST" {
		return invalid("One or more parameter values were invalid: ProvisionedThroughput should not be specified for index: %s when BillingMode is PAY_PER_REQUEST", name)
	}
	if p["BillingMode"] == nil && maps.Equal(units, x.throughput) {
		return unchanged(name, units)
	}
	x.throughput = units
	return nil
}

var errNoIndex = notFound("Requested resource not found…")

func (t *table) deleteIndex(name string) error {
	if x := t.index(name); x == nil || x.local {
		return errNoIndex
	}
	t.indexes = slices.DeleteFunc(t.indexes, func(x index) bool { return x.name == name })
	return nil
}

// redefine takes the definitions away of attributes that no key has any more.
func (t *table) redefine() {
	used := t.usedNames()
	t.definitions = slices.DeleteFunc(t.definitions, func(a attribute) bool { return !slices.Contains(used, a.name) })
}
