package commit

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// world drives a shard by hand beside a naive model: for each key the values written, in order, and how many were acknowledged.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	engine *store.Memory
	f      *fixture
	m      *Manual

	written map[string][]string // by key; "" is a delete
	acked   map[string]int      // how many of them are acknowledged
	pairs   int                 // transactions so far
	origin  *origin
	remotes []*Remote // sealed and not yet acknowledged, in order
	ackedAt uint64    // position acknowledged
	last    hlc.Timestamp
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.UnixMilli(1e12), engine: store.NewMemory(),
		written: map[string][]string{}, acked: map[string]int{}}
	w.origin = newOrigin(peer, withPeer.Lane())
	w.origin.clock = hlc.FromTime(w.now)
	w.boot()
	return w
}

func (w *world) boot() {
	w.f = open(w.t, w.engine, func(c *Config) {
		c.Clock = hlc.NewClock(func() time.Time { return w.now }, 0)
		c.MaxGroups, c.MaxGroupBytes, c.MaxTables = 1+w.rng.IntN(4), 1<<(8+w.rng.IntN(8)), 2
	})
	w.m = NewManual(w.f.Shard)
}

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(50)) * time.Millisecond)
	switch w.rng.IntN(14) {
	case 0, 1, 2, 3:
		w.write()
	case 4:
		w.pair()
	case 5, 6:
		w.remote()
	case 7, 8:
		w.m.Build()
	case 9:
		w.m.Sync()
	case 10:
		w.heads()
	case 11:
		lane := []globaltable.LaneID{withPeer.Lane(), alone.Lane()}[w.rng.IntN(2)]
		w.m.Trim(lane, uint64(w.rng.IntN(50)), w.no("trim"))
	case 12, 13:
		w.collect()
	}
}

// collect erases what is older than the frontier, which is somewhere in the past: nobody can see a difference.
func (w *world) collect() {
	w.f.raisePurge(tableA, 7, hlc.FromTime(w.now)-hlc.Timestamp(w.rng.IntN(1<<22)))
	limit := 1 + w.rng.IntN(4)
	w.m.Collect(tableA, nil, limit, func(c Collected, err error) {
		w.no("collect")(err)
		if n := c.Gone + c.Reduced; n > limit {
			w.t.Fatalf("collected %d of %d: %+v", n, limit, c)
		}
	})
}

// no returns a callback for what never fails.
func (w *world) no(what string) func(error) {
	return func(err error) {
		if err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (w *world) write() {
	pk := fmt.Sprint("k", w.rng.IntN(8))
	n := len(w.written[pk])
	v, ops := fmt.Sprint(pk, "=", n), []conflict.Op(nil)
	if w.rng.IntN(5) == 0 {
		v, ops = "", conflict.RecordDelete(nil)
	} else {
		ops = putOps(value(pk, v))
	}
	before := ""
	if n > 0 {
		before = w.written[pk][n-1]
	}
	w.written[pk] = append(w.written[pk], v)
	w.m.Write(&Write{Keys: []Key{keyOf(tableA, pk)}, Plan: func(c []Current) ([][]conflict.Op, error) {
		if got := valueOf(c[0].Item); got != before {
			w.t.Fatalf("a plan for %s sees %q, the newest is %q", pk, got, before)
		}
		return [][]conflict.Op{ops}, nil
	}}, func(err error) {
		w.no("write")(err)
		w.acked[pk] = n + 1
	})
}

// pair writes the same value to a key of each table, in one transaction.
func (w *world) pair() {
	w.pairs++
	v := fmt.Sprint("pair", w.pairs)
	n := len(w.written["pair"])
	w.written["pair"] = append(w.written["pair"], v)
	ops := putOps(value("pair", v))
	tx := always(ops, keyOf(tableA, "pair"), keyOf(tableB, "pair"))
	tx.Transaction = true
	w.m.Write(tx, func(err error) {
		w.no("transaction")(err)
		w.acked["pair"] = n + 1
	})
}

// remote applies an entry of a peer, whose key tells its sequence.
func (w *world) remote() {
	seq := w.origin.at.Seq + 1
	w.origin.clock = max(w.origin.clock, hlc.FromTime(w.now))
	pk := fmt.Sprint("r", seq)
	r := w.origin.remote([]conflict.Change{w.origin.changeOf(tableA, pk, pk)})
	w.remotes = append(w.remotes, r)
	w.m.ApplyRemote(r, func(_ RemoteResult, err error) {
		w.no("remote")(err)
		w.ackedAt = r.Position.Seq
	})
}

func (w *world) heads() {
	w.m.Heads(func(h Heads, err error) {
		w.no("heads")(err)
		if h.HLC <= w.last {
			w.t.Fatalf("heads at %s after %s", h.HLC, w.last)
		}
		w.last = h.HLC
	})
}

// crash cuts the power and checks what is found.
func (w *world) crash() {
	w.engine = w.engine.Crash(func(unsynced int) int { return w.rng.IntN(unsynced + 1) })
	w.boot()
	checkStore(w.t, w.engine, someRecords)
	if now := w.f.cfg.Clock.Now(); now <= w.last {
		w.t.Fatalf("the clock gives %s after a crash, %s had been promised", now, w.last)
	}
	for pk := range w.written {
		w.adopt(pk)
	}
	if a, b := w.f.get(tableA, "pair"), w.f.get(tableB, "pair"); a != b {
		w.t.Fatalf("half a transaction: %q and %q", a, b)
	}
	at := w.f.Position(w.origin.source)
	if at.Seq < w.ackedAt {
		w.t.Fatalf("position %d after a crash, %d was acknowledged", at.Seq, w.ackedAt)
	}
	for seq := uint64(1); seq <= w.origin.at.Seq; seq++ {
		pk := fmt.Sprint("r", seq)
		if there := w.f.get(tableA, pk) != ""; there != (seq <= at.Seq) {
			w.t.Fatalf("position %d, change %d is there: %v", at.Seq, seq, there)
		}
	}
	// The peer sends again what was not applied.
	for _, r := range w.remotes {
		if r.Position.Seq > at.Seq {
			w.m.ApplyRemote(r, func(_ RemoteResult, err error) {
				w.no("remote, again")(err)
				w.ackedAt = r.Position.Seq
			})
		}
	}
}

// adopt checks that a key has a state that was written and is not older than an acknowledged one; the model goes on from it.
func (w *world) adopt(pk string) {
	got := w.f.get(tableA, pk)
	for n := len(w.written[pk]); n >= w.acked[pk]; n-- {
		if n == 0 && got == "" || n > 0 && w.written[pk][n-1] == got {
			w.written[pk] = w.written[pk][:n]
			w.acked[pk] = n
			return
		}
	}
	w.t.Fatalf("%s has %q; %d of %q were acknowledged", pk, got, w.acked[pk], w.written[pk])
}

// check compares everything with the model, at rest.
func (w *world) check() {
	w.m.Settle()
	live := 0
	for pk, vs := range w.written {
		if len(vs) != w.acked[pk] {
			w.t.Fatalf("%s: %d of %d writes are answered", pk, w.acked[pk], len(vs))
		}
		want := ""
		if len(vs) > 0 {
			want = vs[len(vs)-1]
		}
		w.f.expectValue(tableA, pk, want)
		if want != "" {
			live++
		}
	}
	live += int(w.f.Position(w.origin.source).Seq)
	if items, _, err := w.f.Count(tableA); err != nil || items != int64(live) {
		w.t.Fatalf("%d items counted, want %d, %v", items, live, err)
	}
	seen := 0
	err := w.f.Walk(background, Range{Table: tableA}, func(item.Key, Current) bool { seen++; return true })
	if err != nil || seen != live {
		w.t.Fatalf("%d items scanned, want %d, %v", seen, live, err)
	}
	checkStore(w.t, w.engine, someRecords)
}

// TestModel: random writes, transactions, remote changes, trims, collections and crashes against a naive map. The same seed does the same.
func TestModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 6 {
				for range w.rng.IntN(150) {
					w.step()
				}
				if w.rng.IntN(3) > 0 {
					w.crash()
				}
				w.check()
			}
		})
	}
}

// TestSameSeedSameStore: the core depends on nothing but its inputs.
func TestSameSeedSameStore(t *testing.T) {
	run := func() string {
		w := newWorld(t, 7)
		for range 500 {
			w.step()
		}
		w.m.Settle()
		var out []byte
		if err := store.Each(w.engine, nil, nil, func(k, v []byte) error {
			out = append(append(out, k...), v...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if a, b := run(), run(); a != b {
		t.Fatalf("two runs left %d and %d bytes that differ", len(a), len(b))
	}
}
