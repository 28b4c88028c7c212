package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"github.com/concordat-db/concordat/globaltable"
)

const (
	ordersTable  = globaltable.TableID(0x11)
	othersTable  = globaltable.TableID(0x12)
	eventsOfTest = 5
)

// eventsWorld is a region with three grants: "search" reads the first table's events, "other" the second's and hears one subject, "mail" hears subjects only.
type eventsWorld struct {
	events *Events
	grants []Grant
	dial   func(t testing.TB, grant string) *nats.Conn
	set    func(t testing.TB, grants []Grant)
}

func testGrants(t testing.TB) (map[string]nkeys.KeyPair, []Grant) {
	keys, grants := map[string]nkeys.KeyPair{}, []Grant{}
	for _, g := range []Grant{{Name: "search", Streams: []string{EventStreamName(ordersTable)}}, {Name: "other", Streams: []string{EventStreamName(othersTable)}, Subjects: []string{"mail.orders"}},
		{Name: "mail", Subjects: []string{"mail.>", oddSubject}}} {
		key, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		keys[g.Name], g.PublicKey = key, public
		grants = append(grants, g)
	}
	return keys, grants
}

// plainClient connects as any client of NATS does that has a seed.
func plainClient(t testing.TB, url string, key nkeys.KeyPair, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, userKey(key))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func embeddedEvents(t testing.TB) *eventsWorld {
	keys, grants := testGrants(t)
	home := startEmbedded(t, EmbeddedConfig{Grants: grants})
	return eventsOf(home, keys, grants)
}

// grantedLater is a region whose server is at work when the grants are made, one after the other.
func grantedLater(t testing.TB) *eventsWorld {
	keys, grants := testGrants(t)
	home := startEmbedded(t, EmbeddedConfig{})
	for i := range grants {
		if err := home.SetGrants(testContext(t), grants[:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return eventsOf(home, keys, grants)
}

func eventsOf(home *Embedded, keys map[string]nkeys.KeyPair, grants []Grant) *eventsWorld {
	return &eventsWorld{events: home.Events(), grants: grants,
		dial: func(t testing.TB, grant string) *nats.Conn { return plainClient(t, home.URL(), keys[grant]) },
		set: func(t testing.TB, grants []Grant) {
			if err := home.SetGrants(testContext(t), grants); err != nil {
				t.Fatal(err)
			}
		}}
}

func externalEvents(t testing.TB, count int) *eventsWorld {
	keys, grants := testGrants(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ServerConfig(AccountsConfig{Region: "eu", Grants: grants, User: "region", Password: string(hash)})
	if err != nil {
		t.Fatal(err)
	}
	_, urls := startServers(t, count, text)
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: urls, User: "region", Password: "secret", Log: testLog(t)})
	return &eventsWorld{events: home.Events(), grants: grants,
		dial: func(t testing.TB, grant string) *nats.Conn { return plainClient(t, urls[0], keys[grant]) },
		set: func(t testing.TB, grants []Grant) {
			if err := home.SetGrants(testContext(t), grants); err != nil {
				t.Fatal(err)
			}
		}}
}

func eachEvents(t *testing.T, f func(t *testing.T, w *eventsWorld)) {
	t.Run("embedded", func(t *testing.T) { f(t, embeddedEvents(t)) })
	t.Run("granted later", func(t *testing.T) { f(t, grantedLater(t)) })
	t.Run("external", func(t *testing.T) { f(t, externalEvents(t, 1)) })
	t.Run("cluster", func(t *testing.T) {
		if testing.Short() {
			t.Skip("three servers")
		}
		f(t, externalEvents(t, 3))
	})
}

func streamOf(table globaltable.TableID, name string) EventStream {
	return EventStream{Name: EventStreamName(table), Subjects: EventSubjects(name), MaxAge: time.Hour, MaxBytes: 1 << 20}
}

func testEvent(table string, n int) Event {
	return Event{Subject: EventSubject(table, "insert", 7), ID: fmt.Sprintf("%s-%d", table, n), Position: fmt.Sprintf("1%020d", n), Data: []byte(fmt.Sprintf(`{"n":%d}`, n))}
}

// fill makes both tables' streams, with some events and a consumer each.
func (w *eventsWorld) fill(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	for table, name := range map[globaltable.TableID]string{ordersTable: "orders.eu", othersTable: "others"} {
		stream := streamOf(table, name)
		for err := w.events.Make(ctx, stream); err != nil; err = w.events.Make(ctx, stream) { // a cluster elects its leader
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		var events []Event
		for n := 1; n <= eventsOfTest; n++ {
			events = append(events, testEvent(name, n))
		}
		if err := w.events.Append(ctx, stream.Name, 0, events); err != nil {
			t.Fatal(err)
		}
	}
	for i, table := range []globaltable.TableID{ordersTable, othersTable} {
		if err := w.events.SetReader(ctx, EventStreamName(table), []string{"search", "other"}[i], 2); err != nil {
			t.Fatal(err)
		}
	}
}

func fetch(t *testing.T, c jetstream.Consumer, n int) (out []jetstream.Msg) {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(patience/2))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		out = append(out, m)
	}
	if err := batch.Error(); err != nil || len(out) != n {
		t.Fatalf("%d messages instead of %d, %v", len(out), n, err)
	}
	return out
}

// TestGrantedClient reads events as the documentation of NATS says: the stream and the durable consumer by their names, fetch and consume, ack and nak.
func TestGrantedClient(t *testing.T) {
	eachEvents(t, func(t *testing.T, w *eventsWorld) {
		w.fill(t)
		js, err := jetstream.New(w.dial(t, "search"))
		if err != nil {
			t.Fatal(err)
		}
		ctx := testContext(t)
		c, err := js.Consumer(ctx, EventStreamName(ordersTable), "search")
		if err != nil {
			t.Fatal(err)
		}
		got := fetch(t, c, 2)
		if got[0].Subject() != "concordat.events.orders%2Eeu.insert.0000000000000007" || got[0].Headers().Get(nats.MsgIdHdr) != "orders.eu-2" || got[0].Headers().Get(PositionHeader) != "100000000000000000002" ||
			string(got[0].Data()) != `{"n":2}` || string(got[1].Data()) != `{"n":3}` {
			t.Fatalf("got %s %v %s", got[0].Subject(), got[0].Headers(), got[0].Data())
		}
		if err := got[0].DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
		if err := got[1].Nak(); err != nil {
			t.Fatal(err)
		}
		seen := make(chan string, 16)
		consuming, err := c.Consume(func(m jetstream.Msg) {
			seen <- string(m.Data())
			_ = m.Ack()
		})
		if err != nil {
			t.Fatal(err)
		}
		defer consuming.Stop()
		want := map[string]bool{`{"n":3}`: true, `{"n":4}`: true, `{"n":5}`: true}
		for len(want) > 0 {
			select {
			case m := <-seen:
				delete(want, m)
			case <-ctx.Done():
				t.Fatalf("never came: %v", want)
			}
		}
		for {
			state, err := w.events.State(ctx, EventStreamName(ordersTable))
			if err != nil {
				t.Fatal(err)
			}
			if state.Readers["search"].Floor == eventsOfTest {
				break
			}
		}
	})
}

// TestEventStreams is what publishers rely on.
func TestEventStreams(t *testing.T) {
	eachEvents(t, func(t *testing.T, w *eventsWorld) {
		ctx := testContext(t)
		if s, err := w.events.State(ctx, EventStreamName(ordersTable)); err != nil && !strings.Contains(err.Error(), "no responders") || s.Exists {
			t.Fatalf("before it is made: %+v, %v", s, err)
		}
		w.fill(t)
		name := EventStreamName(ordersTable)
		s, err := w.events.State(ctx, name)
		if err != nil || !s.Exists || s.Config != streamOf(ordersTable, "orders.eu") || s.First != 1 || s.Last != 5 || s.Messages != 5 || s.Head != "100000000000000000001" || s.Tail != "100000000000000000005" || len(s.Readers) != 1 || s.Readers["search"].Delivered > 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		if err := w.events.Append(ctx, name, 7, []Event{testEvent("orders.eu", 8), testEvent("orders.eu", 9)}); err == nil {
			t.Error("events behind a hole were taken")
		}
		if err := w.events.Append(ctx, name, 4, []Event{testEvent("orders.eu", 60)}); err == nil {
			t.Error("an event in the place of another one was taken")
		}
		if s, err := w.events.State(ctx, name); err != nil || s.Last != 5 {
			t.Errorf("%+v, %v", s, err)
		}
		if p, err := w.events.Position(ctx, name, 3); err != nil || p != "100000000000000000003" {
			t.Errorf("%q, %v", p, err)
		}
		if p, err := w.events.Position(ctx, name, 30); err != nil || p != "" {
			t.Errorf("%q, %v", p, err)
		}
		wider := streamOf(ordersTable, "orders.eu")
		wider.MaxAge, wider.MaxBytes = 2*time.Hour, 2<<20
		if err := w.events.Adjust(ctx, wider); err != nil {
			t.Fatal(err)
		}
		if s, err := w.events.State(ctx, name); err != nil || s.Config != wider || s.Last != 5 {
			t.Errorf("%+v, %v", s, err)
		}
		var read []string
		if err := w.events.Read(ctx, name, func(at string, data []byte) error {
			read = append(read, at[19:]+string(data))
			return nil
		}); err != nil || !slices.Equal(read, []string{`01{"n":1}`, `02{"n":2}`, `03{"n":3}`, `04{"n":4}`, `05{"n":5}`}) {
			t.Errorf("%v, %v", read, err)
		}
		names, err := w.events.Names(ctx)
		slices.Sort(names)
		if err != nil || !slices.Equal(names, []string{EventStreamName(ordersTable), EventStreamName(othersTable)}) {
			t.Errorf("%v, %v", names, err)
		}
		if err := w.events.Make(ctx, wider); err != nil {
			t.Fatal(err)
		}
		if s, err := w.events.State(ctx, name); err != nil || s.Last != 0 || len(s.Readers) != 0 {
			t.Errorf("made anew: %+v, %v", s, err)
		}
		old := testEvent("orders.eu", 1)
		old.Keep = time.Second
		if err := w.events.Append(ctx, name, 0, []Event{old}); err != nil {
			t.Fatal(err)
		}
		for {
			if s, err := w.events.State(ctx, name); err != nil || ctx.Err() != nil {
				t.Fatalf("an event that was to be kept for a second does not go: %+v, %v", s, err)
			} else if s.Messages == 0 {
				break
			}
		}
		if err := w.events.Remove(ctx, name); err != nil {
			t.Error(err)
		}
		if err := w.events.Remove(ctx, name); err != nil {
			t.Error(err)
		}
	})
}

// TestMadeAnewIsEmpty: a server that still erases what was deleted before does not erase what is deleted now, and gives its events to the stream that is made next. That must not pass for a new one.
func TestMadeAnewIsEmpty(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ServerConfig(AccountsConfig{Region: "eu", User: "region", Password: string(hash)})
	if err != nil {
		t.Fatal(err)
	}
	servers, urls := startServers(t, 1, text)
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: urls, User: "region", Password: "secret", Log: testLog(t)})
	w, ctx := &eventsWorld{events: home.Events()}, testContext(t)
	w.fill(t)
	name := EventStreamName(ordersTable)
	dirs, err := filepath.Glob(filepath.Join(servers[0].StoreDir(), "*", "streams", name))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("directories of the stream: %v, %v", dirs, err)
	}
	erasing := filepath.Join(filepath.Dir(dirs[0]), "."+name) // where the server moves what it is to erase
	if err := os.MkdirAll(filepath.Join(erasing, "msgs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.events.Make(ctx, streamOf(ordersTable, "orders.eu")); !errors.Is(err, errNotEmpty) {
		t.Errorf("made while the server still erases: %v", err)
	}
	if s, err := w.events.State(ctx, name); err != nil || s.Exists {
		t.Errorf("what was not erased is back: %+v, %v", s, err)
	}
	if err := os.RemoveAll(erasing); err != nil {
		t.Fatal(err)
	}
	if err := w.events.Make(ctx, streamOf(ordersTable, "orders.eu")); err != nil {
		t.Fatal(err)
	}
	if s, err := w.events.State(ctx, name); err != nil || !s.Exists || s.Last != 0 || len(s.Readers) != 0 {
		t.Errorf("made anew: %+v, %v", s, err)
	}
}

// TestPurgeIsNoAcknowledgement: a purge raises the floors of consumers. Who looks meanwhile sees that what was purged is gone, too, and does not take it for read.
func TestPurgeIsNoAcknowledgement(t *testing.T) {
	eachEvents(t, func(t *testing.T, w *eventsWorld) {
		w.fill(t)
		ctx, name := testContext(t), EventStreamName(ordersTable)
		const last = 200
		var more []Event
		for n := eventsOfTest + 1; n <= last; n++ {
			more = append(more, testEvent("orders.eu", n))
		}
		if err := w.events.Append(ctx, name, eventsOfTest, more); err != nil {
			t.Fatal(err)
		}
		stream, err := w.events.js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		purged := make(chan error, 1)
		go func() {
			var err error
			for n := uint64(2); n <= last && err == nil; n++ {
				err = stream.Purge(ctx, jetstream.WithPurgeSequence(n))
			}
			purged <- err
		}()
		for done := false; !done; {
			select {
			case err := <-purged:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
			s, err := w.events.State(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			if floor := s.Readers["search"].Floor; floor > 1 && floor >= s.First { // it begins behind 1
				t.Fatalf("%d was never acknowledged, and the stream seems to have it: %+v", floor, s)
			}
		}
	})
}

// TestGrantedClientCanDoNoMore tries what the holder of a grant might.
func TestGrantedClientCanDoNoMore(t *testing.T) {
	eachEvents(t, func(t *testing.T, w *eventsWorld) {
		w.fill(t)
		refused := make(chan error, 256)
		nc := w.dial(t, "search")
		nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
		mine, other := EventStreamName(ordersTable), EventStreamName(othersTable)
		for _, subject := range []string{
			EventSubject("orders.eu", "insert", 7), EventSubject("others", "insert", 7), laneSubject(1), servicePrefix + "eu", servicePrefix + "search",
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO." + mine, "$JS.API.STREAM.PURGE." + mine, "$JS.API.STREAM.DELETE." + mine, "$JS.API.STREAM.UPDATE." + mine, "$JS.API.STREAM.MSG.GET." + mine,
			"$JS.API.STREAM.MSG.DELETE." + mine, "$JS.API.DIRECT.GET." + mine, "$JS.API.STREAM.SNAPSHOT." + mine, "$JS.API.STREAM.CREATE.X", "$JS.API.CONSUMER.NAMES." + mine, "$JS.API.CONSUMER.LIST." + mine,
			"$JS.API.CONSUMER.CREATE." + mine + ".x", "$JS.API.CONSUMER.DURABLE.CREATE." + mine + ".search", "$JS.API.CONSUMER.DELETE." + mine + ".search", "$JS.API.CONSUMER.RESET." + mine + ".search",
			"$JS.API.CONSUMER.INFO." + other + ".other", "$JS.API.CONSUMER.INFO." + other + ".search", "$JS.API.CONSUMER.MSG.NEXT." + other + ".other", "$JS.API.CONSUMER.MSG.NEXT." + mine + ".other",
			"$JS.API.CONSUMER.MSG.NEXT." + streamName(1) + ".search", "$JS.ACK." + other + ".other.1.1.1.1.1", "$JS.ACK.eu.x." + other + ".other.1.1.1.1.1.x", "$JS.ACK." + mine + ".other.1.1.1.1.1",
			"$JS.eu.API.CONSUMER.MSG.NEXT." + other + ".other", "$SYS.REQ.SERVER.PING",
		} {
			if err := nc.PublishRequest(subject, nc.NewInbox(), nil); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, nc, refused, subject)
		}
		for _, subject := range []string{">", eventSubjectPrefix + ">", "$JS.>", "_R_.>", "$SYS.>", lanePrefix + ">", "GRANT.>", "mail.>", "mail.orders"} {
			if _, err := nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, nc, refused, subject)
		}
		w.replyTrick(t, nc)
	})
}

func wantRefused(t *testing.T, nc *nats.Conn, refused <-chan error, what string) {
	t.Helper()
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s was not refused", what)
	}
}

// replyTrick asks for events with a subject of the stream, and of a lane, as the place to send them to.
func (w *eventsWorld) replyTrick(t *testing.T, nc *nats.Conn) {
	t.Helper()
	ctx := testContext(t)
	mine := EventStreamName(ordersTable)
	for _, reply := range []string{EventSubject("orders.eu", "insert", 7), EventSubject("others", "insert", 7)} {
		if err := nc.PublishRequest(fetchPrefix+mine+".search", reply, []byte(`{"batch":10,"no_wait":true}`)); err != nil {
			t.Fatal(err)
		}
	}
	// What the server made of it has happened once it has answered what was asked after it.
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := js.Consumer(ctx, mine, "search"); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []globaltable.TableID{ordersTable, othersTable} {
		if s, err := w.events.State(ctx, EventStreamName(table)); err != nil || s.Last != eventsOfTest {
			t.Errorf("a stream has %d events, %v", s.Last, err)
		}
	}
}

func TestRevokedGrantIsOut(t *testing.T) {
	w := embeddedEvents(t)
	w.fill(t)
	closed := make(chan struct{})
	nc := w.dial(t, "search")
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	stays := w.dial(t, "other")
	rest := slices.DeleteFunc(slices.Clone(w.grants), func(g Grant) bool { return g.Name == "search" })
	url := nc.ConnectedUrl()
	w.set(t, rest)
	select {
	case <-closed: // it was disconnected, and is not let in again
	case <-time.After(patience):
		t.Fatal("the connection of a grant that was revoked stays")
	}
	js, err := jetstream.New(stays)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Consumer(testContext(t), EventStreamName(othersTable), "other"); err != nil {
		t.Errorf("the other grant: %v", err)
	}
	// The name again, with another key and for another table.
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	w.set(t, append(rest, Grant{Name: "search", PublicKey: public, Streams: []string{EventStreamName(othersTable)}}))
	if err := w.events.SetReader(testContext(t), EventStreamName(othersTable), "search", 1); err != nil {
		t.Fatal(err)
	}
	again, err := jetstream.New(plainClient(t, url, key))
	if err != nil {
		t.Fatal(err)
	}
	c, err := again.Consumer(testContext(t), EventStreamName(othersTable), "search")
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, c, eventsOfTest)
}

// TestEventsLeaveNoBytes looks for an event in the server's files.
func TestEventsLeaveNoBytes(t *testing.T) {
	dir, canary := t.TempDir(), []byte("canary-of-an-event-7f3a")
	start := func() *Embedded {
		home, err := StartEmbedded(testContext(t), EmbeddedConfig{Region: "eu", Dir: dir, DontListen: true, Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		return home
	}
	put := func(home *Embedded) {
		stream := streamOf(ordersTable, "orders")
		if err := home.Events().Make(testContext(t), stream); err != nil {
			t.Fatal(err)
		}
		e := testEvent("orders", 1)
		e.Data = canary
		if err := home.Events().Append(testContext(t), stream.Name, 0, []Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	home := start()
	put(home)
	if !inFiles(t, dir, canary) {
		t.Fatal("the event is in no file: this test shows nothing")
	}
	if err := home.Events().Make(testContext(t), streamOf(ordersTable, "orders")); err != nil {
		t.Fatal(err)
	}
	if inFiles(t, dir, canary) {
		t.Error("a stream made anew has left bytes of the old one")
	}
	put(home)
	if err := home.Close(); err != nil {
		t.Error(err)
	}
	if !inFiles(t, dir, canary) {
		t.Fatal("the event is in no file: this test shows nothing")
	}
	home = start()
	defer closing(t, home)
	if inFiles(t, dir, canary) {
		t.Error("a start has left bytes of a stream of before")
	}
	if s, err := home.Events().State(testContext(t), EventStreamName(ordersTable)); err != nil || s.Exists {
		t.Errorf("%+v, %v", s, err)
	}
}

func inFiles(t *testing.T, dir string, what []byte) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, what)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEventsWithoutAccount is a cluster whose operator has not installed the account of the events yet: lanes work, and events do once it is there.
func TestEventsWithoutAccount(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ServerConfig(AccountsConfig{Region: "eu", User: "region", Password: string(hash)})
	if err != nil {
		t.Fatal(err)
	}
	old := text[:strings.Index(text, "  CONCORDAT-EVENTS {")] + "}\n"
	dir, port := t.TempDir(), freePort(t)
	run := func(text string) *server.Server {
		opts := serverOptions(t, text)
		opts.StoreDir, opts.Port = dir, port
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(patience) {
			t.Fatal("server not ready")
		}
		return s
	}
	s := run(old)
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: []string{s.ClientURL()}, User: "region", Password: "secret", Log: testLog(t)})
	w := &world{home: home}
	w.openLane(t, 1, 1<<20)
	ctx, cancel := context.WithTimeout(testContext(t), time.Second)
	defer cancel()
	if err := home.Events().Make(ctx, streamOf(ordersTable, "orders")); err == nil {
		t.Fatal("a stream of events without an account for it")
	}
	s.Shutdown()
	s.WaitForShutdown()
	s = run(text)
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	all := testContext(t)
	for {
		attempt, cancel := context.WithTimeout(all, time.Second)
		err := home.Events().Make(attempt, streamOf(ordersTable, "orders"))
		cancel()
		if err == nil {
			return
		}
		if all.Err() != nil {
			t.Fatal(err)
		}
	}
}
