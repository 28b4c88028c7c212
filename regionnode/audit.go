package regionnode

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/regionnode/residency"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/egress"
	"github.com/concordat-db/concordat/streams/repair"
)

// ledgerStore is the shard as the ledger keeps itself in it.
type ledgerStore struct{ *commit.Shard }

// UpdateLedger implements egress.Store.
func (s ledgerStore) UpdateLedger(ctx context.Context, f func(b egress.Batch) error) error {
	return s.Shard.UpdateLedger(ctx, func(b commit.LedgerBatch) error { return f(b) })
}

// Sent implements egress.Store.
func (s ledgerStore) Sent() []egress.Sent {
	lanes := s.Shard.Sent()
	out := make([]egress.Sent, 0, len(lanes))
	for _, l := range lanes {
		out = append(out, egress.Sent{Lane: l.Lane, Placement: l.Placement, First: l.First, Seq: l.Seq, Chain: l.Chain, Changes: l.Changes, Bytes: l.Bytes})
	}
	return out
}

func (n *Node) newLedger() (*egress.Ledger, error) {
	return egress.New(egress.Config{Self: n.cfg.Region, Incarnation: n.shard.Incarnation(), Key: n.key, Store: ledgerStore{n.shard}, Name: n.regionName, Now: time.Now,
		Out: func(o hlc.Origin) bool { return !n.catalog.View().Active(o) },
		Failed: func(err error) {
			n.log.Warn().Err(err).Msg("no checkpoint of the egress ledger was made; trying again")
		}})
}

// rollLedger has the ledger take over what was sent until now, when the members may have changed. What fails is taken over later: then more may be counted than was sent, never less.
func (n *Node) rollLedger(ctx context.Context) {
	if err := n.ledger.Roll(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn().Err(err).Msg("the egress ledger is behind")
	}
}

// answerExchange gives a peer records of a table, after they are in the ledger.
func (n *Node) answerExchange(ctx context.Context, asker globaltable.Descriptor, r *repair.Request) ([]byte, repair.End, error) {
	records, end, err := n.server.Answer(ctx, asker, r)
	if err == nil && len(records) > 0 {
		err = n.ledger.Exchange(ctx, asker.Origin, r.Table.Base(), repair.Count(records), len(records))
	}
	if err != nil {
		return nil, repair.End{}, err
	}
	return records, end, nil
}

// countHandOver puts records that are about to be handed over into the ledger.
func (n *Node) countHandOver(ctx context.Context, region string, table globaltable.TableID, records, bytes int) error {
	to, known := n.catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: "hand over", Resource: region, Kind: globaltable.Unavailable, Message: "region " + region + " is not known"}
	}
	return n.ledger.HandOver(ctx, to.Origin, table, records, bytes)
}

// noteCredentials writes into the audit log what is different of the access keys that this node takes. It is tried until it is written.
func (n *Node) noteCredentials(ctx context.Context) error {
	ids := make([]string, 0, len(n.cfg.DynamoDB.Credentials))
	for id := range n.cfg.DynamoDB.Credentials {
		ids = append(ids, id)
	}
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for told := false; ; {
		err := n.plane.NoteCredentials(ctx, ids, n.cfg.DynamoDB.AcceptAny)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if !told {
			n.log.Info().Err(err).Msg("the access keys are not in the audit log yet; trying again")
			told = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// auditor shows what this node has for an auditor: admin.Audit.
type auditor struct {
	n    *Node
	home ownBus
	scan chan struct{} // holds a token while a scan goes on: one at a time
}

// Log implements admin.Audit.
func (a auditor) Log(ctx context.Context, q admin.AuditQuery) (admin.AuditLog, error) {
	out := admin.AuditLog{Entries: []admin.AuditEntry{}, Keys: map[string]string{}}
	for _, m := range a.n.catalog.View().Members() {
		out.Keys[m.Descriptor.Name] = m.Descriptor.PublicKey
	}
	position, err := catalog.ParseAuditPosition(q.After)
	if err != nil {
		return out, err
	}
	size := 0
	err = a.n.plane.AuditLog(ctx, position, func(e controlplane.AuditEntry) bool {
		if e.Err == nil && (q.Region != "" && e.Entry.Region != q.Region || q.Kind != "" && e.Entry.Kind != q.Kind || time.UnixMilli(e.Entry.At).Before(q.Since)) {
			position.Pass(e.Key)
			return true
		}
		if len(out.Entries) == q.Limit || size > maxListBytes {
			out.More = true
			return false
		}
		entry := admin.AuditEntry{}
		if e.Err != nil {
			entry.Fault, entry.Sealed = e.Err.Error(), e.Sealed
			if at, ok := catalog.AuditPlace(e.Key); ok {
				if d, known := a.n.catalog.View().RegionOf(at.Origin); known {
					at.Region = d.Name
				}
				entry.At = &at
			}
		} else {
			entry.Entry, entry.Stamp, entry.Sealed = e.Entry, e.Stamp.String(), e.Sealed
		}
		if e.Sealed != nil {
			size += 2 * len(e.Sealed.Payload)
		}
		out.Entries = append(out.Entries, entry)
		position.Pass(e.Key)
		return true
	})
	out.Next = base64.RawURLEncoding.EncodeToString(position.Encode())
	return out, err
}

// Egress implements admin.Audit.
func (a auditor) Egress(ctx context.Context) (admin.Egress, error) {
	state, err := a.n.ledger.State(ctx)
	if err != nil {
		return admin.Egress{}, err
	}
	out := admin.Egress{Region: a.n.cfg.Region.Name, PublicKey: a.n.cfg.Region.PublicKey, Incarnation: uint64(a.n.shard.Incarnation()), Accounts: []admin.EgressAccount{}, Head: state.Head, Oldest: state.Oldest}
	v := a.n.catalog.View()
	for _, account := range state.Accounts {
		one := admin.EgressAccount{Account: account}
		one.Base = nil // the ledger's own
		if id, err := globaltable.ParseTableID(account.Table); err == nil {
			if t, known := v.Table(id); known {
				one.TableName = t.Name
			}
		}
		for _, o := range account.Places {
			one.Regions = append(one.Regions, a.n.regionName(o))
		}
		out.Accounts = append(out.Accounts, one)
	}
	return out, nil
}

// Checkpoints implements admin.Audit.
func (a auditor) Checkpoints(_ context.Context, after uint64, limit int) (out admin.EgressCheckpoints, err error) {
	out.Checkpoints, out.More, err = a.n.ledger.Checkpoints(after, limit)
	if out.Checkpoints == nil {
		out.Checkpoints = []globaltable.Sealed{}
	}
	return out, err
}

// Receipts implements admin.Audit.
func (a auditor) Receipts(_ context.Context, table string) (admin.Receipts, error) {
	out := admin.Receipts{Receipts: []admin.Receipt{}, Regions: []admin.ReceiptRegion{}, Keys: map[string]string{}}
	v := a.n.catalog.View()
	signers := map[string]globaltable.Descriptor{}
	for _, m := range v.Members() {
		d := m.Descriptor
		signers[d.Name], out.Keys[d.Name] = d, d.PublicKey
		out.Regions = append(out.Regions, admin.ReceiptRegion{Name: d.Name, Jurisdiction: d.Jurisdiction, Origin: uint16(d.Origin)})
	}
	var only globaltable.TableID
	if table != "" {
		var err error
		if only, err = a.tableNamed(table); err != nil {
			return out, err
		}
	}
	v.Tables(func(t *globaltable.Table) bool {
		if only != 0 && t.ID != only {
			return true
		}
		for _, r := range v.Receipts(t.ID) {
			one := admin.Receipt{Table: r.Name, TableID: r.Table.String(), Version: r.Version.String(), Region: r.Region, Jurisdiction: r.Jurisdiction, Incarnation: uint64(r.Incarnation),
				Started: time.UnixMilli(r.Started).UTC(), Finished: time.UnixMilli(r.Finished).UTC(), Done: r.Done, Token: r.Token}
			if by, known := signers[r.Region]; !known {
				one.Fault = "the region is not known"
			} else if _, err := globaltable.ParseReceipt(r.Token, &by); err != nil {
				one.Fault = "the signature is not the region's"
			}
			out.Receipts = append(out.Receipts, one)
		}
		return true
	})
	return out, nil
}

// Residency implements admin.Audit.
func (a auditor) Residency(ctx context.Context, table string, report func(residency.Finding) error) (residency.Summary, error) {
	const op = "audit residency"
	var only globaltable.TableID
	if table != "" {
		var err error
		if only, err = a.tableNamed(table); err != nil {
			return residency.Summary{}, err
		}
	}
	select {
	case a.scan <- struct{}{}:
		defer func() { <-a.scan }()
	default:
		return residency.Summary{}, &globaltable.Error{Op: op, Kind: globaltable.InUse, Message: "the region is being gone through already; ask again when that has ended"}
	}
	return residency.Scan(ctx, residency.Config{View: a.n.catalog.View, Engine: a.n.engine, Streams: a.home, Events: a.events, Files: a.n.engine.Files,
		Lanes: func() (out []globaltable.Lane) {
			for _, b := range a.n.outbox.Status() {
				out = append(out, b.Lane)
			}
			return out
		}}, only, report)
}

// events goes through the events that are in the region's NATS, those of tables that it should have none of, too.
func (a auditor) events(ctx context.Context, f func(table globaltable.TableID, position string, event []byte) error) error {
	events := a.home.Events()
	if events == nil {
		return nil
	}
	names, err := events.Names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		table, _ := bus.EventStreamTable(name)
		if err := events.Read(ctx, name, func(position string, event []byte) error { return f(table, position, event) }); err != nil {
			return err
		}
	}
	return nil
}

// tableNamed returns the id of the table with that name or id, wherever it is: of one that is not here nothing must be.
func (a auditor) tableNamed(name string) (globaltable.TableID, error) {
	var found globaltable.TableID
	a.n.catalog.View().Tables(func(t *globaltable.Table) bool {
		if t.Name == name && !t.Deleted || t.ID.String() == name {
			found = t.ID
		}
		return found == 0
	})
	if found == 0 {
		return 0, &globaltable.Error{Op: "audit residency", Resource: name, Kind: globaltable.NotFound, Message: "no region has a table named " + name}
	}
	return found, nil
}

// noteInvitation writes into the audit log that somebody is invited.
func (n *Node) noteInvitation(ctx context.Context, i *globaltable.Invitation) error {
	return n.plane.Note(ctx, audit.Entry{Kind: audit.InvitationIssued, Subject: i.Region.Name, Op: "add region", Asked: n.cfg.Region.Name, Version: i.World.String(),
		Changes: []audit.Change{{What: "invitation", Now: "until " + i.Expires.UTC().Format(time.RFC3339)}, {What: "key", Now: i.Region.PublicKey}, {What: "jurisdiction", Now: i.Region.Jurisdiction}}})
}
