package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/concordat-db/concordat/globaltable"
	"github.com/concordat-db/concordat/regionnode"
	"github.com/concordat-db/concordat/regionnode/admin"
)

// leaks are goroutines of fasthttp that are not this package's: one of the process writes the date; one of each server ends when it wakes, up to
// ten seconds later.
var leaks = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	// nats-server's own: one goroutine for the process keeps the time for all file stores; a server that stops in the midst of making one can leave it.
	goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, leaks...) }

const tableName = "orders"

// patience bounds waits that end by events; it is no measure of anything.
const patience = time.Minute

func config(t testing.TB) Config {
	return Config{Regions: DefaultRegions(), DataDir: filepath.Join(t.TempDir(), "world"), Limits: regionnode.Limits{CacheBytes: 8 << 20, FreeBytes: 1}}
}

// running is a world that runs, with a client in each region.
type running struct {
	*World
	t     *testing.T
	ready Ready
	http  *http.Client
	db    map[string]*dynamodb.Client
	stop  func()
}

// runWorld opens and runs a world until the test ends. prepare is done before anything runs.
func runWorld(t *testing.T, cfg Config, prepare ...func(*World)) *running {
	t.Helper()
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	go func() { ended <- w.Run(ctx, func(r Ready) { ready <- r }) }()
	r := &running{World: w, t: t, http: &http.Client{Transport: wholeBodies{&http.Transport{}}}, db: map[string]*dynamodb.Client{}}
	r.stop = sync.OnceFunc(func() {
		r.http.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case r.ready = <-ready:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	for _, region := range r.ready.Regions {
		r.db[region.Name] = dynamodb.New(dynamodb.Options{BaseEndpoint: aws.String(region.DynamoDB), Region: region.Name, HTTPClient: r.http, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("any", "thing", "")})
	}
	return r
}

// until waits for what the regions are about to do.
func (r *running) until(what string, ok func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, region := range r.ready.Regions {
				st, err := r.Node(region.Name).Status(context.Background())
				r.t.Logf("%s: %+v %v", region.Name, st, err)
			}
			r.t.Fatalf("never: %s", what)
		}
	}
}

// makeTable makes a table of items with an id in the first region, with replicas in the others.
func (r *running) makeTable(first string, others ...string) {
	r.t.Helper()
	r.createTable(&dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}}}, first, others...)
}

// createTable makes a table in the first region, with replicas in the others.
func (r *running) createTable(in *dynamodb.CreateTableInput, first string, others ...string) {
	r.t.Helper()
	ctx := r.t.Context()
	_, err := r.db[first].CreateTable(ctx, in)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, region := range others {
		r.until("a replica can be made", func() bool { // the owner has to hear the others once, and to finish the one before
			_, err = r.db[first].UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: in.TableName,
				ReplicaUpdates: []types.ReplicationGroupUpdate{{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(region)}}}})
			var inUse *types.ResourceInUseException
			var answer smithy.APIError
			if err != nil && !errors.As(err, &inUse) && !(errors.As(err, &answer) && answer.ErrorCode() == "ServiceUnavailableException") {
				r.t.Fatal(err)
			}
			return err == nil
		})
	}
	r.until("the table is active everywhere", func() bool {
		for _, region := range append(others, first) {
			out, err := r.db[region].DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: in.TableName})
			if err != nil || out.Table.TableStatus != types.TableStatusActive || len(out.Table.Replicas) != len(others) {
				return false
			}
			for _, replica := range out.Table.Replicas {
				if replica.ReplicaStatus != types.ReplicaStatusActive {
					return false
				}
			}
		}
		return true
	})
}

func (r *running) put(region, id, value string) {
	r.t.Helper()
	_, err := r.db[region].PutItem(r.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: id}, "v": &types.AttributeValueMemberS{Value: value}}})
	if err != nil {
		r.t.Fatal(err)
	}
}

// get returns the item's value, empty for none.
func (r *running) get(region, id string) string {
	r.t.Helper()
	out, err := r.db[region].GetItem(r.t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), ConsistentRead: aws.Bool(true),
		Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}})
	if err != nil {
		r.t.Fatal(err)
	}
	v, _ := out.Item["v"].(*types.AttributeValueMemberS)
	if v == nil {
		return ""
	}
	return v.Value
}

// status asks a region's admin API.
func (r *running) status(region ReadyRegion) (st admin.Status) {
	r.t.Helper()
	answer, err := r.http.Get(region.Admin + "/v1/status")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(json.NewDecoder(answer.Body).Decode(&st), answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		r.t.Fatalf("status %d: %v", answer.StatusCode, err)
	}
	return st
}

// converge waits until all regions have the same items.
func (r *running) converge(items int64) {
	r.t.Helper()
	r.until("the regions converge", func() bool {
		digests := map[string]bool{}
		for _, region := range r.ready.Regions {
			st := r.status(region)
			if len(st.Tables) != 1 || st.Tables[0].Items != items {
				return false
			}
			digests[st.Tables[0].Digest] = true
		}
		return len(digests) == 1
	})
}

func TestWorldReplicatesOverCuts(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Latency = map[Pair]time.Duration{{"us-east-1", "eu-central-1"}: 5 * time.Millisecond, {"ap-south-1", "us-east-1"}: 10 * time.Millisecond}
	w := runWorld(t, cfg)
	us, eu, ap := w.ready.Regions[0].Name, w.ready.Regions[1].Name, w.ready.Regions[2].Name
	if us != "us-east-1" || w.ready.Regions[2].Jurisdiction != "IN" {
		t.Errorf("ready: %+v", w.ready)
	}
	w.makeTable(us, eu, ap)
	for i, region := range []string{us, eu, ap} {
		w.put(region, fmt.Sprint(i), region)
	}
	w.converge(3)

	w.Cut(ap)
	w.put(us, "cut", "us")
	w.until("eu has what us wrote", func() bool { return w.get(eu, "cut") == "us" })
	if got := w.get(ap, "cut"); got != "" {
		t.Errorf("%q came over a cut", got)
	}
	w.put(ap, "cut", "ap") // later: it wins
	w.put(ap, "alone", "ap")
	if got := w.get(us, "alone"); got != "" {
		t.Errorf("%q came over a cut", got)
	}
	w.Heal(ap)
	w.converge(5)
	for _, region := range []string{us, eu, ap} {
		if got := w.get(region, "cut"); got != "ap" {
			t.Errorf("%s has %q", region, got)
		}
	}
	w.until("each region hears the others", func() bool {
		for _, region := range w.ready.Regions {
			for _, p := range w.status(region).Pairs {
				if p.To == region.Name && (p.WatermarkAgeMillis == nil || p.State != admin.StateLive && p.State != admin.StateIdle) {
					return false
				}
			}
		}
		return true
	})
}

// identities are what must not change while a region lives.
func identities(w *World) (out []string) {
	for _, r := range w.regions {
		out = append(out, fmt.Sprint(r.descriptor.Name, r.descriptor.Jurisdiction, r.descriptor.Origin, r.descriptor.PublicKey, string(r.key)))
	}
	return out
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func TestWorldStartsAgain(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	logged := &lines{}
	cfg.Log = zerolog.New(logged).Level(zerolog.ErrorLevel)
	cfg.Regions = cfg.Regions[:2]
	w := runWorld(t, cfg)
	us, eu := cfg.Regions[0].Name, cfg.Regions[1].Name
	w.makeTable(us, eu)
	w.put(us, "a", "before")
	w.converge(1)
	before, status := identities(w.World), w.status(w.ready.Regions[0])
	w.stop()
	// Peers probe what they may not do; that it is refused is no error.
	if text := logged.text.String(); text != "" {
		t.Errorf("errors in the log of a healthy world:\n%s", text)
	}

	w = runWorld(t, cfg)
	if got := identities(w.World); strings.Join(got, "\n") != strings.Join(before, "\n") {
		t.Errorf("identities were\n%v and are\n%v", before, got)
	}
	if got := w.status(w.ready.Regions[0]); got.Region != status.Region {
		t.Errorf("region was %+v and is %+v", status.Region, got.Region)
	}
	if got := w.get(eu, "a"); got != "before" {
		t.Errorf("the item is %q", got)
	}
	w.put(eu, "a", "after")
	w.until("replication goes on", func() bool { return w.get(us, "a") == "after" })
}

func TestOpenAndCloseWithoutRun(t *testing.T) {
	cfg := config(t)
	var before []string
	for range 2 {
		w, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if w.Node("eu-central-1") == nil || w.Node("nowhere") != nil {
			t.Error("Node finds the wrong ones")
		}
		if got := identities(w); before != nil && strings.Join(got, "\n") != strings.Join(before, "\n") {
			t.Errorf("identities were\n%v and are\n%v", before, got)
		} else {
			before = got
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangedJurisdictionIsRefused(t *testing.T) {
	cfg := config(t)
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Regions[1].Jurisdiction = "US"
	_, err = Open(cfg)
	if globaltable.KindOf(err) != globaltable.Invalid || !strings.Contains(err.Error(), "jurisdiction EU") {
		t.Errorf("error %v", err)
	}
	cfg.Regions[1].Jurisdiction = "EU"
	if w, err = Open(cfg); err != nil { // the refusal changed nothing, and left nothing open
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestNumbersOfRegionsThatLeftAreNotGivenAgain(t *testing.T) {
	cfg := config(t)
	for _, c := range []struct {
		regions []Region
		want    string
	}{
		{[]Region{{"a", "EU"}, {"b", "EU"}, {"c", "EU"}}, "a1 b2 c3"},
		{[]Region{{"b", "EU"}, {"d", "EU"}, {"a", "EU"}}, "b2 d4 a1"},
		{[]Region{{"c", "EU"}, {"e", "EU"}}, "c3 e5"},
	} {
		cfg.Regions = c.regions
		w, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range w.regions {
			got = append(got, fmt.Sprint(r.Name, r.descriptor.Origin))
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("numbers %v, want %s", got, c.want)
		}
	}
}

func TestDamagedIdentityIsNotReplaced(t *testing.T) {
	cfg := config(t)
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{descriptorFile, seedFile} {
		path := filepath.Join(cfg.DataDir, "eu-central-1", file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		if w, err := Open(cfg); err == nil {
			t.Errorf("a world opens with a damaged %s", file)
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "rubbish" {
			t.Errorf("%s was replaced: %v", file, err)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWorldInUse(t *testing.T) {
	cfg := config(t)
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Open(cfg); err == nil {
		t.Error("two worlds in one directory")
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestFreePortsAreOfOneRegion(t *testing.T) {
	taken := map[int]bool{}
	for i := range 50 {
		port, err := choosePort(0, i, taken)
		if err != nil {
			t.Fatal(err)
		}
		if port < firstFreePort || port >= lastFreePort || len(taken) != i+1 {
			t.Errorf("port %d is the choice %d, of %d", port, i+1, len(taken))
		}
	}
	if port, err := choosePort(4222, 2, taken); err != nil || port != 4224 {
		t.Errorf("port %d: %v", port, err)
	}
}

func TestConfigFaults(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string // all of them; none: valid
	}{
		"default":        {func(*Config) {}, nil},
		"fixed ports":    {func(c *Config) { c.Port, c.AdminPort, c.NATSPort = 8000, 8080, 65533 }, nil},
		"no regions":     {func(c *Config) { c.Regions = nil }, []string{"0 regions"}},
		"too many":       {func(c *Config) { c.Regions = make([]Region, MaxRegions+1) }, []string{"17 regions"}},
		"names":          {func(c *Config) { c.Regions[0], c.Regions[1].Name = Region{"Bad!", "us"}, "ap-south-1" }, []string{`"Bad!"`, `jurisdiction "us"`, "there twice"}},
		"no directory":   {func(c *Config) { c.DataDir = "" }, []string{"no data directory"}},
		"negative ports": {func(c *Config) { c.Port, c.AdminPort, c.NATSPort = -1, -1, -1 }, []string{"port -1", "admin port -1", "NATS port -1"}},
		"high ports":     {func(c *Config) { c.NATSPort = 65534 }, []string{"NATS port 65534"}},
		"latency": {func(c *Config) {
			c.Latency = map[Pair]time.Duration{{"us-east-1", "us-east-1"}: 0, {"us-east-1", "mars"}: 0, {"us-east-1", "ap-south-1"}: -1, {"eu-central-1", "ap-south-1"}: time.Hour}
		}, []string{"us-east-1:us-east-1: not two", "us-east-1:mars: not two", "-1ns is not between", "1h0m0s is not between"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			c.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (c.want == nil) {
				t.Errorf("error %v", err)
			}
			for _, text := range c.want {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("%v does not say %q", err, text)
				}
			}
			if c.want != nil {
				if _, err := Open(cfg); globaltable.KindOf(err) != globaltable.Invalid {
					t.Errorf("Open: %v", err)
				}
			}
		})
	}
}
