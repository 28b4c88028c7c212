package globaltable

import (
	"fmt"

	"github.com/concordat-db/concordat/conflict/hlc"
)

// AcknowledgeTag is the tag of a table that says what the answer to a write waits for: AcknowledgeLocal, or so many peers. Table.AcknowledgePeers
// follows from it whenever a version of the document is made.
const AcknowledgeTag = "concordat:acknowledge"

// AcknowledgeLocal is the tag's value for a table whose writes are answered when they are durable in the region that takes them. So is no tag.
const AcknowledgeLocal = "local"

// MaxAcknowledgePeers bounds the peers that a table may ask for.
const MaxAcknowledgePeers = 3

// FormatAcknowledge returns the tag's value for a number of peers, 0 to MaxAcknowledgePeers.
func FormatAcknowledge(peers int) string {
	if peers == 0 {
		return AcknowledgeLocal
	}
	return fmt.Sprintf("peers:%d", peers)
}

// ParseAcknowledge is the inverse of FormatAcknowledge. The error is of kind Invalid.
func ParseAcknowledge(s string) (peers int, err error) {
	for n := range MaxAcknowledgePeers + 1 {
		if s == FormatAcknowledge(n) {
			return n, nil
		}
	}
	return 0, notKnown("parse acknowledge", s, fmt.Sprintf("%s, or peers:1 to peers:%d", AcknowledgeLocal, MaxAcknowledgePeers))
}

// clip bounds a text that is quoted in an error.
func clip(s string) string {
	const most = 64
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// ServingPeers returns the regions but self whose replica serves clients: those whose word counts when a write waits for peers. A replica that is on its
// way in may be called off with all it has, and one on its way out drops it.
func (t *Table) ServingPeers(self hlc.Origin) Placement {
	var out Placement
	for i := range t.Replicas {
		if r := &t.Replicas[i]; r.Origin != self && (r.Status == Active || r.Status == Updating) {
			out = append(out, r.Origin)
		}
	}
	return NewPlacement(out...)
}
