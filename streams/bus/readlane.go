package bus

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/concordat-db/concordat/globaltable"
)

// ReadLane implements Home.
func (h *jetHome) ReadLane(ctx context.Context, id globaltable.LaneID, f func(msg []byte) error) error {
	fault := func(err error) error { return h.fault("read lane", id, globaltable.Unavailable, err) }
	return eachMessage(ctx, h.js, streamName(id), fault, func(msg *jetstream.RawStreamMsg) error { return f(msg.Data) })
}

// eachMessage calls f with what a stream has, in order; f's error ends it. It is no error if there is no stream. Messages that go meanwhile are passed over. It goes one by one, and consumes nothing. fault makes an error of what JetStream says.
func eachMessage(ctx context.Context, js jetstream.JetStream, name string, fault func(error) error, f func(*jetstream.RawStreamMsg) error) error {
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fault(err)
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		msg, err := stream.GetMsg(ctx, seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
			continue // dropped meanwhile, or the stream was made anew
		case err != nil:
			return fault(err)
		}
		if err := f(msg); err != nil {
			return err
		}
	}
	return nil
}

// ReadLane implements Home.
func (h *MemoryHome) ReadLane(_ context.Context, id globaltable.LaneID, f func(msg []byte) error) error {
	h.network.mu.Lock()
	var messages []memoryMessage
	if lane := h.network.region(h.name).lanes[id]; lane != nil {
		messages = slices.Clone(lane.messages)
	}
	h.network.mu.Unlock()
	for _, m := range messages {
		if err := f(slices.Clone(m.data)); err != nil {
			return err
		}
	}
	return nil
}
