package regionnode

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/conflict/hlc"
	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/commit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own: one goroutine for the process writes the date; one for each server ends when it wakes, up to ten seconds later.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreTopFunction("github.com/concordat-db/concordat/regionnode.(*Node).die"), // for ever, by design
		// nats-server's own: one goroutine for the process keeps the time for all file stores; a server that stops in the midst of making one can leave it.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// running is a node that runs, as a client sees it.
type running struct {
	*Node
	t    *testing.T
	at   Endpoints
	http *http.Client
	db   *sdk.Client
	stop func() error // the end: what Run returned
}

// runNode opens and runs a node until the test ends.
func runNode(t *testing.T, cfg Config, prepare ...func(*Node)) *running {
	t.Helper()
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		f(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Endpoints, 1), make(chan error, 1)
	go func() { ended <- n.Run(ctx, func(e Endpoints) { ready <- e }) }()
	r := &running{Node: n, t: t, http: &http.Client{Transport: &http.Transport{}}}
	r.stop = sync.OnceValue(func() error {
		r.http.CloseIdleConnections()
		cancel()
		return <-ended
	})
	select {
	case r.at = <-ready:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	r.db = sdk.New(sdk.Options{BaseEndpoint: aws.String(r.at.DynamoDB), Region: cfg.Region.Name, HTTPClient: r.http, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("any", "thing", "")})
	return r
}

func (r *running) createTable() {
	r.t.Helper()
	_, err := r.db.CreateTable(r.t.Context(), &sdk.CreateTableInput{TableName: aws.String("orders"), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func key(id string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
}

func (r *running) put(id string) error {
	_, err := r.db.PutItem(r.t.Context(), &sdk.PutItemInput{TableName: aws.String("orders"), Item: key(id)})
	return err
}

func (r *running) has(id string) bool {
	r.t.Helper()
	out, err := r.db.GetItem(r.t.Context(), &sdk.GetItemInput{TableName: aws.String("orders"), Key: key(id), ConsistentRead: aws.Bool(true)})
	if err != nil {
		r.t.Fatal(err)
	}
	return out.Item != nil
}

// get asks the admin API.
func (r *running) get(path string) (int, string) {
	r.t.Helper()
	answer, err := r.http.Get(r.at.Admin + path)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

func (r *running) status() (st admin.Status) {
	r.t.Helper()
	code, text := r.get("/v1/status")
	if err := json.Unmarshal([]byte(text), &st); err != nil || code != http.StatusOK {
		r.t.Fatalf("status %d %s: %v", code, text, err)
	}
	return st
}

// eventually waits for what another goroutine of the node is about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func TestNodeServesStopsAndStartsAgain(t *testing.T) {
	cfg := goodConfig(t)
	n := runNode(t, cfg)
	for _, url := range []string{n.at.DynamoDB, n.at.Admin, n.at.NATS} {
		if !strings.Contains(url, "://127.0.0.1:") {
			t.Errorf("endpoints %+v", n.at)
		}
	}
	n.createTable()
	if err := n.put("a"); err != nil {
		t.Fatal(err)
	}
	if code, text := n.get("/readyz"); code != http.StatusOK {
		t.Errorf("not ready: %s", text)
	}
	eventually(t, "the first look at the disk", func() bool {
		_, text := n.get("/metrics")
		return strings.Contains(text, "concordat_disk_free_bytes{") && !strings.Contains(text, `concordat_disk_free_bytes{region="eu-central-1"} 0`+"\n")
	})
	before := n.status()
	if len(before.Tables) != 1 || before.Tables[0].Items != 1 || before.Tables[0].Status != "ACTIVE" || len(before.Pairs) != 2 || len(before.Refused) != 0 {
		t.Errorf("status %+v", before)
	}
	if _, err := n.Ask(t.Context(), "us-east-1", []byte("1")); globaltable.KindOf(err) != globaltable.Unavailable {
		t.Errorf("a region out of reach is asked: %v", err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.ready(); err == nil {
		t.Error("a node that has stopped is ready")
	}
	if _, err := n.Status(t.Context()); err == nil {
		t.Error("a node that has stopped has a status")
	}

	again := runNode(t, cfg)
	if !again.has("a") || again.has("b") {
		t.Error("the store is not what it was")
	}
	after := again.status()
	if after.Region != before.Region || after.Tables[0].Digest != before.Tables[0].Digest {
		t.Errorf("status was %+v and is %+v", before, after)
	}
}

func TestDirectoryIsOfOneNode(t *testing.T) {
	cfg := goodConfig(t)
	n := runNode(t, cfg)
	if second, err := Open(cfg); err == nil {
		t.Error("two nodes use one directory")
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	// Another region does not get it either.
	cfg.Region.Origin = 7
	if second, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "belongs to shard 0 of region 1") {
		t.Errorf("error %v", err)
		if err == nil {
			t.Error(second.Close())
		}
	}
}

func TestOpenAndCloseWithoutRun(t *testing.T) {
	cfg := goodConfig(t)
	for range 2 {
		n, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRunFailsWithoutItsAddresses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, change := range map[string]func(*Config, string){
		"dynamodb": func(c *Config, at string) { c.DynamoDB.Listen = at },
		"admin":    func(c *Config, at string) { c.Admin.Listen = at },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := goodConfig(t)
			change(&cfg, taken.Addr().String())
			n, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Run(t.Context(), func(Endpoints) { t.Error("ready") }); err == nil || !strings.Contains(err.Error(), "in use") {
				t.Errorf("error %v", err)
			}
			if n, err = Open(cfg); err != nil { // everything was released
				t.Fatal(err)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNodeEndsWithItsDisk(t *testing.T) {
	n, err := Open(goodConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	broken := errors.New("input/output error")
	err = n.Run(ctx, func(Endpoints) { go n.die(broken) })
	if !errors.Is(err, ErrStoreFailed) || !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	cancel() // the process would end now; here its goroutines do
}

// expectRefused checks that writes are refused for the reason given, on the wire, in the status and in the metrics, and that reads go on.
func (r *running) expectRefused(reason, text string) {
	r.t.Helper()
	eventually(r.t, "writes are refused", func() bool { return r.put("refused") != nil })
	if err := r.put("refused"); err == nil || !strings.Contains(err.Error(), text) {
		r.t.Errorf("the client is told %v, want %q", err, text)
	}
	if st := r.status(); len(st.Refused) != 1 || !strings.Contains(st.Refused[0], text) {
		r.t.Errorf("the status has %q, want %q", st.Refused, text)
	}
	if _, metrics := r.get("/metrics"); !strings.Contains(metrics, `concordat_writes_refused{reason="`+reason+`",region="eu-central-1"} 1`) {
		r.t.Error("the metrics do not tell")
	}
	if r.has("refused") {
		r.t.Error("a write that was refused was done")
	}
}

func (r *running) expectTaken(reason string) {
	r.t.Helper()
	if err := r.put("taken"); err != nil || !r.has("taken") {
		r.t.Errorf("writes are not taken: %v", err)
	}
	if st := r.status(); len(st.Refused) != 0 {
		r.t.Errorf("the status has %q", st.Refused)
	}
	if _, metrics := r.get("/metrics"); !strings.Contains(metrics, `concordat_writes_refused{reason="`+reason+`",region="eu-central-1"} 0`) {
		r.t.Error("the metrics do not tell")
	}
}

func TestGuardsRefuseWrites(t *testing.T) {
	n := runNode(t, goodConfig(t))
	n.createTable()

	n.clockMeasured(2, 10*time.Second, time.Millisecond)
	n.expectRefused("clock", "the clock of this region is ahead of all its peers")
	n.clockMeasured(2, -10*time.Second, time.Millisecond) // behind: its writes lose, but harm nobody
	n.expectTaken("clock")
	n.clockMeasured(2, 10*time.Second, time.Millisecond)
	n.clockMeasured(2, 0, time.Millisecond)
	n.expectTaken("clock")

	// A region whose store is an old one serves nobody, and that stays.
	n.regressed("us-east-1", "a peer knows a later incarnation of this region")
	n.clockMeasured(2, 0, time.Millisecond)
	const told = "older than what its peers have from it (a peer knows a later incarnation of this region, reported by us-east-1)"
	eventually(t, "nobody is served", func() bool { return n.put("refused") != nil })
	if err := n.put("refused"); err == nil || !strings.Contains(err.Error(), told) || !strings.Contains(err.Error(), "concordat region rebuild") {
		t.Errorf("the client is told %v", err)
	}
	if st := n.status(); len(st.Refused) != 1 || !strings.Contains(st.Refused[0], told) {
		t.Errorf("the status has %q", st.Refused)
	}
}

func TestLowDiskRefusesWrites(t *testing.T) {
	cfg := goodConfig(t)
	cfg.Limits.FreeBytes = 1 << 62
	n := runNode(t, cfg)
	eventually(t, "the disk is found too small", func() bool { return len(n.status().Refused) > 0 })
	_, err := n.db.CreateTable(t.Context(), &sdk.CreateTableInput{TableName: aws.String("orders"), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}}})
	if err == nil || !strings.Contains(err.Error(), "disk almost full") {
		t.Errorf("a table is made on a full disk: %v", err)
	}
	if got := n.status().Refused; len(got) != 1 || !strings.Contains(got[0], "disk almost full") {
		t.Errorf("the status has %q", got)
	}
}

func TestClockSetBackRefusesWritesFromTheStart(t *testing.T) {
	cfg := goodConfig(t)
	n := runNode(t, cfg)
	n.createTable()
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = runNode(t, cfg, func(n *Node) { n.clock.Restore(hlc.FromTime(time.Now().Add(time.Hour))) })
	if err := n.put("a"); err == nil { // the very first one
		t.Error("a write with a stamp that peers would refuse is taken")
	}
	n.expectRefused("clock at start", "behind the stamps that it has given before")
}

func TestRefusalsOfSeveralPeersDoNotStick(t *testing.T) {
	n, err := Open(goodConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 200 {
		var inboxes sync.WaitGroup
		for range 4 {
			inboxes.Go(func() { n.refuse(refusedClock, "ahead") })
			inboxes.Go(func() { n.allow(refusedClock) })
		}
		inboxes.Wait()
		n.allow(refusedClock)
		// A write of nothing is invalid, if it is looked at.
		if err := n.shard.Write(t.Context(), &commit.Write{}); globaltable.KindOf(err) != globaltable.Invalid {
			t.Fatalf("nothing is refused, and the shard refuses: %v", err)
		}
	}
}
