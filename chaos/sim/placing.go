package sim

import (
	"context"
	"fmt"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/repair"
)

// Carrying out locality policies: the region's own Placer, giver and taker, and what stands around them. Files are not written anew here: the engine has none.

// openPlacing makes what carries out policies, as regionnode does.
func (r *region) openPlacing(d *door) {
	self := identities()[r.origin].descriptor
	r.giver = handover.NewGiver(self, d, d, neighbours{r}, nameOf)
	r.taker = handover.NewTaker(r.catalog, d, neighbours{r})
	r.placer = placing.New(placing.Config{Self: self, View: r.catalog.View, Store: d, Streams: ownStreams{d, r.ctx}, Giver: r.giver, Disk: d, Sign: r.sign, Now: r.wall, Events: placing.Events{
		Failed: func(table globaltable.TableID, what string, err error) {
			r.say("%d failed to %s of %s: %v", r.origin, what, table, err)
		},
	}})
}

// startPlacing begins the loop in which policies are carried out.
func (r *region) startPlacing() {
	l := &loop{region: r, name: "place", look: r.placer.Look, even: true}
	r.loops = append(r.loops, l)
	l.in(lookEvery / 2)
}

func (r *region) sign(receipt *globaltable.Receipt) (string, error) {
	return globaltable.SignReceipt(receipt, identities()[r.origin].key)
}

// whatOf is what a table, or the feed of one, holds.
func (w *world) whatOf(id globaltable.TableID) string {
	if id.IsFeed() {
		return "conflicts of " + w.tableName(id.Base())
	}
	return "items of " + w.tableName(id)
}

// isPlacing reports whether policies of a table are being carried out.
func isPlacing(t *globaltable.Table) bool {
	return slices.ContainsFunc(t.Replicas, func(r globaltable.Replica) bool { return r.Placing != 0 })
}

// placingWaits says what those wait for that are placing a version of a table.
func (w *world) placingWaits(t *globaltable.Table) (text string) {
	for i := range t.Replicas {
		if r := &t.Replicas[i]; r.Placing != 0 && w.region(r.Origin).up {
			text += fmt.Sprintf("; region %d has placed %+v", r.Origin, w.region(r.Origin).placer.Progress(t.ID, r.Placing))
		}
	}
	return text
}

// BeginPlacing implements placing.Store.
func (d *door) BeginPlacing(ctx context.Context, table globaltable.TableID, version globaltable.Version, at int64) error {
	return d.await(ctx, fmt.Sprintf("begin placing %x", uint64(table)), func(done func(error)) {
		if d.placingDies() {
			return
		}
		d.manual.BeginPlacing(table, version, at, done)
		d.work()
	})
}

// placingDies is dies, more often: a region that is in the middle of placing is to die between any two of its steps.
func (d *door) placingDies() bool {
	if d.up && d.chance(d.plan.crashPlacing) {
		d.cover("a region died while placing")
		d.crash()
	}
	return d.dies()
}

// Placing implements placing.Store.
func (d *door) Placing(table globaltable.TableID) commit.Placing { return d.shard.Placing(table) }

// EndPlacing implements placing.Store.
func (d *door) EndPlacing(ctx context.Context, table globaltable.TableID, version globaltable.Version, policies []globaltable.Pin, receipt string) error {
	return d.await(ctx, fmt.Sprintf("end placing %x", uint64(table)), func(done func(error)) {
		if d.placingDies() {
			return
		}
		d.manual.EndPlacing(table, version, policies, receipt, func(err error) {
			if err == nil && d.up {
				d.placed(table, version)
			}
			done(err)
		})
		d.work()
	})
}

// Review implements placing.Store.
func (d *door) Review(ctx context.Context, table globaltable.TableID, version globaltable.Version, lane globaltable.LaneID, after uint64) (out commit.Reviewed, err error) {
	err = d.await(ctx, fmt.Sprintf("review %x %s %d", uint64(table), lane, after), func(done func(error)) {
		if d.placingDies() {
			return
		}
		d.manual.Review(table, version, lane, after, func(r commit.Reviewed, err error) {
			out = r
			if d.up && r.Voided > 0 {
				d.note("%d voids %d entries of lane %s", d.origin, r.Voided, lane)
				d.tell("%s voids %d entries of its log", d.name(), r.Voided)
				d.cover("an entry was voided")
			}
			done(err)
		})
		d.work()
	})
	return out, err
}

// EraseSaved implements placing.Store.
func (d *door) EraseSaved(ctx context.Context, table globaltable.TableID, version globaltable.Version, limit int) (more bool, err error) {
	err = d.await(ctx, fmt.Sprintf("erase saved %x", uint64(table)), func(done func(error)) {
		if d.placingDies() {
			return
		}
		d.manual.EraseSaved(table, version, limit, func(m bool, err error) {
			more = m
			done(err)
		})
		d.work()
	})
	return more, err
}

// EraseLetters implements placing.Store: there are no dead letters in the simulation.
func (*door) EraseLetters(context.Context, globaltable.TableID, globaltable.Version, []byte) ([]byte, error) {
	return nil, nil
}

// EraseStreams implements placing.Store.
func (d *door) EraseStreams(ctx context.Context, table globaltable.TableID, version globaltable.Version, after []byte) (next []byte, err error) {
	err = d.await(ctx, fmt.Sprintf("erase streams %x", uint64(table)), func(done func(error)) {
		if d.placingDies() {
			return
		}
		d.manual.EraseStreams(table, version, after, func(n []byte, err error) {
			next = n
			done(err)
		})
		d.work()
	})
	return next, err
}

// Walking implements placing.Store.
func (d *door) Walking(table globaltable.TableID) bool { return d.shard.Walking(table) }

// Observe implements handover.Store.
func (d *door) Observe(t hlc.Timestamp) error { return d.clock.Observe(t) }

// Erase implements handover.Store.
func (d *door) Erase(ctx context.Context, of globaltable.TableID, version globaltable.Version, to string, table globaltable.TableID, records []repair.Record) (erased int, err error) {
	err = d.await(ctx, fmt.Sprintf("erase %x %x", uint64(table), records[0].Key), func(done func(error)) {
		if d.placingDies() {
			return
		}
		at := recordsAt(table, records)
		d.givesUp(at)
		d.manual.Erase(of, version, to, at, func(n int, err error) {
			erased = n
			if d.up && n > 0 {
				d.note("%d erases %d records of table %s that %s has taken over", d.origin, n, table, to)
				d.tell("%s has erased %d %s that %s has taken over", d.name(), n, d.whatOf(table), letter(to))
				d.cover("a record was handed over")
			}
			done(err)
		})
		d.work()
	})
	return erased, err
}

// TakeOver implements handover.Taking.
func (d *door) TakeOver(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, records []repair.Record) error {
	if len(records) == 0 {
		return nil
	}
	return d.await(ctx, fmt.Sprintf("take over %x", records[0].Key), func(done func(error)) {
		if d.placingDies() {
			return
		}
		at := recordsAt(table, records)
		for i := range at {
			d.hears(table, at[i].Bytes)
		}
		d.manual.TakeOver(from.Origin, from.Incarnation, version, at, func(err error) {
			if err == nil && d.up {
				d.exchanged(at)
			}
			done(err)
		})
		d.work()
	})
}

// TakeOverSaved implements handover.Taking.
func (d *door) TakeOverSaved(ctx context.Context, table globaltable.TableID, from repair.Giver, version globaltable.Version, purge hlc.Timestamp, parts []repair.Record) error {
	if len(parts) == 0 {
		return nil
	}
	return d.await(ctx, fmt.Sprintf("take over saved %x", parts[0].Key), func(done func(error)) {
		if d.placingDies() {
			return
		}
		at := recordsAt(table, parts)
		for i := range at {
			d.hears(table, at[i].Bytes)
		}
		d.replays = true
		d.manual.TakeOverSaved(from.Origin, from.Incarnation, version, purge, at, func(r commit.ReplayResult, err error) {
			if err == nil && d.up {
				d.tell("%s takes over what %s had saved of %s: %d writes are known, %d logged again, %d listed", d.name(), d.world.region(from.Origin).name(), d.whatOf(table), r.Known, r.Logged, r.Kept)
				d.cover("what was saved was taken over")
				if r.Kept > 0 {
					d.showsSaved(d.world.region(from.Origin), at)
				}
			}
			done(err)
		})
		d.work()
	})
}

// SavedParts implements handover.Saved.
func (d *door) SavedParts(table globaltable.TableID, after handover.SavedAt, f func(handover.SavedPart) (more bool)) error {
	return d.shard.SavedParts(table, after.Key, after.Upto, func(p commit.SavedPart) bool {
		return f(handover.SavedPart{Key: p.Key.Bytes, Bytes: p.Bytes, Upto: p.Upto, More: p.More, Sole: p.Sole})
	})
}

// EraseGiven implements handover.Saved.
func (d *door) EraseGiven(ctx context.Context, of globaltable.TableID, version globaltable.Version, to string, table globaltable.TableID, parts []repair.Record) (erased int, err error) {
	err = d.await(ctx, fmt.Sprintf("erase saved %x %x", uint64(table), parts[0].Key), func(done func(error)) {
		if d.placingDies() {
			return
		}
		d.manual.EraseGiven(of, version, to, recordsAt(table, parts), func(n int, err error) {
			erased = n
			done(err)
		})
		d.work()
	})
	return erased, err
}

func recordsAt(table globaltable.TableID, records []repair.Record) []commit.RecordAt {
	at := make([]commit.RecordAt, 0, len(records))
	for _, r := range records {
		at = append(at, commit.RecordAt{Key: commit.Key{Table: table, Bytes: r.Key}, Record: r.Bytes})
	}
	return at
}

// ownStreams is placing.Streams.
type ownStreams struct {
	*door
	ctx context.Context // of the life: Renew has none
}

// Renew implements placing.Streams.
func (s ownStreams) Renew(lane globaltable.LaneID) {
	_ = s.await(context.WithValue(s.ctx, taskName{}, "renew"), lane.String(), func(done func(error)) {
		s.actTail(s.outbox.Renew(lane))
		done(nil)
	})
}

// Live implements placing.Streams.
func (s ownStreams) Live(lane globaltable.LaneID) bool { return s.outbox.Live(lane) }

// RenewEvents implements placing.Streams. The simulation has no events in NATS.
func (s ownStreams) RenewEvents(globaltable.TableID) {}

// EventsLive implements placing.Streams.
func (s ownStreams) EventsLive(globaltable.TableID) bool { return true }

// Scrub implements placing.Disk.
func (d *door) Scrub(context.Context) error { return nil }

// HandOver implements handover.Peers.
func (n neighbours) HandOver(ctx context.Context, region string, o *handover.Offer) (taken hlc.Timestamp, err error) {
	c, err := n.client(region)
	if err != nil {
		return 0, err
	}
	return c.HandOver(ctx, o)
}

// Offered implements handover.Givers.
func (n neighbours) Offered(ctx context.Context, region string, o *handover.Offer) (*repair.Page, error) {
	c, err := n.client(region)
	if err != nil {
		return nil, err
	}
	return c.Offered(ctx, o)
}

var _ interface {
	placing.Store
	placing.Disk
	handover.Store
	handover.Saved
	handover.Taking
} = (*door)(nil)
