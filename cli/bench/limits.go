package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/bus"
)

// The limits.
const (
	limitEcho      = "http-echo"
	limitCommit    = "pebble-commit"
	limitApply     = "pebble-apply"
	limitPages     = "pebble-apply-pages"
	limitJetStream = "jetstream"
	limitDelivery  = "jetstream-delivery"
)

const (
	commitWriters = 64
	applyBatch    = 64                                  // changes of a peer in one batch
	pageBatch     = 1 << 20 / (itemBytes + changeBytes) // records in a page of a join, which is one batch
	applyAhead    = 4                                   // batches applied and not yet synced, as many as the commit path has groups
	messageItems  = 64                                  // changes in one message, as with that many connections
	changeBytes   = 96                                  // about what a change adds to its item: key, stamp, lengths
	ackEvery      = 8                                   // messages: those of one run of an inbox, 512 KB
	pullWindow    = 16 << 20
	inFlight      = 1024      // messages published and not received: 70 MB
	streamBytes   = 256 << 20 // more than is in flight
	benchTable    = 2         // number of a table in stores of its own
	benchLane     = 1
)

// takeLimit takes a limit once.
func (r *run) takeLimit(ctx context.Context, name string) (*Limit, error) {
	if l := r.report.limit(name); l != nil {
		return l, nil
	}
	var what string
	var take func(context.Context) (Figures, error)
	switch name {
	case limitEcho:
		what, take = "HTTP echo of a PutItem, same server and client", r.echo
	case limitCommit:
		what, take = fmt.Sprintf("Pebble: record and log image, synced, %d writers", commitWriters), r.commitLimit
	case limitApply:
		what = fmt.Sprintf("Pebble: batches of %d, read, compare, synced", applyBatch)
		take = func(ctx context.Context) (Figures, error) { return r.applyLimit(ctx, applyBatch) }
	case limitPages:
		what = fmt.Sprintf("Pebble: batches of %d, read, compare, synced", pageBatch)
		take = func(ctx context.Context) (Figures, error) { return r.applyLimit(ctx, pageBatch) }
	case limitJetStream:
		what, take = fmt.Sprintf("JetStream publish and fetch, %d changes a message", messageItems), r.jetstream
	case limitDelivery:
		what, take = fmt.Sprintf("JetStream publish to delivery, %d/s", lagRate), r.delivery
	default:
		return nil, fmt.Errorf("no limit %q", name)
	}
	r.say("limit %s", name)
	f, err := take(ctx)
	if err != nil {
		return nil, fmt.Errorf("limit %s: %w", name, err)
	}
	r.report.Limits = append(r.report.Limits, Limit{Name: name, What: what, Figures: f})
	return r.report.limit(name), nil
}

// echo answers each request with its own body.
func (r *run) echo(ctx context.Context) (f Figures, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return f, err
	}
	// As the region's server is configured: bodies are read by the handler.
	h := &fasthttp.Server{NoDefaultContentType: true, StreamRequestBody: true, ReadBufferSize: 16 << 10, CloseOnShutdown: true,
		Handler: echoBody()}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ln) }()
	f, err = r.echoes(ctx, "http://"+ln.Addr().String())
	return f, errors.Join(err, h.Shutdown(), <-ended)
}

// echoes sends what a put sends.
func (r *run) echoes(ctx context.Context, endpoint string) (Figures, error) {
	d, err := newDoor("echo", r.doors[0].region, endpoint, r.cfg, r.cfg.Connections, r.texts)
	if err != nil {
		return Figures{}, err
	}
	defer d.close() // before the server is asked to stop: it waits for open connections
	sessions, err := d.sessions(r.cfg.Connections)
	if err != nil {
		return Figures{}, err
	}
	m := startMeter()
	s, err := load(ctx, len(sessions), r.cfg.Duration, 0, func(w int, i int64) error { return sessions[w].put("bench-echo-00000000", i) })
	return m.figures(int64(len(s.all)), s, true), err
}

// echoBody returns a handler that reads the body into memory, as the region's has to, and answers it.
func echoBody() fasthttp.RequestHandler {
	buffers := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	return func(c *fasthttp.RequestCtx) {
		b := buffers.Get().(*bytes.Buffer)
		defer buffers.Put(b)
		b.Reset()
		if _, err := b.ReadFrom(c.RequestBodyStream()); err != nil {
			c.SetStatusCode(fasthttp.StatusBadRequest)
			return
		}
		c.SetBody(b.Bytes())
	}
}

// withStore runs f on an empty store, as a region's is configured.
func (r *run) withStore(f func(e *store.Pebble) (Figures, error)) (figures Figures, err error) {
	err = r.withDir(func(dir string) error {
		e, err := store.OpenPebble(store.Config{Dir: dir})
		if err != nil {
			return err
		}
		figures, err = f(e)
		return errors.Join(err, e.Close())
	})
	return figures, err
}

func (r *run) withDir(f func(dir string) error) error {
	dir, err := os.MkdirTemp(r.cfg.Dir, "limit-")
	if err != nil {
		return err
	}
	return errors.Join(f(dir), os.RemoveAll(dir))
}

// storeKey appends the key of item i's record.
func storeKey(dst []byte, i int64) ([]byte, error) {
	k, err := item.AppendKey(nil, item.AppendString(nil, string(appendKey(nil, i))), nil)
	if err != nil {
		return dst, err
	}
	return store.AppendRecordKey(dst, benchTable, k), nil
}

// image returns the bytes of item i with room for what a change adds: about its record, and its part of the log.
func (t texts) image(i int64, extra int) []byte {
	at := int(i * textStep % int64(len(t)-itemBytes-extra))
	return t[at : at+itemBytes+extra]
}

// commitLimit is the store alone: every write a record and its log image, synced; the store groups the syncs of all writers.
func (r *run) commitLimit(ctx context.Context) (Figures, error) {
	return r.withStore(func(e *store.Pebble) (Figures, error) {
		m := startMeter()
		s, err := load(ctx, commitWriters, r.cfg.Duration, 0, func(_ int, i int64) error {
			key, err := storeKey(nil, i%int64(r.cfg.Items))
			if err != nil {
				return err
			}
			b := e.NewBatch()
			b.Set(key, r.texts.image(i, 0))
			b.Set(store.AppendLogKey(nil, benchLane, uint64(i)+1), r.texts.image(i, changeBytes))
			wait, err := e.Apply(b)
			if err != nil {
				return err
			}
			return wait()
		})
		return m.figures(int64(len(s.all)), s, true), err
	})
}

// applyLimit is what a peer's store can take: batches in order, each key read and compared with what comes.
func (r *run) applyLimit(ctx context.Context, batch int64) (Figures, error) {
	return r.withStore(func(e *store.Pebble) (Figures, error) {
		type applied struct {
			began time.Time
			wait  func() error
		}
		queue := make(chan applied, applyAhead-1)
		synced := make(chan error, 1)
		var s samples
		go func() {
			var all error
			for a := range queue {
				all = errors.Join(all, a.wait())
				s.add(time.Since(a.began))
			}
			synced <- all
		}()
		var n int64
		var err error
		m := startMeter()
		for ; err == nil && ctx.Err() == nil && (n == 0 || time.Since(m.began) < r.cfg.Duration); n += batch {
			a := applied{began: time.Now()}
			if a.wait, err = r.applyPeers(e, n, n+batch); err == nil {
				queue <- a
			}
		}
		close(queue)
		err = errors.Join(err, <-synced, ctx.Err())
		return m.figures(n, &s, true), err
	})
}

// applyPeers applies one batch of a peer's items, those from from to before to.
func (r *run) applyPeers(e *store.Pebble, from, to int64) (wait func() error, err error) {
	b := e.NewBatch()
	for i := from; i < to; i++ {
		key, err := storeKey(nil, i%int64(r.cfg.Items))
		if err != nil {
			b.Discard()
			return nil, err
		}
		next := r.texts.image(i, 0)
		current, release, ok, err := e.Get(key)
		if err != nil {
			b.Discard()
			return nil, err
		}
		if ok {
			same := bytes.Equal(current, next)
			if err := release.Close(); err != nil {
				b.Discard()
				return nil, err
			}
			if same {
				continue
			}
		}
		b.Set(key, next)
	}
	return e.Apply(b)
}

// jetstream is how fast a lane's messages pass through an embedded bus and over a loopback connection to a peer.
func (r *run) jetstream(ctx context.Context) (f Figures, err error) {
	message := r.texts[:messageItems*(itemBytes+changeBytes)]
	err = r.withBus(ctx, ackEvery, func(bus.Message) {}, func(publish func([]byte) error, arrived func(int64) error) error {
		var n int64
		m := startMeter()
		for ; n == 0 || time.Since(m.began) < r.cfg.Duration; n++ {
			if err := publish(bytes.Clone(message)); err != nil {
				return err
			}
		}
		if err := arrived(n); err != nil {
			return err
		}
		f = m.figures(n*messageItems, nil, true)
		return nil
	})
	return f, err
}

// delivery is how long a message with one change takes from its publication to its delivery, at a steady rate.
func (r *run) delivery(ctx context.Context) (f Figures, err error) {
	base := time.Now()
	var s samples
	receive := func(m bus.Message) {
		s.add(time.Since(base) - time.Duration(binary.BigEndian.Uint64(m.Data)))
	}
	err = r.withBus(ctx, 1, receive, func(publish func([]byte) error, arrived func(int64) error) error {
		m := startMeter()
		n, err := paced(ctx, lagRate, r.cfg.Duration, func(_ context.Context, i int64) error {
			b := bytes.Clone(r.texts.image(i, changeBytes))
			binary.BigEndian.PutUint64(b, uint64(time.Since(base)))
			return publish(b)
		})
		if err != nil {
			return err
		}
		if err := arrived(n); err != nil {
			return err
		}
		f = m.figures(n, &s, true)
		return nil
	})
	return f, err
}

// withBus runs f with a lane and a peer that pulls it. publish sends a message, which is the bus's then. arrived waits until the peer has n.
func (r *run) withBus(ctx context.Context, ack int64, receive func(bus.Message),
	f func(publish func([]byte) error, arrived func(n int64) error) error) error {
	return r.withDir(func(dir string) (err error) {
		key, err := nkeys.CreateUser()
		if err != nil {
			return err
		}
		public, err := key.PublicKey()
		if err != nil {
			return err
		}
		home, err := bus.StartEmbedded(ctx, bus.EmbeddedConfig{Region: "origin", Dir: dir, Peers: []bus.Peer{{Name: "peer", PublicKey: public}}, Log: zerolog.Nop()})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, home.Close()) }()
		link, err := bus.Dial(ctx, bus.DialConfig{Region: "peer", Peer: "origin", URLs: []string{home.URL()}, Key: key, Log: zerolog.Nop()})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, link.Close()) }()
		lane := bus.LaneSpec{ID: benchLane, Peers: []string{"peer"}, MaxBytes: streamBytes}
		if err := errors.Join(home.ResetLane(ctx, lane), home.OpenLane(ctx, lane)); err != nil {
			return err
		}
		return r.pullWhile(ctx, home, link, ack, receive, f)
	})
}

// pullWhile pulls the lane as long as f runs. Both sides are in step: no more than inFlight messages are published and not yet received, so
// that the stream never has to drop one.
func (r *run) pullWhile(ctx context.Context, home bus.Home, link bus.Link, ack int64, receive func(bus.Message),
	f func(publish func([]byte) error, arrived func(n int64) error) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var got atomic.Int64
	room := make(chan struct{}, inFlight)
	served, pulled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		stop(home.Serve(ctx, func(context.Context, string, []byte, func([]byte) error) error { return nil }))
	}()
	go func() {
		defer close(pulled)
		stop(link.Pull(ctx, benchLane, pullWindow, func(m bus.Message) {
			receive(m)
			if n := got.Add(1); n%ack == 0 {
				_ = m.Ack() // one that is lost comes with the next
			}
			<-room
		}))
	}()
	settle := func(err error) {
		if err != nil {
			stop(err)
		}
	}
	err := f(func(b []byte) error {
		select {
		case room <- struct{}{}:
			return home.Publish(ctx, benchLane, b, settle)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}, func(n int64) error {
		return patiently(ctx, r.cfg.Wait, time.Millisecond, fmt.Sprintf("%d messages arrive", n), func() (bool, error) {
			return got.Load() >= n, context.Cause(ctx)
		})
	})
	stop(nil)
	<-pulled
	<-served
	return err
}
