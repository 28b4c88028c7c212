package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/concordat-db/concordat/globaltable"
)

// probeLane is a lane that does not exist: what a probe may not do, it may not do to any.
const probeLane = globaltable.LaneID(0)

const (
	refusalGrace = 2 * time.Second // after the server's pong, for the client's error handler to run
	probeTimeout = 2 * time.Minute // a few round trips; some sixty when something is wrong
)

// forbiddenRequests lists subjects that a peer may not publish to. A server with the accounts of ServerConfig refuses each.
func forbiddenRequests(region, origin string) []string {
	stream := streamName(probeLane)
	api := []string{
		"INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO." + stream, "STREAM.CREATE." + stream, "STREAM.DELETE." + stream, "STREAM.PURGE." + stream,
		"STREAM.MSG.GET." + stream, "STREAM.MSG.DELETE." + stream, "DIRECT.GET." + stream, "STREAM.SNAPSHOT." + stream,
		"CONSUMER.NAMES." + stream, "CONSUMER.INFO." + stream + "." + region, "CONSUMER.CREATE." + stream + "." + region,
		"CONSUMER.DURABLE.CREATE." + stream + "." + region, "CONSUMER.DELETE." + stream + "." + region, "CONSUMER.RESET." + stream + "." + region,
		"CONSUMER.MSG.NEXT." + stream + "." + origin,
	}
	subjects := []string{
		laneSubject(probeLane), servicePrefix + origin, "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO",
		"$JS.ACK." + stream + "." + origin + ".1.1.1.1.0",
		"$JS.ACK." + stream + "." + origin + ".1." + region + ".1.1.0", // the own name in the place of a number
	}
	for _, a := range api {
		subjects = append(subjects, "$JS.API."+a, "$JS."+origin+".API."+a)
	}
	return subjects
}

// forbiddenSubscriptions lists what a peer may not listen to.
func forbiddenSubscriptions(origin string) []string {
	return []string{">", "*.>", "_INBOX.>", inboxPrefix + origin + ".>", "_R_.>", lanePrefix + ">", servicePrefix + ">", "$JS.>", "$SYS.>"}
}

// Probe is Link.Probe, on a connection of its own. It checks first that the credential is of an account of its own: within the region's account an
// allow-list is not enough, because the reply subject of a permitted request is not checked.
func (l *natsLink) Probe(ctx context.Context) error {
	answer, seen, err := l.control(ctx, frame{verb: verbReply})
	if err != nil {
		return l.fault("probe", err)
	}
	if answer.verb != verbEnd || len(seen) < len(importedReply) || string(seen[:len(importedReply)]) != importedReply {
		return l.fault("probe", fmt.Errorf("%w: its account is not its own", ErrForbidden))
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout) // a flush needs a deadline
	defer cancel()
	refused := make(chan struct{}, 128)
	nc, err := connectPeer(ctx, &l.cfg, []nats.Option{nats.NoReconnect(), nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				select {
				case refused <- struct{}{}:
				default: // more refusals than questions: impossible, but a full channel must not block the client
				}
			}
		})})
	if err != nil {
		return l.fault("probe", err)
	}
	defer nc.Close()
	if err := probeAll(ctx, nc, forbiddenRequests(l.cfg.Region, l.cfg.Peer), forbiddenSubscriptions(l.cfg.Peer), refused); err != nil {
		return l.fault("probe", err)
	}
	return nil
}

// probeAll tries everything at once, in one round trip, and counts the refusals. Only when some are missing it tries one by one, to name what is possible.
func probeAll(ctx context.Context, nc *nats.Conn, requests, subscriptions []string, refused <-chan struct{}) error {
	var subs []*nats.Subscription
	defer func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe() // the connection ends with the probe
		}
	}()
	for _, subject := range requests {
		if err := nc.PublishRequest(subject, nc.NewInbox(), nil); err != nil {
			return err
		}
	}
	for _, subject := range subscriptions {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			return err
		}
		subs = append(subs, sub)
	}
	all := len(requests) + len(subscriptions)
	if n, err := awaitRefusals(ctx, nc, all, refused); err != nil || n == all {
		return err
	}
	for _, subject := range requests {
		if err := probeRequest(ctx, nc, subject, refused); err != nil {
			return err
		}
	}
	for _, subject := range subscriptions {
		if err := probeSubscription(ctx, nc, subject, refused); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: something that was possible a moment ago", ErrForbidden)
}

// probeRequest publishes one request and waits until it is refused. A server that says nothing has let it through.
func probeRequest(ctx context.Context, nc *nats.Conn, subject string, refused <-chan struct{}) error {
	if err := nc.PublishRequest(subject, nc.NewInbox(), nil); err != nil {
		return err
	}
	return awaitRefusal(ctx, nc, subject, refused)
}

func probeSubscription(ctx context.Context, nc *nats.Conn, subject string, refused <-chan struct{}) error {
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection ends with the probe
	return awaitRefusal(ctx, nc, subject, refused)
}

func awaitRefusal(ctx context.Context, nc *nats.Conn, subject string, refused <-chan struct{}) error {
	n, err := awaitRefusals(ctx, nc, 1, refused)
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: %s", ErrForbidden, subject)
	}
	return err
}

// awaitRefusals waits for n refusals and returns how many came. It relies on the order of a connection: the refusal of what was sent before a
// ping comes before the pong. The client hands refusals to its error handler on another goroutine, so a little more time is given.
func awaitRefusals(ctx context.Context, nc *nats.Conn, n int, refused <-chan struct{}) (got int, err error) {
	if err := nc.FlushWithContext(ctx); err != nil {
		return 0, err
	}
	late := time.NewTimer(refusalGrace)
	defer late.Stop()
	for ; got < n; got++ {
		select {
		case <-refused:
		case <-late.C:
			return got, nil
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
	return got, nil
}
