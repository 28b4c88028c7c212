package sim

import (
	"context"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// pin: `pin t NAME PREFIX a b in c` asks c to pin the items of t whose keys begin with the prefix to a and b; one region is enough.
func (s *Story) pin(args []string) error {
	n := len(args) - 2
	p := globaltable.Pin{Name: args[1], Match: globaltable.Match{KeyPrefix: args[2]}, Foreign: globaltable.Reject, SingleCopy: true}
	for _, a := range args[3:n] {
		p.Regions = append(p.Regions, nameOf(s.region(a).origin))
	}
	slices.Sort(p.Regions)
	return s.changePins(args[n+1], args[0], &catalog.PinChange{Set: []globaltable.Pin{p}})
}

// unpin: `unpin t NAME in c` asks c to take the policy away.
func (s *Story) unpin(args []string) error {
	return s.changePins(args[3], args[0], &catalog.PinChange{Remove: []string{args[1]}})
}

func (s *Story) changePins(asked, table string, change *catalog.PinChange) error {
	r := s.region(asked)
	plane, t := r.plane, s.tableNamed(table)
	return s.call(r, "pin", func(ctx context.Context) error {
		_, err := plane.UpdateTable(ctx, t.name, catalog.Change{Pins: change})
		return err
	})
}
