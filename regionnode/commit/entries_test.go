package commit

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
)

// Of the indexes in these tests, number i modulo their count is of the shape shapes[i]; under a document with a shift, of one further on: another index of the same number.
var shapes = []globaltable.Index{
	{Partition: key("a", item.S), Projection: globaltable.ProjectKeys},
	{Partition: key("a", item.S), Sort: key("n", item.N), Projection: globaltable.ProjectAll},
	{Partition: append(key("n", item.N), key("a", item.S)...), Sort: append(key("b", item.B), key("pk", item.S)...), Projection: globaltable.ProjectInclude, NonKey: []string{"v"}},
}

func key(name string, of item.Type) []globaltable.KeyAttribute {
	return []globaltable.KeyAttribute{{Name: name, Type: of}}
}

// indexedDocument is the document of a table with the indexes given.
func indexedDocument(id globaltable.TableID, p globaltable.Placement, ids ...globaltable.IndexID) item.Item {
	var list []byte
	for _, id := range ids {
		list = binary.BigEndian.AppendUint32(list, uint32(id))
	}
	doc := document(id, p)
	attributes := map[string]item.Value{"indexes": item.AppendBinary(nil, list)}
	for name, v := range doc.Each {
		attributes[string(name)] = v
	}
	return buildItem(attributes)
}

// indexedBy is the table that a document makes; nil if it has no indexes.
func indexedBy(id globaltable.TableID, doc item.Item) *globaltable.Table {
	v, _ := doc.GetString("indexes")
	shift := 0
	if v, ok := doc.GetString("shift"); ok {
		n, _ := v.Number().Int64()
		shift = int(n)
	}
	t := &globaltable.Table{ID: id, KeySchema: globaltable.KeySchema{Partition: key("pk", item.S)[0]}}
	for b := v.Bytes(); len(b) > 0; b = b[4:] {
		n := binary.BigEndian.Uint32(b)
		x := shapes[(int(n)+shift)%len(shapes)].Clone()
		x.ID, x.Name = globaltable.IndexID(n), fmt.Sprint("index", n)
		t.Indexes = append(t.Indexes, x)
	}
	if t.Indexes == nil {
		return nil
	}
	return t
}

// put adopts the document, in a shard that runs.
func (f *fixture) adopt(doc item.Item) {
	f.t.Helper()
	pk, _ := doc.GetString("pk")
	f.must(f.Write(background, always(putOps(doc), keyOf(globaltable.SystemTable, string(pk.Bytes())))))
}

// indexedIn reads the tables with indexes out of the documents in a store.
func indexedIn(r store.Reader) (map[globaltable.TableID]*globaltable.Table, error) {
	out := map[globaltable.TableID]*globaltable.Table{}
	lower, upper := store.RecordRange(globaltable.SystemTable)
	err := store.Each(r, lower, upper, func(_, record []byte) error {
		doc, _, err := conflict.ItemOf(bytes.Clone(record), nil)
		if err != nil || doc == nil {
			return err
		}
		v, _ := doc.GetString("table")
		n, _ := v.Number().Int64()
		if t := indexedBy(globaltable.TableID(n), doc); t != nil {
			out[t.ID] = t
		}
		return nil
	})
	return out, err
}

// entryOf is the reference: the parts of an item's entry, nil if it has none.
func entryOf(x *globaltable.Index, it item.Item) (partition, sort []item.Value) {
	take := func(list []globaltable.KeyAttribute, limit int) (out []item.Value, ok bool) {
		for _, a := range list {
			v, has := it.GetString(a.Name)
			if !has || v.Type() != a.Type || a.Type != item.N && (v.Len() == 0 || v.Len() > limit) {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	}
	p, ok := take(x.Partition, item.MaxPartitionKeySize)
	s, ok2 := take(x.Sort, item.MaxSortKeySize)
	if !ok || !ok2 {
		return nil, nil
	}
	return p, s
}

// projected is the reference of an entry's size.
func projected(x *globaltable.Index, it item.Item) (n uint64) {
	shown := []string{"pk"}
	for _, list := range [][]globaltable.KeyAttribute{x.Partition, x.Sort} {
		for _, a := range list {
			shown = append(shown, a.Name)
		}
	}
	shown = append(shown, x.NonKey...)
	for name, v := range it.Each {
		if x.Projection == globaltable.ProjectAll || slices.Contains(shown, string(name)) {
			n += uint64(len(name) + v.Size())
		}
	}
	return n
}

// auditEntries recomputes all entries from documents and records, and their counters, at whatever position an index is.
func auditEntries(e store.Engine, l *loaded) error {
	tables, err := indexedIn(e)
	if err != nil {
		return err
	}
	for k := range l.indexes {
		if k.table.IsFeed() {
			tables[k.table] = feed.TableOf(&globaltable.Table{ID: k.table.Base()})
		}
	}
	want := map[string]int{}
	states := 0
	for _, t := range tables {
		for i := range t.Indexes {
			x := &t.Indexes[i]
			state := l.indexes[indexKey{t.ID, x.ID}]
			if state == nil {
				return fmt.Errorf("index %d has no state", x.ID)
			}
			states++
			var entries, size uint64
			lower, upper := store.RecordRange(t.ID)
			err := store.Each(e, lower, upper, func(k, record []byte) error {
				base := item.Key(bytes.Clone(store.RecordKeySuffix(k)))
				it, _, err := conflict.ItemOf(record, nil)
				if err != nil || it == nil || !state.built && string(base) > string(state.upTo) {
					return err
				}
				p, s := entryOf(x, it)
				if p == nil {
					return nil
				}
				entry, err := item.AppendIndexKey(nil, p, s, base)
				if err != nil {
					return err
				}
				want[string(store.AppendEntryKey(nil, t.ID, x.ID, entry))] = len(entry) - len(base)
				entries++
				size += projected(x, it)
				return nil
			})
			if err != nil {
				return err
			}
			if state.entries != entries || state.bytes != size {
				return fmt.Errorf("index %d counts %d entries and %d bytes, records make %d and %d", x.ID, state.entries, state.bytes, entries, size)
			}
		}
	}
	if states != len(l.indexes) {
		return fmt.Errorf("%d indexes have a state, documents have %d", len(l.indexes), states)
	}
	lower, upper := store.SpaceRange(store.SpaceEntry)
	err = store.Each(e, lower, upper, func(k, v []byte) error {
		at, ok := store.DecodeEntry(v)
		if wanted, is := want[string(k)]; !ok || !is || at != wanted {
			return fmt.Errorf("entry %x is of no record", k)
		}
		delete(want, string(k))
		return nil
	})
	if err == nil && len(want) > 0 {
		err = fmt.Errorf("%d entries are missing", len(want))
	}
	return err
}

// indexWorld drives a shard with indexes by hand. What has to hold at every moment is in the audit.
type indexWorld struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	engine *store.Memory
	f      *fixture
	m      *Manual
	origin *origin
	ids    []globaltable.IndexID // of the newest document
	shift  int64                 // of the newest document
	last   globaltable.IndexID
	built  int  // steps that went over records
	midway int  // crashes while an index was being built
	still  bool // no document changes, and nothing is collected
}

func newIndexWorld(t *testing.T, seed uint64) *indexWorld {
	w := &indexWorld{t: t, rng: rand.New(rand.NewPCG(seed, 2)), now: time.UnixMilli(1e12), engine: store.NewMemory()}
	w.origin = newOrigin(peer, withPeer.Lane())
	w.origin.clock = hlc.FromTime(w.now)
	w.boot()
	return w
}

func (w *indexWorld) boot() {
	indexed, err := indexedIn(w.engine)
	if err != nil {
		w.t.Fatal(err)
	}
	c := defaultTables()
	c.indexed.Store(&indexed)
	w.f = open(w.t, w.engine, func(cfg *Config) {
		cfg.Clock = hlc.NewClock(func() time.Time { return w.now }, 0)
		cfg.Catalog = c
		cfg.MaxGroups, cfg.MaxGroupBytes = 1+w.rng.IntN(4), 1<<(8+w.rng.IntN(8))
	})
	w.m = NewManual(w.f.Shard)
	w.ids = nil
	if t := indexed[tableA]; t != nil {
		for i := range t.Indexes {
			w.ids = append(w.ids, t.Indexes[i].ID)
		}
	}
	w.origin.at = w.f.Position(w.origin.source)
	if w.origin.at.Incarnation == 0 {
		w.origin.at.Incarnation = w.origin.source.Incarnation
	}
}

// item makes one with random attributes: of the right type, of another, empty, too large, or none.
func (w *indexWorld) item(pk string) item.Item {
	attributes := map[string]item.Value{"pk": item.AppendString(nil, pk), "v": item.AppendString(nil, fmt.Sprint(w.rng.IntN(1000)))}
	for _, name := range []string{"a", "n", "b"} {
		var v item.Value
		switch w.rng.IntN(10) {
		case 0:
			continue
		case 1:
			v = item.AppendString(nil, "")
		case 2:
			v = item.AppendBool(nil, true)
		case 3:
			v = item.AppendString(nil, strings.Repeat("x", 2000+w.rng.IntN(100)))
		default:
			switch n := w.rng.IntN(3); name {
			case "a":
				v = item.AppendString(nil, fmt.Sprint(n))
			case "n":
				v = item.AppendInt(nil, int64(n))
			default:
				v = item.AppendBinary(nil, []byte{0, byte(n)})
			}
		}
		attributes[name] = v
	}
	return buildItem(attributes)
}

func (w *indexWorld) ops(pk string) []conflict.Op {
	if w.rng.IntN(5) == 0 {
		return conflict.RecordDelete(nil)
	}
	return putOps(w.item(pk))
}

func (w *indexWorld) step() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(50)) * time.Millisecond)
	pk := fmt.Sprint("k", w.rng.IntN(40))
	no := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	kinds := 16
	if w.still {
		kinds = 14
	}
	switch w.rng.IntN(kinds) {
	case 0, 1, 2, 3, 4:
		w.m.Write(always(w.ops(pk), keyOf(tableA, pk)), no)
	case 5, 6:
		w.origin.clock = max(w.origin.clock, hlc.FromTime(w.now)) - hlc.Timestamp(w.rng.IntN(1<<22)) // it may lose
		c := w.origin.changeOf(tableA, pk, "")
		c.Ops = w.ops(pk)
		w.m.ApplyRemote(w.origin.remote([]conflict.Change{c}), func(_ RemoteResult, err error) { no(err) })
	case 7, 8:
		w.m.Build()
	case 9:
		w.m.Sync()
	case 10, 11, 12, 13:
		for _, u := range w.f.Unbuilt() {
			w.m.BuildIndex(u.Table, u.Index, 1+w.rng.IntN(5), func(b Built, err error) {
				no(err)
				w.built += b.Records
			})
		}
	case 14:
		w.f.RaisePurge(tableA, 7, hlc.FromTime(w.now)-hlc.Timestamp(w.rng.IntN(1<<22)), w.f.Now())
		w.m.Collect(tableA, nil, 4, func(_ Collected, err error) { no(err) })
	case 15:
		if w.rng.IntN(4) == 0 {
			w.change()
		}
	}
}

// change adopts a document with another index, with one less, of another replica, or with other indexes of the same numbers.
func (w *indexWorld) change() {
	w.m.Settle() // documents follow each other
	switch n := w.rng.IntN(8); {
	case n < 4 && len(w.ids) < 4:
		w.last++
		w.ids = append(w.ids, w.last)
	case n < 7 && len(w.ids) > 0:
		w.ids = slices.Delete(w.ids, 0, 1)
	}
	doc := indexedDocument(tableA, withPeer, w.ids...)
	if w.rng.IntN(8) == 0 {
		w.shift++
	}
	attributes := map[string]item.Value{"shift": item.AppendInt(nil, w.shift)}
	if w.rng.IntN(8) == 0 {
		attributes["anew"] = item.AppendBool(nil, true)
	}
	for name, v := range doc.Each {
		attributes[string(name)] = v
	}
	doc = buildItem(attributes)
	pk, _ := doc.GetString("pk")
	w.m.Write(always(putOps(doc), keyOf(globaltable.SystemTable, string(pk.Bytes()))), func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	})
	w.m.Settle()
}

func (w *indexWorld) crash() {
	if len(w.f.Unbuilt()) > 0 {
		w.midway++
	}
	w.engine = w.engine.Crash(func(unsynced int) int { return w.rng.IntN(unsynced + 1) })
	w.boot()
	checkStore(w.t, w.engine, someRecords)
}

// walk compares walks over a built index with a sort of the table.
func (w *indexWorld) walk(t *globaltable.Table, x *globaltable.Index) {
	type row struct{ entry, pk string }
	var want []row
	w.f.must(w.f.Walk(background, Range{Table: t.ID}, func(k item.Key, c Current) bool {
		if p, s := entryOf(x, c.Item); p != nil {
			entry, _ := item.AppendIndexKey(nil, p, s, k)
			pk, _ := c.Item.GetString("pk")
			want = append(want, row{string(entry), string(pk.Bytes())})
		}
		return true
	}))
	slices.SortFunc(want, func(a, b row) int { return strings.Compare(a.entry, b.entry) })
	r := Range{Table: t.ID, Index: x.ID, Backward: w.rng.IntN(2) == 0}
	if len(want) > 1 {
		i := w.rng.IntN(len(want))
		j := i + w.rng.IntN(len(want)-i)
		r.Lower, r.Upper = item.Key(want[i].entry), item.Key(want[j].entry)
		want = want[i:j]
	}
	if r.Backward {
		slices.Reverse(want)
	}
	var got []row
	w.f.must(w.f.Walk(background, r, func(k item.Key, c Current) bool {
		pk, _ := c.Item.GetString("pk")
		got = append(got, row{string(k), string(pk.Bytes())})
		return true
	}))
	if !slices.Equal(got, want) {
		w.t.Fatalf("index %d gives %x, want %x", x.ID, got, want)
	}
}

// TestIndexModel is I14 and I20: random writes, merges, collections, crashes, while indexes come and go. The audit recomputes all entries.
func TestIndexModel(t *testing.T) {
	built, midway := 0, 0
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newIndexWorld(t, seed)
			for range 8 {
				for range w.rng.IntN(200) {
					w.step()
				}
				if w.rng.IntN(2) > 0 {
					w.crash()
				}
				w.m.Settle()
				checkStore(t, w.engine, someRecords)
				table := w.f.catalog.Indexed(tableA)
				for i := range w.ids {
					if status, ok := w.f.Index(tableA, w.ids[i]); ok && status.Ready {
						w.walk(table, &table.Indexes[i])
					} else {
						err := w.f.Walk(background, Range{Table: tableA, Index: w.ids[i]}, func(item.Key, Current) bool { return true })
						if want := "Cannot read from backfilling global secondary index: " + table.Indexes[i].Name; !ok || err == nil || !strings.Contains(err.Error(), want) {
							t.Fatalf("a walk over an index that is being built: %v, %v", ok, err)
						}
					}
				}
			}
			built += w.built
			midway += w.midway
		})
	}
	if built < 1000 || midway < 10 {
		t.Errorf("too little happened: %d records were built over, %d crashes in the middle", built, midway)
	}
}

// TestIndexIsMadeUnderLoad makes and drops indexes while clients and a peer write, on a real store; then it cuts the power.
func TestIndexIsMadeUnderLoad(t *testing.T) {
	fs := vfs.NewCrashableMem()
	engine := openPebble(t, fs)
	f := start(t, engine)
	f.adopt(document(tableA, withPeer))
	w := &indexWorld{t: t, rng: rand.New(rand.NewPCG(1, 1))}
	for i := range 300 {
		pk := fmt.Sprint("k", i)
		f.must(f.Write(background, always(putOps(w.item(pk)), keyOf(tableA, pk))))
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			w := &indexWorld{t: t, rng: rand.New(rand.NewPCG(uint64(client), 3))}
			for {
				select {
				case <-stop:
					return
				default:
				}
				pk := fmt.Sprint("k", w.rng.IntN(600))
				if err := f.Write(background, always(w.ops(pk), keyOf(tableA, pk))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for id := range globaltable.IndexID(6) {
		ids := []globaltable.IndexID{id + 1, id + 2}
		f.adopt(indexedDocument(tableA, withPeer, ids...))
		for _, id := range ids {
			for done := false; !done; {
				b, err := f.BuildIndex(background, tableA, id, 16)
				f.must(err)
				done = b.Done
			}
			if status, ok := f.Index(tableA, id); !ok || !status.Ready || status.Percent != 100 {
				t.Errorf("index %d after its last step: %+v, %v", id, status, ok)
			}
			f.must(f.Walk(background, Range{Table: tableA, Index: id}, func(item.Key, Current) bool { return true }))
		}
		clone := openPebble(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: w.rng}))
		checkStore(t, clone, someRecords)
		f.must(clone.Close())
	}
	close(stop)
	clients.Wait()
	f.must(f.stop())
	checkStore(t, engine, someRecords)
	f.must(engine.Close())
}

// TestIndexWalkWaits until what it has seen is durable.
func TestIndexWalkWaits(t *testing.T) {
	f, g := openGated(t)
	answered := async(func() error {
		doc := indexedDocument(tableA, withPeer, 3)
		pk, _ := doc.GetString("pk")
		return f.Write(background, always(putOps(doc), keyOf(globaltable.SystemTable, string(pk.Bytes()))))
	})
	g.sync <- nil
	f.must(<-answered)
	put := async(func() error {
		return f.Write(background, always(putOps(buildItem(map[string]item.Value{"pk": item.AppendString(nil, "k"), "a": item.AppendString(nil, "x")})), keyOf(tableA, "k")))
	})
	record := keyOf(tableA, "k")
	for visible := false; !visible; runtime.Gosched() {
		_, release, ok, err := g.Get(store.AppendRecordKey(nil, record.Table, record.Bytes))
		f.must(err)
		if visible = ok; ok {
			f.must(release.Close())
		}
	}
	seen := make(chan struct{})
	walked := async(func() error {
		return f.Walk(background, Range{Table: tableA, Index: 3}, func(item.Key, Current) bool {
			close(seen)
			return true
		})
	})
	<-seen
	select {
	case err := <-walked:
		t.Fatalf("a walk was answered before what it saw was durable: %v", err)
	default:
	}
	broken := errors.New("disk is broken")
	g.sync <- broken
	if err := <-walked; !errors.Is(err, broken) {
		t.Errorf("a walk that saw what was never durable: %v", err)
	}
	expectKind(t, <-put, globaltable.Unknown)
}

// TestIndexStateGolden pins the stored form.
func TestIndexStateGolden(t *testing.T) {
	for want, s := range map[string]*indexState{
		"0100000000000000000700000000000003e86b6579": {upTo: item.Key("key"), entries: 7, bytes: 1000},
		"010100000000000000080000000000000000":       {built: true, ready: true, entries: 8},
	} {
		b, err := hex.DecodeString(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.append(nil); !bytes.Equal(got, b) {
			t.Errorf("%+v is stored as %x, want %s", s, got, want)
		}
		back, err := decodeIndexState(b)
		if err != nil || back.built != s.built || back.ready != s.ready || string(back.upTo) != string(s.upTo) || back.entries != s.entries || back.bytes != s.bytes {
			t.Errorf("%s is read as %+v, %v", want, back, err)
		}
	}
	for _, wrong := range []string{"", "01", "0200000000000000000700000000000003e8", "0102000000000000000700000000000003e8", "0101000000000000000700000000000003e86b"} {
		b, _ := hex.DecodeString(wrong)
		if s, err := decodeIndexState(b); err == nil {
			t.Errorf("%s is read as %+v", wrong, s)
		}
	}
}
