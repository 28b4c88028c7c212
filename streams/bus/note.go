package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Note is an event that is told at a subject of somebody's choice.
type Note struct {
	ID   string // the same for the same event, for ever: it is in the header by which JetStream knows duplicates
	Data []byte // a CloudEvent
}

// errNoteSize says why an event cannot be told.
var errNoteSize = errors.New("an event is larger than a message of the region's NATS can be")

// Tell publishes notes, at most maxAppend, in the account of the events, where the accounts of operators and clients can import them from. It returns nil when the servers have all of them: where a stream takes the subject, when that has confirmed each.
func (e *Events) Tell(ctx context.Context, subject string, notes []Note) error {
	for i := range notes {
		if int64(len(notes[i].Data)) > min(e.nc.MaxPayload()-4096, MaxMessage) {
			return errNoteSize
		}
	}
	_, err := e.js.StreamNameBySubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		for i := range notes {
			if err := e.nc.PublishMsg(notes[i].message(subject)); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
		return e.nc.FlushWithContext(ctx)
	case err != nil:
		return err
	}
	futures := make([]jetstream.PubAckFuture, 0, len(notes))
	for i := range notes {
		f, err := e.js.PublishMsgAsync(notes[i].message(subject))
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (n *Note) message(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Data: n.Data, Header: nats.Header{jetstream.MsgIDHeader: {n.ID}, "Content-Type": {"application/cloudevents+json"}}}
}
