// Package locality decides where an item may be and what a region may do with it. It is pure, and the only place where that is
// computed: the same function answers when a request is admitted, when a change is placed for sending, and when one is received.
//
// For now the placement of every item of a table is the table's set of replicas.
package locality

import (
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// Operation is what a region wants to do with an item.
type Operation uint8

// The operations.
const (
	Admit   Operation = iota + 1 // serve a client's read or write of it
	Send                         // be sent a change of it
	Receive                      // store a change of it that came from elsewhere
)

// Decision is the answer.
type Decision uint8

// The decisions. All but Permit refuse.
const (
	Permit  Decision = iota + 1
	NotHere          // the item may not be in the region
	NotYet           // the region's replica is being made: it gets changes, and serves nobody
)

func (d Decision) String() string {
	switch d {
	case Permit:
		return "permit"
	case NotHere:
		return "not here"
	case NotYet:
		return "not yet"
	}
	return "no decision"
}

// Place returns the placement of all items of t: the replicas that are to be fed. It is empty for a dead table.
func Place(t *globaltable.Table) globaltable.Placement {
	origins := make([]hlc.Origin, 0, len(t.Replicas))
	for i := range t.Replicas {
		if fed(t.Replicas[i].Status) {
			origins = append(origins, t.Replicas[i].Origin)
		}
	}
	return globaltable.NewPlacement(origins...)
}

// Decide says whether region may do op with the item of t at key (an item.Key). It fails closed.
func Decide(t *globaltable.Table, key []byte, region hlc.Origin, op Operation) Decision {
	r := t.Replica(region)
	switch {
	case r == nil || !fed(r.Status):
		return NotHere
	case op == Send || op == Receive:
		return Permit
	case op != Admit:
		return NotHere
	case r.Status == globaltable.Creating:
		return NotYet
	}
	return Permit
}

// fed reports whether a replica of the status gets changes. One that is being deleted, or whose region is fenced, no longer does; one that failed never did.
func fed(s globaltable.Status) bool {
	return s == globaltable.Creating || s == globaltable.Active || s == globaltable.Updating
}
