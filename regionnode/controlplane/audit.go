package controlplane

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/commit"
)

// cause is why a document is issued.
type cause struct {
	op     string
	asked  string // the region in which it was asked for
	author string // as told there
	reason string
}

// own is the cause of what this region does, asked here or by itself.
func (p *Plane) own(op string) cause { return cause{op: op, asked: p.self.Name} }

func (c cause) entry(e audit.Entry) audit.Entry {
	e.Op, e.Asked, e.Author, e.Reason = c.op, c.asked, c.author, c.reason
	return e
}

// auditChain is where this region's chain of the audit log ends.
type auditChain struct {
	turn  chan struct{} // holds a token while an entry is written, and whoever has it may look at the rest
	known bool          // seq and hash are right; else the store is asked
	seq   uint64
	hash  globaltable.Chain
}

// noting has write put the next entry of this region's chain into the system table, in the batch of what the entry is about. A plane without a key keeps no log: entry is nil then.
func (p *Plane) noting(ctx context.Context, e audit.Entry, write func(entry *systemItem) error) error {
	if p.cfg.Key == nil {
		return write(nil)
	}
	c := &p.chain
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return &globaltable.Error{Op: "write audit log", Kind: globaltable.Unavailable, Err: ctx.Err()}
	}
	if err := p.knowChain(ctx); err != nil {
		return err
	}
	e.Origin, e.Region, e.Seq, e.Previous = p.self.Origin, p.self.Name, c.seq+1, c.hash
	e.At, e.Clock = p.cfg.Now().UnixMilli(), p.cfg.Clock.Last()
	sealed, err := e.Seal(p.cfg.Key)
	if err != nil {
		return err
	}
	key, it := catalog.EncodeAudit(&e, &sealed)
	if err := write(&systemItem{key, it}); err != nil {
		c.known = false // it may be there
		return err
	}
	c.seq, c.hash = e.Seq, sealed.Hash()
	return nil
}

// knowChain reads the end of this region's chain. The caller has the chain's turn.
func (p *Plane) knowChain(ctx context.Context) error {
	c := &p.chain
	if c.known {
		return nil
	}
	c.seq, c.hash = 0, globaltable.Chain{}
	err := p.ownChain(ctx, func(a AuditEntry) { c.seq, c.hash = a.Entry.Seq, a.Sealed.Hash() })
	c.known = err == nil
	return err
}

// Note writes an entry about something that is no document. Its kind, subject and changes are the caller's.
func (p *Plane) Note(ctx context.Context, e audit.Entry) error {
	if p.cfg.Key == nil {
		return nil
	}
	return p.noting(ctx, e, func(entry *systemItem) error {
		return p.cfg.Door.Write(ctx, &commit.Write{
			Keys: []commit.Key{{Table: globaltable.SystemTable, Bytes: entry.key}},
			Plan: func([]commit.Current) ([][]conflict.Op, error) { return put(entry.item), nil },
		})
	})
}

// AuditEntry is an entry of the audit log as this region has it.
type AuditEntry struct {
	Key    item.Key
	Entry  *audit.Entry
	Sealed *globaltable.Sealed
	Stamp  hlc.Stamp // of the write that brought it
	Err    error     // why it cannot be read; nothing but Key is set then, and Sealed if there is that much of it
}

// AuditLog calls f with the entries of all chains, chain by chain in the order of numbers, that come after a position, until f returns false. The entries are f's.
func (p *Plane) AuditLog(ctx context.Context, after catalog.AuditPosition, f func(AuditEntry) (more bool)) error {
	for from := catalog.AuditFirst(); from != nil; {
		start := from
		from = nil
		err := p.cfg.Door.Records(ctx, globaltable.SystemTable, start, catalog.AuditLast(), func(key item.Key, record []byte) bool {
			if last, passed := after.Passed(key); passed {
				from = last // what has been read of this chain is not read again
				return false
			}
			return f(readAudit(key, record))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readAudit decodes the record of an entry, which is a view.
func readAudit(key item.Key, record []byte) AuditEntry {
	a, err := decodeAudit(slices.Clone(key), bytes.Clone(record))
	if err != nil {
		a = AuditEntry{Key: a.Key, Sealed: a.Sealed, Err: err}
	}
	return a
}

// ownChain calls f with the entries of this region's chain. One that cannot be read ends it with an error: nothing is to be written after it.
func (p *Plane) ownChain(ctx context.Context, f func(AuditEntry)) (err error) {
	from, to := catalog.AuditChain(p.self.Origin)
	listed := p.cfg.Door.Records(ctx, globaltable.SystemTable, from, to, func(key item.Key, record []byte) bool {
		a := readAudit(key, record)
		if err = a.Err; err == nil {
			f(a)
		}
		return err == nil
	})
	return errors.Join(err, listed)
}

// decodeAudit decodes the record of an entry, which it keeps.
func decodeAudit(key item.Key, record []byte) (a AuditEntry, err error) {
	a.Key = key
	r, err := conflict.DecodeRecord(record)
	if err != nil {
		return a, err
	}
	it, live, err := conflict.ItemOf(record, nil)
	if err == nil && !live {
		err = &globaltable.Error{Op: "read audit log", Kind: globaltable.Corrupt, Message: "an entry was deleted"}
	}
	if err != nil {
		return a, err
	}
	a.Stamp = r.Reset.Stamp
	a.Entry, a.Sealed, err = catalog.DecodeAudit(key, it)
	return a, err
}

// auditRequest asks for entries of the audit log, in the order of their keys.
type auditRequest struct {
	Have map[hlc.Origin]uint64 `json:"have"`            // of a chain, all up to and with this number are there
	From []byte                `json:"after,omitempty"` // the key of the last one of the answer before
}

func (p *Plane) answerAudit(ctx context.Context, r *auditRequest) (*answer, error) {
	a, size := new(answer), 0
	var after item.Key
	if len(r.From) > 0 {
		if !catalog.IsAudit(r.From) {
			return nil, badRequest("the key is none of the audit log")
		}
		after = r.From
	}
	if after == nil {
		after = catalog.AuditFirst()
	}
	err := p.cfg.Door.Records(ctx, globaltable.SystemTable, after, catalog.AuditLast(), func(key item.Key, record []byte) bool {
		e, err := decodeAudit(slices.Clone(key), record)
		if err != nil || e.Entry.Seq <= r.Have[e.Entry.Origin] {
			return true
		}
		if size >= maxDocumentBytes {
			a.More = true
			return false
		}
		a.Audit = append(a.Audit, bytes.Clone(record))
		size += len(record)
		return true
	})
	return a, err
}

// fetchAudit gets the entries of the audit log that a region has and this one lacks.
func (p *Plane) fetchAudit(ctx context.Context, region string) error {
	from, known := p.cfg.Catalog.View().Region(region)
	if !known {
		return &globaltable.Error{Op: "fetch audit log", Resource: region, Kind: globaltable.Denied, Message: "the region is not known"}
	}
	have := map[hlc.Origin]uint64{}
	err := p.AuditLog(ctx, catalog.AuditPosition{}, func(a AuditEntry) bool {
		if a.Err == nil && a.Entry.Seq == have[a.Entry.Origin]+1 {
			have[a.Entry.Origin]++
		}
		return true
	})
	if err != nil {
		return err
	}
	r := &auditRequest{Have: have}
	for more := true; more; {
		a, err := p.ask(ctx, region, &request{Audit: r})
		if err != nil {
			return err
		}
		if more = a.More; more && len(a.Audit) == 0 {
			return errAnswer
		}
		records := make([]commit.RecordAt, 0, len(a.Audit))
		for _, record := range a.Audit {
			e, err := checkAudit(record)
			if err != nil {
				return err
			}
			if bytes.Compare(e.Key, r.From) <= 0 {
				return errAnswer
			}
			r.From = e.Key
			records = append(records, commit.RecordAt{Key: commit.Key{Table: globaltable.SystemTable, Bytes: e.Key}, Record: record})
		}
		if err := p.mergeAudit(ctx, from.Origin, records); err != nil {
			return err
		}
	}
	return nil
}

// mergeAudit stores entries that a region gave. Some may be this region's own, of before its store was lost.
func (p *Plane) mergeAudit(ctx context.Context, from hlc.Origin, records []commit.RecordAt) error {
	if len(records) == 0 {
		return nil
	}
	select {
	case p.chain.turn <- struct{}{}:
		defer func() { <-p.chain.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	p.chain.known = false
	return p.cfg.Door.MergeFrom(ctx, from, 0, records)
}

// checkAudit makes sure that a record that came from a peer is an entry of the audit log, written by the region whose chain it is of. Its signature is for the auditor to check, who may trust other keys than this region does.
func checkAudit(record []byte) (a AuditEntry, err error) {
	if err := conflict.CheckRecord(record); err != nil {
		return a, err
	}
	it, live, err := conflict.ItemOf(record, nil)
	if err != nil || !live {
		return a, errAnswer
	}
	key, err := catalog.AuditKeyOf(it)
	if err != nil {
		return a, err
	}
	if a, err = decodeAudit(key, record); err != nil {
		return a, err
	}
	if a.Stamp.Origin != a.Entry.Origin {
		return a, errAnswer
	}
	return a, nil
}

// anyKey is what stands for a node that takes whatever credentials it is given.
const anyKey = "any, unchecked"

// NoteCredentials writes into the audit log which access keys are taken from now on and were not before, and the other way round, by their ids; any says that whatever is given is taken. It writes nothing when nothing
// is different from what was noted last. A region whose chain is empty may have lost its store: then the error is of kind Unavailable until it has heard every other region.
func (p *Plane) NoteCredentials(ctx context.Context, ids []string, any bool) error {
	if p.cfg.Key == nil {
		return nil
	}
	noted, empty := map[string]bool{}, true
	err := p.ownChain(ctx, func(a AuditEntry) {
		empty = false
		if a.Entry.Kind == audit.CredentialsChanged {
			for _, c := range a.Entry.Changes {
				noted[c.What] = c.Now != ""
			}
		}
	})
	if err != nil {
		return err
	}
	if unheard := p.Unheard(); empty && len(unheard) > 0 {
		return p.errUnheard("note credentials", p.self.Name, unheard)
	}
	changes := credentialChanges(noted, ids, any)
	for len(changes) > 0 {
		n := min(len(changes), maxNotedKeys)
		if err := p.Note(ctx, p.own("start").entry(audit.Entry{Kind: audit.CredentialsChanged, Subject: p.self.Name, Changes: changes[:n]})); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// maxNotedKeys is how many access keys one entry has room for, at least.
const maxNotedKeys = 16

func credentialChanges(noted map[string]bool, ids []string, any bool) (out []audit.Change) {
	const what, taken = "access key ", "taken"
	now := map[string]bool{}
	if any {
		now[what+anyKey] = true
	}
	for _, id := range ids {
		if len(id) > 100 || strings.ToValidUTF8(id, "") != id {
			hash := sha256.Sum256([]byte(id))
			id = "with SHA-256 " + hex.EncodeToString(hash[:])
		}
		now[what+id] = true
	}
	for k := range now {
		if !noted[k] {
			out = append(out, audit.Change{What: k, Now: taken})
		}
	}
	for k, was := range noted {
		if was && !now[k] {
			out = append(out, audit.Change{What: k, Was: taken})
		}
	}
	slices.SortFunc(out, func(a, b audit.Change) int { return strings.Compare(a.What, b.What) })
	return out
}
