package regionnode

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/streams/bus"
)

// ownNATS is a NATS server beside a node, whose operator installs the accounts that the node's commands print.
type ownNATS struct {
	t      *testing.T
	region string
	dir    string
	port   int
	*server.Server
}

// options are those of the server with the accounts for these grants.
func (n *ownNATS) options(grants []bus.Grant) *server.Options {
	n.t.Helper()
	text, err := bus.ServerConfig(bus.AccountsConfig{Region: n.region, Grants: grants, User: "region", Password: "a secret"})
	if err != nil {
		n.t.Fatal(err)
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(text); err != nil {
		n.t.Fatal(err)
	}
	opts.ServerName, opts.Host, opts.Port, opts.NoSigs = "own", "127.0.0.1", n.port, true
	opts.JetStream, opts.JetStreamDomain, opts.StoreDir = true, n.region, n.dir
	opts.JetStreamMaxStore, opts.JetStreamMaxMemory = 1<<40, 1<<30 // of events the bounds of all streams are counted
	return opts
}

func startNATS(t *testing.T, region string) *ownNATS {
	t.Helper()
	n := &ownNATS{t: t, region: region, dir: t.TempDir(), port: server.RANDOM_PORT}
	var err error
	if n.Server, err = server.NewServer(n.options(nil)); err != nil {
		t.Fatal(err)
	}
	n.Start()
	t.Cleanup(func() {
		n.Shutdown()
		n.WaitForShutdown()
	})
	if !n.ReadyForConnections(30 * time.Second) {
		t.Fatal("NATS does not serve")
	}
	return n
}

// install installs the accounts of the grants that the node has, and loads them as deployments/nats-server.conf says.
func (n *ownNATS) install(r *running) {
	n.t.Helper()
	var list admin.GrantList
	if status := r.ask(http.MethodGet, "/v1/grants", nil, &list); status != http.StatusOK {
		n.t.Fatal(status)
	}
	var grants []bus.Grant
	for _, g := range list.Grants {
		one := bus.Grant{Name: g.Name, PublicKey: g.PublicKey, Subjects: g.Subjects}
		for _, t := range g.Tables {
			one.Streams = append(one.Streams, t.Stream)
		}
		grants = append(grants, one)
	}
	for range 2 {
		if err := n.ReloadOptions(n.options(grants)); err != nil {
			n.t.Fatal(err)
		}
	}
}

// TestGrantsWithExternalNATS: a key is let in when the operator has installed its account, reads a table and hears a trigger's subject, over a restart of the node; when it is revoked it has no consumer any more, hears until the accounts are installed anew, and is out then.
func TestGrantsWithExternalNATS(t *testing.T) {
	cfg := soloConfig(t)
	own := startNATS(t, cfg.Region.Name)
	cfg.Bus = BusConfig{External: &bus.ExternalConfig{URLs: []string{own.ClientURL()}, User: "region", Password: "a secret"}}
	r := runNode(t, cfg)
	r.createStreamed()
	r.applyTrigger("apiVersion: concordat/v1\nkind: Trigger\nmetadata: {name: told}\nspec: {table: orders, fire: origin, target: {nats: {subject: orders.told}}, batch: {window: 1ms}}\n")
	key, public := newKey(t)
	var made admin.GrantMade
	if status := r.ask(http.MethodPost, "/v1/grants", admin.NewGrant{Name: "search", PublicKey: public, Tables: []string{"orders"}, Subjects: []string{"orders.>"}}, &made); status != http.StatusOK || !made.External || made.Operator || !made.Ready {
		t.Fatalf("%d %+v", status, made)
	}
	if nc, err := nats.Connect(own.ClientURL(), nats.Nkey(public, key.Sign)); err == nil {
		nc.Close()
		t.Fatal("the key is let in before its account is there")
	}
	own.install(r)
	ended, heard := make(chan struct{}, 16), make(chan *nats.Msg, 256)
	nc, err := nats.Connect(own.ClientURL(), nats.Nkey(public, key.Sign), nats.DisconnectErrHandler(func(*nats.Conn, error) { ended <- struct{}{} }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err = nc.ChanSubscribe("orders.>", heard); err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	hears := func(r *running, key string) {
		t.Helper()
		if err := r.put(key); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
		case <-time.After(30 * time.Second):
			t.Fatalf("%s is never heard", key)
		}
	}
	stream := made.Tables[0].Stream
	for i := range 3 {
		hears(r, fmt.Sprint("before", i))
	}
	if got := drain(t, js, stream, "search", 3); !slices.Equal(got, []string{"before0", "before1", "before2"}) {
		t.Fatalf("%v", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = runNode(t, cfg)
	hears(r, "after")
	if got := drain(t, js, stream, "search", 1); !slices.Equal(got, []string{"after"}) {
		t.Fatalf("after a restart: %v", got)
	}
	var taken admin.GrantEnded
	if status := r.ask(http.MethodDelete, "/v1/grants/search", nil, &taken); status != http.StatusOK || taken != (admin.GrantEnded{PublicKey: public, External: true}) {
		t.Fatalf("%d %+v", status, taken)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := js.Consumer(t.Context(), stream, "search"); err != nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("who was revoked has its consumer still")
		}
	}
	hears(r, "revoked") // the node cannot end it
	if len(ended) > 0 {
		t.Fatal("the connection has ended before the accounts were installed: this test shows less than it says")
	}
	own.install(r)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the connection of a grant that was revoked stays")
	}
	if again, err := nats.Connect(own.ClientURL(), nats.Nkey(public, key.Sign)); err == nil {
		again.Close()
		t.Error("the key of a grant that was revoked is let in")
	}
}
