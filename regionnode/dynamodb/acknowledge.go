package dynamodb

import (
	"slices"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/confirm"
)

// ask notes that the writes to table wait for peers, and refuses them, before anything is written, if that cannot come to a good end.
func (w *writes) ask(table *globaltable.Table) error {
	if slices.Contains(w.asking, table) {
		return nil
	}
	if n := len(table.ServingPeers(w.server.config.Origin)); n < table.AcknowledgePeers {
		return invalidf("Table %s wants its writes acknowledged by %d of the other regions, and has %d active replicas there. Nothing was done; add a replica, or change the tag %s",
			table.Name, table.AcknowledgePeers, n, globaltable.AcknowledgeTag)
	}
	if err := w.server.config.Confirm.Ready(); err != nil {
		return err
	}
	w.asking = append(w.asking, table)
	return nil
}

// need notes what the newest commit waits for. The table's document is the one that the request was checked under: a change of the setting that comes meanwhile may count
// before it or after it.
func (w *writes) need() {
	for _, l := range w.write.Logged {
		for _, t := range w.asking {
			if t.ID == l.Table {
				w.needs = append(w.needs, confirm.Need{Lane: l.Lane, Seq: l.Seq, Peers: t.ServingPeers(w.server.config.Origin), Count: t.AcknowledgePeers})
			}
		}
	}
}

// acknowledged returns when all that the request has written is confirmed as its tables ask. Nothing else waits: not a read, nor a condition that failed, nor a write
// without effect. They show what is durable in this region, which may be what another request still waits for.
func (w *writes) acknowledged() error {
	if len(w.needs) == 0 {
		return nil
	}
	return w.server.config.Confirm.Wait(w.server.base, w.needs)
}
