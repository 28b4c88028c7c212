package regionnode

import (
	"context"
	"sync"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/trigger"
)

// newTriggers makes what fires the region's triggers. events is the NATS to publish to; nil: none.
func (n *Node) newTriggers(events *bus.Events) *trigger.Runner {
	means := trigger.Means{Region: n.cfg.Region.Name, Commands: n.cfg.Triggers.Commands, Secret: func(name string) ([]byte, bool) {
		key, ok := n.cfg.Triggers.Secrets[name]
		return key, ok
	}}
	if events != nil {
		means.Publisher = teller{events}
	}
	return trigger.New(trigger.Config{
		Self: n.cfg.Region.Origin, Region: n.cfg.Region.Name, Life: n.shard.Incarnation(), Catalog: n.catalog.View,
		Serves: func() bool { return n.serves() == nil },
		Stream: told{n.shard}, Store: n.shard, Row: n.triggerRow, Reach: n.cfg.Triggers.Reach,
		Send: func(ctx context.Context, region string, g *trigger.Gossip) error {
			s, err := n.session(region)
			if err != nil {
				return err
			}
			return s.Triggers(ctx, g)
		},
		Means:  means,
		Events: n.triggerEvents(),
	})
}

func (n *Node) triggerEvents() trigger.Events {
	return trigger.Events{
		Delivered: n.metrics.TriggerDelivered,
		Failed: func(table, name string, err error) {
			n.metrics.TriggerFailed(table, name)
			n.log.Debug().Str("table", table).Str("trigger", name).Err(err).Msg("events were not delivered")
		},
		Withheld: n.metrics.TriggerWithheld,
		Gap: func(table, name string, after, upTo hlc.Timestamp) {
			n.metrics.TriggerGap(table, name)
			n.log.Error().Str("table", table).Str("trigger", name).Stringer("after", after).Stringer("upTo", upTo).Msg("records of the change stream have gone before they were delivered")
		},
		Buried: func(table, name string, events int) {
			n.metrics.TriggerBuried(table, name, events)
			n.log.Warn().Str("table", table).Str("trigger", name).Int("events", events).Msg("events could not be delivered: they are dead letters")
		},
		Fires: n.metrics.TriggerFires,
		Ended: n.metrics.TriggerEnds,
		Trouble: func(what string, err error) {
			n.log.Warn().Err(err).Msg(what)
		},
	}
}

// triggerRow is what this region has applied, as triggers need it: read before the mark of the stream.
func (n *Node) triggerRow(t *globaltable.Table) trigger.Row {
	row, _ := n.matrix.Row(n.cfg.Region.Origin)
	return trigger.NewRow(t, n.cfg.Region.Origin, row.HLC, row.Marks, n.swept.get(t.ID))
}

// swept is up to which moment all expired items of tables were collected here, and so told in their streams.
type swept struct {
	mu sync.Mutex
	to map[globaltable.TableID]hlc.Timestamp
}

func (s *swept) raise(table globaltable.TableID, to hlc.Timestamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == nil {
		s.to = map[globaltable.TableID]hlc.Timestamp{}
	}
	s.to[table] = max(s.to[table], to)
}

func (s *swept) get(table globaltable.TableID) hlc.Timestamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to[table]
}

// keep forgets tables that are not held any more.
func (s *swept) keep(v *catalog.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for table := range s.to {
		if !v.Serves(table) {
			delete(s.to, table)
		}
	}
}

// told is a shard's change streams, table by table: trigger.Stream.
type told struct{ *commit.Shard }

// Mark implements trigger.Stream.
func (s told) Mark() hlc.Timestamp { return s.StreamMark() }

// MarkNow implements trigger.Stream.
func (s told) MarkNow(ctx context.Context) (hlc.Timestamp, error) { return s.StreamMarkNow(ctx) }

// Read implements trigger.Stream.
func (s told) Read(table globaltable.TableID, after hlc.Timestamp, f func(*cdc.Record) bool) (upTo hlc.Timestamp, err error) {
	return s.ReadTable(table, after, 0, f)
}

// Await implements trigger.Stream.
func (s told) Await(ctx context.Context, table globaltable.TableID, after hlc.Timestamp) {
	s.AwaitTable(ctx, table, after)
}

// teller is the region's NATS as triggers publish to it: trigger.Publisher.
type teller struct{ events *bus.Events }

// Publish implements trigger.Publisher.
func (x teller) Publish(ctx context.Context, subject string, messages []trigger.Message) error {
	notes := make([]bus.Note, 0, len(messages))
	for _, m := range messages {
		notes = append(notes, bus.Note(m))
	}
	return x.events.Tell(ctx, subject, notes)
}
