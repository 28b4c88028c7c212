// Package peer is the one request/reply service that a region offers to each of its peers: hello, positions (the heartbeat), confirm, read-log, exchange
// (whole records, package repair), handing records over (package handover), control (the catalog's own requests), triggers (how far they are, package trigger) and forward (a client's request that may not be served where it was made). Requests are JSON; an answer is a series of parts, each beginning with one byte
// that says what follows: a JSON document, a change log message, a piece of encoded records, or an error.
//
// Positions is the heartbeat in both directions: the asker tells how far it has durably applied the origin's lanes, and its row of watermarks; the
// origin checks that against its own log, and answers with its heads, its HLC and the rows that it knows.
package peer

import (
	"encoding/json"
	"errors"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/change"
	"github.com/concordat-db/concordat/streams/handover"
	"github.com/concordat-db/concordat/streams/inbox"
	"github.com/concordat-db/concordat/streams/repair"
	"github.com/concordat-db/concordat/streams/trigger"
	"github.com/concordat-db/concordat/streams/watermark"
)

const (
	protocolVersion = 1

	partDocument = 1
	partEntry    = 2
	partError    = 3
	partRecords  = 4

	maxRequest = 256 << 10 // bytes
)

// request is what a peer asks. Exactly one of the pointers is set.
type request struct {
	Version   int                    `json:"v"`
	Hello     *Hello                 `json:"hello,omitempty"`
	Positions *Positions             `json:"positions,omitempty"`
	Confirm   *Confirm               `json:"confirm,omitempty"`
	ReadLog   *ReadLog               `json:"readLog,omitempty"`
	Exchange  *repair.Request        `json:"exchange,omitempty"`
	Digests   *repair.DigestsRequest `json:"digests,omitempty"`
	Repair    *repair.RepairRequest  `json:"repair,omitempty"`
	HandOver  *handover.Offer        `json:"handOver,omitempty"`
	Offered   *handover.Pull         `json:"offered,omitempty"`
	Control   json.RawMessage        `json:"control,omitempty"`
	Forward   *Forward               `json:"forward,omitempty"`
	Triggers  *trigger.Gossip        `json:"triggers,omitempty"`
}

// Hello introduces a region: it is asked and answered with.
type Hello struct {
	Descriptor  string                  `json:"descriptor"` // signed token
	Incarnation globaltable.Incarnation `json:"incarnation"`
	KnownOfYou  globaltable.Incarnation `json:"knownOfYou"` // the other side's incarnation, as the speaker knows it
}

// Positions is the asker's half of a heartbeat.
type Positions struct {
	Incarnation globaltable.Incarnation `json:"incarnation"` // the asker's own
	Physical    int64                   `json:"physical"`    // the asker's wall clock, Unix milliseconds
	Rows        []watermark.Row         `json:"rows"`        // all that the asker knows, its own included
	Clock       hlc.Timestamp           `json:"clock"`       // the asker's, read after Rows and Applied: what it wrote before it had applied what they say has a stamp at or below it
	Applied     []Applied               `json:"applied"`     // of the origin's lanes
}

// Applied is how far the asker has durably applied one lane of the origin.
type Applied struct {
	Lane        globaltable.LaneID      `json:"lane"`
	Incarnation globaltable.Incarnation `json:"incarnation"`
	Seq         uint64                  `json:"seq"`
	Chain       globaltable.Chain       `json:"chain"`
	// Diverged: what the origin's log has after it does not continue Chain, or the origin has told less of the lane than it had before. It may have trimmed its log beyond Seq, which may be 0, and could not
	// tell by itself. Such a position confirms nothing.
	Diverged bool `json:"diverged,omitempty"`
}

// Confirm tells positions between heartbeats, of lanes whose origin has writers that wait for them. The answer is empty.
type Confirm struct {
	Incarnation globaltable.Incarnation `json:"incarnation,omitempty"` // the asker's own
	Applied     []Applied               `json:"applied"`
	Clock       hlc.Timestamp           `json:"clock"` // the asker's, read after Applied
}

// Pulse is the origin's half: every write that it stamped at or below HLC is durable, in its lanes at or below Heads.
type Pulse struct {
	Incarnation globaltable.Incarnation              `json:"incarnation"`
	Physical    int64                                `json:"physical"`
	HLC         hlc.Timestamp                        `json:"hlc"`
	Heads       []inbox.Head                         `json:"heads"` // of the lanes that the asker shares
	Rows        []watermark.Row                      `json:"rows"`
	Clock       hlc.Timestamp                        `json:"clock"`           // read after Rows
	Purge       map[globaltable.LaneID]hlc.Timestamp `json:"purge,omitempty"` // purge frontiers of those lanes
}

// ReadLog asks for entries of a lane.
type ReadLog struct {
	Lane        globaltable.LaneID      `json:"lane"`
	Incarnation globaltable.Incarnation `json:"incarnation"`
	From        uint64                  `json:"from"`     // first sequence wanted
	MaxBytes    int                     `json:"maxBytes"` // bodies, about; at least one entry comes
}

// LogEnd follows the entries of a page.
type LogEnd struct {
	Incarnation globaltable.Incarnation `json:"incarnation"`
	Done        bool                    `json:"done"` // the page reached the durable head
}

// wireError carries a globaltable.Error.
type wireError struct {
	Op       string           `json:"op,omitempty"`
	Resource string           `json:"resource,omitempty"`
	Kind     globaltable.Kind `json:"kind"`
	Message  string           `json:"message,omitempty"`
	Trimmed  bool             `json:"trimmed,omitempty"`

	World globaltable.Version `json:"world,omitempty"` // of a NotFollowed
}

// NotFollowed is the cause of an error of kind Fenced: the region that answers does not replicate with the one that asks, by that version of the world's document. One that knows a later version, by
// which it is followed, has nothing to do but to wait until the other one has heard.
type NotFollowed struct{ World globaltable.Version }

func (e *NotFollowed) Error() string {
	return "by version " + e.World.String() + " of the world's document"
}

func encodeError(err error) []byte {
	w := wireError{Kind: globaltable.KindOf(err), Message: err.Error(), Trimmed: errors.Is(err, change.ErrTrimmed)}
	var e *globaltable.Error
	if errors.As(err, &e) {
		w.Op, w.Resource = e.Op, e.Resource
		if e.Message != "" {
			w.Message = e.Message
		}
	}
	var refusal *NotFollowed
	if errors.As(err, &refusal) {
		w.World = refusal.World
	}
	b, _ := json.Marshal(w) // strings and numbers only: cannot fail
	return append([]byte{partError}, b...)
}

func decodeError(b []byte) error {
	var w wireError
	if err := json.Unmarshal(b, &w); err != nil {
		return &globaltable.Error{Op: "ask peer", Kind: globaltable.Corrupt, Err: err}
	}
	if w.Trimmed {
		return change.ErrTrimmed
	}
	err := &globaltable.Error{Op: w.Op, Resource: w.Resource, Kind: globaltable.KnownKind(w.Kind), Message: w.Message}
	if w.World != 0 {
		err.Err = &NotFollowed{w.World}
	}
	return err
}

func encodeDocument(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b)+1 > bus.MaxMessage {
		return nil, &globaltable.Error{Op: "answer peer", Kind: globaltable.LimitExceeded, Message: "answer is larger than a message"}
	}
	return append([]byte{partDocument}, b...), nil
}

// handedOver answers an offer that was taken.
type handedOver struct {
	Clock hlc.Timestamp `json:"clock"` // read after all of it had been logged
}
