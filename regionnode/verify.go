package regionnode

import (
	"cmp"
	"context"
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/repair"
)

// Verify compares the table that has the name here with its other replicas; all tables for an empty name.
func (n *Node) Verify(ctx context.Context, table string) (admin.Verification, error) {
	return n.compare(ctx, table, n.verify.Verify)
}

// repairTables exchanges what has diverged, and compares again.
func (n *Node) repairTables(ctx context.Context, table string) (admin.Verification, error) {
	return n.compare(ctx, table, n.verify.Repair)
}

func (n *Node) compare(ctx context.Context, table string, one func(context.Context, globaltable.TableID) (*repair.Report, error)) (admin.Verification, error) {
	out := admin.Verification{Region: n.cfg.Region.Name, State: repair.Converged, Tables: []repair.Report{}}
	tables, err := n.activeTables(table)
	if err != nil {
		return out, err
	}
	for _, t := range tables {
		report, err := one(ctx, t.ID)
		if err != nil {
			return out, err
		}
		out.Tables = append(out.Tables, *report)
		out.State = repair.Worse(out.State, report.State)
	}
	return out, nil
}

// activeTables returns the tables that have an active replica here, by name; only the one named, if one is.
func (n *Node) activeTables(name string) ([]*globaltable.Table, error) {
	var out []*globaltable.Table
	view := n.catalog.View()
	view.Tables(func(t *globaltable.Table) bool {
		named, ok := view.Lookup(t.Name)
		status := t.StatusIn(n.cfg.Region.Origin)
		if ok && named.ID == t.ID && (name == "" || t.Name == name) && (status == globaltable.Active || status == globaltable.Updating) {
			out = append(out, t)
		}
		return true
	})
	if name != "" && len(out) == 0 {
		return nil, &globaltable.Error{Op: "verify", Resource: name, Kind: globaltable.NotFound, Message: "this region has no active replica of a table named " + name}
	}
	slices.SortFunc(out, func(a, b *globaltable.Table) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
