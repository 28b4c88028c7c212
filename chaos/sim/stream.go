package sim

import (
	"slices"

	"github.com/concordat-db/concordat/chaos/check"
	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
)

// jetstream is the adversarial model of one region's JetStream: one stream for each lane, on it one durable AckAll consumer for each peer.
type jetstream struct {
	streams map[globaltable.LaneID]*stream
	bound   int // messages that a stream keeps
}

// stored is one message of a stream.
type stored struct {
	data []byte
	seq  uint64 // of the lane's entry that it is part of

	incarnation globaltable.Incarnation // of the origin's store then
	keys        []check.Key             // of the items that the entry changes
}

// stream holds the messages first, first+1, … A consumer's cursors are stream sequences.
type stream struct {
	first     uint64
	messages  []stored
	consumers map[hlc.Origin]*consumer // none: closed to peers
	old       *stream                  // as it was a while ago: what a rollback brings back
	stale     bool                     // it came back as it was before, or is of a store that is not there any more, and was not made anew since
}

type consumer struct {
	acked     uint64 // nothing at or below it is delivered again
	delivered uint64
}

func newJetstream(bound int) *jetstream {
	return &jetstream{streams: map[globaltable.LaneID]*stream{}, bound: bound}
}

// reset makes the lane's stream anew, closed. What it was remains for a rollback.
func (j *jetstream) reset(lane globaltable.LaneID) {
	fresh := &stream{first: 1}
	if s := j.streams[lane]; s != nil {
		fresh.old = s.clone()
	}
	j.streams[lane] = fresh
}

// open lets the peers fetch from the first message on; false when the stream is gone.
func (j *jetstream) open(lane globaltable.LaneID, peers []hlc.Origin) bool {
	s := j.streams[lane]
	if s == nil {
		return false
	}
	s.consumers = map[hlc.Origin]*consumer{}
	for _, p := range peers {
		s.consumers[p] = &consumer{acked: s.first - 1, delivered: s.first - 1}
	}
	return true
}

// append stores a message; false when the stream is gone. gone are the messages that the bound pushed out.
func (j *jetstream) append(lane globaltable.LaneID, m stored) (gone []stored, ok bool) {
	s := j.streams[lane]
	if s == nil {
		return nil, false
	}
	s.messages = append(s.messages, m)
	if over := len(s.messages) - j.bound; over > 0 {
		gone = slices.Clone(s.messages[:over])
		s.messages = slices.Delete(s.messages, 0, over)
		s.first += uint64(over)
	}
	return gone, true
}

// fetch returns the peer's next message and its stream sequence.
func (j *jetstream) fetch(lane globaltable.LaneID, peer hlc.Origin) (m stored, at uint64, ok bool) {
	s := j.streams[lane]
	if s == nil || s.consumers[peer] == nil {
		return stored{}, 0, false
	}
	c := s.consumers[peer]
	next := max(c.delivered+1, s.first)
	if next >= s.first+uint64(len(s.messages)) {
		return stored{}, 0, false
	}
	c.delivered = next
	return s.messages[next-s.first], next, true
}

// ack moves the peer's cursor. A late acknowledgement of an older stream of the same name counts too: nothing tells them apart.
func (j *jetstream) ack(lane globaltable.LaneID, peer hlc.Origin, at uint64) {
	if s := j.streams[lane]; s != nil && s.consumers[peer] != nil {
		c := s.consumers[peer]
		c.acked = max(c.acked, at)
		c.delivered = max(c.delivered, c.acked)
	}
}

// redeliver begins again after what was acknowledged, as JetStream does when acknowledgements do not come.
func (j *jetstream) redeliver(lane globaltable.LaneID, peer hlc.Origin) {
	if s := j.streams[lane]; s != nil && s.consumers[peer] != nil {
		s.consumers[peer].delivered = s.consumers[peer].acked
	}
}

// remember keeps the stream as it is, for a later rollback.
func (j *jetstream) remember(lane globaltable.LaneID) {
	if s := j.streams[lane]; s != nil {
		s.old = s.clone()
	}
}

// rollback brings back the stream as remembered; sequences after that are given again.
func (j *jetstream) rollback(lane globaltable.LaneID) bool {
	s := j.streams[lane]
	if s == nil || s.old == nil {
		return false
	}
	j.streams[lane] = s.old
	s.old.stale = true
	return true
}

// cut takes the last n messages away. Cursors stay, so what comes in their place may never be delivered.
func (j *jetstream) cut(lane globaltable.LaneID, n int) (gone []stored) {
	s := j.streams[lane]
	if s == nil {
		return nil
	}
	n = min(n, len(s.messages))
	gone = slices.Clone(s.messages[len(s.messages)-n:])
	s.messages = s.messages[:len(s.messages)-n]
	return gone
}

func (s *stream) clone() *stream {
	out := &stream{first: s.first, messages: slices.Clone(s.messages), stale: s.stale}
	if s.consumers != nil {
		out.consumers = map[hlc.Origin]*consumer{}
		for p, c := range s.consumers {
			copied := *c
			out.consumers[p] = &copied
		}
	}
	return out
}
