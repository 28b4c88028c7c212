package controlplane

import (
	"bytes"
	"context"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// pages asks for items of the system table that lie beside documents, in the order of a number that each of them has: as many in one answer as fit.
type pages struct {
	op    string                                                                               // of errors
	after uint64                                                                               // what is known already
	ask   func(after uint64) *request                                                          // for those with greater numbers
	of    func(*answer) [][]byte                                                               // their records in an answer
	check func(it item.Item, record *conflict.Record) (number uint64, key item.Key, err error) // what a record is; an error when it is none of them
}

// fetchItems gets what a region has and this one does not, and merges it.
func (p *Plane) fetchItems(ctx context.Context, region string, want pages) error {
	from, known := p.cfg.Catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: want.op, Resource: region, Kind: globaltable.Denied, Message: "the region is not known"}
	}
	after := want.after
	for more := true; more; {
		a, err := p.ask(ctx, region, want.ask(after))
		if err != nil {
			return err
		}
		newest := after
		records := make([]commit.RecordAt, 0, len(want.of(a)))
		for _, record := range want.of(a) {
			number, key, err := want.checkRecord(record)
			if err != nil {
				return err
			}
			if number <= after {
				return errAnswer
			}
			newest = max(newest, number)
			records = append(records, commit.RecordAt{Key: commit.Key{Table: globaltable.SystemTable, Bytes: key}, Record: record})
		}
		if more, after = a.More, newest; more && len(records) == 0 {
			return errAnswer
		}
		if len(records) == 0 {
			return nil
		}
		if err := p.cfg.Door.MergeFrom(ctx, from.Origin, 0, records); err != nil {
			return err
		}
	}
	return nil
}

// checkRecord makes sure that what came from a peer is the record of an item.
func (want *pages) checkRecord(record []byte) (number uint64, key item.Key, err error) {
	if err := conflict.CheckRecord(record); err != nil {
		return 0, nil, err
	}
	r, err := conflict.DecodeRecord(record)
	if err != nil {
		return 0, nil, err
	}
	it, live, err := conflict.ItemOf(record, nil)
	if err != nil {
		return 0, nil, err
	}
	if !live {
		return 0, nil, errAnswer
	}
	return want.check(it, &r)
}

// appendItem appends the record of an item of the system table, if there is one, and adds its length to size.
func (p *Plane) appendItem(ctx context.Context, to [][]byte, key item.Key, size *int) (out [][]byte, err error) {
	err = p.cfg.Door.Get(ctx, commit.Key{Table: globaltable.SystemTable, Bytes: key}, func(c commit.Current) error {
		if c.Record != nil {
			to = append(to, bytes.Clone(c.Record))
			*size += len(c.Record)
		}
		return nil
	})
	return to, err
}
