package dynamodb

import (
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/globaltable/locality"
	"github.com/concordat-db/concordat/streams/confirm"
)

// ask notes that the writes to table wait for peers, and refuses one of the item at key, before anything is written, if that cannot come to a good end.
func (w *writes) ask(table *globaltable.Table, key item.Key) error {
	known := slices.Contains(w.asking, table)
	if known && len(table.Pins) == 0 {
		return nil
	}
	serving := table.ServingPeers(w.door.server.config.Origin)
	if n := len(serving); n < table.AcknowledgePeers {
		return invalidf("Table %s wants its writes acknowledged by %d of the other regions, and has %d active replicas there. Nothing was done; add a replica, or change the tag %s",
			table.Name, table.AcknowledgePeers, n, globaltable.AcknowledgeTag)
	}
	if pin, _ := locality.PinOf(table, key); pin != nil {
		if n := len(among(serving, locality.PlaceOf(table, pin))); n < table.AcknowledgePeers {
			return invalidf("Table %s wants its writes acknowledged by %d of the other regions, and locality policy %s lets the item be in %d of them. Nothing was done; change the policy, or the tag %s",
				table.Name, table.AcknowledgePeers, pin.Name, n, globaltable.AcknowledgeTag)
		}
	}
	if known {
		return nil
	}
	if err := w.door.server.config.Confirm.Ready(); err != nil {
		return err
	}
	w.asking = append(w.asking, table)
	return nil
}

// among returns those regions that are in p.
func among(regions, p globaltable.Placement) globaltable.Placement {
	return slices.DeleteFunc(regions.Peers(0), func(o hlc.Origin) bool { return !p.Has(o) })
}

// need notes what the newest commit waits for: of the regions that each item is in. The table's document is the one that the request was checked under: a change of the setting that comes meanwhile may count
// before it or after it.
func (w *writes) need() {
	for _, l := range w.write.Logged {
		for _, t := range w.asking {
			if t.ID == l.Table {
				w.needs = append(w.needs, confirm.Need{Lane: l.Lane, Seq: l.Seq, Peers: among(t.ServingPeers(w.door.server.config.Origin), l.Placement), Count: t.AcknowledgePeers})
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
	return w.door.server.config.Confirm.Wait(w.door.server.base, w.needs)
}
