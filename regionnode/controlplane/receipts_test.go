package controlplane

import (
	"fmt"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// TestReceiptsInPages: a region that was away, and has not got them by the catalog's lane, fetches the receipts of a table, in several answers.
func TestReceiptsInPages(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu").ID
		eu, us := w.nodes["eu"], w.nodes["us"]
		key, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		const versions = catalog.KeptReceipts
		handed := map[string]int64{}
		for i := range 20 {
			handed[fmt.Sprintf("a-region-with-a-long-name-%d", i)] = 1
		}
		for i := range versions {
			for _, region := range []string{"eu", "us", "in"} {
				r := globaltable.Receipt{Table: id, Name: "orders", Version: globaltable.MakeVersion(1, uint64(i+2)), Region: region, Jurisdiction: "EU",
					Origin: w.regions[map[string]int{"eu": 0, "us": 1, "in": 2}[region]].Origin, Incarnation: 7, Started: 1000, Finished: 2000,
					Done: globaltable.Placed{Erased: 20, Handed: handed}}
				token, err := globaltable.SignReceipt(&r, key)
				if err != nil {
					t.Fatal(err)
				}
				at := commit.Key{Table: globaltable.SystemTable, Bytes: catalog.ReceiptKey(&r)}
				it := catalog.EncodeReceipt(&catalog.Receipt{Receipt: r, Token: token})
				if err := eu.shard.Write(t.Context(), &commit.Write{Keys: []commit.Key{at}, Plan: func([]commit.Current) ([][]conflict.Op, error) { return put(it), nil }}); err != nil {
					t.Fatal(err)
				}
			}
		}
		first, err := eu.plane.answerReceipts(t.Context(), &receiptsRequest{id.String(), 0})
		if err != nil || !first.More || len(first.Receipts) == 0 || len(first.Receipts)%3 != 0 {
			t.Fatalf("%d receipts in one answer, more: %v, %v", len(first.Receipts), first.More, err)
		}
		if err := us.plane.Fetch(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
		if got := len(us.catalog.View().Receipts(id)); got != 3*versions {
			t.Errorf("%d receipts", got)
		}
		if _, err := checkReceipt(first.Receipts[0], id+1); err == nil {
			t.Error("a receipt of another table is taken")
		}
		if _, err := checkReceipt([]byte("x"), id); err == nil {
			t.Error("what is no record is taken")
		}
	}, "eu", "us", "in")
}
