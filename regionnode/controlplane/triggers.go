package controlplane

import (
	"context"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// triggersRequest asks the owner of a table to change its triggers.
type triggersRequest struct {
	Table  string                `json:"table"`
	Change catalog.TriggerChange `json:"change"`
}

const opTriggers = "change triggers"

// ChangeTriggers changes the triggers of the table that has the name here, and returns its document. When another region owns it, that one is asked. What is as it is to be makes no version.
func (p *Plane) ChangeTriggers(ctx context.Context, name string, change catalog.TriggerChange) (*globaltable.Table, error) {
	t, err := p.changeable(opTriggers, name)
	if err != nil {
		return nil, err
	}
	change.Region = p.self.Name
	if t.Owner != p.self.Origin {
		return p.forward(ctx, opTriggers, t, &request{Triggers: &triggersRequest{t.ID.String(), change}})
	}
	return p.changeTriggers(ctx, t.ID, &change)
}

// PlanTriggers returns the document of the table that has the name here, and what it would be after a change; the two are the same if there is nothing to do. It refuses what the owner would refuse.
func (p *Plane) PlanTriggers(name string, change catalog.TriggerChange) (before, after *globaltable.Table, err error) {
	t, err := p.changeable(opTriggers, name)
	if err != nil {
		return nil, nil, err
	}
	change.Region, change.At = p.self.Name, p.cfg.Now().UnixMilli()
	next, err := catalog.ChangeTriggers(t, &change, t.Version.Epoch())
	if next == nil {
		next = t
	}
	return t, next, err
}

// changeTriggers is ChangeTriggers in the owner's region, asked for in the region that the change names.
func (p *Plane) changeTriggers(ctx context.Context, id globaltable.TableID, change *catalog.TriggerChange) (*globaltable.Table, error) {
	change.At = p.cfg.Now().UnixMilli()
	return p.issue(ctx, cause{op: opOf(change), asked: change.Region, author: change.Author, reason: change.Reason}, id, func(t *globaltable.Table, epoch uint32) (*globaltable.Table, error) {
		return catalog.ChangeTriggers(t, change, epoch)
	})
}

// opOf returns what the audit log says was asked for.
func opOf(c *catalog.TriggerChange) string {
	for _, one := range []struct {
		op string
		n  int
	}{{"apply triggers", len(c.Set)}, {"delete trigger", len(c.Delete)}, {"pause trigger", len(c.Pause)}, {"resume trigger", len(c.Resume)}, {"replay trigger", len(c.Replay)}} {
		if one.n > 0 && one.n == len(c.Names()) {
			return one.op
		}
	}
	return opTriggers
}

func (p *Plane) answerTriggers(ctx context.Context, r *triggersRequest, from globaltable.Descriptor) (*answer, error) {
	id, err := p.asked(r.Table, from)
	if err != nil {
		return nil, err
	}
	r.Change.Region = from.Name
	return tableAnswer(p.changeTriggers(ctx, id, &r.Change))
}
