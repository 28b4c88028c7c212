package regionnode

import (
	"context"
	"slices"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/cdc/publish"
	"github.com/concordat-db/concordat/streams/cdc/reader"
)

// ownBus is the region's own NATS: lanes, events, and who may read them.
type ownBus interface {
	bus.Home
	Events() *bus.Events // nil: there is no credential for them
	SetGrants(ctx context.Context, grants []bus.Grant) error
}

// readerStore is the shard as readers are kept in it.
type readerStore struct{ *commit.Shard }

// UpdateReaders implements reader.Store.
func (s readerStore) UpdateReaders(ctx context.Context, f func(b reader.Batch) error) error {
	return s.Shard.UpdateReaders(ctx, func(b commit.ReaderBatch) error { return f(b) })
}

// newPublisher makes what puts events into the region's NATS; nil if it has no place for them.
func (n *Node) newPublisher(events *bus.Events) *publish.Runner {
	if events == nil {
		n.log.Warn().Msg("change streams are not published in the region's NATS: there is no credential for the account of the events")
		return nil
	}
	return publish.New(publish.Config{Self: n.cfg.Region, View: n.catalog.View, Store: n.shard, Bus: events, Readers: n.readers, Name: n.regionName, Now: time.Now,
		Events: publish.Events{
			Published: n.metrics.Published,
			Anew: func(table, why string) {
				n.metrics.Refilled(table)
				n.log.Info().Str("table", table).Str("reason", why).Msg("the table's stream of events is filled anew")
			},
			Failed: func(table string, err error) {
				n.metrics.PublishFailed()
				n.log.Warn().Str("table", table).Err(err).Msg("the region's NATS did not take events; trying again")
			},
		}})
}

// grants returns who may read events, as the bus knows them.
func (n *Node) grants() []bus.Grant {
	out := []bus.Grant{}
	for _, r := range n.readers.List(reader.Grant) {
		g := bus.Grant{Name: r.Name, PublicKey: r.Key}
		for _, p := range r.Places {
			g.Streams = append(g.Streams, bus.EventStreamName(p.Table))
		}
		out = append(out, g)
	}
	return out
}

// keepGrants lets those read events who have a grant, until ctx is done, ends grants that have expired, and forgets tails that nobody follows any more.
func (n *Node) keepGrants(ctx context.Context, home ownBus) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		changed := n.readers.Changed()
		if err := home.SetGrants(ctx, n.grants()); err != nil && ctx.Err() == nil {
			n.metrics.BusFailed()
			n.log.Warn().Err(err).Msg("the region's NATS did not take who may read events; trying again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
			n.endReaders(ctx, time.Now())
			n.measureEvents()
		}
	}
}

// endReaders ends what has had its time. What fails is tried again.
func (n *Node) endReaders(ctx context.Context, now time.Time) {
	for _, r := range n.readers.List(reader.Grant) {
		if r.Expires == 0 || now.UnixMilli() < r.Expires {
			continue
		}
		if err := n.endGrant(ctx, r.Name, "expired"); err != nil && ctx.Err() == nil {
			n.log.Warn().Str("grant", r.Name).Err(err).Msg("a grant that has expired stays")
		}
	}
	v := n.catalog.View()
	for _, r := range n.readers.List(reader.Tail) {
		keep := time.Duration(0)
		for _, p := range r.Places {
			if t, known := v.Table(p.Table); known && !t.Deleted {
				age, _ := publish.Retention(t)
				keep = max(keep, age)
			}
		}
		if now.Sub(time.UnixMilli(r.Used)) <= keep+time.Hour { // it is noted at least once an hour that somebody follows it
			continue
		}
		if _, err := n.readers.Remove(ctx, reader.Tail, r.Name); err != nil && ctx.Err() == nil {
			n.log.Warn().Str("tail", r.Name).Err(err).Msg("the place of a tail that nobody follows stays")
		}
	}
}

func (n *Node) measureEvents() {
	n.metrics.Grants(len(n.readers.List(reader.Grant)))
	n.catalog.View().Tables(func(t *globaltable.Table) bool {
		if e := n.eventsOf(t.ID, n.shard.Streams(t.ID)); e != nil {
			n.metrics.PublishLag(t.Name, time.Duration(e.LagMillis)*time.Millisecond)
		} else {
			n.metrics.PublishEnds(t.Name)
		}
		return true
	})
}

// eventsOf returns how far the events of a table are in the region's NATS; nil if it has none.
func (n *Node) eventsOf(table globaltable.TableID, streams []commit.StreamState) *admin.Events {
	if n.events == nil {
		return nil
	}
	s, ok := n.events.Status(table)
	if !ok {
		return nil
	}
	out := &admin.Events{Stream: bus.EventStreamName(table), Ready: s.Ready, Refills: s.Anew, Pending: s.Pending, Error: s.Error}
	if t, known := n.catalog.View().Table(table); known {
		out.Subjects = bus.EventSubjects(t.Name)
	}
	for _, stream := range streams {
		if stream.Last > s.Published {
			out.LagMillis = max(1, stream.Last.Millis()-max(s.Published, hlc.FromTime(time.UnixMilli(stream.Since))).Millis())
		}
	}
	return out
}

// eventsSummary sums up the events of all tables; nil: there are none.
func (n *Node) eventsSummary() *admin.EventsSummary {
	out := admin.EventsSummary{Grants: len(n.readers.List(reader.Grant))}
	n.catalog.View().Tables(func(t *globaltable.Table) bool {
		e := n.eventsOf(t.ID, n.shard.Streams(t.ID))
		if e == nil {
			return true
		}
		out.Tables++
		out.LagMillis = max(out.LagMillis, e.LagMillis)
		if e.Error != "" {
			out.Failing = append(out.Failing, t.Name)
		}
		return true
	})
	if out.Tables+out.Grants == 0 {
		return nil
	}
	slices.Sort(out.Failing)
	return &out
}

// endGrant takes a grant back: its holder is disconnected, where the region has its NATS in its own hands, and its consumers are removed.
func (n *Node) endGrant(ctx context.Context, name, why string) error {
	r, there := n.readers.Get(reader.Grant, name)
	if !there {
		return noGrant(name)
	}
	if _, err := n.readers.Remove(ctx, reader.Grant, name); err != nil {
		return err
	}
	n.log.Info().Str("grant", name).Str("reason", why).Msg("a grant has ended")
	return n.plane.Note(ctx, audit.Entry{Kind: audit.GrantRevoked, Subject: name, Op: "revoke grant", Asked: n.cfg.Region.Name, Reason: why, Changes: n.grantChanges(&r, false)})
}

func noGrant(name string) error {
	return &globaltable.Error{Op: "revoke grant", Resource: name, Kind: globaltable.NotFound, Message: "this region has no grant named " + name}
}

// grantChanges says what a grant gives or, taken back, gave.
func (n *Node) grantChanges(r *reader.Reader, made bool) []audit.Change {
	said := []audit.Change{{What: "key", Now: r.Key}}
	for _, p := range r.Places {
		said = append(said, audit.Change{What: "events of table " + n.tableName(p.Table), Now: "read"})
	}
	if r.Expires != 0 {
		said = append(said, audit.Change{What: "expires", Now: time.UnixMilli(r.Expires).UTC().Format(time.RFC3339)})
	}
	for i := range said {
		if !made {
			said[i].Was, said[i].Now = said[i].Now, ""
		}
	}
	return said
}

// tableName returns a table's name, or its id if it is not known any more.
func (n *Node) tableName(id globaltable.TableID) string {
	if t, known := n.catalog.View().Table(id); known {
		return t.Name
	}
	return id.String()
}
