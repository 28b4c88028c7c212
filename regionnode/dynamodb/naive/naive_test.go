package naive_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/concordat-db/concordat/regionnode/dynamodb/naive"
)

// The examiner is examined with the examples of the developer guide: what the guide says of each is the expected answer.

// bicycle is the item of the guide's chapter on expressions.
const bicycle = `{"Id":{"N":"123"},"Title":{"S":"Bicycle 123"},"Price":{"N":"500"},"Color":{"SS":["Red","Black"]},"ProductCategory":{"S":"Bicycle"},
	"QuantityOnHand":{"NULL":true},"RelatedItems":{"L":[{"N":"341"},{"N":"472"},{"N":"649"}]},"Pictures":{"M":{"FrontView":{"S":"http://example.com/products/123_front.jpg"},
	"RearView":{"S":"http://example.com/products/123_rear.jpg"}}},"ProductReviews":{"M":{"FiveStar":{"L":[{"S":"Excellent! Can't recommend it highly enough! Buy it!"},{"S":"Do yourself a favor and buy this."}]},
	"OneStar":{"L":[{"S":"Terrible product! Do not buy this."}]}}},"Brand":{"S":"Brand-Company C"}}`

// catalog returns a region with the bicycle.
func catalog(t *testing.T) *naive.DB {
	db := naive.New(naive.Config{Region: "eu-central-1", Account: "000000000000", Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
		Hash: func(partition []any) uint64 {
			h := fnv.New64a()
			fmt.Fprint(h, partition...)
			return h.Sum64()
		}})
	must(t, db, "CreateTable", `{"TableName":"ProductCatalog","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"Id","AttributeType":"N"}],"KeySchema":[{"AttributeName":"Id","KeyType":"HASH"}]}`)
	must(t, db, "PutItem", `{"TableName":"ProductCatalog","Item":`+bicycle+`}`)
	return db
}

// must does a request that has to succeed, and returns its answer as JSON.
func must(t *testing.T, db *naive.DB, operation, body string) string {
	t.Helper()
	a := db.Do(operation, []byte(body))
	if a.Status != 200 {
		t.Fatalf("%s %s: %s %q", operation, body, a.Type, a.Messages)
	}
	b, err := json.Marshal(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUpdatesOfTheGuide(t *testing.T) {
	for _, c := range []struct{ update, values, path, want string }{
		{"SET Brand = :p", `{":p":{"S":"Z"}}`, "Brand", `{"Brand":{"S":"Z"}}`},
		{"SET RelatedItems[1] = :p", `{":p":{"S":"Chain"}}`, "RelatedItems", `{"RelatedItems":{"L":[{"N":"341"},{"S":"Chain"},{"N":"649"}]}}`},
		{"SET RelatedItems[9] = :p", `{":p":{"S":"Chain"}}`, "RelatedItems", `{"RelatedItems":{"L":[{"N":"341"},{"N":"472"},{"N":"649"},{"S":"Chain"}]}}`},
		{"SET ProductReviews.FiveStar[0] = :p", `{":p":{"S":"Good"}}`, "ProductReviews.FiveStar[0]", `{"ProductReviews":{"M":{"FiveStar":{"L":[{"S":"Good"}]}}}}`},
		{"SET Price = Price - :p", `{":p":{"N":"15"}}`, "Price", `{"Price":{"N":"485"}}`},
		{"SET RelatedItems = list_append(:p, RelatedItems)", `{":p":{"L":[{"N":"1"}]}}`, "RelatedItems", `{"RelatedItems":{"L":[{"N":"1"},{"N":"341"},{"N":"472"},{"N":"649"}]}}`},
		{"SET Price = if_not_exists(Price, :p)", `{":p":{"N":"100"}}`, "Price", `{"Price":{"N":"500"}}`},
		{"SET Rating = if_not_exists(Rating, :p)", `{":p":{"N":"3"}}`, "Rating", `{"Rating":{"N":"3"}}`},
		{"REMOVE RelatedItems[0], RelatedItems[2]", "", "RelatedItems", `{"RelatedItems":{"L":[{"N":"472"}]}}`},
		{"ADD QuantityOnShelf :p", `{":p":{"N":"5"}}`, "QuantityOnShelf", `{"QuantityOnShelf":{"N":"5"}}`},
		{"ADD Color :p", `{":p":{"SS":["Orange","Red"]}}`, "Color", `{"Color":{"SS":["Black","Orange","Red"]}}`},
		{"DELETE Color :p", `{":p":{"SS":["Red","Blue"]}}`, "Color", `{"Color":{"SS":["Black"]}}`},
		{"DELETE Color :p", `{":p":{"SS":["Red","Black"]}}`, "Color", `{}`},
		{"SET Price = :p, Title = Brand REMOVE Brand", `{":p":{"N":"1"}}`, "Price, Title, Brand", `{"Price":{"N":"1"},"Title":{"S":"Brand-Company C"}}`},
	} {
		db := catalog(t)
		values := ""
		if c.values != "" {
			values = `,"ExpressionAttributeValues":` + c.values
		}
		must(t, db, "UpdateItem", `{"TableName":"ProductCatalog","Key":{"Id":{"N":"123"}},"UpdateExpression":"`+c.update+`"`+values+`}`)
		got := must(t, db, "GetItem", `{"TableName":"ProductCatalog","Key":{"Id":{"N":"123"}},"ProjectionExpression":"`+c.path+`"}`)
		if want := `{"Item":` + c.want + `}`; got != want {
			t.Errorf("%s: %s, want %s", c.update, got, want)
		}
	}
}

func TestConditionsOfTheGuide(t *testing.T) {
	for condition, values := range map[string]string{
		"attribute_not_exists(Manufacturer)":                    "",
		"attribute_exists(Pictures.RearView)":                   "",
		"attribute_type(ProductReviews.FiveStar, :v)":           `{":v":{"S":"L"}}`,
		"begins_with(Pictures.FrontView, :v)":                   `{":v":{"S":"http://"}}`,
		"contains(Color, :v)":                                   `{":v":{"S":"Red"}}`,
		"contains(Brand, :v)":                                   `{":v":{"S":"Company"}}`,
		"NOT contains(RelatedItems, :v)":                        `{":v":{"S":"341"}}`,
		"contains(RelatedItems, :v)":                            `{":v":{"N":"341.0"}}`,
		"size(Brand) = :v":                                      `{":v":{"N":"15"}}`,
		"size(Pictures) = size(Color)":                          "",
		"Price BETWEEN :v AND :w":                               `{":v":{"N":"500"},":w":{"N":"600"}}`,
		"ProductCategory IN (:v, :w)":                           `{":v":{"S":"Road"},":w":{"S":"Bicycle"}}`,
		"Manufacturer <> :v AND NOT Manufacturer = :v":          `{":v":{"S":"x"}}`,
		"NOT Price < :v":                                        `{":v":{"S":"x"}}`,
		"Price = :w OR Price = :w AND Price = :v":               `{":v":{"N":"1"},":w":{"N":"500"}}`,
		"NOT Price = :v AND Price = :w":                         `{":v":{"N":"1"},":w":{"N":"5E2"}}`,
		"ProductReviews.OneStar[0] = :v":                        `{":v":{"S":"Terrible product! Do not buy this."}}`,
		"attribute_not_exists(ProductReviews.OneStar[1])":       "",
		"attribute_not_exists(Title.Nothing)":                   "",
		"(Price > :v) AND (Price < :w OR attribute_exists(Id))": `{":v":{"N":"1"},":w":{"N":"2"}}`,
	} {
		db := catalog(t)
		if values != "" {
			values = `,"ExpressionAttributeValues":` + values
		}
		must(t, db, "DeleteItem", `{"TableName":"ProductCatalog","Key":{"Id":{"N":"123"}},"ConditionExpression":"`+condition+`"`+values+`}`)
		if a := db.Do("DeleteItem", []byte(`{"TableName":"ProductCatalog","Key":{"Id":{"N":"123"}},"ConditionExpression":"attribute_exists(Id)"}`)); a.Type != "ConditionalCheckFailedException" {
			t.Errorf("%s: %+v", condition, a)
		}
	}
}

// TestStatementsOfTheGuide does the statements of the guide's chapter on PartiQL one after the other.
func TestStatementsOfTheGuide(t *testing.T) {
	db := catalog(t)
	must(t, db, "CreateTable", `{"TableName":"Music","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"Artist","AttributeType":"S"},{"AttributeName":"SongTitle","AttributeType":"S"}],
		"KeySchema":[{"AttributeName":"Artist","KeyType":"HASH"},{"AttributeName":"SongTitle","KeyType":"RANGE"}]}`)
	const song = ` WHERE Artist='Acme Band' AND SongTitle='PartiQL Rocks'`
	for _, c := range []struct{ statement, want string }{
		{`INSERT INTO "Music" value {'Artist' : 'Acme Band','SongTitle' : 'PartiQL Rocks'}`, `{"Items":[]}`},
		{`INSERT INTO "Music" value {'Artist' : 'Acme Band','SongTitle' : 'PartiQL Rocks'}`, `DuplicateItemException`},
		{`UPDATE "Music" SET AwardsWon=1 SET AwardDetail={'Grammys':[2020, 2018]}` + song + ` RETURNING MODIFIED NEW *`,
			`{"Items":[{"AwardDetail":{"M":{"Grammys":{"L":[{"N":"2020"},{"N":"2018"}]}}},"AwardsWon":{"N":"1"}}]}`},
		{`UPDATE "Music" SET AwardDetail.Grammys =list_append(AwardDetail.Grammys,[2016])` + song, `{"Items":[]}`},
		{`UPDATE "Music" REMOVE AwardDetail.Grammys[2]` + song, `{"Items":[]}`},
		{`UPDATE "Music" SET AwardDetail.BillBoard=[2020]` + song, `{"Items":[]}`},
		{`UPDATE "Music" SET BandMembers =<<'member1', 'member2'>>` + song, `{"Items":[]}`},
		{`UPDATE "Music" SET BandMembers =set_add(BandMembers, <<'newmember'>>)` + song, `{"Items":[]}`},
		{`UPDATE "Music" SET BandMembers =set_delete(BandMembers, <<'member1'>>)` + song, `{"Items":[]}`},
		{`SELECT * FROM "Music"` + song, `{"Items":[{"Artist":{"S":"Acme Band"},"AwardDetail":{"M":{"BillBoard":{"L":[{"N":"2020"}]},"Grammys":{"L":[{"N":"2020"},{"N":"2018"}]}}},` +
			`"AwardsWon":{"N":"1"},"BandMembers":{"SS":["member2","newmember"]},"SongTitle":{"S":"PartiQL Rocks"}}]}`},
		{`SELECT SongTitle FROM Music WHERE "Artist" = 'Acme Band' AND contains("SongTitle", 'Rocks') AND begins_with("SongTitle", 'Part')`, `{"Items":[{"SongTitle":{"S":"PartiQL Rocks"}}]}`},
		{`SELECT SongTitle FROM Music WHERE Awards is MISSING AND AwardsWon is not MISSING AND attribute_type("AwardsWon", 'N') AND size("BandMembers") = 2`, `{"Items":[{"SongTitle":{"S":"PartiQL Rocks"}}]}`},
		{`SELECT * FROM Music WHERE AwardsWon BETWEEN 2 AND 3 OR NOT AwardsWon IN [1, 4]`, `{"Items":[]}`},
		{`DELETE FROM "Music" WHERE "Artist" = 'Acme Band' AND "SongTitle" = 'PartiQL Rocks' AND AwardsWon = 2`, `ConditionalCheckFailedException`},
		{`DELETE FROM "Music" WHERE "Artist" = 'Acme Band'`, `ValidationException`},
		{`DELETE FROM "Music" WHERE "Artist" = 'Acme Band' AND "SongTitle" = 'PartiQL Rocks' RETURNING ALL OLD *`, `{"Items":[{"Artist":{"S":"Acme Band"},"AwardDetail":{"M":{"BillBoard":` +
			`{"L":[{"N":"2020"}]},"Grammys":{"L":[{"N":"2020"},{"N":"2018"}]}}},"AwardsWon":{"N":"1"},"BandMembers":{"SS":["member2","newmember"]},"SongTitle":{"S":"PartiQL Rocks"}}]}`},
		{`DELETE FROM "Music"` + song + ` AND AwardsWon = 2`, `{"Items":[]}`},
		{`UPDATE "Music" SET AwardsWon=1` + song, `ConditionalCheckFailedException`},
	} {
		body, err := json.Marshal(map[string]any{"Statement": c.statement})
		if err != nil {
			t.Fatal(err)
		}
		a := db.Do("ExecuteStatement", body)
		got := a.Type
		if got == "" {
			text, err := json.Marshal(a.Body)
			if err != nil {
				t.Fatal(err)
			}
			got = string(text)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s %q\nwant %s", c.statement, got, a.Messages, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	db := catalog(t)
	for in, want := range map[string]string{
		"0": "0", "-0.0": "0", "1.50": "1.5", "1e3": "1000", "+.5E-3": "0.0005", "00012": "12",
		"99999999999999999999999999999999999999E-168": "", "1E126": "", "123456789012345678901234567890123456789": "", "1_0": "", "Infinity": "",
	} {
		a := db.Do("PutItem", []byte(`{"TableName":"ProductCatalog","Item":{"Id":{"N":"1"},"v":{"N":"`+in+`"}}}`))
		if (a.Status == 200) != (want != "") {
			t.Errorf("%s: %+v", in, a)
			continue
		}
		if want == "" {
			continue
		}
		if got := must(t, db, "GetItem", `{"TableName":"ProductCatalog","Key":{"Id":{"N":"1"}},"ProjectionExpression":"v"}`); got != `{"Item":{"v":{"N":"`+want+`"}}}` {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestWords(t *testing.T) {
	db := catalog(t)
	for body, want := range map[string]string{
		`{}`: "2 validation errors detected: Value null at 'key' failed to satisfy constraint: Member must not be null; Value null at 'tableName' failed to satisfy constraint: Member must not be null",
		`{"TableName":"ProductCatalog","Key":{"Id":{"N":"1"}},"UpdateExpression":"ADD hits : incr"}`:     `Invalid UpdateExpression: Syntax error; token: ":", near: "hits : incr"`,
		`{"TableName":"ProductCatalog","Key":{"Id":{"N":"1"}},"UpdateExpression":"SET a = :v"}`:          "Invalid UpdateExpression: An expression attribute value used in expression is not defined; attribute value: :v",
		`{"TableName":"ProductCatalog","Key":{"Id":{"N":"1"}},"UpdateExpression":"SET name = a"}`:        "Invalid UpdateExpression: Attribute name is a reserved keyword; reserved keyword: name",
		`{"TableName":"ProductCatalog","Key":{"Id":{"N":"1"}},"UpdateExpression":"REMOVE a, a"}`:         "Invalid UpdateExpression: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], path two: [a]",
		`{"TableName":"ProductCatalog","Key":{"Id":{"N":"1"}},"UpdateExpression":"SET Id = a"}`:          "One or more parameter values were invalid: Cannot update attribute Id. This attribute is part of the key",
		`{"TableName":"ProductCatalog","Key":{"Id":{"N":"1"}},"UpdateExpression":"SET a = b"}`:           "The provided expression refers to an attribute that does not exist in the item",
		`{"TableName":"ProductCatalog","Key":{"Id":{"S":"1"}}}`:                                          "The provided key element does not match the schema",
		`{"TableName":"ProductCatalog","Key":{"Id":{"N":"123"}},"UpdateExpression":"SET Price[0] = Id"}`: "The document path provided in the update expression is invalid for update",
	} {
		if a := db.Do("UpdateItem", []byte(body)); a.Type != "ValidationException" || a.Messages[0] != want {
			t.Errorf("%s: %s %q, want %q", body, a.Type, a.Messages, want)
		}
	}
}
