package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/streams/peer"
	"github.com/concordat-db/concordat/streams/repair"
)

// door is the way of tasks into one life's shard: controlplane.Door, repair.Store and repair.Source. What must not happen in their goroutines the simulation does for them.
type door struct {
	*region
	shard  *commit.Shard
	manual *commit.Manual
}

// Write implements controlplane.Door.
func (d *door) Write(ctx context.Context, w *commit.Write) error {
	return d.await(ctx, fmt.Sprintf("write %x", w.Keys), func(done func(error)) {
		d.manual.Write(w, done)
		d.work()
	})
}

// Get implements controlplane.Door.
func (d *door) Get(ctx context.Context, key commit.Key, f func(commit.Current) error) error {
	return d.read(ctx, fmt.Sprintf("get %x", key), func() error { return d.shard.Get(context.Background(), key, f) })
}

// Records implements repair.Source.
func (d *door) Records(ctx context.Context, table globaltable.TableID, from, to item.Key, f func(key item.Key, record []byte) (more bool)) error {
	return d.read(ctx, fmt.Sprintf("records %x %x", uint64(table), from), func() error {
		return d.shard.Records(context.Background(), table, from, to, f)
	})
}

// read reads what is applied, after making it durable: the shard would wait for that, and the simulation is who syncs.
func (d *door) read(ctx context.Context, what string, read func() error) error {
	return d.await(ctx, what, func(done func(error)) {
		d.flush()
		if d.up {
			done(read())
		}
	})
}

// MergeFrom implements controlplane.Door.
func (d *door) MergeFrom(ctx context.Context, origin hlc.Origin, incarnation globaltable.Incarnation, records []commit.RecordAt) error {
	if len(records) == 0 {
		return nil
	}
	return d.await(ctx, fmt.Sprintf("merge %x", records[0].Key), func(done func(error)) {
		for i := range records {
			d.hears(records[i].Table, records[i].Bytes)
		}
		d.manual.MergeFrom(origin, incarnation, records, func(err error) {
			if err == nil && d.up {
				d.exchanged(records)
			}
			done(err)
		})
		d.work()
	})
}

// Merge implements repair.Store.
func (d *door) Merge(ctx context.Context, table globaltable.TableID, from repair.Giver, records []repair.Record) error {
	at := make([]commit.RecordAt, 0, len(records))
	for _, r := range records {
		at = append(at, commit.RecordAt{Key: commit.Key{Table: table, Bytes: r.Key}, Record: r.Bytes})
	}
	return d.MergeFrom(ctx, from.Origin, from.Incarnation, at)
}

// TakePurge implements repair.Store.
func (d *door) TakePurge(ctx context.Context, table globaltable.TableID, purge hlc.Timestamp) error {
	if purge <= d.shard.Purge(table) {
		return nil
	}
	return d.await(ctx, fmt.Sprintf("purge %x", uint64(table)), func(done func(error)) {
		d.manual.TakePurge(table, purge, done)
		d.work()
	})
}

// Purge implements repair.Source.
func (d *door) Purge(table globaltable.TableID) hlc.Timestamp { return d.shard.Purge(table) }

// Now implements repair.Source.
func (d *door) Now() hlc.Timestamp { return d.shard.Now() }

// SetJoin implements repair.Store.
func (d *door) SetJoin(ctx context.Context, table globaltable.TableID, source hlc.Origin, state []byte) error {
	return d.await(ctx, fmt.Sprintf("join %x %d", uint64(table), source), func(done func(error)) {
		if d.chance(d.plan.crashJoin) {
			d.crashAny(source)
		}
		if d.dies() {
			return
		}
		d.manual.SetJoin(table, source, state, done)
		d.work()
	})
}

// crashAny crashes this region, or the source of the page that it has just got.
func (d *door) crashAny(source hlc.Origin) {
	r := d.region
	if o := d.world.region(source); o.up && d.rng.IntN(2) == 0 {
		r = o
	}
	r.crash()
}

// Join implements repair.Store.
func (d *door) Join(table globaltable.TableID, source hlc.Origin) ([]byte, error) {
	return d.shard.Join(table, source)
}

// Returns implements controlplane.Door.
func (d *door) Returns() bool { return d.shard.Returns() }

// DropTable implements controlplane.Door.
func (d *door) DropTable(ctx context.Context, table globaltable.TableID) error {
	return d.await(ctx, fmt.Sprintf("drop %x", uint64(table)), func(done func(error)) {
		if d.dies() {
			return
		}
		d.manual.DropTable(table, func(err error) {
			if err == nil {
				d.tell("%s drops its data of table %s", d.name(), d.tableName(table))
				d.cover("a table was dropped")
				d.forgiveTable(table)
			}
			done(err)
		})
		d.work()
	})
}

// Heads implements controlplane.Door.
func (d *door) Heads(ctx context.Context) (heads commit.Heads, err error) {
	err = d.await(ctx, "heads", func(done func(error)) {
		d.manual.Heads(func(h commit.Heads, err error) {
			heads = h
			done(err)
		})
		d.work()
	})
	return heads, err
}

// Count implements controlplane.Door and repair.Source.
func (d *door) Count(table globaltable.TableID) (items, bytes int64, err error) {
	return d.shard.Count(table)
}

// Confirmations implements controlplane.Door.
func (d *door) Confirmations() []commit.Confirmation { return d.shard.Confirmations() }

// Mirror implements controlplane.Door.
func (d *door) Mirror(table globaltable.TableID) (commit.MirrorStatus, bool) {
	return d.shard.Mirror(table)
}

// ChangeRebuild implements membership.Store.
func (d *door) ChangeRebuild(ctx context.Context, change func(commit.Rebuild) commit.Rebuild) (state commit.Rebuild, err error) {
	err = d.await(ctx, "rebuild", func(done func(error)) {
		if d.dies() {
			return
		}
		d.manual.ChangeRebuild(change, func(s commit.Rebuild, err error) {
			state = s
			done(err)
		})
		d.work()
	})
	return state, err
}

// Saved implements membership.Saved.
func (d *door) Saved(table globaltable.TableID, after commit.Key, f func(commit.SavedRecord) bool) error {
	return d.shard.Saved(table, after, f)
}

// RegainPurge implements membership.Saved.
func (d *door) RegainPurge(ctx context.Context, table globaltable.TableID) error {
	return d.await(ctx, fmt.Sprintf("regain purge %x", uint64(table)), func(done func(error)) {
		if d.dies() {
			return
		}
		before := d.shard.Purge(table)
		d.manual.RegainPurge(table, func(err error) {
			if d.up && d.shard.Purge(table) > before {
				d.cover("a purge frontier was regained")
			}
			done(err)
		})
		d.work()
	})
}

// Replay implements membership.Saved.
func (d *door) Replay(ctx context.Context, records []commit.SavedRecord, purge hlc.Timestamp, alone bool) (result commit.ReplayResult, err error) {
	err = d.await(ctx, fmt.Sprintf("replay %x", records[0].Key), func(done func(error)) {
		if d.dies() {
			return
		}
		for i := range records {
			d.hears(records[i].Table, records[i].Bytes)
		}
		d.manual.Replay(records, purge, alone, func(r commit.ReplayResult, err error) {
			result = r
			done(err)
		})
		d.work()
	})
	return result, err
}

// Incarnation implements repair.Source.
func (d *door) Incarnation() globaltable.Incarnation { return d.shard.Incarnation() }

// neighbours are the other regions as tasks ask them: controlplane.Peers and repair.Peers.
type neighbours struct{ *region }

func (n neighbours) client(name string) (peer.Client, error) {
	for _, o := range n.regions {
		if identities()[o.origin].descriptor.Name == name {
			return peer.NewClient(taskLink{n.region, o}), nil
		}
	}
	return peer.Client{}, &globaltable.Error{Op: "ask peer", Resource: name, Kind: globaltable.Unavailable}
}

// Ask implements controlplane.Peers.
func (n neighbours) Ask(ctx context.Context, name string, request []byte) ([]byte, error) {
	c, err := n.client(name)
	if err != nil {
		return nil, err
	}
	return c.Control(ctx, request)
}

// Exchange implements repair.Peers.
func (n neighbours) Exchange(ctx context.Context, name string, r *repair.Request) (*repair.Page, error) {
	c, err := n.client(name)
	if err != nil {
		return nil, err
	}
	return c.Exchange(ctx, r)
}

// wall is the region's own clock.
func (r *region) wall() time.Time { return time.UnixMilli(r.physical()) }
