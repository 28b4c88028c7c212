package controlplane

import (
	"context"
	"fmt"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// inspectRequest asks the owner of a table for all that it knows of its replicas.
type inspectRequest struct {
	Table string `json:"table"`
}

// Inspection is a table with all that is known of its replicas.
type Inspection struct {
	Table   *globaltable.Table // shared: not to be changed; replicas on their way in or out have a description of what they wait for
	Percent map[string]int     // by region, of replicas that are being created, or become tables of their own: how much of the table they, or those, have got
}

// Inspect returns the table that has the name here. Of replicas on their way in or out the owner knows most, so it is asked; when it is out of reach, they say so, beside what this region
// knows itself.
func (p *Plane) Inspect(ctx context.Context, name string) (Inspection, error) {
	t, ok := p.cfg.Catalog.View().Lookup(name)
	if !ok {
		return Inspection{}, catalog.NotFound("inspect table", name)
	}
	own := p.Known(t)
	if t.Owner == p.self.Origin || t.Settled() {
		return own, nil
	}
	owner := fmt.Sprintf("region number %d", t.Owner)
	d, known := p.cfg.Catalog.View().RegionOf(t.Owner)
	if known {
		owner = d.Name
		a, err := p.ask(ctx, d.Name, &request{Inspect: &inspectRequest{t.ID.String()}})
		if err == nil {
			if told, err := globaltable.DecodeTable([]byte(a.Table)); err == nil && told.ID == t.ID {
				return Inspection{told, a.Percent}, nil
			}
		}
	}
	own.Table = own.Table.Clone()
	for i := range own.Table.Replicas {
		if r := &own.Table.Replicas[i]; catalog.Unfinished(r) {
			r.StatusDescription = "Cannot reach " + owner + ", which owns the table."
		}
	}
	return own, nil
}

// Known is Inspect with what this region knows itself.
func (p *Plane) Known(t *globaltable.Table) Inspection {
	out := Inspection{p.Describe(t), map[string]int{}}
	for i := range t.Replicas {
		if percent, ok := p.ReplicaProgress(t.ID, t.Replicas[i].Origin); ok {
			out.Percent[t.Replicas[i].Region] = percent
		}
	}
	return out
}

func (p *Plane) answerInspect(r *inspectRequest, from globaltable.Descriptor) (*answer, error) {
	id, err := p.asked(r.Table, from)
	if err != nil {
		return nil, err
	}
	t, _ := p.cfg.Catalog.View().Table(id) // asked found it
	i := p.Known(t)
	return &answer{Table: string(globaltable.EncodeTable(i.Table)), Percent: i.Percent}, nil
}
