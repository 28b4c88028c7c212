package controlplane

import (
	"fmt"
	"slices"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// TestFeedBeginsAnewWithItsTable: a replica that begins with nothing has no conflicts of one before; a new version of a table that is held leaves them alone.
func TestFeedBeginsAnewWithItsTable(t *testing.T) {
	eu, us := globaltable.Descriptor{Name: "eu", Origin: 1}, globaltable.Descriptor{Name: "us", Origin: 2}
	regions := func(name string) (globaltable.Descriptor, bool) { return us, name == "us" }
	v1, err := catalog.Create(&catalog.Spec{Name: "orders", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "k", Type: item.S}}}, 1000<<16|1, eu, 1)
	if err != nil {
		t.Fatal(err)
	}
	v2, err := catalog.Update(v1, &catalog.Change{Create: []string{"us"}}, 1, regions)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	v3, err := catalog.Update(v2, &catalog.Change{DeletionProtection: &yes, Region: "us"}, 1, regions)
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.New(us, []globaltable.Descriptor{eu})
	if err != nil {
		t.Fatal(err)
	}
	anew := []commit.AdoptedTable{{ID: v1.ID, Anew: true}, {ID: v1.ID.Feed(), Anew: true, Indexes: []globaltable.IndexID{feed.ByTime}}}
	for _, step := range []struct {
		version *globaltable.Table
		want    []commit.AdoptedTable
	}{{v1, []commit.AdoptedTable{{ID: v1.ID}}}, {v2, anew}, {v3, []commit.AdoptedTable{{ID: v1.ID}}}} {
		got, err := ForShard(c).Prepare([]item.Item{catalog.EncodeDocument(step.version)})
		if err != nil || !sameButMirrors(got.Tables, step.want) {
			t.Errorf("version %v: %+v, %v", step.version.Version, got.Tables, err)
		}
		if got.Adopt != nil {
			got.Adopt()
		}
	}
}

// sameButMirrors compares what documents demand of a shard, but for what they say of copies.
func sameButMirrors(a, b []commit.AdoptedTable) bool {
	plain := func(list []commit.AdoptedTable) string {
		list = slices.Clone(list)
		for i := range list {
			list[i].Mirror = commit.Mirroring{}
		}
		return fmt.Sprint(list)
	}
	return plain(a) == plain(b)
}
