package controlplane

import (
	"bytes"
	"context"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// receiptsRequest asks for receipts of a table that are of versions after the one given, in order.
type receiptsRequest struct {
	Table string              `json:"table"`
	After globaltable.Version `json:"after"`
}

// answerReceipts answers with whole versions: as many as fit.
func (p *Plane) answerReceipts(ctx context.Context, r *receiptsRequest) (*answer, error) {
	id, err := globaltable.ParseTableID(r.Table)
	if err != nil {
		return nil, err
	}
	list := p.cfg.Catalog.View().Receipts(id)
	slices.Reverse(list) // the oldest first
	a, size := new(answer), 0
	for i := range list {
		one := &list[i].Receipt
		if one.Version <= r.After {
			continue
		}
		if size >= maxDocumentBytes && one.Version != list[i-1].Version {
			a.More = true
			return a, nil
		}
		err := p.cfg.Door.Get(ctx, commit.Key{Table: globaltable.SystemTable, Bytes: catalog.ReceiptKey(one)}, func(c commit.Current) error {
			if c.Record != nil {
				a.Receipts = append(a.Receipts, bytes.Clone(c.Record))
				size += len(c.Record)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// fetchReceipts gets a table's receipts and merges them.
func (p *Plane) fetchReceipts(ctx context.Context, region string, id globaltable.TableID) error {
	from, known := p.cfg.Catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: "fetch receipts", Resource: region, Kind: globaltable.Denied, Message: "the region is not known"}
	}
	after := globaltable.Version(0)
	for more := true; more; {
		a, err := p.ask(ctx, region, &request{Receipts: &receiptsRequest{id.String(), after}})
		if err != nil {
			return err
		}
		records, newest := make([]commit.RecordAt, 0, len(a.Receipts)), after
		for _, record := range a.Receipts {
			r, err := checkReceipt(record, id)
			if err != nil {
				return err
			}
			if r.Version <= after {
				return errAnswer
			}
			newest = max(newest, r.Version)
			records = append(records, commit.RecordAt{Key: commit.Key{Table: globaltable.SystemTable, Bytes: catalog.ReceiptKey(&r.Receipt)}, Record: record})
		}
		if more = a.More; more && len(records) == 0 {
			return errAnswer
		}
		if after = newest; len(records) == 0 {
			return nil
		}
		if err := p.cfg.Door.MergeFrom(ctx, from.Origin, 0, records); err != nil {
			return err
		}
	}
	return nil
}

// checkReceipt makes sure that a record that came from a peer is a receipt of the table. Whether its signature is right is for whoever audits.
func checkReceipt(record []byte, id globaltable.TableID) (*catalog.Receipt, error) {
	if err := conflict.CheckRecord(record); err != nil {
		return nil, err
	}
	it, live, err := conflict.ItemOf(record, nil)
	if err != nil {
		return nil, err
	}
	if !live {
		return nil, errAnswer
	}
	r, err := catalog.DecodeReceipt(it)
	if err != nil {
		return nil, err
	}
	if r.Table != id {
		return nil, errAnswer
	}
	return r, nil
}
