package commit

import (
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// TestItemHasItsKey: a deletion that is older than an update, and comes after it, takes the key's attributes from the record, and nobody misses them: no read, no index, no count, no plan.
func TestItemHasItsKey(t *testing.T) {
	w := newWall()
	f := start(t, store.NewMemory(), func(c *Config) { c.Clock = hlc.NewClock(w.now, 0) })
	f.adopt(indexedDocument(tableA, withPeer, 3, 5))
	k := keyOf(tableA, "k")
	b := item.Value(item.AppendBinary(nil, "b"))
	whole := buildItem(map[string]item.Value{"pk": item.AppendString(nil, "k"), "v": item.AppendString(nil, "v"), "a": item.AppendString(nil, "a"), "n": item.AppendInt(nil, 1), "b": b})
	f.must(f.Write(background, always(putOps(whole), k)))
	w.move(time.Second)
	o := newOrigin(peer, withPeer.Lane())
	o.clock = hlc.FromTime(w.now())
	deletion := o.changeOf(tableA, "k", "")
	w.move(time.Second)
	set := func(name string, v item.Value) conflict.Op {
		return conflict.Op{Kind: conflict.OpSetCell, Name: []byte(name), Value: v}
	}
	f.must(f.Write(background, always([]conflict.Op{set("a", item.AppendString(nil, "new")), set("n", item.AppendInt(nil, 2)), set("b", b)}, k)))
	_, err := f.ApplyRemote(background, o.remote([]conflict.Change{deletion}))
	f.must(err)

	left := buildItem(map[string]item.Value{"pk": item.AppendString(nil, "k"), "a": item.AppendString(nil, "new"), "n": item.AppendInt(nil, 2), "b": b})
	expect := func(where string, c Current) {
		t.Helper()
		if string(c.Item) != string(left) {
			t.Errorf("%s has %s", where, c.Item.AppendJSON(nil))
		}
	}
	f.must(f.Get(background, k, func(c Current) error {
		expect("a read", c)
		return nil
	}))
	f.must(f.GetAll(background, []Key{k}, func(c []Current) error {
		expect("a read of several", c[0])
		return nil
	}))
	for _, r := range []Range{{Table: tableA}, {Table: tableA, Index: 3}, {Table: tableA, Index: 5}} {
		n := 0
		f.must(f.Walk(background, r, func(_ item.Key, c Current) bool {
			expect("a walk", c)
			n++
			return true
		}))
		if n != 1 {
			t.Errorf("index %d: %d items", r.Index, n)
		}
	}
	f.must(f.Write(background, &Write{Keys: []Key{k}, Plan: func(c []Current) ([][]conflict.Op, error) {
		expect("a plan", c[0])
		return make([][]conflict.Op, 1), nil
	}}))
	digests, err := f.Digests(background, tableA)
	f.must(err)
	if d := digests[k.Bytes.Bucket(digestBits)]; d.Count != 1 || d.Bytes != uint64(left.Size()) {
		t.Errorf("%+v; the item has %d bytes", d, left.Size())
	}
	// The bytes that were counted go when the item goes.
	f.must(f.Write(background, remove(tableA, "k")))
	if digests, err = f.Digests(background, tableA); err != nil || digests[k.Bytes.Bucket(digestBits)] != (Digest{}) {
		t.Errorf("%+v, %v", digests[k.Bytes.Bucket(digestBits)], err)
	}
	f.must(f.stop())
	f.expectAudit(someRecords)
}

// TestContributionToWhatHasExpired: what is added to an item that has expired is added to nothing, and the item has its key.
func TestContributionToWhatHasExpired(t *testing.T) {
	f, w := expiring(t, store.NewMemory(), fromTheFirst)
	f.run()
	k := keyOf(tableA, "k")
	add := always([]conflict.Op{{Kind: conflict.OpAddNumber, Type: conflict.TypeCounter, Name: []byte("likes"), Value: item.AppendInt(nil, 3)}}, k)
	f.must(f.Write(background, always(putOps(mortal("k", "old", 5)), k)))
	f.must(f.Write(background, add))
	expect := func(want item.Item) {
		t.Helper()
		f.must(f.Get(background, k, func(c Current) error {
			if string(c.Item) != string(want) {
				t.Errorf("%s, not %s", c.Item.AppendJSON(nil), want.AppendJSON(nil))
			}
			return nil
		}))
	}
	three := item.Value(item.AppendInt(nil, 3))
	expect(buildItem(map[string]item.Value{"pk": item.AppendString(nil, "k"), "v": item.AppendString(nil, "old"), "ttl": item.AppendInt(nil, wallBegins+5), "likes": three}))
	w.move(10 * time.Second)
	f.must(f.Write(background, add))
	expect(buildItem(map[string]item.Value{"pk": item.AppendString(nil, "k"), "likes": three}))
	f.must(f.stop())
	f.expectAudit(someRecords)
}
