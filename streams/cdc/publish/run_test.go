package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"github.com/valyala/fastjson"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/globaltable/item"
	"github.com/concordat-db/concordat/streams/bus"
	"github.com/concordat-db/concordat/streams/cdc"
	"github.com/concordat-db/concordat/streams/cdc/reader"
)

const (
	patience    = time.Minute
	ackPatience = 5 * time.Second // with an acknowledgement that may have nobody to answer it
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// memory is a Store with the records of one table in memory.
type memory struct {
	mu      sync.Mutex
	records []cdc.Record
	hidden  func(*cdc.Record) bool // may not be here
	news    chan struct{}
	kept    map[string][]byte // of readers
}

func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		i := len(m.records) + 1
		id, _ := itemOf(fmt.Sprint("k", i)).GetString("id")
		key, err := item.AppendKey(nil, id, nil)
		if err != nil {
			panic(err)
		}
		position := hlc.FromTime(time.Now()) + hlc.Timestamp(i)
		if i > 1 {
			position = max(position, m.records[i-2].Position+1)
		}
		m.records = append(m.records, cdc.Record{Position: position, Lane: 7, Kind: cdc.Write, Event: cdc.Insert, Dot: hlc.Stamp{Time: position - 1, Origin: 1}, Newest: hlc.Stamp{Time: position - 1, Origin: 1}, Key: key, New: itemOf(fmt.Sprint("k", i))})
	}
	close(m.news)
	m.news = make(chan struct{})
}

func (m *memory) ReadTable(_ globaltable.TableID, after, upTo hlc.Timestamp, f func(*cdc.Record) bool) (hlc.Timestamp, error) {
	mark := m.StreamMark()
	if upTo == 0 || upTo > mark {
		upTo = mark
	}
	m.mu.Lock()
	records, hidden := slices.Clone(m.records), m.hidden
	m.mu.Unlock()
	for i := range records {
		r := records[i]
		if r.Position <= after || r.Position > upTo || hidden != nil && hidden(&r) {
			continue
		}
		if !f(&r) {
			return r.Position, nil
		}
	}
	return max(after, upTo), nil
}

func (m *memory) StreamMark() hlc.Timestamp {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.records) == 0 {
		return 0
	}
	return m.records[len(m.records)-1].Position
}

func (m *memory) AwaitTable(ctx context.Context, _ globaltable.TableID, after hlc.Timestamp) bool {
	for {
		m.mu.Lock()
		news := m.news
		m.mu.Unlock()
		if m.StreamMark() > after {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

func (m *memory) HasStreams(globaltable.TableID) bool { return false }

func (m *memory) UpdateReaders(_ context.Context, f func(reader.Batch) error) error { return f(m) }
func (m *memory) Set(name string, value []byte)                                     { m.kept[name] = value }
func (m *memory) Delete(name string)                                                { delete(m.kept, name) }
func (m *memory) Readers(f func(string, []byte) error) error {
	for name, value := range m.kept {
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

var keySchema = globaltable.KeySchema{Partition: globaltable.KeyAttribute{Name: "id", Type: item.S}}

func itemOf(id string) item.Item {
	v, err := fastjson.Parse(fmt.Sprintf(`{"id":{"S":%q}}`, id))
	if err != nil {
		panic(err)
	}
	it, err := item.DecodeItemJSON(nil, v)
	if err != nil {
		panic(err)
	}
	return it
}

// region is a region's publisher, with a NATS server of its own and somebody who destroys what is in it.
type region struct {
	t        *testing.T
	store    *memory
	events   *bus.Events
	catalog  *catalog.Catalog
	table    *globaltable.Table
	readers  *reader.Readers
	runner   *Runner
	js       jetstream.JetStream // of the region's own user of the events
	search   jetstream.JetStream // of the grant named search
	grantKey nkeys.KeyPair
	stop     func()
}

func newKey(t *testing.T) (nkeys.KeyPair, string) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func connect(t *testing.T, url string, opts ...nats.Option) jetstream.JetStream {
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func newRegion(t *testing.T) *region {
	t.Helper()
	self := globaltable.Descriptor{Name: "eu", Jurisdiction: "EU", Origin: 1}
	_, self.PublicKey = newKey(t)
	r := &region{t: t, store: &memory{news: make(chan struct{}), kept: map[string][]byte{}}}
	var err error
	if r.catalog, err = catalog.New(self, nil); err != nil {
		t.Fatal(err)
	}
	r.table, err = catalog.Create(&catalog.Spec{Name: "orders", KeySchema: keySchema, Stream: globaltable.ViewNewAndOldImages, Secret: bytes.Repeat([]byte{7}, globaltable.StreamSecretLen)}, 1000<<16|1, self, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.catalog.Load([]item.Item{catalog.EncodeDocument(r.table)}, nil); err != nil {
		t.Fatal(err)
	}
	var public string
	r.grantKey, public = newKey(t)
	text, err := bus.ServerConfig(bus.AccountsConfig{Region: "eu", User: "region", Password: "secret", Grants: []bus.Grant{{Name: "search", PublicKey: public, Streams: []string{bus.EventStreamName(r.table.ID)}}}})
	if err != nil {
		t.Fatal(err)
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(text); err != nil {
		t.Fatal(err)
	}
	opts.ServerName, opts.Host, opts.Port, opts.NoSigs = "n0", "127.0.0.1", server.RANDOM_PORT, true
	opts.JetStream, opts.StoreDir, opts.JetStreamDomain, opts.JetStreamMaxStore, opts.JetStreamMaxMemory = true, t.TempDir(), "eu", 1<<40, 64<<20
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("server not ready")
	}
	home, err := bus.ConnectExternal(t.Context(), bus.ExternalConfig{Region: "eu", URLs: []string{s.ClientURL()}, User: "region", Password: "secret", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := home.Close(); err != nil {
			t.Error(err)
		}
	})
	r.events = home.Events()
	r.js = connect(t, s.ClientURL(), nats.UserInfo("region-events", "secret"))
	r.search = connect(t, s.ClientURL(), nats.Nkey(public, r.grantKey.Sign))
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// start runs a publisher, as a process does that begins.
func (r *region) start() {
	var err error
	if r.readers, err = reader.Open(r.store); err != nil {
		r.t.Fatal(err)
	}
	r.runner = New(Config{Self: r.catalog.View().Self(), View: r.catalog.View, Store: r.store, Bus: r.events, Readers: r.readers, Now: time.Now, Every: 20 * time.Millisecond,
		Name: func(hlc.Origin) string { return "eu" }, Events: Events{Anew: func(_, why string) { r.t.Log("anew:", why) }, Failed: func(_ string, err error) { r.t.Log(err) }}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	runner := r.runner
	go func() { ended <- runner.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *region) grant(at hlc.Timestamp) {
	r.t.Helper()
	if err := r.readers.Add(r.t.Context(), reader.Reader{Kind: reader.Grant, Name: "search", Key: "x", Places: []reader.Place{{Table: r.table.ID, At: at}}}); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for r.runner.worker(r.table.ID) == nil {
		if ctx.Err() != nil {
			r.t.Fatal("the table has no worker")
		}
	}
	if !r.runner.AwaitReader(ctx, "search", []globaltable.TableID{r.table.ID}) {
		r.t.Fatal("the reader has no consumer")
	}
}

// consume fetches events and acknowledges them until it has had so many different ones. What it has had may come again; anything else comes in order, if ordered.
func (r *region) consume(had *[]string, upTo int, ordered bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for len(*had) < upTo {
		if ctx.Err() != nil {
			r.t.Fatalf("got %d events of %d", len(*had), upTo)
		}
		c, err := r.search.Consumer(ctx, bus.EventStreamName(r.table.ID), "search")
		if err != nil {
			continue // it is being made
		}
		batch, err := c.Fetch(50, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			continue
		}
		r.acknowledge(ctx, had, batch, ordered)
	}
}

// acknowledge takes a batch and acknowledges it. Nobody answers for a consumer that was made anew since it gave the batch: then the rest is only taken, and comes again.
func (r *region) acknowledge(ctx context.Context, had *[]string, batch jetstream.MessageBatch, ordered bool) {
	r.t.Helper()
	answered := true
	for m := range batch.Messages() {
		r.take(had, m, ordered)
		if !answered {
			continue
		}
		once, cancel := context.WithTimeout(ctx, ackPatience)
		if err := m.DoubleAck(once); err != nil {
			r.t.Log("acknowledging:", err)
			answered = false
		}
		cancel()
	}
}

func (r *region) take(had *[]string, m jetstream.Msg, ordered bool) {
	r.t.Helper()
	if m.Headers().Get(bus.PositionHeader) == "" {
		return // a stranger's
	}
	var e struct {
		ID   string
		Data struct {
			Keys struct{ ID struct{ S string } }
		}
	}
	if err := json.Unmarshal(m.Data(), &e); err != nil || e.ID != m.Headers().Get(nats.MsgIdHdr) {
		r.t.Fatalf("%v: %s", err, m.Data())
	}
	key, next := e.Data.Keys.ID.S, fmt.Sprint("k", len(*had)+1)
	switch {
	case slices.Contains(*had, key):
	case key != next && ordered:
		r.t.Fatalf("%s came before %s", key, next)
	default:
		*had = append(*had, key)
	}
}

// TestNothingIsMissed destroys what JetStream has, in every way, with and without a restart; the reader gets every record, and in order what was lost while nobody published.
func TestNothingIsMissed(t *testing.T) {
	name := bus.EventStreamName(1000<<16 | 1)
	for _, test := range []struct {
		name    string
		destroy func(t *testing.T, r *region)
	}{
		{"nothing", func(*testing.T, *region) {}},
		{"the stream is gone", func(t *testing.T, r *region) {
			if err := r.js.DeleteStream(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}},
		{"it is empty", func(t *testing.T, r *region) {
			s, err := r.js.Stream(t.Context(), name)
			if err == nil {
				err = s.Purge(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"its beginning is gone", func(t *testing.T, r *region) {
			s, err := r.js.Stream(t.Context(), name)
			if err == nil {
				err = s.Purge(t.Context(), jetstream.WithPurgeSequence(40))
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"one in the middle is gone", func(t *testing.T, r *region) {
			s, err := r.js.Stream(t.Context(), name)
			if err == nil {
				err = s.DeleteMsg(t.Context(), 45)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"the last one is gone", func(t *testing.T, r *region) {
			s, err := r.js.Stream(t.Context(), name)
			if err == nil {
				err = s.DeleteMsg(t.Context(), 60)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"something else is in it", func(t *testing.T, r *region) {
			if _, err := r.js.Publish(t.Context(), "concordat.events.orders.insert.x", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}},
		{"the consumer is gone", func(t *testing.T, r *region) {
			if err := r.js.DeleteConsumer(t.Context(), name, "search"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", test.name, restart), func(t *testing.T) {
				r := newRegion(t)
				r.store.add(10)
				r.grant(0)
				var had []string
				r.store.add(50)
				r.consume(&had, 30, true)
				r.awaitPublished()
				if restart {
					r.stop()
				}
				test.destroy(t, r)
				if restart {
					r.store.add(5)
					r.start()
				}
				r.store.add(15)
				r.consume(&had, len(r.store.records), restart) // what is lost under a publisher at work is noticed a moment later
			})
		}
	}
}

func (r *region) awaitPublished() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for {
		s, ok := r.runner.Status(r.table.ID)
		if ok && s.Ready && s.Published >= r.store.StreamMark() {
			return
		}
		if ctx.Err() != nil {
			r.t.Fatalf("%+v", s)
		}
	}
}

// TestPlacesOutliveJetStream: what was acknowledged does not come again when JetStream has lost everything, but for what was acknowledged a moment before.
func TestPlacesOutliveJetStream(t *testing.T) {
	r := newRegion(t)
	r.store.add(40)
	r.grant(0)
	var had []string
	r.consume(&had, 40, true)
	r.stop() // the last word notes the place
	if err := r.js.DeleteStream(t.Context(), bus.EventStreamName(r.table.ID)); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.store.add(3)
	r.awaitPublished()
	s, err := r.events.State(t.Context(), bus.EventStreamName(r.table.ID))
	if err != nil || s.Messages != 3 || s.Readers["search"].Pending+s.Readers["search"].Delivered-s.Readers["search"].Floor != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	r.consume(&had, 43, true)
}

// TestRenew: once it is said that the events are live again, JetStream has none of what may not be here any more.
func TestRenew(t *testing.T) {
	r := newRegion(t)
	r.store.add(20)
	r.grant(0)
	r.awaitPublished()
	r.store.mu.Lock()
	r.store.hidden = func(x *cdc.Record) bool { return bytes.Contains(x.New, []byte("k1")) }
	r.store.mu.Unlock()
	r.runner.Renew(r.table.ID)
	if r.runner.Live(r.table.ID) {
		t.Error("live at once")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !r.runner.Live(r.table.ID) {
		if ctx.Err() != nil {
			t.Fatal("never live")
		}
	}
	n := 0
	err := r.events.Read(ctx, bus.EventStreamName(r.table.ID), func(_ string, data []byte) error {
		n++
		if bytes.Contains(data, []byte(`"k1`)) {
			t.Errorf("still there: %s", data)
		}
		return nil
	})
	if err != nil || n != 9 { // k2 to k9, k20
		t.Errorf("%d events, %v", n, err)
	}
}

// TestEarlierReader: a reader may begin before what the stream has.
func TestEarlierReader(t *testing.T) {
	r := newRegion(t)
	r.store.add(20)
	r.awaitPublished() // from its mark on: nobody reads
	r.store.add(5)
	r.awaitPublished()
	r.grant(r.store.records[9].Position)
	s, err := r.events.State(t.Context(), bus.EventStreamName(r.table.ID))
	if err != nil || s.Messages != 15 || s.Readers["search"].Pending != 15 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := r.readers.Remove(t.Context(), reader.Grant, "search"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		s, err := r.events.State(ctx, bus.EventStreamName(r.table.ID))
		if err != nil || ctx.Err() != nil {
			t.Fatalf("the consumer of a reader that is no more: %v", err)
		}
		if len(s.Readers) == 0 {
			break
		}
	}
}

// TestStreamsOfNoTableGo removes what is left of tables that are no more.
func TestStreamsOfNoTableGo(t *testing.T) {
	r := newRegion(t)
	r.stop()
	if err := r.events.Make(t.Context(), bus.EventStream{Name: bus.EventStreamName(99), Subjects: bus.EventSubjects("gone"), MaxAge: time.Hour, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	r.start()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		names, err := r.events.Names(ctx)
		if err != nil || ctx.Err() != nil {
			t.Fatalf("%v, %v", names, err)
		}
		if slices.Equal(names, []string{bus.EventStreamName(r.table.ID)}) {
			return
		}
	}
}
