package sim

import (
	"context"
	"strconv"
	"strings"

	"github.com/concordat-db/concordat/globaltable/item"
)

// fence: `fence c d in a` asks a to have c and d heard no more.
func (s *Story) fence(args []string) error {
	asked := s.region(args[len(args)-1])
	var names []string
	for _, a := range args[:len(args)-2] {
		names = append(names, nameOf(s.region(a).origin))
	}
	plane := asked.plane
	return s.call(asked, "fence", func(ctx context.Context) error { return plane.FenceRegion(ctx, names...) })
}

// expel: `expel c in a [force]` asks a to remove c for ever, even if tables have their only copy there.
func (s *Story) expel(args []string) error {
	plane := s.region(args[2]).plane
	return s.call(s.region(args[2]), "expel", func(ctx context.Context) error {
		return plane.RemoveRegion(ctx, nameOf(s.region(args[0]).origin), len(args) > 3)
	})
}

// rebuild: `rebuild c` is `concordat region rebuild` in c. It returns when that was begun.
func (s *Story) rebuild(args []string) (err error) {
	ended := false
	s.region(args[0]).rebuild(func(e error) { ended, err = true, e })
	s.until(func() bool { return ended })
	return err
}

// saved: `saved c t` shows what c has saved of a table.
func (s *Story) saved(args []string) error {
	r, t := s.region(args[0]), s.tableNamed(args[1])
	none := true
	for _, e := range savedIn(r) {
		if e.Table == t.id {
			s.w.tell("%s has saved of %s: %s", r.name(), keyName(item.Key(e.Bytes)), text(e.Record, attributesIn(e.Record)))
			none = false
		}
	}
	if none {
		s.w.tell("%s has saved nothing", r.name())
	}
	return nil
}

// members: `members` shows the members as each region knows them.
func (s *Story) members([]string) error {
	for _, r := range s.w.regions {
		var parts []string
		for _, m := range r.catalog.View().Members() {
			parts = append(parts, letter(m.Descriptor.Name)+" "+string(m.State))
		}
		s.w.tell("%s knows: %s", r.name(), strings.Join(parts, ", "))
	}
	return nil
}

// limit: `limit 100` bounds the log of each lane, in bytes: beyond that peers are left behind.
func (s *Story) limit(args []string) (err error) {
	s.w.plan.logBytes, err = strconv.Atoi(args[0])
	return err
}
