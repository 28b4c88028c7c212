package conflict

import (
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
	"github.com/concordat-db/concordat/globaltable/item"
)

// modeCase is a way to record one update of an item, and what a table of that mode holds before.
type modeCase struct {
	name string
	ops  func(b *testing.B, n int) []Op // the intents of the update number n
	// history leads to the record that is updated; nil: one put.
	history []func(b *testing.B) []Op
}

func counterOps(b *testing.B, n int) []Op {
	return []Op{{Kind: OpAddNumber, Type: TypeCounter, Name: []byte("visits"), Value: item.AppendInt(nil, int64(n%7+1))}}
}

func modeCases() []modeCase {
	string1 := func(name string) func(b *testing.B, n int) []Op {
		v := item.AppendString(nil, "another value")
		return func(b *testing.B, n int) []Op { return []Op{{Kind: OpSetCell, Name: []byte(name), Value: v}} }
	}
	whole := func(b *testing.B, n int) []Op { return RecordPut(nil, kilobyte(b)) }
	once := func(f func(b *testing.B, n int) []Op) []func(b *testing.B) []Op {
		return []func(b *testing.B) []Op{func(b *testing.B) []Op { return f(b, 0) }}
	}
	element := func(b *testing.B, n int) []Op {
		return []Op{{Kind: OpAddElements, Type: TypeSet, Name: []byte("tags"), Value: stringSet(b, string('a'+rune(n%8)))}}
	}
	drop := func(b *testing.B, n int) []Op {
		return []Op{{Kind: OpDeleteElements, Type: TypeSet, Name: []byte("tags"), Value: stringSet(b, "a")}}
	}
	bid := func(b *testing.B, n int) []Op {
		return []Op{{Kind: OpSetCell, Type: TypeMax, Name: []byte("top"), Value: item.AppendInt(nil, int64(n))}}
	}
	inside := func(b *testing.B, n int) []Op {
		return []Op{{Kind: OpSetPath, Type: TypeMap, Name: pathOf("map", "a"), Value: item.AppendInt(nil, int64(n))}}
	}
	return []modeCase{
		{"lww", whole, nil},
		{"attribute", string1("zone"), once(string1("zone"))},
		{"vector/register", string1("zone"), once(string1("zone"))},
		{"vector/counter", counterOps, once(counterOps)},
		{"vector/set-add", element, once(element)},
		{"vector/set-delete", drop, once(element)},
		{"vector/max", bid, once(bid)},
		{"vector/map", inside, once(inside)},
		{"vector/put-over-contributions", whole, append(append(once(counterOps), once(element)...), once(bid)...)},
	}
}

// BenchmarkMode says what an update costs in each mode, and each type of the mode vector, on an item of 1 KB: a write on the region's own record, the merge of the change that its log got into a peer's record, and how many bytes a record and a change
// have beside the item, or the value that was written.
func BenchmarkMode(b *testing.B) {
	for _, m := range modeCases() {
		plain := len(kilobyte(b))
		var mine, theirs []byte
		write := func(at uint64, ops []Op) Change {
			c := Change{Key: []byte("12345678key"), Dot: goldenStamp(int64(at), 0, 1), Ops: ops}
			var err error
			if mine, _, err = ApplyLocal(nil, mine, &c); err != nil {
				b.Fatal(err)
			}
			return c
		}
		c := write(1, RecordPut(nil, kilobyte(b)))
		at := uint64(2)
		for _, ops := range m.history {
			c = write(at, ops(b))
			at++
		}
		theirs = mine
		before, intents := mine, m.ops(b, 1)
		c = write(at, intents)
		changeBytes, after := len(c.Append(nil)), len(mine)
		dst := make([]byte, 0, 8192)
		b.Run(m.name+"/write", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := Change{Key: c.Key, Dot: c.Dot, Ops: intents}
				if _, _, err := ApplyLocal(dst, before, &c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(after-plain), "record-B")
			b.ReportMetric(float64(changeBytes), "change-B")
		})
		b.Run(m.name+"/merge", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Apply(dst, theirs, &c); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(m.name+"/read", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ItemOf(mine, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestLWWPaysOnlyForTheStamp: what a table of the mode lww holds of an item that one region writes, and what its change has, is the item, and a stamp of 12 bytes.
func TestLWWPaysOnlyForTheStamp(t *testing.T) {
	it := makeItem(t, "a", "1", "b", "2")
	var rec []byte
	for n := range 3 {
		c := Change{Key: []byte("k"), Dot: goldenStamp(int64(n), 0, 1), Ops: RecordPut(nil, it)}
		var err error
		allocs := testing.AllocsPerRun(5, func() {
			if _, _, err = ApplyLocal(make([]byte, 0, 256)[:0], rec, &c); err != nil {
				t.Fatal(err)
			}
		})
		if rec, _, err = ApplyLocal(nil, rec, &c); err != nil || len(rec) != len(it)+2+hlc.StampLen {
			t.Fatalf("a record of %d bytes for an item of %d: %v", len(rec), len(it), err)
		}
		if allocs > 0 {
			t.Errorf("%v allocations", allocs)
		}
	}
	if v, err := VectorOf(rec); err != nil || !v.Equal(vector.Vector{goldenStamp(2, 0, 1)}) {
		t.Errorf("vector %v, %v", v, err)
	}
}
