package dynamodb_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/globaltable/catalog"
	"github.com/concordat-db/concordat/regionnode/auth"
	"github.com/concordat-db/concordat/regionnode/commit"
	"github.com/concordat-db/concordat/regionnode/controlplane"
	"github.com/concordat-db/concordat/regionnode/dynamodb"
	"github.com/concordat-db/concordat/regionnode/placing"
	"github.com/concordat-db/concordat/regionnode/store"
	"github.com/concordat-db/concordat/streams/confirm"
	"github.com/concordat-db/concordat/streams/repair"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own: one goroutine for the process writes the date; one for each server, and one for each client of a benchmark, ends when
		// it wakes, up to ten seconds later.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const (
	testRegion = "eu-central-1"
	testKey    = "AKIDEXAMPLE"
	testSecret = "secret"
)

// region is one region as a node wires it, without streams: store, catalog, commit, control plane and the API on loopback.
type region struct {
	addr   string
	tables *catalog.Catalog
	shard  *commit.Shard
	server *dynamodb.Server
	stop   func() error // stops the server alone and returns what Serve returned
}

// nobody has no peers to ask.
type nobody struct{}

func (nobody) Ask(_ context.Context, region string, _ []byte) ([]byte, error) {
	return nil, &globaltable.Error{Op: "ask peer", Resource: region, Kind: globaltable.Unavailable}
}

func (nobody) Applied(globaltable.Placement) hlc.Timestamp { return 0 }

// nowhere has no policies to carry out.
type nowhere struct{}

func (nowhere) Progress(globaltable.TableID, globaltable.Version) placing.Progress {
	return placing.Progress{}
}

func (nobody) Progress(globaltable.TableID, globaltable.Version) (repair.Progress, bool) {
	return repair.Progress{}, false
}

func descriptor(t testing.TB, name string, origin hlc.Origin) globaltable.Descriptor {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return globaltable.Descriptor{Name: name, Jurisdiction: "EU", Origin: origin, PublicKey: public}
}

// startRegion starts a region, ended with the test. change may change the server's configuration.
func startRegion(t testing.TB, engine store.Engine, change func(*dynamodb.Config)) *region {
	t.Helper()
	return startRegionAt(t, engine, time.Now, change)
}

// startRegionAt is startRegion with a wall clock of the caller's.
func startRegionAt(t testing.TB, engine store.Engine, now func() time.Time, change func(*dynamodb.Config)) *region {
	t.Helper()
	return startRegionOf(t, descriptor(t, testRegion, 1), engine, now, change)
}

// startRegionOf is startRegionAt for another region than the one that tests are mostly about.
func startRegionOf(t testing.TB, self globaltable.Descriptor, engine store.Engine, now func() time.Time, change func(*dynamodb.Config)) *region {
	t.Helper()
	tables, err := catalog.New(self, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Load(nil, nil); err != nil {
		t.Fatal(err)
	}
	clock := hlc.NewClock(now, 0)
	shard, err := commit.Open(commit.Config{Origin: self.Origin, Engine: engine, Clock: clock, Catalog: controlplane.ForShard(tables),
		Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	plane, err := controlplane.New(controlplane.Config{Catalog: tables, Door: shard, Items: shard, Peers: nobody{}, Joins: nobody{}, Places: nowhere{}, Marks: nobody{}, Now: now, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.NewVerifier(auth.Config{Region: self.Name, Credentials: func(key string) (string, bool) { return testSecret, key == testKey }})
	if err != nil {
		t.Fatal(err)
	}
	tracker, err := confirm.New(confirm.Config{Region: self.Name})
	if err != nil {
		t.Fatal(err)
	}
	config := dynamodb.Config{Region: self.Name, Origin: self.Origin, Verifier: verifier, Shard: shard, Streams: shard, Control: plane, Confirm: tracker,
		View: func() dynamodb.View { return tables.View() }, Now: now}
	if change != nil {
		change(&config)
	}
	server, err := dynamodb.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &region{addr: ln.Addr().String(), tables: tables, shard: shard, server: server}
	r.run(t, ln, plane)
	return r
}

func (r *region) run(t testing.TB, ln net.Listener, plane *controlplane.Plane) {
	ctx, cancel := context.WithCancel(context.Background())
	serving, stopServing := context.WithCancel(ctx)
	served := make(chan error, 1)
	var group errgroup.Group
	group.Go(func() error { return r.shard.Run(ctx) })
	group.Go(func() error { return plane.Run(ctx) })
	go func() { served <- r.server.Serve(serving, ln) }()
	r.stop = func() error {
		stopServing()
		err := <-served
		served <- err
		return err
	}
	t.Cleanup(func() {
		err := r.stop()
		cancel()
		if err = errors.Join(err, group.Wait()); err != nil {
			t.Errorf("region: %v", err)
		}
	})
}

// memory returns an engine that keeps its keys in a map.
func memory(t testing.TB) store.Engine {
	t.Helper()
	e := store.NewMemory()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return e
}

// client returns an SDK client for the region. It repeats nothing: tests look at first answers.
func (r *region) client(t testing.TB) *sdk.Client {
	t.Helper()
	return sdk.New(sdk.Options{
		Region: testRegion, BaseEndpoint: aws.String("http://" + r.addr), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(testKey, testSecret, ""),
		HTTPClient:  httpClient(t),
	})
}
