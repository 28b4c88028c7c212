package catalog

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/audit"
	"github.com/concordat-db/concordat/globaltable/item"
)

// Entries of the audit log are items of the system table, which nobody adopts. All have one partition key, so that they lie together, ordered by chain and number. The beginning of an entry's hash is part of its
// key: of two entries that claim to be the same one of a chain both stay, and the fork is seen.
const (
	auditPartition = "audit"
	attributeSeal  = "seal"
	auditHashLen   = 8
)

// AuditKey returns the key, in the system table, of an entry of the audit log.
func AuditKey(origin hlc.Origin, seq uint64, hash globaltable.Chain) item.Key {
	return auditKey(auditName(origin, seq, hash))
}

// AuditChain returns a key before, and one after, the keys of all entries of a chain, and of no others.
func AuditChain(origin hlc.Origin) (before, after item.Key) {
	name := fmt.Sprintf("%04x", uint16(origin))
	return auditKey(name + "/"), auditKey(name + "0") // what follows a slash
}

// AuditFirst returns a key before those of all entries of all chains, AuditLast one after them; no other item of the system table is between.
func AuditFirst() item.Key { return auditKey("0") }

// AuditLast: see AuditFirst.
func AuditLast() item.Key { return auditKey("g") }

func auditName(origin hlc.Origin, seq uint64, hash globaltable.Chain) string {
	return fmt.Sprintf("%04x/%016x/%s", uint16(origin), seq, hex.EncodeToString(hash[:auditHashLen]))
}

func auditKey(name string) item.Key {
	k, err := item.AppendKey(nil, item.AppendString(nil, auditPartition), item.AppendString(nil, name))
	if err != nil {
		panic(err) // short strings, not empty
	}
	return k
}

// EncodeAudit returns the key and the item of an entry that Entry.Seal has made.
func EncodeAudit(e *audit.Entry, s *globaltable.Sealed) (item.Key, item.Item) {
	hash := s.Hash()
	var b item.Builder
	b.Add([]byte(attributeKey), item.AppendString(nil, prefixAudit+auditName(e.Origin, e.Seq, hash)))
	b.Add([]byte(attributeDocument), item.AppendString(nil, s.Payload))
	b.Add([]byte(attributeSeal), item.AppendBinary(nil, s.Signature))
	it, err := b.AppendItem(nil)
	if err != nil {
		panic(err) // different names, not empty
	}
	return AuditKey(e.Origin, e.Seq, hash), it
}

// DecodeAudit is the inverse of EncodeAudit. The signature is not checked. The error is of kind Corrupt, also for an item that does not belong at key; or Unavailable for an entry of a newer release. What was sealed is returned
// with an error, too, if it is there.
func DecodeAudit(key item.Key, it item.Item) (*audit.Entry, *globaltable.Sealed, error) {
	text, ok := it.GetString(attributeDocument)
	seal, sealed := it.GetString(attributeSeal)
	if !ok || !sealed || text.Type() != item.S || seal.Type() != item.B {
		return nil, nil, corrupt("an item of the audit log is none of its entries")
	}
	s := &globaltable.Sealed{Payload: string(text.Bytes()), Signature: append([]byte(nil), seal.Bytes()...)}
	e, err := audit.Open(s)
	if err != nil {
		return nil, s, err
	}
	if name := auditName(e.Origin, e.Seq, s.Hash()); systemName(it) != prefixAudit+name || string(auditKey(name)) != string(key) {
		return nil, s, corrupt("an entry of the audit log lies under another key than its own")
	}
	return e, s, nil
}

// AuditPlace returns which entry of which chain the key is one of, without the region's name; ok is false if it is no entry's.
func AuditPlace(key item.Key) (at audit.Place, ok bool) {
	var hash string
	name := auditNameOf(key)
	if n, err := fmt.Sscanf(name, "%04x/%016x/%s", &at.Origin, &at.Seq, &hash); n != 3 || err != nil || at.Seq == 0 || fmt.Sprintf("%04x/%016x/%s", uint16(at.Origin), at.Seq, hash) != name {
		return audit.Place{}, false
	}
	return at, true
}

// IsAudit reports whether the key in the system table is one of the audit log.
func IsAudit(key []byte) bool {
	p, _, ok := item.Key(key).Parts()
	return ok && string(p.Bytes) == auditPartition
}

// AuditKeyOf returns the key at which an item of the audit log belongs.
func AuditKeyOf(it item.Item) (item.Key, error) {
	name, ok := strings.CutPrefix(systemName(it), prefixAudit)
	if !ok || len(name) > item.MaxSortKeySize || name == "" {
		return nil, corrupt("an item of the audit log is none of its entries")
	}
	return auditKey(name), nil
}
