package bus

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestKeyIsGrantedAnew: a key that is given other rights while the server is at work has these, and none of those before; a connection of before ends.
func TestKeyIsGrantedAnew(t *testing.T) {
	w := grantedLater(t)
	w.fill(t)
	ctx := testContext(t)
	mine := EventStreamName(ordersTable)
	ended, refused := make(chan struct{}, 16), make(chan error, 256)
	before := w.dial(t, "search")
	before.SetDisconnectErrHandler(func(*nats.Conn, error) { ended <- struct{}{} })
	w.grants[0].Streams, w.grants[0].Subjects = nil, []string{"post.>"}
	w.set(t, w.grants)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("a connection with the rights of before stays")
	}
	nc := w.dial(t, "search")
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	w.reached(t, "post.x", hears(t, nc, "post.>"))
	if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+mine+".search", nc.NewInbox(), nil); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, nc, refused, "fetching as before")

	// And back: it reads again, and hears no more.
	w.grants[0].Streams, w.grants[0].Subjects = []string{mine}, nil
	w.set(t, w.grants)
	nc = w.dial(t, "search")
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(ctx, mine, "search")
	if err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, c, 1); !strings.HasPrefix(got[0].Subject(), eventSubjectPrefix) {
		t.Error(got[0].Subject())
	}
	if _, err := nc.Subscribe("post.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, nc, refused, "hearing as before")
}
