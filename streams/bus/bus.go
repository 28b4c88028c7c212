// Package bus carries lanes and peer requests between regions. It is delivery, not truth: whatever it loses, repeats,
// reorders or brings back, the layers above notice by their own sequence and chain and repair from the origin's log.
//
// An origin has a Home: for each lane one stream, on it one durable, unfiltered pull consumer for each peer. A peer
// dials it and gets a Link, which can do three things only: fetch from its consumers, acknowledge, and ask the peer service.
//
// There are three homes, held to one behaviour by one suite: Embedded (a NATS server in this process), External (somebody else's NATS
// cluster, with the accounts of ServerConfig) and Memory (a network in memory, with faults on demand).
//
// Each peer has a NATS account of its own, which imports its fetch subject, its acknowledgement subjects and its peer service from the region's
// account, and nothing else. An allow-list within one account would not do: a peer chooses the reply subject of a fetch, and nobody
// checks that it may publish there, so the server itself would write messages back into the lane for it. Across accounts
// the server makes up the reply subject on the region's side, and delivers to the peer's choice only within the peer's own account.
//
// Through such imports an origin cannot see that a peer has gone: requests of a broken link wait on and swallow messages. So a
// Pull begins with a word to the peer service, and the origin makes the consumer anew at its acknowledgement floor. That also keeps stream order
// over reconnections, where redelivery by time would bring old messages behind new ones.
//
// Answers of the peer service come in numbered parts. The asker says how many it has consumed, the origin keeps a bounded number in flight,
// and both give signs of life, so that neither waits for the other for ever. See frame.go for the words.
package bus

import (
	"context"

	"github.com/concordat-db/concordat/globaltable"
)

// MaxMessage is the greatest message, in bytes, that a lane or an answer of the peer service carries: NATS's default of 1 MiB
// less room for headers.
const MaxMessage = 1<<20 - 4096

// LaneSpec describes a lane's stream at its origin.
type LaneSpec struct {
	ID       globaltable.LaneID
	Peers    []string // region names; each gets a consumer
	MaxBytes int64    // the stream keeps at most so much and drops the oldest
}

// Home is a region's own bus, as the origin uses it. Its methods may be called from several goroutines.
type Home interface {
	// SetPeers says who may dial from now on. Whoever is not in the list any more gets no answer and no message with its next word; a home that has its server in
	// its own hands also ends its connections at once and lets it in no more. The others keep their connections and go on. Lanes and their consumers stay as they are:
	// which peer follows which lane is OpenLane's. A list with faults changes nothing.
	SetPeers(ctx context.Context, peers []Peer) error
	// ResetLane deletes the lane's stream, whatever it holds, and makes it anew, empty, without consumers: nobody can fetch yet.
	ResetLane(ctx context.Context, lane LaneSpec) error
	// OpenLane makes the peers' consumers, beginning at the stream's first message, and removes consumers of others.
	OpenLane(ctx context.Context, lane LaneSpec) error
	// RemoveLane deletes the lane's stream. It is no error if there is none.
	RemoveLane(ctx context.Context, id globaltable.LaneID) error
	// Lanes returns the lanes of which there is a stream, whoever made it and when, in order. Streams that are none of lanes are passed over.
	Lanes(ctx context.Context) ([]globaltable.LaneID, error)
	// Publish appends msg to the lane's stream without waiting; messages of one goroutine keep their order. It blocks while too
	// many are unacknowledged. done is called once, from another goroutine, with nil when the bus has taken the message or with the error; it must
	// not block, because the others wait behind it. After an error of Publish itself it is not called. Nothing is retried.
	// msg belongs to the bus until then.
	Publish(ctx context.Context, id globaltable.LaneID, msg []byte, done func(error)) error
	// ReadLane calls f with the messages that the lane's stream has, in order, and those that come meanwhile or not; f's error ends it. It is no error if there is no stream. It is for
	// who looks after what is there: it goes message by message, and nothing is consumed.
	ReadLane(ctx context.Context, id globaltable.LaneID, f func(msg []byte) error) error
	// Serve answers peer requests until ctx is done, then returns nil when all handlers have returned. At most a bounded number of
	// handlers run at once; further requests are answered with an error.
	Serve(ctx context.Context, h Handler) error
	// Reset returns a channel that receives whenever the bus may have lost or rolled back its streams (restart, reconnect to
	// another server, stream gone), so that the owner resets and refills its lanes.
	Reset() <-chan struct{}
	// Close releases everything and waits for its goroutines.
	Close() error
}

// Handler answers one request of the peer named. reply may be called any number of times; each call sends one part, at most
// MaxMessage bytes, in order, and blocks while the peer does not keep up. The returned error, if any, is sent as the end of the answer.
// request is valid until Handler returns.
type Handler func(ctx context.Context, peer string, request []byte, reply func(part []byte) error) error

// Message is one message of a lane as a peer gets it.
type Message struct {
	Data []byte // owned by the receiver
	// Ack acknowledges this message and all before it in the lane. It does not wait, it may be lost with the link, and it may fail once the
	// Pull that delivered the message is over: what is not acknowledged comes again with the next Pull.
	Ack func() error
}

// Link is a peer's connection to an origin. Its methods may be called from several goroutines.
type Link interface {
	// Pull delivers the lane's messages in stream order, from the first that was not acknowledged, until ctx is done or the link or the
	// consumer fails. It keeps requests for about windowBytes outstanding, so that a long link stays full; a window is at least one message of
	// the greatest size. deliver may block: nothing beyond the window is fetched then. One Pull at a time for each lane and region.
	Pull(ctx context.Context, lane globaltable.LaneID, windowBytes int, deliver func(Message)) error
	// Request asks the origin's peer service and calls each with every part of the answer, in order; each part is the receiver's to keep. The error is the handler's (a *RemoteError),
	// the link's or ctx's.
	Request(ctx context.Context, request []byte, each func(part []byte) error) error
	// Probe checks that this peer's credential can do no more than it should: it returns an error if any of a list of forbidden actions
	// (stream info, reading a stream directly, making a consumer, publishing into a lane, a foreign inbox) was possible.
	Probe(ctx context.Context) error
	// Close releases the link and waits for its goroutines.
	Close() error
}

// RemoteError is an error that the other side's handler returned.
type RemoteError struct{ Message string }

func (e *RemoteError) Error() string { return e.Message }
