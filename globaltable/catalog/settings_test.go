package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

const created = 1000 // the example's creation, in milliseconds

// spread returns a table of eu that is active in eu and us.
func spread(t testing.TB, w *world) *globaltable.Table {
	t.Helper()
	v2, err := Update(exampleOf(t, w, "eu", "orders", created), &Change{Create: []string{"us"}, Region: "eu", At: created + 5}, 1, w.region)
	if err != nil {
		t.Fatal(err)
	}
	v3, ok := Advance(v2, Answers{1: {Outcome: Adopted}, 2: {Outcome: Adopted, Joined: true}}, 1)
	if !ok {
		t.Fatal("not active")
	}
	return v3
}

// reads is an override of what a table on demand has for reads.
func reads(units int64) Override {
	return Override{ReadUnits: globaltable.ReadUnits{OnDemandRead: units}}
}

func ptr[T any](v T) *T { return &v }

// TestStreamTransitions: when a stream may be switched on and off, in a table of one region and in one of two.
func TestStreamTransitions(t *testing.T) {
	w := newWorld(t, "eu", "us")
	alone := exampleOf(t, w, "eu", "orders", created)
	with := func(t *globaltable.Table, view globaltable.StreamView, since int64) *globaltable.Table {
		c := t.Clone()
		c.Stream = globaltable.Stream{View: view, Since: since}
		return c
	}
	both := spread(t, w)
	const (
		already = "Table already has an enabled stream: TableName: orders"
		none    = "Table has no stream to disable: TableName: orders"
	)
	secret := []byte("sixteen bytes of")
	for name, c := range map[string]struct {
		table  *globaltable.Table
		change Change
		want   globaltable.Stream
		err    string
	}{
		"on":                         {alone, Change{Stream: ptr(globaltable.ViewOldImage), At: 7000}, globaltable.Stream{View: globaltable.ViewOldImage, Since: 7000}, ""},
		"on again, clock behind":     {with(alone, "", 9000), Change{Stream: ptr(globaltable.ViewKeysOnly), At: 7000}, globaltable.Stream{View: globaltable.ViewKeysOnly, Since: 9001}, ""},
		"off":                        {with(alone, globaltable.ViewOldImage, 9000), Change{Stream: ptr(globaltable.StreamView(""))}, globaltable.Stream{Since: 9000}, ""},
		"off, was off":               {alone, Change{Stream: ptr(globaltable.StreamView(""))}, globaltable.Stream{}, none},
		"on, was on":                 {with(alone, globaltable.ViewOldImage, 9000), Change{Stream: ptr(globaltable.ViewOldImage)}, globaltable.Stream{}, already},
		"other view":                 {with(alone, globaltable.ViewOldImage, 9000), Change{Stream: ptr(globaltable.ViewNewImage)}, globaltable.Stream{}, already},
		"replica, was off":           {alone, Change{Create: []string{"us"}, At: 7000}, globaltable.Stream{}, ""},
		"replica, was on":            {with(alone, globaltable.ViewNewAndOldImages, 9000), Change{Create: []string{"us"}}, globaltable.Stream{View: globaltable.ViewNewAndOldImages, Since: 9000}, ""},
		"replica, other view":        {with(alone, globaltable.ViewKeysOnly, 9000), Change{Create: []string{"us"}}, globaltable.Stream{View: globaltable.ViewKeysOnly, Since: 9000}, ""},
		"off in two regions":         {with(both, globaltable.ViewOldImage, 9000), Change{Stream: ptr(globaltable.StreamView(""))}, globaltable.Stream{Since: 9000}, ""},
		"on in two regions":          {with(both, "", 0), Change{Stream: ptr(globaltable.ViewNewAndOldImages), At: 7000}, globaltable.Stream{View: globaltable.ViewNewAndOldImages, Since: 7000}, ""},
		"other view in two regions":  {with(both, "", 0), Change{Stream: ptr(globaltable.ViewNewImage), At: 7000}, globaltable.Stream{View: globaltable.ViewNewImage, Since: 7000}, ""},
		"its secret":                 {alone, Change{Stream: ptr(globaltable.ViewOldImage), At: 7000, Secret: secret}, globaltable.Stream{View: globaltable.ViewOldImage, Since: 7000, Secret: secret}, ""},
		"a change of something else": {with(alone, globaltable.ViewOldImage, 9000), Change{WarmRead: ptr(int64(5))}, globaltable.Stream{View: globaltable.ViewOldImage, Since: 9000}, ""},
	} {
		next, err := Update(c.table, &c.change, 1, w.region)
		switch {
		case c.err != "":
			if err == nil || globaltable.KindOf(err) != globaltable.Invalid || !strings.HasSuffix(err.Error(), c.err) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || !reflect.DeepEqual(next.Stream, c.want):
			t.Errorf("%s: %v, %v", name, next, err)
		}
	}
}

func TestBillingTransitions(t *testing.T) {
	w := newWorld(t, "eu")
	onDemand := exampleOf(t, w, "eu", "orders", created)
	update := func(t *globaltable.Table, c Change) (*globaltable.Table, error) { return Update(t, &c, 1, w.region) }
	provisioned, err := update(onDemand, Change{Billing: ptr(globaltable.Provisioned), Throughput: &globaltable.Throughput{Read: 5, Write: 6}})
	if err != nil {
		t.Fatal(err)
	}
	if provisioned.OnDemandSince != onDemand.CreatedAt {
		t.Errorf("on demand since %d, was created so at %d", provisioned.OnDemandSince, onDemand.CreatedAt)
	}
	_, err = update(provisioned, Change{Throughput: &globaltable.Throughput{Read: 5, Write: 6}})
	want := "The provisioned throughput for the table will not change. The requested value equals the current value. Current ReadCapacityUnits provisioned for the table: 5. " +
		"Requested ReadCapacityUnits: 5. Current WriteCapacityUnits provisioned for the table: 6. Requested WriteCapacityUnits: 6. " +
		"Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits."
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Error(err)
	}
	if _, err := update(provisioned, Change{OnDemandMaxRead: ptr(int64(5))}); err == nil || !strings.Contains(err.Error(), "OnDemandThroughput can only be specified") {
		t.Error(err)
	}
	if _, err := update(onDemand, Change{Throughput: &globaltable.Throughput{Read: 5, Write: 6}}); err == nil || !strings.Contains(err.Error(), "Neither ReadCapacityUnits") {
		t.Error(err)
	}
	back, err := update(provisioned, Change{Billing: ptr(globaltable.PayPerRequest), OnDemandMaxRead: ptr(int64(50)), OnDemandMaxWrite: ptr(int64(60)), At: 9000})
	if err != nil || back.OnDemandSince != 9000 || back.OnDemandMax != (globaltable.Throughput{Read: 50, Write: 60}) || back.Throughput != (globaltable.Throughput{}) {
		t.Errorf("%+v, %v", back, err)
	}
	less, err := update(back, Change{OnDemandMaxRead: ptr(int64(0)), Billing: ptr(globaltable.PayPerRequest), At: 9999})
	if err != nil || less.OnDemandSince != 9000 || less.OnDemandMax != (globaltable.Throughput{Write: 60}) {
		t.Errorf("%+v, %v", less, err)
	}
	if again, err := update(less, Change{Billing: ptr(globaltable.Provisioned), Throughput: &globaltable.Throughput{Read: 1, Write: 1}}); err != nil || again.OnDemandMax != (globaltable.Throughput{}) || again.OnDemandSince != 9000 {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestOwnSettingsStayLocal: what DynamoDB does not carry to other replicas is changed where the change was asked for, and nowhere else.
func TestOwnSettingsStayLocal(t *testing.T) {
	w := newWorld(t, "eu", "us", "ap")
	spec := specOf("orders")
	spec.DeletionProtection, spec.Class = true, globaltable.ClassInfrequentAccess
	spec.Tags = map[string]string{"team": "maps", globaltable.AcknowledgeTag: "local"}
	table, err := Create(spec, created<<16|1, mustRegion(w, "eu"), 1)
	if err != nil {
		t.Fatal(err)
	}
	must := func(next *globaltable.Table, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		table = next
	}
	own := func(region string) globaltable.Own { return table.OwnOf(table.ReplicaNamed(region)) }
	must(Update(table, &Change{Class: ptr(globaltable.ClassStandard), Region: "eu"}, 1, w.region))
	must(Update(table, &Change{Create: []string{"us"}, Region: "eu", At: 5000}, 1, w.region))
	must(Update(table, &Change{Overrides: map[string]Override{"us": reads(7)}, Region: "eu"}, 1, w.region))
	// A new replica has the class of the one that it was made from, and neither tags nor protection.
	if o := own("us"); o.DeletionProtection || o.Class != globaltable.ClassStandard || len(o.Tags) != 0 || o.OnDemandRead != 7 {
		t.Errorf("%+v", o)
	}
	must(Update(table, &Change{Tag: map[string]string{"team": "other", globaltable.AcknowledgeTag: "peers:1"}, DeletionProtection: ptr(false), Region: "us"}, 1, w.region))
	if tags := table.TagsOf(table.ReplicaNamed("us")); !maps.Equal(tags, map[string]string{"team": "other", globaltable.AcknowledgeTag: "peers:1"}) {
		t.Error(tags)
	}
	if tags := table.TagsOf(table.ReplicaNamed("eu")); !maps.Equal(tags, map[string]string{"team": "maps", globaltable.AcknowledgeTag: "peers:1"}) || table.AcknowledgePeers != 1 {
		t.Error(tags)
	}
	if o := own("eu"); !o.DeletionProtection {
		t.Errorf("%+v", o)
	}
	must(Update(table, &Change{Untag: []string{"team", "nothing"}, Region: "eu"}, 1, w.region))
	if len(own("eu").Tags) != 0 || own("us").Tags["team"] != "other" {
		t.Errorf("%+v %+v", own("eu"), own("us"))
	}
	// Protection holds for deletions from everywhere, of this replica.
	table, _ = Advance(table, Answers{1: {Outcome: Adopted}, 2: {Outcome: Adopted, Joined: true}}, 1)
	const protected = "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first."
	if _, err := Remove(table, "eu", 1); err == nil || !strings.HasSuffix(err.Error(), protected) {
		t.Error(err)
	}
	if _, err := Update(table, &Change{Delete: []string{"eu"}, Region: "us"}, 1, w.region); err == nil || !strings.HasSuffix(err.Error(), protected) {
		t.Error(err)
	}
	if _, err := Remove(table, "us", 1); err != nil {
		t.Error(err)
	}
	// Wrong ones.
	if _, err := Update(table, &Change{DeletionProtection: ptr(true), Region: "ap"}, 1, w.region); globaltable.KindOf(err) != globaltable.NotFound {
		t.Error(err)
	}
	if _, err := Update(table, &Change{Overrides: map[string]Override{"ap": reads(1)}, Region: "eu"}, 1, w.region); err == nil ||
		!strings.HasSuffix(err.Error(), "because it has no replica in region: ap") {
		t.Error(err)
	}
	many := map[string]string{}
	for i := range globaltable.MaxTags {
		many[fmt.Sprint(i)] = ""
	}
	if _, err := Update(table, &Change{Tag: many, Region: "us"}, 1, w.region); err == nil || !strings.Contains(err.Error(), "Too many tags: the limit is 50") {
		t.Error(err)
	}
}

// TestOverridesOfIndexes: what one replica has for its indexes, from being set to the end of the index or of the billing mode.
func TestOverridesOfIndexes(t *testing.T) {
	w := newWorld(t, "eu", "us")
	spec := specOf("orders")
	spec.KeySchema.Sort = &globaltable.KeyAttribute{Name: "day", Type: item.S}
	spec.Indexes = []globaltable.Index{*indexOn("first", "a"), *indexOn("second", "b"),
		{Name: "local", Local: true, Partition: []globaltable.KeyAttribute{spec.KeySchema.Partition}, Sort: []globaltable.KeyAttribute{{Name: "a", Type: item.S}}, Projection: globaltable.ProjectAll}}
	table, err := Create(spec, created<<16|1, mustRegion(w, "eu"), 1)
	if err != nil {
		t.Fatal(err)
	}
	type units = globaltable.ReadUnits
	update := func(c Change) error {
		c.Region, c.At = "eu", created+5
		next, err := Update(table, &c, 1, w.region)
		if err == nil {
			table = next
		}
		return err
	}
	must := func(c Change) {
		t.Helper()
		if err := update(c); err != nil {
			t.Fatal(err)
		}
	}
	override := func(region string, read units, of map[string]units) Change {
		return Change{Overrides: map[string]Override{region: {ReadUnits: read, Indexes: of}}}
	}
	refused := func(c Change, kind globaltable.Kind, message string) {
		t.Helper()
		if err := update(c); globaltable.KindOf(err) != kind || !strings.HasSuffix(err.Error(), message) {
			t.Errorf("%v", err)
		}
	}
	expect := func(region string, want map[globaltable.IndexID]units) {
		t.Helper()
		if got := table.OwnOf(table.ReplicaNamed(region)).Indexes; !maps.Equal(got, want) {
			t.Errorf("%s has %v, want %v", region, got, want)
		}
	}
	const (
		needsDemand    = "One or more parameter values were invalid: OnDemandThroughput can only be specified for index: first when BillingMode is PAY_PER_REQUEST"
		needsProvision = "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: first when BillingMode is PAY_PER_REQUEST"
		notFound       = "Requested resource not found: Index: %s of table: orders not found"
	)
	refused(override("eu", units{}, map[string]units{"first": {ReadCapacity: 5}}), globaltable.Invalid, needsProvision)
	refused(override("eu", units{ReadCapacity: 5}, nil), globaltable.Invalid, strings.ReplaceAll(needsProvision, " for index: first", ""))
	for _, name := range []string{"third", "local"} {
		refused(override("eu", units{}, map[string]units{name: {}}), globaltable.NotFound, fmt.Sprintf(notFound, name))
	}
	expect("eu", nil)

	// A replica that is made, with the index that is made with it.
	c := override("us", units{OnDemandRead: 50}, map[string]units{"first": {OnDemandRead: 51}, "third": {OnDemandRead: 53}})
	c.Create, c.CreateIndex = []string{"us"}, indexOn("third", "c")
	must(c)
	must(override("eu", units{}, map[string]units{"second": {OnDemandRead: 62}}))
	must(override("us", units{}, map[string]units{"second": {OnDemandRead: 52}, "third": {}}))
	expect("us", map[globaltable.IndexID]units{1: {OnDemandRead: 51}, 2: {OnDemandRead: 52}, 4: {OnDemandRead: 53}})
	expect("eu", map[globaltable.IndexID]units{2: {OnDemandRead: 62}})

	// What an index had goes with it, everywhere; another one of its name begins with nothing. While it goes it is not there.
	gone := override("us", units{}, map[string]units{"second": {OnDemandRead: 1}})
	gone.DeleteIndex = "second"
	refused(gone, globaltable.NotFound, fmt.Sprintf(notFound, "second"))
	must(Change{DeleteIndex: "second"})
	must(Change{CreateIndex: indexOn("second", "b")})
	expect("us", map[globaltable.IndexID]units{1: {OnDemandRead: 51}, 4: {OnDemandRead: 53}})
	expect("eu", map[globaltable.IndexID]units{})

	// A billing mode ends what belongs to the other one.
	provisioned := Change{Billing: ptr(globaltable.Provisioned), Throughput: &globaltable.Throughput{Read: 1, Write: 1}, IndexUnits: map[string]IndexUnits{}}
	for _, name := range []string{"first", "second", "third"} {
		provisioned.IndexUnits[name] = IndexUnits{Throughput: &globaltable.Throughput{Read: 1, Write: 1}}
	}
	provisioned.Overrides = map[string]Override{"us": {Indexes: map[string]units{"first": {ReadCapacity: 8}}}}
	must(provisioned)
	expect("us", map[globaltable.IndexID]units{1: {ReadCapacity: 8}})
	if own := table.OwnOf(table.ReplicaNamed("us")); own.ReadUnits != (units{}) {
		t.Errorf("%+v", own)
	}
	refused(override("us", units{}, map[string]units{"first": {OnDemandRead: 5}}), globaltable.Invalid, needsDemand)
	must(Change{Billing: ptr(globaltable.PayPerRequest)})
	expect("us", map[globaltable.IndexID]units{})
}

// TestOverridesAsTheyAreSent: between regions the change has the form that it had before indexes were in it.
func TestOverridesAsTheyAreSent(t *testing.T) {
	for want, o := range map[string]Override{
		`{"class":"STANDARD","readCapacity":1,"onDemandRead":2}`:             {Class: globaltable.ClassStandard, ReadUnits: globaltable.ReadUnits{ReadCapacity: 1, OnDemandRead: 2}},
		`{"indexes":{"a":{"readCapacity":1},"b":{"onDemandRead":2},"c":{}}}`: {Indexes: map[string]globaltable.ReadUnits{"a": {ReadCapacity: 1}, "b": {OnDemandRead: 2}, "c": {}}},
	} {
		got, err := json.Marshal(o)
		var back Override
		if err != nil || string(got) != want || json.Unmarshal(got, &back) != nil || !reflect.DeepEqual(back, o) {
			t.Errorf("%s, want %s: %+v, %v", got, want, back, err)
		}
	}
}

// TestLegacyTables: a table is one of 2017 until its replicas are changed by the interface of 2019.
func TestLegacyTables(t *testing.T) {
	w := newWorld(t, "eu", "us", "ap")
	table := exampleOf(t, w, "eu", "orders", created)
	for i, c := range []struct {
		change Change
		want   bool
	}{
		{Change{Legacy: true}, true},
		{Change{WarmRead: ptr(int64(1))}, true},
		{Change{Create: []string{"us"}, Legacy: true}, true},
		{Change{Overrides: map[string]Override{"us": reads(1)}, Legacy: true}, true},
		{Change{Overrides: map[string]Override{"us": reads(2)}}, false},
	} {
		next, err := Update(table, &c.change, 1, w.region)
		if err != nil || next.Legacy != c.want {
			t.Fatalf("%d: %v, %v", i, next, err)
		}
		table = next
	}
}

// TestInaccessibleSince: a document tells since when a region is fenced, and no longer when it is back.
func TestInaccessibleSince(t *testing.T) {
	w := newWorld(t, "eu", "us")
	table := spread(t, w)
	r := table.ReplicaNamed("us")
	if closeReplica(r, false, table.Version, 7000); r.InaccessibleSince != 7000 {
		t.Errorf("%+v", r)
	}
	if closeReplica(r, true, table.Version, 8000); r.InaccessibleSince != 7000 {
		t.Errorf("closing it a second time: %+v", r)
	}
	r.Status, r.Leaving = globaltable.StatusFenced, false
	world := &globaltable.World{Members: []globaltable.Member{{Descriptor: mustRegion(w, "eu"), State: globaltable.MemberActive}, {Descriptor: mustRegion(w, "us"), State: globaltable.MemberActive}}}
	next, ok := Follow(table, world, 1, 9000)
	if r := next.ReplicaNamed("us"); !ok || r.Status != globaltable.Creating || r.InaccessibleSince != 0 || r.CreatedAt != created+5 {
		t.Errorf("%+v", r)
	}
}
