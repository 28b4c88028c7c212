package catalog

import (
	"slices"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestFeedFollowsItsTable: a conflict feed has no document. It is where its table is, under the same versions, and joins with it; no client can name it.
func TestFeedFollowsItsTable(t *testing.T) {
	w := newWorld(t, "eu", "us", "ap")
	v1 := exampleOf(t, w, "eu", "orders", 1000)
	v2, err := Update(v1, &Change{Tag: map[string]string{globaltable.Conflicts.AgeTag: "30d"}}, 1, w.region)
	if err != nil {
		t.Fatal(err)
	}
	v3, err := Update(v2, &Change{Create: []string{"us"}, JoinBytesPerSecond: 1 << 20}, 1, w.region)
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"eu", "us", "ap"} {
		for _, v := range []*globaltable.Table{v1, v2, v3} {
			if _, err := w.adopt(region, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	id, of := v3.ID, v3.ID.Feed()
	for _, region := range []string{"eu", "us", "ap"} {
		p := w.places[region].Catalog
		view := p.View()
		key := []byte("key of a conflict")
		for name, place := range map[string]func(globaltable.TableID, []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool){"places": p.Place, "feeds": p.Feeds} {
			a, lane, version, ok := place(id, key)
			b, feedLane, feedVersion, feedOK := place(of, key)
			if !slices.Equal(a, b) || lane != feedLane || version != feedVersion || ok != feedOK {
				t.Errorf("%s %s the table %v %v, the feed %v %v", region, name, a, ok, b, feedOK)
			}
		}
		for _, made := range []globaltable.Version{0, v1.Version, v3.Version} {
			if p.Admits(id, key, made) != p.Admits(of, key, made) {
				t.Errorf("%s admits only one of both at %v", region, made)
			}
		}
		doc, known := view.Table(of)
		if !known || doc.Name != "orders/conflicts" || doc.Conflicts.Seconds != 30*86400 || p.Version(of) != v3.Version || p.Settled(of) != p.Settled(id) || p.Indexed(of) != doc || p.Indexed(id) != nil ||
			len(p.Expiry(of)) != 1 || p.Expiry(id) != nil || p.KeySchema(of) != nil || p.KeySchema(id) == nil {
			t.Errorf("%s: %+v", region, doc)
		}
		if _, ok := view.Lookup("orders/conflicts"); ok {
			t.Errorf("%s: a client can name it", region)
		}
		names := []string{}
		view.Tables(func(t *globaltable.Table) bool { names = append(names, t.Name); return true })
		if !slices.Equal(names, []string{"orders"}) {
			t.Errorf("%s: %v", region, names)
		}
		held := map[globaltable.TableID]Held{}
		view.Held(func(h Held) { held[h.Table] = h })
		if a, b := held[id], held[of]; (a.Table == 0) != (b.Table == 0) || a.Version != b.Version || !slices.Equal(a.Placement, b.Placement) || (region == "ap") != (b.Table == 0) {
			t.Errorf("%s holds %+v and %+v", region, a, b)
		}
	}
	joins := w.places["us"].View().Joins()
	if len(joins) != 2 || joins[0].Table != id || joins[1].Table != of || joins[0].Since != joins[1].Since || joins[1].BytesPerSecond != 1<<20 || len(joins[1].Sources) != 1 {
		t.Errorf("%+v", joins)
	}
	if got := w.places["eu"].View().Shared(hlc.Origin(2)); !slices.Equal(got, []globaltable.TableID{id, of}) {
		t.Errorf("%v", got)
	}
	if got := w.places["eu"].View().Shared(hlc.Origin(3)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	// A document with a feed's id is none that an owner issues.
	false1 := feed.TableOf(v1)
	false1.Name, false1.KeySchema = "orders", v1.KeySchema
	if _, _, err := w.places["ap"].Prepare([]item.Item{EncodeDocument(false1)}); err == nil {
		t.Error("a feed has come as a document")
	}
}

func TestConflictsFollowTheirTags(t *testing.T) {
	w := newWorld(t, "eu", "us")
	owner := mustRegion(w, "eu")
	spec := specOf("orders")
	spec.Tags = map[string]string{globaltable.Conflicts.BytesTag: "128MiB"}
	table, err := Create(spec, 1000<<16|globaltable.TableID(owner.Origin), owner, 1)
	if err != nil || table.Conflicts != (globaltable.Retention{Bytes: 128 << 20}) {
		t.Fatalf("%+v, %v", table, err)
	}
	for _, c := range []struct {
		change Change
		want   globaltable.Retention
	}{
		{Change{Tag: map[string]string{globaltable.Conflicts.AgeTag: "2d"}}, globaltable.Retention{Seconds: 2 * 86400, Bytes: 128 << 20}},
		{Change{Untag: []string{globaltable.Conflicts.BytesTag}}, globaltable.Retention{Seconds: 2 * 86400}},
		{Change{Tag: map[string]string{globaltable.Conflicts.AgeTag: "default"}}, globaltable.Retention{}},
	} {
		if table, err = Update(table, &c.change, 1, w.region); err != nil || table.Conflicts != c.want {
			t.Fatalf("%+v: %+v, %v", c.change, table, err)
		}
	}
	const says = `One or more parameter values were invalid: Tag concordat:conflict-age: "soon" is not known; it can be a time from 1m to 366d in whole seconds, like 30d or 36h, or default`
	_, err = Update(table, &Change{Tag: map[string]string{globaltable.Conflicts.AgeTag: "soon"}}, 1, w.region)
	if g, ok := err.(*globaltable.Error); !ok || g.Kind != globaltable.Invalid || g.Message != says {
		t.Errorf("%v", err)
	}
}
