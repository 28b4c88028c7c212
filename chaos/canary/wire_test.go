package canary

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/world"
	"github.com/concordat-db/concordat/streams/change"
)

// serve starts a NATS server and a link to it that is overheard, and returns a client at the other end of the link. Nobody else sends anything to the client's subscriptions.
func serve(t *testing.T, c *Capture) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("NATS does not start")
	}
	target, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	link, err := world.NewLink("127.0.0.1:0", target.Host, world.Delay{})
	if err != nil {
		t.Fatal(err)
	}
	link.Overhear(func(connection uint64, back bool) io.WriteCloser {
		if back {
			return c.Wire(Direction{"origin", "peer"}, connection)
		}
		return c.Wire(Direction{"peer", "origin"}, connection)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var carrier sync.WaitGroup
	carrier.Go(func() {
		if err := link.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	client, err := nats.Connect("nats://" + link.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		cancel()
		carrier.Wait()
		s.Shutdown()
		s.WaitForShutdown()
	})
	return client
}

// entryOf is a log entry with the canary among so many bytes.
func entryOf(random *rand.Rand, c Canary, size int, compress bool) *change.Entry {
	filling := func() string {
		if compress {
			return strings.Repeat("filling ", size/16)
		}
		return from(random, size/2, letters+"-_!?*+/=()[]{}<>|~^.:,;#'")
	}
	body := []byte(filling() + c.Bytes + filling())
	return &change.Entry{Header: change.Seal(globaltable.Chain{}, 7, body, 1, 1), Body: body}
}

// What goes over a link is found in both directions: in subjects, headers, payloads, and in change messages, whole and in fragments, compressed or not, as a stream brings them and as an answer does.
func TestCapture(t *testing.T) {
	random := newRandom(t)
	s := NewScanner()
	capture := NewCapture(s)
	client := serve(t, capture)
	var names []string
	canary := func(name string) Canary {
		c := New(random, Word, name)
		s.Add(c)
		names = append(names, name)
		return c
	}
	absent := New(random, Word, "absent")
	s.Add(absent)
	got, err := client.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	send := func(m *nats.Msg) {
		t.Helper()
		if err := client.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		sent++
	}

	send(&nats.Msg{Subject: "to." + canary("subject").Bytes})
	send(&nats.Msg{Subject: "to.it", Header: nats.Header{"Key": {canary("header").Bytes}}, Data: []byte("nothing")})
	send(&nats.Msg{Subject: "to.it", Data: []byte("a" + canary("payload").Bytes)})
	want := map[string]Container{"subject": NATSLine, "header": NATSPayload, "payload": NATSPayload}
	for _, size := range []int{200, 5000, 100_000} {
		for _, compress := range []bool{false, true} {
			for _, kind := range []string{"stream", "answer"} {
				c := canary(fmt.Sprintf("entry of %d, %t, in %s", size, compress, kind))
				prefix := []byte(nil)
				if kind == "answer" {
					prefix = []byte{partEntry}
				}
				e := entryOf(random, c, size, compress)
				if _, err := change.AppendMessages(change.Source{Origin: 1, Lane: globaltable.LaneID(sent)}, e, 0, 3000, nil, func(b []byte) error {
					send(&nats.Msg{Subject: "to.it", Data: append(prefix, b...)})
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				want[c.Name] = Entry
				if compress && size > 200 {
					want[c.Name] = Compressed
				}
			}
		}
	}
	for range sent {
		if _, err := got.NextMsg(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for direction, r := range capture.Cut() {
		for _, u := range r.Unread() {
			t.Error(u)
		}
		for _, name := range names {
			if !r.Has(name, want[name]) {
				t.Errorf("%s: %s was not found in %s", direction.From, name, want[name])
			}
		}
		if r.Has("absent", Plain) {
			t.Error("what was not sent was found")
		}
	}
	// What was sent before is in the reports before.
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	for direction, r := range capture.Cut() {
		for _, f := range r.Findings() {
			t.Errorf("%s: again: %s", direction.From, f)
		}
	}
}

// What comes in pieces of any size is understood as if it came at once; what is not NATS's is searched all the same, and said.
func TestWire(t *testing.T) {
	random := newRandom(t)
	c := New(random, Word, "it")
	s := NewScanner()
	s.Add(c)
	whole := "INFO {}\r\nPUB a.b 40\r\n" + c.Bytes + "12345678\r\nPING\r\nHMSG a 1 12 44\r\nNATS/1.0\r\n\r\n" + c.Bytes + "\r\n"
	for size := 1; size < len(whole); size += 7 {
		r := NewReport()
		w := s.NewWire("link", func() *Report { return r })
		for b := whole; b != ""; b = b[min(size, len(b)):] {
			_, _ = w.Write([]byte(b[:min(size, len(b))]))
		}
		if len(r.Unread()) > 0 || len(w.buf) > 0 || !r.Has("it", NATSPayload) {
			t.Errorf("in pieces of %d: unread %v, %d bytes are left, found %v", size, r.Unread(), len(w.buf), r.Findings())
		}
		if got := len(r.Findings()); got != 2 {
			t.Errorf("in pieces of %d: %d places; want 2", size, got)
		}
	}
	r := NewReport()
	w := s.NewWire("link", func() *Report { return r })
	_, _ = w.Write([]byte("PUB a.b 4000\r\n" + c.Bytes))
	if len(r.Findings()) > 0 {
		t.Errorf("found %v in half a message, before its end", r.Findings())
	}
	if _ = w.Close(); !r.Has("it", Plain) {
		t.Error("the half of a message that came was not searched")
	}

	r = NewReport()
	w = s.NewWire("link", func() *Report { return r })
	for _, b := range []string{"\x16\x03\x01 no NATS\r\n", c.Bytes[:20], c.Bytes[20:]} {
		_, _ = w.Write([]byte(b))
	}
	if len(r.Unread()) != 1 || !r.Has("it", Plain) {
		t.Errorf("of something else: unread %v, found %v", r.Unread(), r.Findings())
	}
}

func FuzzWire(f *testing.F) {
	for _, seed := range []string{"INFO {}\r\n", "MSG a 1 3\r\nabc\r\n", "HMSG a 1 b 12 14\r\nNATS/1.0\r\n\r\nab\r\n", "PUB a 99999999999\r\n", "GET / HTTP/1.1\r\n", "PUB a 1\r\n\x02\r\n"} {
		f.Add([]byte(seed), 3)
	}
	c := New(rand.New(rand.NewPCG(1, 1)), Word, "it")
	s := NewScanner()
	s.Add(c)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size < 1 {
			t.Skip()
		}
		r := NewReport()
		w := s.NewWire("link", func() *Report { return r })
		_, _ = w.Write(b)
		for rest := []byte("\r\n" + c.Bytes + "\r\n"); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			_, _ = w.Write(rest[:min(size, len(rest))])
		}
		if w.payload == 0 && len(r.Findings()) == 0 {
			t.Error("what followed was not searched")
		}
	})
}
