package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/concordat-db/concordat/globaltable"
)

// A window is kept full by several requests at once, each for a part of it: while one is used up and asked for again, which takes a round trip,
// the others flow. A request is for one message of the greatest size at least, because one that is greater than what is left of a request ends it.
const (
	pullsPerWindow  = 4
	minPullBytes    = serverMaxPayload + 4096
	pullBatch       = 4096 // messages of one request
	pullExpires     = 30 * time.Second
	pullHeartbeat   = 5 * time.Second
	pullSilence     = 3 * pullHeartbeat           // without a message or heartbeat for so long, the link is given up
	pullOverdue     = pullExpires + pullHeartbeat // a request without an end by then is over: its last word was lost
	pullStatusSlack = 256                         // statuses and heartbeats that may wait beside the messages
)

const (
	maxPullTries = 5                     // when a consumer goes before it has delivered anything
	maxUnheard   = 20 * pullsPerWindow   // requests in a row that no server took, before the consumer counts as gone
	unheardPause = 10 * time.Millisecond // after each
)

var (
	errPulling      = errors.New("bus: the lane is being pulled already")
	errConsumerWent = fmt.Errorf("%w: it was removed", ErrNoConsumer)
	errMessagesLost = fmt.Errorf("%w on the way of some messages", ErrLinkLost)
)

// Pull is Link.Pull. It first has the origin rewind the consumer to what was not acknowledged, so order holds over
// reconnections. Within one Pull a message comes once: what JetStream delivers again is dropped.
func (l *natsLink) Pull(ctx context.Context, lane globaltable.LaneID, windowBytes int, deliver func(Message)) error {
	l.mu.Lock()
	busy := l.pulling[lane]
	l.pulling[lane] = true
	l.mu.Unlock()
	if busy {
		return errPulling
	}
	defer func() {
		l.mu.Lock()
		delete(l.pulling, lane)
		l.mu.Unlock()
	}()
	for tries := 1; ; tries++ {
		delivered, err := l.pullOnce(ctx, lane, windowBytes, deliver)
		// In a cluster a first request may still reach the consumer of before, which goes. Whether there is another, the next rewind says.
		if (errors.Is(err, errConsumerWent) || errors.Is(err, errMessagesLost)) && !delivered && tries < maxPullTries {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return l.fault("pull", err)
	}
}

// pullOnce rewinds and pulls until an error; delivered says whether anything came.
func (l *natsLink) pullOnce(ctx context.Context, lane globaltable.LaneID, windowBytes int, deliver func(Message)) (delivered bool, err error) {
	if err := l.rewind(ctx, lane); err != nil {
		return false, err
	}
	lost, err := l.session()
	if err != nil {
		return false, err
	}
	p := newPuller(l, lane, windowBytes, deliver)
	defer p.end()
	err = p.run(ctx, lost)
	return p.sequence > 0, err
}

func (l *natsLink) rewind(ctx context.Context, lane globaltable.LaneID) error {
	answer, text, err := l.control(ctx, frame{verb: verbRewind, lane: lane})
	switch {
	case err != nil:
		return err
	case answer.verb == verbEnd:
		return nil
	case answer.verb == verbIdle:
		return ErrNoConsumer
	case answer.verb == verbBusy:
		return ErrBusy
	}
	return &RemoteError{Message: string(text)}
}

// puller is the state of one Pull.
type puller struct {
	link    *natsLink
	subject string // of requests for messages
	reply   string // prefix of reply subjects; each request has one of its own
	deliver func(Message)
	request []byte // body of each request
	bytes   int    // that one request asks for

	inbox    chan *nats.Msg
	pulls    []*pull
	asked    int    // requests made
	sequence uint64 // of the stream, delivered last
	count    uint64 // of messages that the consumer gave, the last
	claimed  uint64 // the count by a heartbeat that was ahead of ours, zero if none was
	since    time.Time
	unheard  int // requests in a row that no server took
	ended    atomic.Bool
}

// pull is one request: it is over when it has brought as much as was asked for, or as much as the server says that it sent. A clustered
// server says so before the messages arrive, which wait for their replication.
type pull struct {
	sub      *nats.Subscription
	messages int // still to come at most
	bytes    int // still to come at most, as the server counts
	deadline time.Time
}

func (p *pull) over() bool { return p.messages <= 0 || p.bytes <= 0 }

func newPuller(l *natsLink, lane globaltable.LaneID, windowBytes int, deliver func(Message)) *puller {
	p := &puller{link: l, deliver: deliver, subject: fetchPrefix + streamName(lane) + "." + l.cfg.Region,
		reply: l.nc.NewInbox(), bytes: min(max(windowBytes/pullsPerWindow, minPullBytes), maxPullBytes)}
	pulls := min(max(windowBytes/p.bytes, 1), pullsPerWindow)
	p.pulls = make([]*pull, pulls)
	p.inbox = make(chan *nats.Msg, pulls*pullBatch+pullStatusSlack)
	p.request = fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, pullBatch, p.bytes, pullExpires, pullHeartbeat)
	return p
}

// run asks, delivers and asks again until something fails.
func (p *puller) run(ctx context.Context, lost <-chan struct{}) error {
	silence := time.NewTimer(pullSilence)
	defer silence.Stop()
	for {
		if p.unheard > 0 {
			select {
			case <-time.After(unheardPause):
			case <-ctx.Done():
			}
		}
		if err := p.ask(); err != nil {
			return err
		}
		select {
		case m := <-p.inbox:
			if err := p.take(m); err != nil {
				return err
			}
			silence.Reset(pullSilence)
		case <-lost:
			return p.link.lostError()
		case <-silence.C:
			return fmt.Errorf("%w: no heartbeat of the consumer", ErrLinkLost)
		case <-ctx.Done():
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// ask puts a request in each free place.
func (p *puller) ask() error {
	for i, old := range p.pulls {
		if old != nil && !old.over() {
			continue
		}
		if old != nil {
			_ = old.sub.Unsubscribe() // nothing more comes; fails only without a connection
		}
		p.asked++
		reply := p.reply + "." + strconv.Itoa(p.asked)
		sub, err := p.link.nc.ChanSubscribe(reply, p.inbox)
		if err != nil {
			return err
		}
		p.pulls[i] = &pull{sub: sub, messages: pullBatch, bytes: p.bytes, deadline: time.Now().Add(pullOverdue)}
		if err := p.link.nc.PublishRequest(p.subject, reply, p.request); err != nil {
			return err
		}
	}
	return nil
}

// take handles a message of the lane or a status of the server.
func (p *puller) take(m *nats.Msg) error {
	var from *pull
	for _, candidate := range p.pulls {
		if candidate.sub == m.Sub {
			from = candidate
		}
	}
	if from == nil {
		return nil // of a request that was over: an end that came twice
	}
	if status := m.Header.Get(statusHeader); status != "" && len(m.Data) == 0 {
		return p.status(from, status, m.Header)
	}
	from.messages--
	from.bytes -= len(m.Subject) + len(m.Reply) + len(m.Data)
	p.unheard = 0
	sequence, count, ok := ackNumbers(m.Reply)
	if !ok {
		return fmt.Errorf("%w: a message without an acknowledgement subject", errFrame)
	}
	if count != p.count+1 {
		return fmt.Errorf("%w: message %d of the consumer follows message %d", errMessagesLost, count, p.count)
	}
	p.count = count
	if sequence <= p.sequence {
		return nil
	}
	p.sequence = sequence
	ackSubject := m.Reply
	p.deliver(Message{Data: m.Data, Ack: func() error { return p.ack(ackSubject) }})
	return nil
}

// status handles what the server says about a request.
func (p *puller) status(from *pull, status string, header nats.Header) error {
	switch status {
	case "100": // heartbeat
		if time.Now().After(from.deadline) {
			from.messages = 0
		}
		return p.heartbeat(header)
	case "404", "408":
		from.ends(header)
		return nil
	case "409":
		switch header.Get("Description") {
		case "Batch Completed", "Message Size Exceeds MaxBytes":
			from.ends(header)
			return nil
		case "Consumer Deleted":
			return errConsumerWent
		}
	case statusNoResponders:
		// Servers of a cluster hear of a new consumer a little later than the home does.
		from.messages = 0
		if p.unheard++; p.unheard > maxUnheard {
			return ErrNoConsumer
		}
		return nil
	}
	return fmt.Errorf("consumer: %s %s", status, header.Get("Description"))
}

// heartbeat compares the count of messages with the consumer's. They may differ for a while: a clustered server holds messages until they
// are replicated. For longer they differ when a request of a link before got them, which the server had not yet seen the end of.
func (p *puller) heartbeat(header nats.Header) error {
	count, err := strconv.ParseUint(header.Get("Nats-Last-Consumer"), 10, 64)
	switch {
	case err != nil || count <= p.count:
		p.claimed = 0
	case p.claimed == 0 || p.count >= p.claimed:
		p.claimed, p.since = count, time.Now()
	case time.Since(p.since) >= pullHeartbeat/2:
		return fmt.Errorf("%w: the consumer gave %d, %d came", errMessagesLost, p.claimed, p.count)
	}
	return nil
}

// ends takes what the server will not send off what is still to come.
func (p *pull) ends(header nats.Header) {
	unused, err := strconv.Atoi(header.Get("Nats-Pending-Messages"))
	if err != nil {
		unused = p.messages // none told: nothing more comes
	}
	p.messages -= unused
}

// ack acknowledges unless the Pull is over. The consumer of the next one counts from the beginning: an acknowledgement of this one would put its
// floor above the numbers that it gives, and it would ignore what is acknowledged until they reach it.
func (p *puller) ack(subject string) error {
	if p.ended.Load() {
		return ErrLinkLost
	}
	return p.link.nc.Publish(subject, nil)
}

func (p *puller) end() {
	p.ended.Store(true)
	for _, pull := range p.pulls {
		if pull != nil {
			_ = pull.sub.Unsubscribe() // fails only without a connection
		}
	}
}

// ackNumbers returns the stream's sequence and the consumer's count from an acknowledgement subject, in its short form of 9 tokens or its
// long one of 11 or more:
//
//	$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer's count>.<time>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer's count>…
func ackNumbers(subject string) (sequence, count uint64, ok bool) {
	if !strings.HasPrefix(subject, fetchedReplies) {
		return 0, 0, false
	}
	tokens := strings.Count(subject, ".") + 1
	at := 5
	switch {
	case tokens >= 11:
		at = 7
	case tokens != 9:
		return 0, 0, false
	}
	rest := subject
	for range at {
		_, rest, _ = strings.Cut(rest, ".")
	}
	first, rest, _ := strings.Cut(rest, ".")
	second, _, _ := strings.Cut(rest, ".")
	sequence, err1 := strconv.ParseUint(first, 10, 64)
	count, err2 := strconv.ParseUint(second, 10, 64)
	return sequence, count, err1 == nil && err2 == nil
}
