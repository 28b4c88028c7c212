package controlplane

import (
	"context"
	"slices"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
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
		if a.Receipts, err = p.appendItem(ctx, a.Receipts, catalog.ReceiptKey(one), &size); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// receiptsOf are the receipts of a table. Whether their signatures are right is for whoever audits.
func receiptsOf(id globaltable.TableID) pages {
	return pages{
		op: "fetch receipts",
		ask: func(after uint64) *request {
			return &request{Receipts: &receiptsRequest{id.String(), globaltable.Version(after)}}
		},
		of: func(a *answer) [][]byte { return a.Receipts },
		check: func(it item.Item, _ *conflict.Record) (uint64, item.Key, error) {
			r, err := catalog.DecodeReceipt(it)
			if err != nil {
				return 0, nil, err
			}
			if r.Table != id {
				return 0, nil, errAnswer
			}
			return uint64(r.Version), catalog.ReceiptKey(&r.Receipt), nil
		},
	}
}
