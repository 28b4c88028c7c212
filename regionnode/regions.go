package regionnode

import (
	"context"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// Regions returns the members as this region knows them, and what the owner of the world says that it waits for.
func (n *Node) Regions(ctx context.Context) (admin.Regions, error) {
	if err := n.ready(); err != nil {
		return admin.Regions{}, err
	}
	v := n.catalog.View()
	out := admin.Regions{Region: n.cfg.Region.Name, Regions: []admin.Member{}, Pending: append([]string{}, n.plane.Pending(ctx)...)}
	if w, ok := v.World(); ok {
		out.Owner = n.regionName(w.Owner)
	}
	for _, m := range v.Members() {
		d := m.Descriptor
		out.Regions = append(out.Regions, admin.Member{Name: d.Name, Jurisdiction: d.Jurisdiction, Origin: uint16(d.Origin), State: string(m.State), Incarnation: uint64(m.Incarnation),
			NATS: append([]string{}, d.NATS...), PublicKey: d.PublicKey, Replicas: []admin.MemberReplica{}, OnlyCopies: append([]string{}, n.plane.OnlyCopies(d.Origin)...)})
	}
	v.Tables(func(t *globaltable.Table) bool {
		for _, r := range n.plane.Describe(t).Replicas {
			if m := out.Member(r.Region); m != nil {
				m.Replicas = append(m.Replicas, admin.MemberReplica{Table: t.Name, Status: string(r.Status), Detail: r.StatusDescription})
			}
		}
		return true
	})
	return out, nil
}

func (n *Node) fenceRegion(ctx context.Context, name string) error {
	return n.plane.FenceRegion(ctx, name)
}

// states returns the members' states.
func (n *Node) states() []admin.State {
	out := []admin.State{}
	for _, m := range n.catalog.View().Members() {
		out = append(out, admin.State{Region: m.Descriptor.Name, State: string(m.State)})
	}
	return out
}
