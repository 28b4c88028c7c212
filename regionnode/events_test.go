package regionnode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable/trigger"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// soloConfig is of a region without peers, which listens at free ports.
func soloConfig(t *testing.T) Config {
	t.Helper()
	cfg := goodConfig(t)
	cfg.Peers = nil
	return cfg
}

// freeAddress returns an address at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// createStreamed makes the table with a stream.
func (r *running) createStreamed() {
	r.t.Helper()
	r.createTable()
	_, err := r.db.UpdateTable(r.t.Context(), &sdk.UpdateTableInput{TableName: aws.String("orders"),
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}})
	if err != nil {
		r.t.Fatal(err)
	}
}

// ask sends a request to the admin API and decodes the answer into out.
func (r *running) ask(method, path string, body, out any) int {
	r.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.at.Admin+path, in)
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.http.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && out != nil && answer.StatusCode == http.StatusOK {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		r.t.Fatalf("%s %s: %v: %s", method, path, err, b)
	}
	if answer.StatusCode != http.StatusOK {
		r.t.Logf("%s %s: %s", method, path, b)
	}
	return answer.StatusCode
}

type anEvent struct {
	ID, Type, Sequence string
	Data               struct {
		Keys struct{ ID struct{ S string } }
	}
}

// drain fetches from a durable consumer until it has n events, and acknowledges them.
func drain(t *testing.T, js jetstream.JetStream, stream, durable string, n int) (keys []string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for len(keys) < n && time.Now().Before(deadline) {
		c, err := js.Consumer(t.Context(), stream, durable)
		if err != nil {
			continue // the region is starting
		}
		batch, err := c.Fetch(n-len(keys), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			continue
		}
		for m := range batch.Messages() {
			var e anEvent
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, e.Data.Keys.ID.S)
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	return keys
}

// newKey makes a key, as regions and who asks for a grant do.
func newKey(t testing.TB) (key nkeys.KeyPair, public string) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err == nil {
		public, err = key.PublicKey()
	}
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

// applyTrigger puts a trigger in force.
func (r *running) applyTrigger(document string) {
	r.t.Helper()
	documents, err := trigger.Parse([]byte(document))
	if err != nil {
		r.t.Fatal(err)
	}
	if status := r.ask(http.MethodPost, "/v1/triggers/apply", admin.TriggerRequest{Documents: documents, Author: "me"}, nil); status != http.StatusOK {
		r.t.Fatal(status)
	}
}

// TestGrants: a plain client of NATS reads events by a grant, over a restart of the region without JetStream's directory, until the grant is taken back.
func TestGrants(t *testing.T) {
	cfg := soloConfig(t)
	cfg.Bus.Embedded.Listen = freeAddress(t) // the same over the restart
	r := runNode(t, cfg)
	r.createStreamed()
	for i := range 5 {
		if err := r.put(fmt.Sprint("before", i)); err != nil {
			t.Fatal(err)
		}
	}
	key, public := newKey(t)
	for _, wrong := range []admin.NewGrant{{Name: "search", PublicKey: "x", Tables: []string{"orders"}}, {Name: "search", PublicKey: public, Tables: []string{"others"}}, {Name: "search", PublicKey: public},
		{Name: "Search", PublicKey: public, Tables: []string{"orders"}}, {Name: "search", PublicKey: public, Tables: []string{"orders"}, ExpiresSeconds: -1}, {Name: "search", PublicKey: cfg.Region.PublicKey, Tables: []string{"orders"}}} {
		if status := r.ask(http.MethodPost, "/v1/grants", wrong, nil); status == http.StatusOK || status >= 500 {
			t.Errorf("%+v: %d", wrong, status)
		}
	}
	var made admin.GrantMade
	if status := r.ask(http.MethodPost, "/v1/grants", admin.NewGrant{Name: "search", PublicKey: public, Tables: []string{"orders"}, SinceSeconds: 3600}, &made); status != http.StatusOK || !made.Ready || len(made.Tables) != 1 {
		t.Fatalf("%d %+v", status, made)
	}
	if status := r.ask(http.MethodPost, "/v1/grants", admin.NewGrant{Name: "search", PublicKey: public, Tables: []string{"orders"}}, nil); status != http.StatusConflict {
		t.Errorf("the name is taken: %d", status)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(r.at.NATS, nats.Nkey(public, key.Sign), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream := made.Tables[0].Stream
	if got := drain(t, js, stream, "search", 5); !slices.Equal(got, []string{"before0", "before1", "before2", "before3", "before4"}) {
		t.Fatalf("%v", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(cfg.JetStreamDir()); err != nil {
		t.Fatal(err)
	}
	r = runNode(t, cfg)
	for i := range 3 {
		if err := r.put(fmt.Sprint("after", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := drain(t, js, stream, "search", 3); !slices.Equal(got, []string{"after0", "after1", "after2"}) {
		t.Fatalf("after a restart: %v", got)
	}
	var list admin.GrantList
	if status := r.ask(http.MethodGet, "/v1/grants", nil, &list); status != http.StatusOK || len(list.Grants) != 1 || list.Grants[0].Name != "search" || list.Grants[0].Tables[0].Table != "orders" {
		t.Errorf("%d %+v", status, list)
	}
	if status := r.ask(http.MethodDelete, "/v1/grants/search", nil, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	select {
	case <-closed: // refused when it came back
	case <-time.After(30 * time.Second):
		t.Error("the connection of a grant that was revoked stays")
	}
	if status := r.ask(http.MethodDelete, "/v1/grants/search", nil, nil); status != http.StatusNotFound {
		t.Error(status)
	}
	var log admin.AuditLog
	r.ask(http.MethodGet, "/v1/audit/log", nil, &log)
	var kinds []string
	for _, e := range log.Entries {
		if e.Entry != nil && strings.HasPrefix(string(e.Entry.Kind), "grant.") {
			kinds = append(kinds, string(e.Entry.Kind)+" "+e.Entry.Subject)
		}
	}
	if !slices.Equal(kinds, []string{"grant.made search", "grant.revoked search"}) {
		t.Errorf("audit log: %v", kinds)
	}
}

// TestHeardTriggers: the holder of a grant hears what a trigger publishes to its subject, over a restart of the region, until the grant is taken back.
func TestHeardTriggers(t *testing.T) {
	cfg := soloConfig(t)
	cfg.Bus.Embedded.Listen = freeAddress(t) // the same over the restart
	r := runNode(t, cfg)
	r.createStreamed()
	r.applyTrigger("apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: paid}\nspec: {table: orders, fire: origin, filter: {type: [concordat.item.insert]}, target: {nats: {subject: orders.paid}}, batch: {window: 1ms}}\n")
	key, public := newKey(t)
	for _, wrong := range []admin.NewGrant{{Subjects: []string{">"}}, {Subjects: []string{"concordat.>"}}, {Subjects: []string{"$JS.>"}}, {Subjects: []string{"_INBOX.>"}}, {Subjects: []string{"a.>", "a.b"}}, {Subjects: []string{"a"}, SinceSeconds: 1}, {}} {
		wrong.Name, wrong.PublicKey = "mailer", public
		if status := r.ask(http.MethodPost, "/v1/grants", wrong, nil); status != http.StatusBadRequest {
			t.Errorf("%+v: %d", wrong, status)
		}
	}
	var made admin.GrantMade
	if status := r.ask(http.MethodPost, "/v1/grants", admin.NewGrant{Name: "mailer", PublicKey: public, Subjects: []string{"orders.>", "orders.>", "mail"}}, &made); status != http.StatusOK || !made.Ready || made.External || len(made.Tables) != 0 || !slices.Equal(made.Subjects, []string{"mail", "orders.>"}) {
		t.Fatalf("%d %+v", status, made)
	}
	closed, heard := make(chan struct{}), make(chan *nats.Msg, 64)
	nc, err := nats.Connect(r.at.NATS, nats.Nkey(public, key.Sign), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err = nc.ChanSubscribe("orders.*", heard); err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	hears := func(id string) {
		t.Helper()
		for { // at least once
			select {
			case m := <-heard:
				var e anEvent
				if err := json.Unmarshal(m.Data, &e); err != nil || m.Subject != "orders.paid" || m.Header.Get(jetstream.MsgIDHeader) != e.ID || e.Type != "concordat.item.insert" {
					t.Fatalf("%s %v: %s, %v", m.Subject, m.Header, m.Data, err)
				}
				if e.Data.Keys.ID.S == id {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("%s is not heard", id)
			}
		}
	}
	if err := r.put("a"); err != nil {
		t.Fatal(err)
	}
	hears("a")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = runNode(t, cfg)
	if err := nc.FlushTimeout(30 * time.Second); err != nil { // it has come back, and subscribed again
		t.Fatal(err)
	}
	if err := r.put("b"); err != nil {
		t.Fatal(err)
	}
	hears("b")
	var list admin.GrantList
	if r.ask(http.MethodGet, "/v1/grants", nil, &list); len(list.Grants) != 1 || !slices.Equal(list.Grants[0].Subjects, made.Subjects) {
		t.Errorf("%+v", list)
	}
	if status := r.ask(http.MethodDelete, "/v1/grants/mailer", nil, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("the connection of a grant that was revoked stays")
	}
	var log admin.AuditLog
	r.ask(http.MethodGet, "/v1/audit/log", nil, &log)
	var said []string
	for _, e := range log.Entries {
		if e.Entry != nil && strings.HasPrefix(string(e.Entry.Kind), "grant.") {
			for _, c := range e.Entry.Changes[1:] {
				said = append(said, c.What+": "+c.Was+">"+c.Now)
			}
		}
	}
	if want := []string{"subject mail: >heard", "subject orders.>: >heard", "subject mail: heard>", "subject orders.>: heard>"}; !slices.Equal(said, want) {
		t.Errorf("audit log: %q", said)
	}
}

// TestGrantExpires ends by itself.
func TestGrantExpires(t *testing.T) {
	r := runNode(t, soloConfig(t))
	r.createStreamed()
	key, public := newKey(t)
	if status := r.ask(http.MethodPost, "/v1/grants", admin.NewGrant{Name: "brief", PublicKey: public, Tables: []string{"orders"}, ExpiresSeconds: 1}, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(r.at.NATS, nats.Nkey(public, key.Sign), nats.ReconnectWait(50*time.Millisecond), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil { // it was let in, or the second has passed
		return
	}
	defer nc.Close()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("the connection of a grant that has expired stays")
	}
}

// TestTail pages through a table's events by positions, with a filter, waits for what comes, and keeps a place by a name over a restart.
func TestTail(t *testing.T) {
	cfg := soloConfig(t)
	r := runNode(t, cfg)
	r.createTable()
	if status := r.ask(http.MethodGet, "/v1/tables/orders/events?wait=0", nil, nil); status != http.StatusConflict {
		t.Errorf("a table without a stream: %d", status)
	}
	if status := r.ask(http.MethodGet, "/v1/tables/others/events?wait=0", nil, nil); status != http.StatusNotFound {
		t.Errorf("no table: %d", status)
	}
	_, err := r.db.UpdateTable(t.Context(), &sdk.UpdateTableInput{TableName: aws.String("orders"),
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := r.put(id); err != nil {
			t.Fatal(err)
		}
	}
	page := func(query string) (keys []string, next string) {
		t.Helper()
		var out admin.EventPage
		if status := r.ask(http.MethodGet, "/v1/tables/orders/events?"+query, nil, &out); status != http.StatusOK || out.Missed {
			t.Fatalf("%s: %d %+v", query, status, out)
		}
		for _, raw := range out.Events {
			var e anEvent
			if err := json.Unmarshal(raw, &e); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, e.Data.Keys.ID.S)
		}
		return keys, out.Next
	}
	since := "since=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	keys, next := page("wait=0&limit=2&" + since)
	if !slices.Equal(keys, []string{"a", "b"}) {
		t.Fatal(keys)
	}
	if keys, next = page("wait=0&after=" + next); !slices.Equal(keys, []string{"c"}) {
		t.Fatal(keys)
	}
	if keys, _ := page("wait=0"); len(keys) > 0 {
		t.Errorf("from now on: %v", keys)
	}
	if keys, _ := page(`wait=0&filter={"data":{"keys":{"id":{"S":["b"]}}}}&` + since); !slices.Equal(keys, []string{"b"}) {
		t.Errorf("filtered: %v", keys)
	}
	go func() { _ = r.put("d") }()
	if keys, next = page("wait=30&after=" + next); !slices.Equal(keys, []string{"d"}) {
		t.Errorf("waited for: %v", keys)
	}
	if status := r.ask(http.MethodPut, "/v1/tables/orders/tails/mine", admin.SetTail{Position: next}, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = runNode(t, cfg)
	if err := r.put("e"); err != nil {
		t.Fatal(err)
	}
	if keys, _ = page("wait=0&tail=mine"); !slices.Equal(keys, []string{"e"}) {
		t.Errorf("where the tail was: %v", keys)
	}
	var list admin.StreamList
	if r.ask(http.MethodGet, "/v1/streams", nil, &list); len(list.Streams) != 1 || list.Streams[0].Records != 5 || len(list.Streams[0].Tails) != 1 || list.Streams[0].Tails[0].Position != next || list.Streams[0].Events == nil {
		t.Errorf("%+v", list)
	}
	for _, wrong := range []string{"after=12", "since=yesterday", "limit=0", "wait=x", `filter={"a":1}`} {
		if status := r.ask(http.MethodGet, "/v1/tables/orders/events?"+wrong, nil, nil); status != http.StatusBadRequest {
			t.Errorf("%s: %d", wrong, status)
		}
	}
	if status := r.ask(http.MethodDelete, "/v1/tails/mine", nil, nil); status != http.StatusOK {
		t.Error(status)
	}
	if status := r.ask(http.MethodDelete, "/v1/tails/mine", nil, nil); status != http.StatusNotFound {
		t.Error(status)
	}
}

// TestEventsOverStreams: a stream that is switched off and on again is another one; who follows the table follows both, by tail and by NATS.
func TestEventsOverStreams(t *testing.T) {
	r := runNode(t, soloConfig(t))
	r.createStreamed()
	set := func(spec types.StreamSpecification) {
		t.Helper()
		if _, err := r.db.UpdateTable(t.Context(), &sdk.UpdateTableInput{TableName: aws.String("orders"), StreamSpecification: &spec}); err != nil {
			t.Fatal(err)
		}
	}
	key, public := newKey(t)
	var made admin.GrantMade
	if status := r.ask(http.MethodPost, "/v1/grants", admin.NewGrant{Name: "search", PublicKey: public, Tables: []string{"orders"}}, &made); status != http.StatusOK {
		t.Fatal(status)
	}
	since := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for _, id := range []string{"a", "b"} {
		if err := r.put(id); err != nil {
			t.Fatal(err)
		}
	}
	set(types.StreamSpecification{StreamEnabled: aws.Bool(false)})
	if err := r.put("untold"); err != nil {
		t.Fatal(err)
	}
	set(types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeKeysOnly})
	for _, id := range []string{"c", "d"} {
		if err := r.put(id); err != nil {
			t.Fatal(err)
		}
	}
	nc, err := nats.Connect(r.at.NATS, nats.Nkey(public, key.Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "b", "c", "d"}
	if got := drain(t, js, made.Tables[0].Stream, "search", 4); !slices.Equal(got, want) {
		t.Errorf("in NATS: %v", got)
	}
	var page admin.EventPage
	r.ask(http.MethodGet, "/v1/tables/orders/events?wait=0&since="+since, nil, &page)
	var got []string
	for _, raw := range page.Events {
		var e anEvent
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Data.Keys.ID.S)
	}
	if !slices.Equal(got, want) {
		t.Errorf("tailed: %v", got)
	}
	var list admin.StreamList
	if r.ask(http.MethodGet, "/v1/streams", nil, &list); len(list.Streams) != 1 || list.Streams[0].View != "KEYS_ONLY" || list.Streams[0].Records != 4 || !list.Streams[0].Events.Ready || list.Streams[0].Events.Refills != 1 {
		t.Errorf("%+v", list)
	}
	var status admin.Status
	if r.ask(http.MethodGet, "/v1/status", nil, &status); status.Events == nil || status.Events.Tables != 1 || status.Events.Grants != 1 {
		t.Errorf("%+v", status.Events)
	}
	if code, text := r.get("/metrics"); code != http.StatusOK || !strings.Contains(text, `concordat_stream_published_total{region="eu-central-1",table="orders"} 4`) || !strings.Contains(text, "concordat_stream_refills_total") {
		t.Errorf("metrics: %d", code)
	}
	if _, err := r.db.DeleteTable(t.Context(), &sdk.DeleteTableInput{TableName: aws.String("orders")}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, err := js.Consumer(t.Context(), made.Tables[0].Stream, "search")
		if err != nil {
			break // the stream went with the table
		}
		if time.Now().After(deadline) {
			t.Fatal("the events of a table that was deleted stay")
		}
	}
}
