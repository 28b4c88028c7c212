package commit

import (
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// TestStampsOfExpiries: of what is told of a key an expiry is later than what expired and not later than what follows, whether the item was written anew or collected, when nothing is left of its record.
func TestStampsOfExpiries(t *testing.T) {
	f, w := streaming(t, store.NewMemory(), fromTheFirst)
	f.run()
	start := f.StreamMark()
	for _, pk := range []string{"swept", "written"} {
		f.must(f.Write(background, always(putOps(mortal(pk, "1", 10)), keyOf(tableA, pk))))
	}
	w.move(20 * time.Second)
	f.must(f.Write(background, put(tableA, "written", "2")))
	f.follow(tableA, 10)
	f.raisePurge(tableA, 7, at(15))
	_, err := f.Collect(background, tableA, nil, 100)
	f.must(err)
	newest, expiries := map[string]hlc.Stamp{}, 0
	for _, r := range f.told(start) {
		if key := string(r.Key); !newest[key].Less(r.Newest) {
			t.Errorf("%s %s has the stamp %s, after %s", r.Event, r.Kind, r.Newest, newest[key])
		} else {
			newest[key] = r.Newest
		}
		if r.Dot.Time == at(10) {
			expiries++
		}
	}
	if len(newest) != 2 || expiries != 2 {
		t.Errorf("%d keys and %d expiries were told", len(newest), expiries)
	}
}

// TestStampsOfMerges: a write that comes late, with a smaller dot than what is there, makes another state with the same stamp. The position says which is later, and the outcome that its writer had not seen all.
func TestStampsOfMerges(t *testing.T) {
	f, _ := streaming(t, store.NewMemory(), nil)
	f.run()
	o := newOrigin(peer, withPeer.Lane())
	set := func(name string) []conflict.Op {
		return []conflict.Op{{Kind: conflict.OpSetCell}, {Kind: conflict.OpSetCell, Name: []byte(name), Value: item.AppendString(nil, "1")}}
	}
	f.must(f.Write(background, always(set("v"), keyOf(tableA, "a"))))
	mark := f.StreamMark()
	newest := f.told(0)[0].Newest
	late := o.changeOf(tableA, "a", "x")
	late.Dot.Time = newest.Time - 1
	late.Ops = set("other")
	_, err := f.ApplyRemote(background, o.remote([]conflict.Change{late}))
	f.must(err)
	told := f.told(mark)
	if len(told) != 1 || told[0].Newest != newest || told[0].Position <= mark || told[0].Outcome == 0 {
		t.Errorf("%+v", told)
	}
}
