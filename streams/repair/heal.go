package repair

import (
	"context"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
)

// RepairRequest has a region take the asker's records of some buckets of a table.
type RepairRequest struct {
	Table   globaltable.TableID `json:"table"`
	Version globaltable.Version `json:"version"` // of the asker's document: both must have the same
	Buckets []int               `json:"buckets"` // at most 16
}

// healBuckets bounds the buckets of one RepairRequest, and with them the time it takes.
const healBuckets = 16

// Healed is the store that a repair writes to. A shard is one.
type Healed interface {
	// Merge merges records by the one merge, and returns when all is durable.
	Merge(ctx context.Context, table globaltable.TableID, from Giver, records []Record) error
	// RebuildDigest computes the digest of a bucket anew from its records: one that was changed behind the store's back has left it wrong.
	RebuildDigest(ctx context.Context, table globaltable.TableID, bucket int) error
}

// Repair compares, exchanges the records of the buckets that have diverged in both directions, and compares again: its report is that of the second time. Where equal writes had left other bytes, all
// replicas end with the same ones; which are right nobody knows.
func (v *Verifier) Repair(ctx context.Context, id globaltable.TableID) (*Report, error) {
	end, err := v.turn.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	before, err := v.verify(ctx, id)
	if err != nil {
		return nil, err
	}
	t, _, err := v.table(id)
	if err != nil {
		return nil, err
	}
	if err := v.heal(ctx, t, before); err != nil {
		return nil, err
	}
	after, err := v.verify(ctx, id)
	if err != nil {
		return nil, err
	}
	for i := range after.Replicas {
		for _, r := range before.Replicas {
			if r.Region == after.Replicas[i].Region {
				after.Replicas[i].Repaired = r.Keys
			}
		}
	}
	return after, nil
}

// heal exchanges what has diverged anywhere with all replicas that could be compared: first this one takes what each has, then each takes what this one has by then.
func (v *Verifier) heal(ctx context.Context, t *globaltable.Table, before *Report) error {
	var buckets []int
	for i := range before.Replicas {
		buckets = append(buckets, before.Replicas[i].buckets...)
	}
	slices.Sort(buckets)
	buckets = slices.Compact(buckets)
	for _, take := range []bool{true, false} {
		for i := range before.Replicas {
			r := &before.Replicas[i]
			if r.State == NotCompared {
				continue
			}
			for page := range slices.Chunk(buckets, healBuckets) {
				var err error
				if take {
					err = v.takeAll(ctx, t, r.Region, page)
				} else {
					err = v.peers.Repair(ctx, r.Region, &RepairRequest{Table: t.ID, Version: t.Version, Buckets: page})
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// HandleRepair takes the asker's records of the buckets named.
func (v *Verifier) HandleRepair(ctx context.Context, asker globaltable.Descriptor, r *RepairRequest) error {
	if len(r.Buckets) > healBuckets {
		return &globaltable.Error{Op: "answer repair", Kind: globaltable.Invalid, Message: "too many buckets at once"}
	}
	t, _, err := v.table(r.Table)
	if err != nil {
		return err
	}
	if t.Version != r.Version {
		return &globaltable.Error{Op: "answer repair", Resource: r.Table.String(), Kind: globaltable.Unavailable,
			Message: "region " + v.server.catalog.View().Self().Name + " has another version of the table's document"}
	}
	if slices.ContainsFunc(r.Buckets, func(b int) bool { return b < 0 || b >= Buckets }) {
		return &globaltable.Error{Op: "answer repair", Kind: globaltable.Invalid, Message: "a bucket that cannot be"}
	}
	return v.takeAll(ctx, t, asker.Name, r.Buckets)
}

func (v *Verifier) takeAll(ctx context.Context, t *globaltable.Table, region string, buckets []int) error {
	for _, b := range buckets {
		if err := v.take(ctx, t, region, b); err != nil {
			return err
		}
	}
	return nil
}

// take merges a region's records of one bucket.
func (v *Verifier) take(ctx context.Context, t *globaltable.Table, region string, b int) error {
	// Before the merge: it takes what a record was out of the digest, which must have been in it.
	if err := v.store.RebuildDigest(ctx, t.ID, b); err != nil {
		return err
	}
	giver, known := v.server.catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: "repair", Resource: region, Kind: globaltable.Denied, Message: "the region is not known"}
	}
	r := &Request{Table: t.ID, Since: t.Version, After: bucketBound(b), Before: bucketBound(b + 1), MaxBytes: 1 << 20}
	for {
		p, err := v.peers.Exchange(ctx, region, r)
		if err != nil {
			return err
		}
		if err := v.store.Merge(ctx, t.ID, Giver{giver.Origin, p.Incarnation}, p.Records); err != nil || p.Done {
			return err
		}
		r.After = p.upTo()
	}
}
