package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/concordat-db/concordat/globaltable"
)

// intruder is a peer that speaks raw NATS with its own credential.
type intruder struct {
	t       *testing.T
	nc      *nats.Conn
	refused chan error
}

func intrude(t *testing.T, url string, key nkeys.KeyPair, prefix string) *intruder {
	t.Helper()
	i := &intruder{t: t, refused: make(chan error, 64)}
	nc, err := nats.Connect(url, userKey(key), nats.CustomInboxPrefix(prefix), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { i.refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	i.nc = nc
	return i
}

// mustRefuse publishes and expects a violation of permissions.
func (i *intruder) mustRefuse(subject, reply, body string) {
	i.t.Helper()
	if err := i.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: []byte(body)}); err != nil {
		i.t.Fatal(err)
	}
	i.awaitRefusal("publish to " + subject)
}

func (i *intruder) awaitRefusal(what string) {
	i.t.Helper()
	select {
	case err := <-i.refused:
		if !strings.Contains(err.Error(), "ermissions Violation") {
			i.t.Errorf("%s: %v", what, err)
		}
	case <-testContext(i.t).Done():
		i.t.Errorf("%s was not refused", what)
	}
}

// abused is a region "eu" with lane 7 of 100 messages, and what "us" can try against it.
type abused struct {
	home   *jetHome
	srv    *server.Server
	url    string
	keys   peerKeys
	world  *world
	stream string
}

func abusedWorld(t *testing.T) *abused {
	keys, peers := newPeerKeys(t, "us", "in")
	home := startEmbedded(t, EmbeddedConfig{Peers: peers})
	a := &abused{home: home.jetHome, srv: home.Server(), url: home.URL(), keys: keys, stream: streamName(7),
		world: &world{home: home, dial: func(t testing.TB, region string) Link {
			return dialLink(t, DialConfig{Region: region, URLs: []string{home.URL()}, Key: keys[region]})
		}}}
	a.world.openLane(t, 7, 64<<20)
	a.world.publish(t, 7, 0, 100, 100)
	return a
}

// unchanged fails if the stream has other messages, or the consumer of "in" another floor, than at the start.
func (a *abused) unchanged(t *testing.T, what string) {
	t.Helper()
	stream, err := a.home.js.Stream(testContext(t), a.stream)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 100 {
		t.Errorf("%s: the stream has %d messages", what, n)
	}
	consumer, err := stream.Consumer(testContext(t), "in")
	if err != nil {
		t.Fatal(err)
	}
	if info := consumer.CachedInfo(); info.AckFloor.Stream != 0 || info.Delivered.Stream != 0 {
		t.Errorf("%s: the other peer's consumer moved: %+v", what, info)
	}
}

// TestPeerCanDoNoMore tries everything that a peer with a raw client could use against the region or another peer.
func TestPeerCanDoNoMore(t *testing.T) {
	a := abusedWorld(t)
	us := intrude(t, a.url, a.keys["us"], "_INBOX_us")
	inbox := us.nc.NewInbox()
	for _, api := range []string{"INFO", "STREAM.NAMES", "STREAM.INFO." + a.stream, "STREAM.MSG.GET." + a.stream, "DIRECT.GET." + a.stream,
		"STREAM.PURGE." + a.stream, "STREAM.DELETE." + a.stream, "STREAM.UPDATE." + a.stream, "CONSUMER.CREATE." + a.stream + ".x",
		"CONSUMER.DURABLE.CREATE." + a.stream + ".us", "CONSUMER.INFO." + a.stream + ".us", "CONSUMER.RESET." + a.stream + ".us",
		"CONSUMER.DELETE." + a.stream + ".us", "CONSUMER.MSG.NEXT." + a.stream + ".in"} {
		us.mustRefuse("$JS.API."+api, inbox, "{}")
		us.mustRefuse("$JS.eu.API."+api, inbox, "{}")
	}
	for _, subject := range []string{laneSubject(7), servicePrefix + "in", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.CONCORDAT.CONNZ", "_INBOX.x", "_R_.x"} {
		us.mustRefuse(subject, inbox, "x")
	}
	for _, subject := range []string{">", "_INBOX.>", "_INBOX_in.>", "_R_.>", "$JS.>", "$SYS.>", laneSubject(7), "concordat.>"} {
		if _, err := us.nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		us.awaitRefusal("subscribe to " + subject)
	}
	a.unchanged(t, "forbidden requests")
}

// TestAcknowledgingForAnother has the forms of acknowledgement subjects in which a loose wildcard would let a peer move another peer's consumer.
func TestAcknowledgingForAnother(t *testing.T) {
	a := abusedWorld(t)
	us := intrude(t, a.url, a.keys["us"], "_INBOX_us")
	for _, subject := range []string{
		"$JS.ACK." + a.stream + ".in.1.50.50.1.0",
		"$JS.ACK." + a.stream + ".in.1.us.50.1.0",  // the own name where the number of the message is
		"$JS.ACK." + a.stream + ".in.us.50.50.1.0", // where that of the deliveries is
		"$JS.ACK.eu.hash." + a.stream + ".in.1.50.50.1.0",
		"$JS.ACK.eu.hash." + a.stream + ".in.us.50.50.1.0",
		"$JS.ACK.us.us." + a.stream + ".in.1.50.50.1.0",
	} {
		us.mustRefuse(subject, "", "")
	}
	a.unchanged(t, "foreign acknowledgements")
}

// TestAccountsAlone takes the permissions of the peer's user away: the accounts must protect the region by themselves.
func TestAccountsAlone(t *testing.T) {
	keys, peers := newPeerKeys(t, "us", "in")
	text, err := ServerConfig(AccountsConfig{Region: "eu", Peers: peers, User: "region", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	srv := runServer(t, serverOptions(t, regexp.MustCompile(`(?s)permissions \{.*?\n        \}`).ReplaceAllString(text, "")))
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: []string{srv.ClientURL()}, User: "region", Password: "secret"})
	a := &abused{home: home.jetHome, stream: streamName(7), world: &world{home: home}}
	a.world.openLane(t, 7, 64<<20)
	a.world.publish(t, 7, 0, 100, 100)
	us := intrude(t, srv.ClientURL(), keys["us"], "_INBOX_us")
	heard, err := us.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	subjects := append(forbiddenRequests("us", "in"), forbiddenRequests("us", "eu")...)
	for i := range subjects {
		subjects[i] = strings.Replace(subjects[i], streamName(probeLane), a.stream, 1)
		if err := us.nc.PublishRequest(subjects[i], "_INBOX_us.answer", nil); err != nil {
			t.Fatal(err)
		}
	}
	body := fmt.Sprintf(`{"batch":100,"expires":%d}`, 10*time.Second)
	for _, subject := range []string{fetchPrefix + a.stream + ".in", "$JS.eu.API.CONSUMER.MSG.NEXT." + a.stream + ".in"} {
		if err := us.nc.PublishRequest(subject, "_INBOX_us.answer", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := us.nc.FlushWithContext(testContext(t)); err != nil {
		t.Fatal(err)
	}
	// A fetch of its own comes last, and its messages show that what came before has been handled.
	if err := us.nc.PublishRequest(fetchPrefix+a.stream+".us", "_INBOX_us.own", []byte(body)); err != nil {
		t.Fatal(err)
	}
	for own := 0; own < 100; {
		m, err := heard.NextMsgWithContext(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(m.Reply, fetchedReplies+a.stream+".us."):
			own++
		case strings.HasPrefix(m.Reply, fetchedReplies), strings.Contains(string(m.Data), homeAccount), strings.HasPrefix(m.Subject, lanePrefix) && m.Reply == "":
			t.Errorf("heard of the region's account: %s %v %.300q", m.Subject, m.Header, m.Data)
		} // the rest is its own requests, refusals, and news of its own account
	}
	a.unchanged(t, "requests without permissions")
}

// TestReplySubjects has the attack that needs an account for each peer: the reply subject of a permitted fetch is chosen by the peer. In one account with
// an allow-list, one message became 100,001.
func TestReplySubjects(t *testing.T) {
	a := abusedWorld(t)
	var asked atomic.Int64
	a.world.serve(t, func(context.Context, string, []byte, func([]byte) error) error {
		asked.Add(1)
		return nil
	})
	before := asked.Load()
	us := intrude(t, a.url, a.keys["us"], "_INBOX_us")
	fetch := fetchPrefix + a.stream + ".us"
	body := fmt.Sprintf(`{"batch":1000,"expires":%d}`, 10*time.Second)
	for _, reply := range []string{laneSubject(7), servicePrefix + "us", servicePrefix + "in", fetch, "$JS.API.STREAM.PURGE." + a.stream,
		fetchPrefix + a.stream + ".in", "_INBOX.x", "_INBOX_in.x", "concordat.x"} {
		for _, subject := range []string{fetch, servicePrefix + "us"} {
			m := framed(subject, reply, frame{verb: verbAsk, id: "x"}, nil)
			if subject == fetch {
				m = &nats.Msg{Subject: subject, Reply: reply, Data: []byte(body)}
			}
			if err := us.nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Reserved replies are refused outright: the answer would be published with the rights of the region itself.
	for _, reply := range []string{"$JS.ACK." + a.stream + ".in.1.50.50.1.0", "_R_.x"} {
		us.mustRefuse(fetch, reply, body)
		us.mustRefuse(servicePrefix+"us", reply, body)
	}
	// The region's own link works as before, and sees each message once.
	l := a.world.dial(t, "us")
	wantRange(t, pullTo(t, l, 7, 99, always), 0, 100)
	if err := l.Request(testContext(t), nil, func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load() - before; n > 10 { // nine were sent as requests, one is the request above
		t.Errorf("messages of the lane arrived as %d requests", n)
	}
	a.unchanged(t, "chosen reply subjects")
}

func TestForeignInboxStaysSilent(t *testing.T) {
	a := abusedWorld(t)
	us, in := intrude(t, a.url, a.keys["us"], "_INBOX_us"), a.world.dial(t, "in")
	sub, err := us.nc.SubscribeSync("_INBOX_us.>") // its own: all that it may hear
	if err != nil {
		t.Fatal(err)
	}
	wantRange(t, pullTo(t, in, 7, 99, never), 0, 100)
	if err := us.nc.FlushWithContext(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := sub.Pending(); n != 0 || err != nil {
		t.Errorf("heard %d messages of another peer: %v", n, err)
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	a := abusedWorld(t)
	strangers, _ := newPeerKeys(t, "us")
	for name, opt := range map[string]nats.Option{"another key": userKey(strangers["us"]), "no user": nats.Name("x"), "a name": nats.UserInfo("region", "secret")} {
		nc, err := nats.Connect(a.url, opt)
		if err == nil {
			nc.Close()
			t.Errorf("%s was let in", name)
		}
	}
	_, err := Dial(testContext(t), DialConfig{Region: "us", Peer: "eu", URLs: []string{a.url}, Key: strangers["us"]})
	if !errors.Is(err, nats.ErrAuthorization) || globaltable.KindOf(err) != globaltable.Unavailable {
		t.Errorf("dial with another key: %v", err)
	}
}

// TestProbeFindsLooseCredentials starts servers whose accounts were not installed as ServerConfig says.
func TestProbeFindsLooseCredentials(t *testing.T) {
	keys, peers := newPeerKeys(t, "us")
	own, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := own.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := own.Seed()
	if err != nil {
		t.Fatal(err)
	}
	eventsKey, err := EventsKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	eventsPublic, err := eventsKey.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	strict, err := ServerConfig(AccountsConfig{Region: "eu", Peers: peers, UserKey: public, EventsKey: eventsPublic})
	if err != nil {
		t.Fatal(err)
	}
	allow := `"$JS.API.CONSUMER.MSG.NEXT.*.us", "$JS.ACK.*.us.*.*.*.*.*", "concordat.peer.us"`
	oneAccount := fmt.Sprintf(`accounts { CONCORDAT { jetstream: enabled, users: [ {nkey: %q},
		{nkey: %q, permissions { publish: {allow: [%s]}, subscribe: {allow: ["_INBOX_us.>"]} }} ] } }`, public, peers[0].PublicKey, allow)
	for _, test := range []struct {
		name, config string
		loose        bool
	}{
		{"as installed", strict, false},
		{"an allow-list within the region's account", oneAccount, true},
		{"no permissions", strict[:strings.Index(strict, "permissions {")] + strict[strings.Index(strict, "imports: [")-len("}\n    ]\n    "):], true},
		{"all of the API", strings.Replace(strict, `publish: { allow: [`, `publish: { allow: ["$JS.API.>", `, 1), true},
		{"all inboxes", strings.Replace(strict, `subscribe: { allow: [ `, `subscribe: { allow: [ "_INBOX.>", `, 1), true},
		{"publishing into lanes", strings.Replace(strict, `publish: { allow: [`, `publish: { allow: ["concordat.>", `, 1), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, urls := startServers(t, 1, test.config)
			connectExternal(t, ExternalConfig{Region: "eu", URLs: urls, Seed: seed})
			err := dialLink(t, DialConfig{Region: "us", URLs: urls, Key: keys["us"]}).Probe(testContext(t))
			if errors.Is(err, ErrForbidden) != test.loose || !test.loose && err != nil {
				t.Errorf("probe: %v", err)
			}
		})
	}
}

// TestRestartSignalsReset stops the servers under a home and starts them again: the owner must learn of it.
func TestRestartSignalsReset(t *testing.T) {
	_, peers := newPeerKeys(t, "us")
	text, err := ServerConfig(AccountsConfig{Region: "eu", Peers: peers, User: "region", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	opts := serverOptions(t, text)
	opts.Port = freePort(t)
	first := runServer(t, opts)
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: []string{first.ClientURL()}, User: "region", Password: "secret"})
	w := &world{home: home}
	w.openLane(t, 1, 1<<20)
	w.publish(t, 1, 0, 10, 100)
	first.Shutdown()
	first.WaitForShutdown()
	if err := os.RemoveAll(filepath.Join(opts.StoreDir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	runServer(t, opts)
	select {
	case <-home.Reset():
	case <-testContext(t).Done():
		t.Fatal("no signal")
	}
	w.openLane(t, 1, 1<<20)
	w.publish(t, 1, 0, 10, 100)
}

// TestRollbackSignalsReset takes messages out of a stream behind the home's back, so that sequences are given again.
func TestRollbackSignalsReset(t *testing.T) {
	a := abusedWorld(t)
	if err := a.home.js.DeleteStream(testContext(t), a.stream); err != nil {
		t.Fatal(err)
	}
	spec := LaneSpec{ID: 7, MaxBytes: 1 << 20}
	other, err := newJetHome("eu", a.home.nc, jetstream.FileStorage, 1, testLog(t), make(chan struct{}, 1)) // somebody else makes an empty stream of the same name
	if err != nil {
		t.Fatal(err)
	}
	if err := other.ResetLane(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	other.desk.close()
	other.out.close()
	select {
	case <-a.home.Reset():
		t.Fatal("a signal before anything was published")
	default:
	}
	a.world.publish(t, 7, 0, 1, 100)
	select {
	case <-a.home.Reset():
	default:
		t.Fatal("no signal though the sequence fell")
	}
}
