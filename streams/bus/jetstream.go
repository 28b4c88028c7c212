package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/globaltable"
)

// Bounds of a peer's consumer.
const (
	maxAckPending   = 1 << 16               // messages delivered and not acknowledged; then delivery stops
	maxPullRequests = 64                    // waiting at once
	maxPullBytes    = 64 << 20              // of one request
	maxPullExpires  = time.Minute           // of one request
	retryPause      = 20 * time.Millisecond // before a change of streams or consumers is tried again
	maxCreateTries  = 5
	ackWait         = 10 * time.Minute // a link drops what is delivered again, and a new one rewinds: redelivery by time is the last resort
)

// jetHome is the Home that Embedded and External share: JetStream over one connection of the region's own user.
type jetHome struct {
	region   string
	nc       *nats.Conn
	js       jetstream.JetStream
	storage  jetstream.StorageType // of lanes' streams
	replicas int
	log      zerolog.Logger
	out      *publisher
	desk     *answerer

	reset chan struct{}
	lanes sync.Mutex // one change of streams or consumers at a time
	// open has the lanes that were opened since this home was made, and for each peer that may fetch the floor at which its consumer was made
	// last: a clustered consumer that has done nothing yet shows none. Guarded by lanes.
	open map[globaltable.LaneID]map[string]uint64
}

// newJetHome takes the connection over. It starts the publisher and the answerer; close stops them and closes the connection.
func newJetHome(region string, nc *nats.Conn, storage jetstream.StorageType, replicas int, log zerolog.Logger, reset chan struct{}) (*jetHome, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2*maxPendingMessages), jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		return nil, err
	}
	h := &jetHome{region: region, nc: nc, js: js, storage: storage, replicas: replicas, log: log, reset: reset, open: map[globaltable.LaneID]map[string]uint64{}}
	if h.desk, err = newAnswerer(nc, log, h.rewindLane); err != nil {
		return nil, err
	}
	h.out = startPublisher(js, func() { signal(reset) })
	return h, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already, and says the same
	}
}

func (h *jetHome) Reset() <-chan struct{} { return h.reset }

func (h *jetHome) Serve(ctx context.Context, handler Handler) error {
	return h.desk.serve(ctx, handler)
}

func (h *jetHome) Publish(ctx context.Context, id globaltable.LaneID, msg []byte, done func(error)) error {
	return h.out.publish(ctx, id, msg, done)
}

func (h *jetHome) Close() error {
	h.desk.close()
	h.out.close()
	h.nc.Close()
	return nil
}

func (h *jetHome) ResetLane(ctx context.Context, lane LaneSpec) error {
	if lane.MaxBytes <= 0 {
		return h.fault("reset lane", lane.ID, globaltable.Invalid, errors.New("MaxBytes is not positive"))
	}
	h.lanes.Lock()
	defer h.lanes.Unlock()
	delete(h.open, lane.ID)
	if err := h.deleteStream(ctx, lane.ID); err != nil {
		return h.fault("reset lane", lane.ID, globaltable.Unavailable, err)
	}
	h.out.forget(lane.ID)
	err := createStream(ctx, h.js, jetstream.StreamConfig{
		Name: streamName(lane.ID), Subjects: []string{laneSubject(lane.ID)},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: h.storage,
		MaxBytes: lane.MaxBytes, Replicas: h.replicas,
	})
	if err != nil {
		return h.fault("reset lane", lane.ID, globaltable.Unavailable, err)
	}
	return nil
}

// errNotEmpty is told of a stream that was made, and has messages.
var errNotEmpty = errors.New("the stream that was made has what the deleted one had")

// createStream makes a stream in the place of one that was deleted, and returns only when it is empty. A server (v2.15.2) does two things that make it try a few times: having deleted the last stream of an account it also removes the account's
// directory, perhaps from under the stream that is being made; and while it still erases the files of a deleted stream it leaves where they are those of the next one of that name that is deleted, and the one made after that begins with them.
func createStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) error {
	for tries := 1; ; tries++ {
		err := createEmpty(ctx, js, cfg)
		var api *jetstream.APIError
		if err == nil || !errors.As(err, &api) && !errors.Is(err, errNotEmpty) || tries == maxCreateTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryPause):
		}
	}
}

// createEmpty makes a stream, and deletes it again if it is not empty.
func createEmpty(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) error {
	stream, err := js.CreateStream(ctx, cfg)
	if err != nil || stream.CachedInfo().State.LastSeq == 0 {
		return err
	}
	if err := js.DeleteStream(ctx, cfg.Name); err != nil {
		return errors.Join(errNotEmpty, err)
	}
	return errNotEmpty
}

func (h *jetHome) OpenLane(ctx context.Context, lane LaneSpec) error {
	h.lanes.Lock()
	defer h.lanes.Unlock()
	stream, err := h.js.Stream(ctx, streamName(lane.ID))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return h.fault("open lane", lane.ID, globaltable.NotFound, ErrNoLane)
	}
	if err != nil {
		return h.fault("open lane", lane.ID, globaltable.Unavailable, err)
	}
	names := stream.ConsumerNames(ctx)
	existing := map[string]bool{}
	for name := range names.Name() {
		existing[name] = true
	}
	if err := names.Err(); err != nil {
		return h.fault("open lane", lane.ID, globaltable.Unavailable, err)
	}
	peers := map[string]uint64{}
	for _, peer := range lane.Peers {
		if err := globaltable.ValidateRegionName(peer); err != nil {
			return h.fault("open lane", lane.ID, globaltable.Invalid, err)
		}
		peers[peer] = h.open[lane.ID][peer]
		if existing[peer] {
			delete(existing, peer)
			continue
		}
		if _, err := stream.CreateConsumer(ctx, consumerConfig(peer, 0)); err != nil {
			return h.fault("open lane", lane.ID, globaltable.Unavailable, err)
		}
	}
	for name := range existing {
		if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return h.fault("open lane", lane.ID, globaltable.Unavailable, err)
		}
	}
	h.open[lane.ID] = peers
	return nil
}

func (h *jetHome) RemoveLane(ctx context.Context, id globaltable.LaneID) error {
	h.lanes.Lock()
	defer h.lanes.Unlock()
	delete(h.open, id)
	if err := h.deleteStream(ctx, id); err != nil {
		return h.fault("remove lane", id, globaltable.Unavailable, err)
	}
	h.out.forget(id)
	return nil
}

func (h *jetHome) Lanes(ctx context.Context) (out []globaltable.LaneID, err error) {
	names := h.js.StreamNames(ctx)
	for name := range names.Name() {
		if id, ok := laneOf(name); ok {
			out = append(out, id)
		}
	}
	if err := names.Err(); err != nil {
		return nil, &globaltable.Error{Op: "list lanes", Resource: h.region, Kind: globaltable.Unavailable, Err: err}
	}
	slices.Sort(out)
	return out, nil
}

func (h *jetHome) deleteStream(ctx context.Context, id globaltable.LaneID) error {
	if err := h.js.DeleteStream(ctx, streamName(id)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return nil
}

// rewindLane sets a peer's consumer back to its first unacknowledged message, so that a link that begins again gets the lane in order and
// at once: without it, what was under way when the last link broke would come after ackWait, behind what follows it.
//
// The consumer is made anew. A reset of it (API CONSUMER.RESET) would keep the requests of the link before, and a clustered server cannot
// see that nobody waits for those any more when they came by a service import: they would swallow messages until they expire.
func (h *jetHome) rewindLane(ctx context.Context, peer string, lane globaltable.LaneID) error {
	h.lanes.Lock()
	defer h.lanes.Unlock()
	if _, ok := h.open[lane][peer]; !ok {
		return ErrNoConsumer
	}
	for {
		err := h.remakeConsumer(ctx, peer, lane)
		if err == nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			signal(h.reset)
			return ErrNoConsumer
		}
		// Servers of a cluster learn one after another that a consumer went and came: try again while there is time.
		select {
		case <-ctx.Done():
			signal(h.reset) // the peer may have no consumer now: the owner opens the lane again
			return err
		case <-time.After(retryPause):
		}
	}
}

func (h *jetHome) remakeConsumer(ctx context.Context, peer string, lane globaltable.LaneID) error {
	consumer, err := h.js.Consumer(ctx, streamName(lane), peer)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	floor := h.open[lane][peer]
	if err == nil {
		floor = max(floor, consumer.CachedInfo().AckFloor.Stream)
		h.open[lane][peer] = floor // also for the next try, should this one get no further than deleting
		if err := h.js.DeleteConsumer(ctx, streamName(lane), peer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	_, err = h.js.CreateConsumer(ctx, streamName(lane), consumerConfig(peer, floor))
	return err
}

// consumerConfig describes a peer's consumer that begins behind the sequence given. Its state is in memory: a restart of JetStream resets the lane
// anyway, and a server (v2.15.2) that deletes a consumer's files while another of the same name is made may delete those of the new one.
func consumerConfig(peer string, floor uint64) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable: peer, DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckAllPolicy, AckWait: ackWait, MaxDeliver: -1, MemoryStorage: true,
		MaxAckPending: maxAckPending, MaxWaiting: maxPullRequests, MaxRequestExpires: maxPullExpires, MaxRequestMaxBytes: maxPullBytes,
	}
	if floor > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, floor+1
	}
	return cfg
}

func (h *jetHome) fault(op string, id globaltable.LaneID, kind globaltable.Kind, err error) error {
	return &globaltable.Error{Op: op, Resource: fmt.Sprintf("lane %s of %s", id, h.region), Kind: kind, Err: err}
}
