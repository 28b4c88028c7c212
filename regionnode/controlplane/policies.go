package controlplane

import (
	"context"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
)

// policiesRequest asks the owner of a table to change its policies.
type policiesRequest struct {
	Table  string               `json:"table"`
	Change catalog.PolicyChange `json:"change"`
}

// historyRequest asks for the versions of a table's policies with greater sequences than After, in order.
type historyRequest struct {
	Table string `json:"table"`
	After uint64 `json:"after"`
}

// ChangePolicies changes the policies of the table that has the name here. When another region owns it, that one is asked. A change that is made already changes nothing. What it demands of the regions they carry out
// after it: see globaltable.Replica.Placing.
func (p *Plane) ChangePolicies(ctx context.Context, name string, change catalog.PolicyChange) (*globaltable.Table, error) {
	const op = "change policies"
	t, err := p.changeable(op, name)
	if err != nil {
		return nil, err
	}
	change.Region = p.self.Name
	if t.Owner != p.self.Origin {
		return p.forward(ctx, op, t, &request{Policies: &policiesRequest{t.ID.String(), change}})
	}
	return p.changePolicies(ctx, t.ID, &change)
}

// changePolicies is ChangePolicies in the owner's region, asked for in the region that the change names.
func (p *Plane) changePolicies(ctx context.Context, id globaltable.TableID, change *catalog.PolicyChange) (*globaltable.Table, error) {
	change.At, change.Secret = p.cfg.Now().UnixMilli(), p.newSecret()
	return p.issueWith(ctx, cause{op: "change policies", asked: change.Region, author: change.Author, reason: change.Reason}, id, func(t *globaltable.Table, epoch uint32) (*globaltable.Table, []systemItem, error) {
		v := p.cfg.Catalog.View()
		next, versions, err := catalog.ChangePolicies(t, v.Policies(id), change, epoch, v.ActiveRegion)
		beside := make([]systemItem, len(versions))
		for i := range versions {
			beside[i] = systemItem{catalog.PolicyKey(versions[i].Table, versions[i].Sequence), catalog.EncodePolicy(&versions[i])}
		}
		return next, beside, err
	})
}

func (p *Plane) answerPolicies(ctx context.Context, r *policiesRequest, from globaltable.Descriptor) (*answer, error) {
	id, err := p.asked(r.Table, from)
	if err != nil {
		return nil, err
	}
	r.Change.Region = from.Name
	return tableAnswer(p.changePolicies(ctx, id, &r.Change))
}

func (p *Plane) answerHistory(ctx context.Context, r *historyRequest) (*answer, error) {
	id, err := globaltable.ParseTableID(r.Table)
	if err != nil {
		return nil, err
	}
	a, size := new(answer), 0
	for _, v := range p.cfg.Catalog.View().Policies(id) {
		switch {
		case v.Sequence <= r.After:
			continue
		case size >= maxDocumentBytes:
			a.More = true
			return a, nil
		}
		if a.History, err = p.appendItem(ctx, a.History, catalog.PolicyKey(id, v.Sequence), &size); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// historyOf is the versions of a table's policies after the newest that this region has, or all of them.
func (p *Plane) historyOf(id globaltable.TableID, all bool) pages {
	after := p.cfg.Catalog.View().NewestPolicy(id)
	if all {
		after = 0
	}
	return pages{
		op:    "fetch policies",
		after: after,
		ask:   func(after uint64) *request { return &request{History: &historyRequest{id.String(), after}} },
		of:    func(a *answer) [][]byte { return a.History },
		check: func(it item.Item, record *conflict.Record) (uint64, item.Key, error) {
			v, err := catalog.DecodePolicy(it)
			if err != nil {
				return 0, nil, err
			}
			if v.Table != id || record.Reset.Stamp.Origin != v.By { // it says who made it: that region alone has written it
				return 0, nil, errAnswer
			}
			return v.Sequence, catalog.PolicyKey(id, v.Sequence), nil
		},
	}
}
