package store_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/regionnode/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// crashable is an engine under the conformance suite, with a way to pull its plug.
type crashable struct {
	store.Engine
	crash func(t *testing.T) crashable // the engine found after a power cut that lost everything unsynced
}

func engines() map[string]func(t *testing.T) crashable {
	return map[string]func(t *testing.T) crashable{
		"memory": func(*testing.T) crashable { return crashableMemory(store.NewMemory()) },
		"pebble": func(t *testing.T) crashable { return crashablePebble(t, vfs.NewCrashableMem()) },
	}
}

func crashableMemory(m *store.Memory) crashable {
	return crashable{m, func(*testing.T) crashable { return crashableMemory(m.Crash(nil)) }}
}

func crashablePebble(t *testing.T, fs *vfs.MemFS) crashable {
	p, err := store.OpenPebble(store.Config{Dir: "data", FS: fs, MemTableBytes: 1 << 20, CacheBytes: 1 << 20,
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	return crashable{p, func(t *testing.T) crashable {
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		return crashablePebble(t, clone)
	}}
}

// conform runs f on each engine.
func conform(t *testing.T, f func(t *testing.T, e crashable)) {
	for name, open := range engines() {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

func apply(t *testing.T, e store.Engine, fill func(b store.Batch)) (wait func() error) {
	t.Helper()
	b := e.NewBatch()
	fill(b)
	wait, err := e.Apply(b)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func write(t *testing.T, e store.Engine, fill func(b store.Batch)) {
	t.Helper()
	if err := apply(t, e, fill)(); err != nil {
		t.Fatal(err)
	}
}

func dump(t *testing.T, r store.Reader, lower, upper []byte) string {
	t.Helper()
	it, err := r.NewIter(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s=%s", it.Key(), v))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

func TestBatchIsAtomicAndOrdered(t *testing.T) {
	conform(t, func(t *testing.T, e crashable) {
		defer e.Close()
		write(t, e, func(b store.Batch) {
			if !b.Empty() {
				t.Error("a new batch is not empty")
			}
			b.Set([]byte("a"), []byte("1"))
			b.Set([]byte("b"), []byte("2"))
			b.Set([]byte("c"), nil)
			b.Set([]byte("a"), []byte("3"))
			if b.Empty() || b.Len() == 0 {
				t.Error("a filled batch is empty")
			}
		})
		expect(t, "later wins", dump(t, e, nil, nil), "a=3 b=2 c=")
		write(t, e, func(b store.Batch) {
			b.DeleteRange([]byte("a"), []byte("c"))
			b.Set([]byte("b"), []byte("4"))
			b.Delete([]byte("c"))
		})
		expect(t, "range deletion before a set", dump(t, e, nil, nil), "b=4")
		b := e.NewBatch()
		b.Set([]byte("x"), []byte("x"))
		b.Discard()
		expect(t, "discarded", dump(t, e, nil, nil), "b=4")
	})
}

func TestGet(t *testing.T) {
	conform(t, func(t *testing.T, e crashable) {
		defer e.Close()
		key, value := []byte("key"), []byte("value")
		write(t, e, func(b store.Batch) { b.Set(key, value) })
		key[0], value[0] = 'x', 'x' // the batch has copied
		got, release, ok, err := e.Get([]byte("key"))
		if err != nil || !ok || string(got) != "value" {
			t.Fatalf("got %q, %v, %v", got, ok, err)
		}
		if err := release.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, ok, err := e.Get([]byte("ke")); ok || err != nil {
			t.Fatalf("absent key: %v, %v", ok, err)
		}
	})
}

func TestSnapshotsAndIteratorsDoNotMove(t *testing.T) {
	conform(t, func(t *testing.T, e crashable) {
		write(t, e, func(b store.Batch) { b.Set([]byte("a"), []byte("1")) })
		s := e.NewSnapshot()
		it, err := e.NewIter(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		write(t, e, func(b store.Batch) { b.Delete([]byte("a")); b.Set([]byte("b"), []byte("2")) })
		expect(t, "snapshot", dump(t, s, nil, nil), "a=1")
		if _, _, ok, _ := s.Get([]byte("b")); ok {
			t.Error("the snapshot sees a later key")
		}
		if !it.First() || string(it.Key()) != "a" || it.Next() {
			t.Error("the iterator sees a later batch")
		}
		expect(t, "engine", dump(t, e, nil, nil), "b=2")
		for _, c := range []interface{ Close() error }{it, s, e} {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestModel compares random batches, seeks and steps with a sorted slice.
func TestModel(t *testing.T) {
	conform(t, func(t *testing.T, e crashable) {
		defer e.Close()
		rng := rand.New(rand.NewPCG(1, 2))
		model := map[string]string{}
		key := func() []byte {
			k := make([]byte, 1+rng.IntN(3))
			for i := range k {
				k[i] = []byte{0, 1, 'a', 0xff}[rng.IntN(4)]
			}
			return k
		}
		for range 400 {
			write(t, e, func(b store.Batch) {
				for range rng.IntN(5) {
					switch k := key(); rng.IntN(6) {
					case 0:
						b.Delete(k)
						delete(model, string(k))
					case 1:
						to := key()
						if bytes.Compare(k, to) < 0 {
							b.DeleteRange(k, to)
							for m := range model {
								if m >= string(k) && m < string(to) {
									delete(model, m)
								}
							}
						}
					default:
						v := fmt.Sprint(rng.IntN(100))
						b.Set(k, []byte(v))
						model[string(k)] = v
					}
				}
			})
			lower, upper := key(), key()
			if bytes.Compare(lower, upper) >= 0 {
				lower, upper = nil, nil
			}
			walk(t, e, model, lower, upper, rng, key)
		}
	})
}

// walk takes random steps with an iterator and checks each.
func walk(t *testing.T, r store.Reader, model map[string]string, lower, upper []byte, rng *rand.Rand, key func() []byte) {
	t.Helper()
	var keys []string
	for k := range model {
		if k >= string(lower) && (upper == nil || k < string(upper)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	it, err := r.NewIter(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	at, valid := 0, false
	for range 12 {
		var ok bool
		op := rng.IntN(6)
		if !valid && op >= 4 {
			op = rng.IntN(4)
		}
		switch op {
		case 0:
			at, ok = 0, it.First()
		case 1:
			at, ok = len(keys)-1, it.Last()
		case 2:
			k := key()
			at, _ = slices.BinarySearch(keys, string(k))
			ok = it.SeekGE(k)
		case 3:
			k := key()
			at, _ = slices.BinarySearch(keys, string(k))
			at--
			ok = it.SeekLT(k)
		case 4:
			at, ok = at+1, it.Next()
		case 5:
			at, ok = at-1, it.Prev()
		}
		valid = at >= 0 && at < len(keys)
		if ok != valid {
			t.Fatalf("op %d: got %v at %d of %q in [%q, %q)", op, ok, at, keys, lower, upper)
		}
		if !valid {
			continue
		}
		if v, err := it.Value(); err != nil || string(it.Key()) != keys[at] || string(v) != model[keys[at]] {
			t.Fatalf("op %d: at %q = %q, %v; want %q = %q", op, it.Key(), v, err, keys[at], model[keys[at]])
		}
	}
}

func TestCrashKeepsWhatWasWaitedFor(t *testing.T) {
	conform(t, func(t *testing.T, e crashable) {
		write(t, e, func(b store.Batch) { b.Set([]byte("a"), []byte("1")) })
		first := apply(t, e, func(b store.Batch) { b.Set([]byte("b"), []byte("2")) })
		second := apply(t, e, func(b store.Batch) { b.Set([]byte("c"), []byte("3")) })
		expect(t, "visible before the sync", dump(t, e, nil, nil), "a=1 b=2 c=3")
		if err := second(); err != nil {
			t.Fatal(err)
		}
		if err := first(); err != nil {
			t.Fatal(err)
		}
		e = e.crash(t)
		defer e.Close()
		expect(t, "a later wait covers earlier batches", dump(t, e, nil, nil), "a=1 b=2 c=3")
	})
}

func TestSize(t *testing.T) {
	conform(t, func(t *testing.T, e crashable) {
		defer e.Close()
		if n, err := e.Size([]byte("a"), []byte("b")); err != nil || n != 0 {
			t.Fatalf("empty: %d, %v", n, err)
		}
	})
}

func TestMemoryCrashMayKeepAPrefix(t *testing.T) {
	m := store.NewMemory()
	var late func() error
	for _, k := range []string{"a", "b", "c"} {
		late = apply(t, m, func(b store.Batch) { b.Set([]byte(k), nil) })
	}
	after := m.Crash(func(unsynced int) int { return unsynced - 1 })
	expect(t, "prefix", dump(t, after, nil, nil), "a= b=")
	if late() == nil {
		t.Error("a crashed engine has synced")
	}
	if _, err := m.Apply(m.NewBatch()); err == nil {
		t.Error("a crashed engine has applied")
	}
}
