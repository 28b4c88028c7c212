package catalog

import (
	"maps"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestMergeFollowsItsTags: mode and types are whatever the tags say, in every version, on a table that goes on being written; what is wrong makes no version.
func TestMergeFollowsItsTags(t *testing.T) {
	w := newWorld(t, "eu", "us")
	spec := specOf("orders")
	spec.Tags = map[string]string{globaltable.MergeTag: "vector", globaltable.TypeTagPrefix + "likes": "counter", "team": "maps"}
	table, err := Create(spec, created<<16|1, mustRegion(w, "eu"), 1)
	if err != nil {
		t.Fatal(err)
	}
	key := table.KeySchema.Partition.Name
	expect := func(mode conflict.Mode, types map[string]conflict.TypeTag) {
		t.Helper()
		if table.Mode != mode || !maps.Equal(table.Types, types) {
			t.Fatalf("%v %v; want %v %v", table.Mode, table.Types, mode, types)
		}
	}
	expect(conflict.Vector, map[string]conflict.TypeTag{"likes": conflict.TypeCounter})
	for _, c := range []struct {
		change Change
		mode   conflict.Mode
		types  map[string]conflict.TypeTag
	}{
		{Change{Create: []string{"us"}, Region: "eu", At: 5000}, conflict.Vector, map[string]conflict.TypeTag{"likes": conflict.TypeCounter}},
		{Change{Tag: map[string]string{globaltable.TypeTagPrefix + "tags": "set", globaltable.TypeTagPrefix + "likes": "register"}, Region: "us"}, conflict.Vector,
			map[string]conflict.TypeTag{"likes": conflict.TypeRegister, "tags": conflict.TypeSet}},
		{Change{Tag: map[string]string{globaltable.MergeTag: "attribute"}, Untag: []string{globaltable.TypeTagPrefix + "likes"}, Region: "eu"}, conflict.Attribute,
			map[string]conflict.TypeTag{"tags": conflict.TypeSet}},
		{Change{Untag: []string{globaltable.MergeTag, globaltable.TypeTagPrefix + "tags"}, Region: "us"}, conflict.LWW, nil},
	} {
		if table, err = Update(table, &c.change, 1, w.region); err != nil {
			t.Fatalf("%+v: %v", c.change, err)
		}
		expect(c.mode, c.types)
		// What the others read is what was issued.
		back, err := globaltable.DecodeTable(globaltable.EncodeTable(table))
		if err != nil || back.Mode != c.mode || !maps.Equal(back.Types, c.types) {
			t.Fatalf("%+v, %v", back, err)
		}
	}
	const wrong = "One or more parameter values were invalid: "
	for want, tags := range map[string]map[string]string{
		wrong + `Tag concordat:merge: "typed" is not known; it can be lww, attribute or vector`:                      {globaltable.MergeTag: "typed", globaltable.TypeTagPrefix + "a": "set"},
		wrong + `Tag concordat:type:a: "list" is not known; it can be counter, set, map, max, min, register or none`: {globaltable.TypeTagPrefix + "a": "list"},
		wrong + `attribute "` + key + `" is of the table's key, which never changes: it has no merge type`:           {globaltable.TypeTagPrefix + key: "max"},
		wrong + `Tag concordat:modes is not known; tags that begin with concordat: are settings of the table: concordat:acknowledge, concordat:conflict-age, concordat:conflict-bytes, concordat:merge, concordat:stream-age, concordat:stream-bytes, concordat:type:ATTRIBUTE`: {"concordat:modes": "lww"},
	} {
		spec := specOf("other")
		spec.Tags = tags
		_, made := Create(spec, created<<16|2, mustRegion(w, "eu"), 1)
		_, updated := Update(table, &Change{Tag: tags, Region: "eu"}, 1, w.region)
		for _, err := range []error{made, updated} {
			if g, ok := err.(*globaltable.Error); !ok || g.Kind != globaltable.Invalid || g.Message != want {
				t.Errorf("%v\nwant %s", err, want)
			}
		}
	}
	// A type may not be what an index's key never is, whichever comes first.
	index := &globaltable.Index{Name: "by-likes", Partition: []globaltable.KeyAttribute{{Name: "likes", Type: item.S}}, Projection: globaltable.ProjectAll}
	typed, err := Update(table, &Change{Tag: map[string]string{globaltable.TypeTagPrefix + "likes": "set"}, Region: "eu"}, 1, w.region)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Update(typed, &Change{CreateIndex: index, Region: "eu"}, 1, w.region); err == nil || !strings.Contains(err.Error(), `attribute "likes" is of an index's key`) {
		t.Error(err)
	}
}
