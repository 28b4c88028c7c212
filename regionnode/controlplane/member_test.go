package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/store"
)

// TestMemberStories runs testdata/members: regions that are fenced, removed and come back, with tables that are written. Beside the commands of TestJoinStories:
//
//	lose region=R                            R ends, and its disk is gone
//	fence | expel by=R region=(R,...) [force]  an operator asks R to fence regions, or to remove one
//	rebuild region=R                         R starts with an empty store, and asks to be admitted until it is
//	members by=R                             the members as R has them, and what the owner of the world waits for
//	pending by=R text                        everything goes on until that is what the owner of the world waits for
//	settle                                   everything goes on until no member and no table is on its way anywhere
//	tables by=R                              the table as R has it
//	owner region=R                           from here on R is asked about the table
func TestMemberStories(t *testing.T) { runStories(t, "testdata/members") }

func (s *joinStory) runMembers(d *datadriven.TestData, region string) string {
	w := s.w
	by := w.nodes[argument(d, "by")]
	switch d.Cmd {
	case "lose":
		w.nodes[region].stop()
		delete(w.nodes, region)
	case "fence", "expel":
		return s.expel(d, by)
	case "rebuild":
		s.rebuild(region)
	case "members":
		return showMembers(by)
	case "pending":
		w.until(d.Input, func() bool {
			return strings.Join(by.plane.Pending(w.t.Context()), "; ") == strings.TrimSpace(d.Input)
		})
	case "settle":
		w.until("settled", s.settled)
	case "tables":
		return s.showTable(by)
	case "owner":
		s.owner = region
	default:
		w.t.Fatalf("%s: no command %s", d.Pos, d.Cmd)
	}
	return ""
}

func argument(d *datadriven.TestData, key string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return strings.Join(a.Vals, " ")
		}
	}
	return ""
}

func (s *joinStory) expel(d *datadriven.TestData, by *node) string {
	var err error
	if names := strings.Fields(argument(d, "region")); d.Cmd == "fence" {
		err = by.plane.FenceRegion(s.w.t.Context(), names...)
	} else {
		err = by.plane.RemoveRegion(s.w.t.Context(), names[0], d.HasArg("force"))
	}
	if err != nil {
		return fmt.Sprintf("%v: %v\n", globaltable.KindOf(err), err)
	}
	return ""
}

// rebuild is what a region does with an empty store, as far as the control plane is concerned.
func (s *joinStory) rebuild(region string) {
	s.w.start(region, store.NewMemory())
	n := s.w.nodes[region]
	s.hook(n)
	var err error
	defer func() {
		if s.w.t.Failed() {
			s.w.t.Log(err)
		}
	}()
	s.w.until(region+" is admitted", func() bool {
		err = n.plane.Admit(s.w.t.Context(), n.shard.Incarnation())
		if err != nil && globaltable.KindOf(err) != globaltable.Unavailable {
			s.w.t.Fatal(err)
		}
		state, incarnation, _ := n.plane.Standing()
		return err == nil && state == globaltable.MemberActive && incarnation == n.shard.Incarnation()
	})
}

func showMembers(n *node) string {
	var b strings.Builder
	w, ok := n.catalog.View().World()
	if !ok {
		return "no document: all that are configured are active\n"
	}
	owner, _ := n.catalog.View().RegionOf(w.Owner)
	fmt.Fprintf(&b, "owner %s\n", owner.Name)
	for _, m := range w.Members {
		fmt.Fprintf(&b, "%s %s", m.Descriptor.Name, m.State)
		if m.Incarnation != 0 {
			b.WriteString(", with another store")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *joinStory) settled() bool {
	for _, n := range s.w.nodes {
		v := n.catalog.View()
		if w, ok := v.World(); ok && !w.Settled() {
			return false
		}
		settled := true
		v.Tables(func(t *globaltable.Table) bool {
			settled = settled && t.Settled()
			for _, r := range t.Replicas {
				m, ok := v.Member(r.Origin)
				settled = settled && ok && (m.State == globaltable.MemberActive) == (r.Status == globaltable.Active)
			}
			return settled
		})
		if !settled {
			return false
		}
	}
	return true
}

func (s *joinStory) showTable(n *node) string {
	t, ok := n.catalog.View().Table(s.table)
	if !ok {
		return "not known\n"
	}
	owner, _ := n.catalog.View().RegionOf(t.Owner)
	out := []string{"owner " + owner.Name}
	if t.Deleted {
		out = append(out, "dead")
	}
	for _, r := range t.Replicas {
		out = append(out, r.Region+" "+string(r.Status))
	}
	if p, _, _, ok := n.catalog.Place(t.ID, nil); ok {
		var names []string
		for _, o := range p {
			d, _ := n.catalog.View().RegionOf(o)
			names = append(names, d.Name)
		}
		slices.Sort(names)
		out = append(out, "writes go to "+strings.Join(names, " "))
	}
	return strings.Join(out, "\n") + "\n"
}

// TestTakeoverVoidsWhatOthersGotMeanwhile: a region takes over from one that is fenced, and a third gets, after it was heard, a document that the fenced one issued, with a greater stamp: it
// is void, and everybody ends with the new owner's.
func TestTakeoverVoidsWhatOthersGotMeanwhile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us, ap := w.nodes["eu"], w.nodes["us"], w.nodes["ap"]
		w.until("all have heard each other", func() bool { return len(eu.plane.Unheard())+len(us.plane.Unheard())+len(ap.plane.Unheard()) == 0 })
		w.setCut(linkName("eu", "us"), true)
		if err := us.plane.FenceRegion(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
		w.setCut(linkName("us", "ap"), true)
		w.pass(time.Second)
		w.add("sa")
		if err := eu.plane.AddRegion(t.Context(), w.tokens[3]); err != nil {
			t.Fatal(err)
		}
		w.until("the third has it", func() bool { return ap.catalog.View().Active(4) })
		w.setCut(linkName("us", "ap"), false)
		w.until("the new owner's is in force", func() bool {
			a, ok := us.catalog.View().World()
			b, _ := ap.catalog.View().World()
			return ok && a.Version == b.Version && a.Settled() && !ap.catalog.View().Active(1) && len(a.Members) == 3
		})
		// And the region that was added so is added again.
		if err := ap.plane.AddRegion(t.Context(), w.tokens[3]); err != nil {
			t.Fatal(err)
		}
		w.until("it is a member", func() bool { return us.catalog.View().Active(4) && ap.catalog.View().Active(4) })
		// What has been asked for is not asked for twice; the number of another is refused, wherever one asks.
		before := us.catalog.Version(globaltable.WorldTable)
		if err := us.plane.AddRegion(t.Context(), w.tokens[3]); err != nil || us.catalog.Version(globaltable.WorldTable) != before {
			t.Error(err)
		}
		wantError(t, ap.plane.AddRegion(t.Context(), w.tokens[0]), globaltable.Exists, "cannot be used again")
	}, "eu", "us", "ap")
}

// TestTakeoverOutnumbersStartsThatNobodyHeard: the owner of a table starts again, and again, and issues versions that nobody hears, before it is fenced. Its heir's version is greater than all of these: so the fenced region takes it when it comes back.
func TestTakeoverOutnumbersStartsThatNobodyHeard(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "ap", "eu").ID
		for range 3 {
			w.restart("ap")
			ap := w.nodes["ap"]
			w.pass(2 * time.Second) // it hears the others; no lane is carried
			if _, err := ap.plane.UpdateTable(t.Context(), "orders", catalog.Change{Tag: map[string]string{"a": "b"}}); err != nil {
				t.Fatal(err)
			}
		}
		eu, ap := w.nodes["eu"], w.nodes["ap"]
		w.setCut("ap", true)
		if err := eu.plane.FenceRegion(t.Context(), "ap"); err != nil {
			t.Fatal(err)
		}
		w.until("eu owns the table", func() bool {
			now, _ := eu.catalog.View().Table(id)
			return now.Owner == eu.self.Origin && now.Replica(ap.self.Origin).Status == globaltable.StatusFenced
		})
		if heir, own := eu.catalog.Version(id), ap.catalog.Version(id); heir.Epoch() <= own.Epoch() {
			t.Errorf("the heir's version %s is not of a later epoch than %s", heir, own)
		}
	}, "eu", "us", "ap")
}

// TestTakeoverOutnumbersTakeoversThatNobodyHeard: the owner of the world closes a region that it has put out, and takes over what that one owned; nobody hears it, for it is put out itself. Its heir, which takes over all of it, is above.
func TestTakeoverOutnumbersTakeoversThatNobodyHeard(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		own, taken := w.make("orders", "eu", "us").ID, w.make("things", "ap", "us").ID
		eu, us := w.nodes["eu"], w.nodes["us"]
		if err := eu.plane.FenceRegion(t.Context(), "ap"); err != nil {
			t.Fatal(err)
		}
		w.carry()
		w.pass(5 * time.Second) // us has adopted that, and says so; no lane is carried any more
		if now, _ := eu.catalog.View().Table(taken); now.Owner != eu.self.Origin {
			t.Fatalf("the table still belongs to %d", now.Owner)
		}
		if _, err := eu.plane.UpdateTable(t.Context(), "orders", catalog.Change{Tag: map[string]string{"a": "b"}}); err != nil {
			t.Fatal(err)
		}
		w.setCut("eu", true)
		if err := us.plane.FenceRegion(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
		for _, id := range []globaltable.TableID{own, taken} {
			w.until("us owns the table", func() bool {
				now, _ := us.catalog.View().Table(id)
				return now.Owner == us.self.Origin
			})
			if heir, void := us.catalog.Version(id), eu.catalog.Version(id); heir.Epoch() <= void.Epoch() {
				t.Errorf("the heir's version %s is not of a later epoch than %s", heir, void)
			}
		}
		if heir, void := us.catalog.Version(globaltable.WorldTable), eu.catalog.Version(globaltable.WorldTable); heir.Epoch() <= void.Epoch() {
			t.Errorf("the heir's world %s is not of a later epoch than %s", heir, void)
		}
	}, "eu", "us", "ap")
}

// TestVoidWorldOfALaterTime: a region that is out has got a document of the world from an owner that is out as well, and did not know. It is void, but of a later time than the new owner's, which can therefore not be adopted: so that is not
// taken for heard, and is issued again.
func TestVoidWorldOfALaterTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, us, ap := w.nodes["eu"], w.nodes["us"], w.nodes["ap"]
		w.until("all have heard each other", func() bool { return len(eu.plane.Unheard())+len(us.plane.Unheard())+len(ap.plane.Unheard()) == 0 })
		if err := eu.plane.FenceRegion(t.Context(), "ap"); err != nil {
			t.Fatal(err)
		}
		w.until("us knows", func() bool { return !us.catalog.View().Active(ap.self.Origin) })
		w.setCut("us", true)
		if err := us.plane.FenceRegion(t.Context(), "eu"); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.add("sa")
		if err := eu.plane.AddRegion(t.Context(), w.tokens[3]); err != nil {
			t.Fatal(err)
		}
		if err := ap.plane.Fetch(t.Context(), "eu"); err != nil || !ap.catalog.View().Active(4) {
			t.Fatal(err)
		}
		w.setCut("us", false)
		w.setCut("eu", true)
		wantError(t, ap.plane.Fetch(t.Context(), "us"), globaltable.Unavailable, "has to be issued again")
		ap.plane.HearAgain("us")
		w.pass(reissueAfter / 2)
		if heard := ap.plane.Unheard(); !slices.Contains(heard, "us") {
			t.Errorf("what it cannot adopt counts as heard: %v", heard)
		}
		w.until("it is issued again", func() bool {
			ours, _ := us.catalog.View().World()
			theirs, _ := ap.catalog.View().World()
			return theirs.Version == ours.Version && len(ap.plane.Unheard()) == 0
		})
		version := us.catalog.Version(globaltable.WorldTable)
		if w.pass(3 * reissueAfter); us.catalog.Version(globaltable.WorldTable) != version {
			t.Errorf("it is issued again and again: %v after %v", us.catalog.Version(globaltable.WorldTable), version)
		}
	}, "eu", "us", "ap")
}

// TestVoidTableOfALaterTime is the same with a table's document: who owned it goes on issuing it, until it hears that it is out.
func TestVoidTableOfALaterTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.make("orders", "ap", "us").ID
		us, ap := w.nodes["us"], w.nodes["ap"]
		w.setCut("ap", true)
		if err := us.plane.FenceRegion(t.Context(), "ap"); err != nil {
			t.Fatal(err)
		}
		owned := func() bool {
			now, _ := us.catalog.View().Table(id)
			return now.Owner != ap.self.Origin && now.Replica(ap.self.Origin).Status == globaltable.StatusFenced
		}
		w.until("it has an heir", owned)
		w.pass(time.Second)
		if _, err := ap.plane.UpdateTable(t.Context(), "orders", catalog.Change{Tag: map[string]string{"a": "b"}}); err != nil {
			t.Fatal(err)
		}
		w.setCut("ap", false)
		w.pass(time.Second) // no clock is behind that
		heir := us.catalog.Version(id)
		wantError(t, ap.plane.Fetch(t.Context(), "us"), globaltable.Unavailable, "has to be issued again")
		w.until("it is in force", func() bool {
			if err := ap.plane.Fetch(t.Context(), "us"); err != nil {
				return false
			}
			return ap.catalog.Version(id) == us.catalog.Version(id)
		})
		if now := us.catalog.Version(id); now.Number() > heir.Number()+2 {
			t.Errorf("it is issued again and again: %v after %v", now, heir)
		}
	}, "eu", "us", "ap")
}

// TestFencedMayOnlyAskToComeBack: what a fenced region asks of others.
func TestFencedMayOnlyAskToComeBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		eu, ap := w.nodes["eu"], w.nodes["ap"]
		w.make("orders", "eu", "ap")
		if err := eu.plane.FenceRegion(t.Context(), "ap"); err != nil {
			t.Fatal(err)
		}
		_, err := ap.plane.UpdateTable(t.Context(), "orders", catalog.Change{Tag: map[string]string{"a": "b"}})
		wantError(t, err, globaltable.Fenced, "fenced or removed")
		wantError(t, ap.plane.FenceRegion(t.Context(), "us"), globaltable.Fenced, "fenced or removed")
		ap.plane.HearAgain("eu")
		w.until("it knows", func() bool {
			state, _, _ := ap.plane.Standing()
			return state == globaltable.MemberFenced
		})
		wantError(t, ap.plane.FenceRegion(t.Context(), "us"), globaltable.Fenced, "is fenced or removed itself")
		if n := ap.count(w.tableID("orders")); n != 0 {
			t.Error(n)
		}
		// An older store than the one that is followed is not let in; one of no life never.
		wantError(t, ap.plane.Admit(t.Context(), 0), globaltable.Denied, "later store")
		w.until("it is let in again", func() bool { return ap.plane.Admit(t.Context(), ap.shard.Incarnation()) == nil })
		wantError(t, ap.plane.Admit(t.Context(), ap.shard.Incarnation()-1), globaltable.Denied, "later store")
	}, "eu", "us", "ap")
}

func (w *world) tableID(name string) globaltable.TableID {
	t, ok := w.nodes["eu"].catalog.View().Lookup(name)
	if !ok {
		w.t.Fatal("no table", name)
	}
	return t.ID
}
