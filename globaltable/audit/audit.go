// Package audit has the form of the audit log: what was changed of policies, tables, regions and credentials, by whom and why.
//
// Each region has a chain of its own, of what it issued or did itself. An entry names the one before by its hash, and is signed with the region's key. So of a chain nothing can be changed, left out or put in
// afterwards, but by who has the region's key; and who has that can only write a second history, which differs from the first from some entry on: whoever has noted the hash of an entry, or has a copy in another region, sees it.
// What a chain cannot show by itself is that its newest entries were cut off. That shows against the copy in another region, or against a hash that was noted.
//
// The package is pure. Entries are items of the system table, so every region has all chains; they are never trimmed. There is nothing of an item in them.
package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// MaxEntry bounds the payload of an entry in bytes. Changes that have no room are counted.
const MaxEntry = 4 << 10

const (
	format     = 1
	signedAs   = "concordat audit entry v1\x00"
	maxText    = 256 // bytes of each text but a change's
	maxChanged = 256 // bytes of each side of a change
)

// Kind says what an entry is about. The texts are part of the format.
type Kind string

// The kinds.
const (
	TableCreated       Kind = "table.created"
	TableChanged       Kind = "table.changed" // settings, replicas, merge modes
	TableDeleted       Kind = "table.deleted"
	PolicyChanged      Kind = "policy.changed"  // locality policies of a table, maybe with other things
	TriggerChanged     Kind = "trigger.changed" // triggers of a table, and no policies
	OwnerMoved         Kind = "owner.moved"     // of a table
	RegionAdded        Kind = "region.added"
	RegionFenced       Kind = "region.fenced"
	RegionRemoved      Kind = "region.removed"
	RegionAdmitted     Kind = "region.admitted" // again, with a new store
	WorldChanged       Kind = "world.changed"   // none of these
	InvitationIssued   Kind = "invitation.issued"
	CredentialsChanged Kind = "credentials.changed" // access keys that a node of the region takes; never secrets
	GrantMade          Kind = "grant.made"          // somebody may read events of tables from the region's NATS, or hear subjects there
	GrantRevoked       Kind = "grant.revoked"       // not any more
	LettersRedriven    Kind = "letters.redriven"    // dead letters of a trigger in a region: its target was told once more
	LettersPurged      Kind = "letters.purged"      // they were dropped
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{TableCreated, TableChanged, TableDeleted, PolicyChanged, TriggerChanged, OwnerMoved, RegionAdded, RegionFenced, RegionRemoved, RegionAdmitted, WorldChanged, InvitationIssued, CredentialsChanged, GrantMade, GrantRevoked, LettersRedriven, LettersPurged}
}

// Change is one thing that is another one afterwards. An empty side is: there was, or is, none.
type Change struct {
	What string `json:"what"`
	Was  string `json:"was,omitempty"`
	Now  string `json:"now,omitempty"`
}

// Entry is one entry of a region's chain.
type Entry struct {
	Format   int               `json:"format"`
	Origin   hlc.Origin        `json:"origin"` // whose chain it is of
	Region   string            `json:"region"` // its name
	Seq      uint64            `json:"seq"`    // 1 for a chain's first, dense
	Previous globaltable.Chain `json:"previous"`
	At       int64             `json:"at"`    // Unix milliseconds, by the region's wall clock
	Clock    hlc.Timestamp     `json:"clock"` // its hybrid clock: what it had written before has no greater stamp
	Kind     Kind              `json:"kind"`
	Subject  string            `json:"subject"`           // a table, a region, a policy's table
	ID       string            `json:"id,omitempty"`      // of a table
	Version  string            `json:"version,omitempty"` // of the document that came with the entry
	Document string            `json:"document,omitempty"`
	Op       string            `json:"op,omitempty"`     // what was asked for
	Asked    string            `json:"asked,omitempty"`  // the region in which that was
	Author   string            `json:"author,omitempty"` // as told, which nobody checks
	Reason   string            `json:"reason,omitempty"`
	Changes  []Change          `json:"changes,omitempty"`
	Omitted  int               `json:"omitted,omitempty"` // changes that had no room
}

// Seal completes e, whose Origin, Region, Seq and Previous say where in a chain it stands, and signs it. Texts that are too long are cut.
func (e Entry) Seal(key globaltable.Signer) (globaltable.Sealed, error) {
	e.Format = format
	for _, s := range []*string{&e.Subject, &e.Op, &e.Asked, &e.Author, &e.Reason} {
		*s = clip(*s, maxText)
	}
	all := e.Changes
	e.Changes = make([]Change, 0, len(all))
	size := len(e.encode())
	for i, c := range all {
		c = Change{clip(c.What, maxText), clip(c.Was, maxChanged), clip(c.Now, maxChanged)}
		b, err := json.Marshal(c)
		if err != nil {
			panic(err) // strings
		}
		if size += len(b) + 1; size > MaxEntry-64 { // room for the list and what counts those omitted
			e.Omitted = len(all) - i
			break
		}
		e.Changes = append(e.Changes, c)
	}
	return globaltable.Seal(signedAs, e.encode(), key)
}

func (e *Entry) encode() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers
	}
	return b
}

func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= limit {
		return s
	}
	s = s[:limit-len("…")]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// Open decodes an entry. It is what Seal made, or of a wrong form: kind Corrupt, or Unavailable for one of a newer release. Whether it is signed is for Check to say.
func Open(s *globaltable.Sealed) (*Entry, error) {
	const op = "open audit entry"
	var e Entry
	if len(s.Payload) > MaxEntry {
		return nil, &globaltable.Error{Op: op, Kind: globaltable.Corrupt, Message: fmt.Sprintf("longer than %d bytes", MaxEntry)}
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal([]byte(s.Payload), &head); err == nil && head.Format > format {
		return nil, &globaltable.Error{Op: op, Kind: globaltable.Unavailable, Message: "the entry was written by a newer version of concordat"}
	}
	if err := s.Open(&e); err != nil {
		return nil, err
	}
	if e.Format != format || e.Seq == 0 || e.Origin == 0 || string(e.encode()) != s.Payload {
		return nil, &globaltable.Error{Op: op, Kind: globaltable.Corrupt, Message: "the text is not one of an audit entry"}
	}
	return &e, nil
}

// CheckSignature says whether the entry is signed with the region's key.
func CheckSignature(s *globaltable.Sealed, publicKey string) error {
	return s.Check(signedAs, publicKey)
}
