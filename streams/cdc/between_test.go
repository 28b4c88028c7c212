package cdc

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestExpiryIsOfItsNewestWriter: regions that write an item before it expires, and write it anew after that without having heard of all, each tell an expiry. The region of the newest write tells it as its own, whatever it knows of the others; who has heard of all names it, too.
func TestExpiryIsOfItsNewestWriter(t *testing.T) {
	const due = 1_700_000_100 // seconds
	key, err := item.AppendKey(nil, item.AppendString(nil, "a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	table := Table{Key: &globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}}, Expiry: conflict.Expiry{{Attribute: "until", From: 1}}}
	number := item.AppendInt(nil, due)
	moment := func(seconds int64) hlc.Timestamp { return hlc.FromTime(time.Unix(seconds, 0)) }
	names := []string{"v", "w", "x"}
	rapid.Check(t, func(t *rapid.T) {
		const regions = 3
		var writes []conflict.Change
		newest := hlc.Stamp{}
		for i := range rapid.IntRange(1, 8).Draw(t, "writes") {
			dot := hlc.Stamp{Time: moment(due - 50 + rapid.Int64Range(0, 40).Draw(t, "at")), Origin: hlc.Origin(1 + rapid.IntRange(0, regions-1).Draw(t, "region"))}
			dot.Time += hlc.Timestamp(i) // no two of a region at once
			writes = append(writes, conflict.Change{Table: 7, Key: key, Dot: dot, Ops: []conflict.Op{{Kind: conflict.OpSetCell},
				{Kind: conflict.OpSetCell, Name: []byte("until"), Value: number}, {Kind: conflict.OpSetCell, Name: []byte(rapid.SampledFrom(names).Draw(t, "name")), Value: item.AppendString(nil, "x")}}})
			if newest.Less(dot) {
				newest = dot
			}
		}
		apply := func(record []byte, change *conflict.Change) []byte {
			next, _, err := conflict.Apply(nil, record, change)
			if err != nil {
				t.Fatal(err)
			}
			return next
		}
		for region := hlc.Origin(1); region <= regions; region++ {
			var before []byte
			all := true
			for _, i := range rapid.Permutation(indexes(len(writes))).Draw(t, "order") {
				if writes[i].Dot.Origin != region && !rapid.Bool().Draw(t, "heard") {
					all = false
					continue
				}
				before = apply(before, &writes[i])
			}
			anew := conflict.Change{Table: 7, Key: key, Dot: hlc.Stamp{Time: moment(due + 10), Origin: region}, Ops: []conflict.Op{{Kind: conflict.OpReset}, {Kind: conflict.OpSetCell}}}
			step, err := table.Between(key, before, apply(before, &anew), anew.Dot.Time)
			if err != nil {
				t.Fatal(err)
			}
			if step.Gone == nil {
				if before != nil {
					t.Fatal("an item expired, and nobody is told")
				}
				continue
			}
			if step.GoneAt.Time != moment(due) {
				t.Fatalf("it expired at %s", step.GoneAt)
			}
			if (region == newest.Origin || all) && step.GoneAt.Origin != newest.Origin {
				t.Fatalf("region %d says it was one of %d; the newest write is %s", region, step.GoneAt.Origin, newest)
			}
		}
	})
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
