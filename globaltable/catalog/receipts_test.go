package catalog

import (
	"fmt"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

func receiptOf(t *testing.T, region string, n uint64) Receipt {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	r := Receipt{Receipt: globaltable.Receipt{Table: 0x7000, Name: "orders", Version: globaltable.MakeVersion(1, n), Region: region, Jurisdiction: "EU", Origin: 1, Incarnation: 5, Started: 1, Finished: 2}}
	if region == "us" {
		r.Origin = 2
	}
	if r.Token, err = globaltable.SignReceipt(&r.Receipt, key); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReceipts: they come into force with a group, also where its document does not, and are found again; the newest take the places of the oldest.
func TestReceipts(t *testing.T) {
	w := newWorld(t, "eu", "us")
	c := w.places["eu"].Catalog
	var docs []item.Item
	give := func(r Receipt) {
		doc := EncodeReceipt(&r)
		docs = append(docs, doc)
		adoptions, adopt, err := c.Prepare([]item.Item{doc})
		if err != nil || len(adoptions) != 0 || adopt == nil {
			t.Fatalf("%v %v", adoptions, err)
		}
		adopt()
	}
	give(receiptOf(t, "us", 3))
	give(receiptOf(t, "eu", 3))
	give(receiptOf(t, "us", 4))
	list := func(c *Catalog) (out string) {
		for _, r := range c.View().Receipts(0x7000) {
			out += fmt.Sprint(r.Region, r.Version.Number(), " ")
		}
		return out
	}
	if got := list(c); got != "us4 eu3 us3 " {
		t.Errorf("%q", got)
	}
	if got := c.View().Receipts(0x6fff); len(got) != 0 {
		t.Errorf("of another table: %v", got)
	}
	again, err := New(mustRegion(w, "eu"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Load(docs, nil); err != nil || list(again) != list(c) {
		t.Errorf("%v, %q", err, list(again))
	}
	give(receiptOf(t, "us", 3+KeptReceipts))
	if got := list(c); got != fmt.Sprintf("us%d us4 eu3 ", 3+KeptReceipts) {
		t.Errorf("%q", got)
	}
	// A receipt under another one's key.
	r := receiptOf(t, "us", 3)
	if _, err := DecodeReceipt(systemItem(prefixReceipt+"else", attributeReceipt, item.AppendString(nil, []byte(r.Token)))); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Errorf("%v", err)
	}
}
