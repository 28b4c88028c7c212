package regionnode

import (
	"context"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/controlplane"
)

// Tables implements admin.Tables.
func (n *Node) Tables(ctx context.Context) (admin.TableList, error) {
	tables, err := n.tables(ctx)
	return admin.TableList{Region: n.cfg.Region.Name, Tables: tables}, err
}

// tables returns those that this region has a replica of, by name, with what it knows itself.
func (n *Node) tables(ctx context.Context) (out []admin.Table, err error) {
	out = []admin.Table{}
	n.catalog.View().Tables(func(t *globaltable.Table) bool {
		here := t.Replica(n.cfg.Region.Origin)
		if here == nil || t.Deleted || here.Disassociated() || n.catalog.View().Awaits(t, n.cfg.Region.Origin) {
			return true // what a replica becomes, or was, is not a second table of its name
		}
		var row admin.Table
		row, err = n.tableStatus(ctx, n.plane.Known(t))
		out = append(out, row)
		return err == nil
	})
	slices.SortFunc(out, func(a, b admin.Table) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// Table implements admin.Tables.
func (n *Node) Table(ctx context.Context, name string) (admin.Table, error) {
	i, err := n.plane.Inspect(ctx, name)
	if err != nil {
		return admin.Table{}, err
	}
	return n.tableStatus(ctx, i)
}

// ChangeTable implements admin.Tables. The table's owner is asked if that is another region.
func (n *Node) ChangeTable(ctx context.Context, name string, change catalog.Change) (admin.Table, error) {
	t, err := n.plane.UpdateTable(ctx, name, change)
	if err != nil {
		return admin.Table{}, err
	}
	return n.tableStatus(ctx, controlplane.Inspection{Table: t})
}

// Document returns the document, as this region knows it, of the table that has the name here. The caller must not change it.
func (n *Node) Document(name string) (t *globaltable.Table, ok bool) {
	return n.catalog.View().Lookup(name)
}

// Receipts returns the receipts of carrying out locality policies of the table that has the name here, of all regions, the newest version first.
func (n *Node) Receipts(name string) []catalog.Receipt {
	view := n.catalog.View()
	t, ok := view.Lookup(name)
	if !ok {
		return nil
	}
	return view.Receipts(t.ID)
}
