package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/crypto/bcrypt"

	"github.com/nats-io/nats-server/v2/server"
)

// TestReloadedAccounts is what operators of an external NATS are told: accounts that are installed anew, and loaded twice, let in who has got a grant, and end the connections of who has lost one, who hears until then.
func TestReloadedAccounts(t *testing.T) {
	keys, grants := testGrants(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	dir, port := t.TempDir(), freePort(t)
	with := func(grants ...Grant) *server.Options {
		text, err := ServerConfig(AccountsConfig{Region: "eu", Grants: grants, User: "region", Password: string(hash)})
		if err != nil {
			t.Fatal(err)
		}
		opts := serverOptions(t, text)
		opts.StoreDir, opts.Port = dir, port
		return opts
	}
	search, other, mail := grants[0], grants[1], grants[2]
	srv := runServer(t, with(other))
	if !srv.ReadyForConnections(patience) {
		t.Fatal("server not ready")
	}
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: []string{srv.ClientURL()}, User: "region", Password: "secret", Log: testLog(t)})
	w := &eventsWorld{events: home.Events(), grants: grants, dial: func(t testing.TB, grant string) *nats.Conn { return plainClient(t, srv.ClientURL(), keys[grant]) }}
	w.fill(t)
	closed := make(chan struct{})
	revoked := w.dial(t, "other")
	revoked.SetClosedHandler(func(*nats.Conn) { close(closed) })
	heard := hears(t, revoked, "mail.orders")
	w.reached(t, "mail.orders", heard)
	if err := home.SetGrants(testContext(t), []Grant{search, mail}); err != nil {
		t.Fatal(err)
	}
	w.reached(t, "mail.orders", heard) // the node cannot end it
	for range 2 {
		if err := srv.ReloadOptions(with(search, mail)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("the connection of a grant that was revoked stays")
	}
	if nc, err := nats.Connect(srv.ClientURL(), userKey(keys["other"])); err == nil {
		nc.Close()
		t.Error("the key of a grant that was revoked is let in")
	}
	w.reached(t, "mail.x", hears(t, w.dial(t, "mail"), "mail.>"))
	js, err := jetstream.New(w.dial(t, "search"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(testContext(t), EventStreamName(ordersTable), "search")
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, c, 2)
}
