package residency

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/change"
)

const tableID globaltable.TableID = 1 << 20

// fixture is a store of region us with a table in us, eu and in, of which items EU# may be in eu only.
type fixture struct {
	t       *testing.T
	engine  *store.Memory
	catalog *catalog.Catalog
	lanes   []globaltable.Lane
	streams streams
	events  []toldEvent
}

// toldEvent is an event in the region's NATS.
type toldEvent struct {
	table globaltable.TableID
	data  string
}

func eventAbout(id string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"x","data":{"table":"customers","keys":{"id":{"S":%q}}}}`, id)
}

func region(t *testing.T, name, jurisdiction string, origin hlc.Origin) globaltable.Descriptor {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return globaltable.Descriptor{Name: name, Jurisdiction: jurisdiction, Origin: origin, PublicKey: public}
}

func newFixture(t *testing.T, adjust func(*globaltable.Table)) *fixture {
	f := &fixture{t: t, engine: store.NewMemory(), streams: streams{}}
	var err error
	if f.catalog, err = catalog.New(region(t, "us", "US", 1), []globaltable.Descriptor{region(t, "eu", "EU", 2), region(t, "in", "IN", 3)}); err != nil {
		t.Fatal(err)
	}
	v := globaltable.MakeVersion(1, 1)
	replica := func(name, jurisdiction string, o hlc.Origin) globaltable.Replica {
		return globaltable.Replica{Region: name, Origin: o, Jurisdiction: jurisdiction, Status: globaltable.Active, Since: v}
	}
	table := &globaltable.Table{ID: tableID, Name: "customers", Owner: 1, Version: v, CreatedAt: 1, Billing: globaltable.PayPerRequest, Class: globaltable.ClassStandard,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}},
		Replicas:  []globaltable.Replica{replica("eu", "EU", 2), replica("in", "IN", 3), replica("us", "US", 1)},
		Pins:      []globaltable.Pin{{Name: "eu-customers", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU"}, Foreign: globaltable.Reject, SingleCopy: true}}}
	if adjust != nil {
		adjust(table)
	}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := f.catalog.Load([]item.Item{catalog.EncodeDocument(table)}, nil); err != nil {
		t.Fatal(err)
	}
	f.lanes = []globaltable.Lane{{ID: globaltable.CatalogLane, Placement: globaltable.NewPlacement(1, 2, 3)}, lane(1, 2, 3)}
	return f
}

func lane(origins ...hlc.Origin) globaltable.Lane {
	p := globaltable.NewPlacement(origins...)
	return globaltable.Lane{ID: p.Lane(), Placement: p}
}

func keyOf(id string) item.Key {
	k, err := item.AppendKey(nil, item.AppendString(nil, id), nil)
	if err != nil {
		panic(err)
	}
	return k
}

func (f *fixture) set(key, value []byte) {
	b := f.engine.NewBatch()
	b.Set(key, value)
	wait, err := f.engine.Apply(b)
	if err == nil {
		err = wait()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func entryOf(seq uint64, table globaltable.TableID, ids ...string) change.Entry {
	body := change.AppendBodySalt(nil, [change.SaltLen]byte{})
	for _, id := range ids {
		c := conflict.Change{Table: uint64(table), Key: keyOf(id), Dot: hlc.Stamp{Time: 1, Origin: 1}, Ops: conflict.RecordPut(nil, value(id))}
		body = change.AppendBodyChange(body, &c)
	}
	return change.Entry{Header: change.Seal(globaltable.Chain{}, seq, body, len(ids), 1), Body: body}
}

func value(id string) item.Item {
	var b item.Builder
	b.Add([]byte("id"), item.AppendString(nil, id))
	it, err := b.AppendItem(nil)
	if err != nil {
		panic(err)
	}
	return it
}

func (f *fixture) log(l globaltable.Lane, e change.Entry) {
	f.set(store.AppendLogKey(nil, l.ID, e.Seq), change.AppendEntry(nil, &e))
}

func (f *fixture) stream(l globaltable.Lane, e change.Entry, maxMessage int) {
	_, err := change.AppendMessages(change.Source{Origin: 1, Incarnation: 1, Lane: l.ID}, &e, 0, maxMessage, nil, func(m []byte) error {
		f.streams[l.ID] = append(f.streams[l.ID], m)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// streams are what a region's NATS has.
type streams map[globaltable.LaneID][][]byte

func (s streams) Lanes(context.Context) ([]globaltable.LaneID, error) {
	return slices.Sorted(maps.Keys(s)), nil
}

func (s streams) ReadLane(_ context.Context, id globaltable.LaneID, f func([]byte) error) error {
	for _, m := range s[id] {
		if err := f(m); err != nil {
			return err
		}
	}
	return nil
}

func (f *fixture) scan(only globaltable.TableID) (found []string, sum Summary) {
	f.t.Helper()
	sum, err := Scan(context.Background(), Config{View: f.catalog.View, Engine: f.engine, Lanes: func() []globaltable.Lane { return f.lanes },
		Files:   func() (store.Files, error) { return store.Files{}, nil },
		Streams: f.streams,
		Events: func(_ context.Context, g func(globaltable.TableID, string, []byte) error) error {
			for _, e := range f.events {
				if err := g(e.table, "100000000000000000005", []byte(e.data)); err != nil {
					return err
				}
			}
			return nil
		}}, only, func(x Finding) error {
		pending := ""
		if x.Pending {
			pending = " pending"
		}
		found = append(found, fmt.Sprintf("%s %s %s in %s%s", x.Where, x.Key, x.Policy, x.Region, pending))
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return found, sum
}

func TestNothingIsFoundWhereAllIsInPlace(t *testing.T) {
	f := newFixture(t, nil)
	f.set(store.AppendRecordKey(nil, globaltable.SystemTable, keyOf("table/x")), []byte("x"))
	for i := range 3 * pageKeys / 2 {
		f.set(store.AppendRecordKey(nil, tableID, keyOf(fmt.Sprint("US#", i))), []byte("record"))
	}
	f.set(store.AppendRecordKey(nil, tableID.Feed(), append(keyOf("US#1"), hlc.Stamp{Time: 1, Origin: 1}.Append(nil)...)), []byte("conflict"))
	told := cdc.Record{Kind: cdc.Write, Event: cdc.Insert, Key: keyOf("US#1"), New: value("US#1")}
	toldKey := store.AppendStreamKey(nil, tableID, 5, f.lanes[1].ID, 9)
	f.set(toldKey, told.Append(nil))
	f.log(f.lanes[1], entryOf(1, tableID, "US#1", "US#2"))
	f.stream(f.lanes[1], entryOf(1, tableID, "US#1", "US#2"), 1<<20)
	void := entryOf(2, tableID, "EU#1")
	void.Void, void.Body = true, nil
	f.log(f.lanes[1], void)
	f.events = []toldEvent{{tableID, eventAbout("US#1")}, {tableID, eventAbout("US#2")}}
	found, sum := f.scan(0)
	if len(found) > 0 || sum.Findings != 0 || sum.Entries != 2 || sum.Changes != 4 || sum.Messages != 1 || sum.Events != 2 || sum.Left != 0 {
		t.Errorf("found %q in %+v", found, sum)
	}
	if len(sum.Counts) != 1 || sum.Counts[0].Records != 3*pageKeys/2 || sum.Counts[0].Conflicts != 1 || sum.Counts[0].Told != 1 || sum.Counts[0].ToldBytes != uint64(len(toldKey)+len(told.Append(nil))) || !slices.Equal(sum.Counts[0].Jurisdictions, []string{"EU", "IN", "US"}) || sum.Counts[0].Policy != "" {
		t.Errorf("counted %+v", sum.Counts)
	}
}

// Each place in which a foreign item may lie is gone through.
func TestPlantedItemsAreFound(t *testing.T) {
	key := keyOf("EU#secret")
	hash := KeyHash(tableID, key)
	both, l := lane(1, 2), lane(1, 2, 3)
	entryKey, err := item.AppendIndexKey(nil, []item.Value{item.AppendString(nil, "x")}, nil, key)
	if err != nil {
		t.Fatal(err)
	}
	dot := hlc.Stamp{Time: 1, Origin: 1}
	feedKey := item.Key(append(slices.Clone(key), dot.Append(nil)...))
	for name, c := range map[string]struct {
		plant func(f *fixture)
		want  []string
	}{
		"record":     {func(f *fixture) { f.set(store.AppendRecordKey(nil, tableID, key), []byte("x")) }, []string{"record " + hash + " eu-customers in us"}},
		"collection": {func(f *fixture) { f.set(store.AppendGarbageKey(nil, tableID, 5, key), nil) }, []string{"collection " + hash + " eu-customers in us"}},
		"index": {func(f *fixture) {
			f.set(store.AppendEntryKey(nil, tableID, 1, entryKey), store.AppendEntry(nil, len(entryKey)-len(key)))
		}, []string{"index " + hash + " eu-customers in us"}},
		"event":             {func(f *fixture) { f.events = []toldEvent{{tableID, eventAbout("EU#secret")}} }, []string{"event " + hash + " eu-customers in us"}},
		"event of no table": {func(f *fixture) { f.events = []toldEvent{{99, "x"}} }, []string{"event " + KeyHash(99, nil) + "  in us"}},
		"saved":             {func(f *fixture) { f.set(store.AppendSavedKey(nil, tableID, key), []byte("x")) }, []string{"saved " + hash + " eu-customers in us"}},
		"own write":         {func(f *fixture) { f.set(store.AppendReplayKey(nil, tableID, key, dot), []byte("x")) }, []string{"saved " + hash + " eu-customers in us"}},
		"dead letter": {func(f *fixture) {
			l := cdc.Letter{Buried: 5, Attempts: 1, Key: key, Error: "refused", Event: []byte("{}")}
			f.set(store.AppendLetterKey(nil, globaltable.TriggerID{Table: tableID, Name: "t", Born: 1}, 9), l.Append(nil))
		}, []string{"dead letter " + hash + " eu-customers in us"}},
		"change stream": {func(f *fixture) {
			r := cdc.Record{Kind: cdc.Write, Event: cdc.Remove, Dot: dot, Newest: dot, Key: key}
			f.set(store.AppendStreamKey(nil, tableID, 5, l.ID, 9), r.Append(nil))
		}, []string{"change stream " + hash + " eu-customers in us"}},
		"conflict": {func(f *fixture) { f.set(store.AppendRecordKey(nil, tableID.Feed(), feedKey), []byte("x")) }, []string{"conflict " + hash + " eu-customers in us"}},
		"log": {func(f *fixture) { f.log(l, entryOf(1, tableID, "US#1", "EU#secret")) },
			[]string{"log " + hash + " eu-customers in us", "log " + hash + " eu-customers in in"}},
		"log of a lane with fewer": {func(f *fixture) {
			f.lanes = append(f.lanes, both)
			f.log(both, entryOf(7, tableID, "EU#secret"))
		}, []string{"log " + hash + " eu-customers in us"}},
		"stream": {func(f *fixture) { f.stream(l, entryOf(1, tableID, "EU#secret"), 1<<20) },
			[]string{"stream " + hash + " eu-customers in us", "stream " + hash + " eu-customers in in"}},
		"stream, in fragments": {func(f *fixture) { f.stream(l, entryOf(1, tableID, "EU#secret"), 200) },
			[]string{"stream " + hash + " eu-customers in us", "stream " + hash + " eu-customers in in"}},
		"stream of a lane of an earlier store": {func(f *fixture) { f.stream(both, entryOf(1, tableID, "EU#secret"), 1<<20) },
			[]string{"stream " + hash + " eu-customers in us"}},
		"table that is not known": {func(f *fixture) { f.set(store.AppendRecordKey(nil, tableID+1<<16, key), []byte("x")) },
			[]string{"record " + KeyHash(tableID+1<<16, key) + "  in us"}},
		"key that is none": {func(f *fixture) { f.set(store.AppendRecordKey(nil, tableID, []byte("no key")), []byte("x")) },
			[]string{"record " + KeyHash(tableID, []byte("no key")) + "  in us"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			c.plant(f)
			found, sum := f.scan(0)
			slices.Sort(found)
			slices.Sort(c.want)
			if !slices.Equal(found, c.want) || sum.Findings != uint64(len(c.want)) {
				t.Errorf("found %q, want %q", found, c.want)
			}
			if strings.Contains(strings.Join(found, ""), "secret") {
				t.Error("the key is told")
			}
			if other, _ := f.scan(tableID + 5<<16); len(other) > 0 {
				t.Errorf("found in another table: %q", other)
			}
		})
	}
}

// Where a region is still carrying out the policies, that is told with what is found.
func TestPending(t *testing.T) {
	f := newFixture(t, func(table *globaltable.Table) {
		for i := range table.Replicas {
			table.Replicas[i].Placing = table.Version
		}
	})
	f.set(store.AppendRecordKey(nil, tableID, keyOf("EU#1")), []byte("x"))
	if found, sum := f.scan(tableID); len(found) != 1 || sum.Pending != 1 || !strings.HasSuffix(found[0], "pending") {
		t.Errorf("found %q", found)
	}
}

// What a member of a lane had rightly, of a table that it has no more, is no finding.
func TestLeftInLogs(t *testing.T) {
	f := newFixture(t, func(table *globaltable.Table) { table.Replicas = slices.Delete(table.Replicas, 1, 2) })
	f.log(f.lanes[1], entryOf(1, tableID, "US#1"))
	if found, sum := f.scan(0); len(found) > 0 || sum.Left != 1 {
		t.Errorf("found %q, %d are left", found, sum.Left)
	}
}

// The scan keeps to its rate, and ends with who asked for it, or whose report fails.
func TestScanEnds(t *testing.T) {
	f := newFixture(t, nil)
	f.set(store.AppendRecordKey(nil, tableID, keyOf("EU#1")), make([]byte, 1<<20))
	cfg := Config{View: f.catalog.View, Engine: f.engine, BytesPerSecond: 1, Lanes: func() []globaltable.Lane { return nil }}
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	if _, err := Scan(ctx, cfg, 0, func(Finding) error { cancel(); return nil }); !errors.Is(err, context.Canceled) || time.Since(began) > time.Minute {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Scan(context.Background(), cfg, 0, func(Finding) error { return os.ErrClosed }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a report that fails: %v", err)
	}
}
