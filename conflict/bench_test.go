package conflict

import (
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/conflict/vector"
)

// kilobyte is an item of about 1 KB in eight attributes.
func kilobyte(b *testing.B) []byte {
	v := strings.Repeat("v", 120)
	return makeItem(b, "id", v, "name", v, "country", v, "lat", v, "lng", v, "admin1", v, "admin2", v, "zone", v)
}

func benchApply(b *testing.B, current []byte, next func(i int) Change) {
	b.Helper()
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		c := next(i)
		i++
		if _, _, err := Apply(dst, current, &c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	it := kilobyte(b)
	ops, key := RecordPut(nil, it), []byte("k")
	record := func(cs ...Change) []byte {
		rec, err := applyAll(nil, pointers(cs)...)
		if err != nil {
			b.Fatal(err)
		}
		return rec
	}
	whole := func(at uint64, o hlc.Origin, context vector.Vector) Change {
		return Change{Key: key, Dot: stamp(at, o), Context: context, Ops: ops}
	}
	mine := record(whole(10, 1, nil))
	both := record(whole(10, 1, nil), whole(20, 2, vector.Vector{stamp(10, 1)}))
	general := record(whole(10, 1, nil), set(b, stamp(20, 2), vector.Vector{stamp(10, 1)}, "name", "x"))
	seen := vector.Vector{stamp(20, 2)}
	attribute := set(b, stamp(30, 1), seen, "zone", "y")
	b.Run("put/absent", func(b *testing.B) { benchApply(b, nil, func(int) Change { return whole(30, 1, nil) }) })
	b.Run("put/own", func(b *testing.B) { benchApply(b, mine, func(int) Change { return whole(30, 1, nil) }) })
	b.Run("put/concurrent", func(b *testing.B) { benchApply(b, mine, func(int) Change { return whole(30, 2, nil) }) })
	b.Run("put/two-writers", func(b *testing.B) { benchApply(b, both, func(int) Change { return whole(30, 1, seen) }) })
	b.Run("put/lost", func(b *testing.B) { benchApply(b, mine, func(int) Change { return whole(5, 2, nil) }) })
	b.Run("put/general", func(b *testing.B) { benchApply(b, general, func(int) Change { return whole(30, 1, seen) }) })
	b.Run("set/uniform", func(b *testing.B) { benchApply(b, mine, func(int) Change { return attribute }) })
	b.Run("set/general", func(b *testing.B) { benchApply(b, general, func(int) Change { return attribute }) })
}

func pointers(cs []Change) []*Change {
	out := make([]*Change, len(cs))
	for i := range cs {
		out[i] = &cs[i]
	}
	return out
}

func BenchmarkJoinEncoded(b *testing.B) {
	it := kilobyte(b)
	base := Change{Key: []byte("k"), Dot: stamp(10, 1), Ops: RecordPut(nil, it)}
	x, y := set(b, stamp(20, 2), nil, "name", "x"), set(b, stamp(21, 3), nil, "zone", "y")
	left, err := applyAll(nil, &base, &x)
	if err != nil {
		b.Fatal(err)
	}
	right, err := applyAll(nil, &base, &y)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := JoinEncoded(dst, left, right); err != nil {
			b.Fatal(err)
		}
	}
}

func benchChange(b *testing.B) Change {
	return Change{
		Table: 1 << 40, Key: []byte("12345678key"), Dot: goldenStamp(0, 0, 1), Floor: goldenStamp(-900, 0, 0).Time,
		CatalogVersion: 1<<40 | 5, Ops: RecordPut(nil, kilobyte(b)),
	}
}

func BenchmarkChangeAppend(b *testing.B) {
	c := benchChange(b)
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		c.Append(dst)
	}
}

func BenchmarkDecodeChange(b *testing.B) {
	c := benchChange(b)
	enc := c.Append(nil)
	var got Change
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeChange(enc, &got); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckChange(b *testing.B) {
	c := benchChange(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Check(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	c := benchChange(b)
	uniform, err := applyAll(nil, &c)
	if err != nil {
		b.Fatal(err)
	}
	u := set(b, goldenStamp(10, 0, 2), nil, "zone", "y")
	general, err := applyAll(uniform, &u)
	if err != nil {
		b.Fatal(err)
	}
	for name, rec := range map[string][]byte{"uniform": uniform, "general": general} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Digest(c.Key, rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
