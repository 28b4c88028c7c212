package regionnode

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/conflict"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/streams/change"
)

// offences remember what was about to go against a locality policy though no region should have tried: it is counted, logged, and shown in the status until the node ends.
type offences struct {
	log zerolog.Logger

	mu    sync.Mutex
	known map[string]*offence // by what it is, a sentence without keys or values
}

type offence struct {
	count        uint64
	last, logged time.Time
}

// tellEvery is how often one offence is logged, at most.
const tellEvery = time.Minute

// maxOffences bounds those that are remembered: there is one for each peer, and for each lane and member of it.
const maxOffences = 1024

func newOffences(log zerolog.Logger) *offences {
	return &offences{log: log, known: map[string]*offence{}}
}

// add notes that something has happened n times.
func (o *offences) add(what string, n int, now time.Time) {
	o.mu.Lock()
	one := o.known[what]
	if one == nil {
		if len(o.known) >= maxOffences {
			o.mu.Unlock()
			return
		}
		one = new(offence)
		o.known[what] = one
	}
	one.count += uint64(n)
	one.last = now
	tell := now.Sub(one.logged) >= tellEvery
	if tell {
		one.logged = now
	}
	count := one.count
	o.mu.Unlock()
	if tell {
		o.log.Error().Uint64("times", count).Msg("alarm: " + what)
	}
}

// list returns what is known, as sentences, in order.
func (o *offences) list() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for what, one := range o.known {
		out = append(out, fmt.Sprintf("%s: %d times, the last at %s", what, one.count, one.last.UTC().Format(time.RFC3339)))
	}
	slices.Sort(out)
	return out
}

// foreignChanges notes changes that a peer has sent though it should have known that they may not be here. They were voided.
func (n *Node) foreignChanges(o hlc.Origin, changes int) {
	name := n.regionName(o)
	n.metrics.ForeignChanges(name, changes)
	n.offences.add("region "+name+" sends changes of items that may not be here", changes, time.Now())
}

// heldBack says that an entry of the log has a change that a member of its lane may not have. It waits until the review of the log has voided it.
type heldBack struct {
	lane globaltable.LaneID
	peer string
}

func (e *heldBack) Error() string {
	return "lane " + e.lane.String() + " has a change that may not be sent to region " + e.peer + "; the lane waits until it has been voided"
}

// Unwrap says what kind of error it is.
func (e *heldBack) Unwrap() error {
	return &globaltable.Error{Op: "send entry", Resource: e.lane.String(), Kind: globaltable.Unavailable}
}

// errFound ends the walk over an entry's changes.
var errFound = errors.New("found")

// forbidden returns the first of the peers that may not have a change in e by the policies of v; zero: each may have all. placing tells whether this region has still to carry out a version of those. It fails when e cannot be read.
func forbidden(v *catalog.View, peers []hlc.Origin, e *change.Entry) (to hlc.Origin, placing bool, err error) {
	if !v.Pinned() {
		return 0, false, nil
	}
	err = change.EachChange(e.Body, func(c *conflict.Change) error {
		for _, o := range peers {
			if table := globaltable.TableID(c.Table); !v.MaySend(table, c.Key, o) {
				to, placing = o, v.Placing(table) != 0
				return errFound
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return to, placing, err
}

// maySend asks once more, before an entry leaves this region, whether the policies in force let the peers have each change in it. While this region places a version of them, what may not be sent waits to be voided, and that is all; else somebody has put it
// where it must not be.
func (n *Node) maySend(lane globaltable.LaneID, peers []hlc.Origin, e *change.Entry) error {
	to, placing, err := forbidden(n.catalog.View(), peers, e)
	if err != nil || to == 0 {
		return err
	}
	held := &heldBack{lane, n.regionName(to)}
	n.metrics.EgressRefused(held.peer, placing)
	if !placing {
		n.offences.add(held.Error(), 1, time.Now())
	}
	return held
}
