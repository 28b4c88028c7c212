package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/globaltable"
)

// Names of events on the wire. Clients and operators have them.
const (
	eventStreamPrefix  = "EVENTS_"
	eventSubjectPrefix = "concordat.events."
	// PositionHeader has an event's position in its region's stream: cdc.Sequence.
	PositionHeader = "Concordat-Position"
	// OmittedHeader says what an event lacks that would have made it greater than MaxMessage.
	OmittedHeader = "Concordat-Omitted"
)

// Bounds of a reader's consumer. A client that has gone without a word holds what was delivered to it until readerAckWait has passed.
const (
	readerAckWait    = 30 * time.Second
	readerAckPending = 4096
	maxAppend        = 1024 // events of one Append: what the client holds unacknowledged
)

// EventStreamName names the JetStream stream that a table's events go to.
func EventStreamName(table globaltable.TableID) string { return eventStreamPrefix + table.String() }

// EventStreamTable is the inverse of EventStreamName.
func EventStreamTable(name string) (table globaltable.TableID, ok bool) {
	text, ok := strings.CutPrefix(name, eventStreamPrefix)
	if !ok {
		return 0, false
	}
	table, err := globaltable.ParseTableID(text)
	return table, err == nil
}

// EventSubject is the subject of a table's events of a kind (insert, modify, remove) of a lane. It has nothing of an item.
func EventSubject(table, kind string, lane globaltable.LaneID) string {
	return eventSubjectPrefix + subjectToken(table) + "." + kind + "." + lane.String()
}

// EventSubjects matches the subjects of all events of a table.
func EventSubjects(table string) string { return eventSubjectPrefix + subjectToken(table) + ".>" }

// subjectToken makes a table's name one token of a subject: a point, the only character that names may have and tokens may not, becomes %2E.
func subjectToken(name string) string { return strings.ReplaceAll(name, ".", "%2E") }

// EventStream is how the stream of a table's events is to be.
type EventStream struct {
	Name     string // EventStreamName
	Subjects string // EventSubjects
	MaxAge   time.Duration
	MaxBytes int64
}

// Event is one event to be appended.
type Event struct {
	Subject  string
	ID       string        // the same for the same event, for ever
	Position string        // see PositionHeader
	Omitted  string        // see OmittedHeader; empty: nothing
	Keep     time.Duration // if it is to go earlier than by the stream's MaxAge; else 0. Whole seconds
	Data     []byte        // at most MaxMessage
}

// EventReader is what a stream has of one of its consumers. Both are sequences of the stream.
type EventReader struct {
	Delivered uint64 // the last one that was delivered
	Floor     uint64 // it and all before it were acknowledged
	Pending   uint64 // events that were not delivered yet
}

// EventState is what there is of a stream.
type EventState struct {
	Exists      bool
	Config      EventStream
	First, Last uint64 // sequences; First says nothing while there are no messages
	Messages    uint64
	Bytes       int64
	Head, Tail  string // the positions of the first and the last event; empty if there is none, or it has none
	Readers     map[string]EventReader
}

// Events is the JetStream of a region's events, which lies in an account of its own (ServerConfig), beside the one of the lanes: one stream for each table. It is delivery, not truth: whoever
// publishes finds out by State what is there. Its methods may be called from several goroutines; one at a time appends to a stream.
type Events struct {
	region   string
	nc       *nats.Conn
	js       jetstream.JetStream
	replicas int
	volatile bool                              // consumers need not survive the server
	erased   func(stream string) (bool, error) // whether nothing of a deleted stream is left in files; nil: that cannot be known
	lost     chan struct{}
}

// connectEvents connects to the account of the events. The servers may not have it yet: it is tried for ever, and what is asked meanwhile fails.
func connectEvents(region string, urls []string, opts []nats.Option, replicas int, log zerolog.Logger) (*Events, error) {
	lost := make(chan struct{}, 1)
	opts = append(slices.Clone(opts), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.ConnectHandler(func(*nats.Conn) { signal(lost) }))
	nc, err := connectHome(region+" events", urls, opts, lost, log)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxPendingMessages), jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Events{region: region, nc: nc, js: js, replicas: replicas, lost: lost}, nil
}

func (e *Events) close() {
	if e != nil {
		e.nc.Close()
	}
}

// Lost returns a channel that receives whenever JetStream may have lost or rolled back its streams: after each connection.
func (e *Events) Lost() <-chan struct{} { return e.lost }

// State returns what there is of a stream. What its readers have had is asked before the rest: who sees a floor sees, too, if what raised it was not a reader but a purge.
func (e *Events) State(ctx context.Context, name string) (EventState, error) {
	const op = "look at events"
	stream, err := e.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return EventState{}, nil
	}
	if err != nil {
		return EventState{}, e.fault(op, name, err)
	}
	readers := map[string]EventReader{}
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		readers[c.Name] = EventReader{Delivered: c.Delivered.Stream, Floor: c.AckFloor.Stream, Pending: c.NumPending}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return EventState{}, e.fault(op, name, err)
	}
	info, err := stream.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return EventState{}, nil
	}
	if err != nil {
		return EventState{}, e.fault(op, name, err)
	}
	out := EventState{Exists: true, First: info.State.FirstSeq, Last: info.State.LastSeq, Messages: info.State.Msgs, Bytes: int64(info.State.Bytes), Readers: readers,
		Config: EventStream{Name: name, MaxAge: info.Config.MaxAge, MaxBytes: info.Config.MaxBytes}}
	if len(info.Config.Subjects) == 1 {
		out.Config.Subjects = info.Config.Subjects[0]
	}
	if out.Messages > 0 {
		if out.Head, err = position(ctx, stream, out.First); err != nil {
			return EventState{}, e.fault(op, name, err)
		}
		if out.Tail, err = position(ctx, stream, out.Last); err != nil {
			return EventState{}, e.fault(op, name, err)
		}
	}
	return out, nil
}

// position returns the position of the event with a sequence; empty: it has none, or has gone.
func position(ctx context.Context, stream jetstream.Stream, seq uint64) (string, error) {
	msg, err := stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return msg.Header.Get(PositionHeader), nil
}

// Position returns the position of the event with that sequence; empty: it, or the stream, has gone.
func (e *Events) Position(ctx context.Context, name string, seq uint64) (string, error) {
	stream, err := e.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", nil
	}
	var at string
	if err == nil {
		at, err = position(ctx, stream, seq)
	}
	if err != nil {
		return "", e.fault("look at events", name, err)
	}
	return at, nil
}

// Make deletes the stream, whatever it holds, with its consumers, and makes it anew, empty. Where that can be known, it returns when nothing of the old one is left in files.
func (e *Events) Make(ctx context.Context, s EventStream) error {
	if err := e.Remove(ctx, s.Name); err != nil {
		return err
	}
	if err := createStream(ctx, e.js, e.config(s)); err != nil {
		return e.fault("make stream of events", s.Name, err)
	}
	return nil
}

// Adjust changes the bounds of a stream to those given.
func (e *Events) Adjust(ctx context.Context, s EventStream) error {
	if _, err := e.js.UpdateStream(ctx, e.config(s)); err != nil {
		return e.fault("change stream of events", s.Name, err)
	}
	return nil
}

// config keeps a window of duplicates as short as NATS lets it be: Append says at which sequence each event belongs.
func (e *Events) config(s EventStream) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: s.Name, Subjects: []string{s.Subjects}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		MaxAge: s.MaxAge, MaxBytes: s.MaxBytes, Replicas: e.replicas, Duplicates: min(100*time.Millisecond, s.MaxAge), AllowMsgTTL: true}
}

// Remove deletes the stream. It is no error if there is none.
func (e *Events) Remove(ctx context.Context, name string) error {
	if err := e.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return e.fault("delete stream of events", name, err)
	}
	for e.erased != nil {
		done, err := e.erased(name)
		if err != nil {
			return e.fault("delete stream of events", name, err)
		}
		if done {
			return nil
		}
		select { // the server erases files after it has answered, and says no more
		case <-ctx.Done():
			return e.fault("delete stream of events", name, ctx.Err())
		case <-time.After(retryPause):
		}
	}
	return nil
}

// Names returns the names of all streams of events that there are.
func (e *Events) Names(ctx context.Context) (names []string, err error) {
	list := e.js.StreamNames(ctx)
	for name := range list.Name() {
		if _, ok := EventStreamTable(name); ok {
			names = append(names, name)
		}
	}
	if err := list.Err(); err != nil {
		return nil, e.fault("list streams of events", "", err)
	}
	return names, nil
}

// Append puts events at the end of a stream of which last is the last sequence, each only behind the one before: after an error the stream has some of them, the first ones, or none; or, if the error is ErrGap, others, since
// somebody else has put something between. It returns when it is known of
// each whether JetStream has it, or when ctx is done. There may be maxAppend events at most.
func (e *Events) Append(ctx context.Context, stream string, last uint64, events []Event) error {
	futures := make([]jetstream.PubAckFuture, 0, len(events))
	var failed error
	for i := range events {
		f, err := e.js.PublishMsgAsync(events[i].message(), jetstream.WithRetryAttempts(0), jetstream.WithExpectLastSequence(last+uint64(i)), jetstream.WithExpectStream(stream))
		if err != nil {
			failed = err
			break
		}
		futures = append(futures, f)
	}
	for i, f := range futures {
		select {
		case ack := <-f.Ok():
			switch want := last + uint64(i) + 1; {
			case failed != nil:
				failed = errors.Join(ErrGap, failed)
			case ack.Sequence != want:
				failed = fmt.Errorf("sequence %d instead of %d", ack.Sequence, want)
			}
		case err := <-f.Err():
			if failed == nil {
				failed = err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if failed != nil {
		return e.fault("publish events", stream, failed)
	}
	return nil
}

func (x *Event) message() *nats.Msg {
	m := &nats.Msg{Subject: x.Subject, Data: x.Data, Header: nats.Header{jetstream.MsgIDHeader: {x.ID}, PositionHeader: {x.Position}, "Content-Type": {"application/cloudevents+json"}}}
	if x.Omitted != "" {
		m.Header[OmittedHeader] = []string{x.Omitted}
	}
	if x.Keep > 0 {
		m.Header[jetstream.MsgTTLHeader] = []string{strconv.FormatInt(int64(max(x.Keep, time.Second)/time.Second), 10) + "s"}
	}
	return m
}

// SetReader makes a durable consumer that begins at a sequence, in the place of one of that name if there is one.
func (e *Events) SetReader(ctx context.Context, stream, name string, from uint64) error {
	if err := e.RemoveReader(ctx, stream, name); err != nil {
		return err
	}
	_, err := e.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: readerAckWait, MaxDeliver: -1,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1), MaxAckPending: readerAckPending, MemoryStorage: e.volatile,
		MaxWaiting: maxPullRequests, MaxRequestExpires: maxPullExpires, MaxRequestMaxBytes: maxPullBytes})
	if err != nil {
		return e.fault("make consumer of events", stream, err)
	}
	return nil
}

// RemoveReader removes a consumer. It is no error if there is none.
func (e *Events) RemoveReader(ctx context.Context, stream, name string) error {
	err := e.js.DeleteConsumer(ctx, stream, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return e.fault("remove consumer of events", stream, err)
	}
	return nil
}

// Read calls f with what the stream has, in order, and what comes meanwhile or not; f's error ends it. It is no error if there is no stream. It goes event by event, and consumes nothing.
func (e *Events) Read(ctx context.Context, name string, f func(position string, data []byte) error) error {
	fault := func(err error) error { return e.fault("read events", name, err) }
	return eachMessage(ctx, e.js, name, fault, func(msg *jetstream.RawStreamMsg) error {
		return f(msg.Header.Get(PositionHeader), msg.Data)
	})
}

func (e *Events) fault(op, name string, err error) error {
	return &globaltable.Error{Op: op, Resource: strings.TrimSpace(name + " of " + e.region), Kind: globaltable.Unavailable, Err: err}
}
