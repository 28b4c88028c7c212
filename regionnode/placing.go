package regionnode

import (
	"context"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/repair"
)

// newPlacer makes what carries out locality policies here, and what takes over records that other regions may not have any more.
func (n *Node) newPlacer() {
	n.giver = handover.NewGiver(n.cfg.Region, givingShard{n.shard, n.clock.Observe}, givingShard{n.shard, n.clock.Observe}, n, n.regionName)
	n.giver.Leaving = n.countHandOver
	n.taker = handover.NewTaker(n.catalog, takingShard{n}, n)
	n.placer = placing.New(placing.Config{Self: n.cfg.Region, View: n.catalog.View, Store: n.shard, Streams: laneStreams{n}, Giver: n.giver, Disk: n.snapshots,
		Sign: func(r *globaltable.Receipt) (string, error) { return globaltable.SignReceipt(r, n.key) }, Now: time.Now,
		Events: placing.Events{
			Placed: func(r *globaltable.Receipt) {
				n.metrics.Placed(r.Done.Erased, r.Done.Voided)
				n.log.Info().Str("table", r.Name).Stringer("version", r.Version).Int64("erased", r.Done.Erased).Int64("voided", r.Done.Voided).Int64("relogged", r.Done.Relogged).
					Msg("locality policies are carried out")
			},
			Failed: func(table globaltable.TableID, what string, err error) {
				n.log.Warn().Stringer("table", table).Str("step", what).Err(err).Msg("carrying out locality policies: trying again")
			},
		}})
}

// laneStreams are the region's own streams, as a placing.Placer needs them.
type laneStreams struct{ n *Node }

// Renew implements placing.Streams.
func (s laneStreams) Renew(lane globaltable.LaneID) { s.n.outbox.Renew(lane) }

// Live implements placing.Streams.
func (s laneStreams) Live(lane globaltable.LaneID) bool { return s.n.outbox.Live(lane) }

// RenewEvents implements placing.Streams.
func (s laneStreams) RenewEvents(table globaltable.TableID) {
	if s.n.events != nil {
		s.n.events.Renew(table)
	}
}

// EventsLive implements placing.Streams.
func (s laneStreams) EventsLive(table globaltable.TableID) bool {
	return s.n.events == nil || s.n.events.Live(table)
}

// givingShard is the shard as a handover.Giver reads it.
type givingShard struct {
	shard   *commit.Shard
	observe func(hlc.Timestamp) error
}

// Observe implements handover.Store.
func (s givingShard) Observe(t hlc.Timestamp) error { return s.observe(t) }

// Incarnation implements handover.Store.
func (s givingShard) Incarnation() globaltable.Incarnation { return s.shard.Incarnation() }

// Records implements handover.Store.
func (s givingShard) Records(ctx context.Context, table globaltable.TableID, from, to item.Key, f func(key item.Key, record []byte) (more bool)) error {
	return s.shard.Records(ctx, table, from, to, f)
}

// Erase implements handover.Store.
func (s givingShard) Erase(ctx context.Context, of globaltable.TableID, version globaltable.Version, to string, table globaltable.TableID, records []repair.Record) (int, error) {
	return s.shard.Erase(ctx, of, version, to, recordsAt(table, records))
}

// SavedParts implements handover.Saved.
func (s givingShard) SavedParts(table globaltable.TableID, after handover.SavedAt, f func(handover.SavedPart) (more bool)) error {
	return s.shard.SavedParts(table, after.Key, after.Upto, func(p commit.SavedPart) bool {
		return f(handover.SavedPart{Key: p.Key.Bytes, Bytes: p.Bytes, Upto: p.Upto, More: p.More, Sole: p.Sole})
	})
}

// EraseGiven implements handover.Saved.
func (s givingShard) EraseGiven(ctx context.Context, of globaltable.TableID, version globaltable.Version, to string, table globaltable.TableID, parts []repair.Record) (int, error) {
	return s.shard.EraseGiven(ctx, of, version, to, recordsAt(table, parts))
}

// Purge implements handover.Saved.
func (s givingShard) Purge(table globaltable.TableID) hlc.Timestamp { return s.shard.Purge(table) }

func recordsAt(table globaltable.TableID, records []repair.Record) []commit.RecordAt {
	out := make([]commit.RecordAt, 0, len(records))
	for _, r := range records {
		out = append(out, commit.RecordAt{Key: commit.Key{Table: table, Bytes: r.Key}, Record: r.Bytes})
	}
	return out
}

// takingShard is the shard as a handover.Taker writes it.
type takingShard struct{ n *Node }

// TakeOver implements handover.Taking.
func (s takingShard) TakeOver(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, records []repair.Record) error {
	err := s.n.shard.TakeOver(ctx, from.Origin, from.Incarnation, version, recordsAt(table, records))
	if err == nil {
		s.n.metrics.TookOver(len(records))
	}
	return err
}

// TakeOverSaved implements handover.Taking.
func (s takingShard) TakeOverSaved(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, purge hlc.Timestamp, parts []repair.Record) error {
	r, err := s.n.shard.TakeOverSaved(ctx, from.Origin, from.Incarnation, version, purge, recordsAt(table, parts))
	if err != nil {
		return err
	}
	s.n.metrics.TookOver(len(parts))
	s.n.metrics.Replayed(r.Known, r.Logged, r.Kept)
	s.n.log.Info().Stringer("table", table).Str("from", s.n.regionName(from.Origin)).Int("known", r.Known).Int("logged", r.Logged).Int("doubted", r.Kept).Msg("writes that another region had saved were replayed")
	return nil
}

// HandOver implements handover.Peers over the session that the region's inbox holds.
func (n *Node) HandOver(ctx context.Context, region string, o *handover.Offer) (taken hlc.Timestamp, err error) {
	s, err := n.session(region)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	return s.HandOver(ctx, o)
}

// Offered implements handover.Givers over the same session.
func (n *Node) Offered(ctx context.Context, region string, o *handover.Offer) (*repair.Page, error) {
	s, err := n.session(region)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	return s.Offered(ctx, o)
}

// voided is told when entries of a lane are about to lose their bodies: who waits for peers to confirm one of these hears that it is not known.
func (n *Node) voided(lane globaltable.LaneID, upTo uint64) {
	n.confirm.Voided(lane, upTo)
}
