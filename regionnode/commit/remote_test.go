package commit

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
)

func expectPositionError(t *testing.T, err error, want PositionReason) {
	t.Helper()
	var pe *PositionError
	if !errors.As(err, &pe) || pe.Reason != want {
		t.Fatalf("got %v, want a position that %s", err, want)
	}
}

func TestApplyRemoteMergesExactlyOnce(t *testing.T) {
	f := start(t, store.NewMemory())
	o := newOrigin(peer, withPeer.Lane())
	old := o.changeOf(tableA, "k", "older")
	first := o.remote(
		[]conflict.Change{o.changeOf(tableA, "k", "theirs"), o.changeOf(tableA, "l", "1")},
		[]conflict.Change{o.changeOf(tableA, "l", "2"), o.changeOf(tableA, "m", "gone"), o.changeOf(tableA, "m", "")},
		[]conflict.Change{old},
	)
	res, err := f.ApplyRemote(background, first)
	f.must(err)
	if res.Applied != 5 || res.Duplicate+res.Lost != 1 || res.Voided != 0 {
		t.Fatalf("result %+v", res)
	}
	f.expectValue(tableA, "k", "theirs")
	f.expectValue(tableA, "l", "2")
	f.expectValue(tableA, "m", "")
	if p := f.Position(o.source); p != first.Position || p.Seq != 3 {
		t.Fatalf("position %+v, want %+v", p, first.Position)
	}
	_, err = f.ApplyRemote(background, first)
	expectPositionError(t, err, NotNext)
	second := o.remote([]conflict.Change{o.changeOf(tableA, "k", "again")})
	third := o.remote([]conflict.Change{o.changeOf(tableA, "k", "and again")})
	_, err = f.ApplyRemote(background, third)
	expectPositionError(t, err, NotNext)
	_, err = f.ApplyRemote(background, second)
	f.must(err)
	// A local write is after what it has seen.
	f.must(f.Write(background, put(tableA, "k", "mine")))
	f.expectValue(tableA, "k", "mine")
	f.must(f.stop())
	if len(f.log) != 1 {
		t.Fatalf("%d entries: a peer's change was exported again", len(f.log))
	}
	checkStore(t, f.engine, someRecords)
	f = start(t, f.engine)
	if p := f.Positions(); len(p) != 1 || p[0].Position != second.Position || p[0].Origin != peer {
		t.Fatalf("positions after a restart: %+v", p)
	}
	_, err = f.ApplyRemote(background, third)
	f.must(err)
}

func TestVoidEntriesAdvanceThePosition(t *testing.T) {
	f := start(t, store.NewMemory())
	o := newOrigin(peer, withPeer.Lane())
	r := o.remote([]conflict.Change{o.changeOf(tableA, "k", "1")}, []conflict.Change{o.changeOf(tableA, "l", "1")})
	r.Entries[0].Void, r.Entries[0].Body = true, nil
	_, err := f.ApplyRemote(background, r)
	f.must(err)
	f.expectValue(tableA, "k", "")
	f.expectValue(tableA, "l", "1")
	if f.Position(o.source).Seq != 2 {
		t.Fatal("the position has not passed the void entry")
	}
}

func TestChangesThatMayNotBeHereAreVoided(t *testing.T) {
	f := start(t, store.NewMemory())
	o := newOrigin(peer, withPeer.Lane())
	const elsewhere = globaltable.TableID(0x4711)
	res, err := f.ApplyRemote(background, o.remote([]conflict.Change{o.changeOf(elsewhere, "k", "secret"), o.changeOf(tableA, "k", "1")}))
	f.must(err)
	if res.Voided != 1 || res.Applied != 1 {
		t.Fatalf("result %+v", res)
	}
	f.must(f.MergeRecords(background, []RecordAt{{keyOf(elsewhere, "k"), recordOf(t, o.changeOf(elsewhere, "k", "secret"))}}))
	f.must(f.stop())
	f.must(store.Each(f.engine, nil, nil, func(key, v []byte) error {
		if bytes.Contains(v, []byte("secret")) {
			t.Errorf("a voided change is in the store, key space %d", key[0])
		}
		return nil
	}))
}

// TestNewerCatalog: changes made under a version that is not in force here yet are refused whole, older ones are not.
func TestNewerCatalog(t *testing.T) {
	f := start(t, store.NewMemory())
	o := newOrigin(peer, withPeer.Lane())
	older, newer := o.changeOf(tableA, "k", "1"), o.changeOf(tableA, "l", "1")
	older.CatalogVersion, newer.CatalogVersion = 6, 8
	r := o.remote([]conflict.Change{older}, []conflict.Change{newer})
	if _, err := f.ApplyRemote(background, r); !errors.Is(err, ErrCatalogBehind) {
		t.Fatalf("got %v, want ErrCatalogBehind", err)
	}
	f.expectValue(tableA, "k", "")
	if f.Position(o.source).Seq != 0 {
		t.Fatal("a refused batch moved the position")
	}
	first := &Remote{Source: r.Source, Entries: r.Entries[:1],
		Position: globaltable.Position{Incarnation: r.Source.Incarnation, Seq: 1, Chain: r.Entries[0].Chain}}
	_, err := f.ApplyRemote(background, first)
	f.must(err)
	f.expectValue(tableA, "k", "1")
}

func recordOf(t *testing.T, c conflict.Change) []byte {
	r, _, err := conflict.Apply(nil, nil, &c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fickle admits a table only from the second question on, as when the catalog changes between the caller's merge and the sequencer.
type fickle struct {
	*tables
	asked int
}

func (c *fickle) Admits(id globaltable.TableID, key []byte, made globaltable.Version) bool {
	c.asked++
	return c.asked > 1 && c.tables.Admits(id, key, made)
}

func TestAdmissionIsDecidedAtSequencing(t *testing.T) {
	f := start(t, store.NewMemory(), func(c *Config) { c.Catalog = &fickle{tables: defaultTables()} })
	o := newOrigin(peer, withPeer.Lane())
	res, err := f.ApplyRemote(background, o.remote([]conflict.Change{o.changeOf(tableA, "k", "1")}))
	f.must(err)
	if res != (RemoteResult{Applied: 1}) {
		t.Fatalf("result %+v", res)
	}
	f.expectValue(tableA, "k", "1")
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

// born is a catalog whose replicas came with version 7.
type born struct{ *tables }

func (c born) Admits(id globaltable.TableID, key []byte, made globaltable.Version) bool {
	return (made == 0 || made >= 7) && c.tables.Admits(id, key, made)
}

// What was made before the replica's time is voided change by change; its position counts.
func TestChangesFromBeforeTheReplica(t *testing.T) {
	f := start(t, store.NewMemory(), func(c *Config) { c.Catalog = born{defaultTables()} })
	o := newOrigin(peer, withPeer.Lane())
	early, late := o.changeOf(tableA, "early", "1"), o.changeOf(tableA, "late", "2")
	early.CatalogVersion = 6
	r := o.remote([]conflict.Change{early, late})
	res, err := f.ApplyRemote(background, r)
	f.must(err)
	if res != (RemoteResult{Applied: 1, Voided: 1}) {
		t.Fatalf("result %+v", res)
	}
	f.expectValue(tableA, "late", "2")
	f.expectValue(tableA, "early", "")
	if at := f.Position(r.Source); at != r.Position {
		t.Errorf("position %+v, want %+v", at, r.Position)
	}
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}

func TestWrongRemotes(t *testing.T) {
	f := start(t, store.NewMemory())
	lane := withPeer.Lane()
	entry := func(o *origin) *Remote { return o.remote([]conflict.Change{o.changeOf(tableA, "k", "x")}) }
	for name, c := range map[string]struct {
		r    func() *Remote
		kind globaltable.Kind
	}{
		"no entries":     {func() *Remote { r := entry(newOrigin(peer, lane)); r.Entries = nil; return r }, globaltable.Invalid},
		"from itself":    {func() *Remote { return entry(newOrigin(self, lane)) }, globaltable.Invalid},
		"no incarnation": {func() *Remote { r := entry(newOrigin(peer, lane)); r.Source.Incarnation = 0; return r }, globaltable.Invalid},
		"torn body": {func() *Remote {
			r := entry(newOrigin(peer, lane))
			r.Entries[0].Body = r.Entries[0].Body[:30]
			return r
		}, globaltable.Corrupt},
		"catalog in another lane": {func() *Remote {
			o := newOrigin(peer, lane)
			return o.remote([]conflict.Change{o.changeOf(globaltable.SystemTable, "k", "x")})
		}, globaltable.Corrupt},
		"table in the catalog's lane": {func() *Remote { return entry(newOrigin(peer, globaltable.CatalogLane)) }, globaltable.Corrupt},
		"short key": {func() *Remote {
			o := newOrigin(peer, lane)
			c := o.changeOf(tableA, "k", "x")
			c.Key = c.Key[:4]
			return o.remote([]conflict.Change{c})
		}, globaltable.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.ApplyRemote(background, c.r())
			expectKind(t, err, c.kind)
		})
	}
	t.Run("another chain", func(t *testing.T) {
		r := entry(newOrigin(peer, lane))
		r.Entries[0].Chain[0] ^= 1
		_, err := f.ApplyRemote(background, r)
		expectPositionError(t, err, ChainDiffers)
	})
	t.Run("position of another entry", func(t *testing.T) {
		r := entry(newOrigin(peer, lane))
		r.Position.Seq++
		_, err := f.ApplyRemote(background, r)
		expectPositionError(t, err, ChainDiffers)
	})
	t.Run("clock too far ahead", func(t *testing.T) {
		o := newOrigin(peer, lane)
		o.clock = o.clock.Add(time.Hour)
		_, err := f.ApplyRemote(background, entry(o))
		var ahead *hlc.AheadError
		if !errors.As(err, &ahead) {
			t.Fatalf("got %v", err)
		}
	})
	f.expectValue(tableA, "k", "")
	if len(f.Positions()) != 0 {
		t.Fatal("a refused remote has left a position")
	}
	f.must(f.Write(background, put(tableA, "k", "v")))
}

// TestDistrusted: what an origin that the catalog does not trust wrote, or gave, is refused, and nothing of it is kept; another life of its store may be trusted.
func TestDistrusted(t *testing.T) {
	f := start(t, store.NewMemory())
	o := newOrigin(peer, withPeer.Lane())
	entry := func(o *origin, k string) *Remote { return o.remote([]conflict.Change{o.changeOf(tableA, k, "1")}) }
	_, err := f.ApplyRemote(background, entry(o, "before"))
	f.must(err)
	late, record := entry(o, "after"), []RecordAt{{keyOf(tableA, "given"), recordOf(t, o.changeOf(tableA, "given", "1"))}}
	f.must(f.MergeFrom(background, peer, o.source.Incarnation, nil))
	f.catalog.distrusted = map[hlc.Origin]globaltable.Incarnation{peer: o.source.Incarnation}
	_, err = f.ApplyRemote(background, late)
	expectPositionError(t, err, Revoked)
	expectKind(t, f.MergeFrom(background, peer, o.source.Incarnation, record), globaltable.Fenced)
	f.expectValue(tableA, "before", "1")
	f.expectValue(tableA, "after", "")
	f.expectValue(tableA, "given", "")
	f.must(f.MergeFrom(background, third, 1, record))
	f.expectValue(tableA, "given", "1")

	anew := newOrigin(peer, withPeer.Lane())
	anew.source.Incarnation++
	f.must(f.Revoke(background, peer, o.source.Incarnation))
	_, err = f.ApplyRemote(background, entry(anew, "anew"))
	f.must(err)
	f.expectValue(tableA, "anew", "1")
}

func TestIncarnations(t *testing.T) {
	f := start(t, store.NewMemory())
	older, newer := newOrigin(peer, withPeer.Lane()), newOrigin(peer, withPeer.Lane())
	newer.source.Incarnation, newer.clock = 200, older.clock-10
	entry := func(o *origin, v string) *Remote { return o.remote([]conflict.Change{o.changeOf(tableA, "k", v)}) }
	_, err := f.ApplyRemote(background, entry(older, "1"))
	f.must(err)
	first := entry(newer, "2")
	_, err = f.ApplyRemote(background, first)
	expectPositionError(t, err, NotRevokedYet)
	f.must(f.Revoke(background, peer, 100))
	expectKind(t, f.Revoke(background, self, 100), globaltable.Invalid)
	_, err = f.ApplyRemote(background, entry(older, "3"))
	expectPositionError(t, err, Revoked)
	_, err = f.ApplyRemote(background, first)
	f.must(err)
	f.expectValue(tableA, "k", "1") // the older one's stamp is greater
	f.must(f.Revoke(background, peer, 50))
	f.must(f.stop())
	f = start(t, f.engine)
	if f.Revoked(peer) != 100 || f.Revoked(third) != 0 {
		t.Fatalf("revoked after a restart: %d, %d", f.Revoked(peer), f.Revoked(third))
	}
	_, err = f.ApplyRemote(background, entry(older, "4"))
	expectPositionError(t, err, Revoked)
	_, err = f.ApplyRemote(background, entry(newer, "5"))
	f.must(err)
}

func TestMergeRecords(t *testing.T) {
	f := start(t, store.NewMemory())
	o := newOrigin(peer, withPeer.Lane())
	older, newer := o.changeOf(tableA, "k", "older"), o.changeOf(tableA, "k", "newer")
	f.must(f.MergeRecords(background, nil))
	f.must(f.MergeRecords(background, []RecordAt{
		{keyOf(tableA, "k"), recordOf(t, newer)}, {keyOf(tableA, "k"), recordOf(t, older)}, {keyOf(tableA, "l"), recordOf(t, o.changeOf(tableA, "l", "1"))},
	}))
	f.expectValue(tableA, "k", "newer")
	f.must(f.MergeRecords(background, []RecordAt{{keyOf(tableA, "k"), recordOf(t, older)}}))
	f.expectValue(tableA, "k", "newer")
	expectKind(t, f.MergeRecords(background, []RecordAt{{keyOf(tableA, "k"), []byte{0xff, 0, 1}}}), globaltable.Corrupt)
	f.must(f.stop())
	if len(f.log) != 0 {
		t.Fatal("a merged record was exported")
	}
	checkStore(t, f.engine, someRecords)
}

func TestCatalogIsAdoptedBeforeTheNextGroup(t *testing.T) {
	f := start(t, store.NewMemory())
	adopt := func(p globaltable.Placement) {
		f.must(f.Write(background, always(putOps(document(tableA, p)), keyOf(globaltable.SystemTable, "table/a"))))
	}
	const writing = 4
	stop := make(chan struct{})
	writers := make(chan error)
	var written atomic.Int64
	more := make(chan struct{}, 1) // something was written since it was empty
	for range writing {
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					writers <- nil
					return
				default:
				}
				switch err := f.Write(background, put(tableA, string(rune('a'+i%20)), "x")); {
				case err == nil:
					written.Add(1)
					select {
					case more <- struct{}{}:
					default:
					}
				case globaltable.KindOf(err) != globaltable.NotFound:
					writers <- err
					return
				}
			}
		}()
	}
	// One more write than there are writers: one of them has written twice since, and begun the second time after it was asked.
	wroteSince := func() {
		for least := written.Load() + writing + 1; written.Load() < least; {
			select {
			case <-more:
			case err := <-writers:
				t.Fatal(err)
			}
		}
	}
	placements := []globaltable.Placement{everywhere, withPeer, nil, alone, everywhere}
	for range 5 {
		for _, p := range placements {
			adopt(p)
			if got, _, _, ok := f.catalog.Place(tableA, nil); ok != (p != nil) || ok && got.Lane() != p.Lane() {
				t.Fatal("a document is not in force when its write is answered")
			}
			if p != nil {
				wroteSince()
			}
		}
	}
	close(stop)
	for range writing {
		f.must(<-writers)
	}
	f.must(f.stop())
	// In log order, each write is in the lane of the newest document before it.
	placement := withPeer
	inEach := map[globaltable.LaneID]int{}
	for i, e := range f.log {
		f.must(change.EachChange(e.Body, func(c *conflict.Change) error {
			if globaltable.TableID(c.Table) == globaltable.SystemTable {
				regions, _ := item.Item(c.Ops[0].Value).GetString("regions")
				placement = nil
				for _, o := range regions.Bytes()[1:] {
					placement = append(placement, hlc.Origin(o))
				}
				return nil
			}
			inEach[f.lanes[i]]++
			if placement == nil || f.lanes[i] != placement.Lane() {
				t.Errorf("entry %d is in lane %s under placement %v", i, f.lanes[i], placement)
			}
			return nil
		}))
	}
	if len(inEach) != 3 {
		t.Errorf("writes in %d lanes: they did not go on while the documents came", len(inEach))
	}
	checkStore(t, f.engine, allRecords)
	outcomes := 0
	lower, upper := store.SpaceRange(store.SpaceAdoption)
	f.must(store.Each(f.engine, lower, upper, func(_, _ []byte) error { outcomes++; return nil }))
	if outcomes != 1 {
		t.Errorf("%d adoption outcomes, want 1", outcomes)
	}
}

func TestCatalogMayRefuseADocument(t *testing.T) {
	f := start(t, store.NewMemory())
	f.catalog.refuse = &globaltable.Error{Kind: globaltable.Exists, Message: "the name is taken"}
	doc, key := document(tableA, nil), keyOf(globaltable.SystemTable, "table/a")
	expectKind(t, f.Write(background, always(putOps(doc), key)), globaltable.Exists)
	o := newOrigin(peer, globaltable.CatalogLane)
	o.clock++
	r := o.remote([]conflict.Change{{Table: uint64(globaltable.SystemTable), Key: key.Bytes, Dot: hlc.Stamp{Time: o.clock, Origin: peer}, Ops: putOps(doc)}})
	_, err := f.ApplyRemote(background, r)
	expectKind(t, err, globaltable.Exists)
	if f.Position(o.source).Seq != 0 {
		t.Fatal("a refused document has moved the position")
	}
	f.catalog.refuse = nil
	_, err = f.ApplyRemote(background, r)
	f.must(err)
	expectKind(t, f.Write(background, put(tableA, "k", "v")), globaltable.NotFound)
	f.must(f.stop())
	checkStore(t, f.engine, someRecords)
}
