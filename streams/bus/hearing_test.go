package bus

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/concordat-db/concordat/globaltable"
)

// oddSubject has what the servers' configuration has a meaning for.
const oddSubject = `odd."\$x#{`

// hears subscribes, and returns what comes; a refusal goes to the connection's error handler.
func hears(t *testing.T, nc *nats.Conn, subject string) <-chan *nats.Msg {
	t.Helper()
	got := make(chan *nats.Msg, 256)
	if _, err := nc.ChanSubscribe(subject, got); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	return got
}

// tell tells one event.
func (w *eventsWorld) tell(t *testing.T, subject, id string) {
	t.Helper()
	ctx := testContext(t)
	for err := w.events.Tell(ctx, subject, []Note{{id, []byte("{}")}}); err != nil; err = w.events.Tell(ctx, subject, []Note{{id, []byte("{}")}}) { // a cluster elects its leader
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// reached tells at the subject until it is heard: a cluster's servers tell each other who listens.
func (w *eventsWorld) reached(t *testing.T, subject string, heard <-chan *nats.Msg) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		w.tell(t, subject, "ready")
		select {
		case <-heard:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("nothing is heard at %s", subject)
}

// upTo returns the subjects and ids of what is heard, up to an id, without what reached told.
func upTo(t *testing.T, heard <-chan *nats.Msg, last string) (out []string) {
	t.Helper()
	for {
		select {
		case m := <-heard:
			id := m.Header.Get(jetstream.MsgIDHeader)
			if id != "ready" {
				out = append(out, m.Subject+" "+id)
			}
			if id == last {
				return out
			}
		case <-time.After(patience):
			t.Fatalf("%s is never heard, but %v", last, out)
		}
	}
}

// TestHearer: holders of grants hear what is told at their subjects, each once, and nothing that is told at others.
func TestHearer(t *testing.T) {
	eachEvents(t, func(t *testing.T, w *eventsWorld) {
		mail, other := w.dial(t, "mail"), w.dial(t, "other")
		all, part, odd, one := hears(t, mail, "mail.>"), hears(t, mail, "mail.*.late"), hears(t, mail, oddSubject), hears(t, other, "mail.orders")
		w.reached(t, "mail.orders", all)
		w.reached(t, "mail.orders", one)
		w.reached(t, "mail.x.late", part)
		w.reached(t, oddSubject, odd)
		for i, subject := range []string{"mail.orders", "mailed", "mail", "post.mail.orders", "mail.orders.late", oddSubject, "mail.orders"} {
			w.tell(t, subject, fmt.Sprint(i))
		}
		for what, got := range map[string][]string{
			"mail.orders 0,mail.orders.late 4,mail.orders 6": upTo(t, all, "6"),
			"mail.orders.late 4":                             upTo(t, part, "4"),
			oddSubject + " 5":                                upTo(t, odd, "5"),
			"mail.orders 0,mail.orders 6":                    upTo(t, one, "6"),
		} {
			if strings.Join(got, ",") != what {
				t.Errorf("heard %q, want %s", got, what)
			}
		}
	})
}

// TestHearerCanDoNoMore tries what the holder of a grant to hear subjects might.
func TestHearerCanDoNoMore(t *testing.T) {
	eachEvents(t, func(t *testing.T, w *eventsWorld) {
		w.fill(t)
		ctx := testContext(t)
		stream, err := w.events.js.CreateStream(ctx, jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}})
		if err != nil { // so what is heard has a subject for the answer
			t.Fatal(err)
		}
		refused := make(chan error, 256)
		nc, other := w.dial(t, "mail"), w.dial(t, "other")
		for _, c := range []*nats.Conn{nc, other} {
			c.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
		}
		heard, inbox := hears(t, nc, "mail.>"), hears(t, other, "_INBOX.>")
		w.reached(t, "mail.orders", heard)
		w.tell(t, "mail.orders", "one")
		var reply string
		for reply == "" {
			select {
			case m := <-heard:
				reply = m.Reply
			case <-ctx.Done():
				t.Fatal("nothing with a subject for the answer was heard: this test shows less than it says")
			}
		}
		before, err := stream.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		mine := EventStreamName(ordersTable)
		for _, subject := range []string{"mail.orders", "mail", "x", oddSubject, reply, nc.NewInbox(), EventSubject("orders.eu", "insert", 7), laneSubject(1), servicePrefix + "mail", "$JS.API.INFO", "$JS.API.STREAM.INFO." + mine, "$JS.API.STREAM.PURGE.MAIL",
			"$JS.API.STREAM.CREATE.X", "$JS.API.CONSUMER.CREATE.MAIL.x", "$JS.API.CONSUMER.MSG.NEXT." + mine + ".search", "$JS.API.CONSUMER.MSG.NEXT." + mine + ".mail", "$JS.ACK." + mine + ".mail.1.1.1.1.1", "$JS.API.DIRECT.GET.MAIL", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING"} {
			if err := nc.PublishRequest(subject, "mail.answer", []byte("{}")); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, nc, refused, subject)
		}
		for _, subject := range []string{">", "*", "*.orders", "*.>", "mail", "mailed", "post.>", "odd.>", "odd.*", eventSubjectPrefix + ">", "concordat.>", "$JS.>", "$SYS.>", "_INBOX.>", "_R_.>", "_R_.*.*", lanePrefix + ">", reply} {
			if _, err := nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, nc, refused, subject)
		}
		// Who reads a table, too, has an inbox, and no more of subjects than its own.
		for _, subject := range []string{"mail.orders", reply} {
			if err := other.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, other, refused, subject)
		}
		for _, subject := range []string{"mail.>", "mail.*", "mail.x", oddSubject} {
			if _, err := other.Subscribe(subject, func(*nats.Msg) {}); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, other, refused, subject)
		}
		if _, err := w.events.State(ctx, mine); err != nil { // answers go to the region's own inbox
			t.Fatal(err)
		}
		w.tell(t, "mail.orders", "last")
		if got := upTo(t, heard, "last"); len(got) > 1 { // what was refused was not told
			t.Errorf("heard %q", got)
		}
		if after, err := stream.Info(ctx); err != nil || after.State.Msgs != before.State.Msgs+1 {
			t.Errorf("%+v, %v: before %+v", after, err, before)
		}
		select {
		case m := <-inbox:
			t.Errorf("an inbox of another account was heard: %s", m.Subject)
		default:
		}
	})
}

// TestRevokedHearerIsOut: its connection ends, it is not let in again, and others hear on.
func TestRevokedHearerIsOut(t *testing.T) {
	w := grantedLater(t)
	closed := make(chan struct{})
	nc, other := w.dial(t, "mail"), w.dial(t, "other")
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	mail, one := hears(t, nc, "mail.>"), hears(t, other, "mail.orders")
	w.reached(t, "mail.orders", mail)
	w.set(t, w.grants[:2])
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("the connection of a grant that was revoked stays")
	}
	w.tell(t, "mail.orders", "after")
	if got := upTo(t, one, "after"); len(got) != 1 {
		t.Errorf("the other grant heard %q", got)
	}
	for len(mail) > 0 {
		if m := <-mail; m.Header.Get(jetstream.MsgIDHeader) == "after" {
			t.Error("who was revoked has heard what came after")
		}
	}
}

func TestGrantFaults(t *testing.T) {
	_, grants := testGrants(t)
	for what, change := range map[string]func(g *Grant){
		"nothing":     func(g *Grant) { g.Subjects = nil },
		"everything":  func(g *Grant) { g.Subjects = []string{">"} },
		"the regions": func(g *Grant) { g.Subjects = []string{"concordat.>"} },
		"inboxes":     func(g *Grant) { g.Subjects = []string{"_INBOX.>"} },
		"twice":       func(g *Grant) { g.Subjects = []string{"a.>", "a.b"} },
	} {
		g := grants[2]
		change(&g)
		if err := joinInvalid("check", "eu", validateGrants([]Grant{g}, nil)); !errors.As(err, new(*globaltable.Error)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if faults := validateGrants(grants, nil); len(faults) > 0 {
		t.Error(faults)
	}
}

// TestSubjectsMeet compares with the servers: subjects that they can tell apart may be heard together, others may not.
func TestSubjectsMeet(t *testing.T) {
	subject := rapid.StringMatching(`a(\.[ab*]){0,3}(\.>)?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := subject.Draw(t, "a"), subject.Draw(t, "b")
		if ok := globaltable.ValidateHeard([]string{a, b}) == nil; ok == server.SubjectsCollide(a, b) {
			t.Errorf("%s and %s: %v", a, b, ok)
		}
	})
}
