package plan_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
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
		if back, err := plan.AppendKeyItem(nil, c.schema, ofID); err != nil || string(back) != string(it) {
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
	old := parse(t, `{"pk":{"S":"a"},"v":{"N":"1"}}`)
	next := parse(t, `{"pk":{"S":"a"},"v":{"N":"2"}}`)
	large := parse(t, `{"pk":{"S":"a"},"v":{"S":"`+strings.Repeat("x", item.MaxItemSize)+`"}}`)
	for _, c := range []struct {
		name    string
		write   plan.Write
		current item.Item
		want    plan.Outcome
		err     string
	}{
		{"put", plan.Write{Action: plan.Put, Item: next}, nil, plan.Outcome{Ops: []conflict.Op{{Kind: conflict.OpReset, Value: next}}}, ""},
		{"put over", plan.Write{Action: plan.Put, Item: next}, old, plan.Outcome{Ops: []conflict.Op{{Kind: conflict.OpReset, Value: next}}, OldSize: old.Size()}, ""},
		{"put too large", plan.Write{Action: plan.Put, Item: large}, old, plan.Outcome{}, "Item size has exceeded the maximum allowed size"},
		{"delete", plan.Write{Action: plan.Delete}, old, plan.Outcome{Ops: []conflict.Op{{Kind: conflict.OpReset}}, OldSize: old.Size()}, ""},
		{"delete nothing", plan.Write{Action: plan.Delete}, nil, plan.Outcome{Ops: []conflict.Op{{Kind: conflict.OpReset}}}, ""},
		{"nothing", plan.Write{}, nil, plan.Outcome{}, "no such action"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.write.Plan(c.current, make([]conflict.Op, 3))
			if text(err) != c.err || got.OldSize != c.want.OldSize || len(got.Ops) != len(c.want.Ops) {
				t.Fatalf("got %+v, %v", got, err)
			}
			for i, op := range got.Ops {
				if w := c.want.Ops[i]; op.Kind != w.Kind || string(op.Value) != string(w.Value) || len(op.Name) != 0 {
					t.Errorf("operation %d: %+v", i, op)
				}
			}
		})
	}
}

func TestDistinct(t *testing.T) {
	a, b := item.Key("a"), item.Key("b")
	for _, c := range []struct {
		keys []item.Key
		want bool
	}{{nil, true}, {[]item.Key{a}, true}, {[]item.Key{b, a}, true}, {[]item.Key{a, b, a}, false}} {
		if got := plan.Distinct(c.keys); got != c.want {
			t.Errorf("%q: %v", c.keys, got)
		}
	}
}
