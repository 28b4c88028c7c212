package catalog

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

func exampleOf(t testing.TB, w *world, region, name string, ms globaltable.TableID) *globaltable.Table {
	t.Helper()
	owner := mustRegion(w, region)
	table, err := Create(specOf(name), ms<<16|globaltable.TableID(owner.Origin), owner, 1)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestPrepareRefusesForks: what one owner cannot have issued does not come into force, and nothing changes.
func TestPrepareRefusesForks(t *testing.T) {
	w := newWorld(t, "eu", "us")
	v1 := exampleOf(t, w, "eu", "orders", 1000)
	yes := true
	change := func(from *globaltable.Table, epoch uint32) *globaltable.Table {
		next, err := Update(from, &Change{DeletionProtection: &yes, Region: "eu"}, epoch, w.region)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	v2 := change(v1, 2)
	other := v2.Clone()
	other.Tags = map[string]string{"made": "by a restored owner"}
	number := change(v1, 3)
	wrongHash := change(other, 3)
	renamed, rekeyed, dead := change(v2, 3), change(v2, 3), change(v2, 3)
	renamed.Name = "others"
	rekeyed.KeySchema.Partition.Type = item.N
	dead.Deleted, dead.Replicas = true, nil
	risen := successor(dead, 4)
	risen.Deleted, risen.Replicas = false, v2.Replicas

	for name, c := range map[string]struct {
		held, got *globaltable.Table
		kind      globaltable.Kind
	}{
		"one version twice":      {v2, other, globaltable.Corrupt},
		"greater epoch, no more": {v2, number, globaltable.Corrupt},
		"other predecessor":      {v2, wrongHash, globaltable.Corrupt},
		"other name":             {v2, renamed, globaltable.Corrupt},
		"other keys":             {v2, rekeyed, globaltable.Corrupt},
		"risen":                  {dead, risen, globaltable.Corrupt},
	} {
		w := newWorld(t, "eu", "us")
		if _, err := w.adopt("us", c.held); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := w.places["us"].View()
		_, err := w.adopt("us", c.got)
		if err == nil || globaltable.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
		if w.places["us"].View() != before {
			t.Errorf("%s: refused, and yet something changed", name)
		}
	}
	// Older and equal versions are no fault: they come again by other ways.
	for _, again := range []*globaltable.Table{v1, v2} {
		w.places["us"].docs = map[globaltable.TableID]item.Item{}
		if _, err := w.adopt("us", v2); err != nil {
			t.Fatal(err)
		}
		if out, err := w.adopt("us", again); err != nil || out != "nothing new" {
			t.Errorf("version %v after %v: %s, %v", again.Version, v2.Version, out, err)
		}
	}
}

// TestPrepareOfOneGroup: documents of one group see each other, and a group that is given up leaves nothing.
func TestPrepareOfOneGroup(t *testing.T) {
	w := newWorld(t, "eu", "us")
	eu := w.places["eu"]
	a, b := exampleOf(t, w, "eu", "orders", 1000), exampleOf(t, w, "eu", "orders", 1001)
	_, _, err := eu.Prepare([]item.Item{EncodeDocument(a), EncodeDocument(b)})
	if globaltable.KindOf(err) != globaltable.Exists {
		t.Errorf("two new tables of one name in one group: %v", err)
	}
	if _, adopt, err := eu.Prepare([]item.Item{EncodeDocument(a)}); err != nil || adopt == nil {
		t.Fatal(err)
	} // given up
	if _, ok := eu.View().Lookup("orders"); ok {
		t.Error("a document that was only prepared is in force")
	}
	changed := eu.View().Changed()
	adoptions, adopt, err := eu.Prepare([]item.Item{EncodeEpoch(1, 7), EncodeDocument(b)})
	if err != nil || len(adoptions) != 1 || !reflect.DeepEqual(adoptions[0], Adoption{Table: b.ID, Version: b.Version, Outcome: Adopted, Mirror: Mirror{From: b.ID}}) {
		t.Fatal(adoptions, err)
	}
	select {
	case <-changed:
		t.Error("changed before it was adopted")
	default:
	}
	adopt()
	select {
	case <-changed:
	default:
		t.Error("adopted, and nobody was told")
	}
	if got, ok := eu.View().Lookup("orders"); !ok || got.ID != b.ID {
		t.Error("not in force")
	}
	if _, adopt, err := eu.Prepare([]item.Item{EncodeEpoch(1, 8)}); err != nil || adopt != nil {
		t.Error("an epoch alone changes no table", err)
	}
}

func TestPrepareRefusesItems(t *testing.T) {
	w := newWorld(t, "eu", "us")
	a, b := exampleOf(t, w, "us", "orders", 1000), exampleOf(t, w, "us", "others", 1001)
	text := func(doc string) item.Value { return item.AppendString(nil, doc) }
	for name, c := range map[string]struct {
		it   item.Item
		kind globaltable.Kind
	}{
		"unknown kind":     {systemItem("later/1", "doc", text("{}")), globaltable.Unavailable},
		"no document":      {systemItem(prefixTable+a.ID.String(), "other", text("{}")), globaltable.Corrupt},
		"not a string":     {systemItem(prefixTable+a.ID.String(), attributeDocument, item.AppendInt(nil, 1)), globaltable.Corrupt},
		"not a document":   {systemItem(prefixTable+a.ID.String(), attributeDocument, text("{}")), globaltable.Corrupt},
		"another's key":    {systemItem(prefixTable+a.ID.String(), attributeDocument, text(string(globaltable.EncodeTable(b)))), globaltable.Corrupt},
		"epoch not a one":  {systemItem(epochName(1), attributeEpoch, text("1")), globaltable.Corrupt},
		"epoch too great":  {systemItem(epochName(1), attributeEpoch, item.AppendInt(nil, 1<<24)), globaltable.Corrupt},
		"a newer document": {systemItem(prefixTable+a.ID.String(), attributeDocument, text(`{"format":2}`)), globaltable.Unavailable},
	} {
		if _, _, err := w.places["eu"].Prepare([]item.Item{EncodeDocument(b), c.it}); err == nil || globaltable.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := w.places["eu"].View().Table(b.ID); ok {
		t.Error("part of a refused group is in force")
	}
}

func TestNamesPage(t *testing.T) {
	w := newWorld(t, "eu", "us")
	want := []string{"a-1", "a-10", "a-2", "a.b", "aaa", "zzz"}
	for i, n := range []string{"zzz", "a-2", "a.b", "a-1", "aaa", "a-10"} {
		if err := w.issue(exampleOf(t, w, "eu", n, globaltable.TableID(1000+i))); err != nil {
			t.Fatal(err)
		}
	}
	v := w.places["eu"].View()
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []string
		for after, more := "", true; more; {
			var page []string
			page, more = v.Names(after, limit)
			if len(page) == 0 || len(page) > limit {
				t.Fatalf("limit %d: a page of %d", limit, len(page))
			}
			got, after = append(got, page...), page[len(page)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	if got, more := v.Names("a-2x", 2); more != true || !slices.Equal(got, []string{"a.b", "aaa"}) {
		t.Error("after a name that is none:", got, more)
	}
	if got, more := v.Names("zzz", 2); more || len(got) != 0 {
		t.Error("after the last:", got, more)
	}
	if v.Len() != len(want) {
		t.Error(v.Len())
	}
}

func TestRegions(t *testing.T) {
	w := newWorld(t, "us", "ap", "eu")
	c := w.places["eu"]
	v := c.View()
	var names []string
	for _, d := range v.Regions() {
		names = append(names, d.Name)
	}
	if !slices.Equal(names, []string{"ap", "eu", "us"}) || v.Self().Name != "eu" {
		t.Error(names, v.Self())
	}
	if d, ok := v.Region("ap"); !ok || d.Origin != 2 {
		t.Error(d, ok)
	}
	if d, ok := v.RegionOf(1); !ok || d.Name != "us" {
		t.Error(d, ok)
	}
	if _, ok := v.Region("mars"); ok {
		t.Error("mars")
	}
	if _, ok := v.RegionOf(9); ok {
		t.Error("number 9")
	}
	p, lane, version, ok := c.Place(globaltable.SystemTable, nil)
	if !ok || !slices.Equal(p, globaltable.NewPlacement(1, 2, 3)) || lane != globaltable.CatalogLane || version != 0 || !c.Admits(globaltable.SystemTable, nil, 0) {
		t.Error("system table:", p, lane, version, ok)
	}
	for _, peers := range [][]globaltable.Descriptor{{{Name: "eu", Origin: 2}}, {{Name: "us", Origin: 1}}, {{Name: "us"}}} {
		if _, err := New(globaltable.Descriptor{Name: "eu", Origin: 1}, peers); globaltable.KindOf(err) != globaltable.Invalid {
			t.Error(peers, err)
		}
	}
}

// TestAnotherReplicaIsAnew: a region learns that the replica which a version gives it is not the one that it held, although it has not seen any version between.
func TestAnotherReplicaIsAnew(t *testing.T) {
	w := newWorld(t, "eu", "us")
	v1 := exampleOf(t, w, "eu", "orders", 1000)
	with := func(from *globaltable.Table, status globaltable.Status, born, since int) *globaltable.Table {
		next := successor(from, 1)
		if next.ReplicaNamed("us") == nil {
			next.Replicas = append(next.Replicas, globaltable.Replica{Region: "us", Origin: 2})
		}
		r := next.ReplicaNamed("us")
		r.Status, r.Born, r.Since = status, globaltable.MakeVersion(1, uint64(born)), globaltable.MakeVersion(1, uint64(since))
		return next
	}
	v2 := with(v1, globaltable.Creating, 2, 2)
	v3 := with(v2, globaltable.Active, 2, 3)
	v4 := with(v3, globaltable.StatusFenced, 2, 4)
	v5 := with(v4, globaltable.Creating, 5, 5)
	for _, c := range []struct {
		held, got *globaltable.Table
		us, eu    bool
	}{
		{nil, v1, false, false},
		{v1, v2, true, false},
		{nil, v3, true, false},
		{v2, v3, false, false},
		{v3, v4, false, false},
		{v4, v5, true, false},
		{v3, v5, true, false},
	} {
		for region, want := range map[string]bool{"us": c.us, "eu": c.eu} {
			w := newWorld(t, "eu", "us")
			if c.held != nil {
				if _, err := w.adopt(region, c.held); err != nil {
					t.Fatal(err)
				}
			}
			adoptions, _, err := w.places[region].Prepare([]item.Item{EncodeDocument(c.got)})
			if err != nil || len(adoptions) != 1 || adoptions[0].Anew != want {
				t.Errorf("%s, version %v: %+v, %v", region, c.got.Version, adoptions, err)
			}
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	w := newWorld(t, "eu", "us")
	a, b := exampleOf(t, w, "eu", "orders", 1000), exampleOf(t, w, "eu", "orders", 1001)
	for name, load := range map[string]func(*Catalog) error{
		"two of one name": func(c *Catalog) error { return c.Load([]item.Item{EncodeDocument(a), EncodeDocument(b)}, nil) },
		"unknown outcome": func(c *Catalog) error { return c.Load(nil, []Adoption{{Table: a.ID, Version: a.Version, Outcome: 9}}) },
		"not a document": func(c *Catalog) error {
			return c.Load([]item.Item{systemItem("table/1", "doc", item.AppendBool(nil, true))}, nil)
		},
	} {
		c, err := New(w.regions[0], w.regions[1:])
		if err != nil {
			t.Fatal(err)
		}
		if err := load(c); globaltable.KindOf(err) != globaltable.Corrupt || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func benchCatalog(b testing.TB, tables int) (*place, *globaltable.Table) {
	w := newWorld(b, "eu", "us", "ap")
	var last *globaltable.Table
	var docs []item.Item
	for i := range tables {
		last = exampleOf(b, w, "eu", fmt.Sprintf("table-%d", i), globaltable.TableID(1000+i))
		docs = append(docs, EncodeDocument(last))
	}
	if err := w.places["eu"].Load(docs, nil); err != nil {
		b.Fatal(err)
	}
	return w.places["eu"], last
}

// TestHotPathDoesNotAllocate pins what every write and read asks.
func TestHotPathDoesNotAllocate(t *testing.T) {
	c, table := benchCatalog(t, 10)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, _, ok := c.Place(table.ID, nil); !ok || !c.Admits(table.ID, nil, 0) || c.Version(table.ID) == 0 {
			t.Error("not here")
		}
		if _, ok := c.View().Lookup(table.Name); !ok {
			t.Error("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPlace(b *testing.B) {
	c, table := benchCatalog(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, ok := c.Place(table.ID, nil); !ok {
			b.Fatal("not here")
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	c, table := benchCatalog(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.View().Lookup(table.Name); !ok {
			b.Fatal("not found")
		}
	}
}

// BenchmarkAdopt is one new version among a thousand tables.
func BenchmarkAdopt(b *testing.B) {
	c, table := benchCatalog(b, 1000)
	b.ReportAllocs()
	yes, no := true, false
	for i := 0; b.Loop(); i++ {
		change := &Change{DeletionProtection: &yes, Region: "eu"}
		if i%2 == 1 {
			change.DeletionProtection = &no
		}
		next, err := Update(table, change, 1, nil)
		if err != nil {
			b.Fatal(err)
		}
		_, adopt, err := c.Prepare([]item.Item{EncodeDocument(next)})
		if err != nil {
			b.Fatal(err)
		}
		adopt()
		table = next
	}
}

// TestAcknowledgeFollowsItsTag: the setting is whatever the tag says, in every version, and a wrong value makes none.
func TestAcknowledgeFollowsItsTag(t *testing.T) {
	w := newWorld(t, "eu", "us")
	owner := mustRegion(w, "eu")
	spec := specOf("orders")
	spec.Tags = map[string]string{globaltable.AcknowledgeTag: "peers:2"}
	table, err := Create(spec, 1000<<16|globaltable.TableID(owner.Origin), owner, 1)
	if err != nil || table.AcknowledgePeers != 2 {
		t.Fatalf("%+v, %v", table, err)
	}
	yes := true
	for _, c := range []struct {
		change Change
		want   int
	}{
		{Change{DeletionProtection: &yes, Region: "eu"}, 2},
		{Change{Tag: map[string]string{globaltable.AcknowledgeTag: "peers:1"}}, 1},
		{Change{Untag: []string{globaltable.AcknowledgeTag}}, 0},
		{Change{Tag: map[string]string{globaltable.AcknowledgeTag: "peers:3"}}, 3},
		{Change{Tag: map[string]string{globaltable.AcknowledgeTag: "local"}}, 0},
	} {
		if table, err = Update(table, &c.change, 1, w.region); err != nil || table.AcknowledgePeers != c.want {
			t.Fatalf("%+v: %+v, %v", c.change, table, err)
		}
	}
	const says = `One or more parameter values were invalid: Tag concordat:acknowledge: "peers:9" is not known; it can be local, or peers:1 to peers:3`
	spec.Tags[globaltable.AcknowledgeTag] = "peers:9"
	_, created := Create(spec, 2000<<16|globaltable.TableID(owner.Origin), owner, 1)
	_, updated := Update(table, &Change{Tag: spec.Tags}, 1, w.region)
	for _, err := range []error{created, updated} {
		if g, ok := err.(*globaltable.Error); !ok || g.Kind != globaltable.Invalid || g.Message != says {
			t.Errorf("%v", err)
		}
	}
}

// TestJoinRateEndsWithTheJoin: the bound that a request gives to a replica's join is in the document only while it joins.
func TestJoinRateEndsWithTheJoin(t *testing.T) {
	w := newWorld(t, "eu", "us")
	v1 := exampleOf(t, w, "eu", "orders", 1000)
	v2, err := Update(v1, &Change{Create: []string{"us"}, JoinBytesPerSecond: 1 << 20}, 1, w.region)
	if err != nil || v2.ReplicaNamed("us").JoinBytesPerSecond != 1<<20 || v2.ReplicaNamed("eu").JoinBytesPerSecond != 0 {
		t.Fatalf("%+v, %v", v2, err)
	}
	joined := Answers{1: {Outcome: Adopted}, 2: {Outcome: Adopted, Joined: true}}
	v3, ok := Advance(v2, joined, 1)
	if !ok || v3.ReplicaNamed("us").JoinBytesPerSecond != 0 || v3.Validate() != nil {
		t.Errorf("%+v, %v", v3, v3.Validate())
	}
	if off, err := Update(v2, &Change{Delete: []string{"us"}}, 1, w.region); err != nil || off.ReplicaNamed("us").JoinBytesPerSecond != 0 {
		t.Errorf("%+v, %v", off, err)
	}
	fenced := v2.Clone()
	closeReplica(fenced.ReplicaNamed("us"), false, v2.Version, 5)
	if err := fenced.Validate(); err != nil || fenced.ReplicaNamed("us").JoinBytesPerSecond != 0 {
		t.Errorf("%+v, %v", fenced, err)
	}
	if _, err := Update(v1, &Change{Create: []string{"us"}, JoinBytesPerSecond: -1}, 1, w.region); globaltable.KindOf(err) != globaltable.Invalid {
		t.Errorf("a bound below zero: %v", err)
	}
}
