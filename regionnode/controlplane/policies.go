package controlplane

import (
	"bytes"
	"context"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/policy"
	"github.com/concordat-db/concordat/regionnode/commit"
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
	change.At = p.cfg.Now().UnixMilli()
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
		err := p.cfg.Door.Get(ctx, commit.Key{Table: globaltable.SystemTable, Bytes: catalog.PolicyKey(id, v.Sequence)}, func(c commit.Current) error {
			if c.Record != nil {
				a.History = append(a.History, bytes.Clone(c.Record))
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

// fetchHistory gets the versions of a table's policies that this region does not have, and merges them.
func (p *Plane) fetchHistory(ctx context.Context, region string, id globaltable.TableID) error {
	from, known := p.cfg.Catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: "fetch policies", Resource: region, Kind: globaltable.Denied, Message: "the region is not known"}
	}
	after := p.cfg.Catalog.View().NewestPolicy(id)
	for more := true; more; {
		a, err := p.ask(ctx, region, &request{History: &historyRequest{id.String(), after}})
		if err != nil {
			return err
		}
		records := make([]commit.RecordAt, 0, len(a.History))
		for _, record := range a.History {
			v, err := checkPolicy(record, id)
			if err != nil {
				return err
			}
			if v.Sequence <= after {
				return errAnswer
			}
			after = v.Sequence
			records = append(records, commit.RecordAt{Key: commit.Key{Table: globaltable.SystemTable, Bytes: catalog.PolicyKey(id, v.Sequence)}, Record: record})
		}
		if more = a.More; more && len(records) == 0 {
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

// checkPolicy makes sure that a record that came from a peer is a version of a policy of the table, written by who says that it made it.
func checkPolicy(record []byte, id globaltable.TableID) (*policy.Version, error) {
	if err := conflict.CheckRecord(record); err != nil {
		return nil, err
	}
	r, err := conflict.DecodeRecord(record)
	if err != nil {
		return nil, err
	}
	it, live, err := conflict.ItemOf(record, nil)
	if err != nil {
		return nil, err
	}
	if !live {
		return nil, errAnswer
	}
	v, err := catalog.DecodePolicy(it)
	if err != nil {
		return nil, err
	}
	if v.Table != id || r.Reset.Stamp.Origin != v.By {
		return nil, errAnswer
	}
	return v, nil
}
