package membership

import (
	"context"
	"slices"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/repair"
)

// returning is everything around a region that comes back, as a test wants it to be. It has one saved record.
type returning struct {
	state    globaltable.MemberState
	followed globaltable.Incarnation
	since    globaltable.Version
	rebuild  commit.Rebuild
	unheard  []string
	again    []string // whom it has wished to hear again
	replayed int
	regained int  // purge frontiers
	judged   bool // the saved record was
	away     int  // records that may not be here
}

func (r *returning) Incarnation() globaltable.Incarnation { return 7 }
func (r *returning) Confirmations() []commit.Confirmation { return nil }
func (r *returning) Heads(context.Context) (commit.Heads, error) {
	return commit.Heads{}, nil
}
func (r *returning) ChangeRebuild(_ context.Context, change func(commit.Rebuild) commit.Rebuild) (commit.Rebuild, error) {
	r.rebuild.Step = max(r.rebuild.Step, commit.RebuildJoining)
	r.rebuild = change(r.rebuild)
	return r.rebuild, nil
}
func (r *returning) Saved(table globaltable.TableID, after commit.Key, f func(commit.SavedRecord) bool) error {
	if after.Table == 0 {
		f(commit.SavedRecord{Key: commit.Key{Table: table, Bytes: []byte("k")}, Judged: r.judged})
	}
	return nil
}
func (r *returning) Purge(globaltable.TableID) hlc.Timestamp { return 0 }
func (r *returning) RegainPurge(context.Context, globaltable.TableID) error {
	r.regained++
	return nil
}
func (r *returning) Replay(_ context.Context, records []commit.SavedRecord, _ hlc.Timestamp, _ bool) (commit.ReplayResult, error) {
	r.replayed += len(records)
	return commit.ReplayResult{Logged: len(records) - r.away, Away: r.away}, nil
}
func (r *returning) Standing() (globaltable.MemberState, globaltable.Incarnation, globaltable.Version) {
	return r.state, r.followed, r.since
}
func (r *returning) Admit(context.Context, globaltable.Incarnation) error { return nil }
func (r *returning) Unheard() []string                                    { return r.unheard }
func (r *returning) HearAgain(region string)                              { r.again = append(r.again, region) }
func (r *returning) Progress(globaltable.TableID, globaltable.Version) (repair.Progress, bool) {
	return repair.Progress{}, false
}

// TestReplayWaitsForTheDocuments: a document of an earlier return of the region has a replica that is being created as well. What was replayed for that one would be dropped, with nothing left of it in the
// saved space, when the document comes that makes the replica anew.
func TestReplayWaitsForTheDocuments(t *testing.T) {
	known, id := catalogOf(t, [3]globaltable.MemberState{active, active, active}, [3]globaltable.Status{globaltable.Creating, serves, serves})
	doc, _ := known.View().Table(id)
	since := doc.Replicas[0].Since
	r := &returning{state: fenced}
	c := New(Config{Catalog: known, Store: r, Saved: r, Plane: r, Joins: r, State: commit.Rebuild{Step: commit.RebuildJoining}})
	refused := func(when string, since globaltable.Version) {
		t.Helper()
		if _, err := c.Complete(context.Background(), id, since); globaltable.KindOf(err) != globaltable.Unavailable || r.replayed != 0 {
			t.Errorf("%s: %d records were replayed: %v", when, r.replayed, err)
		}
	}
	refused("fenced", since)
	r.state, r.followed = active, 6
	refused("an earlier store is followed", since)
	r.followed, r.unheard = 7, []string{"region-b"}
	refused("what region-b knows was not heard yet", since)
	if slices.Sort(r.again); !slices.Equal(r.again, []string{"region-b", "region-c"}) {
		t.Errorf("it wants to hear %v again when it knows that it is admitted", r.again)
	}
	r.unheard = nil
	refused("the others were asked for an earlier version", since-1)
	if _, err := c.Complete(context.Background(), id, since); err != nil || r.replayed != 1 || len(r.again) != 2 {
		t.Errorf("%d records were replayed, %d wishes: %v", r.replayed, len(r.again), err)
	}
}

// TestVoidAdmission: a region was admitted by an owner of the world that was out itself, and the others know nothing of it. What it has replayed since is nowhere else, so it is saved again before anybody admits it: its replicas will be made anew. Where nothing was
// replayed it just asks.
func TestVoidAdmission(t *testing.T) {
	for name, tc := range map[string]struct {
		state    globaltable.MemberState // by the document of the new owner
		followed globaltable.Incarnation
		since    globaltable.Version
		again    bool
	}{
		"never admitted":             {fenced, 0, 9, true},
		"the store before":           {active, 6, 9, true},
		"admitted by another":        {active, 7, 9, true},
		"the new owner knew of it":   {active, 7, 5, false},
		"admitted, and fenced again": {fenced, 7, 9, true},
	} {
		for _, replayed := range []bool{false, true} {
			known, id := catalogOf(t, [3]globaltable.MemberState{active, active, active}, [3]globaltable.Status{globaltable.Creating, serves, serves})
			doc, _ := known.View().Table(id)
			r := &returning{state: active, followed: 7, since: 5}
			c := New(Config{Catalog: known, Store: r, Saved: r, Plane: r, Joins: r, State: commit.Rebuild{Step: commit.RebuildJoining, Reason: commit.Replaced}})
			if replayed {
				if _, err := c.Complete(context.Background(), id, doc.Replicas[0].Since); err != nil || r.rebuild.Since != 5 {
					t.Fatalf("%s: noted %v: %v", name, r.rebuild.Since, err)
				}
			}
			r.state, r.followed, r.since = tc.state, tc.followed, tc.since
			// The start after a crash knows as much.
			c = New(Config{Catalog: known, Store: r, Saved: r, Plane: r, Joins: r, State: c.State()})
			before := r.replayed
			_, err := c.Complete(context.Background(), id, doc.Replicas[0].Since)
			if again := replayed && tc.again; again && (r.replayed != before || globaltable.KindOf(err) != globaltable.Unavailable) {
				t.Errorf("%s: more was replayed: %v", name, err)
			}
			if _, _, err := c.Look(context.Background()); err != nil {
				t.Fatal(err)
			}
			want := commit.RebuildJoining
			if replayed && tc.again || tc.state == fenced && tc.followed == 7 {
				want = commit.RebuildNeeded
			}
			if got := c.State().Step; got != want {
				t.Errorf("%s, replayed %v: %s, want %s", name, replayed, got, want)
			}
		}
	}
}

// TestReplayWaitsForTheLast: nobody serves the table, and another region had it later than this one. The exchange is over, so that region can be closed; what was saved here stays until it is known what that one has.
func TestReplayWaitsForTheLast(t *testing.T) {
	for name, tc := range map[string]struct {
		replicas           [3]globaltable.Status
		replayed, regained int
	}{
		"another had it later": {[3]globaltable.Status{globaltable.Creating, globaltable.StatusFenced, ""}, 0, 0},
		"nobody else has it":   {[3]globaltable.Status{globaltable.Creating, "", ""}, 1, 1},
		"others serve it":      {[3]globaltable.Status{globaltable.Creating, serves, globaltable.StatusFenced}, 1, 0},
	} {
		known, id := catalogOf(t, [3]globaltable.MemberState{active, active, active}, tc.replicas)
		doc, _ := known.View().Table(id)
		r := &returning{state: active, followed: 7}
		c := New(Config{Catalog: known, Store: r, Saved: r, Plane: r, Joins: r, State: commit.Rebuild{Step: commit.RebuildJoining}})
		if _, err := c.Complete(context.Background(), id, doc.Replicas[0].Since); err != nil || r.replayed != tc.replayed || r.regained != tc.regained {
			t.Errorf("%s: %d records were replayed, %d frontiers taken back: %v", name, r.replayed, r.regained, err)
		}
	}
}

// TestAwayIsToBePlaced: what may not be here is said to be placed once the replica serves; an answer after a crash says the same.
func TestAwayIsToBePlaced(t *testing.T) {
	for _, away := range []int{0, 1} {
		known, id := catalogOf(t, [3]globaltable.MemberState{active, active, active}, [3]globaltable.Status{globaltable.Creating, serves, serves})
		doc, _ := known.View().Table(id)
		r := &returning{state: active, followed: 7, away: away}
		for range 2 {
			c := New(Config{Catalog: known, Store: r, Saved: r, Plane: r, Joins: r, State: commit.Rebuild{Step: commit.RebuildJoining}})
			for range 2 {
				if toPlace, err := c.Complete(context.Background(), id, doc.Replicas[0].Since); err != nil || toPlace != (away > 0) {
					t.Errorf("%d away: to place: %v, %v", away, toPlace, err)
				}
			}
		}
		if r.replayed != 2 {
			t.Errorf("replayed %d times", r.replayed)
		}
	}
}

// TestReplayOfWhatComesBack: a region that serves, and may have items again by other policies, replays what it still has saved of them when it has got what the others have; nothing twice, and nothing about which is decided.
func TestReplayOfWhatComesBack(t *testing.T) {
	known, id := catalogOf(t, [3]globaltable.MemberState{active, active, active}, [3]globaltable.Status{serves, serves, serves})
	doc, _ := known.View().Table(id)
	next := doc.Clone()
	next.Version, next.Predecessor = doc.Version+1, globaltable.HashTable(doc)
	next.Replicas[0].Placing = next.Version
	w, _ := known.View().World()
	if err := known.Load([]item.Item{catalog.EncodeWorld(w), catalog.EncodeDocument(next)}, nil); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		since    globaltable.Version
		judged   bool
		replayed int
	}{"": {next.Version, false, 1}, "decided about": {next.Version, true, 0}, "another join": {doc.Version, false, 0}} {
		r := &returning{state: active, followed: 7, judged: tc.judged}
		c := New(Config{Catalog: known, Store: r, Saved: r, Plane: r, Joins: r})
		for range 2 {
			if toPlace, err := c.Complete(context.Background(), id, tc.since); err != nil || toPlace || r.replayed != tc.replayed {
				t.Errorf("%s: %d replayed, to place: %v, %v", name, r.replayed, toPlace, err)
			}
		}
	}
}
