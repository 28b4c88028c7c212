package catalog

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/item"
)

// AuditPosition is how far somebody has read the audit log: chain by chain, since each of them grows at its own end. So it means the same after a restart, and in another region. The zero value is the beginning.
type AuditPosition struct {
	last map[string]string // chain → name of the last entry that was read
}

// maxAuditChains bounds the chains of a position. A world has 256 members in its life; what else may lie among the entries is read again and again.
const maxAuditChains = 1024

// Pass moves the position past the entry with the key, which is of the audit log and comes after those of its chain that were passed before.
func (p *AuditPosition) Pass(key item.Key) {
	name := auditNameOf(key)
	chain := chainOf(name)
	if _, some := p.last[chain]; name == "" || !some && len(p.last) == maxAuditChains {
		return
	}
	if p.last == nil {
		p.last = map[string]string{}
	}
	p.last[chain] = name
}

// Passed reports whether the entry with the key was passed, and the key of the last one of its chain that was.
func (p *AuditPosition) Passed(key item.Key) (last item.Key, passed bool) {
	name, some := p.last[chainOf(auditNameOf(key))]
	if !some {
		return nil, false
	}
	last = auditKey(name)
	return last, bytes.Compare(key, last) <= 0
}

// Encode returns the position as ParseAuditPosition takes it.
func (p *AuditPosition) Encode() []byte {
	b, err := json.Marshal(slices.Sorted(maps.Values(p.last)))
	if err != nil {
		panic(err) // strings
	}
	return b
}

// ParseAuditPosition is the inverse of Encode. Nothing is the beginning. The error is of kind Invalid.
func ParseAuditPosition(b []byte) (p AuditPosition, err error) {
	if len(b) == 0 {
		return p, nil
	}
	wrong := &globaltable.Error{Op: "read audit log", Kind: globaltable.Invalid, Message: "after is not what an answer before has given as next"}
	var names []string
	if err := json.Unmarshal(b, &names); err != nil || len(names) > maxAuditChains {
		return p, wrong
	}
	for _, name := range names {
		if name == "" || len(name) > item.MaxSortKeySize {
			return AuditPosition{}, wrong
		}
		p.Pass(auditKey(name))
	}
	return p, nil
}

// auditNameOf returns what follows the partition key in the key of an entry; empty for another key.
func auditNameOf(key item.Key) string {
	p, sort, ok := key.Parts()
	if !ok || string(p.Bytes) != auditPartition {
		return ""
	}
	return string(sort.Bytes)
}

func chainOf(name string) string {
	chain, _, _ := strings.Cut(name, "/")
	return chain
}
