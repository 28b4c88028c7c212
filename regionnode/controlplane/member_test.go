package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/globaltable"
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
		state, incarnation := n.plane.Standing()
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
