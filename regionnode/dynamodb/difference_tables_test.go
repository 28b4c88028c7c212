package dynamodb_test

import "slices"

func (g *generator) createTable() step {
	t := one(g, g.tables...)
	t.parameters = tree{}
	if g.rarely(2) {
		t.parameters["BillingMode"] = one(g, "PROVISIONED", "PAY_PER_REQUEST")
	}
	if g.rarely(3) {
		t.parameters["ProvisionedThroughput"] = tree{"ReadCapacityUnits": one(g, 1, 5, 0, 2_000_000_000_000), "WriteCapacityUnits": one(g, 1, 7)}
	}
	if g.rarely(4) {
		t.keys = []keyDraft{{one(g, "pk", "sk"), one(g, "S", "N", "B", "BOOL")}, {one(g, "pk", "sk"), "S"}}
	}
	if g.rarely(4) {
		t.parameters["StreamSpecification"] = g.stream()
	}
	if g.spoil(2) {
		t.name = one(g, "x", "a b", "new", padded(256))
	}
	return step{body: t.create()}
}

// updateTable changes one thing of a table, mostly.
func (g *generator) updateTable() step {
	t := &g.tables[g.IntN(len(g.tables))]
	body := tree{"TableName": t.name}
	switch g.IntN(8) {
	case 0:
		body["DeletionProtectionEnabled"] = g.rarely(2)
	case 1:
		body["TableClass"] = one(g, "STANDARD", "STANDARD_INFREQUENT_ACCESS")
	case 2:
		body["StreamSpecification"] = one(g, tree{"StreamEnabled": false}, g.stream())
		if g.spoil(3) {
			body["StreamSpecification"] = one(g, tree{}, tree{"StreamEnabled": true}, tree{"StreamEnabled": false, "StreamViewType": "KEYS_ONLY"}, tree{"StreamEnabled": true, "StreamViewType": "x"})
		}
	case 3, 4:
		g.billing(t, body)
	default:
		g.changeIndexes(t, body)
	}
	if g.spoil(10) {
		body["TableName"] = one(g, "nobody", "x")
	}
	return step{body: body}
}

// stream is a StreamSpecification that switches one on.
func (g *generator) stream() tree {
	return tree{"StreamEnabled": true, "StreamViewType": one(g, "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY")}
}

func (g *generator) units() tree {
	return tree{"ReadCapacityUnits": one(g, 1, 5), "WriteCapacityUnits": one(g, 1, 7)}
}

// billing changes the billing mode, or how much is provisioned of a table or an index, which has to be provisioned already.
func (g *generator) billing(t *tableDraft, body tree) {
	updates := []any{}
	for _, x := range t.indexes {
		if !x.local && (!g.rarely(4) || t.provisioned) {
			updates = append(updates, tree{"Update": tree{"IndexName": x.name, "ProvisionedThroughput": g.units()}})
		}
	}
	switch {
	case !t.provisioned && !g.spoil(4):
		body["BillingMode"], body["ProvisionedThroughput"] = "PROVISIONED", g.units()
		if len(updates) > 0 {
			body["GlobalSecondaryIndexUpdates"] = updates
		}
		t.provisioned = true
	case g.rarely(3):
		body["BillingMode"] = "PAY_PER_REQUEST"
		t.provisioned = false
	case g.rarely(2) && len(updates) > 0:
		body["GlobalSecondaryIndexUpdates"] = []any{one(g, updates...)}
	default:
		body["ProvisionedThroughput"] = g.units()
	}
	if g.spoil(4) {
		delete(body, "ProvisionedThroughput")
	}
}

// changeIndexes makes one of two indexes that tables do not have from the beginning, or deletes it.
func (g *generator) changeIndexes(t *tableDraft, body tree) {
	name := one(g, "extra", "other")
	i := slices.IndexFunc(t.indexes, func(x indexDraft) bool { return x.name == name })
	if i >= 0 != g.spoil(6) {
		if i >= 0 {
			t.indexes = slices.Delete(slices.Clone(t.indexes), i, i+1)
		}
		body["GlobalSecondaryIndexUpdates"] = []any{tree{"Delete": tree{"IndexName": name}}}
		return
	}
	// The types are those of the tables' own indexes.
	attributes := []keyDraft{{"a", "N"}, {"b", "S"}, {"c", "B"}, {"d", "S"}}
	x := indexDraft{name: name, projection: one(g, tree{"ProjectionType": "ALL"}, tree{"ProjectionType": "KEYS_ONLY"}, tree{"ProjectionType": "INCLUDE", "NonKeyAttributes": []any{"e", "näme"}})}
	definitions := []any{}
	for _, at := range g.Perm(len(attributes))[:1+g.IntN(2)] {
		x.keys = append(x.keys, attributes[at])
		definitions = append(definitions, tree{"AttributeName": attributes[at].name, "AttributeType": attributes[at].kind})
	}
	x.sorts = len(x.keys) - 1
	create := x.create()
	if t.provisioned != g.spoil(6) {
		create["ProvisionedThroughput"] = g.units()
	}
	if g.spoil(6) {
		definitions = one(g, []any{}, append(definitions, tree{"AttributeName": "unused", "AttributeType": "S"}), append(definitions, definitions[0]),
			[]any{tree{"AttributeName": x.keys[0].name, "AttributeType": "X"}})
	}
	updates := []any{tree{"Create": create}}
	if g.spoil(6) {
		updates = append(updates, one(g, tree{}, tree{"Delete": tree{"IndexName": "global"}}, tree{"Create": create}, tree{"Update": tree{"IndexName": "global"}}))
	}
	body["AttributeDefinitions"], body["GlobalSecondaryIndexUpdates"] = definitions, updates
	if g.faults == 0 {
		t.indexes = append(slices.Clip(t.indexes), x)
	}
}

// deleteTable deletes a table that no request is about, mostly.
func (g *generator) deleteTable() step {
	return step{body: tree{"TableName": one(g, "new", "nobody", "new2")}}
}

func (g *generator) nameTable() step { return step{body: tree{"TableName": g.table().name}} }

func (g *generator) listTables() step {
	body := tree{}
	g.options(body, "Limit", 1, 2, 100, 0, 101)
	g.options(body, "ExclusiveStartTableName", "hash", "a-table", "zzz", "x")
	return step{body: body}
}

func (g *generator) updateTimeToLive() step {
	body := tree{"TableName": g.table().name, "TimeToLiveSpecification": tree{"Enabled": !g.rarely(3), "AttributeName": one(g, "expires", "expires", "a")}}
	if g.spoil(5) {
		body["TimeToLiveSpecification"] = one(g, tree{}, tree{"Enabled": true}, tree{"Enabled": true, "AttributeName": ""})
	}
	return step{body: body}
}

func (g *generator) arn() string {
	arn := "arn:aws:dynamodb:" + testRegion + ":000000000000:table/" + g.table().name
	if g.spoil(10) {
		return one(g, "x", "", arn+"x")
	}
	return arn
}

func (g *generator) nameResource() step { return step{body: tree{"ResourceArn": g.arn()}} }

func (g *generator) tagResource() step {
	tags := []any{}
	for range 1 + g.IntN(3) {
		tags = append(tags, tree{"Key": one(g, "a", "b", "owner", padded(128)), "Value": one(g, "", "1", "team")})
	}
	if g.spoil(5) {
		tags = append(tags, tree{"Key": one(g, "", padded(129))})
	}
	return step{body: tree{"ResourceArn": g.arn(), "Tags": tags}}
}

func (g *generator) untagResource() step {
	return step{body: tree{"ResourceArn": g.arn(), "TagKeys": []any{one(g, "a", "b", "nothing")}}}
}
