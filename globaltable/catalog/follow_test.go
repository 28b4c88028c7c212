package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/feed"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestFollow: what becomes of replicas in eu (1), us (2) and ap (3), as "status@number of since", "!" for one that leaves, when members have changed. The document is of version 1.5.
func TestFollow(t *testing.T) {
	w, regions := founded(t)
	states := func(s ...globaltable.MemberState) *globaltable.World {
		c := w.Clone()
		for i := range c.Members {
			c.Members[i].State = s[c.Members[i].Descriptor.Origin-1]
		}
		return c
	}
	const active, fencing, fenced, removing, removed = globaltable.MemberActive, globaltable.MemberFencing, globaltable.MemberFenced, globaltable.MemberRemoving, globaltable.MemberRemoved
	for name, c := range map[string]struct {
		replicas string
		world    *globaltable.World
		want     string // empty: nothing to do
	}{
		"all active":                   {"ACTIVE@1 ACTIVE@1 ACTIVE@1", states(active, active, active), ""},
		"on its way out":               {"ACTIVE@1 ACTIVE@1 ACTIVE@1", states(active, active, fencing), ""},
		"removing":                     {"ACTIVE@1 ACTIVE@1 ACTIVE@1", states(active, active, removing), ""},
		"closed":                       {"ACTIVE@1 ACTIVE@1 ACTIVE@1", states(active, active, fenced), "ACTIVE@1 ACTIVE@1 FENCING@6"},
		"closed, no replica":           {"ACTIVE@1 ACTIVE@1", states(active, active, fenced), ""},
		"removed":                      {"ACTIVE@1 ACTIVE@1 ACTIVE@1", states(active, active, removed), "ACTIVE@1 ACTIVE@1 FENCING@6!"},
		"again":                        {"ACTIVE@1 ACTIVE@1 FENCING@4", states(active, active, fenced), ""},
		"removed while closing":        {"ACTIVE@1 ACTIVE@1 FENCING@4", states(active, active, removed), "ACTIVE@1 ACTIVE@1 FENCING@4!"},
		"removed when closed":          {"ACTIVE@1 ACTIVE@1 FENCED@4", states(active, active, removed), "ACTIVE@1 ACTIVE@1"},
		"a join begins anew":           {"ACTIVE@1 CREATING@4 ACTIVE@1", states(active, active, fenced), "ACTIVE@1 CREATING@6 FENCING@6"},
		"a second one":                 {"ACTIVE@1 FENCING@4 ACTIVE@1", states(active, fenced, fenced), "ACTIVE@1 FENCING@6 FENCING@6"},
		"one that was being deleted":   {"ACTIVE@1 ACTIVE@1 DELETING@3", states(active, active, fenced), "ACTIVE@1 ACTIVE@1 FENCING@6!"},
		"one that was being created":   {"ACTIVE@1 ACTIVE@1 CREATING@3", states(active, active, fenced), "ACTIVE@1 ACTIVE@1 FENCING@6"},
		"one that had failed":          {"ACTIVE@1 ACTIVE@1 CREATION_FAILED@3", states(active, active, fenced), "ACTIVE@1 ACTIVE@1"},
		"back":                         {"ACTIVE@1 ACTIVE@1 FENCED@4", states(active, active, active), "ACTIVE@1 ACTIVE@1 CREATING@6"},
		"back, still closing":          {"ACTIVE@1 ACTIVE@1 FENCING@4", states(active, active, active), ""},
		"back, one is on its way in":   {"ACTIVE@1 CREATING@4 FENCED@4", states(active, active, active), ""},
		"back, one is on its way out":  {"ACTIVE@1 DELETING@4 FENCED@4", states(active, active, active), ""},
		"back, and nobody else has it": {"DELETING@4 FENCED@4 FENCED@4", states(active, active, fenced), "DELETING@4 CREATING@6 FENCED@4"},
		"the last one comes first":     {"FENCED@3 FENCED@4", states(active, active, active), "FENCED@3 CREATING@6"},
		"the last one is still out":    {"FENCED@3 FENCED@4", states(active, fenced, active), ""},
		"the last one is back":         {"FENCED@3 CREATING@4", states(active, active, active), ""},
		"fenced together":              {"FENCED@4 FENCED@4", states(active, active, active), "CREATING@6 CREATING@6"},
		"together, one is still out":   {"FENCED@4 FENCED@4", states(active, fenced, active), "CREATING@6 FENCED@4"},
		"one that had it later":        {"CREATING@3 FENCED@4", states(active, active, active), "CREATING@6 CREATING@6"},
		"one that had it, still out":   {"CREATING@3 FENCED@4", states(active, fenced, active), ""},
		"one that had it is removed":   {"CREATING@3 FENCED@4", states(active, removed, active), "CREATING@6"},
		"somebody serves again":        {"ACTIVE@4 CREATING@3", states(active, active, active), "ACTIVE@4 CREATING@6"},
		"the only one is removed":      {"FENCED@4", states(removed, active, active), "dead"},
	} {
		table, err := Create(&Spec{Name: "orders", KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}, 99<<16|2, regions[1], 1)
		if err != nil {
			t.Fatal(err)
		}
		table.Version, table.Predecessor, table.Replicas = globaltable.MakeVersion(1, 5), globaltable.Hash{1}, nil
		for i, part := range strings.Fields(c.replicas) {
			status, since, _ := strings.Cut(part, "@")
			var number uint64
			if _, err := fmt.Sscan(since, &number); err != nil {
				t.Fatal(err)
			}
			table.Replicas = append(table.Replicas, globaltable.Replica{Region: regions[i].Name, Origin: regions[i].Origin, Status: globaltable.Status(status),
				Since: globaltable.MakeVersion(1, number)})
			if r := &table.Replicas[i]; r.Status == globaltable.Creating {
				r.Born = r.Since
			}
		}
		next, ok := Follow(table, c.world, 1, 5)
		got := ""
		if ok {
			got = showReplicas(next)
			if next.Version != globaltable.MakeVersion(1, 6) || next.Predecessor != globaltable.HashTable(table) {
				t.Errorf("%s: version %v", name, next.Version)
			}
			if again, more := Follow(next, c.world, 1, 5); more {
				t.Errorf("%s: and then %s", name, showReplicas(again))
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func showReplicas(t *globaltable.Table) string {
	if t.Deleted {
		return "dead"
	}
	var out []string
	for _, r := range t.Replicas {
		part := fmt.Sprintf("%s@%d", r.Status, r.Since.Number())
		if r.Leaving {
			part += "!"
		}
		out = append(out, part)
	}
	return strings.Join(out, " ")
}

// TestWaits: who waits for whom in a table that nobody serves, and what comes of it: regions a, b, … with their replicas as "status@number of since"; of those being created also of when they were made.
func TestWaits(t *testing.T) {
	for name, c := range map[string]struct {
		replicas string
		waits    string // "region:for whom", of those that wait
		advance  string // the statuses when all have joined; empty: nothing happens
	}{
		"somebody serves":               {"ACTIVE@1 CREATING@4 FENCED@5", "", "ACTIVE ACTIVE FENCED"},
		"it has to begin anew":          {"ACTIVE@4 CREATING@3", "b:", ""},
		"alone":                         {"CREATING@5", "", "ACTIVE"},
		"the last one":                  {"CREATING@5 FENCED@4", "b:a", "ACTIVE FENCED"},
		"an earlier one":                {"CREATING@3 FENCED@4", "a:b", ""},
		"while the last one is closed":  {"CREATING@3 FENCING@4", "a:b", "CREATING FENCED"},
		"while the last one comes back": {"CREATING@3 CREATING@4", "a:b", "CREATING ACTIVE"},
		"together":                      {"CREATING@4 CREATING@4", "", "ACTIVE ACTIVE"},
		"fenced one after the other":    {"FENCED@3 FENCED@4 FENCED@5", "a:b a:c b:c", ""},
		"fenced one after the other, closed together": {"FENCED@5 FENCED@5+1", "a:b", ""},
		"on its way out, and one fenced since":        {"CREATING@3 DELETING@4 FENCED@5", "a:c", ""},
	} {
		table := &globaltable.Table{ID: 99 << 16, Name: "orders", Owner: 1, Version: globaltable.MakeVersion(1, 6), Predecessor: globaltable.Hash{1}}
		for i, part := range strings.Fields(c.replicas) {
			status, since, _ := strings.Cut(part, "@")
			since, inaccessible, _ := strings.Cut(since, "+")
			var number uint64
			if _, err := fmt.Sscan(since, &number); err != nil {
				t.Fatal(err)
			}
			r := globaltable.Replica{Region: string(rune('a' + i)), Origin: hlc.Origin(i + 1), Status: globaltable.Status(status), Since: globaltable.MakeVersion(1, number), InaccessibleSince: int64(len(inaccessible))}
			if r.Status == globaltable.Creating {
				r.Born = r.Since
			}
			table.Replicas = append(table.Replicas, r)
		}
		var waits, statuses []string
		answers := Answers{}
		for i := range table.Replicas {
			r := &table.Replicas[i]
			answers[r.Origin] = Answer{Outcome: Adopted, Joined: true}
			regions, is := Waits(table, r.Origin)
			if is && len(regions) == 0 {
				waits = append(waits, r.Region+":")
			}
			for _, name := range regions {
				waits = append(waits, r.Region+":"+name)
				text := Describe(table, Progress{}).Replica(r.Origin).StatusDescription
				if r.Status == globaltable.Creating && !strings.Contains(text, "Waiting for "+strings.Join(regions, " and ")+" to come back, or to be removed") {
					t.Errorf("%s: %s is described as %q", name, r.Region, text)
				}
			}
		}
		if next, ok := Advance(table, answers, 1); ok {
			for _, r := range next.Replicas {
				statuses = append(statuses, string(r.Status))
			}
		}
		if got := strings.Join(waits, " "); got != c.waits {
			t.Errorf("%s: %q, want %q", name, got, c.waits)
		}
		if got := strings.Join(statuses, " "); got != c.advance {
			t.Errorf("%s: %q, want %q", name, got, c.advance)
		}
	}
	_, err := Update(&globaltable.Table{ID: 99 << 16, Name: "orders", Version: globaltable.MakeVersion(1, 6), Replicas: []globaltable.Replica{{Region: "a", Origin: 1, Status: globaltable.StatusFenced}}},
		&Change{Create: []string{"b"}}, 1, func(name string) (globaltable.Descriptor, bool) {
			return globaltable.Descriptor{Name: name, Origin: 2}, true
		})
	if globaltable.KindOf(err) != globaltable.Invalid || !strings.Contains(err.Error(), "all regions that have the table's data are fenced") {
		t.Errorf("a replica is made of nothing: %v", err)
	}
}

// TestWhoWaitedBeginsAnew: a replica that comes back and waits for one that had the table later replays nothing. When that one goes for good, since it was on its way out when its region was fenced, a new version demands the join.
func TestWhoWaitedBeginsAnew(t *testing.T) {
	at := func(n uint64) globaltable.Version { return globaltable.MakeVersion(1, n) }
	replicas := []globaltable.Replica{{Region: "a", Origin: 1, Status: globaltable.Creating, Since: at(5), Born: at(3)}, {Region: "b", Origin: 2, Status: globaltable.StatusFencing, Since: at(5), Leaving: true}}
	answers := Answers{1: {Outcome: Adopted, Joined: true}}
	next, ok := Advance(&globaltable.Table{ID: 99 << 16, Name: "orders", Owner: 1, Version: at(6), Replicas: replicas}, answers, 1)
	if !ok || len(next.Replicas) != 1 || next.Replicas[0].Status != globaltable.Creating || next.Replicas[0].Since != next.Version || next.Replicas[0].Born != at(3) {
		t.Fatalf("%+v %v", next, ok)
	}
	if next, ok = Advance(next, answers, 1); !ok || next.Replicas[0].Status != globaltable.Active {
		t.Fatalf("%+v %v", next, ok)
	}
	// Where somebody serves the table nobody waits, and nothing begins anew.
	replicas = append(replicas, globaltable.Replica{Region: "c", Origin: 3, Status: globaltable.Active})
	answers[3] = Answer{Outcome: Adopted, Joined: true}
	if next, ok = Advance(&globaltable.Table{ID: 99 << 16, Name: "orders", Owner: 1, Version: at(6), Replicas: replicas}, answers, 1); !ok || next.Replicas[0].Status != globaltable.Active {
		t.Errorf("%+v %v", next, ok)
	}
}

// TestGivers: of a conflict feed that nobody serves also a replica that is being created gives what it has listed; of the table it gives nothing.
func TestGivers(t *testing.T) {
	for name, c := range map[string]struct {
		statuses    []globaltable.Status // of regions 1, 2, …; the first one asks
		table, feed []hlc.Origin
	}{
		"somebody serves":             {[]globaltable.Status{globaltable.Creating, globaltable.Active, globaltable.Creating}, []hlc.Origin{2}, []hlc.Origin{2}},
		"nobody serves":               {[]globaltable.Status{globaltable.Creating, globaltable.StatusFenced, globaltable.Creating}, nil, []hlc.Origin{3}},
		"one is on its way out":       {[]globaltable.Status{globaltable.Creating, globaltable.Deleting, globaltable.Creating}, []hlc.Origin{2}, []hlc.Origin{2, 3}},
		"one is being closed":         {[]globaltable.Status{globaltable.Creating, globaltable.StatusFencing, globaltable.Creating}, []hlc.Origin{3}, []hlc.Origin{3}},
		"nobody else has a replica":   {[]globaltable.Status{globaltable.Creating}, nil, nil},
		"all others are out of reach": {[]globaltable.Status{globaltable.Creating, globaltable.StatusFenced}, nil, nil},
	} {
		table := &globaltable.Table{ID: 99 << 16, Name: "orders"}
		for i, status := range c.statuses {
			table.Replicas = append(table.Replicas, globaltable.Replica{Origin: hlc.Origin(i + 1), Status: status, Since: globaltable.MakeVersion(1, uint64(10-i))})
		}
		if got := Givers(table, 1); !slices.Equal(got, c.table) {
			t.Errorf("%s: the table comes from %v, want %v", name, got, c.table)
		}
		if got := Givers(feed.TableOf(table), 1); !slices.Equal(got, c.feed) {
			t.Errorf("%s: the feed comes from %v, want %v", name, got, c.feed)
		}
	}
}

// TestClosing: a replica is closed when all others that are fed have exchanged everything with all others, those on their way out included.
func TestClosing(t *testing.T) {
	since := globaltable.MakeVersion(1, 5)
	table := &globaltable.Table{ID: 99 << 16, Name: "orders", Owner: 1, Version: since, Predecessor: globaltable.Hash{1}}
	for i, s := range []globaltable.Status{globaltable.Active, globaltable.Creating, globaltable.Deleting, globaltable.StatusFencing, globaltable.StatusFenced, globaltable.CreationFailed} {
		r := globaltable.Replica{Region: fmt.Sprint("r", i+1), Origin: hlc.Origin(i + 1), Status: s, Since: since}
		if s == globaltable.Active || s == globaltable.Deleting {
			r.Since = globaltable.MakeVersion(1, 1)
		}
		table.Replicas = append(table.Replicas, r)
	}
	for self, want := range map[hlc.Origin]string{1: "2 3", 2: "1 3", 3: "no", 4: "no", 5: "no", 6: "no", 7: "no"} {
		got := "no"
		if v, ok := JoinIn(table, self); ok && v == since {
			got = strings.Trim(fmt.Sprint(Sources(table, self)), "[]")
		}
		if got != want {
			t.Errorf("region %d: joins from %s, want %s", self, got, want)
		}
	}
	joined := Answer{Outcome: Adopted, Joined: true}
	for name, c := range map[string]struct {
		answers Answers
		want    string // of the statuses of regions 2, 3 and 4; empty: nothing happens
	}{
		"nobody":           {Answers{}, ""},
		"one":              {Answers{1: joined}, ""},
		"the closed one":   {Answers{1: joined, 4: joined}, ""},
		"all":              {Answers{1: joined, 2: joined}, "ACTIVE DELETING FENCED"},
		"one cannot be":    {Answers{1: joined, 2: {Outcome: NameTaken}}, "CREATION_FAILED DELETING FENCED"},
		"one has gone too": {Answers{1: joined, 2: joined, 3: {Dropped: true}}, "ACTIVE DELETING FENCED"},
		"gone early":       {Answers{3: {Dropped: true}}, ""},
	} {
		got := ""
		if next, ok := Advance(table, c.answers, 1); ok {
			got = fmt.Sprint(next.Replicas[1].Status, " ", next.Replicas[2].Status, " ", next.Replicas[3].Status)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	table.Replicas[3].Leaving = true
	if next, ok := Advance(table, Answers{1: joined, 2: joined}, 1); !ok || next.Replica(4) != nil {
		t.Error("one that leaves is still there")
	}
	text := Describe(table, Progress{Answers: Answers{1: {Outcome: Adopted}}, Unreachable: map[hlc.Origin]bool{2: true}}).Replica(4).StatusDescription
	if !strings.Contains(text, "Cannot reach r2.") || !strings.Contains(text, "r1 to exchange with the others what r4 may have left") {
		t.Error(text)
	}
}
