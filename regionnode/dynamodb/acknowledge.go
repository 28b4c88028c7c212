package dynamodb

import (
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/confirm"
)

// ask notes that the writes to table wait for peers, and refuses them, before anything is written, if that cannot come to a good end.
func (c *call) ask(table *globaltable.Table) error {
	if slices.Contains(c.asking, table) {
		return nil
	}
	if n := len(table.ServingPeers(c.server.config.Origin)); n < table.AcknowledgePeers {
		return invalidf("Table %s wants its writes acknowledged by %d of the other regions, and has %d active replicas there. Nothing was done; add a replica, or change the tag %s",
			table.Name, table.AcknowledgePeers, n, globaltable.AcknowledgeTag)
	}
	if err := c.server.config.Confirm.Ready(); err != nil {
		return err
	}
	c.asking = append(c.asking, table)
	return nil
}

// need notes what the newest commit waits for. The table's document is the one that the request was checked under: a change of the setting that comes meanwhile may count
// before it or after it.
func (c *call) need() {
	for _, l := range c.write.Logged {
		for _, t := range c.asking {
			if t.ID == l.Table {
				c.needs = append(c.needs, confirm.Need{Lane: l.Lane, Seq: l.Seq, Peers: t.ServingPeers(c.server.config.Origin), Count: t.AcknowledgePeers})
			}
		}
	}
}

// acknowledged returns when all that the request has written is confirmed as its tables ask. Nothing else waits: not a read, nor a condition that failed, nor a write
// without effect. They show what is durable in this region, which may be what another request still waits for.
func (c *call) acknowledged() error {
	if len(c.needs) == 0 {
		return nil
	}
	return c.server.config.Confirm.Wait(c.server.base, c.needs)
}
