package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

const (
	statusHeader       = "Status" // of a message without body that a server sends on its own
	statusNoResponders = "503"
	answerSlack        = 64 // frames other than parts that may wait in an asker's buffer
)

func untilDeadline(t time.Time) time.Duration { return max(time.Until(t), time.Millisecond) }

// Request is Link.Request. An answer takes ten minutes at most: servers keep the way back no longer.
func (l *natsLink) Request(ctx context.Context, request []byte, each func(part []byte) error) error {
	if len(request) > MaxMessage {
		return ErrTooLarge
	}
	id := nuid.Next()
	answers := make(chan *nats.Msg, answerWindowParts+answerSlack)
	stream, err := l.send(frame{verb: verbAsk, id: id}, request, answers)
	if err != nil {
		return l.fault("ask", err)
	}
	defer stream.end()
	a := &asking{link: l, id: id, each: each}
	stop := a.keepAlive()
	err = a.receive(ctx, stream)
	stop()
	if err != nil {
		a.tell(frame{verb: verbStop, id: id}) // harmless if the answer is over
	}
	return err
}

// exchange is a request under way: the subscription of its answer and the connection that it depends on.
type exchange struct {
	answers <-chan *nats.Msg
	lost    <-chan struct{}
	sub     *nats.Subscription
}

func (x *exchange) end() { _ = x.sub.Unsubscribe() } // fails only without a connection, and then it is gone anyway

// send subscribes a reply subject of its own and sends a frame.
func (l *natsLink) send(f frame, data []byte, answers chan *nats.Msg) (*exchange, error) {
	lost, err := l.session()
	if err != nil {
		return nil, err
	}
	reply := l.inbox + "." + nuid.Next()
	sub, err := l.nc.ChanSubscribe(reply, answers)
	if err != nil {
		return nil, err
	}
	x := &exchange{answers: answers, lost: lost, sub: sub}
	if err := l.nc.PublishMsg(framed(l.service(), reply, f, data)); err != nil {
		x.end()
		return nil, err
	}
	return x, nil
}

// control sends a frame that has an answer of one message and returns that.
func (l *natsLink) control(ctx context.Context, f frame) (frame, []byte, error) {
	x, err := l.send(f, nil, make(chan *nats.Msg, answerSlack))
	if err != nil {
		return frame{}, nil, err
	}
	defer x.end()
	silence := time.NewTimer(l.timing.silence)
	defer silence.Stop()
	select {
	case m := <-x.answers:
		if m.Header.Get(statusHeader) == statusNoResponders {
			return frame{}, nil, ErrNoService
		}
		answer, err := frameOf(m)
		return answer, m.Data, err
	case <-x.lost:
		return frame{}, nil, l.lostError()
	case <-silence.C:
		return frame{}, nil, fmt.Errorf("%w: no answer", ErrLinkLost)
	case <-ctx.Done():
		return frame{}, nil, ctx.Err()
	}
}

// asking is the state of one Request.
type asking struct {
	link *natsLink
	id   string
	each func([]byte) error

	mu   sync.Mutex // keepAlive reads what receive writes
	took uint64     // parts consumed

	told      uint64 // the greatest took that was sent, by receive
	toldBytes int    // bytes consumed since
}

// receive takes the answer's frames until its end.
func (a *asking) receive(ctx context.Context, x *exchange) error {
	timing := a.link.timing
	silence := time.NewTimer(timing.silence)
	defer silence.Stop()
	for {
		select {
		case m := <-x.answers:
			done, err := a.take(m)
			if done || err != nil {
				return err
			}
			silence.Reset(timing.silence)
		case <-x.lost:
			return a.link.fault("ask", a.link.lostError())
		case <-silence.C:
			return a.link.fault("ask", fmt.Errorf("%w: the answer stopped", ErrLinkLost))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *asking) take(m *nats.Msg) (done bool, err error) {
	if m.Header.Get(statusHeader) == statusNoResponders {
		return true, a.link.fault("ask", ErrNoService)
	}
	f, err := frameOf(m)
	if err != nil {
		return true, a.link.fault("ask", err)
	}
	switch f.verb {
	case verbAlive:
		return false, nil
	case verbBusy:
		return true, a.link.fault("ask", ErrBusy)
	case verbIdle:
		return true, a.link.fault("ask", ErrNoService)
	case verbPart:
		if f.n != a.took+1 {
			return true, a.link.fault("ask", fmt.Errorf("%w: part %d follows part %d", ErrLinkLost, f.n, a.took))
		}
		return false, a.part(m.Data)
	case verbEnd, verbFail:
		if f.n != a.took {
			return true, a.link.fault("ask", fmt.Errorf("%w: the answer of %d parts ended after %d", ErrLinkLost, f.n, a.took))
		}
		if f.verb == verbFail {
			return true, &RemoteError{Message: string(m.Data)}
		}
		return true, nil
	}
	return true, a.link.fault("ask", errFrame)
}

// part hands one part over and makes room for more, in steps of a quarter of the window.
func (a *asking) part(data []byte) error {
	if err := a.each(data); err != nil {
		return err
	}
	a.mu.Lock()
	a.took++
	a.mu.Unlock()
	a.toldBytes += len(data)
	if a.toldBytes >= answerWindowBytes/4 || a.took-a.told >= answerWindowParts/4 {
		a.told, a.toldBytes = a.took, 0
		a.tell(frame{verb: verbTook, id: a.id, n: a.took})
	}
	return nil
}

// keepAlive tells the origin at intervals that somebody waits, in a goroutine that stop ends and waits for: each may take long.
func (a *asking) keepAlive() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(a.link.timing.alive)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			a.mu.Lock()
			took := a.took
			a.mu.Unlock()
			a.tell(frame{verb: verbTook, id: a.id, n: took})
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// tell sends a frame without an answer. A lost one ends as silence.
func (a *asking) tell(f frame) { _ = a.link.nc.PublishMsg(framed(a.link.service(), "", f, nil)) }
