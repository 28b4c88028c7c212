package bus

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestTell: who subscribes hears notes; where a stream takes the subject it has all of them, each once.
func TestTell(t *testing.T) {
	eachEvents(t, func(t *testing.T, w *eventsWorld) {
		ctx := testContext(t)
		got := make(chan *nats.Msg, 64)
		sub, err := w.events.nc.ChanSubscribe("mail.>", got)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sub.Unsubscribe() }()
		notes := []Note{{"a", []byte(`{"n":1}`)}, {"b", []byte(`{"n":2}`)}}
		for err := w.events.Tell(ctx, "mail.orders", notes); err != nil; err = w.events.Tell(ctx, "mail.orders", notes) { // a cluster elects its leader
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		for _, want := range notes {
			select {
			case m := <-got:
				if m.Subject != "mail.orders" || m.Header.Get("Nats-Msg-Id") != want.ID || string(m.Data) != string(want.Data) {
					t.Errorf("%+v", m)
				}
			case <-ctx.Done():
				t.Fatal("nothing is heard")
			}
		}
		stream, err := w.events.js.CreateStream(ctx, jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}, Duplicates: time.Minute})
		for ; err != nil; stream, err = w.events.js.CreateStream(ctx, jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}, Duplicates: time.Minute}) {
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // what is told again is the same
			if err := w.events.Tell(ctx, "mail.orders", notes); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := stream.Info(ctx); err != nil || info.State.Msgs != 2 {
			t.Errorf("%+v, %v", info, err)
		}
		big := []Note{{"c", make([]byte, MaxMessage+1)}}
		if err := w.events.Tell(ctx, "mail.orders", big); !errors.Is(err, errNoteSize) {
			t.Errorf("%v", err)
		}
		many := make([]Note, maxAppend)
		for i := range many {
			many[i] = Note{fmt.Sprint("many", i), []byte("{}")}
		}
		if err := w.events.Tell(ctx, "mail.orders", many); err != nil {
			t.Error(err)
		}
		if info, err := stream.Info(ctx); err != nil || info.State.Msgs != uint64(2+len(many)) {
			t.Errorf("%+v, %v", info, err)
		}
	})
}
