package catalog

import (
	"reflect"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

const heir = globaltable.TableID(5000<<16 | 2) // of us

// leaving is the change by which us leaves.
func leaving() *Change {
	return &Change{Disassociate: &Disassociation{Region: "us", Successor: heir, Confirmed: true}, Region: "us"}
}

func mustUpdate(t testing.TB, w *world, table *globaltable.Table, change *Change) *globaltable.Table {
	t.Helper()
	next, err := Update(table, change, 1, w.region)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// filled are the answers by which the owner lets us go.
func filled() Answers { return Answers{2: {Outcome: Adopted, Filled: true}} }

// TestDisassociation goes through the versions of a table of two regions, of which one leaves.
func TestDisassociation(t *testing.T) {
	w := newWorld(t, "eu", "us")
	both := spread(t, w)
	under := mustUpdate(t, w, both, leaving())
	r := under.ReplicaNamed("us")
	if !r.Disassociating() || r.Successor != heir || r.Since != under.Version || under.Settled() || under.StatusIn(2) != globaltable.Updating || under.StatusIn(1) != globaltable.Updating {
		t.Fatalf("on its way: %+v", r)
	}
	if got := Asked(under, r); len(got) != 1 || got[0] != 2 {
		t.Errorf("asked: %v", got)
	}
	for _, answers := range []Answers{{}, {2: {Outcome: Adopted}}, {1: {Filled: true}}, {2: {Dropped: true, Joined: true}}} {
		if _, ok := Advance(under, answers, 1); ok {
			t.Errorf("it leaves by the answers %v", answers)
		}
	}
	gone, ok := Advance(under, filled(), 1)
	if !ok || gone.Validate() != nil || !gone.ReplicaNamed("us").Disassociated() || !gone.HasParted(heir) || gone.StatusIn(2) != "" {
		t.Fatalf("gone: %v %+v", gone.Validate(), gone.Replicas)
	}
	last, ok := Advance(gone, Answers{2: {Outcome: Adopted, Dropped: true}}, 1)
	if !ok || len(last.Replicas) != 1 || !last.HasParted(heir) || last.StatusIn(1) != globaltable.Active || last.Validate() != nil {
		t.Fatalf("at the end: %+v", last)
	}
	// What a table has become is in the document for ever.
	eu := w.places["eu"]
	for _, v := range []*globaltable.Table{both, gone} {
		if _, err := w.adopt("eu", v); err != nil {
			t.Fatal(err)
		}
	}
	forgets := last.Clone()
	forgets.Parted = nil
	if _, _, err := eu.Prepare([]item.Item{EncodeDocument(forgets)}); globaltable.KindOf(err) != globaltable.Corrupt {
		t.Errorf("a document that forgets: %v", err)
	}
}

// TestDisassociationIsRefused: what DynamoDB's prerequisites exclude, and what would leave something half done.
func TestDisassociationIsRefused(t *testing.T) {
	w := newWorld(t, "eu", "us", "ap")
	both := spread(t, w)
	with := func(t *globaltable.Table, f func(*globaltable.Table)) *globaltable.Table {
		c := t.Clone()
		f(c)
		return c
	}
	ask := func(f func(*Change)) *Change {
		c := leaving()
		d := *c.Disassociate
		c.Disassociate = &d
		f(c)
		return c
	}
	const failed = "Failed to disassociate the replica of table with name: 'orders' because "
	protection := mustUpdate(t, w, both, &Change{DisassociationProtection: ptr(false), Region: "us"})
	for name, c := range map[string]struct {
		table  *globaltable.Table
		change *Change
		kind   globaltable.Kind
		err    string
	}{
		"protected":             {both, ask(func(c *Change) { c.Disassociate.Confirmed = false }), globaltable.Invalid, failed + "it is currently protected against disassociation. Disable disassociation protection first."},
		"protected again":       {mustUpdate(t, w, protection, &Change{DisassociationProtection: ptr(true), Region: "us"}), ask(func(c *Change) { c.Disassociate.Confirmed = false }), globaltable.Invalid, failed + "it is currently protected"},
		"elsewhere unprotected": {mustUpdate(t, w, both, &Change{DisassociationProtection: ptr(false), Region: "eu"}), ask(func(c *Change) { c.Disassociate.Confirmed = false }), globaltable.Invalid, failed + "it is currently protected"},
		"asked elsewhere":       {both, ask(func(c *Change) { c.Region = "eu" }), globaltable.Invalid, failed + "the request must be sent to the region of the replica: us"},
		"no replica":            {both, ask(func(c *Change) { c.Region, c.Disassociate.Region = "ap", "ap" }), globaltable.Invalid, failed + "it is not a replica of a global table in region: ap"},
		"one region":            {exampleOf(t, w, "us", "orders", created), leaving(), globaltable.Invalid, failed + "it is not a replica of a global table in region: us"},
		"of 2017":               {with(both, func(t *globaltable.Table) { t.Legacy = true }), leaving(), globaltable.Invalid, failed + "it is a replica of a global table of version 2017.11.29"},
		"with another":          {both, ask(func(c *Change) { c.Create = []string{"ap"} }), globaltable.Invalid, "One or more parameter values were invalid: Disassociate must be the only replica update in the request"},
		"another on its way":    {mustUpdate(t, w, both, &Change{Create: []string{"ap"}}), leaving(), globaltable.InUse, "Attempt to change a resource which is still in use: Table is being updated: orders"},
		"on its way":            {mustUpdate(t, w, both, leaving()), leaving(), globaltable.InUse, "Attempt to change a resource which is still in use: Table is being updated: orders"},
		"another's id":          {both, ask(func(c *Change) { c.Disassociate.Successor = 5000<<16 | 1 }), globaltable.Invalid, "One or more parameter values were invalid: the successor"},
		"the table's id":        {both, ask(func(c *Change) { c.Disassociate.Successor = both.ID }), globaltable.Invalid, "One or more parameter values were invalid: the successor"},
		"an id again":           {with(both, func(t *globaltable.Table) { t.Parted = []globaltable.TableID{heir} }), leaving(), globaltable.Invalid, "One or more parameter values were invalid: the successor"},
		"others are fenced": {with(both, func(t *globaltable.Table) { t.ReplicaNamed("eu").Status = globaltable.StatusFenced }), leaving(), globaltable.Invalid,
			failed + "the others are in regions that are fenced"},
		"too often": {with(both, func(t *globaltable.Table) {
			for i := range globaltable.MaxParted {
				t.Parted = append(t.Parted, globaltable.TableID(i+6000)<<16)
			}
		}), leaving(), globaltable.LimitExceeded, "Too many replicas"},
		"protection in one region": {exampleOf(t, w, "us", "orders", created), &Change{DisassociationProtection: ptr(false), Region: "us"}, globaltable.Invalid,
			"One or more parameter values were invalid: DisassociationProtectionEnabled can only be specified for a replica of a global table of version 2019.11.21"},
	} {
		_, err := Update(c.table, c.change, 1, w.region)
		if !strings.HasPrefix(textOf(err), c.err) || err == nil || globaltable.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Update(protection, ask(func(c *Change) { c.Disassociate.Confirmed = false }), 1, w.region); err != nil {
		t.Errorf("its protection is off: %v", err)
	}
	// Nothing of the table changes meanwhile.
	under := mustUpdate(t, w, both, leaving())
	for name, change := range map[string]*Change{
		"a replica more":  {Create: []string{"ap"}},
		"a replica less":  {Delete: []string{"eu"}},
		"an index":        {CreateIndex: indexOn("by", "x")},
		"a tag":           {Tag: map[string]string{"a": "b"}, Region: "eu"},
		"time to live":    {TimeToLive: &TimeToLive{Attribute: "t", Enabled: true, At: 1}},
		"protection":      {DisassociationProtection: ptr(true), Region: "us"},
		"stream":          {Stream: ptr(globaltable.StreamView(""))},
		"other's setting": {DeletionProtection: ptr(true), Region: "eu"},
	} {
		if _, err := Update(under, change, 1, w.region); globaltable.KindOf(err) != globaltable.InUse {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, region := range []string{"eu", "us"} {
		if _, err := Remove(under, region, 1); globaltable.KindOf(err) != globaltable.InUse {
			t.Errorf("deleted in %s: %v", region, err)
		}
	}
}

// TestSuccessorsSettings: the table that a replica becomes has the table's settings as the replica has them, and nothing of the others.
func TestSuccessorsSettings(t *testing.T) {
	w := newWorld(t, "eu", "us")
	table := spread(t, w)
	for _, change := range []*Change{
		{Tag: map[string]string{globaltable.AcknowledgeTag: "peers:1", "team": "eu"}, Region: "eu"},
		{Tag: map[string]string{"team": "us"}, DeletionProtection: ptr(true), Class: ptr(globaltable.ClassInfrequentAccess), Region: "us"},
		{CreateIndex: indexOn("one", "x")}, {DeleteIndex: "one"}, {CreateIndex: indexOn("two", "y")},
		{Overrides: map[string]Override{"us": {ReadUnits: globaltable.ReadUnits{OnDemandRead: 70}, Indexes: map[string]globaltable.ReadUnits{"two": {OnDemandRead: 7}}}}},
		{OnDemandMaxRead: ptr[int64](100), OnDemandMaxWrite: ptr[int64](200)},
		{TimeToLive: &TimeToLive{Attribute: "ttl", Enabled: true, At: 9000 << 16}},
		{DisassociationProtection: ptr(false), Region: "us"},
	} {
		table = mustUpdate(t, w, table, change)
	}
	us, _ := w.region("us")
	if _, ok := Succeed(table, us, 3); ok {
		t.Error("a replica that stays has a successor")
	}
	c := leaving()
	c.Disassociate.Confirmed = false
	under := mustUpdate(t, w, table, c)
	got, ok := Succeed(under, us, 3)
	if !ok || got.Validate() != nil {
		t.Fatalf("%+v: %v", got, got.Validate())
	}
	own := got.OwnOf(&got.Replicas[0])
	switch {
	case got.ID != heir, got.Name != "orders", got.Owner != 2, got.Version != globaltable.MakeVersion(3, 1), len(got.Replicas) != 1, got.Replicas[0].Status != globaltable.Active,
		got.Replicas[0].Succeeds != globaltable.Succession{Table: table.ID, Since: under.Version}, len(got.Parted) > 0:
		t.Errorf("what it is: %+v", got)
	case got.Tags["team"] != "us", len(got.Tags) != 1, got.AcknowledgePeers != 0, !own.DeletionProtection, own.Class != globaltable.ClassInfrequentAccess, own.Disassociable:
		t.Errorf("the replica's own: %+v %v", own, got.Tags)
	case got.OnDemandMax != globaltable.Throughput{Read: 70, Write: 200}, len(got.Indexes) != 1, got.LastIndex != 2, got.Indexes[0].ID != 2, got.Indexes[0].OnDemandMax.Read != 7:
		t.Errorf("units: %+v %+v", got.OnDemandMax, got.Indexes)
	case !reflect.DeepEqual(got.Stream, table.Stream), got.StreamLabel(&got.Replicas[0]) != table.StreamLabel(table.ReplicaNamed("us")), got.Begun(&got.Replicas[0]) != table.Begun(table.ReplicaNamed("us")):
		t.Errorf("stream and age: %+v %+v", got.Stream, got.Replicas[0])
	case historyText(got.Expiry) != historyText(table.Expiry) || len(got.Expiry) != 1:
		t.Errorf("time to live: %v", got.Expiry)
	}
	if last := Forsake(got, 4); !last.Deleted || last.Validate() != nil {
		t.Errorf("its end: %+v", last)
	}
}

// TestNameChangesOver: in the region that leaves the name is the old table's until the version is adopted that lets the replica go, and the new one's from then on, whatever comes first when a store is read; in the
// other regions it stays. Later versions change nothing of it.
func TestNameChangesOver(t *testing.T) {
	w := newWorld(t, "eu", "us")
	us, _ := w.region("us")
	both := spread(t, w)
	under := mustUpdate(t, w, both, leaving())
	next, _ := Succeed(under, us, 1)
	gone, _ := Advance(under, filled(), 1)
	last, _ := Advance(gone, Answers{2: {Outcome: Adopted, Dropped: true}}, 1)
	again := mustUpdate(t, w, last, &Change{Create: []string{"us"}, Region: "eu"})

	named := func(when string, want globaltable.TableID) {
		t.Helper()
		for range 4 { // a store is read in any order
			p := w.places["us"]
			got, ok := p.View().Lookup("orders")
			if !ok || got.ID != want || p.View().Len() != 1 {
				t.Fatalf("%s: the name is %v's", when, got)
			}
			for _, id := range []globaltable.TableID{both.ID, heir} {
				_, lane, _, placed := p.Place(id, nil)
				if placed != (id == want) || p.Admits(id, nil, 0) != (id == want) || p.View().Serves(id) != (id == want) {
					t.Errorf("%s: table %v takes writes: %v", when, id, placed)
				}
				if want == heir && placed && lane != globaltable.NewPlacement(2).Lane() {
					t.Errorf("%s: its writes go to lane %v", when, lane)
				}
			}
			if p.Settled(heir) != (want == heir) || p.Settled(both.ID) != (want == both.ID && p.Version(both.ID) == both.Version) {
				t.Errorf("%s: which is collected", when)
			}
			w.open(t, "us")
		}
		if got, ok := w.places["eu"].View().Lookup("orders"); !ok || got.ID != both.ID {
			t.Errorf("%s: in eu the name is %v's", when, got)
		}
	}
	steps := []struct {
		when   string
		doc    *globaltable.Table
		want   globaltable.TableID
		mirror Mirror
	}{
		{"before", both, both.ID, Mirror{From: both.ID}},
		{"leaving", under, both.ID, Mirror{From: both.ID}},
		{"with a successor", next, both.ID, Mirror{From: both.ID, To: heir}},
		{"gone", gone, heir, Mirror{From: both.ID, To: heir, Over: true}},
		{"without a replica", last, heir, Mirror{From: both.ID}},
		{"refused", again, heir, Mirror{From: both.ID}},
	}
	for _, s := range steps {
		for _, region := range []string{"eu", "us"} {
			said, err := w.adopt(region, s.doc)
			if err != nil || (said == "name taken") != (s.doc == again && region == "us") {
				t.Fatalf("%s, %s: %s %v", s.when, region, said, err)
			}
		}
		p := w.places["us"]
		if got := p.adoptions[len(p.adoptions)-1].Mirror; got != s.mirror {
			t.Errorf("%s: %+v, want %+v", s.when, got, s.mirror)
		}
		if got := p.View().Awaits(next, 2); got != (s.want == both.ID) {
			t.Errorf("%s: the successor waits: %v", s.when, got)
		}
		if p.View().Forsaken(next) {
			t.Errorf("%s: forsaken", s.when)
		}
		named(s.when, s.want)
	}
	failed, ok := Advance(again, Answers{1: {Outcome: Adopted}, 2: {Outcome: NameTaken}}, 1)
	if !ok || failed.ReplicaNamed("us").Status != globaltable.CreationFailed {
		t.Errorf("a replica where the name is taken: %+v", failed)
	}
	// The new table can get replicas of its own where the name is free.
	if _, err := Update(next, &Change{Create: []string{"eu"}, Region: "us", At: 1}, 1, w.region); err != nil {
		t.Error(err)
	}
}

// TestDisassociationIsCalledOff by the closing of its region: the successor ends, and never has the name. Once it is decided it stays so.
func TestDisassociationIsCalledOff(t *testing.T) {
	w := newWorld(t, "eu", "us")
	us, _ := w.region("us")
	both := spread(t, w)
	under := mustUpdate(t, w, both, leaving())
	next, _ := Succeed(under, us, 1)
	gone, _ := Advance(under, filled(), 1)
	members := &globaltable.World{Members: []globaltable.Member{{Descriptor: w.regions[0], State: globaltable.MemberActive}, {Descriptor: us, State: globaltable.MemberFenced}}}
	for name, c := range map[string]struct {
		from  *globaltable.Table
		lives bool
	}{"on its way": {under, false}, "decided": {gone, true}} {
		closing, ok := Follow(c.from, members, 1, 77)
		if !ok || closing.Validate() != nil || closing.ReplicaNamed("us").Status != globaltable.StatusFencing || closing.ReplicaNamed("us").Successor != 0 || closing.ReplicaNamed("us").Leaving != c.lives {
			t.Fatalf("%s: %+v", name, closing)
		}
		if _, ok := Advance(closing, filled(), 1); ok {
			t.Errorf("%s: a closed replica goes on", name)
		}
		w := newWorld(t, "eu", "us")
		for _, doc := range []*globaltable.Table{both, under, next} {
			if _, err := w.adopt("eu", doc); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.adopt("eu", closing); err != nil {
			t.Fatal(err)
		}
		if got := w.places["eu"].View().Forsaken(next); got == c.lives {
			t.Errorf("%s: forsaken: %v", name, got)
		}
	}
	// Who knows less than the successor's own document says decides nothing.
	w = newWorld(t, "eu", "us")
	for _, doc := range []*globaltable.Table{both, next} {
		if _, err := w.adopt("eu", doc); err != nil {
			t.Fatal(err)
		}
	}
	if w.places["eu"].View().Forsaken(next) {
		t.Error("forsaken by an older document")
	}
	// While another region is closed the replica waits: it may get something from those that stay.
	other := &globaltable.World{Members: []globaltable.Member{{Descriptor: w.regions[0], State: globaltable.MemberFenced}, {Descriptor: us, State: globaltable.MemberActive}}}
	closing, ok := Follow(under, other, 1, 77)
	if !ok || !closing.ReplicaNamed("us").Disassociating() {
		t.Fatalf("another is closed: %+v", closing)
	}
	if next, ok := Advance(closing, filled(), 1); ok && next.ReplicaNamed("us").Disassociated() {
		t.Error("it leaves while another is closed")
	}
}

// TestDisassociationIsDescribed: what it waits for is said of the replica.
func TestDisassociationIsDescribed(t *testing.T) {
	w := newWorld(t, "eu", "us")
	under := mustUpdate(t, w, spread(t, w), leaving())
	for _, c := range []struct {
		p    Progress
		want string
	}{
		{Progress{Unreachable: map[hlc.Origin]bool{2: true}}, "Cannot reach us."},
		{Progress{Answers: Answers{}}, "Waiting for us to adopt the change."},
		{Progress{Answers: Answers{2: {Outcome: Adopted}}, Waiting: map[hlc.Origin]string{2: "us to copy its records"}}, "Waiting for us to copy its records."},
	} {
		if got := Describe(under, c.p).ReplicaNamed("us").StatusDescription; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
