package commit

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	self  hlc.Origin = 1
	peer  hlc.Origin = 2
	third hlc.Origin = 3
)

const (
	tableA globaltable.TableID = 0x1000
	tableB globaltable.TableID = 0x2000
)

var (
	everywhere = globaltable.NewPlacement(self, peer, third)
	withPeer   = globaltable.NewPlacement(self, peer)
	alone      = globaltable.NewPlacement(self)
)

// tables is a catalog of table ids and placements. Its documents are items with the attributes table and regions (a binary, one byte each; none: dropped).
type tables struct {
	inForce atomic.Pointer[map[globaltable.TableID]globaltable.Placement]
	refuse  error // of the next Prepare
	indexed atomic.Pointer[map[globaltable.TableID]*globaltable.Table]
	expiry  atomic.Pointer[map[globaltable.TableID]conflict.Expiry]

	keep       globaltable.Retention                  // of conflicts
	feedless   bool                                   // as a release that knows no feeds
	distrusted map[hlc.Origin]globaltable.Incarnation // the greatest that is not trusted
	later      atomic.Uint64                          // the version in force, after the first
	moving     atomic.Bool                            // a replica is on its way
	pinned     atomic.Pointer[func(globaltable.TableID, []byte) globaltable.Placement]
	elsewhere  atomic.Pointer[string] // what the keys of items begin with that may not be here; nil: all may

	schema *globaltable.KeySchema // of all tables; nil: pk
	stream atomic.Int64           // when the streams of all tables began; zero: they are off
	next   atomic.Int64           // when they do under documents that are adopted
}

func newTables(m map[globaltable.TableID]globaltable.Placement) *tables {
	c := new(tables)
	c.inForce.Store(&m)
	return c
}

func (c *tables) Place(id globaltable.TableID, key []byte) (globaltable.Placement, globaltable.LaneID, globaltable.Version, bool) {
	if id == globaltable.SystemTable {
		return everywhere, globaltable.CatalogLane, 0, true
	}
	p, ok := (*c.inForce.Load())[id.Base()]
	if ok && key != nil && c.pinned.Load() != nil {
		if pinned := (*c.pinned.Load())(id, key); pinned != nil {
			p, ok = pinned, pinned.Has(self)
		}
	}
	return p, p.Lane(), c.Version(id), ok && !c.foreign(key)
}

func (c *tables) foreign(key []byte) bool {
	prefix := c.elsewhere.Load()
	if prefix == nil || key == nil {
		return false
	}
	partition, _, ok := item.Key(key).Parts()
	if !ok {
		partition, _, ok = feed.ItemKey(key).Parts()
	}
	return !ok || strings.HasPrefix(string(partition.Bytes), *prefix)
}

func (c *tables) Admits(id globaltable.TableID, key []byte, _ globaltable.Version) bool {
	_, _, _, ok := c.Place(id, key)
	return ok
}

// pin has items be in the placement that f returns, if it is not nil, under a new version.
func (c *tables) pin(f func(id globaltable.TableID, key []byte) globaltable.Placement) {
	c.pinned.Store(&f)
	c.later.Add(1)
}

// Placing is the version of the newest pin.
func (c *tables) Placing(id globaltable.TableID) globaltable.Version {
	if c.pinned.Load() == nil {
		return 0
	}
	return c.Version(id)
}

func (c *tables) Excludes(id globaltable.TableID, key []byte, o hlc.Origin) bool {
	if f := c.pinned.Load(); f != nil {
		p := (*f)(id, key)
		return p != nil && !p.Has(o)
	}
	return false
}
func (c *tables) Foreign(id globaltable.TableID, key []byte, made globaltable.Version) bool {
	return c.foreign(key) && made >= c.Version(id)
}

func (c *tables) Pinned() bool { return c.elsewhere.Load() != nil }

func (c *tables) Trusts(o hlc.Origin, incarnation globaltable.Incarnation) bool {
	return c.distrusted[o] == 0 || incarnation > c.distrusted[o]
}

func (c *tables) Expiry(id globaltable.TableID) conflict.Expiry {
	if id.IsFeed() {
		return feed.TableOf(new(globaltable.Table)).Expiry
	}
	m := c.expiry.Load()
	if m == nil {
		return nil
	}
	return (*m)[id]
}

// expire gives a table a history.
func (c *tables) expire(id globaltable.TableID, x conflict.Expiry) {
	c.expiry.Store(&map[globaltable.TableID]conflict.Expiry{id: x})
}

func (c *tables) Stream(id globaltable.TableID) (since int64, view globaltable.StreamView, ok bool) {
	since = c.stream.Load()
	return since, globaltable.ViewNewAndOldImages, since != 0 && id != globaltable.SystemTable && !id.IsFeed()
}

func (c *tables) Version(globaltable.TableID) globaltable.Version {
	return 7 + globaltable.Version(c.later.Load())
}

func (c *tables) Settled(id globaltable.TableID) bool {
	_, _, _, ok := c.Place(id, nil)
	return ok && !c.moving.Load()
}

func (c *tables) Indexed(id globaltable.TableID) *globaltable.Table {
	if _, _, _, ok := c.Place(id, nil); ok && id.IsFeed() && !c.feedless {
		return feed.TableOf(&globaltable.Table{ID: id.Base(), Conflicts: c.keep})
	}
	if m := c.indexed.Load(); m != nil {
		return (*m)[id]
	}
	return nil
}

// KeySchema is that of all tables here.
func (c *tables) KeySchema(id globaltable.TableID) *globaltable.KeySchema {
	if id == globaltable.SystemTable || id.IsFeed() {
		return nil
	}
	if c.schema != nil {
		return c.schema
	}
	return byPK
}

var byPK = &globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}}

func (c *tables) Prepare(docs []item.Item) (a Adoption, err error) {
	if c.refuse != nil {
		return Adoption{}, c.refuse
	}
	next := maps.Clone(*c.inForce.Load())
	indexed := map[globaltable.TableID]*globaltable.Table{}
	if m := c.indexed.Load(); m != nil {
		maps.Copy(indexed, *m)
	}
	for _, doc := range docs {
		v, _ := doc.GetString("table")
		n, _ := v.Number().Int64()
		id := globaltable.TableID(n)
		regions, _ := doc.GetString("regions")
		_, anew := doc.GetString("anew")
		adopted := AdoptedTable{ID: id, Anew: anew, Mirror: mirrorIn(id, doc), Stream: c.next.Load()}
		_, adopted.Tells = doc.GetString("tells")
		old := indexed[id]
		delete(indexed, id)
		if t := indexedBy(id, doc); t != nil {
			indexed[id] = t
			for i := range t.Indexes {
				x := &t.Indexes[i]
				adopted.Indexes = append(adopted.Indexes, x.ID)
				if old != nil && slices.ContainsFunc(old.Indexes, func(o globaltable.Index) bool { return o.ID == x.ID && !reflect.DeepEqual(&o, x) }) {
					adopted.Replaced = append(adopted.Replaced, x.ID)
				}
			}
		}
		a.Tables = append(a.Tables, adopted)
		delete(next, id)
		var p globaltable.Placement
		for _, o := range regions.Bytes() {
			p = append(p, hlc.Origin(o))
		}
		if len(p) > 1 { // a region of zero makes the value storable
			next[id] = globaltable.NewPlacement(p[1:]...)
		}
		a.Extra = append(a.Extra, store.KV{Key: store.AppendAdoptionKey(nil, id, 1), Value: []byte{1}})
	}
	a.Adopt = func() {
		c.inForce.Store(&next)
		c.indexed.Store(&indexed)
	}
	return a, nil
}

// marked is a document with an attribute that says no more than its name.
func marked(t testing.TB, doc item.Item, name string) item.Item {
	t.Helper()
	b := item.Builder{}
	doc.Each(func(name []byte, v item.Value) bool {
		b.Add(name, v)
		return true
	})
	b.Add([]byte(name), item.AppendBool(nil, true))
	doc, err := b.AppendItem(nil)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func document(id globaltable.TableID, p globaltable.Placement) item.Item {
	b := []byte{0}
	for _, o := range p {
		b = append(b, byte(o))
	}
	return buildItem(map[string]item.Value{"pk": item.AppendString(nil, "table/"+id.String()), "table": item.AppendInt(nil, int64(id)), "regions": item.AppendBinary(nil, b)})
}

func buildItem(attributes map[string]item.Value) item.Item {
	var b item.Builder
	for name, v := range attributes {
		b.Add([]byte(name), v)
	}
	out, err := b.AppendItem(nil)
	if err != nil {
		panic(err)
	}
	return out
}

func keyOf(table globaltable.TableID, pk string) Key {
	k, err := item.AppendKey(nil, item.AppendString(nil, pk), nil)
	if err != nil {
		panic(err)
	}
	return Key{table, k}
}

// value is an item with a key and one attribute.
func value(pk, v string) item.Item {
	return buildItem(map[string]item.Value{"pk": item.AppendString(nil, pk), "v": item.AppendString(nil, v)})
}

// valueOf is the attribute of an item made by value; empty for none.
func valueOf(it item.Item) string {
	if it == nil {
		return ""
	}
	v, _ := it.GetString("v")
	return string(v.Bytes())
}

func putOps(it item.Item) []conflict.Op { return conflict.RecordPut(nil, it) }

// put is an unconditional write of pk.
func put(table globaltable.TableID, pk, v string) *Write {
	return always(putOps(value(pk, v)), keyOf(table, pk))
}

func remove(table globaltable.TableID, pk string) *Write {
	return always(conflict.RecordDelete(nil), keyOf(table, pk))
}

func always(ops []conflict.Op, keys ...Key) *Write {
	return &Write{Keys: keys, Plan: func(c []Current) ([][]conflict.Op, error) {
		out := make([][]conflict.Op, len(c))
		for i := range out {
			out[i] = ops
		}
		return out, nil
	}}
}

// fixture is a shard with all that it stands on.
type fixture struct {
	*Shard
	t       testing.TB
	cfg     Config
	catalog *tables
	engine  store.Engine
	log     []change.Entry // durable entries in the order of the callback
	lanes   []globaltable.LaneID
	stop    func() error
}

// chacha makes salts that depend on a seed only.
func chacha(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(s)
}

func defaultTables() *tables {
	return newTables(map[globaltable.TableID]globaltable.Placement{tableA: withPeer, tableB: alone})
}

// open opens a shard on an engine. change may adjust the configuration.
func open(t testing.TB, engine store.Engine, adjust ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, catalog: defaultTables(), engine: engine}
	f.cfg = Config{
		Origin: self, Engine: engine, Clock: hlc.NewClock(time.Now, 0), Catalog: f.catalog, Random: chacha(1),
		Events: Events{Durable: func(l globaltable.Lane, entries []change.Entry) {
			f.log = append(f.log, entries...)
			f.lanes = append(f.lanes, l.ID)
		}},
	}
	for _, a := range adjust {
		a(&f.cfg)
	}
	if c, ok := f.cfg.Catalog.(*tables); ok {
		f.catalog = c
	}
	var err error
	if f.Shard, err = Open(f.cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

// start opens a shard and runs it until the test ends, or stop is called.
func start(t testing.TB, engine store.Engine, adjust ...func(*Config)) *fixture {
	t.Helper()
	f := open(t, engine, adjust...)
	f.run()
	return f
}

func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stopped := false
	f.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	f.t.Cleanup(func() { _ = f.stop() })
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) get(table globaltable.TableID, pk string) (v string) {
	f.t.Helper()
	f.must(f.Get(context.Background(), keyOf(table, pk), func(c Current) error {
		v = valueOf(c.Item)
		return nil
	}))
	return v
}

func (f *fixture) expectValue(table globaltable.TableID, pk, want string) {
	f.t.Helper()
	if got := f.get(table, pk); got != want {
		f.t.Fatalf("%s has %q, want %q", pk, got, want)
	}
}

func expectKind(t testing.TB, err error, want globaltable.Kind) {
	t.Helper()
	if err == nil || globaltable.KindOf(err) != want {
		t.Fatalf("got %v, want an error of kind %q", err, want)
	}
}

// origin is another region's lane, as a maker of entries.
type origin struct {
	source change.Source
	at     globaltable.Position
	clock  hlc.Timestamp
}

func newOrigin(o hlc.Origin, lane globaltable.LaneID) *origin {
	return &origin{source: change.Source{Origin: o, Incarnation: 100, Lane: lane}, clock: hlc.FromTime(time.Now())}
}

// changeOf makes the origin's next put of pk; an empty v is a delete.
func (o *origin) changeOf(table globaltable.TableID, pk, v string) conflict.Change {
	o.clock++
	c := conflict.Change{Table: uint64(table), Key: keyOf(table, pk).Bytes, Dot: hlc.Stamp{Time: o.clock, Origin: o.source.Origin}, CatalogVersion: 7}
	if c.Ops = conflict.RecordDelete(nil); v != "" {
		c.Ops = putOps(value(pk, v))
	}
	return c
}

// remote seals each group of changes as one entry after the origin's position, which it moves.
func (o *origin) remote(groups ...[]conflict.Change) *Remote {
	r := &Remote{Source: o.source}
	for _, changes := range groups {
		body := change.AppendBodySalt(nil, [change.SaltLen]byte{1})
		var last hlc.Timestamp
		for i := range changes {
			body = change.AppendBodyChange(body, &changes[i])
			last = max(last, changes[i].Dot.Time)
		}
		h := change.Seal(o.at.Chain, o.at.Seq+1, body, len(changes), last)
		r.Entries = append(r.Entries, change.Entry{Header: h, Body: body})
		o.at = globaltable.Position{Incarnation: o.source.Incarnation, Seq: h.Seq, Chain: h.Chain}
	}
	r.Position = o.at
	return r
}

// coverage says which records a log accounts for.
type coverage int

const (
	someRecords coverage = iota // it is trimmed, or peers have changed the same keys
	ownRecords                  // every record of a key in the log is what the log makes
	allRecords                  // and there are no other records
)

// checkStore recomputes what has to agree in a store at rest: digests with records, garbage with records, chains of lanes, records with the log as far as it covers them.
func checkStore(t testing.TB, e store.Engine, log coverage) {
	t.Helper()
	if err := auditStore(e, log); err != nil {
		t.Fatal(err)
	}
}

func auditStore(e store.Engine, log coverage) error { return auditExpiring(e, log, new(tables)) }

// auditExpiring is auditStore of a store with tables whose items expire.
func auditExpiring(e store.Engine, log coverage, c *tables) error {
	l, _, err := load(e)
	if err != nil {
		return err
	}
	if err := auditGarbage(e, l, c); err != nil {
		return err
	}
	if err := auditEntries(e, l); err != nil {
		return err
	}
	if err := auditMirrors(e, l); err != nil {
		return err
	}
	fromLog := map[string][]byte{}
	for id, ln := range l.lanes {
		if err := auditLane(e, id, ln, fromLog); err != nil {
			return err
		}
	}
	digests := map[string]*Digest{}
	lower, upper := store.SpaceRange(store.SpaceRecord)
	records := 0
	err = store.Each(e, lower, upper, func(key, record []byte) error {
		records++
		k := item.Key(store.RecordKeySuffix(key))
		d, _, err := digestOf(c, globaltable.TableID(binary.BigEndian.Uint64(key[1:])), k, record)
		if err != nil {
			return err
		}
		dk := string(key[1:9]) + strconv.Itoa(k.Bucket(digestBits))
		if digests[dk] == nil {
			digests[dk] = new(Digest)
		}
		digests[dk].add(d)
		made, logged := fromLog[string(key)]
		delete(fromLog, string(key))
		if log == allRecords && !logged || log != someRecords && logged && string(made) != string(record) {
			return fmt.Errorf("record %d is not what the log makes", records)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if log != someRecords && len(fromLog) > 0 {
		return fmt.Errorf("%d keys in the log have no record", len(fromLog))
	}
	lower, upper = store.SpaceRange(store.SpaceDigest)
	err = store.Each(e, lower, upper, func(key, v []byte) error {
		_, bucket, _ := store.DecodeDigestKey(key)
		got, err := decodeDigest(v)
		dk := string(key[1:9]) + strconv.Itoa(int(bucket))
		want := digests[dk]
		delete(digests, dk)
		if want == nil {
			want = new(Digest)
		}
		if got != *want {
			return fmt.Errorf("bucket %d has %+v, its records make %+v", bucket, got, *want)
		}
		return err
	})
	for dk, d := range digests {
		if *d != (Digest{}) {
			return fmt.Errorf("bucket %x is missing", dk)
		}
	}
	return err
}

// auditGarbage checks that exactly the records with something to collect are listed, where they should be, and that their number is right.
func auditGarbage(e store.Engine, l *loaded, c *tables) error {
	want, counts, expiring := map[string]bool{}, map[globaltable.TableID]uint64{}, map[globaltable.TableID]uint64{}
	lower, upper := store.SpaceRange(store.SpaceRecord)
	err := store.Each(e, lower, upper, func(key, record []byte) error {
		table := globaltable.TableID(binary.BigEndian.Uint64(key[1:]))
		var x conflict.Expiry
		if p := l.purges[table]; p != nil && p.keys.making != 0 {
			return fmt.Errorf("table %s: a walk is not at its end", table)
		} else if p != nil {
			x = c.Expiry(table).Until(p.keys.made)
		}
		x, err := expiryOf(c, x, table, store.RecordKeySuffix(key))
		if err != nil {
			return err
		}
		at, what, err := x.Garbage(record)
		if what != conflict.NoWaste {
			want[string(store.AppendGarbageKey(nil, table, at, store.RecordKeySuffix(key)))] = true
			if what == conflict.Expires {
				expiring[table]++
			} else {
				counts[table]++
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	lower, upper = store.SpaceRange(store.SpaceGarbage)
	err = store.Each(e, lower, upper, func(key, value []byte) error {
		if !want[string(key)] || len(value) > 0 {
			return fmt.Errorf("garbage %x is of no record", key)
		}
		delete(want, string(key))
		return nil
	})
	if err == nil && len(want) > 0 {
		err = fmt.Errorf("%d records with something to collect are not listed", len(want))
	}
	for table, p := range l.purges {
		if err == nil && p.waiting != counts[table] {
			err = fmt.Errorf("table %s: %d records with something to collect are counted, there are %d", table, p.waiting, counts[table])
		}
		if err == nil && p.expiring != expiring[table] {
			err = fmt.Errorf("table %s: %d records with an item that expires are counted, there are %d", table, p.expiring, expiring[table])
		}
		delete(counts, table)
	}
	if err == nil && len(counts) > 0 {
		err = fmt.Errorf("records with something to collect of %d tables are not counted", len(counts))
	}
	return err
}

// auditLane checks a lane's chain and folds its changes into records.
func auditLane(e store.Engine, id globaltable.LaneID, ln *lane, records map[string][]byte) error {
	lower, upper := store.LogRange(id, 0, 0)
	seq, known := ln.trimmed, ln.trimmed == 0
	var chain globaltable.Chain
	err := store.Each(e, lower, upper, func(_, v []byte) error {
		entry, err := change.DecodeEntry(v)
		if err != nil {
			return err
		}
		if seq++; entry.Seq != seq {
			return fmt.Errorf("lane %s has entry %d where %d belongs", id, entry.Seq, seq)
		}
		if known && entry.Chain != change.NextChain(chain, seq, entry.BodyHash) {
			return fmt.Errorf("lane %s: the chain breaks at %d", id, seq)
		}
		if chain, known = entry.Chain, true; entry.Void {
			return nil
		}
		return change.EachChange(entry.Body, func(c *conflict.Change) error {
			k := string(store.AppendRecordKey(nil, globaltable.TableID(c.Table), c.Key))
			apply := conflict.ApplyLocal
			if slices.ContainsFunc(c.Ops, func(op conflict.Op) bool { return op.Kind == conflict.OpIncrement || op.Kind == conflict.OpObserve }) {
				apply = conflict.Apply // it is what a local write was completed to
			}
			records[k], _, err = apply(nil, records[k], c)
			return err
		})
	})
	if err == nil && (seq != ln.seq || chain != ln.chain) {
		return fmt.Errorf("lane %s ends at %d, its head is %d", id, seq, ln.seq)
	}
	return err
}
