package dynamodb_test

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
	if g.spoil(2) {
		t.name = one(g, "x", "a b", "new", padded(256))
	}
	return step{body: t.create()}
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
