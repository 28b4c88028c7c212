package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/commit"
)

func pinTo(name, prefix string, regions ...string) policy.Document {
	l := &policy.Locality{Match: policy.Match{Table: "orders", KeyPrefix: prefix}, Pin: policy.Places{Regions: regions}, Foreign: globaltable.Reject}
	if len(regions) == 1 {
		l.SingleCopy = policy.Allowed
	}
	return policy.Document{Kind: policy.LocalityPolicy, Name: name, Locality: l}
}

func replicateTo(regions ...string) policy.Document {
	return policy.Document{Kind: policy.ReplicationPolicy, Name: "everywhere", Replication: &policy.Replication{Table: "orders", Regions: regions}}
}

func changeTo(docs ...policy.Document) catalog.PolicyChange {
	return catalog.PolicyChange{Set: docs, Author: "me", Reason: "because"}
}

// place lets the owner of the table hear from every region that it has carried out the policies.
func (n *node) place(table globaltable.TableID) {
	_, err := n.plane.issue(n.w.t.Context(), n.plane.own("place"), table, func(t *globaltable.Table, epoch uint32) (*globaltable.Table, error) {
		answers := catalog.Answers{}
		for i := range t.Replicas {
			answers[t.Replicas[i].Origin] = catalog.Answer{Placed: true}
		}
		next, _ := catalog.Advance(t, answers, epoch)
		return next, nil
	})
	if err != nil {
		n.w.t.Error(err)
	}
}

// history puts a region's history of the table's policies into words.
func (n *node) history(table globaltable.TableID) string {
	var out []string
	for _, v := range n.catalog.View().Policies(table) {
		text := fmt.Sprintf("%s %d", v.Document.Name, v.Number)
		if v.Deleted {
			text += " deleted"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// TestPoliciesTravel: a change asked for in any region is made by the owner, and its history is the same everywhere, also where it was missed, and after a restart.
func TestPoliciesTravel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu", "ap", "us").ID
		ap, eu, us := w.nodes["ap"], w.nodes["eu"], w.nodes["us"]
		w.setCut("ap", true)
		got, err := us.plane.ChangePolicies(t.Context(), "orders", changeTo(pinTo("a", "A", "eu", "us"), pinTo("b", "B", "ap", "eu")))
		if err != nil || len(got.Pins) != 2 || got.Settled() {
			t.Fatal(got, err)
		}
		if h := us.history(id); h != "a 1, b 1" {
			t.Errorf("who asked has not got it: %q", h)
		}
		v := us.catalog.View().Policies(id)[0]
		if v.In != got.Version || v.By != eu.self.Origin || v.Author != "me" || v.Reason != "because" || v.At != time.Now().UnixMilli() {
			t.Errorf("%+v", v)
		}
		eu.place(id)
		if _, err := us.plane.ChangePolicies(t.Context(), "orders", catalog.PolicyChange{Delete: []string{"b"}, Author: "you"}); err != nil {
			t.Fatal(err)
		}
		eu.place(id)
		const all = "a 1, b 1, b 2 deleted"
		if h := ap.history(id); h != "" {
			t.Errorf("a region out of reach has %q", h)
		}
		// It hears of the table by the catalog of a region that does not own it.
		w.setCut("ap", false)
		if err := ap.plane.Fetch(t.Context(), "us"); err != nil {
			t.Fatal(err)
		}
		if h := ap.history(id); h != all {
			t.Errorf("a region that was away has %q", h)
		}
		w.until("all have the last version", func() bool {
			return us.history(id) == all && ap.catalog.Version(id) == eu.catalog.Version(id) && us.catalog.Version(id) == eu.catalog.Version(id)
		})
		for _, n := range []*node{ap, us} {
			if !reflect.DeepEqual(n.catalog.View().Policies(id), eu.catalog.View().Policies(id)) {
				t.Errorf("%s has another history", n.self.Name)
			}
		}
		w.restart("ap")
		if h := w.nodes["ap"].history(id); h != all {
			t.Errorf("after a restart %q", h)
		}
		_, err = us.plane.ChangePolicies(t.Context(), "orders", changeTo(pinTo("tie", "A", "ap", "us")))
		wantError(t, err, globaltable.Invalid, "neither is more specific")
		_, err = us.plane.ChangePolicies(t.Context(), "none", changeTo(pinTo("tie", "A", "ap", "us")))
		wantError(t, err, globaltable.NotFound, "none")
		version := eu.catalog.Version(id)
		if got, err := us.plane.ChangePolicies(t.Context(), "orders", changeTo(pinTo("a", "A", "eu", "us"))); err != nil || got.Version != version {
			t.Errorf("what is in force makes a version: %v, %v", got, err)
		}
		w.setCut("eu", true)
		_, err = us.plane.ChangePolicies(t.Context(), "orders", changeTo(pinTo("c", "C", "ap", "us")))
		wantError(t, err, globaltable.Unavailable, "owned by region eu, which cannot be reached")
	}, "ap", "eu", "us")
}

// TestHistoryInPages: a long history comes in several answers, and goes on where it ended.
func TestHistoryInPages(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu").ID
		eu, us := w.nodes["eu"], w.nodes["us"]
		long := replicateTo("eu")
		long.Replication.Attributes = map[string]string{}
		for i := range 50 {
			long.Replication.Attributes[strings.Repeat("ü", 100)+fmt.Sprint(i)] = "counter"
		}
		const versions = 60
		for i := range versions {
			long.Replication.Merge = []string{"vector", "lww"}[i%2]
			if _, err := eu.plane.ChangePolicies(t.Context(), "orders", changeTo(long)); err != nil {
				t.Fatal(err)
			}
		}
		first, err := eu.plane.answerHistory(t.Context(), &historyRequest{id.String(), 0})
		if err != nil || !first.More || len(first.History) == 0 || len(first.History) >= versions {
			t.Fatalf("%d versions in one answer, more: %v, %v", len(first.History), first.More, err)
		}
		if err := us.plane.Fetch(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
		if got := len(us.catalog.View().Policies(id)); got != versions {
			t.Errorf("%d versions", got)
		}
		// What says to be by another region than it was stamped in, or of another table, is none.
		another, own := us.plane.historyOf(id+1, false), us.plane.historyOf(id, false)
		if _, _, err := another.checkRecord(first.History[0]); err == nil {
			t.Error("a version of another table is taken")
		}
		v := *eu.catalog.View().Policies(id)[0]
		v.By = us.self.Origin
		key := commit.Key{Table: globaltable.SystemTable, Bytes: catalog.PolicyKey(id, v.Sequence)}
		if err := eu.shard.Write(t.Context(), &commit.Write{Keys: []commit.Key{key}, Plan: func([]commit.Current) ([][]conflict.Op, error) { return put(catalog.EncodePolicy(&v)), nil }}); err != nil {
			t.Fatal(err)
		}
		forged, err := eu.plane.answerHistory(t.Context(), &historyRequest{id.String(), 0})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := own.checkRecord(forged.History[0]); err == nil {
			t.Error("a version that another region is said to have made is taken")
		}
		if _, _, err := own.checkRecord([]byte("x")); err == nil {
			t.Error("what is no record is taken")
		}
	}, "eu", "us")
}

func amounts(p Plan) string {
	var out []string
	for _, r := range p.Regions {
		text := fmt.Sprintf("%s holds %d, gets %d, loses %d, unreachable %d", r.Region, r.Held.Items, r.Copied.Items, r.Erased.Items, r.Unreachable.Items)
		if !r.Counted {
			text = fmt.Sprintf("%s gets %d: %s", r.Region, r.Copied.Items, r.Detail)
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// TestPlan: what each region would get and lose, as the regions themselves count.
func TestPlan(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu", "ap", "us").ID
		us := w.nodes["us"]
		for i := range 7 {
			if err := us.write(id, []string{"EU#", "US#"}[i%2]+fmt.Sprint(i), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := us.write(id, "EU#6", true); err != nil {
			t.Fatal(err)
		}
		w.until("all have all", func() bool { return w.nodes["ap"].count(id) == 6 && w.nodes["eu"].count(id) == 6 })
		plan := func(what, want string, docs ...policy.Document) Plan {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			p, err := us.plane.PlanPolicies(ctx, "orders", changeTo(docs...))
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got := amounts(p); got != want {
				t.Errorf("%s: %s\nwant %s", what, got, want)
			}
			return p
		}
		const still = "ap holds 0, gets 0, loses 0, unreachable 0; eu holds 0, gets 0, loses 0, unreachable 0; us holds 0, gets 0, loses 0, unreachable 0"
		p := plan("a pin", "ap holds 6, gets 0, loses 3, unreachable 0; eu holds 6, gets 0, loses 0, unreachable 0; us holds 6, gets 0, loses 3, unreachable 0", pinTo("a", "EU#", "eu"))
		if len(p.Policies) != 1 || p.Policies[0].Action != ActionCreate || p.Busy || len(p.Settings)+len(p.Notes) > 0 {
			t.Errorf("%+v", p)
		}
		if got := p.Regions[0].Erased; got.Bytes != 3*int64(len("id")+len("EU#0")) {
			t.Errorf("%d bytes are lost", got.Bytes)
		}
		p = plan("a region more, one less", "ap holds 6, gets 0, loses 6, unreachable 0; eu holds 6, gets 0, loses 0, unreachable 0; us holds 6, gets 0, loses 0, unreachable 0; za holds 0, gets 6, loses 0, unreachable 0",
			replicateTo("eu", "us", "za"))
		if want := []SettingChange{{"replica in za", "none", "created"}, {"replica in ap", "ACTIVE", "deleted"}}; !slices.Equal(p.Settings, want) {
			t.Errorf("%+v", p.Settings)
		}
		plan("a region more, and a pin there", "ap holds 6, gets 0, loses 3, unreachable 0; eu holds 6, gets 0, loses 3, unreachable 0; us holds 6, gets 0, loses 3, unreachable 0; za holds 0, gets 6, loses 0, unreachable 0",
			replicateTo("ap", "eu", "us", "za"), pinTo("a", "EU#", "za"))
		w.setCut("eu", true)
		plan("out of reach", "ap holds 6, gets 0, loses 3, unreachable 3; eu gets 0: it cannot be reached; us holds 6, gets 0, loses 3, unreachable 3", pinTo("a", "EU#", "eu"))
		w.setCut("eu", false)
		note := pinTo("a", "EU#", "eu", "mars")
		note.Locality.SingleCopy = policy.Allowed
		if p := plan("strange", "ap holds 6, gets 0, loses 3, unreachable 0; eu holds 6, gets 0, loses 0, unreachable 0; us holds 6, gets 0, loses 3, unreachable 0", note); len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "mars") {
			t.Errorf("%q", p.Notes)
		}
		ctx := t.Context()
		alone := pinTo("a", "EU#", "eu")
		alone.Locality.SingleCopy = ""
		_, err := us.plane.PlanPolicies(ctx, "orders", changeTo(alone))
		wantError(t, err, globaltable.Invalid, "leaves one copy of its items, in eu")
		_, err = us.plane.PlanPolicies(ctx, "orders", changeTo(pinTo("a", "EU#", "eu"), pinTo("b", "EU#", "us")))
		wantError(t, err, globaltable.Invalid, "neither is more specific")
		if len(w.nodes["eu"].catalog.View().Policies(id)) > 0 {
			t.Error("a plan has changed something")
		}

		// Applied, it is planned to be kept, and what follows it is planned while it is carried out.
		if _, done, err := us.plane.ApplyPolicies(ctx, "orders", changeTo(pinTo("a", "EU#", "eu"))); err != nil || done {
			t.Fatal(done, err)
		}
		w.until("all know", func() bool {
			return w.nodes["ap"].catalog.Version(id) == us.catalog.Version(id)
		})
		if p := plan("the same", still, pinTo("a", "EU#", "eu")); !p.Busy || p.Policies[0].Action != ActionKeep {
			t.Errorf("%+v", p)
		}
		eu := w.nodes["eu"]
		eu.place(id)
		w.until("all know", func() bool {
			return us.status("orders") == globaltable.Active && w.nodes["ap"].status("orders") == globaltable.Active
		})
		p, err = us.plane.PlanPolicies(ctx, "orders", catalog.PolicyChange{Delete: []string{"a"}, Author: "me"})
		if err != nil || len(p.Policies) != 1 || p.Policies[0].Action != ActionDelete || p.Regions[2].Copied.Items != 3 {
			t.Errorf("%+v, %v", p, err)
		}
		changed := pinTo("a", "EU#", "eu", "us")
		if p, err = us.plane.PlanPolicies(ctx, "orders", changeTo(changed)); err != nil || p.Policies[0].Action != ActionChange || p.Regions[2].Copied.Items != 3 || p.Regions[0].Copied.Items != 0 {
			t.Errorf("%+v, %v", p, err)
		}
	}, "ap", "eu", "us", "za")
}

// TestApplyWhereItIsBeingMade: a region that has not heard that its replica serves plans all the same, and says of an apply that it is to be called again.
func TestApplyWhereItIsBeingMade(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu", "ap").ID
		ap, us := w.nodes["ap"], w.nodes["us"]
		change, link := changeTo(replicateTo("ap", "eu", "us"), pinTo("a", "A", "eu")), linkName("eu", "us")
		w.setCut(link, true)
		if _, _, err := ap.plane.ApplyPolicies(t.Context(), "orders", changeTo(replicateTo("ap", "eu", "us"))); err != nil {
			t.Fatal(err)
		}
		if err := us.plane.Fetch(t.Context(), "ap"); err != nil || us.status("orders") != globaltable.Creating {
			t.Fatal(us.status("orders"), err)
		}
		if p, err := us.plane.PlanPolicies(t.Context(), "orders", change); err != nil || !p.Busy || len(p.Policies) != 2 || p.Policies[0].Action != ActionCreate || p.Policies[1].Action != ActionKeep {
			t.Errorf("planned: %+v, %v", p, err)
		}
		if got, done, err := us.plane.ApplyPolicies(t.Context(), "orders", change); err != nil || done || len(got.Pins) > 0 {
			t.Errorf("applied: done %v, %v", done, err)
		}
		_, err := us.plane.ChangePolicies(t.Context(), "orders", change)
		wantError(t, err, globaltable.InUse, "Table is being created")
		w.setCut(link, false)
		w.until("the same goes on", func() bool {
			_, done, err := us.plane.ApplyPolicies(t.Context(), "orders", change)
			if err != nil && globaltable.KindOf(err) != globaltable.Unavailable {
				t.Fatal(err)
			}
			return done
		})
		if h := us.history(id); h != "everywhere 1, a 1" {
			t.Errorf("history: %q", h)
		}
	}, "ap", "eu", "us")
}

// TestApplyGoesOn: what takes several versions is made one after the other by the same call, whoever makes it, and over a restart.
func TestApplyGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu", "ap").ID
		change := changeTo(replicateTo("eu", "us"), pinTo("a", "A", "eu"), pinTo("b", "B", "us"))
		by := func(name string) (*globaltable.Table, bool) {
			got, done, err := w.nodes[name].plane.ApplyPolicies(t.Context(), "orders", change)
			if err != nil {
				t.Fatal(err)
			}
			return got, done
		}
		if got, done := by("ap"); done || got.ReplicaNamed("us") == nil || len(got.Pins) > 0 {
			t.Errorf("first: %s", globaltable.EncodeTable(got))
		}
		if got, done := by("eu"); done || got.ReplicaNamed("us").Status != globaltable.Creating {
			t.Errorf("at once again: %s", globaltable.EncodeTable(got))
		}
		w.until("us serves", func() bool {
			return w.nodes["us"].status("orders") == globaltable.Active && w.nodes["eu"].status("orders") == globaltable.Active
		})
		if got, done := by("us"); done || len(got.Pins) != 2 || got.Settled() || got.ReplicaNamed("ap").Status != globaltable.Active {
			t.Errorf("second: %s", globaltable.EncodeTable(got))
		}
		w.nodes["eu"].place(id)
		if got, done := by("eu"); done || got.ReplicaNamed("ap").Status != globaltable.Deleting {
			t.Errorf("third: %s", globaltable.EncodeTable(got))
		}
		w.restart("eu")
		eu := w.nodes["eu"]
		w.until("ap is gone", func() bool {
			return eu.status("orders") == globaltable.Active && w.nodes["us"].status("orders") == globaltable.Active
		})
		version := eu.catalog.Version(id)
		if got, done := by("eu"); !done || got.Version != version || got.ReplicaNamed("ap") != nil {
			t.Errorf("last: %v, %s", done, globaltable.EncodeTable(got))
		}
		if h := eu.history(id); h != "a 1, b 1, everywhere 1" {
			t.Errorf("%q", h)
		}
	}, "ap", "eu", "us")
}

// TestCensus: what a region is asked to count, and what it refuses.
func TestCensus(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "eu", "us").ID
		eu := w.nodes["eu"]
		const items = 2*censusPage + 10
		for i := range items {
			if err := eu.write(id, fmt.Sprintf("%04d", i), false); err != nil {
				t.Fatal(err)
			}
		}
		now, _ := eu.catalog.View().Table(id)
		candidate := now.Clone()
		candidate.Pins = []globaltable.Pin{{Name: "a", Match: globaltable.Match{KeyPrefix: "00"}, Regions: []string{"us"}, Foreign: globaltable.Reject, SingleCopy: true}}
		ask := func(change func(*censusRequest)) (*censusAnswer, error) {
			r := &censusRequest{Table: id.String(), Version: uint64(now.Version), Candidate: string(globaltable.EncodeTable(candidate))}
			change(r)
			a, err := eu.plane.answerCensus(r)
			if err != nil {
				return nil, err
			}
			return a.Census, nil
		}
		same := func(*censusRequest) {}
		if a, err := ask(same); err != nil || a.Done {
			t.Fatalf("somebody waits for the count: %+v, %v", a, err)
		}
		var a *censusAnswer
		w.until("it is counted", func() bool {
			var err error
			if a, err = ask(same); err != nil {
				t.Fatal(err)
			}
			return a.Done
		})
		got, _ := json.Marshal(a.Classes)
		if want := fmt.Sprintf(`[{"from":[1,2],"to":[1,2],"items":%d,"bytes":%d},{"from":[1,2],"to":[2],"items":100,"bytes":600}]`, items-100, 6*(items-100)); string(got) != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		// It is kept while somebody asks, and counted anew later.
		w.pass(censusKept + time.Second)
		if a, err := ask(same); err != nil || a.Done {
			t.Errorf("an old count is told: %+v, %v", a, err)
		}
		for i := range 2 * maxCensuses {
			candidate.Pins[0].Match.KeyPrefix = fmt.Sprint(i)
			_, err := ask(same)
			if refused := globaltable.KindOf(err) == globaltable.LimitExceeded; refused != (i >= maxCensuses-1) {
				t.Errorf("count %d: %v", i, err)
			}
		}
		for what, c := range map[string]struct {
			change func(*censusRequest)
			kind   globaltable.Kind
		}{
			"a version that is not known": {func(r *censusRequest) { r.Version++ }, globaltable.Unavailable},
			"a version that has gone":     {func(r *censusRequest) { r.Version-- }, globaltable.InUse},
			"a table that is not known":   {func(r *censusRequest) { r.Table = (id + 1<<16).String() }, globaltable.Unavailable},
			"no table":                    {func(r *censusRequest) { r.Table = "x" }, globaltable.Invalid},
			"no document":                 {func(r *censusRequest) { r.Candidate = "{}" }, globaltable.Corrupt},
			"too long a document":         {func(r *censusRequest) { r.Candidate = strings.Repeat(" ", maxCandidate+1) }, globaltable.Invalid},
			"another table's document": {func(r *censusRequest) {
				r.Candidate = strings.Replace(r.Candidate, id.String(), (id + 1<<16).String(), 1)
			}, globaltable.Invalid},
		} {
			if _, err := ask(c.change); err == nil || globaltable.KindOf(err) != c.kind {
				t.Errorf("%s: %v", what, err)
			}
		}
	}, "eu", "us")
}
