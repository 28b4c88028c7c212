package regionnode

import (
	"context"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
)

// UpdateTable changes the table that has the name here, everywhere. Its owner is asked if that is another region.
func (n *Node) UpdateTable(ctx context.Context, name string, change catalog.Change) (*globaltable.Table, error) {
	return n.plane.UpdateTable(ctx, name, change)
}
