package plan_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/expr"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/plan"
)

func parse(t *testing.T, json string) item.Item {
	t.Helper()
	v, err := fastjson.Parse(json)
	if err != nil {
		t.Fatal(err)
	}
	it, err := item.DecodeItemJSON(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

var (
	hash   = globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}}
	sorted = globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.N}, Sort: &globaltable.KeyAttribute{Name: "sk", Type: item.B}}
)

// text is what a client is told about err.
func text(err error) string {
	var g *globaltable.Error
	var i *item.Error
	switch {
	case errors.As(err, &g):
		return g.Message
	case errors.As(err, &i):
		return i.Message
	case err != nil:
		return err.Error()
	}
	return ""
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		schema       *globaltable.KeySchema
		json         string
		ofItem, ofID string // texts of the errors; empty: a key
	}{
		{&hash, `{"pk":{"S":"a"}}`, "", ""},
		{&hash, `{"pk":{"S":"a"},"v":{"N":"1"}}`, "", "The provided key element does not match the schema"},
		{&hash, `{}`, "One or more parameter values were invalid: Missing the key pk in the item", "The provided key element does not match the schema"},
		{&hash, `{"pk":{"B":"YQ=="}}`, "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: B", "The provided key element does not match the schema"},
		{&hash, `{"pk":{"S":"` + strings.Repeat("a", 2048) + `"}}`, "", ""},
		{&hash, `{"pk":{"S":"` + strings.Repeat("a", 2049) + `"}}`,
			"One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes",
			"One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"},
		{&sorted, `{"pk":{"N":"1"},"sk":{"B":"YQ=="}}`, "", ""},
		{&sorted, `{"pk":{"N":"1"}}`, "One or more parameter values were invalid: Missing the key sk in the item", "The provided key element does not match the schema"},
		{&sorted, `{"pk":{"N":"1"},"sk":{"S":"a"}}`, "One or more parameter values were invalid: Type mismatch for key sk expected: B actual: S", "The provided key element does not match the schema"},
		{&sorted, `{"pk":{"N":"1"},"x":{"B":"YQ=="}}`, "One or more parameter values were invalid: Missing the key sk in the item", "The provided key element does not match the schema"},
	} {
		it := parse(t, c.json)
		ofItem, err := plan.ItemKey(nil, c.schema, it)
		if text(err) != c.ofItem {
			t.Errorf("ItemKey(%.60s): got %q, want %q", c.json, text(err), c.ofItem)
		}
		ofID, err := plan.Key(nil, c.schema, it)
		if text(err) != c.ofID {
			t.Errorf("Key(%.60s): got %q, want %q", c.json, text(err), c.ofID)
		}
		if c.ofItem != "" || c.ofID != "" {
			continue
		}
		if string(ofItem) != string(ofID) {
			t.Errorf("%.60s: two keys: %x, %x", c.json, ofItem, ofID)
		}
		if back, err := c.schema.AppendItem(nil, ofID); err != nil || string(back) != string(it) {
			t.Errorf("%.60s comes back as %x, %v", c.json, back, err)
		}
	}
}

func TestCheckIndexKeys(t *testing.T) {
	key := func(name string, of item.Type) globaltable.KeyAttribute {
		return globaltable.KeyAttribute{Name: name, Type: of}
	}
	table := &globaltable.Table{KeySchema: hash, Indexes: []globaltable.Index{
		{Name: "first", Partition: []globaltable.KeyAttribute{key("a", item.S), key("b", item.B)}, Sort: []globaltable.KeyAttribute{key("n", item.N)}},
		{Name: "second", Partition: []globaltable.KeyAttribute{key("n", item.N)}, Sort: []globaltable.KeyAttribute{key("a", item.S)}},
	}}
	for json, want := range map[string]string{
		`{"pk":{"S":"k"}}`: "",
		`{"a":{"S":"x"},"b":{"B":"YQ=="},"n":{"N":"1"},"v":{"BOOL":true}}`: "",
		`{"a":{"N":"1"}}`:     "One or more parameter values were invalid: Type mismatch for Index Key a Expected: S Actual: N IndexName: first",
		`{"n":{"NULL":true}}`: "One or more parameter values were invalid: Type mismatch for Index Key n Expected: N Actual: NULL IndexName: first",
		`{"a":{"S":""}}`:      "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: first, IndexKey: a",
		`{"b":{"B":""}}`:      "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty binary value. IndexName: first, IndexKey: b",
		`{"a":{"S":"` + strings.Repeat("x", 2049) + `"}}`: "One or more parameter values were invalid: Size limit exceeded for Index Key a Actual Size: 2049 bytes Max Size: 2048 bytes IndexName: first",
		// A sort key is shorter.
		`{"a":{"S":"` + strings.Repeat("x", 1025) + `"}}`: "One or more parameter values were invalid: Size limit exceeded for Index Key a Actual Size: 1025 bytes Max Size: 1024 bytes IndexName: second",
	} {
		if got := text(plan.CheckIndexKeys(table, parse(t, json))); got != want {
			t.Errorf("%.60s: %q, want %q", json, got, want)
		}
	}
	if err := plan.CheckIndexKeys(&globaltable.Table{KeySchema: hash}, parse(t, `{"a":{"N":"1"}}`)); err != nil {
		t.Error(err)
	}
}

func TestPlans(t *testing.T) {
	key := parse(t, `{"pk":{"S":"a"}}`)
	old := parse(t, `{"pk":{"S":"a"},"v":{"N":"1"}}`)
	next := parse(t, `{"pk":{"S":"a"},"v":{"N":"2"}}`)
	large := parse(t, `{"pk":{"S":"a"},"v":{"S":"`+strings.Repeat("x", item.MaxItemSize)+`"}}`)
	reset := func(it item.Item) []conflict.Op { return []conflict.Op{{Kind: conflict.OpReset, Value: it}} }
	exists, absent := condition(t, "attribute_exists(pk)"), condition(t, "attribute_not_exists(pk)")
	lww, attribute := &globaltable.Table{KeySchema: hash}, &globaltable.Table{KeySchema: hash, Mode: conflict.Attribute}
	add, remove := update(t, "ADD v :n"), update(t, "REMOVE v")
	v := func(it item.Item) []byte { x, _ := it.GetString("v"); return x }
	presence := conflict.Op{Kind: conflict.OpSetCell}
	for _, c := range []struct {
		name    string
		write   plan.Write
		current item.Item
		ops     []conflict.Op
		image   item.Item
		err     string
	}{
		{"put", plan.Write{Action: plan.Put, Item: next}, nil, reset(next), nil, ""},
		{"put over", plan.Write{Action: plan.Put, Item: next, Returns: plan.AllOld}, old, reset(next), old, ""},
		{"put too large", plan.Write{Action: plan.Put, Item: large}, old, nil, nil, "Item size has exceeded the maximum allowed size"},
		{"put if there", plan.Write{Action: plan.Put, Item: next, Condition: exists}, old, reset(next), nil, ""},
		{"put if there, not there", plan.Write{Action: plan.Put, Item: next, Condition: exists}, nil, nil, nil, "The conditional request failed"},
		{"put if not there", plan.Write{Action: plan.Put, Item: next, Condition: absent}, nil, reset(next), nil, ""},
		{"the condition comes first", plan.Write{Action: plan.Put, Item: large, Condition: exists}, nil, nil, nil, "The conditional request failed"},
		{"put where there must be none", plan.Write{Action: plan.Put, Item: next, Presence: plan.Absent}, nil, reset(next), nil, ""},
		{"put where there is one", plan.Write{Action: plan.Put, Item: next, Presence: plan.Absent}, old, nil, nil, "Duplicate primary key exists in table"},
		{"check that there is one", plan.Write{Action: plan.Check, Item: key, Presence: plan.Present}, nil, nil, nil, "The conditional request failed"},
		{"delete what is there", plan.Write{Action: plan.Delete, Item: key, Presence: plan.IfPresent, Condition: absent}, nil, nil, nil, ""},
		{"delete what is there, if", plan.Write{Action: plan.Delete, Item: key, Presence: plan.IfPresent, Condition: absent}, old, nil, nil, "The conditional request failed"},
		{"delete", plan.Write{Action: plan.Delete, Item: key, Returns: plan.AllOld}, old, reset(nil), old, ""},
		{"delete nothing", plan.Write{Action: plan.Delete, Item: key, Returns: plan.AllOld}, nil, reset(nil), nil, ""},
		{"check", plan.Write{Action: plan.Check, Item: key, Condition: exists}, old, nil, nil, ""},
		{"check fails", plan.Write{Action: plan.Check, Item: key, Condition: absent}, old, nil, nil, "The conditional request failed"},
		{"nothing", plan.Write{}, nil, nil, nil, "no such action"},

		{"update", plan.Write{Action: plan.Update, Table: lww, Item: key, Update: add, Returns: plan.AllNew}, old, reset(next), next, ""},
		{"update makes", plan.Write{Action: plan.Update, Table: lww, Item: key, Update: add, Returns: plan.UpdatedNew}, nil, reset(old), parse(t, `{"v":{"N":"1"}}`), ""},
		{"update shows what was", plan.Write{Action: plan.Update, Table: lww, Item: key, Update: add, Returns: plan.UpdatedOld}, old, reset(next), parse(t, `{"v":{"N":"1"}}`), ""},
		{"update shows that nothing was", plan.Write{Action: plan.Update, Table: lww, Item: key, Update: add, Returns: plan.UpdatedOld}, nil, reset(old), nil, ""},
		{"update of nothing", plan.Write{Action: plan.Update, Table: lww, Item: key, Returns: plan.AllNew}, nil, reset(key), key, ""},
		{"update that only removes makes nothing", plan.Write{Action: plan.Update, Table: lww, Item: key, Update: remove, Returns: plan.AllNew}, nil, nil, nil, ""},
		{"update that removes", plan.Write{Action: plan.Update, Table: lww, Item: key, Update: remove, Returns: plan.UpdatedNew}, old, reset(key), nil, ""},
		{"update with a wrong operand", plan.Write{Action: plan.Update, Table: lww, Item: key, Update: add}, parse(t, `{"pk":{"S":"a"},"v":{"S":"x"}}`), nil, nil,
			"An operand in the update expression has an incorrect data type"},

		{"update of attributes", plan.Write{Action: plan.Update, Table: attribute, Item: key, Update: add, Returns: plan.AllNew}, old,
			[]conflict.Op{{Kind: conflict.OpSetCell, Name: []byte("v"), Value: v(next)}}, next, ""},
		{"update removes an attribute", plan.Write{Action: plan.Update, Table: attribute, Item: key, Update: remove}, old,
			[]conflict.Op{{Kind: conflict.OpRemoveCell, Name: []byte("v")}}, nil, ""},
		{"update of no attribute", plan.Write{Action: plan.Update, Table: attribute, Item: key}, nil, []conflict.Op{presence}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m plan.Memory
			got, err := c.write.Plan(c.current, &m)
			if text(err) != c.err || len(got.Ops) != len(c.ops) || string(got.Image) != string(c.image) {
				t.Fatalf("got %+v, %v", got, err)
			}
			for i, op := range got.Ops {
				if w := c.ops[i]; op.Kind != w.Kind || string(op.Value) != string(w.Value) || string(op.Name) != string(w.Name) {
					t.Errorf("operation %d: %+v", i, op)
				}
			}
		})
	}
}

// TestMemoryIsShared plans several writes in one Memory, as a transaction does: none touches what another has made.
func TestMemoryIsShared(t *testing.T) {
	key := parse(t, `{"pk":{"S":"a"}}`)
	table := &globaltable.Table{KeySchema: hash}
	var m plan.Memory
	for round := range 3 {
		var made []plan.Outcome
		for i := range 40 {
			w := plan.Write{Action: plan.Update, Table: table, Item: key, Update: update(t, "ADD v :n"), Returns: plan.UpdatedNew}
			out, err := w.Plan(parse(t, `{"pk":{"S":"a"},"v":{"N":"`+strconv.Itoa(i)+`"}}`), &m)
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, out)
		}
		for i, out := range made {
			want := strconv.Itoa(i + 1)
			if string(out.Ops[0].Value) != string(parse(t, `{"pk":{"S":"a"},"v":{"N":"`+want+`"}}`)) || string(out.Image) != string(parse(t, `{"v":{"N":"`+want+`"}}`)) {
				t.Fatalf("round %d: write %d has become %+v", round, i, out)
			}
		}
		m.Reset(1 << 10)
	}
}

func condition(t *testing.T, text string) *expr.Condition {
	t.Helper()
	c, err := expr.NewParser(0).Condition(expr.ConditionParameter, []byte(text), new(expr.Bindings))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// update parses an update in which :n is 1.
func update(t *testing.T, text string) *expr.Update {
	t.Helper()
	var b expr.Bindings
	if err := b.SetValues(fastjson.MustParse(`{":n":{"N":"1"}}`).GetObject()); err != nil {
		t.Fatal(err)
	}
	u, err := expr.NewParser(0).Update([]byte(text), &b)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestKeysAreNotUpdated(t *testing.T) {
	for text_, want := range map[string]string{
		"SET v = :n":     "",
		"SET pk = :n":    "One or more parameter values were invalid: Cannot update attribute pk. This attribute is part of the key",
		"REMOVE v, sk.a": "One or more parameter values were invalid: Cannot update attribute sk. This attribute is part of the key",
	} {
		if got := text(plan.CheckUpdate(&sorted, update(t, text_))); got != want {
			t.Errorf("%s: got %q", text_, got)
		}
	}
}
