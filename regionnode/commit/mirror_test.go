package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

const tableN globaltable.TableID = 0x3000 // that tableA's replica becomes

// withMirror is a document that says what becomes of the table's records.
func withMirror(doc item.Item, to globaltable.TableID, over bool) item.Item {
	attributes := map[string]item.Value{"into": item.AppendInt(nil, int64(to)), "over": item.AppendBool(nil, over)}
	for name, v := range doc.Each {
		attributes[string(name)] = v
	}
	return buildItem(attributes)
}

func mirrorIn(id globaltable.TableID, doc item.Item) Mirroring {
	v, ok := doc.GetString("into")
	if !ok {
		return Mirroring{From: id}
	}
	n, _ := v.Number().Int64()
	over, _ := doc.GetString("over")
	return Mirroring{From: id, To: globaltable.TableID(n), Over: string(over) == string(item.AppendBool(nil, true))}
}

// recordsOf is all of a table, as stored.
func recordsOf(r store.Reader, table globaltable.TableID) (map[string]string, error) {
	out := map[string]string{}
	lower, upper := store.RecordRange(table)
	err := store.Each(r, lower, upper, func(k, v []byte) error {
		out[string(store.RecordKeySuffix(k))] = string(v)
		return nil
	})
	return out, err
}

// auditMirrors compares tables with their copies: up to the position the same records, and none beyond. What is a function of records, of either table, is for the other audits.
func auditMirrors(r store.Reader, l *loaded) error {
	for from, m := range l.mirrors {
		want, err := recordsOf(r, from)
		if err != nil {
			return err
		}
		got, err := recordsOf(r, m.to)
		if err != nil {
			return err
		}
		for k, v := range want {
			if !m.full && k > string(m.upTo) {
				continue
			}
			if got[k] != v {
				return fmt.Errorf("the copy of a record of table %s differs", from)
			}
			delete(got, k)
		}
		if len(got) > 0 {
			return fmt.Errorf("the copy of table %s has %d records too many", from, len(got))
		}
		// What waits at the frontier is as the records are.
		if p, n := l.purges[from], l.purges[m.to]; p != nil && (n == nil || n.frontier != p.frontier) {
			return fmt.Errorf("the copy of table %s has another purge frontier", from)
		}
	}
	return nil
}

// mirrorWorld is an indexWorld whose table becomes another one.
type mirrorWorld struct {
	*indexWorld
	phase          int // 0: not yet, 1: it is copied, 2: the other has its place
	copied, midway int
	before         map[string]string // tableA's records when it was over
}

func newMirrorWorld(t *testing.T, seed uint64) *mirrorWorld {
	return &mirrorWorld{indexWorld: newIndexWorld(t, seed)}
}

func (w *mirrorWorld) crash() {
	if m, ok := w.f.Mirror(tableA); ok && !m.Full {
		w.midway++
	}
	w.indexWorld.crash()
	w.f.catalog.moving.Store(w.phase == 1)
	if w.phase == 2 {
		over := map[globaltable.TableID]globaltable.Placement{tableN: alone, tableB: alone}
		w.f.catalog.inForce.Store(&over)
	}
	if status, ok := w.f.Mirror(tableA); ok != (w.phase == 1) || ok && status.To != tableN {
		w.t.Fatalf("after a crash: %+v %v, in phase %d", status, ok, w.phase)
	}
}

// documents adopts documents in one group.
func (w *mirrorWorld) documents(want bool, docs ...item.Item) {
	w.t.Helper()
	w.m.Settle()
	var keys []Key
	for _, doc := range docs {
		pk, _ := doc.GetString("pk")
		keys = append(keys, keyOf(globaltable.SystemTable, string(pk.Bytes())))
	}
	w.m.Write(&Write{Keys: keys, Plan: func([]Current) (out [][]conflict.Op, _ error) {
		for _, doc := range docs {
			out = append(out, putOps(doc))
		}
		return out, nil
	}}, func(err error) {
		if (err == nil) != want || !want && globaltable.KindOf(err) != globaltable.Corrupt {
			w.t.Fatalf("documents are adopted: %v", err)
		}
	})
	w.m.Settle()
}

func (w *mirrorWorld) begin() {
	w.m.Settle()
	w.f.catalog.moving.Store(true)
	w.documents(true, indexedDocument(tableN, nil, w.ids...), withMirror(indexedDocument(tableA, withPeer, w.ids...), tableN, false))
	w.phase = 1
}

func (w *mirrorWorld) fill() {
	w.m.FillMirror(tableA, 1+w.rng.IntN(3), func(b Built, err error) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.copied += b.Records
	})
}

func (w *mirrorWorld) over() {
	w.m.Settle()
	docs := []item.Item{withMirror(document(tableA, nil), tableN, true), indexedDocument(tableN, alone, w.ids...)}
	if status, _ := w.f.Mirror(tableA); !status.Full {
		w.documents(false, docs...)
		for status, _ := w.f.Mirror(tableA); !status.Full; status, _ = w.f.Mirror(tableA) {
			w.fill()
			w.m.Settle()
		}
	}
	w.m.Settle()
	var err error
	if w.before, err = recordsOf(w.engine, tableA); err != nil {
		w.t.Fatal(err)
	}
	w.documents(true, docs...)
	w.phase = 2
	w.f.catalog.moving.Store(false)
	if _, ok := w.f.Mirror(tableA); ok {
		w.t.Fatal("it is copied still")
	}
	after, err := recordsOf(w.engine, tableN)
	if err != nil || fmt.Sprint(after) != fmt.Sprint(w.before) {
		w.t.Fatalf("the table that is over has %d records, the one before had %d; %v", len(after), len(w.before), err)
	}
}

func (w *mirrorWorld) step() {
	switch n := w.rng.IntN(24); {
	case w.phase == 1 && n < 5:
		w.fill()
	case n == 8 && w.phase == 0 && w.rng.IntN(4) == 0:
		w.begin()
	case n == 9 && w.phase == 1 && w.rng.IntN(8) == 0:
		w.over()
	case w.phase == 2:
		w.afterwards()
	case w.phase == 1 && n > 20:
		w.m.Settle()
		w.m.DropTable(tableN, func(err error) {
			if globaltable.KindOf(err) != globaltable.InUse {
				w.t.Fatalf("what is being filled is dropped: %v", err)
			}
		})
	default:
		w.still = w.phase == 1
		w.indexWorld.step()
	}
}

// afterwards is a step when the other table has the place.
func (w *mirrorWorld) afterwards() {
	pk := fmt.Sprint("k", w.rng.IntN(40))
	switch w.rng.IntN(6) {
	case 0, 1:
		w.m.Write(always(w.ops(pk), keyOf(tableN, pk)), func(err error) {
			if err != nil {
				w.t.Fatal(err)
			}
		})
	case 2:
		w.m.Write(always(w.ops(pk), keyOf(tableA, pk)), func(err error) {
			if !errors.Is(err, ErrNoTable) {
				w.t.Fatalf("a write to the table before: %v", err)
			}
		})
	case 3:
		w.f.RaisePurge(tableN, 7, hlc.FromTime(w.now), w.f.Now())
		w.m.Collect(tableN, nil, 4, func(_ Collected, err error) {
			if err != nil {
				w.t.Fatal(err)
			}
		})
	case 4:
		w.m.Build()
	case 5:
		w.m.Sync()
	}
}

// TestMirrorModel is I2, I14 and I20 of a table that another one takes the place of: random writes, merges, collections and crashes, before, during and after. The audit compares both with each other, and with what
// their records make of indexes, digests and keys of garbage.
func TestMirrorModel(t *testing.T) {
	copied, midway, over := 0, 0, 0
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newMirrorWorld(t, seed)
			for range 10 {
				for range w.rng.IntN(120) {
					w.step()
				}
				if w.rng.IntN(2) > 0 {
					w.crash()
				}
				w.m.Settle()
				checkStore(t, w.engine, someRecords)
			}
			if w.phase == 1 {
				w.over()
				checkStore(t, w.engine, someRecords)
			}
			if w.phase == 2 {
				over++
				w.m.DropTable(tableA, w.f.must)
				w.m.Settle()
				checkStore(t, w.engine, someRecords)
			}
			copied += w.copied
			midway += w.midway
		})
	}
	if copied < 500 || midway < 10 || over < 30 {
		t.Errorf("too little happened: %d records copied, %d crashes in the middle, %d at the end", copied, midway, over)
	}
}

// TestMirrorIsCalledOff: what was copied stays until the table goes, and nothing is copied any more.
func TestMirrorIsCalledOff(t *testing.T) {
	w := newMirrorWorld(t, 1)
	for i := range 20 {
		w.m.Write(put(tableA, fmt.Sprint("k", i), "v"), w.f.must)
	}
	w.begin()
	w.m.FillMirror(tableA, 7, func(_ Built, err error) { w.f.must(err) })
	w.m.Settle()
	if status, ok := w.f.Mirror(tableA); !ok || status.Full || status.Percent == 0 || status.To != tableN || len(w.f.Mirrors()) != 1 {
		t.Fatalf("%+v %v", status, ok)
	}
	w.documents(true, document(tableA, withPeer))
	w.phase = 0
	w.m.Write(put(tableA, "k1", "later"), w.f.must)
	w.m.FillMirror(tableA, 7, func(b Built, err error) {
		w.f.must(err)
		if !b.Done || b.Records > 0 {
			t.Errorf("it is copied still: %+v", b)
		}
	})
	w.crash()
	checkStore(t, w.engine, someRecords)
	got, err := recordsOf(w.engine, tableN)
	if err != nil || len(got) != 7 {
		t.Fatalf("%d records were copied: %v", len(got), err)
	}
	w.m.DropTable(tableN, w.f.must)
	w.m.Settle()
	if got, err = recordsOf(w.engine, tableN); err != nil || len(got) > 0 {
		t.Fatalf("%d records are left: %v", len(got), err)
	}
	checkStore(t, w.engine, someRecords)
}

// TestMirrorOfExpiringItems: the copy has its keys of garbage by the table's history from the beginning.
func TestMirrorOfExpiringItems(t *testing.T) {
	w := newMirrorWorld(t, 2)
	x := conflict.Expiry{{Attribute: "n", From: hlc.FromTime(w.now) - 1<<30}}
	both := map[globaltable.TableID]conflict.Expiry{tableA: x, tableN: x}
	w.f.catalog.expiry.Store(&both)
	w.m.FollowExpiry(tableA, 100, func(bool, error) {})
	w.m.Settle()
	for w.m.FollowExpiry(tableA, 100, func(bool, error) {}); w.f.purges.get(tableA).keys.making != 0; w.m.FollowExpiry(tableA, 100, func(bool, error) {}) {
		w.m.Settle()
	}
	due := w.now.Add(time.Hour).Unix()
	write := func(table globaltable.TableID, i int) {
		it := buildItem(map[string]item.Value{"pk": item.AppendString(nil, fmt.Sprint("k", i)), "n": item.AppendInt(nil, due)})
		w.m.Write(always(putOps(it), keyOf(table, fmt.Sprint("k", i))), w.f.must)
		w.m.Settle()
	}
	for i := range 10 {
		write(tableA, i)
	}
	w.begin()
	w.m.FillMirror(tableA, 5, func(_ Built, err error) { w.f.must(err) })
	w.m.Settle()
	for i := range 15 { // below and above the position, new ones among them
		write(tableA, i)
	}
	w.over()
	if got := w.f.Expiring(tableN); got != 15 {
		t.Errorf("%d items of the copy expire, want 15", got)
	}
	if err := auditExpiring(w.engine, someRecords, w.f.catalog); err != nil {
		t.Error(err)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.f.RaisePurge(tableN, 7, hlc.FromTime(w.now)-1, w.f.Now())
	w.f.RaisePurge(tableN, 7, hlc.FromTime(w.now), w.f.Now())
	gone := 0
	w.m.Collect(tableN, nil, 100, func(c Collected, err error) {
		w.f.must(err)
		gone = c.Expired
	})
	w.m.Settle()
	if gone != 15 {
		t.Errorf("%d expired items are erased, want 15", gone)
	}
}

// TestMirrorUnderLoad copies a table while clients write to it, by transactions with another table too, on a real store, and lets the copy take its place; then the power is cut. No acknowledged write is lost.
func TestMirrorUnderLoad(t *testing.T) {
	fs := vfs.NewCrashableMem()
	engine := openPebble(t, fs)
	f := start(t, engine)
	f.adopt(indexedDocument(tableA, withPeer, 1, 2))
	f.adopt(indexedDocument(tableB, alone))
	for i := range 300 {
		f.must(f.Write(background, put(tableA, fmt.Sprint("old", i), "v")))
	}
	var acked [4]atomic.Int64
	var table atomic.Uint64 // where clients write to
	table.Store(uint64(tableA))
	ctx, cancel := context.WithCancel(background)
	var clients sync.WaitGroup
	for client := range acked {
		clients.Go(func() {
			pk := fmt.Sprint("w", client)
			for n := int64(1); ctx.Err() == nil; n++ {
				err := ErrNoTable
				for errors.Is(err, ErrNoTable) { // as the API does it again
					w := always(putOps(value(pk, fmt.Sprint(n))), keyOf(globaltable.TableID(table.Load()), pk), keyOf(tableB, pk))
					w.Transaction = true
					err = f.Write(background, w)
				}
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				acked[client].Store(n)
			}
		})
	}
	f.catalog.moving.Store(true)
	f.adopt(indexedDocument(tableN, nil, 1, 2))
	f.adopt(withMirror(indexedDocument(tableA, withPeer, 1, 2), tableN, false))
	rng := rand.New(rand.NewPCG(5, 6))
	check := func() {
		t.Helper()
		var least [4]int64
		for i := range acked {
			least[i] = acked[i].Load()
		}
		clone := openPebble(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
		defer clone.Close()
		checkStore(t, clone, someRecords)
		g := open(t, clone)
		for i, n := range least {
			pk := fmt.Sprint("w", i)
			now := globaltable.TableID(table.Load())
			a, b := g.get(now, pk), g.get(tableB, pk)
			var got int64
			if _, err := fmt.Sscan(b, &got); n > 0 && (err != nil || got < n) || a != b && now == tableN {
				t.Fatalf("writer %d has %q and %q after a crash, %d was acknowledged: %v", i, a, b, n, err)
			}
		}
	}
	for done := false; !done; {
		b, err := f.FillMirror(background, tableA, 40)
		f.must(err)
		done = b.Done
		check()
	}
	f.must(f.Write(background, &Write{Keys: []Key{keyOf(globaltable.SystemTable, "table/"+tableA.String()), keyOf(globaltable.SystemTable, "table/"+tableN.String())},
		Plan: func([]Current) ([][]conflict.Op, error) {
			return [][]conflict.Op{putOps(withMirror(document(tableA, nil), tableN, true)), putOps(indexedDocument(tableN, alone, 1, 2))}, nil
		}}))
	table.Store(uint64(tableN))
	for i := range acked {
		for at := acked[i].Load(); acked[i].Load() < at+20; {
			f.must(f.Write(background, put(tableB, "turn", "x")))
		}
	}
	check()
	cancel()
	clients.Wait()
	f.must(f.stop())
	checkStore(t, engine, someRecords)
	for i := range acked {
		g := open(t, engine)
		if got := g.get(tableN, fmt.Sprint("w", i)); got != fmt.Sprint(acked[i].Load()) {
			t.Errorf("writer %d has %q at the end, %d was acknowledged", i, got, acked[i].Load())
		}
	}
	f.must(engine.Close())
}

// FuzzDecodeMirror: no panic, and what is accepted is encoded as it was.
func FuzzDecodeMirror(f *testing.F) {
	f.Add((&mirror{to: tableN, upTo: keyOf(tableA, "k").Bytes}).append(nil))
	f.Add((&mirror{to: tableN, full: true}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMirror(b); err == nil && !bytes.Equal(m.append(nil), b) {
			t.Fatalf("%x is accepted, and is %x", b, m.append(nil))
		}
	})
}
