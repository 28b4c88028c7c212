// Package egress keeps the ledger of what has left a region: for each peer, what was put on offer to it lane by lane, and what it was given besides.
//
// Problem. Somebody who was not there has to be able to see what a region has let go, to whom, and that nothing was added, changed or forgotten afterwards; over restarts, crashes and rebuilds, and without slowing writes down.
//
// Outline. An account has sums: for a peer and a lane (a placement), changes and bytes of all entries of the lane; for a peer and a table, exchanged and handed-over records and forwarded requests. What a lane has had is a function of the region's log, which the commit keeps exactly
// (commit.Sent): it costs a write nothing, and an account takes it over from time to time. The other things are rare and large; they are counted, durably, before the first byte goes. So sums are never too small. They can be too large: an entry counts for each peer of its lane from the moment on at which it
// could be read, whether the peer has fetched it or not, and a page that was counted may not have gone, or gone twice.
//
// A checkpoint has the accounts that have changed since the one before, that one's hash, and the region's signature. One is made every minute in which something has changed. Checkpoints are kept up to a number; the sums are in the accounts, so nothing is lost with older ones, and the oldest that is there
// names the hash of the one before it: whoever has a copy of that can continue from it.
//
// Not in it: what is no item's: heartbeats, sums of digests, documents of the catalog, the audit log; and the lane of the catalog has an account, but no items.
package egress

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Kind is by which way something leaves. The texts are part of the format.
type Kind string

// The kinds.
const (
	Lane     Kind = "lane"     // entries of a lane: by its stream, or read from the log
	Exchange Kind = "exchange" // whole records: to a replica that joins, catches up or is repaired
	HandOver Kind = "handover" // whole records, that this region may not hold any more
	Forward  Kind = "forward"  // a client's request and its answer, in memory only
)

// Account is what one peer was given by one way, since the region first was.
type Account struct {
	Peer   hlc.Origin         `json:"peer"`
	Region string             `json:"region"` // its name
	Kind   Kind               `json:"kind"`
	Lane   string             `json:"lane,omitempty"`  // of Kind Lane
	Table  string             `json:"table,omitempty"` // the id, of the other kinds
	Places []hlc.Origin       `json:"placement,omitempty"`
	First  uint64             `json:"first,omitempty"` // entry of the lane, in the present life of the region's store
	Last   uint64             `json:"last,omitempty"`
	Chain  *globaltable.Chain `json:"chain,omitempty"` // of the lane at Last
	Events uint64             `json:"events"`          // entries of a lane in the present life, else pages or requests
	Count  uint64             `json:"count"`           // changes, records or requests
	Bytes  uint64             `json:"bytes"`
	Base   *base              `json:"base,omitempty"` // of Kind Lane
}

// base is how much of a lane is in an account.
type base struct {
	Changes uint64 `json:"changes"`
	Bytes   uint64 `json:"bytes"`
	// Out is true of a peer that is not given the lane any more: it was fenced or removed.
	Out bool `json:"out,omitempty"`
}

// Sent is what was put into a lane: commit.Sent, with the lane.
type Sent struct {
	Lane      globaltable.LaneID
	Placement globaltable.Placement // none: the lane has had nothing in this life of the store
	First     uint64
	Seq       uint64
	Chain     globaltable.Chain
	Changes   uint64 // over all lives
	Bytes     uint64
}

type accountKey struct {
	peer    hlc.Origin
	kind    Kind
	subject string // lane or table
}

func (a *Account) key() accountKey { return accountKey{a.Peer, a.Kind, a.Lane + a.Table} }

// accounts is the ledger's state: pure.
type accounts struct {
	all     map[accountKey]*Account
	changed map[accountKey]bool // since the last checkpoint
}

func newAccounts() *accounts {
	return &accounts{all: map[accountKey]*Account{}, changed: map[accountKey]bool{}}
}

func (s *accounts) get(key accountKey, fresh func() *Account) *Account {
	a := s.all[key]
	if a == nil {
		a = fresh()
		s.all[key] = a
	}
	return a
}

// roll takes over what was sent in the lanes. out reports whether a peer is given nothing any more. It returns the accounts that are others now.
func (s *accounts) roll(self hlc.Origin, sent []Sent, out func(hlc.Origin) bool) (changed []*Account) {
	for i := range sent {
		l := &sent[i]
		peers := map[hlc.Origin]bool{}
		for _, peer := range l.Placement.Peers(self) {
			peers[peer] = true
		}
		for key, a := range s.all { // who had the lane in an earlier life of the store
			if key.kind == Lane && a.Lane == l.Lane.String() {
				peers[key.peer] = true
			}
		}
		for peer := range peers {
			key := accountKey{peer, Lane, l.Lane.String()}
			a := s.get(key, func() *Account { return &Account{Peer: peer, Kind: Lane, Lane: l.Lane.String(), Base: &base{}} })
			if a.take(l, out(peer)) {
				s.changed[key] = true
				changed = append(changed, a)
			}
		}
	}
	return changed
}

// take brings a up to l. A peer that goes out between two looks has had what was sent until then, and maybe what followed: that counts.
func (a *Account) take(l *Sent, out bool) (changed bool) {
	counts := !out || !a.Base.Out
	if l.Changes == a.Base.Changes && l.Bytes == a.Base.Bytes && out == a.Base.Out && l.Seq == a.Last {
		return false
	}
	if counts {
		a.Count += l.Changes - a.Base.Changes
		a.Bytes += l.Bytes - a.Base.Bytes
		a.First, a.Last, a.Events = l.First, l.Seq, 0
		if l.Seq > 0 {
			a.Events = l.Seq - l.First + 1
		}
		chain := l.Chain
		a.Chain = &chain
	}
	if len(l.Placement) > 0 {
		a.Places = slices.Clone(l.Placement)
	}
	a.Base = &base{l.Changes, l.Bytes, out}
	return true
}

// add counts something that is about to leave by another way than a lane.
func (s *accounts) add(peer hlc.Origin, kind Kind, table globaltable.TableID, count, bytes int) *Account {
	key := accountKey{peer, kind, table.String()}
	a := s.get(key, func() *Account { return &Account{Peer: peer, Kind: kind, Table: table.String()} })
	a.Events++
	a.Count += uint64(count)
	a.Bytes += uint64(bytes)
	s.changed[key] = true
	return a
}

// list returns copies of accounts, sorted by peer, kind and subject: of all, or of those that have changed since the last checkpoint.
func (s *accounts) list(all bool) []Account {
	out := []Account{}
	for key, a := range s.all {
		if all || s.changed[key] {
			out = append(out, *a)
		}
	}
	slices.SortFunc(out, func(a, b Account) int {
		x, y := a.key(), b.key()
		return cmp.Or(cmp.Compare(x.peer, y.peer), cmp.Compare(x.kind, y.kind), cmp.Compare(x.subject, y.subject))
	})
	return out
}

// accountFormat begins the stored form of an account.
const accountFormat = 1

func (a *Account) encode() []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and numbers
	}
	return append([]byte{accountFormat}, b...)
}

func decodeAccount(b []byte) (*Account, error) {
	if len(b) == 0 || b[0] != accountFormat {
		return nil, corrupt("an account of a form that is not known")
	}
	a := new(Account)
	if err := json.Unmarshal(b[1:], a); err != nil || (a.Kind == Lane) != (a.Base != nil) || (a.Lane == "") == (a.Table == "") {
		return nil, corrupt("an account that cannot be read")
	}
	return a, nil
}

func corrupt(message string) error {
	return &globaltable.Error{Op: "read egress ledger", Kind: globaltable.Corrupt, Message: message}
}
