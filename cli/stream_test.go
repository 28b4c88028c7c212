package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/cdc"
)

// toldRegion is a region's streams: one table with pages of events, tails and grants.
type toldRegion struct {
	mu     sync.Mutex
	asked  []string
	pages  []admin.EventPage // the next ones; then nothing comes
	broken bool              // the next request finds the region broken
	key    string
}

func (s *toldRegion) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf(format, args...))
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func (s *toldRegion) List(context.Context) (admin.StreamList, error) {
	s.note("list")
	return admin.StreamList{Region: "eu", Streams: []admin.Stream{
		{Table: "orders", TableID: "0000000000000001", View: "NEW_AND_OLD_IMAGES", Label: "2026-01-02T03:04:05.000", Records: 7, Bytes: 2048, Oldest: &noon, Newest: &noon,
			Events: &admin.Events{Stream: "EVENTS_0000000000000001", Subjects: "concordat.events.orders.>", LagMillis: 1500, Refills: 1, Pending: map[string]uint64{"search": 3}},
			Tails:  []admin.TailAt{{Name: "mine", Position: cdc.Sequence(5), Time: noon, Used: noon}}},
		{Table: "past", TableID: "0000000000000002"}}}, nil
}

func (s *toldRegion) Events(ctx context.Context, q admin.EventQuery) (admin.EventPage, error) {
	s.note("events %s after:%d since:%v tail:%s %s", q.Table, q.After, !q.Since.IsZero(), q.Tail, q.Wait)
	if q.Table != "orders" {
		return admin.EventPage{}, &globaltable.Error{Kind: globaltable.NotFound, Message: "this region has no table named " + q.Table}
	}
	s.mu.Lock()
	if len(s.pages) > 0 {
		page := s.pages[0]
		s.pages = s.pages[1:]
		s.mu.Unlock()
		return page, nil
	}
	s.mu.Unlock()
	if q.Wait > 0 {
		<-ctx.Done()
	}
	return admin.EventPage{Events: []json.RawMessage{}, Next: cdc.Sequence(q.After)}, nil
}

func (s *toldRegion) SetTail(_ context.Context, table, name string, at hlc.Timestamp) error {
	s.note("tail %s %s %d", table, name, at)
	return nil
}

func (s *toldRegion) ForgetTail(_ context.Context, name string) error { return s.end("forget", name) }
func (s *toldRegion) Revoke(_ context.Context, name string) (admin.GrantEnded, error) {
	return admin.GrantEnded{PublicKey: "UKEY", External: name == "far" || name == "farther", Operator: name == "farther"}, s.end("revoke", name)
}

func (s *toldRegion) end(what, name string) error {
	s.note("%s %s", what, name)
	if name == "nobody" {
		return &globaltable.Error{Kind: globaltable.NotFound, Message: "there is none"}
	}
	return nil
}

func searchGrant(key string) admin.Grant {
	later := noon.Add(24 * time.Hour)
	return admin.Grant{Name: "search", PublicKey: key, Created: noon, Expires: &later,
		Tables: []admin.GrantedTable{{Table: "orders", Stream: "EVENTS_0000000000000001", Durable: "search", Read: noon, Pending: 3}}, Subjects: []string{"mail.sent"}}
}

func (s *toldRegion) Grants(context.Context) (admin.GrantList, error) {
	s.note("grants")
	return admin.GrantList{Region: "eu", Grants: []admin.Grant{searchGrant(s.key)}}, nil
}

func (s *toldRegion) Grant(_ context.Context, g admin.NewGrant) (admin.GrantMade, error) {
	s.note("grant %s %v %v %d %d", g.Name, g.Tables, g.Subjects, g.ExpiresSeconds, g.SinceSeconds)
	s.key = g.PublicKey
	if len(g.Tables) == 0 {
		return admin.GrantMade{Grant: admin.Grant{Name: g.Name, PublicKey: g.PublicKey, Created: noon, Tables: []admin.GrantedTable{}, Subjects: g.Subjects}, URLs: []string{"nats://127.0.0.1:4222"}, Ready: true, External: true}, nil
	}
	if g.Name == "taken" {
		return admin.GrantMade{}, &globaltable.Error{Kind: globaltable.Exists, Message: "there is a grant named taken already"}
	}
	return admin.GrantMade{Grant: searchGrant(g.PublicKey), URLs: []string{"nats://127.0.0.1:4222"}, Ready: true}, nil
}

func serveChanges(t *testing.T, s *toldRegion) (url string) {
	api := admin.New(admin.Config{Streams: s, Metrics: http.NotFoundHandler()})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		broken := s.broken
		s.broken = false
		s.mu.Unlock()
		if broken {
			http.Error(w, `{"message": "the region is about to end"}`, http.StatusServiceUnavailable)
			return
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return server.URL
}

func TestStreamCommands(t *testing.T) {
	s := &toldRegion{key: "UAAA"}
	url := serveChanges(t, s)
	for _, c := range []struct {
		args   string
		status int
		out    []string
		err    string
		asked  string
	}{
		{"stream list", 0, []string{"orders", "NEW_AND_OLD_IMAGES", "2026-01-02T03:04:05.000", "2.0 KiB", "1.5s behind, being filled", "past", "off", "not published", "mine"}, "", "list"},
		{"stream grants", 0, []string{"search", "orders", "3", "subject mail.sent"}, "", "grants"},
		{"stream revoke search", 0, []string{"Grant search is revoked."}, "", "revoke search"},
		{"stream revoke far", 0, []string{"Grant far is revoked.", "nats accounts --live", "hears the grant's subjects"}, "", "revoke far"},
		{"stream revoke farther", 0, []string{"Grant farther is revoked.", "operator mode", "user UKEY revoked"}, "", "revoke farther"},
		{"stream revoke nobody", 1, nil, "there is none", "revoke nobody"},
		{"stream forget mine", 0, []string{"The place of tail mine is forgotten."}, "", "forget mine"},
		{"stream grant search --table orders --table past --expires 30d --since 1h", 0, []string{"EVENTS_0000000000000001", "SU", "nats --server nats://127.0.0.1:4222 --nkey search.nk consumer next EVENTS_0000000000000001 search --ack",
			`js.Consumer(ctx, "EVENTS_0000000000000001", "search")`}, "", "grant search [orders past] [] 2592000 3600"},
		{"stream grant taken --table orders", 1, nil, "there is a grant named taken already", "grant taken [orders] [] 0 0"},
		{"stream grant search --table orders --expires soon", 2, nil, `"soon" is no time of a second or more`, ""},
		{"stream grant mailer --subject orders.paid --subject mail.> --expires 1h", 0, []string{"Grant mailer: its key hears these subjects until it is revoked, while it is connected: mail.>  orders.paid", "nats --server nats://127.0.0.1:4222 --nkey mailer.nk sub 'mail.>'\n",
			`nc.Subscribe("mail.>", func`, "nats accounts --live"}, "", "grant mailer [] [mail.> orders.paid] 3600 0"},
		{"stream grant search --table orders --subject mail.sent", 0, []string{"reads the events of these tables", "hears these subjects", "consumer next EVENTS_", "sub 'mail.sent'", "js.Consumer(", "nc.Subscribe("}, "", "grant search [orders] [mail.sent] 0 0"},
		{"stream grant search", 2, nil, "grant needs --table or --subject", ""},
		{"stream grant search --subject concordat.>", 2, nil, `"concordat.>" is no subject that can be heard`, ""},
		{"stream grant search --subject a.> --subject a.b", 2, nil, "have something in common", ""},
		{"stream grant search --subject a --since 1h", 2, nil, "--since is of tables", ""},
		{"stream tail", 2, nil, "tail needs --table", ""},
		{"stream tail --table orders --since -1h", 2, nil, "must be above zero", ""},
		{`stream tail --table orders --filter {"a":1}`, 2, nil, "--filter:", ""},
		{"stream tail --table others", 1, nil, "no table named others", "events others after:0 since:false tail: 0s"},
	} {
		s.asked = nil
		got := command(t, append([]string{"--admin", url}, strings.Fields(c.args)...)...)
		if got.status != c.status || !strings.Contains(got.err, c.err) || (c.err == "") != (got.err == "") || strings.Join(s.asked, ",") != c.asked {
			t.Errorf("concordat %s: %+v, asked %q", c.args, got, s.asked)
		}
		for _, text := range c.out {
			if !strings.Contains(got.out, text) {
				t.Errorf("concordat %s lacks %q:\n%s", c.args, text, got.out)
			}
		}
	}
}

// TestGrantSeed: the seed in the answer, or in the file, is that of the key that the region was told.
func TestGrantSeed(t *testing.T) {
	s := &toldRegion{}
	url := serveChanges(t, s)
	got := command(t, "--admin", url, "--output", "json", "stream", "grant", "search", "--table", "orders")
	var out granted
	if err := json.Unmarshal([]byte(got.out), &out); err != nil || got.status != 0 {
		t.Fatalf("%v %+v", err, got)
	}
	public := func(seed string) string {
		key, err := nkeys.FromSeed([]byte(strings.TrimSpace(seed)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if public(out.Seed) != s.key || out.PublicKey != s.key {
		t.Error("another key")
	}
	path := filepath.Join(t.TempDir(), "search.nk")
	got = command(t, "--admin", url, "stream", "grant", "search", "--table", "orders", "--seed-file", path)
	b, err := os.ReadFile(path)
	if err != nil || got.status != 0 || public(string(b)) != s.key || strings.Contains(got.out, strings.TrimSpace(string(b))) || !strings.Contains(got.out, path) {
		t.Errorf("%v %+v", err, got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if got := command(t, "--admin", url, "stream", "grant", "search", "--table", "orders", "--seed-file", path); got.status != 1 || !strings.Contains(got.err, "exists") {
		t.Errorf("a file that is there: %+v", got)
	}
	none := filepath.Join(t.TempDir(), "none.nk")
	if got := command(t, "--admin", url, "stream", "grant", "taken", "--table", "orders", "--seed-file", none); got.status != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("a seed of a grant that was not made stays: %v", err)
	}
}

func eventOf(id, kind string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"specversion":"1.0","id":"x","type":"concordat.item.remove","time":"2026-01-02T12:00:00.5Z","origin":"us-east-1","kind":%q,"data":{"table":"orders","keys":{"id":{"S":%q}},"old":{"id":{"S":%q},"n":{"N":"1"}}}}`, kind, id, id))
}

// TestStreamTail: what comes is shown, and its place kept; a region that does not answer is asked again from the same place; what has gone is told.
func TestStreamTail(t *testing.T) {
	for format, want := range map[string]func(out string) int{
		"table": func(out string) int {
			return strings.Count(out, "us-east-1  REMOVE  id=a\n    was  id=a n=1\n") + strings.Count(out, "us-east-1  REMOVE by expiry  id=b\n")
		},
		"json": func(out string) (n int) {
			for line := range strings.Lines(out) {
				var e tailed
				if err := json.Unmarshal([]byte(line), &e); err != nil || e.Origin != "us-east-1" {
					t.Error(err, line)
				}
				n++
			}
			return n
		},
		"yaml": func(out string) int {
			dec := yaml.NewDecoder(strings.NewReader(out))
			for n := 0; ; n++ {
				var v any
				if dec.Decode(&v) != nil {
					return n
				}
			}
		},
	} {
		s := &toldRegion{broken: true, pages: []admin.EventPage{{Events: []json.RawMessage{}, Next: cdc.Sequence(4)}, {Events: []json.RawMessage{eventOf("a", "write")}, Next: cdc.Sequence(5)},
			{Events: []json.RawMessage{eventOf("b", "expiry")}, Next: cdc.Sequence(6), Missed: true}}}
		url := serveChanges(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		out, errs := newSyncBuffer(), newSyncBuffer()
		ended := make(chan int, 1)
		go func() {
			ended <- Run(ctx, []string{"concordat", "stream", "tail", "--values", "--table", "orders", "--since", "1h", "--durable", "mine", "--admin", url, "--output", format}, Streams{Out: out, Err: errs}, "test")
		}()
		waiting := func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.asked) > 0 && s.asked[len(s.asked)-1] == "events orders after:6 since:false tail:mine 20s"
		}
		for !waiting() {
			select {
			case <-out.changed:
			case <-time.After(time.Millisecond):
			case status := <-ended:
				t.Fatalf("%s: ended with %d: %s", format, status, errs)
			}
		}
		cancel()
		if status := <-ended; status != 0 || want(out.String()) != 2 || !strings.Contains(errs.String(), "the region is about to end; trying again") || !strings.Contains(errs.String(), "Some records have gone") {
			t.Errorf("%s: %d, %s\n%s", format, status, errs, out)
		}
		if asked, want := strings.Join(s.asked, ","), "events orders after:0 since:true tail:mine 0s,tail orders mine 4,events orders after:4 since:false tail:mine 20s,tail orders mine 5,events orders after:5 since:false tail:mine 20s,tail orders mine 6,"; !strings.HasPrefix(asked, want) {
			t.Errorf("asked %s", asked)
		}
	}
}

// TestNATSAccountsWithGrants: the accounts of a running region have those of its grants.
func TestNATSAccountsWithGrants(t *testing.T) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	s := &toldRegion{}
	if s.key, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(admin.New(admin.Config{Streams: s, Metrics: http.NotFoundHandler(),
		Regions: func(context.Context) (admin.Regions, error) { return admin.Regions{Region: "eu-central-1"}, nil }}))
	defer server.Close()
	path := writeNode(t, strings.Replace(goodNode, `embedded: {listen: "127.0.0.1:4222"}`, `external: {urls: ["nats://127.0.0.1:4222"], nkeySeedFile: region.key}`, 1))
	got := command(t, "nats", "accounts", "--config", path, "--live", "--admin", server.URL)
	for _, want := range []string{"GRANT-" + s.key, "CONCORDAT-EVENTS", `"$JS.API.CONSUMER.MSG.NEXT.EVENTS_0000000000000001.search"`, `{ stream: { account: CONCORDAT-EVENTS, subject: "mail.sent" } }`} {
		if got.status != 0 || !strings.Contains(got.out, want) {
			t.Errorf("no %s in %+v", want, got)
		}
	}
	if got := command(t, "nats", "accounts", "--config", path); got.status != 0 || strings.Contains(got.out, "GRANT-") {
		t.Errorf("without --live: %+v", got)
	}
}
