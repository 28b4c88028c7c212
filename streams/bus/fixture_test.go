package bus

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"
)

// patience bounds waits that end by events; it is no measure of anything.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	// nats-server's own: one goroutine for the process keeps the time for all file stores; a server that stops in the midst of making one can leave it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func testLog(t testing.TB) zerolog.Logger {
	if os.Getenv("BUS_LOG") != "" {
		return zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.DebugLevel)
	}
	return zerolog.Nop()
}

// world is an origin named "eu" with peers "us" and "in".
type world struct {
	home  Home
	peers []Peer // of the home
	dial  func(t testing.TB, region string) Link
	// breakLinks breaks every link of peers once, as a lost connection does.
	breakLinks func(t testing.TB)
}

type peerKeys map[string]nkeys.KeyPair

func newPeerKeys(t testing.TB, names ...string) (peerKeys, []Peer) {
	t.Helper()
	keys, peers := peerKeys{}, []Peer{}
	for _, name := range names {
		key, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = key
		peers = append(peers, Peer{Name: name, PublicKey: public})
	}
	return keys, peers
}

func closing(t testing.TB, c interface{ Close() error }) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func memoryWorld(t testing.TB) *world {
	n := NewMemoryNetwork()
	home := n.Home("eu")
	closing(t, home)
	_, peers := newPeerKeys(t, "us", "in")
	return &world{home: home, peers: peers,
		dial: func(t testing.TB, region string) Link {
			l := n.Dial(region, "eu")
			closing(t, l)
			return l
		},
		breakLinks: func(testing.TB) {
			for _, peer := range []string{"us", "in"} {
				n.Cut(peer, "eu")
				n.Heal(peer, "eu")
			}
		}}
}

func startEmbedded(t testing.TB, cfg EmbeddedConfig) *Embedded {
	t.Helper()
	cfg.Region = "eu"
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Log = testLog(t)
	home, err := StartEmbedded(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, home)
	return home
}

func dialLink(t testing.TB, cfg DialConfig) *natsLink {
	t.Helper()
	cfg.Peer, cfg.Log = "eu", testLog(t)
	l, err := dial(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, l)
	return l
}

func embeddedWorld(t testing.TB) *world {
	keys, peers := newPeerKeys(t, "us", "in")
	home := startEmbedded(t, EmbeddedConfig{Peers: peers, DontListen: true})
	return &world{home: home, peers: peers,
		dial: func(t testing.TB, region string) Link {
			return dialLink(t, DialConfig{Region: region, InProcess: home.Server(), Key: keys[region]})
		},
		breakLinks: func(t testing.TB) { kickPeers(t, home.Server()) }}
}

// kickPeers disconnects every client of a peer's account.
func kickPeers(t testing.TB, servers ...*server.Server) {
	t.Helper()
	kicked := 0
	for _, s := range servers {
		conns, err := s.Connz(&server.ConnzOptions{Username: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range conns.Conns {
			if strings.HasPrefix(c.Account, "PEER-") {
				if err := s.DisconnectClientByID(c.Cid); err != nil {
					t.Fatal(err)
				}
				kicked++
			}
		}
	}
	if kicked == 0 {
		t.Fatal("no peer is connected")
	}
}

func serverOptions(t testing.TB, accounts string) *server.Options {
	t.Helper()
	opts := &server.Options{}
	if err := opts.ProcessConfigString(accounts); err != nil {
		t.Fatalf("%v in\n%s", err, accounts)
	}
	opts.ServerName, opts.Host, opts.Port = "n0", "127.0.0.1", server.RANDOM_PORT
	opts.JetStream, opts.StoreDir, opts.JetStreamDomain = true, t.TempDir(), "eu"
	opts.JetStreamMaxStore, opts.JetStreamMaxMemory = 8<<30, 64<<20
	opts.NoSigs = true
	return opts
}

func runServer(t testing.TB, opts *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	if log := testLog(t); log.GetLevel() != zerolog.Disabled {
		s.SetLoggerV2(serverLog{log}, false, false, false)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// startServers starts nats-servers with the text of ServerConfig, as operators install it: one, or a cluster.
func startServers(t testing.TB, count int, accounts string) ([]*server.Server, []string) {
	t.Helper()
	var routes []*url.URL
	var routePorts []int
	for range count {
		routePorts = append(routePorts, freePort(t))
	}
	for _, p := range routePorts {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
	}
	var servers []*server.Server
	var urls []string
	for i := range count {
		opts := serverOptions(t, accounts)
		opts.ServerName = fmt.Sprintf("n%d", i)
		if count > 1 {
			opts.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: routePorts[i]}
			opts.Routes = routes
		}
		servers = append(servers, runServer(t, opts))
	}
	for _, s := range servers {
		if !s.ReadyForConnections(patience) {
			t.Fatal("server not ready")
		}
		urls = append(urls, s.ClientURL())
	}
	return servers, urls
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func externalWorld(t testing.TB) *world { return externalServers(t, 1) }
func clusterWorld(t testing.TB) *world  { return externalServers(t, 3) }

func externalServers(t testing.TB, count int) *world {
	keys, peers := newPeerKeys(t, "us", "in")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ServerConfig(AccountsConfig{Region: "eu", Peers: peers, User: "region", Password: string(hash)})
	if err != nil {
		t.Fatal(err)
	}
	servers, urls := startServers(t, count, text)
	home := connectExternal(t, ExternalConfig{Region: "eu", URLs: urls, User: "region", Password: "secret", Log: testLog(t)})
	return &world{home: home, peers: peers,
		dial: func(t testing.TB, region string) Link {
			return dialLink(t, DialConfig{Region: region, URLs: urls, Key: keys[region]})
		},
		breakLinks: func(t testing.TB) { kickPeers(t, servers...) }}
}

// connectExternal tries until JetStream has elected its leader: a cluster that starts takes a while.
func connectExternal(t testing.TB, cfg ExternalConfig) *External {
	t.Helper()
	ctx := testContext(t)
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		home, err := ConnectExternal(attempt, cfg)
		cancel()
		if err == nil {
			closing(t, home)
			return home
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
