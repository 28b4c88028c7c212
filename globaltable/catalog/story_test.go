package catalog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// TestStories runs testdata: tables over several regions, step by step. The commands:
//
//	world NAME...                                      new regions
//	create region=R name=T [id=N]                      a region makes a table
//	update name=T [create=(R,...)] [delete=(R,...)]   its owner changes replicas
//	remove name=T region=R                             its owner is asked to remove R's replica
//	adopt name=T region=R ...                          the newest version reaches these regions
//	join name=T region=R                               the region gets what the others hold, if they have all adopted the version that brought its replica
//	leave name=T region=R ...                          these regions drop what they may not hold
//	ask name=T [unreachable=(R,...)]                   the owner asks the regions concerned and issues what follows
//	crash region=R                                     the region starts again from its store
//	show name=T
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := &story{t: t}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			out, err := s.run(d)
			if err != nil {
				e, ok := err.(*globaltable.Error)
				if ok && e.Message != "" {
					return fmt.Sprintf("%v: %s\n", e.Kind, e.Message)
				}
				return fmt.Sprintf("error: %v\n", err)
			}
			return out
		})
	})
}

type story struct {
	t *testing.T
	w *world
}

func (s *story) run(d *datadriven.TestData) (string, error) {
	switch d.Cmd {
	case "world":
		var names []string
		for _, a := range d.CmdArgs {
			names = append(names, a.Key)
		}
		s.w = newWorld(s.t, names...)
		return "", nil
	case "create":
		return s.create(d)
	case "crash":
		s.w.open(s.t, one(s.t, d, "region"))
		return "", nil
	}
	name := one(s.t, d, "name")
	id, ok := s.w.names[name]
	if !ok {
		s.t.Fatalf("%s: no table %s", d.Pos, name)
	}
	table := s.w.issued[id]
	epoch := table.Version.Epoch()
	switch d.Cmd {
	case "update":
		next, err := Update(table, &Change{Create: many(d, "create"), Delete: many(d, "delete")}, epoch, s.w.region)
		if err != nil {
			return "", err
		}
		return "issued " + next.Version.String() + "\n", s.w.issue(next)
	case "remove":
		next, err := Remove(table, one(s.t, d, "region"), epoch)
		if err != nil {
			return "", err
		}
		return "issued " + next.Version.String() + "\n", s.w.issue(next)
	case "ask":
		return s.ask(d, table)
	case "show":
		return s.w.show(table), nil
	}
	var b strings.Builder
	for _, region := range many(d, "region") {
		out, err := s.each(d.Cmd, region, table)
		if err != nil {
			return b.String(), err
		}
		b.WriteString(region + ": " + out + "\n")
	}
	return b.String(), nil
}

func (s *story) each(cmd, region string, table *globaltable.Table) (string, error) {
	switch cmd {
	case "adopt":
		return s.w.adopt(region, table)
	case "leave":
		if s.w.leave(region, table.ID) {
			return "dropped", nil
		}
		return "stays", nil
	case "join":
		return s.w.join(region, table.ID), nil
	}
	s.t.Fatalf("no command %s", cmd)
	return "", nil
}

func (s *story) create(d *datadriven.TestData) (string, error) {
	owner, ok := s.w.region(one(s.t, d, "region"))
	if !ok {
		s.t.Fatalf("%s: no such region", d.Pos)
	}
	name := one(s.t, d, "name")
	id := globaltable.NewTableID(hlc.Timestamp(1000+len(s.w.issued))<<16, owner.Origin)
	table, err := Create(specOf(name), id, owner, 1)
	if err != nil {
		return "", err
	}
	if err := s.w.issue(table); err != nil {
		return "", err
	}
	// A story may have two tables of one name, in two regions: the later is called by its region too.
	if _, taken := s.w.names[name]; taken {
		name = name + "@" + owner.Name
	}
	s.w.names[name] = id
	return "issued " + table.Version.String() + " of " + name + "\n", nil
}

func (s *story) ask(d *datadriven.TestData, table *globaltable.Table) (string, error) {
	gone := many(d, "unreachable")
	p := s.w.ask(table, func(region string) bool {
		for _, g := range gone {
			if g == region {
				return false
			}
		}
		return true
	})
	next, ok := Advance(table, p.Answers, table.Version.Epoch())
	if !ok {
		var b strings.Builder
		for _, r := range Describe(table, p).Replicas {
			if r.StatusDescription != "" {
				b.WriteString(r.Region + ": " + r.StatusDescription + "\n")
			}
		}
		return b.String(), nil
	}
	return "issued " + next.Version.String() + "\n", s.w.issue(next)
}

func specOf(name string) *Spec {
	return &Spec{Name: name, KeySchema: globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}}
}

func one(t *testing.T, d *datadriven.TestData, key string) string {
	v := many(d, key)
	if len(v) != 1 {
		t.Fatalf("%s: %s wants one %s", d.Pos, d.Cmd, key)
	}
	return v[0]
}

func many(d *datadriven.TestData, key string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return a.Vals
		}
	}
	return nil
}
