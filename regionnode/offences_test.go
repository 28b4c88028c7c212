package regionnode

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/inbox"
)

// The regions of these tests: 1 to 3 have the table, 4 had it.
var places = []globaltable.Descriptor{{Name: "us", Jurisdiction: "US", Origin: 1}, {Name: "eu", Jurisdiction: "EU", Origin: 2}, {Name: "jp", Jurisdiction: "JP", Origin: 3}, {Name: "fr", Jurisdiction: "EU", Origin: 4}}

// pinnedCatalog is region us, and knows a table of which what begins with EU# is pinned to the European Union.
func pinnedCatalog(t testing.TB, change func(*globaltable.Table)) *catalog.Catalog {
	t.Helper()
	descriptors := slices.Clone(places)
	for i := range descriptors {
		_, descriptors[i].PublicKey = newKey(t)
	}
	c, err := catalog.New(descriptors[0], descriptors[1:])
	if err != nil {
		t.Fatal(err)
	}
	v := globaltable.MakeVersion(1, 1)
	doc := &globaltable.Table{ID: 0x1000, Name: "customers", Owner: 1, Version: v, CreatedAt: 1, Billing: globaltable.PayPerRequest, Class: globaltable.ClassStandard,
		KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}},
		Pins:      []globaltable.Pin{{Name: "european", Match: globaltable.Match{KeyPrefix: "EU#"}, Jurisdictions: []string{"EU"}, Foreign: globaltable.Reject, SingleCopy: true}}}
	for _, o := range []int{1, 2, 0} { // by name
		d := places[o]
		doc.Replicas = append(doc.Replicas, globaltable.Replica{Region: d.Name, Jurisdiction: d.Jurisdiction, Origin: d.Origin, Status: globaltable.Active, Since: v})
	}
	if change != nil {
		change(doc)
	}
	if err := doc.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := c.Load([]item.Item{catalog.EncodeDocument(doc)}, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// entryOf is an entry of the log with a change of each key.
func entryOf(t testing.TB, table globaltable.TableID, keys ...string) *change.Entry {
	t.Helper()
	body := change.AppendBodySalt(nil, [change.SaltLen]byte{1})
	for _, pk := range keys {
		key, err := item.AppendKey(nil, item.AppendString(nil, pk), nil)
		if err != nil {
			t.Fatal(err)
		}
		if table.IsFeed() {
			key = hlc.Stamp{Time: 5, Origin: 1}.Append(key)
		}
		body = change.AppendBodyChange(body, &conflict.Change{Table: uint64(table), Key: key, Dot: hlc.Stamp{Time: 7, Origin: 1}, CatalogVersion: 1, Ops: conflict.RecordDelete(nil)})
	}
	return &change.Entry{Header: change.Header{Seq: 1, Changes: uint32(len(keys))}, Body: body}
}

// TestForbidden: of an entry each change is looked at, for each peer, by the policies alone.
func TestForbidden(t *testing.T) {
	const table = globaltable.TableID(0x1000)
	placed := pinnedCatalog(t, nil).View()
	leaving := pinnedCatalog(t, func(doc *globaltable.Table) { doc.Replica(2).Status = globaltable.Deleting }).View()
	placing := pinnedCatalog(t, func(doc *globaltable.Table) { doc.Replica(1).Placing = doc.Version }).View()
	free := pinnedCatalog(t, func(doc *globaltable.Table) { doc.Pins = nil }).View()
	for name, c := range map[string]struct {
		view    *catalog.View
		entry   *change.Entry
		peers   []hlc.Origin
		to      hlc.Origin
		placing bool
	}{
		"what may be there":                     {placed, entryOf(t, table, "US#1", "x", "EU#1"), []hlc.Origin{2}, 0, false},
		"what may not":                          {placed, entryOf(t, table, "US#1", "x", "EU#1"), []hlc.Origin{2, 3}, 3, false},
		"nothing pinned":                        {placed, entryOf(t, table, "US#1", "x"), []hlc.Origin{2, 3, 4}, 0, false},
		"a conflict":                            {placed, entryOf(t, table.Feed(), "EU#1"), []hlc.Origin{3}, 3, false},
		"a conflict that may be there":          {placed, entryOf(t, table.Feed(), "EU#1"), []hlc.Origin{2}, 0, false},
		"the catalog":                           {placed, entryOf(t, globaltable.SystemTable, "EU#1"), []hlc.Origin{2, 3, 4}, 0, false},
		"a table that nobody knows":             {placed, entryOf(t, 0x4711, "x"), []hlc.Origin{2}, 2, false},
		"a region that had a replica":           {placed, entryOf(t, table, "EU#1"), []hlc.Origin{4}, 0, false},
		"a region that nobody knows":            {placed, entryOf(t, table, "EU#1"), []hlc.Origin{77}, 77, false},
		"a replica on its way out":              {leaving, entryOf(t, table, "EU#1"), []hlc.Origin{2}, 0, false},
		"before the version is carried out":     {placing, entryOf(t, table, "EU#1"), []hlc.Origin{3}, 3, true},
		"no policies, so nothing is looked at":  {free, &change.Entry{Body: []byte{1}}, []hlc.Origin{3}, 0, false},
		"no policies, whatever the key is like": {free, entryOf(t, table, "EU#1"), []hlc.Origin{3}, 0, false},
	} {
		to, placing, err := forbidden(c.view, c.peers, c.entry)
		if to != c.to || placing != c.placing || err != nil {
			t.Errorf("%s: %d, placing %v, %v; want %d, %v", name, to, placing, err, c.to, c.placing)
		}
	}
	if _, _, err := forbidden(placed, []hlc.Origin{2}, &change.Entry{Body: []byte{1}}); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Errorf("an entry that cannot be read: %v", err)
	}
}

// TestOffences: each is counted, logged once a minute, and told as a sentence.
func TestOffences(t *testing.T) {
	var log bytes.Buffer
	o := newOffences(zerolog.New(&log))
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 90 {
		o.add("region eu does", 2, now)
		now = now.Add(time.Second)
	}
	o.add("another", 1, now)
	if n := strings.Count(log.String(), "region eu does"); n != 2 {
		t.Errorf("logged %d times: %s", n, &log)
	}
	if got := o.list(); !slices.Equal(got, []string{"another: 1 times, the last at 2026-01-02T03:05:35Z", "region eu does: 180 times, the last at 2026-01-02T03:05:34Z"}) {
		t.Errorf("%q", got)
	}
	for i := range 2 * maxOffences {
		o.add(fmt.Sprint("offence ", i), 1, now)
	}
	if n := len(o.list()); n != maxOffences {
		t.Errorf("%d are remembered", n)
	}
}

// BenchmarkForbidden is what the check before sending costs for an entry of 64 changes, for two peers.
func BenchmarkForbidden(b *testing.B) {
	keys := make([]string, 64)
	for i := range keys {
		keys[i] = fmt.Sprintf("customer#%06d", i)
	}
	e := entryOf(b, 0x1000, keys...)
	for name, v := range map[string]*catalog.View{"pinned": pinnedCatalog(b, nil).View(), "free": pinnedCatalog(b, func(doc *globaltable.Table) { doc.Pins = nil }).View()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if to, _, err := forbidden(v, []hlc.Origin{2, 3}, e); to != 0 || err != nil {
					b.Fatal(to, err)
				}
			}
		})
	}
}

// TestForeignChangesAreAnAlarm: what a peer feeds although it should have known better is voided, counted by peer, and told; what it fed before it knew is voided.
func TestForeignChangesAreAnAlarm(t *testing.T) {
	c := pinnedCatalog(t, func(doc *globaltable.Table) {
		doc.Version, doc.Predecessor = globaltable.MakeVersion(1, 5), globaltable.Hash{1}
	})
	shard, err := commit.Open(commit.Config{Origin: 1, Engine: store.NewMemory(), Clock: hlc.NewClock(time.Now, 0), Catalog: controlplane.ForShard(c), Relog: c.Feeds})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- shard.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	told := map[hlc.Origin]int{}
	a := applier{shard, c, func(o hlc.Origin, changes int) { told[o] += changes }}
	lane := globaltable.NewPlacement(1, 2).Lane()
	var position globaltable.Position
	position.Incarnation = 9
	feed := func(version globaltable.Version, keys ...string) {
		t.Helper()
		body := change.AppendBodySalt(nil, [change.SaltLen]byte{1})
		for _, pk := range keys {
			key, err := item.AppendKey(nil, item.AppendString(nil, pk), nil)
			if err != nil {
				t.Fatal(err)
			}
			body = change.AppendBodyChange(body, &conflict.Change{Table: 0x1000, Key: key, Dot: hlc.Stamp{Time: hlc.FromTime(time.Now()), Origin: 2}, CatalogVersion: uint64(version), Ops: conflict.RecordDelete(nil)})
		}
		e := change.Entry{Header: change.Seal(position.Chain, position.Seq+1, body, len(keys), 1), Body: body}
		position.Seq, position.Chain = e.Seq, e.Chain
		stop, err := a.Apply(t.Context(), inbox.Batch{Source: change.Source{Origin: 2, Incarnation: 9, Lane: lane}, Entries: []change.Entry{e}, Position: position})
		if err != nil || stop != inbox.Running {
			t.Fatal(stop, err)
		}
	}
	feed(globaltable.MakeVersion(1, 4), "EU#1", "US#1") // before it knew
	if len(told) != 0 {
		t.Errorf("told %v", told)
	}
	feed(globaltable.MakeVersion(1, 5), "EU#1", "US#1", "EU#2")
	if told[2] != 2 || len(told) != 1 {
		t.Errorf("told %v", told)
	}
	held := 0
	if err := shard.Records(t.Context(), 0x1000, nil, nil, func(item.Key, []byte) bool { held++; return true }); err != nil || held != 1 {
		t.Errorf("%d records: %v", held, err)
	}
}
