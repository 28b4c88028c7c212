package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
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
	"github.com/rs/zerolog"

	"github.com/concordat-db/concordat/cli/demo"
	"github.com/concordat-db/concordat/regionnode/admin"
	"github.com/concordat-db/concordat/regionnode/world"
)

// freePorts lets a world choose its ports.
var freePorts = []string{"--port", "0", "--admin-port", "0", "--nats-port", "0"}

// syncBuffer is a buffer that a running command writes and a test reads. changed gets a value after each write.
type syncBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func newSyncBuffer() *syncBuffer { return &syncBuffer{changed: make(chan struct{}, 1)} }

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.b.Write(p)
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return n, err
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// dev is `concordat dev` while it runs.
type dev struct {
	ready world.Ready
	file  string // ready file
	stop  func() result
}

// startDev runs dev until stop, which returns what it left.
func startDev(t *testing.T, args ...string) *dev {
	t.Helper()
	d := &dev{file: filepath.Join(t.TempDir(), "ready.json")}
	out, errs := newSyncBuffer(), newSyncBuffer()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	args = append(append([]string{"concordat", "dev", "--output", "json", "--ready-file", d.file, "--log-level", "disabled"}, freePorts...), args...)
	go func() { ended <- Run(ctx, args, Streams{Out: out, Err: errs}, "test") }()
	d.stop = sync.OnceValue(func() result {
		cancel()
		return result{<-ended, out.String(), errs.String()}
	})
	t.Cleanup(func() { d.stop() })
	for {
		if err := json.Unmarshal([]byte(out.String()), &d.ready); err == nil {
			return d
		}
		select {
		case <-out.changed:
		case status := <-ended:
			ended <- status
			t.Fatalf("dev ended: %+v", d.stop())
		}
	}
}

func (d *dev) client(i int) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{BaseEndpoint: aws.String(d.ready.Regions[i].DynamoDB), Region: d.ready.Regions[i].Name,
		Credentials: credentials.NewStaticCredentialsProvider("dev", "dev", "")})
}

// A world started by the program serves, tells so, can be asked, stops with status 0, leaves nothing in temporary folders, and goes on
// from its data.
func TestDev(t *testing.T) {
	data := t.TempDir()
	flags := []string{"--data", data, "--region", "north=NO", "--region", "south=ZA", "--latency", "north:south=5ms"}
	d := startDev(t, flags...)
	b, err := os.ReadFile(d.file)
	var told world.Ready
	if err != nil || json.Unmarshal(b, &told) != nil || len(told.Regions) != 2 || told.Regions[1] != d.ready.Regions[1] {
		t.Errorf("ready file %q, %v; standard output %+v", b, err, d.ready)
	}
	if g := told.Regions[0]; g.Name != "north" || g.Jurisdiction != "NO" || !strings.HasPrefix(g.DynamoDB, "http://") || !strings.HasPrefix(g.NATS, "nats://") {
		t.Errorf("%+v", g)
	}
	createTable(t, d.client(0), "things", "k")
	item := map[string]types.AttributeValue{"k": &types.AttributeValueMemberS{Value: "a"}}
	if _, err := d.client(0).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("things"), Item: item}); err != nil {
		t.Fatal(err)
	}
	st := statusOf(t, d.ready.Regions[0].Admin)
	if st.Region.Name != "north" || !st.Ready || len(st.Tables) != 1 || st.Tables[0].Items != 1 {
		t.Errorf("status %+v", st)
	}
	if got := d.stop(); got.status != 0 || got.err != "" {
		t.Errorf("after the stop: %+v", got)
	}
	if _, err := os.Stat(d.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ready file says that a world serves that has ended: %v", err)
	}

	again := startDev(t, flags...)
	out, err := again.client(0).GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("things"), Key: item, ConsistentRead: aws.Bool(true)})
	if err != nil || len(out.Item) != 1 {
		t.Errorf("after a restart: %v, %v", out, err)
	}
}

// createTable makes a table with string keys, partition key first, and waits for it.
func createTable(t *testing.T, c *dynamodb.Client, name string, keys ...string) {
	t.Helper()
	in := &dynamodb.CreateTableInput{TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest}
	for i, key := range keys {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String(key), AttributeType: types.ScalarAttributeTypeS})
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: aws.String(key), KeyType: []types.KeyType{types.KeyTypeHash, types.KeyTypeRange}[i]})
	}
	if _, err := c.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	waitForTable(t, c, name)
}

func waitForTable(t *testing.T, c *dynamodb.Client, name string) {
	t.Helper()
	if err := dynamodb.NewTableExistsWaiter(c).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(name)}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func statusOf(t *testing.T, url string) (st admin.Status) {
	t.Helper()
	got := command(t, "status", "--admin", url, "--output", "json")
	if err := json.Unmarshal([]byte(got.out), &st); err != nil || got.status != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	return st
}

func TestDevRefusesWhatItCannotDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := command(t, append([]string{"dev", "--data", file}, freePorts...)...)
	if got.status != 1 || got.out != "" || got.err == "" {
		t.Errorf("data in a file: %+v", got)
	}
}

// The whole demo, as make demo runs it, with its report for machines.
func TestDemo(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	got := command(t, append([]string{"demo", "--output", "json"}, freePorts...)...)
	if got.status != 0 {
		t.Fatal(got.err)
	}
	var r demo.Report
	if err := json.Unmarshal([]byte(got.out), &r); err != nil {
		t.Fatal(err)
	}
	const items = 12065 + 3 + 1 + 200 + 200 + 50 // places, markers, the contested key, the cut
	if r.Load.Places != 12065 || len(r.Lag) != 6 || r.Race.Winner == "" || len(r.Regions) != 3 {
		t.Errorf("%+v", r)
	}
	for _, g := range r.Regions {
		if g.Items != items || g.Sum != r.Regions[0].Sum || g.Digest != r.Regions[0].Digest || g.Digest == "" {
			t.Errorf("%+v, want %d items, equal everywhere", g, items)
		}
	}
	for _, l := range r.Lag {
		if l.From == l.To || l.Millis <= 0 {
			t.Errorf("%+v: no lag of a pair", l)
		}
	}
	for _, want := range []string{"40ms one way", "60ms one way", "90ms one way", "sees nothing of what", "GeoNames"} {
		if !strings.Contains(got.err, want) {
			t.Errorf("the story does not say %q", want)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left in the temporary folder: %v, %v", left, err)
	}
}

// The demo believes nothing: where the cut does not cut or the healing does not heal, it fails and says so.
func TestDemoNotices(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(*demo.Config)
		want  string
	}{
		"a cut that does not cut":      {func(c *demo.Config) { c.Cut = func(string) {} }, "through a link that was cut"},
		"a healing that does not heal": {func(c *demo.Config) { c.Heal = func(string) {} }, "does not show the last write of"},
		"a digest that differs": {func(c *demo.Config) {
			inner := c.Digest
			c.Digest = func(ctx context.Context, region string) (demo.Digest, error) {
				d, err := inner(ctx, region)
				if region == "b" {
					d.Sum = "another"
				}
				return d, err
			}
		}, "digest another"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := world.Open(world.Config{Regions: []world.Region{{Name: "a", Jurisdiction: "A"}, {Name: "b", Jurisdiction: "B"}},
				DataDir: t.TempDir(), Log: zerolog.Nop()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			ready := make(chan world.Ready, 1)
			go func() { ended <- w.Run(ctx, func(r world.Ready) { ready <- r }) }()
			defer func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			r := <-ready
			cfg := demo.Config{Cut: w.Cut, Heal: w.Heal, Digest: digests(r), Out: io.Discard, Wait: demoWait, CutFor: time.Second}
			for _, g := range r.Regions {
				cfg.Regions = append(cfg.Regions, demo.Region{Name: g.Name, DynamoDB: g.DynamoDB})
			}
			tc.plant(&cfg)
			if strings.Contains(name, "heal") {
				cfg.Wait = 10 * time.Second // for what will not come; enough for all before it
			}
			if _, err := demo.Run(ctx, cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
