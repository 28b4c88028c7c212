package controlplane

import (
	"context"
	"errors"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// lock waits for the turn to issue.
func (p *Plane) lock(ctx context.Context, op, name string) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &globaltable.Error{Op: op, Resource: name, Kind: globaltable.Unavailable, Err: ctx.Err()}
	}
}

func (p *Plane) unlock() { <-p.turn }

// issue makes the next version of a table that this region owns: what next, pure, makes of the newest one.
func (p *Plane) issue(ctx context.Context, why cause, id globaltable.TableID,
	next func(t *globaltable.Table, epoch uint32) (*globaltable.Table, error)) (*globaltable.Table, error) {
	return p.issueWith(ctx, why, id, func(t *globaltable.Table, epoch uint32) (*globaltable.Table, []systemItem, error) {
		made, err := next(t, epoch)
		return made, nil, err
	})
}

// issueWith is issue with more items of the system table, which are written with the document. If next makes no document the newest one stays, and is returned.
func (p *Plane) issueWith(ctx context.Context, why cause, id globaltable.TableID,
	next func(t *globaltable.Table, epoch uint32) (*globaltable.Table, []systemItem, error)) (*globaltable.Table, error) {
	op := why.op
	if err := p.lock(ctx, op, id.String()); err != nil {
		return nil, err
	}
	defer p.unlock()
	t, ok := p.cfg.Catalog.View().Table(id)
	if !ok || t.Owner != p.self.Origin {
		return nil, &globaltable.Error{Op: op, Resource: id.String(), Kind: globaltable.NotFound, Message: "this region does not own the table"}
	}
	// A request that is wrong is told so, whoever is out of reach.
	if made, _, err := next(t, t.Version.Epoch()); made == nil || err != nil {
		return t, err
	}
	// A document of this start's epoch was made, or changed after hearing all, since the start: nobody can know a newer version of it.
	if regions := p.Unheard(); len(regions) > 0 && !p.ofThisStart(t.Version) {
		return nil, p.errUnheard(op, t.Name, regions)
	}
	epoch, err := p.raise(ctx, t.Version.Epoch())
	if err != nil {
		return nil, err
	}
	made, beside, err := next(t, epoch)
	if made == nil || err != nil {
		return t, err
	}
	return made, p.put(ctx, why, t, made, beside...)
}

// ofThisStart reports whether this start issued a version, of a document that this region owns. Its epoch is above that of every document the store held.
func (p *Plane) ofThisStart(v globaltable.Version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch != 0 && v.Epoch() == p.epoch
}

// put writes the document next in place of old, nil: of none, and more items with it.
func (p *Plane) put(ctx context.Context, why cause, old, next *globaltable.Table, beside ...systemItem) error {
	var was globaltable.Version
	var known hlc.Timestamp
	switch {
	case old != nil:
		was, known = old.Version, old.Expiry.Newest()
	case next.Replicas[0].Succeeds.Table != 0:
		known = next.Expiry.Newest() // in force already, in the table before it
	}
	// A change of the time to live is stamped before it comes into force: else a region could have dropped, by then, what it keeps alive.
	before := next.Expiry.Newest()
	if before == known {
		before = 0
	}
	err := p.replace(ctx, why.entry(audit.OfTable(old, next)), next.ID, was, before, catalog.EncodeDocument(next), func(it item.Item) (globaltable.Version, error) {
		t, err := catalog.DecodeDocument(it)
		if err != nil {
			return 0, err
		}
		return t.Version, nil
	}, beside...)
	if errors.Is(err, errChanged) {
		return catalog.InUse("issue document", next.Name, "updated")
	}
	if err == nil && p.cfg.Events.Issued != nil {
		p.cfg.Events.Issued(next)
	}
	return err
}

// replace writes a document in place of that of version was; 0: of none; and in the same batch more items, and what note says into the audit log. It is stamped before the moment given, if that is not zero. The error is errChanged if
// another is there.
func (p *Plane) replace(ctx context.Context, note audit.Entry, id globaltable.TableID, was globaltable.Version, before hlc.Timestamp, next item.Item, version func(item.Item) (globaltable.Version, error), beside ...systemItem) error {
	return p.noting(ctx, note, func(entry *systemItem) error {
		all := append([]systemItem{{catalog.DocumentKey(id), next}}, beside...)
		if entry != nil {
			all = append(all, *entry)
		}
		w := &commit.Write{Before: before}
		var ops [][]conflict.Op
		for i := range all {
			w.Keys = append(w.Keys, commit.Key{Table: globaltable.SystemTable, Bytes: all[i].key})
			ops = append(ops, put(all[i].item)...)
		}
		w.Plan = func(current []commit.Current) ([][]conflict.Op, error) {
			var found globaltable.Version
			if current[0].Item != nil {
				var err error
				if found, err = version(current[0].Item); err != nil {
					return nil, err
				}
			}
			if found != was {
				return nil, errChanged
			}
			return ops, nil
		}
		return p.cfg.Door.Write(ctx, w)
	})
}

// raise returns the epoch of this start, at least the one given, and gives the start one if it has none. It is called by who has the turn.
//
// The epoch is an item of the system table: it lies in the store beside the documents that carry it, written by the same door.
func (p *Plane) raise(ctx context.Context, least uint32) (uint32, error) {
	p.mu.Lock()
	epoch := p.epoch
	p.mu.Unlock()
	if epoch != 0 && epoch >= least {
		return epoch, nil
	}
	// A restored region finds in what it heard greater epochs than in its store.
	p.cfg.Catalog.View().Tables(func(t *globaltable.Table) bool {
		if t.Owner == p.self.Origin {
			least = max(least, t.Version.Epoch())
		}
		return true
	})
	err := p.cfg.Door.Write(ctx, &commit.Write{
		Keys: []commit.Key{{Table: globaltable.SystemTable, Bytes: catalog.EpochKey(p.self.Origin)}},
		Plan: func(current []commit.Current) ([][]conflict.Op, error) {
			stored, err := catalog.DecodeEpoch(current[0].Item)
			if err != nil {
				return nil, err
			}
			epoch = max(stored, least) + 1
			return put(catalog.EncodeEpoch(p.self.Origin, epoch)), nil
		},
	})
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = epoch
	return epoch, nil
}

func put(it item.Item) [][]conflict.Op { return [][]conflict.Op{conflict.RecordPut(nil, it)} }

// systemItem is an item of the system table.
type systemItem struct {
	key  item.Key
	item item.Item
}
