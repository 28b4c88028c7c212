package catalog

import (
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

func indexOn(name, attribute string) *globaltable.Index {
	return &globaltable.Index{Name: name, Partition: []globaltable.KeyAttribute{{Name: attribute, Type: item.S}}, Projection: globaltable.ProjectAll}
}

func ids(t *globaltable.Table) (out []globaltable.IndexID) {
	for i := range t.Indexes {
		out = append(out, t.Indexes[i].ID)
	}
	return out
}

// TestIndexIDsAreNeverUsedAgain: whatever is deleted and made again under a name is another index.
func TestIndexIDsAreNeverUsedAgain(t *testing.T) {
	w := newWorld(t, "eu", "us")
	owner := mustRegion(w, "eu")
	spec := specOf("orders")
	spec.Indexes = []globaltable.Index{*indexOn("first", "a"), *indexOn("second", "b")}
	table, err := Create(spec, 1000<<16|1, owner, 1)
	if err != nil {
		t.Fatal(err)
	}
	update := func(c Change) {
		t.Helper()
		c.Region = "eu"
		if table, err = Update(table, &c, 1, w.region); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...globaltable.IndexID) {
		t.Helper()
		got := ids(table)
		if len(got) != len(want) {
			t.Fatalf("indexes %v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("indexes %v, want %v", got, want)
			}
		}
	}
	expect(1, 2)
	update(Change{DeleteIndex: "second"})
	expect(1)
	update(Change{CreateIndex: indexOn("second", "b")})
	expect(1, 3)
	update(Change{DeleteIndex: "second"})
	update(Change{DeleteIndex: "first"})
	expect()
	update(Change{CreateIndex: indexOn("first", "b")})
	expect(4)
	if x := table.IndexNamed("first"); x.Partition[0].Name != "b" {
		t.Errorf("%+v", x)
	}
	next, err := Remove(table, "eu", 1)
	if err != nil {
		t.Fatal(err)
	}
	next, ok := Advance(next, Answers{owner.Origin: {Outcome: Adopted, Dropped: true}}, 1)
	if !ok || !next.Deleted || next.Indexes != nil || next.LastIndex != 4 || next.Validate() != nil {
		t.Errorf("the dead table: %+v, %v", next, next.Validate())
	}
}

func TestIndexesAreRefused(t *testing.T) {
	w := newWorld(t, "eu")
	spec := specOf("orders")
	spec.Indexes = []globaltable.Index{*indexOn("first", "a")}
	table, err := Create(spec, 1000<<16|1, mustRegion(w, "eu"), 1)
	if err != nil {
		t.Fatal(err)
	}
	units := globaltable.Throughput{Read: 1, Write: 1}
	provisioned, one := globaltable.Provisioned, int64(1)
	withUnits := indexOn("other", "a")
	withUnits.Throughput = units
	local := indexOn("other", "a")
	local.Local = true
	otherType := indexOn("other", "a")
	otherType.Partition[0].Type = item.N
	wide := indexOn("other", "a")
	wide.Projection = globaltable.ProjectInclude
	for i := range globaltable.MaxProjectedNonKeys + 1 {
		wide.NonKey = append(wide.NonKey, strings.Repeat("x", i+1))
	}
	for name, c := range map[string]struct {
		change Change
		kind   globaltable.Kind
		text   string
	}{
		"name taken":            {Change{CreateIndex: indexOn("first", "b")}, globaltable.Invalid, "Attempting to create an index which already exists"},
		"local":                 {Change{CreateIndex: local}, globaltable.Invalid, "only be created with its table"},
		"throughput on demand":  {Change{CreateIndex: withUnits}, globaltable.Invalid, "ProvisionedThroughput should not be specified for index: other when BillingMode is PAY_PER_REQUEST"},
		"too wide":              {Change{CreateIndex: wide}, globaltable.Invalid, "exceeds the per-table limit of 100"},
		"two types":             {Change{CreateIndex: otherType}, globaltable.Invalid, "two types"},
		"deleted, not there":    {Change{DeleteIndex: "other"}, globaltable.NotFound, "Index: other of table: orders not found"},
		"changed, not there":    {Change{IndexUnits: map[string]IndexUnits{"other": {WarmRead: &one}}}, globaltable.NotFound, "Index: other of table: orders not found"},
		"no units for an index": {Change{Billing: &provisioned, Throughput: &units}, globaltable.Invalid, "ProvisionedThroughput must be specified for index: first"},
	} {
		c.change.Region = "eu"
		if _, err := Update(table, &c.change, 1, w.region); globaltable.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	both := Change{Region: "eu", Billing: &provisioned, Throughput: &units, IndexUnits: map[string]IndexUnits{"first": {Throughput: &units}}}
	next, err := Update(table, &both, 1, w.region)
	if err != nil || next.Indexes[0].Throughput != units {
		t.Errorf("both modes change: %+v, %v", next, err)
	}
	want := "The provisioned throughput for the index first will not change. The requested value equals the current value. Current ReadCapacityUnits provisioned for the index: "
	if _, err := Update(next, &Change{Region: "eu", IndexUnits: both.IndexUnits}, 1, w.region); globaltable.KindOf(err) != globaltable.Invalid || !strings.Contains(err.Error(), want) {
		t.Errorf("the units that there are: %v", err)
	}
	onDemand := globaltable.PayPerRequest
	if next, err = Update(next, &Change{Region: "eu", Billing: &onDemand}, 1, w.region); err != nil || next.Indexes[0].Throughput != (globaltable.Throughput{}) {
		t.Errorf("and back: %+v, %v", next, err)
	}
}

// TestForkedIndexesAreRefused: an id that is used for another index would share its entries.
func TestForkedIndexesAreRefused(t *testing.T) {
	w := newWorld(t, "eu")
	spec := specOf("orders")
	spec.Indexes = []globaltable.Index{*indexOn("first", "a")}
	v1, err := Create(spec, 1000<<16|1, mustRegion(w, "eu"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.adopt("eu", v1); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*globaltable.Table){
		"another key":        func(t *globaltable.Table) { t.Indexes[0].Partition[0].Name = "b" },
		"another projection": func(t *globaltable.Table) { t.Indexes[0].Projection = globaltable.ProjectKeys },
		"a count that falls": func(t *globaltable.Table) { t.Indexes, t.LastIndex = nil, 0 },
	} {
		next := successor(v1, 2)
		change(next)
		if _, _, err := w.places["eu"].Prepare([]item.Item{EncodeDocument(next)}); globaltable.KindOf(err) != globaltable.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	next, err := Update(v1, &Change{Region: "eu", CreateIndex: indexOn("second", "b"), DeleteIndex: "first"}, 2, w.region)
	if err != nil {
		t.Fatal(err)
	}
	adoptions, adopt, err := w.places["eu"].Prepare([]item.Item{EncodeDocument(next)})
	if err != nil || len(adoptions) != 1 || len(adoptions[0].Indexes) != 1 || adoptions[0].Indexes[0] != 2 {
		t.Fatalf("%+v, %v", adoptions, err)
	}
	if adopt(); w.places["eu"].Indexed(v1.ID).Indexes[0].ID != 2 || w.places["eu"].Indexed(v1.ID+1) != nil {
		t.Error("the index is not in force")
	}
}
