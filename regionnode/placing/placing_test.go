package placing

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/handover"
)

const lane globaltable.LaneID = 77

// region is all that a Placer works with. It writes down what it is asked to do.
type region struct {
	catalog *catalog.Catalog
	key     nkeys.KeyPair
	self    globaltable.Descriptor
	now     time.Time

	did     []string
	placing commit.Placing
	live    bool
	filling bool // events
	left    int
	walking bool
	fail    string // what fails
	done    globaltable.Placed
}

func (r *region) do(what string) error {
	if r.fail == what {
		return errors.New("as asked")
	}
	r.did = append(r.did, what)
	return nil
}

func (r *region) Incarnation() globaltable.Incarnation { return 5 }
func (r *region) Heads(context.Context) (commit.Heads, error) {
	return commit.Heads{Lanes: []commit.LaneHead{{Lane: globaltable.Lane{ID: globaltable.CatalogLane}, Seq: 9}, {Lane: globaltable.Lane{ID: lane}, Seq: 3}}}, nil
}
func (r *region) BeginPlacing(_ context.Context, _ globaltable.TableID, version globaltable.Version, at int64) error {
	if r.placing.Version != version {
		r.placing = commit.Placing{Version: version, Started: at, Rewritten: r.placing.Rewritten, Done: r.done}
	}
	return r.do("begin")
}
func (r *region) Placing(globaltable.TableID) commit.Placing { return r.placing }
func (r *region) EndPlacing(_ context.Context, _ globaltable.TableID, _ globaltable.Version, policies []globaltable.Pin, receipt string) error {
	r.placing.Receipt, r.placing.Rewritten = receipt, policies
	return r.do("end")
}
func (r *region) Review(_ context.Context, _ globaltable.TableID, _ globaltable.Version, id globaltable.LaneID, after uint64) (commit.Reviewed, error) {
	if id != lane {
		return commit.Reviewed{}, errors.New("another lane is reviewed")
	}
	return commit.Reviewed{Next: after + 1, Done: after+1 >= 3}, r.do("review")
}
func (r *region) EraseSaved(context.Context, globaltable.TableID, globaltable.Version, int) (bool, error) {
	return false, r.do("erase")
}
func (r *region) EraseStreams(_ context.Context, _ globaltable.TableID, _ globaltable.Version, after []byte) ([]byte, error) {
	if after == nil {
		return []byte("page"), r.do("erase streams")
	}
	return nil, r.do("erase streams")
}
func (r *region) EraseLetters(context.Context, globaltable.TableID, globaltable.Version, []byte) ([]byte, error) {
	return nil, r.do("erase letters")
}
func (r *region) Walking(globaltable.TableID) bool { return r.walking }
func (r *region) Renew(globaltable.LaneID)         { _ = r.do("renew") }
func (r *region) Live(globaltable.LaneID) bool     { return r.live }
func (r *region) RenewEvents(globaltable.TableID)  { _ = r.do("renew events") }
func (r *region) EventsLive(globaltable.TableID) bool {
	return !r.filling
}
func (r *region) Give(context.Context, *globaltable.Table, *globaltable.Table) (handover.Given, error) {
	return handover.Given{Left: r.left, Waiting: map[bool]string{true: "eu"}[r.left > 0]}, r.do("give")
}
func (r *region) Scrub(context.Context) error { return r.do("scrub") }

func newRegion(t *testing.T, pins ...globaltable.Pin) (*region, *Placer, *globaltable.Table) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &region{key: key, self: globaltable.Descriptor{Name: "us", Jurisdiction: "US", Origin: 1, PublicKey: public}, now: time.UnixMilli(1e12), live: true}
	eu := globaltable.Descriptor{Name: "eu", Jurisdiction: "EU", Origin: 2, PublicKey: public}
	if r.catalog, err = catalog.New(r.self, []globaltable.Descriptor{eu}); err != nil {
		t.Fatal(err)
	}
	table, err := catalog.Create(&catalog.Spec{Name: "orders", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}, 1000<<16|1, r.self, 1)
	if err != nil {
		t.Fatal(err)
	}
	table.Predecessor = globaltable.HashTable(table)
	table.Version = globaltable.MakeVersion(1, 4)
	table.Replicas[0].Placing = globaltable.MakeVersion(1, 3)
	table.Replicas = append(table.Replicas, globaltable.Replica{Region: "eu", Jurisdiction: "EU", Origin: 2, Status: globaltable.Active, Since: 1, Born: 1, Placing: globaltable.MakeVersion(1, 3)})
	slices.SortFunc(table.Replicas, func(a, b globaltable.Replica) int { return int(b.Origin) - int(a.Origin) })
	table.Pins = pins
	if err := r.catalog.Load([]item.Item{catalog.EncodeDocument(table)}, nil); err != nil {
		t.Fatal(err)
	}
	p := New(Config{Self: r.self, View: r.catalog.View, Store: r, Streams: r, Giver: r, Disk: r, Now: func() time.Time { return r.now },
		Sign: func(receipt *globaltable.Receipt) (string, error) { return globaltable.SignReceipt(receipt, key) }})
	return r, p, table
}

func (r *region) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(r.did, want) {
		t.Errorf("did %v, want %v", r.did, want)
	}
	r.did = nil
}

func europe() globaltable.Pin {
	return globaltable.Pin{Name: "eu", Match: globaltable.Match{KeyPrefix: "EU#"}, Regions: []string{"eu"}, Foreign: globaltable.Reject, SingleCopy: true}
}

// TestSteps: one after the other, each when the one before is done, and a receipt at the end; then nothing any more.
func TestSteps(t *testing.T) {
	r, p, table := newRegion(t, europe())
	version := globaltable.MakeVersion(1, 3)
	if got := p.Progress(table.ID, version); got.Done || got.Waiting != "us to adopt the change" {
		t.Errorf("%+v", got)
	}
	r.live, r.left, r.walking = false, 2, true
	look := func() {
		r.now = r.now.Add(time.Minute)
		p.Look(t.Context())
	}
	look()
	r.expect(t, "begin", "review", "review", "review", "renew", "renew events")
	if got := p.Progress(table.ID, version); got.Waiting != "the streams of us to be filled again" || got.Percent != 30 {
		t.Errorf("%+v", got)
	}
	r.live, r.filling = true, true
	look()
	r.expect(t)
	if got := p.Progress(table.ID, version); got.Waiting != "the events in the NATS of us to be filled again" || got.Percent != 30 {
		t.Errorf("%+v", got)
	}
	r.filling = false
	look()
	r.expect(t, "give")
	if got := p.Progress(table.ID, version); got.Waiting != "eu" {
		t.Errorf("%+v", got)
	}
	p.Look(t.Context()) // too soon
	r.expect(t)
	r.left = 0
	look()
	r.expect(t, "give", "erase", "erase streams", "erase streams", "erase letters")
	r.walking, r.fail = false, "scrub"
	look()
	r.expect(t, "erase", "erase streams", "erase streams", "erase letters")
	r.fail = ""
	look()
	r.expect(t, "scrub", "end")
	got := p.Progress(table.ID, version)
	receipt, err := globaltable.ParseReceipt(got.Receipt, &r.self)
	if err != nil || !got.Done || receipt.Version != version || receipt.Table != table.ID || receipt.Incarnation != 5 {
		t.Errorf("%+v %v", receipt, err)
	}
	if got := p.Progress(table.ID, version+1); got.Done {
		t.Error("another version is done, too")
	}
	look()
	r.expect(t)
}

// TestWhereNothingGoes: files are rewritten only where some items may not be.
func TestWhereNothingGoes(t *testing.T) {
	here := europe()
	here.Regions = []string{"us"}
	r, p, table := newRegion(t, here)
	p.Look(t.Context())
	r.expect(t, "begin", "review", "review", "review", "renew", "give", "erase", "erase streams", "erase streams", "erase letters", "end")
	if got := p.Progress(table.ID, globaltable.MakeVersion(1, 3)); !got.Done {
		t.Errorf("%+v", got)
	}
}

// TestFilesAreRewrittenOnce: what a version lets the region have beside what it had is no reason to rewrite files, though there are items that may not be here; an item that may not be here any more is, and one that was here all the same.
func TestFilesAreRewrittenOnce(t *testing.T) {
	elsewhere := europe()
	elsewhere.Name, elsewhere.Match.KeyPrefix = "other", "X#"
	wider := europe()
	wider.Regions = []string{"eu", "us"}
	everything := europe()
	everything.Match = globaltable.Match{}
	inside := europe()
	inside.Name, inside.Match.KeyPrefix = "inside", "EU#1"
	for name, c := range map[string]struct {
		before, now []globaltable.Pin
		done        globaltable.Placed
		rewrites    bool
	}{
		"the first time":                {nil, []globaltable.Pin{europe()}, globaltable.Placed{}, true},
		"as it was":                     {[]globaltable.Pin{europe(), elsewhere}, []globaltable.Pin{elsewhere, europe()}, globaltable.Placed{}, false},
		"one is wider":                  {[]globaltable.Pin{europe(), elsewhere}, []globaltable.Pin{wider, elsewhere}, globaltable.Placed{}, false},
		"one is gone":                   {[]globaltable.Pin{europe(), elsewhere}, []globaltable.Pin{elsewhere}, globaltable.Placed{}, false},
		"one is wider, another comes":   {[]globaltable.Pin{europe()}, []globaltable.Pin{wider, elsewhere}, globaltable.Placed{}, true},
		"a part of what was kept out":   {[]globaltable.Pin{europe()}, []globaltable.Pin{europe(), inside}, globaltable.Placed{}, false},
		"all but what is here anyway":   {[]globaltable.Pin{everything}, []globaltable.Pin{everything, inside}, globaltable.Placed{}, false},
		"more than a part":              {[]globaltable.Pin{inside}, []globaltable.Pin{europe()}, globaltable.Placed{}, true},
		"something was here":            {[]globaltable.Pin{europe(), elsewhere}, []globaltable.Pin{wider, elsewhere}, globaltable.Placed{Erased: 1}, true},
		"something was saved":           {[]globaltable.Pin{europe(), elsewhere}, []globaltable.Pin{wider, elsewhere}, globaltable.Placed{Saved: 1}, true},
		"what was here may be anywhere": {[]globaltable.Pin{europe()}, nil, globaltable.Placed{Erased: 1}, false},
	} {
		r, p, _ := newRegion(t, c.now...)
		r.placing.Rewritten, r.done = c.before, c.done
		p.Look(t.Context())
		if got := slices.Contains(r.did, "scrub"); got != c.rewrites || !slices.Contains(r.did, "end") {
			t.Errorf("%s: did %v", name, r.did)
		}
		if len(r.placing.Rewritten) != len(c.now) {
			t.Errorf("%s: the policies are not kept: %v", name, r.placing.Rewritten)
		}
	}
}

// TestTriesAgain: a step that fails is tried again, where it was.
func TestTriesAgain(t *testing.T) {
	r, p, _ := newRegion(t, europe())
	r.fail = "give"
	p.Look(t.Context())
	r.expect(t, "begin", "review", "review", "review", "renew", "renew events")
	r.fail, r.now = "", r.now.Add(time.Minute)
	p.Look(t.Context())
	r.expect(t, "give", "erase", "erase streams", "erase streams", "erase letters", "scrub", "end")
}
