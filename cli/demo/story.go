package demo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/cli/demodata"
)

const (
	loaders     = 8   // batches under way in each region
	cutWrites   = 200 // new items on each side of the cut
	cutContests = 50  // keys written on both sides
)

// demoCountry is the partition of the items that are no places. No country has this code.
const demoCountry = "demo"

// story is the state between chapters.
type story struct {
	cfg     Config
	clients []*client
	report  Report

	mu    sync.Mutex
	acked map[string]map[string]bool // key → fingerprints of the acknowledged writes to it; whoever wins is one of them
}

func newStory(cfg Config) *story {
	s := &story{cfg: cfg, acked: map[string]map[string]bool{}}
	for _, r := range cfg.Regions {
		s.clients = append(s.clients, newClient(r, 2*loaders))
	}
	return s
}

func (s *story) close() {
	for _, c := range s.clients {
		c.close()
	}
}

// acknowledged notes writes that a region has confirmed.
func (s *story) acknowledged(items ...attributes) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range items {
		key, print, err := fingerprint(item)
		if err != nil {
			return err
		}
		if s.acked[key] == nil {
			s.acked[key] = map[string]bool{}
		}
		s.acked[key][print] = true
	}
	return nil
}

// put writes an item and notes it.
func (s *story) put(ctx context.Context, c *client, item attributes) error {
	if err := c.put(ctx, item); err != nil {
		return err
	}
	return s.acknowledged(item)
}

// patient bounds what is waited for by the configuration's patience. The error says what did not happen.
func (s *story) patient(ctx context.Context, what string, f func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Wait)
	defer cancel()
	err := f(bounded)
	if err != nil && errors.Is(bounded.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("%s: not within %v (%w)", what, s.cfg.Wait, err)
	}
	return err
}

// table makes the table in the first region and adds the others, one after the other.
func (s *story) table(ctx context.Context) error {
	home := s.clients[0]
	_, err := home.db.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String(TableName), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String(partitionKey), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String(sortKey), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String(partitionKey), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String(sortKey), KeyType: types.KeyTypeRange},
		},
	})
	var inUse *types.ResourceInUseException
	if errors.As(err, &inUse) {
		return fmt.Errorf("the table %q is there already: the demo wants an empty world (another --data)", TableName)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", home.region, err)
	}
	if err := s.active(ctx, home, 0); err != nil {
		return err
	}
	s.say("CreateTable %s in %s", TableName, home.region)
	for i, c := range s.clients[1:] {
		if err := s.addReplica(ctx, home, c.region); err != nil {
			return err
		}
		if err := s.active(ctx, home, i+1); err != nil {
			return err
		}
		s.say("UpdateTable adds the replica %s", c.region)
	}
	for _, c := range s.clients {
		if err := s.active(ctx, c, len(s.clients)-1); err != nil {
			return err
		}
	}
	return nil
}

// addReplica waits while the owner of the table has not heard from every region since its start: it says so with a 503.
func (s *story) addReplica(ctx context.Context, home *client, region string) error {
	return s.patient(ctx, home.region+": add replica "+region, func(ctx context.Context) error {
		for {
			_, err := home.db.UpdateTable(ctx, &dynamodb.UpdateTableInput{
				TableName:      aws.String(TableName),
				ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(region)}}},
			})
			var answer smithy.APIError
			if err == nil || !errors.As(err, &answer) || answer.ErrorCode() != "ServiceUnavailableException" {
				return err
			}
			if paused := pause(ctx, 10*poll); paused != nil {
				return errors.Join(err, paused)
			}
		}
	})
}

// active waits until the region shows the table and that many replicas in other regions as ACTIVE.
func (s *story) active(ctx context.Context, c *client, replicas int) error {
	return s.patient(ctx, c.region+": table becomes ACTIVE", func(ctx context.Context) error {
		for {
			out, err := c.db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(TableName)})
			var missing *types.ResourceNotFoundException
			switch {
			case errors.As(err, &missing): // has not heard of it yet
			case err != nil:
				return fmt.Errorf("%s: %w", c.region, err)
			case out.Table.TableStatus == types.TableStatusActive && activeReplicas(out.Table, c.region) >= replicas:
				return nil
			}
			if err := pause(ctx, 10*poll); err != nil {
				return err
			}
		}
	})
}

func activeReplicas(t *types.TableDescription, but string) (n int) {
	for _, r := range t.Replicas {
		if aws.ToString(r.RegionName) != but && r.ReplicaStatus == types.ReplicaStatusActive {
			n++
		}
	}
	return n
}

// load puts every place through the region of its part of the globe, then measures how long the last writes take to the others.
func (s *story) load(ctx context.Context) error {
	places, err := demodata.Places()
	if err != nil {
		return err
	}
	shares := make([][]attributes, len(s.clients))
	countries := map[string]bool{}
	for _, p := range places {
		i := min(int((p.Lng+180)/360*float64(len(s.clients))), len(s.clients)-1)
		shares[i] = append(shares[i], placeItem(p))
		countries[p.Country] = true
	}
	bars := newProgress(s.cfg.Out, s.cfg.Screen)
	began := time.Now()
	loads, loading := errgroup.WithContext(ctx)
	for i, c := range s.clients {
		bar := bars.add(c.region, len(shares[i]))
		loads.Go(func() error { return s.loadShare(loading, c, shares[i], bar) })
	}
	err = loads.Wait()
	took := time.Since(began)
	bars.end(err == nil)
	if err != nil {
		return err
	}
	s.report.Load = LoadReport{Places: len(places), Countries: len(countries), Seconds: took.Seconds(), PerSecond: float64(len(places)) / took.Seconds()}
	s.say("%d places of %d countries acknowledged in %.1f s: %.0f a second, each by one region", len(places), len(countries), took.Seconds(), s.report.Load.PerSecond)
	if err := s.lag(ctx); err != nil {
		return err
	}
	for _, l := range s.report.Lag {
		s.say("%s → %s: its last write was there %.0f ms after it was acknowledged", l.From, l.To, l.Millis)
	}
	return nil
}

func placeItem(p demodata.Place) attributes {
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	number := func(f float64) types.AttributeValue {
		return &types.AttributeValueMemberN{Value: strconv.FormatFloat(f, 'f', -1, 64)}
	}
	item := attributes{partitionKey: text(p.Country), sortKey: text(p.ID), "name": text(p.Name), "lat": number(p.Lat), "lng": number(p.Lng)}
	for name, v := range map[string]string{"admin1": p.Admin1, "admin2": p.Admin2, "division": p.Division} {
		if v != "" {
			item[name] = text(v)
		}
	}
	return item
}

// loadShare puts items in batches, several at once.
func (s *story) loadShare(ctx context.Context, c *client, items []attributes, b *bar) error {
	batches, ctx := errgroup.WithContext(ctx)
	batches.SetLimit(loaders)
	for len(items) > 0 && ctx.Err() == nil {
		batch := items[:min(maxBatch, len(items))]
		items = items[len(batch):]
		batches.Go(func() error {
			if err := c.putBatch(ctx, batch); err != nil {
				return err
			}
			b.add(len(batch))
			return s.acknowledged(batch...)
		})
	}
	return batches.Wait()
}

// note returns an item of the story's own.
func note(id, text string) attributes {
	return attributes{
		partitionKey: &types.AttributeValueMemberS{Value: demoCountry},
		sortKey:      &types.AttributeValueMemberS{Value: id},
		"name":       &types.AttributeValueMemberS{Value: text},
	}
}

// text returns what a note says; "nothing" where there is none.
func text(item attributes) string {
	if v, ok := item["name"].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return "nothing"
}

// says returns a condition for until.
func says(want string) func(attributes) bool {
	return func(item attributes) bool { return text(item) == want }
}

// lag writes one item in each region, at once, and notes when each other region shows it. A region's writes arrive in their order, so
// all that it wrote before is there then too.
func (s *story) lag(ctx context.Context) error {
	n := len(s.clients)
	pairs := make([]PairLag, n*n)
	err := s.patient(ctx, "the last writes of the load reach every region", func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for i, from := range s.clients {
			group.Go(func() error {
				marker := note("marker-"+from.region, "the last of "+from.region)
				if err := s.put(ctx, from, marker); err != nil {
					return err
				}
				acked := time.Now()
				var watchers errgroup.Group
				for j, to := range s.clients {
					if i == j {
						continue
					}
					watchers.Go(func() error {
						_, err := to.until(ctx, marker, says(text(marker)))
						pairs[i*n+j] = PairLag{From: from.region, To: to.region, Millis: millis(time.Since(acked))}
						return err
					})
				}
				return watchers.Wait()
			})
		}
		return group.Wait()
	})
	for _, p := range pairs {
		if p.From != "" {
			s.report.Lag = append(s.report.Lag, p)
		}
	}
	return err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// race lets every region write one key at once and waits until all show the same.
func (s *story) race(ctx context.Context) error {
	key := note("contested", "")
	writes := make([]RaceWrite, len(s.clients))
	var start sync.WaitGroup
	start.Add(1)
	group, racing := errgroup.WithContext(ctx)
	for i, c := range s.clients {
		w := &writes[i]
		w.Region, w.Wrote = c.region, "hello from "+c.region
		group.Go(func() error {
			start.Wait()
			if err := s.put(racing, c, note("contested", w.Wrote)); err != nil {
				return err
			}
			item, err := c.get(racing, key)
			w.Saw = text(item)
			return err
		})
	}
	start.Done()
	if err := group.Wait(); err != nil {
		return err
	}
	began := time.Now()
	if err := s.agree(ctx, key, writes); err != nil {
		return err
	}
	s.report.Race = RaceReport{Writes: writes, Millis: millis(time.Since(began))}
	for _, w := range writes {
		if w.Wrote == w.Kept {
			s.report.Race.Winner = w.Region
		}
		s.say("%-14s wrote %-26q saw %-26q and after the merge %q", w.Region, w.Wrote, w.Saw, w.Kept)
	}
	if s.report.Race.Winner == "" {
		return fmt.Errorf("all regions agree on %q, which none of them wrote", writes[0].Kept)
	}
	s.say("The greatest stamp won in every region: %s. All agreed %.0f ms after the last acknowledgement.", s.report.Race.Winner, s.report.Race.Millis)
	return nil
}

// agree reads the key in every region until all show the same. Each region has its own write, so they can agree only when the winner has
// arrived everywhere, and then nothing is left that could change it.
func (s *story) agree(ctx context.Context, key attributes, writes []RaceWrite) error {
	return s.patient(ctx, "all regions show the same write", func(ctx context.Context) error {
		for {
			seen := map[string]bool{}
			for i, c := range s.clients {
				item, err := c.get(ctx, key)
				if err != nil {
					return err
				}
				writes[i].Kept = text(item)
				seen[writes[i].Kept] = true
			}
			if len(seen) == 1 {
				return nil
			}
			if err := pause(ctx, poll); err != nil {
				var shown []string
				for _, w := range writes {
					shown = append(shown, fmt.Sprintf("%s shows %q", w.Region, w.Kept))
				}
				return fmt.Errorf("%s: %w", strings.Join(shown, ", "), err)
			}
		}
	})
}
