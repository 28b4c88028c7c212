package membership

import (
	"fmt"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// regions makes the signed descriptors of regions 1 to n.
func regions(t *testing.T, n int) (descriptors []globaltable.Descriptor, tokens []string) {
	t.Helper()
	for o := 1; o <= n; o++ {
		seed := make([]byte, 32)
		seed[0] = byte(o)
		key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed)
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		d := globaltable.Descriptor{Name: fmt.Sprintf("region-%c", 'a'+rune(o)-1), Jurisdiction: "T", Origin: hlc.Origin(o), PublicKey: public}
		token, err := globaltable.Sign(&d, key)
		if err != nil {
			t.Fatal(err)
		}
		descriptors, tokens = append(descriptors, d), append(tokens, token)
	}
	return descriptors, tokens
}

// catalogOf is what region 1 knows of three regions: their states, and one table with a replica in each of them.
func catalogOf(t *testing.T, states [3]globaltable.MemberState, replicas [3]globaltable.Status, pins ...globaltable.Pin) (*catalog.Catalog, globaltable.TableID) {
	t.Helper()
	descriptors, tokens := regions(t, 3)
	c, err := catalog.New(descriptors[0], descriptors[1:])
	if err != nil {
		t.Fatal(err)
	}
	owner := descriptors[2].Origin
	w, err := catalog.FoundWorld(tokens, owner, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range states {
		w.Members[i].State = s
	}
	id := globaltable.NewTableID(1<<20, 3)
	table, err := catalog.Create(&catalog.Spec{Name: "pets", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "pk", Type: item.S}}}, id, descriptors[2], 1)
	if err != nil {
		t.Fatal(err)
	}
	born := table.Replicas[0]
	table.Replicas, table.Pins = nil, pins
	for i, s := range replicas {
		if s == "" {
			continue
		}
		r := born
		r.Region, r.Origin, r.Status = descriptors[i].Name, descriptors[i].Origin, s
		switch s { // after the others, in this order
		case globaltable.Creating:
			r.Since, r.Born = globaltable.MakeVersion(1, 2), globaltable.MakeVersion(1, 2)
		case globaltable.StatusFenced:
			r.Since = globaltable.MakeVersion(1, 3)
		}
		if r.Since != born.Since {
			table.Version, table.Predecessor = globaltable.MakeVersion(1, 3), globaltable.HashTable(table)
		}
		table.Replicas = append(table.Replicas, r)
	}
	docs := []item.Item{catalog.EncodeWorld(w), catalog.EncodeDocument(table)}
	if err := c.Load(docs, nil); err != nil {
		t.Fatal(err)
	}
	return c, id
}

// viewOf is catalogOf as it is in force.
func viewOf(t *testing.T, states [3]globaltable.MemberState, replicas [3]globaltable.Status, pins ...globaltable.Pin) (*catalog.View, globaltable.TableID) {
	t.Helper()
	c, id := catalogOf(t, states, replicas, pins...)
	return c.View(), id
}

const (
	active  = globaltable.MemberActive
	fencing = globaltable.MemberFencing
	fenced  = globaltable.MemberFenced
	serves  = globaltable.Active
)

// TestElsewhere: the purge frontier of a table says what others have, where there are others. A region that comes back must not rely on one that is fenced itself, or not yet what it is to be.
func TestElsewhere(t *testing.T) {
	for _, tc := range []struct {
		name     string
		reason   commit.RebuildReason
		states   [3]globaltable.MemberState
		replicas [3]globaltable.Status
		want     bool
	}{
		{"another one serves it", commit.Fenced, [3]globaltable.MemberState{fenced, active, active}, [3]globaltable.Status{serves, serves, ""}, true},
		{"the only copy", commit.Fenced, [3]globaltable.MemberState{fenced, active, active}, [3]globaltable.Status{serves, "", ""}, false},
		{"the other one was fenced with it", commit.Fenced, [3]globaltable.MemberState{fencing, fencing, active}, [3]globaltable.Status{serves, serves, ""}, false},
		{"the other one is being created", commit.Fenced, [3]globaltable.MemberState{fenced, active, active}, [3]globaltable.Status{serves, globaltable.Creating, ""}, false},
		{"it has not heard that it is fenced", commit.Fenced, [3]globaltable.MemberState{active, active, active}, [3]globaltable.Status{serves, serves, ""}, false},
		{"its store is old", commit.Regressed, [3]globaltable.MemberState{active, active, active}, [3]globaltable.Status{serves, serves, ""}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, id := viewOf(t, tc.states, tc.replicas)
			t0, _ := v.Table(id)
			key := keyOf(t, "US#1")
			if got := Elsewhere(v, tc.reason)(commit.Key{Table: id, Bytes: key}, t0.Version); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
			if Elsewhere(v, tc.reason)(commit.Key{Table: id + 1, Bytes: key}, t0.Version) {
				t.Error("others serve a table that nobody knows")
			}
			if Elsewhere(v, tc.reason)(commit.Key{Table: id, Bytes: key}, t0.Replicas[1%len(t0.Replicas)].Since-1) {
				t.Error("the purge frontier was raised before the other replica was made")
			}
		})
	}
}

// TestElsewhereUnderPolicies: what others serve of a table says nothing of an item that policies keep out of them; nor of the conflicts that are listed of it.
func TestElsewhereUnderPolicies(t *testing.T) {
	descriptors, _ := regions(t, 3)
	eu := globaltable.Pin{Name: "eu", Match: globaltable.Match{KeyPrefix: "EU#"}, Foreign: globaltable.Reject, Regions: []string{descriptors[0].Name}, SingleCopy: true}
	v, id := viewOf(t, [3]globaltable.MemberState{fenced, active, active}, [3]globaltable.Status{serves, serves, serves}, eu)
	table, _ := v.Table(id)
	is := Elsewhere(v, commit.Fenced)
	for text, want := range map[string]bool{"US#1": true, "EU#1": false} {
		key := keyOf(t, text)
		if got := is(commit.Key{Table: id, Bytes: key}, table.Version); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
		entry := feed.AppendKey(nil, key, hlc.Stamp{Time: 1 << 30, Origin: 1})
		if got := is(commit.Key{Table: id.Feed(), Bytes: entry}, table.Version); got != want {
			t.Errorf("a conflict of %s: %v, want %v", text, got, want)
		}
	}
}

// TestElsewhereAfterPolicies: who has carried out other policies since the frontier was raised, or is at it, may not have had the item when it was.
func TestElsewhereAfterPolicies(t *testing.T) {
	descriptors, _ := regions(t, 3)
	pin := globaltable.Pin{Name: "us", Match: globaltable.Match{KeyPrefix: "US#"}, Foreign: globaltable.Reject, Regions: []string{descriptors[1].Name}, SingleCopy: true}
	known, id := catalogOf(t, [3]globaltable.MemberState{fenced, active, active}, [3]globaltable.Status{serves, serves, serves}, pin)
	table, _ := known.View().Table(id)
	under := table.Version
	k := commit.Key{Table: id, Bytes: keyOf(t, "US#1")}
	if !Elsewhere(known.View(), commit.Fenced)(k, under) {
		t.Error("nobody serves it, by policies that have not changed")
	}
	for _, at := range []struct {
		version, under globaltable.Version
		want           bool
	}{{under, under, true}, {under + 2, under, false}, {under + 2, under + 2, true}} {
		receipt := globaltable.Receipt{Table: id, Name: "pets", Version: at.version, Region: descriptors[1].Name, Jurisdiction: "T", Origin: descriptors[1].Origin, Incarnation: 5, Started: 1, Finished: 2}
		seed := make([]byte, 32)
		seed[0] = 2
		key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed)
		if err != nil {
			t.Fatal(err)
		}
		token, err := globaltable.SignReceipt(&receipt, key)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := catalogOf(t, [3]globaltable.MemberState{fenced, active, active}, [3]globaltable.Status{serves, serves, serves}, pin)
		w, _ := c.View().World()
		if err := c.Load([]item.Item{catalog.EncodeWorld(w), catalog.EncodeDocument(table), catalog.EncodeReceipt(&catalog.Receipt{Receipt: receipt, Token: token})}, nil); err != nil {
			t.Fatal(err)
		}
		for _, k := range []commit.Key{k, {Table: id.Feed(), Bytes: feed.AppendKey(nil, k.Bytes, hlc.Stamp{Time: 1 << 30, Origin: 1})}} {
			if got := Elsewhere(c.View(), commit.Fenced)(k, at.under); got != at.want {
				t.Errorf("%s placed, the frontier of %s: %v, want %v", at.version, at.under, got, at.want)
			}
		}
	}
	placing := table.Clone()
	placing.Version, placing.Predecessor = under+1, globaltable.HashTable(table)
	placing.Replicas[1].Placing = under + 1
	w, _ := known.View().World()
	if err := known.Load([]item.Item{catalog.EncodeWorld(w), catalog.EncodeDocument(placing)}, nil); err != nil {
		t.Fatal(err)
	}
	if Elsewhere(known.View(), commit.Fenced)(k, under) {
		t.Error("a region has it that is still carrying out the policies by which it may")
	}
}

func keyOf(t *testing.T, text string) item.Key {
	t.Helper()
	key, err := item.AppendKey(nil, item.AppendString(nil, text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestFollowed: a region follows the active members, and anew whoever has come back with another store.
func TestFollowed(t *testing.T) {
	v, _ := viewOf(t, [3]globaltable.MemberState{active, fencing, active}, [3]globaltable.Status{serves, serves, serves})
	got := Followed(v)
	if len(got) != 1 || got[0].Descriptor.Origin != 3 {
		t.Fatalf("%+v", got)
	}
	if !Follows(v, got[0]) {
		t.Error("an active member is not followed on")
	}
	other := got[0]
	other.Incarnation++
	if Follows(v, other) {
		t.Error("another store of it is followed on")
	}
	if gone, _ := v.Member(2); Follows(v, gone) {
		t.Error("a member on its way out is followed on")
	}
	lane := globaltable.NewPlacement(1, 2)
	f := Unawaited(v)
	if out := f(globaltable.Lane{ID: lane.Lane(), Placement: lane}); len(out) != 1 || out[0] != 2 {
		t.Errorf("the log waits for a region that nobody hears: %v", out)
	}
	all := globaltable.NewPlacement(1, 2, 3)
	if out := f(globaltable.Lane{ID: all.Lane(), Placement: all}); out != nil {
		t.Errorf("a document still places changes for it, and the log does not wait: %v", out)
	}
	if why := Outside(v, 7); why != "" {
		t.Error(why)
	}
	out, _ := viewOf(t, [3]globaltable.MemberState{fenced, active, active}, [3]globaltable.Status{serves, serves, serves})
	if why := Outside(out, 7); why == "" {
		t.Error("a fenced region takes itself for a member")
	}
}

// TestOwes: an origin that is out gives nothing any more, and owes nothing, of whatever lanes.
func TestOwes(t *testing.T) {
	const active, removed = globaltable.MemberActive, globaltable.MemberRemoved
	for name, c := range map[string]struct {
		origin globaltable.MemberState
		lanes  []globaltable.LaneID
		owes   bool
	}{
		"the catalog's lane":          {active, []globaltable.LaneID{globaltable.CatalogLane, 7}, true},
		"other lanes":                 {active, []globaltable.LaneID{7}, false},
		"of a region that is removed": {removed, []globaltable.LaneID{globaltable.CatalogLane, 7}, false},
	} {
		v, _ := viewOf(t, [3]globaltable.MemberState{active, c.origin, active}, [3]globaltable.Status{globaltable.Active, globaltable.Active, globaltable.Active})
		if owes := Owes(v, &commit.CatchUp{Origin: 2, Lanes: c.lanes}); owes != c.owes {
			t.Errorf("%s: %v", name, owes)
		}
	}
}

// TestRefusals: only a peer that knows a later document says something that the region has to hear before it serves.
func TestRefusals(t *testing.T) {
	v, _ := viewOf(t, [3]globaltable.MemberState{active, fenced, active}, [3]globaltable.Status{serves, serves, serves})
	trusted, own := Trusts(v, 3, 7)
	if !trusted || own == 0 {
		t.Fatalf("an active member is not trusted by version %s", own)
	}
	if trusted, by := Trusts(v, 2, 7); trusted || by != own {
		t.Errorf("a fenced region is trusted: %v, by version %s", trusted, by)
	}
	refusals := Refusals{}
	for _, step := range []struct {
		what    string
		peer    string
		refuses bool
		by      globaltable.Version
		changed bool
		news    int
	}{
		{"a peer that follows it", "region-c", false, 0, false, 0},
		{"one that has not heard yet that it is in again", "region-c", true, own - 1, true, 0},
		{"one that is fenced itself", "region-b", true, own + 1, true, 0},
		{"the same again", "region-c", true, own - 1, false, 0},
		{"it hears that the region is out again", "region-c", true, own + 1, true, 1},
		{"and that it is in", "region-c", false, 0, true, 0},
		{"by the document that is known here", "region-c", true, own, true, 0},
	} {
		if changed := refusals.Take(step.peer, step.refuses, step.by); changed != step.changed {
			t.Errorf("%s: changed: %v", step.what, changed)
		}
		if news := refusals.News(v); len(news) != step.news {
			t.Errorf("%s: %v", step.what, news)
		}
	}
	configured, err := catalog.New(v.Self(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if News(configured.View(), 0) || !News(configured.View(), own) {
		t.Error("a region without a document takes any for news, or none")
	}
}
