package controlplane

import (
	"fmt"
	"testing"
	"time"

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
		another, own := receiptsOf(id+1), receiptsOf(id)
		if _, _, err := another.checkRecord(first.Receipts[0]); err == nil {
			t.Error("a receipt of another table is taken")
		}
		if _, _, err := own.checkRecord([]byte("x")); err == nil {
			t.Error("what is no record is taken")
		}
	}, "eu", "us", "in")
}

// TestReceiptsOfAClosedRegion: the last receipt that a region has written into the catalog has got to one of the others only when the region is fenced. It gets to all, whoever closes it.
func TestReceiptsOfAClosedRegion(t *testing.T) {
	for _, far := range []string{"us", "ap"} { // us closes it
		t.Run(far+" has not got it", func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				id := w.make("orders", "eu").ID
				eu, us, ap := w.nodes["eu"], w.nodes["us"], w.nodes["ap"]
				has := func(n *node) int { return len(n.catalog.View().Receipts(id)) }
				write := func(region string, origin int) {
					key, err := nkeys.CreateUser()
					if err != nil {
						t.Fatal(err)
					}
					r := globaltable.Receipt{Table: id, Name: "orders", Version: globaltable.MakeVersion(1, 2), Region: region, Jurisdiction: "EU", Origin: w.regions[origin].Origin, Incarnation: 7, Started: 1000, Finished: 2000}
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
				write("eu", 0)
				w.until("all know the table", func() bool {
					return len(us.plane.Unheard())+len(ap.plane.Unheard()) == 0 && has(us) == 1 && has(ap) == 1
				})
				w.setCut(linkName("eu", far), true)
				write("us", 1)
				w.until("one of them has got it", func() bool { return has(us)+has(ap) == 3 })
				w.pass(time.Second)
				if has(w.nodes[far]) != 1 {
					t.Fatal("it got over a link that is cut")
				}
				if err := us.plane.FenceRegion(t.Context(), "eu"); err != nil {
					t.Fatal(err)
				}
				w.until("both have it", func() bool { return has(us) == 2 && has(ap) == 2 })
			}, "eu", "us", "ap")
		})
	}
}
