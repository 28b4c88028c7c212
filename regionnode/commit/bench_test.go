package commit

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// The benchmarks write 1 KB items to a store in a temporary directory, beside the limit: raw Pebble with the same bytes.

const (
	benchValue = 1000
	benchKeys  = 100_000
)

func benchEngine(b *testing.B) *store.Pebble {
	e, err := store.OpenPebble(store.Config{Dir: b.TempDir(), OnFatal: func(err error) { b.Error(err) }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return e
}

func benchShard(b *testing.B) *fixture {
	return start(b, benchEngine(b), func(c *Config) { c.Events.Durable = nil })
}

func benchItem() item.Item { return value("somebody", strings.Repeat("x", benchValue)) }

// benchKeySpace is made before the clock runs.
func benchKeySpace() []Key {
	keys := make([]Key, benchKeys)
	for i := range keys {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(i))
		k, err := item.AppendKey(nil, item.AppendBinary(nil, b[:]), nil)
		if err != nil {
			panic(err)
		}
		keys[i] = Key{tableA, k}
	}
	return keys
}

// report adds figures per operation: the processor time of the whole process is what a busy machine does not blur.
func report(b *testing.B) (finish func()) {
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime(b)
	return func() {
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
	}
}

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writers runs f on 64 goroutines.
func writers(b *testing.B, f func(rng *rand.Rand) error) {
	b.SetParallelism(32) // times GOMAXPROCS: 64 on two cores
	var seed atomic.Uint64
	defer report(b)()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(seed.Add(1), 0))
		for pb.Next() {
			if err := f(rng); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkWrite64(b *testing.B) { benchWrite(b, benchShard(b)) }

// BenchmarkWrite64Told is BenchmarkWrite64 of a table with a change stream.
func BenchmarkWrite64Told(b *testing.B) { benchWrite(b, telling64(b)) }

// telling64 opens a shard whose tables have streams.
func telling64(b *testing.B) *fixture {
	f := benchShard(b)
	f.catalog.stream.Store(streamSince)
	return f
}

func benchWrite(b *testing.B, f *fixture) {
	keys, it := benchKeySpace(), benchItem()
	ops := [][]conflict.Op{putOps(it)}
	plan := func([]Current) ([][]conflict.Op, error) { return ops, nil }
	// Writes are used again, as the API's requests are.
	pool := sync.Pool{New: func() any { return &Write{Keys: make([]Key, 1), Plan: plan} }}
	writers(b, func(rng *rand.Rand) error {
		w := pool.Get().(*Write)
		defer pool.Put(w)
		w.Keys[0] = keys[rng.IntN(benchKeys)]
		return f.Write(background, w)
	})
}

// BenchmarkRawPebble64 writes a record and a full log image for each write, from 64 goroutines, each batch synced: what DESIGN.md calls the limit.
func BenchmarkRawPebble64(b *testing.B) {
	e := benchEngine(b)
	keys, it := benchKeySpace(), benchItem()
	var seq atomic.Uint64
	writers(b, func(rng *rand.Rand) error {
		k := keys[rng.IntN(benchKeys)]
		batch := e.NewBatch()
		batch.Set(store.AppendRecordKey(nil, k.Table, k.Bytes), it)
		batch.Set(store.AppendLogKey(nil, 7, seq.Add(1)), it)
		wait, err := e.Apply(batch)
		if err != nil {
			return err
		}
		return wait()
	})
}

// BenchmarkRawPebbleGroup64 is the limit of group commit: one goroutine writes batches of 64 records and one log image of all.
func BenchmarkRawPebbleGroup64(b *testing.B) {
	e := benchEngine(b)
	keys, it := benchKeySpace(), benchItem()
	rng := rand.New(rand.NewPCG(1, 0))
	image := make([]byte, 64*len(it))
	waits := make(chan func() error, 3)
	done := make(chan error)
	go func() {
		var first error
		for wait := range waits {
			if err := wait(); err != nil && first == nil {
				first = err
			}
		}
		done <- first
	}()
	defer report(b)()
	for n := 0; n < b.N; n += 64 {
		batch := e.NewBatch()
		for range 64 {
			k := keys[rng.IntN(benchKeys)]
			batch.Set(store.AppendRecordKey(nil, k.Table, k.Bytes), it)
		}
		batch.Set(store.AppendLogKey(nil, 7, uint64(n)), image)
		wait, err := e.Apply(batch)
		if err != nil {
			b.Fatal(err)
		}
		waits <- wait
	}
	close(waits)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkApplyRemote64 applies entries of 64 changes, one after the other, as one lane's inbox does.
func BenchmarkApplyRemote64(b *testing.B) { benchApply(b, benchShard(b)) }

// BenchmarkApplyRemote64Told is BenchmarkApplyRemote64 of a table with a change stream.
func BenchmarkApplyRemote64Told(b *testing.B) { benchApply(b, telling64(b)) }

func benchApply(b *testing.B, f *fixture) {
	keys, it := benchKeySpace(), benchItem()
	rng := rand.New(rand.NewPCG(1, 0))
	o := newOrigin(peer, withPeer.Lane())
	changes := make([]conflict.Change, 64)
	entries := make(chan *Remote, 16)
	go func() {
		defer close(entries)
		for n := 0; n < b.N; n += 64 {
			o.clock = max(o.clock, hlc.FromTime(time.Now()))
			for i := range changes {
				o.clock++
				changes[i] = conflict.Change{Table: uint64(tableA), Key: keys[rng.IntN(benchKeys)].Bytes,
					Dot: hlc.Stamp{Time: o.clock, Origin: peer}, Ops: putOps(it)}
			}
			entries <- o.remote(changes)
		}
	}()
	defer report(b)()
	for r := range entries {
		if _, err := f.ApplyRemote(background, r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRawPebbleApply64 is the limit of apply: read 64 keys, write them in one batch, sync.
func BenchmarkRawPebbleApply64(b *testing.B) {
	e := benchEngine(b)
	keys, it := benchKeySpace(), benchItem()
	rng := rand.New(rand.NewPCG(1, 0))
	defer report(b)()
	for n := 0; n < b.N; n += 64 {
		batch := e.NewBatch()
		for range 64 {
			k := keys[rng.IntN(benchKeys)]
			key := store.AppendRecordKey(nil, k.Table, k.Bytes)
			if _, release, ok, err := e.Get(key); err != nil {
				b.Fatal(err)
			} else if ok {
				release.Close()
			}
			batch.Set(key, it)
		}
		wait, err := e.Apply(batch)
		if err == nil {
			err = wait()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) { benchGet(b, nil) }

// BenchmarkGetExpiring is BenchmarkGet of a table whose items expire.
func BenchmarkGetExpiring(b *testing.B) { benchGet(b, fromTheFirst) }

func benchGet(b *testing.B, x conflict.Expiry) {
	f := benchShard(b)
	f.catalog.expire(tableA, x)
	keys, it := benchKeySpace(), benchItem()
	const present = 10_000
	for i := 0; i < present; i += 100 {
		write := &Write{Keys: keys[i : i+100], Plan: always(putOps(it)).Plan}
		if err := f.Write(background, write); err != nil {
			b.Fatal(err)
		}
	}
	writers(b, func(rng *rand.Rand) error {
		return f.Get(background, keys[rng.IntN(present)], func(c Current) error {
			if c.Item == nil {
				b.Error("an item is missing")
			}
			return nil
		})
	})
}

// BenchmarkScan reads 10,000 items of 1 KB.
func BenchmarkScan(b *testing.B) {
	f := benchShard(b)
	keys, it := benchKeySpace(), benchItem()
	const present = 10_000
	for i := 0; i < present; i += 100 {
		write := &Write{Keys: keys[i : i+100], Plan: always(putOps(it)).Plan}
		if err := f.Write(background, write); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := f.Walk(background, Range{Table: tableA}, func(item.Key, Current) bool { n++; return true }); err != nil || n != present {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkCore is the sequencer alone: groups of 64 puts on an engine in memory, without syncs and waits.
func BenchmarkCore(b *testing.B) { benchCore(b, 0) }

// BenchmarkCoreTold is BenchmarkCore of a table with a change stream.
func BenchmarkCoreTold(b *testing.B) { benchCore(b, streamSince) }

func benchCore(b *testing.B, since int64) {
	f := open(b, discard{store.NewMemory()}, func(c *Config) {
		c.Events.Durable = nil
		tables := newTables(map[globaltable.TableID]globaltable.Placement{tableA: withPeer})
		tables.stream.Store(since)
		c.Catalog = tables
	})
	m := NewManual(f.Shard)
	keys, it := benchKeySpace(), benchItem()
	ops := [][]conflict.Op{putOps(it)}
	plan := func([]Current) ([][]conflict.Op, error) { return ops, nil }
	done := func(error) {}
	rng := rand.New(rand.NewPCG(1, 0))
	defer report(b)()
	for n := 0; n < b.N; n += 64 {
		for range 64 {
			m.Write(&Write{Keys: []Key{keys[rng.IntN(benchKeys)]}, Plan: plan}, done)
		}
		m.Settle()
	}
}

// BenchmarkTell tells of a put over an item of 1 KB.
func BenchmarkTell(b *testing.B) {
	f := open(b, discard{store.NewMemory()}, func(c *Config) {
		tables := newTables(map[globaltable.TableID]globaltable.Placement{tableA: withPeer})
		tables.stream.Store(streamSince)
		c.Catalog = tables
	})
	record := func(v string, at hlc.Timestamp) []byte {
		c := conflict.Change{Table: uint64(tableA), Key: keyOf(tableA, "k").Bytes, Dot: hlc.Stamp{Time: at, Origin: self}, Ops: putOps(value("k", v))}
		out, _, err := conflict.ApplyLocal(nil, nil, &c)
		f.must(err)
		return out
	}
	k := keyState{table: tableA, key: keyOf(tableA, "k").Bytes, current: record(strings.Repeat("x", benchValue), 5), next: record(strings.Repeat("y", benchValue), 6)}
	k.change.Dot = hlc.Stamp{Time: 6, Origin: self}
	g := &group{batch: nothing{}}
	b.ReportAllocs()
	for b.Loop() {
		f.must(f.core.tellWrite(g, &k))
	}
}

// discard is an engine that takes batches and forgets them.
type discard struct{ *store.Memory }

func (d discard) NewBatch() store.Batch                   { return nothing{} }
func (d discard) Apply(store.Batch) (func() error, error) { return func() error { return nil }, nil }

type nothing struct{}

func (nothing) Set(key, value []byte)       {}
func (nothing) Delete(key []byte)           {}
func (nothing) DeleteRange(from, to []byte) {}
func (nothing) Len() int                    { return 0 }
func (nothing) Empty() bool                 { return false }
func (nothing) Discard()                    {}

// benchIndexed opens a shard whose table has so many indexes of one attribute each.
func benchIndexed(b *testing.B, indexes int) *fixture {
	f := benchShard(b)
	var ids []globaltable.IndexID
	for i := range indexes {
		ids = append(ids, globaltable.IndexID(3*(i+1))) // of the shape that has the attribute "a"
	}
	f.adopt(indexedDocument(tableA, withPeer, ids...))
	return f
}

func benchIndexedItem(a int) item.Item {
	return buildItem(map[string]item.Value{"pk": item.AppendString(nil, "somebody"), "a": item.AppendString(nil, strconv.Itoa(a)), "v": item.AppendString(nil, strings.Repeat("x", benchValue))})
}

// BenchmarkWrite64Indexed is BenchmarkWrite64 in a table with indexes, whose attribute has another value with each write.
func BenchmarkWrite64Indexed(b *testing.B) {
	for _, indexes := range []int{0, 1, 5, 20} {
		b.Run(strconv.Itoa(indexes), func(b *testing.B) {
			f := benchIndexed(b, indexes)
			keys := benchKeySpace()
			var puts [64][][]conflict.Op
			for i := range puts {
				puts[i] = [][]conflict.Op{putOps(benchIndexedItem(i))}
			}
			writers(b, func(rng *rand.Rand) error {
				ops := puts[rng.IntN(len(puts))]
				return f.Write(background, &Write{Keys: []Key{keys[rng.IntN(benchKeys)]}, Plan: func([]Current) ([][]conflict.Op, error) { return ops, nil }})
			})
		})
	}
}

// BenchmarkWalkIndex reads 1,000 entries of one index key with their items of 1 KB, out of 100,000; and 1,000 items of the table in its own order, to compare.
func BenchmarkWalkIndex(b *testing.B) {
	f := benchIndexed(b, 1)
	keys := benchKeySpace()
	var writers sync.WaitGroup
	for w := range 64 {
		writers.Go(func() {
			for i := w; i < len(keys); i += 64 {
				if err := f.Write(background, always(putOps(benchIndexedItem(i%100)), keys[i])); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	prefix, err := item.AppendIndexKey(nil, []item.Value{item.AppendString(nil, "42")}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		r    Range
	}{{"index", Range{Table: tableA, Index: 3, Lower: prefix, Upper: prefix.PrefixEnd()}}, {"table", Range{Table: tableA}}} {
		b.Run(c.name, func(b *testing.B) {
			defer report(b)()
			for range b.N {
				n := 0
				if err := f.Walk(background, c.r, func(item.Key, Current) bool { n++; return n < 1000 }); err != nil || n != 1000 {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkBuildIndex builds an index of 10,000 items of 1 KB, step by step.
func BenchmarkBuildIndex(b *testing.B) {
	f := benchIndexed(b, 0)
	keys := benchKeySpace()
	for i := range 10_000 {
		f.must(f.Write(background, always(putOps(benchIndexedItem(i%100)), keys[i])))
	}
	b.ResetTimer()
	records := 0
	for i := range b.N {
		id := globaltable.IndexID(3 * (i + 1))
		f.adopt(indexedDocument(tableA, withPeer, id))
		for done := false; !done; {
			step, err := f.BuildIndex(background, tableA, id, 64)
			f.must(err)
			records += step.Records
			done = step.Done
		}
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
