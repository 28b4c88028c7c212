package bus

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/concordat-db/concordat/globaltable"
)

// testPeers takes a peer away and lets it in again, while another follows its lane and asks: that one notices nothing.
func testPeers(t *testing.T, w *world, id globaltable.LaneID) {
	w.serve(t, func(ctx context.Context, _ string, request []byte, reply func([]byte) error) error {
		if string(request) != "wait" {
			return nil
		}
		if err := reply([]byte("inside")); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	w.openLane(t, id, 64<<20)
	us, in := w.dial(t, "us"), w.dial(t, "in")
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	followed := make(chan []int, 1)
	go func() { followed <- pullTo(t, us, id, 299, func(i int) bool { return i%10 == 0 }) }()
	inside, waited := make(chan struct{}), make(chan error, 1)
	go func() {
		waited <- in.Request(ctx, []byte("wait"), func([]byte) error {
			close(inside)
			return nil
		})
	}()
	<-inside
	w.publish(t, id, 0, 100, 1000)
	wantRange(t, pullTo(t, in, id, 99, never), 0, 100)

	if err := w.home.SetPeers(ctx, []Peer{{Name: "us", PublicKey: "not a key"}}); globaltable.KindOf(err) != globaltable.Invalid {
		t.Fatalf("a peer without a key: %v", err)
	}
	if err := w.home.SetPeers(ctx, slices.DeleteFunc(slices.Clone(w.peers), func(p Peer) bool { return p.Name == "in" })); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil || ctx.Err() != nil {
		t.Fatalf("the request of a peer that was taken away ended with %v", err)
	}
	w.publish(t, id, 100, 200, 1000)
	if err := us.Request(ctx, nil, nil); err != nil {
		t.Fatalf("a peer that stayed is not answered: %v", err)
	}
	for range 2 {
		if err := in.Request(ctx, nil, nil); !errors.Is(err, ErrNoService) && !errors.Is(err, ErrLinkLost) {
			t.Fatalf("a request of a peer that was taken away: %v", err)
		}
		if err := in.Pull(ctx, id, 1<<20, func(Message) { t.Error("a message reached a peer that was taken away") }); !errors.Is(err, ErrNoConsumer) && !errors.Is(err, ErrLinkLost) {
			t.Fatalf("a pull of a peer that was taken away: %v", err)
		}
	}
	for range 2 { // the second changes nothing
		if err := w.home.SetPeers(ctx, w.peers); err != nil {
			t.Fatal(err)
		}
	}
	in = w.dial(t, "in") // the one before is closed for good where the server refused its key
	if err := in.Request(ctx, nil, nil); err != nil {
		t.Fatalf("a peer that was let in again is not answered: %v", err)
	}
	w.publish(t, id, 200, 300, 1000)
	wantRange(t, pullTo(t, in, id, 299, always), 0, 300)
	wantRange(t, <-followed, 0, 300)
	select {
	case <-w.home.Reset():
		t.Error("a change of peers is no reason to fill the lanes anew")
	default:
	}
}

// TestPeersComeAndGo has a peer that follows a lane and asks all the while others come and go at an embedded server: it keeps its connection, and what it does.
func TestPeersComeAndGo(t *testing.T) {
	const rounds, perRound = 20, 50
	keys, all := newPeerKeys(t, "us", "in", "ap")
	home := startEmbedded(t, EmbeddedConfig{Peers: all[:1]})
	w := &world{home: home, peers: all, dial: func(t testing.TB, region string) Link {
		return dialLink(t, DialConfig{Region: region, URLs: []string{home.URL()}, Key: keys[region]})
	}}
	const lane = globaltable.LaneID(7)
	spec := w.openLane(t, lane, 64<<20) // for "us" and "in": a consumer needs no account
	w.serve(t, func(_ context.Context, _ string, _ []byte, reply func([]byte) error) error {
		for range 20 {
			if err := reply(make([]byte, 10_000)); err != nil {
				return err
			}
		}
		return nil
	})
	us := w.dial(t, "us").(*natsLink)
	ctx, cancel := context.WithCancel(testContext(t))
	var work sync.WaitGroup
	var asked atomic.Int64
	work.Go(func() {
		wantRange(t, pullTo(t, us, lane, rounds*perRound-1, always), 0, rounds*perRound)
	})
	for range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				if err := us.Request(ctx, nil, func([]byte) error { return nil }); err != nil && ctx.Err() == nil {
					t.Errorf("a peer that stays is not answered: %v", err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range rounds {
		peers := [][]Peer{all[:1], all[:2], all, {all[2], all[0]}}[i%4]
		if err := home.SetPeers(ctx, peers); err != nil {
			t.Fatal(err)
		}
		w.publish(t, lane, i*perRound, (i+1)*perRound, 500)
		if i%7 == 0 { // lanes are made and opened as ever
			other := LaneSpec{ID: globaltable.LaneID(100 + i), Peers: spec.Peers, MaxBytes: 1 << 20}
			if err := errors.Join(home.ResetLane(ctx, other), home.OpenLane(ctx, other), home.RemoveLane(ctx, other.ID)); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range all {
			link, err := dial(ctx, DialConfig{Region: p.Name, Peer: "eu", URLs: []string{home.URL()}, Key: keys[p.Name], Log: testLog(t)})
			listed := slices.Contains(peers, p)
			switch {
			case !listed && !errors.Is(err, nats.ErrAuthorization):
				t.Errorf("round %d: %s is no peer, and dials: %v", i, p.Name, err)
			case err != nil && listed:
				t.Errorf("round %d: %s may not dial: %v", i, p.Name, err)
			case err == nil:
				if err := link.Request(ctx, nil, func([]byte) error { return nil }); err != nil {
					t.Errorf("round %d: %s is not answered: %v", i, p.Name, err)
				}
			}
			if err == nil {
				if err := link.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	cancel()
	work.Wait()
	if n := us.nc.Stats().Reconnects; n != 0 {
		t.Errorf("the link of the peer that stayed broke %d times", n)
	}
	if asked.Load() == 0 {
		t.Error("nothing was asked")
	}
}

// TestOperatorReloads installs the accounts of one more peer on a server that runs, as `nats-server --signal reload` does. What the deployment's comments say holds: a server takes the
// imports of a new account at the second reload.
func TestOperatorReloads(t *testing.T) {
	keys, peers := newPeerKeys(t, "us", "in")
	opts := func(peers []Peer) *server.Options {
		text, err := ServerConfig(AccountsConfig{Region: "eu", Peers: peers, User: "region", Password: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		return serverOptions(t, text)
	}
	first := opts(peers[:1])
	srv := runServer(t, first)
	if !srv.ReadyForConnections(patience) {
		t.Fatal("server not ready")
	}
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: []string{srv.ClientURL()}, User: "region", Password: "secret", Log: testLog(t)})
	w := &world{home: home, dial: func(t testing.TB, region string) Link {
		return dialLink(t, DialConfig{Region: region, URLs: []string{srv.ClientURL()}, Key: keys[region]})
	}}
	w.serve(t, func(context.Context, string, []byte, func([]byte) error) error { return nil })
	ctx := testContext(t)
	if err := home.SetPeers(ctx, peers); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(ctx, DialConfig{Region: "in", Peer: "eu", URLs: []string{srv.ClientURL()}, Key: keys["in"], Log: testLog(t)}); !errors.Is(err, nats.ErrAuthorization) || !strings.Contains(err.Error(), "accounts have to be installed") {
		t.Fatalf("a peer whose account is not installed: %v", err)
	}
	for range 2 {
		next := opts(peers)
		next.StoreDir = first.StoreDir
		if err := srv.ReloadOptions(next); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.dial(t, "in").Request(ctx, nil, nil); err != nil {
		t.Errorf("the new peer is not answered: %v", err)
	}
}
