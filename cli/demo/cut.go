package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// cut separates the last region, writes on both sides, heals, and waits until every region shows what the others wrote meanwhile.
func (s *story) cut(ctx context.Context) error {
	inside, outside := s.clients[len(s.clients)-1], s.clients[0]
	s.cfg.Cut(inside.region)
	defer s.cfg.Heal(inside.region) // whatever happens
	cutAt := time.Now()
	s.say("%s is cut off: nothing goes in or out, and nobody tells it", inside.region)

	sides, writing := errgroup.WithContext(ctx)
	for _, c := range []*client{inside, outside} {
		sides.Go(func() error { return s.writeSide(writing, c) })
	}
	if err := sides.Wait(); err != nil {
		return err
	}
	s.say("Both sides go on: %d writes in %s, %d in %s, %d of the keys on both sides", cutWrites+cutContests, inside.region, cutWrites+cutContests, outside.region, cutContests)
	if err := pause(ctx, time.Until(cutAt.Add(s.cfg.CutFor))); err != nil {
		return err
	}
	if err := s.apart(ctx, inside, outside); err != nil {
		return err
	}

	s.cfg.Heal(inside.region)
	healedAt := time.Now()
	s.say("The link is back after %.1f s", healedAt.Sub(cutAt).Seconds())
	err := s.patient(ctx, "every region shows what was written during the cut", func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, writer := range []*client{inside, outside} {
			last := sideNote(writer.region, cutWrites-1)
			for _, reader := range s.clients {
				group.Go(func() error {
					if _, err := reader.until(ctx, last, says(text(last))); err != nil {
						return fmt.Errorf("%s does not show the last write of %s: %w", reader.region, writer.region, err)
					}
					return nil
				})
			}
		}
		return group.Wait()
	})
	if err != nil {
		return err
	}
	s.report.Cut = CutReport{
		Region: inside.region, Seconds: healedAt.Sub(cutAt).Seconds(),
		Inside: cutWrites + cutContests, Outside: cutWrites + cutContests, Contested: cutContests, Millis: millis(time.Since(healedAt)),
	}
	s.say("Every region shows all of it %.0f ms after the healing", s.report.Cut.Millis)
	return nil
}

func sideNote(region string, i int) attributes {
	return note(fmt.Sprintf("cut-%s-%03d", region, i), fmt.Sprintf("%s, alone, %d", region, i))
}

// writeSide writes the contested keys, then the side's own. The last write is acknowledged after all others are, so whoever shows it has
// all of them.
func (s *story) writeSide(ctx context.Context, c *client) error {
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(loaders)
	for i := range cutContests {
		group.Go(func() error {
			return s.put(writing, c, note(fmt.Sprintf("cut-both-%03d", i), fmt.Sprintf("%s says %d", c.region, i)))
		})
	}
	for i := range cutWrites - 1 {
		group.Go(func() error { return s.put(writing, c, sideNote(c.region, i)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.put(ctx, c, sideNote(c.region, cutWrites-1))
}

// apart shows that the two sides do not know of each other. A demo whose cut does not cut proves nothing.
func (s *story) apart(ctx context.Context, inside, outside *client) error {
	for _, side := range []struct{ writer, reader *client }{{inside, outside}, {outside, inside}} {
		last := sideNote(side.writer.region, cutWrites-1)
		item, err := side.reader.get(ctx, last)
		if err != nil {
			return err
		}
		if item != nil {
			return fmt.Errorf("%s shows a write of %s through a link that was cut", side.reader.region, side.writer.region)
		}
		s.say("%s sees %s of what %s wrote", side.reader.region, text(item), side.writer.region)
	}
	return nil
}

// compare reads the whole table in every region until all show the same, then checks that it is what was acknowledged, and that
// the regions' own digests agree.
func (s *story) compare(ctx context.Context) error {
	var shots []snapshot
	err := s.patient(ctx, "all regions hold the same", func(ctx context.Context) (err error) {
		for {
			if shots, err = s.scanAll(ctx); err != nil {
				return err
			}
			different := differences(s.clients, shots)
			if different == nil {
				return nil
			}
			if err := pause(ctx, 10*poll); err != nil {
				return errors.Join(different, err)
			}
		}
	})
	if err != nil {
		return err
	}
	if err := s.nothingLost(shots[0]); err != nil {
		return err
	}
	for i, c := range s.clients {
		d, err := s.cfg.Digest(ctx, c.region)
		if err != nil {
			return fmt.Errorf("%s: digest: %w", c.region, err)
		}
		r := RegionReport{Region: c.region, Items: len(shots[i].items), Sum: shots[i].sum, Digest: d.Sum}
		s.report.Regions = append(s.report.Regions, r)
		if d.Items != int64(r.Items) || d.Sum != s.report.Regions[0].Digest {
			return fmt.Errorf("%s reads %d items, and its store says %d with digest %s; %s has digest %s",
				c.region, r.Items, d.Items, d.Sum, s.report.Regions[0].Region, s.report.Regions[0].Digest)
		}
		s.say("%-14s %d items, SHA-256 of all as read %.16s…, digest of its store %s", c.region, r.Items, r.Sum, r.Digest)
	}
	s.say("Yes: every acknowledged write is there or lost to a later one, and all regions are equal.")
	return nil
}

func (s *story) scanAll(ctx context.Context) ([]snapshot, error) {
	shots := make([]snapshot, len(s.clients))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range s.clients {
		group.Go(func() (err error) {
			shots[i], err = c.scan(ctx)
			return err
		})
	}
	return shots, group.Wait()
}

// differences says how the regions differ; nil if they do not.
func differences(clients []*client, shots []snapshot) error {
	var all []error
	for i := 1; i < len(shots); i++ {
		if shots[i].sum == shots[0].sum {
			continue
		}
		missing, other := 0, 0
		for key, print := range shots[0].items {
			switch found, ok := shots[i].items[key]; {
			case !ok:
				missing++
			case found != print:
				other++
			}
		}
		all = append(all, fmt.Errorf("%s has %d items, %s has %d: %d of the first are missing in the second, %d differ",
			clients[0].region, len(shots[0].items), clients[i].region, len(shots[i].items), missing, other))
	}
	return errors.Join(all...)
}

// nothingLost compares with what was acknowledged: each key is there, with one of the writes to it, and no other key is.
func (s *story) nothingLost(shot snapshot) error {
	lost, wrong, foreign := 0, 0, 0
	for key, prints := range s.acked {
		switch found, ok := shot.items[key]; {
		case !ok:
			lost++
		case !prints[found]:
			wrong++
		}
	}
	for key := range shot.items {
		if s.acked[key] == nil {
			foreign++
		}
	}
	if lost+wrong+foreign > 0 {
		return fmt.Errorf("all regions are equal, but %d acknowledged items are missing, %d hold what nobody wrote, %d were never written", lost, wrong, foreign)
	}
	return nil
}
